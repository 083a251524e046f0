"""Ops that ONNX has no operator for, as ops that it has.

Each is a function of the op's operands and, by name, of its attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

import staticgrad.functions as sg
from staticgrad.onnx.windows import BY_SLICES


def _signbit(x: Any) -> Any:
    """Return whether x is negative, or -0 (of which 1 / x is not above 0)."""
    if not x.dtype.is_float:
        return x < 0
    return sg.logical_or(x < 0, sg.logical_and(x == 0, 1.0 / x < 0))


def _atan2(y: Any, x: Any) -> Any:
    """Return the angle of (x, y) by that in the first quadrant, of their absolute values."""
    ratio = sg.where(y == 0, 0.0, sg.where(abs(y) == abs(x), 1.0, abs(y) / abs(x)))
    angle = sg.arctan(ratio)
    angle = sg.where(_signbit(x), np.pi - angle, angle)
    angle = sg.where(_signbit(y), -angle, angle)
    return sg.where(x == x, angle, x)


def _rel_entr(x: Any, y: Any) -> Any:
    is_inside = sg.logical_and(x > 0, y > 0)
    outside = sg.where(sg.logical_and(x == 0, y >= 0), 0.0, np.inf)
    outside = sg.where(sg.logical_and(x == x, y == y), outside, np.nan)
    return sg.where(is_inside, x * sg.log(x / y), outside)


def _is_nan(x: Any) -> Any:
    return sg.logical_not(x == x)


def _count_before(a: Any, v: Any, right: bool = False) -> Any:
    """Count the elements before each of v; NaN is above all numbers."""
    v = v[..., None]
    is_before = a <= v if right else a < v
    if a.dtype.is_float:
        is_before = sg.logical_or(
            is_before, _is_nan(v) if right else sg.logical_and(_is_nan(v), a == a)
        )
    return sg.sum(is_before.astype("int64"), axis=-1)


def _cumprod(x: Any, axis: int) -> Any:
    rows = sg.moveaxis(x, axis, 0)
    ones = sg.ones(rows.shape[1:], x.dtype)
    return sg.moveaxis(sg.scan(lambda past, row: (past * row, past * row), ones, rows)[1], 0, axis)


def _linear_scan(a: Any, b: Any, axis: int) -> Any:
    """Run ``out[i] = a[i] * out[i - 1] + b[i]``; ``a[0]`` is not read."""
    a, b = sg.moveaxis(a, axis, 0), sg.moveaxis(b, axis, 0)
    a = sg.concatenate([sg.zeros_like(a[:1]), a[1:]])

    def step(past: Any, row: Any) -> Any:
        value = row[0] * past + row[1]
        return value, value

    return sg.moveaxis(sg.scan(step, sg.zeros(b.shape[1:], b.dtype), (a, b))[1], 0, axis)


#: Our op -> the same by ops that ONNX has.
BY_OTHERS: Final[dict[str, Callable[..., Any]]] = {
    "atan2": _atan2,
    "cbrt": lambda x: sg.sign(x) * abs(x) ** (1.0 / 3.0),
    "cumprod": _cumprod,
    "entr": lambda x: sg.where(x < 0, -np.inf, sg.where(x == 0, 0.0, -x * sg.log(x))),
    "erfc": lambda x: 1.0 - sg.erf(x),
    "exp2": lambda x: sg.exp(x * float(np.log(2.0))),
    "expm1": lambda x: sg.exp(x) - 1.0,
    "flat_power": lambda x, exponent: sg.where(
        x == 0, 0.0 if exponent > -1 else np.nan, sg.power(x, exponent)
    ),
    "hypot": lambda x, y: sg.sqrt(x * x + y * y),
    "kl_div": lambda x, y: sg.where(
        sg.logical_or(x >= 0, _is_nan(x)), _rel_entr(x, y) + (y - x), np.inf
    ),
    "linear_scan": _linear_scan,
    "log10": lambda x: sg.log(x) * float(1.0 / np.log(10.0)),
    "log1p": lambda x: sg.log(x + 1.0),
    "log2": lambda x: sg.log(x) * float(1.0 / np.log(2.0)),
    "logaddexp": lambda x, y: sg.maximum(x, y) + sg.log(sg.exp(-abs(x - y)) + 1.0),
    "logit": lambda x: sg.log(x / (1.0 - x)),
    "ndtr": lambda x: 0.5 * sg.erf(x * float(np.sqrt(0.5))) + 0.5,
    "ne": lambda x, y: sg.logical_not(x == y),
    "rel_entr": _rel_entr,
    "searchsorted": _count_before,
    "signbit": _signbit,
    "trunc": lambda x: sg.sign(x) * sg.floor(abs(x)),
    "xlog1py": lambda x, y: sg.where(
        sg.logical_and(x == 0, y == y), 0.0, x * sg.log(sg.where(x == 0, 0.0, y) + 1.0)
    ),
    "xlogy": lambda x, y: sg.where(x == 0, 0.0, x * sg.log(sg.where(x == 0, 1.0, y))),
    **BY_SLICES,
}
