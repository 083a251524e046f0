"""Barriers: none missing, none idle, and those of a training step."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.barriers import ByteRange, ByteSet, barriers, touched_bytes
from staticgrad.errors import IndexOutOfRange
from tests.helpers.random_programs import random_graph


def conflicts(plan, i, j):
    """Return whether two steps of a plan may not run at the same time, word by word."""
    steps = list(touched_bytes(plan))

    def touched_words(spans):
        return {(s.memory, byte) for s in spans for byte in range(s.start, s.stop, 4)}

    reads, writes = (
        [touched_words(getattr(steps[n], kind)) for n in (i, j)] for kind in ("reads", "writes")
    )
    return bool(writes[0] & (reads[1] | writes[1]) or writes[1] & reads[0])


def check_barriers(plan):
    places = barriers(plan)
    edges = [0, *places, len(plan.steps)]
    for start, stop in itertools.pairwise(edges):
        pairs = ((i, j) for i in range(start, stop) for j in range(i + 1, stop))
        assert not any(conflicts(plan, i, j) for i, j in pairs)
    for begin, at in zip([0, *places], places, strict=False):
        assert at == plan.commit or any(conflicts(plan, i, at) for i in range(begin, at))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=12))
@example([(0, 2), (4, 6), (1, 4)])  # what joins two spans keeps the end of the second
def test_a_set_of_bytes_is_one(spans):
    byte_set, expected = ByteSet(), set()
    for start, length in spans:
        byte_set.add([ByteRange("m", start, start + length)])
        expected.update(range(start, start + length))
    for start, length in itertools.product(range(45), (0, 1, 3)):
        asked = ByteRange("m", start, start + length)
        assert byte_set.meet([asked]) == (not expected.isdisjoint(range(start, start + length)))
    assert not byte_set.meet([ByteRange("other", 0, 45)])


def training_step(**options):
    x, y = sg.input("x", ("batch", 8)), sg.input("y", ("batch",), "int64")
    w = [sg.parameter(f"w{n}", np.ones((8, 8), "float32")) for n in range(3)]
    h = x
    for parameter in w:
        h = sg.tanh(h @ parameter)
    loss = sg.nn.cross_entropy(h, y)
    updates = {p: p - g for p, g in zip(w, sg.grad(loss, w), strict=True)}
    return sg.compile(sg.Graph({"loss": loss}, updates), **options)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("checkpoint", ["store_all", "recompute"])
def test_a_training_step_waits_exactly_where_bytes_meet(checkpoint):
    plan = training_step(checkpoint=checkpoint).plan(batch=16)
    assert plan.commit in barriers(plan)
    check_barriers(plan)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_all_wait_before_parameters_are_written_whatever_bytes_meet(threads):
    """An index is checked by a step that shares no byte with the one that writes."""
    table, i = sg.input("table", (64, 8)), sg.input("i", (4,), "int64")
    w = sg.parameter("w", np.ones(64, "float32"))
    graph = sg.Graph({"rows": sg.take(table, i, axis=0)}, {w: w * 2.0})
    f = sg.compile(graph, threads=threads)
    plan = f.plan()
    assert 0 < plan.commit < len(plan.steps)
    assert not any(
        conflicts(plan, first, second)
        for first in range(plan.commit)
        for second in range(plan.commit, len(plan.steps))
    )
    assert plan.commit in barriers(plan)
    feeds = {"table": np.ones((64, 8), "float32"), "i": np.array([0, 1, 2, 64])}
    with pytest.raises(IndexOutOfRange):
        f.run(feeds)
    assert (w.value == 1.0).all()


@pytest.mark.slow
@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_random_programs_wait_exactly_where_bytes_meet(seed):
    graph, _ = random_graph(np.random.default_rng(seed), named_sizes=False, max_ops=12)
    check_barriers(sg.compile(graph).plan())
