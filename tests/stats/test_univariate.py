"""Distributions of numbers beside SciPy's, in the tails beside mpmath, and their slopes."""

import contextlib
import math
import pickle
import warnings

import mpmath
import numpy as np
import pytest
import scipy.stats as theirs

import staticgrad as sg
from staticgrad import stats as ours
from staticgrad.eager import Tensor
from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    RankError,
    StaticgradError,
    SymbolicValueError,
    UnknownArgumentError,
    UnknownAttributeError,
)
from staticgrad.stats.base import Distribution
from tests.ops.messages import assert_refused
from tests.stats import accuracy
from tests.stats.samples import CONTINUOUS, COUNTS, DISCRETE, POINTS, SHARES

mp = mpmath.MPContext()
mp.dps = 40

#: (distribution, method) -> where SciPy has few digits, or NaN where there is a limit.
THEIRS_IS_WRONG = {
    ("halfnorm", "logsf"): lambda x: abs(x) < 1e-8,
    ("halfnorm", "ppf"): lambda q: (q < 1e-9) | (q > 1 - 1e-9),
    ("halfcauchy", "ppf"): lambda q: q > 1 - 1e-9,
    ("halfcauchy", "isf"): lambda q: q > 1 - 1e-9,
    ("beta", "ppf"): lambda q: q < 1e-9,
    ("t", "*"): lambda x: abs(x) < 1e-8,
    ("truncnorm", "logsf"): lambda x: x < 0,
    ("truncnorm", "isf"): lambda q: q > 1 - 1e-9,
    ("truncnorm", "entropy"): lambda x: np.isinf(x),
    ("binom", "logcdf"): lambda k: k > 100,
    ("binom", "logsf"): lambda k: k < 5,
    ("poisson", "logcdf"): lambda k: k > 100,
    ("poisson", "logsf"): lambda k: k < 100,
    ("poisson", "isf"): lambda q: q < 1e-100,
    ("geom", "logcdf"): lambda k: k > 100,
    ("geom", "ppf"): lambda q: q > 1 - 1e-9,
    ("geom", "isf"): lambda q: q < 1e-9,
    ("bernoulli", "logcdf"): lambda k: k > 0,
}


def compare(name, method, at, shapes, *located, rtol=1e-10):
    actual = getattr(getattr(ours, name), method)(at, *shapes, *located)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        expected = getattr(getattr(theirs, name), method)(at, *shapes, *located)
        apart = np.abs(actual - expected) > rtol * np.abs(expected) + 1e-300
        for key in ((name, method), (name, "*")):
            apart &= ~THEIRS_IS_WRONG.get(key, np.zeros_like)(at).astype(bool)
        if method in ("logpdf", "pdf"):  # SciPy's formulas have no limit at infinity
            apart &= ~np.isinf(at)
        apart &= ~(np.isnan(actual) & np.isnan(expected)) & (actual != expected)
    if name in ("binom", "bernoulli") and method == "logcdf":
        apart &= ~np.isnan(actual)  # SciPy gives 0 for parameters outside of their range
    assert not apart.any(), (at[apart], actual[apart], expected[apart])
    assert isinstance(actual, np.ndarray)
    assert actual.dtype == np.float64


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_distributions_are_scipys(name):
    methods = ("logpdf", "pdf", "cdf", "sf", "logcdf", "logsf", "ppf", "isf")
    for shapes in CONTINUOUS[name]:
        for method in methods[: 2 if name == "vonmises" else None]:
            at = SHARES if method in ("ppf", "isf") else POINTS
            for located in ((0, 1), (0.3, 2.5), (0.0, -1.0)):
                if method == "logsf" and name == "truncnorm" and located[1] == 2.5:
                    continue
                compare(name, method, at, shapes, *located)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_distributions_are_scipys(name):
    methods = ("logpmf", "pmf", "cdf", "sf", "logcdf", "logsf", "ppf", "isf")
    for shapes in DISCRETE[name]:
        for method in methods[: 2 if name == "betabinom" else None]:
            for loc in (0, 2):
                compare(name, method, SHARES if method in ("ppf", "isf") else COUNTS, shapes, loc)


@pytest.mark.parametrize("name", {**CONTINUOUS, **DISCRETE})
def test_moments_are_scipys(name):
    for shapes in {**CONTINUOUS, **DISCRETE}[name]:
        located = (0.3, 2.5) if name in CONTINUOUS else (2,)
        for method in ("mean", "var", "std", "median", "entropy"):
            if (name, method) == ("truncnorm", "entropy") and np.inf in np.abs(shapes):
                continue
            try:
                actual = getattr(getattr(ours, name), method)(*shapes, *located)
            except UnknownAttributeError:
                assert name in ("vonmises", "betabinom") or method == "entropy"
                continue
            with np.errstate(divide="ignore"):
                expected = getattr(getattr(theirs, name), method)(*shapes, *located)
            np.testing.assert_allclose(actual, expected, rtol=1e-9, err_msg=f"{name} {method}")


def log_tails():
    """Distribution, method, point, shapes, the logarithm of the tail."""
    yield "norm", "logsf", 60.0, (), mp.log(mp.erfc(mp.mpf(60) / mp.sqrt(2)) / 2)
    for a, x in ((3.0, 2000.0), (0.5, 1e4), (900.0, 4000.0)):
        yield "gamma", "logsf", x, (a,), mp.log(mp.gammainc(a, x, regularized=True))
    for a, x in ((3.0, 1e-150), (900.0, 30.0)):
        yield "gamma", "logcdf", x, (a,), mp.log(mp.gammainc(a, 0, x, regularized=True))
    for a, b, x in ((80.0, 3.0, 1e-6), (2000.0, 500.0, 0.3)):
        below = mp.betainc(a, b, 0, x, regularized=True)
        yield "beta", "logcdf", x, (a, b), mp.log(below)
        yield (
            "beta",
            "logsf",
            1.0 - x,
            (b, a),
            mp.log(mp.betainc(a, b, 0, 1 - mp.mpf(1 - x)) / mp.beta(a, b)),
        )
    for df, t in ((40.0, 1e12), (5.0, 1e80)):
        below = mp.betainc(df / 2, 0.5, 0, df / (df + mp.mpf(t) ** 2), regularized=True) / 2
        yield "t", "logsf", t, (df,), mp.log(below)
    yield "poisson", "logsf", 3000.0, (2.0,), mp.log(mp.gammainc(3001, 0, 2, regularized=True))


@pytest.mark.parametrize("case", list(log_tails()), ids=lambda case: f"{case[0]}-{case[2]}")
def test_logarithms_of_tails_do_not_underflow(case):
    name, method, at, shapes, expected = case
    actual = getattr(getattr(ours, name), method)(at, *shapes)
    assert abs(actual - float(expected)) <= 2e-13 * abs(float(expected)), (actual, float(expected))


def numerically(f, at, place, step=1e-6):
    """The slope by operand ``place``, by central differences of Richardson's order."""

    def value_at(h):
        return f(*[x + h * (k == place) for k, x in enumerate(at)])

    coarse, fine = ((value_at(h) - value_at(-h)) / (2 * h) for h in (step, step / 2))
    return (4 * fine - coarse) / 3


SLOPES = [
    ("norm", "logpdf", (0.7, 0.2, 1.3)), ("norm", "logcdf", (-0.7, 0.2, 1.3)),
    ("gamma", "logpdf", (0.7, 2.5, 0.0, 1.3)), ("gamma", "cdf", (0.7, 2.5, 0.0, 1.3)),
    ("gamma", "logsf", (5.7, 2.5, 0.0, 1.3)), ("gamma", "ppf", (0.7, 2.5, 0.0, 1.3)),
    ("beta", "logpdf", (0.7, 2.5, 0.8)), ("beta", "cdf", (0.7, 2.5, 0.8)),
    ("beta", "logcdf", (0.2, 2.5, 3.0)), ("beta", "ppf", (0.2, 2.5, 3.0)),
    ("t", "logpdf", (0.7, 3.0, 0.1, 1.4)), ("t", "cdf", (0.7, 3.0, 0.1, 1.4)),
    ("t", "logsf", (4.7, 3.0, 0.1, 1.4)), ("t", "ppf", (0.8, 3.0, 0.1, 1.4)),
    ("cauchy", "logcdf", (0.7, 0.1, 1.4)), ("halfcauchy", "logsf", (0.7, 0.0, 1.4)),
    ("laplace", "logcdf", (0.7, 0.1, 1.4)), ("lognorm", "logpdf", (0.7, 0.8)),
    ("weibull_min", "logpdf", (0.7, 1.8)), ("weibull_min", "logcdf", (0.7, 1.8)),
    ("vonmises", "logpdf", (0.7, 1.8, 0.2)), ("invgamma", "logpdf", (0.7, 1.8)),
    ("truncnorm", "logpdf", (0.7, -1.0, 2.0, 0.1, 1.3)), ("pareto", "logpdf", (1.7, 2.2)),
    ("gumbel_r", "logsf", (1.7, 0.2, 1.1)), ("logistic", "logpdf", (1.7, 0.2, 1.1)),
]  # fmt: skip


@pytest.mark.parametrize("case", SLOPES, ids=lambda case: "-".join(case[:2]))
def test_slopes_by_every_operand(case):
    """In a graph and on the tape, and once more differentiated."""
    name, method, at = case
    of = getattr(getattr(ours, name), method)
    named = [sg.input(f"x{k}", (), "float64") for k in range(len(at))]
    slopes = sg.grad(of(*named), named)
    feeds = {f"x{k}": np.array(x) for k, x in enumerate(at)}

    def at_point(value, feeds=feeds):
        return sg.evaluate(sg.Graph({"y": value}, inputs=named), feeds)["y"]

    actual = [at_point(slope) for slope in slopes]
    expected = [numerically(of, at, k, 1e-4) for k in range(len(at))]
    np.testing.assert_allclose(actual, expected, rtol=2e-8, atol=1e-9)
    tensors = [Tensor(np.array(x), requires_grad=True) for x in at]
    of(*tensors).backward()
    np.testing.assert_allclose([x.grad for x in tensors], actual, rtol=1e-12)
    twice = at_point(sg.grad(slopes[0], named[0]))

    def slope(*values):
        return at_point(slopes[0], {f"x{k}": np.array(x) for k, x in enumerate(values)})

    np.testing.assert_allclose(twice, numerically(slope, at, 0, 1e-4), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_slopes_at_edges_and_poles(dtype):
    """The formula's slope where the density is finite, 0 outside of the support."""
    cases = [
        ("gamma", 0.0, (1.0,), -1.0), ("gamma", -1.0, (1.0,), 0.0), ("gamma", 0.0, (2.0,), np.inf),
        ("beta", 0.0, (1.0, 3.0), -2.0), ("beta", 1.0, (3.0, 1.0), 2.0),
        ("beta", 1.5, (3.0, 1.0), 0.0), ("beta", 1.0, (1.0, 1.0), 0.0),
        ("expon", 0.0, (), -1.0), ("expon", -1e-3, (), 0.0), ("uniform", 0.0, (), 0.0),
        ("weibull_min", 0.0, (1.0,), -1.0), ("laplace", 0.0, (), 0.0),
        ("t", 0.0, (4.0,), 0.0), ("cauchy", 1e30, (), -2e-30), ("halfnorm", 0.0, (), 0.0),
        ("lognorm", 0.0, (1.0,), 0.0), ("invgamma", 0.0, (1.0,), 0.0),
        ("truncnorm", 2.5, (-1.0, 2.0), 0.0), ("norm", 40.0, (), -40.0),
    ]  # fmt: skip
    for name, at, shapes, expected in cases:
        x = sg.input("x", (), dtype)
        value = getattr(ours, name).logpdf(x, *shapes)
        assert str(value.dtype) == dtype
        actual = sg.evaluate(sg.grad(value, x), {"x": np.asarray(at, dtype)})
        np.testing.assert_allclose(actual, expected, rtol=1e-6, err_msg=f"{name} {at} {shapes}")
    for method, side in (("cdf", 0.5), ("sf", -0.5)):
        x = sg.input("x", (), dtype)
        value = getattr(ours.beta, method)(x, 1.0, 0.5)
        actual = sg.evaluate(sg.grad(value, x), {"x": np.asarray(0.0, dtype)})
        assert actual == 0.0  # outside of the open support
        actual = sg.evaluate(sg.grad(value, x), {"x": np.asarray(1e-6, dtype)})
        np.testing.assert_allclose(actual, side, rtol=1e-5)


def test_parameters_out_of_range_have_no_slope():
    scale = sg.input("scale", (3,), "float64")
    value = ours.norm.logpdf(1.0, 0.0, scale)
    out = sg.evaluate(
        {"value": value, "slope": sg.grad(value.sum(), scale)}, {"scale": [-1.0, 0.0, 2.0]}
    )
    np.testing.assert_array_equal(np.isnan(out["value"]), [True, True, False])
    np.testing.assert_allclose(out["slope"], [0.0, 0.0, -0.5 + 0.125])


DRAWN = {
    "norm": (), "gamma": (2.0,), "beta": (2.0, 3.0), "t": (5.0,), "laplace": (), "chi2": (3.0,),
    "weibull_min": (2.0,), "truncnorm": (-1.0, 2.0), "pareto": (5.0,), "invgamma": (6.0,),
    "lognorm": (0.5,), "cauchy": (), "halfcauchy": (), "halfnorm": (), "rayleigh": (),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_draws_have_the_distribution(name):
    actual = getattr(ours, name).rvs(*DRAWN[name], size=4000, random_state=5)
    assert theirs.kstest(actual, getattr(theirs, name)(*DRAWN[name]).cdf).pvalue > 1e-3
    assert actual.dtype == np.float64


def test_draws_have_a_location_and_a_scale():
    for name, shapes in DRAWN.items():
        family = getattr(ours, name)
        standard = family.rvs(*shapes, size=7, random_state=5)
        actual = family.rvs(*shapes, loc=0.3, scale=2.5, size=7, random_state=5)
        np.testing.assert_allclose(actual, 2.5 * standard + 0.3, rtol=1e-12, err_msg=name)
    counts = ours.poisson.rvs(3.0, size=7, random_state=5)
    np.testing.assert_array_equal(ours.poisson.rvs(3.0, loc=4, size=7, random_state=5), counts + 4)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [("bernoulli", (0.3,)), ("binom", (10, 0.3)), ("poisson", (3.0,)), ("geom", (0.3,)),
     ("nbinom", (3.5, 0.3)), ("betabinom", (10, 2.0, 3.0)), ("randint", (2, 7))],
)  # fmt: skip
def test_counts_have_the_distribution(name, shapes):
    actual = getattr(ours, name).rvs(*shapes, size=4000, random_state=5)
    law = getattr(theirs, name)(*shapes)
    assert actual.dtype == np.int64
    count = np.bincount(actual, minlength=40)[:8] / 4000
    np.testing.assert_allclose(count, law.pmf(np.arange(8)), atol=0.035)
    np.testing.assert_allclose(actual.mean(), law.mean(), atol=5 * law.std() / 4000**0.5)


def test_draws_of_a_generator_are_values_with_slopes():
    rng = sg.random.Generator(3)
    mu = sg.parameter("mu", np.array([1.0, -1.0]))
    draws = ours.norm.rvs(mu, 2.0, size=(5, 2), random_state=rng)
    assert draws.shape == (5, 2)
    f = sg.compile(sg.Graph({"x": draws, "slope": sg.grad(draws.sum(), mu)}, updates=rng.updates))
    first, second = f.run(), f.run()
    assert not np.array_equal(first["x"], second["x"])
    np.testing.assert_array_equal(first["slope"], 5.0)
    assert ours.gamma(2.0).rvs(size=3, random_state=0).shape == (3,)
    same = [ours.gamma(2.0).rvs(size=3, random_state=0) for _ in range(2)]
    np.testing.assert_array_equal(*same)


def test_kinds_of_operands():
    x = np.array([0.5, 2.0])
    expected = theirs.gamma.logpdf(x, 2.0, scale=3.0)
    symbol = sg.input("x", (2,), "float64")
    p = sg.parameter("p", x)
    np.testing.assert_allclose(ours.gamma.logpdf(list(x), 2.0, scale=3.0), expected)
    np.testing.assert_allclose(ours.gamma(2.0, scale=3.0).logpdf(x), expected)
    np.testing.assert_allclose(sg.evaluate(ours.gamma.logpdf(p, 2, scale=3)), expected)
    value = ours.gamma.logpdf(symbol, 2.0, scale=3.0)
    np.testing.assert_allclose(sg.compile(value).run({"x": x}), expected)
    assert isinstance(ours.gamma.logpdf(Tensor(x), 2.0), Tensor)
    over = sg.vmap(lambda a: ours.gamma.logpdf(a, 2.0, scale=3.0))(symbol)
    np.testing.assert_allclose(sg.evaluate(over, {"x": x}), expected)
    traced = sg.function(lambda x: ours.gamma.logpdf(x, 2.0, scale=np.float64(3.0)))
    np.testing.assert_allclose(traced(x), expected)
    for narrow in ("float32", "float16"):
        short = ours.gamma.logpdf(sg.constant(x).astype(narrow), 2.0, scale=3.0)
        assert str(short.dtype) == narrow
        np.testing.assert_allclose(sg.evaluate(short), expected, rtol=2e-3)
    assert ours.norm.logpdf(1) == pytest.approx(theirs.norm.logpdf(1))
    assert ours.norm.logpdf(np.float32(1.0)).dtype == np.float32
    assert ours.poisson.logpmf(np.arange(3), 2).dtype == np.float64


def test_logits_are_the_log_odds():
    eta = np.array([-800.0, -1.0, 0.3, 800.0])
    actual = ours.bernoulli.logpmf(1, logits=eta)
    np.testing.assert_allclose(
        actual, [-800.0, *theirs.bernoulli.logpmf(1, 1 / (1 + np.exp(-eta[1:3]))), 0.0], atol=1e-15
    )
    np.testing.assert_allclose(
        ours.binom.logpmf(3, 10, logits=eta[1:3]),
        theirs.binom.logpmf(3, 10, 1 / (1 + np.exp(-eta[1:3]))),
    )
    x = sg.input("x", (4,), "float64")
    slope = sg.evaluate(sg.grad(ours.bernoulli(logits=x).logpmf(1).sum(), x), {"x": eta})
    np.testing.assert_allclose(slope, 1 / (1 + np.exp(np.minimum(eta, 700))), atol=1e-300)


def test_calls_that_do_not_fit_are_explained():
    with assert_refused(UnknownArgumentError, "no argument 'sigma'", line="sigma=3"):
        ours.norm.logpdf(1.0, sigma=3)
    with assert_refused(UnknownArgumentError, "missing", line="gamma.logpdf"):
        ours.gamma.logpdf(1.0)
    with assert_refused(
        UnknownAttributeError, "has no 'logpdf'", "poisson.logpmf", line="poisson.logpdf"
    ):
        ours.poisson.logpdf(1, 2.0)
    with assert_refused(UnknownAttributeError, "no closed form", line="entropy"):
        ours.poisson.entropy(2.0)
    with assert_refused(ArgumentError, "not a generator or a seed", line="rvs"):
        ours.norm.rvs(size=3)
    with assert_refused(DTypeError, "real numbers", line="logpdf"):
        ours.norm.logpdf(1j)
    with pytest.raises(UnknownAttributeError) as caught:
        _ = sg.stats.normal
    assert "sg.stats.norm" in caught.value.hint


def test_a_call_of_scipys_names_our_distribution():
    x = sg.input("x", (3,), "float64")
    with assert_refused(SymbolicValueError, "sg.stats.norm.logpdf", line="logpdf"):
        theirs.norm.logpdf(x)
    with assert_refused(SymbolicValueError, "sg.stats.gamma.cdf", line="cdf"):
        theirs.gamma(2.0, scale=3.0).cdf(x)
    with assert_refused(SymbolicValueError, "sg.stats.norm.ppf", line="ppf"):
        theirs.norm.ppf(0.5, loc=x)
    with assert_refused(SymbolicValueError, "sg.stats.poisson.pmf", line="pmf"):
        theirs.poisson.pmf(x, 2.0)
    with assert_refused(SymbolicValueError, "sg.evaluate", line="crystalball"):
        theirs.crystalball.pdf(x, 2.0, 3.0)


def test_objects_print_and_are_pickled():
    assert repr(ours.gamma) == "sg.stats.gamma"
    assert repr(ours.gamma(2.0, scale=3.0)) == "sg.stats.gamma(a=2.0, loc=0.0, scale=3.0)"
    assert pickle.loads(pickle.dumps(ours.gamma)) is ours.gamma
    frozen = pickle.loads(pickle.dumps(ours.bernoulli(logits=1.0)))
    assert frozen.pmf(1) == pytest.approx(1 / (1 + np.exp(-1.0)))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", accuracy.SHAPES)
def test_errors_are_those_of_the_table(name):
    bounds = accuracy.read_bounds()[name]
    shapes = accuracy.SHAPES[name]
    for parameters in (shapes[-1], shapes[len(shapes) // 2]):
        for method, error in accuracy.errors(name, parameters).items():
            assert error <= bounds[method], (method, parameters, error)


def test_the_table_of_errors_has_every_distribution_with_a_distribution_function():
    continuous = {name for name in sg.stats.__all__ if hasattr(getattr(sg.stats, name), "logpdf")}
    joint = {"dirichlet", "invwishart", "lkj", "lkj_cholesky", "multivariate_normal"}
    joint |= {"multivariate_t", "vonmises", "wishart"}
    assert {*accuracy.read_bounds()} == continuous - joint == {*accuracy.SHAPES}


TAILS_AT_EDGES = [
    ("halfnorm", "logsf", (1e-16,), -math.sqrt(2 / math.pi) * 1e-16),
    ("halfcauchy", "ppf", (1.0 - 2.0**-30,), 2.0**31 / math.pi),
    ("chi2", "isf", (0.02, 1e-4), 3.731471480187e-176),  # exp(log(0.98 gamma(1 + a)) / a) * 2
    ("beta", "logcdf", (1e-100, 1e-8, 0.5), None),
    ("beta", "sf", (1e-100, 1e-8, 1e8), None),
    ("t", "logcdf", (-1e8, 1e-8), None),
    ("rayleigh", "logcdf", (1e-200,), 2 * math.log(1e-200) - math.log(2)),
    ("weibull_min", "logcdf", (1e-200, 3.7), 3.7 * math.log(1e-200)),
    ("gumbel_r", "logsf", (800.0,), -800.0),
]


@pytest.mark.parametrize("case", TAILS_AT_EDGES, ids=lambda case: "-".join(case[:2]))
def test_tails_at_edges(case):
    """Beside hand-worked values; where None, SciPy has digits."""
    name, method, at, expected = case
    if expected is None:
        expected = getattr(getattr(theirs, name), method)(*at)
    actual = getattr(getattr(ours, name), method)(*at)
    assert actual == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("a", [1e8, 1e10, 1e12])
def test_series_of_more_terms_than_are_summed_have_a_remainder(a):
    """P(a, x) 40 deviations below the mean, by the sum of mpmath's incomplete gamma function.

    Behind N terms the ratio of two neighbours is nearly constant, so that the sum over all terms is
    an integral of exp(-c n - n**2 / (2 a)), of c = (a - x) / a, to 1e-5.
    """
    x = a - 40.0 * np.sqrt(a)
    actual = float(sg.stats.gamma(a).logcdf(x))
    c = (mp.mpf(a) - mp.mpf(x)) / mp.mpf(a)
    terms = mp.quad(lambda n: mp.exp(-c * n - n * n / (2 * mp.mpf(a))), [0, 5 / c, 80 / c])
    exact = a * mp.log(x) - mp.mpf(x) - mp.loggamma(a + 1) + mp.log(terms)
    assert abs(actual - exact) < 1e-14 * a + 1e-3


EYE = np.eye(2)
#: Arguments of the families whose parameters or points are not one number each.
JOINT = {
    "categorical": (1, [[0.2, 0.8]]), "dirichlet": ([0.4, 0.6], [[2.0, 3.0]]),
    "multinomial": ([1, 2], [3, [0.4, 0.6]]),
    "multivariate_normal": ([0.0, 1.0], [[0.0, 0.0], EYE]),
    "multivariate_t": ([0.0, 1.0], [[0.0, 0.0], EYE, 3.0]), "wishart": (EYE, [3.0, EYE]),
    "invwishart": (EYE, [3.0, EYE]), "lkj": (EYE, [1.5]), "lkj_cholesky": (EYE, [1.5]),
}  # fmt: skip
OF_A_POINT = ("pdf", "logpdf", "pmf", "logpmf", "cdf", "sf", "logcdf", "logsf", "ppf", "isf")
METHODS = (*OF_A_POINT, "mean", "var", "std", "median", "entropy", "rvs")
FAMILIES = [name for name in dir(ours) if isinstance(getattr(ours, name), Distribution)]


def laws_of(name):
    """The family with parameters, and distributions that are made of it."""
    family = getattr(ours, name)
    _, parameters = JOINT.get(name, (0.5, [0.5 if s == "p" else 2.0 for s in family.shapes]))
    law = family(*parameters)
    yield law
    for make in (
        lambda: ours.truncated(law, 0.0, 2.0),
        lambda: ours.mixture([law, law], weights=[0.3, 0.7]),
        lambda: ours.zero_inflated(law, 0.3),
        lambda: ours.hurdle(law, 0.3),
    ):
        with contextlib.suppress(StaticgradError):  # of joint, continuous or discrete ones alone
            yield make()


@pytest.mark.parametrize("name", FAMILIES)
def test_each_method_of_each_family_works_or_says_that_it_does_not(name):
    """No other error than a coded one: formulas that are not there end no method otherwise."""
    assert len(FAMILIES) > 30
    point, _ = JOINT.get(name, (0.5, ()))
    for law in laws_of(name):
        for method in METHODS:
            at = (point,) if method in OF_A_POINT else ()
            how = {"random_state": 0} if method == "rvs" else {}
            with contextlib.suppress(UnknownAttributeError):
                getattr(law, method)(*at, **how)


def test_a_family_says_which_methods_it_has_no_formulas_for():
    for method in ("cdf", "sf", "logcdf", "logsf", "ppf", "isf", "mean", "median"):
        with pytest.raises(UnknownAttributeError, match=f"vonmises has no {method!r}: there is no"):
            getattr(ours.vonmises(kappa=2.0), method)(*[0.5] * (method in OF_A_POINT))
    for family, parameters in ((ours.vonmises, (2.0,)), (ours.lkj, (1.5,))):
        with pytest.raises(UnknownAttributeError, match="has no 'rvs': it is not drawn"):
            family(*parameters).rvs(random_state=0)
    for family in (ours.wishart, ours.invwishart):
        for method, how in (("mean", {}), ("rvs", {"random_state": 0})):
            with pytest.raises(RankError, match="needs a matrix"):
                getattr(family(3.0, 1.0), method)(**how)
