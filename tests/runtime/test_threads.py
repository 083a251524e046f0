"""Programs that a pool of workers runs: equal bytes for every number of threads."""

import os
import pickle
import signal
import threading
from functools import partial

import numpy as np
import pytest

import staticgrad as sg
import staticgrad.language.ir.kernels.kernel
from staticgrad.errors import BudgetInfeasible, ConfigError, IndexOutOfRange
from staticgrad.native.system import workers
from tests.helpers.processes import in_threads
from tests.helpers.random_programs import random_graph

pytestmark = pytest.mark.skipif(not workers.are_possible(), reason="no pool on this system")


@pytest.fixture
def everything_is_shared(monkeypatch):
    """Rows are cut as finely as they can be, however short they are."""
    monkeypatch.setattr(staticgrad.language.ir.kernels.kernel, "GRAIN_ELEMENTS", 16)
    with sg.options(limits="section_seconds=1e-12,waking_seconds=1e-12,group_seconds=1e-12"):
        yield


def outcome(graph, feeds, **options):
    """The bytes of two runs' results, and of the parameters behind them; these are put back."""
    old = [p.value for p in graph.parameters]
    f = sg.compile(graph, **options)
    results = [f.run(feeds) for _ in range(2)]
    bytes_ = [array.tobytes() for results in results for array in results.values()]
    for parameter, value in zip(graph.parameters, old, strict=True):
        bytes_.append(parameter.value.tobytes())
        parameter.value = value
    return bytes_


@pytest.mark.thinned(4)
@pytest.mark.parametrize("seed", range(8))
def test_random_programs_have_equal_bytes(everything_is_shared, seed):
    graph, feeds = random_graph(np.random.default_rng(100 + seed), max_ops=25)
    expected = outcome(graph, feeds, threads=1)
    assert outcome(graph, feeds, threads=2) == expected
    assert outcome(graph, feeds, threads=5) == expected


def test_the_smallest_failing_index_is_raised(everything_is_shared):
    table, rows = sg.input("table", (40, 40)), sg.input("rows", (300,), "int64")
    places = np.arange(300) % 39
    places[[77, 200, 290]] = 99, 98, 97
    feeds = {"table": np.ones((40, 40), "f4"), "rows": places}
    f = sg.compile(sg.take(table, rows, 0), threads=4)
    for _ in range(20):
        with pytest.raises(IndexOutOfRange, match="99"):
            f.run(feeds)
    assert f.run({**feeds, "rows": np.arange(300) % 39}).shape == (300, 40)


@pytest.mark.slow
def test_threads_is_an_argument_a_setting_and_part_of_a_pickle():
    x = sg.input("x", (2000, 300))
    graph = sg.Graph(sg.sort(x, axis=1))
    assert sg.compile(graph, threads=5).plan().workers == 5
    assert sg.compile(graph, threads=1).plan().workers == 1
    with sg.options(threads=3):
        f = sg.compile(graph)
        assert f.threads == f.plan().workers == 3
        by_default, asked = pickle.dumps(f), pickle.dumps(sg.compile(graph, threads=2))
    with sg.options(threads=4):
        assert pickle.loads(by_default).threads == 4  # the setting of who loads it
        assert pickle.loads(asked).threads == 2
        assert sg.compile(graph, threads="auto").threads == pickle.loads(pickle.dumps(
            sg.compile(graph, threads="auto"))).threads  # fmt: skip
    for wrong in (0, -1, 257, 1.5, "many", True, ""):
        with pytest.raises(ConfigError, match="threads"):
            sg.compile(graph, threads=wrong)


def test_a_budget_that_holds_for_one_alone():
    """A sort of 300 words needs 4,800 bytes of scratch a worker, beside what it stores."""
    x = sg.input("x", (2000, 300))
    result = sg.sort(sg.exp(x), axis=1)
    alone = sg.compile(result, threads=1).plan().peak_bytes
    f = sg.compile(result, threads=8, memory_budget=alone)
    assert f.plan().workers == 1
    assert f.plan().peak_bytes == alone
    more = sg.compile(result, threads=8, memory_budget=2 * alone + 10**6)
    assert more.plan().workers == 8
    with pytest.raises(BudgetInfeasible):
        sg.compile(result, threads=8, memory_budget=alone - 1)


@pytest.mark.slow
def test_programs_in_several_threads_run_beside_each_other():
    x = sg.input("x", (400, 300))
    programs = [sg.compile(sg.exp(x) @ (sg.tanh(x) * k).T, threads=2) for k in (1.0, 2.0, 3.0)]
    feed = {"x": np.random.default_rng(0).normal(size=(400, 300)).astype("f4")}
    expected = [f.run(feed).tobytes() for f in programs]
    wrong = []

    def go(number):
        runs = (programs[number].run(feed).tobytes() for _ in range(100))
        wrong.extend(number for result in runs if result != expected[number])

    in_threads(*(partial(go, n) for n in (0, 1, 2, 0)))
    assert not wrong


@pytest.mark.slow
def test_an_interrupt_is_seen_between_rows():
    """A step of many seconds, on two threads, ends soon after the signal; the program goes on."""
    x = sg.input("x", (700, 700))
    h = x
    for _ in range(40):
        h = sg.tanh(h @ x)
    f = sg.compile(h, threads=2)
    feed = {"x": np.eye(700, dtype="f4")}

    def ring(*_):
        raise TimeoutError

    def run_long():
        for _ in range(1000):
            f.run(feed)

    old = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TimeoutError):
            run_long()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    again = f.run(feed)
    assert again.shape == (700, 700)


@pytest.mark.slow
def test_forked_children_share_with_workers_of_their_own():
    """A child has the memory of the pool and none of its threads; others may have been running."""
    x = sg.input("x", (400, 300))
    f, beside = (sg.compile(sg.exp(x * k) @ sg.tanh(x).T, threads=2) for k in (1.0, 2.0))
    feed = {"x": np.random.default_rng(0).normal(size=(400, 300)).astype("f4")}
    expected = f.run(feed).tobytes()
    ended = threading.Event()

    def go():
        while not ended.is_set():
            beside.run(feed)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        for _ in range(5):
            assert os.waitpid(_fork_and_run(f, feed, expected), 0)[1] == 0
            assert f.run(feed).tobytes() == expected
    finally:
        ended.set()
        thread.join()


def _fork_and_run(f, feed, expected):
    child = os.fork()
    if child == 0:
        same = all(f.run(feed).tobytes() == expected for _ in range(20))
        os._exit(0 if same else 1)
    return child
