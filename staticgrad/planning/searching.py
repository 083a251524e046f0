"""Cheaper sequences within a budget: walks over sequences, and ruin and rebuild.

Ruin and rebuild (Schrimpf et al., Record breaking optimization results using the ruin and recreate
principle, 2000) takes a random share of the repeated runs out and descends and trims anew.
Walks (``staticgrad.planning.walk_code``) move runs as well, and so find other orders. Effort is
counted in events; there is no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from staticgrad.planning.descents import Descents, Slope

_WORSE: Final = 0.03  # share of the overhead that a rebuilt sequence may be dearer by
_ROUND: Final = 15_000  # effort of what a rebuild does beside descending and trimming
#: Heats of walks, of the cost of all ops, and the share of the budget from which on bytes have a
#: price; of few ops, and of more.
_OF_FEW: Final = (
    *((0.02, 0.9), (0.005, 1.0), (0.01, 1.0), (0.005, 1.0)),
    *((0.02, 0.95), (0.005, 1.0), (0.003, 1.0), (0.002, 1.0)),
)
_OF_MANY: Final = tuple((heat, 1.0) for heat in (0.003, 0.02, 0.01, 0.005, 0.05, 0.005, 0.01))
_WALKS: Final = 8
_FEWEST: Final = 2
_SHORT: Final = 150  # ops up to which there are most walks
_HOT_HEATS: Final = (0.2, 0.1)
_HOT_EFFORT: Final = 50_000  # of a short hot walk, for each op


def rebuilt(
    descents: Descents, start: Sequence[int], budget: int, random: Random, limit: int
) -> list[int]:
    """The cheapest sequence within the budget that ruin and rebuild finds from one within it."""
    net = descents.net
    best = current = list(start)
    cost = least = net.cost(best)
    stop = descents.effort + limit
    while descents.effort < stop:
        descents.effort += _ROUND
        share = 1.0 - 0.25 * random.random() ** 2 if random.random() < 0.7 else 1.0
        flat = float(random.random() < 0.6)
        slope = Slope(noise=1.2 * random.random(), flat=flat, steep=1.0 - flat)
        left = ruined(current, random)
        found = descents.descended(left, int(budget * share), slope, random, limit // 4)
        if descents.peak > budget:
            continue
        noise = float(random.random() < 0.5)
        found = descents.trimmed(found, budget, random, noise, limit // 4)
        price = net.cost(found)
        if price <= cost + (cost - net.total) * _WORSE * random.random() ** 3:
            current, cost = found, price
        if price < least:
            best, least = found, price
    return best


def ruined(sequence: Sequence[int], random: Random) -> list[int]:
    """Without a random share of its repeated runs: everywhere, or in a window."""
    length, share = len(sequence), random.random() ** 2
    lo = int(random.random() * length) if random.random() < 0.5 else 0
    hi = lo + 5 + length // 4 if lo else length
    seen: set[int] = set()
    left = []
    for t, step in enumerate(sequence):
        if step in seen and lo <= t < hi and random.random() < share:
            continue
        seen.add(step)
        left.append(step)
    return left


def walked(
    descents: Descents, starts: Sequence[Sequence[int]], budget: int, random: Random, limit: int
) -> Iterator[tuple[int, float, list[int]]]:
    """Loads, costs and sequences of walks from starts in turn, each trimmed; the best so far is a
    start as well.

    How hot a walk has to be depends on the problem, so heats differ from walk to walk; problems of
    few ops, of which a walk is short, get more of them. There, bytes near the budget have a price
    in every fourth walk: that guides it better than the budget alone where much runs again.
    """
    count = max(_FEWEST, min(_WALKS, _WALKS * _SHORT // max(len(descents.net.ops), 1)))
    ways = _OF_FEW if count == _WALKS else _OF_MANY
    best: tuple[bool, float, list[int]] | None = None
    for turn in range(count):
        start = starts[turn // 2 % len(starts)]
        if turn % 2 and best is not None:
            start = best[2]
        heat, share = ways[turn]
        sequence = descents.walked(start, budget, heat, random, limit // count, share)
        if share < 1.0:  # before it is trimmed, it is easier to place
            yield descents.peak, descents.net.cost(sequence), sequence
        peak, cost, sequence = _trimmed(descents, sequence, budget, random, limit // count)
        yield peak, cost, sequence
        new = peak > budget, cost if peak <= budget else peak, sequence
        if best is None or new[:2] < best[:2]:
            best = new


def hot_walks(
    descents: Descents, start: Sequence[int], budget: int, limit: int
) -> Iterator[tuple[int, float, list[int]]]:
    """Loads, costs and sequences of many short walks from one start.

    Where a budget makes much run again, good sequences run steps in another order, and no small
    change of the best sequence leads there. Whether a walk comes there is chance, and shows early.
    """
    random, each = Random(1), _HOT_EFFORT * max(len(descents.net.ops), 1)
    for turn in range(limit // each):
        sequence = descents.walked(start, budget, _HOT_HEATS[turn % 2], random, each)
        yield _trimmed(descents, sequence, budget, random, each)


def _trimmed(
    descents: Descents, sequence: list[int], budget: int, random: Random, limit: int
) -> tuple[int, float, list[int]]:
    """The load, the cost and the sequence of what the descents made last, trimmed where it keeps
    the budget."""
    if descents.peak <= budget:
        sequence = descents.trimmed(sequence, budget, random, 0.0, limit)
    return descents.peak, descents.net.cost(sequence), sequence
