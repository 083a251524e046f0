"""Bases of the range and of the null space of matrices, by the names of ``scipy.linalg``."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import RankError
from staticgrad.extend import AnyValue, ArrayLike, Size, called_name, describe_operands
from staticgrad.extend.ops import stop_gradient
from staticgrad.functions.bounded import number_of_results
from staticgrad.language.ops.linalg import adjoint
from staticgrad.linalg.matrices import (
    cholesky,
    matrices,
    pinv,
    solve_triangular,
    svd,
)


def orth(
    A: ArrayLike[AnyValue], rcond: float | None = None, *, rank: Size | None = None
) -> AnyValue:
    """Return an orthonormal basis [m, rank] of the range of a matrix [m, n], as columns.

    The gradient is that of losses that do not depend on which basis it is, as ``q @ q.T``.

    Args:
        A: a matrix.
        rcond: singular values up to it times the largest one count as 0; by default max(m, n) times
            the dtype's epsilon.
        rank: the rank, needed of a value of a graph.

    Raises:
        ArgumentError: no rank, and a run decides it.

    >>> abs(sg.linalg.orth([[2.0, 0.0], [0.0, 0.0]])).round(3)
    array([[1.],
           [0.]])
    """
    value = _matrix(A)
    count = number_of_results(rank, A, lambda matrix: _rank(matrix, rcond), "rank")
    fixed = svd(stop_gradient(value), full_matrices=False)[0][:, :count]
    return _orthonormal(value @ (_inverse(value, rcond) @ fixed))


def null_space(
    A: ArrayLike[AnyValue], rcond: float | None = None, *, rank: Size | None = None
) -> AnyValue:
    """Return an orthonormal basis [n, n - rank] of the null space of a matrix [m, n], as columns.

    Arguments, errors and gradients are those of ``orth``.

    >>> abs(sg.linalg.null_space([[2.0, 0.0], [0.0, 0.0]])).round(3)
    array([[0.],
           [1.]])
    """
    value = _matrix(A)
    count = number_of_results(rank, A, lambda matrix: _rank(matrix, rcond), "rank")
    fixed = adjoint(svd(stop_gradient(value))[2][count:])
    return _orthonormal(fixed - _inverse(value, rcond) @ (value @ fixed))


def _inverse(value: Any, rcond: float | None) -> Any:
    return pinv(value, rtol=rcond)


def _orthonormal(columns: Any) -> Any:
    """Columns of full rank as orthonormal ones.

    They are a basis without a derivative, projected to where it should lie: that has one.
    """
    lower = cholesky(adjoint(columns) @ columns)
    return adjoint(solve_triangular(lower, adjoint(columns), lower=True))


def _matrix(a: Any) -> Any:
    value: Any = matrices(a)
    if value.ndim != 2:
        raise RankError(
            f"{called_name()}: {value.type} is not a matrix", related=describe_operands(value)
        )
    return value


def _rank(matrix: Any, rcond: float | None) -> int:
    """Count the singular values of an array that do not count as 0."""
    singular_values = np.linalg.svd(matrix, compute_uv=False)
    cutoff = np.finfo(singular_values.dtype).eps * max(matrix.shape) if rcond is None else rcond
    return int((singular_values > singular_values.max(initial=0.0) * cutoff).sum())
