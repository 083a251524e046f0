"""Samples of the check that loops have reached their end."""

import numpy as np

from staticgrad.language.ir.op import op_class
from staticgrad.language.types.dtype import F64
from tests.laws.array_samples import extraordinary
from tests.laws.samples import Sample, declare, provides


def _samples(shapes):
    op = op_class("reached_end")("ode.solve.rk45", "1000")
    for shape in shapes:
        yield Sample(op, (np.ones(shape, bool), np.ones(shape)))


@provides("reached_end")
def _(rng):
    yield from _samples([(), (1,), (7,), (0,), (2, 0), (3, 5)])
    for sample in _samples([(40,)]):
        yield Sample(sample.op, (sample.arrays[0], extraordinary(rng, (40,), F64)))


declare(
    "reached_end",
    "no function of NumPy: tests/loops/test_limits.py",
    ("b", "f"),
    lambda n: _samples([(n,)]),
    fixed=(1,),
)
