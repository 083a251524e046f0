"""Tiles of an image as one run: rows that are no whole vectors follow each other.

The rows of a strip have a tile more than there are, of border, so that what tiles need lies at one
distance from each, whatever the row: vectors go on from row to row, and only the last one of
an image is not whole. What the tiles between rows hold is never stored. Even and odd rows of the
strip are copied apart, columns are told apart in registers.
"""

from __future__ import annotations

from collections.abc import Sequence

from passes.lowering.operands import VECTOR
from passes.lowering.window_places import AxisPlace, along, ends
from passes.lowering.window_tiles import (
    COMBINED,
    IMAGE,
    PLANE,
    RESULT,
    RESULTS,
    SIDE,
    SUMS,
    TILES,
    WindowTiles,
    both_ways,
    square,
)
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position
from staticgrad.ir.kernel_stages import Map, Store, panel_columns
from staticgrad.types.dim import Size


class WindowFlatTiles(WindowTiles):
    """The state of lowering a convolution in such tiles, or the image of one."""

    def _cut(self, high: Size) -> None:
        super()._cut(high)
        self.run = self.rows * self.across
        width = panel_columns(self.dtype)
        self.tiles = -(-self.there * self.run // width) * width  # so that panels are whole

    @property
    def across(self) -> Size:
        return self.wide + 1

    # -- stages -----------------------------------------------------------------------------------

    def _zeros_around(self) -> tuple[Map, ...]:
        """Zeros behind the strip, where the last tile reads on, and behind the last tile.

        No result depends on them. But bytes that others left there may be subnormal numbers, and
        arithmetic with those takes a hundred times as long.
        """
        zero = ex.literal(0, self.dtype)
        behind = self._scratch(PLANE, ((VECTOR, 1),), RESULTS * self.inner * self._plane_size)
        strip = Map(self.loop(VECTOR, RESULTS), (Store(behind, zero),), ())
        left = self.tiles - self.there * self.run
        if left == 0:
            return (strip,)
        c = self._fresh()
        stores = []
        for number in range(SIDE**2):
            start = number * self.apart(self.inner) + self.there * self.run
            to = self._scratch(COMBINED, ((c, self.tiles), (VECTOR, 1)), start)
            stores.append(Store(to, zero))
        return (strip, Map(self.loop(VECTOR, left), tuple(stores), (self.loop(c, self.inner),)))

    def _copied(self) -> Map:
        """The strip with its border: even and odd rows apart."""
        c, image, row = self._fresh(), self._fresh(), self._fresh()
        step, high, wide = RESULTS * self.rows, self.rows + 1, RESULTS * self.across
        down, across = self.form.axes
        stores = []
        for odd in range(RESULTS):
            starts = [
                -axis.before if self.over_windows else axis.before - axis.reach
                for axis in (down, across)
            ]
            first, start = starts[0] + odd, starts[1]
            extents = [axis.image if self.over_windows else axis.windows for axis in (down, across)]
            last = first + step * self.strips - step + RESULTS * (high - 1)
            terms: tuple[tuple[str, Size], ...] = ((self.strip, step), (row, RESULTS))
            places = [
                AxisPlace(terms, first, ends(first, last, extents[0])),
                AxisPlace(((VECTOR, 1),), start, ends(start, start + wide - 1, extents[1])),
            ]
            value = self.element(self.read, (self._image_of(image), self._read_channel(c), *places))
            moved = ((c, self._plane_size), (image, high * wide), (row, wide), (VECTOR, 1))
            start_of = odd * self.inner * self._plane_size
            stores.append(Store(self._scratch(PLANE, moved, start_of), value))
        return self._over((c, self.inner), image, (row, high), wide, stores)

    @property
    def _plane_size(self) -> Size:
        """Elements of even or odd rows of the images of a channel."""
        return self.there * (self.rows + 1) * RESULTS * self.across

    def _combined(self) -> Map:
        """Of four by four elements the sixteen combinations, for each tile."""
        c, image = self._fresh(), self._fresh()
        wide = RESULTS * self.across

        def given(a: int, b: int) -> Expr:
            moved = ((c, self._plane_size), (image, (self.rows + 1) * wide))
            start = a % RESULTS * self.inner * self._plane_size + a // RESULTS * wide
            return ex.load(self._every_second(PLANE, moved, start, b), self.dtype)

        stores = [
            Store(self._scratch(COMBINED, self._tile_of(c, image), n * self.apart(self.inner)), v)
            for n, v in enumerate(both_ways(IMAGE, square(given)))
        ]
        return self._along_run((c, self.inner), image, stores)

    def _tile_of(self, channel: str, image: str) -> Sequence[tuple[str, Size]]:
        """What moves from tile to tile."""
        return ((channel, self.tiles), (image, self.run), (VECTOR, 1))

    def _summed(self) -> Map:
        """The results of each tile: even and odd rows apart."""
        o, image = self._fresh(), self._fresh()

        def given(a: int, b: int) -> Expr:
            start = (a * SIDE + b) * self.apart(self.each)
            return ex.load(self._scratch(SUMS, self._tile_of(o, image), start), self.dtype)

        stores = []
        for number, value in enumerate(both_ways(RESULT, square(given))):
            odd, place = divmod(number, RESULTS)
            start = odd * RESULTS * self.run
            to = self._every_second(TILES, self._result(o, image), start, place)
            stores.append(Store(to, value))
        return self._along_run((o, self.each), image, stores)

    def _result(self, channel: str, image: str) -> Sequence[tuple[str, Size]]:
        """What moves from the results of an image to those of another one."""
        size = RESULTS**2 * self.run
        return ((channel, self.there * size), (image, size))

    def _followed(self) -> Map:
        """What follows, for the results that there are."""
        o, image, row = self._fresh(), self._fresh(), self._fresh()
        moved = (*self._result(o, image), (row, RESULTS * self.across), (VECTOR, 1))
        stores: list[Store] = []
        for odd in range(RESULTS):
            self.move_to((*self._lead(image, o), self._row_of_results(row, odd), *along(VECTOR)))
            start = odd * RESULTS * self.run
            stores += self.stores(ex.load(self._scratch(TILES, moved, start), self.dtype))
        return self._over((o, self.each), image, (row, self.rows), self.found[1], stores)

    # -- places -----------------------------------------------------------------------------------

    def _lead(self, image: str, channel: str) -> tuple[AxisPlace, AxisPlace]:
        return self._image_of(image), self._channel_of(channel)

    def _row_of_results(self, row: str, odd: int) -> AxisPlace:
        """The results of an even or odd row of a row of tiles."""
        terms: tuple[tuple[str, Size], ...] = ((self.strip, RESULTS * self.rows), (row, RESULTS))
        last = odd + RESULTS * (self.rows * self.strips - 1)
        return AxisPlace(terms, odd, ends(odd, last, self.found[0]))

    def _every_second(
        self, number: int, moved: Sequence[tuple[str, Size]], start: Size, place: int
    ) -> Access:
        """Every second element of a run in scratch, from a place of it on."""
        access = self._scratch(number, moved, start)
        return Access(
            access.operand,
            access.strides,
            (),
            (Position(((VECTOR, RESULTS),), place), *access.positions),
        )

    def _along_run(self, channel: tuple[str, Size], image: str, stores: Sequence[Store]) -> Map:
        """Stores for each channel, image and tile."""
        rows = (self.loop(*channel), self.loop(image, self.there))
        return Map(self.loop(VECTOR, self.run), tuple(stores), rows)
