"""Demonstrations of what a graph cannot do, run on the compared program itself.

Each act tries something on the tape and in the graph and records what both really did: numbers,
messages, counts.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from time import perf_counter
from types import FrameType
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.building import within
from staticgrad.comparison.model import BATCH, Array, Batch, Model
from staticgrad.comparison.programs import ComparedProgram
from staticgrad.comparison.report import Act
from staticgrad.comparison.ways import DefineByRun, DefineThenRun, Subject, by_run, graph_of
from staticgrad.eager import Tensor
from staticgrad.errors import StaticgradError, TracingWarning
from staticgrad.ir.value import Value
from staticgrad.pictures.markup import seconds
from staticgrad.source import Origin

_TIMES: Final = 3
_NAMES: Final = 6  # that a debugger shows
Run = Callable[[], float]


def acts(chosen: Subject, way: DefineThenRun) -> tuple[Act, ...]:
    """The acts that this program allows, in the order in which a newcomer meets them."""
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    made = (_print, _debugger, _branch, _number, _edit, _size, _mistake)
    return tuple(act for each in made for act in each(chosen, way, batch))


def _print(chosen: Subject, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Show what ``print`` prints on the tape and while the graph is built."""
    loss = graph_of(chosen).outputs["loss"]
    yield Act(
        "print(loss), in the middle of the program",
        f"{by_run(chosen).step(batch):.7g}",
        f"{loss!r}",
        "While a graph is built there are types and no numbers. Ask for the value as one more"
        " output, or run the program line by line on the tape.",
    )


def _debugger(chosen: Subject, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Show what a debugger sees if it stops where the user's function returns."""
    code = chosen.origin[0] if isinstance(chosen.origin, Origin) else None
    tape = _names_at_return(code, lambda: by_run(chosen).step(batch))

    def build() -> object:
        if isinstance(chosen, Model):
            return graph_of(chosen)
        return chosen.new_function().graph(*batch.values())

    graph = _names_at_return(code, build)
    if tape and graph:
        yield Act(
            "breakpoint, where the function returns",
            f"each step stops there:\n{tape}",
            f"it stops once, while the graph is built:\n{graph}",
            "A debugger walks through a graph's program while it is built. For numbers run it line"
            " by line, f.eagerly(x, y); sg.compile(graph, debug='nan') names the operation that"
            " gives the first NaN.",
        )


def _names_at_return(code: Any, run: Callable[[], object]) -> str:
    """The values that a function has when it returns for the first time, a line each."""
    lines: list[str] = []

    def inside(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "return" and not lines:
            lines.extend(
                f"{name} = {_as_seen(value)}" for name, value in frame.f_locals.items()
                if isinstance(value, Value)
            )  # fmt: skip
        return inside

    before = sys.gettrace()
    sys.settrace(lambda frame, event, arg: inside if frame.f_code is code else None)
    try:
        run()
    finally:
        sys.settrace(before)
    return "\n".join(lines[:_NAMES])


def _as_seen(value: Value) -> str:
    """A tensor by its numbers, a value of a graph as it shows itself."""
    if not isinstance(value, Tensor):
        return repr(value)
    if value.size == 1:
        return f"{value.item():.7g}"
    array = np.asarray(value.data)
    return f"{array.dtype} {list(array.shape)}, {array.min():.4g} to {array.max():.4g}"


def _branch(chosen: Subject, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """A branch on the loss."""
    number = by_run(chosen).step(batch)
    limit = float(f"{number / 2:.2g}")
    graph = graph_of(chosen)
    loss: Any = sg.mean(graph.outputs["loss"])
    chose = sg.where(loss > limit, loss * 0.5, loss)
    found = sg.compile(sg.Graph({"chosen": chose}, inputs=graph.inputs), threads=1)
    taken = float(found.run(batch)["chosen"])
    yield Act(
        f"if loss > {limit:g}: loss = loss * 0.5",
        f"loss is {number:.7g}: the branch is {'taken' if number > limit else 'not taken'}",
        f"{_said(lambda: bool(loss > limit), with_line=False)}\n\n"
        f"sg.where(loss > {limit:g}, loss * 0.5, loss) gives {taken:.7g}",
        "A graph is the same whatever the numbers are. A choice stands in it with both its sides"
        " (sg.where, sg.cond); shapes may decide in Python, they are known.",
    )


def _number(chosen: Subject, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """A number that Python draws."""
    runs = _noisy_model(chosen, batch) if isinstance(chosen, Model) else _noisy(chosen, batch)
    state = np.random.get_state()
    np.random.seed(0)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", TracingWarning)
            said = [", ".join(f"{run():.8g}" for _ in range(_TIMES)) for run in runs]
    finally:
        np.random.set_state(state)
    notes = [str(each.message) for each in warned if issubclass(each.category, TracingWarning)]
    yield Act(
        "loss + np.random.rand(), three times on the same batch",
        said[0], "\n\n".join([said[1], *notes[:1]]),
        "Python runs once, when the graph is built: its random number, its clock, its counter are"
        " frozen there. Numbers that differ are drawn from sg.random.Generator(seed), or fed.",
    )  # fmt: skip


def _noisy_model(chosen: Model, batch: Batch) -> tuple[Run, Run]:
    noisy = replace(chosen, loss=_with_noise(chosen.loss, chosen.is_random))
    compiled: list[DefineThenRun] = []

    def graph() -> float:
        compiled.extend([] if compiled else [DefineThenRun(noisy)])
        return compiled[0].forward(batch)

    return lambda: DefineByRun(noisy).forward(batch), graph


def _noisy(chosen: ComparedProgram, batch: Batch) -> tuple[Run, Run]:
    def with_noise(*arrays: Any) -> Any:
        found = _first(chosen.plain(*arrays))
        with within(chosen.origin):
            return found + np.random.rand()

    with_noise.__qualname__ = chosen.name
    function, arrays = sg.function(with_noise), list(batch.values())

    def from_start(run: Callable[..., Any]) -> Run:
        def once() -> float:
            chosen.restore()  # as the batch, the parameters are the same
            return float(np.mean(run(*arrays)))

        return once

    return from_start(function.eagerly), from_start(function)


def _with_noise(loss: Callable[..., Any], is_random: bool) -> Callable[..., Any]:
    if is_random:
        return lambda parameters, batch, random: loss(parameters, batch, random) + np.random.rand()
    return lambda parameters, batch: loss(parameters, batch) + np.random.rand()


def _first(result: Any) -> Any:
    """The first value of a result."""
    while isinstance(result, dict | list | tuple):
        result = next(iter(result.values() if isinstance(result, dict) else result))
    return result


def _edit(chosen: Subject, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """A line that is edited."""
    known = {kernel.source for kernel in way.compiled.kernels}
    begin = perf_counter()
    edited = sg.compile(_edited(chosen), threads=1)
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


def _edited(chosen: Subject) -> sg.Graph:
    if isinstance(chosen, Model):
        loss = chosen.loss
        return graph_of(replace(chosen, loss=lambda *given: loss(*given) * 3.0)
                        if not chosen.is_random
                        else replace(chosen, loss=lambda p, b, r: loss(p, b, r) * 3.0))  # fmt: skip
    graph: Any = chosen.own_graph()
    outputs = {**graph.outputs, "loss": graph.outputs["loss"] * 3.0}
    return sg.Graph(outputs, graph.updates, inputs=graph.inputs, name="edited")


def _size(chosen: Subject, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """Another batch size."""
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


def _mistake(chosen: Subject, way: DefineThenRun, batch: Batch) -> Iterator[Act]:
    """An array of a wrong shape."""
    for name, attempts in _attempts(chosen, batch):
        tape, graph = map(_said, attempts)
        if tape and graph:
            yield Act(
                f"a mistake: {name} has one column too many",
                f"while the step runs, after all that stands above:\n{tape}",
                f"while the graph is built, before anything has run:\n{graph}",
                "Both name the line. A tape finds what a run passes through; a graph is checked as"
                " a whole, its gradient and its memory too, before the first number.",
            )
            return


def _attempts(
    chosen: Subject, batch: Batch
) -> Iterator[tuple[str, tuple[Callable[[], object], Callable[[], object]]]]:
    """Names of arrays, and for each the step with one of another shape, run both ways."""
    if isinstance(chosen, Model):
        for name, array in chosen.parameters.items():
            if np.ndim(array):
                wrong = replace(chosen, parameters={**chosen.parameters, name: _wider(array)})
                yield name, (_stepping(wrong, batch), _building(wrong))
        return
    for name, array in batch.items():
        if array.ndim > 1:
            wider = [*{**batch, name: _wider(array)}.values()]
            yield name, _calling(chosen, wider)


def _stepping(model: Model, batch: Mapping[str, Array]) -> Callable[[], object]:
    return lambda: DefineByRun(model).forward(batch)


def _building(model: Model) -> Callable[[], object]:
    return lambda: graph_of(model)


def _calling(
    program: ComparedProgram, arrays: list[Array]
) -> tuple[Callable[[], object], Callable[[], object]]:
    def at_once() -> object:
        return program.function.eagerly(*arrays)

    def built() -> object:
        return program.function.graph(*arrays)

    return at_once, built


def _wider(array: Array) -> Array:
    return np.concatenate([array, array[..., :1]], axis=-1)


def _said(attempt: Callable[[], object], *, with_line: bool = True) -> str:
    """The error that an attempt meets, with its line; empty where there is none."""
    try:
        attempt()
    except StaticgradError as error:
        where = error.at.resolve()
        line = f"\n{where.short}: {where.text.strip()}" if where.text and with_line else ""
        return f"{error.headline}{line}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
