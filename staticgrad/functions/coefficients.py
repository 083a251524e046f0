"""Polynomials as vectors of coefficients, the highest power first: NumPy's ``polyfit`` and others.

The sizes are those of the operands: a leading coefficient of 0 is not left out. All are
differentiable by the coefficients.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.functions import aggregate, creation
from staticgrad.functions.creation import vander, zeros
from staticgrad.functions.filters import convolve
from staticgrad.functions.products import outer
from staticgrad.language.calls.functional import namespace_of
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import add, subtract
from staticgrad.language.ops.convert import size_value
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import concatenate
from staticgrad.language.ops.movement import expand_dims, reshape
from staticgrad.language.ops.operands import (
    Integer,
    array_size,
    as_value,
    as_values,
    describe_operands,
    floating,
    integer,
    promoted_values,
)
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.ops.transcendental import sqrt
from staticgrad.language.types.dtype import C128


@rounded_once
def polyadd(a1: ArrayLike[AnyValue], a2: ArrayLike[AnyValue]) -> AnyValue:
    """Return the sum of two polynomials.

    >>> sg.evaluate(sg.polyadd([1, 2, 3], [10, 20]))
    array([ 1, 12, 23])
    """
    return add(*_align(a1, a2))


@rounded_once
def polysub(a1: ArrayLike[AnyValue], a2: ArrayLike[AnyValue]) -> AnyValue:
    """Return the difference of two polynomials.

    >>> sg.polysub([2.0, 1.0], [1.0, 5.0])
    array([ 1., -4.])
    """
    return subtract(*_align(a1, a2))


def polymul(a1: ArrayLike[AnyValue], a2: ArrayLike[AnyValue]) -> AnyValue:
    """Return the product of two polynomials. Leading zeros stay, which NumPy leaves out.

    >>> sg.evaluate(sg.polymul([1, 2], [1, -2]))
    array([ 1,  0, -4])
    """
    return convolve(*promoted_values((_vector(a1), _vector(a2))))


def polyder(p: ArrayLike[AnyValue], m: Integer = 1) -> AnyValue:
    """Return the derivative of order m of a polynomial.

    >>> sg.evaluate(sg.polyder([1, 2, 3]))
    array([2, 2])
    """
    value = _vector(p)
    orders = integer("order", m, least=0, most_bits=None)
    for size in range(value.shape[0], max(value.shape[0] - orders, 0), -1):
        value = (value * np.arange(size)[::-1])[: size - 1]
    return value


def polyint(p: ArrayLike[AnyValue], m: Integer = 1, k: Any = None) -> AnyValue:
    """Return the integral of order m of a polynomial.

    Args:
        p: coefficients.
        m: how often to integrate.
        k: the constants, of the first integral first; by default 0. One number is for all.

    Raises:
        ArgumentError: as many constants as there are integrals are missing.

    >>> sg.evaluate(sg.polyint([3.0, 2.0], k=5.0))
    array([1.5, 2. , 5. ])
    """
    value = floating(_vector(p))
    array_size(m, "order")
    constants = reshape(as_values(value, 0.0 if k is None else k)[1], (-1,))
    if constants.shape[0] == 1:
        constants = concatenate([constants] * max(m, 1), 0)
    if constants.shape[0] < m:
        raise ArgumentError(
            f"{called_name()}: {constants.shape[0]} constants for {m} integrals",
            related=describe_operands(value),
        )
    for number in range(m):
        value, typed_constants = promoted_values(
            (value / np.arange(value.shape[0], 0, -1), constants)
        )
        value = concatenate([value, typed_constants[number : number + 1]], 0)
    return value


@rounded_once
def poly(seq_of_zeros: ArrayLike[AnyValue]) -> AnyValue:
    """Return the polynomial with these roots, or the characteristic one of a square matrix.

    Of a matrix and of complex roots the coefficients are complex.

    >>> sg.evaluate(sg.poly([1.0, 2.0]))
    array([ 1., -3.,  2.])
    """
    value: Any = as_value(seq_of_zeros)
    if value.ndim == 2:
        value = namespace_of("linalg").eigvals(value)
    value = floating(value) if not value.dtype.is_complex else value
    unit = creation.full((1,), 1, value.dtype, like=value)
    polynomial = unit
    for number in range(value.shape[0]):
        polynomial = convolve(polynomial, concatenate([unit, -value[number : number + 1]], 0))
    return polynomial


def roots(p: ArrayLike[AnyValue]) -> AnyValue:
    """Return the complex roots of a polynomial, by the eigenvalues of its companion matrix.

    Of an array leading zeros are left out, and roots at 0 stand last, as NumPy does. Of a value the
    first coefficient must not be 0. The derivative is NaN or infinite at multiple roots.

    >>> sg.evaluate(sg.roots([1.0, -3.0, 2.0])).round(6)
    array([2.+0.j, 1.+0.j])
    """
    at_zero = 0
    if not isinstance(p, Value):
        numbers = np.trim_zeros(np.atleast_1d(np.asarray(p)), "f")
        p = np.trim_zeros(numbers, "b")
        at_zero = len(numbers) - len(p)
    value = _vector(p)
    value = value if value.dtype.is_complex else floating(value)
    zero_roots = zeros((at_zero,), C128, like=value)
    if value.shape[0] < 2:
        return zero_roots
    linalg = namespace_of("linalg")
    nonzero_roots = linalg.eigvals(linalg.companion(value))
    return concatenate([nonzero_roots, zero_roots], 0) if at_zero else nonzero_roots


@rounded_once
def polyfit(
    x: ArrayLike[AnyValue],
    y: ArrayLike[AnyValue],
    deg: Integer,
    rcond: ArrayLike[AnyValue] | None = None,
    full: bool = False,
    w: ArrayLike[AnyValue] | None = None,
    cov: bool | str = False,
) -> AnyValue | tuple[Any, ...]:
    """Fit a polynomial by least squares; it is differentiable by x, y and w.

    Args:
        x: a vector of places.
        y: values there, a vector or columns.
        deg: the degree.
        rcond: as of ``sg.linalg.lstsq``; by default the number of places times the epsilon.
        full: return the residuals, rank, singular values and rcond, too.
        w: weights of the residuals, before they are squared.
        cov: return the covariance of the coefficients, too, scaled by chi**2 per degree of freedom;
            with "unscaled" it is not scaled.

    Returns:
        The coefficients, the highest power first; a tuple with ``full`` or ``cov``.

    Raises:
        RankError: x is not a vector. ShapeError: other sizes of x, y and w.

    >>> sg.evaluate(sg.polyfit([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], 1)).round(6)
    array([2., 1.])
    """
    places, samples = (floating(v) for v in promoted_values((x, y)))
    if places.ndim != 1 or samples.ndim not in (1, 2):
        raise RankError(
            f"{called_name()}: x is {places.type}, y {samples.type}",
            related=describe_operands(places, samples),
        )
    count = places.shape[0]
    if samples.shape[0] != count or deg < 0 or count == 0:
        raise ShapeError(
            f"{called_name()}: x is {places.type}, y {samples.type}, deg {deg}",
            related=describe_operands(places, samples),
        )
    powers: Any = vander(places, deg + 1)
    if w is not None:
        weights = as_values(places, w)[1]
        powers = powers * expand_dims(weights, 1)
        samples = samples * (expand_dims(weights, 1) if samples.ndim == 2 else weights)
    limits: Any = np.finfo(places.dtype.numpy)
    number: Any = count if isinstance(count, int) else size_value(count, places.dtype)
    cutoff: Any = number * float(limits.eps) if rcond is None else rcond
    size = sqrt(aggregate.sum(powers * powers, 0))
    linalg = namespace_of("linalg")
    solution, residuals, rank, singular = linalg.lstsq(powers / size, samples, cutoff)
    fit = solution / (expand_dims(size, 1) if samples.ndim == 2 else size)
    if full:
        return fit, residuals, rank, singular, cutoff
    if not cov:
        return fit
    scaled = linalg.inv((powers / size).T @ (powers / size)) / outer(size, size)
    if cov == "unscaled":
        return fit, scaled
    if isinstance(count, int) and count <= deg + 1:
        raise ArgumentError(f"{called_name()}: {count} places for {deg + 1} coefficients")
    factor = residuals / (number - float(deg + 1))
    return fit, expand_dims(scaled, -1) * factor if samples.ndim == 2 else scaled * factor


def _vector(p: Any) -> Any:
    """Convert polynomial coefficients to a vector of known length."""
    value: Any = as_value(p)
    if value.ndim == 0:
        value = reshape(value, (1,))
    if value.ndim != 1 or not isinstance(value.shape[0], int):
        raise RankError(
            f"{called_name()}: {value.type} is not a vector of a known size",
            related=describe_operands(value),
        )
    return value


def _align(a1: Any, a2: Any) -> Any:
    """Pad the shorter of two coefficient vectors with zeros in front."""
    pair = promoted_values((_vector(a1), _vector(a2)))
    size = max(vector.shape[0] for vector in pair)
    return [
        concatenate(
            [creation.full((size - vector.shape[0],), 0, vector.dtype, like=vector), vector], 0
        )
        for vector in pair
    ]
