"""Activations, normalisation and losses against float64 formulas; extremes; both derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.eager import Tensor
from staticgrad.errors import (
    AxisError,
    DTypeError,
    IndexOutOfRange,
    RankError,
    ShapeError,
    SizeGuardError,
)
from staticgrad.functions import nn
from tests.diagonals import diagonals
from tests.ops.graphs import op_names, run
from tests.ops.messages import assert_refused

POINTS = np.array([-1e3, -30.0, -3.0, -0.5, 0.0, 0.25, 2.0, 30.0, 1e3])


def normal_cdf(x):
    return special.ndtr(x)


def normal_pdf(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


#: Function, its values, first and second derivatives at POINTS.
SIGMOID = special.expit(POINTS)
SLOPE = SIGMOID * (1 - SIGMOID)
ACTIVATIONS = {
    "relu": (nn.relu, np.maximum(POINTS, 0), (POINTS > 0) * 1.0, POINTS * 0),
    "silu": (
        nn.silu,
        POINTS * SIGMOID,
        SIGMOID + POINTS * SLOPE,
        SLOPE * (2 + POINTS * (1 - 2 * SIGMOID)),
    ),
    "softplus": (nn.softplus, np.logaddexp(POINTS, 0), SIGMOID, SLOPE),
    "gelu": (
        nn.gelu,
        POINTS * normal_cdf(POINTS),
        normal_cdf(POINTS) + POINTS * normal_pdf(POINTS),
        normal_pdf(POINTS) * (2 - POINTS**2),
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_two_derivatives(name):
    function, value, first, second = ACTIVATIONS[name]
    x = sg.input("x", POINTS.shape, "float64")
    out = function(x)
    slope = grad(out.sum(), x)
    curve = grad(slope.sum(), x, allow_disconnected=True)
    for found, expected in ((out, value), (slope, first), (curve, second)):
        np.testing.assert_allclose(run(found, {"x": POINTS}), expected, rtol=1e-12, atol=1e-14)


def test_activations_in_float32_are_float32():
    x = sg.input("x", POINTS.shape)
    with_tanh = [lambda v: nn.gelu(v, approximate=True)]
    for function in [entry[0] for entry in ACTIVATIONS.values()] + with_tanh:
        out = function(x)
        slope = grad(out.sum(), x)
        assert out.dtype == slope.dtype == x.dtype
        for value in (out, slope):
            assert np.isfinite(run(value, {"x": POINTS})).all()


def test_the_approximate_gelu_is_near(rng):
    x = rng.uniform(-6, 6, 1000)
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    found = run(nn.gelu(x, approximate=True))
    np.testing.assert_allclose(found, tanh, rtol=1e-13)
    assert 1e-5 < np.abs(found - x * normal_cdf(x)).max() < 5e-4


def test_relu_of_integers_keeps_their_dtype():
    assert nn.relu(np.array([-3, 4])).dtype == "int64"
    np.testing.assert_array_equal(run(nn.relu(np.array([-3, 4]))), [0, 4])


def test_integers_become_float64():
    for function in (nn.silu, nn.softplus, nn.gelu, nn.softmax, nn.logsumexp):
        assert function(np.array([1, 2])).dtype == "float64"


# -- softmax and related functions -----------------------------------------------------------------

FAMILY = {
    "softmax": (nn.softmax, special.softmax),
    "log_softmax": (nn.log_softmax, special.log_softmax),
    "logsumexp": (nn.logsumexp, special.logsumexp),
}


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_softmax_and_its_kin(name, axis, scale, rng):
    ours, theirs = FAMILY[name]
    array = rng.normal(size=(3, 4, 5)) * scale
    np.testing.assert_allclose(run(ours(array, axis)), theirs(array, axis), rtol=1e-12, atol=1e-300)
    wide = run(nn.logsumexp(array, axis, keepdims=True))
    assert wide.shape == special.logsumexp(array, axis, keepdims=True).shape


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_scipys_names_have_its_defaults_and_factors(axis, keepdims):
    array = np.array([[-np.inf, 800.0, 1.0], [-900.0, -np.inf, -901.0]])
    factors = np.array([[2.0, 0.5, 3.0], [1.0, 0.0, -0.25]])
    x, b = sg.input("x", (2, "n"), "float64"), sg.input("b", (2, "n"), "float64")
    feeds = {"x": array, "b": factors}
    for given in (b, factors.tolist()):
        with np.errstate(all="ignore"):
            expected = special.logsumexp(array, axis, factors, keepdims)
        found = sg.special.logsumexp(x, axis, given, keepdims)
        np.testing.assert_allclose(run(found, feeds), expected, rtol=1e-14)
    tensor = sg.special.logsumexp(array, axis, sg.eager.Tensor(factors, dtype="float64"), keepdims)
    np.testing.assert_allclose(tensor.data, expected, rtol=1e-14)
    for name in ("softmax", "log_softmax"):
        with np.errstate(all="ignore"):
            expected = getattr(special, name)(array, axis)
        np.testing.assert_allclose(
            run(getattr(sg.special, name)(x, axis), feeds), expected, rtol=1e-13
        )


def test_factors_of_logsumexp_have_derivatives_also_where_one_is_zero(rng):
    x, b = sg.input("x", (4,), "float64"), sg.input("b", (4,), "float64")
    out = sg.special.logsumexp(x, b=b)
    array, factors = rng.normal(size=4), np.array([1.0, 0.0, 2.0, -0.1])
    found = run(grad(out, x), {"x": array, "b": factors})
    parts = factors * np.exp(array)
    np.testing.assert_allclose(found, parts / parts.sum(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1e3, 1e3], 1e3 + np.log(2)),
        ([-1e3, -1e3], -1e3 + np.log(2)),
        ([0.0, 1e3], 1e3),
        ([-np.inf, 2.0], 2.0),
        ([-np.inf, -np.inf], -np.inf),
        ([np.inf, 1.0], np.inf),
        ([np.inf, -np.inf], np.inf),
        ([np.nan, 1.0], np.nan),
    ],
)
def test_logsumexp_of_extremes(row, expected, dtype):
    found = run(nn.logsumexp(np.array([row], dtype)))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_softmax_of_extremes():
    x = sg.input("x", ("n", 3), "float32")
    rows = np.array([[1e3, -1e3, 1e3], [-np.inf, 0, 0], [-1e3, -1e3, -1e3]])
    found = run(nn.softmax(x), {"x": rows})
    np.testing.assert_allclose(found, [[0.5, 0, 0.5], [0, 0.5, 0.5], [1 / 3] * 3], rtol=1e-6)
    logs = run(nn.log_softmax(x), {"x": rows})
    np.testing.assert_allclose(logs[1], [-np.inf, -np.log(2), -np.log(2)], rtol=1e-6)
    weights = np.array([1.0, 2, 4], np.float32)
    slopes = run(grad((nn.softmax(x) * weights).sum(), x), {"x": rows})
    np.testing.assert_allclose(slopes[1], [0, -0.5, 0.5], rtol=1e-6)
    assert np.isfinite(slopes).all()


def test_the_jacobian_of_softmax_and_its_derivative(rng):
    x = sg.input("x", (4,), "float64")
    array, weights, more = rng.normal(size=(3, 4))
    p = special.softmax(array)
    first = grad((nn.softmax(x) * weights).sum(), x)
    jacobian = np.diag(p) - np.outer(p, p)
    np.testing.assert_allclose(run(first, {"x": array}), jacobian @ weights, rtol=1e-10)
    # d/dx of more . J(p(x)) w, with dp = J dx.
    by_p = more * weights - more * (p @ weights) - (more @ p) * weights
    second = run(grad((first * more).sum(), x), {"x": array})
    np.testing.assert_allclose(second, jacobian @ by_p, rtol=1e-9, atol=1e-12)


def test_the_gradient_of_logsumexp_is_softmax(rng):
    x = sg.input("x", (2, 5), "float64")
    array = rng.normal(size=(2, 5)) * 300
    found = run(grad(nn.logsumexp(x).sum(), x), {"x": array})
    np.testing.assert_allclose(found, special.softmax(array, -1), rtol=1e-10, atol=1e-300)


@diagonals(
    2, ("shape", [(2, 0), (2, "n"), ("m", 0)]), ("name", FAMILY), ("dtype", ["float32", "float64"])
)
def test_an_empty_axis_is_an_ordinary_one(name, shape, dtype):
    x = sg.input("x", shape, dtype)
    feeds = {"x": np.zeros((2, 0), dtype)}
    expected = np.full(2, -np.inf) if name == "logsumexp" else np.zeros((2, 0))
    y = getattr(nn, name)(x, 1)
    slope = grad((y * 2.0).sum(), x)
    found = sg.compile(sg.Graph({"y": y, "slope": slope}, inputs=[x])).run(feeds)
    for each in (found["y"], run(y, feeds), getattr(nn, name)(Tensor(feeds["x"]), 1).data):
        np.testing.assert_array_equal(each, expected)
    assert found["slope"].shape == (2, 0)
    assert run(getattr(nn, name)(x, 0), feeds).shape == ((0,) if name == "logsumexp" else (2, 0))


def test_a_named_axis_of_softmax_gives_the_bits_of_a_literal_one(rng):
    array = rng.normal(size=(3, 5)).astype("float32")
    for name in FAMILY:
        y = {}
        for size in (5, "n"):
            x = sg.input("x", (3, size), "float32")
            y[size] = sg.compile(getattr(nn, name)(x, 1)).run({"x": array}).tobytes()
        assert y[5] == y["n"]


def test_attention_to_no_keys_gives_zeros():
    q, k, v = (sg.input(name, ("b", size, 3)) for name, size in zip("qkv", "tss", strict=True))
    feeds = {"q": np.ones((2, 4, 3)), "k": np.ones((2, 0, 3)), "v": np.ones((2, 0, 3))}
    np.testing.assert_array_equal(run(nn.attention(q, k, v), feeds), np.zeros((2, 4, 3)))


def test_softmax_refuses_an_axis_that_there_is_not():
    with assert_refused(AxisError, "softmax: no axis 1", line="nn.softmax"):
        nn.softmax(sg.input("x", (2,)), 1)


# -- layer norm -----------------------------------------------------------------------------------


def test_layer_norm_and_its_gradients(rng):
    feeds = {"x": rng.normal(size=(6, 5)) * 3 + 2, "g": rng.normal(size=5), "b": rng.normal(size=5)}
    x, g, b = (sg.input(name, array.shape, "float64") for name, array in feeds.items())
    out = nn.layer_norm(x, g, b, eps=1e-3)
    centred = feeds["x"] - feeds["x"].mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
    normal = centred * scale
    np.testing.assert_allclose(run(out, feeds), normal * feeds["g"] + feeds["b"], rtol=1e-12)
    ct = rng.normal(size=(6, 5))
    dx, dg, db = (run(v, feeds) for v in grad(out, [x, g, b], seed=ct))
    np.testing.assert_allclose(db, ct.sum(0), rtol=1e-12)
    np.testing.assert_allclose(dg, (ct * normal).sum(0), rtol=1e-12)
    inner = ct * feeds["g"]
    along = normal * (inner * normal).mean(-1, keepdims=True)
    expected = scale * (inner - inner.mean(-1, keepdims=True) - along)
    np.testing.assert_allclose(dx, expected, rtol=1e-9, atol=1e-12)


def test_layer_norm_of_named_sizes_in_float32():
    x = sg.input("x", ("batch", 4))
    plain = nn.layer_norm(x)
    assert plain.type == x.type
    found = run(plain, {"x": np.array([[1.0, 1, 1, 1], [0, 0, 2, 2]])})
    np.testing.assert_allclose(found, [[0] * 4, [-1, -1, 1, 1]], rtol=1e-4)
    with assert_refused(ShapeError, "the weight is [5], the last axis has 4", line="nn.layer_norm"):
        nn.layer_norm(x, np.ones(5))
    with assert_refused(ShapeError, "the bias is [1, 4]"):
        nn.layer_norm(x, None, np.ones((1, 4)))
    with assert_refused(RankError, "no last axis"):
        nn.layer_norm(2.0)


# -- losses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("shape", [(7, 4), (1, 1), (2, 3, 5), (4,)])
def test_cross_entropy_and_its_gradient(shape, scale, rng):
    logits = sg.input("logits", shape, "float64")
    labels = sg.input("labels", shape[:-1], "int32")
    feeds = {"logits": rng.normal(size=shape) * scale}
    feeds["labels"] = rng.integers(0, shape[-1], shape[:-1])
    loss = nn.cross_entropy(logits, labels)
    hot = np.eye(shape[-1])[feeds["labels"]]
    logs = special.log_softmax(feeds["logits"], -1)
    count = max(1, int(np.prod(shape[:-1])))
    np.testing.assert_allclose(run(loss, feeds), -(hot * logs).sum() / count, rtol=1e-12)
    expected = (special.softmax(feeds["logits"], -1) - hot) / count
    np.testing.assert_allclose(run(grad(loss, logits), feeds), expected, rtol=1e-9, atol=1e-12)


def test_the_hessian_of_cross_entropy(rng):
    logits = sg.input("logits", (1, 3), "float64")
    array, direction = rng.normal(size=(2, 1, 3))
    first = grad(nn.cross_entropy(logits, np.array([2])), logits)
    found = run(grad((first * direction).sum(), logits), {"logits": array})
    p = special.softmax(array[0])
    np.testing.assert_allclose(found[0], (np.diag(p) - np.outer(p, p)) @ direction[0], rtol=1e-9)


def test_a_confident_right_answer_keeps_its_small_loss():
    logits = np.array([[1000.0, 990.0]], np.float32)  # float32 is 6e-5 apart there
    found = run(nn.cross_entropy(logits, np.array([0])))
    assert found.dtype == np.float32
    assert found == pytest.approx(np.log1p(np.exp(-10.0)), rel=0, abs=1.2e-7)


@pytest.mark.parametrize("label", [-1, 3, -3, 100])
def test_labels_outside_raise(label):
    logits, labels = sg.input("z", ("n", 3)), sg.input("labels", ("n",), "int64")
    loss = nn.cross_entropy(logits, labels)
    feeds = {"z": np.zeros((3, 3)), "labels": [0, label, 2]}
    with assert_refused(
        IndexOutOfRange,
        f"label {label} is out of range for 3 classes",
        "feed 'labels'",
        line="nn.cross",
    ):
        run(loss, feeds)
    with assert_refused(IndexOutOfRange, f"label {label}"):
        run(grad(loss, logits), feeds)


def test_labels_that_are_none():
    logits = sg.input("z", ("n", 3))
    with assert_refused(
        DTypeError, "labels are integers", "float32", "z f32[n, 3]", line="nn.cross"
    ):
        nn.cross_entropy(logits, np.zeros(3, np.float32))
    with assert_refused(
        RankError, "logits [n, 3] take one label per row, got [n, 1]", line="nn.cross"
    ):
        nn.cross_entropy(logits, sg.input("y", ("n", 1), "int64"))
    with assert_refused(ShapeError, "got [4]"):
        nn.cross_entropy(np.zeros((5, 3)), np.zeros(4, int))
    other = nn.cross_entropy(logits, sg.input("y", ("m",), "int64"))
    with assert_refused(SizeGuardError, "n = 2", "m = 1"):
        run(other, {"z": np.zeros((2, 3)), "y": [0]})


def test_the_mean_over_no_rows_is_nan():
    loss = nn.cross_entropy(sg.input("z", ("n", 3)), sg.input("y", ("n",), "int64"))
    assert np.isnan(run(loss, {"z": np.zeros((0, 3)), "y": np.zeros(0, int)}))


def test_mse():
    x = sg.input("x", ("n", 2))
    loss = nn.mse(x, np.array([[1.0, 2], [3, 4]], np.float32))
    assert loss.dtype == "float32"
    feeds = {"x": [[1.0, 4], [3, 0]]}
    assert run(loss, feeds) == 5
    np.testing.assert_array_equal(run(grad(loss, x), feeds), [[0, 1], [0, -2]])
    assert run(nn.mse(x, 1.0), feeds) == 3.5
    with assert_refused(ShapeError, "mse", "[n, 2]", "[2]", "do not broadcast", line="nn.mse"):
        nn.mse(x, np.zeros(2))


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_binary_cross_entropy(target):
    z = sg.input("z", POINTS.shape, "float64")
    loss = nn.binary_cross_entropy_with_logits(z, np.full(POINTS.shape, target))
    count = POINTS.size
    expected = np.mean(np.logaddexp(POINTS, 0) - target * POINTS)
    assert run(loss, {"z": POINTS}) == pytest.approx(expected, rel=1e-12)
    first = grad(loss, z)
    np.testing.assert_allclose(
        run(first, {"z": POINTS}), (SIGMOID - target) / count, rtol=1e-12, atol=1e-15
    )
    second = run(grad(first.sum(), z), {"z": POINTS})
    np.testing.assert_allclose(second, SLOPE / count, rtol=1e-12, atol=1e-15)
    with assert_refused(ShapeError, "do not broadcast"):
        nn.binary_cross_entropy_with_logits(z, np.zeros(2))


def test_nothing_widens_a_float32_graph():
    x, y = sg.input("x", ("n", 4)), sg.input("y", ("n",), "int64")
    w = sg.parameter("w", np.ones((4, 4), np.float32))
    h = nn.layer_norm(nn.gelu(x @ w), w[0], w[1])
    loss = nn.cross_entropy(nn.silu(h) + nn.softmax(h), y) + nn.mse(nn.softplus(h), 0.5)
    graph = sg.Graph({"loss": loss, "dw": grad(loss, w)})
    assert {t.dtype.name for node in graph.nodes for t in node.types} <= {
        "float32",
        "int64",
        "bool",
    }
    assert "cast" not in op_names(loss)
