"""Algebra: rules that hold within a stated error; at O2, or where asked for."""

from __future__ import annotations

from passes.rewrite.base import Rewrite
from passes.rules import VALUE


class Algebra(Rewrite, name="algebra"):
    """Sums of broadcasts, sums of products, chains of matrix products, factors; ``rules.algebra``.

    Results move by what the rules state; a policy, a budget or fusion still changes no bit.
    """

    keeps = "close"
    rules = VALUE
