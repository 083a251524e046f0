"""Programs as users write them: gathers."""

import staticgrad as sg
from tests.everyday.programs import normal, program, whole


@program(lambda r: [normal(r, 8, 4), whole(r, 3, 8)], named={0: ("b", 4), 1: ("b",)}, second=False)
def triplet(e, y):
    d = ((e[:, None] - e[None]) ** 2).sum(-1)
    same = y[:, None] == y[None]
    hp = sg.where(same, d, -1.0).max(axis=1)
    hn = sg.where(same, 1e9, d).min(axis=1)
    return sg.nn.relu(hp - sg.minimum(hn, 50.0) + 0.3).mean()


@program(
    lambda r: [
        normal(r, 9, 4),
        whole(r, 9, 25),
        whole(r, 9, 25),
        normal(r, 8, 4) / 2,
        normal(r, 4, 1),
    ],
    named={1: ("e",), 2: ("e",)},
)
def gnn(h, src, dst, w, a):
    for _ in range(2):
        msg = sg.tanh(sg.concatenate([h[src], h[dst]], axis=1) @ w)
        s = (msg @ a)[:, 0]
        ex = sg.exp(s - sg.stop_gradient(s.max()))
        z = sg.scatter_add(ex, dst, 9) + 1e-9
        al = ex / z[dst]
        h = h + sg.scatter_add(msg * al[:, None], dst, 9)
    return (h**2).mean()


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


@program(
    lambda r: [normal(r, 9, 3), whole(r, 4, 9), normal(r, 3, 2)], named={0: ("n", 3), 1: ("n",)}
)
def segment_softmax_pool(x, seg, w):
    h = sg.nn.relu(x @ w)
    mean = sg.scatter_add(h, seg, 4) / sg.maximum(
        sg.scatter_add(sg.ones_like(h[:, :1]), seg, 4), 1.0
    )
    oh = sg.one_hot(seg, 4, dtype=x.dtype)
    return (mean**2).sum() + (oh.T @ h).max()


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
