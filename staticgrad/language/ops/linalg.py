"""Linear algebra: one class per factorization or solution, each a call of a recipe per matrix.

Matrices are the last two axes; the axes before them are a batch, equal for all operands. A call
runs on one thread, so results are bitwise identical for every number of threads. Results of size 0
are ordinary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad.errors import DTypeError, GradientError, RankError, ShapeError
from staticgrad.language.ir.forms import CallForm, Form, Scratch
from staticgrad.language.ir.op import Array, Op, lift_all
from staticgrad.language.ir.routines import choose_routine
from staticgrad.language.ops.arithmetic import conj
from staticgrad.language.ops.basic import sum_over
from staticgrad.language.ops.batch_axis import in_front, merge_batch, split_batch
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import ZERO, zeros_like_type
from staticgrad.language.ops.indexing import (
    concatenate,
    diagonal,
    part,
    take_along_axis,
    with_zeros,
)
from staticgrad.language.ops.movement import broadcast_to, expand_dims, swapaxes
from staticgrad.language.ops.operands import promoted_values, shape_text
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.selection import where
from staticgrad.language.ops.sorting import argsort
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import Shape, TensorType, product
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import F32, F64, I32, I64, DType, as_dtype

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
    #: Whether elements are pairs of numbers.
    of_pairs: ClassVar[bool] = False

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        return promoted_values(args)

    def check(self, *types: TensorType) -> DType:
        """Check that a linear-algebra op's operands have one floating dtype."""
        for kind in types:
            if kind.dtype not in _ELEMENTS:
                what = f"float32 and float64, not {kind.dtype.numpy}"
                raise DTypeError(f"{self.name}: takes {what}", hint=_ALSO_TAKES)
            if kind.dtype is not types[0].dtype:
                raise DTypeError(f"{self.name}: operands of {types[0].dtype.numpy} and {kind}")
        return types[0].dtype

    def rectangle(self, x: TensorType) -> tuple[Shape, Size, Size]:
        """Return the batch axes, rows and columns of a matrix operand."""
        if x.rank < 2:
            raise RankError(
                f"{self.name}: {x} is not a matrix",
                hint="matrices are the last two axes: x[:, None]",
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

    def check_shape(self, what: str, x: TensorType, expected: Shape) -> None:
        """Refuse a linear-algebra operand whose shape does not fit the others."""
        text = f"{self.name}: {what} is {shape_text(x.shape)}, not {shape_text(expected)}"
        same = x.rank == len(expected)
        if not same or not all(
            dims.equal(actual, size, text) for actual, size in zip(x.shape, expected, strict=True)
        ):
            raise ShapeError(text)

    def call_form(
        self,
        dtype: DType,
        batch: Shape,
        sizes: tuple[Size, ...],
        flops: Size,
        scratch: Scratch = (),
        portable_scratch: Scratch | None = None,
    ) -> Form:
        """Return the LAPACK call: ``sizes`` and ``scratch`` in the order of the recipe."""
        checks = getattr(self, "errors", "nan") == "raise"
        name = f"linalg:{self.routine}.{_ELEMENTS[dtype]}{'' if checks else '.unchecked'}"
        total = product(batch)
        return CallForm(name, sizes, scratch, checks, total, flops, False, portable_scratch)

    def call_form_by_columns(self, out: TensorType, codes: tuple[int, ...], triangles: int) -> Form:
        """Return the call of a triangular solve, some right-hand columns at a time."""
        batch, n, columns = self.rectangle(out)
        columns_per_part = columns_of_part(out.dtype, n, columns, self.of_pairs)
        parts, sizes = -(-columns // columns_per_part), (n, columns, *codes, columns_per_part)
        flops = triangles * n * n * dims.minimum(columns, columns_per_part)
        return self.call_form(
            out.dtype, (*batch, parts), sizes, flops, ((out.dtype, n * columns_per_part),)
        )

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Further matrices: those of the last two axes. Of one matrix, further columns."""
        if self.right_hand_sides is None or any(over[:-1]):
            return self(*in_front(size, args, over))
        axis = args[-1].ndim + self.right_hand_sides
        columns = args[-1].shape[axis]
        return split_batch(self(*args[:-1], merge_batch(args[-1], axis)), axis - 1, size, columns)

    def reference(self, *arrays: Array) -> Any:
        """Compute a linear-algebra op eagerly by the same routine as a compiled step."""
        from staticgrad.native.libraries import lapack

        types = [TensorType(as_dtype(array.dtype), array.shape) for array in arrays]
        out_types: Any = self.infer(*types)
        outs = out_types if isinstance(out_types, tuple) else (out_types,)
        results = [np.zeros(t.shape, t.dtype.numpy) for t in outs]
        form: Any = self.form(*outs, *types)
        routine, sizes = choose_routine(form)
        scratch = [np.zeros(max(int(size), 1), dtype.numpy) for dtype, size in sizes]
        operands = [*map(np.ascontiguousarray, arrays), *results]
        lapack.run(routine, operands, [*map(int, form.sizes)], scratch, int(form.total))
        return tuple(results) if isinstance(out_types, tuple) else results[0]


def adjoint(x: Any) -> Any:
    """The matrices, transposed; complex ones conjugated, too."""
    return conj(swapaxes(x, -1, -2))


def by_place(x: Any, below: float, on: float, above: float) -> Any:
    """Scale a matrix below, on and above the diagonal; a factor 0 leaves that part out."""
    shape = x.shape[-2:]
    row, column = (iota(shape, axis, like=x) for axis in (0, 1))
    zero = np.zeros((), x.dtype.numpy)

    def scale(factor: float) -> Any:
        return x if factor == 1.0 else x * factor if factor else zero

    diagonal_and_above = where(row == column, scale(on), scale(above))
    return where(row > column, scale(below), diagonal_and_above)


def of_lower(x: Any) -> Any:
    """Return the cotangent of a symmetric matrix's lower triangle, given that of the whole matrix.

    ``x`` is the cotangent of the matrix as the formulas have it, symmetric or not.
    """
    return by_place(x + adjoint(x), 1.0, 0.5, 0.0)


def mirror_lower(x: Any) -> Any:
    """Return the symmetric, or Hermitian, matrix whose lower triangle is given."""
    half = by_place(x, 1.0, 0.5, 0.0)
    return half + adjoint(half)


def as_columns(vector: Any) -> Any:
    """Vectors as rows [..., 1, n]: each scales the columns of a matrix."""
    return expand_dims(vector, -2)


def as_rows(vector: Any) -> Any:
    """Vectors as columns [..., n, 1]: each scales the rows of a matrix."""
    return expand_dims(vector, -1)


def on_diagonal(vector: Any) -> Any:
    """Diagonal matrices of vectors."""
    n = vector.shape[-1]
    row, column = (iota((n, n), axis, like=vector) for axis in (0, 1))
    return where(row == column, as_columns(vector), np.zeros((), vector.dtype.numpy))


def diagonal_of(x: Any) -> Any:
    """The diagonals of square matrices."""
    return diagonal(x, 0, x.ndim - 2, x.ndim - 1)


def reciprocal(gaps: Any) -> Any:
    """1 / gaps, and 0 on the diagonal, where they are 0; infinite where others are."""
    row, column = (iota(gaps.shape[-2:], axis, like=gaps) for axis in (0, 1))
    inverse = 1.0 / where(row == column, 1.0, gaps)
    return where(row == column, np.zeros((), gaps.dtype.numpy), inverse)


def is_given(ct: Any) -> bool:
    """Return whether a cotangent of one of several results is more than the weak zero."""
    return not isinstance(ct, float)


class Eigh(LinearAlgebra, name="eigh"):
    """Ascending eigenvalues w, and in the rows of V the eigenvectors: V.T @ diag(w) @ V = x.

    Only the lower triangle of x is read. Derivative: Giles, Collected matrix derivative results,
    2008, section 3.1.
    """

    routine = "eigh"
    errors: str = "raise"
    kink = "vectors of equal eigenvalues have no gradient: it is NaN or infinite"

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        self.check(x)
        batch, n = self.square(x)
        return x.with_shape((*batch, n)), x

    def form(self, *types: TensorType) -> Form:
        batch, n = self.square(types[2])
        from staticgrad.native.libraries.jacobi import MOST_TWO_SIDED

        room, int_room = 2 * n * n + 6 * n + 1, 5 * n + 3
        turned = dims.minimum(n, MOST_TWO_SIDED)
        scratch = ((types[2].dtype, room), (I32, int_room), (types[2].dtype, turned * turned))
        sizes = (n, room, int_room, product(batch))
        return self.call_form(types[2].dtype, batch, sizes, 9 * n * n * n, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Differentiate a symmetric eigendecomposition."""
        values, rows = out
        middle = None
        if is_given(ct[0]):
            middle = on_diagonal(ct[0])
        if is_given(ct[1]):
            turned = inverse_gaps(values) * (rows @ adjoint(ct[1]))
            middle = turned if middle is None else middle + turned
        if middle is None:
            return (ZERO,)
        return (of_lower(adjoint(rows) @ middle @ rows),)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> tuple[Any, Any]:
        """diag(V dx Vᵀ), and what turns the vectors."""
        if tangents[0] is None:
            return None, None
        values, rows = out
        rotated = rows @ mirror_lower(tangents[0]) @ adjoint(rows)
        return diagonal_of(rotated), adjoint(inverse_gaps(values) * rotated) @ rows


def inverse_gaps(values: Any) -> Any:
    """1 / (w[j] - w[i])."""
    return reciprocal(as_columns(values) - as_rows(values))


class EigvalsH(LinearAlgebra, name="eigvalsh"):
    """Ascending eigenvalues of symmetric matrices; only the lower triangle is read."""

    routine = "eigvalsh"
    errors: str = "raise"
    kink = "equal eigenvalues have no gradient each; that of a symmetric function of them is right"

    def infer(self, x: TensorType) -> TensorType:
        self.check(x)
        batch, n = self.square(x)
        return x.with_shape((*batch, n))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, n = self.square(types[0])
        room: Size = 34 * n + 1
        scratch = ((out.dtype, n * n), (out.dtype, room), (I32, 1))
        sizes = (n, room, 1, product(batch))
        return self.call_form(out.dtype, batch, sizes, 2 * n * n * n, scratch)

    def contained_in(self) -> Sequence[tuple[Op, int]]:
        return ((Eigh(self.errors), 0),)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        _, rows = Eigh(self.errors)(x)
        return (of_lower(adjoint(rows) @ (as_rows(ct) * rows)),)


_KINK = "singular values of 0, and vectors of equal ones, have no gradient: NaN or infinite"


def _room_of_lapack(m: Size, n: Size) -> Size:
    """Return the elements of work memory of LAPACK's gesdd, whose blocks have 32 columns."""
    k = dims.minimum(m, n)
    return 4 * k * k + 7 * k + 65 * (m + n) + 1


def _room_of_loops(m: Size, n: Size, full: bool) -> Size:
    """Return the elements that our own singular value decomposition works in.

    They are the matrix, Q and R, what QR factors work in, and two squares.
    """
    k = dims.minimum(m, n)
    longer = m + n - k
    columns = longer if full else k
    return 2 * m * n + columns * (2 * longer + k) + 7 * longer + 8 * (k + 8) + 2 * k * k


def _svd_scratch(
    dtype: DType, m: Size, n: Size, full: bool = False
) -> tuple[Size, Scratch, Scratch]:
    """Return the room that LAPACK is told of, the scratch of a call, and of its portable variant.

    Where there may be few singular values, loops take them by default, too.
    """
    from staticgrad.native.libraries.recipes import JACOBI_SINGULAR, WHOLE

    k, work, loops = dims.minimum(m, n), _room_of_lapack(m, n), _room_of_loops(m, n, full)
    most = work
    if not isinstance(k, int):
        sides = dims.minimum(m + n - k, WHOLE), dims.minimum(k, JACOBI_SINGULAR)
        most = work + _room_of_loops(*sides, full)
    elif k <= JACOBI_SINGULAR:
        most = dims.maximum(work, loops)

    def scratch(room: Size) -> Scratch:
        return (dtype, m * n), (dtype, room), (I32, 8 * k)

    return work, scratch(most), scratch(loops)


class SVD(LinearAlgebra, name="svd"):
    """U, descending singular values s, and V with (U * s) @ V = x.

    Of an x of m rows and n columns s has k = min(m, n); U has k columns and V k rows, or, if
    ``full``, m and n. Derivative: Townsend, Differentiating the singular value decomposition, 2016.
    """

    routine = "svd"
    full: bool = False
    errors: str = "raise"
    kink = _KINK

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
        self.check(x)
        batch, m, n = self.rectangle(x)
        k = dims.minimum(m, n)
        p, w = (m, n) if self.full else (k, k)
        return tuple(x.with_shape((*batch, *s)) for s in ((m, p), (k,), (w, n)))  # type: ignore[return-value]

    def form(self, *types: TensorType) -> Form:
        batch, m, n = self.rectangle(types[3])
        k, dtype = dims.minimum(m, n), types[3].dtype
        p, w = (m, n) if self.full else (k, k)
        room, *scratch = _svd_scratch(dtype, m, n, self.full)
        sizes = (m, n, k, p, w, ord("A" if self.full else "S"), room)
        return self.call_form(dtype, batch, sizes, 20 * m * n * k, *scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Differentiate a singular value decomposition; full bases of non-square matrices are
        refused.
        """
        if not any(map(is_given, ct)):
            return (ZERO,)
        u, s, v = out
        if self.full and x.shape[-1] != x.shape[-2]:
            if is_given(ct[0]) or is_given(ct[2]):
                raise GradientError(
                    f"svd: the last vectors of the full bases of {x.type} have no derivative",
                    hint="full_matrices=False leaves them out",
                )
            u, s, v = SVD(errors=self.errors)(x)  # of the values alone; again differentiable
        middle = on_diagonal(ct[1]) if is_given(ct[1]) else zeros_like_type(on_diagonal(s).type, s)
        outside = []
        # 1 / (s[j]² - s[i]²)
        squares = s * s
        gaps = reciprocal(as_columns(squares) - as_rows(squares))
        if is_given(ct[0]):
            turned = adjoint(u) @ ct[0]
            middle = middle + (turned - adjoint(turned)) * gaps * as_columns(s)
            if u.dtype.is_complex:  # a phase that both bases can have is that of U
                middle = middle + on_diagonal(1j * diagonal_of(turned).imag / s)
            outside.append(((ct[0] - u @ turned) / as_columns(s)) @ v)
        if is_given(ct[2]):
            turned = v @ adjoint(ct[2])
            middle = middle + as_rows(s) * ((turned - adjoint(turned)) * gaps)
            outside.append(u @ ((ct[2] - adjoint(turned) @ v) / as_rows(s)))
        return (sum(outside, u @ middle @ v),)


class SVDVals(LinearAlgebra, name="svdvals"):
    """Descending singular values."""

    routine = "svdvals"
    errors: str = "raise"
    kink = _KINK

    def infer(self, x: TensorType) -> TensorType:
        self.check(x)
        batch, m, n = self.rectangle(x)
        return x.with_shape((*batch, dims.minimum(m, n)))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, m, n = self.rectangle(types[0])
        k = dims.minimum(m, n)
        room, *scratch = _svd_scratch(out.dtype, m, n)
        return self.call_form(out.dtype, batch, (m, n, k, room), 3 * m * n * k, *scratch)

    def contained_in(self) -> Sequence[tuple[Op, int]]:
        return (SVD(False, self.errors), 1), (SVD(True, self.errors), 1)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        u, _, v = SVD(errors=self.errors)(x)
        return (u @ (as_rows(ct) * v),)


#: Right-hand sides that one worker solves for where products are those of BLAS. Their bits depend
#: on it, so it is the same for all sizes, machines and numbers of threads.
COLUMNS: Final = 256


def columns_of_part(dtype: DType, n: Size, columns: Size, of_pairs: bool) -> int:
    """Return how many right-hand sides one worker solves for at a time.

    Those of one register where BLAS is not called: the bits do not depend on their number there.
    """
    from staticgrad.native.libraries.recipes import LANES, SMALL, WHOLE

    lanes = LANES[_ELEMENTS[dtype]]
    if isinstance(n, int) and (n > SMALL or of_pairs) and n <= WHOLE:
        return lanes
    if not isinstance(columns, int):
        return COLUMNS
    return min(COLUMNS, max(-(-columns // lanes), 1) * lanes)


class TriangularSolve(LinearAlgebra, name="triangular_solve"):
    """X with a @ X = b, where of a only a triangle is read, the lower one or the upper one.

    ``transposed``: a.T @ X = b. ``unit``: the diagonal of a counts as ones.
    """

    routine = "triangular_solve"
    transposing = "T"
    right_hand_sides = -1
    kink = "where the diagonal has a 0 there is no gradient"
    lower: bool = True
    transposed: bool = False
    unit: bool = False
    errors: str = "raise"

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        self.check(a, b)
        batch, n = self.square(a)
        _, _, columns = self.rectangle(b)
        self.check_shape("b", b, (*batch, n, columns))
        return b

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """Return the call of a triangular solve, over parts of the right-hand columns."""
        letters = (
            "U" if self.lower else "L",  # of the transpose, which Fortran reads
            self.transposing if self.transposed else "N",
            "N" if self.transposed else self.transposing,
            "U" if self.unit else "N",
        )
        codes = (*map(ord, letters), int(self.unit), int(self.lower != self.transposed))
        return self.call_form_by_columns(out, codes, 1)

    def again(self, a: Any, b: Any, transposed: bool) -> Any:
        """The solution of another right-hand side; a diagonal without 0 is known by then."""
        turned = transposed != self.transposed
        return TriangularSolve(self.lower, turned, self.unit, "nan")(a, b)

    def triangle(self, x: Any) -> Any:
        """Return what a tangent or cotangent of the operand a has where a is read."""
        on = 0.0 if self.unit else 1.0
        return by_place(x, 1.0, on, 0.0) if self.lower else by_place(x, 0.0, on, 1.0)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a triangular solve: b's cotangent solves the transposed system."""
        by_b = self.again(args[0], ct, transposed=True)
        if not needed[0]:
            return None, by_b
        product = out @ adjoint(by_b) if self.transposed else by_b @ adjoint(out)
        return self.triangle(-product), by_b

    def jvp(self, tangents: Sequence[Any], out: Any, a: Any, b: Any) -> Any:
        """Push tangents through a triangular solve: solve for db - da @ X."""
        by_a, right = tangents
        if by_a is not None:
            change = self.triangle(by_a)
            term = (adjoint(change) if self.transposed else change) @ out
            right = -term if right is None else right - term
        return None if right is None else self.again(a, right, transposed=False)


class TridiagonalSolve(LinearAlgebra, name="tridiagonal_solve"):
    """x with T @ x = b for each row of b; T has three diagonals of n elements.

    ``T[i, i - 1] = lower[i]``, ``T[i, i + 1] = upper[i]``; lower[0] and upper[n - 1] are not read.
    """

    routine = "tridiagonal_solve"
    right_hand_sides = -2
    kink = "singular matrices have no gradient"
    errors: str = "raise"

    def infer(
        self, lower: TensorType, diagonal: TensorType, upper: TensorType, b: TensorType
    ) -> TensorType:
        """Infer a tridiagonal solve's type from three diagonals and the right-hand side."""
        self.check(lower, diagonal, upper, b)
        batch, _, n = self.rectangle(b)
        for what, band in (("lower", lower), ("diagonal", diagonal), ("upper", upper)):
            self.check_shape(what, band, (*batch, n))
        return b

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, columns, n = self.rectangle(out)
        scratch = ((out.dtype, n + 1), (out.dtype, n), (out.dtype, n))
        return self.call_form(out.dtype, batch, (n, columns), 10 * n * columns, scratch)

    def vjp(
        self, ct: Any, out: Any, lower: Any, diagonal: Any, upper: Any, b: Any
    ) -> tuple[Any, ...]:
        """Differentiate a tridiagonal solve by the transposed system: its diagonals exchanged."""
        by_b = self._solve_transposed(lower, diagonal, upper, ct)
        out = conj(out)
        product = sum_over(by_b * out, (out.ndim - 2,))
        below = sum_over(by_b * _shift(out, 1), (out.ndim - 2,))
        above = sum_over(by_b * _shift(out, -1), (out.ndim - 2,))
        return -below, -product, -above, by_b

    def _solve_transposed(self, lower: Any, diagonal: Any, upper: Any, b: Any) -> Any:
        lower, diagonal, upper = map(conj, (lower, diagonal, upper))
        return TridiagonalSolve("nan")(_shift(upper, 1), diagonal, _shift(lower, -1), b)


def _shift(x: Any, by: int) -> Any:
    """x one place further along the last axis, with a 0 for what is not there."""
    last, n = x.ndim - 1, x.shape[-1]
    ends = [(0, 0)] * last + [(1, 1)]
    return part(with_zeros(x, ends), last, 1 - by, n)


class Cholesky(LinearAlgebra, name="cholesky"):
    """L with L @ L.T = x, lower triangular; only the lower triangle of x is read.

    Derivative: Murray, Differentiation of the Cholesky decomposition, 2016, section 3.
    """

    routine = "cholesky"
    kink = "matrices that are not positive definite have no gradient"
    flops = 4
    errors: str = "raise"

    def infer(self, x: TensorType) -> TensorType:
        self.check(x)
        self.square(x)
        return x

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, n = self.square(types[0])
        return self.call_form(out.dtype, batch, (n,), n * n * n // 3)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        middle = by_place(adjoint(out) @ ct, 1.0, 0.5, 0.0)
        left = _solve(out, middle, transposed=True)
        return (of_lower(adjoint(_solve(out, adjoint(left), transposed=True))),)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> Any:
        """L Φ(L⁻¹ dx L⁻ᵀ), where Φ takes the lower triangle and half the diagonal."""
        if tangents[0] is None:
            return None
        left = _solve(out, mirror_lower(tangents[0]), transposed=False)
        inner = _solve(out, adjoint(left), transposed=False)
        return out @ by_place(inner, 1.0, 0.5, 0.0)


def _solve(lower: Any, b: Any, transposed: bool) -> Any:
    """L⁻¹ b or L⁻ᵀ b. A factor that exists has no 0 on its diagonal."""
    return TriangularSolve(transposed=transposed, errors="nan")(lower, b)


class LU(LinearAlgebra, name="lu"):
    """L and U with x[:, permutation] = L @ U: three results.

    The first holds both: L on and below the diagonal, U above it, whose diagonal is of ones. The
    second is the permutation of the columns, the third how many exchanges make it. It is the usual
    factorization of x.T, which is what Fortran reads.
    """

    routine = "lu"
    kink = "singular matrices have no gradient; where a pivot changes, it is that of the one taken"

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
        self.check(x)
        batch, _, columns = self.rectangle(x)
        return x, TensorType(I64, (*batch, columns)), TensorType(I64, batch)

    def form(self, *types: TensorType) -> Form:
        batch, m, n = self.rectangle(types[0])
        k = dims.minimum(m, n)
        return self.call_form(types[0].dtype, batch, (m, n, k), m * n * k, ((I32, k),))

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Differentiate an LU factorization: L^-T (lower(L^T dL) + upper(dU U^T)) U^-1."""
        if not is_given(ct[0]):
            return (ZERO,)
        packed, permutation, _ = out
        by_columns = _rectangle(packed, ct[0])
        back = argsort(permutation, -1)
        places = broadcast_to(expand_dims(back, -2), x.shape)
        return (take_along_axis(by_columns, places, -1),)


def _square(packed: Any, ct: Any) -> Any:
    """The cotangent of the matrix whose columns are in the order of the permutation."""
    lower, upper = by_place(packed, 1.0, 1.0, 0.0), _unit_upper(packed)
    by_lower = by_place(adjoint(lower) @ ct, 1.0, 1.0, 0.0)
    by_upper = by_place(by_place(ct, 0.0, 0.0, 1.0) @ adjoint(upper), 0.0, 0.0, 1.0)
    left = TriangularSolve(transposed=True, errors="nan")(packed, by_lower + by_upper)
    return adjoint(_over_upper(packed, adjoint(left)))


def _unit_upper(packed: Any) -> Any:
    return by_place(packed, 0.0, 0.0, 1.0) + _identity_of(packed)


def _over_upper(packed: Any, b: Any) -> Any:
    """U⁻¹ b."""
    return TriangularSolve(lower=False, unit=True, errors="nan")(packed, b)


def _rectangle(packed: Any, ct: Any) -> Any:
    """Split a packed LU of a non-square matrix into its square part and the rest.

    At least one of the latter two is empty; which one is known in the run.
    """
    (m, n), row, column = packed.shape[-2:], packed.ndim - 2, packed.ndim - 1
    k = dims.minimum(m, n)

    def rows(x: Any, start: Any, length: Any) -> Any:
        return x if length == m else part(x, row, start, length)

    def columns(x: Any, start: Any, length: Any) -> Any:
        return x if length == n else part(x, column, start, length)

    square, by_square = (columns(rows(x, 0, k), 0, k) for x in (packed, ct))
    if k != m:
        below, ct_below = (columns(rows(x, k, m - k), 0, k) for x in (packed, ct))
        by_below = adjoint(_over_upper(square, adjoint(ct_below)))
        by_square = by_square - by_place(adjoint(below) @ by_below, 0.0, 0.0, 1.0)
    if k != n:
        beside, ct_beside = (columns(rows(x, 0, k), k, n - k) for x in (packed, ct))
        by_beside = TriangularSolve(transposed=True, errors="nan")(square, ct_beside)
        by_square = by_square - by_place(by_beside @ adjoint(beside), 1.0, 1.0, 0.0)
    cotangent = _square(square, by_square)
    if k != n:
        cotangent = concatenate([cotangent, by_beside], column)
    if k != m:
        corner = [] if k == n else [by_below @ beside]  # empty
        cotangent = concatenate([cotangent, concatenate([by_below, *corner], column)], row)
    return cotangent


class LUSolve(LinearAlgebra, name="lu_solve"):
    """X with a @ X = b, given the factors of a that ``lu`` made; ``transposed``: a.T @ X = b.

    x[:, permutation] = L @ U gives X[permutation] = U⁻¹ L⁻¹ b, and a.T @ X = b the transpose of it.
    """

    routine = "lu_solve"
    right_hand_sides = -1
    kink = "where a pivot is 0 there is no gradient"
    transposed: bool = False
    errors: str = "raise"

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as they are: one of them holds integers."""
        return lift_all(args)

    def infer(self, lu: TensorType, permutation: TensorType, b: TensorType) -> TensorType:
        """Infer the type of a solution by LU factors."""
        self.check(lu, b)
        batch, n = self.square(lu)
        _, _, columns = self.rectangle(b)
        self.check_shape("permutation", permutation, (*batch, n))
        self.check_shape("b", b, (*batch, n, columns))
        if permutation.dtype is not I64:
            raise DTypeError(f"lu_solve: the permutation is of int64, not {permutation}")
        return b

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return self.call_form_by_columns(out, (int(self.transposed),), 2)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a solution by LU factors with respect to b and the factors."""
        lu, permutation, _ = args
        by_b = LUSolve(not self.transposed, "nan")(lu, permutation, ct)
        if not needed[0]:
            return None, None, by_b
        solved, partner = (by_b, out) if self.transposed else (out, by_b)
        inner = _in_order(solved, permutation)
        by_upper = _unit_upper(lu) @ inner
        by_lower = by_place(lu, 1.0, 1.0, 0.0)
        by_lower = adjoint(by_lower) @ partner
        pairs = ((partner, by_upper), (by_lower, inner))
        below, above = (left @ adjoint(right) for left, right in pairs)
        return by_place(-below, 1.0, 1.0, 0.0) - by_place(above, 0.0, 0.0, 1.0), None, by_b


def _in_order(x: Any, permutation: Any) -> Any:
    """The rows of x in the order of the permutation."""
    places = broadcast_to(expand_dims(permutation, -1), x.shape)
    return take_along_axis(x, places, -2)


class Sylvester(LinearAlgebra, name="sylvester"):
    """X with a @ X + X @ b = q, by the Schur forms of a and b (Bartels and Stewart, 1972)."""

    routine = "sylvester"
    kink = "where an eigenvalue of a is one of -b there is no gradient"
    errors: str = "raise"

    def infer(self, a: TensorType, b: TensorType, q: TensorType) -> TensorType:
        self.check(a, b, q)
        batch, m = self.square(a)
        _, n = self.square(b)
        self.check_shape("b", b, (*batch, n, n))
        self.check_shape("q", q, (*batch, m, n))
        return q

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """Return the LAPACK call that solves a Sylvester equation."""
        batch, m, n = self.rectangle(out)
        dtype, room = out.dtype, 3 * (m + n) + 1
        sizes = (m * m, m * m, n * n, n * n, m * n, m + n, m + n, room)
        scratch = tuple((dtype, size) for size in sizes)
        flops = 25 * (m * m * m + n * n * n)
        return self.call_form(
            dtype, batch, (m, n, room), flops, (*scratch, (I32, m + n), (dtype, 1))
        )

    def vjp(self, ct: Any, out: Any, a: Any, b: Any, q: Any) -> tuple[Any, ...]:
        """The transposed equation is solved for the cotangent of q."""
        by_q = Sylvester("nan")(adjoint(a), adjoint(b), ct)
        return -by_q @ adjoint(out), -adjoint(out) @ by_q, by_q

    def jvp(self, tangents: Sequence[Any], out: Any, a: Any, b: Any, q: Any) -> Any:
        """The solution for dq - da @ X - X @ db."""
        by_a, by_b, right = tangents
        for term in (by_a is not None and by_a @ out, by_b is not None and out @ by_b):
            if term is not False:
                right = -term if right is None else right - term
        return None if right is None else Sylvester("nan")(a, b, right)


def beside_diagonal(x: Any, offset: int) -> Any:
    """The elements next to the diagonal, and 0 elsewhere."""
    row, column = (iota(x.shape[-2:], axis, like=x) for axis in (0, 1))
    return where(row == column - offset, x, np.zeros((), x.dtype.numpy))


class LDL(LinearAlgebra, name="ldl"):
    """L and D with x[p][:, p] = L @ D @ L.T, three results (Bunch and Kaufman, 1977).

    The first has L, whose diagonal is of ones, below the diagonal, and on it that of D. The second
    has what D has below its diagonal, at the first of two rows; the third is the permutation p.
    Only the lower triangle of x is read.
    """

    routine = "ldl"
    kink = "where a pivot is 0 there is no gradient; where one changes, it is that of the one taken"

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
        self.check(x)
        batch, n = self.square(x)
        return x, x.with_shape((*batch, n)), TensorType(I64, (*batch, n))

    def form(self, *types: TensorType) -> Form:
        batch, n = self.square(types[0])
        dtype, room = types[0].dtype, 32 * n + 1
        scratch = ((dtype, n * n), (dtype, room), (I32, n))
        return self.call_form(dtype, batch, (n, room), n * n * n // 3, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Differentiate a symmetric indefinite factorization (L D L^T with 1x1 and 2x2 blocks)."""
        if not (is_given(ct[0]) or is_given(ct[1])):
            return (ZERO,)
        packed, beside, permutation = out
        by_packed = ct[0] if is_given(ct[0]) else zeros_like_type(packed.type, x)
        is_block = beside_diagonal(broadcast_to(as_columns(beside), x.shape), -1) != 0.0
        middle = on_diagonal(diagonal_of(by_packed))
        by_lower = by_place(by_packed, 1.0, 0.0, 0.0)
        zero = np.zeros((), by_lower.dtype.numpy)
        if is_given(ct[1]):
            columns = broadcast_to(as_columns(ct[1]), x.shape)
            middle = middle + where(is_block, columns, zero)
        unit_lower = by_place(packed, 1.0, 0.0, 0.0) + _identity_of(packed)
        turned = where(is_block, zero, by_place(adjoint(unit_lower) @ by_lower, 1.0, 0.0, 0.0))
        further = _over_blocks(packed, beside, turned)
        middle = middle + where(is_block, zero, by_place(further, 1.0, 0.0, 0.0))
        for _ in range(2):
            solve = TriangularSolve(transposed=True, unit=True, errors="nan")
            middle = adjoint(solve(unit_lower, middle))
        back = argsort(permutation, -1)
        middle = _in_order(middle, back)
        return (of_lower(adjoint(_in_order(adjoint(middle), back))),)


def _over_blocks(packed: Any, beside: Any, x: Any) -> Any:
    """x @ D⁻¹."""
    return TridiagonalSolve("nan")(conj(_shift(beside, 1)), diagonal_of(packed), beside, x)


def _identity_of(x: Any) -> Any:
    row, column = (iota(x.shape[-2:], axis, like=x) for axis in (0, 1))
    return astype(row == column, x.dtype)


#: Columns that LAPACK works on at a time.
_QR_BLOCK = 32


class QR(LinearAlgebra, name="qr"):
    """Q with orthonormal columns and R upper triangular, with Q @ R = x.

    Of an x of m rows and n columns Q has min(m, n) columns, or m if ``complete``. Derivative:
    Walter, Lehmann and Lamour, On evaluating higher-order derivatives of the QR decomposition of
    tall matrices with full column rank, 2012.
    """

    routine = "qr"
    complete: bool = False
    kink = "where columns depend on those before them there is no gradient: it is NaN or infinite"

    def columns(self, m: Size, n: Size) -> Size:
        """Return how many columns Q has."""
        return m if self.complete else dims.minimum(m, n)

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        self.check(x)
        batch, m, n = self.rectangle(x)
        p = self.columns(m, n)
        return x.with_shape((*batch, m, p)), x.with_shape((*batch, p, n))

    def form(self, *types: TensorType) -> Form:
        batch, m, n = self.rectangle(types[2])
        k, p, dtype = dims.minimum(m, n), self.columns(m, n), types[2].dtype
        room = _QR_BLOCK * (m + n) + 1
        scratch = ((dtype, m * n), (dtype, k), (dtype, room), (dtype, m * (p + 7)))
        return self.call_form(dtype, batch, (m, n, k, p, room), 4 * m * n * k, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Differentiate a QR factorization; a complete Q of a tall matrix is refused."""
        if not (is_given(ct[0]) or is_given(ct[1])):
            return (ZERO,)
        (m, n), axis = x.shape[-2:], x.ndim - 1
        k = dims.minimum(m, n)
        by_q, by_r = (
            c if is_given(c) else zeros_like_type(o.type, x) for c, o in zip(ct, out, strict=True)
        )
        q, r = out
        if self.complete and k != m:
            if is_given(ct[0]):
                raise GradientError(
                    f"qr: the last columns of a complete Q of {x.type} have no derivative",
                    hint="mode='reduced' leaves them out; if there are at most as many rows as"
                    " columns, sg.dim(name, min=..., max=...) says it",
                )
            q, r = QR()(x)  # of R alone, whose further rows are zero; again differentiable
            by_q, by_r = zeros_like_type(q.type, x), part(by_r, axis - 1, 0, k)
        if k == n:
            return (_tall(q, r, by_q, by_r),)
        # Columns behind the first k: none in a run where n <= m.
        by_beside = part(by_r, axis, k, n - k)
        tall = _tall(
            q,
            part(r, axis, 0, k),
            by_q + part(x, axis, k, n - k) @ adjoint(by_beside),
            part(by_r, axis, 0, k),
        )
        return (concatenate([tall, q @ by_beside], axis),)


def _tall(q: Any, r: Any, by_q: Any, by_r: Any) -> Any:
    """(dQ + Q copy(M)) R⁻ᵀ with M = R dRᵀ - dQᵀ Q, of whose lower triangle a copy is mirrored."""
    m = r @ adjoint(by_r) - adjoint(by_q) @ q
    right = by_q + q @ mirror_lower(m)
    return adjoint(TriangularSolve(lower=False, errors="nan")(r, adjoint(right)))
