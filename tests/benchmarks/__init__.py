"""Benchmarks: captures made by seed, tools run side by side, ratios printed. Not part of the test suite."""
