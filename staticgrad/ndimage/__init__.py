"""Filters and interpolation of images of any number of axes, in the names of ``scipy.ndimage``.

Public as ``sg.ndimage``. Results are differentiable by the image, by weights, coordinates, shifts,
matrices and angles. Functions never write into an array: ``output`` is a dtype.

    >>> sg.ndimage.gaussian_filter([0.0, 0.0, 1.0, 0.0, 0.0], 1.0).round(3)
    array([0.058, 0.242, 0.399, 0.242, 0.058])
"""

from __future__ import annotations

from typing import Final

from staticgrad.extend import namespace, present
from staticgrad.ndimage.filters import (
    convolve as convolve,
    convolve1d as convolve1d,
    correlate as correlate,
    correlate1d as correlate1d,
    gaussian_filter as gaussian_filter,
    gaussian_filter1d as gaussian_filter1d,
    gaussian_laplace as gaussian_laplace,
    laplace as laplace,
    prewitt as prewitt,
    sobel as sobel,
    uniform_filter as uniform_filter,
    uniform_filter1d as uniform_filter1d,
)
from staticgrad.ndimage.geometry import (
    affine_transform as affine_transform,
    map_coordinates as map_coordinates,
    rotate as rotate,
    shift as shift,
    spline_filter as spline_filter,
    spline_filter1d as spline_filter1d,
    zoom as zoom,
)

__all__ = [
    "affine_transform", "convolve", "convolve1d", "correlate", "correlate1d", "gaussian_filter",
    "gaussian_filter1d", "gaussian_laplace", "laplace", "map_coordinates", "prewitt", "rotate",
    "shift", "sobel", "spline_filter", "spline_filter1d", "uniform_filter", "uniform_filter1d",
    "zoom",
]  # fmt: skip

_INSTEAD: Final = {
    "geometric_transform": "sg.ndimage.map_coordinates(image, coordinates), of all coordinates",
    "gaussian_gradient_magnitude": "sg.sqrt(sum(sg.ndimage.gaussian_filter(image, sigma, order) **"
    " 2 for order in [(1, 0), (0, 1)]))",
    "maximum_filter": "sg.nn.max_pool(x, size, stride=1, padding='same'), over the last axes of x",
    "grey_dilation": "sg.nn.max_pool(x, size, stride=1, padding='same'), over the last axes of x",
}
namespace(globals(), operands=present, instead=_INSTEAD)
