"""Sparse Jacobians and Hessians beside the dense ones; patterns and products beside known ones."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff import sparsity
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, GradientError, ShapeError, StaticgradWarning

RNG = np.random.default_rng(3)
A = np.where(RNG.random((6, 9)) < 0.25, RNG.normal(size=(6, 9)), 0.0)
AT = np.array([3, 1, 4, 1, 5, 0])
TAPS = RNG.normal(size=(2, 1, 3, 3))
V = RNG.normal(size=9)
M = RNG.normal(size=(4, 3))


def lag(previous, element):
    """Carries what an iteration reads, and no more, to the next."""
    return element, (element - previous) ** 2


#: A function, where, its elements that the pattern has, and its products by columns or rows.
CASES = {
    "stencil": (lambda x: x[2:] - x[1:-1] * (x[2:] - x[:-2]), V, 21, 3),
    "matrix": (lambda x: (A @ x) ** 2, V, int((A != 0).sum()), int((A != 0).sum(1).max())),
    "rows": (lambda x: sg.sin(x @ A.T), np.stack([V, V]), 2 * int((A != 0).sum()), 4),
    "taken": (lambda x: sg.take(x, AT) * x[:6], V, 11, 2),
    "put": (lambda x: sg.zeros((9,), "float64").at[AT].add(x[:6] ** 2), V, 6, 1),
    "sums": (lambda x: sg.cumsum(x**2), V[:5], 15, 5),
    "padded": (lambda x: sg.pad(x**3, (1, 2)), V, 9, 1),
    "joined": (lambda x: sg.concatenate([x**2, x[::-1] * x]), V[:6], 18, 2),
    "windows": (lambda x: sg.nn.conv(x[None, None], TAPS, padding="same"), M, 140, 9),
    "totals": (lambda x: (x**2).sum(1), M, 12, 1),
    "transposed": (lambda x: sg.where(x > 0, x, 0.5 * x).T, M, 12, 1),
    "steps": (sg.floor, V, 0, 0),
    "pieces": (sg.vmap(lambda row: (row @ row) * row), M, 36, 3),
    "solved": (lambda x: sg.linalg.solve(np.eye(3) + M.T @ M, x), V[:3], 9, 3),
    "iterations": (lambda x: sg.scan(lambda c, e: (c * 0.5 + e, c), 0.0, x)[1], V[:4], 6, 3),
    "iterations back": (
        lambda x: sg.scan(lag, x[0] * 0, x, reverse=True)[1], np.stack([V, V]).T, 36, 3,
    ),
    "last iteration": (lambda x: sg.scan(lag, x[0] * 0, x)[0], np.stack([V, V]).T, 2, 1),
    "nothing": (lambda x: x[:0] * 2.0, V, 0, 0),
    "float32": (lambda x: x[1:] * x[:-1], V.astype("float32"), 16, 2),
    "two types": (lambda x: x.astype("float32") * 2.0, V, 9, 1),
}  # fmt: skip


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", CASES)
def test_a_sparse_jacobian_is_the_dense_one(name):
    f, x, count, products = CASES[name]
    mode = (None, "forward", "reverse")[[*CASES].index(name) % 3]
    actual = sg.sparse_jacobian(f, mode=mode)
    matrix = actual(x)
    dense = sg.jacobian(f, allow_disconnected=True)(Tensor(x))
    expected = dense.data.reshape(matrix.shape)
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-6, atol=1e-9)
    assert not (expected[actual.pattern(x).toarray() == 0]).any()
    assert matrix.nnz == count
    assert sg.sparse_jacobian(f).products(x) <= products


def rosenbrock(x):
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize(
    ("f", "x", "count", "products"),
    [
        (rosenbrock, V, 25, 3),
        (lambda x: (x[0] * x[1:]).sum() + (x**3).sum(), V, 25, 2),  # an arrow: columns take nine
        (lambda x: ((x[1:] - x[:-1]) ** 4).sum() + (x[:, 1:] * x[:, :-1]).sum(), M, 46, 4),
        (lambda x: x.sum(), V, 0, 0),
    ],
)
def test_a_sparse_hessian_is_the_dense_one(f, x, count, products):
    dense = sg.hessian(f, allow_disconnected=True)(Tensor(x))
    expected = dense.data.reshape(x.size, x.size)
    actual = sg.sparse_hessian(f)
    np.testing.assert_allclose(actual(x).toarray(), expected, rtol=1e-9, atol=1e-9)
    assert (actual(x).nnz, actual.products(x)) == (count, products)


@pytest.mark.slow
def test_random_patterns_by_columns_and_by_stars():
    """Products of random matrices and forms, whose derivatives are the matrices."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shape = tuple(rng.integers(1, 14, size=2))
        a = np.where(rng.random(shape) < rng.uniform(0, 0.5), rng.normal(size=shape), 0.0)
        x = rng.normal(size=shape[1])
        jacobian = sg.sparse_jacobian(
            lambda x, a: a @ x, sparsity=a
        )  # a is not a constant: no pattern
        np.testing.assert_allclose(jacobian(x, a).toarray(), a, atol=1e-15)
        square = np.tril(rng.normal(size=(9, 9)) * (rng.random((9, 9)) < 0.3))
        square = square + square.T
        form = sg.sparse_hessian(lambda x, a: 0.5 * x @ (a @ x), sparsity=square)
        np.testing.assert_allclose(form(rng.normal(size=9), square).toarray(), square, atol=1e-14)


def test_a_full_hessian_takes_a_product_for_each_column_and_warns(monkeypatch):
    count = 60
    f = sg.sparse_hessian(lambda x: x.sum() ** 2 + (x**3).sum())
    x = np.linspace(-1.0, 1.0, count)
    monkeypatch.setattr(sparsity, "sorted", None, raising=False)  # of the colouring by stars
    with pytest.warns(StaticgradWarning, match=r"3600 of 60 x 60 .*: sg\.hessian\(f\) gives"):
        actual = f(x).toarray()
    np.testing.assert_allclose(actual, 2.0 + np.diag(6.0 * x), rtol=1e-14)
    with pytest.warns(StaticgradWarning, match="takes 60 products"):
        assert f.products(x) == count


def test_a_colouring_by_columns_reads_a_symmetric_pattern(monkeypatch):
    """In the place of one by stars where there are too many paths."""
    x = np.linspace(0.1, 1.0, 40)

    def f(x):
        return x[0] * (x[1:] ** 2).sum() + (x[1:] ** 2 * x[:-1]).sum()

    by_stars = sg.sparse_hessian(f)
    expected, fewest = by_stars(x).toarray(), by_stars.products(x)
    monkeypatch.setattr(sparsity, "_MOST_PATHS", 10)
    by_columns = sg.sparse_hessian(f)
    np.testing.assert_allclose(by_columns(x).toarray(), expected, rtol=1e-14)
    assert fewest < by_columns.products(x) == 40


def test_shapes_places_and_static_arguments():
    actual = sg.sparse_jacobian(lambda power, x, scale=1.0: x**power * scale, 1)
    for size in (4, 6, 5):
        x = V[:size]
        np.testing.assert_allclose(actual(2, x, scale=3.0).toarray(), np.diag(6.0 * x))
    np.testing.assert_allclose(actual(3, V).toarray(), np.diag(3.0 * V**2))
    assert actual.products(2, V[:5]) == 1
    matrix = actual(2, V)
    matrix.indices[:] = 0  # the caller's: the next one is its own
    np.testing.assert_allclose(actual(2, V).toarray(), np.diag(2.0 * V))
    rule = sg.custom_jvp(lambda x: sg.floor(x))
    rule.rule(lambda tangents, out, x: tangents[0])
    np.testing.assert_array_equal(sg.sparse_jacobian(rule)(V).toarray(), np.eye(9))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sg.sparse_jacobian(V), ArgumentError, "not a function"),
        (lambda: sg.sparse_jacobian(sg.exp, -1), ArgumentError, "not a place"),
        (lambda: sg.sparse_jacobian(sg.exp, mode="both"), ArgumentError, "neither"),
        (lambda: sg.sparse_jacobian(sg.exp, 1)(V), ArgumentError, "no argument 1"),
        (lambda: sg.sparse_jacobian(sg.exp)(np.arange(3)), ArgumentError, "not a floating"),
        (lambda: sg.sparse_jacobian(sg.exp)(Tensor(V)), ArgumentError, "arrays alone"),
        (lambda: sg.sparse_jacobian(lambda x: (x, x))(V), GradientError, "containers"),
        (lambda: sg.sparse_hessian(lambda x: x * x)(V), GradientError, "one element"),
        (lambda: sg.sparse_jacobian(sg.exp, sparsity=A)(V), ShapeError, r"\(6, 9\)"),
        (lambda: sg.sparse_jacobian(lambda x: x * x[::-1], sparsity=np.eye(9))(V), GradientError,
         "leaves out"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_inside_of_a_traced_function_the_hint_is_to_leave_it_out():
    matrix = sg.sparse_jacobian(lambda x: x * x)
    with pytest.raises(sg.errors.ArgumentError, match="call it without sg"):
        sg.function(matrix)(np.ones(3))
