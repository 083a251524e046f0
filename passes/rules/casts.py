"""Chains of conversions: the same bytes with fewer steps."""

from __future__ import annotations

from typing import Any, Final

from passes.rewrite import Match, Rule, holes, rule, some
from staticgrad.ops.convert import Cast
from staticgrad.types.dtype import DType

(x,) = holes("x")

#: Bits of a float that hold whole numbers exactly.
_PRECISION: Final = {32: 24, 64: 53}


def holds(outer: DType, inner: DType) -> bool:
    """Whether ``outer`` has every value of ``inner``."""
    if inner == outer or inner.is_bool:
        return True
    if inner.is_float or outer.is_bool:
        return outer.is_float and inner.is_float and outer.bits >= inner.bits
    if outer.is_float:
        return inner.bits - (inner.kind == "i") <= _PRECISION[outer.bits]
    if outer.kind == inner.kind:
        return outer.bits >= inner.bits
    return outer.kind == "i" and outer.bits > inner.bits


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
