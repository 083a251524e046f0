"""Discrete cosine and sine transforms of types 1 to 4, in the names and with SciPy's arguments.

Each is computed by a Fourier transform of the same values, reordered, extended or turned: types 2
and 3 after J. Makhoul, "A fast cosine transform in one and two dimensions", IEEE Transactions on
Acoustics, Speech, and Signal Processing 28, 1980. A sine transform is the cosine transform of the
values with alternating signs or in reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt as root
from typing import Any, Final, Literal, NamedTuple, Protocol

from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    Size,
    axis_of,
    called_name,
    describe_operands,
    distinct_axes,
    floating,
    size_of,
)
from staticgrad.extend.dtypes import F64
from staticgrad.extend.functions import (
    arange,
    imag,
    name_function,
    real,
)
from staticgrad.extend.ops import (
    astype,
    concatenate,
    conj,
    cos,
    flip,
    moveaxis,
    part,
    remainder,
    reshape,
    sin,
    size_value,
    sqrt,
    stack,
    where,
    with_zeros,
)
from staticgrad.extend.sizes import floordiv
from staticgrad.fft.fourier import Norm, Sizes, fft, irfft, resize_axis, rfft
from staticgrad.functions import complex_numbers

Axes = int | Sequence[int] | None
Type = Literal[1, 2, 3, 4]
_ROOT: Final = root(2.0)
#: The type of the inverse transform, but for a factor.
_INVERSE: Final[dict[Type, Type]] = {1: 1, 2: 3, 3: 2, 4: 4}
_INVERSE_NORM: Final[dict[Norm, Norm]] = {
    "backward": "forward",
    "ortho": "ortho",
    "forward": "backward",
}


class _Transform(NamedTuple):
    """A transform along an axis, and how it is scaled."""

    kind: Literal["cosine", "sine"]
    type: Type
    norm: Norm
    #: Whether an end of the values and of the result is scaled, so that the matrix is orthogonal.
    orthogonalize: bool


def _transform_axis(x: AnyValue, length: Size | None, axis: int, transform: _Transform) -> AnyValue:
    """Compute a cosine or sine transform along an axis, cropped or padded to a length."""
    if x.dtype.is_complex:
        parts = [_transform_axis(half(x), length, axis, transform) for half in (real, imag)]
        return complex_numbers.complex(*parts)
    size = size_of(x.shape[axis] if length is None else length, x)
    least = 2 if transform.type == 1 and transform.kind == "cosine" else 1
    if isinstance(size, int) and size < least:
        raise ShapeError(
            f"{called_name()}: type {transform.type} of {size} elements",
            hint=f"it takes {least} at least",
            related=describe_operands(x),
        )
    values: Any = moveaxis(resize_axis(x, axis, size), axis, -1)
    if transform.orthogonalize:
        values = _scale_ends(values, transform, is_result=False)
    if transform.kind == "cosine":
        result = _COSINES[transform.type](values)
    elif transform.type == 1:
        result = _sine_1(values)
    elif transform.type == 2:
        result = flip(_cosine_2(values * _alternating(values)), -1)
    else:
        result = _COSINES[transform.type](flip(values, -1)) * _alternating(values)
    if transform.orthogonalize:
        result = _scale_ends(result, transform, is_result=True)
    if transform.norm != "backward":
        result = result * _scale(size, transform, values.dtype)
    return moveaxis(result, -1, axis)


def _scale(size: Size, transform: _Transform, dtype: Any) -> Any:
    """Return the factor of the norms ``"forward"`` and ``"ortho"``."""
    ends = 0 if transform.type > 1 else -1 if transform.kind == "cosine" else 1
    period = astype(size_value(2 * (size + ends), F64), F64)
    return astype(1.0 / (period if transform.norm == "forward" else sqrt(period)), dtype)


def _scale_ends(values: Any, transform: _Transform, is_result: bool) -> Any:
    """Scale what makes a transform orthogonal: by the root of 2 before it, or by its inverse after.

    The first element of a cosine transform and the last of a sine transform: of the values of type
    3, of the result of type 2, and for type 1 of a cosine transform both ends of both.
    """
    both_ends = transform.type == 1 and transform.kind == "cosine"
    if not both_ends and transform.type != (2 if is_result else 3):
        return values
    size = values.shape[-1]
    places = _places(size)
    first, last = places == 0, places == size_value(size - 1, F64)
    at_end = first | last if both_ends else first if transform.kind == "cosine" else last
    return values * astype(where(at_end, 1 / _ROOT if is_result else _ROOT, 1.0), values.dtype)


def _places(size: Size) -> Any:
    """Return 0, 1, ..., size - 1 as float64."""
    return astype(arange(size), F64)


def _alternating(values: Any) -> Any:
    """Return 1, -1, 1, ... along the last axis."""
    odd = remainder(arange(values.shape[-1]), 2)
    return astype(1 - 2 * odd, values.dtype)


def _turn(angles: Any, dtype: Any) -> Any:
    """Return exp(-i angles)."""
    return complex_numbers.complex(astype(cos(angles), dtype), astype(-sin(angles), dtype))


def _slice(values: Any, start: Size, size: Size) -> Any:
    """Return ``size`` elements of the last axis from ``start``."""
    return part(values, values.ndim - 1, start, size)


def _cosine_1(values: Any) -> Any:
    """y[k] = x[0] + (-1)^k x[n - 1] + 2 sum of x[j] cos(pi j k / (n - 1)) over those between."""
    inner = _slice(values, 1, values.shape[-1] - 2)
    return real(rfft(concatenate([values, flip(inner, -1)], -1)))


def _sine_1(values: Any) -> Any:
    """y[k] = 2 sum of x[j] sin(pi (j + 1) (k + 1) / (n + 1))."""
    size = values.shape[-1]
    widths = [(0, 0)] * (values.ndim - 1) + [(1, 0)]
    odd = [with_zeros(values, widths), with_zeros(-flip(values, -1), widths)]
    return _slice(-imag(rfft(concatenate(odd, -1))), 1, size)


def _cosine_2(values: Any) -> Any:
    """y[k] = 2 sum of x[j] cos(pi k (2 j + 1) / (2 n)): Makhoul's (12), of half a spectrum."""
    size = values.shape[-1]
    ordered = concatenate([values[..., ::2], flip(values[..., 1::2], -1)], -1)
    angles = _places(floordiv(size, 2) + 1) * (pi / size_value(2 * size, F64))
    turned = 2 * (rfft(ordered) * _turn(angles, values.dtype))
    mirrored = _slice(-imag(turned), 1, floordiv(size - 1, 2))
    return concatenate([real(turned), flip(mirrored, -1)], -1)


def _cosine_3(values: Any) -> Any:
    """y[k] = x[0] + 2 sum of x[j] cos(pi j (2 k + 1) / (2 n)) from j = 1: 2 n times 2's inverse."""
    size = values.shape[-1]
    half = floordiv(size, 2) + 1
    mirrored = with_zeros(flip(values, -1), [(0, 0)] * (values.ndim - 1) + [(1, 0)])  # x[n - k]
    angles = _places(half) * (pi / size_value(2 * size, F64))
    spectrum = complex_numbers.complex(_slice(values, 0, half), -_slice(mirrored, 0, half))
    ordered = irfft(spectrum * conj(_turn(angles, values.dtype)), size, norm="forward")
    even = _slice(ordered, 0, floordiv(size + 1, 2))
    odd = flip(_slice(ordered, floordiv(size + 1, 2), floordiv(size, 2)), -1)
    return _interleave(even, odd, size)


def _interleave(even: Any, odd: Any, size: Size) -> Any:
    """Return a vector from its elements of even and of odd places, along the last axis."""
    if even.shape != odd.shape:  # where their number is odd
        odd = resize_axis(odd, odd.ndim - 1, even.shape[-1])
    pairs = stack([even, odd], -1)
    return _slice(reshape(pairs, (*pairs.shape[:-2], 2 * even.shape[-1])), 0, size)


def _cosine_4(values: Any) -> Any:
    """y[k] = 2 sum of x[j] cos(pi (2 j + 1) (2 k + 1) / (4 n))."""
    size = values.shape[-1]
    places = _places(size)
    step = pi / size_value(4 * size, F64)
    turned = values * _turn(places * (2 * step), values.dtype)
    spectrum = _slice(fft(turned, 2 * size), 0, size)
    return 2 * real(spectrum * _turn((2 * places + 1) * step, values.dtype))


_COSINES: Final = {1: _cosine_1, 2: _cosine_2, 3: _cosine_3, 4: _cosine_4}


class _AlongAxis(Protocol):
    """A transform along an axis."""

    def __call__(
        self,
        x: ArrayLike[AnyValue],
        type: Type = 2,
        n: Size | None = None,
        axis: int = -1,
        norm: Norm | None = None,
        *,
        orthogonalize: bool | None = None,
    ) -> AnyValue:
        """Transform values."""


class _AlongAxes(Protocol):
    """A transform along several axes."""

    def __call__(
        self,
        x: ArrayLike[AnyValue],
        type: Type = 2,
        s: Sizes = None,
        axes: Axes = None,
        norm: Norm | None = None,
        *,
        orthogonalize: bool | None = None,
    ) -> AnyValue:
        """Transform values."""


def _describe(
    kind: Literal["cosine", "sine"],
    inverse: bool,
    type: Type,
    norm: Norm | None,
    orthogonalize: bool | None,
) -> _Transform:
    """Return the transform that a function of SciPy's name and these arguments is."""
    norm = norm or "backward"
    if orthogonalize is None:
        orthogonalize = norm == "ortho"
    if inverse:
        type, norm = _INVERSE[type], _INVERSE_NORM[norm]
    return _Transform(kind, type, norm, orthogonalize)


def _make_along_axis(name: str, kind: Any, inverse: bool) -> _AlongAxis:
    """Make a public cosine or sine transform along one axis."""

    def transform(
        x: ArrayLike[AnyValue],
        type: Type = 2,
        n: Size | None = None,
        axis: int = -1,
        norm: Norm | None = None,
        *,
        orthogonalize: bool | None = None,
    ) -> AnyValue:
        values = floating(x)
        described = _describe(kind, inverse, type, norm, orthogonalize)
        return _transform_axis(values, n, axis_of(axis, values), described)

    return name_function(transform, name, _document(name, kind, inverse, "an axis", _ALONG_AXIS))


def _make_along_axes(name: str, kind: Any, inverse: bool) -> _AlongAxes:
    """Make a public cosine or sine transform along several axes."""

    def transform(
        x: ArrayLike[AnyValue],
        type: Type = 2,
        s: Sizes = None,
        axes: Axes = None,
        norm: Norm | None = None,
        *,
        orthogonalize: bool | None = None,
    ) -> AnyValue:
        values = floating(x)
        if isinstance(axes, int):
            axes = (axes,)
        elif axes is None:
            count = values.ndim if s is None else len(s)
            axes = range(values.ndim - count, values.ndim)
        places = distinct_axes(axes, values)
        lengths: Sequence[Size | None] = [None] * len(places) if s is None else s
        if len(lengths) != len(places):
            raise ArgumentError(f"{called_name()}: {len(lengths)} sizes for {len(places)} axes")
        described = _describe(kind, inverse, type, norm, orthogonalize)
        for place, length in zip(places, lengths, strict=True):
            values = _transform_axis(values, length, place, described)
        return values

    return name_function(transform, name, _document(name, kind, inverse, "axes", _ALONG_AXES))


def _document(name: str, kind: str, inverse: bool, axes: str, arguments: str) -> str:
    """Return the docstring of a public transform."""
    what = f"Compute the discrete {kind} transform along {axes}, of type 1, 2, 3 or 4."
    if inverse:
        what = f"Compute the inverse of ``{name[1:]}`` of the same type and norm."
    operand, result = _EXAMPLES[name]
    return f"{what}\n\n{arguments}\n>>> sg.fft.{name}({operand})\n{result}\n"


_COMMON: Final = """\
    norm: where the factor of the inverse stands: ``"backward"`` (the default) in the
        inverse, ``"forward"`` in the other one, ``"ortho"`` its root in both.
    orthogonalize: whether ends are scaled by the root of 2, so that the matrix is orthogonal; by
        default with ``"ortho"``.

Returns:
    Floating values, or complex ones of complex ones. The sums are those of ``scipy.fft``.

Raises:
    ShapeError: an axis has no element, or one for type 1 of a cosine transform.
"""
_ALONG_AXIS: Final = f"""Args:
    x: numbers.
    type: 1, 2, 3 or 4. 2 and 3 are each other's inverse.
    n: the length of the transform: elements along the axis are left out at the end, or zeros
        added there. By default as many as there are.
    axis: along which axis.
{_COMMON}"""
_ALONG_AXES: Final = f"""Args:
    x: numbers.
    type: 1, 2, 3 or 4. 2 and 3 are each other's inverse.
    s: the length along each axis, as ``n`` of ``dct``.
    axes: along which axes: by default the last ones, as many as ``s`` has, or all.
{_COMMON}"""
#: Transform -> what its example transforms, and the result.
_EXAMPLES: Final = {
    "dct": ("[1.0, 2.0, 3.0], 1", "array([ 8., -2.,  0.])"),
    "idct": ("[8.0, -2.0, 0.0], 1", "array([1., 2., 3.])"),
    "dst": ("[1.0], 1", "array([2.])"),
    "idst": ("[2.0], 1", "array([1.])"),
    "dctn": ("[[1.0, 2.0], [3.0, 4.0]], 1", "array([[10., -2.],\n       [-4.,  0.]])"),
    "idctn": ("[[10.0, -2.0], [-4.0, 0.0]], 1", "array([[1., 2.],\n       [3., 4.]])"),
    "dstn": ("[[1.0]], 1", "array([[4.]])"),
    "idstn": ("[[4.0]], 1", "array([[1.]])"),
}

dct = _make_along_axis("dct", "cosine", inverse=False)
idct = _make_along_axis("idct", "cosine", inverse=True)
dst = _make_along_axis("dst", "sine", inverse=False)
idst = _make_along_axis("idst", "sine", inverse=True)
dctn = _make_along_axes("dctn", "cosine", inverse=False)
idctn = _make_along_axes("idctn", "cosine", inverse=True)
dstn = _make_along_axes("dstn", "sine", inverse=False)
idstn = _make_along_axes("idstn", "sine", inverse=True)
