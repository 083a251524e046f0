"""Samplers beside exact posteriors, and their diagnostics."""

import numpy as np
import pytest
import scipy.stats as theirs

import staticgrad as sg
from staticgrad import stats as ours
from staticgrad.errors import ArgumentError
from staticgrad.stats import sampling
from tests.ops.messages import assert_refused

COV = np.array([[0.04, 0.3], [0.3, 4.0]])
MEAN = np.array([1.0, -3.0])


@pytest.mark.parametrize("sampler", [ours.nuts, ours.hmc])
def test_moments_of_a_gaussian(sampler):
    """Within four standard errors, correlated and with unequal scales."""

    def density(x):
        return ours.multivariate_normal.logpdf(x, MEAN, COV)

    actual = sampler(density, np.zeros(2), 3, draws=500, warmup=300, chains=2)
    assert actual.draws.shape == (2, 500, 2)
    assert actual.divergences.sum() == 0
    assert (actual.acceptance > 0.6).all()
    row = actual.summary()["0"]
    assert (np.abs(row["mean"] - MEAN) < 4 * row["mcse"]).all()
    assert (row["rhat"] < 1.05).all()
    flat = actual.draws.reshape(-1, 2)
    np.testing.assert_allclose(np.cov(flat.T), COV, rtol=0.35)


def test_the_warm_up_is_left_out():
    """A chain that begins at 100 standard deviations; with one that is returned from there on."""
    begin = {"jitter": 0.0, "draws": 150, "chains": 1, "steps": 4}

    def density(x):
        return -(x**2).sum() / 2

    actual = ours.hmc(density, np.array([100.0]), 0, warmup=150, **begin)
    assert np.abs(actual.draws).max() < 6.0
    assert actual.draws.shape == (1, 150, 1)
    assert actual.steps.shape == (1, 150)
    at_once = ours.hmc(density, np.array([100.0]), 0, warmup=0, **begin)
    assert np.abs(at_once.draws).max() > 20.0


def test_the_determinant_of_a_transform_is_added():
    """A gamma variable of mean 3 and variance 3; without a determinant its mean is 2, or 1."""
    result = ours.nuts(
        lambda v: ours.gamma.logpdf(v["x"], 3.0), {"x": 1.0}, 0, draws=500, warmup=150, chains=2,
        transforms={"x": ours.transforms.positive},
    )  # fmt: skip
    row = result.summary()["x"]
    assert abs(row["mean"] - 3.0) < 4 * row["mcse"] < 0.5
    assert row["std"] == pytest.approx(3.0**0.5, rel=0.15)


def test_long_steps_are_corrected_by_rejections():
    """Leapfrog steps of a length e give a variance of 1 / (1 - e * e / 4), more than 1.5 here."""
    actual = ours.hmc(
        lambda x: -(x**2).sum() / 2, np.zeros(5), 0, draws=1500, warmup=0, chains=1, steps=3,
        step_size=1.3,
    )  # fmt: skip
    assert 0.5 < actual.acceptance[0] < 0.95
    np.testing.assert_allclose(actual.draws.var(), 1.0, atol=0.1)


def test_masses_are_those_of_the_scales():
    """Scales of 0.01 and 100: with equal masses a trajectory takes 10,000 steps to turn."""
    scales = np.array([0.01, 100.0])
    actual = ours.nuts(
        lambda x: -((x / scales) ** 2).sum() / 2, np.zeros(2), 0, draws=300, warmup=300, chains=1,
        max_depth=8,
    )  # fmt: skip
    assert 2.0 < actual.steps.mean() < 16.0
    np.testing.assert_allclose(actual.draws.std(axis=(0, 1)), scales, rtol=0.25)


def test_windows_of_the_warm_up_are_those_of_stan():
    """Stan's reference manual: 75 draws, windows of 25, 50, 100, ..., and 50 draws at the end."""
    actual = sampling._windows(1000, 7)
    np.testing.assert_array_equal(np.flatnonzero(actual["ends"]) + 1, [100, 150, 250, 450, 950])
    np.testing.assert_array_equal(np.flatnonzero(actual["learns"]), np.arange(75, 950))
    np.testing.assert_array_equal(np.flatnonzero(actual["adapts"]), np.arange(1000))
    np.testing.assert_array_equal(np.flatnonzero(actual["final"]), [999])
    assert all(len(values) == 1007 for values in actual.values())


def test_step_sizes_follow_dual_averaging():
    """Algorithm 5 of Hoffman and Gelman (2014), and variances of draws as Stan shrinks them."""
    rng = np.random.default_rng(0)
    accepted, draws = rng.uniform(size=6), rng.normal(size=(6, 2))
    ends, final = np.arange(6) == 3, np.arange(6) == 5

    @sg.function
    def steps(accepted, draws, ends, final):
        adaptation = sampling._Adaptation(accepted[0] * 0.0 + 0.3, draws[0])

        def step(carry, row):
            acceptance, u, ends, final = row
            flag = {"adapts": ends | ~ends, "learns": ends | ~ends, "ends": ends, "final": final}
            carry = adaptation.following(carry, u, acceptance, flag, 0.8)
            return carry, (carry["step"], carry["inverse"])

        return sg.scan(step, adaptation.initial(), (accepted, draws, ends, final))[1]

    actual, inverse = steps(accepted, draws, ends, final)
    centre, error, mean, number, expected = np.log(10 * 0.3), 0.0, 0.0, 0, []
    for acceptance, end, last in zip(accepted, ends, final, strict=True):
        number += 1
        error = (1 - 1 / (number + 10)) * error + (0.8 - acceptance) / (number + 10)
        trial = centre - number**0.5 / 0.05 * error
        mean = number**-0.75 * trial + (1 - number**-0.75) * mean
        expected.append(np.exp(mean if end or last else trial))
        if end:  # begins anew about the average
            centre, error, mean, number = np.log(10 * np.exp(mean)), 0.0, 0.0, 0
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    spread = 4 / 9 * draws[:4].var(axis=0, ddof=1) + 1e-3 * 5 / 9
    np.testing.assert_allclose(inverse, [[1.0, 1.0]] * 3 + [spread] * 3, rtol=1e-12)


def test_a_key_gives_the_same_draws():
    first, again, third = (
        ours.hmc(lambda x: -(x**2).sum(), np.zeros(1), key, draws=9, warmup=9, chains=1, steps=2)
        for key in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.draws, again.draws)
    assert not np.array_equal(first.draws, third.draws)


@pytest.mark.slow
def test_eight_schools():
    """Gelman et al., "Bayesian Data Analysis" (2013), 5.5, with the priors of posteriordb; the
    exact means by quadrature, since the schools' effects integrate out.
    """
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    error = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def density(v):
        theta = v["mu"] + v["tau"] * v["z"]
        prior = ours.norm.logpdf(v["mu"], 0, 5) + ours.halfcauchy.logpdf(v["tau"], 0, 5)
        return prior + ours.norm.logpdf(v["z"]).sum() + ours.norm.logpdf(y, theta, error).sum()

    mu, tau = np.meshgrid(np.linspace(-25, 35, 301), np.exp(np.linspace(-9, 7, 801)), indexing="ij")
    logs = theirs.norm.logpdf(mu, 0, 5) + theirs.halfcauchy.logpdf(tau, 0, 5) + np.log(tau)
    for value, deviation in zip(y, error, strict=True):
        logs = logs + theirs.norm.logpdf(value, mu, np.hypot(tau, deviation))
    weight = np.exp(logs - logs.max())
    weight /= weight.sum()
    exact = {"mu": (weight * mu).sum(), "tau": (weight * tau).sum()}
    np.testing.assert_allclose([exact["mu"], exact["tau"]], [4.4, 3.6], atol=0.05)
    start = {"mu": 0.0, "tau": 1.0, "z": np.zeros(8)}
    actual = ours.nuts(density, start, 1, transforms={"tau": ours.transforms.positive})
    table = actual.summary()
    for name, expected in exact.items():
        assert abs(table[name]["mean"] - expected) < 4 * table[name]["mcse"], table[name]
        assert table[name]["rhat"] < 1.02
        assert table[name]["ess"] > 800
    assert actual.divergences.sum() < 40


def test_diagnostics():
    rng = np.random.default_rng(0)
    free = rng.normal(size=(4, 1000))
    assert ours.rhat(free) == pytest.approx(1.0, abs=0.01)
    assert ours.ess(free) == pytest.approx(4000, rel=0.15)
    apart = free + np.array([0.0, 0.0, 0.0, 2.0])[:, None]
    assert ours.rhat(apart) > 1.2
    assert ours.ess(apart) < 100
    moving = np.zeros((4, 4000))
    noise = rng.normal(size=moving.shape)
    for k in range(1, 4000):
        moving[:, k] = 0.9 * moving[:, k - 1] + noise[:, k]
    assert ours.ess(moving) == pytest.approx(16000 * 0.1 / 1.9, rel=0.25)
    assert ours.ess(np.stack([free, free], -1)).shape == (2,)


def test_chains_of_unequal_spread_and_chains_that_drift_are_not_mixed():
    """Means of whole chains are equal in both (Vehtari et al., 2021, figures 1 and 2)."""
    free = np.random.default_rng(0).normal(size=(4, 1000))
    assert ours.rhat(free * np.array([1.0, 1.0, 1.0, 4.0])[:, None]) > 1.1
    assert ours.rhat(free + np.linspace(-2.0, 2.0, 1000)) > 1.1


def test_arguments_of_samplers():
    with assert_refused(ArgumentError, "not a function", line="nuts"):
        ours.nuts(3.0, np.zeros(2), 0)
    with assert_refused(ArgumentError, "key=None", line="nuts"):
        ours.nuts(lambda x: -(x**2).sum(), np.zeros(2), None)
    with assert_refused(ArgumentError, "transforms belong to a dict", line="hmc"):
        ours.hmc(lambda x: x, np.zeros(2), 0, transforms={"x": ours.transforms.positive})
    with assert_refused(ArgumentError, "not a transform of one of", line="hmc"):
        ours.hmc(lambda v: v["x"], {"x": 1.0}, 0, transforms={"y": ours.transforms.positive})
    with assert_refused(ArgumentError, "is not finite where a chain begins", line="nuts"):
        ours.nuts(lambda x: sg.log(x - 50.0).sum(), np.zeros(1), 0)
    with assert_refused(ArgumentError, "draws=0", line="nuts"):
        ours.nuts(lambda x: x.sum(), np.zeros(1), 0, draws=0)


def test_trajectories_that_max_depth_ends_are_counted():
    def normal(x):
        return -0.5 * (x**2).sum()

    options = {"draws": 20, "warmup": 0, "chains": 2}  # three steps of 0.01 do not turn
    short = sg.stats.nuts(normal, np.zeros(2), 0, max_depth=2, step_size=0.01, **options)
    assert (short.steps == 3).all()
    np.testing.assert_array_equal(short.at_max_depth, [20, 20])
    assert repr(short) == "Samples(2 chains of 20 draws, 0 divergences, 40 at max_depth)"
    turning = sg.stats.nuts(normal, np.zeros(2), 0, step_size=0.5, **options)
    assert not turning.at_max_depth.any()
    assert "max_depth" not in repr(turning)
    assert not sg.stats.hmc(normal, np.zeros(2), 0, **options).at_max_depth.any()
