"""Calls of LAPACK and of Fourier transforms in exported files, by functions of NumPy.

NumPy has no LU factors and no triangular solver: these are loops, over blocks of 64 rows, between
which products are NumPy's. Exported files contain the functions that they need.
"""

# ruff: noqa: E741, B905
import numpy as np

from staticgrad.compiler.by_numba.helpers import f32, jit


def as_complex(array):
    """Pairs of real and imaginary parts as complex numbers."""
    return array.view(np.complex64 if array.dtype == f32 else np.complex128)


def of_matrices(function, x, results, check):
    """Let ``results`` be function(x) of matrices x; NaN for those that have none, which ``check``
    gets the number of."""
    if x.size and np.isfinite(x).all():
        try:
            for result, answers in zip(results, function(x)):
                result[...] = answers
            return
        except np.linalg.LinAlgError:
            pass  # one by one, for the number of the first
    for k in range(len(x)):
        try:
            if not np.isfinite(x[k]).all():
                raise np.linalg.LinAlgError
            answers = function(x[k])
        except np.linalg.LinAlgError:
            answers = [np.nan] * len(results)
            note_failed(check, k)
        for result, answer in zip(results, answers):
            result[k] = answer


def note_failed(check, matrix):
    """The number of the first matrix that failed."""
    if len(check) and check[0] < 0:
        check[0], check[1] = matrix, 0


def cholesky(x, l, check, total, n):
    """L with L @ L.T = x of which the lower triangle is read."""
    x, l = x.reshape(total, n, n), l.reshape(total, n, n)
    of_matrices(lambda a: (np.linalg.cholesky(a),), np.tril(x), (l,), check)


def eigh(x, w, v, check, total, n):
    """Eigenvalues, and eigenvectors in rows, of symmetric matrices: of the lower triangle."""
    x = np.tril(x.reshape(total, n, n)).swapaxes(1, 2)  # as LAPACK gets it in a run

    def vectors(a):
        values, columns = np.linalg.eigh(a, "U")
        return values, np.swapaxes(columns, -1, -2)

    of_matrices(vectors, x, (w.reshape(total, n), v.reshape(total, n, n)), check)


def eigvalsh(x, w, check, total, n):
    """Eigenvalues of symmetric matrices: of the lower triangle."""
    x = np.tril(x.reshape(total, n, n)).swapaxes(1, 2)
    of_matrices(lambda a: (np.linalg.eigvalsh(a, "U"),), x, (w.reshape(total, n),), check)


def eig(x, w, v, check, total, n):
    """Compute eigenvalues, and eigenvectors in rows, of square matrices: complex pairs, of real
    ones too.
    """
    w, v = [array if np.iscomplexobj(array) else as_complex(array) for array in (w, v)]

    def vectors(a):
        values, columns = np.linalg.eig(a)
        return values, np.swapaxes(columns, -1, -2)

    x = x.reshape(total, n, n)
    of_matrices(vectors, x, (w.reshape(total, n), v.reshape(total, n, n)), check)


def eigvals(x, w, check, total, n):
    """Eigenvalues of square matrices: pairs, of real ones too."""
    w = w if np.iscomplexobj(w) else as_complex(w)
    values, x = w.reshape(total, n), x.reshape(total, n, n)
    of_matrices(lambda a: (np.linalg.eigvals(a),), x, (values,), check)


def svd(x, u, s, v, check, total, m, n, k, p, w):
    """Singular values and vectors: x = (U * s) @ V."""
    x = x.reshape(total, m, n).swapaxes(1, 2)
    results = u.reshape(total, m, p), s.reshape(total, k), v.reshape(total, w, n)

    def factors(a):
        right, values, left = np.linalg.svd(a, full_matrices=p > k or w > k)
        return np.swapaxes(left, -1, -2), values, np.swapaxes(right, -1, -2)

    of_matrices(factors, x, results, check)


def svdvals(x, s, check, total, m, n, k):
    """Singular values."""
    x = x.reshape(total, m, n).swapaxes(1, 2)
    of_matrices(lambda a: (np.linalg.svd(a, compute_uv=False),), x, (s.reshape(total, k),), check)


def qr(x, q, r, check, total, m, n, k, p):
    """Q with orthonormal columns and R upper triangular, with Q @ R = x."""
    factors = np.linalg.qr(x.reshape(total, m, n), "complete" if p > k else "reduced")
    q.reshape(total, m, p)[...], r.reshape(total, p, n)[...] = factors


@jit
def eliminate(a, order, first, last):
    """Eliminate columns [first, last) by Gaussian elimination with pivoting; return the row
    exchanges.
    """
    count, rows = 0, a.shape[0]
    for c in range(first, last):
        best, most = c, -1.0
        for i in range(c, rows):
            size = abs(a[i, c].real) + abs(a[i, c].imag)
            if size > most or (size != size and most == most):
                best, most = i, size
        if best != c:
            count += 1
            order[c], order[best] = order[best], order[c]
            for j in range(a.shape[1]):
                a[c, j], a[best, j] = a[best, j], a[c, j]
        for i in range(c + 1, rows):
            if a[c, c] != 0:
                a[i, c] /= a[c, c]
            for j in range(c + 1, last):
                a[i, j] -= a[i, c] * a[c, j]
    return count


@jit
def substitute(a, b, lower, unit):
    """Solve with one triangular block, row by row: b = a^-1 b."""
    n = a.shape[0]
    for step in range(n):
        i = step if lower else n - 1 - step
        for j in range(i) if lower else range(i + 1, n):
            for c in range(b.shape[1]):
                b[i, c] -= a[i, j] * b[j, c]
        if not unit:
            for c in range(b.shape[1]):
                b[i, c] /= a[i, i]


def substitute_blocks(a, b, lower, adjoint, unit):
    """Solve with a triangle of a (or its conjugate transpose) by blocks: b = a^-1 b."""
    n = len(a)
    if adjoint:
        a, lower = a.T.conj(), not lower
    firsts = range(0, n, 64)
    for first in firsts if lower else reversed(firsts):
        last = min(first + 64, n)
        block = np.ascontiguousarray(a[first:last, first:last])
        substitute(block, b[first:last], lower, unit)
        if lower:
            b[last:] -= a[last:, first:last] @ b[first:last]
        else:
            b[:first] -= a[:first, first:last] @ b[first:last]


def lu(x, packed, permutation, swaps, check, total, m, n):
    """Factor matrices by LU with pivoting: x[:, permutation] = L @ U, U with a unit diagonal."""
    x, packed = x.reshape(total, m, n), packed.reshape(total, m, n)
    permutation = permutation.reshape(total, n)
    for matrix in range(total):
        a, order, count = x[matrix].T.copy(), np.arange(n), 0
        for first in range(0, min(m, n), 64):
            last = min(first + 64, m, n)
            count += eliminate(a, order, first, last)
            block = np.ascontiguousarray(a[first:last, first:last])
            substitute(block, a[first:last, last:], True, True)
            a[last:, last:] -= a[last:, first:last] @ a[first:last, last:]
        packed[matrix], permutation[matrix], swaps[matrix] = a.T, order, count


def lu_solve(packed, permutation, b, x, check, total, n, k, adjoint):
    """Solve by LU factors of a: x = a^-1 b, or by the conjugate transpose."""
    packed, b, x = packed.reshape(total, n, n), b.reshape(total, n, k), x.reshape(total, n, k)
    for matrix, order in enumerate(permutation.reshape(total, n)):
        factors = packed[matrix]
        if not np.diagonal(factors).all():
            note_failed(check, matrix)
        columns = b[matrix][order] if adjoint else b[matrix].copy()
        for lower in (False, True) if adjoint else (True, False):
            substitute_blocks(factors, columns, lower, adjoint, not lower)
        if adjoint:
            x[matrix] = columns
        else:
            x[matrix][order] = columns


def triangular_solve(a, b, x, check, total, n, k, lower, adjoint, unit):
    """Solve with one triangle of a, or its conjugate transpose: x = a^-1 b."""
    a, x = a.reshape(total, n, n), x.reshape(total, n, k)
    x[...] = b.reshape(total, n, k)
    for matrix in range(total):
        if not (unit or np.diagonal(a[matrix]).all()):
            note_failed(check, matrix)
        substitute_blocks(a[matrix], x[matrix], lower, adjoint, unit)


@jit
def eliminate_bands(l, d, u, b):
    """Solve tridiagonal systems in place, as LAPACK's gtsv; return whether no pivot is 0."""
    n = len(d)
    above = np.zeros_like(d)
    for i in range(n - 1):
        below = l[i + 1]
        if abs(d[i].real) + abs(d[i].imag) >= abs(below.real) + abs(below.imag):
            factor = below / d[i] if below != 0 else below
            d[i + 1] -= factor * u[i]
            for row in range(len(b)):
                b[row, i + 1] -= factor * b[row, i]
        else:
            factor = d[i] / below
            d[i], d[i + 1], u[i] = below, u[i] - factor * d[i + 1], d[i + 1]
            if i < n - 2:
                above[i] = u[i + 1]
                u[i + 1] = -factor * u[i + 1]
            for row in range(len(b)):
                b[row, i], b[row, i + 1] = b[row, i + 1], b[row, i] - factor * b[row, i + 1]
    solved = True
    for step in range(n):
        i = n - 1 - step
        solved = solved and d[i] != 0
        for row in range(len(b)):
            if i < n - 1:
                b[row, i] -= u[i] * b[row, i + 1]
            if i < n - 2:
                b[row, i] -= above[i] * b[row, i + 2]
            b[row, i] /= d[i]
    return solved


def tridiagonal_solve(l, d, u, b, x, check, total, n, k):
    """Solve tridiagonal systems T x = b for each row of b."""
    diagonals = [diagonal.reshape(total, n) for diagonal in (l, d, u)]
    x = x.reshape(total, k, n)
    x[...] = b.reshape(total, k, n)
    for matrix in range(total):
        if n and not eliminate_bands(
            *(diagonal[matrix].copy() for diagonal in diagonals), x[matrix]
        ):
            x[matrix] = np.nan
            note_failed(check, matrix)


def sylvester(a, b, q, x, check, total, m, n):
    """Solve the Sylvester equation a x + x b = q as one system of m n unknowns."""
    a, b, q = a.reshape(total, m, m), b.reshape(total, n, n), q.reshape(total, m, n)
    x = x.reshape(total, m, n)
    for matrix in range(total):
        x[matrix] = np.nan
        if m * n and np.isfinite(a[matrix]).all() and np.isfinite(b[matrix]).all():
            system = np.kron(a[matrix], np.eye(n)) + np.kron(np.eye(m), b[matrix].T)
            try:
                x[matrix] = np.linalg.solve(system, q[matrix].reshape(m * n)).reshape(m, n)
            except np.linalg.LinAlgError:
                note_failed(check, matrix)
        elif m * n:
            note_failed(check, matrix)


def fourier(kind, x, out, axes, forward, norm):
    """The discrete Fourier transform of real (r) and complex (c) arrays along some axes."""
    how = ("backward", "ortho", "forward")[norm if forward else 2 - norm]
    if not x.size or not out.size:
        out[...] = 0
    elif kind == "c2c":
        out[...] = (np.fft.fftn if forward else np.fft.ifftn)(x, axes=axes, norm=how)
    elif kind == "r2c":  # NumPy's has the sign of forward, and its norms
        spectrum = np.fft.rfftn(x, axes=axes, norm=("backward", "ortho", "forward")[norm])
        out[...] = spectrum if forward else spectrum.conj()
    else:
        sizes = [out.shape[axis] for axis in axes]
        how = ("forward", "ortho", "backward")[norm]
        out[...] = np.fft.irfftn(x.conj() if forward else x, sizes, axes, how)
