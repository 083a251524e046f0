"""Batches of thin products with one matrix, and sums of products over a batch, as one product."""

import numpy as np
import pytest

import staticgrad as sg

RANDOM = np.random.default_rng(0)
A = RANDOM.normal(size=(60, 40))


def takes_one_product(compiled):
    return "thin-batches" in {r.name for r in compiled.explanation().late if r.changed}


#: Programs of a shared matrix and a batch of thin ones, over our functions or NumPy's.
PROGRAMS = {
    "a product": lambda xp, a, b: a @ b,
    "of the transposed matrix": lambda xp, a, b: xp.transpose(a) @ (a @ b),
    "of thin rows": lambda xp, a, b: a @ xp.swapaxes(xp.swapaxes(b, -1, -2) * 2.0, -1, -2),
    "transposed": lambda xp, a, b: xp.swapaxes(a @ b, -1, -2) * 3.0,
    "a chain": lambda xp, a, b: xp.tanh(xp.transpose(a) @ xp.tanh(a @ b)),
    "a column of each": lambda xp, a, b: (a @ b[..., :1])[..., 0],
    "sums of rows": lambda xp, a, b: xp.sin(a @ b).sum(axis=-2),
}


@pytest.mark.parametrize("shape", [(30, 40, 3), (4, 5, 40, 2), (30, 40, 1)])
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_gradients(name, shape):
    program = PROGRAMS[name]
    thin = RANDOM.normal(size=shape)
    a, b = sg.input("a", A.shape, "float64"), sg.input("b", shape, "float64")
    y = program(sg, a, b)
    of_a, of_b = sg.grad((sg.sin(y) * y).sum(), (a, b))
    compiled = sg.compile(sg.Graph({"y": y, "of_a": of_a, "of_b": of_b}))
    assert takes_one_product(compiled)
    results = compiled.run({"a": A, "b": thin})
    np.testing.assert_allclose(results["y"], program(np, A, thin), rtol=1e-11, atol=1e-12)

    def loss(matrix, batch):
        value = program(np, matrix, batch)
        return (np.sin(value) * value).sum()

    h = 1e-6
    for key, u, v in (
        ("of_a", RANDOM.normal(size=A.shape), 0.0),
        ("of_b", 0.0, RANDOM.normal(size=shape)),
    ):
        slope = (loss(A + h * u, thin + h * v) - loss(A - h * u, thin - h * v)) / (2 * h)
        actual = (results[key] * (u + v)).sum()
        np.testing.assert_allclose(actual, slope, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [2, 3, 5])
def test_bits_are_those_of_the_batch(dtype, columns):
    thin = RANDOM.normal(size=(30, 40, columns)).astype(dtype)
    a, b = sg.input("a", A.shape, dtype), sg.input("b", thin.shape, dtype)
    feeds = {"a": A.astype(dtype), "b": thin}
    at_once, one_by_one = (sg.compile(a @ b, disable=names) for names in ([], ["thin-batches"]))
    assert takes_one_product(at_once)
    assert at_once.run(feeds).tobytes() == one_by_one.run(feeds).tobytes()


def test_the_gradient_by_a_shared_matrix_is_one_product():
    thin, weights = RANDOM.normal(size=(200, 40, 3)), RANDOM.normal(size=(200, 60, 3))
    a, b = sg.input("a", A.shape, "float64"), sg.input("b", thin.shape, "float64")
    compiled = sg.compile(sg.grad(((a @ b) * weights).sum(), a))
    assert takes_one_product(compiled)
    assert compiled.plan().peak_bytes < 200 * 60 * 40 * 8  # the products of the batch
    expected = np.einsum("imn,ikn->mk", weights, thin)
    np.testing.assert_allclose(compiled.run({"b": thin}), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_named_sizes(batch):
    count = sg.dim("count", hint=30)
    thin = RANDOM.normal(size=(batch, 40, 3))
    a, b = sg.input("a", A.shape, "float64"), sg.input("b", (count, 40, 3), "float64")
    y = sg.sin(a @ b)
    compiled = sg.compile(sg.Graph({"y": y, "of_a": sg.grad((y * y).sum(), a)}))
    assert takes_one_product(compiled)
    results = compiled.run({"a": A, "b": thin})
    product = A @ thin
    np.testing.assert_allclose(results["y"], np.sin(product), rtol=1e-11, atol=1e-12)
    expected = np.einsum("imn,ikn->mk", np.sin(2 * product), thin)
    np.testing.assert_allclose(results["of_a"], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_forward_mode_of_a_model_with_a_fixed_matrix(mode):
    def model(theta):
        return sg.sin(A @ (sg.cos(theta)[:, None] * np.arange(1.0, 4.0))).sum(axis=0)

    theta = RANDOM.normal(size=40)
    slopes = sg.function(lambda t: sg.jacobian(model, mode=mode)(t))(theta)
    weights = np.arange(1.0, 4.0)
    inner = np.cos(A @ (np.cos(theta)[:, None] * weights))
    expected = np.einsum("mc,mk,k,c->ck", inner, A, -np.sin(theta), weights)
    np.testing.assert_allclose(slopes, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("shape", "matrix"),
    [((30, 40, 8), (60, 40)), ((400, 3, 3), (60, 3)), ((30, 40, 3), (8, 40))],
)
def test_wide_batches_and_short_products_stay(shape, matrix):
    a, b = sg.input("a", matrix, "float64"), sg.input("b", shape, "float64")
    assert not takes_one_product(sg.compile(a @ b))


def test_a_batch_that_is_read_stays():
    thin, rows = RANDOM.normal(size=(200, 40, 3)), RANDOM.normal(size=(200, 60, 3))
    g, b = sg.input("g", rows.shape, "float64"), sg.input("b", thin.shape, "float64")
    products = g @ sg.swapaxes(b, 1, 2)
    results = sg.compile(sg.Graph({"all": products, "sum": products.sum(axis=0)})).run(
        {"g": rows, "b": thin}
    )
    expected = rows @ np.swapaxes(thin, 1, 2)
    np.testing.assert_allclose(results["all"], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(results["sum"], expected.sum(axis=0), rtol=1e-11, atol=1e-11)
