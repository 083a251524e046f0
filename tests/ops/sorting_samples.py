"""Samples of the ops that put elements in order."""

import numpy as np

from staticgrad.ir.op import op_class
from staticgrad.ir.rounded import widened
from staticgrad.types.dtype import ALL_DTYPES
from tests.limits import finfo
from tests.ops.array_samples import NUMBERS, apart
from tests.ops.samples import Sample, provides

#: Shape and axis; 8 is the length of the runs that a kernel merges.
SORTED = (
    ((5,), 0), ((1,), 0), ((0,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 3, 20), 1), ((3, 33), 1),
    ((2, 70), 1), ((3, 0), 0), ((0, 3), 0), ((1, 1, 17), 2), ((300,), 0), ((40, 2), 0),
)  # fmt: skip
#: Shape, axis, k; a kernel has room for 2 * k + 32 elements at a time.
CHOSEN = (
    ((5,), 0, 2), ((5,), 0, 5), ((5,), 0, 0), ((1,), 0, 1), ((0,), 0, 0), ((3, 4), 0, 1),
    ((2, 90), 1, 3), ((300,), 0, 1), ((2, 200), 1, 40), ((180, 2), 0, 7), ((0, 3), 1, 2),
)  # fmt: skip


def mixed(rng, shape, dtype):
    """Many equal elements; the ends of the range; of floats also what is special."""
    if dtype.is_float:
        limits = finfo(dtype.numpy)
        tiny, most = float(limits.smallest_subnormal), float(limits.max)
        numbers = [0.0, -0.0, np.nan, np.inf, -np.inf, tiny, -tiny, most, -most, 1.5, -2.5]
        return rng.choice(np.array(numbers, dtype.numpy), shape)
    if dtype.is_bool:
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype.numpy)
    return rng.choice(np.array([info.min, info.max, 0, 1, 2, info.max - 1], dtype.numpy), shape)


def ascending(array):
    """The elements in order, NaN last."""
    return array[np.argsort(widened(array), kind="stable")]


def orders(op, shape, rng):
    for dtype in ALL_DTYPES:
        yield Sample(op, (mixed(rng, shape, dtype),))
    yield Sample(op, (rng.normal(size=shape).astype(np.float32),))
    yield Sample(op, (apart(rng, shape),), smooth=True)


@provides("sort")
def _sort(rng):
    for shape, axis in SORTED:
        yield from orders(op_class("sort")(axis), shape, rng)
        yield from orders(op_class("sort")(axis, True), shape, rng)


@provides("topk")
def _topk(rng):
    for shape, axis, k in CHOSEN:
        yield from orders(op_class("topk")(axis, k), shape, rng)
        yield from orders(op_class("topk")(axis, k, True), shape, rng)


@provides("searchsorted")
def _searchsorted(rng):
    for size, shape in ((5, (7,)), (0, (3,)), (1, (2, 3)), (70, (33,)), (64, ()), (3, (0, 2))):
        for right in (False, True):
            op = op_class("searchsorted")(right)
            for dtype in NUMBERS:
                yield Sample(op, (ascending(mixed(rng, (size,), dtype)), mixed(rng, shape, dtype)))
            row = np.sort(rng.normal(size=size))
            yield Sample(op, (row, rng.normal(size=shape)))
