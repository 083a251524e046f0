"""Loops and branches over values, and what is made of them: running totals, equations."""
