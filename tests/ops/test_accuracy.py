"""The table of errors in ``guide/accuracy.md``: compiled and evaluated functions against mpmath."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

import staticgrad as sg
from staticgrad.language.types.dtype import F32, F64
from staticgrad.language.vecmath.blocks import ULP
from staticgrad.tools import documentation
from tests.helpers.limits import finfo

mp = mpmath.MPContext()
mp.dps = 50
COUNT = 60
ROOT_TWO = mp.sqrt(2)
#: Where the derivative of the logarithm of Gamma is 0.
LEAST_GAMMA = 1.4616321449683622


@dataclass(frozen=True)
class Case:
    """A function over ``low`` to ``high``, and the points beside which its error may be largest."""

    true: Callable[..., Any]
    low: float
    high: float
    beside: tuple[float, ...] = (0.0,)
    function: Callable[..., Any] | None = None

    def points(self, dtype):
        """Even and logarithmic draws from the domain, and neighbours of the points from 1 ulp."""
        rng = np.random.default_rng(3)
        reach = min(max(abs(self.low), abs(self.high)), float(finfo(dtype).max) / 2)
        even = rng.uniform(max(self.low, -reach), min(self.high, reach), 2 * COUNT)
        sizes = np.exp(rng.uniform(np.log(1e-12), np.log(reach), 2 * COUNT))
        signed = sizes * rng.choice([-1.0, 1.0], 2 * COUNT)
        ends = [end for end in (self.low, self.high) if end]
        centres = np.array([*self.beside, *ends])
        distance = np.exp(rng.uniform(np.log(1e-17), np.log(0.3), (COUNT // 2, len(centres))))
        side = rng.choice([-1.0, 1.0], distance.shape)
        near = (centres + side * distance * np.where(centres == 0, 1.0, np.abs(centres))).ravel()
        centres = centres[np.abs(centres) <= reach]
        x = np.concatenate([even, signed, near[np.abs(near) <= reach], centres]).astype(dtype)
        wide = x.astype(np.float64)
        return np.unique(x[(wide >= self.low) & (wide <= self.high)])


def sinc(x):
    return mp.sinpi(x) / (mp.pi * x) if x else mp.mpf(1)


def erfcx(x):
    return mp.exp(x * x) * mp.erfc(x)


def ndtr(x):
    return mp.erfc(-x / ROOT_TWO) / 2


def ndtri(p):
    """Newton's iteration on the logarithm of the smaller tail."""
    tail = min(p, 1 - p)
    if tail == 0.5:
        return mp.mpf(0)
    z = mp.mpf(-1) if tail > 1e-10 else -mp.sqrt(-2 * mp.log(tail))
    for _ in range(200):
        below = ndtr(z)
        step = mp.log(below / tail) * below * mp.sqrt(2 * mp.pi) / mp.exp(-z * z / 2)
        z -= step
        if abs(step) < mp.mpf(10) ** -40 * max(abs(z), mp.mpf(10) ** -20):
            break
    return z if p < 0.5 else -z


def erfinv(x):
    return -ndtri((1 - abs(x)) / 2) / ROOT_TWO * mp.sign(x)


def loggamma(x):
    return mp.log(abs(mp.gamma(x)))


def bessel(order, scaled):
    return lambda x: mp.besseli(order, x) * (mp.exp(-abs(x)) if scaled else 1)


def log_ndtr(x):
    return mp.log(ndtr(x)) if x < 0 else mp.log1p(-ndtr(-x))


UNIT = (-1.0, 1.0)
#: Name in the table -> what it is.
CASES = {
    "exp": Case(mp.exp, -745.0, 709.0),
    "exp2": Case(lambda x: mp.mpf(2) ** x, -1070.0, 1023.0),
    "expm1": Case(mp.expm1, -40.0, 700.0),
    "log": Case(mp.log, 0.0, 1e300, (0.0, 1.0)),
    "log2": Case(lambda x: mp.log(x) / mp.log(2), 0.0, 1e300, (0.0, 1.0)),
    "log10": Case(lambda x: mp.log(x) / mp.log(10), 0.0, 1e300, (0.0, 1.0)),
    "log1p": Case(mp.log1p, -1.0, 1e300),
    "cbrt": Case(lambda x: mp.sign(x) * mp.cbrt(abs(x)), -1e300, 1e300, (0.0, 1.0)),
    "sqrt": Case(mp.sqrt, 0.0, 1e300),
    "sin": Case(mp.sin, -1e5, 1e5, (0.0, np.pi, 2 * np.pi, 100 * np.pi)),
    "cos": Case(mp.cos, -1e5, 1e5, (0.0, np.pi / 2, 100.5 * np.pi)),
    "tan": Case(mp.tan, -1e5, 1e5, (0.0, np.pi / 2, np.pi)),
    "arcsin": Case(mp.asin, *UNIT, (0.0, 0.5)),
    "arccos": Case(mp.acos, *UNIT, (0.0, 0.5)),
    "arctan": Case(mp.atan, -1e5, 1e5, (0.0, 1.0)),
    "sinh": Case(mp.sinh, -710.0, 710.0, (0.0, 0.35, 1.0, 20.0)),
    "cosh": Case(mp.cosh, -710.0, 710.0, (0.0, 20.0)),
    "tanh": Case(mp.tanh, -25.0, 25.0),
    "arcsinh": Case(mp.asinh, -1e10, 1e10),
    "arccosh": Case(mp.acosh, 1.0, 1e10),
    "arctanh": Case(mp.atanh, *UNIT),
    "sinc": Case(sinc, -50.0, 50.0, (0.0, 1.0, -7.0, -16.0, 3.18e-5)),
    "sigmoid": Case(lambda x: 1 / (1 + mp.exp(-x)), -700.0, 700.0),
    "nn.softplus": Case(lambda x: mp.log1p(mp.exp(x)), -700.0, 700.0),
    "special.erf": Case(mp.erf, -6.0, 6.0, (0.0, 0.8, 0.9)),
    "special.erfc": Case(mp.erfc, -6.0, 26.0),
    "special.erfcx": Case(erfcx, -26.0, 100.0),
    "special.erfinv": Case(erfinv, *UNIT),
    "special.ndtr": Case(ndtr, -37.0, 9.0, (0.0, -0.6, 0.6, -1.0)),
    "special.ndtri": Case(ndtri, 0.0, 1.0, (0.0, 0.5)),
    "special.log_ndtr": Case(log_ndtr, -1e5, 30.0, (0.0, -1.0)),
    "special.gamma": Case(mp.gamma, -170.0, 171.0, (0.0, 1.0, 2.0, 8.0, -1.0, -7.0)),
    "special.gammaln": Case(loggamma, 0.0, 1e10, (0.0, 1.0, 2.0, 8.0, 0.5)),
    "special.digamma": Case(mp.digamma, 0.0, 1e10, (0.0, LEAST_GAMMA, 8.0, 0.5)),
    "special.polygamma of 1": Case(
        lambda x: mp.psi(1, x), 0.0, 1e10, (0.0, 8.0, 0.5), lambda x: sg.special.polygamma(1, x)
    ),
    "special.polygamma of 2": Case(
        lambda x: mp.psi(2, x), 0.0, 1e5, (0.0, 8.0, 0.5), lambda x: sg.special.polygamma(2, x)
    ),
    "special.i0": Case(bessel(0, False), -700.0, 700.0, (0.0, 8.0)),
    "special.i0e": Case(bessel(0, True), -1e5, 1e5, (0.0, 8.0)),
    "special.i1": Case(bessel(1, False), -700.0, 700.0, (0.0, 8.0)),
    "special.i1e": Case(bessel(1, True), -1e5, 1e5, (0.0, 8.0)),
    "special.logit": Case(lambda p: mp.log(p) - mp.log1p(-p), 0.0, 1.0, (0.0, 0.5)),
    "special.entr": Case(lambda x: -x * mp.log(x), 0.0, 1e10, (0.0, 1.0)),
}


def function_of(name):
    """The public function of a row."""
    function = CASES[name].function
    if function is None:
        function = sg
        for part in name.split("."):
            function = getattr(function, part)
    return function


@cache
def truth(name, dtype):
    """Points where the result is finite and normal, and the true values there."""
    case = CASES[name]
    info = finfo(dtype)
    points, values = [], []
    for x in case.points(dtype):
        try:
            true = mp.mpf(case.true(mp.mpf(float(x))))
        except (ValueError, ZeroDivisionError):  # a pole
            continue
        if mp.isfinite(true) and abs(true) < float(info.max):
            points.append(x)
            values.append(true)
    return np.array(points, dtype), values


def off_by(actual, true):
    """The distances from the true values, in units of the last place."""
    info, distances = finfo(actual.dtype), []
    for got, exact in zip(actual, true, strict=True):
        if not np.isfinite(got):
            distances.append(np.inf)
            continue
        exponent = info.minexp
        if exact:
            exponent = max(int(mp.frexp(abs(exact))[1]) - 1, exponent)
        distances.append(float(abs(mp.mpf(float(got)) - exact) * mp.mpf(2) ** -exponent))
    return np.array(distances) * 2.0**info.nmant


#: Functions of several operands, whose blocks are compared with mpmath in ``test_special`` and
#: ``test_vecmath``.
OF_SEVERAL = {
    "power": "pow",
    "arctan2": "atan2",
    "special.gammainc": "gammainc",
    "special.gammaincc": "gammaincc",
    "special.betainc": "betainc",
    "special.betaln": "betaln",
    "special.zeta": "zeta",
}


PAGE = Path(documentation.__file__).parent / "guide" / "accuracy.md"


def read_table():
    """The table: the largest errors in float32 and in float64, and those of ``sg.evaluate``."""
    rows = re.findall(r"^\| `sg\.([^`]*)` \|(.*)\|", PAGE.read_text(encoding="utf-8"), re.M)
    bounds = {}
    for name, cells in rows:
        narrow, wide, evaluated = (float(cell.strip() or "inf") for cell in cells.split("|")[:3])
        bounds[name] = narrow, wide, evaluated
    return bounds


def test_the_table_has_every_function():
    assert list(read_table()) == [*CASES, *OF_SEVERAL]
    for name, block in OF_SEVERAL.items():
        assert read_table()[name][:2] == (ULP[block, F32], ULP[block, F64])


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", CASES)
def test_errors_are_within_the_table(name):
    bounds = dict(zip(("float32", "float64", "evaluate"), read_table()[name], strict=True))
    for dtype in ("float32", "float64"):
        points, true = truth(name, dtype)
        assert len(points) > COUNT
        x = sg.input("x", points.shape, dtype)
        value = function_of(name)(x)
        for way, actual in (
            (dtype, sg.compile(value).run({"x": points})),
            ("evaluate", sg.evaluate(value, {"x": points})),
        ):
            errors = off_by(actual, true)
            worst = int(np.argmax(errors))
            at = float(points[worst])
            assert errors[worst] <= bounds[way], f"{way} at {at!r}: {errors[worst]:.2f} ulp"


#: A formula of "Slopes in tails", and how often it is differentiated -> where all its digits are
#: lost, by mpmath; and what the page writes instead.
TAILS: dict[str, tuple[Any, int, float, Any, Any]] = {
    "sg.tanh(x)": (sg.tanh, 1, 20.0, lambda x: 1 / mp.cosh(x) ** 2, lambda x: 1 / sg.cosh(x) ** 2),
    "x - sg.tanh(x)": (
        lambda x: x - sg.tanh(x),
        2,
        20.0,
        lambda x: 2 * mp.tanh(x) / mp.cosh(x) ** 2,
        lambda x: 2 * sg.tanh(x) / sg.cosh(x) ** 2,
    ),
    "sg.log(sg.cosh(x))": (
        lambda x: sg.log(sg.cosh(x)),
        2,
        20.0,
        lambda x: 1 / mp.cosh(x) ** 2,
        lambda x: 1 / sg.cosh(x) ** 2,
    ),
    "sg.nn.gelu(x)": (
        sg.nn.gelu,
        0,
        -10.0,
        lambda x: x * mp.erfc(-x / ROOT_TWO) / 2,
        lambda x: x * sg.special.ndtr(x),
    ),
    "sg.log(1 - sg.exp(sg.log(1 - sg.exp(x))))": (
        lambda x: sg.log(1 - sg.exp(sg.log(1 - sg.exp(x)))),
        0,
        -800.0,
        lambda x: x,
        lambda x: x,
    ),
}


@pytest.mark.parametrize("formula", TAILS)
def test_tails_of_the_page_lose_their_digits_and_have_them_as_it_writes(formula):
    """A formula that is better than the page says fails, too."""
    assert f"`{formula}`" in PAGE.read_text("utf-8")
    function, order, at, truth, instead = TAILS[formula]
    for _ in range(order):
        function = sg.grad(function)
    expected = truth(mp.mpf(at))

    def error(f):
        value = float(sg.function(f)(np.float64(at)))
        return abs(mp.mpf(value) - expected) / abs(expected)

    assert not error(function) < 0.5
    assert error(instead) < 1e-14
