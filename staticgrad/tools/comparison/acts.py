"""Demonstrations on the compared program of what each way can and cannot do.

Each tries something on the tape and in the graph and records the result of both: numbers, messages,
counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.support.errors import StaticgradError, TracingWarning
from staticgrad.support.pictures.markup import seconds
from staticgrad.tools.comparison import training
from staticgrad.tools.comparison.programs import (
    BATCH,
    Batch,
    ComparedProgram,
    python_random_kept,
)
from staticgrad.tools.comparison.report import Act
from staticgrad.tools.comparison.ways import DefineByRun, DefineThenRun

_TIMES: Final = 3


def acts(chosen: ComparedProgram, way: DefineThenRun) -> tuple[Act, ...]:
    """Return the demonstrations that this program allows, in the order newcomers ask."""
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    made = (_print, _branch, _number, _edit, _size, _mistake)
    return tuple(act for each in made for act in each(chosen, way, batch))


def _print(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    yield Act(
        "print(loss), in the middle of the program",
        f"{DefineByRun(chosen).step(batch):.7g}",
        f"{chosen.graph.outputs['loss']!r}",
        "While a graph is built there are types and no numbers. Ask for the value as one more"
        " output, or run the program line by line on the tape.",
    )


def _branch(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    number = DefineByRun(chosen).step(batch)
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
                "Both name the line of the program, if it has one. A tape finds what a run passes"
                " through; a graph is checked as a whole, its gradient and its memory too, before"
                " the first number.",
            )
            return


def _said(attempt: Callable[[], object], *, with_line: bool = True) -> str:
    """Return the error of an attempt, with its line; empty if there is none."""
    try:
        attempt()
    except StaticgradError as error:
        where = error.at.resolve()
        is_shown = with_line and where.text and where.file != training.__file__
        line = f"\n{where.short}: {where.text.strip()}" if is_shown else ""
        return f"{error.headline}{line}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
