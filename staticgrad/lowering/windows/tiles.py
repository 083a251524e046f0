"""3 x 3 convolutions in tiles of two by two results, with fewer multiplications (Winograd).

A tile of results needs four by four elements of the image. These are combined by additions
(``IMAGE``). Sixteen products over the channels with the combined filters follow, one for each
combination (``staticgrad/preparation/windows.py``); sums of these are the results (``RESULT``). An
iteration takes a strip of an image, or several images, so that all data passed between stages
stays in L2, and the combinations, four of the sixteen at a time, in L1. Even and odd rows of the
strip are copied separately, with the border; even and odd columns are separated in registers.

Rows of tiles that do not fill whole vectors may be joined. Each row of the strip then has one more
tile, of border, so that the elements of a tile have a fixed offset in every row. Vectors cross from
row to row, and the values of tiles between rows are never stored. Products process those tiles,
too; ``tile_cuts`` chooses the cheaper layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from staticgrad.fusion.groups import ScratchBuffer, Walk
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position
from staticgrad.ir.kernels.stages import Axis, Gemm, Loop, Map, Stage, Store
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.places import AxisPlace, along, ends, image_place_among
from staticgrad.lowering.windows.products import WindowProducts
from staticgrad.lowering.windows.tile_cuts import RESULTS, best_cut, tiled
from staticgrad.types.arrays import hint_value
from staticgrad.types.dim import Size, minimum
from staticgrad.types.dtype import DType

#: Elements of the image that a tile needs along an axis.
SIDE: Final = 4
#: Rows of signs.
Signs = Sequence[Sequence[int]]
#: The signs of the combinations of four elements of the image, and of four sums of products.
IMAGE: Final = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
RESULT: Final = ((1, 1, 1, 0), (0, 1, -1, -1))
#: Bytes between addresses of the same L1 set, and the offset from there to the next buffer.
_PAGE: Final = 1 << 12
_BESIDE: Final = 1 << 8
#: The scratch: the strip of an image with its border, its combinations, the sums of products, the
#: results.
PLANE, COMBINED, SUMS, TILES = range(4)
SCRATCHES: Final = 4


class WindowTiles(WindowProducts):
    """The state of lowering such a convolution, or its image gradient."""

    def lowered(self) -> LoweredStep:
        """Return the kernel of the group: combinations, products, results and epilogue."""
        self.outer: list[Axis] = []
        self.strip = "i1"
        self.read, self.filters = (self.groups.source(arg) for arg in self.anchor.args)
        self.dtype: DType = self.anchor.types[0].dtype
        self.over_windows = self.form.result == "windows"
        filters = self.filters.type.shape[:2]
        self.out, self.inner = filters if self.over_windows else filters[::-1]
        found = [a.windows if self.over_windows else a.image for a in self.form.axes]
        self.found: tuple[Size, ...] = tuple(found)
        high, self.wide = (-(-extent // RESULTS) for extent in found)
        self._cut(high)
        stages: tuple[Stage, ...] = (*self._zeros_around(), self._copied())
        for row, signs in enumerate(IMAGE):
            stages = (*stages, self._combined([signs]), self._multiplied(row * SIDE))
        return self.finish((*stages, self._summed(), self._followed()), self.outer)

    def _cut(self, high: Size) -> None:
        """Cut ``high`` rows of tiles into about equally long strips; take several images together
        if they are small; cut the channels into parts if there are few strips."""
        batch = self.read.type.shape[0]
        of = tiled(self.anchor)
        cut = best_cut(of)
        self.rows, self.images = cut.rows, cut.images
        self.strips = -(-high // self.rows)
        self.each = hint_value(self.out) // cut.parts(of)
        groups = (-(-batch // self.images), self.strips, self.out // self.each)
        self.outer = [self.loop(f"i{n}", extent) for n, extent in enumerate(groups)]
        self.there: Size = minimum(self.images, batch)
        self.joined, self.pitch = cut.joined, self.wide + cut.joined
        self.run = self.rows * self.pitch
        lanes = self.dtype.lanes
        self.tiles = -(-self.there * self.run // lanes) * lanes  # so that vectors are whole

    @property
    def across(self) -> Size:
        """Pairs of elements from one row of the strip to the next; a tile reads two pairs."""
        return self.wide + 1

    def _image_of(self, loop: str) -> AxisPlace:
        return image_place_among("i0", loop, self.images, self.read.type.shape[0])

    def _read_channel(self, loop: str) -> AxisPlace:
        return AxisPlace(((loop, 1),))

    def _channel_of(self, loop: str) -> AxisPlace:
        return AxisPlace((("i2", self.each), (loop, 1)))

    # -- stages -----------------------------------------------------------------------------------

    def _zeros_around(self) -> tuple[Map, ...]:
        """Return stores of zeros to places that no other stage writes but later stages read: after
        the last tile, and after the strip, where the last tile of a run reads on.

        No result depends on them. But old bytes there may be subnormal numbers, and arithmetic
        with subnormal numbers takes a hundred times as long.
        """
        zero, zeros = ex.literal(0, self.dtype), []
        if self.joined:
            behind = self._scratch(PLANE, ((VECTOR, 1),), RESULTS * self.inner * self._plane_size)
            zeros.append(Map(self.loop(VECTOR, RESULTS), (Store(behind, zero),), ()))
        left = self.tiles - self.there * self.run
        if left != 0:
            c = self._fresh()
            stores = []
            for number in range(SIDE):
                start = number * self.apart(self.inner) + self.there * self.run
                to = self._scratch(COMBINED, ((c, self.tiles), (VECTOR, 1)), start)
                stores.append(Store(to, zero))
            each = (self.loop(c, self.inner),)
            zeros.append(Map(self.loop(VECTOR, left), tuple(stores), each))
        return tuple(zeros)

    def _copied(self) -> Map:
        """Return the map that copies the strip with its border, even and odd rows separately."""
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
        """The number of elements of even or odd rows of the images of a channel."""
        return self.there * (self.rows + 1) * RESULTS * self.across

    def _combined(self, rows: Signs = IMAGE) -> Map:
        c, image = self._fresh(), self._fresh()
        row = "" if self.joined else self._fresh()
        wide = RESULTS * self.across

        def given(a: int, b: int) -> Expr:
            moved = ((c, self._plane_size), (image, (self.rows + 1) * wide), (row, wide))
            start = a % RESULTS * self.inner * self._plane_size + a // RESULTS * wide
            return ex.load(self._every_second(PLANE, moved, start, b), self.dtype)

        to = self._tile(c, image, row)
        stores = [
            Store(self._scratch(COMBINED, to, number * self.apart(self.inner)), value)
            for number, value in enumerate(both_ways(IMAGE, square(given), rows))
        ]
        return self._for_tiles((c, self.inner), image, row, stores)

    def _tile(self, channel: str, image: str, row: str) -> Sequence[tuple[str, Size]]:
        return ((channel, self.tiles), (image, self.run), (row, self.pitch), (VECTOR, 1))

    def apart(self, channels: Size) -> Size:
        """Return the stride from one of the sixteen combinations of channels to the next.

        All are written, or read, together: the stride avoids that they map to the same L1 set.
        """
        size, itemsize = channels * self.tiles, self.dtype.itemsize
        return size + (_BESIDE - hint_value(size) * itemsize) % _PAGE // itemsize

    def _multiplied(self, first: int) -> Loop:
        t = self._fresh()
        b = self._scratch(COMBINED, ((t, self.apart(self.inner)), ("k", self.tiles), (VECTOR, 1)))
        moved = ((t, self.apart(self.each)), ("i", self.tiles), (VECTOR, 1))
        to = self._scratch(SUMS, moved, first * self.apart(self.each))
        i, j = self.loop("i", self.each), self.loop(VECTOR, self.tiles)
        store = Store(to, ex.ref("acc", self.dtype))
        k, taps = self.loop("k", self.inner), self._filter_access(AxisPlace(((t, 1),), first))
        product = Gemm((i,), (j,), (k,), taps, b, (store,))
        return Loop(Axis(t, SIDE), (), (product,), ())

    def _filter_access(self, number: AxisPlace) -> Access:
        first, second, _, apart = self.filters.layout.strides
        walk = Walk(self.filters.base, self.filters.layout.offset, (first, second, apart))
        channels = (self._channel_of("i"), *along("k"))
        places = channels if self.over_windows else channels[::-1]
        return self.located(walk, (*places, number), self.dtype)

    def _summed(self) -> Map:
        """Return the map of the results of each tile, even and odd rows separately."""
        o, image = self._fresh(), self._fresh()
        row = "" if self.joined else self._fresh()

        def given(a: int, b: int) -> Expr:
            start = (a * SIDE + b) * self.apart(self.each)
            return ex.load(self._scratch(SUMS, self._tile(o, image, row), start), self.dtype)

        moved = (*self._result(o, image), (row, RESULTS * self.pitch))
        stores = []
        for number, value in enumerate(both_ways(RESULT, square(given))):
            odd, place = divmod(number, RESULTS)
            to = self._every_second(TILES, moved, odd * RESULTS * self.run, place)
            stores.append(Store(to, value))
        return self._for_tiles((o, self.each), image, row, stores)

    def _result(self, channel: str, image: str) -> Sequence[tuple[str, Size]]:
        size = RESULTS**2 * self.run
        return ((channel, self.there * size), (image, size))

    def _followed(self) -> Map:
        o, image, row = self._fresh(), self._fresh(), self._fresh()
        moved = (*self._result(o, image), (row, RESULTS * self.pitch), (VECTOR, 1))
        stores: list[Store] = []
        for odd in range(RESULTS):
            self.move_to((*self._lead(image, o), self._row_of_results(row, odd), *along(VECTOR)))
            start = odd * RESULTS * self.run
            stores += self.stores(ex.load(self._scratch(TILES, moved, start), self.dtype))
        return self._over((o, self.each), image, (row, self.rows), self.found[1], stores)

    def _lead(self, image: str, channel: str) -> tuple[AxisPlace, AxisPlace]:
        return self._image_of(image), self._channel_of(channel)

    def _row_of_results(self, row: str, odd: int) -> AxisPlace:
        """Return the place of the even or odd row of results of a row of tiles."""
        terms: tuple[tuple[str, Size], ...] = ((self.strip, RESULTS * self.rows), (row, RESULTS))
        last = odd + RESULTS * (self.rows * self.strips - 1)
        return AxisPlace(terms, odd, ends(odd, last, self.found[0]))

    def _for_tiles(
        self, channel: tuple[str, Size], image: str, row: str, stores: Sequence[Store]
    ) -> Map:
        if row:
            return self._over(channel, image, (row, self.rows), self.wide, stores)
        rows = (self.loop(*channel), self.loop(image, self.there))
        return Map(self.loop(VECTOR, self.run), tuple(stores), rows)

    def _over(
        self,
        channel: tuple[str, Size],
        image: str,
        row: tuple[str, Size],
        wide: Size,
        stores: Sequence[Store],
    ) -> Map:
        rows = (self.loop(*channel), self.loop(image, self.there), self.loop(*row))
        return Map(self.loop(VECTOR, wide), tuple(stores), rows)

    def _scratch(self, number: int, moved: Iterable[tuple[str, Size]], start: Size = 0) -> Access:
        key = ScratchBuffer(self.anchor, number)
        self.scratch[key] = self.operand(key, 0, self.dtype, "scratch")
        strides = tuple((name, self.stride(name, step)) for name, step in moved if name)
        places = () if start == 0 else (Position((), self.argument(start)),)
        return Access(self.scratch[key], strides, (), places)

    def _every_second(
        self, number: int, moved: Sequence[tuple[str, Size]], start: Size, place: int
    ) -> Access:
        access = self._scratch(number, moved, start)
        return Access(
            access.operand,
            access.strides,
            (),
            (Position(((VECTOR, RESULTS),), place), *access.positions),
        )


def square(given: Callable[[int, int], Expr]) -> list[list[Expr]]:
    """Return four by four expressions."""
    return [[given(a, b) for b in range(SIDE)] for a in range(SIDE)]


def both_ways(
    signs: Signs, given: Sequence[Sequence[Expr]], rows: Signs | None = None
) -> list[Expr]:
    """Return the combinations of elements, down and then along, row by row; ``rows`` are the
    signs of the rows to compute, by default all."""
    down = [_combinations(rows or signs, column) for column in zip(*given, strict=True)]
    return [value for row in zip(*down, strict=True) for value in _combinations(signs, row)]


def _combinations(signs: Signs, given: Sequence[Expr]) -> list[Expr]:
    return [_sum(sorted(zip(row, given, strict=True), key=lambda each: -each[0])) for row in signs]


def _sum(terms: Sequence[tuple[int, Expr]]) -> Expr:
    (_, total), *rest = terms
    for sign, value in rest:
        if sign:
            total = total + value if sign > 0 else total - value
    return total
