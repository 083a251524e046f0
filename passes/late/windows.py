"""Rewrites of convolutions: adjacent windows, gradients of filters in parts, tiles (Winograd).

**Adjacent windows.** If windows do not overlap, each element of the image is in one window, and the
image is a matrix whose elements have another order: a row for each window, with its channels and
taps, or a column for each. Then the convolution is a matrix product with the same order of terms,
so results are bitwise identical. Copying the image is faster than looking up the elements of each
panel: as rows if adjacent taps fill half a vector, otherwise as columns if an image has many
windows.

The embedding of patches of p x p pixels::

    conv(x[n, c, h, w], f[o, c, p, p], stride=p)     ->     patches[n * h/p * w/p, c*p*p] @ f.T

**Few windows.** Layers near the end of a network have small images, many channels and a large
filter. A kernel over strips of images reads the whole filter for each strip, and has fewer columns
than a vector. If the windows of all images together take less memory than the filter, they are
copied into one matrix (im2col), whose product reads the filter once::

    conv(x[n, c, h, w], f[o, c, p, p])           ->     f[o, c*p*p] @ patches[c*p*p, n*h*w]
    conv_filter(x[n, c, h, w], y[n, o, h, w])    ->     y[o, n*h*w] @ patches[c*p*p, n*h*w].T
    conv_image(y[n, o, h, w], f[o, c, p, p])     ->     fold(f[o, c*p*p].T @ y[o, n*h*w])

Results and filters have the same order of terms as before. An image is the sum of the products of
its taps, each of which is a sum over channels. A few windows are the rows of the product instead of
its columns. The costs of both ways are estimated from the sizes of the node, named ones at their
hints.

Windows with strides, and those of one axis, are columns of such a product also if there are many,
where the filter has so many channels that copies cost a tenth of the product, and the patches have
at most 16 MB of float32 and three times the elements of the image.

**Taps in the border.** A tap that no window has inside of the image adds zeros alone: of 3x3 taps
over an image of one element only the middle one counts. Such taps at the ends of an axis are cut
off, unless the filter is large and few windows read it, for which memory is read whole.

**Broadcast operands.** An operand of windows is materialized if it is broadcast.

**Parts of the batch.** The gradient of a filter of few channels is a product of few rows and
columns over very many terms: one iteration, which one thread runs. So the batch is split into parts
of equal numbers of images, whose gradients are added up by the column rule of ``ir/summation.py``.
Parts are the same for every machine and plan. Their number depends on the channels, taps and images
of the node, and on the batch only if that is a constant and smaller: parts without images have
gradients of zeros. If a partial gradient takes more memory than an image and its result, there are
fewer parts, and iterations share the channels instead. For adjacent windows of one tap, which are
the elements of an image, nothing is copied.

**Tiles** of two by two results, for dense convolutions of three to nine taps and their gradients.
S. Winograd, "Arithmetic complexity of computations", 1980; A. Lavin and S. Gray, arXiv 1509.09308:
F(2x2, 3x3) takes 16 multiplications for a tile, and an element of each filter, instead of 36. The
filters are combined once, which is a product with a constant; ``lowering.windows.tiles`` makes the
kernels of what follows. The gradient of a filter is F(3x3, 2x2), computed in parts of the batch
that are added up.

More taps, and those of strided windows, are split into pieces of two or three
(``language.ops.tiles``), whose products are summed before the output transform: 5x5 taps take 49
multiplications for a tile instead of 100, and 4x4 taps at every second element 36 instead of 64.

Windows of three axes have tiles along the last two. The taps of the first are terms of products,
like the channels. A dilated convolution has adjacent windows in each phase of an image: every d-th
row and column. Gradients of filters in tiles have two axes and no dilation.

The channels and image sizes of a node alone decide which convolutions are tiled, not the size of a
batch or the sizes of a plan, so results do not depend on those.

**Remainders of strides (space to depth).** Elements of an image at equal remainders of the strides
become channels of their own, and so do the taps that read them. Windows with strides are then
windows with stride 1 and fewer taps. They are computed from strips or in tiles
(``lowering.windows``), and the gradient of an image is one product for all remainders. A filter is
padded to full strides with taps of zero, so it is rewritten only if that hardly adds taps. Terms
are added up in the order of the new channels. The geometry of a node alone decides which
convolutions are rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final, cast

import numpy as np

from passes.late.base import late_pass
from passes.late.pairs import pair_elements
from staticgrad.analysis.cost import COPIED
from staticgrad.functions import aggregate
from staticgrad.language.ir.copies import rebuild
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
from staticgrad.language.ops.contract import MatMul, matmul, other_sign
from staticgrad.language.ops.convolution import (
    CHANNELS_TOGETHER,
    Conv,
    ConvFilter,
    ConvImage,
    Convolution,
)
from staticgrad.language.ops.indexing import Pad, slice_value
from staticgrad.language.ops.movement import moveaxis, reshape, swapaxes, transpose
from staticgrad.language.ops.tiles import TileTaps, tile_taps
from staticgrad.language.ops.windows import FoldWindows, UnfoldWindows
from staticgrad.language.types.arrays import Shape, hint_product, hint_value, product
from staticgrad.language.types.dim import Size, floordiv, is_at_least
from staticgrad.language.types.dtype import BF16, I8, U8, U32, DType
from staticgrad.support.building import within


@late_pass(
    "broadcast-windows",
    required="kernels read zeros around an image, and an axis of stride 0 has no room for them",
)
def materialize_broadcast_windows(graph: Graph) -> Graph:
    """Rewrite convolutions and pools to read copies of broadcast operands.

    Along an axis of stride 0 the border would contain the one element instead of zeros.
    """

    def materialize(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a convolution or pool to read copies of broadcast operands, or return None."""
        form = node.form
        if not isinstance(form, WINDOWED):
            return None
        count = len(form.axes)
        stretched = [_repeats_elements(x, range(x.ndim - count, x.ndim)) for x in node.args]
        if not any(stretched):
            return None
        with within(node.origin, node.order):
            operands = [
                _copy_value(x) if wide else x for x, wide in zip(args, stretched, strict=True)
            ]
            return (cast(Symbolic, node.op(*operands)),)

    if not any(isinstance(node.form, WINDOWED) for node in graph.nodes):
        return graph
    return graph.replace_nodes(materialize)


def _copy_value(value: Symbolic) -> Value:
    return Pad(value.shape, (0,) * value.ndim, (1,) * value.ndim)(value)


def _repeats_elements(value: Symbolic, axes: Iterable[int]) -> bool:
    """Return True if a view repeats elements along one of some axes."""
    form = value.node.form
    if isinstance(form, ReshapeForm):
        (operand,) = value.node.args
        return _repeats_elements(operand, range(operand.ndim))
    if isinstance(form, View):
        (viewed,) = value.node.args
        named = {view_axis.source: k for k, view_axis in enumerate(form.axes)}
        long = [axis for axis in axes if value.shape[axis] != 1]
        if any(axis not in named for axis in long):
            return True
        return _repeats_elements(viewed, [named[axis] for axis in long])
    return isinstance(form, Identity) and _repeats_elements(value.node.args[0], axes)


#: Elements of a filter, beyond any cache, that take longer to read if some are left out.
_LARGE_FILTER: Final = 1 << 22


@late_pass("border-taps", keeps="close")
def cut_border_taps(graph: Graph) -> Graph:
    """Rewrite convolutions without the outer taps that are in the border for all windows."""

    def cut_taps(
        node: Node, op: Convolution, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        form = node.form
        assert isinstance(form, WindowProduct)
        ranges = [_taps_inside(axis) for axis in form.axes]
        if form.tiles or form.parts or None in ranges:
            return None
        firsts, counts = zip(*[pair for pair in ranges if pair], strict=True)
        if all(count == axis.taps for count, axis in zip(counts, form.axes, strict=True)):
            return None
        filter_type = node.types[0] if isinstance(op, ConvFilter) else args[1].type
        is_large = hint_product(filter_type.shape) >= _LARGE_FILTER
        if is_large and _has_few_windows(node) and _WindowMatrix(node).as_rows:
            return None  # rows of a product, which read the filter in the order in which it lies
        borders = [
            axis.before - axis.dilation * first
            for axis, first in zip(form.axes, firsts, strict=True)
        ]
        starts, ones = (0, 0, *firsts), (1,) * (2 + len(counts))
        trimmed = replace(op, before=tuple(borders))
        if isinstance(op, ConvFilter):
            inner = replace(trimmed, extents=tuple(counts))(*args)
            return (cast(Symbolic, Pad(node.types[0].shape, starts, ones)(inner)),)
        filters = slice_value(args[1], starts, (*args[1].shape[:2], *counts), ones)
        return (cast(Symbolic, trimmed(args[0], filters)),)

    return graph.replace_ops(Convolution, cut_taps)


def _taps_inside(axis: WindowAxis) -> tuple[int, int] | None:
    """Return the first and the number of the taps that any window has inside of the image.

    None if sizes are named, or no tap is inside.
    """
    taps, border, image, windows = axis.taps, axis.before, axis.image, axis.windows
    if not all(isinstance(size, int) for size in (taps, border, image, windows)):
        return None
    starts = range(-int(border), axis.step * int(windows) - int(border), axis.step)
    inside = [
        tap
        for tap in range(int(taps))
        if any(0 <= start + axis.dilation * tap < int(image) for start in starts)
    ]
    if not inside:
        return None
    first = min(inside[0], int(border) // axis.dilation)  # the border is not negative
    return first, inside[-1] - first + 1


#: Windows of an image from which on they are columns, if rows would consist of pieces shorter than
#: half a vector.
_MANY_WINDOWS: Final = 128


@late_pass("im2col", keeps="close")
def use_patch_matrices(graph: Graph) -> Graph:
    """Rewrite convolutions over adjacent windows, or few windows, as matrix products (im2col)."""

    def use_patches(
        node: Node, _: Convolution, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        if _has_adjacent_windows(node):
            return (_PatchProduct(node).result(*args),)
        return (_WindowMatrix(node).result(*args),) if _has_few_windows(node) else None

    return graph.replace_ops(Convolution, use_patches)


def _has_adjacent_windows(node: Node) -> bool:
    """Return True if a convolution's windows are adjacent, without border, in one group."""
    form = node.form
    if not isinstance(form, WindowProduct) or form.groups != 1 or not node.types[0].dtype.is_float:
        return False
    has_taps = any(axis.taps != 1 for axis in form.axes)
    is_adjacent = all(axis.step == axis.taps and _ends_inside(axis) for axis in form.axes)
    is_dense = all(axis.dilation == 1 or axis.taps == 1 for axis in form.axes)
    long = form.axes[-1].step * 2 >= node.types[0].dtype.compute.lanes
    return has_taps and is_adjacent and is_dense and (long or form.result != "filter")


def _ends_inside(axis: WindowAxis) -> bool:
    covered = is_at_least(axis.image, axis.windows * axis.taps)
    return axis.before == 0 and (covered or axis.windows == floordiv(axis.image, axis.taps))


def _multiply(factors: DType | None, a: Any, b: Any, **transposed: bool) -> Any:
    """Return a product of matrices whose factors may be rounded."""
    return MatMul(**transposed, factors=factors)(a, b)


class _PatchProduct:
    """The nodes that replace a convolution, or one of its transposes: a product of matrices."""

    def __init__(self, node: Node) -> None:
        form = node.form
        assert isinstance(form, WindowProduct)
        self.kind, self.result_of = node.types[0], form.result
        self.factors = form.factors
        self.windows = tuple([axis.windows for axis in form.axes])
        self.taps = tuple([axis.taps for axis in form.axes])
        by_pieces = form.axes[-1].step * 2 < self.kind.dtype.compute.lanes
        self.as_columns = by_pieces and hint_value(product(self.windows)) >= _MANY_WINDOWS

    def result(self, first: Any, second: Any) -> Symbolic:
        if self.result_of == "windows":
            computed = self._windows(first, second)
        else:
            computed = (self._image if self.result_of == "image" else self._filter)(first, second)
        result: Symbolic = computed
        return result

    def _windows(self, x: Any, w: Any) -> Any:
        filters = self._flat(w)
        if self.as_columns:
            return reshape(_multiply(self.factors, filters, self._matrix(x)), self.kind.shape)
        rows = _multiply(self.factors, self._matrix(x), swapaxes(filters, 0, 1))
        batch, channels = self.kind.shape[:2]
        return moveaxis(reshape(rows, (batch, *self.windows, channels)), -1, 1)

    def _image(self, y: Any, w: Any) -> Any:
        filters = self._flat(w)
        if self.as_columns:
            columns = reshape(y, (*y.shape[:2], product(self.windows)))
            return self._from_matrix(_multiply(self.factors, swapaxes(filters, 0, 1), columns))
        return self._from_matrix(_multiply(self.factors, self._to_rows(y), filters))

    def _filter(self, x: Any, y: Any) -> Any:
        matrix = _multiply(self.factors, swapaxes(self._to_rows(y), 0, 1), self._matrix(x))
        return reshape(matrix, self.kind.shape)

    @staticmethod
    def _flat(w: Any) -> Any:
        return reshape(w, (w.shape[0], product(w.shape[1:])))

    # -- results of windows: images, or a row for each window -------------------------------------

    def _to_rows(self, y: Any) -> Any:
        channels_last = moveaxis(y, 1, -1)
        return reshape(channels_last, (product(channels_last.shape[:-1]), y.shape[1]))

    # -- images, or matrices of their patches -----------------------------------------------------

    def _matrix(self, x: Any) -> Any:
        batch, channels = x.shape[:2]
        covered = (batch, channels, *self._covered_shape())
        x = slice_value(x, (0,) * len(covered), covered, (1,) * len(covered))
        split_axes = transpose(reshape(x, self._split_shape(batch, channels)), self._order)
        terms, windows = product((channels, *self.taps)), product(self.windows)
        return reshape(
            split_axes,
            (batch, terms, windows) if self.as_columns else (product((batch, windows)), terms),
        )

    def _from_matrix(self, matrix: Any) -> Any:
        """Rewrite a patch matrix, the product's result, as nodes of the image gradient."""
        batch, channels = self.kind.shape[:2]
        split, order = self._split_shape(batch, channels), self._order
        split_axes = reshape(matrix, tuple([split[axis] for axis in order]))
        back = tuple([order.index(axis) for axis in range(len(order))])
        x = reshape(transpose(split_axes, back), (batch, channels, *self._covered_shape()))
        if x.shape == self.kind.shape:
            return x
        return Pad(self.kind.shape, (0,) * x.ndim, (1,) * x.ndim)(x)

    def _covered_shape(self) -> tuple[Size, ...]:
        return tuple([count * taps for count, taps in zip(self.windows, self.taps, strict=True)])

    def _split_shape(self, batch: Size, channels: Size) -> tuple[Size, ...]:
        pairs = zip(self.windows, self.taps, strict=True)
        return (batch, channels, *(extent for pair in pairs for extent in pair))

    @property
    def _order(self) -> tuple[int, ...]:
        """The axes of the transpose node between a split image and its matrix."""
        last = 2 + 2 * len(self.taps)
        windows, taps = range(2, last, 2), (1, *range(3, last, 2))
        return (0, *taps, *windows) if self.as_columns else (0, *windows, *taps)


#: Costs for each element of a filter, in multiplications of a column: reading it once more, by the
#: number of elements up to which a cost holds; combining it for Winograd tiles, and the part of the
#: multiplications that is left. Measured on Zen 4.
_READ_AGAIN: Final = ((1 << 20, 1), (1 << 62, 8))
_COMBINED: Final = 100
_IN_TILES: Final = 0.45
#: Columns of a register tile; rows of a product that reads a filter as fast as memory gives it: of
#: the result, and of the gradient by the image.
_TILE_COLUMNS: Final = 16
_FEW_ROWS: Final = {"windows": 4, "image": 8}
#: Iterations of a kernel over strips, and elements of the copies of one
#: (``lowering.windows.strips``).
_STRIPS: Final = 4
_STRIP_COPIES: Final = 3 << 16
#: Of more windows than channels: the share of multiplications that copies may cost; elements of the
#: patches, for one of the image, and in all.
_COPIES_OF_MANY: Final = 0.1
_MORE_ELEMENTS: Final = 3
_MOST_PATCHES: Final = 1 << 22
#: Elements of a filter from which on it counts what reads it.
_LEAST_FILTER: Final = 1 << 10


def _has_few_windows(node: Node) -> bool:
    """Return True if a product of the filter and a matrix of all windows pays."""
    form, dtype = node.form, node.types[0].dtype
    if not isinstance(form, WindowProduct) or form.groups != 1:
        return False
    if not (dtype.is_float or form.factors is not None):
        return False
    sizes = [n for axis in form.axes for n in (axis.image, axis.windows, axis.taps, axis.before)]
    if form.tiles or form.parts or not all(isinstance(size, int) for size in sizes):
        return False
    shape = (node.types[0] if form.result == "filter" else node.args[1].type).shape
    if not all(isinstance(size, int) for size in shape) or 0 in node.types[0].shape:
        return False
    taps = prod(int(axis.taps) for axis in form.axes)
    if dtype.is_storage and form.result == "image" and taps > 1:
        return False  # the product of each tap would be rounded
    if any(axis.dilation != 1 and axis.taps != 1 for axis in form.axes):
        return False
    out, elements = int(shape[0]), prod(map(int, shape))
    windows = prod(int(axis.windows) for axis in form.axes)
    columns = hint_value(node.args[0].type.shape[0]) * windows
    if columns < 1 or elements < _LEAST_FILTER:
        return False
    if columns > out:
        return not _is_dense(node) and _pays_for_many(form.axes, taps, columns, out, elements)
    product_cost = _cost_of_product(form.result, columns, out, elements)
    if _is_dense(node):
        return product_cost < _COMBINED + _IN_TILES * columns
    if form.result != "windows":
        return True
    return product_cost < _cost_of_strips(columns, windows, taps, elements // out, elements)


def _pays_for_many(
    axes: Sequence[WindowAxis], taps: int, columns: int, out: int, elements: int
) -> bool:
    """Return True if a product pays for more windows than channels, by what its copies cost.

    Kernels over windows gather panels with strides, or read a filter of one axis across memory.
    """
    steps = prod(axis.step for axis in axes)
    in_place = steps == 1 and (taps == 1 or len(axes) > 1)
    copied = COPIED * (1 / out + out / elements)
    few = taps <= _MORE_ELEMENTS * steps and columns * elements <= _MOST_PATCHES * out
    return not in_place and few and copied <= _COPIES_OF_MANY


def _cost_of_product(result: str, columns: int, out: int, elements: int) -> float:
    """Estimate the cost of a product that reads a filter once, for each element of the filter."""
    padded = -(-columns // _TILE_COLUMNS) * _TILE_COLUMNS
    multiplied = 2 * columns if columns <= _FEW_ROWS.get(result, 0) else padded
    copied = COPIED * columns * (1 / out + out / elements)
    return multiplied + _cost_of_reading(elements) + copied


def _cost_of_strips(columns: int, windows: int, taps: int, terms: int, elements: int) -> float:
    """Estimate the cost of a kernel that reads a filter for each strip of one image or several."""
    images, most = columns // windows, max(1, _STRIP_COPIES // (terms * windows))
    together = 1 if taps == 1 else max(1, min(images // _STRIPS, most))
    padded = -(-together * windows // _TILE_COLUMNS) * _TILE_COLUMNS
    return -(-images // together) * (padded + _cost_of_reading(elements))


def _cost_of_reading(elements: int) -> int:
    return next(cost for most, cost in _READ_AGAIN if elements <= most)


class _WindowMatrix:
    """The nodes that replace a convolution, or one of its transposes, of few windows.

    The batch is the first axis of the windows, with one tap: terms then have the order of images.
    """

    def __init__(self, node: Node) -> None:
        form = node.form
        assert isinstance(form, WindowProduct)
        self.kind, self.form, self.axes = node.types[0], form, form.axes
        self.factors = form.factors
        self.batch = node.args[0].type.shape[0]
        self.windows = tuple([axis.windows for axis in form.axes])
        self.taps = tuple([axis.taps for axis in form.axes])
        columns = hint_value(product((self.batch, *self.windows)))
        self.as_rows = columns <= _FEW_ROWS.get(form.result, 0)

    def result(self, first: Any, second: Any) -> Symbolic:
        build = {"windows": self._windows, "image": self._image, "filter": self._filter}
        result: Symbolic = build[self.form.result](first, second)
        return result

    def _windows(self, x: Any, w: Any) -> Any:
        filters, out = self._flat(w), w.shape[0]
        if self.as_rows:
            count, terms = len(self.axes), product(filters.shape[1:])
            unfolded = self._unfold_image(x, ())
            order = (0, *range(2 + count, 2 + 2 * count), *range(1, 2 + count))
            patches = reshape(transpose(unfolded, order), (self._window_count, terms))
            # Of words of bytes ``factors`` says what the first factor of a product has.
            are_bytes = self.factors in (U8, I8)
            factors = other_sign(self.factors) if self.factors and are_bytes else self.factors
            rows = _multiply(factors, patches, filters, transpose_b=True)
            return moveaxis(reshape(rows, (self.batch, *self.windows, out)), -1, 1)
        result = _multiply(self.factors, filters, self._columns(x))
        return swapaxes(reshape(result, (out, self.batch, *self.windows)), 0, 1)

    def _image(self, y: Any, w: Any) -> Any:
        filters, channels = self._flat(w), w.shape[1]
        if self.as_rows:
            rows = reshape(moveaxis(y, 1, -1), (self._window_count, y.shape[1]))
            terms = _multiply(self.factors, rows, filters)
            split = reshape(terms, (self.batch, *self.windows, channels, *self.taps))
            count = len(self.axes)
            order = (0, *range(1 + count, 2 + 2 * count), *range(1, 1 + count))
            return self._fold_terms(transpose(split, order), ())
        terms = _multiply(self.factors, filters, self._results(y), transpose_a=True)
        split = reshape(terms, (channels, 1, *self.taps, self.batch, *self.windows))
        return swapaxes(self._fold_terms(split, (self.batch,)), 0, 1)

    def _filter(self, x: Any, y: Any) -> Any:
        matrix = _multiply(self.factors, self._results(y), self._columns(x), transpose_b=True)
        return reshape(matrix, self.kind.shape)

    @staticmethod
    def _flat(w: Any) -> Any:
        return reshape(w, (w.shape[0], product(w.shape[1:])))

    @property
    def _window_count(self) -> Size:
        return product((self.batch, *self.windows))

    def _results(self, y: Any) -> Any:
        """Build the matrix of results, [o, windows of all images]."""
        return reshape(swapaxes(y, 0, 1), (y.shape[1], self._window_count))

    def _columns(self, x: Any) -> Any:
        """Build the matrix of patches, [c * taps, windows of all images]."""
        terms = product((x.shape[1], *self.taps))
        unfolded = self._unfold_image(swapaxes(x, 0, 1), (self.batch,))
        return reshape(unfolded, (terms, self._window_count))

    def _unfold_image(self, x: Any, batch: tuple[Size, ...]) -> Any:
        """Unfold an image, [..., batch, taps..., windows...]; ``batch`` is an axis of the image."""
        if self.form.is_pointwise:
            lead = 2 - len(batch)
            taps = (1,) * (len(batch) + len(self.taps))
            return reshape(x, (*x.shape[:lead], *taps, *x.shape[lead:]))
        return self._over_windows(UnfoldWindows, batch, self.windows)(x)

    def _fold_terms(self, terms: Any, batch: tuple[Size, ...]) -> Any:
        extents = self.kind.shape[2:]
        if self.form.is_pointwise:
            return reshape(terms, (*terms.shape[: 2 - len(batch)], *batch, *extents))
        return self._over_windows(FoldWindows, batch, extents)(terms)

    def _over_windows(self, kind: type[Any], batch: tuple[Size, ...], extents: Shape) -> Any:
        """Return an op over the windows of images, or of a batch; ``extents`` of its result."""
        ones, zeros, steps = (1,) * len(batch), (0,) * len(batch), [a.step for a in self.axes]
        return kind(
            (*ones, *self.taps),
            (*ones, *steps),
            (1,) * (len(batch) + len(steps)),
            (*zeros, *[axis.before for axis in self.axes]),
            (*batch, *extents),
        )


#: Least iterations that parts should give: of a gradient in tiles, and of other gradients.
_TILE_ITERATIONS: Final = 4
_ITERATIONS: Final = 8
#: Iterations from which on a gradient is not split into parts.
_ENOUGH_ITERATIONS: Final = 4
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


@late_pass("split-filter-gradients", keeps="close")
def split_filter_gradients(graph: Graph) -> Graph:
    """Rewrite filter gradients of few channels as sums over parts of the batch."""

    def split_gradient(
        node: Node, op: ConvFilter, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        parts = 0 if op.parts else split_iterations(node)[0]
        if parts == 0:
            return None
        return (sum_parts(node, args, parts),)

    return graph.replace_ops(ConvFilter, split_gradient)


def sum_parts(node: Node, args: tuple[Symbolic, ...], parts: int, tiles: bool = False) -> Symbolic:
    """Rewrite a filter gradient as the sum of those of parts of the batch."""
    assert isinstance(node.op, ConvFilter)
    op = replace(node.op, parts=parts, tiles=tiles)
    partial = op.infer(*(arg.type for arg in args))
    (value,) = rebuild(node, args, op=op, types=(partial,)).values
    total: Any = reshape(value, value.type.shape[1:]) if parts == 1 else aggregate.sum(value, 0)
    result: Symbolic = total
    return result


def count_tile_parts(channels: Sequence[Size]) -> int:
    """Return the parts of a gradient that is computed in tiles, by its channels on both sides."""
    shared = prod(-(-size // CHANNELS_TOGETHER) for size in channels if isinstance(size, int))
    return -(-_TILE_ITERATIONS // max(1, shared))


def split_iterations(node: Node) -> tuple[int, int]:
    """Choose the parts in which a filter gradient is rewritten: of the batch, chunks of channels.

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
    # iterations that one image's product has: panels of columns times chunks of rows
    shared = form.groups * panels * -(-rows // FED_ROWS)
    # enough iterations for the workers without parts of the batch
    if not 0 < shared < _ENOUGH_ITERATIONS:
        return int(pointwise), 1
    chunks = 1 if pointwise else max(1, min(channels, rows // LEAST_ROWS, _ITERATIONS // shared))
    image = product(tuple(axis.image for axis in form.axes))
    windows = product(tuple(axis.windows for axis in form.axes))
    size = form.groups * channels * image + out * windows
    if not isinstance(size, int) or size >= out * rows:
        chunks = 1
    parts = -(-_ITERATIONS // (shared * chunks))
    # parts of the channels alone need no sum
    if chunks > 1 and parts == 1:
        return 0, chunks
    return min(parts, max(1, batch) if isinstance(batch, int) else parts), chunks


def even_part(channels: int) -> int | None:
    """Return the channels per iteration of a split filter gradient, equally many; None if few.

    They are rows of a product, read in place.
    """
    chunks = -(-channels // FED_ROWS)
    return next((channels // n for n in range(chunks, 2 * chunks + 1) if channels % n == 0), None)


#: Least channels on each side; with strides that many for each element of one.
_CHANNELS: Final = 16
#: Products of the channels from which on combined filters have the order of terms.
_PAIRS: Final = 4096
#: Least products of the channels, and elements of an image along an axis, for tiles; one of the
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
#: The largest dilation: the kernel has a copy of its code for each phase. Each phase needs as many
#: channels and elements. Measured on Zen 4: 32 channels of 57 by 57 elements lose at a dilation of
#: 4.
_DILATION: Final = 4


@late_pass("winograd", keeps="close")
def use_winograd_tiles(graph: Graph) -> Graph:
    """Rewrite convolutions to ops over Winograd tiles, whose filters nodes in front transform."""

    def use_tiles(
        node: Node, op: Convolution, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        """Rewrite a convolution or its gradient to Winograd tiles, or return None."""
        if not _is_dense(node):
            return _multiply_in_pairs(node, op, args) if op.factors is BF16 else None
        tiled = replace(op, tiles=True)
        if isinstance(op, ConvFilter):
            parts = count_tile_parts(node.types[0].shape[:2])
            node = rebuild(node, node.args, op=replace(op, factors=None))
            return (sum_parts(node, args, parts, tiles=True),)
        backwards = isinstance(op, ConvImage)
        assert isinstance(node.form, WindowProduct)
        taps = [tile_taps(axis, not backwards) for axis in node.form.axes[-2:]]
        is_paired = op.factors is BF16 and _has_pairs(node)
        tiled = replace(tiled, factors=BF16 if is_paired else None)
        filters = _combine_filters(args[1], [tap for tap in taps if tap], backwards, is_paired)
        return rebuild(node, (args[0], filters), op=tiled).values

    return graph.replace_ops(Convolution, use_tiles)


def _multiply_in_pairs(
    node: Node, op: Convolution, args: tuple[Symbolic, ...]
) -> Sequence[Symbolic] | None:
    """Rewrite a convolution without tiles to multiply bfloat16 numbers in pairs.

    They are pairs of images in the gradient of a filter, and of channels in others with as many
    channels as tiles have. What is left multiplies float32 numbers. A convolution of one tap is a
    product, which makes its pairs as it packs.
    """
    assert isinstance(node.form, WindowProduct)
    if not isinstance(op, ConvFilter) and all(a.taps == a.step == 1 for a in node.form.axes):
        return None
    axes = (0, 0) if isinstance(op, ConvFilter) else (1, 1 if isinstance(op, Conv) else 0)
    summed, channels = args[0].type.shape[axes[0]], args[1].type.shape[:2]
    has_many = isinstance(op, ConvFilter) or (
        op.groups == 1 and all(isinstance(n, int) and n >= _CHANNELS for n in channels)
    )
    if not (has_many and isinstance(summed, int) and summed % 2 == 0):
        return rebuild(node, args, op=replace(op, factors=None)).values
    paired = tuple([pair_elements(arg, axis) for arg, axis in zip(args, axes, strict=True)])
    return rebuild(node, paired, op=replace(op, factors=U32)).values


def _has_pairs(node: Node) -> bool:
    """Return True if the channels of a convolution in tiles are multiplied in pairs."""
    form = node.form
    assert isinstance(form, WindowProduct)
    inner = node.args[0].type.shape[1]
    plain = len(form.axes) == 2 and all(axis.step == 1 for axis in form.axes)
    return plain and isinstance(inner, int) and inner % 2 == 0


def _is_dense(node: Node) -> bool:
    """Return True if a convolution is large enough for Winograd tiles to pay."""
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
        # With a dilation each phase of the image is a convolution of its own.
        plain = dilation == 1 or (not deep and dilation <= _DILATION)
    enough = _ENOUGH_FOR_TILES[kind]
    extent = min((n for pairs, n in enough if first * second >= pairs * dilation**2), default=None)
    plain &= dtype.is_float and not dtype.is_storage and form.groups == 1
    many = extent is not None and min(first, second) >= _CHANNELS * dilation * step
    thick = all(three and axis.step == 1 and _is_thick(axis) for axis in deep)
    tiled = all(_has_tiles(axis, form.result, extent or 0) for axis in (down, across))
    return plain and many and thick and tiled


def _has_tiles(axis: WindowAxis, result: str, extent: int) -> bool:
    """Return True if Winograd tiles save multiplications along a convolution's axis.

    They do not with two taps, or with three for each remainder, which ``use_stride_remainders``
    handles.
    """
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


def _combine_filters(
    filters: Symbolic, axes: Sequence[TileTaps], transposed: bool, is_paired: bool
) -> Symbolic:
    """Build the nodes of Winograd's filter transform: filters [..., combination, combination].

    Combinations are the outermost axes in memory, and with many channels the summed channels are
    the innermost one. ``is_paired``: combinations of two of them are one float32 number.
    """
    down, across = axes
    channels, summed = filters.type.shape[:2], int(not transposed)
    transposed = transposed and hint_value(channels[0] * channels[1]) >= _PAIRS
    ordered_filters: Any = swapaxes(filters, 0, 1) if transposed else filters
    lead = ordered_filters.type.shape[:-2]
    factors = [down.combinations(), across.combinations()]
    if down.taps * across.taps <= _MOST_COMBINED_TAPS:
        factors = [np.kron(*factors)]
    combined: Any = ordered_filters
    for factor in factors[::-1]:  # taps last, then first
        flat = reshape(combined, (product(combined.shape) // factor.shape[1], factor.shape[1]))
        numbers = constant(factor.astype(filters.dtype.numpy))
        combined = matmul(numbers, swapaxes(flat, 0, 1))
    split_axes: Any = reshape(combined, (down.combined_taps, across.combined_taps, *lead))
    if is_paired:
        split_axes = pair_elements(split_axes, 2 + (1 - summed if transposed else summed))
    deep = range(4, 2 + len(lead))
    result: Symbolic = transpose(split_axes, (*((3, 2) if transposed else (2, 3)), *deep, 0, 1))
    return result


#: Taps of a filter up to which one product combines both axes.
_MOST_COMBINED_TAPS: Final = 16


#: The factor by which padding may increase the number of taps, at most.
_MORE_TAPS: Final = 1.2
#: Remainders up to which the gradient of an image has a product for each (``WindowStrips``).
_FEW_REMAINDERS: Final = 9


@late_pass("space-to-depth", keeps="close")
def use_stride_remainders(graph: Graph) -> Graph:
    """Rewrite strided convolutions with stride 1, with a channel per stride remainder."""

    def use_remainders(
        node: Node, _: Convolution, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        if not _has_channel_remainders(node):
            return None
        result: Any = _RemainderProduct(node).result(*args)
        return (result,)

    return graph.replace_ops((Conv, ConvImage), use_remainders)


def _has_channel_remainders(node: Node) -> bool:
    """Return True if turning a convolution's stride into channels pays."""
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
    if steps <= (_FEW_REMAINDERS if form.result == "image" else 1):
        return False
    taps = [(int(axis.taps), axis.step) for axis in form.axes]
    return prod(-(-k // s) * s for k, s in taps) <= _MORE_TAPS * prod(k for k, _ in taps)


class _RemainderProduct:
    """The nodes that replace a strided convolution, or its image gradient, by one of stride 1."""

    def __init__(self, node: Node) -> None:
        form = node.form
        assert isinstance(form, WindowProduct)
        self.kind, self.over_windows = node.types[0], form.result == "windows"
        self.axes = form.axes
        self.steps = [axis.step for axis in form.axes]
        self.taps = [-(-int(axis.taps) // axis.step) for axis in form.axes]
        counts = zip(form.axes, self.taps, strict=True)
        self.remainder_sizes = [int(axis.windows) + taps - 1 for axis, taps in counts]

    def result(self, first: Any, w: Any) -> Any:
        """Rewrite a strided convolution (or image gradient) as nodes without stride."""
        filters = self._filter(w)
        ones = (1,) * len(self.steps)
        no_border = (0,) * len(self.steps)
        if self.over_windows:
            return Conv(ones, ones, no_border, self.kind.shape[2:])(self._image(first), filters)
        x = ConvImage(ones, ones, no_border, tuple(self.remainder_sizes))(first, filters)
        # depth to space: the channels of each stride remainder are elements of the image
        n, c, *extents = self.kind.shape
        count = len(self.steps)
        x = reshape(x, (n, c, *self.steps, *self.remainder_sizes))
        pairs = [2 + k + side * count for k in range(count) for side in (1, 0)]
        x = transpose(x, (0, 1, *pairs))
        padded_sizes = [
            places * step for places, step in zip(self.remainder_sizes, self.steps, strict=True)
        ]
        x = reshape(x, (n, c, *padded_sizes))
        starts = (0, 0, *(int(axis.before) for axis in self.axes))
        ends = [
            min(int(a.image) + int(a.before), s)
            for a, s in zip(self.axes, padded_sizes, strict=True)
        ]
        shape = (n, c, *(end - start for end, start in zip(ends, starts[2:], strict=True)))
        return _pad_to(
            slice_value(x, starts, shape, (1,) * x.ndim), (n, c, *extents), (0,) * x.ndim
        )

    def _filter(self, w: Any) -> Any:
        """Build the filter of the unstrided convolution, [o, c * remainders, taps...].

        For the gradient of an image, the axis o, over which products are summed, is inside the
        channels in memory.
        """
        o, c = w.shape[:2]
        padded_taps = [taps * step for taps, step in zip(self.taps, self.steps, strict=True)]
        w = _pad_to(w, (o, c, *padded_taps), (0,) * w.ndim)
        count = len(self.steps)
        w = reshape(w, (o, c, *_pairs(self.taps, self.steps)))
        taps, remainders = range(2, 2 + 2 * count, 2), range(3, 3 + 2 * count, 2)
        if self.over_windows:
            w = transpose(w, (0, 1, *remainders, *taps))
            return reshape(w, (o, c * prod(self.steps), *self.taps))
        w = transpose(w, (1, *remainders, 0, *taps))
        return swapaxes(reshape(w, (c * prod(self.steps), o, *self.taps)), 0, 1)

    def _image(self, x: Any) -> Any:
        """Build the image with a channel for each stride remainder (space to depth)."""
        n, c = x.shape[:2]
        padded_sizes = [
            count * step for count, step in zip(self.remainder_sizes, self.steps, strict=True)
        ]
        sizes = zip(self.axes, padded_sizes, strict=True)
        shape = (n, c, *(min(int(a.image), size - int(a.before)) for a, size in sizes))
        x = slice_value(x, (0,) * x.ndim, shape, (1,) * x.ndim)
        x = _pad_to(x, (n, c, *padded_sizes), (0, 0, *(int(axis.before) for axis in self.axes)))
        count = len(self.steps)
        x = reshape(x, (n, c, *_pairs(self.remainder_sizes, self.steps)))
        x = transpose(x, (0, 1, *range(3, 3 + 2 * count, 2), *range(2, 2 + 2 * count, 2)))
        return reshape(x, (n, c * prod(self.steps), *self.remainder_sizes))


def _pairs(counts: Sequence[int], steps: Sequence[int]) -> list[int]:
    return [extent for pair in zip(counts, steps, strict=True) for extent in pair]


def _pad_to(x: Any, shape: Sequence[Any], starts: Sequence[Any]) -> Any:
    return x if x.shape == tuple(shape) else Pad(tuple(shape), tuple(starts), (1,) * x.ndim)(x)
