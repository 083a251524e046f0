"""Normalisation, attention, embedding, ELU and related functions against float64 formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import staticgrad as sg
from staticgrad import nn
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    IndexOutOfRange,
    RankError,
    ShapeError,
)
from tests.ops.graphs import run
from tests.ops.messages import assert_refused

POINTS = np.array([-1e3, -3.0, -0.5, 0.0, 0.25, 2.0, 1e3])


def derivatives(function, points):
    x = sg.input("x", points.shape, "float64")
    out = function(x)
    slope = grad(out.sum(), x)
    curve = grad(slope.sum(), x, allow_disconnected=True)
    return [run(value, {"x": points}) for value in (out, slope, curve)]


def test_elu_and_leaky_relu():
    out, slope, curve = derivatives(lambda x: nn.elu(x, 0.5), POINTS)
    positive = POINTS > 0
    np.testing.assert_allclose(
        out, np.where(positive, POINTS, 0.5 * np.expm1(np.minimum(POINTS, 0)))
    )
    falling = 0.5 * np.exp(np.minimum(POINTS, 0))
    np.testing.assert_allclose(slope, np.where(positive, 1.0, falling), rtol=1e-12)
    np.testing.assert_allclose(curve, np.where(positive, 0.0, falling), rtol=1e-12)
    out, slope, _ = derivatives(lambda x: nn.leaky_relu(x, 0.1), POINTS)
    np.testing.assert_allclose(out, np.where(positive, POINTS, 0.1 * POINTS))
    np.testing.assert_allclose(slope, np.where(positive, 1.0, 0.1))
    assert nn.elu(np.zeros(2, np.float32)).dtype == "float32"


def test_huber():
    target = np.zeros(POINTS.size)
    out, slope, curve = derivatives(lambda x: nn.huber(x, target, 0.5), POINTS)
    assert out == pytest.approx(special.huber(0.5, POINTS).mean(), rel=1e-12)
    np.testing.assert_allclose(slope, np.clip(POINTS, -0.5, 0.5) / POINTS.size, rtol=1e-12)
    np.testing.assert_allclose(curve, (np.abs(POINTS) <= 0.5) / POINTS.size)
    with assert_refused(ShapeError, "do not broadcast", line="nn.huber"):
        nn.huber(POINTS, np.zeros(2))


# -- normalisation --------------------------------------------------------------------------------


def test_rms_norm(rng):
    x, gain = rng.normal(size=(3, 5)), rng.normal(size=5)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(run(nn.rms_norm(x)), expected, rtol=1e-12)
    np.testing.assert_allclose(run(nn.rms_norm(x, gain)), expected * gain, rtol=1e-12)
    with assert_refused(ShapeError, "[4] is not one number for each of 5 channels", line="nn.rms"):
        nn.rms_norm(x, np.ones(4))
    with assert_refused(RankError, "no axes", line="nn.rms_norm"):
        nn.rms_norm(1.0)


@pytest.mark.parametrize("axis", [1, -1, 0])
def test_batch_norm(axis, rng):
    x = rng.normal(size=(4, 3, 5)) * 2 + 1
    place = axis % 3
    others = tuple(k for k in range(3) if k != place)
    mean, variance = x.mean(others), x.var(others)
    gain, bias = rng.normal(size=(2, x.shape[place]))
    wide = [1, 1, 1]
    wide[place] = -1
    expected = (x - mean.reshape(wide)) / np.sqrt(variance.reshape(wide) + 1e-3)
    expected = expected * gain.reshape(wide) + bias.reshape(wide)
    found = run(nn.batch_norm(x, gain, bias, axis=axis, eps=1e-3))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    in_use = nn.batch_norm(x, gain, bias, statistics=(mean, variance), axis=axis, eps=1e-3)
    np.testing.assert_allclose(run(in_use), expected, rtol=1e-10, atol=1e-12)
    for found, array in zip(nn.batch_statistics(x, axis), (mean, variance), strict=True):
        np.testing.assert_allclose(run(found), array, rtol=1e-10)


def test_group_norm(rng):
    x = rng.normal(size=(2, 6, 4, 3))
    gain, bias = rng.normal(size=(2, 6))
    parts = x.reshape(2, 3, 2, 4, 3)
    away = parts - parts.mean((2, 3, 4), keepdims=True)
    expected = (away / np.sqrt(parts.var((2, 3, 4), keepdims=True) + 1e-5)).reshape(x.shape)
    expected = expected * gain[:, None, None] + bias[:, None, None]
    v = sg.input("x", ("n", 6, "h", 3), "float64")
    np.testing.assert_allclose(
        run(nn.group_norm(v, 3, gain, bias), {"x": x}), expected, rtol=1e-10, atol=1e-12
    )
    with assert_refused(ShapeError, "6 channels are not 4 equal groups", line="nn.group_norm"):
        nn.group_norm(v, 4)
    with assert_refused(ArgumentError, "0 groups", line="nn.group_norm"):
        nn.group_norm(v, 0)
    with assert_refused(AxisError, "no axis 7", line="nn.group_norm"):
        nn.group_norm(v, 3, axis=7)


def test_instance_norm(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    gain, bias = rng.normal(size=(2, 3))
    expected = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-3)
    expected = expected * gain[:, None, None] + bias[:, None, None]
    v = sg.input("x", ("n", 3, "h", 5), "float64")
    found = run(nn.instance_norm(v, gain, bias, eps=1e-3), {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    narrow = run(nn.instance_norm(x.astype("float32"), eps=1e-3))
    assert narrow.dtype == np.float32
    plain = (expected - bias[:, None, None]) / gain[:, None, None]
    np.testing.assert_allclose(narrow, plain, rtol=1e-4, atol=1e-5)
    assert run(nn.instance_norm(np.zeros((2, 0, 4)))).shape == (2, 0, 4)
    with assert_refused(RankError, "not [n, c, ...]", line="nn.instance_norm"):
        nn.instance_norm(sg.input("x", (2, 3)))
    with assert_refused(ArgumentError, "not known at build", line="nn.instance_norm"):
        nn.instance_norm(sg.input("x", ("n", "c", 4)))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_local_response_norm(rng, size):
    x = rng.normal(size=(2, 5, 3))
    expected = np.empty_like(x)
    for c in range(5):
        near = [k for k in range(c - size // 2, c - size // 2 + size) if 0 <= k < 5]
        mean = (x[:, near] ** 2).sum(1) / size
        expected[:, c] = x[:, c] / (2.0 + 0.5 * mean) ** 0.6
    v = sg.input("x", ("n", "c", 3), "float64")
    found = run(nn.local_response_norm(v, size, 0.5, 0.6, 2.0), {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    check_gradient(lambda each: nn.local_response_norm(each, size, 0.5), {"x": x}, rng)


def test_neighbours_that_are_none_are_refused():
    with assert_refused(ArgumentError, "size is 0", line="nn.local_response_norm"):
        nn.local_response_norm(sg.input("x", (2, 3)), 0)
    with assert_refused(RankError, "not [n, c, ...]", line="nn.local_response_norm"):
        nn.local_response_norm(sg.input("x", (2,)), 3)


def check_gradient(function, feeds, rng, second=True):
    """Along a random direction of all feeds, against central differences; twice."""
    t = sg.input("t", (), "float64")
    directions = {name: rng.normal(size=a.shape) for name, a in feeds.items()}
    moved = [sg.input(n, a.shape, "float64") + t * directions[n] for n, a in feeds.items()]
    out = function(*moved)
    total = (out * rng.normal(size=out.shape)).sum()
    first = grad(total, t)
    step = 1e-4
    for value, slope in ((total, first), (first, grad(first, t)))[: 1 + second]:
        near, far = (run(value, {**feeds, "t": s}) for s in (step, -step))
        assert run(slope, {**feeds, "t": 0.0}) == pytest.approx(
            (near - far) / (2 * step), rel=1e-5, abs=1e-6
        )


def test_derivatives_of_layers(rng):
    x, gain, bias = rng.normal(size=(4, 6)), rng.normal(size=6), rng.normal(size=6)
    check_gradient(nn.rms_norm, {"x": x, "g": gain}, rng)
    check_gradient(nn.batch_norm, {"x": x, "g": gain, "b": bias}, rng)
    check_gradient(lambda v, g, b: nn.group_norm(v, 3, g, b), {"x": x, "g": gain, "b": bias}, rng)
    places = {"x": rng.normal(size=(2, 6, 3)), "g": gain, "b": bias}
    check_gradient(nn.instance_norm, places, rng)
    q, k, v = rng.normal(size=(3, 2, 3, 4))
    check_gradient(lambda *a: nn.attention(*a, causal=True), {"q": q, "k": k, "v": v}, rng)


# -- attention ------------------------------------------------------------------------------------


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
        found = run(nn.attention(*inputs, causal=True), {"q": q, "k": k, "v": v})
        np.testing.assert_allclose(found, plain_attention(q, k, v, causal), rtol=1e-10)


def test_a_query_that_may_look_nowhere_gives_zeros_and_no_nan(rng):
    q, k, v = (sg.input(n, (2, 3), "float64") for n in "qkv")
    mask = np.array([[True, False], [False, False]])
    out = nn.attention(q, k, v, mask)
    feeds = {n: rng.normal(size=(2, 3)) for n in "qkv"}
    np.testing.assert_allclose(run(out, feeds), [feeds["v"][0], np.zeros(3)])
    for gradient in grad(out.sum(), [q, k, v]):
        assert np.isfinite(run(gradient, feeds)).all()


def test_refusals_of_attention():
    q = np.zeros((2, 3))
    with assert_refused(DTypeError, "mask is float64", line="nn.attention"):
        nn.attention(q, q, q, np.zeros((2, 2)))
    with assert_refused(RankError, "no two axes", line="nn.attention"):
        nn.attention(np.zeros(3), q, q)
    with assert_refused(ShapeError, "inner sizes differ, 3 != 4", line="nn.attention"):
        nn.attention(q, np.zeros((2, 4)), q)


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bags_of_rows_and_bilinear_forms(rng, dtype):
    table, w, bias = (rng.normal(size=shape).astype(dtype) for shape in ((5, 3), (2, 3, 4), (2,)))
    ids, x = sg.input("ids", ("n", 2), "int32"), sg.input("x", ("n", 3), dtype)
    y = sg.input("y", ("n", 4), dtype)
    found = {
        **{mode: nn.embedding_bag(ids, table, mode=mode) for mode in ("mean", "sum", "max")},
        "weighted": nn.embedding_bag(ids, table, x[:, :2], mode="sum"),
        "bilinear": nn.bilinear(x, y, w, bias),
    }
    f = sg.compile(found)
    for n in (3, 1, 0):
        feeds = {"ids": rng.integers(0, 5, (n, 2)), "x": rng.normal(size=(n, 3)).astype(dtype),
                 "y": rng.normal(size=(n, 4)).astype(dtype)}  # fmt: skip
        rows, out = table[feeds["ids"]].astype("float64"), f.run(feeds)
        wanted = {
            **{mode: getattr(rows, mode)(1) for mode in ("mean", "sum", "max")},
            "weighted": (rows * feeds["x"][:, :2, None]).sum(1),
            "bilinear": np.einsum("ni,oij,nj->no", feeds["x"], w.astype("f8"), feeds["y"]) + bias,
        }
        for name, expected in wanted.items():
            assert out[name].dtype == dtype
            np.testing.assert_allclose(out[name], expected, 1e-5, 1e-5)
    with assert_refused(RankError, "not [k, m, n]", line="nn.bilinear"):
        nn.bilinear(x, y, w[0])
    with assert_refused(ArgumentError, 'mode is "mean"', line="nn.embedding_bag"):
        nn.embedding_bag(ids, table, mode="median")


def test_compiled_layers_agree_with_the_oracle(rng):
    x = sg.input("x", ("n", 6))
    gain = np.ones(6, np.float32)
    outputs = {
        "rms": nn.rms_norm(x, gain), "batch": nn.batch_norm(x, gain), "elu": nn.elu(x),
        "group": nn.group_norm(x, 2), "attention": nn.attention(x, x, x, causal=True),
    }  # fmt: skip
    outputs |= {f"d_{k}": grad((v * v).sum(), x) for k, v in list(outputs.items())}
    feeds = {"x": rng.normal(size=(9, 6)).astype(np.float32)}
    found, wide = sg.compile(outputs).run(feeds), sg.evaluate(outputs, feeds, dtype="float64")
    for name, array in wide.items():
        np.testing.assert_allclose(found[name], array, rtol=2e-4, atol=2e-5, err_msg=name)
