"""Pools in the kernel that computes their image: the taps are elements in registers.

Windows that do not overlap read each element of an image once, at most. So the kernel that computes
the image evaluates it at each tap of a window, and takes the sum, the largest, or its place. The
image is stored, tap by tap, only if another kernel reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Final, Self

from staticgrad.fusion.groups import Group, GroupValues, Home, Key
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Expr, Position
from staticgrad.ir.forms import WindowAxis, WindowProduct, WindowReduce
from staticgrad.ir.kernels.stages import Map, Store
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.maps import largest_of, place_of, sum_of
from staticgrad.lowering.windows.places import AxisPlace, WindowLowering, along, ends
from staticgrad.lowering.windows.strips import RESULT, WindowStrips
from staticgrad.lowering.windows.tiles import RESULTS, TILES, WindowTiles
from staticgrad.records import replace
from staticgrad.types.dim import Size
from staticgrad.types.dtype import DType

#: The offset of a tap from the first one of its window, along each axis.
Tap = tuple[int, ...]


class _Pooled(WindowLowering):
    pools: Group

    @classmethod
    def over(cls, groups: GroupValues, group: Group) -> Self:
        assert group.image is not None
        nodes = {*group.image.nodes}
        stored = tuple(key for key in group.stored if key.node in nodes)
        made = cls(groups, replace(group.image, stored=stored))
        made.pools = group
        return made

    @property
    def windows(self) -> tuple[WindowAxis, ...]:
        forms = (node.form for node in self.pools.nodes)
        return next(form.axes for form in forms if isinstance(form, WindowReduce))

    def steps(self, count: int) -> list[int]:
        steps = [axis.step for axis in self.windows]
        return [1] * (count - len(steps)) + steps

    def taps(self, count: int) -> list[Tap]:
        taps = product(*(range(int(axis.taps)) for axis in self.windows))
        return [(0,) * (count - len(self.windows)) + tap for tap in taps]

    def pooled(
        self, taps: Sequence[Tap], moved: Callable[[Tap], None], places: Sequence[AxisPlace]
    ) -> tuple[Store, ...]:
        """Return the stores at the image's elements, and at the ``places`` of the windows.

        ``moved`` moves to a tap and evaluates the image there.
        """
        pools = [node for node in self.pools.nodes if isinstance(node.form, WindowReduce)]
        read = [self.groups.source(node.args[0]) for node in pools]
        found: dict[Key, list[Expr]] = {source.base: [] for source in read}
        stores: list[Store] = []
        for tap in taps:
            moved(tap)
            for source in dict.fromkeys(read):
                found[source.base].append(self.widened(source))
            stores += self._stored()
        self.group = self.pools
        self.move_to(places)
        for node in self.pools.nodes:
            if isinstance(node.form, WindowReduce):
                dtype, base = node.types[0].dtype, self.groups.source(node.args[0]).base
                self.memo[Home(node)] = _POOLED[node.form.kind](found[base], dtype).cast(dtype)
            else:
                self.memo[Home(node)] = self.scalar(node)
        return (*stores, *self._stored())

    def evaluated(self, places: Sequence[AxisPlace], anchor: Expr | None = None) -> None:
        """Move to these places of the image and evaluate its nodes; the product's may be given."""
        self.move_to(places)
        for node in self.group.nodes:
            if anchor is not None and isinstance(node.form, WindowProduct):
                self.memo[Home(node)] = anchor
            else:
                self.memo[Home(node)] = self.scalar(node)

    def _stored(self) -> list[Store]:
        # What is stored of the image stands among the pools', too.
        mine = [key for key in self.group.stored if key.node in self.group.nodes]
        return [self.put(key, walk) for key, walk in self.whole_walks(mine)]


class PooledStrips(_Pooled, WindowStrips):
    """Pools over the results of a convolution, strip by strip."""

    def _cut(self, out: Size, inner: Size) -> tuple[int, int]:
        step, (strip, images) = self.steps(len(self.axes))[0], super()._cut(out, inner)
        return -(-strip // step) * step, images

    def _followed(self, out: Size, phases: Sequence[int], kept: Sequence[bool]) -> Map:
        found = [axis.found for axis in self.axes]
        count = len(found)
        names = [self._fresh() for _ in found[1:]] + [VECTOR]
        i = self._fresh()
        steps = self.steps(count)
        windows = self.pools.domain[2:]
        strip = self.strip // steps[0]
        loops = [
            self.loop(name, size)
            for name, size in zip((i, *names), (self.each, strip, *windows[1:]), strict=True)
        ]
        strips = -(-found[0] // self.strip)

        def moved(tap: Tap) -> None:
            high = self.strip * strips - steps[0] + tap[0]
            terms = ((self.strips, self.strip), (names[0], steps[0]))
            first = AxisPlace(terms, tap[0], ends(tap[0], high, found[0]))
            others = zip(names[1:], steps[1:], tap[1:], strict=True)
            rest = [AxisPlace(((name, step),), start) for name, step, start in others]
            places = (*along(self.n), self._mine(i, out), first, *rest)
            self.evaluated(places, self._result(i, names, tap))

        terms = ((self.strips, strip), (names[0], 1))
        first = AxisPlace(terms, 0, ends(0, strip * strips - 1, windows[0]))
        places = (*along(self.n), self._mine(i, out), first, *along(*names[1:]))
        stores = self.pooled(self.taps(count), moved, places)
        return Map(loops[-1], stores, tuple(loops[:-1]))

    def _result(self, i: str, names: Sequence[str], tap: Tap) -> Expr:
        steps = self.steps(len(names))
        moved: list[tuple[str, Size]] = [(i, self.panels)]
        positions: list[Position] = []
        start: Size = sum(k * apart for k, apart in zip(tap[:-1], self.apart[:-1], strict=True))
        for name, step, apart in zip(names[:-1], steps[:-1], self.apart[:-1], strict=True):
            moved.append((name, step * apart))
        if steps[-1] == 1:
            moved.append((names[-1], 1))
        else:
            positions.append(Position(((names[-1], steps[-1]),), tap[-1]))
        dtype = self.read.type.dtype
        return ex.load(self._scratch(RESULT, moved, start, *positions), dtype.compute).cast(dtype)


class PooledTiles(_Pooled, WindowTiles):
    """Pools over tiles of two by two results: each is a window, or has one."""

    def _followed(self) -> Map:
        o, image, row = self._fresh(), self._fresh(), self._fresh()
        lead = self._lead(image, o)
        sums = (*self._result(o, image), (row, RESULTS * self.pitch))

        def moved(tap: Tap) -> None:
            odd, place = tap
            across = AxisPlace(((VECTOR, RESULTS),), place)
            result = self._every_second(TILES, sums, odd * RESULTS * self.run, place)
            places = (*lead, self._row_of_results(row, odd), across)
            self.evaluated(places, ex.load(result, self.dtype))

        high, wide = self.pools.domain[2:]
        terms: tuple[tuple[str, Size], ...] = ((self.strip, self.rows), (row, 1))
        first = AxisPlace(terms, 0, ends(0, self.rows * self.strips - 1, high))
        stores = self.pooled(self.taps(2), moved, (*lead, first, *along(VECTOR)))
        return self._over((o, self.each), image, (row, self.rows), wide, stores)


class PooledMaps(_Pooled):
    """Pools over elements that are computed from others, without a product."""

    def lowered(self) -> LoweredStep:
        """Return the kernel of the group: a map over windows."""
        domain = self.pools.domain
        names = [*(f"i{n}" for n in range(len(domain) - 1)), VECTOR]
        loops = [self.loop(name, size) for name, size in zip(names, domain, strict=True)]
        steps = self.steps(len(domain))

        def moved(tap: Tap) -> None:
            found = zip(names, steps, tap, strict=True)
            self.evaluated([AxisPlace(((name, step),), start) for name, step, start in found])

        stores = self.pooled(self.taps(len(domain)), moved, along(*names))
        lead = len(domain) - len(self.windows)
        outer, inner = (loops[:lead], loops[lead:-1]) if lead else (loops[:-1], [])
        return self.finish([Map(loops[-1], stores, tuple(inner))], outer)


def _largest(values: Sequence[Expr], dtype: DType) -> Expr:
    return largest_of(values)


def _sum(values: Sequence[Expr], dtype: DType) -> Expr:
    return sum_of(values)


_POOLED: Final[dict[str, Callable[[Sequence[Expr], DType], Expr]]] = {
    "sum": _sum,
    "max": _largest,
    "place": place_of,
}
