"""Changes of windows that a walk tries, over arrays of integers.

Each writes the steps that it proposes to ``window``, and the window that they replace to LO and HI;
it gives how many they are, or -1 where there is nothing to propose. The functions are such as
``staticgrad.native.words`` compiles.
"""

from __future__ import annotations

from typing import Final

from staticgrad.planning.sequence_arrays import (
    BEYOND_ALL,
    EXCESS,
    GOAL,
    HI,
    LENGTH,
    LO,
    RANDOM,
    STEPS,
    SequenceArrays,
)
from staticgrad.planning.sequence_code import find_closure, first_event

_LOOKS: Final = 32  # steps that are looked at for one that is beyond the goal, or runs again
_LONGEST: Final = 400  # steps of a window


def proposed(s: SequenceArrays) -> int:
    """A change drawn at random."""
    kind = _drawn(s, 100)
    if kind < 25:
        return _dropped(s)
    if kind < 45:
        return _without(s)
    if kind < 90:
        return _moved(s)
    return _swapped(s)


def _drawn(s: SequenceArrays, count: int) -> int:
    """A random number below ``count``."""
    words = s.words
    words[RANDOM] = words[RANDOM] * 48271 % 2147483647
    return words[RANDOM] * count // 2147483648


def _place(s: SequenceArrays) -> int:
    """A step at random; half of the time one near the bytes beyond the goal, if any are found."""
    words = s.words
    length = words[LENGTH]
    t = _drawn(s, length)
    if words[EXCESS] > 0 and _drawn(s, 2) == 0:
        for _ in range(0, _LOOKS):
            if s.load[t] > words[GOAL]:
                break
            t = _drawn(s, length)
        t = t + _drawn(s, 17) - 8
        if t < 0:
            t = 0
        if t >= length:
            t = length - 1
    return t


def _dropped(s: SequenceArrays) -> int:
    """A value dropped across the gap before one of its readers."""
    words = s.words
    t = _place(s)
    step = s.sequence[t]
    count = s.reads_at[step + 1] - s.reads_at[step]
    if count == 0:
        return -1
    value = s.reads[s.reads_at[step] + _drawn(s, count)]
    if s.size[value] == 0:
        return -1
    count = find_closure(s, value, t, BEYOND_ALL)
    if count > _LONGEST:
        return -1
    for i in range(0, count):
        s.window[i] = s.closure[i]
    words[LO] = t
    words[HI] = t
    return count


def _without(s: SequenceArrays) -> int:
    """A repeated run taken out."""
    words = s.words
    if words[LENGTH] == words[STEPS]:
        return -1
    for _ in range(0, _LOOKS):
        t = _drawn(s, words[LENGTH])
        if s.count[s.sequence[t]] > 1:
            words[LO] = t
            words[HI] = t + 1
            return 0
    return -1


def _moved(s: SequenceArrays) -> int:
    """A run, or a block of up to five, a little earlier or later, before its first reader, or
    behind what it waits for."""
    words = s.words
    length = words[LENGTH]
    lo = _place(s)
    block = 1
    if _drawn(s, 10) >= 7:
        block = 2 + _drawn(s, 4)
    if lo + block > length:
        return -1
    to = lo
    kind = _drawn(s, 4)
    if kind < 2:
        far = _drawn(s, 1024) + 1
        reach = 2 + 30 * far * far // 1048576 * far // 1024
        to = lo + _drawn(s, 2 * reach + 1) - reach
    elif kind == 2:
        to = _first_reader(s, lo + block - 1) - block
    else:
        to = _behind_inputs(s, lo)
    if to == lo or to < 0 or to + block > length:
        return -1
    return _written(s, lo, block, to)


def _written(s: SequenceArrays, lo: int, block: int, to: int) -> int:
    """The window of a block that goes to ``to``."""
    words = s.words
    begin = lo
    end = to + block
    if to < lo:
        begin = to
        end = lo + block
    count = end - begin
    if count > _LONGEST:
        return -1
    shift = block
    if to < lo:
        shift = lo - to
    for i in range(0, count):
        from_ = begin + i + shift
        if from_ >= end:
            from_ = from_ - count
        s.window[i] = s.sequence[from_]
    words[LO] = begin
    words[HI] = end
    return count


def _first_reader(s: SequenceArrays, t: int) -> int:
    """The step that first reads what step t makes."""
    step = s.sequence[t]
    found = s.words[LENGTH]
    for i in range(s.makes_at[step], s.makes_at[step + 1]):
        value = s.makes[i]
        k = first_event(s, value, 2 * t + 2)
        if k < s.event_at[value + 1] and s.event[k] // 2 < found:
            found = s.event[k] // 2
    return found


def _behind_inputs(s: SequenceArrays, t: int) -> int:
    """The place behind the last step before t that makes what step t reads, or reads it."""
    step = s.sequence[t]
    readers = _drawn(s, 2)
    found = 0
    for i in range(s.reads_at[step], s.reads_at[step + 1]):
        value = s.reads[i]
        k = first_event(s, value, 2 * t) - 1
        while k > s.event_at[value] and readers == 0 and s.event[k] % 2 == 0:
            k = k - 1
        if k >= s.event_at[value] and s.event[k] // 2 + 1 > found:
            found = s.event[k] // 2 + 1
    return found


def _swapped(s: SequenceArrays) -> int:
    """Two runs in each other's place, next to each other or a little apart."""
    words = s.words
    lo = _place(s)
    hi = lo + 1
    if _drawn(s, 10) >= 7:
        hi = lo + 2 + _drawn(s, 11)
    if hi >= words[LENGTH]:
        return -1
    for t in range(lo, hi + 1):
        s.window[t - lo] = s.sequence[t]
    s.window[0] = s.sequence[hi]
    s.window[hi - lo] = s.sequence[lo]
    words[LO] = lo
    words[HI] = hi + 1
    return hi + 1 - lo
