"""Tangents against hand values and against reverse mode, with rules of their own and without."""

from typing import ClassVar

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import DisconnectedError, GradientError, OpDefinitionError
from staticgrad.language.ir.graph import ancestors
from staticgrad.language.ir.op import Op
from tests.autodiff.test_random_programs import in_float64, smooth_program
from tests.helpers.chains import sum_chain


def vector(name, size=3):
    return sg.input(name, (size,), "float64")


def test_structures_on_both_sides():
    x, w = vector("x"), sg.parameter("w", [1.0, 2.0, 3.0])
    y = {"sum": (x * w).sum(), "both": (x + w, x * 2.0)}
    tangents = sg.jvp(y, {"x": x, "w": w}, {"x": np.ones(3), "w": np.array([1.0, 0.0, 0.0])})
    actual = sg.evaluate([tangents["sum"], *tangents["both"]], {"x": [5.0, 6.0, 7.0]})
    assert actual[0] == 6.0 + 5.0
    assert [f.tolist() for f in actual[1:]] == [[2.0, 1.0, 1.0], [2.0, 2.0, 2.0]]


def test_by_an_intermediate_and_a_value_twice():
    x = sg.input("x", (), "float64")
    h = np.exp(x)
    y = h * x
    alone = sg.jvp(y, h, 1.0)
    by_both = sg.jvp(y, [x, h], [1.0, 1.0])
    twice = sg.jvp(y, [x, x], [1.0, 2.0])
    e = np.exp(0.5)
    actual = sg.evaluate([alone, by_both, twice], {"x": 0.5})
    np.testing.assert_allclose(actual, [0.5, e + 0.5 * (e + 1.0), 3.0 * (e + 0.5 * e)], rtol=1e-14)


def test_a_branch_that_is_not_taken_stays_out():
    x = vector("x", 2)
    y = sg.where(x > 0.0, np.sqrt(x), 0.0)
    assert sg.evaluate(sg.jvp(y, x, np.ones(2)), {"x": [0.0, 4.0]}).tolist() == [0.0, 0.25]


@pytest.mark.parametrize("seed", range(10))
def test_random_programs_agree_with_reverse_mode(seed, rng):
    loss, feeds = smooth_program(seed)
    leaves = list(feeds)
    directions = [rng.normal(size=feeds[leaf].shape) for leaf in leaves]
    tangents = [sg.input(f"v{i}", leaf.shape, leaf.dtype) for i, leaf in enumerate(leaves)]
    tangent = sg.jvp(loss, leaves, tangents, allow_disconnected=True)
    everything = {**feeds, **dict(zip(tangents, directions, strict=True))}
    gradients = sg.grad(loss, leaves, allow_disconnected=True)
    expected = sum(
        np.sum(in_float64(g, feeds) * v) for g, v in zip(gradients, directions, strict=True)
    )
    np.testing.assert_allclose(in_float64(tangent, everything), expected, rtol=1e-9, atol=1e-9)


class Products(Op):
    """(x * y, x + y), with a rule for reverse mode only."""

    name: ClassVar[str] = "test.products"

    def infer(self, x, y):
        return x, y

    def reference(self, x, y):
        return x * y, x + y

    def vjp(self, ct, out, x, y):
        product, total = ct
        return product * y + total, product * x + total


def test_an_op_without_a_rule_is_transposed():
    x, y = vector("x"), vector("y")
    product, total = Products()(x * 2.0, y)
    v = vector("v")
    tangents = sg.jvp([product, total], [x, y], [v, np.ones(3)])
    feeds = {"x": [1.0, 2.0, 3.0], "y": [4.0, 5.0, 6.0], "v": [1.0, 0.0, -1.0]}
    actual = sg.evaluate(tangents, feeds)
    xs, ys, vs = (np.array(feeds[name]) for name in "xyv")
    assert actual[0].tolist() == (2 * vs * ys + 2 * xs).tolist()
    assert actual[1].tolist() == (2 * vs + 1).tolist()


def test_the_stand_ins_of_a_transposed_rule_are_not_read():
    x, y = vector("x"), vector("y")
    product, _ = Products()(x, y)
    new = [n for n in ancestors([sg.jvp(product, x, np.ones(3))]) if n.order == 1]
    assert {node.op.name for node in new} <= {"constant", "mul", "add", "reshape"}
    assert all(node.op.data.array.any() for node in new if node.op.name == "constant")


class TwoTangents(Op):
    name: ClassVar[str] = "test.two_tangents"

    def infer(self, x):
        return x

    def jvp(self, tangents, out, x):
        return tangents[0].sum()


def test_a_wrong_rule_is_reported_at_the_users_line():
    x = vector("x")
    y = TwoTangents()(x)  # the wrong op
    with pytest.raises(OpDefinitionError, match=r"a tangent f64\[\] for a result f64\[3\]") as e:
        sg.jvp(y, x, np.ones(3))
    assert "the wrong op" in e.value.at.resolve().text


@pytest.mark.slow
def test_a_chain_of_10_000_nodes():
    x = sg.input("x", (), "float64")
    assert sg.evaluate(sg.jvp(sum_chain(x, x, 10_000), x, 1.0)) == 10_001.0


def test_forward_over_reverse_over_forward():
    x = sg.input("x", (), "float64")
    y = np.exp(x) * x
    third = sg.jvp(sg.grad(sg.jvp(y, x, 1.0), x), x, 1.0)
    assert third.node.order == 3
    np.testing.assert_allclose(sg.evaluate(third, {"x": 0.3}), np.exp(0.3) * 3.3, rtol=1e-14)


# Never a silent zero


def test_a_path_that_dies_is_reported():
    x = vector("x")
    steps = np.floor(x)  # dies here
    with pytest.raises(DisconnectedError, match="floor passes no gradient on") as caught:
        sg.jvp(steps * 2.0, x, np.ones(3))
    assert "dies here" in caught.value.at.resolve().text
    zeros = sg.jvp(steps * 2.0, x, np.ones(3), allow_disconnected=True)
    assert sg.evaluate(zeros).tolist() == [0.0, 0.0, 0.0]
    x, w = vector("x"), vector("w")
    with pytest.raises(DisconnectedError, match="does not depend on 'x'"):
        sg.jvp([x * 2.0, w * 2.0], x, np.ones(3))
    with pytest.raises(DisconnectedError, match="does not depend on 'w'"):
        sg.jvp(x * 2.0, [x, w], [np.ones(3), np.ones(3)])


def test_what_jvp_refuses():
    x, n = vector("x"), sg.input("n", (), "int64")
    with pytest.raises(GradientError, match=r"the tangent is f64\[2\], 'x' is f64\[3\]"):
        sg.jvp(x * 2.0, x, np.ones(2))
    with pytest.raises(GradientError, match="'n' is i64"):
        sg.jvp(x * n, n, 1)
    with pytest.raises(GradientError, match="takes values to differentiate by, not 3"):
        sg.jvp(x, 3, 1.0)
    with pytest.raises(GradientError, match="tangents are an array, not a list or tuple of 1"):
        sg.jvp(x, [x], np.ones(3))
