"""Linear algebra: one class per factorization or solution, each a call of LAPACK per matrix.

Matrices are the last two axes; the axes before them are a batch, equal for all operands. A call
runs on one thread, so that results have the same bytes for every number of threads. Results of
size 0 are ordinary.
"""
