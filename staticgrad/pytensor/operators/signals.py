"""Rows of convolutions and Fourier transforms."""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import staticgrad.functions as sg
from staticgrad import fft, nn
from staticgrad.bridges.tables import unsupported_variant
from staticgrad.extend import Size
from staticgrad.pytensor.operators.registry import (
    PyTensorType,
    is_known,
    operator,
    size,
    sizes,
    value,
)


def _read_mode(is_full: Any) -> Literal["full", "valid"]:
    if not is_known(is_full):
        raise unsupported_variant("a mode of a convolution that only a run computes")
    return "full" if bool(is_full) else "valid"


@operator("Convolve1d")
def _convolve(a: Any, b: Any, is_full: Any, *, out: PyTensorType) -> Any:
    return sg.convolve(value(a, out.dtype), value(b, out.dtype), _read_mode(is_full))


@operator("Convolve2d")
def _convolve_images(
    a: Any, b: Any, is_full: Any, *, out: PyTensorType, method: str = "auto"
) -> Any:
    mode = _read_mode(is_full)
    a, b = value(a, out.dtype), value(b, out.dtype)
    if not all(isinstance(n, int) for n in (*a.shape, *b.shape)):
        raise unsupported_variant("a convolution of images whose sizes are named")
    if out.dtype not in ("float32", "float64"):
        raise unsupported_variant(f"a convolution of {out.dtype} images")
    if prod(a.shape) < prod(b.shape):  # the smaller one is the filter
        a, b = b, a
    if mode == "valid" and any(n < k for n, k in zip(a.shape, b.shape, strict=True)):
        raise unsupported_variant("a valid convolution of which neither image is in the other one")
    padding = tuple(k - 1 for k in b.shape) if mode == "full" else 0
    flipped = sg.flip(b, (0, 1))
    return nn.conv(a[None, None], flipped[None, None], padding=padding)[0, 0]


@operator("RFFTOp")
def _real_transform(a: Any, lengths: Any) -> Any:
    a, extents = value(a), sizes(lengths, "the lengths of a transform")
    axes = tuple(range(a.ndim - len(extents), a.ndim))
    for n, axis in zip(extents, axes, strict=True):
        a = _resize_axis(a, n, axis)
    spectrum = fft.rfftn(a, extents, axes)
    return sg.stack([spectrum.real, spectrum.imag], -1)


@operator("IRFFTOp")
def _inverse_real_transform(a: Any, lengths: Any) -> Any:
    a, extents = value(a), sizes(lengths, "the lengths of a transform")
    spectrum = sg.complex(a[..., 0], a[..., 1])
    axes = tuple(range(spectrum.ndim - len(extents), spectrum.ndim))
    return fft.irfftn(spectrum, extents, axes, norm="forward")


@operator("Fourier")
def _transform(a: Any, length: Any, axis: Any) -> Any:
    along: Any = size(axis, "the axis of a transform")
    n = size(length, "the length of a transform")
    return fft.fft(_resize_axis(value(a, "complex128"), n, along), n, along)


def _resize_axis(x: Any, n: Size, axis: int) -> Any:
    """Return an array with zeros at the end of an axis, or its first elements: a named size is
    shorter or longer than ``n``."""
    length = x.shape[axis]
    if length == n or (isinstance(length, int) and isinstance(n, int)):
        return x
    axis %= x.ndim
    zeros = sg.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype)
    return sg.concatenate([x, zeros], axis)[(*(slice(None),) * axis, slice(0, n))]
