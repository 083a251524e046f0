"""Sums along rows: accumulators of lanes, blocks, and binary counters of partial results.

The sums of blocks are added like the digits of a binary number: a new one is a digit of height 0,
and two digits of equal height are added and carried. So the additions are a balanced tree (pairwise
summation), and only one partial result per height is stored::

    after block    digits of the counter
    0              b0
    1              (b0+b1)
    2              (b0+b1), b2
    3              ((b0+b1)+(b2+b3))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from staticgrad.compiler.nest.block_functions import element
from staticgrad.compiler.nest.records import Apply, Name, Offset, PerCopy, copies_of, pick
from staticgrad.compiler.nest.values import Values, operation
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.stages import Accumulate, is_first
from staticgrad.language.ir.summation import BLOCK, lanes as sum_lanes
from staticgrad.language.types.dtype import DType

#: Bits of the widest registers.
WIDEST_BITS: Final = 512
#: Levels of a binary counter: enough for 2**40 blocks, and of rows of columns.
LEVELS: Final = 40


def in_blocks(s: Accumulate) -> bool:
    """Return True if blocks of a row are reduced separately and combined by the counter rule."""
    return COMBINERS[s.kind].rule == "tree"


def is_by_key(s: Accumulate) -> bool:
    """Return True if a float maximum or minimum is computed on order-preserving integers.

    To join two floats so that NaN wins and -0 is below +0 takes several instructions, each of
    which waits for the one before: 14 cycles for every vector of a row. The bits of a float, those
    of negative ones inverted, are such an integer; a NaN becomes the one that wins.
    """
    return s.value.dtype.is_float and COMBINERS[s.kind].combine in ("maximum", "minimum")


def key_dtype(s: Accumulate) -> DType:
    """The element type of accumulators: of keys, or of the values themselves."""
    return s.value.dtype.signed if is_by_key(s) else s.value.dtype


def levels_at(level: Name, step: int = 1) -> Offset:
    """The place of a level of a counter."""
    return Offset(((level, step),))


class RowSums:
    """The reductions along rows of a kernel, for the rows side by side."""

    #: The sums whose rows are joined later, by ``join_across``.
    across: frozenset[str] = frozenset()

    def __init__(self, nest: NestWriter) -> None:
        self.nest = nest

    def write_reductions(
        self,
        sums: Sequence[Accumulate],
        running: dict[str, Any],
        vectors: Callable[[Any, Any, Known], None],
        start: Any,
        stop: Any,
        facts: Known,
        short: bool,
        written: frozenset[str],
    ) -> None:
        """Write a row's reductions: the vector loop with accumulators, in blocks for long rows."""
        trees = [s for s in sums if in_blocks(s) and not s.blocks]
        for s in sums:
            if s not in trees or short:
                running[s.name] = self.begin_counter(s) if s.blocks else self.accumulator(s)
        if not trees or short:
            vectors(start, stop, facts)
        else:
            self.in_blocks(trees, running, vectors, start, stop, written)
        for s in sums:
            if s.blocks:
                self.nest.refs[s.name] = self.end_counter(s, running[s.name])
            elif s not in trees or short:
                self.nest.refs[s.name] = self.join_lanes(s, running[s.name])

    def in_blocks(
        self,
        trees: Sequence[Accumulate],
        running: dict[str, Any],
        vectors: Callable[[Any, Any, Known], None],
        start: Any,
        stop: Any,
        written: frozenset[str],
    ) -> None:
        """Write a row's sums in blocks, each summed alone and combined pairwise by a counter."""
        b = self.nest.b
        results = {s.name: self.per_copy(partial(b.variable, "r", *self.nothing(s))) for s in trees}
        stacks = {s.name: self.stack(s, LEVELS) for s in trees}
        pushed = b.variable("n", "copy", 0)
        length = stop - start
        with b.loop(start, stop, BLOCK, written, "k") as block:
            last = b.least(block + BLOCK, stop)
            for s in trees:
                running[s.name] = self.accumulator(s)
            vectors(block, last, Known(""))
            for s in trees:
                b.assign(results[s.name], "copy", self.join_lanes(s, running[s.name]))
            with b.branch("gt", length, BLOCK):
                final = b.op("choose_eq", last, stop, 1, 0)
                terms = [(s.kind, results[s.name], stacks[s.name], 1, levels_at) for s in trees]
                self.push(terms, pushed, final)
                b.assign(pushed, "add", pushed, 1)
        self.nest.refs |= results

    def per_copy(self, make: Callable[[], Any]) -> Any:
        """A variable for each of the rows side by side."""
        return copies_of(make() for _ in range(self.nest.copies))

    def stack(self, s: Accumulate, count: int) -> Any:
        """Scratch for partial results, of each row."""
        code = element(s.value.dtype)
        return self.per_copy(lambda: self.nest.b.local(code, count))

    def nothing(self, s: Accumulate) -> tuple[str, Any]:
        """The result over no elements."""
        dtype = s.value.dtype
        return f"{element(dtype)}x1", COMBINERS[s.kind].empty(dtype)

    def width(self, s: Accumulate) -> int:
        """Lanes of an accumulator: those of its tree, or a register for extremes."""
        dtype, lanes = s.value.dtype, self.nest.kernel.lanes
        if not in_blocks(s) and lanes * dtype.bits <= WIDEST_BITS:
            return lanes
        return min(sum_lanes(dtype), lanes)

    def accumulator(self, s: Accumulate) -> Any:
        """Return a variable for each row with the identity in all lanes."""
        identity = self.neutral_key(s)
        kind = f"{element(key_dtype(s))}x{self.width(s)}"
        return self.per_copy(lambda: self.nest.b.variable("a", kind, identity))

    def neutral_key(self, s: Accumulate) -> Any:
        """The identity of a reduction as an accumulator holds it."""
        dtype, identity = s.value.dtype, COMBINERS[s.kind].identity(s.value.dtype)
        if not is_by_key(s):
            return identity
        bits = int(np.asarray(identity, dtype.numpy).view(dtype.signed.numpy))
        return bits ^ ((1 << (dtype.bits - 1)) - 1) if bits < 0 else bits

    def accumulate(self, s: Accumulate, values: Values, running: dict[str, Any]) -> None:
        """Combine a vector of each row (or some, in order) with its accumulator."""
        b, combiner = self.nest.b, COMBINERS[s.kind]
        value, accumulators = values.vec(s.value), running[s.name]
        if values.mask is not None:
            value = b.op("select_mask", values.mask, value, combiner.identity(s.value.dtype))
        if s.blocks:
            self.push_lanes(s, value, accumulators)
            return
        parts = self.parts(s, self.key(s, value))
        for copy in range(values.copies):
            for part in parts:
                accumulator = pick(accumulators, copy)
                b.assign(accumulator, operation(combiner.combine), accumulator, pick(part, copy))

    def parts(self, s: Accumulate, value: Any) -> list[Any]:
        """A vector, or its halves where an accumulator has half of its lanes."""
        if self.width(s) == self.nest.kernel.lanes:
            return [value]
        return [self.nest.b.op(half, value) for half in ("low", "high")]

    def position(
        self, s: Accumulate, values: Values, running: dict[str, Any], start: Any, stop: Any
    ) -> None:
        """Track the first or last position at which a reduction's condition holds.

        Positions are compared where some lane has one, and in the first vector, for what stands
        for none; where that lies among the positions, or on their other side, always.
        """
        b, (holds, _, default) = self.nest.b, s.value.args
        values.emit([holds, default])
        if holds not in values.moving or default in values.moving:
            self.accumulate(s, values, running)
            return
        flags = values.vec(holds)
        if values.mask is not None:
            flags = b.op("select_mask", values.mask, flags, False)
        combine, first = operation(COMBINERS[s.kind].combine), f"{s.name} found"
        for copy in range(values.copies):
            flag, at = pick(flags, copy), pick(values.position(), copy)
            no_position = pick(values.word(default), copy)
            hits = b.op("word", b.op("cast_i64", b.op("hor", flag)))
            outside = (
                ("choose_lt", no_position, stop)
                if is_first(s)
                else ("choose_gt", no_position, start)
            )
            counts = b.op(*outside, 1, 0)
            begins = b.op("choose_eq", at, start, 1, 0)
            accumulator = pick(running[s.name], copy)
            with b.branch("gt", hits + begins + counts, 0, rare=True):
                where = b.op(
                    "select", flag, b.op(f"iota{values.lanes}", at), pick(values.vec(default), copy)
                )
                if values.mask is not None:
                    identity = COMBINERS[s.kind].identity(s.value.dtype)
                    where = b.op("select_mask", values.mask, where, identity)
                for part in self.parts(s, where):
                    b.assign(accumulator, combine, accumulator, part)
                if first in running:
                    b.assign(pick(running[first], copy), *outside, 0, hits)

    def key(self, s: Accumulate, value: Any) -> Any:
        """Return floats as order-preserving integers, for maxima and minima."""
        if not is_by_key(s):
            return value
        b, ints = self.nest.b, s.value.dtype.signed
        most = (1 << (ints.bits - 1)) - 1
        winner = most if COMBINERS[s.kind].combine == "maximum" else -most - 1
        bits = b.op(f"bitcast_{ints.code}", value)
        sign = b.op("and_", b.op("rshift", bits, ints.bits - 1), most)
        return b.op("select", b.op("eq", value, value), b.op("xor", bits, sign), winner)

    def join_lanes(self, s: Accumulate, accumulator: Any) -> Any:
        """The lanes of a row joined by halving."""
        if s.name in self.across:
            return accumulator
        return self.from_key(s, self.nest.b.op(COMBINERS[s.kind].horizontal, accumulator))

    def join_across(self, s: Accumulate, accumulators: Any) -> Any:
        """Reduce the accumulators of as many rows as lanes to one vector of results, in a tree.

        An operation joins those of two vectors, which are then interleaved.
        """
        b, combine = self.nest.b, operation(COMBINERS[s.kind].combine)

        def join_rows(rows: Sequence[Any]) -> Any:
            if len(rows) == 1:
                return rows[0]
            # Even and odd rows apart, so that the interleaved results come out in the order of the
            # rows.
            halves = join_rows(rows[::2]), join_rows(rows[1::2])
            return b.op(combine, b.op("turn0", *halves), b.op("turn1", *halves))

        return self.from_key(s, join_rows(accumulators))

    def from_key(self, s: Accumulate, key: Any) -> Any:
        """Return the float of an order-preserving integer key."""
        if not is_by_key(s):
            return key
        b = self.nest.b
        ints = s.value.dtype.signed
        # The key of a negative float has all bits but the sign flipped: an arithmetic shift by bits
        # - 1 makes a mask of the sign, and ``xor`` flips them back.
        sign = b.op("and_", b.op("rshift", key, ints.bits - 1), (1 << (ints.bits - 1)) - 1)
        return b.op(f"bitcast_{s.value.dtype.code}", b.op("xor", key, sign))

    def begin_counter(self, s: Accumulate) -> Any:
        """A counter whose terms are the elements of a row: its stack, room for a vector, count."""
        code, lanes = element(s.value.dtype), self.nest.kernel.lanes
        room = self.per_copy(lambda: self.nest.b.local(code, lanes))
        return self.stack(s, LEVELS), room, self.nest.b.variable("n", "copy", 0)

    def push_lanes(self, s: Accumulate, value: Any, counter: Any) -> None:
        """Push each lane of a vector to a pairwise sum; neutral ones at the end change no bit."""
        b, lanes = self.nest.b, self.nest.kernel.lanes
        stack, room, pushed = counter
        for copy in range(self.nest.copies):
            b.do(f"store{lanes}", pick(room, copy), Offset(()), pick(value, copy))
        with b.loop(0, lanes) as lane:
            term = copies_of(
                b.variable("x", "load1", pick(room, copy), Offset(((lane, 1),)))
                for copy in range(self.nest.copies)
            )
            self.push([(s.kind, term, stack, 1, levels_at)], pushed, 0)
            b.assign(pushed, "add", pushed, 1)

    def end_counter(self, s: Accumulate, counter: Any) -> Any:
        """Combine all partial sums in a binary counter, with a neutral term as the last one."""
        b, (stack, _, pushed) = self.nest.b, counter
        code, dtype = element(s.value.dtype), s.value.dtype
        total = self.per_copy(
            lambda: b.variable("r", f"{code}x1", COMBINERS[s.kind].identity(dtype))
        )
        empty = COMBINERS[s.kind].empty(dtype)
        with b.branch("eq", pushed, 0):
            b.assign(total, f"{code}x1", empty)
        with b.branch("gt", pushed, 0):
            self.push([(s.kind, total, stack, 1, levels_at)], pushed, 1)
        return total

    def push(self, terms: Sequence[tuple[str, Any, Any, int, Any]], pushed: Any, last: Any) -> None:
        """Push terms to binary counters of partial sums; with ``last`` return the total.

        ``terms``: the kind, the variable, the stack, the lanes, the place of a level. Results of
        equal height are joined as they meet, older + newer.
        """
        b = self.nest.b
        level, bits = b.variable("n", "copy", 0), b.variable("n", "copy", pushed)
        odd = b.variable("n", "mod", bits, 2)
        go = b.variable("n", "copy", odd)

        def more() -> None:
            b.assign(odd, "mod", bits, 2)
            if type(last) is int:
                b.assign(go, "copy", odd) if not last else b.assign(go, "copy", bits)
            else:
                b.assign(go, "add", bits * last, odd)

        more()
        with b.repeat(Apply("gt", (go, 0))):
            with b.branch("eq", odd, 1):
                for kind, term, stack, lanes, place in terms:
                    for copy in range(len(term) if type(term) is PerCopy else 1):
                        copy_term = pick(term, copy)
                        older = b.load("", f"load{lanes}", pick(stack, copy), place(level))
                        b.assign(copy_term, operation(COMBINERS[kind].combine), older, copy_term)
            b.assign(bits, "floordiv", bits, 2)
            b.assign(level, "add", level, 1)
            more()
        for _, term, stack, lanes, place in terms:
            for copy in range(len(term) if type(term) is PerCopy else 1):
                b.do(f"store{lanes}", pick(stack, copy), place(level), pick(term, copy))
