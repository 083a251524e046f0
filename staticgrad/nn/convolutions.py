"""Convolutions, and their transposes."""

from __future__ import annotations

from math import prod
from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.families import like
from staticgrad.functions.images.arguments import Padding, PerAxis
from staticgrad.functions.images.windows import conv, conv_transpose
from staticgrad.ir.calls import public
from staticgrad.nn.initial import Initial, Seed, weight_and_bias
from staticgrad.nn.naming import named
from staticgrad.nn.spatial import SpatialLayer
from staticgrad.ops.operands import integer


class _Filters(SpatialLayer):
    """A layer with filters [channels, channels in a group, taps...]."""

    out_channels: int
    kernel_size: tuple[int, ...]
    groups: int

    def _fill(
        self, name: str, channels: tuple[int, int], bias: bool, given: tuple[Initial, Any, Seed]
    ) -> None:
        """Draw the filters, and the bias, if it has one."""
        first, each = channels
        taps = prod(self.kernel_size)
        self.weight, self.bias = weight_and_bias(
            name,
            (first, each, *self.kernel_size),
            self.out_channels if bias else None,
            (each * taps, first * taps // self.groups),
            given,
        )


class Conv1d(_Filters):
    """The cross-correlation of [n, in_channels, l] with filters: [n, out_channels, windows].

    Args:
        in_channels, out_channels: sizes.
        kernel_size: taps, for all spatial axes or for each; weight is [out_channels,
            in_channels / groups, taps...].
        stride, padding, dilation, groups: as ``sg.nn.conv``; padding may be "same".
        bias: whether there is one, [out_channels].
        init, dtype, seed: as ``Linear``; a filter's inputs are in_channels / groups times its taps.

    Raises:
        ArgumentError: groups that do not divide the channels; as many sizes as there are no axes.
        Else as ``sg.nn.conv``, in ``forward``.

    >>> import staticgrad as sg
    >>> layer = sg.nn.Conv1d(2, 4, kernel_size=3)
    >>> layer(sg.input("x", ("batch", 2, 10), "float32")).shape
    (batch, 4, 8)
    """

    @public
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = taps_of(type(self).__name__, kernel_size, self.axes)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        each = channels_in_groups(type(self).__name__, (in_channels, out_channels), groups)
        self._fill(named("conv"), (out_channels, each), bias, (init, dtype, seed))

    def forward(self, x: Any) -> Any:
        """[n, out_channels, windows...]."""
        return conv(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class Conv2d(Conv1d, axes=2):
    """Apply ``Conv1d`` to images [n, in_channels, h, w].

    >>> import staticgrad as sg
    >>> layer = sg.nn.Conv2d(3, 8, kernel_size=3, padding=1)
    >>> layer(sg.input("x", ("batch", 3, 32, 32), "float32")).shape
    (batch, 8, 32, 32)
    """


class Conv3d(Conv1d, axes=3):
    """Apply ``Conv1d`` to volumes [n, in_channels, d, h, w]."""


@like(Conv1d)
class ConvTranspose1d(_Filters):
    """``Conv1d`` transposed: each element of [n, in_channels, l] spreads over a window.

    Args:
        kernel_size: taps, for all spatial axes or for each; weight is [in_channels,
            out_channels / groups, taps...].
        stride, padding, dilation, groups: of the convolution that is transposed.
        output_padding: further elements at the end of each axis.

    Raises:
        ArgumentError: as ``Conv1d``. Else as ``sg.nn.conv_transpose``, in ``forward``.

    >>> import staticgrad as sg
    >>> layer = sg.nn.ConvTranspose1d(4, 2, kernel_size=2, stride=2)
    >>> layer(sg.input("x", ("batch", 4, 10), "float32")).shape
    (batch, 2, 20)
    """

    @public
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: Padding = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: PerAxis = 1,
        *,
        init: Initial = "uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = taps_of(type(self).__name__, kernel_size, self.axes)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.output_padding = output_padding
        each = channels_in_groups(type(self).__name__, (out_channels, in_channels), groups)
        self._fill(named("convtranspose"), (in_channels, each), bias, (init, dtype, seed))

    def forward(self, x: Any) -> Any:
        """[n, out_channels, image...]."""
        return conv_transpose(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            output_padding=self.output_padding,
        )


class ConvTranspose2d(ConvTranspose1d, axes=2):
    """Apply ``ConvTranspose1d`` to images [n, in_channels, h, w]."""


class ConvTranspose3d(ConvTranspose1d, axes=3):
    """Apply ``ConvTranspose1d`` to volumes [n, in_channels, d, h, w]."""


def taps_of(name: str, kernel_size: PerAxis, axes: int) -> tuple[int, ...]:
    """Return the taps along each axis, at least one; raise an ArgumentError for anything else."""
    given = kernel_size if isinstance(kernel_size, list | tuple) else (kernel_size,) * axes
    found = tuple(integer(name, "kernel_size", size) for size in given)
    if len(found) != axes or min(found) < 1:
        raise ArgumentError(
            f"{name}: kernel_size={kernel_size!r}: {axes} whole number{'s'[: axes > 1]}, or one"
        )
    return found


def channels_in_groups(name: str, channels: tuple[int, int], groups: int) -> int:
    """Return the first number of channels divided by ``groups``, which must divide both."""
    groups = integer(name, "groups", groups)
    sizes = [integer(name, "channels", count) for count in channels]
    if groups < 1 or any(count % groups for count in sizes):
        raise ArgumentError(f"{name}: {groups} groups do not divide channels {channels}")
    return sizes[0] // groups
