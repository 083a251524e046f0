"""Small programs that together take every way from a graph to kernels, with their gradients."""

import numpy as np

import staticgrad as sg


def value(name, *shape, dtype="float64"):
    return sg.input(name, shape, dtype)


def with_gradients(loss, *inputs):
    return sg.Graph({"loss": loss, **{f"g{n}": g for n, g in enumerate(sg.grad(loss, [*inputs]))}})


def elementwise():
    x, y = value("x", "n", 5), value("y", 5)
    return with_gradients((sg.tanh(x * y) + sg.exp(-x)).sum(), x, y)


def transposes():
    x = value("x", 9, 33)
    return sg.Graph({"t": x.T * 2.0, "u": sg.transpose(x[::-1]) + x[:, ::-2].sum()})


def rows():
    x = value("x", "n", 37)
    y = sg.nn.softmax(x) * sg.nn.layer_norm(x)
    return with_gradients((y * y).sum(), x)


def columns():
    x = value("x", 130, 6)
    y = (x - x.mean(axis=0)) / sg.sqrt(x.var(axis=0) + 1.0)
    return with_gradients((y * y * y).sum(), x)


def grouped_columns():
    x, w, b = value("x", 200, 12), value("w", 12, 7), value("b", 7)
    return with_gradients(sg.nn.softmax(sg.tanh(x @ w + b)).std(), x, w, b)


def products():
    a, b = value("a", 3, 17, 9), value("b", 3, 9, 40)
    return with_gradients(sg.nn.relu(a @ b).sum(axis=1).max(), a, b)


def thin_products():
    a, b, c = value("a", "n", 70), value("b", 70, 3), value("c", 3, "n")
    return with_gradients(((a @ b) @ c).mean(), a, b, c)


def convolutions():
    x, w = value("x", 2, 3, 9, 10, dtype="float32"), value("w", 4, 3, 3, 3, dtype="float32")
    y = sg.nn.conv2d(x, w, stride=2, padding=1)
    return with_gradients(sg.nn.max_pool2d(sg.nn.relu(y), 2).sum(), x, w)


def wide_convolutions():
    x, w = value("x", 1, 16, 7, 8, dtype="float32"), value("w", 24, 16, 3, 3, dtype="float32")
    b = value("b", 24, dtype="float32")
    y = sg.nn.relu(sg.nn.conv2d(x, w, b, padding=1))
    return with_gradients((y * y).sum(), x, w, b)


def separable_convolutions():
    x, d, p = (
        value(name, *shape, dtype="float32")
        for name, shape in (("x", (2, 8, 6, 9)), ("d", (8, 1, 3, 3)), ("p", (12, 8, 1, 1)))
    )
    y = sg.nn.conv2d(sg.nn.conv2d(x, d, groups=8, stride=(1, 2)), p)
    return with_gradients((y * y).sum(), x, d, p)


def convolutions_of_rows():
    x, w = value("x", 2, 4, 30), value("w", 6, 4, 5)
    return with_gradients((sg.nn.conv1d(x, w, dilation=2) ** 2).sum(), x, w)


def pads_and_slices():
    x = value("x", "n", 8)
    y = sg.pad(x, ((1, 2), (0, 3)))[::-1, 1::2]
    return with_gradients((sg.concatenate([y, y[:1] * 2.0]) ** 2).sum(), x)


def rolls():
    x = value("x", 11, 4)
    y = sg.roll(x, 3, axis=0) + sg.flip(x, 0) * x[:, ::-1]
    return with_gradients((y * sg.stack([x[:, 0]] * 4, axis=1)).sum(), x)


def windows():
    x = value("x", 40)
    y = (x[2:] - 2.0 * x[1:-1] + x[:-2]) ** 2
    return with_gradients((y[1:] * y[:-1]).sum(), x)


def gathers():
    table, at = value("t", 20, 6), value("i", "n", dtype="int64")
    y = table[at] * 2.0
    return with_gradients((y * y).sum(), table)


def scatters():
    x, at = value("x", "n", 3), value("i", "n", dtype="int64")
    return with_gradients(sg.zeros((12, 3), "float64").at[at].add(x * x).max(), x)


def entries():
    x, at = value("x", 40, 2), value("i", dtype="int64")
    y = x.at[at].set(x[0] * 3.0).at[-1].add(1.0)
    return with_gradients((y**3).sum(), x)


def sorts():
    x = value("x", 6, 50)
    best, at = sg.topk(x, 4)
    return sg.Graph({
        "sorted": sg.sort(x), "order": sg.argsort(x, axis=0), "best": best, "at": at,
        "middle": sg.median(x, axis=1), "edges": sg.quantile(x, np.array([0.1, 0.9]), axis=1),
    })  # fmt: skip


def sorted_gradients():
    x = value("x", 6, 21)
    return with_gradients((sg.sort(x) * np.arange(21.0)).sum() + sg.median(x), x)


def prefix_sums():
    x = value("x", 3, 35)
    return with_gradients((sg.cumsum(x, axis=1) * sg.cumprod(x, axis=0)).sum(), x)


def searches():
    x, edges = value("x", 30), value("e", 9)
    at = sg.searchsorted(edges, x)
    return sg.Graph(
        {"at": at, "first": sg.argmax(x > 0.5), "counts": sg.bincount(at, minlength=10)}
    )


def losses():
    z, y = value("z", "n", 13), value("y", "n", dtype="int64")
    return with_gradients(sg.nn.cross_entropy(z, y, label_smoothing=0.1), z)


def small_matrices():
    a = value("a", 5, 4, 4)
    spd = a @ a.transpose(0, 2, 1) + 4.0 * np.eye(4)
    loss = sg.linalg.slogdet(spd)[1].sum() + sg.linalg.cholesky(spd).sum()
    return with_gradients(loss + sg.linalg.eigh(spd)[0].max(), a)


def solutions():
    a, b = value("a", 6, 6), value("b", 6, 2)
    return with_gradients((sg.linalg.solve(a + 9.0 * np.eye(6), b) ** 2).sum(), a, b)


def fourier():
    x = value("x", 3, 24)
    return with_gradients((sg.abs(sg.fft.rfft(x)) ** 2).sum(), x)


def complex_numbers():
    z = value("z", 4, 5, dtype="complex128")
    return with_gradients(sg.abs(sg.exp(z) @ sg.conj(z).T).sum(), z)


def draws():
    x = value("x", 30, 4)
    generator = sg.random.Generator(3)
    noise = generator.normal(shape=(30, 4), dtype="float64")
    return with_gradients(sg.where(noise > 0, x * noise, 0.0).sum(), x)


def masks():
    x, m = value("x", 7, 9), value("m", 7, 7, dtype="bool")
    y = sg.where(sg.pad(m, ((0, 0), (1, 1))), x, 2.0 * x)
    return with_gradients((y * y).sum(), x)


def attention():
    q, k, v = (value(n, 2, 3, 10, 8, dtype="float32") for n in "qkv")
    y = sg.nn.attention(q, k, v, causal=True)
    return with_gradients((y * y).sum(), q, k, v)


def narrow_numbers():
    x = value("x", 20, 9, dtype="float16")
    return with_gradients(sg.nn.softmax(x * x).astype("float32").max(axis=1).sum(), x)


def integers():
    x = value("x", 19, dtype="int8")
    return sg.Graph({"q": x // 3, "r": x % 5, "s": (x << 1).sum(), "b": (x > 2) & (x < 9)})


def scan(reverse=False):
    x, h = value("x", 6, 5), value("h", 5)
    last, ys = sg.scan(lambda c, s: (sg.tanh(c + s), c * s), h, x, reverse=reverse)
    return with_gradients((ys * ys).sum() + last.sum(), x, h)


def scan_in_scan(reverse=True):
    x, z = value("x", 4, 40), value("z", 40)

    def row(carry, s):
        _, y = sg.scan(lambda c, q: (sg.tanh(c + q), c * q), carry[0], carry * s, reverse=reverse)
        return sg.roll(carry + y, 1, axis=0), y

    carry, ys = sg.scan(row, z, x, reverse=True)
    return with_gradients((ys * ys).sum() + carry.sum(), x, z)


def rows_of_scans():
    x, e, z = value("x", 2, 6, 3), value("e", 2, 6, 3), value("z", 6, 3)

    def cell(c, s):
        below = sg.logaddexp(s[0], c + s[1])
        return below, below

    def row(a, s):
        up = a + s[0]
        _, y = sg.scan(cell, up[0], (up, s[1]))
        return y, None

    y, _ = sg.scan(row, z, (x, e))
    return with_gradients((y * y).sum(), e, z)


def recurrent():
    x, w, u = value("x", 7, 4, 5), value("w", 5, 6), value("u", 6, 6)
    h0 = sg.zeros((4, 6), "float64")
    _, hs = sg.scan(lambda h, s: (lambda n: (n, n))(sg.tanh(s @ w + h @ u)), h0, x)
    return with_gradients((hs * hs).mean(), x, w, u)


def long_scan():
    x = value("x", "n", 2)
    _, ys = sg.scan(lambda c, s: (0.9 * c + s, c[::-1]), sg.zeros((2,), "float64"), x)
    return with_gradients((ys**2).sum(), x)


def while_loop():
    x = value("x", 8)
    y = sg.while_loop(lambda v: (v * v).sum() < 100.0, lambda v: v * 1.5 + 0.1, x)
    return sg.Graph({"y": y})


def fori_loop():
    x = value("x", 6, 4)
    y = sg.fori_loop(0, 5, lambda i, v: v.at[i].add(v[5 - i] * 0.5), x)
    return with_gradients((y * y).sum(), x)


def branches():
    x, which = value("x", 5), value("w", dtype="bool")
    y = sg.cond(which, lambda v: sg.sin(v).sum(), lambda v: (v * v).sum(), x)
    return with_gradients(y, x)


def filters():
    x, a = value("x", 3, 50), value("a", 2)
    _, ys = sg.scan(lambda c, s: (s - a[0] * c, c * a[1]), x[:, 0] * 0.0, x.T)
    return with_gradients((ys * ys).sum(), x, a)


def updates():
    w, m = (sg.parameter(n, np.ones((5, 6))) for n in "wm")
    x = value("x", "n", 5)
    g = sg.grad(((x @ w) ** 2).mean(), w)
    return sg.Graph({"s": w.sum()}, updates={m: 0.9 * m + g, w: w[::-1] - 0.1 * m})


def second_derivatives():
    x = value("x", 6)
    loss = (sg.exp(x[1:] - x[:-1]) * x[1:]).sum()
    return sg.Graph({"h": sg.jacobian(sg.grad(loss, x), x)})


PROGRAMS = {
    program.__name__.replace("_", " "): program
    for program in (
        elementwise, transposes, rows, columns, grouped_columns, products, thin_products,
        convolutions, wide_convolutions,
        separable_convolutions, convolutions_of_rows, pads_and_slices, rolls, windows, gathers,
        scatters,
        entries, sorts, sorted_gradients, prefix_sums, searches, losses, small_matrices, solutions,
        fourier, complex_numbers, draws, masks, attention, narrow_numbers, integers, scan,
        scan_in_scan, rows_of_scans, recurrent, long_scan, while_loop, fori_loop, branches,
        filters, updates, second_derivatives,
    )
}  # fmt: skip
#: Values of named sizes at which plans are proved.
SIZES = (1, 2, 5, 40)
