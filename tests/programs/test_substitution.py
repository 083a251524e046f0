"""Graphs that are called, values over others, values over batches: as the function written out."""

import copy
import gc
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    GraphError,
    RankError,
    ShapeError,
    SizeGuardError,
    UnknownArgumentError,
)
from staticgrad.language.ir.verify import verify_graph


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def value(name, *shape, dtype="float64"):
    return sg.input(name, shape, dtype)


def run(values, **feeds):
    """Evaluate values by a graph that is verified, reads back and pickles."""
    graph = sg.Graph(values if isinstance(values, dict) else {"output": values})
    verify_graph(graph)
    assert str(sg.parse(str(graph), constants=graph.constants)) == str(graph)
    assert sg.same_graph(pickle.loads(pickle.dumps(graph)), graph)
    results = sg.evaluate(graph, feeds)
    return results if isinstance(values, dict) else results["output"]


# -- programs, each a function of NumPy's spelling ------------------------------------------------


def layer(x, w):
    return sg.tanh(x @ w) + x.mean()


def run_rows(x, w):
    def step(carry, row):
        carry = sg.tanh(carry + row @ w)
        return carry, carry * x.sum()

    last, rows = sg.scan(step, sg.zeros(w.shape[1], "float64"), x)
    return last + rows.sum(axis=0)


def choose_case(x, w):
    return sg.cond(x.sum() > 0, lambda: (x @ w).sum(axis=0), lambda: sg.exp(x @ w).mean(axis=0))


def search_end(x, w):
    def go_on(carry):
        return (carry * carry).sum() < 50.0

    return sg.while_loop(
        go_on, lambda c: c * 1.5 + (x @ w).sum(axis=0) ** 2, sg.ones(w.shape[1], "float64")
    )


def recompute(x, w):
    again = sg.checkpoint(lambda h: sg.exp(sg.sin(h @ w)), sg.checkpoint_policies.nothing_saveable)
    return again(x).sum(axis=0)


def solve_normal(x, w):
    return sg.linalg.solve(w.T @ w + sg.eye(w.shape[1], dtype="float64"), w.T @ x.sum(axis=0))


PROGRAMS = (layer, run_rows, choose_case, recompute, solve_normal)
X, W = random(4, 3), random(3, 2, seed=1)


def total(result):
    return (result * sg.cos(result)).sum()


def written_out(program, x, w):
    """Return value and gradients by (x, w) of the function itself, by the tape."""
    x, w = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
    with sg.eager_mode():
        loss = total(program(x, w))
    loss.backward()
    return np.asarray(loss.data), np.asarray(x.grad), np.asarray(w.grad)


@pytest.mark.parametrize("sizes", [("n", 3), (4, 3)], ids=["named", "numbers"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_called_graph_has_values_and_gradients_of_the_function_written_out(program, sizes):
    x, w = value("x", *sizes), value("w", 3, 2)
    graph = sg.Graph(program(x, w), name="program")
    a, b = value("a", 4, 3), value("b", 3, 2)
    loss = total(graph(a * 2.0, w=b + 1.0))
    da, db = sg.grad(loss, [a, b])
    outs = run({"loss": loss, "da": da, "db": db}, a=X, b=W)
    expected, dx, dw = written_out(program, X * 2.0, W + 1.0)
    assert_allclose(outs["loss"], expected, rtol=1e-12)
    assert_allclose(outs["da"], 2.0 * dx, rtol=1e-9, atol=1e-12)
    assert_allclose(outs["db"], dw, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("program", PROGRAMS)
def test_replaced_values_have_values_and_gradients_of_the_function_written_out(program):
    x, w = value("x", "n", 3), value("w", 3, 2)
    loss = total(program(x, w))
    slopes = sg.grad(loss, [x, w])
    a, b = value("a", 4, 3), value("b", 3, 2)
    new = sg.replace({"loss": loss, "dx": slopes[0], "dw": slopes[1]}, {x: a * 2.0, w: b + 1.0})
    expected, dx, dw = written_out(program, X * 2.0, W + 1.0)
    outs = run(new, a=X, b=W)
    assert_allclose(outs["loss"], expected, rtol=1e-12)
    assert_allclose(outs["dx"], dx, rtol=1e-9, atol=1e-12)
    assert_allclose(outs["dw"], dw, rtol=1e-9, atol=1e-12)
    da, db = sg.grad(new["loss"], [a, b])  # differentiated after it was replaced
    outs = run({"da": da, "db": db}, a=X, b=W)
    assert_allclose(outs["da"], 2.0 * dx, rtol=1e-9, atol=1e-12)
    assert_allclose(outs["db"], dw, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("program", [*PROGRAMS, search_end])
def test_vectorized_values_are_those_of_each_element(program):
    x, w = value("x", 4, 3), value("w", 3, 2)
    xs, ws = random(5, 4, 3, seed=2), random(5, 3, 2, seed=3)
    batched = sg.vectorize(program(x, w), {x: value("xs", "k", 4, 3), w: value("ws", "k", 3, 2)})
    result = run(batched, xs=xs, ws=ws)
    element = program(x, w)
    pairs = zip(xs, ws, strict=True)
    expected = np.stack([sg.evaluate(element, {"x": a, "w": b}) for a, b in pairs])
    assert_allclose(result, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients_of_vectorized_values_are_those_of_each_element(program):
    x, w = value("x", 4, 3), value("w", 3, 2)
    xs = value("xs", 5, 4, 3)
    loss = sg.vectorize(total(program(x, w)), {x: xs})
    assert loss.shape == (5,)
    numbers = random(5, 4, 3, seed=2)
    outs = run({"dx": sg.grad(loss.sum(), xs), "dw": sg.grad(loss.sum(), w)}, xs=numbers, w=W)
    slopes = [written_out(program, element, W) for element in numbers]
    assert_allclose(outs["dx"], np.stack([dx for _, dx, _ in slopes]), rtol=1e-9, atol=1e-11)
    assert_allclose(outs["dw"], sum(dw for _, _, dw in slopes), rtol=1e-9, atol=1e-11)


# -- calls of graphs ------------------------------------------------------------------------------


def test_a_graph_called_twice_sums_gradients_by_its_parameters():
    x, w = value("x", "n", 3), sg.parameter("w", random(3, 3))
    block = sg.Graph(sg.sin(x @ w), name="block")
    y = value("y", 2, 3)
    loss = block(block(y) + 1.0).sum()
    dw = sg.grad(loss, w)

    def of(weights):
        return np.sin((np.sin(numbers @ weights) + 1.0) @ weights).sum()

    numbers, eps, numeric = random(2, 3, seed=4), 1e-6, np.zeros((3, 3))
    for index in np.ndindex(3, 3):
        change = np.zeros((3, 3))
        change[index] = eps
        numeric[index] = (of(w.value + change) - of(w.value - change)) / (2 * eps)
    outs = run({"loss": loss, "dw": dw}, y=numbers)
    assert_allclose(outs["loss"], of(w.value), rtol=1e-13)
    assert_allclose(outs["dw"], numeric, rtol=1e-7, atol=1e-9)
    assert [p.name for p in sg.Graph(loss).parameters] == ["w"]


def test_a_call_gives_outputs_in_the_structure_of_the_graph():
    x = value("x", "n")
    y = value("y", 3)
    named = sg.Graph({"double": x * 2.0, "size": x.sum()}, name="named")
    assert {k: v.shape for k, v in named(y).items()} == {"double": (3,), "size": ()}
    assert named(y)["double"].type == y.type
    assert sg.Graph(x + 1.0)(y).shape == (3,)
    assert named(x=y).keys() == named(y).keys()


def test_called_graphs_nest_and_their_sizes_are_unified():
    p, q = value("p", "m", "n"), value("q", "n")
    inner = sg.Graph(p @ q, name="inner")
    outer = sg.Graph(
        inner(p * 2.0, q) + sg.ones(p.shape[:1], "float64"), name="outer", inputs=[p, q]
    )
    y, z = value("y", "rows", 3), value("z", 3)
    result = outer(y, z)
    assert str(result.type) == "f64[rows]"
    numbers = random(5, 3), random(3)
    assert_allclose(run(result, y=numbers[0], z=numbers[1]), 2 * numbers[0] @ numbers[1] + 1)
    assert "outer() " in result.node.origin.scope
    assert any("/inner() " in node.origin.scope for node in sg.Graph(result).nodes)
    # an axis of a known size beside a named one: a run checks it
    flexible = inner(value("y", 4, "k"), z)
    assert_allclose(run(flexible, y=np.ones((4, 3)), z=np.ones(3)), np.full(4, 3.0))
    with pytest.raises(SizeGuardError, match="k"):
        sg.compile(flexible).run({"y": np.ones((4, 2)), "z": np.ones(3)})


def test_sizes_of_sums_and_bounds_are_solved():
    n = sg.dim("n", min=2)
    x, d = sg.input("x", (2 * n + 1,), "float64"), sg.input("d", (n,), "float64")
    graph = sg.Graph({"x": x.sum() + sg.iota((n,)).sum(), "d": d}, inputs=[x, d])
    result = graph(np.ones(7), value("d", 3))
    assert_allclose(run(result["x"]), 7.0 + 3.0)
    alone = sg.Graph(x[:n] * 1.0)
    assert alone(value("z", 9)).shape == (4,)
    with pytest.raises(ShapeError, match=r"2\*n\+1|1 \+ 2\*n|2\*n \+ 1"):
        graph(np.ones(7), np.ones(4))
    with pytest.raises(SizeGuardError, match="min=2"):
        graph(np.ones(3), np.ones(1))
    with pytest.raises(SizeGuardError, match="declared with min=2"):
        sg.Graph(d * 2.0)(value("free", "free"))


def test_conditions_on_sizes_hold_in_a_call():
    p, q = value("p", "p"), value("q", "q")
    graph = sg.Graph(p + q, name="added")
    assert str(graph(value("a", 3), value("b", "k")).type) == "f64[3]"
    with pytest.raises(SizeGuardError, match="sizes p and q must agree") as refused:
        graph(value("a", 3), value("b", 4))
    assert "p becomes 3" in str(refused.value)
    with pytest.raises(SizeGuardError, match="sizes p and q must agree"):
        graph(value("a", 1), value("b", 3))  # NumPy would repeat the one: the graph does not


def test_sizes_in_bodies_and_ops_become_those_of_the_call():
    x = value("x", "n", 2)

    def step(carry, row):
        return carry + row * sg.ones((2,), "float64") / x.shape[0], sg.zeros(
            (x.shape[0],), "float64"
        ) + row.sum()

    last, rows = sg.scan(step, sg.zeros(2, "float64"), x)
    graph = sg.Graph({"last": last, "rows": rows + sg.iota((x.shape[0],))}, name="g")
    numbers = random(5, 2)
    for argument in (value("y", 5, 2), value("y", "m", 2)):
        outs = run(graph(argument), y=numbers)
        assert_allclose(outs["last"], numbers.mean(axis=0))
        assert_allclose(outs["rows"], numbers.sum(axis=1)[:, None] + np.arange(5))
    assert "n" not in sg.Graph(graph(value("y", "m", 2))).sizes


def test_arguments_that_do_not_fit_are_one_clear_error():
    x, y = value("x", "n", 3), value("y", 3)
    graph = sg.Graph({"z": x @ y}, name="product")
    cases = (
        (lambda: graph(x), UnknownArgumentError, r"product\(x, y\): no value for y"),
        (lambda: graph(x, y, y), UnknownArgumentError, "3 arguments for 2 inputs"),
        (lambda: graph(x, w=y), UnknownArgumentError, "no input 'w'"),
        (lambda: graph(x, y, x=x), UnknownArgumentError, "x is given twice"),
        (lambda: graph({"x": x}), UnknownArgumentError, "not with a dict"),
        (lambda: graph(x.astype("float32"), y), DTypeError, r"x is f64\[n, 3\], and becomes f32"),
        (lambda: graph(x, y.sum()), RankError, r"y is f64\[3\], and becomes f64\[\]"),
        (lambda: graph(x, value("y", 4)), ShapeError, r"y is f64\[3\], and becomes f64\[4\]"),
        (lambda: graph(x, value("y", 1)), ShapeError, r"becomes f64\[1\]"),
    )
    for call, error, match in cases:
        with pytest.raises(error, match=match):
            call()


def test_numbers_and_arrays_become_what_the_inputs_are():
    x, k = value("x", 3, dtype="float32"), value("k", dtype="int64")
    graph = sg.Graph({"y": x * 2.0, "k": k + 1}, name="g")
    y = value("y", 3, dtype="float32")
    assert graph(y, 4)["k"].type == k.type
    assert graph(np.ones(3), k)["y"].type == y.type  # as a feed
    with pytest.raises(DTypeError, match="k is i64"):
        graph(y, 1.5)
    outs = graph([1.0, 2.0, 3.0], 2)  # arrays alone: computed
    assert_array_equal(outs["y"], np.float32([2, 4, 6]))
    assert outs["k"] == 3


def test_a_graph_runs_on_the_tape_and_in_functions():
    x, w = value("x", "n", 3), sg.parameter("w", random(3, 2))
    graph = sg.Graph(run_rows(x, w), name="looped")
    numbers = random(4, 3)
    expected = sg.compile(graph).run({"x": numbers})["output"]
    t = Tensor(numbers, requires_grad=True)
    result = graph(t)
    assert_allclose(result.data, expected, rtol=1e-13)
    result.sum().backward()
    dx, dw = written_out_sum(run_rows, numbers, w.value)
    assert_allclose(t.grad, dx, rtol=1e-10)
    assert_allclose(w.grad, dw, rtol=1e-10)
    w.grad = None
    assert_allclose(sg.function(lambda x: graph(x) * 2.0)(numbers), 2.0 * expected, rtol=1e-13)
    assert_allclose(sg.vmap(graph)(np.stack([numbers] * 2)), np.stack([expected] * 2), rtol=1e-12)


def written_out_sum(program, x, w):
    x, w = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
    with sg.eager_mode():
        program(x, w).sum().backward()
    return np.asarray(x.grad), np.asarray(w.grad)


def test_updates_of_a_called_graph_are_those_of_each_call_of_a_function():
    x, w = value("x", "n", 3), sg.parameter("w", np.ones(3))
    loss = ((x @ w) ** 2).sum()
    dw = sg.grad(loss, w)
    step = sg.Graph({"loss": loss}, {w: w - 0.01 * dw}, name="step")
    numbers = random(4, 3)
    with pytest.raises(GraphError, match="graph 'step' updates 'w'") as refused:
        step(value("y", 4, 3))
    assert "sg.Graph(step.outputs)(x)" in refused.value.hint
    y = value("y", 4, 3)
    assert sg.Graph(step.outputs)(y)["loss"].shape == ()  # the first hint
    outs, following = sg.replace([step.outputs, dict(step.updates)], {x: y})  # the second
    (parameter,) = following
    again = sg.compile(sg.Graph(outs, following))
    start, weights = np.array(w.value), np.ones(3)

    def descend(weights):
        return weights - 0.01 * 2 * numbers.T @ (numbers @ weights)

    assert_allclose(again.run({"y": numbers})["loss"], ((numbers @ start) ** 2).sum())
    weights = descend(weights)
    assert parameter.name == "w"
    assert_allclose(w.value, weights)

    @sg.function
    def two_steps(x):
        return step(x)["loss"], step(x)["loss"]

    first, second = two_steps(numbers)
    assert_allclose(first, ((numbers @ weights) ** 2).sum())
    weights = descend(weights)
    assert_allclose(second, ((numbers @ weights) ** 2).sum())
    assert_allclose(w.value, descend(weights))


def test_draws_keep_their_keys():
    generator = sg.random.Generator(7)
    x = value("x", 3)
    z = x + generator.normal(shape=(3,), dtype="float64")
    graph = sg.Graph(z, name="noisy")
    y = value("y", 3)
    outs = run(
        {"z": z, "a": graph(y), "b": graph(y * 2.0), "c": sg.replace(z, {x: y})},
        x=np.zeros(3),
        y=np.zeros(3),
    )
    for name in "abc":
        assert_array_equal(outs[name], outs["z"])
    batched = sg.vectorize(z, {x: value("xs", 2, 3)})
    assert_array_equal(run(batched, xs=np.zeros((2, 3))), np.stack([outs["z"]] * 2))
    # a graph with updates advances the generator once, whichever calls it contains
    count = sg.parameter("count", 0.0)
    step = sg.compile(sg.Graph({"a": graph(y), "b": graph(y)}, {count: count + 1.0}))
    runs = [step.run({"y": np.zeros(3)}) for _ in range(2)]
    assert_array_equal(runs[0]["a"], runs[0]["b"])
    assert not np.array_equal(runs[0]["a"], runs[1]["a"])


def test_statistics_of_layers_follow_the_values():
    def build():
        norm = sg.nn.BatchNorm1d(2)
        x = value("x", 4, 2)
        return norm, x, norm(x)

    numbers, second = random(4, 2), random(4, 2, seed=1)
    outputs = []
    for change in ("written", "replaced", "called"):
        norm, x, z = build()
        y = value("y", 4, 2)
        if change == "written":
            result = z
        elif change == "replaced":
            result = sg.replace(z, {x: y * 1.0})
        else:
            result = sg.Graph(z, name="normed")(y * 1.0)
        count = sg.parameter("count", 0.0)
        step = sg.compile(sg.Graph({"z": result}, {count: count + 1.0}))
        name = "x" if change == "written" else "y"
        step.run({name: numbers})
        out = step.run({name: second})["z"]
        outputs.append((out, norm.running_mean.value, norm.running_var.value))
    for out, mean, var in outputs[1:]:
        assert_allclose(out, outputs[0][0], rtol=1e-5)
        assert_allclose(mean, outputs[0][1], rtol=1e-5)
        assert_allclose(var, outputs[0][2], rtol=1e-5)
    norm, x, z = build()
    with pytest.raises(GraphError, match="for each element"):
        sg.vectorize(z, {x: value("xs", 3, 4, 2)})


def test_complex_values_are_called_replaced_and_vectorized():
    z = sg.input("z", ("n",), "complex128")
    graph = sg.Graph({"w": z * z, "m": abs(z).sum()}, name="squares")
    numbers = random(3) + 1j * random(3, seed=1)
    u = sg.input("u", (3,), "complex128")
    outs = run(graph(u * 2.0), u=numbers)
    assert_allclose(outs["w"], (2 * numbers) ** 2)
    assert_allclose(outs["m"], abs(2 * numbers).sum())
    assert_allclose(run(sg.replace(z * z, {z: u + 1.0}), u=numbers), (numbers + 1) ** 2)
    y = z * 2.0
    assert_allclose(run(sg.replace(y * y, {y: u}), u=numbers), numbers**2)
    batch = sg.input("batch", (2, 3), "complex128")
    lengths = sg.vectorize(sg.replace(graph["m"], {z: u}), {u: batch})
    result = run(lengths, batch=np.stack([numbers, 2 * numbers]))
    assert_allclose(result, [abs(numbers).sum(), 2 * abs(numbers).sum()])
    with pytest.raises(DTypeError, match="c128"):
        graph(u.real)


@pytest.mark.parametrize("kinds", [(Tensor, Tensor), (Tensor, np.asarray), (np.asarray, Tensor)])
def test_a_graph_of_complex_and_real_tensors_has_results_of_its_types(kinds):
    z, scale = sg.input("z", (2,), "complex64"), sg.input("scale", (2,), "float32")
    graph = sg.Graph({"product": z * scale, "square": sg.abs_square(z) * scale})
    numbers, scales = np.array([1 + 2j, 3 - 1j], "complex64"), np.array([2.0, 0.5], "float32")
    results = graph(kinds[0](numbers), kinds[1](scales))
    assert [str(tensor.dtype) for tensor in results.values()] == ["complex64", "float32"]
    assert_allclose(results["product"].numpy(), numbers * scales, rtol=1e-6)
    assert_allclose(results["square"].numpy(), abs(numbers) ** 2 * scales, rtol=1e-6)


def test_a_call_is_a_scope_that_reports_fold(tmp_path):
    x, w = value("x", "n", 20), sg.parameter("w", random(20, 20))
    block = sg.Graph(sg.tanh(x @ w) @ w, name="block")
    y = value("y", 4, 20)
    with sg.scope("net"):
        first = block(y)
        second = block(first * 2.0)
    loss = second.sum()
    graph = sg.Graph({"loss": loss, "dw": sg.grad(loss, w)}, name="step")
    lines = {line for line in str(graph).splitlines() if "[net/block() test_sub" in line}
    assert len(lines) > 6
    assert str(sg.parse(str(graph))) == str(graph)
    outline = graph.outline()
    called = [line for line in outline.splitlines() if " = net/block(" in line]
    assert sum("^1" not in line for line in called) == 2
    assert sum("^1" in line for line in called) >= 2
    assert "tanh" not in outline
    step = sg.compile(graph)
    text, full = str(step.explanation()), step.explanation().text(full=True)
    assert "[net/block()]" in text
    assert "steps of" in text
    assert "block() test_sub" not in text
    assert "[net/block() test_sub" in full
    assert "k0 " in full
    profile = step.profile({"y": random(4, 20)})
    rows = [row for row in profile.text().splitlines() if "[net/block()]" in row]
    assert any("steps of" in row for row in rows)
    assert len(profile.rows()) < len(profile.rows(full=True))
    picture = graph.svg()
    assert "block()" in picture
    assert "tanh" in picture  # a box: what is folded are lines
    assert "@ w) @ w" not in picture
    dot = graph.dot()
    assert dot.count("subgraph cluster") == 2
    assert "net/block()" in dot


def scopes_of(graph):
    """The scopes of the nodes of calls, without the file and line."""
    scopes = dict.fromkeys(node.origin.scope for node in graph.nodes)
    return [re.sub(r" [^ ]*:\d+", "", scope) for scope in scopes if scope]


def test_each_call_of_a_line_is_a_scope_of_its_own():
    x, w = value("x", "n", 20), sg.parameter("w", random(20, 20))
    block = sg.Graph(sg.tanh(sg.exp(x @ w) @ w), name="block")
    y = value("y", 4, 20)

    def build():
        z = block(y) - block(y + 1.0)  # on one line
        for _ in range(2):
            z = block(z)
        return sg.Graph({"z": z, "slope": sg.grad((z * z).sum(), w)}, name="net")

    graph = build()
    calls = ["block()", "block() #2", "block()", "block() #2"]
    assert scopes_of(graph) == calls
    assert str(sg.parse(str(graph))) == str(graph)
    forward = [line for line in graph.outline().splitlines() if " = block(" in line]
    forward = [line for line in forward if "^1" not in line]
    assert len(forward) == 4
    assert ["#2" in line for line in forward] == [False, True] * 2
    assert graph.dot().count("subgraph cluster") == 4
    assert graph.svg().count("block() #2") >= 2
    explanation = sg.compile(graph).explanation()
    (first, second), table = explanation.text().split("arena: "), explanation.text(full=True)
    rows = [line for line in second.splitlines() if "values  # " in line]
    assert any("[block() #2]" in row for row in rows)
    assert any("[block()]" in row for row in rows)
    assert sum("steps of" in line for line in first.splitlines()) >= 4
    full = table.partition("arena: ")[2]
    assert "values  # " not in full
    peak = [text.partition("stored from")[0] for text in (second, full)]
    folded, listed = ([int(n) for n in re.findall(r"(\d+) bytes  ", text)] for text in peak)
    assert len(folded) < len(listed) <= 11
    assert scopes_of(build())[0] == "block() #3"  # while the first graph lives
    del graph, explanation
    gc.collect()
    assert scopes_of(sg.function(lambda y: block(block(y))).graph(random(4, 20))) == calls[:2]


def test_a_mapped_graph_has_the_sizes_of_its_elements():
    x = value("x", "n")
    norm = sg.Graph({"unit": x / sg.sqrt((x * x).sum()), "sum": x.sum()}, name="norm")
    results = sg.vmap(norm)(value("xs", 5, 3))
    assert [result.shape for result in results.values()] == [(5, 3), (5,)]
    assert {*sg.Graph(results).sizes} == set()
    rows = random(5, 3)
    assert_allclose(run(results, xs=rows)["unit"], rows / np.linalg.norm(rows, axis=1)[:, None])


def test_a_graph_with_calls_is_saved_exported_and_copied(tmp_path):
    x, w = value("x", "n", 3), sg.parameter("w", random(3, 3))
    block = sg.Graph(sg.tanh(x @ w), name="block")
    graph = sg.Graph({"z": block(block(value("y", 4, 3)))}, name="step")
    sg.save(tmp_path / "weights.npz", graph)
    w.value = np.zeros((3, 3))
    sg.load(tmp_path / "weights.npz", graph)
    assert_array_equal(w.value, random(3, 3))
    twin = copy.deepcopy(graph)
    numbers = random(4, 3, seed=5)
    expected = np.tanh(np.tanh(numbers @ w.value) @ w.value)
    assert_allclose(sg.evaluate(twin, {"y": numbers})["z"], expected)
    step = sg.compile(graph)
    assert_allclose(step.run({"y": numbers})["z"], expected)
    step.export(tmp_path / "step.py")
    text = (tmp_path / "step.py").read_text()
    compile(text, "step.py", "exec")
    assert "matmul, tanh: test_substitution.py" in text


# -- replaced values ------------------------------------------------------------------------------


def test_replacement_shares_what_does_not_change_and_what_several_values_share():
    x, y = value("x", 3), value("y", 3)
    fixed, shared = sg.exp(y), sg.sin(x)
    a, b = shared + fixed, shared * fixed
    new_a, new_b = sg.replace((a, b), {x: x * 2.0})
    assert new_a.node.args[1].node is fixed.node
    assert new_a.node.args[0].node is new_b.node.args[0].node
    assert new_a.node.args[0].node is not shared.node
    assert new_a.node.origin == a.node.origin


def test_replacements_happen_at_once():
    x, y = value("x"), value("y")
    z = x - 2.0 * y
    swapped = sg.replace(z, {x: y, y: x})
    assert run(swapped, x=3.0, y=5.0) == 5.0 - 6.0
    h = sg.exp(x)
    assert_allclose(run(sg.replace(h * h, {h: h + 1.0}), x=0.5), (np.exp(0.5) + 1.0) ** 2)
    assert run(sg.replace([z], [(x, 1.0), (y, 2)])[0]) == -3.0


def test_a_replaced_size_is_replaced_where_it_is_read():
    x = value("x", "n")
    centred = x - x.mean() + sg.iota((x.shape[0],))
    numbers = random(4)
    expected = numbers - numbers.mean() + np.arange(4)
    assert_allclose(run(sg.replace(centred, {x: value("y", 4)}), y=numbers), expected)
    assert_allclose(run(sg.replace(centred, {x: value("y", "m")}), y=numbers), expected)
    # an input that stays and has the size, too: a run checks that they agree
    second = value("other", "n")
    guarded = sg.replace(centred + second.mean(), {x: value("y", 4)})
    assert_allclose(run(guarded, y=numbers, other=np.ones(4)), expected + 1.0)
    with pytest.raises(SizeGuardError):
        sg.compile(guarded).run({"y": numbers, "other": np.ones(5)})
    least = sg.input("least", (sg.dim("k", min=5),), "float64")
    with pytest.raises(ShapeError, match="becomes f64") as refused:
        sg.replace(least.sum() * sg.input("more", least.shape, "float64"), {least: numbers})
    assert "more has the size k, too: replace it as well" in refused.value.hint


def test_replacements_that_do_not_fit_are_one_clear_error():
    x, y = value("x", "n", 3), value("y", 3)
    z = (x @ y).sum()
    graph = sg.Graph(z, name="f")
    cases = (
        (lambda: sg.replace(z, {value("u", 3): y}), GraphError, "not computed of u", "of x, y"),
        (lambda: sg.replace(z, {value("y", 3): y}), GraphError, "not computed of y", "another 'y'"),
        (lambda: sg.replace(z, {"y": y}), ArgumentError, "a text, not a value", "{x: new}"),
        (lambda: sg.replace(z, y), ArgumentError, "a value, not a dict", "{x: new}"),
        (lambda: sg.replace(z, {}), ArgumentError, "nothing to replace", "{x: new}"),
        (lambda: sg.replace(z, [(y, y), (y, y)]), ArgumentError, "y is replaced twice", ""),
        (lambda: sg.replace(z, {y: y.astype("float32")}), DTypeError, "f32", "astype('float64')"),
        (lambda: sg.replace(z, {y: 1.0}), RankError, "becomes f64", "broadcast_to(new, (3,))"),
        (lambda: sg.replace(z, {y: np.ones(1)}), ShapeError, "becomes", "broadcast_to"),
        (lambda: sg.replace(z, {y: np.ones((4, 3))}), RankError, "becomes", "sg.vectorize(z"),
        (lambda: sg.replace(graph, {y: y}), ArgumentError, "closed", "sg.replace(f.outputs"),
        (lambda: sg.replace(lambda x: x, {y: y}), ArgumentError, "a function", "sg.vmap"),
        (lambda: sg.replace(Tensor([1.0]), {y: y}), ArgumentError, "a tensor", "sg.vmap"),
        (lambda: sg.vectorize(z, {y: y}), ArgumentError, "no replacement has", "sg.replace(z"),
        (lambda: sg.vectorize(z, {x: y, y: y}), RankError, "elements are in", "in front"),
        (lambda: sg.vectorize(z, {y: np.ones((2, 4))}), ShapeError, "elements are in", "axis 1"),
    )
    for call, error, headline, hint in cases:
        with pytest.raises(error) as refused:
            call()
        assert headline in str(refused.value)
        assert hint in refused.value.hint
    batches = {x: np.ones((2, 4, 3)), y: np.ones((5, 3))}
    with pytest.raises(ShapeError, match="y has 5 elements, x has 2"):
        sg.vectorize(z, batches)


# -- batches --------------------------------------------------------------------------------------


def test_batches_meet_from_the_last_axis_of_elements():
    x, y = value("x", 3), value("y", 3)
    z = (x * y).sum() + sg.exp(x[0])
    xs, ys = random(5, 2, 3), random(2, 3, seed=1)
    result = run(sg.vectorize(z, {x: value("xs", "a", 2, 3), y: value("ys", 2, 3)}), xs=xs, ys=ys)
    assert_allclose(result, (xs * ys).sum(axis=-1) + np.exp(xs[..., 0]))
    shared = run(sg.vectorize(z, {x: value("xs", 5, 2, 3), y: value("v", 3)}), xs=xs, v=ys[0])
    assert_allclose(shared, (xs * ys[0]).sum(axis=-1) + np.exp(xs[..., 0]))
    # what no element reads is the same for all, and has the axis
    tree = sg.vectorize({"z": z, "y": y * 2.0}, {x: value("xs", 5, 3)})
    assert {name: str(v.type) for name, v in tree.items()} == {"z": "f64[5]", "y": "f64[5, 3]"}


def test_elements_of_a_batch_have_their_own_sizes():
    x, w = value("x", "n", 3), value("w", 3, 2)
    z = run_rows(x, w) / x.shape[0]
    xs, numbers = random(2, 4, 3), random(3, 2, seed=1)
    expected = [run(z, x=row, w=numbers) for row in xs]
    for sizes in ((2, 4), ("k", "m"), ("k", 4)):
        batched = sg.vectorize(z, {x: value("xs", *sizes, 3)})
        assert_allclose(run(batched, xs=xs, w=numbers), expected)
    slopes = sg.vectorize(sg.grad(z.sum(), x), {x: xs})
    assert slopes.shape == (2, 4, 3)
    assert_allclose(run(slopes, w=numbers)[1], run(sg.grad(z.sum(), x), x=xs[1], w=numbers))
    y = value("y", "n")
    with pytest.raises(
        ShapeError, match=r"y is f64\[n\], and its elements are in f64\[2, 5\]"
    ) as no:
        sg.vectorize((x.sum(axis=1) * y).sum(), {x: xs, y: np.ones((2, 5))})
    assert "axis 1 of the batch has 5 elements, not 4" in no.value.hint
    guarded = sg.vectorize((x.sum(axis=1) * y).sum(), {x: value("xs", 2, "m", 3)})
    assert_allclose(run(guarded, xs=xs, y=np.ones(4)), xs.sum(axis=(1, 2)))
    with pytest.raises(SizeGuardError, match=r"\[2, m, 3\] does not fit \[2, n, 3\]"):
        run(guarded, xs=xs, y=np.ones(5))


def test_vectorized_values_are_those_of_vmap():
    x, w = value("x", 4, 3), sg.parameter("w", W)
    xs = random(5, 4, 3)
    for program in PROGRAMS:
        mapped = sg.vmap(lambda x, program=program: program(x, w))(value("xs", 5, 4, 3))
        batch = sg.vectorize(program(x, w), {x: value("xs", 5, 4, 3)})
        assert_array_equal(run(mapped, xs=xs), run(batch, xs=xs))


# -- hints of others ------------------------------------------------------------------------------


def test_hints_name_the_cure():
    x = value("x", "n")
    z, graph = x.sum(), sg.Graph(x * 2.0, name="g")
    with pytest.raises(ArgumentError) as refused:
        sg.vmap(z)
    assert "sg.vectorize(z, {x: batch})" in refused.value.hint
    assert sg.vectorize(z, {x: value("batch", 3, "n")}).shape == (3,)
    for name in ("replace", "clone_replace", "vectorize", "inline"):
        with pytest.raises(AttributeError) as missing:
            getattr(graph, name)
        assert (
            "sg.replace" in missing.value.hint
            or "sg.vectorize" in missing.value.hint
            or ("graph(x=value)" in missing.value.hint)
        )
    for name, cure in (
        ("clone_replace", "sg.replace(value"),
        ("vectorize_graph", "sg.vectorize(value"),
        ("OpFromGraph", "f(x)"),
    ):
        with pytest.raises(AttributeError) as missing:
            getattr(sg, name)
        assert cure in missing.value.hint
    assert sg.replace(graph.outputs, {x: value("y", 3)})["output"].shape == (3,)
    assert sg.vectorize(graph.outputs, {x: value("ys", 2, "n")})["output"].ndim == 2
