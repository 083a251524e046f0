"""Programs whose axes are of one length, beside their gradients: what no shape tells apart.

Where queries, keys and values, rows and columns, results and slopes are equally long, a compiler
that goes by shapes takes one for the other. Slices, reductions over some axes, products of what was
reduced with what was not, and convolutions whose cotangents repeat are drawn together, with any of
the results and slopes as outputs. Those of exact operations, sums among them, have the evaluator's
bytes.

A few in the ordinary suite; six hundred with ``-m exhaustive``.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import staticgrad as sg
from tests.compiled.ways import assert_true

LENGTHS = (3, 8, 17, 64)

#: What is read of three axes.
READ = {
    "all": lambda x: x,
    "every second row": lambda x: x[:, ::2, :-1],
    "neighbours": lambda x: x[..., 1:] - x[..., :-1],
}
#: What is computed of each element.
EACH = {
    "itself": lambda x: x,
    "tanh": lambda x: sg.tanh(x) if x.dtype.is_float else x,
    "square": lambda x: x**2,
    "by its row": lambda x: x * x.sum(-1, keepdims=True).astype(x.dtype),
}
#: What that goes through, beside a value and filters of the same lengths.
THEN = {
    "nothing": lambda y, v, w: y,
    "a product": lambda y, v, w: y @ v[:, : y.shape[2]],
    "weights": lambda y, v, w: sg.nn.softmax(y) @ v[:, : y.shape[2]] if y.dtype.is_float else y,
    "itself transposed": lambda y, v, w: sg.swapaxes(y, 1, 2) @ y,
    "windows": lambda y, v, w: sg.nn.conv(y, w[:, : y.shape[1]]),
}
AXES = ((0, 1, 2), (1, 2), (1,), (2,))
SOURCES = ("x", "v", "w")


@st.composite
def programs(draw):
    """Outputs, the inputs that they may read, and how long axes are."""
    kind = draw(st.sampled_from(("float64", "float64", "float64", "float32", "int8")))
    size = draw(st.sampled_from(LENGTHS))
    n = "n" if draw(st.booleans()) else size
    x, v, w = (
        sg.input("x", (3, n, n), kind),
        sg.input("v", (3, n, n), kind),
        sg.input("w", (17, size, 2), kind),
    )
    read, each, then = (draw(st.sampled_from(sorted(table))) for table in (READ, EACH, THEN))
    if then == "windows":  # channels have a size known at build
        x = sg.input("x", (3, size, size), kind)
    y = THEN[then](EACH[each](READ[read](x)), v, w)
    total = y.sum(draw(st.sampled_from(AXES)))
    outputs = {"y": y, "total": total}
    if y.dtype.is_float:
        loss = (total * total).sum() if draw(st.booleans()) else total.sum()
        slopes = sg.grad(loss, [x, v, w], allow_disconnected=True)
        outputs |= {f"by {name}": slope for name, slope in zip(SOURCES, slopes, strict=True)}
    left_out = draw(st.sampled_from(("y", "y", "y", *sorted(outputs))))
    kept = {name: value for name, value in outputs.items() if name != left_out}
    return kept, [x, v, w], size


def check(outputs, inputs, size):
    """Compile, run and compare."""
    graph = sg.Graph(outputs, inputs=inputs)
    rng = np.random.default_rng(size)
    feeds = {}
    for name, value in zip(SOURCES, inputs, strict=True):
        shape = [side if isinstance(side, int) else size for side in value.shape]
        feeds[name] = (rng.normal(size=shape) * 3.0).astype(value.dtype.numpy)
    assert_true(graph, sg.compile(graph).run(feeds), feeds)


@pytest.mark.slow
@pytest.mark.parametrize("most", [12, pytest.param(600, marks=pytest.mark.exhaustive)])
def test_programs_of_equal_lengths(most):
    run = given(programs())(lambda program: check(*program))
    settings(
        max_examples=most,
        deadline=None,
        database=None,
        derandomize=most < 100,
        suppress_health_check=list(HealthCheck),
    )(run)()
