"""Lower convolutions to products whose rows, columns or inner indices are several loops.

The image is read in place: several loops move the index that a window reads. The rows and columns
are channels and windows for a result, channels and elements for an image, and channels and taps by
output channels for a filter. With strides, elements of an image at equal remainders have the same
taps, so that an image is a product for each remainder.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from staticgrad.compiler.fusion.groups import Source, Walk
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep
from staticgrad.compiler.lowering.windows.places import (
    AffineIndex,
    WindowLowering,
    loop_indices,
    residue_elements,
)
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access
from staticgrad.language.ir.forms import WindowAxis, WindowProduct
from staticgrad.language.ir.kernels.stages import Axis, Gemm
from staticgrad.language.types.arrays import Shape
from staticgrad.language.types.dim import Size, floordiv


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
        return self._lower_filter() if self.form.result == "filter" else self._lower_channels()

    def _lower_channels(self) -> LoweredStep:
        """Lower a convolution to a product whose columns are windows (or elements of an image)."""
        over_windows = self.form.result == "windows"
        n, g = self.outer_loop(self.group.domain[0]), self._group_loop()
        channels, inner = self._group_channels(self.second.type.shape[0]), self.second.type.shape[1]
        if not over_windows:
            channels, inner = inner, channels
        axes, (read,) = self._axes([self.first.layout.strides[2:]])
        remainders = [(None, None) if over_windows else self._remainders(axis) for axis in axes]
        i = self.loop(channels, "i")
        js = self.nest(*(axis.windows if over_windows else residue_elements(axis) for axis in axes))
        taps = (axis.taps if over_windows else -(-axis.taps // axis.residues) for axis in axes)
        c, *ks = self._make_loops([inner, *taps], "k", [False] + [True] * len(axes))
        row, term = self.affine_index((g, channels), (i, 1)), self.affine_index((g, inner), (c, 1))
        filters: Sequence[AffineIndex]
        if over_windows:
            result_indices, filters = loop_indices(*js), (row, *loop_indices(c, *ks))
            reading = [self.read_index(*axis_loop) for axis_loop in zip(axes, js, ks, strict=True)]
        else:
            axis_loops = [*zip(axes, js, ks, remainders, strict=True)]
            result_indices = tuple(
                self.image_index(axis, j, *pair) for axis, j, _, pair in axis_loops
            )
            reading = [self.window_index(axis, j, k, gap) for axis, j, k, (_, gap) in axis_loops]
            tap_indices = [
                self.affine_index((u, 1), (k, axis.residues), extent=axis.taps)
                for axis, _, k, (u, _) in axis_loops
            ]
            filters = (term, *loop_indices(i), *tap_indices)
        merged = loop_indices(*[None] * (len(self.form.axes) - len(axes)))
        self.domain_index = (*loop_indices(n), row, *result_indices)
        a = self._factor_access(self.second, (*filters, *merged))
        strides = (*self.first.layout.strides[:2], *read)
        b = self._factor_access(self.first, (*loop_indices(n), term, *reading), strides)
        return self._product((i,), js, (c, *ks), a, b)

    def _lower_filter(self) -> LoweredStep:
        """Lower a filter gradient to a product whose inner index is images and windows."""
        g, domain, axes = self._group_loop(), self.group.domain, self.form.axes
        out, channels = self._group_channels(domain[0]), domain[1]
        alike = [True] * len(axes)
        c, *taps = self._make_loops([channels, *(axis.taps for axis in axes)], "i", [False, *alike])
        images = self.second.type.shape[0]
        n, *ys = self._make_loops([images, *(axis.windows for axis in axes)], "k")
        j = self.loop(out, VECTOR)
        self.domain_index = (self.affine_index((g, out), (j, 1)), *loop_indices(c, *taps))
        reading = [self.read_index(*axis_loop) for axis_loop in zip(axes, ys, taps, strict=True)]
        a = self._factor_access(
            self.first, (*loop_indices(n), self.affine_index((g, channels), (c, 1)), *reading)
        )
        b = self._factor_access(
            self.second, (*loop_indices(n), self.affine_index((g, out), (j, 1)), *loop_indices(*ys))
        )
        return self._product((c, *taps), [j], (n, *ys), a, b)

    # -- loops ------------------------------------------------------------------------------------

    def _group_loop(self) -> Axis | None:
        """Return the loop over groups, or None for a single group."""
        return None if self.form.groups == 1 else self.outer_loop(self.form.groups)

    def _group_channels(self, channels: Size) -> Size:
        return channels if self.form.groups == 1 else floordiv(channels, self.form.groups)

    def _remainders(self, axis: WindowAxis) -> tuple[Axis | None, Axis | None]:
        taps, gaps = (
            self.outer_loop(extent, taps=True) if extent > 1 else None
            for extent in (axis.residues, axis.common_step)
        )
        return taps, gaps

    def _make_loops(
        self, extents: Sequence[Size], last: str, literal: Sequence[bool] = ()
    ) -> list[Axis | None]:
        """Return a convolution's product loops, None for extent 1; ``last`` names the last one."""
        long = [k for k, extent in enumerate(extents) if extent != 1] or [0]
        return [
            self.loop(extent, last if k == long[-1] else "", taps=any(literal[k : k + 1]))
            if k in long
            else None
            for k, extent in enumerate(extents)
        ]

    def _axes(self, strides: Sequence[Shape]) -> tuple[tuple[WindowAxis, ...], list[Shape]]:
        """Return a convolution's axes and strides; a pointwise (1x1) one has them merged."""
        axes = self.form.axes
        if not self.form.is_pointwise:
            return axes, [*strides]
        extents, merged_strides = self.merge_last(len(axes), strides)
        if not extents:
            extents, merged_strides = (1,), [(1,) for _ in merged_strides]
            self.merged = {original: (*merged, 1) for original, merged in self.merged.items()}
        return tuple(WindowAxis(1, 1, 0, 1, extent, extent) for extent in extents), merged_strides

    # -- the product ------------------------------------------------------------------------------

    def _factor_access(
        self, source: Source, indices: Sequence[AffineIndex], strides: Shape | None = None
    ) -> Access:
        """Return the access to an image or filter, the factors of a convolution's product."""
        layout, is_filter = source.layout, self.form.result != "filter" and source is self.second
        walk = Walk(source.base, layout.offset, layout.strides if strides is None else strides)
        # The largest literal stride is the number of taps of a filter's channel, if it is constant.
        taps = prod((axis.taps for axis in self.form.axes), start=1)
        most = taps if is_filter and isinstance(taps, int) else 1
        return self.access_at(walk, indices, source.type.dtype, most=most)

    def _product(
        self,
        rows: Sequence[Axis | None],
        columns: Sequence[Axis],
        inner: Sequence[Axis | None],
        a: Access,
        b: Access,
    ) -> LoweredStep:
        """Return the kernel of one GEMM stage over a convolution's row, column and inner loops."""
        dtype = self.first.type.dtype
        stores = tuple(self.stores(ex.ref("acc", dtype.compute).cast(dtype)))
        i, k = (tuple(loop for loop in loops if loop) for loops in (rows, inner))
        gemm = Gemm(i, tuple(columns), k, a, b, stores, factors=self.form.factors)
        return self.finish([gemm], self.outer)
