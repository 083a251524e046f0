"""``sg.host_call`` and ``sg.numba_call``: functions of users inside of compiled steps."""

import numba
import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, CallError, GradientError
from staticgrad.testing import check_gradients

X = np.random.default_rng(3).normal(size=(4, 3))
CALLS = {"host": sg.host_call, "numba": sg.numba_call}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
every_jit = pytest.mark.parametrize("jit", [True, False])


@numba.njit
def scale_positive(a, k):
    """k times what is positive."""
    return np.where(a > 0, a * k, 0.0)


def scaled_rule(ct, out, a, k):
    return sg.where(a > 0, ct * k, 0.0), (sg.where(a > 0, a, 0.0) * ct).sum()


def both(a, flags):
    return a[::-1] + 1.0, flags.sum()


@pytest.mark.slow
@every_jit
@every_call
def test_several_results_of_named_sizes(call, jit):
    with sg.options(jit=jit):
        x = sg.input("x", ("n", 3), "float64")
        flags = sg.input("flags", ("n",), "bool")
        rows, count = call(both, x * 2.0, flags, types=[x, ((), "int64")])
        f = sg.compile({"rows": rows - 1.0, "count": count + 1}, threads=2)
        for n in (4, 1, 0):
            actual = f.run({"x": X[:n], "flags": np.arange(n) > 0})
            np.testing.assert_array_equal(actual["rows"], (2 * X[:n])[::-1] + 1.0 - 1.0)
            assert actual["count"] == max(n - 1, 0) + 1


@pytest.mark.slow
@every_call
def test_derivatives_follow_the_rule(call):
    def function(a, k):
        return call(scale_positive, a, k, types=a, vjp=scaled_rule)

    check_gradients(function, [X, np.float64(1.5)], order=2)
    x = sg.input("x", (4, 3), "float64")
    slope = sg.grad(function(x, 2.0).sum(), x)
    np.testing.assert_array_equal(sg.compile(slope).run({"x": X}), 2.0 * (X > 0))


@every_call
def test_without_a_rule_there_is_no_gradient(call):
    x = sg.input("x", (3,), "float64")
    with pytest.raises(GradientError, match=r"no derivative rule[\s\S]*vjp="):
        sg.grad(call(lambda x: np.sin(x), x, types=x).sum(), x)


def fails(a):
    if a[0] < 0:
        raise KeyError("a negative number")
    return a + 1.0


@pytest.mark.slow
def test_an_exception_comes_out_whole_before_a_parameter_changes():
    w = sg.parameter("w", np.zeros(3))
    x = sg.input("x", (3,), "float64")
    for call, kinds in ((sg.host_call, KeyError), (sg.numba_call, CallError)):
        y = call(fails, x, types=x)
        f = sg.compile(sg.Graph({"y": y}, updates={w: w + y}))
        value_before = w.value
        with pytest.raises(kinds) as caught:
            f.run({"x": [-1.0, 0.0, 0.0]})
        np.testing.assert_array_equal(w.value, value_before)
        if kinds is KeyError:
            assert caught.value.args == ("a negative number",)
            assert any("fails, called by a compiled step" in n for n in caught.value.__notes__)
        else:
            assert caught.value.at.resolve().file == __file__
        np.testing.assert_array_equal(f.run({"x": [1.0, 2.0, 3.0]})["y"], [2.0, 3.0, 4.0])
    with sg.options(jit=False), pytest.raises(KeyError, match="a negative number"):
        sg.compile(sg.numba_call(fails, x, types=x)).run({"x": [-1.0, 0.0, 0.0]})


def drop_first(a):
    return a[1:] + 1.0


@pytest.mark.thinned(2)
@every_call
def test_other_results_than_promised(call):
    x = sg.input("x", (3,), "float64")
    with pytest.raises(CallError, match="types= says"):
        sg.compile(call(drop_first, x, types=x)).run({"x": np.ones(3)})
    with pytest.raises(CallError, match=r"float64\[2\], types= says float64\[3\]"):
        sg.evaluate(call(drop_first, x, types=x), {"x": np.ones(3)})


@pytest.mark.thinned(2)
@every_call
def test_text_reads_back_and_tensors_run_at_once(call):
    x = sg.input("x", (4, 3), "float64")
    graph = sg.Graph(call(scale_positive, x, 2.0, types=x, vjp=scaled_rule))
    assert str(sg.parse(str(graph))) == str(graph)
    expected = np.where(X > 0, 2 * X, 0)
    np.testing.assert_array_equal(
        sg.compile(sg.parse(str(graph))).run({"x": X})["output"], expected
    )
    tensor = Tensor(X, dtype="float64", requires_grad=True)
    actual = call(scale_positive, tensor, 2.0, types=tensor, vjp=scaled_rule)
    actual.sum().backward()
    np.testing.assert_array_equal(actual.data, expected)
    np.testing.assert_array_equal(tensor.grad.data, 2.0 * (X > 0))


def test_types_and_rules_in_their_natural_form():
    """Types of arrays and tensors, several in a tuple; a rule of one operand gives no tuple."""
    x = sg.input("x", (3,), "float64")
    like = np.zeros(3)

    def call(x):
        y = sg.host_call(np.square, x, types=like, vjp=lambda ct, out, x: 2.0 * x * ct)
        low, high = sg.host_call(lambda x: (x[:1], x[1:]), x, types=(like[:1], like[1:]))
        return y, low, high

    data = np.array([1.0, 2.0, -3.0])
    y, low, high = sg.function(call)(data)
    np.testing.assert_array_equal(np.concatenate([y, low, high]), [1.0, 4.0, 9.0, *data])
    np.testing.assert_array_equal(sg.grad(lambda x: call(x)[0].sum())(data), 2.0 * data)
    for types in (
        ((3,), np.dtype("float64")),
        ((np.int64(3),), np.float64),
        Tensor(like),
        x,
        x.type,
    ):
        shown = sg.host_call(np.square, x, types=types)
        assert shown.shape == (3,)
    assert sg.host_call(np.square, x, types=(np.int64(3), np.float64)).type == x.type


def test_mistakes_are_coded():
    x = sg.input("x", (3,), "float64")
    for options, text in (
        ({"types": []}, "promises no result"),
        ({"types": "float64"}, "is not a type"),
    ):
        with pytest.raises(ArgumentError, match=text):
            sg.host_call(np.sort, x, **options)
    with pytest.raises(ArgumentError, match="takes a function"):
        sg.numba_call(3, x, types=x)
    with pytest.raises(ArgumentError, match="is for storage"):
        sg.host_call(np.sort, x.astype("float16"), types=x)
    again = sg.parse(str(sg.Graph(sg.host_call(np.sort, x, types=x))).replace("sort", "other"))
    with pytest.raises(CallError, match="no function"):
        sg.evaluate(again, {"x": np.ones(3)})


def test_a_ufunc_is_refused_where_the_call_stands():
    x = sg.input("x", (3,), "bool")
    with pytest.raises(sg.errors.ArgumentError, match="is a ufunc"):
        sg.numba_call(np.logical_not, x, types=x)


def test_a_call_in_a_branch_that_is_not_taken_does_not_raise():
    x = sg.input("x", (), "float64")
    y = sg.cond(x > 0.0, lambda: x * 2.0, lambda: sg.host_call(_refuse, 1.0, types=x.type))
    f = sg.compile({"y": y})
    assert f.run({"x": 3.0})["y"] == 6.0
    with pytest.raises(ZeroDivisionError):
        f.run({"x": -3.0})


def _refuse(_):
    raise ZeroDivisionError
