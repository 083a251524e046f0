"""More activations, by the names that they have in ``torch.nn.functional``."""

from __future__ import annotations

from typing import Any, Final

from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.extend import (
    AnyValue,
    PositiveFloat,
    as_value,
    axis_of,
    describe_operands,
    floating,
    is_number,
    promoted_values,
    quote,
    rounded_once,
    sizes as dims,
)
from staticgrad.extend.ops import (
    absolute,
    astype,
    clip,
    expm1,
    log,
    maximum,
    reshape,
    sigmoid,
    tanh,
    where,
)
from staticgrad.functions.arrange import split
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.nn.functional.basics import softmax, softplus

# G. Klambauer, T. Unterthiner, A. Mayr and S. Hochreiter, Self-normalizing neural networks (2017):
# mean 0 and variance 1 are a fixed point of the layers.
_SELU_ALPHA: Final = 1.6732632423543772
_SELU_SCALE: Final = 1.0507009873554805


def relu6(x: ArrayLike[AnyValue]) -> AnyValue:
    """x held between 0 and 6.

    >>> sg.nn.relu6([-2.0, 3.0, 8.0]).round(3)
    array([0., 3., 6.])
    """
    return clip(floating(x), 0.0, 6.0)


def hardtanh(x: ArrayLike[AnyValue], min_val: float = -1.0, max_val: float = 1.0) -> AnyValue:
    """Clip x between two numbers, or values that broadcast with x.

    >>> sg.nn.hardtanh([-2.0, 0.0, 2.0]).round(3)
    array([-1.,  0.,  1.])
    """
    return clip(floating(x), min_val, max_val)


@rounded_once
def hardsigmoid(x: ArrayLike[AnyValue]) -> AnyValue:
    """x / 6 + 1 / 2, held between 0 and 1.

    >>> sg.nn.hardsigmoid([-4.0, 0.0, 1.5]).round(3)
    array([0.  , 0.5 , 0.75])
    """
    value: Any = floating(x)
    return clip(value * (1.0 / 6.0) + 0.5, 0.0, 1.0)


@rounded_once
def hardswish(x: ArrayLike[AnyValue]) -> AnyValue:
    """x * hardsigmoid(x): Howard et al., arXiv 1905.02244.

    >>> sg.nn.hardswish([-1.0, 1.0, 4.0]).round(3)
    array([-0.333,  0.667,  4.   ])
    """
    value: Any = floating(x)
    return value * hardsigmoid(value)


@rounded_once
def celu(x: ArrayLike[AnyValue], alpha: float = 1.0) -> AnyValue:
    """x where x > 0, else alpha * (exp(x / alpha) - 1): Barron, arXiv 1704.07483.

    Its derivative at 0 is 1. ``alpha`` is a number but 0, or a value that broadcasts with x.

    >>> sg.nn.celu([-2.0, 0.0, 2.0]).round(3)
    array([-0.865,  0.   ,  2.   ])
    """
    if is_number(alpha) and alpha == 0:
        raise ArgumentError("celu: alpha is 0, and x is divided by it")
    value: Any = floating(x)
    scale: Any = alpha if is_number(alpha) else as_value(alpha)
    below = expm1(where(value > 0, 0.0, value) * (1.0 / scale)) * scale
    return where(value <= 0, below, value)


@rounded_once
def selu(x: ArrayLike[AnyValue]) -> AnyValue:
    """1.0507 * (x where x > 0, else 1.6733 * (exp(x) - 1)): Klambauer et al., arXiv 1706.02515.

    Its derivative at 0 is 1.0507 * 1.6733.

    >>> sg.nn.selu([-2.0, 0.0, 2.0]).round(3)
    array([-1.52 ,  0.   ,  2.101])
    """
    value: Any = floating(x)
    below = expm1(where(value > 0, 0.0, value)) * _SELU_ALPHA
    return where(value <= 0, below, value) * _SELU_SCALE


@rounded_once
def prelu(x: ArrayLike[AnyValue], weight: ArrayLike[AnyValue]) -> AnyValue:
    """x where x > 0, else weight * x: He et al., arXiv 1502.01852.

    ``weight`` is one number, or one for each channel of x [n, c, ...].

    >>> sg.nn.prelu([-2.0, 0.0, 2.0], 0.1).round(3)
    array([-0.2,  0. ,  2. ])
    """
    value: Any
    value, slope = (floating(v) for v in promoted_values((x, weight)))
    if slope.ndim == 1 and value.ndim > 2:
        slope = reshape(slope, (slope.shape[0], *(1,) * (value.ndim - 2)))
    return where(value > 0, value, slope * value)


@rounded_once
def mish(x: ArrayLike[AnyValue]) -> AnyValue:
    """x * tanh(softplus(x)): Misra, arXiv 1908.08681.

    >>> sg.nn.mish([-2.0, 0.0, 2.0]).round(3)
    array([-0.253,  0.   ,  1.944])
    """
    value: Any = floating(x)
    return value * tanh(softplus(value))


@rounded_once
def softsign(x: ArrayLike[AnyValue]) -> AnyValue:
    """x / (1 + abs(x)).

    >>> sg.nn.softsign([-2.0, 0.0, 2.0]).round(3)
    array([-0.667,  0.   ,  0.667])
    """
    value: Any = floating(x)
    return value / (absolute(value) + 1.0)


@rounded_once
def log_sigmoid(x: ArrayLike[AnyValue]) -> AnyValue:
    """log(sigmoid(x)), without overflow.

    >>> sg.nn.log_sigmoid([-2.0, 0.0, 2.0]).round(3)
    array([-2.127, -0.693, -0.127])
    """
    value: Any = floating(x)
    return -softplus(-value)


@rounded_once
def glu(x: ArrayLike[AnyValue], axis: int = -1) -> AnyValue:
    """Multiply the first half along ``axis`` by the sigmoid of the second (Dauphin, 1612.08083).

    >>> sg.nn.glu([1.0, 2.0, 0.0, 0.0]).round(3)
    array([0.5, 1. ])
    """
    value: Any = floating(x)
    place = axis_of(axis, value)
    half = dims.divide_exactly(value.shape[place], 2) if value.shape[place] != 1 else None
    if half is None:
        raise ShapeError(
            f"glu: axis {axis} of {value.type} has no two halves", related=describe_operands(value)
        )
    first, second = split(value, 2, place)
    return first * sigmoid(second)


@rounded_once
def gumbel_softmax(
    logits: ArrayLike[AnyValue], generator: Any, tau: PositiveFloat = 1.0, axis: int = -1
) -> AnyValue:
    """Draw a random relaxed one-hot vector: softmax((logits + noise) / tau) along ``axis``.

    Jang et al., arXiv 1611.01144; the noise is Gumbel's, drawn by ``generator`` (for tensors, one
    of ``staticgrad.eager``). ``tau`` is above 0; the smaller, the nearer to one element.

    >>> rng = sg.random.Generator(0)
    >>> sg.nn.gumbel_softmax(sg.input("x", (4, 3)), rng).shape
    (4, 3)
    """
    if not hasattr(generator, "exponential"):
        raise ArgumentError(
            f"gumbel_softmax: {quote(generator)} draws no numbers",
            hint="pass sg.random.Generator(seed)",
        )
    value: Any = floating(logits)
    drawn = generator.exponential(shape=value.shape, dtype=value.dtype.compute)
    noise: Any = -log(maximum(drawn, drawn.dtype.smallest_normal))
    return softmax((value + astype(noise, value.dtype)) * (1.0 / tau), axis)


@rounded_once
def tanhshrink(x: ArrayLike[AnyValue]) -> AnyValue:
    """x - tanh(x).

    >>> sg.nn.tanhshrink([-2.0, 0.0, 2.0]).round(3)
    array([-1.036,  0.   ,  1.036])
    """
    value: Any = floating(x)
    return value - tanh(value)


def hardshrink(x: ArrayLike[AnyValue], lambd: float = 0.5) -> AnyValue:
    """x where abs(x) > lambd, else 0; NaN of NaN.

    >>> sg.nn.hardshrink([-2.0, 0.3, 2.0]).round(3)
    array([-2.,  0.,  2.])
    """
    value: Any = floating(x)
    return where(absolute(value) <= lambd, 0.0, value)


@rounded_once
def softshrink(x: ArrayLike[AnyValue], lambd: float = 0.5) -> AnyValue:
    """x moved towards 0 by ``lambd``, and 0 nearer to it; ``lambd`` is not below 0.

    >>> sg.nn.softshrink([-2.0, 0.3, 2.0]).round(3)
    array([-1.5,  0. ,  1.5])
    """
    if is_number(lambd) and lambd < 0:
        raise ArgumentError(f"softshrink: lambd={quote(lambd)} is below 0")
    value: Any = floating(x)
    return value - clip(value, -lambd, lambd)


def threshold(x: ArrayLike[AnyValue], threshold: float, value: float) -> AnyValue:
    """x where x > threshold, else ``value``.

    >>> sg.nn.threshold([-2.0, 0.3, 2.0], 0.5, 0.0).round(3)
    array([0., 0., 2.])
    """
    operand: Any = floating(x)
    return where(operand <= threshold, value, operand)


def softmin(x: ArrayLike[AnyValue], axis: int = -1) -> AnyValue:
    """softmax(-x) along ``axis``.

    >>> sg.nn.softmin([1.0, 1.0, 2.0]).round(3)
    array([0.422, 0.422, 0.155])
    """
    value: Any = floating(x)
    return softmax(-value, axis)
