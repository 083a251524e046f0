"""Complex numbers: made of real values, and taken apart.

A real value is its own real part and its own conjugate, and its imaginary part is 0.
"""

from __future__ import annotations

import math
from typing import Any

from staticgrad.errors import DTypeError
from staticgrad.functions.creation import zeros_like
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.pairs import Complex, pair
from staticgrad.language.ops.complex_readings import abs_squared
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import ArrayLike, broadcast
from staticgrad.language.ops.logic import equal, not_equal
from staticgrad.language.ops.movement import broadcast_to
from staticgrad.language.ops.operands import as_value, promoted_values
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.ops.transcendental import arctan2


def complex(real: ArrayLike[AnyValue], imag: ArrayLike[AnyValue]) -> AnyValue:
    """Make a complex value of its real and imaginary part, real numbers that broadcast.

    >>> sg.evaluate(sg.complex([1.0, 2.0], 3.0))
    array([1.+3.j, 2.+3.j])
    """
    re, im = promoted_values((real, imag))
    if re.dtype.is_complex or not re.dtype.is_float:
        if re.dtype.is_complex:
            raise DTypeError(f"complex: a part is {re.dtype}", hint="real + 1j * imag")
        re, im = (astype(part, "float64") for part in (re, im))
    if re.shape != im.shape:
        shape = broadcast("complex", [re.shape, im.shape])
        re, im = broadcast_to(re, shape), broadcast_to(im, shape)
    result: AnyValue = pair(re, im)
    return result


def real(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return the real part: of a real value itself.

    >>> sg.evaluate(sg.real([1.0 + 2.0j]))
    array([1.])
    """
    value: Any = as_value(x)
    result: AnyValue = value.real if isinstance(value, Complex) else value
    return result


def imag(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return the imaginary part: of a real value 0.

    >>> sg.imag([1 + 2j, 3 - 1j])
    array([ 2., -1.])
    """
    value: Any = as_value(x)
    result: AnyValue = value.imag if isinstance(value, Complex) else zeros_like(value)
    return result


def iscomplex(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return True where the imaginary part is not 0.

    >>> sg.evaluate(sg.iscomplex([1.0 + 0.0j, 1.0j]))
    array([False,  True])
    """
    return not_equal(imag(x), 0)


def isreal(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return True where the imaginary part is 0.

    >>> sg.evaluate(sg.isreal([1.0 + 0.0j, 1.0j]))
    array([ True, False])
    """
    return equal(imag(x), 0)


@rounded_once
def angle(z: ArrayLike[AnyValue], deg: bool = False) -> AnyValue:
    """Compute the angle of each number with the positive real axis, from -pi to pi; 0 at 0.

    In degrees with ``deg``. The derivative at 0 is 0.

    >>> sg.evaluate(sg.angle([1.0j, -1.0]))
    array([1.57079633, 3.14159265])
    """
    value: Any = as_value(z)
    if not value.dtype.is_float:
        value = astype(value, "float64")
    radians = arctan2(imag(value), real(value))
    return radians * (180.0 / math.pi) if deg else radians


def abs_square(x: ArrayLike[AnyValue]) -> AnyValue:
    """Compute the square of the magnitude: real, and smooth at 0.

    >>> sg.evaluate(sg.abs_square([3.0 + 4.0j]))
    array([25.])
    """
    value: Any = as_value(x)
    result: AnyValue = abs_squared(value)
    return result
