"""The QR factorization."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import GradientError
from staticgrad.ir.forms import Form
from staticgrad.ops.cotangent import ZERO, zeros_like_type
from staticgrad.ops.linalg.base import (
    LinearAlgebra,
    adjoint,
    by_place,
    is_given,
    smaller,
)
from staticgrad.ops.linalg.triangular import TriangularSolve
from staticgrad.ops.slices import concatenate, part
from staticgrad.types.dim import Size
from staticgrad.types.tensor import TensorType

#: Columns that LAPACK works on at a time.
_BLOCK = 32


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
        """How many columns Q has."""
        return m if self.complete else smaller(m, n)

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        """Q and R."""
        self.check(x)
        batch, m, n = self.rectangle(x)
        p = self.columns(m, n)
        return x.with_shape((*batch, m, p)), x.with_shape((*batch, p, n))

    def form(self, *types: TensorType) -> Form:
        batch, m, n = self.rectangle(types[2])
        k, p, dtype = smaller(m, n), self.columns(m, n), types[2].dtype
        room = _BLOCK * (m + n) + 1
        scratch = ((dtype, m * n), (dtype, k), (dtype, room))
        return self.called(dtype, batch, (m, n, k, p, room), 4 * m * n * k, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Raises GradientError where a complete Q of a tall x has a part in the result."""
        if not (is_given(ct[0]) or is_given(ct[1])):
            return (ZERO,)
        (m, n), axis = x.shape[-2:], x.ndim - 1
        k = smaller(m, n)
        by_q, by_r = (
            c if is_given(c) else zeros_like_type(o.type, x) for c, o in zip(ct, out, strict=True)
        )
        q, r = out
        if self.complete and k != m:
            if is_given(ct[0]):
                raise GradientError(
                    f"qr: the last columns of a complete Q of {x.type} have no derivative",
                    hint="mode='reduced' leaves them out; where rows are no more than columns,"
                    " sg.dim(name, min=..., max=...) says it",
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
    moved = r @ adjoint(by_r) - adjoint(by_q) @ q
    below = by_place(moved, 1.0, 0.0, 0.0)
    symmetric = by_place(moved, 1.0, 1.0, 0.0) + adjoint(below)
    right = by_q + q @ symmetric
    return adjoint(TriangularSolve(lower=False, errors="nan")(r, adjoint(right)))
