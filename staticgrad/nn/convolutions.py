"""Convolutions, their transposes, and pooling layers, over one, two or three spatial axes.

One class is written; those over more axes are derived from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from math import prod
from typing import Any, ClassVar, Literal

from staticgrad.errors import ArgumentError, RankError
from staticgrad.extend import (
    Integer,
    PositiveInt,
    as_value,
    called_name,
    describe_operands,
    like,
    public,
)
from staticgrad.extend.windows import (
    Padding,
    PerAxis,
    per_axis,
    windows_over,
)
from staticgrad.functions.arrange import PadMode, pad
from staticgrad.nn.functional.images.windows import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    conv,
    conv_transpose,
    max_pool,
)
from staticgrad.nn.initial import Initial, Seed, weight_and_bias
from staticgrad.nn.module import FunctionLayer, Layer, new_layer_name

#: What lies in the border of an image, in PyTorch's words -> the mode of ``sg.pad``.
BorderMode = Literal["zeros", "reflect", "replicate", "circular"]
_BORDERS: dict[str, PadMode] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class SpatialLayer(Layer):
    """A layer of [n, c, ...] with ``axes`` spatial axes.

    ``class Conv2d(Conv1d, axes=2)`` is the layer over two axes: it has the signature of ``Conv1d``,
    and its docstring says what that of ``Conv1d`` says of arguments and errors.
    """

    axes: ClassVar[int] = 1
    ranks: ClassVar[tuple[int, ...]] = (3,)

    def __init_subclass__(cls, axes: int | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if axes is not None:
            cls.axes, cls.ranks = axes, (2 + axes,)
            like(cls.__bases__[0])(cls)

    def require_rank(self, x: Any) -> None:
        """Raise a RankError if the input of a convolution or pooling layer has another rank."""
        value: Any = as_value(x)
        if value.ndim not in self.ranks:
            ranks = " or ".join(map(str, self.ranks))
            raise RankError(
                f"{type(self).__name__}: x is {value.type}, not of {ranks} axes, [n, c, ...]",
                related=describe_operands(value),
            )


class _Filters(SpatialLayer):
    """A layer with filters [channels, channels in a group, taps...]."""

    stride: PerAxis
    padding: Padding
    dilation: PerAxis
    groups: int

    def _fill(
        self,
        name: str,
        sizes: tuple[int, int, PerAxis],
        bias: bool,
        init_dtype_seed: tuple[Initial, Any, Seed],
        transposed: bool = False,
    ) -> None:
        """Set channels, kernel size, weight and bias of a convolution layer."""
        self.in_channels, self.out_channels, kernel_size = sizes
        self.kernel_size = per_axis("kernel_size", kernel_size, self.axes)
        channels = self.in_channels, self.out_channels
        second, first = channels[::-1] if transposed else channels
        channels_per_group = channels_in_groups((second, first), self.groups)
        taps = prod(self.kernel_size)
        self.weight, self.bias = weight_and_bias(
            new_layer_name(name),
            (first, channels_per_group, *self.kernel_size),
            self.out_channels if bias else None,
            (channels_per_group * taps, first * taps // self.groups),
            init_dtype_seed,
        )

    def _convolve(self, function: Callable[..., Any], x: Any, **options: Any) -> Any:
        for name in ("stride", "dilation", "groups"):
            options[name] = getattr(self, name)
        return function(x, self.weight, self.bias, **options)


class Conv1d(_Filters):
    """The cross-correlation of [n, in_channels, l] with filters: [n, out_channels, windows].

    Args:
        in_channels, out_channels: sizes.
        kernel_size: taps, for all spatial axes or for each; weight is [out_channels,
            in_channels / groups, taps...].
        stride, padding, dilation, groups: as ``sg.nn.conv``; padding may be "same".
        bias: True adds a bias, [out_channels].
        padding_mode: what lies in the border: "zeros", "reflect", the nearest element
            ("replicate"), or the other end ("circular").
        init, dtype, seed: as ``Linear``; a filter's inputs are in_channels / groups times its taps.

    >>> layer = sg.nn.Conv1d(2, 4, kernel_size=3)
    >>> layer(sg.input("x", ("batch", 2, 10), "float32")).shape
    (batch, 4, 8)
    """

    @public
    def __init__(
        self,
        in_channels: Integer,
        out_channels: Integer,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        groups: PositiveInt = 1,
        bias: bool = True,
        padding_mode: BorderMode = "zeros",
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.padding_mode = padding_mode
        sizes = in_channels, out_channels, kernel_size
        self._fill("conv", sizes, bias, (init, dtype, seed))

    def forward(self, x: Any) -> Any:
        """[n, out_channels, windows...]."""
        if self.padding_mode == "zeros":
            return self._convolve(conv, x, padding=self.padding)
        self.require_rank(x)
        value: Any = as_value(x)
        windows = windows_over(value, self.kernel_size, self.stride, self.padding, self.dilation)
        borders = zip(windows.before, windows.after, strict=True)
        padded = pad(value, ((0, 0), (0, 0), *borders), _BORDERS[self.padding_mode])
        return self._convolve(conv, padded, padding="valid")


class Conv2d(Conv1d, axes=2):
    """Apply ``Conv1d`` to images [n, in_channels, h, w].

    >>> layer = sg.nn.Conv2d(3, 8, kernel_size=3, padding=1)
    >>> layer(sg.input("x", ("batch", 3, 32, 32), "float32")).shape
    (batch, 8, 32, 32)
    """


class Conv3d(Conv1d, axes=3):
    """Apply ``Conv1d`` to volumes [n, in_channels, d, h, w].

    >>> sg.nn.Conv3d(1, 4, 3)(sg.input("x", ("batch", 1, 8, 8, 8), "float32")).shape
    (batch, 4, 6, 6, 6)
    """


@like(Conv1d)
class ConvTranspose1d(_Filters):
    """``Conv1d`` transposed: each element of [n, in_channels, l] spreads over a window.

    Args:
        kernel_size: taps, for all spatial axes or for each; weight is [in_channels,
            out_channels / groups, taps...].
        stride, padding, dilation, groups: of the convolution that is transposed.
        output_padding: further elements at the end of each axis.

    >>> sg.nn.ConvTranspose1d(4, 2, 3, stride=2)(sg.input("x", ("batch", 4, 8), "float32")).shape
    (batch, 2, 17)
    """

    @public
    def __init__(
        self,
        in_channels: Integer,
        out_channels: Integer,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: Padding = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: PositiveInt = 1,
        bias: bool = True,
        dilation: PerAxis = 1,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.output_padding = output_padding
        sizes = in_channels, out_channels, kernel_size
        self._fill("convtranspose", sizes, bias, (init, dtype, seed), transposed=True)

    def forward(self, x: Any) -> Any:
        """[n, out_channels, image...]."""
        options = {"padding": self.padding, "output_padding": self.output_padding}
        return self._convolve(conv_transpose, x, **options)


class ConvTranspose2d(ConvTranspose1d, axes=2):
    """Apply ``ConvTranspose1d`` to images [n, in_channels, h, w].

    >>> sg.nn.ConvTranspose2d(4, 2, 3, stride=2)(sg.input("x", ("batch", 4, 8, 8), "float32")).shape
    (batch, 2, 17, 17)
    """


class ConvTranspose3d(ConvTranspose1d, axes=3):
    """Apply ``ConvTranspose1d`` to volumes [n, in_channels, d, h, w].

    >>> layer = sg.nn.ConvTranspose3d(4, 2, 2, stride=2)
    >>> layer(sg.input("x", ("batch", 4, 4, 4, 4), "float32")).shape
    (batch, 2, 8, 8, 8)
    """


def channels_in_groups(channels: tuple[int, int], groups: int) -> int:
    """Return the first number of channels divided by ``groups``, which must divide both."""
    if channels[0] % groups or channels[1] % groups:
        raise ArgumentError(f"{called_name()}: {groups} groups do not divide channels {channels}")
    return channels[0] // groups


class _Pool(SpatialLayer, FunctionLayer):
    """A layer of [n, c, windows...]."""

    def forward(self, x: Any) -> Any:
        self.require_rank(x)
        return super().forward(x)


class MaxPool1d(_Pool, function=max_pool):
    """The largest element of each window of [n, c, l]; NaN wins.

    Args:
        kernel_size: taps of a window, for all spatial axes or for each.
        stride: elements from one window to the next; by default as many as taps.
        padding: elements around, which are never the largest.
        dilation: elements from one tap to the next.
        ceil_mode: whether a last window that begins inside counts although it reaches further.

    >>> sg.nn.MaxPool1d(2)(np.array([[[1.0, 3.0, 5.0, 7.0]]]))
    array([[[3., 7.]]])
    """

    kernel_size: PerAxis
    stride: PerAxis | None = None
    padding: Padding = 0
    dilation: PerAxis = 1
    ceil_mode: bool = field(default=False, kw_only=True)


class MaxPool2d(MaxPool1d, axes=2):
    """Apply ``MaxPool1d`` to images [n, c, h, w].

    >>> sg.nn.MaxPool2d(2)(sg.input("x", ("batch", 3, 8, 8), "float32")).shape
    (batch, 3, 4, 4)
    """


class MaxPool3d(MaxPool1d, axes=3):
    """Apply ``MaxPool1d`` to volumes [n, c, d, h, w].

    >>> sg.nn.MaxPool3d(2)(np.arange(8.0).reshape(1, 1, 2, 2, 2)).round(3)
    array([[[[[7.]]]]])
    """


@like(MaxPool1d)
class AvgPool1d(_Pool, function=avg_pool):
    """The mean of each window of [n, c, l].

    Args:
        padding: zeros around.
        count_include_pad: whether zeros around count.

    >>> sg.nn.AvgPool1d(2)(np.array([[[1.0, 3.0, 5.0, 7.0]]]))
    array([[[2., 6.]]])
    """

    kernel_size: PerAxis
    stride: PerAxis | None = None
    padding: Padding = 0
    ceil_mode: bool = False
    count_include_pad: bool = True


class AvgPool2d(AvgPool1d, axes=2):
    """Apply ``AvgPool1d`` to images [n, c, h, w].

    >>> sg.nn.AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).round(3)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """


class AvgPool3d(AvgPool1d, axes=3):
    """Apply ``AvgPool1d`` to volumes [n, c, d, h, w].

    >>> sg.nn.AvgPool3d(2)(np.arange(8.0).reshape(1, 1, 2, 2, 2)).round(3)
    array([[[[[3.5]]]]])
    """


class _Adaptive(_Pool):
    """A pool of ``output_size`` parts along each spatial axis."""

    output_size: PerAxis

    def forward(self, x: Any) -> Any:
        self.require_rank(x)
        return self._function(x, self.output_size)


class AdaptiveAvgPool1d(_Adaptive, function=adaptive_avg_pool):
    """Means of ``output_size`` parts of nearly equal size of [n, c, l].

    There is one number of parts for all spatial axes, or one for each.

    >>> sg.nn.AdaptiveAvgPool1d(2)(np.array([[[1.0, 3.0, 5.0, 7.0]]]))
    array([[[2., 6.]]])
    """


class AdaptiveAvgPool2d(AdaptiveAvgPool1d, axes=2):
    """Apply ``AdaptiveAvgPool1d`` to images [n, c, h, w].

    >>> sg.nn.AdaptiveAvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).round(3)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """


class AdaptiveMaxPool1d(_Adaptive, function=adaptive_max_pool):
    """The largest elements of ``output_size`` parts of nearly equal size of [n, c, l].

    >>> sg.nn.AdaptiveMaxPool1d(2)(np.array([[[1.0, 3.0, 5.0, 7.0]]]))
    array([[[3., 7.]]])
    """


class AdaptiveMaxPool2d(AdaptiveMaxPool1d, axes=2):
    """Apply ``AdaptiveMaxPool1d`` to images [n, c, h, w].

    >>> sg.nn.AdaptiveMaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4)).round(3)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
