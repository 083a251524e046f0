"""What a loop begins with: Python numbers among it take the dtype that an iteration gives them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from staticgrad.functions.tracing import as_results
from staticgrad.ir.graph import Symbolic, constant
from staticgrad.ops.elementwise import is_weak
from staticgrad.types.dtype import F32, F64, DType


class FirstCarries:
    """First carries of a loop as values, whose dtypes a trace of the body may still change.

    A Python number has no dtype of its own: it takes the one that an iteration gives it. A float
    begins as float32, and is float64 where nothing in the loop is float32. Each change asks for
    another trace, and each number changes a bounded number of times, since dtypes only grow.

    Attributes:
        values: the carries of the next trace, one for each leaf.
    """

    def __init__(self, name: str, leaves: Sequence[Any]) -> None:
        self._leaves = leaves
        self._weak = [is_weak(leaf) for leaf in leaves]
        self._narrow = [k for k, leaf in enumerate(leaves) if self._weak[k] and type(leaf) is float]
        self.values: list[Symbolic] = as_results(name, leaves)
        for place in self._narrow:
            self.values[place] = constant(leaves[place], F32)

    def follow(self, ends: Sequence[Symbolic]) -> bool:
        """Give numbers the dtypes in which an iteration ends; whether any changed."""
        grown = [
            place
            for place, (value, end) in enumerate(zip(self.values, ends, strict=True))
            if self._weak[place] and end.dtype != value.dtype and not end.shape
        ]
        for place in grown:
            self._settle(place, ends[place].dtype)
        return bool(grown)

    def widen_beside(self, others: Set[DType]) -> bool:
        """Make floats float64 unless a carry of a dtype of its own, or one of ``others`` (those of
        everything else that the loop reads), is float32; whether any changed."""
        strong = {v.dtype for place, v in enumerate(self.values) if place not in self._narrow}
        return F32 not in strong | others and self.widen()

    def widen(self) -> bool:
        """Make floats that are still float32 by default float64; whether there are any."""
        narrow = self._narrow
        for place in narrow:
            self._settle(place, F64)
        return bool(narrow)

    def _settle(self, place: int, dtype: DType) -> None:
        self._weak[place] = False
        self._narrow = [each for each in self._narrow if each != place]
        self.values[place] = constant(self._leaves[place], dtype)
