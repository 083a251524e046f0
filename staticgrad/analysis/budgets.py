"""Memory budgets that depend on sizes, and the error of a budget that no plan meets.

A budget may be a share of what storing everything needs, or all memory that is free. ``compile``
reads budgets; a planner evaluates them at the sizes of a plan.

The error says what pins the peak and what would lower it, read from the smallest plan that was
found. It lists copies of feeds and marks of ``sg.checkpoint`` apart from what kernels need, since
the user chose them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from staticgrad.analysis.plan_check import (
    aligned_bytes,
    footprint,
    largest_step,
    lower_bound,
    peak_buffers,
)
from staticgrad.analysis.plan_report import at_sizes, copied_feeds, step_line
from staticgrad.errors import BudgetInfeasible
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import Step
from staticgrad.support.records import dataclass
from staticgrad.support.traversal import reach


@dataclass(frozen=True)
class BudgetShare:
    """A part of the arena that storing everything needs, above 0 and at most 1."""

    part: float

    def of(self, everything: Plan) -> int:
        """Bytes of the arena, given the plan that stores everything."""
        return int(everything.peak_bytes * self.part)

    def words(self, everything: Plan) -> str:
        """Return in words how its bytes are derived."""
        return (
            f"the budget is {self.part:.6g} of {everything.peak_bytes}, where everything is stored"
        )


@dataclass(frozen=True)
class BudgetFit:
    """The memory that is left beside feeds, parameters, constants and results.

    ``room`` is the memory of the process; None: that of the compiling process.
    """

    room: int | None = None

    def of(self, everything: Plan) -> int:
        """Bytes of the arena, given the plan that stores everything."""
        assert self.room is not None
        return max(0, self.room - _outside(everything))

    def words(self, everything: Plan) -> str:
        """Return in words how its bytes are derived."""
        beside = f"{_outside(everything)} of feeds, parameters and results"
        return f"the budget is what {self.room} bytes of memory leave beside {beside}"


def _outside(plan: Plan) -> int:
    """Bytes of the buffers that are not in the arena."""
    in_arena = {placement.buffer for placement in plan.placements}
    return sum(nbytes for name, nbytes in plan.buffer_bytes if name not in in_arena)


class Limit(Protocol):
    """A number of bytes at each set of sizes."""

    def at(self, sizes: Mapping[str, int]) -> int: ...

    def words(self, sizes: Mapping[str, int]) -> str:
        """Return in words how the number is derived."""
        ...


class AtSizes:
    """A budget by the plans that store everything; ``everything`` makes the one of some sizes."""

    def __init__(
        self, budget: BudgetShare | BudgetFit, everything: Callable[[Mapping[str, int]], Plan]
    ) -> None:
        self._budget, self._everything = budget, everything

    def at(self, sizes: Mapping[str, int]) -> int:
        """The bytes at these sizes."""
        return self._budget.of(self._everything(sizes))

    def words(self, sizes: Mapping[str, int]) -> str:
        """Return in words how the number is derived."""
        return self._budget.words(self._everything(sizes))


_SHOWN: Final = 5  # buffers that an error names
_FEW: Final = 2  # where there is more to say


def over_budget(plan: Plan, budget: int, uncopied: int | None = None) -> BudgetInfeasible:
    """Return the error for a memory budget that not even the smallest plan meets."""
    bound, step = lower_bound(plan), largest_step(plan)
    largest = [
        (placement.nbytes, buffer) for placement, buffer in peak_buffers(plan) if placement.nbytes
    ]
    marked = [(nbytes, buffer) for nbytes, buffer in largest if buffer.retained]
    shown = _SHOWN if uncopied is None and not marked else _FEW
    error = BudgetInfeasible(
        f"the step needs {plan.peak_bytes} bytes{at_sizes(plan)}, the budget is {budget}",
        details=[
            f"the smallest peak found is {plan.peak_bytes} bytes",
            f"no plan of its kernels needs fewer than {bound} bytes: {step_line(step)}",
        ],
        hint="nothing was run; give it more memory or smaller feeds",
        at=step.origins[0] if step.origins else None,
        related=[
            (buffer.label or buffer.name, f"{nbytes} bytes", buffer.origin)
            for nbytes, buffer in largest[:shown]
        ],
    )
    error.budget, error.smallest_peak, error.lower_bound = budget, plan.peak_bytes, bound
    if marked:
        total = sum(nbytes for nbytes, _ in marked)
        lines = dict.fromkeys(b.origin.resolve().short for _, b in marked if b.origin is not None)
        places = ", ".join([*lines][:_SHOWN]) + (", ..." if len(lines) > _SHOWN else "")
        error.marked_bound, step = marked_bound(plan)
        error.details += (
            f"marks of sg.checkpoint keep {total} bytes of it: {places}",
            f"no plan that keeps all marked needs fewer than {error.marked_bound}:"
            f" {step_line(step)}",
        )
        error.hint = "nothing was run; take marks away, or give it more memory"
    if uncopied is not None:
        error.copied_feeds = copied_feeds(plan)
        error.details += tuple(
            _name_copy(name, error.copied_feeds[name]) for name in error.copied_feeds
        )
        if uncopied <= error.budget:
            error.hint = f"without copies it needs {uncopied} bytes, and fits: {_NO_COPY}"
        else:
            error.details += (f"without copies it needs {uncopied} bytes",)
    return error


def _name_copy(name: str, nbytes: int) -> str:
    return f"the copy of feed {name!r} takes {nbytes} bytes of it"


_NO_COPY: Final = "np.ascontiguousarray(feed), feed.astype(dtype)"


def name_reasons(error: BudgetInfeasible, reasons: Mapping[str, tuple[str, str]]) -> None:
    """Add to the budget's error why each feed is copied, and how to avoid the copy."""
    named_reasons = {name: reasons[name] for name in error.copied_feeds if name in reasons}
    reason_by_detail = {
        _name_copy(name, error.copied_feeds[name]): why for name, (why, _) in named_reasons.items()
    }
    error.details = tuple(
        f"{d}: {reason_by_detail[d]}" if d in reason_by_detail else d for d in error.details
    )
    cures = ", ".join([cure for _, cure in named_reasons.values()][:_SHOWN])
    error.hint = error.hint.replace(_NO_COPY, cures or _NO_COPY)


def marked_bound(plan: Plan) -> tuple[int, Step]:
    """Return a lower bound of the arena if checkpointed values are never dropped.

    A marked value lives from the first step that writes it to the last that reads it. When a step
    runs first, all that it depends on has run, and nothing that depends on it: so each marked value
    that it needs on the way, and that a step behind it still reads, lies beside what it touches.
    """
    schedule, aligned = plan.schedule, aligned_bytes(plan)
    beside = [0] * len(schedule.steps)
    writer: dict[str, int] = {}
    needs = []  # by step the steps whose results it reads or accumulates onto
    for number, reader in enumerate(schedule.steps):
        written = dict.fromkeys(reader.writes())
        needs.append(
            tuple(dict.fromkeys(writer[b] for b in (*reader.reads(), *written) if b in writer))
        )
        writer.update(dict.fromkeys(written, number))
    feeds: list[list[int]] = [[] for _ in needs]
    for step, earlier in enumerate(needs):
        for needed in earlier:
            feeds[needed].append(step)
    for buffer in schedule.buffers:
        if not buffer.retained or buffer.name not in aligned:
            continue
        touching = [
            i
            for i, step in enumerate(schedule.steps)
            if buffer.name in {access.buffer for access in step.accesses()}
        ]
        between = _steps_reached(touching[:1], feeds) & _steps_reached(touching[1:], needs)
        for step in between.difference(touching):
            beside[step] += aligned[buffer.name]
    sums = [
        footprint(step, aligned) + more for step, more in zip(schedule.steps, beside, strict=True)
    ]
    best = max(range(len(sums)), key=lambda number: sums[number])
    return sums[best], schedule.steps[best]


def _steps_reached(
    start: Iterable[int], edges: list[tuple[int, ...]] | list[list[int]]
) -> set[int]:
    """Return all steps reachable over edges, the start included."""
    return {*reach(start, edges.__getitem__)}
