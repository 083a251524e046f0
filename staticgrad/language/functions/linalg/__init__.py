"""Linear algebra, in the names and with the arguments of ``np.linalg`` and the array API standard.

Public as ``sg.linalg``; NumPy's functions of these names take values, too. Matrices are the last
two axes, leading ones a batch. What LAPACK does is done for float32 and float64: integers and bools
become float64, elements of 16 bits are refused, as by NumPy.

    >>> a = sg.input("a", (2, 2), "float64")
    >>> sg.evaluate(sg.linalg.det(a), {"a": [[3.0, 1.0], [1.0, 2.0]]})
    array(5.)
"""

from __future__ import annotations

from staticgrad.language.functions.indexing import matrix_transpose as matrix_transpose
from staticgrad.language.functions.linalg.iterative import cg as cg, gmres as gmres
from staticgrad.language.functions.linalg.matrices import (
    block_diag as block_diag,
    cho_factor as cho_factor,
    cho_solve as cho_solve,
    cholesky as cholesky,
    cond as cond,
    det as det,
    diagonal as diagonal,
    eigh as eigh,
    eigvalsh as eigvalsh,
    expm as expm,
    inv as inv,
    lstsq as lstsq,
    lu as lu,
    matrix_norm as matrix_norm,
    matrix_power as matrix_power,
    matrix_rank as matrix_rank,
    outer as outer,
    pinv as pinv,
    qr as qr,
    slogdet as slogdet,
    solve as solve,
    solve_triangular as solve_triangular,
    solve_tridiagonal as solve_tridiagonal,
    svd as svd,
    svdvals as svdvals,
    trace as trace,
    vector_norm as vector_norm,
)
from staticgrad.language.functions.products import (
    cross as cross,
    kron as kron,
    tensordot as tensordot,
    vecdot as vecdot,
)
from staticgrad.language.functions.statistics import norm as norm
from staticgrad.language.ir.calls import namespace
from staticgrad.language.ir.execution import present
from staticgrad.language.ir.functional import OF_MODULES
from staticgrad.language.ops.contract import matmul as matmul

__all__ = [
    "block_diag", "cg", "cho_factor", "cho_solve", "cholesky", "cond", "cross",
    "det", "diagonal", "eigh", "eigvalsh", "expm", "gmres", "inv", "kron", "lstsq", "lu",
    "matmul", "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose",
    "norm", "outer", "pinv", "qr", "slogdet", "solve", "solve_triangular", "solve_tridiagonal",
    "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


namespace(globals(), operands=present)
#: As NumPy's module has it; some differ from the functions of the same names outside of it.
_OURS = (
    "block_diag", "cg", "cho_factor", "cho_solve", "expm", "gmres", "lu", "solve_triangular",
    "solve_tridiagonal",
)  # fmt: skip
OF_MODULES.update({f"linalg.{name}": globals()[name] for name in __all__ if name not in _OURS})
