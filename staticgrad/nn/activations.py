"""Activation modules: each calls the function of its name."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.extend import Number, PositiveInt, public
from staticgrad.extend.functions import parameter
from staticgrad.functions import sigmoid, tanh
from staticgrad.nn.functional.activations import (
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
from staticgrad.nn.functional.basics import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    silu,
    softmax,
    softplus,
)
from staticgrad.nn.module import FunctionLayer, Layer, new_layer_name


class Identity(Layer):
    """x itself.

    >>> sg.nn.Identity()(np.array([-2.0, 2.0]))
    array([-2.,  2.])
    """

    def forward(self, x: Any) -> Any:
        return x


class ReLU(FunctionLayer, function=relu):
    """x where x > 0, else 0, as ``sg.nn.relu``.

    >>> sg.evaluate(sg.nn.ReLU()(sg.constant([-1.0, 2.0])))
    array([0., 2.])
    """


class LeakyReLU(FunctionLayer, function=leaky_relu):
    """x where x > 0, else negative_slope * x.

    >>> sg.nn.LeakyReLU()([-2.0, 0.0, 2.0]).round(3)
    array([-0.02,  0.  ,  2.  ])
    """

    negative_slope: float = 0.01


class PReLU(Layer):
    """x if x > 0, else ``weight`` * x, per channel of [n, c, ...]: He et al., arXiv 1502.01852.

    ``num_parameters`` is one, or that of the channels; ``init`` is the first value of the slopes.

    >>> layer = sg.nn.PReLU()
    >>> sg.evaluate(layer(np.array([-2.0, 2.0], "float32")))
    array([-0.5,  2. ], dtype=float32)
    """

    @public
    def __init__(
        self, num_parameters: PositiveInt = 1, init: Number = 0.25, *, dtype: Any = "float32"
    ) -> None:
        self.num_parameters = num_parameters
        slopes = np.full(self.num_parameters, init)
        self.weight = parameter(f"{new_layer_name('prelu')}.weight", slopes, dtype)

    def forward(self, x: Any) -> Any:
        return prelu(x, self.weight)


class ELU(FunctionLayer, function=elu):
    """x where x > 0, else alpha * (exp(x) - 1).

    >>> sg.nn.ELU()([-2.0, 0.0, 2.0]).round(3)
    array([-0.865,  0.   ,  2.   ])
    """

    alpha: float = 1.0


class GELU(FunctionLayer, function=gelu):
    """x times the normal distribution function at x; "tanh" for its approximation.

    >>> sg.evaluate(sg.nn.GELU("tanh")(sg.constant([-1.0, 1.0]))).round(4)
    array([-0.1588,  0.8412])
    """

    approximate: str = "none"


class SiLU(FunctionLayer, function=silu):
    """x * sigmoid(x).

    >>> sg.nn.SiLU()([-2.0, 0.0, 2.0]).round(3)
    array([-0.238,  0.   ,  1.762])
    """


class Softplus(FunctionLayer, function=softplus):
    """log(1 + exp(x)).

    >>> sg.nn.Softplus()([-2.0, 0.0, 2.0]).round(3)
    array([0.127, 0.693, 2.127])
    """


class Sigmoid(FunctionLayer, function=sigmoid):
    """1 / (1 + exp(-x)).

    >>> sg.nn.Sigmoid()([-2.0, 0.0, 2.0]).round(3)
    array([0.119, 0.5  , 0.881])
    """


class Tanh(FunctionLayer, function=tanh):
    """The hyperbolic tangent.

    >>> sg.nn.Tanh()([-2.0, 0.0, 2.0]).round(3)
    array([-0.964,  0.   ,  0.964])
    """


class Softmax(FunctionLayer, function=softmax):
    """exp(x) divided by its sum along ``axis``.

    >>> sg.nn.Softmax()([-2.0, 0.0, 2.0]).round(3)
    array([0.016, 0.117, 0.867])
    """

    axis: int = -1


class LogSoftmax(Softmax, function=log_softmax):
    """The logarithm of ``Softmax``.

    >>> sg.nn.LogSoftmax()([-2.0, 0.0, 2.0]).round(3)
    array([-4.143, -2.143, -0.143])
    """


class Softmin(Softmax, function=softmin):
    """``Softmax`` of -x.

    >>> sg.nn.Softmin()([-2.0, 0.0, 2.0]).round(3)
    array([0.867, 0.117, 0.016])
    """


class ReLU6(FunctionLayer, function=relu6):
    """x held between 0 and 6.

    >>> sg.nn.ReLU6()([-2.0, 0.0, 2.0]).round(3)
    array([0., 0., 2.])
    """


class Hardtanh(FunctionLayer, function=hardtanh):
    """x held between two numbers.

    >>> sg.nn.Hardtanh()([-2.0, 0.0, 2.0]).round(3)
    array([-1.,  0.,  1.])
    """

    min_val: float = -1.0
    max_val: float = 1.0


class Hardsigmoid(FunctionLayer, function=hardsigmoid):
    """x / 6 + 1 / 2, held between 0 and 1.

    >>> sg.nn.Hardsigmoid()([-2.0, 0.0, 2.0]).round(3)
    array([0.167, 0.5  , 0.833])
    """


class Hardswish(FunctionLayer, function=hardswish):
    """x * hardsigmoid(x).

    >>> sg.nn.Hardswish()([-2.0, 0.0, 2.0]).round(3)
    array([-0.333,  0.   ,  1.667])
    """


class Mish(FunctionLayer, function=mish):
    """x * tanh(softplus(x)).

    >>> sg.nn.Mish()([-2.0, 0.0, 2.0]).round(3)
    array([-0.253,  0.   ,  1.944])
    """


class SELU(FunctionLayer, function=selu):
    """1.0507 * (x where x > 0, else 1.6733 * (exp(x) - 1)).

    >>> sg.nn.SELU()([-2.0, 0.0, 2.0]).round(3)
    array([-1.52 ,  0.   ,  2.101])
    """


class CELU(FunctionLayer, function=celu):
    """x where x > 0, else alpha * (exp(x / alpha) - 1).

    >>> sg.nn.CELU()([-2.0, 0.0, 2.0]).round(3)
    array([-0.865,  0.   ,  2.   ])
    """

    alpha: float = 1.0


class GLU(FunctionLayer, function=glu):
    """The first half along ``axis`` times the sigmoid of the second.

    >>> sg.nn.GLU()([1.0, 2.0, 0.0, 0.0]).round(3)
    array([0.5, 1. ])
    """

    axis: int = -1


class LogSigmoid(FunctionLayer, function=log_sigmoid):
    """log(sigmoid(x)), without overflow.

    >>> sg.nn.LogSigmoid()([-2.0, 0.0, 2.0]).round(3)
    array([-2.127, -0.693, -0.127])
    """


class Softsign(FunctionLayer, function=softsign):
    """x / (1 + abs(x)).

    >>> sg.nn.Softsign()([-2.0, 0.0, 2.0]).round(3)
    array([-0.667,  0.   ,  0.667])
    """


class Tanhshrink(FunctionLayer, function=tanhshrink):
    """x - tanh(x).

    >>> sg.nn.Tanhshrink()([-2.0, 0.0, 2.0]).round(3)
    array([-1.036,  0.   ,  1.036])
    """


class Hardshrink(FunctionLayer, function=hardshrink):
    """x where abs(x) > lambd, else 0.

    >>> sg.nn.Hardshrink()([-2.0, 0.0, 2.0]).round(3)
    array([-2.,  0.,  2.])
    """

    lambd: float = 0.5


class Softshrink(FunctionLayer, function=softshrink):
    """x moved towards 0 by ``lambd``, and 0 nearer to it.

    >>> sg.nn.Softshrink()([-2.0, 0.0, 2.0]).round(3)
    array([-1.5,  0. ,  1.5])
    """

    lambd: float = 0.5


class Threshold(FunctionLayer, function=threshold):
    """x where x > threshold, else ``value``.

    >>> sg.nn.Threshold(0.5, 0.0)([-2.0, 0.0, 2.0]).round(3)
    array([0., 0., 2.])
    """

    threshold: float
    value: float
