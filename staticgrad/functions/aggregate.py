"""Functions over axes: NumPy's sum, mean, max, argmax and others, made of the three reductions.

Here axes are counted from either end, ``keepdims`` becomes a reshape, and integers widen before
they are added. The functions have NumPy's names, so this file does without the builtins they hide.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.functions.complex_numbers import abs_square
from staticgrad.functions.masking import (
    Mask,
    correction_of,
    count,
    degrees_of_freedom,
    fill_outside_mask,
    mask_of,
    start_of,
)
from staticgrad.functions.variants import variant
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ops import selection
from staticgrad.language.ops.arithmetic import flat_root
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.logic import (
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    equal,
    logical_or,
    not_equal,
)
from staticgrad.language.ops.movement import reshape
from staticgrad.language.ops.operands import (
    Axes,
    as_value,
    axes_of,
    axis_of,
    counting_dtype,
    describe_operands,
    dtype_of,
    is_only_axis_of_scalar,
    reduction_axes,
)
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.reduce import (
    BitReduction,
    Extreme,
    Max,
    Min,
    ReduceAnd,
    ReduceOr,
    ReduceXor,
    Sum,
    reduce_axes,
    with_axes,
)
from staticgrad.language.ops.rounding import rounded_as_first, rounded_once
from staticgrad.language.ops.selection import maximum, minimum
from staticgrad.language.types.arrays import product
from staticgrad.language.types.dim import bounds
from staticgrad.language.types.dtype import BOOL, F64, I64
from staticgrad.support.docstrings import like


def sum(
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Sum over ``axis``: an int, a tuple, or None for all axes; 0 over an empty axis.

    Bools and integers below 64 bits are added as int64 (unsigned: uint64), as NumPy does; floats in
    their own dtype, along a fixed tree (the same bits on every run and every machine).

    Args:
        dtype: convert to it before adding.
        initial: one number more, added to every sum.

    >>> sg.evaluate(sg.sum([[1.0, 2.0], [3.0, 4.0]], axis=0))
    array([4., 6.])
    """
    value = as_value(x)
    axes = reduction_axes(axis, value)
    target_dtype = counting_dtype(value.dtype, dtype)
    value = astype(value, target_dtype)
    if where is not None:
        value = fill_outside_mask(value, mask_of(where, value), 0)
    return _total(value, axes, keepdims, initial)


def _total(
    value: AnyValue, axes: tuple[int, ...], keepdims: bool, initial: ArrayLike[AnyValue] | None
) -> AnyValue:
    if initial is None:
        return reduce_axes(Sum, value, axes, keepdims)
    return _sum_from(value, axes, keepdims, initial)


@rounded_as_first
def _sum_from(
    value: AnyValue, axes: tuple[int, ...], keepdims: bool, initial: ArrayLike[AnyValue]
) -> AnyValue:
    out = reduce_axes(Sum, value, axes, keepdims)
    return out + start_of(initial, out)


def max(
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Compute the largest element over ``axis`` (all axes by default); NaN wins.

    Equal elements share the gradient equally. A named size that is 0 in a run is an error of that
    run, unless there is an ``initial``: a number that the elements are compared with, and without
    which nothing can be left out by ``where``. Other arguments as for ``sum``.

    Args:
        initial: one more number to compare with.

    >>> sg.evaluate(sg.max([[1.0, 5.0], [3.0, 4.0]], axis=1))
    array([5., 4.])
    """
    return _reduce_extreme(Max, x, axis, keepdims=keepdims, initial=initial, where=where)


@variant(max)
def min(x: Any, *args: Any, **options: Any) -> Any:
    """Smallest element over ``axis`` (all axes by default). NaN wins. Otherwise as ``max``.

    >>> sg.evaluate(sg.min([[1.0, 5.0], [3.0, 4.0]], axis=1))
    array([1., 3.])
    """
    return _reduce_extreme(Min, x, *args, **options)


def _reduce_extreme(
    kind: type[Extreme],
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Reduce to the max or min over axes, with NumPy's ``initial`` and ``where``."""
    value = as_value(x)
    axes = reduction_axes(axis, value)
    mask = None if where is None else mask_of(where, value)
    if initial is None:
        if mask is not None:
            name = called_name()
            raise ArgumentError(
                f"{name}: where= may leave out every element, and then there is no {name}",
                hint=f"sg.{name}(x, where=mask, initial=number) starts from a number",
                related=describe_operands(value, mask),
            )
        return reduce_axes(kind, value, axes, keepdims)
    start = start_of(initial, value)
    value = fill_outside_mask(value, mask, start)
    if axes and not bounds(product(value.shape[axis] for axis in axes))[0]:
        result = kind(axes, neutral=True)(value)  # there may be no elements
        result = with_axes(result, value, axes) if keepdims else result
    else:
        result = reduce_axes(kind, value, axes, keepdims)
    combine = maximum if kind is Max else minimum
    return combine(result, start)


@rounded_once
def mean(
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    where: Mask = None,
) -> AnyValue:
    """Mean over ``axis`` (all axes by default); NaN over an empty axis, float64 for integers.

    In ``dtype``, if one is given. For ``where`` see ``sum``.

    Args:
        dtype: convert to it first.

    >>> sg.evaluate(sg.mean([[1, 2], [3, 4]], axis=1))
    array([1.5, 3.5])
    """
    value = as_value(x)
    axes = axes_of(axis, value)
    mask = mask_of(where, value)
    target_dtype = None if dtype is None else dtype_of(dtype)
    if target_dtype is not None:
        value = astype(value, target_dtype)
    if not value.dtype.is_float:
        value = astype(value, F64)
    result = _mean(value, axes, mask, keepdims)
    return result if target_dtype is None else astype(result, target_dtype)


def _mean(
    value: AnyValue, axes: tuple[int, ...], mask: AnyValue | None, keepdims: bool
) -> AnyValue:
    total = reduce_axes(Sum, fill_outside_mask(value, mask, 0.0), axes, keepdims)
    if not axes and mask is None:
        return total
    return total / count(value, axes, mask, keepdims)


def var(
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Mask = None,
    mean: ArrayLike[AnyValue] | None = None,
    correction: float | None = None,
) -> AnyValue:
    """Compute the variance over ``axis``: squared distances from the mean, divided by n - ``ddof``.

    Of complex numbers it is real: distances are magnitudes.

    Args:
        dtype: a floating dtype to convert to first.
        ddof: subtracted from the number of elements; ``correction`` is its other name.
        mean: the mean, if it is known: with the reduced axes kept.
        correction: in place of ``ddof``.

    >>> sg.evaluate(sg.var([1.0, 3.0]))
    array(1.)
    """
    return _variance(x, axis, dtype, ddof, keepdims, where, mean, correction)


@rounded_once
def _variance(
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    where: Mask = None,
    mean: ArrayLike[AnyValue] | None = None,
    correction: float | None = None,
    *,
    root: bool = False,
) -> AnyValue:
    """Compute the variance (or its ``root``, the standard deviation) over axes."""
    dof_correction = correction_of(ddof, correction)
    value = as_value(x)
    axes = axes_of(axis, value)
    mask = mask_of(where, value)
    if dtype is not None and not dtype_of(dtype).is_float:
        raise DTypeError(
            f"{called_name()}: dtype={dtype!r} is not floating", related=describe_operands(value)
        )
    if dtype is not None or not value.dtype.is_float:
        value = astype(value, F64 if dtype is None else dtype)
    deviation = value - (_mean(value, axes, mask, keepdims=True) if mean is None else mean)
    squares = reduce_axes(Sum, fill_outside_mask(abs_square(deviation), mask, 0.0), axes, keepdims)
    variance = squares / degrees_of_freedom(value, axes, mask, keepdims, dof_correction)
    return flat_root(variance) if root else variance


@variant(var)
def std(x: Any, axis: Axes = None, dtype: Any = None, **options: Any) -> Any:
    """Standard deviation, the square root of ``var``; the derivative is 0 for equal elements.

    >>> sg.evaluate(sg.std([1.0, 3.0]))
    array(1.)
    """
    return _variance(x, axis, dtype, **options, root=True)


def any(
    x: ArrayLike[AnyValue], axis: Axes = None, *, keepdims: bool = False, where: Mask = None
) -> AnyValue:
    """Return True where an element over ``axis`` is true (not 0); False for an empty axis.

    For ``where`` see ``sum``.

    >>> sg.evaluate(sg.any([[True, False], [False, False]], axis=1))
    array([ True, False])
    """
    value = as_value(x)
    axes = reduction_axes(axis, value)
    true = fill_outside_mask(astype(value, BOOL), mask_of(where, value), False)
    return reduce_axes(partial(Max, neutral=True), true, axes, keepdims)


@like(any)
def all(
    x: ArrayLike[AnyValue], axis: Axes = None, *, keepdims: bool = False, where: Mask = None
) -> AnyValue:
    """Return True where every element over ``axis`` is true (not 0); True for an empty axis.

    For ``where`` see ``sum``.

    >>> sg.evaluate(sg.all([[True, False], [True, True]], axis=1))
    array([False,  True])
    """
    value = as_value(x)
    axes = reduction_axes(axis, value)
    true = fill_outside_mask(astype(value, BOOL), mask_of(where, value), True)
    return reduce_axes(partial(Min, neutral=True), true, axes, keepdims)


def reduce_and(
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Combine elements over ``axis`` by bitwise and, NumPy's ``bitwise_and.reduce``.

    All axes by default, unlike NumPy's. On bools it is ``all``. The result has the dtype of x; all
    its bits are set over an empty axis. Floats raise DTypeError.

    Args:
        x: bools or integers.
        initial: one more number to combine with.

    >>> sg.reduce_and([[12, 10], [6, 7]], axis=1)
    array([8, 6])
    """
    return _reduce_bits(ReduceAnd, x, axis, keepdims=keepdims, initial=initial, where=where)


@variant(reduce_and)
def reduce_or(x: Any, *args: Any, **options: Any) -> Any:
    """Combine elements over ``axis`` by bitwise or, NumPy's ``bitwise_or.reduce``.

    On bools it is ``any``; 0 over an empty axis. Otherwise as ``reduce_and``.

    >>> sg.reduce_or([[12, 10], [6, 7]], axis=1)
    array([14,  7])
    """
    return _reduce_bits(ReduceOr, x, *args, **options)


@variant(reduce_and)
def reduce_xor(x: Any, *args: Any, **options: Any) -> Any:
    """Combine elements over ``axis`` by bitwise exclusive or, NumPy's ``bitwise_xor.reduce``.

    On bools it is True where an odd number of elements is true; 0 over an empty axis. Otherwise as
    ``reduce_and``.

    >>> sg.reduce_xor([[12, 10], [6, 7]], axis=1)
    array([6, 1])
    """
    return _reduce_bits(ReduceXor, x, *args, **options)


def _reduce_bits(
    kind: type[BitReduction],
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Reduce bits over axes, with NumPy's ``initial`` and ``where``."""
    value = as_value(x)
    axes = reduction_axes(axis, value)
    if value.dtype.kind not in "biu":
        raise DTypeError(
            f"{called_name()}: takes bools or integers, got {value.type}",
            hint="compare first: x != 0, or convert: x.astype('int64')",
            related=describe_operands(value),
        )
    if where is not None:
        neutral = COMBINERS[kind.kind].empty(value.dtype)
        value = fill_outside_mask(value, mask_of(where, value), neutral)
    result = reduce_axes(kind, value, axes, keepdims)
    if initial is None:
        return result
    combine = {"and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor}[kind.kind]
    return combine(result, start_of(initial, value))


def argmax(x: ArrayLike[AnyValue], axis: int | None = None, *, keepdims: bool = False) -> AnyValue:
    """Return the index (int64) of the largest element along ``axis``, or in C order over all.

    If elements are equal, the first one; the first NaN if there is one.

    Args:
        axis: which axis; None for all elements in C order.

    >>> sg.evaluate(sg.argmax([[1.0, 5.0], [3.0, 4.0]], axis=1))
    array([1, 1])
    """
    return _arg_extreme(Max, x, axis, keepdims)


@like(argmax)
def argmin(x: ArrayLike[AnyValue], axis: int | None = None, *, keepdims: bool = False) -> AnyValue:
    """The position (int64) of the smallest element along ``axis``. Otherwise as ``argmax``.

    >>> sg.argmin([3.0, 1.0, 2.0])
    np.int64(1)
    """
    return _arg_extreme(Min, x, axis, keepdims)


def _arg_extreme(
    kind: type[Extreme], x: ArrayLike[AnyValue], axis: int | None, keepdims: bool
) -> AnyValue:
    """Return argmax or argmin along an axis; flattened for None."""
    value = as_value(x)
    shape = value.shape
    if axis is None or is_only_axis_of_scalar(axis, value):
        value, place, axis = reshape(value, value.size), 0, None
    else:
        place = axis_of(axis, value)
    best = reduce_axes(kind, value, (place,), keepdims=True)
    hit = equal(value, best)
    if value.dtype.is_float:
        hit = logical_or(hit, not_equal(value, value))
    count = size_value(value.shape[place], I64)
    positions = iota(value.shape, place, like=value)
    position = reduce_axes(Min, selection.where(hit, positions, count), (place,), keepdims)
    return reshape(position, (1,) * len(shape)) if axis is None and keepdims else position
