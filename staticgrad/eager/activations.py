"""Activations as modules: the functions of ``sg`` and ``sg.nn``."""

from __future__ import annotations

from typing import Any

from staticgrad.eager.layers import Module
from staticgrad.ops import nn, sigmoid, tanh


class ReLU(Module):
    """x where x > 0, else 0."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return nn.relu(x)


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


class GELU(Module):
    """x times the normal distribution function at x."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return nn.gelu(x)


class Softmax(Module):
    """exp(x) divided by its sum along ``axis``."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return nn.softmax(x, self.axis)
