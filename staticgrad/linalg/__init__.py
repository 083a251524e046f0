"""Linear algebra, in the names and with the arguments of ``np.linalg`` and the array API standard.

Public as ``sg.linalg``; NumPy's functions of these names take values, too. Matrices are the last
two axes, leading ones a batch. What LAPACK does is done for float32 and float64: integers and bools
become float64, elements of 16 bits are refused, as by NumPy.

    >>> a = sg.input("a", (2, 2), "float64")
    >>> sg.evaluate(sg.linalg.det(a), {"a": [[3.0, 1.0], [1.0, 2.0]]})
    array(5.)
"""

from __future__ import annotations

import numpy as np

from staticgrad.extend import namespace, present, register_functions
from staticgrad.extend.ops import matmul as matmul
from staticgrad.functions.indexing import matrix_transpose as matrix_transpose
from staticgrad.functions.products import (
    cross as cross,
    kron as kron,
    tensordot as tensordot,
    vecdot as vecdot,
)
from staticgrad.functions.statistics import norm as norm
from staticgrad.linalg.decompositions import (
    diagsvd as diagsvd,
    eig_banded as eig_banded,
    eigh_tridiagonal as eigh_tridiagonal,
    eigvals_banded as eigvals_banded,
    eigvalsh_tridiagonal as eigvalsh_tridiagonal,
    hessenberg as hessenberg,
    ldl as ldl,
    rsf2csf as rsf2csf,
    schur as schur,
)
from staticgrad.linalg.equations import (
    coshm as coshm,
    cosm as cosm,
    expm_cond as expm_cond,
    expm_frechet as expm_frechet,
    fractional_matrix_power as fractional_matrix_power,
    funm as funm,
    logm as logm,
    orthogonal_procrustes as orthogonal_procrustes,
    polar as polar,
    rq as rq,
    signm as signm,
    sinhm as sinhm,
    sinm as sinm,
    solve_continuous_are as solve_continuous_are,
    solve_continuous_lyapunov as solve_continuous_lyapunov,
    solve_discrete_are as solve_discrete_are,
    solve_discrete_lyapunov as solve_discrete_lyapunov,
    solve_sylvester as solve_sylvester,
    sqrtm as sqrtm,
    subspace_angles as subspace_angles,
    tanhm as tanhm,
    tanm as tanm,
)
from staticgrad.linalg.iterative import cg as cg, gmres as gmres
from staticgrad.linalg.matrices import (
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
    pinvh as pinvh,
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
from staticgrad.linalg.structured import (
    cho_solve_banded as cho_solve_banded,
    cholesky_banded as cholesky_banded,
    circulant as circulant,
    companion as companion,
    convolution_matrix as convolution_matrix,
    dft as dft,
    fiedler as fiedler,
    fiedler_companion as fiedler_companion,
    hadamard as hadamard,
    hankel as hankel,
    helmert as helmert,
    hilbert as hilbert,
    invhilbert as invhilbert,
    invpascal as invpascal,
    khatri_rao as khatri_rao,
    leslie as leslie,
    lu_factor as lu_factor,
    lu_solve as lu_solve,
    matmul_toeplitz as matmul_toeplitz,
    multi_dot as multi_dot,
    pascal as pascal,
    solve_banded as solve_banded,
    solve_circulant as solve_circulant,
    solve_toeplitz as solve_toeplitz,
    solveh_banded as solveh_banded,
    tensorinv as tensorinv,
    tensorsolve as tensorsolve,
    toeplitz as toeplitz,
)
from staticgrad.linalg.subspaces import null_space as null_space, orth as orth

__all__ = [
    "block_diag", "cg", "cho_factor", "cho_solve", "cho_solve_banded", "cholesky",
    "cholesky_banded", "circulant", "companion", "cond", "convolution_matrix", "coshm", "cosm",
    "cross", "det", "dft", "diagonal", "diagsvd", "eig", "eig_banded", "eigh", "eigh_tridiagonal",
    "eigvals", "eigvals_banded", "eigvalsh", "eigvalsh_tridiagonal", "expm", "expm_cond",
    "expm_frechet", "fiedler", "fiedler_companion", "fractional_matrix_power", "funm", "gmres",
    "hadamard", "hankel", "helmert", "hessenberg", "hilbert", "inv", "invhilbert", "invpascal",
    "khatri_rao", "kron", "ldl", "leslie", "logm", "lstsq", "lu", "lu_factor", "lu_solve",
    "matmul", "matmul_toeplitz", "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose",
    "multi_dot", "norm", "null_space", "orth", "orthogonal_procrustes", "outer", "pascal", "pinv",
    "pinvh", "polar", "qr", "rq", "rsf2csf", "schur", "signm", "sinhm", "sinm", "slogdet", "solve",
    "solve_banded", "solve_circulant", "solve_continuous_are", "solve_continuous_lyapunov",
    "solve_discrete_are", "solve_discrete_lyapunov", "solve_sylvester", "solve_toeplitz",
    "solve_triangular", "solve_tridiagonal", "solveh_banded", "sqrtm", "subspace_angles", "svd",
    "svdvals", "tanhm", "tanm", "tensordot", "tensorinv", "tensorsolve", "toeplitz", "trace",
    "vecdot", "vector_norm",
]  # fmt: skip


namespace(globals(), operands=present)
# As NumPy's module has them; some differ from the functions of the same names outside of it.
register_functions(
    "linalg", {name: globals()[name] for name in __all__ if hasattr(np.linalg, name)}
)
