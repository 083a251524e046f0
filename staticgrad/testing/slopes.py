"""Where a function of arrays is smooth, and where it has a kink, by differences of its reference.

Knows NumPy functions and points, no rule of differentiation. A point counts as smooth if central
differences at two distances agree in slope and bend; as a kink if the slopes from the left and the
right stay apart as the distance shrinks, or grow without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np

from staticgrad.ir.op import Array

Operands = tuple[Array, ...]
Function = Callable[..., Any]
_DISTANCES: Final = (1e-6, 1e-8)  # at which one-sided slopes are taken
_STEP: Final = 2e-3  # of central differences
_AGREE: Final = 1e-7
_MOST_PLACES: Final = 64  # elements of one operand that are moved one by one
_LARGEST: Final = 1e6  # beyond, a distance is lost in the last places
#: Away from the usual kinks (whole numbers, halves) by more than twice the step, of both signs.
PROBES: Final = np.array(
    [0.31, -0.31, 0.73, -0.73, 1.13, -1.13, 1.87, -1.87, 3.29, -3.29, 8.71, -8.71, 0.06, -0.06]
)
#: Where functions have their kinks.
CORNERS: Final = np.array([-2.0, -1.5, -1.0, -0.5, 0.0, 0.3, 0.5, 1.0, 2.0, 3.0])


def grid(axes: list[Array]) -> Operands:
    """Every combination of the points of all axes, one array per axis."""
    return tuple(np.ascontiguousarray(a.ravel()) for a in np.meshgrid(*axes, indexing="ij"))


def smooth_points(function: Function, points: Operands) -> Operands:
    """Those of many points, for an elementwise function, at which it is smooth in all operands."""
    keep = np.ones(points[0].shape, bool)
    for position, array in enumerate(points):
        if array.dtype.kind == "f":
            keep &= _stable(partial(_first_moved, function, points, position))
    return tuple(array[keep] for array in points)


def is_smooth(function: Function, operands: Operands, rng: np.random.Generator) -> bool:
    """Whether all results are finite and smooth along a random direction of all operands."""
    along = [rng.uniform(-1, 1, a.shape) if a.dtype.kind == "f" else 0 for a in operands]

    def at(step: float) -> Array:
        moved = [a + step * v if a.dtype.kind == "f" else a for a, v in zip(operands, along)]  # noqa: B905
        return _first(function, tuple(moved))

    return bool(np.all(_stable(at)))


def _stable(at: Callable[[float], Array]) -> Array:
    with np.errstate(all="ignore"):
        here = at(0.0)
        if here.dtype.kind != "f":
            return np.zeros(here.shape, bool)
        wide, narrow = (
            (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h) for h in (_STEP, _STEP / 2)
        )
        near = np.abs(wide - narrow) <= _AGREE * (1 + np.abs(narrow))
        # Of smooth functions h**2 f'', of a kink in the middle proportional to h.
        bend, half = (at(h) + at(-h) - 2 * here for h in (_STEP, _STEP / 2))
        near &= np.abs(bend - 4 * half) <= _AGREE * (1 + np.abs(here) + np.abs(narrow))
        return np.asarray(near & np.isfinite(here) & np.isfinite(narrow))


def _first_moved(function: Function, points: Operands, position: int, step: float) -> Array:
    moved = (*points[:position], points[position] + step, *points[position + 1 :])
    return _first(function, moved)


def _first(function: Function, operands: Operands) -> Array:
    """The first result."""
    found = function(*operands)
    return np.asarray(found[0] if isinstance(found, tuple) else found)


def kinks(function: Function, operands: Operands) -> Iterator[str]:
    """Elements of float64 operands at which a derivative does not exist."""
    positions = [p for p, array in enumerate(operands) if array.dtype == np.float64]
    if not positions:
        return
    with np.errstate(all="ignore"):
        here = np.ravel(_first(function, operands))
    if here.dtype != np.float64 or not np.isfinite(here).any():
        return
    for position in positions:
        array = operands[position]
        for place in list(np.ndindex(*array.shape))[:_MOST_PLACES]:
            if not np.isfinite(array[place]) or abs(array[place]) > _LARGEST:
                continue
            steps = [sign * distance for distance in _DISTANCES for sign in (1, -1)]
            slopes = [_slope(function, operands, here, position, place, step) for step in steps]
            if _differ(np.array(slopes)):
                yield f"operand {position + 1} at {float(array[place])!r}"


def _slope(
    function: Function,
    operands: Operands,
    here: Array,
    position: int,
    place: tuple[int, ...],
    step: float,
) -> float:
    """The weighed slopes of the results, which are ``here``, over a step; NaN where one ends."""
    moved = list(operands)
    moved[position] = moved[position].copy()
    moved[position][place] += step
    step = float(moved[position][place] - operands[position][place])
    with np.errstate(all="ignore"):
        there = np.ravel(_first(function, tuple(moved)))
        weights = np.cos(np.arange(here.size)) + 2.0
        return float(np.sum(((there - here) * weights)[np.isfinite(here)]) / step)


def _differ(slopes: Array) -> bool:
    """Whether slopes (right, left, nearer right, nearer left) tell of a kink."""
    inside = slopes[np.isfinite(slopes)]
    if inside.size < slopes.size:
        return inside.size > 0 and bool(np.abs(inside[-1]) > 5 * np.abs(inside[0]) + 1e3)
    apart = [abs(s[0] - s[1]) / (1 + np.abs(s).max()) for s in (slopes[:2], slopes[2:])]
    grows = np.abs(slopes[2:]).max() > 5 * np.abs(slopes[:2]).max() + 1e3
    return bool(min(apart) > 1e-2 or grows)
