"""Activations as modules: the functions of ``sg`` and ``sg.nn``."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.eager.layers import Module
from staticgrad.functions import maximum, nn, sigmoid, tanh


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
    """x times the normal distribution function at x; its limit, 0, at -inf."""

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        lowest = float(np.finfo(x.dtype.numpy).min)
        return nn.gelu(maximum(x, lowest))


class Softmax(Module):
    """exp(x) divided by its sum along ``axis``."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return nn.softmax(x, self.axis)
