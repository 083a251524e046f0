"""A check that both ways compute equal losses, gradients and parameters, or the reason if not.

The two ways add in different orders, so figures agree only up to rounding; ``TOLERANCE`` states
what counts as agreement. The model itself is checked before anything is compared: if it gives a
different graph each time it is called, it contains a Python number, which is frozen when the
graph is built.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from staticgrad.comparison.model import Array, Model
from staticgrad.comparison.programs import ComparedProgram
from staticgrad.comparison.report import Agreement
from staticgrad.comparison.ways import (
    DefineByRun,
    DefineThenRun,
    Subject,
    by_run,
    training_graph,
)
from staticgrad.ir.graph import Graph, Node, ParameterLeaf
from staticgrad.ir.op import Op

STEPS: Final = 20
#: By element type: how far, relatively, gradients and losses may lie apart; parameters after all
#: steps ten times as far.
TOLERANCE: Final = {"float32": 1e-4, "float64": 1e-9}


def agreement(model: Subject, compiled: DefineThenRun) -> Agreement:
    """Train both ways for ``STEPS`` steps on the same batches and compare."""
    frozen = _frozen(model, compiled.graph) if isinstance(model, Model) else model.frozen
    tape = by_run(model)
    draw = np.random.default_rng(0)
    batches = [model.draw(model.batch_size, draw) for _ in range(STEPS)]
    gradients: Mapping[str, float] = {}
    if isinstance(tape, DefineByRun):
        gradients = _apart(tape.gradients(batches[0]), compiled.gradients(batches[0]))
    taped = tuple(map(tape.step, batches))
    values = {name: np.array(value) for name, value in tape.values().items()}
    if isinstance(model, ComparedProgram):
        model.restore()
    ran = tuple(map(compiled.step, batches))
    losses = max(_difference(a, b) for a, b in zip(taped, ran, strict=True))
    parameters = _apart(values, compiled.values())
    problem = frozen or _diverged(taped, ran) or _disagreement(
        model, losses, gradients, parameters
    )  # fmt: skip
    return Agreement(
        taped,
        ran,
        losses,
        max(gradients.values(), default=None),
        max(parameters.values(), default=None),
        problem,
    )


def _frozen(model: Model, graph: Graph) -> str:
    """Return why the model differs from call to call; empty if it does not."""
    batch = model.draw(model.batch_size, np.random.default_rng(0))
    losses = []
    for seed in (1, 2):
        with _python_seeded(seed):
            losses.append(DefineByRun(model).forward(batch))
    with _python_seeded(3):
        again = training_graph(model)
    if not _same_graph(graph, again):
        return (
            "the loss gives another graph each time it is called: a number of Python's (random, a"
            " counter, a clock) is frozen where a graph is built, and new in every step of a tape;"
            " draw from the generator that loss(parameters, batch, random) is given"
        )
    if losses[0] != losses[1] and not all(map(math.isnan, losses)):
        return (
            "the loss of a tape differs from run to run on the same values and batch"
            f" ({losses[0]:.6g}, {losses[1]:.6g}): it reads something that changes"
        )
    return ""


@contextmanager
def _python_seeded(seed: int) -> Iterator[None]:
    """Python's and NumPy's global random numbers from a seed; afterwards they go on as before."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _same_graph(one: Graph, two: Graph) -> bool:
    """Return whether two graphs have the same nodes with bitwise identical attributes."""
    if len(one.nodes) != len(two.nodes):
        return False
    places = [{node: k for k, node in enumerate(graph.nodes)} for graph in (one, two)]

    def read(graph: int, node: Node) -> list[tuple[int, int]]:
        return [(places[graph][arg.node], arg.index) for arg in node.args]

    pairs = zip(one.nodes, two.nodes, strict=True)
    return all(
        _same_op(a.op, b.op) and a.types == b.types and read(0, a) == read(1, b) for a, b in pairs
    )


def _same_op(one: Op, two: Op) -> bool:
    if isinstance(one, ParameterLeaf) and isinstance(two, ParameterLeaf):
        return one.store.name == two.store.name
    return one == two


def _diverged(by_run: Sequence[float], then_run: Sequence[float]) -> str:
    """Return a sentence on the first step with a loss that is not finite, or ""."""
    first = [
        next((k for k, loss in enumerate(losses, 1) if not math.isfinite(loss)), None)
        for losses in (by_run, then_run)
    ]
    tape, graph = first
    if tape is None and graph is None:
        return ""
    if tape == graph and tape is not None:
        return (
            f"diverged to {_kind(by_run[-1])} on both sides: the loss is {by_run[tape - 1]} at step"
            f" {tape} of {len(by_run)}; try a smaller learning rate"
        )
    step = min(k for k in first if k is not None)
    return (
        f"at step {step} the tape's loss is {by_run[step - 1]}, the compiled one's"
        f" {then_run[step - 1]}"
    )


def _kind(loss: float) -> str:
    return "NaN" if math.isnan(loss) else "infinity"


def _disagreement(
    model: Subject, losses: float, gradients: Mapping[str, float], parameters: Mapping[str, float]
) -> str:
    """Return which figure differs by more than rounding explains."""
    kinds = {np.asarray(a).dtype.name for a in model.parameters.values()}
    most = max(
        (TOLERANCE.get(kind, TOLERANCE["float32"]) for kind in kinds), default=TOLERANCE["float32"]
    )
    figures = [
        *((f"the gradients by {name!r}", apart, most) for name, apart in gradients.items()),
        ("the losses", losses, most),
    ]
    if gradients:  # else what differs where losses agree has a gradient of rounding alone
        figures += [
            (f"after {STEPS} steps the values of {name!r}", apart, 10 * most)
            for name, apart in parameters.items()
        ]
    for what, apart, limit in figures:
        if not apart <= limit:
            return f"{what} differ by {apart:.1e}, relatively"
    return ""


def _difference(one: float, two: float) -> float:
    """Relative; 0 where both are the same, or both NaN."""
    if one == two or (math.isnan(one) and math.isnan(two)):
        return 0.0
    apart = abs(one - two) / max(abs(one), abs(two))
    return apart if math.isfinite(apart) else math.inf


def _apart(one: Mapping[str, Array], two: Mapping[str, Array]) -> dict[str, float]:
    """Return the Euclidean distance over the larger norm, by name."""
    found = {}
    for name, array in one.items():
        a, b = np.float64(array).ravel(), np.float64(two[name]).ravel()
        with np.errstate(all="ignore"):
            scale = max(np.linalg.norm(a), np.linalg.norm(b))
            same = np.array_equal(a, b, equal_nan=True)
            apart = 0.0 if same else float(np.linalg.norm(a - b) / scale)
        found[name] = apart if math.isfinite(apart) else math.inf
    return found
