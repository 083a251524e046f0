"""Functions with a rule for tangents: every mode, order and kind of values; mistakes."""

import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, grad
from staticgrad.errors import ArgumentError, GradientError, OpDefinitionError


@sg.custom_jvp(name="tests.log1pexp")
def log1pexp(x):
    return sg.log1p(sg.exp(x))


@log1pexp.rule
def _(tangents, out, x):
    return tangents[0] * sg.sigmoid(x)


@sg.custom_jvp(name="tests.scaled_rows")
def scaled_rows(x, w, n):
    """Rows of x times w, to a whole power."""
    return (x * w) ** n


@scaled_rows.rule
def _(tangents, out, x, w, n):
    assert tangents[2] is None
    slope = sg.astype(n, x.dtype) * (x * w) ** (n - 1)
    return slope * (tangents[0] * w + x * tangents[1])


def plain(x, w, n):
    return (x * w) ** n


X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
W = np.array([1.0, -2.0, 0.5])
CUBE = np.array(3)


def test_the_rule_counts_where_the_formula_overflows():
    x = sg.input("x", (3,), "float64")
    y = log1pexp(x)
    at = {"x": np.array([-1.0, 0.0, 1000.0])}
    wanted = 1 / (1 + np.exp(-at["x"]))
    ones = np.ones(3)
    for found in (sg.grad(y.sum(), x), sg.jvp(y, x, ones), sg.vjp(y, x, ones)):
        np.testing.assert_allclose(sg.evaluate(found, at), wanted, rtol=1e-12)
        np.testing.assert_allclose(sg.compile(found).run(at), wanted, rtol=1e-12)
    t = Tensor(at["x"], requires_grad=True, dtype="float64")
    log1pexp(t).sum().backward()
    np.testing.assert_allclose(t.grad, wanted, rtol=1e-12)


def test_it_differentiates_again_in_both_modes():
    draw = np.random.default_rng(0)
    assert sg.testing.check_gradients(log1pexp, [draw.normal(size=4)], order=3) < 1e-7
    found = sg.testing.check_gradients(lambda x, w: scaled_rows(x, w, CUBE), [X, W], order=2)
    assert found < 1e-6


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", ["graph", "function", "tensor"])
def test_gradients_of_both_orders_are_those_of_the_formula(kind):
    """By operands of several shapes, one of them broadcast, and an integer."""

    def found(f):
        def energy(x, w):
            return (f(x, w, CUBE) * sg.sin(x)).sum()

        def second(x, w):
            return (sg.grad(energy, 0)(x, w) ** 2).sum()

        if kind == "function":
            return [sg.grad(energy, (0, 1))(X, W), sg.grad(second, (0, 1))(X, W)]
        if kind == "graph":
            x, w = sg.input("x", (2, 3), "float64"), sg.input("w", (3,), "float64")
            first = sg.grad(energy(x, w), [x, w])
            again = sg.grad((first[0] ** 2).sum(), [x, w])
            return [sg.evaluate(each, {"x": X, "w": W}) for each in (first, again)]
        x, w = (Tensor(a, requires_grad=True, dtype="float64") for a in (X, W))
        first = grad(energy(x, w), [x, w], create_graph=True)
        again = grad((first[0] ** 2).sum(), [x, w])
        return [[t.data for t in each] for each in (first, again)]

    for ours, theirs in zip(found(scaled_rows), found(plain), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11)


def test_operands_may_be_recorded_results():
    """A walk back over the tape uses the rule while what made its operands is still to come."""
    x, w = (Tensor(a, requires_grad=True, dtype="float64") for a in (X, W))
    energy = (scaled_rows(sg.sin(x) * w, w * w, CUBE) * x).sum()
    energy.backward()
    y, v = sg.input("y", X.shape, "float64"), sg.input("v", W.shape, "float64")
    by_formula = sg.grad((plain(sg.sin(y) * v, v * v, CUBE) * y).sum(), [y, v])
    for tensor, slope in zip((x, w), by_formula, strict=True):
        np.testing.assert_allclose(tensor.grad, sg.evaluate(slope, {"y": X, "v": W}), rtol=1e-11)


@pytest.mark.slow
def test_it_is_mapped_over_batches_with_its_rule():
    def slopes(x, w):
        return sg.grad((scaled_rows(x, w, CUBE) ** 2).sum(), [x, w])

    def pushed(x, w):
        return sg.jvp(scaled_rows(x, w, CUBE), [x, w], [x * 2.0, w])

    for f in (slopes, pushed):
        found = sg.function(sg.vmap(f, (0, None)))(X, W)
        each = [sg.function(f)(row, W) for row in X]
        for k in range(2):
            one = found if f is pushed else found[0]
            np.testing.assert_allclose(one[k], each[k] if f is pushed else each[k][0], rtol=1e-12)


def test_graphs_with_it_are_text_and_pickles():
    x = sg.input("x", (3,), "float64")
    graph = sg.Graph({"y": log1pexp(x)})
    at = {"x": np.array([0.0, 1.0, 800.0])}
    for other in (sg.parse(str(graph)), pickle.loads(pickle.dumps(graph))):
        slope = sg.grad(other["y"].sum(), other.inputs[0])
        np.testing.assert_allclose(sg.evaluate(slope, at), 1 / (1 + np.exp(-at["x"])), rtol=1e-12)


def test_mistakes():
    x = sg.input("x", (3,), "float64")
    with pytest.raises(ArgumentError, match="custom_jvp takes a function"):
        sg.custom_jvp(3)
    with pytest.raises(ArgumentError, match=r"'tests.log1pexp' exists already"):
        sg.custom_jvp(name="tests.log1pexp")(lambda x: x)
    bare = sg.custom_jvp(lambda x: x * 2.0, name="tests.bare")
    with pytest.raises(GradientError, match="no derivative rule yet"):
        bare(x)
    bare.rule(lambda tangents, out, x: tangents[0].sum())
    with pytest.raises(OpDefinitionError, match=r"gives f64\[\], not a tangent of type f64\[3\]"):
        sg.grad(bare(x).sum(), x)
    reads = sg.custom_jvp(lambda x: x * y, name="tests.reads")
    y = sg.input("y", (3,), "float64")
    reads.rule(lambda tangents, out, x: tangents[0])
    with pytest.raises(GradientError, match="not among its operands"):
        reads(x)
