"""The routines of special functions: SciPy's, called by a step for whole arrays.

The evaluator calls the same functions, so both are bitwise identical. A call takes the
interpreter's lock; SciPy releases it while it computes the elements.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.native.libraries.routines import RoutineCode, register
from staticgrad.native.libraries.user_calls import Kind, prepared_once, take_error
from staticgrad.support.buffer_bounds import BOUNDS, limit_to_buffers

Array = NDArray[Any]
#: Calls whose arrays are kept, about a kilobyte each.
_MOST_KEPT: Final = 1024
#: Functions that take a degree: SciPy computes whole ones by recurrences, given as integers.
_OF_DEGREES: Final = frozenset(
    {
        "eval_chebyt", "eval_chebyu", "eval_gegenbauer", "eval_genlaguerre", "eval_hermite",
        "eval_hermitenorm", "eval_jacobi", "eval_laguerre", "eval_legendre", "expn", "spherical_in",
        "kn", "spherical_jn", "spherical_kn", "spherical_yn", "yn",
    }
)  # fmt: skip
#: Functions of SciPy's with several results: the name here -> the function, which result.
_RESULTS: Final = {
    **{f"airy_{name}": ("airy", at) for at, name in enumerate(("ai", "aip", "bi", "bip"))},
    **{f"ellipj_{name}": ("ellipj", at) for at, name in enumerate(("sn", "cn", "dn", "ph"))},
    **{f"airye_{name}": ("airye", at) for at, name in enumerate(("ai", "aip", "bi", "bip"))},
    **{
        f"itairy_{name}": ("itairy", at)
        for at, name in enumerate(("ai", "bi", "ai_below", "bi_below"))
    },
    **{
        f"{of}_{name}": (of, at)
        for of in ("itj0y0", "it2j0y0", "iti0k0", "it2i0k0")
        for at, name in enumerate("ik" if "i0" in of else "jy")
    },
    "cosine_integral": ("sici", 1),
    "fresnel_c": ("fresnel", 1),
    "fresnel_s": ("fresnel", 0),
    "hyperbolic_cosine_integral": ("shichi", 1),
    "hyperbolic_sine_integral": ("shichi", 0),
    "sine_integral": ("sici", 0),
}


@cache
def function(name: str) -> Callable[..., Array]:
    """Return SciPy's special function of float64 arrays by its name in ``RULES`` of the ops."""
    compute, fits = _scipy_function(name), BOUNDS.get(name.removesuffix("_slope"))
    return limit_to_buffers(fits, compute) if fits else compute


def _scipy_function(name: str) -> Callable[..., Array]:
    from scipy import special

    if name in _RESULTS:
        of, at = _RESULTS[name]
        return lambda *operands: getattr(special, of)(*operands)[at]
    if name in _OF_DEGREES:
        return partial(_by_degree, getattr(special, name))
    with_slope: Any = getattr(special, name.removesuffix("_slope"), None)
    if getattr(with_slope, "nout", 1) == 2:  # the value, and its derivative by the last operand
        return lambda *operands: with_slope(*operands)[name.endswith("_slope")]
    others: dict[str, Callable[..., Array]] = {
        "assoc_legendre": lambda n, m, x: _legendre(special, n, m, x, False)[0],
        "assoc_legendre_slope": lambda n, m, x: _legendre(special, n, m, x, False)[1],
        "assoc_legendre_unit": lambda n, m, x: _legendre(special, n, m, x, True)[0],
        "assoc_legendre_unit_slope": lambda n, m, x: _legendre(special, n, m, x, True)[1],
        "besselpoly_by_a": lambda lmb, nu, a: special.besselpoly(a, lmb, nu),
        "kolmogorov_slope": lambda x: -_density("kstwobign", x),
        "modfresnelp_fi": lambda x: _modfresnelp(special, x)[0].imag,
        "modfresnelp_fr": lambda x: _modfresnelp(special, x)[0].real,
        "modfresnelp_ki": lambda x: _modfresnelp(special, x)[1].imag,
        "modfresnelp_kr": lambda x: _modfresnelp(special, x)[1].real,
        "ncf_density": lambda dfn, dfd, nc, f: _density("ncf", f, dfn, dfd, nc),
        "nct_density": lambda df, nc, t: _density("nct", t, df, nc),
        "ncx2_density": lambda x, df, nc: _density("ncx2", x, df, nc),
        "smirnov_slope": _smirnov_slope,
        "sph_legendre": lambda n, m, theta: _spherical_legendre(special, n, m, theta)[0],
        "sph_legendre_slope": lambda n, m, theta: _spherical_legendre(special, n, m, theta)[1],
        "ellipdinc": lambda phi, m: _ellipdinc(special, phi, m),
        "hyp0f1": lambda v, z: _hyp0f1(special, v, z),
        "lambertw_lower": lambda x: _real(special.lambertw(x, -1)),
        "lambertw_upper": lambda x: _real(special.lambertw(x)),
        "wofz_imag": lambda x, y: special.wofz(x + 1j * y).imag,
        "wofz_real": lambda x, y: special.wofz(x + 1j * y).real,
    }
    return others.get(name) or getattr(special, name)


def _density(law: str, x: Array, *parameters: Array) -> Array:
    """Return the density of a law of ``scipy.stats``; ``scipy.special`` has no public name."""
    from scipy import stats

    with np.errstate(all="ignore"):  # both branches of its selections are computed
        density: Array = np.asarray(getattr(stats, law).pdf(x, *parameters))
    return density


def _smirnov_slope(n: Array, d: Array) -> Array:
    return np.where(np.abs(d - 0.5) > 0.5, np.nan, -_density("ksone", d, n))


def _by_degree(of: Callable[..., Array], degree: Array, *operands: Array) -> Array:
    """Evaluate orthogonal polynomials by SciPy, in the integer form for integer degrees."""
    degree, *operands = np.broadcast_arrays(degree, *operands)  # type: ignore[assignment]
    is_integer = (np.floor(degree) == degree) & (np.abs(degree) < 2.0**31)
    if is_integer.all():
        return of(degree.astype(np.int64), *operands)
    result = np.full(degree.shape, np.nan)
    result[is_integer] = of(
        degree[is_integer].astype(np.int64), *(operand[is_integer] for operand in operands)
    )
    if of.__name__.startswith("eval_") and "hermite" not in of.__name__:
        result[~is_integer] = of(
            degree[~is_integer], *(operand[~is_integer] for operand in operands)
        )
    return result


def _real(values: Array) -> Array:
    """Complex results as real ones, NaN where they are not."""
    return np.where(values.imag == 0, values.real, np.nan)


def _hyp0f1(special: Any, v: Array, z: Array) -> Array:
    """SciPy's divides by v - 1 where the result is nearly too large."""
    large = (v == 1) & (z > 1e5)
    value = special.hyp0f1(v, np.where(large, 1.0, z))
    return np.where(large, special.i0(2 * np.sqrt(np.where(large, z, 0.0))), value)


def _ellipdinc(special: Any, phi: Array, m: Array) -> Array:
    """The integral of sin(t)**2 / sqrt(1 - m sin(t)**2) from 0 to phi (DLMF 19.25.13)."""
    halves = np.rint(phi / np.pi)
    angle = phi - halves * np.pi
    sine, cosine = np.sin(angle), np.cos(angle)
    part = sine**3 * special.elliprd(cosine**2, 1 - m * sine**2, 1.0) / 3
    half_period = special.elliprd(0.0, 1 - m, 1.0) / 3
    return np.where(halves == 0, part, part + 2 * halves * half_period)


def _modfresnelp(special: Any, x: Array) -> tuple[Array, Array]:
    """Compute the modified Fresnel integral; for x < 0, where SciPy is wrong, by reflection."""
    near, scaled = special.modfresnelp(abs(x))
    integral = np.sqrt(np.pi / 2) * (1 + 1j)
    turned = np.exp(-1j * (x * x + np.pi / 4)) / np.sqrt(np.pi)
    below = x < 0
    return np.where(below, integral - near, near), np.where(
        below, turned * integral - scaled, scaled
    )


def _legendre(special: Any, n: Array, m: Array, x: Array, norm: bool) -> Array:
    """Value and derivative, NaN of degrees and orders that are not whole."""
    return _of_whole(lambda *at: special.assoc_legendre_p(*at, norm=norm, diff_n=1), n, m, x)


def _spherical_legendre(special: Any, n: Array, m: Array, theta: Array) -> Array:
    return _of_whole(lambda *at: special.sph_legendre_p(*at, diff_n=1), n, m, theta)


def _of_whole(of: Callable[..., Array], n: Array, m: Array, x: Array) -> Array:
    is_integer = (
        (np.floor(n) == n) & (n >= 0) & (n < 2.0**31) & (np.floor(m) == m) & (abs(m) < 2.0**31)
    )
    values = of(np.where(is_integer, n, 0).astype(int), np.where(is_integer, m, 0).astype(int), x)
    return np.where(is_integer, values, np.nan)


def write_function(name: str, operands: list[Array], out: Array) -> None:
    """Write a function of operands that broadcast into ``out``."""
    with np.errstate(all="ignore"):
        out[...] = function(name)(*operands)


def _make(spec: str) -> RoutineCode:
    """Make a special function's routine from its name: ``special:jv.0.1.1``."""
    name, *ranks = spec.split(".")
    kinds: list[Kind] = [("float64", int(rank)) for rank in ranks]

    def prepare(arrays: list[Array], _: tuple[int, ...]) -> Callable[[], object]:
        *operands, out = arrays
        return partial(write_function, name, operands, out)

    return prepared_once(kinds, prepare, _MOST_KEPT)


register("special", _make, take_error)
