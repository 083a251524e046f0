"""Products, norms, ranges and counts over axes, made of reductions and scans."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.functions import aggregate as of
from staticgrad.functions.masking import Mask, counted, mask_of, start_of
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.arithmetic import flat_root
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.linalg import SVDVals
from staticgrad.ops.movement import moveaxis, reshape
from staticgrad.ops.operands import (
    Axes,
    as_value,
    axes_of,
    counting_dtype,
    distinct_axes,
    floating,
    related,
)
from staticgrad.ops.scans import CumProd
from staticgrad.ops.selection import where
from staticgrad.ops.slices import concatenate, part
from staticgrad.types.dim import Dim, floordiv
from staticgrad.types.dtype import BOOL


def norm_of_matrices(op: str, x: AnyValue, ord: Any, keepdims: bool) -> AnyValue:
    """The norms of floating matrices, the last two axes."""
    if ord is None or ord == "fro":
        return flat_root(of.sum(functions.square(x), (-2, -1), keepdims=keepdims))
    if ord in (1, -1, math.inf, -math.inf):
        along, over = (-2, -1) if ord in (1, -1) else (-1, -2)
        sums = of.sum(functions.absolute(x), along, keepdims=True)
        found = (of.max if ord > 0 else of.min)(sums, over, keepdims=True)
    elif ord in (2, -2, "nuc"):
        values: Any = SVDVals()(x)
        join = of.sum if ord == "nuc" else of.max if ord == 2 else of.min
        found = functions.expand_dims(join(values, -1, keepdims=True), -1)
    else:
        raise ArgumentError(
            f"{op}: no norm {ord!r} of matrices",
            hint="'fro', 'nuc', 1, -1, 2, -2, inf, -inf",
            related=related(x),
        )
    return found if keepdims else functions.squeeze(found, (-2, -1))


#: Longer axes are multiplied one element after the other.
_LONGEST_TREE: Final = 65536


def prod(
    x: Operand[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Operand[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """The product over ``axis`` (all axes by default); 1 of no elements. Integers widen to 64 bits.

    A literal size is multiplied pairwise, half by half; a named one from the first element on, on
    one thread. No division: the gradient is right where elements are 0. ``initial`` is one factor
    more; the other arguments are as for ``sum``.

    Args:
        x: a value.
        axis, dtype, keepdims, initial, where: as for ``sum``.

    Returns:
        The products: x without the axes that were reduced.

    >>> sg.evaluate(sg.prod([[1.0, 2.0], [3.0, 4.0]], axis=0))
    array([3., 8.])
    """
    value = as_value("prod", x)
    axes = axes_of("prod", axis, value)
    mask = mask_of("prod", where, value)
    wanted = counting_dtype("prod", value.dtype, dtype)
    found = _product(counted(functions.astype(value, wanted), mask, 1), axes, keepdims)
    return found if initial is None else found * start_of("prod", initial, found)


def _product(value: AnyValue, axes: tuple[int, ...], keepdims: bool) -> AnyValue:
    if not axes:
        return value
    kept = tuple(1 if k in axes else size for k, size in enumerate(value.shape))
    rest = tuple(size for k, size in enumerate(value.shape) if k not in axes)
    rows = moveaxis(value, axes, tuple(range(value.ndim - len(axes), value.ndim)))
    count = math.prod(value.shape[k] for k in axes)
    rows = reshape(rows, (*rest, count))
    if isinstance(count, Dim) or count > _LONGEST_TREE:
        last = part(CumProd(rows.ndim - 1)(_with_one(rows)), rows.ndim - 1, count, 1)
    else:
        last = _halved(rows if count else _with_one(rows))
    return reshape(last, kept if keepdims else rest)


def _with_one(rows: AnyValue) -> AnyValue:
    """A one in front of every row."""
    one = functions.full((*rows.shape[:-1], 1), np.ones((), rows.dtype.numpy), like=rows)
    return concatenate([one, rows], rows.ndim - 1)


def _halved(rows: AnyValue) -> AnyValue:
    """The product along the last axis: first half times second, until one is left."""
    last = rows.ndim - 1
    while (count := rows.shape[last]) != 1:
        half = floordiv(count, 2)
        pairs = part(rows, last, 0, half) * part(rows, last, half, half)
        odd = count - 2 * half
        rows = concatenate([pairs, part(rows, last, 2 * half, odd)], last) if odd else pairs
    return rows


def norm(
    x: Operand[AnyValue], ord: Any = None, axis: Axes = None, keepdims: bool = False
) -> AnyValue:
    """The length of the vectors along ``axis``: of all elements by default, as ``np.linalg.norm``.

    The gradient of a vector of zeros is 0. Nothing is scaled: squares may overflow.

    Args:
        x: a value; integers and bools become float64.
        ord: None: the square root of the sum of squares. Along one axis also 2, 1, inf, -inf, 0 or
            another number p: of the magnitudes the sum, the largest, the smallest, the count that
            is not 0, the p-th root of the sum of p-th powers. Over two axes, rows and columns, what
            ``sg.linalg.matrix_norm`` takes: ``"fro"``, ``"nuc"``, 2, -2, 1, -1, inf, -inf.
        axis: which axes; all by default.
        keepdims: keep them, with size 1.

    Returns:
        The lengths: x without the axes that were reduced.

    Raises:
        ArgumentError: an ``ord`` that the number of axes has no norm for.

    >>> sg.evaluate(sg.norm([3.0, 4.0]))
    array(5.)
    """
    value = floating("norm", x)
    axes = axes_of("norm", axis, value)
    if ord is None or (ord == "fro" and len(axes) == 2):
        return vector_norm_over(value, 2, axes, keepdims)
    if len(axes) == 2:
        given = axis if isinstance(axis, list | tuple) else axes  # its order tells rows and columns
        places = distinct_axes("norm", given, value)
        found = norm_of_matrices("norm", moveaxis(value, places, (-2, -1)), ord, keepdims)
        return moveaxis(found, (-2, -1), places) if keepdims else found
    if len(axes) != 1 or isinstance(ord, str):
        raise ArgumentError(
            f"norm: no norm {ord!r} over {len(axes)} axes",
            hint="matrices have ord='fro', 'nuc', 1, 2, inf; vectors 1, 2, inf, 0 or a number",
            related=related(value),
        )
    return vector_norm_over(value, ord, axes, keepdims)


def vector_norm_over(value: AnyValue, ord: Any, axis: Axes, keepdims: bool) -> AnyValue:
    """The norm of the vectors that are made of the elements along some axes."""
    axes = axes_of("vector_norm", axis, value)
    if ord == 2:
        return flat_root(of.sum(functions.square(value), axes, keepdims=keepdims))
    return _vector_norm(functions.absolute(value), ord, axes, keepdims)


def _vector_norm(magnitude: AnyValue, ord: Any, axes: tuple[int, ...], keepdims: bool) -> AnyValue:
    if ord == math.inf:
        return of.max(magnitude, axes, keepdims=keepdims)
    if ord == -math.inf:
        return of.min(magnitude, axes, keepdims=keepdims)
    if ord == 0:
        some = functions.astype(magnitude != 0.0, magnitude.dtype)
        return of.sum(some, axes, keepdims=keepdims)
    if ord == 1:
        return of.sum(magnitude, axes, keepdims=keepdims)
    none = magnitude == 0.0
    powers = where(none, 0.0 if ord > 0 else math.inf, functions.power(magnitude, ord))
    total = of.sum(powers, axes, keepdims=keepdims)
    if ord > 0:
        return flat_root(total, ord)
    return where(total == math.inf, 0.0, functions.power(total, 1.0 / ord))


def ptp(x: Operand[AnyValue], axis: Axes = None, *, keepdims: bool = False) -> AnyValue:
    """The largest less the smallest element over ``axis``. Raises as ``max``.

    Args:
        x: a value.
        axis, keepdims: as for ``max``.

    Returns:
        The ranges: x without the axes that were reduced.

    >>> sg.evaluate(sg.ptp([1.0, 5.0, 3.0]))
    array(4.)
    """
    value = as_value("ptp", x)
    return of.max(value, axis, keepdims=keepdims) - of.min(value, axis, keepdims=keepdims)


def count_nonzero(x: Operand[AnyValue], axis: Axes = None, *, keepdims: bool = False) -> AnyValue:
    """Return how many elements over ``axis`` are not 0, as int64.

    Args:
        x: numbers or bools.
        axis: which axes; all by default.
        keepdims: keep the reduced axes, with size 1.

    Returns:
        The counts: x without the axes that were reduced.

    >>> sg.evaluate(sg.count_nonzero([[1, 0], [2, 3]], axis=0))
    array([2, 1])
    """
    return of.sum(functions.astype(as_value("count_nonzero", x), BOOL), axis, keepdims=keepdims)
