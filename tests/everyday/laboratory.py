"""Programs as users write them: variational inference, epidemics, patterns, mixed models."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


@program(
    lambda r: [
        normal(r, 4),
        normal(r, 4, 4) * 0.3,
        normal(r, 15, 4),
        normal(r, 15),
        normal(r, 6, 4),
    ]
)
def variational_inference_of_full_rank(mean, raw, x, y, noise):
    spread = sg.exp(sg.diagonal(raw))
    factor = sg.tril(raw, -1) + sg.diag(spread)
    z = mean + noise @ factor.T
    likely = -0.5 * ((y - z @ x.T) ** 2).sum(axis=1)
    prior = -0.5 * (z**2).sum(axis=1)
    return -(likely + prior).mean() - sg.log(spread).sum()


@program(
    lambda r: [normal(r, 2) * 0.1, normal(r, 5, 1), normal(r, 5), normal(r, 5, 5) * 0.1,
               r.uniform(-2, 2, (9, 1)), normal(r, 9)],
    near=1e-7, single=5e-2,
)  # fmt: skip
def sparse_variational_gaussian_process(logs, places, mean, raw, x, y):
    length, scale = sg.exp(logs[0]), sg.exp(logs[1])

    def kernel(a, b):
        return scale * sg.exp(-0.5 * ((a[:, None] - b[None]) ** 2).sum(-1) / length**2)

    inducing = kernel(places, places) + 1e-3 * sg.eye(5, dtype=x.dtype)
    factor = sg.tril(raw, -1) + sg.diag(sg.exp(sg.diagonal(raw)))
    across = sg.linalg.solve_triangular(sg.linalg.cholesky(inducing), kernel(places, x), lower=True)
    variance = scale - (across**2).sum(0) + ((factor.T @ across) ** 2).sum(0)
    misfit = (y - across.T @ mean) ** 2 + variance
    divergence = 0.5 * ((factor**2).sum() + (mean**2).sum() - 5)
    return 5.0 * misfit.sum() + divergence - sg.diagonal(raw).sum()


@program(lambda r: [normal(r, 4) * 0.1, np.array([0.5, 0.1]), r.poisson(20, 8) * 1.0])
def epidemic_fitted_to_counts(logs, start, counts):
    infection, onset, recovery = sg.exp(logs[0]), sg.exp(logs[1] - 1), sg.exp(logs[2] - 1)

    def rates(y):
        s, e, i = y[0], y[1], y[2]
        new, ill, well = infection * s * i, onset * e, recovery * i
        return sg.stack([-new, new - ill, ill - well])

    def day(y, _):
        k1 = rates(y)
        k2 = rates(y + 0.25 * k1)
        k3 = rates(y + 0.25 * k2)
        k4 = rates(y + 0.5 * k3)
        y = y + (k1 + 2 * k2 + 2 * k3 + k4) / 12
        return y, onset * y[1]

    exposed = sg.exp(start[0] - 3)
    _, ill = sg.scan(day, sg.stack([0.99 - exposed, exposed, 0.01 * sg.exp(start[1])]), length=8)
    expected = 1000 * ill * sg.exp(logs[3]) + 0.1
    return (expected - counts * sg.log(expected)).sum()


@program(
    lambda r: [normal(r, 3), normal(r, 2) * 0.3, normal(r, 12, 3), normal(r, 12), whole(r, 4, 12)]
)
def mixed_model_with_groups(slopes, logs, x, y, group):
    groups = (group[:, None] == sg.arange(4)).astype(x.dtype)
    within, between = sg.exp(logs[0]), sg.exp(logs[1])
    covariance = within * sg.eye(12, dtype=x.dtype) + between * groups @ groups.T
    factor = sg.linalg.cholesky(covariance)
    rest = sg.linalg.solve_triangular(factor, y - x @ slopes, lower=True)
    return 0.5 * (rest**2).sum() + sg.log(sg.diagonal(factor)).sum()


@program(lambda r: [normal(r, 10), normal(r, 10) * 0.3, np.array([0.1])])
def conjugate_gradients_of_a_bar(load, logs, ground):
    stiff = sg.exp(logs)

    def force(x):
        stretched = sg.concatenate([x[:1], sg.diff(x), -x[-1:]])
        pulled = sg.concatenate([stiff, stiff[-1:]]) * stretched
        return -sg.diff(pulled) + ground[0] * x

    def iteration(_, state):
        x, residual, way = state
        forced = force(way)
        size = residual @ residual
        by = size / (way @ forced)
        after = residual - by * forced
        return x + by * way, after, after + (after @ after) / size * way

    x, _, _ = sg.fori_loop(0, 5, iteration, (load * 0, load, load))
    return (x**2).sum()
