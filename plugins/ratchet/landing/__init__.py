"""Files of a received day -> raw tables; what can't be read goes to quarantine with its reason."""
