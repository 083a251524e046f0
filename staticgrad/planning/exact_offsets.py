"""Placements closer to the load than first fit: a search for offsets below a height.

Blocks that no chain of others alive together joins are searched apart, so that what one group found
does not wait for the next. Heights are tried one after another: the bound, then some between it and
the best, then the bound again with what effort is left. Effort is counted in blocks looked at, so
results depend on the blocks and the effort alone. A short search runs as it is written while it is
not compiled, a longer one as machine code, where there is a compiler. Both find the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import add
from typing import Final

from staticgrad.planning.machine import code_at_hand, machine_code
from staticgrad.planning.offset_arrays import PLACED, SPENT
from staticgrad.planning.offset_fits import best_fit, fit
from staticgrad.planning.offset_restarts import Restarts
from staticgrad.planning.offset_search import search
from staticgrad.planning.offsets import Spans, first_fit, place, swept

#: Effort of a search that takes about a tenth of a second, one, and ten.
BRIEF: Final = 30_000_000
USUAL: Final = 300_000_000
THOROUGH: Final = 3_000_000_000
_INTERPRETED: Final = 100_000  # effort up to which nothing is compiled
_FIRST: Final = 150_000_000  # effort of the first try of the bound
_SHARES: Final = (1.05, 1.02)  # of the bound: heights that are tried then
_FINE: Final = 200  # heights between which no other is tried differ by this part of the bound
_PARTS: Final = 2  # part of the effort of the bound that each other height may take
_BETWEEN: Final = 90  # hundredths of the effort for the bound and the other heights
#: Blocks, and sections that they live in together, up to which there is a search.
_MOST_BLOCKS: Final = 2_000
_MOST_MEMBERS: Final = 1_000_000
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
    groups = _groups(spans, sizes)
    if len(groups) < 2:
        return _searched(spans, sizes, bound, effort, best)
    offsets, height = best[0], bound
    heights = [max(offsets[b] + sizes[b] for b in group) for group in groups]
    share = effort // sum(each > bound for each in heights)
    for group, high in zip(groups, heights, strict=True):
        if high > height:
            first, last = (tuple(map(at.__getitem__, group)) for at in (spans.first, spans.last))
            own, own_sizes = Spans(first, last, spans.steps), [sizes[b] for b in group]
            start = [offsets[b] for b in group], high
            found, high = _searched(own, own_sizes, height, share, start)
            for b, offset in zip(group, found, strict=True):
                offsets[b] = offset
        height = max(height, high)
    return offsets, max(map(add, offsets, sizes))


def _groups(spans: Spans, sizes: Sequence[int]) -> list[list[int]]:
    """Blocks that a chain of blocks alive together joins; what is between groups is empty."""
    groups: list[list[int]] = []
    end = -1
    for b in sorted(compress(range(len(sizes)), sizes), key=spans.first.__getitem__):
        if spans.first[b] > end:
            groups.append([])
        groups[-1].append(b)
        end = max(end, spans.last[b])
    return groups


def _searched(
    spans: Spans, sizes: Sequence[int], bound: int, effort: int, best: tuple[list[int], int]
) -> tuple[list[int], int]:
    """The lowest of a placement and of what a search of one group finds."""
    if len(sizes) > _MOST_BLOCKS:
        return best
    searched = Restarts(spans, sizes, code_at_hand(search))
    if searched.members > _MOST_MEMBERS:
        return best
    if searched.tried(bound, min(effort, _INTERPRETED)) == PLACED:
        return searched.placed()
    if effort > _INTERPRETED:
        searched.run = machine_code(search) or search
        searched.turns.clear()  # the effort ended within an order that may be the best
        best = _lowered(searched, bound, effort if searched.run is not search else 0, best)
    return best


def _first_fit(
    spans: Spans,
    sizes: Sequence[int],
    bound: int,
    order: Callable[[], Sequence[int]] | None,
) -> tuple[list[int], int]:
    """As ``place``, and in one more order; of many blocks by machine code, so that all orders are
    tried."""
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


def _lowered(
    searched: Restarts, bound: int, effort: int, best: tuple[list[int], int]
) -> tuple[list[int], int]:
    """The lowest of a placement and those that the search finds: at the bound, near it, by halves
    between what is not met and the best, and at the bound again."""
    first = min(effort * 2 // 5, _FIRST)
    state = searched.tried(bound, first)
    low = bound
    near = [int(bound * share) for share in _SHARES]
    while state != PLACED and (best[1] - low) * _FINE > bound:
        left = effort * _BETWEEN // 100 - searched.effort
        if left <= 0:
            break
        height = near.pop(0) if near else (low + best[1]) // 2
        if height >= best[1]:
            continue
        if searched.tried(height, min(left, first // _PARTS)) == PLACED:
            best = min(best, searched.placed(), key=_height)
        else:
            low = max(low, height)
    if state == SPENT and effort > searched.effort:
        state = searched.tried(bound, effort - searched.effort)
    return searched.placed() if state == PLACED else best
