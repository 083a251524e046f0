"""Schur forms of real and of complex matrices, by LAPACK."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.language.ir.forms import Form
from staticgrad.language.ir.pairs import join_parts
from staticgrad.language.ops.arithmetic import conj
from staticgrad.language.ops.basic import sum_over
from staticgrad.language.ops.complex_linalg import ComplexEig, OfComplex, as_complex
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import ZERO, zeros_like_type
from staticgrad.language.ops.linalg import (
    LinearAlgebra,
    TriangularSolve,
    adjoint,
    as_columns,
    as_rows,
    beside_diagonal,
    by_place,
    diagonal_of,
    is_given,
    on_diagonal,
    reciprocal,
)
from staticgrad.language.ops.logic import logical_and
from staticgrad.language.ops.movement import broadcast_to, swapaxes
from staticgrad.language.ops.selection import where
from staticgrad.language.ops.transcendental import sqrt
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I32, I64, DType


class Schur(LinearAlgebra, name="schur"):
    """T, Z and a count with Z @ T @ Z.T = x: T upper triangular but for blocks of 2 rows.

    A block has the two conjugate eigenvalues of a pair. ``chosen``: 0, or which eigenvalues come
    first: those with a negative (1) or no negative (2) real part, within (3) or outside (4) of the
    unit circle; the count is theirs. Derivative: what Z turns by keeps zeros below the blocks, and
    equal numbers on the diagonal of each. In a basis of T's eigenvectors it is divided by their
    differences.
    """

    routine = "schur"
    kink = "equal eigenvalues have no gradient: it is NaN or infinite"
    chosen: int = 0
    errors: str = "raise"

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
        self.check(x)
        batch, _ = self.square(x)
        return x, x, TensorType(I64, batch)

    def form(self, *types: TensorType) -> Form:
        """Return the LAPACK call of a Schur decomposition."""
        batch, n = self.square(types[3])
        dtype = types[3].dtype
        room: Size = 34 * n + 1
        sizes = (n * n, n * n, n, n, room)
        scratch = tuple((dtype, size) for size in sizes)
        scratch = (*scratch, (I32, n), (I32, 2), (dtype, 1))
        return self.call_form(dtype, batch, (n, room, self.chosen), 25 * n * n * n, scratch)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Differentiate a Schur decomposition by the eigenvectors of T."""
        if not (is_given(ct[0]) or is_given(ct[1])):
            return (ZERO,)
        t, z, _ = out
        by_t = ct[0] if is_given(ct[0]) else zeros_like_type(t.type, x)
        by_turn = adjoint(t) @ by_t - by_t @ adjoint(t)
        if is_given(ct[1]):
            by_turn = by_turn + adjoint(z) @ ct[1]
        if not t.dtype.is_complex:
            within = on_diagonal(_equal_diagonal_cotangent(t, by_turn))
            by_t = by_t + within
            by_turn = by_turn + adjoint(t) @ within - within @ adjoint(t)
        below = _below_blocks(t, by_turn - adjoint(by_turn))
        values, right, left = _block_vectors(t)
        below = _below_blocks(t, adjoint(right) @ below @ adjoint(left))
        gaps = conj(reciprocal(as_rows(values) - as_columns(values)))
        by_values = adjoint(left) @ (gaps * below) @ adjoint(right)
        by_t = by_t - (by_values if t.dtype.is_complex else by_values.real)
        return (z @ by_t @ adjoint(z),)


def _below_blocks(t: Any, x: Any) -> Any:
    """Return the part of x below the diagonal and the blocks of t."""
    blocks = beside_diagonal(t, -1) != 0.0
    return where(blocks, np.zeros((), x.dtype.numpy), by_place(x, 1.0, 0.0, 0.0))


def _of_blocks(t: Any) -> tuple[Any, Any, Any]:
    """Below and above the diagonal of each block, at its first place, and where blocks begin."""
    below = sum_over(beside_diagonal(t, -1), (t.ndim - 2,))
    above = sum_over(beside_diagonal(t, 1), (t.ndim - 1,))
    return below, above, below != 0.0


def _to_second(firsts: Any) -> Any:
    """Vectors whose elements are moved to the next place."""
    size = (*firsts.shape, firsts.shape[-1])
    return sum_over(beside_diagonal(broadcast_to(as_columns(firsts), size), -1), (firsts.ndim,))


def _equal_diagonal_cotangent(t: Any, by_turn: Any) -> Any:
    """Return the diagonal's cotangent where a 2x2 block of T has equal diagonal elements."""
    below, above, begins = _of_blocks(t)
    turned = beside_diagonal(by_turn - adjoint(by_turn), -1)
    total = below + above
    begins = logical_and(begins, total != 0.0)  # others are equal, whichever way they are turned
    share = sum_over(turned, (t.ndim - 2,)) / where(begins, -2.0 * total, 1.0)
    share = where(begins, share, np.zeros((), t.dtype.numpy))
    return share - _to_second(share)


def _block_vectors(t: Any) -> tuple[Any, Any, Any]:
    """Return T's eigenvalues in order, its eigenvectors as columns, and their inverse.

    A block becomes triangular by a unitary matrix. LAPACK leaves the order of the eigenvalues of a
    triangular matrix, and its eigenvectors are triangular.
    """
    unitary = None
    if not t.dtype.is_complex:
        below, above, begins = _of_blocks(t)
        size = sqrt(where(begins, -below * above, 1.0))
        length = sqrt(where(begins, above * above, 0.0) + size * size)
        cosine = where(begins, above / length, 1.0)
        sine = where(begins, size / length, np.zeros((), t.dtype.numpy))
        ends = _to_second(astype(begins, t.dtype)) != 0.0
        cosine = where(ends, _to_second(cosine), cosine)
        sine = beside_diagonal(broadcast_to(as_columns(sine), t.shape), -1)
        unitary = on_diagonal(cosine) + 1j * (sine + adjoint(sine))
        t = adjoint(unitary) @ t @ unitary
    triangle = by_place(t, 0.0, 1.0, 1.0)
    rows = as_complex(ComplexEig("nan")(join_parts(triangle))[1])
    right, values = swapaxes(rows, -1, -2), diagonal_of(triangle)
    unit = on_diagonal(values * 0.0 + 1.0)
    left = TriangularSolve(lower=False, errors="nan")(
        right, unit if unitary is None else adjoint(unitary)
    )
    return values, right if unitary is None else unitary @ right, left


class ComplexSchur(OfComplex, Schur):
    """Schur forms of complex matrices, upper triangular.

    The derivative is of losses that do not depend on the phases of Z's columns.
    """

    def reals(self, dtype: DType, sizes: tuple[Size, ...]) -> tuple[tuple[DType, Size], ...]:
        return ((dtype, sizes[0]),)
