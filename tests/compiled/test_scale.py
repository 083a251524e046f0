"""Twenty thousand nodes, deep and wide: no recursion anywhere, and time close to linear."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from passes.fuse import fuse
from passes.memory import Planner
from passes.offsets import Spans, as_they_begin, place
from passes.pipelines import pipeline

Make = Callable[[int], tuple[sg.Value, sg.Value]]
FEEDS = {"x": np.linspace(-1, 1, 8, dtype=np.float32)}


def deep(nodes: int) -> tuple[sg.Value, sg.Value]:
    """A chain; views cut it into kernels, so that the schedule is long too."""
    x = sg.input("x", (8,), "float32")
    value = x
    for number in range(nodes):
        value = (lambda v: v * 0.5, sg.tanh, lambda v: v + x, lambda v: v[::-1])[number % 4](value)
    return x, value


def wide(nodes: int) -> tuple[sg.Value, sg.Value]:
    """Many readers of one input, and a tree that adds them."""
    x = sg.input("x", (8,), "float32")
    values = [sg.tanh(x * float(number % 7)) for number in range(nodes // 4)]
    while len(values) > 1:
        rest = values[-1:] if len(values) % 2 else []
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=False)] + rest
    return x, values[0]


def fan(nodes: int) -> tuple[sg.Value, sg.Value]:
    """Many independent kernels and outputs of one wide concatenation."""
    x = sg.input("x", (8,), "float32")
    return x, sg.concat(
        [sg.tanh(x * float(number % 7)).sum()[None] for number in range(nodes // 4)], 0
    )


def everything(make: Make, nodes: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Every stage once: the process time of each, and what is compared afterwards."""
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        spent[name] = time.process_time() - start
        return result

    x, value = timed("build", lambda: make(nodes))
    slope = timed("grad", lambda: sg.grad(sg.sum(value), x))
    graph = timed("graph", lambda: sg.Graph({"value": value, "slope": slope}))
    text = timed("print", lambda: str(graph))
    parsed = timed("parse", lambda: sg.parse(text))
    wanted = timed("evaluate", lambda: sg.evaluate(graph, FEEDS))
    pickled = timed("pickle", lambda: pickle.loads(pickle.dumps(graph)))
    copied = timed("copy", lambda: copy.deepcopy(graph))
    shorter = timed("passes", lambda: pipeline("O1")(graph))
    schedule = timed("fuse", lambda: fuse(shorter))
    timed("plan", lambda: Planner(schedule).plan({}))
    compiled = timed("compile", lambda: sg.compile(graph))
    found = timed("run", lambda: {k: v.copy() for k, v in compiled.run(FEEDS).items()})
    same = [sg.same_graph(other, graph) for other in (parsed, pickled, copied)]

    def delete() -> None:
        nonlocal x, value, slope, graph, parsed, pickled, copied, shorter, schedule, compiled
        del x, value, slope, graph, parsed, pickled, copied, shorter, schedule, compiled
        gc.collect()

    timed("delete", delete)
    return spent, {"same": same, "found": found, "wanted": wanted}


@pytest.mark.parametrize("make", [deep, wide, fan])
def test_no_stage_recurses(make: Make) -> None:
    """With a recursion limit that a chain of 800 nodes would break at once."""
    limit = sys.getrecursionlimit()
    depth = len(__import__("inspect").stack())
    sys.setrecursionlimit(depth + 250)
    try:
        _, results = everything(make, 800)
    finally:
        sys.setrecursionlimit(limit)
    assert results["same"] == [True] * 3
    for name, array in results["wanted"].items():
        np.testing.assert_allclose(results["found"][name], array, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("make", [deep, wide, fan])
def test_time_is_close_to_linear(make: Make) -> None:
    """Ten times the nodes take at most 13 times the process time, the best of two each."""
    everything(make, 200)  # kernels, caches, imports

    def best(nodes: int) -> dict[str, float]:
        runs = [everything(make, nodes)[0] for _ in range(2)]
        return {stage: min(run[stage] for run in runs) for stage in runs[0]}

    few, many = best(2000), best(20_000)
    late = {
        stage: round(many[stage] / few[stage], 1)
        for stage in few
        if many[stage] > 13 * max(few[stage], 0.05)
    }
    assert not late, late
    assert sum(many.values()) <= 13 * sum(few.values())


def random_spans(rng: np.random.Generator) -> tuple[Spans, list[int]]:
    count, steps = int(rng.integers(0, 60)), 40
    first = rng.integers(0, steps, count)
    last = np.minimum(first + rng.integers(0, 15, count), steps - 1)
    sizes = [64 * int(size) for size in rng.integers(0, 9, count)]
    return Spans(tuple(first.tolist()), tuple(last.tolist()), steps), sizes


def test_blocks_placed_as_they_begin_share_no_byte(rng: np.random.Generator) -> None:
    for _ in range(100):
        spans, sizes = random_spans(rng)
        assert spans.pairs == sum(map(len, spans.neighbours)) // 2
        for lives in (spans, spans.reversed()):
            offsets, height = as_they_begin(lives, sizes)
            assert height >= max(lives.load(sizes), default=0)
            assert height <= sum(sizes)
            for one, others in enumerate(spans.neighbours):
                assert 0 <= offsets[one] <= height - sizes[one]
                for two in others:
                    apart = (
                        offsets[one] + sizes[one] <= offsets[two]
                        or offsets[two] + sizes[two] <= offsets[one]
                    )
                    assert apart or not sizes[one] or not sizes[two]


def test_many_blocks_alive_together_are_placed_at_the_bound() -> None:
    """A forward pass whose values all wait for the backward pass."""
    count = 3000
    spans = Spans(tuple(range(count)), tuple(range(2 * count - 1, count - 1, -1)), 2 * count)
    sizes = [64] * count
    bound = max(spans.load(sizes))
    assert place(spans, sizes, bound)[1] == bound
