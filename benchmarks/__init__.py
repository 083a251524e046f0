"""Measurements: each file is a command of its own (``python -m benchmarks.startup``)."""
