"""A check that both ways compute equal results, or the reason if not.

The two ways add in different orders, so figures agree only up to rounding; ``TOLERANCE`` states
what counts as agreement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from staticgrad.comparison.programs import Array, ComparedProgram
from staticgrad.comparison.report import Agreement
from staticgrad.comparison.ways import DefineByRun, DefineThenRun

STEPS: Final = 20
#: The allowed relative difference of losses, by element type.
TOLERANCE: Final = {"float32": 1e-4, "float64": 1e-9}


def agreement(chosen: ComparedProgram, compiled: DefineThenRun) -> Agreement:
    """Train both ways for ``STEPS`` steps on the same batches and compare.

    The losses decide, which depend on the parameters: a parameter whose gradient is rounding alone
    differs where optimizers divide by its size.
    """
    tape, draw = DefineByRun(chosen), np.random.default_rng(0)
    batches = [chosen.draw(chosen.batch_size, draw) for _ in range(STEPS)]
    taped = tuple(map(tape.step, batches))
    values = {name: np.array(value) for name, value in tape.values().items()}
    chosen.restore()
    ran = tuple(map(compiled.step, batches))
    losses = max(_difference(a, b) for a, b in zip(taped, ran, strict=True))
    kinds = [array.dtype.name for array in chosen.parameters.values()]
    default = TOLERANCE["float32"]
    tolerance = max((TOLERANCE.get(kind, default) for kind in kinds), default=default)
    problem = chosen.frozen() or _diverged(taped, ran)
    if not problem and not losses <= tolerance:
        problem = f"the losses differ by {losses:.1e}, relatively"
    return Agreement(taped, ran, losses, _apart(values, compiled.values()), problem)


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


def _apart(one: Mapping[str, Array], two: Mapping[str, Array]) -> float | None:
    """Return the largest Euclidean distance over the larger norm; None without parameters."""
    found = []
    for name, array in one.items():
        a, b = np.float64(array).ravel(), np.float64(two[name]).ravel()
        if np.array_equal(a, b, equal_nan=True):
            found.append(0.0)
            continue
        with np.errstate(all="ignore"):
            apart = float(np.linalg.norm(a - b) / max(np.linalg.norm(a), np.linalg.norm(b)))
        found.append(apart if math.isfinite(apart) else math.inf)
    return max(found, default=None)
