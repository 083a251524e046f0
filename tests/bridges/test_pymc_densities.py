"""Densities of all distributions of PyMC in our mode, with gradients, beside PyTensor's own.

PyTensor's reference is its mode without Numba and C, by NumPy and SciPy. A few formulas are checked
by SciPy's own densities.
"""

import warnings

import numpy as np
import pytest
import scipy.stats

pm = pytest.importorskip("pymc", reason="PyMC is not installed")

import pytensor  # noqa: E402
import pytensor.tensor as pt  # noqa: E402

import staticgrad.pytensor  # noqa: E402, F401

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(7)
POSITIVE = np.array([0.3, 1.2, 2.5])
REAL = np.array([-1.3, 0.2, 0.9])
UNIT = np.array([0.1, 0.45, 0.8])
COUNTS = np.array([0, 2, 5])
SIMPLEX = np.array([0.2, 0.5, 0.3])
COVARIANCE = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 1.5]])
SERIES = np.array([0.1, 0.4, -0.2, 0.3, 0.6])
ADJACENT = np.array([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])

#: A distribution: its class, its parameters, and values at which it has a density.
UNIVARIATE = {
    "AsymmetricLaplace": ({"kappa": 1.4, "mu": 0.2, "b": 1.1}, REAL),
    "Beta": ({"alpha": 1.5, "beta": 2.5}, UNIT),
    "Cauchy": ({"alpha": 0.2, "beta": 1.3}, REAL),
    "ChiSquared": ({"nu": 3.0}, POSITIVE),
    "ExGaussian": ({"mu": 0.1, "sigma": 0.8, "nu": 1.2}, REAL),
    "Exponential": ({"lam": 1.7}, POSITIVE),
    "Flat": ({}, REAL),
    "Gamma": ({"alpha": 2.2, "beta": 1.4}, POSITIVE),
    "Gumbel": ({"mu": 0.1, "beta": 1.2}, REAL),
    "HalfCauchy": ({"beta": 1.3}, POSITIVE),
    "HalfFlat": ({}, POSITIVE),
    "HalfNormal": ({"sigma": 1.3}, POSITIVE),
    "HalfStudentT": ({"nu": 4.0, "sigma": 1.2}, POSITIVE),
    "InverseGamma": ({"alpha": 2.5, "beta": 1.3}, POSITIVE),
    "Kumaraswamy": ({"a": 1.4, "b": 2.2}, UNIT),
    "Laplace": ({"mu": 0.1, "b": 1.2}, REAL),
    "LogNormal": ({"mu": 0.1, "sigma": 0.9}, POSITIVE),
    "Logistic": ({"mu": 0.1, "s": 1.2}, REAL),
    "LogitNormal": ({"mu": 0.1, "sigma": 0.9}, UNIT),
    "Moyal": ({"mu": 0.1, "sigma": 1.2}, REAL),
    "Normal": ({"mu": 0.3, "sigma": 1.2}, REAL),
    "Pareto": ({"alpha": 2.2, "m": 0.2}, POSITIVE),
    "Rice": ({"nu": 1.1, "sigma": 0.8}, POSITIVE),
    "SkewNormal": ({"mu": 0.1, "sigma": 1.2, "alpha": 1.5}, REAL),
    "SkewStudentT": ({"a": 2.2, "b": 3.1, "mu": 0.1, "sigma": 1.2}, REAL),
    "StudentT": ({"nu": 4.0, "mu": 0.1, "sigma": 1.2}, REAL),
    "Triangular": ({"lower": -2.0, "c": 0.3, "upper": 2.0}, REAL),
    "TruncatedNormal": ({"mu": 0.1, "sigma": 1.2, "lower": -2.0, "upper": 1.5}, REAL),
    "Uniform": ({"lower": -2.0, "upper": 2.0}, REAL),
    "VonMises": ({"mu": 0.1, "kappa": 1.8}, REAL),
    "Wald": ({"mu": 1.2, "lam": 1.6}, POSITIVE),
    "Weibull": ({"alpha": 1.6, "beta": 1.2}, POSITIVE),
    "Interpolated": (
        {"x_points": np.linspace(-2, 2, 9), "pdf_points": np.exp(-(np.linspace(-2, 2, 9) ** 2))},
        REAL,
    ),
    "Bernoulli": ({"p": 0.3}, np.array([0, 1, 1])),
    "BetaBinomial": ({"alpha": 1.5, "beta": 2.1, "n": 9}, COUNTS),
    "Binomial": ({"n": 9, "p": 0.3}, COUNTS),
    "Categorical": ({"p": SIMPLEX}, np.array([0, 2, 1])),
    "DiracDelta": ({"c": 2}, COUNTS),
    "DiscreteUniform": ({"lower": -1, "upper": 6}, COUNTS),
    "DiscreteWeibull": ({"q": 0.6, "beta": 1.2}, COUNTS),
    "Geometric": ({"p": 0.3}, COUNTS + 1),
    "HyperGeometric": ({"N": 20, "k": 8, "n": 9}, COUNTS),
    "NegativeBinomial": ({"mu": 2.2, "alpha": 1.6}, COUNTS),
    "OrderedLogistic": ({"eta": 0.3, "cutpoints": REAL, "compute_p": False}, np.array([0, 2, 3])),
    "OrderedProbit": ({"eta": 0.3, "cutpoints": REAL, "compute_p": False}, np.array([0, 2, 3])),
    "Poisson": ({"mu": 2.3}, COUNTS),
    "HurdleGamma": ({"psi": 0.6, "alpha": 2.0, "beta": 1.3}, POSITIVE),
    "HurdleLogNormal": ({"psi": 0.6, "mu": 0.2, "sigma": 1.1}, POSITIVE),
    "HurdleNegativeBinomial": ({"psi": 0.6, "mu": 2.2, "alpha": 1.4}, COUNTS),
    "HurdlePoisson": ({"psi": 0.6, "mu": 2.2}, COUNTS),
    "ZeroInflatedBinomial": ({"psi": 0.6, "n": 9, "p": 0.3}, COUNTS),
    "ZeroInflatedNegativeBinomial": ({"psi": 0.6, "mu": 2.2, "alpha": 1.4}, COUNTS),
    "ZeroInflatedPoisson": ({"psi": 0.6, "mu": 2.2}, COUNTS),
    "NormalMixture": ({"w": SIMPLEX, "mu": REAL, "sigma": POSITIVE}, REAL),
}
OF_ARRAYS = {
    "MvNormal": ({"mu": REAL, "cov": COVARIANCE}, SIMPLEX),
    "MvStudentT": ({"nu": 5.0, "mu": REAL, "scale": COVARIANCE}, SIMPLEX),
    "Dirichlet": ({"a": POSITIVE}, SIMPLEX),
    "Multinomial": ({"n": 7, "p": SIMPLEX}, COUNTS),
    "DirichletMultinomial": ({"n": 7, "a": POSITIVE}, COUNTS),
    "OrderedMultinomial": ({"eta": 0.3, "cutpoints": REAL[:2], "n": 7, "compute_p": False}, COUNTS),
    "Wishart": ({"nu": 6, "V": COVARIANCE}, COVARIANCE + np.eye(3)),
    "MatrixNormal": (
        {"mu": np.zeros((3, 3)), "rowcov": COVARIANCE, "colcov": np.eye(3)},
        COVARIANCE,
    ),
    "KroneckerNormal": (
        {"mu": np.zeros(6), "covs": [COVARIANCE, COVARIANCE[:2, :2]]},
        RNG.normal(size=6),
    ),
    "CAR": ({"mu": REAL, "W": ADJACENT, "alpha": 0.4, "tau": 1.3}, SIMPLEX),
    "LKJCorr": ({"n": 3, "eta": 1.7}, np.array([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8]])),
    "StickBreakingWeights": ({"alpha": 1.4, "K": 2}, SIMPLEX),
    "AR": (
        {
            "rho": np.array([0.5, -0.2]),
            "sigma": 0.9,
            "init_dist": pm.Normal.dist(0, 1, shape=2),
            "steps": 3,
        },
        SERIES,
    ),
    "GARCH11": (
        {"omega": 0.4, "alpha_1": 0.2, "beta_1": 0.3, "initial_vol": 0.8, "steps": 4},
        SERIES,
    ),
    "GaussianRandomWalk": (
        {"mu": 0.1, "sigma": 0.8, "init_dist": pm.Normal.dist(0, 1), "steps": 4},
        SERIES,
    ),
    "MvGaussianRandomWalk": (
        {
            "mu": REAL,
            "cov": COVARIANCE,
            "init_dist": pm.MvNormal.dist(REAL, COVARIANCE),
            "steps": 3,
        },
        RNG.normal(size=(4, 3)),
    ),
    "ZeroSumNormal": ({"sigma": 1.3, "shape": 3}, REAL - REAL.mean()),
}
ALL = {**UNIVARIATE, **OF_ARRAYS}
#: Their distribution functions take one number.
ONE_AT_A_TIME = ("BetaBinomial", "HyperGeometric")
#: Every eleventh; the others are slow.
QUICK = [*ALL][::11]
#: No density of their own, functions that make others, abstract, or checked below.
WITHOUT = {
    "Continuous", "Discrete", "Distribution", "SymbolicRandomVariable", "Simulator", "CustomDist",
    "DensityDist", "Lognormal", "EulerMaruyama", "ICAR", "LKJCholeskyCov", "WishartBartlett",
    "Mixture", "Truncated", "Censored", "RandomWalk", "MvStudentTRandomWalk", "PolyaGamma",
}  # fmt: skip


def thin(names):
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


def make(name):
    parameters, at = ALL[name]
    return getattr(pm, name).dist(**parameters), np.asarray(at)


def compare(make_output, value, array, rtol, with_gradient=True):
    """Our mode gives the value and the gradient of PyTensor's own mode."""
    output = make_output(value)
    outputs = [output]
    if with_gradient and value.dtype.startswith("float"):
        outputs.append(pytensor.grad(output.sum(), value, disconnected_inputs="ignore"))
    ours, theirs = (
        pytensor.function([value], outputs, mode=mode, on_unused_input="ignore")(array)
        for mode in ("STATICGRAD", "FAST_COMPILE")
    )
    for actual, expected in zip(ours, theirs, strict=True):
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)
    return theirs[0]


def variable_like(array):
    kind = "int64" if array.dtype.kind in "iu" else "float64"
    return pt.tensor("value", dtype=kind, shape=(None,) * array.ndim), array.astype(kind)


def test_every_distribution_is_here_or_is_named_as_without():
    names = {*pm.distributions.__all__}
    assert names - {*ALL} - WITHOUT == set()
    assert names.issuperset(ALL)


@pytest.mark.parametrize("name", thin(ALL))
def test_log_densities_and_their_gradients(name):
    distribution, at = make(name)
    value, array = variable_like(at)
    density = compare(lambda v: pm.logp(distribution, v), value, array, 1e-12)
    if name != "DiracDelta":
        assert np.all(np.isfinite(density))


@pytest.mark.parametrize("name", thin(UNIVARIATE))
@pytest.mark.parametrize("of", ["logcdf", "icdf"])
def test_distribution_functions(name, of):
    distribution, at = make(name)
    value, array = variable_like(UNIT if of == "icdf" else at)
    if name in ONE_AT_A_TIME and of == "logcdf":
        value, array = variable_like(at[1])
    try:
        getattr(pm, of)(distribution, value)
    except NotImplementedError:
        pytest.skip(f"PyMC has no {of} of it")
    compare(lambda v: getattr(pm, of)(distribution, v), value, array, 1e-12, False)


def test_mixtures_truncated_censored_and_walks():
    normal = pm.Normal.dist(0.2, 1.1)
    for distribution in (
        pm.Mixture.dist(SIMPLEX, [normal, pm.StudentT.dist(4.0), pm.Cauchy.dist(0, 1)]),
        pm.Truncated.dist(pm.Gumbel.dist(0.1, 1.2), lower=-2.0, upper=2.0),
        pm.Censored.dist(normal, lower=-1.3, upper=2.0),
    ):
        value, array = variable_like(REAL)
        compare(lambda v, d=distribution: pm.logp(d, v), value, array, 1e-12)
    walk = pm.RandomWalk.dist(
        init_dist=pm.Normal.dist(0, 1), innovation_dist=pm.Laplace.dist(0, 1.0), steps=4
    )
    compare(lambda v: pm.logp(walk, v), *variable_like(SERIES), 1e-12)


@pytest.mark.parametrize("name", ["Normal", "Gamma", "Poisson", "StudentT", "Beta"])
def test_densities_are_those_of_scipy(name):
    distribution, at = make(name)
    value, array = variable_like(at)
    actual = pytensor.function([value], pm.logp(distribution, value), mode="STATICGRAD")(array)
    expected = {
        "Normal": scipy.stats.norm(0.3, 1.2).logpdf,
        "Gamma": scipy.stats.gamma(2.2, 0, 1 / 1.4).logpdf,
        "Poisson": scipy.stats.poisson(2.3).logpmf, "StudentT": scipy.stats.t(4, 0.1, 1.2).logpdf,
        "Beta": scipy.stats.beta(1.5, 2.5).logpdf,
    }[name](at)  # fmt: skip
    # constants of PyMC's formulas are in float32
    np.testing.assert_allclose(actual, expected, rtol=3e-7)


@pytest.mark.parametrize("name", ["interval", "log", "logodds", "ordered", "simplex", "sum_to_1"])
def test_transforms_with_their_jacobians(name):
    transforms = pm.distributions.transforms
    transform = transforms.Interval(-1.0, 2.0) if name == "interval" else getattr(transforms, name)
    value, array = variable_like(REAL)
    compare(lambda v: transform.backward(v), value, array, 1e-12)
    compare(lambda v: transform.log_jac_det(v), value, array, 1e-12)


def test_models_of_factors_of_covariances():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pm.Model() as model:
            pm.LKJCholeskyCov("factor", n=3, eta=1.5, sd_dist=pm.HalfNormal.dist(1.0))
            pm.StickBreakingWeights("weights", alpha=1.2, K=3)
            pm.Dirichlet("share", POSITIVE)
    modes = []
    for mode in ("STATICGRAD", "FAST_COMPILE"):
        modes.append(model.logp_dlogp_function(ravel_inputs=True, mode=mode))
        modes[-1].set_extra_values({})
    start = model.initial_point()
    point = np.concatenate([np.ravel(start[v.name]) for v in model.value_vars])
    point = point + 0.3 * np.random.default_rng(0).normal(size=point.size)
    for actual, expected in zip(*(f(point) for f in modes), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)
