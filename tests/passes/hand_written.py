"""Formulas as people write them, with what they mean: values and derivatives at extreme points.

``FORMULAS`` has, for each function, the spellings of it and the true function over mpmath numbers.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

import staticgrad as sg
from tests.helpers.limits import finfo

context = mpmath.MPContext()
context.dps = 1000  # second differences of what is as small as 1e-308 beside 1000
exp, log = context.exp, context.log

#: Logits: overflow, underflow, cancellation, ties.
POINTS = ([1000.0, -1000.0, 0.0], [800.0, -800.0, 800.0], [30.0, -30.0, 30.0], [0.0, 0.0, 0.0],
          [-1000.0, -1000.0, -800.0], [1000.0, 800.0, 30.0], [0.5, -1.25, 2.0])  # fmt: skip
#: Exponents of what is taken off 1: its slope is as small as the exponential.
BELOW = ([-0.25, -5.0, -10.0], [-15.0, -17.0, -20.0], [-30.0, -36.0, -40.0], [-0.5, -2.5, -80.0])
WEIGHTS = (0.75, -2.0, 1.5)
TARGETS = (0.25, 1.0, 0.0)
LABEL = 1

Spelling = Callable[[Any], Any]


@dataclass(frozen=True)
class Formula:
    """One function of a row of three numbers.

    ``true`` maps the elements of a row to those of the result. ``relative``: every digit counts,
    however small the result is; else an error is measured beside 1. ``points`` are the rows.
    """

    name: str
    spellings: tuple[Spelling, ...]
    true: Callable[[Any], Any]
    relative: bool = False
    points: tuple[list[float], ...] = POINTS


def of_exponents(name, true, *spellings):
    """A formula of each element alone, at exponents below 0."""
    return Formula(name, spellings, lambda row: [true(x) for x in row], True, BELOW)


def sigmoid(x):
    return 1 / (1 + exp(-x))


def total(row):
    return sum(map(exp, row))


def bce_true(row):
    return [log(1 + exp(x)) - x * t for x, t in zip(row, TARGETS, strict=True)]


def bce(s, one_minus=lambda s: 1.0 - s):
    t = np.array(TARGETS)
    return lambda x: -(of(t, x) * sg.log(s(x)) + of(1.0 - t, x) * sg.log(one_minus(s(x))))


def of(numbers, x):
    """Numbers in the dtype of x."""
    return np.asarray(numbers).astype(x.dtype.numpy)


def one_hot(x):
    return of(np.eye(3)[LABEL], x)


def rows(p):
    """One row as a matrix of one, for what picks by label."""
    return p.reshape(1, 3)


def pick_label(p):
    return sg.take_along_axis(rows(p), np.array([[LABEL]]), 1)


SIGMOIDS = (
    lambda x: 1 / (1 + sg.exp(-x)),
    lambda x: sg.exp(x) / (1 + sg.exp(x)),
    lambda x: sg.exp(x) / (sg.exp(x) + 1),
    lambda x: (sg.exp(-x) + 1.0) ** -1,
    lambda x: sg.reciprocal(1.0 + sg.exp(-x)),
    lambda x: 1.0 - 1.0 / (1.0 + sg.exp(x)),
    lambda x: sg.exp(x) * (1.0 / (1.0 + sg.exp(x))),
    lambda x: sg.where(x > 0, 1 / (1 + sg.exp(-x)), sg.exp(x) / (1 + sg.exp(x))),
    sg.sigmoid,
)
SOFTMAXES = (
    lambda x: sg.exp(x) / sg.exp(x).sum(),
    lambda x: sg.exp(x) / sg.exp(x).sum(-1, keepdims=True),
    lambda x: (sg.exp(rows(x)) / sg.exp(rows(x)).sum(1)[:, None]).reshape(3),
    lambda x: sg.exp(x - sg.max(x)) / sg.exp(x - sg.max(x)).sum(),
    lambda x: sg.exp(x - sg.stop_gradient(sg.max(x))) / sg.exp(x - sg.stop_gradient(x.max())).sum(),
    lambda x: sg.exp(x - sg.nn.logsumexp(x)),
    sg.nn.softmax,
)
LOGSUMEXPS = (
    lambda x: sg.log(sg.exp(x).sum()),
    lambda x: sg.log(sg.exp(x).sum(-1)),
    lambda x: sg.log(sg.exp(x).sum(0, keepdims=True)).reshape(()),
    lambda x: sg.log(sg.exp(x - x.max()).sum()) + x.max(),
    sg.nn.logsumexp,
)
LOG_SOFTMAXES = (
    *(lambda x, p=p: sg.log(p(x)) for p in SOFTMAXES if p is not SOFTMAXES[5]),
    *(lambda x, s=s: x - s(x) for s in LOGSUMEXPS),
    lambda x: x - sg.log(sg.exp(x).sum(-1, keepdims=True)),
    sg.nn.log_softmax,
)
FORMULAS = (
    Formula("sigmoid", SIGMOIDS, lambda row: [sigmoid(x) for x in row], True),
    Formula(
        "softplus",
        (
            lambda x: sg.log(1 + sg.exp(x)),
            lambda x: sg.log(sg.exp(x) + 1.0),
            lambda x: sg.log1p(sg.exp(x)),
            lambda x: -sg.log(1 / (1 + sg.exp(x))),
            lambda x: -sg.log(1.0 - sg.sigmoid(x)),
            lambda x: sg.logaddexp(x, 0.0),
            sg.nn.softplus,
        ),
        lambda row: [log(1 + exp(x)) for x in row],
        True,
    ),
    Formula(
        "log-sigmoid",
        tuple(lambda x, s=s: sg.log(s(x)) for s in SIGMOIDS if s is not SIGMOIDS[7]),
        lambda row: [-log(1 + exp(-x)) for x in row],
        True,
    ),
    Formula("softmax", SOFTMAXES, lambda row: [exp(x) / total(row) for x in row]),
    Formula("logsumexp", LOGSUMEXPS, lambda row: [log(total(row))]),
    Formula("log-softmax", LOG_SOFTMAXES, lambda row: [x - log(total(row)) for x in row]),
    Formula(
        "binary cross entropy",
        (
            *(bce(s) for s in SIGMOIDS if s is not SIGMOIDS[7]),
            lambda x: sg.log1p(sg.exp(x)) - of(TARGETS, x) * x,
            lambda x: (
                -(
                    of(TARGETS, x) * sg.log(sg.sigmoid(x))
                    + (1.0 - of(TARGETS, x)) * sg.log1p(-sg.sigmoid(x))
                )
            ),
            lambda x: (
                -(
                    of(TARGETS, x) * sg.log(1 / (1 + sg.exp(-x)))
                    + (1.0 - of(TARGETS, x)) * sg.log(1 / (1 + sg.exp(x)))
                )
            ),
            lambda x: sg.nn.softplus(x) - of(TARGETS, x) * x,
        ),
        bce_true,
    ),
    Formula(
        "categorical cross entropy",
        (
            *(lambda x, p=p: -(one_hot(x) * sg.log(p(x))).sum() for p in SOFTMAXES[:5]),
            *(lambda x, p=p: -pick_label(sg.log(p(x))).sum() for p in SOFTMAXES[:5]),
            *(lambda x, p=p: -sg.log(pick_label(p(x))).sum() for p in SOFTMAXES[:2]),
            lambda x: -sg.log(p_of(x)[np.array([0]), np.array([LABEL])]).sum(),
            lambda x: -sg.log(p_of(x))[np.array([0]), np.array([LABEL])].sum(),
            lambda x: sg.log(sg.exp(x).sum()) - x[LABEL],
            lambda x: sg.nn.cross_entropy(rows(x), np.array([LABEL])),
        ),
        lambda row: [log(total(row)) - row[LABEL]],
    ),
    of_exponents(
        "expm1",
        lambda x: exp(x) - 1,
        lambda x: sg.exp(x) - 1,
        lambda x: -(1.0 - sg.exp(x)),
        lambda x: 3.0 * sg.exp(x) - 2.0 * sg.exp(x) - 1.0,
        sg.expm1,
        sg.nn.elu,
        sg.nn.celu,
        lambda x: sg.where(x > 0, x, sg.exp(x) - 1),
    ),
    of_exponents(
        "selu",
        lambda x: context.mpf(1.0507009873554805) * context.mpf(1.6732632423543772) * (exp(x) - 1),
        sg.nn.selu,
    ),
    of_exponents(
        "square of 1 - exp",
        lambda x: (1 - exp(x)) ** 2,
        lambda x: (1 - sg.exp(x)) ** 2,
        lambda x: (sg.exp(x) - 1) * (sg.exp(x) - 1),
    ),
    of_exponents(
        "reciprocal of 1 - exp",
        lambda x: 1 / (1 - exp(x)),
        lambda x: 1 / (1 - sg.exp(x)),
        lambda x: (1 - sg.exp(x)) ** -1,
        lambda x: sg.reciprocal(-sg.expm1(x)),
    ),
    of_exponents(
        "root of 1 - exp",
        lambda x: context.sqrt(1 - exp(x)),
        lambda x: sg.sqrt(1 - sg.exp(x)),
        lambda x: (1 - sg.exp(x)) ** 0.5,
    ),
    of_exponents(
        "complementary log-log",
        lambda x: 1 - exp(-exp(x)),
        lambda x: 1 - sg.exp(-sg.exp(x)),
        lambda x: -sg.expm1(-sg.exp(x)),
    ),
    of_exponents(
        "exp of 1 - exp",
        lambda x: exp(exp(x) - 1),
        lambda x: sg.exp(-(1 - sg.exp(x))),
        lambda x: sg.exp(sg.expm1(x)),
    ),
)


def p_of(x):
    return sg.exp(rows(x)) / sg.exp(rows(x)).sum(1, keepdims=True)


#: How a result becomes a loss: the weight of each of its elements.
REDUCTIONS = {
    "sum": (lambda y: y.sum(), lambda n: [1] * n),
    "mean": (lambda y: y.mean(), lambda n: [context.one / n] * n),
    "weighted": (lambda y: (y * of(WEIGHTS[: y.size], y)).sum(), lambda n: WEIGHTS[:n]),
    "minus": (lambda y: -y.sum(), lambda n: [-1] * n),
}
_STEP = context.mpf(10) ** -150


@functools.cache
def _true_elements(name, point):
    """Each element of the result, its gradient and its Hessian, by differences."""
    true = next(formula.true for formula in FORMULAS if formula.name == name)

    def at(*moves):
        row = [context.mpf(x) for x in point]
        for place, sign in moves:
            row[place] += sign * _STEP
        return np.array(true(row), object)

    slope = [(at((i, 1)) - at((i, -1))) / (2 * _STEP) for i in range(3)]
    curve = [
        [
            sum(a * b * at((i, a), (j, b)) for a in (1, -1) for b in (1, -1)) / (4 * _STEP**2)
            for j in range(i + 1)
        ]
        for i in range(3)
    ]
    hessian = [[curve[max(i, j)][min(i, j)] for j in range(3)] for i in range(3)]
    return at(), np.array(slope), np.array(hessian)


def true_values(name, reduction, point):
    """The loss, its gradient and its Hessian."""
    parts = _true_elements(name, point)
    weights = np.array(REDUCTIONS[reduction][1](len(parts[0])), object)
    return [np.asarray((part * weights).sum(-1), "float64") for part in parts]


def program(spelling, reduction, dtype):
    """The loss of one spelling, its gradient, and its Hessian as the gradients of the gradient."""
    x = sg.input("x", (3,), dtype)
    loss = REDUCTIONS[reduction][0](sg.ravel(spelling(x)))
    slope = sg.grad(loss, x)
    curve = sg.stack([sg.grad(slope[i], x, allow_disconnected=True) for i in range(3)])
    return sg.Graph({"value": loss, "first": slope, "second": curve})


def errors(actual, true):
    """The largest error relative to the true value, and beside 1 or that; in units of eps."""
    limits = finfo(actual.dtype)
    away = np.abs(actual.astype("float64") - true)
    size = np.abs(true)
    with np.errstate(all="ignore"):
        relative = np.where(away <= limits.tiny, 0.0, away / size) / limits.eps
        beside = away / np.maximum(size, 1.0) / limits.eps
    return tuple(float(np.where(np.isnan(e), np.inf, e).max()) for e in (relative, beside))
