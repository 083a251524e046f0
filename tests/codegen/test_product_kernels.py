"""Products and convolutions by their text, ``product_kernels/*.txt``: what they compute, by every
reader, beside NumPy in float64.

They are the shapes that fused programs are to take: epilogues in place, rows normalised on
their way into the product, convolutions and their gradients that read images where they lie, with
borders, strides and groups, and a long sum cut into pieces of the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf

import numpy as np
import pytest

from tests.codegen.kernels_on_file import assert_close, kernel_of, run
from tests.diagonals import diagonals
from tests.native.support import LONG_BY_NUMBA, MODES, Array, Mode, assert_same

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype("f4")


def made(name: str, sizes: Sequence[int], mode: Mode, **given: Array) -> dict[str, Array]:
    return run(kernel_of("product_kernels", name), sizes, mode, given)


# -- products -------------------------------------------------------------------------------------

SHAPES = [(1, 1, 1), (5, 7, 0), (9, 33, 5), (37, 45, 130), (100, 3, 9)]


@pytest.mark.parametrize(("rows", "columns", "inner"), SHAPES)
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_a_dense_layer_with_gelu(rows: int, columns: int, inner: int, mode: Mode) -> None:
    x, w, bias, y = (
        normal(rows, inner), normal(inner, columns), normal(columns), normal(rows, columns),
    )  # fmt: skip
    made("dense_gelu", [rows, columns, inner], mode, p0=x, p1=w, p2=bias, p3=y)
    z = x.astype("f8") @ w + bias
    assert_close(y, z * (0.5 + 0.5 * np.vectorize(erf)(z * 0.5**0.5)))


@pytest.mark.parametrize(("rows", "columns", "inner"), SHAPES)
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_adam_in_the_epilogue_of_a_gradient(
    rows: int, columns: int, inner: int, mode: Mode
) -> None:
    x, dy = normal(inner, rows), normal(inner, columns)
    rates = np.float32([1e-3, 0.9, 0.999, 1e-8])
    w, m, v = (normal(rows, columns) for _ in range(3))
    v = np.abs(v)
    true_w, true_m, true_v = (a.astype("f8") for a in (w, m, v))
    made("adam", [rows, columns, inner], mode, p0=x, p1=dy, p2=rates, p3=w, p4=m, p5=v)
    rate, b1, b2, eps = rates.astype("f8")
    g = x.T.astype("f8") @ dy
    true_m, true_v = true_m * b1 + g * (1 - b1), true_v * b2 + g * g * (1 - b2)
    for found, true in ((m, true_m), (v, true_v)):
        assert_close(found, true)
    assert_close(w, true_w - rate * true_m / (np.sqrt(true_v) + eps), 1e-5)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_batches_of_a_transposed_product_added_to_what_is_there(batch: int, mode: Mode) -> None:
    a, b, c = (RNG.normal(size=(batch, *shape)) for shape in ((5, 7), (33, 7), (5, 33)))
    true = c + a @ b.swapaxes(1, 2)
    sizes = [batch, 5, 33, 7, 5 * 33, 5 * 7, 33 * 7]
    made("residual_of_transposed", sizes, mode, p0=a, p1=b, p2=c)
    assert_close(c, true, 1e-14)


@diagonals(2, ("mode", MODES), ("rows", [1, 8, 13]), daily="vector")
def test_rows_normalised_on_their_way_into_a_product(rows: int, mode: Mode) -> None:
    x, w, y = normal(rows, 37), normal(37, 20), normal(rows, 20)
    mean, inverse = x.mean(1), 1 / x.std(1)
    numbers = np.concatenate([mean, inverse, np.zeros(8, "f4")])
    sizes = [rows, 37, 20, -(-rows // 8)]
    made("product_of_normalised_rows", sizes, mode, p0=x, p1=numbers, p2=w, p4=y)
    assert_close(y, ((x.astype("f8") - mean[:, None]) * inverse[:, None]) @ w)


@pytest.mark.parametrize("inner", [1, 4096, 9000])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA[:2])
def test_pieces_of_a_long_sum_have_the_bytes_of_the_sum(inner: int, mode: Mode) -> None:
    a, b = normal(inner, 3), normal(inner, 5)
    count = -(-inner // 4096)
    pieces, whole, total = normal(count, 15), normal(15), normal(15)
    made("pieces_of_a_product", [3, 5, 15, count, 4096, inner], mode, p0=a, p1=b, p2=pieces)
    made("pieces_of_a_product", [3, 5, 15, 1, inner, inner], mode, p0=a, p1=b, p2=whole)
    made("pieces_in_order", [count - 1, 15], mode, p0=pieces, p1=total)
    assert_same(total, whole, "pieces in order")
    assert_close(total, a.T.astype("f8") @ b)


# -- convolutions ---------------------------------------------------------------------------------


def windows(x: Array, taps: tuple[int, int], stride: int, pad: int) -> Array:
    """The windows of padded images in float64: (n, c, oh, ow, kh, kw)."""
    framed = np.pad(x.astype("f8"), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    found = np.lib.stride_tricks.sliding_window_view(framed, taps, (2, 3))
    return found[:, :, ::stride, ::stride]


@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
@pytest.mark.parametrize(
    ("images", "groups", "inside", "outside", "height", "width", "taps", "stride", "pad"),
    [
        (1, 1, 1, 1, 3, 3, (3, 3), 1, 1),
        (2, 1, 3, 5, 7, 9, (3, 3), 2, 1),
        (2, 2, 5, 9, 5, 20, (3, 3), 1, 1),
        (1, 1, 4, 3, 5, 6, (1, 1), 2, 0),
        (1, 1, 2, 17, 11, 8, (5, 2), 1, 2),
        (1, 3, 2, 2, 9, 10, (3, 3), 3, 1),
    ],
)
def test_convolution_with_bias_and_relu(
    images: int, groups: int, inside: int, outside: int, height: int, width: int,
    taps: tuple[int, int], stride: int, pad: int, mode: Mode,
) -> None:  # fmt: skip
    x = normal(images, groups * inside, height, width)
    w, bias = normal(groups * outside, inside, *taps), normal(groups * outside)
    seen = windows(x, taps, stride, pad)
    high, wide = seen.shape[2:4]
    split = seen.reshape(images, groups, inside, *seen.shape[2:])
    kinds = w.astype("f8").reshape(groups, outside, inside, *taps)
    true = np.einsum("ngchwyx,gocyx->ngohw", split, kinds).reshape(images, -1, high, wide)
    true = np.maximum(true + bias[:, None, None], 0)
    sizes = [
        images, groups, outside, high, wide, inside, stride, -pad, height, width,
        inside * taps[0] * taps[1], inside * height * width, height * width,
        groups * inside * height * width, outside * inside * taps[0] * taps[1],
        groups * outside * high * wide, outside * high * wide, high * wide,
    ]  # fmt: skip
    y = normal(*true.shape)
    names = ["convolution_of_any_window", *(["convolution"] if taps == (3, 3) else [])]
    found = []
    for name in names:
        own = [taps[0] * taps[1], taps[1], taps[0]] if name.endswith("window") else []
        made(name, [*sizes, *own], mode, p0=w, p1=x, p2=bias, p3=y)
        assert_close(y, true)
        found.append(y.copy())
    assert all(one.tobytes() == found[0].tobytes() for one in found)


@pytest.mark.thinned(3)
@diagonals(2, ("mode", MODES), ("stride,pad", [(1, 1), (2, 1), (3, 0)]), daily="vector")
def test_the_gradient_of_an_image_phase_by_phase(stride: int, pad: int, mode: Mode) -> None:
    images, inside, outside, height, width = 2, 5, 3, 9, 11
    w = normal(outside, inside, 3, 3)
    high, wide = ((side + 2 * pad - 3) // stride + 1 for side in (height, width))
    d = normal(images, outside, high, wide)
    framed = np.zeros((images, inside, height + 2 * pad, width + 2 * pad))
    for ky in range(3):
        for kx in range(3):
            part = framed[:, :, ky : ky + stride * high : stride, kx : kx + stride * wide : stride]
            part[:, :, :high, :wide] += np.einsum("nohw,oc->nchw", d.astype("f8"), w[:, :, ky, kx])
    true = framed[:, :, pad : pad + height, pad : pad + width]
    dx = np.zeros((images, inside, height, width), "f4")
    for f in range(stride):
        for g in range(stride):
            taps = [-(-(3 - phase) // stride) for phase in (f, g)]
            ahead = [-(-(pad - phase) // stride) for phase in (f, g)]
            y, x = (stride * q + phase - pad for q, phase in zip(ahead, (f, g), strict=True))
            sides = [-(-(height - y) // stride), -(-(width - x) // stride)]
            if min(sides) <= 0 or min(taps) <= 0:
                continue
            starts = [q + 1 - t for q, t in zip(ahead, taps, strict=True)]
            last = (f + stride * (taps[0] - 1)) * 3 + g + stride * (taps[1] - 1)
            sizes = [
                images, inside, *sides, outside, *taps, high, wide, stride, *starts,
                outside * high * wide, high * wide, inside * 9, 9, -3 * stride, -stride,
                inside * height * width, height * width, stride * width,
            ]  # fmt: skip
            made(
                "image_gradient",
                sizes,
                mode,
                p0=d,
                p1=w.ravel()[last:],
                p2=dx.ravel()[y * width + x :],
            )
    assert_close(dx, true)


@pytest.mark.thinned(4)
@diagonals(
    2, ("mode", MODES), ("stride,pad,inside,outside", [(1, 1, 3, 5), (2, 1, 2, 17)]), daily="vector"
)
def test_the_gradient_of_a_filter(
    stride: int, pad: int, inside: int, outside: int, mode: Mode
) -> None:
    images, height, width = 2, 7, 20
    x = normal(images, inside, height, width)
    seen = windows(x, (3, 3), stride, pad)
    high, wide = seen.shape[2:4]
    d, dw = normal(images, outside, high, wide), normal(outside, inside, 3, 3)
    sizes = [
        0, inside, outside, images, high, wide, height, width, stride, -pad,
        inside * height * width, height * width, outside * high * wide, high * wide, inside * 9,
    ]  # fmt: skip
    made("filter_gradient", sizes, mode, p0=x, p1=d, p2=dw)
    assert_close(dw, np.einsum("nohw,nchwyx->ocyx", d.astype("f8"), seen))


@pytest.mark.thinned(4)
@pytest.mark.parametrize(
    ("stride", "images", "high", "wide", "inside", "outside"),
    [(1, 2, 7, 20, 3, 37), (2, 3, 4, 10, 40, 17), (1, 3, 31, 61, 2, 3), (1, 2, 4200, 1, 1, 2)],
)
def test_a_fed_product_has_the_bits_of_others(
    stride: int, images: int, high: int, wide: int, inside: int, outside: int
) -> None:
    """Blocks of 4096 terms end in the middle of an image, and so may a table of its runs."""
    height, width = stride * high, stride * wide
    x, d = normal(images, inside, height, width), normal(images, outside, high, wide)
    plane = [stride * (n - 1) + 3 for n in (high, wide)]
    sizes = [
        0, inside, outside, images, high, wide, height, width, stride, -1,
        inside * height * width, height * width, outside * high * wide, high * wide, inside * 9,
    ]  # fmt: skip
    fed = [plane[0] * plane[1], plane[1], plane[0], stride * plane[1]]
    one, other = (np.zeros((outside, inside, 3, 3), "f4") for _ in range(2))
    made("filter_gradient", sizes, "vector", p0=x, p1=d, p2=one)
    made("fed_filter_gradient", [*sizes, *fed], "vector", p0=x, p1=d, p2=other)
    true = np.einsum("nohw,nchwyx->ocyx", d.astype("f8"), windows(x, (3, 3), stride, 1))
    assert_close(one, true, 1e-5)
    assert_same(other, one, "fed")
    narrow, kernel = np.zeros_like(one), kernel_of("product_kernels", "fed_filter_gradient")
    run(kernel, [*sizes, *fed], "vector", {"p0": x, "p1": d, "p2": narrow}, vector_bits=256)
    assert_same(narrow, one, "for narrow registers")
    if high * wide < 200:
        for mode in MODES:
            again = np.zeros_like(one)
            made("fed_filter_gradient", [*sizes, *fed], mode, p0=x, p1=d, p2=again)
            assert_same(again, one, mode)


@pytest.mark.thinned(10)
@diagonals(2, ("mode", MODES), ("taken", [-2, 0, 1, 3, 5]), daily="vector")
def test_a_fed_product_may_take_some_images(taken: int, mode: Mode) -> None:
    """As many as were kept, which are none below zero, and all that there are above."""
    inside, outside, images, high, wide = 3, 5, 4, 45, 60
    x, d = normal(images, inside, high, wide), normal(images, outside, high, wide)
    count = min(max(taken, 0), images)
    dw, wanted = (np.full((outside, inside, 3, 3), 9.0, "f4") for _ in range(2))
    own = [inside * high * wide, high * wide, outside * high * wide, high * wide, inside * 9]
    sizes = [0, inside, outside, images, high, wide, high, wide, 1, -1, *own]
    fed = [(high + 2) * (wide + 2), wide + 2, high + 2, wide + 2]
    made("fed_by_some_images", [*sizes, *fed, taken], mode, p0=x, p1=d, p2=dw)
    made("filter_gradient", [*sizes[:3], count, *sizes[4:]], "vector", p0=x, p1=d, p2=wanted)
    assert_same(dw, wanted, mode)


@pytest.mark.thinned(5)
@pytest.mark.parametrize(("taken", "points"), [(0, 9), (1, 0), (3, 1), (3, 1500), (9, 37)])
@pytest.mark.parametrize("mode", MODES)
def test_points_of_some_images_have_the_bits_of_one_row(
    taken: int, points: int, mode: Mode
) -> None:
    """Rows that lie apart from image to image: as if those of all images stood in one."""
    rows, columns, images = 17, 5, 4
    x, d = normal(images, rows, points), normal(images, columns, points)
    found, wanted = (np.full((rows, columns), 9.0, "f4") for _ in range(2))
    sizes = [rows, columns, images, points, rows * points, columns * points, taken]
    made("points_of_some_images", sizes, mode, p0=x, p1=d, p2=found)
    count = min(taken, images)
    one, other = (
        np.ascontiguousarray(a[:count].swapaxes(0, 1)).reshape(1, a.shape[1], -1) for a in (x, d)
    )
    long = [rows, columns, 1, count * points, 0, 0, 1]
    made("points_of_some_images", long, "vector", p0=one, p1=other, p2=wanted)
    assert_same(found, wanted, mode)
    assert_close(found, one[0].astype("f8") @ other[0].T)


@pytest.mark.thinned(3)
@diagonals(
    2,
    ("mode", MODES),
    ("name", ["depthwise", "depthwise_in_rows"]),
    ("height,width", [(1, 1), (5, 16), (9, 37)]),
    daily="vector",
)
def test_each_channel_by_itself(height: int, width: int, name: str, mode: Mode) -> None:
    images, channels = 2, 3
    x, w, bias = normal(images, channels, height, width), normal(channels, 9), normal(channels)
    y, area = normal(images, channels, height, width), height * width
    sizes = [images, channels, height, width, height, width, channels * area, area]
    made(name, sizes, mode, p0=w, p1=x, p2=bias, p3=y)
    seen = windows(x, (3, 3), 1, 1)
    true = np.einsum("nchwyx,cyx->nchw", seen, w.astype("f8").reshape(channels, 3, 3))
    assert_close(y, np.maximum(true + bias[:, None, None], 0))
