"""Samples of the ops of ``sg.special``: special values, and smooth points inside the domains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from staticgrad.ir.op import op_class
from tests.ops.elementwise_samples import FLOATS, in_line, in_pairs, smooth_line, smooth_pairs
from tests.ops.samples import Rng, Sample, declare, provides

#: Op -> what it is, and the interval in which its derivatives are checked.
UNARY = {
    "gammaln": ("gammaln(x)", 0.4, 6.0),
    "digamma": ("scipy.special.digamma(x)", 0.4, 6.0),
    "erfinv": ("scipy.special.erfinv(x)", -0.8, 0.8),
    "erfcx": ("scipy.special.erfcx(x)", -1.5, 3.0),
    "ndtr": ("scipy.special.ndtr(x)", -3.0, 3.0),
    "log_ndtr": ("scipy.special.log_ndtr(x)", -3.0, 3.0),
    "i0": ("scipy.special.i0(x)", -3.0, 3.0),
    "i0e": ("scipy.special.i0e(x)", 0.4, 3.0),
    "i1": ("halved(x, scipy.special.i1(x.astype(float)))", 0.4, 3.0),
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
    "gammaln": (2e-6, 1e-13),
    "digamma": (1e-5, 1e-13),
    "log_ndtr": (2e-6, 2e-14),
    "kl_div": (1e-5, 1e-12),
}


def _unary(name: str) -> Callable[[Rng], Iterator[Sample]]:
    def provider(rng: Rng) -> Iterator[Sample]:
        op, (_, low, high) = op_class(name)(), UNARY[name]
        tolerance, wide = TOLERANCE.get(name, (1e-6, 1e-14))
        yield from (replace(s, wide=wide) for s in in_line(op, FLOATS, tolerance))
        yield from smooth_line(op, rng, low, high)

    return provider


def _binary(name: str) -> Callable[[Rng], Iterator[Sample]]:
    def provider(rng: Rng) -> Iterator[Sample]:
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


def smooth_operands(rng: Rng) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of positive operands of shapes that broadcast."""
    for left, right in (((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 3), (4, 1)), ((), (5,))):
        yield rng.uniform(0.4, 4.0, left), rng.uniform(0.4, 4.0, right)


@provides("polygamma")
def _(rng: Rng) -> Iterator[Sample]:
    for order in (1, 2, 5):
        op = op_class("polygamma")(order)
        yield from (replace(s, wide=2e-14) for s in in_line(op, FLOATS))
        yield from smooth_line(op, rng, 0.4, 6.0)


@provides("zeta")
def _(rng: Rng) -> Iterator[Sample]:
    op = op_class("zeta")()
    # Of results that nearly underflow the last terms have few digits.
    yield from (replace(s, wide=1e-6) for s in in_pairs(op, FLOATS))
    for s, q in smooth_operands(rng):
        yield Sample(op, (s + 1.1, q), smooth=True)


declare("polygamma", "polygamma(x, op.order)")
declare("zeta", "zeta(x, y)", refused=(0,))
