"""Programs as users write them: likelihoods, prices, flows and policies."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


@program(lambda r: [normal(r, 20, 2), normal(r, 3, 2)], named={0: ("n", 2)})
def gmm_em_loop(x, mu):
    lw = sg.full((3,), -np.log(3).item(), dtype=x.dtype)
    v = sg.ones((3,), dtype=x.dtype)

    def em(i, c):
        mu, lw, v = c
        d = ((x[:, None] - mu[None]) ** 2).sum(-1)
        lp = lw - d / (2 * v) - sg.log(v)
        r_ = sg.nn.softmax(lp, axis=1)
        nk = r_.sum(axis=0) + 1e-6
        mu = (r_.T @ x) / nk[:, None]
        d = ((x[:, None] - mu[None]) ** 2).sum(-1)
        return mu, sg.log(nk) - sg.log(nk.sum()), (r_ * d).sum(axis=0) / (2 * nk) + 1e-2

    mu, lw, v = sg.fori_loop(0, 6, em, (mu, lw, v))
    d = ((x[:, None] - mu[None]) ** 2).sum(-1)
    return -sg.nn.logsumexp(lw - d / (2 * v) - sg.log(v), axis=1).mean()


@program(
    lambda r: [r.uniform(0.5, 3, size=4), r.poisson(4, size=(10, 4)).astype("int64"), normal(r, 4)],
    named={1: ("n", 4)},
)
def dirichlet_multinomial(al, c, eta):
    cf = c.astype(al.dtype)
    n = cf.sum(axis=1)
    ll = (
        sg.special.gammaln(al.sum())
        - sg.special.gammaln(al.sum() + n)
        + (sg.special.gammaln(al + cf) - sg.special.gammaln(al)).sum(axis=1)
    )
    lm = (cf * sg.nn.log_softmax(eta, axis=0)).sum(axis=1)
    return -(ll + lm).mean()


@program(
    lambda r: [normal(r, 5, 6), normal(r), np.array(0.2), np.array(-0.5)], near=1e-7, single=2e-2
)
def hierarchical_laplace(y, mu, lt, ls):
    # Newton's iterations for the mode of theta, then the log determinant
    t2 = sg.exp(2 * lt)
    s2 = sg.exp(2 * ls)

    def nlp(th):
        return (0.5 * (y - sg.tanh(th)[:, None]) ** 2 / s2).sum() + (
            0.5 * (th - mu) ** 2 / t2
        ).sum()

    th = sg.zeros_like(y[:, 0])
    g = sg.grad(nlp)

    def it(i, th):
        gr = g(th)
        _, d = sg.jvp(g, th, sg.ones_like(th))
        return th - gr / (sg.abs(d) + 1.0)

    th = sg.fori_loop(0, 15, it, th)
    _, d = sg.jvp(g, th, sg.ones_like(th))
    return nlp(th) + 0.5 * sg.log(sg.abs(d) + 1e-3).sum() + 5 * lt + 30 * ls


@program(
    lambda r: [
        r.uniform(80, 120, size=20),
        r.uniform(80, 120, size=20),
        r.uniform(0.1, 0.5, size=20),
        r.uniform(0.2, 2, size=20),
    ],
    named={0: ("n",), 1: ("n",), 2: ("n",), 3: ("n",)},
)
def black_scholes_greeks(s, k, v, t):
    def price(s, k, v, t):
        d1 = (sg.log(s / k) + (0.03 + v * v / 2) * t) / (v * sg.sqrt(t))
        return s * sg.special.ndtr(d1) - k * sg.exp(-0.03 * t) * sg.special.ndtr(
            d1 - v * sg.sqrt(t)
        )

    delta = sg.grad(price, 0)
    gamma = sg.grad(delta, 0)
    vega = sg.grad(price, 2)
    return (
        sg.vmap(price)(s, k, v, t).mean()
        + sg.vmap(delta)(s, k, v, t).mean()
        + 10 * sg.vmap(gamma)(s, k, v, t).mean()
        + 0.1 * sg.vmap(vega)(s, k, v, t).mean()
    )


@program(
    lambda r: [normal(r, 10, 50), normal(r, 10, 50), np.array([1.5, 0.04, 0.3, -0.5])],
    named={0: (10, "n"), 1: (10, "n")},
)
def heston_mc(z1, z2, p):
    kap, th, xi, rho = p[0], p[1], p[2], p[3]
    dt = 0.1

    def st(c, z):
        ls, v = c
        a, b = z
        vp = sg.maximum(v, 1e-4)
        w = rho * a + sg.sqrt(1 - rho * rho) * b
        ls = ls - 0.5 * vp * dt + sg.sqrt(vp * dt) * a
        v = v + kap * (th - vp) * dt + xi * sg.sqrt(vp * dt) * w
        return (ls, v), None

    (ls, v), _ = sg.scan(st, (sg.zeros_like(z1[0]), sg.zeros_like(z1[0]) + th), (z1, z2))
    return sg.maximum(sg.exp(ls) - 1.0, 0).mean()


@program(
    lambda r: [r.uniform(-0.9, 0.9, size=11), normal(r, 6), normal(r, 6), normal(r, 5)],
    named={0: ("n",)},
    second=False,
)
def rq_spline_flow(x, uw, uh, ud):
    w = 2 * (sg.nn.softmax(uw, axis=0) * 0.9 + 0.1 / 6)
    h = 2 * (sg.nn.softmax(uh, axis=0) * 0.9 + 0.1 / 6)
    z = sg.zeros((1,), dtype=uw.dtype)
    xk = sg.concatenate([z, sg.cumsum(w)]) - 1
    yk = sg.concatenate([z, sg.cumsum(h)]) - 1
    one = sg.ones((1,), dtype=uw.dtype)
    d = sg.concatenate([one, sg.nn.softplus(ud) + 1e-3, one])
    j = sg.clip(sg.searchsorted(sg.stop_gradient(xk), x) - 1, 0, 5)
    wj, hj = w[j], h[j]
    s = hj / wj
    t = (x - xk[j]) / wj
    den = s + (d[j + 1] + d[j] - 2 * s) * t * (1 - t)
    y = yk[j] + hj * (s * t * t + d[j] * t * (1 - t)) / den
    ld = sg.log(
        s * s * (d[j + 1] * t * t + 2 * s * t * (1 - t) + d[j] * (1 - t) ** 2)
    ) - 2 * sg.log(den)
    return (0.5 * y * y - ld).mean()


@program(
    lambda r: [
        normal(r, 6, 5),
        -np.log(-np.log(r.uniform(size=(6, 5)))),
        normal(r, 5, 3),
    ],
    named={0: ("b", 5), 1: ("b", 5)},
    slopes=False,
)
def gumbel_straight(lo, g, w):
    y = sg.nn.softmax((lo + g) / 0.7, axis=-1)
    h = sg.one_hot(sg.argmax(y, axis=-1), 5, lo.dtype)
    z = sg.stop_gradient(h - y) + y
    return (sg.tanh(z @ w) ** 2).mean()


@program(
    lambda r: [
        normal(r, 6, 4),
        normal(r, 6, 4),
        whole(r, 50, 6),
        normal(r, 5, 16) / 2,
        normal(r, 16, 4) / 3,
    ],
    named={0: ("b", 4), 1: ("b", 4), 2: ("b",)},
)
def ddpm_loss(x0, eps, t, w1, w2):
    be = np.linspace(1e-4, 0.02, 50)
    ab = np.cumprod(1 - be)
    if x0.dtype == np.float32:
        ab = ab.astype("float32")
    a = sg.sqrt(sg.constant(ab)[t])[:, None]
    xt = a * x0 + sg.sqrt(1 - a * a) * eps
    tt = (t.astype(x0.dtype) / 50.0)[:, None]
    e = sg.nn.silu(sg.concatenate([xt, tt], axis=1) @ w1) @ w2
    return ((e - eps) ** 2).mean()


@program(lambda r: [normal(r, 15, 2), normal(r, 4, 2)], named={0: ("n", 2)}, slopes=False)
def vq_ema_perplexity(z, cb):
    d = (z**2).sum(1, keepdims=True) - 2 * z @ cb.T + (cb**2).sum(1)
    i = sg.argmin(d, axis=1)
    oh = sg.one_hot(i, 4, z.dtype)
    n = oh.sum(axis=0)
    em = oh.T @ z
    new = sg.where(n[:, None] > 0, 0.9 * cb + 0.1 * em / sg.maximum(n, 1.0)[:, None], cb)
    pr = n / n.sum()
    ppl = sg.exp(-(pr * sg.log(pr + 1e-10)).sum())
    q = z + sg.stop_gradient(new[i] - z)
    return (
        (q**2).mean()
        + 0.25 * ((z - sg.stop_gradient(new[i])) ** 2).mean()
        + 0.01 * ppl
        + (new**2).sum()
    )


@program(lambda r: [normal(r, 12, 3), normal(r, 4, 3)], named={0: ("n", 3)}, slopes=False)
def kmeans_st(x, c):
    d = ((x[:, None] - c[None]) ** 2).sum(-1)
    soft = sg.nn.softmax(-d, axis=1)
    hard = sg.one_hot(sg.argmin(d, axis=1), 4, x.dtype)
    a = hard + soft - sg.stop_gradient(soft)
    return ((x - a @ c) ** 2).mean()
