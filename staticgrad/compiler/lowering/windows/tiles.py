"""3 x 3 convolutions and their filter gradients in tiles (Winograd), and the sizes of tiles.

The data passed between the stages of an iteration stays in L2, which limits its tiles. Products
and combinations process whole vectors of tiles. The cheapest cut within the limit has the lowest
cost of both for each useful tile.

**Results.** A tile of results needs four by four elements of the image. These are combined by
additions (``IMAGE``). Sixteen products over the channels with the combined filters follow, one for
each combination (``staticgrad/compiler/preparation/windows.py``); sums of these are the results
(``RESULT``). An iteration takes a strip of an image, or several images, so that all data passed
between stages stays in L2, and the combinations, four of the sixteen at a time, in L1. Even and odd
rows of the strip are copied separately, with the border; even and odd columns are separated in
registers.

Rows of tiles that do not fill whole vectors may be joined. Each row of the strip then has one more
tile, of border, so that the elements of a tile have a fixed offset in every row. Vectors cross from
row to row, and the values of tiles between rows are never stored. Products process those tiles,
too; ``best_cut`` chooses the cheaper layout.

**Volumes.** Of three axes the last two have tiles. An iteration combines the planes of several
depths, ``read``, once. The products sum over the channels and the taps of the first axis: a tap's
tiles are at a fixed offset, that of its plane.

**Dilation.** A phase of an image has every so many rows and columns, and adjacent windows. Phases
of rows have iterations of their own. Those of columns are images next to each other in an
iteration, which copies a row, and stores one, for all of these at once.

**Filter gradients.** The contribution of a tile of two by two results to the nine taps is F(3x3,
2x2) of the algorithm above. The tile's four by four elements of the image are combined as there,
and its results are combined, too (``_GIVEN``). Sixteen products are summed over all tiles of all
images; sums of these are the taps. An iteration has some channels of each side, and loops over the
batch, a strip of an image at a time; the sums stay in L2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from staticgrad.compiler.fusion.groups import Walk
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep
from staticgrad.compiler.lowering.windows.places import AxisPlace, StripAxis, along, map_over
from staticgrad.compiler.lowering.windows.products import WindowProducts
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr, Position
from staticgrad.language.ir.forms import WindowProduct
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.stages import Axis, Gemm, Keep, Loop, Map, Scalar, Stage, Store
from staticgrad.language.ops.convolution import CHANNELS_TOGETHER
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size, minimum
from staticgrad.language.types.dtype import DType
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass, replace

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
class Cut:
    """Rows of tiles and images in an iteration; ``joined``: rows are contiguous, with an unused
    tile of border between them. ``parts``: each part of the result's channels has iterations of
    its own if there are few strips; the image is copied and combined for each part. Of a volume
    ``images`` are those of adjacent depths."""

    rows: int
    images: int
    joined: bool
    parts: int = 1


def best_cut(node: Node) -> Cut:
    """Return the cheapest cut of a convolution, or of the image of one, at likely sizes; if equal,
    that of fewest tiles: each worker has scratch for them."""
    form, dtype = node.form, node.types[0].dtype
    assert isinstance(form, WindowProduct)
    of_image, lanes = form.result == "image", dtype.lanes
    out, inner = (hint_value(size) for size in node.args[1].type.shape[:2][:: 1 - 2 * of_image])
    *deep, down, across = (StripAxis(axis, not of_image) for axis in form.axes)
    high, wide = (max(1, -(-hint_value(axis.phase) // RESULTS)) for axis in (down, across))
    batch = max(1, hint_value(node.args[0].type.shape[0]))
    around, phases = down.of.dilation * (batch if deep else 1), across.of.dilation
    depths = max(1, hint_value(deep[0].every)) if deep else batch
    reach = hint_value(deep[0].reach) if deep else 0
    taps = int(deep[0].of.taps) if deep else 1
    most = _NEAR // ((out + inner) * COMBINATIONS * dtype.itemsize)
    most = max(_FEWEST_TILES, min(most, _MOST_TILES))

    def tiles(cut: Cut) -> int:
        return cut.images * phases * cut.rows * (wide + cut.joined)

    def cost(cut: Cut) -> float:
        """Return the cost per image in multiplications of vectors."""
        vectors = max(_FEWEST_VECTORS, -(-tiles(cut) // lanes))
        runs, run = (1, cut.rows * (wide + 1)) if cut.joined else (cut.rows, wide)
        combined = phases * runs * (run // lanes * _COMBINED + (run % lanes > 0) * _MASKED)
        row = -(-RESULTS * wide // lanes) * RESULTS * _COPIED * phases
        strips, turns = -(-high // cut.rows), -(-depths // cut.images)
        planes = (cut.images + reach) / cut.images
        given = planes * cut.parts * inner * (combined + (cut.rows + 1) * row)
        both = given + out * (combined + cut.rows * row)
        idle = max(1.0, WANTED / (around * turns * strips * cut.parts))
        multiplied = vectors * COMBINATIONS * out * inner * taps / cut.images
        return (multiplied + both) * strips * idle * (turns * cut.images / depths)

    def cuts() -> Iterator[Cut]:
        shared = deep or out >= WANTED * _MANY
        for joined in (False, True):
            fitting = most // (phases * (wide + joined))
            for rows in range(1, max(1, min(high, fitting)) + 1):
                yield Cut(-(-high // -(-high // rows)), 1, joined)
            for images in range(2, (depths if shared else depths // WANTED) + 1):
                if images * (1 if deep else high) > fitting:
                    break
                each = -(-depths // -(-depths // images)) if deep else images
                for rows in range(1, min(high, fitting // images) + 1) if deep else (high,):
                    yield Cut(-(-high // -(-high // rows)), each, joined)

    def with_parts(cut: Cut) -> Cut:
        turns = around * -(-depths // cut.images) * -(-high // cut.rows)
        fits = (n for n in range(-(-WANTED // turns), 0, -1) if n == 1 or out % (n * _ROWS) == 0)
        return replace(cut, parts=next(fits))

    return min(map(with_parts, cuts()), key=lambda cut: (cost(cut), tiles(cut)))


#: Elements of the image that a tile needs along an axis.
SIDE: Final = 4
#: Rows of signs.
Signs = Sequence[Sequence[int]]
#: The signs of the combinations of four elements of the image, and of four sums of products.
IMAGE: Final = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
RESULT: Final = ((1, 1, 1, 0), (0, 1, -1, -1))
#: Loops of a stage: channels, images, rows of tiles (None: joined), columns.
Loops = tuple[Axis, Axis, Axis | None, Axis]
#: Loops that move an access, with their strides.
Moved = tuple[tuple[Axis | None, Size], ...]
#: Bytes between addresses of the same L1 set, and the offset from there to the next buffer.
_PAGE: Final = 1 << 12
_BESIDE: Final = 1 << 8
#: The scratch: the strip of an image with its border, its combinations, the sums of products, the
#: results.
PLANE, COMBINED, SUMS, TILES = range(4)


class WindowTiles(WindowProducts):
    """The state of lowering such a convolution, or its image gradient."""

    def lowered(self) -> LoweredStep:
        """Return the kernel of the group: combinations, products, results and epilogue."""
        self.dtype: DType = self.anchor.types[0].dtype
        over_windows = self.form.result == "windows"
        *deep, down, across = (StripAxis(axis, over_windows) for axis in self.form.axes)
        self.axes, self.deep = (down, across), deep[0] if deep else None
        filters = self.second.type.shape[:2]
        self.out, self.inner = filters if over_windows else filters[::-1]
        high, self.wide = (-(-axis.phase // RESULTS) for axis in self.axes)
        self._cut(high)
        stages: tuple[Stage, ...] = (*self._zeros_around(), self._copied())
        stages = (*stages, self._outer_rows(), self._inner_rows())
        return self.finish((*stages, self._summed(), self._followed()), self.outer)

    def _cut(self, high: Size) -> None:
        """Cut ``high`` rows of tiles into about equally long strips; take several images together
        if they are small; cut the channels into parts if there are few strips."""
        cut = best_cut(self.anchor)
        self.rows, self.batch = cut.rows, self.first.type.shape[0]
        self.images: Size = cut.images
        self.each = hint_value(self.out) // cut.parts
        self.n = self.outer_loop(self.batch) if self.deep else None
        depths = self.deep.every if self.deep else self.batch
        reach = self.deep.reach if self.deep else 0
        self.chunk = self.outer_loop(-(-depths // self.images))
        down, across = self.axes
        self.down = self.outer_loop(down.of.dilation) if down.of.dilation > 1 else None
        self.phases = across.of.dilation
        self.strip = self.outer_loop(-(-high // self.rows))
        self.part = self.outer_loop(self.out // self.each)
        self.there: Size = minimum(self.images, depths)
        self.read = self.there + reach
        self.joined, self.pitch = cut.joined, self.wide + cut.joined
        self.run = self.rows * self.pitch
        lanes = self.dtype.lanes
        made = self.there * self.phases * self.run
        self.tiles = -(-made // lanes) * lanes  # so that vectors are whole
        self.given = self.tiles + reach * self.run

    @cached_property
    def row_of_plane(self) -> Size:
        """Elements from one row of the strip to the next: pairs, of which a tile reads two."""
        return RESULTS * (self.wide + 1)

    def _lead(self, loop: Axis, channel: AxisPlace, read: bool = False) -> Sequence[AxisPlace]:
        """Return the places of an image and a channel, and the depth in a volume."""
        terms = (self.chunk, self.images), (loop, 1)
        if self.deep is None:
            return self.at(*terms, extent=self.batch), channel
        start, extent = (self.deep.start, self.deep.given) if read else (0, self.deep.every)
        return (*along(self.n), channel, self.at(*terms, start=start, extent=extent))

    def _read_channel(self, loop: Axis) -> AxisPlace:
        return self.at((loop, 1))

    def _channel_of(self, loop: Axis) -> AxisPlace:
        return self.at((self.part, self.each), (loop, 1))

    # -- stages -----------------------------------------------------------------------------------

    def _zeros_around(self) -> tuple[Map, ...]:
        # No result depends on them. But old bytes there may be subnormal numbers, and arithmetic
        # with subnormal numbers takes a hundred times as long.
        zero, zeros = ex.literal(0, self.dtype), []
        if self.joined:
            pair = self.loop(RESULTS, VECTOR)
            behind = self.in_scratch(PLANE, [(pair, 1)], RESULTS * self.inner * self._plane_size)
            zeros.append(map_over([pair], [Store(behind, zero)]))
        start = self.read * self.phases * self.run
        if self.given - start != 0:
            c, tile = self.loop(self.inner), self.loop(self.given - start, VECTOR)
            moved = [(c, self.given), (tile, 1)]
            starts = (n * self.apart(self.inner * self.given) + start for n in range(SIDE))
            stores = [Store(self.in_scratch(COMBINED, moved, at), zero) for at in starts]
            zeros.append(map_over([c, tile], stores))
        return tuple(zeros)

    def _copied(self) -> Map:
        """Return the map that copies the strip with its border, even and odd rows separately."""
        loops = c, image, row, column = self.nest(
            self.inner, self.read, self.rows + 1, self.row_of_plane
        )
        wide, lead = self.axes[1], self._lead(image, self._read_channel(c), read=True)
        moved = (*self._in_plane(c, image, row, self.phases), (column, 1))
        stores = []
        for odd in range(RESULTS):
            down = self._row(row, odd, read=True)
            for phase in range(self.phases):
                start = wide.start + phase
                across = self.at((column, wide.of.dilation), start=start, extent=wide.given)
                value = self.element(self.first, (*lead, down, across))
                start = odd * self.inner * self._plane_size + phase * self._plane_of_image
                stores.append(Store(self.in_scratch(PLANE, moved, start), value))
        return map_over(loops, stores)

    @cached_property
    def _plane_of_image(self) -> Size:
        return (self.rows + 1) * self.row_of_plane

    @cached_property
    def _plane_size(self) -> Size:
        """The number of elements of even or odd rows of the images of a channel."""
        return self.read * self.phases * self._plane_of_image

    def _in_plane(self, c: Axis, image: Axis, row: Axis | None, images: int = 1) -> Moved:
        """Return what moves in the plane; an image of the loop has the places of ``images``."""
        size = images * self._plane_of_image
        return (c, self._plane_size), (image, size), (row, self.row_of_plane)

    def _outer_rows(self) -> Loop:
        """Return the loop over the first and the last row of combinations, and their products.

        Both subtract the elements of two rows, which are one row further in the last one.
        """
        turn = self.loop(2, taps=True)
        combined = self._combined([IMAGE[0]], (turn, self.inner * self._plane_size))
        return Loop(turn, (), (combined, self._multiplied(0, (turn, SIDE - 1))), ())

    def _inner_rows(self) -> Loop:
        """Return the loop over the two rows of combinations between these, and their products.

        Both add the same rows of elements, of which the second row negates the first one.
        """
        turn = self.loop(2, taps=True)
        one, minus = (ex.literal(number, self.dtype) for number in (1, -1))
        sign = ex.apply("select", ex.index(turn.name).eq(0), one, minus)
        combined = self._combined([IMAGE[1]], first=sign)
        return Loop(turn, (), (combined, self._multiplied(1, (turn, 1))), ())

    def _combined(
        self, rows: Signs = IMAGE, *moves: tuple[Axis, Size], first: Expr | None = None
    ) -> Map:
        """Return the map of some rows of combinations; ``first`` is a factor of the elements of
        row 1, and other loops may move all elements."""
        loops = c, image, row, column = self._for_tiles(self.inner, self.read)
        moved = (*self._in_plane(c, image, row), *moves)

        def given(a: int, b: int) -> Expr:
            start = a % RESULTS * self.inner * self._plane_size + a // RESULTS * self.row_of_plane
            value = self._every_second(PLANE, moved, start, b, column)
            return value * first if first is not None and a == 1 else value

        values = both_ways(IMAGE, given, rows)
        return map_over(loops, self._kept(COMBINED, self.inner, self.given, loops, values))

    def _kept(
        self, number: int, channels: Size, tiles: Size, loops: Loops, values: Sequence[Expr]
    ) -> list[Store]:
        """Return the stores of combinations of tiles."""
        to, apart = self._tile(tiles, *loops), self.apart(channels * tiles)
        return [
            Store(self.in_scratch(number, to, n * apart), value) for n, value in enumerate(values)
        ]

    def _tile(
        self, tiles: Size, channel: Axis, image: Axis, row: Axis | None, column: Axis
    ) -> Moved:
        return (channel, tiles), (image, self.run), (row, self.pitch), (column, 1)

    def apart(self, size: Size) -> Size:
        """Return the stride from one of the sixteen combinations of ``size`` elements to the next.

        All are written, or read, together: the stride avoids that they map to the same L1 set.
        """
        itemsize = self.dtype.itemsize
        return size + (_BESIDE - hint_value(size) * itemsize) % _PAGE // itemsize

    def _multiplied(self, row: int, turn: tuple[Axis, int]) -> Loop:
        """Return the products of a row of combinations; ``turn``: a loop, and its step in rows."""
        (around, step), first = turn, row * SIDE
        t, i, j = (
            self.loop(SIDE, taps=True),
            self.loop(self.each, "i"),
            self.loop(self.tiles, VECTOR),
        )
        given, deep = self.apart(self.inner * self.given), self.deep
        depths = [deep.of.taps] if deep else []
        k, *taps = self._flattened([self.inner, *depths], "k", [False, True])
        assert k is not None
        inner: Moved = ((t, given), (k, self.given), (j, 1))
        start: Size = 0
        if deep:  # of an image the last tap reads the first depth
            by = deep.of.dilation * self.run
            inner = (*inner, (taps[0], by if deep.over_windows else -by))
            start = 0 if deep.over_windows else deep.reach * self.run
        b = self.in_scratch(COMBINED, inner, start)
        apart_to = self.apart(self.each * self.tiles)
        moved = ((around, step * SIDE * apart_to), (t, apart_to), (i, self.tiles), (j, 1))
        to = self.in_scratch(SUMS, moved, first * apart_to)
        *channels_and_depth, _, apart = self.second.layout.strides
        walk = Walk(self.second.base, self.second.layout.offset, (*channels_and_depth, apart))
        channels = (self._channel_of(i), *along(k))
        places = channels if self.form.result == "windows" else channels[::-1]
        tap = self.at((around, step * SIDE), (t, 1), start=first)
        filters = self.located(walk, (*places, *along(*taps), tap), self.dtype)
        terms = (k, *(tap for tap in taps if tap))
        product = Gemm((i,), (j,), terms, filters, b, (Store(to, ex.ref("acc", self.dtype)),))
        return Loop(t, (), (product,), ())

    def _summed(self) -> Map:
        """Return the map of the results of each tile, even and odd rows separately."""
        loops = o, image, row, column = self._for_tiles(self.each, self.there)
        tile = self._tile(self.tiles, *loops)

        def given(a: int, b: int) -> Expr:
            start = (a * SIDE + b) * self.apart(self.each * self.tiles)
            return ex.load(self.in_scratch(SUMS, tile, start), self.dtype)

        stores = []
        for number, value in enumerate(both_ways(RESULT, given)):
            odd, place = divmod(number, RESULTS)
            moved, start = self._result(o, image, row), odd * RESULTS * self.run
            at = Position(((column.name, RESULTS),), place)
            stores.append(Store(self.in_scratch(TILES, moved, start, at), value))
        return map_over(loops, stores)

    def _result(self, channel: Axis, image: Axis, row: Axis | None, images: int = 1) -> Moved:
        size = RESULTS**2 * self.run
        count = self.there * self.phases
        return (channel, count * size), (image, images * size), (row, RESULTS * self.pitch)

    def _followed(self) -> Map:
        wide = self.axes[1]
        loops = o, image, row, column = self.nest(self.each, self.there, self.rows, wide.phase)
        moved = (*self._result(o, image, row, self.phases), (column, 1))
        lead, stores = self._lead(image, self._channel_of(o)), list[Store]()
        for odd in range(RESULTS):
            for phase in range(self.phases):
                across = self.at((column, wide.of.dilation), start=phase, extent=wide.every)
                self.move_to((*lead, self._row(row, odd), across))
                start = (odd * RESULTS + phase * RESULTS**2) * self.run
                stores += self.stores(ex.load(self.in_scratch(TILES, moved, start), self.dtype))
        return map_over(loops, stores)

    def _row(self, row: Axis, odd: int, read: bool = False) -> AxisPlace:
        """Return the even or odd row of results of a row of tiles, or the row that is read."""
        of, dilation = self.axes[0], self.axes[0].of.dilation
        terms = (self.strip, RESULTS * self.rows * dilation), (row, RESULTS * dilation)
        start, extent = (of.start, of.given) if read else (0, of.every)
        return self.at(*terms, (self.down, 1), start=start + odd * dilation, extent=extent)

    def _for_tiles(self, channels: Size, images: Size) -> Loops:
        images = images * self.phases
        if not self.joined:
            c, image, row, column = self.nest(channels, images, self.rows, self.wide)
            return c, image, row, column
        c, image = self.loop(channels), self.loop(images)
        return c, image, None, self.loop(self.run, VECTOR)

    def _every_second(
        self, number: int, moved: Moved, start: Size, place: int, column: Axis
    ) -> Expr:
        at = Position(((column.name, RESULTS),), place)
        return ex.load(self.in_scratch(number, moved, start, at), self.dtype)


def both_ways(
    signs: Signs, given: Callable[[int, int], Expr], rows: Signs | None = None, side: int = SIDE
) -> list[Expr]:
    """Return the combinations of ``side`` by ``side`` elements, down and then along, row by row.

    ``rows`` are the signs of the rows to compute, by default all.
    """
    wanted = signs if rows is None else rows
    used = [a for a in range(side) if any(row[a] for row in wanted)]
    columns = [{a: given(a, b) for a in used} for b in range(side)]
    down = [_combinations(wanted, column) for column in columns]
    return [
        value
        for row in zip(*down, strict=True)
        for value in _combinations(signs, dict(enumerate(row)))
    ]


def _combinations(signs: Signs, given: Mapping[int, Expr]) -> list[Expr]:
    return [_sum(row, given) for row in signs]


def _sum(signs: Sequence[int], given: Mapping[int, Expr]) -> Expr:
    """Return the sum of elements with these signs, those without minus first."""
    first, *rest = sorted((a for a, sign in enumerate(signs) if sign), key=lambda a: -signs[a])
    total = given[first]
    for a in rest:
        total = total + given[a] if signs[a] > 0 else total - given[a]
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
        self.dtype = self.anchor.types[0].dtype
        down, across = (StripAxis(axis, over_windows=True) for axis in self.form.axes)
        self.axes, self.deep, self.down, self.phases = (down, across), None, None, 1
        parts, self.result, self.channels = self.group.domain[:3]
        self.batch = self.first.type.shape[0]
        strips = self._cut_strips()
        self._cut_channels(int(parts))
        self.chunk = self.outer_loop(parts)
        self.part = self.outer_loop(-(-self.result // self.each))
        self.read_part = self.outer_loop(-(-self.channels // self.inner))
        left = self.size(self.batch) - ex.index(self.chunk.name) * self.size(self.images)
        kept = Scalar((Keep("r0", left),))
        image, self.strip = self.loop(self.images, past="r0"), self.loop(strips)
        self.n = image
        zeros = self._zeros()
        stages = (self._copied(), self._combined(), self._givens(), self._products())
        images = Loop(image, (), (Loop(self.strip, (), stages, ()),), ())
        return self.finish((zeros, kept, images, self._nine()), self.outer)

    def _cut_strips(self) -> Size:
        high, self.wide = (-(-axis.every // RESULTS) for axis in self.axes)
        rows, wide = (max(1, hint_value(size)) for size in (high, self.wide))
        strips = -(-rows // max(1, _TILES // wide))
        self.there = self.read = 1
        self.rows = -(-rows // strips)
        self.joined, self.pitch = False, self.wide
        self.run = self.tiles = self.given = self.rows * self.wide
        return -(-high // self.rows)

    def _cut_channels(self, parts: int) -> None:
        """Set the images of a part, and the channels of an iteration on both sides: fewer than the
        maximum if there are too few parts of the batch."""
        self.images = -(-self.batch // parts)
        out, channels = hint_value(self.result), hint_value(self.channels)
        shares = [-(-count // CHANNELS_TOGETHER) for count in (out, channels)]
        each = max(1, hint_value(self.images))
        around = -(-max(1, hint_value(self.batch)) // each)
        for side, count in ((1, channels), (0, out)):
            while (
                around * shares[0] * shares[1] < _WANTED_SHARES
                and count >= shares[side] * 2 * _FEWEST
            ):
                shares[side] *= 2
        self.each, self.inner = -(-out // shares[0]), -(-channels // shares[1])

    # -- places -----------------------------------------------------------------------------------

    def _lead(self, loop: Axis, channel: AxisPlace, read: bool = False) -> Sequence[AxisPlace]:
        terms = (self.chunk, self.images), (self.n, 1)
        return self.at(*terms, extent=self.batch, within=True), channel

    def _read_channel(self, loop: Axis) -> AxisPlace:
        return self.at((self.read_part, self.inner), (loop, 1), extent=self.channels)

    def _channel_of(self, loop: Axis) -> AxisPlace:
        return self.at((self.part, self.each), (loop, 1), extent=self.result)

    def _added(self, t: Axis | None, o: Axis, column: Axis, start: Size = 0) -> Access:
        moved = ((t, self.each * self.inner), (o, self.inner), (column, 1))
        return self.in_scratch(_SUMS, moved, start)

    # -- stages -----------------------------------------------------------------------------------

    def _zeros(self) -> Map:
        """Return the map that sets the sums to 0."""
        t, (o, column) = self.loop(SIDE**2, taps=True), self.nest(self.each, self.inner)
        store = Store(self._added(t, o, column), ex.literal(0, self.dtype))
        return map_over([t, o, column], [store])

    def _givens(self) -> Map:
        loops = o, image, row, column = self._for_tiles(self.each, self.there)
        assert row is not None
        lead = self._lead(image, self._channel_of(o))

        def given(a: int, b: int) -> Expr:
            across = self.at((column, RESULTS), start=b, extent=self.axes[1].every)
            return self.element(self.second, (*lead, self._row(row, a), across))

        values = both_ways(_GIVEN, given, side=RESULTS)
        return map_over(loops, self._kept(_GIVENS, self.each, self.tiles, loops, values))

    def _products(self) -> Loop:
        t, i, j = (
            self.loop(SIDE**2, taps=True),
            self.loop(self.each, "i"),
            self.loop(self.inner, VECTOR),
        )
        k = self.loop(self.tiles, "k")
        a = self.in_scratch(
            _GIVENS, ((t, self.apart(self.each * self.tiles)), (i, self.tiles), (k, 1))
        )
        by = self.apart(self.inner * self.tiles)
        b = self.in_scratch(COMBINED, ((t, by), (k, 1), (j, self.tiles)))
        to = self._added(t, i, j)
        value = ex.load(to, self.dtype) + ex.ref("acc", self.dtype)
        return Loop(t, (), (Gemm((i,), (j,), (k,), a, b, (Store(to, value),)),), ())

    def _nine(self) -> Map:
        o, column = self.nest(self.each, self.inner)
        size = self.each * self.inner
        sums = [
            [
                ex.load(self._added(None, o, column, (a * SIDE + b) * size), self.dtype)
                for b in range(SIDE)
            ]
            for a in range(SIDE)
        ]
        down = [_three(each) for each in zip(*sums, strict=True)]
        taps = [_three(row) for row in zip(*down, strict=True)]
        stores: list[Store] = []
        for number, value in enumerate(tap for row in taps for tap in row):
            channels = (self._channel_of(o), self._read_channel(column))
            taken = (self.at((k, 1)) for k in divmod(number, 3))
            self.move_to((*along(self.chunk), *channels, *taken))
            stores += self.stores(value)
        return map_over([o, column], stores)


def _three(given: Sequence[Expr]) -> tuple[Expr, Expr, Expr]:
    first, plus, minus, last = given
    half = ex.literal(0.5, first.dtype)
    both = (plus + minus) * half
    return first + both, (plus - minus) * half, both - last
