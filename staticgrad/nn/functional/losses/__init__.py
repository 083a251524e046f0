"""Losses, and the distances that they are made of."""
