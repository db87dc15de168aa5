"""Triggers: when a retrain is due, and when what it needs is there."""
