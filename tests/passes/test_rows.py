"""Groups that take a row at a time: which groups join, the stages they get, and equal bytes."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.language.ir.kernels.stages import Columns, Map
from staticgrad.language.ir.schedule import KernelStep
from tests.compiled.agreement import assert_same
from tests.helpers.diagonals import diagonals


def kernels(outputs, level="O1"):
    """Those of the steps of a graph."""
    schedule = fuse(pipeline(level)(sg.Graph(outputs)))
    return [kernel for step in schedule.steps for kernel in step.kernels()]


def stages(kernel):
    return [type(stage) for stage in kernel.stages]


# -- counts ---------------------------------------------------------------------------------------


def x_of(*shape, dtype="float32", name="x"):
    return sg.input(name, shape, dtype)


def test_softmax_is_one_kernel_and_its_gradient_another():
    x, ct = x_of("n", 100), x_of("n", 100, name="ct")
    y = sg.nn.softmax(x)
    (alone,) = kernels(y)
    assert stages(alone) == [Map, Map, Map]
    assert len(kernels({"y": y, "dx": sg.vjp(y, x, ct)})) == 1
    w = sg.parameter("w", np.ones((100, 30), "f4"))
    loss = sg.sum(sg.square(y @ w))
    fused = kernels({"loss": loss, "dx": sg.grad(loss, x)})
    assert [stages(kernel).count(Map) for kernel in fused if stages(kernel).count(Map) > 1] == [
        3,
        2,
    ]


def test_the_gradient_of_a_layer_norm_is_one_kernel_and_two_that_combine():
    x, ct = x_of(300, 64), x_of(300, 64, name="ct")
    gain, bias = (x_of(64, name=name) for name in "gb")
    y = sg.nn.layer_norm(x, gain, bias)
    slopes = sg.vjp(y, [x, gain, bias], ct)
    combined, *combining = kernels({"y": y, **dict(zip("abc", slopes, strict=True))})
    assert combined.grouped == 1
    assert [stages(kernel) for kernel in combining] == [[Columns], [Columns]]
    assert combined.text.count("column sum") == 2
    backward, *_ = kernels(dict(zip("abc", slopes, strict=True)))
    assert backward.text.count("column sum") == 2
    assert "scratch" in backward.text


# -- running sums and products in rows ------------------------------------------------------------


#: What reads a running sum or product s of x, and w along the rows; kernels of it.
READERS = {
    "weighted": (lambda s, x, w: s @ w, 1),
    "elements": (lambda s, x, w: s * w + x, 1),
    "itself": (lambda s, x, w: (s, sg.tanh(s)), 1),
    "norm": (lambda s, x, w: s / s.max(axis=1, keepdims=True), 1),
    "another": (lambda s, x, w: (s * sg.cumsum(x, axis=1)).sum(axis=1), 1),
    "both ways": (lambda s, x, w: ((s @ w)[:, None] * s).sum(axis=0), 2),
    "other rows": (lambda s, x, w: s - s[::-1], 2),
    "the last": (lambda s, x, w: s / s[:, -1:], 2),
    "a scan of it": (lambda s, x, w: sg.cumsum(s, axis=1) * w, 2),
}


@pytest.mark.parametrize("reader", READERS)
def test_scans_of_rows_join_what_reads_them(reader):
    read, count = READERS[reader]
    x, w = x_of("n", 40, dtype="float64"), x_of(40, dtype="float64", name="w")
    outputs = {
        name: read(scan(x, axis=1), x, w)
        for name, scan in {"p": sg.cumprod, "s": sg.cumsum}.items()
    }
    random = np.random.default_rng(3)
    for name, value in outputs.items():
        parts = value if isinstance(value, tuple) else (value,)
        graph = sg.Graph({f"{name}{k}": part for k, part in enumerate(parts)})
        assert len(kernels({f"{name}{k}": part for k, part in enumerate(parts)})) == count
        f, unfused = sg.compile(graph), sg.compile(graph, fuse=False)
        for rows in (0, 1, 3, 64, 171):  # fewer than are interleaved, and some that are left
            feeds = {"x": random.normal(1, 0.1, (rows, 40)), "w": random.normal(size=40)}
            feeds = {key: feeds[key] for key in f.inputs if key in feeds}
            assert_same(f.run(feeds), unfused.run(feeds), rows)
            for key, expected in sg.evaluate(graph, feeds).items():
                np.testing.assert_allclose(f.run(feeds)[key], expected, rtol=1e-11, atol=1e-11)


def test_a_matrix_of_powers_is_stored_nowhere():
    """A Vandermonde matrix, its product with coefficients, and the product's gradient."""
    t, c = x_of(5000, dtype="float64", name="t"), x_of(64, dtype="float64", name="c")
    powers = sg.cumprod(sg.broadcast_to(t[:, None], (5000, 64)), axis=1)
    loss = sg.sum(sg.square(powers @ c - t))
    f = sg.compile({"loss": loss, "slope": sg.grad(loss, c)})
    assert f.plan().peak_bytes < 5000 * 64 * 8 // 4
    at = np.linspace(-1, 1, 5000), np.linspace(1, -1, 64)
    matrix = at[0][:, None] ** np.arange(1, 65)
    away = matrix @ at[1] - at[0]
    results = f.run({"t": at[0], "c": at[1]})
    np.testing.assert_allclose(results["loss"], away @ away, rtol=1e-10)
    np.testing.assert_allclose(results["slope"], 2 * matrix.T @ away, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "bool", "complex64"])
def test_scans_of_rows_of_any_dtype_have_the_bytes_of_single_operations(dtype):
    x = x_of(37, 129, dtype=dtype)
    y = sg.cumsum(x, axis=1)
    graph = sg.Graph({"y": sg.where(y == x, x.astype(y.dtype), y).sum(axis=1)})
    feed = (np.random.default_rng(5).normal(size=(37, 129)) * 3).astype(x.dtype.numpy)
    feeds = {"x": feed}
    assert_same(sg.compile(graph).run(feeds), sg.compile(graph, fuse=False).run(feeds), dtype)


# -- an order that is kept while some become one --------------------------------------------------


ROWS = sg.dim("rows", hint=500)


def scratch_of(graph):
    """Count the operands that each step copies to scratch."""
    counts = []
    for step in sg.compile(graph).schedule.steps:
        assert isinstance(step, KernelStep)
        counts.append(sum(operand.mode == "scratch" for operand in step.kernel.operands))
    return counts


def operand(name, form, length, dtype):
    """An operand over (3, rows, length), and its shape for so many rows."""
    shapes = {
        "whole": (3, ROWS, length),
        "rows": (ROWS, length),
        "alike": (length,),
        "outer": (3, 1, length),
        "each": (ROWS, 1),
        "number": (3, 1, 1),
        "transposed": (length, ROWS),
    }
    return sg.input(name, shapes[form], dtype), shapes[form]


@pytest.mark.slow
@given(
    st.lists(
        st.sampled_from(["rows", "alike", "outer", "each", "number", "transposed"]), max_size=4
    ),
    st.integers(2, 18),
    st.sampled_from(["float32", "float64", "float16", "int32", "bool"]),
    st.integers(0, 2**32),
)
@settings(max_examples=24, deadline=None)
def test_folded_maps_have_the_bytes_of_single_operations(forms, length, dtype, seed):
    operands = [operand(f"x{k}", f, length, dtype) for k, f in enumerate(["whole", *forms])]
    pairs = zip(operands[1:], forms, strict=True)
    values = [value.T if form == "transposed" else value for (value, _), form in pairs]
    total = operands[0][0]
    for value in values:
        total = sg.where(total, value, total) if dtype == "bool" else total * value + total
    later = total if dtype in ("bool", "int32") else sg.tanh(total)
    graph = sg.Graph({"total": total, "later": later, "one": ~total if dtype == "bool" else -total})
    f, unfused = sg.compile(graph), sg.compile(graph, fuse=False)
    random = np.random.default_rng(seed)
    for rows in (1, 127, 129, int(random.integers(2, 400))):
        shapes = [[rows if n is ROWS else n for n in shape] for _, shape in operands]
        arrays = [(random.normal(size=shape) * 4).astype(dtype) for shape in shapes]
        feeds = {f"x{k}": array for k, array in enumerate(arrays)}
        assert_same(f.run(feeds), unfused.run(feeds), rows)


def in_place(rows, length, dtype, read_later=False):
    """Rows of a product, scaled by what other rows of it come to; read by a product again."""
    x, w = sg.input("x", (rows, 12), dtype), sg.input("w", (12, length), dtype)
    v = sg.input("v", (length, 7), dtype)
    y = x @ w
    scaled = y * sg.tanh((y * y).sum(1))[::-1][:, None]
    outputs = {"z": scaled @ v}
    if read_later:
        outputs["again"] = sg.tanh(outputs["z"]) @ v.T @ y.T[:, :5]
    return sg.Graph(outputs)


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", 16), ("float64", 8)])
def test_rows_do_not_wait_for_what_was_stored_over_their_operand(dtype, lanes):
    """Rows of up to three vectors, the last of which is not full; whole ones never wait.

    Those of a half or less are written out.
    """
    for length in (lanes - 1, lanes + 2, 3 * lanes - 1):
        assert 1 in scratch_of(in_place(1000, length, dtype)), length
    for length in (lanes, 2 * lanes, 3 * lanes + 1):
        assert 1 not in scratch_of(in_place(1000, length, dtype)), length
    assert 1 not in scratch_of(in_place(1000, lanes + 2, dtype, read_later=True))


@pytest.mark.thinned(4)
@diagonals(
    2,
    ("read_later", [False, True]),
    ("length", [3, 10, 23]),
    ("dtype", ["float16", "float32", "float64"]),
)
def test_what_lies_in_place_has_the_bytes_of_single_operations(length, dtype, read_later):
    """Groups that differ in nothing but who reads their operand later have kernels of their own."""
    graph = in_place(ROWS, length, dtype, read_later)
    f, unfused = sg.compile(graph, threads=3), sg.compile(graph, fuse=False)
    random = np.random.default_rng(length)
    for rows in (5, 129, 300):
        shapes = {"x": (rows, 12), "w": (12, length), "v": (length, 7)}
        feeds = {n: random.normal(size=s).astype(dtype) for n, s in shapes.items()}
        assert_same(f.run(feeds), unfused.run(feeds), rows)
