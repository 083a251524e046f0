"""A model run both ways, and what that took: time, memory, first results.

Both ways run on one thread and take turns, so that a noisy machine is noisy for both; first results
come from fresh processes. What is counted rather than timed (bytes, kernels, operations) is exact.
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
from collections.abc import Callable, Iterable, Mapping
from itertools import cycle
from typing import Any, Final

import numpy as np

from staticgrad.comparison.abilities import abilities
from staticgrad.comparison.acts import acts
from staticgrad.comparison.agreement import agreement
from staticgrad.comparison.anatomy import anatomy
from staticgrad.comparison.loading import Spec, subject
from staticgrad.comparison.memory import (
    POLICIES,
    budgets,
    bytes_at,
    bytes_of_depth,
    checkpointed,
    tape_peak,
    tape_timeline,
    timelines,
)
from staticgrad.comparison.model import BATCH, Batch, Model
from staticgrad.comparison.page import ShownComparison, ShownTape
from staticgrad.comparison.programs import LITERAL, ComparedProgram, unchanged
from staticgrad.comparison.report import (
    EMPTY,
    TAPE,
    WARM,
    Changes,
    Comparison,
    FirstResult,
    Peer,
    Refusal,
    TapeAlone,
    refusal_of,
)
from staticgrad.comparison.stopwatch import PARTS, Race, one_thread, pools_while_timed
from staticgrad.comparison.ways import (
    DefineThenRun,
    Subject,
    by_run,
    comparable,
    graph_of,
    then_run,
)
from staticgrad.comparison.work import work
from staticgrad.eager.tape import serials
from staticgrad.errors import MeasurementError, StaticgradError
from staticgrad.optim import Optimizer
from staticgrad.reports.explain import dead_nodes

_STEPS: Final = 12  # of a program whose sizes change, or that the tape runs alone
_FIRST: Final = "staticgrad.comparison.first"
#: What keeps the libraries of a fresh process on one thread.
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
Watch = Callable[[str], object]


def compare(
    spec: Spec = "mlp",
    *arrays: Any,
    loss: Callable[..., Any] | None = None,
    optimizer: Optimizer | None = None,
    batches: Iterable[int] | None = None,
    depths: Iterable[int] | None = None,
    seconds: float = 1.0,
    torch_compile: bool = False,
    watch: Watch = lambda what: None,
) -> Comparison | TapeAlone:
    """Run a program both ways and report; a notebook shows the report as a page.

    Args:
        spec: a model's name, ``path.py:name``, a function that returns a Model, or a Model; with
            ``arrays`` a module, or a function that takes them (``sg.function`` or plain). First
            results are measured of what has a name, which a fresh process can find.
        arrays: examples, also dicts, lists, tuples and dataclasses of arrays; the first axis of
            those that are as long as the first one counts them. A module takes as many as its
            ``forward`` needs, its loss the rest. Or one function of a ``numpy.random.Generator``
            that gives the arrays of a step, whose sizes may differ from step to step.
        loss: of a module, ``loss(output, *rest)``: by default cross entropy where the target has
            whole numbers, else the mean square.
        optimizer: of a module or loss, one of ``sg.optim``; by default plain descent.
        batches: batch sizes to time a step at; by default a quarter to four times the usual one.
        depths: numbers of layers to time a step at, for models that have a choice; by default
            half to four times the usual one.
        seconds: of wall time per timing of a pair; twenty measurements of each way at least.
        torch_compile: where PyTorch is installed, compare with ``torch.compile``, too; it compiles
            for about a minute.
        watch: told what is being measured.

    Returns:
        The report, as data and ``as_json()``; ``comparison.page.page`` makes its page. Of a program
        that runs on the tape and makes no graph, as one with Python's ``while`` on a value, what
        the tape does and what the graph refuses.

    Raises:
        UnknownNameError, ArgumentError, ProgramError: see ``loading.subject``.
        MissingPackageError: the model's data comes with a package that is not installed.
        GradientError: a parameter that the loss does not depend on.
        MeasurementError: a process that measures a first result failed.
    """
    chosen = subject(spec, arrays, loss, optimizer)
    chosen.draw(chosen.batch_size, np.random.default_rng(0))  # what loads data does it now
    chosen = comparable(chosen)
    with one_thread(), unchanged(chosen):
        if isinstance(chosen, ComparedProgram) and not chosen.has_graph:
            return _tape_alone(chosen, seconds, watch)
        return _compared(spec, chosen, batches, depths, seconds, torch_compile, watch)


def _compared(
    spec: Spec,
    chosen: Subject,
    batches: Iterable[int] | None,
    depths: Iterable[int] | None,
    seconds: float,
    torch_compile: bool,
    watch: Watch,
) -> Comparison:
    usual = chosen.batch_size
    watch("whether both ways agree")
    trained = then_run(chosen)
    agreed = agreement(chosen, trained)
    named = [*trained.graph.sizes] == [BATCH]
    wanted = batches or ((max(usual // 4, 1), usual * 4) if named else ())
    serves = {n: _refused_size(chosen, trained, n) for n in wanted if named and n != usual}
    sizes = sorted({usual, *(n for n, refused in serves.items() if refused is None)})
    refusal = chosen.refusal if isinstance(chosen, ComparedProgram) else None
    refusal = next(filter(None, (refusal, *serves.values())), None)
    timings = [_race(chosen, n, n) for n in sizes]
    forward = _race(chosen, usual, usual, forward=True) if isinstance(chosen, Model) else None
    others = _depths(spec, chosen, depths, watch)
    layers = [_race(each, depth, usual) for depth, each in others.items()]
    for part in range(PARTS):
        watch(f"the time of steps, part {part + 1} of {PARTS}")
        for race in (*timings, *([forward] if forward else []), *layers):
            race.run(seconds / PARTS)
    watch("memory")
    by_policy = {policy: then_run(chosen, policy) for policy in POLICIES}
    memories = tuple(bytes_at(chosen, n, by_policy) for n in sizes)
    batch = chosen.draw(usual, np.random.default_rng(0))
    watch("what a graph cannot do")
    return ShownComparison(
        model=chosen.name,
        note=chosen.note,
        parameters=sum(np.asarray(array).size for array in chosen.parameters.values()),
        batch_size=usual,
        rule=chosen.rule,
        machine=_machine(),
        threads=pools_while_timed(),
        agreement=agreed,
        batches=tuple(race.pair() for race in timings),
        depths=tuple(race.pair() for race in layers),
        forward=forward.pair() if forward else None,
        first=_first_results(spec, usual, watch),
        memories=memories,
        budgets=budgets(trained, usual),
        program=str(trained.graph),
        work=work(trained, usual),
        abilities=abilities(),
        acts=acts(chosen, trained),
        timelines=timelines(chosen, by_policy),
        depth_memories=tuple(bytes_of_depth(each, depth) for depth, each in others.items()),
        anatomy=anatomy(graph_of(chosen), trained, batch, trained.sizes(usual)),
        module="\n".join(map(repr, chosen.modules)) if isinstance(chosen, ComparedProgram) else "",
        dead=_dead(chosen, trained, usual),
        checkpointed=checkpointed(chosen, batch) if isinstance(chosen, ComparedProgram) else None,
        refusal=refusal,
        changes=_changes(chosen) if isinstance(chosen, ComparedProgram) else None,
        peers=_peers(chosen, seconds, torch_compile, watch),
    )


def _dead(chosen: Subject, trained: DefineThenRun, size: int) -> tuple[str, ...]:
    """The nodes that nothing needs, counted."""
    graph, sizes = graph_of(chosen), trained.sizes(size)
    return tuple(dead_nodes(graph, trained.compiled.graph, sizes).lines())


def _refused_size(chosen: Subject, trained: DefineThenRun, size: int) -> Refusal | None:
    """Return why a program does not run with ``size`` examples, or None if it does."""
    try:
        trained.plan(size)
        if isinstance(chosen, ComparedProgram):
            by_run(chosen).step(chosen.draw(size, np.random.default_rng(0)))
            chosen.restore()
    except StaticgradError as error:
        return refusal_of(error, chosen.origin, LITERAL)
    return None


def _tape_alone(chosen: ComparedProgram, seconds: float, watch: Watch) -> TapeAlone:
    """Run the tape, each step from the start values, and say why there is no graph."""
    draw = np.random.default_rng(0)
    batches = [chosen.draw(chosen.batch_size, draw) for _ in range(_STEPS)]
    tape = by_run(chosen)
    losses, operations = [], []
    watch("the tape alone: there is no graph")
    for batch in batches:
        chosen.restore()
        before = next(serials)
        losses.append(tape.step(batch))
        operations.append(next(serials) - before - 1)

    def again() -> None:
        chosen.restore()
        tape.step(batches[0])

    race = Race(chosen.batch_size, again, again)
    for _ in range(2):
        race.run(seconds)
    refusal = chosen.refusal
    assert refusal is not None
    return ShownTape(
        model=chosen.name,
        note=chosen.note,
        parameters=sum(array.size for array in chosen.parameters.values()),
        batch_size=chosen.batch_size,
        rule=chosen.rule,
        machine=_machine(),
        threads=pools_while_timed(),
        refusal=refusal,
        tape=race.pair().by_run,
        nbytes=tape_peak(chosen, batches[0]),
        operations=tuple(operations),
        losses=tuple(losses),
        timeline=tape_timeline(chosen, batches[0]),
    )


def _changes(chosen: ComparedProgram) -> Changes | None:
    """Measure consecutive steps of different sizes; None if sizes do not change."""
    if not chosen.changes:
        return None
    draw = np.random.default_rng(11)
    batches = [chosen.draw(chosen.batch_size, draw) for _ in range(_STEPS)]
    axes: dict[str, set[int]] = {}
    for batch in batches:
        for name, array in batch.items():
            for axis, size in enumerate(array.shape):
                axes.setdefault(f"{name}.shape[{axis}]", set()).add(size)
    tape, trained, function = by_run(chosen), then_run(chosen), chosen.new_function()
    runs: dict[str, Callable[[Batch], object]] = {"tape": tape.step}
    if chosen.retraces:
        runs["new"] = runs["again"] = lambda batch: function(*batch.values())
    else:
        runs["new"] = runs["again"] = trained.step
    times: dict[str, list[float]] = {"tape": [], "new": [], "again": []}
    for batch in batches:
        for name, run in runs.items():
            begin = time.perf_counter()
            run(batch)
            times[name].append(time.perf_counter() - begin)
    plans = trained.compiled.stats.plans
    usual = {} if chosen.retraces else trained.sizes(chosen.batch_size)
    planned = {
        name: tuple(
            trained.compiled.plan(**{**usual, name: each}).peak_bytes
            for each in (max(size // 2, 1), size, size * 2)
        )
        for name, size in usual.items()
    }
    return Changes(
        sizes={name: (min(found), max(found)) for name, found in axes.items() if len(found) > 1},
        steps=len(batches),
        shapes=len({tuple(a.shape for a in batch.values()) for batch in batches}),
        graphs=function.stats.traces if chosen.retraces else 1,
        plans=function.stats.traces if chosen.retraces else plans,
        **{name: statistics.median(each) for name, each in times.items()},
        planned=planned,
    )


def _peers(chosen: Subject, seconds: float, torch_compile: bool, watch: Watch) -> tuple[Peer, ...]:
    from staticgrad.comparison.torch_peer import peers  # it translates programs, which takes time

    watch("PyTorch, if it is installed")
    silent = "KINETO_LOG_LEVEL"  # PyTorch's profiler reads it, and else reports on stderr
    said = silent in os.environ
    os.environ.setdefault(silent, "99")
    try:
        return peers(chosen, seconds, torch_compile)
    finally:
        if not said:
            del os.environ[silent]


def _depths(
    spec: Spec, chosen: Subject, depths: Iterable[int] | None, watch: Watch
) -> dict[int, Subject]:
    if chosen.depth is None or isinstance(spec, Model):
        return {}
    wanted = sorted(set(depths or (max(chosen.depth // 2, 2), chosen.depth, chosen.depth * 4)))
    watch("other depths, which are compiled first")
    return {depth: subject(spec, depth=depth) for depth in wanted}


def _race(chosen: Subject, at: int, size: int, forward: bool = False) -> Race:
    """Steps of both ways, to be timed; each sees the same few batches again and again."""
    draw = np.random.default_rng(1)
    batches = [chosen.draw(size, draw) for _ in range(4)]

    def runner(way: Any) -> Callable[[], float]:
        run: Callable[[Any], float] = way.forward if forward else way.step
        turn = cycle(batches)
        run(batches[0])
        return lambda: run(next(turn))

    return Race(at, runner(by_run(chosen)), runner(then_run(chosen)))


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


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
