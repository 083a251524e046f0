"""Structured matrices, chains of products and tensor systems, by the names of ``scipy.linalg``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    Integer,
    NonNegativeInt,
    PositiveInt,
    Value,
    as_value,
    as_values,
    integer,
    kind_of,
    promoted_values,
    sizes as dims,
)
from staticgrad.extend.functions import zeros_like
from staticgrad.extend.loops import fori_loop
from staticgrad.extend.ops import (
    absolute,
    astype,
    broadcast_to,
    concatenate,
    conj,
    expand_dims,
    flip,
    iota,
    moveaxis,
    part,
    reshape,
    take,
    where,
)
from staticgrad.functions.products import einsum
from staticgrad.language.ops.linalg import LU, LUSolve, adjoint
from staticgrad.linalg.matrices import (
    cho_solve,
    cholesky,
    fold_batch,
    inv,
    matrices,
    right_side,
    solve,
    solve_tridiagonal,
    squares,
    unfold_batch,
)


def _vector(what: str, x: ArrayLike[AnyValue]) -> Any:
    value: Any = as_value(x)
    if value.ndim != 1 or not isinstance(value.shape[0], int):
        raise RankError(
            f"{what}: {value.type} is not a vector of a known size", hint="x.ravel(), x[0]"
        )
    return value


def toeplitz(c: ArrayLike[AnyValue], r: ArrayLike[AnyValue] | None = None) -> AnyValue:
    """Matrix with constant diagonals, of its first column c and row r (by default c, too).

    r[0] is not read.

    >>> sg.evaluate(sg.linalg.toeplitz([1, 2, 3], [1, 4, 5]))
    array([[1, 4, 5],
           [2, 1, 4],
           [3, 2, 1]])
    """
    column: Any = _vector("toeplitz", c)
    row = column if r is None else _vector("toeplitz", r)
    column, row = promoted_values((column, row))
    m, n = column.shape[0], row.shape[0]
    entries = concatenate([flip(row[1:], 0), column], 0)
    return take(entries, np.arange(m)[:, None] - np.arange(n) + n - 1, 0)


def hankel(c: ArrayLike[AnyValue], r: ArrayLike[AnyValue] | None = None) -> AnyValue:
    """Matrix with constant antidiagonals, of its first column c and last row r (by default 0).

    r[0] is not read.

    >>> sg.linalg.hankel([1.0, 2.0, 3.0])
    array([[1., 2., 3.],
           [2., 3., 0.],
           [3., 0., 0.]])
    """
    column: Any = _vector("hankel", c)
    row = zeros_like(column) if r is None else _vector("hankel", r)
    column, row = promoted_values((column, row))
    entries = concatenate([column, row[1:]], 0)
    return take(entries, np.arange(column.shape[0])[:, None] + np.arange(row.shape[0]), 0)


def circulant(c: ArrayLike[AnyValue]) -> AnyValue:
    """Square matrix whose columns are c, each moved down by one more, round the end.

    >>> sg.linalg.circulant([1.0, 2.0, 3.0])
    array([[1., 3., 2.],
           [2., 1., 3.],
           [3., 2., 1.]])
    """
    column = _vector("circulant", c)
    n = column.shape[0]
    return take(column, (np.arange(n)[:, None] - np.arange(n)) % max(n, 1), 0)


def companion(a: ArrayLike[AnyValue]) -> AnyValue:
    """Companion matrix of a polynomial with coefficients a, of which a[0] is not 0.

    >>> sg.linalg.companion([1.0, -3.0, 2.0])
    array([[ 3., -2.],
           [ 1.,  0.]])
    """
    value = _vector("companion", a)
    if value.shape[0] < 2:
        raise ShapeError(f"companion: {value.type} has fewer than two coefficients")
    row = value[1:] / -value[0]
    n = row.shape[0]
    below = astype(as_values(row, np.eye(n)[:-1])[1], row.dtype)
    return concatenate([expand_dims(row, 0), below], 0)


def hilbert(n: NonNegativeInt) -> Value:
    """Hilbert matrix, 1 / (i + j + 1), as a constant.

    >>> sg.linalg.hilbert(2).round(3)
    array([[1.   , 0.5  ],
           [0.5  , 0.333]])
    """
    return as_value(1.0 / (1.0 + np.arange(n)[:, None] + np.arange(n)))


def hadamard(n: Integer, dtype: Any = int) -> Value:
    """Hadamard matrix of a size that is a power of two, as a constant.

    >>> sg.linalg.hadamard(4)
    array([[ 1,  1,  1,  1],
           [ 1, -1,  1, -1],
           [ 1,  1, -1, -1],
           [ 1, -1, -1,  1]])
    """
    if n < 1 or n & (n - 1):
        raise ArgumentError(f"hadamard: n={n} is not a power of two")
    matrix = np.ones((1, 1), dtype)
    while len(matrix) < n:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return as_value(matrix)


def _scipy_constant(name: str, *args: Any) -> Value:
    """Return a constant that SciPy computes."""
    from scipy import linalg  # with the first call

    return as_value(np.asarray(getattr(linalg, name)(*args)))


def invhilbert(n: NonNegativeInt) -> Value:
    """Inverse of the Hilbert matrix, as a constant.

    >>> sg.linalg.invhilbert(2)
    array([[ 4., -6.],
           [-6., 12.]])
    """
    return _scipy_constant("invhilbert", n)


def pascal(
    n: NonNegativeInt,
    kind: Literal["symmetric", "lower", "upper"] = "symmetric",
    exact: bool = True,
) -> Value:
    """Pascal's matrix of binomial coefficients, as a constant: of integers, or of floats.

    >>> sg.linalg.pascal(3)
    array([[1, 1, 1],
           [1, 2, 3],
           [1, 3, 6]], dtype=uint64)
    """
    return _scipy_constant("pascal", n, kind, exact)


def invpascal(
    n: NonNegativeInt,
    kind: Literal["symmetric", "lower", "upper"] = "symmetric",
    exact: bool = True,
) -> Value:
    """Inverse of Pascal's matrix, as a constant: of integers, or of floats.

    >>> sg.linalg.invpascal(2)
    array([[ 2, -1],
           [-1,  1]])
    """
    return _scipy_constant("invpascal", n, kind, exact)


def helmert(n: PositiveInt, full: bool = False) -> Value:
    """Helmert matrix, as a constant: orthonormal rows that add up to 0; ``full`` has a row more.

    >>> sg.linalg.helmert(2).round(3)
    array([[ 0.707, -0.707]])
    """
    return _scipy_constant("helmert", n, full)


def dft(n: NonNegativeInt, scale: Literal["sqrtn", "n"] | None = None) -> Value:
    """Matrix of the discrete Fourier transform, as a constant: dft(n) @ x is fft(x).

    >>> sg.linalg.dft(2).real.round(3)
    array([[ 1.,  1.],
           [ 1., -1.]])
    """
    return _scipy_constant("dft", n, scale)


def fiedler(a: ArrayLike[AnyValue]) -> AnyValue:
    """Fiedler matrix of a vector: abs(a[i] - a[j]).

    >>> sg.linalg.fiedler([1.0, 4.0])
    array([[0., 3.],
           [3., 0.]])
    """
    value: Any = _vector("fiedler", a)
    index = iota(value.shape[0], like=value)
    is_diagonal = index[:, None] == index
    differences = where(is_diagonal, 1, value[:, None] - value)  # slopes of |0| have no slopes
    return where(is_diagonal, 0, absolute(differences))


def fiedler_companion(a: ArrayLike[AnyValue]) -> AnyValue:
    """Fiedler's companion matrix of a polynomial with coefficients a: five diagonals.

    Its eigenvalues are the roots; a[0] is not 0.

    >>> sg.linalg.fiedler_companion([1.0, -3.0, 2.0])
    array([[ 3., -2.],
           [ 1.,  0.]])
    """
    value: Any = _vector("fiedler_companion", a)
    n = value.shape[0] - 1
    if n < 1:
        raise ShapeError(f"fiedler_companion: {value.type} has fewer than two coefficients")
    # SciPy's matrix of the numbers 1, 2, ... says where each coefficient is.
    from scipy import linalg  # with the first call

    numbers = linalg.fiedler_companion(np.concatenate([[1.0], -np.arange(2.0, n + 2.0)]))
    places = np.where(numbers == 1.0, n + 1, np.where(numbers > 1.0, numbers - 2.0, n))
    row = concatenate([-value[1:] / value[0], value[:1] * 0.0, value[:1] * 0.0 + 1.0], 0)
    return take(row, places.astype(np.int64), 0)


def leslie(f: ArrayLike[AnyValue], s: ArrayLike[AnyValue]) -> AnyValue:
    """Leslie matrix of a population: fecundities f [n] in the first row, survivals s [n - 1].

    >>> sg.linalg.leslie([0.1, 2.0], [0.5])
    array([[0.1, 2. ],
           [0.5, 0. ]])
    """
    first, below = promoted_values((_vector("leslie", f), _vector("leslie", s)))
    n = first.shape[0]
    if below.shape[0] != n - 1:
        raise ShapeError(f"leslie: s has {below.shape[0]} elements, not {n - 1}")
    places = np.arange(n - 1)
    lower_rows = where(places[:, None] == np.arange(n), expand_dims(below, 1), 0.0)
    return concatenate([expand_dims(first, 0), lower_rows], 0)


def convolution_matrix(
    a: ArrayLike[AnyValue], n: Integer, mode: Literal["full", "same", "valid"] = "full"
) -> AnyValue:
    """Matrix whose product with a vector of n elements is its convolution with a.

    >>> sg.linalg.convolution_matrix([1.0, 2.0], 2)
    array([[1., 0.],
           [2., 1.],
           [0., 2.]])
    """
    value: Any = _vector("convolution_matrix", a)
    m = value.shape[0]
    i, j = np.arange(m + n - 1)[:, None], np.arange(n)
    place = i - j
    inside = (place >= 0) & (place < m)
    if mode != "full":
        count = max(m, n) if mode == "same" else max(m, n) - min(m, n) + 1
        start = (min(m, n) - 1) // 2 if mode == "same" else min(m, n) - 1
        place, inside = place[start : start + count], inside[start : start + count]
    return where(inside, value[np.where(inside, place, 0)], 0.0)


def matmul_toeplitz(c_or_cr: Any, x: ArrayLike[AnyValue]) -> AnyValue:
    """toeplitz(c, r) @ x, of a column c or a pair (c, r).

    >>> sg.linalg.matmul_toeplitz([1.0, 2.0], [1.0, 1.0])
    array([3., 3.])
    """
    pair = c_or_cr if isinstance(c_or_cr, tuple) else (c_or_cr,)
    left, right = promoted_values((toeplitz(*pair), x))
    return left @ right


def solve_circulant(c: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """x with circulant(c) @ x = b, of vectors c [n] and b [n] or columns [n, k]; by ``solve``.

    >>> sg.linalg.solve_circulant([4.0, 1.0, 0.0], [5.0, 5.0, 5.0]).round(3)
    array([1., 1., 1.])
    """
    return solve(circulant(c), b)


def khatri_rao(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """Products of all elements of a column of a and of the same column of b: [m * k, n].

    >>> sg.linalg.khatri_rao([[1.0, 2.0], [3.0, 4.0]], [[1.0, 10.0]])
    array([[ 1., 20.],
           [ 3., 40.]])
    """
    left, right = promoted_values((a, b))
    if left.ndim != 2 or right.ndim != 2:
        raise RankError("khatri_rao: takes two matrices")
    column_products: Any = einsum("in,jn->ijn", left, right)
    return reshape(column_products, (left.shape[0] * right.shape[0], left.shape[1]))


def multi_dot(arrays: Sequence[ArrayLike[AnyValue]]) -> AnyValue:
    """Product of several matrices, in the order of multiplications that costs least.

    The first and the last may be vectors.

    >>> sg.linalg.multi_dot([np.ones((2, 3)), np.ones((3, 2)), np.ones(2)])
    array([6., 6.])
    """
    values: list[Any] = [as_value(array) for array in arrays]
    if len(values) < 2:
        raise ArgumentError("multi_dot: takes at least two arrays")
    letters = "abcdefghijklmnopqrstuvwxyz"
    if len(values) > len(letters) - 1:
        raise ArgumentError(f"multi_dot: takes at most {len(letters) - 1} arrays")
    terms = [letters[k : k + 2] for k in range(len(values))]
    result = terms[0][0] + terms[-1][1]
    if values[0].ndim == 1:
        terms[0], result = terms[0][1], result[1:]
    if values[-1].ndim == 1:
        terms[-1], result = terms[-1][0], result[:-1]
    return einsum(f"{','.join(terms)}->{result}", *values)


def _size(sizes: Sequence[Any]) -> Any:
    product: Any = 1
    for size in sizes:
        product = product * size
    return product


def tensorinv(a: ArrayLike[AnyValue], ind: Integer = 2) -> AnyValue:
    """Inverse of a tensor as a map of its last axes to its first ``ind`` ones.

    >>> sg.linalg.tensorinv(2.0 * np.eye(4).reshape(2, 2, 2, 2)).shape
    (2, 2, 2, 2)
    """
    value: Any = as_value(a)
    if ind < 1:
        raise ArgumentError(f"tensorinv: ind={ind} is not positive")
    first, last = value.shape[:ind], value.shape[ind:]
    inverse = inv(reshape(value, (_size(first), _size(last))))
    return reshape(inverse, (*last, *first))


def tensorsolve(
    a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], axes: Sequence[int] | None = None
) -> AnyValue:
    """x with tensordot(a, x, x.ndim) = b; ``axes`` of a are moved to its end first.

    >>> sg.linalg.tensorsolve(2.0 * np.eye(2), [4.0, 8.0]).round(3)
    array([2., 4.])
    """
    left, right = promoted_values((a, b))
    value: Any = left
    for axis in axes or ():
        value = moveaxis(value, axis, value.ndim - 1)
    last = value.shape[right.ndim :]
    n = _size(right.shape)
    solution = solve(reshape(value, (n, _size(last))), reshape(right, (n,)))
    return reshape(solution, last)


def solve_toeplitz(c_or_cr: Any, b: ArrayLike[AnyValue]) -> AnyValue:
    """x with toeplitz(c, r) @ x = b, of a column c or a pair (c, r); by ``solve``.

    >>> sg.linalg.solve_toeplitz([4.0, 1.0, 0.0], [5.0, 6.0, 5.0]).round(3)
    array([1., 1., 1.])
    """
    pair = c_or_cr if isinstance(c_or_cr, tuple) else (c_or_cr,)
    return solve(toeplitz(*pair), b)


def from_bands(ab: Any, above: Any) -> Any:
    """The matrix whose diagonals are the rows of ab, of which the first is ``above`` the main."""
    rows, n = ab.shape
    if not isinstance(n, int) or not isinstance(rows, int):
        raise ShapeError(f"bands of {ab.type}: sizes must be known")
    i, j = np.arange(n)[:, None], np.arange(n)
    row = above + i - j
    inside = (row >= 0) & (row < rows)
    columns = np.broadcast_to(j, (n, n))
    return where(inside, ab[np.where(inside, row, 0), columns], 0.0)


def solve_banded(l_and_u: Any, ab: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """x with a @ x = b, of a matrix given by its diagonals: ab[u + i - j, j] = a[i, j].

    ``l_and_u`` are the numbers of diagonals below and above. Three diagonals are solved by
    ``solve_tridiagonal``, more as a whole matrix.

    >>> sg.linalg.solve_banded((1, 1), [[0.0, 1.0, 1.0], [4.0, 4.0, 4.0],
    ...     [1.0, 1.0, 0.0]], [5.0, 6.0, 5.0]).round(3)
    array([1., 1., 1.])
    """
    if not isinstance(l_and_u, Sequence) or isinstance(l_and_u, str) or len(l_and_u) != 2:
        raise ArgumentError(
            f"solve_banded: l_and_u is {kind_of(l_and_u)}, not two numbers of diagonals",
            hint="solve_banded((1, 1), ab, b) has one below the main diagonal and one above",
        )
    below, above = (integer("l_and_u", count, least=0) for count in l_and_u)
    value, right = promoted_values((matrices(ab), b))
    if value.ndim != 2 or value.shape[0] != below + above + 1:
        raise ShapeError(f"solve_banded: {value.type} has not {below + above + 1} diagonals")
    if (below, above) == (1, 1):
        return solve_tridiagonal(value[2, :-1], value[1], value[0, 1:], right)
    return solve(from_bands(value, above), right)


def solveh_banded(
    ab: ArrayLike[AnyValue], b: ArrayLike[AnyValue], *, lower: bool = False
) -> AnyValue:
    """The same of a symmetric positive definite matrix, given by its upper or lower diagonals.

    >>> sg.linalg.solveh_banded([[0.0, 1.0, 1.0], [4.0, 4.0, 4.0]], [5.0, 6.0, 5.0]).round(3)
    array([1., 1., 1.])
    """
    value, right = promoted_values((matrices(ab), b))
    return cho_solve((cholesky(_symmetric_half(value, lower)), True), right)


def cholesky_banded(ab: ArrayLike[AnyValue], *, lower: bool = False) -> AnyValue:
    """Diagonals of the Cholesky factor of a matrix given by its diagonals, as ``solveh_banded``.

    The factor is upper triangular, or ``lower``; it is computed as that of the whole matrix.

    >>> sg.linalg.cholesky_banded([[0.0, 2.0], [4.0, 5.0]]).round(3)
    array([[0., 1.],
           [2., 2.]])
    """
    value: Any = matrices(ab)
    rows = value.shape[0]
    triangle = cholesky(_symmetric_half(value, lower))
    # the lower diagonals as rows, with 0 behind the end of each
    n = triangle.shape[0]
    row = np.minimum(np.arange(rows)[:, None] + np.arange(n), n - 1)
    inside = np.arange(rows)[:, None] + np.arange(n) < n
    bands = where(inside, triangle[row, np.broadcast_to(np.arange(n), row.shape)], 0.0)
    return bands if lower else _upper_bands(bands)


def _symmetric_half(value: Any, lower: bool) -> Any:
    half = from_bands(value, 0 if lower else value.shape[0] - 1)
    return half if lower else adjoint(half)


def _upper_bands(bands: Any) -> Any:
    """Return the rows of upper diagonals from those of the lower ones of the adjoint."""
    rows, n = bands.shape
    above = np.arange(rows - 1, -1, -1)[:, None]
    column = np.arange(n) - above
    shifted = conj(bands)[np.broadcast_to(above, column.shape), np.maximum(column, 0)]
    return where(column >= 0, shifted, 0.0)


def cho_solve_banded(cb_and_lower: Any, b: ArrayLike[AnyValue]) -> AnyValue:
    """x with a @ x = b, of a matrix whose ``cholesky_banded`` is known: (factor, lower).

    >>> factor = sg.linalg.cholesky_banded([[0.0, 2.0], [4.0, 5.0]])
    >>> sg.linalg.cho_solve_banded((factor, False), [6.0, 7.0]).round(3)
    array([1., 1.])
    """
    if not isinstance(cb_and_lower, tuple | list) or len(cb_and_lower) != 2:
        raise ArgumentError(
            "cho_solve_banded: takes a pair, the factor and whether it is lower",
            hint="cho_solve_banded((cholesky_banded(ab), False), b)",
        )
    value, right = promoted_values((matrices(cb_and_lower[0]), b))
    lower = bool(cb_and_lower[1])
    return cho_solve((_symmetric_half(value, lower), True), right)


def lu_factor(a: ArrayLike[AnyValue]) -> tuple[AnyValue, AnyValue]:
    """LU factors of matrices, for ``lu_solve``: both in one matrix, and the pivots.

    As ``scipy.linalg.lu_factor``: row i was exchanged with row piv[i]. Differentiable.

    >>> factors = sg.linalg.lu_factor([[1.0, 2.0], [3.0, 4.0]])
    >>> sg.linalg.lu_solve(factors, [5.0, 11.0]).round(3)
    array([1., 2.])
    """
    value = matrices(a)
    factors: Any = LU()(adjoint(value))  # of the transpose, columns exchanged
    packed, permutation = adjoint(factors[0]), factors[1]
    count = dims.minimum(*value.shape[-2:])
    places = iota((value.shape[-2],), like=value)
    start = permutation * 0 + places

    def step(i: Any, carry: Any) -> Any:
        """Exchange one pivot row, as LAPACK's list of interchanges says."""
        order, pivots = carry
        is_row = places == i
        target_row = (where(is_row, permutation, 0)).sum(-1, keepdims=True)
        row_position = where(order == target_row, places, 0).sum(-1, keepdims=True)
        current_row = where(is_row, order, 0).sum(-1, keepdims=True)
        order = where(places == row_position, current_row, order)
        return where(is_row, target_row, order), where(is_row, row_position, pivots)

    pivots = fori_loop(0, count, step, (start, start))[1]
    return packed, part(pivots, pivots.ndim - 1, 0, count)


def order_of(pivots: Any, size: Any) -> Any:
    """Return the rows [..., size] in the order that exchanges by ``pivots`` give them."""
    places = iota((size,), like=pivots)
    count = pivots.shape[-1]
    start = pivots.sum(-1, keepdims=True) * 0 + places

    def step(i: Any, order: Any) -> Any:
        pivot_row = where(iota((count,), like=pivots) == i, pivots, 0).sum(-1, keepdims=True)
        is_first, is_second = places == i, places == pivot_row
        first_row, second_row = (
            where(mask, order, 0).sum(-1, keepdims=True) for mask in (is_first, is_second)
        )
        return where(is_first, second_row, where(is_second, first_row, order))

    return fori_loop(0, count, step, start) if count != 0 else start


def lu_solve(lu_and_piv: Any, b: ArrayLike[AnyValue], trans: Literal[0, 1, 2] = 0) -> AnyValue:
    """x with a @ x = b, of a matrix whose ``lu_factor`` is known. As ``scipy.linalg.lu_solve``.

    Args:
        lu_and_piv: what ``lu_factor`` gives.
        b: a vector [n], or columns [..., n, k]; leading axes broadcast.
        trans: 1 for a.T @ x = b; 2 for a.T.conj() @ x = b.

    >>> factors = sg.linalg.lu_factor([[1.0, 2.0], [3.0, 4.0]])
    >>> sg.linalg.lu_solve(factors, [5.0, 11.0]).round(3)
    array([1., 2.])
    """
    if not isinstance(lu_and_piv, tuple | list) or len(lu_and_piv) != 2:
        raise ArgumentError(
            "lu_solve: takes the pair of lu_factor", hint="lu_solve(lu_factor(a), b)"
        )
    factors = squares(matrices(lu_and_piv[0]))
    packed, right, is_vector = right_side(factors, b)
    permutation = order_of(as_value(lu_and_piv[1]), packed.shape[-1])
    if permutation.shape == factors.shape[:-1]:  # else the op raises the error
        permutation = broadcast_to(permutation, packed.shape[:-1])
    if trans == 1:  # the op solves with the adjoint
        packed = conj(packed)
    solve_factored = LUSolve(trans == 0, "raise")
    solution = solve_factored(adjoint(packed), permutation, fold_batch(packed, right))
    return unfold_batch(solution, right, packed, is_vector)
