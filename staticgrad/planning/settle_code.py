"""Updates that wait for runs put in before them, over arrays of integers.

The function is such as ``staticgrad.native.words`` compiles.
"""

from __future__ import annotations

from staticgrad.planning.sequence_arrays import (
    EFFORT,
    SETTLED,
    STEPS,
    TRIAL,
    VALUES,
    SequenceArrays,
)


def settle(s: SequenceArrays) -> int:
    """Put each step of the trial that overwrites what a later one reads behind the last of these,
    and with it those that read what it makes; whether that can be."""
    words = s.words
    words[EFFORT] = words[EFFORT] - words[TRIAL]
    if _find_due(s) == 0:
        return 1
    trial = s.trial
    for value in range(0, words[VALUES]):
        s.held[value] = 0
    words[SETTLED] = 0
    waiting = 0
    for t in range(0, words[TRIAL]):
        step = trial[t]
        if _must_wait(s, step, t) == 1:
            if waiting >= words[STEPS]:
                return 0
            s.waiting[waiting] = step
            waiting = waiting + 1
            _hold(s, step, 1)
        else:
            trial[words[SETTLED]] = step
            words[SETTLED] = words[SETTLED] + 1
            if waiting > 0:
                waiting = _let_go(s, waiting, t)
    if waiting > 0:
        return 0
    return 1


def _find_due(s: SequenceArrays) -> int:
    """For each step, where the last one runs that reads what it overwrites; whether one of them
    runs before that."""
    words = s.words
    for step in range(0, words[STEPS]):
        s.due[step] = -1
    early = 0
    for k in range(0, words[TRIAL]):
        t = words[TRIAL] - 1 - k
        step = s.trial[t]
        if s.due[step] > t:
            early = 1
        for i in range(s.after_at[step], s.after_at[step + 1]):
            if s.due[s.after[i]] < t:
                s.due[s.after[i]] = t
    return early


def _must_wait(s: SequenceArrays, step: int, t: int) -> int:
    """Whether a step overwrites what is still to be read, or reads what a waiting one makes."""
    if s.due[step] > t:
        return 1
    for i in range(s.reads_at[step], s.reads_at[step + 1]):
        if s.held[s.reads[i]] > 0:
            return 1
    return 0


def _hold(s: SequenceArrays, step: int, more: int) -> int:
    """Count a waiting step, or one that waits no more, with what it makes."""
    for i in range(s.makes_at[step], s.makes_at[step + 1]):
        s.held[s.makes[i]] = s.held[s.makes[i]] + more
    return 0


def _let_go(s: SequenceArrays, waiting: int, t: int) -> int:
    """Write the steps that need not wait behind step t; how many still do."""
    words = s.words
    left = 0
    for k in range(0, waiting):
        _hold(s, s.waiting[k], -1)
    for k in range(0, waiting):
        step = s.waiting[k]
        if _must_wait(s, step, t) == 1:
            s.waiting[left] = step
            left = left + 1
            _hold(s, step, 1)
        else:
            s.trial[words[SETTLED]] = step
            words[SETTLED] = words[SETTLED] + 1
    words[EFFORT] = words[EFFORT] - waiting
    return left
