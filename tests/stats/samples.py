"""Distributions with parameters, and points of every kind."""

import numpy as np

#: Name -> shape parameters.
CONTINUOUS = {
    "norm": [()],
    "halfnorm": [()],
    "lognorm": [(0.7,), (2.0,)],
    "expon": [()],
    "gamma": [(0.5,), (1.0,), (3.0,), (200.0,)],
    "chi2": [(1.0,), (4.0,)],
    "invgamma": [(0.5,), (3.0,)],
    "beta": [(1.0, 1.0), (0.5, 2.0), (3.0, 1.0), (20.0, 5.0)],
    "t": [(1.0,), (4.0,), (1e3,), (np.inf,)],
    "cauchy": [()],
    "halfcauchy": [()],
    "laplace": [()],
    "logistic": [()],
    "gumbel_r": [()],
    "weibull_min": [(0.7,), (1.0,), (3.0,)],
    "rayleigh": [()],
    "pareto": [(0.8,), (3.0,)],
    "uniform": [()],
    "vonmises": [(0.0,), (0.5,), (50.0,)],
    "truncnorm": [(-1.0, 2.0), (3.0, 5.0), (-np.inf, -4.0)],
}
DISCRETE = {
    "bernoulli": [(0.3,), (0.0,), (1.0,), (1.5,)],
    "binom": [(10, 0.3), (0, 0.5), (5, 1.0), (1000, 0.02), (5.5, 0.2)],
    "poisson": [(3.5,), (0.0,), (200.0,), (-1.0,)],
    "geom": [(0.3,), (1e-5,), (0.0,)],
    "nbinom": [(3.5, 0.2), (10, 0.9), (0.1, 0.01)],
    "betabinom": [(10, 2.0, 3.0), (0, 1.0, 1.0)],
    "randint": [(-2, 5), (3, 3)],
}
POINTS = np.array([
    -np.inf, -1e5, -50, -8, -3.3, -1, -0.2, 0, 1e-9, 0.1, 0.3, 0.5, 0.9, 1, 1.7, 4, 9, 40, 700,
    1e5, np.inf, np.nan,
])  # fmt: skip
COUNTS = np.array([
    -np.inf, -3, -1, -0.5, 0, 0.5, 1, 2, 3, 4.2, 5, 9, 10, 11, 150, 1000, np.nan,
])  # fmt: skip
SHARES = np.array([-0.1, 0, 1e-12, 0.02, 0.3, 0.5, 0.77, 0.999, 1 - 1e-12, 1, 1.2, np.nan])
