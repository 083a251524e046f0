"""Programs as users write them: sequences."""

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


@program(lambda r: [normal(r, 9, 5), normal(r, 5, 5), whole(r, 5, 9)])
def crf(em, tr, y):
    def step(a, e):
        return sg.nn.logsumexp(a[:, None] + tr, axis=0) + e, None

    a, _ = sg.scan(step, em[0], em[1:])

    def vit(c, e):
        s = c[:, None] + tr
        return s.max(axis=0) + e, sg.argmax(s, axis=0)

    best, back = sg.scan(vit, em[0], em[1:])
    score = sg.take_along_axis(em, y[:, None], axis=1).sum() + tr[y[:-1], y[1:]].sum()
    return sg.nn.logsumexp(a, axis=0) - score + 0.1 * best.max()


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


@program(lambda r: [normal(r, 12, 4), normal(r, 4, 4), normal(r, 4)])
def ssm_linear(u, A, c):
    a = 1 / (1 + sg.exp(-(u @ A)))
    comb = lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1])
    _, h = sg.associative_scan(comb, (a, u))
    return ((h @ c) ** 2).mean()


@program(
    lambda r: [normal(r, 2, 16, 4), normal(r, 4) * 0.3, normal(r, 4), normal(r, 4)],
    named={0: ("b", 16, 4)},
)
def s4_diag(u, a, b, c):
    lam = -sg.exp(a)
    k = sg.exp(lam[None] * sg.arange(16).astype(u.dtype)[:, None]) * b * c
    i = np.arange(16)[:, None] - np.arange(16)[None]
    T = sg.where((i >= 0)[..., None], k[np.maximum(i, 0)], 0.0)
    y = sg.einsum("tsd,bsd->btd", T, u)
    return (sg.nn.gelu(y) ** 2).mean()


@program(lambda r: [normal(r, 8, 3), normal(r, 4, 3), normal(r, 4, 4) / 2, normal(r, 4) / 2])
def reservoir_bidir(x, wi, wh, b):
    def st(h, v):
        z = wi @ v + wh @ h + b
        h = (1 - 0.3) * h + 0.3 * sg.tanh(z)
        return h, h

    z = sg.zeros((4,), dtype=x.dtype)
    _, f = sg.scan(st, z, x)
    _, bk = sg.scan(st, z, x, reverse=True)
    return (f * bk).sum() + f.max(axis=0).sum() + sg.cumsum(bk, axis=0)[-1].sum()


@program(lambda r: [normal(r, 7), normal(r, 7), normal(r)])
def piecewise_cond(x, y, c):
    a = sg.cond(c > 0, lambda v: (v**2).sum(), lambda v: sg.sin(v).sum(), x)

    def body(s):
        i, v = s
        return i + 1, v * 0.5 + sg.tanh(v)

    z = sg.fori_loop(0, 5, lambda i, v: sg.where(i % 2 == 0, v * y, v + y), x)
    return a + z.sum()


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
