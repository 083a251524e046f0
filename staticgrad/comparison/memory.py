"""The memory of a step: measured for the tape, read from plans for the compiled step."""

from __future__ import annotations

import sys
import tracemalloc
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any, Final

from staticgrad.comparison.causes import FRAMES, WALK, Moments, array_bytes
from staticgrad.comparison.programs import Batch, ComparedProgram
from staticgrad.comparison.report import Budgeted, Bytes, Causes, HeldBytes
from staticgrad.comparison.timing import PARTS, Race
from staticgrad.comparison.ways import Checkpointed, DefineByRun, DefineThenRun
from staticgrad.errors import StaticgradError
from staticgrad.extend import dataclass
from staticgrad.extend.reports import Plan, columns_of_steps, live_bytes, plan_seconds, tradeoff

POLICIES: Final = ("store_all", "sqrt", "recompute")
#: The budgets that are shown.
_BUDGETS: Final = ("90%", "75%", "60%", "50%", "40%", "30%", "20%", "10%")
_MEASURED: Final = 4  # budgets whose time is measured
#: Points of a timeline, and the most readings of the tape's memory that it is made of.
_POINTS, _READINGS = 240, 200_000
#: From this share of Python's objects on, arrays are fullest elsewhere than both together; then so
#: many looks find where.
_OBJECTS, _LOOKS = 0.05, 96


def compiled_by_policy(chosen: ComparedProgram, first: DefineThenRun) -> dict[str, DefineThenRun]:
    """Return the compiled program for each policy of recomputation; ``first``: for the first."""
    others = {policy: DefineThenRun(chosen, policy) for policy in POLICIES[1:]}
    return {POLICIES[0]: first, **others}


def bytes_of(tape: int, size: int, compiled: Mapping[str, DefineThenRun]) -> Bytes:
    """Return the memory of a training step of tape and graph at a batch size, by policy."""
    plans = {policy: way.plan(size) for policy, way in compiled.items()}
    times = {policy: plan_seconds(plan) for policy, plan in plans.items()}
    return Bytes(
        at=size,
        tape=tape,
        arena={policy: plan.peak_bytes for policy, plan in plans.items()},
        times={policy: time / times[POLICIES[0]] for policy, time in times.items()},
    )


@dataclass(frozen=True)
class TapeMemory:
    """The bytes of arrays in a step of the tape.

    ``peak``: the most. Parameters, the state of the optimizer and the batch are allocated before.
    Python's objects, which other libraries' figures leave out, do not count. ``causes``: what the
    peak consists of; ``objects``: the bytes of Python's objects then. ``timeline``: the bytes from
    the beginning to the end, Python's objects included.
    """

    peak: int
    objects: int
    causes: Causes
    timeline: HeldBytes


def tape_memory(
    chosen: ComparedProgram, batch: Batch, warm: int = 2, tape: DefineByRun | None = None
) -> TapeMemory:
    """Run a step of the tape under ``tracemalloc`` and return its memory.

    One run notes the bytes each time that a function begins or ends, another one looks at the
    arrays where these were most. Of small arrays these are mostly Python's objects: a further run
    looks at the objects a few times, and arrays are most where the rest is.

    Args:
        chosen: the program.
        batch: its arrays.
        warm: steps before, which make what is made once.
        tape: runs the steps, by default as the program has them.
    """
    tape = tape or DefineByRun(chosen)
    for _ in range(warm):
        tape.step(batch)
    most, at, calls = -1, 0, 0
    readings, count = array("q", bytes(8 * _READINGS)), 0

    def read(frame: FrameType, event: str, start: int) -> None:
        """Read traced memory at each call and return of a step; keep the peak and some readings."""
        nonlocal most, at, calls, count
        calls += 1
        if event in ("return", "c_return"):
            nbytes = tracemalloc.get_traced_memory()[0] - start
            if nbytes > most:
                most, at = nbytes, calls
            if count < _READINGS:
                readings[count] = max(nbytes, 0)
                count += 1

    def look_at_call(at: int) -> Moments:
        """Profile a step again, and look at the arrays of its call number ``at``."""
        seen, calls = Moments(), 0

        def look(frame: FrameType, event: str, start: int) -> None:
            nonlocal calls
            calls += 1
            if calls == at or frame.f_code is WALK:
                seen.see(frame, event, calls == at)

        _trace_peak(lambda: tape.step(batch), look, FRAMES)
        return seen

    peak = _trace_peak(lambda: tape.step(batch), read)
    seen = look_at_call(at)
    peak = min(peak, _trace_peak(lambda: tape.step(batch)))  # without what was made once
    causes = seen.causes("staticgrad's tape")
    # What the look does not contain are arrays that lived within one call.
    inside = max(peak - causes.total - seen.objects, 0)
    if seen.objects > _OBJECTS * peak:
        looks = _arrays_by_call(tape, batch, calls)
        at = max(looks, key=looks.__getitem__)
        if looks[at] > causes.total + inside:
            seen, inside = look_at_call(at), 0
            causes = seen.causes("staticgrad's tape")
    reading_count = max(-(-count // _POINTS), 1)
    spans = (readings[k : min(k + reading_count, count)] for k in range(0, count, reading_count))
    return TapeMemory(
        causes.total + inside,
        seen.objects,
        replace(causes, temporaries=causes.temporaries + inside),
        HeldBytes("tape", tuple(map(max, spans))),
    )


def _arrays_by_call(tape: DefineByRun, batch: Batch, calls: int) -> dict[int, int]:
    """Measure the bytes of the tape's arrays at some calls of a step."""
    sampled_calls = {1 + k * (calls - 1) // (_LOOKS - 1) for k in range(_LOOKS)}
    bytes_by_call: dict[int, int] = {}
    number = 0

    def note(frame: FrameType, event: str, start: int) -> None:
        nonlocal number
        number += 1
        if number in sampled_calls:
            bytes_by_call[number] = array_bytes()

    _trace_peak(lambda: tape.step(batch), note)
    return bytes_by_call


def tape_peak(chosen: ComparedProgram, batch: Batch, objects: int | None = None) -> int:
    """Return the peak bytes of arrays during a step of the tape.

    ``objects``: the bytes of Python's objects, if they are known from a step of another size,
    which records as many operations; that spares a run that looks at each call, where arrays take
    far more.
    """
    tape = DefineByRun(chosen)
    tape.step(batch)
    peak = 0 if objects is None else _trace_peak(lambda: tape.step(batch))
    if objects is None or peak < 20 * objects:
        return tape_memory(chosen, batch).peak
    return peak - objects


def _trace_peak(
    step: Callable[[], object], note: Callable[[FrameType, str, int], None] | None = None,
    frames: int = 1,
) -> int:  # fmt: skip
    """Run a step under ``tracemalloc`` and return its peak bytes above those at its start.

    ``note`` is called with the frame, the event and the bytes at the start each time that a
    function begins or ends.
    """

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        note(frame, event, start)  # type: ignore[misc]  # called only if there is one

    previous_profiler = sys.getprofile()
    tracemalloc.start(frames)
    start = tracemalloc.get_traced_memory()[0]
    try:
        if note is not None:
            sys.setprofile(profile)
        step()
        return tracemalloc.get_traced_memory()[1] - start
    finally:
        sys.setprofile(previous_profiler)
        tracemalloc.stop()


def timelines(
    tape: TapeMemory, compiled: Mapping[str, DefineThenRun], size: int
) -> tuple[HeldBytes, ...]:
    """Return the memory over a training step: of the tape as measured, of plans as planned."""
    timelines_of_ways = [tape.timeline]
    for policy, way in compiled.items():
        plan = way.plan(size)
        phases = "".join(columns_of_steps(plan))
        timelines_of_ways.append(HeldBytes(policy, tuple(live_bytes(plan)), phases))
    return tuple(timelines_of_ways)


def budgets(way: DefineThenRun, size: int) -> tuple[tuple[Budgeted, Plan], ...]:
    """Plan the step within fractions of its memory, and return the predicted costs."""
    tradeoffs = tradeoff(way.compiled, way.sizes(size))
    plans = {f"budget {budget}": tradeoffs.within(budget) for budget in _BUDGETS}
    plans["smallest budget"] = tradeoffs.smallest
    chosen: dict[int, tuple[Budgeted, Plan]] = {}
    for name, plan in plans.items():
        if plan is not None and plan is not tradeoffs.everything:
            chosen[plan.peak_bytes] = (
                Budgeted(name, plan.peak_bytes, 1 + tradeoffs.extra(plan)), plan.plan
            )  # fmt: skip
    return tuple(chosen.values())


def measured_budgets(
    budgets: Sequence[tuple[Budgeted, Plan]], way: DefineThenRun, batch: Batch, seconds: float
) -> tuple[Budgeted, ...]:
    """Measure the time of plans within memory budgets."""
    if not budgets:
        return ()
    last = len(budgets) - 1
    numbers = sorted({round(k * last / (_MEASURED - 1)) for k in range(_MEASURED)})
    measured = [budgeted for budgeted, _ in budgets]
    runs = [way.call, *(way.call_with_plan(budgets[k][1]) for k in numbers)]
    race = Race(0, *(lambda run=run: run(batch) for run in runs))
    for _ in range(PARTS):
        race.run(seconds / PARTS)
    full_memory, *timings = race.timings()
    for k, timing in zip(numbers, timings, strict=True):
        measured[k] = replace(measured[k], measured=timing.cpu / full_memory.cpu)
    return tuple(measured)


def checkpointed_tape(chosen: ComparedProgram, batch: Batch, seconds: float) -> Budgeted | None:
    """Measure the tape's step with checkpointed parts: time and peak."""
    try:
        less = Checkpointed(chosen)
        peak = tape_memory(chosen, batch, 1, less).peak
    except StaticgradError:
        return None
    tape = DefineByRun(chosen)
    race = Race(0, lambda: less.call(batch), lambda: tape.call(batch))
    race.run(seconds)
    chosen.restore()
    return Budgeted("checkpointed tape", peak, race.pair().ratio, race.pair().ratio)


def half(way: DefineThenRun, size: int, budget: str) -> tuple[Budgeted, Plan] | None:
    """Return the plan within a budget, else the smallest one; None if nothing is smaller."""
    tradeoffs = tradeoff(way.compiled, way.sizes(size))
    plan = tradeoffs.within(budget) or tradeoffs.smallest
    if plan is tradeoffs.everything or plan.peak_bytes >= tradeoffs.everything.peak_bytes:
        return None
    return Budgeted(budget, plan.peak_bytes, 1 + tradeoffs.extra(plan)), plan.plan
