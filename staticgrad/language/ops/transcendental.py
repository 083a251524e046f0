"""Exponentials, logarithms, roots, trigonometric and hyperbolic functions, sigmoid, erf.

Only ``sqrt`` is exact. The others are vector-math blocks in kernels, or a few operations around
one, and NumPy's or SciPy's functions in the reference. Integers and bools become float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import inf
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad.language.calls.functional import NUMPY_NAMES
from staticgrad.language.ir.expr import Expr, literal, select
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.ranges import Range, RangeOf, Zero
from staticgrad.language.ops import selection
from staticgrad.language.ops.arithmetic import FlatPower, isinf
from staticgrad.language.ops.cotangent import ZERO, Partial
from staticgrad.language.ops.elementwise import ArrayLike, Floating, binary, scipy_special, unary
from staticgrad.language.ops.logic import logical_and, logical_or
from staticgrad.language.ops.selection import minimum
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.layout import flip_sign, sign_bit
from staticgrad.language.vecmath.scaled_error_function import ERFCX

_TWO_OVER_ROOT_PI: Final = 2.0 / math.sqrt(math.pi)


class Exp(Floating, name="exp"):
    """e ** x. Derivative: exp(x)."""

    has_poles = True
    numpy = np.exp
    primitive = "exp"
    positive = "always"
    flops = 20

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return Range(0.0, 1.0 if of(x).high <= 0 else inf, Zero.NEVER)


class Expm1(Floating, name="expm1"):
    """e ** x - 1, accurate near 0. Derivative: exp(x)."""

    has_poles = True
    keeps_sign = True
    numpy = np.expm1
    primitive = "expm1"
    flops = 24

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        # out + 1.0 would have no digits left where exp(x) is small
        return (Exp()(x),)


class _Logarithm(Floating):
    """Logarithm to a base whose natural logarithm is ``scale``. Derivative: 1 / (x * scale)."""

    has_poles = True
    scale: ClassVar[float] = 1.0

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / self._scale_operand(x),)

    def pullback(self, ct: Any, needed: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (ct / self._scale_operand(x),)

    def _scale_operand(self, x: Any) -> Any:
        return x if self.scale == 1.0 else x * self.scale

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        a = of(args[0])
        return Range(0.0 if a.low >= 1 else -inf, 0.0 if a.high <= 1 else inf)


class Log(_Logarithm, name="log"):
    """Natural logarithm; -inf at 0, NaN below. Derivative: 1 / x."""

    numpy = np.log
    primitive = "log"
    flops = 22


class Log2(_Logarithm, name="log2"):
    """Logarithm to base 2, exact for powers of two; -inf at 0, NaN below.

    Derivative: 1 / (x log(2)).
    """

    numpy = np.log2
    primitive = "log2"
    flops = 26
    scale = math.log(2.0)


class Log10(_Logarithm, name="log10"):
    """Logarithm to base 10; -inf at 0, NaN below. Derivative: 1 / (x log(10))."""

    numpy = np.log10
    primitive = "log10"
    flops = 26
    scale = math.log(10.0)


class Log1p(Floating, name="log1p"):
    """log(1 + x), accurate near 0; -inf at -1, NaN below. Derivative: 1 / (1 + x)."""

    has_poles = True
    keeps_sign = True
    numpy = np.log1p
    primitive = "log1p"
    flops = 26

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (x + 1.0),)

    def pullback(self, ct: Any, needed: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (ct / (x + 1.0),)


class Sqrt(Floating, name="sqrt"):
    """Square root, rounded correctly; NaN below 0. Derivative: 0.5 / sqrt(x), inf at 0."""

    has_poles = True
    numpy = np.sqrt
    primitive = "sqrt"
    exact = True
    flops = 5
    kink = "the derivative at 0 is inf"

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (0.5 / out,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return Range(0.0, inf, a.zero if a.low >= 0 else Zero.MAYBE)


class Sin(Floating, name="sin"):
    """Sine of x in radians; every finite x is reduced exactly. Derivative: cos(x)."""

    numpy = np.sin
    primitive = "sin"
    interval = Range(-1.0, 1.0)
    flops = 24

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Cos()(x),)


class Cos(Floating, name="cos"):
    """Cosine of x in radians; every finite x is reduced exactly. Derivative: -sin(x)."""

    numpy = np.cos
    primitive = "cos"
    interval = Range(-1.0, 1.0)
    flops = 24

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (-Sin()(x),)


class Tanh(Floating, name="tanh"):
    """Hyperbolic tangent. Derivative: 1 - tanh(x) ** 2."""

    numpy = np.tanh
    primitive = "tanh"
    interval = Range(-1.0, 1.0)
    flops = 28

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 - out * out,)


class Sigmoid(Floating, name="sigmoid"):
    """Logistic sigmoid, 1 / (1 + exp(-x)), accurate at both ends. Derivative: s * (1 - s)."""

    interval = Range(0.0, 1.0, Zero.NEVER)
    positive = "always"
    flops = 28

    def reference(self, x: Array) -> Any:
        e = np.exp(-np.absolute(x))
        return np.where(x >= 0, 1, e) / (1 + e)

    def eager(self, x: Array) -> Any:
        """The same numbers without a branch per element."""
        return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.absolute(x)))

    def scalar(self, x: Expr) -> Expr:
        e = (-abs(x)).exp()
        return select(x >= 0, literal(1, x.dtype), e) / (1 + e)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out * (1.0 - out),)


class Erf(Floating, name="erf"):
    """Error function, 2 / sqrt(pi) times the integral of exp(-t * t) from 0 to x.

    Derivative: 2 / sqrt(pi) * exp(-x * x).
    """

    scipy = "erf"
    primitive = "erf"
    interval = Range(-1.0, 1.0)
    flops = 36

    def eager(self, x: Array) -> Any:
        """Compute in the dtype of x throughout: half the time in float32."""
        return scipy_special("erf")(x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (_TWO_OVER_ROOT_PI * Exp()(-(x * x)),)


exp = unary(Exp, "sg.exp([0.0, 1.0])", "array([1.        , 2.71828183])")
expm1 = unary(Expm1, "sg.expm1([0.0, 1e-12])", "array([0.e+00, 1.e-12])")
log = unary(Log, "sg.log([1.0, 0.0])", "array([  0., -inf])")
log1p = unary(Log1p, "sg.log1p([0.0, 1e-12])", "array([0.e+00, 1.e-12])")
sqrt = unary(Sqrt, "sg.sqrt([4.0, 2.0])", "array([2.        , 1.41421356])")
sin = unary(Sin, "sg.sin([0.0, sg.pi / 2])", "array([0., 1.])")
cos = unary(Cos, "sg.cos([0.0, sg.pi])", "array([ 1., -1.])")
tanh = unary(Tanh, "sg.tanh([0.0, 1.0])", "array([0.        , 0.76159416])")
sigmoid = unary(Sigmoid, "sg.sigmoid([0.0, -1000.0])", "array([0.5, 0. ])")
expit = unary(
    Sigmoid, "sg.special.expit([-1000.0, 0.0, 1000.0])", "array([0. , 0.5, 1. ])", name="expit"
)
erf = unary(Erf, "sg.erf([0.0, 1.0])", "array([0.        , 0.84270079])")


NUMPY_NAMES["expit"] = "sigmoid"  # a ufunc of scipy.special


class Tan(Floating, name="tan"):
    """Tangent of x in radians; every finite x is reduced exactly. Derivative: 1 + tan(x) ** 2."""

    has_poles = True
    numpy = np.tan
    primitive = "tan"
    flops = 50

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 + out * out,)


class Asin(Floating, name="asin"):
    """The angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1.

    Derivative: 1 / sqrt((1 - x)(1 + x)), inf at the ends.
    """

    has_poles = True
    numpy = np.arcsin
    primitive = "asin"
    kink = "the derivative at -1 and 1 is inf"
    flops = 30

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / sqrt((1.0 - x) * (1.0 + x)),)


class Acos(Floating, name="acos"):
    """The angle in [0, pi] whose cosine is x; NaN beyond 1.

    Derivative: -1 / sqrt((1 - x)(1 + x)), -inf at the ends.
    """

    has_poles = True
    numpy = np.arccos
    primitive = "acos"
    kink = "the derivative at -1 and 1 is -inf"
    flops = 30

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (-1.0 / sqrt((1.0 - x) * (1.0 + x)),)


class Atan(Floating, name="atan"):
    """The angle in [-pi/2, pi/2] whose tangent is x. Derivative: 1 / (1 + x ** 2)."""

    keeps_sign = True
    numpy = np.arctan
    primitive = "atan"
    flops = 26

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (1.0 + x * x),)


class Atan2(Floating, name="atan2"):
    """The angle of the point (x, y) in [-pi, pi], signs of zeros counted; 0, -0, pi or -pi at the
    origin.

    Derivatives: x / (x ** 2 + y ** 2) by y and -y / (x ** 2 + y ** 2) by x, NaN at the origin.
    """

    has_poles = True
    numpy = np.arctan2
    primitive = "atan2"
    kink = "the derivatives at the origin are NaN"
    flops = 40

    def partials(self, out: Any, y: Any, x: Any) -> tuple[Partial, ...]:
        squared = x * x + y * y
        return x / squared, -(y / squared)


class Hypot(Floating, name="hypot"):
    """sqrt(x ** 2 + y ** 2) without overflow or underflow; inf where either is infinite.

    Derivatives: x / out and y / out; 0 at the origin, where further ones are NaN.
    """

    numpy = np.hypot
    interval = Range(0.0, inf, Zero.REACHED)
    kink = "the derivatives at the origin are 0"
    flops = 20

    def scalar(self, x: Expr, y: Expr) -> Expr:
        across, up = abs(x), abs(y)
        larger = across.maximum(up)
        # The larger part is taken out, so that no square overflows or underflows to 0.
        ratio = across.minimum(up) / larger
        length = select(larger.eq(0.0), larger, larger * (ratio * ratio + 1.0).sqrt())
        infinite = across.eq(inf) | up.eq(inf)
        return select(infinite, literal(inf, x.dtype), length)

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        where, origin = selection.where, out == 0.0
        zero = FlatPower(-0.5)(out)  # at the origin; its own derivative there is NaN
        return where(origin, zero, x / out), where(origin, zero, y / out)


tan = unary(Tan, "sg.tan([0.0, 1.0])", "array([0.        , 1.55740772])")
arcsin = unary(Asin, "sg.arcsin([0.0, 1.0])", "array([0.        , 1.57079633])", name="arcsin")
arccos = unary(Acos, "sg.arccos([1.0, -1.0])", "array([0.        , 3.14159265])", name="arccos")
arctan = unary(Atan, "sg.arctan([0.0, 1.0])", "array([0.        , 0.78539816])", name="arctan")


def arctan2(y: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """The angle in [-pi, pi] of the point (x, y), y first, broadcast; always floating.

    Its derivatives at the origin are NaN.

    Args:
        y, x: numbers, which broadcast; integers and bools are converted to float64.

    >>> sg.arctan2([1.0, -1.0], [1.0, 1.0]).round(3)
    array([ 0.785, -0.785])
    """
    return Atan2()(y, x)


hypot = binary(Hypot, "sg.hypot(3.0, [4.0, 0.0])", "array([5., 3.])")


NUMPY_NAMES.update(asin="arcsin", acos="arccos", atan="arctan", atan2="arctan2")


#: From here on 1 is nothing beside the square of x.
_HUGE: Final[dict[DType, float]] = {F32: 2.0**13, F64: 2.0**28}
_LN2: Final = math.log(2.0)


class Sinh(Floating, name="sinh"):
    """Hyperbolic sine, accurate near 0. Derivative: cosh(x)."""

    has_poles = True
    keeps_sign = True
    numpy = np.sinh
    primitive = "sinh"
    flops = 32

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Cosh()(x),)


class Cosh(Floating, name="cosh"):
    """Hyperbolic cosine. Derivative: sinh(x)."""

    has_poles = True
    numpy = np.cosh
    primitive = "cosh"
    positive = "always"
    interval = Range(1.0, inf, Zero.NEVER)
    flops = 28

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Sinh()(x),)


class Asinh(Floating, name="asinh"):
    """Inverse of sinh. Derivative: 1 / sqrt(x ** 2 + 1)."""

    keeps_sign = True
    numpy = np.arcsinh
    flops = 40

    def scalar(self, x: Expr) -> Expr:
        magnitude = abs(x)
        squared, near = magnitude * magnitude, magnitude < _HUGE[x.dtype]
        # x + sqrt(x**2 + 1) - 1 without cancellation; log1p of it keeps the digits near 0
        less_one = magnitude + squared / ((squared + 1.0).sqrt() + 1.0)
        log = select(near, less_one, magnitude - 1.0).log1p()
        return flip_sign(select(near, log, log + _LN2), sign_bit(x))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / hypot(x, 1.0),)


class Acosh(Floating, name="acosh"):
    """Inverse of cosh, at least 0; NaN below 1.

    Derivative: 1 / sqrt((x - 1)(x + 1)), inf at 1.
    """

    has_poles = True
    numpy = np.arccosh
    kink = "the derivative at 1 is inf"
    flops = 36

    def scalar(self, x: Expr) -> Expr:
        above, near = x - 1.0, x < _HUGE[x.dtype]
        # x - 1 + sqrt(x**2 - 1) by y = x - 1: x**2 - 1 = 2 y + y**2, without cancellation near 1
        less_one = above + (above + above + above * above).sqrt()
        log = select(near, less_one, above).log1p()
        return select(x < 1.0, literal(math.nan, x.dtype), select(near, log, log + _LN2))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (sqrt(x - 1.0) * sqrt(x + 1.0)),)


class Atanh(Floating, name="atanh"):
    """Inverse of tanh; infinite at -1 and 1, NaN beyond. Derivative: 1 / ((1 - x)(1 + x))."""

    has_poles = True
    numpy = np.arctanh
    flops = 36

    def scalar(self, x: Expr) -> Expr:
        magnitude = abs(x)
        double = magnitude + magnitude
        # atanh(x) = log((1 + x) / (1 - x)) / 2 = log1p(2 x + 2 x**2 / (1 - x)) / 2
        grown = double + double * magnitude / (1.0 - magnitude)
        angle = select(magnitude > 1.0, literal(math.nan, x.dtype), grown.log1p() * 0.5)
        return flip_sign(angle, sign_bit(x))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / ((1.0 - x) * (1.0 + x)),)


sinh = unary(Sinh, "sg.sinh([0.0, 1.0])", "array([0.        , 1.17520119])")
cosh = unary(Cosh, "sg.cosh([0.0, 1.0])", "array([1.        , 1.54308063])")
arcsinh = unary(Asinh, "sg.arcsinh([0.0, 1.0])", "array([0.        , 0.88137359])", name="arcsinh")
arccosh = unary(Acosh, "sg.arccosh([1.0, 2.0])", "array([0.       , 1.3169579])", name="arccosh")
arctanh = unary(Atanh, "sg.arctanh([0.0, 0.5])", "array([0.        , 0.54930614])", name="arctanh")


NUMPY_NAMES.update(asinh="arcsinh", acosh="arccosh", atanh="arctanh")


_MINUS_TWO_OVER_ROOT_PI: Final = -2.0 / math.sqrt(math.pi)


class Exp2(Floating, name="exp2"):
    """2 ** x, exact for whole x. Derivative: 2 ** x * log(2)."""

    has_poles = True
    numpy = np.exp2
    primitive = "exp2"
    positive = "always"
    flops = 20

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out * _LN2,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return Range(0.0, 1.0 if of(x).high <= 0 else inf, Zero.NEVER)


class Cbrt(Floating, name="cbrt"):
    """Real cube root, also of negative x. Derivative: 1 / (3 cbrt(x) ** 2), inf at 0."""

    has_poles = True
    keeps_sign = True
    numpy = np.cbrt
    primitive = "cbrt"
    kink = "the derivative at 0 is inf"
    flops = 30

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (3.0 * (out * out)),)


class LogAddExp(Floating, name="logaddexp"):
    """log(exp(x) + exp(y)) without overflow.

    Derivatives: sigmoid(x - y) and sigmoid(y - x); 1/2 each where both are inf, 0 where both are
    -inf, the logarithm of nothing.
    """

    numpy = np.logaddexp
    flops = 50

    def scalar(self, x: Expr, y: Expr) -> Expr:
        general = x.maximum(y) + (-abs(x - y)).exp().log1p()
        return select(x.eq(y), x + _LN2, general)

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        same = logical_and(x == y, isinf(x))  # x - y is NaN there
        difference = selection.where(same, minimum(x, ZERO), x - y)
        above = difference > 0.0
        # 1 - smaller is not sigmoid of a positive number, whose derivative s * (1 - s) cancels
        smaller = Sigmoid()(selection.where(above, -difference, difference))
        larger = 1.0 - smaller
        by_x = selection.where(above, larger, smaller)
        return by_x, selection.where(logical_or(above, same), smaller, larger)


class XLogY(Floating, name="xlogy"):
    """x * log(y), and 0 where x is 0 unless y is NaN.

    Derivatives: log(y), but 0 where x is 0 and y at most 0; and x / y, 0 where x is 0.
    """

    has_poles = True
    kink = "the derivatives where x is 0 are 0, by x only where y is at most 0"
    flops = 25

    def reference(self, x: Array, y: Array) -> Any:
        zero = np.zeros((), x.dtype)
        return np.where((x == 0) & (y == y), zero, x * np.log(y))

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return select(x.eq(0.0) & y.eq(y), literal(0.0, x.dtype), x * y.log())

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        where = selection.where
        nothing = x == 0.0
        undefined = logical_and(nothing, y <= 0.0)
        return where(undefined, ZERO, Log()(y)), where(nothing, ZERO, x / y)


def gaussian(x: Array, factor: float) -> Array:
    """exp(factor * x ** 2) for a whole power of two, of moderate float64 x, to the last digits."""
    short = x.astype(np.float32).astype(np.float64)  # an exact square
    # x**2 = short**2 + (x - short) (x + short): the rounding of x**2 would be an error of the
    # result times x**2
    return np.asarray(np.exp(factor * short * short) * np.exp(factor * (x - short) * (x + short)))


def polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    """c0 + c1 x + c2 x**2 + ..."""
    total = np.zeros_like(x)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def scaled_erfc(a: Array) -> Array:
    """exp(a ** 2) * erfc(a) for float64 a >= 0, by the kernel's series."""
    inside = np.minimum(a, 1e300)
    return polynomial((inside - 4) / (inside + 4), ERFCX[F64]) / (a + 4)


class Erfc(Floating, name="erfc"):
    """1 - erf(x), accurate where that vanishes. Derivative: -2 / sqrt(pi) * exp(-x * x)."""

    primitive = "erfc"
    interval = Range(0.0, 2.0, Zero.NEVER)
    flops = 60

    def in_float64(self, x: Array) -> Any:
        # In the tail SciPy's erfc has 1e-13 of error, for it rounds x * x before exp(-x * x).
        tail = (x > 0.5) & (x < 27)
        inside = np.where(tail, x, 0.5)
        scaled = gaussian(inside, -1.0) * scaled_erfc(inside)
        return np.where(tail, scaled, scipy_special("erfc")(x))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (_MINUS_TWO_OVER_ROOT_PI * Exp()(-(x * x)),)


exp2 = unary(Exp2, "sg.exp2([3.0, -1.0])", "array([8. , 0.5])")
log2 = unary(Log2, "sg.log2([0.5, 1.0, 8.0])", "array([-1.,  0.,  3.])")
log10 = unary(Log10, "sg.log10([1.0, 1000.0])", "array([0., 3.])")
cbrt = unary(Cbrt, "sg.cbrt([8.0, -1.0])", "array([ 2., -1.])")
logaddexp = binary(
    LogAddExp, "sg.logaddexp([0.0, 1000.0], 0.0)", "array([6.93147181e-01, 1.00000000e+03])"
)
xlogy = binary(XLogY, "sg.xlogy([0.0, 2.0], [0.0, 1.0])", "array([0., 0.])")
erfc = unary(Erfc, "sg.erfc([0.0, 10.0])", "array([1.00000000e+00, 2.08848758e-45])")
