"""Sums of exponentials that do not overflow, over any axes: a shift is taken off x first.

What ``sg.nn`` computes from the start, and what rewrite rules make of the same written by hand, are
these lines. Which shift is taken, and whether it counts for derivatives, is the caller's.

Blanchard, Higham and Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J.
Numer. Anal. 41 (2021).
"""

from __future__ import annotations

from typing import Final

from staticgrad.functions.aggregate import sum as total
from staticgrad.ir.functional import functions
from staticgrad.ir.value import Value
from staticgrad.ops.movement import reshape
from staticgrad.ops.reduce import Max
from staticgrad.ops.selection import where
from staticgrad.ops.transcendental import exp, log
from staticgrad.types.dim import bounds
from staticgrad.types.tensor import product

_INFINITY: Final = float("inf")


def largest(x: Value, axes: tuple[int, ...]) -> Value:
    """The largest element over ``axes``, which stay as axes of size 1; -inf of no elements."""
    if not axes:
        return x
    at_least = bounds(product(x.shape[axis] for axis in axes))[0]
    found = Max(axes, neutral=not at_least)(x)
    return reshape(found, tuple(1 if k in axes else size for k, size in enumerate(x.shape)))


def finite_or_zero(top: Value) -> Value:
    """``top`` where it is finite, else 0: as a shift it then leaves infinities what they are."""
    return where(functions.absolute(top) < _INFINITY, top, 0.0)


def log_sum_exp(x: Value, shift: Value, axes: int | tuple[int, ...]) -> Value:
    """log(sum(exp(x))) over ``axes``, which stay as axes of size 1."""
    return log(total(exp(x - shift), axes, keepdims=True)) + shift


def shares(x: Value, shift: Value, axes: int | tuple[int, ...]) -> Value:
    """exp(x) / sum(exp(x)) over ``axes``: the softmax."""
    raised = exp(x - shift)
    return raised / total(raised, axes, keepdims=True)
