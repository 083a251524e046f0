"""Ranges hold: what a formula is said never to be, it never is; on random programs and by hand."""

import math

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.ir.graph import Graph
from staticgrad.ir.ranges import Zero
from staticgrad.lints.ranges import ranges_of

UNARY = (
    *("absolute", "exp", "log", "sqrt", "square", "sigmoid", "tanh", "negative", "expm1", "log1p"),
    *("reciprocal", "cosh", "sinh", "floor", "sign", "sin", "erf", "cbrt", "exp2", "arctan"),
    *("rint", "trunc", "ceil", "log2"),
)
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "hypot")
COMPARE = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
AXES = ("sum", "max", "min", "mean", "prod")
NUMBERS = (0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 3.0)
ROUND = (0.0, 1.0, -1.0, 0.25, -2.0, 2.5)


def random_program(rng, length):
    """A graph of ``length`` steps that no range analysis was written for; every value an output."""
    values = [sg.input("x", (5,), "float64"), sg.input("n", (5,), "int64").astype("float64")]

    def pick():
        return values[max(0, len(values) - 1 - int(rng.geometric(0.4)) + 1) % len(values)]

    for _ in range(length):
        x, other = pick(), pick() if rng.random() < 0.5 else float(rng.choice(NUMBERS))
        kind = rng.integers(7)
        if kind <= 2:
            value = getattr(sg, rng.choice(UNARY))(x)
        elif kind <= 4:
            value = getattr(sg, rng.choice(BINARY))(x, other)
        elif kind == 5:
            test = getattr(sg, rng.choice(COMPARE))(x, float(rng.choice(NUMBERS)))
            branches = (x, other) if rng.random() < 0.5 else (other, x)
            value = sg.where(test, *branches)
        else:
            value = x - getattr(sg, rng.choice(AXES))(x, keepdims=True)
            value = sg.broadcast_to(value, (5,))
        values.append(value)
    return Graph({f"v{k}": value for k, value in enumerate(values)})


@pytest.mark.thinned(5)
@pytest.mark.parametrize("seed", range(100))
def test_ranges_hold_on_random_programs(seed):
    rng = np.random.default_rng(seed)
    graph = random_program(rng, 8)
    every = {f"n{k}": v for k, node in enumerate(graph.nodes) for v in node.values}
    whole = Graph(every, inputs=graph.inputs)
    found = ranges_of(whole)
    for turn in range(6):
        feeds = {
            "x": rng.choice(ROUND, 5) if turn % 2 else rng.normal(size=5),
            "n": rng.integers(-2, 3, 5),
        }
        arrays = sg.evaluate(whole, {i.node.op.label: feeds[i.node.op.label] for i in whole.inputs})
        # Beyond these numbers exponentials round to 0, which ranges leave out on purpose.
        if any(np.abs(a[np.isfinite(a)]).max(initial=0) > 30 for a in arrays.values()):
            continue
        for name, array in arrays.items():
            range_, known = found[every[name].key], array[np.isfinite(array)].astype("float64")
            slack = 1e-12 * (1 + np.abs(known))
            assert (known >= range_.low - slack).all(), f"{name} {range_} {array}\n{whole}"
            assert (known <= range_.high + slack).all(), f"{name} {range_} {array}\n{whole}"
            if range_.zero is Zero.NEVER and all(np.isfinite(a).all() for a in arrays.values()):
                assert (known != 0).all(), f"{name} {range_} {array}\n{whole}"


X = sg.input("x", ("n", 3), "float32")
#: Value -> (low, high, zero) by hand.
KNOWN = [
    (X, -math.inf, math.inf, Zero.MAYBE),
    (X * X, 0, math.inf, Zero.REACHED),
    (X * X + 1.0, 1, math.inf, Zero.NEVER),
    (sg.nn.relu(X), 0, math.inf, Zero.CHOSEN),
    (sg.exp(X).sum(-1), 0, math.inf, Zero.NEVER),
    (sg.exp(X) / sg.exp(X).sum(), 0, math.inf, Zero.NEVER),
    (X - sg.max(X, -1, keepdims=True), -math.inf, 0, Zero.REACHED),
    (sg.ptp(X), 0, math.inf, Zero.REACHED),
    (sg.var(X), 0, math.inf, Zero.REACHED),
    (sg.norm(X), 0, math.inf, Zero.REACHED),
    (sg.sum(X > 0).astype("float32"), 0, math.inf, Zero.CHOSEN),
    (sg.where(X > 0, X, 1.0), 0, math.inf, Zero.NEVER),
    (sg.where(X < 0, X, -1.0), -math.inf, 0, Zero.NEVER),
    (sg.floor(sg.sigmoid(X)), 0, 1, Zero.CHOSEN),
    (sg.clip(X, -1.0, 2.0), -1, 2, Zero.MAYBE),
    (sg.maximum(X, 0.5), 0.5, math.inf, Zero.NEVER),
    (-sg.sigmoid(X), -1, 0, Zero.NEVER),
    (sg.log1p(sg.exp(X)), 0, math.inf, Zero.NEVER),
    (sg.constant(np.float32([1, 2])) + 1.0, 2, 3, Zero.NEVER),
]


@pytest.mark.parametrize(("value", "low", "high", "zero"), KNOWN, ids=range(len(KNOWN)))
def test_ranges_by_hand(value, low, high, zero):
    found = ranges_of(Graph(value))[value.key]
    assert (found.low, found.high) == (low, high)
    assert found.zero is zero
