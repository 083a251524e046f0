"""Bounds of SciPy's spheroidal and Mathieu functions: the arrays of its library have fixed sizes.

Arguments beyond them write outside of the arrays and end the process (SciPy's issues 22316, 25825
and 25856). The sizes are those of ``specfun.h`` of xsf, the same from SciPy 1.16 on. A function
whose arguments do not fit is NaN, which is SciPy's own answer to what it cannot compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: From operands of one shape, where they fit into SciPy's arrays.
Fits = Callable[..., Any]

_COEFFICIENTS: Final = 175  # (n - m) / 2 + c of 200 coefficients: ``sdmn`` writes 26 more
_EIGENVALUES: Final = 291  # (n - m) / 2 + c of the 300 rows of ``segv``, which takes 10 more
_BESSEL: Final = 252  # values of spherical Bessel functions in ``rmn1`` and ``rmn2l``
_JOINED: Final = 200  # coefficients of negative index and others in ``kmn``
_FOURIER: Final = 251  # coefficients of a Mathieu function in ``fcoef``
_LARGEST_ORDER: Final = 2**29  # of characteristic values: C computes 2 (m + k) as an int
_LARGEST_MODE: Final = 10_000  # of functions, which overflow from an order of about 130 on


def fits_characteristic_value(m: Any, n: Any, c: Any) -> Any:
    """Return where ``pro_cv`` and ``obl_cv`` fit; of c < 1e-10 they take no arrays."""
    fits = (c < 1e-10) | (0.5 * (n - m) + c < _EIGENVALUES)
    return fits & (m >= 0) & (n >= m) & (n < _LARGEST_ORDER)


def _fits_angular(m: Any, n: Any, c: Any, *_: Any) -> Any:
    fits = 0.5 * (n - m) + np.maximum(c, 0.0) < _COEFFICIENTS
    return fits & (m >= 0) & (n >= m) & (m <= _LARGEST_MODE)


def _fits_radial(second: bool, oblate: bool) -> Fits:
    """Return the test of a radial function, of the second kind and of oblate coordinates."""

    def fits_radial(m: Any, n: Any, c: Any, *operands: Any) -> Any:
        x = operands[-1]
        half, positive = np.floor((n - m) / 2), np.maximum(c, 0.0)
        # A negative c takes fewer coefficients than none.
        fits = _fits_angular(m, n, c) & (half + c > -25)
        # The prolate one of the second kind rounds after it has multiplied by 2.
        terms = positive if second and not oblate else np.trunc(positive)
        fits_bessel = m + 2 * (25 + half + terms) < _BESSEL
        fits = fits & (fits_bessel | (x == 0) if oblate else fits_bessel)
        if second:
            fits = fits & (m + 25 + np.trunc(0.5 * (n - m) + positive) <= _JOINED)
        return fits

    return fits_radial


def fits_fourier(m: Any, q: Any, *_: Any) -> Any:
    """Return where a Mathieu function's Fourier coefficients fit."""
    parameter = np.abs(q)
    root = np.sqrt(parameter)
    small = 7.5 + 56.1 * root - 134.7 * parameter + 90.7 * root * parameter
    large = 17.0 + 3.1 * root - 0.126 * parameter + 0.0037 * root * parameter
    return np.where(parameter <= 1, small, large) + 0.5 * m < _FOURIER


#: SciPy's function -> where its arguments fit.
BOUNDS: Final[dict[str, Fits]] = {
    **dict.fromkeys(("pro_cv", "obl_cv"), fits_characteristic_value),
    **dict.fromkeys(("pro_ang1", "pro_ang1_cv", "obl_ang1", "obl_ang1_cv"), _fits_angular),
    **{
        f"{kind}_rad{number}{suffix}": _fits_radial(number == 2, kind == "obl")
        for kind in ("pro", "obl")
        for number in (1, 2)
        for suffix in ("", "_cv")
    },
    **{
        f"mathieu_{name}": fits_fourier
        for name in ("cem", "sem", "modcem1", "modcem2", "modsem1", "modsem2")
    },
}


def limit_to_buffers(fits: Fits, compute: Callable[..., Array]) -> Callable[..., Array]:
    """Return ``compute`` that is called for arguments that fit alone; it is NaN of others."""

    def compute_fitting(*operands: Array) -> Array:
        arrays = np.broadcast_arrays(*operands)
        with np.errstate(all="ignore"):
            is_fitting = np.asarray(fits(*arrays))
        if is_fitting.all():
            return compute(*operands)
        result = np.full(is_fitting.shape, np.nan)
        result[is_fitting] = compute(*(array[is_fitting] for array in arrays))
        return result

    return compute_fitting
