"""NumPy's ``where=`` and ``initial=`` of reductions: which elements count, and the start.

Elements that are not counted are replaced by the one that changes nothing, so that no gradient
reaches them; a start is one more element.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError, RankError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.value import Value
from staticgrad.language.ops import selection
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.elementwise import ArrayLike, strong_dtype
from staticgrad.language.ops.movement import broadcast_to
from staticgrad.language.ops.operands import as_value, describe_operands, is_number
from staticgrad.language.ops.reduce import Sum, reduce_axes
from staticgrad.language.types.arrays import MOST_SIZE
from staticgrad.language.types.dim import maximum

#: A mask of the elements that count, which broadcasts to them; None or True for all.
Mask = ArrayLike | None


def mask_of(where: Mask, x: AnyValue) -> AnyValue | None:
    """``where`` in the shape of x; None where every element counts."""
    if where is None or where is True:
        return None
    mask = as_value(where, getattr(x, "kind", type(x)))
    if not mask.dtype.is_bool:
        raise DTypeError(
            f"{called_name()}: where= takes bools, got {mask.dtype.numpy}",
            hint="which elements count: where=x > 0",
            related=describe_operands(mask),
        )
    return broadcast_to(mask, x.shape)


def fill_outside_mask(x: AnyValue, mask: AnyValue | None, neutral: Any) -> AnyValue:
    """x where the mask holds, else ``neutral``."""
    return x if mask is None else selection.where(mask, x, neutral)


def count(x: Value, axes: tuple[int, ...], mask: Value | None, keepdims: bool) -> Any:
    """Return how many elements count over ``axes``: in the dtype of x, or a Python number."""
    if mask is not None:
        indicator = astype(mask, x.dtype)
        return reduce_axes(Sum, indicator, axes, keepdims)
    size = prod(x.shape[axis] for axis in axes)
    return float(size) if isinstance(size, int) else size_value(size, x.dtype)


def degrees_of_freedom(
    x: Value, axes: tuple[int, ...], mask: Value | None, keepdims: bool, ddof: Any
) -> Any:
    """``count`` less a correction, 0 where that is negative."""
    size = prod(x.shape[axis] for axis in axes)
    if mask is not None or not isinstance(ddof, int):
        freedom = count(x, axes, mask, keepdims) - ddof
        return max(freedom, 0.0) if isinstance(freedom, float) else selection.maximum(freedom, 0.0)
    if isinstance(size, int):
        return float(max(size - ddof, 0))
    remaining = maximum(size - ddof, 0) if ddof else size
    return size_value(remaining, x.dtype)


def correction_of(ddof: Any, correction: Any) -> Any:
    """Return the number to subtract from the element count: ``ddof`` or ``correction``."""
    if correction is not None and ddof != 0:
        raise ArgumentError(f"{called_name()}: ddof and correction are one argument, given twice")
    less = ddof if correction is None else correction
    less = int(less) if isinstance(less, np.integer) else less
    if not is_number(less) or abs(less) > MOST_SIZE:
        raise ArgumentError(f"{called_name()}: ddof={quote(less)} is not a number of elements")
    return less


def start_of(initial: ArrayLike[AnyValue], x: AnyValue) -> AnyValue:
    """``initial`` as a 0-d value in the dtype of x."""
    initial_dtype = strong_dtype(called_name(), initial)
    if not (initial_dtype.kind in "bi" and x.dtype.kind in "iuf") and not np.can_cast(
        initial_dtype.numpy, x.dtype.numpy, "same_kind"
    ):
        raise DTypeError(
            f"{called_name()}: initial={quote(initial)} is {initial_dtype.numpy},"
            f" the result {x.dtype.numpy}",
            hint="convert one of the two: x.astype(dtype)",
            related=describe_operands(x, initial),
        )
    value = as_value(initial, getattr(x, "kind", type(x)))
    if value.ndim:
        raise RankError(
            f"{called_name()}: initial is one number, got {value.type}",
            related=describe_operands(value),
        )
    return astype(value, x.dtype)
