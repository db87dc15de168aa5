"""What users say: redaction of free text."""
