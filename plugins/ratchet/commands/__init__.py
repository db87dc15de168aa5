"""Commands of `ratchet`, one module a topic; ratchet.cli registers them."""
