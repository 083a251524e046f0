"""Gradients of minima and maxima by label: values, ties, NaN, second derivatives, what stays."""

import numpy as np
import pytest

import staticgrad as sg

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.normal(size=(300, 8))
CENTROIDS = RANDOM.normal(size=(50, 8))
CLOUDS = RANDOM.normal(size=(6, 50, 8))
WEIGHTS = RANDOM.normal(size=(8, 40))
MATRICES = RANDOM.normal(size=(6, 8, 40))
#: Tied rows: equal centroids, and integers, whose distances are exact.
TIED_POINTS, TIED = np.round(POINTS), np.round(CENTROIDS)
TIED[7] = TIED[31]


def square_distances(xp, p, c):
    return (p * p).sum(axis=1)[:, None] + (c * c).sum(axis=1)[None, :] - 2.0 * (p @ c.T)


def subtract_rows(xp, p, c):
    return p[:, None, :] - c[None, :, :]


def chamfer(xp, p, c):
    d = square_distances(xp, p, c)
    return (d.min(axis=1) * 0.3).sum() + xp.sin(d.min(axis=0)).sum()


#: Losses over NumPy's functions or ours, of two arrays.
LOSSES = {
    "k-means": (lambda xp, p, c: square_distances(xp, p, c).min(axis=1).sum(), POINTS, CENTROIDS),
    "k-means by differences": (
        lambda xp, p, c: xp.sin((subtract_rows(xp, p, c) ** 2).sum(axis=2).min(axis=1)).sum(),
        POINTS,
        CENTROIDS,
    ),
    "nearest, of distances": (
        lambda xp, p, c: xp.sqrt((subtract_rows(xp, p, c) ** 2).sum(axis=2)).min(axis=1).sum(),
        POINTS,
        CENTROIDS,
    ),
    "nearest, of absolute values": (
        lambda xp, p, c: xp.abs(subtract_rows(xp, p, c)).sum(axis=2).min(axis=1).sum(),
        POINTS,
        CENTROIDS,
    ),
    "Chamfer": (chamfer, POINTS, CENTROIDS),
    "Hausdorff": (lambda xp, p, c: square_distances(xp, p, c).min(axis=1).max(), POINTS, CENTROIDS),
    "largest of a row": (lambda xp, x, w: ((x @ w).max(axis=1) ** 2).sum(), POINTS, WEIGHTS),
    "largest of a column": (lambda xp, x, w: ((x @ w).max(axis=0) ** 2).sum(), POINTS, WEIGHTS),
    "largest of rows in front": (
        lambda xp, x, w: xp.sin((w.T @ x.T).max(axis=0)).sum(),
        POINTS,
        WEIGHTS,
    ),
    "pooled rows": (lambda xp, x, w: ((x @ w).max(axis=1) ** 2).sum(), CLOUDS, WEIGHTS),
    "pooled rows above 0": (
        lambda xp, x, w: (xp.where(x @ w > 0, x @ w, 0.0).max(axis=1) ** 3).sum(),
        CLOUDS,
        WEIGHTS,
    ),
    "of each matrix of a batch": (
        lambda xp, x, w: ((x @ w).max(axis=2) ** 2).sum(),
        CLOUDS,
        MATRICES,
    ),
    "pooled rows of a batch": (
        lambda xp, x, w: ((x @ w).max(axis=1) ** 2).sum(),
        CLOUDS,
        MATRICES,
    ),
    "margin of the best wrong class": (
        lambda xp, x, w: xp.maximum(
            0.0, 1.0 + xp.where(np.eye(300, 40) > 0, -np.inf, x @ w).max(axis=1) - (x @ w)[:, 0]
        ).sum(),
        POINTS,
        WEIGHTS,
    ),
}


def compiled_gradient(loss, of, a, b, **options):
    """The compiled gradient by one operand of a loss, at sizes of two arrays."""
    x, y = sg.input("x", a.shape, a.dtype), sg.input("y", b.shape, b.dtype)
    return sg.compile(sg.grad(loss(sg, x, y), (x, y)[of]), **options)


def takes_labels(compiled):
    return "one-hot-products" in {r.name for r in compiled.explanation().late if r.changed}


def differences(loss, point, direction, h=1e-6):
    return (loss(point + h * direction) - loss(point - h * direction)) / (2 * h)


@pytest.mark.parametrize("of", [0, 1])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_differences(name, of):
    loss, *arrays = LOSSES[name]
    compiled = compiled_gradient(loss, of, *arrays)
    slope = compiled.run({"x": arrays[0], "y": arrays[1]})
    for seed in range(2):
        v = np.random.default_rng(seed).normal(size=arrays[of].shape)

        def at(point):
            return loss(np, *[point if k == of else a for k, a in enumerate(arrays)])

        expected = differences(at, arrays[of], v)
        np.testing.assert_allclose((slope * v).sum(), expected, rtol=2e-6, atol=1e-6)


#: Products of each matrix have few multiplications; a margin's gradient is a sum with other zeros.
LEFT = {"of each matrix of a batch", "margin of the best wrong class"}
TAKEN = [name for name in LOSSES if name not in LEFT]


@pytest.mark.parametrize("name", TAKEN)
def test_products_are_left_to_ties(name):
    loss, *arrays = LOSSES[name]
    assert any(takes_labels(compiled_gradient(loss, of, *arrays)) for of in (0, 1))


def shared_gradient(p, c):
    """The gradient of k-means by the centroids; equally near ones share a point."""
    nearest = square_distances(np, p, c)
    chosen = nearest == nearest.min(axis=1, keepdims=True)
    shares = chosen / chosen.sum(axis=1, keepdims=True)
    return 2.0 * (shares.sum(axis=0)[:, None] * c - shares.T @ p)


@pytest.mark.parametrize(
    ("points", "centroids"),
    [(TIED_POINTS, TIED), (POINTS, CENTROIDS), (TIED_POINTS, np.zeros((50, 8)))],
)
def test_ties_share_the_gradient(points, centroids):
    loss = LOSSES["k-means"][0]
    compiled = compiled_gradient(loss, 1, points, centroids)
    assert takes_labels(compiled)
    result = compiled.run({"x": points, "y": centroids})
    np.testing.assert_allclose(result, shared_gradient(points, centroids), rtol=1e-12, atol=1e-12)
    # The same program takes either way, in either order of calls.
    result = compiled.run({"x": POINTS, "y": CENTROIDS})
    np.testing.assert_allclose(result, shared_gradient(POINTS, CENTROIDS), rtol=1e-12, atol=1e-12)


def test_a_nan_makes_its_row_nan():
    points = POINTS.copy()
    points[5, 2] = np.nan
    loss = LOSSES["k-means"][0]
    by_points = compiled_gradient(loss, 0, points, CENTROIDS).run({"x": points, "y": CENTROIDS})
    assert np.isnan(by_points[5]).all()
    assert np.isfinite(np.delete(by_points, 5, axis=0)).all()
    by_centroids = compiled_gradient(loss, 1, points, CENTROIDS)
    assert np.isnan(by_centroids.run({"x": points, "y": CENTROIDS})).all()


@pytest.mark.parametrize("name", ["k-means", "Chamfer", "largest of a row", "pooled rows"])
def test_second_derivatives(name):
    loss, a, b = LOSSES[name]
    x, y = sg.input("x", a.shape, "float64"), sg.input("y", b.shape, "float64")
    v = RANDOM.normal(size=b.shape)
    slope = sg.grad(loss(sg, x, y), y)
    bend = sg.grad((slope * v).sum(), (x, y))
    curves = sg.compile(sg.Graph({"by_x": bend[0], "by_y": bend[1]})).run({"x": a, "y": b})
    only_slope = sg.compile(sg.Graph({"slope": slope}))
    for key, point, feeds in (
        ("by_x", a, lambda m: {"x": m, "y": b}),
        ("by_y", b, lambda m: {"x": a, "y": m}),
    ):
        u = RANDOM.normal(size=point.shape)
        change = differences(lambda m: only_slope.run(feeds(m))["slope"], point, u)  # noqa: B023
        expected = (change * v).sum()
        np.testing.assert_allclose((curves[key] * u).sum(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_named_sizes(dtype):
    loss = LOSSES["k-means"][0]
    n, k = sg.dim("n", hint=1000), sg.dim("k", hint=100)
    x, y = sg.input("x", (n, 8), dtype), sg.input("y", (k, 8), dtype)
    compiled = sg.compile(sg.grad(loss(sg, x, y), y))
    assert takes_labels(compiled)
    for points, centroids in ((300, 50), (1, 3), (0, 2), (7, 1)):
        p, c = POINTS[:points].astype(dtype), CENTROIDS[:centroids].astype(dtype)
        result = compiled.run({"x": p, "y": c})
        assert result.dtype == dtype
        tolerance = 1e-12 if dtype == "float64" else 2e-5
        np.testing.assert_allclose(result, shared_gradient(p, c), rtol=tolerance, atol=tolerance)


def test_a_gradient_that_is_returned_is_not_labels():
    x, y = sg.input("x", POINTS.shape, "float64"), sg.input("y", WEIGHTS.shape, "float64")
    product = x @ y
    loss = (product.max(axis=1) ** 2).sum()
    of_product, of_y = sg.grad(loss, (product, y))
    compiled = sg.compile(sg.Graph({"of_product": of_product, "of_y": of_y}))
    assert not takes_labels(compiled)
    values = compiled.run({"x": POINTS, "y": WEIGHTS})
    numbers = POINTS @ WEIGHTS
    one_hot = (numbers == numbers.max(axis=1, keepdims=True)) * 2.0 * numbers
    np.testing.assert_allclose(values["of_product"], one_hot, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(values["of_y"], POINTS.T @ one_hot, rtol=1e-12, atol=1e-12)


def test_narrow_floats_are_added_up_wide():
    loss = LOSSES["largest of a row"][0]
    assert not takes_labels(
        compiled_gradient(loss, 1, POINTS.astype("float16"), WEIGHTS.astype("float16"))
    )


def test_in_a_loop():
    x, y = sg.input("x", POINTS.shape, "float64"), sg.input("y", CENTROIDS.shape, "float64")

    def step(c, _):
        loss = square_distances(sg, x, c).min(axis=1).sum()
        return c - 1e-3 * sg.grad(loss, c), None

    result = sg.compile(sg.scan(step, y, length=5)[0]).run({"x": POINTS, "y": CENTROIDS})
    expected = CENTROIDS
    for _ in range(5):
        expected = expected - 1e-3 * shared_gradient(POINTS, expected)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)
