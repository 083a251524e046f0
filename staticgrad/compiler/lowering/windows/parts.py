"""Lower values that are assembled from parts (concatenation, padding) to bounded reads.

An element is read from the part whose region contains it. Along an axis that a region does not
fill, the read is a ``Position`` with bounds, moved by the loop of that axis. Along all other axes
it is an ordinary walk, so that these axes can still be collapsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from staticgrad.compiler.fusion.windows import AxisShift, Part, axis_walk, parts_of
from staticgrad.compiler.lowering.operands import Lowering
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Expr, Position
from staticgrad.language.ir.forms import Assemble
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64, DType
from staticgrad.support.records import replace


def emit_assembly(low: Lowering, node: Node) -> Expr:
    """Return a concatenation's or padding's element at this iteration, in its parts' dtype."""
    form, dtype = node.form, node.types[0].dtype
    assert isinstance(form, Assemble)
    fill = None if form.fill is None else ex.literal(form.fill, dtype.compute)
    parts = [  # without parts that cannot contain the element in this unrolled iteration
        part
        for part in parts_of(low.groups, node)
        if all(_is_inside(low, node, shift) is not False for shift in part.places)
    ]
    if not parts:
        assert fill is not None
        return fill.cast(dtype)
    if fill is None:  # codegen has a separate loop for the last one, so it is the largest
        parts.sort(key=lambda part: hint_value(part.source.type.size))
    *others, last = parts
    value = _load_part(low, node, last)
    tested_shifts = [shift for shift in last.places if not shift.is_bounded or last.source.uniform]
    if not others and (fill is None or not tested_shifts):  # the bounds of the access suffice
        return value
    value = low.widen_value(value)
    if fill is not None and (inside := _inside_test(low, node, tested_shifts)) is not None:
        value = ex.select(inside, value, fill)
    for part in reversed(others):
        element, inside = (
            low.widen_value(_load_part(low, node, part)),
            _inside_test(low, node, part.places),
        )
        value = element if inside is None else ex.select(inside, element, value)
    return value.cast(dtype)


def _is_inside(low: Lowering, node: Node, shift: AxisShift) -> bool | None:
    """Return True if an index is in the part; None if it depends on a loop that is not unrolled."""
    index, extent = _index(low, node, shift), shift.extent
    return 0 <= index < extent if isinstance(index, int) and isinstance(extent, int) else None


def _index(low: Lowering, node: Node, shift: AxisShift) -> Size | None:
    loop = _loop(low, node, shift.axis)
    if loop is not None and loop not in low.unrolled:
        return None
    return shift.start + shift.step * (0 if loop is None else low.unrolled[loop])


def _load_part(low: Lowering, node: Node, part: Part) -> Expr:
    """Load a part's element of a concatenation or padding; outside 0, or any of its elements."""
    if part.source.uniform:
        return low.value(part.source)
    dtype: DType = part.source.type.dtype
    access = low.access(part.walk, dtype)
    positions = [_part_position(low, node, p) for p in part.places if p.is_bounded]
    return ex.load(replace(access, positions=(*access.positions, *positions)), dtype)


def _part_position(low: Lowering, node: Node, shift: AxisShift) -> Position:
    """Return the bounded position in a part at the loop index of the assembled value."""
    loop, index = _loop(low, node, shift.axis), _index(low, node, shift)
    if _is_inside(low, node, shift) and isinstance(shift.stride, int):
        assert isinstance(index, int)
        return Position((), index * shift.stride)
    name = "" if loop is None else low.rename.get(loop, loop)
    terms = low.position_terms(name, shift.step) if name and index is None else ()
    start = low.argument(shift.start if index is None else index)
    stride = low.stride(name if shift.step == 1 else "", shift.stride)
    return Position(terms, start, stride, low.extent(shift.extent))


def _loop(low: Lowering, node: Node, axis: int) -> str | None:
    """Return the original name of the loop of an axis; None for an axis of size 1."""
    moves = low.loops.strides[axis_walk(node, axis)]
    return moves[0][0] if moves else None


def _inside_test(low: Lowering, node: Node, shifts: Sequence[AxisShift]) -> Expr | None:
    """Return the test that the current index is inside of a part of a concatenation, or None."""
    tests: list[Expr] = []
    for shift in shifts:
        if _is_inside(low, node, shift):
            continue
        loop = _loop(low, node, shift.axis)
        at = ex.literal(0, I64) if loop is None else low.index(low.rename.get(loop, loop))
        # The region of the part, [first, end), as positions of the assembled value.
        first, end = -shift.start, shift.extent - shift.start
        if shift.step != 1:
            first, end = shift.start - shift.extent + 1, shift.start + 1
        if first != 0:
            tests.append(at >= low.size(first))
        if end != node.types[0].shape[shift.axis]:
            tests.append(at < low.size(end))
    return reduce(lambda a, b: a & b, tests) if tests else None
