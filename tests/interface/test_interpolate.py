"""Piecewise polynomials against SciPy: curves, integrals, and derivatives by the points."""

import numpy as np
import pytest
import scipy.interpolate
from hypothesis import given, settings, strategies as st

import staticgrad as sg

RNG = np.random.default_rng(3)
POINTS = np.array([0.0, 1.0, 2.5, 4.0, 5.0])
VALUES = np.array([1.0, 2.0, 0.5, 3.0, 3.5])
PLACES = np.array([0.3, 1.7, 4.9])
CONDITIONS = (
    "not-a-knot", "clamped", "natural", "periodic", ((1, 0.5), "natural"),
    ("not-a-knot", (2, -1.0)), ("natural", (1, -0.5)),
)  # fmt: skip
KINDS = {
    "CubicSpline": [{"bc_type": condition} for condition in CONDITIONS],
    "PchipInterpolator": [{}],
    "Akima1DInterpolator": [{}, {"method": "makima"}],
}
CURVES = [(name, options) for name, variants in KINDS.items() for options in variants]
WHICH = st.sampled_from(CURVES)


def of_both(name, *args, **options):
    """The curve of ours and of SciPy's."""
    return getattr(sg.interpolate, name)(*args, **options), getattr(scipy.interpolate, name)(
        *args, **options
    )


@settings(max_examples=80, deadline=None)
@given(
    WHICH, st.integers(2, 9), st.integers(0, 2), st.sampled_from([None, True, False, "periodic"]),
    st.integers(0, 10**6),
)  # fmt: skip
def test_curves(curve, count, axis, extrapolate, seed):
    name, options = curve
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0.1, 2.0, count))
    y = rng.normal(size=np.insert([2, 3], axis, count))
    if isinstance(options.get("bc_type"), tuple):  # SciPy takes a derivative for each value
        ends = [
            (end[0], np.full((2, 3), end[1])) if isinstance(end, tuple) else end
            for end in options["bc_type"]
        ]
        options = {**options, "bc_type": tuple(ends)}
    if options.get("bc_type") == "periodic":
        np.moveaxis(y, axis, 0)[-1] = np.moveaxis(y, axis, 0)[0]
    if extrapolate is not None:
        options = {**options, "extrapolate": extrapolate}
    ours, scipys = of_both(name, x, y, axis=axis, **options)
    places = np.append(x, rng.uniform(x[0] - 1, x[-1] + 1, 5)).reshape(-1, 1)
    for nu in range(5):
        np.testing.assert_allclose(ours(places, nu), scipys(places, nu), rtol=1e-8, atol=1e-8)
    for ours_of, scipys_of in (
        (ours.derivative(2), scipys.derivative(2)),
        (ours.antiderivative(2), scipys.antiderivative(2)),
    ):
        np.testing.assert_allclose(ours_of(places), scipys_of(places), rtol=1e-8, atol=1e-8)
    low, high = x[0] + 0.1, x[-1] + (0.0 if extrapolate is False else 7.0)
    np.testing.assert_allclose(
        ours.integrate(low, high), scipys.integrate(low, high), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize(("name", "options"), CURVES)
def test_derivatives_by_points_values_and_places(name, options):
    arrays = {"x": POINTS, "y": VALUES, "at": PLACES}
    if options.get("bc_type") == "periodic":
        arrays["y"] = np.append(VALUES[:-1], VALUES[0])

    def total(module, arrays):
        return getattr(module, name)(arrays["x"], arrays["y"], **options)(arrays["at"]).sum()

    gradient = sg.function(sg.grad(lambda arrays: total(sg.interpolate, arrays)))(arrays)
    step = 1e-6
    for key, array in arrays.items():
        ends = options.get("bc_type") == "periodic" and key == "y"  # SciPy wants equal ends
        for place in range(1, array.size - 1) if ends else range(array.size):
            totals = []
            for sign in (1, -1):
                shifted = {**arrays, key: array.copy()}
                shifted[key][place] += sign * step
                totals.append(total(scipy.interpolate, shifted))
            expected = (totals[0] - totals[1]) / (2 * step)
            np.testing.assert_allclose(gradient[key][place], expected, rtol=1e-6, atol=1e-7)


def test_a_curve_is_an_argument_and_a_result():
    ours, scipys = of_both("CubicSpline", POINTS, VALUES)
    twice = sg.function(lambda curve, at: 2 * curve(at))
    np.testing.assert_allclose(twice(ours, PLACES), 2 * scipys(PLACES), rtol=1e-12)
    fitted = sg.function(lambda y: sg.interpolate.CubicSpline(POINTS, y))(VALUES)
    np.testing.assert_allclose(fitted(PLACES, 1), scipys(PLACES, 1), rtol=1e-12)
    assert repr(fitted) == "CubicSpline(float64[4, 4], float64[5])"


def test_float32_stays():
    curve = sg.interpolate.PchipInterpolator(POINTS.astype(np.float32), VALUES.astype(np.float32))
    assert curve(PLACES.astype(np.float32)).dtype == np.float32


def test_given_slopes_and_coefficients():
    ours, scipys = of_both("CubicHermiteSpline", POINTS, VALUES, np.cos(POINTS))
    np.testing.assert_allclose(ours(PLACES), scipys(PLACES), rtol=1e-12)
    coefficients = RNG.normal(size=(3, 4, 2))
    ours, scipys = of_both("PPoly", coefficients, POINTS)
    np.testing.assert_allclose(ours([PLACES, PLACES]), scipys([PLACES, PLACES]), rtol=1e-12)
    assert np.isnan(ours(np.nan)).all()


def test_monotone_pieces_are_flat_where_points_are():
    """The derivative exists at points where neighbours are equal."""
    y = np.array([0.0, 1.0, 1.0, 1.0, 2.0])
    gradient = sg.function(
        sg.grad(lambda y: sg.interpolate.PchipInterpolator(POINTS, y)(PLACES).sum())
    )(y)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda of: of.CubicSpline(POINTS, VALUES[:-1]), sg.errors.ShapeError, "4 values along"),
        (lambda of: of.CubicSpline([0.0], [1.0]), sg.errors.ShapeError, "one point"),
        (lambda of: of.CubicSpline(POINTS, 1.0), sg.errors.RankError, "values f64"),
        (lambda of: of.PPoly([1.0], [0.0, 1.0]), sg.errors.RankError, "c is float64"),
        (lambda of: of.PPoly([[1.0]], [0.0, 1.0, 2.0]), sg.errors.ShapeError, "3 breakpoints"),
        (lambda of: of.CubicSpline(POINTS, VALUES, bc_type="not"), sg.errors.ArgumentError, "bc_"),
        (
            lambda of: of.CubicSpline(POINTS, VALUES)(1.0, extrapolate="x"),
            sg.errors.ArgumentError,
            "extrapolate='x' is not True",
        ),
        (lambda of: of.CubicSpline(POINTS, VALUES)(1.0, -1), sg.errors.ArgumentError, "nu must"),
    ],
)
def test_what_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call(sg.interpolate)
