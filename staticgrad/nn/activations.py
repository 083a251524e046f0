"""Activations as modules, for who writes them so; each is the function of its name."""

from __future__ import annotations

from typing import Any

from staticgrad.functions import sigmoid, tanh
from staticgrad.functions.nn import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    silu,
    softmax,
    softplus,
)
from staticgrad.ir.calls import public
from staticgrad.nn.module import Module


class ReLU(Module):
    """x where x > 0, else 0."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return relu(x)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x."""

    @public
    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return leaky_relu(x, self.negative_slope)


class ELU(Module):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    @public
    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return elu(x, self.alpha)


class GELU(Module):
    """x times the normal distribution function at x; ``approximate="tanh"`` as ``sg.nn.gelu``."""

    @public
    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return gelu(x, self.approximate)


class SiLU(Module):
    """x * sigmoid(x)."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return silu(x)


class Softplus(Module):
    """log(1 + exp(x))."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return softplus(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return tanh(x)


class Softmax(Module):
    """exp(x) divided by its sum along ``axis``."""

    @public
    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return softmax(x, self.axis)


class LogSoftmax(Module):
    """The logarithm of ``Softmax``."""

    @public
    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return log_softmax(x, self.axis)
