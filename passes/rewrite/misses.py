"""Why a rule did not apply: the places that begin like its pattern, and where they differ.

A site is a node whose op is that at the top of the pattern. Of all sites the one is described that
is like the pattern for the most ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from passes.rewrite.matching import is_number, number_of
from passes.rewrite.rule import Applied, Hole, Number, Rule, Term
from passes.rewrite.spelling import canonical_form
from staticgrad.language.ir.bodies import walk_bodies
from staticgrad.language.ir.graph import Graph, Symbolic
from staticgrad.language.ir.printer import op_text

#: A part of a pattern and the value in its place.
Difference = tuple[Term, Symbolic]
_DEPTH: Final = 2  # levels of operands of a value that a message shows


def describe_misses(rules: Sequence[Rule], graph: Graph) -> tuple[str, ...]:
    """Return a line for each of some rules, which applied nowhere in a graph."""
    graphs = (graph, *walk_bodies(graph))
    values = [Symbolic(node) for part in graphs for node in part.nodes if len(node.types) == 1]
    return tuple([_describe_miss(rule, values) for rule in rules])


def _describe_miss(rule: Rule, values: Sequence[Symbolic]) -> str:
    """Describe why a rule applied nowhere."""
    sites = [value for value in values if isinstance(value.node.op, rule.pattern.op_class)]
    text = f"rule {rule.name}: 0 of {len(sites)} sites"
    canonical = canonical_form(rule.pattern)
    if not sites:
        name = rule.pattern.op_class.name or rule.pattern.op_class.__name__
        text += f"; no {name} is in the graph"
    else:
        nearest = max((_compare(rule.pattern, site) for site in sites), key=lambda pair: pair[0])
        text += f"; {_explain(rule, *nearest)}"
    if canonical is not None:
        text += f"; canonical form: {canonical}"
    return text


def _explain(rule: Rule, agreeing: int, difference: Difference | None) -> str:
    if difference is None:
        return f"its condition is false, or its dtypes are others than {rule.dtypes!r}"
    term, value = difference
    place = value.node.origin.label
    if isinstance(term, Hole):
        return f"{term} stands for two values that differ, one is {value_text(value)}  # {place}"
    return f"{term} is {value_text(value)} there  # {place}"


def _compare(pattern: Term, value: Symbolic) -> tuple[int, Difference | None]:
    """Return how many ops of a pattern a value has from the top, and the first that differs."""
    bound: dict[str, Symbolic] = {}
    return _compare_term(pattern, value, bound)


def _compare_term(
    pattern: Term, value: Symbolic, bound: dict[str, Symbolic]
) -> tuple[int, Difference | None]:
    if isinstance(pattern, Hole):
        first = bound.setdefault(pattern.name, value)
        return 0, None if _is_equal(first, value) else (pattern, value)
    if isinstance(pattern, Number):
        return 0, None if is_number(value, pattern.number) else (pattern, value)
    if not isinstance(pattern, Applied):
        return 0, None
    node = value.node
    if not isinstance(node.op, pattern.op_class) or (
        pattern.op is not None and pattern.op != node.op
    ):
        return 0, (pattern, value)
    if pattern.open or len(pattern.args) != len(node.args):
        return 1, None if pattern.open else (pattern, value)
    orders = [node.args]
    if node.op.commutative and len(node.args) == 2:
        orders.append(node.args[::-1])
    results = []
    for args in orders:
        count, difference, inner = 1, None, dict(bound)
        for term, arg in zip(pattern.args, args, strict=True):
            agreeing, differs = _compare_term(term, arg, inner)
            count += agreeing
            difference = difference or differs
        results.append((count, difference, inner))
    count, difference, inner = max(results, key=lambda result: (result[1] is None, result[0]))
    bound.update(inner)
    return count, difference


def _is_equal(left: Symbolic, right: Symbolic) -> bool:
    return left.key == right.key or value_text(left, 8) == value_text(right, 8)


def value_text(value: Symbolic, depth: int = _DEPTH) -> str:
    """Print a value as patterns are printed: ``integer_pow{exponent=2}(cos(v))``."""
    node = value.node
    if node.label:
        return node.label
    number = number_of(value)
    if number is not None:
        return str(number.item())
    text = op_text(node.op)
    if not node.args:
        return text
    if depth == 0:
        return f"{text}(...)"
    return f"{text}({', '.join(value_text(arg, depth - 1) for arg in node.args)})"
