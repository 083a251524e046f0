"""Sorts: keys and positions are collected, sorted by a stable merge sort, and stored in order.

A key of 32 bits shares a word with its position, which makes all words distinct; a wide one has the
position in a word of its own, ``apart`` words later. Where a few are kept, elements behind the last
of them are passed over a vector at a time, and the others collected until there is no more room.
The order is that of (key, position), so no result depends on how it came about.

Whole blocks of runs of eight go through a sorting network, a run in each lane; what is left is
inserted one by one. Pairs of runs are merged from both ends at once, without branches on data: one
merge takes as many steps as the shorter run has elements left, so that it leaves neither run.

The sort of ``[3., 1., 2., 1.]``, with the position in the low bits of each word::

    keys        (3., 0) (1., 1) (2., 2) (1., 3)
    sorted      (1., 1) (1., 3) (2., 2) (3., 0)     equal keys keep their order: a stable sort
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from staticgrad.compiler.nest.records import Apply, Offset, UnsupportedError
from staticgrad.compiler.nest.values import Values, stored_operands
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.stages import ORDER_ROOM, Sort, keys_apart

#: The length of the runs that are merged, and how many of them the network sorts at a time.
RUN: Final = 8
#: The function that sorts, without and with positions in words of their own.
NAMES: Final = ("merge_sort", "merge_sort_apart")

_INSERTION: Final = f"""\
    for start in range(whole, count, {RUN}):
        stop = start + {RUN}
        if stop > count:
            stop = count
        for i in range(start + 1, stop):
            key = load1(p, i)
            place = load1(p, i + apart)
            bound = p[i]
            j = i
            while j > start and p[j - 1] > bound:
                store1(p, j, load1(p, j - 1))
                store1(p, j + apart, load1(p, j - 1 + apart))
                j = j - 1
            store1(p, j, key)
            store1(p, j + apart, place)"""
_MERGING: Final = f"""\
    width = {RUN}
    source = 0
    target = room
    while width < count:
        for start in range(0, count, 2 * width):
            i = source + start
            j = i + width
            y = j + width - 1
            if y > source + count - 1:
                y = source + count - 1
            if j > y:
                j = y + 1
            x = j - 1
            first = target + start
            last = first + y - i
            while i <= x and j <= y:
                steps = x - i
                if y - j < steps:
                    steps = y - j
                for step in range(0, steps + 1):
                    a = load1(p, i)
                    b = load1(p, j)
                    right = b < a
                    store1(p, first, select(right, b, a))
                    here = select(right, load1(p, j + apart), load1(p, i + apart))
                    store1(p, first + apart, here)
                    j = j + word(cast_i64(right))
                    i = i + 1 - word(cast_i64(right))
                    first = first + 1
                    c = load1(p, x)
                    d = load1(p, y)
                    left = d < c
                    store1(p, last, select(left, c, d))
                    there = select(left, load1(p, x + apart), load1(p, y + apart))
                    store1(p, last + apart, there)
                    x = x - word(cast_i64(left))
                    y = y - 1 + word(cast_i64(left))
                    last = last - 1
            if i > x:
                i = j
            for step in range(first, last + 1, 8):
                m = mask8(last + 1 - step)
                store(p, step, load(p, i, m), m)
                store(p, step + apart, load(p, i + apart, m), m)
                i = i + 8
        other = source
        source = target
        target = other
        width = width * 2
    return source"""


def merge_sort(wide: bool) -> str:
    """Return the function that sorts ``count`` words of p (merge sort); spare room lies behind.

    It returns where the sorted words lie: at 0, or at ``room``. Without ``wide`` all words are
    distinct. With it each has another one, ``apart`` words later, that goes with it; those
    ascend at first, and equal words keep that order.
    """
    head = f"def {NAMES[wide]}(p, count, room{', apart' if wide else ''}):"
    body = "\n".join([*_sort_blocks_text(wide), _INSERTION, _MERGING])
    if not wide:
        body = "\n".join(line for line in body.splitlines() if "apart" not in line)
    return f"{head}\n{body}"


def _sort_blocks_text(wide: bool) -> Iterator[str]:
    """Return lines that sort each lane of a block of vectors, and store the lanes as runs."""
    block = RUN * RUN
    yield f"    on = mask{RUN}({RUN})"
    yield f"    whole = count // {block} * {block}"
    yield f"    for start in range(0, whole, {block}):"
    for row in range(RUN):
        if wide:  # a lane takes neighbours, so that of two runs the first has the lower positions
            yield f"        k{row} = load_strided(p, start + {row}, {RUN}, on)"
            yield f"        i{row} = load_strided(p, start + {row} + apart, {RUN}, on)"
        else:
            yield f"        k{row} = load{RUN}(p, start + {RUN * row})"
    for low, high in network(RUN):
        if wide:
            yield f"        same = (k{high} == k{low}) & (i{high} < i{low})"
            yield f"        swapped = (k{high} < k{low}) | same"
            yield from (f"        {line}" for line in _exchange_text("k", low, high))
            yield from (f"        {line}" for line in _exchange_text("i", low, high))
        else:
            yield f"        least = minimum(k{low}, k{high})"
            yield f"        k{high} = maximum(k{low}, k{high})"
            yield f"        k{low} = least"
    for row in range(RUN):
        yield f"        store_strided(p, start + {row}, {RUN}, k{row}, on)"
        yield f"        store_strided(p, start + {row} + apart, {RUN}, i{row}, on)"


def _exchange_text(name: str, low: int, high: int) -> tuple[str, ...]:
    """Return lines that exchange two rows of a sorting network in the lanes ``swapped``."""
    a, b = f"{name}{low}", f"{name}{high}"
    return (
        f"least = select(swapped, {b}, {a})",
        f"{b} = select(swapped, {a}, {b})",
        f"{a} = least",
    )


def network(size: int) -> Iterator[tuple[int, int]]:
    """Return the pairs that Batcher's odd-even merge sort compares (Knuth, TAOCP 5.3.4)."""
    width = 1
    while width < size:
        step = width
        while step:
            for first in range(step % width, size - step, 2 * step):
                for i in range(first, min(first + step, size - step)):
                    if i // (2 * width) == (i + step) // (2 * width):
                        yield i, i + step
            step //= 2
        width *= 2


class Sorting:
    """One sort of a nest: the order of a row's elements into scratch, then the stores."""

    def __init__(self, nest: NestWriter, stage: Sort) -> None:
        if nest.copies > 1:
            raise UnsupportedError("sorts of rows side by side")
        self.nest, self.b, self.stage, self.order = nest, nest.b, stage, stage.order
        self.wide = keys_apart(stage.order.key.dtype)
        self.pointer = nest.pointers[stage.order.scratch]
        self.extent, self.sorted_count = (
            nest.number(stage.axis.extent),
            nest.number(stage.sorted_axis.extent),
        )
        self.room = self.extent
        if not stage.sorts_all:
            self.room = self.sorted_count * 2 + ORDER_ROOM
        self.apart = self.room * 2
        nest.functions[NAMES[self.wide]] = merge_sort(self.wide)

    def write(self) -> None:
        """Write a sort stage: collect keys, sort them, and store the results in order."""
        sorted_at = self.b.variable("f", "copy", 0)
        if self.stage.sorts_all:
            self.collect(self.extent)
            self.sort(sorted_at, self.extent)
        else:
            self.rounds(sorted_at)

        def body(values: Values) -> None:
            """Store a vector of sorted results."""
            b, name = self.b, self.order.name
            at = self.at(sorted_at, values.position(), self.apart if self.wide else 0)
            word = b.load(self.order.scratch, "load", *at, values.full())
            self.nest.refs[name] = word if self.wide else b.op("and_", word, (1 << 32) - 1)
            self.nest.vector_refs.add(name)
            for store in self.stage.stores:
                values.store(store)

        if self.stage.stores:
            self.vectors(0, self.sorted_count, body)

    def at(self, *words: Any) -> tuple[Any, ...]:
        """The place of scratch that some words add up to; pointers there would take registers."""
        constant = sum(word for word in words if type(word) is int)
        terms = tuple([(word, 1) for word in words if type(word) is not int])
        return self.pointer, Offset(terms, constant)

    def vectors(self, start: Any, stop: Any, body: Any) -> None:
        """A loop over vectors of a row, each under its mask."""
        nest = self.nest
        nest.vectors(
            start, stop, nest.kernel.lanes, 1, Known(""), True, stored_operands([self.stage]), body
        )

    def words(self, key: Any, position: Any) -> Any:
        """A vector of keys, each with its position if they share a word."""
        if self.wide:
            return key
        b = self.b
        high = b.op("lshift", b.op("cast_i64", key), 32)
        return b.op("or_", high, b.op(f"iota{self.nest.kernel.lanes}", position))

    def collect(self, stop: Any) -> None:
        """Write the loop that collects all sort keys before ``stop``, with their positions."""

        def body(values: Values) -> None:
            j, mask = values.position(), values.full()
            self.b.do("store", *self.at(j), self.words(values.vec(self.order.key), j), mask)
            if self.wide:
                places = self.b.op(f"iota{values.lanes}", j)
                self.b.do("store", *self.at(j, self.apart), places, mask)

        self.vectors(0, stop, body)

    def sort(self, sorted_at: Any, count: Any) -> None:
        """The first ``count`` words; ``sorted_at`` becomes their offset after it."""
        more = (self.apart,) if self.wide else ()
        self.b.assign(sorted_at, NAMES[self.wide], self.pointer, count, self.room, *more)

    def rounds(self, sorted_at: Any) -> None:
        """Sort as many keys as memory holds; then again with the kept ones and all smaller keys."""
        b, lanes = self.b, self.nest.kernel.lanes
        hits, new = b.local("b8", lanes), b.local("i64", lanes)
        seen, count = b.variable("n", "copy", 0), b.variable("n", "copy", 0)
        loop = b.repeat(Apply("lt", (seen, self.extent)), stored_operands([self.stage]))
        with b.branch("gt", self.sorted_count, 0), loop:
            with b.branch("eq", seen, 0):
                b.assign(seen, "copy", b.least(self.room, self.extent))
                self.collect(seen)
                b.assign(count, "copy", seen)
            with b.otherwise():
                with b.branch("gt", sorted_at, 0):
                    self.vectors(
                        0, self.sorted_count, lambda values: self.move_to_front(sorted_at, values)
                    )
                self.passes(seen, count, hits, new)
            self.sort(sorted_at, count)

    def move_to_front(self, sorted_at: Any, values: Values) -> None:
        """Move a vector of the kept keys to the front."""
        for more in (0, self.apart) if self.wide else (0,):
            at = self.at(sorted_at, values.position(), more)
            word = self.b.load(self.order.scratch, "load", *at, values.full())
            self.b.do("store", *self.at(values.position(), more), word, values.full())

    def passes(self, seen: Any, count: Any, hits: Any, new: Any) -> None:
        """Collect keys below the last one kept by the round before, until memory is full."""
        b, lanes = self.b, self.nest.kernel.lanes
        last = b.load(self.order.scratch, "load1", *self.at(self.sorted_count, -1))
        if not self.wide:
            last = b.op("cast_i32", b.op("rshift", last, 32))
        last = b.op(f"splat{lanes}", last)
        b.assign(count, "copy", self.sorted_count)

        def body(values: Values) -> None:
            """Collect the keys of a vector that are below the last kept one."""
            j, key = values.position(), values.vec(self.order.key)
            b.assign(seen, "add", j, lanes)
            hit = b.op("select_mask", values.full(), b.op("lt", key, last), False)
            with b.branch("ne", b.op("word", b.op("cast_i64", b.op("hor", hit))), 0):
                b.do(f"store{lanes}", hits, Offset(()), hit)
                b.do(f"store{lanes}", new, Offset(()), self.words(key, j))
                with b.loop(0, lanes, stored=stored_operands([self.stage])) as lane:
                    word = b.variable("x", "load1", new, Offset(((lane, 1),)))
                    self.b.do("store1", *self.at(count), word)
                    if self.wide:
                        place = b.op("i64x1", j + lane)
                        self.b.do("store1", *self.at(count, self.apart), place)
                    is_hit = b.variable("x", "load1", hits, Offset(((lane, 1),)))
                    b.assign(count, "add", count, b.op("word", b.op("cast_i64", is_hit)))
                with b.branch("gt", count, self.room - lanes):
                    b.do("break")

        self.vectors(seen, self.extent, body)
