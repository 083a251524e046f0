"""Layers that normalise each example separately, or by the statistics of a batch.

Batch normalisation keeps running statistics for evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    Integer,
    Parameter,
    PositiveInt,
    UnitFloat,
    as_value,
    called_name,
    describe_operands,
    integer,
    like,
    public,
    ranks,
    shape_text,
)
from staticgrad.extend.sizes import equal
from staticgrad.functions import (
    astype,
    constant,
    expand_dims,
    maximum,
    mean as reduced_mean,
    reshape,
    size_value,
    stop_gradient,
)
from staticgrad.nn.convolutions import SpatialLayer
from staticgrad.nn.functional.normalization import (
    batch_norm,
    batch_statistics,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from staticgrad.nn.initial import first_value, source
from staticgrad.nn.module import Layer, new_layer_name
from staticgrad.nn.torch_weights import Matching


def scale_and_shift(
    module: Any, kind: str, shape: tuple[int, ...], weight: bool, bias: bool, dtype: Any
) -> None:
    """Set ``weight`` to ones and ``bias`` to zeros on a normalization layer, or None."""
    name, random = new_layer_name(kind), source(0)
    for attribute, is_there, how in (("weight", weight, "ones"), ("bias", bias, "zeros")):
        label = f"{name}.{attribute}"
        first = first_value(label, shape, how, (1, 1), random, dtype) if is_there else None
        setattr(module, attribute, first)


class _LastAxes(Layer):
    """A layer that normalises the last axes, which it takes as one."""

    normalized_shape: int | tuple[int, ...]
    eps: float
    weight: Any

    def _set_shape(self, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
        """Set ``normalized_shape``; return it as the shape of weight and bias."""
        if not isinstance(normalized_shape, list | tuple):
            self.normalized_shape = normalized_shape  # type: ignore[assignment]
            return (self.normalized_shape,)  # type: ignore[return-value]
        shape = tuple([integer("normalized_shape", size, least=0) for size in normalized_shape])
        if not shape:
            raise ArgumentError(f"{called_name()}: normalized_shape has no size")
        self.normalized_shape = shape[0] if len(shape) == 1 else shape
        return shape

    def _normalize(self, function: Callable[..., Any], x: Any, *vectors: Any) -> Any:
        """The function of rows [..., features] over the last axes of x."""
        shape = self.normalized_shape
        if not isinstance(shape, tuple):
            return function(x, *vectors, eps=self.eps)
        value: Any = as_value(x)
        text = f"{type(self).__name__}: x is {value.type}, not [..., {shape_text(shape)[1:]}"
        if value.ndim < len(shape):
            raise RankError(text, related=describe_operands(value))
        for size, expected in zip(value.shape[-len(shape) :], shape, strict=True):
            if not equal(size, expected, text):
                raise ShapeError(text, related=describe_operands(value))
        rows = reshape(value, (*value.shape[: -len(shape)], prod(shape)))
        flat = [None if vector is None else reshape(vector, (-1,)) for vector in vectors]
        return reshape(function(rows, *flat, eps=self.eps), value.shape)


class LayerNorm(_LastAxes):
    """(x - mean) / sqrt(variance + eps) along the last axis, times ``weight``, plus ``bias``.

    Args:
        normalized_shape: the size of the last axis; or the sizes of the last axes, (c, h, w), which
            are normalised as one, and are the shape of weight and bias.
        eps: added to the variance.
        elementwise_affine: whether there are weight and bias at all.
        bias: whether there is a bias, if there is a weight.
        dtype: of the parameters.

    >>> layer = sg.nn.LayerNorm(2, dtype="float64")
    >>> sg.evaluate(layer(sg.constant([[1.0, 3.0], [0.0, 20.0]]))).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    >>> sg.nn.LayerNorm((3, 8, 8))(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 8, 8)
    """

    @public
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.eps = eps
        shape, bias = self._set_shape(normalized_shape), elementwise_affine and bias
        scale_and_shift(self, "layernorm", shape, elementwise_affine, bias, dtype)

    bias: Any

    def forward(self, x: Any) -> Any:
        return self._normalize(layer_norm, x, self.weight, self.bias)


@like(LayerNorm)
class RMSNorm(_LastAxes):
    """x / sqrt(mean(x ** 2) + eps) along the last axis, times ``weight``.

    Args:
        eps: added to the mean square.
        elementwise_affine: whether there is a weight.

    >>> layer = sg.nn.RMSNorm(2)
    >>> sg.evaluate(layer(np.array([3.0, 4.0], "float32"))).round(3)
    array([0.849, 1.131], dtype=float32)
    """

    @public
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.eps = eps
        shape = self._set_shape(normalized_shape)
        scale_and_shift(self, "rmsnorm", shape, elementwise_affine, False, dtype)

    def forward(self, x: Any) -> Any:
        return self._normalize(rms_norm, x, self.weight)


class GroupNorm(Layer):
    """Normalisation of each group of channels of [n, c, ...], and of the axes after them.

    Args:
        num_groups: how many; they divide the channels.
        num_channels: the size of axis 1.
        eps: added to the variance.
        affine: whether there are a weight and a bias, a number per channel.
        dtype: of the parameters.

    >>> layer = sg.nn.GroupNorm(2, 4)
    >>> sg.evaluate(layer(np.array([[1.0, 3.0, 10.0, 30.0]], "float32"))).round(3)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    weight: Any
    bias: Any

    @public
    def __init__(
        self,
        num_groups: PositiveInt,
        num_channels: Integer,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        if num_channels % num_groups:
            raise ArgumentError(
                f"GroupNorm: {num_channels} channels are not {num_groups} equal groups"
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        scale_and_shift(self, "groupnorm", (num_channels,), affine, affine, dtype)

    def forward(self, x: Any) -> Any:
        return group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)


@like(GroupNorm)
class InstanceNorm1d(SpatialLayer):
    """Normalisation of each channel of each example [n, c, l] over the axes after the channels.

    Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022. There are no running statistics.

    Args:
        num_features: the number of channels.

    >>> layer = sg.nn.InstanceNorm1d(3)
    >>> layer(sg.input("x", ("batch", 3, 8), "float32")).shape
    (batch, 3, 8)
    """

    weight: Any
    bias: Any

    @public
    def __init__(
        self,
        num_features: Integer,
        eps: float = 1e-5,
        affine: bool = False,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.num_features = num_features
        self.eps = eps
        scale_and_shift(self, "instancenorm", (num_features,), affine, affine, dtype)

    def forward(self, x: Any) -> Any:
        """Normalize each channel of each example separately."""
        name = type(self).__name__
        value = as_value(x)
        self.require_rank(value)
        text = f"{name}: x is {value.type}, not [n, {self.num_features}, ...]"
        if not equal(value.shape[1], self.num_features, text):
            raise ShapeError(text, related=describe_operands(value))
        return instance_norm(value, weight=self.weight, bias=self.bias, eps=self.eps)


class InstanceNorm2d(InstanceNorm1d, axes=2):
    """Apply ``InstanceNorm1d`` to images [n, c, h, w].

    >>> layer = sg.nn.InstanceNorm2d(3)
    >>> layer(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 8, 8)
    """


class InstanceNorm3d(InstanceNorm1d, axes=3):
    """Apply ``InstanceNorm1d`` to volumes [n, c, d, h, w].

    >>> layer = sg.nn.InstanceNorm3d(3)
    >>> layer(sg.input("x", ("batch", 3, 4, 4, 4), "float32")).shape
    (batch, 3, 4, 4, 4)
    """


@like(InstanceNorm1d)
class BatchNorm1d(SpatialLayer):
    """Normalisation of each channel of [n, c] or [n, c, l], times ``weight``, plus ``bias``.

    In training these are the batch's, and the running ones move towards them (Ioffe and Szegedy,
    arXiv 1502.03167): ``running + momentum * (batch - running)``, the variance as an estimate,
    divided by count - 1. That is an update: of each call under ``sg.function``, at once of a
    tensor, and of each run of a graph with updates. A program without updates is refused: it would
    leave them as they are. Several batches in one step move them one after the other. After
    ``eval()`` the running ones are used, and nothing moves.

    Of several ranks (``sg.distributed``) the batch is that of all ranks, as one process would have
    it (PyTorch's ``SyncBatchNorm``): each layer exchanges its statistics in a training step.

    Args:
        eps: added to the variance.
        momentum: in [0, 1].
        affine: whether there are a weight and a bias, a number per channel.
        track_running_stats: keep running statistics; False always uses those of the batch.
        across_ranks: False takes the statistics of each rank's own rows, which the result then
            depends on, and exchanges nothing.
        dtype: of parameters and statistics.

    >>> layer = sg.nn.BatchNorm1d(3).eval()
    >>> layer(sg.input("x", ("batch", 3, 8), "float32")).shape
    (batch, 3, 8)
    """

    states = ("running_mean", "running_var")
    ranks = (2, 3)
    weight: Any
    bias: Any
    running_mean: Parameter | None
    running_var: Parameter | None

    @public
    def __init__(
        self,
        num_features: Integer,
        eps: float = 1e-5,
        momentum: UnitFloat = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        across_ranks: bool = True,
        dtype: Any = "float32",
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.across_ranks = across_ranks
        scale_and_shift(self, "batchnorm", (num_features,), affine, affine, dtype)
        self.running_mean = self.running_var = None
        if track_running_stats:
            name, init_options = new_layer_name("running"), ((1, 1), source(0), dtype)
            self.running_mean = first_value(f"{name}.mean", (num_features,), "zeros", *init_options)
            self.running_var = first_value(f"{name}.var", (num_features,), "ones", *init_options)

    def _has_modes(self) -> bool:
        return self.running_mean is not None

    def forward(self, x: Any) -> Any:
        """Normalize by batch statistics in training, which move the running ones; else by those."""
        x = as_value(x)
        self.require_rank(x)
        mean, var = self.running_mean, self.running_var
        if not self.training and mean is not None and var is not None:
            running_moments = stop_gradient(mean), stop_gradient(var)
            return batch_norm(
                x, weight=self.weight, bias=self.bias, statistics=running_moments, eps=self.eps
            )
        job = ranks.running() if self.training and self.across_ranks else None
        count = 1 if job is None else job.ranks
        if count == 1 and (mean is None or var is None):
            return batch_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        wide = astype(x, x.dtype.compute)
        moments = batch_statistics(wide) if count == 1 else _statistics_of_ranks(wide, count)
        if mean is not None and var is not None:
            self._move(mean, moments[0], 1.0)
            self._move(var, moments[1], _unbias_factor(wide, count))
        if count == 1:
            # Narrow floats: only the result is rounded, so moments of the compute type go unused.
            reused_moments = moments if wide is x else None
            return batch_norm(
                x, weight=self.weight, bias=self.bias, statistics=reused_moments, eps=self.eps
            )
        out = batch_norm(wide, weight=self.weight, bias=self.bias, statistics=moments, eps=self.eps)
        return astype(out, x.dtype)

    def _torch_layouts(self) -> Iterator[Matching]:
        if self.running_mean is not None:
            yield Matching((), ("num_batches_tracked",), lambda _: (), lambda _: (np.array(0),))

    def _move(self, running: Parameter, batch_value: Any, factor: Any) -> None:
        new = astype(stop_gradient(batch_value), running.dtype.compute) * factor
        old = stop_gradient(running) if self.momentum < 1.0 else new
        old = astype(old, running.dtype.compute)
        running.update(astype(old + self.momentum * (new - old), running.dtype))


def _statistics_of_ranks(x: Any, count: int) -> tuple[Any, Any]:
    """Compute mean and variance per channel over the rows of all ranks, by two exchanges."""
    rows, others = ranks.rows_of("BatchNorm", x), tuple(k for k in range(x.ndim) if k != 1)
    (average,) = ranks.means(count, [reduced_mean(x, others)], rows)
    deviation = x - expand_dims(average, (0, *range(2, x.ndim)))
    (variance,) = ranks.means(count, [reduced_mean(deviation * deviation, others)], rows)
    return average, variance


def _unbias_factor(x: Any, ranks_count: int = 1) -> Any:
    """Return n / (n - 1), which makes the batch variance unbiased for the running one."""
    sizes = [size for axis, size in enumerate(x.shape) if axis != 1]
    if ranks_count == 1 and all(isinstance(size, int) for size in sizes):
        count = prod(sizes)
        return count / max(count - 1, 1)
    elements: Any = constant(1.0, x.dtype)
    for size in sizes:
        elements = elements * size_value(size, x.dtype)
    if ranks_count > 1:
        (average,) = ranks.means(ranks_count, [elements])
        elements = average * ranks_count
    return elements / maximum(elements - 1.0, 1.0)


class BatchNorm2d(BatchNorm1d, axes=2):
    """Apply ``BatchNorm1d`` to images [n, c, h, w].

    >>> layer = sg.nn.BatchNorm2d(3).eval()
    >>> layer(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 8, 8)
    """


class BatchNorm3d(BatchNorm1d, axes=3):
    """Apply ``BatchNorm1d`` to volumes [n, c, d, h, w].

    >>> layer = sg.nn.BatchNorm3d(3).eval()
    >>> layer(sg.input("x", ("batch", 3, 4, 4, 4), "float32")).shape
    (batch, 3, 4, 4, 4)
    """
