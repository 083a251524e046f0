"""softmax, log_softmax and logsumexp over any axes, against SciPy: values and gradients."""

import numpy as np
import pytest
import scipy.special

import staticgrad as sg
from staticgrad.eager import Tensor
from tests.diagonals import diagonals

AXES = [-1, 0, (0, 2), (1, -1), (0, 1, 2), None]
X = np.random.default_rng(3).normal(size=(3, 4, 2)) * 5
WEIGHTS = np.random.default_rng(4).normal(size=X.shape)
VALUES = {
    "softmax": scipy.special.softmax,
    "log_softmax": scipy.special.log_softmax,
    "logsumexp": scipy.special.logsumexp,
}


def slope(name, axis):
    """Of the sum of the results, weighted: written out by hand with SciPy's softmax."""
    shares = scipy.special.softmax(X, axis=axis)
    if name == "logsumexp":
        return shares * WEIGHTS.sum(axis=axis, keepdims=True)
    if name == "log_softmax":
        return WEIGHTS - shares * WEIGHTS.sum(axis=axis, keepdims=True)
    return shares * (WEIGHTS - (shares * WEIGHTS).sum(axis=axis, keepdims=True))


@pytest.mark.thinned(4)
@diagonals(2, ("name", VALUES), ("axis", AXES))
def test_values_and_gradients_over_any_axes(name, axis):
    x = sg.input("x", ("n", 4, 2), "float64")
    out = getattr(sg.nn, name)(x, axis)
    weights = WEIGHTS.sum(axis=axis) if name == "logsumexp" else WEIGHTS
    outputs = {"out": out, "slope": sg.grad((out * weights).sum(), x)}
    found = sg.compile(sg.Graph(outputs)).run({"x": X})
    np.testing.assert_allclose(found["out"], VALUES[name](X, axis=axis), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found["slope"], slope(name, axis), rtol=1e-11, atol=1e-11)
    tensor = getattr(sg.nn, name)(Tensor(X, dtype="float64"), axis)
    np.testing.assert_allclose(tensor.data, VALUES[name](X, axis=axis), rtol=1e-12, atol=1e-12)


def test_logsumexp_keeps_its_axes():
    found = sg.nn.logsumexp(Tensor(X, dtype="float64"), (0, 2), keepdims=True)
    np.testing.assert_allclose(found.data, scipy.special.logsumexp(X, (0, 2), keepdims=True))


def test_of_one_number():
    number = Tensor(2.5, dtype="float64")
    assert sg.nn.logsumexp(number).item() == scipy.special.logsumexp(2.5) == 2.5
    assert sg.nn.logsumexp(number, axis=None).item() == 2.5
    assert sg.nn.softmax(number, axis=None).item() == scipy.special.softmax(2.5) == 1.0
    assert sg.nn.log_softmax(number, axis=None).item() == scipy.special.log_softmax(2.5) == 0.0


@pytest.mark.parametrize("spelling", ["none", False, np.False_])
def test_the_exact_gelu(spelling):
    wanted = X * scipy.special.ndtr(X)
    found = sg.nn.gelu(Tensor(X, dtype="float64"), approximate=spelling).data
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("spelling", ["tanh", True, np.True_])
def test_the_gelu_by_tanh(spelling):
    wanted = 0.5 * X * (1 + np.tanh(np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)))
    found = sg.nn.gelu(Tensor(X, dtype="float64"), approximate=spelling).data
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
