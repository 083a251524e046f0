"""Images in other sizes: each axis by itself, a few weighted elements for each of the result.

Positions are fractions of integers, so that ties of ``nearest`` are decided exactly, for literal
and for named sizes by the same formulas: of arrays of NumPy in the first case, of values in the
other.
"""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from operator import add
from typing import Any, Final, NamedTuple

import numpy as np

from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.errors.wording import kind_of, shown
from staticgrad.ir.calls import public
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue, binding_kind
from staticgrad.ops.elementwise import Operand, lifted
from staticgrad.ops.operands import as_value, floating, is_number, related, shape_of
from staticgrad.ops.positions import iota
from staticgrad.types.dim import Dim, Size
from staticgrad.types.dtype import I64

#: Method -> what it is; PyTorch has a name for each number of axes.
_METHODS: Final = {
    **dict.fromkeys(("linear", "bilinear", "trilinear"), "linear"),
    **dict.fromkeys(("cubic", "bicubic"), "cubic"),
    "nearest": "nearest",
    "area": "area",
}
_COORDINATES: Final = ("half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
_ROUNDINGS: Final = ("round_prefer_ceil", "round_prefer_floor", "floor", "ceil")
#: Elements up to which weights are applied element by element; more are summed along an axis.
_MOST_TERMS: Final = 8


class _Resizing(NamedTuple):
    method: str
    coordinates: str
    rounding: str
    cubic: float
    antialias: bool
    exclude_outside: bool


@public
def resize(
    x: Operand[AnyValue],
    shape: Any = None,
    method: str = "nearest",
    *,
    scale: float | tuple[float, ...] | None = None,
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_ceil",
    cubic: float = -0.75,
    antialias: bool = False,
    exclude_outside: bool = False,
) -> AnyValue:
    """Images in another size, along as many of the last axes as ``shape`` or ``scale`` has entries.

    The words are those of ONNX's ``Resize``. PyTorch's ``interpolate`` has half pixels, too, but
    for its ``mode="nearest"``, which is ``coordinates="asymmetric", rounding="floor"``, and its
    ``align_corners=True``. With its ``antialias=True`` it excludes what lies outside, and ``cubic``
    is -0.5.

    Args:
        x: images.
        shape: the last sizes of the result; literal or named.
        method: ``"nearest"``, one element; ``"linear"``, between two of each axis; ``"cubic"``, by
            four of each axis (R. G. Keys 1981); ``"area"``, the mean of the elements that a new
            one covers. Beyond the outermost elements there are these again.
        scale: by which factors sizes grow, instead of ``shape``; rounded down. Positions are those
            of the factor, but for aligned corners and areas.
        coordinates: where element i of n lies among m: ``"half_pixel"``, at
            (i + 1/2) m / n - 1/2; ``"asymmetric"``, at i m / n; ``"align_corners"``, at
            i (m - 1) / (n - 1); ``"half_pixel_symmetric"``, as half pixels, in the middle of the
            image where ``scale`` does not give a whole size.
        rounding: which element is nearest: ``"floor"``, ``"ceil"``, or the nearer one, of two the
            latter (``"round_prefer_ceil"``) or the former (``"round_prefer_floor"``).
        cubic: the slope of the cubic at distance 1: -0.75, or -0.5 as in JAX and Pillow.
        antialias: whether linear and cubic methods average over what a smaller image leaves out.
        exclude_outside: whether elements beyond the outermost have no weight; those of the others
            grow.

    Returns:
        The images in that size; floating for all methods but ``"nearest"``.

    >>> sg.evaluate(sg.nn.resize([[0.0, 4.0]], 4, "linear"))
    array([[0., 1., 3., 4.]])
    """
    value = as_value("resize", x)
    for word, choice, choices in (
        ("method", method, _METHODS),
        ("coordinates", coordinates, _COORDINATES),
        ("rounding", rounding, _ROUNDINGS),
    ):
        if choice not in choices:
            raise ArgumentError(
                f"resize: {word}={shown(choice)} is not one of {', '.join(choices)}",
                related=related(value),
            )
    options = _Resizing(_METHODS[method], coordinates, rounding, cubic, antialias, exclude_outside)
    if options.method != "nearest":
        value = floating("resize", value)
    if (shape is None) == (scale is None):
        raise ArgumentError("resize: takes either shape or scale", related=related(value))
    factors = _factors(scale)
    sizes = shape_of("resize", shape, value) if scale is None else ()
    entries: tuple[Any, ...] = factors or sizes
    if len(entries) > value.ndim:
        count = len(entries)
        raise ArgumentError(f"resize: {count} sizes for {value.type}", related=related(value))
    for axis, entry in enumerate(entries, start=value.ndim - len(entries)):
        old = value.shape[axis]
        new, ratio = entry, (old, entry)
        if isinstance(entry, Fraction):
            ratio = (entry.denominator, entry.numerator)
            new = old * entry.numerator // entry.denominator
        if any(isinstance(size, int) and size < 1 for size in (old, new)):
            raise ShapeError(f"resize: from {old} to {new} elements", related=related(value))
        if ratio[0] != ratio[1]:
            value = _along(value, axis, new, ratio, options)
    return value


def _factors(scale: Any) -> tuple[Fraction, ...]:
    """Scales as fractions: 0.6 is 3/5, also as a float32."""
    given = () if scale is None else scale if isinstance(scale, list | tuple) else (scale,)
    for each in given:
        if not is_number(each) or not 0 < each < np.inf:
            raise ArgumentError(f"resize: scale={shown(each)} is {kind_of(each)}, not positive")
    return tuple(Fraction(float(each)).limit_denominator(1_000_000) for each in given)


def _along(
    x: AnyValue, axis: int, new: Size, ratio: tuple[Size, Size], options: _Resizing
) -> AnyValue:
    """One axis in ``new`` elements, at distances of ratio[0] / ratio[1] old ones."""
    old = x.shape[axis]
    named = isinstance(old, Dim)

    def number(size: Size) -> Any:
        return functions.size_value(size, I64) if isinstance(size, Dim) else size

    at: Any = iota((new,), like=x) if isinstance(new, Dim) or named else np.arange(new)
    n, m, (q, p) = number(new), number(old), map(number, ratio)
    if options.method == "area":
        start, stop = at * m // n, -(-((at + 1) * m) // n)
        if isinstance(at, np.ndarray):
            reach = int((stop - start).max())
        else:  # m / n is below twice the ratio, since m * p // q is n
            reach = 2 * _reach("area", 1, ratio, x) + 1
        places = [start + k for k in range(reach)]
        terms = [np.where(place < stop, 1.0, 0.0) / (stop - start) for place in places]
        return _weighted(x, axis, places, terms, old)
    above, below = {  # the position is above / below
        "half_pixel": lambda: ((2 * at + 1) * q - p, 2 * p),
        "asymmetric": lambda: (at * q, p),
        "align_corners": lambda: (at * (m - 1), np.maximum(n - 1, 1)),
        "half_pixel_symmetric": lambda: ((2 * at + 1) * q - p + m * p - n * q, 2 * p),
    }[options.coordinates]()
    if options.method == "nearest":
        place = {
            "floor": lambda: above // below,
            "ceil": lambda: -(-above // below),
            "round_prefer_ceil": lambda: (2 * above + below) // (2 * below),
            "round_prefer_floor": lambda: -((below - 2 * above) // (2 * below)),
        }[options.rounding]()
        return functions.take(x, np.clip(place, 0, m - 1), axis)
    radius, shrunk = {"linear": 1, "cubic": 2}[options.method], 1.0
    if options.antialias:
        reach = _reach("antialias", radius, ratio, x)
        shrunk = min(1.0, p / q)
    else:
        reach = radius
    first, behind = above // below, (above % below) / below
    offsets = range(1 - reach, reach + 1)
    places = [first + k for k in offsets]
    terms = [_kernel((k - behind) * shrunk, options) for k in offsets]
    if options.exclude_outside:
        terms = [
            np.where(np.logical_and(place >= 0, place < m), term, 0.0)
            for place, term in zip(places, terms, strict=True)
        ]
    if options.exclude_outside or options.antialias:
        total = reduce(add, terms)
        terms = [term / total for term in terms]
    return _weighted(x, axis, places, terms, old)


def _reach(what: str, radius: int, ratio: tuple[Size, Size], x: AnyValue) -> int:
    """How many elements on either side have weight."""
    q, p = ratio
    if isinstance(q, Dim) or isinstance(p, Dim):
        raise ArgumentError(
            f"resize: {what} from {q} to {p} elements: their ratio is only known in a run",
            hint="scale= gives it",
            related=related(x),
        )
    return max(radius, -(-radius * q // p))


def _kernel(distance: Any, options: _Resizing) -> Any:
    """Weights of elements at distances, a tent or Keys' cubic."""
    t = np.abs(distance)
    if options.method == "linear":
        return np.maximum(1.0 - t, 0.0)
    a = options.cubic
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = (((t - 5) * t + 8) * t - 4) * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _weighted(x: AnyValue, axis: int, places: list[Any], terms: list[Any], old: Size) -> AnyValue:
    """The elements at ``places``, or the outermost ones, times ``terms``, which add up to 1."""
    last: Any = functions.size_value(old, I64) - 1 if isinstance(old, Dim) else old - 1
    behind = (1,) * (x.ndim - 1 - axis)

    def weights(term: Any, shape: tuple[Size, ...]) -> Any:
        own = lifted("resize", binding_kind((x,)), term, x.dtype)
        return functions.reshape(own, (*shape, *behind))

    if len(places) > _MOST_TERMS:
        many = functions.take(x, np.clip(np.stack(places, -1), 0, last), axis)
        count = (many.shape[axis], len(places))
        return functions.sum(many * weights(np.stack(terms, -1), count), axis + 1)
    first, *others = (functions.take(x, np.clip(place, 0, last), axis) for place in places)
    size = (first.shape[axis],)
    total = first
    for other, term in zip(others, terms[1:], strict=True):  # constants stay constants
        total = total + (other - first) * weights(term, size)
    return total
