"""``sg.ndimage``: the module ``staticgrad.language.functions.ndimage``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions import ndimage as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.ndimage import (
        affine_transform as affine_transform, convolve as convolve, convolve1d as convolve1d,
        correlate as correlate, correlate1d as correlate1d, gaussian_filter as gaussian_filter,
        gaussian_filter1d as gaussian_filter1d, gaussian_laplace as gaussian_laplace, laplace as
        laplace, map_coordinates as map_coordinates, prewitt as prewitt, rotate as rotate, shift as
        shift, sobel as sobel, spline_filter as spline_filter, spline_filter1d as spline_filter1d,
        uniform_filter as uniform_filter, uniform_filter1d as uniform_filter1d, zoom as zoom
    )

sys.modules[__name__] = _module
