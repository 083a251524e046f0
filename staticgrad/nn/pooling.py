"""Pooling layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from staticgrad.functions.images.arguments import Padding, PerAxis
from staticgrad.functions.images.pooling import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    max_pool,
)
from staticgrad.ir.calls import public
from staticgrad.nn.spatial import SpatialLayer


class MaxPool1d(SpatialLayer):
    """The largest element of each window of [n, c, l]; NaN wins.

    Args:
        kernel_size: taps of a window, for all spatial axes or for each.
        stride: elements from one window to the next; by default as many as taps.
        padding: elements around, which are never the largest.
        dilation: elements from one tap to the next.
        ceil_mode: whether a last window that begins inside counts although it reaches further.

    >>> import numpy as np, staticgrad as sg
    >>> sg.evaluate(sg.nn.MaxPool1d(2)(sg.constant([[[1.0, 3.0, 2.0, 0.0]]])))
    array([[[3., 2.]]])
    """

    @public
    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x: Any) -> Any:
        """[n, c, windows...]."""
        self.require_rank(x)
        options: Any = {"dilation": self.dilation, "ceil_mode": self.ceil_mode}
        return max_pool(x, self.kernel_size, stride=self.stride, padding=self.padding, **options)


class MaxPool2d(MaxPool1d, axes=2):
    """Apply ``MaxPool1d`` to images [n, c, h, w].

    >>> import staticgrad as sg
    >>> sg.nn.MaxPool2d(2)(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 4, 4)
    """


class MaxPool3d(MaxPool1d, axes=3):
    """Apply ``MaxPool1d`` to volumes [n, c, d, h, w]."""


class AvgPool1d(SpatialLayer):
    """The mean of each window of [n, c, l].

    Args:
        kernel_size: taps of a window, for all spatial axes or for each.
        stride: elements from one window to the next; by default as many as taps.
        padding: zeros around.
        ceil_mode: whether a last window that begins inside counts although it reaches further.
        count_include_pad: whether zeros around count.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.nn.AvgPool1d(2)(sg.constant([[[1.0, 3.0, 2.0, 0.0]]])))
    array([[[2., 1.]]])
    """

    @public
    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad, self.ceil_mode = count_include_pad, ceil_mode

    def forward(self, x: Any) -> Any:
        """[n, c, windows...]."""
        self.require_rank(x)
        options: Any = {"ceil_mode": self.ceil_mode, "count_include_pad": self.count_include_pad}
        return avg_pool(x, self.kernel_size, stride=self.stride, padding=self.padding, **options)


class AvgPool2d(AvgPool1d, axes=2):
    """Apply ``AvgPool1d`` to images [n, c, h, w]."""


class AvgPool3d(AvgPool1d, axes=3):
    """Apply ``AvgPool1d`` to volumes [n, c, d, h, w]."""


class _Adaptive(SpatialLayer):
    """A pool of ``output_size`` parts along each spatial axis."""

    pool: ClassVar[Callable[..., Any]]

    @public
    def __init__(self, output_size: int | tuple[int, ...]) -> None:
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        """[n, c, output_size...]."""
        self.require_rank(x)
        return type(self).pool(x, self.output_size)


class AdaptiveAvgPool1d(_Adaptive):
    """Means of ``output_size`` parts of nearly equal size of [n, c, l].

    Args:
        output_size: how many parts, for all spatial axes or for each.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.nn.AdaptiveAvgPool1d(2)(sg.constant([[[1.0, 3.0, 2.0, 0.0]]])))
    array([[[2., 1.]]])
    """

    pool = staticmethod(adaptive_avg_pool)


class AdaptiveAvgPool2d(AdaptiveAvgPool1d, axes=2):
    """Apply ``AdaptiveAvgPool1d`` to images [n, c, h, w]."""


class AdaptiveMaxPool1d(_Adaptive):
    """The largest elements of ``output_size`` parts of nearly equal size of [n, c, l].

    Args:
        output_size: how many parts, for all spatial axes or for each.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.nn.AdaptiveMaxPool1d(2)(sg.constant([[[1.0, 3.0, 2.0, 0.0]]])))
    array([[[3., 2.]]])
    """

    pool = staticmethod(adaptive_max_pool)


class AdaptiveMaxPool2d(AdaptiveMaxPool1d, axes=2):
    """Apply ``AdaptiveMaxPool1d`` to images [n, c, h, w]."""
