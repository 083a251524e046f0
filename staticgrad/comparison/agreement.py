"""A check that both ways compute equal losses, gradients and parameters, or the reason if not.

The two ways add in different orders, so figures agree only up to rounding; ``TOLERANCE`` states
what counts as agreement. A program that gives a different graph each time it is called contains a
Python number, which is frozen when the graph is built.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from staticgrad.comparison.model import Array
from staticgrad.comparison.programs import ComparedProgram
from staticgrad.comparison.report import Agreement
from staticgrad.comparison.ways import DefineByRun, DefineThenRun, by_run

STEPS: Final = 20
#: The allowed relative difference of gradients and losses, by element type; that of parameters
#: after all steps is ten times as large.
TOLERANCE: Final = {"float32": 1e-4, "float64": 1e-9}


def agreement(chosen: ComparedProgram, compiled: DefineThenRun) -> Agreement:
    """Train both ways for ``STEPS`` steps on the same batches and compare."""
    tape, draw = by_run(chosen), np.random.default_rng(0)
    batches = [chosen.draw(chosen.batch_size, draw) for _ in range(STEPS)]
    gradients: Mapping[str, float] = {}
    if isinstance(tape, DefineByRun):
        gradients = _apart(tape.gradients(batches[0]), compiled.gradients(batches[0]))
    taped = tuple(map(tape.step, batches))
    values = {name: np.array(value) for name, value in tape.values().items()}
    chosen.restore()
    ran = tuple(map(compiled.step, batches))
    losses = max(_difference(a, b) for a, b in zip(taped, ran, strict=True))
    parameters = _apart(values, compiled.values())

    default = TOLERANCE["float32"]
    kinds = [array.dtype.name for array in chosen.parameters.values()]
    tolerance = max((TOLERANCE.get(kind, default) for kind in kinds), default=default)
    figures = [(f"the gradients by {n!r}", a, tolerance) for n, a in gradients.items()]
    figures.append(("the losses", losses, tolerance))
    if gradients:  # else what differs where losses agree has a gradient of rounding alone
        figures += [
            (f"after {STEPS} steps the values of {name!r}", apart, 10 * tolerance)
            for name, apart in parameters.items()
        ]
    differ = (
        f"{what} differ by {apart:.1e}, relatively"
        for what, apart, limit in figures
        if not apart <= limit
    )
    return Agreement(
        taped,
        ran,
        losses,
        max(gradients.values(), default=None),
        max(parameters.values(), default=None),
        chosen.frozen() or _diverged(taped, ran) or next(differ, ""),
    )


def _diverged(by_run: Sequence[float], then_run: Sequence[float]) -> str:
    """Return a sentence on the first step with a loss that is not finite, or ""."""
    tape, graph = (
        next((k for k, loss in enumerate(losses, 1) if not math.isfinite(loss)), math.inf)
        for losses in (by_run, then_run)
    )
    step = min(tape, graph)
    if step == math.inf:
        return ""
    one, two = by_run[int(step) - 1], then_run[int(step) - 1]
    if tape == graph:
        kind = "NaN" if math.isnan(by_run[-1]) else "infinity"
        return (
            f"diverged to {kind} on both sides: the loss is {one} at step"
            f" {step} of {len(by_run)}; try a smaller learning rate"
        )
    return f"at step {step} the tape's loss is {one}, the compiled one's {two}"


def _difference(one: float, two: float) -> float:
    """Return the relative difference; 0 if both are equal, or both NaN."""
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
