"""Activations and normalisation, written with the ordinary operators; losses stand beside it.

Every function is a few lines over values, so that it differentiates as often as one likes, and
fusion puts the pieces into one kernel. A floating dtype is kept. Public as ``sg.nn``.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, RankError
from staticgrad.extend import (
    AnyValue,
    Axes,
    as_value,
    as_values,
    describe_operands,
    floating,
    is_only_axis_of_scalar,
    like,
    promoted_values,
    quote,
    reduction_axes,
    rounded_once,
)
from staticgrad.extend.functions import (
    constant_shift,
    largest,
    log_one_plus_exp,
    log_sum_exp,
    rowwise,
    shares,
    sum as total,
)
from staticgrad.extend.ops import (
    clip,
    multiply,
    reshape,
    stop_gradient,
    where,
)
from staticgrad.language.ops import transcendental as of
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.selection import Relu
from staticgrad.nn.functional.attention import attention as attention, embedding as embedding
from staticgrad.nn.functional.losses.basic import (
    Reduction,
    alike,
    cross_entropy as cross_entropy,
    huber as huber,
    mse as mse,
    reduce_losses,
)
from staticgrad.nn.functional.normalization import (
    batch_norm as batch_norm,
    batch_statistics as batch_statistics,
    group_norm as group_norm,
    layer_norm as layer_norm,
    rms_norm as rms_norm,
)

_ROOT_TWO: Final = sqrt(2.0)
_ROOT_TWO_OVER_PI: Final = sqrt(2.0 / pi)
_APPROXIMATIONS: Final = {False: False, True: True, "none": False, "tanh": True}
#: Where sigmoid and Phi of -x are 0 in float64: clipped there no infinity meets a 0, and no bit of
#: a value or slope changes.
_SIGMOID_IS_0: Final = 750.0
_PHI_IS_0: Final = 40.0
_CUBIC: Final = 0.044715  # of the tanh approximation: Hendrycks and Gimpel, arXiv 1606.08415


@rounded_once
def linear(
    input: ArrayLike[AnyValue], weight: ArrayLike[AnyValue], bias: ArrayLike[AnyValue] | None = None
) -> AnyValue:
    """Compute input @ weight.T + bias.

    Args:
        input: [..., in_features].
        weight: [out_features, in_features], as PyTorch has it; the parameter of ``sg.nn.Linear`` is
            its transpose.
        bias: [out_features], or None.

    Returns:
        [..., out_features].

    >>> sg.nn.linear([[1.0, 2.0]], [[1.0, 1.0], [0.0, 1.0], [2.0, 0.0]], [0.0, 0.0, 1.0]).round(3)
    array([[3., 2., 3.]])
    """
    x, w = (floating(v) for v in promoted_values((input, weight)))
    if w.ndim != 2:
        raise RankError(f"linear: weight is {w.type}, not a matrix", related=describe_operands(w))
    out: Any = MatMul(False, True)(x, w)
    return out if bias is None else out + bias


# -- activations ----------------------------------------------------------------------------------


def relu(x: ArrayLike[AnyValue]) -> AnyValue:
    """0 where x <= 0, else x; NaN of NaN. Its derivative at 0 is 0, at NaN 1.

    Args:
        x: a value of any dtype; bools become int64.

    >>> sg.evaluate(sg.nn.relu([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    value: Any = as_value(x)
    return Relu()(where(value, 1, 0) if value.dtype.is_bool else value)


@rowwise(0)
def silu(x: ArrayLike[AnyValue]) -> AnyValue:
    """x * sigmoid(x), also called swish. At the infinities it is its limit, and so is its slope.

    >>> sg.nn.silu([-2.0, 0.0, 2.0]).round(3)
    array([-0.238,  0.   ,  1.762])
    """
    value = floating(x)
    above = clip(value, -_SIGMOID_IS_0)
    return above * of.sigmoid(clip(above, None, _SIGMOID_IS_0))


@rowwise(0)
def softplus(x: ArrayLike[AnyValue]) -> AnyValue:
    """log(1 + exp(x)), without overflow. Its derivative is sigmoid(x), at 0 too.

    >>> sg.evaluate(sg.nn.softplus([-1000.0, 0.0, 1000.0])).round(4)
    array([0.000e+00, 6.931e-01, 1.000e+03])
    """
    return log_one_plus_exp(floating(x))


@rowwise(0)
def gelu(x: ArrayLike[AnyValue], approximate: bool | str = "none") -> AnyValue:
    """x * Phi(x), Phi the normal distribution function, by erf; with ``approximate`` by tanh.

    Hendrycks and Gimpel, arXiv 1606.08415. The approximation differs by up to 5e-4. At the
    infinities it is its limit, and its derivatives are theirs.

    Args:
        approximate: True or ``"tanh"`` for the approximation; False or ``"none"``.

    >>> sg.evaluate(sg.nn.gelu([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    value = floating(x)
    is_valid = type(approximate) in (bool, str, np.bool_) and approximate in _APPROXIMATIONS
    if not is_valid:
        raise ArgumentError(
            f"gelu: approximate={quote(approximate)} is neither a bool nor 'none' nor 'tanh'",
            related=describe_operands(value),
        )
    above = clip(value, -_PHI_IS_0)
    inside = clip(above, None, _PHI_IS_0)
    if _APPROXIMATIONS[approximate]:
        inner = _ROOT_TWO_OVER_PI * (inside + _CUBIC * (inside * inside * inside))
        return 0.5 * above * (1.0 + of.tanh(inner))
    return 0.5 * above * (1.0 + of.erf(inside / _ROOT_TWO))


@rowwise(0)
def elu(x: ArrayLike[AnyValue], alpha: float = 1.0) -> AnyValue:
    """x where x > 0, else alpha * (exp(x) - 1). Its derivative at 0 is alpha.

    Clevert, Unterthiner and Hochreiter, arXiv 1511.07289. ``alpha`` broadcasts with x.

    >>> sg.nn.elu([-2.0, 0.0, 2.0]).round(3)
    array([-0.865,  0.   ,  2.   ])
    """
    value = floating(x)
    positive = value > 0
    return where(positive, value, alpha * of.expm1(where(positive, 0.0, value)))


@rounded_once
def leaky_relu(x: ArrayLike[AnyValue], negative_slope: float = 0.01) -> AnyValue:
    """x where x > 0, else negative_slope * x, which broadcast. Its derivative at 0 is the slope.

    >>> sg.nn.leaky_relu([-2.0, 0.0, 2.0]).round(3)
    array([-0.02,  0.  ,  2.  ])
    """
    value = floating(x)
    return where(value > 0, value, multiply(negative_slope, value))


# -- normalisation --------------------------------------------------------------------------------


@rowwise(1, fixed={"axis": -1})
def softmax(x: ArrayLike[AnyValue], axis: Axes = -1) -> AnyValue:
    """Compute exp(x) divided by its sum over ``axis``, without overflow.

    NaN if the row contains +inf or NaN, or only -inf. Empty along an empty axis.

    Args:
        axis: one axis or several; None for all.

    >>> sg.evaluate(sg.nn.softmax([0.0, 0.0, -1000.0]))
    array([0.5, 0.5, 0. ])
    """
    value = floating(x)
    axes = reduction_axes(axis, value)
    return shares(value, stop_gradient(largest(value, axes)), axes)


@like(softmax)
@rowwise(1, fixed={"axis": -1})
def log_softmax(x: ArrayLike[AnyValue], axis: Axes = -1) -> AnyValue:
    """Compute the logarithm of ``softmax``: x minus ``logsumexp`` over ``axis``, without overflow.

    >>> sg.evaluate(sg.nn.log_softmax([0.0, 0.0, -1000.0])).round(4)
    array([-6.9310000e-01, -6.9310000e-01, -1.0006931e+03])
    """
    value = floating(x)
    axes = reduction_axes(axis, value)
    shifted = value - constant_shift(value, axes)
    return shifted - of.log(total(of.exp(shifted), axes, keepdims=True))


@like(softmax)
@rounded_once
def logsumexp(x: ArrayLike[AnyValue], axis: Axes = -1, *, keepdims: bool = False) -> AnyValue:
    """Compute log(sum(exp(x))) over ``axis``, without overflow; a 0-d value is returned unchanged.

    -inf if all elements are -inf or there are none; the derivatives are 0 there. +inf if one is
    +inf; the derivative by it is NaN, as ``softmax`` is.

    >>> sg.evaluate(sg.nn.logsumexp([[0.0, 0.0], [1000.0, 1000.0]])).round(4)
    array([6.9310000e-01, 1.0006931e+03])
    """
    value = floating(x)
    if value.ndim == 0 and (axis is None or is_only_axis_of_scalar(axis, value)):
        return value
    axes = reduction_axes(axis, value)
    out = log_sum_exp(value, constant_shift(value, axes), axes)
    remaining = tuple(size for k, size in enumerate(value.shape) if k not in axes)
    return out if keepdims else reshape(out, remaining)


# -- a loss ---------------------------------------------------------------------------------------


@rounded_once
def binary_cross_entropy_with_logits(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    reduction: Reduction = "mean",
    pos_weight: ArrayLike[AnyValue] | None = None,
) -> AnyValue:
    """The mean of softplus(input) - target * input: -log of the probability of the target.

    Args:
        input: floating, log-odds of the target being 1.
        target: of the same shape, in [0, 1].
        reduction: "mean", "sum", or "none": as many losses as there are elements.
        pos_weight: how much more a target of 1 counts; it broadcasts with the target.

    Returns:
        A 0-d value, or the losses in the shape of ``input``.

    >>> loss = sg.nn.binary_cross_entropy_with_logits([0.0, 1000.0], [1.0, 1.0], "none")
    >>> sg.evaluate(loss).round(4)
    array([0.6931, 0.    ])
    """
    scores, targets = alike(input, target)
    if pos_weight is None:
        losses = softplus(scores) - targets * scores
    else:
        weighted = as_values(scores, pos_weight)[1] * targets
        losses = (1.0 - targets) * softplus(scores) + weighted * softplus(-scores)
    return reduce_losses(losses, reduction)
