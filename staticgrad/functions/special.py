"""Special functions in the names of ``scipy.special``, elementwise and broadcast.

Kernels compute them by blocks of their own, float32 and float64, within the errors of
``vecmath.blocks.ULP``; integers and bools become float64. SciPy's ufuncs of these names take values
of a graph, too. Public as ``sg.special``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NoReturn

from staticgrad.errors import ArgumentError
from staticgrad.errors.elsewhere import no_such_name
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import SPECIAL
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops import (
    bessel,
    entropy,
    gamma as gammas,
    incomplete,
    normal_distribution as normal,
)
from staticgrad.ops.bessel import i0 as i0
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_value, floating, integer
from staticgrad.ops.special import erfc as erfc, xlogy as xlogy
from staticgrad.ops.transcendental import Exp, Sigmoid, erf as erf

__all__ = [
    "beta",
    "betainc",
    "betaln",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "expit",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaln",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "kl_div",
    "lambertw",
    "log_ndtr",
    "logit",
    "ndtr",
    "ndtri",
    "polygamma",
    "rel_entr",
    "xlog1py",
    "xlogy",
    "zeta",
]


def __dir__() -> list[str]:
    return sorted(__all__)


_MINUS_ROOT_HALF: Final = -math.sqrt(0.5)


def gamma(x: Operand[AnyValue]) -> AnyValue:
    """The gamma function; inf at 0, -inf at -0, NaN at negative whole numbers.

    Beyond 171.6 (float32: 35) it overflows, where ``gammaln`` does not.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.gamma([1.0, 5.0]))
    array([ 1., 24.])
    """
    return gammas.Gamma()(x)


def gammaln(x: Operand[AnyValue]) -> AnyValue:
    """log(abs(gamma(x))); inf at 0 and at negative whole numbers.

    Derivatives of every order are ``digamma`` and ``polygamma``. Next to a zero below 0 the error
    is one of the terms that cancel there, not of the result; the same goes for ``digamma``.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.gammaln([1.0, 100.0]))
    array([  0.        , 359.13420537])
    """
    return gammas.GammaLn()(x)


def digamma(x: Operand[AnyValue]) -> AnyValue:
    """The derivative of ``gammaln``; -inf at 0, NaN at negative whole numbers.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.digamma([1.0, 2.0]))
    array([-0.57721566,  0.42278434])
    """
    return gammas.Digamma()(x)


def polygamma(n: int, x: Operand[AnyValue]) -> AnyValue:
    """The derivative of order ``n`` of ``digamma``; inf at 0 and at negative whole numbers.

    Args:
        n: a whole number known at build; 0 is ``digamma`` itself.
        x: a value.

    Raises:
        ArgumentError: ``n`` is negative, or above 170.
    """
    order = integer("polygamma", "n", n)
    if not 0 <= order <= 170:
        raise ArgumentError(f"polygamma: n={order} is not from 0 to 170")
    return gammas.Polygamma(order)(x) if order else gammas.Digamma()(x)


def gammainc(a: Operand[AnyValue], x: Operand[AnyValue]) -> AnyValue:
    """The lower incomplete gamma function, regularized: 0 at x = 0, 1 at inf; NaN below 0.

    There is a derivative by x, none by a.

    Args:
        a, x: numbers, which broadcast.

    Returns:
        The values, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.gammainc(1.0, [0.0, 1.0]))
    array([0.        , 0.63212056])
    """
    return incomplete.GammaInc()(a, x)


def gammaincc(a: Operand[AnyValue], x: Operand[AnyValue]) -> AnyValue:
    """1 - gammainc(a, x), accurate where that vanishes.

    There is a derivative by x, none by a.

    Args:
        a, x: numbers, which broadcast.

    Returns:
        The values, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.gammaincc(1.0, [0.0, 1.0]))
    array([1.        , 0.36787944])
    """
    return incomplete.GammaIncC()(a, x)


def beta(a: Operand[AnyValue], b: Operand[AnyValue]) -> AnyValue:
    """gamma(a) * gamma(b) / gamma(a + b) for positive a and b; NaN below 0.

    It is exp(betaln(a, b)), so that its relative error grows with the size of that.

    Args:
        a, b: numbers, which broadcast.

    Returns:
        The values, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.beta(2.0, 3.0))
    array(0.08333333)
    """
    return Exp()(incomplete.BetaLn()(a, b))


def betaln(a: Operand[AnyValue], b: Operand[AnyValue]) -> AnyValue:
    """log(beta(a, b)) for positive a and b; inf where one is 0, NaN below.

    Args:
        a, b: numbers, which broadcast.

    Returns:
        The values, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.betaln(2.0, 3.0))
    array(-2.48490665)
    """
    return incomplete.BetaLn()(a, b)


def betainc(a: Operand[AnyValue], b: Operand[AnyValue], x: Operand[AnyValue]) -> AnyValue:
    """The incomplete beta function, regularized: 0 at x = 0, 1 at 1, NaN outside.

    There is a derivative by x, none by a and b. Beyond (a + 1) / (a + b + 2) it is 1 minus the
    other tail, so that its error is relative to 1 there. NaN where parameters are so large (from
    some millions on) that the fraction does not converge.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    return incomplete.BetaInc()(a, b, x)


def zeta(x: Operand[AnyValue], q: Operand[AnyValue] = 1.0) -> AnyValue:
    """Hurwitz' zeta function, the sum of (q + k) ** -x over k = 0, 1, ...; of q = 1 Riemann's.

    inf at x = 1 and at whole q from 0 down; NaN for x below 1 and other negative q. There is a
    derivative by q, none by x.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    return gammas.Zeta()(x, q)


def erfcx(x: Operand[AnyValue]) -> AnyValue:
    """exp(x ** 2) * erfc(x), which falls as 1 / (x * sqrt(pi)); inf far below 0.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.erfcx([0.0, 10.0]))
    array([1.        , 0.05614099])
    """
    return normal.Erfcx()(x)


def erfinv(x: Operand[AnyValue]) -> AnyValue:
    """Where ``erf`` is x; infinite at -1 and 1, NaN beyond.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.erfinv([0.0, 0.5]))
    array([0.        , 0.47693628])
    """
    return normal.ErfInv()(x)


def erfcinv(x: Operand[AnyValue]) -> AnyValue:
    """Where ``erfc`` is x, accurate next to 0; inf at 0, -inf at 2, NaN beyond.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.erfcinv([1.0, 0.5]))
    array([-0.        ,  0.47693628])
    """
    value = floating("erfcinv", as_value("erfcinv", x))
    return normal.Ndtri()(value * 0.5) * _MINUS_ROOT_HALF


def ndtr(x: Operand[AnyValue]) -> AnyValue:
    """The fraction of the standard normal distribution below x, accurate where it vanishes.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.ndtr([0.0, 1.0]))
    array([0.5       , 0.84134475])
    """
    return normal.Ndtr()(x)


def log_ndtr(x: Operand[AnyValue]) -> AnyValue:
    """log(ndtr(x)), without underflow far below 0 and accurate far above.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.log_ndtr([0.0, -40.0]))
    array([-6.93147181e-01, -8.04608442e+02])
    """
    return normal.LogNdtr()(x)


def ndtri(p: Operand[AnyValue]) -> AnyValue:
    """Where ``ndtr`` is p; infinite at 0 and 1, NaN beyond. As exact as p is next to 1.

    Args:
        p: numbers between 0 and 1.

    Returns:
        The values, of p's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.ndtri([0.5, 0.975]))
    array([0.        , 1.95996398])
    """
    return normal.Ndtri()(p)


def i1(x: Operand[AnyValue]) -> AnyValue:
    """The modified Bessel function of the first kind of order 1.

    At 0 derivatives of orders above the second are given as 0.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.i1([0.0, 1.0]))
    array([0.       , 0.5651591])
    """
    return bessel.I1()(x)


def i0e(x: Operand[AnyValue]) -> AnyValue:
    """exp(-abs(x)) * i0(x), which does not overflow. Its derivative at 0 is given as 0.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.i0e([0.0, 1.0]))
    array([1.        , 0.46575961])
    """
    return bessel.I0e()(x)


def i1e(x: Operand[AnyValue]) -> AnyValue:
    """exp(-abs(x)) * i1(x), which does not overflow.

    Its derivative at 0 is 1/2; those of higher orders are given as 0.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.i1e([0.0, 1.0]))
    array([0.        , 0.20791042])
    """
    return bessel.I1e()(x)


def xlog1py(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x * log1p(y), and 0 where x is 0 (unless y is NaN); its derivatives there are 0 too.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    return entropy.XLog1PY()(x, y)


def logit(p: Operand[AnyValue]) -> AnyValue:
    """log(p / (1 - p)), the inverse of ``expit``; infinite at 0 and 1, NaN beyond.

    Args:
        p: numbers between 0 and 1.

    Returns:
        The values, of p's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.logit([0.5, 0.9]))
    array([0.        , 2.19722458])
    """
    return entropy.Logit()(p)


def expit(x: Operand[AnyValue]) -> AnyValue:
    """1 / (1 + exp(-x)), right at both ends; ``sg.sigmoid``."""
    return Sigmoid()(x)


def entr(x: Operand[AnyValue]) -> AnyValue:
    """-x * log(x): 0 at 0, -inf below.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.entr([0.0, 1.0]))
    array([ 0., -0.])
    """
    return entropy.Entr()(x)


def rel_entr(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x * log(x / y) for positive x and y; 0 at x = 0 for y >= 0, inf elsewhere.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    return entropy.RelEntr()(x, y)


def kl_div(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x * log(x / y) - x + y for positive x and y; y at x = 0 for y >= 0, inf elsewhere.

    Args:
        x, y: numbers, which broadcast.

    Returns:
        The values, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.kl_div(0.5, [0.5, 0.25]))
    array([0.        , 0.09657359])
    """
    return entropy.KlDiv()(x, y)


def lambertw(x: Operand[AnyValue]) -> AnyValue:
    """The real solution w >= -1 of w * exp(w) = x: the principal branch; NaN below -1/e.

    SciPy's gives complex numbers, and other branches.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.special.lambertw([0.0, 1.0]))
    array([0.        , 0.56714329])
    """
    return entropy.LambertW()(x)


publish(globals(), __name__, __all__)
SPECIAL.update({name: globals()[name] for name in __all__}, psi=globals()["digamma"])

if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        raise no_such_name("sg.special", name, __all__)
