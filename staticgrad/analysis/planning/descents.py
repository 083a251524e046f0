"""Sequences that fit a budget, by dropping values across gaps, and cheaper ones by trimming.

A *gap* of a value lies between two of its events, of which the later is a read. To drop the value
across it, steps that make it anew are put before that read. A descent drops the gap with the most
bytes times steps beyond the goal for each unit of cost, until nothing is beyond. This is the
eviction rule of dynamic tensor rematerialization (Kirisame et al., arXiv 2006.09616: bytes times
staleness over cost), decided with the whole sequence in sight. To go below the budget and to trim
back to it replaces a dear run by several cheap ones.

The functions are such as ``staticgrad.native.words`` compiles.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Final

from staticgrad.analysis.planning import sequences, walks
from staticgrad.analysis.planning.problem import Net, machine_code
from staticgrad.analysis.planning.sequences import (
    BEYOND_ALL,
    MOST_GROUPS,
    MOST_REFUSED,
    SequenceArrays,
    adopt,
    drop_idle,
    find_closure,
    find_events,
    find_loads,
    has_room,
    insert_closure,
    lay_out,
)
from staticgrad.analysis.planning.walks import settle
from staticgrad.support.records import dataclass


def descend(s: SequenceArrays) -> int:
    """Drop values between uses until the memory goal is met; return 1 if it is.

    One gap is dropped at a time; of long sequences one in each of some groups of values.
    """
    lay_out(s)
    if s.peak >= BEYOND_ALL:
        return 0
    s.refused = 0
    # A round over a long sequence is expensive: several gaps share it.
    s.groups = 1 + s.length // 1024
    if s.groups > MOST_GROUPS:
        s.groups = MOST_GROUPS
    while s.excess > 0 and s.effort > 0 and s.refused < MOST_REFUSED:
        find_events(s)
        _find_prefix(s)
        _find_gaps(s)
        if s.gap_count == 0:
            break
        if _drop_gaps(s) == 1:
            adopt(s)
            s.refused = 0
        elif s.groups > 1:
            s.groups = s.groups // 2
        else:
            s.refused_value[s.refused] = s.best_value[0]
            s.refused_at[s.refused] = s.best_at[0]
            s.refused = s.refused + 1
    if s.excess > 0:
        return 0
    return 1


def _drop_gaps(s: SequenceArrays) -> int:
    """Recompute the dropped values instead, the last gap first; return 1 if that helps."""
    for t in range(0, s.length):
        s.trial[t] = s.sequence[t]
    s.trial_length = s.length
    left = s.gap_count
    while left > 0:
        last = 0
        for i in range(1, left):
            if s.best_at[i] > s.best_at[last]:
                last = i
        value = s.best_value[last]
        at = s.best_at[last]
        count = find_closure(s, value, at, BEYOND_ALL)
        if count < 0 or insert_closure(s, at, count) == 0:
            return 0
        left = left - 1
        s.best_value[last] = s.best_value[left]
        s.best_at[last] = s.best_at[left]
        s.best_value[left] = value
        s.best_at[left] = at
    if settle(s) == 0:
        return 0
    drop_idle(s)
    find_loads(s)
    if s.trial_excess < s.excess:
        return has_room(s)
    return 0


def _find_prefix(s: SequenceArrays) -> int:
    """Compute prefix sums of the weights of steps beyond the memory goal."""
    goal = s.goal
    total = 0
    s.prefix[0] = 0
    for t in range(0, s.length):
        beyond = s.load[t] - goal
        if beyond > 0:
            # in 1024ths of the goal, and at most sixteen goals
            far = 16384
            if beyond < 16 * goal:
                far = beyond * 1024 // goal
            total = total + s.flat + s.steep * far // 1024
        s.prefix[t + 1] = total
    return 0


def _find_gaps(s: SequenceArrays) -> int:
    """Find in each group of values the gap with the most gain per recomputation cost."""
    s.gap_count = 0
    groups = s.groups
    values = s.values
    for group in range(0, groups):
        s.best[s.gap_count] = 0
        for value in range(values * group // groups, values * (group + 1) // groups):
            if s.weight[value] > 0 and s.limit[s.producer[value]] > 1:
                _weigh(s, value)
        if s.best[s.gap_count] > 0:
            s.gap_count = s.gap_count + 1
    return 0


def _weigh(s: SequenceArrays, value: int) -> int:
    """Weigh the gaps between uses of a value by bytes saved per recomputation cost.

    First by the cost of its own step, then, where that could win, by that of all steps that it
    needs.
    """
    begin = s.event_at[value] + 1
    end = s.event_at[value + 1]
    s.effort = s.effort - end + begin
    for k in range(begin, end + s.is_output[value]):
        t = s.length
        makes = 0
        if k < end:
            t = s.event[k] // 2
            makes = s.event[k] % 2
        previous_run = s.event[k - 1] // 2
        if makes == 0 and t - previous_run > 1:
            gain = s.weight[value] * (s.prefix[t] - s.prefix[previous_run + 1])
            if gain > 0:
                _weigh_gap(s, value, t, gain)
    return 0


def _weigh_gap(s: SequenceArrays, value: int, t: int, gain: int) -> int:
    """Weigh dropping a value before step t, up to a closure too costly to win."""
    if s.noise > 0:
        gain = gain // 1024 * (1024 + _noise(s))
    slot = s.gap_count
    best = s.best[slot]
    # A lower bound of the cost, the step alone, is enough to leave most gaps out.
    if gain // s.cost[s.producer[value]] * 1024 <= best or _is_refused(s, value, t) == 1:
        return 0
    # A closure of more cost than this cannot win.
    count = find_closure(s, value, t, gain * 16 // (best // 64 + 1))
    if count <= 0:
        return 0
    total_cost = 1
    for i in range(0, count):
        total_cost = total_cost + s.cost[s.closure[i]]
    if gain * 16 // total_cost * 64 > best:
        s.best[slot] = gain * 16 // total_cost * 64
        s.best_value[slot] = value
        s.best_at[slot] = t
    return 0


def _noise(s: SequenceArrays) -> int:
    """A random number in 1024ths, half of the noise below zero and half of it above."""
    s.random = s.random * 48271 % 2147483647
    return s.random % 1024 * s.noise // 1024 - s.noise // 2


def _is_refused(s: SequenceArrays, value: int, t: int) -> int:
    for i in range(0, s.refused):
        if s.refused_value[i] == value and s.refused_at[i] == t:
            return 1
    return 0


#: Runs from which on a sequence is changed at several places at a time.
_LONG: Final = 2048


def trim(s: SequenceArrays) -> int:
    """Remove recomputations that the memory goal does not need; return how many.

    Steps in the order of ``dear``; of a long sequence first in groups, as far as these may go.
    """
    if lay_out(s) == 0:
        return 0
    gone = 0
    if s.length >= _LONG:
        gone = _take_groups_out(s)
    fresh = 1
    while fresh == 1 and s.effort > 0:
        fresh = 0
        find_events(s)
        _find_runs(s)
        for k in range(0, s.steps):
            step = s.dear[k]
            i = s.count[step] - 1
            while i > 0 and s.effort > 0:
                t = s.run[s.run_at[step] + i]
                if _may_go(s, step, t) == 1 and _taken_out(s, t) == 1:
                    gone = gone + 1
                    fresh = 1
                    find_events(s)
                    _find_runs(s)
                    if i > s.count[step]:
                        i = s.count[step]
                i = i - 1
    return gone


def _take_groups_out(s: SequenceArrays) -> int:
    """Remove recomputations of several steps at a time; return how many.

    Each change of a long sequence is expensive. Of a group that the goal needs, half is tried.
    """
    gone = 0
    most = MOST_GROUPS
    first = 0
    find_events(s)
    _find_runs(s)
    while first < s.steps and s.effort > 0:
        for t in range(0, s.length):
            s.leaves[t] = 0
        count = 0
        end = first
        while end < s.steps and count < most:
            step = s.dear[end]
            for i in range(1, s.count[step]):
                t = s.run[s.run_at[step] + i]
                if _may_go(s, step, t) == 1:
                    s.leaves[t] = 1
                    count = count + 1
            end = end + 1
        if count == 0 or _are_taken_out(s) == 1:
            gone = gone + count
            first = end
            most = MOST_GROUPS
            find_events(s)
            _find_runs(s)
        elif most > 1:
            most = most // 2
        else:
            first = end
    return gone


def _are_taken_out(s: SequenceArrays) -> int:
    """Adopt the sequence without the runs that leave if it meets the goal; return 1 if so."""
    count = 0
    for t in range(0, s.length):
        if s.leaves[t] == 0:
            s.trial[count] = s.sequence[t]
            count = count + 1
    s.trial_length = count
    return _adopt_within_goal(s)


def _find_runs(s: SequenceArrays) -> int:
    """Find the indices in the sequence at which each step runs."""
    total = 0
    for step in range(0, s.steps):
        s.run_at[step] = total
        total = total + s.count[step]
    for t in range(0, s.length):
        step = s.sequence[t]
        s.run[s.run_at[step]] = t
        s.run_at[step] = s.run_at[step] + 1
    for step in range(0, s.steps):
        s.run_at[step] = s.run_at[step] - s.count[step]
    return 0


def _may_go(s: SequenceArrays, step: int, t: int) -> int:
    """Return 1 if the memory goal seems to be met without a recomputation.

    The values that it makes live on from before, and those that only it reads end sooner.
    """
    s.spans = 0
    lowest = t
    for i in range(s.makes_at[step], s.makes_at[step + 1]):
        begin = _begin_of_life(s, s.makes[i], 2 * t + 1, 1)
        if begin < lowest:
            lowest = begin
    for i in range(s.reads_at[step], s.reads_at[step + 1]):
        _begin_of_life(s, s.reads[i], 2 * t, 0)
    s.effort = s.effort - 4
    at = t - 1
    while at > lowest:
        load = s.load[at]
        for i in range(0, s.spans):
            if s.span_from[i] < at:
                load = load + s.span_bytes[i]
        if load > s.goal:
            s.effort = s.effort - t + at
            return 0
        at = at - 1
    s.effort = s.effort - t + at
    return 1


def _begin_of_life(s: SequenceArrays, value: int, event: int, is_needed_without: int) -> int:
    """Return the step from which a value's live range changes if one event is removed.

    A value lives longer (``made``), or ends there; an event without such an effect changes nothing.
    """
    k = s.event_at[value]
    end = s.event_at[value + 1]
    while s.event[k] != event:
        k = k + 1
    needed = s.is_output[value]
    if k + 1 < end:
        needed = 1 - s.event[k + 1] % 2
    if needed == is_needed_without and s.size[value] > 0 and k > s.event_at[value]:
        previous_run = s.event[k - 1] // 2
        size = s.size[value]
        if is_needed_without == 0:
            size = 0 - size
        s.span_from[s.spans] = previous_run
        s.span_bytes[s.spans] = size
        s.spans = s.spans + 1
        return previous_run
    return event


def _taken_out(s: SequenceArrays, t: int) -> int:
    """Adopt the sequence without one recomputation if it meets the goal; return 1 if so."""
    length = s.length
    for i in range(0, t):
        s.trial[i] = s.sequence[i]
    for i in range(t + 1, length):
        s.trial[i - 1] = s.sequence[i]
    s.trial_length = length - 1
    return _adopt_within_goal(s)


def _adopt_within_goal(s: SequenceArrays) -> int:
    """Adopt the trial without idle runs if it meets the goal; return 1 if so."""
    drop_idle(s)
    find_loads(s)
    if s.trial_excess > 0:
        return 0
    adopt(s)
    return 1


_FLAT: Final = 0.8  # share of the bytes beyond which flat walks spare them
_COOL: Final = 0.5  # heat of flat walks, in mean costs of an op
_SLOWER: Final = 60  # times that the code takes longer as it is written


@dataclass(frozen=True)
class Slope:
    """The weights of a descent: ``noise`` changes gains at random; a step beyond the goal counts
    ``flat``, and ``steep`` times its excess; ``share`` of the budget is the goal."""

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
    """Descents and trims of the sequences of one problem. ``effort`` is their time, in units of
    about five nanoseconds."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.effort = 0
        self._arrays = SequenceArrays.of(net)
        self._events = [len(r) + len(m) for r, m in zip(net.reads, net.makes, strict=True)]
        self._dear = sorted(range(len(net.ops)), key=lambda step: -net.costs[step])
        self._descend, self._factor = _code_of(descend)
        self._trim, _ = _code_of(trim)

    @property
    def peak(self) -> int:
        """The largest load of the sequence that was found last; beyond all loads if the sequence
        is invalid or too long to be examined."""
        return self._arrays.peak

    def descend(
        self, sequence: Sequence[int], goal: int, slope: Slope, random: Random, limit: int
    ) -> list[int]:
        """Return a sequence within a memory goal by dropping values and recomputing them.

        It is the last one when no gap helps any more or the effort is spent; ``peak`` is its load.
        """
        arrays = self._arrays
        arrays.flat = int(1024 * slope.flat)
        arrays.steep = int(1024 * slope.steep)
        arrays.noise = int(1024 * slope.noise)
        arrays.random = random.randrange(1, 1 << 31) if slope.noise else 1
        return self._run(self._descend, sequence, goal, limit)

    @contextmanager
    def holding(self, values: Sequence[int]) -> Iterator[None]:
        """Forbid descents inside to drop these values between uses; trims may drop them."""
        weight = self._arrays.weight
        weights = [weight[value] for value in values]
        for value in values:
            weight[value] = 0
        try:
            yield
        finally:
            for value, was in zip(values, weights, strict=True):
                weight[value] = was

    def laid_out(self, sequence: Sequence[int]) -> list[int]:
        """The sequence without idle runs."""
        return self._run(self._descend, sequence, 1 << 60, 0)

    def trim(
        self, sequence: Sequence[int], goal: int, random: Random, noise: float, limit: int
    ) -> list[int]:
        """Return the sequence without recomputations that the memory goal does not need.

        The most expensive are removed first, but for the noise.
        """
        dear = self._dear
        if noise:
            costs = self.net.costs
            key = {step: -costs[step] * (1.0 + noise * (random.random() - 0.5)) for step in dear}
            dear = sorted(dear, key=key.__getitem__)
        self._arrays.dear[: len(dear)] = array("q", dear)
        return self._run(self._trim, sequence, goal, limit)

    def walk(
        self,
        sequence: Sequence[int],
        most: int,
        heat: float,
        random: Random,
        limit: int,
    ) -> list[int]:
        """Search by annealing for the cheapest sequence within ``most`` bytes.

        Returns the cheapest that a walk of so much effort from this one meets, or the one of the
        fewest bytes beyond; ``heat`` is how much dearer a change may be at first, as a share of the
        cost of all ops.
        """
        return self._walk(sequence, most, most, heat, random, limit)

    def flatten(
        self, sequence: Sequence[int], most: int, price: int, random: Random, limit: int
    ) -> list[int]:
        """Search for a sequence whose memory load is flat, so that buffers are easy to place.

        Returns the best sequence that a walk of so much effort meets from one whose load is at most
        ``most``: no load exceeds that, and bytes beyond ``_FLAT`` of it have a price, so that it is
        near cheaper ones. A mean excess of all steps by a hundredth of that costs as much as
        ``price`` / 1,600,000 of all ops.
        """
        arrays = self._arrays
        arrays.steady = price
        heat = _COOL / max(len(self.net.ops), 1)
        flattest = self._walk(sequence, most, int(_FLAT * most), heat, random, limit)
        arrays.steady = 0
        return flattest

    def _walk(
        self,
        sequence: Sequence[int],
        most: int,
        goal: int,
        heat: float,
        random: Random,
        limit: int,
    ) -> list[int]:
        """Run the annealing walk on a sequence; return the best one met."""
        walk, _ = _code_of(walks.walk)  # few callers walk
        arrays = self._arrays
        arrays.most = most
        arrays.hot = 1 + int(heat * sequences.SCALE)
        arrays.random = random.randrange(1, 1 << 31)
        self._run(walk, sequence, goal, limit)
        return self.laid_out(self._arrays.walked[: arrays.best_length].tolist())

    def _run(
        self,
        code: Callable[[SequenceArrays], int],
        sequence: Sequence[int],
        goal: int,
        limit: int,
    ) -> list[int]:
        """Run a search over a sequence in the shared arrays within an effort limit."""
        arrays, limit = self._arrays, max(1, limit // self._factor)
        events = sum(map(self._events.__getitem__, sequence))
        too_long = len(sequence) > arrays.room
        if too_long or events > arrays.event_room:
            arrays.peak = sequences.BEYOND_ALL
            return list(sequence)
        arrays.trial[: len(sequence)] = array("q", sequence)
        arrays.trial_length = len(sequence)
        arrays.goal = goal
        arrays.effort = limit
        code(arrays)
        self.effort += (limit - arrays.effort) * self._factor
        return arrays.sequence[: arrays.length].tolist()


def _code_of(
    function: Callable[[SequenceArrays], int],
) -> tuple[Callable[[SequenceArrays], int], int]:
    """Return a function as machine code, else unchanged, and how many times slower it is."""
    code = machine_code(function)
    return (function, _SLOWER) if code is None else (code, 1)
