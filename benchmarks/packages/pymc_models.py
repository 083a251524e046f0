"""Models of PyMC that many tutorials have, each a function that builds it; data has fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np

pm: Any = import_module("pymc")
pytensor: Any = import_module("pytensor")
pt: Any = import_module("pytensor.tensor")

#: Name -> a function that builds the model.
MODELS: Final[dict[str, Callable[[], Any]]] = {}


def model(build: Callable[[np.random.Generator], None]) -> Callable[..., None]:
    """Register a function that adds variables to a model, with a generator for its data."""
    name = build.__name__.replace("_", " ")

    def make() -> Any:
        with pm.Model() as built:
            build(np.random.default_rng(sum(map(ord, name))))
        return built

    MODELS[name] = make
    return build


@model
def eight_schools(_: np.random.Generator) -> None:
    effects = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    errors = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    center, spread = pm.Normal("center", 0, 5), pm.HalfCauchy("spread", 5)
    school = pm.Normal("school", 0, 1, shape=8)
    pm.Normal("effect", center + spread * school, errors, observed=effects)


@model
def mining_disasters(random: np.random.Generator) -> None:
    years = np.arange(1851, 1962)
    counts = random.poisson(np.where(years < 1890, 3.1, 0.9))
    change = pm.Uniform("change", 1851, 1961)
    early, late = pm.Exponential("early", 1), pm.Exponential("late", 1)
    pm.Poisson("count", pt.switch(change >= years, early, late), observed=counts)


@model
def counties(random: np.random.Generator) -> None:
    """Varying intercepts and slopes, as of radon in the homes of 85 counties."""
    county, floor = np.sort(random.integers(0, 85, 919)), random.integers(0, 2, 919) * 1.0
    levels = random.normal(1.2, 0.8, 919)
    effects = []
    for name in ("intercept", "slope"):
        center, spread = pm.Normal(f"{name}_center", 0, 10), pm.HalfNormal(f"{name}_spread", 5)
        effects.append(center + spread * pm.Normal(name, 0, 1, shape=85))
    mean = effects[0][county] + effects[1][county] * floor
    pm.Normal("level", mean, pm.HalfCauchy("error", 5), observed=levels)


@model
def horseshoe(random: np.random.Generator) -> None:
    """Regression of 50 columns, of which three matter."""
    columns = random.normal(size=(200, 50))
    y = columns[:, :3] @ np.array([2.0, -1, 1]) + random.normal(size=200)
    overall = pm.HalfStudentT("overall", 2, 0.1)
    local = pm.HalfStudentT("local", 5, 1, shape=50)
    slab = pm.InverseGamma("slab", 1, 1)
    scale = overall * local * pt.sqrt(slab / (slab + overall**2 * local**2))
    weights = pm.Normal("weights", 0, 1, shape=50) * scale
    pm.Normal("y", columns @ weights, pm.Exponential("error", 1), observed=y)


@model
def stochastic_volatility(random: np.random.Generator) -> None:
    returns = random.standard_t(5, size=500) * 0.01
    step = pm.Exponential("step", 10)
    start = pm.Normal.dist(0, 100)
    volatility = pm.GaussianRandomWalk("volatility", sigma=step, init_dist=start, shape=500)
    degrees = pm.Exponential("degrees", 0.1)
    pm.StudentT("return", nu=degrees, lam=pt.exp(-2 * volatility), observed=returns)


@model
def covariance(random: np.random.Generator) -> None:
    y = random.multivariate_normal(np.zeros(4), np.eye(4) + 0.5, size=200)
    deviations = pm.Exponential.dist(1.0)
    factor, _, _ = pm.LKJCholeskyCov("factor", n=4, eta=2, sd_dist=deviations, compute_corr=True)
    pm.MvNormal("y", pm.Normal("center", 0, 5, shape=4), chol=factor, observed=y)


@model
def negative_binomial(random: np.random.Generator) -> None:
    columns = random.normal(size=(500, 5))
    mean = np.exp(columns @ np.array([0.5, -0.3, 0.2, 0, 0.1]) + 1)
    counts = random.negative_binomial(3, 3 / (3 + mean))
    weights, offset = pm.Normal("weights", 0, 1, shape=5), pm.Normal("offset", 0, 2)
    shape = pm.Exponential("shape", 0.5)
    pm.NegativeBinomial("count", pt.exp(offset + columns @ weights), shape, observed=counts)


@model
def mixture(random: np.random.Generator) -> None:
    parts = [(-2.0, 0.7, 300), (0.0, 1.0, 300), (3.0, 0.5, 400)]
    y = np.concatenate([random.normal(*part) for part in parts])
    shares = pm.Dirichlet("shares", np.ones(3))
    ordered = pm.distributions.transforms.ordered
    centers = pm.Normal(
        "centers", [-2.0, 0, 2], 2, shape=3, transform=ordered, initval=[-1.0, 0, 1]
    )
    pm.NormalMixture("y", shares, centers, pm.HalfNormal("spreads", 1, shape=3), observed=y)


@model
def logistic_regression(random: np.random.Generator) -> None:
    columns = random.normal(size=(1000, 20))
    y = random.random(1000) < 1 / (1 + np.exp(-columns @ random.normal(size=20)))
    weights, offset = pm.Normal("weights", 0, 1, shape=20), pm.Normal("offset", 0, 1)
    pm.Bernoulli("y", logit_p=columns @ weights + offset, observed=y.astype(int))


@model
def gaussian_process(random: np.random.Generator) -> None:
    x = np.sort(random.uniform(0, 10, 100))[:, None]
    y = np.sin(x[:, 0]) + 0.2 * random.normal(size=100)
    length, height = pm.Gamma("length", 2, 1), pm.HalfNormal("height", 2)
    process = pm.gp.Marginal(cov_func=height**2 * pm.gp.cov.Matern52(1, ls=length))
    process.marginal_likelihood("y", X=x, y=y, sigma=pm.HalfNormal("error", 1))


@model
def local_trend(random: np.random.Generator) -> None:
    """Level and slope by a Kalman filter, a scan of 200 steps."""
    y = np.cumsum(random.normal(size=200) * 0.3) + random.normal(size=200) * 0.5
    steps, error = pm.HalfNormal("steps", 1, shape=2), pm.HalfNormal("error", 1)
    move, read = pt.as_tensor([[1.0, 1.0], [0.0, 1.0]]), pt.as_tensor([1.0, 0.0])

    def filter_step(y: Any, state: Any, variance: Any, noise: Any, error: Any) -> Any:
        surprise = y - read @ state
        expected = read @ variance @ read + error**2
        gain = variance @ read / expected
        next_variance = move @ (variance - pt.outer(gain, read @ variance)) @ move.T + noise
        density = -0.5 * (pt.log(2 * np.pi * expected) + surprise**2 / expected)
        return move @ (state + gain * surprise), next_variance, density

    _, _, densities = pytensor.scan(
        filter_step,
        sequences=[pt.as_tensor(y)],
        outputs_info=[pt.zeros(2), pt.eye(2) * 10.0, None],
        non_sequences=[pt.diag(steps**2), error],
        return_updates=False,
    )
    pm.Potential("density", densities.sum())


@model
def grades(random: np.random.Generator) -> None:
    columns = random.normal(size=(400, 4))
    score = columns @ np.array([1.0, -0.5, 0.3, 0]) + random.logistic(size=400)
    ordered = pm.distributions.transforms.ordered
    cuts = pm.Normal("cuts", 0, 3, shape=4, transform=ordered, initval=[-1.0, 0, 1, 2])
    weights = pm.Normal("weights", 0, 1, shape=4)
    grade = np.digitize(score, [-1, 0, 1, 2])
    pm.OrderedLogistic("grade", eta=columns @ weights, cutpoints=cuts, observed=grade)


@model
def autoregression(random: np.random.Generator) -> None:
    y = np.cumsum(random.normal(size=300)) * 0.1
    weights, error = pm.Normal("weights", 0, 0.5, shape=3), pm.HalfNormal("error", 1)
    start = pm.Normal.dist(0, 10, shape=2)
    pm.AR("y", weights, sigma=error, constant=True, init_dist=start, observed=y)


@model
def zero_inflated_counts(random: np.random.Generator) -> None:
    columns = random.normal(size=(300, 3))
    counts = random.poisson(np.exp(0.4 * columns[:, 0])) * (random.random(300) < 0.7)
    weights, offset = pm.Normal("weights", 0, 1, shape=3), pm.Normal("offset", 0, 1)
    share = pm.Beta("share", 2, 2)
    pm.ZeroInflatedPoisson("count", share, pt.exp(columns @ weights + offset), observed=counts)


@model
def robust_regression(random: np.random.Generator) -> None:
    x = np.linspace(-2, 2, 150)
    y = 1 + 2 * x + 0.3 * random.standard_t(2, 150)
    offset, slope = pm.Normal("offset", 0, 5), pm.Normal("slope", 0, 5)
    error, degrees = pm.HalfNormal("error", 1), pm.Gamma("degrees", 2, 0.1)
    pm.StudentT("y", nu=degrees, mu=offset + slope * x, sigma=error, observed=y)


@model
def batting_averages(random: np.random.Generator) -> None:
    tries = random.integers(20, 400, 60)
    hits = random.binomial(tries, random.beta(20, 60, 60))
    center, weight = pm.Beta("center", 2, 5), pm.Gamma("weight", 2, 0.05)
    rates = pm.Beta("rates", center * weight, (1 - center) * weight, shape=60)
    pm.Binomial("hits", tries, rates, observed=hits)


@model
def item_response(random: np.random.Generator) -> None:
    person, item = (array.ravel() for array in np.meshgrid(np.arange(50), np.arange(20)))
    answers = random.random(1000) < 0.6
    ability = pm.Normal("ability", 0, 1, shape=50)
    difficulty = pm.Normal("difficulty", 0, pm.HalfNormal("spread", 2), shape=20)
    sharpness = pm.LogNormal("sharpness", 0, 0.5, shape=20)
    logit = sharpness[item] * (ability[person] - difficulty[item])
    pm.Bernoulli("answer", logit_p=logit, observed=answers.astype(int))


@model
def epidemic(random: np.random.Generator) -> None:
    cases = random.poisson(np.exp(np.cumsum(random.normal(size=120) * 0.1) + 2))
    start = pm.Normal.dist(2, 1)
    rate = pm.GaussianRandomWalk(
        "rate", sigma=pm.HalfNormal("step", 0.3), init_dist=start, shape=120
    )
    weekday = pm.ZeroSumNormal("weekday", 0.5, shape=7)
    pm.Poisson("cases", pt.exp(rate + weekday[np.arange(120) % 7]), observed=cases)


@model
def survival(random: np.random.Generator) -> None:
    """Times until failure of which some are censored at 2."""
    columns = random.normal(size=(250, 3))
    times = random.weibull(1.5, 250) * np.exp(columns @ np.array([0.3, -0.2, 0.0]))
    weights, shape = pm.Normal("weights", 0, 1, shape=3), pm.Gamma("shape", 2, 1)
    latent = pm.Weibull.dist(shape, pt.exp(columns @ weights))
    pm.Censored("time", latent, lower=None, upper=2.0, observed=np.minimum(times, 2.0))


@model
def categories(random: np.random.Generator) -> None:
    columns = random.normal(size=(300, 6))
    kinds = (columns @ random.normal(size=(6, 4)) + random.gumbel(size=(300, 4))).argmax(1)
    weights = pm.Normal("weights", 0, 1, shape=(6, 4))
    offsets = pm.Normal("offsets", 0, 1, shape=4)
    pm.Categorical("kind", logit_p=columns @ weights + offsets, observed=kinds)


@model
def latent_process(random: np.random.Generator) -> None:
    x = np.linspace(0, 5, 40)[:, None]
    counts = random.poisson(np.exp(np.sin(x[:, 0]) + 1))
    length, height = pm.InverseGamma("length", 3, 2), pm.HalfNormal("height", 1)
    process = pm.gp.Latent(cov_func=height**2 * pm.gp.cov.Matern32(1, ls=length))
    pm.Poisson("count", pt.exp(process.prior("logarithm", X=x) + 1), observed=counts)


@model
def growth(random: np.random.Generator) -> None:
    """Logistic curves of 12 plants, whose parameters vary."""
    ages = np.tile(np.linspace(0, 10, 15), 12)
    plant = np.repeat(np.arange(12), 15)
    heights = 20 / (1 + np.exp(-0.9 * (ages - 5))) + random.normal(size=180)
    final = pm.Normal("final", pm.Normal("final_center", 20, 5), 3, shape=12)
    middle = pm.Normal("middle", pm.Normal("middle_center", 5, 2), 1, shape=12)
    speed = pm.LogNormal("speed", 0, 0.5)
    curve = final[plant] * pm.math.sigmoid(speed * (ages - middle[plant]))
    pm.Normal("height", curve, pm.HalfNormal("error", 2), observed=heights)


@model
def garch(random: np.random.Generator) -> None:
    """A variance that follows its past, a scan of 300 steps."""
    returns = random.normal(size=300) * 0.5
    base, by_return, by_variance = (
        pm.HalfNormal("base", 0.5), pm.Beta("by_return", 1, 3), pm.Beta("by_variance", 3, 1),
    )  # fmt: skip

    def follow(r: Any, variance: Any, base: Any, by_return: Any, by_variance: Any) -> Any:
        return base + by_return * r**2 + by_variance * variance

    variances = pytensor.scan(
        follow,
        sequences=[pt.as_tensor(returns[:-1])],
        outputs_info=[pt.constant(0.25, dtype="float64")],
        non_sequences=[base, by_return, by_variance],
        return_updates=False,
    )
    pm.Normal("return", 0, pt.sqrt(variances), observed=returns[1:])
