"""The kernel language by Numba's pipeline, and functions of users that Numba compiles."""
