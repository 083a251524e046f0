"""Pools and their transposes to kernels: maps over windows or images, with every tap written out.

A pool's element is an expression of the loads of its taps. A spread of windows over an image has
one element written out for each remainder of the strides; these elements share loads of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from itertools import product
from typing import Final

from staticgrad.compiler.lowering.operands import LoweredStep
from staticgrad.compiler.lowering.windows.places import (
    AxisPlace,
    WindowLowering,
    along,
    elements,
    map_over,
)
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.forms import COMBINERS, WindowReduce, WindowSpread
from staticgrad.language.ir.kernels.stages import Axis, Store
from staticgrad.language.types.dtype import DType

#: A remainder of the strides along each axis: that of taps, and that of elements without taps.
Residue = tuple[tuple[int, int], ...]
#: Returns the element at places of the axes before those of the windows, and loops over windows.
Reading = Callable[[Sequence[AxisPlace], Sequence[Axis]], Expr]


class WindowMaps(WindowLowering):
    """The state of lowering a pool, or a spread of windows, with its epilogue."""

    def lower(self) -> LoweredStep:
        """Return the kernel of the group."""
        form = self.anchor.form
        assert isinstance(form, WindowReduce | WindowSpread)
        self.axes, self.dtype = form.axes, self.anchor.types[0].dtype
        if isinstance(form, WindowSpread):
            return self.spread(form.kind)
        if form.kind == "unfold":
            return self._unfolded()
        return self.mapped(partial(_READINGS[form.kind], self))

    def _lead(self) -> list[Axis]:
        """Return loops over the axes before those of the windows."""
        return [*map(self.loop, self.group.domain[: len(self.group.domain) - len(self.axes)])]

    def _map(
        self, outer: Sequence[Axis], loops: Sequence[Axis], stores: Sequence[Store]
    ) -> LoweredStep:
        if outer:
            return self.finish([map_over(loops, stores)], outer)
        return self.finish([map_over(loops[-1:], stores)], loops[:-1])

    # -- of windows -------------------------------------------------------------------------------

    def mapped(self, reading: Reading) -> LoweredStep:
        """Return a map over windows; ``reading`` gives the element at places and loops."""
        outer = self._lead()
        loops = self.nest(*(axis.windows for axis in self.axes))
        self.places = along(*outer, *loops)
        found = reading(along(*outer), loops)
        return self._map(outer, loops, self.stores(found.cast(self.dtype)))

    def _unfolded(self) -> LoweredStep:
        outer = [*map(self.loop, self.group.domain[: -2 * len(self.axes)])]
        taps = [self.loop(axis.taps, taps=True) for axis in self.axes]
        loops = self.nest(*(axis.windows for axis in self.axes))
        self.places = along(*outer, *taps, *loops)
        reading = [self.read_place(*each) for each in zip(self.axes, loops, taps, strict=True)]
        value = self.element(self.first, (*along(*outer), *reading))
        return self._map([*outer, *taps], loops, self.stores(value.cast(self.dtype)))

    def taps(
        self, lead: Sequence[AxisPlace], loops: Sequence[Axis], fill: bool | int | float = 0
    ) -> Iterator[tuple[Expr, bool]]:
        """Yield the element of each tap, in C order, and whether it may lie in the border."""
        for tap in product(*(range(int(axis.taps)) for axis in self.axes)):
            places = [self.read_place(*each) for each in zip(self.axes, loops, tap, strict=True)]
            bounded = any(place.extent is not None for place in places)
            yield self.element(self.first, (*lead, *places), fill), bounded

    def summed(self, lead: Sequence[AxisPlace], loops: Sequence[Axis]) -> Expr:
        """Return the sum of the taps."""
        return sum_of(value for value, _ in self.taps(lead, loops))

    def largest(self, lead: Sequence[AxisPlace], loops: Sequence[Axis]) -> Expr:
        """Return the largest of the taps."""
        return largest_of(value for value, _ in self.taps(lead, loops, self._least))

    @property
    def _least(self) -> bool | int | float:
        return COMBINERS["max"].identity(self.first.type.dtype)

    def chosen(self, lead: Sequence[AxisPlace], loops: Sequence[Axis]) -> Expr:
        """Return the number of the first largest tap; taps in the border do not count."""
        dtype = self.first.type.dtype.compute
        least = self._least
        most = -least if dtype.is_float else ~int(least)
        low = [*self.taps(lead, loops, least)]
        high = [*self.taps(lead, loops, most)] if any(b for _, b in low) else low
        inside: list[Expr | None] = []
        for (value, bounded), (other, _) in zip(low, high, strict=True):
            beyond = value.eq(ex.literal(least, dtype)) & other.eq(ex.literal(most, dtype))
            inside.append(~beyond if bounded else None)
        return place_of([value for value, _ in low], self.dtype, inside)

    def taken(self, lead: Sequence[AxisPlace], loops: Sequence[Axis]) -> Expr:
        """Return the tap whose number the second operand stores."""
        at = self.element(self.second, (*lead, *along(*loops)))
        first, *rest = [value for value, _ in self.taps(lead, loops)]
        zero = ex.literal(0, first.dtype)
        found = ex.select(at.eq(ex.literal(0, at.dtype)), first, zero)
        for number, value in enumerate(rest, 1):
            found = ex.select(at.eq(ex.literal(number, at.dtype)), value, found)
        return found

    # -- of images --------------------------------------------------------------------------------

    def spread(self, kind: str) -> LoweredStep:
        outer = self._lead()
        loops = self.nest(*map(elements, self.axes))
        residues = ([*product(range(a.residues), range(a.shared))] for a in self.axes)
        stores: list[Store] = []
        for residue in product(*residues):
            found = zip(self.axes, loops, residue, strict=True)
            places = [self.image_place(axis, q, *pair) for axis, q, pair in found]
            self.move_to((*along(*outer), *places))
            value = self.over(kind, along(*outer), loops, residue)
            stores += self.stores(value.cast(self.dtype))
        return self._map(outer, loops, stores)

    def over(
        self, kind: str, lead: Sequence[AxisPlace], loops: Sequence[Axis], residue: Residue
    ) -> Expr:
        """Return the sum of the values of the taps over elements of a remainder."""
        zero = ex.literal(0, self.first.type.dtype.compute)
        if any(apart for _, apart in residue):  # no tap lies there
            return zero
        terms = [
            self._given(kind, (*lead, *places), tap) if places else zero
            for tap, places in self.taps_over(loops, residue)
        ]
        return reduce(lambda one, other: one + other, terms)

    def taps_over(
        self, loops: Sequence[Axis], residue: Residue
    ) -> Iterator[tuple[tuple[int, ...], Sequence[AxisPlace]]]:
        """Yield the taps over elements of a remainder, each with its windows' places; those that a
        filter does not have without places."""
        counts = [-(-int(axis.taps) // axis.residues) for axis in self.axes]
        for numbers in product(*map(range, counts)):
            found = [*zip(self.axes, residue, loops, numbers, strict=True)]
            tap = tuple(u + axis.residues * t for axis, (u, _), _, t in found)
            inside = all(k < int(axis.taps) for k, axis in zip(tap, self.axes, strict=True))
            yield tap, [self.window_place(axis, q, t) for axis, _, q, t in found] if inside else ()

    def _given(self, kind: str, places: Sequence[AxisPlace], tap: tuple[int, ...]) -> Expr:
        count = len(self.axes)
        if kind == "fold":
            lead = places[: len(places) - count]
            fixed = [AxisPlace((), k) for k in tap]
            return self.element(self.first, (*lead, *fixed, *places[-count:]))
        value = self.element(self.first, places)
        at = self.element(self.second, places)
        number = 0
        for k, axis in zip(tap, self.axes, strict=True):
            number = number * int(axis.taps) + k
        chosen = at.eq(ex.literal(number, at.dtype))
        return ex.select(chosen, value, ex.literal(0, value.dtype))


_READINGS: Final = {
    "sum": WindowMaps.summed,
    "max": WindowMaps.largest,
    "place": WindowMaps.chosen,
    "take": WindowMaps.taken,
}


def sum_of(values: Iterable[Expr]) -> Expr:
    """Return the sum of the taps."""
    return reduce(lambda one, other: one + other, values)


def largest_of(values: Iterable[Expr]) -> Expr:
    """Return the first of the largest taps; NaN wins. ``place_of`` returns its number."""
    return reduce(_larger, values)


def place_of(
    values: Sequence[Expr], dtype: DType, inside: Sequence[Expr | None] | None = None
) -> Expr:
    """Return the number of the first of the largest taps, in ``dtype``; NaN wins.

    ``inside``: whether each tap lies in the image, None if it always does. A tap in the border is
    never chosen; if all taps are in the border, the place is 0.
    """
    tests = [None] * len(values) if inside is None else inside
    (best, *rest), (met, *others) = values, tests
    at = ex.literal(0, dtype)
    for number, (value, lies) in enumerate(zip(rest, others, strict=True), 1):
        better = _is_better(value, best)
        if met is not None:
            first = ~met if lies is None else lies & ~met
            better = better | first
            met = None if lies is None else met | lies
        at = ex.select(better, ex.literal(number, dtype), at)
        best = ex.select(better, value, best)
    return at


def _larger(best: Expr, value: Expr) -> Expr:
    if not value.dtype.is_float:
        return best.maximum(value)
    return ex.select(_is_better(value, best), value, best)


def _is_better(value: Expr, best: Expr) -> Expr:
    if not value.dtype.is_float:
        return value > best
    return ~(value <= best) & best.eq(best)
