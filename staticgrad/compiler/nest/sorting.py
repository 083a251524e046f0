"""Sorts: keys and positions are collected, sorted by a stable merge sort, and stored in order.

A key of 32 bits shares a word with its position, which makes all words distinct; a wide one has the
position in a word of its own, ``apart`` words later. Where a few are kept, elements behind the last
of them are passed over a vector at a time, and the others collected until there is no more room.
The order is that of (key, position), so no result depends on how it came about.

Elements at given indices of the order (picks) are selected, as by Floyd and Rivest (1975): two keys
of a sorted sample bound the wanted one, a pass over the row counts the smaller keys and collects
those between, and quickselect finds it there. Where a bound was wrong, or too many keys are between
(equal ones above all), counting passes halve the range of keys, which ends after as many as a key
has bits.

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
from staticgrad.language.ir.kernels.stages import (
    ORDER_ROOM,
    PICK_SLACK,
    SAMPLE,
    Sort,
    collected_for,
    keys_apart,
    pick_rooms,
)

#: The length of the runs that are merged, and how many of them the network sorts at a time.
RUN: Final = 8
#: The function that sorts, without and with positions in words of their own.
NAMES: Final = ("merge_sort", "merge_sort_apart")
#: The function that selects, likewise.
SELECTIONS: Final = ("quickselect", "quickselect_apart")
#: Rounds after which quickselect sorts: it takes about 2 * log2(count), unless pivots are bad.
_ROUNDS: Final = 64

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


def quickselect(wide: bool) -> str:
    """Return the function of the offset at which the word of index k in the order lies then.

    ``count`` words of p are as ``merge_sort`` has them, and stay in front. Each round copies a
    range to one of two rooms behind them, the words below its pivot to the left and the others to
    the right: copies do not wait for each other, as swaps do. The pivot is the larger one of two
    words, so that neither side is empty.
    """
    more = ", apart" if wide else ""
    smaller, is_larger = "key < pivot", "first > pivot"
    if wide:
        smaller = "(key < pivot) | ((key == pivot) & (place < pivot_place))"
        is_larger = "(first > pivot) | ((first == pivot) & (first_place > pivot_place))"
    text = f"""\
def {SELECTIONS[wide]}(p, count, room, k{more}):
    source = 0
    low = 0
    high = count
    rounds = 0
    while high - low > 1 and rounds < {_ROUNDS}:
        target = 2 * room
        if source == target:
            target = room
        middle = source + low + (high - low) // 2
        first = load1(p, source + low)
        first_place = load1(p, source + low + apart)
        pivot = load1(p, middle)
        pivot_place = load1(p, middle + apart)
        is_larger = {is_larger}
        pivot = select(is_larger, first, pivot)
        pivot_place = select(is_larger, first_place, pivot_place)
        left = low
        right = high - 1
        for i in range(source + low, source + high):
            key = load1(p, i)
            place = load1(p, i + apart)
            store1(p, target + left, key)
            store1(p, target + left + apart, place)
            store1(p, target + right, key)
            store1(p, target + right + apart, place)
            is_smaller = word(cast_i64({smaller}))
            left = left + is_smaller
            right = right - 1 + is_smaller
        source = target
        rounds = rounds + 1
        if k < left:
            high = left
        else:
            low = left
    at = source + k
    if high - low > 1:
        at = {NAMES[wide]}(p, count, room{more}) + k
    return at"""
    if wide:
        return text
    return "\n".join(line for line in text.splitlines() if "place" not in line)


#: Functions of the numbers of elements in a row and in its sample: what a sample has, and how far
#: from the sampled index of a pick its bounds are: three standard deviations.
_SAMPLE_SIZE: Final = f"""\
def sample_size(count):
    size = 64
    while size < {SAMPLE} and size * size < 16 * count:
        size = size * 2
    return size"""
_SAMPLE_GAP: Final = """\
def sample_gap(size):
    root = 8
    while root * root < size:
        root = root * 2
    return root + root // 2"""


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
        if self.stage.picks:
            Quickselect(self).write()
            return
        sorted_at = self.b.variable("f", "copy", 0)
        if self.stage.sorts_all:
            self.collect(self.extent)
            self.sort(sorted_at, self.extent)
        else:
            self.rounds(sorted_at)

        self.store_results(sorted_at, self.apart if self.wide else 0)

    def store_results(self, *at: Any) -> None:
        """Store the results whose positions are in scratch from the sum of some words on."""

        def body(values: Values) -> None:
            """Store a vector of sorted results."""
            b, name = self.b, self.order.name
            word = b.load(
                self.order.scratch, "load", *self.at(*at, values.position()), values.full()
            )
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

    def words(self, key: Any, position: Any, lanes: int = 0) -> Any:
        """A vector of keys, each with its position if they share a word."""
        if self.wide:
            return key
        b = self.b
        high = b.op("lshift", b.op("cast_i64", key), 32)
        return b.op("or_", high, b.op(f"iota{lanes or self.nest.kernel.lanes}", position))

    def collect(self, stop: Any, start: Any = 0, apart: Any = None) -> None:
        """Write the loop that collects all sort keys before ``stop``, with their positions.

        They are in scratch from ``start`` on.
        """
        apart = self.apart if apart is None else apart

        def body(values: Values) -> None:
            j, mask = values.position(), values.full()
            self.b.do("store", *self.at(start, j), self.words(values.vec(self.order.key), j), mask)
            if self.wide:
                places = self.b.op(f"iota{values.lanes}", j)
                self.b.do("store", *self.at(start, j, apart), places, mask)

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


class Quickselect:
    """The positions of a row's picks: a word each, in front of the other words of the scratch.

    Behind them is the sorted sample, then what a pass has collected: ``count`` words, of the
    indices in the order from ``base`` on. A short row is all collected, and sorted.
    """

    def __init__(self, sorting: Sorting) -> None:
        self.sorting, self.nest, self.b = sorting, sorting.nest, sorting.b
        self.stage, self.wide, self.extent = sorting.stage, sorting.wide, sorting.extent
        self.scratch = sorting.order.scratch
        self.collected = collected_for(sorting.sorted_count, self.b.most)
        self.sample_room, self.room = pick_rooms(self.extent, self.collected, self.b.least)
        self.sample_at = sorting.sorted_count
        self.part_at = self.sample_at + self.sample_room * 2 + PICK_SLACK
        self.apart = self.room * 3
        zeros = [self.b.variable("s", "copy", 0) for _ in range(5)]
        self.base, self.count, self.sampled, self.sorted_at, self.gap = zeros
        functions = self.nest.functions
        functions["sample_size"], functions["sample_gap"] = _SAMPLE_SIZE, _SAMPLE_GAP
        functions[NAMES[False]] = merge_sort(False)
        functions[SELECTIONS[self.wide]] = quickselect(self.wide)

    def write(self) -> None:
        """Write the selection of every pick, then the stores."""
        b, stored = self.b, stored_operands([self.stage])
        with b.branch("le", self.extent, self.collected):
            self.sorting.collect(self.extent, self.part_at, self.apart)
            b.assign(self.count, "copy", self.extent)
            sorted_part = NAMES[self.wide], self.region(self.part_at), self.extent, self.room
            b.assign(self.sorted_at, *sorted_part, *((self.apart,) if self.wide else ()))
        with b.otherwise():
            self.sort_sample()
        with b.loop(0, self.sorting.sorted_count, 1, stored) as pick:
            self.nest.at[self.stage.sorted_axis.name] = pick
            place = b.op("word", Values(self.nest, 1, True).vec(self.stage.picks[0].place))
            place = b.most(b.least(place, self.extent - 1), 0)
            missing = b.variable("s", "copy", 0)
            with b.branch("lt", place, self.base):
                b.assign(missing, "copy", 1)
            with b.branch("ge", place, self.base + self.count):
                b.assign(missing, "copy", 1)
            with b.branch("eq", missing, 1):
                self.search(place, missing)
            more = (self.apart,) if self.wide else ()
            at = b.variable("s", "add", self.sorted_at, place)
            with b.branch("gt", self.extent, self.collected):
                selection = (
                    SELECTIONS[self.wide],
                    self.region(self.part_at),
                    self.count,
                    self.room,
                )
                b.assign(at, *selection, place - self.base, *more)
            at = self.sorting.at(self.part_at, at, *more)
            word = b.variable("x", "load1", *at)
            b.do("store1", *self.sorting.at(pick), word)
        self.sorting.store_results()

    def region(self, start: Any) -> Any:
        """Return a pointer to the words of the scratch from ``start`` on."""
        return self.b.op("ptr_i64", self.b.op("address", self.sorting.pointer) + start * 8)

    def sort_sample(self) -> None:
        """Collect keys at equal distances of the row, and sort them: wide ones alone."""
        b, stored = self.b, stored_operands([self.stage])
        b.assign(self.sampled, "sample_size", self.extent)
        b.assign(self.gap, "sample_gap", self.sampled)
        with b.loop(0, self.sampled, 1, stored) as index:
            self.nest.at[self.stage.axis.name] = b.op("floordiv", index * self.extent, self.sampled)
            values = Values(self.nest, 1, True)
            key = values.vec(self.sorting.order.key)
            word = self.sorting.words(key, values.position(), 1)
            b.do("store1", *self.sorting.at(self.sample_at, index), word)
        sample = (self.region(self.sample_at), self.sampled, self.sample_room)
        b.assign(self.sorted_at, NAMES[False], *sample)

    def sampled_key(self, index: Any) -> Any:
        """Return a key of the sorted sample as a word."""
        at = self.sorting.at(self.sample_at, self.sorted_at, index)
        return self.key_of(self.b.load(self.scratch, "load1", *at))

    def key_of(self, word: Any) -> Any:
        """Return the key, as a word of the nest, of a word of scratch."""
        return self.b.op("word", word if self.wide else self.b.op("rshift", word, 32))

    def search(self, place: Any, missing: Any) -> None:
        """Write passes until what one collects contains the element at an index in the order.

        All keys below ``least`` and above ``most`` come before and after it; ``first_index`` and
        ``until`` are the indices in the order at which they end and begin. A pass counts the keys
        below ``low``, and collects those up to ``high`` but for the first ``skipped``.
        """
        b, stored = self.b, stored_operands([self.stage])
        bits = 64 if self.wide else 32
        least, most = (
            b.variable("s", "copy", limit) for limit in (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        )
        first_index, until = b.variable("s", "copy", 0), b.variable("s", "copy", self.extent)
        low, high = b.variable("s", "copy", least), b.variable("s", "copy", most)
        centre = b.op("floordiv", place * self.sampled, self.extent)
        middle = b.variable("s", "copy", self.sampled_key(centre))
        # sampled indices deviate by the root of their distance from an end, at most
        gap = b.least(b.least(centre, self.sampled - 1 - centre) + 3, self.gap)
        with b.branch("ge", centre, gap):
            b.assign(low, "copy", self.sampled_key(centre - gap))
        with b.branch("lt", centre + gap, self.sampled):
            b.assign(high, "copy", self.sampled_key(centre + gap))
        skipped, room = b.variable("s", "copy", 0), self.room - PICK_SLACK
        with b.repeat(Apply("eq", (missing, 1)), stored):
            below, between = self.scan(low, high, skipped)

            def smaller() -> None:
                b.assign(most, "sub", low, 1)
                b.assign(until, "copy", below)

            def larger() -> None:
                b.assign(least, "add", high, 1)
                b.assign(first_index, "add", below, between)

            def inside() -> None:
                b.assign(least, "copy", low)
                b.assign(most, "copy", high)
                b.assign(first_index, "copy", below)
                b.assign(until, "add", below, between)
                # equal keys are in order as they are collected, others only if all of them are
                needed = b.op("choose_eq", low, high, place - below + 1, between)
                with b.branch("le", needed - skipped, room):
                    b.assign(missing, "copy", 0)
                    b.assign(self.base, "add", below, skipped)
                    b.assign(self.count, "copy", b.least(between - skipped, room))

            above = "ge", place, below + between
            b.cases([(("lt", place, below), smaller), (above, larger), ((), inside)])
            with b.branch("eq", missing, 1):
                b.assign(low, "copy", least)
                b.assign(high, "copy", most)
                with b.branch("gt", until - first_index, room):
                    with b.branch("eq", least, most):
                        b.assign(skipped, "sub", place, first_index)
                    with b.otherwise():
                        self.halve(low, high, middle)

    def halve(self, low: Any, high: Any, middle: Any) -> None:
        """Set both bounds to the middle of the sample, the first time, then of their range."""
        b = self.b
        outside = b.variable("s", "copy", 0)
        with b.branch("lt", middle, low):
            b.assign(outside, "copy", 1)
        with b.branch("gt", middle, high):
            b.assign(outside, "copy", 1)
        with b.branch("eq", outside, 1):
            first, last = b.op("i64x1", low), b.op("i64x1", high)
            halves = b.op("add", b.op("rshift", first, 1), b.op("rshift", last, 1))
            odd = b.op("and_", b.op("and_", first, last), 1)
            b.assign(middle, "word", b.op("add", halves, odd))
        b.assign(low, "copy", middle)
        b.assign(high, "copy", middle)

    def scan(self, low: Any, high: Any, skipped: Any) -> tuple[Any, Any]:
        """Write a pass over the row; return how many keys are below, and how many between bounds.

        A key between them is stored at the number of those before it, less ``skipped``, until there
        is no more room; vectors of skipped ones alone are only counted.
        """
        b, lanes, narrow = self.b, self.nest.kernel.lanes, not self.wide
        stored = stored_operands([self.stage])
        hits, new = b.local("b8", lanes), b.local("i64", lanes)
        cast = "cast_i32" if narrow else "cast_i64"
        below = b.variable("c", f"i{32 if narrow else 64}x{lanes}", 0)
        between = b.variable("s", "copy", 0)
        first, last = (b.op("i64x1", bound) for bound in (low, high))
        if narrow:
            first, last = b.op("cast_i32", first), b.op("cast_i32", last)
        first, last = b.op(f"splat{lanes}", first), b.op(f"splat{lanes}", last)

        def body(values: Values) -> None:
            j, key = values.position(), values.vec(self.sorting.order.key)
            smaller = b.op("lt", key, first)
            hit = b.op("and_", b.op("ge", key, first), b.op("le", key, last))
            if values.mask is not None:
                smaller = b.op("select_mask", values.full(), smaller, False)
                hit = b.op("select_mask", values.full(), hit, False)
            b.assign(below, "add", below, b.op(cast, smaller))
            with b.branch("some", hit, rare=True):
                slot = between - skipped
                uncollected = b.variable("s", "copy", 0)
                with b.branch("gt", slot, self.room - PICK_SLACK):
                    b.assign(uncollected, "copy", 1)
                with b.branch("le", slot, -lanes):
                    b.assign(uncollected, "copy", 1)
                with b.branch("eq", uncollected, 1):
                    more = b.op("hsum", b.op("cast_i64", hit))
                    b.assign(between, "add", between, b.op("word", more))
                with b.otherwise():
                    b.do(f"store{lanes}", hits, Offset(()), hit)
                    b.do(f"store{lanes}", new, Offset(()), self.sorting.words(key, j))
                    for first_lane in range(0, lanes, 4):
                        self.collect_hits(hits, new, first_lane, between, skipped, j)

        facts = Known("")
        self.nest.vectors(0, self.extent, lanes, 1, facts, False, stored, body)
        total = b.op("word", b.op("hsum", b.op("cast_i64", below) if narrow else below))
        return b.variable("s", "copy", total), between

    def collect_hits(
        self, hits: Any, new: Any, first: int, between: Any, skipped: Any, position: Any
    ) -> None:
        """Store four lanes of a vector that hit, each behind the one before; most have none."""
        b = self.b
        four = b.op("ptr_i32", b.op("address", hits))
        any_hit = b.variable("x", "load1", four, Offset((), first // 4))
        with b.branch("ne", b.op("word", b.op("cast_i64", any_hit)), 0):
            for lane in range(first, first + 4):
                slot = between - skipped
                word = b.variable("x", "load1", new, Offset((), lane))
                b.do("store1", *self.sorting.at(self.part_at, slot), word)
                if self.wide:
                    at = self.sorting.at(self.part_at, slot, self.apart)
                    b.do("store1", *at, b.op("i64x1", position + lane))
                is_hit = b.variable("x", "load1", hits, Offset((), lane))
                b.assign(between, "add", between, b.op("word", b.op("cast_i64", is_hit)))
