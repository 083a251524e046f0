"""The check of results: each against the float64 truth, before any time is shown.

An array's error is its largest deviation over the largest magnitude of its truth. After a
step the gradient (Adam: the direction) is read off the parameters, ``(before - after) / rate``, and
may be off by one rounding of the stored parameter as well; a workload in which that would hide the
step is refused. Where a step starts from moments of zero, these are the gradient, and parameters
must be what the optimizer makes of it: Adam's first steps are nearly signs, which hide errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.harness.truth import Truth
from benchmarks.harness.workload import Adam, Array, Arrays, Data, Decoupled, Workload

#: Largest error of a first step of an optimizer with moments, relative to the rate.
NEAR_STEP = 1e-3
#: Norm of a gradient, over the largest of a model, below which errors are relative to this.
LEAST_GRADIENT = 1e-4


@dataclass(frozen=True)
class Verdict:
    """``error`` is the largest relative error, of ``worst``; ``reason`` is empty if all is well."""

    error: float
    worst: str
    reason: str = ""

    @property
    def is_correct(self) -> bool:
        """Return whether the results are right, so that a time may be shown."""
        return not self.reason


def judge(
    workload: Workload,
    data: Data,
    truth: Truth,
    results: Mapping[str, Array],
    updated: Arrays,
    moments: Mapping[str, tuple[Array, ...]] | None = None,
) -> Verdict:
    """Compare what the first call returned, and the parameters after it, with the truth."""
    actual: dict[str, Array] = dict(results)
    slack = {}
    if workload.has_moments:
        for name, variable in data.variables.items():
            if name not in updated or name not in (moments or {}):
                return Verdict(np.inf, name, f"parameter {name} is missing")
            gradient, apart = _first_step(workload, variable, updated[name], (moments or {})[name])
            actual[f"gradient:{name}"] = gradient
            if not apart <= NEAR_STEP:
                return Verdict(apart, name, f"the step of {name} is off by {apart:.1e} of the rate")
    elif workload.trains:
        for name, variable in data.variables.items():
            if name not in updated:
                return Verdict(np.inf, name, f"parameter {name} is missing")
            wide = variable.astype("float64")
            actual[f"gradient:{name}"] = (wide - updated[name]) / workload.rate
            rounding = float(np.finfo(workload.dtype).eps) * float(np.max(np.abs(wide), initial=0))
            slack[f"gradient:{name}"] = rounding / workload.rate
    missing = [name for name in truth.results if name not in actual]
    if missing:
        return Verdict(np.inf, missing[0], f"{missing[0]} is missing")
    errors, measure = {}, _error
    if workload.has_moments:
        # Rounding decides some ReLUs and maxima of a deep model, which moves single elements far;
        # some gradients are 0 but for rounding, as those of biases before norms.
        largest = max(float(np.linalg.norm(array)) for array in truth.results.values())
        measure = partial(_error_of_norm, LEAST_GRADIENT * largest)
    for name, expected in truth.results.items():
        error = measure(name, actual[name], expected, slack.get(name, 0.0))
        if isinstance(error, str):
            return Verdict(np.inf, name, error)
        errors[name] = error
    worst = max(errors, key=lambda name: errors[name])
    return _verdict(workload, errors[worst], worst)


def _first_step(
    workload: Workload, old: Array, new: Array, moments: tuple[Array, ...]
) -> tuple[Array, float]:
    """Return the gradient, and how far a parameter is from its step by it, over the rate."""
    wide = old.astype("float64")
    if workload.kind == "momentum":
        gradient = expected = moments[0].astype("float64")
    else:
        decay, decay_of_squares = Adam.BETAS
        gradient = moments[0].astype("float64") / (1 - decay)
        size = np.sqrt(moments[1].astype("float64") / (1 - decay_of_squares)) + Adam.EPSILON
        expected = gradient / size + Decoupled.DECAY * wide
    rounding = float(np.finfo(workload.dtype).eps) * (np.abs(wide) + np.abs(expected))
    away = np.abs(wide - workload.rate * expected - new) - rounding
    scale = workload.rate * max(float(np.max(np.abs(expected), initial=0.0)), 1e-30)
    return gradient, float(np.max(away, initial=0.0)) / scale


def judge_second(workload: Workload, truth: Truth, verdict: Verdict, loss: float) -> Verdict:
    """The loss of the second call: parameters must really have been updated."""
    if truth.second_loss is None or not verdict.is_correct:
        return verdict
    error = abs(loss - truth.second_loss) / abs(truth.second_loss)
    if error <= verdict.error:
        return verdict
    return _verdict(workload, error, "loss of the second step")


def _error_of_norm(
    least: float, name: str, actual: Array, expected: Array, slack: float
) -> float | str:
    """Return the norm of the deviation over that of the truth, or over ``least``."""
    if actual.shape != expected.shape:
        return f"{name} has shape {actual.shape}, not {expected.shape}"
    away = float(np.linalg.norm(actual - expected))
    if np.isnan(away):
        return f"{name} has NaN"
    return max(away - slack, 0.0) / (max(float(np.linalg.norm(expected)), least) or 1.0)


def _error(name: str, actual: Array, expected: Array, slack: float) -> float | str:
    if actual.shape != expected.shape:
        return f"{name} has shape {actual.shape}, not {expected.shape}"
    largest = float(np.max(np.abs(expected), initial=0.0))
    if slack > 0.1 * largest > 0:
        return f"{name}: rounding of the parameter hides the step; raise the rate"
    away = float(np.max(np.abs(actual - expected), initial=0.0))
    if np.isnan(away):
        return f"{name} has NaN"
    return max(away - slack, 0.0) / (largest or 1.0)


def _verdict(workload: Workload, error: float, worst: str) -> Verdict:
    if error <= workload.tolerance:
        return Verdict(error, worst)
    reason = f"{worst} is off by {error:.1e}, tolerance {workload.tolerance:.0e}"
    return Verdict(error, worst, reason)
