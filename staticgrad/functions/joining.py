"""Values joined and split, in NumPy's names: append, insert, stack and split families, block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np

from staticgrad.errors import ArgumentError, IndexOutOfRange
from staticgrad.errors.wording import kind_of, shown
from staticgrad.families import like
from staticgrad.functions.arrange import split
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.kinds import AnyValue, binding_kind
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import expand_dims, reshape
from staticgrad.ops.operands import (
    as_value,
    as_values,
    axis_of,
    integer,
    number_of_parts,
)
from staticgrad.ops.slices import concatenate, flip, part, several
from staticgrad.types.dim import Dim


@overload
def atleast_1d(x: Operand[AnyValue], /) -> AnyValue: ...
@overload
def atleast_1d(
    x: Operand[AnyValue], y: Operand[AnyValue], /, *more: Operand[AnyValue]
) -> tuple[AnyValue, ...]: ...
def atleast_1d(*values: Operand[AnyValue]) -> AnyValue | tuple[AnyValue, ...]:
    """x, a 0-d value as a vector of one.

    Args:
        values: one or several.

    Returns:
        A value; of several a tuple of them.

    >>> sg.evaluate(sg.atleast_1d(3.0))
    array([3.])
    """
    return _each("atleast_1d", _wide, values)


@overload
def atleast_2d(x: Operand[AnyValue], /) -> AnyValue: ...
@overload
def atleast_2d(
    x: Operand[AnyValue], y: Operand[AnyValue], /, *more: Operand[AnyValue]
) -> tuple[AnyValue, ...]: ...
def atleast_2d(*values: Operand[AnyValue]) -> AnyValue | tuple[AnyValue, ...]:
    """x with at least two axes: a vector becomes a row.

    Args:
        values: one or several.

    Returns:
        A value; of several a tuple of them.

    >>> sg.evaluate(sg.atleast_2d([1, 2]))
    array([[1, 2]])
    """
    return _each("atleast_2d", with_two_axes, values)


@overload
def atleast_3d(x: Operand[AnyValue], /) -> AnyValue: ...
@overload
def atleast_3d(
    x: Operand[AnyValue], y: Operand[AnyValue], /, *more: Operand[AnyValue]
) -> tuple[AnyValue, ...]: ...
def atleast_3d(*values: Operand[AnyValue]) -> AnyValue | tuple[AnyValue, ...]:
    """x with at least three axes: a vector becomes [1, n, 1], a matrix [m, n, 1].

    Args:
        values: one or several.

    Returns:
        A value; of several a tuple of them.

    >>> sg.atleast_3d([1, 2]).shape
    (1, 2, 1)
    """
    return _each("atleast_3d", _deep, values)


def _each(
    op: str, function: Callable[[Operand[AnyValue]], AnyValue], values: Sequence[Operand[AnyValue]]
) -> AnyValue | tuple[AnyValue, ...]:
    found = tuple(function(value) for value in as_values(op, *values))
    return found[0] if len(found) == 1 else found


def _wide(x: Operand[AnyValue]) -> AnyValue:
    value = as_value("atleast_1d", x)
    return value if value.ndim else reshape(value, (1,))


def with_two_axes(x: Operand[AnyValue]) -> AnyValue:
    """x with at least two axes."""
    value = _wide(x)
    return value if value.ndim > 1 else expand_dims(value, 0)


def _deep(x: Operand[AnyValue]) -> AnyValue:
    value = with_two_axes(x)
    return value if value.ndim > 2 else expand_dims(value, 2)


@overload
def vstack(values: Sequence[AnyValue], *, dtype: Any = ...) -> AnyValue: ...
@overload
def vstack(values: Sequence[Any], *, dtype: Any = ...) -> Any: ...
def vstack(values: Sequence[Operand[AnyValue]], *, dtype: Any = None) -> AnyValue:
    """Matrices, or vectors as rows, one below the other. Otherwise as ``concatenate``.

    Args:
        values: arrays.
        dtype: convert to it.

    Returns:
        One value with two axes or more.

    >>> sg.evaluate(sg.vstack([[1, 2], [3, 4]]))
    array([[1, 2],
           [3, 4]])
    """
    return concatenate(
        [with_two_axes(value) for value in several("vstack", values)], 0, dtype=dtype
    )


@overload
def hstack(values: Sequence[AnyValue], *, dtype: Any = ...) -> AnyValue: ...
@overload
def hstack(values: Sequence[Any], *, dtype: Any = ...) -> Any: ...
def hstack(values: Sequence[Operand[AnyValue]], *, dtype: Any = None) -> AnyValue:
    """Arrays side by side: along axis 1, vectors along their own. Otherwise as ``concatenate``.

    Args:
        values: arrays.
        dtype: convert to it.

    >>> sg.evaluate(sg.hstack([[1, 2], [3]]))
    array([1, 2, 3])
    """
    wide = [_wide(value) for value in several("hstack", values)]
    return concatenate(wide, 0 if wide[0].ndim == 1 else 1, dtype=dtype)


@overload
def dstack(values: Sequence[AnyValue]) -> AnyValue: ...
@overload
def dstack(values: Sequence[Any]) -> Any: ...
def dstack(values: Sequence[Operand[AnyValue]]) -> AnyValue:
    """Arrays one behind the other: along axis 2.

    Args:
        values: arrays; vectors become [1, n, 1], matrices [m, n, 1].

    Returns:
        One value with three axes or more.

    >>> sg.evaluate(sg.dstack([[1, 2], [3, 4]]))
    array([[[1, 3],
            [2, 4]]])
    """
    return concatenate([_deep(value) for value in several("dstack", values)], 2)


@overload
def column_stack(values: Sequence[AnyValue]) -> AnyValue: ...
@overload
def column_stack(values: Sequence[Any]) -> Any: ...
def column_stack(values: Sequence[Operand[AnyValue]]) -> AnyValue:
    """Vectors as the columns of a matrix; matrices side by side.

    Args:
        values: vectors and matrices.

    Returns:
        One matrix.

    >>> sg.evaluate(sg.column_stack([[1, 2], [3, 4]]))
    array([[1, 3],
           [2, 4]])
    """
    wide = [_wide(value) for value in several("column_stack", values)]
    return concatenate([v if v.ndim > 1 else expand_dims(v, 1) for v in wide], 1)


def append(x: Operand[AnyValue], values: Operand[AnyValue], axis: int | None = None) -> AnyValue:
    """x, then ``values`` along ``axis``; both flattened for None. Raises as ``concatenate``.

    Args:
        x: a value.
        values: what comes behind it.
        axis: along which; None flattens both.

    >>> sg.evaluate(sg.append([1, 2], 3))
    array([1, 2, 3])
    """
    return concatenate([x, values], axis)


def block(blocks: Any) -> Value:
    """Blocks, in lists nested as the axes are, put together: innermost lists side by side.

    Args:
        blocks: a value, or a list of lists of values; those of a list fit side by side.

    Returns:
        One value, with as many axes as lists are nested, or as its blocks have.

    Raises:
        ArgumentError: an empty list, or lists nested to different depths.

    >>> sg.evaluate(sg.block([[np.eye(2), np.zeros((2, 1))], [np.ones((1, 3))]]))
    array([[1., 0., 0.],
           [0., 1., 0.],
           [1., 1., 1.]])
    """
    depth = _depth(blocks)
    rank = max(depth, *(v.ndim for v in _blocks(blocks)))
    return _assembled(blocks, rank, depth)


def _depth(blocks: Any) -> int:
    if not isinstance(blocks, list):
        return 0
    depths = {_depth(each) for each in blocks}
    if len(depths) != 1:
        raise ArgumentError("block: lists that are empty, or nested to different depths")
    return 1 + depths.pop()


def _blocks(blocks: Any) -> list[Value]:
    if not isinstance(blocks, list):
        return [as_value("block", blocks)]
    return [value for each in blocks for value in _blocks(each)]


def _assembled(blocks: Any, rank: int, depth: int) -> Value:
    if isinstance(blocks, list):
        return concatenate([_assembled(each, rank, depth - 1) for each in blocks], rank - depth)
    value = as_value("block", blocks)
    return reshape(value, (1,) * (rank - value.ndim) + value.shape)


def hsplit(x: Operand[AnyValue], indices_or_sections: Any) -> list[AnyValue]:
    """``split`` along axis 1, a vector along its own.

    Args:
        x: a value.
        indices_or_sections: how many equal parts, or the positions at which parts end.

    >>> sg.evaluate(sg.hsplit([1, 2, 3, 4], 2))
    [array([1, 2]), array([3, 4])]
    """
    value = as_value("hsplit", x)
    return split(value, indices_or_sections, 0 if value.ndim == 1 else 1)


@like(hsplit)
def vsplit(x: Operand[AnyValue], indices_or_sections: Any) -> list[AnyValue]:
    """``split`` along axis 0.

    >>> sg.evaluate(sg.vsplit([[1, 2], [3, 4]], 2))
    [array([[1, 2]]), array([[3, 4]])]
    """
    return split(x, indices_or_sections, 0)


@like(hsplit)
def dsplit(x: Operand[AnyValue], indices_or_sections: Any) -> list[AnyValue]:
    """``split`` along axis 2.

    >>> [part.shape for part in sg.dsplit(np.ones((1, 2, 4)), [1])]
    [(1, 2, 1), (1, 2, 3)]
    """
    return split(x, indices_or_sections, 2)


def unstack(x: Operand[AnyValue], axis: int = 0) -> tuple[AnyValue, ...]:
    """The parts of x at each place of ``axis``, which they lose; its size must be literal.

    Args:
        x: a value.
        axis: which axis.

    Returns:
        As many values as the axis has places, in a tuple.

    Raises:
        ArgumentError: an axis of a named size.

    >>> len(sg.unstack(sg.zeros((3, 2))))
    3
    """
    value = as_value("unstack", x)
    place = axis_of("unstack", axis, value)
    size = integer("unstack", "the size of the axis", value.shape[place], value)
    count = number_of_parts("unstack", size, value) if size else 0
    rest = tuple(size for k, size in enumerate(value.shape) if k != place)
    return tuple([reshape(part(value, place, k, 1), rest) for k in range(count)])


def flipud(x: Operand[AnyValue]) -> AnyValue:
    """x upside down: axis 0 in reverse order. Raises AxisError.

    Args:
        x: a value with an axis or more.

    >>> sg.evaluate(sg.flipud([[1, 2], [3, 4]]))
    array([[3, 4],
           [1, 2]])
    """
    return flip(x, 0)


def fliplr(x: Operand[AnyValue]) -> AnyValue:
    """x left to right: axis 1 in reverse order. Raises AxisError.

    Args:
        x: a value with two axes or more.

    >>> sg.evaluate(sg.fliplr([[1, 2], [3, 4]]))
    array([[2, 1],
           [4, 3]])
    """
    return flip(x, 1)


def matrix_transpose(x: Operand[AnyValue]) -> AnyValue:
    """x with its last two axes exchanged.

    Args:
        x: matrices [..., m, n].

    Returns:
        A value [..., n, m].

    >>> sg.evaluate(sg.matrix_transpose([[1, 2], [3, 4]]))
    array([[1, 3],
           [2, 4]])
    """
    return functions.swapaxes(x, -1, -2)


NUMPY_NAMES["row_stack"] = "vstack"
NUMPY_NAMES.update(
    {
        f"linalg.{n}": n
        for n in ("matmul", "tensordot", "vecdot", "cross", "matrix_transpose", "outer")
    }
)


def insert(
    x: Operand[AnyValue], obj: Any, values: Operand[AnyValue], axis: int | None = None
) -> AnyValue:
    """x with ``values`` before the positions ``obj`` along ``axis``, in the dtype of x.

    Args:
        x: a value.
        obj: a position in x; or a slice, a list of positions or a mask, in an axis of a literal
            size. Known when the graph is built.
        values: what is put there. They broadcast to the shape of x with as many entries along
            ``axis`` as there are positions; before one position there may be several.
        axis: along which; None flattens x.

    Returns:
        x with more entries along ``axis``.

    Raises:
        ArgumentError: ``obj`` is a value, or no position; several ones in an axis of a named size.
        IndexOutOfRange: a position that x does not have.

    >>> sg.evaluate(sg.insert([1, 2, 3], [1, 3], [7, 8]))
    array([1, 7, 2, 3, 8])
    """
    kind = binding_kind((x, values))
    value = as_value("insert", x, kind)
    if axis is None:
        value, axis = reshape(value, (-1,)), 0
    place = axis_of("insert", axis, value)
    new = functions.astype(as_value("insert", values, kind), value.dtype)
    new = reshape(new, (*(1,) * (value.ndim - new.ndim), *new.shape))
    size = value.shape[place]
    is_one = not isinstance(obj, Value | slice) and np.ndim(obj) == 0
    if is_one:  # NumPy has their entries along the first axis then
        new = functions.moveaxis(new, 0, place)
    found: Any = integer("insert", "obj", obj) if is_one else _positions(obj, size)
    count = new.shape[place] if is_one or len(found) == 1 else len(found)
    new = functions.broadcast_to(new, (*value.shape[:place], count, *value.shape[place + 1 :]))
    if isinstance(size, Dim) or isinstance(count, Dim):
        before = (slice(None),) * place
        parts = [value[(*before, slice(found))], new, value[(*before, slice(found, None))]]
        return functions.concatenate(parts, place)
    try:
        where = found if is_one or len(found) != 1 else int(found[0])
        order = np.insert(np.arange(size), where, size + np.arange(count))
    except IndexError as error:
        raise IndexOutOfRange(f"insert: {error}") from None
    return functions.take(functions.concatenate([value, new], place), order, axis=place)


def _positions(obj: Any, size: Any) -> Any:
    """The positions that a slice, a list or a mask names."""
    if isinstance(obj, Value):
        raise ArgumentError(
            "insert: obj is a value, whose numbers only a run knows",
            hint="positions are known when the graph is built: a number, a slice, a list",
        )
    if isinstance(size, Dim):
        raise ArgumentError(
            f"insert: obj is {shown(obj)}, and the axis has the named size {size}",
            hint="one position: sg.insert(x, 2, row, axis=0)",
        )
    if isinstance(obj, slice):
        return np.arange(*obj.indices(size))
    found = np.asarray(obj)
    if found.dtype.kind == "b" and found.ndim == 1:
        return np.flatnonzero(found)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ArgumentError(f"insert: obj is {shown(obj)}, {kind_of(obj)}, no list of positions")
    return found.astype(np.int64)
