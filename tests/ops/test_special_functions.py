"""Values and derivatives of ``sg.special`` beside mpmath, at 0, near poles and far out."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.special

import staticgrad as sg
from staticgrad.errors import ArgumentError, DTypeError, ExportError, GradientError
from staticgrad.language.ops.special_functions import RULES, call
from staticgrad.special import constants as special_constants, quadratures
from staticgrad.tools import documentation
from tests.ops.messages import assert_refused

mp = pytest.importorskip("mpmath")
PAGE = Path(documentation.__file__).parent / "guide" / "accuracy.md"
EPSILON = 2.0**-52

POSITIVE = [1e-8, 0.01, 0.3, 1.0, 2.5, 7.7, 20.0, 60.0]
SIGNED = [-9.3, -2.2, -0.4, -1e-6, 0.0, 1e-6, 0.7, 3.1, 12.0, 55.0]
MODEST = [-9.3, -2.2, -0.4, 0.7, 3.1, 9.0]
UNIT = [-0.95, -0.4, 0.2, 0.77]
BELOW_1 = [-8.0, -0.6, -1e-6, 0.0, 1e-6, 0.2, 0.49, 0.51, 0.9, 0.9999]
HALF = mp.mpf(1) / 2


def spherical(of):
    return lambda x: mp.sqrt(mp.pi / (2 * x)) * of(3 + HALF, x)


def airy(of, derivative):
    return lambda z: of(z, derivative=derivative)


#: Name, index of the result, operands before x -> what it is, and the grid.
TABLE = {
    "j0": (lambda x: mp.besselj(0, x), SIGNED),
    "j1": (lambda x: mp.besselj(1, x), SIGNED),
    "y0": (lambda x: mp.bessely(0, x), POSITIVE),
    "y1": (lambda x: mp.bessely(1, x), POSITIVE),
    "k0": (lambda x: mp.besselk(0, x), POSITIVE),
    "k1": (lambda x: mp.besselk(1, x), POSITIVE),
    "k0e": (lambda x: mp.exp(x) * mp.besselk(0, x), POSITIVE),
    "k1e": (lambda x: mp.exp(x) * mp.besselk(1, x), POSITIVE),
    "jn 2": (lambda x: mp.besselj(2, x), POSITIVE),
    "yn 2": (lambda x: mp.bessely(2, x), POSITIVE),
    "jv 7.3": (lambda x: mp.besselj(mp.mpf(7.3), x), POSITIVE),
    "yv 7.3": (lambda x: mp.bessely(mp.mpf(7.3), x), POSITIVE),
    "iv 7.3": (lambda x: mp.besseli(mp.mpf(7.3), x), POSITIVE),
    "ive 0.5": (lambda x: mp.exp(-x) * mp.besseli(HALF, x), POSITIVE),
    "kv 7.3": (lambda x: mp.besselk(mp.mpf(7.3), x), POSITIVE),
    "kve 0.5": (lambda x: mp.exp(x) * mp.besselk(HALF, x), POSITIVE),
    "struve 1.5": (lambda x: mp.struveh(1.5, x), POSITIVE[:-1]),
    "spherical_jn 3": (spherical(mp.besselj), POSITIVE),
    "spherical_yn 3": (spherical(mp.bessely), POSITIVE),
    "spherical_in 3": (spherical(mp.besseli), POSITIVE),
    "spherical_kn 3": (spherical(mp.besselk), POSITIVE),
    "airy[0]": (airy(mp.airyai, 0), MODEST),
    "airy[1]": (airy(mp.airyai, 1), MODEST),
    "airy[2]": (airy(mp.airybi, 0), MODEST),
    "airy[3]": (airy(mp.airybi, 1), MODEST),
    "exp1": (mp.e1, POSITIVE),
    "expi": (mp.ei, POSITIVE),
    "expn 0": (lambda x: mp.expint(0, x), POSITIVE),
    "expn 3": (lambda x: mp.expint(3, x), POSITIVE),
    "sici[0]": (mp.si, POSITIVE),
    "sici[1]": (mp.ci, POSITIVE),
    "shichi[0]": (mp.shi, POSITIVE),
    "shichi[1]": (mp.chi, POSITIVE),
    "fresnel[0]": (mp.fresnels, [0.01, 0.3, 1.0, 2.5, 7.7]),
    "fresnel[1]": (mp.fresnelc, [0.01, 0.3, 1.0, 2.5, 7.7]),
    "dawsn": (lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x), SIGNED),
    "erfi": (mp.erfi, MODEST),
    "erfcinv": (lambda y: mp.erfinv(1 - y), [0.001, 0.2, 0.9, 1.3, 1.99]),
    "ndtri_exp": (lambda y: mp.sqrt(2) * mp.erfinv(2 * mp.exp(y) - 1), [-9.0, -2.0, -0.6, -0.01]),
    "lambertw": (lambda z: mp.lambertw(z).real, [-0.36, -0.1, 0.0, 1e-5, 1.0, 50.0, 1e10]),
    "wrightomega": (lambda z: mp.lambertw(mp.exp(z)).real, SIGNED),
    "ellipk": (mp.ellipk, BELOW_1),
    "ellipkm1": (lambda p: mp.ellipk(1 - p), [1e-12, 0.01, 0.3, 0.49, 0.51, 0.9, 1.5, 4.0]),
    "ellipe": (mp.ellipe, BELOW_1),
    "ellipkinc 0.8": (lambda m: mp.ellipf(mp.mpf(0.8), m), BELOW_1, 1e-13, 1e-11),
    "ellipeinc 0.8": (lambda m: mp.ellipe(mp.mpf(0.8), m), BELOW_1),
    "ellipkinc 7.1": (lambda m: mp.ellipf(mp.mpf(7.1), m), BELOW_1[:-1]),
    "agm 0.3": (lambda b: mp.agm(mp.mpf(0.3), b), [1e-9, 0.01, 0.3, 0.31, 2.0, 1e6]),
    "hyp0f1 1.7": (lambda x: mp.hyp0f1(mp.mpf(1.7), x), SIGNED),
    "hyp1f1 0.7 1.9": (lambda x: mp.hyp1f1(mp.mpf(0.7), mp.mpf(1.9), x), SIGNED),
    "hyp2f1 0.7 1.2 2.3": (
        lambda x: mp.hyp2f1(mp.mpf(0.7), mp.mpf(1.2), mp.mpf(2.3), x),
        [-5.0, -0.9, *UNIT[1:], 0.99],
    ),
    "hyperu 0.7 1.9": (
        lambda x: mp.hyperu(mp.mpf(0.7), mp.mpf(1.9), x), POSITIVE, 1e-10, 1e-8,
    ),
    "owens_t 0.5": (
        lambda a: mp.quad(lambda t: mp.exp(-(1 + t * t) / 8) / (1 + t * t), [0, a]) / (2 * mp.pi),
        [0.01, 0.5, 1.0, 3.0],
    ),
    "spence": (lambda z: mp.polylog(2, 1 - z).real, [1e-8, 0.01, 0.3, 0.9, 1.2, 2.5, 7.7, 60.0]),
    "rgamma": (mp.rgamma, [-3.0, -2.5, -1.0, 0.0, 0.3, 1.0, 7.5, 40.0]),
    "loggamma": (mp.loggamma, [0.01, 0.3, 7.7, 60.0]),
    "poch 1.5": (lambda m: mp.rf(mp.mpf(1.5), m), [-0.7, 0.0, 0.3, 4.0, 20.0]),
    "binom 6.5": (lambda k: mp.binomial(mp.mpf(6.5), k), [-0.5, 0.0, 1.3, 6.0]),
    "comb 6.5": (lambda k: mp.binomial(mp.mpf(6.5), k), [0.5, 1.3, 6.0]),
    "perm 6.5": (lambda k: mp.ff(mp.mpf(6.5), k), [0.5, 1.3, 6.0]),
    "factorial": (mp.factorial, [0.0, 0.5, 3.0, 20.0]),
    "exprel": (lambda x: mp.expm1(x) / x if x else mp.mpf(1), SIGNED),
    "cosm1": (lambda x: -2 * mp.sin(x / 2) ** 2, SIGNED),
    "exp10": (lambda x: mp.power(10, x), SIGNED),
    "eval_legendre 5": (lambda x: mp.legendre(5, x), UNIT),
    "eval_legendre 1.5": (lambda x: mp.legendre(1.5, x), UNIT),
    "eval_chebyt 5": (lambda x: mp.chebyt(5, x), UNIT),
    "eval_chebyu 5": (lambda x: mp.chebyu(5, x), UNIT),
    "eval_hermite 5": (lambda x: mp.hermite(5, x), SIGNED),
    "eval_hermitenorm 5": (lambda x: x**5 - 10 * x**3 + 15 * x, SIGNED),
    "eval_laguerre 5": (lambda x: mp.laguerre(5, 0, x), SIGNED),
    "eval_genlaguerre 5 0.7": (lambda x: mp.laguerre(5, mp.mpf(0.7), x), SIGNED, 1e-12, 1e-12),
    "eval_gegenbauer 5 0.7": (lambda x: mp.gegenbauer(5, mp.mpf(0.7), x), UNIT),
    "eval_jacobi 5 0.7 0.2": (lambda x: mp.jacobi(5, mp.mpf(0.7), mp.mpf(0.2), x), UNIT),
    "lpmv 1 3": (lambda x: -mp.sqrt(1 - x * x) * (15 * x * x - 3) / 2, UNIT),
    "boxcox . 0.3": (lambda x: mp.expm1(mp.mpf(0.3) * mp.log(x)) / mp.mpf(0.3), POSITIVE),
    "boxcox 2.5": (
        lambda p: mp.expm1(p * mp.log(mp.mpf(2.5))) / p if p else mp.log(mp.mpf(2.5)),
        [-2.0, -1e-9, 0.0, 0.5],
    ),
    "boxcox1p . 0.3": (lambda x: mp.expm1(mp.mpf(0.3) * mp.log1p(x)) / mp.mpf(0.3), POSITIVE),
    "inv_boxcox 0.8": (
        lambda p: mp.exp(mp.log1p(mp.mpf(0.8) * p) / p) if p else mp.exp(mp.mpf(0.8)),
        [-1.0, -1e-9, 0.0, 0.5, 3.0],
    ),
    "inv_boxcox1p . 0.3": (lambda x: mp.expm1(mp.log1p(mp.mpf(0.3) * x) / mp.mpf(0.3)), POSITIVE),
    "huber 1.5": (lambda r: r * r / 2 if abs(r) <= 1.5 else 1.5 * abs(r) - 1.125, [-3.0, 0.5, 2.0]),
    "pseudo_huber 1.5": (lambda r: 2.25 * (mp.sqrt(1 + (r / 1.5) ** 2) - 1), SIGNED),
    "modfresnelp[0].real": (
        lambda x: mp.sqrt(mp.pi / 8) * (1 - 2 * mp.fresnelc(x * mp.sqrt(2 / mp.pi))),
        [-1.3, -0.2, 0.4],
    ),
    "diric . 3": (lambda x: mp.sin(1.5 * x) / (3 * mp.sin(x / 2)), [-9.3, 0.3, 4.0, 60.0]),
}  # fmt: skip


def built(key, x):
    """The function of a key of the table, of x."""
    name, *words = key.split()
    name, _, index = name.partition("[")
    index, _, part = index.partition(".")
    words = [word if word == "." else float(word) for word in words]
    operands = [x if word == "." else word for word in words] if "." in words else [*words, x]
    operands = [
        int(operand) if name == "diric" and operand is not x else operand for operand in operands
    ]
    value = getattr(sg.special, name)(*operands)
    value = value[int(index[0])] if index else value
    return getattr(value, part) if part else value


def errors(key):
    """The greatest relative errors of value and derivative beside mpmath on the grid of a key."""
    exact, grid, *_ = TABLE[key]
    x = sg.input("x", ("n",), "float64")
    value = built(key, x)
    actual = sg.evaluate({"value": value, "slope": sg.grad(value.sum(), x)}, {"x": np.array(grid)})
    with mp.workdps(40):
        points = [mp.mpf(at) for at in grid]
        expected = {
            "value": [mp.re(exact(point)) for point in points],
            "slope": [mp.re(mp.diff(exact, point)) for point in points],
        }
    for what, numbers in expected.items():
        close = np.array([float(number) for number in numbers])
        error = np.abs(actual[what] - close) / np.maximum(np.abs(close), 1e-300)
        # 0, but for the differences
        yield float(np.max(np.where(np.abs(close) < 1e-25, 0.0, error)))


def read_table():
    """The table of the page: key -> errors of value and derivative in units of the last place."""
    text = PAGE.read_text(encoding="utf-8").partition("## SciPy's functions")[2]
    rows = re.findall(r"^\| `([^`]*)` \| [^|]* \|(.*)\|(.*)\|$", text, re.M)
    return {key: (float(value), float(slope)) for key, value, slope in rows}


def write_table():
    """Measure, and write the table with twice what was measured, and 2 at least."""
    rows = ["| function, operands before x | x | value | derivative |", "|---|---|--:|--:|"]
    for key, (_, grid, *_) in TABLE.items():
        cells = [f"{max(2.0 * error / EPSILON, 2.0):.2g}" for error in errors(key)]
        cells = [f"{float(cell):.0f}" if float(cell) >= 10 else cell for cell in cells]
        rows.append(f"| `{key}` | {min(grid):g} to {max(grid):g} | {' | '.join(cells)} |")
    text = PAGE.read_text(encoding="utf-8")
    start, _, end = text.partition("<!-- scipy -->\n")
    _, _, end = end.partition("<!-- end -->")
    text = start + "<!-- scipy -->\n" + "\n".join(rows) + "\n<!-- end -->" + end
    PAGE.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("key", TABLE)
def test_values_and_derivatives_are_those_of_mpmath(key):
    value, slope = errors(key)
    most_value, most_slope = read_table()[key]
    assert value <= most_value * EPSILON
    assert slope <= most_slope * EPSILON


def test_the_table_of_errors_has_the_keys_that_are_compared():
    assert list(read_table()) == list(TABLE)


#: Characteristic values of spheroidal functions of orders 1 and 2 and c = 0.5.
PROLATE, OBLATE = scipy.special.pro_cv(1, 2, 0.5), scipy.special.obl_cv(1, 2, 0.5)
#: Function -> operands, and which of them have derivatives.
FURTHER = {
    "airye": ((1.0,), [0]),
    "assoc_laguerre": ((0.5, 3, 1.0), [0]),
    "assoc_legendre_p": ((3, 1, 0.2), [2]),
    "bdtr": ((1.0, 4.0, 0.3), [1, 2]),
    "bdtrc": ((1.0, 4.0, 0.3), [1, 2]),
    "bdtri": ((1.0, 4.0, 0.3), [1, 2]),
    "bdtrik": ((0.2, 10.0, 0.3), [0, 1, 2]),
    "bdtrin": ((2.0, 0.4, 0.3), [0, 1, 2]),
    "bei": ((0.5,), [0]),
    "beip": ((0.5,), [0]),
    "ber": ((0.5,), [0]),
    "berp": ((0.5,), [0]),
    "besselpoly": ((0.5, 1.0, 2.0), [0]),
    "btdtria": ((0.2, 3.0, 0.4), [0, 1, 2]),
    "btdtrib": ((2.0, 0.2, 0.4), [0, 1, 2]),
    "chdtr": ((3.0, 1.0), [0, 1]),
    "chdtrc": ((3.0, 1.0), [0, 1]),
    "chdtri": ((3.0, 0.1), [0, 1]),
    "chdtriv": ((0.2, 3.0), [0, 1]),
    "chndtr": ((1.0, 3.0, 0.5), [0, 2]),
    "chndtrinc": ((4.0, 3.0, 0.2), [0, 2]),
    "chndtrix": ((0.2, 3.0, 0.5), [0, 2]),
    "cosdg": ((60.0,), [0]),
    "cotdg": ((45.0,), [0]),
    "elliprc": ((1.0, 0.5), [0, 1]),
    "elliprd": ((1.0, 3.0, 0.5), [0, 1, 2]),
    "elliprf": ((1.0, 3.0, 0.5), [0, 1, 2]),
    "elliprg": ((1.0, 3.0, 0.5), [0, 1, 2]),
    "elliprj": ((1.0, 3.0, 0.5, 1.5), [0, 1, 2, 3]),
    "eval_chebyc": ((3, 0.5), [1]),
    "eval_chebys": ((3, 0.5), [1]),
    "eval_sh_chebyt": ((3, 0.2), [1]),
    "eval_sh_chebyu": ((3, 0.2), [1]),
    "eval_sh_jacobi": ((3, 2.0, 1.5, 0.2), [3]),
    "eval_sh_legendre": ((3, 0.2), [1]),
    "fdtr": ((3.0, 5.0, 0.5), [0, 1, 2]),
    "fdtrc": ((3.0, 5.0, 0.5), [0, 1, 2]),
    "fdtri": ((3.0, 5.0, 0.1), [0, 1, 2]),
    "fdtridfd": ((3.0, 0.6, 1.5), [0, 1, 2]),
    "gdtr": ((2.0, 3.0, 0.5), [0, 1, 2]),
    "gdtrc": ((2.0, 3.0, 0.5), [0, 1, 2]),
    "gdtria": ((0.2, 3.0, 2.0), [0, 1, 2]),
    "gdtrib": ((2.0, 0.2, 1.5), [0, 1, 2]),
    "gdtrix": ((2.0, 3.0, 0.2), [0, 1, 2]),
    "h1vp": ((1.5, 0.5), [1]),
    "h2vp": ((1.5, 0.5), [1]),
    "hankel1": ((1.5, 0.5), [1]),
    "hankel1e": ((1.5, 0.5), [1]),
    "hankel2": ((1.5, 0.5), [1]),
    "hankel2e": ((1.5, 0.5), [1]),
    "it2i0k0": ((1.5,), [0]),
    "it2j0y0": ((1.5,), [0]),
    "it2struve0": ((0.5,), [0]),
    "iti0k0": ((1.5,), [0]),
    "itj0y0": ((1.5,), [0]),
    "itmodstruve0": ((0.5,), [0]),
    "itstruve0": ((0.5,), [0]),
    "ivp": ((1.5, 0.5, 2), [1]),
    "jve": ((1.5, 0.5), [1]),
    "jvp": ((1.5, 0.5, 2), [1]),
    "kei": ((0.5,), [0]),
    "keip": ((0.5,), [0]),
    "kelvin": ((1.5,), [0]),
    "ker": ((0.5,), [0]),
    "kerp": ((0.5,), [0]),
    "kn": ((2, 0.5), [1]),
    "kolmogi": ((0.2,), [0]),
    "kolmogorov": ((0.5,), [0]),
    "kvp": ((1.5, 0.5, 2), [1]),
    "legendre_p": ((3, 0.2), [1]),
    "log_wright_bessel": ((0.5, 1.5, 0.5), [2]),
    "mathieu_cem": ((2, 0.5, 30.0), [2]),
    "mathieu_modcem1": ((2, 0.5, 0.3), [2]),
    "mathieu_modcem2": ((2, 0.5, 0.3), [2]),
    "mathieu_modsem1": ((2, 0.5, 0.3), [2]),
    "mathieu_modsem2": ((2, 0.5, 0.3), [2]),
    "mathieu_sem": ((2, 0.5, 30.0), [2]),
    "modfresnelm": ((0.5,), [0]),
    "modfresnelp": ((0.5,), [0]),
    "modstruve": ((1.0, 0.5), [1]),
    "nbdtr": ((1.0, 3.0, 0.4), [1, 2]),
    "nbdtrc": ((1.0, 3.0, 0.4), [1, 2]),
    "nbdtri": ((1.0, 3.0, 0.4), [1, 2]),
    "nbdtrik": ((0.2, 3.0, 0.4), [0, 1, 2]),
    "nbdtrin": ((3.0, 0.2, 0.4), [0, 1, 2]),
    "ncfdtr": ((3.0, 5.0, 0.5, 0.5), [2, 3]),
    "ncfdtri": ((3.0, 5.0, 0.5, 0.2), [2, 3]),
    "ncfdtrinc": ((3.0, 5.0, 0.2, 2.0), [2, 3]),
    "nctdtr": ((3.0, 0.5, 0.5), [1, 2]),
    "nctdtrinc": ((3.0, 0.2, 2.0), [1, 2]),
    "nctdtrit": ((3.0, 0.5, 0.2), [1, 2]),
    "nrdtrimn": ((0.2, 2.0, 1.0), [0, 1, 2]),
    "nrdtrisd": ((3.0, 0.2, 1.0), [0, 1, 2]),
    "obl_ang1": ((1, 2, 0.5, 0.3), [3]),
    "obl_ang1_cv": ((1, 2, 0.5, OBLATE, 0.3), [4]),
    "obl_rad1": ((1, 2, 0.5, 1.3), [3]),
    "obl_rad1_cv": ((1, 2, 0.5, OBLATE, 1.3), [4]),
    "pbdv": ((1.5, 0.5), [1]),
    "pbvv": ((1.5, 0.5), [1]),
    "pbwa": ((1.5, 0.5), [1]),
    "pdtr": ((1.0, 2.5), [1]),
    "pdtrc": ((1.0, 2.5), [1]),
    "pdtri": ((1.0, 0.3), [1]),
    "pdtrik": ((0.4, 2.5), [0, 1]),
    "powm1": ((0.5, 0.3), [0, 1]),
    "pro_ang1": ((1, 2, 0.5, 0.3), [3]),
    "pro_ang1_cv": ((1, 2, 0.5, PROLATE, 0.3), [4]),
    "pro_rad1": ((1, 2, 0.5, 1.3), [3]),
    "pro_rad1_cv": ((1, 2, 0.5, PROLATE, 1.3), [4]),
    "sindg": ((30.0,), [0]),
    "smirnovi": ((5, 0.2), [1]),
    "sph_harm_y": ((3, 1, 0.2, 0.5), [2, 3]),
    "sph_legendre_p": ((3, 1, 0.2), [2]),
    "stdtridf": ((0.1, -1.5), [0, 1]),
    "tandg": ((45.0,), [0]),
    "tklmbda": ((-0.5, 0.3), [0, 1]),
    "wright_bessel": ((0.5, 1.5, 0.5), [2]),
    "yve": ((1.5, 0.5), [1]),
    "yvp": ((1.5, 0.5, 2), [1]),
}  # fmt: skip


WHOLE = {"bdtr": 1, "bdtrc": 1, "bdtri": 1}  # operands that SciPy takes as integers


def results(name, *operands):
    """The results of a function, complex ones as both parts."""
    outputs = getattr(sg.special, name)(*operands)
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        yield from (np.real(output), np.imag(output)) if output.dtype == "complex128" else (output,)


@pytest.mark.parametrize("name", FURTHER)
def test_values_are_scipys_and_slopes_those_of_differences(name):
    operands, free = FURTHER[name]
    arguments = [
        int(operand) if k == WHOLE.get(name) else operand for k, operand in enumerate(operands)
    ]
    theirs = getattr(scipy.special, name)(*arguments)
    for actual, expected in zip(
        results(name, *operands),
        results_of(theirs if isinstance(theirs, tuple) else (theirs,)),
        strict=True,
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-300)
    bound = 1e-3 if name in ("ncfdtrinc", "nctdtrinc") else 1e-7  # found by a search to 1e-8
    for place in free:
        x = sg.input("x", (), "float64")
        at = np.float64(operands[place])

        def at_value(value, place=place):
            shifted = [*operands[:place], value, *operands[place + 1 :]]
            return [*results(name, *shifted)]

        slopes = [
            sg.evaluate(sg.grad(output + 0.0 * x * x, x), {"x": at}) for output in at_value(x)
        ]
        h = 1e-4 * max(abs(at), 0.1)
        steps = {k: np.array([at_value(at + s * h * k) for s in (1, -1)]) for k in (0.5, 1.0)}
        full, half = ((steps[k][0] - steps[k][1]) / (2 * h * k) for k in (1.0, 0.5))
        np.testing.assert_allclose(slopes, (4 * half - full) / 3, rtol=bound, atol=1e-9)


def results_of(outputs):
    """SciPy's results, complex ones as both parts."""
    for output in outputs:
        yield from (np.real(output), np.imag(output)) if np.iscomplexobj(output) else (output,)


def test_second_derivatives_that_are_missing_are_refused():
    x = sg.input("x", (), "float64")
    for value in (sg.special.kolmogorov(x), sg.special.ncfdtr(3.0, 5.0, 0.5, x)):
        slope = sg.grad(value, x)
        with assert_refused(GradientError, "no second derivative", line="for value in"):
            sg.grad(slope, x)
    with assert_refused(GradientError, "besselpoly: there is no derivative by nu"):
        sg.grad(sg.special.besselpoly(1.0, 1.0, x), x)
    with assert_refused(GradientError, "mathieu_a: there is no derivative by q"):
        sg.grad(sg.special.mathieu_a(2, x), x)


@pytest.mark.parametrize("shape", ["pro", "obl"])
def test_characteristic_values_are_those_of_single_orders(shape, monkeypatch):
    """SciPy before 1.17 writes behind its array for an even difference of orders."""
    name = f"{shape}_cv_seq"
    of_scipy, of_order = getattr(scipy.special, name), getattr(scipy.special, f"{shape}_cv")

    def check_parity(m, n, c):
        assert n < m or (n - m) % 2 != 0
        return of_scipy(m, n, c)

    monkeypatch.setattr(scipy.special, name, check_parity)
    function = getattr(sg.special, name)
    for m, n, c in (
        (0, 0, 0.5),
        (1, 3, 0.5),
        (1, 4, 2.0),
        (2, 12, 7.3),
        (0, 198, 1.0),
        (5, 203, 1),
    ):
        expected = [of_order(m, order, c) for order in range(m, n + 1)]
        np.testing.assert_allclose(function(m, n, c), expected, rtol=1e-13)
    for m, n in ((3, 1), (0, 200), (0, 2.5)):
        with assert_refused(ArgumentError, f"{name}: SciPy refuses", line="function("):
            function(m, n, 1.0)


@pytest.mark.parametrize(
    "name",
    sorted((special_constants.NAMES | quadratures.NAMES) - {"pro_cv_seq", "obl_cv_seq"}),
)
def test_functions_of_numbers_give_scipys_constants(name):
    function = getattr(sg.special, name)
    numbers = {
        "n": 3, "nt": 3, "m": 1, "q": 0.5, "c": 0.5, "N": 5, "K": 3, "alpha": 1.5, "beta": 0.5,
        "p1": 2.5, "q1": 1.5,
    }  # fmt: skip
    parameters = inspect.signature(function).parameters.values()
    operands = [
        numbers[parameter.name] for parameter in parameters if parameter.default is parameter.empty
    ]
    actual, expected = function(*operands), getattr(scipy.special, name)(*operands)
    for number, reference in zip(np.atleast_1d(actual), np.atleast_1d(expected), strict=True):
        np.testing.assert_array_equal(number, reference)
    with assert_refused(ArgumentError, "known at build", line="function("):
        function(*operands[:-1], sg.input("x", (), "float64"))


def test_both_operands_have_derivatives():
    u = np.array([0.7, -1.3, 4.0])
    m = np.array([0.2, 0.4, 0.9])
    a, b = sg.input("a", (3,), "float64"), sg.input("b", (3,), "float64")
    values = {
        "F": sg.special.ellipkinc(a, b),
        **{f"j{k}": function for k, function in enumerate(sg.special.ellipj(a, b))},
        "binom": sg.special.binom(a + 8.0, b),
        "T": sg.special.owens_t(a, b),
        "V": sg.special.voigt_profile(a, b, 0.3),
        "w": sg.special.wofz(sg.complex(a, b)).imag,
    }
    sums = {name: value.sum() for name, value in values.items()}
    slopes = {
        (name, which): sg.grad(total, operand)
        for name, total in sums.items()
        for which, operand in enumerate((a, b))
    }
    at = dict(zip(slopes, sg.evaluate([*slopes.values()], {"a": u, "b": m}), strict=True))
    for which in (0, 1):
        for k in range(3):
            steps = []
            for step in (1e-5, -1e-5):
                shifted = [u.copy(), m.copy()]
                shifted[which][k] += step
                steps.append(sg.evaluate(sums, dict(zip("ab", shifted, strict=True))))
            for name in sums:
                slope = (steps[0][name] - steps[1][name]) / 2e-5
                assert at[name, which][k] == pytest.approx(slope, rel=1e-7, abs=1e-8), name


def test_complex_error_function_of_complex_numbers():
    z = np.array([0.3 + 0.2j, -2.0 + 1.5j, 4.0 - 0.1j])
    w = sg.input("w", (3,), "complex128")
    actual = sg.compile({"y": sg.special.wofz(w)}).run({"w": z})["y"]
    np.testing.assert_allclose(actual, scipy.special.wofz(z), rtol=1e-14)
    real = sg.evaluate(sg.special.wofz([0.5]))
    np.testing.assert_allclose(real, scipy.special.wofz([0.5]), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_narrow_floats_are_computed_in_float64_and_rounded_once(dtype):
    x = np.linspace(0.1, 9.0, 41).astype(dtype)
    argument = sg.input("x", (41,), dtype)
    actual = sg.evaluate(sg.special.jv(1.5, argument), {"x": x})
    assert actual.dtype == dtype
    np.testing.assert_array_equal(actual, scipy.special.jv(1.5, x.astype(float)).astype(dtype))


def test_what_carries_no_gradient_is_refused():
    v, x = sg.input("v", (3,), "float64"), sg.input("x", (3,), "float64")
    with assert_refused(GradientError, "no derivative by v", line="special.jv"):
        sg.grad(sg.special.jv(v, x).sum(), v)
    with assert_refused(ArgumentError, "complex branch", line="lambertw"):
        sg.special.lambertw(x, 2)
    with assert_refused(ArgumentError, "exact=True", line="special.comb"):
        sg.special.comb(x, 2, exact=True)
    with assert_refused(DTypeError, "takes real numbers", line="special.j0"):
        sg.special.j0(sg.complex(x, v))


def test_a_function_without_a_body_is_a_row_of_its_operands():
    declared = {}
    for path in Path(special_constants.__file__).parent.glob("*.py"):
        functions = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
        for node in functions:
            if len(node.body) == 1 and ast.get_docstring(node):
                declared[node.name] = tuple(arg.arg for arg in node.args.args)
    assert len(declared) > 100
    assert declared == {name: RULES[name].operands for name in declared}


def test_scipys_functions_are_not_exported(tmp_path):
    compiled = sg.compile({"y": sg.special.j0(sg.input("x", (3,), "float64"))})
    for name, more in (("step.py", {}), ("step.so", {"header": tmp_path / "step.h"})):
        with pytest.raises(ExportError, match="SciPy's special functions cannot be exported"):
            compiled.export(tmp_path / name, **more)


@pytest.mark.parametrize("name", ["jv", "j1", "kv", "eval_legendre", "ellipj_dn", "hyp1f1"])
def test_second_derivatives_are_those_of_the_first(name):
    points = np.array([0.31, 0.52, 0.77])
    x = sg.input("x", (3,), "float64")
    operands = [2.0, 1.3][: len(RULES[name].operands) - 1]
    value = call(name, x, 0.4) if name.startswith("ellipj") else call(name, *operands, x)
    first = sg.grad(value.sum(), x)
    second = sg.evaluate(sg.grad(first.sum(), x), {"x": points})
    steps = [sg.evaluate(first, {"x": points + step}) for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(second, (steps[0] - steps[1]) / 2e-5, rtol=1e-7)


#: Formulas of several cases, of two operands.
CASES = [
    *("agm", "boxcox", "boxcox1p", "chdtr", "chdtrc", "huber", "inv_boxcox", "inv_boxcox1p"),
    *("kl_div", "owens_t", "pdtr", "pdtrc", "poch", "pseudo_huber", "rel_entr", "xlog1py", "xlogy"),
]


@pytest.mark.parametrize("name", CASES)
def test_nan_gives_nan_where_another_operand_decides(name):
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    for operands in [(values, np.nan), (np.nan, values)]:
        expected = getattr(scipy.special, name)(*operands)
        actual = getattr(sg.special, name)(*operands)
        assert np.isnan(actual[np.isnan(expected)]).all()
