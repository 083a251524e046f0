"""Activations, softmax, layers and losses against float64 formulas; extremes; two derivatives."""

import numpy as np
import pytest
from scipy import special

import staticgrad as sg
from staticgrad import nn
from staticgrad.autodiff.reverse import grad
from staticgrad.eager import Tensor
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    IndexOutOfRange,
    RankError,
    ShapeError,
    SizeGuardError,
)
from staticgrad.testing import check_gradients
from tests.helpers.diagonals import diagonals
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused, assert_refused

POINTS = np.array([-1e3, -30.0, -3.0, -0.5, 0.0, 0.25, 2.0, 30.0, 1e3])
SIGMOID, CDF = special.expit(POINTS), special.ndtr(POINTS)
SLOPE, PDF = SIGMOID * (1 - SIGMOID), np.exp(-POINTS * POINTS / 2) / np.sqrt(2 * np.pi)
IS_POSITIVE, FALLING = POINTS > 0, np.exp(np.minimum(POINTS, 0))
CURVED = SLOPE * (2 + POINTS * (1 - 2 * SIGMOID))


def entropy(target):
    def loss(x):
        return nn.binary_cross_entropy_with_logits(x, np.full(9, target), reduction="none")

    return loss, np.logaddexp(POINTS, 0) - target * POINTS, SIGMOID - target, SLOPE


#: Function, its values, first and second derivatives at POINTS.
AT_POINTS = {
    "relu": (nn.relu, np.maximum(POINTS, 0), IS_POSITIVE * 1.0, POINTS * 0),
    "silu": (nn.silu, POINTS * SIGMOID, SIGMOID + POINTS * SLOPE, CURVED),
    "softplus": (nn.softplus, np.logaddexp(POINTS, 0), SIGMOID, SLOPE),
    "gelu": (nn.gelu, POINTS * CDF, CDF + POINTS * PDF, PDF * (2 - POINTS**2)),
    "elu": (
        lambda x: nn.elu(x, 0.5), np.where(IS_POSITIVE, POINTS, 0.5 * (FALLING - 1)),
        np.where(IS_POSITIVE, 1, 0.5 * FALLING), np.where(IS_POSITIVE, 0, 0.5 * FALLING),
    ),
    "leaky_relu": (
        lambda x: nn.leaky_relu(x, 0.1), np.where(IS_POSITIVE, POINTS, 0.1 * POINTS),
        np.where(IS_POSITIVE, 1, 0.1), POINTS * 0,
    ),
    "huber": (
        lambda x: nn.huber(x, np.zeros(9), 0.5, reduction="none"), special.huber(0.5, POINTS),
        np.clip(POINTS, -0.5, 0.5), np.abs(POINTS) <= 0.5,
    ),
    **{f"binary cross entropy of {target}": entropy(target) for target in (0.0, 0.3, 1.0)},
}  # fmt: skip


@pytest.mark.parametrize("name", AT_POINTS)
def test_activations_and_two_derivatives(name):
    function, *expected = AT_POINTS[name]
    x = sg.input("x", POINTS.shape, "float64")
    slope = grad(function(x).sum(), x)
    values = [function(x), slope, grad(slope.sum(), x, allow_disconnected=True)]
    for actual, derivative in zip(values, expected, strict=True):
        np.testing.assert_allclose(run(actual, {"x": POINTS}), derivative, rtol=1e-12, atol=1e-14)


def test_dtypes_of_activations():
    x = sg.input("x", POINTS.shape)
    for function in (nn.relu, nn.silu, nn.softplus, nn.gelu, nn.elu, gelu_by_tanh):
        out = function(x)
        slope = grad(out.sum(), x)
        assert out.dtype == slope.dtype == x.dtype
        for value in (out, slope):
            assert np.isfinite(run(value, {"x": POINTS})).all()
    assert nn.relu(np.array([-3, 4])).dtype == "int64"
    np.testing.assert_array_equal(run(nn.relu(np.array([-3, 4]))), [0, 4])
    for function in (nn.silu, nn.softplus, nn.gelu, nn.softmax, nn.logsumexp):
        assert function(np.array([1, 2])).dtype == "float64"


def gelu_by_tanh(x):
    return nn.gelu(x, approximate=True)


@pytest.mark.parametrize("spelling", ["none", False, np.False_, "tanh", True, np.True_])
def test_gelu_is_exact_or_by_tanh(spelling, rng):
    x = rng.uniform(-6, 6, 1000)
    exact = x * special.ndtr(x)
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    assert 1e-5 < np.abs(tanh - exact).max() < 5e-4
    actual = nn.gelu(Tensor(x, dtype="float64"), approximate=spelling).data
    expected = exact if spelling in ("none", False) else tanh
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15)


AXES = [-1, 0, (0, 2), (1, -1), (0, 1, 2), None]
X = np.random.default_rng(3).normal(size=(3, 4, 2)) * 5
WEIGHTS = np.random.default_rng(4).normal(size=X.shape)
FAMILY = {name: getattr(special, name) for name in ("softmax", "log_softmax", "logsumexp")}


def slope(name, axis):
    """Return the slope of the weighted sum of the results, by hand with SciPy's softmax."""
    shares = special.softmax(X, axis=axis)
    if name == "logsumexp":
        return shares * WEIGHTS.sum(axis=axis, keepdims=True)
    if name == "log_softmax":
        return WEIGHTS - shares * WEIGHTS.sum(axis=axis, keepdims=True)
    return shares * (WEIGHTS - (shares * WEIGHTS).sum(axis=axis, keepdims=True))


@pytest.mark.thinned(4)
@diagonals(2, ("name", FAMILY), ("axis", AXES))
def test_values_and_gradients_over_any_axes(name, axis):
    x = sg.input("x", ("n", 4, 2), "float64")
    out = getattr(nn, name)(x, axis)
    weights = WEIGHTS.sum(axis=axis) if name == "logsumexp" else WEIGHTS
    outputs = {"out": out, "slope": sg.grad((out * weights).sum(), x)}
    actual = sg.compile(sg.Graph(outputs)).run({"x": X})
    np.testing.assert_allclose(actual["out"], FAMILY[name](X, axis=axis), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(actual["slope"], slope(name, axis), rtol=1e-11, atol=1e-11)
    tensor = getattr(nn, name)(Tensor(X, dtype="float64"), axis)
    np.testing.assert_allclose(tensor.data, FAMILY[name](X, axis=axis), rtol=1e-12, atol=1e-12)
    check_gradients(lambda x: getattr(nn, name)(x, axis), [X], order=2)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_scipys_names_have_its_defaults_and_factors(axis, keepdims):
    array = np.array([[-np.inf, 800.0, 1.0], [-900.0, -np.inf, -901.0]])
    factors = np.array([[2.0, 0.5, 3.0], [1.0, 0.0, -0.25]])
    x, b = sg.input("x", (2, "n"), "float64"), sg.input("b", (2, "n"), "float64")
    feeds = {"x": array, "b": factors}
    for weights in (b, factors.tolist()):
        with np.errstate(all="ignore"):
            expected = special.logsumexp(array, axis, factors, keepdims)
        actual = sg.special.logsumexp(x, axis, weights, keepdims)
        np.testing.assert_allclose(run(actual, feeds), expected, rtol=1e-14)
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
    actual = run(grad(out, x), {"x": array, "b": factors})
    parts = factors * np.exp(array)
    np.testing.assert_allclose(actual, parts / parts.sum(), rtol=1e-12)


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
    actual = run(nn.logsumexp(np.array([row], dtype)))
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, [expected], rtol=1e-6)


SUMS_OF_NOTHING = {
    "logsumexp": lambda x: nn.logsumexp(x, 0),
    "with factors": lambda x: sg.special.logsumexp(x, 0, np.array([2.0, 0.5])),
    "by hand": lambda x: sg.log(sg.exp(x).sum(0)),
    "logaddexp": lambda x: sg.logaddexp(x[0], x[1]),
}


@pytest.mark.parametrize("name", SUMS_OF_NOTHING)
def test_slopes_are_0_where_all_logarithms_are_of_0(name):
    """Reverse and forward, of second order, on the tape and under vmap: 0, and no NaN."""
    function, nothing = SUMS_OF_NOTHING[name], np.full(2, -np.inf)
    x = sg.input("x", (2,), "float64")
    y = function(x)
    slope = sg.grad(y, x)
    values = [y, slope, sg.grad((slope * [1.0, 3.0]).sum(), x)]
    for results in (
        sg.evaluate(values, {"x": nothing}),
        sg.compile(sg.Graph(dict(zip("abc", values, strict=True)))).run({"x": nothing}).values(),
    ):
        for actual, expected in zip(results, (-np.inf, [0.0, 0.0], [0.0, 0.0]), strict=True):
            np.testing.assert_array_equal(actual, expected)
    if name != "by hand":  # the tape differentiates what it is told
        tensor = Tensor(nothing, requires_grad=True, dtype="float64")
        function(tensor).backward()
        np.testing.assert_array_equal(tensor.grad, [0.0, 0.0])
    assert sg.jvp(function, nothing, np.ones(2))[1] == 0.0
    rows = np.array([[-np.inf, -np.inf], [1.0, -np.inf]])
    np.testing.assert_allclose(sg.vmap(sg.grad(function))(rows), [[0.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize("fold", ["logsumexp", "logaddexp"])
def test_forbidden_transitions_of_a_hidden_markov_model(fold):
    """Values and two orders of derivatives of the forward algorithm in logarithms."""
    allowed = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    first, seen = np.array([1.0, 0.0, 0.0]), [0, 0, 1, 1]

    def likelihood(logits):
        chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        a = first * chances[:, 0]
        for o in seen[1:]:
            a = (a @ allowed) * chances[:, o]
        return np.log(a.sum())

    def in_logarithms(logits):
        emitted = nn.log_softmax(logits, axis=-1)
        with np.errstate(divide="ignore"):
            steps, start = np.log(allowed), np.log(first)

        def step(a, o):
            terms = a[:, None] + steps
            if fold == "logsumexp":
                return nn.logsumexp(terms, 0) + emitted[:, o], None
            return sg.logaddexp(sg.logaddexp(terms[0], terms[1]), terms[2]) + emitted[:, o], None

        return nn.logsumexp(sg.scan(step, start + emitted[:, 0], np.array(seen[1:]))[0])

    at = np.log([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    moves = 1e-4 * np.eye(6).reshape(6, 3, 2)
    logits = sg.input("logits", (3, 2), "float64")
    y = in_logarithms(logits)
    slope = sg.grad(y, logits)
    actual = sg.evaluate([y, slope, sg.grad((slope * at).sum(), logits)], {"logits": at})
    assert actual[0] == pytest.approx(likelihood(at), rel=1e-12)
    slopes = [(likelihood(at + m) - likelihood(at - m)) / 2e-4 for m in moves]
    np.testing.assert_allclose(actual[1].ravel(), slopes, atol=1e-7)
    twice = [
        sum(
            v * (likelihood(at + m + n) - likelihood(at + m - n)
                 - likelihood(at - m + n) + likelihood(at - m - n)) / 4e-8
            for v, n in zip(at.ravel(), moves, strict=True)
        )
        for m in moves
    ]  # fmt: skip
    np.testing.assert_allclose(actual[2].ravel(), twice, atol=1e-6)


@diagonals(
    2, ("shape", [(2, 0), (2, "n"), ("m", 0)]), ("name", FAMILY), ("dtype", ["float32", "float64"])
)
def test_an_empty_axis_is_an_ordinary_one(name, shape, dtype):
    x = sg.input("x", shape, dtype)
    feeds = {"x": np.zeros((2, 0), dtype)}
    expected = np.full(2, -np.inf) if name == "logsumexp" else np.zeros((2, 0))
    y = getattr(nn, name)(x, 1)
    slope = grad((y * 2.0).sum(), x)
    actual = sg.compile(sg.Graph({"y": y, "slope": slope}, inputs=[x])).run(feeds)
    for array in (actual["y"], run(y, feeds), getattr(nn, name)(Tensor(feeds["x"]), 1).data):
        np.testing.assert_array_equal(array, expected)
    assert actual["slope"].shape == (2, 0)
    assert run(getattr(nn, name)(x, 0), feeds).shape == ((0,) if name == "logsumexp" else (2, 0))


def test_queries_without_keys_give_zeros_and_no_nan(rng):
    q, k, v = (sg.input(name, ("b", size, 3)) for name, size in zip("qkv", "tss", strict=True))
    feeds = {"q": np.ones((2, 4, 3)), "k": np.ones((2, 0, 3)), "v": np.ones((2, 0, 3))}
    np.testing.assert_array_equal(run(nn.attention(q, k, v), feeds), np.zeros((2, 4, 3)))
    q, k, v = (sg.input(n, (2, 3), "float64") for n in "qkv")
    mask = np.array([[True, False], [False, False]])
    out = nn.attention(q, k, v, mask)
    feeds = {n: rng.normal(size=(2, 3)) for n in "qkv"}
    np.testing.assert_allclose(run(out, feeds), [feeds["v"][0], np.zeros(3)])
    for gradient in grad(out.sum(), [q, k, v]):
        assert np.isfinite(run(gradient, feeds)).all()


def test_refusals():
    with assert_refused(AxisError, "softmax: no axis 1", line="nn.softmax"):
        nn.softmax(sg.input("x", (2,)), 1)
    with assert_refused(ArgumentError, "got 0", line="nn.local_response_norm"):
        nn.local_response_norm(sg.input("x", (2, 3)), 0)
    with assert_refused(RankError, "not [n, c, ...]", line="nn.local_response_norm"):
        nn.local_response_norm(sg.input("x", (2,)), 3)
    q = np.zeros((2, 3))
    assert_each_refused(
        (DTypeError, "mask is float64", lambda: nn.attention(q, q, q, np.zeros((2, 2)))),
        (RankError, "no two axes", lambda: nn.attention(np.zeros(3), q, q)),
        (ShapeError, "inner sizes differ, 3 != 4", lambda: nn.attention(q, np.zeros((2, 4)), q)),
    )
    logits = sg.input("z", ("n", 3))
    assert_each_refused(
        (DTypeError, "labels are integers", "float32", "z f32[n, 3]",
         lambda: nn.cross_entropy(logits, np.zeros(3, np.float32))),
        (RankError, "logits [n, 3] take one label per row, got [n, 1]",
         lambda: nn.cross_entropy(logits, sg.input("y", ("n", 1), "int64"))),
        (ShapeError, "got [4]", lambda: nn.cross_entropy(np.zeros((5, 3)), np.zeros(4, int))),
    )  # fmt: skip
    losses = nn.cross_entropy(logits, sg.input("y", ("m",), "int64"))
    with assert_refused(SizeGuardError, "n = 2", "m = 1"):
        run(losses, {"z": np.zeros((2, 3)), "y": [0]})


def test_layer_norm_of_named_sizes_in_float32():
    x = sg.input("x", ("batch", 4))
    plain = nn.layer_norm(x)
    assert plain.type == x.type
    actual = run(plain, {"x": np.array([[1.0, 1, 1, 1], [0, 0, 2, 2]])})
    np.testing.assert_allclose(actual, [[0] * 4, [-1, -1, 1, 1]], rtol=1e-4)
    with assert_refused(
        ShapeError, "the weight is [5], not one number for each of 4", line="nn.layer_norm"
    ):
        nn.layer_norm(x, np.ones(5))
    with assert_refused(ShapeError, "the bias is [1, 4]"):
        nn.layer_norm(x, None, np.ones((1, 4)))
    with assert_refused(RankError, "a 0-d value has no axes"):
        nn.layer_norm(2.0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_local_response_norm(rng, size):
    x = rng.normal(size=(2, 5, 3))
    expected = np.empty_like(x)
    for c in range(5):
        near = [k for k in range(c - size // 2, c - size // 2 + size) if 0 <= k < 5]
        mean = (x[:, near] ** 2).sum(1) / size
        expected[:, c] = x[:, c] / (2.0 + 0.5 * mean) ** 0.6
    v = sg.input("x", ("n", "c", 3), "float64")
    actual = run(nn.local_response_norm(v, size, 0.5, 0.6, 2.0), {"x": x})
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    check_gradients(lambda images: nn.local_response_norm(images, size, 0.5), [x])


def test_derivatives_of_layers(rng):
    x, gain, bias = rng.normal(size=(4, 6)), rng.normal(size=6), rng.normal(size=6)
    for function, *arrays in (
        (nn.rms_norm, x, gain),
        (lambda v, g, b: nn.batch_norm(v, weight=g, bias=b), x, gain, bias),
        (lambda v, g, b: nn.group_norm(v, 3, g, b), x, gain, bias),
        (
            lambda v, g, b: nn.instance_norm(v, weight=g, bias=b),
            *(rng.normal(size=(2, 6, 3)), gain, bias),
        ),
        (lambda *a: nn.attention(*a, causal=True), *rng.normal(size=(3, 2, 3, 4))),
    ):
        check_gradients(function, arrays)


def plain_attention(q, k, v, allowed=True, scale=None):
    scores = np.einsum("...td,...sd->...ts", q, k) * (scale or q.shape[-1] ** -0.5)
    weights = special.softmax(np.where(allowed, scores, -np.inf), -1)
    return np.einsum("...ts,...se->...te", weights, v)


def test_attention(rng):
    q, k, v = (
        rng.normal(size=(2, 3, 4, 8)),
        rng.normal(size=(2, 3, 6, 8)),
        rng.normal(size=(2, 3, 6, 5)),
    )
    np.testing.assert_allclose(run(nn.attention(q, k, v)), plain_attention(q, k, v), rtol=1e-10)
    scaled = nn.attention(q, k, v, scale=2.0)
    np.testing.assert_allclose(run(scaled), plain_attention(q, k, v, scale=2.0), rtol=1e-10)
    mask = rng.random((4, 6)) < 0.7
    mask[:, 0] = True
    np.testing.assert_allclose(
        run(nn.attention(q, k, v, mask)), plain_attention(q, k, v, mask), rtol=1e-10
    )
    causal = np.arange(6) <= np.arange(4)[:, None] + 2
    for shape in (None, "named"):
        sizes = ("b", "h", "t", "d"), ("b", "h", "s", "d"), ("b", "h", "s", "e")
        names = sizes if shape else (q.shape, k.shape, v.shape)
        inputs = [sg.input(n, s, "float64") for n, s in zip("qkv", names, strict=True)]
        actual = run(nn.attention(*inputs, causal=True), {"q": q, "k": k, "v": v})
        np.testing.assert_allclose(actual, plain_attention(q, k, v, causal), rtol=1e-10)


def test_embedding(rng):
    table = sg.parameter("table", rng.normal(size=(5, 3)))
    ids = sg.input("ids", ("n", 2), "int32")
    rows = nn.embedding(ids, table)
    feeds = {"ids": np.array([[4, 0], [4, 2]], np.int32)}
    np.testing.assert_array_equal(run(rows, feeds), table.value[feeds["ids"]])
    np.testing.assert_array_equal(run(grad(rows.sum(), table), feeds)[:, 0], [1, 0, 1, 0, 2])
    with assert_refused(IndexOutOfRange, "index 5", line="nn.embedding"):
        run(nn.embedding(ids, table), {"ids": np.array([[5, 0]], np.int32)})
    with assert_refused(RankError, "not a matrix", line="nn.embedding"):
        nn.embedding(ids, np.zeros(3))


@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.parametrize("shape", [(7, 4), (1, 1), (2, 3, 5), (4,)])
def test_cross_entropy_and_its_gradient(shape, scale, rng):
    logits = sg.input("logits", shape, "float64")
    labels = sg.input("labels", shape[:-1], "int32")
    feeds = {"logits": rng.normal(size=shape) * scale}
    feeds["labels"] = rng.integers(0, shape[-1], shape[:-1])
    loss = nn.cross_entropy(logits, labels, axis=-1)
    hot = np.eye(shape[-1])[feeds["labels"]]
    logs = special.log_softmax(feeds["logits"], -1)
    count = max(1, int(np.prod(shape[:-1])))
    np.testing.assert_allclose(run(loss, feeds), -(hot * logs).sum() / count, rtol=1e-12)
    expected = (special.softmax(feeds["logits"], -1) - hot) / count
    if scale == 1.0:
        check_gradients(lambda z: nn.cross_entropy(z, feeds["labels"], axis=-1), [feeds["logits"]])
    np.testing.assert_allclose(run(grad(loss, logits), feeds), expected, rtol=1e-9, atol=1e-12)


def test_small_losses_and_no_rows():
    logits = np.array([[1000.0, 990.0]], np.float32)  # float32 is 6e-5 apart there
    actual = run(nn.cross_entropy(logits, np.array([0])))
    assert actual.dtype == np.float32
    assert actual == pytest.approx(np.log1p(np.exp(-10.0)), rel=0, abs=1.2e-7)
    loss = nn.cross_entropy(sg.input("z", ("n", 3)), sg.input("y", ("n",), "int64"))
    assert np.isnan(run(loss, {"z": np.zeros((0, 3)), "y": np.zeros(0, int)}))


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
