"""Monitoring: the served model's health from sums and histograms, never from rows."""
