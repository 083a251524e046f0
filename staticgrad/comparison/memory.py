"""The memory of a step: measured for the tape, read from plans for the compiled step."""

from __future__ import annotations

import os
import sys
import tracemalloc
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import process_time
from types import FrameType
from typing import Any, Final

import numpy as np

from staticgrad.analysis.cost import plan_seconds
from staticgrad.comparison.model import Batch
from staticgrad.comparison.programs import ComparedProgram
from staticgrad.comparison.report import Budgeted, Bytes, Checkpointed, HeldBytes
from staticgrad.comparison.ways import DefineThenRun, Subject, by_run, graph_of, then_run
from staticgrad.compiling.tradeoffs import tradeoff
from staticgrad.eager import checkpoint
from staticgrad.ir.plan_picture import columns_of_steps
from staticgrad.nn.module import Module
from staticgrad.reports.profiling import live_bytes

POLICIES: Final = ("store_all", "sqrt", "recompute")
#: The budgets that are shown.
_BUDGETS: Final = ("90%", "75%", "60%", "50%", "40%", "30%", "20%", "10%")
#: Points of a timeline, and the most readings of the tape's memory that it is made of.
_TURNS: Final = 3
_POINTS, _READINGS = 240, 200_000


def bytes_at(chosen: Subject, size: int, compiled: Mapping[str, DefineThenRun]) -> Bytes:
    """Return the memory of a step at a batch size, by policy."""
    batch = chosen.draw(size, np.random.default_rng(0))
    return _bytes(size, tape_parts(chosen, batch), compiled, size)


def bytes_of_depth(chosen: Subject, depth: int) -> Bytes:
    """Return the memory of a step of a model with a number of layers, at its usual batch size."""
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    compiled = {policy: then_run(chosen, policy) for policy in POLICIES}
    return _bytes(depth, tape_parts(chosen, batch), compiled, chosen.batch_size)


def _bytes(
    at: int, parts: Mapping[str, int], compiled: Mapping[str, DefineThenRun], size: int
) -> Bytes:
    plans = {policy: way.plan(size) for policy, way in compiled.items()}
    times = {policy: plan_seconds(plan) for policy, plan in plans.items()}
    return Bytes(
        at=at,
        tape=sum(parts[part] for part in PARTS_OF_PEAK),
        parts=parts,
        arena={policy: plan.peak_bytes for policy, plan in plans.items()},
        times={policy: own / times[POLICIES[0]] for policy, own in times.items()},
    )


def tape_peak(chosen: Subject, batch: Batch) -> int:
    """Bytes that arrays hold at most during a step of the tape; see ``tape_parts``."""
    return sum(tape_parts(chosen, batch)[part] for part in PARTS_OF_PEAK)


def tape_parts(chosen: Subject, batch: Batch) -> dict[str, int]:
    """Return the peak memory of a step of the tape, in bytes, by kind.

    Parameters, the state of the optimizer and the batch are there before. The arrays at the peak
    are ``activations`` (made by the forward pass), ``gradients`` (by the walk back) and ``updates``
    (by the step of the optimizer). ``objects`` are those of Python at that time, which other
    libraries' figures leave out; ``state`` is what the optimizer keeps from step to step.
    """
    tape = by_run(chosen)
    for _ in range(2):
        tape.step(batch)
    most = max(_traced(lambda: tape.step(batch)))
    found, share = None, 0.98
    while found is None and share > 0.5:  # the peak itself may lie within a call
        found = _at_peak(lambda: tape.step(batch), share * most)
        share -= 0.04
    parts = dict.fromkeys((*PARTS_OF_PEAK, "objects"), 0)
    for part, nbytes in found or ():
        parts[part] += nbytes
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tape.step(batch)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    # What the snapshot has not seen are arrays that lived within one call.
    within = max(peak - sum(parts.values()), 0)
    parts["gradients" if parts["gradients"] else "activations"] += within
    return {**{part: max(nbytes, 0) for part, nbytes in parts.items()}, "state": _state(chosen)}


#: Of the parts of ``tape_parts`` those that make up its peak.
PARTS_OF_PEAK: Final = ("activations", "gradients", "updates")
#: The files that are on the way to an array, where it is no activation.
_PLACES: Final = (("stepping.py", "updates"), ("sweep.py", "gradients"))
_FRAMES: Final = 40  # more than there are between the walk back and an operation


def _traced(step: Callable[[], object]) -> list[int]:
    """The bytes traced, beyond those at the start, each time a function begins or ends."""
    seen: list[int] = [0]

    def note(frame: FrameType, event: str, arg: Any) -> None:
        seen[0] = max(seen[0], tracemalloc.get_traced_memory()[0] - start)

    before = sys.getprofile()
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    try:
        sys.setprofile(note)
        step()
    finally:
        sys.setprofile(before)
        tracemalloc.stop()
    return seen


def _at_peak(step: Callable[[], object], nbytes: float) -> list[tuple[str, int]] | None:
    """Return the parts and bytes allocated when ``nbytes`` is reached; None if it never is."""
    seen: list[tracemalloc.Snapshot] = []

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if not seen and tracemalloc.get_traced_memory()[0] - start >= nbytes:
            sys.setprofile(before)
            seen.append(tracemalloc.take_snapshot())

    before = sys.getprofile()
    tracemalloc.start(_FRAMES)
    start = tracemalloc.get_traced_memory()[0]
    try:
        sys.setprofile(note)
        step()
    finally:
        sys.setprofile(before)
        tracemalloc.stop()
    if not seen:
        return None
    return [(_part(trace), trace.size) for trace in seen[0].traces]


def _part(trace: tracemalloc.Trace) -> str:
    """Classify an allocation by its traceback."""
    if trace.domain != np.lib.tracemalloc_domain:
        return "objects"
    files = {frame.filename.rpartition(os.sep)[2] for frame in trace.traceback}
    return next((part for file, part in _PLACES if file in files), "activations")


def _state(chosen: Subject) -> int:
    """Return the bytes of optimizer state for parameters; 0 for a program without a graph."""
    if isinstance(chosen, ComparedProgram) and not chosen.has_graph:
        return 0
    stores = {p.store for p in graph_of(chosen).parameters}
    kept = {state for store in stores for state in store.states()}
    return sum(store.array.nbytes for store in kept & stores)


def checkpointed(chosen: ComparedProgram, batch: Batch) -> Checkpointed | None:
    """A step of the tape with a checkpoint for each layer of modules; None without layers."""
    layers = [layer for module in chosen.modules for layer in _layers(module)]
    if len(layers) < 2:
        return None
    tape, times = by_run(chosen), []
    try:
        for wrapped in (False, True):
            if wrapped:
                for layer in layers:
                    vars(layer)["forward"] = partial(checkpoint, layer.forward)
            tape.step(batch)
            spent = []
            for _ in range(_TURNS):
                begin = process_time()
                tape.step(batch)
                spent.append(process_time() - begin)
            times.append(min(spent))
        return Checkpointed(tape_peak(chosen, batch), times[1] / times[0])
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _layers(module: Module) -> list[Module]:
    """The modules that a module holds itself, also in lists."""
    found: list[Module] = []
    for value in vars(module).values():
        found += [each for each in (value if isinstance(value, list | tuple) else [value])
                  if isinstance(each, Module)]  # fmt: skip
    return found


def timelines(chosen: Subject, compiled: Mapping[str, DefineThenRun]) -> tuple[HeldBytes, ...]:
    """Return the memory from the beginning of a step to its end: on the tape, and by policy."""
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    found = [tape_timeline(chosen, batch)]
    for policy, way in compiled.items():
        plan = way.plan(chosen.batch_size)
        phases = "".join(columns_of_steps(plan))
        found.append(HeldBytes(policy, tuple(live_bytes(plan)), phases))
    return tuple(found)


def tape_timeline(chosen: Subject, batch: Batch) -> HeldBytes:
    """Return the memory of the tape from the beginning of a step to its end."""
    return HeldBytes("tape", _points(_readings(chosen, batch)))


def _readings(chosen: Subject, batch: Batch) -> list[int]:
    """Return the bytes allocated by NumPy and Python at each function return in a tape step.

    For a long step these are only the first ``_READINGS`` readings.
    """
    tape = by_run(chosen)
    held, count = array("q", bytes(8 * _READINGS)), 0

    def note(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal count
        if count < _READINGS and event in ("return", "c_return"):
            held[count] = tracemalloc.get_traced_memory()[0]
            count += 1

    start, before = 0, sys.getprofile()
    for _ in range(3):  # what is made once is made in the first two
        count = 0
        tracemalloc.start()
        try:
            start = tracemalloc.get_traced_memory()[0]
            sys.setprofile(note)
            tape.step(batch)
        finally:
            sys.setprofile(before)
            tracemalloc.stop()
    return [max(each - start, 0) for each in held[:count]]


def _points(readings: Sequence[int]) -> tuple[int, ...]:
    """Neighbouring readings as one, the largest of them."""
    each = max(-(-len(readings) // _POINTS), 1)
    return tuple(max(readings[k : k + each]) for k in range(0, len(readings), each))


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
