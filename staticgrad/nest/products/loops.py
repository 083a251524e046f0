"""Writing of a product's loops: words, memory, and what is stored."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.kernels.stages import Gemm, roots
from staticgrad.ir.kernels.text import PRODUCT
from staticgrad.nest.records import Apply, Builder, Let, Name, Word
from staticgrad.nest.values import Values

if TYPE_CHECKING:
    from staticgrad.nest.lower import KernelLowering


class ProductLoops:
    """The loops of one product under construction.

    ``written``: the operands and local memory that they store to.
    """

    nest: KernelLowering
    b: Builder
    stage: Gemm
    lanes: int
    written: frozenset[str]

    def choose(self, test: str, a: Word, b: Word, yes: Word, no: Word) -> Any:
        """One of two words."""
        if isinstance(a, int) and isinstance(b, int):
            return yes if getattr(operator, test)(a, b) else no
        return self.b.op(f"choose_{test}", a, b, yes, no)

    def pointer(self, access: Access) -> Name:
        """The memory of an operand."""
        found: Name = self.nest.pointers[access.operand]
        return found

    def base_of(self, access: Access, skip: Set[str]) -> Word:
        """Where an access lies without what some loops add."""
        nest, found = self.nest, 0
        for axis, stride in access.strides:
            if axis not in skip:
                found = found + nest.at[axis] * nest.number_of(stride)
        for p in access.positions:
            moved = nest.number(p.start)
            for axis, step in p.terms:
                if axis not in skip:
                    moved = moved + nest.at[axis] * nest.number_of(step)
            found = found + moved * nest.number_of(p.stride)
        return found

    def loop(self, start: Word, stop: Word, step: Word = 1, prefix: str = "i") -> Any:
        """A counted loop that may store to all that the product stores to."""
        return self.b.loop(start, stop, step, self.written, prefix)

    @contextmanager
    def iterations(
        self, start: Word, stop: Word, step: Word, once: bool, prefix: str
    ) -> Iterator[Word]:
        """A counted loop, or its one iteration."""
        if once:
            yield start
            return
        with self.loop(start, stop, step, prefix) as index:
            yield index

    def before_all(self, name: str, value: Word) -> Name:
        """A variable that is there before all loops."""
        found = self.b.name(name, 0, True)
        self.b.blocks[0].out.append(Let(found, Apply("copy", (value,))))
        return found

    def local_load(self, memory: str, pointer: Name, place: Word, more: int = 0) -> Any:
        """A vector of local memory."""
        at = self.nest.place_of(place + more)
        return self.b.load(memory, f"load{self.lanes}", pointer, at)

    def local_store(self, memory: str, pointer: Name, place: Word, value: Any) -> None:
        """Store a vector to local memory."""
        self.b.do(f"store{self.lanes}", pointer, self.nest.place_of(place), value, stores=memory)

    @property
    def stored_exprs(self) -> list[Expr]:
        """The expressions of the stores."""
        return [root for store in self.stage.stores for root in roots(store)]

    def store(self, values: Values, sums: Any) -> None:
        """Vectors of the results, through the stores' expressions."""
        nest = self.nest
        nest.refs[PRODUCT] = sums
        nest.vector_refs.add(PRODUCT)
        for each in self.stage.stores:
            values.store(each)
