"""The same quantity by two roads: names and formulas that are one function, at special points.

A row is two functions of one array and the points. Both are differentiated twice in graphs, in
every order of the two modes, and once on the tape; all of it has to agree. Where a road has NaN it
says that there is no derivative, or that it does not see one; a number has to be the other road's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor, grad as tape_grad

NAN, INF = np.nan, np.inf
ZEROS, ONES = np.zeros(3), np.ones(3)
LINE = np.array([1.0, -2.0, 0.5])
TIES = np.array([2.0, -1.0, 2.0])
ROWS = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]])
TINY, HUGE = np.array([1e-170, -2e-170, 0.0]), np.array([1e160, 2e160, -3e160])


@dataclass(frozen=True)
class Row:
    """Two roads to one quantity.

    Attributes:
        left, right: the functions.
        points: arrays at which they are compared.
        blind: which readings may be NaN: the formula does not see derivatives that there are.
        tape: whether the tape takes the same road, though its second derivatives may be NaN: it
            sees one operation at a time. Else, in words, what it does.
        tolerance: of differences, relative to the largest element.
    """

    left: Callable[..., Any]
    right: Callable[..., Any]
    points: tuple[Any, ...]
    blind: tuple[str, ...] = ()
    tape: str = ""
    tolerance: float = 1e-11


def sum_of_squares(x):
    return (x * x).sum()


def by_roots(x):
    return sg.sqrt(sum_of_squares(x))


EDGES = np.array([INF, -INF, NAN, 0.0, -0.0, 1e-300, -1e-300, 1e-9, 40.0, -40.0, 1e8, -1e8])
SMALL = np.array([1e-90, -1e-110, 1e90])
MASK = np.array([True, False, True])
INFINITE = [np.array(point) for point in ([-INF] * 3, [-INF, 1.0, 2.0], [INF, 1.0, 2.0])]
BIG = np.array([[4.0, 1, 0, 2], [1, 3, 1, 0], [0, 1, 2, 1], [5, 0, 1, 1]])
#: Of rank 3, with a zero pivot last and before.
SINGULAR = (
    np.diag([1.0, 2.0, 3.0, 0.0]),
    np.diag([1.0, 0.0, 3.0, 2.0]),
    np.outer([1.0, 2, 3, 4], [1.0, -1, 2, 0]) + np.outer([0.0, 1, 1, 2], [3.0, 1, 0, 1])
    + np.outer([1.0, 0, 1, 5], [0.0, 0, 2, 1]),
)  # fmt: skip


def minor_of(x, column):
    """The matrix without its first row and a column."""
    return sg.concatenate([x[1:, :column], x[1:, column + 1 :]], 1)


LENGTHS = (ZEROS, LINE, TIES)


def symmetric(x):
    return (x + x.mT) * 0.5


def by_eigenvalues(function):
    """V f(w) V' of the symmetric part."""

    def of_matrix(x):
        values, vectors = sg.linalg.eigh(symmetric(x))
        return (vectors * function(values)) @ vectors.T

    return of_matrix


def by_diagonal(x):
    values, vectors = sg.linalg.eigh(symmetric(x))
    return vectors @ sg.diag(1.0 / values) @ vectors.T


def by_einsum(x):
    values, vectors = sg.linalg.eigh(symmetric(x))
    return sg.einsum("ij,j,kj->ik", vectors, 1.0 / values, vectors)


def by_halves(x):
    values, vectors = sg.linalg.eigh(symmetric(x))
    half = vectors / sg.sqrt(values)
    return half @ half.mT


def in_batch(x):
    values, vectors = sg.linalg.eigh(symmetric(sg.stack([x, 2.0 * x])))
    return (vectors * (1.0 / values)[..., None, :]) @ vectors.mT


def inverse(x):
    return sg.linalg.inv(symmetric(x))


def sign_by_root(x):
    square = symmetric(x) @ symmetric(x)
    return symmetric(x) @ by_eigenvalues(lambda w: 1.0 / sg.sqrt(w))(square)


def by_singular_values(function):
    """U f(s) V'."""

    def of_matrix(x):
        left, values, right = sg.linalg.svd(x)
        return (left * function(values)) @ right

    return of_matrix


_TURNED = np.array([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
SINGULAR_SPECTRA = (
    np.eye(3),
    _TURNED @ np.diag([2.0, 2.0, 1.0]),
    np.array([[4.0, 1, 0], [0, 3, 1], [2, 1, 2]]),
    np.diag([1.0, 0.0, 0.0]),
)
EQUAL = (2.0 * np.eye(3), np.diag([3.0, 1.0, 1.0]))
SPECTRA = (*EQUAL, np.diag([1.0, 1.0 + 1e-7, 2.0]), np.array([[4.0, 1, 0], [1, 3, 1], [0, 1, 2]]))
TWICE = (
    "twice forward",
    "reverse over forward",
)  # the second tangent of an eigenvalue is made of those of the vectors
SECOND = ("reverse over reverse", "forward over reverse", *TWICE)
NO_VECTORS = "NaN: it does not see more than vectors of equal eigenvalues"
ABS = "the second derivative of abs at 0 is 0"
TABLE = {
    "norm squared": Row(lambda x: sg.norm(x) ** 2, sum_of_squares, LENGTHS),
    "norm squared, of squares that vanish": Row(
        lambda x: sg.norm(x) ** 2, sum_of_squares, (TINY,), tape="2 * norm is 0"
    ),
    "norm by norm": Row(lambda x: sg.norm(x) * sg.norm(x), sum_of_squares, LENGTHS),
    "norm to the fourth": Row(lambda x: sg.norm(x) ** 4, lambda x: sum_of_squares(x) ** 2, LENGTHS),
    "norms of rows squared": Row(
        lambda x: sg.norm(x, axis=1, keepdims=True) ** 2,
        lambda x: (x * x).sum(1, keepdims=True),
        (ROWS, np.zeros((2, 2))),
    ),
    "vector_norm squared": Row(lambda x: sg.linalg.vector_norm(x) ** 2, sum_of_squares, LENGTHS),
    "matrix_norm squared": Row(
        lambda x: sg.linalg.matrix_norm(x) ** 2, sum_of_squares, (ROWS, 0 * ROWS)
    ),
    "norm 3 cubed": Row(
        lambda x: sg.norm(x, 3) ** 3, lambda x: (sg.abs(x) ** 3).sum(), (ZEROS, LINE)
    ),
    "half a squared distance": Row(
        lambda x: 0.5 * sg.linalg.norm(x - ONES) ** 2,
        lambda x: 0.5 * ((x - 1.0) ** 2).sum(),
        (ONES, LINE),
    ),
    "pairwise_distance squared": Row(
        lambda x: sg.nn.pairwise_distance(x, ROWS, eps=0.0) ** 2,
        lambda x: ((x - ROWS) ** 2).sum(1),
        (ROWS, 2 * ROWS),
    ),
    "root by hand squared": Row(
        lambda x: by_roots(x) ** 2, sum_of_squares, LENGTHS, tape="NaN, by the slope of sqrt at 0"
    ),
    "std squared": Row(lambda x: sg.std(x) ** 2, sg.var, (ONES, LINE, TIES, ZEROS)),
    "square of std, ddof": Row(
        lambda x: sg.square(sg.std(x, ddof=1)), lambda x: sg.var(x, ddof=1), (ONES, LINE)
    ),
    "nanstd squared": Row(
        lambda x: sg.nanstd(x) ** 2, sg.nanvar, (ONES, np.array([1.0, NAN, 1.0]), LINE)
    ),
    "hypot squared": Row(
        lambda x: sg.hypot(x[0], x[1]) ** 2, lambda x: x[0] * x[0] + x[1] * x[1], LENGTHS
    ),
    "hypot and norm": Row(
        lambda x: sg.hypot(x[0], x[1]), lambda x: sg.norm(x[:2]), (ZEROS, LINE, ONES)
    ),
    "magnitude squared": Row(
        lambda x: abs(x) ** 2, lambda x: x * x, (ZEROS, LINE, HUGE, TINY), tape=ABS
    ),
    "magnitude cubed": Row(lambda x: abs(x) ** 3, lambda x: x * x * abs(x), (ZEROS, LINE)),
    "magnitude by magnitude": Row(
        lambda x: abs(x) * abs(x), lambda x: x * x, (ZEROS, LINE), tape=ABS
    ),
    "complex magnitude squared": Row(
        lambda x: abs(x + 1j * x[::-1]) ** 2,
        lambda x: sg.abs_square(x + 1j * x[::-1]),
        (ZEROS, LINE),
    ),
    "cosine similarity": Row(
        lambda x: sg.nn.cosine_similarity(x, np.stack([LINE, LINE]), eps=1e-3),
        lambda x: (x * LINE).sum(1) / sg.maximum(sg.norm(x, axis=1), 1e-3) / np.linalg.norm(LINE),
        (ROWS, 0 * ROWS),
    ),
    "normalize": Row(
        lambda x: sg.nn.normalize(x, axis=1, eps=1e-3),
        lambda x: x / sg.sqrt((x * x).sum(1, keepdims=True)),
        (ROWS[1:],),
    ),
    "normalize near zero": Row(
        lambda x: sg.nn.normalize(x, axis=1, eps=1e-3), lambda x: x / 1e-3, (0 * ROWS,)
    ),
    "inverse by eigenvalues": Row(
        by_eigenvalues(lambda w: 1.0 / w), inverse, SPECTRA, tape=NO_VECTORS
    ),
    "inverse by a diagonal": Row(by_diagonal, inverse, EQUAL, tape=NO_VECTORS),
    "inverse by einsum": Row(by_einsum, inverse, EQUAL, tape=NO_VECTORS),
    "inverse by halves": Row(by_halves, inverse, EQUAL, tape=NO_VECTORS),
    "inverses of a batch": Row(
        in_batch, lambda x: sg.stack([inverse(x), inverse(2.0 * x)]), EQUAL, tape=NO_VECTORS
    ),
    "cube by eigenvalues": Row(
        by_eigenvalues(lambda w: w**3),
        lambda x: symmetric(x) @ symmetric(x) @ symmetric(x),
        (*SPECTRA, np.zeros((2, 2)), -np.diag([1.0, 1.0, 0.0])),
        tape=NO_VECTORS,
    ),
    "exponential by eigenvalues": Row(
        by_eigenvalues(sg.exp),
        lambda x: sg.linalg.expm(symmetric(x), max_squarings=1),
        (*SPECTRA, np.zeros((3, 3))),
        tape=NO_VECTORS,
    ),
    "svd put together": Row(
        by_singular_values(lambda s: s), lambda x: x * 1.0, SINGULAR_SPECTRA, tape=NO_VECTORS
    ),
    "cube by singular values": Row(
        by_singular_values(lambda s: s**3), lambda x: x @ x.T @ x, SINGULAR_SPECTRA, tape=NO_VECTORS
    ),
    "inverse by singular values": Row(
        lambda x: (factors := sg.linalg.svd(x))[2].T / factors[1] @ factors[0].T,
        sg.linalg.inv,
        SINGULAR_SPECTRA[:3],
        tape=NO_VECTORS,
    ),
    "polar factor": Row(
        lambda x: (factors := sg.linalg.svd(x))[0] @ factors[2],
        lambda x: x @ by_eigenvalues(lambda w: 1.0 / sg.sqrt(w))(x.T @ x),
        SINGULAR_SPECTRA[:3],
        tape=NO_VECTORS,
    ),
    "nuclear norm by eigenvalues": Row(
        lambda x: sg.linalg.svdvals(x).sum(),
        lambda x: sg.sqrt(sg.linalg.eigvalsh(x.T @ x)).sum(),
        SINGULAR_SPECTRA[:3],
        TWICE,
        tolerance=1e-8,
    ),
    "matrix and number": Row(  # with mixed derivatives
        lambda x: by_eigenvalues(lambda w: sg.exp(w * x[9]))(x[:9].reshape(3, 3)),
        lambda x: sg.linalg.expm(symmetric(x[:9].reshape(3, 3)) * x[9], max_squarings=1),
        tuple(np.append(values, 0.7) for values in EQUAL),
        tape=NO_VECTORS,
    ),
    "sign by eigenvalues": Row(
        by_eigenvalues(sg.sign), sign_by_root, (np.diag([-1.0, -1.0, 2.0]),), tape=NO_VECTORS
    ),
    "trace by eigenvalues": Row(
        lambda x: sg.linalg.eigvalsh(symmetric(x)).sum(),
        lambda x: sg.trace(x),
        SPECTRA,
        TWICE,
        tolerance=1e-8,
        tape="rounding of 0",
    ),
    "sum of squared eigenvalues": Row(
        lambda x: (sg.linalg.eigvalsh(symmetric(x)) ** 2).sum(),
        lambda x: (symmetric(x) ** 2).sum(),
        SPECTRA,
        TWICE,
        tolerance=1e-8,
    ),
    "eigh and eigvalsh": Row(
        lambda x: (sg.linalg.eigh(symmetric(x))[0] ** 3).sum(),
        lambda x: (sg.linalg.eigvalsh(symmetric(x)) ** 3).sum(),
        SPECTRA,
        TWICE,
        tolerance=1e-8,
    ),
    "slogdet by eigenvalues": Row(
        lambda x: sg.log(sg.linalg.eigvalsh(symmetric(x))).sum(),
        lambda x: sg.linalg.slogdet(symmetric(x))[1],
        SPECTRA,
        TWICE,
        tolerance=1e-8,
    ),
    # -- functions of each element: infinities, NaN, zeros, the tiny and the huge
    "expm1 and exp": Row(sg.expm1, lambda x: sg.exp(x) - 1.0, (LINE, EDGES, ZEROS)),
    "log1p and log": Row(sg.log1p, lambda x: sg.log(1.0 + x), (abs(LINE), EDGES, ZEROS)),
    "log and log2": Row(sg.log, lambda x: sg.log2(x) * np.log(2.0), (abs(LINE), EDGES)),
    "exp and exp2": Row(sg.exp, lambda x: sg.exp2(x / np.log(2.0)), (LINE, EDGES)),
    "sigmoid and tanh": Row(
        sg.sigmoid, lambda x: 0.5 + 0.5 * sg.tanh(0.5 * x), (LINE, EDGES, ZEROS), tolerance=1e-7
    ),
    "softplus and logaddexp": Row(
        sg.nn.softplus, lambda x: sg.logaddexp(x, 0.0), (LINE, EDGES, ZEROS)
    ),
    "softplus by hand": Row(sg.nn.softplus, lambda x: sg.log(1.0 + sg.exp(x)), (LINE, EDGES[:9])),
    "sinh by hand": Row(sg.sinh, lambda x: 0.5 * (sg.exp(x) - sg.exp(-x)), (LINE, EDGES, ZEROS)),
    "cosh by hand": Row(sg.cosh, lambda x: 0.5 * (sg.exp(x) + sg.exp(-x)), (LINE, EDGES, ZEROS)),
    "arcsinh and log": Row(sg.arcsinh, lambda x: sg.log(x + sg.sqrt(x * x + 1.0)), (LINE, ZEROS)),
    "erfc and erf": Row(sg.erfc, lambda x: 1.0 - sg.erf(x), (LINE, EDGES, ZEROS)),
    "ndtr and erfc": Row(
        sg.special.ndtr, lambda x: 0.5 * sg.erfc(x * -(0.5**0.5)), (LINE, EDGES, ZEROS)
    ),
    "square root and power": Row(sg.sqrt, lambda x: x**0.5, (abs(LINE), ZEROS, EDGES)),
    "reciprocal": Row(lambda x: x**-1, lambda x: 1.0 / x, (LINE, EDGES)),
    "cube": Row(lambda x: x**3, lambda x: x * x * x, (LINE, ZEROS, SMALL)),
    "power by a value": Row(
        lambda x: x ** (3.0 + 0.0 * x), lambda x: x * x * x, (abs(LINE), ZEROS)
    ),
    "xlogy": Row(lambda x: sg.xlogy(2.0, x), lambda x: 2.0 * sg.log(x), (abs(LINE), EDGES)),
    "logit": Row(sg.special.logit, lambda x: sg.log(x / (1.0 - x)), (np.array([0.1, 0.5, 0.9]),)),
    "gammaln": Row(
        sg.special.gammaln, lambda x: sg.log(sg.special.gamma(x)), (np.array([0.3, 1.0, 4.5]),)
    ),
    "sinc at zero": Row(
        sg.sinc, lambda x: 1.0 - (np.pi * x) ** 2 / 6.0 + (np.pi * x) ** 4 / 120.0, (ZEROS,)
    ),
    "sinc": Row(sg.sinc, lambda x: sg.sin(np.pi * x) / (np.pi * x), (LINE / 3,)),
    "magnitude and root": Row(abs, lambda x: sg.sqrt(x * x), (LINE, -LINE)),
    "clip": Row(
        lambda x: sg.clip(x, -1.5, 1.5),
        lambda x: sg.where(x < -1.5, -1.5, sg.where(x > 1.5, 1.5, x)),
        (LINE, EDGES, ZEROS),
    ),
    "tan": Row(sg.tan, lambda x: sg.sin(x) / sg.cos(x), (LINE, ZEROS)),
    "arctan2": Row(lambda x: sg.arctan2(x, 2.0), lambda x: sg.arctan(x / 2.0), (LINE, ZEROS)),
    "i0": Row(sg.special.i0, lambda x: sg.special.i0e(x) * sg.exp(abs(x)), (LINE,)),
    # -- reductions, scans, choices
    "mean": Row(sg.mean, lambda x: x.sum() / 3.0, (LINE, EDGES[:3], 1e150 * LINE)),
    "var and cov": Row(sg.var, lambda x: sg.cov(x, ddof=0), (LINE, ONES, TIES)),
    "var by hand": Row(sg.var, lambda x: ((x - x.mean()) ** 2).mean(), (LINE, ONES)),
    "std and var": Row(sg.std, lambda x: sg.sqrt(sg.var(x)), (LINE, TIES)),
    "product and logarithms": Row(
        sg.prod, lambda x: sg.exp(sg.log(x).sum()), (abs(LINE), 1e100 * abs(LINE))
    ),
    "product with zeros": Row(
        sg.prod,
        lambda x: x[0] * x[1] * x[2],
        (ZEROS, np.array([0.0, 2.0, 3.0]), np.array([0.0, 0.0, 3.0]), LINE),
    ),
    "cumprod with zeros": Row(
        lambda x: sg.cumprod(x),
        lambda x: sg.stack([x[0], x[0] * x[1], x[0] * x[1] * x[2]]),
        (ZEROS, np.array([2.0, 0.0, 3.0]), LINE),
    ),
    "last of cumsum": Row(lambda x: sg.cumsum(x)[-1], sg.sum, (LINE, EDGES)),
    "last of cumprod": Row(lambda x: sg.cumprod(x)[-1], sg.prod, (LINE, ZEROS)),
    "cumsum by a triangle": Row(sg.cumsum, lambda x: np.tril(np.ones((3, 3))) @ x, (LINE,)),
    "max and sort": Row(sg.max, lambda x: sg.sort(x)[-1], (LINE, -LINE)),  # ties: shared, or last
    "max and topk": Row(sg.max, lambda x: sg.topk(x, 1)[0][0], (LINE, -LINE)),
    "median and quantile": Row(sg.median, lambda x: sg.quantile(x, 0.5), (LINE, TIES)),
    "maximum and where": Row(
        lambda x: sg.maximum(x, 0.25), lambda x: sg.where(x > 0.25, x, 0.25), (LINE, ZEROS)
    ),
    "relu and maximum": Row(sg.nn.relu, lambda x: sg.maximum(x, 0.0), (LINE,)),  # 0: 0, or 1/2
    "mask and where": Row(
        lambda x: (x[MASK] ** 2).sum(), lambda x: sg.where(MASK, x**2, 0.0).sum(), (LINE, ZEROS)
    ),
    "nansum and where": Row(
        sg.nansum, lambda x: sg.where(sg.isnan(x), 0.0, x).sum(), (LINE, np.array([1.0, NAN, 2.0]))
    ),
    "nanmean": Row(sg.nanmean, lambda x: (x[0] + x[2]) / 2.0, (np.array([1.0, NAN, 2.0]),)),
    # -- softmax and its relatives
    "logsumexp and logaddexp": Row(
        lambda x: sg.nn.logsumexp(x[:2]),
        lambda x: sg.logaddexp(x[0], x[1]),
        (LINE, ZEROS, 800 * LINE, *INFINITE[:2]),
    ),
    "logsumexp by hand": Row(
        sg.nn.logsumexp, lambda x: sg.log(sg.exp(x).sum()), (LINE, *INFINITE[:2])
    ),
    "softmax and log_softmax": Row(
        sg.nn.softmax, lambda x: sg.exp(sg.nn.log_softmax(x)), (LINE, TIES, 900 * LINE)
    ),
    "softmax by hand": Row(sg.nn.softmax, lambda x: sg.exp(x) / sg.exp(x).sum(), (LINE, TIES)),
    "log_softmax and logsumexp": Row(
        sg.nn.log_softmax, lambda x: x - sg.nn.logsumexp(x), (LINE, TIES, 900 * LINE)
    ),
    "two of softmax and sigmoid": Row(
        lambda x: sg.nn.softmax(x[:2])[0], lambda x: sg.sigmoid(x[0] - x[1]), (LINE, 900 * LINE)
    ),
    # -- products
    "einsum and matmul": Row(
        lambda x: sg.einsum("ij,kj->ik", x, x), lambda x: x @ x.T, (ROWS, 0 * ROWS)
    ),
    "tensordot and sum": Row(
        lambda x: sg.tensordot(x, x, 2), lambda x: (x * x).sum(), (ROWS, 0 * ROWS)
    ),
    "convolution and windows": Row(
        lambda x: sg.convolve(x, x),
        lambda x: sg.stack(
            [
                x[0] * x[0],
                2.0 * x[0] * x[1],
                2.0 * x[0] * x[2] + x[1] * x[1],
                2.0 * x[1] * x[2],
                x[2] * x[2],
            ]
        ),
        (LINE, ZEROS),
    ),
    "Fourier transform and back": Row(
        lambda x: (sg.fft.ifft(sg.fft.fft(x)) ** 2).real, lambda x: x * x, (LINE,)
    ),
    "Parseval": Row(
        lambda x: sg.abs_square(sg.fft.fft(x)).sum() / 3.0, lambda x: (x * x).sum(), (LINE, ZEROS)
    ),
    "solve and inv": Row(
        lambda x: sg.linalg.solve(x, LINE), lambda x: sg.linalg.inv(x) @ LINE, (SPECTRA[3],)
    ),
    "lstsq and solve": Row(
        lambda x: sg.linalg.lstsq(x, LINE)[0], lambda x: sg.linalg.solve(x, LINE), (SPECTRA[3],)
    ),
    "cholesky and solve": Row(
        lambda x: sg.linalg.cho_solve(sg.linalg.cho_factor(symmetric(x)), LINE),
        lambda x: sg.linalg.solve(symmetric(x), LINE),
        (SPECTRA[3], *EQUAL),
    ),
    "det and slogdet": Row(
        sg.linalg.det,
        lambda x: (factors := sg.linalg.slogdet(x))[0] * sg.exp(factors[1]),
        (SPECTRA[3], -SPECTRA[3], *EQUAL, BIG),
    ),
    "det by cofactors": Row(
        lambda x: sg.linalg.det(x),
        lambda x: sum((-1) ** k * x[0, k] * sg.linalg.det(minor_of(x, k)) for k in range(4)),
        (BIG, *SINGULAR),
        SECOND,
        tape="the sign of a 0",
    ),
    "det of a product": Row(
        lambda x: sg.linalg.det(x @ x), lambda x: sg.linalg.det(x) ** 2, (SPECTRA[3], 0.1 * BIG)
    ),
    "logdet by Cholesky": Row(
        lambda x: 2.0 * sg.log(sg.linalg.diagonal(sg.linalg.cholesky(symmetric(x)))).sum(),
        lambda x: sg.linalg.slogdet(symmetric(x))[1],
        (SPECTRA[3], *EQUAL),
    ),
    "eigh and svd": Row(
        lambda x: sg.linalg.eigvalsh(x @ x.T),
        lambda x: sg.flip(sg.linalg.svdvals(x) ** 2),
        (SPECTRA[3],),
    ),
    "nuclear norm": Row(
        lambda x: sg.linalg.matrix_norm(x, ord="nuc"),
        lambda x: sg.linalg.svd(x)[1].sum(),
        (SPECTRA[3], *EQUAL),
        TWICE,
    ),
    "qr and cholesky": Row(
        lambda x: sg.abs(sg.linalg.qr(x, "r")),
        lambda x: sg.abs(sg.linalg.cholesky(x.T @ x, upper=True)),
        (SPECTRA[3],),
    ),
    "mse": Row(lambda x: sg.nn.mse(x, LINE), lambda x: ((x - LINE) ** 2).mean(), (LINE, ZEROS)),
    "layer_norm": Row(
        lambda x: sg.nn.layer_norm(x, eps=1e-3),
        lambda x: (x - x.mean()) / sg.sqrt(sg.var(x) + 1e-3),
        (LINE, ONES, ZEROS),
    ),
    "rms_norm": Row(
        lambda x: sg.nn.rms_norm(x, eps=1e-3),
        lambda x: x / sg.sqrt((x * x).mean() + 1e-3),
        (LINE, ZEROS),
    ),
}


def along(shape):
    """A direction, or weights, none of which is 0."""
    return np.linspace(0.7, 1.9, max(int(np.prod(shape)), 1)).reshape(shape)


def readings(row, function, point):
    """The value, and the derivatives along a direction in every order of the modes."""
    x = sg.input("x", point.shape, "float64")
    value = function(x)
    loss = (value * along(value.shape)).sum()
    way = -along(point.shape)
    first = sg.grad(loss, x)
    forward = sg.jvp(loss, x, way)
    actual = {
        "value": value,
        "gradient": first,
        "forward": forward,
        "reverse over reverse": sg.grad((first * way).sum(), x, allow_disconnected=True),
        "forward over reverse": sg.jvp(first, x, way, allow_disconnected=True),
        "reverse over forward": sg.grad(forward, x, allow_disconnected=True),
        "twice forward": sg.jvp(forward, x, way, allow_disconnected=True),
    }
    with np.errstate(all="ignore"):
        actual = sg.evaluate(sg.Graph(actual, inputs=[x]), {"x": point})
    with np.errstate(all="ignore"):
        compare_modes(row, actual, way)
    return actual


def compare_modes(row, actual, way):
    """Compare all orders of the modes with reverse mode, and leave that."""
    first, second = actual["gradient"] * way, actual["reverse over reverse"]
    same(row, "forward", actual.pop("forward"), first.sum(), scale=np.abs(first).sum())
    scale = np.abs(second * way).sum() + 1e-4 * np.abs(first).sum()
    same(row, "twice forward", actual.pop("twice forward"), (second * way).sum(), scale=scale)
    for what in ("forward over reverse", "reverse over forward"):
        same(row, what, actual.pop(what), second, scale=scale)


def on_tape(function, point):
    """The value, the gradient and its derivative along a direction, by the tape."""
    x = Tensor(point, requires_grad=True)
    value = function(x)
    first = tape_grad((value * along(value.shape)).sum(), x, create_graph=True)
    results = {"value": value.numpy(), "gradient": first.numpy()}
    if first.requires_grad:
        second = tape_grad((first * -along(point.shape)).sum(), x, allow_disconnected=True)
        results["reverse over reverse"] = second.numpy()
    return results


def same(row, what, actual, expected, scale=0.0, blind=False):
    """Compare; where ``blind``, NaN stands for anything. ``scale``: of terms that cancel."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if blind or what in row.blind:
        expected = np.where(np.isnan(actual), NAN, expected)
    size = np.abs(expected[np.isfinite(expected)]).max(initial=1e-300)
    if np.isfinite(scale):
        size = max(size, scale)
    np.testing.assert_allclose(actual, expected, row.tolerance, row.tolerance * size, err_msg=what)


POINTS = [(name, k) for name, row in TABLE.items() for k in range(len(row.points))]


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("name", "k"), POINTS)
def test_two_roads_meet(name, k):
    row = TABLE[name]
    point = np.asarray(row.points[k], np.float64)
    left, right = readings(row, row.left, point), readings(row, row.right, point)
    assert left.keys() == right.keys() == {"value", "gradient", "reverse over reverse"}
    for what, expected in right.items():
        same(row, what, left[what], expected)


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("name", "k"), [p for p in POINTS if not TABLE[p[0]].tape])
def test_the_tape_takes_the_same_roads(name, k):
    row = TABLE[name]
    point = np.asarray(row.points[k], np.float64)
    expected = readings(row, row.left, point)
    with np.errstate(all="ignore"):
        actual = on_tape(row.left, point)
    assert {"value", "gradient"} <= actual.keys() <= expected.keys()
    for what, array in actual.items():
        same(row, what, array, expected[what], blind=what == "reverse over reverse")


def test_eigenvalues_in_the_middle_have_their_own_gradient():
    x = sg.input("x", (3, 3), "float64")
    values, vectors = sg.linalg.eigh(x)
    loss = ((vectors * sg.exp(values)) @ vectors.T * along((3, 3))).sum()
    point = {"x": SPECTRA[3]}
    by_values, by_vectors, by_x = sg.evaluate(sg.grad(loss, [values, vectors, x]), point)
    w, v = np.linalg.eigh(SPECTRA[3])
    middle = v.T @ along((3, 3)) @ v
    np.testing.assert_allclose(by_values, np.exp(w) * np.diag(middle), 1e-12)
    symmetric = along((3, 3)) + along((3, 3)).T
    np.testing.assert_allclose(np.abs(by_vectors), np.abs(symmetric @ v * np.exp(w)), 1e-11)
    (alone,) = sg.evaluate([sg.grad(loss, x)], point)
    np.testing.assert_array_equal(by_x, alone)


@pytest.mark.parametrize(
    "chosen",
    [
        lambda v: v[:, 2],
        lambda v: v[:, -1:],
        lambda v: v.T[2],
        lambda v: v[:, [2]],
        lambda v: sg.take(v, -1, 1),
        lambda v: sg.stack([v[0, 2], v[1, 2], v[2, 2]]),
    ],
)
def test_an_eigenvector_beside_equal_ones(chosen):
    """Forward and reverse mode agree with differences; those of equal eigenvalues are NaN."""
    x = sg.input("x", (3, 3), "float64")
    _, vectors = sg.linalg.eigh(x)
    eigenvector = chosen(vectors).reshape(-1)
    loss = (eigenvector * sg.sign(eigenvector[2]) * LINE).sum()
    way = along((3, 3)) + along((3, 3)).T
    first = sg.grad(loss, x)
    outputs = {"gradient": first, "forward": sg.jvp(loss, x, way), "loss": loss}
    outputs["second"] = sg.grad((first * way).sum(), x)
    outputs["others"] = sg.grad((vectors[:, 0] * LINE).sum(), x)
    graph = sg.Graph(outputs, inputs=[x])
    point = np.diag([1.0, 1.0, 3.0])
    with np.errstate(all="ignore"):
        at = sg.evaluate(graph, {"x": point})
        up, down = (sg.evaluate(graph, {"x": point + k * way})["loss"] for k in (1e-5, -1e-5))
    np.testing.assert_allclose((at["gradient"] * np.tril(way)).sum(), (up - down) / 2e-5, 1e-8)
    np.testing.assert_allclose(at["forward"], (up - down) / 2e-5, 1e-8)
    assert not np.isfinite(at["second"]).all()
    assert not np.isfinite(at["others"]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_the_gradient_of_a_determinant_is_its_cofactors(dtype):
    """The same for pivots that are 0 above the last one; 0, but for rounding, at rank n - 2."""
    ones = np.diag([1.0, 1.0, 1.0], 1)
    for matrix, expected in (
        (ones, np.where(np.arange(16).reshape(4, 4) == 12, -1.0, 0.0)),
        (np.diag([2.0, 0.0, 3.0, 5.0]), np.diag([0.0, 30.0, 0.0, 0.0])),
        (np.diag([2.0, 0.0, 3.0, 0.0]), 0.0),
        (np.ones((5, 5)), 0.0),
        (np.zeros((4, 4)), 0.0),
    ):
        slope = sg.grad(lambda x: sg.linalg.det(x).real)(matrix.astype(dtype))
        np.testing.assert_allclose(slope, expected + 0 * matrix, 1e-6, 1e-11)


@pytest.mark.parametrize("over", [(0, 0), (None, 0), (0, None)])
def test_functions_of_batches_of_matrices(over):
    """Gradients of mapped gradients are those of one matrix, and one number, after the other."""

    def slopes(x, t):
        loss = (by_eigenvalues(lambda w: sg.exp(t * w))(x) * along((3, 3))).sum()
        by_x, by_t = sg.grad(loss, [x, t])
        return (by_x * along((3, 3))).sum() + 2.0 * by_t

    matrices, numbers = np.stack([SPECTRA[0], SPECTRA[3]]), np.array([0.3, -0.7])
    x = sg.input("x", (3, 3) if over[0] is None else (2, 3, 3), "float64")
    t = sg.input("t", () if over[1] is None else (2,), "float64")
    at = {"x": matrices[1] if over[0] is None else matrices}
    at["t"] = numbers[0] if over[1] is None else numbers
    actual = sg.evaluate(sg.grad(sg.vmap(slopes, over)(x, t).sum(), [x, t]), at)
    matrix, number = sg.input("one", (3, 3), "float64"), sg.input("number", (), "float64")
    slopes_of_one = sg.grad(slopes(matrix, number), [matrix, number])
    expected = [np.zeros(x.shape), np.zeros(t.shape)]
    for k in range(2):
        places = [() if axis is None else k for axis in over]
        feeds = {"one": at["x"][places[0]], "number": at["t"][places[1]]}
        for total, place, share in zip(
            expected, places, sg.evaluate(slopes_of_one, feeds), strict=True
        ):
            total[place] += share
    for got, want in zip(actual, expected, strict=True):
        np.testing.assert_allclose(got, want, 1e-10, 1e-11)


def test_a_polar_factor_of_a_singular_matrix_has_no_gradient():
    x = sg.input("x", (3, 3), "float64")
    slope = sg.grad((by_singular_values(lambda s: s**0)(x) * along((3, 3))).sum(), x)
    with np.errstate(all="ignore"):
        assert np.isnan(sg.evaluate([slope], {"x": SINGULAR_SPECTRA[3]})[0]).all()


def test_third_derivatives_of_equal_eigenvalues_are_missing():
    """NaN says that; elsewhere they are those of differences."""
    x = sg.input("x", (3, 3), "float64")
    way = along((3, 3)) + along((3, 3)).T
    derivative = (by_eigenvalues(sg.exp)(x) * along((3, 3))).sum()
    for _ in range(3):
        second, derivative = derivative, (sg.grad(derivative, x) * way).sum()
    graph = sg.Graph({"second": second, "third": derivative}, inputs=[x])
    assert np.isnan(sg.evaluate(graph, {"x": EQUAL[0]})["third"])
    step = 1e-4 * way
    third = sg.evaluate(graph, {"x": SPECTRA[3]})["third"]
    up, down = (
        sg.evaluate(graph, {"x": SPECTRA[3] + offset})["second"] for offset in (step, -step)
    )
    np.testing.assert_allclose(third, (up - down) / 2e-4, 1e-6)
