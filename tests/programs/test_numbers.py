"""Python numbers as arguments: inputs from the second value on, if only arithmetic uses them."""

import copy
import math
import pickle
import warnings
from inspect import signature

import numpy as np
import pytest

import staticgrad as sg

FORMULAS = {
    "product": lambda x, c: x * c,
    "first operand": lambda x, c: c - x,
    "quotients": lambda x, c: (x / c, c / (x + 3)),
    "arithmetic of numbers": lambda x, c: x * (2 * c + 1) / (1 - c * c / 7),
    "alone": lambda x, c: (c * 2, x.sum() + c, c),
    "negative": lambda x, c: x * -c + abs(c) - +c,
    "whole parts": lambda x, c: (x // c, x % c, x + 7 // c),
    "powers of numbers": lambda x, c: x * 0.9**c,
    "choices": lambda x, c: (sg.where(x > c, x, c), sg.minimum(x, c), c < x, x == c),
    "function of a number": lambda x, c: x * sg.exp(-c),
    "containers": lambda x, c: {"a": [x + c], "b": (c * x,)},
}
ORDERED = ("whole parts", "choices")
DTYPES = ["float16", "float32", "int8", "int64", "complex64"]
RARER = ["float64", "int32", "uint8", "bool", "complex128"]


def leaves(tree):
    return [np.asarray(leaf) for leaf in sg.tree.leaves(tree)]


def same_as_static(formula, x, numbers, exact=False):
    """Compare one traced function with a trace for each number: values, types, dtypes."""
    over, static = (
        sg.function(formula),
        sg.function(formula, static=[*signature(formula).parameters][1]),
    )
    for c in numbers:
        actual, expected = over(x, c), static(x, c)
        assert list(map(type, sg.tree.leaves(actual))) == list(map(type, sg.tree.leaves(expected)))
        for a, b in zip(leaves(actual), leaves(expected), strict=True):
            assert a.dtype == b.dtype
            eps = np.finfo(a.dtype).eps if a.dtype.kind in "fc" else 0
            np.testing.assert_allclose(a, b, rtol=0 if exact else 4 * eps, atol=0)
    return over


@pytest.mark.parametrize(
    "dtype", [*DTYPES, *[pytest.param(dtype, marks=pytest.mark.slow) for dtype in RARER]]
)
@pytest.mark.parametrize("numbers", [(0.3, 0.7, 1.5), (2, 3, 5)], ids=["floats", "ints"])
def test_results_are_those_of_static_numbers(dtype, numbers):
    left_out = ORDERED if dtype.startswith("complex") else ()  # complex numbers have no order
    if dtype == "uint8" and numbers[0] == 2:
        left_out = ("negative",)  # refused: -2 does not fit
    formulas = {name: f for name, f in FORMULAS.items() if name not in left_out}

    def all_of_them(x, c):
        return {name: f(x, c) for name, f in formulas.items()}

    x = np.array([1, 0, 1, 1]).astype(dtype)
    assert same_as_static(all_of_them, x, numbers).stats.traces == 2


X = np.linspace(0.5, 2.0, 4, dtype=np.float32)


def test_learning_rates_compile_twice():
    step = sg.function(lambda w, rate: w - rate * sg.grad(lambda w: (w**4).sum())(w))
    w = X
    for turn in range(20):
        rate = 0.01 / (turn + 1)
        expected = w - np.float32(rate) * 4 * w**3
        w = step(w, rate)
        assert w.dtype == np.float32
        np.testing.assert_allclose(w, expected, rtol=1e-6)
    assert step.stats.traces == 2
    assert "another rate, from now on an input" in step.stats.reasons[1]


def test_the_first_value_keeps_its_program():
    f = sg.function(lambda x, c: sg.sin(x * c))
    first = f(X, 0.3)
    f(X, 0.7)
    assert f(X, 0.3).tobytes() == first.tobytes()
    assert f.stats.traces == 2


def test_numbers_in_containers_by_name_and_by_default():
    f = sg.function(lambda x, rates, scale=1.0: x * rates["a"] + rates["b"][0] * scale)
    for k in range(4):
        actual = f(X, {"a": 0.5 + k, "b": [2.0 * k]}, scale=1.0 + k)
        np.testing.assert_allclose(actual, X * (0.5 + k) + 2.0 * k * (1.0 + k), rtol=1e-6)
    assert f.stats.traces == 2


def test_sizes_and_numbers_change_together():
    f = sg.function(lambda x, c: (x * c).sum())
    for size, c in ((2, 0.5), (3, 0.25), (4, 2.0), (5, 3.0)):
        assert f(np.ones(size), c) == size * c
    assert f.stats.traces == 2


@pytest.mark.parametrize(
    ("formula", "values"),
    [
        (lambda x, n: sum(x for _ in range(n)), (1, 2, 3)),
        (lambda x, n: x.reshape(n, -1), (1, 2, 4)),
        (lambda x, n: x[n], (1, 2, 3)),
        (lambda x, n: x[:n], (1, 2, 3)),
        (lambda x, n: x.reshape(2, 2).sum(axis=n), (0, 1)),
        (lambda x, n: x * (1 if n > 1 else 2), (1, 2, 3)),
        (lambda x, n: {f"layer{n}": x}, (1, 2, 3)),
        (lambda x, n: x * {1: 5, 2: 7, 3: 9}[n], (1, 2, 3)),
        (lambda x, n: x**n, (1, 2, 3)),
        (lambda x, n: x * n.bit_length(), (1, 2, 9)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*was traced, and compiled, at each of its first 3 calls")
def test_ints_that_steer_python_stay_static(formula, values):
    over = same_as_static(formula, X, values, exact=True)
    assert over.stats.traces == len(values)
    assert "static: n, for" in over.stats.reasons[1]


@pytest.mark.parametrize(
    "of_size",
    [
        lambda n: np.zeros(n).sum(),
        lambda n: np.zeros((n, 2)).sum(),
        lambda n: np.arange(n).sum(),
        lambda n: np.eye(n).sum(),
        lambda n: np.linspace(0.0, 1.0, n).sum(),
        lambda n: np.full(n, 2.0).sum(),
        lambda n: np.repeat([1.0], n).sum(),
        lambda n: np.tile([1.0], n).sum(),
        lambda n: len([0] * n),
        lambda n: float(sum(range(n))),
    ],
)
def test_a_size_beside_a_rate_does_not_make_the_rate_static(of_size):
    """NumPy's error of a size that is no integer names nothing: the rate was blamed with it."""
    f = sg.function(lambda x, n, rate: x * rate + of_size(n))
    for k in range(9):
        n, rate = 2 + k % 3, 0.5 * (k + 1)
        np.testing.assert_allclose(f(X, n, rate), X * rate + of_size(n), rtol=1e-6)
    assert f.stats.traces == 4


def cube(v):
    return v * v * sg.sin(v)


#: What derivatives and loops take: a number by itself becomes an input, too.
TAKEN = {
    "grad": lambda x, c: sg.grad(cube)(c) * x,
    "alone": lambda x, c: (sg.grad(cube)(c), sg.exp(c), x),
    "value and grad": lambda x, c: sg.value_and_grad(lambda v: (v * x).sum())(c),
    "grad of grad": lambda x, c: sg.grad(sg.grad(cube))(c) + x,
    "jvp": lambda x, c: (*sg.jvp(cube, (c,), (1.0,)), x),
    "jvp along it": lambda x, c: sg.jvp(cube, (x,), (sg.full((3,), c, x.dtype),)),
    "hessian": lambda x, c: sg.hessian(cube)(c) - x,
    "jacobian": lambda x, c: sg.jacobian(lambda v: v * x)(c),
    "scan": lambda x, c: sg.scan(lambda s, row: (s * 0.5 + row, s), c, x),
    "fori_loop": lambda x, c: sg.fori_loop(0, 2, lambda i, s: s * x[0], c),
    "while_loop": lambda x, c: sg.while_loop(lambda s: s < 50.0, lambda s: s * 2.0 + x[0], c),
    "cond": lambda x, c: sg.cond(x[0] > 0, lambda v: v * 2.0, lambda v: -v, c),
    "vmap": lambda x, c: sg.vmap(lambda row, n: row * sg.cos(n), in_axes=(0, None))(x, c),
}


@pytest.mark.parametrize("name", TAKEN)
def test_numbers_that_derivatives_and_loops_take_are_inputs(name):
    x = np.array([0.5, 1.25, 2.0])
    f = same_as_static(TAKEN[name], x, (0.3, 0.7, 1.5, 0.4))
    assert f.stats.traces == 2


def test_a_whole_number_has_no_derivative_as_in_a_static_trace():
    f = sg.function(lambda c: sg.grad(cube)(c))
    np.testing.assert_allclose([f(0.3), f(0.7)], [sg.grad(cube)(c) for c in (0.3, 0.7)], 1e-12)
    for number in (2, 3, 5):
        with pytest.raises(sg.errors.GradientError, match="no derivative by it"):
            f(number)


@pytest.mark.parametrize(
    ("formula", "why"),
    [
        (lambda x, c: x * c if c > 0 else x, "a comparison"),
        (lambda x, c: x * math.exp(-c), r"float\(\)"),
        (lambda x, c: x * np.exp(-c), "a NumPy function"),
        (lambda x, c: x**c, "an exponent of an array"),
        (lambda x, c: x * round(c), r"round\(\)"),
    ],
)
def test_floats_that_python_needs_are_static_and_warned_of_once(formula, why):
    f = sg.function(formula)
    expected = [sg.function(formula, static="c")(X, c) for c in (0.5, 2.0, 1.5)]
    actual = [f(X, 0.5)]
    with pytest.warns(sg.errors.StaticgradWarning, match=f"each value of c, since {why}"):
        actual.append(f(X, 2.0))
    actual.append(f(X, 1.5))
    for a, b in zip(actual, expected, strict=True):
        assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())
    assert f.stats.traces == 3


def test_only_the_number_that_steers_stays_static():
    f = sg.function(lambda x, rate, n: sum(x * rate for _ in range(n)))
    for k in range(1, 4):
        np.testing.assert_allclose(f(X, 0.5 * k, 1 + k % 2), X * 0.5 * k * (1 + k % 2), rtol=1e-6)
    traces = f.stats.traces
    for k in range(4, 10):
        np.testing.assert_allclose(f(X, 0.5 * k, 1 + k % 2), X * 0.5 * k * (1 + k % 2), rtol=1e-6)
    assert f.stats.traces == traces


def test_errors_of_python_and_ranges_are_those_of_a_plain_trace():
    f = sg.function(lambda x, c: x * (1 / c))
    f(X, 1.0), f(X, 2.0)
    with pytest.raises(ZeroDivisionError):
        f(X, 0.0)
    np.testing.assert_allclose(f(X, 4.0), X / 4)
    g = sg.function(lambda x, c: x + c)
    small = np.ones(2, np.int8)
    g(small, 1), g(small, 2)
    with pytest.raises(sg.errors.DTypeError, match="does not fit int8"):
        g(small, 1000)
    power = sg.function(lambda x, n: x * 2**n)
    integers = np.ones(2, np.int64)
    assert [power(integers, n).dtype.kind for n in (1, 2, -1, 3)] == ["i", "i", "f", "i"]
    big = sg.function(lambda x, n: x * (n * n * n / n**2))  # Python's ints have no end
    assert [big(np.ones(1), n)[0] for n in (3, 5, 10**15)] == [3, 5, 1e15]


def test_results_may_be_numbers():
    f = sg.function(lambda x, c: (x, c, 2 * c))
    for c in (0.5, 1.5, 2.5):
        assert f(X, c)[1:] == (c, 2 * c)
    assert f.stats.traces == 2


def test_bools_stay_static():
    f = sg.function(lambda x, flag: x + 1 if flag else x)
    assert f(X, True)[0] == X[0] + 1
    assert f(X, False)[0] == X[0]


def test_methods_static_names_and_pickles():
    class Model:
        @sg.function
        def step(self, x, rate):
            return x * rate

    model = Model()
    assert [model.step(X, float(k))[0] for k in range(1, 5)] == [0.5, 1.0, 1.5, 2.0]
    assert Model.step.stats.traces == 2
    static = sg.function(lambda x, rate: x * rate, static="rate")
    [static(X, float(k)) for k in range(4)]
    assert static.stats.traces == 4
    again = pickle.loads(pickle.dumps(sg.function(scale)))
    assert [copy.copy(again)(X, float(k))[0] for k in range(4)] == [0.0, 0.5, 1.0, 1.5]


def scale(x, rate):
    return x * rate


def test_gradients_of_functions_with_numbers():
    slope = sg.grad(lambda x, c: (x**3 * c).sum())
    for c in (0.5, 2.0, 3.0):
        np.testing.assert_allclose(slope(X, c), 3 * X**2 * np.float32(c), rtol=1e-6)
    by_number = sg.grad(lambda c: c**2)
    assert [by_number(c) for c in (1.0, 2.0, 3.0)] == [2.0, 4.0, 6.0]
    by_c = sg.grad(lambda x, c: (x * c).sum(), argnums=1)
    assert by_c(X, 2.0) == by_c(X, 3.0) == X.sum()
    second = sg.hessian(lambda x, c: (x**3).sum() * c)
    for c in (1, 2, 3):
        np.testing.assert_allclose(second(X, c), np.diag(6 * X * c), rtol=1e-6)


@pytest.mark.parametrize("c", [0.5, 1.0, 1.5])
def test_slopes_at_ties_are_those_of_static_numbers(c):
    def slopes(x, c):
        return sg.grad(
            lambda x: (sg.maximum(x, c) + sg.minimum(c, x) ** 2 + sg.clip(x, 0, c)).sum()
        )(x)

    x = np.array([0.5, 1.0, 1.5])
    over = sg.function(slopes)
    over(x, 7.0)
    np.testing.assert_array_equal(over(x, c), sg.function(slopes, static="c")(x, c))


def test_a_number_inside_of_loops_branches_batches_and_other_functions():
    inner = sg.function(lambda x, c: x * c)
    formulas = [
        lambda x, c: sg.fori_loop(0, 3, lambda i, s: s * c, x),
        lambda x, c: sg.scan(lambda s, e: (s + e * c, s * c), x[0], x),
        lambda x, c: sg.cond(x.sum() > c, lambda y: y * c, lambda y: y - c, x),
        lambda x, c: sg.vmap(lambda e, c: e * c, in_axes=(0, None))(x, c),
        inner,
        lambda x, c: sg.grad(lambda x: sg.checkpoint(lambda x: sg.sin(x * c))(x).sum())(x),
    ]
    for formula in formulas:
        assert same_as_static(formula, X, (0.5, 2.0, 9.0)).stats.traces == 2


def test_an_optimizer_inside_scales_its_loss_by_the_number():
    w = sg.parameter("w", np.zeros(2))
    descent = sg.optim.SGD(1.0)
    step = sg.function(lambda x, c: descent.minimize((w * x).sum() * c))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for c in (0.5, 1.5, 3.0):
            step(np.ones(2), c)
    np.testing.assert_allclose(w.value, -5.0)
    assert step.stats.traces == 2


def test_numbers_by_name_are_those_of_each_call():
    function = sg.function(lambda x, a, b=1: x * a + b)
    for _ in range(2):
        for a in (2.0, 3.0):
            actual = function(X, a=a)
            np.testing.assert_array_equal(actual, X * a + 1)
            np.testing.assert_array_equal(function(X, b=0.5, a=a), X * a + np.float32(0.5))
    x = np.array([1, 2])
    assert [function(x, a=a).dtype.name for a in (2, 2.0, 2)] == ["int64", "float64", "int64"]
