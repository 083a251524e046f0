"""The quantile of the standard normal distribution, of which normal draws are made.

A vector-math block in kernels (``staticgrad/vecmath/normal_quantile.py``), SciPy's ``ndtri`` in
the reference. Knows nothing of random bits.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from staticgrad.ir.expr import Expr
from staticgrad.ir.op import Array
from staticgrad.ops.cotangent import Partial
from staticgrad.ops.elementwise import Floating, quiet
from staticgrad.ops.transcendental import Exp

_ROOT_TAU: Final = math.sqrt(2.0 * math.pi)


class Ndtri(Floating, name="ndtri"):
    """z with a fraction p of the standard normal distribution below it; NaN outside [0, 1].

    Derivative: sqrt(2 pi) * exp(z ** 2 / 2), the reciprocal of the density.
    """

    flops = 40

    @quiet
    def reference(self, p: Array) -> Any:
        from scipy.special import ndtri  # building a graph must not load scipy

        return np.asarray(ndtri(np.asarray(p, np.float64))).astype(p.dtype)

    def scalar(self, p: Expr) -> Expr:
        return p.ndtri()

    def partials(self, out: Any, p: Any) -> tuple[Partial, ...]:
        return (_ROOT_TAU * Exp()(out * out * 0.5),)
