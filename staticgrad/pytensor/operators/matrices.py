"""Rows of linear algebra; axes of a batch are in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import staticgrad.functions as sg
from staticgrad import linalg
from staticgrad.pytensor.operators.registry import (
    PyTensorType,
    operator,
    value,
)


def _adjoint(a: Any) -> Any:
    a = sg.swapaxes(a, -1, -2)
    return sg.conj(a) if a.dtype.is_complex else a


def _as_columns(a: Any, b: Any, b_ndim: int, dtype: str) -> tuple[Any, Any, Callable[[Any], Any]]:
    """Return matrix and right sides in columns, and what restores the result's axes."""
    a, b = value(a, dtype), value(b, dtype)
    if b_ndim == 1:
        return a, sg.expand_dims(b, -1), lambda x: sg.squeeze(x, -1)
    return a, b, lambda x: x


@operator("Cholesky", batched=True)
def _cholesky(a: Any, *, lower: bool, out: PyTensorType) -> Any:
    return linalg.cholesky(value(a, out.dtype), upper=not lower, errors="nan")


@operator("SolveTriangular", batched=True)
def _solve_triangular(
    a: Any, b: Any, *, lower: bool, unit_diagonal: bool, b_ndim: int, out: PyTensorType
) -> Any:
    a, b, restore = _as_columns(a, b, b_ndim, out.dtype)
    return restore(
        linalg.solve_triangular(a, b, lower=lower, unit_diagonal=unit_diagonal, errors="nan")
    )


def _solve_by_cholesky(factor: Any, b: Any, lower: bool) -> Any:
    """Solve a positive definite system whose factor is L of L L^H, or U of U^H U."""
    first: Literal["N", "C"] = "N" if lower else "C"
    second: Literal["N", "C"] = "C" if lower else "N"
    y = linalg.solve_triangular(factor, b, trans=first, lower=lower, errors="nan")
    return linalg.solve_triangular(factor, y, trans=second, lower=lower, errors="nan")


@operator("CholeskySolve", batched=True)
def _cholesky_solve(factor: Any, b: Any, *, lower: bool, b_ndim: int, out: PyTensorType) -> Any:
    factor, b, restore = _as_columns(factor, b, b_ndim, out.dtype)
    return restore(_solve_by_cholesky(factor, b, lower))


@operator("Solve", batched=True)
def _solve(a: Any, b: Any, *, assume_a: Any, lower: bool, b_ndim: int, out: PyTensorType) -> Any:
    a, b, restore = _as_columns(a, b, b_ndim, out.dtype)
    return restore(linalg.solve(a, b, lower, assume_a=assume_a, errors="nan"))


@operator("MatrixInverse", batched=True)
def _inverse(a: Any) -> Any:
    return linalg.inv(value(a))


@operator("MatrixPinv")
def _pseudoinverse(a: Any, *, hermitian: bool) -> Any:
    return linalg.pinv(value(a), hermitian=hermitian)


@operator("Det", batched=True)
def _determinant(a: Any) -> Any:
    return linalg.det(value(a))


@operator("SLogDet", batched=True)
def _log_determinant(a: Any) -> Any:
    return tuple(linalg.slogdet(value(a)))


@operator("Eigh")
def _eigh(a: Any, *others: Any, lower: bool, driver: Any = None) -> Any:
    b = value(others[0]) if others else None
    return tuple(linalg.eigh(value(a), "L" if lower else "U", b=b))


@operator("Eigvalsh")
def _eigvalsh(a: Any, *others: Any, lower: bool) -> Any:
    b = value(others[0]) if others and others[0] is not None else None
    return linalg.eigh(value(a), "L" if lower else "U", b=b)[0]


@operator("SVD")
def _svd(a: Any, *, full_matrices: bool, compute_uv: bool) -> Any:
    if not compute_uv:
        return linalg.svdvals(value(a))
    return tuple(linalg.svd(value(a), full_matrices=full_matrices))


@operator("Expm", batched=True)
def _expm(a: Any) -> Any:
    return linalg.expm(value(a))


@operator("BlockDiagonal", batched=True)
def _block_diagonal(*blocks: Any, out: PyTensorType, n_inputs: int = 0) -> Any:
    return linalg.block_diag(*[value(block, out.dtype) for block in blocks])
