"""A model run both ways, and what that took: time, memory, first results.

Both ways run on one thread and take turns, so that a noisy machine is noisy for both; first results
come from fresh processes. What is timed is processor time, for wall time counts whatever else a
machine does; the least of all turns is given, with their spread. What is counted rather than timed
(bytes, kernels, operations) is exact: floating-point operations as each op states them per element,
bytes of the results that are written to memory.
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from math import prod
from typing import Final

import numpy as np

from passes.pipelines import pipeline
from staticgrad.analysis.binding import concrete_shape
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
    Pair,
    Timing,
    WorkRow,
    nbytes,
    number,
)
from staticgrad.comparison.ways import DefineByRun, DefineThenRun
from staticgrad.errors import BudgetInfeasible, MeasurementError
from staticgrad.ir.forms import Contract, Identity, Reduce, ReshapeForm, View
from staticgrad.ir.graph import Graph, Node
from staticgrad.types.tensor import TensorType

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


_MOST: Final = 100  # turns of one part
#: Seconds of one measurement: shorter steps are repeated within it. Far below the time that a
#: system gives a process at a stretch, so that some are not interrupted.
_LEAST: Final = 2e-4
_BURST: Final = 4  # measurements of a way in its turn: the first finds the caches of the other
PARTS: Final = 5  # of a measurement; the range of a ratio is that among them
Run = Callable[[], object]
Sample = tuple[float, float]  # seconds of one run: of the processor, of the clock


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, the matrix products of NumPy and SciPy run on one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def pools() -> int:
    """The most threads that a library of this process takes now, as far as it can be told."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


class Race:
    """Two ways of doing something, timed in turns, in several parts that may lie far apart.

    A machine that is busy for a second hides the least time of whatever is timed in that second; so
    several races take turns, too.
    """

    def __init__(self, at: int, by_run: Run, then_run: Run) -> None:
        """Each way runs twice, to warm up and to learn how long it takes."""
        self._at, self._runs = at, (by_run, then_run)
        self._repeats = [_repeats(run) for run in self._runs]
        self._parts: list[list[list[Sample]]] = []  # of each part the samples of both ways

    def run(self, seconds: float) -> None:
        """One part: turns until ``seconds`` of wall time are up, one at least."""
        samples: list[list[Sample]] = [[], []]
        end = time.perf_counter() + seconds
        for turn in range(_MOST):
            if turn and time.perf_counter() > end:
                break
            for run, times, own in zip(self._runs, self._repeats, samples, strict=True):
                own += [_sample(run, times) for _ in range(_BURST)]
        self._parts.append(samples)

    def pair(self) -> Pair:
        """What was measured, in two parts at least."""
        ratios = [min(one)[0] / min(two)[0] for one, two in self._parts]
        one, two = ([s for part in self._parts for s in part[way]] for way in (0, 1))
        return Pair(self._at, _timing(one), _timing(two), (min(ratios), max(ratios)))


def _repeats(run: Run) -> int:
    """How often to run within one measurement."""
    run()
    return max(1, min(1000, int(_LEAST / max(_sample(run, 1)[1], 1e-6))))


def _sample(run: Run, times: int) -> Sample:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - cpu) / times, (time.perf_counter() - wall) / times


def _timing(samples: Sequence[Sample]) -> Timing:
    cpu, wall = (sorted(times) for times in zip(*samples, strict=True))
    lower, median, upper = statistics.quantiles(wall, n=4)
    return Timing(cpu[0], wall[0], lower, median, upper, len(samples), sum(wall) / sum(cpu))


#: The passes of O1, one by one.
_PIPELINE: Final = "dce,simplify,cse,fold,dce"
#: Buffers of a plan that a step writes for itself or its caller.
_WRITTEN: Final = ("temp", "output", "scratch")


def work(model: Model) -> tuple[WorkRow, ...]:
    """One line each: the joint graph as written, after each pass that changed it, as kernels."""
    step = DefineThenRun(model)
    graph = step.graph
    sizes = {BATCH: model.batch_size} if BATCH in graph.sizes else {}
    found = [_of_graph("written out, node by node", graph, sizes)]
    for each in pipeline(_PIPELINE).passes:
        after = each(graph)
        line = _of_graph(f"after {each}", after, sizes)
        if _shown(line) != _shown(found[-1]):
            found.append(line)
        graph = after
    plan = step.compiled.plan(**sizes)
    size_of = dict(plan.buffer_bytes)
    written = [b.name for b in plan.schedule.buffers if b.role in _WRITTEN]
    flops = found[-1].flops
    total = sum(size_of[name] for name in written)
    return (*found, WorkRow("fused into kernels", len(plan.steps), total, flops))


def _shown(work: WorkRow) -> tuple[int, str, str]:
    """The figures as tables have them."""
    return work.operations, nbytes(work.nbytes), number(work.flops)


def _of_graph(name: str, graph: Graph, sizes: dict[str, int]) -> WorkRow:
    nodes = [node for node in graph.nodes if not node.is_leaf]
    moved = [n for n in nodes if not isinstance(n.form, View | ReshapeForm | Identity)]
    return WorkRow(
        name,
        len(nodes),
        sum(_elements(t, sizes) * t.dtype.itemsize for node in moved for t in node.types),
        sum(_flops(node, sizes) for node in moved),
    )


def _flops(node: Node, sizes: dict[str, int]) -> int:
    form = node.form
    if isinstance(form, Contract):
        left = concrete_shape(node.args[0].type.shape, sizes)
        inner = left[-2 if form.transpose_a else -1]
        return 2 * inner * _elements(node.types[0], sizes)
    counted = node.args[0].type if isinstance(form, Reduce) else node.types[0]
    return node.op.flops * _elements(counted, sizes)


def _elements(kind: TensorType, sizes: dict[str, int]) -> int:
    return prod(concrete_shape(kind.shape, sizes))
