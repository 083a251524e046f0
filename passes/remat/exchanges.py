"""Exchanges: a recomputed value is kept, and others are recomputed in its place.

A descent drops the values that save most bytes for their seconds, one by one. So it does not find
that one large value could be kept if several small ones of a chain are recomputed together. An
*exchange* removes one repeated run from a sequence; its values then live on from the run before. A
descent that must not drop those values finds others to drop, and runs that are not needed are
trimmed: an ejection chain (Glover, 1996) around one choice. Exchanges begin at existing sequences
and add only sequences that no other dominates, so that a front only improves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random
from typing import Final

from passes.remat.pareto import Cheapest, Found, Place
from staticgrad.planning.descents import SLOPES, Descents
from staticgrad.planning.sequences import BEYOND_ALL

_SLOPES: Final = SLOPES[:2]
#: Effort of a descent, of a trim and of what stands around them, in about five nanoseconds.
_DESCENDING: Final = 400_000
_TRIMMING: Final = 200_000
_CALL: Final = 10_000


def exchange(
    descents: Descents, cheapest: Cheapest, limit: int, done: dict[Place, int] | None = None
) -> None:
    """Exchange the runs of all sequences, those far from their neighbours first."""
    stop = descents.effort + limit
    done = {} if done is None else done
    while descents.effort < stop and (place := cheapest.widest(done, 1)) is not None:
        done[place] = 1
        for found in _exchanged(descents, *place, stop):
            cheapest.add(found)


def _exchanged(descents: Descents, ops: tuple[int, ...], goal: int, stop: int) -> list[Found]:
    """Return the result of each exchange of a sequence, until effort reaches ``stop``."""
    net, random, given = descents.net, Random(1), list[Found]()
    for (step, left), slope in product(_without_one(ops), _SLOPES):
        if descents.effort >= stop:
            break
        with descents.holding(net.makes[step]):
            below = int(goal * slope.share)
            found = descents.descended(left, below, slope, random, _DESCENDING)
        if descents.peak <= goal:
            found = descents.trimmed(found, goal, random, 0.0, _TRIMMING)
        descents.effort += _CALL + 5 * len(found)
        if descents.peak < BEYOND_ALL:
            given.append(Found(descents.peak, net.cost(found), tuple(found)))
    return given


def _without_one(ops: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield the step of each repeated run, and the sequence without that run."""
    seen: set[int] = set()
    for at, step in enumerate(ops):
        if step in seen:
            yield step, [*ops[:at], *ops[at + 1 :]]
        seen.add(step)
