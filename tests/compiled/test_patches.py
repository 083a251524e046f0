"""Convolutions over windows side by side, and their gradients, as products of matrices."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ops.convolution import Conv, ConvFilter, ConvImage
from staticgrad.preparation.windows import with_patches
from tests.diagonals import diagonals

RNG = np.random.default_rng(5)
#: Batch, channels in and out, image, taps: rows of whole patches, columns of many small ones, what
#: is left over at the ends of images, and taps along some axes alone.
GEOMETRIES = [
    (2, 3, 40, (16, 32), (16, 16)),
    (3, 2, 17, (50, 49), (4, 4)),
    (2, 5, 33, (7, 9), (2, 3)),
    (4, 2, 3, (37,), (9,)),
    (1, 4, 8, (5, 6, 8), (1, 2, 8)),
    (2, 1, 1, (2, 8), (2, 1)),
]


def of_patches(geometry, names, dtype="float32", transposed=False):
    """A convolution and both its gradients, with some sizes named, and operands of it."""
    batch, c, o, image, taps = geometry
    convolution = sg.nn.conv_transpose if transposed else sg.nn.conv
    x, w, b = (
        RNG.normal(size=(batch, c, *image)),
        RNG.normal(size=(o, c, *taps)),
        RNG.normal(size=o),
    )
    w = w.swapaxes(0, 1) if transposed else w
    arrays = {"x": x.astype(dtype), "w": w.astype(dtype), "b": b.astype(dtype)}
    shapes = {name: array.shape for name, array in arrays.items()}
    shapes["x"] = tuple(
        size if name == "" else name for size, name in zip(x.shape, names, strict=True)
    )
    xs, ws, bs = (sg.input(name, shape, dtype) for name, shape in shapes.items())
    y = sg.tanh(convolution(xs, ws, bs, stride=taps))
    dx, dw = sg.grad((y * y).sum(), [xs, ws])
    return sg.Graph({"y": y, "dx": dx, "dw": dw}), arrays


def check(graph, feeds):
    wanted = sg.evaluate(graph, feeds)
    found = sg.compile(graph).run(feeds)
    near = 1e-4 if feeds["x"].dtype == np.float32 else 1e-11
    for name, true in wanted.items():
        np.testing.assert_allclose(found[name], true, rtol=near, atol=near)
    for way in ({"threads": 2}, {"fuse": False}):
        other = sg.compile(graph, **way).run(feeds)
        assert all(same_bytes(other[name], found[name]) for name in wanted)


@pytest.mark.slow
@diagonals(2, ("geometry", GEOMETRIES), ("dtype", ["float32", "float64"]))
def test_known_and_named_sizes(geometry, dtype):
    rank = len(geometry[3])
    for names in (("",) * (rank + 2), ("n", "", *("",) * (rank - 1), "wide")):
        check(*of_patches(geometry, names, dtype))


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_windows_side_by_side(data):
    """Also none at all of a batch, and the transposed convolution."""
    taps = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=2))
    image = [taps_ * data.draw(st.integers(1, 5)) + data.draw(st.integers(0, 2)) for taps_ in taps]
    batch, c, o = (data.draw(st.integers(low, 4)) for low in (0, 1, 1))
    names = ("n", "", *(data.draw(st.sampled_from(("", f"m{k}"))) for k in range(len(taps))))
    geometry = (batch, c, o, tuple(image), tuple(taps))
    check(*of_patches(geometry, names, transposed=data.draw(st.booleans())))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_bytes_are_those_of_the_product(geometry):
    """Patches put into rows by hand, without what is left over, and multiplied."""
    batch, c, o, image, taps = geometry
    _, feeds = of_patches(geometry, ("",) * (len(image) + 2))
    windows = [extent // size for extent, size in zip(image, taps, strict=True)]
    whole = [count * size for count, size in zip(windows, taps, strict=True)]
    part = feeds["x"][(..., *map(slice, whole))]
    split = [size for pair in zip(windows, taps, strict=True) for size in pair]
    across = range(2, 2 + len(split), 2)
    apart = part.reshape(batch, c, *split)
    apart = apart.transpose(0, *across, 1, *(axis + 1 for axis in across))
    rows = apart.reshape(-1, c * int(np.prod(taps)))
    a, b = sg.input("a", rows.shape, "float32"), sg.input("b", (rows.shape[1], o), "float32")
    product = sg.compile(sg.Graph({"ab": a @ b}))
    ab = product.run({"a": rows, "b": np.ascontiguousarray(feeds["w"].reshape(o, -1).T)})["ab"]
    x, w = (sg.input(name, feeds[name].shape, "float32") for name in "xw")
    convolved = sg.compile(sg.Graph({"y": sg.nn.conv(x, w, stride=taps)}))
    y = convolved.run({name: feeds[name] for name in "xw"})["y"]
    assert same_bytes(np.moveaxis(y, 1, -1).reshape(-1, o), np.array(ab))


@pytest.mark.parametrize(
    ("options", "taps", "left"),
    [
        ({"stride": 8}, (8, 8), set()),
        ({"stride": 2}, (2, 2), {ConvFilter}),
        ({"stride": 8, "padding": 1}, (8, 8), {Conv, ConvImage, ConvFilter}),
        ({"stride": 8, "padding": [(0, 7), (0, 0)]}, (8, 8), {Conv, ConvImage, ConvFilter}),
        ({"stride": 7}, (8, 8), {Conv, ConvImage, ConvFilter}),
        ({"stride": 8, "groups": 2}, (8, 8), {Conv, ConvImage, ConvFilter}),
        ({}, (1, 1), {Conv, ConvImage, ConvFilter}),
    ],
)
def test_which_convolutions_become_products(options, taps, left):
    """Overlapping windows, borders, groups and single elements stay; short rows of filters, too."""
    x = sg.input("x", ("n", 4, 33, 32), "float32")
    w = sg.input("w", (6, 4 // options.get("groups", 1), *taps), "float32")
    y = sg.nn.conv(x, w, **options)
    dx, dw = sg.grad((y * y).sum(), [x, w])
    graph = with_patches(pipeline("O1")(sg.Graph({"y": y, "dx": dx, "dw": dw})))
    kinds = {type(node.op) for node in graph.nodes}
    assert kinds & {Conv, ConvImage, ConvFilter} == left
