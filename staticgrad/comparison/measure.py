"""A program run both ways, and what that took: time, memory, first results.

Both ways run on one thread and take turns, so that a noisy machine is noisy for both; times are the
least processor time of all turns, because wall time counts whatever else a machine does. First
results come from fresh processes. Bytes, kernels and operations are counted, and so exact.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import cycle
from typing import Any, Final

import numpy as np

from staticgrad.comparison import causes, courses, memory, peers
from staticgrad.comparison.acts import acts
from staticgrad.comparison.axes import Asked, BatchAxes
from staticgrad.comparison.debugging import mistakes_in
from staticgrad.comparison.limits import limit_time
from staticgrad.comparison.loading import Spec, load_peer, subject
from staticgrad.comparison.mistakes import Debugging
from staticgrad.comparison.page import ShownComparison, ShownTape
from staticgrad.comparison.programs import (
    BATCH,
    LITERAL,
    Batch,
    ComparedProgram,
    restore_afterwards,
)
from staticgrad.comparison.report import (
    EMPTY,
    HERE,
    TAPE,
    WARM,
    WRITTEN,
    Anatomy,
    Changes,
    Comparison,
    Course,
    Peer,
    Refusal,
    StepCost,
    TapeAlone,
    WorkRow,
    refusal_of,
)
from staticgrad.comparison.timing import PARTS, Race, one_thread, pools
from staticgrad.comparison.ways import DefineByRun, DefineThenRun, agreement
from staticgrad.errors import ArgumentError, MeasurementError, StaticgradError
from staticgrad.extend import Graph, list_names
from staticgrad.extend.pages import nbytes, number
from staticgrad.extend.programs import bind_sizes
from staticgrad.extend.reports import dead_nodes, runners, work_of
from staticgrad.extend.tapes import serials
from staticgrad.optim import Optimizer

_STEPS: Final = 20  # of a program that the tape runs alone
_REPEATS: Final = 2  # of a course
_LONG: Final = 15.0  # seconds of all courses, from which on they are not repeated
_RUNS: Final = 8  # of the compiled program, whose steps are timed one by one
_FIRST: Final = "staticgrad.comparison.first"
#: The environment that keeps the libraries of a fresh process on one thread.
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
Watch = Callable[[str], object]


def compare(
    spec: Spec = "mlp",
    *arrays: Any,
    loss: Callable[..., Any] | None = None,
    optimizer: Optimizer | None = None,
    torch: Any = None,
    jax: Any = None,
    batch_axis: Asked | None = None,
    batches: Iterable[int] | None = None,
    seconds: float = 1.0,
    watch: Watch = lambda what: None,
) -> Comparison | TapeAlone:
    """Run a program define-by-run and compiled, and compare their time, memory and results.

    Args:
        spec: a model's name, ``path.py:name``, or a function that returns a module or function with
            its arrays; with ``arrays`` a module, or a function that takes them (``sg.function`` or
            plain); also a ``torch.nn.Module``, and a function of JAX, which are traced. First
            results are measured of what has a name, which a fresh process can find.
        arrays: examples, also dicts, lists, tuples and dataclasses of arrays. A module takes as
            many as its ``forward`` needs, its loss the rest. Or one function of a
            ``numpy.random.Generator`` that gives the arrays of a step, whose sizes may differ from
            step to step.
        loss: of a module, ``loss(output, *rest)``: by default cross entropy where the target has
            whole numbers, else the mean square. Of a ``torch.nn.Module`` it is one of tensors.
        optimizer: of a module or loss, one of ``sg.optim``; by default plain descent.
        torch: the same program in PyTorch: a step or a loss of tensors, or a ``torch.nn.Module``
            with the module's names of parameters; measured eager and by ``torch.compile``. By
            default modules of known layers are translated, and measured eager, as a
            ``torch.nn.Module`` itself is; True compiles them, too; False leaves PyTorch out.
        jax: the same program in JAX, jitted: ``(step, state)``, where ``step(state, *arrays)``
            gives the loss and the new state, ``(loss, parameters)``, or a function of arrays. Both
            may be functions without arguments that return it, and import their library first.
        batch_axis: the axis that counts examples, or a dict of axes by array, ``{"x": 1, "y": 0}``.
            By default that which ``sg.function(sizes=)`` names batch; else it is looked for: the
            axis over which the loss adds up, or in whose order the loss is the same, of arrays that
            carry data (not of a container of parameters in front of them); else the first one. The
            report says which, and how it is known.
        batches: batch sizes to time a step at; by default a quarter to four times the usual one. A
            function of JAX is traced for the sizes of its arrays and takes no others.
        seconds: of wall time per timing of a pair; twenty measurements of each way at least.
        watch: called with a description of what is being measured.

    Returns:
        The report, as data and ``as_json()``; ``comparison.page.page`` makes its page. Of a program
        that runs on the tape and makes no graph, as one with Python's ``while`` on a value, what
        the tape does and what the graph refuses.

    Raises:
        UnknownNameError, ArgumentError, ProgramError: see ``loading.subject``.
        MissingPackageError: the model's data comes with a package that is not installed.
        GradientError: a parameter that the loss does not depend on.
        ArgumentError: ``torch``, ``jax`` or ``batch_axis`` is none of what they may be; ``batches``
            of a program that serves one size alone.
        MeasurementError: a process that measures a first result failed.
    """
    chosen = subject(spec, arrays, loss, optimizer, batch_axis)
    torch, jax = load_peer(spec, torch), load_peer(spec, jax)
    peers.check(torch, jax)
    about: dict[str, Any] = {
        "model": chosen.name,
        "parameters": chosen.size,
        "batch_size": chosen.batch_size,
        "batch_axes": str(chosen.batch),
        "rule": chosen.rule,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}",
    }
    with one_thread(), restore_afterwards(chosen):
        if chosen.graph is None:
            watch("the tape alone: there is no graph")
            others = partial(peers.measure_peers, chosen, seconds, torch, jax, watch)
            return _tape_alone(chosen, seconds, about, others)
        usual = chosen.batch_size
        watch("whether both ways agree")
        trained = DefineThenRun(chosen)
        agreed = agreement(chosen, trained)
        named = [*trained.graph.sizes] == [BATCH]
        batches = sorted({*batches}) if batches else []
        candidate_sizes = batches or ((max(usual // 4, 1), usual * 4) if named else ())
        serves = {
            n: _refused_size(chosen, trained, n) for n in candidate_sizes if named and n != usual
        }
        sizes = sorted({usual, *(n for n, refused in serves.items() if refused is None)})
        refusal = next(filter(None, (chosen.refusal, *serves.values())), None)
        if {*batches} - {*sizes}:
            because = f": {refusal.message}" if refusal else ""
            raise ArgumentError(
                f"compare: batches={batches}, but the graph serves {usual} examples alone{because}",
                hint="leave batches out, or compare arrays of each size",
            )
        timings = [_race(chosen, n) for n in sizes]
        forward = [_race(chosen, usual, "forward")] if chosen.loss else []
        for part in range(PARTS):
            watch(f"the time of steps, part {part + 1} of {PARTS}")
            for race in (*timings, *forward):
                race.run(seconds / PARTS)
        watch("memory")
        by_policy = memory.compiled_by_policy(chosen, trained)
        batch = chosen.draw(usual, np.random.default_rng(0))
        tape = memory.tape_memory(chosen, batch)
        peaks = {
            n: memory.tape_peak(chosen, chosen.draw(n, np.random.default_rng(0)), tape.objects)
            for n in sizes if n != usual
        } | {usual: tape.peak}  # fmt: skip
        memories = tuple(memory.bytes_of(peaks[n], n, by_policy) for n in sizes)
        plans = memory.budgets(trained, usual)
        watch("the cost of recomputation")
        budgets = memory.measured_budgets(plans, trained, batch, seconds / 2)
        checkpointed = memory.checkpointed_tape(chosen, batch, seconds / 4)
        course = courses.CoursePlan(usual, next((n for n in reversed(sizes) if n != usual), None))
        ran = courses_of(spec, chosen, course, watch)
        held_bytes, changes = _measure_courses(chosen, trained, course, ran, peaks)
        watch("what a graph cannot do")
        return ShownComparison(
            **about,
            threads=_pools_while_timed(),
            agreement=agreed,
            batches=tuple(race.pair() for race in timings),
            forward=forward[0].pair() if forward else None,
            courses=ran,
            held=held_bytes,
            memories=memories,
            budgets=budgets,
            checkpointed=checkpointed,
            program=str(trained.graph),
            work=work(trained, usual),
            acts=acts(chosen, trained),
            timelines=memory.timelines(tape, by_policy, usual),
            anatomy=_anatomy(chosen.graph, trained, batch, trained.sizes(usual)),
            module="\n".join(map(repr, chosen.modules)),
            dead=tuple(
                dead_nodes(chosen.graph, trained.compiled.graph, trained.sizes(usual)).lines()
            ),
            refusal=refusal,
            changes=changes,
            debugging=_debugging(chosen, watch),
            causes=(tape.causes, causes.of_plan("compiled", trained.plan(usual))),
            peers=peers.measure_peers(chosen, seconds, torch, jax, watch),
        )


def _debugging(chosen: ComparedProgram, watch: Watch) -> Debugging | None:
    """Return how mistakes are found; None for a program in which none can be planted."""
    watch("how mistakes are found")
    try:
        return mistakes_in(chosen)
    except StaticgradError:
        return None


def _refused_size(chosen: ComparedProgram, trained: DefineThenRun, size: int) -> Refusal | None:
    """Return why a compared program refuses a batch of ``size`` examples; None if it runs."""
    try:
        trained.plan(size)
        DefineByRun(chosen).step(chosen.draw(size, np.random.default_rng(0)))
        chosen.restore()
    except StaticgradError as error:
        return refusal_of(error, chosen.origin, LITERAL)
    return None


def _pools_while_timed() -> int:
    """Return the threads of libraries while steps are timed, also of those loaded since."""
    with one_thread():
        return pools()


def _tape_alone(
    chosen: ComparedProgram, seconds: float, about: Mapping[str, Any],
    others: Callable[[], tuple[Peer, ...]],
) -> TapeAlone:  # fmt: skip
    """Measure the tape alone, for a program that makes no graph, and say why."""
    plan = courses.CoursePlan(chosen.batch_size, edited=False)
    later = zip(courses.steps(chosen, plan), range(_STEPS - 1), strict=False)
    example = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    batches = [example, *(step.batch for step, _ in later)]
    tape = DefineByRun(chosen)
    losses, operations = [], []

    for batch in batches:
        serial = next(serials)
        with limit_time(chosen.name, chosen.origin):
            losses.append(tape.step(batch))
        operations.append(next(serials) - serial - 1)
    race = Race(chosen.batch_size, lambda: tape.call(batches[0]), reset=chosen.restore)
    for _ in range(2):
        race.run(seconds)
    assert chosen.refusal is not None
    tape_bytes = memory.tape_memory(chosen, batches[0], warm=0)  # of a first step, as its time
    return ShownTape(
        **about,
        threads=_pools_while_timed(),
        refusal=chosen.refusal,
        tape=race.timings()[0],
        nbytes=tape_bytes.peak,
        operations=tuple(operations),
        losses=tuple(losses),
        timeline=tape_bytes.timeline,
        peers=others(),
    )


def _measure_courses(
    chosen: ComparedProgram, trained: DefineThenRun, plan: courses.CoursePlan,
    ran: Mapping[str, Sequence[Course]], peaks: Mapping[int, int],
) -> tuple[Mapping[str, tuple[int, ...]], Changes | None]:  # fmt: skip
    """Return the memory of each step of a training course, and the cost of changing sizes.

    ``peaks``: those of the tape by the number of examples, where sizes do not change.
    """
    count = min(len(course.steps) for every in ran.values() for course in every)
    batches, numbers = courses.distinct(chosen, plan, count)
    function = chosen.new_function()

    def plan_peak(batch: Batch) -> int:
        if chosen.retraces:
            return function.compile(*batch.values()).plan().peak_bytes
        shapes = {name: array.shape for name, array in batch.items()}
        return trained.compiled.plan(**bind_sizes(trained.graph, shapes)).peak_bytes

    if chosen.changes:
        tape = [memory.tape_memory(chosen, batch, warm=1).peak for batch in batches]
    else:
        tape = [peaks[plan.size], *(peaks[plan.other_size or plan.size],) * (len(batches) - 1)]
    arena = [*map(plan_peak, batches)]
    chosen.restore()
    held_bytes = {
        TAPE: tuple(tape[k] for k in numbers),
        "compiled": tuple(arena[k] for k in numbers),
    }
    if not chosen.changes:
        return held_bytes, None
    axes: dict[str, set[int]] = {}
    for batch in batches:
        for name, array in batch.items():
            for axis, size in enumerate(array.shape):
                axes.setdefault(f"{name}.shape[{axis}]", set()).add(size)
    state = WARM if WARM in ran else HERE
    usual = {} if chosen.retraces else trained.sizes(chosen.batch_size)
    graphs = ran[state][0].graphs
    is_new = [k not in numbers[:at] for at, k in enumerate(numbers)]

    def median(way: str, *, new: bool | None) -> float | None:
        selected = [k for k in range(1, count) if new is None or is_new[k] == new]
        times = [course.steps[k] for course in ran[way] for k in selected]
        return statistics.median(times) if times else None

    return held_bytes, Changes(
        sizes={
            name: (min(extents), max(extents)) for name, extents in axes.items() if len(extents) > 1
        },
        steps=count,
        shapes=len(batches),
        graphs=graphs,
        plans=graphs if chosen.retraces else len(batches),
        tape=median(TAPE, new=None) or 0.0,
        new=median(state, new=True),
        again=median(state, new=False),
        planned={
            name: tuple(
                trained.compiled.plan(**{**usual, name: other_size}).peak_bytes
                for other_size in (max(size // 2, 1), size, size * 2)
            )
            for name, size in usual.items()
        },
    )


def _race(chosen: ComparedProgram, size: int, method: str = "call") -> Race:
    """Return steps of tape and compiled program to be timed in turns on the same batches."""
    draw = np.random.default_rng(1)
    batches = [chosen.draw(size, draw) for _ in range(4)]

    def runner(way: Any) -> Callable[[], object]:
        run: Callable[[Any], object] = getattr(way, method)
        turn = cycle(batches)
        run(batches[0])
        return lambda: run(next(turn))

    return Race(size, runner(DefineByRun(chosen)), runner(DefineThenRun(chosen, called=True)))


def courses_of(
    spec: Spec, chosen: ComparedProgram, plan: courses.CoursePlan, watch: Watch = lambda what: None
) -> Mapping[str, tuple[Course, ...]]:
    """Run the training course of a named program in fresh processes, with empty and full cache.

    It is repeated if that does not take long.
    """
    if not isinstance(spec, str):
        watch("steps from the start on")
        return {
            state: tuple(courses.run(chosen, way, plan) for _ in range(_REPEATS))
            for state, way in ((TAPE, "tape"), (HERE, "compiled"))
        }
    every: dict[str, list[Course]] = {}
    begin = time.monotonic()
    for repeat in range(1, _REPEATS + 1):
        watch(f"first results and further steps in fresh processes, {repeat} of {_REPEATS}")
        with tempfile.TemporaryDirectory() as cache:
            for state in (TAPE, EMPTY, WARM):
                every.setdefault(state, []).append(fresh(spec, state, plan, cache, chosen.batch))
        if time.monotonic() - begin > _LONG:
            break
    return {state: tuple(repeats) for state, repeats in every.items()}


def fresh(
    spec: str, state: str, plan: courses.CoursePlan, cache: str, batch: BatchAxes
) -> Course:  # fmt: skip
    """Run a training course in a fresh process with this kernel cache, and return its record."""
    way, begun = "tape" if state == TAPE else "compiled", repr(time.monotonic())
    done = subprocess.run(
        [sys.executable, "-m", _FIRST, way, spec, json.dumps((plan, batch)), begun],
        env={**os.environ, **_ONE_THREAD, "STATICGRAD_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MeasurementError(f"the process that measures the first result failed: {last}")
    fields = json.loads(done.stdout.splitlines()[-1])
    fields |= {"steps": (*fields["steps"],), "events": (*map(tuple, fields["events"]),)}
    return Course(**fields)


def work(step: DefineThenRun, size: int) -> tuple[WorkRow, ...]:
    """Count operations and bytes of a training step before and after each pass."""
    sizes = step.sizes(size)
    explained = step.compiled.explanation(before=False, **sizes)

    def row(name: str, graph: Graph) -> WorkRow:
        total = work_of(graph.nodes, sizes)
        return WorkRow(name, total.operations, total.nbytes, total.flops)

    def show_row(row: WorkRow) -> tuple[int, str, str]:
        return row.operations, nbytes(row.nbytes), number(row.flops)

    rows = [row(WRITTEN, step.graph)]
    dead = explained.dead
    if dead is not None and dead.unread is not None and dead.work_before_passes is not None:
        spared, built = dead.unread.saved_work, dead.work_before_passes
        rows.insert(0, WorkRow(
            f"with gradients of {list_names(dead.unread.of)}", built.operations + spared.operations,
            built.nbytes + spared.nbytes, built.flops + spared.flops,
        ))  # fmt: skip
    for report in explained.passes:
        if isinstance(report.after, Graph):
            pass_row = row(f"after {report.name}", report.after)
            if show_row(pass_row) != show_row(rows[-1]):
                rows.append(pass_row)
    plan = step.compiled.plan(**sizes)
    size_of = dict(plan.buffer_bytes)
    written = [b.name for b in plan.schedule.buffers if b.role in ("temp", "output", "scratch")]
    total = sum(size_of[name] for name in written)
    return (*rows, WorkRow("fused into kernels", len(plan.steps), total, rows[-1].flops))


def _anatomy(graph: Graph, way: DefineThenRun, batch: Batch, sizes: Mapping[str, int]) -> Anatomy:
    """Collect kernels, plan and times of a compiled step for the comparison's page."""
    compiled = way.compiled
    explanation = compiled.explanation(before=False, **sizes)
    timed = compiled.profile(batch, runs=_RUNS)
    steps = compiled.schedule.steps
    names = [(section.kernel, step) for section, step in zip(explanation.steps, steps, strict=True)]
    return Anatomy(
        graph=graph,
        reports=explanation.passes,
        runners=tuple(runners(names)),
        kernels=compiled.kernels,
        plan=compiled.plan(**sizes),
        costs=tuple(
            StepCost(
                timing.kernel,
                steps[timing.step].phase,
                timing.computes,
                timing.lines,
                timing.fastest,
            )
            for timing in timed.steps
        ),
        apart=tuple(dict.fromkeys(pair.description for pair in explanation.unfused_pairs)),
    )
