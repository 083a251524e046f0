"""Transforms between unconstrained numbers and constrained ones, with log-determinants.

Each has ``forward(u)``, from the real line to the constrained space, ``inverse(x)``, and
``log_det(u)``, the logarithm of the determinant of the Jacobian of ``forward``: a density of x
becomes one of u by ``logpdf(forward(u)) + log_det(u)``. ``real``, ``positive``,
``lower_bounded``, ``upper_bounded`` and ``interval`` map elements, each with a log-determinant of
its own; the others map vectors along the last axis, each with one.

The formulas are those of Stan's reference manual, "Constraint Transforms".

    >>> import numpy as np, staticgrad as sg
    >>> to = sg.stats.transforms.simplex
    >>> to.forward(np.zeros(3))
    array([0.25, 0.25, 0.25, 0.25])
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any, ClassVar

import numpy as np

from staticgrad import special
from staticgrad.errors import ShapeError
from staticgrad.extend import make_boundaries, public
from staticgrad.extend.functions import sum as total
from staticgrad.extend.ops import (
    arctanh,
    concatenate,
    cumsum,
    exp,
    log,
    matmul,
    reshape,
    sigmoid,
    sqrt,
    swapaxes,
    take,
    tanh,
    where,
)
from staticgrad.linalg import cholesky
from staticgrad.nn.functional.basics import softplus
from staticgrad.stats.base import LOG_2, compute_formula

__all__ = [
    "cholesky_corr", "interval", "lower_bounded", "ordered", "positive", "positive_definite",
    "real", "simplex", "upper_bounded",
]  # fmt: skip


@make_boundaries
class Transform:
    """A map from unconstrained numbers; of arrays alone it computes at once."""

    names_messages: ClassVar[bool] = True
    #: Axes of what one log-determinant belongs to: 0 for maps of elements.
    axes: ClassVar[int] = 0
    name = "transform"

    def __repr__(self) -> str:
        return f"sg.stats.transforms.{self.name}"

    def forward(self, u: Any) -> Any:
        """Return the constrained numbers."""
        return compute_formula(self.name, self._forward, [u])

    def inverse(self, x: Any) -> Any:
        """Return the unconstrained numbers."""
        return compute_formula(self.name, self._inverse, [x])

    def log_det(self, u: Any) -> Any:
        """Return log(abs(det)) of the Jacobian of ``forward`` at ``u``."""
        return compute_formula(self.name, self._log_det, [u])

    def _forward(self, u: Any) -> Any:
        raise NotImplementedError

    def _inverse(self, x: Any) -> Any:
        raise NotImplementedError

    def _log_det(self, u: Any) -> Any:
        raise NotImplementedError


class Real(Transform):
    """Numbers without a constraint."""

    name = "real"

    def _forward(self, u: Any) -> Any:
        return u + 0.0

    def _inverse(self, x: Any) -> Any:
        return x + 0.0

    def _log_det(self, u: Any) -> Any:
        return u * 0.0


class Positive(Transform):
    """Positive numbers: exp(u)."""

    name = "positive"

    def _forward(self, u: Any) -> Any:
        return exp(u)

    def _inverse(self, x: Any) -> Any:
        return log(x)

    def _log_det(self, u: Any) -> Any:
        return u + 0.0


class _Bounded(Transform):
    """Numbers on one side of a bound."""

    def __init__(self, name: str, bound: float, sign: float) -> None:
        self.name, self.bound, self.sign = name, bound, sign

    def __repr__(self) -> str:
        return f"sg.stats.transforms.{self.name}({self.bound})"

    def _forward(self, u: Any) -> Any:
        return exp(u) * self.sign + self.bound

    def _inverse(self, x: Any) -> Any:
        return log((x - self.bound) * self.sign)

    def _log_det(self, u: Any) -> Any:
        return u + 0.0


class _Interval(Transform):
    """Numbers between two bounds, by the logistic function."""

    name = "interval"

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __repr__(self) -> str:
        return f"sg.stats.transforms.interval({self.low}, {self.high})"

    def _forward(self, u: Any) -> Any:
        return sigmoid(u) * (self.high - self.low) + self.low

    def _inverse(self, x: Any) -> Any:
        return special.logit((x - self.low) / (self.high - self.low))

    def _log_det(self, u: Any) -> Any:
        return _round_log(self.high - self.low) - softplus(u) - softplus(-u)


class Ordered(Transform):
    """Increasing vectors: the first number, and the logarithms of the steps."""

    name = "ordered"
    axes = 1

    def _forward(self, u: Any) -> Any:
        return cumsum(concatenate([u[..., :1], exp(u[..., 1:])], -1), -1)

    def _inverse(self, x: Any) -> Any:
        return concatenate([x[..., :1], log(x[..., 1:] - x[..., :-1])], -1)

    def _log_det(self, u: Any) -> Any:
        return total(u[..., 1:], -1)


class Simplex(Transform):
    """Shares that add up to 1, one more than u has numbers: stick-breaking; 0 gives equal ones."""

    name = "simplex"
    axes = 1

    def _sticks(self, u: Any) -> tuple[Any, Any, Any]:
        """Logarithms of the broken parts, of what is left of each, and of the stick before it."""
        count = u.shape[-1]
        shifted = u - _logs_down_from(count).astype(u.dtype.numpy)
        part, log_remainder = -softplus(-shifted), -softplus(shifted)
        log_left = cumsum(log_remainder, -1)
        return part, log_left, log_left - log_remainder

    def _forward(self, u: Any) -> Any:
        part, log_left, log_before = self._sticks(u)
        return exp(concatenate([part + log_before, log_left[..., -1:]], -1))

    def _inverse(self, x: Any) -> Any:
        count = x.shape[-1] - 1
        left = 1.0 - cumsum(x[..., :-1], -1)
        left = where(left > x[..., -1:], left, x[..., -1:])
        shift = _logs_down_from(count).astype(x.dtype.numpy)
        return log(x[..., :-1]) - log(left) + shift

    def _log_det(self, u: Any) -> Any:
        part, log_left, _ = self._sticks(u)
        return total(part + log_left, -1)


def _round_log(number: float) -> float:
    """Return log(number), correctly rounded: the last bit of NumPy's is the machine's."""
    return float(Decimal(float(number)).ln(Context(prec=40)))


def _logs_down_from(count: int) -> Any:
    """Return log(count), ..., log(2), log(1)."""
    return np.array([_round_log(number) for number in range(count, 0, -1)])


def _side(count: Any, diagonal: bool) -> int:
    """Return the size of a square matrix whose lower triangle has this many elements."""
    size = 0
    while isinstance(count, int) and size * (size + (1 if diagonal else -1)) // 2 < count:
        size += 1
    if not isinstance(count, int) or size * (size + (1 if diagonal else -1)) // 2 != count:
        raise ShapeError(f"a vector of {count} numbers is not the lower triangle of a matrix")
    return size


def _triangle(u: Any, size: int, offset: int) -> Any:
    """Put the elements of vectors into the lower triangles of matrices."""
    places = np.zeros((size, size), np.int64)
    mask = np.zeros((size, size), bool)
    rows, columns = np.tril_indices(size, offset)
    places[rows, columns], mask[rows, columns] = np.arange(len(rows)), True
    spread = reshape(take(u, places.ravel(), -1), (*u.shape[:-1], size, size))
    return where(mask, spread, 0.0)


def _elements(matrix: Any, offset: int) -> Any:
    """The elements of the lower triangle, as vectors."""
    size = matrix.shape[-1]
    rows, columns = np.tril_indices(size, offset)
    flat = reshape(matrix, (*matrix.shape[:-2], size * size))
    return take(flat, rows * size + columns, -1)


class CholeskyCorrelation(Transform):
    """Lower Cholesky factors of correlation matrices, of d (d - 1) / 2 numbers.

    tanh(u) are partial correlations.
    """

    name = "cholesky_corr"
    axes = 1

    def _parts(self, u: Any) -> tuple[Any, Any, Any]:
        """Partial correlations z, log(1 - z**2), and its sums over the columns before."""
        spread = _triangle(u, _side(u.shape[-1], False) if u.shape[-1] else 1, -1)
        log_complement = 2.0 * (LOG_2 - spread - softplus(-2.0 * spread))
        return tanh(spread), log_complement, cumsum(log_complement, -1) - log_complement

    def _forward(self, u: Any) -> Any:
        z, _, log_before = self._parts(u)
        size = z.shape[-1]
        below = np.tril(np.ones((size, size)), -1) > 0
        scale = exp(log_before * 0.5)
        return where(below, z * scale, where(np.eye(size) > 0, scale, 0.0))

    def _inverse(self, x: Any) -> Any:
        size = x.shape[-1]
        below = np.tril(np.ones((size, size)), -1) > 0
        square = where(below, x * x, 0.0)
        left = 1.0 - (cumsum(square, -1) - square)
        z = where(below, x / sqrt(where(below, left, 1.0)), 0.0)
        return _elements(arctanh(z), -1)

    def _log_det(self, u: Any) -> Any:
        _, log_complement, log_before = self._parts(u)
        size = log_complement.shape[-1]
        below = np.tril(np.ones((size, size)), -1) > 0
        return total(where(below, log_complement + log_before * 0.5, 0.0), (-2, -1))


class PositiveDefinite(Transform):
    """Positive definite matrices, of d (d + 1) / 2 numbers: those of the Cholesky factor.

    Its diagonal is exp(u); the determinant is that of the map to the lower triangle of the matrix.
    """

    name = "positive_definite"
    axes = 1

    def _forward(self, u: Any) -> Any:
        size = _side(u.shape[-1], True)
        spread = _triangle(u, size, 0)
        on = np.eye(size) > 0
        factor = where(on, exp(where(on, spread, 0.0)), spread)
        return matmul(factor, swapaxes(factor, -1, -2))

    def _inverse(self, x: Any) -> Any:
        size = x.shape[-1]
        factor, on = cholesky(x), np.eye(size) > 0
        return _elements(where(on, log(where(on, factor, 1.0)), factor), 0)

    def _log_det(self, u: Any) -> Any:
        size = _side(u.shape[-1], True)
        places = np.cumsum(np.arange(1, size + 1)) - 1
        powers = (size + 1.0 - np.arange(size)).astype(u.dtype.numpy)
        return total(take(u, places, -1) * powers, -1) + size * LOG_2


real = Real()
positive = Positive()
ordered = Ordered()
simplex = Simplex()
cholesky_corr = CholeskyCorrelation()
positive_definite = PositiveDefinite()


@public
def lower_bounded(low: float) -> Transform:
    """Return the transform to numbers above ``low``."""
    return _Bounded("lower_bounded", low, 1.0)


@public
def upper_bounded(high: float) -> Transform:
    """Return the transform to numbers below ``high``."""
    return _Bounded("upper_bounded", high, -1.0)


@public
def interval(low: float, high: float) -> Transform:
    """Return the transform to numbers between ``low`` and ``high``."""
    return _Interval(low, high)
