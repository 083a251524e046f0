"""Sequences laid out and changed, over arrays of integers.

Functions take the arrays of one ``SequenceArrays`` and keep to what ``staticgrad.native.words``
compiles. A change is written to ``trial``, laid out there, and adopted where it helps.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from staticgrad.analysis.planning.problem import Net
from staticgrad.support.records import dataclass

SCALE: Final = 1 << 32  # what the cost of all steps counts
BEYOND_ALL: Final = 1 << 60  # the load of a sequence that no plan may have
_SIZES: Final = 1 << 20  # what the largest value counts as a gain
MOST_GROUPS: Final = 64
LONGEST: Final = 500  # steps of a closure
MOST_REFUSED: Final = 30  # gaps that may be of no use before a descent ends


@dataclass
class SequenceArrays:
    """The arrays of descents; ``reads_at`` says where the ``reads`` of each step begin."""

    reads_at: array[int]
    reads: array[int]
    makes_at: array[int]
    makes: array[int]
    over_at: array[int]
    over_taken: array[int]
    over_given: array[int]
    overwriters_at: array[int]
    overwriters: array[int]
    ends_at: array[int]
    ends: array[int]
    size: array[int]
    weight: array[int]
    is_output: array[int]
    producer: array[int]
    cost: array[int]
    workspace: array[int]
    limit: array[int]
    dear: array[int]
    sequence: array[int]
    load: array[int]
    trial: array[int]
    trial_load: array[int]
    need: array[int]
    count: array[int]
    event_at: array[int]
    event: array[int]
    fill: array[int]
    prefix: array[int]
    run_at: array[int]
    run: array[int]
    closure: array[int]
    stack: array[int]
    place: array[int]
    mark: array[int]
    used: array[int]
    due: array[int]
    waiting: array[int]
    tally: array[int]  # a count or a mark of each value, for the routine that runs
    best: array[int]
    best_value: array[int]
    best_at: array[int]
    refused_value: array[int]
    refused_at: array[int]
    span_from: array[int]
    span_bytes: array[int]
    across: array[int]
    when: array[int]
    ended: array[int]
    seen: array[int]
    touched: array[int]
    changed_values: array[int]
    moved_at: array[int]
    more: array[int]
    once: array[int]
    window: array[int]
    window_load: array[int]
    window_alive: array[int]
    walked: array[int]
    leaves: array[int]  # of each run, whether it is to be taken out
    steps: int = 0
    values: int = 0
    goal: int = 0  # bytes that the load is to keep
    effort: int = 0  # what is left of it
    length: int = 0  # of the sequence
    trial_length: int = 0  # length of the sequence that is tried
    room: int = 0  # for steps
    event_room: int = 0
    excess: int = 0  # bytes beyond the goal, added up over the steps
    trial_excess: int = 0
    peak: int = 0
    trial_peak: int = 0
    flat: int = 0  # weight of a step beyond the goal, in 1024ths
    steep: int = 0  # weight of how far it is beyond, in 1024ths
    noise: int = 0  # of gains, in 1024ths
    random: int = 0
    stamp: int = 0
    gap_count: int = 0  # gaps to drop
    refused: int = 0
    spans: int = 0
    alive: int = 0
    groups: int = 0  # of values, of each of which one gap is dropped at a time
    broken: int = 0  # whether a step of the trial ends what a later one needs
    settled: int = 0  # steps of the trial behind which updates no longer wait
    lo: int = 0  # where the window of a change begins
    hi: int = 0
    hot: int = 0  # heat to begin with, in parts of the cost of all steps as SCALE has them
    heat: int = 0
    price: int = 0
    total_cost: int = 0
    touched_count: int = 0
    moved_count: int = 0
    begin: int = 0  # the first step whose load a change changes
    idle: int = 0  # whether a change may leave runs that nobody reads
    best_length: int = 0  # length of the best sequence
    best_over: int = 0
    best_cost: int = 0
    most: int = 0  # the load that is to be kept; the goal or more
    steady: int = 0  # a price of excess that stays, or 0; no change may exceed the limit then

    @classmethod
    def of(cls, net: Net) -> SequenceArrays:
        """Allocate a search's arrays for a memory problem, with room for long sequences.

        Sequences may have eight times its steps.
        """
        steps, values = len(net.ops), len(net.sizes)
        events = sum(map(len, (*net.reads, *net.makes)))
        room, event_room = 8 * steps + 1_024, 10 * events + 4_096
        total = net.total or 1.0
        largest = max((1, *net.sizes))
        contents: dict[str, Iterable[int]] = {
            "size": net.sizes,
            "weight": (max(1, s * _SIZES // largest) if s else 0 for s in net.sizes),
            "is_output": map(int, net.is_output),
            "ended": (int(value in net.enders) for value in range(values)),
            "producer": net.producer,
            "cost": (1 + int(cost / total * SCALE) for cost in net.costs),
            "workspace": net.workspace,
            "limit": net.limits,
            "dear": range(steps),
        }
        inputs = [[pair[0] for pair in pairs] for pairs in net.overwrites]
        outputs = [[pair[1] for pair in pairs] for pairs in net.overwrites]
        for name, lists in (
            ("reads", net.reads),
            ("makes", net.makes),
            ("over", inputs),
            ("overwriters", net.overwriters),
            ("ends", net.ends),
        ):
            contents[f"{name}_at"] = accumulate(map(len, lists), initial=0)
            contents["over_taken" if name == "over" else name] = _concatenate(lists)
        contents["over_given"] = _concatenate(outputs)
        by_value = {
            "need",
            "event_at",
            "fill",
            "tally",
            "seen",
            "touched",
            "changed_values",
            "moved_at",
        }
        by_step = {"count", "run_at", "mark", "dear", "due", "waiting", "when"}
        lengths = {"event": event_room, "used": values}
        for name, kind in cls.__annotations__.items():
            if name not in contents and kind != "int":
                items = values if name in by_value else steps if name in by_step else room
                contents[name] = bytes(8 * (lengths.get(name, items) + 64))
        arrays = {
            name: array("q", items if isinstance(items, bytes) else [*items, 0])
            for name, items in contents.items()
        }
        sequence_arrays = cls(**arrays)  # type: ignore[arg-type]  # what has no default is an array
        (
            sequence_arrays.steps,
            sequence_arrays.values,
            sequence_arrays.room,
            sequence_arrays.event_room,
        ) = steps, values, room, event_room
        return sequence_arrays


def _concatenate(lists: Iterable[Sequence[int]]) -> list[int]:
    return [item for items in lists for item in items]


def lay_out(s: SequenceArrays) -> int:
    """Adopt the ``trial`` sequence without idle runs; return 1 if it meets the goal."""
    drop_idle(s)
    find_loads(s)
    adopt(s)
    if s.excess > 0:
        return 0
    return 1


def adopt(s: SequenceArrays) -> int:
    """Copy the trial sequence of steps to the current one."""
    for t in range(0, s.trial_length):
        s.sequence[t] = s.trial[t]
        s.load[t] = s.trial_load[t]
    s.length = s.trial_length
    s.excess = s.trial_excess
    s.peak = s.trial_peak
    return 0


def drop_idle(s: SequenceArrays) -> int:
    """Remove runs whose results are not read from the trial; each step keeps one run."""
    trial = s.trial
    need = s.need
    count = s.count
    for step in range(0, s.steps):
        count[step] = 0
    for value in range(0, s.values):
        need[value] = s.is_output[value]
    length = s.trial_length
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
    s.trial_length = length - to
    s.effort = s.effort - length
    return 0


def find_loads(s: SequenceArrays) -> int:
    """Compute the trial sequence's live bytes at each step, its peak and excess.

    Beyond all loads if one of its steps ends a value that a later one needs.
    """
    need = s.need
    size = s.size
    goal = s.goal
    alive = 0
    for value in range(0, s.values):
        need[value] = s.is_output[value]
        if s.is_output[value] == 1:
            alive = alive + size[value]
    s.alive = alive
    s.broken = 0
    s.across[s.trial_length] = alive
    excess = 0
    peak = 0
    length = s.trial_length
    for k in range(0, length):
        t = length - 1 - k
        step = s.trial[t]
        load = alive + s.workspace[step]
        if s.over_at[step] < s.over_at[step + 1]:
            load = load - find_saved_bytes(s, step)
        load = load + there(s, step)
        alive = s.alive
        s.trial_load[t] = load
        s.across[t] = alive
        if load > peak:
            peak = load
        if load > goal:
            excess = excess + load - goal
    if s.broken > 0:
        excess = BEYOND_ALL
        peak = BEYOND_ALL
    s.trial_excess = excess
    s.trial_peak = peak
    s.effort = s.effort - 2 * length
    return 0


def there(s: SequenceArrays, step: int) -> int:
    """Walk liveness back over a step; return its bytes beside those live after it."""
    need = s.need
    alive = s.alive
    more = 0
    for i in range(s.ends_at[step], s.ends_at[step + 1]):
        s.broken = s.broken + need[s.ends[i]]
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
    s.alive = alive
    return more


def find_saved_bytes(s: SequenceArrays, step: int) -> int:
    """Return the bytes that a step saves in place, over values that die there, each once."""
    used = s.used
    begin = s.over_at[step]
    end = s.over_at[step + 1]
    for i in range(begin, end):
        used[s.over_taken[i]] = 0
        used[s.over_given[i]] = 0
    saved = 0
    for i in range(begin, end):
        overwritten = s.over_taken[i]
        output = s.over_given[i]
        if used[overwritten] == 0 and used[output] == 0 and s.need[overwritten] == 0:
            used[overwritten] = 1
            used[output] = 1
            saved = saved + s.size[output]
    return saved


def find_events(s: SequenceArrays) -> int:
    """Find the reads and writes of each value in the sequence, by event number.

    ``2 * t`` for each step that reads it and ``2 * t + 1`` for each that makes it, and the counts
    of steps.
    """
    at = s.event_at
    fill = s.fill
    length = s.length
    for value in range(0, s.values + 1):
        at[value] = 0
    for step in range(0, s.steps):
        s.count[step] = 0
    for k in range(0, length):
        step = s.sequence[length - 1 - k]
        s.count[step] = s.count[step] + 1
        for i in range(s.reads_at[step], s.reads_at[step + 1]):
            at[s.reads[i] + 1] = at[s.reads[i] + 1] + 1
        for i in range(s.makes_at[step], s.makes_at[step + 1]):
            at[s.makes[i] + 1] = at[s.makes[i] + 1] + 1
    for value in range(0, s.values):
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
    s.effort = s.effort - 2 * length
    return 0


def first_event(s: SequenceArrays, value: int, event: int) -> int:
    """Return the index of a value's first read or write that is not before ``event``."""
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
    """Return whether a value is needed from its event at index k on, computed before or not."""
    if k < s.event_at[value + 1]:
        return 1 - s.event[k] % 2
    return s.is_output[value]


def lives(s: SequenceArrays, value: int, t: int) -> int:
    """Return whether a value is alive before step t for a step from t on, or to the end."""
    k = first_event(s, value, 2 * t)
    if k == s.event_at[value]:
        return 0
    return later(s, value, k)


def find_closure(s: SequenceArrays, value: int, t: int, most: int) -> int:
    """Find the steps that recompute a value before step t; return how many, or -1.

    They compute the missing values that it needs, too. -1 if one of them may not run again there,
    if they are too many, or if they cost more than ``most``.
    """
    stamp = s.stamp + 1
    s.stamp = stamp
    step = s.producer[value]
    if s.count[step] >= s.limit[step]:
        return -1
    closure_length = 0
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
                if left < 0 or closure_length + depth > LONGEST:
                    s.effort = s.effort - 2 * (closure_length + depth)
                    return -1
                s.mark[maker] = stamp
                depth = depth + 1
                s.stack[depth] = maker
                s.place[depth] = s.reads_at[maker]
        else:
            s.closure[closure_length] = step
            closure_length = closure_length + 1
            depth = depth - 1
    s.effort = s.effort - 4 * closure_length
    return closure_length


def insert_closure(s: SequenceArrays, t: int, count: int) -> int:
    """Insert the recomputing steps into the trial before step t; return 1 if they fit."""
    trial = s.trial
    length = s.trial_length
    if length + count > s.room:
        return 0
    for k in range(0, length - t):
        trial[length + count - 1 - k] = trial[length - 1 - k]
    for i in range(0, count):
        trial[t + i] = s.closure[i]
    s.trial_length = length + count
    return 1


def has_room(s: SequenceArrays) -> int:
    """Return 1 if the search's arrays have room for the events of the trial."""
    events = 0
    for t in range(0, s.trial_length):
        step = s.trial[t]
        events = events + s.reads_at[step + 1] - s.reads_at[step]
        events = events + s.makes_at[step + 1] - s.makes_at[step]
    if events > s.event_room:
        return 0
    return 1
