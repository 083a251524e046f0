"""The stop-watch and the scales: a model run both ways, and what that took.

The two ways take turns, so that a noisy machine is noisy for both; first results come from fresh
processes. What is counted rather than timed (bytes, kernels, operations) is exact.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Final

import numpy as np

from staticgrad.analysis.cost import plan_seconds
from staticgrad.comparison.abilities import abilities
from staticgrad.comparison.models import Array, Model, model
from staticgrad.comparison.report import (
    EMPTY,
    TAPE,
    WARM,
    Agreement,
    Bytes,
    Comparison,
    FirstResult,
    Pair,
    Timing,
)
from staticgrad.comparison.ways import DefineByRun, DefineThenRun, Way
from staticgrad.comparison.work import work
from staticgrad.errors import MeasurementError

POLICIES: Final = ("store_all", "sqrt", "recompute")
_FIRST: Final = "staticgrad.comparison.first"
_STEPS: Final = 20  # of which losses are compared
_MOST: Final = 200  # steps per timing
Watch = Callable[[str], object]


def compare(
    spec: str = "mlp",
    *,
    batches: Iterable[int] | None = None,
    depths: Iterable[int] | None = None,
    seconds: float = 1.0,
    watch: Watch = lambda what: None,
) -> Comparison:
    """Run a model both ways and report.

    Args:
        spec: a model's name, or ``path.py:function``.
        batches: batch sizes to time a step at; by default a quarter to four times the usual one.
        depths: numbers of layers to time a step at, for models that have a choice; by default
            half to four times the usual one.
        seconds: of time per timing of a pair, more or less.
        watch: told what is being measured.

    Raises:
        UnknownNameError, ArgumentError: no such model; see ``models.model``.
        MissingPackageError: the model's data comes with a package that is not installed.
        MeasurementError: a process that measures a first result failed.
    """
    chosen = model(spec)
    usual = chosen.batch_size
    sizes = sorted({usual, *(batches or (usual // 4, usual * 4))})
    watch("losses of both ways")
    agreement = _agreement(chosen)
    timed = tuple(
        _pair(chosen, size, size, seconds, watch, f"a step at batch size {size}") for size in sizes
    )
    watch("first results in fresh processes")
    first = _first_results(spec, usual)
    watch("memory")
    return Comparison(
        model=chosen.name,
        note=chosen.note,
        parameters=sum(array.size for array in chosen.parameters.values()),
        batch_size=usual,
        machine=_machine(),
        agreement=agreement,
        batches=timed,
        depths=_depths(spec, chosen, depths, seconds, watch),
        first=first,
        memory=_memory(chosen),
        work=work(chosen),
        abilities=abilities(),
    )


def _depths(
    spec: str, chosen: Model, depths: Iterable[int] | None, seconds: float, watch: Watch
) -> tuple[Pair, ...]:
    if chosen.depth is None:
        return ()
    wanted = sorted(set(depths or (max(chosen.depth // 2, 2), chosen.depth, chosen.depth * 4)))
    return tuple(
        _pair(model(spec, d), d, chosen.batch_size, seconds, watch, f"a step of {d} layers")
        for d in wanted
    )


def _agreement(chosen: Model) -> Agreement:
    ways: list[Way] = [DefineByRun(chosen), DefineThenRun(chosen)]
    random = np.random.default_rng(0)
    batches = [chosen.batch(chosen.batch_size, random) for _ in range(_STEPS)]
    one, two = ([way.step(batch) for batch in batches] for way in ways)
    apart = (abs(a - b) / max(abs(a), 1e-30) for a, b in zip(one, two, strict=True))
    return Agreement(tuple(one), tuple(two), max(apart))


def _pair(chosen: Model, at: int, size: int, seconds: float, watch: Watch, what: str) -> Pair:
    """Steps of both ways in turns until the time is up, ten of each at least."""
    watch(what)
    ways: list[Way] = [DefineByRun(chosen), DefineThenRun(chosen)]
    random = np.random.default_rng(1)
    batches = [chosen.batch(size, random) for _ in range(4)]
    for way in ways:
        for batch in batches[:2]:
            way.step(batch)
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + seconds
    for turn in count():
        if turn >= _MOST or (turn >= 10 and time.perf_counter() > end):
            break
        batch = batches[turn % len(batches)]
        for way, own in zip(ways, times, strict=True):
            before = time.perf_counter()
            way.step(batch)
            own.append(time.perf_counter() - before)
    return Pair(at, *map(_timing, times))


def _timing(times: list[float]) -> Timing:
    lower, median, upper = statistics.quantiles(times, n=4)
    return Timing(median, lower, upper, len(times))


def _first_results(spec: str, size: int) -> Mapping[str, FirstResult]:
    with tempfile.TemporaryDirectory() as folder:
        return {
            TAPE: _first_result("tape", spec, size, folder),
            EMPTY: _first_result("compiled", spec, size, folder),
            WARM: _first_result("compiled", spec, size, folder),
        }


def _first_result(way: str, spec: str, size: int, cache: str) -> FirstResult:
    done = subprocess.run(
        [sys.executable, "-m", _FIRST, way, spec, str(size), repr(time.monotonic())],
        env={**os.environ, "STATICGRAD_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MeasurementError(f"the process that measures the first result failed: {last}")
    return FirstResult(**json.loads(done.stdout.splitlines()[-1]))


def _memory(chosen: Model) -> Bytes:
    batch = chosen.batch(chosen.batch_size, np.random.default_rng(0))
    plans = {
        policy: DefineThenRun(chosen, policy).compiled.plan(batch=chosen.batch_size)
        for policy in POLICIES
    }
    times = {policy: plan_seconds(plan) for policy, plan in plans.items()}
    return Bytes(
        tape=_tape_peak(chosen, batch),
        arena={policy: plan.peak_bytes for policy, plan in plans.items()},
        times={policy: own / times[POLICIES[0]] for policy, own in times.items()},
    )


def _tape_peak(chosen: Model, batch: Mapping[str, Array]) -> int:
    """What NumPy held at most during a step of the tape; parameters and batch are there before."""
    tape = DefineByRun(chosen)
    tape.step(batch)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tape.step(batch)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
