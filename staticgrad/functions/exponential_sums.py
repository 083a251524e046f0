"""Sums of exponentials: what ``softmax``, ``logsumexp``, losses and the rewrite rules share.

A shift is taken off x first, so that none overflows, and the caller chooses which shift, and
whether it counts for derivatives.

Blanchard, Higham and Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J.
Numer. Anal. 41 (2021).
"""

from __future__ import annotations

from math import inf

from staticgrad.functions.aggregate import sum as total
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ops.arithmetic import absolute
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import reshape
from staticgrad.language.ops.reduce import Max
from staticgrad.language.ops.selection import where
from staticgrad.language.ops.transcendental import exp, log, log1p
from staticgrad.language.types.arrays import product
from staticgrad.language.types.dim import bounds


def largest(x: AnyValue, axes: tuple[int, ...]) -> AnyValue:
    """Compute the largest element over ``axes``, which stay as axes of size 1; -inf if empty."""
    if not axes:
        return x
    at_least = bounds(product(x.shape[axis] for axis in axes))[0]
    result = Max(axes, neutral=not at_least)(x)
    return reshape(result, tuple(1 if k in axes else size for k, size in enumerate(x.shape)))


def finite_or_zero(top: AnyValue) -> AnyValue:
    """``top`` where it is finite, else 0: as a shift it then leaves infinities what they are."""
    return where(absolute(top) < inf, top, 0.0)


def log_sum_exp(x: AnyValue, shift: AnyValue, axes: int | tuple[int, ...]) -> AnyValue:
    """log(sum(exp(x))) over ``axes``, which stay as axes of size 1."""
    return log_of_sum(total(exp(x - shift), axes, keepdims=True)) + shift


def log_of_sum(sums: AnyValue) -> AnyValue:
    """Return log(sums), whose derivative is 0 where they are 0: a sum of nothing but log(0) = -inf.

    Without the choice 1 / 0 meets exp(-inf) = 0 in the derivative by each term, which is NaN.
    """
    return where(sums == 0.0, -inf, log(sums))


def constant_shift(x: AnyValue, axes: tuple[int, ...]) -> AnyValue:
    """The maximum over ``axes`` as a constant of the derivative; 0 where it is not finite."""
    return finite_or_zero(stop_gradient(largest(x, axes)))


def shares(x: AnyValue, shift: AnyValue, axes: int | tuple[int, ...]) -> AnyValue:
    """exp(x) / sum(exp(x)) over ``axes``: the softmax."""
    raised = exp(x - shift)
    return raised / total(raised, axes, keepdims=True)


def log_one_plus_exp(x: AnyValue) -> AnyValue:
    """Return log(1 + exp(x)), without overflow."""
    positive = x > 0
    return where(positive, x, 0.0) + log1p(exp(where(positive, -x, x)))
