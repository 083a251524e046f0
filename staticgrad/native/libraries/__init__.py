"""Routines that rows of a table call: LAPACK, BLAS, and functions of users."""
