"""fuse: what shares a kernel, what never may, and that no kernel touches what is not its own."""

from __future__ import annotations

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


def labels(graph: sg.Graph, merge: bool = True) -> list[str]:
    return [step.label for step in fuse(pipeline("O1")(graph), merge).steps]


def batch_input(name: str = "x", *more: int) -> sg.Value:
    return sg.input(name, ("batch", *more), "float32")


def test_an_elementwise_chain_is_one_kernel_with_two_outputs():
    x = batch_input("x", 10)
    t = sg.sin(x)
    y = t / (1 + t)
    assert labels(sg.Graph({"y": y, "d": y * (1 - y)})) == ["sin, add, div, sub, mul"]


def test_bias_and_activation_are_the_epilogue_of_a_matmul():
    x = batch_input("x", 10)
    w = sg.parameter("w", np.zeros((10, 5), "float32"))
    b = sg.parameter("b", np.zeros(5, "float32"))
    assert labels(sg.Graph(sg.nn.relu(x @ w + b))) == ["matmul, add, relu"]


def test_a_sum_of_two_products_is_added_in_the_tiles_of_one(rng: np.random.Generator) -> None:
    """The one that has an epilogue waits for the other one, unless somebody has read it before."""
    shapes = {"x": (7, 10), "w": (10, 5), "h": (7, 4), "u": (4, 5), "b": (5,)}
    feeds = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    x, w, h, u, b = (sg.input(name, shape, "float32") for name, shape in shapes.items())
    first = x @ w + b
    rows = sg.sin(first.sum(axis=1))
    both = first + h @ u
    cell = sg.Graph(sg.tanh(both))
    assert labels(cell) == ["matmul", "matmul, add, tanh"]
    needed = sg.Graph({"rows": rows, "both": both})
    assert labels(needed) == ["matmul, add", "sum", "sin", "matmul", "add"]
    for graph in (cell, needed):
        apart = sg.compile(graph, fuse=False).run(feeds)
        assert all(same_bytes(a, apart[n]) for n, a in sg.compile(graph).run(feeds).items())
    loss = (both * both).sum()
    gradients = sg.Graph(dict(zip("lwu", (loss, *sg.grad(loss, [w, u])), strict=True)))
    apart = sg.compile(gradients, fuse=False, threads=2).run(feeds)
    found = sg.compile(gradients, threads=2).run(feeds)
    assert all(same_bytes(found[name], array) for name, array in apart.items())


def test_a_row_sum_runs_with_the_values_it_adds():
    x = batch_input("x", 10)
    e = sg.exp(x)
    assert labels(sg.Graph({"e": e, "s": e.sum(axis=1)})) == ["exp, sum"]


def test_a_column_sum_takes_in_what_only_it_reads():
    x = batch_input("x", 10)
    assert labels(sg.Graph(sg.exp(x).sum(axis=0))) == ["exp, sum"]


def test_columns_times_rows_lie_as_their_one_reader_walks(rng: np.random.Generator) -> None:
    """Rows that are added to a table are runs of memory, unless the product is a result, too."""
    feeds = {
        "x": rng.normal(size=(4, 3, 1)).astype("float32"),
        "y": rng.normal(size=(4, 1, 40)).astype("float32"),
        "i": rng.integers(0, 7, 4),
    }
    x, y, i = (sg.input(n, ("batch", *a.shape[1:]), a.dtype) for n, a in feeds.items())
    product = x @ y
    added = sg.scatter_add(sg.swapaxes(product, 1, 2), i, 7)
    for outputs, loops in (({"t": added}, 1), ({"t": added, "p": product}, 2)):
        graph = sg.Graph(outputs)
        scatter = next(s for s in fuse(graph).steps if s.kernels()[0].serial)
        assert len(scatter.kernels()[0].axes) == loops
        found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
        assert all(same_bytes(found[name], wanted[name]) for name in outputs)


@pytest.mark.parametrize("flags", [(True, False), (False, True), (True, True), (False, False)])
def test_products_that_are_only_read_transposed_are_those_of_the_factors(
    flags: tuple[bool, bool], rng: np.random.Generator
) -> None:
    """The other way round nothing is copied, unless both factors would lie across memory then."""
    shapes = {"x": (9, 64) if flags[0] else (64, 9), "y": (70, 9) if flags[1] else (9, 70)}
    feeds = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    x, y = (sg.input(name, array.shape, array.dtype) for name, array in feeds.items())
    product = (x.T if flags[0] else x) @ (y.T if flags[1] else y)
    alone, beside = sg.Graph({"t": product.T}), sg.Graph({"t": product.T, "p": product})
    assert labels(alone) == ["matmul", "copy of matmul"][: 1 if any(flags) else 2]
    assert labels(beside) == ["matmul", "copy of matmul"]
    found, wanted = (sg.compile(graph).run(feeds)["t"] for graph in (alone, beside))
    assert same_bytes(found, wanted)


def test_short_steps_of_padded_rows_are_literal():
    """Of them whole vectors are read; any other step is a gather."""
    x = batch_input("x", 60)
    (step,) = fuse(sg.Graph(sg.pad(x[:, ::2], ((1, 1), (1, 1))))).steps
    assert "]*2]" in step.kernels()[0].text


def test_movement_is_no_kernel():
    x = batch_input("x", 10)
    (step,) = fuse(sg.Graph(sg.tanh(x.T[2:5, ::-1]))).steps
    assert step.label == "tanh"


def test_a_gradient_and_its_update_are_one_kernel_that_writes_the_parameter():
    x = batch_input("x", 10)
    w = sg.parameter("w", np.zeros((10, 5), "float32"))
    (dw,) = sg.grad((x @ w).sum(), [w])
    schedule = fuse(pipeline("O1")(sg.Graph(updates={w: w - 0.1 * dw})))
    assert [s.label for s in schedule.steps][-1] == "matmul, mul, sub"
    assert "param.w" in schedule.steps[-1].writes()
    assert not any(b.role == "temp" and b.size == 50 for b in schedule.buffers)


def test_forward_and_backward_never_share_a_kernel():
    x = batch_input("x", 10)
    h = sg.tanh(x)
    (dx,) = sg.grad((h * h).sum(), [x])
    phases = [step.phase for step in fuse(pipeline("O1")(sg.Graph({"h": h, "dx": dx}))).steps]
    assert set(phases) == {0, 1}


def test_without_merging_every_node_is_a_kernel():
    x = batch_input("x", 10)
    graph = sg.Graph(sg.exp(x * 2.0 + 1.0))
    assert labels(graph, merge=False) == ["mul", "add", "exp"]


@pytest.mark.parametrize("merge", [True, False])
def test_a_swap_of_parameters_reads_the_old_values(merge):
    a = sg.parameter("a", np.arange(5.0))
    b = sg.parameter("b", -np.arange(5.0))
    graph = sg.Graph({"a": a}, updates={a: b, b: a})
    got = run_schedule(fuse(graph, merge), graph, {}, {})
    assert (got["@a"] == -np.arange(5.0)).all()
    assert (got["@b"] == np.arange(5.0)).all()
    assert (got["a"] == np.arange(5.0)).all()


@pytest.mark.parametrize("merge", [True, False])
def test_a_computed_swap_reads_the_old_values(merge):
    a = sg.parameter("a", np.arange(5.0))
    b = sg.parameter("b", -np.arange(5.0))
    graph = sg.Graph({"both": a + b}, updates={a: 2.0 * b, b: a.T + 1.0})
    got = run_schedule(fuse(graph, merge), graph, {}, {})
    assert (got["@a"] == -2 * np.arange(5.0)).all()
    assert (got["@b"] == np.arange(5.0) + 1).all()


@pytest.mark.parametrize("merge", [True, False])
def test_an_update_that_reads_its_parameter_elsewhere_is_not_in_place(merge):
    a = sg.parameter("a", np.arange(6.0))
    graph = sg.Graph(updates={a: a + a[::-1]})
    got = run_schedule(fuse(graph, merge), graph, {}, {})
    assert (got["@a"] == 5.0).all()


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


@pytest.mark.parametrize("merge", [True, False])
def test_a_parameter_that_a_later_kernel_reads_keeps_its_old_value_until_then(merge):
    a = sg.parameter("a", np.arange(6.0).reshape(2, 3))
    new = a * 2.0
    graph = sg.Graph({"product": a @ new.T}, updates={a: new})
    got = run_schedule(fuse(graph, merge), graph, {}, {})
    old = np.arange(6.0).reshape(2, 3)
    assert (got["product"] == old @ (2 * old).T).all()
    assert (got["@a"] == 2 * old).all()


@pytest.mark.parametrize("merge", [True, False])
def test_an_epilogue_may_read_an_operand_twice(merge):
    rng = np.random.default_rng(0)
    x, p = sg.input("x", (6, 8), "float64"), sg.input("p", (8, 4), "float64")
    graph = sg.Graph(sg.where(x[0, 0] > 100.0, p - x.T @ (x @ p), p))
    feeds = {"x": rng.standard_normal((6, 8)), "p": rng.standard_normal((8, 4))}
    assert (run_schedule(fuse(graph, merge), graph, feeds, {})["output"] == feeds["p"]).all()


def with_gradients(graph: sg.Graph) -> sg.Graph:
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


@pytest.mark.parametrize(
    ("shape", "axis", "over"),
    [
        ((1, 18), 1, 0), ((1, 18), 0, 0), ((18, 1), 0, 1), ((3, 18), 1, 0), ((3, 18), 0, 1),
        ((2, 3, 18), 2, (0, 1)), ((2, 3, 18), 1, (1, 2)), ((1, 1, 18), 2, (0, 1)),
        ((1, 4, 5), 1, 0), ((4, 1, 5), 2, (1, 2)), ((4, 5, 1), 0, (0, 2)), ((2, 3), 1, (0, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("merge", [True, False])
def test_positions_are_reduced_without_a_kernel_in_between(merge, shape, axis, over):
    graph = sg.Graph(sg.iota(shape, axis, "float64").sum(over))
    found = run_schedule(fuse(graph, merge), graph, {}, {})["output"]
    places = np.broadcast_to(np.indices(shape)[axis], shape).astype("float64")
    assert np.array_equal(found, places.sum(over))


@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
def test_products_are_one_kernel_whatever_two_of_their_sizes_are_equal(
    transposed: tuple[bool, bool],
):
    kernels = set()
    for rows, columns, inner in (
        (50, 40, 9),
        (40, 40, 9),
        (50, 40, 40),
        (40, 50, 40),
        (40, 40, 40),
    ):
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
