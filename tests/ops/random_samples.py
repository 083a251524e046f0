"""Samples of random bits."""

import numpy as np

from staticgrad.ir.op import op_class
from staticgrad.types.dtype import U32, U64
from tests.ops.samples import Sample, provides


@provides("random_bits")
def _random_bits(rng):
    for shape in ((), (0,), (1,), (7,), (40,), (3, 5), (2, 0, 3), (2, 3, 17)):
        for dtype in (U32, U64):
            for stream, half, key, step in ((0, 0, 0, 0), (5, 1, 2**64 - 1, 2**40 + 3)):
                op = op_class("random_bits")(shape, dtype, stream, half)
                yield Sample(op, (np.uint64(key), np.uint64(step)))
    for shape, keys in (((3,), 1), ((3, 5), 1), ((2, 0, 3), 1), ((2, 3, 17), 2)):
        kept = (*shape[:keys], *(1,) * (len(shape) - keys))
        words = [rng.integers(0, 2**63, kept).astype("uint64") for _ in range(2)]
        yield Sample(op_class("random_bits")(shape, U64, 7, 1, keys), tuple(words))
