"""Windows of which one number is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from staticgrad.errors import RankError
from staticgrad.families import like
from staticgrad.functions.images.arguments import Padding, PerAxis
from staticgrad.functions.images.pooling import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    max_pool,
)
from staticgrad.ir.calls import public
from staticgrad.nn.module import Layer


class OfPlaces(Layer):
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
    """The largest element of each window of [n, c, l]; NaN wins.

    Args:
        kernel_size: taps of a window, for all axes of places or for each.
        stride: places from one window to the next; by default as many as taps.
        padding: places around, which never are the largest.
        dilation: places from one tap to the next.
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
        self.check(x)
        options: Any = {"dilation": self.dilation, "ceil_mode": self.ceil_mode}
        return max_pool(x, self.kernel_size, stride=self.stride, padding=self.padding, **options)


@like(MaxPool1d)
class MaxPool2d(MaxPool1d):
    """As ``MaxPool1d``, of images [n, c, h, w].

    >>> import staticgrad as sg
    >>> sg.nn.MaxPool2d(2)(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 4, 4)
    """

    places = 2


@like(MaxPool1d)
class MaxPool3d(MaxPool1d):
    """As ``MaxPool1d``, of volumes [n, c, d, h, w].

    >>> import staticgrad as sg
    >>> sg.nn.MaxPool3d(2)(sg.input("x", ("batch", 3, 8, 8, 8), "float32")).shape
    (batch, 3, 4, 4, 4)
    """

    places = 3


class AvgPool1d(OfPlaces):
    """The mean of each window of [n, c, l].

    Args:
        kernel_size: taps of a window, for all axes of places or for each.
        stride: places from one window to the next; by default as many as taps.
        padding: zeros around.
        count_include_pad: whether these count; True here as elsewhere.
        ceil_mode: whether a last window that begins inside counts although it reaches further.

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
        count_include_pad: bool = True,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad, self.ceil_mode = count_include_pad, ceil_mode

    def forward(self, x: Any) -> Any:
        """[n, c, windows...]."""
        self.check(x)
        options: Any = {"ceil_mode": self.ceil_mode, "count_padding": self.count_include_pad}
        return avg_pool(x, self.kernel_size, stride=self.stride, padding=self.padding, **options)


@like(AvgPool1d)
class AvgPool2d(AvgPool1d):
    """As ``AvgPool1d``, of images [n, c, h, w].

    >>> import staticgrad as sg
    >>> sg.nn.AvgPool2d(2)(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 4, 4)
    """

    places = 2


@like(AvgPool1d)
class AvgPool3d(AvgPool1d):
    """As ``AvgPool1d``, of volumes [n, c, d, h, w].

    >>> import staticgrad as sg
    >>> sg.nn.AvgPool3d(2)(sg.input("x", ("batch", 3, 8, 8, 8), "float32")).shape
    (batch, 3, 4, 4, 4)
    """

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
    """Means of ``output_size`` parts of nearly equal size of [n, c, l].

    Args:
        output_size: how many parts, for all axes of places or for each.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.nn.AdaptiveAvgPool1d(2)(sg.constant([[[1.0, 3.0, 2.0, 0.0]]])))
    array([[[2., 1.]]])
    """

    pool = staticmethod(adaptive_avg_pool)


@like(AdaptiveAvgPool1d)
class AdaptiveAvgPool2d(AdaptiveAvgPool1d):
    """As ``AdaptiveAvgPool1d``, of images [n, c, h, w].

    >>> import staticgrad as sg
    >>> sg.nn.AdaptiveAvgPool2d(1)(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 1, 1)
    """

    places = 2


class AdaptiveMaxPool1d(_Adaptive):
    """The largest elements of ``output_size`` parts of nearly equal size of [n, c, l].

    Args:
        output_size: how many parts, for all axes of places or for each.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.nn.AdaptiveMaxPool1d(2)(sg.constant([[[1.0, 3.0, 2.0, 0.0]]])))
    array([[[3., 2.]]])
    """

    pool = staticmethod(adaptive_max_pool)


@like(AdaptiveMaxPool1d)
class AdaptiveMaxPool2d(AdaptiveMaxPool1d):
    """As ``AdaptiveMaxPool1d``, of images [n, c, h, w].

    >>> import staticgrad as sg
    >>> sg.nn.AdaptiveMaxPool2d(2)(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 2, 2)
    """

    places = 2
