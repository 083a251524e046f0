"""The gamma function, its logarithm and what is derived from it: polygamma, zeta.

Kernels have blocks for them (``vecmath.gamma_function``, ``vecmath.zeta``), the reference asks
SciPy. Integers and bools are converted to float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgrad.errors import GradientError
from staticgrad.ir.expr import Expr, apply, literal, select
from staticgrad.ir.op import Array
from staticgrad.ops.cotangent import Cotangent, Partial, times
from staticgrad.ops.elementwise import Floating
from staticgrad.ops.public import unary
from staticgrad.ops.special import polynomial
from staticgrad.types.dtype import F64
from staticgrad.vecmath.gamma_function import GAMMALN


class Gamma(Floating, name="gamma"):
    """Gamma function: inf at 0, -inf at -0, NaN at negative whole numbers.

    It overflows above 171.6 (float32: 35), where ``gammaln`` does not. Derivative:
    gamma(x) * digamma(x).
    """

    scipy = "gamma"
    primitive = "gamma"
    flops = 130

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out * Digamma()(x),)


class GammaLn(Floating, name="gammaln"):
    """log(abs(gamma(x))): inf at 0, at negative whole numbers and at both ends.

    Below 0, near a zero of the result, the error is relative to the terms that cancel there; so it
    is for ``digamma``. Derivative: digamma(x).
    """

    primitive = "gammaln"
    flops = 110

    def reference(self, x: Array) -> Any:
        from scipy.special import gammaln  # building a graph must not load scipy

        wide = np.asarray(x, np.float64)
        # SciPy loses digits next to the zeros at 1 and 2.
        near = np.clip(wide, 0.5, 3.0)
        series = polynomial((near - 2) / (near + 2), GAMMALN[F64])
        found = np.where(wide == near, (near - 1) * (near - 2) * series + 0.0, gammaln(wide))
        # It gives inf of the smallest numbers, and -inf at -inf.
        found = np.where(np.abs(wide) < 1e-300, -np.log(np.abs(wide)), found)
        return np.asarray(np.where(wide == -math.inf, math.inf, found)).astype(x.dtype)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Digamma()(x),)


class Digamma(Floating, name="digamma"):
    """Derivative of ``gammaln``: -inf at 0, inf at -0, NaN at negative whole numbers.

    Derivative: polygamma(1, x).
    """

    scipy = "digamma"
    primitive = "digamma"
    flops = 110

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Polygamma(1)(x),)


class Polygamma(Floating, name="polygamma"):
    """The derivative of digamma of a whole order from 1 on: inf at 0 and negative whole numbers.

    (-1) ** (order + 1) * order! * zeta(order + 1, x). Derivative: that of the next order.
    """

    kink = "there are poles at 0 and at negative whole numbers"
    flops = 110
    order: int

    def reference(self, x: Array) -> Any:
        from scipy.special import polygamma

        wide = np.asarray(x, np.float64)
        outside = np.isnan(wide) | ((wide == -np.inf) & (self.order == 1))
        found = polygamma(self.order, np.where(outside, 1, wide))
        return np.asarray(np.where(outside, np.nan, found)).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        if self.order == 1:
            return apply("trigamma", x)
        factor = math.factorial(self.order) * (1.0 if self.order % 2 else -1.0)
        return apply("zeta", literal(self.order + 1.0, x.dtype), x) * factor

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Polygamma(self.order + 1)(x),)


class Zeta(Floating, name="zeta"):
    """Hurwitz' zeta function, the sum of (q + k) ** -s over k = 0, 1, ...; s > 1, q > 0.

    inf at s = 1 and at whole q from 0 down, NaN elsewhere. By q it is -s * zeta(s + 1, q); by s it
    has no derivative here.
    """

    flops = 1500

    def reference(self, s: Array, q: Array) -> Any:
        from scipy.special import zeta

        left, right = np.broadcast_arrays(np.asarray(s, np.float64), np.asarray(q, np.float64))
        proper = (left > 1) & (right > 0)
        found = zeta(np.where(proper, left, 2.0), np.where(proper, right, 1.0))
        found = np.where(left > 1100, right**-left, found)  # the first term is all
        pole = (left > 1) & (right <= 0) & (np.floor(right) == right)
        pole |= (left == 1) & (right == right)
        return np.where(proper, found, np.where(pole, np.inf, np.nan)).astype(q.dtype)

    def scalar(self, s: Expr, q: Expr) -> Expr:
        between = (s > 1.0) & (q < 0.0) & q.floor().ne(q)
        return select(between, literal(math.nan, q.dtype), apply("zeta", s, q))

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, s: Any, q: Any
    ) -> tuple[Cotangent | None, ...]:
        refuse_by("zeta", "s", needed[0])
        return None, times(ct, self._by_q(s, q))

    def pushforward(self, tangents: Sequence[Any], out: Any, s: Any, q: Any) -> Any:
        refuse_by("zeta", "s", tangents[0] is not None)
        return tangents[1] * self._by_q(s, q)

    @staticmethod
    def _by_q(s: Any, q: Any) -> Any:
        return -s * Zeta()(s + 1.0, q)


def refuse_by(function: str, operand: str, asked: bool) -> None:
    """Refuse a derivative that has no closed form."""
    if asked:
        raise GradientError(
            f"{function}: there is no derivative by {operand} here",
            hint=f"sg.stop_gradient({operand}) where it is not to be differentiated",
        )


gamma = unary(Gamma, "gamma", "sg.special.gamma([1.0, 5.0])", "array([ 1., 24.])")
gammaln = unary(
    GammaLn, "gammaln", "sg.special.gammaln([1.0, 100.0])", "array([  0.        , 359.13420537])"
)
digamma = unary(
    Digamma, "digamma", "sg.special.digamma([1.0, 2.0])", "array([-0.57721566,  0.42278434])"
)
