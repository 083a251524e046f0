"""Whether a program's runs are shared is decided by runs in turn: which way each of them goes."""

import ctypes
import itertools
import sys
import time

import numpy as np
import pytest

from staticgrad import native
from staticgrad.native.table import pool_code, pool_policy, rows
from tests.native.pool_points import Counted, pool_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the pool sleeps by futex")

_HELPED = native.Head._fields.index("helped")
_SPENT = native.Head._fields.index("spent")
_DECIDE = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)


def ways(costs, runs, helped=lambda run: True):
    """How each run goes, 1 alone, if shared and alone they take so long.

    Of shared ones the worker has its part, or nothing where it has not ``helped``.
    """
    code = native.kernel(pool_policy.source(pool_code.numbers(rows.WORDS)))
    decide = _DECIDE(code.address)
    head, found = np.array(native.Head(64, measures=1), np.int64), list[int]()
    for run in range(runs):
        decide(0, head.ctypes.data, 64, 0)
        mode = native.Head(*head.tolist()).mode
        head[_SPENT], head[_HELPED] = costs(run)[mode], 1 if helped(run) else -1
        found.append(mode)
    return found


def test_a_trial_whose_worker_had_no_processor_is_repeated_soon():
    """Another program has it for the first fifteen runs: shared ones take three times as long."""
    rest = pool_code.LEAST_REST
    found = ways(lambda run: (3000 if run < 15 else 600, 1000), 400)
    assert found[: 11 + rest] == [0] * 3 + [1] * 4 + [0] * 4 + [1] * rest
    assert found[11 + rest : 23 + rest] == [1] * 4 + [0] * 4 + [1] * 4  # the second trial
    assert set(found[23 + rest :]) == {0}


@pytest.mark.parametrize("alone", [1000, 10**6, 10**7])
def test_trials_become_rare_where_they_say_the_same(alone):
    """Of runs that take long they do not: the other processor may be free since then."""
    found = ways(lambda run: (alone * 3 // 2, alone), 2000)
    shared = [run for run, alone in enumerate(found) if not alone]
    trials = [b for a, b in itertools.pairwise(shared[6:]) if b - a > 2]
    gaps = np.diff(trials).tolist()
    rests = pool_code.LEAST_REST
    most = max(rests, min(pool_code.MOST_REST, pool_code.LONGEST_REST // alone))
    assert gaps == [6 + min(rests * 2**n, most) for n in range(1, 1 + len(gaps))]
    assert gaps[-1] == 6 + most
    assert len(gaps) > 4


def test_runs_that_nobody_helped_are_no_reason_to_share():
    """A worker that is woken without a processor: what the caller then runs alone takes little
    more than without it; with it, as long again."""

    def costs(run):
        return (1050 if slept(run) else 2000), 1000

    def slept(run):
        return run > 40 and run % 100 < 98

    found = ways(costs, 2000, lambda run: not slept(run))
    shared = [run for run, alone in enumerate(found) if not alone]
    assert len(shared) < 80, "shared for a whole rest"


def test_what_became_slower_shared_is_tried_alone_soon():
    """Calls that come less often find the worker asleep."""
    found = ways(lambda run: (600, 1000) if run < 200 else (1500, 1100), 400)
    assert sum(found[200:]) > 200 - 30


def test_one_slow_run_alone_ends_no_trial():
    for slow in (3, 4):
        found = ways(lambda run, slow=slow: (1000, 9000 if run == slow else 500), 12)
        assert found == [0] * 3 + [1] * 4 + [0] * 4 + [1]


def test_what_takes_long_is_always_shared():
    """Each of two workers takes longer than ``SHORT`` for its group, also where it would try."""

    def slow(worker, point):
        if point == 1:
            time.sleep(1.1e-9 * pool_code.SHORT)

    with pool_of(2, slow) as pool:
        counted = Counted(pool, 2, [2], 1, measures=1)
        counted.run(native.driver(), 6)
        assert pool.state.sections == 6
        counted.check(6)


def test_a_run_of_several_calls_is_measured_as_one():
    with pool_of(2) as pool:
        counted = Counted(pool, 2, [4, 4, 4], 1, measures=1)
        for first, last in ((0, 1), (1, 3), (0, 1), (1, 3), (0, 3)):
            counted.blocks[0, _HELPED] = 1000
            native.driver()(counted.blocks.ctypes.data, first, last)
        head = native.Head(*counted.blocks[0, : native.HEAD_WORDS].tolist())
        assert (head.runs, head.mode, head.prefers, head.alone) == (3, 0, 0, 0)
        assert head.spent > 0
        assert head.shared > 0
        counted.check(3)
