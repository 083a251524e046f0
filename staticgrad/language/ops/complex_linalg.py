"""Linear algebra of complex matrices: each op of ``ops.linalg`` over pairs, by LAPACK's functions.

Matrices lie with both parts along a last axis of 2, as LAPACK has them. Types, sizes and rules are
those of the op of real matrices, in which a transpose is a conjugate one: ``transposed`` solves
with the adjoint. Eigenvalues of matrices without symmetry are complex, of real ones too. LAPACK: E.
Anderson et al., Users' Guide, 3rd edition, 1999.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad.errors import DTypeError
from staticgrad.language.ir.forms import Form
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.pairs import Complex, join_parts, pair
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import absolute, conj
from staticgrad.language.ops.basic import sum_over
from staticgrad.language.ops.cotangent import ZERO
from staticgrad.language.ops.linalg import (
    LDL,
    LU,
    QR,
    SVD,
    Cholesky,
    Eigh,
    EigvalsH,
    LinearAlgebra,
    LUSolve,
    SVDVals,
    Sylvester,
    TriangularSolve,
    TridiagonalSolve,
    adjoint,
    as_columns,
    as_rows,
    diagonal_of,
    inverse_gaps,
    is_given,
    on_diagonal,
)
from staticgrad.language.ops.selection import where
from staticgrad.language.ops.sorting import argsort
from staticgrad.language.types.arrays import Shape, TensorType
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType


def as_complex(value: Any) -> Any:
    """The complex value whose parts are stored; anything else as it is."""
    if not isinstance(value, Value) or value.dtype.is_complex or not value.dtype.is_float:
        return value
    return value.kind.complex_kind.of(value)  # type: ignore[attr-defined]


def without_parts(op: LinearAlgebra, x: TensorType) -> TensorType:
    """The type of pairs, as if each were one real number."""
    if not x.rank or x.shape[-1] != 2:
        raise DTypeError(f"{op.name}: {x} has no last axis of 2")
    return x.with_shape(x.shape[:-1])


#: An op over real matrices -> that over complex ones.
_OVER_PAIRS: Final[dict[type[Op], Any]] = {}


class OfComplex(LinearAlgebra):
    """An op over complex matrices, made of that over real ones, which is the second base."""

    of_pairs = True
    real = LinearAlgebra
    real_results = tuple[int, ...]()  # which results are real

    def __init_subclass__(cls, **kwargs: Any) -> None:
        real: Any = cls.__bases__[1]
        cls.real = real
        _OVER_PAIRS[real] = cls
        cls.routine = f"complex_{real.routine}"
        if real.right_hand_sides is not None:
            cls.right_hand_sides = real.right_hand_sides - 1
        if hasattr(real, "jvp"):
            cls.jvp = _jvp  # type: ignore[attr-defined]
        super().__init_subclass__(name=cls.routine, **kwargs)
        Complex.readings[real] = _reading

    def infer(self, *types: TensorType) -> Any:
        types_out: Any = super().infer(*map(self._matrices, types))
        if isinstance(types_out, TensorType):
            return self._pairs(0, types_out)
        return tuple(self._pairs(*numbered) for numbered in enumerate(types_out))

    def _is_real(self, number: int, x: Any) -> bool:
        return number in self.real_results or not x.dtype.is_float

    def _pairs(self, number: int, x: TensorType) -> TensorType:
        return x if self._is_real(number, x) else x.with_shape((*x.shape, 2))

    def _matrices(self, x: TensorType) -> TensorType:
        """The type of an operand, as if its elements were real."""
        return without_parts(self, x) if x.dtype.is_float else x

    def form(self, *types: TensorType) -> Form:
        """Return the LAPACK call for complex matrices, stored as pairs of reals."""
        halves = [
            x if self._is_real(number, x) else self._matrices(x) for number, x in enumerate(types)
        ]
        real: Any = super().form(*halves)
        (dtype, *_) = (x.dtype for x in types if x.dtype.is_float)
        scratch = [(t, 2 * size if t.is_float else size) for t, size in real.scratch]
        scratch += self.reals(dtype, real.sizes)
        return replace(real, scratch=tuple(scratch), portable_scratch=None, flops=4 * real.flops)

    def reals(self, dtype: DType, sizes: tuple[Size, ...]) -> tuple[tuple[DType, Size], ...]:
        """Return the scratch of real numbers, which only complex routines have."""
        return ()

    def of_real(self) -> Any:
        """The op of real matrices, whose rules are the ones of complex matrices, too."""
        return self.real(*[getattr(self, name) for name, _ in self._fields])

    def contained_in(self) -> Sequence[tuple[Op, int]]:
        return [(_over_pairs(op), index) for op, index in self.of_real().contained_in()]

    def results(self, results: Any) -> Any:
        """Results, or what belongs to each, as complex values where they are."""
        if not isinstance(results, tuple):
            return results if 0 in self.real_results else as_complex(results)
        return tuple(x if n in self.real_results else as_complex(x) for n, x in enumerate(results))

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        return self.cotangents(ct, out, args, (True,) * len(args))

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        ct, out = self.results(ct), self.results(out)
        return tuple(
            map(join_parts, self.of_real().cotangents(ct, out, [*map(as_complex, args)], needed))
        )


def _jvp(op: Any, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
    """Return the tangents of a complex factorization's results, some of which are real."""
    tangents, args = [*map(as_complex, tangents)], tuple(map(as_complex, args))
    tangent = op.of_real().jvp(tangents, op.results(out), *args)
    if not isinstance(tangent, tuple):
        return join_parts(tangent)
    return tuple(
        x if x is None else x.real if n in op.real_results else join_parts(x)
        for n, x in enumerate(tangent)
    )


def _over_pairs(op: Any) -> Any:
    """The op of complex matrices in the place of one of real matrices."""
    return _OVER_PAIRS[type(op)](*[getattr(op, name) for name, _ in op._fields])


def _reading(op: Any, *args: Any) -> Any:
    """The op over pairs; a real operand has imaginary parts of 0."""
    complex_op = _over_pairs(op)
    pairs = [x if isinstance(x, Complex) or not x.dtype.is_float else pair(x, None) for x in args]
    return complex_op.results(complex_op(*map(join_parts, pairs)))


class ComplexCholesky(OfComplex, Cholesky):
    """Cholesky factors of Hermitian matrices."""


class ComplexTriangularSolve(OfComplex, TriangularSolve):
    """Solutions of complex triangular systems."""

    transposing = "C"


class ComplexLU(OfComplex, LU):
    """LU factors of complex matrices."""


class ComplexLUSolve(OfComplex, LUSolve):
    """Solutions of complex systems by their LU factors."""


class ComplexTridiagonalSolve(OfComplex, TridiagonalSolve):
    """Solutions of complex tridiagonal systems."""


class ComplexQR(OfComplex, QR):
    """QR of complex matrices; the diagonal of R is real."""


class ComplexSylvester(OfComplex, Sylvester):
    """Solutions of Sylvester's equation with complex matrices."""

    def reals(self, dtype: DType, sizes: tuple[Size, ...]) -> tuple[tuple[DType, Size], ...]:
        return ((dtype, sizes[0] + sizes[1]),)


class ComplexLDL(OfComplex, LDL):
    """LDL factors of Hermitian matrices."""


class ComplexEigh(OfComplex, Eigh):
    """Eigenvalues of Hermitian matrices and, in the conjugates of rows, eigenvectors.

    The derivative is of losses that do not depend on the phases of vectors.
    """

    real_results = (0,)

    def reals(self, dtype: DType, sizes: tuple[Size, ...]) -> tuple[tuple[DType, Size], ...]:
        n = sizes[0]
        return ((dtype, 2 * n * n + 5 * n + 1),)


class ComplexEigvalsH(OfComplex, EigvalsH):
    """Ascending eigenvalues of Hermitian matrices."""

    real_results = (0,)
    reals = ComplexEigh.reals


class ComplexSVD(OfComplex, SVD):
    """Singular values and vectors of complex matrices."""

    real_results = (1,)

    def reals(self, dtype: DType, sizes: tuple[Size, ...]) -> tuple[tuple[DType, Size], ...]:
        m, n, k = sizes[:3]
        return ((dtype, 7 * k * k + 2 * m * n + 7 * k + 1),)


class ComplexSVDVals(OfComplex, SVDVals):
    """Descending singular values of complex matrices."""

    real_results = (0,)
    reals = ComplexSVD.reals


class _OfAnyMatrix(LinearAlgebra):
    """An op over real matrices whose results are pairs; ``_OfPairs`` makes it one over pairs."""

    errors: str = "raise"
    kink = "equal eigenvalues, and their vectors, have no gradient each: it is NaN or infinite"
    has_vectors: ClassVar[bool] = False

    def scratch(self, dtype: DType, n: Size, room: Size) -> tuple[tuple[DType, Size], ...]:
        """Return the scratch in the order of the recipe."""
        rows = ((dtype, n * n),) * self.has_vectors
        return (dtype, n * n), (dtype, n), (dtype, n), *rows, (dtype, room)

    def form(self, *types: TensorType) -> Form:
        x = types[-1]
        batch, n = self.square(x)
        room: Size = 34 * n + 1  # LAPACK works on blocks of 32 columns
        flops = (25 if self.has_vectors else 10) * n * n * n
        return self.call_form(x.dtype, batch, (n, room), flops, self.scratch(x.dtype, n, room))

    def of_operand(self, ct: Any) -> Any:
        """Return the cotangent of the operand, as it is stored, of that of a complex matrix."""
        return ct.real

    def vectors(self, x: Any) -> Any:
        """Return eigenvalues and eigenvectors."""
        return Eig(self.errors)(x)


class Eig(_OfAnyMatrix, name="eig"):
    """Eigenvalues w and eigenvectors, in the rows of V, with x @ V.T = V.T * w.

    Each has a 2-norm of 1, and its largest element is real. Derivative: Giles, Collected matrix
    derivative results, 2008, section 3.1, of losses that do not depend on the phases of vectors.
    """

    routine = "eig"
    has_vectors = True

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        self.check(x)
        batch, n = self.square(x)
        return x.with_shape((*batch, n, 2)), x.with_shape((*batch, n, n, 2))

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Differentiate eigenvalues and eigenvectors of a complex Hermitian matrix."""
        values, rows = map(as_complex, out)
        middle = on_diagonal(as_complex(ct[0])) if is_given(ct[0]) else None
        if is_given(ct[1]):
            turned = conj(rows @ adjoint(as_complex(ct[1])))
            # lengths stay 1
            along = conj(rows @ adjoint(rows)) * as_columns(diagonal_of(turned).real)
            turned = conj(inverse_gaps(values)) * (turned - along)
            middle = turned if middle is None else middle + turned
        return (ZERO,) if middle is None else (self.of_operand(_of_basis(middle, rows)),)


def _of_basis(middle: Any, rows: Any) -> Any:
    """V^-H @ middle @ V^H, of the eigenvectors that are rows."""
    left = conj(rows)
    lu, permutation, _ = LU()(left)
    return LUSolve(False, "nan")(lu, permutation, middle @ left)


class Eigvals(_OfAnyMatrix, name="eigvals"):
    """Eigenvalues w of square matrices."""

    routine = "eigvals"

    def infer(self, x: TensorType) -> TensorType:
        self.check(x)
        batch, n = self.square(x)
        return x.with_shape((*batch, n, 2))

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Differentiate complex eigenvectors: each takes the cotangent of the nearest eigenvalue.

        Of large matrices LAPACK finds values in another order when it finds vectors, too.
        """
        values, rows = map(as_complex, self.vectors(x))
        distances = absolute(as_rows(values) - as_columns(as_complex(out)))
        is_nearest = argsort(argsort(distances, -1), -1) == 0
        nearest_ct = where(
            is_nearest, as_columns(as_complex(ct)), np.zeros((), distances.dtype.numpy)
        )
        by_values = sum_over(nearest_ct, (distances.ndim - 1,))
        return (self.of_operand(_of_basis(on_diagonal(by_values), rows)),)


class _OfPairs(_OfAnyMatrix):
    """The same over pairs."""

    def square(self, x: TensorType) -> tuple[Shape, Size]:
        return super().square(without_parts(self, x))

    def scratch(self, dtype: DType, n: Size, room: Size) -> tuple[tuple[DType, Size], ...]:
        return (dtype, 2 * n * n), (dtype, 2 * room), (dtype, 2 * n)

    def of_operand(self, ct: Any) -> Any:
        return join_parts(ct)

    def vectors(self, x: Any) -> Any:
        return ComplexEig(self.errors)(x)


class ComplexEig(_OfPairs, Eig, name="complex_eig"):
    """Eigenvalues and eigenvectors of complex matrices."""

    routine = "complex_eig"


class ComplexEigvals(_OfPairs, Eigvals, name="complex_eigvals"):
    """Eigenvalues of complex matrices."""

    routine = "complex_eigvals"


Complex.readings[Eig] = lambda op, x: tuple(map(as_complex, ComplexEig(op.errors)(join_parts(x))))
Complex.readings[Eigvals] = lambda op, x: as_complex(ComplexEigvals(op.errors)(join_parts(x)))


def of_adjoints(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Adapt a ``custom_vjp`` rule written for real ops to complex ones: conjugate transposes.

    Cotangents of ops are dL/dre + i dL/dim, those of ``custom_vjp`` their conjugates, as in JAX.
    """

    @wraps(rule)
    def conjugate_rule(ct: Any, *args: Any) -> tuple[Any, ...]:
        shares = rule(conj(ct), *args)
        return tuple(None if share is None else conj(share) for share in shares)

    return conjugate_rule
