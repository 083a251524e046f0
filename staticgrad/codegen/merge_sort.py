"""The merge sort of a kernel's words, as source: runs of eight, then pairs of runs.

Whole blocks of runs go through a sorting network, a run in each lane; what is left is inserted one
by one. Pairs of runs are merged from both ends at once, without branches on data: one merge takes
as many steps as the shorter run has elements left, so that it leaves neither run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

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
