"""The decisions of the pool by its measurements, as source in the kernel language.

``pool_code`` says what for. The function is called before rows are run, with the address of the
first, and behind a section that was shared, with 0. ``pool`` and ``head`` are the words of the
pool's memory and of the caller's block.

Before a run, what the run before took is noted, and decided how this one goes. A trial is twelve
runs: four go the preferred way, four the other and four the preferred one; of each four the least
of the last three counts. It ends where the first two or three the other way take a quarter more.
After it come ``rest`` runs of the preferred way, or few where these take a quarter more by then
than the other way took in the trial: a program that is called less often than before finds its
workers asleep. A shared run of which others ran no more than a quarter of what is theirs does not
say that sharing is fast.
"""

from __future__ import annotations

from typing import Final

#: Names in capitals are numbers of words, or of ``pool_code``.
POLICY: Final = """
def least(a, b):
    return a if a < b else b


def most(a, b):
    return a if a > b else b


def settle(pool):
    begun = at(pool, POOL_BEGUN)
    worked = at(pool, POOL_WAITING) - begun
    waited = at(pool, POOL_OVER) - at(pool, POOL_WAITING)
    workers = at(pool, POOL_WORKERS)
    groups = at(pool, POOL_GROUPS)
    ran = at(pool, POOL_CALLER_RAN)
    patience = at(pool, POOL_PATIENCE)
    lost = 0
    if waited > patience:
        expected = waited // 2 + (workers - 2) * SPIN
        is_long = waited > worked + patience and groups >= 4 * workers
        if is_long or at(pool, POOL_WORKED) < expected:
            lost = waited
            put(pool, POOL_STALLS, at(pool, POOL_STALLS) + 1)
    helped = most(worked - waited + lost, 0)
    own = most(ran, 1)
    theirs = least(groups - ran, own * (workers - 1))
    gained = helped * theirs // own // TOLERANCE
    balance = least(at(pool, POOL_BALANCE) + gained - lost, MOST_BALANCE)
    penalty = at(pool, POOL_PENALTY)
    if balance < 0:
        put(pool, POOL_PENALTY, least(2 * penalty, MOST_PENALTY))
        put(pool, POOL_PUNISHED, at(pool, POOL_OVER) + penalty)
        balance = penalty // CREDIT
    elif balance == MOST_BALANCE:
        put(pool, POOL_PENALTY, LEAST_PENALTY)
    put(pool, POOL_BALANCE, balance)


def decide(head):
    alone = at(head, HEAD_ALONE)
    shared = at(head, HEAD_SHARED)
    rest = at(head, HEAD_REST)
    if alone > 0 and 16 * alone < 15 * shared:
        longest = LONGEST_REST // most(alone, 1)
        longest = most(least(longest, MOST_REST), LEAST_REST)
        rest = least(2 * rest, longest) if at(head, HEAD_PREFERS) != 0 else LEAST_REST
        put(head, HEAD_PREFERS, 1)
    else:
        rest = SHARED_REST if shared > 0 else LEAST_REST
        put(head, HEAD_PREFERS, 0)
    put(head, HEAD_REST, rest)


def choose(head):
    mode = at(head, HEAD_MODE)
    turn = at(head, HEAD_TURN)
    spent = at(head, HEAD_SPENT)
    way = HEAD_ALONE if mode != 0 else HEAD_SHARED
    known = at(head, way)
    best = at(head, HEAD_SHARED if mode != 0 else HEAD_ALONE)
    is_worse = best > 0 and 4 * spent > 5 * best
    lasts = at(head, HEAD_RUNS) > 3
    if mode != 0 or is_worse or at(head, HEAD_HELPED) > 0:
        noted = spent
        if lasts and turn >= 12:
            noted = (3 * known + least(spent, 2 * known)) // 4
        if lasts and turn < 12 and turn % 4 > 1:
            noted = least(spent, known)
        put(head, way, noted)
        if is_worse and 4 * known > 5 * best and turn >= 5 and turn <= 6:
            turn = 11
    put(head, HEAD_HELPED, 0)
    put(head, HEAD_SPENT, 0)
    put(head, HEAD_RUNS, at(head, HEAD_RUNS) + 1)
    turn = turn + 1
    rest = at(head, HEAD_REST)
    if best > 0 and 4 * at(head, way) > 5 * best:
        rest = least(rest, LEAST_REST)
    if turn > 12 and turn >= 12 + rest:
        turn = 0
    put(head, HEAD_TURN, turn)
    if turn == 12:
        decide(head)
    mode = at(head, HEAD_PREFERS)
    if turn >= 4 and turn < 8 and at(head, HEAD_SHARED) < SHORT:
        mode = 1 - mode
    put(head, HEAD_MODE, mode)


def outlined_policy(pool, head, row):
    if row == 0:
        settle(pool)
    elif row == at(head, HEAD_TABLE):
        choose(head)


"""
