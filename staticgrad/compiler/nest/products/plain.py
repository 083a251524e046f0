"""Facts about a product of matrices: layouts of its factors, bounds of sizes, cache blocks."""

from __future__ import annotations

from typing import Final

from staticgrad.compiler.nest.products.loops import ProductLoops
from staticgrad.compiler.nest.products.packing import FEW_WAYS, may_collide
from staticgrad.compiler.nest.products.tiles import Tiles
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.expr import Access, postorder
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import CHUNK, LANES, Gemm, streamed_rows
from staticgrad.language.ir.kernels.text import PRODUCT

#: Terms up to which a result takes no longer to compute than to store.
FEW_TERMS: Final = 8
#: Columns that products of few rows take together, times rows: a multiple of all panels'.
WIDEST: Final = 4096
#: Bytes of a vector of b times the inner indices of a part, and where rows lie across memory, of
#: which each inner index takes a line: a panel and the rows of a tile are in the first cache.
DEPTH_BYTES: Final = (16384, 8192)
#: Bytes of panels that are packed at a time, and of results that are kept between parts, at most:
#: both are on the stack, and in L2.
PANEL_BYTES: Final = 1 << 18
KEPT_BYTES: Final = 7 << 15
#: Rows from which on those across memory are packed; fewer ones take a tenth less where they lie.
TALL_ROWS: Final = 112
#: Low tiles whose rows have lines of memory in common: 6 rows eight times are three lines.
LOW_TILES: Final = 8
#: Arrays as large as the result that an epilogue reads, at least, so that it goes along rows.
_STREAMS: Final = 2
#: The loops of a product.
MATRIX: Final = frozenset({"i", "j", "k"})


def stored_as_is(kernel: Kernel, stage: Gemm) -> Access | None:
    """Return the access that stores a product's results without epilogue, by rows, or None."""
    if len(stage.stores) != 1 or len(stage.i) != 1:
        return None
    (store,) = stage.stores
    to, value = store.access, store.value
    alone = to.operand not in {stage.a.operand, stage.b.operand}
    plain = value.op == "ref" and value.attribute == PRODUCT
    plain = plain and value.dtype == kernel.operand(to.operand).dtype
    simple = plain and not (store.indices or store.combine or to.bounded_positions)
    is_by_rows = to.stride(LANES) == 1 and to.stride(stage.i[0].name) != 0
    return to if alone and simple and is_by_rows else None


class PlainProduct(ProductLoops):
    """One product of matrices."""

    def __init__(self, nest: NestWriter, stage: Gemm) -> None:
        super().__init__(nest, stage)
        self.m, self.n, self.k = (axes[0].extent for axes in (stage.i, stage.j, stage.k))
        self.row, self.inner = stage.a.stride("i"), stage.a.stride("k")
        self.down, self.across = stage.b.stride("k"), stage.b.stride(LANES)
        floating, arithmetic = self.dtype.is_float, self.arithmetic
        self.tiles = Tiles(
            self.element, self.lanes, floating, self.registers, arithmetic=arithmetic
        )
        self.rows = "along" if self.inner == 1 else "across" if self.row == 1 else "any"
        if self.splits_rows and self.rows == "across":
            self.rows = "any"
        self.transposed = self.down == 1 != self.across
        self.height = self.tiles.highest
        #: Columns of a tile: a panel is packed in strips of so many, one behind the other.
        self.strip = min(max(self.tiles.heights) * self.lanes, self.columns)
        m, n, k = (nest.facts_of(extent) for extent in (self.m, self.n, self.k))
        self.most_rows, self.most_columns, self.most_terms = m.most, n.most, k.most
        #: Rows up to which b is read as it lies; whether there are always, or never, so few.
        self.streamed = streamed_rows(stage)
        few = 0 < m.most <= self.streamed
        self.tall, self.deep, self.one_block = m.many, k.many or k.multiple > 1, k.short
        self.streams = self.across == 1 or self.transposed
        self.streams &= few or not m.many
        self.only_streams = self.streams and few and self.deep and self.one_block
        self.fills_panels = n.multiple % self.columns == 0
        self.fills_vectors = n.multiple % self.lanes == 0
        #: Whether there may be few terms, of which b is read as it lies.
        self.flat = k.multiple <= FEW_TERMS and not k.most and self.across == 1
        self.flat &= not any(store.combine for store in stage.stores)
        #: Whether an outer axis goes over panels of b that lie one behind the other.
        self.in_panels = self._lies_in_panels()
        #: Where tiles store their results themselves, if nothing follows them.
        self.straight = stored_as_is(nest.kernel, stage) if self.one_block else None
        size = self.dtype.itemsize
        #: Elements of a packed row or column in a part of k, and its inner indices.
        self.words = DEPTH_BYTES[self.rows == "across"] // (self.lanes * size)
        self.depth = self.words * 2 if self.packing.is_paired else self.words
        self.one_part = self.one_block and 0 < k.most <= self.depth
        keeps = self.straight is None and not self.one_part
        most = min(PANEL_BYTES, nest.machine.l2 // 4)
        panels = max(most // (self.words * self.columns * size), 1)
        if keeps:
            panels = min(panels, KEPT_BYTES // (CHUNK * self.columns * size))
        panels = min(panels, -(-n.most // self.columns) or panels)
        #: Columns whose panels are packed together.
        self.packed = panels * self.columns
        #: Whether results of all packed panels are in local memory; a stream's are, too.
        self.keeps_blocks = keeps and not self.is_one_panel
        #: Whether an epilogue goes along the rows of a tile once all packed panels are multiplied.
        self.finishes_rows = not self.is_one_panel and self.streams_operands
        width = self.packed if self.finishes_rows else self.columns
        tile_elements = CHUNK * self.packed if keeps else self.height * width
        self.result_elements = max(
            tile_elements, (WIDEST + self.streamed * self.columns) * self.streams
        )
        self.room = self.result_elements * (1 if self.one_block else 2)
        #: Whether rows may be packed.
        self.packs_rows = (
            (self.rows == "across" and not 0 < m.most <= TALL_ROWS)
            or self.converts_a
            or self.splits_rows
            or (
                nest.machine.ways <= FEW_WAYS
                and self.rows == "along"
                and may_collide(nest, self.row, self.dtype.itemsize)
            )
        )
        #: Tiles of rows across memory that are packed together, and the room of each.
        low = self.packs_rows and self.rows == "across" and not self.tiles.wide
        self.low_tiles = LOW_TILES if low else 1
        self.tile_room = self.packing.pitch(self.height) * self.words + self.lanes

    @property
    def epilogue_operands(self) -> dict[Access, str]:
        """Arrays that an epilogue reads or writes along rows; the word that prefetches each."""
        reads = [e.attribute for e in postorder(self.stored_exprs)]
        touched = dict.fromkeys([x for x in reads if isinstance(x, Access)], "prefetch")
        for store in self.stage.stores:
            touched.setdefault(store.access, "prefetch_write")
        scratch = {o.name for o in self.kernel.operands if o.mode == "scratch"}
        return {
            access: word
            for access, word in touched.items()
            if access.stride(LANES) == 1 and access.stride("i") != 0
            if not (access.gather or access.bounded_positions or access.operand in scratch)
        }

    @property
    def streams_operands(self) -> bool:
        """True if an epilogue reads several arrays as large as the result.

        Their rows are long runs of memory only if an epilogue goes along rows.
        """
        words = [*self.epilogue_operands.values()]
        return self.straight is None and words.count("prefetch") >= _STREAMS

    def _lies_in_panels(self) -> bool:
        """Return True if an outer axis goes over consecutive panels of b while a is invariant.

        Then an iteration is one panel with contiguous rows, and nothing is packed.
        """
        a, b = self.stage.a, self.stage.b
        is_one_full_panel = self.fills_panels and 0 < self.most_columns <= self.columns
        are_consecutive = self.reads_in_place and self.down == self.n
        outer_axes = [axis.name for axis in self.kernel.axes if b.stride(axis.name) != 0]
        return (
            is_one_full_panel
            and are_consecutive
            and bool(outer_axes)
            and all(a.stride(name) == 0 for name in outer_axes)
        )

    @property
    def reads_in_place(self) -> bool:
        """True if tiles of few rows may read panels in place."""
        return self.across == 1 and not self.converts_b

    @property
    def panel_layout(self) -> str:
        """The layout of the columns of b, as the packing functions name it."""
        return "transposed" if self.transposed else "along" if self.across == 1 else "strided"

    @property
    def is_one_panel(self) -> bool:
        """True if panels are packed one by one."""
        return self.packed == self.columns

    @property
    def widens_squares(self) -> bool:
        """True if square blocks of b are transposed in their storage type, then widened."""
        return self.transposed and self.converts_b and not self.panels.is_paired

    @property
    def packed_elements(self) -> int:
        """Room for the rows of a tile, or of several that are packed together."""
        lines = self.height * (self.words + self.lanes) + self.lanes
        return max(self.tile_room * self.low_tiles, lines)
