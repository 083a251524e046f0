"""Which bytes of its operands a kernel touches, once its integer arguments have values.

Loops, strides and positions say it exactly up to gaps: the first and the last element. The values
of indices are known in a run only: an operand with a gather, a scatter or a search may be touched
anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from staticgrad.ir.expr import Access, Position
from staticgrad.ir.kernels.bodies import accesses
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Axis, ColumnAccumulate, Extent, nested, statements
from staticgrad.records import NamedTuple

#: Bytes [first, behind the last), counted from where an operand is bound; None: any of its buffer.
Reach = tuple[int, int] | None
_Values = Mapping[str, int]


class LoopPart(NamedTuple):
    """Iterations from ``first`` to ``behind`` of the loop ``name``."""

    name: str
    first: int
    behind: int


@lru_cache(maxsize=4096)
def reaches(
    kernel: Kernel, arguments: tuple[int, ...], part: LoopPart | None = None
) -> tuple[Reach, ...]:
    """What one run of the kernel may touch, operand by operand. (0, 0): nothing.

    Args:
        kernel: one that its verifier accepts.
        arguments: the values of its integer arguments.
        part: what is run of a loop, of which all else is left out. An operand that this
            loop moves in another way than by a stride may be touched anywhere.
    """
    values = dict(zip(kernel.arguments, arguments, strict=True))
    paths = _paths(kernel)
    return tuple(
        _bytes(paths.get(operand.name, ()), operand.dtype.itemsize, values, part)
        for operand in kernel.operands
    )


@lru_cache(maxsize=1024)
def _paths(kernel: Kernel) -> dict[str, Sequence[tuple[Access, tuple[Axis, ...]]] | None]:
    """By operand, the accesses with the loops around them; None where they do not say it all."""
    found: dict[str, list[tuple[Access, tuple[Axis, ...]]]] = {}
    listed = kernel.listed is not None  # then a table says where operands are
    anywhere = {operand.name for operand in kernel.operands if operand.is_own or listed}
    for access, loops in accesses(kernel):
        found.setdefault(access.operand, []).append((access, loops))
        if access.gather:
            anywhere.add(access.operand)
    for stage, _ in nested(kernel.stages):
        columns = (s for s in statements(stage) if isinstance(s, ColumnAccumulate))
        anywhere.update(s.partials for s in columns)
    return {**found, **dict.fromkeys(anywhere)}


def _bytes(
    paths: Sequence[tuple[Access, tuple[Axis, ...]]] | None,
    itemsize: int,
    values: _Values,
    part: LoopPart | None,
) -> Reach:
    if paths is None:
        return None
    if part and any(p.step(part.name) != 0 for access, _ in paths for p in access.positions):
        return None
    ends = [end for path in paths if (end := _ends_of_part(*path, values, part)) is not None]
    if not ends:
        return 0, 0
    first, last = min(low for low, _ in ends), max(high for _, high in ends)
    return first * itemsize, (last + 1) * itemsize


def _ends_of_part(
    access: Access, loops: Sequence[Axis], values: _Values, part: LoopPart | None
) -> tuple[int, int] | None:
    """As ``elements``, of this part alone."""
    if part is None:
        return elements(access, loops, values)
    count = part.behind - part.first
    inside = [Axis(a.name, count) if a.name == part.name else a for a in loops]
    ends = elements(access, inside, values)
    moved = part.first * _number(access.stride(part.name), values)
    return None if ends is None else (ends[0] + moved, ends[1] + moved)


def elements(access: Access, loops: Sequence[Axis], values: _Values) -> tuple[int, int] | None:
    """The first and the last element of an access; None where its loops run over nothing."""
    last = {}
    for axis in loops:
        extent = axis.extent
        last[axis.name] = number = (extent if isinstance(extent, int) else values[extent]) - 1
        if number < 0:
            return None
    first, end = _ends(access.strides, last, values)
    for position in access.positions:
        places = _places(position, last, values)
        if places is None:
            return None
        stride = _number(position.stride, values)
        low, high = sorted(place * stride for place in places)
        first, end = first + low, end + high
    return first, end


def _places(position: Position, last: Mapping[str, int], values: _Values) -> tuple[int, int] | None:
    """The first and the last place of a position, of those inside its extent."""
    low, high = _ends(position.terms, last, values)
    start = _number(position.start, values)
    low, high = start + low, start + high
    if position.extent is not None:
        low, high = max(low, 0), min(high, _number(position.extent, values) - 1)
    return (low, high) if low <= high else None


def _ends(
    moves: Sequence[tuple[str, Extent]], last: Mapping[str, int], values: _Values
) -> tuple[int, int]:
    """How far down, and how far up, loops move a place, each by steps of so many."""
    low = high = 0
    for axis, step in moves:
        move = last[axis] * (step if isinstance(step, int) else values[step])
        if move < 0:
            low += move
        else:
            high += move
    return low, high


def _number(number: Extent, values: _Values) -> int:
    return number if isinstance(number, int) else values[number]
