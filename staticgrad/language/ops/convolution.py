"""Convolution, and its two transposes: of an image, a filter and a result any two give the third.

One sum, seen from three sides. With x [n, groups * c, image...], w [groups * o, c, taps...] and
y [n, groups * o, windows...], a term belongs to each (n, group, c, o, window, tap) whose index
``strides * window + dilation * tap - before`` lies in the image. ``conv`` adds up x * w for each
element of y, ``conv_image`` y * w for each of x, ``conv_filter`` x * y for each of w. Of each the
derivatives are the other two, so that every order of differentiation stays among the three.

**Order of the sums.** The terms of an element are flattened in C order: of y by (c, taps), of w by
(n, windows), and of x by (o, taps over the element), taps in ascending order. Blocks of
``GEMM_BLOCK`` = 4096 consecutive terms, places outside of the image included, are one chain of
fused multiply-adds each, from 0; block results are added one after the other. Integers wrap. The
bits do not depend on how a kernel is cut, what follows in it, or the number of threads. What lies
outside of the image counts as zeros: how these multiply with what is not finite is not defined.
The references add up in double precision.

Dense windows of three by three taps over many channels (``passes/late/windows.py`` says which) are
computed in tiles, also with dilation, and along the last two of three axes: y and x are then sums
of sixteen such products over the channels, and the taps of the first of three axes, of differences
of elements and of combined taps. So are windows of up to nine by nine taps, also with strides,
where the products sum over pieces of taps, too. That is as exact, and what is not finite may reach
the three other results of its tile. Of a gradient w, the sums over the tiles of a strip are chains,
and are added up strip by strip.

Where strides hardly make filters of whole strides longer, elements of y have the order of terms
that they have with remainders of the strides as channels (``passes/late/windows.py``), and so
have those of x, if there are many remainders.

If there are fewer windows than channels of the filter, an element of x is the sum over its taps, in
ascending order, of sums over o, and sums of one window follow the lane rule of ``ir/summation.py``.

A gradient w in tiles, and one of few channels, is the sum of ``parts`` partial ones, each of as
many images after each other, so that several threads have work (``passes/late/windows.py``
says how many). Of each the terms are flattened and added up as above. One of windows side by side
whose taps fill half a vector is a product of matrices instead (``passes/late/windows.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any, ClassVar, Final, Literal

import numpy as np

from staticgrad.errors import RankError, ShapeError
from staticgrad.language.ir.forms import Form, WindowAxis, WindowProduct
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ops.contract import bytes_of, join_pairs, other_sign
from staticgrad.language.ops.elementwise import quiet
from staticgrad.language.ops.operands import BilinearOp
from staticgrad.language.ops.tiles import combined_taps, tile_taps
from staticgrad.language.ops.windows import (
    batched_windows,
    check_geometry,
    check_numbers,
    check_windows,
    each_tap,
    last,
    window_axes,
)
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import Shape, TensorType
from staticgrad.language.types.dim import Dim, Size
from staticgrad.language.types.dtype import I8, U8, U32, DType
from staticgrad.support.records import NamedTuple

#: Channels on each side of a filter whose sums are taken together.
CHANNELS_TOGETHER: Final = 64
#: Bytes of the patches that are computed together on tensors: half of an L2 cache.
_PATCHES: Final = 256 * 1024


class Convolution(BilinearOp):
    """The common base of a convolution and its two transposes.

    ``extents`` are the last sizes of the result.
    ``tiles``: the last two axes of the filter have combined taps, of which tiles are computed
    (``staticgrad/language/ops/tiles.py``). ``factors``: ``u8`` or ``i8`` if filters and images are
    words of four channels, as those of ``MatMul``, of which filters are the first factor; ``bf16``
    if it may multiply bfloat16 numbers. In tiles it does: combined taps are float32 numbers whose
    bits are those of two channels (``pair_numbers``), half of all channels apart. ``u32``: both
    operands are float32 numbers whose bits are those of two channels, or of two images in the
    gradient of a filter. No derivative is taken of what is put so.
    """

    flops: ClassVar[int] = 2  # per term
    result: ClassVar[Literal["windows", "image", "filter"]]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[Size, ...]
    extents: tuple[Size, ...]
    groups: int = 1
    tiles: bool = False
    factors: DType | None = None

    def check(self, *types: TensorType) -> None:
        """Check that a convolution's operands are batches of images, or filters, of one dtype."""
        check_numbers(*types)
        check_geometry(self.strides, self.dilation, self.before, self.extents)
        rank = len(self.strides) + 2
        for kind in types:
            if len(kind.shape) != rank:
                operands = " and ".join(map(str, types))
                raise RankError(f"{self.name}: {operands} need {rank} axes each")

    def part(self, channels: Size, what: str) -> Size:
        """The channels of one group."""
        per_group = _divide(channels, self.groups)
        if per_group is None:
            raise ShapeError(f"{self.name}: {channels} {what} channels in {self.groups} groups")
        return per_group

    def same(self, left: Size, right: Size, text: str) -> None:
        """Refuse sizes that differ, or note the guard under which they agree."""
        if left.__class__ is right.__class__ is int and left == right:
            return
        if not dims.equal(left, right, f"{self.name}: {text}, {left} != {right}"):
            raise ShapeError(f"{self.name}: {text}, {left} != {right}")

    @property
    def is_paired(self) -> bool:
        """True if elements of the filter are two numbers each."""
        return self.tiles and self.factors is not None

    def axes(self, image: Shape, taps: Shape, windows: Shape) -> tuple[WindowAxis, ...]:
        """The axes of the windows."""
        if self.tiles and self.result != "filter":
            last = zip(taps[-2:], self.strides[-2:], strict=True)
            taps = (*taps[:-2], *[combined_taps(tap, step) for tap, step in last])
        return window_axes(self.strides, self.dilation, self.before, taps, image, windows)

    def taps_of(self, w: Array) -> Array:
        """Return the taps of a convolution's filter operand."""
        if not self.tiles:
            return w
        if self.is_paired:
            w = join_pairs(w, int(self.result == "windows"))
        axes = self.axes(self.extents, w.shape[2:], self.extents)[-2:]
        down, across = (tile_taps(axis, self.result == "windows") for axis in axes)
        assert down
        assert across
        taps: Array = down.separations() @ w.astype(np.float64) @ across.separations().T
        return taps

    def is_exact(self, x: Array) -> bool:
        """Return whether tensors use the reference computation too: integers, and tiles."""
        return x.dtype.kind != "f" or self.tiles or not x.size

    def same_windows(self, kind: type[Convolution], like: Any) -> Convolution:
        """Another of the three over the same windows, whose result is of the type of ``like``."""
        return kind(self.strides, self.dilation, self.before, like.shape[2:], self.groups)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """The batch joins the images, the channels or the groups, as ``batched_windows`` says."""
        return batched_windows(self, size, args, over)

    def value_range(self, of: RangeOf, a: Any, b: Any) -> Range | None:
        total = (of(a) * of(b)).sum()
        return total | Range(0.0, 0.0)  # of no terms


def _divide(size: Size, by: int) -> Size | None:
    if by == 1:
        return size
    if isinstance(size, Dim):
        return dims.divide_exactly(size, by)
    return size // by if size % by == 0 else None


def _wide(*arrays: Array) -> tuple[Array, ...]:
    """Floats in double precision, so that a reference is rounded once; in C order.

    NumPy's products round in other places where an operand has other strides.
    """
    kinds = [np.dtype(np.float64) if a.dtype.kind == "f" else a.dtype for a in arrays]
    return tuple(np.ascontiguousarray(a, k) for a, k in zip(arrays, kinds, strict=True))


def _split_groups(array: Array, groups: int, axis: int) -> Array:
    """An array with an axis of channels as one of groups and one of the channels of each."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def _flat(array: Array) -> Array:
    """An array with its places, the axes from the third on, as one axis."""
    return array.reshape(*array.shape[:3], prod(array.shape[3:]))


class _Part(NamedTuple):
    """Some images and some rows of their windows, whose patches are computed together."""

    images: slice
    rows: slice

    def taps(self, axes: Sequence[WindowAxis]) -> Iterator[tuple[Any, Any, Any]]:
        """Yield the indices of each filter tap: among taps, in the images, among the windows."""
        first, end = self.rows.start, self.rows.stop
        for tap, image, windows in each_tap(axes):
            low, high = max(windows[0].start, first), min(windows[0].stop, end)
            if low < high:
                step = image[0].step
                start = image[0].start + (low - windows[0].start) * step
                read = slice(start, start + (high - 1 - low) * step + 1, step)
                rows = slice(low - first, high - first)
                yield last(tap), (..., read, *image[1:]), (..., *tap, rows, *windows[1:])


def _parts(images: int, row: int, axes: Sequence[WindowAxis]) -> Iterator[_Part]:
    """Split the windows of a convolution so that the patches of each part fit into a cache."""
    rows, *inner = [int(axis.windows) for axis in axes]
    chunk = max(_PATCHES // max(row * prod(inner), 1), 1)
    if chunk >= rows:
        for n in range(0, images, max(chunk // max(rows, 1), 1)):
            yield _Part(slice(n, min(n + max(chunk // max(rows, 1), 1), images)), slice(0, rows))
        return
    for n in range(images):
        for r in range(0, rows, chunk):
            yield _Part(slice(n, n + 1), slice(r, min(r + chunk, rows)))


def _patches(images: Array, axes: Sequence[WindowAxis], part: _Part) -> Array:
    """Gather the patches (im2col) of a part's windows: [g, c * taps, n * windows]."""
    read = np.moveaxis(images[part.images], 0, 2)  # [g, c, n, image...]
    sizes = [part.rows.stop - part.rows.start, *(int(axis.windows) for axis in axes[1:])]
    taps = [int(axis.taps) for axis in axes]
    patches = np.zeros((*read.shape[:2], *taps, read.shape[2], *sizes), images.dtype)
    transposed = np.moveaxis(patches, 2 + len(taps), 2)  # [g, c, n, taps..., windows...]
    for _, image, windows in part.taps(axes):
        transposed[windows] = read[image]
    return patches.reshape(read.shape[0], read.shape[1] * prod(taps), read.shape[2] * prod(sizes))


def _windows_of(results: Array, part: _Part) -> Array:
    """The results of a part, [n, g, o, windows...], as [g, o, n * windows]."""
    chosen = np.moveaxis(results[part.images, :, :, part.rows], 0, 2)
    return chosen.reshape(*chosen.shape[:2], prod(chosen.shape[2:]))


class Conv(Convolution, name="conv"):
    """y[n, o, window] = sum of x[n, c, its taps' elements] * w[o, c, tap] over c and taps."""

    result = "windows"

    def infer(self, x: TensorType, w: TensorType) -> TensorType:
        self.check(x, w)
        self.part(w.shape[0], "output")
        channels = w.shape[1] * (2 if self.is_paired else 1)
        self.same(x.shape[1], self.groups * channels, "channels of image and filter differ")
        check_windows(self.axes(x.shape[2:], w.shape[2:], self.extents), 2)
        return x.with_shape((x.shape[0], w.shape[0], *self.extents))

    def eager(self, x: Array, w: Array) -> Any:
        """Compute a convolution by matrix products of filters and patches, part by part."""
        if self.is_exact(x):
            return self.reference(x, w)
        axes = self.axes(x.shape[2:], w.shape[2:], self.extents)
        images = _split_groups(x, self.groups, 1)
        filters = w.reshape(self.groups, w.shape[0] // self.groups, prod(w.shape[1:]))
        shape = (len(x), *filters.shape[:2], *map(int, self.extents))
        out = np.zeros(shape, x.dtype)
        for part in _parts(len(x), prod(w.shape[1:]) * x.itemsize, axes):
            place = np.moveaxis(out[part.images, :, :, part.rows], 0, 2)
            place[...] = np.matmul(filters, _patches(images, axes, part)).reshape(place.shape)
        return out.reshape(len(x), w.shape[0], *out.shape[3:])

    @quiet
    def reference(self, x: Array, w: Array) -> Any:
        """Compute a convolution by NumPy in the compute dtype, tap by tap."""
        w = self.taps_of(w)
        if self.factors is U32:
            x, w = join_pairs(x, 1), join_pairs(w, 1)
        if self.factors in (U8, I8):
            x, w = bytes_of(x, other_sign(self.factors), 1), bytes_of(w, self.factors, 1)
        wide_x, wide_w = _wide(x, w)
        images, filters = (
            _split_groups(wide_x, self.groups, 1),
            _split_groups(wide_w, self.groups, 0),
        )
        shape = (x.shape[0], *filters.shape[:2], *map(int, self.extents))
        out = np.zeros(shape, wide_x.dtype)
        for tap, image, windows in each_tap(self.axes(x.shape[2:], w.shape[2:], self.extents)):
            read = images[last(image)]
            products = np.matmul(filters[last(tap)], _flat(read))
            out[last(windows)] += products.reshape(*products.shape[:3], *read.shape[3:])
        return out.reshape(x.shape[0], w.shape[0], *out.shape[3:]).astype(x.dtype)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a convolution: its transposes with respect to image and filter."""
        x, w = args
        if not out.dtype.is_float:
            return None, None
        return (
            self.same_windows(ConvImage, x)(ct, w) if needed[0] else None,
            self.same_windows(ConvFilter, w)(x, ct) if needed[1] else None,
        )

    def form(self, out: TensorType, *types: TensorType) -> Form:
        x, w = types
        axes = self.axes(x.shape[2:], w.shape[2:], out.shape[2:])
        return WindowProduct(self.result, self.groups, axes, self.tiles, factors=self.factors)


class ConvImage(Convolution, name="conv_image"):
    """x[n, c, element] = sum of y[n, o, window] * w[o, c, tap] over o and what reads the element.

    The transposed convolution, and the gradient of one with respect to its image.
    """

    result = "image"

    def infer(self, y: TensorType, w: TensorType) -> TensorType:
        self.check(y, w)
        self.part(w.shape[0], "input")
        channels = w.shape[0] * (2 if self.is_paired else 1)
        self.same(y.shape[1], channels, "channels of operand and filter differ")
        return y.with_shape((y.shape[0], self.groups * w.shape[1], *self.extents))

    def eager(self, y: Array, w: Array) -> Any:
        """Compute a convolution's image gradient: products of filters and results, added to
        windows.
        """
        if self.is_exact(y):
            return self.reference(y, w)
        axes = self.axes(self.extents, w.shape[2:], y.shape[2:])
        results = _split_groups(y, self.groups, 1)
        filters = w.reshape(self.groups, w.shape[0] // self.groups, prod(w.shape[1:]))
        out = np.zeros((len(y), self.groups, w.shape[1], *map(int, self.extents)), y.dtype)
        for part in _parts(len(y), prod(w.shape[1:]) * y.itemsize, axes):
            products = np.matmul(filters.swapaxes(-1, -2), _windows_of(results, part))
            place = np.moveaxis(out[part.images], 0, 2)  # [g, c, n, image...]
            sizes = (part.rows.stop - part.rows.start, *results.shape[4:])
            products = products.reshape(*place.shape[:2], *w.shape[2:], place.shape[2], *sizes)
            transposed = np.moveaxis(products, 2 + len(sizes), 2)
            for _, image, windows in part.taps(axes):
                place[image] += transposed[windows]
        return out.reshape(len(y), self.groups * w.shape[1], *out.shape[3:])

    @quiet
    def reference(self, y: Array, w: Array) -> Any:
        """Compute a convolution's image gradient by NumPy, tap by tap."""
        w = self.taps_of(w)
        if self.factors is U32:
            y, w = join_pairs(y, 1), join_pairs(w, 0)
        wide_y, wide_w = _wide(y, w)
        results, filters = (
            _split_groups(wide_y, self.groups, 1),
            _split_groups(wide_w, self.groups, 0),
        )
        shape = (y.shape[0], self.groups, w.shape[1], *map(int, self.extents))
        out = np.zeros(shape, wide_y.dtype)
        for tap, image, windows in each_tap(self.axes(self.extents, w.shape[2:], y.shape[2:])):
            read = results[last(windows)]
            products = np.matmul(filters[last(tap)].swapaxes(-1, -2), _flat(read))
            out[last(image)] += products.reshape(*products.shape[:3], *read.shape[3:])
        return out.reshape(y.shape[0], shape[1] * shape[2], *shape[3:]).astype(y.dtype)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a convolution's image gradient: a convolution and a filter gradient."""
        y, w = args
        if not out.dtype.is_float:
            return None, None
        return (
            self.same_windows(Conv, y)(ct, w) if needed[0] else None,
            self.same_windows(ConvFilter, w)(ct, y) if needed[1] else None,
        )

    def form(self, out: TensorType, *types: TensorType) -> Form:
        y, w = types
        axes = self.axes(out.shape[2:], w.shape[2:], y.shape[2:])
        return WindowProduct(self.result, self.groups, axes, self.tiles, factors=self.factors)


class ConvFilter(Convolution, name="conv_filter"):
    """w[o, c, tap] = sum of x[n, c, element] * y[n, o, window] over n and windows.

    The gradient of a convolution with respect to its filter. With ``parts`` so many partial ones,
    w [parts, o, c, taps...], each of as many images after each other; the last ones may have fewer,
    or none. No derivative is taken of these.
    """

    result = "filter"
    parts: int = 0

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        self.check(x, y)
        self.same(x.shape[0], y.shape[0], "batches differ")
        self.part(y.shape[1], "output")
        shape = (y.shape[1], self.part(x.shape[1], "input"), *self.extents)
        return x.with_shape((self.parts, *shape) if self.parts else shape)

    def eager(self, x: Array, y: Array) -> Any:
        """Compute a convolution's filter gradient: products of results and patches."""
        if self.is_exact(x) or self.parts:
            return self.reference(x, y)
        axes = self.axes(x.shape[2:], self.extents, y.shape[2:])
        images, results = _split_groups(x, self.groups, 1), _split_groups(y, self.groups, 1)
        channels, taps = images.shape[2], tuple(map(int, self.extents))
        out = np.zeros((self.groups, results.shape[2], channels * prod(taps)), x.dtype)
        for part in _parts(len(x), channels * prod(taps) * x.itemsize, axes):
            patches = _patches(images, axes, part)
            out += np.matmul(_windows_of(results, part), patches.swapaxes(-1, -2))
        return out.reshape(y.shape[1], channels, *taps)

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        """Compute a convolution's filter gradient by NumPy, tap by tap."""
        if self.parts:
            unsplit, chunk = replace(self, tiles=False, parts=0), -(-len(x) // self.parts)
            cuts = [slice(n * chunk, (n + 1) * chunk) for n in range(self.parts)]
            return np.stack([unsplit.reference(x[cut], y[cut]) for cut in cuts])
        if self.factors is U32:
            x, y = join_pairs(x, 0), join_pairs(y, 0)
        wide_x, wide_y = _wide(x, y)
        images, results = (
            _split_groups(wide_x, self.groups, 1),
            _split_groups(wide_y, self.groups, 1),
        )
        shape = (self.groups, results.shape[2], images.shape[2], *map(int, self.extents))
        out = np.zeros(shape, wide_x.dtype)
        for tap, image, windows in each_tap(self.axes(x.shape[2:], self.extents, y.shape[2:])):
            left, right = (
                np.moveaxis(_flat(a), 0, 2) for a in (results[last(windows)], images[last(image)])
            )
            left, right = (a.reshape(*a.shape[:2], a.shape[2] * a.shape[3]) for a in (left, right))
            out[last(tap)] = np.matmul(left, right.swapaxes(-1, -2))
        return out.reshape(y.shape[1], *shape[2:]).astype(x.dtype)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a convolution's filter gradient: a convolution and an image gradient."""
        x, y = args
        if not out.dtype.is_float:
            return None, None
        return (
            self.same_windows(ConvImage, x)(y, ct) if needed[0] else None,
            self.same_windows(Conv, y)(x, ct) if needed[1] else None,
        )

    def form(self, out: TensorType, *types: TensorType) -> Form:
        x, y = types
        axes = self.axes(x.shape[2:], self.extents, y.shape[2:])
        return WindowProduct(self.result, self.groups, axes, self.tiles, self.parts, self.factors)
