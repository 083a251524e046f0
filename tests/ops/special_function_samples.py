"""Samples of the elementwise ops beyond arithmetic: angles, hyperbolics, division, signs."""

from staticgrad.ir.op import op_class
from staticgrad.types.dtype import ALL_DTYPES
from tests.ops.elementwise_samples import (
    FLOATS,
    INTEGERS,
    in_line,
    in_pairs,
    smooth_line,
    smooth_pairs,
)
from tests.ops.samples import Sample, provides

#: Op -> the interval in which its derivatives are checked.
UNARY = {
    "exp2": (-3.0, 3.0),
    "log2": (0.2, 4.0),
    "log10": (0.2, 4.0),
    "cbrt": (0.3, 4.0),
    "tan": (-1.2, 1.2),
    "asin": (-0.8, 0.8),
    "acos": (-0.8, 0.8),
    "atan": (-4.0, 4.0),
    "sinh": (-3.0, 3.0),
    "cosh": (-3.0, 3.0),
    "asinh": (-4.0, 4.0),
    "acosh": (1.3, 4.0),
    "atanh": (-0.8, 0.8),
    "erfc": (-2.5, 2.5),
    "ndtri": (0.03, 0.97),
    "signbit": (0.0, 0.0),
}
BINARY = {
    "atan2": (FLOATS, 0.3, 3.0),
    "hypot": (FLOATS, -3.0, 3.0),
    "logaddexp": (FLOATS, -3.0, 3.0),
    "xlogy": (FLOATS, 0.4, 3.0),
    "floor_divide": ((*INTEGERS, *FLOATS), 0.0, 0.0),
    "left_shift": (INTEGERS, 0.0, 0.0),
    "right_shift": (INTEGERS, 0.0, 0.0),
    "at_least": (ALL_DTYPES, -2.0, 2.0),
    "at_most": (ALL_DTYPES, -2.0, 2.0),
}
#: Where the float32 result is the small difference of large terms.
TOLERANCE = {"logaddexp": 1e-5, "tan": 2e-6}


def _unary(name):
    def provider(rng):
        op, (low, high) = op_class(name)(), UNARY[name]
        yield from in_line(op, FLOATS, TOLERANCE.get(name, 1e-6))
        if low < high:
            yield from smooth_line(op, rng, low, high)

    return provider


def _binary(name):
    def provider(rng):
        op, (dtypes, low, high) = op_class(name)(), BINARY[name]
        yield from in_pairs(op, dtypes, TOLERANCE.get(name, 1e-6))
        if low < high:
            yield from smooth_pairs(op, rng, low, high)

    return provider


for _name in UNARY:
    provides(_name)(_unary(_name))
for _name in BINARY:
    provides(_name)(_binary(_name))


def _remains(name):
    """Smooth where x / y is not a whole number: there both derivatives are constant."""

    def provider(rng):
        op = op_class(name)()
        yield from in_pairs(op, (*INTEGERS, *FLOATS))
        for shape in ((3, 4), (), (1,)):
            y = rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape)
            whole = rng.integers(-4, 4, shape)
            yield Sample(op, (y * (whole + rng.uniform(0.2, 0.8, shape)), y), smooth=True)

    return provider


@provides("relu")
def _relu(rng):
    op = op_class("relu")()
    yield from in_line(op, (*INTEGERS, *FLOATS), 1e-6)
    yield from smooth_line(op, rng, 0.3, 3.0)
    yield from smooth_line(op, rng, -3.0, -0.3)


for _name in ("remainder", "fmod"):
    provides(_name)(_remains(_name))
