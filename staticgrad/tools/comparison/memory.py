"""The memory of a step: measured for the tape, read from plans for the compiled step."""

from __future__ import annotations

import sys
import tracemalloc
from array import array
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final

import numpy as np

from staticgrad.analysis.cost import plan_seconds
from staticgrad.compiler.compiling.tradeoffs import tradeoff
from staticgrad.compiler.reports.profiling import live_bytes
from staticgrad.language.ir.pictures import columns_of_steps
from staticgrad.tools.comparison.programs import Batch, ComparedProgram
from staticgrad.tools.comparison.report import Budgeted, Bytes, HeldBytes
from staticgrad.tools.comparison.ways import DefineByRun, DefineThenRun

POLICIES: Final = ("store_all", "sqrt", "recompute")
#: The budgets that are shown.
_BUDGETS: Final = ("90%", "75%", "60%", "50%", "40%", "30%", "20%", "10%")
#: Points of a timeline, and the most readings of the tape's memory that it is made of.
_POINTS, _READINGS = 240, 200_000


def compiled_by_policy(chosen: ComparedProgram) -> dict[str, DefineThenRun]:
    """Return the compiled program for each policy of recomputation."""
    return {policy: DefineThenRun(chosen, policy) for policy in POLICIES}


def bytes_of(chosen: ComparedProgram, size: int, compiled: Mapping[str, DefineThenRun]) -> Bytes:
    """Return the memory of a step at a batch size, by policy."""
    plans = {policy: way.plan(size) for policy, way in compiled.items()}
    times = {policy: plan_seconds(plan) for policy, plan in plans.items()}
    return Bytes(
        at=size,
        tape=tape_peak(chosen, chosen.draw(size, np.random.default_rng(0))),
        arena={policy: plan.peak_bytes for policy, plan in plans.items()},
        times={policy: own / times[POLICIES[0]] for policy, own in times.items()},
    )


def tape_peak(chosen: ComparedProgram, batch: Batch) -> int:
    """Return the peak bytes of arrays during a step of the tape.

    Parameters, the state of the optimizer and the batch are allocated before. Python's objects at
    that time, which other libraries' figures leave out, do not count.
    """
    tape = DefineByRun(chosen)
    for _ in range(2):
        tape.step(batch)
    most = 0
    snapshots: list[tracemalloc.Snapshot] = []

    def largest(event: str, held: int) -> None:
        nonlocal most
        most = max(most, held)

    def at_peak(event: str, held: int) -> None:
        if not snapshots and held >= share * most:
            sys.setprofile(None)
            snapshots.append(tracemalloc.take_snapshot())

    _traced(lambda: tape.step(batch), largest)
    share = 0.98
    while not snapshots and share > 0.5:  # the peak itself may lie within a call
        _traced(lambda: tape.step(batch), at_peak)
        share -= 0.04
    sizes = [0, 0]  # of Python's objects, of arrays
    for trace in snapshots[0].traces if snapshots else ():
        sizes[trace.domain == np.lib.tracemalloc_domain] += trace.size
    # What the snapshot does not contain are arrays that lived within one call.
    return sizes[True] + max(_traced(lambda: tape.step(batch)) - sum(sizes), 0)


def _traced(step: Callable[[], object], note: Callable[[str, int], None] | None = None) -> int:
    """Run a step and return its peak bytes beyond those at its start.

    ``note`` is called with the event and the bytes each time a function begins or ends.
    """

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if note is not None:
            note(event, tracemalloc.get_traced_memory()[0] - start)

    before = sys.getprofile()
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    try:
        if note is not None:
            sys.setprofile(profile)
        step()
        return tracemalloc.get_traced_memory()[1] - start
    finally:
        sys.setprofile(before)
        tracemalloc.stop()


def timelines(
    chosen: ComparedProgram, compiled: Mapping[str, DefineThenRun]
) -> tuple[HeldBytes, ...]:
    """Return the memory from the beginning of a step to its end: on the tape, and by policy."""
    found = [tape_timeline(chosen, chosen.draw(chosen.batch_size, np.random.default_rng(0)))]
    for policy, way in compiled.items():
        plan = way.plan(chosen.batch_size)
        phases = "".join(columns_of_steps(plan))
        found.append(HeldBytes(policy, tuple(live_bytes(plan)), phases))
    return tuple(found)


def tape_timeline(chosen: ComparedProgram, batch: Batch) -> HeldBytes:
    """Return the memory of the tape from the beginning of a step to its end.

    It is read at each function return, of a long step only at the first ``_READINGS``;
    neighbouring readings are merged into their maximum.
    """
    tape = DefineByRun(chosen)
    held, count = array("q", bytes(8 * _READINGS)), 0

    def read(event: str, nbytes: int) -> None:
        nonlocal count
        if count < _READINGS and event in ("return", "c_return"):
            held[count] = max(nbytes, 0)
            count += 1

    for _ in range(3):  # the first two steps make what is made once
        count = 0
        _traced(lambda: tape.step(batch), read)
    each = max(-(-count // _POINTS), 1)
    return HeldBytes(
        "tape", tuple(max(held[k : min(k + each, count)]) for k in range(0, count, each))
    )


def budgets(way: DefineThenRun, size: int) -> tuple[Budgeted, ...]:
    """Return the cost of less memory at a batch size: plans within fractions of the full memory."""
    found = tradeoff(way.compiled, way.sizes(size))
    plans = {f"budget {budget}": found.within(budget) for budget in _BUDGETS}
    plans["smallest budget"] = found.smallest
    chosen: dict[int, Budgeted] = {}
    for name, plan in plans.items():
        if plan is not None and plan is not found.everything:
            chosen[plan.peak_bytes] = Budgeted(name, plan.peak_bytes, 1 + found.extra(plan))
    return tuple(chosen.values())


def half(way: DefineThenRun, size: int, budget: str) -> Budgeted | None:
    """Return the plan within a budget, else the smallest one; None if nothing is smaller."""
    found = tradeoff(way.compiled, way.sizes(size))
    plan = found.within(budget) or found.smallest
    if plan is found.everything or plan.peak_bytes >= found.everything.peak_bytes:
        return None
    return Budgeted(budget, plan.peak_bytes, 1 + found.extra(plan))
