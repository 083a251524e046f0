"""The plan that is told of is the plan that ran; each is made once and kept within some bytes."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.compiling import artifacts
from staticgrad.compiler.memory.planner import Planner
from staticgrad.compiler.runtime import executor
from staticgrad.errors import VerifyError
from staticgrad.support.caches import Budget
from tests.helpers.diagonals import diagonals

N = 1000


def misaligned_array(dtype):
    raw = np.zeros(N * np.dtype(dtype).itemsize + 1, np.uint8)
    return raw[1:].view(dtype)


#: What makes a feed be copied: the input's dtype, the feed.
COPIED = {
    "strided": ("float64", np.zeros(2 * N)[::2]),
    "reversed": ("float32", np.zeros(N, "float32")[::-1]),
    "another dtype": ("float32", np.zeros(N)),
    "another kind": ("float32", np.zeros(N, "int8")),
    "byte order": ("float32", np.zeros(N, ">f4")),
    "misaligned": ("float64", misaligned_array("f8")),
    "a list": ("float32", [0.5] * N),
    "bools of other bytes": ("bool", np.full(N, 2, np.uint8).view(bool)),
    "strided bools": ("bool", np.full(2 * N, 2, np.uint8).view(bool)[::2]),
}


def program(dtype, size):
    x = sg.input("x", (size,), dtype)
    y = sg.input("y", (size,), "float32")
    return sg.Graph({"z": sg.where(x, y, 2.0) if dtype == "bool" else sg.sin(x) * 2 + y.sum()})


@pytest.mark.thinned(4)
@diagonals(2, ("why", COPIED), ("size", [N, "n"]))
def test_the_plan_that_ran_is_told_of(why, size):
    dtype, data = COPIED[why]
    f = sg.compile(program(dtype, size), debug=True)
    named = {"n": N} if size == "n" else {}
    plain, copied = f.plan(**named), f.plan(staged=["x"], **named)
    nbytes = -(-N * np.dtype(dtype).itemsize // 64) * 64
    assert copied.peak_bytes >= nbytes
    assert copied.peak_bytes > plain.peak_bytes
    y = np.ones(N, "float32")
    for feed, plan in [(data, copied), (np.zeros(N, dtype), plain), (data, copied)]:
        f.run({"x": feed, "y": y})
        assert (f.peak_bytes, f.memory.arena) == (plan.peak_bytes, plan.peak_bytes)
        assert f.highest_touched == plan.peak_bytes
        asked = {"staged": ["x"] if plan is copied else [], **named}
        assert (
            f.explain(**asked)
            .splitlines()
            .count(f"arena: {plan.peak_bytes} bytes" + (f" at n={N}" if size == "n" else ""))
            == 1
        )
        explanation = f.explanation(**asked).as_json()
        assert explanation["peak_bytes"] == plan.peak_bytes
        assert explanation["copied_feeds"] == (["x"] if plan is copied else [])
    assert f.stats.plans == 2


def test_bools_of_other_bytes_are_copied_in_the_arena_alone():
    x = sg.input("x", (1_000_000,), "bool")
    f = sg.compile(sg.Graph({"count": sg.astype(x, "int64").sum()}))
    data = np.full(1_000_000, 2, np.uint8).view(bool)
    assert f.run({"x": data})["count"] == 1_000_000
    tracemalloc.start()
    try:
        f.run({"x": data})
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert f.peak_bytes >= 1_000_000


def test_a_plan_is_made_once():
    f = sg.compile(program("float32", "n"))
    assert f.plan(n=5) is f.plan(n=5)
    feeds = {"x": np.zeros(5, "f4"), "y": np.zeros(5, "f4")}
    f.run(feeds)
    assert f.stats.plans == 1
    f.explain(n=5)
    f.run({**feeds, "x": np.zeros(5)})
    assert f.plan(n=5, staged=["x"]).peak_bytes == f.peak_bytes
    assert f.stats.plans == 2
    assert len([why for why in f.stats.reasons if why.startswith("planned for n=5")]) == 2
    fixed = sg.compile(program("float32", 5))
    fixed.run(feeds)
    assert fixed.stats.plans == 1


def training(layers):
    x = sg.input("x", ("n", 8))
    weights = [sg.parameter(f"w{k}", np.eye(8, dtype="f4")) for k in range(layers)]
    h = x
    for w in weights:
        h = sg.nn.softmax(h @ w)
    loss = h.mean()
    gradients = sg.grad(loss, weights)
    return sg.Graph(loss, {w: w - d for w, d in zip(weights, gradients, strict=True)})


def test_plans_and_tables_are_kept_within_their_bytes(monkeypatch):
    size = sg.compile(training(2)).plan(n=3).held_bytes
    monkeypatch.setattr(artifacts, "SEEN_SIZES", Budget(5 * size))
    monkeypatch.setattr(executor, "SEEN_SIZES", Budget(10 * size))
    f = sg.compile(training(2))
    for n in range(1, 30):
        f.run({"x": np.zeros((n, 8), "f4")})
        assert f._plans._plans_by_key.nbytes <= 5.5 * size
        assert f._executor._tables.nbytes <= 10.5 * size
    assert 2 <= len(f._executor._tables) <= 10
    assert f.stats.plans == 29
    f.run({"x": np.zeros((29, 8), "f4")})
    assert f.stats.plans == 29
    f.run({"x": np.zeros((1, 8), "f4")})
    assert f.stats.plans == 30


@pytest.mark.slow
def test_all_programs_share_one_budget(monkeypatch):
    """The plans used last stay, of whichever program; their bytes count as its memory."""
    budget = Budget(60 * sg.compile(training(2)).plan(n=3).held_bytes)  # other tests' are not ours
    monkeypatch.setattr(artifacts, "SEEN_SIZES", budget)
    monkeypatch.setattr(executor, "SEEN_SIZES", budget)
    programs = [sg.compile(training(2)) for _ in range(6)]
    size = programs[0].plan(n=3).held_bytes
    for n in range(1, 20):
        for f in programs:
            f.run({"x": np.zeros((n, 8), "f4")})
        assert budget.nbytes <= 62 * size
    assert all(2 * size < f.memory.seen_sizes < 10 * size for f in programs)
    for n in range(20, 60):
        programs[0].run({"x": np.zeros((n, 8), "f4")})
    assert programs[0].memory.seen_sizes > 15 * size
    assert [len(f._executor._tables) for f in programs[1:]] == [2] * 5
    assert budget.nbytes <= 62 * size
    plans_before = [f.stats.plans for f in programs]
    for f in programs:
        f.run({"x": np.zeros((19, 8), "f4")})
    assert [f.stats.plans for f in programs[1:]] == plans_before[1:]


def test_a_wrong_plan_is_refused(monkeypatch):
    def all_at_once(self, *args, **more):
        memory_plan = plan_of(self, *args, **more)
        placements = tuple(dataclasses.replace(place, offset=0) for place in memory_plan.placements)
        return dataclasses.replace(memory_plan, placements=placements)

    plan_of = Planner.plan
    monkeypatch.setattr(Planner, "plan", all_at_once)
    f = sg.compile(training(2))
    for _ in range(2):
        with pytest.raises(VerifyError, match="share bytes while both live"):
            f.run({"x": np.zeros((3, 8), "f4")})
    assert f.stats.runs == f.stats.plans == 0
