"""Factorizations of matrices, and determinants by cofactors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import chain
from operator import mul
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.families import like
from staticgrad.functions.linalg.matrices import checked_errors, matrices
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.custom import CustomFunction, custom_vjp
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.indexing import part
from staticgrad.ops.linalg import (
    LU,
    QR,
    SVD,
    Cholesky,
    Eigh,
    EigvalsH,
    SVDVals,
    adjoint,
    by_place,
    smaller,
)
from staticgrad.records import NamedTuple
from staticgrad.types.dtype import F64


class QRResult(NamedTuple):
    """Q with orthonormal columns and R upper triangular."""

    Q: Any
    R: Any


class EighResult(NamedTuple):
    """Ascending eigenvalues, and the eigenvectors in columns."""

    eigenvalues: Any
    eigenvectors: Any


class SVDResult(NamedTuple):
    """U, descending singular values S, and Vh."""

    U: Any
    S: Any
    Vh: Any


class LUResult(NamedTuple):
    """P (a matrix, or indices), L with ones on its diagonal, and U."""

    P: Any
    L: Any
    U: Any


def cholesky(a: Operand[AnyValue], *, upper: bool = False, errors: str = "raise") -> AnyValue:
    """The lower triangular L with L @ L.T = a, of symmetric positive definite matrices.

    Args:
        a: matrices [..., n, n] of float32 or float64. Only the lower triangle is read, and
            the gradient is that of its elements: 0 above the diagonal.
        upper: the upper triangular U with U.T @ U = a, of the upper triangle.
        errors: "raise", or "nan": matrices that are not positive definite give NaN.

    Raises:
        LinearAlgebraError: in the run, a matrix that is not positive definite.

    >>> sg.evaluate(sg.linalg.cholesky([[4.0, 0.0], [0.0, 9.0]]))
    array([[2., 0.],
           [0., 3.]])
    """
    value = matrices("cholesky", a)
    op = Cholesky(checked_errors("cholesky", errors))
    return adjoint(op(adjoint(value))) if upper else op(value)


def qr(a: Operand[AnyValue], mode: str = "reduced") -> Any:
    """Q with orthonormal columns and R upper triangular, with Q @ R = a.

    There is a derivative where the first k columns do not depend on each other (elsewhere it is
    infinite or NaN), of a complete Q where m <= n.

    Args:
        a: matrices [..., m, n] of float32 or float64, k = min(m, n).
        mode: "reduced" (Q [..., m, k], R [..., k, n]), "complete" (Q [..., m, m], R [..., m, n]) or
            "r" (R alone).

    Returns:
        The pair (Q, R), or R.

    >>> q, r = sg.linalg.qr([[3.0, 1.0], [4.0, 2.0]])
    >>> sg.evaluate(q @ r).round(6)
    array([[3., 1.],
           [4., 2.]])
    """
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(
            f"qr: mode={mode!r}",
            hint="'reduced', 'complete' or 'r': Householder vectors are not given",
        )
    found: Any = QR(mode == "complete")(matrices("qr", a))
    return found[1] if mode == "r" else QRResult(*found)


def _lower_of(op: str, a: Operand[AnyValue], uplo: str) -> AnyValue:
    if uplo not in ("L", "U", "l", "u"):
        raise ArgumentError(f"{op}: UPLO={uplo!r} is neither 'L' nor 'U'")
    value = matrices(op, a)
    return value if uplo in "Ll" else adjoint(value)


def eigh(a: Operand[AnyValue], UPLO: str = "L", *, errors: str = "raise") -> EighResult:  # noqa: N803
    """Ascending eigenvalues w and eigenvectors V of symmetric matrices: a @ V = V * w.

    The sign of an eigenvector is LAPACK's choice. Vectors of equal eigenvalues are not unique, and
    their gradient is NaN or infinite; that of the values alone is not (``eigvalsh``).

    Args:
        a: matrices [..., n, n] of float32 or float64; only the triangle ``UPLO`` is read, and
            the gradient is that of its elements.
        UPLO: "L" or "U".
        errors: "raise", or "nan": matrices that hold NaN give NaN.

    Returns:
        A named pair: ``eigenvalues`` [..., n] and ``eigenvectors`` [..., n, n], as columns.

    Raises:
        LinearAlgebraError: in the run, no convergence, as of NaN.

    >>> found = sg.linalg.eigh([[2.0, 1.0], [1.0, 2.0]])
    >>> sg.evaluate(found.eigenvalues).round(6)
    array([1., 3.])
    """
    found: Any = Eigh(checked_errors("eigh", errors))(_lower_of("eigh", a, UPLO))
    return EighResult(found[0], adjoint(found[1]))


@like(eigh)
def eigvalsh(a: Operand[AnyValue], UPLO: str = "L", *, errors: str = "raise") -> AnyValue:  # noqa: N803
    """Ascending eigenvalues of symmetric matrices; their gradients are finite where some are equal.

    Returns:
        The eigenvalues [..., n].

    >>> sg.evaluate(sg.linalg.eigvalsh([[2.0, 1.0], [1.0, 2.0]])).round(6)
    array([1., 3.])
    """
    return EigvalsH(checked_errors("eigvalsh", errors))(_lower_of("eigvalsh", a, UPLO))


def svd(
    a: Operand[AnyValue],
    full_matrices: bool = True,
    compute_uv: bool = True,
    hermitian: bool = False,
    *,
    errors: str = "raise",
) -> Any:
    """Compute U, descending singular values S and Vh, with (U * S) @ Vh = a.

    The gradients of U and Vh are NaN or infinite where singular values are equal, or one is 0; that
    of S alone is not (``svdvals``). Full bases have a gradient where m = n, S always.

    Args:
        a: matrices [..., m, n] of float32 or float64, k = min(m, n).
        full_matrices: U [..., m, m] and Vh [..., n, n]; else U [..., m, k] and Vh [..., k, n].
        compute_uv: False gives S alone.
        hermitian: a is symmetric; only its lower triangle is read; uses its eigenvalues.
        errors: "raise", or "nan": matrices that hold NaN give NaN.

    Returns:
        A named triple: ``U``, ``S`` [..., k] and ``Vh``; or S alone.

    Raises:
        LinearAlgebraError: in the run, no convergence, as of NaN.

    >>> u, s, vh = sg.linalg.svd([[0.0, 2.0], [3.0, 0.0]])
    >>> sg.evaluate([s, (u * s) @ vh])
    [array([3., 2.]), array([[0., 2.],
           [3., 0.]])]
    """
    if not compute_uv:
        return _symmetric_values(a, errors) if hermitian else svdvals(a, errors=errors)
    if hermitian:
        return _symmetric(a, errors)
    op = SVD(bool(full_matrices), checked_errors("svd", errors))
    found: Any = op(matrices("svd", a))
    return SVDResult(*found)


@like(svd)
def svdvals(x: Operand[AnyValue], /, *, errors: str = "raise") -> AnyValue:
    """Descending singular values of matrices; their gradients are finite where some are equal.

    Args:
        x: matrices [..., m, n] of float32 or float64.

    Returns:
        The singular values [..., min(m, n)].

    >>> sg.evaluate(sg.linalg.svdvals([[0.0, 2.0], [3.0, 0.0]]))
    array([3., 2.])
    """
    return SVDVals(checked_errors("svdvals", errors))(matrices("svdvals", x))


def _symmetric_values(a: Operand[AnyValue], errors: str) -> AnyValue:
    values = functions.absolute(eigvalsh(a, errors=errors))
    return functions.sort(values, -1, descending=True)


def _symmetric(a: Operand[AnyValue], errors: str) -> SVDResult:
    values, vectors = eigh(a, errors=errors)
    order = functions.argsort(functions.absolute(values), -1, descending=True)
    values = functions.take_along_axis(values, order, -1)
    columns = functions.broadcast_to(functions.expand_dims(order, -2), vectors.shape)
    u = functions.take_along_axis(vectors, columns, -1)
    one = np.ones((), values.dtype.numpy)
    sign = functions.where(values < 0.0, -one, one)
    return SVDResult(u, functions.absolute(values), adjoint(u * functions.expand_dims(sign, -2)))


def lu(a: Operand[AnyValue], *, p_indices: bool = False) -> LUResult:
    """P, L and U with P @ L @ U = a: rows are exchanged so that pivots are large.

    As ``scipy.linalg.lu``. L [..., m, k] has ones on its diagonal, U [..., k, n], k = min(m, n).

    Args:
        a: matrices [..., m, n] of float32 or float64. A singular one has a 0 in the diagonal
            of U, and no derivative.
        p_indices: P as indices of rows: L[p] @ U = a.

    Returns:
        A triple (P, L, U).

    >>> p, l, u = sg.linalg.lu([[0.0, 2.0], [3.0, 0.0]])
    >>> sg.evaluate([p, l @ u])
    [array([[0., 1.],
           [1., 0.]]), array([[3., 0.],
           [0., 2.]])]
    """
    value = matrices("lu", a)
    found: Any = LU()(adjoint(value))  # of the transpose, columns exchanged
    packed, permutation = adjoint(found[0]), found[1]
    m, n = value.shape[-2:]
    k, last = smaller(m, n), packed.ndim - 1
    rows, columns = (functions.iota((m, k), axis, like=value) for axis in (0, 1))
    unit = functions.astype(rows == columns, value.dtype)
    lower = by_place(part(packed, last, 0, k), 1.0, 0.0, 0.0) + unit
    upper = by_place(part(packed, last - 1, 0, k), 0.0, 1.0, 1.0)
    if p_indices:
        return LUResult(functions.argsort(permutation, -1), lower, upper)
    place = functions.iota((m, m), 0, like=value)
    matrix = functions.astype(place == functions.expand_dims(permutation, -2), value.dtype)
    return LUResult(matrix, lower, upper)


#: Rows are divided by the square of one of these, chosen by their largest entry: of (border, root)
#: the first whose border it is below. Then it is below 2**224 and, but for denormals, from 2**-222
#: on: no product of three entries over- or underflows.
_ROOTS: Final = ((-600, -400), (-200, -200), (200, 0), (600, 200), (1024, 400))

Rows = Sequence[Sequence[Any]]


def small_det(a: Any) -> Any:
    """The determinants of matrices [..., n, n], n from 1 to 3, in their dtype.

    Those whose products of three entries are in the range of float64 need no scaling.
    """
    rows = functions.unstack(functions.astype(a, "float64"), -2)
    entries = [functions.unstack(row, -1) for row in rows]
    if 3 * a.dtype.bias > F64.bias and len(rows) > 1:
        return _SCALED[len(rows)](*chain(*entries))
    return functions.astype(_along_first_row(entries), a.dtype)


def _along_first_row(rows: Rows) -> Any:
    if len(rows) == 1:
        return rows[0][0]
    if len(rows) == 2:
        return rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
    first, second, third = (
        entry * _along_first_row(_minor(rows, 0, column)) for column, entry in enumerate(rows[0])
    )
    return first - second + third


def _minor(rows: Rows, row: int, column: int) -> Rows:
    return [[*r[:column], *r[column + 1 :]] for number, r in enumerate(rows) if number != row]


def _scaled(n: int) -> CustomFunction:
    """The determinant of n * n entries in float64, as a function with the rule of its gradient."""

    @custom_vjp(name=f"staticgrad.det_of_{n}_rows")
    def determinant(*entries: Any) -> Any:
        rows = _rows(entries, n)
        roots = [_root(row) for row in rows]
        scales = [1.0 / (root * root) for root in roots]
        pairs = zip(rows, scales, strict=True)
        found = _along_first_row([[entry * scale for entry in row] for row, scale in pairs])
        # Squares may be out of range where the determinant is not, roots are not. Where it is 0,
        # and rows are large, theirs must be finite.
        back = functions.minimum(reduce(mul, roots), 2.0**1023)
        return found * back * back

    @determinant.rule
    def _(ct: Any, out: Any, *entries: Any) -> tuple[Any, ...]:
        rows = _rows(entries, n)
        smaller = _SCALED[n - 1] if n > 2 else lambda entry: entry
        return tuple(
            (-ct if (i + j) % 2 else ct) * smaller(*chain(*_minor(rows, i, j)))
            for i in range(n)
            for j in range(n)
        )

    return determinant


def _rows(entries: Sequence[Any], n: int) -> Rows:
    return [entries[n * row : n * (row + 1)] for row in range(n)]


def _root(row: Sequence[Any]) -> Any:
    size = reduce(functions.maximum, map(functions.absolute, row))
    root: Any = np.float64(2.0 ** _ROOTS[-1][1])
    for border, power in _ROOTS[-2::-1]:
        root = functions.where(size < 2.0**border, np.float64(2.0**power), root)
    return root


_SCALED: Final = {n: _scaled(n) for n in (2, 3)}
