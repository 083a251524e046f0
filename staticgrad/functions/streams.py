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
from staticgrad.language.ops.philox import FOLDED, RandomBits, fold_key
from staticgrad.language.types.dtype import U64
from staticgrad.support.building import within


class FoldedKeys:
    """The keys of the draws in a body.

    ``drawing`` has the nodes that draw, or run bodies that do, each with the places of its operands
    that are keys.
    """

    def __init__(self, number: Symbolic, nodes: Iterable[Node]) -> None:
        self._number = number
        self._folded_keys: dict[tuple[Node, int], Symbolic] = {}
        self._new = {*nodes}
        pairs = ((node, _key_places(node)) for node in nodes)
        self.drawing = {node: places for node, places in pairs if places}

    def fold_keys(self, node: Node, operands: Sequence[Symbolic]) -> tuple[Symbolic, ...]:
        """The operands of the node in the body, keys folded."""
        places = self.drawing.get(node, ())
        return tuple(
            [
                self._fold_key(v, node) if k in places and not self._is_folded(node.args[k]) else v
                for k, v in enumerate(operands)
            ]
        )

    def _is_folded(self, key: Symbolic) -> bool:
        """Return whether a key was made in the body from a folded one (as ``vmap`` in it does)."""
        node = key.node
        while isinstance(node.form, View | Identity | ReshapeForm):
            node = node.args[0].node
        return node in self._new and isinstance(node.op, RandomBits) and node.op.stream == FOLDED

    def _fold_key(self, key: Symbolic, node: Node) -> Symbolic:
        if key.key not in self._folded_keys:
            with within(node.origin, node.order):
                self._folded_keys[key.key] = fold_key(key, astype(self._number, U64))
        return self._folded_keys[key.key]


def _key_places(node: Node) -> frozenset[int]:
    """Return which operands of a node are random keys, in its bodies as well."""
    if isinstance(node.op, RandomBits):
        return frozenset([0])
    key_places: set[int] = set()
    for body in bodies_of(node):
        offset = len(body.inputs) - len(
            node.args
        )  # the number of an iteration; or the choice is none
        places = {value.key: place - offset for place, value in enumerate(body.inputs)}
        for inner in body.nodes:
            keys = (inner.args[place].key for place in _key_places(inner))
            key_places |= {places[key] for key in keys if key in places}
    return frozenset(key_places)


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


#: Generators that draw, while they live: loops and traces restart their streams.
GENERATORS: Final[WeakSet[Drawing]] = WeakSet()


class Draws:
    """The positions of all generators, so that traced or repeated code draws the same numbers."""

    def __init__(self) -> None:
        self._saved_streams = [(generator, generator.streams) for generator in list(GENERATORS)]

    def restore(self) -> None:
        """Set all generators back to the recorded positions."""
        for generator, streams in self._saved_streams:
            generator.streams = streams

    def advance(self) -> None:
        """Set no generator back: keep the later of the recorded and the present position."""
        for generator, streams in self._saved_streams:
            generator.streams = max(generator.streams, streams)

    @contextmanager
    def iteration(self, number: int) -> Iterator[None]:
        """Run an iteration of an eager loop; all iterations begin with the same streams."""
        self.restore()
        iterations = [(generator, generator.iterations) for generator in list(GENERATORS)]
        for generator, saved in iterations:
            generator.iterations = (*saved, number)
        try:
            yield
        finally:
            for generator, saved in iterations:
                generator.iterations = saved


@contextmanager
def draws_from_0() -> Iterator[None]:
    """Number streams from 0 inside, where a function is traced or runs: each call is a step.

    What a call draws depends on key and step alone, not on what was traced before.
    """
    saved = [(generator, generator.streams, generator.iterations) for generator in list(GENERATORS)]
    for generator, _, _ in saved:
        generator.streams, generator.iterations = 0, ()
    try:
        yield
    finally:
        for generator, streams, iterations in saved:
            generator.streams, generator.iterations = streams, iterations


@contextmanager
def loop_at_once() -> Iterator[None]:
    """Run a loop eagerly; also a decorator of functions that run one."""
    with ExitStack() as stack:
        for generator in list(GENERATORS):
            stack.enter_context(generator.loop())
        yield
