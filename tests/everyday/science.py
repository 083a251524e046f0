"""Programs as users write them: physics, geometry, solvers and the laboratory."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


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


@program(lambda r: [normal(r, 6, 7), normal(r, 6, 7)], named={0: ("n", 7), 1: ("n", 7)})
def sparsemax_beside_softmax(z, t):
    sorted_ = sg.flip(sg.sort(z, axis=1), 1)
    sums = sg.cumsum(sorted_, axis=1)
    places = sg.arange(1, 8, dtype=z.dtype)
    count = (1 + places * sorted_ > sums).sum(axis=1)
    last = sg.take_along_axis(sums, (count - 1)[:, None], 1)[:, 0]
    p = sg.nn.relu(z - ((last - 1) / count.astype(z.dtype))[:, None])
    return ((p - sg.nn.softmax(t)) ** 2).sum()


@program(
    lambda r: [
        r.uniform(size=(5, 2)),
        normal(r, 5),
        normal(r, 5, 3),
        normal(r, 5) - 1,
        normal(r, 5) * 0.1,
    ],
    near=1e-8,
)
def splatting(centres, depth, colours, ls, tilt):
    order = sg.argsort(sg.stop_gradient(depth))
    centres, colours, ls, tilt = centres[order], colours[order], ls[order], tilt[order]
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 1, 5)), -1).reshape(-1, 2)
    apart = (sg.constant(grid).astype(centres.dtype)[:, None] - centres[None]) * sg.exp(-ls)[
        :, None
    ]
    dx, dy = apart[..., 0], apart[..., 1]
    alpha = 0.8 * sg.exp(-0.5 * (dx * dx - 2 * sg.tanh(tilt) * dx * dy + dy * dy))
    logs = sg.log1p(-alpha)
    through = sg.exp(sg.cumsum(logs, axis=1) - logs)
    return (((through * alpha)[..., None] * sg.sigmoid(colours)).sum(axis=1) ** 2).sum()


@program(lambda r: [normal(r, 5, 5), normal(r, 5)], single=2e-2, near=1e-6)
def eig_sens(A, v):
    H = (A + A.T) / 2
    w, V = sg.linalg.eigh(H)
    return sg.log1p(w**2).sum() + w[0] * w[-1] + (((V.T @ v) ** 2) * w).sum()


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


@program(lambda r: [normal(r, 6, 6)], near=1e-6, single=2e-2)
def qr_lu_chol(A):
    q, R = sg.linalg.qr(A)
    return (
        sg.log(sg.abs(sg.diagonal(R))).sum()
        + (q[:, 0] ** 3).sum()
        + (sg.linalg.pinv(A[:, :3]) ** 2).sum()
    )


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


@program(
    lambda r: [normal(r, 3), normal(r, 2) * 0.3, normal(r, 12, 3), normal(r, 12), whole(r, 4, 12)]
)
def mixed_model_with_groups(slopes, logs, x, y, group):
    groups = (group[:, None] == sg.arange(4)).astype(x.dtype)
    within, between = sg.exp(logs[0]), sg.exp(logs[1])
    covariance = within * sg.eye(12, dtype=x.dtype) + between * groups @ groups.T
    factor = sg.linalg.cholesky(covariance)
    residual = sg.linalg.solve_triangular(factor, y - x @ slopes, lower=True)
    return 0.5 * (residual**2).sum() + sg.log(sg.diagonal(factor)).sum()


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
        next_residual = residual - by * forced
        return (
            x + by * way,
            next_residual,
            next_residual + (next_residual @ next_residual) / size * way,
        )

    x, _, _ = sg.fori_loop(0, 5, iteration, (load * 0, load, load))
    return (x**2).sum()
