"""Signals to incidents: one for a cause, ranked, opened and closed once. Pure functions over recorded signals."""
