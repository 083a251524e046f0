"""Iterative solvers of linear systems, with the names and arguments of ``scipy.sparse.linalg``.

The system is given by a matrix, dense or sparse, or by a function that multiplies by it. A solver
is a loop of the graph; its derivative is that of the solution: one solve with the transposed matrix
for each cotangent, so that nothing of the iterations is stored. It is as exact as the tolerance.

M. R. Hestenes and E. Stiefel, 1952; Y. Saad and M. H. Schultz, 1986; H. A. van der Vorst, 1992.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgrad import sparse
from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError
from staticgrad.extend import (
    Integer,
    NamedTuple,
    PositiveInt,
    Value,
    as_value,
    binding_kind,
    called_name,
    check_equal,
    floating,
    is_sparse,
    kind_of,
    like,
    promoted_values,
    shape_text,
)
from staticgrad.extend.functions import (
    abs_square,
    real,
    zeros,
    zeros_like,
)
from staticgrad.extend.loops import fori_loop, while_loop
from staticgrad.extend.ops import astype, conj, logical_and, maximum, sqrt, stop_gradient, where
from staticgrad.functions import aggregate
from staticgrad.linalg.matrices import lstsq

#: A function of a vector.
Apply = Callable[[Any], Any]


class Solution(NamedTuple):
    """The solution, and 0 or, if the tolerance was not reached, the number of iterations."""

    x: Any
    info: Any


class Operator(NamedTuple):
    """A linear map and its transpose, as functions of a vector and of ``operands``."""

    apply: Callable[..., Any]
    transposed: Callable[..., Any]
    operands: tuple[Any, ...] = ()


def _read_operator(matrix: Any, args: Sequence[Any], kind: type[Any]) -> Operator:
    """Read an iterative solver's matrix: sparse, dense, or a function of a vector."""
    if is_sparse(matrix):
        csr_matrix = sparse.csr(matrix)
        _check_square(csr_matrix.shape)
        return Operator(
            lambda v, data: csr_matrix.with_data(data) @ v,
            lambda v, data: csr_matrix.with_data(data).T @ v,
            (csr_matrix.values(kind),),
        )
    if callable(matrix) and not isinstance(matrix, Value):
        from staticgrad.extend.linear_systems import transpose_linear  # differentiates

        operands = tuple(as_value(arg, kind) for arg in args)
        return Operator(matrix, transpose_linear(matrix), operands)
    dense = floating(as_value(matrix, kind))
    if dense.ndim != 2:
        raise RankError(f"{called_name()}: A is {dense.type}, not a matrix")
    _check_square(dense.shape)
    return Operator(lambda v, a: a @ v, lambda v, a: a.T @ v, (dense,))


def _check_square(shape: Any) -> None:
    if shape[0] != shape[1]:
        text = f"{called_name()}: {shape_text(shape)} is not square"
        check_equal(text, shape[0], shape[1], hint="sg.linalg.lstsq takes any shape")


def _solve_system(
    method: Callable[..., Any],
    system: tuple[Any, Any, Any, Any],
    limits: tuple[Any, Any, Any],
    args: Sequence[Any],
    symmetric: bool,
) -> Solution:
    """Solve a linear system by an iterative method, differentiated by the adjoint system."""
    matrix, b, x0, preconditioner = system
    rtol, atol, maxiter = limits
    if not isinstance(args, tuple | list):
        raise ArgumentError(
            f"{called_name()}: args is {kind_of(args)}, not a tuple", hint="args=(value,)"
        )
    inner = getattr(matrix, "data", None) if is_sparse(matrix) else matrix
    kind = binding_kind((b, x0, inner, *args))
    b = floating(as_value(b, kind))
    if b.ndim != 1:
        raise RankError(
            f"{called_name()}: b is {b.type}, not a vector", hint="sg.vmap solves for several"
        )
    operator = _read_operator(matrix, args, kind)
    fixed = None
    if preconditioner is not None:
        fixed = _read_operator(preconditioner, (), kind)
        fixed = fixed._replace(operands=tuple(map(stop_gradient, fixed.operands)))
    floats = [operand for operand in operator.operands if operand.dtype.is_float]
    b = promoted_values((b, *floats))[0]
    x0 = zeros_like(b) if x0 is None else promoted_values((x0, b))[0]
    max_steps = 10 * b.shape[0] if maxiter is None else maxiter
    product = operator.apply(x0, *operator.operands)
    if not isinstance(product, Value) or product.type != b.type or x0.type != b.type:
        description = product.type if isinstance(product, Value) else kind_of(product)
        raise ShapeError(
            f"{called_name()}: b is {b.type}, x0 {x0.type} and A @ x0 {description}: one type each"
        )

    def solve(transposed: bool, right: Any, first: Any, operands: Sequence[Any]) -> Any:
        """Solve the system or its transpose by the iterative method."""
        # The transpose of a symmetric matrix is the matrix; that its derivative is not the same
        # is what ``linear`` sees to. That of a Hermitian matrix is its conjugate.
        transposed = transposed and (not symmetric or right.dtype.is_complex)
        apply = operator.transposed if transposed else operator.apply
        scaled = None
        if fixed is not None:
            scale = fixed.transposed if transposed else fixed.apply
            scaled = lambda v: scale(v, *fixed.operands)  # noqa: E731 - a function of a vector
        tolerance = maximum(sqrt(_square(right)) * rtol, atol)
        return method(lambda v: apply(v, *operands), scaled, right, first, tolerance, max_steps)

    from staticgrad.extend.linear_systems import linear  # not where nothing is solved

    return Solution(*linear(operator, solve, b, x0))


def _dot(x: Any, y: Any) -> Any:
    """Return the real part of the inner product."""
    return real(aggregate.sum(conj(x) * y))


def _square(x: Any) -> Any:
    return aggregate.sum(abs_square(x))


def _count(x: Any) -> Any:
    """Return the number 0, of the kind of x."""
    return astype(aggregate.sum(real(x) * 0.0) * 0.0, "int64")


def _iterate(
    step: Callable[[Any], Any], initial: Any, tolerance: Any, max_steps: int
) -> tuple[Any, Any]:
    """Iterate a linear solver; return the solution, and 0 if the residual is small.

    A state begins with the solution and ends with the residual's square and the steps so far.
    """

    def is_far(state: Any) -> Any:
        *_, square, count = state
        return logical_and(count < max_steps, sqrt(square) > tolerance)

    x, *_, square, count = while_loop(is_far, step, initial)
    return x, where(sqrt(square) <= tolerance, count * 0, count)


def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: Integer | None = None,
    M: Any = None,
    args: Sequence[Any] = (),
) -> Solution:
    """x with A @ x = b for a symmetric or Hermitian, positive definite A, by conjugate gradients.

    Args:
        A: a dense or sparse matrix [n, n], or a function that gives ``A @ x`` for a vector x.
        b: the right-hand side [n]; ``sg.vmap`` solves for several.
        x0: the first guess, by default zeros; it gets no gradient.
        rtol, atol: stop where the norm of the residual is at most ``max(rtol * norm(b), atol)``.
        maxiter: stop after so many iterations; by default 10 n.
        M: approximates the inverse of A, in the same forms; it gets no gradient.
        args: further operands of a function A, each a value. Gradients go to them, and whatever
            floating the function reads must be among them.

    Returns:
        The pair of x and info: 0, or the number of iterations if the tolerance was not reached.
        Derivatives are those of the solution, of any order, by solves to the same tolerance.

    >>> A = sg.sparse.csr([2.0, 1.0, 1.0, 3.0], [0, 1, 0, 1], [0, 2, 4], (2, 2))
    >>> b = sg.input("b", (2,), "float64")
    >>> x, info = sg.linalg.cg(A, b)
    >>> x, slope = sg.evaluate([x, sg.grad(x.sum(), b)], {"b": [3.0, 4.0]})
    >>> x.round(6), slope.round(6)
    (array([1., 1.]), array([0.4, 0.2]))
    """
    return _solve_system(_cg, (A, b, x0, M), (rtol, atol, maxiter), args, symmetric=True)


def _cg(
    apply: Apply, scaled: Apply | None, b: Any, x0: Any, tolerance: Any, max_steps: int
) -> tuple[Any, Any]:
    """Solve a symmetric positive definite system by preconditioned conjugate gradients."""
    r0 = b - apply(x0)
    square = _square(r0)

    def step(state: Any) -> Any:
        """Make one step of conjugate gradients."""
        x, r, p, previous_rho, square, count = state
        z = r if scaled is None else scaled(r)
        rho = square if scaled is None else _dot(r, z)
        p = z + p * (rho / previous_rho)
        q = apply(p)
        alpha = rho / _dot(p, q)
        r = r - q * alpha
        return x + p * alpha, r, p, rho, _square(r), count + 1

    initial = (x0, r0, b * 0.0, square * 0.0 + 1.0, square, _count(b))
    return _iterate(step, initial, tolerance, max_steps)


@like(cg)
def gmres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    restart: PositiveInt | None = None,
    maxiter: Integer | None = None,
    M: Any = None,
    args: Sequence[Any] = (),
) -> Solution:
    """x with A @ x = b for a square A, by generalized minimal residuals.

    Args:
        restart: vectors of a cycle, which are all stored; by default 20, at most n.
        maxiter: stop after so many cycles; by default 10 n.
        M: approximates the inverse of A, from the right: the residual is that of the system.

    >>> a, b = np.array([[4.0, 1.0], [0.0, 3.0]]), np.array([9.0, 3.0])
    >>> x, info = sg.linalg.gmres(a, b)
    >>> x.round(3)
    array([2., 1.])
    """
    shape = getattr(b, "shape", (len(b),) if isinstance(b, list | tuple) else ())
    size = shape[0] if shape else 1
    width = 20 if restart is None else restart
    width = min(width, size) if isinstance(size, int) else width

    def method(apply: Apply, scaled: Apply | None, *arguments: Any) -> Any:
        return _gmres(max(width, 1), apply, scaled, *arguments)

    return _solve_system(method, (A, b, x0, M), (rtol, atol, maxiter), args, False)


def _gmres(
    width: int,
    apply: Apply,
    scaled: Apply | None,
    b: Any,
    x0: Any,
    tolerance: Any,
    max_steps: int,
) -> tuple[Any, Any]:
    """Solve a linear system by restarted GMRES of ``width`` basis vectors."""

    def times(v: Any) -> Any:
        return apply(v if scaled is None else scaled(v))

    def cycle(state: Any) -> Any:
        """Run one GMRES cycle: Arnoldi basis, least squares, new residual."""
        x, r, square, count = state
        norm = sqrt(square)
        if b.dtype.is_storage:
            raise DTypeError(
                f"gmres: b is {b.type}: it begins with float32 or float64",
                hint="b.astype('float32')",
            )
        rows = zeros((width + 1, *b.shape), b.dtype, like=b).at[0].set(r / norm)
        coefficients = zeros((width, width + 1), b.dtype, like=b)  # a row a vector

        def arnoldi_step(j: Any, basis: Any) -> Any:
            """Orthogonalize the next Arnoldi vector against the basis, twice."""
            rows, coefficients = basis
            w = times(rows[j])
            size = sqrt(_square(w))
            h = conj(rows) @ w
            w = w - h @ rows
            correction = conj(rows) @ w  # a second time, for orthogonality to rounding
            w = w - correction @ rows
            length = sqrt(_square(w))
            # Where the space is complete nothing but rounding is left.
            is_new = length > size * (10.0 * float(np.finfo(b.dtype.numpy).eps))
            w = where(is_new, w / where(is_new, length, 1.0), 0.0)
            h = (h + correction).at[j + 1].set(where(is_new, length, 0.0))
            return rows.at[j + 1].set(w), coefficients.at[j].set(h)

        rows, coefficients = fori_loop(0, width, arnoldi_step, (rows, coefficients))
        right = zeros((width + 1,), b.dtype, like=b).at[0].set(norm)
        weights = lstsq(coefficients.T, right).x
        change = weights @ rows[:width]
        x = x + (change if scaled is None else scaled(change))
        r = b - apply(x)
        return x, r, _square(r), count + 1

    r0 = b - apply(x0)
    return _iterate(cycle, (x0, r0, _square(r0), _count(b)), tolerance, max_steps)
