"""Placements closer to the load than first fit.

Where first fit misses the bound, ejections place the blocks as machine code, if there is a
compiler: at the bound, and then by halves between what they miss and the best. Where these miss it,
too, a canonical search of a few milliseconds tries the bound (``staticgrad.planning.offset_search``
has both). Groups of blocks that never live together are searched apart. Effort is counted in blocks
looked at, so results depend on the blocks and the effort alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import add
from typing import Final

from staticgrad.planning.offset_search import (
    MOST_BLOCKS,
    MOST_MEMBERS,
    MOST_PAIRS,
    PLACED,
    Ejections,
    Restarts,
    placed_by_ejections,
)
from staticgrad.planning.offsets import Spans, best_fit, first_fit, fit, place, swept
from staticgrad.planning.problem import machine_code

#: Effort of ejections that take about a tenth of a second.
BRIEF: Final = 30_000_000
_MILLISECOND: Final = 5_000  # effort of a search that takes about one
_SEARCHED: Final = 100_000  # and of the longest one
_FINE: Final = 200  # heights between which no other is tried differ by this part of the bound
_EJECTING: Final = 2  # part of the effort that placement by ejections takes
_EJECTED: Final = 30_000  # and the most, for each block: beyond, few are placed by a search sooner
_FEW: Final = 200  # blocks up to which first fit takes no time
_MOST_TRIED: Final = 3_000  # blocks up to which it takes less time than a sweep
_MOST_FITTED: Final = 30_000  # blocks up to which first fit, quadratic, tries all orders


def place_tightly(
    spans: Spans,
    sizes: Sequence[int],
    bound: int,
    effort: int = BRIEF,
    order: Callable[[], Sequence[int]] | None = None,
) -> tuple[list[int], int]:
    """Offsets by block number and the height of the arena, as ``place`` gives them, but lower where
    that misses the bound and a search finds a better placement.

    Args:
        spans: lifetimes.
        sizes: bytes of each block, multiples of the alignment.
        bound: a height that is low enough, the maximum load or more.
        effort: about how many blocks are looked at; 0 is ``place``.
        order: gives an order of the blocks that first fit tries after its own.
    """
    best = _first_fit(spans, sizes, bound, order)
    if best[1] <= bound or effort <= 0:
        return best
    if effort > _SEARCHED:
        share = min(effort // _EJECTING, _EJECTED * len(sizes))
        best = _by_ejections(spans, sizes, bound, share, best)
        if best[1] <= bound:
            return best
    return _searched_apart(spans, sizes, bound, effort, best)


def lowered_briefly(
    spans: Spans, sizes: Sequence[int], bound: int, best: tuple[list[int], int]
) -> tuple[list[int], int]:
    """Return the lower one of a placement of few blocks and the result of a millisecond's search,
    for which nothing is compiled."""
    if best[1] <= bound or len(sizes) > _FEW:
        return best
    return _searched_apart(spans, sizes, bound, _MILLISECOND, best)


def _searched_apart(
    spans: Spans, sizes: Sequence[int], bound: int, effort: int, best: tuple[list[int], int]
) -> tuple[list[int], int]:
    """Return the lower one of a placement and the results of separate searches of its groups."""
    groups = spans.groups(compress(range(len(sizes)), sizes))
    if len(groups) < 2:
        return _searched(spans, sizes, bound, effort, best)
    offsets, height = best[0], bound
    heights = [max(offsets[b] + sizes[b] for b in group) for group in groups]
    share = effort // sum(each > bound for each in heights)
    for group, high in zip(groups, heights, strict=True):
        if high > height:
            start = [offsets[b] for b in group], high
            own = [sizes[b] for b in group]
            found, high = _searched(spans.of(group), own, height, share, start)
            for b, offset in zip(group, found, strict=True):
                offsets[b] = offset
        height = max(height, high)
    return offsets, max(map(add, offsets, sizes))


def _by_ejections(
    spans: Spans, sizes: Sequence[int], bound: int, effort: int, best: tuple[list[int], int]
) -> tuple[list[int], int]:
    """The lowest of a placement and of those by ejections, at the bound and then by halves between
    what they miss and the best."""
    run = machine_code(placed_by_ejections)
    if run is None or spans.pairs > MOST_PAIRS:
        return best
    ejections = Ejections(spans, sizes, run)
    low = height = bound
    while ejections.effort < effort and (best[1] - low) * _FINE > bound:
        found = ejections.lowered(height, (effort - ejections.effort + 1) // 2)
        best = found or best
        low = height if found is None else low
        height = (low + best[1]) // 2
    return best


def _searched(
    spans: Spans, sizes: Sequence[int], bound: int, effort: int, best: tuple[list[int], int]
) -> tuple[list[int], int]:
    """Return the lower one of a placement and the result of a search of one group."""
    if len(sizes) > MOST_BLOCKS:
        return best
    search = Restarts(spans, sizes, bound)
    if search.members > MOST_MEMBERS:
        return best
    return search.placed() if search.tried(min(effort, _SEARCHED)) == PLACED else best


def _first_fit(
    spans: Spans,
    sizes: Sequence[int],
    bound: int,
    order: Callable[[], Sequence[int]] | None,
) -> tuple[list[int], int]:
    """Place as ``place`` does, and in one more order; machine code places many blocks, so that all
    orders are tried."""
    run = machine_code(fit) if _FEW < len(sizes) <= _MOST_FITTED else None
    if run is None:
        best = place(spans, sizes, bound)
        if best[1] > bound and order is not None:
            best = min(best, first_fit(order(), spans, sizes), key=_height)
        return best
    many = len(sizes) > _MOST_TRIED
    best = best_fit(spans, sizes, bound, _swept(spans, sizes) if many else ([], -1), run, order)
    if best[1] > bound and not many:
        best = min(best, _swept(spans, sizes), key=_height)
    return best


def _swept(spans: Spans, sizes: Sequence[int]) -> tuple[list[int], int]:
    return min(swept(spans, sizes), key=_height)


def _height(placed: tuple[list[int], int]) -> int:
    return placed[1]
