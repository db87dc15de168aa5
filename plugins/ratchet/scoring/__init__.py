"""Batch scoring, and the routing file that says which model serves whom."""
