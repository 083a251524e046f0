"""Windows of signal processing by NumPy's names: vectors that fall off towards both ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import multiply
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.operands import Integer, array_size, as_value, floating
from staticgrad.language.ops.special import i0
from staticgrad.support.tables import roots_of_unity


def bartlett(M: Integer) -> Value:
    """Return the triangular window of M points, 0 at both ends; of float64.

    >>> sg.bartlett(5)
    array([0. , 0.5, 1. , 0.5, 0. ])
    """
    return as_value(np.bartlett(_points(M)))


def blackman(M: Integer) -> Value:
    """Return the Blackman window, 0.42 - 0.5 cos(t) + 0.08 cos(2 t) for t from 0 to 2 pi.

    >>> sg.blackman(5).round(3)
    array([-0.  ,  0.34,  1.  ,  0.34, -0.  ])
    """
    return as_value(_cosine_sum(M, 0.42, 0.5, 0.08))


def hamming(M: Integer) -> Value:
    """Return the Hamming window, 0.54 - 0.46 cos(t) for t from 0 to 2 pi.

    >>> sg.hamming(5).round(3)
    array([0.08, 0.54, 1.  , 0.54, 0.08])
    """
    return as_value(_cosine_sum(M, 0.54, 0.46))


def hanning(M: Integer) -> Value:
    """Return the Hann window, 0.5 - 0.5 cos(t) for t from 0 to 2 pi.

    >>> sg.hanning(5)
    array([0. , 0.5, 1. , 0.5, 0. ])
    """
    return as_value(_cosine_sum(M, 0.5, 0.5))


def kaiser(M: Integer, beta: ArrayLike[AnyValue]) -> AnyValue:
    """Return the Kaiser window, i0(beta * sqrt(1 - t**2)) / i0(beta) for t from -1 to 1.

    It is differentiable by beta.

    Args:
        M: how many points, known at build.
        beta: its shape: 0 is a window of ones, larger numbers are narrower.

    >>> sg.kaiser(5, 2.0).round(3)
    array([0.439, 0.835, 1.   , 0.835, 0.439])
    """
    shape: Any = floating(as_value(beta))
    points = _points(M)
    if points <= 1:
        return shape * 0.0 + np.ones(points)
    t = np.linspace(-1.0, 1.0, points)
    return i0(multiply(shape, np.sqrt(np.maximum(1.0 - t * t, 0.0)))) / i0(shape)


def _cosine_sum(M: Integer, *coefficients: float) -> Any:
    """Return the sum of coefficients times cos(k t) at M points t from -pi to pi.

    NumPy's cosine has other last bits on other processors.
    """
    points = _points(M)
    if points <= 1:
        return np.ones(points)
    window = np.zeros(points)
    for k, coefficient in enumerate(coefficients):
        numbers = k * np.arange(1 - points, points, 2)
        window = window + coefficient * roots_of_unity(numbers, 2 * (points - 1))[:, 0]
    return window


def _points(M: int) -> int:
    return array_size(max(M, 0))
