"""Samples of the ops of ``sg.special``: special values, and smooth points inside the domains."""

from dataclasses import replace

import numpy as np

from staticgrad.ir.op import op_class
from staticgrad.types.dtype import F64
from tests.limits import finfo
from tests.ops.elementwise_samples import FLOATS, in_line, in_pairs, smooth_line, smooth_pairs
from tests.ops.samples import Sample, declare, provides

#: Op -> what it is, and the interval in which its derivatives are checked.
UNARY = {
    "gamma": ("scipy.special.gamma(x)", 0.4, 3.0),
    "gammaln": ("gammaln(x)", 0.4, 6.0),
    "digamma": ("scipy.special.digamma(x)", 0.4, 6.0),
    "erfinv": ("scipy.special.erfinv(x)", -0.8, 0.8),
    "erfcx": ("scipy.special.erfcx(x)", -1.5, 3.0),
    "ndtr": ("scipy.special.ndtr(x)", -3.0, 3.0),
    "log_ndtr": ("scipy.special.log_ndtr(x)", -3.0, 3.0),
    "i0": ("np.where(np.isinf(x), np.inf, scipy.special.i0(x))", -3.0, 3.0),
    "i0e": ("scipy.special.i0e(x)", 0.4, 3.0),
    "i1": ("halved(x, np.where(np.isinf(x), x, scipy.special.i1(x.astype(float))))", 0.4, 3.0),
    "i1e": ("halved(x, scipy.special.i1e(x.astype(float)))", 0.4, 3.0),
    "entr": ("scipy.special.entr(x)", 0.4, 3.0),
    "logit": ("scipy.special.logit(x)", 0.2, 0.8),
    "lambertw": ("lambertw(x)", -0.1, 3.0),
}
BINARY = {
    "xlog1py": ("scipy.special.xlog1py(x, y)", 0.4, 3.0),
    "rel_entr": ("scipy.special.rel_entr(x, y)", 0.4, 3.0),
    "kl_div": ("no sum whose terms cancel alike", 0.4, 3.0),
}
#: Where terms cancel in float32 and float64, or SciPy rounds more.
TOLERANCE = {
    "gamma": (1e-6, 2e-14),
    "gammaln": (2e-6, 1e-13),
    "digamma": (1e-5, 1e-13),
    "log_ndtr": (2e-6, 2e-14),
    "kl_div": (2e-6, 1e-13),
}


def _unary(name):
    def provider(rng):
        op, (_, low, high) = op_class(name)(), UNARY[name]
        tolerance, wide = TOLERANCE.get(name, (1e-6, 1e-14))
        yield from (replace(s, wide=wide) for s in in_line(op, FLOATS, tolerance))
        yield from smooth_line(op, rng, low, high)

    return provider


def _binary(name):
    def provider(rng):
        op, (_, low, high) = op_class(name)(), BINARY[name]
        tolerance, wide = TOLERANCE.get(name, (1e-6, 1e-14))
        yield from (replace(s, wide=wide) for s in in_pairs(op, FLOATS, tolerance))
        yield from smooth_pairs(op, rng, low, high)

    return provider


for _name, (_text, _, _) in UNARY.items():
    provides(_name)(_unary(_name))
    declare(_name, _text)
for _name, (_text, _, _) in BINARY.items():
    provides(_name)(_binary(_name))
    declare(_name, _text)


def smooth_operands(rng):
    """Pairs of positive operands of shapes that broadcast."""
    for left, right in (((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 3), (4, 1)), ((), (5,))):
        yield rng.uniform(0.4, 4.0, left), rng.uniform(0.4, 4.0, right)


@provides("polygamma")
def _(rng):
    for order in (1, 3, 5):  # below 0 the terms of even orders cancel
        op = op_class("polygamma")(order)
        yield from (replace(s, wide=2e-14) for s in in_line(op, FLOATS))
        yield from smooth_line(op, rng, 0.4, 6.0)


@provides("zeta")
def _(rng):
    op = op_class("zeta")()
    # Of results that nearly underflow the last terms have few digits.
    yield from (replace(s, wide=1e-6) for s in in_pairs(op, FLOATS))
    for s, q in smooth_operands(rng):
        yield Sample(op, (s + 1.1, q), smooth=True)


declare("polygamma", "polygamma(x, op.order)")
declare("zeta", "zeta(x, y)", refused=(0,))


#: Numbers of every kind, those at which a function of two parameters is not slow.
EVERY = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 10.3, 88.0, 255.0, np.inf)


def _every(dtype):
    info = finfo(dtype.numpy)
    # Of the smallest float64 SciPy's functions are wrong: the smallest float32 stands for them.
    small = float(
        np.finfo(np.float32).smallest_subnormal if dtype is F64 else info.smallest_subnormal
    )
    sizes = np.array([*EVERY, float(info.max), small]).astype(dtype.numpy)
    return np.concatenate([sizes, -sizes, np.array([np.nan], dtype.numpy)])


def _incomplete(name, rough=1e-5, wide=1e-12):
    @provides(name)
    def _(rng):
        op = op_class(name)()
        for dtype in FLOATS:
            values = _every(dtype)
            if name == "betaln":  # whose result at 1 and 1 is the rounding of a small number
                values = values[values != 1]
            yield Sample(op, (values[:, None], values), tolerance=rough, wide=wide)
            yield Sample(op, (np.ones((), dtype.numpy), np.ones((2, 0), dtype.numpy)))
        denormals = (
            [[-1.0, 5e-324], [5e-324, -1.0]]
            if name == "betaln"
            else [[2.0, 5e-324], [5e-324, -1.0]]
        )
        yield Sample(op, tuple(map(np.array, denormals)))
        for a, x in smooth_operands(rng):
            yield Sample(op, (a, x), smooth=True, wide=wide)


_incomplete("gammainc")
_incomplete("gammaincc")
_incomplete("betaln")
declare("gammainc", "scipy.special.gammainc(capped(x, y), y).astype(y.dtype)")
declare("gammaincc", "scipy.special.gammaincc(capped(x, y), y).astype(y.dtype)")
declare("betaln", "betaln(x, y)")


@provides("betainc")
def _(rng):
    op = op_class("betainc")()
    for dtype in FLOATS:
        values, ones = _every(dtype), np.ones((), dtype.numpy)
        some = np.array([0.0, 0.25, 0.75, 1.0], dtype.numpy)[:, None]
        for at in ((values, 2 * ones, some), (ones / 2, values, some), (ones, 3 * ones, values)):
            yield Sample(op, at, tolerance=1e-5, wide=1e-12)
        yield Sample(op, (ones, ones, np.ones((2, 0), dtype.numpy)))
    least = 5e-324
    denormals = [[2.0, least, 2.0], [2.0, 2.0, least], [least, -1.0, -1.0]]
    yield Sample(op, tuple(map(np.array, denormals)))
    for a, b in smooth_operands(rng):
        yield Sample(op, (a, b, rng.uniform(0.1, 0.9, np.shape(a))), smooth=True, wide=1e-12)


declare("betainc", "betainc(x, y, z)", refused=(0, 1))
