"""The check of results: each against the float64 truth, before any time is shown.

An array's error is its largest deviation over the largest magnitude of its truth. After a
step the gradient (Adam: the direction) is read off the parameters, ``(before - after) / rate``, and
may be off by one rounding of the stored parameter as well; a workload in which that would hide the
step is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.truth import Truth
from benchmarks.workload import Array, Arrays, Data, Workload


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
    workload: Workload, data: Data, truth: Truth, results: Mapping[str, Array], updated: Arrays
) -> Verdict:
    """Compare what the first call returned, and the parameters after it, with the truth."""
    actual: dict[str, Array] = dict(results)
    slack = {}
    if workload.trains:
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
    errors = {}
    for name, expected in truth.results.items():
        error = _error(name, actual[name], expected, slack.get(name, 0.0))
        if isinstance(error, str):
            return Verdict(np.inf, name, error)
        errors[name] = error
    worst = max(errors, key=lambda name: errors[name])
    return _verdict(workload, errors[worst], worst)


def judge_second(workload: Workload, truth: Truth, verdict: Verdict, loss: float) -> Verdict:
    """The loss of the second call: parameters must really have been updated."""
    if truth.second_loss is None or not verdict.is_correct:
        return verdict
    error = abs(loss - truth.second_loss) / abs(truth.second_loss)
    if error <= verdict.error:
        return verdict
    return _verdict(workload, error, "loss of the second step")


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
