"""Kernels of plain loops, and functions of users, compiled by Numba."""
