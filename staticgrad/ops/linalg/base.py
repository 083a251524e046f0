"""What the ops of linear algebra share: types of matrices, the form of a call, the reference.

The reference runs the routine that compiled programs call, so that both have the same bytes; tests
compare it with its text run as plain Python, and with NumPy's and SciPy's functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad.errors import DTypeError, RankError, ShapeError
from staticgrad.ir.forms import CallForm, Form
from staticgrad.ir.functional import functions
from staticgrad.ir.op import Array, Op
from staticgrad.ops.batch_axis import in_front, merged, parted
from staticgrad.ops.operands import promoted_values, shape_text
from staticgrad.types import dim as dims
from staticgrad.types.dim import Size
from staticgrad.types.dtype import F32, F64, DType, as_dtype
from staticgrad.types.tensor import Shape, TensorType, product

_ELEMENTS: Final = {F32: "f32", F64: "f64"}
_ALSO_TAKES: Final = "x.astype('float32') for elements of 16 bits, 'float64' for integers"


class LinearAlgebra(Op):
    """An op that calls a recipe of ``native/libraries/recipes.py`` for each matrix of a batch.

    One with a field ``errors`` has results of NaN where it is "nan" and a matrix has none.
    """

    exact = True
    routine: ClassVar[str] = ""
    #: Which axis of the last operand, from the end, has the right-hand sides of one matrix.
    right_hand_sides: ClassVar[int | None] = None

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as values of the dtype in which they meet."""
        return promoted_values(self.name, args)

    def check(self, *types: TensorType) -> DType:
        """The one element type of operands."""
        for each in types:
            if each.dtype not in _ELEMENTS:
                what = f"float32 and float64, not {each.dtype.numpy}"
                raise DTypeError(f"{self.name}: takes {what}", hint=_ALSO_TAKES)
            if each.dtype is not types[0].dtype:
                raise DTypeError(f"{self.name}: operands of {types[0].dtype.numpy} and {each}")
        return types[0].dtype

    def rectangle(self, x: TensorType) -> tuple[Shape, Size, Size]:
        """The batch, the rows and the columns of matrices."""
        if x.rank < 2:
            raise RankError(
                f"{self.name}: {x} is no matrix", hint="matrices are the last two axes: x[:, None]"
            )
        *batch, rows, columns = x.shape
        return tuple(batch), rows, columns

    def square(self, x: TensorType) -> tuple[Shape, Size]:
        """The batch and the rows of square matrices."""
        batch, rows, columns = self.rectangle(x)
        text = f"{self.name}: {shape_text(x.shape)} is not square, {rows} != {columns}"
        if not dims.equal(rows, columns, text):
            raise ShapeError(text, hint="sg.linalg.lstsq, qr and svd take matrices of any shape")
        return batch, rows

    def check_shape(self, what: str, x: TensorType, wanted: Shape) -> None:
        """Refuse an operand of another shape than the others ask for."""
        text = f"{self.name}: {what} is {shape_text(x.shape)}, not {shape_text(wanted)}"
        same = x.rank == len(wanted)
        if not same or not all(
            dims.equal(own, size, text) for own, size in zip(x.shape, wanted, strict=True)
        ):
            raise ShapeError(text)

    def called(
        self,
        dtype: DType,
        batch: Shape,
        sizes: tuple[Size, ...],
        flops: Size,
        scratch: tuple[tuple[DType, Size], ...] = (),
    ) -> Form:
        """The form: ``sizes`` and ``scratch`` in the order in which the recipe names them."""
        checks = getattr(self, "errors", "nan") == "raise"
        name = f"linalg:{self.routine}.{_ELEMENTS[dtype]}{'' if checks else '.unchecked'}"
        return CallForm(name, sizes, scratch, checks, total=product(batch), flops=flops)

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Further matrices: those of the last two axes. Of one matrix, further columns."""
        if self.right_hand_sides is None or any(over[:-1]):
            return self(*in_front(size, args, over))
        axis = args[-1].ndim + self.right_hand_sides
        rest = args[-1].shape[axis]
        return parted(self(*args[:-1], merged(args[-1], axis)), axis - 1, size, rest)

    def reference(self, *arrays: Array) -> Any:
        """The routine itself."""
        from staticgrad.native.libraries import lapack

        types = [TensorType(as_dtype(array.dtype), array.shape) for array in arrays]
        found: Any = self.infer(*types)
        outs = found if isinstance(found, tuple) else (found,)
        results = [np.zeros(t.shape, t.dtype.numpy) for t in outs]
        form: Any = self.form(*outs, *types)
        scratch = [np.zeros(max(int(size), 1), dtype.numpy) for dtype, size in form.scratch]
        operands = [*map(np.ascontiguousarray, arrays), *results]
        lapack.run(form.routine, operands, [*map(int, form.sizes)], scratch, int(form.total))
        return tuple(results) if isinstance(found, tuple) else results[0]


def smaller(left: Size, right: Size) -> Size:
    """The smaller of two sizes."""
    return left if left == right else left + right - dims.maximum(left, right)


def adjoint(x: Any) -> Any:
    """The matrices, transposed."""
    return functions.matrix_transpose(x)


def by_place(x: Any, below: float, on: float, above: float) -> Any:
    """The elements below, on and above the diagonal times a number each; 0 leaves them out."""
    shape = x.shape[-2:]
    row, column = (functions.iota(shape, axis, like=x) for axis in (0, 1))
    zero = np.zeros((), x.dtype.numpy)

    def scaled(factor: float) -> Any:
        return x if factor == 1.0 else x * factor if factor else zero

    diagonal_and_above = functions.where(row == column, scaled(on), scaled(above))
    return functions.where(row > column, scaled(below), diagonal_and_above)


def of_lower(x: Any) -> Any:
    """The cotangent of what is read of a symmetric matrix, its lower triangle, given that of all.

    ``x`` is the cotangent of the matrix as the formulas have it, symmetric or not.
    """
    return by_place(x + adjoint(x), 1.0, 0.5, 0.0)


def mirrored(x: Any) -> Any:
    """The symmetric matrix of which the lower triangle is read."""
    below = by_place(x, 1.0, 0.0, 0.0)
    return by_place(x, 1.0, 1.0, 0.0) + adjoint(below)


def as_columns(vector: Any) -> Any:
    """Vectors as rows [..., 1, n]: each scales the columns of a matrix."""
    return functions.expand_dims(vector, -2)


def as_rows(vector: Any) -> Any:
    """Vectors as columns [..., n, 1]: each scales the rows of a matrix."""
    return functions.expand_dims(vector, -1)


def on_diagonal(vector: Any) -> Any:
    """Diagonal matrices of vectors."""
    n = vector.shape[-1]
    row, column = (functions.iota((n, n), axis, like=vector) for axis in (0, 1))
    return functions.where(row == column, as_columns(vector), np.zeros((), vector.dtype.numpy))


def diagonal_of(x: Any) -> Any:
    """The diagonals of square matrices."""
    return functions.diagonal(x, 0, x.ndim - 2, x.ndim - 1)


def reciprocal(gaps: Any) -> Any:
    """1 / gaps, and 0 on the diagonal, where they are 0; infinite where others are."""
    row, column = (functions.iota(gaps.shape[-2:], axis, like=gaps) for axis in (0, 1))
    inverse = 1.0 / functions.where(row == column, 1.0, gaps)
    return functions.where(row == column, np.zeros((), gaps.dtype.numpy), inverse)


def is_given(ct: Any) -> bool:
    """Whether a cotangent of one of several results is more than the weak zero."""
    return not isinstance(ct, float)
