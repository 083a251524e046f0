"""Eigenvalues and eigenvectors of symmetric matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.ir.forms import Form
from staticgrad.ops.cotangent import ZERO
from staticgrad.ops.linalg.base import (
    LinearAlgebra,
    adjoint,
    as_columns,
    as_rows,
    diagonal_of,
    is_given,
    mirrored,
    of_lower,
    on_diagonal,
    reciprocal,
)
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I32
from staticgrad.types.tensor import TensorType


class Eigh(LinearAlgebra, name="eigh"):
    """Ascending eigenvalues w, and in the rows of V the eigenvectors: V.T @ diag(w) @ V = x.

    Only the lower triangle of x is read. Derivative: Giles, Collected matrix derivative results,
    2008, section 3.1.
    """

    routine = "eigh"
    errors: str = "raise"
    kink = "vectors of equal eigenvalues have no gradient: it is NaN or infinite"

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        """Values and vectors."""
        self.check(x)
        batch, n = self.square(x)
        return x.with_shape((*batch, n)), x

    def form(self, *types: TensorType) -> Form:
        batch, n = self.square(types[2])
        room, whole = 2 * n * n + 6 * n + 1, 5 * n + 3
        scratch = ((types[2].dtype, room), (I32, whole))
        return self.called(types[2].dtype, batch, (n, room, whole), 9 * n * n * n, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        values, rows = out
        middle = None
        if is_given(ct[0]):
            middle = on_diagonal(ct[0])
        if is_given(ct[1]):
            turned = _gaps(values) * (rows @ adjoint(ct[1]))
            middle = turned if middle is None else middle + turned
        if middle is None:
            return (ZERO,)
        return (of_lower(adjoint(rows) @ middle @ rows),)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> tuple[Any, Any]:
        """diag(V dx Vᵀ), and what turns the vectors."""
        if tangents[0] is None:
            return None, None
        values, rows = out
        moved = rows @ mirrored(tangents[0]) @ adjoint(rows)
        return diagonal_of(moved), adjoint(_gaps(values) * moved) @ rows


def _gaps(values: Any) -> Any:
    """1 / (w[j] - w[i])."""
    return reciprocal(as_columns(values) - as_rows(values))


class EigvalsH(LinearAlgebra, name="eigvalsh"):
    """Ascending eigenvalues of symmetric matrices, of which only the lower triangle is read."""

    routine = "eigvalsh"
    errors: str = "raise"
    kink = "equal eigenvalues have no gradient each; that of a symmetric function of them is right"

    def infer(self, x: TensorType) -> TensorType:
        """The values. Raises as ``eigh``."""
        self.check(x)
        batch, n = self.square(x)
        return x.with_shape((*batch, n))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, n = self.square(types[0])
        room: Size = 34 * n + 1
        scratch = ((out.dtype, n * n), (out.dtype, room), (I32, 1))
        return self.called(out.dtype, batch, (n, room, 1), 2 * n * n * n, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        _, rows = Eigh(self.errors)(x)
        return (of_lower(adjoint(rows) @ (as_rows(ct) * rows)),)
