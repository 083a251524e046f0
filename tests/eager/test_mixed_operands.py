"""Arrays beside tensors are tensors: as operands, in containers, and around a closure."""

import numpy as np
import pytest

import staticgrad as sg
import staticgrad.functions
from staticgrad.eager import Tensor
from staticgrad.errors import DTypeError, StaticgradError
from staticgrad.language.calls.functional import FUNCTIONS
from staticgrad.language.trees import flatten
from tests.eager.test_functions import OF_VALUES, OPERANDS, I, V, X

_ONE_TENSOR = ((True, False, False), (False, True, False), (False, False, True))


def _operands(tensors):
    return [Tensor(a) if is_one else a for a, is_one in zip((X, V, I), tensors, strict=True)]


def _public(name):
    return getattr(staticgrad.functions, name, FUNCTIONS[name])


def _same(actual, expected):
    pairs = zip(flatten(actual)[0], flatten(expected)[0], strict=True)
    for left, right in pairs:
        assert isinstance(left, Tensor)
        np.testing.assert_array_equal(left.data, right.data)


@pytest.mark.thinned(5)
@pytest.mark.parametrize("name", OF_VALUES)
def test_one_tensor_among_the_operands_is_enough(name):
    tried = 0
    for operands in OPERANDS:
        try:
            expected = _public(name)(*operands(*_operands((True, True, True))))
        except (StaticgradError, TypeError, ValueError):
            continue  # it takes others
        if not all(isinstance(leaf, Tensor) for leaf in flatten(expected)[0]):
            continue
        for tensors in _ONE_TENSOR:
            args = operands(*_operands(tensors))
            if any(isinstance(leaf, Tensor) for leaf in flatten(list(args))[0]):
                _same(_public(name)(*args), expected)
                tried += 1
    assert tried or name not in ("add", "where", "matmul", "concatenate", "trapezoid")


K = 0.5
Y0, TIMES = np.array([1.0, 2.0]), np.linspace(0.0, 1.0, 5)
ROWS = np.arange(6.0).reshape(3, 2)
#: Functions of arrays alone that read ``k`` from around them.
CLOSURES = {
    "rk4": lambda k: sg.ode.rk4(lambda t, y: -k * y, Y0, TIMES),
    "rk45": lambda k: sg.ode.rk45(lambda t, y: -k * y, Y0, 0.0, 1.0),
    "fori_loop": lambda k: sg.fori_loop(0, 3, lambda i, y: y * k, Y0),
    "fori_loop, the result alone": lambda k: sg.fori_loop(0, 1, lambda i, y: k * 1.0, np.ones(())),
    "scan": lambda k: sg.scan(lambda c, x: (c + x * k, c), np.zeros(2), ROWS)[0],
    "scan of a number": lambda k: sg.scan(lambda c, x: (c + x * k, c), 0.0, ROWS[:, 0])[1],
    "map": lambda k: sg.map(lambda row: (row * k).sum(), ROWS),
    "vmap": lambda k: sg.vmap(lambda row: (row * k).sum())(ROWS),
    "vmap in vmap": lambda k: sg.vmap(sg.vmap(lambda element: element * k))(ROWS),
    "cond": lambda k: sg.cond(np.asarray(True), lambda y: y * k, lambda y: y, Y0),
    "switch": lambda k: sg.switch(np.asarray(1), [lambda: k * 3.0, lambda: k * 2.0]),
    "while_loop": lambda k: sg.while_loop(lambda y: y.sum() > 1.0, lambda y: y * k, Y0),
    "while_loop, the test": lambda k: sg.while_loop(lambda y: y.sum() < k * 9, lambda y: y + 1, Y0),
    "associative_scan": lambda k: sg.associative_scan(lambda a, b: a * b * k, Y0),
    "grad": lambda k: sg.grad(lambda x: (x * x * k).sum())(Y0),
    "vjp": lambda k: sg.vjp(lambda x: x * k, Y0, Y0)[1],
    "jvp": lambda k: sg.jvp(lambda x: x * k, Y0, Y0)[1],
    "a parameter": lambda k: sg.fori_loop(0, 3, lambda i, y: y * k, sg.parameter("y", Y0)),
    "a loop in a loop": lambda k: sg.fori_loop(
        0, 2, lambda i, y: sg.fori_loop(0, 2, lambda j, z: z + k * i, y), Y0
    ),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", CLOSURES)
def test_a_function_of_arrays_that_closes_over_a_tensor_is_on_the_tape(name):
    """The value is that of the graph, the slope by ``k`` that of a difference quotient."""
    call = CLOSURES[name]

    def number(k):
        result = call(sg.constant(k, "float64"))
        return float(np.sum(result if isinstance(result, np.ndarray) else sg.evaluate(result)))

    k = Tensor(K, requires_grad=True, dtype="float64")
    total = call(k).sum()
    assert isinstance(total, Tensor)
    assert float(total.item()) == pytest.approx(number(K), rel=1e-12)
    if name != "while_loop, the test":
        total.backward()
        expected = (number(K + 1e-5) - number(K - 1e-5)) / 2e-5
        assert np.sum(k.grad) == pytest.approx(expected, rel=1e-6, abs=1e-6)


ONES = Tensor(np.ones(3), dtype="float64")
MIXED = {
    "rk4": (lambda: sg.ode.rk4(lambda t, y: y * 0, ONES, TIMES), np.ones((5, 3))),
    "histogram": (lambda: sg.histogram(ROWS[:, 0], 2, weights=ONES)[0], [1.0, 2.0]),
    "trapezoid": (lambda: sg.trapezoid(ROWS[:, 0], ONES.cumsum()), 4.0),
    "pow": (lambda: np.power(ROWS[:, 0], ONES, dtype="float64"), ROWS[:, 0]),
    "cho_solve": (lambda: sg.linalg.cho_solve((np.eye(3), True), ONES), np.ones(3)),
    "scan of a pair": (
        lambda: sg.scan(lambda c, x: (c + x[0] * x[1], None), 0.0, (ONES, ROWS[:, 0]))[0], 6.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_arrays_and_tensors(name):
    call, expected = MIXED[name]
    actual = call()
    assert isinstance(actual, Tensor)
    np.testing.assert_allclose(actual.data, expected)


def test_tensors_do_not_meet_values_of_graphs():
    y = sg.input("y", (2,), "float64")
    with sg.eager_mode():
        actual = sg.trapezoid(Y0, y)
    np.testing.assert_allclose(sg.evaluate(actual, {"y": [0.0, 2.0]}), 3.0)
    with pytest.raises(DTypeError, match="two kinds"):
        sg.fori_loop(0, 3, lambda i, c: c * ONES[:2], y)


@pytest.mark.parametrize("name", ["vstack", "hstack", "dstack", "column_stack", "concatenate"])
def test_arrays_beside_a_tensor_in_a_list(name):
    for arrays in ([V, Tensor(V)], [Tensor(V), V]):
        actual = getattr(sg, name)(arrays)
        assert isinstance(actual, Tensor)
        np.testing.assert_array_equal(actual.data, getattr(np, name)([V, V]))
