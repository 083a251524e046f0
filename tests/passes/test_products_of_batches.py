"""A batch times one matrix: what follows shares its kernel, which takes all rows as one matrix."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.ir.kernels.stages import Gemm
from staticgrad.lowering.fuse import fuse


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
