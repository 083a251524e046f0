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


def test_monotone_curves_of_several_columns_have_gradients():
    """The mask of turns covers all columns, whatever shape the places have."""
    rng = np.random.default_rng(7)
    values, weights = rng.normal(size=(2, 5)), rng.normal(size=(2, 3))

    def total(module, values):
        return (module.PchipInterpolator(POINTS, values, axis=1)(PLACES) * weights).sum()

    gradient = sg.function(sg.grad(lambda values: total(sg.interpolate, values)))(values)
    direction = rng.normal(size=values.shape)
    high, low = (total(scipy.interpolate, values + sign * 1e-6 * direction) for sign in (1, -1))
    np.testing.assert_allclose((gradient * direction).sum(), (high - low) / 2e-6, rtol=1e-6)


# -- grids ----------------------------------------------------------------------------------------

METHODS = ("linear", "nearest", "slinear", "cubic", "quintic", "pchip")
#: SciPy's cubic and quintic methods solve their equations to five digits, the legacy ones exactly.
EXACT = {"cubic": "cubic_legacy", "quintic": "quintic_legacy"}


def grid_of(axes, is_descending, more, seed):
    """Points and values of a grid, and places inside of it."""
    rng = np.random.default_rng(seed)
    points = [np.cumsum(rng.uniform(0.2, 1.0, 6 + axis)) for axis in range(axes)]
    places = np.stack([rng.uniform(p[0], p[-1], (4, 3)) for p in points], -1)
    points = [p[::-1] if is_descending else p for p in points]
    return points, rng.normal(size=[*map(len, points), *more]), places


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(METHODS), st.integers(1, 3), st.booleans(), st.sampled_from([(), (3,)]),
    st.sampled_from([{}, {"fill_value": None}, {"fill_value": 2.5}, {"fill_value": np.nan}]),
    st.integers(0, 10**6),
)  # fmt: skip
def test_grids(method, axes, is_descending, more, options, seed):
    points, values, places = grid_of(axes, is_descending, more, seed)
    options = {**options, "bounds_error": not options}
    if not options["bounds_error"]:
        places += np.where(np.random.default_rng(seed).random(places.shape) < 0.3, 3.0, 0.0)
        places[0, 0, 0] = np.nan
    expected = scipy.interpolate.interpn(
        points, values, places, EXACT.get(method, method), **options
    )
    grid = sg.interpolate.RegularGridInterpolator(points, values, method, **options)
    np.testing.assert_allclose(grid(places), expected, rtol=1e-9, atol=1e-9)
    by_axes = tuple(places[..., axis] for axis in range(axes))
    np.testing.assert_array_equal(grid(by_axes), grid(places))
    compiled = sg.function(lambda v, at: sg.interpolate.interpn(points, v, at, method, **options))
    np.testing.assert_allclose(compiled(values, places), expected, rtol=1e-9, atol=1e-9)


def test_the_first_place_outside_of_a_grid_is_named():
    values, places = sg.input("values", (4,), "float64"), sg.input("places", (5, 1), "float64")
    value = sg.interpolate.interpn((np.arange(4.0),), values, places, bounds_error=True)
    feed = np.array([[0.5], [7.0], [1.0], [-3.0], [9.0]])
    with pytest.raises(sg.errors.ArgumentError, match="7 lies outside of the points of axis 0"):
        sg.compile(value).run({"values": np.arange(4.0), "places": feed})


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_of_grids(method):
    points, values, places = grid_of(2, False, (), 4)
    arrays = {"x": points[0], "v": values, "at": places}
    weights = np.random.default_rng(5).normal(size=places.shape[:-1])

    def total(module, arrays):
        name = EXACT.get(method, method) if module is scipy.interpolate else method
        read = module.interpn((arrays["x"], points[1]), arrays["v"], arrays["at"], name)
        return (read * weights).sum()

    varied = {"v": values} if method == "nearest" else arrays
    gradient = sg.function(sg.grad(lambda varied: total(sg.interpolate, {**arrays, **varied})))(
        varied
    )
    for key in varied:
        direction = np.random.default_rng(6).normal(size=arrays[key].shape)
        if key == "x":
            direction[[0, -1]] = 0.0
        totals = [
            total(scipy.interpolate, {**arrays, key: arrays[key] + sign * 1e-6 * direction})
            for sign in (1, -1)
        ]
        expected = (totals[0] - totals[1]) / 2e-6
        np.testing.assert_allclose((gradient[key] * direction).sum(), expected, rtol=2e-6)


def test_orders_of_derivatives_along_axes():
    points, values, places = grid_of(2, False, (), 7)
    for method, nu in (("slinear", (1, 0)), ("slinear", (0, 2))):
        expected = scipy.interpolate.RegularGridInterpolator(points, values, method)(places, nu=nu)
        grid = sg.interpolate.RegularGridInterpolator(points, values, method)
        np.testing.assert_allclose(grid(places, nu=nu), expected, rtol=1e-9, atol=1e-9)
    grid = sg.interpolate.RegularGridInterpolator(points, values, "cubic")
    legacy = scipy.interpolate.RegularGridInterpolator(points, values, "cubic_legacy")
    step = np.array([0.0, 1e-4])
    expected = (legacy(places + step) - 2 * legacy(places) + legacy(places - step)) / 1e-8
    np.testing.assert_allclose(grid(places, nu=(0, 2)), expected, rtol=1e-4, atol=1e-4)
    for order in range(7):
        curve = scipy.interpolate.make_interp_spline(points[0], values, k=5)
        expected = curve(places[0, :, 0], order)
        grid = sg.interpolate.RegularGridInterpolator(points[:1], values, "quintic")
        actual = grid(places[0, :, :1], nu=(order,))
        np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-8)


def test_complex_values_and_grids_as_arguments():
    points, values, places = grid_of(2, False, (), 8)
    values = values + 1j * values[::-1]
    grid = sg.interpolate.RegularGridInterpolator(points, values)
    expected = scipy.interpolate.interpn(points, values, places)
    np.testing.assert_allclose(grid(places), expected, rtol=1e-12)
    twice = sg.function(lambda grid, at: 2.0 * grid(at))
    grid = sg.interpolate.RegularGridInterpolator(points, values.real)
    np.testing.assert_allclose(twice(grid, places), 2 * expected.real, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda of: of(([0.0, 1.0],), [1.0]), sg.errors.ShapeError, "2 points for 1 values"),
        (lambda of: of(([0.0, 1.0],), 1.0), sg.errors.RankError, "on a grid of 1 axes"),
        (lambda of: of(([0.0, 1.0, 0.5],), VALUES[:3]), sg.errors.ArgumentError, "neither ascend"),
        (lambda of: of((POINTS,), VALUES, "septic"), sg.errors.ArgumentError, "method='septic'"),
        (lambda of: of((POINTS[:3],), VALUES[:3], "cubic")([0.1]), sg.errors.ShapeError, "takes 4"),
        (lambda of: of((POINTS,), VALUES)([[9.0]]), sg.errors.ArgumentError, "9 lies outside"),
        (lambda of: of((POINTS,), VALUES)([[1.0, 2.0]]), sg.errors.ShapeError, "grid of 1 axes"),
        (lambda of: of((POINTS,), VALUES)([1.0], nu=[1]), sg.errors.ArgumentError, "nu=.1. of"),
    ],
)
def test_what_a_grid_refuses(call, error, text):
    with pytest.raises(error, match=text):
        call(sg.interpolate.RegularGridInterpolator)


def test_a_place_outside_is_an_error_of_the_run():
    read = sg.function(lambda at: sg.interpolate.interpn((POINTS,), VALUES, at))
    np.testing.assert_allclose(read(np.array([[0.5]])), 1.5)
    with pytest.raises(sg.errors.ArgumentError, match="7 lies outside of the points of axis 0"):
        read(np.array([[7.0]]))
