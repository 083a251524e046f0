"""The memory of a step: measured for the tape, read from plans for the compiled step."""

from __future__ import annotations

import os
import sys
import tracemalloc
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from time import process_time
from types import FrameType
from typing import Any, Final

import numpy as np

from staticgrad.analysis.cost import plan_seconds
from staticgrad.comparison.model import Batch
from staticgrad.comparison.programs import ComparedProgram
from staticgrad.comparison.report import Budgeted, Bytes, Checkpointed, HeldBytes
from staticgrad.comparison.ways import DefineThenRun, by_run
from staticgrad.compiling.tradeoffs import tradeoff
from staticgrad.eager import checkpoint
from staticgrad.ir.plan_picture import columns_of_steps
from staticgrad.nn.module import Module
from staticgrad.reports.profiling import live_bytes

POLICIES: Final = ("store_all", "sqrt", "recompute")
#: The budgets that are shown.
_BUDGETS: Final = ("90%", "75%", "60%", "50%", "40%", "30%", "20%", "10%")
_TURNS: Final = 3  # timings of a step with checkpoints, and without
#: Points of a timeline, and the most readings of the tape's memory that it is made of.
_POINTS, _READINGS = 240, 200_000
#: The parts of ``tape_parts`` that make up its peak.
PARTS_OF_PEAK: Final = ("activations", "gradients", "updates")
#: Files that call for an array, where it is no activation.
_CALLERS: Final = (("stepping.py", "updates"), ("sweep.py", "gradients"))
_FRAMES: Final = 40  # more than there are between the backward pass and an operation


def compiled_by_policy(chosen: ComparedProgram) -> dict[str, DefineThenRun]:
    """Return the compiled program for each policy of recomputation."""
    return {policy: DefineThenRun(chosen, policy) for policy in POLICIES}


def bytes_of(
    chosen: ComparedProgram, at: int, size: int, compiled: Mapping[str, DefineThenRun]
) -> Bytes:
    """Return the memory of a step at a batch size, by policy; ``at`` names the measurement."""
    parts = tape_parts(chosen, chosen.draw(size, np.random.default_rng(0)))
    plans = {policy: way.plan(size) for policy, way in compiled.items()}
    times = {policy: plan_seconds(plan) for policy, plan in plans.items()}
    return Bytes(
        at=at,
        tape=sum(parts[part] for part in PARTS_OF_PEAK),
        parts=parts,
        arena={policy: plan.peak_bytes for policy, plan in plans.items()},
        times={policy: own / times[POLICIES[0]] for policy, own in times.items()},
    )


def tape_peak(chosen: ComparedProgram, batch: Batch) -> int:
    """Return the peak bytes of arrays during a step of the tape; see ``tape_parts``."""
    parts = tape_parts(chosen, batch)
    return sum(parts[part] for part in PARTS_OF_PEAK)


def tape_parts(chosen: ComparedProgram, batch: Batch) -> dict[str, int]:
    """Return the peak memory of a step of the tape, in bytes, by kind.

    Parameters, the state of the optimizer and the batch are allocated before. The arrays at the
    peak are ``activations`` (made by the forward pass), ``gradients`` (by the backward pass) and
    ``updates`` (by the step of the optimizer). ``objects`` are those of Python at that time, which
    other libraries' figures leave out; ``state`` is what the optimizer keeps between steps.
    """
    tape = by_run(chosen)
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
        _traced(lambda: tape.step(batch), at_peak, _FRAMES)
        share -= 0.04
    parts = dict.fromkeys((*PARTS_OF_PEAK, "objects"), 0)
    for trace in snapshots[0].traces if snapshots else ():
        files = {frame.filename.rpartition(os.sep)[2] for frame in trace.traceback}
        part = next((part for file, part in _CALLERS if file in files), "activations")
        parts[part if trace.domain == np.lib.tracemalloc_domain else "objects"] += trace.size
    # What the snapshot does not contain are arrays that lived within one call.
    within = max(_traced(lambda: tape.step(batch)) - sum(parts.values()), 0)
    parts["gradients" if parts["gradients"] else "activations"] += within
    state = 0
    if chosen.graph is not None:
        stores = {p.store for p in chosen.graph.parameters}
        kept = {state for store in stores for state in store.states()}
        state = sum(store.array.nbytes for store in kept & stores)
    return {**{part: max(nbytes, 0) for part, nbytes in parts.items()}, "state": state}


def _traced(
    step: Callable[[], object],
    note: Callable[[str, int], None] | None = None,
    frames: int = 1,
) -> int:
    """Run a step and return its peak bytes beyond those at its start.

    ``note`` is called with the event and the bytes each time a function begins or ends.
    """

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if note is not None:
            note(event, tracemalloc.get_traced_memory()[0] - start)

    before = sys.getprofile()
    tracemalloc.start(frames)
    start = tracemalloc.get_traced_memory()[0]
    try:
        if note is not None:
            sys.setprofile(profile)
        step()
        return tracemalloc.get_traced_memory()[1] - start
    finally:
        sys.setprofile(before)
        tracemalloc.stop()


def checkpointed(chosen: ComparedProgram, batch: Batch) -> Checkpointed | None:
    """Measure a step of the tape with a checkpoint for each layer of modules; None without layers.

    Layers are the modules that a module has as attributes, also in lists.
    """
    held = [value for module in chosen.modules for value in vars(module).values()]
    layers = [
        each
        for value in held
        for each in (value if isinstance(value, list | tuple) else [value])
        if isinstance(each, Module)
    ]
    if len(layers) < 2:
        return None
    tape = by_run(chosen)

    def quickest() -> float:
        tape.step(batch)
        spent = []
        for _ in range(_TURNS):
            begin = process_time()
            tape.step(batch)
            spent.append(process_time() - begin)
        return min(spent)

    plain = quickest()
    try:
        for layer in layers:
            vars(layer)["forward"] = partial(checkpoint, layer.forward)
        return Checkpointed(time=quickest() / plain, nbytes=tape_peak(chosen, batch))
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


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
    tape = by_run(chosen)
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
