"""fuse: phases, updates in place, and that no kernel touches what is not its own.

Which nodes share a kernel is a table of ``tests/compiled/test_fused_programs.py``.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.binding import bind_sizes
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import FeedError, IndexOutOfRange
from staticgrad.lowering.fuse import fuse
from tests.random_graphs import random_graph
from tests.schedules import run_schedule


def test_a_gradient_and_its_update_are_one_kernel_that_writes_the_parameter():
    x = sg.input("x", ("batch", 10), "float32")
    w = sg.parameter("w", np.zeros((10, 5), "float32"))
    (dw,) = sg.grad((x @ w).sum(), [w])
    schedule = fuse(pipeline("O1")(sg.Graph(updates={w: w - 0.1 * dw})))
    assert [s.label for s in schedule.steps][-1] == "matmul, mul, sub"
    assert "param.w" in schedule.steps[-1].writes()
    assert not any(b.role == "temp" and b.size == 50 for b in schedule.buffers)


def test_forward_and_backward_never_share_a_kernel():
    x = sg.input("x", ("batch", 10), "float32")
    h = sg.tanh(x)
    (dx,) = sg.grad((h * h).sum(), [x])
    phases = [step.phase for step in fuse(pipeline("O1")(sg.Graph({"h": h, "dx": dx}))).steps]
    assert set(phases) == {0, 1}


def test_without_merging_every_node_is_a_kernel():
    x = sg.input("x", ("batch", 10), "float32")
    steps = fuse(sg.Graph(sg.exp(x * 2.0 + 1.0)), merge=False).steps
    assert [step.label for step in steps] == ["mul", "add", "exp"]


#: Outputs, and new values of two parameters, whose old values other kernels read.
UPDATES = {
    "a swap": lambda a, b: ({"a": a}, {a: b, b: a}),
    "a computed swap": lambda a, b: ({"both": a + b}, {a: 2.0 * b, b: a.T.T + 1.0}),
    "read elsewhere": lambda a, b: ({}, {a: a + a[::-1]}),
    "read by a later kernel": lambda a, b: ({"product": a @ (a * 2.0).T}, {a: a * 2.0}),
}


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("name", UPDATES)
def test_updates_read_old_values(name, merge):
    start = np.arange(6.0).reshape(2, 3)
    outputs, updates = UPDATES[name](sg.parameter("a", start), sg.parameter("b", -start))
    graph = sg.Graph(outputs, updates=updates)
    found = run_schedule(fuse(graph, merge), graph, {}, {})
    wanted, new = sg.evaluate(graph, {}, updates=True)
    for key, array in {
        **wanted,
        **{f"@{parameter}": value for parameter, value in new.items()},
    }.items():
        np.testing.assert_array_equal(found[key], array)


@pytest.mark.parametrize("merge", [True, False])
def test_an_update_computed_from_checked_indices_waits_for_the_check(merge):
    x, places = sg.input("x", (6,), "float32"), sg.input("places", (4,), "int64")
    w = sg.parameter("w", np.arange(4, dtype="float32"))
    f = sg.compile(sg.Graph({}, updates={w: w - sg.take(x, places) * 0.5}), fuse=merge)
    with pytest.raises(IndexOutOfRange):
        f.run({"x": np.arange(6), "places": [0, 1, 2, 6]})
    assert w.value.tolist() == [0, 1, 2, 3]
    f.run({"x": np.arange(6), "places": [0, 1, 2, 5]})
    assert w.value.tolist() == [0, 0.5, 1, 0.5]


def with_gradients(graph):
    """The outputs, and the gradient of the sum of their squares."""
    floats = [v for v in graph.outputs.values() if v.dtype.is_float]
    wrt = [v for v in graph.inputs if v.dtype.is_float]
    outputs = dict(graph.outputs)
    if floats and wrt:
        total = sum(
            (sg.sum(sg.astype(v * v, "float64")) for v in floats[1:]),
            sg.sum(sg.astype(floats[0] * floats[0], "float64")),
        )
        gradients = sg.grad(total, wrt, allow_disconnected=True)
        outputs |= {f"d{n}": g for n, g in enumerate(gradients)}
    return sg.Graph(outputs, inputs=graph.inputs)


@pytest.mark.slow
@settings(max_examples=16)
@given(st.integers(0, 2**32))
def test_no_kernel_touches_what_is_not_its_own_and_merging_changes_no_bit(seed):
    graph, feeds = random_graph(np.random.default_rng(seed))
    graph = with_gradients(graph)
    try:
        sizes = bind_sizes(graph, {name: np.shape(array) for name, array in feeds.items()}, None)
    except FeedError:
        return  # a size that no feed determines
    merged = run_schedule(fuse(pipeline("O1")(graph)), graph, feeds, sizes)
    plain = run_schedule(fuse(pipeline("O0")(graph), merge=False), graph, feeds, sizes)
    for name, array in merged.items():
        assert same_bytes(array, plain[name]), name


@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
def test_products_are_one_kernel_whatever_two_of_their_sizes_are_equal(transposed):
    kernels = set()
    for rows, columns, inner in ((50, 40, 9), (40, 40, 9), (50, 40, 40), (40, 50, 40), (40,) * 3):
        sides = ((rows, inner), (inner, columns))
        x, y = (
            sg.input(name, side[::-1] if turn else side, "float32")
            for name, side, turn in zip("xy", sides, transposed, strict=True)
        )
        product = (x.T if transposed[0] else x) @ (y.T if transposed[1] else y)
        kept = sg.input("kept", (rows, columns), "float32")
        bias = sg.input("bias", (columns,), "float32")
        (step,) = fuse(sg.Graph(sg.tanh(product + bias) * kept)).steps
        kernels.add(replace(step.kernel, known=()))  # but for what they rely on of their sizes
    assert len(kernels) == 1
