"""Rewriting: rules written as graphs with holes, matched by op, applied until nothing applies.

A rule file needs only what stands here:

>>> from passes.rewrite import holes, rule
>>> x, y = holes("x y")
>>> print(rule("subtract-negative", x - (-y), x + y))
subtract-negative: sub(x, neg(y)) -> add(x, y)

``rule`` has the notation, what a rule states and what its functions take, ``matching`` finds,
``driver`` rewrites a whole graph, and ``base`` makes passes of tables of rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from passes.rewrite.driver import (
    Rewritten as Rewritten,
    rewrite as rewrite,
    rewrite_nodes as rewrite_nodes,
)
from passes.rewrite.matching import (
    holds as holds,
    is_number as is_number,
    number_of as number_of,
)
from passes.rewrite.rule import (
    Match as Match,
    Rule as Rule,
    Term as Term,
    hole as hole,
    holes as holes,
    rule as rule,
    some as some,
)
from staticgrad.errors.tracebacks import boundary

if TYPE_CHECKING:
    from passes.rewrite.base import Rewrite as Rewrite

__all__ = [
    "Match",
    "Rewrite",
    "Rewritten",
    "Rule",
    "Term",
    "holds",
    "hole",
    "holes",
    "is_number",
    "number_of",
    "rewrite",
    "rewrite_nodes",
    "rule",
    "some",
]


@boundary
def __getattr__(name: str) -> Any:
    """``Rewrite`` loads settings and reports, which differentiation does without."""
    if name != "Rewrite":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from passes.rewrite.base import Rewrite

    return Rewrite
