"""Special functions: gamma, beta, zeta, Bessel, the normal distribution, entropies.

Kernels have vector-math blocks for them; the reference is SciPy's function or the block's series in
float64. Integers and bools become float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import factorial, inf
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad.errors import GradientError
from staticgrad.language.ir.expr import Expr, apply, literal, select
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.ranges import Range, Zero
from staticgrad.language.ops import arithmetic, selection
from staticgrad.language.ops.arithmetic import absolute
from staticgrad.language.ops.basic import sum_over
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import ZERO, Cotangent, Partial, times
from staticgrad.language.ops.elementwise import Floating, binary, scipy_special, unary
from staticgrad.language.ops.logic import logical_and
from staticgrad.language.ops.marks import StopGradient
from staticgrad.language.ops.movement import expand_dims
from staticgrad.language.ops.selection import maximum, minimum
from staticgrad.language.ops.transcendental import (
    Exp,
    Log,
    Log1p,
    XLogY,
    exp,
    expm1,
    gaussian,
    log,
    log1p,
    polynomial,
    scaled_erfc,
    sqrt,
)
from staticgrad.language.types.dtype import F32, F64
from staticgrad.language.vecmath import bessel
from staticgrad.language.vecmath.gamma_function import GAMMALN
from staticgrad.support.tables import gauss_legendre


class Gamma(Floating, name="gamma"):
    """Gamma function: inf at 0, -inf at -0, NaN at negative whole numbers.

    It overflows above 171.6 (float32: 35), where ``gammaln`` does not. Derivative:
    gamma(x) * digamma(x).
    """

    has_poles = True
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

    has_poles = True
    primitive = "gammaln"
    flops = 110

    def in_float64(self, x: Array) -> Any:
        # SciPy loses digits next to the zeros at 1 and 2.
        near = np.clip(x, 0.5, 3.0)
        series = polynomial((near - 2) / (near + 2), GAMMALN[F64])
        value = np.where(
            x == near, (near - 1) * (near - 2) * series + 0.0, scipy_special("gammaln")(x)
        )
        # It gives inf of the smallest numbers, and -inf at -inf.
        value = np.where(np.abs(x) < 1e-300, -np.log(np.abs(x)), value)
        return np.where(x == -math.inf, math.inf, value)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Digamma()(x),)


class Digamma(Floating, name="digamma"):
    """Derivative of ``gammaln``: -inf at 0, inf at -0, NaN at negative whole numbers.

    Derivative: polygamma(1, x).
    """

    has_poles = True
    scipy = "digamma"
    primitive = "digamma"
    flops = 110

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Polygamma(1)(x),)


class Polygamma(Floating, name="polygamma"):
    """The derivative of digamma of a whole order from 1 on: inf at 0 and negative whole numbers.

    (-1) ** (order + 1) * order! * zeta(order + 1, x). Derivative: that of the next order.
    """

    has_poles = True
    kink = "there are poles at 0 and at negative whole numbers"
    flops = 110
    order: int

    def in_float64(self, x: Array) -> Any:
        outside = np.isnan(x) | ((x == -np.inf) & (self.order == 1))
        value = scipy_special("polygamma")(self.order, np.where(outside, 1, x))
        return np.where(outside, np.nan, value)

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

    has_poles = True
    flops = 1500

    def in_float64(self, s: Array, q: Array) -> Any:
        left, right = np.broadcast_arrays(s, q)
        proper = (left > 1) & (right > 0)
        value = scipy_special("zeta")(np.where(proper, left, 2.0), np.where(proper, right, 1.0))
        value = np.where(left > 1100, right**-left, value)  # the first term is all
        pole = (left > 1) & (right <= 0) & (np.floor(right) == right)
        pole |= (left == 1) & (right == right)
        return np.where(proper, value, np.where(pole, np.inf, np.nan))

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


gamma = unary(Gamma, "sg.special.gamma([1.0, 5.0])", "array([ 1., 24.])")
gammaln = unary(GammaLn, "sg.special.gammaln([1.0, 100.0])", "array([  0.        , 359.13420537])")
digamma = unary(Digamma, "sg.special.digamma([1.0, 2.0])", "array([-0.57721566,  0.42278434])")


#: The integral ends where the integrand is at most exp(-this) of what it is at s = 0.
_DEPTH: Final = 36.0
_NODES: Final = 40
#: Nodes are cubes of Gauss', closer where the integrand is large.
_POWER: Final = 3


def log_quantile_slope(a: Any, log_x: Any) -> Any:
    """d log(x) / da at a fixed probability P(a, x), as accurate where x underflows."""
    x = exp(log_x)
    below = x <= a
    side = selection.where(below, 1.0, -1.0)
    gauss, weights = gauss_legendre(_NODES)
    unit = (gauss + 1.0) / 2.0
    end, gap, sign, shape, at = (
        expand_dims(x, -1) for x in (_end(a, x, below), side * (Digamma()(a) - log_x), side, a, x)
    )
    # s = end * u**3, with ds = 3 end u**2 du among the factors of the terms
    s = end * unit**_POWER
    exponent = -sign * shape * s - at * expm1(-sign * s)
    terms = (gap + s) * exp(exponent) * (weights / 2.0 * _POWER * unit ** (_POWER - 1))
    return sum_over(end * terms, (end.ndim - 1,))


def _end(a: Any, x: Any, below: Any) -> Any:
    """Return the end of the integral: either part puts the exponent below ``-_DEPTH``."""
    a, x = StopGradient()(a), StopGradient()(x)
    ratio = _DEPTH / maximum(x, 1e-300)
    root = sqrt(2.0 * ratio)
    # exp(-s) - 1 + s >= s**2 / (2 + s), and exp(s) - 1 - s = r has s <= log1p(r + sqrt(2 r)).
    curved = selection.where(
        below, (ratio + sqrt(ratio * (ratio + 8.0))) / 2.0, log1p(ratio + root)
    )
    return minimum(curved, _DEPTH / absolute(a - x))


def by_shape(a: Any, x: Any) -> Any:
    """The derivative of P(a, x) by a, in float64 inside: 0 at x = 0 and inf."""
    shape, wide = astype(a, F64), astype(x, F64)
    inside = (wide > 0.0) & (wide < np.inf)
    at = log(selection.where(inside, wide, 1.0))
    density = exp(shape * at - exp(at) - GammaLn()(shape))
    slope = selection.where(inside, -density * log_quantile_slope(shape, at), 0.0)
    return astype(slope, x.dtype)


#: Where the power series ends, and its coefficients: exact to the last digits, in the next few
#: derivatives too.
_SERIES_END: Final = 2.0
_SLOPES: Final = [(2 * k + 1) / (2 * factorial(k) * factorial(k + 1)) for k in range(15)]


class I0e(Floating, name="i0e"):
    """exp(-abs(x)) * i0(x), which does not overflow.

    Derivative: i1e(x) - sign(x) * i0e(x), 0 at 0.
    """

    primitive = "i0e"
    interval = Range(0.0, 1.0, Zero.NEVER)
    kink = "the derivative at 0 is 0"
    flops = 100

    def in_float64(self, x: Array) -> Any:
        return _i0e(x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (I1e()(x) - arithmetic.sign(x) * out,)


class I1e(Floating, name="i1e"):
    """exp(-abs(x)) * i1(x), which does not overflow.

    Derivative: exp(-abs(x)) * i1'(x) - sign(x) * i1e(x); 1/2 at 0, and 0 for higher orders.
    """

    keeps_sign = True
    primitive = "i1e"
    interval = Range(-0.25, 0.25)
    kink = "at 0 the derivatives are those of i1, without the kinks of abs(x)"
    flops = 100

    def in_float64(self, x: Array) -> Any:
        return _i1e(x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        near = Exp()(-absolute(x)) * _slope_near_0(x)
        far = I0e()(x) - out / selection.where(_is_near(x), _SERIES_END, x)
        return (selection.where(_is_near(x), near, far) - arithmetic.sign(x) * out,)


class I0(Floating, name="i0"):
    """Modified Bessel function of the first kind of order 0. Derivative: i1(x)."""

    interval = Range(1.0, inf, Zero.NEVER)
    flops = 130

    def in_float64(self, x: Array) -> Any:
        half = np.exp(np.abs(x) / 2)
        # exp(|x|) overflows before i0(x) does: two factors of its half
        finite = _i0e(x) * half * half
        return np.where(np.isinf(x), np.abs(x), finite)

    def scalar(self, x: Expr) -> Expr:
        y = abs(x)
        half = (y * 0.5).exp()
        return select(y.eq(inf), y, (apply("i0e", x) * half) * half)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (I1()(x),)


class I1(Floating, name="i1"):
    """Modified Bessel function of the first kind of order 1.

    Derivative: i0(x) - i1(x) / x, and the power series (DLMF 10.25.2) near 0, where those terms
    cancel in further derivatives. At 0, derivatives of orders above the second are 0.
    """

    keeps_sign = True
    flops = 130

    def in_float64(self, x: Array) -> Any:
        half = np.exp(np.abs(x) / 2)
        return np.where(np.isinf(x), x, _i1e(x) * half * half)

    def scalar(self, x: Expr) -> Expr:
        y = abs(x)
        half = (y * 0.5).exp()
        return select(y.eq(inf), x, (apply("i1e", x) * half) * half)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        far = I0()(x) - out / selection.where(_is_near(x), _SERIES_END, x)
        return (selection.where(_is_near(x), _slope_near_0(x), far),)


def _i0e(x: Array) -> Array:
    """The kernel's series for float64."""
    y = np.abs(x)
    # Two series, below and above 8, each in a variable from -1 to 1.
    small = polynomial(np.minimum(y, 8) / 4 - 1, bessel.SMALL_0[F64])
    inverse = 1 / np.maximum(y, 8)
    large = polynomial(16 * inverse - 1, bessel.LARGE_0[F64]) * np.sqrt(inverse)
    return np.where(y > 8, large, small)


def _i1e(x: Array) -> Array:
    """The kernel's series for float64."""
    y = np.abs(x)
    small = y / (y + 1) * polynomial(np.minimum(y, 8) / 4 - 1, bessel.SMALL_1[F64])
    inverse = 1 / np.maximum(y, 8)
    large = polynomial(16 * inverse - 1, bessel.LARGE_1[F64]) * np.sqrt(inverse)
    return np.copysign(np.where(y > 8, large, small), x)


def _is_near(x: Any) -> Any:
    return absolute(x) < _SERIES_END


def _slope_near_0(x: Any) -> Any:
    """The derivative of i1: the sum of (2k + 1) / (2 k! (k + 1)!) * (x / 2) ** (2k)."""
    # DLMF 10.25.2, differentiated, by Horner's rule
    near = selection.where(_is_near(x), x, 0.0)
    quarter, total = near * near * 0.25, _SLOPES[-1]
    for number in _SLOPES[-2::-1]:
        total = total * quarter + number
    return total


i0 = unary(I0, "sg.i0([0.0, 1.0])", "array([1.        , 1.26606588])")


i1 = unary(I1, "sg.special.i1([0.0, 1.0])", "array([0.       , 0.5651591])")
i0e = unary(I0e, "sg.special.i0e([0.0, 1.0])", "array([1.        , 0.46575961])")
i1e = unary(I1e, "sg.special.i1e([0.0, 1.0])", "array([0.        , 0.20791042])")


_ROOT_TAU: Final = math.sqrt(2.0 * math.pi)
_ROOT_PI: Final = math.sqrt(math.pi)
_ROOT_HALF: Final = math.sqrt(0.5)
_HALF_ROOT_PI: Final = _ROOT_PI / 2.0
#: From where on the derivative of erfcx is its series of so many terms, exact to the last digits.
_FAR: Final = {F32: 5.0, F64: 10.0}
_TERMS: Final = 14
#: Where the density is 0 in every dtype.
_NOTHING: Final = 1e3


class Ndtri(Floating, name="ndtri"):
    """Inverse of ``ndtr``: infinite at 0 and 1, NaN beyond.

    Derivative: sqrt(2 pi) * exp(out ** 2 / 2), the reciprocal of the density.
    """

    has_poles = True
    scipy = "ndtri"
    primitive = "ndtri"
    flops = 40

    def partials(self, out: Any, p: Any) -> tuple[Partial, ...]:
        return (_ROOT_TAU * Exp()(out * out * 0.5),)


class ErfInv(Floating, name="erfinv"):
    """Inverse of ``erf``: infinite at -1 and 1, NaN beyond.

    Derivative: sqrt(pi) / 2 * exp(out ** 2).
    """

    has_poles = True
    scipy = "erfinv"
    primitive = "erfinv"
    flops = 40

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (_HALF_ROOT_PI * Exp()(out * out),)


class Erfcx(Floating, name="erfcx"):
    """exp(x ** 2) * erfc(x), which falls as 1 / (x sqrt(pi)); inf far below 0.

    Derivative: 2 * (x * erfcx(x) - 1 / sqrt(pi)), and its asymptotic series (DLMF 7.12.1) where
    those terms cancel.
    """

    primitive = "erfcx"
    interval = Range(0.0, inf, Zero.NEVER)
    flops = 60

    def in_float64(self, x: Array) -> Any:
        scaled = scaled_erfc(np.abs(x))
        below = 2 * gaussian(np.clip(x, -27, 0), 1.0) - scaled
        return np.where(x < 0, below, scaled)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        far = _FAR[x.dtype.compute]
        series = _erfcx_slope(selection.where(x > far, x, far))
        return (selection.where(x > far, series, 2.0 * (x * out) - 2.0 / _ROOT_PI),)


def _erfcx_slope(x: Any) -> Any:
    """2 * (x * erfcx(x) - 1 / sqrt(pi)) for large x: sums of (2k - 1)!! / (-2 x ** 2) ** k."""
    # DLMF 7.12.1, the asymptotic series of erfc, by Horner's rule
    inverse = 1.0 / x
    square, total = inverse * inverse * -0.5, 1.0
    for odd in range(2 * _TERMS - 1, 1, -2):
        total = 1.0 + (square * odd) * total
    return (2.0 / _ROOT_PI) * (square * total)


class Ndtr(Floating, name="ndtr"):
    """Cumulative distribution function of the standard normal, accurate in the lower tail.

    Derivative: exp(-x * x / 2) / sqrt(2 pi).
    """

    primitive = "ndtr"
    interval = Range(0.0, 1.0, Zero.NEVER)
    flops = 60

    def in_float64(self, x: Array) -> Any:
        tail = (x < -1) & (x > -38.5)
        inside = np.where(tail, x, -1.0)
        scaled = gaussian(inside, -0.5) * (scaled_erfc(-inside * _ROOT_HALF) / 2)
        return np.where(tail, scaled, scipy_special("ndtr")(x))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Exp()(x * x * -0.5) / _ROOT_TAU,)


class LogNdtr(Floating, name="log_ndtr"):
    """log(ndtr(x)) without underflow: -x ** 2 / 2 - log(-x) - ... far below 0.

    Derivative: sqrt(2 / pi) / erfcx(-x / sqrt(2)) below 0, where numbers are large; above, where
    they vanish, the density over ndtr(x), as exp(-x ** 2 / 2 - out).
    """

    has_poles = True
    interval = Range(-inf, 0.0)
    flops = 200

    def in_float64(self, x: Array) -> Any:
        low = x < -1
        # log(ndtr(x)) = log(erfcx(-x / sqrt(2)) / 2) - x**2 / 2, which does not underflow
        scaled = np.log(scaled_erfc(np.where(low, -x, 1.0) * _ROOT_HALF) / 2)
        below = np.where(x < -1e100, -inf, scaled) - x * x / 2
        above = np.log1p(-Ndtr().reference(-x))
        return np.where(low, below, above)

    def scalar(self, x: Expr) -> Expr:
        scaled = x * _ROOT_HALF
        square = (x * -0.5) * x
        # far out the logarithm of erfcx is nothing beside the square
        below = select(x < -1e18, square, (apply("erfcx", -scaled) * 0.5).log() + square)
        return select(x < -1.0, below, (-apply("ndtr", -x)).log1p())

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        below = selection.where(x < 0.0, x, 0.0)
        low = (_ROOT_TAU / math.pi) / Erfcx()(below * -_ROOT_HALF)
        # Past the border nothing is left, and further derivatives would multiply it by infinities.
        above = selection.where(x < 0.0, 0.0, selection.where(x > _NOTHING, _NOTHING, x))
        log_of = selection.where(x < 0.0, 0.0, out)
        high = Exp()(above * above * -0.5 - log_of) / _ROOT_TAU
        return (selection.where(x < 0.0, low, high),)


erfcx = unary(Erfcx, "sg.special.erfcx([0.0, 10.0])", "array([1.        , 0.05614099])")
erfinv = unary(ErfInv, "sg.special.erfinv([0.0, 0.5])", "array([0.        , 0.47693628])")
ndtr = unary(Ndtr, "sg.special.ndtr([0.0, 1.0])", "array([0.5       , 0.84134475])")
log_ndtr = unary(
    LogNdtr, "sg.special.log_ndtr([0.0, -40.0])", "array([-6.93147181e-01, -8.04608442e+02])"
)
#: To here the series serves, and as many terms as float64 needs there.
_NEAR: Final = 0.2
_KL_TERMS: Final = 12


class XLog1PY(Floating, name="xlog1py"):
    """x * log1p(y), and 0 where x is 0 unless y is NaN.

    Derivatives: log1p(y), but 0 where x is 0 and y at most -1; x / (1 + y), 0 where x is 0.
    """

    has_poles = True
    kink = "the derivatives where x is 0 are 0, by x only where y is at most -1"
    flops = 25

    def reference(self, x: Array, y: Array) -> Any:
        zero = np.zeros((), x.dtype)
        return np.where((x == 0) & (y == y), zero, x * np.log1p(y))

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return select(x.eq(0.0) & y.eq(y), literal(0.0, x.dtype), x * y.log1p())

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        where = selection.where
        nothing = x == 0.0
        undefined = logical_and(nothing, y <= -1.0)
        return where(undefined, ZERO, Log1p()(y)), where(nothing, ZERO, x / (y + 1.0))


class Entr(Floating, name="entr"):
    """-x * log(x): 0 at 0 and -inf below. Derivative: -log(x) - 1, inf at 0."""

    has_poles = True
    kink = "the derivative at 0 is inf"
    flops = 25

    def reference(self, x: Array) -> Any:
        zero, low = np.zeros((), x.dtype), np.asarray(-inf, x.dtype)
        return np.where(x < 0, low, np.where(x == 0, zero, -x * np.log(x)))

    def scalar(self, x: Expr) -> Expr:
        zero, low = literal(0.0, x.dtype), literal(-inf, x.dtype)
        return select(x < 0.0, low, select(x.eq(0.0), zero, -x * x.log()))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (-1.0 - Log()(x),)


class RelEntr(Floating, name="rel_entr"):
    """x * log(x / y) for positive x and y, 0 at x = 0 for y >= 0, else inf.

    Derivatives: log(x / y) + 1 and -x / y.
    """

    has_poles = True
    kink = "the derivative by x at 0 is -inf"
    flops = 35

    def reference(self, x: Array, y: Array) -> Any:
        return self._select_by_domain(x, y, x * _log_ratio(x, y))

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return select_by_domain(x, y, x * log_ratio(x, y), literal(0.0, x.dtype))

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return Log()(x / y) + 1.0, -x / y

    @staticmethod
    def _select_by_domain(x: Array, y: Array, inside: Array) -> Array:
        return _select_by_domain(x, y, inside, np.zeros((), x.dtype))


class KlDiv(Floating, name="kl_div"):
    """x * log(x / y) - x + y for positive x and y, y at x = 0 for y >= 0, else inf.

    Derivatives: log(x / y) and 1 - x / y.
    """

    has_poles = True
    kink = "the derivative by x at 0 is -inf"
    flops = 35

    def reference(self, x: Array, y: Array) -> Any:
        share = (x - y) / (x + y)
        near = np.asarray(_kl_near(x, y, share), x.dtype)
        far = x * _log_ratio(x, y) - x + y
        return _select_by_domain(x, y, np.where(np.abs(share) < _NEAR, near, far), y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        share = (x - y) / (x + y)
        far = x * log_ratio(x, y) - x + y
        return select_by_domain(x, y, select(abs(share) < _NEAR, _kl_near(x, y, share), far), y)

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return Log()(x / y), 1.0 - x / y


def _kl_near(x: Any, y: Any, s: Any) -> Any:
    """x * log(x / y) - x + y for s = (x - y) / (x + y) near 0, where its terms cancel.

    It is (x + y) ((1 + s) atanh(s) - s), by the power series of atanh; of Expr and arrays alike.
    """
    # (1 + s) atanh(s) - s = s**2 (1 + (s + s**2) (1/3 + s**2/5 + s**4/7 + ...))
    z = s * s
    total = z * 0.0 + 1.0 / (2 * _KL_TERMS + 3)
    for k in reversed(range(_KL_TERMS)):
        total = total * z + 1.0 / (2 * k + 3)
    return (x + y) * (z * ((z + s) * total + 1.0))


def log_ratio(x: Expr, y: Expr) -> Expr:
    """log(x / y) of positive numbers, log(x) - log(y) where the ratio over- or underflows."""
    ratio = x / y
    far = (ratio < x.dtype.smallest_normal) | ~(ratio < inf)
    return select(far, x.log() - y.log(), ratio.log())


def select_by_domain(x: Expr, y: Expr, inside: Expr, border: Expr) -> Expr:
    """``inside`` for positive x and y, ``border`` at x = 0 for y >= 0, inf beyond, NaN of NaN."""
    outside = select(x.eq(0.0) & (y >= 0.0), border, literal(inf, x.dtype))
    defined = x.eq(x) & y.eq(y) & ~((x > 0.0) & (y > 0.0))
    return select(defined, outside, inside)


def _log_ratio(x: Array, y: Array) -> Array:
    ratio = x / y
    far = (ratio < np.finfo(np.float32 if x.dtype == np.float32 else np.float64).tiny) | ~(
        ratio < inf
    )
    return np.where(far, np.log(x) - np.log(y), np.log(ratio))


def _select_by_domain(x: Array, y: Array, inside: Array, border: Array) -> Array:
    outside = np.where((x == 0) & (y >= 0), border, np.asarray(inf, x.dtype))
    defined = (x == x) & (y == y) & ~((x > 0) & (y > 0))
    return np.where(defined, outside, inside)


class Logit(Floating, name="logit"):
    """log(p / (1 - p)): infinite at 0 and 1, NaN beyond. Derivative: 1 / (p * (1 - p))."""

    has_poles = True
    primitive = "logit"
    flops = 50

    def reference(self, p: Array) -> Any:
        # p / (1 - p) is near 1, where its rounding would lose digits of the logarithm
        middle = np.log1p((2 * p - 1) / (1 - p))
        return np.where(np.abs(p - 0.5) < 0.25, middle, np.log(p / (1 - p)))

    def partials(self, out: Any, p: Any) -> tuple[Partial, ...]:
        return (1.0 / (p * (1.0 - p)),)


xlog1py = binary(
    XLog1PY,
    "sg.special.xlog1py([0.0, 2.0], [-1.0, 1.0])).round(4",
    "array([0.    , 1.3863])",
)
entr = unary(Entr, "sg.special.entr([0.0, 1.0])", "array([ 0., -0.])")
rel_entr = binary(
    RelEntr,
    "sg.special.rel_entr([0.0, 1.0, -1.0], 2.0)).round(4",
    "array([ 0.    , -0.6931,     inf])",
)
kl_div = binary(KlDiv, "sg.special.kl_div(0.5, [0.5, 0.25])", "array([0.        , 0.09657359])")


def _density(a: Any, x: Any) -> Any:
    """x ** (a - 1) * exp(-x) / gamma(a)."""
    return Exp()(XLogY()(a - 1.0, x) - x - GammaLn()(a))


class IncompleteGamma(Floating):
    """The base class of P and Q, whose derivatives are equal except for ``sign``."""

    kink = "x = 0 is where the domain begins"
    interval = Range(0.0, 1.0)
    flops = 1500
    sign: ClassVar[float]

    def in_float64(self, a: Array, x: Array) -> Any:
        # SciPy overflows for the largest a; P is 0 for those and smaller x.
        return super().in_float64(np.where(x < 1e290, np.minimum(a, 1e300), a), x)

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, a: Any, x: Any
    ) -> tuple[Cotangent | None, ...]:
        """``ct`` times the partial of what is needed: that by a is long."""
        by_a = times(ct, self.sign * by_shape(a, x)) if needed[0] else None
        return by_a, times(ct, self.sign * _density(a, x)) if needed[1] else None

    def pushforward(self, tangents: Sequence[Any], out: Any, a: Any, x: Any) -> Any:
        by_a, by_x = tangents
        if by_a is None:
            return by_x * (self.sign * _density(a, x))
        total = by_a * (self.sign * by_shape(a, x))
        return total if by_x is None else total + by_x * (self.sign * _density(a, x))


class GammaInc(IncompleteGamma, name="gammainc"):
    """P(a, x), the integral of t ** (a - 1) * exp(-t) from 0 to x over gamma(a); NaN below 0.

    By x it is x ** (a - 1) * exp(-x) / gamma(a), by a an integral (``gamma_shapes``).
    """

    scipy = "gammainc"
    primitive = "gammainc"
    sign = 1.0


class GammaIncC(IncompleteGamma, name="gammaincc"):
    """Q(a, x) = 1 - P(a, x), accurate where that vanishes; its derivatives are minus those of P."""

    scipy = "gammaincc"
    primitive = "gammaincc"
    sign = -1.0


class BetaLn(Floating, name="betaln"):
    """The logarithm of B(a, b) = gamma(a) * gamma(b) / gamma(a + b) for positive a and b.

    inf where one is 0, NaN where one is negative. Derivatives: digamma(a) - digamma(a + b), and the
    same of b.
    """

    has_poles = True
    primitive = "betaln"
    flops = 600

    def in_float64(self, a: Array, b: Array) -> Any:
        left, right = np.broadcast_arrays(a, b)
        inside = (left > 0) & (right > 0) & np.isfinite(left) & np.isfinite(right)
        low, high = np.minimum(left, right), np.maximum(left, right)
        border = np.where(low == 0, np.inf, np.where((low > 0) & np.isinf(high), -np.inf, np.nan))
        value = scipy_special("betaln")(np.where(inside, left, 1.0), np.where(inside, right, 1.0))
        return np.where(inside, value, border)

    def partials(self, out: Any, a: Any, b: Any) -> tuple[Partial, ...]:
        of_sum = Digamma()(a + b)
        return Digamma()(a) - of_sum, Digamma()(b) - of_sum


class BetaInc(Floating, name="betainc"):
    """I(x; a, b), the integral of t ** (a - 1) * (1 - t) ** (b - 1) from 0 to x over B(a, b).

    NaN for x outside [0, 1] and negative parameters. Where one is 0 or infinite it is the limit, of
    which there is none if both are. By x it is the integrand, by a and b an integral
    (``beta_slope``).
    """

    primitive = "betainc"
    kink = "x = 0 and x = 1 are where the domain ends"
    interval = Range(0.0, 1.0)
    flops = 3000

    def in_float64(self, a: Array, b: Array, x: Array) -> Any:
        left, right, at = np.broadcast_arrays(a, b, x)
        at_zero, at_one = (left == 0) | np.isinf(right), (right == 0) | np.isinf(left)
        defined = (left >= 0) & (right >= 0) & ~(at_zero & at_one) & (at >= 0) & (at <= 1)
        inside = defined & ~at_zero & ~at_one
        value = scipy_special("betainc")(*(np.where(inside, x, 0.5) for x in (left, right, at)))
        border = np.where((at == 1) | (at_zero & (at > 0)), 1.0, 0.0)
        return np.where(defined, np.where(inside, value, border), np.nan)

    @staticmethod
    def _by_x(a: Any, b: Any, x: Any) -> Any:
        return Exp()(XLogY()(a - 1.0, x) + XLog1PY()(b - 1.0, -x) - BetaLn()(a, b))

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, a: Any, b: Any, x: Any
    ) -> tuple[Cotangent | None, ...]:
        return (
            times(ct, beta_shape(a, b, x)) if needed[0] else None,
            times(ct, -beta_shape(b, a, x, upper=True)) if needed[1] else None,
            times(ct, self._by_x(a, b, x)) if needed[2] else None,
        )

    def pushforward(self, tangents: Sequence[Any], out: Any, a: Any, b: Any, x: Any) -> Any:
        by_a, by_b, by_x = tangents
        total = None if by_x is None else by_x * self._by_x(a, b, x)
        slopes: tuple[tuple[Any, Callable[[], Any]], ...] = (
            (by_a, lambda: beta_shape(a, b, x)),
            (by_b, lambda: -beta_shape(b, a, x, upper=True)),
        )
        for tangent, slope in slopes:
            if tangent is not None:
                term = tangent * slope()
                total = term if total is None else total + term
        return total


#: Nodes of each half of the integral, and steps by which its end is found.
_HALF_NODES: Final = 40
_END_STEPS: Final = 12


def _log_shares(v: Any) -> tuple[Any, Any]:
    """log(t) and log(1 - t) of t = 1 / (1 + exp(-v))."""
    softplus = log1p(exp(-absolute(v)))
    low = minimum(v, 0.0)
    return low - softplus, low - v - softplus


def beta_slope(a: Any, b: Any, v: Any) -> Any:
    """Return dv/da at a fixed probability I(t; a, b), of t = 1 / (1 + exp(-v)); float64.

    dI/da is the integral of f(t) (log(t) - E log(t)) from 0 to t, or of its negative from t to 1:
    on one side of exp(E log(t)) all terms have one sign. The variable is log(t / (1 - t)), in which
    t**a (1 - t)**b is log-concave and bends only at 0, where the integral is split.
    """
    mean = Digamma()(a) - Digamma()(a + b)
    log_t, log_rest = _log_shares(v)
    below = log_t <= mean
    side = selection.where(below, -1.0, 1.0)

    def fall(s: Any, a: Any, b: Any, v: Any, side: Any, log_t: Any, log_rest: Any) -> Any:
        """By how much the logarithm of the density falls over s, and log(t) there."""
        log_t_at, log_rest_at = _log_shares(v + side * s)
        return a * (log_t - log_t_at) + b * (log_rest - log_rest_at), log_t_at

    fixed = [StopGradient()(x) for x in (a, b, v, side, log_t, log_rest)]
    far, bend = _ends_of_beta(fall, fixed)
    gauss, weights = gauss_legendre(_HALF_NODES)
    unit = (gauss + 1.0) / 2.0
    # Nodes are dense at both ends, where two derivatives of this smooth step vanish. The factor has
    # its derivative and half the weights of [-1, 1].
    place = unit**3 * (10.0 - 15.0 * unit + 6.0 * unit**2)
    factor = weights * 15.0 * (unit * (1.0 - unit)) ** 2
    columns = [expand_dims(x, -1) for x in (a, b, v, side, log_t, log_rest)]
    total: Any = 0.0
    for start, length in ((bend * 0.0, bend), (bend, far - bend)):
        s = expand_dims(start, -1) + expand_dims(length, -1) * place
        drop, log_t_at = fall(s, *columns)
        terms = exp(-drop) * (log_t_at - expand_dims(mean, -1)) * factor
        total = total + length * sum_over(terms, (terms.ndim - 1,))
    return side * total


def _ends_of_beta(fall: Any, fixed: Sequence[Any]) -> tuple[Any, Any]:
    """Return where the density has fallen by ``_DEPTH``, and where the integral is split."""
    a, b, v, side = fixed[:4]
    # To the right log(t) is at most 0 and log(1 - t) at most -(v + s), so that the fall is at least
    # b * (s + log(t0)) + a * log(t0). From there Newton's steps approach the end of a convex curve.
    rate = selection.where(side < 0.0, a, b)
    nearer = selection.where(side < 0.0, fixed[5], fixed[4])
    far = (_DEPTH - nearer * (a + b)) / rate
    for _ in range(_END_STEPS):
        drop, _log_t = fall(far, *fixed)
        t = exp(_log_shares(v + side * far)[0])
        slope = side * (b * t - a * (1.0 - t))
        # Newton's step, towards 0 alone: a convex curve is approached from one side
        step = (drop - _DEPTH) / selection.where(slope > 0.0, slope, rate)
        far = maximum(far - maximum(step, 0.0), 0.0)
    crosses = (v * side) < 0.0
    bend = selection.where(crosses, minimum(absolute(v), far), 0.0)
    return far, bend


def beta_density(a: Any, b: Any, v: Any) -> Any:
    """The logarithm of the density of v = log(t / (1 - t)) where t has the beta distribution."""
    log_t, log_rest = _log_shares(v)
    return a * log_t + b * log_rest - BetaLn()(a, b)


def beta_shape(a: Any, b: Any, x: Any, *, upper: bool = False) -> Any:
    """The derivative of I(x; a, b) by a, or of I(1 - x; a, b) if ``upper``: float64 inside."""
    first, last, wide = astype(a, F64), astype(b, F64), astype(x, F64)
    inside = (wide > 0.0) & (wide < 1.0) & (first > 0.0) & (last > 0.0)
    inside = inside & (first < inf) & (last < inf)
    at = selection.where(inside, wide, 0.5)
    v = log(at) - log1p(-at)
    v = -v if upper else v
    first, last = selection.where(inside, first, 1.0), selection.where(inside, last, 1.0)
    slope = -exp(beta_density(first, last, v)) * beta_slope(first, last, v)
    return astype(selection.where(inside, slope, 0.0), x.dtype)
