"""Functions of matrices, V f(w) V', whose f reads numbers that are computed from all eigenvalues.

The oracle is NumPy: losses by ``np.linalg.eigh``, their derivatives by differences.
"""

import numpy as np
import pytest

import staticgrad as sg


def eigh(lib, x):
    return lib.linalg.eigh((x + x.T) * 0.5)


def matrix_of(lib, x, function):
    values, vectors = eigh(lib, x)
    return (vectors * function(values)) @ vectors.T


def power_sum(w):
    return (w**3).sum()


#: Name -> a matrix made by NumPy or staticgrad; ``k``: sums, maxima and products of eigenvalues.
FUNCTIONS = {
    "sum added": lambda k, x: matrix_of(k, x, lambda w: k.exp(0.3 * w)) + power_sum(eigh(k, x)[0]),
    "sum beside": lambda k, x: matrix_of(k, x, k.exp) * power_sum(eigh(k, x)[0]),
    "sum as a factor": lambda k, x: matrix_of(k, x, lambda w: k.exp(0.3 * w) * power_sum(w)),
    "sum alone": lambda k, x: matrix_of(k, x, power_sum),
    "normalized": lambda k, x: matrix_of(k, x, lambda w: w / (1.0 + (w**2).sum())),
    "centered": lambda k, x: matrix_of(k, x, lambda w: k.sin(w - w.mean())),
    "two sums": lambda k, x: matrix_of(
        k, x, lambda w: k.exp(0.1 * w) * w.sum() + w**2 / (2.0 + (w**2).sum())
    ),
    "softmax": lambda k, x: matrix_of(
        k, x, lambda w: k.exp(w - w.max()) / k.exp(w - w.max()).sum()
    ),
    "largest": lambda k, x: matrix_of(k, x, lambda w: k.exp(0.3 * w) + w * w.max()),
    "first": lambda k, x: matrix_of(k, x, lambda w: w**2 * w[0]),
    "power sum": lambda k, x: power_sum(eigh(k, x)[0]) ** 2 * np.ones((1, 1)),
}
#: What has derivatives where the two smallest of three eigenvalues are equal.
SMOOTH = (
    "sum as a factor",
    "sum alone",
    "normalized",
    "centered",
    "two sums",
    "largest",
    "power sum",
)
WEIGHTS = np.random.default_rng(1).normal(size=(3, 3))


def loss(lib, name, x):
    matrix = FUNCTIONS[name](lib, x)
    return (matrix * WEIGHTS[: matrix.shape[0], : matrix.shape[1]]).sum() + (matrix**2).sum()


def differences(function, order):
    """The first or second derivative of a function of one number at 0; four terms of the error."""
    if order == 1:
        h = 1e-3
        return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)
    h = 4e-3
    near, far = function(h) + function(-h), function(2 * h) + function(-2 * h)
    return (16 * near - far - 30 * function(0.0)) / (12 * h * h)


def check(name, array):
    direction = np.random.default_rng(2).normal(size=array.shape)
    x = sg.input("x", array.shape, "float64")
    value = loss(sg, name, x)
    slope = sg.grad(value, x)
    curved = sg.hvp(value, [x], [sg.constant(direction)])[0]
    result = sg.evaluate(sg.Graph({"slope": slope, "curved": curved}), {"x": array})

    def along(step):
        return loss(np, name, array + step * direction)

    for order, key in ((1, "slope"), (2, "curved")):
        expected = differences(along, order)
        got = (result[key] * direction).sum()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_two_derivatives_beside_differences(name, n):
    array = np.random.default_rng(n).normal(size=(n, n))
    check(name, array + 0.2 * np.diag(np.arange(n)))


@pytest.mark.parametrize("name", SMOOTH)
def test_two_derivatives_where_eigenvalues_are_equal(name):
    basis = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    check(name, basis @ np.diag([0.4, 0.4, 1.1]) @ basis.T)


def test_one_row_without_a_batch_is_one_row_of_a_batch():
    """Each is 6 exp(0.6 x) ... of one number: (exp(0.3 x) + x^3)^2 twice differentiated."""

    def second_derivative(shape):
        x = sg.input("x", shape, "float64")
        values, vectors = sg.linalg.eigh(x)
        scaled = vectors * sg.exp(values * 0.3)[..., None, :]
        y = scaled @ sg.matrix_transpose(vectors) + sg.sum(values**3)
        h = sg.hvp((y**2).sum(), [x], [sg.constant(np.ones(shape))])[0]
        return sg.evaluate(h, {"x": np.full(shape, 0.7)}).ravel()

    e, x = np.exp(0.3 * 0.7), 0.7
    by_hand = 2 * (0.3 * e + 3 * x**2) ** 2 + 2 * (e + x**3) * (0.09 * e + 6 * x)
    np.testing.assert_allclose(second_derivative((1, 1)), by_hand, rtol=1e-12)
    np.testing.assert_allclose(second_derivative((1, 1, 1)), by_hand, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_number_that_a_function_reads_twice_counts_once(shape):
    """The derivative by s of a squared gradient: beside divided differences by NumPy."""
    array, weights = WEIGHTS + WEIGHTS.T, np.arange(9.0).reshape(3, 3)
    x, s = sg.input("x", (3, 3), "float64"), sg.input("s", (), "float64")
    values, vectors = sg.linalg.eigh(x)
    matrix = (vectors * (sg.exp(s * values) + s.reshape(shape) * values**2)) @ vectors.T
    squared = (sg.grad((matrix * weights).sum(), x) ** 2).sum()
    slope = sg.grad(squared, s)

    def at(value, step=0.0):
        return sg.evaluate(value, {"x": array, "s": 0.7 + step})

    def squared_norm(step):
        """Return the squared gradient of the lower half, by divided differences."""
        values, vectors = np.linalg.eigh(array)
        function = np.exp((0.7 + step) * values) + (0.7 + step) * values**2
        slopes = (0.7 + step) * np.exp((0.7 + step) * values) + 2 * (0.7 + step) * values
        gaps = values[:, None] - values + np.eye(3)
        divided = np.where(np.eye(3), np.diag(slopes), (function[:, None] - function) / gaps)
        change = vectors @ (divided * (vectors.T @ (weights + weights.T) @ vectors)) @ vectors.T
        lower = np.tril(change, -1) + np.diag(np.diag(change)) / 2
        return (lower**2).sum()

    np.testing.assert_allclose(at(squared), squared_norm(0.0), rtol=1e-10)
    np.testing.assert_allclose(at(slope), differences(squared_norm, 1), rtol=1e-8)


#: Functions of eigenvalues [batch, n] that read a number of each matrix, with an axis of size 1.
OF_EACH = {
    "normalized": lambda k, w: w / (1.5 + k.exp(w).sum(-1, keepdims=True)),
    "centered": lambda k, w: k.sin(w - w.mean(-1, keepdims=True)),
    "as a factor": lambda k, w: k.exp(0.3 * w) * (w**3).sum(-1, keepdims=True),
    "largest": lambda k, w: k.exp(0.3 * w) + w * w.max(-1, keepdims=True),
    "softmax": lambda k, w: (
        k.exp(w - w.max(-1, keepdims=True))
        / k.exp(w - w.max(-1, keepdims=True)).sum(-1, keepdims=True)
    ),
    "of all and of each": lambda k, w: w * w.sum() + w.sum(-1, keepdims=True) ** 2,
    "a product of numbers": lambda k, w: (
        k.exp(0.3 * w) + 0.5 * (2.0 * w.sum(-1, keepdims=True) / 3.0)
    ),
    "a product of means": lambda k, w: (
        k.sin(w) * ((w * w).mean(-1, keepdims=True) * w.sum(-1, keepdims=True))
    ),
}


def batch_loss(lib, function, scales_rows, weights, x):
    values, vectors = lib.linalg.eigh((x + lib.swapaxes(x, -1, -2)) * 0.5)
    factors, transposed = function(lib, values), lib.swapaxes(vectors, -1, -2)
    if scales_rows:
        matrix = vectors @ (factors[..., None] * transposed)
    else:
        matrix = (vectors * factors[..., None, :]) @ transposed
    return (matrix * weights).sum() + (matrix**2).sum()


@pytest.mark.parametrize("scales_rows", [False, True])
@pytest.mark.parametrize("equal", ["none", "two", "all"])
@pytest.mark.parametrize("name", OF_EACH)
def test_derivatives_of_batches_whose_function_reads_a_number_of_each(name, equal, scales_rows):
    """Those at nearly equal eigenvalues were wrong, those at equal ones NaN."""
    if name in ("largest", "softmax") and equal == "all":
        pytest.skip("the largest of equal numbers has no derivative")
    rng = np.random.default_rng(3)
    rotations, _ = np.linalg.qr(rng.normal(size=(3, 4, 4)))
    eigenvalues = {"none": [0.2, -1.0, 1.3, 2.0], "two": [1.0, 1.0, 0.4, 2.0], "all": [0.7] * 4}
    array = (rotations * eigenvalues[equal]) @ np.swapaxes(rotations, -1, -2)
    if equal == "all":
        array = np.broadcast_to(0.7 * np.eye(4), (3, 4, 4)).copy()
    weights, direction = rng.normal(size=(2, *array.shape))
    arguments = OF_EACH[name], scales_rows, weights
    x = sg.input("x", array.shape, "float64")
    value = batch_loss(sg, *arguments, x)
    curved = sg.hvp(value, [x], [sg.constant(direction)])[0]
    graph = sg.Graph({"slope": sg.grad(value, x), "curved": curved})
    results = sg.evaluate(graph, {"x": array})

    def along(step):
        return batch_loss(np, *arguments, array + step * direction)

    slope = (results["slope"] * direction).sum()
    np.testing.assert_allclose(slope, differences(along, 1), 1e-6)
    curvature = (results["curved"] * direction).sum()
    np.testing.assert_allclose(curvature, differences(along, 2), 1e-4)


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_second_derivatives_beside_a_sum_whose_slope_is_a_product_of_numbers(batch):
    """At equal eigenvalues: the slope of the sum is one number, repeated and times 0.2."""
    rng = np.random.default_rng(5)
    array = np.broadcast_to(0.4 * np.eye(3), (*batch, 3, 3)).copy()
    weights, direction = rng.normal(size=(2, *array.shape))

    def loss(k, x):
        values, vectors = k.linalg.eigh((x + k.swapaxes(x, -1, -2)) * 0.5)
        cubes = (values * values * values * 0.2).sum()
        matrix = (vectors * (values**2 + 0.3 * cubes)[..., None, :]) @ k.swapaxes(vectors, -1, -2)
        return (matrix * weights).sum()

    def along(step):
        return loss(np, array + step * direction)

    x = sg.input("x", array.shape, "float64")
    curved = sg.hvp(loss(sg, x), [x], [sg.constant(direction)])[0]
    actual = (sg.evaluate(curved, {"x": array}) * direction).sum()
    np.testing.assert_allclose(actual, differences(along, 2), 1e-5)
