"""The number of tiles of a convolution in an iteration, and their layout.

The data passed between the stages of an iteration stays in L2, which limits its tiles. Products
and combinations process whole vectors of tiles. The cheapest cut within the limit has the lowest
cost of both for each useful tile.

3 x 3 convolutions in tiles of two by two results, with fewer multiplications (Winograd).

A tile of results needs four by four elements of the image. These are combined by additions
(``IMAGE``). Sixteen products over the channels with the combined filters follow, one for each
combination (``staticgrad/preparation/windows.py``); sums of these are the results (``RESULT``). An
iteration takes a strip of an image, or several images, so that all data passed between stages
stays in L2, and the combinations, four of the sixteen at a time, in L1. Even and odd rows of the
strip are copied separately, with the border; even and odd columns are separated in registers.

Rows of tiles that do not fill whole vectors may be joined. Each row of the strip then has one more
tile, of border, so that the elements of a tile have a fixed offset in every row. Vectors cross from
row to row, and the values of tiles between rows are never stored. Products process those tiles,
too; ``best_cut`` chooses the cheaper layout.

Filter gradients of 3 x 3 convolutions in tiles, with fewer multiplications (Winograd).

The contribution of a tile of two by two results to the nine taps is F(3x3, 2x2) of the algorithm
above. The tile's four by four elements of the image are combined as there, and its results
are combined, too (``_GIVEN``). Sixteen products are summed over all tiles of all images; sums of
these are the taps. An iteration has some channels of each side, and loops over the batch, a strip
of an image at a time; the sums stay in L2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from staticgrad.fusion.groups import Walk
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position
from staticgrad.ir.forms import WindowProduct
from staticgrad.ir.graph import Node
from staticgrad.ir.kernels.stages import Axis, Gemm, Keep, Loop, Map, Scalar, Stage, Store
from staticgrad.lowering.operands import VECTOR, LoweredStep
from staticgrad.lowering.windows.places import AxisPlace, along, ends, place_of_part, read_along
from staticgrad.lowering.windows.products import WindowProducts
from staticgrad.ops.convolution import CHANNELS_TOGETHER
from staticgrad.records import dataclass
from staticgrad.types.arrays import hint_value
from staticgrad.types.dim import Size, minimum
from staticgrad.types.dtype import DType

#: Results of a tile along an axis.
RESULTS: Final = 2
#: Combinations of a tile, for which products are made.
COMBINATIONS: Final = 16
#: Bytes that the products read and write for the tiles of an iteration, about; and its tiles.
_NEAR: Final = 1 << 19
_FEWEST_TILES: Final = 64
_MOST_TILES: Final = 256
#: Desired iterations; the channels of an iteration are a multiple of ``_ROWS``; from ``_MANY``
#: channels each it pays that several iterations combine the same elements.
WANTED: Final = 4
_ROWS: Final = 16
_MANY: Final = 64
#: Costs in multiplications of vectors, for one channel: to combine a vector of tiles; to combine
#: a partial vector; to copy a vector of an image or of results.
_COMBINED: Final = 70
_MASKED: Final = 140
_COPIED: Final = 12
#: Fewer vectors of tiles than this take the same time: filters are read once for all.
_FEWEST_VECTORS: Final = 2


@dataclass(frozen=True)
class Tiled:
    """The result in tiles: rows of tiles, tiles of a row, images, channels (out, in), dtype."""

    high: int
    wide: int
    images: int
    channels: tuple[int, int]
    dtype: DType


def tiled(node: Node) -> Tiled:
    """Return the tiles of a convolution, or of the image of one, at likely sizes."""
    form = node.form
    assert isinstance(form, WindowProduct)
    of_image = form.result == "image"
    first, second = (hint_value(size) for size in node.args[1].type.shape[:2])
    extents = [hint_value(axis.image if of_image else axis.windows) for axis in form.axes]
    high, wide = (max(1, -(-extent // RESULTS)) for extent in extents)
    images = max(1, hint_value(node.args[0].type.shape[0]))
    channels = (second, first) if of_image else (first, second)
    return Tiled(high, wide, images, channels, node.types[0].dtype)


@dataclass(frozen=True)
class Cut:
    """Rows of tiles and images in an iteration; ``joined``: rows are contiguous, with an unused
    tile of border between them."""

    rows: int
    images: int
    joined: bool

    def tiles(self, of: Tiled) -> int:
        """Return the number of tiles of an iteration, with those of borders."""
        return self.images * self.rows * (of.wide + self.joined)

    def cost(self, of: Tiled) -> float:
        """Return the cost per image in multiplications of vectors."""
        lanes = of.dtype.lanes
        out, inner = of.channels
        vectors = max(_FEWEST_VECTORS, -(-self.tiles(of) // lanes))
        runs, run = (1, self.rows * (of.wide + 1)) if self.joined else (self.rows, of.wide)
        combined = runs * (run // lanes * _COMBINED + (run % lanes > 0) * _MASKED)
        row = -(-RESULTS * of.wide // lanes) * RESULTS * _COPIED
        strips, parts = -(-of.high // self.rows), self.parts(of)
        given = parts * inner * (combined + (self.rows + 1) * row)
        around = given + out * (combined + self.rows * row)
        idle = max(1.0, WANTED / (self.iterations(of) * parts))
        again = -(-of.images // self.images) * self.images / of.images
        multiplied = vectors * COMBINATIONS * out * inner / self.images
        return (multiplied + around) * strips * idle * again

    def iterations(self, of: Tiled) -> int:
        """Return the number of strips of all images."""
        return -(-of.images // self.images) * -(-of.high // self.rows)

    def parts(self, of: Tiled) -> int:
        """Return the number of parts of the result's channels, each a separate iteration if there
        are few strips; the image is copied and combined for each part."""
        out, wanted = of.channels[0], -(-WANTED // self.iterations(of))
        return next(n for n in range(wanted, 0, -1) if n == 1 or out % (n * _ROWS) == 0)


def best_cut(of: Tiled) -> Cut:
    """Return the cheapest cut; if equal, that of fewest tiles: each worker has scratch for them."""
    return min(_cuts(of), key=lambda cut: (cut.cost(of), cut.tiles(of)))


def _cuts(of: Tiled) -> Iterator[Cut]:
    moved = sum(of.channels) * COMBINATIONS * of.dtype.itemsize
    most = max(_FEWEST_TILES, min(_NEAR // moved, _MOST_TILES))
    for kind in (False, True):
        for rows in range(1, max(1, min(of.high, most // (of.wide + kind))) + 1):
            yield Cut(-(-of.high // -(-of.high // rows)), 1, kind)
        shared = of.channels[0] >= WANTED * _MANY
        for images in range(2, (of.images if shared else of.images // WANTED) + 1):
            cut = Cut(of.high, images, kind)
            if cut.tiles(of) > most:
                break
            yield cut


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
        return place_of_part("i0", loop, self.images, self.read.type.shape[0])

    def _read_channel(self, loop: str) -> AxisPlace:
        return AxisPlace(((loop, 1),))

    def _channel_of(self, loop: str) -> AxisPlace:
        return AxisPlace((("i2", self.each), (loop, 1)))

    # -- stages -----------------------------------------------------------------------------------

    def _zeros_around(self) -> tuple[Map, ...]:
        # No result depends on them. But old bytes there may be subnormal numbers, and arithmetic
        # with subnormal numbers takes a hundred times as long.
        zero, zeros = ex.literal(0, self.dtype), []
        if self.joined:
            behind = self.in_scratch(PLANE, ((VECTOR, 1),), RESULTS * self.inner * self._plane_size)
            zeros.append(Map(self.loop(VECTOR, RESULTS), (Store(behind, zero),), ()))
        left = self.tiles - self.there * self.run
        if left != 0:
            c = self._fresh()
            stores = []
            for number in range(SIDE):
                start = number * self.apart(self.inner) + self.there * self.run
                to = self.in_scratch(COMBINED, ((c, self.tiles), (VECTOR, 1)), start)
                stores.append(Store(to, zero))
            each = (self.loop(c, self.inner),)
            zeros.append(Map(self.loop(VECTOR, left), tuple(stores), each))
        return tuple(zeros)

    def _copied(self) -> Map:
        """Return the map that copies the strip with its border, even and odd rows separately."""
        c, image, row = self._fresh(), self._fresh(), self._fresh()
        step, high, wide = RESULTS * self.rows, self.rows + 1, RESULTS * self.across
        read = [read_along(axis, self.over_windows) for axis in self.form.axes]
        (top, height), (left, width) = read
        stores = []
        for odd in range(RESULTS):
            first, start = top + odd, left
            last = first + step * self.strips - step + RESULTS * (high - 1)
            terms: tuple[tuple[str, Size], ...] = ((self.strip, step), (row, RESULTS))
            places = [
                AxisPlace(terms, first, ends(first, last, height)),
                AxisPlace(((VECTOR, 1),), start, ends(start, start + wide - 1, width)),
            ]
            value = self.element(self.read, (self._image_of(image), self._read_channel(c), *places))
            moved = ((c, self._plane_size), (image, high * wide), (row, wide), (VECTOR, 1))
            start_of = odd * self.inner * self._plane_size
            stores.append(Store(self.in_scratch(PLANE, moved, start_of), value))
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
            Store(self.in_scratch(COMBINED, to, number * self.apart(self.inner)), value)
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
        b = self.in_scratch(COMBINED, ((t, self.apart(self.inner)), ("k", self.tiles), (VECTOR, 1)))
        moved = ((t, self.apart(self.each)), ("i", self.tiles), (VECTOR, 1))
        to = self.in_scratch(SUMS, moved, first * self.apart(self.each))
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
            return ex.load(self.in_scratch(SUMS, self._tile(o, image, row), start), self.dtype)

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
            stores += self.stores(ex.load(self.in_scratch(TILES, moved, start), self.dtype))
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

    def _every_second(
        self, number: int, moved: Sequence[tuple[str, Size]], start: Size, place: int
    ) -> Access:
        access = self.in_scratch(number, moved, start)
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


#: The signs of the combinations of two results.
_GIVEN: Final = ((1, 0), (1, 1), (1, -1), (0, 1))
#: Tiles of a strip, about: the combinations of a strip stay in L2, or nearly.
_TILES: Final = 256
#: Iterations that there should be, and channels of one, at least.
_WANTED_SHARES: Final = 2
_FEWEST: Final = 16
#: The scratch: the strip of an image with its border, its combinations, those of the results, sums.
_GIVENS, _SUMS = 2, 3


class WindowTileFilters(WindowTiles):
    """The state of lowering such a gradient; its first axis has the parts of the batch."""

    def lowered(self) -> LoweredStep:
        """Return the kernel: combinations and products, image by image, then the taps."""
        self.read, self.given = (self.groups.source(arg) for arg in self.anchor.args)
        self.dtype = self.anchor.types[0].dtype
        self.over_windows = True
        parts, self.result, self.channels = self.group.domain[:3]
        self.batch = self.read.type.shape[0]
        self._cut_strips()
        self._cut_channels(int(parts))
        self.outer = [
            self.loop(f"i{n}", extent)
            for n, extent in enumerate(
                (parts, -(-self.result // self.each), -(-self.channels // self.inner))
            )
        ]
        self.n, self.strip = self._fresh(), self._fresh()
        stages = (self._copied(), self._combined(), self._givens(), self._products())
        strips = Loop(self.loop(self.strip, self.strips), (), stages, ())
        left = self.size(self.batch) - ex.index("i0") * self.size(self.part)
        count = Axis(self.n, self.extent(self.part), "r0")
        images = Loop(count, (), (strips,), ())
        kept = Scalar((Keep("r0", left),))
        return self.finish((self._zeros(), kept, images, self._nine()), self.outer)

    def _cut_strips(self) -> None:
        high, self.wide = (-(-axis.windows // RESULTS) for axis in self.form.axes)
        rows, wide = (max(1, hint_value(size)) for size in (high, self.wide))
        strips = -(-rows // max(1, _TILES // wide))
        self.there, self.rows = 1, -(-rows // strips)
        self.strips: Size = -(-high // self.rows)
        self.joined, self.pitch = False, self.wide
        self.run = self.tiles = self.rows * self.wide

    def _cut_channels(self, parts: int) -> None:
        """Set the images of a part, and the channels of an iteration on both sides: fewer than the
        maximum if there are too few parts of the batch."""
        self.part = -(-self.batch // parts)
        out, channels = hint_value(self.result), hint_value(self.channels)
        shares = [-(-count // CHANNELS_TOGETHER) for count in (out, channels)]
        each = max(1, hint_value(self.part))
        around = -(-max(1, hint_value(self.batch)) // each)
        for side, count in ((1, channels), (0, out)):
            while (
                around * shares[0] * shares[1] < _WANTED_SHARES
                and count >= shares[side] * 2 * _FEWEST
            ):
                shares[side] *= 2
        self.each, self.inner = -(-out // shares[0]), -(-channels // shares[1])

    # -- places -----------------------------------------------------------------------------------

    def _image_of(self, loop: str) -> AxisPlace:
        return AxisPlace((("i0", self.part), (self.n, 1)), 0, self.batch, within=True)

    def _read_channel(self, loop: str) -> AxisPlace:
        return place_of_part("i2", loop, self.inner, self.channels)

    def _channel_of(self, loop: str) -> AxisPlace:
        return place_of_part("i1", loop, self.each, self.result)

    def _added(self, t: str, o: str, start: Size = 0) -> Access:
        moved = ((t, self.each * self.inner),) if t else ()
        return self.in_scratch(_SUMS, (*moved, (o, self.inner), (VECTOR, 1)), start)

    # -- stages -----------------------------------------------------------------------------------

    def _zeros(self) -> Map:
        """Return the map that sets the sums to 0."""
        t, o = self._fresh(), self._fresh()
        store = Store(self._added(t, o), ex.literal(0, self.dtype))
        rows = (Axis(t, SIDE**2), self.loop(o, self.each))
        return Map(self.loop(VECTOR, self.inner), (store,), rows)

    def _givens(self) -> Map:
        o, image, row = self._fresh(), self._fresh(), self._fresh()
        high, wide = self.form.axes

        def given(a: int, b: int) -> Expr:
            terms: tuple[tuple[str, Size], ...] = (
                (self.strip, RESULTS * self.rows),
                (row, RESULTS),
            )
            low = a + RESULTS * (self.rows * self.strips - 1)
            last = b + RESULTS * (self.wide - 1)
            down = AxisPlace(terms, a, ends(a, low, high.windows))
            place = AxisPlace(((VECTOR, RESULTS),), b, ends(b, last, wide.windows))
            lead = (self._image_of(image), self._channel_of(o))
            return self.element(self.given, (*lead, down, place))

        square = [[given(a, b) for b in range(RESULTS)] for a in range(RESULTS)]
        to = self._tile(o, image, row)
        stores = [
            Store(self.in_scratch(_GIVENS, to, number * self.apart(self.each)), value)
            for number, value in enumerate(both_ways(_GIVEN, square))
        ]
        return self._over((o, self.each), image, (row, self.rows), self.wide, stores)

    def _products(self) -> Loop:
        t = self._fresh()
        a = self.in_scratch(_GIVENS, ((t, self.apart(self.each)), ("i", self.tiles), ("k", 1)))
        b = self.in_scratch(COMBINED, ((t, self.apart(self.inner)), ("k", 1), (VECTOR, self.tiles)))
        to = self._added(t, "i")
        value = ex.load(to, self.dtype) + ex.ref("acc", self.dtype)
        i, j = self.loop("i", self.each), self.loop(VECTOR, self.inner)
        product = Gemm((i,), (j,), (self.loop("k", self.tiles),), a, b, (Store(to, value),))
        return Loop(Axis(t, SIDE**2), (), (product,), ())

    def _nine(self) -> Map:
        o = self._fresh()
        size = self.each * self.inner
        sums = [
            [ex.load(self._added("", o, (a * SIDE + b) * size), self.dtype) for b in range(SIDE)]
            for a in range(SIDE)
        ]
        down = [_three(column) for column in zip(*sums, strict=True)]
        taps = [_three(row) for row in zip(*down, strict=True)]
        stores: list[Store] = []
        for number, value in enumerate(tap for row in taps for tap in row):
            mine = self._channel_of(o)
            other = self._read_channel(VECTOR)
            places = (AxisPlace((), k) for k in divmod(number, 3))
            self.move_to((*along("i0"), mine, other, *places))
            stores += self.stores(value)
        return Map(self.loop(VECTOR, self.inner), tuple(stores), (self.loop(o, self.each),))


def _three(given: Sequence[Expr]) -> tuple[Expr, Expr, Expr]:
    first, plus, minus, last = given
    half = ex.literal(0.5, first.dtype)
    both = (plus + minus) * half
    return first + both, (plus - minus) * half, both - last
