"""Matching: whether a rule's pattern is what stands at a value, and with what in its holes.

Rules are looked up by the op at the top, the dtype, and the ops one level below, so that no rule is
tried where it cannot match; most places have none to try. Operands of a commutative op are tried
both ways round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from passes.rewrite.rule import (
    Applied,
    Bindings,
    Hole,
    Match,
    Number,
    Readers,
    Rule,
    Term,
    equal_nodes,
)
from staticgrad.errors import OpDefinitionError, PipelineError
from staticgrad.errors.wording import kind_of
from staticgrad.language.ir.forms import Identity, ReshapeForm, View
from staticgrad.language.ir.graph import Constant, Node, Symbolic, new_mark
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import kind_of_elements
from staticgrad.support import fuses


class Index:
    """Rules by what can be seen of a place at once: op, dtype, the ops and numbers it reads.

    ``mark`` is the bit of ``Node.normal`` that says: no rule of this index applies here.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.mark = new_mark()
        self._rules = tuple(rules)
        read = (arg for rule in self._rules for arg in rule.pattern.args)
        numbers = {repr(term.number): term.number for term in read if isinstance(term, Number)}
        self._numbers = tuple(numbers.values())
        self._any_number = frozenset(self._numbers)
        self._reads = tuple(dict.fromkeys(rule.reads for rule in self._rules if rule.reads))
        self._candidates: dict[tuple[Any, ...], tuple[Rule, ...]] = {}
        self._of_op: dict[type[Any], tuple[Rule, ...]] = {}

    def numbers(self, value: Symbolic) -> int:
        """Return the pattern numbers that a value equals everywhere, as bits."""
        scalar = number_of(value)
        if scalar is None or scalar not in self._any_number:
            return 0
        return sum(
            1 << bit for bit, number in enumerate(self._numbers) if _equals_bitwise(scalar, number)
        )

    def conditions(self, kind: TensorType) -> int:
        """Return the conditions of rules on a type that they read, as bits, which one meets."""
        return sum(1 << bit for bit, is_read in enumerate(self._reads) if is_read(kind))

    def candidates(
        self, node: Node, numbers: Mapping[Node, int], conditions: int
    ) -> tuple[Rule, ...]:
        """Return the rewrite rules that may match a node, in order, given what it reads.

        ``conditions``: those that some type of an operand meets, as bits.
        """
        if len(node.types) != 1:
            return ()
        seen: list[Any] = [type(node.op), node.types[0].dtype.kind, conditions]
        for arg in node.args:
            seen.append(type(arg.node.op))
            if arg.node in numbers:
                seen.append(numbers[arg.node])
        key = tuple(seen)
        matching = self._candidates.get(key)
        if matching is None:
            kind = type(node.op)
            rules = self._of_op.get(kind)
            if rules is None:
                fitting = [rule for rule in self._rules if issubclass(kind, rule.pattern.op_class)]
                rules = self._of_op[kind] = tuple(fitting)
            matching = tuple(
                [rule for rule in rules if self._may_match(rule, node, numbers, conditions)]
            )
            self._candidates[key] = matching
        return matching

    def _may_match(
        self, rule: Rule, node: Node, numbers: Mapping[Node, int], conditions: int
    ) -> bool:
        """Return True if a rule's root and operand ops may match a node."""
        pattern = rule.pattern
        if node.types[0].dtype.kind not in rule.dtypes:
            return False
        if rule.reads and not conditions >> self._reads.index(rule.reads) & 1:
            return False
        if pattern.open:
            over = pattern.over
            return over is None or any(isinstance(arg.node.op, over) for arg in node.args)
        if len(pattern.args) != len(node.args):
            return False
        return any(
            all(self._fits(*pair, numbers) for pair in zip(pattern.args, args, strict=True))
            for args in _orders(node)
        )

    def _fits(self, pattern: Term, arg: Symbolic, numbers: Mapping[Node, int]) -> bool:
        if isinstance(pattern, Number):
            bit = [repr(number) for number in self._numbers].index(repr(pattern.number))
            return bool(numbers.get(arg.node, 0) >> bit & 1)
        return not isinstance(pattern, Applied) or isinstance(arg.node.op, pattern.op_class)


def matches(
    rules: Iterable[Rule], value: Symbolic, readers: Readers
) -> Iterator[tuple[Rule, Match]]:
    """Yield the matches of rewrite rules at ``value`` whose condition holds, in order."""
    for rule in rules:
        for bindings in _match_term(rule.pattern, value, {}):
            match = Match(value, bindings, readers)
            if rule.where is None or _condition_holds(rule, match):
                yield rule, match
                break


def _condition_holds(rule: Rule, match: Match) -> bool:
    """Return True if a rule's extra condition holds for a match.

    Raises:
        PipelineError: the condition does not return a truth value.
    """
    try:
        outcome = rule.where(match) if rule.where is not None else True
    except Exception as error:
        error.add_note(f"in the condition of rule {rule}")
        raise
    if not isinstance(outcome, bool | np.bool_):
        raise PipelineError(
            f"rule {rule.name!r}: its condition gives {kind_of(outcome)}, not True or False",
            at=match.root.node.origin,
        )
    return bool(outcome)


def holds(pattern: Term, value: Symbolic) -> bool:
    """Return whether ``pattern`` matches ``value``."""
    return next(_match_terms((pattern,), (value,), {}), None) is not None


def _match_term(pattern: Applied, value: Symbolic, bindings: Bindings) -> Iterator[Bindings]:
    """Yield all bindings with which a pattern matches a value, given earlier bindings."""
    node = value.node
    if not isinstance(node.op, pattern.op_class):
        return
    if pattern.op is not None and node.op != pattern.op:
        return
    bindings = {**bindings, pattern: value}
    if pattern.name:
        bound = bindings.get(pattern.name)
        if bound is not None and bound.key != value.key:
            return
        bindings[pattern.name] = value
    if pattern.open:
        yield bindings
        return
    if len(node.args) != len(pattern.args):
        return
    for args in _orders(node):
        yield from _match_terms(pattern.args, args, bindings)


def _orders(node: Node) -> tuple[tuple[Symbolic, ...], ...]:
    """Return the operands in every order in which they may be taken."""
    args = node.args
    if node.op.commutative and len(args) == 2 and args[0].key != args[1].key:
        return (args, args[::-1])
    return (args,)


def _match_terms(
    patterns: tuple[Term, ...], values: tuple[Symbolic, ...], bindings: Bindings
) -> Iterator[Bindings]:
    """Yield all bindings with which patterns match values, least ambiguous ones first."""
    below: list[tuple[Applied, Symbolic]] = []
    for pattern, value in zip(patterns, values, strict=True):
        if isinstance(pattern, Applied):
            below.append((pattern, value))
        elif isinstance(pattern, Number):
            if not is_number(value, pattern.number):
                return
        elif isinstance(pattern, Hole):
            bound = bindings.get(pattern.name)
            if bound is None:
                bindings = {**bindings, pattern.name: value}
            elif bound.key != value.key:
                if not list(equal_nodes(bound, value)):
                    return
                bindings = {**bindings, pattern: value}
    yield from _match_pairs(below, bindings) if below else (bindings,)


def _match_pairs(pairs: list[tuple[Applied, Symbolic]], bindings: Bindings) -> Iterator[Bindings]:
    (pattern, value), *others = pairs
    for extended in _match_term(pattern, value, bindings):
        yield from _match_pairs(others, extended) if others else (extended,)


def number_of(value: Symbolic) -> Any:
    """Return the NumPy scalar that all elements of a value equal, or None if unknown.

    Sees through what moves or broadcasts elements. Of no elements nothing is known.
    """
    node = value.node
    while not isinstance(node.op, Constant):
        if not repeats_first(node):
            return None
        node = node.args[0].node
    array = node.op.data.array
    if array.ndim == 0:
        return array[()]
    if not 0 < array.size <= fuses.SEARCHED_ELEMENTS:
        return None
    first = array.flat[0]
    return first if (array.view(np.uint8).reshape(array.size, -1) == _bytes(first)).all() else None


def repeats_first(node: Node) -> bool:
    """Return True if a node only moves or repeats the elements of its operand."""
    if len(node.args) != 1 or type(node.op).form is Elementwise.form:
        return False
    try:
        return isinstance(node.form, View | ReshapeForm | Identity)
    except OpDefinitionError:  # an op that does not say how it touches memory
        return False


def is_number(value: Symbolic, number: bool | int | float) -> bool:
    """Return whether every element of ``value`` is ``number``, bit for bit in its dtype."""
    scalar = number_of(value)
    return scalar is not None and _equals_bitwise(scalar, number)


def _equals_bitwise(scalar: Any, number: bool | int | float) -> bool:
    """Return True if a NumPy scalar is ``number`` bitwise in its dtype."""
    if scalar != number or (isinstance(number, float) and kind_of_elements(scalar.dtype) != "f"):
        return False
    try:
        converted = scalar.dtype.type(number)
    except OverflowError:
        return False
    return bool(converted == number) and converted.tobytes() == scalar.tobytes()


def _bytes(scalar: Any) -> Any:
    return np.frombuffer(scalar.tobytes(), np.uint8)
