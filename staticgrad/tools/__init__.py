"""Tools that use public names alone: comparison, tests for users, lints, pages, commands."""
