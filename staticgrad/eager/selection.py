"""The results that a checkpoint with a policy keeps in eager mode, and their use in the rerun.

The first run applies the policy to every operation and records the arrays to keep by operation
number. The second run uses these arrays instead of computing them. It must consist of the same
operations, which is checked when an array is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any
from weakref import ref

import numpy as np

from staticgrad.blocks import Block
from staticgrad.eager.binding import Application, silent
from staticgrad.eager.tape import selection
from staticgrad.errors import TapeError
from staticgrad.functions.checkpoints.marks import (
    SAME_BYTES,
    Verdicts,
    check_names,
    under_name,
    verdicts,
)
from staticgrad.functions.checkpoints.saveable import Saveable, parts_of
from staticgrad.ir.op import Array, Op
from staticgrad.ops.marks import name_of
from staticgrad.records import NamedTuple
from staticgrad.types.arrays import TensorType


class KeptResult(NamedTuple):
    """An operation, the types of its operands, and what it gave."""

    op: Op
    types: tuple[TensorType, ...]
    found: Any


class _Done(NamedTuple):
    """An operation of the first run: what ``found`` gives is None once nobody holds the array."""

    op: Op
    types: tuple[TensorType, ...]
    found: Callable[[], Any]
    said: Verdicts
    base: int | None  # the operation whose bytes it gives


def selecting(chosen: Recording | Taking | None) -> Block[Any]:
    """Inside, operations run as ``chosen`` says; None: as they are."""
    return Block(selection, chosen)


class Recording:
    """The first run of a function: computes everything, and stores what the policy saves."""

    def __init__(self, policy: Saveable) -> None:
        self.policy, self.parts = policy, parts_of(policy)
        self.kept: dict[int, KeptResult] = {}
        self._done: list[_Done] = []
        self._made: dict[int, int] = {}  # id of an array -> the operation that gave it last
        self._names: dict[str, None] = {}

    def run(self, applied: Application, op: Op, arrays: Sequence[Array]) -> Any:
        """The arrays of an operation."""
        found = silent.context.run(applied.run, op, *arrays)
        number = len(self._done)
        said = verdicts(self.parts, op, applied.types)
        if any(said):
            self.kept[number] = KeptResult(op, applied.types, found)
        base = self._made.get(id(arrays[0])) if isinstance(op, SAME_BYTES) else None
        self._done.append(_Done(op, applied.types, _held_weakly(found), said, base))
        if name_of(op):
            self._names[name_of(op)] = None
            self._name(op, base)
        if isinstance(found, np.ndarray):
            self._made[id(found)] = number
        return found

    def _name(self, mark: Op, number: int | None) -> None:
        """Apply a name to its value, and to the values that it is a view of."""
        while number is not None:
            done = self._done[number]
            said = under_name(self.parts, mark, done.said)
            self._done[number] = done._replace(said=said)
            found = done.found()
            self.kept.pop(number, None)
            if any(said) and found is not None:
                self.kept[number] = KeptResult(done.op, done.types, found)
            number = done.base

    def ended(self) -> Mapping[int, KeptResult]:
        """Return the kept results by operation number."""
        check_names(self.policy, self._names)
        return self.kept


class Taking:
    """The second run: takes what is kept, and computes the rest."""

    def __init__(self, kept: Mapping[int, KeptResult]) -> None:
        self.kept = kept
        self._numbers = count()

    def run(self, applied: Application, op: Op, arrays: Sequence[Array]) -> Any:
        """The arrays of an operation."""
        kept = self.kept.get(next(self._numbers))
        if kept is None:
            return silent.context.run(applied.run, op, *arrays)
        if kept.op != op or kept.types != applied.types:
            raise TapeError(
                f"checkpoint: the function runs {op.name} where it ran {kept.op.name} first",
                hint="it must compute the same both times, for a policy keeps results of the first",
            )
        return kept.found


def _held_weakly(found: Any) -> Callable[[], Any]:
    return ref(found) if isinstance(found, np.ndarray) else lambda: found
