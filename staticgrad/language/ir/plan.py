"""Plan: in which order, into which bytes. A Schedule at concrete sizes, placed in one arena."""

from __future__ import annotations

from dataclasses import field

from staticgrad.language.ir.schedule import Role, Schedule
from staticgrad.language.storage.parameter import ALIGNMENT
from staticgrad.support.records import dataclass


def own_stride(role: Role, nbytes: int) -> int:
    """Bytes from one worker's part of a buffer that each has for itself to the next one's.

    Check words lie one behind the other: they are written only where an index fails. Scratch begins
    on a border of 64 bytes.
    """
    return nbytes if role == "check" else -(-nbytes // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Placement:
    """The bytes of an arena buffer: [offset, offset + nbytes) at positions [first, last].

    A buffer that is computed again has several, one after the other. Scratch and check words have
    a part for each worker in there, ``own_stride`` apart.
    """

    buffer: str
    offset: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One row of the driver's table: which step of the schedule, with every number filled in.

    ``fails``: the check operands whose indices look into an axis of size 0. Such a step has no
    iterations, and the run ends at its checks. ``grain``: the iterations of a group, 0 for all.
    ``bodies`` are the plans of the step's bodies: their arenas begin where its scratch for bodies
    has its place.
    """

    step: int
    arguments: tuple[int, ...]
    offsets: tuple[int, ...]  # per operand: byte offset of the binding inside its buffer
    total: int
    grain: int
    fails: tuple[str, ...] = ()
    bodies: tuple[Plan, ...] = ()


@dataclass(frozen=True, repr=False)
class Plan:
    """Order, placements and numbers for one set of sizes. A step may run several times.

    ``peak_bytes`` is the size of the arena: the step uses exactly it and allocates nothing else.
    ``commit`` is the index (into ``steps``) of the first step that writes a parameter: every
    run-time check has been made before it. ``workers`` may run it at the same time, each with its
    own scratch and check words, which ``peak_bytes`` and ``buffer_bytes`` count. ``remark`` tells
    how the plan was chosen; the text of a plan does not contain it.
    """

    schedule: Schedule
    sizes: tuple[tuple[str, int], ...]
    steps: tuple[PlannedStep, ...]
    placements: tuple[Placement, ...]
    peak_bytes: int
    commit: int
    buffer_bytes: tuple[tuple[str, int], ...] = ()  # every buffer, also those outside the arena
    remark: str = field(default="", compare=False)
    workers: int = 1

    def __str__(self) -> str:
        from staticgrad.language.ir.schedule_text import print_plan

        return print_plan(self)

    def __repr__(self) -> str:
        at = ", ".join(f"{name}={size}" for name, size in self.sizes) or "literal sizes"
        return (
            f"<plan of {self.schedule.name} at {at}: {len(self.steps)} runs of kernels,"
            f" an arena of {self.peak_bytes} bytes>"
        )

    def _repr_html_(self) -> str:
        from staticgrad.language.ir.pictures import plan_html

        return plan_html(self)

    @property
    def held_bytes(self) -> int:
        """About how many bytes the plan's own objects take, without the schedule.

        Counted as CPython lays them out: objects and tuples with their slots, integers beyond the
        small ones.
        """
        numbers = sum(len(step.arguments) + len(step.offsets) for step in self.steps)
        return (
            500
            + sum(body.held_bytes for step in self.steps for body in step.bodies)
            + 200 * len(self.steps)
            + 8 * numbers
            + 108 * len(self.placements)
            + 64 * len(self.buffer_bytes)
        )

    def placement(self, buffer: str) -> Placement:
        """The first placement of an arena buffer."""
        return next(p for p in self.placements if p.buffer == buffer)
