"""Image gradients of strided convolutions: a product for each remainder of the strides.

Elements of an image at one remainder have the same taps, and these read adjacent windows. So a
strip of the windows is copied once, with its border, and each remainder is a product of its taps
over the places of the strip, as in ``strips``. The results of the remainders along the last axis
are stored together, next to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Final

from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Expr
from staticgrad.ir.forms import WindowAxis, WindowProduct
from staticgrad.ir.kernels.stages import Map, Stage, Store
from staticgrad.lowering.operands import VECTOR
from staticgrad.lowering.windows.places import AxisPlace, ends
from staticgrad.lowering.windows.strips import RESULT, Taps, WindowStrips
from staticgrad.types.dim import Size

#: Remainders that have products in one kernel, at most.
MOST_PHASES: Final = 9


def has_phases(form: WindowProduct) -> bool:
    """Return whether a product gives images whose taps differ for each of a few remainders."""
    steps = [axis.step for axis in form.axes]
    known = all(isinstance(n, int) for axis in form.axes for n in (axis.taps, axis.before))
    apart = all(axis.shared == 1 for axis in form.axes)
    return form.result == "image" and known and apart and 1 < prod(steps) <= MOST_PHASES


class WindowPhases(WindowStrips):
    """The state of lowering such a gradient; places of the plane are windows."""

    def _extent(self, axis: WindowAxis) -> Size:
        return -(-axis.image // axis.step)

    def _reach(self, axis: WindowAxis) -> Size:
        low, high = windows_read(axis)
        return high - low

    def _start(self, axis: WindowAxis) -> Size:
        return windows_read(axis)[0]

    def _strip(self, extent: Size, out: Size, inner: Size) -> int:
        return super()._strip(extent, out * self.form.axes[-1].step, inner)

    def _made(self, out: Size, inner: Size, found: Sequence[Size]) -> tuple[Stage, ...]:
        *axes, last = self.form.axes
        stages: list[Stage] = []
        for phases in product(*(range(axis.step) for axis in axes)):
            kept = []
            for phase in range(last.step):
                every = zip(self.form.axes, (*phases, phase), strict=True)
                taps = [_taps_over(axis, r) for axis, r in every]
                kept.append(all(each.count for each in taps))
                if kept[-1]:
                    stages.append(self._multiplied(out, inner, taps, RESULT + phase))
            stages.append(self._stored(out, found, phases, kept))
        return tuple(stages)

    def _stored(
        self, out: Size, found: Sequence[Size], phases: Sequence[int], kept: Sequence[bool]
    ) -> Map:
        i, names = self._fresh(), [*(self._fresh() for _ in found[1:]), VECTOR]
        extents = [self.each, self.strip, *found[1:]]
        loops, moved, lead = self._over_columns(i, names, extents)
        dtype, stores = self.read.type.dtype, list[Store]()
        for phase, is_kept in enumerate(kept):
            every = zip(self.form.axes, (*phases, phase), names, strict=True)
            places = [self._place(axis, r, name, n == 0) for n, (axis, r, name) in enumerate(every)]
            self.move_to((*lead, self._mine(i, out), *places))
            value: Expr = ex.literal(0, dtype.compute)
            if is_kept:
                value = ex.load(self._scratch(RESULT + phase, moved), dtype.compute)
            stores += self.stores(value.cast(dtype))
        return Map(loops[-1], tuple(stores), tuple(loops[:-1]))

    def _place(self, axis: WindowAxis, phase: int, name: str, first: bool) -> AxisPlace:
        terms: list[tuple[str, Size]] = [(name, axis.step)]
        extent = self._extent(axis)
        if first:
            terms.insert(0, (self.strips, self.strip * axis.step))
            extent = self.strip * (-(-extent // self.strip))
        high = phase + axis.step * (extent - 1)
        return AxisPlace(tuple(terms), phase, ends(phase, high, axis.image))


def _lying(axis: WindowAxis, phase: int) -> tuple[int, int, int]:
    """Return the first tap over elements at a remainder, the number of taps, the first's window.

    step * window + dilation * tap - before equals the remainder. Each further tap is ``step`` on,
    and its window is ``dilation`` back.
    """
    before, taps = int(axis.before), int(axis.taps)
    first = next(
        k for k in range(axis.step) if (phase + before - axis.dilation * k) % axis.step == 0
    )
    return (
        first,
        max(0, -(-(taps - first) // axis.step)),
        (phase + before - axis.dilation * first) // axis.step,
    )


def windows_read(axis: WindowAxis) -> tuple[int, int]:
    """Return the first and the last window that the elements from 0 to step - 1 read."""
    found = [_lying(axis, phase) for phase in range(axis.step)]
    read = [(at - axis.dilation * (count - 1), at) for _, count, at in found if count]
    return min(low for low, _ in read), max(high for _, high in read)


def _taps_over(axis: WindowAxis, phase: int) -> Taps:
    first, count, at = _lying(axis, phase)
    return Taps(count, first, axis.step, at - windows_read(axis)[0], -axis.dilation)
