"""Passes over whole loops and branches: merging, pruning and the choice of residuals."""
