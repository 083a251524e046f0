"""Writing of a product's loops: words, memory, and what is stored."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Any, Final

from staticgrad.compiler.nest.block_functions import element
from staticgrad.compiler.nest.products.packing import Packing
from staticgrad.compiler.nest.products.tiles import Arithmetic
from staticgrad.compiler.nest.records import Apply, Let, Name, Word
from staticgrad.compiler.nest.values import Values, stored_operands
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.expr import Access, Expr, load
from staticgrad.language.ir.kernels.stages import Gemm, panel_columns, roots
from staticgrad.language.ir.kernels.text import PRODUCT
from staticgrad.language.types.dtype import BF16, I8, U8, U32, DType

#: The arithmetic of factors, by ``Gemm.factors``.
_ARITHMETIC: Final[dict[DType | None, Arithmetic]] = {
    None: "plain",
    BF16: "flushing",
    U32: "words",
    U8: "bytes",
    I8: "signed bytes",
}


class ProductLoops:
    """The loops of one product under construction.

    ``written``: the operands and local memory that they store to.
    """

    tile: Any  # local memory for results, or None

    def __init__(self, nest: NestWriter, stage: Gemm) -> None:
        self.nest, self.b, self.kernel, self.stage = nest, nest.b, nest.kernel, stage
        #: Stored dtypes of the factors: storage dtypes are widened while they are packed.
        self.a_stored, self.b_stored = (
            nest.kernel.operand(f.operand).dtype for f in (stage.a, stage.b)
        )
        #: Whether a factor is converted while it is packed.
        self.converts_a, self.converts_b = (
            dtype.is_storage or stage.rounds for dtype in (self.a_stored, self.b_stored)
        )
        self.is_narrow = self.converts_a or self.converts_b
        self.dtype = self.a_stored.compute
        self.lanes, self.element = self.dtype.lanes, element(self.dtype)
        self.columns = panel_columns(self.dtype)
        #: Registers of a vector.
        self.registers = max(1, self.lanes * self.dtype.bits // nest.machine.vector_bits)
        self.arithmetic: Arithmetic = _ARITHMETIC[stage.factors]
        if stage.rounds and self._packs_pairs() and nest.machine.multiplies_pairs:
            self.arithmetic = "pairs"
        elif self.arithmetic == "words" and not nest.machine.multiplies_pairs:
            self.arithmetic = "halves"
        self.packing, self.panels = (
            Packing(self.element, self.lanes, element(dtype), self.arithmetic)
            for dtype in (self.a_stored, self.b_stored)
        )
        #: Whether rows are packed because the halves of their elements are split.
        self.splits_rows = self.arithmetic == "halves"
        #: The element of packed rows as they are stored.
        self.row_element = "u64" if self.splits_rows else self.element
        self.written = stored_operands([stage]) | {"tile", "panel", "packed", "square"}

    def _packs_pairs(self) -> bool:
        """Return whether both factors are packed as they lie, in pairs of inner indices."""
        return self.kernel.outer == "tiles" and self.stage.plain

    def choose(self, test: str, a: Word, b: Word, yes: Word, no: Word) -> Any:
        """One of two words."""
        if isinstance(a, int) and isinstance(b, int):
            return yes if getattr(operator, test)(a, b) else no
        return self.b.op(f"choose_{test}", a, b, yes, no)

    def factor(self, access: Access, stored: DType) -> Expr:
        """Return an element of a factor as it is multiplied."""
        value = load(access, stored)
        return (value.cast(BF16) if self.stage.rounds else value).cast(self.dtype)

    def pointer(self, access: Access) -> Name:
        """The memory of an operand."""
        return self.nest.pointer(access.operand)

    def base_of(self, access: Access, skip: Set[str]) -> Word:
        """Return the offset of a product's access without what some loops add."""
        nest = self.nest
        offset: Word = 0
        for axis, stride in access.strides:
            if axis not in skip:
                offset = offset + nest.index(axis) * nest.number_of(stride)
        for p in access.positions:
            position = nest.number(p.start)
            for axis, step in p.terms:
                if axis not in skip:
                    position = position + nest.index(axis) * nest.number_of(step)
            offset = offset + position * nest.number_of(p.stride)
        return offset

    def loop(self, start: Word, stop: Word, step: Word = 1, prefix: str = "i") -> Any:
        """A counted loop that may store to all that the product stores to."""
        return self.b.loop(start, stop, step, self.written, prefix)

    @contextmanager
    def iterations(
        self, start: Word, stop: Word, step: Word, once: bool, prefix: str
    ) -> Iterator[Word]:
        """Write a counted loop of a product, or its only iteration without a loop."""
        if once:
            yield start
            return
        with self.loop(start, stop, step, prefix) as index:
            yield index

    def before_all(self, name: str, value: Word) -> Name:
        """A variable that is there before all loops."""
        variable = self.b.name(name, 0, True)
        self.b.blocks[0].out.append(Let(variable, Apply("copy", (value,))))
        return variable

    def local_load(self, memory: str, pointer: Name, place: Word) -> Any:
        """A vector of local memory."""
        return self.b.load(memory, f"load{self.lanes}", pointer, self.nest.place_of(place))

    def local_store(self, memory: str, pointer: Name, place: Word, value: Any) -> None:
        """Store a vector to local memory."""
        self.b.do(f"store{self.lanes}", pointer, self.nest.place_of(place), value, stores=memory)

    def add_block(self, to: Word, block: Word) -> None:
        """Add a vector of a block's results to that of the blocks before."""
        old, new = (self.local_load("tile", self.tile, place) for place in (to, block))
        self.local_store("tile", self.tile, to, self.b.op("add", old, new))

    @property
    def stored_exprs(self) -> list[Expr]:
        """The expressions of the stores."""
        return [root for store in self.stage.stores for root in roots(store)]

    def store(self, values: Values, sums: Any) -> None:
        """Vectors of the results, through the stores' expressions."""
        nest = self.nest
        nest.refs[PRODUCT] = sums
        nest.vector_refs.add(PRODUCT)
        for store in self.stage.stores:
            values.store(store)
