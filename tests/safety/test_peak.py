"""The planned peak is what a step really touches, by the bytes that it leaves changed.

The arena is filled with a pattern before a plain run and read after it. What ``debug=True`` says is
not asked. A buffer takes whole lines of 64 bytes; its last line may be padding, so the highest
changed byte lies in the last line of the plan, and no byte beyond the plan is changed.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.binding import bind_sizes
from staticgrad.compiler.memory.planner import Planner
from tests.helpers.random_programs import random_step
from tests.memory.test_deep_mlp import deep

BEYOND = 4096  # bytes behind the plan's that are watched, too


def changed_end(f, feeds, pattern):
    """One run over a filled arena; where its highest changed byte ends."""
    executor = f._executor
    peak = executor._prepare(executor._feeds.bind(feeds)).table.plan.peak_bytes
    executor._arena.reserve(peak + BEYOND)
    block = executor._arena.array(0, np.dtype(np.uint8), (peak + BEYOND,))
    block[:] = pattern
    f.run(feeds)
    changed = np.flatnonzero(block != pattern)
    return int(changed[-1]) + 1 if changed.size else 0


def unwritten_scratch(f):
    """Return whether the plan has scratch, which a kernel need not fill, at its very top."""
    plan = f._executor.latest
    assert plan is not None
    top = max(plan.placements, key=lambda p: p.offset + p.nbytes, default=None)
    roles = {b.name: b.role for b in plan.schedule.buffers}
    return top is not None and roles[top.buffer] == "scratch"


def check_touched(f, feeds):
    """The peak, after comparing it with what two runs leave."""
    start = {p: p.value for p in f.program_graph.parameters}
    ends = []
    for pattern in (0xA5, 0x5A):  # what a step writes may equal one of them
        for parameter, value in start.items():
            parameter.value = value
        ends.append(changed_end(f, feeds, pattern))
    peak = f.peak_bytes
    assert max(ends) <= peak, f"byte {max(ends) - 1} of an arena of {peak} was written"
    if not unwritten_scratch(f):
        assert -(-max(ends) // 64) * 64 == peak, f"{max(ends)} of {peak} bytes were touched"
    return peak


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "last", "least"),
    [(0, 8, 8), pytest.param(100, 150, 41, marks=pytest.mark.exhaustive)],
)
def test_random_programs_touch_their_peak(first, last, least):
    """Some of them under other plans as well; so many plans have an arena."""
    arenas = 0
    for seed in range(first, last):
        graph, feeds = random_step(seed)
        others = [{"checkpoint": "recompute"}, {"fuse": False}]
        for options in [{}, *others[: 2 * (seed % 6 == 0)]]:
            arenas += check_touched(sg.compile(graph, **options), feeds) > 0
    assert arenas >= least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checkpoint", "layout"), [("store_all", "plain"), ("sqrt", "staged"), ("recompute", "plain")]
)
def test_a_deep_network_touches_its_peak(checkpoint, layout):
    f = sg.compile(deep(20, "tanh", width=48), checkpoint=checkpoint)
    numbers = np.random.default_rng(0)
    for batch in (1, 33, 130):
        feeds = {name: numbers.normal(size=(batch, 48)).astype("f4") for name in "xy"}
        if layout == "staged":
            feeds = {name: np.asfortranarray(array) for name, array in feeds.items()}
        assert check_touched(f, feeds) > 0
        if layout == "plain":
            assert f.peak_bytes == f.plan(batch=batch).peak_bytes


def test_a_budget_is_kept_to_the_byte():
    """A budget at the smallest peak: no byte beyond it is touched."""
    graph, feeds = random_step(6)
    sizes = bind_sizes(graph, {name: a.shape for name, a in feeds.items()}, {})
    smallest = Planner(sg.compile(graph).schedule).front(sizes)[-1][0].peak_bytes
    f = sg.compile(graph, memory_budget=smallest)
    assert check_touched(f, feeds) <= smallest
