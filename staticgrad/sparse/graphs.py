"""Functions of graphs as sparse matrices: attention over edges, and normalized adjacency."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import ShapeError
from staticgrad.extend import Value, shape_text
from staticgrad.extend.ops import exp, expand_dims, stop_gradient, where
from staticgrad.language.ops.indexing import ScatterExtreme
from staticgrad.sparse.matrices import (
    Sparse,
    SparsityPattern,
    check_sparse,
    coo,
    gather_elements,
)


def softmax(A: Sparse) -> Sparse:
    """The softmax of each row over its stored elements, as graph attention takes it.

    Args:
        A: a sparse matrix; what is not stored counts as minus infinity.

    >>> A = sg.sparse.csr([0.0, 0.0, 5.0], [0, 1, 1], [0, 2, 3], (2, 2))
    >>> sg.evaluate(sg.sparse.softmax(A).todense())
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    matrix = check_sparse("softmax", A)
    rows, _ = matrix.places()
    data = matrix.values()
    row_max = stop_gradient(ScatterExtreme("max", 0, matrix.shape[0])(data, rows))
    powers = exp(data - gather_elements(row_max, rows))
    total = matrix.with_data(powers).sum(1)
    return matrix.with_data(powers / gather_elements(total, rows))


def normalized_adjacency(A: Any, self_loops: bool = True) -> Sparse:
    """``D^-1/2 (A + I) D^-1/2``, where D has the row sums of ``A + I``: what ``GraphConv`` takes.

    Kipf and Welling, Semi-supervised classification with graph convolutional networks, 2017.

    Args:
        A: a square sparse matrix, of SciPy too; row i has weights of the neighbours of node i.
        self_loops: add the identity first. Rows whose sum is 0 stay 0.

    >>> A = sg.sparse.coo([1.0, 1.0], [0, 1], [1, 0], (2, 2))
    >>> sg.sparse.normalized_adjacency(A).tocsr().toarray().round(3)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    matrix = check_sparse("normalized_adjacency", A)
    n = matrix.shape[0]
    if matrix.shape[1] != n:
        raise ShapeError(f"normalized_adjacency: {shape_text(matrix.shape)} is not square")
    if not isinstance(matrix.data, Value):  # known now: nothing is left to the run
        from scipy.sparse import eye_array

        adjacency = matrix.tocsr()
        adjacency = (
            adjacency + eye_array(n, dtype=adjacency.dtype, format="csr")
            if self_loops
            else adjacency
        ).tocoo()
        sums = np.bincount(adjacency.row, adjacency.data, n).astype(adjacency.dtype)
        scale = np.divide(1.0, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
        data = adjacency.data * scale[adjacency.row] * scale[adjacency.col]
        return coo(data, adjacency.row, adjacency.col, (n, n))
    if self_loops:
        ones = np.ones(n, matrix.dtype.numpy)
        matrix = matrix + Sparse(ones, SparsityPattern(np.arange(n), np.arange(n + 1), (n, n)))
    sums = matrix.sum(1)
    positive = sums > 0.0
    scale = where(positive, where(positive, sums, 1.0) ** -0.5, 0.0)
    return matrix * expand_dims(scale, 1) * scale
