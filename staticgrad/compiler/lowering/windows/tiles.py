"""Convolutions and their filter gradients in tiles (Winograd), and the sizes of tiles.

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

**Pieces.** Taps are in pieces of two or three (``staticgrad/language/ops/tiles.py``). Without
strides a piece reads tiles at a fixed offset, those one further, as products over several channels
do. With strides the elements of each remainder are channels of their own, of the image or of the
result. A piece of two taps has no product with one of the four combinations along its axis.

**Volumes.** Of three axes the last two have tiles. An iteration combines the planes of several
depths, ``read``, once. The products sum over the channels and the taps of the first axis: a tap's
tiles are at a fixed offset, that of its plane.

**Dilation.** A phase of an image has every so many rows and columns, and adjacent windows. Phases
of rows have iterations of their own. Those of columns are images next to each other in an
iteration, which copies a row, and stores one, for all of these at once.

**Filter gradients.** The contribution of a tile of two by two results to nine taps is F(3x3, 2x2)
of the algorithm above. The tile's four by four elements of the image are combined as there,
and its results are combined, too (``_GIVEN``). Sixteen products are summed over all tiles of all
images; sums of these are the taps. An iteration has some channels of each side, and loops over the
batch, a strip of an image at a time; the sums stay in L2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
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
from staticgrad.language.ops.tiles import SIDE, TileTaps, tile_taps
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size, minimum
from staticgrad.language.types.dtype import DType
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass, replace

#: Results of a tile along an axis.
RESULTS: Final = 2
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


#: Rows of signs.
Signs = Sequence[Sequence[int]]
#: A combination, or several, equally far from each other.
Run = tuple[int, ...]
#: The signs of the combinations of four elements of the image, and of four sums of products.
IMAGE: Final = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
RESULT: Final = ((1, 1, 1, 0), (0, 1, -1, -1))


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


class TileAxis(StripAxis):
    """An axis with tiles; with strides the image, or the result, has ``step`` remainders."""

    @cached_property
    def tiled(self) -> TileTaps:
        """The pieces of its taps."""
        found = tile_taps(self.of, self.over_windows)
        assert found
        return found

    @property
    def blocks(self) -> int:
        """The number of pieces that read tiles one behind the other."""
        return 1 if self.of.step > 1 else len(self.tiled.pieces)

    def results(self, remainder: int) -> Signs:
        """The signs of the sums of products in the results of a remainder, 0 if there is none."""
        pieces = self.tiled.pieces
        of = pieces[remainder : remainder + 1] if self.step > 1 else pieces
        used = {n for piece in of for n in piece.combinations}
        return [[sign * (n in used) for n, sign in enumerate(row)] for row in RESULT]

    @property
    def runs(self) -> list[Run]:
        """The combinations in runs, whose products are made in one loop each."""
        having = [self.tiled.having(n) for n in range(SIDE)]
        runs: list[Run] = []
        for n, pieces in enumerate(having):
            if runs and having[runs[-1][-1]] == pieces:
                runs[-1] = (*runs[-1], n)
            elif pieces:
                runs.append((n,))
        if len(runs) == 3 and len(having[0]) == len(having[-1]):
            return [(0, SIDE - 1), runs[1]]
        return runs

    @property
    def pairs(self) -> list[Run]:
        """The combinations in runs of those that combine the same elements, in other rows."""
        having = [len(self.tiled.having(n)) for n in range(SIDE)]
        if having[0] == having[-1]:
            return [(0, SIDE - 1), (1, 2)]
        return [(0,), *[(SIDE - 1,)] * (having[-1] > 0), (1, 2)]

    @property
    def active(self) -> range:
        """The combinations that there are products with."""
        return range(SIDE if self.tiled.having(SIDE - 1) else SIDE - 1)


def best_cut(node: Node) -> Cut:
    """Return the cheapest cut of a convolution, or of the image of one, at likely sizes; if equal,
    that of fewest tiles: each worker has scratch for them."""
    form, dtype = node.form, node.types[0].dtype
    assert isinstance(form, WindowProduct)
    of_image, lanes = form.result == "image", dtype.lanes
    out, inner = (hint_value(size) for size in node.args[1].type.shape[:2][:: 1 - 2 * of_image])
    *deep, down, across = (TileAxis(axis, not of_image) for axis in form.axes)
    high, wide = (max(1, -(-hint_value(axis.phase) // RESULTS)) for axis in (down, across))
    products = down.tiled.combined * across.tiled.combined
    planes, spread = down.stride * across.stride, down.step * across.step
    more, along = down.blocks - 1, across.blocks - 1
    batch = max(1, hint_value(node.args[0].type.shape[0]))
    around, phases = down.of.dilation * (batch if deep else 1), across.of.dilation
    depths = max(1, hint_value(deep[0].every)) if deep else batch
    reach = hint_value(deep[0].reach) if deep else 0
    taps = int(deep[0].of.taps) if deep else 1
    most = _NEAR // ((out * spread + inner * planes) * SIDE**2 * dtype.itemsize)
    most = max(_FEWEST_TILES, min(most, _MOST_TILES))

    def tiles(cut: Cut) -> int:
        rows = cut.rows + (more if cut.images > 1 or deep else 0)
        return cut.images * phases * rows * (wide + along + cut.joined)

    def cost(cut: Cut) -> float:
        """Return the cost per image in multiplications of vectors."""
        vectors = max(_FEWEST_VECTORS, -(-tiles(cut) // lanes))

        def combined(rows: int, wide: int) -> int:
            runs, run = (1, rows * (wide + 1)) if cut.joined else (rows, wide)
            return phases * runs * (run // lanes * _COMBINED + (run % lanes > 0) * _MASKED)

        row = -(-RESULTS * wide // lanes) * RESULTS * _COPIED * phases
        strips, turns = -(-high // cut.rows), -(-depths // cut.images)
        copies = (cut.images + reach) / cut.images
        rows = cut.rows + more
        given = inner * planes * (combined(rows, wide + along) + (rows + 1) * row)
        found = out * spread * (combined(cut.rows, wide) + cut.rows * row)
        both = copies * cut.parts * given + found
        idle = max(1.0, WANTED / (around * turns * strips * cut.parts))
        multiplied = vectors * products * out * inner * taps / cut.images
        return (multiplied + both) * strips * idle * (turns * cut.images / depths)

    def cuts() -> Iterator[Cut]:
        shared = deep or out >= WANTED * _MANY
        for joined in (False, True):
            fitting = most // (phases * (wide + along + joined))
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


@dataclass(frozen=True)
class RunPieces:
    """The first piece and the first combined tap of a run, and their steps in it."""

    piece: int
    shifted: int
    index: int
    step: int

    @staticmethod
    def of(axis: TileAxis, run: Run) -> RunPieces:
        """Return those of a run of an axis."""
        first, last = run[0], run[min(1, len(run) - 1)]
        pieces, indices = axis.tiled.having, axis.tiled.index
        piece, index = pieces(first).start, indices(first)
        return RunPieces(piece, pieces(last).start - piece, index, indices(last) - index)


class WindowTiles(WindowProducts):
    """The state of lowering such a convolution, or its image gradient."""

    def lower(self) -> LoweredStep:
        """Return the kernel of the group: combinations, products, results and epilogue."""
        self.dtype: DType = self.anchor.types[0].dtype
        over_windows = self.form.result == "windows"
        *deep, down, across = (TileAxis(axis, over_windows) for axis in self.form.axes)
        self.axes, self.deep = (down, across), deep[0] if deep else None
        filters = self.second.type.shape[:2]
        self.out, self.inner = filters if over_windows else filters[::-1]
        high, self.wide = (-(-axis.phase // RESULTS) for axis in self.axes)
        self._cut(high)
        stages: tuple[Stage, ...] = (*self._zeros_around(), self._copied())
        for rows in down.pairs:
            stages = (*stages, *self._row_stages(rows))
        return self.finish((*stages, *self._summed(), self._followed()), self.outer)

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
        self.more = down.blocks - 1
        self.joined, self.pitch = cut.joined, self.wide + across.blocks - 1 + cut.joined
        several = cut.images > 1 or self.deep is not None
        self.run = (self.rows + (self.more if several else 0)) * self.pitch
        self.beside = 0 if several else self.more * self.pitch
        lanes = self.dtype.lanes
        made = self.there * self.phases * self.run
        self.tiles = -(-made // lanes) * lanes  # so that vectors are whole
        self.given = self.tiles + reach * self.run + self.more * self.pitch + across.blocks - 1

    @cached_property
    def row_of_plane(self) -> Size:
        """Elements from one row of the strip to the next: pairs, of which a tile reads two."""
        return RESULTS * (self.wide + self.axes[1].blocks)

    @cached_property
    def planes(self) -> Size:
        """The channels that are read, each with the remainders of strides: [remainders, c]."""
        return self.axes[0].stride * self.axes[1].stride * self.inner

    @cached_property
    def sums(self) -> Size:
        """The channels that are computed, each with the remainders of strides: [remainders, o]."""
        return self.axes[0].step * self.axes[1].step * self.each

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
            behind = self.in_scratch(PLANE, [(pair, 1)], RESULTS * self.planes * self._plane_size)
            zeros.append(map_over([pair], [Store(behind, zero)]))
        start = self.read * self.phases * self.run + self.beside
        if self.given - start != 0:
            c, tile = self.loop(self.planes), self.loop(self.given - start, VECTOR)
            moved = [(c, self.given), (tile, 1)]
            starts = (n * self.apart(self.planes * self.given) + start for n in range(SIDE))
            stores = [Store(self.in_scratch(COMBINED, moved, at), zero) for at in starts]
            zeros.append(map_over([c, tile], stores))
        return tuple(zeros)

    def _copied(self) -> Map:
        """Return the map that copies the strip with its border, even and odd rows separately."""
        loops = c, image, row, column = self.nest(
            self.inner, self.read, self.rows + self.more + 1, self.row_of_plane
        )
        (high, wide), lead = self.axes, self._lead(image, self._read_channel(c), read=True)
        moved = (*self._in_plane(c, image, row, self.phases), (column, 1))
        unit = wide.of.dilation * wide.stride
        stores = []
        for odd, over in itertools.product(range(RESULTS), range(high.stride)):
            down = self._row(row, odd, over, read=True)
            for beside in range(unit):
                across = self.at((column, unit), start=wide.start + beside, extent=wide.given)
                value = self.element(self.first, (*lead, down, across))
                start = odd * self.planes * self._plane_size
                if wide.stride > 1:
                    start += (over * wide.stride + beside) * self.inner * self._plane_size
                else:
                    start += over * self.inner * self._plane_size + beside * self._plane_of_image
                stores.append(Store(self.in_scratch(PLANE, moved, start), value))
        return map_over(loops, stores)

    @cached_property
    def _plane_of_image(self) -> Size:
        return (self.rows + self.more + 1) * self.row_of_plane

    @cached_property
    def _plane_size(self) -> Size:
        """The number of elements of even or odd rows of the images of a channel."""
        return self.read * self.phases * self._plane_of_image

    def _in_plane(self, c: Axis, image: Axis, row: Axis | None, images: int = 1) -> Moved:
        """Return what moves in the plane; an image of the loop has the places of ``images``."""
        size = images * self._plane_of_image
        return (c, self._plane_size), (image, size), (row, self.row_of_plane)

    def _row_stages(self, rows: Run) -> tuple[Stage, ...]:
        """Return the stages that make one row of combinations, or two in a loop, and products.

        The first and the last row subtract elements, which are one row further in the last one. The
        two between these add the same ones, of which the second row negates the first one.
        """
        if len(rows) == 1:
            return (self._combined([IMAGE[rows[0]]]), *self._multiplied(rows, None))
        turn = self.loop(2, taps=True)
        if rows[0] == 0:
            combined = self._combined([IMAGE[0]], (turn, self.planes * self._plane_size))
        else:
            one, minus = (ex.literal(number, self.dtype) for number in (1, -1))
            sign = ex.apply("select", ex.index(turn.name).eq(0), one, minus)
            combined = self._combined([IMAGE[1]], first=sign)
        return (Loop(turn, (), (combined, *self._multiplied(rows, turn)), ()),)

    def _combined(
        self, rows: Signs = IMAGE, *moves: tuple[Axis, Size], first: Expr | None = None
    ) -> Map:
        """Return the map of some rows of combinations; ``first`` is a factor of the elements of
        row 1, and other loops may move all elements."""
        loops = c, image, row, column = self._for_tiles(self.planes, self.read, given=True)
        moved = (*self._in_plane(c, image, row), *moves)

        def given(a: int, b: int) -> Expr:
            start = a % RESULTS * self.planes * self._plane_size + a // RESULTS * self.row_of_plane
            value = self._every_second(PLANE, moved, start, b, column)
            return value * first if first is not None and a == 1 else value

        values = both_ways(rows, IMAGE[: len(self.axes[1].active)], given)
        return map_over(loops, self._kept(COMBINED, self.planes, self.given, loops, values))

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

    def _multiplied(self, rows: Run, turn: Axis | None) -> list[Stage]:
        """Return the products of a row of combinations, or of those of a loop."""
        return [self._products_of(rows, turn, run) for run in self.axes[1].runs]

    def _products_of(self, rows: Run, turn: Axis | None, columns: Run) -> Stage:
        t = self.loop(len(columns), taps=True) if len(columns) > 1 else None
        given, to_apart = self.apart(self.planes * self.given), self.apart(self.sums * self.tiles)
        by = columns[-1] - columns[0] if len(columns) == 2 else 1
        combined: list[tuple[Axis | None, Size]] = [(t, by * given)]
        start: Size = columns[0] * given
        to: list[tuple[Axis | None, Size]] = [
            (turn, (rows[-1] - rows[0]) * SIDE * to_apart),
            (t, by * to_apart),
        ]
        to_start: Size = (rows[0] * SIDE + columns[0]) * to_apart
        out, terms, places = [], [], []
        units = self._piece_units()
        for axis, run, loop, unit in zip(self.axes, (rows, columns), (turn, t), units, strict=True):
            piece, found = self._pieces(axis, run)
            moved = (piece, unit), (loop, found.shifted * unit)
            if axis.step > 1:
                out.append(piece)
                to += moved
                to_start += found.piece * unit
            else:
                terms.append(piece)
                combined += moved
                start += found.piece * unit
            steps = _moving((loop, found.step), (piece, 1))
            places.append(self.at(*steps, start=found.index))
        deep = self.deep
        depths = [deep.of.taps] if deep else []
        i, j = self.loop(self.each, "i"), self.loop(self.tiles, VECTOR)
        k, *taps = self._flattened([self.inner, *depths], "k", [False, True])
        assert k is not None
        combined += [(k, self.given), (j, 1)]
        if deep:  # of an image the last tap reads the first depth
            step = deep.of.dilation * self.run
            combined.append((taps[0], step if deep.over_windows else -step))
            start += 0 if deep.over_windows else deep.reach * self.run
        b = self.in_scratch(COMBINED, _moving(*combined), start)
        store = self.in_scratch(SUMS, _moving(*to, (i, self.tiles), (j, 1)), to_start)
        walk = Walk(self.second.base, self.second.layout.offset, self.second.layout.strides)
        channels = (self._channel_of(i), *along(k))
        both = channels if self.form.result == "windows" else channels[::-1]
        filters = self.located(walk, (*both, *along(*taps), *places), self.dtype)
        inner = tuple(loop for loop in (*terms, k, *taps) if loop)
        over = (*[loop for loop in out if loop], i)
        product = Gemm(over, (j,), inner, filters, b, (Store(store, ex.ref("acc", self.dtype)),))
        return Loop(t, (), (product,), ()) if t else product

    def _pieces(self, axis: TileAxis, run: Run) -> tuple[Axis | None, RunPieces]:
        """Return a loop over the pieces of a run, if there are several, and where they are."""
        count = len(axis.tiled.having(run[0]))
        return self.loop(count, taps=True) if count > 1 else None, RunPieces.of(axis, run)

    def _piece_units(self) -> tuple[Size, Size]:
        """Return the elements from one piece to the next along both axes."""
        down, across = self.axes
        channel = [
            self.each * self.tiles if axis.step > 1 else self.inner * self.given
            for axis in self.axes
        ]
        beside = across.step if down.step > 1 else across.stride
        return (
            beside * channel[0] if down.of.step > 1 else self.pitch,
            channel[1] if across.of.step > 1 else 1,
        )

    def _summed(self) -> tuple[Map, ...]:
        """Return the maps of the results of each tile, even and odd rows separately."""
        down, across = self.axes
        remainders = itertools.product(range(down.step), range(across.step))
        return tuple([self._summed_of(*each) for each in remainders])

    def _summed_of(self, over: int, beside: int) -> Map:
        loops = o, image, row, column = self._for_tiles(self.each, self.there)
        tile = self._tile(self.tiles, *loops)
        first = (over * self.axes[1].step + beside) * self.each

        def given(a: int, b: int) -> Expr:
            start = (a * SIDE + b) * self.apart(self.sums * self.tiles) + first * self.tiles
            return ex.load(self.in_scratch(SUMS, tile, start), self.dtype)

        stores = []
        down, across = self.axes
        values = both_ways(down.results(over), across.results(beside), given)
        for number, value in enumerate(values):
            odd, place = divmod(number, RESULTS)
            moved, start = self._result(o, image, row), odd * RESULTS * self.run
            at = Position(((column.name, RESULTS),), place)
            start += first * self._of_channel
            stores.append(Store(self.in_scratch(TILES, moved, start, at), value))
        return map_over(loops, stores)

    @cached_property
    def _of_channel(self) -> Size:
        return self.there * self.phases * RESULTS**2 * self.run

    def _result(self, channel: Axis, image: Axis, row: Axis | None, images: int = 1) -> Moved:
        size = RESULTS**2 * self.run
        return (channel, self._of_channel), (image, images * size), (row, RESULTS * self.pitch)

    def _followed(self) -> Map:
        down, wide = self.axes
        loops = o, image, row, column = self.nest(self.each, self.there, self.rows, wide.phase)
        moved = (*self._result(o, image, row, self.phases), (column, 1))
        lead, stores = self._lead(image, self._channel_of(o)), list[Store]()
        unit = wide.of.dilation * wide.step
        for odd, over in itertools.product(range(RESULTS), range(down.step)):
            for beside in range(unit):
                across = self.at((column, unit), start=beside, extent=wide.every)
                self.move_to((*lead, self._row(row, odd, over), across))
                start = odd * RESULTS * self.run
                if wide.step > 1:
                    start += (over * wide.step + beside) * self.each * self._of_channel
                else:
                    start += over * self.each * self._of_channel + beside * RESULTS**2 * self.run
                stores += self.stores(ex.load(self.in_scratch(TILES, moved, start), self.dtype))
        return map_over(loops, stores)

    def _row(self, row: Axis, odd: int, over: int = 0, read: bool = False) -> AxisPlace:
        """Return the even or odd row of results of a row of tiles, or the row that is read; with
        strides that of a remainder."""
        of, dilation = self.axes[0], self.axes[0].of.dilation
        unit = dilation * (of.stride if read else of.step)
        terms = (self.strip, RESULTS * self.rows * unit), (row, RESULTS * unit)
        start, extent = (of.start, of.given) if read else (0, of.every)
        start += odd * unit + over
        return self.at(*terms, (self.down, 1), start=start, extent=extent)

    def _for_tiles(self, channels: Size, images: Size, given: bool = False) -> Loops:
        images = images * self.phases
        rows = self.rows + self.more * given
        if not self.joined:
            wide = self.wide + (self.axes[1].blocks - 1) * given
            c, image, row, column = self.nest(channels, images, rows, wide)
            return c, image, row, column
        c, image = self.loop(channels), self.loop(images)
        return c, image, None, self.loop(rows * self.pitch, VECTOR)

    def _every_second(
        self, number: int, moved: Moved, start: Size, place: int, column: Axis
    ) -> Expr:
        at = Position(((column.name, RESULTS),), place)
        return ex.load(self.in_scratch(number, moved, start, at), self.dtype)


def _moving(*moved: tuple[Axis | None, Size]) -> list[tuple[Axis, Size]]:
    """Return the sum of the strides of each loop, without loops that move nothing."""
    strides: dict[Axis, Size] = {}
    for loop, stride in moved:
        if loop:
            strides[loop] = strides.get(loop, 0) + stride
    return [(loop, stride) for loop, stride in strides.items() if stride != 0]


def both_ways(down: Signs, across: Signs, given: Callable[[int, int], Expr]) -> list[Expr]:
    """Return the combinations of elements, down and then along, row by row."""
    used = [a for a in range(len(down[0])) if any(row[a] for row in down)]
    beside = [b for b in range(len(across[0])) if any(row[b] for row in across)]
    columns = {b: _combinations(down, {a: given(a, b) for a in used}) for b in beside}
    return [
        value
        for row in range(len(down))
        for value in _combinations(across, {b: columns[b][row] for b in beside})
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

    def lower(self) -> LoweredStep:
        """Return the kernel: combinations and products, image by image, then the taps."""
        self.dtype = self.anchor.types[0].dtype
        down, across = (TileAxis(axis, over_windows=True) for axis in self.form.axes)
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
        combined = self._combined(IMAGE[: len(down.active)])
        stages = (self._copied(), combined, self._givens(), *self._all_products())
        images = Loop(image, (), (Loop(self.strip, (), stages, ()),), ())
        return self.finish((*zeros, kept, images, *self._taps()), self.outer)

    def _cut_strips(self) -> Size:
        down, across = self.axes
        high, self.wide = (-(-axis.every // RESULTS) for axis in self.axes)
        rows, wide = (max(1, hint_value(size)) for size in (high, self.wide))
        tiles = _TILES // (down.stride * across.stride)
        strips = -(-rows // max(1, tiles // wide))
        self.there = self.read = 1
        self.rows = -(-rows // strips)
        self.more, self.joined, self.pitch = down.blocks - 1, False, self.wide + across.blocks - 1
        self.beside, self.run = 0, self.rows * self.pitch
        self.tiles, self.given = self.run, self.run + self.more * self.pitch
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

    def _added(self, moved: Iterable[tuple[Axis | None, Size]], start: Size = 0) -> Access:
        return self.in_scratch(_SUMS, _moving(*moved), start)

    # -- stages -----------------------------------------------------------------------------------

    def _zeros(self) -> list[Map]:
        """Return the maps that set the sums to 0, and results between rows of tiles."""
        zero, size = ex.literal(0, self.dtype), self.each * self.inner
        t, (o, column) = self.loop(self._combined_taps, taps=True), self.nest(self.each, self.inner)
        store = Store(self._added([(t, size), (o, self.inner), (column, 1)]), zero)
        found = [map_over([t, o, column], [store])]
        if self.pitch - self.wide != 0:
            t = self.loop(prod(len(axis.active) for axis in self.axes))
            column, apart = (
                self.loop(self.each * self.tiles, VECTOR),
                self.apart(self.each * self.tiles),
            )
            to = self.in_scratch(_GIVENS, [(t, apart), (column, 1)])
            found.append(map_over([t, column], [Store(to, zero)]))
        return found

    @property
    def _combined_taps(self) -> int:
        """The number of combined taps."""
        return prod(axis.tiled.combined for axis in self.axes)

    def _givens(self) -> Map:
        loops = o, image, row, column = self._for_tiles(self.each, self.there)
        assert row is not None
        lead = self._lead(image, self._channel_of(o))

        def given(a: int, b: int) -> Expr:
            across = self.at((column, RESULTS), start=b, extent=self.axes[1].every)
            return self.element(self.second, (*lead, self._row(row, a), across))

        down, beside = (_GIVEN[: len(axis.active)] for axis in self.axes)
        values = both_ways(down, beside, given)
        return map_over(loops, self._kept(_GIVENS, self.each, self.tiles, loops, values))

    def _all_products(self) -> list[Stage]:
        runs = itertools.product(*(axis.runs for axis in self.axes))
        return [self._sums_of(each) for each in runs]

    def _sums_of(self, runs: Sequence[Run]) -> Stage:
        """Return the products of combinations, added to the sums of each piece that has them."""
        size = self.each * self.inner
        from_a = self.apart(self.each * self.tiles)
        from_b = self.apart(self.planes * self.given)
        i, j = self.loop(self.each, "i"), self.loop(self.inner, VECTOR)
        k = self.loop((self.rows - 1) * self.pitch + self.wide, "k")
        loops: list[Axis | None] = []
        a: list[tuple[Axis | None, Size]] = [(i, self.tiles), (k, 1)]
        b: list[tuple[Axis | None, Size]] = [(k, 1), (j, self.given)]
        to: list[tuple[Axis | None, Size]] = [(i, self.inner), (j, 1)]
        a_start: Size = 0
        b_start: Size = 0
        to_start: Size = 0
        units, apart = self._piece_units(), (self.axes[1].tiled.combined, 1)
        each = (len(self.axes[1].active), 1)
        for axis, run, unit, n, stride in zip(self.axes, runs, units, apart, each, strict=True):
            turn = self.loop(len(run), taps=True) if len(run) > 1 else None
            piece, found = self._pieces(axis, run)
            loops += [turn, piece]
            by = (turn, (run[-1] - run[0]) // max(1, len(run) - 1) * stride)
            a.append((by[0], by[1] * from_a))
            b += [(by[0], by[1] * from_b), (piece, unit), (turn, found.shifted * unit)]
            to += [(turn, found.step * n * size), (piece, n * size)]
            a_start += run[0] * stride * from_a
            b_start += run[0] * stride * from_b + found.piece * unit
            to_start += found.index * n * size
        added = self._added(to, to_start)
        value = ex.load(added, self.dtype) + ex.ref("acc", self.dtype)
        product: Stage = Gemm(
            (i,), (j,), (k,), self.in_scratch(_GIVENS, _moving(*a), a_start),
            self.in_scratch(COMBINED, _moving(*b), b_start), (Store(added, value),),
        )  # fmt: skip
        for loop in reversed(loops):
            product = Loop(loop, (), (product,), ()) if loop else product
        return product

    def _taps(self) -> list[Map]:
        """Return the maps of the taps, of pieces with equally many in each."""
        alike = [axis.tiled.alike for axis in self.axes]
        return [self._taps_of(each) for each in itertools.product(*alike)]

    def _taps_of(self, numbers: Sequence[Sequence[int]]) -> Map:
        """Return the map of the taps of pieces with these numbers along each axis."""
        size, apart = self.each * self.inner, (self.axes[1].tiled.combined, 1)
        loops = [self.loop(len(n), taps=True) if len(n) > 1 else None for n in numbers]
        o, column = self.nest(self.each, self.inner)
        moved = [(loop, n * size) for loop, n in zip(loops, apart, strict=True)]
        moved += [(o, self.inner), (column, 1)]
        pieces = [axis.tiled.pieces for axis in self.axes]

        def found(*n: int) -> Expr:
            index = [
                axis.tiled.index(k) + first[0] - axis.tiled.having(k).start
                for axis, k, first in zip(self.axes, n, numbers, strict=True)
            ]
            start = (index[0] * apart[0] + index[1]) * size
            return ex.load(self._added(moved, start), self.dtype)

        high, wide = (of[n[0]] for of, n in zip(pieces, numbers, strict=True))
        sums = [[found(a, b) for b in wide.combinations] for a in high.combinations]
        down = [_taken(each) for each in zip(*sums, strict=True)]
        taps = [_taken(row) for row in zip(*down, strict=True)]
        step = [
            of[n[1]].taps[0] - of[n[0]].taps[0] if len(n) > 1 else 0
            for of, n in zip(pieces, numbers, strict=True)
        ]
        stores: list[Store] = []
        for y, row in zip(high.taps, taps, strict=True):
            for x, value in zip(wide.taps, row, strict=True):
                channels = (self._channel_of(o), self._read_channel(column))
                taken = (
                    self.at((loop, by), start=tap)
                    for loop, by, tap in zip(loops, step, (y, x), strict=True)
                )
                self.move_to((*along(self.chunk), *channels, *taken))
                stores += self.stores(value)
        return map_over([*loops, o, column], stores)


def _taken(given: Sequence[Expr]) -> tuple[Expr, ...]:
    """Return the taps of the sums of a piece: three of four sums, or two of three."""
    first, plus, minus, *last = given
    half = ex.literal(0.5, first.dtype)
    both = (plus + minus) * half
    return first + both, (plus - minus) * half, *(both - each for each in last)
