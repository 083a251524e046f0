"""Functions of sparse matrices whose pattern changes from call to call: beside SciPy's matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import staticgrad as sg
from staticgrad.errors import ShapeError

COLUMNS = 7
W = np.linspace(-1.0, 1.0, COLUMNS)


def matrices(count: int, rows: Iterator[int]) -> list[Any]:
    return [
        scipy.sparse.random(next(rows), COLUMNS, density=0.3, random_state=k, format="csr")
        for k in range(count)
    ]


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda A: A @ W, lambda dense: dense @ W),
        (lambda A: A.T @ sg.ones(A.shape[0]), lambda dense: dense.sum(0)),
        (lambda A: sg.ones(A.shape[0]) @ A, lambda dense: dense.sum(0)),
        (lambda A: A @ np.stack([W, W * W], 1), lambda dense: dense @ np.stack([W, W * W], 1)),
        (lambda A: A.sum(axis=0), lambda dense: dense.sum(0)),
        (lambda A: A.sum(axis=1), lambda dense: dense.sum(1)),
        (lambda A: A.sum(), lambda dense: dense.sum()),
        (lambda A: (A + A.T.T * 2.0) @ W, lambda dense: 3 * dense @ W),
        (lambda A: (A * 2.0 - A / 4.0) @ W, lambda dense: (1.75 * dense) @ W),
        (lambda A: A.apply(sg.exp).sum(), lambda dense: np.exp(dense[dense != 0]).sum()),
        (lambda A: abs(A).sqrt() @ W, lambda dense: np.sqrt(abs(dense)) @ W),
        (lambda A: sg.grad(lambda d: ((A.with_data(d) @ W) ** 2).sum())(A.data).sum(),
         lambda dense: (2 * np.outer(dense @ W, W))[dense != 0].sum()),
        (lambda A: sg.grad(lambda w: ((A @ w) ** 2).sum())(W),
         lambda dense: 2 * dense.T @ (dense @ W)),
    ],
)  # fmt: skip
def test_a_function_of_matrices_is_traced_for_all_patterns(
    f: Callable[[Any], Any], expected: Callable[[Any], Any]
) -> None:
    compiled = sg.function(f)
    for matrix in matrices(6, iter([5, 5, 5, 9, 4, 6])):
        np.testing.assert_allclose(compiled(sg.sparse.csr(matrix)), expected(matrix.toarray()))
    assert compiled.stats.traces <= 3
    assert any("from now on inputs" in reason for reason in compiled.stats.reasons)


def test_matrices_in_containers_and_transposed_ones():
    @sg.function
    def f(batch, scale):
        return batch["A"] @ W * scale + batch["more"][0].T @ np.ones(COLUMNS)

    for k, (a, b) in enumerate(zip(matrices(5, iter([4] * 5)), matrices(9, iter([4] * 9))[4:],
                                   strict=True)):  # fmt: skip
        batch = {"A": sg.sparse.csr(a), "more": (sg.sparse.csr(b).T,)}
        expected = a.toarray() @ W * (k + 0.5) + b.toarray() @ np.ones(COLUMNS)
        np.testing.assert_allclose(f(batch, k + 0.5), expected)
    assert f.stats.traces <= 4


def test_places_that_are_stored_twice_are_added_up():
    """A matrix with such places is of another program than one without."""
    products = sg.function(lambda A: A @ np.ones(2))
    elements = sg.function(lambda A: abs(A) @ np.ones(2))
    for size in (3, 4, 5, 6):
        twice = sg.sparse.csr(np.ones(size) - 2.0, [0] * size, [0, size, size], (2, 2))
        np.testing.assert_allclose(products(twice), [-size, 0.0])
        once = sg.sparse.csr(np.diag([1.0, -size]))
        np.testing.assert_allclose(products(once), [1.0, -size])
        np.testing.assert_allclose(elements(once), [1.0, size])
        if size == 4:
            with pytest.warns(sg.StaticgradWarning, match="compiles for each pattern"):
                np.testing.assert_allclose(elements(twice), [size, 0.0])
        else:
            np.testing.assert_allclose(elements(twice), [size, 0.0])


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda A: A.todense() @ W, lambda dense: dense @ W),
        (lambda A: A.diagonal(), lambda dense: dense.diagonal()),
        (lambda A: (A * 2.0).todense(), lambda dense: 2 * dense),
    ],
)
def test_what_needs_the_places_is_right_and_says_so(f: Any, expected: Any) -> None:
    compiled = sg.function(f)
    first, *others = matrices(4, iter([COLUMNS] * 4))
    np.testing.assert_allclose(compiled(sg.sparse.csr(first)), expected(first.toarray()))
    for k, matrix in enumerate(others):
        A = sg.sparse.csr(matrix)
        if k:
            result = compiled(A)
        else:
            with pytest.warns(sg.StaticgradWarning, match="compiles for each pattern"):
                result = compiled(A)
        np.testing.assert_allclose(result, expected(matrix.toarray()))


def test_a_matrix_as_result_keeps_its_pattern():
    f = sg.function(lambda A: A * 2.0)
    first, second = matrices(2, iter([5, 5]))
    np.testing.assert_allclose(f(sg.sparse.csr(first)).tocsr().toarray(), 2 * first.toarray())
    with pytest.warns(sg.StaticgradWarning, match="a result has the pattern of an argument"):
        result = f(sg.sparse.csr(second))
    np.testing.assert_allclose(result.tocsr().toarray(), 2 * second.toarray())


def test_an_error_of_the_user_is_that_of_a_plain_trace():
    f = sg.function(lambda A, x: A @ x)
    first, second = matrices(2, iter([5, 5]))
    f(sg.sparse.csr(first), W)
    with pytest.raises(ShapeError, match=r"the sizes 7 and 8 differ"):
        f(sg.sparse.csr(second), np.ones(8))
