"""Samples of convolutions and of the ops on windows, and what else the registry's tests ask."""

from dataclasses import replace

import numpy as np

from staticgrad.language.ir.op import op_class
from staticgrad.language.ops.windows import place_dtype
from staticgrad.language.types.dtype import F32, F64
from tests.laws.array_samples import NUMBERS, apart, count_up, everywhere, extraordinary
from tests.laws.samples import Sample, declare, provides

GEOMETRIES = (
    ((7,), (3,), (1,), (1,), (1,), (1,)),
    ((6,), (2,), (2,), (1,), (0,), (0,)),
    ((9,), (2,), (3,), (1,), (1,), (0,)),
    ((5, 4), (3, 2), (1, 2), (1, 1), (1, 0), (0, 2)),
    ((6, 5), (2, 3), (2, 1), (2, 1), (0, 1), (1, 1)),
    ((4, 20), (2, 2), (2, 2), (1, 1), (0, 0), (0, 0)),
    ((3, 4, 3), (2, 2, 2), (1, 2, 1), (1, 1, 2), (0, 1, 1), (1, 0, 0)),
)
#: The same with an axis of size 0, which a border makes up for.
EMPTY = ((0,), (2,), (1,), (1,), (1,), (2,))


def windows(geometry):
    """Return the number of windows along each axis."""
    return tuple(
        (n + a + b - d * (k - 1) - 1) // s + 1 for n, k, s, d, a, b in zip(*geometry, strict=True)
    )


def op_of(name, geometry):
    """The op, and the last sizes of its operand and of its second one."""
    image, taps, strides, dilation, padding, _ = geometry
    extents = windows(geometry)
    spreads = name in ("fold", "window_put")
    op = op_class(name)(taps, strides, dilation, padding, image if spreads else extents)
    sizes = (*taps, *extents) if name == "fold" else extents if spreads else image
    return op, sizes, extents


def _unary(name):
    def provider(rng):
        for geometry in (*GEOMETRIES, EMPTY):
            op, sizes, _ = op_of(name, geometry)
            smooth = name != "window_max" or not _has_empty_windows(geometry)
            for sample in everywhere(op, (2, *sizes), rng, NUMBERS):
                yield replace(sample, smooth=sample.smooth and smooth)
        yield Sample(op_of(name, GEOMETRIES[0])[0], (np.ones((0, *op_of(name, GEOMETRIES[0])[1])),))

    return provider


def _has_empty_windows(geometry):
    """Return whether a window may have no element of the image: its maximum is infinite."""
    image, taps, _, dilation, low, high = geometry
    described = zip(image, taps, dilation, low, high, strict=True)
    return any(n == 0 or d * (k - 1) + 1 <= max(a, b) for n, k, d, b, a in described)


def _at_size(name):
    def make(n):
        for geometry in (
            ((n + 3,), (3,), (1,), (1,), (0,), (0,)),
            ((n,), (3,), (2,), (1,), (1,), (2,)),
        ):
            op, sizes, extents = op_of(name, geometry)
            for dtype in (F32, F64):
                x = _whole((3, *sizes), dtype)
                more = (_places((3, *extents), op.taps),) if name in _PAIRS else ()
                yield Sample(op, (x, *more))

    return make


def _whole(shape, dtype):
    """Small whole numbers, exact in every order of sums."""
    return ((count_up(shape, F64) * 7 + 3) % 23 - 11).astype(dtype.numpy)


def _places(shape, taps):
    count = np.arange(int(np.prod(shape))).reshape(shape)
    return ((count * 5 + 1) % int(np.prod(taps))).astype(place_dtype(taps).numpy)


_PAIRS = ("window_take", "window_put")
_UNARY = ("window_sum", "window_max", "window_place", "unfold", "fold")
for _name in _UNARY:
    provides(_name)(_unary(_name))
    declare(_name, f"{_name}(x, op)", ("iuf",), _at_size(_name))


def _selecting(name):
    def provider(rng):
        for geometry in (*GEOMETRIES, EMPTY):
            op, sizes, extents = op_of(name, geometry)
            places = _places((2, *extents), geometry[1])
            for sample in everywhere(op, (2, *sizes), rng, NUMBERS):
                yield Sample(op, (*sample.arrays, places), sample.smooth)
        wide = ((190,), (130,), (1,), (1,), (0,), (0,))
        op, sizes, extents = op_of(name, wide)
        yield Sample(op, (apart(rng, sizes), _places(extents, wide[1])))

    return provider


for _name in _PAIRS:
    provides(_name)(_selecting(_name))
    declare(_name, f"{_name}(x, y, op)", ("iuf", "i"), _at_size(_name))


def _convolution(name, geometry, groups):
    """A convolution of two images with 2 * groups channels, and the shapes of its operands."""
    image, taps, strides, dilation, padding, _ = geometry
    counts = windows(geometry)
    x, y = (2, 2 * groups, *image), (2, 3 * groups, *counts)
    w = (3 * groups, 2, *taps)
    extents, a, b = {
        "conv": (counts, x, w),
        "conv_image": (image, y, w),
        "conv_filter": (taps, x, y),
    }[name]
    return op_class(name)(strides, dilation, padding, extents, groups), a, b


def _product(name):
    def provider(rng):
        for geometry in (*GEOMETRIES, EMPTY):
            for groups in (1, 2):
                op, a, b = _convolution(name, geometry, groups)
                yield Sample(op, (apart(rng, a), apart(rng, b)), smooth=True)
        op, a, b = _convolution(name, GEOMETRIES[3], 1)
        for dtype in NUMBERS:
            yield Sample(op, (count_up(a, dtype), count_up(b, dtype)))
        yield from _strange(name, rng)

    return provider


def _strange(name, rng):
    """Sums of one term, of special values of each operand and ones."""
    for dtype in (F32, F64):
        if name == "conv_filter":
            shapes = ((1, 90, 1), (1, 1, 1)), ((1, 1, 1), (1, 90, 1))
        else:
            shapes = ((2, 1, 90), (1, 1, 1)), ((2, 1, 3), (1, 90, 1))
            shapes = shapes if name == "conv_image" else (shapes[0], ((2, 1, 3), (90, 1, 1)))
        for chosen, (a, b) in enumerate(shapes):
            extents = (1,) if name == "conv_filter" else (a[2],)
            op = op_class(name)((1,), (1,), (0,), extents)
            ones = np.ones((b, a)[chosen], dtype.numpy)
            special = extraordinary(rng, (a, b)[chosen], dtype)
            yield Sample(op, (special, ones) if chosen == 0 else (ones, special))


def _products(name):
    def make(n):
        for dtype in (F32, F64):
            op, a, b = _convolution(name, ((n + 2,), (2,), (1,), (1,), (0,), (0,)), 1)
            yield Sample(op, (_whole(a, dtype), _whole(b, dtype)))

    return make


for _name in ("conv", "conv_image", "conv_filter"):
    provides(_name)(_product(_name))
    declare(_name, f"{_name}(x, y, op)", ("iuf", "iuf"), _products(_name))
