"""Gradients of filters of few channels: sums of those of parts of the batch."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.kernels.stages import Gemm
from staticgrad.lowering.fuse import fuse
from staticgrad.ops.convolution import ConvFilter
from staticgrad.preparation.windows import with_parts
from tests.diagonals import diagonals

RNG = np.random.default_rng(11)
GEOMETRIES = [
    # channels of the image, of the result, groups, image, taps, options; parts by iterations
    (1, 16, 1, (12, 11), (3, 3), {"padding": 1}, 8),
    (3, 70, 1, (15, 9), (5, 2), {"stride": (2, 1)}, 3),
    (4, 6, 2, (90,), (7,), {"padding": ((3, 0),), "dilation": 2}, 4),
    (2, 3, 1, (5, 6, 4), (2, 3, 1), {"padding": 1}, 8),
    (40, 8, 1, (6, 5), (3, 3), {}, 4),
    (5, 40, 1, (6, 7), (1, 1), {}, 4),
    (400, 33, 1, (50,), (1,), {}, 2),
    (6, 150, 1, (2, 3, 4), (1, 1, 1), {}, 1),
]


def gradient_of_filter(geometry, batch, dtype):
    """The gradient of a convolution's filter for a named or known batch, and a seed's shape."""
    c, o, groups, image, taps, options, _ = geometry
    x = sg.input("x", (batch, c, *image), dtype)
    w = sg.input("w", (o, c // groups, *taps), dtype)
    y = sg.nn.conv(x, w, groups=groups, **options)
    d = sg.input("d", y.shape, dtype)
    dw = sg.grad((y * d).sum(), w)
    return sg.Graph({"dw": dw, "stepped": w - 0.5 * dw}), y.shape[1:]


@pytest.mark.thinned(6)
@diagonals(2, ("geometry", GEOMETRIES), ("dtype", ["float32", "float64"]))
def test_parts_add_up_to_the_gradient(geometry, dtype):
    """Batches with full parts, shorter and empty ones, named and known, on one and two threads."""
    c, o, groups, image, taps, *_ = geometry
    named, seeds = gradient_of_filter(geometry, "n", dtype)
    compiled = [sg.compile(named, threads=threads) for threads in (1, 2)]
    compiled.append(sg.compile(named, fuse=False))
    w = RNG.normal(size=(o, c // groups, *taps)).astype(dtype)
    for n in (1, 3, 8, 13):
        feeds = {
            "x": RNG.normal(size=(n, c, *image)).astype(dtype),
            "w": w,
            "d": RNG.normal(size=(n, *seeds)).astype(dtype),
        }
        wanted = sg.evaluate(named, feeds)
        results = [f.run(feeds) for f in compiled]
        if n in (3, 8):
            known, _ = gradient_of_filter(geometry, n, dtype)
            results.append(sg.compile(known, threads=2).run(feeds))
        for name, true in wanted.items():
            scale = 1e-6 if dtype == "float32" else 1e-15
            np.testing.assert_allclose(results[0][name], true, atol=20 * scale * np.abs(true).max())
            assert all(same_bytes(other[name], results[0][name]) for other in results)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_several_iterations_share_few_channels(geometry):
    graph, _ = gradient_of_filter(geometry, "n", "float32")
    products = [
        step.total
        for step in fuse(pipeline("O1")(graph)).steps
        for kernel in step.kernels()
        if any(isinstance(stage, Gemm) for stage in kernel.stages)
    ]
    assert products
    assert all(isinstance(count, int) and count >= geometry[-1] for count in products)


@pytest.mark.parametrize(("c", "o"), [(64, 70), ("c", 3), (3, "o")])
def test_many_channels_and_named_ones_stay_whole(c, o):
    x, d = sg.input("x", ("n", c, 9, 9), "float32"), sg.input("d", ("n", o, 5, 5), "float32")
    whole = ConvFilter((1, 1), (1, 1), (0, 0), (5, 5))
    graph = sg.Graph({"dw": whole(x, d)})
    assert with_parts(graph) is graph


@pytest.mark.parametrize("batch", [0, 1, 7, 8, 20])
def test_the_reference_of_parts_adds_up_to_the_whole(batch):
    x, y = RNG.normal(size=(batch, 2, 9)), RNG.normal(size=(batch, 3, 7))
    whole = ConvFilter((1,), (1,), (0,), (3,))
    parts = ConvFilter((1,), (1,), (0,), (3,), parts=8)
    found = parts.reference(x, y)
    assert found.shape == (8, 3, 2, 3)
    np.testing.assert_allclose(found.sum(0), whole.reference(x, y), atol=1e-12)
    assert not found[-(-batch // -(-batch // 8)) if batch else 0 :].any()
