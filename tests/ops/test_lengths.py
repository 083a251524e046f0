"""Second derivatives of lengths where they are 0: those along a line on which nothing moves are 0.

Oracles: derivatives by hand. A length along ``a * x`` is ``abs(a)`` times the length of x.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.language.ops.lengths import CornerMark

LENGTHS = {
    "norm": sg.norm,
    "norm_3": lambda v: sg.norm(v, 3),
    "frobenius": lambda v: sg.norm(v[None], "fro"),
    "hypot": lambda v: sg.hypot(v[0], v[1]),
    "kept_axes": lambda v: sg.norm(v[None], axis=1, keepdims=True)[0, 0],
    "distances": lambda v: sg.norm(v[None] - np.zeros((2, 3)), axis=-1).sum(),
    "complex": lambda v: sg.norm(v * (3.0 + 4.0j)),
    "magnitude": lambda v: sg.abs(v * (3.0 + 4.0j)).sum(),
    "mapped": lambda v: sg.vmap(sg.norm)(sg.stack([v, v])).sum(),
}
DEVIATIONS = {
    "std": sg.std,
    "nanstd": sg.nanstd,
    "std_masked": lambda v: sg.std(v, where=np.array([True, True, False])),
}
ZEROS, X = np.zeros(3), np.array([1.0, -2.0, 0.5])


def along(length, x):
    """The length of a * x, as a function of a."""
    return lambda a: length(a * x)


@pytest.mark.parametrize("name", LENGTHS | DEVIATIONS)
@pytest.mark.parametrize("again", ["reverse", "forward"])
def test_nothing_moves_at_a_length_of_zero(name, again):
    slope = sg.grad(along((LENGTHS | DEVIATIONS)[name], ZEROS))
    second = sg.grad(slope) if again == "reverse" else lambda a: sg.jvp(slope, (a,), (1.0,))[1]
    assert slope(2.0) == 0.0
    assert second(2.0) == 0.0


@pytest.mark.parametrize("name", DEVIATIONS)
def test_equal_elements_that_stay_equal(name):
    slope = sg.grad(along(DEVIATIONS[name], np.full(3, 4.0)))
    assert slope(0.0) == 0.0
    assert sg.grad(slope)(0.0) == 0.0


@pytest.mark.parametrize("name", LENGTHS | DEVIATIONS)
def test_what_moves_away_from_zero_has_no_second_derivative(name):
    slope = sg.grad(along((LENGTHS | DEVIATIONS)[name], X))
    assert slope(0.0) == 0.0
    assert np.isnan(sg.grad(slope)(0.0))


@pytest.mark.parametrize("name", LENGTHS | DEVIATIONS)
def test_elsewhere_the_second_derivative_is_that_of_the_formula(name):
    length = (LENGTHS | DEVIATIONS)[name]
    assert np.allclose(sg.grad(sg.grad(along(length, X)))(2.0), 0.0, atol=1e-12)
    there = np.array([1.0, 2.0, 3.0])
    step = 1e-5 * np.eye(3)
    slope = sg.grad(lambda v: length(v))
    differences = [(slope(there + d) - slope(there - d)) / 2e-5 for d in step]
    assert np.allclose(sg.hessian(lambda v: length(v))(there), differences, atol=1e-8)


def test_rows_of_zeros_among_others():
    rows = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    moves = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])

    def slope(v):
        return sg.grad(lambda w: sg.norm(w, axis=1).sum())(v)

    tangent = sg.jvp(slope, (rows,), (moves,))[1]
    expected = [[0.0, 0.0], [16 / 125, -12 / 125], [np.nan, 0.0]]  # (I - u u.T) / 5
    assert np.allclose(tangent, expected, equal_nan=True)


def test_squares_of_lengths_stay_smooth():
    squares = (
        (lambda v: sg.norm(v) ** 2, 2.0),
        (lambda v: sg.norm(v) * sg.norm(v), 2.0),
        (lambda v: sg.norm(v * 2.0j) ** 2, 8.0),
    )
    for square, curvature in squares:
        assert np.array_equal(sg.hessian(square)(ZEROS), curvature * np.eye(3))


def test_marks_of_a_gradient_cost_nothing():
    v = sg.input("v", ("n",), "float64")
    graph = sg.Graph({"slope": sg.grad(sg.norm(v), v)})
    assert any(isinstance(node.op, CornerMark) for node in graph.nodes)
    text = str(sg.compile(graph).schedule)
    assert "corner_mark" not in text
    assert "nan" not in text
