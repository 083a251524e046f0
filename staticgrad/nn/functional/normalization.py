"""Normalisation: over batches or groups, by the root mean square.

Written with the ordinary operators, so that it differentiates as often as one likes. Public as
``sg.nn``.
"""

from __future__ import annotations

from typing import Any

from staticgrad.errors import ArgumentError, RankError
from staticgrad.extend import (
    AnyValue,
    PositiveInt,
    as_value,
    as_values,
    axis_of,
    called_name,
    check_equal,
    check_vector,
    describe_operands,
    floating,
    quote,
    rounded_once,
    shape_text,
    sizes as dims,
)
from staticgrad.extend.functions import mean, rowwise
from staticgrad.extend.ops import (
    abs_squared,
    reshape,
    sqrt,
)
from staticgrad.language.ops.elementwise import ArrayLike


@rowwise(1)
def layer_norm(
    x: ArrayLike[AnyValue],
    weight: ArrayLike[AnyValue] | None = None,
    bias: ArrayLike[AnyValue] | None = None,
    eps: float = 1e-5,
) -> AnyValue:
    """(x - mean) / sqrt(variance + eps) along the last axis, times ``weight``, plus ``bias``.

    Ba, Kiros and Hinton, arXiv 1607.06450. The variance is the mean square.

    Args:
        weight, bias: of the size of the last axis; none by default.

    >>> sg.evaluate(sg.nn.layer_norm([[1.0, 3.0], [0.0, 20.0]])).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    value = _check_rank(x)
    _check_weight(weight, value)
    deviation = value - mean(value, -1, keepdims=True)
    out = deviation * (1.0 / sqrt(mean(abs_squared(deviation), -1, keepdims=True) + eps))
    return _scale_and_shift(out, weight, bias, value.ndim - 1)


@rowwise(1)
def rms_norm(
    x: ArrayLike[AnyValue], weight: ArrayLike[AnyValue] | None = None, eps: float = 1e-5
) -> AnyValue:
    """Compute x / sqrt(mean(x ** 2) + eps) along the last axis, times ``weight`` (of that size).

    Zhang and Sennrich, arXiv 1910.07467.

    Args:
        x: a value [..., features].
        weight: of the size of the last axis; None for none.
        eps: added to the mean square.

    >>> sg.nn.rms_norm([3.0, 4.0]).round(3)
    array([0.849, 1.131])
    """
    value = _check_rank(x)
    _check_weight(weight, value)
    out = value * (1.0 / sqrt(mean(abs_squared(value), -1, keepdims=True) + eps))
    return _scale_and_shift(out, weight, None, value.ndim - 1)


@rounded_once
def batch_norm(
    x: ArrayLike[AnyValue],
    *,
    weight: ArrayLike[AnyValue] | None = None,
    bias: ArrayLike[AnyValue] | None = None,
    statistics: tuple[ArrayLike[AnyValue], ArrayLike[AnyValue]] | None = None,
    axis: int = 1,
    eps: float = 1e-5,
) -> AnyValue:
    """Compute (x - mean) / sqrt(variance + eps) per channel, times ``weight``, plus ``bias``.

    Ioffe and Szegedy, arXiv 1502.03167.

    Args:
        x: a value; its axis ``axis`` counts channels.
        weight, bias: one number per channel. They are given by name: PyTorch's second and third
            operands are the statistics.
        statistics: mean and variance per channel, for use; by default those of x over all other
            axes (``batch_statistics``), through which gradients flow.

    >>> sg.evaluate(sg.nn.batch_norm([[0.0, 1.0], [2.0, 5.0]])).round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    value = _check_rank(x)
    place = axis_of(axis, value)
    moments: Any = batch_statistics(value, place) if statistics is None else statistics
    if not isinstance(moments, tuple | list) or len(moments) != 2:
        raise ArgumentError(
            f"batch_norm: statistics={quote(statistics)} is not a pair",
            hint="statistics=(mean, variance), as batch_statistics gives them",
        )
    average, variance = (
        _per_channel(word, moment, value, place)
        for word, moment in zip(("mean", "variance"), moments, strict=True)
    )
    out = (value - average) * (1.0 / sqrt(variance + eps))
    return _scale_and_shift(out, weight, bias, place)


@rounded_once
def batch_statistics(x: ArrayLike[AnyValue], axis: int = 1) -> tuple[AnyValue, AnyValue]:
    """Compute mean and variance (mean square) per channel, over all axes but ``axis``.

    >>> mean, variance = sg.nn.batch_statistics([[1.0, 2.0], [3.0, 6.0]])
    >>> mean, variance
    (array([2., 4.]), array([1., 4.]))
    """
    value = _check_rank(x)
    place = axis_of(axis, value)
    others = tuple(k for k in range(value.ndim) if k != place)
    average = mean(value, others, keepdims=True)
    deviation = value - average
    size = value.shape[place]
    return reshape(average, (size,)), mean(abs_squared(deviation), others)


@rounded_once
def group_norm(
    x: ArrayLike[AnyValue],
    num_groups: PositiveInt,
    weight: ArrayLike[AnyValue] | None = None,
    bias: ArrayLike[AnyValue] | None = None,
    *,
    axis: int = 1,
    eps: float = 1e-5,
) -> AnyValue:
    """Compute (x - mean) / sqrt(variance + eps) over groups of channels and the axes after them.

    Wu and He, arXiv 1803.08494. Each element of the axes before the channels has statistics of its
    own.

    Args:
        x: a value; its axis ``axis`` counts channels.
        num_groups: how many; they divide the channels.
        weight, bias: one number per channel; none by default.

    >>> sg.nn.group_norm([[1.0, 3.0, 10.0, 30.0]], 2).round(3)
    array([[-1.,  1., -1.,  1.]])
    """
    value = _check_rank(x)
    place = axis_of(axis, value)
    count = num_groups
    channels = value.shape[place]
    group_size = dims.floordiv(channels, count)
    text = f"group_norm: {channels} channels are not {count} equal groups"
    check_equal(text, group_size * count, channels, value)
    shape = (*value.shape[:place], count, group_size, *value.shape[place + 1 :])
    grouped = reshape(value, shape)
    axes = tuple(range(place + 1, grouped.ndim))
    deviation = grouped - mean(grouped, axes, keepdims=True)
    out = deviation * (1.0 / sqrt(mean(abs_squared(deviation), axes, keepdims=True) + eps))
    return _scale_and_shift(reshape(out, value.shape), weight, bias, place)


def _check_rank(x: ArrayLike[AnyValue]) -> AnyValue:
    value = floating(x)
    if value.ndim == 0:
        raise RankError(
            f"{called_name()}: a 0-d value has no axes", related=describe_operands(value)
        )
    return value


def _check_weight(weight: Any, x: AnyValue) -> None:
    """Refuse a list of integers as weight: in PyTorch it is a normalized shape."""
    if isinstance(weight, list | tuple) and all(type(size) is int for size in weight):
        name = called_name()
        raise ArgumentError(
            f"{name}: weight={quote(weight)} is a list of integers",
            hint=f"rows lie along the last axis, there is no normalized_shape: sg.nn.{name}(x)",
            related=describe_operands(x),
        )


def _scale_and_shift(
    x: AnyValue,
    weight: ArrayLike[AnyValue] | None,
    bias: ArrayLike[AnyValue] | None,
    axis: int,
) -> AnyValue:
    """Scale and shift a normalized value by weight and bias per channel."""
    out = x if weight is None else x * _per_channel("weight", weight, x, axis)
    return out if bias is None else out + _per_channel("bias", bias, x, axis)


def _per_channel(name: str, data: ArrayLike[AnyValue], x: AnyValue, axis: int) -> AnyValue:
    """Check a vector of one number per channel, and reshape it to broadcast."""
    _, row = as_values(x, data)
    size = x.shape[axis]
    if row.shape != (size,):
        not_each = f"not one number for each of {size} channels"
        text = f"{called_name()}: the {name} is {shape_text(row.shape)}, {not_each}"
        check_vector(text, row, size, x)
    return reshape(row, (row.shape[0], *(1,) * (x.ndim - 1 - axis)))


@rounded_once
def instance_norm(
    x: ArrayLike[AnyValue],
    *,
    weight: ArrayLike[AnyValue] | None = None,
    bias: ArrayLike[AnyValue] | None = None,
    eps: float = 1e-5,
) -> AnyValue:
    """(x - mean) / sqrt(variance + eps) over the axes behind the channels, of each example.

    Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022. x is [n, c, ...], the number of channels
    known at build; ``weight`` and ``bias``, given by name, have one number per channel.

    >>> sg.nn.instance_norm([[[1.0, 3.0]]]).round(3)
    array([[[-1.,  1.]]])
    """
    value: Any = as_value(x)
    if value.ndim < 3:
        what = f"instance_norm: x is {value.type}, not [n, c, ...]"
        raise RankError(what, related=describe_operands(value))
    if not isinstance(channels := value.shape[1], int):
        what = f"instance_norm: {channels} channels, a number that is not known at build"
        raise ArgumentError(what, related=describe_operands(value))
    if not channels:
        return floating(value)
    return group_norm(value, channels, weight, bias, eps=eps)


@rounded_once
def local_response_norm(
    x: ArrayLike[AnyValue],
    size: PositiveInt,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> AnyValue:
    """x / (k + alpha * (mean of x ** 2 over ``size`` neighbouring channels)) ** beta.

    Krizhevsky, Sutskever and Hinton (NeurIPS 2012), section 3.3, with the mean for the sum, as
    PyTorch has it. x is [n, c, ...]; behind the first and last channel lie zeros, which count. The
    mean is over ``size // 2`` channels before and the rest from it on.

    >>> sg.nn.local_response_norm([[1.0, 2.0, 3.0]], 3).round(3)
    array([[1.   , 1.999, 2.999]])
    """
    value: Any = floating(x)
    count = size
    if value.ndim < 2:
        what = f"local_response_norm: x is {value.type}, not [n, c, ...]"
        raise RankError(what, related=describe_operands(value))
    widths = [(0, 0)] * value.ndim
    widths[1] = (count // 2, (count - 1) // 2)
    from staticgrad.functions.arrange import pad

    squares = pad(abs_squared(value), widths)
    channels = value.shape[1]
    total: Any = squares[:, :channels]
    for first in range(1, count):
        total = total + squares[:, first : first + channels]
    return value / (k + alpha / count * total) ** beta
