"""Rows of products with sparse matrices that are constants, as design matrices are."""

from __future__ import annotations

from typing import Any

import staticgrad.functions as sg
from staticgrad import sparse
from staticgrad.bridges.tables import unsupported_variant
from staticgrad.extend import is_sparse
from staticgrad.pytensor.operators.registry import PyTensorType, operator, value


@operator("sparse.Dot", "sparse.StructuredDot", "sparse.TrueDot")
def _multiply(a: Any, b: Any, *, out: PyTensorType | None, **_: Any) -> Any:
    """Return the product of a constant sparse matrix and a dense one, on either side."""
    if out is None or is_sparse(a) == is_sparse(b):
        raise unsupported_variant("a product of two sparse matrices")
    if is_sparse(a):
        return sparse.csr(a.astype(out.dtype)) @ value(b, out.dtype)
    matrix, dense = sparse.csr(b.T.astype(out.dtype)), value(a, out.dtype)
    return matrix @ dense if dense.ndim == 1 else sg.matrix_transpose(matrix @ dense.T)


@operator("sparse.Transpose")
def _transpose(a: Any) -> Any:
    return a.T
