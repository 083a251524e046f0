"""Programs as users write them: embeddings, graphs and factorisations."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


def segmax(x, d, n):
    here = d == sg.arange(n)[:, None]
    return sg.where(here[..., None], x, -1e30).max(axis=1)


@program(
    lambda r: [
        normal(r, 8, 3),
        normal(r, 8, 3),
        normal(r, 8),
        normal(r, 8),
        whole(r, 8, 15),
        whole(r, 8, 15),
        r.uniform(1, 200, size=15),
    ],
    named={4: ("n",), 5: ("n",), 6: ("n",)},
)
def glove(w, c, b, d, i, j, x):
    f = sg.where(x < 100, (x / 100) ** 0.75, 1.0)
    e = (w[i] * c[j]).sum(1) + b[i] + d[j] - sg.log(x)
    return (f * e * e).mean()


@program(
    lambda r: [
        normal(r, 8, 5),
        normal(r, 5, 2, 3) / 2,
        normal(r, 2, 3),
        normal(r, 2, 3),
        whole(r, 8, 20),
        whole(r, 8, 20),
    ],
    named={4: ("e",), 5: ("e",)},
    single=1e-2,
)
def gat_segment_max(x, w, a1, a2, s, d):
    h = sg.einsum("nf,fhd->nhd", x, w)
    e = ((h * a1).sum(-1))[s] + ((h * a2).sum(-1))[d]
    e = sg.where(e > 0, e, 0.2 * e)
    mx = segmax(sg.stop_gradient(e), d, 8)
    ex = sg.exp(e - mx[d])
    den = sg.scatter_add(ex, d, 8)
    al = ex / (den[d] + 1e-9)
    o = sg.scatter_add(h[s] * al[..., None], d, 8)
    return (sg.tanh(o) ** 2).mean()


@program(
    lambda r: [
        normal(r, 7, 4),
        normal(r, 8, 6) / 2,
        normal(r, 10, 4) / 2,
        whole(r, 7, 16),
        whole(r, 7, 16),
    ],
    second=False,
    named={3: ("e",), 4: ("e",)},
)
def mpnn_max_agg(h, wm, wu, s, d):
    for _ in range(2):
        msg = sg.nn.relu(sg.concatenate([h[s], h[d]], axis=1) @ wm)
        ag = segmax(msg, d, 7)
        ag = sg.where(ag < -1e8, 0.0, ag)
        h = sg.tanh(sg.concatenate([h, ag], axis=1) @ wu)
    return (h**2).sum()


@program(lambda r: [normal(r, 9, 3), normal(r, 9, 2)])
def tsne(x, y):
    off = ~np.eye(9, dtype=bool)
    d = ((x[:, None] - x[None]) ** 2).sum(-1)
    P = sg.nn.softmax(sg.where(off, -d / 2, -np.inf), axis=1)
    P = (P + P.T) / 18
    q = sg.where(off, 1 / (1 + ((y[:, None] - y[None]) ** 2).sum(-1)), 0.0)
    Q = q / q.sum()
    return sg.where(
        off, P * (sg.log(sg.maximum(P, 1e-12)) - sg.log(sg.maximum(Q, 1e-12))), 0.0
    ).sum()


@program(
    lambda r: [
        normal(r, 10, 2),
        whole(r, 10, 20),
        (whole(r, 9, 20) + 1),
        whole(r, 10, 20),
        r.uniform(size=(20,)) * 0.9 + 0.05,
    ],
    named={1: ("e",), 2: ("e",), 3: ("e",), 4: ("e",)},
)
def umap_loss(y, i, dj, n, w):
    j = (i + dj) % 10

    def q(a, b):
        return 1 / (1 + 1.5 * (((y[a] - y[b]) ** 2).sum(1) + 1e-3) ** 0.8)

    return (
        -(w * sg.log(q(i, j))).mean()
        - ((1 - w) * sg.log(1 - q(i, (n * 0 + i + 1) % 10) * 0.999)).mean()
    )


@program(
    lambda r: [
        normal(r, 7, 2) / 2,
        normal(r, 6, 2) / 2,
        (r.uniform(size=(7, 6)) < 0.6) * 1.0,
        normal(r, 7, 6),
    ],
    near=1e-6,
    single=5e-2,
    second=False,
)
def completion_nuclear(Uu, V, mask, Y):
    X = Uu @ V.T + 0.01 * Y
    _, s, _ = sg.linalg.svd(X, full_matrices=False)
    st = sg.maximum(s - 0.1, 0)
    return (mask * (X - Y) ** 2).sum() / mask.sum() + 0.1 * s.sum() + (st**2).sum()


@program(
    lambda r: [
        r.uniform(size=(8, 6)) + 0.1,
        r.uniform(size=(8, 2)) + 0.1,
        r.uniform(size=(2, 6)) + 0.1,
    ]
)
def nmf_multiplicative(X, W, H):
    def it(i, c):
        W, H = c
        H = H * (W.T @ X) / (W.T @ W @ H + 1e-9)
        W = W * (X @ H.T) / (W @ H @ H.T + 1e-9)
        return W, H

    W, H = sg.fori_loop(0, 10, it, (W, H))
    return ((X - W @ H) ** 2).sum()


@program(lambda r: [normal(r, 20, 3), normal(r, 20, 3)], near=1e-5, single=1e-1, second=False)
def deep_cca(a, b):
    a = a - a.mean(axis=0)
    b = b - b.mean(axis=0)
    I3 = sg.eye(3, dtype=a.dtype)
    Saa = a.T @ a / 19 + 0.1 * I3
    Sbb = b.T @ b / 19 + 0.1 * I3
    Sab = a.T @ b / 19
    La, Lb = sg.linalg.cholesky(Saa), sg.linalg.cholesky(Sbb)
    T = sg.linalg.solve_triangular(Lb, Sab.T, lower=True).T
    T = sg.linalg.solve_triangular(La, T, lower=True)
    return -sg.linalg.svd(T)[1].sum()


@program(lambda r: [normal(r, 18, 4)], near=1e-5, single=1e-1, second=False)
def lda_eigh(x):
    y = np.arange(18) % 3
    mu = sg.scatter_add(x, y, 3) / 6.0
    d = x - mu[y]
    Sw = d.T @ d / 18 + 0.1 * sg.eye(4, dtype=x.dtype)
    mb = mu - x.mean(axis=0)
    L = sg.linalg.cholesky(Sw)
    B = sg.linalg.solve_triangular(L, mb.T, lower=True)
    w, v = sg.linalg.eigh(B @ B.T + np.diag([0.1, 0.2, 0.3, 0.4]).astype(str(x.dtype)))
    return -sg.log(w).sum() - w[-1] + (v[:, -1] ** 4).sum()
