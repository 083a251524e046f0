"""Loops and branches over values, and functions built on them: running totals, equations."""
