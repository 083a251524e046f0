"""Functions of numbers alone, by the names of ``scipy.special``: their results are constants.

Zeros, numbers of Bernoulli, Euler and Stirling, and coefficients.
Each calls SciPy's function and gives NumPy arrays, which functions of values take.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from staticgrad.special.values import define_on_numbers
from staticgrad.support.buffer_bounds import fits_characteristic_value, fits_fourier

_define = partial(define_on_numbers, home=__name__)
_NUMBERS: Final = (int, float, np.integer, np.floating)


def _call_for_odd_difference(function: Callable[..., Any], m: Any, n: Any, c: Any) -> Any:
    """Return characteristic values of orders m to n.

    SciPy before 1.17 writes a number behind its array if n - m is even (its issue 23973), so one
    order more is computed then. Beyond the arrays of its library it would end the process.
    """
    if not (m >= 0 and n >= m):
        raise ValueError(f"0 <= m <= n is needed, got m = {m}, n = {n}")
    more = 1 if (n - m) % 2 == 0 else 0
    if n - m < 200 and (n - m) % 1 == 0 and not fits_characteristic_value(m, n + more, c):
        return np.full(int(n - m) + 1, np.nan)
    values = function(m, n + more, c)
    return values[:-1] if more else values


def _call_for_few_coefficients(function: Callable[..., Any], m: Any, q: Any) -> Any:
    """Return Fourier coefficients, as many NaN as SciPy's library has room for if there are more.

    SciPy gives these too, with a warning, if the number is not so large that it ends the process.
    """
    if isinstance(m, _NUMBERS) and isinstance(q, _NUMBERS):
        if not (math.isfinite(m) and math.isfinite(q)):
            raise ValueError(f"finite numbers are needed, got m = {m}, q = {q}")
        if m >= 0 and q >= 0 and float(m).is_integer() and not fits_fourier(m, q):
            return np.full(251, np.nan)
    return function(m, q)


ai_zeros: Final = _define(
    "ai_zeros",
    "nt",
    "First nt zeros of Ai and of Ai', and the values of the other at them.",
    "len(sg.special.ai_zeros(3))\n    4",
)
bi_zeros: Final = _define(
    "bi_zeros",
    "nt",
    "First nt zeros of Bi and of Bi', and the values of the other at them.",
    "len(sg.special.bi_zeros(3))\n    4",
)
bei_zeros: Final = _define(
    "bei_zeros",
    "nt",
    "First nt zeros of ``bei``.",
    "sg.special.bei_zeros(3)[:3].round(3)\n    array([ 5.026,  9.455, 13.893])",
)
beip_zeros: Final = _define(
    "beip_zeros",
    "nt",
    "First nt zeros of ``beip``.",
    "sg.special.beip_zeros(3)[:3].round(3)\n    array([ 3.773,  8.281, 12.742])",
)
ber_zeros: Final = _define(
    "ber_zeros",
    "nt",
    "First nt zeros of ``ber``.",
    "sg.special.ber_zeros(3)[:3].round(3)\n    array([ 2.849,  7.239, 11.674])",
)
berp_zeros: Final = _define(
    "berp_zeros",
    "nt",
    "First nt zeros of ``berp``.",
    "sg.special.berp_zeros(3)[:3].round(3)\n    array([ 6.039, 10.514, 14.968])",
)
kei_zeros: Final = _define(
    "kei_zeros",
    "nt",
    "First nt zeros of ``kei``.",
    "sg.special.kei_zeros(3)[:3].round(3)\n    array([ 3.915,  8.344, 12.783])",
)
keip_zeros: Final = _define(
    "keip_zeros",
    "nt",
    "First nt zeros of ``keip``.",
    "sg.special.keip_zeros(3)[:3].round(3)\n    array([ 4.932,  9.404, 13.858])",
)
ker_zeros: Final = _define(
    "ker_zeros",
    "nt",
    "First nt zeros of ``ker``.",
    "sg.special.ker_zeros(3)[:3].round(3)\n    array([ 1.719,  6.127, 10.563])",
)
kerp_zeros: Final = _define(
    "kerp_zeros",
    "nt",
    "First nt zeros of ``kerp``.",
    "sg.special.kerp_zeros(3)[:3].round(3)\n    array([ 2.666,  7.172, 11.632])",
)
kelvin_zeros: Final = _define(
    "kelvin_zeros",
    "nt",
    "First nt zeros of all eight Kelvin functions.",
    "len(sg.special.kelvin_zeros(3))\n    8",
)
erf_zeros: Final = _define(
    "erf_zeros",
    "nt",
    "First nt zeros of ``erf`` in the first quadrant, complex.",
    "sg.special.erf_zeros(3).round(3)\n    array([1.451+1.881j, 2.245+2.617j, 2.84 +3.176j])",
)
fresnel_zeros: Final = _define(
    "fresnel_zeros",
    "nt",
    "First nt zeros of both Fresnel integrals, complex.",
    "len(sg.special.fresnel_zeros(3))\n    2",
)
fresnelc_zeros: Final = _define(
    "fresnelc_zeros",
    "nt",
    "First nt zeros of Fresnel's C, complex.",
    "sg.special.fresnelc_zeros(3).round(3)\n    array([1.744+0.306j, 2.651+0.253j, 3.32 +0.224j])",
)
fresnels_zeros: Final = _define(
    "fresnels_zeros",
    "nt",
    "First nt zeros of Fresnel's S, complex.",
    "sg.special.fresnels_zeros(3).round(3)\n    array([2.009+0.289j, 2.833+0.244j, 3.468+0.218j])",
)
jn_zeros: Final = _define(
    "jn_zeros",
    "n nt",
    "First nt zeros of jn(n, x).",
    "sg.special.jn_zeros(1, 3)[:3].round(3)\n    array([ 3.832,  7.016, 10.173])",
)
jnp_zeros: Final = _define(
    "jnp_zeros",
    "n nt",
    "First nt zeros of the derivative of jn(n, x).",
    "sg.special.jnp_zeros(1, 3)[:3].round(3)\n    array([1.841, 5.331, 8.536])",
)
yn_zeros: Final = _define(
    "yn_zeros",
    "n nt",
    "First nt zeros of yn(n, x).",
    "sg.special.yn_zeros(1, 3)[:3].round(3)\n    array([2.197, 5.43 , 8.596])",
)
ynp_zeros: Final = _define(
    "ynp_zeros",
    "n nt",
    "First nt zeros of the derivative of yn(n, x).",
    "sg.special.ynp_zeros(1, 3)[:3].round(3)\n    array([ 3.683,  6.941, 10.123])",
)
jnyn_zeros: Final = _define(
    "jnyn_zeros",
    "n nt",
    "First nt zeros of jn and yn of order n, and of their derivatives.",
    "len(sg.special.jnyn_zeros(1, 3))\n    4",
)
jnjnp_zeros: Final = _define(
    "jnjnp_zeros",
    "nt",
    "First nt zeros of all jn and of their derivatives, in order.",
    "len(sg.special.jnjnp_zeros(3))\n    4",
)
y0_zeros: Final = _define(
    "y0_zeros",
    "nt complex=False",
    "First nt zeros of y0, and its derivatives there.",
    "len(sg.special.y0_zeros(3))\n    2",
)
y1_zeros: Final = _define(
    "y1_zeros",
    "nt complex=False",
    "First nt zeros of y1, and its derivatives there.",
    "len(sg.special.y1_zeros(3))\n    2",
)
y1p_zeros: Final = _define(
    "y1p_zeros",
    "nt complex=False",
    "First nt zeros of the derivative of y1, and the values of y1 there.",
    "len(sg.special.y1p_zeros(3))\n    2",
)
bernoulli: Final = _define(
    "bernoulli",
    "n",
    "Bernoulli numbers 0 to n.",
    "sg.special.bernoulli(4)[:3].round(3)\n    array([ 1.   , -0.5  ,  0.167])",
)
euler: Final = _define(
    "euler",
    "n",
    "Euler numbers 0 to n.",
    "sg.special.euler(4)[:3].round(3)\n    array([ 1.,  0., -1.])",
)
stirling2: Final = _define(
    "stirling2",
    "N K",
    "Stirling numbers of the second kind, in floats.",
    "round(float(abs(sg.special.stirling2(5, 3))), 3)\n    25.0",
)
mathieu_even_coef: Final = _define(
    "mathieu_even_coef",
    "m q",
    "Fourier coefficients of even Mathieu functions, 251 NaN if there are more.",
    "sg.special.mathieu_even_coef(3, 0.5)[:3].round(3)\n    array([ 0.066,  0.997, -0.031])",
    call=_call_for_few_coefficients,
)
mathieu_odd_coef: Final = _define(
    "mathieu_odd_coef",
    "m q",
    "Fourier coefficients of odd Mathieu functions, 251 NaN if there are more.",
    "sg.special.mathieu_odd_coef(3, 0.5)[:3].round(3)\n    array([ 0.059,  0.998, -0.031])",
    call=_call_for_few_coefficients,
)
pro_cv_seq: Final = _define(
    "pro_cv_seq",
    "m n c",
    "Characteristic values of prolate spheroidal functions of orders m to n; NaN as ``pro_cv``.",
    "sg.special.pro_cv_seq(1, 3, 0.5)[:3].round(3)\n    array([ 2.05 ,  6.107, 12.117])",
    call=_call_for_odd_difference,
)
obl_cv_seq: Final = _define(
    "obl_cv_seq",
    "m n c",
    "Characteristic values of oblate spheroidal functions of orders m to n; NaN as ``obl_cv``.",
    "sg.special.obl_cv_seq(1, 3, 0.5)[:3].round(3)\n    array([ 1.95 ,  5.893, 11.883])",
    call=_call_for_odd_difference,
)

#: The functions of this module.
NAMES: Final = frozenset(name for name in globals() if name.endswith("_zeros")) | {
    "bernoulli", "euler", "mathieu_even_coef", "mathieu_odd_coef", "obl_cv_seq", "pro_cv_seq",
    "stirling2",
}  # fmt: skip
