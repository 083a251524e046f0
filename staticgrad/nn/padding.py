"""Layers that put elements around images, by PyTorch's names and order of sizes."""

from __future__ import annotations

from typing import Any, ClassVar

from staticgrad.errors import ArgumentError
from staticgrad.extend import public, quote
from staticgrad.functions.arrange import PadMode, pad
from staticgrad.nn.convolutions import SpatialLayer


class ZeroPad1d(SpatialLayer):
    """Zeros around sequences [n, c, l].

    Args:
        padding: elements on each side, one number for all sides; or a pair for each spatial axis in
            one tuple, the last axis first: (left, right), (left, right, top, bottom), ...

    >>> layer = sg.nn.ZeroPad2d((1, 0, 2, 0))
    >>> layer(sg.input("x", ("batch", 3, 4, 4), "float32")).shape
    (batch, 3, 6, 5)
    """

    mode: ClassVar[PadMode] = "constant"
    value: float = 0.0

    @public
    def __init__(self, padding: Any) -> None:
        self.padding = padding
        self._pairs = _read_padding(type(self), padding)

    def forward(self, x: Any) -> Any:
        """[n, c, ...], each spatial axis longer by its pair."""
        self.require_rank(x)
        options = {"constant_values": self.value} if self.mode == "constant" else {}
        return pad(x, ((0, 0), (0, 0), *self._pairs), self.mode, **options)


def _read_padding(cls: Any, padding: Any) -> tuple[tuple[int, int], ...]:
    """Convert PyTorch's padding, last axis first, to pairs per spatial axis, first axis first."""
    sizes = padding if isinstance(padding, tuple | list) else (padding,) * (2 * cls.axes)
    if len(sizes) != 2 * cls.axes or any(type(size) is not int for size in sizes):
        raise ArgumentError(
            f"{cls.__name__}: padding={quote(padding)} is neither an integer nor"
            f" {2 * cls.axes} integers",
            hint="(left, right, top, bottom): a pair for each spatial axis, the last axis first",
        )
    return tuple(zip(sizes[::2], sizes[1::2], strict=True))[::-1]


class ZeroPad2d(ZeroPad1d, axes=2):
    """Zeros around images [n, c, h, w].

    >>> sg.nn.ZeroPad2d(1)(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[0., 0., 0., 0.],
             [0., 0., 1., 0.],
             [0., 2., 3., 0.],
             [0., 0., 0., 0.]]]])
    """


class ZeroPad3d(ZeroPad1d, axes=3):
    """Zeros around volumes [n, c, d, h, w].

    >>> sg.nn.ZeroPad3d(1)(np.ones((1, 1, 2, 2, 2))).shape
    (1, 1, 4, 4, 4)
    """


class ConstantPad1d(ZeroPad1d, axes=1):
    """A number around sequences [n, c, l].

    Args:
        padding: as of ``ZeroPad1d``.
        value: the number.

    >>> sg.nn.ConstantPad1d(1, 9.0)(np.array([[[1.0, 2.0, 3.0]]]))
    array([[[9., 1., 2., 3., 9.]]])
    """

    @public
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value


class ConstantPad2d(ConstantPad1d, axes=2):
    """A number around images [n, c, h, w].

    >>> sg.nn.ConstantPad2d(1, 9.0)(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[9., 9., 9., 9.],
             [9., 0., 1., 9.],
             [9., 2., 3., 9.],
             [9., 9., 9., 9.]]]])
    """


class ConstantPad3d(ConstantPad1d, axes=3):
    """A number around volumes [n, c, d, h, w].

    >>> sg.nn.ConstantPad3d(1, 9.0)(np.ones((1, 1, 2, 2, 2))).shape
    (1, 1, 4, 4, 4)
    """


class ReflectionPad1d(ZeroPad1d, axes=1):
    """The mirror image around sequences [n, c, l], without the outermost elements.

    >>> sg.nn.ReflectionPad1d(1)(np.array([[[1.0, 2.0, 3.0]]]))
    array([[[2., 1., 2., 3., 2.]]])
    """

    mode: ClassVar[PadMode] = "reflect"


class ReflectionPad2d(ReflectionPad1d, axes=2):
    """The mirror image around images [n, c, h, w].

    >>> sg.nn.ReflectionPad2d(1)(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[3., 2., 3., 2.],
             [1., 0., 1., 0.],
             [3., 2., 3., 2.],
             [1., 0., 1., 0.]]]])
    """


class ReflectionPad3d(ReflectionPad1d, axes=3):
    """The mirror image around volumes [n, c, d, h, w].

    >>> sg.nn.ReflectionPad3d(1)(np.ones((1, 1, 2, 2, 2))).shape
    (1, 1, 4, 4, 4)
    """


class ReplicationPad1d(ZeroPad1d, axes=1):
    """The outermost elements around sequences [n, c, l].

    >>> sg.nn.ReplicationPad1d(1)(np.array([[[1.0, 2.0, 3.0]]]))
    array([[[1., 1., 2., 3., 3.]]])
    """

    mode: ClassVar[PadMode] = "edge"


class ReplicationPad2d(ReplicationPad1d, axes=2):
    """The outermost elements around images [n, c, h, w].

    >>> sg.nn.ReplicationPad2d(1)(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[0., 0., 1., 1.],
             [0., 0., 1., 1.],
             [2., 2., 3., 3.],
             [2., 2., 3., 3.]]]])
    """


class ReplicationPad3d(ReplicationPad1d, axes=3):
    """The outermost elements around volumes [n, c, d, h, w].

    >>> sg.nn.ReplicationPad3d(1)(np.ones((1, 1, 2, 2, 2))).shape
    (1, 1, 4, 4, 4)
    """


class CircularPad1d(ZeroPad1d, axes=1):
    """The elements of the other end around sequences [n, c, l].

    >>> sg.nn.CircularPad1d(1)(np.array([[[1.0, 2.0, 3.0]]]))
    array([[[3., 1., 2., 3., 1.]]])
    """

    mode: ClassVar[PadMode] = "wrap"


class CircularPad2d(CircularPad1d, axes=2):
    """The elements of the other ends around images [n, c, h, w].

    >>> sg.nn.CircularPad2d(1)(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[3., 2., 3., 2.],
             [1., 0., 1., 0.],
             [3., 2., 3., 2.],
             [1., 0., 1., 0.]]]])
    """


class CircularPad3d(CircularPad1d, axes=3):
    """The elements of the other ends around volumes [n, c, d, h, w].

    >>> sg.nn.CircularPad3d(1)(np.ones((1, 1, 2, 2, 2))).shape
    (1, 1, 4, 4, 4)
    """
