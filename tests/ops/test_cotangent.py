"""Cotangents: conventions at kinks, paths without gradient, masks, and how shapes come back."""

import itertools

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.language.ir.graph import Symbolic, constant
from staticgrad.language.ir.op import Op
from staticgrad.language.ops.arithmetic import Mul
from staticgrad.language.ops.cotangent import (
    Masked,
    add_cotangents,
    resolve,
    times,
    unbroadcast,
    zeros_like_type,
)
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import dim
from staticgrad.language.types.dtype import BOOL, F32, F64
from tests.laws.samples import load_providers
from tests.ops.graphs import call, op_names, run, variable

load_providers()
INF, NAN = np.inf, np.nan


def slope(function, *points):
    """The derivative of ``function`` at each point."""
    x = variable("x", F64, (len(points),))
    y = function(x)
    return list(run(grad(y, x, seed=np.ones(len(points))), {"x": np.array(points)}))


def test_powers_at_zero():
    x, y = variable("x", F64, (4,)), variable("y", F64, (4,))
    by_x, by_y = grad(x**y, [x, y], seed=np.ones(4))
    feeds = {"x": np.array([0.0, 0.0, 0.0, 0.0]), "y": np.array([0.0, 1.0, 2.0, 0.5])}
    np.testing.assert_array_equal(run(by_x, feeds), [0.0, 1.0, 0.0, INF])
    np.testing.assert_array_equal(run(by_y, feeds), [0.0, 0.0, 0.0, 0.0])
    x, y = variable("x"), variable("y")
    by_x = grad(x**y, x)
    mixed = grad(by_x, y)  # x**(y-1) * (1 + y log x)
    assert run(mixed, {"x": 2.0, "y": 0.0}) == pytest.approx(0.5)
    assert run(grad(by_x, x), {"x": 0.0, "y": 2.0}) == 2.0


def test_tangents_of_equal_operands_are_averaged():
    x, y = variable("x", F64, (3,)), variable("y", F64, (3,))
    s, t = variable("s", F64, (3,)), variable("t", F64, (3,))
    feeds = {
        "x": np.array([1.0, 2.0, 2.0]),
        "y": np.array([2.0, 1.0, 2.0]),
        "s": np.full(3, 10.0),
        "t": np.full(3, 20.0),
    }
    for name, expected in (("maximum", [20.0, 10.0, 15.0]), ("minimum", [10.0, 20.0, 15.0])):
        out = call(name, x, y)
        np.testing.assert_array_equal(run(out.node.op.jvp([s, t], out, x, y), feeds), expected)
        only = run(out.node.op.jvp([s, None], out, x, y), feeds)
        np.testing.assert_array_equal(only, np.where(np.array(expected) == 20, 0, [10, 10, 5]))
        assert out.node.op.jvp([None, None], out, x, y) is None


def test_a_rule_builds_nothing_for_what_needs_no_gradient():
    x, y = variable("x", F64, (3,)), variable("y", F64, (1,))
    for name in ("add", "multiply", "divide", "power", "maximum"):
        out = call(name, x, y)
        for needed in ((True, False), (False, True)):
            shares = out.node.op.cotangents(out, out, (x, y), needed)
            assert [share is not None for share in shares] == list(needed)
    out = call("multiply", x, y)
    built = out.node.op.cotangents(out, out, (x, y), (True, False))[0].node.serial
    assert built == variable("z").node.serial - 1, "the product alone"


def test_branches_that_are_not_taken_contribute_nothing():
    assert slope(lambda x: call("where", x > 0, call("sqrt", x), 0.0), -1.0, 0.0, 4.0) == [
        0.0,
        0.0,
        0.25,
    ]
    assert slope(lambda x: call("where", x > 0, call("log", x) * x, 1.0), 0.0, 1.0) == [0.0, 1.0]

    def nested_branches(x):
        inner = call("where", x < 4, call("log", x), call("exp", x * 1e3))
        return call("where", x > 0, inner, call("sqrt", -x))

    assert slope(nested_branches, 1.0, 2.0, -4.0) == [1.0, 0.5, -0.25]

    def function(x):
        chosen = x > 0
        return call("where", chosen, call("where", chosen, x, 3.0 * x), 5.0 * x)

    assert slope(function, 2.0, -2.0) == [1.0, 5.0]

    def function(x):
        root = call("sqrt", x)
        return call("where", x > 1, root, 0.0) + call("where", x > 4, 2.0 * root, 0.0)

    assert slope(function, 0.0, -1.0, 2.25, 16.0) == [0.0, 0.0, 1 / 3, 0.375]
    x = variable("x", F64, (3,))
    first = grad(call("where", x > 0, call("sqrt", x), 0.0), x, seed=np.ones(3))
    second = grad(first, x, seed=np.ones(3))
    np.testing.assert_allclose(run(second, {"x": np.array([-1.0, 0.0, 4.0])}), [0, 0, -0.25 / 8])
    x = variable("x", F64, (2,))
    value = call("maximum", call("log", x), -1.0)
    gradient = grad(value, x, seed=np.array([1.0, 1.0]))
    np.testing.assert_array_equal(run(gradient, {"x": np.array([0.0, 2.0])}), [0.0, 0.5])


def test_times_is_free_for_plus_and_minus_one():
    ct = variable("ct", F64, (2,))
    assert times(ct, 1.0) is ct
    minus = times(ct, -1.0)
    assert isinstance(minus, Symbolic)
    assert op_names(minus) == ["neg"]
    masked = Masked(variable("c", BOOL, (2,)), ct)
    assert times(masked, 1.0) is masked
    zero = times(masked, 0.0)
    assert isinstance(zero, Symbolic)
    np.testing.assert_array_equal(run(zero, {}), [0.0, 0.0])


def test_masks_of_one_condition_meet():
    c, a, b = variable("c", BOOL, (2,)), variable("a", F64, (2,)), variable("b", F64, (2,))
    total = add_cotangents([Masked(c, a), Masked(c, b)])
    assert isinstance(total, Masked)
    assert total.condition is c
    assert op_names(total.value) == ["add"]
    same = Symbolic(c.node, 0)  # another handle of the same value
    again = add_cotangents([Masked(c, a), Masked(same, b)])
    assert isinstance(again, Masked)
    assert op_names(again.value) == ["add"]
    feeds = {"c": np.array([True, False]), "a": np.array([1.0, NAN]), "b": np.array([NAN, 2.0])}
    for pair in (
        [Masked(c, a), Masked(c, b, negated=True)],
        [Masked(c, b, negated=True), Masked(c, a)],
    ):
        total = add_cotangents(pair)
        assert isinstance(total, Symbolic)
        assert op_names(total) == ["where"]
        np.testing.assert_array_equal(run(total, feeds), [1.0, 2.0])


def test_other_masks_add_up_where_either_holds():
    names = ("c", "d")
    c, d = (variable(n, BOOL, (4,)) for n in names)
    a, b = variable("a", F64, (4,)), variable("b", F64, (4,))
    feeds = {
        "c": np.array([True, True, False, False]),
        "d": np.array([True, False, True, False]),
        "a": np.array([1.0, 1.0, NAN, NAN]),
        "b": np.array([2.0, NAN, 2.0, NAN]),
    }
    total = add_cotangents([Masked(c, a), Masked(d, b)])
    np.testing.assert_array_equal(run(resolve(total), feeds), [3.0, 1.0, 2.0, 0.0])
    assert isinstance(total, Masked)
    np.testing.assert_array_equal(
        run(resolve(times(total, constant(np.full(4, INF)))), feeds), [INF, INF, INF, 0.0]
    )
    plain = add_cotangents([Masked(c, a), b, Masked(d, b)])
    assert isinstance(plain, Symbolic)
    with pytest.raises(ValueError, match="no cotangents"):
        add_cotangents([])


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product([False, True], repeat=2)))
def test_a_mask_of_a_mask_holds_where_both_do(outer, inner):
    c, d = variable("c", BOOL, (4,)), variable("d", BOOL, (4,))
    x, ct = variable("x", F64, (4,)), variable("ct", F64, (4,))
    value = call("where", d, x, 0.0) if not inner else call("where", d, 0.0, x)
    shares = value.node.op.vjp(Masked(c, ct, negated=outer), value, *value.node.args)
    share = shares[2 if inner else 1]
    feeds = {
        "c": np.array([True, True, False, False]),
        "d": np.array([True, False, True, False]),
        "ct": np.arange(1.0, 5.0),
    }
    holds = (feeds["c"] != outer) & (feeds["d"] != inner)
    np.testing.assert_array_equal(run(resolve(share), feeds), np.where(holds, feeds["ct"], 0.0))


def test_unbroadcast_sums_what_was_stretched_and_keeps_masks():
    ct = variable("ct", F64, (2, 3, 4))
    array = np.arange(24.0).reshape(2, 3, 4)
    for shape in ((2, 3, 4), (3, 4), (3, 1), (1, 1, 4), (1,), (), (2, 1, 1)):
        actual = unbroadcast(ct, TensorType(F64, shape))
        assert isinstance(actual, Symbolic)
        assert actual.type == TensorType(F64, shape)
        lead = tuple(range(3 - len(shape)))
        expected = array.sum(axis=lead)
        ones = tuple(i for i, s in enumerate(shape) if s == 1)
        np.testing.assert_array_equal(
            run(actual, {"ct": array}), expected.sum(axis=ones, keepdims=True)
        )
    c, ct = variable("c", BOOL, (3, 1)), variable("ct", F32, (3, 4))
    masked = unbroadcast(Masked(c, ct), TensorType(F64, (3, 4)))
    assert isinstance(masked, Masked)
    assert masked.type == TensorType(F64, (3, 4))
    summed = unbroadcast(Masked(c, ct), TensorType(F32, (4,)))
    assert isinstance(summed, Symbolic)
    feeds = {"c": np.array([[True], [False], [True]]), "ct": np.ones((3, 4), np.float32)}
    np.testing.assert_array_equal(run(summed, feeds), np.full(4, 2.0))


def test_cotangents_have_the_types_of_operands():
    n, m = dim("n"), dim("m")
    x, y = variable("x", F64, (n,)), variable("y", F64, (m,))
    by_x, by_y = grad(x * y, [x, y], seed=variable("s", F64, (n,)))
    assert (by_x.type, by_y.type) == (x.type, y.type)
    feeds = {"y": np.arange(3.0), "s": np.ones(3)}
    np.testing.assert_array_equal(run(by_x, feeds), feeds["y"])
    z = variable("z", F64, (3,))
    assert grad(x * z, x, seed=np.ones(3)).type == x.type
    x = variable("x", F32, (2,))
    y = x * variable("y", F64, (2,))
    assert y.dtype == F64
    assert grad(y, x, seed=np.ones(2)).type == x.type
    n = dim("n")
    for shape in ((), (2, 3), (n, 2)):
        assert zeros_like_type(TensorType(F32, shape)).type == TensorType(F32, shape)


def test_the_rule_that_is_defined_last_counts():
    """A class that overrides ``vjp`` alone is asked by it, whatever its family leaves out."""

    class Tripled(Mul):
        def vjp(self, ct, out, *args):
            return tuple(3.0 * share for share in super().vjp(ct, out, *args))

    x, y = variable("x", F64, ()), variable("y", F64, ())
    by_x, by_y = grad(Tripled()(x, y), [x, y])
    feeds = {"x": np.float64(2.0), "y": np.float64(5.0)}
    assert run(by_x, feeds) == 15.0
    assert run(by_y, feeds) == 6.0
    assert Tripled.cotangents is Op.cotangents
    assert Mul.cotangents is Elementwise.cotangents


def test_masks_do_not_depend_on_which_gradients_are_asked():
    x = sg.input("x", (2,), "float64")
    root = np.sqrt(x)
    y = sg.where(x > 0.0, root * 3.0, 0.0).sum()
    feeds = {"x": [0.0, 4.0]}
    alone = sg.grad(y, x)
    by_root, by_x = sg.grad(y, [root, x])
    actual = sg.evaluate([alone, by_x, by_root], feeds)
    assert [f.tolist() for f in actual] == [[0.0, 0.75], [0.0, 0.75], [0.0, 3.0]]
