"""Calls of public functions: their arguments, other libraries' spellings, functions by name."""
