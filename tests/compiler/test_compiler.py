"""Compiled programs from outside: results, sizes, updates, aliasing, memory, failures, threads."""

import itertools
import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.compiling import arguments
from staticgrad.compiler.compiling.compiler import compile
from staticgrad.functions import take
from staticgrad.native import tiers
from staticgrad.native.lock import LIBRARY

LAYOUTS = ("plain", "reversed", "strided", "fortran", "float64", "big-endian", "read-only")


def laid_out(data, layout):
    """The same values in another layout."""
    if layout == "reversed":
        return data[::-1].copy()[::-1]
    if layout == "strided":
        return np.repeat(data, 2, axis=1)[:, ::2]
    if layout == "fortran":
        return np.asfortranarray(data)
    if layout == "float64":
        return data.astype(np.float64)
    if layout == "big-endian":
        return data.astype(">f4")
    copy = data.copy()
    copy.flags.writeable = layout != "read-only"
    return copy


def chain(x):
    """Kernels that cannot become one: two products around elementwise work."""
    a = sg.constant(np.linspace(-1, 1, 30).reshape(5, 6).astype(np.float32))
    b = sg.constant(np.linspace(-2, 1, 24).reshape(6, 4).astype(np.float32))
    return ((x * 2.0 + 1.0) @ a) @ b - 0.5


def chain_numpy(x):
    a = np.linspace(-1, 1, 30).reshape(5, 6).astype(np.float32)
    b = np.linspace(-2, 1, 24).reshape(6, 4).astype(np.float32)
    return ((x.astype(np.float64) * 2 + 1) @ a) @ b - 0.5


@pytest.fixture(scope="module")
def many():
    return compile(chain(sg.input("x", ("batch", 5), "float32")))


@pytest.mark.slow
def test_two_hundred_batch_sizes_compile_once(many, rng):
    many.run({"x": np.ones((3, 5), np.float32)})
    compiled = many.stats.compiles + many.stats.disk_hits + many.stats.memory_hits
    sizes = [0, 1, 2, 31, 32, 33, 63, 64, 65, *rng.choice(np.arange(66, 3000), 191, replace=False)]
    for i, n in enumerate(sizes):
        data = rng.standard_normal((n, 5)).astype(np.float32)
        layout = LAYOUTS[i % len(LAYOUTS)]
        feed = laid_out(data, layout)
        feed_bytes = feed.tobytes()
        result = many.run({"x": feed})
        assert result.shape == (n, 4)
        assert np.allclose(result, chain_numpy(data), rtol=1e-4, atol=1e-5)
        assert feed.tobytes() == feed_bytes
        plain = many.run({"x": data})
        assert plain.tobytes() == result.tobytes()
    stats = many.stats
    assert stats.compiles + stats.disk_hits + stats.memory_hits == compiled == len(many.kernels)
    assert stats.plans >= 200


def swap():
    a = sg.parameter("a", np.arange(6, dtype=np.float32))
    b = sg.parameter("b", -np.arange(6, dtype=np.float32))
    graph = sg.Graph(outputs={"a": a, "sum": a + b * 2.0}, updates={a: b, b: a})
    return a, b, compile(graph)


def test_a_swap_works_and_outputs_read_the_old_values():
    a, b, f = swap()
    first, second = a.value, b.value
    for _ in range(5):
        results = f.run()
        assert np.array_equal(results["a"], first)
        assert np.array_equal(results["sum"], first + second * 2)
        first, second = second, first
        assert np.array_equal(a.value, first)
        assert np.array_equal(b.value, second)


def test_out_that_does_not_fit_stops_before_anything_runs():
    x = sg.input("x", (4,), "float32")
    w = sg.parameter("w", np.zeros(4, np.float32))
    f = compile(sg.Graph(outputs={"y": x + w}, updates={w: w + 1.0}))
    data = np.ones(4, np.float32)
    empty = np.empty(4, np.float32)
    for out in (data, {"z": empty}, {"y": empty[:3]}, w.store.array):
        with pytest.raises(sg.errors.OutputArrayError):
            f.run({x: data}, out=out)
    assert w.value.tolist() == [0] * 4
    assert data.tolist() == [1] * 4
    assert f.stats.runs == 0


def test_a_failing_index_leaves_every_parameter_as_it_was():
    table = sg.parameter("table", np.arange(12, dtype=np.float32).reshape(6, 2))
    rows = sg.input("rows", ("n",), "int64")
    f = compile(sg.Graph(outputs={"y": take(table, rows, axis=0)}, updates={table: table + 1.0}))
    line = "test_compiler.py"
    with pytest.raises(
        sg.errors.IndexOutOfRange, match=r"index 6 is out of range .* size 6"
    ) as error:
        f.run({rows: np.array([0, 6, 99, -7])})
    assert line in str(error.value)
    assert "take(table, rows" in str(error.value)
    assert table.value[0, 1] == 1
    assert f.run({rows: np.array([5, -6])})["y"].tolist() == [[10, 11], [0, 1]]
    assert table.value[0, 1] == 2


def test_pickles_as_text_and_options():
    _, b, f = swap()
    b.value = np.full(6, 9, np.float32)
    twin = pickle.loads(pickle.dumps(f))
    assert twin.run()["sum"].tolist() == f.run()["sum"].tolist()
    x = sg.input("x", ("n",), "float32")
    unpickled = pickle.loads(pickle.dumps(compile(x * 2.0, memory_budget="1MB", sizes={"n": 3})))
    assert unpickled.run({"x": np.ones(3, np.float32)}).tolist() == [2, 2, 2]
    assert unpickled.options.memory_budget == 1_000_000
    assert unpickled.peak_bytes == 0


def test_a_budget_below_the_peak_is_an_error_before_anything_runs():
    w = sg.parameter("w", np.zeros((5, 6), np.float32))
    x = sg.input("x", ("batch", 5), "float32")
    h = ((x * 0.5) @ w) @ sg.constant(np.ones((6, 6), np.float32))
    f = compile(sg.Graph(outputs={"h": h}, updates={w: w + 1.0}), memory_budget="4KiB")
    f.run({"x": np.ones((10, 5), np.float32)})
    with pytest.raises(
        sg.errors.BudgetInfeasible, match=r"at batch=1000, the budget is 4096"
    ) as error:
        f.run({"x": np.ones((1000, 5), np.float32)})
    assert "h = ((x * 0.5) @ w)" in str(error.value)
    assert "fewer than" in str(error.value)
    assert w.value[0, 0] == 1
    with pytest.raises(sg.errors.BudgetInfeasible):
        compile(h, memory_budget=100, sizes={"batch": 1000})
    peak = compile(h).plan(batch=1000).peak_bytes
    assert compile(h, memory_budget=peak).plan(batch=1000).peak_bytes == peak
    assert arguments.read_budget("2MiB") == 2 * 2**20
    assert arguments.read_budget(" 1.5 kB ") == 1500
    assert arguments.read_budget("10") == 10
    assert arguments.read_budget(0) == 0


def test_kernels_of_a_program_without_a_plan_are_compiled_nevertheless():
    x = sg.input("x", (1000, 7), "float32")
    h = (x * 0.515625) @ sg.constant(np.ones((7, 7), np.float32)) + 0.546875
    with pytest.raises(sg.errors.BudgetInfeasible):
        compile(h, memory_budget=100)
    tiers.wait()  # code that threads share is compiled in the background
    assert not LIBRARY.is_busy()
    assert {kernel.origin for kernel in compile(h).kernels} == {"memory"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("checkpoint", "squirt"), ("checkpoint", 3), ("fuse", 2),
     ("memory_budget", "2 parsecs"), ("memory_budget", -1), ("memory_budget", True)],
)  # fmt: skip
def test_options_that_this_version_lacks_are_refused(name, value):
    with pytest.raises(sg.errors.ArgumentError, match=name):
        compile(sg.input("x", (2,), "float32") + 1.0, **{name: value})
    with pytest.raises(sg.errors.ArgumentError, match="list"):
        compile([sg.input("x", (2,), "float32")])


def test_reports_name_kernels_lines_and_reasons(many):
    many.run({"x": np.ones((2, 5), np.float32)})
    text = many.explain()
    assert "matmul" in text
    assert "test_compiler.py" in text
    assert "arena:" in text
    assert len(many.kernels) == many.source.count("# k")
    assert all("def kernel(t, own, begin, end):" in kernel.source for kernel in many.kernels)
    reasons = many.stats.reasons
    assert sum("batch=2:" in reason for reason in reasons) >= 1
    assert any(reason.startswith("k0 ") for reason in reasons)
    twin = compile(many.program_graph)
    assert twin.stats.memory_hits == len(twin.kernels)
    assert twin.stats.compiles == 0


def test_sizes_at_which_a_value_is_beyond_any_memory_are_one_error():
    x = sg.input("x", ("n", 4), "float32")
    f = sg.compile(sg.Graph({"y": sg.tanh(x @ sg.input("z", (4, "n"), "float32")).sum()}))
    assert f.plan(n=2**10).peak_bytes < 2**23
    for n in (2**31, 2**60, 2**64, 10**40):
        says = rf"SG406.*n={n}, a value has .* bytes"
        with pytest.raises(sg.StaticgradError, match=says) as error:
            f.plan(n=n)
        assert "test_compiler.py" in str(error.value)
        with pytest.raises(sg.StaticgradError, match=says):
            sg.tradeoff(f, {"n": n})


SIZES = (96, 64, 33, 17, 10)


def initial(rng):
    """Weights scaled by fan-in and zero biases, float64."""
    return [
        (rng.standard_normal((m, n)) / np.sqrt(m), np.zeros(n))
        for m, n in itertools.pairwise(SIZES)
    ]


def numpy_step(x, labels, layers, rate):
    """One SGD step of the MLP on mean cross entropy: the loss, and the layers after it."""
    activations = [x]
    for n, (w, b) in enumerate(layers):
        z = activations[-1] @ w + b
        activations.append(np.maximum(z, 0) if n < len(layers) - 1 else z)
    logits = activations[-1]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(x)), labels].mean()
    ct = np.exp(log_p)
    ct[np.arange(len(x)), labels] -= 1
    ct /= len(x)
    new = []
    for n in range(len(layers) - 1, -1, -1):
        w, b = layers[n]
        new.append((w - rate * activations[n].T @ ct, b - rate * ct.sum(axis=0)))
        ct = (ct @ w.T) * (activations[n] > 0)
    return loss, new[::-1]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
def test_twenty_sgd_steps_of_an_mlp_equal_a_numpy_loop(dtype, tolerance):
    rng = np.random.default_rng(0)
    layers = initial(rng)
    x = sg.input("x", ("batch", SIZES[0]), dtype)
    labels = sg.input("labels", ("batch",), "int64")
    h, parameters = x, []
    for n, (w0, b0) in enumerate(layers):
        w, b = sg.parameter(f"w{n}", w0.astype(dtype)), sg.parameter(f"b{n}", b0.astype(dtype))
        parameters += [w, b]
        h = h @ w + b
        h = sg.nn.relu(h) if n < len(layers) - 1 else h
    loss = sg.nn.cross_entropy(h, labels)
    updates = {p: p - 0.1 * g for p, g in zip(parameters, sg.grad(loss, parameters), strict=True)}
    f = sg.compile(sg.Graph({"loss": loss}, updates))
    for _ in range(20):
        feeds = {
            "x": rng.standard_normal((64, SIZES[0])).astype(dtype),
            "labels": rng.integers(0, 10, 64),
        }
        expected, layers = numpy_step(feeds["x"].astype("float64"), feeds["labels"], layers, 0.1)
        got = f.run(feeds)["loss"]
        assert abs(got - expected) <= tolerance * abs(expected)
    for p, array in zip(parameters, (a for layer in layers for a in layer), strict=True):
        assert np.abs(p.value - array).max() <= tolerance * np.abs(array).max() * 10


@pytest.mark.parametrize("labels", [[0, 10, 3], [0, -1, 3]])
def test_a_class_label_outside_raises_before_any_update(labels):
    x, y = sg.input("x", ("batch", 4)), sg.input("y", ("batch",), "int64")
    w = sg.parameter("w", np.ones((4, 10), "float32"))
    loss = sg.nn.cross_entropy(x @ w, y)
    f = sg.compile(sg.Graph({"loss": loss}, {w: w - sg.grad(loss, w)}))
    with pytest.raises(sg.errors.IndexOutOfRange, match=str(labels[1])):
        f.run({"x": np.ones((3, 4), "float32"), "y": labels})
    assert (w.value == 1).all()
    assert np.isfinite(f.run({"x": np.ones((3, 4), "float32"), "y": [0, 9, 3]})["loss"])


def test_a_program_says_what_it_takes_and_gives():
    """By name: element types and shapes, complex ones as users feed them; also after a pickle."""
    x, z = sg.input("x", ("n", 3), "float32"), sg.input("z", ("n",), "complex64")
    k = sg.input("k", (), "int32")
    unread = sg.input("unread", ("m", 2), "bool")
    outputs = {"y": x.sum(axis=1) * k, "c": z * 2.0, "twice": sg.concatenate([x, x])}
    graph = sg.Graph(outputs, inputs=[unread])
    f = sg.compile(graph)
    texts = {"x": "f32[n, 3]", "z": "c64[n]", "k": "i32[]", "unread": "bool[m, 2]"}
    assert {name: str(kind) for name, kind in f.inputs.items()} == texts
    assert {name: str(kind) for name, kind in f.outputs.items()} == {
        "y": "f32[n]", "c": "c64[n]", "twice": "f32[2*n, 3]"
    }  # fmt: skip
    assert (graph.input_types, graph.output_types) == (f.inputs, f.outputs)
    assert [value.name for value in graph.inputs] == [*f.inputs]
    assert (graph.inputs[0].dtype, graph.inputs[0].shape) == (sg.float32, x.shape)
    assert (x.name, z.name, (x * 2.0).name) == ("x", "z", "")
    again = pickle.loads(pickle.dumps(f))
    assert (again.inputs, again.outputs) == (f.inputs, f.outputs)
    assert pickle.loads(pickle.dumps((f.inputs, f.outputs))) == (f.inputs, f.outputs)
    fixed = sg.compile(graph, sizes={"n": 4})
    assert fixed.inputs["x"].shape == (4, 3)
    assert fixed.outputs["twice"].shape == (8, 3)
    feeds = {
        name: np.ones([5 if str(size) == "m" else size for size in kind.shape], kind.dtype.numpy)
        for name, kind in fixed.inputs.items()
    }
    results = fixed.run(feeds)
    assert {name: (a.dtype, a.shape) for name, a in results.items()} == {
        name: (kind.dtype.numpy, kind.shape) for name, kind in fixed.outputs.items()
    }
    assert str(sg.compile(x + 1.0).outputs) == "{'output': f32[n, 3]}"
