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
from staticgrad.comparison import training
from staticgrad.comparison.programs import (
    BATCH,
    Batch,
    ComparedProgram,
    python_random_kept,
)
from staticgrad.comparison.report import Act
from staticgrad.comparison.ways import DefineByRun, DefineThenRun
from staticgrad.errors import StaticgradError, TracingWarning
from staticgrad.extend.pages import seconds

_TIMES: Final = 3


def acts(chosen: ComparedProgram, way: DefineThenRun) -> tuple[Act, ...]:
    """Return the demonstrations of tape and graph that this program allows."""
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    demonstrations = (
        _show_print,
        _show_branch,
        _show_random_number,
        _show_edit,
        _show_new_size,
        _show_mistake,
    )
    return tuple(act for demonstrate in demonstrations for act in demonstrate(chosen, way, batch))


def _show_print(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Demonstrate printing a value in the middle: a number on the tape, a type in the graph."""
    yield Act(
        "print(loss), in the middle of the program",
        f"{DefineByRun(chosen).step(batch):.7g}",
        f"{chosen.graph.outputs['loss']!r}",
        "While a graph is built there are types and no numbers. Ask for the value as one more"
        " output, or run the program line by line on the tape.",
    )


def _show_branch(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Demonstrate a branch on the loss: ``if`` on the tape, ``sg.where`` in the graph."""
    number = DefineByRun(chosen).step(batch)
    limit = float(f"{number / 2:.2g}")
    graph = chosen.graph
    loss: Any = sg.mean(graph.outputs["loss"])
    chose = sg.where(loss > limit, loss * 0.5, loss)
    compiled = sg.compile(sg.Graph({"chosen": chose}, inputs=graph.inputs), threads=1)
    chosen.restore()
    chosen_loss = float(compiled.run(batch)["chosen"])
    yield Act(
        f"if loss > {limit:g}: loss = loss * 0.5",
        f"loss is {number:.7g}: the branch is {'taken' if number > limit else 'not taken'}",
        f"{_error_text(lambda: bool(loss > limit), with_line=False)}\n\n"
        f"sg.where(loss > {limit:g}, loss * 0.5, loss) gives {chosen_loss:.7g}",
        "A graph is the same whatever the numbers are. A choice stands in it with both its sides"
        " (sg.where, sg.cond); shapes may decide in Python, they are known.",
    )


def _show_random_number(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Demonstrate ``np.random`` in a program: drawn at each step, or once while tracing."""
    function = chosen.new_function(lambda loss: loss + np.random.rand())

    def three(run: Callable[..., Any]) -> str:
        """Run the program three times from the same parameters, and return its losses as text."""
        losses = []
        for _ in range(_TIMES):
            chosen.restore()  # the parameters are the same, as the batch is
            result = run(*batch.values())
            first = result[0] if isinstance(result, tuple) else result
            losses.append(f"{float(np.mean(first)):.8g}")
        return ", ".join(losses)

    with python_random_kept(), warnings.catch_warnings(record=True) as warned:
        np.random.seed(0)
        warnings.simplefilter("always", TracingWarning)
        tape, graph = three(function.eagerly), three(function)
    notes = [
        str(warning.message) for warning in warned if issubclass(warning.category, TracingWarning)
    ]
    yield Act(
        "loss + np.random.rand(), three times on the same batch",
        tape, "\n\n".join([graph, *notes[:1]]),
        "Python runs once, when the graph is built: its random number, its clock, its counter are"
        " frozen there. Numbers that differ are drawn from sg.random.Generator(seed), or fed.",
    )  # fmt: skip


def _show_edit(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Demonstrate the cost of an edit: new tracing and the kernels that have to be compiled."""
    compiled_sources = {kernel.source for kernel in way.compiled.kernels}
    begin = perf_counter()
    function = chosen.new_function(lambda loss: loss * 3.0)
    if chosen.changes:  # of other sizes, too, so that it has names for them
        function.graph(*chosen.draw(chosen.batch_size, np.random.default_rng(1)).values())
    edited = function.compile(*batch.values())
    spent = perf_counter() - begin
    new = sum(kernel.source not in compiled_sources for kernel in edited.kernels)
    yield Act(
        "an edit: the loss times 3",
        "nothing is compiled: the next step runs the new line",
        f"built and compiled again in {seconds(spent)}: {new} of {len(edited.kernels)} kernels are"
        f" new, {len(edited.kernels) - new} are those from before",
        "What is edited is compiled again, kernel by kernel; a kernel is known by what it computes,"
        " so that others are found, also on disk by the next process.",
    )


def _show_new_size(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Demonstrate a new batch size: the compiled program makes a plan and no kernel."""
    if [*way.graph.sizes] != [BATCH]:
        return
    size = chosen.batch_size + 3
    stats_before = way.compiled.stats
    begin = perf_counter()
    try:
        way.plan(size)
    except StaticgradError:
        return  # the program has the number of examples in it, which the page says elsewhere
    spent = perf_counter() - begin
    stats_after = way.compiled.stats
    yield Act(
        f"another batch size, {size} examples",
        "nothing to do",
        f"{stats_after.compiles - stats_before.compiles} kernels compiled,"
        f" {stats_after.plans - stats_before.plans} plan made in {seconds(spent)}",
        "Sizes have names in the graph, and kernels take them as arguments. Another number of axes"
        " or of layers is another graph.",
    )


def _show_mistake(chosen: ComparedProgram, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Demonstrate an array of a wrong shape: when and with which line each way refuses it."""
    for name, array in batch.items():
        if array.ndim < 2:
            continue
        wider = {**batch, name: np.concatenate([array, array[..., :1]], axis=-1)}.values()
        function = chosen.new_function()
        tape, graph = (
            _error_text(partial(run, *wider)) for run in (function.eagerly, function.graph)
        )
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


def _error_text(attempt: Callable[[], object], *, with_line: bool = True) -> str:
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
