"""Programs as users write them: points, trees, networks and tensors of other shapes."""

import numpy as np

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


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
    lambda r: [normal(r, 4, 2, 3), normal(r, 2, 3), normal(r, 3, 2, 3), normal(r, 3, 2)],
    named={0: ("n", 2, 3)},
)
def tensor_train(x, a, b, c):
    v = sg.einsum("nr,ri->ni", x[:, 0, :2], a)
    v = sg.einsum("ni,ijk,nj->nk", v, b, x[:, 1, :2])
    v = sg.einsum("nk,kj,nj->n", v, c, x[:, 0, 1:])
    return (v**2).mean() + sg.einsum("ijk,ijk->", b, b)


@program(lambda r: [r.uniform(0, 6, 7), normal(r, 7), normal(r, 7, 7) * 0.3, np.array(0.5)])
def kuramoto_order(phases, own, coupling, k):
    def slope(p):
        return own + sg.exp(k) * (coupling * sg.sin(p[None] - p[:, None])).mean(axis=1)

    p = sg.fori_loop(0, 10, lambda _, p: p + 0.1 * slope(p + 0.05 * slope(p)), phases)
    return sg.sqrt(sg.cos(p).mean() ** 2 + sg.sin(p).mean() ** 2 + 1e-9)


@program(
    lambda r: [normal(r, 5, 3) * 0.2, whole(r, 5, 8), whole(r, 5, 8), whole(r, 5, 8, 3)],
    named={1: ("e",), 2: ("e",), 3: ("e", 3)},
    near=1e-7,
    single=5e-2,
    second=False,
)
def poincare_embedding(points, u, v, others):
    size = sg.sqrt((points * points).sum(axis=1, keepdims=True) + 1e-9)
    points = points / size * sg.tanh(size) * 0.95

    def apart(a, b):
        room = (1 - (a * a).sum(axis=-1)) * (1 - (b * b).sum(axis=-1))
        return sg.arccosh(1 + 2 * ((a - b) ** 2).sum(axis=-1) / room + 1e-6)

    near, far = -apart(points[u], points[v]), -apart(points[u][:, None], points[others])
    both = sg.concatenate([near[:, None], far], axis=1)
    return (sg.nn.logsumexp(both, axis=1) - near).mean()


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
