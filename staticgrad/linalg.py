"""``sg.linalg``: the module ``staticgrad.language.functions.linalg``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions import linalg as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.linalg import (
        block_diag as block_diag, cg as cg, cho_factor as cho_factor, cho_solve as cho_solve,
        cholesky as cholesky, cond as cond, cross as cross, det as det, diagonal as diagonal, eigh
        as eigh, eigvalsh as eigvalsh, expm as expm, gmres as gmres, inv as inv, kron as kron, lstsq
        as lstsq, lu as lu, matmul as matmul, matrix_norm as matrix_norm, matrix_power as
        matrix_power, matrix_rank as matrix_rank, matrix_transpose as matrix_transpose, norm as
        norm, outer as outer, pinv as pinv, qr as qr, slogdet as slogdet, solve as solve,
        solve_triangular as solve_triangular, solve_tridiagonal as solve_tridiagonal, svd as svd,
        svdvals as svdvals, tensordot as tensordot, trace as trace, vecdot as vecdot, vector_norm as
        vector_norm
    )

sys.modules[__name__] = _module
