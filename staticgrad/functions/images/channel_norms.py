"""Normalisation per channel of an example, and of a channel by its neighbours."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import ArgumentError, RankError
from staticgrad.functions.normalization import group_norm
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_value, floating, integer, related

__all__ = ["instance_norm", "local_response_norm"]


def instance_norm(
    x: Operand[AnyValue],
    weight: Operand[AnyValue] | None = None,
    bias: Operand[AnyValue] | None = None,
    *,
    eps: float = 1e-5,
) -> AnyValue:
    """(x - mean) / sqrt(variance + eps) over the axes behind the channels, of each example.

    Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022.

    Args:
        x: [n, c, ...], the number of channels known at build.
        weight, bias: one number per channel; none by default.

    >>> sg.evaluate(sg.nn.instance_norm([[[0.0, 2.0], [30.0, 10.0]]])).round(3)
    array([[[-1.,  1.],
            [ 1., -1.]]])
    """
    value: Any = as_value("instance_norm", x)
    if value.ndim < 3:
        what = f"instance_norm: x is {value.type}, not [n, c, ...]"
        raise RankError(what, related=related(value))
    if not isinstance(channels := value.shape[1], int):
        what = f"instance_norm: {channels} channels, a number that is not known at build"
        raise ArgumentError(what, related=related(value))
    if not channels:
        return floating("instance_norm", value)
    return group_norm(value, channels, weight, bias, eps=eps)


def local_response_norm(
    x: Operand[AnyValue], size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> AnyValue:
    """x / (k + alpha * (mean of x ** 2 over ``size`` neighbouring channels)) ** beta.

    Krizhevsky, Sutskever and Hinton (NeurIPS 2012), section 3.3, with the mean for the sum, as
    PyTorch has it. Behind the first and last channel lie zeros, which count.

    Args:
        x: [n, c, ...].
        size: how many channels a mean is over: ``size // 2`` before and the rest from it on.
        alpha, beta, k: numbers.

    >>> sg.evaluate(sg.nn.local_response_norm([[3.0, 0.0, 4.0]], 3, alpha=3.0, beta=0.5, k=0.0))
    array([[1., 0., 1.]])
    """
    value: Any = floating("local_response_norm", x)
    count = integer("local_response_norm", "size", size, value)
    if count < 1:
        raise ArgumentError(f"local_response_norm: size is {count}, not 1 or more")
    if value.ndim < 2:
        what = f"local_response_norm: x is {value.type}, not [n, c, ...]"
        raise RankError(what, related=related(value))
    widths = [(0, 0)] * value.ndim
    widths[1] = (count // 2, (count - 1) // 2)
    squares = functions.pad(value * value, widths)
    channels = value.shape[1]
    total: Any = squares[:, :channels]
    for first in range(1, count):
        total = total + squares[:, first : first + channels]
    return value / (k + alpha / count * total) ** beta


publish(globals(), __name__, __all__)
