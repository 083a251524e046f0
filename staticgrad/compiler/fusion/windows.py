"""Windows: values that readers assemble from parts; and masks beyond a diagonal.

The gradient of a slice is zeros with the cotangent somewhere inside, a shift is a concatenation of
two slices. If such a value is read element by element, it is not stored: a kernel over its indices
reads each part inside the region of that part (``staticgrad.compiler.lowering.windows.parts``).

**Masks.** A condition may never hold in columns beyond row + ``reach``, such as that of causal
attention. Then ``where(condition, x, 0.0)`` is 0.0 there, and ``x`` need not be computed. The reach
is derived from the expression of a condition's elements, or, for a constant, from its elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.analysis.liveness import ValueKey
from staticgrad.compiler.fusion.groups import (
    Groups,
    GroupValues,
    ResultBuffer,
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
from staticgrad.support import fuses
from staticgrad.support.records import dataclass

#: Parts of a window, at most: each is read at every index, inside its region or not. Values with
#: more parts are written to a buffer, region by region.
MOST_PARTS: Final = 4
#: Elements up to which saving a kernel is worth the masks.
FEW_ELEMENTS: Final = 1 << 14
#: Least bytes of a row of a larger value, for each of its parts: a vector at the end of a part
#: takes as long as several others.
LEAST_PART: Final = 128
#: A larger padded value has at most this many times the elements of its part: a masked load outside
#: of mapped memory takes hundreds of cycles.
MOST_BORDERS: Final = 4


@dataclass(frozen=True)
class AxisShift:
    """The index into a part along ``axis`` of the whole value: step * index of the whole + start.

    It is inside the part if it is in [0, extent). ``stride``: elements of the part per index.
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
    """A part as it is read: ``walk`` along the axes that it fills, ``places`` along the others."""

    source: Source
    walk: Walk
    places: tuple[AxisShift, ...]


def is_window(node: Node, users: Mapping[ValueKey, Sequence[Node]]) -> bool:
    """Return True if a concatenation's readers read its parts, so that it has no buffer.

    Its regions must be few, and their steps 1 or -1. A padded value takes one kernel this way for
    any readers, unless most of it is padding. A concatenation is a window if elementwise nodes or
    reductions read it, and if its rows are long.
    """
    form, elements = node.form, hint_product(node.types[0].shape)
    assert isinstance(form, Assemble)
    if not 0 < len(form.regions) <= MOST_PARTS:
        return False
    if any(step not in (1, -1) for region in form.regions for step in region.steps):
        return False
    if form.fill is not None and len(form.regions) == 1:
        part = hint_product(node.args[0].type.shape)
        return elements <= FEW_ELEMENTS or part * MOST_BORDERS >= elements
    if not any(isinstance(user.form, Pointwise | Reduce) for user in users[node, 0]):
        return False
    return elements <= FEW_ELEMENTS or _has_long_rows(node, users)


def _has_long_rows(node: Node, users: Mapping[ValueKey, Sequence[Node]]) -> bool:
    """Return True if reading the parts of a concatenation pays: long rows, or unrolled ones."""
    # A row of few elements is unrolled, and vectors run over rows.
    kind, form, last = node.types[0], node.form, node.types[0].rank - 1
    assert isinstance(form, Assemble)
    length = kind.shape[last]
    if isinstance(length, int) and 1 < length <= kind.dtype.compute.lanes // 2:
        return True
    is_split = any(region.starts[last] != 0 for region in form.regions)
    row = hint_value(length) * kind.dtype.itemsize
    long = row >= LEAST_PART * (len(form.regions) if is_split else 1)
    return long and all(last in axes for axes in _reduced_axes(node, users))


def _reduced_axes(
    node: Node, users: Mapping[ValueKey, Sequence[Node]]
) -> Iterator[tuple[int, ...]]:
    """Yield the axes of reductions that read a value, directly or through pointwise nodes."""
    visited, pending = {node}, [node]
    while pending and len(visited) < fuses.WINDOW_READERS:
        for user in users[pending.pop(), 0]:
            if isinstance(user.form, Reduce):
                yield user.form.axes
            elif isinstance(user.form, Pointwise) and user.types[0].shape == node.types[0].shape:
                pending += [] if user in visited else [user]
                visited.add(user)


def parts_of(groups: GroupValues, node: Node) -> Iterator[Part]:
    """Yield the source and region of each part of a concatenation."""
    form = node.form
    assert isinstance(form, Assemble)
    shape = node.types[0].shape
    for arg, region in zip(node.args, form.regions, strict=True):
        source = groups.source(arg)
        strides: list[Size] = list(source.layout.strides)
        places = []
        axes = zip(region.starts, region.steps, arg.shape, shape, strict=True)
        for axis, (start, step, extent, size) in enumerate(axes):
            assert isinstance(step, int)
            if step == 1 and extent == size:  # then it starts at 0
                continue
            places.append(AxisShift(axis, step, -step * start, strides[axis], extent))
            strides[axis] = 0
        yield Part(source, Walk(source.base, source.layout.offset, tuple(strides)), tuple(places))


def axis_walk(node: Node, axis: int) -> Walk:
    """Return a walk along one axis only, so that this axis is not merged with others."""
    return Walk(ResultBuffer(node), 0, tuple(int(k == axis) for k in range(node.types[0].rank)))


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
    """Return how far beyond the diagonal a mask's condition may hold; None if unknown."""
    if condition.type.rank < 2:
        return None
    node = condition.base.node
    if isinstance(node.op, Constant) and not condition.inline:
        array: Any = np.asarray(node.op.data.array)
        if not condition.direct or array.ndim < 2 or any(size != 1 for size in array.shape[:-2]):
            return None
        rows, columns = np.nonzero(array.reshape(array.shape[-2:]))
        return int((columns - rows).max()) if len(rows) else None
    if not condition.direct:
        return None
    expression = _mask_expression(groups, condition)
    return None if expression is None else _reach_of_comparison(expression)


def find_mask(groups: Groups, node: Node) -> tuple[int, bool | int | float] | None:
    """Return the reach and literal of a causal mask, ``where(condition, x, literal)``, or None."""
    form = node.form
    if not isinstance(form, Pointwise) or len(node.args) != 3 or form.sizes or form.indexed:
        return None
    condition, _, alternative = map(groups.source, node.args)
    literal = alternative.base.node.op
    if not (isinstance(literal, Constant) and alternative.inline and alternative.uniform):
        return None
    refs = [ex.ref(str(k), arg.type.dtype.compute) for k, arg in enumerate(node.args)]
    selection = form.scalar(*refs)
    if selection.op != "select" or selection.args != tuple(refs):
        return None
    reach = reach_of(groups, condition)
    if reach is None:
        return None
    number = literal.data.array[()].item()
    return reach, number


def _mask_expression(groups: Groups, source: Source) -> Expr | None:
    """Return a mask's element as an expression of its row and column, or None."""
    expressions: dict[Node, Expr] = {}
    pending = [source.base.node]
    while pending:
        node = pending[-1]
        if node in expressions:
            pending.pop()
            continue
        args = [groups.source(arg) for arg in node.args]
        unresolved = [arg.base.node for arg in args if arg.base.node not in expressions]
        if not unresolved:
            expression = _mask_element(node, [expressions[arg.base.node] for arg in args])
            if expression is None:
                return None
            expressions[node] = expression
        elif not all(arg.inline or arg.direct for arg in args) or len(pending) > 16:
            return None
        else:
            pending += unresolved
    return expressions[source.base.node]


def _mask_element(node: Node, args: Sequence[Expr]) -> Expr | None:
    """Return a mask node's element as an expression of row and column, given its operands."""
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


def _reach_of_comparison(condition: Expr) -> int | None:
    """Return how far right of the diagonal a comparison of row and column may hold, or None."""
    if condition.op == "and":
        reaches = [
            reach for reach in map(_reach_of_comparison, condition.args) if reach is not None
        ]
        return min(reaches, default=None)
    strict = {"le": 0, "lt": 1, "ge": 0, "gt": 1}
    if condition.op not in strict:
        return None
    less, more = condition.args if condition.op in ("le", "lt") else condition.args[::-1]
    left, right = _affine_index(less), _affine_index(more)
    if left is None or right is None:
        return None
    row, column, more_by = (b - a for a, b in zip(left, right, strict=True))
    return more_by - strict[condition.op] if (row, column) == (1, -1) else None


def _affine_index(number: Expr) -> tuple[int, int, int] | None:
    """Return a, b, c if a mask's index is a * row + b * column + c, else None."""
    if number.dtype is not I64:
        return None
    if number.op == "literal":
        return 0, 0, int(number.attribute)  # type: ignore[arg-type]
    if number.op == "index" and number.attribute in (_ROW, _COLUMN):
        return int(number.attribute == _ROW), int(number.attribute == _COLUMN), 0
    if number.op in ("add", "sub"):
        a, b = map(_affine_index, number.args)
        if a is None or b is None:
            return None
        sign = 1 if number.op == "add" else -1
        return a[0] + sign * b[0], a[1] + sign * b[1], a[2] + sign * b[2]
    return None
