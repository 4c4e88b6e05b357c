"""Experiments: what a run leaves for the report, and the demonstration, as library calls."""
