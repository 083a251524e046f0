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
