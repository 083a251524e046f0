"""Strided convolutions as those of windows next to each other, over more channels.

Elements of an image at equal remainders of the strides are channels of their own, and so are the
taps that read them: of windows a stride apart there are then windows next to each other, of fewer
taps. These are copied as strips, or computed in tiles (``lowering.windows``), and the gradient of
an image is one product for all remainders. A filter is padded to whole strides with taps of zero,
so only one that is hardly longer by that is told apart. Terms are added up in the order of the new
channels. Which convolutions are computed so is decided by what a node says of its geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

from staticgrad.ir.forms import WindowProduct
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ops.convolution import Conv, ConvImage, Convolution
from staticgrad.ops.slices import Pad, sliced

#: How many times as many taps there may be, at most.
_MORE_TAPS: Final = 1.2
#: Remainders up to which the gradient of an image has a product for each (``WindowPhases``).
_FEW: Final = 9


def with_remainders(graph: Graph) -> Graph:
    """The graph whose strided convolutions have remainders of the strides as channels."""

    def rewritten(
        node: Node, _: Convolution, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        if not _is_told_apart(node):
            return None
        found: Any = _Remainders(node).result(*args)
        return (found,)

    return graph.replace_ops((Conv, ConvImage), rewritten)


def _is_told_apart(node: Node) -> bool:
    form = node.form
    assert isinstance(form, WindowProduct)
    if form.groups != 1 or form.tiles or not node.types[0].dtype.is_float:
        return False
    sizes = [n for axis in form.axes for n in (axis.image, axis.windows, axis.taps)]
    if not all(isinstance(n, int) for n in (*sizes, *(axis.before for axis in form.axes))):
        return False
    if 0 in sizes:
        return False
    if any(axis.dilation != 1 for axis in form.axes):
        return False
    steps = prod(axis.step for axis in form.axes)
    if steps <= (_FEW if form.result == "image" else 1):
        return False
    taps = [(int(axis.taps), axis.step) for axis in form.axes]
    return prod(-(-k // s) * s for k, s in taps) <= _MORE_TAPS * prod(k for k, _ in taps)


class _Remainders:
    """A strided convolution, or its image, by one of windows next to each other."""

    def __init__(self, node: Node) -> None:
        form = node.form
        assert isinstance(form, WindowProduct)
        self.kind, self.over_windows = node.types[0], form.result == "windows"
        self.axes = form.axes
        self.steps = [axis.step for axis in form.axes]
        self.taps = [-(-int(axis.taps) // axis.step) for axis in form.axes]
        found = zip(form.axes, self.taps, strict=True)
        self.places = [int(axis.windows) + taps - 1 for axis, taps in found]

    def result(self, first: Any, w: Any) -> Any:
        """What the two operands give."""
        apart = self._filter(w)
        ones = (1,) * len(self.steps)
        none = (0,) * len(self.steps)
        if self.over_windows:
            return Conv(ones, ones, none, self.kind.shape[2:])(self._image(first), apart)
        return self._together(ConvImage(ones, ones, none, tuple(self.places))(first, apart))

    def _filter(self, w: Any) -> Any:
        """[o, c * remainders, taps...]: of an image, channels of the result come first in memory,
        so that what is added up lies next to each other."""
        o, c = w.shape[:2]
        whole = [taps * step for taps, step in zip(self.taps, self.steps, strict=True)]
        w = _padded(w, (o, c, *whole), (0,) * w.ndim)
        count = len(self.steps)
        w = functions.reshape(w, (o, c, *_pairs(self.taps, self.steps)))
        taps, remainders = range(2, 2 + 2 * count, 2), range(3, 3 + 2 * count, 2)
        if self.over_windows:
            w = functions.transpose(w, (0, 1, *remainders, *taps))
            return functions.reshape(w, (o, c * prod(self.steps), *self.taps))
        w = functions.transpose(w, (1, *remainders, 0, *taps))
        return functions.swapaxes(functions.reshape(w, (c * prod(self.steps), o, *self.taps)), 0, 1)

    def _image(self, x: Any) -> Any:
        """[n, c * remainders, places...], with the border."""
        n, c = x.shape[:2]
        whole = [count * step for count, step in zip(self.places, self.steps, strict=True)]
        found = zip(self.axes, whole, strict=True)
        kept = (n, c, *(min(int(a.image), size - int(a.before)) for a, size in found))
        x = sliced(x, (0,) * x.ndim, kept, (1,) * x.ndim)
        x = _padded(x, (n, c, *whole), (0, 0, *(int(axis.before) for axis in self.axes)))
        count = len(self.steps)
        x = functions.reshape(x, (n, c, *_pairs(self.places, self.steps)))
        x = functions.transpose(x, (0, 1, *range(3, 3 + 2 * count, 2), *range(2, 2 + 2 * count, 2)))
        return functions.reshape(x, (n, c * prod(self.steps), *self.places))

    def _together(self, x: Any) -> Any:
        """``_image`` transposed."""
        n, c, *extents = self.kind.shape
        count = len(self.steps)
        x = functions.reshape(x, (n, c, *self.steps, *self.places))
        pairs = [2 + k + side * count for k in range(count) for side in (1, 0)]
        x = functions.transpose(x, (0, 1, *pairs))
        whole = [places * step for places, step in zip(self.places, self.steps, strict=True)]
        x = functions.reshape(x, (n, c, *whole))
        starts = (0, 0, *(int(axis.before) for axis in self.axes))
        ends = [min(int(a.image) + int(a.before), s) for a, s in zip(self.axes, whole, strict=True)]
        kept = (n, c, *(end - start for end, start in zip(ends, starts[2:], strict=True)))
        return _padded(sliced(x, starts, kept, (1,) * x.ndim), (n, c, *extents), (0,) * x.ndim)


def _pairs(counts: Sequence[int], steps: Sequence[int]) -> list[int]:
    return [extent for pair in zip(counts, steps, strict=True) for extent in pair]


def _padded(x: Any, shape: Sequence[Any], starts: Sequence[Any]) -> Any:
    """Zeros of ``shape`` with x in them from ``starts`` on; x itself where that is all."""
    return x if x.shape == tuple(shape) else Pad(tuple(shape), tuple(starts), (1,) * x.ndim)(x)
