"""Mixed precision: who reads rounded values, what they cost, and with what they combine."""

import numpy as np
import pytest

import staticgrad as sg
from passes.narrow import Narrow
from passes.pipelines import pipeline
from passes.validation import mismatch
from staticgrad import optim
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import PassMismatchError
from staticgrad.language.ir.bodies import walk_bodies
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.types.dtype import as_dtype
from staticgrad.native.target import ladder
from tests.compiled.agreement import assert_same
from tests.helpers.diagonals import diagonals

WIDTH = 8
ROUNDINGS = ("bfloat16", "float16")


def layers(depth=4):
    """A perceptron whose layers have scopes, and a normalisation with a reduction between them."""
    random = np.random.default_rng(0)
    h = sg.input("x", (16, WIDTH), "float32")
    arrays = [random.normal(size=(WIDTH, WIDTH)).astype("float32") / 5 for _ in range(depth)]
    weights = [sg.parameter(f"w{k}", array) for k, array in enumerate(arrays)]
    for k, w in enumerate(weights):
        with sg.scope("encoder" if k % 2 else "decoder"), sg.scope(f"layer{k}"):
            h = sg.tanh(h @ w)
    h = h - h.mean(axis=1, keepdims=True)
    return (h * h).sum(), weights, {"x": random.normal(size=(16, WIDTH)).astype("float32")}


def scan_program():
    """A loop whose slices are computed, and which stacks what its gradient reads."""
    random = np.random.default_rng(1)
    x = sg.input("x", (12, 8, WIDTH), "float32")
    w = sg.parameter("w", random.normal(size=(WIDTH, WIDTH)).astype("float32") / 5)

    def iteration(h, row):
        h = sg.tanh(h @ w + sg.sin(row * 2))
        return h, h * row

    last, all_of_them = sg.scan(iteration, x[0] * 0, sg.cos(x))
    loss = (all_of_them**2).mean() + last.sum()
    return loss, [w], {"x": random.normal(size=(12, 8, WIDTH)).astype("float32")}


PROGRAMS = {"layers": layers, "scanned": scan_program}


def graph_of(build):
    """The loss with its gradients, and feeds."""
    loss, weights, feeds = build()
    slopes = sg.grad(loss, weights)
    return sg.Graph(
        {"loss": loss, **{w.name: g for w, g in zip(weights, slopes, strict=True)}}
    ), feeds


def narrow_nodes(graph):
    """The nodes, in bodies too, that give a value of a storage dtype."""
    every = [graph, *walk_bodies(graph)]
    return [n for g in every for n in g.nodes if any(t.dtype.is_storage for t in n.types)]


@diagonals(2, ("name", PROGRAMS), ("dtype", ROUNDINGS))
def test_gradients_alone_read_what_is_rounded(name, dtype):
    graph, feeds = graph_of(PROGRAMS[name])
    passed = pipeline("O1")(graph)
    narrowed = Narrow(dtype)(passed)
    verify_graph(narrowed)
    assert sg.same_graph(
        sg.parse(str(narrowed), parameters={p.name: p.value for p in graph.parameters}), narrowed
    )
    assert narrow_nodes(narrowed)
    assert Narrow(dtype)(narrowed) is narrowed
    expected, actual = sg.evaluate(graph, feeds), sg.evaluate(narrowed, feeds)
    assert same_bytes(expected["loss"], actual["loss"])
    ulp = 2.0 ** (1 - as_dtype(dtype).digits)
    for key in actual.keys() - {"loss"}:
        error = np.abs(actual[key] - expected[key]).max() / np.abs(expected[key]).max()
        assert 0 < error < 2 * ulp
    ran = sg.compile(graph, pipeline=f"O1,narrow{{dtype={dtype!r}}}").run(feeds)
    for key, array in actual.items():
        np.testing.assert_allclose(ran[key], array, rtol=1e-4, atol=1e-4 * np.abs(array).max())


@pytest.mark.thinned
@pytest.mark.parametrize("readers", ["backward", "all"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_bits_do_not_depend_on_budgets_policies_or_threads(name, readers):
    graph, feeds = graph_of(PROGRAMS[name])
    text = f"O1,narrow{{readers={readers!r}}}"
    unlimited = sg.compile(graph, pipeline=text, threads=1)
    expected = unlimited.run(feeds)
    exact = sg.compile(graph)
    exact.run(feeds)
    assert unlimited.peak_bytes < exact.peak_bytes
    options = (
        {"checkpoint": "recompute"}, {"threads": 2},
        {"checkpoint": "sqrt", "memory_budget": unlimited.peak_bytes - 64},
    )  # fmt: skip
    for compile_options in options:
        assert_same(
            sg.compile(graph, pipeline=text, **compile_options).run(feeds),
            expected,
            compile_options,
        )


def test_what_the_program_gives_is_not_rounded():
    x = sg.input("x", (8, 8), "float32")
    h = sg.tanh(x @ x)
    loss = (sg.exp(h) * h).sum()
    graph = sg.Graph({"h": h, "loss": loss, "slope": sg.grad(loss, x)})
    assert [n.args[0].node.op.name for n in narrow_nodes(Narrow()(graph))] == ["exp"]
    views = sg.Graph({"h": h.T, "slope": sg.grad((h @ h).sum(), x)})
    assert Narrow(ops="tanh")(views) is views


def test_ops_and_scopes_are_chosen_by_patterns():
    graph, _ = graph_of(layers)

    def rounded_scopes(**options):
        nodes = narrow_nodes(pipeline(f"O1,{Narrow(**options)}")(graph))
        return [node.origin.scope.rpartition("/")[2] for node in nodes]

    assert rounded_scopes(scopes="encoder") == ["layer1", "layer3"]
    assert rounded_scopes(scopes="*/layer[12] decoder/layer0") == ["layer0", "layer1", "layer2"]
    assert rounded_scopes(ops="* !tanh", scopes="* !*coder") == [""] * len(
        rounded_scopes(scopes="* !*coder")
    )
    assert rounded_scopes(ops="!tanh", scopes="encoder") == []


def test_paths_of_modules_are_scopes():
    layer = sg.nn.Linear
    inner = sg.nn.Sequential(layer(8, 8), sg.tanh, layer(8, 8))
    model = sg.nn.Sequential(layer(8, 8), inner, layer(8, 8))
    x, weights = sg.input("x", (16, 8), "float32"), model.parameters()
    with model.scopes():
        loss = (model(x) ** 2).sum()
    slopes = {p.name: slope for p, slope in zip(weights, sg.grad(loss, weights), strict=True)}
    graph = pipeline("O1")(sg.Graph({"loss": loss, **slopes}))

    def rounded_scopes(scopes):
        return [node.origin.scope for node in narrow_nodes(Narrow(scopes=scopes)(graph))]

    first, *between, last = rounded_scopes("*")
    assert (first, last) == ("layers.0", "layers.2")
    assert rounded_scopes("layers.1") == between
    assert rounded_scopes("layers.1.*") == [scope for scope in between if "/" in scope] != []
    assert (
        rounded_scopes("layers.1.layers.2")
        == rounded_scopes("layers.1/layers.2")
        == ["layers.1/layers.2"]
    )
    assert rounded_scopes("* !layers.1") == ["layers.0", "layers.2"]
    assert rounded_scopes("head*") == []


def test_checks_compare_without_the_rounding_and_find_what_else_is_wrong():
    graph, _ = graph_of(scan_program)
    for readers in ("all", "backward"):
        passes = pipeline(f"narrow{{readers={readers!r}}}")
        passes.run(graph, check=True)
        assert mismatch(graph, passes.without_rounding()(graph), "exact") is None

    class Wrong(Narrow, name="wrong_narrow"):
        def __call__(self, graph):
            doubled = {name: value * 2 for name, value in graph.outputs.items()}
            return sg.Graph(doubled, inputs=graph.inputs, name=graph.name)

        apply = Narrow.__mro__[1].apply

    with pytest.raises(PassMismatchError, match="pass wrong_narrow"):
        pipeline(Wrong()).run(graph, check=True)


def test_training_in_half_the_bytes_with_a_loss_scale():
    losses = []
    for text in ("O1", "O1,narrow{dtype='float16'}"):
        loss, weights, feeds = layers()
        adam = optim.Adam(0.01, loss_scale=optim.LossScale(2.0**8))
        step = sg.Graph({"loss": loss}, updates=adam.updates(loss, weights))
        f = sg.compile(step, pipeline=text)
        losses.append([float(f.run(feeds)["loss"]) for _ in range(12)])
    exact, narrow = np.array(losses)
    assert exact[-1] < 0.9 * exact[0]
    assert 0 < np.abs(narrow - exact).max() < 0.01 * abs(exact[0])


def round_numbers(array):
    """Return an array rounded to bfloat16, in float64."""
    return np.asarray(array, "f4").astype(as_dtype("bfloat16").numpy).astype("f8")


def product_with_slopes():
    """Two products with a scalar loss, their gradients and updates, and arrays."""
    random = np.random.default_rng(3)
    x = sg.input("x", (37, 45), "float32")
    arrays = [random.normal(size=size).astype("f4") / 4 for size in ((45, 33), (33, 29))]
    v, w = (sg.parameter(name, a) for name, a in zip("vw", arrays, strict=True))
    c = random.normal(size=(37, 29)).astype("f4")
    y = (x @ v) @ w
    loss = (y * c).sum()
    slopes = sg.grad(loss, [v, w])
    outputs = {"y": y, "dv": slopes[0], "dw": slopes[1]}
    return sg.Graph(outputs), {"x": random.normal(size=(37, 45)).astype("f4")}, (*arrays, c)


def test_products_multiply_rounded_factors():
    graph, feeds, (v, w, c) = product_with_slopes()
    results = sg.compile(graph, pipeline="O1,narrow{products=True}").run(feeds)
    x = feeds["x"]
    h = round_numbers(x) @ round_numbers(v)
    expected = {
        "y": round_numbers(h) @ round_numbers(w),
        "dv": round_numbers(x).T @ round_numbers(round_numbers(c) @ round_numbers(w).T),
        "dw": round_numbers(h).T @ round_numbers(c),
    }
    for name, exact in expected.items():
        # a sum in float32 may lie on the other side of the middle between two bfloat16 numbers
        np.testing.assert_allclose(results[name], exact, rtol=0, atol=2e-3 * np.abs(exact).max())
    np.testing.assert_allclose(results["dw"], expected["dw"], rtol=0, atol=2e-3)
    inexact = sg.compile(graph).run(feeds)
    assert np.abs(inexact["y"] - expected["y"]).max() > 1e-3


@pytest.mark.parametrize("readers", ["all", "backward"])
def test_products_of_rounded_factors_have_the_same_bytes_everywhere(readers):
    graph, feeds, _ = product_with_slopes()
    passes = f"O1,narrow{{products=True, readers='{readers}'}}"
    usual = sg.compile(graph, pipeline=passes).run(feeds)
    for settings in ({"target": "x86-64-v3"}, {"jit": False}):
        if "target" in settings and ladder()[-1].cpu != "x86-64-v3":
            continue
        with sg.options(**settings):
            results = sg.compile(graph, pipeline=passes).run(feeds)
        assert_same(results, usual, f"{settings}")
    results = sg.compile(graph, pipeline=passes, fuse=False).run(feeds)
    assert_same(results, usual, "unfused")


def test_no_copy_of_a_parameter_is_stored():
    random = np.random.default_rng(4)
    h = sg.input("x", (8, 64), "float32")
    weights = [
        sg.parameter(f"w{k}", random.normal(size=(64, 64)).astype("f4") / 8) for k in range(4)
    ]
    for w in weights:
        h = sg.nn.relu(h @ w)
    loss = (h * h).sum()
    updates = {w: w - 0.1 * g for w, g in zip(weights, sg.grad(loss, weights), strict=True)}
    graph = sg.Graph({"loss": loss}, updates)
    exact = sg.compile(graph)
    narrow = sg.compile(graph, pipeline="O1,narrow{products=True, readers='all'}", verify=True)
    assert narrow.plan().peak_bytes < exact.plan().peak_bytes
    lines = str(narrow.schedule).splitlines()
    products = [line for line in lines if "@acc: f32 = sum" in line]
    assert products
    assert all(" in bf16" in line for line in products)


def test_products_of_float16_are_not_rounded():
    with pytest.raises(sg.errors.PipelineError, match="products of float16 are not faster"):
        Narrow("float16", products=True)
