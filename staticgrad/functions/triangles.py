"""Matrices of ones and zeros, and the parts of matrices on one side of a diagonal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgrad.errors import RankError
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_value, dtype_of, integer, related, shape_of
from staticgrad.ops.positions import iota
from staticgrad.types.dim import Size
from staticgrad.types.dtype import F32
from staticgrad.types.tensor import Shape


def eye(
    rows: Size,
    columns: Size | None = None,
    k: int = 0,
    dtype: Any = F32,
    *,
    like: AnyValue | None = None,
) -> AnyValue:
    """Ones on the k-th diagonal, zeros elsewhere: the identity matrix where it is square.

    Args:
        rows, columns: sizes; as many columns as rows by default.
        k: which diagonal; above the main one it is positive.
        dtype: the element type.
        like: a value of the kind that the result shall have.

    Returns:
        The matrix.

    >>> sg.evaluate(sg.eye(2))
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    shape: Shape = shape_of("eye", (rows, rows if columns is None else columns))
    above = integer("eye", "k", k)
    rows_of = iota(shape, 0, like=like)
    hit = functions.equal(rows_of + above if above else rows_of, iota(shape, 1, like=like))
    return functions.astype(hit, F32 if dtype is None else dtype_of("eye", dtype))


def identity(n: Size, dtype: Any = F32, *, like: AnyValue | None = None) -> AnyValue:
    """The identity matrix of ``n`` rows; float32 by default.

    Args:
        n: how many rows.
        dtype, like: as for ``eye``.

    >>> sg.evaluate(sg.identity(2))
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return eye(n, dtype=dtype, like=like)


def tri(
    rows: Size,
    columns: Size | None = None,
    k: int = 0,
    dtype: Any = F32,
    *,
    like: AnyValue | None = None,
) -> AnyValue:
    """Ones on and below the k-th diagonal, zeros above.

    Args:
        rows, columns, k, dtype, like: as for ``eye``.

    >>> sg.evaluate(sg.tri(2))
    array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    shape = shape_of("tri", (rows, rows if columns is None else columns))
    shifted = iota(shape, 0, like=like) + integer("tri", "k", k)
    inside = functions.greater_equal(shifted, iota(shape, 1, like=like))
    return functions.astype(inside, F32 if dtype is None else dtype_of("tri", dtype))


def tril(x: Operand[AnyValue], k: int = 0) -> AnyValue:
    """x on and below the k-th diagonal of its last two axes, zeros above.

    Args:
        x: matrices [..., n, m].
        k: which diagonal; above the main one it is positive.

    Returns:
        The elements, of x's shape.

    >>> sg.evaluate(sg.tril([[1, 2], [3, 4]]))
    array([[1, 0],
           [3, 4]])
    """
    return _triangle("tril", x, k, functions.greater_equal)


def triu(x: Operand[AnyValue], k: int = 0) -> AnyValue:
    """x on and above the k-th diagonal of its last two axes, zeros below.

    Args:
        x: matrices [..., n, m].
        k: which diagonal; above the main one it is positive.

    Returns:
        The elements, of x's shape.

    >>> sg.evaluate(sg.triu([[1, 2], [3, 4]]))
    array([[1, 2],
           [0, 4]])
    """
    return _triangle("triu", x, k, functions.less_equal)


def _triangle(op: str, x: Operand[AnyValue], k: int, relation: Callable[..., AnyValue]) -> AnyValue:
    value = as_value(op, x)
    if value.ndim < 2:
        raise RankError(f"{op}: {value.type} has no last two axes", related=related(value))
    shape = value.shape[-2:]
    shifted = iota(shape, 0, like=value) + integer(op, "k", k)
    inside = relation(shifted, iota(shape, 1, like=value))
    return functions.where(inside, value, np.zeros((), value.dtype.numpy))
