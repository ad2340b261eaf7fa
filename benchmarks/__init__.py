"""Measurements of paracel beside floors that are measured in the same run: `python -m benchmarks`."""
