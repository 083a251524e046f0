"""A batch times one matrix: what follows shares its kernel, which takes all rows as one matrix."""

from __future__ import annotations

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.kernels.stages import Gemm
from staticgrad.lowering.fuse import fuse
from staticgrad.ops.contract import MatMul

SHAPES = {"time": (4, 6, 32), "images": (2, 3, 4, 32), "named": ("n", 6, 32), "one": (7, 1, 32)}


def layer(x, w, b, rest):
    """A layer with its residual sum, in whatever shape its rows have."""
    return rest + sg.nn.silu(x @ w + b)


def graph(x, rest):
    """Value and gradients of a layer."""
    w, b = sg.input("w", (32, 32), x.dtype), sg.input("b", (32,), x.dtype)
    out = layer(x, w, b, rest)
    grads = sg.grad(sg.tanh(out).max(), [w, b, x])
    return sg.Graph({"out": out, **dict(zip("wbx", grads, strict=True))})


def of_shape(shape):
    x, rest = (sg.input(name, shape, "float32") for name in ("x", "rest"))
    return graph(x, rest)


def feeds(shape):
    rng = np.random.default_rng(3)
    shape = tuple(5 if n == "n" else n for n in shape)
    shapes = {"x": shape, "rest": shape, "w": (32, 32), "b": (32,)}
    return {name: rng.normal(size=size).astype("float32") for name, size in shapes.items()}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_layer_over_batches_gives_the_bytes_of_its_parts(shape):
    given = feeds(shape)
    fused, apart = (sg.compile(of_shape(shape), pipeline=level) for level in ("O1", "O0"))
    found, wanted = fused.run(given), apart.run(given)
    assert all(same_bytes(np.asarray(found[name]), np.asarray(wanted[name])) for name in wanted)


@pytest.mark.parametrize("shape", [(4, 6, 32), (2, 3, 4, 32)])
def test_the_kernels_are_those_of_one_matrix(shape):
    batch, flat = (fuse(pipeline("O1")(of_shape(each))) for each in (shape, (24, 32)))
    ours, theirs = (
        {(step.label, step.kernel, step.arguments) for step in each.steps if is_product(step)}
        for each in (batch, flat)
    )
    assert ours == theirs
    assert any("add" in label for label, *_ in ours)
    assert len(batch.steps) == len(flat.steps)


def is_product(step):
    return any(isinstance(stage, Gemm) for stage in step.kernel.stages)


def test_rows_that_lie_apart_are_multiplied_as_before():
    x, w = sg.input("x", (4, 6, 32)), sg.input("w", (32, 16))
    simplify = pipeline("simplify")
    for part, apart in ((x[:, :-1], True), (x[:, 2:4, ::2], True), (x[1:], False)):
        value = part @ (w if part.shape[-1] == 32 else w[::2]) + 1.0
        after = simplify(sg.Graph(value))
        assert any(node.op.name == "reshape" for node in after.nodes) == apart, part.shape


def test_what_differs_between_matrices_of_a_batch_is_added_to_each():
    x, w, place = sg.input("x", (3, 20, 8)), sg.input("w", (8, 24)), sg.input("place", (20, 24))
    program = sg.compile(sg.Graph(sg.tanh(x @ w + place)), threads=1)
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(size=(3, 20, 8)), "w": rng.normal(size=(8, 24))}
    given = {name: array.astype("float32") for name, array in given.items()}
    given["place"] = np.arange(480, dtype="float32").reshape(20, 24) / 480
    wanted = np.tanh(given["x"].astype("float64") @ given["w"] + given["place"])
    np.testing.assert_allclose(program.run(given)["output"], wanted, rtol=1e-5, atol=1e-6)
    assert len(program.schedule.steps) == 1


def test_matrices_may_be_multiplied_by_themselves_and_by_what_they_hold():
    """Then one walk over the batch is that of rows and of something else."""
    x, y = sg.input("x", (3, 5, 4), "float64"), sg.input("y", (6, 1, 4), "float64")
    w, rng = sg.input("w", (4, 7), "float64"), np.random.default_rng(1)
    given = {n: rng.normal(size=s) for n, s in (("x", (3, 5, 4)), ("y", (6, 1, 4)), ("w", (4, 7)))}
    a, b, c = given.values()
    program = sg.compile(
        sg.Graph({"square": x @ x.transpose(0, 2, 1), "held": MatMul()(y, w) + y[..., :1]})
    )
    found = program.run(given)
    np.testing.assert_allclose(found["square"], a @ a.swapaxes(1, 2), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(found["held"], b @ c + b[..., :1], rtol=1e-14, atol=1e-14)


def test_shapes_of_one_copy_share_it():
    x, w = sg.input("x", (3, 4, 5, 8)), sg.input("w", (32, 32))
    transposed = x.transpose(0, 2, 1, 3)
    batch, rows = transposed.reshape(3, 5, 32), transposed.reshape(15, 32)
    steps = fuse(sg.Graph({"one": batch @ w, "other": rows.T @ rows})).steps
    assert sum(step.label == "reshape" for step in steps) == 1


def test_a_row_computes_what_it_alone_reads_of_a_product_that_is_stored():
    """The gradient of a norm reads the product and the product times the gain."""
    ct, w, h = sg.input("ct", (512, 64)), sg.input("w", (64, 128)), sg.input("h", (512, 128))
    gain, product = sg.parameter("gain", np.ones(128, "f4")), ct @ w
    scaled = product * gain
    rows = h - sg.sum(scaled * h, axis=1, keepdims=True) * scaled
    program = sg.Graph(
        {"rows": rows, "product": product}, updates={gain: gain - (product * h).sum(0)}
    )
    (first,) = [s for s in fuse(program).steps if "matmul" in s.label]
    assert first.label == "matmul"
