"""When two arrays are the same result: the one meaning of "equal bytes" in this project."""

from __future__ import annotations

import numpy as np

from staticgrad.ir.op import Array


def same_bytes(found: Array, expected: Array) -> bool:
    """Equal dtype, shape and bits in every element; any NaN equals any NaN.

    >>> same_bytes(np.array([0.0, np.nan]), np.array([0.0, -np.nan]))
    True
    >>> same_bytes(np.array(0.0), np.array(-0.0))
    False
    """
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    if expected.dtype.kind != "f":
        return np.array_equal(found, expected)
    same = (found == expected) & (np.signbit(found) == np.signbit(expected))
    return bool(np.all(same | (np.isnan(found) & np.isnan(expected))))
