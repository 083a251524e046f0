"""Slopes of the distribution functions are densities, and keep their digits in the tails.

The oracle is the density over mpmath numbers (``accuracy.EXACT``) and the tails of the same table.
An error is granted what rounding of the point changes, and some times the error that ``pdf`` has
itself; for a logarithm, whose slope divides by the tail, some times that of its value, too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from tests.helpers.limits import finfo
from tests.stats.accuracy import EXACT, SHAPES, inside, mp

MOST = 128.0  # units in the last place
TIMES = 8.0  # the error of the density, or of the logarithm
METHODS = ("cdf", "sf", "logcdf", "logsf")
QUANTILES = ("ppf", "isf")
SHARES = np.array([1e-30, 1e-8, 1e-3, 0.02, 0.3, 0.5, 0.77, 0.96875, 1.0 - 2.0**-20])


@dataclass(frozen=True)
class Loss:
    """A region where slopes lose digits, and why that is accepted."""

    reason: str
    methods: tuple[str, ...]
    at: Callable[..., bool]


LOSSES = {
    "beta": (
        Loss("the upper tail is computed of 1 - x, which is rounded", ("sf", "logsf"),
             lambda x, a, b: x < 0.01),
    ),
    "chi2": (
        Loss("the power of x underflows", ("logsf",), lambda x, df: x < 1e-150),
    ),
    "gamma": (
        Loss("the exponent of the density is a difference of terms 1e5 times as large", QUANTILES,
             lambda x, a: a == 1e4),
    ),
}  # fmt: skip


def log_slope(name, shapes, at):
    """The logarithm of the density, and what a relative change of the point changes it by."""
    log_density, step = EXACT[name][0], abs(at) * mp.mpf(10) ** -18
    ends = [log_density(at + side * step, *shapes) for side in (1, -1)]
    return log_density(at, *shapes), abs(ends[0] - ends[1]) / (2 * step) * abs(at)


def relative_error(actual, true):
    """The error over the true value; infinite of what is not a number."""
    return abs(mp.mpf(float(actual)) - true) / abs(true) if np.isfinite(actual) else mp.inf


def true_slopes(lower, upper, density):
    """The slope of each method; None where the tail underflows with all digits."""
    return {
        "cdf": density,
        "sf": -density,
        "logcdf": density / lower if lower > 0 else None,
        "logsf": -density / upper if upper > 0 else None,
    }


def errors(name, shapes, dtype):
    """Yield the slopes that are too far from the true ones: method, point, message."""
    family, limits = getattr(sg.stats, name), finfo(dtype)
    eps, least, most = (float(n) for n in (limits.eps, limits.tiny / limits.eps, limits.max))
    points = np.array(inside(name, shapes), dtype)
    points = points[np.isfinite(points) & (points != 0) & np.isin(points, inside(name, shapes))]
    x, parameters = sg.input("x", points.shape, dtype), [np.asarray(s, dtype) for s in shapes]
    values = {method: getattr(family, method)(x, *parameters) for method in (*METHODS, "pdf")}
    values |= {
        f"d {method}": sg.grad(values[method].sum(), x, allow_disconnected=True)
        for method in METHODS
    }
    actual = sg.evaluate(pipeline("O1")(sg.Graph(values, inputs=[x])), {"x": points})
    exact = [mp.mpf(float(shape)) for shape in parameters]
    for place, point in enumerate(points):
        at = mp.mpf(float(point))
        logarithm, change = log_slope(name, exact, at)
        if abs(logarithm) > 1e15:
            continue  # mpmath's own density has few digits
        lower, upper = EXACT[name][1](at, *exact)
        density = mp.exp(logarithm)
        granted = MOST * eps * (1 + change)
        if least < density < most:
            granted += TIMES * min(relative_error(actual["pdf"][place], density), mp.mpf(1) / 8)
        for method, true in true_slopes(lower, upper, density).items():
            if true is None or not least < abs(true) < most * eps:
                continue
            of_value = mp.mpf(0)
            if method.startswith("log"):
                tail = lower if method == "logcdf" else upper
                of_value = TIMES * abs(mp.mpf(float(actual[method][place])) - mp.log(tail))
            slope = actual[f"d {method}"][place]
            if not relative_error(slope, true) <= granted + of_value:
                yield method, point, f"{method} {shapes} {dtype}: {slope} at {point}, not {true}"


def quantile_errors(name, shapes):
    """Yield the slopes of quantiles that are no reciprocal densities: method, point, message.

    The point is the quantile that is computed; its own error is that of the table of the page.
    """
    family, q = getattr(sg.stats, name), sg.input("q", SHARES.shape, "float64")
    exact, eps = [mp.mpf(float(shape)) for shape in shapes], float(finfo("float64").eps)
    for method, sign in zip(QUANTILES, (1, -1), strict=True):
        x = getattr(family, method)(q, *shapes)
        outputs = {"x": x, "pdf": family.pdf(x, *shapes), "slope": sg.grad(x.sum(), q)}
        actual = sg.evaluate(pipeline("O1")(sg.Graph(outputs)), {"q": SHARES})
        for point, pdf, slope in zip(*actual.values(), strict=True):
            if not 1e-200 < abs(point) < 1e200 or point in shapes:
                continue
            logarithm, change = log_slope(name, exact, mp.mpf(float(point)))
            if abs(logarithm) > 300:
                continue
            density = mp.exp(logarithm)
            granted = MOST * eps * (1 + change)
            granted += TIMES * min(relative_error(pdf, density), mp.mpf(1) / 8)
            if not relative_error(slope, sign / density) <= granted:
                yield method, point, f"{method} {shapes}: {slope} at {point}, not {sign / density}"


def check_slopes(name, wrong_slopes, methods):
    """Assert that each wrong slope is in a region of ``LOSSES``, and that each region is needed."""
    losses = [loss for loss in LOSSES.get(name, ()) if set(methods) & set(loss.methods)]
    needed = set()
    for shapes, method, point, message in wrong_slopes:
        covering = [loss for loss in losses if method in loss.methods and loss.at(point, *shapes)]
        assert covering, message
        needed.update(covering)
    assert needed == set(losses), "an exception that is not needed"


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", SHAPES)
def test_slopes_of_distribution_functions_are_densities(name):
    wrong_slopes = [
        (shapes, *error)
        for shapes in SHAPES[name]
        for dtype in ("float64", "float32")
        for error in errors(name, shapes, dtype)
    ]
    check_slopes(name, wrong_slopes, METHODS)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", SHAPES)
def test_slopes_of_quantiles_are_reciprocal_densities(name):
    wrong_slopes = [
        (shapes, *error) for shapes in SHAPES[name] for error in quantile_errors(name, shapes)
    ]
    check_slopes(name, wrong_slopes, QUANTILES)
