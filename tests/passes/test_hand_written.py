"""Formulas in every spelling of ``hand_written.py``: value, gradient and Hessian, anywhere."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from tests.passes.hand_written import FORMULAS, REDUCTIONS, errors, program, true_values

#: Largest errors, in units of the last place of the true value, or of 1 where that is larger.
MOST = 32.0
KINDS = tuple(REDUCTIONS)


def assert_true(formula, reduction, point, actual):
    truth = true_values(formula.name, reduction, tuple(point))
    for (order, array), true in zip(actual.items(), truth, strict=True):
        error = errors(array, true)[0 if formula.relative else 1]
        assert error <= MOST, f"{order} at {point}: {array} is not {true}"


@pytest.mark.thinned(8)
@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.name)
def test_every_spelling_is_right_to_second_order(formula):
    """The first spelling in float64 at every point; others, and float32, at every second one.

    The first spelling under every reduction, others under one of them in turn."""
    for number, spelling in enumerate(formula.spellings):
        some = formula.points[number % 2 :: 2]
        points = {"float64": some if number else formula.points, "float32": some}
        for reduction in KINDS[number % len(KINDS) :][:1] if number else KINDS:
            for dtype in points:
                graph = pipeline("O0")(program(spelling, reduction, dtype))
                for point in points[dtype]:
                    actual = sg.evaluate(graph, {"x": np.array(point, dtype)})
                    assert_true(formula, reduction, point, actual)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.name)
def test_kernels_are_right_to_second_order(formula):
    f = sg.compile(program(formula.spellings[0], "mean", "float32"))
    for point in formula.points:
        assert_true(formula, "mean", point, f.run({"x": np.array(point, "float32")}))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.name)
def test_forward_mode_takes_the_same_formula(formula):
    x = sg.input("x", (3,), "float64")
    for spelling in formula.spellings:
        loss = sg.ravel(spelling(x)).sum()
        tangent = sg.jvp(loss, x, np.ones(3))
        for point in formula.points:
            slope = true_values(formula.name, "sum", tuple(point))[1]
            actual = sg.evaluate(tangent, {"x": np.array(point)})
            assert abs(actual - slope.sum()) <= 1e-12, point


def test_gradients_do_not_depend_on_who_else_is_asked_for():
    """A target inside a formula that a rule would replace is differentiated by on its own."""
    x = sg.input("x", (3,), "float64")
    raised = sg.exp(-x)
    s = 1.0 / (1.0 + raised)
    loss = -sg.log(s).sum()
    feeds = {"x": np.array([1000.0, -1000.0, 0.5])}
    alone = [sg.evaluate(sg.grad(loss, value), feeds) for value in (x, s, raised)]
    together = sg.evaluate(dict(zip("xsr", sg.grad(loss, [x, s, raised]), strict=True)), feeds)
    for first, second in zip(alone, together.values(), strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(alone[0], [0.0, -1.0, -1 / (1 + np.exp(0.5))], rtol=1e-14)
    np.testing.assert_allclose(together["r"][[0, 2]], 1 / (1 + np.exp([-1000.0, -0.5])), rtol=1e-14)
    values = sg.evaluate(s, feeds)
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(together["s"], -1.0 / values)
    tangent = sg.jvp(loss, [x, s], [np.ones(3), np.ones(3)])
    np.testing.assert_allclose(
        sg.evaluate(tangent, {"x": [0.5, 1.0, 2.0]}),
        sum(sg.evaluate(g, {"x": [0.5, 1.0, 2.0]}).sum() for g in sg.grad(loss, [x, s])),
    )


def test_a_computation_that_is_written_twice_is_one_and_keeps_its_gradients():
    x, w = sg.input("x", (1, 3), "float64"), sg.input("w", (3, 3), "float64")
    first, second = x @ w, x @ w
    shares = sg.exp(first) / sg.exp(second).sum()
    slopes = sg.grad((shares * np.array([1.0, 2.0, 3.0])).sum(), [w, first, second])
    feeds = {"x": np.array([[800.0, 0.0, 0.0]]), "w": np.eye(3)}
    by_w, *_ = (sg.evaluate(slope, feeds) for slope in slopes)
    np.testing.assert_array_equal(by_w, np.zeros((3, 3)))
    feeds["x"] = np.array([[0.5, 1.0, -1.0]])
    p = np.exp(feeds["x"]) / np.exp(feeds["x"]).sum()
    actual = [sg.evaluate(slope, feeds) for slope in slopes[1:]]
    ct = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(actual[0], ct * p, rtol=1e-13)
    np.testing.assert_allclose(actual[1], -(ct * p).sum() * p, rtol=1e-13)


def test_a_path_that_dies_is_told_of_in_the_formula_as_it_was_written():
    x, y = sg.input("x", (), "float64"), sg.input("y", (), "float64")
    value = sg.log(1.0 + sg.exp(x + sg.stop_gradient(sg.exp(y))))
    with pytest.raises(sg.StaticgradError, match="stop_gradient passes no gradient on"):
        sg.grad(value, y)
    with pytest.raises(sg.StaticgradError, match="stop_gradient passes no gradient on"):
        sg.jvp(value, [x, y], [1.0, 1.0])
    assert sg.evaluate(sg.grad(value, x), {"x": 800.0, "y": 0.0}) == 1.0
