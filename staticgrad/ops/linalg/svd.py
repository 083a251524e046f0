"""Singular values and vectors."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import GradientError
from staticgrad.ir.forms import Form
from staticgrad.ops.cotangent import ZERO, zeros_like_type
from staticgrad.ops.linalg.base import (
    LinearAlgebra,
    adjoint,
    as_columns,
    as_rows,
    is_given,
    on_diagonal,
    reciprocal,
    smaller,
)
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I32
from staticgrad.types.tensor import TensorType

_KINK = "singular values of 0, and vectors of equal ones, have no gradient: NaN or infinite"


def _room(m: Size, n: Size) -> Size:
    """Elements of work memory for LAPACK's gesdd, whose blocks have 32 columns."""
    k = smaller(m, n)
    return 4 * k * k + 7 * k + 65 * (m + n) + 1


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
        """U, s and V."""
        self.check(x)
        batch, m, n = self.rectangle(x)
        k = smaller(m, n)
        p, w = (m, n) if self.full else (k, k)
        return tuple(x.with_shape((*batch, *s)) for s in ((m, p), (k,), (w, n)))  # type: ignore[return-value]

    def form(self, *types: TensorType) -> Form:
        batch, m, n = self.rectangle(types[3])
        k, dtype, room = smaller(m, n), types[3].dtype, _room(m, n)
        p, w = (m, n) if self.full else (k, k)
        sizes = (m, n, k, p, w, ord("A" if self.full else "S"), room)
        scratch = ((dtype, m * n), (dtype, room), (I32, 8 * k))
        return self.called(dtype, batch, sizes, 20 * m * n * k, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Raises GradientError for full bases of a matrix that is not square: not unique."""
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
        gaps = _gaps(s)
        if is_given(ct[0]):
            turned = adjoint(u) @ ct[0]
            middle = middle + (turned - adjoint(turned)) * gaps * as_columns(s)
            outside.append(((ct[0] - u @ turned) / as_columns(s)) @ v)
        if is_given(ct[2]):
            turned = v @ adjoint(ct[2])
            middle = middle + as_rows(s) * ((turned - adjoint(turned)) * gaps)
            outside.append(u @ ((ct[2] - adjoint(turned) @ v) / as_rows(s)))
        return (sum(outside, u @ middle @ v),)


def _gaps(s: Any) -> Any:
    """1 / (s[j]² - s[i]²)."""
    squares = s * s
    return reciprocal(as_columns(squares) - as_rows(squares))


class SVDVals(LinearAlgebra, name="svdvals"):
    """Descending singular values."""

    routine = "svdvals"
    errors: str = "raise"
    kink = _KINK

    def infer(self, x: TensorType) -> TensorType:
        """The values. Raises as ``svd``."""
        self.check(x)
        batch, m, n = self.rectangle(x)
        return x.with_shape((*batch, smaller(m, n)))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, m, n = self.rectangle(types[0])
        k, room = smaller(m, n), _room(m, n)
        scratch = ((out.dtype, m * n), (out.dtype, room), (I32, 8 * k))
        return self.called(out.dtype, batch, (m, n, k, room), 3 * m * n * k, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        u, _, v = SVD(errors=self.errors)(x)
        return (u @ (as_rows(ct) * v),)
