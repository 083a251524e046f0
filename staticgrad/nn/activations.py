"""Activation modules: each calls the function of its name."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.language.functions import sigmoid, tanh
from staticgrad.language.functions.activations import (
    celu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    log_sigmoid,
    mish,
    prelu,
    relu6,
    selu,
    softmin,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
)
from staticgrad.language.functions.creation import parameter
from staticgrad.language.functions.nn import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    silu,
    softmax,
    softplus,
)
from staticgrad.language.ir.calls import public
from staticgrad.language.ops.operands import Number, PositiveInt
from staticgrad.nn.module import FunctionLayer, Layer, named


class Identity(Layer):
    """x itself."""

    def forward(self, x: Any) -> Any:
        return x


class ReLU(FunctionLayer, function=relu):
    """x where x > 0, else 0, as ``sg.nn.relu``.

    >>> sg.evaluate(sg.nn.ReLU()(sg.constant([-1.0, 2.0])))
    array([0., 2.])
    """


class LeakyReLU(FunctionLayer, function=leaky_relu):
    """x where x > 0, else negative_slope * x."""

    negative_slope: float = 0.01


class PReLU(Layer):
    """x if x > 0, else ``weight`` * x, per channel of [n, c, ...]: He et al., arXiv 1502.01852.

    ``num_parameters`` is one, or that of the channels; ``init`` is the first value of the slopes.
    """

    @public
    def __init__(
        self, num_parameters: PositiveInt = 1, init: Number = 0.25, *, dtype: Any = "float32"
    ) -> None:
        self.num_parameters = num_parameters
        slopes = np.full(self.num_parameters, init)
        self.weight = parameter(f"{named('prelu')}.weight", slopes, dtype)

    def forward(self, x: Any) -> Any:
        return prelu(x, self.weight)


class ELU(FunctionLayer, function=elu):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    alpha: float = 1.0


class GELU(FunctionLayer, function=gelu):
    """x times the normal distribution function at x; "tanh" for its approximation.

    >>> sg.evaluate(sg.nn.GELU("tanh")(sg.constant([-1.0, 1.0]))).round(4)
    array([-0.1588,  0.8412])
    """

    approximate: str = "none"


class SiLU(FunctionLayer, function=silu):
    """x * sigmoid(x)."""


class Softplus(FunctionLayer, function=softplus):
    """log(1 + exp(x))."""


class Sigmoid(FunctionLayer, function=sigmoid):
    """1 / (1 + exp(-x))."""


class Tanh(FunctionLayer, function=tanh):
    """The hyperbolic tangent."""


class Softmax(FunctionLayer, function=softmax):
    """exp(x) divided by its sum along ``axis``."""

    axis: int = -1


class LogSoftmax(Softmax, function=log_softmax):
    """The logarithm of ``Softmax``."""


class Softmin(Softmax, function=softmin):
    """``Softmax`` of -x."""


class ReLU6(FunctionLayer, function=relu6):
    """x held between 0 and 6."""


class Hardtanh(FunctionLayer, function=hardtanh):
    """x held between two numbers."""

    min_val: float = -1.0
    max_val: float = 1.0


class Hardsigmoid(FunctionLayer, function=hardsigmoid):
    """x / 6 + 1 / 2, held between 0 and 1."""


class Hardswish(FunctionLayer, function=hardswish):
    """x * hardsigmoid(x)."""


class Mish(FunctionLayer, function=mish):
    """x * tanh(softplus(x))."""


class SELU(FunctionLayer, function=selu):
    """1.0507 * (x where x > 0, else 1.6733 * (exp(x) - 1))."""


class CELU(FunctionLayer, function=celu):
    """x where x > 0, else alpha * (exp(x / alpha) - 1)."""

    alpha: float = 1.0


class GLU(FunctionLayer, function=glu):
    """The first half along ``axis`` times the sigmoid of the second."""

    axis: int = -1


class LogSigmoid(FunctionLayer, function=log_sigmoid):
    """log(sigmoid(x)), without overflow."""


class Softsign(FunctionLayer, function=softsign):
    """x / (1 + abs(x))."""


class Tanhshrink(FunctionLayer, function=tanhshrink):
    """x - tanh(x)."""


class Hardshrink(FunctionLayer, function=hardshrink):
    """x where abs(x) > lambd, else 0."""

    lambd: float = 0.5


class Softshrink(FunctionLayer, function=softshrink):
    """x moved towards 0 by ``lambd``, and 0 nearer to it."""

    lambd: float = 0.5


class Threshold(FunctionLayer, function=threshold):
    """x where x > threshold, else ``value``."""

    threshold: float
    value: float
