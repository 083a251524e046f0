"""Samples of the ops of ``sg.special``: special values, and smooth points inside the domains."""

from dataclasses import replace

import numpy as np

from staticgrad.language.ir.op import op_class
from staticgrad.language.types.dtype import F64
from tests.helpers.limits import finfo
from tests.laws.elementwise_samples import FLOATS, in_line, in_pairs, smooth_line
from tests.laws.samples import Sample, declare, provides

#: Op -> what it is; their samples are those of other elementwise ops.
SPELLED = {
    "gamma": "scipy.special.gamma(x)",
    "gammaln": "gammaln(x)",
    "digamma": "scipy.special.digamma(x)",
    "erfinv": "scipy.special.erfinv(x)",
    "erfcx": "scipy.special.erfcx(x)",
    "ndtr": "scipy.special.ndtr(x)",
    "log_ndtr": "scipy.special.log_ndtr(x)",
    "i0": "np.where(np.isinf(x), np.inf, scipy.special.i0(x))",
    "i0e": "scipy.special.i0e(x)",
    "i1": "halve_tiny(x, np.where(np.isinf(x), x, scipy.special.i1(x.astype(float))))",
    "i1e": "halve_tiny(x, scipy.special.i1e(x.astype(float)))",
    "entr": "scipy.special.entr(x)",
    "logit": "scipy.special.logit(x)",
    "xlog1py": "scipy.special.xlog1py(x, y)",
    "rel_entr": "scipy.special.rel_entr(x, y)",
    "kl_div": "no sum whose terms cancel alike",
}
for _name, _text in SPELLED.items():
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
declare("gammainc", "scipy.special.gammainc(cap_operand(x, y), y).astype(y.dtype)")
declare("gammaincc", "scipy.special.gammaincc(cap_operand(x, y), y).astype(y.dtype)")
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


#: Functions of the op, and the interval in which derivatives are compared with differences.
CALLED = {
    "j0": (0.3, 9.0), "y1": (0.5, 9.0), "k1e": (0.4, 9.0), "dawsn": (-3.0, 3.0),
    "expi": (0.3, 3.0), "ellipk": (0.05, 0.45), "airy_ai": (-3.0, 2.0),
    "lambertw_upper": (0.2, 5.0), "fresnel_s": (-2.0, 2.0), "rgamma": (0.3, 4.0),
    "spence": (0.6, 3.0),
}  # fmt: skip
#: The same of functions of an order.
ORDERED = {"jv": (0.4, 9.0), "iv": (0.4, 4.0), "kv": (0.4, 4.0), "hyp0f1": (0.3, 3.0)}
_ODD = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 5e-324, np.finfo(float).max, np.inf, -np.inf, np.nan])


@provides("special")
def _(rng):
    kind = op_class("special")
    for name, (low, high) in CALLED.items():
        yield Sample(kind(name), (_ODD,))
        yield Sample(kind(name), (rng.uniform(low, high, (2, 3)),), smooth=True)
    yield Sample(kind("j0"), (np.ones((0, 3)),))
    yield Sample(kind("wofz_real"), (_ODD[:, None], _ODD))
    for x, m in smooth_operands(rng):
        yield Sample(kind("ellipkinc"), (x * 0.4, m * 0.2), smooth=True)
        yield Sample(kind("owens_t"), (x, m), smooth=True)
        yield Sample(kind("wofz_imag"), (x, m), smooth=True)
    x = rng.uniform(0.3, 2.0, (3, 4))
    yield Sample(kind("voigt_profile"), (x, x[0] + 0.2, x[:, :1]), smooth=True)


@provides("special_of_order")
def _(rng):
    kind = op_class("special_of_order")
    for name, (low, high) in ORDERED.items():
        yield Sample(kind(name), (_ODD[:, None], _ODD))
        yield Sample(
            kind(name), (np.array([0.7, 2.0, 3.0]), rng.uniform(low, high, 3)), smooth=True
        )
    yield Sample(kind("eval_legendre"), (np.arange(4.0)[:, None], np.linspace(-0.9, 0.9, 5)))
    yield Sample(
        kind("hyp2f1"),
        (np.ones(3), np.ones(3) / 2, np.ones(3) * 2, np.linspace(-1, 1, 3)),
        refused=(0, 1, 2),
    )
    for shape in ((), (0,), (2, 0, 3)):
        yield Sample(kind("jv"), (np.ones(shape), np.ones(shape)))


def _rows(kind, *names):
    def at_size(n):
        for name in names:
            operands = [np.linspace(0.3, 2.0, 2 * n).reshape(2, n)] * (1 + (name == "jv"))
            yield Sample(op_class(kind)(name), tuple(operands))

    return at_size


_SPELLED = "special_function(op.function)(*operands)"
declare("special", _SPELLED, ("f",), _rows("special", "j0", "ellipk"))
declare("special_of_order", _SPELLED, ("f",), _rows("special_of_order", "jv"), refused=(0,))
