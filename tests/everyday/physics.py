"""Programs as users write them: mechanics, control, geometry and sampling."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


@program(
    lambda r: [normal(r, 3, 3) / 2, normal(r, 3, 1), np.eye(3) * 1.0, normal(r, 3)],
    near=1e-7,
    single=1e-2,
)
def lqr_riccati(A, B, Q, x0):
    R = sg.eye(1, dtype=A.dtype) * 0.5

    def st(P, _):
        K = sg.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
        return Q @ Q.T + A.T @ P @ (A - B @ K), K

    P, Ks = sg.scan(st, Q, None, length=8)

    def roll(x, K):
        u = -(K @ x)
        return A @ x + B @ u, (x * x).sum() + 0.5 * (u * u).sum()

    x, c = sg.scan(roll, x0, Ks[::-1])
    return c.sum() + x @ P @ x


@program(lambda r: [normal(r, 12) * 0.1, normal(r, 2)])
def mpc_pendulum(u, x0):
    def cost(u):
        def st(x, a):
            th, om = x[0], x[1]
            om = om + 0.05 * (-9.8 * sg.sin(th) + a)
            th = th + 0.05 * om
            return sg.stack([th, om]), (1 - sg.cos(th - np.pi)) + 0.01 * a * a

        x, c = sg.scan(st, x0, u)
        return c.sum() + (x * x).sum()

    def it(i, u):
        return u - 0.02 * sg.grad(cost)(u)

    return cost(sg.fori_loop(0, 5, it, u))


@program(lambda r: [normal(r, 3, 2), normal(r, 3, 2) * 0.3, r.uniform(0.5, 1, size=3)])
def three_body_symplectic(q, p, ms):
    off = 1 - np.eye(3)
    if q.dtype == np.float32:
        off = off.astype("float32")

    def energy(q):
        d = q[:, None] - q[None]
        r2 = (d * d).sum(-1) + 0.1
        return -0.5 * (ms[:, None] * ms[None] * off / sg.sqrt(r2)).sum()

    F = sg.grad(energy)

    def st(c, _):
        q, p = c
        p = p - 0.01 * F(q)
        q = q + 0.02 * p / ms[:, None]
        p = p - 0.01 * F(q)
        return (q, p), energy(q) + (p * p / (2 * ms[:, None])).sum()

    (q, p), E = sg.scan(st, (q, p), None, length=15)
    return E.var() + (q * q).sum() + (p**3).sum()


@program(
    lambda r: [
        r.uniform(-1, 1, size=(8, 2)),
        normal(r, 2, 10),
        normal(r, 10),
        normal(r, 10, 10) / 3,
        normal(r, 10),
    ],
    named={0: ("n", 2)},
    second=False,
)
def burgers_pinn(P, w1, b1, w2, w3):
    u = lambda p: sg.tanh(sg.tanh(p @ w1 + b1) @ w2) @ w3

    def res(p):
        du = sg.grad(u)
        e = np.array([1.0, 0.0]) if p.dtype == np.float64 else np.array([1.0, 0.0], "float32")
        g, h = sg.jvp(du, p, e)
        return g[1] + u(p) * g[0] - 0.01 * h[0]

    return (sg.vmap(res)(P) ** 2).mean()


@program(
    lambda r: [
        r.uniform(0.5, 1.5, size=6),
        np.array([[0.0, 0], [1, 0], [2, 0], [0.5, 1], [1.5, 1]]) + 0.05 * normal(r, 5, 2),
    ],
    near=1e-6,
    single=2e-2,
)
def truss_compliance(a, X):
    el = np.array([[0, 1], [1, 2], [0, 3], [1, 3], [1, 4], [2, 4]])
    i, j = el[:, 0], el[:, 1]
    d = X[j] - X[i]
    L = sg.sqrt((d * d).sum(1))
    c = d / L[:, None]
    B = sg.concatenate([-c, c], axis=1)
    ke = (a / L)[:, None, None] * B[:, :, None] * B[:, None, :]
    dof = np.stack([2 * i, 2 * i + 1, 2 * j, 2 * j + 1], 1)
    K = sg.zeros((10, 10), dtype=a.dtype).at[dof[:, :, None], dof[:, None, :]].add(ke)
    free = np.array([2, 3, 5, 6, 7, 8, 9])
    Kf = K[free][:, free] + 1e-1 * sg.eye(7, dtype=a.dtype)
    F = np.zeros(7)
    F[1] = -1
    if a.dtype == np.float32:
        F = F.astype("float32")
    u = sg.linalg.solve(Kf, F)
    return u @ F + 0.1 * (a * L).sum()


@program(
    lambda r: [
        normal(r, 3, 3) * 0.1,
        normal(r, 3, 3) * 0.2 + np.array([0, 0, 5.0]),
        normal(r, 8, 3),
        r.uniform(-1, 1, size=(24, 2)),
        whole(r, 3, 24),
        whole(r, 8, 24),
    ],
    named={3: ("o", 2), 4: ("o",), 5: ("o",)},
)
def bundle_huber(rv, t, X, obs, ci, pi):
    def rot(r, x):
        th2 = (r * r).sum(-1, keepdims=True) + 1e-12
        th = sg.sqrt(th2)
        k = r / th
        cr = sg.cross(k, x)
        return (
            x * sg.cos(th) + cr * sg.sin(th) + k * (k * x).sum(-1, keepdims=True) * (1 - sg.cos(th))
        )

    p = rot(rv[ci], X[pi]) + t[ci]
    e = p[:, :2] / p[:, 2:] - obs
    s = sg.sqrt((e * e).sum(1) + 1e-12)
    return sg.where(s < 0.5, 0.5 * s * s, 0.5 * (s - 0.25)).mean()


@program(
    lambda r: [
        np.array([500.0, 510, 320, 240, 0.01, -0.02]) / 100,
        r.uniform(-1, 1, size=(12, 3)) + np.array([0, 0, 4.0]),
        r.uniform(size=(12, 2)) * 6,
    ],
    named={1: ("n", 3), 2: ("n", 2)},
)
def camera_calibration(k, X, uv):
    x = X[:, 0] / X[:, 2]
    y = X[:, 1] / X[:, 2]
    r2 = x * x + y * y
    d = 1 + k[4] * r2 + k[5] * r2 * r2
    u = sg.stack([k[0] * x * d + k[2], k[1] * y * d + k[3]], axis=1)
    J = sg.vmap(
        lambda q: sg.grad(lambda kk: (kk[0] * q[0] * (1 + kk[4] * (q @ q)) + kk[2]) * 1.0)(k)
    )(sg.stack([x, y], axis=1))
    return ((u - uv) ** 2).mean() + 0.001 * (J**2).mean()


@program(
    lambda r: [normal(r, 10, 2), normal(r, 12, 2), np.array(0.1), normal(r, 2) * 0.1],
    second=False,
    named={0: ("n", 2)},
)
def icp_step(a, b, th, t):
    R = sg.stack([sg.stack([sg.cos(th), -sg.sin(th)]), sg.stack([sg.sin(th), sg.cos(th)])])
    q = a @ R.T + t
    d = ((q[:, None] - b[None]) ** 2).sum(-1)
    j = sg.argmin(sg.stop_gradient(d), axis=1)
    return ((q - b[j]) ** 2).mean() + sg.nn.softplus(-d).mean()


@program(
    lambda r: [
        r.uniform(size=(6, 16)) * 1.0,
        r.uniform(size=(6, 16)),
        np.array(0.4),
    ],
    second=False,
)
def ising_metropolis(u, noise, beta):
    s0 = sg.where(sg.stop_gradient(u[0].reshape((4, 4))) < 0.5, -1.0, 1.0).astype(u.dtype)

    def st(c, r_):
        s, ll = c
        nb = (
            sg.roll(s, 1, axis=0)
            + sg.roll(s, -1, axis=0)
            + sg.roll(s, 1, axis=1)
            + sg.roll(s, -1, axis=1)
        )
        dE = 2 * s * nb
        p = sg.minimum(1.0, sg.exp(-beta * dE))
        ch = np.indices((4, 4)).sum(0) % 2 == 0
        flip = (sg.stop_gradient(p) > r_.reshape((4, 4))) & ch
        ll = ll + sg.where(flip, sg.log(p), sg.log(1.0001 - p)).sum()
        return (sg.where(flip, -s, s), ll), s.mean()

    (s, ll), mag = sg.scan(st, (s0, sg.zeros((), dtype=u.dtype)), noise)
    return ll + (mag**2).sum() + 0 * u.sum()


@program(lambda r: [normal(r, 3), normal(r, 3)], second=False)
def nuts_tree(q, p):
    # doubling trajectory with a U-turn test by where
    U_ = lambda q: 0.5 * (q * q).sum() + sg.cos(2 * q).sum()
    g = sg.grad(U_)

    def leap(q, p, e):
        p = p - 0.5 * e * g(q)
        q = q + e * p
        return q, p - 0.5 * e * g(q)

    ql, pl, qr, pr = q, p, q, p
    go = sg.ones((), dtype="bool")
    w = sg.exp(-U_(q))
    tot = w * q.sum()
    for d in range(3):
        for _ in range(2**d):
            q2, p2 = leap(qr, pr, 0.1) if d % 2 == 0 else leap(ql, pl, -0.1)
            if d % 2 == 0:
                qr = sg.where(go, q2, qr)
                pr = sg.where(go, p2, pr)
            else:
                ql = sg.where(go, q2, ql)
                pl = sg.where(go, p2, pl)
            tot = tot + sg.where(go, sg.exp(-U_(q2) - 0.5 * (p2 * p2).sum()) * q2.sum(), 0.0)
        dq = qr - ql
        go = go & ((dq * pl).sum() >= 0) & ((dq * pr).sum() >= 0)
    return tot + (qr * ql).sum()
