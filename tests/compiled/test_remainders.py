"""Strided convolutions, and gradients of their images, with remainders of strides as channels."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ops.convolution import Conv, ConvImage
from staticgrad.preparation.loops import with_remainders
from tests.diagonals import diagonals

RNG = np.random.default_rng(9)


def strided(shape, filters, options, named, dtype):
    """A convolution with a bias behind it, and its gradients, for a batch that may be named."""
    x, w = RNG.normal(size=shape).astype(dtype), RNG.normal(size=filters).astype(dtype)
    xs = sg.input("x", ("n", *shape[1:]) if named else shape, dtype)
    ws, bs = sg.input("w", w.shape, dtype), sg.input("b", (w.shape[0],), dtype)
    y = sg.tanh(sg.nn.conv(xs, ws, bs, **options))
    dx, dw = sg.grad((y * y).sum(), [xs, ws])
    return sg.Graph({"y": y, "dx": dx, "dw": dw}), {
        "x": x,
        "w": w,
        "b": w[:, 0].sum((*range(1, w.ndim - 1),)),
    }


def check(graph, feeds):
    found = sg.compile(graph).run(feeds)
    near = 1e-4 if feeds["x"].dtype == np.float32 else 1e-11
    for name, true in sg.evaluate(graph, feeds).items():
        np.testing.assert_allclose(found[name], true, rtol=near, atol=near * (1 + abs(true).max()))
    for way in ({"threads": 2}, {"fuse": False}):
        other = sg.compile(graph, **way).run(feeds)
        assert all(same_bytes(other[name], array) for name, array in found.items())


def left(graph):
    """Which convolutions over windows apart are left of a graph."""
    nodes = with_remainders(pipeline("O1")(graph)).nodes
    strided_ones = [
        n for n in nodes if isinstance(n.op, Conv | ConvImage) and max(n.op.strides) > 1
    ]
    return {node.op.name for node in strided_ones}


@pytest.mark.slow
@diagonals(
    2,
    ("dtype", ["float32", "float64"]),
    (
        "shape,filters,options",
        [
            ((3, 3, 27, 30), (16, 3, 11, 11), {"stride": 4, "padding": 2}),  # in tiles behind it
            ((2, 4, 20, 21), (7, 4, 8, 8), {"stride": 4}),
            ((2, 2, 9, 14), (3, 2, 4, 2), {"stride": (2, 1), "padding": ((0, 3), (1, 0))}),
            ((2, 3, 50), (5, 3, 24), {"stride": 12, "padding": 30}),
            ((1, 2, 9, 8, 9), (4, 2, 6, 6, 6), {"stride": 3, "padding": 1}),
        ],
    ),
)
def test_remainders_as_channels(shape, filters, options, dtype):
    for named in (False, True):
        graph, feeds = strided(shape, filters, options, named, dtype)
        assert left(graph) <= {"conv_image"}
        check(graph, feeds)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.data())
def test_any_geometry(data):
    """Also images of which some elements lie in no window, and of less than a window and border."""
    number = data.draw
    steps = [number(st.integers(2, 5)) for _ in range(number(st.integers(1, 2)))]
    taps = [step * number(st.integers(2, 3)) - number(st.integers(0, 1)) for step in steps]
    borders = [(number(st.integers(0, 4)), number(st.integers(0, 4))) for _ in steps]
    found = zip(taps, borders, strict=True)
    image = [max(k - a - b, 1) + number(st.integers(0, 9)) for k, (a, b) in found]
    batch, c, o = (number(st.integers(1, 3)) for _ in range(3))
    options = {"stride": tuple(steps), "padding": tuple(borders)}
    check(*strided((batch, c, *image), (o, c, *taps), options, number(st.booleans()), "float32"))


@pytest.mark.parametrize(
    ("taps", "options", "kept"),
    [
        (8, {"stride": 4}, set()),
        (4, {"stride": 2, "padding": 1}, {"conv_image"}),
        (3, {"stride": 2, "padding": 1}, {"conv", "conv_image"}),
        (8, {"stride": 4, "groups": 2}, {"conv", "conv_image"}),
        (4, {"stride": 2, "dilation": 2}, {"conv", "conv_image"}),
        (1, {"stride": 2}, {"conv", "conv_image"}),
    ],
)
def test_which_convolutions_are_told_apart(taps, options, kept):
    """Neither those of much longer filters by it, nor of groups or gaps."""
    filters = (6, 4 // options.get("groups", 1), taps, taps)
    graph, _ = strided((2, 4, 33, 32), filters, options, True, "float32")
    assert left(graph) == kept
