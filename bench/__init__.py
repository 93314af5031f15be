"""Measuring: ratios inside one interleaved run. `make bench` runs it."""
