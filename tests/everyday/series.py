"""Programs as users write them: sequences, signals, recursions, statistics and inference."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


@program(lambda r: [normal(r, 7, 4), np.array([1, 2, 1])])
def ctc(logits, lab):
    lp = sg.nn.log_softmax(logits, axis=-1)
    ext = np.array([0, 1, 0, 2, 0, 1, 0])
    skip = np.array([False, False, False, True, False, True, False])
    NEG = -1e30
    a0 = sg.concatenate([lp[0, :2][np.array([0, 1])], sg.full((5,), NEG, dtype=logits.dtype)])

    def step(a, l):
        p1 = sg.concatenate([sg.full((1,), NEG, dtype=a.dtype), a[:-1]])
        p2 = sg.where(skip, sg.concatenate([sg.full((2,), NEG, dtype=a.dtype), a[:-2]]), NEG)
        n = sg.logaddexp(sg.logaddexp(a, p1), p2) + l[ext]
        return n, None

    a, _ = sg.scan(step, a0, lp[1:])
    return -sg.logaddexp(a[-1], a[-2])


@program(
    lambda r: [
        normal(r, 11, 2),
        np.array([[1.0, 0.1], [0, 1.0]]) + 0.01 * normal(r, 2, 2),
        np.eye(2) * 0.1,
        np.eye(2) * 0.5,
    ]
)
def kalman(ys, A, Q, R):
    Id = np.eye(2, dtype=str(ys.dtype))

    def step(c, y):
        mu, P, ll = c
        mu, P = A @ mu, A @ P @ A.T + Q
        Sg = P + R
        K = P @ sg.linalg.inv(Sg)
        r = y - mu
        ll = ll - 0.5 * (r @ sg.linalg.solve(Sg, r) + sg.linalg.slogdet(Sg)[1])
        mu2, P2 = mu + K @ r, (Id - K) @ P
        return (mu2, P2, ll), (mu2, P2, mu, P)

    z = sg.zeros((), dtype=ys.dtype)
    (mu, P, ll), (mf, Pf, mp, Pp) = sg.scan(
        step, (sg.zeros((2,), dtype=ys.dtype), sg.eye(2, dtype=ys.dtype), z), ys
    )

    def back(c, e):
        ms, Ps = c
        mf, Pf, mpn, Ppn = e
        G = Pf @ A.T @ sg.linalg.inv(Ppn)
        ms2 = mf + G @ (ms - mpn)
        Ps2 = Pf + G @ (Ps - Ppn) @ G.T
        return (ms2, Ps2), ms2

    _, sm = sg.scan(back, (mf[-1], Pf[-1]), (mf[:-1], Pf[:-1], mp[1:], Pp[1:]), reverse=True)
    return -ll + (sm**2).sum()


@program(lambda r: [normal(r, 8), normal(r, 8, 50), np.sort(r.uniform(size=(8, 50)))], slopes=False)
def particle_filter(ys, noise, u):
    def step(c, e):
        x, ll = c
        y, n, uu = e
        x = 0.9 * x + 0.5 * n
        lw = -0.5 * (y - x) ** 2
        ll = ll + sg.nn.logsumexp(lw, axis=0) - np.log(50).item()
        w = sg.nn.softmax(lw, axis=0)
        idx = sg.clip(sg.searchsorted(sg.cumsum(sg.stop_gradient(w)), uu), 0, 49)
        return (x[idx], ll), ll

    (x, ll), _ = sg.scan(
        step, (sg.zeros((50,), dtype=ys.dtype), sg.zeros((), dtype=ys.dtype)), (ys, noise, u)
    )
    return -ll + 0.01 * (x**2).mean()


@program(lambda r: [normal(r, 7, 2), normal(r, 6, 2)])
def soft_dtw(x, y):
    D = ((x[:, None] - y[None]) ** 2).sum(-1)
    g = 0.5
    BIG = 1e8

    def row(prev, d):
        # prev: R[i-1, 0..6]; builds R[i, 0..6]
        def cell(left, e):
            dd, up, diag = e
            s = sg.stack([left, up, diag])
            v = dd - g * sg.nn.logsumexp(-s / g, axis=0)
            return v, v

        first = sg.full((), BIG, dtype=x.dtype)
        _, vs = sg.scan(cell, first, (d, prev[1:], prev[:-1]))
        return sg.concatenate([sg.full((1,), BIG, dtype=x.dtype), vs]), None

    init = sg.concatenate([sg.zeros((1,), dtype=x.dtype), sg.full((6,), BIG, dtype=x.dtype)])
    last, _ = sg.scan(row, init, D)
    return last[-1]


@program(
    lambda r: [normal(r, 10, 3), normal(r, 10), normal(r, 10), whole(r, 3, 10)],
    second=False,
    slopes=False,
)
def gae_ppo(logits, v, rew, a):
    def st(c, e):
        adv, nv = c
        rr, vv = e
        d = rr + 0.99 * nv - vv
        adv = d + 0.99 * 0.95 * adv
        return (adv, vv), adv

    z = sg.zeros((), dtype=v.dtype)
    _, adv = sg.scan(st, (z, z), (rew, v), reverse=True)
    lp = sg.take_along_axis(sg.nn.log_softmax(logits, axis=1), a[:, None], axis=1)[:, 0]
    ratio = sg.exp(lp - sg.stop_gradient(lp))
    A = sg.stop_gradient((adv - adv.mean()) / (adv.std() + 1e-8))
    return (
        -sg.minimum(ratio * A, sg.clip(ratio, 0.8, 1.2) * A).mean()
        + 0.5 * ((sg.stop_gradient(adv + v) - v) ** 2).mean()
        + 0 * rew.sum()
    )


@program(
    lambda r: [
        normal(r, 2, 3, 7, 8),
        r.uniform(0.3, 5.5, size=(2, 10)),
        r.uniform(0.3, 6.5, size=(2, 10)),
        normal(r, 3),
    ]
)
def deformable_gather4(f, py, px, w):
    def one(f, py, px):
        y0 = sg.floor(py)
        x0 = sg.floor(px)
        a = py - y0
        b = px - x0
        yi = y0.astype("int32")
        xi = x0.astype("int32")
        g = lambda i, j: f[:, i, j]
        return (
            g(yi, xi) * (1 - a) * (1 - b)
            + g(yi, xi + 1) * (1 - a) * b
            + g(yi + 1, xi) * a * (1 - b)
            + g(yi + 1, xi + 1) * a * b
        )

    o = sg.vmap(one)(f, py, px)
    return (sg.tanh(sg.einsum("bcn,c->bn", o, w)) ** 2).mean()


@program(
    lambda r: [np.sort(normal(r, 8)), normal(r, 8), r.uniform(-0.8, 0.8, size=30)],
    near=1e-7,
    single=2e-2,
)
def cubic_spline_searchsorted(xk, yk, xq):
    h = xk[1:] - xk[:-1]
    A = sg.eye(8, dtype=xk.dtype)
    i = np.arange(1, 7)
    A = A.at[i, i - 1].set(h[:-1]).at[i, i].set(2 * (h[:-1] + h[1:])).at[i, i + 1].set(h[1:])
    sl = (yk[1:] - yk[:-1]) / h
    rhs = sg.concatenate(
        [sg.zeros((1,), dtype=xk.dtype), 6 * (sl[1:] - sl[:-1]), sg.zeros((1,), dtype=xk.dtype)]
    )
    M = sg.linalg.solve(A, rhs)
    j = sg.clip(sg.searchsorted(sg.stop_gradient(xk), xq) - 1, 0, 6)
    a = xk[j + 1] - xq
    b = xq - xk[j]
    hj = h[j]
    s = (
        M[j] * a**3 / (6 * hj)
        + M[j + 1] * b**3 / (6 * hj)
        + (yk[j] / hj - M[j] * hj / 6) * a
        + (yk[j + 1] / hj - M[j + 1] * hj / 6) * b
    )
    return (s**2).mean()


@program(
    lambda r: [
        r.uniform(size=(5, 6)),
        np.array(0.8),
    ],
    second=False,
)
def levenshtein_scan(sub, gap):
    def row(prev, c):
        a = sg.concatenate([prev[:1] + gap, sg.minimum(prev[1:] + gap, prev[:-1] + c)])
        idx = sg.arange(7) * 1.0
        # left to right: running minimum of a - gap*j
        z = sg.associative_scan(sg.minimum, a - gap * idx.astype(a.dtype)) + gap * idx.astype(
            a.dtype
        )
        return z, None

    first = sg.arange(7).astype(sub.dtype) * gap
    last, _ = sg.scan(row, first, sub)
    return last[-1] + 0.1 * last.sum()


@program(lambda r: [np.array([1.0, 0.2, 0.05]), r.uniform(0.8, 1.2, 3)], slopes=False, single=2e-2)
def american_puts(market, strikes):
    """A lattice in which exercise is a kink, of one strike under ``vmap``."""
    steps, (spot, spread, rate) = 16, (market[k] for k in range(3))
    up = sg.exp(spread * np.sqrt(1 / steps).item())
    likely = (sg.exp(rate / steps) - 1 / up) / (up - 1 / up)
    places = np.arange(steps + 1)

    def price(strike):
        def back(i, worth):
            now = spot * up ** (2.0 * places - (steps - 1.0 - i.astype(worth.dtype)))
            later = likely * sg.concatenate([worth[1:], worth[-1:]]) + (1 - likely) * worth
            return sg.maximum(sg.exp(-rate / steps) * later, strike - now)

        worth = sg.maximum(strike - spot * up ** (2.0 * places - steps), 0.0)
        return sg.fori_loop(0, steps, back, worth)[0]

    return sg.vmap(price)(strikes).sum()


@program(lambda r: [normal(r, 6, 3), normal(r, 3, 3), normal(r, 6, 3)])
def loopy_belief_propagation(alone, pairs, expected):
    ring, others = np.arange(6), np.roll(np.arange(6), -1)
    source, target = np.r_[ring, others], np.r_[others, ring]
    back = np.r_[6:12, 0:6]
    symmetric = (pairs + pairs.T) / 2

    def exchange(_, messages):
        out = alone.at[target].add(messages)[source] - messages[back]
        incoming = sg.nn.logsumexp(out[:, :, None] + symmetric, axis=1)
        return 0.5 * messages + 0.5 * sg.nn.log_softmax(incoming)

    messages = sg.fori_loop(0, 6, exchange, sg.zeros((12, 3), dtype=alone.dtype))
    beliefs = sg.nn.log_softmax(alone.at[target].add(messages))
    return -(sg.nn.softmax(expected) * beliefs).sum()


@program(lambda r: [normal(r, 9, 9) ** 2, normal(r, 6)], named={1: ("n",)})
def radon_projections(image, angles):
    """Rays through a turned image; the grid has more elements than a constant in a body."""
    rows, columns = np.meshgrid(np.arange(9.0) - 4, np.arange(9.0) - 4, indexing="ij")
    rows, columns = sg.astype(rows, image.dtype), sg.astype(columns, image.dtype)

    def project(angle):
        cos, sin = sg.cos(angle), sg.sin(angle)
        x, y = cos * columns - sin * rows + 4, sin * columns + cos * rows + 4
        total = 0.0
        for dx, dy in np.ndindex(2, 2):
            i, j = sg.floor(y) + dy, sg.floor(x) + dx
            inside = (i >= 0) & (i <= 8) & (j >= 0) & (j <= 8)
            share = (1 - sg.abs(x - j)) * (1 - sg.abs(y - i))
            pixels = image[sg.clip(i, 0, 8).astype("int32"), sg.clip(j, 0, 8).astype("int32")]
            total = total + sg.where(inside, share * pixels, 0.0)
        return total.sum(axis=0)

    return (sg.vmap(project)(angles) ** 2).mean()


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
    lambda r: [normal(r, 18, 4), r.integers(0, 2, 18), r.uniform(size=18), normal(r, 4)],
    named={0: ("n", 4), 1: ("n",), 2: ("n",)},
)
def logistic_weights(X, y, sw, b):
    z = X @ b
    l = sg.logaddexp(0.0, z) - y * z
    return (l * sw).sum() / sw.sum() + 0.5e-2 * (b @ b)


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
        + sg.logaddexp(a, p)
        + sg.arcsin(p) * sg.arctanh(p)
    ).sum()


@program(lambda r: [normal(r, 4, 6), normal(r, 6, 6) / 2], named={0: ("n", 6)}, slopes=False)
def langevin_ebm(x, W):
    E = lambda z: (z * sg.tanh(z @ W)).sum() + 0.5 * (z * z).sum()

    def st(z, k):
        return z - 0.1 * sg.grad(E)(z) + 0.01 * sg.sin(k * z), None

    z, _ = sg.scan(st, x, sg.arange(5).astype(x.dtype))
    return E(x) - E(sg.stop_gradient(z)) + (z**2).mean()


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
