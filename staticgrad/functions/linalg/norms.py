"""Norms of vectors and matrices, the condition number and the rank, as in ``np.linalg``."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.functions import totals
from staticgrad.functions.linalg.factors import eigvalsh, svdvals
from staticgrad.functions.linalg.matrices import matrices
from staticgrad.functions.linalg.solutions import cutoff, inv
from staticgrad.functions.totals import norm_of_matrices
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.linalg import as_rows
from staticgrad.ops.operands import Axes, as_value, floating, related


def vector_norm(
    x: Operand[AnyValue],
    /,
    *,
    axis: Axes = None,
    keepdims: bool = False,
    ord: Any = 2,
) -> AnyValue:
    """The lengths of vectors along ``axis``; of all elements as one vector by default.

    Args:
        x: a value; integers and bools become float64.
        axis: one axis or several, whose elements are one vector.
        keepdims: keep them, with size 1.
        ord: 2, 1, inf, -inf, 0 or another number, as for ``sg.norm``.

    Returns:
        A floating value without these axes.

    >>> sg.evaluate(sg.linalg.vector_norm([[3.0, 4.0], [0.0, 2.0]], axis=1))
    array([5., 2.])
    """
    value = floating("vector_norm", x)
    return totals.vector_norm_over(value, ord, axis, keepdims)


def matrix_norm(x: Operand[AnyValue], /, *, keepdims: bool = False, ord: Any = "fro") -> AnyValue:
    """The norms of matrices, the last two axes.

    Args:
        x: matrices [..., m, n].
        keepdims: keep the axes, with size 1.
        ord: "fro" (None is the same): the root of the sum of squares; "nuc": the sum of singular
            values; 2 and -2: the largest and the smallest one; 1 and -1: the largest and smallest
            sum of magnitudes of a column; inf and -inf: of a row.

    Returns:
        A norm for each matrix [...].

    Raises:
        LinearAlgebraError: in the run, singular values of a matrix that holds NaN.

    >>> sg.evaluate(sg.linalg.matrix_norm([[1.0, -2.0], [2.0, 4.0]]))
    array(5.)
    """
    value = matrices("matrix_norm", x)
    return norm_of_matrices("matrix_norm", value, ord, keepdims)


def cond(x: Operand[AnyValue], p: Any = None) -> AnyValue:
    """The condition numbers of matrices: how much a solution magnifies relative errors.

    Args:
        x: matrices [..., m, n]; square ones unless p is None, 2 or -2.
        p: None or 2: the largest singular value by the smallest one, -2 the inverse; another
            ``ord`` of ``matrix_norm``: the norm times that of the inverse.

    Returns:
        A number for each matrix [...], inf of a singular one.

    Raises:
        LinearAlgebraError: in the run, as ``svdvals``.

    >>> sg.evaluate(sg.linalg.cond([[1.0, 0.0], [0.0, 0.25]]))
    array(4.)
    """
    value = matrices("cond", x)
    if p in (None, 2, -2):
        s = svdvals(value)
        if s.shape[-1] == 0:
            raise ArgumentError(f"cond: {value.type} has no elements", related=related(value))
        largest, smallest = (functions.take(s, place, -1) for place in (0, -1))
        return smallest / largest if p == -2 else largest / smallest
    inverse = inv(value, errors="nan")
    return norm_of_matrices("cond", value, p, False) * norm_of_matrices("cond", inverse, p, False)


def matrix_rank(
    A: Operand[AnyValue],
    tol: Operand[AnyValue] | None = None,
    hermitian: bool = False,
    *,
    rtol: Operand[AnyValue] | None = None,
) -> AnyValue:
    """Return how many singular values of matrices are above a threshold.

    Args:
        A: matrices [..., m, n]; of a vector whether any element is not 0.
        tol: the threshold.
        hermitian: A is symmetric, of which the lower triangle is read.
        rtol: the threshold by the largest singular value; by default max(m, n) times the dtype's
            epsilon.

    Returns:
        A count for each matrix [...], int64.

    Raises:
        LinearAlgebraError: in the run, as ``svdvals``.

    >>> sg.evaluate(sg.linalg.matrix_rank([[1.0, 2.0], [2.0, 4.0]]))
    array(1)
    """
    value = floating("matrix_rank", A)
    if value.ndim < 2:
        return functions.astype(functions.any(value != 0.0), "int64")
    if tol is not None and rtol is not None:
        raise ArgumentError("matrix_rank: either tol or rtol")
    s = functions.absolute(eigvalsh(value)) if hermitian else svdvals(value)
    if tol is None:
        threshold = as_rows(cutoff(s, rtol, *value.shape[-2:]))
    else:
        level = as_value("matrix_rank", tol)
        threshold = as_rows(level) if level.ndim else level
    return functions.count_nonzero(s > threshold, -1)
