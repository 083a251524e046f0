"""Gradients of products over all steps of time in front of a loop: sums of blocks of iterations."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.language.ops import loop_sums as sums

ROWS, INPUTS, UNITS = 3, 4, 5
SHAPES = {"x": None, "w": (INPUTS, UNITS), "u": (UNITS, UNITS), "b": (UNITS,)}


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Blocks of four iterations."""
    monkeypatch.setattr(sums, "BLOCK_ROWS", 4 * ROWS)


def flat(x, w, b):
    """The product of matrices, as recurrent layers have it."""
    rows = sg.reshape(x, (x.shape[0] * ROWS, INPUTS)) @ w + b
    return sg.reshape(rows, (x.shape[0], ROWS, UNITS))


PARTS = {
    "whole": lambda x, w, b: x @ w + b,
    "flat": flat,
    "transposed": lambda x, w, b: x @ sg.transpose(sg.transpose(w) * 2.0) + b,
    "bias of rows": lambda x, w, b: flat(x, w, sg.reshape(b, (1, UNITS))),
    "matrix of inputs": lambda x, w, b: flat(sg.sin(flat(x, w[:, :INPUTS] @ w, b))[..., 1:], w, b),
}


def step(h, row, u):
    return sg.tanh(row + h @ u)


def scan_product_rows(parts, values, reverse=False):
    """The last state of a scan over rows of a product."""
    x, w, u, b = values
    start = sg.zeros((ROWS, UNITS), x.dtype.name)
    return sg.scan(lambda h, row: (step(h, row, u), None), start, parts(x, w, b), reverse=reverse)


def make_operands(iterations):
    """Inputs, and arrays for them; a named number of iterations is 11."""
    rng = np.random.default_rng(3)
    shapes = SHAPES | {"x": (iterations, ROWS, INPUTS)}
    values = [sg.input(name, shape, "float64") for name, shape in shapes.items()]
    shapes["x"] = (iterations if isinstance(iterations, int) else 11, ROWS, INPUTS)
    return values, {name: rng.normal(size=shape) / 2 for name, shape in shapes.items()}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("iterations", [12, 11, "time"])
@pytest.mark.parametrize("name", PARTS)
def test_they_are_those_of_the_loop_written_out(name, iterations, reverse):
    times = sg.dim("time", hint=11) if iterations == "time" else iterations
    values, feeds = make_operands(times)
    looped, _ = scan_product_rows(PARTS[name], values, reverse)
    left = sg.grad((looped * looped).sum(), values)
    gradients = sg.evaluate(left, feeds)
    fixed = [sg.input(n, a.shape, "float64") for n, a in feeds.items()]
    x, w, u, b = fixed
    rows, h = PARTS[name](x, w, b), sg.zeros((ROWS, UNITS), "float64")
    for t in range(len(feeds["x"]))[:: -1 if reverse else 1]:
        h = step(h, rows[t], u)
    expected = sg.evaluate(sg.grad((h * h).sum(), fixed), feeds)
    for actual, reference in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(actual, reference, rtol=1e-9, atol=1e-9)
    # No product and no sum is left over the stack of all iterations.
    graph = sg.Graph({f"y{k}": slope for k, slope in enumerate(left)})
    late = [n for n in graph.nodes if n.order == 1 and n.op.name in ("matmul", "sum")]
    stacks = [
        arg
        for node in late
        for arg in node.args
        if node.op.name == "sum" or node.op.transpose_a
        if 12 * ROWS in arg.shape or arg.shape[:2] == (12, ROWS)
    ]
    assert name == "matrix of inputs" or iterations != 12 or not stacks


def test_second_derivatives_tangents_and_batches(monkeypatch):
    values, feeds = make_operands(12)

    def both():
        last, _ = scan_product_rows(flat, values)
        loss = (last * last).sum()
        slope = sg.grad(loss, values[1])
        again = sg.grad((slope * slope).sum(), values)
        pushed = sg.jvp(slope, values[1], values[1])

        def of_one(x):
            last, _ = scan_product_rows(flat, [x, *values[1:]])
            return sg.grad((last * last).sum(), values[1])

        many = sg.vmap(of_one)(sg.stack([values[0], values[0] * 2]))
        return sg.evaluate([*again, pushed, many], feeds)

    results = both()
    monkeypatch.setattr(sums, "BLOCK_ROWS", 1 << 20)
    for actual, reference in zip(results, both(), strict=True):
        np.testing.assert_allclose(actual, reference, rtol=1e-9, atol=1e-9)


def test_few_iterations_are_one_product():
    values, _ = make_operands(4)
    last, _ = scan_product_rows(flat, values)
    graph = sg.Graph({"w": sg.grad((last * last).sum(), values[1])})
    assert sum(node.op.name == "loop" for node in graph.nodes) == 3  # forward, with carries, back


def test_sums_of_narrow_floats_are_rounded_once(monkeypatch):
    """A sum of 3,005 ones: float16 could not add five to 2,048 without rounding."""
    monkeypatch.setattr(sums, "BLOCK_ROWS", 5)
    count = 3005
    x = sg.input("x", (count, 1, 2), "float16")
    w, b = sg.input("w", (2, 3), "float16"), sg.input("b", (3,), "float16")
    start = sg.zeros((1, 3), "float16")
    last, _ = sg.scan(lambda h, row: (h + row, None), start, x @ w + b)
    ones = {"x": np.ones(x.shape, "float16")}
    for slope in sg.evaluate(sg.grad(last.sum(), [w, b]), ones):
        assert slope.dtype == np.float16
        np.testing.assert_array_equal(slope, np.full(slope.shape, np.float16(count)))
