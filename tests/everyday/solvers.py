"""Programs as users write them: solvers."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program


@program(lambda r: [normal(r, 4, 2), normal(r, 2, 8) / 2, normal(r, 8, 2) / 2], named={0: ("b", 2)})
def neural_ode(y, w1, w2):
    f = lambda y: sg.tanh(y @ w1) @ w2
    h = 0.1

    def st(y, _):
        k1 = f(y)
        k2 = f(y + h / 2 * k1)
        k3 = f(y + h / 2 * k2)
        k4 = f(y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, (y**2).sum()

    y, e = sg.scan(st, y, None, length=10)
    return (y**2).mean() + e.mean()


@program(lambda r: [normal(r, 6, 2), normal(r, 7, 2)], named={0: ("n", 2)})
def sinkhorn(x, y):
    C = ((x[:, None] - y[None]) ** 2).sum(-1)
    eps = 0.5
    la = sg.zeros_like(x[:, 0]) - sg.log(sg.ones_like(x[:, 0]).sum())
    lb = sg.zeros_like(y[:, 0]) - np.log(7).item()

    def it(i, fg):
        f, g = fg
        f = -eps * sg.nn.logsumexp((g[None] - C) / eps + lb[None], axis=1)
        g = -eps * sg.nn.logsumexp((f[:, None] - C) / eps + la[:, None], axis=0)
        return f, g

    f, g = sg.fori_loop(0, 20, it, (la * 0, lb * 0))
    P = sg.exp((f[:, None] + g[None] - C) / eps + la[:, None] + lb[None])
    return (P * C).sum()


@program(lambda r: [normal(r, 5, 5), normal(r, 5)], single=2e-2, near=1e-6)
def eig_sens(A, v):
    H = (A + A.T) / 2
    w, V = sg.linalg.eigh(H)
    return sg.log1p(w**2).sum() + w[0] * w[-1] + (((V.T @ v) ** 2) * w).sum()


@program(
    lambda r: [
        normal(r, 3, 5, 2),
        normal(r, 3, 5),
        normal(r, 3, 5, 2),
        normal(r, 3, 5),
        normal(r, 2),
    ]
)
def maml(xs, ys, xq, yq, w):
    L = lambda w, x, y: ((sg.tanh(x @ w) - y) ** 2).mean()

    def task(a, b, c, d):
        v = w
        for _ in range(2):
            v = v - 0.3 * sg.grad(L)(v, a, b)
        return L(v, c, d)

    return sg.vmap(task)(xs, ys, xq, yq).mean()


@program(lambda r: [normal(r, 3, 4, 4), normal(r, 3, 4)], near=1e-7, single=1e-2)
def batched_solve(A, b):
    M = A @ A.swapaxes(-1, -2) + 3 * sg.eye(4, dtype=A.dtype)
    x = sg.linalg.solve(M, b[..., None])[..., 0]
    return (
        (x * b).sum()
        + sg.linalg.slogdet(M)[1].sum()
        + (sg.linalg.inv(M) ** 2).sum()
        + sg.linalg.expm(A[0] / 8).sum()
    )


@program(lambda r: [normal(r, 6, 5), normal(r, 5, 3)], near=1e-6, single=2e-2)
def nuclear(A, B):
    u, s, vt = sg.linalg.svd(A, full_matrices=False)
    return sg.sqrt(s).sum() + sg.abs(A @ B).sum() + sg.linalg.norm(A)


@program(lambda r: [normal(r, 5, 5), normal(r, 5)], near=1e-7, single=2e-2)
def lyapunov_expm(A, x):
    B = A - 3 * sg.eye(5, dtype=A.dtype)
    E = sg.linalg.expm(0.3 * B)
    P = sg.eye(5, dtype=A.dtype)

    def st(i, P):
        return E @ P @ E.T + sg.eye(5, dtype=A.dtype)

    P = sg.fori_loop(0, 10, st, P)
    return x @ P @ x + sg.log(sg.linalg.det(P @ P.T + sg.eye(5, dtype=A.dtype)))


@program(lambda r: [normal(r, 5, 4), normal(r, 4, 3)])
def batched_newton_root(x, W):
    c = x @ W

    def body(i, y):
        return y - (y**3 + y - c) / (3 * y * y + 1)

    y = sg.fori_loop(0, 12, body, sg.zeros_like(c))
    return (y**2).sum()


@program(lambda r: [normal(r, 6, 6)], near=1e-6, single=2e-2)
def qr_lu_chol(A):
    q, R = sg.linalg.qr(A)
    return (
        sg.log(sg.abs(sg.diagonal(R))).sum()
        + (q[:, 0] ** 3).sum()
        + (sg.linalg.pinv(A[:, :3]) ** 2).sum()
    )


@program(lambda r: [normal(r, 6, 4), normal(r, 4, 8), normal(r, 8)], named={0: ("b", 4)})
def gradient_penalty(x, w1, w2):
    D = lambda z: sg.nn.softplus(z @ w1) @ w2
    g = sg.vmap(sg.grad(lambda z: D(z)))(x)
    n = sg.sqrt((g**2).sum(axis=1) + 1e-12)
    return D(x).mean() + 10 * ((n - 1) ** 2).mean()
