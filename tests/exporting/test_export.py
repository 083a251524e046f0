"""Exported files: run in a process without the package, to the bits of ``f.run``; and errors."""

import importlib
import operator
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from benchmarks.harness.implementation import Settings
from benchmarks.implementations.with_staticgrad import StaticgradProgram, feeds_of
from benchmarks.workloads import all_workloads
from staticgrad import errors
from staticgrad.analysis.binding import check_sizes, typical_sizes
from staticgrad.exporting.steps import StepsWriter
from staticgrad.language.types.dim import evaluate, maximum
from staticgrad.support.identifiers import PYTHON, fill
from tests.exporting.printed import load_exported

#: Runs an exported file on its feeds, in a process in which no package of this project is found.
CHILD = """
import importlib, pickle, sys
sys.path[:] = [path for path in sys.path if path != sys.argv[1]]
sys.path.insert(0, "")
file = importlib.import_module("program")
with open("feeds", "rb") as feeds:
    found = [file.run(each) for each in pickle.load(feeds)]
assert not {"staticgrad", "passes"} & sys.modules.keys()
with open("found", "wb") as results:
    pickle.dump((found, file.parameters), results)
"""
RNG = np.random.default_rng(7)


def normal(*shape, dtype="float32"):
    return RNG.normal(size=shape).astype(dtype)


def integers(end, *shape):
    return RNG.integers(0, end, shape)


def fresh_process(folder, source):
    """Run Python in a folder; the packages of this repository are not on the path."""
    keep = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-P", "-c", source, str(Path.cwd())],
        cwd=folder, env=keep, capture_output=True, text=True, check=False,
    )  # fmt: skip


def same(actual, expected):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(actual, expected)


def elementwise():
    x, y = sg.input("x", ("n", "m"), "float32"), sg.input("y", ("n", 1), "float32")
    results = {
        "a": sg.exp(x) * y + sg.sin(x * 100),
        "b": sg.where(x > 0, sg.log1p(abs(x)), sg.sqrt(abs(y) + x * x)),
        "total": sg.tanh(x).sum(), "largest": x.max(axis=1), "columns": x.sum(axis=0),
    }  # fmt: skip
    shapes = [(5, 7), (100, 5000), (4097, 300), (1, 1), (0, 3)]
    return results, [{"x": normal(n, m), "y": normal(n, 1)} for n, m in shapes]


def double():
    x = sg.input("x", ("n", "m"), "float64")
    results = {
        "softmax": sg.nn.softmax(x * 2), "var": x.var(axis=0), "power": (abs(x) + 1) ** x,
        "tan": sg.tan(x * 1000), "lse": sg.nn.logsumexp(x, axis=0), "gamma": sg.special.gammaln(x),
    }  # fmt: skip
    return results, [{"x": normal(*s, dtype="float64")} for s in [(5, 7), (100, 700), (3000, 30)]]


def training(model, x, y, optimizer):
    loss = sg.nn.cross_entropy(model(x), y)
    updates = optimizer.updates(loss, model.parameters())
    return sg.Graph({"loss": loss}, updates=updates, name="training")


def mlp():
    x, y = sg.input("x", ("batch", 20), "float32"), sg.input("y", ("batch",), "int64")
    model = sg.nn.Sequential(sg.nn.Linear(20, 33), sg.tanh, sg.nn.Linear(33, 10))
    graph = training(model, x, y, sg.optim.Adam(1e-2))
    return graph, [{"x": normal(n, 20), "y": integers(10, n)} for n in (64, 33, 64)]


def convolution():
    x, y = sg.input("x", ("batch", 3, 12, 12), "float32"), sg.input("y", ("batch",), "int64")
    model = sg.nn.Sequential(
        sg.nn.Conv2d(3, 8, 3), sg.nn.relu, sg.nn.MaxPool2d(2), sg.nn.Flatten(),
        sg.nn.Linear(200, 10),
    )  # fmt: skip
    graph = training(model, x, y, sg.optim.SGD(0.1, momentum=0.9))
    return graph, [{"x": normal(n, 3, 12, 12), "y": integers(10, n)} for n in (4, 3)]


def transformer():
    words, y = sg.input("words", ("batch", 16), "int64"), sg.input("y", ("batch", 16), "int64")
    embedding, head = sg.nn.Embedding(50, 32), sg.nn.Linear(32, 50)
    block = sg.nn.TransformerBlock(32, 4, causal=True)
    loss = sg.nn.cross_entropy(head(block(embedding(words))).reshape((-1, 50)), y.reshape((-1,)))
    parameters = [p for m in (embedding, block, head) for p in m.parameters()]
    updates = sg.optim.AdamW(1e-3).updates(loss, parameters)
    graph = sg.Graph({"loss": loss}, updates=updates, name="transformer")
    return graph, [{"words": integers(50, n, 16), "y": integers(50, n, 16)} for n in (4, 2)]


def lstm():
    x = sg.input("x", ("batch", "time", 6), "float32")
    cell = sg.nn.LSTM(6, 8)
    out = cell(x)[0]
    loss = (out**2).mean()
    graph = sg.Graph(
        {"loss": loss, "out": out}, updates=sg.optim.SGD(0.1).updates(loss, cell.parameters())
    )
    return graph, [{"x": normal(n, t, 6)} for n, t in ((4, 5), (2, 9), (1, 1))]


def scan():
    x, w = sg.input("x", ("time", 4), "float64"), sg.parameter("w", normal(4, 4, dtype="float64"))
    last, sums = sg.scan(
        lambda c, row: (sg.tanh(c @ w + row), c.sum()), sg.zeros((4,), "float64"), x
    )
    slope = sg.grad(sums.sum() + last.sum(), w)
    feeds = [{"x": normal(t, 4, dtype="float64")} for t in (5, 12, 1, 0)]
    return {"last": last, "sums": sums, "slope": slope}, feeds


def loops():
    x = sg.input("x", ("n",), "float64")
    halved = sg.while_loop(lambda c: (abs(c) > 1e-3).any(), lambda c: c * 0.5, x)
    chosen = sg.cond(x.sum() > 0, lambda: x * 2, lambda: x - 1)
    feeds = [{"x": normal(n, dtype="float64")} for n in (5, 1, 100)]
    return {"halved": halved, "chosen": chosen}, feeds


def lookups():
    x, i = sg.input("x", ("n", 5), "float32"), sg.input("i", ("k",), "int64")
    p = sg.parameter("p", normal(20, 5))
    rows = p[i]
    loss = (rows * rows).sum() + x[i % 2].sum()
    results = {
        "loss": loss, "rows": rows, "sorted": sg.sort(x, axis=0), "order": sg.argsort(x, axis=1),
        "sums": sg.cumsum(x, axis=0), "first": sg.argmax(x, axis=1),
    }  # fmt: skip
    graph = sg.Graph(results, updates={p: p - 0.1 * sg.grad(loss, p)})
    return graph, [{"x": normal(n, 5), "i": integers(20, k)} for n, k in ((4, 7), (300, 50))]


def random_numbers():
    x = sg.input("x", ("n",), "float32")
    rng = sg.random.Generator(3)
    results = {
        "uniform": rng.uniform(shape=x.shape, dtype="float32") + x,
        "normal": rng.normal(shape=x.shape, dtype="float32") * x,
    }
    return results, [{"x": normal(n)} for n in (5, 1000, 1000)]


def whole_numbers():
    a, b = sg.input("a", ("n",), "int32"), sg.input("b", ("n",), "int32")
    c, m = sg.input("c", ("n",), "uint8"), sg.input("m", ("n",), "bool")
    q = sg.input("q", ("n",), "int64")
    results = {
        "sum": a + b, "product": a * b, "quotient": a // b, "rest": a % b, "bits": (a ^ b) & a,
        "shifted": a << 3, "bytes": c + c, "chosen": sg.where(m, a, b), "any": m.any(),
        "total": a.sum(), "largest": c.max(), "float": a.astype("float32") / 3, "negative": -a,
        "size": abs(a), "not": ~m, "narrow": a.astype("int8"), "long": q // 3 + q % 7,
        "both": (a < b) & m, "truncated": c.astype("float64").astype("uint8"),
    }  # fmt: skip
    feeds = [
        {
            "a": RNG.integers(-(2**31), 2**31, n).astype("int32"),
            "b": RNG.integers(-5, 5, n).astype("int32"),
            "c": RNG.integers(0, 256, n).astype("uint8"),
            "m": RNG.integers(0, 2, n) > 0,
            "q": RNG.integers(-(2**62), 2**62, n),
        }
        for n in (5, 1000)
    ]
    return results, feeds


def sparse():
    data, x = sg.input("data", (7,), "float32"), sg.input("x", (4, "n"), "float32")
    matrix = sg.sparse.csr(data, [0, 3, 1, 1, 2, 0, 3], [0, 2, 2, 5, 7], (4, 4))
    y = matrix @ x
    slopes = sg.grad((y * y).sum(), [data, x])
    return {"y": y, "data": slopes[0], "x": slopes[1]}, [
        {"data": normal(7), "x": normal(4, n)} for n in (1, 5, 40)
    ]


def within_a_budget():
    x, h, weights = sg.input("x", (256, 64), "float32"), None, []
    for number in range(6):
        weights.append(sg.parameter(f"w{number}", normal(64, 64) * 0.1))
        h = sg.tanh((x if h is None else h) @ weights[-1])
    loss = (h * h).sum()
    pairs = zip(weights, sg.grad(loss, weights), strict=True)
    graph = sg.Graph({"loss": loss}, updates={w: w - 0.01 * slope for w, slope in pairs})
    return graph, [{"x": normal(256, 64)} for _ in range(2)]


#: Numba takes seconds for each file.
SLOW = [mlp, double, scan, whole_numbers, lookups, convolution, transformer, lstm]
PROGRAMS = [
    elementwise, loops, random_numbers, within_a_budget, sparse,
    *(pytest.param(program, marks=pytest.mark.slow) for program in SLOW),
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_file_gives_the_bits_of_the_program(program, tmp_path):
    graph, feeds = program()
    f = sg.compile(graph, memory_budget=0.6 if program is within_a_budget else None)
    assert f.export(tmp_path / "program.py") == tmp_path / "program.py"
    (tmp_path / "feeds").write_bytes(pickle.dumps(feeds))
    ran = fresh_process(tmp_path, CHILD)
    assert ran.returncode == 0, ran.stderr
    runs, parameters = pickle.loads((tmp_path / "found").read_bytes())
    evaluated = sg.evaluate(f.program_graph, feeds[0])
    for name, result in runs[0].items():
        tolerance = 1e-5 if result.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(result, evaluated[name], tolerance, tolerance)
    for feed, results in zip(feeds, runs, strict=True):
        expected = f.run(feed)
        assert results.keys() == expected.keys()
        for name, result in results.items():
            same(result, expected[name])
    for parameter in f.program_graph.parameters:
        same(parameters[parameter.node.label], parameter.value)


# -- sizes as text --------------------------------------------------------------------------------

#: NameMarks that a file cannot use: keywords, builtins, its own, and what these become.
AWKWARD = ["n", "n x", "a.b", "b", "lambda", "lambda_", "max", "at", "at_", "steps", "x"]


@st.composite
def sizes_and_values(draw):
    """A size, arithmetic of two free names and one that is fixed; and the value of each name."""
    names = draw(st.lists(st.sampled_from(AWKWARD), min_size=3, max_size=3, unique=True))
    values = {name: draw(st.integers(0, 9)) for name in names}
    named = st.sampled_from([sg.dim(name) for name in names])
    size = draw(
        st.recursive(
            named | st.integers(1, 5),
            lambda part: st.one_of(
                st.builds(operator.add, part, part),
                st.builds(operator.sub, part, part),
                st.builds(operator.mul, part, part),
                st.builds(operator.floordiv, part, st.integers(2, 4) | named),
                st.builds(operator.mod, part, st.integers(2, 4) | named),
                st.builds(maximum, part, part),
            ),
            max_leaves=6,
        )
    )
    return size, names, values


@given(sizes_and_values())
def test_a_size_is_an_operand_wherever_it_stands(drawn):
    size, (*free, fixed), values = drawn
    writer = StepsWriter(free, {fixed: values[fixed]})
    piece, marks = writer.size(size), " ".join(writer.free.values())
    chosen = writer.names.choose(f"max min range at steps {marks}", PYTHON)
    text, alone = fill(str(piece), chosen), fill(piece.alone, chosen)
    space = {chosen[mark]: values[name] for name, mark in writer.free.items()}
    number = evaluate(size, values)
    assert len(space) == len(free)
    assert not {*space} & {"max", "min", "range", "at", "steps", "lambda"}
    for context in ("{}", "7 - {}", "-{} // 3", "{} // 4 * 2", "5 * {} % 3", "{0} - {0} * 3"):
        actual = eval(context.format(text), space | {"max": max, "min": min})
        assert actual == eval(context.format(f"({number})")), (context, text)
    assert eval(alone, space | {"max": max, "min": min}) == number


@pytest.mark.slow
def test_names_of_sizes_and_feeds_are_no_names_of_the_file(tmp_path):
    x, y = sg.input("max", ("step",), "float64"), sg.input("len", ("step_",), "float64")
    chosen = sg.cond(x.sum() > 0, lambda: x * 2.0, lambda: x - 1.0)
    feeds = [{"max": normal(n, dtype="float64"), "len": normal(3, dtype="float64")} for n in (2, 5)]
    check_file({"chosen": chosen, "y": y + 1.0}, feeds, tmp_path / "program.py")


@pytest.mark.slow
@pytest.mark.parametrize("case", range(3))
def test_parts_of_arrays_begin_at_sums_of_sizes(case, tmp_path):
    """Loops over parts, a reversed one over both, and systems with more columns than inputs."""
    n, m = sg.dim("n", min=2), sg.dim("m", min=2)
    first, second = [
        (n + 1, m - 1), ((n - 1) // 2, (m + n - 2) % 3 + 1), (n * m - n - m + 1, (n + 3) // 2),
    ][case]  # fmt: skip
    x, y = sg.input("x", (n,), "float64"), sg.input("y", (m,), "float64")
    z, a = sg.input("z", (first + second, 2), "float64"), sg.input("a", (3, 3), "float64")
    head, tail, zeros = z[:first], z[first:], sg.zeros((2,), "float64")
    last, sums = sg.scan(lambda c, row: (c * 0.5 + row, c + 1.0), zeros, tail * 2.0)
    joined = sg.concatenate([tail, head])
    end, others = sg.scan(lambda c, row: (c * 0.5 + row, c + 1.0), last, joined, reverse=True)
    loss = (end**2).sum() + (others**2).sum() + (sums[1:] * 2.0).sum()
    columns = sg.concatenate([head, tail[:1]])[:, 0]
    lower = sg.broadcast_to(sg.tril(a) + 4.0 * sg.eye(3, dtype="float64"), (2, 3, 3))
    sides = sg.broadcast_to(columns, (2, 3, first + 1))
    results = {
        "last": last, "both": sg.concatenate([sums, others]), "slope": sg.grad(loss, z),
        "solved": sg.linalg.solve_triangular(lower, sides, lower=True), "xy": x.sum() + y.sum(),
    }  # fmt: skip
    f = sg.compile(sg.Graph(results))
    file = load_exported(f.export(tmp_path / "program.py"))
    for of_n, of_m in [(2, 3), (5, 2), (7, 7)]:
        rows = evaluate(first + second, {"n": of_n, "m": of_m})
        feeds = {
            "x": normal(of_n, dtype="float64"), "y": normal(of_m, dtype="float64"),
            "z": normal(rows, 2, dtype="float64"), "a": normal(3, 3, dtype="float64"),
        }  # fmt: skip
        actual, expected = file["run"](feeds), sg.evaluate(f.program_graph, feeds)
        for name, result in actual.items():
            np.testing.assert_allclose(result, expected[name], 1e-12, 1e-12)


# -- in this process, with helpers that are compiled already --------------------------------------


def check_file(graph, feeds, path):
    """A file gives the bits of ``f.run``, also in its updates of parameters."""
    f = sg.compile(graph)
    file = load_exported(f.export(path))
    for feed in feeds:
        actual, expected = file["run"](feed), f.run(feed)
        assert actual.keys() == expected.keys()
        for name, result in actual.items():
            same(result, expected[name])
    for parameter in f.program_graph.parameters:
        same(file["parameters"][parameter.node.label], parameter.value)


def convolution_and_gradients(
    dims, kernel, stride, padding, dilation=1, groups=1, channels=4, dtype="float32"
):
    """A convolution and its gradients by the image and the weights."""
    shape = (2, channels, *(9 + n for n in range(dims)))
    weights = (2 * channels, channels // groups, *[kernel] * dims)
    x, w = sg.input("x", shape, dtype), sg.input("w", weights, dtype)
    y = sg.nn.conv(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
    dx, dw = sg.grad((y * y).sum(), [x, w])
    feeds = {"x": normal(*shape, dtype=dtype), "w": normal(*weights, dtype=dtype)}
    return sg.Graph({"y": y, "dx": dx, "dw": dw}), feeds


#: Dims, kernel, stride, padding, dilation, groups, channels, element type.
CONVOLUTIONS = [
    (2, 3, 2, 1), (2, 3, 2, 1, 1, 2), (3, 3, 2, 1), (2, 5, 3, 2), (2, 7, 2, 3, 1, 1, 3),
    (1, 3, 2, 1), (1, 3, 1, 1), (2, 3, 1, 1), (3, 3, 1, 1), (2, 3, 2, 0), (2, 3, 2, 2, 2),
    (2, 3, 1, 2, 2), (2, 3, 3, 1, 1, 4), (3, 3, 2, 1, 1, 2), (2, 3, 2, 1, 1, 1, 4, "float64"),
    (2, 1, 2, 0), (2, 2, 2, 1), (3, 2, 3, 1),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=str)
def test_convolutions_and_their_gradients(shape, tmp_path):
    graph, feeds = convolution_and_gradients(*shape)
    check_file(graph, [feeds], tmp_path / "program.py")


def test_the_file_of_a_strided_convolution_looks_where_the_image_ends(tmp_path):
    """Both axes; what it then computes takes Numba seconds, see below."""
    x, w = sg.input("x", (2, 4, 9, 9), "float32"), sg.input("w", (8, 4, 3, 3), "float32")
    f = sg.compile(sg.nn.conv(x, w, stride=2, padding=1))
    text = f.export(tmp_path / "program.py").read_text()
    assert re.search(r"= \w+\[at\(.*\)\] if 0 <= .* < n\d and 0 <= .* < n\d else f32\(0.0\)", text)


@pytest.mark.slow
def test_beyond_the_ends_of_a_strided_convolution_are_zeros(tmp_path):
    """Worked by hand: sums of ones over the parts of 3x3 windows that are inside of 9x9."""
    x, w = sg.input("x", (2, 4, 9, 9), "float32"), sg.input("w", (8, 4, 3, 3), "float32")
    f = sg.compile(sg.nn.conv(x, w, stride=2, padding=1))
    ones = {"x": np.ones((2, 4, 9, 9), "float32"), "w": np.ones((8, 4, 3, 3), "float32")}
    actual = load_exported(f.export(tmp_path / "program.py"))["run"](ones)
    inside = np.array([2, 3, 3, 3, 2])
    np.testing.assert_array_equal(
        actual, np.broadcast_to(4 * np.outer(inside, inside), actual.shape)
    )


@pytest.mark.slow
def test_sums_of_rows_of_any_length_are_of_their_dtype(tmp_path):
    """A sum that were a float64 until it is stored would give other quotients."""
    x = sg.input("x", (7, "n"), "float32")
    feeds = [{"x": normal(7, n)} for n in (37, 5, 9001)]
    check_file({"y": x * (1.0 / x.sum(axis=1, keepdims=True))}, feeds, tmp_path / "program.py")


@pytest.mark.slow
def test_first_layers_of_a_residual_network_are_trained(tmp_path):
    """7x7/2 with padding 3, group normalization, pooling, a block that halves the image."""
    x, y = sg.input("x", ("batch", 3, 32, 32), "float32"), sg.input("y", ("batch",), "int64")
    model = sg.nn.Sequential(
        sg.nn.Conv2d(3, 8, 7, stride=2, padding=3), sg.nn.GroupNorm(2, 8), sg.nn.relu,
        sg.nn.MaxPool2d(3, stride=2, padding=1), sg.nn.Conv2d(8, 16, 3, stride=2, padding=1),
        sg.nn.relu, sg.nn.Flatten(), sg.nn.Linear(256, 10),
    )  # fmt: skip
    graph = training(model, x, y, sg.optim.SGD(0.1, momentum=0.9))
    feeds = [{"x": normal(n, 3, 32, 32), "y": integers(10, n)} for n in (4, 3)]
    check_file(graph, feeds, tmp_path / "program.py")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "blackscholes", "gmm", "lnblock", "logreg", "llsq"])
def test_programs_of_the_benchmarks(name, tmp_path):
    workload = all_workloads("")[name]
    data = workload.make(small=True)
    program = StaticgradProgram(workload, data, Settings(1, ""))
    program.build()
    check_file(program.graph, [feeds_of(workload, data)], tmp_path / "program.py")


@pytest.mark.slow
def test_narrow_floats_round_once(tmp_path):
    """Products, a strided convolution, parameters and casts of the narrow floats."""
    x, w = sg.input("x", (7, 9), "float16"), sg.input("w", (9, 20), "float16")
    image, kernels = sg.input("c", (3, 3, 9, 9), "float16"), sg.input("k", (5, 3, 3, 3), "float16")
    wide, integers = sg.input("wide", ("n",), "float64"), sg.input("whole", ("n",), "int64")
    p = sg.parameter("p", normal(9, dtype="float16"))
    convolution = sg.nn.conv(image, kernels, stride=2, padding=1)
    results = {
        "product": x @ w, "exp": sg.exp(x) + p, "chosen": sg.where(x > 0, x, x * 2),
        "largest": x.max(axis=0), "sum": x.sum(axis=1), "y": convolution,
        "slope": sg.grad((convolution.astype("float32") ** 2).sum(), kernels),
        "f16": wide.astype("float16"), "of ints": integers.astype("float16"),
        "bf16": wide.astype("bfloat16").astype("float32"),
        "bf16 of ints": integers.astype("bfloat16").astype("float64"),
    }  # fmt: skip
    edges = [np.nan, np.inf, -np.inf, 65519.999, 65520, 2**-25 + 2**-60, 2049.0, 1 + 2**-8 + 2**-40]
    feeds = {
        "x": normal(7, 9, dtype="float16"), "w": normal(9, 20, dtype="float16"),
        "c": normal(3, 3, 9, 9, dtype="float16"), "k": normal(5, 3, 3, 3, dtype="float16"),
        "wide": np.array(edges),
        "whole": np.array([2**24 + 1, 2049, 2051, -65520, 65519, 0, 2**62 + 2**53 + 1, -(2**63)]),
    }  # fmt: skip
    check_file(sg.Graph(results, updates={p: p * 2}), [feeds], tmp_path / "program.py")


def numbers(dtype, *shape):
    return normal(*shape, dtype=dtype) + (1j * normal(*shape) if dtype == "complex128" else 0)


def factors(dtype="complex128"):
    """Two matrices that take two blocks of 64 rows, and two rectangular ones."""
    a, b = sg.input("a", ("n", 70, 70), dtype), sg.input("b", ("n", 70, 2), dtype)
    c = sg.input("c", (2, 5, "m"), dtype)
    lower, solution = sg.linalg.cholesky(a @ sg.conj(sg.matrix_transpose(a))), sg.linalg.solve(a, b)
    u, s, vh = sg.linalg.svd(c, full_matrices=False)
    q, r = sg.linalg.qr(c, "complete")
    half = sg.linalg.solve_triangular(lower, b, 2, True)
    outputs = {
        "lower": lower, "x": solution, "half": half,
        "log": sg.linalg.slogdet(a)[1], "values": sg.linalg.eigvalsh(a), "q": q, "r": r,
        "any values": sg.linalg.eigvals(a[:, :5, :5]),
        "any vectors": abs(sg.linalg.eig(a[:, :5, :5])[1]),
        "vectors": abs(sg.linalg.eigh(a)[1]), "svd": (u * s[:, None]) @ vh, "u": abs(u),
        **dict(zip("plu", sg.linalg.lu(c), strict=True)), "s": sg.linalg.svdvals(c),
        "bands": sg.linalg.solve_tridiagonal(b[0, :4, 0], b[0, :5, 1] * 3.0, b[0, 5:9, 0], c[0]),
    }  # fmt: skip
    feeds = {"a": numbers(dtype, 2, 70, 70), "b": numbers(dtype, 2, 70, 2)}
    return sg.Graph(outputs), [{**feeds, "c": numbers(dtype, 2, 5, m)} for m in (3, 7)]


def transforms():
    """Fourier transforms, a complex parameter, and equations in a loop."""
    z, p = sg.input("z", (4, "n"), "complex64"), sg.parameter("p", numbers("complex128", 4, 1))
    turned = sg.eye(4, dtype="float64") * (2 + 1j)
    size = sg.abs_square(sg.fft.irfftn(z)).sum() + sg.abs_square(sg.fft.rfft(z.real)).sum()
    outputs = {
        "two": sg.fft.fft2(z), "back": sg.fft.ifft(z, axis=0, norm="ortho"),
        "slope": sg.grad(size, z),
        "real": sg.fft.irfft(z, norm="forward"), "y": p * z,
        "loop": sg.fori_loop(0, 3, lambda _, s: sg.linalg.solve(p + s, s), turned),
    }  # fmt: skip
    feeds = [{"z": numbers("complex128", 4, n).astype("complex64")} for n in (6, 5)]
    return sg.Graph(outputs, updates={p: p * 1j}), feeds


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(factors, marks=pytest.mark.slow),
        transforms,
    ],
    ids=["factors", "transforms"],
)
def test_calls_of_libraries_are_those_of_numpy(make, tmp_path):
    graph, feeds = make()
    f = sg.compile(graph)
    f.export(tmp_path / "program.py")
    (tmp_path / "feeds").write_bytes(pickle.dumps(feeds))
    ran = fresh_process(tmp_path, CHILD)
    assert ran.returncode == 0, ran.stderr
    runs, parameters = pickle.loads((tmp_path / "found").read_bytes())
    for feed, results in zip(feeds, runs, strict=True):
        for name, expected in f.run(feed).items():
            result, size = results[name], np.max(abs(np.asarray(expected)))
            assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
            tolerance = 1e-5 if expected.real.dtype == np.float32 else 1e-8
            np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance * size)
    for parameter in f.program_graph.parameters:
        value = np.asarray(parameter.value)
        stored = np.asarray(parameters[parameter.node.label])
        np.testing.assert_array_equal(stored.view(value.dtype).reshape(value.shape), value)


def test_matrices_that_have_no_result(tmp_path):
    x = sg.input("x", (2, 3, 3), "float64")
    outputs = {"l": sg.linalg.cholesky(x, errors="nan"), "y": sg.linalg.inv(x)}
    sg.compile(outputs).export(tmp_path / "program.py")
    source = """
import sys; sys.path.insert(0, "")
import numpy as np, program
x = np.stack([-np.eye(3), np.eye(3)])
print(program.run({"x": x})["l"].tolist())
try:
    program.run({"x": x[::-1] * 0.0 + np.diag([1.0, 0.0, 1.0])})
except np.linalg.LinAlgError as error:
    print(error)
"""
    ran = fresh_process(tmp_path, source)
    first, second = ran.stdout.splitlines()
    assert first == str([[[float("nan")] * 3] * 3, np.eye(3).tolist()]), ran.stderr
    assert second.startswith("matrix 0 has no result in lu_solve (test_export.py:")


def test_one_value_is_one_array_and_files_are_replaced(tmp_path):
    path = tmp_path / "program.py"
    x = sg.input("x", ("n",), "float64")
    sg.compile(x + 1.0).export(path)
    sg.compile(x * 2.0).export(path)
    ran = fresh_process(tmp_path, "import sys; sys.path.insert(0, ''); import program\n"
                        "print(program.run({'x': [1.0, 2.0]}))")  # fmt: skip
    assert ran.stdout == "[2. 4.]\n", ran.stderr


@pytest.mark.slow
def test_a_file_that_is_loaded_by_its_path_runs_in_every_process(tmp_path):
    """Numba reads its cache by the name of a module, which such a file does not have."""
    x = sg.input("x", (2,), "float64")
    sg.compile(sg.exp(x)).export(tmp_path / "program.py")
    source = """
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("mine", "program.py")
module = module_from_spec(spec)
spec.loader.exec_module(module)
print(module.run({"x": [0.0, 0.0]}))
"""
    for _ in range(2):
        ran = fresh_process(tmp_path, source)
        assert ran.stdout == "[1. 1.]\n", ran.stderr


def test_a_file_refuses_what_does_not_fit(tmp_path):
    x = sg.input("x", (sg.dim("n", min=2), 3), "float32")
    i = sg.input("i", ("k",), "int64")
    p = sg.parameter("p", np.zeros(3, "float32"))
    sg.compile(sg.Graph({"y": x[:, i]}, updates={p: p + 1.0})).export(tmp_path / "program.py")
    source = """
import sys; sys.path.insert(0, "")
import numpy as np, program
x, i = np.zeros((2, 3), "float32"), np.zeros(2, "int64")
for feeds in [{"x": x}, {"x": x, "i": i, "z": i}, {"x": x, "i": i + 0.5}, {"x": x[0], "i": i},
              {"x": x.T, "i": i}, {"x": x[:1], "i": i}, {"x": x, "i": i + 3}]:
    try:
        program.run(feeds)
    except (ValueError, TypeError, IndexError) as error:
        print(type(error).__name__, error)
print(program.parameters["p"])
program.run({"x": x.astype("float64"), "i": [0, -1]})
program.save()
"""
    ran = fresh_process(tmp_path, source)
    lines = ran.stdout.splitlines()
    assert lines[:6] == [
        "ValueError feeds that are missing: ['i'], that no input takes: []",
        "ValueError feeds that are missing: [], that no input takes: ['z']",
        "TypeError feed 'i' is float64, the input takes int64",
        "ValueError feed 'x' has shape (3,), the input ('n', 3)",
        "ValueError feed 'x': axis 1 has 2 elements, not 3",
        "ValueError n is at least 2; sizes: {'k': 2, 'n': 1}",
    ], ran.stderr
    assert lines[6].startswith("IndexError index 3 is out of range in ")
    assert "test_export.py:" in lines[6]
    assert lines[7:] == ["[0. 0. 0.]"]
    assert np.load(tmp_path / "program.npz")["p"].tolist() == [1.0, 1.0, 1.0]


def test_what_cannot_be_exported_is_named_with_its_line(tmp_path):
    x = sg.input("x", ("n", "n"), "float64")
    with pytest.raises(errors.ExportError, match=r"call\.host.*cannot be exported") as caught:
        sg.compile(sg.host_call(np.cumsum, x + 1.0, types=[x.type])).export(tmp_path / "program.py")
    assert "test_export.py" in str(caught.value)
    with pytest.raises(errors.ExportError, match=r"the routine ldl cannot be exported") as caught:
        sg.compile(sg.linalg.ldl(sg.input("a", (3, 3), "float64"))[0]).export(tmp_path / "p.py")
    assert "test_export.py" in str(caught.value)
    with pytest.raises(errors.ExportError, match=r"feed .h. cannot.*no bfloat16"):
        sg.compile(sg.input("h", (3,), "bfloat16") + 1.0).export(tmp_path / "program.py")
    with pytest.raises(errors.ExportError, match=r"result .y. cannot.*no bfloat16"):
        sg.compile({"y": x.astype("bfloat16")}).export(tmp_path / "program.py")
    with pytest.raises(errors.ArgumentError, match=r"step\.py"):
        sg.compile(x + 1.0).export(tmp_path / "program.dll")
    assert not [*tmp_path.iterdir()]


def test_sizes_may_have_names_of_the_file(tmp_path, monkeypatch):
    x = sg.input("x", ("rows", "at"), "float32")
    sg.compile({"y": x * 2.0}).export(tmp_path / "sizes_named_so.py")
    monkeypatch.syspath_prepend(tmp_path)
    file = importlib.import_module("sizes_named_so")
    numbers = file.bind({"x": np.ones((5, 3), "float32")})[1]
    assert numbers == [5, 3]


CONDITIONS = {
    "a bound": lambda: (sg.dim("n", max=9), "m", lambda x, y: x + y),
    "a bound and a multiple": lambda: (
        sg.dim("n", max=10, multiple_of=5), sg.dim("m", min=3), lambda x, y: x * y,
    ),
    "twice": lambda: ("n", "m", lambda x, y: sg.concatenate([x, x]) - y),
    "hints": lambda: (sg.dim("n", hint=12), sg.dim("m", hint=7), lambda x, y: x + y[1:]),
    "one more": lambda: (sg.dim("n", min=40), sg.dim("m", max=45), lambda x, y: x + y[2:]),
    "a range": lambda: (sg.dim("n", max=3), "m", lambda x, y: x.sum() + y[-1] + y[5] + y[9]),
}  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS)
def test_typical_sizes_meet_the_conditions_of_a_program(condition):
    n, m, make = CONDITIONS[condition]()
    graph = sg.Graph({"z": make(sg.input("x", (n,)), sg.input("y", (m,)))})
    sizes = typical_sizes(graph, {})
    check_sizes(graph, sizes)
    assert typical_sizes(graph, {"n": sizes["n"]}).keys() == {"m"}
