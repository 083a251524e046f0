"""Rewriting: rules written as graphs with holes, matched by op, applied until nothing applies.

A rule file needs only what stands here:

>>> from passes.rewrite import holes, rule
>>> x, y = holes("x y")
>>> print(rule("subtract-negative", x - (-y), x + y))
subtract-negative: sub(x, neg(y)) -> add(x, y)

``terms`` is the notation, ``rule`` what a rule states, ``matching`` finds, ``driver`` rewrites a
whole graph, and ``base`` makes passes of tables of rules.
"""

from passes.rewrite.base import Rewrite as Rewrite
from passes.rewrite.driver import rewrite as rewrite
from passes.rewrite.matching import (
    Match as Match,
    holds as holds,
    is_number as is_number,
    number_of as number_of,
)
from passes.rewrite.rule import Rule as Rule, rule as rule
from passes.rewrite.terms import Term as Term, hole as hole, holes as holes, some as some

__all__ = [
    "Match",
    "Rewrite",
    "Rule",
    "Term",
    "holds",
    "hole",
    "holes",
    "is_number",
    "number_of",
    "rewrite",
    "rule",
    "some",
]
