"""Lower filter gradients of convolutions: an image at a time, or all small images tap by tap.

An iteration has some channels of the image and a panel of output channels, and loops over the
batch. It copies the channels of an image with the border. In the copy every tap of every window has
a fixed offset, for any step, so that no row of the product is packed. The windows of the image are
transposed once for all rows. The sums equal those of the product that reads windows in place, term
by term.

**Small images.** The terms of each tap are copied to a row. Image by image, a run of terms is a row
of windows: less than a vector if images are small. Here an iteration copies some channels of all
images once for each tap, in the order in which that tap reads them. A row of the copy has all terms
of a tap in the order of the sum, and the result is a product of plain matrices, stored row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from passes.late.windows import LEAST_ROWS, even_part, is_fed, split_iterations
from staticgrad.analysis.layout import collapse
from staticgrad.compiler.fusion.groups import Source
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep
from staticgrad.compiler.lowering.windows.places import AffineIndex, loop_indices, map_over
from staticgrad.compiler.lowering.windows.products import WindowProducts
from staticgrad.compiler.lowering.windows.strips import STRIP
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.forms import WindowProduct
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.stages import (
    FED_ROWS,
    Axis,
    Gemm,
    Keep,
    Map,
    Scalar,
    Store,
    panel_columns,
)
from staticgrad.language.types.arrays import Shape, c_strides, hint_value
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64

#: Elements of the copied channels, about: they stay in L2.
COPIED: Final = 1 << 17
#: Desired number of iterations.
_DESIRED_ITERATIONS: Final = 4
#: Images, at most, for which partial gradients cost more than transposing results again.
_FEW_IMAGES: Final = 32
#: The remaining columns and images of an iteration.
_COLUMNS: Final = "r0"
_IMAGES: Final = "r1"


class WindowFilters(WindowProducts):
    """The state of lowering a filter gradient."""

    def lower(self) -> LoweredStep:
        """Return the kernel of a filter gradient: a product that copies images first."""
        axes, dtype = self.form.axes, self.first.type.dtype
        numbers, images, part = self._images()
        self.g = self._group_loop()
        out, self.channels = self.group.domain[len(part) :][:2]
        self.out = self._group_channels(out)
        self.wide = [axis.step * (axis.windows - 1) + axis.reach + 1 for axis in axes]
        self.plane, *self.plane_strides = c_strides((1, *self.wide))
        width = panel_columns(dtype)
        self.part = self._choose_channels(width)
        limit, column, index = self._panel(width)
        self.chunk = self.outer_loop(-(-self.channels // self.part))
        product = self._product_stage(part, column, index, images)
        return self.finish((*numbers, *limit, product), self.outer)

    def _product_stage(
        self, part: Sequence[AffineIndex], column: Axis, index: AffineIndex, images: Axis
    ) -> Gemm:
        """Return the GEMM of a filter gradient, (channels, taps) by output channels."""
        axes = self.form.axes
        c = self.loop(self.part)
        taps = self._make_loops([axis.taps for axis in axes], "i", [True] * len(axes))
        ys = self._make_loops([axis.windows for axis in axes], "k")
        b = self._factor_access(self.second, (self.image, index, *loop_indices(*ys)))
        stored = self.affine_index((self.chunk, self.part), (c, 1), extent=self.channels)
        self.domain_index = (*part, index, stored, *loop_indices(*taps))
        moves: list[tuple[Axis | None, Size]] = [(c, self.plane)]
        for axis, stride, tap, y in zip(axes, self.plane_strides, taps, ys, strict=True):
            moves += [(tap, axis.dilation * stride), (y, axis.step * stride)]
        return Gemm(
            (c, *(tap for tap in taps if tap)),
            (column,),
            (images, *(y for y in ys if y)),
            self.scratch_access(0, moves),
            b,
            tuple(self.stores(ex.ref("acc", self.first.type.dtype))),
            (self._copy_image(c),),
            factors=self.form.factors,
        )

    # -- sizes ------------------------------------------------------------------------------------

    def _images(self) -> tuple[tuple[Scalar, ...], Axis, tuple[AffineIndex, ...]]:
        """Return the loop of a filter gradient over images, all or those of a part.

        The first result is the stage that stores the remaining images; the last one is the index of
        the part.
        """
        batch = self.second.type.shape[0]
        if not self.form.parts:
            images = self.loop(batch)
            (self.image,) = loop_indices(images)
            return (), images, ()
        image_count, part = -(-batch // self.form.parts), self.outer_loop(self.form.parts)
        images = self.loop(image_count, past=_IMAGES)
        self.image = self.affine_index((part, image_count), (images, 1), extent=batch, within=True)
        left = self.size(batch) - ex.index(part.name) * self.size(image_count)
        return (Scalar((Keep(_IMAGES, left),)),), images, loop_indices(part)

    def _choose_channels(self, width: int) -> int:
        """Choose how many input channels an iteration of a filter gradient has."""
        taps = prod(int(axis.taps) for axis in self.form.axes)
        channels = max(1, hint_value(self.channels))
        outer_iterations = (
            max(1, self.form.parts) * self.form.groups * -(-hint_value(self.out) // width)
        )
        most = min(FED_ROWS, max(28, COPIED // max(1, hint_value(self.plane)) * taps)) // taps
        chunks = -(-channels // max(1, most))
        pays = max(1, channels * taps // LEAST_ROWS)
        chunks = max(chunks, min(pays, -(-_DESIRED_ITERATIONS // max(1, outer_iterations))))
        if self.form.parts and hint_value(self.second.type.shape[0]) <= _FEW_IMAGES:
            chunks = max(chunks, split_iterations(self.anchor)[1])
        if chunks > 1 and chunks * outer_iterations % 2:
            chunks += 1
        return -(-channels // chunks)

    def _panel(self, width: int) -> tuple[tuple[Scalar, ...], Axis, AffineIndex]:
        """Return the column loop of a filter gradient's panel, and the output channel's index.

        The first result is the stage that stores the number of remaining columns.
        """
        if isinstance(self.out, int) and self.out <= width:
            column = self.loop(self.out, VECTOR)
            return (), column, self.affine_index((self.g, self.out), (column, 1))
        panel, column = self.outer_loop(-(-self.out // width)), Axis(VECTOR, width, _COLUMNS)
        self.sizes_of[VECTOR] = width
        left = self.size(self.out) - ex.index(panel.name) * ex.literal(width, I64)
        terms = (self.g, self.out), (panel, width), (column, 1)
        index = self.affine_index(*terms, extent=self.out * self.form.groups, within=True)
        return (Scalar((Keep(_COLUMNS, left),)),), column, index

    # -- the product ------------------------------------------------------------------------------

    def _copy_image(self, c: Axis) -> Map:
        """Return the map that copies an image's channel with its border for a filter gradient."""
        rows = self.nest(*self.wide)
        indices = [
            self.affine_index((row, 1), start=-axis.before, extent=axis.image)
            for axis, row in zip(self.form.axes, rows, strict=True)
        ]
        terms = (self.g, self.channels), (self.chunk, self.part), (c, 1)
        channel = self.affine_index(*terms, extent=self.channels * self.form.groups)
        value = self.element(self.first, (self.image, channel, *indices))
        moves = [(c, self.plane), *zip(rows, self.plane_strides, strict=True)]
        return map_over([c, *rows], [Store(self.scratch_access(0, moves), value)])


class WindowPoints(WindowFilters):
    """The state of lowering a filter gradient with one tap; rows of the image are read in place."""

    def _choose_channels(self, width: int) -> int:
        part = even_part(int(self.channels))
        assert part is not None
        return part

    def _product_stage(
        self, part: Sequence[AffineIndex], column: Axis, index: AffineIndex, images: Axis
    ) -> Gemm:
        """Return the GEMM of a pointwise (1x1) filter gradient, which reads images in place."""
        axes, sources = self.form.axes, (self.first, self.second)
        c = self.loop(self.part, "i")
        points, _, strides = _window_loops(self, *sources)
        channel = self.affine_index((self.chunk, self.part), (c, 1))
        self.domain_index = (*part, index, channel, *loop_indices(*[None] * len(axes)))
        a, b = (
            self._factor_access(
                source,
                (self.image, at, *loop_indices(*points)),
                (*source.layout.strides[:2], *steps),
            )
            for source, at, steps in zip(sources, (channel, index), strides, strict=True)
        )
        result = ex.ref("acc", self.first.type.dtype)
        stores, factors = tuple(self.stores(result)), self.form.factors
        return Gemm((c,), (column,), (images, *points), a, b, stores, factors=factors)


def _window_loops(
    low: WindowProducts, *sources: Source
) -> tuple[list[Axis], Shape, Sequence[Sequence[Size]]]:
    """Return a filter gradient's loops over windows, merged where strides allow, with extents."""
    windows = [axis.windows for axis in low.form.axes]
    extents, strides = collapse(windows, [source.layout.strides[2:] for source in sources])
    if not extents:  # an image has one window
        extents, strides = [1], [[1] for _ in sources]
    return [*map(low.loop, extents[:-1]), low.loop(extents[-1], "k")], tuple(extents), strides


#: Elements of the copies of an iteration, at most.
_COPY_ELEMENTS: Final = 2 * STRIP
#: Desired number of iterations; panels of columns of an iteration, at least.
_WANTED_COPIES: Final = 4
_PANELS: Final = 2
#: Rows of w windows, image by image, take 1 + 4 / w of a plain product's time; 1 + 8 / w with
#: steps. A vector of gathered copies costs 30 multiplications of vectors: with 24, gradients of
#: 64 to 128 filters of 3x3 with steps, at 28 by 28, take 1.3 times as long. Transposed panels cost
#: a twentieth of the product.
_ROW_OVERHEAD: Final = 4
_COPIED: Final = 30
_TRANSPOSED: Final = 0.05


def channels_by_columns(node: Node) -> int:
    """Return a filter gradient's channels per iteration by im2col; 0 if copies do not pay."""
    form, dtype = node.form, node.types[0].dtype
    assert isinstance(form, WindowProduct)
    if not is_fed(form, dtype) or form.parts or form.tiles or form.groups > 1:
        return 0
    out, channels, *taps = node.types[0].shape
    if not (isinstance(channels, int) and all(isinstance(tap, int) for tap in taps)):
        return 0
    last = form.axes[-1]
    wide, slow = hint_value(last.windows), _ROW_OVERHEAD * (2 if last.step > 1 else 1)
    # in multiplications of vectors, for a vector of copies
    spared = hint_value(out) / (2 * dtype.lanes) * (slow - _TRANSPOSED * wide)
    if wide >= dtype.lanes or spared < _COPIED:
        return 0
    count = prod(int(tap) for tap in taps)
    terms = prod(hint_value(axis.windows) for axis in form.axes)
    terms *= max(1, hint_value(node.args[0].type.shape[0]))
    most = min(_COPY_ELEMENTS // max(1, count * terms), channels // _WANTED_COPIES)
    part = next((n for n in range(most, 0, -1) if channels % n == 0), 0)
    return part if part * count >= _PANELS * panel_columns(dtype) else 0


class WindowFilterColumns(WindowProducts):
    """The state of lowering a filter gradient by copies for each tap."""

    def lower(self) -> LoweredStep:
        """Lower a filter gradient by im2col: copy the windows of each tap, then one product."""
        axes, dtype = self.form.axes, self.anchor.types[0].dtype
        extents_left, _ = self.merge_last(1 + len(axes), [])
        if len(extents_left) != 1:  # something else is read or stored in another order
            return WindowFilters(self.groups, self.group).lower()
        part, (out, channels) = channels_by_columns(self.anchor), self.group.domain[:2]
        chunk = self.outer_loop(channels // part)
        batch, windows = self.second.type.shape[0], [axis.windows for axis in axes]
        strides_of_terms = c_strides((batch, *windows))
        counts, terms = tuple(int(axis.taps) for axis in axes), prod(windows, start=batch)
        c, image = self.loop(part), self.loop(batch)
        taps = [self.loop(count, taps=True) for count in counts]
        rows = self.nest(*windows)
        indices = [
            self.read_index(*axis_loops) for axis_loops in zip(axes, rows, taps, strict=True)
        ]
        channel = self.affine_index((chunk, part), (c, 1))
        value = self.element(self.first, (*loop_indices(image), channel, *indices))
        moves = [(c, prod(counts) * terms)]
        moves += [(tap, s * terms) for tap, s in zip(taps, c_strides(counts), strict=True)]
        moves += zip((image, *rows), strides_of_terms, strict=True)
        store = Store(self.scratch_access(0, moves), value)
        copied = map_over([c, *taps, image, *rows], [store])
        columns = part * prod(counts)
        i, j = self.loop(out, "i"), self.loop(columns, VECTOR)
        points, extents, (window_strides,) = _window_loops(self, self.second)
        strides = (*self.second.layout.strides[:2], *window_strides)
        a = self._factor_access(self.second, loop_indices(image, i, *points), strides)
        moves = [(j, terms), (image, strides_of_terms[0])]
        b = self.scratch_access(0, [*moves, *zip(points, c_strides(extents), strict=True)])
        self.domain_index = (*loop_indices(i), self.affine_index((chunk, columns), (j, 1)))
        stores = tuple(self.stores(ex.ref("acc", dtype)))
        product = Gemm((i,), (j,), (image, *points), a, b, stores, factors=self.form.factors)
        return self.finish([copied, product], self.outer)
