"""Programs as users write them: statistics."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program


@program(
    lambda r: [
        normal(r, 15, 3),
        normal(r, 3),
        np.sort(r.uniform(size=15))[::-1].copy(),
        r.integers(0, 2, 15).astype(bool),
    ]
)
def cox(X, b, t, ev):
    eta = X @ b
    # sorted by falling time: risk set = prefix; logcumsumexp by associative scan
    lse = sg.associative_scan(sg.logaddexp, eta)
    return -sg.where(ev, eta - lse, 0.0).sum() / 15 + 0.0 * t.sum()


@program(
    lambda r: [normal(r, 20, 3), normal(r, 3) * 0.3, np.array(0.5), r.poisson(3, 20)],
    named={0: ("n", 3), 3: ("n",)},
)
def negbin(X, b, la, y):
    mu = sg.exp(X @ b)
    a = sg.exp(la)
    yf = y.astype(X.dtype)
    ll = (
        sg.special.gammaln(yf + a)
        - sg.special.gammaln(a)
        - sg.special.gammaln(yf + 1)
        + a * sg.log(a / (a + mu))
        + yf * sg.log(mu / (a + mu))
    )
    return -ll.mean()


@program(
    lambda r: [
        normal(r, 6, 4),
        normal(r, 2, 16) / 2,
        normal(r, 16, 4) / 3,
        normal(r, 2, 16) / 2,
        normal(r, 16, 4) / 3,
    ],
    named={0: ("b", 4)},
)
def realnvp(x, a1, a2, b1, b2):
    ld = 0.0
    for w1, w2, flip in ((a1, a2, False), (b1, b2, True), (a1, b2, False)):
        x1, x2 = (x[:, 2:], x[:, :2]) if flip else (x[:, :2], x[:, 2:])
        h = sg.tanh(x1 @ w1) @ w2
        s, t = sg.tanh(h[:, :2]), h[:, 2:]
        x2 = x2 * sg.exp(s) + t
        ld = ld + s.sum(axis=1)
        x = sg.concatenate([x2, x1] if flip else [x1, x2], axis=1)
    return (0.5 * (x**2).sum(axis=1) - ld).mean()


@program(
    lambda r: [
        r.uniform(size=(5, 10)),
        normal(r, 10, 6) / 3,
        normal(r, 3, 10) / 2,
        normal(r, 5, 3),
    ],
    named={0: ("b", 10), 3: ("b", 3)},
)
def vae(x, we, wd, eps):
    h = x @ we
    mu, lv = h[:, :3], h[:, 3:]
    z = mu + sg.exp(0.5 * lv) * eps
    lo = z @ wd
    bce = sg.maximum(lo, 0) - lo * x + sg.log1p(sg.exp(-sg.abs(lo)))
    kl = -0.5 * (1 + lv - mu**2 - sg.exp(lv))
    return (bce.sum(1) + kl.sum(1)).mean()


@program(
    lambda r: [normal(r, 10, 3), normal(r, 4, 3), normal(r, 4), np.zeros((4, 3))],
    named={0: ("n", 3)},
)
def gmm_em_step(x, mu, lw, ls):
    d = (x[:, None] - mu[None]) * sg.exp(-ls)[None]
    lp = -0.5 * (d**2).sum(-1) - ls.sum(-1) + sg.nn.log_softmax(lw, axis=0)
    r_ = sg.nn.softmax(lp, axis=1)
    nk = r_.sum(axis=0)
    mu2 = (r_.T @ x) / nk[:, None]
    return sg.nn.logsumexp(lp, axis=1).mean() + 0.1 * ((mu2 - mu) ** 2).sum()


@program(
    lambda r: [normal(r, 21, 3), normal(r, 21), normal(r, 3), normal(r) * 0 + 0.3],
    named={0: ("n", 3), 1: ("n",)},
)
def quantile_huber(X, y, b, q):
    e = y - X @ b
    pin = sg.where(e >= 0, 0.7 * e, -0.3 * e).mean()
    a = sg.abs(e)
    hub = sg.where(a < 1, 0.5 * e * e, a - 0.5).mean()
    hinge = sg.maximum(0.0, 1 - sg.sign(sg.stop_gradient(y)) * (X @ b)).mean()
    return pin + hub + hinge + q * sg.median(e)


@program(
    lambda r: [normal(r, 18, 4), r.integers(0, 2, 18), r.uniform(size=18), normal(r, 4)],
    named={0: ("n", 4), 1: ("n",), 2: ("n",)},
)
def logistic_weights(X, y, sw, b):
    z = X @ b
    l = sg.logaddexp(0.0, z) - y * z
    return (l * sw).sum() / sw.sum() + 0.5e-2 * (b @ b)


@program(lambda r: [normal(r, 20, 3), normal(r, 3)])
def natural_gradient(X, w):
    def nll(w):
        return sg.nn.softplus(-(X @ w)).mean()

    g = sg.grad(nll)(w)
    p = 1 / (1 + sg.exp(-X @ w))
    F = (X * (p * (1 - p))[:, None]).T @ X / 20 + 1e-2 * sg.eye(3, dtype=X.dtype)
    return nll(w - sg.linalg.solve(F, g))


@program(lambda r: [r.uniform(0.5, 2, size=(6,)), r.uniform(0.1, 0.9, size=(6,)), normal(r, 6)])
def special_mix(a, p, x):
    return (
        sg.special.gammaln(a) * p
        + sg.erf(x) * a
        + sg.log(sg.special.ndtr(x))
        + sg.arctan2(x, a)
        + sg.hypot(x, a)
        + sg.cbrt(a)
        + sg.sinh(p) * sg.arccosh(1 + a)
        + sg.expm1(p) * sg.log1p(a)
        + a**p
        + sg.logaddexp2(a, p)
        + sg.arcsin(p) * sg.arctanh(p)
    ).sum()


@program(lambda r: [normal(r, 4, 6), normal(r, 6, 6) / 2], named={0: ("n", 6)}, slopes=False)
def langevin_ebm(x, W):
    E = lambda z: (z * sg.tanh(z @ W)).sum() + 0.5 * (z * z).sum()

    def st(z, k):
        return z - 0.1 * sg.grad(E)(z) + 0.01 * sg.sin(k * z), None

    z, _ = sg.scan(st, x, sg.arange(5).astype(x.dtype))
    return E(x) - E(sg.stop_gradient(z)) + (z**2).mean()


@program(lambda r: [normal(r, 5, 3), normal(r, 3)])
def nan_where(x, b):
    safe = sg.where(x > 0, x, 1.0)
    y = sg.where(x > 0, sg.log(safe) * sg.sqrt(safe), 0.0)
    z = sg.where(x < 0, sg.exp(x * 1e3), 0.0)
    return (y @ b).sum() + z.sum() + sg.nan_to_num(sg.where(x > 100, np.inf, x)).sum()
