"""Layers that normalise each example by itself."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.families import like
from staticgrad.functions.nn import group_norm, layer_norm, rms_norm
from staticgrad.ir.calls import public
from staticgrad.nn.initial import first_value, source
from staticgrad.nn.module import Layer, named
from staticgrad.ops.operands import integer


def scale_and_shift(
    module: Any, kind: str, size: int, weight: bool, bias: bool, dtype: Any
) -> None:
    """Give a module ``weight``, ones at first, and ``bias``, zeros at first; or None."""
    name, random = named(kind), source(0)
    for attribute, is_there, how in (("weight", weight, "ones"), ("bias", bias, "zeros")):
        label = f"{name}.{attribute}"
        made = first_value(label, (size,), how, (1, 1), random, dtype) if is_there else None
        setattr(module, attribute, made)


class LayerNorm(Layer):
    """(x - mean) / sqrt(variance + eps) along the last axis, times ``weight``, plus ``bias``.

    Args:
        normalized_shape: the size of the last axis.
        eps: added to the variance.
        elementwise_affine: whether there are weight and bias at all.
        bias: whether there is a bias, if there is a weight.
        dtype: of the parameters.

    >>> import staticgrad as sg
    >>> layer = sg.nn.LayerNorm(2, dtype="float64")
    >>> sg.evaluate(layer(sg.constant([[1.0, 3.0], [0.0, 20.0]]))).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    @public
    def __init__(
        self,
        normalized_shape: int,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape, self.eps = normalized_shape, eps
        scale_and_shift(
            self,
            "layernorm",
            normalized_shape,
            elementwise_affine,
            elementwise_affine and bias,
            dtype,
        )

    weight: Any
    bias: Any

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return layer_norm(x, self.weight, self.bias, self.eps)


@like(LayerNorm)
class RMSNorm(Layer):
    """x / sqrt(mean(x ** 2) + eps) along the last axis, times ``weight``.

    Args:
        eps: added to the mean square.
        elementwise_affine: whether there is a weight.

    >>> import staticgrad as sg
    >>> layer = sg.nn.RMSNorm(2, dtype="float64")
    >>> sg.evaluate(layer(sg.constant([[3.0, 3.0], [0.0, -2.0]]))).round(3)
    array([[ 1.   ,  1.   ],
           [ 0.   , -1.414]])
    """

    weight: Any

    @public
    def __init__(
        self,
        normalized_shape: int,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape, self.eps = normalized_shape, eps
        scale_and_shift(self, "rmsnorm", normalized_shape, elementwise_affine, False, dtype)

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return rms_norm(x, self.weight, self.eps)


class GroupNorm(Layer):
    """Each group of channels of [n, c, ...], with the axes behind, by its mean and variance.

    Args:
        num_groups: how many; they divide the channels.
        num_channels: the size of axis 1.
        eps: added to the variance.
        affine: whether there are a weight and a bias, a number per channel.
        dtype: of the parameters.

    Raises:
        ArgumentError: groups that do not divide the channels.

    >>> import staticgrad as sg
    >>> layer = sg.nn.GroupNorm(2, 4, dtype="float64")
    >>> sg.evaluate(layer(sg.constant([[0.0, 2.0, 10.0, 10.0]]))).round(3)
    array([[-1.,  1.,  0.,  0.]])
    """

    weight: Any
    bias: Any

    @public
    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        num_groups = integer("GroupNorm", "num_groups", num_groups)
        num_channels = integer("GroupNorm", "num_channels", num_channels)
        if num_groups < 1 or num_channels % num_groups:
            raise ArgumentError(
                f"GroupNorm: {num_channels} channels are not {num_groups} equal groups"
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        scale_and_shift(self, "groupnorm", num_channels, affine, affine, dtype)

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)
