"""Samplers beside exact posteriors, and their diagnostics."""

import numpy as np
import pytest
import scipy.stats as theirs

import staticgrad as sg
from staticgrad import stats as ours
from staticgrad.support.errors import ArgumentError
from tests.ops.messages import assert_refused

COV = np.array([[0.04, 0.3], [0.3, 4.0]])
MEAN = np.array([1.0, -3.0])


@pytest.mark.parametrize("sampler", [ours.nuts, ours.hmc])
def test_moments_of_a_gaussian(sampler):
    """Within four standard errors, correlated and with unequal scales."""

    def density(x):
        return ours.multivariate_normal.logpdf(x, MEAN, COV)

    found = sampler(density, np.zeros(2), 3, draws=500, warmup=300, chains=2)
    assert found.draws.shape == (2, 500, 2)
    assert found.divergences.sum() == 0
    assert (found.acceptance > 0.6).all()
    row = found.summary()["0"]
    assert (np.abs(row["mean"] - MEAN) < 4 * row["mcse"]).all()
    assert (row["rhat"] < 1.05).all()
    flat = found.draws.reshape(-1, 2)
    np.testing.assert_allclose(np.cov(flat.T), COV, rtol=0.35)


def test_a_key_gives_the_same_draws():
    first, again, other = (
        ours.hmc(lambda x: -(x**2).sum(), np.zeros(1), key, draws=9, warmup=9, chains=1, steps=2)
        for key in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.draws, again.draws)
    assert not np.array_equal(first.draws, other.draws)


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
    for value, own in zip(y, error, strict=True):
        logs = logs + theirs.norm.logpdf(value, mu, np.hypot(tau, own))
    weight = np.exp(logs - logs.max())
    weight /= weight.sum()
    exact = {"mu": (weight * mu).sum(), "tau": (weight * tau).sum()}
    np.testing.assert_allclose([exact["mu"], exact["tau"]], [4.4, 3.6], atol=0.05)
    start = {"mu": 0.0, "tau": 1.0, "z": np.zeros(8)}
    found = ours.nuts(density, start, 1, transforms={"tau": ours.transforms.positive})
    table = found.summary()
    for name, wanted in exact.items():
        assert abs(table[name]["mean"] - wanted) < 4 * table[name]["mcse"], table[name]
        assert table[name]["rhat"] < 1.02
        assert table[name]["ess"] > 800
    assert found.divergences.sum() < 40


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
