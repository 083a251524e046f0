"""Rewrites of convolutions: adjacent windows, gradients of filters in parts, tiles (Winograd).

An element of the image lies in one window, so that images are matrices whose elements stand in
another order: a row for each window, with its channels and taps, or a column for each. The order of
the terms is that of the convolution, and so are the bits. To copy an image costs less than to look
up where each element of a panel lies: rows where taps next to each other fill half a vector,
otherwise columns where an image has many windows.

**Whole images.** An operand that windows read has an element at every place.

**Parts of the batch.** A filter of few channels is a product of few rows and columns over very many
terms: one iteration, which is the work of one thread. So the batch is cut into parts of as many
images after each other, and what each gives is added up, by the column rule of ``ir/summation.py``.
Parts are the same for every machine and plan. How many there are is decided by what a node says of
its channels, taps and images, and by the batch only if it is known to have fewer images than that:
what parts without images would give are zeros. Where a partial gradient takes more memory than an
image and its result, there are fewer parts, and iterations share the channels instead. Of windows
of one tap next to each other, which are the elements of an image, nothing is copied.

**Tiles** of two by two results, for dense convolutions of three to nine taps and their gradients.
S. Winograd, "Arithmetic complexity of computations", 1980; A. Lavin and S. Gray, arXiv 1509.09308:
F(2x2, 3x3) takes 16 multiplications for a tile, and an element of each filter, instead of 36. The
filters are combined once, which is a product with a constant; ``lowering.windows.tiles`` makes the
kernels of what follows. The gradient of a filter is F(3x3, 2x2), computed in parts of the batch
that are added up.

More taps, and those of strided windows, fall into pieces of two or three (``language.ops.tiles``),
whose products are summed before results are made of them: 5x5 taps take 49 multiplications for a
tile instead of 100, and 4x4 taps at every second element 36 instead of 64.

Windows of three axes have tiles along the last two. The taps of the first are terms of products,
like the channels. A dilated convolution has adjacent windows in each phase of an image, which has
every so many rows and columns. Gradients of filters in tiles have two axes and no dilation.

Which convolutions are computed so is decided by what a node says of its channels and images, not by
the size of a batch or any number that a plan has: the bits are those of the node.

**Remainders of strides.** Elements of an image at equal remainders of the strides become channels
of their own, and so do the taps that read them. Windows a stride apart are then adjacent windows
with fewer taps. They are copied as strips or computed in tiles (``lowering.windows``), and the
gradient of an image is one product for all remainders. A filter is padded to whole strides with
taps of zero, so only one that is hardly longer by that is rewritten. Terms are added up in the
order of the new channels. The geometry of a node alone decides which convolutions are rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final, cast

import numpy as np

from staticgrad.language.functions import aggregate
from staticgrad.language.ir.forms import (
    WINDOWED,
    Identity,
    ReshapeForm,
    View,
    WindowAxis,
    WindowProduct,
)
from staticgrad.language.ir.graph import Graph, Node, Symbolic, constant
from staticgrad.language.ir.kernels.stages import FED_ROWS, panel_columns
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.contract import matmul
from staticgrad.language.ops.convolution import (
    CHANNELS_TOGETHER,
    Conv,
    ConvFilter,
    ConvImage,
    Convolution,
)
from staticgrad.language.ops.indexing import Pad, sliced
from staticgrad.language.ops.movement import moveaxis, reshape, swapaxes, transpose
from staticgrad.language.ops.tiles import TileTaps, tile_taps
from staticgrad.language.types.arrays import hint_value, product
from staticgrad.language.types.dim import Size, floordiv, is_at_least
from staticgrad.language.types.dtype import DType
from staticgrad.support.building import within


def without_stretched_windows(graph: Graph) -> Graph:
    """Return the graph with the operands of windows materialized where they repeat elements.

    Beyond the ends of an axis along which an operand does not move there would be its one element,
    in the place of a border.
    """

    def held(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        form = node.form
        if not isinstance(form, WINDOWED):
            return None
        count = len(form.axes)
        stretched = [_stretches(x, range(x.ndim - count, x.ndim)) for x in node.args]
        if not any(stretched):
            return None
        with within(node.origin, node.order):
            whole = [_copied(x) if wide else x for x, wide in zip(args, stretched, strict=True)]
            return (cast(Symbolic, node.op(*whole)),)

    if not any(isinstance(node.form, WINDOWED) for node in graph.nodes):
        return graph
    return graph.replace_nodes(held)


def _copied(value: Symbolic) -> Value:
    return Pad(value.shape, (0,) * value.ndim, (1,) * value.ndim)(value)


def _stretches(value: Symbolic, axes: Iterable[int]) -> bool:
    form = value.node.form
    if isinstance(form, ReshapeForm):
        (whole,) = value.node.args
        return _stretches(whole, range(whole.ndim))
    if isinstance(form, View):
        (viewed,) = value.node.args
        named = {each.source: k for k, each in enumerate(form.axes)}
        long = [axis for axis in axes if value.shape[axis] != 1]
        if any(axis not in named for axis in long):
            return True
        return _stretches(viewed, [named[axis] for axis in long])
    return isinstance(form, Identity) and _stretches(value.node.args[0], axes)


#: Windows of an image from which on they are columns, where rows would be put together of shorter
#: pieces than half a vector.
_MANY: Final = 128


def with_patches(graph: Graph) -> Graph:
    """Return the graph whose convolutions over windows side by side are products of matrices."""

    def rewritten(
        node: Node, _: Convolution, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        if not _lies_side_by_side(node):
            return None
        return (_Patches(node).result(*args),)

    return graph.replace_ops(Convolution, rewritten)


def _lies_side_by_side(node: Node) -> bool:
    """Return whether windows of several taps are adjacent, without border, in one group."""
    form = node.form
    if not isinstance(form, WindowProduct) or form.groups != 1 or not node.types[0].dtype.is_float:
        return False
    several = any(axis.taps != 1 for axis in form.axes)
    beside = all(axis.step == axis.taps and _lies_inside(axis) for axis in form.axes)
    apart = all(axis.dilation == 1 or axis.taps == 1 for axis in form.axes)
    long = form.axes[-1].step * 2 >= node.types[0].dtype.compute.lanes
    return several and beside and apart and (long or form.result != "filter")


def _lies_inside(axis: WindowAxis) -> bool:
    covered = is_at_least(axis.image, axis.windows * axis.taps)
    return axis.before == 0 and (covered or axis.windows == floordiv(axis.image, axis.taps))


class _Patches:
    """A convolution, or one of its transposes, as a product of matrices."""

    def __init__(self, node: Node) -> None:
        form = node.form
        assert isinstance(form, WindowProduct)
        self.kind, self.result_of = node.types[0], form.result
        self.windows = tuple([axis.windows for axis in form.axes])
        self.taps = tuple([axis.taps for axis in form.axes])
        by_pieces = form.axes[-1].step * 2 < self.kind.dtype.compute.lanes
        self.as_columns = by_pieces and hint_value(product(self.windows)) >= _MANY

    def result(self, first: Any, second: Any) -> Symbolic:
        if self.result_of == "windows":
            found = self._windows(first, second)
        else:
            found = (self._image if self.result_of == "image" else self._filter)(first, second)
        result: Symbolic = found
        return result

    def _windows(self, x: Any, w: Any) -> Any:
        filters = self._flat(w)
        if self.as_columns:
            return reshape(matmul(filters, self._matrix(x)), self.kind.shape)
        rows = matmul(self._matrix(x), swapaxes(filters, 0, 1))
        batch, channels = self.kind.shape[:2]
        return moveaxis(reshape(rows, (batch, *self.windows, channels)), -1, 1)

    def _image(self, y: Any, w: Any) -> Any:
        filters = self._flat(w)
        if self.as_columns:
            columns = reshape(y, (*y.shape[:2], product(self.windows)))
            return self._placed(matmul(swapaxes(filters, 0, 1), columns))
        return self._placed(matmul(self._to_rows(y), filters))

    def _filter(self, x: Any, y: Any) -> Any:
        found = matmul(swapaxes(self._to_rows(y), 0, 1), self._matrix(x))
        return reshape(found, self.kind.shape)

    @staticmethod
    def _flat(w: Any) -> Any:
        return reshape(w, (w.shape[0], product(w.shape[1:])))

    # -- results of windows: images, or a row for each window -------------------------------------

    def _to_rows(self, y: Any) -> Any:
        moved = moveaxis(y, 1, -1)
        return reshape(moved, (product(moved.shape[:-1]), y.shape[1]))

    # -- images, or matrices of their patches -----------------------------------------------------

    def _matrix(self, x: Any) -> Any:
        batch, channels = x.shape[:2]
        covered = (batch, channels, *self._covered())
        x = sliced(x, (0,) * len(covered), covered, (1,) * len(covered))
        apart = transpose(reshape(x, self._split(batch, channels)), self._order)
        return reshape(apart, self._shape(batch, channels))

    def _placed(self, matrix: Any) -> Any:
        batch, channels = self.kind.shape[:2]
        split, order = self._split(batch, channels), self._order
        apart = reshape(matrix, tuple([split[axis] for axis in order]))
        back = tuple([order.index(axis) for axis in range(len(order))])
        x = reshape(transpose(apart, back), (batch, channels, *self._covered()))
        if x.shape == self.kind.shape:
            return x
        return Pad(self.kind.shape, (0,) * x.ndim, (1,) * x.ndim)(x)

    def _covered(self) -> tuple[Size, ...]:
        return tuple([count * taps for count, taps in zip(self.windows, self.taps, strict=True)])

    def _split(self, batch: Size, channels: Size) -> tuple[Size, ...]:
        pairs = zip(self.windows, self.taps, strict=True)
        return (batch, channels, *(extent for pair in pairs for extent in pair))

    @property
    def _order(self) -> tuple[int, ...]:
        """The axes of an image that is split, in the order of those of its matrix."""
        last = 2 + 2 * len(self.taps)
        windows, taps = range(2, last, 2), (1, *range(3, last, 2))
        return (0, *taps, *windows) if self.as_columns else (0, *windows, *taps)

    def _shape(self, batch: Size, channels: Size) -> tuple[Size, ...]:
        terms, windows = product((channels, *self.taps)), product(self.windows)
        return (batch, terms, windows) if self.as_columns else (product((batch, windows)), terms)


#: Iterations that there should be: of a gradient in tiles, and of one that is fed with images.
_WANTED_OF_TILES: Final = 4
_WANTED: Final = 8
#: Iterations without parts that are enough.
_ENOUGH: Final = 4
#: Rows of a product below which more iterations do not pay.
LEAST_ROWS: Final = 64


def is_fed(form: WindowProduct, dtype: DType) -> bool:
    """Return whether a filter's gradient has more than one tap, and at most a chunk of rows."""
    taps = prod((axis.taps for axis in form.axes), start=1)
    few = isinstance(taps, int) and 1 < taps <= FED_ROWS
    return form.result == "filter" and few and not dtype.is_storage


def is_pointwise(form: WindowProduct, dtype: DType) -> bool:
    """Return whether windows are single elements of an image, which are not copied."""
    single = form.is_pointwise and form.groups == 1
    return form.result == "filter" and single and not dtype.is_storage


def with_parts(graph: Graph) -> Graph:
    """Return the graph whose gradients of filters of few channels are sums of those of parts."""

    def rewritten(
        node: Node, op: ConvFilter, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        parts = 0 if op.parts else shares(node)[0]
        if parts == 0:
            return None
        return (in_parts(node, args, parts),)

    return graph.replace_ops(ConvFilter, rewritten)


def in_parts(node: Node, args: tuple[Symbolic, ...], parts: int, tiles: bool = False) -> Symbolic:
    """Return the gradient of a filter by those of parts of the batch."""
    assert isinstance(node.op, ConvFilter)
    op = replace(node.op, parts=parts, tiles=tiles)
    partial = op.infer(*(arg.type for arg in args))
    (value,) = Node(op, args, (partial,), node.origin, node.order).values
    found: Any = reshape(value, value.type.shape[1:]) if parts == 1 else aggregate.sum(value, 0)
    result: Symbolic = found
    return result


def parts_in_tiles(channels: Sequence[Size]) -> int:
    """Return the parts of a gradient that is computed in tiles, by its channels on both sides."""
    shared = prod(-(-size // CHANNELS_TOGETHER) for size in channels if isinstance(size, int))
    return -(-_WANTED_OF_TILES // max(1, shared))


def shares(node: Node) -> tuple[int, int]:
    """Return the number of parts of the batch, and of chunks of channels, that iterations have.

    Parts are 0 for a gradient that does not go through images one by one.
    """
    form, dtype = node.form, node.args[0].type.dtype
    assert isinstance(form, WindowProduct)
    (batch, channels, *_), out = node.args[0].type.shape, node.args[1].type.shape[1]
    if not (dtype.is_float and isinstance(out, int) and isinstance(channels, int)):
        return 0, 1
    channels //= form.groups
    pointwise = is_pointwise(form, dtype) and even_part(channels) is not None
    if not (pointwise or is_fed(form, dtype)):
        return 0, 1
    panels = -(-out // form.groups // panel_columns(dtype))
    rows = channels * prod(axis.taps for axis in form.axes if isinstance(axis.taps, int))
    shared = form.groups * panels * -(-rows // FED_ROWS)
    if not 0 < shared < _ENOUGH:
        return int(pointwise), 1
    chunks = 1 if pointwise else max(1, min(channels, rows // LEAST_ROWS, _WANTED // shared))
    image = product(tuple(axis.image for axis in form.axes))
    windows = product(tuple(axis.windows for axis in form.axes))
    size = form.groups * channels * image + out * windows
    if not isinstance(size, int) or size >= out * rows:
        chunks = 1
    parts = -(-_WANTED // (shared * chunks))
    if chunks > 1 and parts == 1:
        return 0, chunks
    return min(parts, max(1, batch) if isinstance(batch, int) else parts), chunks


def even_part(channels: int) -> int | None:
    """The channels of an iteration that are rows of a product where they lie: as many in each.

    None where that would be few.
    """
    chunks = -(-channels // FED_ROWS)
    return next((channels // n for n in range(chunks, 2 * chunks + 1) if channels % n == 0), None)


#: Channels on each side, at least; with strides that many for each element of one.
_CHANNELS: Final = 16
#: Products of the channels from which on combined filters have the order of terms.
_PAIRS: Final = 4096
#: What tiles need: products of the channels, and elements of an image along an axis; one of these
#: pairs suffices. Measured on Zen 4 with AVX-512 from a batch of 1 on, where combining the filters
#: costs most; filter gradients of three taps lose at first with registers of 256 bits.
_ENOUGH_FOR_TILES: Final = {
    "three taps": ((0, 14), (_PAIRS, 7)),
    "pieces": ((0, 28),),
    "strides": ((0, 28), (2048, 16)),
    "filter of three taps": ((1024, 28),),
    "filter of pieces": ((_PAIRS, 28), (4 * _PAIRS, 14)),
    "filter of strides": ((4 * _PAIRS, 14),),
}
#: The most taps of a filter whose gradient is computed in tiles.
_TAPS_OF_FILTERS: Final = 5
_MOST_TAPS: Final = 9
_TAPS: Final = 3
#: The largest dilation: its phases are written out one by one. There should be as many channels and
#: elements for each. Measured on Zen 4: 32 channels of 57 by 57 elements lose at a dilation of 4.
_DILATION: Final = 4


def with_tiles(graph: Graph) -> Graph:
    """Return the graph with combined filters for convolutions that are computed in tiles."""

    def rewritten(
        node: Node, op: Convolution, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        if not _is_dense(node):
            return None
        tiled = replace(op, tiles=True)
        if isinstance(op, ConvFilter):
            parts = parts_in_tiles(node.types[0].shape[:2])
            return (in_parts(node, args, parts, tiles=True),)
        backwards = isinstance(op, ConvImage)
        assert isinstance(node.form, WindowProduct)
        taps = [tile_taps(axis, not backwards) for axis in node.form.axes[-2:]]
        filters = _combined(args[1], [each for each in taps if each], backwards)
        return Node(tiled, (args[0], filters), node.types, node.origin, node.order).values

    return graph.replace_ops(Convolution, rewritten)


def _is_dense(node: Node) -> bool:
    form, dtype = node.form, node.types[0].dtype
    if not isinstance(form, WindowProduct) or form.tiles or len(form.axes) not in (2, 3):
        return False
    of_filter = form.result == "filter"
    first, second = (node.types[0] if of_filter else node.args[1].type).shape[:2]
    if not (isinstance(first, int) and isinstance(second, int)):
        return False
    *deep, down, across = form.axes
    dilation, step = max(down.dilation, across.dilation), max(down.step, across.step)
    three = step == 1 and down.taps == across.taps == _TAPS
    kind = "three taps" if three else "pieces" if step == 1 else "strides"
    if of_filter:
        plain, kind = not deep and dilation == 1, f"filter of {kind}"
    else:
        plain = dilation == 1 or (not deep and dilation <= _DILATION)
    enough = _ENOUGH_FOR_TILES[kind]
    extent = min((n for pairs, n in enough if first * second >= pairs * dilation**2), default=None)
    plain &= dtype.is_float and not dtype.is_storage and form.groups == 1
    many = extent is not None and min(first, second) >= _CHANNELS * dilation * step
    thick = all(three and axis.step == 1 and _is_thick(axis) for axis in deep)
    tiled = all(_has_tiles(axis, form.result, extent or 0) for axis in (down, across))
    return plain and many and thick and tiled


def _has_tiles(axis: WindowAxis, result: str, extent: int) -> bool:
    """Return whether tiles save products: not those of two taps, or of three of each remainder,
    which an image of remainders has, too."""
    taps = tile_taps(axis, result != "image")
    most = _TAPS_OF_FILTERS if result == "filter" else _MOST_TAPS
    if not (taps and _is_long(axis, extent) and _TAPS <= taps.taps <= most):
        return False
    return axis.step == 1 or result != "windows" or taps.taps < _TAPS * axis.step


def _is_thick(axis: WindowAxis) -> bool:
    return isinstance(axis.taps, int) and _is_long(axis, axis.taps)


def _is_long(axis: WindowAxis, extent: int) -> bool:
    least = extent * axis.dilation
    return all(not isinstance(n, int) or n >= least for n in (axis.image, axis.windows))


def _combined(filters: Symbolic, axes: Sequence[TileTaps], transposed: bool) -> Symbolic:
    """Filters [o, c, ...] of combined taps, stored one combination after the other, and in each
    of many channels those next to each other over which products are summed."""
    down, across = axes
    channels = filters.type.shape[:2]
    transposed = transposed and hint_value(channels[0] * channels[1]) >= _PAIRS
    given: Any = swapaxes(filters, 0, 1) if transposed else filters
    lead = given.type.shape[:-2]
    factors = [down.combinations(), across.combinations()]
    if down.taps * across.taps <= _AT_ONCE:
        factors = [np.kron(*factors)]
    combined: Any = given
    for of in factors[::-1]:  # taps last, then first
        flat = reshape(combined, (product(combined.shape) // of.shape[1], of.shape[1]))
        numbers = constant(of.astype(filters.dtype.numpy))
        combined = matmul(numbers, swapaxes(flat, 0, 1))
    apart: Any = reshape(combined, (down.combined, across.combined, *lead))
    deep = range(4, 2 + len(lead))
    result: Symbolic = transpose(apart, (*((3, 2) if transposed else (2, 3)), *deep, 0, 1))
    return result


#: Taps of a filter up to which one product combines both axes.
_AT_ONCE: Final = 16


#: How many times as many taps there may be, at most.
_MORE_TAPS: Final = 1.2
#: Remainders up to which the gradient of an image has a product for each (``WindowStrips``).
_FEW: Final = 9


def with_remainders(graph: Graph) -> Graph:
    """Return the graph whose strided convolutions have remainders of the strides as channels."""

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
    if 0 in sizes or _is_dense(node):
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
        w = reshape(w, (o, c, *_pairs(self.taps, self.steps)))
        taps, remainders = range(2, 2 + 2 * count, 2), range(3, 3 + 2 * count, 2)
        if self.over_windows:
            w = transpose(w, (0, 1, *remainders, *taps))
            return reshape(w, (o, c * prod(self.steps), *self.taps))
        w = transpose(w, (1, *remainders, 0, *taps))
        return swapaxes(reshape(w, (c * prod(self.steps), o, *self.taps)), 0, 1)

    def _image(self, x: Any) -> Any:
        n, c = x.shape[:2]
        whole = [count * step for count, step in zip(self.places, self.steps, strict=True)]
        found = zip(self.axes, whole, strict=True)
        kept = (n, c, *(min(int(a.image), size - int(a.before)) for a, size in found))
        x = sliced(x, (0,) * x.ndim, kept, (1,) * x.ndim)
        x = _padded(x, (n, c, *whole), (0, 0, *(int(axis.before) for axis in self.axes)))
        count = len(self.steps)
        x = reshape(x, (n, c, *_pairs(self.places, self.steps)))
        x = transpose(x, (0, 1, *range(3, 3 + 2 * count, 2), *range(2, 2 + 2 * count, 2)))
        return reshape(x, (n, c * prod(self.steps), *self.places))

    def _together(self, x: Any) -> Any:
        n, c, *extents = self.kind.shape
        count = len(self.steps)
        x = reshape(x, (n, c, *self.steps, *self.places))
        pairs = [2 + k + side * count for k in range(count) for side in (1, 0)]
        x = transpose(x, (0, 1, *pairs))
        whole = [places * step for places, step in zip(self.places, self.steps, strict=True)]
        x = reshape(x, (n, c, *whole))
        starts = (0, 0, *(int(axis.before) for axis in self.axes))
        ends = [min(int(a.image) + int(a.before), s) for a, s in zip(self.axes, whole, strict=True)]
        kept = (n, c, *(end - start for end, start in zip(ends, starts[2:], strict=True)))
        return _padded(sliced(x, starts, kept, (1,) * x.ndim), (n, c, *extents), (0,) * x.ndim)


def _pairs(counts: Sequence[int], steps: Sequence[int]) -> list[int]:
    return [extent for pair in zip(counts, steps, strict=True) for extent in pair]


def _padded(x: Any, shape: Sequence[Any], starts: Sequence[Any]) -> Any:
    return x if x.shape == tuple(shape) else Pad(tuple(shape), tuple(starts), (1,) * x.ndim)(x)
