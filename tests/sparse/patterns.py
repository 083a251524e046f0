"""Patterns of sparse matrices for tests."""

import numpy as np

from staticgrad.sparse import SparsityPattern


def pattern_of(indices, indptr, shape):
    """The six vectors that ops take."""
    return tuple(vector.array for vector in SparsityPattern(indices, indptr, shape).vectors)


def random_pattern(rng, rows, columns, count):
    """A pattern with unsorted and equal places, and empty rows."""
    lengths = rng.multinomial(count, np.ones(rows) / rows) if rows else np.zeros(0, int)
    places = rng.integers(0, max(columns, 1), count)
    return pattern_of(places, np.concatenate([[0], np.cumsum(lengths)]), (rows, columns))
