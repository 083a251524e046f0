"""Distributions of vectors and matrices, distributions made of others, and transforms."""

import mpmath
import numpy as np
import pytest
import scipy.stats as theirs
from scipy.special import logsumexp

import staticgrad as sg
from staticgrad import stats as ours
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, RankError, ShapeError
from tests.ops.messages import assert_refused

RNG = np.random.default_rng(0)
ROOT = np.tril(RNG.normal(size=(3, 3))) + 2 * np.eye(3)
COV = ROOT @ ROOT.T
WHITENING = np.linalg.inv(np.linalg.cholesky(COV))  # makes the covariance the identity
MEAN = np.array([0.5, -1.0, 2.0])
X = RNG.normal(size=(4, 3))
MATRIX = np.cov(RNG.normal(size=(3, 9)))
CORRELATION = np.corrcoef(RNG.normal(size=(3, 9)))


@pytest.mark.parametrize(
    ("name", "at", "parameters"),
    [
        ("multivariate_normal", X, (MEAN, COV)), ("multivariate_normal", X[0], (MEAN, COV)),
        ("multivariate_normal", X, (MEAN, np.diag(COV))), ("multivariate_normal", X, (MEAN, 2.0)),
        ("multivariate_t", X, (MEAN, COV, 4.0)), ("dirichlet", [0.2, 0.3, 0.5], ([1.0, 2.0, 0.5],)),
        ("dirichlet", [0.0, 0.5, 0.5], ([1.0, 2.0, 3.0],)),
        ("wishart", MATRIX, (5.5, COV)), ("invwishart", MATRIX, (5.5, COV)),
        ("multinomial", [2, 0, 3], (5, [0.2, 0.3, 0.5])),
        ("multinomial", [2, 1, 3], (5, [0.2, 0.3, 0.5])),
    ],
)  # fmt: skip
def test_joint_densities_are_scipys(name, at, parameters):
    method = "logpmf" if name == "multinomial" else "logpdf"
    at = np.asarray(at)
    expected = getattr(getattr(theirs, name), method)(at, *parameters)
    actual = getattr(getattr(ours, name), method)(at, *parameters)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    x = sg.input("x", at.shape, "float64")
    value = getattr(getattr(ours, name)(*parameters), method)(x)
    np.testing.assert_allclose(sg.compile(value).run({"x": at.astype(float)}), expected, rtol=1e-12)
    if name not in ("dirichlet", "multinomial"):
        slope = sg.evaluate(sg.grad(value.sum(), x), {"x": at})
        step = RNG.normal(size=at.shape)
        step = step + step.T if "wishart" in name else step
        ends = [
            getattr(getattr(theirs, name), method)(at + h * step, *parameters)
            for h in (1e-5, -1e-5)
        ]
        expected = (np.sum(ends[0]) - np.sum(ends[1])) / 2e-5
        np.testing.assert_allclose((slope * step).sum(), expected, rtol=1e-6)


def test_normal_vectors_by_their_cholesky_factor_and_batches():
    expected = theirs.multivariate_normal.logpdf(X, MEAN, COV)
    np.testing.assert_allclose(
        ours.multivariate_normal.logpdf(X, MEAN, cholesky=ROOT * np.sign(np.diag(ROOT))), expected
    )
    many = np.stack([COV, 2 * COV])
    actual = ours.multivariate_normal.logpdf(X[:2], MEAN, many)
    np.testing.assert_allclose(
        actual,
        [theirs.multivariate_normal.logpdf(x, MEAN, c) for x, c in zip(X, many, strict=False)],
    )
    scale = sg.input("scale", (), "float64")
    value = ours.multivariate_normal.logpdf(X, MEAN, scale * COV).sum()
    slope = sg.evaluate(sg.grad(value, scale), {"scale": 1.5})
    ends = [
        theirs.multivariate_normal.logpdf(X, MEAN, s * COV).sum() for s in (1.5 + 1e-5, 1.5 - 1e-5)
    ]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-7)
    with assert_refused(RankError, "needs a vector", line="logpdf"):
        ours.multivariate_normal.logpdf(1.0, MEAN, COV)


def test_correlations_integrate_to_one():
    """LKJ of two variables is a scaled beta distribution; of three, the constant by draws."""
    r = np.linspace(-0.99, 0.99, 7)
    for eta in (0.7, 1.0, 3.0):
        matrices = np.array([[[1.0, x], [x, 1.0]] for x in r])
        expected = theirs.beta(eta, eta, -1, 2).logpdf(r)
        np.testing.assert_allclose(ours.lkj.logpdf(matrices, eta), expected, rtol=1e-10, atol=1e-12)
        factors = np.linalg.cholesky(matrices)
        actual = ours.lkj_cholesky.logpdf(factors, eta)
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)
    # of three: 1 = E over uniform correlations of density * 8 where these are a correlation matrix
    draws = np.random.default_rng(1).uniform(-1, 1, (200_000, 3))
    full = np.tile(np.eye(3), (len(draws), 1, 1))
    for k, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        full[:, i, j] = full[:, j, i] = draws[:, k]
    full = full[np.linalg.eigvalsh(full)[:, 0] > 1e-9]
    mass = np.exp(ours.lkj.logpdf(full, 2.0)).sum() * 8 / len(draws)
    np.testing.assert_allclose(mass, 1.0, atol=0.02)
    # the factor's density is the matrix' one times the Jacobian of L -> L L.T
    u = np.array([0.3, -0.5, 0.2])
    factor = ours.transforms.cholesky_corr.forward(u)

    def entries(below):
        lower = np.eye(3)
        lower[np.tril_indices(3, -1)] = below
        lower[np.diag_indices(3)] = np.sqrt(1 - (np.tril(lower, -1) ** 2).sum(1))
        return (lower @ lower.T)[np.tril_indices(3, -1)]

    below = factor[np.tril_indices(3, -1)]
    jacobian = np.array(
        [(entries(below + h) - entries(below - h)) / 2e-6 for h in 1e-6 * np.eye(3)]
    )
    expected = ours.lkj.logpdf(factor @ factor.T, 2.5) + np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(ours.lkj_cholesky.logpdf(factor, 2.5), expected, rtol=1e-7)


def test_categories():
    p = np.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(
        ours.categorical.logpmf([0, 2, 3, 0.5], p), [*np.log(p[[0, 2]]), -np.inf, -np.inf]
    )
    rows = np.log(np.array([[0.2, 0.8], [0.6, 0.4]])) + 3.0
    np.testing.assert_allclose(ours.categorical.pmf([1, 0], logits=rows), [0.8, 0.6])
    np.testing.assert_allclose(ours.categorical.entropy(p), -(p * np.log(p)).sum())
    draws = ours.categorical.rvs(p, size=4000, random_state=0)
    np.testing.assert_allclose(np.bincount(draws) / 4000, p, atol=0.03)


def test_draws_of_vectors():
    actual = ours.multivariate_normal.rvs(MEAN, COV, size=6000, random_state=1)
    np.testing.assert_allclose(actual.mean(0), MEAN, atol=0.15)
    np.testing.assert_allclose(np.cov(actual.T), COV, atol=0.5)
    shares = ours.dirichlet.rvs([1.0, 2.0, 3.0], size=3000, random_state=1)
    np.testing.assert_allclose(shares.sum(-1), 1.0)
    np.testing.assert_allclose(shares.mean(0), [1 / 6, 1 / 3, 1 / 2], atol=0.02)
    counts = ours.multinomial.rvs(7, [0.2, 0.3, 0.5], size=3000, random_state=1)
    assert (counts.sum(-1) == 7).all()
    np.testing.assert_allclose(counts.mean(0), [1.4, 2.1, 3.5], atol=0.1)
    matrices = ours.wishart.rvs(6.0, COV, size=3000, random_state=1)
    np.testing.assert_allclose(matrices.mean(0), 6.0 * COV, rtol=0.3, atol=1.0)
    white = WHITENING @ matrices @ WHITENING.T  # of the identity: each element has its spread
    np.testing.assert_allclose(white.mean(0), 6.0 * np.eye(3), atol=5 * (12 / 3000) ** 0.5)
    inverses = ours.invwishart.rvs(9.0, COV, size=3000, random_state=1)
    np.testing.assert_allclose(np.linalg.inv(inverses).mean(0) @ COV, 9.0 * np.eye(3), atol=0.8)
    heavy = ours.multivariate_t.rvs(MEAN, COV, 5.0, size=4000, random_state=1)
    distance = ((heavy - MEAN) @ np.linalg.inv(COV) * (heavy - MEAN)).sum(1) / 3
    assert theirs.kstest(distance, theirs.f(3, 5).cdf).pvalue > 1e-3


def test_entropies_of_vectors_are_scipys():
    for alpha in ([1.0, 2.0, 3.0], [0.5, 0.5], [4.0, 1.0, 2.0, 0.3]):
        expected = theirs.dirichlet(alpha).entropy()
        np.testing.assert_allclose(ours.dirichlet.entropy(alpha), expected, rtol=1e-12)
        np.testing.assert_allclose(ours.dirichlet.mean(alpha), theirs.dirichlet(alpha).mean())
    expected = theirs.multivariate_normal(MEAN, COV).entropy()
    np.testing.assert_allclose(ours.multivariate_normal.entropy(MEAN, COV), expected, rtol=1e-12)


def test_mixtures():
    laws = [theirs.norm(-1.0, 0.5), theirs.norm(2.0, 1.5)]
    x = np.array([-3.0, 0.0, 2.5])
    expected = logsumexp(
        [np.log(w) + law.logpdf(x) for w, law in zip((0.3, 0.7), laws, strict=True)], axis=0
    )
    apart = ours.mixture([ours.norm(-1.0, 0.5), ours.norm(2.0, 1.5)], [0.3, 0.7])
    joined = ours.mixture(ours.norm([-1.0, 2.0], [0.5, 1.5]), logits=np.log([0.3, 0.7]) + 4.0)
    for law in (apart, joined):
        np.testing.assert_allclose(law.logpdf(x), expected)
        np.testing.assert_allclose(law.cdf(x), 0.3 * laws[0].cdf(x) + 0.7 * laws[1].cdf(x))
        np.testing.assert_allclose(law.mean(), 1.1)
        np.testing.assert_allclose(law.var(), 0.3 * (0.25 + 2.1**2) + 0.7 * (2.25 + 0.9**2))
        np.testing.assert_allclose(law.rvs(size=8000, random_state=2).mean(), 1.1, atol=0.1)
    w = sg.input("w", (2,), "float64")
    value = ours.mixture([ours.norm(-1.0, 0.5), ours.norm(2.0, 1.5)], logits=w).logpdf(x).sum()
    slope = sg.evaluate(sg.grad(value, w), {"w": np.zeros(2)})
    shares = np.exp(laws[1].logpdf(x) - np.logaddexp(laws[0].logpdf(x), laws[1].logpdf(x)))
    np.testing.assert_allclose(slope[1], (shares - 0.5).sum())
    counts = ours.mixture([ours.poisson(1.0), ours.poisson(9.0)], [0.5, 0.5])
    np.testing.assert_allclose(
        counts.pmf(3), (theirs.poisson.pmf(3, 1) + theirs.poisson.pmf(3, 9)) / 2
    )
    for method in ("sf", "logcdf", "logsf"):
        parts = [getattr(law, method.removeprefix("log"))(x) for law in laws]
        expected = 0.3 * parts[0] + 0.7 * parts[1]
        for law in (apart, joined):
            actual = getattr(law, method)(x)
            np.testing.assert_allclose(actual, np.log(expected) if method[0] == "l" else expected)
    with assert_refused(ArgumentError, "weights or logits", line="mixture"):
        ours.mixture([ours.norm(0.0, 1.0)])
    with assert_refused(ArgumentError, "not a distribution with its parameters", line="mixture"):
        ours.mixture([theirs.norm(0.0, 1.0)], [1.0])


def test_counts_with_zeros_of_their_own():
    k, law = np.arange(6), theirs.poisson(2.0)
    inflated = ours.zero_inflated(ours.poisson(2.0), 0.3)
    hurdle = ours.hurdle(ours.poisson(2.0), 0.3)
    np.testing.assert_allclose(inflated.pmf(k), 0.3 * (k == 0) + 0.7 * law.pmf(k))
    above = law.pmf(k) / (1 - law.pmf(0))
    np.testing.assert_allclose(hurdle.pmf(k), np.where(k == 0, 0.3, 0.7 * above))
    for counts in (inflated, hurdle):
        np.testing.assert_allclose(counts.cdf(k), np.cumsum(counts.pmf(k)))
        draws = counts.rvs(size=4000, random_state=0)
        np.testing.assert_allclose(draws.mean(), counts.mean(), atol=0.15)
        np.testing.assert_allclose((draws == 0).mean(), counts.pmf(0), atol=0.03)
    p = sg.input("p", (), "float64")
    value = ours.zero_inflated(ours.poisson(2.0), p).logpmf(np.array([0, 1])).sum()
    slope = sg.evaluate(sg.grad(value, p), {"p": 0.0})
    np.testing.assert_allclose(slope, 1 / law.pmf(0) - 1 - 1)
    with assert_refused(ArgumentError, "not a distribution of counts", line="hurdle"):
        ours.hurdle(ours.norm(0.0, 1.0), 0.5)


def test_truncated_distributions():
    x = np.array([-2.0, -1.0, 0.3, 2.0, 2.1])
    actual = ours.truncated(ours.norm(0.5, 2.0), -1.0, 2.0)
    expected = theirs.truncnorm(-0.75, 0.75, 0.5, 2.0)
    for method in ("logpdf", "pdf", "cdf", "sf"):
        np.testing.assert_allclose(
            getattr(actual, method)(x), getattr(expected, method)(x), rtol=1e-12, atol=1e-15
        )
    np.testing.assert_allclose(actual.ppf([0.0, 0.3, 1.0]), expected.ppf([0.0, 0.3, 1.0]))
    far = ours.truncated(ours.norm(0.0, 1.0), 30.0)
    np.testing.assert_allclose(far.logpdf(31.0), theirs.truncnorm(30.0, np.inf).logpdf(31.0))
    draws = far.rvs(size=500, random_state=0)
    assert draws.min() >= 30.0
    assert draws.max() < 31.0
    counts = ours.truncated(ours.poisson(2.0), 1, 3)
    k = np.arange(5)
    mass = np.where((k >= 1) & (k <= 3), theirs.poisson.pmf(k, 2.0), 0.0)
    np.testing.assert_allclose(counts.pmf(k), mass / mass.sum())
    half = ours.truncated(ours.t(3.0), 0.0)
    np.testing.assert_allclose(half.logpdf(1.5), theirs.t.logpdf(1.5, 3.0) + np.log(2.0))


def normal_mass(low, high):
    """The probability of an interval; at 42 a tail has 384 zeros behind the point."""
    with mpmath.workdps(450):
        return (mpmath.erfc(low / mpmath.sqrt(2)) - mpmath.erfc(high / mpmath.sqrt(2))) / 2


def test_intervals_in_both_tails():
    """Masses from the tail that is small: far from the middle the other one rounds to 1."""
    for low, high in ((40.0, 42.0), (5.0, 6.0), (-0.5, 3.0), (-42.0, -40.0), (-1.0001, -1.0)):
        at, law = low + 0.25 * (high - low), ours.truncated(ours.norm(0.0, 1.0), low, high)
        mass, below = normal_mass(low, high), normal_mass(low, at)
        density = mpmath.log(mpmath.npdf(at) / mass)
        np.testing.assert_allclose(law.logpdf(at), float(density), rtol=1e-9)
        np.testing.assert_allclose(law.cdf(at), float(below / mass), rtol=1e-8)
        np.testing.assert_allclose(law.ppf(float(below / mass)), at, rtol=1e-7)
        np.testing.assert_array_equal(law.cdf([low - 1.0, low, high, high + 1.0]), [0, 0, 1, 1])
        assert law.logcdf(low) == -np.inf


def median_beyond(low):
    """The median of a normal variable between ``low`` and ``low + 1``, by Newton's method."""
    with mpmath.workdps(450):
        at, mass = mpmath.mpf(low), normal_mass(low, low + 1.0)
        for _ in range(9):
            at = at - (normal_mass(low, at) - mass / 2) / mpmath.npdf(at)
    return float(at)


def test_quantiles_of_tails_that_underflow():
    for dtype, far in (("float64", 50.0), ("float32", 15.0)):
        half, low = np.array(0.5, dtype), np.array([far, -far - 1.0], dtype)
        actual = ours.truncnorm.ppf(half, low, low + np.array(1.0, dtype))
        expected = median_beyond(far) * np.array([1.0, -1.0])
        np.testing.assert_allclose(actual, expected, rtol=4 * np.finfo(dtype).eps)
        assert actual.dtype == dtype


def test_draws_of_tails_that_underflow():
    """Beyond 50 standard deviations nearly exponential; of others than normal ones NaN."""
    law = ours.truncated(ours.norm(1.0, 2.0), 101.0, 103.0)
    beyond = (law.rvs(size=500, random_state=0) - 1.0) / 2.0 - 50.0
    np.testing.assert_allclose(beyond.mean(), 1 / 50, rtol=0.15)
    assert beyond.min() >= 0.0
    assert np.isnan(ours.truncated(ours.expon(), 800.0, 900.0).ppf(0.5))
    actual = ours.truncated(ours.expon(), 600.0).ppf(0.5)
    np.testing.assert_allclose(actual, 600.0 + np.log(2.0), rtol=1e-14)


def test_quantiles_are_in_the_interval():
    """At its ends the quantile of the whole distribution is off by a rounding, to either side."""
    low = np.linspace(-3.0, 3.0, 201)
    for law in (ours.norm(0.1, 1.3), ours.gamma(2.5), ours.cauchy(0.0, 0.7)):
        cut = ours.truncated(law, low, low + 0.4)
        for q in (0.0, 1e-17, 0.5, 1.0):
            actual = cut.ppf(q)
            inside = (actual >= low) & (actual <= low + 0.4)
            assert (inside | np.isnan(actual)).all(), (law, q)


def coordinates_of(name, u):
    """The coordinates in which a transform's determinant is meant."""
    to = getattr(ours.transforms, name)
    x = to.forward(u)
    if name == "simplex":
        return x[..., :-1]
    if name in ("cholesky_corr", "positive_definite"):
        rows, columns = np.tril_indices(x.shape[-1], 0 if name == "positive_definite" else -1)
        return x[..., rows, columns]
    return x


@pytest.mark.parametrize(
    "name", ["ordered", "simplex", "cholesky_corr", "positive_definite", "positive"]
)
@pytest.mark.parametrize("count", [1, 3, 6])
def test_determinants_of_transforms(name, count):
    to, u = getattr(ours.transforms, name), np.random.default_rng(count).normal(size=count) * 0.7
    steps = 1e-6 * np.eye(count)
    jacobian = np.array(
        [(coordinates_of(name, u + h) - coordinates_of(name, u - h)) / 2e-6 for h in steps]
    )
    actual = to.log_det(u)
    expected = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(
        actual.sum() if name == "positive" else actual, expected, rtol=1e-6, atol=1e-8
    )
    x = to.forward(u)
    np.testing.assert_allclose(to.inverse(x), u, rtol=1e-9, atol=1e-9)
    many = np.stack([u, 2 * u])
    np.testing.assert_allclose(to.forward(many)[0], x, rtol=1e-14)
    np.testing.assert_allclose(to.log_det(many)[0], actual)
    symbol = sg.input("u", (count,), "float64")
    np.testing.assert_allclose(sg.compile(to.forward(symbol)).run({"u": u}), x, rtol=1e-12)
    assert isinstance(to.forward(Tensor(u)), Tensor)


def test_constraints_hold():
    u = np.array([0.3, -1.2, 0.8])
    simplex = ours.transforms.simplex.forward(u)
    np.testing.assert_allclose(simplex.sum(), 1.0)
    np.testing.assert_allclose(ours.transforms.simplex.forward(np.zeros(3)), 0.25)
    factor = ours.transforms.cholesky_corr.forward(u)
    np.testing.assert_allclose(np.diag(factor @ factor.T), 1.0)
    for to, low, high in (
        (ours.transforms.interval(-2.0, 5.0), -2.0, 5.0),
        (ours.transforms.lower_bounded(3.0), 3.0, np.inf),
        (ours.transforms.upper_bounded(3.0), -np.inf, 3.0),
    ):
        x = to.forward(u)
        assert ((x > low) & (x < high)).all()
        np.testing.assert_allclose(to.inverse(x), u)
        slope = (to.forward(u + 1e-6) - to.forward(u - 1e-6)) / 2e-6
        np.testing.assert_allclose(to.log_det(u), np.log(np.abs(slope)), rtol=1e-6, atol=1e-8)
    with assert_refused(ShapeError, "lower triangle", line="forward"):
        ours.transforms.cholesky_corr.forward(np.zeros(4))
