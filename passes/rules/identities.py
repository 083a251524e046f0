"""Rules over elements that keep every byte: identities, strength reduction, casts, choices.

IEEE arithmetic leaves fewer identities than algebra does: x + 0.0 is not x where x is -0.0, but
x - 0.0 and x + -0.0 are; 0 * x is 0 for integers, but not where a float is infinite or negative.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from passes.rewrite import Match, Rule, hole, holes, number_of, rule, some
from staticgrad import functions as sg
from staticgrad.language.ops.convert import Cast
from staticgrad.language.ops.marks import StopGradient
from staticgrad.language.types.dtype import DType, as_dtype, holds_float

x, y, z = holes("x y z")
c, d = hole("c", "bool"), hole("d", "bool")
INTEGERS: Final = "iu"


# -- identities of arithmetic ---------------------------------------------------------------------

IDENTITIES: Final[tuple[Rule, ...]] = (
    rule("add-minus-zero", x + -0.0, x),
    rule("add-zero", x + 0, x, dtypes=INTEGERS),
    rule("subtract-zero", x - 0, x),
    rule("minus-zero-less", -0.0 - x, -x),
    rule("multiply-one", x * 1, x),
    rule("multiply-minus-one", x * -1, -x, dtypes="if"),
    rule("multiply-zero", x * 0, 0, dtypes=INTEGERS),
    rule("divide-one", x / 1, x),
    rule("divide-minus-one", x / -1, -x),
    rule("subtract-itself", x - x, 0, dtypes=INTEGERS),
    rule("negate-twice", sg.negative(-x), x),
    rule("negate-difference", -(x - y), y - x, dtypes=INTEGERS),
    rule("add-negative", x + (-y), x - y),
    rule("subtract-negative", x - (-y), x + y),
    rule("multiply-negatives", (-x) * (-y), x * y),
    rule("divide-negatives", (-x) / (-y), x / y),
    rule("absolute-twice", abs(abs(x)), abs(x)),
    rule("absolute-of-negative", abs(-x), abs(x), dtypes="if"),
    rule("square-of-negative", (-x) * (-x), x * x),
    *(
        rule(f"{of.__name__}-twice", of(of(x)), of(x))
        for of in (sg.floor, sg.ceil, sg.rint, sg.trunc, sg.sign)
    ),
    rule("stop-gradient-twice", StopGradient()(StopGradient()(x)), StopGradient()(x)),
    rule("stop-gradient-of-integers", StopGradient()(x), x, dtypes="biu"),
)


# -- strength reduction: the same bytes from a cheaper op -----------------------------------------


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


STRENGTH: Final[tuple[Rule, ...]] = (
    rule(
        "divide-by-power-of-two",
        x / y,
        _by_inverse,
        dtypes="f",
        examples=(lambda x: x / 8.0, lambda x: x / -0.25),
    ),
)


# -- chains of conversions: the same bytes with fewer steps ---------------------------------------


def holds(outer: DType, inner: DType) -> bool:
    """Return whether ``outer`` can represent every value of ``inner``."""
    if inner == outer or inner.is_bool:
        return True
    if inner.is_float or outer.is_bool:
        return outer.is_float and inner.is_float and holds_float(outer, inner)
    return outer.digits >= inner.digits and (inner.kind == "u" or outer.kind != "u")


def _chain(match: Match) -> Any:
    """Straight from x, where the step between loses nothing and means the same number."""
    between, final = match.between.dtype, match.root.dtype
    if not holds(between, match.x.dtype):
        return None
    return match.x if match.x.dtype is final else Cast(final)(match.x)


CASTS: Final[tuple[Rule, ...]] = (
    rule(
        "cast-to-itself",
        some(Cast, x),
        x,
        where=lambda m: m.x.dtype is m.root.dtype,
        examples=(lambda x: Cast(x.dtype)(x),),
    ),
    rule(
        "cast-of-widening-cast",
        some(Cast, some(Cast, x, name="between")),
        _chain,
        examples=(
            lambda x: x.astype("float32").astype("float64").astype("float32"),
            lambda x: x.astype("int16").astype("int64").astype("float32"),
            lambda x: (x > 0).astype("int8").astype("float64"),
        ),
    ),
)


# -- conditions and choices: `where` chains, logic ------------------------------------------------

CHOICES: Final[tuple[Rule, ...]] = (
    rule("where-same", sg.where(c, x, x), x),
    rule("where-true", sg.where(True, x, y), x),
    rule("where-false", sg.where(False, x, y), y),
    rule("where-not", sg.where(sg.logical_not(c), x, y), sg.where(c, y, x)),
    rule("where-in-true", sg.where(c, sg.where(c, x, y), z), sg.where(c, x, z)),
    rule("where-in-false", sg.where(c, x, sg.where(c, y, z)), sg.where(c, x, z)),
    rule("not-twice", sg.logical_not(sg.logical_not(c)), c),
    rule("and-true", sg.logical_and(c, True), c),
    rule("and-false", sg.logical_and(c, False), False),
    rule("or-true", sg.logical_or(c, True), True),
    rule("or-false", sg.logical_or(c, False), c),
    rule("and-itself", sg.logical_and(c, c), c),
    rule("or-itself", sg.logical_or(c, c), c),
    rule("and-again", sg.logical_and(sg.logical_and(c, d), d), sg.logical_and(c, d)),
    rule("or-again", sg.logical_or(sg.logical_or(c, d), d), sg.logical_or(c, d)),
)
