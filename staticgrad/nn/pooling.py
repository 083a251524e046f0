"""Windows of which one number is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from staticgrad.errors import RankError
from staticgrad.functions.pooling import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    max_pool,
)
from staticgrad.functions.window_arguments import Padding, PerAxis
from staticgrad.ir.calls import public
from staticgrad.nn.module import Module


class OfPlaces(Module):
    """A layer of [n, c, places...], of so many axes of places."""

    places: ClassVar[int] = 1

    def check(self, x: Any) -> None:
        """Refuse an operand of another rank.

        Raises:
            RankError: with its type.
        """
        if x.ndim != 2 + self.places:
            raise RankError(f"{type(self).__name__}: x is {x.type}, not of {2 + self.places} axes")


class MaxPool1d(OfPlaces):
    """The largest element of each window of [n, c, l]; arguments as ``sg.nn.max_pool``."""

    @public
    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        dilation: PerAxis = 1,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.dilation = padding, dilation

    def forward(self, x: Any) -> Any:
        """[n, c, windows...]."""
        self.check(x)
        options: Any = {"padding": self.padding, "dilation": self.dilation}
        return max_pool(x, self.kernel_size, stride=self.stride, **options)


class MaxPool2d(MaxPool1d):
    """As ``MaxPool1d``, of images [n, c, h, w]."""

    places = 2


class MaxPool3d(MaxPool1d):
    """As ``MaxPool1d``, of volumes [n, c, d, h, w]."""

    places = 3


class AvgPool1d(OfPlaces):
    """The mean of each window of [n, c, l]; arguments as ``sg.nn.avg_pool``.

    ``count_include_pad``, True here as elsewhere, lets the zeros around count.
    """

    @public
    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Any:
        """[n, c, windows...]."""
        self.check(x)
        options: Any = {"padding": self.padding, "count_padding": self.count_include_pad}
        return avg_pool(x, self.kernel_size, stride=self.stride, **options)


class AvgPool2d(AvgPool1d):
    """As ``AvgPool1d``, of images [n, c, h, w]."""

    places = 2


class AvgPool3d(AvgPool1d):
    """As ``AvgPool1d``, of volumes [n, c, d, h, w]."""

    places = 3


class _Adaptive(OfPlaces):
    """A pool of ``output_size`` parts along each axis of places."""

    pool: ClassVar[Callable[..., Any]]

    @public
    def __init__(self, output_size: int | tuple[int, ...]) -> None:
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        """[n, c, output_size...]."""
        self.check(x)
        return type(self).pool(x, self.output_size)


class AdaptiveAvgPool1d(_Adaptive):
    """Means of ``output_size`` parts of nearly equal size of [n, c, l]."""

    pool = staticmethod(adaptive_avg_pool)


class AdaptiveAvgPool2d(AdaptiveAvgPool1d):
    """As ``AdaptiveAvgPool1d``, of images [n, c, h, w]."""

    places = 2


class AdaptiveMaxPool1d(_Adaptive):
    """The largest elements of ``output_size`` parts of nearly equal size of [n, c, l]."""

    pool = staticmethod(adaptive_max_pool)


class AdaptiveMaxPool2d(AdaptiveMaxPool1d):
    """As ``AdaptiveMaxPool1d``, of images [n, c, h, w]."""

    places = 2
