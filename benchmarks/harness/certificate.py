"""Makes the float64 truth of a workload, with a certificate that no differentiation rule made it.

Results come from ``sg.evaluate`` of the float64 graph (NumPy, node by node); before they count,
the loss must agree with the same program in plain NumPy, and the gradients with central
differences of that, along random directions in which every variable has equal weight. Operation
counts come from the unfused schedule (``staticgrad/analysis/cost.py``). Nothing is compiled here.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import scipy.special

import staticgrad as sg
from benchmarks.harness.operations import Operations
from benchmarks.harness.truth import Truth
from benchmarks.harness.workload import Adam, Arrays, Data, Workload
from benchmarks.implementations.with_staticgrad import (
    Staticgrad,
    feeds_of,
    graph_of,
    open_sizes,
)
from passes.pipelines import pipeline
from staticgrad.analysis.kernel_work import Term, work_of
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import Planner
from staticgrad.language.ir.kernels.kernel import Kernel

CERTAIN = 1e-4  # relative error of a central difference that still certifies


#: Steps of differences: a long one crosses kinks of large models, a short one loses digits.
STEPS = (2e-6, 2e-8)


class UncertifiedError(Exception):
    """The evaluated gradients disagree with differences of the loss: there is no truth."""


class NumPy(Operations):
    """Plain NumPy and SciPy."""

    def __init__(self) -> None:
        super().__init__(np)
        self.erf = scipy.special.erf


class Sliced(Staticgrad):
    """staticgrad with convolution spelled as slices and products: slow, but a truth."""

    conv2d = Operations.conv2d


def truth_of(workload: Workload, small: bool = False) -> Truth:
    """The truth at the workload's sizes, certified.

    Raises:
        UncertifiedError: the evaluated gradients are not those of the loss.
    """
    original = workload.make(small)
    data = original.astype("float64")
    results, updated = _evaluate(workload, data)
    certify(workload, data, results)
    second = None
    if updated is not None:
        stepped = Data(updated, data.feeds, data.along, data.batch, data.sizes)
        second = float(_loss(workload, stepped, updated))
    flops, products = _operations(workload, original)
    moved_bytes = (
        original.nbytes * 1.0
        + sum(array.size for name, array in results.items() if not _is_update(workload, name))
        * np.dtype(workload.dtype).itemsize
    )
    if workload.trains:
        moved_bytes += sum(array.nbytes for array in original.variables.values())
        moved_bytes += sum(a.nbytes for pair in original.moments.values() for a in pair)
    return Truth(results, second, flops, products, moved_bytes)


def _is_update(workload: Workload, name: str) -> bool:
    return workload.trains and name.startswith("gradient:")


def _evaluate(workload: Workload, data: Data) -> tuple[Arrays, Arrays | None]:
    """Results, and the parameters after a step."""
    if workload.kind == "adam":
        return _adam(workload, data)
    graph = graph_of(workload, data, Sliced())
    feeds = feeds_of(workload, data)
    if workload.kind != "sgd":
        return dict(sg.evaluate(graph, feeds)), None
    outputs, updated = sg.evaluate(graph, feeds, updates=True)
    results = dict(outputs)
    for name, variable in data.variables.items():
        results[f"gradient:{name}"] = (variable - updated[name]) / workload.rate
    return results, {name: np.asarray(array) for name, array in updated.items()}


def _adam(workload: Workload, data: Data) -> tuple[Arrays, Arrays]:
    """Kingma and Ba (ICLR 2015), algorithm 1, in NumPy."""
    results, updated = {"loss": np.asarray(_loss(workload, data, data.variables))}, {}
    decay, decay_of_squares = Adam.BETAS
    for name, variable in data.variables.items():
        (mean, square), slope = data.moments[name], data.feeds[f"slope:{name}"]
        mean = (decay * mean + (1 - decay) * slope) / (1 - decay ** (Adam.STEPS_BEFORE + 1))
        square = decay_of_squares * square + (1 - decay_of_squares) * slope**2
        square /= 1 - decay_of_squares ** (Adam.STEPS_BEFORE + 1)
        results[f"gradient:{name}"] = direction = mean / (np.sqrt(square) + Adam.EPSILON)
        updated[name] = variable - workload.rate * direction
    return results, updated


def _loss(workload: Workload, data: Data, variables: Mapping[str, Any]) -> Any:
    with np.errstate(all="ignore"):
        return workload.loss(NumPy(), {**variables, **data.feeds}, data.sizes)[0]


def certify(workload: Workload, data: Data, results: Arrays) -> None:
    """Check results against plain NumPy and central differences.

    Raises:
        UncertifiedError: with what disagrees, and by how much.
    """
    loss = float(_loss(workload, data, data.variables))
    if not np.isclose(loss, results["loss"], rtol=1e-9):
        raise UncertifiedError(f"{workload.name}: loss {results['loss']}, NumPy has {loss}")
    if workload.kind == "adam":
        return  # the gradients are given, and the step itself is NumPy's
    random = np.random.default_rng(7)
    gradients = {name: results[f"gradient:{name}"] for name in data.variables}
    for _ in range(2):
        along = _direction(random, gradients)
        expected = sum(float(np.vdot(gradients[name], d)) for name, d in along.items())
        scale = max(abs(expected), np.sqrt(len(along)) * 0.1)
        for step in STEPS:
            difference = _difference(workload, data, along, step)
            if abs(difference - expected) <= CERTAIN * scale:
                break
        else:
            raise UncertifiedError(
                f"{workload.name}: slope {expected}, differences give {difference}"
            )
    if workload.kind == "hvp":
        _certify_product(workload, data, results)


def _direction(random: np.random.Generator, gradients: Arrays) -> Arrays:
    """Every variable contributes one standard normal number to the slope.

    Those that the loss does not depend on, but for rounding, stay where they are.
    """
    direction, largest = {}, max(float(np.linalg.norm(array)) for array in gradients.values())
    for name, gradient in gradients.items():
        draw = random.normal(size=gradient.shape)
        norm = float(np.linalg.norm(gradient))
        direction[name] = draw / norm if norm > 1e-9 * largest else draw * 0
    return direction


def _difference(workload: Workload, data: Data, along: Arrays, step: float) -> float:
    """(f(x + h d) - f(x - h d)) / 2h, h small beside every variable."""
    reach = max(float(np.max(np.abs(d))) for d in along.values())
    h = step * max(float(np.mean(np.abs(a))) for a in data.variables.values()) / reach
    up, down = (
        _loss(workload, data, {n: a + s * h * along[n] for n, a in data.variables.items()})
        for s in (1, -1)
    )
    return float(up - down) / (2 * h)


def _certify_product(workload: Workload, data: Data, results: Arrays) -> None:
    """The Hessian times a vector, by differences of the certified gradients."""
    h = 1e-5
    ends = []
    for sign in (1, -1):
        at = {name: a + sign * h * data.along[name] for name, a in data.variables.items()}
        shifted = Data(at, data.feeds, data.along, data.batch, data.sizes)
        ends.append(_evaluate(workload, shifted)[0])
    for name in data.variables:
        actual = (ends[0][f"gradient:{name}"] - ends[1][f"gradient:{name}"]) / (2 * h)
        expected = results[f"hvp:{name}"]
        if not np.allclose(actual, expected, rtol=0, atol=CERTAIN * np.max(np.abs(expected))):
            raise UncertifiedError(f"{workload.name}: the Hessian-vector product of {name} is off")


def _operations(workload: Workload, data: Data) -> tuple[float, float]:
    """(all operations, those inside products) of one step."""
    graph = pipeline("O1")(graph_of(workload, data, Sliced()))
    schedule = fuse(graph, False)  # nothing is computed twice: the count stays as fusion changes
    plan = Planner(schedule).plan(open_sizes(data))
    products = others = 0.0
    for planned in plan.steps:
        for call in plan.schedule.steps[planned.step].calls(planned.arguments):
            if not isinstance(call.kernel, Kernel):
                others += call.times * call.operations
                continue
            values = dict(zip(call.kernel.arguments, call.arguments, strict=True))
            work = work_of(call.kernel)
            products += call.times * sum(2 * _extent(term, values) for term in work.products)
            others += call.times * sum(term[0] * _extent(term, values) for term in work.maps)
    return products + others, products


def _extent(term: Term, values: Mapping[str, int]) -> float:
    return float(prod(e if isinstance(e, int) else values[e] for e in term[1]))
