"""First fit of many blocks, over arrays of integers as in ``staticgrad.planning.offset_search``."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence

from staticgrad.planning.offsets import ORDERS, Spans
from staticgrad.records import dataclass


@dataclass(frozen=True)
class Fit:
    """Arrays of one first fit; ``order`` has the blocks as they are placed, ``above`` those that
    are, by offset."""

    count: array[int]
    order: array[int]
    first: array[int]
    last: array[int]
    size: array[int]
    base: array[int]
    above: array[int]


def fit(s: Fit) -> int:
    """Place each block in the lowest gap among those before it; the height."""
    first = s.first
    last = s.last
    base = s.base
    above = s.above
    height = 0
    for k in range(0, s.count[0]):
        b = s.order[k]
        size = s.size[b]
        end = 0
        for i in range(0, k):
            x = above[i]
            if first[x] <= last[b] and last[x] >= first[b]:
                if base[x] - end >= size:
                    break
                if base[x] + s.size[x] > end:
                    end = base[x] + s.size[x]
        base[b] = end
        if end + size > height:
            height = end + size
        i = k
        while i > 0:
            if base[above[i - 1]] <= end:
                break
            above[i] = above[i - 1]
            i = i - 1
        above[i] = b
    return height


def best_fit(
    spans: Spans,
    sizes: Sequence[int],
    bound: int,
    best: tuple[list[int], int],
    run: Callable[[Fit], int],
    more: Callable[[], Sequence[int]] | None = None,
) -> tuple[list[int], int]:
    """The lowest of a placement, if there is one yet, and the first fits of all orders, until one
    reaches the bound; ``more`` gives an order that is tried behind the first of them."""
    order, base, above = (array("q", bytes(8 * len(sizes))) for _ in range(3))
    first, last, size = (array("q", values) for values in (spans.first, spans.last, sizes))
    count = sum(map(bool, sizes))
    record = Fit(array("q", [count]), order, first, last, size, base, above)
    if 0 <= best[1] <= bound:
        return best
    for blocks in _orders(spans, sizes, more):
        order[:count] = array("q", blocks)
        height = run(record)
        if best[1] < 0 or height < best[1]:
            best = record.base.tolist(), height
        if height <= bound:
            break
    return best


def _orders(
    spans: Spans, sizes: Sequence[int], more: Callable[[], Sequence[int]] | None
) -> Iterator[list[int]]:
    """The blocks that have bytes, in each order."""
    sized = [b for b in range(len(sizes)) if sizes[b]]
    for number, key in enumerate(ORDERS):
        keys = [*map(key, sizes, spans.first, spans.last)]
        yield sorted(sized, key=keys.__getitem__)
        if number == 0 and more is not None:
            yield [b for b in more() if sizes[b]]
