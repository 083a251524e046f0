"""A late pass that saves memory traffic is kept only where kernels take no longer with it."""

import numpy as np
import pytest

import staticgrad as sg
from passes.late.base import PricedPass, choose_cheaper, late_pass
from passes.pipelines import LATE, pipeline
from staticgrad.analysis.changes import changed_parts
from staticgrad.analysis.cost import Rates, compare_seconds, seconds_at_scales
from staticgrad.analysis.evaluate import evaluate
from staticgrad.compiler.lowering.fuse import fuse, lower_groups
from staticgrad.language.ops.contract import MatMul

BYTES = Rates(1e30, 1e30, 1e30, (1.0,) * 3, 0.0, 0.0, launch=0.0, near_launch=0.0)


def laplacian(u):
    padded, inner = sg.pad(u, 1), slice(1, -1)
    sums = -2.0 * u.ndim * u
    for axis in range(u.ndim):
        for part in (slice(None, -2), slice(2, None)):
            sums = sums + padded[tuple(part if k == axis else inner for k in range(u.ndim))]
    return sums


def laplacian_by_hand(u):
    return (
        sum(np.roll(np.pad(u, 1), s, k) for k in range(u.ndim) for s in (1, -1))[
            (slice(1, -1),) * u.ndim
        ]
        - 2 * u.ndim * u
    )


def steps(u):
    for _ in range(2):
        u = u + 0.1 * laplacian(u)
    return u


def report_of(program, name):
    (report,) = [r for r in program.explanation().late if r.name == name]
    return report


def of_pads(value):
    return report_of(sg.compile(value), "slices-of-pads")


@pytest.mark.parametrize("shape", [(1 << 16,), (256, 256), (32, 32, 32)])
@pytest.mark.parametrize("loss", [lambda y: (y * y).sum(), lambda y: sg.tanh(y).sum()])
def test_gradients_of_stencils_read_their_pads(shape, loss):
    u = sg.input("u", shape, "float32")
    graph = sg.Graph({"g": sg.grad(loss(laplacian(u)), u)})
    alone = ["recomputed-stages"]  # one kernel behind it, whose price the pass would get
    report = report_of(sg.compile(graph, disable=alone), "slices-of-pads")
    assert not report.changed
    assert report.note.startswith("left out: predicted ")
    always = sg.compile(graph, disable=["prices", *alone])
    priced = sg.compile(graph, disable=alone)
    assert report_of(always, "slices-of-pads").changed
    if u.ndim > 1:
        assert priced.plan().peak_bytes < always.plan().peak_bytes
    feed = {"u": np.random.default_rng(0).normal(size=shape).astype("float32")}
    np.testing.assert_array_equal(priced.run(feed)["g"], always.run(feed)["g"])


@pytest.mark.parametrize("shape", [(1 << 16,), (256, 256), (32, 32, 32)])
def test_a_stencil_stores_no_pad(shape):
    u = sg.input("u", shape, "float64")
    program = sg.compile(laplacian(u))
    report = report_of(program, "slices-of-pads")
    assert report.changed
    assert report.note.startswith("kept: predicted ")
    assert len(program.kernels) == 1
    array = np.random.default_rng(1).normal(size=shape)
    np.testing.assert_allclose(program.run({"u": array}), laplacian_by_hand(array), atol=1e-12)


@pytest.mark.parametrize(("width", "reads_parts"), [(3, False), (2, True)])
def test_sums_of_many_slices_read_a_pad_in_memory(width, reads_parts):
    """Nine slices of a 3 x 3 window test more borders than a stored pad costs; four do not."""
    u = sg.input("u", (200, 150), "float64")
    weights = np.arange(1.0, 1.0 + width * width).reshape(width, width)

    def blur(xp, x):
        padded = xp.pad(x * 2.0, 2)
        return sum(
            padded[i : i + 200, j : j + 150] * weights[i, j]
            for i in range(width)
            for j in range(width)
        )

    compiled = sg.compile(blur(sg, u))
    assert report_of(compiled, "slices-of-pads").changed == reads_parts
    values = np.random.default_rng(0).normal(size=(200, 150))
    np.testing.assert_allclose(compiled.run({"u": values}), blur(np, values), rtol=1e-12)


@pytest.mark.parametrize("distance", [3, 80])
def test_formulas_of_any_length_stand_between_a_pad_and_its_slices(distance):
    u = sg.input("u", (1 << 16,), "float64")

    def program(xp, x):
        padded = xp.pad(x, 1)
        for k in range(distance):
            padded = padded * 0.99 + 0.001 * k
        return padded[2:]

    compiled = sg.compile(program(sg, u))
    values = np.random.default_rng(0).normal(size=1 << 16)
    np.testing.assert_allclose(compiled.run({"u": values}), program(np, values), rtol=1e-12)


def test_explain_has_both_prices():
    u = sg.input("u", (256, 256), "float32")
    text = str(sg.compile(sg.grad(sg.sin(laplacian(u)).sum(), u)).explanation())
    line = next(line for line in text.splitlines() if "left out: predicted" in line)
    with_pass, without = (float(word) for word in line.split() if word[0].isdigit())
    assert with_pass > without


def test_named_sizes_are_priced_at_several_values():
    u = sg.input("u", ("n", 300), "float32")
    padded = sg.pad(u, ((0, 0), (1, 1)))
    difference = padded[:, 2:] - 2.0 * u + padded[:, :-2]
    for value in (difference, sg.grad(sg.tanh(difference).sum(), u)):
        assert of_pads(value).note.count(" / ") == 4
    x = sg.input("x", (sg.dim("k", hint=800, max=4000, multiple_of=8),), "float32")
    seconds = seconds_at_scales(fuse(sg.Graph({"y": -x})).steps, BYTES)
    assert seconds == (8 * 104, 8 * 800, 8 * 4000)  # bytes that are read and written
    assert seconds_at_scales(fuse(sg.Graph({"y": -u[0, :5]})).steps, BYTES) == (40,)


def test_predictions_are_compared_by_their_mean_ratio():
    assert compare_seconds((2.0, 8.0), (4.0, 4.0)) == pytest.approx(1.0)
    assert compare_seconds((1.0, 1.0, 1.0), (2.0, 2.0, 2.0)) == pytest.approx(0.5)


def test_bodies_of_loops_are_priced_by_themselves():
    u = sg.input("u", (64, 64), "float32")
    last, _ = sg.scan(lambda c, _: (c + 0.1 * laplacian(c), None), u, length=5)
    program = sg.compile(sg.grad((last**2).sum(), u))
    notes = [(r.inside, r.note) for r in program.explanation().late if r.note]
    assert any(inside and note for inside, note in notes)


def test_trials_lower_no_graph_twice(monkeypatch):
    lowered = []

    def record(copied, *more):
        lowered.append(copied.groups.graph)
        return lower_groups(copied, *more)

    monkeypatch.setattr("staticgrad.compiler.lowering.fuse.lower_groups", record)
    u = sg.input("u", (64, 64), "float32")
    last, _ = sg.scan(lambda c, _: (sg.tanh(c), None), laplacian(u), length=5)
    fuse(pipeline("O1")(sg.Graph({"y": sg.grad((laplacian(last) ** 2).sum(), u)})))
    digests = [graph.digest for graph in lowered]
    assert len(digests) > 3  # of a trial, its bodies, and the program
    assert len({*digests}) == len(digests)


# -- the changed part -----------------------------------------------------------------------------


def values_of(graph, seed=0):
    random = np.random.default_rng(seed)
    feeds = {i.node.label: random.normal(size=i.shape) for i in graph.inputs}
    return evaluate(graph, feeds)


def parts_around_products():
    x, w = sg.input("x", (24, 24), "float64"), sg.input("w", (24, 24), "float64")
    left = sg.tanh(sg.exp(x @ w) @ w)
    right = sg.exp(laplacian(left) * 2.0) @ w
    graph = sg.Graph({"y": sg.cos(sg.sin(right) @ w), "left": left})
    return graph, pipeline("slices-of-pads")(graph)


def test_the_changed_part_ends_at_products():
    original, rewritten = parts_around_products()
    (part,) = changed_parts(original, rewritten)
    old, new = part.original, part.rewritten
    for graph in (old, new):
        assert sum(isinstance(node.op, MatMul) for node in graph.nodes) == 2
        assert {node.op.name for node in graph.nodes}.isdisjoint({"cos", "sin"})
    first, second = values_of(old), values_of(new)
    assert [*first] == [*second]
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


@pytest.mark.parametrize("count", [2, 7])
def test_equal_parts_of_an_unrolled_loop_are_one(count):
    x, w = sg.input("x", (24, 24), "float64"), sg.input("w", (24, 24), "float64")
    u = x
    for _ in range(count + 2):
        u = sg.tanh(sg.exp(laplacian(sg.exp(u @ w))))
    graph = sg.Graph({"y": u})
    rewritten = pipeline("slices-of-pads")(graph)
    parts = changed_parts(graph, rewritten)
    assert sum(part.count for part in parts) == count + 2
    assert max(part.count for part in parts) >= count
    for part in parts:
        first, second = values_of(part.original), values_of(part.rewritten)
        assert [*first] == [*second]
        assert first
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name])
    assert [p.original for p in changed_parts(graph, rewritten, most=0.0)] == [graph]


def test_a_part_counts_as_often_as_it_is_there():
    x = sg.input("x", (1 << 20,), "float64")
    graph = sg.Graph({"y": sg.exp(x).sum(), "z": sg.sort(-x)})
    steps = fuse(graph).steps
    (three,) = seconds_at_scales(steps, counts=[3] * len(steps))
    (one_by_one,) = seconds_at_scales(steps * 3)
    assert three == pytest.approx(one_by_one, rel=1e-12)
    (single,) = seconds_at_scales(steps)
    assert three > 2.9 * single


def test_equal_graphs_have_no_changed_part():
    original, _ = parts_around_products()
    assert changed_parts(original, original) == []


@pytest.mark.parametrize(("factor", "is_taken"), [(0.5, True), (1.0, True), (2.0, False)])
def test_the_cheaper_graph_is_taken(factor, is_taken):
    x = sg.input("x", (1000,), "float64")
    original, rewritten = sg.Graph({"y": x * 2.0}), sg.Graph({"y": x + x})
    schedules = []

    def schedule(part):
        long = sg.input("long", (round(10_000_000 * (factor if schedules else 1.0)),), "float64")
        schedules.append(part)
        return fuse(sg.Graph({"y": -long}))

    chosen, hits = choose_cheaper(original, rewritten, schedule)
    assert chosen is (rewritten if is_taken else original)
    assert hits.note.startswith("kept" if is_taken else "left out")
    assert len(schedules) == 2


def test_a_priced_pass_without_prices_is_like_any_other():
    @late_pass("tests-priced", priced=True)
    def turn(graph):
        return graph.without_dead_nodes()

    (pass_,) = pipeline("tests-priced").passes
    assert isinstance(pass_, PricedPass)
    assert str(pass_) == "tests-priced"
    graph = sg.Graph({"y": sg.input("x", (3,), "float64") * 2.0})
    assert pass_(graph) is graph
    assert [name for name in LATE if isinstance(pipeline(name).passes[0], PricedPass)] == [
        "disjoint-pads", "slices-of-pads", "recomputed-stages", "recomputed-formulas",
        "compact-scatters",
    ]  # fmt: skip


def test_the_changed_part_has_what_a_formula_that_is_computed_again_saves():
    """One node becomes one for each reader: its readers are in both parts."""
    x = sg.input("x", (2000, 300), "float64")
    normed = (x - x.mean(axis=0)) * 0.5
    graph = sg.Graph({"a": (normed * normed).sum(axis=0), "b": normed.sum(axis=1)})
    rewritten = pipeline("recomputed-formulas")(graph)
    assert rewritten is not graph
    (part,) = changed_parts(graph, rewritten)
    old, new = part.original, part.rewritten
    assert len(new.nodes) > len(old.nodes) > 2
    first, second = values_of(old), values_of(new)
    assert [*first] == [*second]
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
