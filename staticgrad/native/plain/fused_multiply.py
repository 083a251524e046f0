"""a * b + c rounded once, of small arrays, for kernels that run as plain Python."""

from __future__ import annotations

import ctypes
import functools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: The C library's name and type for each floating dtype.
_NAMES: Final = {"f": ("fmaf", ctypes.c_float), "d": ("fma", ctypes.c_double)}
#: The bits that float64 has and float32 has not, and those of what is midway between two of these.
_FURTHER, _MIDWAY = np.uint64((1 << 29) - 1), np.uint64(1 << 28)
_LEAST_NORMAL: Final = 2.0**-126


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c for vectors of float32 or of float64, rounded once.

    The product of two float32 numbers is exact in float64. Their sum with a third is rounded there,
    and to float32 after that: as if it were rounded once, unless the first rounding gives what is
    midway between two float32 numbers. There the C library decides, which takes a call for each
    element; and where results are denormal, whose middles lie elsewhere.
    """
    if a.dtype.char == "d":
        return _by_c(a, b, c)
    total = a.astype(np.float64)
    total *= b
    total += c
    size = abs(total)
    open_to_doubt = (total.view(np.uint64) & _FURTHER) == _MIDWAY
    open_to_doubt |= (size < _LEAST_NORMAL) & (size > 0)
    found = total.astype(np.float32)
    if np.count_nonzero(open_to_doubt):
        found[open_to_doubt] = _by_c(a[open_to_doubt], b[open_to_doubt], c[open_to_doubt])
    return found


def _by_c(a: Array, b: Array, c: Array) -> Array:
    values = map(_function(a.dtype.char), a.tolist(), b.tolist(), c.tolist())
    return np.fromiter(values, a.dtype, len(a))


@functools.cache
def _function(code: str) -> Any:
    name, real = _NAMES[code]
    function = getattr(ctypes.CDLL(None), name)
    function.restype = real
    function.argtypes = (real, real, real)
    return function
