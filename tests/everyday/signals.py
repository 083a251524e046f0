"""Programs as users write them: images, signals and dynamic programs."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


@program(
    lambda r: [
        normal(r, 2, 3, 6, 6),
        whole(r, 2, 2, 6, 6).astype("float64"),
        normal(r, 1, 3, 3, 3) / 3,
    ],
    named={0: ("b", 3, 6, 6), 1: ("b", 6, 6)},
)
def focal_dice_seg(x, t, w):
    z = sg.nn.conv(x, w, padding=1)[:, 0]
    p = 1 / (1 + sg.exp(-z))
    pt = sg.where(t > 0.5, p, 1 - p)
    al = sg.where(t > 0.5, 0.25, 0.75)
    foc = -(al * (1 - pt) ** 2 * sg.log(sg.maximum(pt, 1e-8))).mean()
    inter = (p * t).sum(axis=(1, 2))
    den = (p + t).sum(axis=(1, 2))
    return foc + (1 - (2 * inter + 1) / (den + 1)).mean()


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


@program(lambda r: [normal(r, 3, 16), normal(r, 9)], named={0: ("b", 16)})
def dft_by_matrices(x, h):
    n = np.arange(16)
    k = np.arange(9)
    C = np.cos(2 * np.pi * np.outer(n, k) / 16)
    S_ = np.sin(2 * np.pi * np.outer(n, k) / 16)
    if x.dtype == np.float32:
        C, S_ = C.astype("float32"), S_.astype("float32")
    re, im = x @ C, -(x @ S_)
    p = re**2 + im**2
    w = np.ones(9)
    w[1:-1] = 2
    if x.dtype == np.float32:
        w = w.astype("float32")
    y = ((re * h * w) @ C.T - (im * h * w) @ S_.T) / 16
    return sg.log1p(p).mean() + ((y - x) ** 2).mean()


@program(lambda r: [normal(r, 3, 32)], named={0: ("b", 32)})
def haar_wavelet_shrink(x):
    a, ds = x, []
    for _ in range(4):
        e, o = a[:, ::2], a[:, 1::2]
        ds.append((e - o) / np.sqrt(2).item())
        a = (e + o) / np.sqrt(2).item()
    ds = [sg.sign(d) * sg.maximum(sg.abs(d) - 0.3, 0.0) for d in ds]
    for d in ds[::-1]:
        e, o = (a + d) / np.sqrt(2).item(), (a - d) / np.sqrt(2).item()
        a = sg.stack([e, o], axis=-1).reshape((x.shape[0], -1))
    return ((a - x) ** 2).mean() + sum(sg.abs(d).mean() for d in ds)


@program(lambda r: [normal(r, 40)])
def savitzky_golay(y):
    A = np.vander(np.arange(-3, 4), 3, increasing=True)
    c = np.linalg.pinv(A)[0]
    if y.dtype == np.float32:
        c = c.astype("float32")
    p = sg.pad(y, (3, 3), mode="reflect")
    s = sum(c[i].item() * p[i : i + 40] for i in range(7))
    d = sg.diff(s)
    return ((y - s) ** 2).mean() + (d**2).mean() + sg.abs(sg.convolve(y, c, mode="same")).mean()


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


@program(lambda r: [normal(r, 10, 9), r.uniform(0.05, 0.2, size=(10, 9))])
def heat_wave_stencil(u, k):
    def lap(u):
        return (
            sg.pad(u, ((1, 1), (1, 1)), mode="wrap")[2:, 1:-1]
            + sg.pad(u, ((1, 1), (1, 1)), mode="wrap")[:-2, 1:-1]
            + sg.roll(u, 1, axis=1)
            + sg.roll(u, -1, axis=1)
            - 4 * u
        )

    def st(c, _):
        u, v, h = c
        h = h + k * lap(h)
        v = v + 0.1 * lap(u)
        u = u + 0.5 * v
        return (u, v, h), (u * u).mean()

    (u, v, h), e = sg.scan(st, (u, sg.zeros_like(u), u), None, length=7)
    return (h**2).sum() + e.sum() + (u * v).mean()


@program(lambda r: [r.uniform(size=(9, 8))])
def soft_life(g):
    def st(i, g):
        n = sum(
            sg.roll(sg.roll(g, a, axis=0), b, axis=1)
            for a in (-1, 0, 1)
            for b in (-1, 0, 1)
            if (a, b) != (0, 0)
        )
        b3 = sg.exp(-8 * (n - 3) ** 2)
        s23 = sg.exp(-4 * (n - 2.5) ** 2)
        return g * s23 + (1 - g) * b3

    s = sg.fori_loop(0, 4, st, g)
    hard = sg.where(s > 0.5, 1.0, 0.0)
    return (s**2).sum() + hard.sum()


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
