"""Discrete Fourier transforms, in the names and with the arguments of ``np.fft``.

Of real values the first half is computed: the other one is its conjugate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    Size,
    axes_of,
    called_name,
    describe_operands,
    distinct_axes,
    floating,
    like as same,
    size_of,
)
from staticgrad.extend.dtypes import F64, I64, complex_of
from staticgrad.extend.functions import arange, name_function
from staticgrad.extend.ops import (
    astype,
    concatenate,
    conj,
    flip,
    part,
    positive,
    size_value,
    where,
    with_zeros,
)
from staticgrad.extend.sizes import floordiv, is_at_least, maximum
from staticgrad.functions.arrange import roll
from staticgrad.language.ops.fourier import FourierTransform
from staticgrad.native.libraries.fourier_kernels import complex_size

Sizes = Sequence[Size] | None
Axes = Sequence[int] | None
Norm = Literal["backward", "ortho", "forward"]
#: The name of a normalization -> how a forward and a backward transform are divided.
_NORMS: Final[dict[Norm | None, tuple[int, int]]] = {
    None: (0, 2),
    "backward": (0, 2),
    "ortho": (1, 1),
    "forward": (2, 0),
}


def _transform(kind: str, x: Any, s: Sizes, axes: Axes, norm: Norm | None, forward: bool) -> Any:
    """Compute a Fourier transform along ``axes``, cropped or padded to sizes ``s``."""
    value: Any = floating(x)
    if axes is None:
        count = value.ndim if s is None else len(s)
        axes = range(value.ndim - count, value.ndim)
    places = distinct_axes(axes, value)
    sizes = [value.shape[place] for place in places] if s is None else [*s]
    if len(sizes) != len(places):
        raise ArgumentError(f"{called_name()}: {len(sizes)} sizes for {len(places)} axes")
    if not places:
        return value
    if kind == "r2c" and value.dtype.is_complex:
        raise DTypeError(
            f"{called_name()}: takes real values, got {value.dtype}",
            related=describe_operands(value),
        )
    if kind == "c2r" and s is None:
        sizes[-1] = 2 * (sizes[-1] - 1)
    sizes = [size_of(value.shape[p] if n is None or n == -1 else n, value)
             for n, p in zip(sizes, places, strict=True)]  # fmt: skip
    for number, (place, size) in enumerate(zip(places, sizes, strict=True)):
        is_half = kind == "c2r" and number == len(places) - 1
        value = resize_axis(value, place, floordiv(size, 2) + 1 if is_half else size)
    axes_from_end, divided = (
        tuple(place - value.ndim for place in places),
        _NORMS[norm][not forward],
    )
    last_size = sizes[-1]
    half = kind == "c2c" and not value.dtype.is_complex and isinstance(last_size, int)
    if half:  # of real values: it takes half the time, and the other half are conjugates
        kind = "r2c"
    if kind != "r2c":
        value = astype(value, complex_of(value.dtype.real)).join_parts()
    last = sizes[-1] if kind == "c2r" else 0
    spectrum = value
    for step_kind, axes_of_one in _split_axes(kind, axes_from_end, sizes):
        of_real = last if step_kind == "c2r" else 0
        spectrum = FourierTransform(step_kind, axes_of_one, forward, divided, of_real)(spectrum)
    if kind == "c2r":
        return spectrum
    spectrum = spectrum.kind.complex_kind.of(spectrum)
    return _complete_spectrum(spectrum, axes_from_end, int(last_size)) if half else spectrum


def _split_axes(
    kind: str, axes: tuple[int, ...], sizes: Sequence[Size]
) -> list[tuple[str, tuple[int, ...]]]:
    """Split a Fourier transform into single axes where kernels exist, else all at once."""
    kinds = [*["c2c"] * (len(axes) - 1), kind]
    if not all(
        isinstance(size, int) and complex_size(step_kind, size)
        for step_kind, size in zip(kinds, sizes, strict=True)
    ):
        return [(kind, axes)]
    steps: list[tuple[str, tuple[int, ...]]] = [
        (step_kind, (axis,)) for step_kind, axis in zip(kinds, axes, strict=True)
    ]
    return steps[::-1] if kind == "r2c" else steps


def _complete_spectrum(spectrum: Any, axes: Sequence[int], size: int) -> Any:
    """Complete a real signal's spectrum from its half along the last of ``axes``.

    The element at -k is the conjugate of that at k, along all axes together.
    """
    axis = axes[-1]
    if size < 3:
        return spectrum
    mirrored: Any = conj(flip(part(spectrum, axis % spectrum.ndim, 1, (size - 1) // 2), axis))
    for outer_axis in axes[:-1]:
        mirrored = roll(flip(mirrored, outer_axis), 1, outer_axis)
    return concatenate([spectrum, mirrored], axis % spectrum.ndim)


def resize_axis(value: Any, axis: int, size: Size) -> Any:
    """Crop an axis for a Fourier transform, or pad it with zeros at the end.

    Where only a run knows which of the two, zeros are added first.
    """
    old_size = value.shape[axis]
    if not is_at_least(old_size, size):
        widths: list[tuple[Size, Size]] = [(0, 0)] * value.ndim
        widths[axis] = (0, maximum(size - old_size, 0))
        value = with_zeros(value, widths)
    return value if value.shape[axis] == size else part(value, axis, 0, size)


class _AlongAxis(Protocol):
    """A transform along an axis."""

    def __call__(
        self,
        a: ArrayLike[AnyValue],
        n: Size | None = None,
        axis: int = -1,
        norm: Norm | None = None,
    ) -> AnyValue:
        """Transform values."""


class _AlongAxes(Protocol):
    """A transform along several axes."""

    def __call__(
        self, a: ArrayLike[AnyValue], s: Sizes = None, axes: Axes = ..., norm: Norm | None = None
    ) -> AnyValue:
        """Transform values."""


def _make_along_axis(name: str, text: str, kind: str = "c2c", forward: bool = False) -> _AlongAxis:
    """Make a public Fourier transform along one axis (fft, ifft, rfft, ...)."""

    def transform(
        a: ArrayLike[AnyValue], n: Size | None = None, axis: int = -1, norm: Norm | None = None
    ) -> AnyValue:
        length = None if n is None else 0 if n == -1 else n  # in NumPy's sizes -1 is the whole
        sizes = None if length is None else (length,)
        return _transform(kind, a, sizes, (axis,), norm, forward)

    return name_function(transform, name, text + _ALONG_AXIS.format(_GIVES[kind]) + _example(name))


def _make_along_axes(
    name: str, text: str, kind: str = "c2c", forward: bool = False, by_default: Axes = None
) -> _AlongAxes:
    """Make a public Fourier transform along several axes (fft2, fftn, ...)."""

    def transform(
        a: ArrayLike[AnyValue], s: Sizes = None, axes: Axes = by_default, norm: Norm | None = None
    ) -> AnyValue:
        return _transform(kind, a, s, axes, norm, forward)

    default = (
        "the last ones, as many as ``s`` has, or all" if by_default is None else "the last two"
    )
    docstring = text + _ALONG_AXES.format(default, _GIVES[kind])
    return name_function(transform, name, docstring + _example(name))


def _example(name: str) -> str:
    """Return the example of a transform's docstring."""
    operand, result = _EXAMPLES[name]
    return f"\n>>> sg.fft.{name}({operand})\n{result}\n"


_GIVES: Final = {"c2c": "Complex values.", "r2c": "Complex values.", "c2r": "Real values."}
_ALONG_AXIS: Final = """

Args:
    a: numbers.
    n: the length of the transform: elements along the axis are left out at the end, or zeros
        added there. By default as many as there are.
    axis: along which axis.
    norm: where the number of elements divides: ``"backward"`` (the default) in the inverse
        transform, ``"forward"`` in the other one, ``"ortho"`` its root in both.

Returns:
    {}
"""
_ALONG_AXES: Final = """

Args:
    a: numbers.
    s: the length along each axis, as ``n`` of ``fft``.
    axes: along which axes: by default {}.
    norm: as of ``fft``.

Returns:
    {}
"""
#: Transform -> what its example transforms, and the result.
_EXAMPLES: Final = {
    "fft": ("[1.0, 2.0, 3.0, 4.0]", "array([10.+0.j, -2.+2.j, -2.+0.j, -2.-2.j])"),
    "ifft": ("[10.0, -2.0, -2.0, -2.0]", "array([1.+0.j, 3.-0.j, 3.+0.j, 3.+0.j])"),
    "rfft": ("[1.0, 2.0, 3.0, 4.0]", "array([10.+0.j, -2.+2.j, -2.+0.j])"),
    "irfft": ("[10.0, -2.0 + 2.0j, -2.0]", "array([1., 2., 3., 4.])"),
    "fftn": ("[[1.0, 2.0], [3.0, 4.0]]", "array([[10.+0.j, -2.+0.j],\n       [-4.+0.j,  0.+0.j]])"),
    "ifftn": ("[[10.0, -2.0], [-4.0, 0.0]]", "array([[1.+0.j, 2.+0.j],\n       [3.+0.j, 4.+0.j]])"),
    "rfftn": (
        "[[1.0, 2.0], [3.0, 4.0]]",
        "array([[10.+0.j, -2.+0.j],\n       [-4.+0.j,  0.+0.j]])",
    ),
    "irfftn": ("[[10.0, -2.0], [-4.0, 0.0]]", "array([[1., 2.],\n       [3., 4.]])"),
    "fft2": ("[[1.0, 2.0], [3.0, 4.0]]", "array([[10.+0.j, -2.+0.j],\n       [-4.+0.j,  0.+0.j]])"),
    "ifft2": ("[[10.0, -2.0], [-4.0, 0.0]]", "array([[1.+0.j, 2.+0.j],\n       [3.+0.j, 4.+0.j]])"),
    "rfft2": (
        "[[1.0, 2.0], [3.0, 4.0]]",
        "array([[10.+0.j, -2.+0.j],\n       [-4.+0.j,  0.+0.j]])",
    ),
    "irfft2": ("[[10.0, -2.0], [-4.0, 0.0]]", "array([[1., 2.],\n       [3., 4.]])"),
}

fft = _make_along_axis("fft", "Compute the discrete Fourier transform along an axis.", forward=True)
ifft = _make_along_axis("ifft", "Compute the inverse of ``fft``.")
_REAL: Final = "Compute the Fourier transform of real values: its first n // 2 + 1 elements."
rfft = _make_along_axis("rfft", _REAL, "r2c", forward=True)
_REAL_INVERSE: Final = (
    "Compute the inverse of ``rfft``: n real values, 2 * (m - 1) of m elements by default."
)
irfft = _make_along_axis("irfft", _REAL_INVERSE, "c2r")

_SEVERAL: Final = "Compute the discrete Fourier transform along several axes."
fftn = _make_along_axes("fftn", _SEVERAL, forward=True)
ifftn = _make_along_axes("ifftn", "Compute the inverse of ``fftn``.")
_HALF: Final = "Compute the transform of real values along {} axes: of the last one its first half."
rfftn = _make_along_axes("rfftn", _HALF.format("several"), "r2c", forward=True)
irfftn = _make_along_axes("irfftn", "Compute the inverse of ``rfftn``.", "c2r")

_LAST: Final = (-2, -1)
_TWO: Final = "Compute the discrete Fourier transform along two axes."
fft2 = _make_along_axes("fft2", _TWO, "c2c", True, _LAST)
ifft2 = _make_along_axes("ifft2", "Compute the inverse of ``fft2``.", by_default=_LAST)
rfft2 = _make_along_axes("rfft2", _HALF.format("two"), "r2c", True, _LAST)
irfft2 = _make_along_axes("irfft2", "Compute the inverse of ``rfft2``.", "c2r", by_default=_LAST)


def fftfreq(n: Size, d: float = 1.0) -> Any:
    """Return the frequencies of the elements of ``fft``, in cycles per unit of the spacing.

    Args:
        n: the length of the transform.
        d: the spacing of the samples.

    Returns:
        float64: 0, 1, ..., then the negative ones, divided by n * d.

    >>> sg.fft.fftfreq(4)
    array([ 0.  ,  0.25, -0.5 , -0.25])
    """
    size = size_of(n)
    places = arange(size)
    half = size_value(floordiv(size + 1, 2), I64)
    signed = where(places < half, places, places - size_value(size, I64))
    return _scale_frequencies(signed, size, d)


@same(fftfreq)
def rfftfreq(n: Size, d: float = 1.0) -> Any:
    """Return the frequencies of the elements of ``rfft``, in cycles per unit of the spacing.

    Returns:
        float64: 0, 1, ..., n // 2, divided by n * d.

    >>> sg.fft.rfftfreq(4, d=0.5)
    array([0. , 0.5, 1. ])
    """
    size = size_of(n)
    return _scale_frequencies(arange(floordiv(size, 2) + 1), size, d)


def _scale_frequencies(places: Any, size: Size, d: float) -> Any:
    return astype(places, F64) * (1.0 / (size_value(size, F64) * d))


def fftshift(x: ArrayLike[AnyValue], axes: int | Axes = None) -> AnyValue:
    """Move the element of frequency 0 of a spectrum to the middle, along ``axes`` or all.

    >>> sg.fft.fftshift([0.0, 1.0, 2.0, -2.0, -1.0])
    array([-2., -1.,  0.,  1.,  2.])
    """
    return _swap_halves(x, axes, 1)


def ifftshift(x: ArrayLike[AnyValue], axes: int | Axes = None) -> AnyValue:
    """Undo ``fftshift``.

    >>> sg.fft.ifftshift([-2.0, -1.0, 0.0, 1.0, 2.0])
    array([ 0.,  1.,  2., -2., -1.])
    """
    return _swap_halves(x, axes, -1)


def _swap_halves(x: Any, axes: Any, sign: int) -> Any:
    """Exchange the halves of axes (fftshift, ifftshift)."""
    value: Any = positive(x)
    for axis in axes_of(axes, value):
        size = value.shape[axis]
        first = size - floordiv(size, 2) if sign > 0 else floordiv(size, 2)
        parts = [part(value, axis, first, size - first), part(value, axis, 0, first)]
        value = concatenate(parts, axis)
    return value
