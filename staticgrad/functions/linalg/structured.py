"""Matrices of blocks and of diagonals, and solutions by a Cholesky factor, in SciPy's names."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.wording import kind_of
from staticgrad.functions.linalg.factors import cholesky
from staticgrad.functions.linalg.solutions import solve_triangular
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import promoted_values, related
from staticgrad.types.tensor import BroadcastError, broadcast_shapes


def block_diag(*arrays: Operand[AnyValue]) -> AnyValue:
    """The matrix with these along its diagonal, and zeros elsewhere, as SciPy has it.

    Args:
        arrays: matrices [m, n], vectors (rows) or numbers; dtypes promote.

    Returns:
        A matrix of the sums of their sizes.

    Raises:
        ArgumentError: no arrays. RankError: one of more than two axes.

    >>> sg.evaluate(sg.linalg.block_diag([[1, 2]], 3))
    array([[1, 2, 0],
           [0, 0, 3]])
    """
    if not arrays:
        raise ArgumentError("block_diag: there are no arrays", hint="block_diag(a, b)")
    blocks: list[Any] = [*promoted_values("block_diag", arrays)]
    for block in blocks:
        if block.ndim > 2:
            what = f"block_diag: {block.type} has more than two axes"
            raise RankError(what, related=related(block))
    blocks = [functions.reshape(each, (1,) * (2 - each.ndim) + each.shape) for each in blocks]
    rows = []
    for k, block in enumerate(blocks):
        own = [
            functions.zeros((block.shape[0], other.shape[1]), block.dtype, like=block)
            for other in blocks
        ]
        own[k] = block
        rows.append(functions.concatenate(own, 1))
    return functions.concatenate(rows, 0)


def toeplitz(c: Operand[AnyValue], r: Operand[AnyValue] | None = None) -> AnyValue:
    """The matrix whose diagonals are constant. As ``scipy.linalg.toeplitz``.

    Args:
        c: its first column [..., m]; leading axes broadcast.
        r: its first row [..., n], of which the first element is not read; by default c.

    Returns:
        Matrices [..., m, n].

    >>> sg.evaluate(sg.linalg.toeplitz([1, 2, 3], [0, 7, 8, 9]))
    array([[1, 7, 8, 9],
           [2, 1, 7, 8],
           [3, 2, 1, 7]])
    """
    column, row = (c, c) if r is None else (c, r)
    columns: Any
    columns, rows = promoted_values("toeplitz", (column, row))
    if not columns.ndim or not rows.ndim:
        given = columns if not columns.ndim else rows
        raise RankError(f"toeplitz: {given.type} has no axis", related=related(given))
    m, n = columns.shape[-1], rows.shape[-1]
    try:
        lead = broadcast_shapes((columns.shape[:-1], rows.shape[:-1]))
    except BroadcastError as error:
        raise ShapeError(
            f"toeplitz: leading axes do not broadcast, {error.left} != {error.right}",
            related=related(columns, rows),
        ) from None
    columns = functions.broadcast_to(columns, (*lead, m))
    rows = functions.broadcast_to(rows, (*lead, n))
    diagonals = functions.concatenate([functions.flip(columns, -1), rows[..., 1:]], -1)
    up = functions.arange(n, like=columns) - functions.arange(m, like=columns)[:, None]
    return functions.take(diagonals, up + (m - 1), -1)


def cho_factor(
    a: Operand[AnyValue], lower: bool = False, *, errors: str = "raise"
) -> tuple[AnyValue, bool]:
    """The Cholesky factor of matrices and which triangle it is, for ``cho_solve``.

    As ``scipy.linalg.cho_factor``, but the other triangle is 0, and by default the upper one.

    Args:
        a: symmetric positive definite matrices [..., n, n], of which that triangle is read.
        lower: the factor is L with L @ L.T = a, not U with U.T @ U = a.
        errors: as ``cholesky``.

    Returns:
        The factor [..., n, n], and ``lower``.

    Raises:
        LinearAlgebraError: in the run, a matrix that is not positive definite.

    >>> factor = sg.linalg.cho_factor([[4.0, 2.0], [2.0, 5.0]])
    >>> sg.evaluate(sg.linalg.cho_solve(factor, [8.0, 12.0]))
    array([1., 2.])
    """
    return cholesky(a, upper=not lower, errors=errors), bool(lower)


def cho_solve(factor: Any, b: Operand[AnyValue]) -> AnyValue:
    """x with a @ x = b, of a matrix whose Cholesky factor is known. As ``scipy.linalg.cho_solve``.

    Args:
        factor: what ``cho_factor`` gives: the factor, and whether it is the lower one.
        b: a vector [n], or columns [..., n, k].

    Returns:
        x, of b's shape behind the axes that broadcast.

    Raises:
        ArgumentError: no pair. DTypeError, RankError, ShapeError: as ``solve``.

    >>> import numpy as np, staticgrad as sg
    >>> sg.evaluate(sg.linalg.cho_solve((2.0 * np.eye(2), True), [8.0, 12.0]))
    array([2., 3.])
    """
    if not isinstance(factor, tuple | list) or len(factor) != 2:
        raise ArgumentError(
            f"cho_solve: the factor is {kind_of(factor)}, not a pair",
            hint="cho_solve(cho_factor(a), b); of a lower triangle cho_solve((l, True), b)",
        )
    triangle, lower = factor
    half = solve_triangular(triangle, b, trans=int(not lower), lower=lower)
    return solve_triangular(triangle, half, trans=int(lower), lower=lower)
