"""Images read at places of one's own, and channels as places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any, Final, Literal

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.wording import shown
from staticgrad.families import like
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_value, floating, integer, promoted_values, related
from staticgrad.ops.selection import maximum, minimum, where

__all__ = ["affine_grid", "grid_sample", "pixel_shuffle", "pixel_unshuffle"]

Border = Literal["zeros", "border", "reflection"]
_MODES: Final = ("bilinear", "nearest")
_BORDERS: Final = ("zeros", "border", "reflection")


def grid_sample(
    x: Operand[AnyValue],
    grid: Operand[AnyValue],
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding_mode: Border = "zeros",
    align_corners: bool = False,
) -> AnyValue:
    """Images read at the places that a grid names, as spatial transformers do.

    M. Jaderberg et al., arXiv 1506.02025. -1 and 1 are the ends of an axis.

    Args:
        x: images [batch, channels, *sizes] with one to three sizes, known at build.
        grid: for each element of the result a place in x [batch, *new sizes, axes], the last axis
            of x first: (column, row) of two.
        mode: "bilinear", linear between the neighbours along each axis; or "nearest".
        padding_mode: what lies outside: "zeros", the nearest element of the "border", or the image
            again, reflected at its ends.
        align_corners: whether -1 and 1 are the centres of the outermost elements, or their edges.

    Returns:
        The elements [batch, channels, *new sizes]. With "nearest" no gradient reaches the grid.

    >>> image = [[[[1.0, 2.0], [3.0, 4.0]]]]
    >>> sg.evaluate(sg.nn.grid_sample(image, [[[[0.0, 0.0], [-0.5, 0.5]]]])).ravel()
    array([2.5, 3. ])
    """
    image, places = (floating("grid_sample", v) for v in promoted_values("grid_sample", (x, grid)))
    for name, given, known in (("mode", mode, _MODES), ("padding_mode", padding_mode, _BORDERS)):
        if given not in known:
            raise ArgumentError(f"grid_sample: {name}={shown(given)} is not one of {known}")
    sizes = _sizes(image, places)
    axes = len(sizes)
    batch, channels = image.shape[:2]
    flat = functions.reshape(image, (batch, channels, prod(sizes)))
    points = functions.reshape(places, (batch, -1, axes))
    along = [
        _on_axis(points[:, :, axes - 1 - axis], size, mode, padding_mode, align_corners)
        for axis, size in enumerate(sizes)
    ]
    read = sum(_corner(flat, sizes, ways) for ways in product(*along))
    found: AnyValue = functions.reshape(read, (batch, channels, *places.shape[1:-1]))
    return found


def _sizes(image: Any, places: Any) -> list[int]:
    """The sizes of images, which places of a grid are to lie in."""
    axes = image.ndim - 2
    if not 1 <= axes <= 3 or places.ndim != image.ndim:
        raise RankError(
            f"grid_sample: images {image.type} and a grid {places.type}",
            hint="x [batch, channels, height, width] and grid [batch, rows, columns, 2]",
            related=related(image, places),
        )
    if places.shape[-1] != axes:
        raise ShapeError(
            f"grid_sample: places of {places.shape[-1]} numbers in images of {axes} axes",
            related=related(image, places),
        )
    sizes = [integer("grid_sample", "size", size, image) for size in image.shape[2:]]
    if 0 in sizes:
        raise ShapeError("grid_sample: images without elements", related=related(image))
    return sizes


def _on_axis(
    at: Any, size: int, mode: str, border: str, align_corners: bool
) -> list[tuple[Any, Any]]:
    """The elements of an axis that are read for each place, and with which weight: one or two."""
    at = (at + 1) * ((size - 1) / 2) if align_corners else ((at + 1) * size - 1) * 0.5
    if border == "reflection":
        at = _reflected(at, size, align_corners)
    if border != "zeros":
        at = minimum(maximum(at, 0.0), float(size - 1))
    if mode == "nearest":
        return [_element(functions.rint(at), 1.0, size)]
    below = functions.floor(at)
    above = at - below
    return [_element(below, 1.0 - above, size), _element(below + 1.0, above, size)]


def _element(at: Any, weight: Any, size: int) -> tuple[Any, Any]:
    """The index of an element, and its weight, which is 0 outside of the image."""
    inside = (at >= 0.0) & (at <= float(size - 1))
    index = functions.clip(at, 0.0, float(size - 1)).astype("int64")
    return functions.clip(index, 0, size - 1), where(inside, weight, 0.0)


def _reflected(at: Any, size: int, align_corners: bool) -> Any:
    """Places folded back at the centres of the outermost elements, or at their edges."""
    low, span = (0.0, float(size - 1)) if align_corners else (-0.5, float(size))
    if span == 0:
        return at * 0.0
    away = functions.absolute(at - low)
    turns = functions.floor(away / span)
    rest = away - turns * span
    is_even = functions.floor(turns * 0.5) * 2.0 == turns
    return where(is_even, rest, span - rest) + low


def _corner(flat: Any, sizes: Sequence[int], ways: Sequence[tuple[Any, Any]]) -> Any:
    """The elements at one index of each axis, times the product of their weights."""
    index, weight = ways[0]
    for size, (further, share) in zip(sizes[1:], ways[1:], strict=True):
        index, weight = index * size + further, weight * share
    read = functions.take_along_axis(flat, functions.expand_dims(index, 1), axis=2)
    return read * functions.expand_dims(weight.astype(flat.dtype), 1)


def affine_grid(
    theta: Operand[AnyValue], size: Sequence[int], align_corners: bool = False
) -> AnyValue:
    """The places that an affine map gives to the elements of an image: a grid for ``grid_sample``.

    Args:
        theta: a matrix for each image [batch, axes, axes + 1], of the place behind a 1: the last
            axis of the image first.
        size: that of the result of ``grid_sample``, (batch, channels, *sizes), known at build.
        align_corners: as for ``grid_sample``.

    Returns:
        The grid [batch, *sizes, axes].

    >>> sg.evaluate(sg.nn.affine_grid([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], (1, 1, 1, 2))).ravel()
    array([-0.5,  0. ,  0.5,  0. ])
    """
    maps = floating("affine_grid", as_value("affine_grid", theta))
    sizes = [integer("affine_grid", "size", each, maps) for each in [*size][2:]]
    axes = len(sizes)
    if maps.ndim != 3 or tuple(maps.shape[1:]) != (axes, axes + 1) or not axes:
        raise ShapeError(
            f"affine_grid: theta {maps.type} for images of {axes} axes",
            hint="[batch, 2, 3] for size (batch, channels, height, width)", related=related(maps),
        )  # fmt: skip
    at = np.indices(sizes)
    ends = [max(n - 1, 1) if align_corners else n for n in sizes]
    lines = [
        (2 * at[axis] - (n - 1)) / end
        for axis, (n, end) in enumerate(zip(sizes, ends, strict=True))
    ]
    places = np.stack([*lines[::-1], np.ones(sizes)], axis=-1)
    rows = places.reshape(-1, axes + 1).astype(maps.dtype.numpy)
    found = functions.matmul(rows, functions.swapaxes(maps, 1, 2))
    grid: AnyValue = functions.reshape(found, (maps.shape[0], *sizes, axes))
    return grid


def pixel_shuffle(x: Operand[AnyValue], upscale_factor: int) -> AnyValue:
    """Channels as places: [..., c * r * r, h, w] becomes [..., c, h * r, w * r].

    W. Shi et al., arXiv 1609.05158.

    Args:
        x: images [..., channels, height, width].
        upscale_factor: r, by whose square the channels are divisible.

    Returns:
        The same elements in larger images of fewer channels.

    Raises:
        ArgumentError: a factor that is not positive; channels only known at run time.

    >>> sg.evaluate(sg.nn.pixel_shuffle([[[1]], [[2]], [[3]], [[4]]], 2))
    array([[[1, 2],
            [3, 4]]])
    """
    image, r = _image("pixel_shuffle", "upscale_factor", x, upscale_factor)
    *batch, channels, height, width = image.shape
    many = integer("pixel_shuffle", "channels", channels, image)
    if many % (r * r):
        raise ShapeError(
            f"pixel_shuffle: {many} channels are not divisible by {r * r}", related=related(image)
        )
    apart = functions.reshape(image, (*batch, many // (r * r), r, r, height, width))
    n = len(batch)
    turned = functions.transpose(apart, (*range(n + 1), n + 3, n + 1, n + 4, n + 2))
    found: AnyValue = functions.reshape(turned, (*batch, many // (r * r), height * r, width * r))
    return found


@like(pixel_shuffle)
def pixel_unshuffle(x: Operand[AnyValue], downscale_factor: int) -> AnyValue:
    """Places as channels, the inverse of ``pixel_shuffle``.

    Args:
        downscale_factor: r, which divides height and width.

    Returns:
        The same elements in smaller images of more channels [..., c * r * r, h / r, w / r].

    Raises:
        ArgumentError: a factor that is not positive; sizes only known at run time.

    >>> sg.evaluate(sg.nn.pixel_unshuffle([[[1, 2], [3, 4]]], 2)).ravel()
    array([1, 2, 3, 4])
    """
    image, r = _image("pixel_unshuffle", "downscale_factor", x, downscale_factor)
    *batch, channels, height, width = image.shape
    rows, columns = (integer("pixel_unshuffle", "size", s, image) for s in (height, width))
    if rows % r or columns % r:
        raise ShapeError(
            f"pixel_unshuffle: {rows} x {columns} is not divisible by {r}", related=related(image)
        )
    apart = functions.reshape(image, (*batch, channels, rows // r, r, columns // r, r))
    n = len(batch)
    turned = functions.transpose(apart, (*range(n + 1), n + 2, n + 4, n + 1, n + 3))
    shape = (*batch, channels * (r * r), rows // r, columns // r)
    found: AnyValue = functions.reshape(turned, shape)
    return found


def _image(op: str, name: str, x: Any, factor: int) -> tuple[Any, int]:
    image = as_value(op, x)
    r = integer(op, name, factor)
    if image.ndim < 3:
        raise RankError(
            f"{op}: {image.type} where [..., channels, height, width] is due",
            related=related(image),
        )
    if r < 1:
        raise ArgumentError(f"{op}: {name}={r} is not positive")
    return image, r


publish(globals(), __name__, __all__)
