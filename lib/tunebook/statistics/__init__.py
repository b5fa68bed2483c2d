"""Intervals, paired tests and power for pass@1. Imports no torch and starts in a moment."""
