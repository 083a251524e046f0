"""Steps of random programs over windows, matrices and special functions.

Matrices are well conditioned by construction: a Gram matrix of numbers within 1, over their count,
plus a diagonal; where eigenvalues must be apart, the diagonal grows by 3 from row to row.
"""

import staticgrad as sg
from tests.random_graphs import Entry

# -- windows ---------------------------------------------------------------------------------------


def _image(b):
    """Numbers within 1 as [n, c, places] or [n, c, places, places]; None where nothing fits."""
    entry = b.any_of(lambda value: value.dtype.is_float and value.ndim > 0)
    if entry is None:
        return None
    x = sg.tanh(entry.value)
    if x.ndim == 1:
        return x[None, None]
    if x.ndim == 2:
        return x[:, None]
    return x if isinstance(x.shape[1], int) and b.chooser.integer(0, 1) else x[:, None]


def _filter(b, x, shape):
    """A filter that depends on the program, so that gradients go through it."""
    numbers = sg.constant(b.numbers.uniform(-1, 1, shape)).astype(x.dtype.name)
    other = b.floating()
    return numbers * sg.sin(other.value).sum().astype(x.dtype.name) if other else numbers


def _convolved(b):
    x = _image(b)
    if x is None:
        return None
    places, channels = x.ndim - 2, int(x.shape[1])
    pick = b.chooser
    groups = channels if pick.integer(0, 2) == 2 else 1
    taps = tuple(pick.choice((3, 1, 2, 5)) for _ in range(places))
    stride, dilation = pick.choice((1, 1, 2, 3)), pick.choice((1, 1, 2))
    outputs = groups * pick.choice((1, 2, 3))
    w = _filter(b, x, (outputs, channels // groups, *taps))
    y = sg.nn.conv(x, w, stride=stride, dilation=dilation, padding="same", groups=groups)
    return Entry(sg.sum(y, 1) * 0.125, 99.0)


def _spread(b):
    x = _image(b)
    if x is None:
        return None
    taps = (b.chooser.choice((2, 3, 1)),) * (x.ndim - 2)
    w = _filter(b, x, (int(x.shape[1]), b.chooser.choice((1, 2)), *taps))
    y = sg.nn.conv_transpose(x, w, stride=b.chooser.choice((1, 2, 3)))
    return Entry(sg.sum(y, 1) * 0.125, 99.0)


def _pooled(b):
    x = _image(b)
    if x is None:
        return None
    size, stride = b.chooser.choice((2, 3, 1)), b.chooser.choice((1, 2, 3))
    kinds = (
        lambda: sg.nn.avg_pool(x, size, stride=stride, padding="same", count_include_pad=False),
        lambda: sg.nn.unfold(x, size, stride=stride, padding="same")[..., 0],
        lambda: sg.nn.max_pool(x, size, stride=stride, padding="same"),
        lambda: sg.nn.lp_pool(x, 2, size, stride=stride, padding="same"),
    )
    y = b.chooser.choice(kinds[:1] if b.smooth else kinds)()
    return Entry(sg.sum(y, 1) * 0.125, 99.0)


def _matrix(b):
    """Symmetric and positive definite matrices of a literal size."""
    entry = b.any_of(
        lambda value: value.dtype.is_float and value.ndim > 1 and isinstance(value.shape[-2], int)
    )
    if entry is None:
        return None
    x = sg.tanh(entry.value)
    n = int(x.shape[-2])
    gram = x @ sg.swapaxes(x, -1, -2) * 0.0625
    return gram + sg.diag(sg.arange(float(n)) * 3.0 + 2.0).astype(x.dtype.name)


def _factored(b):
    a = _matrix(b)
    if a is None:
        return None
    linalg = sg.linalg
    kinds = (
        lambda: linalg.cholesky(a) * 0.125,
        lambda: linalg.inv(a),
        lambda: linalg.solve(a, sg.sin(a)),
        lambda: linalg.slogdet(a)[1],
        lambda: linalg.eigvalsh(a) * 0.125,
        lambda: linalg.eigh(a)[1] ** 2,
        lambda: linalg.svdvals(a) * 0.125,
        lambda: linalg.qr(a)[0] ** 2,
        lambda: linalg.solve_triangular(linalg.cholesky(a), a, lower=True) * 0.125,
        lambda: linalg.expm(a * -0.25),
        lambda: linalg.matrix_power(a * 0.125, 3) * 0.125,
        lambda: linalg.norm(a, axis=(-2, -1)) * 0.125,
    )
    return Entry(b.chooser.choice(kinds)(), 50.0)


SPECIAL = (
    (lambda x: sg.special.gammaln(x * x + 2.5), 100.0),
    (lambda x: sg.special.digamma(x * x + 2.0), 10.0),
    (lambda x: sg.special.polygamma(1, x * x + 1.0), 2.0),
    (lambda x: sg.special.ndtr(x), 1.0),
    (lambda x: sg.special.log_ndtr(sg.tanh(x)), 3.0),
    (lambda x: sg.special.ndtri(sg.sigmoid(sg.tanh(x))), 1.0),
    (lambda x: sg.special.erfinv(sg.tanh(x) * 0.75), 1.0),
    (lambda x: sg.special.erfcx(sg.tanh(x)), 6.0),
    (lambda x: sg.special.i0e(x), 1.0),
    (lambda x: sg.special.i1e(x), 1.0),
    (lambda x: sg.special.lambertw(x * x), 50.0),
    (lambda x: sg.special.entr(x * x + 0.5), 100.0),
    (lambda x: sg.special.logit(sg.sigmoid(sg.tanh(x)) * 0.75), 3.0),
    (lambda x: sg.special.expit(x), 1.0),
    (lambda x: sg.special.gammainc(1.5, x * x + 0.25), 1.0),
    (lambda x: sg.special.gammaincc(2.5, x * x + 0.25), 1.0),
    (lambda x: sg.special.betainc(1.5, 2.5, sg.sigmoid(sg.tanh(x))), 1.0),
    (lambda x: sg.special.zeta(2.5, x * x + 1.0), 2.0),
    (lambda x: sg.special.xlog1py(sg.tanh(x), x * x + 0.5), 20.0),
)


def _special(b):
    entry = b.floating()
    if entry is None:
        return None
    function, bound = b.chooser.choice(SPECIAL)
    return Entry(function(entry.value), bound)


#: As ``random_steps.STEPS``.
LIBRARY = {
    "convolution": (_convolved, 1, True),
    "transposed convolution": (_spread, 1, True),
    "pool": (_pooled, 1, True),
    "matrix": (_factored, 1, True),
    "special": (_special, 2, True),
}
