"""Factors of general matrices, and what is solved with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.errors import DTypeError
from staticgrad.ir.forms import Form
from staticgrad.ir.functional import functions
from staticgrad.ir.op import lift_all
from staticgrad.ops.cotangent import ZERO
from staticgrad.ops.linalg.base import (
    LinearAlgebra,
    adjoint,
    by_place,
    is_given,
    smaller,
)
from staticgrad.ops.linalg.triangular import TriangularSolve
from staticgrad.ops.slices import concatenate, part
from staticgrad.types.dtype import I32, I64
from staticgrad.types.tensor import TensorType


class LU(LinearAlgebra, name="lu"):
    """L and U with x[:, permutation] = L @ U: three results.

    The first holds both: L on and below the diagonal, U above it, whose diagonal is of ones. The
    second is the permutation of the columns, the third how many exchanges make it. It is the usual
    factorization of x.T, which is what Fortran reads.
    """

    routine = "lu"
    kink = "singular matrices have no gradient; where a pivot changes, it is that of the one taken"

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
        """The type of x, and int64 for the others."""
        self.check(x)
        batch, _, columns = self.rectangle(x)
        return x, TensorType(I64, (*batch, columns)), TensorType(I64, batch)

    def form(self, *types: TensorType) -> Form:
        batch, m, n = self.rectangle(types[0])
        k = smaller(m, n)
        return self.called(types[0].dtype, batch, (m, n, k), m * n * k, ((I32, k),))

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """L⁻ᵀ (lower(Lᵀ dL) + upper(dU Uᵀ)) U⁻ᵀ of the square part; the rest is solved from it."""
        if not is_given(ct[0]):
            return (ZERO,)
        packed, permutation, _ = out
        by_columns = _rectangle(packed, ct[0])
        back = functions.argsort(permutation, -1)
        places = functions.broadcast_to(functions.expand_dims(back, -2), x.shape)
        return (functions.take_along_axis(by_columns, places, -1),)


def _square(packed: Any, ct: Any) -> Any:
    """The cotangent of the matrix whose columns are in the order of the permutation."""
    lower, upper = by_place(packed, 1.0, 1.0, 0.0), _unit_upper(packed)
    by_lower = by_place(adjoint(lower) @ ct, 1.0, 1.0, 0.0)
    by_upper = by_place(by_place(ct, 0.0, 0.0, 1.0) @ adjoint(upper), 0.0, 0.0, 1.0)
    left = TriangularSolve(transposed=True, errors="nan")(packed, by_lower + by_upper)
    return adjoint(_over_upper(packed, adjoint(left)))


def _unit_upper(packed: Any) -> Any:
    above = by_place(packed, 0.0, 0.0, 1.0)
    n = packed.shape[-1]
    row, column = (functions.iota((n, n), axis, like=packed) for axis in (0, 1))
    return above + functions.astype(row == column, packed.dtype)


def _over_upper(packed: Any, b: Any) -> Any:
    """U⁻¹ b."""
    return TriangularSolve(lower=False, unit=True, errors="nan")(packed, b)


def _rectangle(packed: Any, ct: Any) -> Any:
    """The square part, rows below it, L2 = x2 @ U⁻¹, and columns beside it, U2 = L⁻¹ @ x2.

    At least one of the latter two is empty; which one is known in the run.
    """
    (m, n), row, column = packed.shape[-2:], packed.ndim - 2, packed.ndim - 1
    k = smaller(m, n)

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
    found = _square(square, by_square)
    if k != n:
        found = concatenate([found, by_beside], column)
    if k != m:
        corner = [] if k == n else [by_below @ beside]  # empty
        found = concatenate([found, concatenate([by_below, *corner], column)], row)
    return found


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
        """The type of b."""
        self.check(lu, b)
        batch, n = self.square(lu)
        _, _, columns = self.rectangle(b)
        self.check_shape("permutation", permutation, (*batch, n))
        self.check_shape("b", b, (*batch, n, columns))
        if permutation.dtype is not I64:
            raise DTypeError(f"lu_solve: the permutation is of int64, not {permutation}")
        return b

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, n, columns = self.rectangle(out)
        sizes, scratch = (n, columns, int(self.transposed)), ((out.dtype, n * columns),)
        return self.called(out.dtype, batch, sizes, 2 * n * n * columns, scratch)

    def vjp(self, ct: Any, out: Any, lu: Any, permutation: Any, b: Any) -> tuple[Any, ...]:
        return self.cotangents(ct, out, (lu, permutation, b), (True, False, True))

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """That of b solves the transposed system; those of L and U are products of both."""
        lu, permutation, _ = args
        by_b = LUSolve(not self.transposed, "nan")(lu, permutation, ct)
        if not needed[0]:
            return None, None, by_b
        solved, other = (by_b, out) if self.transposed else (out, by_b)
        inner = _in_order(solved, permutation)
        by_upper = _unit_upper(lu) @ inner
        by_lower = by_place(lu, 1.0, 1.0, 0.0)
        by_lower = adjoint(by_lower) @ other
        pairs = ((other, by_upper), (by_lower, inner))
        below, above = (left @ adjoint(right) for left, right in pairs)
        return by_place(-below, 1.0, 1.0, 0.0) - by_place(above, 0.0, 0.0, 1.0), None, by_b


def _in_order(x: Any, permutation: Any) -> Any:
    """The rows of x in the order of the permutation."""
    places = functions.broadcast_to(functions.expand_dims(permutation, -1), x.shape)
    return functions.take_along_axis(x, places, -2)
