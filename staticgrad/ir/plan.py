"""Plan: in which order, into which bytes. A Schedule at concrete sizes, placed in one arena."""

from __future__ import annotations

from dataclasses import dataclass, field

from staticgrad.ir.schedule import Schedule


@dataclass(frozen=True)
class Placement:
    """Where an arena buffer lives: bytes [offset, offset + nbytes) at positions [first, last].

    A buffer that is computed again has several, one after the other.
    """

    buffer: str
    offset: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class PlannedStep:
    """One row of the driver's table: which step of the schedule, with every number filled in."""

    step: int
    arguments: tuple[int, ...]
    offsets: tuple[int, ...]  # per operand: byte offset of the binding inside its buffer
    total: int
    grain: int


@dataclass(frozen=True)
class Plan:
    """Order, placements and numbers for one set of sizes. A step may run several times.

    ``peak_bytes`` is the size of the arena: the step uses exactly it and allocates nothing else.
    ``commit`` is the index (into ``steps``) of the first step that writes a parameter: every
    run-time check has been made before it.
    """

    schedule: Schedule = field(repr=False)
    sizes: tuple[tuple[str, int], ...]
    steps: tuple[PlannedStep, ...]
    placements: tuple[Placement, ...]
    peak_bytes: int
    commit: int
    buffer_bytes: tuple[tuple[str, int], ...] = ()  # every buffer, also those outside the arena

    def __str__(self) -> str:
        from staticgrad.ir.plan_text import print_plan

        return print_plan(self)

    def placement(self, buffer: str) -> Placement:
        """The first placement of an arena buffer."""
        return next(p for p in self.placements if p.buffer == buffer)
