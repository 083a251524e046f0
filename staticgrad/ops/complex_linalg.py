"""Linear algebra of complex matrices: eigenvalues, factors and determinants by LAPACK.

Matrices lie with both parts along a last axis of 2, as LAPACK has them. Systems of equations are
real ones of twice the size, [[A, -B], [B, A]] for A + iB, which takes twice the arithmetic of a
complex factorization and has all derivatives. The rules are those of real matrices, with conjugates
in transposes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.errors import DTypeError
from staticgrad.ir.forms import Form
from staticgrad.ir.functional import functions
from staticgrad.ir.pairs import Complex
from staticgrad.ops.complex_readings import pair
from staticgrad.ops.custom import custom_vjp
from staticgrad.ops.indexing import concatenate, part
from staticgrad.ops.linalg import (
    LU,
    Cholesky,
    Eigh,
    EigvalsH,
    LinearAlgebra,
    LUSolve,
    adjoint,
    as_rows,
    by_place,
    is_given,
    of_lower,
)
from staticgrad.types.arrays import TensorType
from staticgrad.types.dtype import I32, I64


def embedded(a: Any) -> Any:
    """The real matrices of twice the size that act on both parts as complex ones do."""
    re, im = a.real, a.imag
    above, below = concatenate([re, -im], -1), concatenate([im, re], -1)
    return concatenate([above, below], -2)


def stacked(b: Any) -> Any:
    """Both parts of columns, one above the other."""
    return concatenate([b.real, b.imag], -2)


def unstacked(x: Any) -> Any:
    """The complex columns whose parts lie one above the other."""
    rows, axis = x.shape[-2] // 2, x.ndim - 2
    return pair(part(x, axis, 0, rows), part(x, axis, rows, rows))


def inverse(a: Any) -> Any:
    """The inverses of complex matrices; of singular ones NaN and infinities."""
    whole = embedded(a)
    lu, permutation, _ = LU()(whole)
    n = a.shape[-1]
    unit = functions.eye(2 * n, n, dtype=whole.dtype, like=whole)
    unit = functions.broadcast_to(unit, (*whole.shape[:-2], 2 * n, n))
    return unstacked(LUSolve(False, "nan")(lu, permutation, unit))


class _OfComplex(LinearAlgebra):
    """An op over complex matrices that are real values with a last axis of 2."""

    def matrix(self, x: TensorType) -> TensorType:
        """The type of the matrices, as if their elements were real."""
        if x.rank < 3 or x.shape[-1] != 2:
            raise DTypeError(f"{self.name}: {x} has no last axis of 2")
        return x.with_shape(x.shape[:-1])

    def batched(self, size: Any, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return self(*args)  # the matrices are the last three axes of the only operand


class ComplexEigh(_OfComplex, name="complex_eigh"):
    """Ascending eigenvalues and, in the conjugates of rows, the eigenvectors of Hermitian matrices.

    Only the lower triangle is read. The derivative is that of ``Eigh``: of losses that do not
    depend on the phases of vectors.
    """

    routine = "complex_eigh"
    errors: str = "raise"
    kink = Eigh.kink

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        self.check(x)
        batch, n = self.square(self.matrix(x))
        return x.with_shape((*batch, n)), x

    def form(self, *types: TensorType) -> Form:
        dtype, (batch, n) = types[2].dtype, self.square(self.matrix(types[2]))
        room, real, whole = 2 * n + n * n + 1, 2 * n * n + 5 * n + 1, 5 * n + 3
        scratch = ((dtype, 2 * room), (dtype, real), (I32, whole))
        return self.called(dtype, batch, (n, room, real, whole), 36 * n * n * n, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        kind = out[1].kind.complex_kind
        whole = (ct[0], kind.of(ct[1]) if is_given(ct[1]) else ct[1])
        (found,) = Eigh.vjp(self, whole, (out[0], kind.of(out[1])), x)  # type: ignore[arg-type]
        if not isinstance(found, Complex):
            return (found,)
        return (found.joined(),)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> tuple[Any, Any]:
        if tangents[0] is None:
            return None, None
        kind = x.kind.complex_kind
        ways, rows = kind.of(tangents[0]), kind.of(out[1])
        ways = pair(ways.real, by_place(ways.imag, 1.0, 0.0, 1.0))  # of the diagonal nothing else
        values, moved = Eigh.jvp(self, (ways,), (out[0], rows), x)  # type: ignore[arg-type]
        return values.real, moved.joined()


class ComplexCholesky(_OfComplex, name="complex_cholesky"):
    """L with L @ Lᴴ = x, lower triangular, of Hermitian matrices; reads the lower triangle."""

    routine = "complex_cholesky"
    kink = Cholesky.kink
    errors: str = "raise"

    def infer(self, x: TensorType) -> TensorType:
        self.check(x)
        self.square(self.matrix(x))
        return x

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, n = self.square(self.matrix(types[0]))
        return self.called(out.dtype, batch, (n,), 4 * n * n * n // 3)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """L⁻ᴴ Φ(Lᴴ ct) L⁻¹, where Φ takes the lower triangle and half the diagonal."""
        kind = out.kind.complex_kind
        lower = kind.of(out)
        solved = inverse(by_place(lower, 1.0, 1.0, 0.0))
        middle = by_place(adjoint(lower) @ kind.of(ct), 1.0, 0.5, 0.0)
        return (of_lower(adjoint(solved) @ middle @ solved).joined(),)


class ComplexLU(_OfComplex, name="complex_lu"):
    """The diagonal of U, and how many rows are exchanged, in the LU factors of square matrices."""

    routine = "complex_lu"
    differentiable = False

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        self.check(x)
        batch, n = self.square(self.matrix(x))
        return x.with_shape((*batch, n, 2)), TensorType(I64, batch)

    def form(self, *types: TensorType) -> Form:
        dtype, (batch, n) = types[2].dtype, self.square(self.matrix(types[2]))
        return self.called(dtype, batch, (n,), 3 * n * n * n, ((dtype, 2 * n * n), (I32, n)))

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (None,)


@custom_vjp(name="staticgrad.complex_logdet")
def _log_determinant(x: Any) -> Any:
    """Logarithm of the magnitude, and angle, of determinants, along a last axis."""
    diagonal, swaps = ComplexLU()(x)
    logs = functions.log(x.kind.complex_kind.of(diagonal))
    half_turns = functions.astype(swaps % 2, logs.real.dtype) * 3.141592653589793
    total = functions.sum(logs, -1)
    return functions.stack([total.real, total.imag + half_turns], -1)


@_log_determinant.rule
def _(ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
    """d log det = tr(x⁻¹ dx)."""
    kind = x.kind.complex_kind
    slope = as_rows(as_rows(kind.of(ct))) * adjoint(inverse(kind.of(x)))
    return (slope.joined(),)


def log_determinant(a: Any) -> Any:
    """The complex logarithm of determinants of square complex matrices."""
    found: Any = _log_determinant(a.joined())
    return a.kind.complex_kind.of(found)


def _eigh(op: Any, x: Any) -> Any:
    values, rows = ComplexEigh(op.errors)(x.joined())
    return values, rows.kind.complex_kind.of(rows)


def _cholesky(op: Any, x: Any) -> Any:
    found = ComplexCholesky(op.errors)(x.joined())
    return found.kind.complex_kind.of(found)


Complex.readings.update({
    Eigh: _eigh,
    EigvalsH: lambda op, x: _eigh(op, x)[0],
    Cholesky: _cholesky,
})  # fmt: skip
