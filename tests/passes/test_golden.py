"""Four training steps after O1: counts that are derived by hand."""

from collections import Counter

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.compiler.lowering.fuse import fuse
from tests.passes.golden_models import MODELS

#: Ops whose number follows from the formulas. Every matrix product makes one more for each operand
#: that needs a gradient; a Hessian-vector product of one product by its weights takes two.
COUNTS = {
    # 3 forward, 2 for each layer but the first, 1 for the first: 3 * 3 - 1. Sums: of each bias, of
    # the exponentials, of the mean.
    "mlp": {"matmul": 8, "exp": 1, "log": 1, "sum": 5, "max": 1, "transpose": 0},
    # x @ w, its transpose for the slope, and both again for the product. Softplus and its slopes
    # share one exponential; the sigmoid is the slope of log1p(exp(x)).
    "logreg": {"matmul": 4, "exp": 1, "log1p": 1, "sum": 2, "transpose": 0},
    # Mean, variance, mean of squares; gain and bias; and two for the row statistics.
    "lnblock": {"matmul": 0, "sum": 7, "erf": 1, "exp": 1, "sqrt": 1, "transpose": 0},
    # 4 projections, scores, mix; backward 2 each, but x needs no gradient: 12 - 3.
    "attention": {"matmul": 15, "exp": 1, "max": 1, "transpose": 0},
}


@pytest.mark.parametrize("name", MODELS)
def test_counts_derived_by_hand(name):
    actual = Counter(node.op.name for node in pipeline("O1")(MODELS[name]()).nodes)
    assert {op: actual[op] for op in COUNTS[name]} == COUNTS[name]


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_matrix_products_of_a_perceptron(layers):
    """3 L - 1 in a step, 8 L - 5 in a Hessian-vector product, by R. A. Pearlmutter (1994).

    A step: one forward per layer, one for its weights, one for its input but for the first. The
    product: all of these, their tangents (two for each with a moving operand), less what the first
    layer does without.
    """
    x, y = sg.input("x", ("batch", 8)), sg.input("y", ("batch",), "int64")
    weights, hidden = [], x
    for layer in range(layers):
        w = sg.parameter(f"w{layer}", np.eye(8, dtype="f4"))
        b = sg.parameter(f"b{layer}", np.zeros(8, "f4"))
        weights += [w, b]
        hidden = hidden @ w + b
        hidden = sg.tanh(hidden) if layer < layers - 1 else hidden
    loss = sg.nn.cross_entropy(hidden, y)
    directions = [sg.input(f"v{k}", w.shape) for k, w in enumerate(weights)]
    slopes = sg.grad(loss, weights)
    updates = {w: w - 0.1 * slope for w, slope in zip(weights, slopes, strict=True)}
    step = sg.Graph({"loss": loss}, updates)
    product = sg.Graph({f"h{k}": h for k, h in enumerate(sg.hvp(loss, weights, directions))})
    for graph, expected in ((step, 3 * layers - 1), (product, 8 * layers - 5)):
        optimized = pipeline("O1")(graph)
        actual = Counter(node.op.name for node in optimized.nodes)
        assert (actual["matmul"], actual["transpose"], actual["exp"]) == (expected, 0, 1)
    kinds = {step.label for step in fuse(pipeline("O1")(step)).steps}
    assert not any(label in ("transpose", "broadcast") or "copy of" in label for label in kinds)
