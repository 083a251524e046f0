"""Sequences laid out and changed, over arrays of integers.

Functions take the arrays of one ``SequenceArrays`` and keep to what ``staticgrad.native.words``
compiles. A change is written to ``trial``, laid out there, and adopted where it helps.
"""

from __future__ import annotations

from staticgrad.planning.sequence_arrays import (
    ALIVE,
    BEYOND_ALL,
    BROKEN,
    EFFORT,
    EVENT_ROOM,
    EXCESS,
    GOAL,
    LENGTH,
    LONGEST,
    PEAK,
    ROOM,
    STAMP,
    STEPS,
    TRIAL,
    TRIAL_EXCESS,
    TRIAL_PEAK,
    VALUES,
    SequenceArrays,
)


def lay_out(s: SequenceArrays) -> int:
    """Adopt the sequence in ``trial``, without idle runs; whether it keeps the goal."""
    drop_idle(s)
    find_loads(s)
    adopt(s)
    if s.words[EXCESS] > 0:
        return 0
    return 1


def adopt(s: SequenceArrays) -> int:
    """Make the trial the sequence."""
    words = s.words
    for t in range(0, words[TRIAL]):
        s.sequence[t] = s.trial[t]
        s.load[t] = s.trial_load[t]
    words[LENGTH] = words[TRIAL]
    words[EXCESS] = words[TRIAL_EXCESS]
    words[PEAK] = words[TRIAL_PEAK]
    return 0


def drop_idle(s: SequenceArrays) -> int:
    """Leave out of the trial runs that nobody reads; of each step one run stays."""
    words = s.words
    trial = s.trial
    need = s.need
    count = s.count
    for step in range(0, words[STEPS]):
        count[step] = 0
    for value in range(0, words[VALUES]):
        need[value] = s.kept[value]
    length = words[TRIAL]
    for t in range(0, length):
        count[trial[t]] = count[trial[t]] + 1
    to = length
    for k in range(0, length):
        step = trial[length - 1 - k]
        used = 0
        for i in range(s.makes_at[step], s.makes_at[step + 1]):
            used = used + need[s.makes[i]]
        if count[step] > 1 and used == 0:
            count[step] = count[step] - 1
        else:
            for i in range(s.makes_at[step], s.makes_at[step + 1]):
                need[s.makes[i]] = 0
            for i in range(s.reads_at[step], s.reads_at[step + 1]):
                need[s.reads[i]] = 1
            to = to - 1
            trial[to] = step
    for t in range(to, length):
        trial[t - to] = trial[t]
    words[TRIAL] = length - to
    words[EFFORT] = words[EFFORT] - length
    return 0


def find_loads(s: SequenceArrays) -> int:
    """The loads of the trial, its peak, and its excess; beyond all where a step of it ends what a
    later one needs."""
    words = s.words
    need = s.need
    size = s.size
    goal = words[GOAL]
    alive = 0
    for value in range(0, words[VALUES]):
        need[value] = s.kept[value]
        if s.kept[value] == 1:
            alive = alive + size[value]
    words[ALIVE] = alive
    words[BROKEN] = 0
    s.across[words[TRIAL]] = alive
    excess = 0
    peak = 0
    length = words[TRIAL]
    for k in range(0, length):
        t = length - 1 - k
        step = s.trial[t]
        load = alive + s.workspace[step]
        if s.over_at[step] < s.over_at[step + 1]:
            load = load - saved(s, step)
        load = load + there(s, step)
        alive = words[ALIVE]
        s.trial_load[t] = load
        s.across[t] = alive
        if load > peak:
            peak = load
        if load > goal:
            excess = excess + load - goal
    if words[BROKEN] > 0:
        excess = BEYOND_ALL
        peak = BEYOND_ALL
    words[TRIAL_EXCESS] = excess
    words[TRIAL_PEAK] = peak
    words[EFFORT] = words[EFFORT] - 2 * length
    return 0


def there(s: SequenceArrays, step: int) -> int:
    """Go back over a step; what it has beside the bytes that are alive behind it."""
    words = s.words
    need = s.need
    alive = words[ALIVE]
    more = 0
    for i in range(s.ends_at[step], s.ends_at[step + 1]):
        words[BROKEN] = words[BROKEN] + need[s.ends[i]]
    for i in range(s.makes_at[step], s.makes_at[step + 1]):
        value = s.makes[i]
        if need[value] == 1:
            alive = alive - s.size[value]
            need[value] = 0
        else:
            more = more + s.size[value]
    for i in range(s.reads_at[step], s.reads_at[step + 1]):
        value = s.reads[i]
        if need[value] == 0:
            alive = alive + s.size[value]
            more = more + s.size[value]
            need[value] = 1
    words[ALIVE] = alive
    return more


def saved(s: SequenceArrays, step: int) -> int:
    """Bytes that a step writes over what dies there: each value once."""
    used = s.used
    begin = s.over_at[step]
    end = s.over_at[step + 1]
    for i in range(begin, end):
        used[s.over_taken[i]] = 0
        used[s.over_given[i]] = 0
    saved = 0
    for i in range(begin, end):
        taken = s.over_taken[i]
        given = s.over_given[i]
        if used[taken] == 0 and used[given] == 0 and s.need[taken] == 0:
            used[taken] = 1
            used[given] = 1
            saved = saved + s.size[given]
    return saved


def find_events(s: SequenceArrays) -> int:
    """By value, ``2 * t`` for each step that reads it and ``2 * t + 1`` that makes it; counts of
    steps."""
    words = s.words
    at = s.event_at
    fill = s.fill
    length = words[LENGTH]
    for value in range(0, words[VALUES] + 1):
        at[value] = 0
    for step in range(0, words[STEPS]):
        s.count[step] = 0
    for k in range(0, length):
        step = s.sequence[length - 1 - k]
        s.count[step] = s.count[step] + 1
        for i in range(s.reads_at[step], s.reads_at[step + 1]):
            at[s.reads[i] + 1] = at[s.reads[i] + 1] + 1
        for i in range(s.makes_at[step], s.makes_at[step + 1]):
            at[s.makes[i] + 1] = at[s.makes[i] + 1] + 1
    for value in range(0, words[VALUES]):
        at[value + 1] = at[value + 1] + at[value]
        fill[value] = at[value]
    for t in range(0, length):
        step = s.sequence[t]
        for i in range(s.reads_at[step], s.reads_at[step + 1]):
            value = s.reads[i]
            s.event[fill[value]] = 2 * t
            fill[value] = fill[value] + 1
        for i in range(s.makes_at[step], s.makes_at[step + 1]):
            value = s.makes[i]
            s.event[fill[value]] = 2 * t + 1
            fill[value] = fill[value] + 1
    words[EFFORT] = words[EFFORT] - 2 * length
    return 0


def first_event(s: SequenceArrays, value: int, event: int) -> int:
    """The place of the first event of a value that is no earlier."""
    low = s.event_at[value]
    high = s.event_at[value + 1]
    while low < high:
        middle = (low + high) // 2
        if s.event[middle] < event:
            low = middle + 1
        else:
            high = middle
    return low


def later(s: SequenceArrays, value: int, k: int) -> int:
    """Whether a value is needed from its event at place k on, made before or not."""
    if k < s.event_at[value + 1]:
        return 1 - s.event[k] % 2
    return s.kept[value]


def lives(s: SequenceArrays, value: int, t: int) -> int:
    """Whether a value is held from before step t for a step from t on, or to the end."""
    k = first_event(s, value, 2 * t)
    if k == s.event_at[value]:
        return 0
    return later(s, value, k)


def find_closure(s: SequenceArrays, value: int, t: int, most: int) -> int:
    """Write the steps that make a value anew before step t, with what they need and is not there;
    how many, or -1 where one of them may not run again there, where they are too many, or where
    they cost more than ``most``."""
    words = s.words
    stamp = words[STAMP] + 1
    words[STAMP] = stamp
    step = s.producer[value]
    if s.count[step] >= s.limit[step]:
        return -1
    found = 0
    depth = 0
    left = most - s.cost[step]
    s.stack[0] = step
    s.place[0] = s.reads_at[step]
    s.mark[step] = stamp
    while depth >= 0:
        step = s.stack[depth]
        at = s.place[depth]
        if at < s.reads_at[step + 1]:
            s.place[depth] = at + 1
            needed = s.reads[at]
            maker = s.producer[needed]
            if s.mark[maker] != stamp and lives(s, needed, t) == 0:
                if s.count[maker] >= s.limit[maker]:
                    return -1
                left = left - s.cost[maker]
                if left < 0 or found + depth > LONGEST:
                    words[EFFORT] = words[EFFORT] - 2 * (found + depth)
                    return -1
                s.mark[maker] = stamp
                depth = depth + 1
                s.stack[depth] = maker
                s.place[depth] = s.reads_at[maker]
        else:
            s.closure[found] = step
            found = found + 1
            depth = depth - 1
    words[EFFORT] = words[EFFORT] - 4 * found
    return found


def insert_closure(s: SequenceArrays, t: int, count: int) -> int:
    """Put the closure into the trial before step t; whether there is room."""
    words = s.words
    trial = s.trial
    length = words[TRIAL]
    if length + count > words[ROOM]:
        return 0
    for k in range(0, length - t):
        trial[length + count - 1 - k] = trial[length - 1 - k]
    for i in range(0, count):
        trial[t + i] = s.closure[i]
    words[TRIAL] = length + count
    return 1


def has_room(s: SequenceArrays) -> int:
    """Whether there is room for the events of the trial."""
    words = s.words
    events = 0
    for t in range(0, words[TRIAL]):
        step = s.trial[t]
        events = events + s.reads_at[step + 1] - s.reads_at[step]
        events = events + s.makes_at[step + 1] - s.makes_at[step]
    if events > words[EVENT_ROOM]:
        return 0
    return 1
