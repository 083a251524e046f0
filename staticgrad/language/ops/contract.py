"""Matrix products, and products with a matrix that is stored in panels."""

from __future__ import annotations

from collections.abc import Container, Sequence
from math import prod
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad.errors import DTypeError, RankError, ShapeError
from staticgrad.language.calls.functional import as_sparse
from staticgrad.language.ir.forms import Contract, Form
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.ranges import Range, RangeOf, skip_moves
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.cotangent import unbroadcast, widen_cotangent
from staticgrad.language.ops.elementwise import ArrayLike, lined_up
from staticgrad.language.ops.movement import (
    Transpose,
    last_exchanged,
    reshape,
    swapaxes,
    transpose,
)
from staticgrad.language.ops.operands import (
    BilinearOp,
    as_values,
    describe_operands,
    promoted_values,
    shape_text,
)
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import (
    BroadcastError,
    Shape,
    TensorType,
    broadcast_shapes,
    is_sparse,
)
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BF16, I8, U8, U32, DType

#: Columns up to which the rows of a matrix are added one after the other, where that is a choice.
LONGEST_DOWN: Final = 1 << 15
#: The fewest terms of an element of a Gram product whose two shares are worth joining.
GRAM_TERMS: Final = 16


class MatMul(BilinearOp, name="matmul"):
    """a @ b over the last two axes; the axes before them broadcast.

    With ``transpose_a`` the operand is read as if its last two axes were exchanged, and so for b.
    ``down``: of a product with a vector the terms follow each other down the rows of the matrix, as
    in a sum over its first axis; no matrix-matrix product depends on it. It stays what it was as
    rules move transposes, since the order of a sum may not depend on them. ``factors``: ``bf16``,
    if the operands are wide copies of bfloat16 numbers, which are multiplied as such; ``u32`` if
    the bits of their elements are two of them; ``u8`` or
    ``i8`` if they are words of four 8-bit integers, those of a of this dtype, those of b of the
    other one. It is set when kernels are made.
    """

    flops: ClassVar[int] = 2  # per element and inner index
    transpose_a: bool = False
    transpose_b: bool = False
    down: bool = False
    factors: DType | None = None

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        """Infer a matrix product's type: broadcast batch axes, a guard for inner sizes."""
        if a.dtype is not b.dtype:
            raise DTypeError(f"matmul: operands of {a.dtype.numpy} and {b.dtype.numpy}")
        if a.dtype.is_bool:
            raise DTypeError("matmul: takes numbers, not bools", hint="x.astype('int64')")
        if a.rank < 2 or b.rank < 2:
            raise RankError(f"matmul: {a} and {b} need two axes each, or more")
        rows, inner = _matrix(a.shape, self.transpose_a)
        inner_b, columns = _matrix(b.shape, self.transpose_b)
        _check_inner(
            inner, inner_b, _operand_text(a, self.transpose_a), _operand_text(b, self.transpose_b)
        )
        return TensorType(a.dtype, (*_batch(a.shape, b.shape), rows, columns))

    def reference(self, a: Array, b: Array) -> Any:
        """Compute a matrix product by NumPy, of contiguous operands."""
        if self.factors is U32:
            a = join_pairs(a, -2 if self.transpose_a else -1)
            b = join_pairs(b, -1 if self.transpose_b else -2)
        if self.factors in (U8, I8):
            a = bytes_of(a, self.factors, -2 if self.transpose_a else -1)
            b = bytes_of(b, other_sign(self.factors), -1 if self.transpose_b else -2)
        left = a.swapaxes(-1, -2) if self.transpose_a else a
        right = b.swapaxes(-1, -2) if self.transpose_b else b
        left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        *batch, inner = left.shape
        with np.errstate(all="ignore"):  # a BLAS adds up in another order where strides differ
            if right.ndim > 2 or not batch:
                return np.matmul(left, right)
            # Rows of a batch times one matrix are rows of one product, in kernels and rules too.
            rows = left.reshape(prod(batch), inner)
            return np.matmul(rows, right).reshape(*batch, *right.shape[1:])

    def eager(self, a: Array, b: Array) -> Any:
        """The reference, where NumPy's warnings are silent already."""
        left = a.swapaxes(-1, -2) if self.transpose_a else a
        return np.matmul(left, b.swapaxes(-1, -2) if self.transpose_b else b)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a matrix product: ct @ b.T and a.T @ ct, only for the operands needed.

        A product with a vector adds ``down`` where its matrix is read across its rows.
        """
        a, b = args
        if not out.dtype.is_float:
            return None, None
        if not a.shape[:-2] == b.shape[:-2] == out.shape[:-2]:  # products that are added up
            ct, a, b = map(widen_cotangent, (ct, a, b))
        ta, tb = self.transpose_a, self.transpose_b
        (rows, inner), columns = _matrix(a.shape, ta), out.shape[-1]
        by_a = by_b = None
        if needed[0]:
            down = tb != _is_transposed(b) and _is_one(rows) and _is_row(inner)
            by_a = unbroadcast(
                MatMul(tb, True, down)(b, ct) if ta else MatMul(False, not tb, down)(ct, b), a.type
            )
        if needed[1]:
            down = _is_one(inner) or ta == _is_transposed(a)
            down = down and _is_one(inner) != _is_one(columns)
            down = down and _is_row(columns if _is_one(inner) else inner)
            by_b = unbroadcast(
                MatMul(True, ta, down)(ct, a) if tb else MatMul(not ta, False, down)(a, ct), b.type
            )
        return by_a, by_b

    def is_gram(self, args: Sequence[Any], apart: Container[Any] = ()) -> bool:
        """Return whether a matrix product is a Gram product a.T @ a with enough terms to matter."""
        a, b = args
        terms = a.shape[-2 if self.transpose_a else -1]
        if isinstance(terms, int) and terms < GRAM_TERMS:
            return False
        (of_a, turned_a), (of_b, turned_b) = (
            _behind_transposes(a, apart),
            _behind_transposes(b, apart),
        )
        flipped = (self.transpose_a ^ turned_a) != (self.transpose_b ^ turned_b)
        return flipped and of_a.key == of_b.key

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Batch a matrix product: a batch of rows times one matrix is one product."""
        a, b = args
        if not over[1] and b.ndim == 2 and not self.transpose_a:
            rows = reshape(a, (prod(a.shape[:-1]), a.shape[-1]))
            product = MatMul(False, self.transpose_b)(rows, b)
            return reshape(product, (*a.shape[:-1], product.shape[-1]))
        columns = b.shape[-2] if self.transpose_b else b.shape[-1]
        if not over[0] and a.ndim == 2 and (self.transpose_b or columns == 1):
            inner = b.shape[-1] if self.transpose_b else b.shape[-2]
            rows = reshape(b, (prod(b.shape[:-2]) * columns, inner))
            product = MatMul(False, not self.transpose_a)(rows, a)  # transposed as a whole
            shape = (*b.shape[:-2], columns, product.shape[-1])
            return swapaxes(reshape(product, shape), -1, -2)
        return self(*lined_up(args, over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        are_narrow = all(kind.dtype is BF16 for kind in types)
        factors = self.factors or (BF16 if are_narrow else None)
        return Contract(self.transpose_a, self.transpose_b, factors=factors)

    def value_range(self, of: RangeOf, a: Any, b: Any) -> Range | None:
        return (of(a) * of(b)).sum() if skip_moves(a).node is not skip_moves(b).node else None


def join_pairs(words: Array, axis: int) -> Array:
    """Return the two bfloat16 numbers in the bits of each float32 number, as float32.

    Those in upper halves are the first half of the axis.
    """
    bits = np.ascontiguousarray(words).view(np.uint32)
    halves = bits & np.uint32(0xFFFF0000), bits << np.uint32(16)
    return np.concatenate([half.view(np.float32) for half in halves], axis)


def bytes_of(words: Array, dtype: DType, axis: int) -> Array:
    """Return the four 8-bit integers of each word of int32, as int32, along an axis."""
    split = np.ascontiguousarray(words)[..., None].view(dtype.numpy).astype(np.int32)
    axis %= words.ndim
    shape = [4 * size if k == axis else size for k, size in enumerate(words.shape)]
    return np.moveaxis(split, -1, axis).reshape(shape)


def other_sign(dtype: DType) -> DType:
    """Return the 8-bit integer of the other sign."""
    return U8 if dtype is I8 else I8


def _matrix(shape: Shape, transposed: bool) -> tuple[Size, Size]:
    """Rows and columns of the operand as it is read."""
    rows, columns = shape[-2:]
    return (columns, rows) if transposed else (rows, columns)


def _is_one(size: Size) -> bool:
    """Return whether a size is known to be 1."""
    return isinstance(size, int) and size == 1


def _is_row(size: Size) -> bool:
    """Return whether rows of this size may be added up one after the other: not one
    column, and not so many that a row and its sums leave the cache."""
    return not isinstance(size, int) or 1 < size <= LONGEST_DOWN


def sums_down(matrix: Any, transposed: bool, columns: Size) -> bool:
    """Return whether a product of a row and a matrix adds up the rows of the matrix.

    ``transposed``: the matrix is read as if its last two axes were exchanged.
    """
    return transposed == _is_transposed(matrix) and _is_row(columns)


def _is_transposed(x: Any) -> bool:
    """Return whether a value is the transpose of another (last two axes exchanged)."""
    transposed = False
    if x.computes:  # a tensor has no node, and takes long to say so
        return False
    while isinstance(op := getattr(getattr(x, "node", None), "op", None), Transpose):
        transposed ^= op.perm[-2:] == (x.ndim - 1, x.ndim - 2)
        x = x.node.args[0]
    return transposed


def _behind_transposes(x: Any, apart: Container[Any]) -> tuple[Any, bool]:
    """Look through transposes: return the matrix, and whether it is transposed an odd number of
    times.
    """
    turned = False
    while isinstance(op := x.node.op, Transpose) and x.key not in apart:
        if op.perm != last_exchanged(x.ndim):
            break
        turned, x = not turned, x.node.args[0]
    return x, turned


def _operand_text(x: TensorType, transposed: bool) -> str:
    return f"{shape_text(x.shape)} transposed" if transposed else shape_text(x.shape)


def _check_inner(left: Size, right: Size, a: str, b: str) -> None:
    """Check the inner sizes of a matrix product; add a guard for named sizes."""
    text = f"matmul: inner sizes differ, {left} != {right}"
    if not dims.equal(left, right, text):
        raise ShapeError(
            text,
            details=[f"{a} @ {b}"],
            hint="the last axis of the first and the second to last of the second must agree;"
            " x @ w of w (inputs, outputs), as the weight of a Linear is here",
        )


def _batch(a: Shape, b: Shape) -> Shape:
    """Broadcast the batch axes of a matrix product's operands."""
    try:
        return broadcast_shapes((a[:-2], b[:-2]))
    except BroadcastError as error:
        raise ShapeError(
            f"matmul: batch axes do not broadcast, {error.left} != {error.right}",
            details=[f"{shape_text(a)} @ {shape_text(b)}: all axes but the last two"],
        ) from None


def matmul(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """a @ b: over the last axis of a and the second to last of b; axes before them broadcast.

    One of them may be a sparse matrix (``sg.sparse``, or of SciPy), of two axes.

    A vector (one axis) on the left is a row, on the right a column; its axis is not in the result.
    Integers multiply and add in their promoted dtype, and wrap.

    Args:
        a, b: numbers with one axis or more; dtypes promote.

    Returns:
        The products: [..., n, m] of [..., n, k] and [..., k, m].

    >>> sg.evaluate(sg.matmul([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0]))
    array([3., 7.])
    """
    if is_sparse(a) or is_sparse(b):
        product: AnyValue = as_sparse(a) @ b if is_sparse(a) else as_sparse(b).__rmatmul__(a)
        return product
    left, right = promoted_values((a, b))
    if left.ndim == 0 or right.ndim == 0:
        raise RankError(
            f"matmul: {shape_text(left.shape)} @ {shape_text(right.shape)}: a scalar is not a"
            " matrix",
            hint="multiply with *",
            related=describe_operands(left, right),
        )
    if left.ndim == 1 or right.ndim == 1:
        return _with_vectors(left, right)
    if left.ndim > 2 and right.ndim == 2:
        return _one_matrix(left, right)
    return MatMul()(left, right)


def _with_vectors(left: AnyValue, right: AnyValue) -> AnyValue:
    """Compute a product with a vector: a matrix product whose added axis is dropped."""
    left, right = as_values(left, right)  # of one kind: an axis may come to one alone
    _check_vectors(left, right)
    a = reshape(left, (1, *left.shape)) if left.ndim == 1 else left
    b = reshape(right, (*right.shape, 1)) if right.ndim == 1 else right
    out = matmul(a, b)
    shape = out.shape[:-2]
    shape += () if left.ndim == 1 else out.shape[-2:-1]
    shape += () if right.ndim == 1 else out.shape[-1:]
    return reshape(out, shape)


def _one_matrix(left: AnyValue, right: AnyValue) -> AnyValue:
    """A batch times one matrix, its batch axes as rows: the matrix' gradient is one product too."""
    left, right = as_values(left, right)
    _check_vectors(left, right)
    rows = reshape(left, (prod(left.shape[:-1]), left.shape[-1]))
    return reshape(MatMul()(rows, right), (*left.shape[:-1], right.shape[-1]))


def _check_vectors(left: Value, right: Value) -> None:
    """The check of inner sizes while the operands still have the user's shapes."""
    inner = right.shape[-2] if right.ndim > 1 else right.shape[0]
    try:
        _check_inner(left.shape[-1], inner, shape_text(left.shape), shape_text(right.shape))
    except ShapeError as error:
        raise error.with_related(describe_operands(left, right)) from None


class PanelMatMul(BilinearOp, name="panel_matmul"):
    """a @ b, where b is stored as panels [n / c, k, c] of c columns: [m, n] of [m, k].

    ``factors``: of ``MatMul``.
    """

    flops: ClassVar[int] = 2  # per element and inner index
    factors: DType | None = None

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        if a.dtype is not b.dtype or a.dtype.is_bool:
            raise DTypeError(f"panel_matmul: takes numbers of one dtype, not {a} and {b}")
        if a.rank != 2 or b.rank != 3 or a.shape[1] != b.shape[1]:
            raise ShapeError(f"panel_matmul: {a} and {b} are not a matrix and its panels")
        return TensorType(a.dtype, (a.shape[0], b.shape[0] * b.shape[2]))

    def reference(self, a: Array, b: Array) -> Any:
        if self.factors is U32:
            a, b = join_pairs(a, -1), join_pairs(b, 1)
        with np.errstate(all="ignore"):
            panels, inner, columns = b.shape
            matrix = b.swapaxes(0, 1).reshape(inner, panels * columns)
            return np.matmul(np.ascontiguousarray(a), matrix)

    def vjp(self, ct: Any, out: Any, a: Any, b: Any) -> tuple[Any, ...]:
        """Differentiate a product with a packed matrix; the gradient of b is in panels too."""
        if not out.dtype.is_float:
            return None, None
        panels, inner, columns = b.shape
        by_b = reshape(MatMul(True, False)(a, ct), (inner, panels, columns))
        matrix = reshape(transpose(b, (1, 0, 2)), (inner, panels * columns))
        return MatMul(False, True)(ct, matrix), transpose(by_b, (1, 0, 2))

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Batch a product with a packed matrix: a batch of rows is more rows of one product."""
        a, b = args
        if not over[1]:
            rows = reshape(a, (prod(a.shape[:-1]), a.shape[-1]))
            product = self(rows, b)
            return reshape(product, (*a.shape[:-1], product.shape[-1]))
        batch, panels, inner, columns = b.shape
        matrix = reshape(transpose(b, (0, 2, 1, 3)), (batch, inner, panels * columns))
        return MatMul(False, False)(*lined_up((a, matrix), over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Contract(False, False, panels=True, factors=self.factors)
