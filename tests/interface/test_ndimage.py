"""Filters and interpolation of images against SciPy: results, derivatives, dtypes, named sizes."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings, strategies as st

import staticgrad as sg

MODES = (
    "reflect", "grid-mirror", "constant", "grid-constant", "nearest", "mirror", "wrap", "grid-wrap"
)  # fmt: skip
SHAPES = st.sampled_from([(7,), (2,), (1,), (6, 9), (1, 5), (30, 3), (3, 4, 5)])
SEEDS = st.integers(0, 10**6)
#: Modes whose coefficients SciPy computes from a sum that it changes while it adds: for few
#: elements its splines do not go through them.
REFLECTED = ("reflect", "grid-mirror")


def agree(call, x, **tolerances):
    """Compare a call of a function of both modules."""
    expected, actual = call(scipy.ndimage, x), call(sg.ndimage, x)
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, **{"rtol": 1e-12, "atol": 1e-12, **tolerances})


@settings(max_examples=120, deadline=None)
@given(SHAPES, st.sampled_from(MODES), st.sampled_from([0.0, 1.5]), st.integers(1, 6), SEEDS)
def test_filters(shape, mode, cval, count, seed):
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=shape), rng.normal(size=count)
    axis = int(rng.integers(len(shape)))
    origin = int(rng.integers(-(count // 2), (count - 1) // 2 + 1))
    box, sigma = rng.normal(size=rng.integers(1, 4, len(shape))), list(rng.uniform(0.3, 2, x.ndim))
    border = {"mode": mode, "cval": cval}
    calls = [
        lambda of, x: of.correlate1d(x, weights, axis, origin=origin, **border),
        lambda of, x: of.convolve1d(x, weights, axis, origin=origin, **border),
        lambda of, x: of.correlate(x, box, **border),
        lambda of, x: of.convolve(x, box, **border),
        lambda of, x: of.convolve(x, weights, axes=axis, **border),
        lambda of, x: of.gaussian_filter1d(x, sigma[0], axis, order=count % 4, **border),
        lambda of, x: of.gaussian_filter(x, sigma, order=count % 3, **border),
        lambda of, x: of.gaussian_filter(x, 1.0, radius=count - 1, axes=axis, **border),
        lambda of, x: of.gaussian_laplace(x, sigma, **border),
        lambda of, x: of.uniform_filter1d(x, count, axis, origin=origin, **border),
        lambda of, x: of.uniform_filter(x, count, **border),
        lambda of, x: of.sobel(x, axis, **border),
        lambda of, x: of.prewitt(x, axis, **border),
        lambda of, x: of.laplace(x, **border),
    ]
    for call in calls:
        agree(call, x, rtol=1e-11, atol=1e-11)


@settings(max_examples=120, deadline=None)
@given(SHAPES, st.sampled_from(MODES), st.integers(0, 5), st.booleans(), SEEDS)
def test_interpolation(shape, mode, order, prefilter, seed):
    rng = np.random.default_rng(seed)
    x, axes = rng.normal(size=shape), len(shape)
    if mode in REFLECTED and order > 1:  # axes that are long enough for SciPy
        x = rng.normal(size=(40,))
        axes = 1
    coordinates = rng.uniform(-12, 40, (axes, 2, 12))
    coordinates[:, 0] = np.round(coordinates[:, 0])
    moves, factors = rng.uniform(-3, 3, axes), rng.uniform(0.5, 2.5, axes)
    matrix, angle = rng.normal(size=(axes, axes)), rng.uniform(-200, 200)
    options = {"order": order, "mode": mode, "cval": 1.5, "prefilter": prefilter}
    homogeneous = np.eye(axes + 1)
    homogeneous[:axes, :axes], homogeneous[:axes, axes] = matrix, moves
    calls = [
        lambda of, x: of.map_coordinates(x, coordinates, **options),
        lambda of, x: of.map_coordinates(x, list(coordinates), **options),
        lambda of, x: of.shift(x, moves, **options),
        lambda of, x: of.zoom(x, factors, **options),
        lambda of, x: of.zoom(x, factors, grid_mode=True, **{**options, "mode": "nearest"}),
        lambda of, x: of.affine_transform(x, matrix, moves, **options),
        lambda of, x: of.affine_transform(x, homogeneous, **options),
        lambda of, x: of.affine_transform(x, factors, moves, **options),
    ]
    # Of one element, and of the nearest one beside a centre between two, rounding decides.
    if axes > 1 and 1 not in shape and order > 0:
        calls += [
            lambda of, x: of.rotate(x, angle, **options),
            lambda of, x: of.rotate(x, angle, (axes - 1, 0), reshape=False, **options),
            lambda of, x: of.rotate(x, 90.0, **options),
        ]
    if order > 1:
        calls.append(lambda of, x: of.spline_filter1d(x, order, 0, mode=mode))
        if mode != "nearest":  # SciPy's coefficients of that mode are reflected, with a margin
            calls.append(lambda of, x: of.spline_filter(x, order, mode=mode))
    for call in calls if mode != "nearest" or order < 2 else calls[:-1]:
        agree(call, x, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_short_axes_are_reflected_exactly(order, size):
    """The oracle is SciPy's spline through the image, reflected by hand over 40 elements."""
    rng = np.random.default_rng(order * 10 + size)
    x, at = rng.normal(size=size), rng.uniform(-3.0, size + 2.0, (1, 30))
    expected = scipy.ndimage.map_coordinates(
        np.pad(x, 40, "symmetric"), at + 40, order=order, mode="mirror"
    )
    actual = sg.ndimage.map_coordinates(x, at, order=order, mode="reflect")
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)
    through = sg.ndimage.map_coordinates(x, [np.arange(size)], order=order, mode="reflect")
    np.testing.assert_allclose(through, x, rtol=1e-12, atol=1e-12)


# -- derivatives ----------------------------------------------------------------------------------

IMAGE = np.random.default_rng(5).normal(size=(6, 7))
AT = np.random.default_rng(6).uniform(-1.4, 6.4, (2, 9))
CALLS = {
    "correlate": lambda of, x, w: of.correlate(x, w, mode="mirror", origin=(0, -1)),
    "convolve1d": lambda of, x, w: of.convolve1d(x, w[0], 0, mode="wrap"),
    "gaussian": lambda of, x, sigma: of.gaussian_filter(x, [sigma, 0.7], (1, 0), radius=3),
    "sobel": lambda of, x, _: of.sobel(x, 0, mode="nearest"),
    "cval": lambda of, x, cval: of.uniform_filter(x, 3, mode="constant", cval=cval),
    "map": lambda of, x, at: of.map_coordinates(x, at, mode="mirror"),
    "map quintic": lambda of, x, at: of.map_coordinates(x, at, order=5, mode="nearest"),
    "map quadratic": lambda of, x, at: of.map_coordinates(x, at, order=2, mode="grid-wrap"),
    "map outside": lambda of, x, at: of.map_coordinates(x, at, order=3, mode="grid-constant"),
    "map wrapped": lambda of, x, at: of.map_coordinates(x, at, order=4, mode="wrap"),
    "shift": lambda of, x, move: of.shift(x, move, mode="grid-wrap"),
    "zoom": lambda of, x, _: of.zoom(x, (1.7, 0.6), mode="mirror"),
    "affine": lambda of, x, matrix: of.affine_transform(x, matrix, (0.3, 0.9), mode="mirror"),
    "rotate": lambda of, x, angle: of.rotate(x, angle, reshape=False, mode="mirror"),
}
ARGUMENTS = {
    "correlate": np.random.default_rng(7).normal(size=(2, 3)),
    "convolve1d": np.random.default_rng(8).normal(size=(1, 4)),
    "gaussian": np.array(0.9), "sobel": np.array(0.0), "cval": np.array(0.7),
    "shift": np.array([0.3, -1.6]), "zoom": np.array(0.0),
    "affine": np.array([[0.8, 0.3], [-0.2, 1.1]]), "rotate": np.array(33.0),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_derivatives(name):
    call, argument = CALLS[name], ARGUMENTS.get(name, AT)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=np.shape(scipy_of(call, IMAGE, argument)))

    def total(x, argument):
        return (call(sg.ndimage, x, argument) * weights).sum()

    reads_argument = name not in ("sobel", "zoom")
    gradients = sg.function(sg.grad(total, argnums=(0, 1) if reads_argument else (0,)))(
        IMAGE, argument
    )
    for place, gradient in enumerate(gradients):
        direction = rng.normal(size=(IMAGE, argument)[place].shape)
        step = 1e-6 * direction
        nearby = [
            (IMAGE + sign * step, argument) if place == 0 else (IMAGE, argument + sign * step)
            for sign in (1, -1)
        ]
        high, low = ((scipy_of(call, *pair) * weights).sum() for pair in nearby)
        np.testing.assert_allclose((gradient * direction).sum(), (high - low) / 2e-6, rtol=2e-6)


def scipy_of(call, x, argument):
    """SciPy's result; numbers where it does not take arrays."""
    return call(scipy.ndimage, x, argument if argument.ndim else float(argument))


def test_second_derivatives_by_coordinates():
    """The spline's second derivative is that of SciPy's differences."""
    at = np.array([[2.3], [3.6]])

    def read(at):
        return sg.ndimage.map_coordinates(IMAGE, at, order=5, mode="mirror")[0]

    second = sg.function(sg.hessian(read))(at)
    step = 1e-3
    for axis in range(2):
        nearby = [at + sign * step * np.eye(2)[:, [axis]] for sign in (-1, 0, 1)]
        below, middle, above = (
            scipy.ndimage.map_coordinates(IMAGE, a, order=5, mode="mirror")[0] for a in nearby
        )
        expected = (below - 2 * middle + above) / step**2
        np.testing.assert_allclose(second[axis, 0, axis, 0], expected, rtol=1e-4, atol=1e-4)


# -- dtypes and named sizes -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "complex128", "complex64"])
def test_dtypes(dtype):
    rng = np.random.default_rng(3)
    x = (rng.uniform(0, 90, (6, 9)) + 1j * rng.normal(size=(6, 9))).astype(np.complex128)
    x = x.astype(dtype) if "complex" in dtype else x.real.astype(dtype)
    weights = np.array([[1.0, -0.5, 2.0], [0.25, 1.0, -1.0]])
    tolerances = {"rtol": 1e-5, "atol": 1e-4} if dtype in ("float32", "complex64") else {}
    for call in (
        lambda of, x: of.correlate(x, weights),
        lambda of, x: of.sobel(x),
        lambda of, x: of.uniform_filter(x, 4, mode="constant", cval=3),
        lambda of, x: of.shift(x, (0.3, 0.4), mode="mirror"),
        lambda of, x: of.map_coordinates(x, AT, order=2, cval=7),
        lambda of, x: of.zoom(x, 1),
    ):
        agree(call, x, **tolerances)


def test_complex_weights_are_conjugated_by_correlation():
    weights = np.array([[1.0 + 2.0j, -0.5j, 2.0]])
    for x in (IMAGE, IMAGE + 1j * IMAGE[::-1]):
        agree(lambda of, x: of.correlate(x, weights), x)
        agree(lambda of, x: of.convolve(x, weights), x)
        agree(lambda of, x: of.convolve1d(x, weights[0]), x)
    agree(lambda of, x: of.shift(x, 0.5, cval=1.0 + 2.0j), IMAGE + 1j * IMAGE)


def test_output_is_a_dtype():
    x = np.arange(12, dtype=np.uint8).reshape(3, 4)
    agree(lambda of, x: of.gaussian_filter(x, 1.0, output=np.float64), x)
    agree(lambda of, x: of.shift(x, 0.5, output="float32"), x, rtol=1e-6, atol=1e-6)
    with pytest.raises(sg.errors.ArgumentError, match="output is an array"):
        sg.ndimage.sobel(IMAGE, output=np.empty_like(IMAGE))


def test_narrow_floats_are_rounded_once():
    x = np.random.default_rng(9).uniform(size=(8, 9)).astype(np.float16)
    actual = sg.ndimage.gaussian_filter(x, 1.0)
    expected = scipy.ndimage.gaussian_filter(x.astype(np.float64), 1.0)
    assert actual.dtype == np.float16
    np.testing.assert_allclose(actual, expected, rtol=6e-4)


@pytest.mark.parametrize("mode", MODES)
def test_named_sizes(mode):
    n, m = sg.dim("n"), sg.dim("m")
    x = sg.input("x", (n, m), "float64")
    calls = {
        "gaussian": lambda of, x: of.gaussian_filter(x, 1.0, mode=mode),
        "shift": lambda of, x: of.shift(x, (0.3, -0.6), mode=mode),
        "zoom": lambda of, x: of.zoom(x, 2, mode=mode),
        "read": lambda of, x: of.map_coordinates(x, AT, mode=mode, order=4),
        "rotate": lambda of, x: of.rotate(x, 30.0, reshape=False, mode=mode, order=1),
    }
    compiled = sg.compile({name: call(sg.ndimage, x) for name, call in calls.items()})
    sizes = [(30, 26), (20, 41)] if mode in REFLECTED else [(6, 9), (1, 4), (2, 30)]
    for shape in sizes:
        array = np.random.default_rng(2).normal(size=shape)
        results = compiled.run({"x": array})
        for name, call in calls.items():
            expected = call(scipy.ndimage, array)
            np.testing.assert_allclose(results[name], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda of: of.correlate1d(IMAGE, [[1.0]]),
            sg.errors.RankError,
            "weights f64.1, 1. are no",
        ),
        (lambda of: of.correlate1d(IMAGE, []), sg.errors.ArgumentError, "no weights"),
        (
            lambda of: of.correlate1d(IMAGE, [1.0], origin=1),
            sg.errors.ArgumentError,
            "origin=1 for",
        ),
        (lambda of: of.correlate(IMAGE, [1.0]), sg.errors.RankError, "for 2 axes of f64"),
        (
            lambda of: of.correlate(IMAGE, [[1.0]], mode="odd"),
            sg.errors.ArgumentError,
            "mode='odd'",
        ),
        (
            lambda of: of.gaussian_filter(IMAGE, [1.0]),
            sg.errors.ArgumentError,
            "1 entries of sigma",
        ),
        (lambda of: of.laplace(1.0), sg.errors.RankError, "has no axis"),
        (lambda of: of.map_coordinates(IMAGE, AT, order=6), sg.errors.ArgumentError, "order=6"),
        (lambda of: of.map_coordinates(IMAGE, AT[:1]), sg.errors.ShapeError, "1 coordinates for"),
        (lambda of: of.map_coordinates(IMAGE, 1.0), sg.errors.RankError, "coordinates f64"),
        (lambda of: of.affine_transform(IMAGE, np.eye(4)), sg.errors.ShapeError, "a matrix f64"),
        (lambda of: of.affine_transform(IMAGE, 1.0), sg.errors.RankError, "a matrix f64"),
        (
            lambda of: of.affine_transform(IMAGE, [1.0, 2.0], output_shape=(3,)),
            sg.errors.ShapeError,
            "1 axes by a diagonal",
        ),
        (lambda of: of.rotate(IMAGE[0], 3.0), sg.errors.RankError, "has no plane"),
        (lambda of: of.rotate(IMAGE, 3.0, (1, 1)), sg.errors.ArgumentError, "two different axes"),
        (
            lambda of: of.rotate(IMAGE, sg.input("angle", (), "float64")),
            sg.errors.ArgumentError,
            "angle is a value",
        ),
        (
            lambda of: of.zoom(IMAGE, sg.input("zoom", (), "float64")),
            sg.errors.ArgumentError,
            "zoom is a value",
        ),
        (
            lambda of: of.zoom(sg.input("x", ("n",), "float64"), 1.5),
            sg.errors.ArgumentError,
            "zoom=1.5 of the named size n",
        ),
        (
            lambda of: of.gaussian_filter(IMAGE, sg.input("sigma", (), "float64")),
            sg.errors.ArgumentError,
            "without radius=",
        ),
    ],
)
def test_what_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call(sg.ndimage)
