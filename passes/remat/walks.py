"""Walks from sequences that are there, which move runs as well as drop and make again.

A large value may have to wait only because what runs again stands in the wrong order. Walks
(``staticgrad.planning.walks``) find other orders; each begins where the next cheaper sequence
is far away, or at the smallest, and what it finds is kept where none is as good. Where much runs
again, no small change leads from one good sequence to a better one: there, short *hot* walks begin
at orders in which nothing does, as in ``staticgrad.planning.within``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Final

from passes.remat.pareto import Cheapest, Found, Place
from staticgrad.planning.descents import Descents
from staticgrad.planning.sequences import BEYOND_ALL

#: How much dearer a change may be at first, of all ops: how hot is best depends on the problem.
_HEATS: Final = (0.003, 0.02, 0.01, 0.001, 0.05, 0.005, 0.15, 0.002)
#: Effort of a walk for each op, of a trim, and of what stands around them.
_WALKING: Final = 15_000
_TRIMMING: Final = 200_000
_CALL: Final = 10_000
_MOST: Final = 100  # walks from one sequence to one goal
_DOWN: Final = 4  # of so many walks one goes below the smallest sequence
_LOWER: Final = 0.1  # by so much of its load at most
#: Heats of hot walks, effort of one for each op, and how many there are at most.
_HOT_HEATS: Final = (0.2, 0.1)
_HOT_WALKING: Final = 50_000
_HOT_WALKS: Final = 16
_DEAR: Final = 1.15  # cost, in costs of all ops, from which on there are hot walks


def walk(descents: Descents, cheapest: Cheapest, floor: int, random: Random, limit: int) -> None:
    """Walk from sequences far from their next cheaper neighbour, and below the smallest, again and
    again.
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


def walk_hot(
    descents: Descents, known: Sequence[Found], orders: Sequence[Found], limit: int
) -> list[Found]:
    """Walk from orders, shortly and with much heat, to where dear sequences lie far apart."""
    net, random, tried = descents.net, Random(1), Counter[int]()
    cheapest = Cheapest()
    cheapest.found = list(known)
    each = _HOT_WALKING * len(net.ops)
    for turn in range(min(_HOT_WALKS, limit // each)):
        goal = _dearest_goal(cheapest.found, tried, _DEAR * net.total)
        if goal is None:
            break
        tried[goal] += 1
        start = orders[turn // 2 % len(orders)].ops
        found = descents.walked(start, goal, _HOT_HEATS[turn % 2], random, each)
        if descents.peak <= goal:
            found = descents.trimmed(found, goal, random, 0.0, _TRIMMING)
        descents.effort += _CALL + 5 * len(found)
        if descents.peak < BEYOND_ALL:
            cheapest.add(Found(descents.peak, net.cost(found), tuple(found)))
    return cheapest.found


def _dearest_goal(known: Sequence[Found], tried: Counter[int], dear: float) -> int | None:
    """The load of a dear sequence, or the one just below that of the next cheaper one, where the
    two differ most in cost for the times that the goal was tried; None where none is dear."""
    best, highest = None, 0.0
    for lower, upper in pairwise(known):
        for goal in (lower.load, upper.load - 1) if lower.cost >= dear else ():
            gain = (lower.cost - upper.cost) / (1 + tried[goal])
            if gain > highest:
                best, highest = goal, gain
    return best
