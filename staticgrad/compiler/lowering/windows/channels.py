"""Lower depthwise convolutions to maps over windows, or to sums along rows.

A matrix product does not pay: with one channel on each side of a group a register tile has no
operand to reuse. An element is a chain of its taps in the order of the product's terms, bitwise
identical to the product. A tap of the filter is a sum of products of rows: vectors are summed down
the rows, then along the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Final

from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep
from staticgrad.compiler.lowering.windows.maps import Residue, WindowMaps
from staticgrad.compiler.lowering.windows.places import (
    AffineIndex,
    StripAxis,
    loop_indices,
    map_over,
)
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr
from staticgrad.language.ir.forms import WindowProduct
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.stages import (
    FEW,
    Accumulate,
    Axis,
    Columns,
    Map,
    Scalar,
    Stage,
    Store,
)
from staticgrad.language.types.arrays import c_strides, hint_value
from staticgrad.language.types.dim import Size, is_at_least
from staticgrad.support import fuses

#: Unrolled taps of an element, at most.
_MOST_TAPS: Final = 49
#: Elements of a channel of all images that are copied with their border, at most.
_COPIED: Final = 1 << 17
#: Taps that read each element of a copy, at least, so that it pays: with 2.25 (3 x 3, step 2)
#: results and filters take 1.02 to 1.43 of the time without, with 6.25 (5 x 5, step 2) .44 to .87.
_FEWEST_READS: Final = 4
#: Interleaved rows, at most: each chain is bound by latency. Chains of at least ``_LONG`` taps
#: interleave twice as many.
_MOST_INTERLEAVED: Final = 4
_LONG_CHAIN: Final = 25
#: The scratch buffers of a filter: rows of its taps, and the copy.
_ROWS, _COPY = 0, 1


def is_by_channels(node: Node) -> bool:
    """Return True for a depthwise convolution: one channel on each side of a group and few taps."""
    form = node.form
    if not isinstance(form, WindowProduct) or node.types[0].dtype.is_storage or form.factors:
        return False
    filters = node.types[0] if form.result == "filter" else node.args[1].type
    taps = prod((axis.taps for axis in form.axes), start=1)
    single = filters.shape[0] == form.groups and filters.shape[1] == 1
    few = isinstance(taps, int) and taps <= _MOST_TAPS
    return single and few and prod(axis.step for axis in form.axes) <= fuses.WINDOW_PHASES


class WindowChannels(WindowMaps):
    """The state of lowering a depthwise convolution, or one of its transposes."""

    def lower(self) -> LoweredStep:
        """Return the kernel of a depthwise convolution or of its image or filter gradient."""
        form = self.anchor.form
        assert isinstance(form, WindowProduct)
        self.axes, self.dtype = form.axes, self.anchor.types[0].dtype
        self.over_windows = form.result != "image"
        self.spread = not self.over_windows and any(axis.step > 1 for axis in self.axes)
        self.strips = [StripAxis(axis, self.over_windows) for axis in self.axes]
        if form.result == "filter":
            return self._lower_filter()
        if self._pays_to_spread() if self.spread else self._pays_to_copy(1):
            return self._lower_chain()
        return self.lower_map(self._chain) if self.over_windows else self.lower_spread("product")

    # -- elements ---------------------------------------------------------------------------------

    def _weight(self, leading: Sequence[AffineIndex], tap: Sequence[int]) -> Expr:
        indices = (leading[1], AffineIndex(()), *(AffineIndex((), k) for k in tap))
        return self.element(self.second, indices)

    def _add_tap(self, total: Expr, weight: Expr, value: Expr) -> Expr:
        return weight.fma(value, total) if self.dtype.is_float else total + weight * value

    def _chain(self, leading: Sequence[AffineIndex], loops: Sequence[Axis]) -> Expr:
        total = ex.literal(0, self.dtype)
        taps = product(*(range(int(axis.taps)) for axis in self.axes))
        for tap, (value, _) in zip(taps, self.taps(leading, loops), strict=True):
            total = self._add_tap(total, self._weight(leading, tap), value)
        return total

    def _lower_chain(self) -> LoweredStep:
        """Lower a depthwise convolution to a map over windows: multiply-adds over the taps."""
        outer = self._lead_loops()
        extents = [axis.windows if self.over_windows else axis.image for axis in self.axes]
        taps = [*product(*(range(int(axis.taps)) for axis in self.axes))]
        interleaved, rows = _count_interleaved_rows(extents, len(taps)), extents[-2:][0]
        iterations = -(-rows // interleaved)
        # If all rows of an image, a vector each, are interleaved, taps above or below the image
        # are known when lowering, and masks along rows cost less than a copy.
        numbers = [number for axis in self.strips for number in (axis.start, axis.source_extent)]
        is_static = len(self.axes) == 2 and all(isinstance(number, int) for number in numbers)
        vector = isinstance(extents[-1], int) and extents[-1] <= self.dtype.lanes
        in_place = is_static and vector and interleaved == rows > 1 and self.axes[-1].step == 1
        in_place = in_place and not self.spread
        if self.spread and len(self.axes) > 1:  # the taps of each row are known when lowering
            interleaved = -(-interleaved // self.axes[-2].step) * self.axes[-2].step
            iterations = -(-rows // interleaved)
        if interleaved > 1:
            step = self.axes[-2].step if self.over_windows else 1
            self.wide[-2] = self.wide[-2] + step * (interleaved * iterations - rows)
            extents[-2] = iterations
        self.literal_ends = in_place
        leading = loop_indices(*outer)
        copied = () if in_place else self._copy_image((), leading)
        loops = [self.loop(extent, taps=in_place) for extent in extents[:-1]]
        loops.append(self.loop(extents[-1], VECTOR, taps=in_place))
        stores: list[Store] = []
        for row in range(interleaved):
            indices = [*loop_indices(*loops)]
            if in_place:
                indices[-2] = AffineIndex((), row)
            elif interleaved > 1:
                indices[-2] = self.affine_index((loops[-2], interleaved), start=row, extent=rows)
            self.move_to((*leading, *indices))
            total = ex.literal(0, self.dtype)
            for tap in taps:
                if self.spread and interleaved > 1 and self._reads_zeros(row, tap[-2]):
                    continue
                if in_place:
                    # without a bordered copy: 0 above, below, left and right of the image
                    loop = loops[-1]
                    y, x = (
                        int(strip.start)
                        + axis.dilation * (k if self.over_windows else int(axis.taps) - 1 - k)
                        for axis, strip, k in zip(self.axes, self.strips, tap, strict=True)
                    )
                    y = y + row * (self.axes[0].step if self.over_windows else 1)
                    if not 0 <= y < int(self.strips[0].source_extent):
                        value = ex.literal(0, self.dtype)
                    else:
                        index = self.affine_index(
                            (loop, 1), start=x, extent=self.strips[1].source_extent
                        )
                        value = self.element(self.first, (*leading, AffineIndex((), y), index))
                else:
                    access = self._copy_access(None, loops, tap, row, interleaved)
                    value = self.loaded.setdefault((access, None), ex.load(access, self.dtype))
                total = self._add_tap(total, self._weight(leading, tap), value)
            stores += self.stores(total)
        return self.finish([*copied, map_over(loops, stores)], outer)

    def _reads_zeros(self, row: int, tap: int) -> bool:
        """Return True if a tap reads none of the windows for this row of an image gradient."""
        axis = self.axes[-2]
        at = row + axis.before - axis.dilation * tap
        return isinstance(at, int) and at % axis.step != 0

    def accumulate_taps(
        self, kind: str, leading: Sequence[AffineIndex], loops: Sequence[Axis], residue: Residue
    ) -> Expr:
        """Return an image gradient's element: the sum of the taps over it, one after the other."""
        total = ex.literal(0, self.dtype)
        if any(gap for _, gap in residue):
            return total
        for tap, indices in self.taps_over(loops, residue):
            if indices:
                weight, value = (
                    self._weight(leading, tap),
                    self.element(self.first, (*leading, *indices)),
                )
                total = self._add_tap(total, weight, value)
        return total

    # -- filters ----------------------------------------------------------------------------------

    def _lower_filter(self) -> LoweredStep:
        """Lower a depthwise filter gradient: sums over images and rows first, then over columns."""
        group, counts = self.outer_loop(self.group.domain[0]), [int(a.taps) for a in self.axes]
        outer_count = len(counts) - 1 if prod(counts) > FEW else 0
        outer_taps = [self.outer_loop(count, taps=True) for count in counts[:outer_count]]
        inner_taps = product(*map(range, counts[outer_count:]))
        taps: list[tuple[int | Axis, ...]] = [(*outer_taps, *tap) for tap in inner_taps]
        n = self.loop(self.first.type.shape[0])
        copied: Sequence[Stage] = ()
        if self._pays_to_copy(self.first.type.shape[0]):
            copied = self._copy_image((n,), loop_indices(n, group))
        loops = self.nest(*(axis.windows for axis in self.axes))
        gradient = self.element(self.second, loop_indices(n, group, *loops))
        down: list[Accumulate] = []
        row_stores: list[Store] = []
        across: list[Accumulate] = []
        stores: list[Store] = []
        for number, tap in enumerate(taps):
            if copied:
                read = ex.load(self._copy_access(n, loops, tap), self.dtype)
            else:
                indices = [self.read_index(*a) for a in zip(self.axes, loops, tap, strict=True)]
                read = self.element(self.first, (*loop_indices(n, group), *indices))
            down.append(Accumulate(f"r{number}", "sum", read * gradient))
            row = self.scratch_access(_ROWS, [(loops[-1], 1)], number * self.axes[-1].windows)
            row_stores.append(Store(row, ex.ref(f"r{number}", self.dtype)))
            total = f"r{len(taps) + number}"
            across.append(Accumulate(total, "sum", ex.load(row, self.dtype)))
            self.move_to((*loop_indices(group, None), *(self.affine_index((k, 1)) for k in tap)))
            stores += self.stores(ex.ref(total, self.dtype))
        summed = Columns(loops[-1], (n, *loops[:-1]), tuple(down), tuple(row_stores))
        stages: list[Stage] = [*copied, summed, Map(loops[-1], tuple(across))]
        return self.finish([*stages, Scalar(tuple(stores))], self.outer)

    def _pays_to_copy(self, images: Size) -> bool:
        """Return True if copying an image with its border pays: many reads, and it fits in L2."""
        self.wide = [
            axis.reach + (axis.step * (axis.windows - 1) + 1 if self.over_windows else axis.image)
            for axis in self.axes
        ]
        size = hint_value(images) * prod(hint_value(extent) for extent in self.wide)
        many = prod(int(axis.taps) for axis in self.axes) >= _FEWEST_READS * prod(
            axis.step for axis in self.axes
        )
        bordered = any(
            not (is_at_least(axis.start, 0) and is_at_least(axis.source_extent, axis.start + wide))
            for axis, wide in zip(self.strips, self.wide, strict=True)
        )
        return many and size <= _COPIED and bordered

    def _pays_to_spread(self) -> bool:
        """Return True if windows are copied with zeros between them, as far as their steps.

        Then an image gradient reads neighbours: a map over the remainders of the steps stores
        every ``step``-th element, which takes an instruction for each.
        """
        self._pays_to_copy(1)
        size = prod(hint_value(extent) for extent in self.wide)
        inside = all(
            is_at_least(axis.reach, axis.before)
            and is_at_least(axis.image - 1 + axis.before, axis.step * (axis.windows - 1))
            for axis in self.axes
        )
        return inside and size <= _COPIED

    def _copy_access(
        self,
        n: Axis | None,
        loops: Sequence[Axis],
        tap: Sequence[int | Axis],
        row: int = 0,
        interleaved: int = 1,
    ) -> Access:
        """Return the access to a tap in the copy of an image with its border."""
        # ``row`` is one of the ``interleaved`` rows along the last axis but one.
        plane, *strides = c_strides((1, *self.wide))
        moves: list[tuple[Axis | None, Size]] = [(n, plane)]
        start: Size = 0
        axis_loops = zip(self.axes, loops, strides, tap, strict=True)
        for number, (axis, loop, by, k) in enumerate(axis_loops, 2 - len(loops)):
            step = axis.step * by if self.over_windows else by
            if number == 0:
                start, step = start + row * step, interleaved * step
            moves.append((loop, step))
            if isinstance(k, int):
                past = k if self.over_windows else axis.taps - 1 - k
                start = start + axis.dilation * past * by
            else:
                moves.append((k, axis.dilation * by))
        return self.scratch_access(_COPY, moves, start)

    def _copy_image(self, n: tuple[Axis, ...], leading: Sequence[AffineIndex]) -> Sequence[Map]:
        """Return the maps that copy an image with a border of zeros to scratch."""
        # If the size of the border is static, zeros are stored first and overwritten by the image.
        plane, *strides = c_strides((1, *self.wide))
        if self.spread:
            return self._copy_spread(leading)
        ranges: list[tuple[int, Size]] = []
        for strip, wide in zip(self.strips, self.wide, strict=True):
            start, past = strip.start, strip.start + wide - strip.source_extent
            if isinstance(start, int) and isinstance(past, int):
                first = max(-start, 0)
                ranges.append((first, wide - first - max(past, 0)))
            else:
                ranges.append((0, wide))
        rows = self.nest(*(count for _, count in ranges))
        indices = [
            self.affine_index((row, 1), start=strip.start + first, extent=strip.source_extent)
            for row, strip, (first, _) in zip(rows, self.strips, ranges, strict=True)
        ]
        at = sum(first * by for (first, _), by in zip(ranges, strides, strict=True))
        moves = [(loop, plane) for loop in n] + [*zip(rows, strides, strict=True)]
        value = self.element(self.first, (*leading, *indices))
        store = Store(self.scratch_access(_COPY, moves, at), value)
        copied = map_over([*n, *rows], [store])
        if [count for _, count in ranges] == self.wide:
            return (copied,)
        return self._zeros((self.first.type.shape[0] if n else 1) * plane), copied

    def _copy_spread(self, leading: Sequence[AffineIndex]) -> Sequence[Map]:
        """Return the maps that copy windows to scratch with zeros between and around them."""
        plane, *strides = c_strides((1, *self.wide))
        rows = self.nest(*(axis.windows for axis in self.axes))
        value = self.element(self.first, (*leading, *loop_indices(*rows)))
        at: Size = 0
        moves: list[tuple[Axis | None, Size]] = []
        for axis, row, by in zip(self.axes, rows, strides, strict=True):
            at = at + (axis.reach - axis.before) * by
            moves.append((row, axis.step * by))
        store = Store(self.scratch_access(_COPY, moves, at), value)
        return self._zeros(plane), map_over(rows, [store])

    def _zeros(self, count: Size) -> Map:
        """Return the map that stores zeros to the copy."""
        flat = self.loop(count, VECTOR)
        zero = Store(self.scratch_access(_COPY, [(flat, 1)]), ex.literal(0, self.dtype))
        return map_over([flat], [zero])


def _count_interleaved_rows(extents: Sequence[Size], taps: int) -> int:
    # An iteration with fewer rows takes about as long (latency), so there are few iterations.
    rows = extents[-2] if len(extents) > 1 else 1
    most = _MOST_INTERLEAVED if taps < _LONG_CHAIN else 2 * _MOST_INTERLEAVED
    if not isinstance(rows, int):
        return most
    return -(-rows // max(-(-rows // most), 1)) or 1
