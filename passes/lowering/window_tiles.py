"""Convolutions of three by three taps in tiles of two by two results, with fewer multiplications.

A tile of results needs four by four elements of the image. These are combined by additions
(``IMAGE``), then there are sixteen products over the channels with the combined filters
(``passes/fusion/tiles.py``), one for each combination, and sums of those are the results
(``RESULT``). An iteration takes a strip of an image, of which all that passes between stages stays
in the second cache. Of the strip even and odd rows and columns are copied apart, border and all:
there what tiles next to each other need lies next to each other, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from passes.fusion.groups import ScratchBuffer, Walk
from passes.lowering.operands import VECTOR, LoweredStep
from passes.lowering.window_places import AxisPlace, along, ends
from passes.lowering.window_products import WindowProducts
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position
from staticgrad.ir.kernel_stages import Axis, Gemm, Loop, Map, Stage, Store, panel_columns
from staticgrad.types.dim import Size, minimum
from staticgrad.types.dtype import DType
from staticgrad.types.tensor import hint_value

#: Results of a tile along an axis, and elements of the image that it needs.
RESULTS: Final = 2
SIDE: Final = 4
#: What is combined of four elements of the image, and of four sums of products; signs.
IMAGE: Final = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
RESULT: Final = ((1, 1, 1, 0), (0, 1, -1, -1))
#: Bytes of what the products read and write for the tiles of an iteration, about; and its tiles.
_NEAR: Final = 1 << 19
_FEWEST_TILES: Final = 64
_MOST_TILES: Final = 256
#: Iterations that there should be, and channels of one, of which a multiple is taken.
_WANTED: Final = 4
_ROWS: Final = 16
#: Bytes that lie at one place of the nearest cache, and how far from there the next one begins.
_PAGE: Final = 1 << 12
_BESIDE: Final = 1 << 8
#: The scratch: the strip of an image with its border, its combinations, the sums of products, the
#: results.
PLANE, COMBINED, SUMS, TILES = range(4)
SCRATCHES: Final = 4


class WindowTiles(WindowProducts):
    """The state of lowering such a convolution, or the image of one."""

    def lowered(self) -> LoweredStep:
        """The kernel of the group: combinations, products, results, and what follows."""
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
        stages: tuple[Stage, ...] = (*self._zeros_around(), self._copied(), self._combined())
        stages = (*stages, self._products(), self._summed(), self._followed())
        return self.finish(stages, self.outer)

    def _cut(self, high: Size) -> None:
        """Iterate over strips of ``high`` rows of tiles, each about as long as another one; over
        several images where they are small; and over parts of the channels where these are few."""
        batch = self.read.type.shape[0]
        wide, rows, images = (max(1, hint_value(size)) for size in (self.across, high, batch))
        moved = (hint_value(self.out) + hint_value(self.inner)) * SIDE**2 * self.dtype.itemsize
        tiles = max(_FEWEST_TILES, min(_NEAR // moved, _MOST_TILES))
        strips = -(-rows // max(1, tiles // wide))
        self.rows = -(-rows // strips)
        self.strips = -(-high // self.rows)
        together = tiles // (self.rows * wide) if strips == 1 else 1
        most = max(1, min(images // _WANTED, together))
        self.images = min(range(1, most + 1), key=partial(self._columns_of_each, self.rows * wide))
        self.each = self._part_of_channels(-(-images // self.images) * strips)
        groups = (-(-batch // self.images), self.strips, self.out // self.each)
        self.outer = [self.loop(f"i{n}", extent) for n, extent in enumerate(groups)]
        self.there: Size = minimum(self.images, batch)
        self.tiles = self.there * self.rows * self.wide

    def _columns_of_each(self, tiles: int, images: int) -> float:
        """Columns of products that an image of so many tiles takes among so many: whole panels. Of
        equal numbers the fewest images are taken, whose scratch every worker has."""
        width = panel_columns(self.dtype)
        return -(-images * tiles // width) * width / images

    @property
    def across(self) -> Size:
        """Tiles from one row to the next."""
        return self.wide

    def _part_of_channels(self, iterations: int) -> int:
        """The channels of an iteration: fewer than there are where iterations would be too few."""
        out = hint_value(self.out)
        wanted = -(-_WANTED // iterations)
        return next(out // n for n in range(wanted, 0, -1) if n == 1 or out % (n * _ROWS) == 0)

    def _image_of(self, loop: str) -> AxisPlace:
        """The image at a loop over those of an iteration."""
        batch = self.read.type.shape[0]
        last = self.images * (-(-batch // self.images)) - 1
        terms: tuple[tuple[str, Size], ...] = (("i0", self.images), (loop, 1))
        return AxisPlace(terms, 0, ends(0, last, batch))

    def _read_channel(self, loop: str) -> AxisPlace:
        """The channel of what is read at a loop over those of an iteration."""
        return AxisPlace(((loop, 1),))

    def _channel_of(self, loop: str) -> AxisPlace:
        """The channel of the result at a loop over those of an iteration."""
        return AxisPlace((("i2", self.each), (loop, 1)))

    # -- stages -----------------------------------------------------------------------------------

    def _zeros_around(self) -> tuple[Map, ...]:
        """Zeros where later stages read what no other stage writes."""
        return ()

    def _copied(self) -> Map:
        """The strip with its border: even and odd rows and columns apart."""
        c, image, row = self._fresh(), self._fresh(), self._fresh()
        high, wide = self.rows + 1, self.wide + 1
        step = RESULTS * self.rows
        stores = []
        for phase in range(RESULTS**2):
            places = []
            for axis, name, size, odd in zip(
                self.form.axes, (row, VECTOR), (high, wide), divmod(phase, RESULTS), strict=True
            ):
                start = -axis.before if self.over_windows else axis.before - axis.reach
                extent = axis.image if self.over_windows else axis.windows
                terms: list[tuple[str, Size]] = [(name, RESULTS)]
                last = start + odd + RESULTS * (size - 1)
                if name == row:
                    terms.insert(0, (self.strip, step))
                    last = last + step * (self.strips - 1)
                places.append(AxisPlace(tuple(terms), start + odd, ends(start, last, extent)))
            value = self.element(self.read, (self._image_of(image), self._read_channel(c), *places))
            stores.append(Store(self._plane(phase, (c, image, row)), value))
        return self._over((c, self.inner), image, (row, high), wide, stores)

    def _plane(self, phase: int, loops: tuple[str, str, str], start: Size = 0) -> Access:
        """Where rows and columns of one of the four kinds lie."""
        c, image, row = loops
        size = (self.rows + 1) * (self.wide + 1)
        whole = self.there * size
        moved = ((c, whole), (image, size), (row, self.wide + 1), (VECTOR, 1))
        return self._scratch(PLANE, moved, phase * self.inner * whole + start)

    def _combined(self) -> Map:
        """Of four by four elements the sixteen combinations, for each tile."""
        c, image, row = loops = (self._fresh(), self._fresh(), self._fresh())

        def given(a: int, b: int) -> Expr:
            phase = a % RESULTS * RESULTS + b % RESULTS
            start = a // RESULTS * (self.wide + 1) + b // RESULTS
            return ex.load(self._plane(phase, loops, start), self.dtype)

        to = self._tile(c, image, row)
        stores = [
            Store(self._scratch(COMBINED, to, number * self.apart(self.inner)), value)
            for number, value in enumerate(both_ways(IMAGE, square(given)))
        ]
        return self._over((c, self.inner), image, (row, self.rows), self.wide, stores)

    def _tile(self, channel: str, image: str, row: str) -> Sequence[tuple[str, Size]]:
        """What moves from tile to tile."""
        size = self.rows * self.wide
        return ((channel, self.tiles), (image, size), (row, self.wide), (VECTOR, 1))

    def apart(self, channels: Size) -> Size:
        """Elements from one of the sixteen combinations of channels to the next.

        All are written, or read, together: they do not begin at one place of the nearest cache.
        """
        size, itemsize = channels * self.tiles, self.dtype.itemsize
        return size + (_BESIDE - hint_value(size) * itemsize) % _PAGE // itemsize

    def _products(self) -> Loop:
        """The sixteen products over the channels."""
        t = self._fresh()
        b = self._scratch(COMBINED, ((t, self.apart(self.inner)), ("k", self.tiles), (VECTOR, 1)))
        to = self._scratch(SUMS, ((t, self.apart(self.each)), ("i", self.tiles), (VECTOR, 1)))
        i, j = self.loop("i", self.each), self.loop(VECTOR, self.tiles)
        store = Store(to, ex.ref("acc", self.dtype))
        product = Gemm(
            (i,), (j,), (self.loop("k", self.inner),), self._filter_access(t), b, (store,)
        )
        return Loop(Axis(t, SIDE**2), (), (product,), ())

    def _filter_access(self, t: str) -> Access:
        """The combined taps of a combination: four by four of them, one after the other."""
        first, second, _, apart = self.filters.layout.strides
        walk = Walk(self.filters.base, self.filters.layout.offset, (first, second, apart))
        channels = (self._channel_of("i"), *along("k"))
        places = channels if self.over_windows else channels[::-1]
        return self.located(walk, (*places, *along(t)), self.dtype)

    def _summed(self) -> Map:
        """The results of each tile."""
        o, image, row = self._fresh(), self._fresh(), self._fresh()
        moved = self._tile(o, image, row)

        def given(a: int, b: int) -> Expr:
            start = (a * SIDE + b) * self.apart(self.each)
            return ex.load(self._scratch(SUMS, moved, start), self.dtype)

        wide = RESULTS * self.wide
        to = (*self._result(o, image), (row, RESULTS * wide), (VECTOR, RESULTS))
        stores = [
            Store(self._scratch(TILES, to, number // RESULTS * wide + number % RESULTS), value)
            for number, value in enumerate(both_ways(RESULT, square(given)))
        ]
        return self._over((o, self.each), image, (row, self.rows), self.wide, stores)

    def _result(self, channel: str, image: str) -> Sequence[tuple[str, Size]]:
        """What moves from the results of an image to those of another one."""
        size = RESULTS**2 * self.rows * self.wide
        return ((channel, self.there * size), (image, size))

    def _followed(self) -> Map:
        """What follows, for the results that there are."""
        o, image, row = self._fresh(), self._fresh(), self._fresh()
        step = RESULTS * self.rows
        moved = (*self._result(o, image), (row, RESULTS * self.wide), (VECTOR, 1))
        result: Expr = ex.load(self._scratch(TILES, moved), self.dtype)
        terms: tuple[tuple[str, Size], ...] = (("i1", step), (row, 1))
        first = AxisPlace(terms, 0, ends(0, step * self.strips - 1, self.found[0]))
        self.places = (self._image_of(image), self._channel_of(o), first, *along(VECTOR))
        stores = self.stores(result)
        return self._over((o, self.each), image, (row, step), self.found[1], stores)

    def _over(
        self,
        channel: tuple[str, Size],
        image: str,
        row: tuple[str, Size],
        wide: Size,
        stores: Sequence[Store],
    ) -> Map:
        """Stores for each channel, image, row and element of it."""
        rows = (self.loop(*channel), self.loop(image, self.there), self.loop(*row))
        return Map(self.loop(VECTOR, wide), tuple(stores), rows)

    def _scratch(self, number: int, moved: Iterable[tuple[str, Size]], start: Size = 0) -> Access:
        key = ScratchBuffer(self.anchor, number)
        self.scratch[key] = self.operand(key, 0, self.dtype, "scratch")
        strides = tuple((name, self.stride(name, step)) for name, step in moved)
        places = () if start == 0 else (Position((), self.argument(start)),)
        return Access(self.scratch[key], strides, (), places)


def square(given: Callable[[int, int], Expr]) -> list[list[Expr]]:
    """Four by four expressions."""
    return [[given(a, b) for b in range(SIDE)] for a in range(SIDE)]


def both_ways(signs: Sequence[Sequence[int]], given: Sequence[Sequence[Expr]]) -> list[Expr]:
    """The combinations of rows of elements, down and then along, row by row."""
    down = [_combinations(signs, column) for column in zip(*given, strict=True)]
    return [value for row in zip(*down, strict=True) for value in _combinations(signs, row)]


def _combinations(signs: Sequence[Sequence[int]], given: Sequence[Expr]) -> list[Expr]:
    """Sums of what has a sign: what is added first, then what is taken away."""
    return [_sum(sorted(zip(row, given, strict=True), key=lambda each: -each[0])) for row in signs]


def _sum(terms: Sequence[tuple[int, Expr]]) -> Expr:
    (_, total), *rest = terms
    for sign, value in rest:
        if sign:
            total = total + value if sign > 0 else total - value
    return total
