"""The Sort stage to source: keys and positions collected, a stable merge sort, the stores.

A key of 32 bits shares a word with its position, which makes all words distinct; a wide one has the
position in a word of its own, ``apart`` words later. Where a few are kept, elements behind the last
of them are passed over a vector at a time, and the others collected until there is no more room.
The order is that of (key, position), so no result depends on how it came about.

The merge sort of a kernel's words, as source: runs of eight, then pairs of runs.

Whole blocks of runs go through a sorting network, a run in each lane; what is left is inserted one
by one. Pairs of runs are merged from both ends at once, without branches on data: one merge takes
as many steps as the shorter run has elements left, so that it leaves neither run.

The Search statement to source: a binary search for every lane, all of one length.

The lengths do not depend on what is found, so that the lanes stay together: of what is left the
front half is dropped or kept, and an odd one stays. This module knows statements, no stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.codegen.lines import VECTOR, Lines, Unit
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import ORDER_ROOM, Sort, keys_apart

#: The length of the runs that are merged, and how many of them the network sorts at a time.
RUN: Final = 8

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
    """The helper that sorts the first ``count`` words of p, with the room behind them as spare.

    It returns where the words came to lie: at 0, or at ``room``. Without ``wide`` all words are
    distinct. With it each has another one, ``apart`` words later, that goes with it; those
    ascend at first, and equal words keep that order.
    """
    head = f"def merge_sort(p, count, room{', apart' if wide else ''}):"
    body = "\n".join([*_blocks(wide), _INSERTION, _MERGING])
    if not wide:
        body = "\n".join(line for line in body.splitlines() if "apart" not in line)
    return f"{head}\n{body}"


def _blocks(wide: bool) -> Iterator[str]:
    """Lines that put every lane of a block of vectors in order, and lay the lanes out as runs."""
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
            yield from (f"        {line}" for line in _exchange("k", low, high))
            yield from (f"        {line}" for line in _exchange("i", low, high))
        else:
            yield f"        least = minimum(k{low}, k{high})"
            yield f"        k{high} = maximum(k{low}, k{high})"
            yield f"        k{low} = least"
    for row in range(RUN):
        yield f"        store_strided(p, start + {row}, {RUN}, k{row}, on)"
        yield f"        store_strided(p, start + {row} + apart, {RUN}, i{row}, on)"


def _exchange(name: str, low: int, high: int) -> tuple[str, ...]:
    """Lines that exchange two rows in the lanes that are ``swapped``."""
    a, b = f"{name}{low}", f"{name}{high}"
    return (
        f"least = select(swapped, {b}, {a})",
        f"{b} = select(swapped, {a}, {b})",
        f"{a} = least",
    )


def network(size: int) -> Iterator[tuple[int, int]]:
    """The pairs that Batcher's odd-even merge sort compares, for a power of two (Knuth 5.3.4)."""
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


def write_sort(kernel: Kernel, stage: Sort, out: Lines, unit: Unit) -> None:
    """Write the body of one outer iteration: the row's order into scratch, then the stores."""
    lanes, p = kernel.lanes, stage.order.scratch
    wide = keys_apart(stage.order.key.dtype)
    keys = Lines()
    made = unit.write_vectors([stage.order.key], [VECTOR], lanes)
    keys.lines = [*made.body, f"key = {made.names[0]}"]
    for line in made.before:
        out.add(line)
    extent = stage.axis.extent
    out.add(f"room = {extent if stage.whole else f'2 * {stage.kept.extent} + {ORDER_ROOM}'}")
    if wide:
        out.add("apart = 2 * room")
    unit.helpers["merge_sort"] = merge_sort(wide)
    if stage.whole:
        _write_collect(out, keys, p, str(extent), lanes, wide)
        out.add(f"found = {_call(p, str(extent), wide)}")
    else:
        _write_rounds(out, keys, stage, lanes, wide)
    _write_stores(kernel, stage, out, unit, wide)


def _call(p: str, count: str, wide: bool) -> str:
    return f"merge_sort({p}, {count}, room{', apart' if wide else ''})"


def _packed(p: str, lanes: int, wide: bool) -> Sequence[str]:
    """Lines that store a vector of keys with their positions at ``j``."""
    if wide:
        return f"store({p}, j, key, m)", f"store({p}, j + apart, iota{lanes}(j), m)"
    return (f"store({p}, j, (cast_i64(key) << 32) | iota{lanes}(j), m)",)


def _write_collect(out: Lines, keys: Lines, p: str, stop: str, lanes: int, wide: bool) -> None:
    """Every key before ``stop``."""
    out.add(f"for {VECTOR} in range(0, {stop}, {lanes}):")
    inner = Lines(out.indent + 1)
    inner.add(f"m = mask{lanes}({stop} - {VECTOR})")
    inner.extend(keys)
    for line in _packed(p, lanes, wide):
        inner.add(line)
    out.lines += inner.lines


def _write_rounds(out: Lines, keys: Lines, stage: Sort, lanes: int, wide: bool) -> None:
    """As much as there is room for, in order; then again with the kept ones and all before them."""
    p, extent, kept = stage.order.scratch, stage.axis.extent, stage.kept.extent
    out.add(f"hits = local_b8({lanes})")
    out.add(f"new = local_i64({lanes})")
    out.add("seen = 0")
    out.add("found = 0")
    out.add(f"while seen < {extent} and {kept} > 0:")
    body = Lines(out.indent + 1)
    body.add("if seen == 0:")
    first = Lines(body.indent + 1)
    first.add("seen = room")
    first.add(f"if seen > {extent}:")
    first.add(f"    seen = {extent}")
    _write_collect(first, keys, p, "seen", lanes, wide)
    first.add("count = seen")
    body.lines += first.lines
    body.add("else:")
    again = Lines(body.indent + 1)
    _write_kept_to_front(again, p, str(kept), lanes, wide)
    _write_passes(again, keys, stage, lanes, wide)
    body.lines += again.lines
    body.add(f"found = {_call(p, 'count', wide)}")
    out.lines += body.lines


def _write_kept_to_front(out: Lines, p: str, kept: str, lanes: int, wide: bool) -> None:
    out.add("if found > 0:")
    out.add(f"    for {VECTOR} in range(0, {kept}, {lanes}):")
    out.add(f"        m = mask{lanes}({kept} - {VECTOR})")
    for at in ("", " + apart") if wide else ("",):
        out.add(f"        store({p}, {VECTOR}{at}, load({p}, found + {VECTOR}{at}, m), m)")


def _write_passes(out: Lines, keys: Lines, stage: Sort, lanes: int, wide: bool) -> None:
    """From where the last round ended: what comes before the last one kept, until room is short."""
    p, extent, kept = stage.order.scratch, stage.axis.extent, stage.kept.extent
    last = f"load1({p}, {kept} - 1)"
    out.add(f"last = splat{lanes}({last if wide else f'cast_i32({last} >> 32)'})")
    out.add(f"count = {kept}")
    out.add(f"for {VECTOR} in range(seen, {extent}, {lanes}):")
    inner = Lines(out.indent + 1)
    inner.add(f"seen = {VECTOR} + {lanes}")
    inner.add(f"m = mask{lanes}({extent} - {VECTOR})")
    inner.extend(keys)
    inner.add("hit = select_mask(m, key < last, False)")
    inner.add("if word(cast_i64(hor(hit))) != 0:")
    inner.add(f"    store{lanes}(hits, 0, hit)")
    word = "key" if wide else f"(cast_i64(key) << 32) | iota{lanes}({VECTOR})"
    inner.add(f"    store{lanes}(new, 0, {word})")
    inner.add(f"    for lane in range(0, {lanes}):")
    inner.add(f"        store1({p}, count, load1(new, lane))")
    if wide:
        inner.add(f"        store1({p}, count + apart, i64x1({VECTOR} + lane))")
    inner.add("        count = count + word(cast_i64(load1(hits, lane)))")
    inner.add(f"    if count > room - {lanes}:")
    inner.add("        break")
    out.lines += inner.lines


def _write_stores(kernel: Kernel, stage: Sort, out: Lines, unit: Unit, wide: bool) -> None:
    """Write the stores of a sort: at each place of the order, with the position of its element."""
    if not stage.stores:
        return
    lanes, name, p = kernel.lanes, stage.order.name, stage.order.scratch
    made = unit.write_vectors(stage.stores, [VECTOR], lanes, called={name: name})
    for line in made.before:
        out.add(line)
    out.add(f"for {VECTOR} in range(0, {stage.kept.extent}, {lanes}):")
    inner = Lines(out.indent + 1)
    inner.add(f"m = mask{lanes}({stage.kept.extent} - {VECTOR})")
    at = f"load({p}, found + {VECTOR}{' + apart' if wide else ''}, m)"
    inner.add(f"{name} = {at if wide else f'{at} & 4294967295'}")
    for line in made.body:
        inner.add(line)
    out.lines += inner.lines
