"""Programs as users write them: images."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program


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
        normal(r, 2, 3, 19),
        normal(r, 3, 3, 2) / 2,
        normal(r, 3, 3, 2) / 2,
        normal(r, 3, 3, 2) / 2,
        normal(r, 3, 3, 2) / 2,
    ],
    named={0: ("b", 3, 19)},
)
def wavenet(x, f1, g1, f2, g2):
    h = x
    for dil, (f, g) in ((1, (f1, g1)), (2, (f2, g2)), (4, (f1, g2))):
        z = sg.pad(h, ((0, 0), (0, 0), (dil, 0)))
        h = h + sg.tanh(sg.nn.conv(z, f, dilation=dil)) * (
            1 / (1 + sg.exp(-sg.nn.conv(z, g, dilation=dil)))
        )
    return ((h[:, :, :-1] - x[:, :, 1:]) ** 2).mean()


@program(lambda r: [normal(r, 32), normal(r, 5)])
def conv_toeplitz(x, k):
    i = np.arange(32)[:, None] - np.arange(32)[None]
    T = sg.where((i >= 0) & (i < 5), k[np.clip(i, 0, 4)], 0.0)
    a = T @ x
    b = sg.convolve(x, k)[:32]
    return ((a - b) ** 2).sum() + (a**3).mean()


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


@program(lambda r: [normal(r, 4, 3, 3), normal(r, 4, 3)])
def capsules(u, v):
    b = sg.zeros((4, 3), dtype=u.dtype)
    pred = sg.einsum("ijk,ik->ij", u, v)
    for _ in range(3):
        c = sg.nn.softmax(b, axis=1)
        s = (c * pred).sum(axis=0)
        sq = (s**2).sum()
        vv = sq / (1 + sq) * s / sg.sqrt(sq + 1e-9)
        b = b + pred * vv
    return (vv**2).sum()


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


for each in (1, 7, 33, 100, 257):
    layer_norm(each)
