"""Layers of products with a matrix, and of shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from staticgrad.functions import matmul, reshape
from staticgrad.functions.layers import bilinear
from staticgrad.ir.calls import public
from staticgrad.ir.kinds import AnyValue, Operand
from staticgrad.nn.initial import Initial, Seed, weight_and_bias
from staticgrad.nn.module import Layer
from staticgrad.nn.naming import named
from staticgrad.ops.operands import axis_of


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


class Bilinear(Layer):
    """``x1 @ weight[k] @ x2 + bias[k]`` for each k, of x1 [..., in1] and x2 [..., in2].

    Args:
        in1_features, in2_features, out_features: sizes; weight is [out, in1, in2].
        bias: whether there is one, [out_features].
        init, dtype, seed: as ``Linear``.

    Raises:
        ArgumentError: as ``Linear``.

    >>> import staticgrad as sg
    >>> layer = sg.nn.Bilinear(3, 4, 2)
    >>> x, y = sg.input("x", ("batch", 3), "float32"), sg.input("y", ("batch", 4), "float32")
    >>> layer(x, y).shape
    (batch, 2)
    """

    @public
    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        self.weight, self.bias = weight_and_bias(
            named("bilinear"),
            (out_features, in1_features, in2_features),
            out_features if bias else None,
            (in1_features, out_features),
            (init, dtype, seed),
        )

    def forward(self, x1: Any, x2: Any) -> Any:
        """[..., out_features]."""
        return bilinear(x1, x2, self.weight, self.bias)

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, x1: Operand[AnyValue], x2: Operand[AnyValue]
        ) -> AnyValue: ...


class Flatten(Layer):
    """Some axes as one, by default all but the first: [n, c, h, w] becomes [n, c * h * w].

    Args:
        start_dim, end_dim: the first of them and the last.

    >>> import staticgrad as sg
    >>> sg.nn.Flatten()(sg.input("x", ("batch", 3, 4, 4), "float32")).shape
    (batch, 48)
    """

    @public
    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        """The axes before, one more, and the axes behind."""
        first, last = (axis_of("Flatten", axis, x) for axis in (self.start_dim, self.end_dim))
        return reshape(x, (*x.shape[:first], -1, *x.shape[last + 1 :]))
