"""Samples of the running totals."""

from staticgrad.ir.op import op_class
from staticgrad.types.dtype import F32, F64
from tests.ops.array_samples import NUMBERS, apart, counted, everywhere, extraordinary
from tests.ops.samples import Sample, provides

#: Shape, axis.
SCANNED = (
    ((5,), 0), ((1,), 0), ((0,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 3, 20), 1), ((2, 3, 4), 2),
    ((4, 2, 3), 0), ((3, 0), 0), ((0, 3), 0), ((2, 70), 1),
)  # fmt: skip


def _running(name):
    def provider(rng):
        for shape, axis in SCANNED:
            yield from everywhere(op_class(name)(axis), shape, rng, NUMBERS)

    return provider


for _name in ("cumsum", "cumprod"):
    provides(_name)(_running(_name))


@provides("linear_scan")
def _linear_scan(rng):
    for shape, axis in SCANNED:
        op = op_class("linear_scan")(axis)
        for dtype in NUMBERS:
            yield Sample(op, (counted(shape, dtype), counted(shape, dtype)))
        for dtype in (F32, F64):
            yield Sample(op, tuple(extraordinary(rng, (2, *shape), dtype)))
        yield Sample(op, (apart(rng, shape), apart(rng, shape)), smooth=True)
