"""Samples of ops over pairs: Fourier transforms of each kind, and factors of complex matrices.

``tests/complex_numbers`` compares them with NumPy.
"""

import numpy as np

from staticgrad.language.ops.complex_linalg import (
    ComplexCholesky,
    ComplexEig,
    ComplexEigh,
    ComplexEigvals,
    ComplexEigvalsH,
    ComplexLDL,
    ComplexLU,
    ComplexLUSolve,
    ComplexQR,
    ComplexSVD,
    ComplexSVDVals,
    ComplexSylvester,
    ComplexTriangularSolve,
    ComplexTridiagonalSolve,
)
from staticgrad.language.ops.fourier import FourierTransform
from staticgrad.language.ops.schur import ComplexSchur
from tests.laws.linalg_samples import narrow, strange
from tests.laws.samples import Sample, declare, provides

#: Op, shape of its operand.
OPS = (
    (FourierTransform("c2c", (-1,)), (3, 4, 2)),
    (FourierTransform("c2c", (-2,), False, 2), (3, 5, 2)),
    (FourierTransform("c2c", (-1, -2), True, 1), (3, 4, 2)),
    (FourierTransform("r2c", (-1,)), (2, 4)),
    (FourierTransform("r2c", (-1, -2), False, 1), (3, 5)),
    (FourierTransform("c2r", (-1,), False, 2, 4), (2, 3, 2)),
    (FourierTransform("c2r", (-2, -1), True, 0, 3), (3, 2, 2)),
    (FourierTransform("c2c", (-1,)), (0, 1, 2)),
)


@provides("fft")
def _transforms(rng):
    for op, shape in OPS:
        array = rng.normal(size=shape)
        yield Sample(op, (array,), smooth=bool(array.size))
        yield Sample(op, (narrow(array),))
    yield from strange(OPS[0][0], rng, (9, 1, 2))
    yield from strange(OPS[3][0], rng, (30, 2))


def _at_size(n):
    rng = np.random.default_rng(n)
    if n:
        yield Sample(FourierTransform("r2c", (-1,)), (rng.normal(size=(2, n)),))
    yield Sample(OPS[0][0], (rng.normal(size=(n, 2, 2)),))


def hermitian(rng, *batch_and_size):
    """Positive definite matrices, as pairs, of which the upper triangle holds something else."""
    *batch, n = batch_and_size
    x = rng.normal(size=(*batch, n, n)) + 1j * rng.normal(size=(*batch, n, n))
    matrix = x @ np.swapaxes(x, -1, -2).conj() + n * np.eye(n)
    matrix = np.tril(matrix) + np.triu(x, 1)
    return np.stack([matrix.real, matrix.imag], -1)


#: Op, and the size of a smooth sample: of vectors only what does not depend on their phases has a
#: derivative; None where every size has a phase that LAPACK chooses.
FACTORS = {
    "complex_eig": (ComplexEig("nan"), 1),
    "complex_eigvals": (ComplexEigvals("nan"), 3),
    "complex_eigh": (ComplexEigh("nan"), 1),
    "complex_eigvalsh": (ComplexEigvalsH("nan"), 3),
    "complex_cholesky": (ComplexCholesky("nan"), 3),
    "complex_ldl": (ComplexLDL(), 3),
    "complex_lu": (ComplexLU(), 3),
    "complex_schur": (ComplexSchur(errors="nan"), 1),
    "complex_qr": (ComplexQR(), 3),
    "complex_svd": (ComplexSVD(errors="nan"), None),
    "complex_svdvals": (ComplexSVDVals("nan"), 3),
}


def _factors(name):
    op, smooth = FACTORS[name]

    @provides(name)
    def _(rng):
        for shape in ((3,), (1,), (0,), (2, 3), (0, 2), (5,)):
            array = hermitian(rng, *shape)
            yield Sample(op, (array,), smooth=shape == (smooth,))
            yield Sample(op, (narrow(array),))
        yield from strange(op, rng, (9, 2, 2, 2))

    def at_size(n):
        yield Sample(op, (hermitian(np.random.default_rng(n), n % 37, 2),))

    declare(name, _NO, ("f",), at_size, fixed=() if smooth else (0,))


def _systems(rng, *batch_and_size):
    """Operands of each solver: matrices, factors or diagonals, and right-hand sides."""
    *batch, n = batch_and_size
    x, b = hermitian(rng, *batch, n), rng.normal(size=(*batch, n, 2, 2))
    permutation = np.broadcast_to(np.arange(n)[::-1], (*batch, n)).copy()
    rows = rng.normal(size=(3, *batch, n, 2)) + 3.0 * np.arange(3).reshape(
        3, *[1] * len(batch), 1, 1
    )
    return {
        "complex_triangular_solve": (x, b),
        "complex_lu_solve": (x, permutation, b),
        "complex_sylvester": (x, _two_by_two(x), b),
        "complex_tridiagonal_solve": (*rows[[0, 2, 1]], np.swapaxes(b, -2, -3)),
    }


def _two_by_two(x):
    """Matrices [..., 2, 2] for the batch of x."""
    matrices = np.broadcast_to(np.array([[2.0, 0.5], [-1.0, 3.0]]), (*x.shape[:-3], 2, 2))
    return np.stack([matrices, 0.1 * matrices], -1)


SOLVERS = {
    "complex_triangular_solve": (
        ComplexTriangularSolve(errors="nan"),
        ComplexTriangularSolve(False, True, errors="nan"),
        ComplexTriangularSolve(True, True, True, "nan"),
    ),
    "complex_lu_solve": (ComplexLUSolve(False, "nan"), ComplexLUSolve(True, "nan")),
    "complex_sylvester": (ComplexSylvester("nan"),),
    "complex_tridiagonal_solve": (ComplexTridiagonalSolve("nan"),),
}


def _solvers(name):
    @provides(name)
    def _(rng):
        for op in SOLVERS[name]:
            for shape in ((3,), (1,), (0,), (2, 3), (0, 2)):
                arrays = _systems(rng, *shape)[name]
                yield Sample(op, arrays, smooth=shape == (3,))
                yield Sample(op, tuple(map(narrow, arrays)))
        shapes = [a.shape for a in _systems(rng, 9, 3)[name] if a.dtype.kind == "f"]
        order = np.broadcast_to(np.array([2, 0, 1]), (9, 3)) if "lu" in name else None
        yield from strange(SOLVERS[name][0], rng, *shapes, integers=order)

    def at_size(n):
        yield Sample(SOLVERS[name][0], _systems(np.random.default_rng(n), n % 37, 2)[name])

    kinds = ("f", "i", "f") if "lu" in name else ("f",)
    declare(name, _NO, kinds, at_size)


_NO = "no function of NumPy with real results: tests/complex_numbers compares"
declare("fft", _NO, ("f",), _at_size)
for _name in FACTORS:
    _factors(_name)
for _name in SOLVERS:
    _solvers(_name)
