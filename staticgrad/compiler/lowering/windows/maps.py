"""Lower pools and their transposes to maps over windows or images, with unrolled taps.

A pool's element is an expression of the loads of its taps. A transpose (a spread of windows over an
image) has one unrolled element for each remainder of the strides; these share loads of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from itertools import product
from typing import Final

from staticgrad.compiler.lowering.operands import LoweredStep
from staticgrad.compiler.lowering.windows.places import (
    AffineIndex,
    WindowLowering,
    loop_indices,
    map_over,
    residue_elements,
)
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.forms import COMBINERS, WindowReduce, WindowSpread
from staticgrad.language.ir.kernels.stages import Axis, Store
from staticgrad.language.types.dtype import DType

#: A remainder of the strides along each axis: of taps, and of elements between taps (gaps).
Residue = tuple[tuple[int, int], ...]
#: Returns the element at the indices of leading axes and in the loops over windows.
Reading = Callable[[Sequence[AffineIndex], Sequence[Axis]], Expr]


class WindowMaps(WindowLowering):
    """The state of lowering a pool, or a spread of windows, with its epilogue."""

    def lower(self) -> LoweredStep:
        """Return the kernel of a pool, an unfold or one of their transposes."""
        form = self.anchor.form
        assert isinstance(form, WindowReduce | WindowSpread)
        self.axes, self.dtype = form.axes, self.anchor.types[0].dtype
        if isinstance(form, WindowSpread):
            return self.lower_spread(form.kind)
        if form.kind == "unfold":
            return self._lower_unfold()
        return self.lower_map(partial(_READINGS[form.kind], self))

    def _lead_loops(self) -> list[Axis]:
        """Return loops over the axes before those of the windows."""
        return [*map(self.loop, self.group.domain[: len(self.group.domain) - len(self.axes)])]

    def _map(
        self, outer: Sequence[Axis], loops: Sequence[Axis], stores: Sequence[Store]
    ) -> LoweredStep:
        if outer:
            return self.finish([map_over(loops, stores)], outer)
        return self.finish([map_over(loops[-1:], stores)], loops[:-1])

    # -- windows ----------------------------------------------------------------------------------

    def lower_map(self, reading: Reading) -> LoweredStep:
        """Return a map over windows; ``reading`` returns the element."""
        outer = self._lead_loops()
        loops = self.nest(*(axis.windows for axis in self.axes))
        self.domain_index = loop_indices(*outer, *loops)
        element = reading(loop_indices(*outer), loops)
        return self._map(outer, loops, self.stores(element.cast(self.dtype)))

    def _lower_unfold(self) -> LoweredStep:
        """Lower an unfold (im2col as a value) to a map over channels, taps and windows."""
        outer = [*map(self.loop, self.group.domain[: -2 * len(self.axes)])]
        taps = [self.loop(axis.taps, taps=True) for axis in self.axes]
        loops = self.nest(*(axis.windows for axis in self.axes))
        self.domain_index = loop_indices(*outer, *taps, *loops)
        reading = [
            self.read_index(*axis_loops) for axis_loops in zip(self.axes, loops, taps, strict=True)
        ]
        value = self.element(self.first, (*loop_indices(*outer), *reading))
        return self._map([*outer, *taps], loops, self.stores(value.cast(self.dtype)))

    def taps(
        self, leading: Sequence[AffineIndex], loops: Sequence[Axis], fill: bool | int | float = 0
    ) -> Iterator[tuple[Expr, bool]]:
        """Yield a window's taps in C order, each with True if it may be in the border."""
        for tap in product(*(range(int(axis.taps)) for axis in self.axes)):
            indices = [
                self.read_index(*axis_loops)
                for axis_loops in zip(self.axes, loops, tap, strict=True)
            ]
            bounded = any(index.extent is not None for index in indices)
            yield self.element(self.first, (*leading, *indices), fill), bounded

    def sum_of_taps(self, leading: Sequence[AffineIndex], loops: Sequence[Axis]) -> Expr:
        """Return the sum of the taps."""
        return sum_of_values(value for value, _ in self.taps(leading, loops))

    def max_of_taps(self, leading: Sequence[AffineIndex], loops: Sequence[Axis]) -> Expr:
        """Return the largest of the taps."""
        return max_of_values(value for value, _ in self.taps(leading, loops, self._least))

    @property
    def _least(self) -> bool | int | float:
        return COMBINERS["max"].identity(self.first.type.dtype)

    def argmax_of_taps(self, leading: Sequence[AffineIndex], loops: Sequence[Axis]) -> Expr:
        """Return the number of a window's first largest tap; taps in the border do not count."""
        dtype = self.first.type.dtype.compute
        least = self._least
        most = -least if dtype.is_float else ~int(least)
        low = [*self.taps(leading, loops, least)]
        high = [*self.taps(leading, loops, most)] if any(b for _, b in low) else low
        inside: list[Expr | None] = []
        for (value, bounded), (high_value, _) in zip(low, high, strict=True):
            beyond = value.eq(ex.literal(least, dtype)) & high_value.eq(ex.literal(most, dtype))
            inside.append(~beyond if bounded else None)
        return argmax_of_values([value for value, _ in low], self.dtype, inside)

    def take_tap(self, leading: Sequence[AffineIndex], loops: Sequence[Axis]) -> Expr:
        """Return the tap of a window whose number the second operand stores (max-pool gradient)."""
        at = self.element(self.second, (*leading, *loop_indices(*loops)))
        first, *others = [value for value, _ in self.taps(leading, loops)]
        zero = ex.literal(0, first.dtype)
        element = ex.select(at.eq(ex.literal(0, at.dtype)), first, zero)
        for number, value in enumerate(others, 1):
            element = ex.select(at.eq(ex.literal(number, at.dtype)), value, element)
        return element

    # -- images -----------------------------------------------------------------------------------

    def lower_spread(self, kind: str) -> LoweredStep:
        """Lower a pool's transpose to a map over the image: sums over windows."""
        outer = self._lead_loops()
        loops = self.nest(*map(residue_elements, self.axes))
        residues = ([*product(range(a.residues), range(a.common_step))] for a in self.axes)
        stores: list[Store] = []
        for residue in product(*residues):
            axis_loops = zip(self.axes, loops, residue, strict=True)
            indices = [self.image_index(axis, q, *pair) for axis, q, pair in axis_loops]
            self.move_to((*loop_indices(*outer), *indices))
            value = self.accumulate_taps(kind, loop_indices(*outer), loops, residue)
            stores += self.stores(value.cast(self.dtype))
        return self._map(outer, loops, stores)

    def accumulate_taps(
        self, kind: str, leading: Sequence[AffineIndex], loops: Sequence[Axis], residue: Residue
    ) -> Expr:
        """Return the sum of the taps over an image's element, for one remainder of the stride."""
        zero = ex.literal(0, self.first.type.dtype.compute)
        if any(gap for _, gap in residue):  # no tap reads these elements
            return zero
        terms = [
            self._tap_value(kind, (*leading, *indices), tap) if indices else zero
            for tap, indices in self.taps_over(loops, residue)
        ]
        return reduce(lambda a, b: a + b, terms)

    def taps_over(
        self, loops: Sequence[Axis], residue: Residue
    ) -> Iterator[tuple[tuple[int, ...], Sequence[AffineIndex]]]:
        """Yield the taps over an image's element, with their windows, for one stride remainder.

        A tap beyond the filter has no indices.
        """
        counts = [-(-int(axis.taps) // axis.residues) for axis in self.axes]
        for numbers in product(*map(range, counts)):
            axis_loops = [*zip(self.axes, residue, loops, numbers, strict=True)]
            tap = tuple(u + axis.residues * t for axis, (u, _), _, t in axis_loops)
            inside = all(k < int(axis.taps) for k, axis in zip(tap, self.axes, strict=True))
            yield (
                tap,
                [self.window_index(axis, q, t) for axis, _, q, t in axis_loops] if inside else (),
            )

    def _tap_value(self, kind: str, indices: Sequence[AffineIndex], tap: tuple[int, ...]) -> Expr:
        """Return what a tap adds to an image: an unfolded element or a maximum's cotangent."""
        count = len(self.axes)
        if kind == "fold":
            leading = indices[: len(indices) - count]
            fixed = [AffineIndex((), k) for k in tap]
            return self.element(self.first, (*leading, *fixed, *indices[-count:]))
        value = self.element(self.first, indices)
        at = self.element(self.second, indices)
        number = 0
        for k, axis in zip(tap, self.axes, strict=True):
            number = number * int(axis.taps) + k
        chosen = at.eq(ex.literal(number, at.dtype))
        return ex.select(chosen, value, ex.literal(0, value.dtype))


_READINGS: Final = {
    "sum": WindowMaps.sum_of_taps,
    "max": WindowMaps.max_of_taps,
    "place": WindowMaps.argmax_of_taps,
    "take": WindowMaps.take_tap,
}


def sum_of_values(values: Iterable[Expr]) -> Expr:
    """Return the sum of the taps."""
    return reduce(lambda a, b: a + b, values)


def max_of_values(values: Iterable[Expr]) -> Expr:
    """Return the first of the largest taps; NaN wins. ``place_of`` returns its number."""
    return reduce(_max, values)


def argmax_of_values(
    values: Sequence[Expr], dtype: DType, inside: Sequence[Expr | None] | None = None
) -> Expr:
    """Return the number of the first largest value of a window, in ``dtype``; NaN wins.

    ``inside``: for each tap the test that it is in the image, None if it always is. A tap in the
    border is never chosen; if all taps are in the border, the result is 0.
    """
    tests = [None] * len(values) if inside is None else inside
    (best, *candidates), (any_inside, *others) = values, tests
    at = ex.literal(0, dtype)
    for number, (value, is_inside) in enumerate(zip(candidates, others, strict=True), 1):
        better = _is_better(value, best)
        if any_inside is not None:
            first = ~any_inside if is_inside is None else is_inside & ~any_inside
            better = better | first
            any_inside = None if is_inside is None else any_inside | is_inside
        at = ex.select(better, ex.literal(number, dtype), at)
        best = ex.select(better, value, best)
    return at


def _max(best: Expr, value: Expr) -> Expr:
    if not value.dtype.is_float:
        return best.maximum(value)
    return ex.select(_is_better(value, best), value, best)


def _is_better(value: Expr, best: Expr) -> Expr:
    if not value.dtype.is_float:
        return value > best
    return ~(value <= best) & best.eq(best)
