"""Directives: how the loops of a kernel run, as data. No bit of a result depends on them.

A kernel says *what* is computed, its directives say how. Those that lowering chooses are written
in the kernel beside what they concern (rows ``by 4``, a map ``ahead j + 512``, ``stream``);
``staticgrad/nest/directives.py`` lists them, adds those of a machine, and says which are legal.
Stages are counted as ``nested`` yields them; stage -1 is all of them.
"""

from __future__ import annotations

from staticgrad.records import NamedTuple


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


def _of(stage: int) -> str:
    return f" in stage {stage}" if stage >= 0 else ""
