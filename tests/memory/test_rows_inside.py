"""Budgets move products over all steps of time into the loops that read their rows."""

from fractions import Fraction

import numpy as np
import pytest

import staticgrad as sg
from passes.loops.loop_pairs import pairs_of
from passes.loops.rows_inside import move_products_into_loops
from passes.loops.segments import run_in_segments
from passes.pipelines import pipeline
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.ops import loop_sums

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

    def cell(carried, row):
        h, c = carried
        i, f, g, o = sg.split(row + h @ u, 4, axis=1)
        c = sg.sigmoid(f) * c + sg.sigmoid(i) * sg.tanh(g)
        return (sg.sigmoid(o) * sg.tanh(c), c), None

    rows = sg.reshape(flat, (STEPS, x.shape[1], 4 * HIDDEN))
    (h, _), _ = sg.scan(cell, (start, start), rows)
    loss = (h * h).mean() + (flat.sum() if more else 0.0)
    slopes = sg.grad(loss, [w, u])
    return sg.Graph({"loss": loss, **dict(zip("wu", slopes, strict=True))})


def feeds_of(batch=BATCH):
    shape = (STEPS, batch, INPUTS)
    return {"x": np.random.default_rng(1).normal(size=shape).astype("float32")}


@pytest.mark.parametrize("bias", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_budget_takes_the_rows_inside(bias):
    graph = recurrent(bias=bias)
    unbounded = sg.compile(graph, threads=1)
    budget = unbounded.plan().peak_bytes * 7 // 10
    small = sg.compile(graph, threads=1, memory_budget=budget)
    assert small.plan().peak_bytes <= budget
    products = [step for step in small.schedule.steps if step.label.startswith("matmul, add")]
    assert not products  # none over all steps is left
    expected, actual = unbounded.run(feeds_of()), small.run(feeds_of())
    for name, array in expected.items():
        assert np.asarray(actual[name]).tobytes() == np.asarray(array).tobytes(), name


def test_named_sizes_too():
    graph = recurrent(batch="n")
    small = sg.compile(graph, threads=1, memory_budget="75%")
    unbounded = sg.compile(graph, threads=1)
    for batch in (8, 31):
        assert small.plan(n=batch).peak_bytes < unbounded.plan(n=batch).peak_bytes
        expected, actual = unbounded.run(feeds_of(batch)), small.run(feeds_of(batch))
        for name, array in expected.items():
            assert np.asarray(actual[name]).tobytes() == np.asarray(array).tobytes(), name


def test_what_others_read_stays():
    compiled = sg.compile(recurrent(more=True), threads=1)
    assert move_products_into_loops(compiled.graph) is compiled.graph
    graph = sg.compile(recurrent(), threads=1).graph
    assert move_products_into_loops(graph) is not graph


def test_the_smallest_plan_needs_fewer_bytes():
    actual = sg.tradeoff(recurrent(), threads=1)
    assert actual.smallest.peak_bytes < 0.7 * actual.everything.peak_bytes


def recurrent_layers(kind, layers):
    """Recurrent layers of the library upon each other, and the gradients of their weights."""
    random = np.random.default_rng(0)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind] * HIDDEN
    weights = [
        tuple(
            sg.parameter(f"{name}{k}", random.normal(size=shape).astype("float32") * 0.3)
            for name, shape in (
                ("w", (HIDDEN if k else INPUTS, gates)), ("u", (HIDDEN, gates)), ("b", (gates,)),
            )
        )
        for k in range(layers)
    ]  # fmt: skip
    x = sg.input("x", (STEPS, BATCH, INPUTS), "float32")
    _, states = sg.nn.stacked(getattr(sg.nn, kind), x, weights)
    last = states[-1][0] if kind == "lstm" else states[-1]
    flat = [value for layer_weights in weights for value in layer_weights]
    slopes = sg.grad((last * last).mean(), flat)
    return sg.Graph({value.node.label: slope for value, slope in zip(flat, slopes, strict=True)})


@pytest.fixture
def blocks_of_four(monkeypatch):
    monkeypatch.setattr(loop_sums, "BLOCK_ROWS", 4 * BATCH)


@pytest.mark.parametrize(("kind", "layers"), [("lstm", 2), ("gru", 2), ("rnn", 1)])
def test_gradients_of_an_iteration_are_read_by_blocks_alone(kind, layers, blocks_of_four):
    """And what the loop that runs back reads of inputs is stacked by the other loop."""
    graph = pipeline("O1")(recurrent_layers(kind, layers))
    inside = move_products_into_loops(graph)
    verify_graph(inside)
    pairs = pairs_of(inside)
    assert len(pairs) == layers
    for pair in pairs:
        op = pair.second.op
        assert len(pair.followers) == 3  # of w, u and b
        gates = [n for n, kind in enumerate(pair.second.types[op.carries :]) if kind.shape[-1] > 8]
        assert gates[0] in pair.followed
        read = {arg.node for arg in pair.second.args[op.carries : op.carries + op.slices]}
        assert read <= {pair.first, *(pair.second for pair in pairs)}
    actual = sg.evaluate(inside, feeds_of())
    for name, array in sg.evaluate(graph, feeds_of()).items():
        np.testing.assert_allclose(actual[name], array, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "layers"), [("lstm", 1), ("gru", 2)])
def test_budgets_and_threads_keep_every_bit(kind, layers, blocks_of_four):
    graph = recurrent_layers(kind, layers)
    unbounded = sg.compile(graph, threads=1)
    expected = unbounded.run(feeds_of())
    for share in (70, 55):
        budget = unbounded.plan().peak_bytes * share // 100
        small = sg.compile(graph, threads=2, memory_budget=budget)
        assert small.plan().peak_bytes <= budget
        verify_plan(small.plan())
        actual = small.run(feeds_of())
        for name, array in expected.items():
            assert np.asarray(actual[name]).tobytes() == np.asarray(array).tobytes(), name


TIMES = (3, 5, 13, 16, 18)  # none, or all, or not all of them fill blocks of four, or of three


def arrays_of_a_network(times):
    random = np.random.default_rng(times)
    shapes = {"x": (times, 2, 2), "w": (2, 3), "u": (3, 3), "b": (3,)}
    return {name: random.normal(size=shape) * 0.7 for name, shape in shapes.items()}


def slopes_by_hand(x, w, u, b):
    """The gradients of half the squares of the last state of a network, by its formulas."""
    states = [np.zeros((2, 3))]
    for row in x:
        states.append(np.tanh(row @ w + states[-1] @ u + b))
    slopes = {name: np.zeros_like(array) for name, array in zip("wub", (w, u, b), strict=True)}
    slope = states[-1]
    for k in reversed(range(len(x))):
        gate = slope * (1 - states[k + 1] ** 2)
        slopes["w"] += x[k].T @ gate
        slopes["u"] += states[k].T @ gate
        slopes["b"] += gate.sum(0)
        slope = gate @ u.T
    return slopes


@pytest.mark.thinned(1, budgeted=True)
@pytest.mark.parametrize("times", TIMES)
def test_sums_over_blocks_follow_loops_in_segments(times, monkeypatch):
    """All times fill blocks or not, with and without recomputation."""
    monkeypatch.setattr(loop_sums, "BLOCK_ROWS", 8)  # four times of two rows
    feeds = arrays_of_a_network(times)
    inputs = {name: sg.input(name, array.shape, "float64") for name, array in feeds.items()}
    _, state = sg.nn.rnn(*inputs.values())
    slopes = sg.grad(0.5 * (state * state).sum(), [inputs[name] for name in "wub"])
    graph = pipeline("O1")(sg.Graph(dict(zip("wub", slopes, strict=True))))
    inside = move_products_into_loops(graph)
    (pair,) = pairs_of(inside)
    lengths = {3: [], 5: [4, 4, 4], 13: [4, 4, 4], 16: [4, 4, 4], 18: [3, 3, 3]}[times]
    assert [follower.length for follower in pair.followers] == lengths
    assert len(pair.ends) == 2 * (times in (5, 13))
    expected = slopes_by_hand(**feeds)
    cases = ((0, 0), (1, 0), (2, 0), (1, Fraction(1, 2)))
    divided = [run_in_segments(inside, levels, Fraction(stored)) for levels, stored in cases]
    assert all((rewritten is inside) == (times < 6) for rewritten in divided)
    for graph in divided:
        verify_graph(graph)
        for name, array in sg.evaluate(graph, feeds).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-12, atol=1e-14)
