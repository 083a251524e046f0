"""Solutions of equations by ``sg.implicit``: found, and differentiated twice, in every world."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, grad
from staticgrad.errors import ArgumentError, GradientError

M = np.array([[0.3, -0.2, 0.1], [0.0, 0.4, 0.2], [0.2, 0.1, -0.3]])
A = np.array([0.5, -1.0, 2.0])
ZERO = np.zeros(3)


def by_root(a):
    return sg.implicit.root(lambda x, a: x + sg.tanh(M @ x) * a - a, ZERO, a)


def by_fixed_point(a):
    return sg.implicit.fixed_point(lambda x, a: a - sg.tanh(M @ x) * a, ZERO, a)


def by_argmin(a):
    return sg.implicit.argmin(
        lambda x, a: (sg.exp(x) - a * x).sum() + 0.5 * (x @ M @ x) + 3.0 * (x * x).sum(), ZERO, a
    )


def residual(a, x, f):
    if f is by_argmin:
        return np.exp(x) - a + 0.5 * (M + M.T) @ x + 6.0 * x
    return x + np.tanh(M @ x) * a - a


every = pytest.mark.parametrize("f", [by_root, by_fixed_point, by_argmin])


@pytest.mark.thinned(3)
@every
def test_solutions_and_both_derivatives(f):
    a = sg.input("a", (3,), "float64")
    x = f(a)
    slope = sg.grad((x * x).sum(), a)
    second = sg.grad((slope * slope).sum(), a)
    run = sg.compile({"x": x, "slope": slope, "second": second}).run

    def central(name, of):
        h = 1e-5 * np.eye(3)
        differences = [of(run({"a": A + e})[name]) - of(run({"a": A - e})[name]) for e in h]
        return np.array(differences) / 2e-5

    actual = run({"a": A})
    np.testing.assert_allclose(residual(A, actual["x"], f), 0.0, atol=1e-9)
    np.testing.assert_allclose(actual["slope"], central("x", lambda x: (x * x).sum()), rtol=1e-5)
    square = central("slope", lambda g: (g * g).sum())
    np.testing.assert_allclose(actual["second"], square, rtol=1e-4, atol=1e-7)


@pytest.mark.thinned(3)
@every
def test_functions_batches_and_tensors_give_the_same(f):
    def energy(a):
        return (f(a) ** 2).sum()

    slope = sg.grad(energy)(A)
    rows = np.stack([A, A * 0.5])
    many = sg.function(sg.vmap(lambda a: sg.grad(energy(a), a)))(rows)
    np.testing.assert_allclose(many[0], slope, rtol=1e-7)
    np.testing.assert_allclose(many[1], sg.grad(energy)(A * 0.5), rtol=1e-7)
    t = Tensor(A, requires_grad=True, dtype="float64")
    first = grad(energy(t), t, create_graph=True)
    np.testing.assert_allclose(first.data, slope, rtol=1e-7)
    again = grad((first * first).sum(), t)
    expected = sg.grad(lambda a: (sg.grad(energy)(a) ** 2).sum())(A)
    np.testing.assert_allclose(again.data, expected, rtol=1e-6)


def test_float32_matrices_and_integers():
    a, n = sg.input("a", (2, 2), "float32"), sg.input("n", (), "int64")
    first = np.ones((2, 2), "float32")
    x = sg.implicit.root(lambda x, a, n: x**3 - a * sg.astype(n, "float32"), first, a, n)
    actual = sg.evaluate([x, sg.grad(x.sum(), a)], {"a": np.full((2, 2), 4.0), "n": 2})
    assert actual[0].dtype == actual[1].dtype == np.float32
    np.testing.assert_allclose(actual[0], 2.0, rtol=1e-5)
    np.testing.assert_allclose(actual[1], 2 / 12, rtol=1e-4)


def test_what_is_refused():
    a = sg.input("a", (3,), "float64")
    with pytest.raises(ArgumentError, match="root: f is a value, not a function"):
        sg.implicit.root(a, ZERO)
    with pytest.raises(ArgumentError, match=r"gives f64\[\] for x of type f64\[3\]"):
        sg.implicit.root(lambda x, a: (x * a).sum(), ZERO, a)
    with pytest.raises(GradientError, match="not among its operands"):
        sg.implicit.root(lambda x: x - a, ZERO)
