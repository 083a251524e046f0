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


def test_densities_read_the_data_that_a_model_has_now():
    """Also of another number of rows; by hand, the density of a normal distribution."""
    with pm.Model() as model:
        y = pm.Data("y", np.zeros(3))
        centre = pm.Normal("centre")
        pm.Normal("o", centre, 1.0, observed=y)
    density = sg.pytensor.logp(model)
    gradient = sg.value_and_grad(density)
    point = {"centre": np.array(0.25)}
    for rows in (np.zeros(3), np.full(3, 2.0), np.arange(5.0), np.ones(3)):
        with model:
            pm.set_data({"y": rows})
        squares = 0.25**2 + ((rows - 0.25) ** 2).sum()
        expected = -0.5 * squares - 0.5 * (rows.size + 1) * np.log(2 * np.pi)
        np.testing.assert_allclose(density(point), expected, rtol=1e-6)
        value, slopes = gradient(point)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_allclose(slopes["centre"], (rows - 0.25).sum() - 0.25, rtol=1e-6)


@pytest.fixture(scope="module")
def counties():
    """Levels in 12 counties, with named axes, a deterministic and data that may be replaced."""
    random = np.random.default_rng(0)
    county = np.sort(random.integers(0, 12, 150))
    with pm.Model(coords={"county": range(12)}) as model:
        floor = pm.Data("floor", random.integers(0, 2, 150) * 1.0)
        centre, spread = pm.Normal("centre", 0, 10), pm.HalfNormal("spread", 5)
        offset = pm.Normal("offset", 0, 1, dims="county")
        level = pm.Deterministic("level", centre + spread * offset, dims="county")
        shares = pm.Dirichlet("shares", np.ones(3))
        mean = level[county] + shares[0] * floor
        pm.Normal("y", mean, pm.HalfNormal("error", 2), observed=random.normal(1.2, 0.8, 150))
    return model


@pytest.mark.parametrize("name", ["schools", "counties"])
def test_nutpie_samples_as_it_does_its_own_model(name, request):
    """The same variables, axes and labels; means within the errors of both samples."""
    nutpie = pytest.importorskip("nutpie", reason="nutpie is not installed")
    model = request.getfixturevalue(name)
    trees = [
        nutpie.sample(
            compiled, draws=400, tune=300, chains=2, cores=2, seed=1, progress_bar=False,
            store_unconstrained=True,
        )
        for compiled in (sg.pytensor.nutpie(model), nutpie.compile_pymc_model(model))
    ]  # fmt: skip
    for group in ("posterior", "unconstrained_posterior"):
        ours, theirs = (tree[group] for tree in trees)
        assert {*ours.data_vars} == {*theirs.data_vars}
        assert {*ours.coords} == {*theirs.coords}
        for label in theirs.coords:
            np.testing.assert_array_equal(ours[label], theirs[label])
        for variable in theirs.data_vars:
            assert ours[variable].dims == theirs[variable].dims
            parts = [draws[variable].to_numpy() for draws in (ours, theirs)]
            # draws of NUTS are worth at least a tenth as many independent ones here
            errors = [part.std((0, 1)) / np.sqrt(80) for part in parts]
            distance = np.abs(parts[0].mean((0, 1)) - parts[1].mean((0, 1)))
            assert (distance <= 5 * np.hypot(*errors) + 1e-12).all(), variable
    draws, free = trees[0].posterior, trees[0].unconstrained_posterior
    np.testing.assert_allclose(np.log(draws["spread"]), free["spread_log__"], rtol=1e-12)


@pytest.mark.parametrize("chains", [1, 2, 4])
def test_a_seed_gives_the_draws_of_nutpie_on_any_number_of_threads(schools, chains):
    nutpie = pytest.importorskip("nutpie", reason="nutpie is not installed")
    compiled = sg.pytensor.nutpie(schools)
    draws = [
        nutpie.sample(
            compiled, draws=50, tune=100, chains=chains, cores=cores, seed=7, progress_bar=False
        ).posterior
        for cores in (1, chains)
    ]
    assert draws[0].sizes["chain"] == chains
    for variable in ("centre", "spread", "effect"):
        np.testing.assert_array_equal(draws[0][variable], draws[1][variable])
    assert len({*draws[0]["centre"].to_numpy()[:, -1]}) == chains


def test_nutpie_calls_programs_without_python(schools):
    """The densities of the threads' contexts are NumPy's, the codes of errors nutpie's."""
    pytest.importorskip("nutpie", reason="nutpie is not installed")
    compiled = sg.pytensor.nutpie(schools)
    density = compiled.compiled_logp_func
    size = compiled.n_dim
    arrays = np.zeros(size), np.empty(size), np.empty(1)

    def call():
        pointers = [np.ctypeslib.as_ctypes(array) for array in arrays]
        return density.ctypes(size, *pointers, compiled.user_data.ctypes.data)

    assert call() == 0
    parts = {"centre": 0.0, "spread_log__": np.array(0.0), "effect": np.zeros(8)}
    np.testing.assert_allclose(arrays[2][0], log_density(parts), rtol=1e-7)
    arrays[0][1] = 800.0  # exp overflows
    assert call() > 0  # an error that ends a trajectory and not the chain


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


def test_nodes_of_a_log_density_have_the_lines_of_the_model():
    """Terms have those of their variables; their sum has the line that asks for the density."""
    with pm.Model() as model:
        centre = pm.Normal("centre", 0, 5)
        spread = pm.HalfNormal("spread", 5)
        pm.Normal("y", centre + spread, 12.0, observed=EFFECTS)
        pm.Potential("tail", pm.math.cos(centre))
    traces = [variable.tag.trace for variable in model.basic_RVs]
    density = sg.pytensor.logp(model)
    graph = density.graph(model.initial_point())
    lines = {
        line.text.partition("=")[0].strip()
        for line in (node.origin.resolve() for node in graph.nodes if not node.is_leaf)
    }
    model_lines = {"centre", "spread", 'pm.Normal("y", centre + spread, 12.0, observed',
                   'pm.Potential("tail", pm.math.cos(centre))'}  # fmt: skip
    assert lines - {"graph"} == {*model_lines, "density"}
    assert [variable.tag.trace for variable in model.basic_RVs] == traces
