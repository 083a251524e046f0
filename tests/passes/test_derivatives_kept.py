"""The gradient of what a pass, a level or text gave is the gradient of the graph as it was."""

from collections import Counter

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import LEVELS, PASSES, pipeline
from staticgrad.compiler.lowering.fuse import fuse
from tests.helpers.random_programs import kinked_graph

SEEDS = range(40)


def loss_of(graph):
    """A scalar in which every element of every floating output has a weight of its own."""
    parts = []
    for value in graph.outputs.values():
        if value.dtype.is_float:
            flat = sg.tanh(value.reshape(-1))
            parts.append((flat * sg.cos(sg.arange(flat.shape[0], dtype="float64"))).sum())
    return sum(parts[1:], parts[0])


def slopes(graph, order=1):
    """The gradients by each floating leaf, to the given order, as a graph with that signature."""
    leaves = [v for v in (*graph.inputs, *graph.parameters) if v.dtype.is_float]
    loss, gradients = loss_of(graph), []
    for k in range(order):
        gradients = sg.grad(loss, leaves, allow_disconnected=True)
        parts = [
            (g * sg.sin(sg.arange(g.size, dtype="float64").reshape(g.shape) + k)).sum()
            for g in gradients
        ]
        loss = sum(parts[1:], parts[0])
    return sg.Graph({f"d{k}": g for k, g in enumerate(gradients)}, inputs=graph.inputs)


def assert_same_slopes(original, feeds, order=1, **variants):
    """Compare the gradients of a graph with those of its variants."""
    expected = sg.evaluate(slopes(original, order), feeds)
    for way, graph in variants.items():
        actual = sg.evaluate(slopes(graph, order), feeds)
        assert expected.keys() == actual.keys()
        for name, array in expected.items():
            np.testing.assert_allclose(actual[name], array, rtol=1e-9, atol=1e-9, err_msg=way)


def changed_graphs(graph, texts):
    """Return the graph after each pipeline that changes it, by the pipeline's text."""
    optimized = {text: pipeline(text)(graph) for text in texts}
    return {text: variant for text, variant in optimized.items() if variant is not graph}


@pytest.mark.thinned(8)
@pytest.mark.parametrize("seed", SEEDS)
def test_first_derivatives_stay(seed):
    graph, feeds = kinked_graph(seed)
    assert_same_slopes(
        graph,
        feeds,
        **changed_graphs(graph, [*(pass_class.name for pass_class in PASSES), *LEVELS]),
    )


@pytest.mark.thinned(4)
@pytest.mark.parametrize("seed", SEEDS[:12])
def test_second_derivatives_stay(seed):
    graph, feeds = kinked_graph(seed, ops=12)
    assert_same_slopes(graph, feeds, order=2, **changed_graphs(graph, LEVELS))
    first = slopes(graph)
    assert_same_slopes(first, feeds, **changed_graphs(first, LEVELS))


@pytest.mark.parametrize("seed", SEEDS[:12])
def test_derivatives_survive_text(seed):
    graph, feeds = kinked_graph(seed)
    optimized = pipeline("O1")(graph)
    values = {p.name: p.value for p in graph.parameters}
    read = sg.parse(str(optimized), parameters=values, constants=optimized.constants)
    assert_same_slopes(graph, feeds, read=read)


def test_the_graph_of_a_compiled_program_has_the_derivatives_of_its_formula():
    s = sg.input("s", (), "float64")
    f = sg.compile(sg.Graph({"y": s * sg.stop_gradient(s)}))
    (leaf,) = f.graph.inputs
    assert sg.evaluate(sg.grad(f.graph["y"], leaf), {"s": 3.0}) == 3.0


def test_a_number_behind_a_rule_of_its_own_is_no_number():
    """The value of ``ones`` is 1 throughout; its rule still hands a gradient on."""
    x, w = sg.input("x", (3,), "float64"), sg.input("w", (2, 3), "float64")
    graph = sg.Graph(x * ones(w))
    optimized = pipeline("O1")(graph)
    for variant in (graph, optimized):
        (_, weights) = variant.inputs
        slope = sg.grad(variant["output"].sum(), weights)
        actual = sg.evaluate(
            sg.Graph(slope, inputs=variant.inputs), {"x": [1.0, 2, 3], "w": np.ones((2, 3))}
        )
        np.testing.assert_array_equal(actual["output"], [[1.0, 2, 3], [1, 2, 3]])


@sg.custom_vjp(name="tests.ones")
def ones(w):
    return sg.ones((3,), "float64")


@ones.rule
def _(ct, out, w):
    return (sg.broadcast_to(ct, w.shape),)


def marked_loss(x, w, mark):
    hidden = sg.tanh(x @ w)
    top = mark(sg.max(hidden, -1, keepdims=True))
    raised = sg.exp(hidden - top)
    return (raised / mark(raised.sum(-1, keepdims=True)) * mark(hidden) * mark(mark(x @ w))).sum()


@sg.custom_vjp(name="tests.same")
def same(x):
    return x


@same.rule
def _(ct, out, x):
    return (ct,)


@pytest.mark.parametrize("mark", [sg.stop_gradient, same])
@pytest.mark.parametrize("level", [*LEVELS, ""])
@pytest.mark.parametrize("merge", [True, False])
def test_marks_cost_no_kernel_and_no_byte(mark, level, merge):
    """The same schedule as without them, forward and backward."""
    x, w = sg.input("x", ("batch", 64)), sg.parameter("w", np.ones((64, 32), "f4"))
    bare, with_marks = (
        fuse(pipeline(level)(sg.Graph({"loss": marked_loss(x, w, m)})), merge)
        for m in (lambda v: v, mark)
    )
    assert [step.kernel for step in with_marks.steps] == [step.kernel for step in bare.steps]
    assert Counter(b.size for b in with_marks.buffers) == Counter(b.size for b in bare.buffers)


@pytest.mark.parametrize("mark", [sg.stop_gradient, same])
def test_marks_do_not_keep_the_backward_pass_from_running_cheap_ops_again(mark):
    """Marked values need no more memory and no more kernels than unmarked ones."""
    x = sg.parameter("x", np.ones((64, 1024), "f4"))

    def schedule(m):
        hidden = m(x * 2.0 + 1.0)
        loss = (sg.sin(m(hidden)) * (hidden * x)).sum()
        return sg.compile(sg.Graph({"loss": loss}, {x: x - sg.grad(loss, x)}))

    plain, with_marks = schedule(lambda v: sg.astype(v, "float32")), schedule(mark)
    assert with_marks.peak_bytes <= plain.peak_bytes
    assert len(with_marks.schedule.steps) <= len(plain.schedule.steps)
