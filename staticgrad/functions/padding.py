"""Elements around an array: NumPy's ``pad`` in its modes.

Zeros, but for -0.0, are one op (``slices.Pad``). The modes that repeat elements read them by their
positions, so that gradients add up where an element stands several times; the others join what they
compute.
"""

from __future__ import annotations

from math import copysign
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError, ShapeError
from staticgrad.errors.wording import shown
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.indexing import take
from staticgrad.ops.movement import broadcast_to, reshape
from staticgrad.ops.operands import as_value, axis_of, is_number, related, size_of
from staticgrad.ops.positions import iota
from staticgrad.ops.slices import Pad, concatenate, part
from staticgrad.types import dim as dims
from staticgrad.types.dim import Dim, Size
from staticgrad.types.dtype import BOOL, I64

Pairs = list[tuple[Any, Any]]
_STATISTICS: Final = {"maximum": "max", "minimum": "min", "mean": "mean", "median": "median"}
_REPEATING: Final = ("edge", "reflect", "symmetric", "wrap")
_MIRRORING: Final = ("reflect", "symmetric")
_MODES: Final = ("constant", *_REPEATING, "linear_ramp", *_STATISTICS)


def pad(
    x: Operand[AnyValue],
    pad_width: Any,
    mode: str = "constant",
    *,
    constant_values: Any = 0,
    end_values: Any = 0,
    stat_length: Any = None,
    reflect_type: str = "even",
) -> AnyValue:
    """x with elements around it: zeros by default.

    Args:
        x: a value.
        pad_width: how many before and after: one size for all, (before, after) for all axes, one
            such pair per axis, or a dict from axis to either. Sizes may be named.
        mode: ``"constant"``; ``"edge"``, the outermost element; ``"reflect"`` and ``"symmetric"``,
            mirrored without and with the outermost one; ``"wrap"``, from the other end;
            ``"linear_ramp"``, to ``end_values`` in equal steps; ``"maximum"``, ``"minimum"``,
            ``"mean"``, ``"median"``, of the axis or of its ``stat_length`` outermost elements.
        constant_values, end_values: numbers or 0-d values, one or in pairs as ``pad_width``.
        stat_length: how many elements count, one or in pairs; all by default.
        reflect_type: ``"even"``, or ``"odd"``: twice the outermost element less the mirrored ones.
            For ``"reflect"`` and ``"symmetric"``.

    Returns:
        A value in the dtype of x, larger by both widths along each axis.

    Raises:
        ArgumentError: ``pad_width`` or another argument has another form; another mode.

    >>> sg.evaluate(sg.pad([1, 2, 3], (1, 2), "edge"))
    array([1, 1, 2, 3, 3, 3])
    """
    value = as_value("pad", x)
    if mode not in _MODES:
        raise ArgumentError(
            f"pad: mode={shown(mode)} is not supported for values of a graph",
            hint=f"there are {', '.join(_MODES)}",
            related=related(value),
        )
    if reflect_type not in ("even", "odd"):
        raise ArgumentError(f"pad: reflect_type={shown(reflect_type)} is neither 'even' nor 'odd'")
    odd = reflect_type == "odd"
    pairs = [
        (size_of("pad", a, value), size_of("pad", b, value)) for a, b in _widths(value, pad_width)
    ]
    _check_options(
        mode,
        constant_values=(constant_values, 0, ("constant",)),
        end_values=(end_values, 0, ("linear_ramp",)),
        stat_length=(stat_length, None, tuple(_STATISTICS)),
        reflect_type=("odd" if odd else None, None, _MIRRORING),
    )
    if mode == "constant":
        return _with_constants(value, pairs, constant_values)
    return _around(value, pairs, mode, (end_values, stat_length, odd))


def _around(
    value: AnyValue, pairs: list[tuple[Size, Size]], mode: str, options: tuple[Any, Any, bool]
) -> AnyValue:
    """Every mode but the constants, one axis after the other."""
    if mode in ("linear_ramp", "mean", "median") and not value.dtype.is_float:
        raise DTypeError(
            f"pad: mode={mode!r} takes floating elements, got {value.dtype.numpy}",
            hint="x.astype('float64')",
            related=related(value),
        )
    if options[2] and value.dtype is BOOL:
        raise DTypeError("pad: bools have no odd reflection", related=related(value))
    ends = _pairs(value, options[0], "end_values")
    lengths = _pairs(value, options[1], "stat_length")
    for axis, sides in enumerate(pairs):
        if sides == (0, 0):
            continue
        if mode in _REPEATING:
            value = _repeated(value, axis, sides, mode, options[2])
        elif mode == "linear_ramp":
            value = _ramped(value, axis, sides, ends[axis])
        else:
            value = _by_statistic(value, axis, sides, lengths[axis], _STATISTICS[mode])
    return value


def _check_options(mode: str, **options: tuple[Any, Any, tuple[str, ...]]) -> None:
    """Refuse an option that belongs to another mode."""
    for name, (given, default, modes) in options.items():
        if mode not in modes and not (given is default or (is_number(given) and given == default)):
            raise ArgumentError(
                f"pad: {name}={shown(given)} says nothing in mode={mode!r}",
                hint=f"it belongs to mode={' or '.join(map(repr, modes))}",
            )


def _widths(x: Value, width: Any) -> Pairs:
    if isinstance(width, dict):
        given = {axis_of("pad", axis, x): pair for axis, pair in width.items()}
        width = [given.get(axis, (0, 0)) for axis in range(x.ndim)]
        return [tuple(e) if isinstance(e, list | tuple) else (e, e) for e in width]
    return _pairs(x, width, "pad_width")


def _pairs(x: Value, data: Any, what: str) -> Pairs:
    """What stands before and after each axis."""
    if isinstance(data, np.ndarray):
        data = data.tolist()
    if not isinstance(data, list | tuple):
        data = (data, data)
    if len(data) == 2 and not any(isinstance(entry, list | tuple) for entry in data):
        data = [data] * x.ndim
    if len(data) == 1:
        data = [data[0]] * x.ndim
    pairs = [entry if isinstance(entry, list | tuple) else (entry, entry) for entry in data]
    pairs = [pair * 2 if len(pair) == 1 else pair for pair in pairs]
    if len(pairs) != x.ndim or any(len(pair) != 2 for pair in pairs):
        many = "one (before, after) for each of"
        if what != "pad_width":
            many = f"{what} {many}"
        raise ArgumentError(f"pad: {data!r} is not {many} the {x.ndim} axes", related=related(x))
    return [(before, after) for before, after in pairs]


def _with_constants(x: AnyValue, widths: list[tuple[Size, Size]], constants: Any) -> AnyValue:
    if not (is_number(constants) and constants == 0 and copysign(1.0, constants) > 0):
        for axis, (sides, values) in enumerate(
            zip(widths, _pairs(x, constants, "constant_values"), strict=True)
        ):
            x = _joined(x, axis, sides, [_number(x, "constant_values", v) for v in values])
        return x
    shape = tuple(size + a + b for size, (a, b) in zip(x.shape, widths, strict=True))
    if shape == x.shape:
        return x
    return Pad(shape, tuple(before for before, _ in widths), (1,) * x.ndim)(x)


def _number(x: AnyValue, what: str, data: Any) -> AnyValue:
    """One number around x, in its dtype."""
    value = as_value("pad", data, getattr(x, "kind", type(x)))
    if value.ndim:
        raise ArgumentError(f"pad: {what} {value.type} is no number", related=related(value))
    return functions.astype(value, x.dtype)


def _joined(x: AnyValue, axis: int, sides: tuple[Size, Size], slabs: list[AnyValue]) -> AnyValue:
    """x between two slabs, each repeated to its side's size along ``axis``."""
    parts = []
    for side, slab in zip(sides, slabs, strict=True):
        shape = tuple(side if k == axis else size for k, size in enumerate(x.shape))
        parts.append([broadcast_to(slab, shape)] if side != 0 else [])
    return concatenate([*parts[0], x, *parts[1]], axis)


def _repeated(x: AnyValue, axis: int, sides: tuple[Size, Size], mode: str, odd: bool) -> AnyValue:
    """x with elements of its own around it along ``axis``."""
    size, (before, after) = x.shape[axis], sides
    if size == 0:
        raise ShapeError(
            f"pad: axis {axis} of {x.type} has no elements to repeat", related=related(x)
        )
    total = size + before + after
    places: Any
    of: Any = np
    count: Any = size
    if isinstance(total, Dim) or isinstance(size, Dim) or isinstance(before, Dim):
        of, count = functions, functions.size_value(size, I64)
        places = iota((total,), like=x) - functions.size_value(before, I64)
    else:
        places = np.arange(total) - before
    found = take(x, _source(places, count, mode, of), axis)
    return _turned_over(x, found, axis, (places, count, mode, of)) if odd else found


def _turned_over(
    x: AnyValue, even: AnyValue, axis: int, given: tuple[Any, Any, str, Any]
) -> AnyValue:
    """Odd reflections, of the even ones: at an end e, f(e + k) = 2 x[e] - f(e - k).

    So a period on, every element is larger by twice the difference of the ends.
    """
    places, size, mode, of = given
    same = int(mode == "symmetric")  # as far beyond the end as an element that lies before it
    far = of.where(places < 0, -places - same, places)
    period = of.maximum(2 * size - 2 + 2 * same, 1)
    number = far // period
    column = tuple(-1 if k == axis else 1 for k in range(x.ndim))

    def along(values: Any) -> Any:
        return functions.reshape(values, column) if of is functions else values.reshape(column)

    first, last = (part(x, axis, at, 1) for at in (0, x.shape[axis] - 1))
    found = functions.where(along(far % period < size), even, 2 * last - even)
    if of is functions or number.any():
        twice = as_value("pad", along(2 * number), getattr(x, "kind", type(x)))
        moved = functions.astype(twice, x.dtype) * (last - first)
        found = functions.where(along(number > 0), found + moved, found)
    return functions.where(along(places < 0), 2 * first - found, found)


def _source(places: Any, size: Any, mode: str, of: Any) -> Any:
    """Which element stands at each place, counted from the first one of the array.

    ``of`` has the functions: NumPy's module, or ours.
    """
    if mode == "edge":
        return of.maximum(of.minimum(places, size - 1), 0)
    if mode == "wrap":
        return of.remainder(places, size)
    if mode == "symmetric":
        turn = of.remainder(places, 2 * size)
        return of.where(turn < size, turn, 2 * size - 1 - turn)
    period = of.maximum(2 * size - 2, 1)
    turn = of.remainder(places, period)
    return of.where(turn < size, turn, period - turn)


def _ramped(x: AnyValue, axis: int, sides: tuple[Size, Size], ends: tuple[Any, Any]) -> AnyValue:
    slabs = []
    for number, (side, end) in enumerate(zip(sides, ends, strict=True)):
        edge = part(x, axis, 0 if number == 0 else x.shape[axis] - 1, 1)
        target = _number(x, "end_values", end)
        steps = functions.astype(iota((side,), like=x), x.dtype)
        column = reshape(steps, tuple(side if k == axis else 1 for k in range(x.ndim)))
        ramp = (edge - target) / functions.size_value(side, x.dtype) * column + target
        slabs.append(ramp if number == 0 else functions.flip(ramp, axis))
    return _joined(x, axis, sides, slabs)


def _by_statistic(
    x: AnyValue, axis: int, sides: tuple[Size, Size], lengths: tuple[Any, Any], statistic: str
) -> AnyValue:
    slabs = []
    size = x.shape[axis]
    for number, length in enumerate(lengths):
        if length is None:
            chosen = x
        else:
            asked = size_of("pad", length, x)
            many = asked + size - dims.maximum(asked, size)
            chosen = part(x, axis, 0 if number == 0 else size - many, many)
        slabs.append(getattr(functions, statistic)(chosen, axis, keepdims=True))
    return _joined(x, axis, sides, slabs)
