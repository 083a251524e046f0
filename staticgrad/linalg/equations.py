"""Matrix equations and functions of square matrices, by the names of ``scipy.linalg``.

Derivatives are those of the equations that results solve (implicit differentiation): a solution's
by Sylvester's equation, a function's by the function of a matrix of twice the size (Higham,
Functions of Matrices, 2008, theorem 3.6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Final, Literal

import numpy as np

from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.extend import AnyValue, ArrayLike, Value, broadcast_shapes, promoted_values
from staticgrad.extend.derivatives import CustomFunction, custom_vjp
from staticgrad.extend.functions import (
    abs_square,
    eye,
    full_like,
    real,
    zeros_like,
)
from staticgrad.extend.loops import fori_loop
from staticgrad.extend.ops import (
    absolute,
    arccos,
    arcsin,
    broadcast_to,
    clip,
    concatenate,
    exp,
    exp2,
    flip,
    isfinite,
    log,
    log2,
    logical_and,
    logical_not,
    logical_or,
    part,
    reached_end,
    reshape,
    rint,
    sqrt,
    square,
    stop_gradient,
    where,
)
from staticgrad.functions import aggregate
from staticgrad.language.ops.complex_linalg import of_adjoints
from staticgrad.language.ops.linalg import Sylvester, adjoint
from staticgrad.linalg.matrices import (
    Errors,
    eig,
    expm,
    identity_like,
    in_batch,
    inv,
    matrices,
    matrix_norm,
    matrix_power,
    qr,
    solve,
    squares,
    svd,
    svdvals,
)

#: Iterations that converge quadratically: no more change anything.
_STEPS: Final = 40
#: Square roots before the series of a logarithm, and its steps of Halley's after it.
_ROOTS: Final = 6
_REFINED: Final = 3
#: Halley's steps refine logarithms of at most this norm: eigenvalues of the root differ by factors
#: of at most e^(2 * 0.5), and each step makes an error that does not commute with it smaller.
_NEAR: Final = 0.5
#: Base 2 logarithm of a direction's size in the size of the matrix at which a function is derived.
_SMALL: Final = -20.0
#: A residual beyond this part of the matrix means that there is no real result.
_WRONG: Final = {"float32": 1e-2, "complex64": 1e-2, "float64": 1e-6, "complex128": 1e-6}


def _broadcast_batches(*operands: Any) -> list[Any]:
    """Operands as matrices of one dtype and batch."""
    values = [matrices(matrix) for matrix in promoted_values(operands)]
    batch = broadcast_shapes([matrix.shape[:-2] for matrix in values])
    return [in_batch(matrix, batch) for matrix in values]


def solve_sylvester(
    a: ArrayLike[AnyValue],
    b: ArrayLike[AnyValue],
    q: ArrayLike[AnyValue],
    *,
    errors: Errors = "raise",
) -> AnyValue:
    """X with a @ X + X @ b = q, of a [..., m, m], b [..., n, n] and q [..., m, n].

    Derivative: the transposed equation is solved for the cotangent.

    Raises:
        LinearAlgebraError: an eigenvalue of a is one of -b, when the program runs; ``errors="nan"``
            gives NaN instead.

    >>> sg.evaluate(sg.linalg.solve_sylvester([[1.0]], [[3.0]], [[8.0]]))
    array([[2.]])
    """
    return Sylvester(errors)(*_broadcast_batches(a, b, q))


def solve_continuous_lyapunov(
    a: ArrayLike[AnyValue], q: ArrayLike[AnyValue], *, errors: Errors = "raise"
) -> AnyValue:
    """X with a @ X + X @ a.T = q, by ``solve_sylvester``.

    >>> sg.linalg.solve_continuous_lyapunov([[-1.0, 0.0], [0.0, -2.0]], [[2.0, 0.0],
    ...     [0.0, 8.0]]).round(3)
    array([[-1.,  0.],
           [ 0., -2.]])
    """
    first, last = _broadcast_batches(a, q)
    return Sylvester(errors)(first, adjoint(first), last)


def solve_discrete_lyapunov(
    a: ArrayLike[AnyValue],
    q: ArrayLike[AnyValue],
    method: Literal["direct", "bilinear"] | None = None,
    *,
    errors: Errors = "raise",
) -> AnyValue:
    """X with a @ X @ a.T - X + q = 0, by the bilinear transform to ``solve_continuous_lyapunov``.

    ``method`` is read for SciPy's sake: both give the same X.

    >>> sg.linalg.solve_discrete_lyapunov([[0.5, 0.0], [0.0, 0.2]], [[3.0, 0.0],
    ...     [0.0, 9.6]]).round(3)
    array([[ 4.,  0.],
           [ 0., 10.]])
    """
    first, last = _broadcast_batches(a, q)
    unit = identity_like(first)
    inverse = inv(first + unit, errors=errors)
    transformed = inverse @ (first - unit)
    right = -2.0 * (inverse @ last @ adjoint(inverse))
    return Sylvester(errors)(transformed, adjoint(transformed), right)


# -- Riccati equations ----------------------------------------------------------------------------


def _solve_by_doubling(a: Any, g: Any, h: Any) -> Any:
    """Solve a Riccati equation by structure-preserving doubling (Chu, Fan, Lin 2005).

    NaN where the last step still changes it.
    """
    unit = identity_like(a)

    def step(_: Any, carry: Any) -> Any:
        a, g, h, _ = carry
        inverse = inv(unit + g @ h, errors="nan")
        product = a @ inverse
        change = adjoint(a) @ h @ inverse @ a
        return product @ a, g + product @ g @ adjoint(a), h + change, change

    _, _, solution, change = fori_loop(0, _STEPS, step, (a, g, h, h))
    size, change_size = (
        aggregate.max(absolute(matrix), (-2, -1), keepdims=True, initial=0.0)
        for matrix in (solution, change)
    )
    tolerance = _WRONG[a.dtype.numpy.name]
    return where(change_size <= tolerance * size, 0.5 * (solution + adjoint(solution)), math.nan)


def _checked_solution(
    name: str, solve_equation: CustomFunction, operands: Sequence[Any], errors: str
) -> Any:
    """Return a Riccati equation's solution, checked at run time."""
    solution: Any = solve_equation(*operands)
    if errors == "nan":
        return solution
    solved, *finite = (
        aggregate.all(isfinite(matrix), (-2, -1)) for matrix in (solution, *operands)
    )
    sound = reduce(logical_and, finite)
    loop = f"riccati.{name}.doubling"
    solved = reached_end(loop, _STEPS, logical_or(solved, logical_not(sound)), zeros_like(sound))
    return where(solved[..., None, None], solution, math.nan)


@custom_vjp(name="staticgrad.continuous_riccati")
def _continuous_riccati(a: Any, g: Any, h: Any) -> Any:
    """Solve a.T X + X a - X g X + h = 0 stably: doubling, then a Newton step."""
    a, g, h = map(stop_gradient, (a, g, h))
    unit = identity_like(a)
    sizes = [abs_square(matrix) for matrix in (a, g, h)]
    total: Any = sum(aggregate.sum(squares, (-2, -1), keepdims=True) for squares in sizes)
    shift = sqrt(total) + 1e-8
    inverse = inv(a - shift * unit, errors="nan")
    right = inv(adjoint(a) - shift * unit + h @ inverse @ g, errors="nan")
    factor = 2.0 * shift
    first = unit + factor * adjoint(right)
    x = _solve_by_doubling(first, factor * (inverse @ g @ right), factor * (right @ h @ inverse))
    closed = a - g @ x
    residual = adjoint(a) @ x + x @ a - x @ g @ x + h
    better = x - Sylvester("nan")(adjoint(closed), closed, residual)
    return 0.5 * (better + adjoint(better))


@_continuous_riccati.rule
@of_adjoints
def _(ct: Any, out: Any, a: Any, g: Any, h: Any) -> tuple[Any, ...]:
    closed = a - g @ out
    y = -Sylvester("nan")(closed, adjoint(closed), 0.5 * (ct + adjoint(ct)))
    return 2.0 * (out @ y), -(out @ y @ out), y


@custom_vjp(name="staticgrad.discrete_riccati")
def _discrete_riccati(a: Any, g: Any, h: Any) -> Any:
    """X with X = a.T X (I + g X)^-1 a + h."""
    return _solve_by_doubling(*map(stop_gradient, (a, g, h)))


@_discrete_riccati.rule
@of_adjoints
def _(ct: Any, out: Any, a: Any, g: Any, h: Any) -> tuple[Any, ...]:
    inverse = inv(identity_like(a) + g @ out, errors="nan")
    closed = inverse @ a
    y = solve_discrete_lyapunov(closed, 0.5 * (ct + adjoint(ct)), errors="nan")
    product = closed @ y @ adjoint(closed)
    return 2.0 * (out @ closed @ y), -(out @ product @ out), y


def solve_continuous_are(
    a: ArrayLike[AnyValue],
    b: ArrayLike[AnyValue],
    q: ArrayLike[AnyValue],
    r: ArrayLike[AnyValue],
    *,
    errors: Errors = "raise",
) -> AnyValue:
    """X with a.T X + X a - X b r^-1 b.T X + q = 0 that makes a - b r^-1 b.T X stable.

    By a doubling algorithm and a step of Newton's. ``q`` and ``r`` are symmetric. Derivative: a
    Lyapunov equation.

    Raises:
        ConvergenceError: the algorithm does not arrive at such an X, when the program runs;
            ``errors="nan"`` gives NaN instead.

    >>> a, b, q, r = [[0.0, 1.0], [0.0, 0.0]], [[0.0], [1.0]], np.eye(2), [[1.0]]
    >>> sg.linalg.solve_continuous_are(a, b, q, r).round(3)
    array([[1.732, 1.   ],
           [1.   , 1.732]])
    """
    first, second, third, last = _broadcast_batches(a, b, q, r)
    coefficients = (first, second @ solve(last, adjoint(second)), third)
    return _checked_solution("solve_continuous_are", _continuous_riccati, coefficients, errors)


def solve_discrete_are(
    a: ArrayLike[AnyValue],
    b: ArrayLike[AnyValue],
    q: ArrayLike[AnyValue],
    r: ArrayLike[AnyValue],
    *,
    errors: Errors = "raise",
) -> AnyValue:
    """X with a.T X a - X - a.T X b (r + b.T X b)^-1 b.T X a + q = 0, which stabilizes a.

    By a doubling algorithm. ``q`` and ``r`` are symmetric. Derivative: a Lyapunov equation.

    Raises:
        ConvergenceError: as ``solve_continuous_are``.

    >>> sg.linalg.solve_discrete_are([[0.5]], [[1.0]], [[1.0]], [[1.0]]).round(3)
    array([[1.133]])
    """
    first, second, third, last = _broadcast_batches(a, b, q, r)
    coefficients = (first, second @ solve(last, adjoint(second)), third)
    return _checked_solution("solve_discrete_are", _discrete_riccati, coefficients, errors)


# -- functions of matrices ------------------------------------------------------------------------


def _mask_inaccurate(value: Any, recomputed: Any, a: Any) -> Any:
    """Return ``value``, NaN where ``recomputed``, which should be a, is far from it."""
    error = matrix_norm(recomputed - a, keepdims=True)
    size = matrix_norm(a, keepdims=True)
    return where(error <= _WRONG[a.dtype.numpy.name] * size, value, math.nan)


def _largest(a: Any) -> Any:
    """Return the largest magnitude of each matrix, as a matrix of one element."""
    return aggregate.max(absolute(a), (-2, -1), keepdims=True, initial=0.0)


def _scale_into_range(a: Any) -> Any:
    """Return a power of 4 per matrix that brings extreme elements near 1; else 1.

    Squares of these elements, or of those of the inverse, would be out of range.
    """
    largest = _largest(a)
    exponent = np.finfo(largest.dtype.numpy).maxexp  # 128 or 1024
    limit = 2.0 ** (exponent * 25 // 64)
    power = clip(-2.0 * rint(0.5 * log2(largest)), 2.0 - exponent, exponent - 2.0)
    return where((largest < 1.0 / limit) | (largest > limit), exp2(power), full_like(largest, 1.0))


def _function_of_matrices(name: str, compute: Callable[[Any], Any]) -> CustomFunction:
    """Make a matrix function, differentiated by a block of f([[a.T, ct], [0, a.T]])."""

    @custom_vjp(name=f"staticgrad.{name}")
    def function(a: Any) -> Any:
        return compute(stop_gradient(a))

    @function.rule
    @of_adjoints
    def _(ct: Any, out: Any, a: Any) -> tuple[Any, ...]:
        scale = _scale_into_range(stop_gradient(a))
        # The derivative at scale * a is that at a, divided by the scale, of log and of sign.
        return (_block(function, adjoint(a) * scale, ct) * scale,)

    return function


def _block(function: Callable[..., Any], a: Any, e: Any) -> Any:
    """Return the upper right block of a function of [[a, e], [0, a]]: its derivative along e.

    It is linear in e, and computed of a multiple of e that is small beside a: norms of the whole
    matrix are then those of a, by which functions choose their steps.
    """
    n, last = a.shape[-1], a.ndim - 1
    size, along = (where(x > 0.0, x, 1.0) for x in (_largest(stop_gradient(m)) for m in (a, e)))
    limit = np.finfo(size.dtype.numpy).maxexp - 2.0
    scale = exp2(clip(rint(log2(size) - log2(along)) + _SMALL, -limit, limit))
    above = concatenate([a, e * scale], last)
    blocks = function(concatenate([above, concatenate([zeros_like(a), a], last)], last - 1))
    return part(part(blocks, last - 1, 0, n), last, n, n) / scale


def _scaled_root(a: Any) -> Any:
    """Compute matrix square roots by scaled Denman-Beavers iteration (Higham 2008, 6.3)."""

    def step(_: Any, carry: Any) -> Any:
        """Make one scaled Denman-Beavers step towards the matrix square root."""
        x, y = carry
        x_under, y_under = inv(x, errors="nan"), inv(y, errors="nan")
        size, inverse_size = (
            aggregate.sum(abs_square(matrix), (-2, -1), keepdims=True)
            for matrix in (x @ y, y_under @ x_under)
        )
        scale = exp(0.125 * (log(inverse_size) - log(size)))
        return 0.5 * (scale * x + y_under / scale), 0.5 * (scale * y + x_under / scale)

    return fori_loop(0, _STEPS, step, (a, identity_like(a)))[0]


@custom_vjp(name="staticgrad.sqrtm")
def _root(a: Any) -> Any:
    a = stop_gradient(a)
    scale = _scale_into_range(a)
    a = a * scale
    root = _scaled_root(a)
    better = root + Sylvester("nan")(root, root, a - root @ root)
    return _mask_inaccurate(better, better @ better, a) / sqrt(scale)


@_root.rule
@of_adjoints
def _(ct: Any, out: Any, a: Any) -> tuple[Any, ...]:
    turned = adjoint(out)
    return (Sylvester("nan")(turned, turned, ct),)


def sqrtm(A: ArrayLike[AnyValue]) -> AnyValue:
    """Principal square root of square matrices: X with X @ X = A.

    NaN where that is not real or A is singular. Derivative: X dX + dX X = dA.

    >>> sg.evaluate(sg.linalg.sqrtm([[4.0, 1.0], [0.0, 4.0]])).round(6)
    array([[2.  , 0.25],
           [0.  , 2.  ]])
    """
    root: Any = _root(squares(matrices(A)))
    return root


def _logarithm(a: Any) -> Any:
    """Compute matrix logarithms by repeated square roots and a Pade approximant."""
    unit = identity_like(a)
    scale = _scale_into_range(a)
    a = a * scale
    roots = [a]
    for _ in range(_ROOTS):
        roots.append(_scaled_root(roots[-1]))
    # log(root) = 2 atanh((root - I) (root + I)^-1), of which the first terms are a start.
    small = (roots[-1] - unit) @ inv(roots[-1] + unit, errors="nan")
    squared = small @ small
    series = unit + squared @ (unit / 3.0 + squared @ (unit / 5.0 + squared / 7.0))
    logarithm = small @ series * (2.0 * 2.0**_ROOTS)
    # Halley's steps let errors grow if eigenvalues of the root are far from each other.
    root, factor = a, 1.0
    for following in roots[1:]:
        is_far = matrix_norm(logarithm, keepdims=True) > _NEAR
        root = where(is_far, following, root)
        logarithm = where(is_far, 0.5 * logarithm, logarithm)
        factor = where(is_far, 2.0 * factor, factor)
    for _ in range(_REFINED):
        power = expm(logarithm, errors="nan")
        logarithm = logarithm + 2.0 * solve(power + root, root - power, errors="nan")
    logarithm = factor * logarithm
    logarithm = _mask_inaccurate(logarithm, expm(logarithm, errors="nan"), a)
    return logarithm - log(scale) * unit


_log = _function_of_matrices("logm", _logarithm)


def logm(A: ArrayLike[AnyValue]) -> AnyValue:
    """Principal logarithm of square matrices: X with expm(X) = A; NaN where that is not real.

    >>> sg.linalg.logm([[1.0, 1.0], [0.0, 1.0]]).round(3)
    array([[0., 1.],
           [0., 0.]])
    """
    logarithm: Any = _log(squares(matrices(A)))
    return logarithm


def _newton_sign(a: Any) -> Any:
    """Compute matrix signs by Newton's iteration, scaled by norms."""

    def step(_: Any, x: Any) -> Any:
        inverse = inv(x, errors="nan")
        size, inverse_size = (
            aggregate.sum(abs_square(matrix), (-2, -1), keepdims=True) for matrix in (x, inverse)
        )
        scale = exp(0.25 * (log(inverse_size) - log(size)))
        return 0.5 * (scale * x + inverse / scale)

    a = a * _scale_into_range(a)
    matrix_sign = fori_loop(0, _STEPS, step, a)
    matrix_sign = 0.5 * (matrix_sign + inv(matrix_sign, errors="nan"))
    return _mask_inaccurate(matrix_sign, matrix_sign @ matrix_sign @ a, a)


_sign = _function_of_matrices("signm", _newton_sign)


def signm(A: ArrayLike[AnyValue]) -> AnyValue:
    """Sign of square matrices: eigenvalues become 1 or -1, by the signs of their real parts.

    NaN where one is on the imaginary axis.

    >>> sg.linalg.signm([[2.0, 1.0], [0.0, -3.0]]).round(3)
    array([[ 1. ,  0.4],
           [ 0. , -1. ]])
    """
    matrix_sign: Any = _sign(squares(matrices(A)))
    return matrix_sign


def expm_frechet(
    A: ArrayLike[AnyValue],
    E: ArrayLike[AnyValue],  # noqa: N803
    compute_expm: bool = True,
) -> Any:
    """Exponential of A and its derivative along E; that alone where ``compute_expm`` is False.

    >>> sg.linalg.expm_frechet([[0.0, 1.0], [0.0, 0.0]], np.eye(2), compute_expm=False).round(3)
    array([[1., 1.],
           [0., 1.]])
    """
    a, e = _broadcast_batches(A, E)
    derivative = _block(expm, squares(a), e)
    return (expm(a), derivative) if compute_expm else derivative


def _cosm_sinm(A: ArrayLike[AnyValue]) -> tuple[Any, Any]:
    """Compute matrix cosine and sine as blocks of exp([[0, -A], [A, 0]])."""
    a = squares(matrices(A))
    n, last, zeros = a.shape[-1], a.ndim - 1, zeros_like(a)
    above = concatenate([zeros, -a], last)
    exponential = expm(concatenate([above, concatenate([a, zeros], last)], last - 1))
    left = part(exponential, last, 0, n)
    return part(left, last - 1, 0, n), part(left, last - 1, n, n)


def cosm(A: ArrayLike[AnyValue]) -> AnyValue:
    """Cosine of square matrices, by ``expm`` of a matrix of twice the size.

    >>> sg.linalg.cosm([[0.0, 1.0], [0.0, 0.0]]).round(3)
    array([[1., 0.],
           [0., 1.]])
    """
    return _cosm_sinm(A)[0]


def sinm(A: ArrayLike[AnyValue]) -> AnyValue:
    """Sine of square matrices, by ``expm`` of a matrix of twice the size.

    >>> sg.linalg.sinm([[0.0, 1.0], [0.0, 0.0]]).round(3)
    array([[0., 1.],
           [0., 0.]])
    """
    return _cosm_sinm(A)[1]


def tanm(A: ArrayLike[AnyValue]) -> AnyValue:
    """Tangent of square matrices: solve(cosm(A), sinm(A)).

    >>> sg.linalg.tanm([[0.0, 1.0], [0.0, 0.0]]).round(3)
    array([[0., 1.],
           [0., 0.]])
    """
    cosine, sine = _cosm_sinm(A)
    return solve(cosine, sine)


def coshm(A: ArrayLike[AnyValue]) -> AnyValue:
    """Hyperbolic cosine of square matrices, (expm(A) + expm(-A)) / 2.

    >>> sg.linalg.coshm([[0.0, 1.0], [0.0, 0.0]]).round(3)
    array([[1., 0.],
           [0., 1.]])
    """
    return _hyperbolic(A)[0]


def sinhm(A: ArrayLike[AnyValue]) -> AnyValue:
    """Hyperbolic sine of square matrices, (expm(A) - expm(-A)) / 2.

    >>> sg.linalg.sinhm([[0.0, 1.0], [0.0, 0.0]]).round(3)
    array([[0., 1.],
           [0., 0.]])
    """
    return _hyperbolic(A)[1]


def tanhm(A: ArrayLike[AnyValue]) -> AnyValue:
    """Hyperbolic tangent of square matrices: solve(coshm(A), sinhm(A)).

    >>> sg.linalg.tanhm([[0.0, 1.0], [0.0, 0.0]]).round(3)
    array([[0., 1.],
           [0., 0.]])
    """
    return solve(*_hyperbolic(A))


def _hyperbolic(A: ArrayLike[AnyValue]) -> tuple[Any, Any]:
    a = squares(matrices(A))
    positive_exp, negative_exp = expm(a), expm(-a)
    return 0.5 * (positive_exp + negative_exp), 0.5 * (positive_exp - negative_exp)


def fractional_matrix_power(A: ArrayLike[AnyValue], t: float) -> AnyValue:
    """Power t of square matrices, a real number; NaN where it is not real and A is.

    A whole t is ``matrix_power``; of another one the fraction is expm(fraction * logm(A)).

    >>> sg.linalg.fractional_matrix_power([[4.0, 1.0], [0.0, 4.0]], 0.5).round(6)
    array([[2.  , 0.25],
           [0.  , 2.  ]])
    """
    a: Any = squares(matrices(A))
    if not isinstance(t, int | float):
        if isinstance(t, Value):
            return expm(t * logm(a))
        raise ArgumentError(f"fractional_matrix_power: t={t!r} is not a real number")
    integer_part = math.floor(t)
    power: Any = matrix_power(a, integer_part)
    return power if integer_part == t else power @ expm((t - integer_part) * logm(a))


def funm(A: ArrayLike[AnyValue], func: Callable[[Any], Any]) -> AnyValue:
    """Function of square matrices by their eigenvectors: V func(w) V^-1.

    ``func`` takes the complex eigenvalues and returns one number for each. Eigenvectors have to be
    a basis: of nearly equal eigenvalues digits are lost, of equal ones with one vector the result
    is NaN or infinite. The result of a real matrix is real, and NaN where that of ``func`` is not.
    ``expm``, ``logm``, ``sqrtm``, ``cosm`` and ``signm`` need no eigenvectors.

    >>> sg.linalg.funm([[2.0, 1.0], [0.0, 3.0]], lambda w: w * w).round(3)
    array([[4., 5.],
           [0., 9.]])
    """
    a = squares(matrices(A))
    values, vectors = eig(a)
    scaled: Any = func(values)
    if getattr(scaled, "shape", None) != values.shape:
        raise ShapeError(f"funm: func gave {scaled!r} for {values.type}")
    turned = vectors * scaled[..., None, :]
    result = adjoint(solve(adjoint(vectors), adjoint(turned), errors="nan"))
    if a.dtype.is_complex:
        return result
    part_of_it: Any = real(result)
    error, size = (
        aggregate.sum(abs_square(matrix), (-2, -1), keepdims=True)
        for matrix in (result - part_of_it, result)
    )
    return where(error <= _WRONG[a.dtype.numpy.name] ** 2 * size, part_of_it, math.nan)


def expm_cond(A: ArrayLike[AnyValue]) -> AnyValue:
    """Relative condition number of ``expm`` in the Frobenius norm, of square matrices.

    From the derivatives along n * n matrices, all of them: for small n.

    >>> float(sg.linalg.expm_cond([[1.0, 0.0], [0.0, 1.0]]).round(3))
    1.0
    """
    a: Any = squares(matrices(A))
    n = a.shape[-1]
    if not isinstance(n, int):
        raise ShapeError(f"expm_cond: the size of {a.type} must be known")
    unit_matrices = reshape(eye(n * n, dtype=a.dtype), (n * n, n, n))
    batch = (*a.shape[:-2], n * n, n, n)
    columns = _block(expm, *(broadcast_to(x, batch) for x in (a[..., None, :, :], unit_matrices)))
    largest = svdvals(reshape(columns, (*a.shape[:-2], n * n, n * n)))[..., 0]
    return largest * matrix_norm(a) / matrix_norm(expm(a))


# -- by the singular values -----------------------------------------------------------------------


def polar(a: ArrayLike[AnyValue], side: Literal["right", "left"] = "right") -> Any:
    """Polar factors: u with orthonormal columns or rows, and p positive semidefinite.

    ``right``: a = u @ p; ``left``: a = p @ u. By the singular value decomposition.

    >>> rotation, stretch = sg.linalg.polar([[0.0, -2.0], [3.0, 0.0]])
    >>> stretch.round(3)
    array([[3., 0.],
           [0., 2.]])
    """
    w, s, v = svd(matrices(a), full_matrices=False)
    scaled = s[..., None, :]
    p = (adjoint(v) * scaled) @ v if side == "right" else (w * scaled) @ adjoint(w)
    return w @ v, p


def orthogonal_procrustes(A: ArrayLike[AnyValue], B: ArrayLike[AnyValue]) -> Any:
    """Orthogonal R for which A @ R is closest to B, and the sum of singular values of A.T @ B.

    >>> rotation, scale = sg.linalg.orthogonal_procrustes(np.eye(2), [[0.0, 2.0], [-2.0, 0.0]])
    >>> rotation.round(3)
    array([[ 0.,  1.],
           [-1.,  0.]])
    """
    a, b = _broadcast_batches(A, B)
    w, s, v = svd(adjoint(a) @ b, full_matrices=False)
    return w @ v, aggregate.sum(s, -1)


def subspace_angles(A: ArrayLike[AnyValue], B: ArrayLike[AnyValue]) -> AnyValue:
    """Angles between the column spaces of two matrices of full rank, the largest first.

    >>> sg.linalg.subspace_angles([[1.0], [0.0]], [[1.0], [1.0]]).round(3)
    array([0.785])
    """
    basis_a, basis_b = (qr(matrix)[0] for matrix in _broadcast_batches(A, B))
    a_is_wider = basis_a.shape[-1] >= basis_b.shape[-1]
    wider, narrower = (basis_a, basis_b) if a_is_wider else (basis_b, basis_a)
    if wider.shape[-1] == wider.shape[-2]:  # it spans the space: no part of the other is outside
        others = aggregate.sum(absolute(wider), (-2, -1), keepdims=True)
        return 0.0 * aggregate.sum(absolute(narrower) + others, -2)
    overlap: Any = adjoint(basis_a) @ basis_b
    cosines = flip(clip(svdvals(overlap), -1.0, 1.0), -1)
    complement = basis_b - basis_a @ overlap if a_is_wider else basis_a - basis_b @ adjoint(overlap)
    sines = clip(svdvals(complement), -1.0, 1.0)
    large = square(cosines) >= 0.5
    return where(large, arcsin(where(large, sines, 0.0)), arccos(where(large, 0.0, cosines)))


def rq(a: ArrayLike[AnyValue], mode: Literal["full", "r", "economic"] = "full") -> Any:
    """R upper triangular and Q with orthonormal rows, with R @ Q = a; R alone for ``r``.

    It is ``qr`` of the matrix with its rows in reverse order, transposed.

    >>> r, q = sg.linalg.rq([[3.0, 4.0], [0.0, 5.0]])
    >>> (r @ q).round(3)
    array([[3., 4.],
           [0., 5.]])
    """
    value: Any = matrices(a)
    last = value.ndim - 1
    turned = adjoint(flip(value, last - 1))
    q, r = qr(turned, "reduced" if mode == "economic" else "complete")
    right = flip(adjoint(q), last - 1)
    left = flip(flip(adjoint(r), last - 1), last)
    return left if mode == "r" else (left, right)
