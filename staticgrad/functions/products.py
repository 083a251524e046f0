"""Products of vectors and matrices: NumPy's shorthands for ``matmul`` with axes moved."""

from __future__ import annotations

from staticgrad.errors import ArgumentError, RankError
from staticgrad.functions.joining import unstack
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.value import Value
from staticgrad.ops.contract import matmul
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import expand_dims, moveaxis, reshape
from staticgrad.ops.operands import (
    axis_of,
    promoted_values,
    related,
)
from staticgrad.ops.slices import stack


def dot(a: Operand[AnyValue], b: Operand[AnyValue]) -> AnyValue:
    """The sum of products over the last axis of a and the second to last (or only) one of b.

    For up to two axes each that is the matrix product; * where one is 0-d. Beyond, unlike ``@``,
    the axes of a come before those of b.

    Args:
        a, b: numbers; dtypes promote.

    Returns:
        The products, with the axes of a before those of b.

    >>> sg.evaluate(sg.dot([1.0, 2.0], [3.0, 4.0]))
    array(11.)
    """
    left, right = promoted_values("dot", (a, b))
    if left.ndim == 0 or right.ndim == 0:
        return left * right
    if left.ndim > 2 or right.ndim > 2:
        inner = right.ndim - 2 if right.ndim > 1 else 0
        return functions.tensordot(left, right, ([left.ndim - 1], [inner]))
    return matmul(left, right)


def vdot(a: Operand[AnyValue], b: Operand[AnyValue]) -> AnyValue:
    """The sum of the products of all elements, both flattened in C order.

    Args:
        a, b: numbers, of as many elements.

    Returns:
        One number.

    >>> sg.evaluate(sg.vdot([1.0, 2.0], [3.0, 4.0]))
    array(11.)
    """
    left, right = promoted_values("vdot", (a, b))
    return matmul(reshape(left, left.size), reshape(right, right.size))


def outer(a: Operand[AnyValue], b: Operand[AnyValue]) -> AnyValue:
    """out[i, j] = a[i] * b[j], both flattened in C order.

    Args:
        a, b: numbers; dtypes promote.

    Returns:
        The products [n, m].

    >>> sg.evaluate(sg.outer([1.0, 2.0], [3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    left, right = promoted_values("outer", (a, b))
    return reshape(left, (left.size, 1)) * reshape(right, (1, right.size))


def vecdot(a: Operand[AnyValue], b: Operand[AnyValue], axis: int = -1) -> AnyValue:
    """The sum of the products along ``axis``; other axes broadcast.

    Args:
        a, b: numbers, which broadcast but along the axis.
        axis: along which to add.

    Returns:
        The sums: without the axis.

    >>> sg.evaluate(sg.vecdot([[1.0, 2.0]], [3.0, 4.0]))
    array([11.])
    """
    left, right = promoted_values("vecdot", (a, b))
    left, right = (moveaxis(v, axis_of("vecdot", axis, v), -1) for v in (left, right))
    product = matmul(expand_dims(left, -2), expand_dims(right, -1))
    return reshape(product, product.shape[:-2])


def matvec(a: Operand[AnyValue], x: Operand[AnyValue]) -> AnyValue:
    """Matrices times vectors; leading axes broadcast.

    Args:
        a: matrices [..., m, n].
        x: vectors [..., n].

    Returns:
        Vectors [..., m].

    >>> sg.evaluate(sg.matvec([[1, 2], [3, 4]], [1, 1]))
    array([3, 7])
    """
    left, right = promoted_values("matvec", (a, x))
    _at_least("matvec", left, 2)
    _at_least("matvec", right, 1)
    product = matmul(left, expand_dims(right, -1))
    return reshape(product, product.shape[:-1])


def vecmat(x: Operand[AnyValue], a: Operand[AnyValue]) -> AnyValue:
    """Vectors times matrices: [..., m] by [..., m, n]; otherwise as ``matvec``.

    Returns:
        Vectors [..., n].

    >>> sg.evaluate(sg.vecmat([1.0, 1.0], [[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    left, right = promoted_values("vecmat", (x, a))
    _at_least("vecmat", left, 1)
    _at_least("vecmat", right, 2)
    product = matmul(expand_dims(left, -2), right)
    return reshape(product, (*product.shape[:-2], product.shape[-1]))


def _at_least(op: str, value: Value, rank: int) -> None:
    if value.ndim < rank:
        kind = "vector" if rank == 1 else "matrix"
        raise RankError(f"{op}: {value.type} is no {kind}", related=related(value))


def cross(
    a: Operand[AnyValue],
    b: Operand[AnyValue],
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> AnyValue:
    """The vector product along one axis of each, of size 3; other axes broadcast.

    Args:
        a, b: values.
        axisa, axisb: the axes of the vectors.
        axisc: the axis of the product.
        axis: all three.

    Returns:
        The products, in the shape of both.

    Raises:
        ArgumentError: an axis of another size.

    >>> sg.evaluate(sg.cross([1, 0, 0], [0, 1, 0]))
    array([0, 0, 1])
    """
    left, right = promoted_values("cross", (a, b))
    sides = (axisa, axisb) if axis is None else (axis, axis)
    left, right = (
        moveaxis(v, axis_of("cross", side, v), -1)
        for v, side in zip((left, right), sides, strict=True)
    )
    if any(v.shape[-1] != 3 for v in (left, right)):
        raise ArgumentError(
            f"cross: {left.type} and {right.type} are not vectors of 3",
            related=related(left, right),
        )
    (a0, a1, a2), (b0, b1, b2) = (unstack(v, -1) for v in (left, right))
    found = stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], -1)
    return moveaxis(found, -1, axis_of("cross", axisc if axis is None else axis, found))
