"""Rows of linear algebra; axes of a batch are in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import staticgrad.language.functions as sg
from staticgrad.interop.pytensor.operators.registry import (
    PyTensorType,
    operator,
    unsupported_variant,
    value,
)
from staticgrad.language.functions import linalg


def _adjoint(a: Any) -> Any:
    a = sg.swapaxes(a, -1, -2)
    return sg.conj(a) if a.dtype.is_complex else a


def _as_columns(a: Any, b: Any, b_ndim: int, dtype: str) -> tuple[Any, Any, Callable[[Any], Any]]:
    """Return matrix and right sides in columns, and what restores the result's axes."""
    a, b = value(a, dtype), value(b, dtype)
    if b_ndim == 1:
        return a, sg.expand_dims(b, -1), lambda x: sg.squeeze(x, -1)
    return a, b, lambda x: x


def _fill_triangle(a: Any, lower: bool, conjugate: bool) -> Any:
    """Return the symmetric matrix, or the Hermitian one, of which a triangle is stored."""
    offset = -1 if lower else 1
    triangle = sg.tril if lower else sg.triu
    beside = triangle(a, offset)
    beside = _adjoint(beside) if conjugate else sg.swapaxes(beside, -1, -2)
    return triangle(a) + beside


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


#: Structures of a matrix that are solved as a general one.
_GENERAL: Final = ("gen", "tridiagonal", "banded")


@operator("Solve", batched=True)
def _solve(a: Any, b: Any, *, assume_a: str, lower: bool, b_ndim: int, out: PyTensorType) -> Any:
    a, b, restore = _as_columns(a, b, b_ndim, out.dtype)
    if assume_a in _GENERAL:
        return restore(linalg.solve(a, b, errors="nan"))
    if assume_a not in ("sym", "her", "pos"):
        raise unsupported_variant(f"assume_a={assume_a!r}")
    a = _fill_triangle(a, lower, assume_a != "sym")
    if assume_a == "pos":
        return restore(_solve_by_cholesky(linalg.cholesky(a, errors="nan"), b, True))
    return restore(linalg.solve(a, b, errors="nan"))


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


@operator("QR")
def _qr(a: Any, *, mode: str, pivoting: bool = False) -> Any:
    modes: dict[str, Any] = {"economic": "reduced", "full": "complete", "r": "r"}
    if pivoting or mode not in modes:
        raise unsupported_variant(f"QR with mode={mode!r}, pivoting={pivoting}")
    results = linalg.qr(value(a), modes[mode])
    return results if mode == "r" else tuple(results)


@operator("Expm", batched=True)
def _expm(a: Any) -> Any:
    return linalg.expm(value(a))


@operator("BlockDiagonal", batched=True)
def _block_diagonal(*blocks: Any, out: PyTensorType, n_inputs: int = 0) -> Any:
    return linalg.block_diag(*[value(block, out.dtype) for block in blocks])
