"""Lower convolutions and their filter gradients in tiles (Winograd), and choose the sizes of tiles.

The data passed between the stages of an iteration stays in L2, which limits the number of tiles.
Products and combinations (Winograd's transforms) process full vectors of tiles. ``best_cut``
minimizes the cost of both for each useful tile within the limit.

**Results.** A tile of results needs four by four elements of the image. These are combined by
additions (``IMAGE``). Sixteen products over the channels with the combined filters follow, one for
each combination (``passes/late/windows.py``); sums of these are the results
(``RESULT``). An iteration takes a strip of an image, or several images, so that all data passed
between stages stays in L2, and the combinations, four of the sixteen at a time, in L1. Even and odd
rows of the strip are copied separately, with the border; even and odd columns are separated in
registers.

Rows of tiles that do not fill full vectors may be joined. Each row of the strip then has one more
tile, of border, so that the elements of a tile have a fixed offset in every row. Vectors cross from
row to row, and the values of tiles between rows are never stored. Products process those tiles,
too; ``best_cut`` chooses the cheaper layout.

**Pieces.** Taps are in pieces of two or three (``staticgrad/language/ops/tiles.py``). Without
strides a piece reads tiles at a fixed offset from the previous piece, like a product over several
channels. With strides the elements of each remainder are separate channels, of the image or of the
result. A piece of two taps has no product with one of the four combinations along its axis.

**Volumes.** With three axes, the last two have tiles. An iteration combines the planes of several
depths, ``read``, once. The products sum over the channels and the taps of the first axis: the tiles
of a tap are at a fixed offset, the offset of its plane.

**Dilation.** A phase of an image has every d-th row and column for the dilation d, and adjacent
windows. Phases of rows are separate iterations. Phases of columns are adjacent images in an
iteration, which copies and stores a row for all of them at once.

**Filter gradients.** The contribution of a tile of two by two results to nine taps is F(3x3, 2x2)
of the algorithm above. The tile's four by four elements of the image are combined in the same way,
and its results are combined, too (``_RESULT_SIGNS``). Sixteen products are summed over all tiles of
all images; sums of these are the taps. An iteration has some channels of each side, and loops over
the batch, a strip of an image at a time; the sums stay in L2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Final

from staticgrad.analysis.cost import COPIED
from staticgrad.compiler.fusion.groups import Walk
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep
from staticgrad.compiler.lowering.windows.places import (
    AffineIndex,
    StripAxis,
    loop_indices,
    map_over,
)
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
from staticgrad.language.types.dtype import BF16, F32, U32, DType
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass, replace

#: Results of a tile along an axis.
RESULTS: Final = 2
#: Bytes that the products read and write for the tiles of an iteration, about; and its least tiles.
_PRODUCT_BYTES: Final = 1 << 19
_FEWEST_TILES: Final = 64
#: Desired number of iterations; the channels of an iteration are a multiple of ``_ROWS``; with at
#: least ``_MANY`` channels each it pays that several iterations combine the same elements.
WANTED: Final = 4
_ROWS: Final = 16
_MANY_CHANNELS: Final = 64
#: Costs in multiplications of vectors, for one channel: to combine a vector of tiles; to combine
#: a partial vector.
_COMBINED: Final = 70
_MASKED: Final = 140
#: Fewer vectors of tiles than this take the same time: loading the filters dominates.
_FEWEST_VECTORS: Final = 2


#: Rows of signs.
Signs = Sequence[Sequence[int]]
#: A combination, or several at a constant stride.
Run = tuple[int, ...]
#: The signs of the combinations of four elements of the image, and of four sums of products.
#: They are B and A, transposed, of F(2, 3) in A. Lavin and S. Gray, Fast algorithms for
#: convolutional neural networks (2016).
IMAGE: Final = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
RESULT: Final = ((1, 1, 1, 0), (0, 1, -1, -1))


@dataclass(frozen=True)
class Cut:
    """The rows of tiles and the images of an iteration; in a volume images are adjacent depths.

    ``joined``: rows are contiguous, with an unused tile of border between them. ``parts``: with few
    strips the result's channels are divided into parts with separate iterations; the image is
    copied and combined for each part.
    """

    rows: int
    images: int
    joined: bool
    parts: int = 1


class TileAxis(StripAxis):
    """An axis with tiles; with strides the image, or the result, has ``step`` remainders."""

    @cached_property
    def piece_taps(self) -> TileTaps:
        """The pieces of its taps."""
        taps = tile_taps(self.axis, self.over_windows)
        assert taps
        return taps

    @property
    def blocks(self) -> int:
        """The number of pieces that read consecutive tiles."""
        return 1 if self.axis.step > 1 else len(self.piece_taps.pieces)

    def results(self, remainder: int) -> Signs:
        """The signs of the sums of products in the results of a remainder; 0: no product."""
        pieces = self.piece_taps.pieces
        of = pieces[remainder : remainder + 1] if self.step > 1 else pieces
        used = {n for piece in of for n in piece.combinations}
        return [[sign * (n in used) for n, sign in enumerate(row)] for row in RESULT]

    @property
    def runs(self) -> list[Run]:
        """The Winograd combinations in runs; the products of a run are computed in one loop."""
        having = [self.piece_taps.having(n) for n in range(SIDE)]
        runs: list[Run] = []
        for n, pieces in enumerate(having):
            if runs and having[runs[-1][-1]] == pieces:
                runs[-1] = (*runs[-1], n)
            elif pieces:
                runs.append((n,))
        # The first and the last combination have equally many products: a constant stride leads
        # from one to the other.
        if len(runs) == 3 and len(having[0]) == len(having[-1]):
            return [(0, SIDE - 1), runs[1]]
        return runs

    @property
    def pairs(self) -> list[Run]:
        """The combinations in runs that combine the same elements, of different rows."""
        having = [len(self.piece_taps.having(n)) for n in range(SIDE)]
        if having[0] == having[-1]:
            return [(0, SIDE - 1), (1, 2)]
        return [(0,), *[(SIDE - 1,)] * (having[-1] > 0), (1, 2)]

    @property
    def active(self) -> range:
        """The combinations that have products."""
        return range(SIDE if self.piece_taps.having(SIDE - 1) else SIDE - 1)


def best_cut(node: Node) -> Cut:
    """Return the cheapest Winograd cut of a convolution or image gradient at likely sizes.

    Of equally cheap cuts return the one with the fewest tiles: each worker has scratch for them.
    """
    form, dtype = node.form, node.types[0].dtype
    assert isinstance(form, WindowProduct)
    of_image, lanes = form.result == "image", dtype.lanes
    out, inner = (hint_value(size) for size in node.args[1].type.shape[:2][:: 1 - 2 * of_image])
    *deep, down, across = (TileAxis(axis, not of_image) for axis in form.axes)
    high, wide = (max(1, -(-hint_value(axis.phase) // RESULTS)) for axis in (down, across))
    products = down.piece_taps.combined_taps * across.piece_taps.combined_taps
    planes, spread = down.stride * across.stride, down.step * across.step
    more, along = down.blocks - 1, across.blocks - 1
    batch = max(1, hint_value(node.args[0].type.shape[0]))
    outer_iterations, phases = down.axis.dilation * (batch if deep else 1), across.axis.dilation
    depths = max(1, hint_value(deep[0].result_extent)) if deep else batch
    reach = hint_value(deep[0].reach) if deep else 0
    taps = int(deep[0].axis.taps) if deep else 1
    paired = 1 if form.factors is None else 2
    most = _PRODUCT_BYTES // ((out * spread + inner * planes) * SIDE**2 * dtype.itemsize)
    most = max(_FEWEST_TILES, most)

    def tiles(cut: Cut) -> int:
        rows = cut.rows + (more if cut.images > 1 or deep else 0)
        return cut.images * phases * rows * (wide + along + cut.joined)

    def cost(cut: Cut) -> float:
        """Return the cost of Winograd tiles per image, in multiplications of vectors."""
        vectors = max(_FEWEST_VECTORS, -(-tiles(cut) // lanes))

        def combination_cost(rows: int, wide: int) -> int:
            runs, run = (1, rows * (wide + 1)) if cut.joined else (rows, wide)
            return phases * runs * (run // lanes * _COMBINED + (run % lanes > 0) * _MASKED)

        row = -(-RESULTS * wide // lanes) * RESULTS * COPIED * phases
        strips, image_groups = -(-high // cut.rows), -(-depths // cut.images)
        # depths that neighbouring cuts read as well are copied by each of them
        copies = (cut.images + reach) / cut.images
        rows = cut.rows + more
        image_cost = (
            inner * paired * planes * (combination_cost(rows, wide + along) + (rows + 1) * row)
        )
        result_cost = out * spread * (combination_cost(cut.rows, wide) + cut.rows * row)
        combination_costs = copies * cut.parts * image_cost + result_cost
        # With fewer iterations than wanted some workers have nothing to do.
        idle = max(1.0, WANTED / (outer_iterations * image_groups * strips * cut.parts))
        product_cost = vectors * products * out * inner * taps / cut.images
        return (
            (product_cost + combination_costs)
            * strips
            * idle
            * (image_groups * cut.images / depths)
        )

    def cuts() -> Iterator[Cut]:
        """Yield candidate cuts of Winograd tiles: rows per strip, images, joined rows or not."""
        shared = deep or out >= WANTED * _MANY_CHANNELS
        for joined in (False, True):
            fitting = most // (phases * (wide + along + joined))
            for rows in range(1, max(1, min(high, fitting)) + 1):
                # As many strips as of so many rows, with the rows divided evenly among them.
                yield Cut(-(-high // -(-high // rows)), 1, joined)
            for images in range(2, (depths if shared else depths // WANTED) + 1):
                if images * (1 if deep else high) > fitting:
                    break
                image_count = -(-depths // -(-depths // images)) if deep else images
                for rows in range(1, min(high, fitting // images) + 1) if deep else (high,):
                    yield Cut(-(-high // -(-high // rows)), image_count, joined)

    def with_parts(cut: Cut) -> Cut:
        iterations = outer_iterations * -(-depths // cut.images) * -(-high // cut.rows)
        fits = (
            n for n in range(-(-WANTED // iterations), 0, -1) if n == 1 or out % (n * _ROWS) == 0
        )
        return replace(cut, parts=next(fits))

    return min(map(with_parts, cuts()), key=lambda cut: (cost(cut), tiles(cut)))


#: Loops of a stage: channels, images, rows of tiles (None: joined), columns.
Loops = tuple[Axis, Axis, Axis | None, Axis]
#: Loops that move an access, with their strides.
Moves = tuple[tuple[Axis | None, Size], ...]
#: Bytes between addresses of the same L1 set, and the offset from there to the next buffer.
_PAGE: Final = 1 << 12
_BUFFER_OFFSET: Final = 1 << 8
#: The scratch: the strip of an image with its border, its combinations, the sums of products, the
#: results.
PLANE, COMBINED, SUMS, TILES = range(4)


@dataclass(frozen=True)
class RunPieces:
    """The first piece and the first combined tap of a run, and the steps from there."""

    piece: int
    shifted: int
    index: int
    step: int

    @staticmethod
    def of(axis: TileAxis, run: Run) -> RunPieces:
        """Return the pieces of a run of an axis."""
        first, last = run[0], run[min(1, len(run) - 1)]
        pieces, indices = axis.piece_taps.having, axis.piece_taps.index
        piece, index = pieces(first).start, indices(first)
        return RunPieces(piece, pieces(last).start - piece, index, indices(last) - index)


class WindowTiles(WindowProducts):
    """The state of lowering a convolution in tiles, or its image gradient."""

    def lower(self) -> LoweredStep:
        """Return a Winograd kernel: combinations, products, results and epilogue."""
        self.dtype: DType = self.anchor.types[0].dtype
        over_windows = self.form.result == "windows"
        *deep, down, across = (TileAxis(axis, over_windows) for axis in self.form.axes)
        self.axes, self.deep = (down, across), deep[0] if deep else None
        filters = self.second.type.shape[:2]
        self.out, self.inner = filters if over_windows else filters[::-1]
        high, self.wide = (-(-axis.phase // RESULTS) for axis in self.axes)
        self._choose_sizes(high)
        stages: tuple[Stage, ...] = (*self._zero_padding(), self._copy_strip())
        for rows in down.pairs:
            stages = (*stages, *self._row_stages(rows))
        return self.finish((*stages, *self._sum_products(), self._epilogue_stage()), self.outer)

    def _choose_sizes(self, high: Size) -> None:
        """Choose the rows, images and channels of an iteration of Winograd tiles.

        Cut ``high`` rows of tiles into strips of about equal size. Process several images in an
        iteration if they are small. Cut the channels into parts if there are few strips.
        """
        cut = best_cut(self.anchor)
        self.rows, self.batch = cut.rows, self.first.type.shape[0]
        self.images: Size = cut.images
        self.channel_count = hint_value(self.out) // cut.parts
        self.n = self.outer_loop(self.batch) if self.deep else None
        depths = self.deep.result_extent if self.deep else self.batch
        reach = self.deep.reach if self.deep else 0
        self.chunk = self.outer_loop(-(-depths // self.images))
        down, across = self.axes
        self.row_phase = self.outer_loop(down.axis.dilation) if down.axis.dilation > 1 else None
        self.phases = across.axis.dilation
        self.strip = self.outer_loop(-(-high // self.rows))
        self.part = self.outer_loop(self.out // self.channel_count)
        self.image_count: Size = minimum(self.images, depths)
        self.read = self.image_count + reach
        self.more = down.blocks - 1
        self.joined, self.pitch = cut.joined, self.wide + across.blocks - 1 + cut.joined
        has_several_images = cut.images > 1 or self.deep is not None
        self.run = (self.rows + (self.more if has_several_images else 0)) * self.pitch
        self.extra_elements = 0 if has_several_images else self.more * self.pitch
        lanes = self.dtype.lanes
        tile_count = self.image_count * self.phases * self.run
        self.tiles = -(-tile_count // lanes) * lanes  # full vectors
        self.source_tiles = (
            self.tiles + reach * self.run + self.more * self.pitch + across.blocks - 1
        )

    @cached_property
    def row_of_plane(self) -> Size:
        """The stride between rows of the strip, in elements: a tile reads two pairs of a row."""
        return RESULTS * (self.wide + self.axes[1].blocks)

    @cached_property
    def planes(self) -> Size:
        """The channels that are read, each with the remainders of strides: [remainders, c]."""
        inner = self.inner * 2 if self.is_paired else self.inner
        return self.axes[0].stride * self.axes[1].stride * inner

    @cached_property
    def terms(self) -> Size:
        """The rows of a combination: planes, or pairs of them."""
        return self.planes // 2 if self.is_paired else self.planes

    @property
    def is_paired(self) -> bool:
        """True if combinations are rounded to bfloat16, and multiplied in pairs of channels."""
        return self.form.factors is BF16

    @cached_property
    def sums(self) -> Size:
        """The channels that are computed, each with the remainders of strides: [remainders, o]."""
        return self.axes[0].step * self.axes[1].step * self.channel_count

    def _lead_indices(
        self, loop: Axis, channel: AffineIndex, read: bool = False
    ) -> Sequence[AffineIndex]:
        """Return the indices of image, channel and depth in front of a Winograd tile's row."""
        terms = (self.chunk, self.images), (loop, 1)
        if self.deep is None:
            return self.affine_index(*terms, extent=self.batch), channel
        start, extent = (
            (self.deep.start, self.deep.source_extent) if read else (0, self.deep.result_extent)
        )
        return (
            *loop_indices(self.n),
            channel,
            self.affine_index(*terms, start=start, extent=extent),
        )

    def _read_channel(self, loop: Axis) -> AffineIndex:
        return self.affine_index((loop, 1))

    def _channel_of(self, loop: Axis) -> AffineIndex:
        return self.affine_index((self.part, self.channel_count), (loop, 1))

    # -- stages -----------------------------------------------------------------------------------

    def _zero_padding(self) -> tuple[Map, ...]:
        """Return the maps that set the padding of Winograd tiles to zero."""
        # No result depends on the padding. But uninitialized memory may contain subnormal numbers,
        # and arithmetic with subnormal numbers takes a hundred times as long.
        zero, zeros = ex.literal(0, self.dtype), []
        if self.joined:
            pair = self.loop(RESULTS, VECTOR)
            padding = self.scratch_access(
                PLANE, [(pair, 1)], RESULTS * self.planes * self._plane_size
            )
            zeros.append(map_over([pair], [Store(padding, zero)]))
        start = self.read * self.phases * self.run + self.extra_elements
        if self.source_tiles - start != 0:
            c, tile = self.loop(self.terms), self.loop(self.source_tiles - start, VECTOR)
            moves = [(c, self.source_tiles), (tile, 1)]
            starts = (
                n * self.combination_stride(self.terms * self.source_tiles) + start
                for n in range(SIDE)
            )
            stores = [Store(self.scratch_access(COMBINED, moves, at), zero) for at in starts]
            zeros.append(map_over([c, tile], stores))
        return tuple(zeros)

    def _copy_strip(self) -> Map:
        """Return the map that copies a strip for Winograd tiles, even and odd rows separately."""
        loops = c, image, row, column = self.nest(
            self.inner * 2 if self.is_paired else self.inner,
            self.read,
            self.rows + self.more + 1,
            self.row_of_plane,
        )
        (high, wide), leading = (
            self.axes,
            self._lead_indices(image, self._read_channel(c), read=True),
        )
        moves = (*self._in_plane(c, image, row, self.phases), (column, 1))
        unit = wide.axis.dilation * wide.stride
        stores = []
        for odd, row_remainder in itertools.product(range(RESULTS), range(high.stride)):
            down = self._row(row, odd, row_remainder, read=True)
            for column_remainder in range(unit):
                across = self.affine_index(
                    (column, unit), start=wide.start + column_remainder, extent=wide.source_extent
                )
                value = self.element(self.first, (*leading, down, across))
                start = odd * self.planes * self._plane_size
                if wide.stride > 1:
                    start += (
                        (row_remainder * wide.stride + column_remainder)
                        * self.inner
                        * self._plane_size
                    )
                else:
                    start += (
                        row_remainder * self.inner * self._plane_size
                        + column_remainder * self._plane_of_image
                    )
                stores.append(Store(self.scratch_access(PLANE, moves, start), value))
        return map_over(loops, stores)

    @cached_property
    def _plane_of_image(self) -> Size:
        return (self.rows + self.more + 1) * self.row_of_plane

    @cached_property
    def _plane_size(self) -> Size:
        """The number of elements of even or odd rows of the images of a channel."""
        return self.read * self.phases * self._plane_of_image

    def _in_plane(self, c: Axis, image: Axis, row: Axis | None, images: int = 1) -> Moves:
        """Return the loops that move an index in the plane; an iteration spans ``images``."""
        size = images * self._plane_of_image
        return (c, self._plane_size), (image, size), (row, self.row_of_plane)

    def _row_stages(self, rows: Run) -> tuple[Stage, ...]:
        """Return the stages of one row of Winograd combinations (or two) and its products.

        The first and the last row subtract elements, which are one row further in the last one. The
        two rows between them add the same elements; the second one negates the first element.
        """
        if len(rows) == 1:
            return (self._combine_tiles([IMAGE[rows[0]]]), *self._row_products(rows, None))
        pair_loop = self.loop(2, taps=True)
        if rows[0] == 0:
            combined = self._combine_tiles([IMAGE[0]], (pair_loop, self.planes * self._plane_size))
        else:
            plus, minus = (ex.literal(number, self.dtype) for number in (1, -1))
            sign = ex.apply("select", ex.index(pair_loop.name).eq(0), plus, minus)
            combined = self._combine_tiles([IMAGE[1]], first=sign)
        return (Loop(pair_loop, (), (combined, *self._row_products(rows, pair_loop)), ()),)

    def _combine_tiles(
        self, rows: Signs = IMAGE, *moves: tuple[Axis, Size], first: Expr | None = None
    ) -> Map:
        """Return the map that transforms the image into some rows of Winograd combinations.

        ``moves``: further loops that move all elements. ``first``: a factor of the elements of row
        1.
        """
        loops = c, image, row, column = self._for_tiles(self.terms, self.read, of_image=True)
        strides = (*self._in_plane(c, image, row), *moves)

        def combine(further: Size) -> list[Expr]:
            """Return the combinations of a channel, or of the one so far behind it."""

            def load_element(a: int, b: int) -> Expr:
                start = a % RESULTS * self.planes * self._plane_size
                start = start + a // RESULTS * self.row_of_plane + further
                value = self._load_every_second(PLANE, strides, start, b, column)
                return value * first if first is not None and a == 1 else value

            return transform_tile(rows, IMAGE[: len(self.axes[1].active)], load_element)

        values = combine(0)
        if self.is_paired:
            lower = combine(self.terms * self._plane_size)
            values = [pair_numbers(*pair) for pair in zip(values, lower, strict=True)]
        return map_over(
            loops, self._store_combinations(COMBINED, self.terms, self.source_tiles, loops, values)
        )

    def _store_combinations(
        self, number: int, channels: Size, tiles: Size, loops: Loops, values: Sequence[Expr]
    ) -> list[Store]:
        """Return the stores of the Winograd combinations of tiles."""
        to, stride = self._tile(tiles, *loops), self.combination_stride(channels * tiles)
        return [
            Store(self.scratch_access(number, to, n * stride), value)
            for n, value in enumerate(values)
        ]

    def _tile(
        self, tiles: Size, channel: Axis, image: Axis, row: Axis | None, column: Axis
    ) -> Moves:
        return (channel, tiles), (image, self.run), (row, self.pitch), (column, 1)

    def combination_stride(self, size: Size) -> Size:
        """Return the stride between the sixteen combinations of ``size`` elements.

        All are written, or read, together: the stride keeps them in different L1 sets.
        """
        itemsize = self.dtype.itemsize
        return size + (_BUFFER_OFFSET - hint_value(size) * itemsize) % _PAGE // itemsize

    def _row_products(self, rows: Run, pair_loop: Axis | None) -> list[Stage]:
        """Return the products of a row of combinations, or of the rows of a loop."""
        return [self._product_stage(rows, pair_loop, run) for run in self.axes[1].runs]

    def _product_stage(self, rows: Run, pair_loop: Axis | None, columns: Run) -> Stage:
        """Return the GEMM of a run of Winograd combinations: filters by tiles over channels."""
        t = self.loop(len(columns), taps=True) if len(columns) > 1 else None
        combined_stride, to_stride = (
            self.combination_stride(self.terms * self.source_tiles),
            self.combination_stride(self.sums * self.tiles),
        )
        by = columns[-1] - columns[0] if len(columns) == 2 else 1
        combined: list[tuple[Axis | None, Size]] = [(t, by * combined_stride)]
        start: Size = columns[0] * combined_stride
        to: list[tuple[Axis | None, Size]] = [
            (pair_loop, (rows[-1] - rows[0]) * SIDE * to_stride),
            (t, by * to_stride),
        ]
        to_start: Size = (rows[0] * SIDE + columns[0]) * to_stride
        out, terms, indices = [], [], []
        units = self._piece_units()
        for axis, run, loop, unit in zip(
            self.axes, (rows, columns), (pair_loop, t), units, strict=True
        ):
            piece, run_pieces = self._pieces(axis, run)
            moves = (piece, unit), (loop, run_pieces.shifted * unit)
            if axis.step > 1:
                out.append(piece)
                to += moves
                to_start += run_pieces.piece * unit
            else:
                terms.append(piece)
                combined += moves
                start += run_pieces.piece * unit
            steps = _merge_moves((loop, run_pieces.step), (piece, 1))
            indices.append(self.affine_index(*steps, start=run_pieces.index))
        deep = self.deep
        depths = [deep.axis.taps] if deep else []
        i, j = self.loop(self.channel_count, "i"), self.loop(self.tiles, VECTOR)
        k, *taps = self._make_loops([self.inner, *depths], "k", [False, True])
        assert k is not None
        combined += [(k, self.source_tiles), (j, 1)]
        if deep:  # in an image gradient the last tap reads the first depth
            step = deep.axis.dilation * self.run
            combined.append((taps[0], step if deep.over_windows else -step))
            start += 0 if deep.over_windows else deep.reach * self.run
        b = self.scratch_access(COMBINED, _merge_moves(*combined), start)
        store = self.scratch_access(SUMS, _merge_moves(*to, (i, self.tiles), (j, 1)), to_start)
        walk = Walk(self.second.base, self.second.layout.offset, self.second.layout.strides)
        channels = (self._channel_of(i), *loop_indices(k))
        channel_indices = channels if self.form.result == "windows" else channels[::-1]
        filters = self.access_at(
            walk, (*channel_indices, *loop_indices(*taps), *indices), self.dtype
        )
        inner = tuple(loop for loop in (*terms, k, *taps) if loop)
        outer_rows = (*[loop for loop in out if loop], i)
        product = Gemm(
            outer_rows,
            (j,),
            inner,
            filters,
            b,
            (Store(store, ex.ref("acc", self.dtype)),),
            factors=U32 if self.is_paired else None,
        )
        return Loop(t, (), (product,), ()) if t else product

    def _pieces(self, axis: TileAxis, run: Run) -> tuple[Axis | None, RunPieces]:
        """Return a loop over the pieces of a run, None for a single one, and their positions."""
        count = len(axis.piece_taps.having(run[0]))
        return self.loop(count, taps=True) if count > 1 else None, RunPieces.of(axis, run)

    def _piece_units(self) -> tuple[Size, Size]:
        """Return the strides in elements between the parts of a strided Winograd filter."""
        down, across = self.axes
        channel = [
            self.channel_count * self.tiles if axis.step > 1 else self.inner * self.source_tiles
            for axis in self.axes
        ]
        column_remainders = across.step if down.step > 1 else across.stride
        return (
            column_remainders * channel[0] if down.axis.step > 1 else self.pitch,
            channel[1] if across.axis.step > 1 else 1,
        )

    def _sum_products(self) -> tuple[Map, ...]:
        """Return the maps of the results of each tile, even and odd rows separately."""
        down, across = self.axes
        remainders = itertools.product(range(down.step), range(across.step))
        return tuple([self._sum_products_of(*remainder) for remainder in remainders])

    def _sum_products_of(self, row_remainder: int, column_remainder: int) -> Map:
        """Return the map that transforms summed Winograd products back into results."""
        loops = o, image, row, column = self._for_tiles(self.channel_count, self.image_count)
        tile = self._tile(self.tiles, *loops)
        first = (row_remainder * self.axes[1].step + column_remainder) * self.channel_count

        def load_sum(a: int, b: int) -> Expr:
            start = (a * SIDE + b) * self.combination_stride(
                self.sums * self.tiles
            ) + first * self.tiles
            return ex.load(self.scratch_access(SUMS, tile, start), self.dtype)

        stores = []
        down, across = self.axes
        values = transform_tile(
            down.results(row_remainder), across.results(column_remainder), load_sum
        )
        for number, value in enumerate(values):
            odd, index = divmod(number, RESULTS)
            moves, start = self._result_moves(o, image, row), odd * RESULTS * self.run
            at = Position(((column.name, RESULTS),), index)
            start += first * self._channel_stride
            stores.append(Store(self.scratch_access(TILES, moves, start, at), value))
        return map_over(loops, stores)

    @cached_property
    def _channel_stride(self) -> Size:
        return self.image_count * self.phases * RESULTS**2 * self.run

    def _result_moves(self, channel: Axis, image: Axis, row: Axis | None, images: int = 1) -> Moves:
        size = RESULTS**2 * self.run
        return (channel, self._channel_stride), (image, images * size), (row, RESULTS * self.pitch)

    def _epilogue_stage(self) -> Map:
        """Return the elementwise epilogue over the results of Winograd tiles."""
        down, wide = self.axes
        loops = o, image, row, column = self.nest(
            self.channel_count, self.image_count, self.rows, wide.phase
        )
        moves = (*self._result_moves(o, image, row, self.phases), (column, 1))
        leading, stores = self._lead_indices(image, self._channel_of(o)), list[Store]()
        unit = wide.axis.dilation * wide.step
        for odd, row_remainder in itertools.product(range(RESULTS), range(down.step)):
            for column_remainder in range(unit):
                across = self.affine_index(
                    (column, unit), start=column_remainder, extent=wide.result_extent
                )
                self.move_to((*leading, self._row(row, odd, row_remainder), across))
                start = odd * RESULTS * self.run
                if wide.step > 1:
                    start += (
                        (row_remainder * wide.step + column_remainder)
                        * self.channel_count
                        * self._channel_stride
                    )
                else:
                    start += (
                        row_remainder * self.channel_count * self._channel_stride
                        + column_remainder * RESULTS**2 * self.run
                    )
                stores += self.stores(ex.load(self.scratch_access(TILES, moves, start), self.dtype))
        return map_over(loops, stores)

    def _row(self, row: Axis, odd: int, remainder: int = 0, read: bool = False) -> AffineIndex:
        """Return the index of the even or odd result (or image) row of a row of Winograd tiles.

        ``remainder``: the remainder of the stride or dilation.
        """
        of, dilation = self.axes[0], self.axes[0].axis.dilation
        unit = dilation * (of.stride if read else of.step)
        terms = (self.strip, RESULTS * self.rows * unit), (row, RESULTS * unit)
        start, extent = (of.start, of.source_extent) if read else (0, of.result_extent)
        start += odd * unit + remainder
        return self.affine_index(*terms, (self.row_phase, 1), start=start, extent=extent)

    def _for_tiles(self, channels: Size, images: Size, of_image: bool = False) -> Loops:
        """Return the loops over channels, images, rows and columns of Winograd tiles."""
        images = images * self.phases
        rows = self.rows + self.more * of_image
        if not self.joined:
            wide = self.wide + (self.axes[1].blocks - 1) * of_image
            c, image, row, column = self.nest(channels, images, rows, wide)
            return c, image, row, column
        c, image = self.loop(channels), self.loop(images)
        return c, image, None, self.loop(rows * self.pitch, VECTOR)

    def _load_every_second(
        self, number: int, moves: Moves, start: Size, index: int, column: Axis
    ) -> Expr:
        at = Position(((column.name, RESULTS),), index)
        return ex.load(self.scratch_access(number, moves, start, at), self.dtype)


def pair_numbers(upper: Expr, lower: Expr) -> Expr:
    """Return a float32 number whose bits are two, rounded to bfloat16; ties away from zero."""
    high, low = (
        ex.apply("select", number.eq(number), bits + ex.literal(0x8000, U32), bits)
        for number, bits in ((x, x.bitcast(U32)) for x in (upper, lower))
    )
    word = (high & ex.literal(0xFFFF0000, U32)) | (low >> ex.literal(16, U32))
    return word.bitcast(F32)


def _merge_moves(*moves: tuple[Axis | None, Size]) -> list[tuple[Axis, Size]]:
    """Return the sum of the strides of each loop, without loops of stride 0."""
    strides: dict[Axis, Size] = {}
    for loop, stride in moves:
        if loop:
            strides[loop] = strides.get(loop, 0) + stride
    return [(loop, stride) for loop, stride in strides.items() if stride != 0]


def transform_tile(down: Signs, across: Signs, load: Callable[[int, int], Expr]) -> list[Expr]:
    """Apply a Winograd transform: combine elements along columns, then along rows.

    It is Winograd's transform of a tile: ``down`` @ elements @ ``across``.T.
    """
    used_rows = [a for a in range(len(down[0])) if any(row[a] for row in down)]
    used_columns = [b for b in range(len(across[0])) if any(row[b] for row in across)]
    columns = {b: _combinations(down, {a: load(a, b) for a in used_rows}) for b in used_columns}
    return [
        value
        for row in range(len(down))
        for value in _combinations(across, {b: columns[b][row] for b in used_columns})
    ]


def _combinations(signs: Signs, elements: Mapping[int, Expr]) -> list[Expr]:
    return [_sum(row, elements) for row in signs]


def _sum(signs: Sequence[int], elements: Mapping[int, Expr]) -> Expr:
    """Return the sum of elements with these signs, positive ones first."""
    first, *others = sorted((a for a, sign in enumerate(signs) if sign), key=lambda a: -signs[a])
    total = elements[first]
    for a in others:
        total = total + elements[a] if signs[a] > 0 else total - elements[a]
    return total


#: The signs of the combinations of two results.
_RESULT_SIGNS: Final = ((1, 0), (1, 1), (1, -1), (0, 1))
#: Tiles of a strip, about: the combinations of a strip nearly fit in L2.
_TILES: Final = 256
#: Desired number of iterations, and channels of one, at least.
_WANTED_SHARES: Final = 2
_FEWEST: Final = 16
#: The scratch: (the strip of an image, its combinations,) combinations of the results, sums.
_COMBINED_RESULTS, _SUMS = 2, 3


class WindowTileFilters(WindowTiles):
    """The state of lowering a filter gradient in tiles; its first axis has parts of the batch."""

    def lower(self) -> LoweredStep:
        """Lower a filter gradient by Winograd: products image by image, then the taps."""
        self.dtype = self.anchor.types[0].dtype
        down, across = (TileAxis(axis, over_windows=True) for axis in self.form.axes)
        self.axes, self.deep, self.row_phase, self.phases = (down, across), None, None, 1
        parts, self.result, self.channels = self.group.domain[:3]
        self.batch = self.first.type.shape[0]
        strips = self._cut_strips()
        self._cut_channels(int(parts))
        self.chunk = self.outer_loop(parts)
        self.part = self.outer_loop(-(-self.result // self.channel_count))
        self.read_part = self.outer_loop(-(-self.channels // self.inner))
        left = self.size(self.batch) - ex.index(self.chunk.name) * self.size(self.images)
        keep_left = Scalar((Keep("r0", left),))
        image, self.strip = self.loop(self.images, past="r0"), self.loop(strips)
        self.n = image
        zeros = self._zeros()
        combined = self._combine_tiles(IMAGE[: len(down.active)])
        stages = (self._copy_strip(), combined, self._combine_results(), *self._all_products())
        images = Loop(image, (), (Loop(self.strip, (), stages, ()),), ())
        return self.finish((*zeros, keep_left, images, *self._taps()), self.outer)

    def _cut_strips(self) -> Size:
        """Choose the rows of tiles in a strip of a Winograd filter gradient."""
        down, across = self.axes
        high, self.wide = (-(-axis.result_extent // RESULTS) for axis in self.axes)
        rows, wide = (max(1, hint_value(size)) for size in (high, self.wide))
        tiles = _TILES // (down.stride * across.stride)
        strips = -(-rows // max(1, tiles // wide))
        self.image_count = self.read = 1
        self.rows = -(-rows // strips)
        self.more, self.joined, self.pitch = down.blocks - 1, False, self.wide + across.blocks - 1
        self.extra_elements, self.run = 0, self.rows * self.pitch
        self.tiles, self.source_tiles = self.run, self.run + self.more * self.pitch
        return -(-high // self.rows)

    def _cut_channels(self, parts: int) -> None:
        """Choose images of a part and channels of an iteration of a Winograd filter gradient.

        There are fewer channels than the maximum if the batch has too few parts.
        """
        self.images = -(-self.batch // parts)
        out, channels = hint_value(self.result), hint_value(self.channels)
        shares = [-(-count // CHANNELS_TOGETHER) for count in (out, channels)]
        image_count = max(1, hint_value(self.images))
        batch_parts = -(-max(1, hint_value(self.batch)) // image_count)
        for side, count in ((1, channels), (0, out)):
            while (
                batch_parts * shares[0] * shares[1] < _WANTED_SHARES
                and count >= shares[side] * 2 * _FEWEST
            ):
                shares[side] *= 2
        self.channel_count, self.inner = -(-out // shares[0]), -(-channels // shares[1])

    # -- indices ----------------------------------------------------------------------------------

    def _lead_indices(
        self, loop: Axis, channel: AffineIndex, read: bool = False
    ) -> Sequence[AffineIndex]:
        terms = (self.chunk, self.images), (self.n, 1)
        return self.affine_index(*terms, extent=self.batch, within=True), channel

    def _read_channel(self, loop: Axis) -> AffineIndex:
        return self.affine_index((self.read_part, self.inner), (loop, 1), extent=self.channels)

    def _channel_of(self, loop: Axis) -> AffineIndex:
        return self.affine_index((self.part, self.channel_count), (loop, 1), extent=self.result)

    def _sums_access(self, moves: Iterable[tuple[Axis | None, Size]], start: Size = 0) -> Access:
        return self.scratch_access(_SUMS, _merge_moves(*moves), start)

    # -- stages -----------------------------------------------------------------------------------

    def _zeros(self) -> list[Map]:
        """Return the maps that clear a Winograd filter gradient's sums and padding."""
        zero, size = ex.literal(0, self.dtype), self.channel_count * self.inner
        t, (o, column) = (
            self.loop(self._combined_taps, taps=True),
            self.nest(self.channel_count, self.inner),
        )
        store = Store(self._sums_access([(t, size), (o, self.inner), (column, 1)]), zero)
        zeros = [map_over([t, o, column], [store])]
        if self.pitch - self.wide != 0:
            t = self.loop(prod(len(axis.active) for axis in self.axes))
            column, stride = (
                self.loop(self.channel_count * self.tiles, VECTOR),
                self.combination_stride(self.channel_count * self.tiles),
            )
            to = self.scratch_access(_COMBINED_RESULTS, [(t, stride), (column, 1)])
            zeros.append(map_over([t, column], [Store(to, zero)]))
        return zeros

    @property
    def _combined_taps(self) -> int:
        """The number of combined taps."""
        return prod(axis.piece_taps.combined_taps for axis in self.axes)

    def _combine_results(self) -> Map:
        """Return the map that transforms the output gradient into Winograd combinations."""
        loops = o, image, row, column = self._for_tiles(self.channel_count, self.image_count)
        assert row is not None
        leading = self._lead_indices(image, self._channel_of(o))

        def load_result(a: int, b: int) -> Expr:
            across = self.affine_index(
                (column, RESULTS), start=b, extent=self.axes[1].result_extent
            )
            return self.element(self.second, (*leading, self._row(row, a), across))

        down, row_signs = (_RESULT_SIGNS[: len(axis.active)] for axis in self.axes)
        values = transform_tile(down, row_signs, load_result)
        return map_over(
            loops,
            self._store_combinations(
                _COMBINED_RESULTS, self.channel_count, self.tiles, loops, values
            ),
        )

    def _all_products(self) -> list[Stage]:
        runs = itertools.product(*(axis.runs for axis in self.axes))
        return [self._sums_of(run_pair) for run_pair in runs]

    def _sums_of(self, runs: Sequence[Run]) -> Stage:
        """Return the products of Winograd combinations, added to the sums that use them."""
        size = self.channel_count * self.inner
        from_a = self.combination_stride(self.channel_count * self.tiles)
        from_b = self.combination_stride(self.planes * self.source_tiles)
        i, j = self.loop(self.channel_count, "i"), self.loop(self.inner, VECTOR)
        k = self.loop((self.rows - 1) * self.pitch + self.wide, "k")
        loops: list[Axis | None] = []
        a: list[tuple[Axis | None, Size]] = [(i, self.tiles), (k, 1)]
        b: list[tuple[Axis | None, Size]] = [(k, 1), (j, self.source_tiles)]
        to: list[tuple[Axis | None, Size]] = [(i, self.inner), (j, 1)]
        a_start: Size = 0
        b_start: Size = 0
        to_start: Size = 0
        units, tap_strides = self._piece_units(), (self.axes[1].piece_taps.combined_taps, 1)
        combination_strides = (len(self.axes[1].active), 1)
        for axis, run, unit, n, stride in zip(
            self.axes, runs, units, tap_strides, combination_strides, strict=True
        ):
            run_loop = self.loop(len(run), taps=True) if len(run) > 1 else None
            piece, run_pieces = self._pieces(axis, run)
            loops += [run_loop, piece]
            by = (run_loop, (run[-1] - run[0]) // max(1, len(run) - 1) * stride)
            a.append((by[0], by[1] * from_a))
            b += [(by[0], by[1] * from_b), (piece, unit), (run_loop, run_pieces.shifted * unit)]
            to += [(run_loop, run_pieces.step * n * size), (piece, n * size)]
            a_start += run[0] * stride * from_a
            b_start += run[0] * stride * from_b + run_pieces.piece * unit
            to_start += run_pieces.index * n * size
        added = self._sums_access(to, to_start)
        value = ex.load(added, self.dtype) + ex.ref("acc", self.dtype)
        product: Stage = Gemm(
            (i,), (j,), (k,), self.scratch_access(_COMBINED_RESULTS, _merge_moves(*a), a_start),
            self.scratch_access(COMBINED, _merge_moves(*b), b_start), (Store(added, value),),
        )  # fmt: skip
        for loop in reversed(loops):
            product = Loop(loop, (), (product,), ()) if loop else product
        return product

    def _taps(self) -> list[Map]:
        """Return the maps of the taps, one for pieces with equally many taps."""
        alike = [axis.piece_taps.alike for axis in self.axes]
        return [self._taps_of(numbers) for numbers in itertools.product(*alike)]

    def _taps_of(self, numbers: Sequence[Sequence[int]]) -> Map:
        """Return the map that transforms Winograd sums into the filter gradient's taps."""
        size, tap_strides = (
            self.channel_count * self.inner,
            (self.axes[1].piece_taps.combined_taps, 1),
        )
        loops = [self.loop(len(n), taps=True) if len(n) > 1 else None for n in numbers]
        o, column = self.nest(self.channel_count, self.inner)
        moves = [(loop, n * size) for loop, n in zip(loops, tap_strides, strict=True)]
        moves += [(o, self.inner), (column, 1)]
        pieces = [axis.piece_taps.pieces for axis in self.axes]

        def load_sum(*n: int) -> Expr:
            index = [
                axis.piece_taps.index(k) + first[0] - axis.piece_taps.having(k).start
                for axis, k, first in zip(self.axes, n, numbers, strict=True)
            ]
            start = (index[0] * tap_strides[0] + index[1]) * size
            return ex.load(self._sums_access(moves, start), self.dtype)

        high, wide = (of[n[0]] for of, n in zip(pieces, numbers, strict=True))
        sums = [[load_sum(a, b) for b in wide.combinations] for a in high.combinations]
        down = [_recover_taps(column) for column in zip(*sums, strict=True)]
        taps = [_recover_taps(row) for row in zip(*down, strict=True)]
        step = [
            of[n[1]].taps[0] - of[n[0]].taps[0] if len(n) > 1 else 0
            for of, n in zip(pieces, numbers, strict=True)
        ]
        stores: list[Store] = []
        for y, row in zip(high.taps, taps, strict=True):
            for x, value in zip(wide.taps, row, strict=True):
                channels = (self._channel_of(o), self._read_channel(column))
                tap_indices = (
                    self.affine_index((loop, by), start=tap)
                    for loop, by, tap in zip(loops, step, (y, x), strict=True)
                )
                self.move_to((*loop_indices(self.chunk), *channels, *tap_indices))
                stores += self.stores(value)
        return map_over([*loops, o, column], stores)


def _recover_taps(sums: Sequence[Expr]) -> tuple[Expr, ...]:
    """Return the taps of the sums of a piece: three of four sums, or two of three."""
    first, plus, minus, *last = sums
    half = ex.literal(0.5, first.dtype)
    mean = (plus + minus) * half
    return first + mean, (plus - minus) * half, *(mean - last_sum for last_sum in last)
