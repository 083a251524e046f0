"""Spellings of a pattern: the forms that a program may have, of equal bits, where a rule has one.

Functions of values choose an op when they are called, for patterns as for programs: ``x ** 2`` is
``integer_pow`` in both. Two kinds of form remain apart, and a rule from outside is tried in all:
a square, which is ``x ** 2`` or ``x * x``, and what the exact rules make of the pattern, which is
what they make of the program (``x / 2.0`` is ``x * 0.5`` behind them). Tables of the repository say
what they mean, form by form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice, product
from typing import Any, Final

from passes.rewrite.driver import rewrite
from passes.rewrite.matching import holds, number_of
from passes.rewrite.rule import Applied, Hole, Match, Number, Rule, Term, substitute, subterms
from staticgrad.errors import StaticgradError
from staticgrad.language.ir.graph import Graph, Input, Symbolic, ancestors
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.ops.arithmetic import multiply, square
from staticgrad.language.types.arrays import TensorType
from staticgrad.support import fuses
from staticgrad.support.building import capture

#: The shape of values in the place of holes: a pattern says nothing about shapes.
_SHAPE: Final = (3,)
#: The exact rules, which the pass of them registers.
_EXACT: Final[list[Sequence[Rule]]] = []


def register_exact(rules: Sequence[Rule]) -> None:
    """Say which rules bring programs to the form that they have behind the passes."""
    _EXACT[:] = [rules]
    spellings.cache_clear()


@lru_cache(maxsize=256)
def spellings(rule: Rule) -> tuple[Rule, ...]:
    """Return a rule, and the same rule for other spellings of its pattern, of equal bits."""
    patterns = {repr(term): term for term in islice(_squares(rule.pattern), fuses.RULE_SPELLINGS)}
    canonical = canonical_form(rule.pattern)
    if canonical is not None:
        patterns.update(
            {repr(term): term for term in islice(_squares(canonical), fuses.RULE_SPELLINGS)}
        )
    every = [*patterns.values()]
    del patterns[repr(rule.pattern)]
    return (rule, *[_respell(rule, pattern, every) for pattern in patterns.values()])


def _respell(rule: Rule, pattern: Applied, every: Sequence[Applied]) -> Rule:
    """Return a rule for another spelling of its pattern.

    It does not apply where it would build what a spelling matches: a rule that makes one spelling
    of the other (``x * x`` to ``x ** 2``) is there for its own direction alone.
    """
    right = rule.replacement
    if isinstance(right, int | float):
        return dataclasses.replace(rule, pattern=pattern)

    def build(match: Match) -> Any:
        built = substitute(right, match) if isinstance(right, Term) else right(match)
        if isinstance(built, Symbolic):
            for node in ancestors([built], oldest=match.root.node.serial + 1):
                if any(holds(term, Symbolic(node)) for term in every):
                    return None
        return built

    return dataclasses.replace(rule, pattern=pattern, replacement=build)


def _squares(term: Any) -> Iterator[Any]:
    """Yield a pattern with each of its squares as a power and as a product, itself first."""
    if not isinstance(term, Applied) or term.open:
        yield term
        return
    value: Any = Hole("x")
    power: Any = square(value)
    times: Any = multiply(value, value)
    for args in product(*[[*islice(_squares(arg), fuses.RULE_SPELLINGS)] for arg in term.args]):
        yield Applied(term.op_class, args, term.op, term.name)
        if term.name or term.op is None:
            continue
        if term.op == power.op:
            yield Applied(times.op_class, (args[0], args[0]), times.op)
        elif term.op == times.op and repr(args[0]) == repr(args[1]):
            yield Applied(power.op_class, args[:1], power.op)


def canonical_form(pattern: Applied) -> Applied | None:
    """Return what the exact rules make of a pattern; None if that is the pattern, or no pattern."""
    if not _EXACT or any(
        isinstance(term, Applied) and (term.op is None or term.name) for term in subterms(pattern)
    ):
        return None
    holes = {term.name: term for term in subterms(pattern) if isinstance(term, Hole)}
    values = {}
    for name, hole in holes.items():
        kind = TensorType(hole.dtype, _SHAPE)
        values[name] = Symbolic(leaf_node(Input(name, kind), capture()))
    try:
        graph = Graph({"y": substitute(pattern, values)})
        rewritten, _ = rewrite(graph, _EXACT[0])
        term = _term_of(rewritten.outputs["y"], holes)
    except (StaticgradError, LookupError):  # numbers alone, or an op that takes another type
        return None
    if not isinstance(term, Applied) or repr(term) == repr(pattern):
        return None
    has_all = {part.name for part in subterms(term) if isinstance(part, Hole)} == {*holes}
    return term if has_all else None


def _term_of(value: Symbolic, holes: dict[str, Hole]) -> Any:
    """Return the pattern of a value that was built of a pattern.

    Raises:
        LookupError: an op whose attributes depend on shapes.
    """
    node = value.node
    if isinstance(node.op, Input):
        return holes[node.op.label]
    number = number_of(value)
    if number is not None:
        return Number(number.item(), value.dtype)
    if len(node.types) != 1 or any(isinstance(part, tuple) for _, part in node.op.attributes()):
        raise LookupError(node.op.name)
    return Applied(type(node.op), tuple([_term_of(arg, holes) for arg in node.args]), node.op)
