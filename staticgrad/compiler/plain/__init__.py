"""A kernel as plain loops that Numba compiles: in exported files, and for the backend ``numba``."""
