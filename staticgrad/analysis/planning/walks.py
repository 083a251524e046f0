"""A walk over sequences by changes of windows, over arrays of integers.

Annealing (Kirkpatrick, Gelatt and Vecchi, Optimization by simulated annealing, 1983) drops values
across gaps, takes repeated runs out, moves runs and swaps them. Bytes beyond the goal have a price
that rises while some are beyond it and falls while none are, as in the search over sequences of
FastSA ("A fast heuristic to optimize time-space tradeoff for large models"). In a flat walk that
price stays, and no change may exceed a limit above the goal. A change is weighed
by its window alone: what stands behind it needs the same values as before, and what the window
needs from before lives longer, or less long, from its last event on.

A change writes the steps that it proposes to ``window`` and gives their number, or -1 where there
is nothing to propose; ``lo`` and ``hi`` are the window that they replace. ``settle`` orders updates
that wait for runs put in before them. All functions are such as ``staticgrad.native.words``
compiles.
"""

from __future__ import annotations

from typing import Final

from staticgrad.analysis.planning.sequences import (
    BEYOND_ALL,
    SequenceArrays,
    find_closure,
    find_events,
    find_saved_bytes,
    first_event,
    has_room,
    later,
    lay_out,
    there,
)

_LOOKS: Final = 32  # steps that are looked at for one that is beyond the goal, or runs again
_LONGEST: Final = 400  # steps of a window


def propose_change(s: SequenceArrays) -> int:
    """Draw a random change of a sequence of steps: drop, remove, move or swap."""
    kind = _drawn(s, 100)
    # of a hundred changes: 25 drops, 20 removals, 45 moves, 10 swaps
    if kind < 25:
        return _drop_value(s)
    if kind < 45:
        return _remove_run(s)
    if kind < 90:
        return _move_block(s)
    return _swap_runs(s)


def _drawn(s: SequenceArrays, count: int) -> int:
    """Return a random number below ``count``."""
    # The minimal standard generator of Park, Miller and Stockmeyer, CACM 36 (7), 1993; a product
    # is below 2**47.
    s.random = s.random * 48271 % 2147483647
    return s.random * count // 2147483648


def _draw_step(s: SequenceArrays) -> int:
    """Draw a random step; half of the time one near the bytes beyond the memory goal."""
    length = s.length
    t = _drawn(s, length)
    if s.excess > 0 and _drawn(s, 2) == 0:
        for _ in range(0, _LOOKS):
            if s.load[t] > s.goal:
                break
            t = _drawn(s, length)
        # what is dropped for a step lives around it
        t = t + _drawn(s, 17) - 8
        if t < 0:
            t = 0
        if t >= length:
            t = length - 1
    return t


def _drop_value(s: SequenceArrays) -> int:
    """Propose to drop a value before one of its readers and recompute it there."""
    t = _draw_step(s)
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
    s.lo = t
    s.hi = t
    return count


def _remove_run(s: SequenceArrays) -> int:
    """Propose to remove a repeated run of a step."""
    if s.length == s.steps:
        return -1
    for _ in range(0, _LOOKS):
        t = _drawn(s, s.length)
        if s.count[s.sequence[t]] > 1:
            s.lo = t
            s.hi = t + 1
            return 0
    return -1


def _move_block(s: SequenceArrays) -> int:
    """Propose to move up to five consecutive steps a little earlier or later.

    Or before its first reader, or behind what it waits for.
    """
    length = s.length
    lo = _draw_step(s)
    block = 1
    if _drawn(s, 10) >= 7:
        block = 2 + _drawn(s, 4)
    if lo + block > length:
        return -1
    to = lo
    kind = _drawn(s, 4)
    if kind < 2:
        far = _drawn(s, 1024) + 1
        # The cube of a uniform number: most moves are short, some go 32 steps.
        reach = 2 + 30 * far * far // 1048576 * far // 1024
        to = lo + _drawn(s, 2 * reach + 1) - reach
    elif kind == 2:
        to = _first_reader(s, lo + block - 1) - block
    else:
        to = _behind_inputs(s, lo)
    if to == lo or to < 0 or to + block > length:
        return -1
    return _write_window(s, lo, block, to)


def _write_window(s: SequenceArrays, lo: int, block: int, to: int) -> int:
    """Write the changed part of a sequence after a block of steps moved to ``to``."""
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
    s.lo = begin
    s.hi = end
    return count


def _first_reader(s: SequenceArrays, t: int) -> int:
    """Return the step of a sequence that first reads a value that step t makes."""
    step = s.sequence[t]
    first_reader = s.length
    for i in range(s.makes_at[step], s.makes_at[step + 1]):
        value = s.makes[i]
        k = first_event(s, value, 2 * t + 2)
        if k < s.event_at[value + 1] and s.event[k] // 2 < first_reader:
            first_reader = s.event[k] // 2
    return first_reader


def _behind_inputs(s: SequenceArrays, t: int) -> int:
    """Return the position after the last step that step t depends on, or shares a read with."""
    step = s.sequence[t]
    readers = _drawn(s, 2)
    place = 0
    for i in range(s.reads_at[step], s.reads_at[step + 1]):
        value = s.reads[i]
        k = first_event(s, value, 2 * t) - 1
        while k > s.event_at[value] and readers == 0 and s.event[k] % 2 == 0:
            k = k - 1
        if k >= s.event_at[value] and s.event[k] // 2 + 1 > place:
            place = s.event[k] // 2 + 1
    return place


def _swap_runs(s: SequenceArrays) -> int:
    """Propose to exchange two steps that are next to each other or a little apart."""
    lo = _draw_step(s)
    hi = lo + 1
    if _drawn(s, 10) >= 7:
        hi = lo + 2 + _drawn(s, 11)
    if hi >= s.length:
        return -1
    for t in range(lo, hi + 1):
        s.window[t - lo] = s.sequence[t]
    s.window[0] = s.sequence[hi]
    s.window[hi - lo] = s.sequence[lo]
    s.lo = lo
    s.hi = hi + 1
    return hi + 1 - lo


_ROUND: Final = 64  # tries between two looks at heat and price
_COOLER: Final = 970  # thousandths of the heat that each hundredth of the effort leaves
_DEAREST: Final = 1 << 29  # price of bytes beyond the goal, at most
_CHEAPEST: Final = 8  # and at least
_MILLION: Final = 1 << 20  # what an excess of the goal at every step counts as a share
_MOST: Final = 1 << 30  # share, at most: times the price it is below 2**63
_WIDE: Final = 1 << 40  # bytes from which on shares are counted less exactly
_LOG: Final = 710  # of two, in 1024ths


def walk(s: SequenceArrays) -> int:
    """Anneal a sequence of steps until the effort is spent; return 1 if the limit is met.

    ``walked`` has the cheapest sequence met that keeps the limit, or else the one of the fewest
    bytes beyond.
    """
    lay_out(s)
    _survey(s)
    s.price = 20_000
    if s.steady > 0:
        s.price = s.steady
    s.best_over = s.excess + 1
    s.best_cost = s.total_cost + 1
    _keep_best(s)
    s.heat = s.hot
    full_effort = s.effort
    cooled = 0
    tries = 0
    while s.effort > 0 and s.length > 1:
        tries = tries + 1
        s.effort = s.effort - 4
        if tries % _ROUND == 0:
            _set_price(s)
            _keep_best(s)
            # A hundred times in a walk, however long it is.
            while cooled < 100 and (100 - cooled) * full_effort > 100 * s.effort:
                s.heat = 1 + s.heat * _COOLER // 1000
                cooled = cooled + 1
        count = propose_change(s)
        if count >= 0 and _is_accepted(s, count) == 1:
            _apply_change(s, count)
    _keep_best(s)
    if s.best_over > 0:
        return 0
    return 1


def _set_price(s: SequenceArrays) -> int:
    """Raise the price of memory beyond the goal while there is some, else lower it.

    A steady price stays.
    """
    if s.steady > 0:
        return 0
    if s.excess > 0:
        # It rises by 8 % in a round and falls by 4 %.
        s.price = 1 + s.price * 108 // 100
        if s.price > _DEAREST:
            s.price = _DEAREST
    else:
        s.price = s.price * 96 // 100
        if s.price < _CHEAPEST:
            s.price = _CHEAPEST
    return 0


def _keep_best(s: SequenceArrays) -> int:
    """Copy the annealed sequence if it is better than the best one."""
    if _is_better(s) == 1:
        for t in range(0, s.length):
            s.walked[t] = s.sequence[t]
        s.best_length = s.length
        s.best_over = s.excess
        s.best_cost = s.total_cost
        s.effort = s.effort - s.length // 2
    return 0


def _is_better(s: SequenceArrays) -> int:
    """Return 1 if the sequence has less memory excess than the best, or equal and lower cost.

    In steady mode, return whether its cost plus the price of its excess is lower.
    """
    if s.steady > 0:
        worse = s.total_cost - s.best_cost
        if worse + _price_of(s, s.excess - s.best_over) < 0:
            return 1
        return 0
    better = s.excess < s.best_over
    if s.excess == 0 and s.best_over == 0:
        better = s.total_cost < s.best_cost
    if better:
        return 1
    return 0


def _survey(s: SequenceArrays) -> int:
    """Compute the sequence's events, total cost and the last run of each step."""
    find_events(s)
    total = 0
    for t in range(0, s.length):
        step = s.sequence[t]
        total = total + s.cost[step]
        s.when[step] = t
    s.total_cost = total
    s.effort = s.effort - s.length
    return 0


def _is_accepted(s: SequenceArrays, count: int) -> int:
    """Return 1 if annealing accepts the steps in ``window`` for those from lo to hi."""
    lo = s.lo
    hi = s.hi
    if _is_allowed(s, count) == 0:
        return 0
    _touch_all(s, count)
    dearer = 0
    excess = 0
    for t in range(lo, hi):
        dearer = dearer - s.cost[s.sequence[t]]
        if s.load[t] > s.goal:
            excess = excess - s.load[t] + s.goal
    for i in range(0, count):
        dearer = dearer + s.cost[s.window[i]]
    excess = excess + _window_excess(s, count)
    if s.broken > 0 or _find_moved(s) == 0:
        return 0
    excess = excess + _excess_before(s)
    worse = dearer + _price_of(s, excess)
    # Metropolis: a change that is worse by w is accepted with probability exp(-w / heat).
    if s.broken == 0 and (worse <= 0 or worse <= s.heat * _drawn_log(s) // 1024):
        return 1
    _forget_before(s)
    return 0


def _price_of(s: SequenceArrays, excess: int) -> int:
    """Return the price of memory excess: a mean excess of the goal costs four prices."""
    sign = 1
    if excess < 0:
        sign = -1
        excess = 0 - excess
    goal = s.goal
    if goal > _WIDE:
        goal = _WIDE
    full_excess = goal * s.steps + 1
    share = 0
    if excess < _WIDE:
        share = excess * _MILLION // full_excess
    else:
        share = excess // (1 + full_excess // _MILLION)
    if excess > 0:
        share = share + 1
    if share > _MOST:
        share = _MOST
    return sign * (share * s.price // 4)


def _drawn_log(s: SequenceArrays) -> int:
    """Return minus the logarithm of a random number in (0, 1), in 1024ths, for annealing.

    By straight lines between powers of two.
    """
    s.random = s.random * 48271 % 2147483647
    left = s.random
    logarithm = 0
    # The doublings up to 2**30 are the whole part of the binary logarithm.
    while left < _MOST:
        left = left * 2
        logarithm = logarithm + _LOG
    return logarithm + _LOG - (left - _MOST) * _LOG // _MOST


def _is_allowed(s: SequenceArrays, count: int) -> int:
    """Return 1 if no step of the changed window reads an overwritten value."""
    for i in range(0, count):
        step = s.window[i]
        for k in range(s.overwriters_at[step], s.overwriters_at[step + 1]):
            writer = s.overwriters[k]
            if s.when[writer] < s.lo:
                return 0
            if s.when[writer] < s.hi:
                for j in range(0, i):
                    if s.window[j] == writer:
                        return 0
    return 1


def _touch_all(s: SequenceArrays, count: int) -> int:
    """Mark each value that the old or new window touches, with its need after the window."""
    s.stamp = s.stamp + 1
    s.touched_count = 0
    for t in range(s.lo, s.hi):
        _touch(s, s.sequence[t])
    if s.hi - s.lo != count:
        for i in range(0, count):
            _touch(s, s.window[i])
    s.effort = s.effort - 4 * s.touched_count
    return 0


def _touch(s: SequenceArrays, step: int) -> int:
    """Mark the values that a step reads, makes or ends as touched by a change."""
    for i in range(s.reads_at[step], s.reads_at[step + 1]):
        _touch_value(s, s.reads[i])
    for i in range(s.makes_at[step], s.makes_at[step + 1]):
        _touch_value(s, s.makes[i])
    for i in range(s.ends_at[step], s.ends_at[step + 1]):
        _touch_value(s, s.ends[i])
    return 0


def _touch_value(s: SequenceArrays, value: int) -> int:
    if s.seen[value] != s.stamp:
        s.seen[value] = s.stamp
        s.touched[s.touched_count] = value
        s.touched_count = s.touched_count + 1
        s.need[value] = later(s, value, first_event(s, value, 2 * s.hi))
    return 0


def _window_excess(s: SequenceArrays, count: int) -> int:
    """Compute the live bytes and the excess of the changed window, from its end back."""
    s.broken = 0
    s.idle = 0
    alive = s.across[s.hi]
    s.alive = alive
    excess = 0
    for k in range(0, count):
        i = count - 1 - k
        step = s.window[i]
        load = alive + s.workspace[step]
        if s.over_at[step] < s.over_at[step + 1]:
            load = load - find_saved_bytes(s, step)
        used = 0
        for m in range(s.makes_at[step], s.makes_at[step + 1]):
            used = used + s.need[s.makes[m]]
        if used == 0 and s.count[step] > 1:
            s.idle = 1
        load = load + there(s, step)
        alive = s.alive
        s.window_load[i] = load
        s.window_alive[i] = alive
        if load > s.most and s.steady > 0:
            s.broken = s.broken + 1
        if load > s.goal:
            excess = excess + load - s.goal
    s.effort = s.effort - 3 * count
    return excess


def _find_moved(s: SequenceArrays) -> int:
    """Find values whose live ranges before the window change; return 1 if its inputs exist.

    ``more`` are the bytes that come at a step and stay, ``once`` those of a step alone.
    """
    s.moved_count = 0
    for i in range(0, s.touched_count):
        value = s.touched[i]
        k = first_event(s, value, 2 * s.lo)
        needs = s.need[value]
        if k == s.event_at[value]:
            if needs == 1:
                return 0
        elif needs != later(s, value, k):
            at = s.event[k - 1] // 2
            if needs == 1 and _is_ended(s, value, s.event[k - 1]) == 1:
                return 0
            if needs == 0 and s.event[k - 1] % 2 == 1 and s.count[s.producer[value]] > 1:
                s.idle = 1
            s.changed_values[s.moved_count] = value
            s.moved_at[s.moved_count] = at
            s.moved_count = s.moved_count + 1
    return 1


def _is_ended(s: SequenceArrays, value: int, event: int) -> int:
    """Return 1 if a step between a value's event and the window ends the value."""
    if s.ended[value] == 0:
        return 0
    for t in range(event // 2 + event % 2, s.lo):
        step = s.sequence[t]
        for i in range(s.ends_at[step], s.ends_at[step + 1]):
            if s.ends[i] == value:
                return 1
    return 0


def _excess_before(s: SequenceArrays) -> int:
    """Return how a change alters the memory excess before its window.

    ``more`` and ``once`` are set.
    """
    lo = s.lo
    goal = s.goal
    begin = lo
    for i in range(0, s.moved_count):
        value = s.changed_values[i]
        at = s.moved_at[i]
        size = s.size[value]
        if s.need[value] == 0:
            size = 0 - size
        s.more[at + 1] = s.more[at + 1] + size
        if at < begin:
            begin = at
    for i in range(0, s.moved_count):
        at = s.moved_at[i]
        step = s.sequence[at]
        if s.over_at[step] < s.over_at[step + 1]:
            s.once[at] = _saved_before(s, i)
    s.begin = begin
    excess = 0
    running = 0
    for t in range(begin, lo):
        running = running + s.more[t]
        old = s.load[t]
        new = old + running + s.once[t]
        if old > goal:
            excess = excess - old + goal
        if new > goal:
            excess = excess + new - goal
        if new > s.most and new > old and s.steady > 0:
            s.broken = s.broken + 1
    s.effort = s.effort - lo + begin - 4 * s.moved_count
    return excess


def _saved_before(s: SequenceArrays, i: int) -> int:
    """Return how a change alters what a step before the window saves in place.

    How much its load rises because a value that it overwrites no longer dies there (negative if it
    now does).
    """
    at = s.moved_at[i]
    step = s.sequence[at]
    for j in range(s.over_at[step], s.over_at[step + 1]):
        value = s.over_taken[j]
        s.tally[value] = s.need[value]
        s.need[value] = later(s, value, first_event(s, value, 2 * at + 2))
    saved_before = find_saved_bytes(s, step)
    for j in range(0, s.moved_count):
        if s.moved_at[j] == at:
            s.need[s.changed_values[j]] = 1 - later(
                s, s.changed_values[j], first_event(s, s.changed_values[j], 2 * s.lo)
            )
    saved_after = find_saved_bytes(s, step)
    for j in range(s.over_at[step], s.over_at[step + 1]):
        s.need[s.over_taken[j]] = s.tally[s.over_taken[j]]
    return saved_before - saved_after


def _forget_before(s: SequenceArrays) -> int:
    """Clear the effects before its window of a change that is not taken."""
    for i in range(0, s.moved_count):
        s.more[s.moved_at[i] + 1] = 0
        s.once[s.moved_at[i]] = 0
    return 0


def _apply_change(s: SequenceArrays, count: int) -> int:
    """Apply the change of a sequence that annealing accepted."""
    if s.hi - s.lo == count and s.idle == 0:
        return _take_in_place(s)
    _forget_before(s)
    lo = s.lo
    length = s.length
    if lo + count + length - s.hi > s.room:
        return 0
    for t in range(0, lo):
        s.trial[t] = s.sequence[t]
    for i in range(0, count):
        s.trial[lo + i] = s.window[i]
    for t in range(s.hi, length):
        s.trial[lo + count + t - s.hi] = s.sequence[t]
    s.trial_length = lo + count + length - s.hi
    if has_room(s) == 1:
        lay_out(s)
        _survey(s)
    return 0


def _take_in_place(s: SequenceArrays) -> int:
    """Apply an accepted change that keeps all runs, with the loads found before."""
    lo = s.lo
    hi = s.hi
    goal = s.goal
    for i in range(0, s.touched_count):
        value = s.touched[i]
        s.fill[value] = first_event(s, value, 2 * lo)
    excess = s.excess
    running = 0
    for t in range(s.begin, lo):
        running = running + s.more[t]
        old = s.load[t]
        new = old + running + s.once[t]
        s.load[t] = new
        s.across[t] = s.across[t] + running
        excess = excess + _beyond(new, goal) - _beyond(old, goal)
    _forget_before(s)
    for t in range(lo, hi):
        step = s.window[t - lo]
        excess = excess + _beyond(s.window_load[t - lo], goal) - _beyond(s.load[t], goal)
        s.load[t] = s.window_load[t - lo]
        s.across[t] = s.window_alive[t - lo]
        s.sequence[t] = step
        s.when[step] = t
        for i in range(s.reads_at[step], s.reads_at[step + 1]):
            s.event[s.fill[s.reads[i]]] = 2 * t
            s.fill[s.reads[i]] = s.fill[s.reads[i]] + 1
        for i in range(s.makes_at[step], s.makes_at[step + 1]):
            s.event[s.fill[s.makes[i]]] = 2 * t + 1
            s.fill[s.makes[i]] = s.fill[s.makes[i]] + 1
    s.excess = excess
    s.effort = s.effort - lo + s.begin - 8 * (hi - lo)
    return 0


def _beyond(load: int, goal: int) -> int:
    if load > goal:
        return load - goal
    return 0


def settle(s: SequenceArrays) -> int:
    """Move steps that overwrite a value behind its last reader; return 1 if possible.

    The readers of its results are moved, too.
    """
    s.effort = s.effort - s.trial_length
    if _find_due(s) == 0:
        return 1
    trial = s.trial
    for value in range(0, s.values):
        s.tally[value] = 0
    s.settled = 0
    waiting = 0
    for t in range(0, s.trial_length):
        step = trial[t]
        if _must_wait(s, step, t) == 1:
            if waiting >= s.steps:
                return 0
            s.waiting[waiting] = step
            waiting = waiting + 1
            _count_made(s, step, 1)
        else:
            trial[s.settled] = step
            s.settled = s.settled + 1
            if waiting > 0:
                waiting = _let_go(s, waiting, t)
    if waiting > 0:
        return 0
    return 1


def _find_due(s: SequenceArrays) -> int:
    """Find for each overwriting step the last reader that it must follow.

    Return 1 if a step runs before its due position.
    """
    for step in range(0, s.steps):
        s.due[step] = -1
    early = 0
    for k in range(0, s.trial_length):
        t = s.trial_length - 1 - k
        step = s.trial[t]
        if s.due[step] > t:
            early = 1
        for i in range(s.overwriters_at[step], s.overwriters_at[step + 1]):
            if s.due[s.overwriters[i]] < t:
                s.due[s.overwriters[i]] = t
    return early


def _must_wait(s: SequenceArrays, step: int, t: int) -> int:
    """Return 1 if a step overwrites a value still to be read, or reads one not computed."""
    if s.due[step] > t:
        return 1
    for i in range(s.reads_at[step], s.reads_at[step + 1]):
        if s.tally[s.reads[i]] > 0:
            return 1
    return 0


def _count_made(s: SequenceArrays, step: int, more: int) -> int:
    """Add ``more`` to the counts of the values that a deferred step makes."""
    for i in range(s.makes_at[step], s.makes_at[step + 1]):
        s.tally[s.makes[i]] = s.tally[s.makes[i]] + more
    return 0


def _let_go(s: SequenceArrays, waiting: int, t: int) -> int:
    """Write the deferred steps that may run after step t; return how many remain."""
    left = 0
    for k in range(0, waiting):
        _count_made(s, s.waiting[k], -1)
    for k in range(0, waiting):
        step = s.waiting[k]
        if _must_wait(s, step, t) == 1:
            s.waiting[left] = step
            left = left + 1
            _count_made(s, step, 1)
        else:
            s.trial[s.settled] = step
            s.settled = s.settled + 1
    s.effort = s.effort - waiting
    return left
