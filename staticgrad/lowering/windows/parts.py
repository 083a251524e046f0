"""Values put together from parts, read where they are needed: each part at positions with ends.

An element is that of the part in whose region it lies. Along an axis that a region does not fill
the read is a ``Position`` with ends, moved by the loop of that axis; along all others it is a walk
like any other, so that those may still be taken as one.
"""

from __future__ import annotations

from functools import reduce

from staticgrad.fusion.windows import AxisShift, Part, axis_walk, parts_of
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Expr, Position
from staticgrad.ir.forms import Assemble
from staticgrad.ir.graph import Node
from staticgrad.lowering.operands import Lowering
from staticgrad.records import replace
from staticgrad.types.arrays import hint_value
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I64, DType


def windowed(low: Lowering, node: Node) -> Expr:
    """The element of a window at the current position, in the dtype of its parts."""
    form, dtype = node.form, node.types[0].dtype
    assert isinstance(form, Assemble)
    fill = None if form.fill is None else ex.literal(form.fill, dtype.compute)
    parts = [part for part in parts_of(low.groups, node) if not _is_elsewhere(low, node, part)]
    if not parts:
        assert fill is not None
        return fill.cast(dtype)
    if fill is None:  # codegen has a loop of its own for the last one
        parts.sort(key=lambda part: hint_value(part.source.type.size))
    *others, last = parts
    value = _element(low, node, last)
    told = [place for place in last.places if not place.is_bounded or last.source.uniform]
    if fill is None and not others:
        return value
    if not others and not told:  # the access alone says what lies outside
        return value
    value = _computed(value)
    if fill is not None and told:
        value = _where(_inside(low, node, told), value, fill)
    for part in reversed(others):
        inside = _inside(low, node, part.places)
        value = _where(inside, _computed(_element(low, node, part)), value)
    return value.cast(dtype)


def _is_elsewhere(low: Lowering, node: Node, part: Part) -> bool:
    """Whether the element of loops that are written out lies in another part, whatever else."""
    return any(_is_inside(low, node, place) is False for place in part.places)


def _is_inside(low: Lowering, node: Node, place: AxisShift) -> bool | None:
    """Whether an element lies in a part along an axis; None where the loops decide it."""
    index, extent = _index(low, node, place), place.extent
    return 0 <= index < extent if isinstance(index, int) and isinstance(extent, int) else None


def _index(low: Lowering, node: Node, place: AxisShift) -> Size | None:
    """The index along an axis of a part where loops are written out; None elsewhere."""
    loop = _origin(low, node, place.axis)
    if loop is not None and loop not in low.place:
        return None
    return place.start + place.step * (0 if loop is None else low.place[loop])


def _where(inside: Expr | None, value: Expr, other: Expr) -> Expr:
    return value if inside is None else ex.select(inside, value, other)


def _computed(value: Expr) -> Expr:
    return value.cast(value.dtype.compute) if value.dtype.is_storage else value


def _element(low: Lowering, node: Node, part: Part) -> Expr:
    """The element of a part where the position lies in it; elsewhere 0, or any of its elements."""
    if part.source.uniform:
        return low.value(part.source)
    dtype: DType = part.source.type.dtype
    access = low.access(part.walk, dtype)
    positions = [_position(low, node, p) for p in part.places if p.is_bounded]
    return ex.load(replace(access, positions=(*access.positions, *positions)), dtype)


def _position(low: Lowering, node: Node, place: AxisShift) -> Position:
    loop, index = _loop(low, node, place.axis), _index(low, node, place)
    if _is_inside(low, node, place) and isinstance(place.stride, int):
        assert isinstance(index, int)
        return Position((), index * place.stride)
    terms = () if loop is None or index is not None else ((loop, place.step),)
    start = low.argument(place.start if index is None else index)
    stride = low.stride(loop if loop is not None and place.step == 1 else "", place.stride)
    return Position(terms, start, stride, low.extent(place.extent))


def _loop(low: Lowering, node: Node, axis: int) -> str | None:
    """The loop of an axis of the whole; None for one of size 1, which has none."""
    loop = _origin(low, node, axis)
    return None if loop is None else low.rename.get(loop, loop)


def _origin(low: Lowering, node: Node, axis: int) -> str | None:
    """The same as it was named first."""
    moves = low.loops.strides[axis_walk(node, axis)]
    return moves[0][0] if moves else None


def _inside(
    low: Lowering, node: Node, places: tuple[AxisShift, ...] | list[AxisShift]
) -> Expr | None:
    """Whether the position lies in a part, as far as these places say; None: everywhere."""
    tests: list[Expr] = []
    for place in places:
        if _is_inside(low, node, place):
            continue
        loop = _loop(low, node, place.axis)
        at = ex.literal(0, I64) if loop is None else low.index(loop)
        # Where the part begins and behind its end, as positions of the whole.
        first, end = -place.start, place.extent - place.start
        if place.step != 1:
            first, end = place.start - place.extent + 1, place.start + 1
        if first != 0:
            tests.append(at >= low.size(first))
        if end != node.types[0].shape[place.axis]:
            tests.append(at < low.size(end))
    return reduce(lambda one, other: one & other, tests) if tests else None
