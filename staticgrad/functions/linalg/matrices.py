"""Reading operands of linear algebra; products and parts of matrices that need no LAPACK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.functions.creation import eye
from staticgrad.functions.products import cross as general_cross
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import broadcast_to, expand_dims, moveaxis, reshape
from staticgrad.ops.operands import (
    as_value,
    floating,
    promoted_values,
    related,
    shape_text,
)
from staticgrad.types import dim as dims
from staticgrad.types.arrays import BroadcastError, Shape, broadcast_shapes, hint_value, product
from staticgrad.types.dim import Dim, Size

#: Allowed values of ``errors=``.
ERRORS = ("raise", "nan")


def checked_errors(op: str, errors: str) -> str:
    """``errors``, if it is one of the two."""
    if errors not in ERRORS:
        raise ArgumentError(f"{op}: errors={errors!r} is neither 'raise' nor 'nan'")
    return errors


def matrices(op: str, x: Operand[AnyValue]) -> AnyValue:
    """x as floating matrices; integers and bools become float64."""
    value = floating(op, x)
    if value.ndim < 2:
        raise RankError(
            f"{op}: {value.type} is not a matrix",
            hint="matrices are the last two axes: x[:, None] is a column",
            related=related(value),
        )
    return value


def squares(op: str, x: AnyValue) -> AnyValue:
    """x, if its matrices are square."""
    rows, columns = x.shape[-2:]
    text = f"{op}: {shape_text(x.shape)} is not square, {rows} != {columns}"
    if not dims.equal(rows, columns, text):
        hint = "sg.linalg.lstsq and pinv take matrices of any shape"
        raise ShapeError(text, hint=hint, related=related(x))
    return x


def right_side(op: str, a: Operand[AnyValue], b: Operand[AnyValue]) -> tuple[Any, Any, bool]:
    """Matrices a, right-hand sides b as matrices of columns, and whether b is one vector."""
    left, right = promoted_values(op, (a, b))
    left, right = matrices(op, left), floating(op, right)
    if right.ndim == 0:
        raise RankError(f"{op}: b is a scalar", hint="b / a", related=related(right))
    is_vector = right.ndim == 1
    if is_vector:
        right = expand_dims(right, -1)
    rows, given = left.shape[-2], right.shape[-2]
    if not dims.equal(rows, given, text := f"{op}: a has {rows} rows, b has {given}"):
        raise ShapeError(
            text,
            details=[f"{shape_text(left.shape)} and {shape_text(right.shape)}"],
            hint="b is a vector [n], or columns [n, k]",
            related=related(left, right),
        )
    if left.ndim == 2 and right.ndim > 2:
        return left, right, is_vector  # one matrix for all: see ``folded``
    try:
        batch = broadcast_shapes((left.shape[:-2], right.shape[:-2]))
    except BroadcastError as error:
        raise ShapeError(
            f"{op}: batch axes do not broadcast, {error.left} != {error.right}",
            details=[f"{shape_text(left.shape)} and {shape_text(right.shape)}"],
            related=related(left, right),
        ) from None
    left, right = (in_batch(each, batch) for each in (left, right))
    return left, right, is_vector


def in_batch(x: AnyValue, batch: Shape) -> AnyValue:
    """Matrices, repeated along the axes of a batch."""
    shape = (*batch, *x.shape[-2:])
    return x if x.shape == shape else broadcast_to(x, shape)


def folded(a: AnyValue, b: AnyValue) -> AnyValue:
    """b as columns for the one matrix a, where b alone has a batch: a is factored once."""
    if a.ndim != 2 or b.ndim == 2:
        return b
    rows = moveaxis(b, -2, 0)
    return reshape(rows, (rows.shape[0], product(rows.shape[1:])))


def unfolded(x: AnyValue, b: AnyValue, a: AnyValue, is_vector: bool) -> AnyValue:
    """Return what was solved for ``folded`` columns, in the shape of b."""
    if a.ndim == 2 and b.ndim != 2:
        batch = (*b.shape[:-2], b.shape[-1])
        x = moveaxis(reshape(x, (x.shape[0], *batch)), 0, -2)
    return functions.squeeze(x, -1) if is_vector else x


def identity_like(x: AnyValue) -> AnyValue:
    """Identity matrices of the batch, the size and the dtype of square x."""
    unit = eye(x.shape[-1], dtype=x.dtype, like=x)
    return in_batch(unit, x.shape[:-2])


def diagonal(x: Operand[AnyValue], /, *, offset: int = 0) -> AnyValue:
    """The diagonals of matrices: of the last two axes, unlike ``sg.diagonal``.

    Args:
        x: matrices [..., m, n].
        offset: how far above the main diagonal; below it where negative.

    Returns:
        The diagonals, along the last axis.

    >>> sg.evaluate(sg.linalg.diagonal([[1, 2], [3, 4]]))
    array([1, 4])
    """
    value = as_matrices("diagonal", x)
    return functions.diagonal(value, offset, value.ndim - 2, value.ndim - 1)


def trace(x: Operand[AnyValue], /, *, offset: int = 0, dtype: Any = None) -> AnyValue:
    """The sums of the diagonals of matrices: of the last two axes, unlike ``sg.trace``.

    Args:
        x: matrices [..., m, n].
        offset: how far above the main diagonal; below it where negative.
        dtype: of the sum.

    Returns:
        The sums [...].

    >>> sg.evaluate(sg.linalg.trace([[1, 2], [3, 4]]))
    array(5)
    """
    return functions.sum(diagonal(x, offset=offset), -1, dtype)


def outer(x1: Operand[AnyValue], x2: Operand[AnyValue], /) -> AnyValue:
    """out[i, j] = x1[i] * x2[j] of two vectors.

    Args:
        x1, x2: vectors [m] and [n].

    Returns:
        A matrix [m, n].

    >>> sg.evaluate(sg.linalg.outer([1, 2], [3, 4]))
    array([[3, 4],
           [6, 8]])
    """
    for each in (x1, x2):
        if as_value("outer", each).ndim != 1:
            raise RankError("outer: takes two vectors", hint="sg.outer flattens its operands")
    return functions.outer(x1, x2)


def cross(x1: Operand[AnyValue], x2: Operand[AnyValue], /, *, axis: int = -1) -> AnyValue:
    """The vector product along an axis of 3 elements; others broadcast.

    Args:
        x1, x2: values of equal rank, with 3 elements along ``axis``.
        axis: the axis of the vectors, in both and in the result.

    >>> sg.evaluate(sg.linalg.cross([1, 0, 0], [0, 1, 0]))
    array([0, 0, 1])
    """
    return general_cross(x1, x2, axis=axis)


def as_matrices(op: str, x: Operand[AnyValue]) -> AnyValue:
    """x of any dtype, if it has two axes."""
    value = as_value(op, x)
    if value.ndim < 2:
        raise RankError(f"{op}: {value.type} is not a matrix", related=related(value))
    return value


def multi_dot(arrays: Sequence[Operand[AnyValue]]) -> AnyValue:
    """The product of two or more matrices, in the order that takes the fewest operations.

    Args:
        arrays: matrices whose sizes fit; the first and the last may be vectors. Named sizes
            count by their hints.

    >>> sg.evaluate(sg.linalg.multi_dot([np.eye(2), [[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0]]))
    array([3., 7.])
    """
    values = list(promoted_values("multi_dot", arrays))
    if len(values) < 2:
        raise ArgumentError("multi_dot: takes two operands, or more")
    first, last = values[0].ndim == 1, values[-1].ndim == 1
    values[0] = expand_dims(values[0], 0) if first else values[0]
    values[-1] = expand_dims(values[-1], -1) if last else values[-1]
    for each in values:
        if each.ndim != 2:
            raise RankError(f"multi_dot: {each.type} is not a matrix", related=related(each))
    found = _chained(values, 0, len(values) - 1, _splits([*_chain_sizes(values)]))
    found = functions.squeeze(found, 0) if first else found
    return functions.squeeze(found, -1) if last else found


def _chain_sizes(values: Sequence[Any]) -> list[int]:
    sizes: list[Size] = [values[0].shape[0], *(value.shape[1] for value in values)]
    return [hint_value(size) if isinstance(size, Dim) else size for size in sizes]


def _splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Return where each row of factors is cut last: by dynamic programming over shorter rows."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    best: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            found = {
                k: cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
                for k in range(i, j)
            }
            best[i, j] = min(found, key=lambda k: found[k])
            cost[i, j] = found[best[i, j]]
    return best


def _chained(values: Sequence[Any], i: int, j: int, splits: dict[tuple[int, int], int]) -> Any:
    if i == j:
        return values[i]
    k = splits[i, j]
    return _chained(values, i, k, splits) @ _chained(values, k + 1, j, splits)
