"""Discrete Fourier transforms, in the names and with the arguments of ``np.fft``.

Public as ``sg.fft``; NumPy's functions of these names take values, too. SciPy's pocketfft computes
them inside of the compiled step, along any axes, in single or double precision. They are linear,
so that derivatives of any order are transforms again.

    >>> x = sg.input("x", (4,), "float64")
    >>> sg.evaluate(sg.fft.fft(x), {"x": [1.0, 0.0, 0.0, 0.0]})
    array([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.errors.hints import attributes
from staticgrad.errors.wording import shown
from staticgrad.families import like as same
from staticgrad.functions.arrange import pad
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import OF_MODULES, functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.fourier import FourierTransform
from staticgrad.ops.indexing import part
from staticgrad.ops.operands import axes_of, distinct_axes, floating, related, size_of
from staticgrad.types.dim import Dim, Size, floordiv
from staticgrad.types.dtype import F64, I64, complex_of

Sizes = Sequence[Size] | None
Axes = Sequence[int] | None
__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "ifft", "ifft2", "ifftn", "ifftshift",
    "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip
#: The name of a normalization -> how a forward and a backward transform are divided.
_NORMS: Final = {None: (0, 2), "backward": (0, 2), "ortho": (1, 1), "forward": (2, 0)}


def _transformed(
    name: str, kind: str, x: Any, s: Sizes, axes: Axes, norm: str | None, forward: bool
) -> Any:
    """A transform along ``axes``: by default the last ones, as many as ``s`` has, or all."""
    value: Any = floating(name, x)
    if norm not in _NORMS:
        raise ArgumentError(f"{name}: norm={shown(norm)}", hint="'backward', 'ortho' or 'forward'")
    if axes is None:
        count = value.ndim if s is None else len(s)
        axes = range(value.ndim - count, value.ndim)
    places = distinct_axes(name, axes, value)
    sizes = [value.shape[place] for place in places] if s is None else [*s]
    if len(sizes) != len(places):
        raise ArgumentError(f"{name}: {len(sizes)} sizes for {len(places)} axes")
    if not places:
        return value
    if kind == "r2c" and value.dtype.is_complex:
        raise DTypeError(f"{name}: takes real values, got {value.dtype}", related=related(value))
    if kind == "c2r" and s is None:
        sizes[-1] = 2 * (sizes[-1] - 1)
    sizes = [size_of(name, value.shape[p] if n is None or n == -1 else n, value)
             for n, p in zip(sizes, places, strict=True)]  # fmt: skip
    for number, (place, size) in enumerate(zip(places, sizes, strict=True)):
        if size == 0:
            raise ArgumentError(f"{name}: no elements along axis {place}", related=related(value))
        is_half = kind == "c2r" and number == len(places) - 1
        value = _resized(value, place, floordiv(size, 2) + 1 if is_half else size)
    if kind != "r2c":
        value = functions.astype(value, complex_of(value.dtype.real)).joined()
    own = tuple(place - (value.ndim - (kind != "r2c")) for place in places)
    last = sizes[-1] if kind == "c2r" else 0
    found = FourierTransform(kind, own, forward, _NORMS[norm][not forward], last)(value)
    return found if kind == "c2r" else found.kind.complex_kind.of(found)


def _resized(value: Any, axis: int, size: Size) -> Any:
    """The first elements along an axis, or zeros behind them."""
    own = value.shape[axis]
    if own == size:
        return value
    if isinstance(own, Dim) or isinstance(size, Dim) or size < own:
        return part(value, axis, 0, size)
    widths = [(0, size - own if place == axis else 0) for place in range(value.ndim)]
    return pad(value, widths)


def fft(
    a: Operand[AnyValue], n: Size | None = None, axis: int = -1, norm: str | None = None
) -> AnyValue:
    """Compute the discrete Fourier transform along an axis.

    Args:
        a: numbers.
        n: the length of the transform: elements along the axis are left out at the end, or zeros
            added there. By default as many as there are.
        axis: along which axis.
        norm: where the number of elements divides: ``"backward"`` (the default) in the inverse
            transform, ``"forward"`` in the other one, ``"ortho"`` its root in both.

    Returns:
        Complex values.

    >>> sg.evaluate(sg.fft.fft([1.0, -1.0]))
    array([0.+0.j, 2.+0.j])
    """
    return _transformed("fft", "c2c", a, _one(n), (axis,), norm, True)


def _one(n: Size | None) -> Sizes:
    return None if n is None else (0 if n == -1 else n,)  # in NumPy's sizes of axes -1 is the whole


@same(fft)
def ifft(
    a: Operand[AnyValue], n: Size | None = None, axis: int = -1, norm: str | None = None
) -> AnyValue:
    """Compute the inverse of ``fft``.

    >>> sg.evaluate(sg.fft.ifft([0.0, 2.0]))
    array([ 1.+0.j, -1.+0.j])
    """
    return _transformed("ifft", "c2c", a, _one(n), (axis,), norm, False)


@same(fft)
def rfft(
    a: Operand[AnyValue], n: Size | None = None, axis: int = -1, norm: str | None = None
) -> AnyValue:
    """Compute the Fourier transform of real values: its first n // 2 + 1 elements.

    >>> sg.evaluate(sg.fft.rfft([1.0, -1.0, 1.0, -1.0]))
    array([0.+0.j, 0.+0.j, 4.+0.j])
    """
    return _transformed("rfft", "r2c", a, _one(n), (axis,), norm, True)


@same(fft)
def irfft(
    a: Operand[AnyValue], n: Size | None = None, axis: int = -1, norm: str | None = None
) -> AnyValue:
    """Compute the inverse of ``rfft``: n real values, 2 * (m - 1) of m elements by default.

    Returns:
        Real values.

    >>> sg.evaluate(sg.fft.irfft([0.0, 0.0, 4.0]))
    array([ 1., -1.,  1., -1.])
    """
    return _transformed("irfft", "c2r", a, _one(n), (axis,), norm, False)


def fftn(
    a: Operand[AnyValue], s: Sizes = None, axes: Axes = None, norm: str | None = None
) -> AnyValue:
    """Compute the discrete Fourier transform along several axes.

    Args:
        a: numbers.
        s: the length along each axis, as ``n`` of ``fft``.
        axes: along which axes: by default the last ones, as many as ``s`` has, or all.
        norm: as of ``fft``.

    Returns:
        Complex values.

    >>> sg.evaluate(sg.fft.fftn([[1.0, 0.0], [0.0, 0.0]]))
    array([[1.+0.j, 1.+0.j],
           [1.+0.j, 1.+0.j]])
    """
    return _transformed("fftn", "c2c", a, s, axes, norm, True)


@same(fftn)
def ifftn(
    a: Operand[AnyValue], s: Sizes = None, axes: Axes = None, norm: str | None = None
) -> AnyValue:
    """Compute the inverse of ``fftn``.

    >>> sg.evaluate(sg.fft.ifftn([[4.0, 0.0], [0.0, 0.0]]))
    array([[1.+0.j, 1.+0.j],
           [1.+0.j, 1.+0.j]])
    """
    return _transformed("ifftn", "c2c", a, s, axes, norm, False)


@same(fftn)
def rfftn(
    a: Operand[AnyValue], s: Sizes = None, axes: Axes = None, norm: str | None = None
) -> AnyValue:
    """Compute the transform of real values along several axes: of the last one its first half.

    >>> sg.evaluate(sg.fft.rfftn([[1.0, 0.0], [0.0, 0.0]])).shape
    (2, 2)
    """
    return _transformed("rfftn", "r2c", a, s, axes, norm, True)


@same(fftn)
def irfftn(
    a: Operand[AnyValue], s: Sizes = None, axes: Axes = None, norm: str | None = None
) -> AnyValue:
    """Compute the inverse of ``rfftn``.

    Returns:
        Real values.

    >>> sg.evaluate(sg.fft.irfftn([[4.0, 0.0], [0.0, 0.0]]))
    array([[1., 1.],
           [1., 1.]])
    """
    return _transformed("irfftn", "c2r", a, s, axes, norm, False)


@same(fftn)
def fft2(
    a: Operand[AnyValue], s: Sizes = None, axes: Axes = (-2, -1), norm: str | None = None
) -> AnyValue:
    """Compute the discrete Fourier transform along two axes, by default the last ones.

    >>> sg.evaluate(sg.fft.fft2([[1.0, 0.0], [0.0, 0.0]])).shape
    (2, 2)
    """
    return _transformed("fft2", "c2c", a, s, axes, norm, True)


@same(fft2)
def ifft2(
    a: Operand[AnyValue], s: Sizes = None, axes: Axes = (-2, -1), norm: str | None = None
) -> AnyValue:
    """Compute the inverse of ``fft2``.

    >>> sg.evaluate(sg.fft.ifft2([[4.0, 0.0], [0.0, 0.0]])).real[0]
    array([1., 1.])
    """
    return _transformed("ifft2", "c2c", a, s, axes, norm, False)


@same(fft2)
def rfft2(
    a: Operand[AnyValue], s: Sizes = None, axes: Axes = (-2, -1), norm: str | None = None
) -> AnyValue:
    """Compute the transform of real values along two axes: of the last one its first half.

    >>> sg.evaluate(sg.fft.rfft2([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])).shape
    (2, 2)
    """
    return _transformed("rfft2", "r2c", a, s, axes, norm, True)


@same(fft2)
def irfft2(
    a: Operand[AnyValue], s: Sizes = None, axes: Axes = (-2, -1), norm: str | None = None
) -> AnyValue:
    """Compute the inverse of ``rfft2``.

    Returns:
        Real values.

    >>> sg.evaluate(sg.fft.irfft2([[4.0, 0.0], [0.0, 0.0]])).shape
    (2, 2)
    """
    return _transformed("irfft2", "c2r", a, s, axes, norm, False)


def fftfreq(n: Size, d: float = 1.0) -> Any:
    """Return the frequencies of the elements of ``fft``, in cycles per unit of the spacing.

    Args:
        n: the length of the transform.
        d: the spacing of the samples.

    Returns:
        float64: 0, 1, ..., then the negative ones, divided by n * d.

    >>> sg.evaluate(sg.fft.fftfreq(4))
    array([ 0.  ,  0.25, -0.5 , -0.25])
    """
    size = size_of("fftfreq", n)
    places = functions.arange(size)
    half = functions.size_value(floordiv(size + 1, 2), I64)
    signed = functions.where(places < half, places, places - functions.size_value(size, I64))
    return _scaled(signed, size, d)


@same(fftfreq)
def rfftfreq(n: Size, d: float = 1.0) -> Any:
    """Return the frequencies of the elements of ``rfft``, in cycles per unit of the spacing.

    Returns:
        float64: 0, 1, ..., n // 2, divided by n * d.

    >>> sg.evaluate(sg.fft.rfftfreq(4))
    array([0.  , 0.25, 0.5 ])
    """
    size = size_of("rfftfreq", n)
    return _scaled(functions.arange(floordiv(size, 2) + 1), size, d)


def _scaled(places: Any, size: Size, d: float) -> Any:
    return functions.astype(places, F64) * (1.0 / (functions.size_value(size, F64) * d))


def fftshift(x: Operand[AnyValue], axes: int | Axes = None) -> AnyValue:
    """Move the element of frequency 0 to the middle.

    Args:
        x: a spectrum.
        axes: along which axes; by default all.

    Returns:
        The elements, moved.

    >>> sg.evaluate(sg.fft.fftshift(sg.fft.fftfreq(4)))
    array([-0.5 , -0.25,  0.  ,  0.25])
    """
    return _shifted("fftshift", x, axes, 1)


@same(fftshift)
def ifftshift(x: Operand[AnyValue], axes: int | Axes = None) -> AnyValue:
    """Undo ``fftshift``.

    >>> sg.evaluate(sg.fft.ifftshift([-0.5, -0.25, 0.0, 0.25]))
    array([ 0.  ,  0.25, -0.5 , -0.25])
    """
    return _shifted("ifftshift", x, axes, -1)


def _shifted(name: str, x: Any, axes: Any, sign: int) -> Any:
    value: Any = functions.positive(x)
    for axis in axes_of(name, axes, value):
        size = value.shape[axis]
        first = size - floordiv(size, 2) if sign > 0 else floordiv(size, 2)
        parts = [part(value, axis, first, size - first), part(value, axis, 0, first)]
        value = functions.concatenate(parts, axis)
    return value


if not TYPE_CHECKING:
    __getattr__, __dir__ = attributes("sg.fft", __all__)


publish(globals(), __name__, __all__)
OF_MODULES.update({f"fft.{name}": globals()[name] for name in __all__})
