"""The decisions of the pool by its measurements, as functions of the kernel language.

``pool_code`` says what for. The function is called before rows are run, with the address of the
first, and behind a section that was shared, with 0. ``pool`` and ``head`` are the words of the
pool's memory and of the caller's block.

Before a run, what the run before took is noted, and decided how this one goes. A trial is twelve
runs: four go the preferred way, four the other and four the preferred one; of each four the least
of the last three counts. It ends where the first two or three the other way take a quarter more.
After it come the runs of the interval, the preferred way, or few where these take a quarter more by
then than the other way took in the trial: a program that is called less often than before finds its
workers asleep. A shared run of which others ran no more than a quarter of what is theirs does not
say that sharing is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staticgrad.native.constants import Head
from staticgrad.native.table.control_code import at, store_word
from staticgrad.native.table.pool_words import PoolWord

if TYPE_CHECKING:
    from staticgrad.native.language.typed import Pointer

#: Nanoseconds that a worker looks for work before it sleeps.
SPIN: Final = 200_000
#: Sharing pays for a stall where it has gained so many times as much.
TOLERANCE: Final = 2
#: Nanoseconds that are kept for stalls to come: at first, and at most, which is more than the 50 ms
#: of a second that Linux gives to other threads where those of real-time priority want all of it.
FIRST_BALANCE: Final = 20_000_000
MOST_BALANCE: Final = 64_000_000
#: Nanoseconds that the caller works alone where more is lost: for the first time, and at most.
LEAST_PENALTY: Final = 16_000_000
MOST_PENALTY: Final = 256_000_000
#: One part of so many of this time may be lost when workers are tried again.
CREDIT: Final = 32
#: Nanoseconds of waiting that are no reason for it.
PATIENCE: Final = 100_000
#: Runs that take longer are not tried alone: four of them would be felt.
SHORT: Final = 20_000_000
#: Runs between two trials: where the last one said alone, for the first time; at most; and shared.
LEAST_INTERVAL: Final = 8
MOST_INTERVAL: Final = 256
#: Nanoseconds of runs alone between two trials of the other way, from ``LEAST_INTERVAL`` runs on.
LONGEST_INTERVAL: Final = 300_000_000
SHARED_INTERVAL: Final = 500


def least(a: int, b: int) -> int:
    """Return the smaller word."""
    return a if a < b else b


def most(a: int, b: int) -> int:
    """Return the larger word."""
    return a if a > b else b


def settle(pool: Pointer) -> None:
    """Account a parallel section's gain or loss; pause the pool if too much is lost."""
    begun = at(pool, PoolWord.BEGUN)
    worked = at(pool, PoolWord.WAITING) - begun
    waited = at(pool, PoolWord.OVER) - at(pool, PoolWord.WAITING)
    workers = at(pool, PoolWord.WORKERS)
    groups = at(pool, PoolWord.GROUPS)
    ran = at(pool, PoolWord.CALLER_RAN)
    patience = at(pool, PoolWord.PATIENCE)
    lost = 0
    if waited > patience:
        expected = waited // 2 + (workers - 2) * SPIN
        is_long = waited > worked + patience and groups >= 4 * workers
        if is_long or at(pool, PoolWord.WORKED) < expected:
            lost = waited
            store_word(pool, PoolWord.STALLS, at(pool, PoolWord.STALLS) + 1)
    helped = most(worked - waited + lost, 0)
    caller_groups = most(ran, 1)
    theirs = least(groups - ran, caller_groups * (workers - 1))
    gained = helped * theirs // caller_groups // TOLERANCE
    balance = least(at(pool, PoolWord.BALANCE) + gained - lost, MOST_BALANCE)
    penalty = at(pool, PoolWord.PENALTY)
    if balance < 0:
        store_word(pool, PoolWord.PENALTY, least(2 * penalty, MOST_PENALTY))
        store_word(pool, PoolWord.PUNISHED, at(pool, PoolWord.OVER) + penalty)
        balance = penalty // CREDIT
    elif balance == MOST_BALANCE:
        store_word(pool, PoolWord.PENALTY, LEAST_PENALTY)
    store_word(pool, PoolWord.BALANCE, balance)


def decide(head: Pointer) -> None:
    """Decide from a trial whether runs use the workers, and for how long that holds."""
    alone = at(head, Head.alone)
    shared = at(head, Head.shared)
    interval = at(head, Head.interval)
    if alone > 0 and 16 * alone < 15 * shared:
        longest = LONGEST_INTERVAL // most(alone, 1)
        longest = most(least(longest, MOST_INTERVAL), LEAST_INTERVAL)
        interval = least(2 * interval, longest) if at(head, Head.prefers) != 0 else LEAST_INTERVAL
        store_word(head, Head.prefers, 1)
    else:
        interval = SHARED_INTERVAL if shared > 0 else LEAST_INTERVAL
        store_word(head, Head.prefers, 0)
    store_word(head, Head.interval, interval)


def choose(head: Pointer) -> None:
    """Choose whether the next run uses the pool's workers, from the time of the last one."""
    mode = at(head, Head.mode)
    turn = at(head, Head.turn)
    spent = at(head, Head.spent)
    way = Head.alone if mode != 0 else Head.shared
    average = at(head, way)
    best = at(head, Head.shared if mode != 0 else Head.alone)
    is_worse = best > 0 and 4 * spent > 5 * best
    lasts = at(head, Head.runs) > 3
    if mode != 0 or is_worse or at(head, Head.helped) > 0:
        noted = spent
        if lasts and turn >= 12:
            noted = (3 * average + least(spent, 2 * average)) // 4
        if lasts and turn < 12 and turn % 4 > 1:
            noted = least(spent, average)
        store_word(head, way, noted)
        if is_worse and 4 * average > 5 * best and turn >= 5 and turn <= 6:
            turn = 11
    store_word(head, Head.helped, 0)
    store_word(head, Head.spent, 0)
    store_word(head, Head.runs, at(head, Head.runs) + 1)
    turn = turn + 1
    interval = at(head, Head.interval)
    if best > 0 and 4 * at(head, way) > 5 * best:
        interval = least(interval, LEAST_INTERVAL)
    if turn > 12 and turn >= 12 + interval:
        turn = 0
    store_word(head, Head.turn, turn)
    if turn == 12:
        decide(head)
    mode = at(head, Head.prefers)
    if turn >= 4 and turn < 8 and at(head, Head.shared) < SHORT:
        mode = 1 - mode
    store_word(head, Head.mode, mode)


def outlined_policy(pool: Pointer, head: Pointer, row: int) -> None:
    """Decide before a run, whose first row is ``row``; note behind a section, with 0."""
    if row == 0:
        settle(pool)
    elif row == at(head, Head.table):
        choose(head)
