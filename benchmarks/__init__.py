"""Measurements of speed and memory: ratios within one process, never absolute times."""
