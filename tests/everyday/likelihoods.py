"""Programs as users write them: likelihoods of counts, orders, times, angles and covariances."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


@program(
    lambda r: [normal(r, 20, 3), normal(r, 3), np.array([-1.0, 0.3, 0.2]), whole(r, 4, 20)],
    named={0: ("n", 3), 3: ("n",)},
)
def ordinal_regression(x, b, c, y):
    cuts = sg.cumsum(sg.concatenate([c[:1], sg.exp(c[1:])]))
    eta = x @ b
    low = sg.concatenate([sg.full((1,), -np.inf, dtype=c.dtype), cuts])[y] - eta
    high = sg.concatenate([cuts, sg.full((1,), np.inf, dtype=c.dtype)])[y] - eta
    return -sg.log(sg.sigmoid(high) - sg.sigmoid(low)).mean()


@program(
    lambda r: [normal(r, 15, 4), normal(r, 4) * 0.3, normal(r, 4) * 0.3, r.poisson(1.0, 15)],
    named={0: ("n", 4), 3: ("n",)},
)
def zero_inflated_poisson(x, b, g, y):
    rate, odds = x @ b, x @ g
    counts = y.astype(x.dtype)
    none = sg.logaddexp(sg.nn.log_sigmoid(odds), sg.nn.log_sigmoid(-odds) - sg.exp(rate))
    some = sg.nn.log_sigmoid(-odds) + counts * rate - sg.exp(rate) - sg.special.gammaln(counts + 1)
    return -sg.where(y == 0, none, some).mean()


@program(
    lambda r: [
        normal(r, 12, 3),
        normal(r, 3) * 0.4,
        np.array(0.2),
        r.uniform(0.5, 3, 12),
        r.integers(0, 2, 12).astype(bool),
    ],
    named={0: ("n", 3), 3: ("n",), 4: ("n",)},
)
def weibull_survival(x, b, ls, t, happened):
    z = (sg.log(t) - x @ b) / sg.exp(ls)
    return -sg.where(happened, z - ls - sg.log(t) - sg.exp(z), -sg.exp(z)).sum()


@program(
    lambda r: [normal(r, 18, 3), normal(r, 18), normal(r, 3), np.array(1.2), np.array(-0.3)],
    named={0: ("n", 3), 1: ("n",)},
)
def student_t_regression(x, y, b, ln, ls):
    nu = sg.exp(ln) + 1
    z = (y - x @ b) / sg.exp(ls)
    g = sg.special.gammaln
    scale = g((nu + 1) / 2) - g(nu / 2) - 0.5 * sg.log(nu * np.pi) - ls
    return -(scale - (nu + 1) / 2 * sg.log1p(z * z / nu)).mean()


@program(lambda r: [normal(r, 4, 6), np.stack([r.permutation(6) for _ in range(4)])])
def plackett_luce(scores, order):
    a = sg.take_along_axis(scores, order, 1)
    top = sg.stop_gradient(a.max(axis=1, keepdims=True))
    tail = sg.flip(sg.cumsum(sg.flip(sg.exp(a - top), 1), axis=1), 1)
    return (sg.log(tail) + top - a).sum(axis=1).mean()


@program(
    lambda r: [
        normal(r, 14, 2),
        normal(r, 14, 1),
        normal(r, 2, 8),
        normal(r, 8) * 0.3,
        normal(r, 8, 9) * 0.3,
    ],
    named={0: ("n", 2), 1: ("n", 1)},
)
def mixture_density_network(x, y, w1, b1, w2):
    h = sg.tanh(x @ w1 + b1) @ w2
    weights, mu, ls = sg.nn.log_softmax(h[:, :3]), h[:, 3:6], h[:, 6:]
    parts = weights - 0.5 * ((y - mu) * sg.exp(-ls)) ** 2 - ls
    return -sg.nn.logsumexp(parts, axis=1).mean()


@program(
    lambda r: [normal(r, 10, 3), normal(r, 3) * 0.4, np.array(1.0), r.uniform(0.05, 0.95, 10)],
    named={0: ("n", 3), 3: ("n",)},
)
def beta_regression(x, b, lp, y):
    mu, phi = sg.sigmoid(x @ b), sg.exp(lp)
    a, c = mu * phi, (1 - mu) * phi
    return -((a - 1) * sg.log(y) + (c - 1) * sg.log1p(-y) - sg.special.betaln(a, c)).mean()


@program(lambda r: [r.uniform(-3, 3, 13), normal(r), np.array(0.7)], named={0: ("n",)})
def von_mises(angles, mu, lk):
    k = sg.exp(lk)
    return sg.log(2 * np.pi * sg.special.i0e(k)) - (k * (sg.cos(angles - mu) - 1)).mean()


@program(
    lambda r: [normal(r, 9, 3), normal(r, 4, 3), normal(r, 4, 6) * 0.2, normal(r, 4)],
    named={0: ("n", 3)},
    near=1e-8,
    single=3e-2,
)
def mixture_of_full_covariances(x, mu, ch, lw):
    i, j = np.tril_indices(3)
    d = np.arange(3)
    factor = sg.zeros((4, 3, 3), dtype=x.dtype).at[:, i, j].set(ch)
    logs = factor[:, d, d]
    factor = factor.at[:, d, d].set(sg.exp(logs))
    apart = sg.transpose(x[None] - mu[:, None], (0, 2, 1))
    z = sg.linalg.solve_triangular(factor, apart, lower=True)
    parts = -0.5 * (z * z).sum(axis=1) - logs.sum(axis=1)[:, None]
    return -sg.nn.logsumexp(parts + sg.nn.log_softmax(lw, axis=0)[:, None], axis=0).mean()


@program(
    lambda r: [normal(r, 11, 6), normal(r, 6, 2), normal(r, 6) * 0.1],
    named={0: ("n", 6)},
    near=1e-8,
    single=3e-2,
)
def factor_analysis_by_woodbury(x, w, lp):
    precision = sg.exp(-lp)
    inner = sg.eye(2, dtype=x.dtype) + (w.T * precision) @ w
    factor = sg.linalg.cholesky(inner)
    z = sg.linalg.solve_triangular(factor, ((x * precision) @ w).T, lower=True)
    squares = (x * x * precision).sum(axis=1) - (z * z).sum(axis=0)
    return 0.5 * (squares.mean() + lp.sum() + 2 * sg.log(sg.diagonal(factor)).sum())


@program(lambda r: [np.sort(r.uniform(0, 5, 9)), np.array([0.1, 0.2, 0.3])])
def hawkes_process(t, p):
    base, jump, decay = sg.exp(p[0]), sg.sigmoid(p[1]), sg.exp(p[2])

    def event(a, dt):
        a = sg.exp(-decay * dt) * (a + 1)
        return a, a

    none = sg.zeros((), dtype=t.dtype)
    _, memory = sg.scan(event, none, sg.diff(t))
    rate = base + jump * decay * sg.concatenate([none[None], memory])
    expected = base * t[-1] + jump * (1 - sg.exp(-decay * (t[-1] - t))).sum()
    return expected - sg.log(rate).sum()
