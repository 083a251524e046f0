"""Programs as users write them: networks, attention, images, embeddings and gathers."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


@program(
    lambda r: [
        normal(r, 2, 5, 6),
        whole(r, 7, 2, 4),
        normal(r, 6, 24) / 3,
        normal(r, 8, 24) / 3,
        normal(r, 7, 8) / 2,
        normal(r, 16, 24) / 3,
        normal(r, 8, 7) / 2,
    ],
    named={0: ("b", 5, 6), 1: ("b", 4)},
)
def gru_attention_seq2seq(src, tgt, wi, wh, emb, wd, wo):
    sig = lambda z: 1 / (1 + sg.exp(-z))

    def cell(h, gx, wh):
        gh = h @ wh
        r = sig(gx[:, :8] + gh[:, :8])
        u = sig(gx[:, 8:16] + gh[:, 8:16])
        n = sg.tanh(gx[:, 16:] + r * gh[:, 16:])
        return (1 - u) * n + u * h

    h0 = sg.zeros_like(src[:, 0, :1]) + sg.zeros((8,), dtype=src.dtype)

    def enc(h, x):
        h = cell(h, x @ wi, wh)
        return h, h

    h, H = sg.scan(enc, h0, sg.swapaxes(src, 0, 1))
    H = sg.swapaxes(H, 0, 1)
    inp = emb[tgt[:, :-1]]

    def dec(h, e):
        a = sg.nn.softmax(sg.einsum("bd,btd->bt", h, H), axis=1)
        c = sg.einsum("bt,btd->bd", a, H)
        h = cell(h, sg.concatenate([e, c], axis=1) @ wd, wh)
        return h, h @ wo

    _, lo = sg.scan(dec, h, sg.swapaxes(inp, 0, 1))
    lp = sg.nn.log_softmax(sg.swapaxes(lo, 0, 1), axis=-1)
    return -sg.take_along_axis(lp, tgt[:, 1:, None], axis=-1).mean()


@program(
    lambda r: [
        normal(r, 2, 9, 5),
        normal(r, 4, 6),
        normal(r, 6, 6) / 2,
        normal(r, 5, 6) / 2,
        normal(r, 5, 6) / 2,
        normal(r, 6, 6) / 2,
    ],
    named={0: ("b", 9, 5)},
)
def perceiver(x, lat, wq, wk, wv, ws):
    z = lat
    z = sg.nn.softmax((z @ wq) @ sg.swapaxes(x @ wk, -1, -2) / 2.0, axis=-1) @ (x @ wv) + z
    for _ in range(2):
        q = z @ ws
        z = z + sg.nn.softmax(q @ sg.swapaxes(q, -1, -2) / 2.0, axis=-1) @ z
        z = (z - z.mean(-1, keepdims=True)) / sg.sqrt(z.var(-1, keepdims=True) + 1e-5)
    return (z**3).mean() + sg.abs(z[:, 0]).mean()


@program(
    lambda r: [
        normal(r, 2, 4, 7, 7),
        normal(r, 4, 1, 5, 5) / 5,
        normal(r, 4, 16) / 2,
        normal(r, 16, 4) / 4,
        normal(r, 4),
        normal(r, 4, 2),
        normal(r, 2, 4),
    ],
    named={0: ("b", 4, 7, 7)},
)
def convnext_se(x, dw, w1, w2, g, s1, s2):
    h = sg.nn.conv(x, dw, padding=2, groups=4)
    h = sg.moveaxis(h, 1, -1)
    h = (h - h.mean(-1, keepdims=True)) / sg.sqrt(h.var(-1, keepdims=True) + 1e-6)
    h = (sg.nn.gelu(h @ w1) @ w2) * g
    sq = h.mean(axis=(1, 2))
    h = h * (1 / (1 + sg.exp(-(sg.nn.relu(sq @ s1) @ s2))))[:, None, None]
    o = x + sg.moveaxis(h, -1, 1)
    return (o**2).mean()


@program(
    lambda r: [
        normal(r, 2, 3, 20),
        normal(r, 6, 3, 3) / 3,
        normal(r, 6, 6, 3) / 3,
        normal(r, 6, 3, 4) / 3,
        normal(r, 6, 3, 1) / 2,
    ],
    named={0: ("b", 3, 20)},
)
def tcn_decoder(x, w1, w2, wt, wr):
    c = lambda z, w, d: sg.nn.conv(sg.pad(z, ((0, 0), (0, 0), (2 * d, 0))), w, dilation=d)
    h = sg.nn.relu(c(x, w1, 1))
    h = sg.nn.relu(c(h, w2, 4)) + sg.nn.conv(x, wr)
    o = sg.nn.conv_transpose(h, wt, stride=2)
    return (sg.tanh(o) ** 2).mean()


@program(
    lambda r: [normal(r, 3, 6, 4), np.array([6, 2, 4]), normal(r, 4, 8) / 2, normal(r, 8, 3) / 2],
    named={0: ("b", 6, 4), 1: ("b",)},
)
def deepsets_masked(x, ln, w1, w2):
    k = sg.arange(6)[None] < ln[:, None]
    h = sg.nn.gelu(x @ w1)
    s = sg.where(k[..., None], h, 0.0)
    mean = s.sum(axis=1) / ln[:, None].astype(x.dtype)
    mx = sg.where(k[..., None], h, -1e9).max(axis=1)
    return ((mean @ w2) ** 2).mean() + ((mx @ w2) ** 2).mean()


@program(lambda r: [normal(r, 4, 5), normal(r, 5, 5) / 2, normal(r, 5, 9) / 2], second=False)
def beam_search(h0, wh, wo):
    # width 3, 4 steps
    def one(h):
        hs = sg.stack([h, h, h])
        sc = sg.stack([h[0] * 0, h[0] * 0 - 1e9, h[0] * 0 - 1e9])
        for _ in range(4):
            hs = sg.tanh(hs @ wh)
            lp = sc[:, None] + sg.nn.log_softmax(hs @ wo, axis=-1)
            v, i = sg.topk(lp.reshape((27,)), 3)
            sc = v
            hs = hs[i // 9]
        return sc[0] + (hs**2).sum()

    return sg.vmap(one)(h0).mean()


@program(lambda r: [normal(r, 6, 8), normal(r, 6, 8), r.uniform(size=(6,))])
def speculative_accept(p, q, u):
    P, Q = sg.nn.softmax(p, axis=-1), sg.nn.softmax(q, axis=-1)
    t = sg.argmax(Q, axis=-1)
    r_ = (
        sg.take_along_axis(P, t[:, None], axis=1)[:, 0]
        / sg.take_along_axis(Q, t[:, None], axis=1)[:, 0]
    )
    acc = sg.minimum(1.0, r_)
    run = sg.cumprod(acc)
    res = sg.maximum(P - Q, 0)
    res = res / (res.sum(-1, keepdims=True) + 1e-9)
    return run.sum() + (res * sg.log(res + 1e-6)).sum() * 0.1 + 0 * u.sum()


@program(
    lambda r: [normal(r, 5, 6), normal(r, 6, 4) / 2, np.array(1024.0)],
    second=False,
    named={0: ("b", 6)},
)
def loss_scaled(x, w, sc):
    h = x @ w
    L = (sg.tanh(h) ** 2).mean() * sc
    g = sg.grad(lambda w: (sg.tanh(x @ w) ** 2).mean() * sc)(w) / sc
    ok = sg.isfinite(g).all()
    w2 = sg.where(ok, w - 0.1 * g, w)
    return L / sc + (w2**2).sum()


@program(lambda r: [normal(r, 4, 8), normal(r, 8, 8) / 3, normal(r, 8, 8) / 3, normal(r, 8, 8) / 3])
def kv_cache_decode(x, wq, wk, wv):
    # cache of 6 filled by dynamic update in a scan
    def step(c, t):
        K, V, tok = c
        q, k, v = tok @ wq, tok @ wk, tok @ wv
        K = K.at[t].set(k)
        V = V.at[t].set(v)
        s = K @ q
        s = sg.where(sg.arange(6) <= t, s, -1e30)
        out = sg.nn.softmax(s) @ V
        return (K, V, sg.tanh(out + tok)), out

    z = sg.zeros((6, 8), dtype=x.dtype)

    def one(tok):
        return sg.scan(step, (z, z, tok), sg.arange(6))[1]

    return (sg.vmap(one)(x) ** 2).mean()


@program(
    lambda r: [normal(r, 10, 6), normal(r, 6, 4), normal(r, 4, 6, 8) / 2, normal(r, 4, 8, 6) / 2],
    named={0: ("b", 6)},
)
def moe_topk(x, wg, w1, w2):
    logits = x @ wg
    v, i = sg.topk(logits, 2)
    p = sg.nn.softmax(v, axis=-1)
    h = sg.nn.gelu(sg.einsum("bd,edh->beh", x, w1))
    o = sg.einsum("beh,ehd->bed", h, w2)
    sel = sg.take_along_axis(o, i[..., None], axis=1)
    y = (sel * p[..., None]).sum(axis=1)
    load = sg.nn.softmax(logits, axis=-1).mean(axis=0)
    return (y**2).mean() + 0.1 * (load * load).sum()


@program(
    lambda r: [
        r.uniform(size=(2, 1, 8, 8)),
        normal(r, 16),
        normal(r, 16, 16) / 4,
        normal(r, 2),
        normal(r, 16, 64) / 8,
        normal(r, 64, 16) / 4,
    ]
)
def diffusion(x0, temb, wt, t, wo, wi):
    x = x0.reshape((2, 64))
    al = 1 / (1 + sg.exp(-t))[:, None]
    eps = sg.sin(x * 37.0)
    xt = sg.sqrt(al) * x + sg.sqrt(1 - al) * eps
    fr = sg.exp(-np.log(1e4).item() * sg.arange(8) / 8.0).astype(x.dtype)
    ang = t[:, None] * fr
    e = sg.concatenate([sg.sin(ang), sg.cos(ang)], axis=1) * temb
    h = sg.nn.silu(xt @ wi + e @ wt)
    return ((h @ wo - eps) ** 2).mean()


@program(lambda r: [normal(r, 1, 6, 7), r.uniform(-1, 1, size=(2, 3))], second=False)
def spatial_transformer(img, th):
    H, W = 6, 7
    ys, xs = np.meshgrid(np.linspace(-1, 1, H), np.linspace(-1, 1, W), indexing="ij")
    g = np.stack([xs.ravel(), ys.ravel(), np.ones(H * W)])
    if img.dtype == np.float32:
        g = g.astype("float32")
    p = th @ g
    x = (p[0] + 1) * (W - 1) / 2
    y = (p[1] + 1) * (H - 1) / 2
    x0 = sg.floor(x)
    y0 = sg.floor(y)
    wx = x - x0
    wy = y - y0

    def at(yy, xx):
        ok = (yy >= 0) & (yy < H) & (xx >= 0) & (xx < W)
        yi = sg.clip(yy, 0, H - 1).astype("int32")
        xi = sg.clip(xx, 0, W - 1).astype("int32")
        return sg.where(ok, img[0][yi, xi], 0.0)

    o = (
        at(y0, x0) * (1 - wx) * (1 - wy)
        + at(y0, x0 + 1) * wx * (1 - wy)
        + at(y0 + 1, x0) * (1 - wx) * wy
        + at(y0 + 1, x0 + 1) * wx * wy
    )
    return (o**2).sum()


@program(
    lambda r: [
        normal(r, 2, 2, 8, 8),
        normal(r, 4, 2, 3, 3) / 3,
        normal(r, 6, 4, 3, 3) / 5,
        normal(r, 6, 4, 2, 2) / 3,
        normal(r, 2, 8, 3, 3) / 5,
    ],
    named={0: ("b", 2, 8, 8)},
    near=1e-7,
)
def unet(x, w1, w2, wt, w3):
    a = sg.nn.relu(sg.nn.conv(x, w1, padding=1))
    d = sg.nn.max_pool(a, 2)
    e = sg.nn.silu(sg.nn.conv(d, w2, padding=1))
    u = sg.nn.conv_transpose(e, wt, stride=2)
    o = sg.nn.conv(sg.concatenate([u, a], axis=1), w3, padding=1)
    return ((o - x) ** 2).mean()


@program(
    lambda r: [
        normal(r, 2, 4, 5, 5),
        normal(r, 4, 1, 3, 3),
        normal(r, 8, 4, 1, 1) / 2,
        normal(r, 8),
        normal(r, 8),
    ],
    named={0: ("b", 4, 5, 5)},
)
def mobilenet_bn(x, dw, pw, g, b):
    h = sg.nn.conv(x, dw, padding=1, groups=4, stride=2)
    h = sg.nn.conv(h, pw)
    mu = h.mean(axis=(0, 2, 3), keepdims=True)
    va = h.var(axis=(0, 2, 3), keepdims=True)
    h = (h - mu) / sg.sqrt(va + 1e-3) * g[:, None, None] + b[:, None, None]
    h = sg.clip(h, 0, 6)
    return (h.mean(axis=(2, 3)) ** 2).sum()


@program(lambda r: [normal(r, 6, 5), normal(r, 5, 3), normal(r, 5)], named={0: ("n", 5)})
def weight_norm_focal(x, V, g):
    W = V / sg.sqrt((V**2).sum(axis=0, keepdims=True))
    lo = x @ W
    p = 1 / (1 + sg.exp(-lo))
    t = (x[:, :3] > 0).astype(x.dtype)
    pt = sg.where(t > 0, p, 1 - p)
    foc = -((1 - pt) ** 2 * sg.log(sg.clip(pt, 1e-7, 1.0))).mean()
    dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    return foc + dice + (g**2).sum() * 0.01


def layer_norm(width):
    def layer_norm(x, g, b):
        xc = x - x.mean(-1, keepdims=True)
        h = xc / sg.sqrt((xc**2).mean(-1, keepdims=True) + 1e-5) * g + b
        return (sg.nn.gelu(h) ** 2).mean()

    layer_norm.__name__ = f"layer_norm_{width}"
    return program(
        lambda r: [normal(r, 5, width), normal(r, width), normal(r, width)], named={0: ("n", width)}
    )(layer_norm)


for columns in (1, 7, 33, 100, 257):
    layer_norm(columns)


def segmax(x, d, n):
    mask = d == sg.arange(n)[:, None]
    return sg.where(mask[..., None], x, -1e30).max(axis=1)


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


@program(lambda r: [normal(r, 8, 4), whole(r, 3, 8)], named={0: ("b", 4), 1: ("b",)}, second=False)
def triplet(e, y):
    d = ((e[:, None] - e[None]) ** 2).sum(-1)
    same = y[:, None] == y[None]
    hp = sg.where(same, d, -1.0).max(axis=1)
    hn = sg.where(same, 1e9, d).min(axis=1)
    return sg.nn.relu(hp - sg.minimum(hn, 50.0) + 0.3).mean()


@program(lambda r: [normal(r, 4, 6), whole(r, 4, 4, 6)], named={0: ("q", 6), 1: ("q", 6)})
def listnet_pairs(s, rel_):
    relf = rel_.astype(s.dtype)
    d = s[:, :, None] - s[:, None, :]
    gt = rel_[:, :, None] > rel_[:, None, :]
    pw = sg.where(gt, sg.nn.softplus(-d), 0.0).sum() / sg.maximum(gt.sum(), 1)
    ln = -(sg.nn.softmax(relf, axis=1) * sg.nn.log_softmax(s, axis=1)).sum(axis=1).mean()
    order = sg.argsort(-s, axis=1)
    dcg = (sg.take_along_axis(relf, order, axis=1) / sg.log2(sg.arange(6) + 2.0)).sum()
    return pw + ln + 0 * dcg


@program(lambda r: [normal(r, 4, 9), normal(r, 9)], named={0: ("n", 9)})
def sort_stuff(x, w):
    s = sg.sort(x, axis=1)
    q = sg.quantile(x, 0.3, axis=1)
    tk = sg.topk(x, 3)[0]
    cp = sg.cumprod(sg.tanh(x), axis=1)
    return (
        (s @ w).mean()
        + q.sum() * 0.1
        + (tk**2).sum()
        + cp.sum()
        + sg.roll(x, 2, axis=1)[:, 0].sum()
        + (sg.flip(x, axis=1) * x).sum()
        + sg.prod(x[:, :3], axis=1).sum()
    )


@program(lambda r: [normal(r, 3, 9), normal(r, 4, 9)], named={0: ("n", 9)})
def strange_indexing(x, y):
    a = (
        x[:, ::-2] @ y[::2, 1::2][:, :4].T.sum(axis=1, keepdims=True).repeat(5, axis=0)[:5]
        if False
        else x[:, ::-2].sum(axis=1)
    )
    b = sg.pad(x, ((0, 0), (2, 1)), mode="edge")[:, 1:-1]
    c = sg.pad(y, ((1, 0), (0, 3)), mode="reflect").sum()
    d = x[..., None, [0, 3, 3, 8]].prod(axis=-1)
    e = sg.where(x > 0, x, 0).at[:, 2:5].add(1.0).at[:, 0].set(x[:, 0] * 2.0)
    f = sg.tile(y, (2, 1))[1::3].T.reshape(-1)[5:-2].sum()
    return (
        (a**2).sum()
        + (b * sg.cos(b)).sum()
        + c
        + d.sum()
        + (e**2).sum()
        + f
        + sg.swapaxes(y, 0, 1)[3].sum()
        + sg.moveaxis(x[None], 0, -1).sum()
        + sg.trapezoid(y, axis=1).sum()
        + sg.cumsum(x[:, ::-1], axis=1)[:, 3].sum()
        + sg.kron(y[:2, :2], y[2:, :2]).sum()
        + sg.outer(y[0], y[1])[2].sum()
        + sg.triu(y[:, :4], 1).sum()
    )
