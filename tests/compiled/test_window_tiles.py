"""Dense convolutions of three by three taps in tiles, beside float64 and among themselves."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.kernels.stages import Gemm, nested
from staticgrad.lowering.fuse import fuse
from staticgrad.lowering.windows.tile_cuts import Cut, Tiled, best_cut
from tests.diagonals import diagonals

RNG = np.random.default_rng(7)


def in_tiles(schedule):
    """How many kernels make sixteen products: all in one loop, or four in each of four."""
    found = 0
    for step in schedule.steps:
        for kernel in step.kernels():
            loops = [around for s, around in nested(kernel.stages) if isinstance(s, Gemm)]
            counts = [axis.extent for around in loops for axis in around[-1:]]
            found += counts in ([16], [4] * 4)
    return found


def direct(x, w, pads):
    """The sum itself, in float64."""
    wide = np.pad(x.astype("f8"), ((0, 0), (0, 0), *pads))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w.astype("f8"), optimize=True)


def image_of(y, w, pads):
    """What a result gives each element of the image, in float64."""
    transposed = w.swapaxes(0, 1)[..., ::-1, ::-1]
    return direct(y, transposed, tuple((2 - low, 2 - high) for low, high in pads))


def filter_of(x, y, pads):
    """What a result gives each tap, in float64."""
    wide = np.pad(x.astype("f8"), ((0, 0), (0, 0), *pads))
    windows = np.lib.stride_tricks.sliding_window_view(wide, y.shape[2:], (2, 3))
    return np.einsum("ncijhw,nohw->ocij", windows, y.astype("f8"), optimize=True)


GEOMETRIES = [
    # batch, channels, results, image, border; how many of the three sums are in tiles
    (1, 32, 16, (14, 15), ((1, 1), (1, 1)), 2),
    (9, 16, 48, (16, 14), ((2, 2), (1, 1)), 2),
    (3, 48, 64, (13, 40), ((1, 1), (1, 1)), 0),
    (0, 64, 64, (28, 30), ((1, 1), (1, 1)), 3),
    (6, 65, 70, (29, 31), ((0, 2), (1, 0)), 3),
    (5, 256, 16, (26, 26), ((0, 0), (0, 0)), 2),
    (2, 17, 256, (45, 28), ((2, 1), (2, 2)), 3),
    (1, 32, 33, (28, 69), ((1, 1), (1, 1)), 3),
    # small images of many channels: several images in an iteration
    (5, 64, 64, (7, 8), ((1, 1), (1, 1)), 2),
    (2, 256, 272, (8, 7), ((1, 1), (1, 1)), 2),
    (11, 300, 24, (9, 12), ((0, 2), (1, 1)), 2),
    (3, 64, 63, (8, 8), ((1, 1), (1, 1)), 0),  # too few pairs of channels
    (3, 64, 64, (6, 8), ((1, 1), (1, 1)), 0),  # too short
]


@pytest.mark.slow
@diagonals(2, ("geometry", GEOMETRIES), ("dtype", ["float32", "float64"]))
def test_tiles_give_the_sum_and_its_gradients(geometry, dtype):
    """With a batch that is named or known, on one and two threads, fused or not: the same bytes."""
    n, c, o, image, pads, tiled = geometry
    x, w = (
        RNG.normal(size=(n, c, *image)).astype(dtype),
        RNG.normal(size=(o, c, 3, 3)).astype(dtype),
    )
    true = direct(x, w, pads)
    seed = RNG.normal(size=true.shape).astype(dtype)
    results = []
    for batch, options in ((n, {"threads": 1}), ("n", {"threads": 2}), (n, {"fuse": False})):
        if batch == "n" and n == 0:
            continue
        a, b = sg.input("x", (batch, c, *image), dtype), sg.input("w", w.shape, dtype)
        d = sg.input("d", (batch, *true.shape[1:]), dtype)
        y = sg.nn.conv(a, b, padding=pads)
        dx, dw = sg.grad((y * d).sum(), [a, b])
        f = sg.compile({"y": y, "dx": dx, "dw": dw}, **options)
        assert in_tiles(f.schedule) == tiled
        results.append(f.run({"x": x, "w": w, "d": seed}))
    for other in results[1:]:
        assert all(same_bytes(other[name], results[0][name]) for name in other)
    tolerance = 2e-6 if dtype == "float32" else 4e-15
    sums = (("y", true), ("dx", image_of(seed, w, pads)), ("dw", filter_of(x, seed, pads)))
    for name, wanted in sums:
        scale = np.abs(wanted).max(initial=1e-30)
        near = 2 * tolerance if name == "dw" else tolerance  # its sums are over the batch
        np.testing.assert_allclose(results[0][name] / scale, wanted / scale, atol=near)


def test_what_follows_is_in_the_kernel_and_reads_what_stays_along_rows():
    n, c, h = 3, 64, 37
    x, w = sg.input("x", (n, c, h, 29), "float32"), sg.input("w", (c, c, 3, 3), "float32")
    row, bias = sg.input("row", (1, c, 1, 29), "float32"), sg.input("bias", (c, 1, 1), "float32")
    y = sg.nn.relu(sg.nn.conv(x, w, padding=1) * row + bias + x)
    graph = sg.Graph({"y": y})
    f = sg.compile(graph)
    assert in_tiles(f.schedule) == 1
    assert len(f.schedule.steps) == 2  # the filters are combined before
    feeds = {v.node.label: RNG.normal(size=v.shape).astype("f4") for v in graph.inputs}
    wanted = sg.evaluate(graph, feeds)["y"]
    np.testing.assert_allclose(f.run(feeds)["y"], wanted, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("channels", "taps", "options"),
    [
        (15, 3, {}),
        (64, 2, {}),
        (64, 3, {"stride": 2}),
        (64, 3, {"dilation": 2}),
        (128, 3, {"groups": 2}),
    ],
)
def test_others_are_sums_of_taps(channels, taps, options):
    x = sg.input("x", (2, channels, 60, 60), "float32")
    w = (channels, channels // options.get("groups", 1), taps, taps)
    y = sg.nn.conv(x, sg.input("w", w, "float32"), **options)
    assert in_tiles(fuse(pipeline("O1")(sg.Graph({"y": y})))) == 0


@pytest.mark.parametrize(("rows", "sign"), [(29, 1.0), (53, -1.0)])
def test_strips_that_differ_read_what_stays_along_rows(rows, sign):
    """A factor with one row, behind a convolution whose last strip is shorter than others."""
    x, w = sg.input("x", (1, 3, rows, 37), "float32"), sg.input("w", (8, 3, 3, 3), "float32")
    row = sg.input("row", (1, 8, 1, 37), "float32")
    graph = sg.Graph({"y": sg.nn.conv(x, w, padding=1) * row * sign})
    feeds = {v.node.label: RNG.normal(size=v.shape).astype("f4") for v in graph.inputs}
    wanted = sg.evaluate(graph, feeds)["y"]
    np.testing.assert_allclose(sg.compile(graph).run(feeds)["y"], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "images", "channels", "cut"),
    [
        ((8, 8), 16, 64, Cut(8, 1, False)),  # 64 tiles are four vectors; joined rows take five
        ((28, 28), 4, 64, Cut(2, 1, True)),  # two rows of 28 and two of border are four vectors
        ((16, 16), 1, 64, Cut(4, 1, False)),  # whole vectors need no border
        ((7, 7), 32, 32, Cut(7, 2, True)),  # seven vectors for two images, not eight
        ((7, 7), 32, 16, Cut(7, 2, True)),  # four images take fourteen: more of nothing
        ((7, 7), 1, 64, Cut(4, 1, True)),  # a strip is whole, but for the rows that are missing
        ((4, 4), 8, 512, Cut(4, 2, False)),  # an image's sixteen tiles would read filters twice
    ],
    ids=str,
)
def test_cuts_fill_vectors(size, images, channels, cut):
    """By hand: vectors of 16 columns, at most 64 tiles of 64 channels on each side."""
    assert best_cut(Tiled(*size, images, (channels, channels), sg.float32)) == cut


def test_images_are_together_in_an_iteration():
    x, w = sg.input("x", (32, 16, 14, 14), "float32"), sg.input("w", (16, 16, 3, 3), "float32")
    schedule = fuse(pipeline("O1")(sg.Graph({"y": sg.nn.conv(x, w, padding=1)})))
    assert in_tiles(schedule) == 1
    assert schedule.steps[-1].total == 32 // 2  # two images are seven whole vectors
