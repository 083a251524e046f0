"""Conversion of arrays between element types, with every result defined.

NumPy's ``astype``, except that a float that does not fit an integer never gets what the C compiler
chose that day: one definition for references, the interpreter and kernels. Knows arrays only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from staticgrad.types.dtype import DType

Array = npt.NDArray[Any]


def convert_array(x: Array, dtype: DType) -> Array:
    """``x`` as an array of ``dtype``.

    Float to integer truncates. NaN and what does not fit becomes the smallest int64 (for int64,
    uint32 and uint64) or int32 (for the others), narrowed; uint64 takes floats up to 2**64 and
    wraps above. To bool: x != 0.
    """
    if x.dtype.kind != "f" or not dtype.is_integer:
        with np.errstate(over="ignore" if dtype.is_storage else None):
            return x.astype(dtype.numpy)
    if dtype.code == "u64":
        large = x >= 2.0**63
        low = _truncated(np.where(large, x - x.dtype.type(2.0**63), x), 64)
        return np.where(large, low ^ np.int64(-(2**63)), low).astype(dtype.numpy)
    return _truncated(x, 64 if dtype.code in ("i64", "u32") else 32).astype(dtype.numpy)


def _truncated(x: Array, bits: int) -> Array:
    """x without its fraction as a signed integer; the smallest one where it does not fit."""
    whole = np.trunc(x)
    fits = (whole >= -(2.0 ** (bits - 1))) & (whole < 2.0 ** (bits - 1))
    inside = np.where(fits, whole, 0).astype(f"int{bits}")
    return np.where(fits, inside, inside.dtype.type(-(2 ** (bits - 1))))
