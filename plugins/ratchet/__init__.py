"""Ratchet: a continuous-improvement loop for models in production."""

__version__ = "0.1.0"
