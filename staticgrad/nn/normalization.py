"""Layers that normalise each example by itself."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.families import like
from staticgrad.functions.images.channel_norms import instance_norm
from staticgrad.functions.nn import group_norm, layer_norm, rms_norm
from staticgrad.ir.calls import public
from staticgrad.nn.initial import first_value, source
from staticgrad.nn.module import Layer
from staticgrad.nn.naming import named
from staticgrad.nn.spatial import SpatialLayer
from staticgrad.ops.operands import as_value, integer, related
from staticgrad.types.dim import equal


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


class InstanceNorm1d(SpatialLayer):
    """Each channel of each example [n, c, l] by its own mean and variance along the axes behind.

    Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022. There are no running statistics.

    Args:
        num_features: the number of channels.
        eps: added to the variance.
        affine: whether there are a weight and a bias, a number per channel.
        dtype: of the parameters.

    Raises:
        RankError, ShapeError: an operand of another rank, or of other channels.

    >>> import staticgrad as sg
    >>> layer = sg.nn.InstanceNorm1d(2)
    >>> sg.evaluate(layer(sg.constant([[[0.0, 2.0], [30.0, 10.0]]]))).round(3)
    array([[[-1.,  1.],
            [ 1., -1.]]])
    """

    weight: Any
    bias: Any

    @public
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        affine: bool = False,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.num_features = integer(type(self).__name__, "num_features", num_features)
        self.eps = eps
        scale_and_shift(self, "instancenorm", self.num_features, affine, affine, dtype)

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        name = type(self).__name__
        value = as_value(name, x)
        self.require_rank(value)
        text = f"{name}: x is {value.type}, not [n, {self.num_features}, ...]"
        if not equal(value.shape[1], self.num_features, text):
            raise ShapeError(text, related=related(value))
        return instance_norm(value, self.weight, self.bias, eps=self.eps)


class InstanceNorm2d(InstanceNorm1d, axes=2):
    """Apply ``InstanceNorm1d`` to images [n, c, h, w]."""


class InstanceNorm3d(InstanceNorm1d, axes=3):
    """Apply ``InstanceNorm1d`` to volumes [n, c, d, h, w]."""
