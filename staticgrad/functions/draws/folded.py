"""Random draws in loops: their keys are folded with the number of the trip (``philox.folded``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakSet

from staticgrad.building import within
from staticgrad.ir.forms import Identity, ReshapeForm, View
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Node, Parameter, ParameterLeaf, Symbolic
from staticgrad.ir.value import Value
from staticgrad.ops.philox import FOLDED, RandomBits, folded
from staticgrad.types.dtype import U64


class FoldedKeys:
    """The keys of the draws in a body.

    ``drawing`` has the nodes that draw, or run bodies that do, each with the places of its operands
    that are keys.
    """

    def __init__(self, number: Symbolic, nodes: Iterable[Node]) -> None:
        self._number = number
        self._known: dict[tuple[Node, int], Symbolic] = {}
        self._new = {*nodes}
        found = ((node, _key_places(node)) for node in nodes)
        self.drawing = {node: places for node, places in found if places}

    def folded(self, node: Node, operands: Sequence[Symbolic]) -> tuple[Symbolic, ...]:
        """The operands of the node in the body, keys folded."""
        places = self.drawing.get(node, ())
        return tuple(
            [
                self._of(v, node) if k in places and not self._is_folded(node.args[k]) else v
                for k, v in enumerate(operands)
            ]
        )

    def _is_folded(self, key: Symbolic) -> bool:
        """Whether a key was made in the body, of one that is folded there (``vmap`` in it does)."""
        node = key.node
        while isinstance(node.form, View | Identity | ReshapeForm):
            node = node.args[0].node
        return node in self._new and isinstance(node.op, RandomBits) and node.op.stream == FOLDED

    def _of(self, key: Symbolic, node: Node) -> Symbolic:
        if key.key not in self._known:
            with within(node.origin, node.order):
                self._known[key.key] = folded(key, functions.astype(self._number, U64))
        return self._known[key.key]


def _key_places(node: Node) -> frozenset[int]:
    """The places of the operands that draws have as their key, in bodies of the node as well."""
    if isinstance(node.op, RandomBits):
        return frozenset([0])
    found: set[int] = set()
    for body in node.op.bodies:
        before = len(body.inputs) - len(node.args)  # the number of a trip; or the choice is none
        places = {value.key: place - before for place, value in enumerate(body.inputs)}
        for inner in body.nodes:
            keys = (inner.args[place].key for place in _key_places(inner))
            found |= {places[key] for key in keys if key in places}
    return frozenset(found)


# -- generators -----------------------------------------------------------------------------------


class Stream(NamedTuple):
    """What a draw reads beside the key: a step, and its own number in it."""

    step: Any
    number: int


class Drawing(Protocol):
    """A generator: ``streams`` draws are made, in the trips of the loops that run at once.

    ``step`` is a parameter, and ``updates`` lets it go on; of a generator of tensors it is none.
    """

    streams: int
    trips: tuple[int, ...]
    step: Any

    @property
    def updates(self) -> dict[Parameter, Value]:
        """The step, one further."""

    def end_loop(self, streams: int) -> None:
        """A loop has run at once, before which so many streams had been drawn."""


GENERATORS: Final[WeakSet[Drawing]] = WeakSet()


def steps_of(nodes: Iterable[Node]) -> list[tuple[Parameter, Value]]:
    """The next steps of all generators from which these nodes draw, the older one first."""
    read = {node for node in nodes if isinstance(node.op, ParameterLeaf)}
    found = {  # one of those that share a step, as shallow copies do
        each.step.node: each
        for each in list(GENERATORS)
        if isinstance(each.step, Parameter) and each.step.node in read
    }
    ordered = sorted(found.values(), key=lambda each: each.step.node.serial)
    return [pair for each in ordered for pair in each.updates.items()]


class Draws:
    """Where all generators stood, so that what is traced or run again draws from there."""

    def __init__(self) -> None:
        self._before = [(each, each.streams) for each in list(GENERATORS)]

    def again(self) -> None:
        """Go back."""
        for each, streams in self._before:
            each.streams = streams

    def further(self) -> None:
        """Let none stand before where it stood."""
        for each, streams in self._before:
            each.streams = max(each.streams, streams)

    def end_loop(self) -> None:
        """A loop has run at once since then."""
        for each, streams in self._before:
            each.end_loop(streams)

    @contextmanager
    def trip(self, number: int) -> Iterator[None]:
        """A trip of a loop that runs at once: it begins with the same streams as each other."""
        self.again()
        trips = [(each, each.trips) for each in list(GENERATORS)]
        for each, around in trips:
            each.trips = (*around, number)
        try:
            yield
        finally:
            for each, around in trips:
                each.trips = around


@contextmanager
def loop_at_once() -> Iterator[None]:
    """A loop that runs at once; also a decorator of what runs one."""
    before = Draws()
    yield
    before.end_loop()
