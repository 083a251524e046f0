"""Solutions of triangular and tridiagonal systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from staticgrad.ir.forms import Form
from staticgrad.ir.functional import functions
from staticgrad.ops.linalg.base import LinearAlgebra, adjoint, by_place, smaller
from staticgrad.ops.slices import part
from staticgrad.types.tensor import TensorType

#: Right-hand sides that one worker solves for, and unknowns of a block. The bits depend on them, so
#: they are the same for all sizes, machines and numbers of threads.
COLUMNS: Final = 256
_BLOCK: Final = 96


class TriangularSolve(LinearAlgebra, name="triangular_solve"):
    """X with a @ X = b, where of a only a triangle is read, the lower one or the upper one.

    ``transposed``: a.T @ X = b. ``unit``: the diagonal of a counts as ones.
    """

    routine = "triangular_solve"
    right_hand_sides = -1
    kink = "where the diagonal has a 0 there is no gradient"
    lower: bool = True
    transposed: bool = False
    unit: bool = False
    errors: str = "raise"

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        """The type of b."""
        self.check(a, b)
        batch, n = self.square(a)
        _, _, columns = self.rectangle(b)
        self.check_shape("b", b, (*batch, n, columns))
        return b

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, n, columns = self.rectangle(out)
        letters = (
            "U" if self.lower else "L",  # of the transpose, which Fortran reads
            "T" if self.transposed else "N",
            "N" if self.transposed else "T",
            "U" if self.unit else "N",
        )
        codes = (*map(ord, letters), int(self.unit), int(self.lower != self.transposed))
        sizes = (n, columns, *codes, COLUMNS, _BLOCK)
        parts = -(-columns // COLUMNS)
        return self.called(out.dtype, (*batch, parts), sizes, n * n * smaller(columns, COLUMNS))

    def again(self, a: Any, b: Any, transposed: bool) -> Any:
        """The solution of another right-hand side; a diagonal without 0 is known by then."""
        turned = transposed != self.transposed
        return TriangularSolve(self.lower, turned, self.unit, "nan")(a, b)

    def triangle(self, x: Any) -> Any:
        """What a tangent or cotangent of the operand a has where a is read."""
        on = 0.0 if self.unit else 1.0
        return by_place(x, 1.0, on, 0.0) if self.lower else by_place(x, 0.0, on, 1.0)

    def vjp(self, ct: Any, out: Any, a: Any, b: Any) -> tuple[Any, ...]:
        return self.cotangents(ct, out, (a, b), (True, True))

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """That of b solves the transposed system; that of a is minus its product with X."""
        by_b = self.again(args[0], ct, transposed=True)
        if not needed[0]:
            return None, by_b
        product = out @ adjoint(by_b) if self.transposed else by_b @ adjoint(out)
        return self.triangle(-product), by_b

    def jvp(self, tangents: Sequence[Any], out: Any, a: Any, b: Any) -> Any:
        """The solution for db - da @ X."""
        by_a, right = tangents
        if by_a is not None:
            change = self.triangle(by_a)
            moved = (adjoint(change) if self.transposed else change) @ out
            right = -moved if right is None else right - moved
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
        """The type of b, [..., k, n]: k right-hand sides."""
        self.check(lower, diagonal, upper, b)
        batch, _, n = self.rectangle(b)
        for what, each in (("lower", lower), ("diagonal", diagonal), ("upper", upper)):
            self.check_shape(what, each, (*batch, n))
        return b

    def form(self, out: TensorType, *types: TensorType) -> Form:
        batch, columns, n = self.rectangle(out)
        scratch = ((out.dtype, n + 1), (out.dtype, n), (out.dtype, n))
        return self.called(out.dtype, batch, (n, columns), 10 * n * columns, scratch)

    def vjp(
        self, ct: Any, out: Any, lower: Any, diagonal: Any, upper: Any, b: Any
    ) -> tuple[Any, ...]:
        """The transposed system has lower and upper diagonal exchanged, each moved by one."""
        by_b = self._transposed(lower, diagonal, upper, ct)
        product = functions.sum(by_b * out, -2)
        below = functions.sum(by_b * _moved(out, 1), -2)
        above = functions.sum(by_b * _moved(out, -1), -2)
        return -below, -product, -above, by_b

    def _transposed(self, lower: Any, diagonal: Any, upper: Any, b: Any) -> Any:
        return TridiagonalSolve("nan")(_moved(upper, 1), diagonal, _moved(lower, -1), b)


def _moved(x: Any, by: int) -> Any:
    """x one place further along the last axis, with a 0 for what is not there."""
    last, n = x.ndim - 1, x.shape[-1]
    ends = [(0, 0)] * last + [(1, 1)]
    return part(functions.pad(x, ends), last, 1 - by, n)
