"""Strength reduction: the same bytes from a cheaper op."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from passes.rewrite import Match, Rule, holes, number_of, rule
from staticgrad.types.dtype import as_dtype

x, y = holes("x y")


def inverse_of(number: Any) -> Any:
    """1/c for a floating NumPy scalar c, or None where that is not a normal number."""
    with np.errstate(all="ignore"):
        inverse = number.dtype.type(1) / number
    smallest = as_dtype(number.dtype).smallest_normal
    return inverse if smallest <= abs(inverse) < np.inf else None


def _by_inverse(match: Match) -> Any:
    """x * (1/c) for a power of two with a normal inverse: one rounding of the same number."""
    divisor = number_of(match.y)
    if divisor is None or abs(math.frexp(float(divisor))[0]) != 0.5:
        return None
    inverse = inverse_of(divisor)
    return None if inverse is None else match.x * inverse


RULES: Final[tuple[Rule, ...]] = (
    rule(
        "divide-by-power-of-two",
        x / y,
        _by_inverse,
        dtypes="f",
        examples=(lambda x: x / 8.0, lambda x: x / -0.25),
    ),
)
