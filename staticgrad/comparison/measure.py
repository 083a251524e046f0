"""A model run both ways, and what that took: time, memory, first results.

Both ways run on one thread and take turns, so that a noisy machine is noisy for both; first results
come from fresh processes. What is counted rather than timed (bytes, kernels, operations) is exact.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from itertools import cycle
from typing import Final

import numpy as np

from staticgrad.analysis.cost import plan_seconds
from staticgrad.comparison.abilities import abilities
from staticgrad.comparison.agreement import agreement
from staticgrad.comparison.loading import Spec, model
from staticgrad.comparison.model import BATCH, Batch, Model
from staticgrad.comparison.report import (
    EMPTY,
    TAPE,
    WARM,
    Budgeted,
    Bytes,
    Comparison,
    FirstResult,
)
from staticgrad.comparison.stopwatch import PARTS, Race, one_thread, pools
from staticgrad.comparison.ways import DefineByRun, DefineThenRun
from staticgrad.comparison.work import work
from staticgrad.errors import BudgetInfeasible, MeasurementError

POLICIES: Final = ("store_all", "sqrt", "recompute")
_FIRST: Final = "staticgrad.comparison.first"
#: Parts of the way from the smallest peak of a policy to that of the first.
_BUDGETS: Final = (0.8, 0.6, 0.4, 0.2)
#: What keeps the libraries of a fresh process on one thread.
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
Watch = Callable[[str], object]


def compare(
    spec: Spec = "mlp",
    *,
    batches: Iterable[int] | None = None,
    depths: Iterable[int] | None = None,
    seconds: float = 1.0,
    watch: Watch = lambda what: None,
) -> Comparison:
    """Run a model both ways and report.

    Args:
        spec: a model's name, ``path.py:function``, a function that returns a Model, or a Model.
            First results are measured for the first two, which a fresh process can find.
        batches: batch sizes to time a step at; by default a quarter to four times the usual one.
        depths: numbers of layers to time a step at, for models that have a choice; by default
            half to four times the usual one.
        seconds: of wall time per timing of a pair; twenty measurements of each way at least.
        watch: told what is being measured.

    Raises:
        UnknownNameError, ArgumentError, ProgramError: see ``loading.model``.
        MissingPackageError: the model's data comes with a package that is not installed.
        GradientError: a parameter that the loss does not depend on.
        MeasurementError: a process that measures a first result failed.
    """
    chosen = model(spec)
    with one_thread():
        return _compared(spec, chosen, batches, depths, seconds, watch)


def _compared(
    spec: Spec,
    chosen: Model,
    batches: Iterable[int] | None,
    depths: Iterable[int] | None,
    seconds: float,
    watch: Watch,
) -> Comparison:
    usual = chosen.batch_size
    watch("whether both ways agree")
    trained = DefineThenRun(chosen)
    agreed = agreement(chosen, trained)
    named = BATCH in trained.graph.sizes
    wanted = batches or ((max(usual // 4, 1), usual * 4) if named else ())
    sizes = sorted({usual, *(wanted if named else ())})
    timings = [_race(chosen, n, n) for n in sizes]
    forward = _race(chosen, usual, usual, forward=True)
    layers = _depths(spec, chosen, depths, watch)
    for part in range(PARTS):
        watch(f"the time of steps, part {part + 1} of {PARTS}")
        for race in (*timings, forward, *layers):
            race.run(seconds / PARTS)
    watch("memory")
    by_policy = {policy: DefineThenRun(chosen, policy) for policy in POLICIES}
    memories = tuple(_memory(chosen, n, by_policy) for n in sizes)
    return Comparison(
        model=chosen.name,
        note=chosen.note,
        parameters=sum(np.asarray(array).size for array in chosen.parameters.values()),
        batch_size=usual,
        rule=chosen.rule,
        machine=_machine(),
        threads=pools(),
        agreement=agreed,
        batches=tuple(race.pair() for race in timings),
        depths=tuple(race.pair() for race in layers),
        forward=forward.pair(),
        first=_first_results(spec, usual, watch),
        memories=memories,
        budgets=_budgets(chosen, memories[sizes.index(usual)].arena),
        program=str(trained.graph),
        work=work(chosen),
        abilities=abilities(),
    )


def _depths(spec: Spec, chosen: Model, depths: Iterable[int] | None, watch: Watch) -> list[Race]:
    if chosen.depth is None or isinstance(spec, Model):
        return []
    wanted = sorted(set(depths or (max(chosen.depth // 2, 2), chosen.depth, chosen.depth * 4)))
    watch("other depths, which are compiled first")
    return [_race(model(spec, depth), depth, chosen.batch_size) for depth in wanted]


def _race(chosen: Model, at: int, size: int, forward: bool = False) -> Race:
    """Steps of both ways, to be timed; each sees the same few batches again and again."""
    draw = np.random.default_rng(1)
    batches = [chosen.draw(size, draw) for _ in range(4)]

    def runner(way: DefineByRun | DefineThenRun) -> Callable[[], float]:
        run = way.forward if forward else way.step
        turn = cycle(batches)
        run(batches[0])
        return lambda: run(next(turn))

    return Race(at, runner(DefineByRun(chosen)), runner(DefineThenRun(chosen)))


def _first_results(spec: Spec, size: int, watch: Watch) -> Mapping[str, FirstResult]:
    if not isinstance(spec, str):
        return {}
    watch("first results in fresh processes")
    with tempfile.TemporaryDirectory() as folder:
        return {
            TAPE: _first_result("tape", spec, size, folder),
            EMPTY: _first_result("compiled", spec, size, folder),
            WARM: _first_result("compiled", spec, size, folder),
        }


def _first_result(way: str, spec: str, size: int, cache: str) -> FirstResult:
    done = subprocess.run(
        [sys.executable, "-m", _FIRST, way, spec, str(size), repr(time.monotonic())],
        env={**os.environ, **_ONE_THREAD, "STATICGRAD_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MeasurementError(f"the process that measures the first result failed: {last}")
    return FirstResult(**json.loads(done.stdout.splitlines()[-1]))


def _memory(chosen: Model, size: int, compiled: Mapping[str, DefineThenRun]) -> Bytes:
    batch = chosen.draw(size, np.random.default_rng(0))
    plans = {policy: way.plan(size) for policy, way in compiled.items()}
    times = {policy: plan_seconds(plan) for policy, plan in plans.items()}
    return Bytes(
        at=size,
        tape=tape_peak(chosen, batch),
        arena={policy: plan.peak_bytes for policy, plan in plans.items()},
        times={policy: own / times[POLICIES[0]] for policy, own in times.items()},
    )


def tape_peak(chosen: Model, batch: Batch) -> int:
    """Bytes that NumPy and Python hold at most during a step of the tape.

    Parameters, the state of the optimizer and the batch are there before.
    """
    tape = DefineByRun(chosen)
    for _ in range(2):
        tape.step(batch)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tape.step(batch)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _budgets(chosen: Model, arena: Mapping[str, int]) -> tuple[Budgeted, ...]:
    """Plans within budgets between what the policies take; none where they all take the same."""
    most, least = arena[POLICIES[0]], min(arena.values())
    if least > 0.95 * most:
        return ()
    whole = DefineThenRun(chosen).plan(chosen.batch_size)
    found = []
    for part in _BUDGETS:
        budget = int(least + part * (most - least))
        try:
            plan = DefineThenRun(chosen, memory_budget=budget).plan(chosen.batch_size)
        except BudgetInfeasible:
            continue
        found.append(Budgeted(budget, plan.peak_bytes, plan_seconds(plan) / plan_seconds(whole)))
    return tuple(found)


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
