"""Convolutions whose columns are windows alone, beside sums that are exact."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.ir.forms import WindowProduct
from staticgrad.lowering.windows.columns import WindowColumns, WindowPhaseColumns, by_columns
from staticgrad.lowering.windows.filter_columns import WindowFilterColumns, channels_by_columns

RNG = np.random.default_rng(11)

GEOMETRIES = [
    # image [n, c, ...], filter [o, c, ...], options; several images stand side by side in some
    ((9, 5, 4, 4), (160, 5, 3, 3), {"padding": 1}),
    ((1, 6, 4, 4), (128, 6, 3, 3), {"padding": 1}),
    ((17, 8, 5, 3), (150, 8, 3, 3), {"padding": 2, "dilation": 2}),
    ((8, 7, 6, 6), (64, 7, 2, 3), {"stride": 2, "padding": 1}),
    ((16, 200, 4, 5), (96, 200, 3, 3), {"stride": 2, "padding": 1}),
    ((5, 8, 9, 8), (256, 4, 3, 1), {"stride": (1, 2), "groups": 2}),
    ((6, 4, 3, 4, 4), (160, 4, 2, 3, 3), {"padding": 1}),
    ((8, 5, 3, 5, 4), (65, 5, 3, 2, 3), {"padding": 1, "stride": (1, 2, 1)}),
    ((0, 4, 4, 4), (128, 4, 3, 3), {"padding": 1}),
    ((7, 48, 3, 5), (268, 48, 3, 3), {"padding": (1, 0)}),  # its filters by columns, too
    ((5, 64, 7, 7), (133, 64, 3, 2), {"stride": 2, "padding": 1}),
    ((3, 8, 5, 5), (74, 8, 3, 3), {"stride": 2, "padding": 1}),  # a vector that is not a panel
    ((9, 32, 1, 2), (64, 32, 5, 5), {"stride": 2, "padding": 2}),  # one window
]


def lowered_by(graph):
    """Which classes lower its convolutions."""
    nodes = [node for node in graph.nodes if isinstance(node.form, WindowProduct)]
    found = {by_columns(node) for node in nodes} - {None}
    return found | {WindowFilterColumns for node in nodes if channels_by_columns(node)}


@pytest.mark.thinned
@pytest.mark.parametrize(
    ("geometry", "dtype"),
    [
        *((each, "float32") for each in GEOMETRIES),
        *((each, "float64") for each in GEOMETRIES[::4]),
    ],
    ids=str,
)
def test_sums_of_integers_are_exact(geometry, dtype):
    """The result and both gradients, with a batch that is known or named, on one and two threads;
    the evaluator adds the terms of each tap in float64."""
    shape, taps, options = geometry
    x, w = (RNG.integers(-4, 5, size).astype(dtype) for size in (shape, taps))
    a, b = sg.input("x", shape, dtype), sg.input("w", taps, dtype)
    y = sg.nn.conv(a, b, **options)
    d = RNG.integers(-4, 5, y.shape).astype(dtype)
    for batch, threads in ((shape[0], 1), ("n", 2)):
        if batch == "n" and shape[0] == 0:
            continue
        a, b = sg.input("x", (batch, *shape[1:]), dtype), sg.input("w", taps, dtype)
        seed = sg.input("d", (batch, *d.shape[1:]), dtype)
        y = sg.nn.conv(a, b, **options)
        image, filters = sg.grad((y * seed).sum(), [a, b])
        graph = sg.Graph({"y": sg.maximum(y, 0), "image": image, "filters": filters})
        assert lowered_by(graph)
        feeds = {"x": x, "w": w, "d": d}
        wanted = sg.evaluate(graph, {name: value.astype("f8") for name, value in feeds.items()})
        found = sg.compile(graph, threads=threads).run(feeds)
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name].astype("f8"), value.astype("f8"))


def test_strides_have_copies_of_their_own():
    a, b = sg.input("x", (16, 256, 8, 8), "float32"), sg.input("w", (256, 256, 3, 3), "float32")
    y = sg.nn.conv(a, b, stride=2, padding=1)
    graph = sg.Graph({"y": y, "image": sg.grad((y * y).sum(), a)})
    assert lowered_by(graph) == {WindowColumns, WindowPhaseColumns}


def test_filters_of_small_images_are_products_of_copies():
    """Where rows of windows are short, and the batch is not so long that few channels are near."""

    def part(size, batch, stride=1):
        a = sg.input("x", (batch, 64, size, size), "float32")
        b = sg.input("w", (256, 64, 3, 3), "float32")
        filters = sg.grad(sg.nn.conv(a, b, stride=stride, padding=1).sum(), b)
        return max(
            channels_by_columns(node)
            for node in sg.Graph({"f": filters}).nodes
            if isinstance(node.form, WindowProduct)
        )

    assert [part(4, 16), part(8, 16, stride=2), part(8, 16), part(4, 4096)] == [16, 16, 0, 0]


@pytest.mark.parametrize(
    ("channels", "size"),
    [
        (16, 8),  # few rows do not make up for copies
        (64, 62),  # 62 of 64 columns count in a strip as well
    ],
)
def test_others_are_copied_once(channels, size):
    a = sg.input("x", (4, channels, size, size), "float32")
    b = sg.input("w", (channels, channels, 3, 3), "float32")
    assert not lowered_by(sg.Graph({"y": sg.nn.conv(a, b, padding=1)}))
