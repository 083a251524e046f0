"""Numbers between two ends: at equal distances, or each the same multiple of the one before."""

from __future__ import annotations

from typing import Any, Literal, overload

from staticgrad.errors import ArgumentError
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import moveaxis, reshape
from staticgrad.ops.operands import axis_of, dtype_of, floating, integer, promoted_values
from staticgrad.ops.positions import iota


@overload
def linspace(
    start: Operand[AnyValue],
    stop: Operand[AnyValue],
    num: int = ...,
    endpoint: bool = ...,
    retstep: Literal[False] = ...,
    dtype: Any = ...,
    axis: int = ...,
) -> AnyValue: ...
@overload
def linspace(
    start: Operand[AnyValue],
    stop: Operand[AnyValue],
    num: int = ...,
    endpoint: bool = ...,
    *,
    retstep: Literal[True],
    dtype: Any = ...,
    axis: int = ...,
) -> tuple[AnyValue, AnyValue]: ...
def linspace(
    start: Operand[AnyValue],
    stop: Operand[AnyValue],
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> AnyValue | tuple[AnyValue, AnyValue]:
    """``num`` numbers from ``start`` to ``stop`` at equal distances; float64 for integer ends.

    start + step * k, and exactly ``stop`` at the end; gradients flow to both ends.

    Args:
        start, stop: the ends, which broadcast: numbers along a new axis for each of their elements.
        num: how many numbers, known when the graph is built.
        endpoint: whether ``stop`` is the last of them; else it would be the next one.
        retstep: also return the distance.
        dtype: the element type of the result; towards integers it is rounded down.
        axis: which axis of the result the numbers stand along.

    Returns:
        The numbers, along a new axis; with ``retstep`` a pair of them and the distance.

    Raises:
        ArgumentError: a negative number of numbers.

    >>> sg.evaluate(sg.linspace(0.0, 1.0, 3))
    array([0. , 0.5, 1. ])
    """
    line, step = _line("linspace", start, stop, num, endpoint, axis)
    if dtype is not None:
        line = _converted("linspace", line, dtype)
    return (line, step) if retstep else line


def logspace(
    start: Operand[AnyValue],
    stop: Operand[AnyValue],
    num: int = 50,
    endpoint: bool = True,
    base: Operand[AnyValue] = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> AnyValue:
    """``base`` to the powers of ``linspace(start, stop)``. Arguments and errors as there.

    Args:
        start, stop, num, endpoint, dtype, axis: as for ``linspace``.
        base: what the powers are of.

    Returns:
        The powers, along a new axis.

    >>> sg.evaluate(sg.logspace(0.0, 2.0, 3))
    array([  1.,  10., 100.])
    """
    line, _ = _line("logspace", start, stop, num, endpoint, axis)
    found = functions.power(base, line)
    return found if dtype is None else functions.astype(found, dtype_of("logspace", dtype))


def geomspace(
    start: Operand[AnyValue],
    stop: Operand[AnyValue],
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> AnyValue:
    """``num`` numbers from ``start`` to ``stop``, each the same multiple of the one before.

    Both ends have one sign; other ends give NaN. Arguments and errors as for ``linspace``.

    Args:
        start, stop, num, endpoint, dtype, axis: as for ``linspace``.

    Returns:
        The numbers, along a new axis.

    >>> sg.evaluate(sg.geomspace(1.0, 100.0, 3))
    array([  1.,  10., 100.])
    """
    first, last = _ends("geomspace", start, stop)
    count = _count("geomspace", num)
    places, _ = _line("geomspace", _zero(first), 1.0, count, endpoint, 0)
    column = reshape(places, (count, *(1,) * first.ndim))
    line = first * functions.power(last / first, functions.astype(column, first.dtype))
    line = moveaxis(line, 0, axis_of("geomspace", axis, line))
    return line if dtype is None else functions.astype(line, dtype_of("geomspace", dtype))


def _zero(like: AnyValue) -> AnyValue:
    return functions.full((), 0.0, like=like)


def _ends(op: str, start: Operand[AnyValue], stop: Operand[AnyValue]) -> tuple[AnyValue, AnyValue]:
    first, last = (floating(op, v) for v in promoted_values(op, (start, stop)))
    first, last = functions.broadcast_arrays(first, last)
    return first, last


def _count(op: str, num: Any) -> int:
    count = integer(op, "num", num)
    if count < 0:
        raise ArgumentError(f"{op}: {count} numbers")
    return count


def _line(
    op: str, start: Operand[AnyValue], stop: Operand[AnyValue], num: Any, endpoint: bool, axis: int
) -> tuple[AnyValue, AnyValue]:
    """The numbers, and their distance."""
    first, last = _ends(op, start, stop)
    count = _count(op, num)
    gaps = count - 1 if endpoint else count
    step = (last - first) / float(gaps) if gaps > 0 else (last - first) * float("nan")
    positions = reshape(iota((count,), like=first), (count, *(1,) * first.ndim))
    places = functions.astype(positions, first.dtype)
    line = first + ((last - first) / float(max(gaps, 1))) * places
    if endpoint and count > 1:
        line = functions.where(positions == count - 1, last, line)
    return moveaxis(line, 0, axis_of(op, axis, line)), step


def _converted(op: str, line: AnyValue, dtype: Any) -> AnyValue:
    wanted = dtype_of(op, dtype)
    if wanted.is_integer:
        line = functions.floor(line)
    return functions.astype(line, wanted)
