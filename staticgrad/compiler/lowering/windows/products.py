"""Convolutions to kernels: products whose rows, columns or inner indices are several loops.

The image is read in place: several loops move the index that a window reads. The rows and columns
of a result are its channels and windows, those of an image its channels and elements, those of a
filter its channels and taps by output channels. With strides, elements of an image at equal
remainders have the same taps, so that an image is a product for each remainder.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from staticgrad.compiler.fusion.groups import Source, Walk
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep
from staticgrad.compiler.lowering.windows.places import AxisPlace, WindowLowering, along, elements
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access
from staticgrad.language.ir.forms import WindowAxis, WindowProduct
from staticgrad.language.ir.kernels.stages import Axis, Gemm
from staticgrad.language.types.arrays import Shape
from staticgrad.language.types.dim import Size, floordiv

#: Taps of a filter up to which the strides between them are literals.
_MOST_TAPS: Final = 64


class WindowProducts(WindowLowering):
    """The state of lowering a convolution, or one of its transposes, with its epilogue."""

    @property
    def form(self) -> WindowProduct:
        """The form of the product."""
        form = self.anchor.form
        assert isinstance(form, WindowProduct)
        return form

    def lower(self) -> LoweredStep:
        """Return the kernel of the group."""
        return self._filter() if self.form.result == "filter" else self._over_channels()

    def _over_channels(self) -> LoweredStep:
        """Return the product whose columns are windows, or the elements of an image."""
        over_windows = self.form.result == "windows"
        n, g = self.outer_loop(self.group.domain[0]), self._group()
        channels, inner = self._part(self.second.type.shape[0]), self.second.type.shape[1]
        if not over_windows:
            channels, inner = inner, channels
        axes, (read,) = self._axes([self.first.layout.strides[2:]])
        remainders = [(None, None) if over_windows else self._remainders(axis) for axis in axes]
        i = self.loop(channels, "i")
        js = self.nest(*(axis.windows if over_windows else elements(axis) for axis in axes))
        taps = (axis.taps if over_windows else -(-axis.taps // axis.residues) for axis in axes)
        c, *ks = self._flattened([inner, *taps], "k", [False] + [True] * len(axes))
        row, term = self.at((g, channels), (i, 1)), self.at((g, inner), (c, 1))
        filters: Sequence[AxisPlace]
        if over_windows:
            found, filters = along(*js), (row, *along(c, *ks))
            reading = [self.read_place(*each) for each in zip(axes, js, ks, strict=True)]
        else:
            every = [*zip(axes, js, ks, remainders, strict=True)]
            found = tuple(self.image_place(axis, j, *pair) for axis, j, _, pair in every)
            reading = [self.window_place(axis, j, k, apart) for axis, j, k, (_, apart) in every]
            taken = [
                self.at((u, 1), (k, axis.residues), extent=axis.taps)
                for axis, _, k, (u, _) in every
            ]
            filters = (term, *along(i), *taken)
        merged = along(*[None] * (len(self.form.axes) - len(axes)))
        self.places = (*along(n), row, *found)
        a = self._factor(self.second, (*filters, *merged))
        strides = (*self.first.layout.strides[:2], *read)
        b = self._factor(self.first, (*along(n), term, *reading), strides)
        return self._product((i,), js, (c, *ks), a, b)

    def _filter(self) -> LoweredStep:
        g, domain, axes = self._group(), self.group.domain, self.form.axes
        out, channels = self._part(domain[0]), domain[1]
        alike = [True] * len(axes)
        c, *taps = self._flattened([channels, *(axis.taps for axis in axes)], "i", [False, *alike])
        images = self.second.type.shape[0]
        n, *ys = self._flattened([images, *(axis.windows for axis in axes)], "k")
        j = self.loop(out, VECTOR)
        self.places = (self.at((g, out), (j, 1)), *along(c, *taps))
        reading = [self.read_place(*each) for each in zip(axes, ys, taps, strict=True)]
        a = self._factor(self.first, (*along(n), self.at((g, channels), (c, 1)), *reading))
        b = self._factor(self.second, (*along(n), self.at((g, out), (j, 1)), *along(*ys)))
        return self._product((c, *taps), [j], (n, *ys), a, b)

    # -- loops ------------------------------------------------------------------------------------

    def _group(self) -> Axis | None:
        """Return the loop over groups, if there are several."""
        return None if self.form.groups == 1 else self.outer_loop(self.form.groups)

    def _part(self, channels: Size) -> Size:
        return channels if self.form.groups == 1 else floordiv(channels, self.form.groups)

    def _remainders(self, axis: WindowAxis) -> tuple[Axis | None, Axis | None]:
        taps, apart = (
            self.outer_loop(extent, taps=True) if extent > 1 else None
            for extent in (axis.residues, axis.shared)
        )
        return taps, apart

    def _flattened(
        self, extents: Sequence[Size], last: str, literal: Sequence[bool] = ()
    ) -> list[Axis | None]:
        """Return loops, None for extent 1; the last one is called ``last``."""
        long = [k for k, extent in enumerate(extents) if extent != 1] or [0]
        return [
            self.loop(extent, last if k == long[-1] else "", taps=any(literal[k : k + 1]))
            if k in long
            else None
            for k, extent in enumerate(extents)
        ]

    def _axes(self, strides: Sequence[Shape]) -> tuple[tuple[WindowAxis, ...], list[Shape]]:
        axes = self.form.axes
        if not self.form.is_pointwise:
            return axes, [*strides]
        kept, moved = self.merge_last(len(axes), strides)
        if not kept:
            kept, moved = (1,), [(1,) for _ in moved]
            self.merged = {own: (*found, 1) for own, found in self.merged.items()}
        return tuple(WindowAxis(1, 1, 0, 1, extent, extent) for extent in kept), moved

    # -- the product ------------------------------------------------------------------------------

    def _factor(
        self, source: Source, places: Sequence[AxisPlace], strides: Shape | None = None
    ) -> Access:
        layout, is_filter = source.layout, self.form.result != "filter" and source is self.second
        walk = Walk(source.base, layout.offset, layout.strides if strides is None else strides)
        # The largest literal stride: elements of a channel of a filter if they are few.
        taps = prod((axis.taps for axis in self.form.axes), start=1)
        few = is_filter and isinstance(taps, int) and taps <= _MOST_TAPS
        return self.located(walk, places, source.type.dtype, most=int(taps) if few else 1)

    def _product(
        self,
        rows: Sequence[Axis | None],
        columns: Sequence[Axis],
        inner: Sequence[Axis | None],
        a: Access,
        b: Access,
    ) -> LoweredStep:
        dtype = self.first.type.dtype
        stores = tuple(self.stores(ex.ref("acc", dtype.compute).cast(dtype)))
        i, k = (tuple(loop for loop in loops if loop) for loops in (rows, inner))
        return self.finish([Gemm(i, tuple(columns), k, a, b, stores)], self.outer)
