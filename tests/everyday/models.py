"""Programs as users write them: networks and how they are trained and decoded."""

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


@program(lambda r: [normal(r, 4, 6, 5), normal(r, 4, 6), normal(r, 5), normal(r, 5)])
def micro_batches_clip_ema(xs, ys, w, ema):
    L = lambda w, x, y: ((sg.tanh(x @ w) - y) ** 2).mean()

    def acc(c, e):
        g, l = c
        x, y = e
        return (g + sg.grad(L)(w, x, y), l + L(w, x, y)), None

    (g, l), _ = sg.scan(acc, (sg.zeros_like(w), sg.zeros((), dtype=w.dtype)), (xs, ys))
    g = g / 4
    n = sg.sqrt((g * g).sum() + 1e-12)
    g = g * sg.minimum(1.0, 0.1 / (n + 1e-6))
    t = l * 0 + 17.0
    lr = 0.5 * (1 + sg.cos(np.pi * t / 100.0)) * sg.minimum(1.0, t / 10)
    w2 = w - lr * g
    e2 = 0.99 * ema + 0.01 * w2
    return (w2**2).sum() + (e2**2).sum() + l


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
    lambda r: [normal(r, 12, 4), normal(r, 4, 3), normal(r, 3, 4, 6) / 2, normal(r, 3, 6, 4) / 2],
    second=False,
)
def moe_capacity(x, wg, w1, w2):
    p = sg.nn.softmax(x @ wg, axis=-1)
    e = sg.argmax(p, axis=-1)
    oh = sg.one_hot(e, 3, x.dtype)
    pos = (sg.cumsum(oh, axis=0) * oh).sum(-1) - 1
    keep = pos < 4
    gate = (p * oh).sum(-1) * sg.where(keep, 1.0, 0.0)
    slot = sg.where(keep, pos, 4.0).astype("int32")
    buf = sg.zeros((3, 5, 4), dtype=x.dtype).at[e, slot].add(x)
    y = sg.einsum("ech,ehd->ecd", sg.nn.relu(sg.einsum("ecd,edh->ech", buf, w1)), w2)
    o = y[e, slot] * gate[:, None]
    aux = 3 * (oh.mean(axis=0) * p.mean(axis=0)).sum()
    return (o**2).mean() + 0.01 * aux


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
