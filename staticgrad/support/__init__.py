"""Helpers of every other package: errors, settings, caches, records, the user's lines."""
