"""Models of PyMC: their log densities in our mode and as functions of arrays; samplers."""

import subprocess
import sys

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError

pm = pytest.importorskip("pymc", reason="PyMC is not installed")

import staticgrad.pytensor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
EFFECTS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])


@pytest.fixture(scope="module")
def schools():
    """The effects of coaching in eight schools, around a common centre."""
    with pm.Model(coords={"school": list("ABCDEFGH")}) as model:
        centre, spread = pm.Normal("centre", 0, 5), pm.HalfNormal("spread", 5)
        effect = pm.Normal("effect", 0, 1, dims="school")
        pm.Normal("y", centre + spread * effect, 12.0, observed=EFFECTS)
    return model


def log_density(point):
    """The same by hand, on the scale that PyMC samples."""

    def normal(x, mu, sigma):
        return (-0.5 * ((x - mu) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)).sum()

    spread = np.exp(point["spread_log__"])
    of_spread = normal(spread, 0, 5) + np.log(2) + point["spread_log__"]
    mean = point["centre"] + spread * point["effect"]
    return (
        normal(point["centre"], 0, 5) + of_spread + normal(point["effect"], 0, 1)
        + normal(EFFECTS, mean, 12.0)
    )  # fmt: skip


def test_the_log_density_is_that_of_pytensor_and_of_the_formula(schools):
    density = sg.pytensor.logp(schools)
    modes = []
    for mode in ("STATICGRAD", "FAST_COMPILE"):
        modes.append(schools.logp_dlogp_function(ravel_inputs=True, mode=mode))
        modes[-1].set_extra_values({})
    random = np.random.default_rng(0)
    for _ in range(3):
        point = {k: v + random.normal(size=v.shape) for k, v in schools.initial_point().items()}
        vector = np.concatenate([np.ravel(point[v.name]) for v in schools.value_vars])
        value, slopes = sg.value_and_grad(density)(point)
        parts = np.concatenate([np.ravel(slopes[v.name]) for v in schools.value_vars])
        of_mode, of_pytensor = (f(vector) for f in modes)
        for actual, gradient in ((value, parts), of_mode):
            np.testing.assert_allclose(actual, of_pytensor[0], rtol=1e-13)
            np.testing.assert_allclose(gradient, of_pytensor[1], rtol=1e-12)
        # constants of PyMC's half normal distribution are in float32
        np.testing.assert_allclose(value, log_density(point), rtol=1e-7)
        beside = {**point, "centre": point["centre"] + 1e-6}
        difference = (log_density(beside) - log_density(point)) / 1e-6
        np.testing.assert_allclose(slopes["centre"], difference, rtol=1e-4, atol=1e-4)


def test_nutpie_samples_the_posterior(schools):
    nutpie = pytest.importorskip("nutpie", reason="nutpie is not installed")
    trace = nutpie.sample(
        sg.pytensor.nutpie(schools), draws=400, tune=300, chains=2, cores=1, seed=1,
        progress_bar=False,
    )  # fmt: skip
    draws = trace.posterior
    assert draws["effect"].dims == ("chain", "draw", "school")
    np.testing.assert_allclose(np.log(draws["spread"]), draws["spread_log__"], rtol=1e-12)
    # N(0, 5) and eight effects of error 12: at spread 0 the mean is 4.5
    assert abs(float(draws["centre"].mean()) - 4.4) < 1.0


def test_pymc_is_imported_after_a_function_of_pytensor():
    source = (
        "import pytensor.tensor as pt, staticgrad as sg; x = pt.vector();"
        " sg.pytensor.function(x.sum(), [x]); import pymc"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", source], check=True, timeout=300)


def test_points_have_the_names_of_the_model(schools):
    with pytest.raises(ArgumentError, match="a point is a dict of 'centre'"):
        sg.pytensor.logp(schools)({"centre": 0.0})
    with pytest.raises(ArgumentError, match="logp: the model is"):
        sg.pytensor.logp(3)
