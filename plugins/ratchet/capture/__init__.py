"""Feedback as it is given: an HTTP endpoint, and the inbox that keeps what it acknowledged."""
