"""Several workers that claim groups in any order give the bytes of one, in the bytes that are
planned."""

import numpy as np
import pytest

import staticgrad as sg
import staticgrad.ir.kernels.kernel
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import IndexOutOfRange
from staticgrad.ir.schedule_text import parse_plan
from staticgrad.memory.planner import Planner
from tests.random_programs import random_graph
from tests.runtime.several_workers import check_equal_bytes, with_workers


@pytest.fixture
def small_groups(monkeypatch):
    """Groups of few iterations, so that small programs have many."""
    monkeypatch.setattr(staticgrad.ir.kernels.kernel, "GRAIN_ELEMENTS", 16)


def training_step():
    """Products, a lookup, a scatter, a sort that keeps a few, sums over rows and columns, Adam."""
    x, rows = sg.input("x", ("n", 40)), sg.input("rows", ("n",), "int64")
    rng = np.random.default_rng(0)
    table = sg.parameter("table", rng.normal(size=(9, 40)).astype("f4"))
    w = sg.parameter("w", rng.normal(size=(40, 50)).astype("f4"))
    b = sg.parameter("b", np.zeros(50, "f4"))
    h = sg.nn.layer_norm((x + sg.take(table, rows, 0)) @ w + b)
    best, _ = sg.topk(h, 3)
    loss = sg.square(sg.sort(h, axis=1)).mean() + best.sum()
    outputs = {"loss": loss, "h": sg.nn.softmax(h), "columns": h.sum(axis=0)}
    updates = sg.optim.Adam(0.1).updates(loss, [table, w, b])
    f = sg.compile(sg.Graph(outputs, updates))
    feeds = {"x": rng.normal(size=(130, 40)).astype("f4"), "rows": rng.integers(0, 9, 130)}
    return f, feeds


@pytest.mark.thinned(4)
@pytest.mark.parametrize("seed", range(12))
def test_random_programs_have_equal_bytes(seed, small_groups):
    graph, feeds = random_graph(np.random.default_rng(seed), max_ops=25)
    check_equal_bytes(sg.compile(graph), feeds, 2 + seed % 3, seed)


def test_the_smallest_failing_position_of_all_workers_is_raised(small_groups):
    table, rows = sg.input("table", (40, 40)), sg.input("rows", (300,), "int64")
    f = sg.compile({"y": sg.take(table, rows, 0), "z": sg.take(table, rows[:40] + 1, 1)})
    places = np.arange(300) % 39
    places[[77, 200, 290]] = 99, 98, 97
    feeds = {"table": np.ones((40, 40), "f4"), "rows": places}
    with pytest.raises(IndexOutOfRange) as alone:
        f.run(feeds)
    for seed in range(8):
        executor = with_workers(f, 3, seed)
        with pytest.raises(IndexOutOfRange) as together:
            executor.run(feeds)
        assert together.value.args == alone.value.args
        assert "99" in str(together.value)
        assert executor.run({**feeds, "rows": np.arange(300) % 39})["y"].shape == (300, 40)


@pytest.mark.parametrize("workers", range(1, 17))
def test_the_peak_counts_scratch_times_workers(workers):
    """300 keys of 32 bits need 300 words twice; two lookups note in two pairs of words each."""
    x, rows = sg.input("x", (7, 300)), sg.input("rows", (7,), "int64")
    f = sg.compile({"y": sg.take(sg.sort(x, axis=1), rows, 0)})
    plan = Planner(f.schedule, workers=workers).plan({})
    verify_plan(plan)
    assert parse_plan(str(plan)) == plan
    scratch = -(-2 * 300 * 8 // 64) * 64
    words = -(-workers * 16 // 64) * 64
    kept = -(-7 * 300 * 4 // 64) * 64
    assert plan.peak_bytes == words + kept + workers * scratch
    feeds = {"x": np.random.default_rng(0).normal(size=(7, 300)).astype("f4"), "rows": np.arange(7)}
    check_equal_bytes(f, feeds, workers, workers)
