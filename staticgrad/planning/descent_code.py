"""Descents below a goal of bytes, and trimming back to it, over arrays of integers.

The functions are such as ``staticgrad.native.words`` compiles.
"""

from __future__ import annotations

from staticgrad.planning.sequence_arrays import (
    BEYOND_ALL,
    EFFORT,
    EXCESS,
    FLAT,
    FOUND,
    GOAL,
    GROUPS,
    LENGTH,
    MOST_GROUPS,
    MOST_REFUSED,
    NOISE,
    PEAK,
    RANDOM,
    REFUSED,
    SPANS,
    STEEP,
    STEPS,
    TRIAL,
    TRIAL_EXCESS,
    VALUES,
    SequenceArrays,
)
from staticgrad.planning.sequence_code import (
    adopt,
    drop_idle,
    find_closure,
    find_events,
    find_loads,
    has_room,
    insert_closure,
    lay_out,
)
from staticgrad.planning.settle_code import settle


def descend(s: SequenceArrays) -> int:
    """Drop values across gaps, from the trial on, until the goal is kept; whether it is.

    One gap is dropped at a time; of long sequences one in each of some groups of values.
    """
    words = s.words
    lay_out(s)
    if words[PEAK] >= BEYOND_ALL:
        return 0
    words[REFUSED] = 0
    words[GROUPS] = 1 + words[LENGTH] // 1024
    if words[GROUPS] > MOST_GROUPS:
        words[GROUPS] = MOST_GROUPS
    while words[EXCESS] > 0 and words[EFFORT] > 0 and words[REFUSED] < MOST_REFUSED:
        find_events(s)
        _find_prefix(s)
        _find_gaps(s)
        if words[FOUND] == 0:
            break
        if _drop_gaps(s) == 1:
            adopt(s)
            words[REFUSED] = 0
        elif words[GROUPS] > 1:
            words[GROUPS] = words[GROUPS] // 2
        else:
            s.refused_value[words[REFUSED]] = s.best_value[0]
            s.refused_at[words[REFUSED]] = s.best_at[0]
            words[REFUSED] = words[REFUSED] + 1
    if words[EXCESS] > 0:
        return 0
    return 1


def _drop_gaps(s: SequenceArrays) -> int:
    """Write the trial without the gaps that were found, the last first; whether that helps."""
    words = s.words
    for t in range(0, words[LENGTH]):
        s.trial[t] = s.sequence[t]
    words[TRIAL] = words[LENGTH]
    left = words[FOUND]
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
    if words[TRIAL_EXCESS] < words[EXCESS]:
        return has_room(s)
    return 0


def _find_prefix(s: SequenceArrays) -> int:
    """Weights of the steps beyond the goal, added up."""
    words = s.words
    goal = words[GOAL]
    total = 0
    s.prefix[0] = 0
    for t in range(0, words[LENGTH]):
        beyond = s.load[t] - goal
        if beyond > 0:
            far = 16384
            if beyond < 16 * goal:
                far = beyond * 1024 // goal
            total = total + words[FLAT] + words[STEEP] * far // 1024
        s.prefix[t + 1] = total
    return 0


def _find_gaps(s: SequenceArrays) -> int:
    """The gap of most gain for each unit of cost in each group of values."""
    words = s.words
    words[FOUND] = 0
    groups = words[GROUPS]
    values = words[VALUES]
    for group in range(0, groups):
        s.best[words[FOUND]] = 0
        for value in range(values * group // groups, values * (group + 1) // groups):
            if s.weight[value] > 0 and s.limit[s.producer[value]] > 1:
                _weigh(s, value)
        if s.best[words[FOUND]] > 0:
            words[FOUND] = words[FOUND] + 1
    return 0


def _weigh(s: SequenceArrays, value: int) -> int:
    """Weigh the gaps of a value: first by the cost of its own step, then, where that could win, by
    that of all steps that it needs."""
    words = s.words
    begin = s.event_at[value] + 1
    end = s.event_at[value + 1]
    words[EFFORT] = words[EFFORT] - end + begin
    for k in range(begin, end + s.kept[value]):
        t = words[LENGTH]
        makes = 0
        if k < end:
            t = s.event[k] // 2
            makes = s.event[k] % 2
        before = s.event[k - 1] // 2
        if makes == 0 and t - before > 1:
            gain = s.weight[value] * (s.prefix[t] - s.prefix[before + 1])
            if gain > 0:
                _weigh_gap(s, value, t, gain)
    return 0


def _weigh_gap(s: SequenceArrays, value: int, t: int, gain: int) -> int:
    """Weigh the gap of a value before step t, up to a closure so dear that it cannot win."""
    words = s.words
    if words[NOISE] > 0:
        gain = gain // 1024 * (1024 + _noise(s))
    found = words[FOUND]
    best = s.best[found]
    if gain // s.cost[s.producer[value]] * 1024 <= best or _is_refused(s, value, t) == 1:
        return 0
    count = find_closure(s, value, t, gain * 16 // (best // 64 + 1))
    if count <= 0:
        return 0
    whole = 1
    for i in range(0, count):
        whole = whole + s.cost[s.closure[i]]
    if gain * 16 // whole * 64 > best:
        s.best[found] = gain * 16 // whole * 64
        s.best_value[found] = value
        s.best_at[found] = t
    return 0


def _noise(s: SequenceArrays) -> int:
    """A random number in 1024ths, half of the noise below zero and half of it above."""
    words = s.words
    words[RANDOM] = words[RANDOM] * 48271 % 2147483647
    return words[RANDOM] % 1024 * words[NOISE] // 1024 - words[NOISE] // 2


def _is_refused(s: SequenceArrays, value: int, t: int) -> int:
    for i in range(0, s.words[REFUSED]):
        if s.refused_value[i] == value and s.refused_at[i] == t:
            return 1
    return 0


def trim(s: SequenceArrays) -> int:
    """Take repeated runs out of the trial that the goal does not need, steps in the order of
    ``dear``; how many."""
    words = s.words
    if lay_out(s) == 0:
        return 0
    gone = 0
    fresh = 1
    while fresh == 1 and words[EFFORT] > 0:
        fresh = 0
        find_events(s)
        _find_runs(s)
        for k in range(0, words[STEPS]):
            step = s.dear[k]
            i = s.count[step] - 1
            while i > 0 and words[EFFORT] > 0:
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


def _find_runs(s: SequenceArrays) -> int:
    """Where each step runs."""
    words = s.words
    total = 0
    for step in range(0, words[STEPS]):
        s.run_at[step] = total
        total = total + s.count[step]
    for t in range(0, words[LENGTH]):
        step = s.sequence[t]
        s.run[s.run_at[step]] = t
        s.run_at[step] = s.run_at[step] + 1
    for step in range(0, words[STEPS]):
        s.run_at[step] = s.run_at[step] - s.count[step]
    return 0


def _may_go(s: SequenceArrays, step: int, t: int) -> int:
    """Whether the goal seems to be kept without a run: what it makes lives on from before, what
    only it reads ends sooner."""
    words = s.words
    words[SPANS] = 0
    lowest = t
    for i in range(s.makes_at[step], s.makes_at[step + 1]):
        begin = _begin_of_life(s, s.makes[i], 2 * t + 1, 1)
        if begin < lowest:
            lowest = begin
    for i in range(s.reads_at[step], s.reads_at[step + 1]):
        _begin_of_life(s, s.reads[i], 2 * t, 0)
    words[EFFORT] = words[EFFORT] - 4
    at = t - 1
    while at > lowest:
        load = s.load[at]
        for i in range(0, words[SPANS]):
            if s.span_from[i] < at:
                load = load + s.span_bytes[i]
        if load > words[GOAL]:
            words[EFFORT] = words[EFFORT] - t + at
            return 0
        at = at - 1
    words[EFFORT] = words[EFFORT] - t + at
    return 1


def _begin_of_life(s: SequenceArrays, value: int, event: int, made: int) -> int:
    """The step after which a value lives longer (``made``), or ends, without one of its events;
    an event of which that is not so changes nothing."""
    words = s.words
    k = s.event_at[value]
    end = s.event_at[value + 1]
    while s.event[k] != event:
        k = k + 1
    needed = s.kept[value]
    if k + 1 < end:
        needed = 1 - s.event[k + 1] % 2
    if needed == made and s.size[value] > 0 and k > s.event_at[value]:
        before = s.event[k - 1] // 2
        size = s.size[value]
        if made == 0:
            size = 0 - size
        s.span_from[words[SPANS]] = before
        s.span_bytes[words[SPANS]] = size
        words[SPANS] = words[SPANS] + 1
        return before
    return event


def _taken_out(s: SequenceArrays, t: int) -> int:
    """Adopt the sequence without a run, if it keeps the goal; whether it does."""
    words = s.words
    length = words[LENGTH]
    for i in range(0, t):
        s.trial[i] = s.sequence[i]
    for i in range(t + 1, length):
        s.trial[i - 1] = s.sequence[i]
    words[TRIAL] = length - 1
    drop_idle(s)
    find_loads(s)
    if words[TRIAL_EXCESS] > 0:
        return 0
    adopt(s)
    return 1
