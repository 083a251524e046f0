"""Budgets move products over all steps of time into the loops that read their rows."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.memory.rows_inside import with_rows_inside

STEPS, BATCH, INPUTS, HIDDEN = 16, 4, 5, 16


def recurrent(batch=BATCH, bias=True, more=False):
    """A gated cell over time, whose input products are one matrix product, and its gradients."""
    random = np.random.default_rng(0)

    def drawn(name, *shape):
        return sg.parameter(name, random.normal(size=shape).astype("float32") * 0.3)

    x = sg.input("x", (STEPS, batch, INPUTS), "float32")
    w, u = drawn("w", INPUTS, 4 * HIDDEN), drawn("u", HIDDEN, 4 * HIDDEN)
    flat = sg.reshape(x, (STEPS * x.shape[1], INPUTS)) @ w
    if bias:
        flat = flat + drawn("b", 4 * HIDDEN)
    start = sg.reshape(x[0, :, :1] * sg.constant(np.zeros(HIDDEN, "float32")), (x.shape[1], HIDDEN))

    def cell(carried, here):
        h, c = carried
        i, f, g, o = sg.split(here + h @ u, 4, axis=1)
        c = sg.sigmoid(f) * c + sg.sigmoid(i) * sg.tanh(g)
        return (sg.sigmoid(o) * sg.tanh(c), c), None

    rows = sg.reshape(flat, (STEPS, x.shape[1], 4 * HIDDEN))
    (h, _), _ = sg.scan(cell, (start, start), rows)
    loss = (h * h).mean() + (flat.sum() if more else 0.0)
    slopes = sg.grad(loss, [w, u])
    return sg.Graph({"loss": loss, **dict(zip("wu", slopes, strict=True))})


def fed(batch=BATCH):
    shape = (STEPS, batch, INPUTS)
    return {"x": np.random.default_rng(1).normal(size=shape).astype("float32")}


@pytest.mark.parametrize("bias", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_budget_takes_the_rows_inside(bias):
    graph = recurrent(bias=bias)
    whole = sg.compile(graph, threads=1)
    budget = whole.plan().peak_bytes * 7 // 10
    small = sg.compile(graph, threads=1, memory_budget=budget)
    assert small.plan().peak_bytes <= budget
    products = [step for step in small.schedule.steps if step.label.startswith("matmul, add")]
    assert not products  # none over all steps is left
    expected, found = whole.run(fed()), small.run(fed())
    for name, array in expected.items():
        assert np.asarray(found[name]).tobytes() == np.asarray(array).tobytes(), name


def test_named_sizes_too():
    graph = recurrent(batch="n")
    small = sg.compile(graph, threads=1, memory_budget="75%")
    whole = sg.compile(graph, threads=1)
    for batch in (8, 31):
        assert small.plan(n=batch).peak_bytes < whole.plan(n=batch).peak_bytes
        expected, found = whole.run(fed(batch)), small.run(fed(batch))
        for name, array in expected.items():
            assert np.asarray(found[name]).tobytes() == np.asarray(array).tobytes(), name


def test_what_others_read_stays():
    compiled = sg.compile(recurrent(more=True), threads=1)
    assert with_rows_inside(compiled.graph) is compiled.graph
    moved = sg.compile(recurrent(), threads=1).graph
    assert with_rows_inside(moved) is not moved


def test_the_smallest_plan_needs_fewer_bytes():
    found = sg.tradeoff(recurrent(), threads=1)
    assert found.smallest.peak_bytes < 0.7 * found.everything.peak_bytes
