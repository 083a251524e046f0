"""Walks from sequences that are there, which move runs as well as drop and make again.

A large value may have to wait only because what runs again stands in the wrong order. Walks
(``staticgrad.planning.walk_code``) find other orders; each begins where the next cheaper sequence
is far away, or at the smallest, and what it finds is kept where none is as good.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Final

from passes.remat.cheapest import Cheapest, Found, Place
from staticgrad.planning.descents import Descents
from staticgrad.planning.sequence_arrays import BEYOND_ALL

#: How much dearer a change may be at first, of all ops: how hot is best depends on the problem.
_HEATS: Final = (0.003, 0.02, 0.01, 0.001, 0.05, 0.005, 0.15, 0.002)
#: Effort of a walk for each op, of a trim, and of what stands around them.
_WALKING: Final = 15_000
_TRIMMING: Final = 200_000
_CALL: Final = 10_000
_MOST: Final = 100  # walks from one sequence to one goal
_DOWN: Final = 4  # of so many walks one goes below the smallest sequence
_LOWER: Final = 0.1  # by so much of its load at most


def walk(descents: Descents, cheapest: Cheapest, floor: int, random: Random, limit: int) -> None:
    """Walk from sequences far from their next cheaper neighbour, and below the smallest, again and
    again.

    Args:
        descents: of the problem.
        cheapest: the sequences; what is found is added to them.
        floor: bytes that no plan can do without.
        random: numbers of the walks.
        limit: effort, in about five nanoseconds.
    """
    net, stop = descents.net, descents.effort + limit
    tried: Counter[Place] = Counter()
    turn = 0
    while descents.effort < stop:
        least = cheapest.found[0]
        place = cheapest.widest(tried, _MOST)
        if turn % _DOWN == _DOWN - 1 or place is None:
            lower = int(least.load * (1.0 - _LOWER * random.random() ** 2))
            place = least.ops, max(floor, min(lower, least.load - 1))
        ops, goal = place
        tried[place] += 1
        heat = _HEATS[turn % len(_HEATS)]
        turn += 1
        found = descents.walked(ops, goal, heat, random, _WALKING * len(net.ops))
        if descents.peak <= goal:
            found = descents.trimmed(found, goal, random, 0.0, _TRIMMING)
        descents.effort += _CALL + 5 * len(found)
        if descents.peak < BEYOND_ALL:
            cheapest.add(Found(descents.peak, net.cost(found), tuple(found)))
