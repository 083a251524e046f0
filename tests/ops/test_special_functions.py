"""Values and derivatives of ``sg.special`` beside mpmath, at 0, near poles and far out."""

import numpy as np
import pytest
import scipy.special

import staticgrad as sg
from staticgrad.errors import ArgumentError, DTypeError, ExportError, GradientError
from staticgrad.language.ops.special_functions import RULES, call
from tests.ops.messages import assert_refused

mp = pytest.importorskip("mpmath")

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


#: Name, index of the result, operands before x -> what it is, the grid, and the relative errors of
#: value and derivative; 1e-13 where they are not given. SciPy's have some more at zeros.
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
    "diric . 3": (lambda x: mp.sin(1.5 * x) / (3 * mp.sin(x / 2)), [-9.3, 0.3, 4.0, 60.0]),
}  # fmt: skip


def built(key, x):
    """The function of a key of the table, of x."""
    name, *rest = key.split()
    name, _, index = name.partition("[")
    rest = [each if each == "." else float(each) for each in rest]
    operands = [x if each == "." else each for each in rest] if "." in rest else [*rest, x]
    operands = [int(each) if name == "diric" and each is not x else each for each in operands]
    found = getattr(sg.special, name)(*operands)
    return found[int(index[0])] if index else found


@pytest.mark.parametrize("key", TABLE)
def test_values_and_derivatives_are_those_of_mpmath(key):
    exact, grid, *bounds = TABLE[key]
    x = sg.input("x", ("n",), "float64")
    value = built(key, x)
    found = sg.evaluate({"value": value, "slope": sg.grad(value.sum(), x)}, {"x": np.array(grid)})
    with mp.workdps(40):
        points = [mp.mpf(each) for each in grid]
        wanted = {
            "value": [mp.re(exact(each)) for each in points],
            "slope": [mp.re(mp.diff(exact, each)) for each in points],
        }
    for (what, numbers), bound in zip(wanted.items(), bounds or (1e-13, 1e-13), strict=True):
        close = np.array([float(each) for each in numbers])
        error = np.abs(found[what] - close) / np.maximum(np.abs(close), 1e-300)
        error = np.where(np.abs(close) < 1e-25, 0.0, error)  # 0, but for the differences
        assert np.max(error) < bound, (what, error)


def test_both_operands_have_derivatives():
    u = np.array([0.7, -1.3, 4.0])
    m = np.array([0.2, 0.4, 0.9])
    a, b = sg.input("a", (3,), "float64"), sg.input("b", (3,), "float64")
    values = {
        "F": sg.special.ellipkinc(a, b),
        **{f"j{k}": each for k, each in enumerate(sg.special.ellipj(a, b))},
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
                moved = [u.copy(), m.copy()]
                moved[which][k] += step
                steps.append(sg.evaluate(sums, dict(zip("ab", moved, strict=True))))
            for name in sums:
                slope = (steps[0][name] - steps[1][name]) / 2e-5
                assert at[name, which][k] == pytest.approx(slope, rel=1e-7, abs=1e-8), name


def test_complex_error_function_of_complex_numbers():
    z = np.array([0.3 + 0.2j, -2.0 + 1.5j, 4.0 - 0.1j])
    w = sg.input("w", (3,), "complex128")
    found = sg.compile({"y": sg.special.wofz(w)}).run({"w": z})["y"]
    np.testing.assert_allclose(found, scipy.special.wofz(z), rtol=1e-14)
    real = sg.evaluate(sg.special.wofz([0.5]))
    np.testing.assert_allclose(real, scipy.special.wofz([0.5]), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_narrow_floats_are_computed_in_float64_and_rounded_once(dtype):
    x = np.linspace(0.1, 9.0, 41).astype(dtype)
    given = sg.input("x", (41,), dtype)
    found = sg.evaluate(sg.special.jv(1.5, given), {"x": x})
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, scipy.special.jv(1.5, x.astype(float)).astype(dtype))


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


def test_scipys_functions_are_not_exported(tmp_path):
    compiled = sg.compile({"y": sg.special.j0(sg.input("x", (3,), "float64"))})
    for name, more in (("step.py", {}), ("step.so", {"header": tmp_path / "step.h"})):
        with pytest.raises(ExportError, match="SciPy's special functions cannot be exported"):
            compiled.export(tmp_path / name, **more)


@pytest.mark.parametrize("name", ["jv", "j1", "kv", "eval_legendre", "ellipj_dn", "hyp1f1"])
def test_second_derivatives_are_those_of_the_first(name):
    points = np.array([0.31, 0.52, 0.77])
    x = sg.input("x", (3,), "float64")
    operands = [2.0, 1.3][: len(RULES[name][0].split()) - 1]
    value = call(name, x, 0.4) if name.startswith("ellipj") else call(name, *operands, x)
    first = sg.grad(value.sum(), x)
    second = sg.evaluate(sg.grad(first.sum(), x), {"x": points})
    steps = [sg.evaluate(first, {"x": points + step}) for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(second, (steps[0] - steps[1]) / 2e-5, rtol=1e-7)
