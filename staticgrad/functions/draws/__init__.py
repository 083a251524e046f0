"""Draws of a generator: distributions made of its bits, counts, and draws inside of loops."""
