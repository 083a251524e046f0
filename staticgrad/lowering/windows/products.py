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

from staticgrad.fusion.groups import Source, Walk
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access
from staticgrad.ir.forms import WindowAxis, WindowProduct
from staticgrad.ir.kernels.stages import Axis, Gemm
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.places import AxisPlace, WindowLowering, along, ends, reading_place
from staticgrad.types.arrays import Shape
from staticgrad.types.dim import Size, floordiv

#: Farther than any index: an index moved so far lies outside of every axis.
_OUTSIDE: Final = 1 << 40
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

    def lowered(self) -> LoweredStep:
        """Return the kernel of the group."""
        self.outer: list[Axis] = []
        self.first, self.second = (self.groups.source(arg) for arg in self.anchor.args)
        if self.form.result == "windows":
            return self._windows()
        return self._image() if self.form.result == "image" else self._filter()

    # -- the three results ------------------------------------------------------------------------

    def _windows(self) -> LoweredStep:
        x, w = self.first, self.second
        n, g = self._batch(), self._group()
        out, channels = self._part(w.type.shape[0]), w.type.shape[1]
        axes, (image,) = self._axes([x.layout.strides[2:]])
        js = self._columns([axis.windows for axis in axes])
        c, *taps = self._inner([channels, *(axis.taps for axis in axes)])
        self.places = (*along(n), self._channel(g, out, "i"), *along(*(j.name for j in js)))
        reading = [
            reading_place(axis, j.name, name_of(k))
            for axis, j, k in zip(axes, js, taps, strict=True)
        ]
        filters = self._filters([AxisPlace(((k.name, 1),) if k else ()) for k in taps])
        a = self._factor(w, (self._channel(g, out, "i"), *along(name_of(c)), *filters))
        moved = (*x.layout.strides[:2], *image)
        b = self._factor(x, (*along(n), self._channel(g, channels, name_of(c)), *reading), moved)
        return self._product((self.loop("i", out),), js, _inner_loops(c, taps), a, b)

    def _image(self) -> LoweredStep:
        y, w = self.first, self.second
        n, g = self._batch(), self._group()
        out, channels = self._part(w.type.shape[0]), w.type.shape[1]
        axes, (given,) = self._axes([y.layout.strides[2:]])
        residues = [self._residues(axis) for axis in axes]
        js = self._columns([elements(axis) for axis in axes])
        o, *terms = self._inner([out, *(-(-axis.taps // axis.residues) for axis in axes)])
        self.places = (
            *along(n),
            self._channel(g, channels, "i"),
            *(
                image_place(axis, j.name, *pair)
                for axis, j, pair in zip(axes, js, residues, strict=True)
            ),
        )
        found = zip(axes, js, terms, residues, strict=True)
        reading = [
            window_place(axis, j.name, name_of(t), apart) for axis, j, t, (_, apart) in found
        ]
        filters = self._filters(
            [
                filter_place(axis, name_of(t), u)
                for axis, t, (u, _) in zip(axes, terms, residues, strict=True)
            ]
        )
        a = self._factor(w, (self._channel(g, out, name_of(o)), *along("i"), *filters))
        moved = (*y.layout.strides[:2], *given)
        b = self._factor(y, (*along(n), self._channel(g, out, name_of(o)), *reading), moved)
        return self._product((self.loop("i", channels),), js, _inner_loops(o, terms), a, b)

    def _filter(self) -> LoweredStep:
        x, y = self.first, self.second
        g = self._group()
        domain = self.group.domain
        out, channels, axes = self._part(domain[0]), domain[1], self.form.axes
        sizes = [channels, *(axis.taps for axis in axes)]
        rows = self._flattened(sizes, "i", [False] + [True] * len(axes))
        inner = self._inner([y.type.shape[0], *(axis.windows for axis in axes)], literal=False)
        c, *taps = rows
        n, *ys = inner
        self.places = (
            self._channel(g, out, VECTOR),
            *along(name_of(c), *(name_of(tap) for tap in taps)),
        )
        reading = [
            reading_place(axis, name_of(at), name_of(tap))
            for axis, at, tap in zip(axes, ys, taps, strict=True)
        ]
        places = along(*(name_of(at) for at in ys))
        a = self._factor(x, (*along(name_of(n)), self._channel(g, channels, name_of(c)), *reading))
        b = self._factor(y, (*along(name_of(n)), self._channel(g, out, VECTOR), *places))
        loops = tuple(row for row in rows if row is not None)
        return self._product(loops, (self.loop(VECTOR, out),), _inner_loops(n, ys), a, b)

    # -- loops ------------------------------------------------------------------------------------

    def _batch(self) -> str:
        self.outer.append(self.loop("i0", self.group.domain[0]))
        return "i0"

    def _group(self) -> str:
        """Return the loop over groups; "" if there is only one group."""
        if self.form.groups == 1:
            return ""
        self.outer.append(self.loop(f"i{len(self.outer)}", self.form.groups))
        return self.outer[-1].name

    def _part(self, channels: Size) -> Size:
        return channels if self.form.groups == 1 else floordiv(channels, self.form.groups)

    def _residues(self, axis: WindowAxis) -> tuple[str, str]:
        names = []
        for extent in (axis.residues, axis.shared):
            name = f"i{len(self.outer)}" if extent > 1 else ""
            if name:
                self.outer.append(self.loop(name, extent, taps=True))
            names.append(name)
        return names[0], names[1]

    @staticmethod
    def _channel(group: str, part: Size, loop: str) -> AxisPlace:
        terms = [(n, s) for n, s in ((group, part), (loop, 1)) if n]
        return AxisPlace(tuple(terms))

    def _fresh(self) -> str:
        self.made = getattr(self, "made", len(self.outer) + 8) + 1
        return f"i{self.made}"

    def _columns(self, extents: Sequence[Size]) -> tuple[Axis, ...]:
        names = [self._fresh() for _ in extents[1:]] + [VECTOR]
        return tuple(self.loop(name, extent) for name, extent in zip(names, extents, strict=True))

    def _inner(self, extents: Sequence[Size], literal: bool = True) -> list[Axis | None]:
        """Return the loops of the sum, None for extent 1; the last one is called k."""
        return self._flattened(extents, "k", [False] + [literal] * (len(extents) - 1))

    def _flattened(
        self, extents: Sequence[Size], last: str, literal: Sequence[bool]
    ) -> list[Axis | None]:
        long = [k for k, extent in enumerate(extents) if extent != 1] or [0]
        return [
            self.loop(last if k == long[-1] else self._fresh(), extent, taps=taps)
            if k in long
            else None
            for k, (extent, taps) in enumerate(zip(extents, literal, strict=True))
        ]

    def _axes(self, strides: Sequence[Shape]) -> tuple[tuple[WindowAxis, ...], list[Shape]]:
        axes = self.form.axes
        trivial = all(
            axis.step == axis.taps == 1 and axis.before == 0 and axis.image == axis.windows
            for axis in axes
        )
        if not trivial:
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

    def _filters(self, places: Sequence[AxisPlace]) -> Sequence[AxisPlace]:
        missing = len(self.form.axes) - len(places)
        return (*places, *(AxisPlace(()) for _ in range(missing)))

    def _product(
        self,
        rows: tuple[Axis, ...],
        columns: tuple[Axis, ...],
        inner: tuple[Axis, ...],
        a: Access,
        b: Access,
    ) -> LoweredStep:
        dtype = self.first.type.dtype
        result = ex.ref("acc", dtype.compute).cast(dtype)
        stage = Gemm(rows, columns, inner, a, b, tuple(self.stores(result)))
        return self.finish([stage], self.outer)


def name_of(loop: Axis | None) -> str:
    """Return the name of a loop; "" for an axis of one element, which has no loop."""
    return loop.name if loop else ""


def _inner_loops(first: Axis | None, rest: Sequence[Axis | None]) -> tuple[Axis, ...]:
    return tuple(loop for loop in (first, *rest) if loop is not None)


# -- elements of an image by the windows over them ------------------------------------------------


def _first(axis: WindowAxis) -> Size:
    most = axis.dilation * (axis.residues - 1) + axis.shared - 1
    return (axis.before - most + axis.step - 1) // axis.step


def elements(axis: WindowAxis) -> Size:
    """Return the largest number of q for one remainder."""
    return (axis.image - 1 + axis.before) // axis.step - _first(axis) + 1


def image_place(axis: WindowAxis, loop: str, u: str | int = "", apart: str | int = "") -> AxisPlace:
    """Return the element of the image at q = ``loop`` for the taps u + residues * t.

    ``u`` and ``apart`` are loops or indices; elements with ``apart`` > 0 have no taps.
    """
    start = axis.step * _first(axis) - axis.before
    terms: list[tuple[str, Size]] = [(loop, axis.step)] if loop else []
    low, high = start, start + axis.step * (elements(axis) - 1)
    for at, step, count in (
        (u, axis.dilation, axis.residues),
        (apart, 1, axis.shared),
    ):
        if isinstance(at, int):
            start, low, high = start + step * at, low + step * at, high + step * at
        elif at:
            terms.append((at, step))
            high = high + step * (count - 1)
    return AxisPlace(tuple(terms), start, ends(low, high, axis.image))


def window_place(axis: WindowAxis, loop: str, term: str | int = "", apart: str = "") -> AxisPlace:
    """Return the window whose tap u + residues * ``term`` is at the element q = ``loop``."""
    step = axis.dilation // axis.shared
    count = -(-axis.taps // axis.residues)
    start = _first(axis)
    terms: list[tuple[str, Size]] = [(loop, 1)] if loop else []
    low, high = start, start + elements(axis) - 1
    if isinstance(term, int):
        start, low, high = start - step * term, low - step * term, high - step * term
    elif term:
        terms.append((term, -step))
        low = low - step * (count - 1)
    extent = ends(low, high, axis.windows)
    if apart:
        terms.append((apart, -_OUTSIDE))
        extent = axis.windows
    return AxisPlace(tuple(terms), start, extent)


def filter_place(axis: WindowAxis, term: str, u: str) -> AxisPlace:
    """Return the place of the tap u + residues * term."""
    residues = axis.residues
    terms = [(name, step) for name, step in ((u, 1), (term, residues)) if name]
    count = -(-axis.taps // residues)
    last = (residues - 1 if u else 0) + residues * (count - 1)
    return AxisPlace(tuple(terms), 0, ends(0, last, axis.taps))
