"""Linear algebra of complex matrices: each op of ``ops.linalg`` over pairs, by LAPACK's functions.

Matrices lie with both parts along a last axis of 2, as LAPACK has them. Types, sizes and rules are
those of the op of real matrices, in which a transpose is a conjugate one: ``transposed`` solves
with the adjoint. LAPACK: E. Anderson et al., Users' Guide, 3rd edition, 1999.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any

from staticgrad.language.ir.forms import Form
from staticgrad.language.ir.pairs import Complex, joined, pair
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import conj
from staticgrad.language.ops.linalg import (
    LU,
    QR,
    SVD,
    Cholesky,
    Eigh,
    EigvalsH,
    LinearAlgebra,
    LUSolve,
    SVDVals,
    TriangularSolve,
    TridiagonalSolve,
)
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType
from staticgrad.support.errors import DTypeError


def whole(value: Any) -> Any:
    """The complex value whose parts are stored; anything else as it is."""
    if not isinstance(value, Value) or not value.dtype.is_float:
        return value
    return value.kind.complex_kind.of(value)  # type: ignore[attr-defined]


class _OfComplex(LinearAlgebra):
    """An op over complex matrices, made of that over real ones, which is the second base."""

    real = LinearAlgebra
    real_results = tuple[int, ...]()  # which results are real

    def __init_subclass__(cls, **kwargs: Any) -> None:
        real: Any = cls.__bases__[1]
        cls.real = real
        cls.routine = f"complex_{real.routine}"
        if real.right_hand_sides is not None:
            cls.right_hand_sides = real.right_hand_sides - 1
        if hasattr(real, "jvp"):
            cls.jvp = _jvp  # type: ignore[attr-defined]
        super().__init_subclass__(name=cls.routine, **kwargs)
        Complex.readings[real] = partial(_reading, cls)

    def infer(self, *types: TensorType) -> Any:
        found: Any = super().infer(*map(self._matrices, types))
        if isinstance(found, TensorType):
            return self._pairs(0, found)
        return tuple(self._pairs(*each) for each in enumerate(found))

    def _is_real(self, number: int, x: Any) -> bool:
        return number in self.real_results or not x.dtype.is_float

    def _pairs(self, number: int, x: TensorType) -> TensorType:
        return x if self._is_real(number, x) else x.with_shape((*x.shape, 2))

    def _matrices(self, x: TensorType) -> TensorType:
        """The type of an operand, as if its elements were real."""
        if not x.dtype.is_float:
            return x
        if not x.rank or x.shape[-1] != 2:
            raise DTypeError(f"{self.name}: {x} has no last axis of 2")
        return x.with_shape(x.shape[:-1])

    def form(self, *types: TensorType) -> Form:
        halves = [
            x if self._is_real(number, x) else self._matrices(x) for number, x in enumerate(types)
        ]
        real: Any = super().form(*halves)
        (dtype, *_) = (x.dtype for x in types if x.dtype.is_float)
        scratch = [(t, 2 * size if t.is_float else size) for t, size in real.scratch]
        scratch += self.reals(dtype, real.sizes)
        return replace(real, scratch=tuple(scratch), flops=4 * real.flops)

    def reals(self, dtype: DType, sizes: tuple[Size, ...]) -> tuple[tuple[DType, Size], ...]:
        """Return the scratch of real numbers, which only complex routines have."""
        return ()

    def of_real(self) -> Any:
        """The op of real matrices, whose rules are the ones of complex matrices, too."""
        return self.real(*[getattr(self, name) for name, _ in self._fields])

    def results(self, found: Any) -> Any:
        """Results, or what belongs to each, as complex values where they are."""
        if not isinstance(found, tuple):
            return found if 0 in self.real_results else whole(found)
        return tuple(x if n in self.real_results else whole(x) for n, x in enumerate(found))

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        return self.cotangents(ct, out, args, (True,) * len(args))

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        ct, out = self.results(ct), self.results(out)
        return tuple(map(joined, self.of_real().cotangents(ct, out, [*map(whole, args)], needed)))


def _jvp(op: Any, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
    """The tangents of results, of which some are real."""
    tangents, args = [*map(whole, tangents)], tuple(map(whole, args))
    found = op.of_real().jvp(tangents, op.results(out), *args)
    if not isinstance(found, tuple):
        return joined(found)
    return tuple(
        x if x is None else x.real if n in op.real_results else joined(x)
        for n, x in enumerate(found)
    )


def _reading(cls: type[_OfComplex], op: Any, *args: Any) -> Any:
    """The op over pairs; a real operand has imaginary parts of 0."""
    made = cls(*[getattr(op, name) for name, _ in op._fields])
    pairs = [x if isinstance(x, Complex) or not x.dtype.is_float else pair(x, None) for x in args]
    return made.results(made(*map(joined, pairs)))


class ComplexCholesky(_OfComplex, Cholesky):
    """Cholesky factors of Hermitian matrices."""


class ComplexTriangularSolve(_OfComplex, TriangularSolve):
    """Solutions of complex triangular systems."""

    transposing = "C"


class ComplexLU(_OfComplex, LU):
    """LU factors of complex matrices."""


class ComplexLUSolve(_OfComplex, LUSolve):
    """Solutions of complex systems by their LU factors."""


class ComplexTridiagonalSolve(_OfComplex, TridiagonalSolve):
    """Solutions of complex tridiagonal systems."""


class ComplexQR(_OfComplex, QR):
    """QR of complex matrices; the diagonal of R is real."""


class ComplexEigh(_OfComplex, Eigh):
    """Eigenvalues of Hermitian matrices and, in the conjugates of rows, eigenvectors.

    The derivative is of losses that do not depend on the phases of vectors.
    """

    real_results = (0,)

    def reals(self, dtype: DType, sizes: tuple[Size, ...]) -> tuple[tuple[DType, Size], ...]:
        n = sizes[0]
        return ((dtype, 2 * n * n + 5 * n + 1),)


class ComplexEigvalsH(_OfComplex, EigvalsH):
    """Ascending eigenvalues of Hermitian matrices."""

    real_results = (0,)
    reals = ComplexEigh.reals


class ComplexSVD(_OfComplex, SVD):
    """Singular values and vectors of complex matrices."""

    real_results = (1,)

    def reals(self, dtype: DType, sizes: tuple[Size, ...]) -> tuple[tuple[DType, Size], ...]:
        m, n, k = sizes[:3]
        return ((dtype, 7 * k * k + 2 * m * n + 7 * k + 1),)


class ComplexSVDVals(_OfComplex, SVDVals):
    """Descending singular values of complex matrices."""

    real_results = (0,)
    reals = ComplexSVD.reals


def of_adjoints(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule of ``custom_vjp`` written as those of ops: in conjugate transposes.

    Cotangents of ops are dL/dre + i dL/dim, those of ``custom_vjp`` their conjugates, as in JAX.
    """

    @wraps(rule)
    def conjugated(ct: Any, *args: Any) -> tuple[Any, ...]:
        shares = rule(conj(ct), *args)
        return tuple(None if each is None else conj(each) for each in shares)

    return conjugated
