"""Streams of random numbers: which numbers a generator draws next, in loops and traced functions.

A draw has a key, a step and the number of its stream. Traced code, repeated code and the iterations
of a loop begin with the same streams, so that what a program draws depends on its text alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakSet

from staticgrad.language.ir.forms import Identity, ReshapeForm, View
from staticgrad.language.ir.graph import Node, Parameter, Symbolic, bodies_of
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.philox import FOLDED, RandomBits, folded
from staticgrad.language.types.dtype import U64
from staticgrad.support.building import within


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
        """Return whether a key was made in the body from a folded one (as ``vmap`` in it does)."""
        node = key.node
        while isinstance(node.form, View | Identity | ReshapeForm):
            node = node.args[0].node
        return node in self._new and isinstance(node.op, RandomBits) and node.op.stream == FOLDED

    def _of(self, key: Symbolic, node: Node) -> Symbolic:
        if key.key not in self._known:
            with within(node.origin, node.order):
                self._known[key.key] = folded(key, astype(self._number, U64))
        return self._known[key.key]


def _key_places(node: Node) -> frozenset[int]:
    """The places of the operands that draws have as their key, in bodies of the node as well."""
    if isinstance(node.op, RandomBits):
        return frozenset([0])
    found: set[int] = set()
    for body in bodies_of(node):
        before = len(body.inputs) - len(
            node.args
        )  # the number of an iteration; or the choice is none
        places = {value.key: place - before for place, value in enumerate(body.inputs)}
        for inner in body.nodes:
            keys = (inner.args[place].key for place in _key_places(inner))
            found |= {places[key] for key in keys if key in places}
    return frozenset(found)


# -- generators -----------------------------------------------------------------------------------


class Stream(NamedTuple):
    """The inputs of a draw beside the key: a step, and the number of its stream."""

    step: Any
    number: int


class Drawing(Protocol):
    """A generator: ``streams`` draws are made, in the iterations of the loops that run at once.

    ``step`` is a parameter, and ``updates`` lets it go on.
    """

    streams: int
    iterations: tuple[int, ...]
    step: Any

    @property
    def updates(self) -> dict[Parameter, Value]:
        """The step, one further."""

    def loop(self) -> AbstractContextManager[None]:
        """Inside, a loop runs at once."""


GENERATORS: Final[WeakSet[Drawing]] = WeakSet()


class Draws:
    """The positions of all generators, so that traced or repeated code draws the same numbers."""

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

    @contextmanager
    def iteration(self, number: int) -> Iterator[None]:
        """An iteration of a loop that runs at once: it begins with the same streams as each
        other."""
        self.again()
        iterations = [(each, each.iterations) for each in list(GENERATORS)]
        for each, around in iterations:
            each.iterations = (*around, number)
        try:
            yield
        finally:
            for each, around in iterations:
                each.iterations = around


@contextmanager
def draws_from_0() -> Iterator[None]:
    """Number streams from 0 inside, where a function is traced or runs: each call is a step.

    What a call draws depends on key and step alone, not on what was traced before.
    """
    before = [(each, each.streams, each.iterations) for each in list(GENERATORS)]
    for each, _, _ in before:
        each.streams, each.iterations = 0, ()
    try:
        yield
    finally:
        for each, streams, iterations in before:
            each.streams, each.iterations = streams, iterations


@contextmanager
def loop_at_once() -> Iterator[None]:
    """Run a loop eagerly; also a decorator of functions that run one."""
    with ExitStack() as stack:
        for each in list(GENERATORS):
            stack.enter_context(each.loop())
        yield
