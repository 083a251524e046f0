"""Programs as users write them: attention."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


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
        normal(r, 2, 3, 8, 8),
        normal(r, 48, 10) / 5,
        normal(r, 5, 10),
        normal(r, 10),
        normal(r, 10, 3),
        whole(r, 3, 2),
    ],
    named={0: ("b", 3, 8, 8), 5: ("b",)},
)
def vit(x, we, pos, cls, wh, y):
    b = x.shape[0]
    p = x.reshape((b, 3, 2, 4, 2, 4)).transpose((0, 2, 4, 1, 3, 5)).reshape((b, 4, 48)) @ we
    c = sg.broadcast_to(cls, (b, 1, 10))
    h = sg.concatenate([c, p], axis=1) + pos
    a = sg.nn.softmax(h @ h.swapaxes(1, 2) / np.sqrt(10).item(), axis=-1) @ h + h
    mu = a.mean(axis=-1, keepdims=True)
    va = a.var(axis=-1, keepdims=True)
    a = (a - mu) / sg.sqrt(va + 1e-5)
    lo = a[:, 0] @ wh
    return (sg.nn.logsumexp(lo, axis=-1) - sg.take_along_axis(lo, y[:, None], axis=1)[:, 0]).mean()


@program(
    lambda r: [normal(r, 3, 2, 7, 4), normal(r, 3, 2, 7, 4), np.array([7, 3, 1])],
    named={0: ("b", 2, 7, 4), 1: ("b", 2, 7, 4), 2: ("b",)},
)
def padded_attention(q, k, lens):
    s = q @ k.swapaxes(-1, -2) / 2.0
    keep = sg.arange(7)[None] < lens[:, None]
    s = sg.where(keep[:, None, None, :], s, -np.inf)
    o = sg.nn.softmax(s, axis=-1) @ k
    o = sg.where(keep[:, None, :, None], o, 0.0)
    return (o**2).sum() / (keep.sum() * 8)


@program(
    lambda r: [
        normal(r, 5, 3),
        normal(r, 3, 4),
        normal(r, 4, 4) / 2,
        normal(r, 4, 3),
        normal(r, 8, 4) / 2,
    ]
)
def seq2seq_attention(x, wi, wh, wo, wa):
    def enc(h, t):
        h = sg.tanh(t @ wi + h @ wh)
        return h, h

    z = sg.zeros((4,), dtype=x.dtype)
    h, H = sg.scan(enc, z, x)

    def dec(c, _):
        h, t = c
        h = sg.tanh(t @ wi + h @ wh)
        a = sg.nn.softmax(H @ h, axis=0)
        ctx = sg.tanh(sg.concatenate([a @ H, h]) @ wa)
        o = ctx @ wo
        return (h, o), o

    _, O = sg.scan(dec, (h, sg.zeros((3,), dtype=x.dtype)), None, length=4)
    return (O**2).mean()


@program(
    lambda r: [normal(r, 6, 8), normal(r, 6, 8), np.array(0.1)], named={0: ("b", 8), 1: ("b", 8)}
)
def infonce(a, b, lt):
    a = a / sg.linalg.norm(a, axis=-1, keepdims=True)
    b = b / sg.linalg.norm(b, axis=-1, keepdims=True)
    s = a @ b.T * sg.exp(lt)
    return (
        -sg.diagonal(sg.nn.log_softmax(s, axis=0)) - sg.diagonal(sg.nn.log_softmax(s, axis=1))
    ).mean() / 2


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


@program(lambda r: [normal(r, 3, 8), normal(r, 8, 8) / 3, normal(r, 8, 8) / 3], named={0: ("b", 8)})
def deep_residual_rms(x, w1, w2):
    h = x
    for _ in range(6):
        z = h / sg.sqrt((h * h).mean(-1, keepdims=True) + 1e-6)
        a, b = z @ w1, z @ w2
        h = h + 0.3 * sg.nn.silu(a) * b
    return sg.abs(h).mean()


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
