"""Directives: how the loops of a kernel run, as data. No bit of a result depends on them.

The stages of a kernel say *what* is computed, ``Kernel.directives`` says how. ``legality`` says
which directives a kernel may have; ``staticgrad/compiler/nest/directives.py`` adds those of a
machine. Stages are counted as ``nested_stages`` yields them; stage -1 is all of them. Estimates and
kernels share the number of vectors that an iteration interleaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from staticgrad.language.ir.kernels.stages import Stage, nested_stages
from staticgrad.support.records import NamedTuple

#: Interleaved vectors, at most. With more of them, register spills cost more than latencies.
MOST: Final = 4
#: The same in registers of 512 bits where no more than ``FEW_ALIVE`` values of each are alive.
MOST_OF_CHAINS: Final = 8
FEW_ALIVE: Final = 4
#: Lines of the body for whole vectors: each takes about a twentieth of a millisecond to compile.
_ROOM: Final = 1100
#: The same of two vectors: a longer body is half as fast where it waits for each alone.
_ROOM_OF_TWO: Final = 4400
#: The same of a chain, whose lines take half as long, and which waits the most.
_ROOM_OF_CHAINS: Final = 4400


class Vector(NamedTuple):
    """The elements that fill no vector: ``mask`` takes every vector under a mask, ``peel`` those
    alone."""

    tail: str = "peel"
    stage: int = -1

    def __str__(self) -> str:
        return f"{self.tail} tails{_of(self.stage)}"


class Interleave(NamedTuple):
    """``factor`` iterations of a loop at a time, statement by statement; axis ``o`` is the rows of
    a kernel, ``j`` the vectors of a map, others are loops of stages."""

    axis: str
    factor: int
    stage: int = -1

    def __str__(self) -> str:
        axis = "" if self.axis == "o" else f" of {self.axis}"
        return f"interleave {self.factor}{axis}{_of(self.stage)}"


class Prefetch(NamedTuple):
    """Memory is prefetched ``distance`` iterations of a loop ahead; axis ``*``: so many elements
    ahead in the order of all loops around a map, whole rows where rows are short."""

    axis: str
    distance: int
    stage: int = -1

    def __str__(self) -> str:
        return f"prefetch {self.axis}+{self.distance}{_of(self.stage)}"


class Stream(NamedTuple):
    """Stores to an operand bypass the caches."""

    operand: str

    def __str__(self) -> str:
        return f"stream {self.operand}"


class Strips(NamedTuple):
    """A vector of rows runs each stage before the next one."""

    rows: str = "o"

    def __str__(self) -> str:
        return "strips"


Directive = Vector | Interleave | Prefetch | Stream | Strips
Directives = tuple[Directive, ...]
#: A stage that has no number yet, and a directive for it.
StageDirective = tuple[Stage, Interleave | Prefetch]


def concerns(directive: Directive) -> tuple[object, ...]:
    """Return the key of a loop directive: a kernel has at most one directive of each key."""
    match directive:
        case Vector(stage=stage):
            return Vector, stage
        case Interleave(axis, _, stage) | Prefetch(axis, _, stage):
            return type(directive), axis, stage
        case Stream(operand):
            return Stream, operand
        case Strips():
            return (Strips,)


def of_stages(stages: Iterable[Stage], beside: Iterable[StageDirective]) -> Directives:
    """Return the directives of stages, with the numbers that those have among all of a kernel."""
    numbers = {id(stage): number for number, (stage, _) in enumerate(nested_stages(stages))}
    directives = [directive._replace(stage=numbers[id(stage)]) for stage, directive in beside]
    return tuple(sorted(directives, key=lambda directive: directive.stage))


def interleaved_rows(directives: Iterable[Directive]) -> int:
    """Return how many rows of a kernel are interleaved; 1 if none are."""
    return next((d.factor for d in directives if isinstance(d, Interleave) and d.axis == "o"), 1)


def streamed_operands(directives: Iterable[Directive]) -> frozenset[str]:
    """Return the names of the operands whose stores bypass the caches."""
    return frozenset(d.operand for d in directives if isinstance(d, Stream))


def _of(stage: int) -> str:
    return f" in stage {stage}" if stage >= 0 else ""


def whole_vectors(lines: float, most: int, room: int = _ROOM) -> int:
    """Return into how many vectors a loop body of so many lines is unrolled, beside a masked one.

    Powers of two up to ``most``; none where that would take too long to compile.
    """
    count = most
    while count and count * lines > (max(room, _ROOM_OF_TWO) if count == 2 else room):
        count //= 2
    return count


def vectors_together(lines: float, is_chain: bool, vector_bits: int) -> int:
    """Return the same for a body whose vectors may be interleaved; chains may have more of them."""
    if is_chain:
        most = max(MOST, MOST_OF_CHAINS * vector_bits // 512)
        return whole_vectors(lines, most, _ROOM_OF_CHAINS)
    return whole_vectors(lines, MOST)
