"""The bits of narrow floats over NumPy, for dtypes that are only stored.

A conversion rounds once, to nearest and to even between two neighbours, whatever the source: what
is wider than float32 goes through float32 rounded *to odd*, which a second rounding, to a format at
least two bits shorter, cannot tell from the number itself (Boldo & Melquiond 2008).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Bits that a 64-bit integer has beyond those of a double.
SPARE: Final = 11


class Stored(NamedTuple):
    """The conversions of one element: ``widen`` gives the float32 of bits (uint16), ``narrow`` the
    bits of float32."""

    widen: Callable[[Array], Array]
    narrow: Callable[[Array], Array]


def odd_f32(numbers: Array) -> Array:
    """Convert numbers to float32, rounding to odd, so that a second rounding is exact."""
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == np.int64().itemsize:
        numbers = odd_f64(numbers)
    wide = numbers.astype(np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        nearest = np.atleast_1d(wide.astype(np.float32))
    bits = nearest.view(np.int32).copy()
    beyond = np.abs(nearest.astype(np.float64)) > np.abs(wide)  # patterns ascend with magnitudes
    step = np.where(beyond, np.int32(-1), np.int32(1))
    bits += np.where((nearest != wide) & (bits & 1 == 0), step, np.int32(0))
    return bits.view(np.float32).reshape(numbers.shape)


def odd_f64(integers: Array) -> Array:
    """64-bit integers in float64: what does not fit is told by the last bit of those that do."""
    spare = integers.dtype.type((1 << SPARE) - 1)
    sticky = np.where(integers & spare != 0, spare + integers.dtype.type(1), integers.dtype.type(0))
    large = np.abs(integers.astype(np.float64)) >= 2.0**53
    return np.where(large, integers & ~spare | sticky, integers).astype(np.float64)


def _narrow_f16(numbers: Array) -> Array:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(numbers.astype(np.float16)).view(np.uint16)


def _widen_f16(bits: Array) -> Array:
    return np.asarray(bits.view(np.float16).astype(np.float32))


def _narrow_bf16(numbers: Array) -> Array:
    """The upper half of the bits, plus 1 where the lower half is beyond the middle, or on it and
    the upper half odd. A NaN stays one."""
    bits = numbers.view(np.uint32)
    rounded = (bits + ((bits >> 16 & 1) + 0x7FFF)) >> 16
    quiet = bits >> 16 | 0x40
    return np.asarray(np.where(numbers == numbers, rounded, quiet)).astype(np.uint16)


def _widen_bf16(bits: Array) -> Array:
    return np.asarray(bits.astype(np.uint32) << 16).view(np.float32)


#: Every element for storage by name.
STORED: Final = {
    "f16": Stored(_widen_f16, _narrow_f16),
    "bf16": Stored(_widen_bf16, _narrow_bf16),
}


def narrow_numbers(name: str, numbers: Array) -> Array:
    """The bits of numbers of any dtype in the format ``name``, rounded once."""
    exact = numbers.dtype == np.float32
    return STORED[name].narrow(numbers if exact else odd_f32(numbers))
