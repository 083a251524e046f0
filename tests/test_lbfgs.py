"""L-BFGS: known minima, the inverse by hand, both worlds, what is refused."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DTypeError, ShapeError
from staticgrad.optim.lbfgs import _times_inverse

RNG = np.random.default_rng(3)
A = RNG.normal(size=(12, 5))
B = RNG.normal(size=12)


def rosenbrock(x):
    return ((1.0 - x[:-1]) ** 2 + 100.0 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def walled(x):
    """Defined where all elements are above 0, which a first step may leave."""
    return (x - sg.log(x)).sum() * 40.0


#: A loss, where it begins, and where it is least.
LOSSES = {
    "valley": (rosenbrock, np.array([-1.2, 1.0, 0.5]), np.ones(3)),
    "least squares": (
        lambda x: ((A @ x - B) ** 2).sum(), np.zeros(5), np.linalg.lstsq(A, B, rcond=None)[0]
    ),
    "log": (walled, np.full(3, 0.01), np.ones(3)),
    "there": (lambda x: (x**2).sum(), np.zeros(2), np.zeros(2)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_minima_are_found_in_both_worlds(name):
    loss, start, place = LOSSES[name]
    opt = sg.optim.LBFGS(history_size=5, tolerance_grad=1e-7)
    search = sg.function(lambda x: opt.minimum(loss, x))
    found, at_once = search(start), search.eagerly(start)
    np.testing.assert_allclose(found.x, place, atol=1e-7)
    assert found.converged
    assert found.slope <= 1e-7
    assert found.iterations == at_once.iterations <= (0 if name == "there" else 60)
    np.testing.assert_allclose(at_once.x, found.x, rtol=1e-6, atol=1e-8)
    assert isinstance(opt.minimum(loss, Tensor(start, dtype="float64")).x, Tensor)


def test_the_inverse_is_that_of_bfgs_written_as_matrices():
    steps, slope = RNG.normal(size=(4, 6)), RNG.normal(size=6)
    curved = np.diag(np.arange(1.0, 7.0))
    steps[0] = 0.0  # no step yet
    changes = steps @ curved
    inverse = np.eye(6) * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for s, y in zip(steps[1:], changes[1:], strict=True):
        left = np.eye(6) - np.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
    found = sg.function(_times_inverse)(slope, steps, changes)
    np.testing.assert_allclose(found, inverse @ slope, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_module_is_fitted_to_batches_of_any_size(dtype):
    model = sg.nn.Sequential(sg.nn.Linear(3, 1, dtype=dtype), sg.tanh)
    opt = sg.optim.LBFGS(max_iter=30, tolerance_grad=1e-4)

    @sg.function
    def fit(x, y):
        return opt.minimize(lambda m: ((m(x)[:, 0] - y) ** 2).mean(), model).value

    weights = np.array([0.5, -0.3, 0.2])
    for rows in (20, 30, 40):
        x = RNG.normal(size=(rows, 3)).astype(dtype)
        assert fit(x, np.tanh(x @ weights + 0.1).astype(dtype)) < 1e-6
    assert fit.stats.traces == 2
    weight, bias = (p.value for p in model.parameters())
    np.testing.assert_allclose(weight[:, 0], weights, atol=3e-3)
    np.testing.assert_allclose(bias, 0.1, atol=3e-3)
    before = [p.value for p in model.parameters()]
    fit.eagerly(x, np.tanh(x @ weights).astype(dtype))
    np.testing.assert_allclose(model.parameters()[1].value, 0.0, atol=3e-3)
    assert not np.array_equal(before[1], model.parameters()[1].value)


@pytest.mark.slow
def test_what_cannot_be_minimised_is_refused():
    opt, x = sg.optim.LBFGS(), sg.input("x", (3,), "float64")
    with pytest.raises(ArgumentError, match="not a function"):
        opt.minimum(x.sum(), x)
    with pytest.raises(ShapeError, match="one number"):
        opt.minimum(lambda x: x, x)
    with pytest.raises(DTypeError, match="int64"):
        opt.minimum(rosenbrock, np.arange(3))
    with pytest.raises(DTypeError, match="one floating dtype"):
        opt.minimum(lambda t: t[0].sum(), (x, np.ones(2, "float32")))
    with pytest.raises(ArgumentError, match="nothing to be moved"):
        opt.minimum(rosenbrock, ())
    with pytest.raises(ArgumentError, match="not a parameter"):
        opt.minimize(rosenbrock, x)
    for wrong in ({"max_iter": 0}, {"history_size": 1.5}, {"tolerance_grad": 0.0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            sg.optim.LBFGS(**wrong)
    stuck = sg.function(lambda x: opt.minimum(lambda x: sg.sqrt(x).sum() * np.nan, x))(np.ones(2))
    assert (stuck.iterations, bool(stuck.converged)) == (0, False)
    np.testing.assert_array_equal(stuck.x, 1.0)
