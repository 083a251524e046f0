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
from staticgrad.language.functions.linalg.equations import (
    cosm as cosm,
    expm_frechet as expm_frechet,
    logm as logm,
    orthogonal_procrustes as orthogonal_procrustes,
    polar as polar,
    rq as rq,
    signm as signm,
    sinm as sinm,
    solve_continuous_are as solve_continuous_are,
    solve_continuous_lyapunov as solve_continuous_lyapunov,
    solve_discrete_are as solve_discrete_are,
    solve_discrete_lyapunov as solve_discrete_lyapunov,
    solve_sylvester as solve_sylvester,
    sqrtm as sqrtm,
    subspace_angles as subspace_angles,
    tanm as tanm,
)
from staticgrad.language.functions.linalg.iterative import cg as cg, gmres as gmres
from staticgrad.language.functions.linalg.matrices import (
    block_diag as block_diag,
    cho_factor as cho_factor,
    cho_solve as cho_solve,
    cholesky as cholesky,
    cond as cond,
    det as det,
    diagonal as diagonal,
    eig as eig,
    eigh as eigh,
    eigvals as eigvals,
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
from staticgrad.language.functions.linalg.structured import (
    circulant as circulant,
    companion as companion,
    hadamard as hadamard,
    hankel as hankel,
    hilbert as hilbert,
    khatri_rao as khatri_rao,
    lu_factor as lu_factor,
    lu_solve as lu_solve,
    multi_dot as multi_dot,
    solve_banded as solve_banded,
    solve_toeplitz as solve_toeplitz,
    solveh_banded as solveh_banded,
    tensorinv as tensorinv,
    tensorsolve as tensorsolve,
    toeplitz as toeplitz,
)
from staticgrad.language.functions.linalg.subspaces import null_space as null_space, orth as orth
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
    "block_diag", "cg", "cho_factor", "cho_solve", "cholesky", "circulant", "companion", "cond",
    "cosm", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "expm",
    "expm_frechet", "gmres", "hadamard", "hankel", "hilbert", "inv", "khatri_rao", "kron", "logm",
    "lstsq", "lu", "lu_factor", "lu_solve", "matmul", "matrix_norm", "matrix_power", "matrix_rank",
    "matrix_transpose", "multi_dot", "norm", "null_space", "orth", "orthogonal_procrustes", "outer",
    "pinv", "polar", "qr", "rq", "signm", "sinm", "slogdet", "solve", "solve_banded",
    "solve_continuous_are", "solve_continuous_lyapunov", "solve_discrete_are",
    "solve_discrete_lyapunov", "solve_sylvester", "solve_toeplitz", "solve_triangular",
    "solve_tridiagonal", "solveh_banded", "sqrtm", "subspace_angles", "svd", "svdvals", "tanm",
    "tensordot", "tensorinv", "tensorsolve", "toeplitz", "trace", "vecdot", "vector_norm",
]  # fmt: skip


namespace(globals(), operands=present)
#: As NumPy's module has it; some differ from the functions of the same names outside of it.
_OURS = (
    "block_diag", "cg", "cho_factor", "cho_solve", "circulant", "companion", "cosm", "expm",
    "expm_frechet", "gmres", "hadamard", "hankel", "hilbert", "khatri_rao", "logm", "lu",
    "lu_factor", "lu_solve", "orthogonal_procrustes", "polar", "rq", "signm", "sinm",
    "solve_banded", "solve_continuous_are", "solve_continuous_lyapunov", "solve_discrete_are",
    "solve_discrete_lyapunov", "solve_sylvester", "solve_toeplitz", "solve_triangular",
    "solve_tridiagonal", "solveh_banded", "sqrtm", "subspace_angles", "tanm", "toeplitz",
)  # fmt: skip
OF_MODULES.update({f"linalg.{name}": globals()[name] for name in __all__ if name not in _OURS})
