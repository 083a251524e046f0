"""Schur, Hessenberg and LDL forms, and eigenvalues of banded matrices, as in ``scipy.linalg``."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from staticgrad.errors import ArgumentError, RankError
from staticgrad.extend import AnyValue, ArrayLike, called_name, floating, promoted_values
from staticgrad.extend.functions import abs_square, real
from staticgrad.extend.loops import fori_loop
from staticgrad.extend.ops import (
    argsort,
    broadcast_to,
    conj,
    flip,
    iota,
    logical_or,
    part,
    sqrt,
    take_along_axis,
    where,
    with_zeros,
)
from staticgrad.functions import aggregate
from staticgrad.language.ops.linalg import (
    LDL,
    adjoint,
    as_columns,
    as_rows,
    beside_diagonal,
    by_place,
    diagonal_of,
    on_diagonal,
)
from staticgrad.language.ops.schur import Schur
from staticgrad.linalg.matrices import (
    Errors,
    eigh,
    eigvalsh,
    identity_like,
    matrices,
    squares,
)
from staticgrad.linalg.structured import from_bands

#: SciPy's words for the eigenvalues that come first: negative real parts, others, and by modulus.
_SORTS: Final = {None: 0, "lhp": 1, "rhp": 2, "iuc": 3, "ouc": 4}
Select = Literal["a", "i"]


def schur(
    a: ArrayLike[AnyValue],
    output: Literal["real", "complex", "r", "c"] = "real",
    sort: Literal["lhp", "rhp", "iuc", "ouc"] | None = None,
    *,
    errors: Errors = "raise",
) -> Any:
    """Schur form T and unitary Z with Z @ T @ conj(Z).T = a.

    T is upper triangular; the real form of a real matrix has a block of two rows for each pair of
    conjugate eigenvalues. The gradient is NaN or infinite where eigenvalues are equal, and of a
    complex form it is that of losses that do not depend on the phases of Z's columns.

    Args:
        a: real or complex matrices [..., n, n].
        output: "complex" for the complex form of real matrices.
        sort: eigenvalues that come first: "lhp" with a negative real part, "rhp" others, "iuc" in
            the unit circle, "ouc" outside of it.
        errors: "raise", or "nan": matrices that hold NaN give NaN.

    Returns:
        The pair (T, Z); with ``sort`` (T, Z, count), the number of those that come first.

    Raises:
        ArgumentError: another ``sort``, as a function of Python's.
        LinearAlgebraError: in the run, no convergence, as of NaN.

    >>> t, z = sg.linalg.schur([[0.0, 2.0], [2.0, 0.0]])
    >>> abs(z @ t @ z.T).round(3)
    array([[0., 2.],
           [2., 0.]])
    """
    value = squares(matrices(a))
    if output[0] == "c" and not value.dtype.is_complex:
        value = value + 0j
    factors: Any = Schur(_SORTS[sort], errors)(value)
    t, z, count = factors
    return (t, z) if sort is None else (t, z, count)


def rsf2csf(T: ArrayLike[AnyValue], Z: ArrayLike[AnyValue]) -> Any:  # noqa: N803
    """Complex Schur form of a real one: the pair (T, Z), triangular and unitary.

    >>> t, z = sg.linalg.rsf2csf([[0.0, 2.0], [-2.0, 0.0]], np.eye(2))
    >>> sg.linalg.diagonal(t).round(3)
    array([0.+2.j, 0.-2.j])
    """
    turned, rotation = schur(T, "complex")
    return turned, matrices(Z) @ rotation


class Reflection(NamedTuple):
    """A Householder reflection I - factor v vᴴ of vectors, as LAPACK's ``larfg`` has it.

    Attributes:
        vector: v, with zeros above the element that it keeps, which is 1.
        factor: tau, with an axis of size 1; 0 where the vector has that form already.
        first: the element that is kept, with an axis of size 1.
    """

    vector: Any
    factor: Any
    first: Any


def reflect_column(column: Any, k: Any) -> Reflection:
    """Return the adjoint reflection that makes elements behind element ``k`` of vectors zero."""
    place = iota(column.shape[-1:], like=column)
    below = where(place > k, column, 0.0)
    first = aggregate.sum(where(place == k, column, 0.0), -1, keepdims=True)
    square_below = aggregate.sum(abs_square(below), -1, keepdims=True)
    reflects = square_below > 0.0
    if column.dtype.is_complex:
        reflects = logical_or(reflects, first.imag != 0.0)
    size = sqrt(where(reflects, square_below + abs_square(first), 1.0))
    size = where(real(first) >= 0.0, -size, size)
    vector = where(place == k, 1.0, below / where(reflects, first - size, 1.0))
    factor = where(reflects, (size - first) / size, 0.0)
    return Reflection(vector, factor, where(reflects, size, first))


def hessenberg(a: ArrayLike[AnyValue], calc_q: bool = False) -> Any:
    """Hessenberg form H of square matrices, with zeros below the first subdiagonal.

    By Householder reflections, as LAPACK's. Derivatives are those of the reflections; they are NaN
    where a column is zero already.

    Args:
        a: real or complex matrices [..., n, n].
        calc_q: return the pair (H, Q) with Q @ H @ conj(Q).T = a.

    >>> a = [[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [4.0, 5.0, 6.0]]
    >>> sg.linalg.hessenberg(a).round(3)
    array([[ 1.  , -3.6 ,  0.2 ],
           [-5.  ,  7.56,  0.08],
           [ 0.  , -2.92, -0.56]])
    """
    value = squares(matrices(a))
    n = value.shape[-1]
    row, column = _places(value)

    def step(k: Any, carry: Any) -> Any:
        """Apply one Householder reflection of the Hessenberg reduction."""
        h, q = carry
        last = aggregate.sum(where(column == k, h, 0.0), -1)
        reflection = reflect_column(last, k + 1)
        vector, tau = reflection.vector, as_rows(reflection.factor)
        column_vector, row_vector = as_rows(vector), conj(as_columns(vector))
        h = h - conj(tau) * (column_vector @ (row_vector @ h))
        h = h - tau * ((h @ column_vector) @ row_vector)
        return h, q - tau * ((q @ column_vector) @ row_vector)

    # The last one of a complex matrix makes one element real.
    steps = n - 1 if value.dtype.is_complex else n - 2
    steps = max(steps, 0) if isinstance(n, int) else steps
    h, q = fori_loop(0, steps, step, (value, identity_like(value)))
    h = where(row > column + 1, 0.0, h)
    return (h, q) if calc_q else h


def _places(x: Any) -> tuple[Any, Any]:
    """Return the row numbers and the column numbers of matrices."""
    return iota(x.shape[-2:], 0, like=x), iota(x.shape[-2:], 1, like=x)


def ldl(A: ArrayLike[AnyValue], lower: bool = True, hermitian: bool = True) -> Any:
    """LDL factors of symmetric or Hermitian matrices, which need not be definite: (lu, d, perm).

    lu @ d @ conj(lu).T = A, where d has blocks of one or two rows on its diagonal, and lu[perm] is
    triangular with a diagonal of ones. By Bunch's and Kaufman's pivoting; the derivative is that of
    the pivots that were taken.

    Args:
        A: real or complex matrices [..., n, n]; only one triangle is read.
        lower: which triangle that is, and of what kind lu[perm] is.
        hermitian: a complex matrix is Hermitian; others are not supported.

    Raises:
        ArgumentError: ``hermitian=False`` of complex matrices.

    >>> lu, d, perm = sg.linalg.ldl([[2.0, 1.0], [1.0, -3.0]])
    >>> (lu @ d @ lu.T).round(3)
    array([[ 2.,  1.],
           [ 1., -3.]])
    """
    value = squares(matrices(A))
    if value.dtype.is_complex and not hermitian:
        raise ArgumentError(
            "ldl: complex symmetric matrices are not supported",
            hint="sg.linalg.lu(a) has factors of any matrix",
        )
    rows, columns = value.ndim - 2, value.ndim - 1

    def flip_if_upper(x: Any) -> Any:
        return x if lower else flip(flip(x, rows), columns)

    factors: Any = LDL()(flip_if_upper(value))
    packed, subdiagonal, order = factors
    factor = by_place(packed, 1.0, 0.0, 0.0) + identity_like(packed)
    inverse_order = broadcast_to(as_rows(argsort(order, -1)), factor.shape)
    below = beside_diagonal(broadcast_to(as_columns(subdiagonal), value.shape), -1)
    d = on_diagonal(diagonal_of(packed)) + below + adjoint(below)
    if not lower:
        order = value.shape[-1] - 1 - flip(order, order.ndim - 1)
    return flip_if_upper(take_along_axis(factor, inverse_order, -2)), flip_if_upper(d), order


# -- eigenvalues of banded matrices ---------------------------------------------------------------


def _select(values: Any, select: str, select_range: Any, axis: int = -1) -> Any:
    """Return the selected eigenvalues, or vectors as columns."""
    if select == "a":
        return values
    first, last = map(int, select_range)
    return part(values, values.ndim + axis, first, last - first + 1)


def _tridiagonal(d: Any, e: Any) -> Any:
    """Make the lower triangle of symmetric tridiagonal matrices from diagonals."""
    main, off_diagonal = (floating(diagonal) for diagonal in promoted_values((d, e)))
    if main.ndim < 1 or off_diagonal.ndim != main.ndim:
        raise RankError(f"{called_name()}: takes vectors d [n] and e [n - 1]")
    ends = [(0, 0)] * (off_diagonal.ndim - 1) + [(0, 1)]
    whole_row: Any = with_zeros(off_diagonal, ends)
    below = beside_diagonal(broadcast_to(as_columns(whole_row), (*main.shape, main.shape[-1])), -1)
    return on_diagonal(main) + below


def eigh_tridiagonal(
    d: ArrayLike[AnyValue],
    e: ArrayLike[AnyValue],
    eigvals_only: bool = False,
    select: Select = "a",
    select_range: Any = None,
) -> Any:
    """Ascending eigenvalues w and eigenvectors V of symmetric tridiagonal matrices; as ``eigh``.

    Args:
        d, e: the diagonal [..., n] and what is beside it [..., n - 1].
        eigvals_only: return w alone.
        select: "i" gives those whose numbers are from ``select_range[0]`` to ``select_range[1]``,
            both included.

    Raises:
        ArgumentError: ``select="v"``: how many there are depends on values.

    >>> w, v = sg.linalg.eigh_tridiagonal([2.0, 2.0], [1.0])
    >>> w.round(3)
    array([1., 3.])
    """
    return _solve_eigenproblem(_tridiagonal(d, e), eigvals_only, select, select_range)


def _solve_eigenproblem(lower: Any, eigvals_only: bool, select: str, select_range: Any) -> Any:
    if eigvals_only:
        return _select(eigvalsh(lower), select, select_range)
    w, v = eigh(lower)
    return tuple(_select(x, select, select_range) for x in (w, v))


def eigvalsh_tridiagonal(
    d: ArrayLike[AnyValue],
    e: ArrayLike[AnyValue],
    select: Select = "a",
    select_range: Any = None,
) -> AnyValue:
    """Ascending eigenvalues of symmetric tridiagonal matrices; arguments of ``eigh_tridiagonal``.

    >>> sg.linalg.eigvalsh_tridiagonal([2.0, 2.0, 2.0], [1.0, 1.0], "i", (1, 1)).round(3)
    array([2.])
    """
    eigenvalues: Any = _solve_eigenproblem(_tridiagonal(d, e), True, select, select_range)
    return eigenvalues


def eig_banded(
    a_band: ArrayLike[AnyValue],
    lower: bool = False,
    eigvals_only: bool = False,
    select: Select = "a",
    select_range: Any = None,
) -> Any:
    """Ascending eigenvalues w and eigenvectors V of a symmetric matrix, given by its diagonals.

    Args:
        a_band: the upper or ``lower`` diagonals, as rows: those of ``solveh_banded``.
        lower, eigvals_only, select, select_range: as of ``eigh_tridiagonal``.

    >>> w, v = sg.linalg.eig_banded([[0.0, 1.0], [2.0, 2.0]])
    >>> w.round(3)
    array([1., 3.])
    """
    value = matrices(a_band)
    if value.ndim != 2:
        raise RankError(f"{called_name()}: {value.type} is not one matrix's diagonals")
    half: Any = from_bands(value, 0 if lower else value.shape[0] - 1)
    return _solve_eigenproblem(half if lower else adjoint(half), eigvals_only, select, select_range)


def eigvals_banded(
    a_band: ArrayLike[AnyValue],
    lower: bool = False,
    select: Select = "a",
    select_range: Any = None,
) -> AnyValue:
    """Ascending eigenvalues of a symmetric matrix given by its diagonals; as ``eig_banded``.

    >>> sg.linalg.eigvals_banded([[0.0, 1.0], [2.0, 2.0]]).round(3)
    array([1., 3.])
    """
    eigenvalues: Any = eig_banded(a_band, lower, True, select, select_range)
    return eigenvalues


def diagsvd(s: ArrayLike[AnyValue], M: int, N: int) -> Any:
    """Matrix [M, N] of singular values s, the middle factor of a full ``svd``.

    >>> sg.linalg.diagsvd([3.0, 1.0], 2, 3)
    array([[3., 0., 0.],
           [0., 1., 0.]])
    """
    value: Any = floating(s)
    size = value.shape[-1]
    if value.ndim != 1 or size != min(M, N):
        raise ArgumentError(f"diagsvd: {value.type} has not min({M}, {N}) elements")
    return with_zeros(on_diagonal(value), [(0, M - size), (0, N - size)])
