"""Mixed precision: who reads rounded values, what they cost, and with what they combine."""

from dataclasses import replace

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
from staticgrad.native import loader
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
    h = sg.input("x", (16, 64), "float32")
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


def softmax_of_products(rows, columns, terms):
    """Softmax of a product, whose rows are reduced in its kernel."""
    random = np.random.default_rng(rows + terms)
    q, k = (random.normal(size=(2, n, terms)).astype("f4") for n in (rows, columns))
    values = [sg.input(name, a.shape, "float32") for name, a in (("q", q), ("k", k))]
    scores = values[0] @ sg.swapaxes(values[1], -1, -2)
    return sg.Graph({"y": sg.nn.softmax(scores, axis=-1)}), {"q": q, "k": k}


@pytest.mark.parametrize("sizes", [(64, 64, 32), (37, 70, 33), (130, 50, 300), (11, 7, 3)])
def test_products_among_other_stages_multiply_rounded_factors(sizes):
    graph, feeds = softmax_of_products(*sizes)
    compiled = sg.compile(graph, pipeline="O1,narrow{products=True}")
    scores = round_numbers(feeds["q"]) @ round_numbers(feeds["k"]).swapaxes(-1, -2)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    exact = weights / weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(compiled.run(feeds)["y"], exact, rtol=2e-4, atol=1e-7)
    if min(sizes) > 5:
        assert len(compiled.kernels) == 1  # which rounds both factors itself


def attention_with_slopes(queries, keys, size, causal):
    """Attention of two heads and its gradients, of values that a program computes."""
    random = np.random.default_rng(queries + size)
    counts = {"q": queries, "k": keys, "v": keys, "ct": queries}
    feeds = {
        name: random.normal(size=(1, 2, count, size)).astype("f4") for name, count in counts.items()
    }
    *values, ct = (sg.input(name, a.shape, "float32") for name, a in feeds.items())
    y = sg.nn.attention(*(sg.tanh(x) for x in values), causal=causal)
    slopes = sg.grad((y * ct).sum(), values)
    return sg.Graph({"y": y, **dict(zip(["dq", "dk", "dv"], slopes, strict=True))}), feeds


@pytest.mark.parametrize(
    "sizes", [(64, 64, 32, False), (37, 37, 17, True), (20, 300, 48, False), (129, 129, 130, True)]
)
def test_products_of_attention_have_the_same_bytes_everywhere(sizes):
    graph, feeds = attention_with_slopes(*sizes)
    passes = "O1,narrow{products=True, readers='all'}"
    compiled = sg.compile(graph, pipeline=passes, verify=True)
    usual = compiled.run(feeds)
    exact = sg.compile(graph).run(feeds)
    for name, array in exact.items():
        scale = np.abs(array).max()
        np.testing.assert_allclose(usual[name], array, rtol=0, atol=2e-2 * scale)
    settings = [{"jit": False}] if sizes[0] * sizes[1] < 3000 else []
    settings += [{"target": "x86-64-v3"}] * (ladder()[-1].cpu == "x86-64-v3")
    for setting in settings:
        with sg.options(**setting):
            assert_same(sg.compile(graph, pipeline=passes).run(feeds), usual, f"{setting}")
    assert_same(sg.compile(graph, pipeline=passes, fuse=False).run(feeds), usual, "unfused")


def test_attention_reads_no_wide_copies_of_rounded_values():
    graph, _ = attention_with_slopes(64, 64, 32, False)
    compiled = sg.compile(graph, pipeline="O1,narrow{products=True, readers='all'}")
    casts = [step.kernel for step in compiled.schedule.steps if step.label == "tanh, cast"]
    stored = [x.dtype.name for kernel in casts for x in kernel.operands if x.mode == "out"]
    assert stored
    assert set(stored) == {"bfloat16"}


@pytest.mark.parametrize(("rows", "dtype"), [(8, "float32"), (9, "bfloat16"), ("n", "bfloat16")])
def test_products_of_few_rows_are_not_rounded(rows, dtype):
    w = sg.parameter("w", np.eye(64, dtype="f4"))
    y = sg.input("x", (rows, 64), "float32") @ w
    feeds = {"x": np.ones((9 if rows == "n" else rows, 64), "f4")}
    products = sg.precision(y, feeds, products=True, runs=1).products
    assert [product.dtype for product in products] == [dtype]


def test_a_constant_is_rounded_for_few_rows_too():
    y = sg.input("x", (8, 64), "float32") @ sg.constant(np.eye(64, dtype="f4"))
    products = sg.precision(y, {"x": np.ones((8, 64), "f4")}, products=True, runs=1).products
    assert [product.dtype for product in products] == ["bfloat16"]


def test_products_of_float16_are_not_rounded():
    with pytest.raises(sg.errors.PipelineError, match="products of float16 are not faster"):
        Narrow("float16", products=True)


def round_away(array):
    """Return float32 numbers rounded to bfloat16, ties away from zero, in float64."""
    bits = np.asarray(array, "f4").view("u4").astype("u8") + 0x8000 & 0xFFFF0000
    return bits.astype("u4").view("f4").astype("f8")


def convolve_in_tiles(x, w):
    """A convolution of 3x3 taps with a border of 1 by F(2x2, 3x3), combinations in bfloat16."""
    image = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    taps = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    result = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
    filters = round_away(np.einsum("ai,ocij,bj->ocab", taps, w.astype("f8"), taps))
    high, wide = x.shape[2:]
    x = np.pad(x.astype("f8"), ((0, 0), (0, 0), (1, 3), (1, 3)))
    y = np.zeros((len(x), len(w), high + 2, wide + 2))
    for i in range(0, high, 2):
        for j in range(0, wide, 2):
            tile = np.einsum("ai,ncij,bj->ncab", image, x[:, :, i : i + 4, j : j + 4], image)
            products = np.einsum("ncab,ocab->noab", round_away(tile), filters)
            y[:, :, i : i + 2, j : j + 2] = np.einsum("ia,noab,jb->noij", result, products, result)
    return y[:, :, :high, :wide]


def convolution_with_slope(shape=(2, 32, 15, 14), filters=32):
    random = np.random.default_rng(7)
    feeds = {"x": random.normal(size=shape).astype("f4")}
    feeds["w"] = (random.normal(size=(filters, shape[1], 3, 3)) / 17).astype("f4")
    x, w = (sg.input(name, array.shape, "float32") for name, array in feeds.items())
    c = random.normal(size=(shape[0], filters, *shape[2:])).astype("f4")
    y = sg.nn.conv(x, w, padding=1)
    return sg.Graph({"y": y, "dx": sg.grad((y * c).sum(), x)}), feeds, c


CONVOLUTIONS = "O1,narrow{products=True, readers='all'}"


def test_convolutions_in_tiles_multiply_rounded_combinations():
    graph, feeds, c = convolution_with_slope()
    f = sg.compile(graph, pipeline=CONVOLUTIONS)
    assert sum("in u32" in line for line in str(f.schedule).splitlines()) >= 2
    results, (x, w) = f.run(feeds), feeds.values()
    expected = {
        "y": convolve_in_tiles(x, w),
        "dx": convolve_in_tiles(c, w.swapaxes(0, 1)[:, :, ::-1, ::-1]),
    }
    exact = sg.compile(graph).run(feeds)
    for name, array in expected.items():
        # a combination in float32 may lie on the other side of the middle of two bfloat16 numbers
        atol = 1e-3 * np.abs(array).max()
        np.testing.assert_allclose(results[name], array, rtol=0, atol=atol)
        errors = np.abs(results[name] - exact[name]).max() / np.abs(exact[name]).max()
        assert 1e-3 < errors < 1e-2


@pytest.mark.parametrize("way", ["x86-64-v3", "no instruction", "jit=False", "numba", "unfused"])
def test_convolutions_of_rounded_combinations_have_the_same_bytes(way, monkeypatch):
    graph, feeds, _ = convolution_with_slope((1, 16, 15, 14), 16)
    usual = sg.compile(graph, pipeline=CONVOLUTIONS).run(feeds)
    options = {
        "x86-64-v3": {"target": "x86-64-v3"},
        "jit=False": {"jit": False},
    }.get(way, {})
    if way == "x86-64-v3" and ladder()[-1].cpu != "x86-64-v3":
        pytest.skip("no such target")
    if way == "no instruction":
        host = ladder()[0]
        plain = replace(host, features=host.features.replace("+avx512bf16", "-avx512bf16"))
        monkeypatch.setattr(loader, "host", lambda: plain)
    arguments = {"numba": {"backend": "numba"}, "unfused": {"fuse": False}}.get(way, {})
    with sg.options(**options):
        results = sg.compile(graph, pipeline=CONVOLUTIONS, **arguments).run(feeds)
    assert_same(results, usual, way)


def test_convolutions_without_tiles_are_not_rounded():
    """Three channels, strides that no tile has, and a channel in each group."""
    random = np.random.default_rng(8)
    for shape, filters, options in (
        ((1, 3, 16, 16), (8, 3, 3, 3), {"padding": 1}),
        ((1, 32, 16, 16), (32, 1, 3, 3), {"groups": 32}),
    ):
        x, w = sg.input("x", shape, "float32"), sg.input("w", filters, "float32")
        feeds = {"x": random.normal(size=shape), "w": random.normal(size=filters)}
        feeds = {name: array.astype("f4") for name, array in feeds.items()}
        graph = sg.Graph({"y": sg.nn.conv(x, w, **options)})
        narrow = sg.compile(graph, pipeline="O1,narrow{products=True}").run(feeds)
        assert_same(narrow, sg.compile(graph).run(feeds), str(options))


def correlate(x, w, stride, padding):
    """A convolution by loops over its results, in float64."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    size = w.shape[2]
    counts = [(extent - size) // stride + 1 for extent in x.shape[2:]]
    y = np.zeros((len(x), len(w), *counts))
    for i, j in np.ndindex(*counts):
        at = x[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
        y[:, :, i, j] = np.tensordot(at, w, ((1, 2, 3), (1, 2, 3)))
    return y


def odd_numbers(random, shape):
    """Float32 numbers whose last bit is set: none is in the middle of two of bfloat16."""
    bits = (random.normal(size=shape) / 9).astype("f4").view("u4") | 1
    return bits.view("f4")


@pytest.mark.parametrize(
    ("shape", "filters", "stride", "padding"),
    [
        ((4, 32, 9, 10), (16, 32, 1, 1), 1, 0),
        ((2, 16, 12, 12), (32, 16, 3, 3), 2, 1),
        ((2, 16, 5, 5), (16, 16, 3, 3), 1, 1),
        ((4, 128, 3, 3), (128, 128, 3, 3), 1, 1),
        ((2, 16, 8, 8), (32, 16, 4, 4), 4, 0),
    ],
)
def test_other_convolutions_multiply_rounded_elements(shape, filters, stride, padding):
    """Pointwise ones, those with strides, few windows, and adjacent ones."""
    random = np.random.default_rng(9)
    feeds = {"x": odd_numbers(random, shape), "w": odd_numbers(random, filters)}
    x, w = (sg.input(name, array.shape, "float32") for name, array in feeds.items())
    y = sg.nn.conv(x, w, stride=stride, padding=padding)
    c = odd_numbers(random, y.shape)
    dx, dw = sg.grad((y * c).sum(), [x, w])
    f = sg.compile(sg.Graph({"y": y, "dx": dx, "dw": dw}), pipeline=CONVOLUTIONS)
    results = f.run(feeds)
    exact_x, exact_w, exact_c = (round_away(a) for a in (feeds["x"], feeds["w"], c))
    expected = correlate(exact_x, exact_w, stride, padding)
    np.testing.assert_allclose(results["y"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    for name, factor in (("dx", exact_w), ("dw", exact_x)):
        # the slope of the sum of c y along a direction is c times the convolution by it
        direction = random.normal(size=results[name].shape)
        pair = (direction, factor) if name == "dx" else (factor, direction)
        slope = (exact_c * correlate(*pair, stride, padding)).sum()
        size = np.linalg.norm(direction) * np.linalg.norm(results[name])
        assert abs((results[name] * direction).sum() - slope) < 1e-5 * size


def test_gradients_of_an_odd_batch_are_not_rounded():
    _, feeds, c = convolution_with_slope((3, 16, 5, 5), 16)
    x, w = (sg.input(name, array.shape, "float32") for name, array in feeds.items())
    graph = sg.Graph({"dw": sg.grad((sg.nn.conv(x, w, padding=1) * c).sum(), w)})
    del feeds["w"]
    narrow = sg.compile(graph, pipeline=CONVOLUTIONS).run(feeds)
    assert_same(narrow, sg.compile(graph).run(feeds), "an odd batch")
