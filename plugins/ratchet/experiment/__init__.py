"""Experiments: assignment to arms, clustered estimates, peek-safe tests and the day's verdict.

Pure functions over sums and frozen dataclasses; no table, registry or clock is read here.
"""
