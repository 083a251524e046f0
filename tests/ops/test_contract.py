"""Matrix products against NumPy: every shape it takes, integers, derivatives, messages."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.eager import Tensor
from staticgrad.errors import DTypeError, RankError, ShapeError, SizeGuardError
from staticgrad.language.ops.contract import MatMul
from tests.ops.graphs import op_names, run
from tests.ops.messages import assert_each_refused, assert_refused

SHAPES = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((6, 5, 2, 3), (3, 4)), ((0, 3), (3, 2)),
    ((2, 0), (0, 3)), ((0, 2, 3), (3, 1)), ((1, 1), (1, 1)), ((0,), (0,)),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), SHAPES, ids=str)
def test_products_and_gradients_as_numpy(left, right, rng):
    a, b = rng.normal(size=left), rng.normal(size=right)
    actual = run(sg.matmul(a, b))
    expected = np.matmul(a, b)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    # The product is linear in each operand: <weights, a @ b> = <gradient by a, a>.
    x, y = sg.input("a", left, "float64"), sg.input("b", right, "float64")
    weights = rng.normal(size=expected.shape)
    by_graph = [run(g, {"a": a, "b": b}) for g in grad(x @ y, [x, y], seed=weights)]
    t, u = Tensor(a, True, "float64"), Tensor(b, True, "float64")
    out = t @ u
    np.testing.assert_allclose(out.data, expected, rtol=1e-12, atol=1e-12)
    out.backward(weights)
    total = np.sum(weights * expected)
    for slopes in (by_graph, [t.grad, u.grad]):
        for slope, operand in zip(slopes, (a, b), strict=True):
            assert slope.shape == operand.shape
            assert np.sum(slope * operand) == pytest.approx(total, abs=1e-10)


def test_operands_promote():
    assert sg.matmul(np.ones((2, 3), np.float32), np.ones((3, 1), np.int64)).dtype == "float32"
    assert sg.matmul(np.ones((2, 3), np.float32), np.ones((3, 1))).dtype == "float64"
    assert sg.matmul(np.ones((2, 3), np.int8), np.ones((3, 1), np.int16)).dtype == "int16"
    wrapped = run(sg.matmul(np.full((1, 2), 100, np.int8), np.ones((2, 1), np.int8)))
    assert wrapped == np.int8(-56)


def test_the_operator_and_numpys_function(rng):
    x = sg.input("x", ("n", 3), "float64")
    array, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    for value in (x @ w, np.matmul(x, w), np.dot(x, w)):
        np.testing.assert_allclose(run(value, {"x": array}), array @ w)
    np.testing.assert_allclose(run(w.T @ x.T, {"x": array}), w.T @ array.T)
    np.testing.assert_allclose(run(np.outer(x, w), {"x": array}), np.outer(array, w))
    np.testing.assert_allclose(run(np.vdot(x, x), {"x": array}), np.vdot(array, array))
    np.testing.assert_allclose(run(sg.dot(x, 2.0), {"x": array}), array * 2)


def test_products_in_derivatives_and_batches():
    a, b = sg.input("a", (4, 3), "float64"), sg.input("b", (3, 5), "float64")
    first = grad((sg.tanh(a @ b)).sum(), [a, b])
    second = grad((first[0] * first[0]).sum(), [a, b])
    for value in (*first, *second):
        assert "transpose" not in op_names(value)
    x, w = sg.input("x", ("batch", 7, 3), "float64"), sg.input("w", (3, 2), "float64")
    assert (x @ w).shape == (sg.dim("batch"), 7, 2)
    products = [op for op in op_names(grad((x @ w).sum(), w)) if op in ("matmul", "sum")]
    assert products == ["matmul"], "the gradient of w is not a sum of products"


def test_refusals():
    x, w = sg.input("x", ("batch", 784)), sg.parameter("w", np.zeros((512, 10), "float32"))
    with assert_refused(
        ShapeError, "inner sizes differ, 784 != 512", "[batch, 784] @ [512, 10]", "w f32[512, 10]",
        line="x @ w",
    ):  # fmt: skip
        x @ w
    v = sg.input("v", (5,))
    for left, right, shapes in (
        (v, w, "[5] @ [512, 10]"),
        (x, v, "[batch, 784] @ [5]"),
        (sg.input("t", (2, 3, 4)), w, "[2, 3, 4] @ [512, 10]"),
    ):
        with assert_refused(ShapeError, "inner sizes differ", shapes, line="left @ right"):
            left @ right
    with assert_refused(ShapeError, "[4, 2] transposed @ [2, 4]", line="MatMul(True, False)"):
        MatMul(True, False)(np.ones((4, 2)), np.ones((2, 4)))
    a = sg.input("a", (2, 3, 4))
    assert_each_refused(
        (ShapeError, "batch axes", "2 != 5", "a f32[2, 3, 4]",
         lambda: a @ np.ones((5, 4, 1), np.float32)),
        (RankError, "a scalar is not a matrix", "*", lambda: sg.matmul(a, 2.0)),
        (DTypeError, "bools", "int64",
         lambda: sg.matmul(np.ones((2, 2), bool), np.ones((2, 2), bool))),
        (ShapeError, "axis 2 of a has size 4", lambda: sg.dot(a, a)),
        (ShapeError, "inner sizes differ, 2 != 3", lambda: sg.vdot([1.0, 2], [1.0, 2, 3])),
        (RankError, "two axes each", lambda: MatMul()(np.ones(3), np.ones(3))),
        (DTypeError, "operands of",
         lambda: MatMul().infer(a.type, sg.input("b", (4, 1), "float64").type)),
    )  # fmt: skip


def test_inner_sizes_that_may_agree_are_checked_in_the_run():
    x, w = sg.input("x", (2, "n"), "float64"), np.ones((3, 1))
    np.testing.assert_array_equal(run(x @ w, {"x": np.ones((2, 3))}), [[3], [3]])
    with assert_refused(SizeGuardError, "inner sizes differ, n != 3", "n = 4", line="y = x @ w"):
        y = x @ w
        run(y, {"x": np.ones((2, 4))})
    same = sg.input("a", ("n", "k")) @ sg.input("b", ("k", "n"))
    assert sg.Graph(same).guards == ()
