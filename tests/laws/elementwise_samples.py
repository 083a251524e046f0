"""Samples of the elementwise ops: special values in pairs, every dtype, broadcast shapes."""

from dataclasses import replace

import numpy as np

from staticgrad.language.ir.op import op_class
from staticgrad.language.types.dtype import ALL_DTYPES, BOOL, F64
from tests.helpers.limits import finfo
from tests.laws.samples import Sample, provides

FLOATS = tuple(d for d in ALL_DTYPES if d.is_float)
INTEGERS = tuple(d for d in ALL_DTYPES if d.is_integer)


def special(dtype):
    """Values of ``dtype`` at which arithmetic goes wrong, and a few ordinary ones."""
    if dtype.is_bool:
        return np.array([False, True])
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        near = [0, 1, 2, 3, 7, info.max, info.max - 1, info.max // 2, info.max // 2 + 1]
        return np.array(
            [*near, *([-1, -2, -7, info.min, info.min + 1] if info.min else [])], dtype.numpy
        )
    info = finfo(dtype.numpy)
    sizes = [
        0.0,
        0.25,
        0.5,
        1.0,
        1.5,
        2.0,
        2.5,
        3.0,
        10.3,
        88.0,
        127.5,
        255.0,
        300.0,
        32768.0,
        65536.5,
    ]
    sizes += [2.0**31, 2.0**32, 2.0**62, 2.0**63, 2.0**64, 1e30]
    sizes += [info.max, info.tiny, info.smallest_subnormal, info.eps, 1.0 + info.eps, np.inf]
    with np.errstate(over="ignore"):
        positive = np.array(sizes).astype(dtype.numpy)
    return np.concatenate([positive, -positive, np.array([np.nan], dtype.numpy)])


def in_pairs(op, dtypes, tolerance=1e-6):
    """Every pair of special values, then 0-d, empty and one-element operands."""
    for dtype in dtypes:
        values = special(dtype)
        yield Sample(op, (values[:, None], values), tolerance=tolerance)
        ones = np.ones((), dtype.numpy)
        yield Sample(op, (ones, ones), tolerance=tolerance)
        yield Sample(op, (np.ones((0, 3), dtype.numpy), np.ones((1, 3), dtype.numpy)))
        yield Sample(op, (np.ones((1,), dtype.numpy), np.ones((2, 1, 1), dtype.numpy)))


def in_line(op, dtypes, tolerance=1e-6):
    """The special values, then 0-d, empty and one-element operands."""
    for dtype in dtypes:
        yield Sample(op, (special(dtype),), tolerance=tolerance)
        for shape in ((), (0,), (1,), (2, 0, 3)):
            yield Sample(op, (np.ones(shape, dtype.numpy),), tolerance=tolerance)


def smooth_pairs(op, rng, low=-2.0, high=2.0):
    """Float64 operands in [low, high), away from kinks and from each other."""
    shapes = (((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 3), (4, 1)), ((), (5,)), ((1,), (1,)))
    for left, right in shapes:
        x, y = smooth(rng, left, low, high), smooth(rng, right, low, high)
        yield Sample(op, (x, y + 0.11), smooth=True)


def smooth_line(op, rng, low=-2.0, high=2.0):
    """One float64 operand in [low, high), away from kinks."""
    for shape in ((3, 4), (), (1,), (2, 1, 3)):
        yield Sample(op, (smooth(rng, shape, low, high),), smooth=True)


def smooth(rng, shape, low, high):
    """Random points of a grid that keeps 0.07 away from whole numbers and halves."""
    steps = rng.integers(int(np.ceil((low - 0.3) * 5)), int((high - 0.3) * 5), shape)
    return np.asarray(0.3 + steps / 5 - np.where(steps % 5 == 1, 0.07, 0.0))


#: Op -> dtypes, and the interval in which its derivatives are checked.
BINARY = {
    "add": (ALL_DTYPES, -2.0, 2.0),
    "sub": ((*INTEGERS, *FLOATS), -2.0, 2.0),
    "mul": (ALL_DTYPES, -2.0, 2.0),
    "div": (FLOATS, 0.5, 3.0),
    "pow": (FLOATS, 0.3, 3.0),
    "maximum": (ALL_DTYPES, -2.0, 2.0),
    "minimum": (ALL_DTYPES, -2.0, 2.0),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), (ALL_DTYPES, -2.0, 2.0)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), ((BOOL,), 0.0, 0.0)),
    "int_pow": (INTEGERS, 0.0, 0.0),
    **dict.fromkeys(("bit_and", "bit_or", "bit_xor"), (INTEGERS, 0.0, 0.0)),
    **dict.fromkeys(("left_shift", "right_shift"), (INTEGERS, 0.0, 0.0)),
    **dict.fromkeys(("at_least", "at_most"), (ALL_DTYPES, -2.0, 2.0)),
    "atan2": (FLOATS, 0.3, 3.0),
    **dict.fromkeys(("hypot", "logaddexp"), (FLOATS, -3.0, 3.0)),
    **dict.fromkeys(("xlogy", "xlog1py", "rel_entr", "kl_div"), (FLOATS, 0.4, 3.0)),
    "floor_divide": ((*INTEGERS, *FLOATS), 0.0, 0.0),
}
UNARY = {
    "neg": ((*INTEGERS, *FLOATS), -2.0, 2.0),
    "abs": (ALL_DTYPES, -2.0, 2.0),
    "sign": ((*INTEGERS, *FLOATS), -2.0, 2.0),
    **dict.fromkeys(("floor", "ceil", "trunc", "rint"), (ALL_DTYPES, -2.0, 2.0)),
    "logical_not": ((BOOL,), 0.0, 0.0),
    "bit_not": (INTEGERS, 0.0, 0.0),
    "stop_gradient": (ALL_DTYPES, 0.0, 0.0),
    "checkpoint": (ALL_DTYPES, -2.0, 2.0),
    "exp": (FLOATS, -3.0, 3.0),
    "expm1": (FLOATS, -3.0, 3.0),
    "log": (FLOATS, 0.2, 4.0),
    "log1p": (FLOATS, -0.6, 4.0),
    "sqrt": (FLOATS, 0.2, 4.0),
    "sin": (FLOATS, -4.0, 4.0),
    "cos": (FLOATS, -4.0, 4.0),
    "tanh": (FLOATS, -3.0, 3.0),
    "sigmoid": (FLOATS, -6.0, 6.0),
    "erf": (FLOATS, -2.5, 2.5),
    **dict.fromkeys(("exp2", "sinh", "cosh", "ndtr", "log_ndtr", "i0"), (FLOATS, -3.0, 3.0)),
    **dict.fromkeys(("log2", "log10"), (FLOATS, 0.2, 4.0)),
    "cbrt": (FLOATS, 0.3, 4.0),
    "tan": (FLOATS, -1.2, 1.2),
    **dict.fromkeys(("asin", "acos", "atanh", "erfinv"), (FLOATS, -0.8, 0.8)),
    **dict.fromkeys(("atan", "asinh"), (FLOATS, -4.0, 4.0)),
    "acosh": (FLOATS, 1.3, 4.0),
    "erfc": (FLOATS, -2.5, 2.5),
    "ndtri": (FLOATS, 0.03, 0.97),
    "signbit": (FLOATS, 0.0, 0.0),
    **dict.fromkeys(("gamma", "i0e", "i1", "i1e", "entr"), (FLOATS, 0.4, 3.0)),
    **dict.fromkeys(("gammaln", "digamma"), (FLOATS, 0.4, 6.0)),
    "erfcx": (FLOATS, -1.5, 3.0),
    "logit": (FLOATS, 0.2, 0.8),
}
#: Of float32 and of float64, where terms cancel or SciPy rounds more.
TOLERANCE = {
    "logaddexp": (1e-5, 1e-14),
    "tan": (2e-6, 1e-14),
    "gamma": (1e-6, 2e-14),
    "gammaln": (2e-6, 1e-13),
    "digamma": (1e-5, 1e-13),
    "log_ndtr": (2e-6, 2e-14),
    "kl_div": (2e-6, 1e-13),
}


def _table_entry(name, dtypes, low, high, at, smooth_at):
    def provider(rng):
        op, (rough, wide) = op_class(name)(), TOLERANCE.get(name, (1e-6, 1e-14))
        yield from (replace(sample, wide=wide) for sample in at(op, dtypes, rough))
        if low < high:
            yield from smooth_at(op, rng, low, high)

    provides(name)(provider)


for _name, _entry in BINARY.items():
    _table_entry(_name, *_entry, in_pairs, smooth_pairs)
for _name, _entry in UNARY.items():
    _table_entry(_name, *_entry, in_line, smooth_line)


@provides("checkpoint_name")
def _checkpoint_name(rng):
    yield from in_line(op_class("checkpoint_name")("a name"), ALL_DTYPES)
    yield from smooth_line(op_class("checkpoint_name")("h"), rng, -2.0, 2.0)


@provides("again")
def _again(rng):
    yield from in_line(op_class("again")(), ALL_DTYPES)
    yield from smooth_line(op_class("again")(2), rng, -2.0, 2.0)


@provides("integer_pow")
def _integer_pow(rng):
    for exponent in (0, 1, 2, 3, 4, 5, 7, 13, 64):
        op = op_class("integer_pow")(exponent)
        yield from in_line(op, (*INTEGERS, *FLOATS))
    for exponent in (-1, -2, -3, -6):
        yield from in_line(op_class("integer_pow")(exponent), FLOATS)
    for exponent in (-3, -2, -1, 0, 1, 2, 3, 6):
        yield from smooth_line(op_class("integer_pow")(exponent), rng, 0.5, 2.0)


@provides("flat_power")
def _flat_power(rng):
    for exponent in (0.5, -0.5, 1.5, -1.5, 1.0 / 3.0, -2.0 / 3.0):
        op = op_class("flat_power")(exponent)
        yield from (replace(sample, wide=1e-14) for sample in in_line(op, FLOATS))
        yield from smooth_line(op, rng, 0.5, 3.0)


@provides("where")
def _where(rng):
    op = op_class("where")()
    for dtype in ALL_DTYPES:
        values = special(dtype)
        yield Sample(op, (np.array([[[True]], [[False]]]), values[:, None], values))
        yield Sample(op, (np.array(True), values[0], values[-1]))
        yield Sample(op, (np.ones((0, 2), bool), values[:1], values[:1, None]))
    for condition, left, right in (
        ((3, 4), (3, 4), (3, 4)),
        ((4,), (3, 4), (3, 1)),
        ((3, 1), (4,), ()),
        ((), (2,), (2,)),
    ):
        chosen = rng.integers(0, 2, condition).astype(bool)
        x, y = smooth(rng, left, -2.0, 2.0), smooth(rng, right, -2.0, 2.0)
        yield Sample(op, (chosen, x, y), smooth=True)


@provides("multiply_add")
def _multiply_add(rng):
    op = op_class("multiply_add")()
    for dtype in FLOATS:
        values = special(dtype)
        yield Sample(op, (values[:, None], values, values[::-1]))
        yield Sample(op, (values[0], values[-1], values[1]))
        yield Sample(op, (np.ones((0, 2), dtype.numpy), values[:1], values[:1, None]))
    for shapes in (((3, 4), (3, 4), (3, 4)), ((4,), (3, 4), (3, 1)), ((), (2,), (2,))):
        yield Sample(op, tuple(smooth(rng, shape, -2.0, 2.0) for shape in shapes), smooth=True)


@provides("cast")
def _cast(rng):
    for source in ALL_DTYPES:
        for target in ALL_DTYPES:
            op = op_class("cast")(target)
            yield Sample(op, (special(source),))
            yield Sample(op, (special(source)[1],))
            yield Sample(op, (np.ones((0, 2), source.numpy),))
    for target in (F64, BOOL, ALL_DTYPES[1]):
        yield from smooth_line(op_class("cast")(target), rng)


@provides("bitcast")
def _bitcast(rng):
    wide = [
        dtype for dtype in ALL_DTYPES if not dtype.is_bool and dtype.code not in ("f16", "bf16")
    ]
    for source in wide:
        for target in wide:
            if source.bits == target.bits:
                yield Sample(op_class("bitcast")(target), (special(source),))
                yield Sample(op_class("bitcast")(target), (np.ones((0, 2), source.numpy),))


@provides("size")
def _size(rng):
    for size in (0, 1, 5, 127):
        for dtype in ALL_DTYPES:
            yield Sample(op_class("size")(size, dtype), ())


def _remains(name):
    """Smooth where x / y is not a whole number: there both derivatives are constant."""

    def provider(rng):
        op = op_class(name)()
        yield from in_pairs(op, (*INTEGERS, *FLOATS))
        for shape in ((3, 4), (), (1,)):
            y = rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape)
            quotient = rng.integers(-4, 4, shape)
            yield Sample(op, (y * (quotient + rng.uniform(0.2, 0.8, shape)), y), smooth=True)

    return provider


@provides("relu")
def _relu(rng):
    op = op_class("relu")()
    yield from in_line(op, (*INTEGERS, *FLOATS), 1e-6)
    yield from smooth_line(op, rng, 0.3, 3.0)
    yield from smooth_line(op, rng, -3.0, -0.3)


for _name in ("remainder", "fmod"):
    provides(_name)(_remains(_name))
