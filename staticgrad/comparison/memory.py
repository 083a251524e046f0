"""What a step holds: of the tape measured, of the compiled step read from plans."""

from __future__ import annotations

import sys
import tracemalloc
from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from time import process_time
from types import FrameType
from typing import Any, Final

import numpy as np

from staticgrad.analysis.cost import plan_seconds
from staticgrad.comparison.model import Batch
from staticgrad.comparison.programs import ComparedProgram
from staticgrad.comparison.report import Budgeted, Bytes, Checkpointed, HeldBytes
from staticgrad.comparison.ways import DefineThenRun, Subject, by_run, then_run
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
    """What a step holds at a batch size, by policy."""
    batch = chosen.draw(size, np.random.default_rng(0))
    return _bytes(size, tape_peak(chosen, batch), compiled, size)


def bytes_of_depth(chosen: Subject, depth: int) -> Bytes:
    """What a step of a model of so many layers holds, at its usual batch size."""
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    compiled = {policy: then_run(chosen, policy) for policy in POLICIES}
    return _bytes(depth, tape_peak(chosen, batch), compiled, chosen.batch_size)


def _bytes(at: int, tape: int, compiled: Mapping[str, DefineThenRun], size: int) -> Bytes:
    plans = {policy: way.plan(size) for policy, way in compiled.items()}
    times = {policy: plan_seconds(plan) for policy, plan in plans.items()}
    return Bytes(
        at=at,
        tape=tape,
        arena={policy: plan.peak_bytes for policy, plan in plans.items()},
        times={policy: own / times[POLICIES[0]] for policy, own in times.items()},
    )


def tape_peak(chosen: Subject, batch: Batch) -> int:
    """Bytes that NumPy and Python hold at most during a step of the tape.

    Parameters, the state of the optimizer and the batch are there before.
    """
    tape = by_run(chosen)
    for _ in range(2):
        tape.step(batch)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tape.step(batch)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


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
    """What is held from the beginning of a step to its end: on the tape, and by policy."""
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    found = [tape_timeline(chosen, batch)]
    for policy, way in compiled.items():
        plan = way.plan(chosen.batch_size)
        phases = "".join(columns_of_steps(plan))
        found.append(HeldBytes(policy, tuple(live_bytes(plan)), phases))
    return tuple(found)


def tape_timeline(chosen: Subject, batch: Batch) -> HeldBytes:
    """What the tape holds from the beginning of a step to its end."""
    return HeldBytes("tape", _points(_readings(chosen, batch)))


def _readings(chosen: Subject, batch: Batch) -> list[int]:
    """What NumPy and Python hold each time a function ends in a step of the tape.

    A long step has its first readings only, at most ``_READINGS``.
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
    """What less memory costs at a batch size: plans within shares of all, down to the smallest."""
    found = tradeoff(way.compiled, way.sizes(size))
    plans = {f"budget {budget}": found.within(budget) for budget in _BUDGETS}
    plans["smallest budget"] = found.smallest
    chosen: dict[int, Budgeted] = {}
    for name, plan in plans.items():
        if plan is not None and plan is not found.everything:
            chosen[plan.peak_bytes] = Budgeted(name, plan.peak_bytes, 1 + found.extra(plan))
    return tuple(chosen.values())
