"""Lower convolutions and image gradients to products over copied strips (implicit GEMM).

An iteration copies a strip (band) of some channels into scratch, with its border. There every tap
has a fixed offset from its element in every row. So the columns of the product are all consecutive
elements of the strip, including those between rows and some that fill a panel, and nothing is
packed. The results are stored in scratch, too, from which the epilogue reads the valid columns. The
sums equal those of the product that reads windows in place, term by term.

The image gradient of a strided convolution is a product for each remainder of the strides: elements
of an image at one remainder have the same taps, and these read adjacent windows. The results of the
remainders along the last axis are stored together, next to each other.

In a strip that is copied once, every row ends in a border, and the product computes unused columns
there: half of all columns for a 4 x 4 image. For small images and for strides a strip is copied
once for each tap along the last axis (im2col), in the order in which that tap reads it. Rows then
follow each other without a border, and rows of several images are adjacent. Taps along an axis with
a step > 1 have copies, too. All copies of a channel are made from its strip with the border, which
is copied first, so that no tap needs bounds or steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Final

from staticgrad.analysis.cost import COPIED
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep
from staticgrad.compiler.lowering.windows.places import (
    AffineIndex,
    StripAxis,
    Taps,
    loop_indices,
    map_over,
)
from staticgrad.compiler.lowering.windows.products import WindowProducts
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.forms import WindowProduct
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.directives import Prefetch
from staticgrad.language.ir.kernels.stages import Axis, Gemm, Loop, Map, Stage, Store
from staticgrad.language.types.arrays import c_strides, hint_value
from staticgrad.language.types.dim import Size, maximum, minimum
from staticgrad.native.machine import current
from staticgrad.support import fuses

#: Elements of a strip and of its results, about: they stay in L2.
STRIP: Final = 3 << 15
#: Elements of a strip along the only axis of an image, at least.
_FEWEST_ELEMENTS: Final = 128
#: Desired number of iterations; columns of an iteration, at least, that justify a border; its rows.
_DESIRED_ITERATIONS: Final = 4
_FEWEST_COLUMNS: Final = 256
_ROWS: Final = 16
#: The scratch: copies of strips, the strip of a channel, results of products.
PLANE, CHANNEL, RESULT = range(3)
#: Elements of the copies of an iteration, about.
_COPY_ELEMENTS: Final = 2 * STRIP
#: The same as ``COPIED``, of a vector of a strip that is copied once, with bounds checks. With 30,
#: 5x5 windows of 8 channels of 14 by 14 elements take a quarter longer.
_COPIED_ONCE: Final = 24
#: Channels of the result, at least, so that copies pay if windows have a step > 1.
_ROWS_COPIED: Final = 64


def has_phases(form: WindowProduct) -> bool:
    """Return True if a product computes images whose taps differ for each of a few remainders."""
    steps = [axis.step for axis in form.axes]
    is_static = all(isinstance(n, int) for axis in form.axes for n in (axis.taps, axis.before))
    is_coprime = all(axis.common_step == 1 for axis in form.axes)
    return (
        form.result == "image"
        and is_static
        and is_coprime
        and 1 < prod(steps) <= fuses.WINDOW_PHASES
    )


class _Costs:
    """The costs of a convolution at likely sizes, per image, in cycles.

    ``copies``: the cost of copies for each tap, with the cheapest rows and images of an iteration;
    ``once``: the cost of strips that are copied once.
    """

    def __init__(self, node: Node) -> None:
        form = node.form
        assert isinstance(form, WindowProduct)
        over_windows = form.result == "windows"
        first, second = (max(1, hint_value(size)) for size in node.args[1].type.shape[:2])
        first = -(-first // form.groups)
        self.out, self.inner = (first, second) if over_windows else (second, first)
        axes = [StripAxis(axis, over_windows) for axis in form.axes]
        self.result_counts = [max(1, hint_value(axis.result_count)) for axis in axes]
        self.reaches = [0 if axis.stride > 1 else hint_value(axis.reach) for axis in axes[:-1]]
        self.reach = hint_value(axes[-1].reach)
        self.copied = prod(
            hint_value(a.copies) for k, a in enumerate(axes, 1) if k == len(axes) or a.stride > 1
        )
        self.taps = max(1, prod(hint_value(axis.taps) for axis in form.axes))
        self.images = max(1, hint_value(node.args[0].type.shape[0]))
        self.lanes = node.types[0].dtype.compute.lanes
        self.between = prod(
            n + r for n, r in zip(self.result_counts[1:-1], self.reaches[1:], strict=True)
        )

    @property
    def copies(self) -> tuple[float, tuple[int, int]]:
        cut = min(self._strip_sizes, key=lambda cut: (self._cost(*cut), self._elements(*cut)))
        return self._cost(*cut), cut

    @property
    def once(self) -> float:
        row_elements = max(self.inner, self.out) * (self.result_counts[-1] + self.reach)
        rows = -(
            -self.result_counts[0] // -(-self.result_counts[0] // max(STRIP // row_elements, 1))
        )
        return self._in_strips(rows, 1, self.reach, _COPIED_ONCE)

    def _in_strips(self, rows: int, images: int, reach: int, copied: float) -> float:
        """Estimate the cost of an implicit GEMM over strips with a border of ``reach``."""
        columns = self._columns(rows, images, reach) // self.lanes
        vectors = (
            (rows + self.reaches[0])
            * self.between
            * -(-(self.result_counts[-1] + reach) // self.lanes)
        )
        products = columns * self.out * self.taps / current().per_cycle
        cost = self.inner * (products + vectors * images * copied)
        return cost * -(-self.result_counts[0] // rows) / images

    def _cost(self, rows: int, images: int) -> float:
        return self._in_strips(rows, images, 0, self.copied * COPIED)

    def _columns(self, rows: int, images: int, reach: int) -> int:
        row = self.between * (self.result_counts[-1] + reach) * images
        return -(-(rows * row - reach) // self.lanes) * self.lanes

    def _elements(self, rows: int, images: int) -> int:
        return self.copied * self.inner * self._columns(rows + self.reaches[0], images, 0)

    @property
    def _strip_sizes(self) -> Iterator[tuple[int, int]]:
        """Yield the candidate sizes of a strip: rows of one image, or several small images."""
        high = self.result_counts[0]
        yield 1, 1
        for rows in range(2, high + 1):
            if self._elements(rows, 1) > _COPY_ELEMENTS:
                break
            yield -(-high // -(-high // rows)), 1
        for images in range(2, self.images // _DESIRED_ITERATIONS + 1):
            if self._elements(high, images) > _COPY_ELEMENTS:
                break
            yield high, images


def by_columns(node: Node) -> bool:
    """Return True if a convolution is lowered by a copy for each tap (im2col)."""
    form = node.form
    assert isinstance(form, WindowProduct)
    strips = form.lies_in_strips or has_phases(form)
    single = len(form.axes) < 2 or all(axis.taps == 1 for axis in form.axes)
    if form.result == "filter" or single or (form.result == "image" and not strips):
        return False
    copies = StripAxis(form.axes[-1], form.result == "windows").copies
    if not isinstance(copies, int) or copies > fuses.STORED_COPIES:
        return False
    costs = _Costs(node)
    return costs.copies[0] < costs.once if strips else costs.out >= _ROWS_COPIED


class WindowStrips(WindowProducts):
    """The state of lowering a convolution by strips, for its result or for its image."""

    #: True if a strip has copies for the taps of some axes.
    copies = False

    def lower(self) -> LoweredStep:
        """Return a convolution's kernel by implicit GEMM: copies, products and the epilogue."""
        self.dtype = self.first.type.dtype
        self.over_windows = self.form.result == "windows"
        self.axes = [StripAxis(axis, self.over_windows) for axis in self.form.axes]
        filters, self.batch = self.second.type.shape, self.group.domain[0]
        self.out, self.inner = self._group_channels(filters[0]), filters[1]
        if not self.over_windows:
            self.out, self.inner = self.inner, self.out
        self.strip, self.images = self._choose_strip()
        self.image_count = minimum(self.images, self.batch) if self.images > 1 else 1
        self.n = self.outer_loop(-(-self.batch // self.images))
        self.strips = self.outer_loop(-(-self.axes[0].result_count // self.strip))
        self.g = self._group_loop()
        self.channel_count = self._choose_channels()
        self.part = (
            None
            if self.channel_count == self.out
            else self.outer_loop(self.out // self.channel_count)
        )
        reaches = [0 if self._has_copies(k) else axis.reach for k, axis in enumerate(self.axes)]
        between = [axis.result_count + r for axis, r in zip(self.axes, reaches, strict=True)][1:]
        strides = c_strides((1, self.image_count, *between))
        self.plane_strides, self.image_stride = (strides[0], *strides[2:]), strides[1]
        self.extents = [self.strip, *(axis.result_count for axis in self.axes[1:])]
        columns: Size = 1 + (self.image_count - 1) * self.image_stride
        columns = columns + sum(
            (n - 1) * s for n, s in zip(self.extents, self.plane_strides, strict=True)
        )
        lanes = self.dtype.compute.lanes
        self.panels = -(-columns // lanes) * lanes
        further = -(self.panels - columns) // maximum(self.plane_strides[0], 1)  # 0: empty
        high = self.strip + reaches[0] - further
        self.plane = high * self.plane_strides[0]
        self.wide = [high, *between]
        return self.finish((self._copy_stage(), *self._product_stages()), self.outer)

    # -- sizes ------------------------------------------------------------------------------------

    def _has_copies(self, number: int) -> bool:
        last = number == len(self.axes) - 1
        return self.copies and (last or self.axes[number].stride > 1)

    def _choose_strip(self) -> tuple[int, int]:
        """Choose the rows of a convolution's strip and the images of an iteration."""
        if self.copies:
            return _Costs(self.anchor).copies[1]
        axes, batch = self.axes, max(1, hint_value(self.first.type.shape[0]))
        row = prod(hint_value(axis.result_count) + hint_value(axis.reach) for axis in axes[1:])
        channels = max(hint_value(self.out) * axes[-1].step, hint_value(self.inner), 1)
        least = _FEWEST_ELEMENTS if len(axes) == 1 else 1
        rows = max(1, hint_value(axes[0].result_count))
        strips = -(-rows // max(STRIP // (channels * max(row, 1)), least))
        more = -(-_DESIRED_ITERATIONS // (batch * self.form.groups))
        if rows * row >= more * _FEWEST_COLUMNS:
            strips = max(strips, more)
        return -(-rows // strips), 1

    def _choose_channels(self) -> Size:
        """Choose a convolution's channels per iteration: fewer if there were too few iterations."""
        strips = -(-max(1, hint_value(self.axes[0].result_count)) // self.strip)
        image_groups = -(-max(1, hint_value(self.batch)) // self.images)
        iterations, out = image_groups * strips * self.form.groups, self.out
        if iterations >= _DESIRED_ITERATIONS or not isinstance(out, int):
            return out
        enough = range(-(-_DESIRED_ITERATIONS // iterations), _DESIRED_ITERATIONS + 1)
        return next((out // parts for parts in enough if out % (parts * _ROWS) == 0), out)

    def _channel(self, loop: Axis, group: Axis | None) -> AffineIndex:
        """Return the index of a channel of the result; ``group`` None: without a group."""
        return self.affine_index((group, self.out), (self.part, self.channel_count), (loop, 1))

    def _image_loop(self) -> Axis | None:
        return self.loop(self.image_count) if self.images > 1 else None

    def _image_of(self, loop: Axis | None) -> AffineIndex:
        return self.affine_index((self.n, self.images), (loop, 1), extent=self.batch)

    # -- copies -----------------------------------------------------------------------------------

    def _copy_stage(self) -> Stage:
        """Return the copy of a strip of images, or of each channel's strip and then of each tap."""
        c = self.loop(self.inner)
        if self.copies:
            return Loop(c, (), (self._bordered_strip(c), self._copy_taps(c)), ())
        rows = self.nest(*self.wide)
        value = self._read(None, c, [self._strip_index(k, row) for k, row in enumerate(rows)])
        moves = [(c, self.plane), *zip(rows, self.plane_strides, strict=True)]
        copied = map_over([c, *rows], [Store(self.scratch_access(PLANE, moves), value)])
        return self.annotate(Prefetch(c.name, 1), copied)

    def _read(self, image: Axis | None, c: Axis, indices: Sequence[AffineIndex]) -> Expr:
        channel = self.affine_index((self.g, self.inner), (c, 1))
        return self.element(self.first, (self._image_of(image), channel, *indices)).cast(self.dtype)

    def _strip_index(self, number: int, loop: Axis) -> AffineIndex:
        """Return the index at which a convolution's copied strip is read along an axis."""
        axis = self.axes[number]
        step = self.strip * (axis.stride if self._has_copies(number) else 1)
        strips = self.strips if number == 0 else None
        return self.affine_index(
            (strips, step), (loop, 1), start=axis.start, extent=axis.source_extent
        )

    def _bordered_strip(self, c: Axis) -> Map:
        """Return the map that copies a channel's strip with its border, by column remainder."""
        last, image = self.axes[-1], self._image_loop()
        *rows, column = self.nest(*self._strip_rows[:-1], self._strip_row)
        indices = [self._strip_index(k, row) for k, row in enumerate(rows)]
        moves = [*zip((image, *rows, column), self._strip_strides, strict=True)]
        stores = []
        for remainder in range(last.stride):
            start = last.start + remainder
            index = self.affine_index((column, last.stride), start=start, extent=last.source_extent)
            to = self.scratch_access(CHANNEL, moves, remainder * self._strip_row)
            stores.append(Store(to, self._read(image, c, [*indices, index])))
        return map_over([image, *rows, column], stores)

    def _copy_taps(self, c: Axis) -> Map:
        """Return the map that copies a channel's strip once for each tap (im2col of a strip)."""
        *axes, last = self.axes
        copies = [
            self.loop(axis.copies, taps=True) if self._has_copies(k) else None
            for k, axis in enumerate(axes)
        ]
        image, (*rows, column) = self._image_loop(), self.nest(*self.wide)
        image_stride, *strides, _ = self._strip_strides
        read: list[tuple[Axis | None, Size]] = [(image, image_stride), (column, 1)]
        for axis, row, copy, by in zip(axes, rows, copies, strides, strict=True):
            read += [(row, by * (axis.stride if copy else 1)), (copy, by * axis.copy_step)]
        *between, beyond = self._copy_strides
        moves = [
            *zip(copies, between, strict=True),
            *zip((*rows, column), self.plane_strides, strict=True),
        ]
        moves += [(c, self.plane), (image, self.image_stride)]
        stores = []
        for tap in range(int(last.copies)):
            shift, remainder = divmod(last.copy_step * tap, last.stride)
            tap_access = self.scratch_access(CHANNEL, read, remainder * self._strip_row + shift)
            to = self.scratch_access(PLANE, moves, tap * beyond)
            stores.append(Store(to, ex.load(tap_access, self.dtype)))
        return map_over([*copies, image, *rows, column], stores)

    @property
    def _copy_strides(self) -> list[Size]:
        """The stride from copy to copy along each axis."""
        counts = [a.copies if self._has_copies(k) else 1 for k, a in enumerate(self.axes)]
        return [self.inner * self.plane * stride for stride in c_strides(tuple(counts))]

    @property
    def _strip_row(self) -> Size:
        last = self.axes[-1]
        return self.wide[-1] + last.copy_step * (int(last.copies) - 1) // last.stride

    @property
    def _strip_rows(self) -> list[Size]:
        """The number of elements of a convolution's strip along each axis."""
        return [
            axis.stride * (wide - 1) + axis.copy_step * (axis.copies - 1) + 1
            if self._has_copies(k)
            else wide
            for k, (axis, wide) in enumerate(zip(self.axes, self.wide, strict=True))
        ]

    @property
    def _strip_strides(self) -> Sequence[Size]:
        rows = self._strip_rows[:-1]
        return c_strides((1, *rows, self.axes[-1].stride * self._strip_row))

    # -- products ---------------------------------------------------------------------------------

    def _product_stages(self) -> Sequence[Stage]:
        """Return a convolution's products for each phase of the stride, with their epilogues."""
        stages: list[Stage] = []
        for phases in product(*(range(axis.step) for axis in self.axes[:-1])):
            has_taps = []
            for phase in range(self.axes[-1].step):
                axis_phases = enumerate(zip(self.axes, (*phases, phase), strict=True))
                taps = [axis.taps(phase, self._has_copies(k)) for k, (axis, phase) in axis_phases]
                has_taps.append(all(axis_taps.count != 0 for axis_taps in taps))
                if has_taps[-1]:
                    stages.append(self._product_stage(taps, RESULT + phase))
            stages.append(self._epilogue_stage(phases, has_taps))
        return stages

    def _product_stage(self, along_axes: Sequence[Taps], result: int) -> Gemm:
        """Return the GEMM of one phase: filters by the copied strip over channels and taps."""
        i, j = self.loop(self.channel_count, "i"), self.loop(self.panels, VECTOR)
        counts = [axis_taps.count for axis_taps in along_axes]
        c, *taps = self._make_loops([self.inner, *counts], "k", [False] + [True] * len(counts))
        filters = [
            self.affine_index((tap, axis_taps.step), start=axis_taps.first)
            for tap, axis_taps in zip(taps, along_axes, strict=True)
        ]
        if self.over_windows:
            channels = (self._channel(i, self.g), *loop_indices(c))
        else:
            channels = (self.affine_index((self.g, self.inner), (c, 1)), self._channel(i, None))
        a = self._factor_access(self.second, (*channels, *filters))
        moves: list[tuple[Axis | None, Size]] = [(j, 1), (c, self.plane)]
        start: Size = 0
        copies = self._copy_strides
        for n, (axis_taps, tap) in enumerate(zip(along_axes, taps, strict=True)):
            stride = copies[n] if self._has_copies(n) else self.plane_strides[n]
            moves.append((tap, axis_taps.read_step * stride))
            start = start + axis_taps.start * stride
        b = self.scratch_access(PLANE, moves, start)
        dtype = self.dtype.compute
        to = self.scratch_access(result, [(i, self.panels), (j, 1)], dtype=dtype)
        k = tuple(loop for loop in (c, *taps) if loop)
        store = Store(to, ex.ref("acc", dtype))
        return Gemm((i,), (j,), k, a, b, (store,), factors=self.form.factors)

    def _epilogue_stage(self, phases: Sequence[int], has_taps: Sequence[bool]) -> Map:
        """Return the epilogue over a strip's valid columns; phases without taps are 0."""
        i, (first, *inner), image = (
            self.loop(self.channel_count),
            self.nest(*self.extents),
            self._image_loop(),
        )
        loops = (first, *inner)
        moves = [
            (i, self.panels),
            *zip(loops, self.plane_strides, strict=True),
            (image, self.image_stride),
        ]
        dtype, stores = self.dtype.compute, list[Store]()
        for phase, is_kept in enumerate(has_taps):
            axis_phases = enumerate(zip(loops, (*phases, phase), strict=True))
            indices = [self._result_index(k, loop, at) for k, (loop, at) in axis_phases]
            self.move_to((self._image_of(image), self._channel(i, self.g), *indices))
            value: Expr = ex.literal(0, dtype)
            if is_kept:
                value = ex.load(self.scratch_access(RESULT + phase, moves, dtype=dtype), dtype)
            stores += self.stores(value.cast(self.dtype))
        return map_over([i, first, image, *inner], stores)

    def _result_index(self, number: int, loop: Axis, phase: int) -> AffineIndex:
        axis = self.axes[number]
        strips = self.strips if number == 0 else None
        terms = (strips, self.strip * axis.step), (loop, axis.step)
        return self.affine_index(*terms, start=phase, extent=axis.result_extent)


class WindowColumns(WindowStrips):
    """The state of lowering a convolution by copies for each tap (im2col), with adjacent images."""

    copies = True
