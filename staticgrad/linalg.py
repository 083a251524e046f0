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
        cho_solve_banded as cho_solve_banded, cholesky as cholesky, cholesky_banded as
        cholesky_banded, circulant as circulant, companion as companion, cond as cond,
        convolution_matrix as convolution_matrix, coshm as coshm, cosm as cosm, cross as cross, det
        as det, dft as dft, diagonal as diagonal, diagsvd as diagsvd, eig as eig, eig_banded as
        eig_banded, eigh as eigh, eigh_tridiagonal as eigh_tridiagonal, eigvals as eigvals,
        eigvals_banded as eigvals_banded, eigvalsh as eigvalsh, eigvalsh_tridiagonal as
        eigvalsh_tridiagonal, expm as expm, expm_cond as expm_cond, expm_frechet as expm_frechet,
        fiedler as fiedler, fiedler_companion as fiedler_companion, fractional_matrix_power as
        fractional_matrix_power, funm as funm, gmres as gmres, hadamard as hadamard, hankel as
        hankel, helmert as helmert, hessenberg as hessenberg, hilbert as hilbert, inv as inv,
        invhilbert as invhilbert, invpascal as invpascal, khatri_rao as khatri_rao, kron as kron,
        ldl as ldl, leslie as leslie, logm as logm, lstsq as lstsq, lu as lu, lu_factor as
        lu_factor, lu_solve as lu_solve, matmul as matmul, matmul_toeplitz as matmul_toeplitz,
        matrix_norm as matrix_norm, matrix_power as matrix_power, matrix_rank as matrix_rank,
        matrix_transpose as matrix_transpose, multi_dot as multi_dot, norm as norm, null_space as
        null_space, orth as orth, orthogonal_procrustes as orthogonal_procrustes, outer as outer,
        pascal as pascal, pinv as pinv, pinvh as pinvh, polar as polar, qr as qr, rq as rq, rsf2csf
        as rsf2csf, schur as schur, signm as signm, sinhm as sinhm, sinm as sinm, slogdet as
        slogdet, solve as solve, solve_banded as solve_banded, solve_circulant as solve_circulant,
        solve_continuous_are as solve_continuous_are, solve_continuous_lyapunov as
        solve_continuous_lyapunov, solve_discrete_are as solve_discrete_are, solve_discrete_lyapunov
        as solve_discrete_lyapunov, solve_sylvester as solve_sylvester, solve_toeplitz as
        solve_toeplitz, solve_triangular as solve_triangular, solve_tridiagonal as
        solve_tridiagonal, solveh_banded as solveh_banded, sqrtm as sqrtm, subspace_angles as
        subspace_angles, svd as svd, svdvals as svdvals, tanhm as tanhm, tanm as tanm, tensordot as
        tensordot, tensorinv as tensorinv, tensorsolve as tensorsolve, toeplitz as toeplitz, trace
        as trace, vecdot as vecdot, vector_norm as vector_norm
    )

sys.modules[__name__] = _module
