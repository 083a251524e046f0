"""Matching: whether a rule's pattern is what stands at a value, and with what in its holes.

Rules are looked up by the op at the top and the ops one level below, so that no rule is tried where
it cannot match. Operands of a commutative op are tried both ways round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from passes.rewrite.rule import Rule
from passes.rewrite.terms import Applied, Hole, Number, Term
from staticgrad.ir.forms import Reshape, Same, View
from staticgrad.ir.graph import Constant, Node, Symbolic
from staticgrad.ir.op import Op

#: Larger constants are not searched for being one number throughout.
_SEARCHED: Final = 4096
Bindings = Mapping[str, Symbolic]
#: How often a value is read.
Readers = Callable[[Symbolic], int]
_Heads = tuple[type[Op] | None, ...] | None


class Match:
    """What a pattern found: ``match.x`` is the value in the hole (or the named op) ``x``.

    ``match.root`` is the value to be replaced.
    """

    __slots__ = ("_found", "_readers", "root")

    def __init__(self, root: Symbolic, found: Bindings, readers: Readers) -> None:
        self.root, self._found, self._readers = root, found, readers

    def __getattr__(self, name: str) -> Symbolic:
        try:
            return self._found[name]
        except KeyError:
            raise AttributeError(f"the pattern has no hole {name!r}") from None

    def __getitem__(self, name: str) -> Symbolic:
        return self._found[name]

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def readers(self, name: str) -> int:
        """How many nodes and roots read the value in the hole (or of the named op)."""
        return self._readers(self._found[name])

    def op(self, name: str) -> Any:
        """The op of the node that the named term of the pattern found."""
        return self._found[name].node.op


class Index:
    """Rules by the op of their root; those of a family stand with each of its ops."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [(rule, _heads(rule.pattern)) for rule in rules]
        self._by_root: dict[type[Op], list[tuple[Rule, _Heads]]] = {}

    def matches(self, value: Symbolic, readers: Readers) -> Iterator[tuple[Rule, Match]]:
        """Every rule whose pattern, dtype and condition hold at ``value``, in order."""
        node = value.node
        if len(node.types) != 1:
            return
        for rule, heads in self._candidates(type(node.op)):
            if value.type.dtype.kind not in rule.dtypes or not _plausible(heads, node):
                continue
            for found in _found(rule.pattern, value, {}):
                match = Match(value, found, readers)
                if rule.where is None or rule.where(match):
                    yield rule, match
                    break

    def _candidates(self, op_class: type[Op]) -> list[tuple[Rule, _Heads]]:
        found = self._by_root.get(op_class)
        if found is None:
            found = [each for each in self._rules if issubclass(op_class, each[0].pattern.op_class)]
            self._by_root[op_class] = found
        return found


def _heads(pattern: Applied) -> _Heads:
    """What the operands of a node can be asked for at once: their op, or nothing (None)."""
    if pattern.open:
        return None
    return tuple(arg.op_class if isinstance(arg, Applied) else None for arg in pattern.args)


def _plausible(heads: _Heads, node: Node) -> bool:
    if heads is None:
        return True
    if len(heads) != len(node.args):
        return False
    args = node.args
    return _fits(heads, args) or (node.op.commutative and _fits(heads, args[::-1]))


def _fits(heads: tuple[type[Op] | None, ...], args: tuple[Symbolic, ...]) -> bool:
    pairs = zip(heads, args, strict=True)
    return all(head is None or isinstance(arg.node.op, head) for head, arg in pairs)


def _found(pattern: Term, value: Symbolic, found: dict[str, Symbolic]) -> Iterator[Bindings]:
    """Every way in which ``pattern`` holds at ``value``, given what is bound already."""
    if isinstance(pattern, Hole):
        bound = found.get(pattern.name)
        if bound is None:
            yield {**found, pattern.name: value}
        elif bound.key == value.key:
            yield found
    elif isinstance(pattern, Number):
        if is_number(value, pattern.number):
            yield found
    elif isinstance(pattern, Applied):
        yield from _found_op(pattern, value, found)


def _found_op(pattern: Applied, value: Symbolic, found: dict[str, Symbolic]) -> Iterator[Bindings]:
    node = value.node
    if not isinstance(node.op, pattern.op_class):
        return
    if pattern.op is not None and node.op != pattern.op:
        return
    if pattern.name:
        bound = found.get(pattern.name)
        if bound is not None and bound.key != value.key:
            return
        found = {**found, pattern.name: value}
    if pattern.open:
        yield found
        return
    if len(node.args) != len(pattern.args):
        return
    orders = [node.args]
    if node.op.commutative and len(node.args) == 2 and node.args[0].key != node.args[1].key:
        orders.append(node.args[::-1])
    for args in orders:
        yield from _found_all(pattern.args, args, found)


def _found_all(
    patterns: tuple[Term, ...], values: tuple[Symbolic, ...], found: Any
) -> Iterator[Bindings]:
    if not patterns:
        yield found
        return
    for each in _found(patterns[0], values[0], found):
        yield from _found_all(patterns[1:], values[1:], each)


def number_of(value: Symbolic) -> Any:
    """The NumPy scalar that every element of ``value`` is, or None where that is not known.

    Sees through what moves or broadcasts elements. Of no elements nothing is known.
    """
    node = value.node
    while not node.is_leaf and isinstance(node.form, View | Reshape | Same):
        node = node.args[0].node
    if not isinstance(node.op, Constant):
        return None
    array = node.op.data.array
    if array.ndim == 0:
        return array[()]
    if not 0 < array.size <= _SEARCHED:
        return None
    first = array.flat[0]
    return first if (array.view(np.uint8).reshape(array.size, -1) == _bytes(first)).all() else None


def is_number(value: Symbolic, number: bool | int | float) -> bool:
    """Whether every element of ``value`` is ``number``, bit for bit in its dtype."""
    found = number_of(value)
    if found is None:
        return False
    if isinstance(number, float) and found.dtype.kind != "f":
        return False
    try:
        wanted = found.dtype.type(number)
    except OverflowError:
        return False
    return bool(wanted == number) and wanted.tobytes() == found.tobytes()


def _bytes(scalar: Any) -> Any:
    return np.frombuffer(scalar.tobytes(), np.uint8)
