"""The incomplete gamma and beta functions, regularized, and the logarithm of the complete one.

Kernels have blocks for them (``vecmath.incomplete_gamma``, ``vecmath.incomplete_beta``), the
reference asks SciPy. By the upper limit derivatives are closed forms, by the parameter of the gamma
functions an integral (``gamma_shapes``); by those of the beta function there is none, and asking
for one is an error. Integers and bools are converted to float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range
from staticgrad.ops.cotangent import Cotangent, Partial, times
from staticgrad.ops.elementwise import Floating
from staticgrad.ops.entropy import XLog1PY
from staticgrad.ops.gamma import Digamma, GammaLn, refuse_by
from staticgrad.ops.gamma_shapes import by_shape
from staticgrad.ops.special import XLogY
from staticgrad.ops.transcendental import Exp


def _density(a: Any, x: Any) -> Any:
    """x ** (a - 1) * exp(-x) / gamma(a)."""
    return Exp()(XLogY()(a - 1.0, x) - x - GammaLn()(a))


def _within(a: Array, x: Array) -> tuple[Array, Array]:
    """Operands for SciPy, which overflows for the largest a: P is 0 for those and smaller x."""
    left, right = np.asarray(a, np.float64), np.asarray(x, np.float64)
    return np.where(right < 1e290, np.minimum(left, 1e300), left), right


class IncompleteGamma(Floating):
    """What P and Q share: their derivatives are the same but for ``sign``."""

    kink = "x = 0 is where the domain begins"
    interval = Range(0.0, 1.0)
    flops = 1500
    sign: ClassVar[float]

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, a: Any, x: Any
    ) -> tuple[Cotangent | None, ...]:
        """``ct`` times the partial of what is needed: that by a is long."""
        by_a = times(ct, self.sign * by_shape(a, x)) if needed[0] else None
        return by_a, times(ct, self.sign * _density(a, x)) if needed[1] else None

    def pushforward(self, tangents: Sequence[Any], out: Any, a: Any, x: Any) -> Any:
        """The sum of the tangents, each times its partial."""
        by_a, by_x = tangents
        if by_a is None:
            return by_x * (self.sign * _density(a, x))
        moved = by_a * (self.sign * by_shape(a, x))
        return moved if by_x is None else moved + by_x * (self.sign * _density(a, x))


class GammaInc(IncompleteGamma, name="gammainc"):
    """P(a, x), the integral of t ** (a - 1) * exp(-t) from 0 to x over gamma(a); NaN below 0.

    By x it is x ** (a - 1) * exp(-x) / gamma(a), by a an integral (``gamma_shapes``).
    """

    primitive = "gammainc"
    sign = 1.0

    def reference(self, a: Array, x: Array) -> Any:
        from scipy.special import gammainc  # building a graph must not load scipy

        return gammainc(*_within(a, x)).astype(x.dtype)


class GammaIncC(IncompleteGamma, name="gammaincc"):
    """Q(a, x) = 1 - P(a, x), accurate where that vanishes; its derivatives are minus those of P."""

    primitive = "gammaincc"
    sign = -1.0

    def reference(self, a: Array, x: Array) -> Any:
        from scipy.special import gammaincc

        return gammaincc(*_within(a, x)).astype(x.dtype)


class BetaLn(Floating, name="betaln"):
    """The logarithm of B(a, b) = gamma(a) * gamma(b) / gamma(a + b) for positive a and b.

    inf where one is 0, NaN where one is negative. Derivatives: digamma(a) - digamma(a + b), and the
    same of b.
    """

    primitive = "betaln"
    flops = 600

    def reference(self, a: Array, b: Array) -> Any:
        from scipy.special import betaln

        left, right = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
        inside = (left > 0) & (right > 0) & np.isfinite(left) & np.isfinite(right)
        low, high = np.minimum(left, right), np.maximum(left, right)
        border = np.where(low == 0, np.inf, np.where((low > 0) & np.isinf(high), -np.inf, np.nan))
        found = betaln(np.where(inside, left, 1.0), np.where(inside, right, 1.0))
        return np.where(inside, found, border).astype(a.dtype)

    def partials(self, out: Any, a: Any, b: Any) -> tuple[Partial, ...]:
        both = Digamma()(a + b)
        return Digamma()(a) - both, Digamma()(b) - both


class BetaInc(Floating, name="betainc"):
    """I(x; a, b), the integral of t ** (a - 1) * (1 - t) ** (b - 1) from 0 to x over B(a, b).

    NaN for x outside [0, 1] and negative parameters. Where one is 0 or infinite it is the limit, of
    which there is none if both are. By x it is the integrand; by a and b it has no derivative here.
    """

    primitive = "betainc"
    kink = "x = 0 and x = 1 are where the domain ends"
    interval = Range(0.0, 1.0)
    flops = 3000

    def reference(self, a: Array, b: Array, x: Array) -> Any:
        from scipy.special import betainc

        wide = (np.asarray(each, np.float64) for each in (a, b, x))
        left, right, at = np.broadcast_arrays(*wide)
        at_zero, at_one = (left == 0) | np.isinf(right), (right == 0) | np.isinf(left)
        defined = (left >= 0) & (right >= 0) & ~(at_zero & at_one) & (at >= 0) & (at <= 1)
        inside = defined & ~at_zero & ~at_one
        found = betainc(*(np.where(inside, each, 0.5) for each in (left, right, at)))
        border = np.where((at == 1) | (at_zero & (at > 0)), 1.0, 0.0)
        return np.where(defined, np.where(inside, found, border), np.nan).astype(x.dtype)

    @staticmethod
    def _by_x(a: Any, b: Any, x: Any) -> Any:
        return Exp()(XLogY()(a - 1.0, x) + XLog1PY()(b - 1.0, -x) - BetaLn()(a, b))

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, a: Any, b: Any, x: Any
    ) -> tuple[Cotangent | None, ...]:
        refuse_by("betainc", "a or b", needed[0] or needed[1])
        return None, None, times(ct, self._by_x(a, b, x))

    def pushforward(self, tangents: Sequence[Any], out: Any, a: Any, b: Any, x: Any) -> Any:
        refuse_by("betainc", "a or b", tangents[0] is not None or tangents[1] is not None)
        return tangents[2] * self._by_x(a, b, x)
