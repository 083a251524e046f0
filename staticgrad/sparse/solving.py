"""Direct solutions of sparse systems, with the names and arguments of ``scipy.sparse.linalg``."""

from __future__ import annotations

from types import FunctionType
from typing import Any, Literal, cast

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    Value,
    as_value,
    binding_kind,
    called_name,
    check_equal,
    floating,
    is_sparse,
    kind_of,
    make_boundaries,
    promoted_values,
    public_form,
    shape_text,
)
from staticgrad.extend.ops import conj, expand_dims, squeeze
from staticgrad.language.ops.sparse import SparseSolve
from staticgrad.sparse.matrices import Sparse, as_sparse

Errors = Literal["raise", "nan"]
#: SuperLU's orderings of columns, which determine the fill.
Ordering = Literal["NATURAL", "MMD_ATA", "MMD_AT_PLUS_A", "COLAMD"]


def spsolve(
    A: Any,
    b: Any,
    permc_spec: Ordering | None = None,
    use_umfpack: bool = True,
    *,
    errors: Errors = "raise",
) -> Any:
    """x with ``A @ x = b`` for a square sparse matrix, by SuperLU.

    The derivative is that of the solution: one solve with the transposed matrix for each cotangent,
    by the same factors. Its share of A is at the pattern alone. A matrix is factored once for
    several solves that follow each other with the same elements.

    Args:
        A: a sparse matrix of float32, float64, complex64 or complex128.
        b: a vector [n], or columns [..., n, k], dense.
        permc_spec: how SuperLU orders columns, by default ``"COLAMD"``. ``"MMD_AT_PLUS_A"`` has
            less fill where the pattern is symmetric.
        use_umfpack: read for SciPy's sake: SuperLU factors either way.
        errors: "raise", or "nan": singular matrices give NaN.

    Returns:
        The solution, of the shape of b.

    Raises:
        ArgumentError, RankError, ShapeError: a matrix that is dense or not square, a b of another
            size or a sparse one.
        LinearAlgebraError: in the run, a singular matrix, or one with elements that are not finite.

    >>> A = sg.sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], (3, 3))
    >>> sg.sparse.spsolve(A, [1.0, 1.0, 1.0])
    array([1.5, 2. , 1.5])
    """
    return _solve_system(_check_system(A), b, "N", permc_spec or "COLAMD", errors)


@make_boundaries
class Factorized:
    """Solutions with one matrix: ``splu(A)`` and ``factorized(A)``, called or by ``solve``.

    Factors are not values of a graph: a step computes them, and uses them for all solves with the
    same elements, with the transposed matrix too.
    """

    def __init__(
        self, matrix: Sparse, permc_spec: Ordering | None = None, errors: Errors = "raise"
    ) -> None:
        self.matrix, self.permc_spec, self.errors = matrix, permc_spec, errors

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.matrix.shape

    def solve(self, b: Any, trans: str = "N") -> Any:
        """x with ``A @ x = b``, or ``A.T @ x = b`` ("T"), or with the conjugate transpose ("H").

        Raises:
            As ``spsolve``.
        """
        if trans not in ("N", "T", "H"):
            raise ArgumentError(f"solve: trans={trans!r} is not one of 'N', 'T', 'H'")
        return _solve(self.matrix, b, trans, self.permc_spec or "COLAMD", self.errors)

    def __call__(self, b: Any) -> Any:
        """x with ``A @ x = b``."""
        return self.solve(b)

    def __repr__(self) -> str:
        return f"Factorized({self.matrix!r})"


def splu(
    A: Any,
    permc_spec: Ordering | None = None,
    *,
    errors: Errors = "raise",
) -> Factorized:
    """Solutions with one matrix, ``splu(A).solve(b, trans)``; arguments as of ``spsolve``.

    >>> lu = sg.sparse.splu(sg.sparse.diags([[2.0, 4.0], [6.0]], [0, 1]))
    >>> lu.solve([2.0, 4.0]), lu.solve([2.0, 4.0], "T")
    (array([-2.,  1.]), array([ 1. , -0.5]))
    """
    return Factorized(_check_system(A), permc_spec, errors)


def factorized(A: Any) -> Factorized:
    """A function that solves ``A @ x = b`` for each b.

    >>> solve = sg.sparse.factorized(2.0 * sg.sparse.eye(2))
    >>> solve([2.0, 4.0])
    array([1., 2.])
    """
    return splu(A)


def _check_system(matrix: Any) -> Sparse:
    """Check that a sparse system's matrix is square."""
    if not is_sparse(matrix):
        raise ArgumentError(
            f"{called_name()}: A is {kind_of(matrix)}, not a sparse matrix",
            hint="sg.linalg.solve(A, b) solves dense systems",
        )
    system = as_sparse(matrix)
    if system.shape[0] != system.shape[1]:
        raise ShapeError(f"{called_name()}: {shape_text(system.shape)} is not square")
    return system


def _solve_system(matrix: Sparse, b: Any, trans: str, ordering: str, errors: str) -> Any:
    """Solve a sparse system for dense right-hand sides."""
    if is_sparse(b):
        raise ArgumentError(
            "spsolve: b is sparse, and its solution is dense", hint="spsolve(A, b.toarray())"
        )
    kind = binding_kind((matrix.data, b))
    right = floating(as_value(b, None if isinstance(b, Value) else kind))
    if right.ndim == 0:
        raise RankError("spsolve: b is a scalar, not a vector [n] or columns [n, k]")
    data, right = promoted_values((matrix.values(kind), right))
    size = right.shape[-1 if right.ndim == 1 else -2]
    text = f"spsolve: A is {shape_text(matrix.shape)}, and b has {size} rows"
    check_equal(text, size, matrix.shape[0], right)
    columns = expand_dims(right, 1) if right.ndim == 1 else right
    op = SparseSolve(matrix.is_transposed ^ (trans != "N"), errors, ordering)
    columns = conj(columns) if trans == "H" else columns  # with the factors of the matrix
    solution: Any = op(data, columns, *matrix.pattern.values(kind))
    solution = conj(solution) if trans == "H" else solution
    return squeeze(solution, 1) if right.ndim == 1 else solution


_solve = public_form(cast(FunctionType, _solve_system), "staticgrad.sparse")
