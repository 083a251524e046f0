"""Loops and branches to steps: bodies that the driver runs, and those written out in one kernel."""
