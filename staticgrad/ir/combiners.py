"""The kinds of reductions: one ``Combiner`` each, which every reader of a reduction asks.

A kind is a row of ``COMBINERS``. A name that is not there is an error wherever it is looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from staticgrad.records import dataclass
from staticgrad.types.dtype import DType

Number = bool | int | float


@dataclass(frozen=True)
class Combiner:
    """How the elements of a reduction become one.

    Args:
        kind: its name in forms and in the text of kernels.
        combine: the primitive of ``ir.expr`` that joins two elements.
        horizontal: the word of the kernel vocabulary that joins the lanes of a vector by halving.
        rule: ``tree``: floats are joined in the order that ``ir/summation.py`` lays down;
            ``any``: every order gives the same bits.
        kinds: the letters of ``DType.kind`` that it takes.
        identity: what leaves a reduction over a dtype unchanged: lanes and partials begin with it.
        empty: the result over no elements.
    """

    kind: str
    combine: str
    horizontal: str
    rule: Literal["tree", "any"]
    kinds: str
    identity: Callable[[DType], Number]
    empty: Callable[[DType], Number]

    def is_ordered(self, dtype: DType) -> bool:
        """Whether the bits of a result depend on the order in which elements are joined."""
        return self.rule == "tree" and dtype.is_float


def _nothing(dtype: DType) -> Number:
    return 0.0 if dtype.is_float else 0


def _negative_zero(dtype: DType) -> Number:
    """x + -0.0 is x for every x, so a sum of -0.0 is -0.0."""
    return -0.0 if dtype.is_float else 0


def _least(dtype: DType) -> Number:
    if dtype.is_bool:
        return False
    if dtype.is_float:
        return float("-inf")
    return -(1 << (dtype.bits - 1)) if dtype.kind == "i" else 0


def _greatest(dtype: DType) -> Number:
    if dtype.is_bool:
        return True
    if dtype.is_float:
        return float("inf")
    return (1 << (dtype.bits - (dtype.kind == "i"))) - 1


_KINDS: Final = (
    Combiner("sum", "add", "hsum", "tree", "iuf", _negative_zero, _nothing),
    Combiner("max", "maximum", "hmax", "any", "biuf", _least, _least),
    Combiner("min", "minimum", "hmin", "any", "biuf", _greatest, _greatest),
)
#: Every kind of reduction by name.
COMBINERS: Final[dict[str, Combiner]] = {combiner.kind: combiner for combiner in _KINDS}
