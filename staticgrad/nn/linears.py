"""Layers of products with a matrix, and of shapes."""

from __future__ import annotations

from typing import Any

from staticgrad.functions import matmul, reshape
from staticgrad.ir.calls import public
from staticgrad.nn.initial import Initial, Seed, weight_and_bias
from staticgrad.nn.module import Layer, named


class Linear(Layer):
    """``x @ weight + bias``, for x [..., in_features]: [..., out_features].

    Args:
        in_features, out_features: sizes; weight is [in_features, out_features].
        bias: whether there is one, [out_features].
        init: first values of the weight, by name or as a function (``nn/initial.py``); those of
            the bias are "uniform", too.
        dtype: of the parameters.
        seed: a number or a generator of NumPy; by default that of ``manual_seed``.

    Raises:
        ArgumentError: a size below 0, or an unknown ``init``.

    >>> import staticgrad as sg
    >>> layer = sg.nn.Linear(3, 2)
    >>> layer
    Linear(3, 2): weight f32[3, 2], bias f32[2]
    >>> layer(sg.input("x", ("batch", 3), "float32")).shape
    (batch, 2)
    """

    @public
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        fans = (in_features, out_features)
        self.weight, self.bias = weight_and_bias(
            named("linear"), fans, out_features if bias else None, fans, (init, dtype, seed)
        )

    def forward(self, x: Any) -> Any:
        """[..., out_features]."""
        out = matmul(x, self.weight)
        return out if self.bias is None else out + self.bias


class Flatten(Layer):
    """The axes from ``start`` on as one: [n, c, h, w] becomes [n, c * h * w].

    Args:
        start: the first of them.

    >>> import staticgrad as sg
    >>> sg.nn.Flatten()(sg.input("x", ("batch", 3, 4, 4), "float32")).shape
    (batch, 48)
    """

    @public
    def __init__(self, start: int = 1) -> None:
        self.start = start

    def forward(self, x: Any) -> Any:
        """The leading axes, and one more."""
        return reshape(x, (*x.shape[: self.start], -1))
