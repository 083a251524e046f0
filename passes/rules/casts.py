"""Chains of conversions: the same bytes with fewer steps."""

from __future__ import annotations

from typing import Any, Final

from passes.rewrite import Match, Rule, holes, rule, some
from staticgrad.ops.convert import Cast
from staticgrad.types.dtype import DType, holds_float

(x,) = holes("x")


def holds(outer: DType, inner: DType) -> bool:
    """Whether ``outer`` has every value of ``inner``."""
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


RULES: Final[tuple[Rule, ...]] = (
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
