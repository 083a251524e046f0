"""Linear algebra: solutions, factorizations, determinants, norms, structured matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import chain
from operator import mul
from typing import Any, Final, Literal

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    Axes,
    BroadcastError,
    Integer,
    NamedTuple,
    Shape,
    Size,
    as_value,
    broadcast_shapes,
    called_name,
    check_equal,
    describe_operands,
    floating,
    kind_of,
    like,
    ops,
    product,
    promoted_values,
    rounded_once,
    shape_text,
    sizes as dims,
)
from staticgrad.extend.derivatives import CustomFunction, custom_vjp
from staticgrad.extend.dtypes import F64, I64
from staticgrad.extend.functions import (
    abs_square,
    eye,
    zeros,
    zeros_like,
)
from staticgrad.extend.loops import while_loop
from staticgrad.extend.ops import (
    absolute,
    argsort,
    astype,
    broadcast_to,
    ceil,
    concatenate,
    conj,
    exp,
    exp2,
    expand_dims,
    iota,
    log2,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    moveaxis,
    part,
    reached_end,
    reshape,
    size_value,
    sort,
    squeeze,
    stop_gradient,
    take,
    take_along_axis,
    where,
)
from staticgrad.extend.parameters import pair
from staticgrad.functions import aggregate, products, statistics
from staticgrad.functions.arrange import pad
from staticgrad.functions.indexing import matrix_transpose, unstack
from staticgrad.functions.statistics import count_nonzero, norm_of_matrices, prod
from staticgrad.language.ops.complex_linalg import Eig, Eigvals, as_complex, of_adjoints
from staticgrad.language.ops.linalg import (
    LU,
    QR,
    SVD,
    Cholesky,
    Eigh,
    EigvalsH,
    LUSolve,
    SVDVals,
    TriangularSolve,
    TridiagonalSolve,
    adjoint,
    as_rows,
    by_place,
    diagonal_of,
    mirror_lower,
)

#: What a run does where a matrix has no result: raise an error, or give NaN.
Errors = Literal["raise", "nan"]
#: The triangle of a symmetric matrix that is read.
Triangle = Literal["L", "U", "l", "u"]

#: The structure of a matrix, by SciPy's names.
Structure = Literal[
    "general", "gen", "symmetric", "sym", "hermitian", "her", "positive definite", "pos",
    "upper triangular", "lower triangular", "diagonal", "tridiagonal", "banded",
]  # fmt: skip
#: Short names, and structures that are solved like general matrices.
_STRUCTURES: Final[dict[str | None, str | None]] = {
    "general": None, "gen": None, "banded": None,
    "sym": "symmetric", "her": "hermitian", "pos": "positive definite",
}  # fmt: skip


class SlogdetResult(NamedTuple):
    """The sign of a determinant, and the logarithm of its magnitude."""

    sign: Any
    logabsdet: Any


class LstsqResult(NamedTuple):
    """The solution, the sums of squared residuals, the rank of a and its singular values."""

    x: Any
    residuals: Any
    rank: Any
    s: Any


def _make_solver(transposed: bool, errors: str) -> CustomFunction:
    """Make a solver a^-1 b (or transposed) by LU factors, with cotangents of a and b."""
    name = f"staticgrad.solve{'_transposed' * transposed}_{errors}"

    @custom_vjp(name=name)
    def solve_with_factors(a: Any, b: Any, lu: Any, permutation: Any) -> Any:
        return LUSolve(transposed, errors)(lu, permutation, b)

    @solve_with_factors.rule
    @of_adjoints
    def _(ct: Any, out: Any, a: Any, b: Any, lu: Any, permutation: Any) -> tuple[Any, ...]:
        by_b = SOLVERS[not transposed, "nan"](a, ct, lu, permutation)
        by_a = out @ adjoint(by_b) if transposed else by_b @ adjoint(out)
        return -by_a, by_b, None, None

    return solve_with_factors


SOLVERS: Final = {
    (transposed, errors): _make_solver(transposed, errors)
    for transposed in (False, True)
    for errors in ("raise", "nan")
}


@custom_vjp(name="staticgrad.solve_by_cholesky")
def _solve_by_cholesky(a: Any, b: Any, factor: Any) -> Any:
    """Solve a @ x = b by the Cholesky factor of a, with cotangents of a and b."""
    half = TriangularSolve(errors="nan")(factor, b)
    return TriangularSolve(transposed=True, errors="nan")(factor, half)


@_solve_by_cholesky.rule
@of_adjoints
def _(ct: Any, out: Any, a: Any, b: Any, factor: Any) -> tuple[Any, ...]:
    by_b: Any = _solve_by_cholesky(a, ct, factor)
    return -(by_b @ adjoint(out)), by_b, None


@custom_vjp(name="staticgrad.det")
def _determinant(a: Any, lu: Any, permutation: Any, swaps: Any) -> Any:
    pivots = diagonal_of(lu)
    # A pivot of 0 beside others whose product overflows: 0, not NaN.
    finite = aggregate.all(ops.isfinite(pivots), -1)
    vanishes = logical_and(finite, aggregate.any(pivots == 0.0, -1))
    return where(vanishes, 0.0, prod(pivots, -1) * _parity(lu, swaps))


@_determinant.rule
@of_adjoints
def _(ct: Any, out: Any, a: Any, *factors: Any) -> tuple[Any, ...]:
    return as_rows(as_rows(ct)) * _cofactors(a, *factors), None, None, None


@custom_vjp(name="staticgrad.cofactors")
def _cofactors(a: Any, lu: Any, permutation: Any, swaps: Any) -> Any:
    """Compute cofactor matrices det(a) a^-H, also of singular matrices.

    Of a pivot that is 0 a number is taken whose square root is nothing beside the largest element:
    of the product of a determinant and an inverse, which have it and its inverse, nothing remains
    of it. Of two such pivots, where the rank is less by two, a number near 0 remains.
    """
    size = aggregate.max(absolute(a), (-2, -1), keepdims=True, initial=0.0)
    eps = float(np.finfo(size.dtype.numpy).eps)
    least = where(size > 0.0, size, 1.0) * (eps * eps)
    row, column = (iota(a.shape[-2:], axis, like=a) for axis in (0, 1))
    lacking = logical_and(row == column, lu == 0.0)
    lu = where(lacking, astype(least, lu.dtype), lu)
    value = prod(diagonal_of(lu), -1) * _parity(lu, swaps)
    inverse = LUSolve(True, "nan")(lu, permutation, identity_like(a))
    return where(inverse == 0.0, 0.0, as_rows(as_rows(conj(value))) * inverse)  # not inf * 0


@_cofactors.rule
@of_adjoints
def _(ct: Any, out: Any, a: Any, lu: Any, permutation: Any, swaps: Any) -> tuple[Any, ...]:
    """Differentiate det(a) a⁻¹; NaN where ``a`` is singular and has no inverse."""
    lacking = aggregate.any(diagonal_of(lu) == 0.0, -1)
    unit = np.ones((), lu.dtype.numpy)
    factor = as_rows(as_rows(where(lacking, unit * math.nan, unit)))
    inverse = factor * SOLVERS[True, "nan"](a, identity_like(a), lu, permutation)
    share = aggregate.sum(inverse * conj(ct), (-2, -1), keepdims=True)
    return share * out - out @ adjoint(ct) @ inverse, None, None, None


@custom_vjp(name="staticgrad.logabsdet")
def _log_determinant(a: Any, lu: Any, permutation: Any, swaps: Any) -> Any:
    """The logarithm of the magnitude; of complex matrices the angle is the imaginary part."""
    diagonal = diagonal_of(lu)
    if not a.dtype.is_complex:
        return aggregate.sum(ops.log(absolute(diagonal)), -1)
    half_turns = astype(swaps % 2, diagonal.real.dtype) * math.pi
    return aggregate.sum(ops.log(diagonal), -1) + 1j * half_turns


@_log_determinant.rule
@of_adjoints
def _(ct: Any, out: Any, a: Any, lu: Any, permutation: Any, swaps: Any) -> tuple[Any, ...]:
    inverse = SOLVERS[True, "nan"](a, identity_like(a), lu, permutation)
    return as_rows(as_rows(ct)) * inverse, None, None, None


def _parity(lu: Any, swaps: Any) -> Any:
    unit = np.ones((), lu.dtype.numpy)
    return where(swaps % 2 == 0, unit, -unit)


def _factors(a: Any) -> Any:
    return LU()(a)


def solve(
    a: ArrayLike[AnyValue],
    b: ArrayLike[AnyValue],
    lower: bool = False,
    *,
    assume_a: Structure | None = None,
    transposed: bool = False,
    errors: Errors = "raise",
) -> AnyValue:
    """x with a @ x = b. As ``scipy.linalg.solve``, without a search for structure.

    Args:
        a: real or complex matrices [..., n, n]; leading axes broadcast.
        b: a vector [n], or columns [..., n, k].
        lower: of a symmetric, Hermitian or positive definite a, read the lower triangle, not the
            upper one. Other structures ignore it.
        assume_a: the structure of a. Only the elements that it names are read, and the gradient is
            that of these elements. "general" (None, "gen") and "banded" factor by LU, "symmetric"
            ("sym") and "hermitian" ("her") mirror a triangle first, "positive definite" ("pos")
            factors by Cholesky; "upper triangular", "lower triangular", "diagonal" and
            "tridiagonal" need no factors.
        transposed: solve a.T @ x = b, also of complex matrices.
        errors: "raise", or "nan": singular matrices give infinities and NaN.

    Raises:
        LinearAlgebraError: in the run, a singular matrix: a pivot that is exactly 0; or one that is
            not positive definite and was assumed to be.

    >>> sg.evaluate(sg.linalg.solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 4.0]))
    array([1., 1.])
    >>> sg.linalg.solve([[4.0, 2.0], [0.0, 5.0]], [8.0, 8.0], assume_a="pos").round(3)
    array([1.5, 1. ])
    """
    left, right, is_vector = right_side(a, b)
    columns = fold_batch(left, right)
    structure = _STRUCTURES.get(assume_a, assume_a)
    solution = _solve_columns(squares(left), columns, structure, bool(lower), transposed, errors)
    return unfold_batch(solution, right, left, is_vector)


def _solve_columns(
    a: Any, b: Any, structure: str | None, lower: bool, transposed: bool, errors: Errors
) -> Any:
    """Solve for columns b of the batch of a, by the structure of a."""
    if structure in ("diagonal", "tridiagonal"):
        middle = diagonal(a)
        below, above = diagonal(a, offset=-1), diagonal(a, offset=1)
        if structure == "diagonal":
            below = above = zeros_like(below)
        if transposed:
            below, above = above, below
        return solve_tridiagonal(below, middle, above, b, errors=errors)
    if structure in ("lower triangular", "upper triangular"):
        op = TriangularSolve(structure == "lower triangular", bool(transposed), False, errors)
        return op(conj(a) if transposed else a, b)  # the op solves with the adjoint
    if structure == "positive definite" or structure == "hermitian":
        a = mirror_lower(a if lower else adjoint(a))
        a = conj(a) if transposed else a  # a.T of a Hermitian matrix
    elif structure == "symmetric":
        half = by_place(a if lower else matrix_transpose(a), 1.0, 0.5, 0.0)
        a = half + matrix_transpose(half)
    elif transposed:
        a = conj(a)
    if structure == "positive definite":
        return _solve_by_cholesky(a, b, Cholesky(errors)(a))
    lu, permutation, _ = _factors(a)
    is_adjoint = bool(transposed) and structure is None
    return SOLVERS[is_adjoint, errors](a, b, lu, permutation)


@like(solve)
def inv(a: ArrayLike[AnyValue], *, errors: Errors = "raise") -> AnyValue:
    """The inverses of square matrices; ``solve`` is quicker and closer where they are multiplied.

    >>> sg.evaluate(sg.linalg.inv([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    value = squares(matrices(a))
    lu, permutation, _ = _factors(value)
    solver = SOLVERS[False, errors]
    inverse: Any = solver(value, identity_like(value), lu, permutation)
    return inverse


def det(a: ArrayLike[AnyValue]) -> AnyValue:
    """The determinants of square matrices [..., n, n]; ``slogdet`` where they overflow.

    Those of up to three rows are computed by cofactors, in float64 and of rows of one magnitude, so
    that they overflow or vanish where the determinant does, unless entries of a row are more than
    1e240 apart. Larger ones are computed by LU; so are their cofactors, the gradient. The second
    derivative of those is NaN where a matrix is singular, though there is one.

    >>> sg.linalg.det([[1.0, 2.0], [3.0, 4.0]]).round(3)
    np.float64(-2.0)
    """
    value = squares(matrices(a))
    if value.shape[-1] in (1, 2, 3) and not value.dtype.is_complex:
        return small_det(value)
    determinant: Any = _determinant(value, *_factors(value))
    return determinant


def slogdet(a: ArrayLike[AnyValue]) -> SlogdetResult:
    """The signs of determinants, and the logarithms of their magnitudes: 0 and -inf if singular.

    The sign has no gradient, and that of the logarithm is infinite or NaN where ``a``
    [..., n, n] is singular. Returns a named pair: ``sign`` [...] and ``logabsdet`` [...].

    >>> sign, logarithm = sg.linalg.slogdet([[1.0, 2.0], [3.0, 4.0]])
    >>> logarithm.round(3)
    np.float64(0.693)
    """
    value = squares(matrices(a))
    lu, permutation, swaps = _factors(value)
    log: Any = _log_determinant(value, lu, permutation, swaps)
    if value.dtype.is_complex:
        sign = exp(pair(None, log.imag))
        return SlogdetResult(where(log.real == -math.inf, 0.0, sign), log.real)
    signs = prod(ops.sign(stop_gradient(diagonal_of(lu))), -1)
    return SlogdetResult(signs * _parity(lu, swaps), log)


def solve_triangular(
    a: ArrayLike[AnyValue],
    b: ArrayLike[AnyValue],
    trans: Literal[0, 1, 2, "N", "T", "C"] = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    *,
    errors: Errors = "raise",
) -> AnyValue:
    """x with a @ x = b, where only a triangle of a is read. As ``scipy.linalg.solve_triangular``.

    Args:
        a: real or complex matrices [..., n, n]; leading axes broadcast.
        b: a vector [n], or columns [..., n, k].
        trans: 0 or "N"; 1 or "T" for a.T @ x = b; 2 or "C" for a.T.conj() @ x = b.
        lower: read the lower triangle, not the upper one.
        unit_diagonal: take the diagonal for ones.
        errors: "raise", or "nan": a 0 on the diagonal gives infinities and NaN.

    >>> sg.linalg.solve_triangular([[2.0, 1.0], [0.0, 4.0]], [4.0, 8.0]).round(3)
    array([1., 2.])
    """
    left, right, is_vector = right_side(a, b)
    chosen = errors
    if trans in (1, "T"):  # the op solves with the adjoint
        left = conj(left)
    op = TriangularSolve(bool(lower), trans not in (0, "N"), bool(unit_diagonal), chosen)
    solution: Any = op(left, fold_batch(left, right))
    return unfold_batch(solution, right, left, is_vector)


def solve_tridiagonal(
    lower: ArrayLike[AnyValue],
    diagonal: ArrayLike[AnyValue],
    upper: ArrayLike[AnyValue],
    b: ArrayLike[AnyValue],
    *,
    errors: Errors = "raise",
) -> AnyValue:
    """Solve T @ x = b for a tridiagonal matrix T, in time that is linear in its size.

    Args:
        lower, diagonal, upper: [..., n - 1], [..., n] and [..., n - 1].
        b: a vector [n], or columns [..., n, k].
        errors: "raise", or "nan" for singular matrices.

    >>> sg.linalg.solve_tridiagonal([1.0, 1.0], [4.0, 4.0, 4.0], [1.0, 1.0],
    ...     [5.0, 6.0, 5.0]).round(3)
    array([1., 1., 1.])
    """
    below, middle, above, right = promoted_values((lower, diagonal, upper, b))
    is_vector = right.ndim == 1
    rows = expand_dims(right, 0) if is_vector else matrix_transpose(right)
    ends = [(0, 0)] * (below.ndim - 1)
    padded = pad(below, [*ends, (1, 0)]), pad(above, [*ends, (0, 1)])
    op = TridiagonalSolve(errors)
    solution: Any = op(padded[0], middle, padded[1], rows)
    return squeeze(solution, 0) if is_vector else matrix_transpose(solution)


@custom_vjp(name="staticgrad.pinv")
def _pseudo_inverse(a: Any, u: Any, s: Any, v: Any, smallest: Any) -> Any:
    is_large = s > as_rows(smallest)
    scale = where(is_large, 1.0 / where(is_large, s, 1.0), np.zeros((), s.dtype.numpy))
    return adjoint(v) @ (as_rows(scale) * adjoint(u))


@_pseudo_inverse.rule
@of_adjoints
def _(ct: Any, out: Any, a: Any, *others: Any) -> tuple[Any, ...]:
    """Golub and Pereyra, The differentiation of pseudo-inverses, 1973, for a rank that stays."""
    by_a = -(adjoint(out) @ ct @ adjoint(out))
    left, right = identity_like(a @ out), identity_like(out @ a)
    by_a = by_a + adjoint(out @ adjoint(out) @ ct @ (left - a @ out))
    by_a = by_a + adjoint((right - out @ a) @ ct @ adjoint(out) @ out)
    return by_a, *(None for _ in others)


def cutoff(s: Any, rtol: Any, m: Size, n: Size) -> Any:
    """Up to it singular values count as 0: ``rtol`` times the largest one."""
    largest = aggregate.max(s, -1, initial=np.zeros((), s.dtype.numpy))
    if rtol is None:
        longer = size_value(dims.maximum(m, n), s.dtype)
        rtol = longer * float(np.finfo(s.dtype.numpy).eps)
    return stop_gradient(largest * rtol)


def pinv(
    a: ArrayLike[AnyValue],
    rcond: ArrayLike[AnyValue] | None = None,
    hermitian: bool = False,
    *,
    rtol: ArrayLike[AnyValue] | None = None,
    errors: Errors = "raise",
) -> AnyValue:
    """Compute the pseudo-inverses of matrices, by singular values.

    The derivative holds where the rank does not change.

    Args:
        a: real or complex matrices [..., m, n].
        rcond, rtol: singular values up to ``rtol`` times the largest one count as 0; by default
            max(m, n) times the dtype's epsilon.
        hermitian: a is symmetric; only its lower triangle is read.
        errors: as for ``svd``.

    Returns:
        Matrices [..., n, m].

    Raises:
        LinearAlgebraError: in the run, no convergence, as of NaN.

    >>> sg.linalg.pinv([[2.0, 0.0], [0.0, 4.0]]).round(3)
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    if rcond is not None and rtol is not None:
        raise ArgumentError("pinv: rcond and rtol are two names of one argument")
    value = matrices(a)
    value = mirror_lower(value) if hermitian else value
    u, s, v = svd(value, full_matrices=False, hermitian=hermitian, errors=errors)
    tolerance = rtol if rcond is None else rcond
    smallest = cutoff(s, tolerance, *value.shape[-2:])
    inverse: Any = _pseudo_inverse(value, u, s, v, smallest)
    return inverse


def pinvh(a: ArrayLike[AnyValue], *, errors: Errors = "raise") -> AnyValue:
    """Compute the pseudo-inverses of symmetric or Hermitian matrices: ``pinv(hermitian=True)``.

    >>> sg.linalg.pinvh([[2.0, 0.0], [0.0, 4.0]]).round(3)
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return pinv(a, hermitian=True, errors=errors)


def lstsq(
    a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], rcond: ArrayLike[AnyValue] | None = None
) -> LstsqResult:
    """The x that makes the sum of squares of a @ x - b least; of several the shortest.

    Args:
        a: a real or complex matrix [m, n].
        b: a vector [m], or columns [m, k].
        rcond: singular values up to it times the largest one count as 0; by default max(m, n) times
            the dtype's epsilon.

    Returns:
        x, the sums of squares of each column of b, the rank of a (int64), and its singular values.
        Unlike NumPy's, the sums have one number for each column whatever the rank is.

    >>> x, *_ = sg.linalg.lstsq([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], [1.0, 3.0, 5.0])
    >>> x.round(3)
    array([1., 2.])
    """
    left, right, is_vector = right_side(a, b)
    u, s, v = svd(left, full_matrices=False)
    smallest = cutoff(s, rcond, *left.shape[-2:])
    inverse: Any = _pseudo_inverse(left, u, s, v, smallest)
    x = inverse @ right
    residuals = aggregate.sum(abs_square(left @ x - right), -2)
    rank = count_nonzero(s > as_rows(smallest), -1)
    if is_vector:
        x, residuals = squeeze(x, -1), squeeze(residuals, -1)
    return LstsqResult(x, residuals, rank, s)


#: Coefficients of the numerator of the Padé approximant of degree 13, of x⁰ first.
_PADE: Final = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
    129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0,
    960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip


#: The norm up to which the approximant is exact to the last places of float64.
_THETA: Final = 5.371920351148152


_MOST_SQUARINGS: Final = 16


def expm(
    a: ArrayLike[AnyValue], *, max_squarings: int = _MOST_SQUARINGS, errors: Errors = "raise"
) -> AnyValue:
    """Compute exponentials of square matrices: Padé approximation of a / 2**s, squared s times.

    Higham, The scaling and squaring method for the matrix exponential revisited, 2005. The number
    of squarings depends on the largest 1-norm at run time: a loop of at most ``max_squarings``
    products, enough for norms up to 5.4 * 2**max_squarings. A larger norm ends the run with a
    ConvergenceError; with ``errors="nan"`` it gives NaN.

    >>> sg.linalg.expm([[0.0, 1.0], [0.0, 0.0]]).round(3)
    array([[1., 1.],
           [0., 1.]])
    """
    value = squares(matrices(a))
    if value.shape[-1] == 0:
        return value
    sums = aggregate.sum(absolute(value), -2, keepdims=True)
    size = stop_gradient(aggregate.max(sums, -1, keepdims=True, initial=0.0))
    # the least s with a norm of a / 2**s up to theta
    needed = ceil(log2(maximum(size / _THETA, 1.0)))
    count = minimum(needed, float(max_squarings))
    result = _pade_approximant(value * exp2(-count))
    counts = where(count > 0.0, count, 0.0)  # NaN: of no other matrix
    max_count = astype(aggregate.max(counts, initial=0.0), I64)

    def square_step(state: tuple[Any, Any]) -> tuple[Any, Any]:
        number, x = state
        return number + 1, where(count > number, x @ x, x)

    start = (zeros_like(max_count), result)
    _, result = while_loop(lambda state: state[0] < max_count, square_step, start, max_squarings)
    nan = np.full((), math.nan, value.dtype.numpy)
    if errors == "raise":
        enough = logical_or(needed <= float(max_squarings), logical_not(size < math.inf))
        enough = reached_end("expm.expm.squaring", max_squarings, enough, size)
        result = where(enough, result, nan)
    return where(needed <= float(max_squarings), result, nan)


def _pade_approximant(a: Any) -> Any:
    """Compute the Pade approximant (V - U)^-1 (V + U) of the matrix exponential."""
    b, unit = _PADE, identity_like(a)
    # Higham (2005), section 2, for degree 13: six products instead of twelve
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    odd = a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2)
    odd = a @ (odd + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * unit)
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2)
    even = even + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * unit
    return solve(even - odd, even + odd, errors="nan")


@rounded_once
def matrix_power(a: ArrayLike[AnyValue], n: Integer) -> AnyValue:
    """The n-th power of square matrices, by repeated squaring; of the inverse where n is negative.

    ``a`` is [..., k, k], ``n`` an integer; 0 gives the identity.

    >>> sg.linalg.matrix_power([[1.0, 1.0], [0.0, 1.0]], 3)
    array([[1., 3.],
           [0., 1.]])
    """
    power = n
    value = squares(as_matrices(a))
    if power == 0:
        return identity_like(value)
    if power < 0:
        value, power = inv(value), -power
    result: AnyValue | None = None
    while True:
        power, bit = divmod(power, 2)
        if bit:
            result = value if result is None else result @ value
        if not power:
            assert result is not None
            return result
        value = value @ value


def block_diag(*arrays: ArrayLike[AnyValue]) -> AnyValue:
    """The matrix with these along its diagonal, and zeros elsewhere, as SciPy has it.

    Takes matrices [m, n], vectors (rows) and numbers; dtypes promote.

    >>> sg.linalg.block_diag([[1.0]], [[2.0, 3.0], [4.0, 5.0]])
    array([[1., 0., 0.],
           [0., 2., 3.],
           [0., 4., 5.]])
    """
    if not arrays:
        raise ArgumentError("block_diag: there are no arrays", hint="block_diag(a, b)")
    blocks: list[Any] = [*promoted_values(arrays)]
    for block in blocks:
        if block.ndim > 2:
            what = f"block_diag: {block.type} has more than two axes"
            raise RankError(what, related=describe_operands(block))
    blocks = [reshape(block, (1,) * (2 - block.ndim) + block.shape) for block in blocks]
    rows = []
    for k, block in enumerate(blocks):
        row = [
            zeros((block.shape[0], column.shape[1]), block.dtype, like=block) for column in blocks
        ]
        row[k] = block
        rows.append(concatenate(row, 1))
    return concatenate(rows, 0)


def cho_factor(
    a: ArrayLike[AnyValue], lower: bool = False, *, errors: Errors = "raise"
) -> tuple[AnyValue, bool]:
    """Compute the Cholesky factor of matrices, and which triangle it is, for ``cho_solve``.

    As ``scipy.linalg.cho_factor``, but the other triangle is 0. Only one triangle of ``a``
    [..., n, n] is read: with ``lower`` the factor is L with L @ L.T = a, else U with U.T @ U = a.

    >>> factor = sg.linalg.cho_factor([[4.0, 2.0], [2.0, 5.0]])
    >>> sg.linalg.cho_solve(factor, [8.0, 8.0]).round(3)
    array([1.5, 1. ])
    """
    return cholesky(a, upper=not lower, errors=errors), bool(lower)


def cho_solve(factor: Any, b: ArrayLike[AnyValue]) -> AnyValue:
    """x with a @ x = b, of a matrix whose Cholesky factor is known. As ``scipy.linalg.cho_solve``.

    ``factor`` is what ``cho_factor`` gives; b a vector [n], or columns [..., n, k]. Leading axes
    broadcast.

    >>> factor = sg.linalg.cho_factor([[4.0, 2.0], [2.0, 5.0]])
    >>> sg.linalg.cho_solve(factor, [8.0, 8.0]).round(3)
    array([1.5, 1. ])
    """
    if not isinstance(factor, tuple | list) or len(factor) != 2:
        raise ArgumentError(
            f"cho_solve: the factor is {kind_of(factor)}, not a pair",
            hint="cho_solve(cho_factor(a), b); of a lower triangle cho_solve((l, True), b)",
        )
    triangle, lower = factor
    left, right, is_vector = right_side(triangle, b)
    half = solve_triangular(left, right, trans=0 if lower else 2, lower=lower)
    solution = solve_triangular(left, half, trans=2 if lower else 0, lower=lower)
    return squeeze(solution, -1) if is_vector else solution


@rounded_once
def vector_norm(
    x: ArrayLike[AnyValue],
    /,
    *,
    axis: Axes = None,
    keepdims: bool = False,
    ord: float = 2,
) -> AnyValue:
    """The lengths of vectors along ``axis``; of all elements as one vector by default.

    ``ord`` is 2, 1, inf, -inf, 0 or another number, as for ``sg.norm``.

    >>> sg.linalg.vector_norm([3.0, 4.0])
    np.float64(5.0)
    """
    value = floating(x)
    return statistics.vector_norm_over(value, ord, axis, keepdims)


@rounded_once
def matrix_norm(
    x: ArrayLike[AnyValue], /, *, keepdims: bool = False, ord: float | str = "fro"
) -> AnyValue:
    """The norms of matrices, the last two axes.

    Args:
        x: matrices [..., m, n].
        ord: "fro" (None is the same): the root of the sum of squares; "nuc": the sum of singular
            values; 2 and -2: the largest and the smallest one; 1 and -1: the largest and smallest
            sum of magnitudes of a column; inf and -inf: of a row.

    Returns:
        A norm for each matrix [...].

    Raises:
        LinearAlgebraError: in the run, singular values of a matrix that holds NaN.

    >>> sg.linalg.matrix_norm([[3.0, 0.0], [0.0, 4.0]]).round(3)
    np.float64(5.0)
    """
    value = matrices(x)
    return norm_of_matrices(value, ord, keepdims)


def cond(x: ArrayLike[AnyValue], p: Any = None) -> AnyValue:
    """The condition numbers of matrices: how much a solution magnifies relative errors.

    Args:
        x: matrices [..., m, n]; square ones unless p is None, 2 or -2.
        p: None or 2: the largest singular value by the smallest one, -2 the inverse; another
            ``ord`` of ``matrix_norm``: the norm times that of the inverse.

    Returns:
        A number for each matrix [...], inf of a singular one.

    Raises:
        LinearAlgebraError: in the run, as ``svdvals``.

    >>> sg.evaluate(sg.linalg.cond([[1.0, 0.0], [0.0, 0.25]]))
    array(4.)
    """
    value = matrices(x)
    if p in (None, 2, -2):
        s = svdvals(value)
        if s.shape[-1] == 0:
            raise ArgumentError(
                f"cond: {value.type} has no elements", related=describe_operands(value)
            )
        largest, smallest = (take(s, place, -1) for place in (0, -1))
        return smallest / largest if p == -2 else largest / smallest
    inverse = inv(value, errors="nan")
    return norm_of_matrices(value, p, False) * norm_of_matrices(inverse, p, False)


def matrix_rank(
    A: ArrayLike[AnyValue],
    tol: ArrayLike[AnyValue] | None = None,
    hermitian: bool = False,
    *,
    rtol: ArrayLike[AnyValue] | None = None,
) -> AnyValue:
    """Return how many singular values of matrices [..., m, n] are above a threshold.

    The threshold is ``tol``, or ``rtol`` times the largest singular value; by default max(m, n)
    times the dtype's epsilon. For a vector, whether any element is not 0. With ``hermitian`` only
    the lower triangle is read.

    >>> sg.linalg.matrix_rank([[1.0, 2.0], [2.0, 4.0]])
    np.int64(1)
    """
    value = floating(A)
    if value.ndim < 2:
        return astype(aggregate.any(value != 0.0), "int64")
    if tol is not None and rtol is not None:
        raise ArgumentError("matrix_rank: either tol or rtol")
    s = absolute(eigvalsh(value)) if hermitian else svdvals(value)
    if tol is None:
        threshold = as_rows(cutoff(s, rtol, *value.shape[-2:]))
    else:
        level = as_value(tol)
        threshold = as_rows(level) if level.ndim else level
    return count_nonzero(s > threshold, -1)


def matrices(x: ArrayLike[AnyValue]) -> AnyValue:
    """x as floating matrices; integers and bools become float64."""
    value = floating(x)
    if value.ndim < 2:
        raise RankError(
            f"{called_name()}: {value.type} is not a matrix",
            hint="matrices are the last two axes: x[:, None] is a column",
            related=describe_operands(value),
        )
    return value


def squares(x: AnyValue) -> AnyValue:
    """x, if its matrices are square."""
    rows, columns = x.shape[-2:]
    if rows != columns:
        text = f"{called_name()}: {shape_text(x.shape)} is not square, {rows} != {columns}"
        hint = "sg.linalg.lstsq and pinv take matrices of any shape"
        check_equal(text, rows, columns, x, hint=hint)
    return x


def right_side(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> tuple[Any, Any, bool]:
    """Matrices a, right-hand sides b as matrices of columns, and whether b is one vector."""
    left, right = promoted_values((a, b))
    left, right = matrices(left), floating(right)
    if right.ndim == 0:
        raise RankError(
            f"{called_name()}: b is a scalar", hint="b / a", related=describe_operands(right)
        )
    is_vector = right.ndim == 1
    if is_vector:
        right = expand_dims(right, -1)
    rows, b_rows = left.shape[-2], right.shape[-2]
    details = [f"{shape_text(left.shape)} and {shape_text(right.shape)}"]
    if rows != b_rows:
        text = f"{called_name()}: a has {rows} rows, b has {b_rows}"
        hint = "b is a vector [n], or columns [n, k]"
        check_equal(text, rows, b_rows, left, right, hint=hint, details=details)
    if left.ndim == 2 and right.ndim > 2:
        return left, right, is_vector  # one matrix for all: see ``fold_batch``
    try:
        batch = broadcast_shapes((left.shape[:-2], right.shape[:-2]))
    except BroadcastError as error:
        raise ShapeError(
            f"{called_name()}: batch axes do not broadcast, {error.left} != {error.right}",
            details=details,
            related=describe_operands(left, right),
        ) from None
    left, right = (in_batch(matrix, batch) for matrix in (left, right))
    return left, right, is_vector


def in_batch(x: AnyValue, batch: Shape) -> AnyValue:
    """Matrices, repeated along the axes of a batch."""
    shape = (*batch, *x.shape[-2:])
    return x if x.shape == shape else broadcast_to(x, shape)


def fold_batch(a: AnyValue, b: AnyValue) -> AnyValue:
    """b as columns for the one matrix a, where b alone has a batch: a is factored once."""
    if a.ndim != 2 or b.ndim == 2:
        return b
    rows = moveaxis(b, -2, 0)
    return reshape(rows, (rows.shape[0], product(rows.shape[1:])))


def unfold_batch(x: AnyValue, b: AnyValue, a: AnyValue, is_vector: bool) -> AnyValue:
    """Return what was solved for columns of ``fold_batch``, in the shape of b."""
    if a.ndim == 2 and b.ndim != 2:
        batch = (*b.shape[:-2], b.shape[-1])
        x = moveaxis(reshape(x, (x.shape[0], *batch)), 0, -2)
    return squeeze(x, -1) if is_vector else x


def identity_like(x: AnyValue) -> AnyValue:
    """Identity matrices of the batch, the size and the dtype of square x."""
    unit = eye(x.shape[-1], dtype=x.dtype, like=x)
    return in_batch(unit, x.shape[:-2])


def diagonal(x: ArrayLike[AnyValue], /, *, offset: int = 0) -> AnyValue:
    """The diagonals of matrices: of the last two axes, unlike ``sg.diagonal``.

    ``offset`` says how far above the main diagonal; below it where negative.

    >>> sg.linalg.diagonal([[1.0, 2.0], [3.0, 4.0]])
    array([1., 4.])
    """
    value = as_matrices(x)
    return ops.diagonal(value, offset, value.ndim - 2, value.ndim - 1)


def trace(x: ArrayLike[AnyValue], /, *, offset: int = 0, dtype: Any = None) -> AnyValue:
    """The sums of the diagonals of matrices: of the last two axes, unlike ``sg.trace``.

    ``offset`` is as of ``diagonal``, ``dtype`` that of the sum.

    >>> sg.evaluate(sg.linalg.trace([[1, 2], [3, 4]]))
    array(5)
    """
    return aggregate.sum(diagonal(x, offset=offset), -1, dtype)


def outer(x1: ArrayLike[AnyValue], x2: ArrayLike[AnyValue], /) -> AnyValue:
    """out[i, j] = x1[i] * x2[j] of two vectors [m] and [n].

    >>> sg.evaluate(sg.linalg.outer([1, 2], [3, 4]))
    array([[3, 4],
           [6, 8]])
    """
    for vector in (x1, x2):
        if as_value(vector).ndim != 1:
            raise RankError("outer: takes two vectors", hint="sg.outer flattens its operands")
    return products.outer(x1, x2)


def as_matrices(x: ArrayLike[AnyValue]) -> AnyValue:
    """x of any dtype, if it has two axes."""
    value = as_value(x)
    if value.ndim < 2:
        raise RankError(
            f"{called_name()}: {value.type} is not a matrix", related=describe_operands(value)
        )
    return value


class QRResult(NamedTuple):
    """Q with orthonormal columns and R upper triangular."""

    Q: Any
    R: Any


class EigResult(NamedTuple):
    """Eigenvalues, and the eigenvectors in columns: both complex."""

    eigenvalues: Any
    eigenvectors: Any


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


def cholesky(a: ArrayLike[AnyValue], *, upper: bool = False, errors: Errors = "raise") -> AnyValue:
    """The lower triangular L with L @ L.T = a, of symmetric positive definite matrices.

    Args:
        a: real or complex matrices [..., n, n]. Only the lower triangle is read, and
            the gradient is that of its elements: 0 above the diagonal.
        upper: the upper triangular U with U.T @ U = a, of the upper triangle.
        errors: "raise", or "nan": matrices that are not positive definite give NaN.

    Raises:
        LinearAlgebraError: in the run, a matrix that is not positive definite.

    >>> sg.evaluate(sg.linalg.cholesky([[4.0, 0.0], [0.0, 9.0]]))
    array([[2., 0.],
           [0., 3.]])
    """
    value = matrices(a)
    op = Cholesky(errors)
    return adjoint(op(adjoint(value))) if upper else op(value)


def qr(a: ArrayLike[AnyValue], mode: Literal["reduced", "complete", "r"] = "reduced") -> Any:
    """Q with orthonormal columns and R upper triangular, with Q @ R = a.

    There is a derivative where the first k columns do not depend on each other (elsewhere it is
    infinite or NaN), of a complete Q where m <= n.

    Args:
        a: real or complex matrices [..., m, n], k = min(m, n).
        mode: "reduced" (Q [..., m, k], R [..., k, n]), "complete" (Q [..., m, m], R [..., m, n]) or
            "r" (R alone).

    Returns:
        The pair (Q, R), or R.

    >>> q, r = sg.linalg.qr([[3.0, 1.0], [4.0, 2.0]])
    >>> sg.evaluate(q @ r).round(6)
    array([[3., 1.],
           [4., 2.]])
    """
    factors: Any = QR(mode == "complete")(matrices(a))
    return factors[1] if mode == "r" else QRResult(*factors)


def _lower_of(a: ArrayLike[AnyValue], uplo: str) -> AnyValue:
    value = matrices(a)
    return value if uplo in "Ll" else adjoint(value)


def eigh(
    a: ArrayLike[AnyValue],
    UPLO: Triangle | ArrayLike[AnyValue] = "L",  # noqa: N803
    *,
    b: ArrayLike[AnyValue] | None = None,
    type: Literal[1, 2, 3] = 1,
    errors: Errors = "raise",
) -> EighResult:
    """Ascending eigenvalues w and eigenvectors V of symmetric matrices: a @ V = V * w.

    The sign of an eigenvector is LAPACK's choice. Vectors of equal eigenvalues are not unique, and
    their gradient is NaN or infinite; that of the values alone is not (``eigvalsh``). In graphs a
    function of a real matrix that is written as a product, (V * f(w)) @ V.T, has its own first and
    second derivatives, which exist for equal eigenvalues.

    Args:
        a: real or complex matrices [..., n, n]; only the triangle ``UPLO`` is read, and
            the gradient is that of its elements.
        UPLO: "L" or "U"; or ``b``, as SciPy has it: ``eigh(a, b)``.
        b: symmetric positive definite matrices [..., n, n], of which the same triangle is read: the
            generalized problem, by their Cholesky factors.
        type: of the generalized problem: 1 has a @ V = b @ V * w, 2 has a @ b @ V = V * w and 3 has
            b @ a @ V = V * w. conj(V).T @ b @ V is the identity; of type 3 conj(V).T @ b^-1 @ V.
        errors: "raise", or "nan": matrices that hold NaN give NaN.

    Returns:
        A named pair: ``eigenvalues`` [..., n] and ``eigenvectors`` [..., n, n], as columns.

    Raises:
        LinearAlgebraError: in the run, no convergence, as of NaN; b is not positive definite.

    >>> found = sg.linalg.eigh([[2.0, 1.0], [1.0, 2.0]])
    >>> sg.evaluate(found.eigenvalues).round(6)
    array([1., 3.])
    """
    lower, factor = _reduce_generalized(a, UPLO, b, type, errors)
    eigenpairs: Any = Eigh(errors)(lower)
    vectors = adjoint(eigenpairs[1])
    if factor is None:
        return EighResult(eigenpairs[0], vectors)
    if type == 3:
        return EighResult(eigenpairs[0], factor @ vectors)
    solve_transposed = TriangularSolve(transposed=True, errors="nan")
    return EighResult(eigenpairs[0], solve_transposed(factor, vectors))


@like(eigh)
def eigvalsh(
    a: ArrayLike[AnyValue],
    UPLO: Triangle | ArrayLike[AnyValue] = "L",  # noqa: N803
    *,
    b: ArrayLike[AnyValue] | None = None,
    type: Literal[1, 2, 3] = 1,
    errors: Errors = "raise",
) -> AnyValue:
    """Ascending eigenvalues of symmetric matrices; gradients stay finite where some are equal.

    >>> sg.linalg.eigvalsh([[2.0, 1.0], [1.0, 2.0]]).round(3)
    array([1., 3.])
    """
    return EigvalsH(errors)(_reduce_generalized(a, UPLO, b, type, errors)[0])


def _reduce_generalized(a: Any, uplo: Any, b: Any, kind: int, errors: Errors) -> tuple[Any, Any]:
    """Reduce a generalized eigenproblem to a standard one by b's Cholesky factor."""
    if not isinstance(uplo, str):
        uplo, b = "L", uplo if b is None else b
    if b is None:
        return _lower_of(a, uplo), None
    left, right = promoted_values((a, b))
    batch = broadcast_shapes([left.shape[:-2], right.shape[:-2]])
    left, right = (in_batch(squares(_lower_of(x, uplo)), batch) for x in (left, right))
    factor = Cholesky(errors)(right)
    whole_one = mirror_lower(left)
    if kind != 1:
        return adjoint(factor) @ whole_one @ factor, factor
    solved = TriangularSolve(errors="nan")
    return solved(factor, adjoint(solved(factor, whole_one))), factor


def eig(a: ArrayLike[AnyValue], *, errors: Errors = "raise") -> EigResult:
    """Eigenvalues w and eigenvectors V of square matrices: a @ V = V * w, both complex.

    Values are in LAPACK's order. Each vector has a 2-norm of 1, and its phase is LAPACK's choice:
    the gradient is that of losses that do not depend on it. Where eigenvalues are equal it is NaN
    or infinite. Of symmetric matrices ``eigh`` is quicker, and its results are real.

    Args:
        a: real or complex matrices [..., n, n].
        errors: "raise", or "nan": matrices that hold NaN give NaN.

    Returns:
        A named pair: ``eigenvalues`` [..., n] and ``eigenvectors`` [..., n, n], as columns.
        NumPy's are real where all of them are; these never are.

    Raises:
        LinearAlgebraError: in the run, no convergence, as of NaN.

    >>> found = sg.linalg.eig([[0.0, 1.0], [-1.0, 0.0]])
    >>> sg.evaluate(found.eigenvalues).round(6)
    array([0.+1.j, 0.-1.j])
    """
    eigenpairs: Any = Eig(errors)(squares(matrices(a)))
    values, rows = map(as_complex, eigenpairs)
    return EigResult(values, matrix_transpose(rows))


@like(eig)
def eigvals(a: ArrayLike[AnyValue], *, errors: Errors = "raise") -> AnyValue:
    """Eigenvalues [..., n] of square matrices, complex; vectors are computed for gradients alone.

    The gradient of each is NaN or infinite where eigenvalues are equal and have the same vector.

    >>> sg.linalg.eigvals([[0.0, 1.0], [-1.0, 0.0]]).round(3)
    array([0.+1.j, 0.-1.j])
    """
    eigenvalues: Any = as_complex(Eigvals(errors)(squares(matrices(a))))
    return eigenvalues


def svd(
    a: ArrayLike[AnyValue],
    full_matrices: bool = True,
    compute_uv: bool = True,
    hermitian: bool = False,
    *,
    errors: Errors = "raise",
) -> Any:
    """Compute U, descending singular values S and Vh, with (U * S) @ Vh = a.

    The gradients of U and Vh are NaN or infinite where singular values are equal, or one is 0; that
    of S alone is not (``svdvals``). Full bases have a gradient where m = n, S always.
    In graphs (U * f(S)) @ Vh of a real square matrix has its own first and second derivatives,
    which exist for equal singular values.

    Args:
        a: real or complex matrices [..., m, n], k = min(m, n).
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
        # a = Q diag(w) Qᴴ: singular values are |w|, and the signs of w go to the right vectors
        values, vectors = eigh(a, errors=errors)
        order = argsort(absolute(values), -1, descending=True)
        values = take_along_axis(values, order, -1)
        columns = broadcast_to(expand_dims(order, -2), vectors.shape)
        u = take_along_axis(vectors, columns, -1)
        unit = np.ones((), values.dtype.numpy)
        sign = where(values < 0.0, -unit, unit)
        return SVDResult(u, absolute(values), adjoint(u * expand_dims(sign, -2)))
    op = SVD(bool(full_matrices), errors)
    factors: Any = op(matrices(a))
    return SVDResult(*factors)


@like(svd)
def svdvals(x: ArrayLike[AnyValue], /, *, errors: Errors = "raise") -> AnyValue:
    """Descending singular values of matrices; their gradients are finite where some are equal.

    >>> sg.linalg.svdvals([[3.0, 0.0], [0.0, 4.0]]).round(3)
    array([4., 3.])
    """
    return SVDVals(errors)(matrices(x))


def _symmetric_values(a: ArrayLike[AnyValue], errors: Errors) -> AnyValue:
    values = absolute(eigvalsh(a, errors=errors))
    return sort(values, -1, descending=True)


def lu(a: ArrayLike[AnyValue], *, p_indices: bool = False) -> LUResult:
    """P, L and U with P @ L @ U = a: rows are exchanged so that pivots are large.

    As ``scipy.linalg.lu``. L [..., m, k] has ones on its diagonal, U [..., k, n], k = min(m, n). A
    singular ``a`` has a 0 in the diagonal of U, and no derivative. With ``p_indices`` P are indices
    of rows: L[p] @ U = a.

    >>> p, l, u = sg.linalg.lu([[1.0, 2.0], [4.0, 4.0]])
    >>> u.round(3)
    array([[4., 4.],
           [0., 1.]])
    """
    value = matrices(a)
    factors: Any = LU()(adjoint(value))  # of the transpose, columns exchanged
    packed, permutation = adjoint(factors[0]), factors[1]
    m, n = value.shape[-2:]
    k, last = dims.minimum(m, n), packed.ndim - 1
    rows, columns = (iota((m, k), axis, like=value) for axis in (0, 1))
    unit = astype(rows == columns, value.dtype)
    lower = by_place(part(packed, last, 0, k), 1.0, 0.0, 0.0) + unit
    upper = by_place(part(packed, last - 1, 0, k), 0.0, 1.0, 1.0)
    if p_indices:
        return LUResult(argsort(permutation, -1), lower, upper)
    place = iota((m, m), 0, like=value)
    matrix = astype(place == expand_dims(permutation, -2), value.dtype)
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
    rows = unstack(astype(a, "float64"), -2)
    entries = [unstack(row, -1) for row in rows]
    if 3 * a.dtype.bias > F64.bias and len(rows) > 1:
        return _SCALED[len(rows)](*chain(*entries))
    return astype(_expand_first_row(entries), a.dtype)


def _expand_first_row(rows: Rows) -> Any:
    """Compute a small determinant by Laplace expansion along the first row."""
    if len(rows) == 1:
        return rows[0][0]
    if len(rows) == 2:
        return rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
    first, second, third = (
        entry * _expand_first_row(_minor(rows, 0, column)) for column, entry in enumerate(rows[0])
    )
    return first - second + third


def _minor(rows: Rows, row: int, column: int) -> Rows:
    return [[*r[:column], *r[column + 1 :]] for number, r in enumerate(rows) if number != row]


def _scaled_determinant(n: int) -> CustomFunction:
    """Make the determinant of an n by n matrix in float64, safe from overflow."""

    @custom_vjp(name=f"staticgrad.det_of_{n}_rows")
    def determinant(*entries: Any) -> Any:
        """Compute the determinant of rows scaled by their largest entries."""
        rows = _rows(entries, n)
        roots = [_root(row) for row in rows]
        scales = [1.0 / (root * root) for root in roots]
        pairs = zip(rows, scales, strict=True)
        scaled = _expand_first_row([[entry * scale for entry in row] for row, scale in pairs])
        # Squares may be out of range where the determinant is not, roots are not. Where it is 0,
        # and rows are large, theirs must be finite.
        rescale = minimum(reduce(mul, roots), 2.0**1023)
        return scaled * rescale * rescale

    @determinant.rule
    def _(ct: Any, out: Any, *entries: Any) -> tuple[Any, ...]:
        """Differentiate a small determinant: the cofactors."""
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
    size = reduce(maximum, map(absolute, row))
    root: Any = np.float64(2.0 ** _ROOTS[-1][1])
    for border, power in _ROOTS[-2::-1]:
        root = where(size < 2.0**border, np.float64(2.0**power), root)
    return root


_SCALED: Final = {n: _scaled_determinant(n) for n in (2, 3)}
