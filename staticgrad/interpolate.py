"""``sg.interpolate``: the module ``staticgrad.language.functions.interpolate``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions import interpolate as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.interpolate import (
        Akima1DInterpolator as Akima1DInterpolator, CubicHermiteSpline as CubicHermiteSpline,
        CubicSpline as CubicSpline, PPoly as PPoly, PchipInterpolator as PchipInterpolator,
        RegularGridInterpolator as RegularGridInterpolator, interpn as interpn
    )

sys.modules[__name__] = _module
