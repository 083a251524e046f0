"""Random numbers for tensors: the generators of ``sg.random``, drawn from at once.

The same seed and the same draws give the same bits as in a compiled graph, for it is the same op.
Here the generator itself moves on: after each draw, and to the next step by ``advance``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakSet

import numpy as np

from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError
from staticgrad.errors.tracebacks import bounded
from staticgrad.functions import random
from staticgrad.functions.draws import GENERATORS, Stream
from staticgrad.ops.operands import integer
from staticgrad.ops.philox import FOLDED

_generators: Final[WeakSet[Generator]] = WeakSet()
#: Eager generators, others with their steps and the number of their draws, and NumPy's.
State = tuple[list[tuple["Generator", tuple[int, int]]], list[tuple[Any, Any, int]], Any]


@bounded
class Generator(random.Generator):
    """A source of random tensors with a seed. ``key`` and ``step`` are 0-d uint64 tensors.

    >>> from staticgrad.eager import Generator
    >>> generator = Generator(seed=1)
    >>> first = generator.normal(shape=(2,))
    >>> bool((Generator(seed=1).normal(shape=(2,)) == first).all())
    True
    """

    key: Any
    step: Any

    def __init__(self, seed: int) -> None:
        """A generator.

        Args:
            seed: a whole number.

        Raises:
            ArgumentError: a seed that is no whole number in [0, 2**64).
        """
        number = integer("Generator", "seed", seed)
        if not 0 <= number < 1 << 64:
            raise ArgumentError(f"Generator: the seed {number} is not in [0, 2**64)")
        self.key = Tensor.of(np.array(number, np.uint64))
        self._begin()
        self.state = (0, 0)

    def _enlist(self) -> None:
        super()._enlist()
        _generators.add(self)

    @property
    def updates(self) -> Any:
        """There are none: the generator moves on by itself.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError("an eager generator has no graph updates", hint="call advance()")

    @property
    def state(self) -> tuple[int, int]:
        """The step, and how many draws have been made in it; may be set."""
        return int(self.step), self.streams

    @state.setter
    def state(self, state: tuple[int, int]) -> None:
        self.step, self.streams = Tensor.of(np.array(state[0], np.uint64)), state[1]

    def state_dict(self) -> dict[str, Any]:
        """The key, the step, and how many draws have been made in it: 0-d arrays."""
        draws = np.array(self.streams, np.uint64)
        return {"key": self.key.array.copy(), "step": self.step.array.copy(), "draws": draws}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where another generator stood.

        Raises:
            ArgumentError: not what ``state_dict`` gives.
        """
        found = {name: np.asarray(each) for name, each in state.items()}
        kinds = {name: (each.dtype.name, each.shape) for name, each in found.items()}
        if kinds != dict.fromkeys(("key", "step", "draws"), ("uint64", ())):
            raise ArgumentError("a generator's state is 0-d uint64: its key, its step, its draws")
        self.key = Tensor.of(found["key"].copy())
        self.state = int(found["step"]), int(found["draws"])

    def advance(self) -> None:
        """Begin the next step: its draws are those of a compiled graph's next run."""
        self.state = (int(self.step) + 1, 0)

    def _present(self, state: Any) -> Any:
        """The number that ``key`` is now."""
        return state.array[()]

    def _stream(self) -> Stream:
        if self.streams >= FOLDED:
            self.advance()
        self.streams += 1
        return Stream(self.step, self.streams - 1)

    def end_loop(self, streams: int) -> None:
        """Do nothing: ``advance`` ends a loop's step."""


def states() -> State:
    """Return the state of every generator, and NumPy's global state."""
    others = [
        (each, each.step.value, each.streams)
        for each in list(GENERATORS)
        if not isinstance(each, Generator)
    ]
    return [(g, g.state) for g in list(_generators)], others, np.random.get_state()


@contextmanager
def replayed(before: State) -> Iterator[None]:
    """Draw again from ``before``; afterwards go on from where all stood."""
    now = states()
    try:
        _restore(before)
        yield
    finally:
        _restore(now)


def _restore(state: State) -> None:
    for generator, own in state[0]:
        generator.state = own
    for each, step, streams in state[1]:
        each.streams = streams
        if each.step.value != step:  # a parameter, which a running program may hold
            each.step.value = step
    np.random.set_state(state[2])
