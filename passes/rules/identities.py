"""Identities of arithmetic that keep every byte.

IEEE arithmetic leaves fewer of them than algebra does: x + 0.0 is not x where x is -0.0, but
x - 0.0 and x + -0.0 are; 0 * x is 0 for integers, but not where a float is infinite or negative.
"""

from __future__ import annotations

from typing import Final

from passes.rewrite import Rule, holes, rule
from staticgrad import functions as sg
from staticgrad.ir.functional import FUNCTIONS
from staticgrad.ops.convert import StopGradient

x, y = holes("x y")
INTEGERS: Final = "iu"

RULES: Final[tuple[Rule, ...]] = (
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
        rule(f"{name}-twice", FUNCTIONS[name](FUNCTIONS[name](x)), FUNCTIONS[name](x))
        for name in ("floor", "ceil", "rint", "trunc", "sign")
    ),
    rule("stop-gradient-twice", StopGradient()(StopGradient()(x)), StopGradient()(x)),
    rule("stop-gradient-of-integers", StopGradient()(x), x, dtypes="biu"),
)
