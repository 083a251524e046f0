"""Sums of products of 8-bit integers with zero points, and integers of floats.

An integer means (integer - zero) times a scale. Products and convolutions are summed in int32,
exactly: the sum of (a - zero) b is that of a b less zero times the sum of b, which is a constant
where b is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgrad.functions import aggregate
from staticgrad.functions.arrange import pad
from staticgrad.language.ops.arithmetic import rint
from staticgrad.language.ops.contract import matmul
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.movement import reshape
from staticgrad.language.ops.selection import clip, maximum, minimum, where
from staticgrad.language.types.dim import Size

#: The largest unsigned integer of 8 bits.
_LARGEST = 255.0


def round_to_integers(x: Any, zero: Any, dtype: Any) -> Any:
    """Round numbers to integers behind a zero point, or None, and clip them to their dtype.

    NaN gives the least integer. The upper end is taken as a float, since the conversion of larger
    numbers gives the least integer, too, and the lower one as an integer.
    """
    ends, zero = np.iinfo(np.dtype(dtype)), 0 if zero is None else astype(zero, "int32")
    integers: Any = astype(minimum(rint(x), astype(ends.max - zero, "float32")), "int32")
    return astype(maximum(integers, ends.min - zero) + zero, dtype)


def choose_scale(least: Any, most: Any) -> tuple[Any, Any]:
    """Return scale and zero point of unsigned integers for numbers of a range, and for 0."""
    least, most = minimum(least, 0.0), maximum(most, 0.0)
    scale: Any = (most - least) / _LARGEST
    scale = where(scale == 0.0, 1.0, scale)
    return scale, astype(rint(clip(-least / scale, 0.0, _LARGEST)), "uint8")


def quantize_by_range(x: Any) -> tuple[Any, Any, Any]:
    """Return the unsigned integers of numbers, by their range, their scale and zero point."""
    scale, zero = choose_scale(aggregate.min(x), aggregate.max(x))
    return round_to_integers(x / scale, zero, "uint8"), scale, zero


def multiply_integers(a: Any, zero_a: Any, b: Any, zero_b: Any) -> Any:
    """Return (a - zero_a) @ (b - zero_b) in int32.

    Zero points are numbers, or along rows of a and columns of b; None for 0.
    """
    left, right = astype(a, "int32"), astype(b, "int32")
    total: Any = matmul(left, right)
    if zero_a is not None:
        zero_a = astype(zero_a, "int32")
        total = total - zero_a * aggregate.sum(right, -2, keepdims=True, dtype="int32")
    if zero_b is not None:
        rows: Any = aggregate.sum(left, -1, keepdims=True, dtype="int32")
        rows = rows if zero_a is None else rows - zero_a * a.shape[-1]
        total = total - rows * astype(zero_b, "int32")
    return total


#: Elements before and after an image along each of its axes.
Borders = Sequence[tuple[Size, Size]]


def convolve_integers(
    convolve: Callable[[Any, Any, Borders], Any], x: Any, zero: Any, filters: Any, borders: Borders
) -> Any:
    """Return the convolution of x - zero by filters of int32, where ``zero`` may be None.

    ``convolve`` computes that of an image and filters with zeros around the image. A border of
    elements that mean 0 makes the sum of the filters the same for all windows.
    """
    if zero is None:
        return convolve(astype(x, "int32"), filters, borders)
    if any(size != 0 for border in borders for size in border):
        narrow = astype(zero, x.dtype)
        x = pad(x ^ narrow, ((0, 0), (0, 0), *borders)) ^ narrow  # what pads is the zero point
    total = convolve(astype(x, "int32"), filters, [(0, 0)] * len(borders))
    sums = aggregate.sum(filters, tuple(range(1, filters.ndim)), dtype="int32")
    return total - astype(zero, "int32") * reshape(sums, (-1, *(1,) * (filters.ndim - 2)))
