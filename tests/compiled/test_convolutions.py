"""Convolutions and their gradients in every form that they are lowered to, and pools behind them.

Sums of products of whole numbers are exact in any order: results are those of the evaluator to the
bit, whether windows are columns, patches, remainders of strides or rows of an image. Tiles, whose
products are of sums, are near float64. All forms give the same bytes for a batch and an image that
are known or named, on one and two threads, fused or not.
"""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.late.windows import cut_border_taps, use_patch_matrices, use_stride_remainders
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.ir.forms import WindowReduce
from staticgrad.language.ir.kernels.stages import Gemm
from staticgrad.language.ops.convolution import Conv, ConvFilter, ConvImage
from tests.compiled.agreement import assert_same
from tests.compiled.ways import check, drawn, schedule_of
from tests.helpers.diagonals import diagonals

CONVOLUTIONS = (Conv, ConvImage, ConvFilter)

#: Shape of the image, of the filters, and options.
GEOMETRIES = {
    # windows side by side: products of matrices
    "patches": ((2, 3, 16, 32), (40, 3, 16, 16), {"stride": 16}),
    "patches and a rest": ((3, 2, 50, 49), (17, 2, 4, 4), {"stride": 4}),
    "patches of two lengths": ((2, 5, 7, 9), (33, 5, 2, 3), {"stride": (2, 3)}),
    "patches of one axis": ((4, 2, 37), (3, 2, 9), {"stride": 9}),
    "patches of three axes": ((1, 4, 5, 6, 8), (8, 4, 1, 2, 8), {"stride": (1, 2, 8)}),
    "patches of one column": ((2, 1, 2, 8), (1, 1, 2, 1), {"stride": (2, 1)}),
    # remainders of strides as channels
    "remainders in tiles": ((3, 3, 27, 30), (16, 3, 11, 11), {"stride": 4, "padding": 2}),
    "remainders": ((2, 4, 20, 21), (7, 4, 8, 8), {"stride": 4}),
    "remainders of one axis of two": (
        (2, 2, 9, 14), (3, 2, 4, 2), {"stride": (2, 1), "padding": ((0, 3), (1, 0))},
    ),
    "remainders of a wide border": ((2, 3, 50), (5, 3, 24), {"stride": 12, "padding": 30}),
    "remainders of a cube": ((1, 2, 9, 8, 9), (4, 2, 6, 6, 6), {"stride": 3, "padding": 1}),
    # filters as sums of parts of the batch
    "one channel": ((13, 1, 12, 11), (16, 1, 3, 3), {"padding": 1}),
    "few channels": ((8, 3, 15, 9), (70, 3, 5, 2), {"stride": (2, 1)}),
    "groups and gaps": ((13, 4, 90), (6, 2, 7), {"padding": ((3, 0),), "dilation": 2, "groups": 2}),
    "a cube": ((8, 2, 5, 6, 4), (3, 2, 2, 3, 1), {"padding": 1}),
    "parts of few": ((3, 40, 6, 5), (8, 40, 3, 3), {}),
    "parts of small images": ((13, 32, 6, 5), (30, 32, 3, 3), {"padding": 1}),
    "channels of small images": ((9, 33, 5, 5), (62, 33, 3, 3), {"stride": 2, "padding": 1}),
    "single elements": ((13, 5, 6, 7), (40, 5, 1, 1), {}),
    "many channels of elements": ((8, 400, 50), (33, 400, 1), {}),
    "elements of a cube": ((3, 6, 2, 3, 4), (150, 6, 1, 1, 1), {}),
    # columns that are windows alone
    "columns": ((9, 5, 4, 4), (160, 5, 3, 3), {"padding": 1}),
    "columns of one image": ((1, 6, 4, 4), (128, 6, 3, 3), {"padding": 1}),
    "columns of gaps": ((17, 8, 5, 3), (150, 8, 3, 3), {"padding": 2, "dilation": 2}),
    "columns of strides": ((8, 7, 6, 6), (64, 7, 2, 3), {"stride": 2, "padding": 1}),
    "columns of many channels": ((16, 200, 4, 5), (96, 200, 3, 3), {"stride": 2, "padding": 1}),
    "columns of groups": ((5, 8, 9, 8), (256, 4, 3, 1), {"stride": (1, 2), "groups": 2}),
    "columns of a cube": ((6, 4, 3, 4, 4), (160, 4, 2, 3, 3), {"padding": 1}),
    "columns of a cube in strides": (
        (8, 5, 3, 5, 4), (65, 5, 3, 2, 3), {"padding": 1, "stride": (1, 2, 1)},
    ),
    "columns of filters": ((7, 48, 3, 5), (268, 48, 3, 3), {"padding": (1, 0)}),
    "columns of filters in strides": ((5, 64, 7, 7), (133, 64, 3, 2), {"stride": 2, "padding": 1}),
    "a vector that is not a panel": ((3, 8, 5, 5), (74, 8, 3, 3), {"stride": 2, "padding": 1}),
    "one window": ((9, 32, 1, 2), (64, 32, 5, 5), {"stride": 2, "padding": 2}),
    # few windows: products of the filter and a matrix of all windows
    "few windows": ((6, 12, 3, 3), (130, 12, 3, 3), {"padding": 1}),
    "few windows as rows": ((1, 20, 2, 2), (40, 20, 3, 3), {"padding": 1}),
    "few windows in strides": ((3, 33, 5, 4), (70, 33, 3, 2), {"stride": 2, "padding": 1}),
    "few windows of an axis": ((7, 30, 5), (66, 30, 3), {"padding": ((2, 0),)}),
    "few windows of a cube": ((2, 5, 2, 3, 2), (80, 5, 2, 3, 3), {"padding": 1}),
    "few windows with gaps between": ((3, 24, 5, 4), (50, 24, 2, 1), {"stride": 3}),
    "few elements": ((5, 48, 3, 1), (64, 48, 1, 1), {}),
    "few elements as rows": ((2, 48, 1, 2), (64, 48, 1, 1), {}),
    "few elements in strides": ((5, 48, 5, 4), (64, 48, 1, 1), {"stride": (2, 3)}),
    # more windows than channels, of which there are many
    "many windows of an axis": ((3, 110, 225), (320, 110, 3), {"stride": 2, "padding": ((2, 0),)}),
    "many windows of two taps": ((2, 160, 170), (330, 160, 2), {"padding": 1}),
    "many elements in strides": ((7, 310, 13, 15), (320, 310, 1, 1), {"stride": 2}),
    "many windows in strides": ((9, 48, 13, 11), (310, 48, 4, 2), {"stride": (2, 1), "padding": 1}),
    "few windows instead of tiles": ((1, 66, 8, 8), (70, 66, 3, 3), {"padding": 1}),
    "two blocks of terms": ((1, 600, 2, 2), (20, 600, 3, 3), {"padding": 1}),
    # taps that are in the border for all windows
    "taps in the border": ((9, 4, 1, 2), (6, 4, 5, 3), {"padding": (2, 1)}),
    "taps in the border of groups": ((3, 4, 1, 1), (6, 2, 3, 3), {"padding": 1, "groups": 2}),
    "taps in the border of gaps": ((3, 4, 2, 1), (5, 4, 3, 4), {"padding": 5, "dilation": 3}),
    "taps in the border of strides": ((3, 4, 3, 2), (5, 4, 5, 5), {"stride": 3, "padding": (4, 2)}),
    # each channel apart
    **{
        f"a channel of {rows} rows": ((1, 1, rows, 6), (1, 1, 3, 3), {"padding": 1})
        for rows in (1, 2, 5, 8, 15)
    },
    "strided channels apart": (
        (2, 3, 17, 16), (3, 1, 3, 3), {"stride": 2, "padding": 1, "groups": 3},
    ),
    "channels apart with gaps": (
        (2, 4, 15, 14), (4, 1, 3, 2),
        {"stride": (2, 1), "dilation": (1, 2), "padding": (1, 2), "groups": 4},
    ),
    "channels apart of one axis": (
        (3, 5, 40), (5, 1, 7), {"stride": 3, "padding": ((3, 2),), "groups": 5},
    ),
    "channels apart of a cube": (
        (1, 2, 5, 6, 7), (2, 1, 2, 3, 2), {"stride": 2, "padding": 1, "groups": 2},
    ),
    "channels apart in a wide border": (
        (2, 3, 7, 9), (3, 1, 3, 2), {"stride": 2, "padding": 4, "groups": 3},
    ),
    "channels apart": ((2, 3, 16, 16), (3, 1, 3, 3), {"padding": 1, "groups": 3}),
    # one image, cut further than by images
    "one small image": ((1, 6, 6, 6), (128, 3, 3, 3), {"padding": 1, "groups": 2}),
    "one image in strips": ((1, 6, 40, 40), (128, 3, 3, 3), {"padding": 1, "groups": 2}),
    "one image strided": ((1, 6, 7, 7), (128, 3, 3, 3), {"stride": 2, "padding": 1, "groups": 2}),
}  # fmt: skip


def convolution_with_gradients(shape, filters, options, dtype="float32", transposed=False):
    """A convolution, and gradients of the image and of the filters by a cotangent ``d``."""
    x, w = sg.input("x", shape, dtype), sg.input("w", filters, dtype)
    y = (sg.nn.conv_transpose if transposed else sg.nn.conv)(x, w, **options)
    dx, dw = sg.grad((y * sg.input("d", y.shape, dtype)).sum(), [x, w])
    return sg.Graph({"y": sg.maximum(y, 0), "dx": dx, "dw": dw})


def whole(graph, scale=4, **sizes):
    """Whole numbers for all inputs."""
    rng, feeds = np.random.default_rng(11), drawn(graph, **sizes)
    shapes = {name: array.shape for name, array in feeds.items()}
    return {n: rng.integers(-scale, scale + 1, s).astype(feeds[n].dtype) for n, s in shapes.items()}


def check_exact(shape, filters, options, dtype, named=True, transposed=False):
    """The evaluator's results in float64, which are exact, in every way."""
    literal = convolution_with_gradients(shape, filters, options, dtype, transposed)
    feeds = whole(literal)
    expected = sg.evaluate(literal, {name: array.astype("f8") for name, array in feeds.items()})
    ways = [(shape, {"threads": 2}), (shape, {"fuse": False})]
    if named and 0 not in shape:
        ways += [(("n", *shape[1:]), {}), ((*shape[:-1], "wide"), {"threads": 2})]
    for extents, way in [(shape, {}), *ways]:
        graph = (
            literal
            if extents is shape
            else convolution_with_gradients(extents, filters, options, dtype, transposed)
        )
        actual = sg.compile(graph, **way).run(feeds)
        for name, array in expected.items():
            np.testing.assert_array_equal(actual[name], array, err_msg=f"{name}, {extents}, {way}")


@pytest.mark.thinned(7)
@diagonals(2, ("name", GEOMETRIES), ("dtype", ["float32", "float64"]))
def test_every_form_is_exact(name, dtype):
    check_exact(*GEOMETRIES[name], dtype)


@pytest.mark.parametrize("batch", [1, 3])
def test_an_image_of_one_element_is_a_product_of_channels(batch):
    rng = np.random.default_rng(batch)
    x, w = rng.normal(size=(batch, 3)), rng.normal(size=(4, 3))
    image, taps = sg.input("x", (batch, 3, 1, 1), "float64"), sg.input("w", (4, 3, 1, 1), "float64")
    y = sg.nn.conv2d(image, taps)
    slopes = sg.grad(0.5 * (y * y).sum(), [image, taps])
    program = sg.compile({"y": y, "dx": slopes[0], "dw": slopes[1]})
    actual = program.run({"x": x[:, :, None, None], "w": w[:, :, None, None]})
    expected = {"y": x @ w.T, "dx": x @ w.T @ w, "dw": (x @ w.T).T @ x}
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name][:, :, 0, 0], array, rtol=1e-13)


def test_empty_batches():
    check_exact((0, 4, 4, 4), (128, 4, 3, 3), {"padding": 1}, "float32")


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_geometry(data):
    """Images of which some elements lie in no window, windows side by side, and channels apart."""
    one_of = data.draw
    rank, side_by_side = one_of(st.integers(1, 2)), one_of(st.booleans())
    taps = [one_of(st.integers(1, 7)) for _ in range(rank)]
    steps = taps if side_by_side else [one_of(st.integers(1, 4)) for _ in taps]
    gaps = [1 if side_by_side else one_of(st.integers(1, 2)) for _ in taps]
    border = [(0, 0) if side_by_side else (one_of(st.integers(0, 3)),) * 2 for _ in taps]
    image = [(k - 1) * d + 1 + one_of(st.integers(0, 12)) for k, d in zip(taps, gaps, strict=True)]
    batch, c, o = (one_of(st.integers(1, 4)) for _ in range(3))
    groups = one_of(st.sampled_from((1, c)))
    options = {"stride": (*steps,), "dilation": (*gaps,), "padding": (*border,), "groups": groups}
    filters = (o * groups, c // groups, *taps)
    check_exact(
        (batch, c, *image), filters, options, one_of(st.sampled_from(("float32", "float64")))
    )


@pytest.mark.slow
@pytest.mark.parametrize("stride", [(16, 16), (4, 4), (2, 3)])
def test_transposed_convolutions_are_exact(stride):
    check_exact((2, 3, 5, 4), (3, 6, *stride), {"stride": stride}, "float32", transposed=True)


WHICH = [
    # taps, options, and what use_patch_matrices and use_stride_remainders leave
    (8, {"stride": 8}, set(), {Conv, ConvImage}),
    (2, {"stride": 2}, {ConvFilter}, None),
    (8, {"stride": 8, "padding": 1}, {*CONVOLUTIONS}, None),
    (8, {"stride": 8, "padding": [(0, 7), (0, 0)]}, {*CONVOLUTIONS}, None),
    (8, {"stride": 7}, {*CONVOLUTIONS}, None),
    (8, {"stride": 8, "groups": 2}, {*CONVOLUTIONS}, None),
    (1, {}, {*CONVOLUTIONS}, None),
    (8, {"stride": 4}, None, set()),
    (4, {"stride": 2, "padding": 1}, None, {ConvImage}),
    (3, {"stride": 2, "padding": 1}, None, {Conv, ConvImage}),
    (8, {"stride": 4, "groups": 2}, None, {Conv, ConvImage}),
    (4, {"stride": 2, "dilation": 2}, None, {Conv, ConvImage}),
    (1, {"stride": 2}, None, {Conv, ConvImage}),
]


@pytest.mark.parametrize(("taps", "options", "of_patches", "of_remainders"), WHICH)
def test_which_convolutions_change_their_form(taps, options, of_patches, of_remainders):
    """Overlapping windows, borders, groups and single elements are no patches; strided windows of
    much longer filters, groups and gaps are not told apart by their remainders."""
    filters = (6, 4 // options.get("groups", 1), taps, taps)
    graph = pipeline("O1")(convolution_with_gradients(("n", 4, 33, 32), filters, options))
    if of_patches is not None:
        assert {type(node.op) for node in use_patch_matrices(graph).nodes} & {
            *CONVOLUTIONS
        } == of_patches
    if of_remainders is not None and of_patches is None:
        left = [
            n.op for n in use_stride_remainders(graph).nodes if isinstance(n.op, Conv | ConvImage)
        ]
        assert {type(op) for op in left if max(op.strides) > 1} == of_remainders


FEW = [
    # shape of the image, of the filters, options, and what use_patch_matrices leaves
    ((8, 512, 2, 2), (512, 512, 3, 3), {"padding": 1}, set()),
    ((8, 512, 4, 4), (1024, 512, 1, 1), {"stride": 2}, set()),
    ((1, 512, 8, 8), (512, 512, 3, 3), {"padding": 1}, set()),
    ((8, 512, 8, 8), (512, 512, 3, 3), {"padding": 1}, {Conv, ConvImage}),  # tiles
    ((64, 64, 4, 4), (64, 64, 3, 3), {"padding": 1}, {*CONVOLUTIONS}),  # more windows than filters
    ((8, 512, 2, 2), (512, 256, 3, 3), {"padding": 1, "groups": 2}, {*CONVOLUTIONS}),
    ((2, 512, 4, 4), (512, 512, 3, 3), {"padding": 2, "dilation": 2}, {*CONVOLUTIONS}),
    ((4, 64, 4, 4), (64, 64, 3, 3), {"padding": 1}, {Conv}),  # strips have as many columns
    # more windows than channels
    ((2, 512, 1599), (512, 512, 3), {"stride": 2}, set()),
    ((8, 256, 28, 28), (512, 256, 1, 1), {"stride": 2}, set()),
    ((8, 256, 28, 28), (512, 256, 1, 1), {}, {*CONVOLUTIONS}),  # are read in place
    ((2, 64, 1599), (512, 64, 3), {"stride": 2}, {*CONVOLUTIONS}),  # few terms for the copies
    ((2, 512, 1599), (512, 512, 7), {"stride": 2}, {*CONVOLUTIONS}),  # 3.5 times the image
    ((8, 512, 1599), (512, 512, 3), {"stride": 2}, {*CONVOLUTIONS}),  # 39 MB
]


@pytest.mark.parametrize(("shape", "filters", "options", "left"), FEW)
def test_few_windows_of_many_channels_are_products(shape, filters, options, left):
    graph = pipeline("O1")(convolution_with_gradients(shape, filters, options))
    ops = {type(node.op) for node in use_patch_matrices(graph).nodes}
    assert ops & {*CONVOLUTIONS} == left


def test_taps_in_the_border_are_cut_off():
    graph = convolution_with_gradients((3, 4, 1, 2), (5, 4, 5, 3), {"padding": (2, 1)})
    nodes = cut_border_taps(pipeline("O1")(graph)).nodes
    taps = [
        (node.types[0] if isinstance(node.op, ConvFilter) else node.args[1].type).shape[2:]
        for node in nodes
        if isinstance(node.op, CONVOLUTIONS)
    ]
    assert taps == [(1, 3)] * 3


@pytest.mark.parametrize(
    ("name", "parts"),
    [("one channel", 8), ("few channels", 3), ("groups and gaps", 4), ("a cube", 8),
     ("parts of few", 4), ("parts of small images", 4), ("channels of small images", 4),
     ("single elements", 4), ("many channels of elements", 2)],
)  # fmt: skip
def test_several_iterations_share_few_channels(name, parts):
    shape, filters, options = GEOMETRIES[name]
    graph = convolution_with_gradients(("n", *shape[1:]), filters, options)
    products = [
        step.total
        for step in schedule_of({"dw": graph["dw"]}).steps
        for kernel in step.kernels()
        if any(isinstance(stage, Gemm) for stage in kernel.stages)
    ]
    assert products
    assert all(isinstance(count, int) and count >= parts for count in products)


@pytest.mark.parametrize(
    ("shape", "filters", "most"),
    [((8, 32, 8, 8), (32, 32, 3, 3), 2), (("n", 32, 8, 8), (32, 32, 3, 3), 2),
     ((8, 16, 7, 7), (64, 16, 5, 5), 1), ((8, 16, 16, 16), (32, 16, 3, 3), 8),
     ((3, 8, 16, 16), (16, 8, 3, 3), 3)],
)  # fmt: skip
def test_filters_larger_than_an_image_have_few_partial_gradients(shape, filters, most):
    """Eight partial gradients of 36,864 bytes were more than all eight images and results."""
    graph = convolution_with_gradients(shape, filters, {"padding": filters[-1] // 2})
    sizes = {"n": 8} if shape[0] == "n" else {}
    partial = 4 * int(np.prod(filters))
    plan = sg.compile({"dw": graph["dw"]}, threads=1).plan(**sizes)
    partial_bytes = sum(
        placement.nbytes for placement in plan.placements if placement.nbytes % partial == 0
    )
    assert partial_bytes == (partial * most if most > 1 else 0)


# -- which form ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [0, 1, 7, 8, 20])
def test_the_reference_of_parts_adds_up_to_the_whole(batch):
    rng = np.random.default_rng(batch)
    x, y = rng.normal(size=(batch, 2, 9)), rng.normal(size=(batch, 3, 7))
    reference_op = ConvFilter((1,), (1,), (0,), (3,))
    parts = ConvFilter((1,), (1,), (0,), (3,), parts=8)
    actual = parts.reference(x, y)
    assert actual.shape == (8, 3, 2, 3)
    np.testing.assert_allclose(actual.sum(0), reference_op.reference(x, y), atol=1e-12)
    assert not actual[-(-batch // -(-batch // 8)) if batch else 0 :].any()


# -- tiles -----------------------------------------------------------------------------------------


def in_tiles(outputs):
    """Count the convolutions that are computed in tiles."""
    return sum(getattr(node.op, "tiles", False) for node in pipeline("late-unfused")(outputs).nodes)


TILED = [
    # batch, channels, results, image, border, how many of the three sums are in tiles; dilation
    (1, 32, 16, (14, 15), ((1, 1), (1, 1)), 2),
    (9, 16, 48, (16, 14), ((2, 2), (1, 1)), 2),
    (3, 48, 64, (13, 40), ((1, 1), (1, 1)), 0),
    (0, 64, 64, (28, 30), ((1, 1), (1, 1)), 3),
    (6, 65, 70, (29, 31), ((0, 2), (1, 0)), 3),
    (5, 256, 16, (26, 26), ((0, 0), (0, 0)), 2),
    (2, 17, 256, (45, 28), ((2, 1), (2, 2)), 3),
    (1, 32, 33, (28, 69), ((1, 1), (1, 1)), 3),
    (5, 32, 33, (28, 36), ((1, 1), (1, 1)), 3),  # four parts of a batch of five
    # small images of many channels: several images in an iteration
    (5, 64, 64, (7, 8), ((1, 1), (1, 1)), 2),
    (5, 256, 272, (8, 7), ((1, 1), (1, 1)), 2),
    (11, 300, 24, (9, 12), ((0, 2), (1, 1)), 2),
    (3, 64, 63, (8, 8), ((1, 1), (1, 1)), 0),  # too few pairs of channels
    (3, 64, 64, (6, 8), ((1, 1), (1, 1)), 0),  # too short
    # volumes: tiles along the last two axes
    (2, 16, 33, (5, 14, 15), ((1, 1), (1, 1), (1, 1)), 2),
    (1, 32, 16, (21, 17, 40), ((2, 1), (0, 1), (1, 2)), 2),
    (3, 64, 64, (7, 8, 7), ((1, 1), (1, 1), (1, 1)), 2),
    (1, 16, 16, (9, 15, 14), ((2, 2), (1, 1), (1, 1)), 2, (2, 1, 1)),
    (2, 16, 16, (2, 14, 14), ((1, 1), (1, 1), (1, 1)), 0),  # too thin
    (2, 32, 32, (5, 28, 28), ((1, 1), (2, 2), (2, 2)), 0, (1, 2, 2)),
    # phases of images
    (3, 32, 33, (28, 29), ((2, 2), (2, 2)), 2, 2),
    (1, 48, 50, (16, 43), ((1, 0), (3, 2)), 2, (1, 3)),
    (2, 64, 65, (61, 57), ((4, 4), (4, 4)), 2, 4),
    (5, 128, 128, (14, 15), ((2, 2), (2, 2)), 2, 2),
    (2, 32, 32, (28, 27), ((2, 2), (2, 2)), 0, 2),  # too short
    (2, 32, 31, (28, 28), ((2, 2), (2, 2)), 0, 2),  # too few channels
]
#: The same, with the taps and the stride.
TILED_IN_PIECES = [
    (3, 16, 33, (29, 30), ((2, 2), (2, 2)), 2, 5, 1),
    (1, 48, 16, (28, 43), ((1, 2), (2, 1)), 2, 4, 1),
    (1, 64, 66, (29, 31), ((2, 2), (3, 3)), 3, 5, 1),
    (2, 32, 40, (29, 31), ((3, 3), (3, 3)), 2, 7, 1),
    (1, 17, 16, (29, 33), ((3, 4), (4, 4)), 2, (8, 9), 1),
    (4, 32, 64, (31, 32), ((2, 2), (2, 2)), 2, 5, 2),
    (0, 128, 128, (57, 60), ((1, 2), (0, 1)), 3, 5, 2),
    (3, 128, 136, (32, 34), ((1, 2), (2, 1)), 3, 5, 2),
    (3, 64, 32, (33, 32), ((1, 1), (1, 1)), 2, 4, 2),
    (2, 64, 64, (58, 61), ((0, 0), (2, 1)), 2, (4, 5), 2),
    (2, 32, 32, (57, 59), ((2, 2), (2, 2)), 2, 6, 2),  # results: three taps of each remainder
    (1, 33, 48, (59, 29), ((2, 2), (2, 1)), 2, (5, 4), (2, 1)),
    (1, 48, 48, (85, 86), ((3, 3), (2, 2)), 2, (8, 7), 3),
    (2, 16, 31, (60, 60), ((2, 2), (2, 2)), 0, 5, 2),  # too few channels
    (2, 32, 32, (16, 27), ((2, 2), (2, 2)), 0, 5, 1),  # too short
    (1, 32, 32, (60, 60), ((1, 1), (1, 1)), 0, 3, 2),  # of one tap
]


#: One of each kind of tiles, small: image, filters, options, and which sums are in tiles.
EACH_KIND_OF_TILES = {
    "parts of filters": ((5, 32, 28, 36), (33, 32, 3, 3), {"padding": 1}, ("dw",)),
    "pieces": ((1, 48, 28, 43), (16, 48, 4, 4), {"padding": ((1, 2), (2, 1))}, ("y",)),
    "strides": ((3, 64, 33, 32), (32, 64, 4, 4), {"padding": 1, "stride": 2}, ("dx",)),
    "volumes": ((2, 16, 5, 14, 15), (33, 16, 3, 3, 3), {"padding": 1}, ("dx",)),
    "phases": ((3, 32, 28, 29), (33, 32, 3, 3), {"padding": 2, "dilation": 2}, ("y",)),
}


def test_each_kind_of_tiles_gives_the_sum():
    """Quick ones of what the next tests try in every way and size."""
    for kind, (shape, filters, options, names) in EACH_KIND_OF_TILES.items():
        graph = convolution_with_gradients(shape, filters, options)
        graph = sg.Graph({name: graph[name] for name in names})
        assert in_tiles(graph) == len(names), kind
        feeds = drawn(graph)
        actual = sg.compile(graph, threads=1).run(feeds)
        for name, expected in sg.evaluate(graph, feeds, dtype="float64").items():
            near = 4e-6 * np.abs(expected).max()
            np.testing.assert_allclose(actual[name], expected, rtol=0, atol=near, err_msg=kind)


@pytest.mark.slow
@diagonals(2, ("geometry", TILED), ("dtype", ["float32", "float64"]))
def test_tiles_give_the_sum_and_its_gradients(geometry, dtype):
    n, c, o, image, pads, tiled, *dilation = geometry
    filters = (o, c, *[3] * len(image))
    options = {"padding": pads, **({"dilation": dilation[0]} if dilation else {})}
    assert_tiles(n, (c, *image), filters, options, tiled, dtype)


@pytest.mark.slow
@diagonals(2, ("geometry", TILED_IN_PIECES), ("dtype", ["float32", "float64"]))
def test_pieces_of_taps_in_tiles_give_the_sum_and_its_gradients(geometry, dtype):
    n, c, o, image, pads, tiled, taps, stride = geometry
    filters = (o, c, *(taps if isinstance(taps, tuple) else (taps, taps)))
    assert_tiles(n, (c, *image), filters, {"padding": pads, "stride": stride}, tiled, dtype)


def assert_tiles(n, shape, filters, options, tiled, dtype):
    literal = convolution_with_gradients((n, *shape), filters, options, dtype)
    feeds = drawn(literal)
    f = check(literal, feeds, ways=({"threads": 2}, {"fuse": False}), oracle=False)
    assert in_tiles(literal) == tiled
    actual = f.run(feeds)
    if n:
        named = convolution_with_gradients(("n", *shape), filters, options, dtype)
        assert_same(sg.compile(named).run(feeds), actual)
    for name, expected in sg.evaluate(literal, feeds, dtype="float64").items():
        scale = np.abs(expected).max(initial=1e-30)
        near = 2e-6 if dtype == "float32" else 4e-15
        near *= 2 if name == "dw" else 1  # its sums are over the batch
        np.testing.assert_allclose(actual[name] / scale, expected / scale, atol=near)


# -- pools in the kernel that computes what they are read of ---------------------------------------

#: How windows follow what is computed: behind an activation, before it, with one on both sides.
POOLS = {
    "relu, two by two": lambda x: sg.nn.max_pool(sg.nn.relu(x), 2),
    "two by three, gelu": lambda x: sg.nn.gelu(sg.nn.max_pool(x, (2, 3))),
    "relu, mean of rows, tanh": lambda x: sg.tanh(sg.nn.avg_pool(sg.nn.relu(x), (1, 4))),
    "every third row": lambda x: sg.nn.max_pool(x, (2, 1), stride=(3, 1)),
    "gelu, two by two": lambda x: sg.nn.max_pool(sg.nn.gelu(x), 2),
}


def pool_of_convolution(pool, dtype, image, is_convolved=True, shown=False):
    """A pool over a convolution with bias, or over elements; with gradients."""
    x, b = sg.input("x", ("n", 4, *image), dtype), sg.input("b", (6,), dtype)
    w = sg.input("w", (6, 2, 3, 3), dtype)
    h = sg.nn.conv(x, w, b, padding=1, groups=2) if is_convolved else x * 0.5 + 1.0
    y = POOLS[pool](h)
    sources = [x, w, b] if is_convolved else [x]
    slopes = {f"d{n}": d for n, d in enumerate(sg.grad((y * y).sum(), sources))}
    return sg.Graph({"y": y, **slopes, **({"h": h} if shown else {})})


def kernels_of_pools(graph):
    """Count the kernels that begin with windows over another kernel's result."""
    lines = str(sg.compile(graph).explain()).partition("steps:")[2].partition("neighbours")[0]
    alone = [line.split()[2].rstrip(",") for line in lines.splitlines() if line.strip()]
    return sum(name in ("window_max", "window_place", "window_sum") for name in alone)


@pytest.mark.thinned
@pytest.mark.parametrize(
    ("name", "dtype", "width", "is_convolved"),
    [("relu, two by two", "float32", 38, True), ("two by three, gelu", "float64", 37, True),
     ("relu, mean of rows, tanh", "float16", 36, True), ("every third row", "float64", 35, True),
     ("relu, two by two", "float32", 38, False)],
)  # fmt: skip
def test_one_kernel_has_the_image_and_its_windows(name, dtype, width, is_convolved):
    """Rows and columns that no window reads; of float64 vectors are shorter. Many equal numbers."""
    graph = pool_of_convolution(name, dtype, (11, width), is_convolved)
    assert any(isinstance(node.form, WindowReduce) for node in graph.nodes)
    assert kernels_of_pools(graph) == 0
    check(graph, whole(graph, 2, n=3))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [8, 9])
@pytest.mark.parametrize("name", ["relu, two by two", "gelu, two by two"])
def test_an_image_that_is_asked_for_is_stored_tap_by_tap(name, rows):
    """Windows that leave out the last row cannot store it."""
    graph = pool_of_convolution(name, "float32", (rows, 36), shown=True)
    check(graph, whole(graph, 2, n=3))
    assert name.startswith("relu") or kernels_of_pools(graph) == (0 if rows == 8 else 2)


def test_a_gradient_needs_the_places_and_not_the_image():
    """The gradient needs the windows and a byte for each."""
    x, w = sg.input("x", (8, 3, 32, 32)), sg.input("w", (16, 3, 3, 3))
    h = sg.nn.max_pool(sg.nn.relu(sg.nn.conv(x, w, padding=1)), 2)
    f = sg.compile(sg.Graph({"d": sg.grad(sg.mean(h * h), [w])[0]}), threads=1)
    windows, image = 8 * 16 * 16 * 16, 8 * 16 * 32 * 32
    assert f.plan().peak_bytes < 4 * image + 3 * 4 * windows + (1 << 17) + 4 * 40000


@pytest.mark.parametrize("beside", [False, True])
def test_the_first_of_equal_elements_is_taken_with_its_sign(beside):
    """Zeros of both signs, and NaN: what is taken stands at the place that has the cotangent."""
    low, high, nan = -0.0, 0.0, np.nan
    row = [low, high, high, low, -1.0, low, nan, 2.0, 2.0, nan, nan, nan, -np.inf, -np.inf]
    array = np.repeat(np.array(row, "float32"), 3).reshape(7, 2, 3).swapaxes(1, 2)[None].copy()
    x = sg.input("x", ("n", *array.shape[1:]))
    y = sg.nn.max_pool(x + low, (1, 2))
    outputs = {"y": y, **({"d": sg.grad(y.sum(), x)} if beside else {})}
    actual = sg.compile(sg.Graph(outputs), threads=1).run({"x": array})
    first = [row[2 * n + (n in (2, 4))] for n in range(7)]
    expected = np.repeat(np.array(first, "float32"), 3).reshape(1, 7, 3, 1)
    assert same_bytes(actual["y"], expected)
    assert same_bytes(sg.evaluate(sg.Graph({"y": y}), {"x": array})["y"], expected)
    if beside:
        places = np.flatnonzero(actual["d"][0, :, 0].reshape(14))
        assert places.tolist() == [0, 2, 5, 6, 9, 10, 12]


# -- networks --------------------------------------------------------------------------------------


def network(dtype):
    """A strided, a grouped and a pointwise convolution, pools and their gradients."""
    x, b = sg.input("x", ("n", 2, 9, 8), dtype), sg.input("b", (4,), dtype)
    shapes = [(4, 2, 3, 3), (4, 2, 2, 3), (6, 4, 1, 1)]
    k0, k1, k2 = (sg.input(f"k{i}", shape, dtype) for i, shape in enumerate(shapes))
    h = sg.nn.relu(sg.nn.conv(x, k0, b, padding="same"))
    h = sg.nn.max_pool(h, 2, padding=[(1, 0), (0, 0)])
    h = sg.nn.gelu(sg.nn.conv(sg.nn.conv(h, k1, stride=(2, 1), padding=1, groups=2), k2))
    h = sg.nn.avg_pool(h, 2, stride=1, padding=1, count_include_pad=False)
    loss = (h * h).mean()
    slopes = sg.grad(loss, [x, k0, k1, k2])
    return sg.Graph({"loss": loss, **{f"d{i}": d for i, d in enumerate(slopes)}})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "ways"),
    [
        ("float32", ({"threads": 1}, {"threads": 3}, {"fuse": False})),
        ("float64", ({"threads": 1},)),
        ("float32", ({"pipeline": "O0"}, {"checkpoint": "recompute"})),
        pytest.param("float32", ({"backend": "numba"},), marks=pytest.mark.exhaustive),
    ],
    ids=str,
)
def test_every_way_gives_the_same_bytes(dtype, ways):
    graph = network(dtype)
    check(graph, drawn(graph, n=5), ways=ways)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [("h", "w"), (0, 5)], ids=str)
def test_an_image_of_no_places_gives_nothing(sizes):
    """Known or named; a transposed convolution has what reaches beyond its last place."""
    x = sg.input("x", (2, 4, *sizes), "float32")
    k, few = sg.input("k", (4, 4, 3, 3), "float32"), sg.input("few", (4, 1, 2, 1), "float32")
    images = {
        "dense": sg.nn.conv(x, k, padding="same", stride=2),
        "apart": sg.nn.conv(x, few, padding="same", dilation=2, groups=4),
        "spread": sg.nn.conv_transpose(x, k, stride=(1, 4)) * 2.0,
        "largest": sg.nn.max_pool(x, 2),
    }
    loss = sum((value * value).sum() for value in images.values())
    named = zip(("x", "k", "few"), sg.grad(loss, [x, k, few]), strict=True)
    graph = sg.Graph(images | {f"d{name}": slope for name, slope in named})
    f = sg.compile(graph)
    for h, w in ((0, 5), (0, 0), (7, 0), (7, 5))[: 4 if sizes[0] else 1]:
        feeds = drawn(graph, h=h, w=w)
        results = f.run(feeds)
        for name, expected in sg.evaluate(graph, feeds).items():
            assert results[name].shape == expected.shape
            np.testing.assert_allclose(results[name], expected, rtol=1e-4, atol=1e-3)
        assert results["spread"].shape == (2, 4, h + 2, max(4 * w - 1, 0))
        assert results["largest"].shape == (2, 4, h // 2, w // 2)


@pytest.mark.thinned(4)
@diagonals(
    2, ("taps,stride,padding", [(3, 2, 1), (3, 2, 0), (4, 3, 1), (2, 2, 0)]), ("axes", [1, 2])
)
def test_what_is_repeated_along_an_image_of_remainders(axes, taps, stride, padding):
    """A bias, and a factor for each image: nothing of them lies along the places."""
    x, factor = sg.input("x", (2, 2, *(4,) * axes)), sg.input("factor", (2, 1, *(1,) * axes))
    filters, bias = sg.input("filters", (2, 3, *(taps,) * axes)), sg.input("bias", (3,))
    y = sg.nn.conv_transpose(x, filters, bias, stride=stride, padding=padding) * factor
    graph = sg.Graph({"y": y, "slope": sg.grad((y * y).sum(), factor)})
    check(graph, drawn(graph), ways=())


@pytest.mark.parametrize(("channels", "size"), [(16, 16), (64, 8)])
def test_winograds_tiles_are_as_exact_as_patches(channels, size, rng):
    """Largest errors of float32 beside the sum in float64, by NumPy."""
    x = rng.normal(size=(2, channels, size, size)).astype("f4")
    w = rng.normal(size=(channels, channels, 3, 3)).astype("f4")
    padded = np.pad(x.astype("f8"), [(0, 0), (0, 0), (1, 1), (1, 1)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    exact = np.einsum("ncijkl,ockl->noij", seen, w.astype("f8"), optimize=True)
    y = sg.nn.conv(sg.input("x", x.shape), sg.input("w", w.shape), padding=1)
    tiles, patches = (
        sg.compile(y, disable=names).run({"x": x, "w": w}) for names in ((), ("winograd",))
    )
    assert (tiles != patches).any(), "another way was taken"
    errors = [abs(result - exact).max() for result in (tiles, patches)]
    assert errors[0] <= 2 * errors[1]
