"""Sequences that fit a budget, by dropping values across gaps, and cheaper ones by trimming.

A *gap* of a value lies between two of its events, of which the later is a read. To drop the value
across it, steps that make it anew are put before that read. A descent drops the gap with the most
bytes times steps beyond the goal for each unit of cost, until nothing is beyond. This is the
eviction rule of dynamic tensor rematerialization (Kirisame et al., arXiv 2006.09616: bytes times
staleness over cost), decided with the whole sequence in sight. To go below the budget and to trim
back to it replaces a dear run by several cheap ones.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Final

from staticgrad.planning import descent_code, sequence_arrays, walk_code
from staticgrad.planning.machine import machine_code
from staticgrad.planning.problem import Net
from staticgrad.planning.sequence_arrays import SequenceArrays
from staticgrad.records import dataclass

_FLAT: Final = 0.8  # share of the bytes beyond which flat walks spare them
_COOL: Final = 0.5  # heat of flat walks, in mean costs of an op
_SLOWER: Final = 60  # times that the code takes longer as it is written


@dataclass(frozen=True)
class Slope:
    """How a descent weighs gaps: ``noise`` changes gains at random; a step beyond the goal counts
    ``flat``, and ``steep`` times how far it is beyond; ``share`` of the budget is the goal."""

    noise: float = 0.0
    flat: float = 1.0
    steep: float = 0.0
    share: float = 1.0


#: Descents that differ find different sequences; most budgets are met by the first.
SLOPES: Final = (
    Slope(),
    Slope(flat=0.0, steep=1.0),
    Slope(share=0.93),
    Slope(flat=0.3, steep=1.0, share=0.97),
    Slope(noise=0.7, share=0.97),
    Slope(noise=0.7, flat=0.0, steep=1.0, share=0.9),
    Slope(share=0.85),
)


class Descents:
    """Descents and trims of the sequences of one problem. ``effort`` is what they took, in about
    five nanoseconds."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.effort = 0
        self._arrays = SequenceArrays.of(net)
        self._events = [len(r) + len(m) for r, m in zip(net.reads, net.makes, strict=True)]
        self._dear = sorted(range(len(net.ops)), key=lambda step: -net.costs[step])
        self._descend, self._factor = _code_of(descent_code.descend)
        self._trim, _ = _code_of(descent_code.trim)

    @property
    def peak(self) -> int:
        """The largest load of the sequence that was found last; beyond all where it is no valid
        one, or too long to be looked at."""
        return self._arrays.words[sequence_arrays.PEAK]

    def descended(
        self, sequence: Sequence[int], goal: int, slope: Slope, random: Random, limit: int
    ) -> list[int]:
        """A sequence whose load is at most ``goal``, or what is left when no gap helps any more or
        the effort is spent; ``peak`` tells."""
        words = self._arrays.words
        words[sequence_arrays.FLAT] = int(1024 * slope.flat)
        words[sequence_arrays.STEEP] = int(1024 * slope.steep)
        words[sequence_arrays.NOISE] = int(1024 * slope.noise)
        words[sequence_arrays.RANDOM] = random.randrange(1, 1 << 31) if slope.noise else 1
        return self._run(self._descend, sequence, goal, limit)

    @contextmanager
    def holding(self, values: Sequence[int]) -> Iterator[None]:
        """Descents inside drop none of these values across a gap; trims may."""
        weight = self._arrays.weight
        before = [weight[value] for value in values]
        for value in values:
            weight[value] = 0
        try:
            yield
        finally:
            for value, was in zip(values, before, strict=True):
                weight[value] = was

    def laid_out(self, sequence: Sequence[int]) -> list[int]:
        """The sequence without idle runs."""
        return self._run(self._descend, sequence, 1 << 60, 0)

    def trimmed(
        self, sequence: Sequence[int], goal: int, random: Random, noise: float, limit: int
    ) -> list[int]:
        """The sequence without the repeated runs that the goal does not need, the most expensive
        first, but for the noise."""
        dear = self._dear
        if noise:
            costs = self.net.costs
            key = {step: -costs[step] * (1.0 + noise * (random.random() - 0.5)) for step in dear}
            dear = sorted(dear, key=key.__getitem__)
        self._arrays.dear[: len(dear)] = array("q", dear)
        return self._run(self._trim, sequence, goal, limit)

    def walked(
        self,
        sequence: Sequence[int],
        most: int,
        heat: float,
        random: Random,
        limit: int,
        share: float = 1.0,
    ) -> list[int]:
        """The cheapest sequence whose load is at most ``most`` that a walk of so much effort from
        this one meets, or the one of the fewest bytes beyond; ``heat`` is how much dearer a change
        may be at first, as a share of the cost of all ops. Bytes beyond ``share`` of ``most`` have
        a price, which falls while none are beyond ``most``: with less than 1 sequences are flat."""
        return self._walk(sequence, most, share, heat, random, limit)

    def flattened(
        self, sequence: Sequence[int], most: int, price: int, random: Random, limit: int
    ) -> list[int]:
        """The best sequence that a walk of so much effort meets from one whose load is at most
        ``most``: no load exceeds that, and bytes beyond ``_FLAT`` of it have a price, so that it
        is easy to place, and near cheaper ones. A mean excess of all steps by a hundredth of that
        costs as much as ``price`` / 1,600,000 of all ops."""
        words = self._arrays.words
        words[sequence_arrays.STEADY] = price
        heat = _COOL / max(len(self.net.ops), 1)
        found = self._walk(sequence, most, _FLAT, heat, random, limit)
        words[sequence_arrays.STEADY] = 0
        return found

    def _walk(
        self,
        sequence: Sequence[int],
        most: int,
        share: float,
        heat: float,
        random: Random,
        limit: int,
    ) -> list[int]:
        walk, _ = _code_of(walk_code.walk)  # few callers walk
        words = self._arrays.words
        words[sequence_arrays.LIMIT] = most
        words[sequence_arrays.HOT] = 1 + int(heat * sequence_arrays.SCALE)
        words[sequence_arrays.RANDOM] = random.randrange(1, 1 << 31)
        self._run(walk, sequence, int(share * most), limit)
        return self.laid_out(self._arrays.walked[: words[sequence_arrays.BEST]].tolist())

    def _run(
        self,
        code: Callable[[SequenceArrays], int],
        sequence: Sequence[int],
        goal: int,
        limit: int,
    ) -> list[int]:
        arrays, limit = self._arrays, max(1, limit // self._factor)
        words = arrays.words
        events = sum(map(self._events.__getitem__, sequence))
        too_long = len(sequence) > words[sequence_arrays.ROOM]
        if too_long or events > words[sequence_arrays.EVENT_ROOM]:
            words[sequence_arrays.PEAK] = sequence_arrays.BEYOND_ALL
            return list(sequence)
        arrays.trial[: len(sequence)] = array("q", sequence)
        words[sequence_arrays.TRIAL] = len(sequence)
        words[sequence_arrays.GOAL] = goal
        words[sequence_arrays.EFFORT] = limit
        code(arrays)
        self.effort += (limit - words[sequence_arrays.EFFORT]) * self._factor
        return arrays.sequence[: words[sequence_arrays.LENGTH]].tolist()


def _code_of(
    function: Callable[[SequenceArrays], int],
) -> tuple[Callable[[SequenceArrays], int], int]:
    """A function as machine code, else as it is, and how much longer it takes."""
    code = machine_code(function)
    return (function, _SLOWER) if code is None else (code, 1)
