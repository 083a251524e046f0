"""The greatest relative error of each distribution and method, beside mpmath.

``python -m tests.stats.accuracy`` measures it on grids with edges and writes the table of the guide
``statistical-models``, which the tests read. Shapes are those of ``SHAPES``, from 1e-4 to 1e4;
points are those of ``POINTS`` in the support, probabilities those of ``SHARES``. Where the exact
result is below 1e-290 a point is left out. The error of a quantile is that of the probability below
it over the density times the quantile.
"""

import re
from pathlib import Path

import mpmath
import numpy as np

import staticgrad as sg
from staticgrad.tools import documentation

mp = mpmath.MPContext()
mp.dps = 40
PAGE = Path(documentation.__file__).parent / "guide" / "statistical-models.md"
POINTS = [-1e8, -700.0, -40.0, -8.0, -1.0, -0.3, -1e-8, 0.0, 1e-300, 1e-16, 1e-8, 1e-3, 0.1, 0.3,
          0.5, 0.7, 0.9, 0.999, 1.0, 1.5, 3.0, 9.0, 40.0, 100.0, 700.0, 1e4, 1e8]  # fmt: skip
SHARES = [1e-300, 1e-100, 1e-16, 1e-8, 1e-3, 0.02, 0.3, 0.5, 0.77, 0.999, 1.0 - 1e-8]
_WIDE = [1e-4, 0.03, 0.5, 1.0, 3.7, 40.0, 1e4]
SHAPES = {
    **dict.fromkeys(("norm", "halfnorm", "expon", "cauchy", "halfcauchy", "laplace"), ((),)),
    **dict.fromkeys(("logistic", "gumbel_r", "rayleigh", "uniform"), ((),)),
    **dict.fromkeys(("gamma", "chi2", "invgamma", "pareto"), tuple((shape,) for shape in _WIDE)),
    **dict.fromkeys(("lognorm", "weibull_min"), tuple((shape,) for shape in _WIDE[1:-1])),
    "t": [(shape,) for shape in (0.03, 0.5, 1.0, 3.7, 40.0, 1e4)],
    "beta": [(a, b) for a in (1e-3, 0.5, 1.0, 37.0, 1e3) for b in (1e-3, 0.5, 2.0, 1e3)],
    "truncnorm": [(-1.0, 2.0), (3.0, 5.0), (-8.0, -4.0), (-1e-8, 1e-8), (30.0, 31.0)],
}
METHODS = ("logpdf", "cdf", "sf", "logcdf", "logsf", "ppf", "isf")


def _phi(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _both(lower, upper):
    return lambda x, *s: (lower(x, *s), upper(x, *s))


def _gamma(x, a):
    return mp.gammainc(a, 0, x, regularized=True), mp.gammainc(a, x, regularized=True)


def _beta(x, a, b):
    """By the hypergeometric series on the side of the smaller tail."""
    if x <= 0 or x >= 1:
        return (mp.mpf(0), mp.mpf(1)) if x <= 0 else (mp.mpf(1), mp.mpf(0))

    def tail(x, a, b):
        scale = mp.exp(a * mp.log(x) + b * mp.log1p(-x) - mp.log(a))
        return scale / mp.beta(a, b) * mp.hyp2f1(1, a + b, a + 1, x)

    with mp.workdps(60):
        if x < (a + 1) / (a + b + 2):
            lower = tail(x, a, b)
            return lower, 1 - lower
        upper = tail(1 - x, b, a)
        return 1 - upper, upper


def _student(x, df):
    ratio = df / (df + x * x)
    with mp.workdps(60):
        tail = _beta(ratio, df / 2, mp.mpf(1) / 2)[0] / 2
        return (tail, 1 - tail) if x < 0 else (1 - tail, tail)


def _truncnorm_tails(x, a, b):
    with mp.workdps(80):
        if a > 0:
            low, at, high = _phi(-a), _phi(-x), _phi(-b)
            return (low - at) / (low - high), (at - high) / (low - high)
        low, at, high = _phi(a), _phi(x), _phi(b)
        return (at - low) / (high - low), (high - at) / (high - low)


def _log_gamma_density(x, a):
    return (a - 1) * mp.log(x) - x - mp.loggamma(a)


def _root_tau(x):
    return -x * x / 2 - mp.log(2 * mp.pi) / 2


#: Distribution -> logarithm of the density, both tails, and the support.
EXACT = {
    "norm": (_root_tau, lambda x: (_phi(x), _phi(-x)), None),
    "halfnorm": (lambda x: _root_tau(x) + mp.log(2),
                 lambda x: (mp.erf(x / mp.sqrt(2)), mp.erfc(x / mp.sqrt(2))), (0, None)),
    "lognorm": (lambda x, s: _root_tau(mp.log(x) / s) - mp.log(x * s),
                lambda x, s: (_phi(mp.log(x) / s), _phi(-mp.log(x) / s)), (0, None)),
    "expon": (lambda x: -x, lambda x: (-mp.expm1(-x), mp.exp(-x)), (0, None)),
    "gamma": (_log_gamma_density, _gamma, (0, None)),
    "chi2": (lambda x, df: _log_gamma_density(x / 2, df / 2) - mp.log(2),
             lambda x, df: _gamma(x / 2, df / 2), (0, None)),
    "invgamma": (lambda x, a: _log_gamma_density(1 / x, a) - 2 * mp.log(x),
                 lambda x, a: _gamma(1 / x, a)[::-1], (1e-4, None)),
    "beta": (lambda x, a, b: (a - 1) * mp.log(x) + (b - 1) * mp.log1p(-x) - mp.log(mp.beta(a, b)),
             _beta, (0, 1)),
    "t": (lambda x, df: -(df + 1) / 2 * mp.log1p(x * x / df) - mp.log(df) / 2
          - mp.log(mp.beta(df / 2, mp.mpf(1) / 2)), _student, None),
    "cauchy": (lambda x: -mp.log1p(x * x) - mp.log(mp.pi),
               lambda x: (mp.atan2(1, -x) / mp.pi, mp.atan2(1, x) / mp.pi), None),
    "halfcauchy": (lambda x: mp.log(2 / mp.pi) - mp.log1p(x * x),
                   lambda x: (2 * mp.atan(x) / mp.pi, 2 * mp.atan2(1, x) / mp.pi), (0, None)),
    "laplace": (lambda x: -abs(x) - mp.log(2),
                lambda x: (mp.exp(x) / 2, 1 - mp.exp(x) / 2) if x < 0
                else (1 - mp.exp(-x) / 2, mp.exp(-x) / 2), None),
    "logistic": (lambda x: -abs(x) - 2 * mp.log1p(mp.exp(-abs(x))),
                 lambda x: (1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))), None),
    "gumbel_r": (lambda x: -x - mp.exp(-x),
                 lambda x: (mp.exp(-mp.exp(-x)), -mp.expm1(-mp.exp(-x))), (-10, None)),
    "weibull_min": (lambda x, c: mp.log(c) + (c - 1) * mp.log(x) - x**c,
                    lambda x, c: (-mp.expm1(-(x**c)), mp.exp(-(x**c))), (0, None)),
    "rayleigh": (lambda x: mp.log(x) - x * x / 2,
                 lambda x: (-mp.expm1(-x * x / 2), mp.exp(-x * x / 2)), (0, None)),
    "pareto": (lambda x, b: mp.log(b) - (b + 1) * mp.log(x),
               lambda x, b: (-mp.expm1(-b * mp.log(x)), x**-b), (1, None)),
    "uniform": (lambda x: mp.mpf(0), lambda x: (x, 1 - x), (0, 1)),
    "truncnorm": (lambda x, a, b: _root_tau(x) - mp.log(
        _phi(-a) - _phi(-b) if a > 0 else _phi(b) - _phi(a)), _truncnorm_tails, "shapes"),
}  # fmt: skip


def inside(name, shapes):
    """The points within the support."""
    ends = EXACT[name][2]  # of gumbel_r and invgamma those of what mpmath computes
    low, high = shapes if ends == "shapes" else ends or (None, None)
    points = [*POINTS, *np.linspace(low, high, 7)] if ends == "shapes" else POINTS
    return [x for x in points if (low is None or x > low) and (high is None or x < high)]


def relative(value, true, least=1e-290):
    """The relative error; 0 where the true number is below ``least`` or beyond float64."""
    if abs(true) < least or abs(true) > 1e300:
        return 0.0
    return float(abs(mp.mpf(float(value)) - true) / abs(true)) if np.isfinite(value) else np.inf


def errors(name, shapes):
    """The greatest error of each method, and of the slope of ``logpdf``, for these shapes."""
    family, (log_density, tails, _) = getattr(sg.stats, name), EXACT[name]
    exact = [mp.mpf(shape) for shape in shapes]
    points = np.array(inside(name, shapes))
    values = {of: getattr(family, of)(points, *shapes) for of in METHODS[:5]}
    x = sg.input("x", points.shape, "float64")
    slope = sg.grad((family.logpdf(x, *shapes) + 0.0 * x * x).sum(), x)
    slopes = sg.evaluate(slope, {"x": points})
    worst = dict.fromkeys((*METHODS, "slope"), 0.0)

    def note(of, error):
        worst[of] = max(worst[of], error)

    for k, point in enumerate(points):
        at = mp.mpf(float(point))
        note("logpdf", relative(values["logpdf"][k], log_density(at, *exact), 1e-3))
        lower, upper = tails(at, *exact)
        note("cdf", relative(values["cdf"][k], lower))
        note("sf", relative(values["sf"][k], upper))
        for of, tail, complement in (("logcdf", lower, upper), ("logsf", upper, lower)):
            if tail > 0:
                logarithm = mp.log(+tail) if tail < 0.5 else mp.log1p(-complement)
                logarithm = -complement if complement < mp.mpf(10) ** -45 else logarithm
                note(of, relative(values[of][k], logarithm))
        if abs(at) > 1e-100:
            h = abs(at) * mp.mpf(10) ** -12
            true = (log_density(at + h, *exact) - log_density(at - h, *exact)) / (2 * h)
            note("slope", relative(slopes[k], true, 1e-3))
    for of in METHODS[5:]:
        for share, at in zip(SHARES, getattr(family, of)(SHARES, *shapes), strict=True):
            if not 1e-290 < abs(at) < 1e290:
                continue
            place = mp.mpf(float(at))
            tail = tails(place, *exact)[of == "isf"]
            scale = mp.exp(log_density(place, *exact)) * abs(place)
            if scale > 0 and at not in shapes:
                # a quantile near 0 or 1 is exact up to the rounding of its result
                note(of, float(abs(tail - mp.mpf(share)) / scale))
    return worst


def measure_errors(name, most=None):
    """The greatest errors of a distribution over its shapes."""
    rows = [errors(name, shapes) for shapes in SHAPES[name][:most]]
    return {of: max(row[of] for row in rows) for of in rows[0]}


def read_bounds():
    """The table of the page: distribution -> method -> bound."""
    text = PAGE.read_text(encoding="utf-8").partition("## Accuracy")[2]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.M)
    of = (*METHODS, "slope")
    return {name: dict(zip(of, map(float, cells.split("|")), strict=True)) for name, cells in rows}


def write_section():
    """The section of the page, measured now."""
    head = "| distribution | " + " | ".join(f"`{method}`" for method in METHODS) + " | slope |"
    rows = [head, "|---" * (len(METHODS) + 2) + "|"]
    for name in SHAPES:
        cells = [f"{max(1.5 * error, 1e-15):.0e}" for error in measure_errors(name).values()]
        rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main():
    """Write the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, tail = text.partition("<!-- accuracy -->\n")
    _, _, tail = tail.partition("<!-- end -->")
    PAGE.write_text(f"{head}<!-- accuracy -->\n{write_section()}\n<!-- end -->{tail}", "utf-8")


if __name__ == "__main__":
    main()
