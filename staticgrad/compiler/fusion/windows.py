"""Values assembled from parts on demand, and masks beyond a diagonal.

A gradient of a slice is zeros with the cotangent somewhere inside, a shift is two slices one behind
the other. Where such a value is read element by element, it needs no memory: a kernel over its
positions reads each part where that lies in its region
(``staticgrad.compiler.lowering.windows.parts``).

**Masks.** A condition that never holds where the column is more than ``reach`` behind the row, as
that of causal attention, leaves literals there: ``where(condition, x, 0.0)`` is 0.0. What would
only be thrown away need not be computed. Conditions are read as the expressions of their elements,
or, of a constant, from its elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.analysis.liveness import ValueKey
from staticgrad.compiler.fusion.groups import (
    Groups,
    GroupValues,
    Home,
    Source,
    Walk,
)
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.forms import Assemble, Pointwise, Reduce
from staticgrad.language.ir.graph import Constant, Node
from staticgrad.language.types.arrays import hint_product, hint_value
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64
from staticgrad.support.records import dataclass

#: Parts of a value that is read so, at most: each reads at every position, inside its region or
#: not. GroupValues of more parts are written to a buffer, region by region.
MOST_PARTS: Final = 4
#: Elements up to which a kernel less is worth masks; and of which part of a larger value, at least,
#: its one part is: a masked load where no memory is takes hundreds of cycles.
FEW_ELEMENTS: Final = 1 << 14
#: Bytes of a row of a larger one for each of its parts, at least: a vector at its end takes as long
#: as several others.
LEAST_PART: Final = 128
#: Operations on its elements that are looked at for what reads them, at most.
MOST_READERS: Final = 16
MOST_BORDERS: Final = 4


@dataclass(frozen=True)
class AxisShift:
    """Where along ``axis`` of the whole a part is read: its index is step * position + start.

    It lies in the part if it is in [0, extent). The part moves by ``stride`` elements an index.
    """

    axis: int
    step: int
    start: Size
    stride: Size
    extent: Size

    @property
    def is_bounded(self) -> bool:
        """True if the access itself checks its bounds: its stride is not zero."""
        return self.stride != 0


@dataclass(frozen=True)
class Part:
    """A part as its reader finds it: ``walk`` along the axes that it fills, places along others."""

    source: Source
    walk: Walk
    places: tuple[AxisShift, ...]


def is_window(node: Node, users: Mapping[ValueKey, Sequence[Node]]) -> bool:
    """Return whether an assembled value is read from its parts instead of from a buffer.

    Its regions must be few, and their steps 1 or -1. A value with borders of one number takes one
    kernel so, whoever reads it, unless it is hardly anything but borders. One of parts side by side
    is read so where its elements are, and rows are long.
    """
    form, whole = node.form, hint_product(node.types[0].shape)
    assert isinstance(form, Assemble)
    if not 0 < len(form.regions) <= MOST_PARTS:
        return False
    if any(step not in (1, -1) for region in form.regions for step in region.steps):
        return False
    if form.fill is not None and len(form.regions) == 1:
        part = hint_product(node.args[0].type.shape)
        return whole <= FEW_ELEMENTS or part * MOST_BORDERS >= whole
    if not any(isinstance(user.form, Pointwise | Reduce) for user in users[node, 0]):
        return False
    return whole <= FEW_ELEMENTS or _has_long_rows(node, users)


def _has_long_rows(node: Node, users: Mapping[ValueKey, Sequence[Node]]) -> bool:
    # A row of few elements is written out for a vector of rows.
    kind, form, last = node.types[0], node.form, node.types[0].rank - 1
    assert isinstance(form, Assemble)
    length = kind.shape[last]
    if isinstance(length, int) and 1 < length <= kind.dtype.compute.lanes // 2:
        return True
    along = any(region.starts[last] != 0 for region in form.regions)
    row = hint_value(length) * kind.dtype.itemsize
    long = row >= LEAST_PART * (len(form.regions) if along else 1)
    return long and all(last in axes for axes in _reduced(node, users))


def _reduced(node: Node, users: Mapping[ValueKey, Sequence[Node]]) -> Iterator[tuple[int, ...]]:
    found, waiting = {node}, [node]
    while waiting and len(found) < MOST_READERS:
        for user in users[waiting.pop(), 0]:
            if isinstance(user.form, Reduce):
                yield user.form.axes
            elif isinstance(user.form, Pointwise) and user.types[0].shape == node.types[0].shape:
                waiting += [] if user in found else [user]
                found.add(user)


def parts_of(groups: GroupValues, node: Node) -> Iterator[Part]:
    """Yield the access of each part of a window."""
    form = node.form
    assert isinstance(form, Assemble)
    whole = node.types[0].shape
    for arg, region in zip(node.args, form.regions, strict=True):
        source = groups.source(arg)
        strides: list[Size] = list(source.layout.strides)
        places = []
        described = zip(region.starts, region.steps, arg.shape, whole, strict=True)
        for axis, (start, step, extent, size) in enumerate(described):
            assert isinstance(step, int)
            if step == 1 and extent == size:  # then it starts at 0
                continue
            places.append(AxisShift(axis, step, -step * start, strides[axis], extent))
            strides[axis] = 0
        yield Part(source, Walk(source.base, source.layout.offset, tuple(strides)), tuple(places))


def axis_walk(node: Node, axis: int) -> Walk:
    """Return a walk along one axis only, so that this axis is not merged with others."""
    return Walk(Home(node), 0, tuple(int(k == axis) for k in range(node.types[0].rank)))


def window_walks(groups: GroupValues, node: Node) -> Iterator[Walk]:
    """Yield the walks of a window along the axes of its reader."""
    for part in parts_of(groups, node):
        if not part.source.uniform:
            yield part.walk
        for place in part.places:
            yield axis_walk(node, place.axis)


#: Loops of a square in the expressions of this module.
_ROW, _COLUMN = "i", "j"


def reach_of(groups: Groups, condition: Source) -> int | None:
    """How far behind its row a condition may hold; None if anywhere, or if nobody knows."""
    if condition.type.rank < 2:
        return None
    node = condition.base.node
    if isinstance(node.op, Constant) and not condition.inline:
        return _of_constant(condition, np.asarray(node.op.data.array))
    if not condition.direct:
        return None
    made = _expression(groups, condition)
    return None if made is None else _reach(made)


def chosen(groups: Groups, node: Node) -> tuple[int, bool | int | float] | None:
    """Return the reach and the literal of a choice by a condition; None for other nodes."""
    form = node.form
    if not isinstance(form, Pointwise) or len(node.args) != 3 or form.sizes or form.indexed:
        return None
    condition, _, other = map(groups.source, node.args)
    literal = other.base.node.op
    if not (isinstance(literal, Constant) and other.inline and other.uniform):
        return None
    refs = [ex.ref(str(k), arg.type.dtype.compute) for k, arg in enumerate(node.args)]
    made = form.scalar(*refs)
    if made.op != "select" or made.args != tuple(refs):
        return None
    reach = reach_of(groups, condition)
    if reach is None:
        return None
    number = literal.data.array[()].item()
    return reach, number


def _of_constant(condition: Source, array: Any) -> int | None:
    if not condition.direct or array.ndim < 2 or any(size != 1 for size in array.shape[:-2]):
        return None
    rows, columns = np.nonzero(array.reshape(array.shape[-2:]))
    return int((columns - rows).max()) if len(rows) else None


def _expression(groups: Groups, source: Source) -> Expr | None:
    """The element of a value at a position, if nothing but the position decides it."""
    known: dict[Node, Expr] = {}
    waiting = [source.base.node]
    while waiting:
        node = waiting[-1]
        if node in known:
            waiting.pop()
            continue
        args = [groups.source(arg) for arg in node.args]
        open_ = [arg.base.node for arg in args if arg.base.node not in known]
        if not open_:
            made = _element(node, [known[arg.base.node] for arg in args])
            if made is None:
                return None
            known[node] = made
        elif not all(arg.inline or arg.direct for arg in args) or len(waiting) > 16:
            return None
        else:
            waiting += open_
    return known[source.base.node]


def _element(node: Node, args: Sequence[Expr]) -> Expr | None:
    if isinstance(node.op, Constant) and node.types[0].rank == 0:
        return ex.literal(node.op.data.array[()].item(), node.types[0].dtype)
    form = node.form
    if not isinstance(form, Pointwise) or not all(isinstance(size, int) for size in form.sizes):
        return None
    sizes = [ex.literal(size, I64) for size in form.sizes if isinstance(size, int)]
    shape = node.types[0].shape
    names = [*"b" * len(shape), _ROW, _COLUMN][2:]
    places = [
        ex.literal(0, I64) if size == 1 else ex.index(name)
        for size, name in zip(shape, names, strict=True)
    ]
    return form.scalar(*args, *sizes, *(places if form.indexed else []))


def _reach(condition: Expr) -> int | None:
    if condition.op == "and":
        known = [each for each in map(_reach, condition.args) if each is not None]
        return min(known, default=None)
    strict = {"le": 0, "lt": 1, "ge": 0, "gt": 1}
    if condition.op not in strict:
        return None
    less, more = condition.args if condition.op in ("le", "lt") else condition.args[::-1]
    left, right = _affine(less), _affine(more)
    if left is None or right is None:
        return None
    row, column, more_by = (b - a for a, b in zip(left, right, strict=True))
    return more_by - strict[condition.op] if (row, column) == (1, -1) else None


def _affine(number: Expr) -> tuple[int, int, int] | None:
    """Multiples of the row and of the column, and a number, of which an i64 is the sum."""
    if number.dtype is not I64:
        return None
    if number.op == "literal":
        return 0, 0, int(number.attribute)  # type: ignore[arg-type]
    if number.op == "index" and number.attribute in (_ROW, _COLUMN):
        return int(number.attribute == _ROW), int(number.attribute == _COLUMN), 0
    if number.op in ("add", "sub"):
        a, b = map(_affine, number.args)
        if a is None or b is None:
            return None
        sign = 1 if number.op == "add" else -1
        return a[0] + sign * b[0], a[1] + sign * b[1], a[2] + sign * b[2]
    return None
