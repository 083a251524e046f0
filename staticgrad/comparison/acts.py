"""What each way can and cannot do: general abilities, and demonstrations on the compared program.

Each demonstration tries something on the tape and in the graph and records the result of both:
numbers, messages, counts. An ability that compiled mode lacks has its real error as the reason.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from types import FrameType
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.comparison.model import BATCH, Batch
from staticgrad.comparison.programs import ComparedProgram, python_random_kept
from staticgrad.comparison.report import Ability, Act
from staticgrad.comparison.ways import DefineThenRun, by_run
from staticgrad.eager import Tensor
from staticgrad.errors import StaticgradError, TracingWarning
from staticgrad.ir.value import Value
from staticgrad.pictures.markup import seconds
from staticgrad.source import Origin

_TIMES: Final = 3
_NAMES: Final = 6  # that a debugger shows


def acts(chosen: ComparedProgram, way: DefineThenRun) -> tuple[Act, ...]:
    """Return the demonstrations that this program allows, in the order newcomers ask."""
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    made = (_print, _debugger, _branch, _number, _edit, _size, _mistake)
    return tuple(act for each in made for act in each(chosen, way, batch))


def _print(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    yield Act(
        "print(loss), in the middle of the program",
        f"{by_run(chosen).step(batch):.7g}",
        f"{chosen.graph.outputs['loss']!r}",
        "While a graph is built there are types and no numbers. Ask for the value as one more"
        " output, or run the program line by line on the tape.",
    )


def _debugger(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Show the values of a debugger that stops where the user's function returns."""
    code = chosen.origin[0] if isinstance(chosen.origin, Origin) else None

    def names_at_return(run: Callable[[], object]) -> str:
        lines: list[str] = []

        def inside(frame: FrameType, event: str, arg: Any) -> Any:
            if event == "return" and not lines:
                values = {n: v for n, v in frame.f_locals.items() if isinstance(v, Value)}
                lines.extend(f"{name} = {_as_seen(value)}" for name, value in values.items())
            return inside

        before = sys.gettrace()
        sys.settrace(lambda frame, event, arg: inside if frame.f_code is code else None)
        try:
            run()
        finally:
            sys.settrace(before)
        return "\n".join(lines[:_NAMES])

    tape = names_at_return(lambda: by_run(chosen).step(batch))
    graph = names_at_return(lambda: chosen.new_function().graph(*batch.values()))
    if tape and graph:
        yield Act(
            "breakpoint, where the function returns",
            f"each step stops there:\n{tape}",
            f"it stops once, while the graph is built:\n{graph}",
            "A debugger walks through a graph's program while it is built. For numbers run it line"
            " by line, f.eagerly(x, y); sg.compile(graph, debug='nan') names the operation that"
            " gives the first NaN.",
        )


def _as_seen(value: Value) -> str:
    """Return a tensor as numbers, a value of a graph as its repr."""
    if not isinstance(value, Tensor):
        return repr(value)
    if value.size == 1:
        return f"{value.item():.7g}"
    array = np.asarray(value.data)
    return f"{array.dtype} {list(array.shape)}, {array.min():.4g} to {array.max():.4g}"


def _branch(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    number = by_run(chosen).step(batch)
    limit = float(f"{number / 2:.2g}")
    graph = chosen.graph
    loss: Any = sg.mean(graph.outputs["loss"])
    chose = sg.where(loss > limit, loss * 0.5, loss)
    found = sg.compile(sg.Graph({"chosen": chose}, inputs=graph.inputs), threads=1)
    chosen.restore()
    taken = float(found.run(batch)["chosen"])
    yield Act(
        f"if loss > {limit:g}: loss = loss * 0.5",
        f"loss is {number:.7g}: the branch is {'taken' if number > limit else 'not taken'}",
        f"{_said(lambda: bool(loss > limit), with_line=False)}\n\n"
        f"sg.where(loss > {limit:g}, loss * 0.5, loss) gives {taken:.7g}",
        "A graph is the same whatever the numbers are. A choice stands in it with both its sides"
        " (sg.where, sg.cond); shapes may decide in Python, they are known.",
    )


def _number(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    function = chosen.new_function(lambda loss: loss + np.random.rand())

    def three(run: Callable[..., Any]) -> str:
        said = []
        for _ in range(_TIMES):
            chosen.restore()  # the parameters are the same, as the batch is
            result = run(*batch.values())
            first = result[0] if isinstance(result, tuple) else result
            said.append(f"{float(np.mean(first)):.8g}")
        return ", ".join(said)

    with python_random_kept(), warnings.catch_warnings(record=True) as warned:
        np.random.seed(0)
        warnings.simplefilter("always", TracingWarning)
        tape, graph = three(function.eagerly), three(function)
    notes = [str(each.message) for each in warned if issubclass(each.category, TracingWarning)]
    yield Act(
        "loss + np.random.rand(), three times on the same batch",
        tape, "\n\n".join([graph, *notes[:1]]),
        "Python runs once, when the graph is built: its random number, its clock, its counter are"
        " frozen there. Numbers that differ are drawn from sg.random.Generator(seed), or fed.",
    )  # fmt: skip


def _edit(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    known = {kernel.source for kernel in way.compiled.kernels}
    begin = perf_counter()
    function = chosen.new_function(lambda loss: loss * 3.0)
    if chosen.changes:  # of other sizes, too, so that it has names for them
        function.graph(*chosen.draw(chosen.batch_size, np.random.default_rng(1)).values())
    edited = function.compile(*batch.values())
    spent = perf_counter() - begin
    new = sum(kernel.source not in known for kernel in edited.kernels)
    yield Act(
        "an edit: the loss times 3",
        "nothing is compiled: the next step runs the new line",
        f"built and compiled again in {seconds(spent)}: {new} of {len(edited.kernels)} kernels are"
        f" new, {len(edited.kernels) - new} are those from before",
        "What is edited is compiled again, kernel by kernel; a kernel is known by what it computes,"
        " so that others are found, also on disk by the next process.",
    )


def _size(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    if [*way.graph.sizes] != [BATCH]:
        return
    size = chosen.batch_size + 3
    before = way.compiled.stats
    begin = perf_counter()
    try:
        way.plan(size)
    except StaticgradError:
        return  # the program has the number of examples in it, which the page says elsewhere
    spent = perf_counter() - begin
    after = way.compiled.stats
    yield Act(
        f"another batch size, {size} examples",
        "nothing to do",
        f"{after.compiles - before.compiles} kernels compiled, {after.plans - before.plans} plan"
        f" made in {seconds(spent)}",
        "Sizes have names in the graph, and kernels take them as arguments. Another number of axes"
        " or of layers is another graph.",
    )


def _mistake(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Run and build with an array of a wrong shape."""
    for name, array in batch.items():
        if array.ndim < 2:
            continue
        wider = {**batch, name: np.concatenate([array, array[..., :1]], axis=-1)}.values()
        function = chosen.new_function()
        tape, graph = (_said(partial(run, *wider)) for run in (function.eagerly, function.graph))
        if tape and graph:
            yield Act(
                f"a mistake: {name} has one column too many",
                f"while the step runs, after all that stands above:\n{tape}",
                f"while the graph is built, before anything has run:\n{graph}",
                "Both name the line. A tape finds what a run passes through; a graph is checked as"
                " a whole, its gradient and its memory too, before the first number.",
            )
            return


def _said(attempt: Callable[[], object], *, with_line: bool = True) -> str:
    """Return the error of an attempt, with its line; empty if there is none."""
    try:
        attempt()
    except StaticgradError as error:
        where = error.at.resolve()
        line = f"\n{where.short}: {where.text.strip()}" if where.text and with_line else ""
        return f"{error.headline}{line}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def abilities() -> tuple[Ability, ...]:
    """Return the table of abilities, in the order of a newcomer's questions."""
    x: Any = sg.input("x", ("n", 4))

    def refused(attempt: Callable[[], object]) -> str:
        return _said(attempt, with_line=False)

    return (
        Ability(
            "branch on a value: if loss > 1", True, False,
            f"{refused(lambda: bool(x.sum() > 1.0))}; both branches can stand in the graph, "
            "chosen per element by sg.where",
        ),
        Ability(
            "print a value while it runs", True, False,
            f"{refused(lambda: float(x.sum()))}; ask for it as a further output",
        ),
        Ability(
            "loop until a value converges", True, False,
            "a graph has a fixed number of nodes; loops of Python are unrolled when it is built",
        ),
        Ability(
            "another batch size", True, True,
            "sizes have names: one compilation serves them all, each gets a plan in milliseconds",
        ),
        Ability(
            "another number of axes, or layers", True, False,
            "rank and depth are part of the graph; another one is another compilation",
        ),
        Ability(
            "hear of a wrong shape before anything runs", False, True,
            f"the line that builds the node says it: {refused(lambda: x @ np.ones((3, 2)))}",
        ),
        Ability(
            "know the memory of a step before it runs", False, True,
            "the plan is exact: f.plan(batch=64).peak_bytes; a tape shows it by running",
        ),
        Ability(
            "give a byte budget", False, True,
            "which results to keep and which to compute again is a plan, made before the run",
        ),
        Ability(
            "step through it in a debugger", True, True,
            "the tape line by line of the model; the compiled step with STATICGRAD_JIT=0, kernel "
            "by kernel, as plain Python that names the model's lines",
        ),
        Ability(
            "differentiate a gradient again", True, True,
            "grad(..., create_graph=True) on the tape; in the graph gradients are ordinary nodes",
        ),
        Ability(
            "merge operations across the whole step", False, True,
            "a tape has run each operation before it sees the next",
        ),
    )  # fmt: skip
