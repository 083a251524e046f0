"""log|Gamma|, and the first two derivatives of it: digamma and trigamma.

From 8 on Stirling's series with one polynomial in 1/x**2 for its remainder. Below, t = (x - 2)/(x +
2) takes the cut of all three along the negative axis as far away as it can be from [1/2, 8]: one
polynomial in t serves all of that, times the zeros of the function (1 and 2; the positive root of
digamma) or over its pole. Below 1/2 it is the value at x + 1 and the recurrence, below 0 the
reflection by sin(pi x), whose x is reduced exactly; there the error is one of the largest term,
since a zero between poles is where terms cancel. Chebyshev series found in 60 digits, rounded.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.layout import even_odd, horner
from staticgrad.language.vecmath.logarithm import log
from staticgrad.support.records import dataclass

#: gammaln(x) / ((x - 1) (x - 2)) in t.
GAMMALN: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        0.42278432846069336, -0.40126919746398926, 0.12617118656635284, -0.13897787034511566,
        0.08291604369878769, -0.08713428676128387, 0.0628000944852829, -0.06458604335784912,
        0.044945575296878815, -0.04582585394382477, 0.06922473013401031, -0.06985282152891159,
        -0.0446278378367424, 0.04464120790362358, 0.13835184276103973, -0.13903342187404633,
    ),
    F64: (
        0.42278433509846713, -0.40126920669741567, 0.12617080324107535, -0.13897748719618885,
        0.08293806015386704, -0.08715639051927582, 0.062323224494192274, -0.06410725846970548,
        0.049933397130625966, -0.050833842257422934, 0.04164043259167322, -0.04215565118761506,
        0.03570612421755789, -0.03602823108903904, 0.03120855381088239, -0.03142331866535802,
        0.028180679642921473, -0.028331473966976363, 0.021792495372797514, -0.021898919137834375,
        0.04151932178281965, -0.041619145149218266, -0.06055688020630698, 0.060570706143419764,
        0.27741760985768416, -0.2777128188132102, -0.5681701965003603, 0.5686915448062387,
        0.9254385261541375, -0.9263491945365451, -0.8606928403636437, 0.8615256050026335,
        0.42835530568446284, -0.42879453881019697,
    ),
}  # fmt: skip
#: (x + 2) digamma(x) / (x - root) in t.
DIGAMMA: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        3.1412301063537598, -1.0305931568145752, 1.7735750675201416, -1.131316900253296,
        1.5799322128295898, -1.2008033990859985, 1.5077214241027832, -1.2353755235671997,
        1.5733789205551147, -1.3538047075271606, 0.7579962611198425, -0.6247767210006714,
        4.490071773529053, -4.152965068817139, -5.815528869628906, 5.494737148284912,
        9.436134338378906, -8.811746597290039,
    ),
    F64: (
        3.141230154416421, -1.0305931205116008, 1.773578293688594, -1.1313200299077641,
        1.5796925096827636, -1.200578196736772, 1.5144117128868961, -1.2416594540472305,
        1.4810603621317966, -1.2671087670254368, 1.4602927867033115, -1.2841295495688005,
        1.4460170736525713, -1.2961150614797428, 1.4354275566106771, -1.3074848068051286,
        1.4298249853609886, -1.2877567368033094, 1.3959225980721734, -1.5282594431147298,
        1.6331570643337119, 0.03292636968567484, 0.013531440926614357, -7.9474904457701685,
        8.239916334059831, 23.0684124653269, -23.76912389474398, -68.25040933454868,
        70.45634913513678, 131.66352233315112, -135.85598362280754, -183.59960762178665,
        189.52401869839647, 154.7187680336247, -159.71506943726118, -66.38030966021338,
        68.56880906233167,
    ),
}  # fmt: skip
#: x trigamma(x) in t.
TRIGAMMA: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        1.2898681163787842, -0.6531741619110107, 0.7840330600738525, -0.8797025680541992,
        0.9399923086166382, -0.9727778434753418, 0.9836696982383728, -0.9905881881713867,
        1.063539743423462, -1.0646681785583496, 0.502526044845581, -0.5026916265487671,
        3.1546404361724854, -3.154663324356079, -4.13073205947876, 4.130728721618652,
        6.6624627113342285, -6.662463188171387,
    ),
    F64: (
        1.2898681336964528, -0.6531741831606025, 0.7840353520016462, -0.879704873703147,
        0.9398225531047028, -0.9726080628523578, 0.9884073510835865, -0.9953258607585957,
        0.9981714490803637, -0.999299768347367, 0.9997364181512907, -0.99990684075933,
        0.9999687148843845, -0.9998843691153086, 0.9998927320679195, -1.0015974821539864,
        1.001598576758333, -0.9817178215297327, 0.9817179614804208, -1.1561140421384541,
        1.1561140597238777, 0.006526140315167896, -0.006526138133953059, -5.9164542721277025,
        5.916454272395414, 17.117358431111445, -17.117358431078912, -50.693486185419104,
        50.69348618542302, 97.77032249872822, -97.77032249872775, -136.3661499780722,
        136.36614997807226, 114.91668033162446, -114.91668033162446, -49.32046366164139,
        49.3204636616414,
    ),
}  # fmt: skip
#: x (gammaln(x) - (x - 1/2) log(x) + x - log(2 pi)/2) in 1/x**2.
STIRLING: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        0.0833333358168602, -0.0027776984497904778, 0.0007800346938893199,
    ),
    F64: (
        0.0833333333333333, -0.002777777777606244, 0.0007936506649488252, -0.0005952025951802712,
        0.0008372834512071336, -0.0016526004455595122,
    ),
}  # fmt: skip
#: x**2 (log(x) - 1/(2x) - digamma(x)) in 1/x**2.
DIGAMMA_TAIL: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        0.0833333358168602, -0.008332783356308937, 0.0038735882844775915,
    ),
    F64: (
        0.08333333333333287, -0.008333333331168558, 0.003968252342841619, -0.004166217650696842,
        0.007519088230747095, -0.017711160415846534,
    ),
}  # fmt: skip
#: x**3 (trigamma(x) - 1/x - 1/(2 x**2)) in 1/x**2.
TRIGAMMA_TAIL: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        0.1666666567325592, -0.03332897648215294, 0.023057932034134865,
    ),
    F64: (
        0.16666666666666655, -0.03333333333249287, 0.023809522943893217, -0.03333299706371194,
        0.07569481310235808, -0.24699740954161503, 0.8586880107331692,
    ),
}  # fmt: skip
#: sin(pi r) / (pi r) in r**2.
SINE: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        1.0, -1.6449332237243652, 0.8117148280143738, -0.19044175744056702, 0.024718644097447395,
    ),
    F64: (
        1.0, -1.6449340668482264, 0.8117424252833393, -0.19075182412149616, 0.02614784780555096,
        -0.0023460808954639607, 0.0001484278414189103, -6.972099660851199e-06,
        2.4502943624559793e-07,
    ),
}  # fmt: skip
#: cos(pi r) / (1 - 4 r**2) in r**2.
COSINE: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        1.0, -0.9348019957542419, 0.3194977045059204, -0.057186271995306015, 0.006041776388883591,
    ),
    F64: (
        1.0, -0.9348022005446793, 0.3195033242380492, -0.05724947190231324, 0.006332742747862203,
        -0.00047592037539358493, 2.589262194384223e-05, -1.0666850970497326e-06,
        3.3478866930384306e-08,
    ),
}  # fmt: skip
#: log(2 pi)/2 - 1/2.
STIRLING_CONSTANT: Final = 0.41893853320467274
#: The positive root of digamma, in two parts.
ROOT: Final[dict[DType, tuple[float, float]]] = {
    F32: (1.4616321325302124, 1.2438149938918909e-08),
    F64: (1.4616321449683622, 9.549995429965697e-17),
}
#: From here on every number is whole.
WHOLE: Final[dict[DType, float]] = {F32: 2.0**24, F64: 2.0**53}


@dataclass(frozen=True)
class Ranges:
    """y = |x|, the ranges it is in, z = y or y + 1 in [1/2, 8) and its t.

    ``inverse`` is 1/(z + 2) below 8, 1/y from there on.
    """

    y: Expr
    low: Expr
    high: Expr
    z: Expr
    t: Expr
    inverse: Expr


def _ranges(x: Expr) -> Ranges:
    y = abs(x)
    low, high = y < 0.5, ~(y < 8.0)
    z = select(low, y + 1.0, y)
    reciprocal = literal(1.0, x.dtype) / select(high, y, z + 2.0)
    return Ranges(y, low, high, z, (z - 2.0) * reciprocal, reciprocal)


def _middle(r: Ranges, table: dict[DType, tuple[float, ...]]) -> Expr:
    return even_odd(r.t, r.t * r.t, table[r.t.dtype])


def _far(r: Ranges, table: dict[DType, tuple[float, ...]]) -> Expr:
    return horner(r.inverse * r.inverse, table[r.t.dtype])


def _turn(y: Expr) -> tuple[Expr, Expr]:
    """r = y - the nearest whole number, exact, and sin(pi r)/(pi r)."""
    r = y - y.rint()
    return r, horner(r * r, SINE[y.dtype])


def _cosine(r: Expr) -> Expr:
    """cos(pi r) for |r| <= 1/2."""
    twice = r + r
    return horner(r * r, COSINE[r.dtype]) * ((1.0 - twice) * (1.0 + twice))


def gammaln(x: Expr) -> Expr:
    """Compute log|Gamma(x)|: inf at 0, at negative integers and at both infinities."""
    r = _ranges(x)
    factor = select(r.low, r.y, r.z - 1.0) * (r.z - 2.0)
    middle = factor * _middle(r, GAMMALN)
    logarithm = log(r.y)
    far = (r.y - 0.5).fma(logarithm - 1.0, _far(r, STIRLING).fma(r.inverse, STIRLING_CONSTANT))
    usual = select(r.high, far, middle)
    turned, sine = _turn(r.y)
    reflected = -log(select(r.low, sine, abs(turned) * r.y * sine)) - usual
    reflected = select(r.low, reflected - logarithm, reflected)
    pole = literal(math.inf, x.dtype)
    unusual = select(x < 0.0, select(r.y < WHOLE[x.dtype], reflected, pole), middle - logarithm)
    return rarely(~(x >= 0.5), [unusual], [usual])[0]


def digamma(x: Expr) -> Expr:
    """Compute the derivative of log Gamma: -inf at 0 (inf at -0), NaN at negative integers."""
    r = _ranges(x)
    high, low = ROOT[x.dtype]
    middle = ((r.z - high) - low) * r.inverse * _middle(r, DIGAMMA)
    correction = r.inverse.fma(_far(r, DIGAMMA_TAIL), literal(0.5, x.dtype))
    usual = select(r.high, log(r.y) - correction * r.inverse, middle)
    turned, sine = _turn(r.y)
    inverse = literal(1.0, x.dtype) / x
    cotangent = _cosine(turned) / (turned * sine)
    reflected = select(r.low, usual, usual - inverse) + cotangent
    reflected = select(turned.eq(0.0), literal(math.nan, x.dtype), reflected)
    unusual = select(x < 0.0, reflected, middle - inverse)
    return rarely(~(x >= 0.5), [unusual], [usual])[0]


def trigamma(x: Expr) -> Expr:
    """Compute the second derivative of log Gamma: inf at 0 and at negative integers."""
    r = _ranges(x)
    middle = _middle(r, TRIGAMMA) / r.z
    tail = r.inverse.fma(_far(r, TRIGAMMA_TAIL), literal(0.5, x.dtype))
    far = r.inverse.fma(r.inverse * tail, r.inverse)
    usual = select(r.high, far, middle)
    turned, sine = _turn(r.y)
    inverse = literal(1.0, x.dtype) / x
    square = inverse * inverse
    cosecant = literal(1.0, x.dtype) / (turned * sine)
    reflected = cosecant * cosecant - select(r.low, usual, usual - square)
    unusual = select(x < 0.0, reflected, middle + square)
    return rarely(~(x >= 0.5), [unusual], [usual])[0]
