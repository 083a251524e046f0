"""The late pipeline: its passes have names, reports and dumps, and may be disabled."""

import pickle

import numpy as np
import pytest

import staticgrad as sg
from passes.base import REGISTRY
from passes.late import loops
from passes.late.base import LatePass, late_pass
from passes.pipelines import LATE, OF_BUDGETS, pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.compiler.lowering.fuse import fusion
from staticgrad.errors import ArgumentError, IndexOutOfRange, PipelineError
from staticgrad.language.ops.arithmetic import Mul
from staticgrad.language.ops.indexing import Concat
from staticgrad.language.ops.loops import While

TAPS, IMAGES = (64, 16, 3, 3), (2, 16, 32, 32)


def tiled_convolution():
    """A convolution that is computed in tiles, and feeds."""
    random = np.random.default_rng(0)
    x = sg.input("x", IMAGES, "float32")
    w = sg.input("w", TAPS, "float32")
    feeds = {"x": random.normal(size=x.shape), "w": random.normal(size=TAPS)}
    return sg.nn.conv2d(x, w, padding=1), {n: a.astype("float32") for n, a in feeds.items()}


def changes(program):
    return {report.name for report in program.explanation().late if report.changed}


def test_explain_has_a_line_for_each_late_pass_that_changed_the_graph():
    value, _ = tiled_convolution()
    explanation = sg.compile(value).explanation()
    (report,) = [report for report in explanation.late if report.changed]
    assert report.name == "winograd"
    assert report.nodes_after > report.nodes_before == 3
    assert f"late passes, for kernels:\n  {report.summary}" in str(explanation)
    assert [row["name"] for row in explanation.as_json()["late"]][: len(LATE)] == [*LATE]


def test_a_disabled_late_pass_does_not_run_and_results_differ_by_rounding_alone():
    value, feeds = tiled_convolution()
    tiled, direct = sg.compile(value), sg.compile(value, disable=["winograd"])
    assert changes(tiled) == {"winograd"}
    assert changes(direct) == set()
    np.testing.assert_allclose(direct.run(feeds), tiled.run(feeds), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*LATE, *OF_BUDGETS, "narrow-factors", "cse", "residuals"])
def test_each_pass_may_be_disabled_or_says_why_not(name):
    value, feeds = tiled_convolution()
    required = LATE.get(name) and pipeline(name).passes[0].required
    if required:
        with pytest.raises(PipelineError, match=f"{name!r} cannot be disabled: {required}"):
            sg.compile(value, disable=[name])
    else:
        result = sg.compile(value, disable=[name]).run(feeds)
        np.testing.assert_allclose(result, sg.compile(value).run(feeds), rtol=1e-4, atol=1e-4)


def test_a_name_that_no_pass_has_is_refused_with_the_nearest():
    value, _ = tiled_convolution()
    with pytest.raises(PipelineError, match="no pass 'winogard' to disable") as refusal:
        sg.compile(value, disable=["winogard"])
    assert "did you mean 'winograd'?" in str(refusal.value)
    with pytest.raises(ArgumentError, match="not a list of names"):
        sg.compile(value, disable="winograd")


def test_a_pass_inside_of_a_fixpoint_is_disabled():
    x = sg.input("x", (4,), "float64")
    graph = sg.Graph({"a": sg.tanh(x), "b": sg.tanh(x)})
    assert len(pipeline("O1")(graph).nodes) == 2
    disabled, _ = pipeline("O1").run(graph, disable=["cse"])
    assert len(disabled.nodes) == 3
    with pytest.raises(PipelineError, match="cannot be disabled"):
        pipeline("late").run(graph, disable=["marks"])


def test_elementwise_readers_of_a_reshaped_product_are_its_epilogue():
    """A step with momentum reads the gradient of the filter from its product."""
    random = np.random.default_rng(5)
    images, w = random.normal(size=(4, 24, 3, 3)), random.normal(size=(40, 24, 3, 3))
    feeds = {"x": images.astype("float32")}
    values, products = [], []
    for disable in ((), ("reshaped-products",)):
        parameter = sg.parameter("w", w.astype("float32"))
        y = sg.nn.conv(sg.input("x", (4, 24, 3, 3), "float32"), parameter, padding=1)
        updates = sg.optim.SGD(0.1, momentum=0.9).updates((y * y).sum(), [parameter])
        step = sg.compile(sg.Graph(updates=updates), disable=disable)
        for _ in range(2):
            step.run(feeds)
        values.append(np.array(parameter.value))
        products.append(sum("matmul" in s.label and "sub" in s.label for s in step.schedule.steps))
    assert products == [1, 0]
    np.testing.assert_array_equal(*values)


def test_a_view_behind_a_reshaped_product_keeps_its_values():
    x, r = sg.input("x", (6, 5), "float32"), sg.input("r", (2, 3, 4), "float32")
    product = sg.reshape(x @ np.ones((5, 4), "float32"), (2, 3, 4))
    value = sg.swapaxes(product * r + sg.swapaxes(r, 0, 1).reshape(2, 3, 4), 0, 2) * 2
    feeds = {
        n: np.arange(np.prod(v.shape), dtype="f4").reshape(v.shape) for n, v in (("x", x), ("r", r))
    }
    np.testing.assert_array_equal(sg.compile(value).run(feeds), sg.evaluate(value, feeds))


def test_disjoint_pads_are_not_joined_by_residuals_either_if_disabled():
    x = sg.input("x", (4096, 256), "float32")
    value = sg.tanh(x[:, ::2]) * x[:, 1::2]
    graph = sg.Graph({"value": value, "slope": sg.grad(value.sum(), x)})
    joined, separate = sg.compile(graph), sg.compile(graph, disable=["disjoint-pads"])
    (report,) = [report for report in joined.explanation().passes if report.name == "residuals"]
    assert report.hits["disjoint-pads"] == 1 <= report.hits["residuals"]
    assert joined.graph.has(Concat)
    assert not separate.graph.has(Concat)
    assert "disjoint-pads" not in changes(separate)
    feeds = {"x": np.random.default_rng(0).normal(size=(4096, 256)).astype("float32")}
    for name, result in separate.run(feeds).items():
        assert same_bytes(result, joined.run(feeds)[name])


def test_a_function_is_a_late_pass_and_is_called_as_before():
    @late_pass("tests-reversed", keeps="close", required="a test needs it")
    def reverse_outputs(graph):
        """Return the graph itself."""
        return graph

    try:
        (pass_,) = pipeline("tests-reversed").passes
        assert isinstance(pass_, LatePass)
        assert (pass_.name, pass_.keeps, pass_.inside) == ("tests-reversed", "close", False)
        assert pass_.required == "a test needs it"
        assert type(pass_).__doc__ == "Return the graph itself."
        graph = sg.Graph(sg.input("x", (4,)) + 1.0)
        assert pass_(graph) is reverse_outputs(graph) is graph
        with pytest.raises(PipelineError, match="two passes are named 'tests-reversed'"):
            late_pass("tests-reversed")(lambda graph: graph)
    finally:
        REGISTRY.pop("tests-reversed", None)
    for pass_ in pipeline("late").passes:
        assert pickle.loads(pickle.dumps(pass_)) == pass_


def test_the_graph_after_each_late_pass_is_written(tmp_path, monkeypatch):
    value, _ = tiled_convolution()
    monkeypatch.setenv("STATICGRAD_DUMP", str(tmp_path))
    sg.compile(value)
    names = [path.stem.split("-", 1)[1] for path in sorted((tmp_path / "late").glob("*.sg"))]
    assert names == ["input", *LATE]
    texts = {path.stem[3:]: path.read_text("utf-8") for path in (tmp_path / "late").glob("*.sg")}
    assert "tiles" in texts["winograd"] != texts["broadcast-windows"]


def test_nodes_of_late_passes_have_the_line_of_the_user():
    value, _ = tiled_convolution()
    graph = pipeline("late")(sg.Graph(value))
    lines = {place.resolve().file for node in graph.nodes for place in node.origin.places}
    assert lines == {__file__}


def test_late_passes_of_bodies_are_reported():
    random = np.random.default_rng(0)
    w = sg.input("w", (48, 48), "float32")
    rows = sg.input("x", (6, 2, 48), "float32")

    def iteration(carry, row):
        inner = sg.scan(lambda c, _: (sg.tanh(c @ w.T), None), carry, length=20)[0]
        return sg.tanh(inner + row), carry

    program = sg.compile(sg.scan(iteration, sg.zeros((2, 48), "float32"), rows)[0])
    reports = [report for report in program.explanation().late if report.changed]
    assert any(report.inside.startswith("the body of") for report in reports)
    feeds = {"w": random.normal(size=(48, 48)) / 9, "x": random.normal(size=(6, 2, 48))}
    assert np.isfinite(program.run({n: a.astype("float32") for n, a in feeds.items()})).all()


def test_loops_in_segments_are_reported_and_may_be_disabled():
    w = sg.parameter("w", np.ones(256))
    last, _ = sg.scan(
        lambda c, _: (sg.tanh(c * w), None), sg.input("x", (256,), "float64"), length=400
    )
    slope = sg.grad(last.sum(), w)
    program = sg.compile(slope, memory_budget=0.3)
    assert "segments" in changes(program)
    with pytest.raises(sg.errors.BudgetInfeasible):
        sg.compile(slope, memory_budget=program.peak_bytes, disable=["segments"])


def test_constant_indices_inside_of_the_axis_are_not_checked_in_runs():
    x = sg.input("x", (5,), "float64")
    rows = np.array([3, 0, -1, 3])
    program = sg.compile(sg.Graph({"taken": sg.take(x, rows), "of_run": x * 2.0}))
    assert changes(program) == {"known-indices"}
    assert not any("note" in kernel.source for kernel in program.kernels)
    values = np.arange(5.0)
    np.testing.assert_array_equal(program.run({"x": values})["taken"], values[rows])
    checked = sg.compile(sg.take(x, rows), disable=["known-indices"])
    assert any("note" in kernel.source for kernel in checked.kernels)


def test_a_constant_index_outside_of_the_axis_raises_in_the_run():
    x = sg.input("x", ("n",), "float64")
    program = sg.compile(sg.take(x, np.array([0, 7])))
    assert changes(program) == set()
    with pytest.raises(IndexOutOfRange, match="index 7 is out of range for an axis of size 5"):
        program.run({"x": np.arange(5.0)})


@pytest.mark.parametrize("labels", [[1, -1], [0, 3], [-3, 0]])
def test_constant_labels_outside_of_the_classes_raise_in_the_run(labels):
    """Labels do not count from the end, unlike indices of NumPy."""
    logits = sg.input("logits", (2, 3), "float64")
    loss = sg.nn.cross_entropy(logits, sg.constant(np.array(labels)))
    for value in (loss, sg.grad(loss, logits)):
        with pytest.raises(IndexOutOfRange):
            sg.compile(value).run({"logits": np.eye(2, 3)})


def test_scatters_by_one_constant_index_are_one_kernel():
    random = np.random.default_rng(0)
    groups = np.array([2, 2, -6, 0, 5, 2, 0])
    a, b = (sg.input(name, (7,), "float64") for name in "ab")
    sums = {
        name: sg.zeros(6, dtype="float64").at[groups].add(value)
        for name, value in (("a", sg.exp(a)), ("b", a * b))
    }
    program = sg.compile(sg.Graph(sums))
    assert sum("scatter_add" in step for step in steps_of(program)) == 1 + len(sums)
    feeds = {name: random.normal(size=7) for name in "ab"}
    results = program.run(feeds)
    for name, value in (("a", np.exp(feeds["a"])), ("b", feeds["a"] * feeds["b"])):
        by_hand = np.zeros(6)
        np.add.at(by_hand, groups, value)
        np.testing.assert_allclose(results[name], by_hand, rtol=1e-15)


def steps_of(program):
    text = str(program.explanation())
    return text[text.index("steps:") :].partition("neighbours")[0].splitlines()[1:]


def test_numbers_of_any_rank_are_one_kernel():
    x = [sg.input(f"x{k}", (1,) * (k % 3), "float64") for k in range(9)]
    outputs = {f"y{k}": sg.exp(value) * 2.0 + k for k, value in enumerate(x)}
    program = sg.compile(sg.Graph(outputs))
    assert len(program.kernels) == 1
    feeds = {f"x{k}": np.full(value.shape, k / 10) for k, value in enumerate(x)}
    results = program.run(feeds)
    for k, feed in enumerate(feeds.values()):
        assert results[f"y{k}"].shape == feed.shape
        np.testing.assert_allclose(results[f"y{k}"], np.exp(feed) * 2.0 + k, rtol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_sum_beside_its_gradient_has_the_sign_of_its_zero(n):
    """A sum of differences adds -0.0 behind its last term; without terms it is 0.0, as NumPy's."""
    x = sg.input("x", ("n",), "float64")
    rows = sg.input("rows", (3, "n"), "float64")
    steps, columns = x[1:] - x[:-1], rows[:, 1:] - rows[:, :-1]
    squared = (steps**2).sum()
    by_row = (columns**2).sum(1)
    outputs = {"squared": squared, "by row": by_row, "d squared": sg.grad(squared, x)}
    outputs["d by row"] = sg.grad(by_row.sum(), rows)
    array, matrix = np.ones(n), np.ones((3, n))
    results = sg.compile(outputs).run({"x": array, "rows": matrix})
    expected = {
        "squared": (np.diff(array) ** 2).sum(),
        "by row": (np.diff(matrix) ** 2).sum(1),
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(results[name], value)
        np.testing.assert_array_equal(np.signbit(results[name]), np.signbit(value), err_msg=name)
        assert not np.any(results[f"d {name}"])


@pytest.mark.parametrize("low", [0, 1, 3])
def test_a_padded_formula_is_zero_in_the_border(low):
    """Its operands are padded in its place, and the formula of zeros is not zero."""
    x, array = sg.input("x", (40,), "float64"), np.linspace(-1, 1, 40)

    def difference_of_pads(of, values):
        formula = 2.0 * values[3:] * values[:-3] + 1.0
        return of.pad(formula, (low, 3 - low)) - of.pad(2.0 * values[3:] + 1.0, (3 - low, low))

    program = sg.compile(sg.Graph({"y": difference_of_pads(sg, x)}))
    assert "shifted-formulas" in changes(program)
    np.testing.assert_array_equal(program.run({"x": array})["y"], difference_of_pads(np, array))


def test_joined_slices_have_the_sign_of_a_sum_with_zeros():
    """-0.0 + 0.0 is 0.0, also where a sum of pads is a concatenation of slices."""
    x = sg.input("x", (64,), "float64")
    value = sg.pad(x[:30], (0, 34)) + sg.pad(x[30:], (30, 0))
    array = np.where(np.arange(64) % 2, -0.0, -1.0)
    result = sg.compile(value).run({"x": array})
    np.testing.assert_array_equal(result, array)
    np.testing.assert_array_equal(np.signbit(result), array < 0)


def test_parts_of_products_with_one_number_for_all_elements():
    """Parts that are joined read the product below, with a number as wide as all of them."""
    s, z = sg.input("s", (), "float64"), sg.input("z", (6, 4), "float64")
    product = z * sg.broadcast_to(s, (6, 4))
    graph = sg.Graph({"y": sg.concatenate([product[4:], product[:3]]) + z[:5]})
    rewritten = pipeline("slices-of-pads")(graph)
    assert rewritten is not graph
    array = np.random.default_rng(0).normal(size=(6, 4))
    result = sg.evaluate(rewritten, {"s": 3.0, "z": array})["y"]
    expected = np.concatenate([array[4:] * 3.0, array[:3] * 3.0]) + array[:5]
    np.testing.assert_allclose(result, expected, rtol=1e-15)


def test_a_joined_slice_moves_below_two_cheap_nodes_alone():
    """Further ones are computed once, not again for each concatenation that reads them."""
    x = sg.input("x", (6,), "float64")
    value = (((x * 2.0) * 3.0) * 4.0) * 5.0
    graph = sg.Graph({"y": sg.concatenate([value[4:], value[:2]]) + 1.0})
    rewritten = pipeline("slices-of-pads")(graph)
    sizes = [node.types[0].shape for node in rewritten.nodes if isinstance(node.op, Mul)]
    assert sizes == [(6,), (6,), (4,), (4,)]
    result = sg.evaluate(rewritten, {"x": np.arange(6.0)})["y"]
    np.testing.assert_array_equal(result, [481.0, 601.0, 1.0, 121.0])


@pytest.mark.parametrize(("seconds", "length"), [(0.0, 1), (1e9, 4096)])
def test_chunks_of_slow_iterations_are_short(seconds, length, monkeypatch):
    monkeypatch.setattr(loops, "_MOST_SECONDS", seconds)
    x = sg.input("x", (4,), "float64")
    value = sg.while_loop(lambda c: c.sum() < 1000.0, lambda c: c + 1.0, x)
    graph = fusion(sg.Graph({"y": value})).groups.graph
    (outer,) = [node.op for node in graph.nodes if isinstance(node.op, While)]
    chunks = [node.op for body in outer.bodies for node in body.nodes]
    assert [op.most for op in chunks if isinstance(op, While)] == [length]
    np.testing.assert_array_equal(sg.evaluate(graph, {"x": np.zeros(4)})["y"], np.full(4, 250.0))


@pytest.mark.parametrize("shape", [(3,), (6, 1), (1, 3), (6, 3)])
def test_slices_of_pads_times_an_array_that_broadcasts(shape):
    x, v = sg.input("x", (4, 3), "float64"), sg.input("v", shape, "float64")
    graph = sg.Graph({"y": (sg.pad(x, ((1, 1), (0, 0))) * v)[:4] * 2.0})
    rewritten = pipeline("slices-of-pads")(pipeline("O1")(graph))
    array, factors = np.arange(12.0).reshape(4, 3), np.arange(1.0, 1.0 + np.prod(shape))
    factors = factors.reshape(shape)
    expected = (np.pad(array, ((1, 1), (0, 0))) * factors)[:4] * 2.0
    result = sg.evaluate(rewritten, {"x": array, "v": factors})["y"]
    np.testing.assert_array_equal(result, expected)
