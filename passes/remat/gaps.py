"""Sequences between two neighbours of a front with very different costs.

Sequences are found at canonical sizes; a sequence that just meets a budget there may just miss it
at sizes nearby. Descents at the given sizes, from the cheaper neighbour down, find sequences in
between. In a long schedule, the bytes of neighbours differ by some percent:
the sequence of fewer bytes is trimmed to goals between the two.
"""

from __future__ import annotations

from array import array
from random import Random
from typing import Final

from passes.remat.abstract import Abstract, abstracted
from passes.remat.base import Problem, Steps
from passes.remat.pareto import Cheapest, Found
from staticgrad.planning.descents import SLOPES, Descents

_GOALS: Final = 4  # between the bytes of the two, those of the dearer one included
#: Effort of a descent and of a trim, in about five nanoseconds.
_DESCENDING: Final = 400_000
_TRIMMING: Final = 200_000
_TRIMMED: Final = 4  # goals of a long schedule between the bytes of the two
_STEP: Final = 20_000  # effort of such a trim for each step


def between(problem: Problem, upper: Steps, lower: Steps) -> list[tuple[float, array[int]]]:
    """Costs and sequences by rising cost and falling load, of which each needs fewer bytes than
    ``upper``, and is cheaper than ``lower``.
    """
    abstract = abstracted(problem)
    net, descents, random = abstract.net, Descents(abstract.net), Random(1)
    begin, end = abstract.ops(upper), abstract.ops(lower)
    cheapest = Cheapest()

    def kept(ops: list[int]) -> int:
        """Return the load of what was found last."""
        cheapest.add(Found(descents.peak, net.cost(ops), tuple(ops)))
        return descents.peak

    top, low = (kept(descents.laid_out(ops)) for ops in (begin, end))
    for part in range(_GOALS):
        goal = low + (top - low) * part // _GOALS
        kept(descents.trimmed(end, goal, random, 0.0, _TRIMMING))
        for slope in SLOPES:
            ops = descents.descended(begin, int(goal * slope.share), slope, random, _DESCENDING)
            if descents.peak <= goal:
                kept(descents.trimmed(ops, goal, random, 0.0, _TRIMMING))
    return _inside(problem, abstract, cheapest, upper, lower)


def trimmed_between(problem: Problem, upper: Steps, lower: Steps) -> list[tuple[float, array[int]]]:
    """Return sequences like ``between``, but only by trims: a trim of ten thousand steps takes some
    hundredths of a second."""
    abstract = abstracted(problem)
    net, descents, random = abstract.net, Descents(abstract.net), Random(1)
    top, low = (problem.layout(each).load for each in (upper, lower))
    ops, cheapest = abstract.ops(lower), Cheapest()
    for part in range(1, _TRIMMED + 1):
        goal = low + (top - low) * part // (_TRIMMED + 1)
        ops = descents.trimmed(ops, goal, random, 0.0, _STEP * len(net.ops))
        cheapest.add(Found(descents.peak, net.cost(ops), tuple(ops)))
    return _inside(problem, abstract, cheapest, upper, lower)


def _inside(
    problem: Problem, abstract: Abstract, cheapest: Cheapest, upper: Steps, lower: Steps
) -> list[tuple[float, array[int]]]:
    """Costs and sequences of those that need fewer bytes than one and are cheaper than another."""
    first, last, top = problem.cost(upper), problem.cost(lower), problem.layout(upper).load
    inside = [each for each in reversed(cheapest.found) if each.load < top]
    found = [array("i", abstract.steps(each.ops)) for each in inside]
    costs = [(problem.cost(sequence), sequence) for sequence in found]
    return [each for each in costs if first <= each[0] < last]
