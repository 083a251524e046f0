"""The Cholesky factor of symmetric positive definite matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.ir.forms import Form
from staticgrad.ops.linalg.base import LinearAlgebra, adjoint, by_place, mirrored, of_lower
from staticgrad.ops.linalg.triangular import TriangularSolve
from staticgrad.types.tensor import TensorType


class Cholesky(LinearAlgebra, name="cholesky"):
    """L with L @ L.T = x, lower triangular; only the lower triangle of x is read.

    Derivative: Murray, Differentiation of the Cholesky decomposition, 2016, section 3.
    """

    routine = "cholesky"
    kink = "matrices that are not positive definite have no gradient"
    flops = 4
    errors: str = "raise"

    def infer(self, x: TensorType) -> TensorType:
        """The type of x."""
        self.check(x)
        self.square(x)
        return x

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, n = self.square(types[0])
        return self.called(out.dtype, batch, (n,), n * n * n // 3)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        middle = by_place(adjoint(out) @ ct, 1.0, 0.5, 0.0)
        left = _solved(out, middle, transposed=True)
        return (of_lower(adjoint(_solved(out, adjoint(left), transposed=True))),)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> Any:
        """L Φ(L⁻¹ dx L⁻ᵀ), where Φ takes the lower triangle and half the diagonal."""
        if tangents[0] is None:
            return None
        left = _solved(out, mirrored(tangents[0]), transposed=False)
        both = _solved(out, adjoint(left), transposed=False)
        return out @ by_place(both, 1.0, 0.5, 0.0)


def _solved(lower: Any, b: Any, transposed: bool) -> Any:
    """L⁻¹ b or L⁻ᵀ b. A factor that exists has no 0 on its diagonal."""
    return TriangularSolve(transposed=transposed, errors="nan")(lower, b)
