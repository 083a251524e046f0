"""Normalisation by the statistics of a batch, which are kept for use."""

from __future__ import annotations

from math import prod
from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.functions import astype, constant, size_value, stop_gradient
from staticgrad.functions.nn import batch_norm, batch_statistics
from staticgrad.ir.calls import public
from staticgrad.ir.nodes import Parameter
from staticgrad.ir.session import running_session
from staticgrad.nn.initial import first_value, source
from staticgrad.nn.naming import named
from staticgrad.nn.normalization import scale_and_shift
from staticgrad.nn.spatial import SpatialLayer
from staticgrad.ops.operands import is_number


class BatchNorm1d(SpatialLayer):
    """Each channel of [n, c] or [n, c, l] by mean and variance, times ``weight``, plus ``bias``.

    In training these are the batch's, and the running ones move towards them (Ioffe and Szegedy,
    arXiv 1502.03167): ``running + momentum * (batch - running)``, the variance as an estimate,
    divided by count - 1. That is an update: of each call under ``sg.function``, at once of a
    tensor; building a graph by hand, ``with sg.nn.updates() as updates`` collects it. Several
    batches in one step move them one after the other. After ``eval()`` the running ones are used,
    and nothing moves.

    Args:
        num_features: the number of channels.
        eps: added to the variance.
        momentum: in [0, 1].
        affine: whether there are a weight and a bias, a number per channel.
        track_running_stats: whether running statistics are kept; without, the batch's serve always.
        dtype: of parameters and statistics.

    Raises:
        ArgumentError: a momentum outside of [0, 1]. RankError: an operand of another rank.

    >>> import numpy as np, staticgrad as sg
    >>> layer = sg.nn.BatchNorm1d(1)
    >>> call = sg.function(layer)
    >>> call(np.array([[0.0], [2.0]], "float32")).round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> layer.running_mean.value
    array([0.1], dtype=float32)
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
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        if not is_number(momentum) or not 0.0 <= momentum <= 1.0:
            raise ArgumentError(f"BatchNorm: the momentum {momentum} is not in [0, 1]")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        scale_and_shift(self, "batchnorm", num_features, affine, affine, dtype)
        self.running_mean = self.running_var = None
        if track_running_stats:
            name, rest = named("running"), ((1, 1), source(0), dtype)
            self.running_mean = first_value(f"{name}.mean", (num_features,), "zeros", *rest)
            self.running_var = first_value(f"{name}.var", (num_features,), "ones", *rest)

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        self.require_rank(x)
        mean, var = self.running_mean, self.running_var
        if mean is None or var is None:
            return batch_norm(x, self.weight, self.bias, eps=self.eps)
        if not self.training:
            kept = stop_gradient(mean), stop_gradient(var)
            return batch_norm(x, self.weight, self.bias, statistics=kept, eps=self.eps)
        found = batch_statistics(x)
        self._move(mean, found[0], 1.0)
        self._move(var, found[1], _correction(x))
        return batch_norm(x, self.weight, self.bias, statistics=found, eps=self.eps)

    def _move(self, kept: Parameter, found: Any, factor: Any) -> None:
        """Let a running statistic go towards that of the batch."""
        session = running_session()
        earlier = None if session is None else session.taken_back(kept)  # by another batch
        new = astype(stop_gradient(found), kept.dtype) * factor
        old = stop_gradient(kept if earlier is None else earlier) if self.momentum < 1.0 else new
        kept.update(astype(old + self.momentum * (new - old), kept.dtype))


def _correction(x: Any) -> Any:
    """count / (count - 1), of so many elements per channel; 1 of one."""
    sizes = [size for axis, size in enumerate(x.shape) if axis != 1]
    if all(isinstance(size, int) for size in sizes):
        count = prod(sizes)
        return count / max(count - 1, 1)
    many: Any = constant(1.0, x.dtype)
    for size in sizes:
        many = many * size_value(size, x.dtype)
    return many / (many - 1.0)


class BatchNorm2d(BatchNorm1d, axes=2):
    """Apply ``BatchNorm1d`` to images [n, c, h, w].

    >>> import staticgrad as sg
    >>> sg.nn.BatchNorm2d(8)
    BatchNorm2d(8): weight f32[8], bias f32[8], running_mean f32[8], running_var f32[8]
    """


class BatchNorm3d(BatchNorm1d, axes=3):
    """Apply ``BatchNorm1d`` to volumes [n, c, d, h, w]."""
