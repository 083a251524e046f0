"""Curves through points, and values on grids between them, in the names of ``scipy.interpolate``.

Public as ``sg.interpolate``. A curve is an object with ``c``, the coefficients of its pieces, and
``x``, where they meet; it is called at places, and has derivatives, antiderivatives and integrals.
All of it is differentiable, by the places, by the points and by the values there. Curves and grids
of arrays alone give arrays; both can be an argument or a result of a function.

    >>> curve = sg.interpolate.CubicSpline([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 8.0, 27.0])
    >>> curve([0.5, 1.5]).round(6), round(float(curve.integrate(0.0, 2.0)), 6)
    (array([0.125, 3.375]), 4.0)
"""

from __future__ import annotations

from typing import Final

from staticgrad.extend import namespace
from staticgrad.interpolate.curves import (
    Akima1DInterpolator as Akima1DInterpolator,
    CubicHermiteSpline as CubicHermiteSpline,
    CubicSpline as CubicSpline,
    PchipInterpolator as PchipInterpolator,
    PPoly as PPoly,
)
from staticgrad.interpolate.grids import (
    RegularGridInterpolator as RegularGridInterpolator,
    interpn as interpn,
)

__all__ = [
    "Akima1DInterpolator", "CubicHermiteSpline", "CubicSpline", "PPoly", "PchipInterpolator",
    "RegularGridInterpolator", "interpn",
]  # fmt: skip

_INSTEAD: Final = {
    "BPoly": "sg.interpolate.PPoly(c, x), in powers of the distance from a breakpoint",
    "pchip": "sg.interpolate.PchipInterpolator(x, y)",
}
namespace(globals(), instead=_INSTEAD)
