"""Special functions, angles, division, signs: errors in last places, kinks, derivatives."""

import mpmath as mp
import numpy as np
import pytest
import scipy.special

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.interpret import interpret
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import ArgumentError, DTypeError, GradientError
from staticgrad.language.ir.expr import ref
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.types.dtype import F32, F64
from staticgrad.language.vecmath.blocks import LONG, ULP, expand
from staticgrad.special import constants as special_constants, quadratures
from tests.compiled.agreement import differing
from tests.exporting.printed import run_exported
from tests.helpers.limits import finfo
from tests.ir.test_vecmath import needs_extended, ulps
from tests.native.support import LONG_BY_NUMBA
from tests.ops.graphs import op_names, run
from tests.ops.messages import assert_refused

DIGITS = 60


def on_log_scale(rng, low, high, count):
    return np.exp(rng.uniform(np.log(low), np.log(high), count))


def positive(rng):
    near = [1 + on_log_scale(rng, 1e-7, 0.4, 20), 2 - on_log_scale(rng, 1e-7, 0.4, 20)]
    root = 1.4616321449683622 + on_log_scale(rng, 1e-7, 0.4, 20)
    spread = [rng.uniform(0, 10, 60), on_log_scale(rng, 1e-12, 1e4, 40)]
    return np.concatenate([*near, root, *spread])


def both_sides(rng, low, high):
    return np.concatenate([rng.uniform(low, high, 80), on_log_scale(rng, 1e-9, -low, 40)])


def in_tails(rng):
    size = on_log_scale(rng, 1e-6, 1, 60)
    return np.concatenate([rng.uniform(-1, 1, 60), 1 - size, size])


def above_branch(rng):
    near = np.concatenate([on_log_scale(rng, 1e-6, 0.1, 40) - 0.36787943, rng.uniform(-0.3, 1, 40)])
    return np.concatenate([near, on_log_scale(rng, 1e-10, 1e30, 40)])


def scaled_bessel(order):
    return lambda x: mp.exp(-abs(x)) * mp.besseli(order, x)


def between_poles(rng):
    near = np.rint(rng.uniform(-30, 0, 20)) + on_log_scale(rng, 1e-4, 0.3, 20)
    return np.concatenate([rng.uniform(-30, 34, 120), near, on_log_scale(rng, 1e-30, 1, 20)])


#: Block -> the function, its public name, operands.
OF_ONE = {
    "gamma": (mp.gamma, "gamma", between_poles),
    "gammaln": (mp.loggamma, "gammaln", positive),
    "digamma": (mp.digamma, "digamma", positive),
    "trigamma": (lambda x: mp.psi(1, x), "polygamma", positive),
    "erfcx": (lambda x: mp.exp(x * x) * mp.erfc(x), "erfcx", lambda r: both_sides(r, -9, 30)),
    "erfinv": (mp.erfinv, "erfinv", in_tails),
    "ndtr": (lambda x: mp.erfc(-x / mp.sqrt(2)) / 2, "ndtr", lambda r: both_sides(r, -12.5, 8)),
    "i0e": (scaled_bessel(0), "i0e", lambda r: both_sides(r, -40, 40)),
    "i1e": (scaled_bessel(1), "i1e", lambda r: both_sides(r, -40, 40)),
}


def lower_gamma(a, x):
    return mp.gammainc(a, 0, x, regularized=True)


def upper_gamma(a, x):
    return mp.gammainc(a, x, regularized=True)


def lower_beta(a, b, x):
    return mp.betainc(a, b, 0, x, regularized=True)


OF_SEVERAL = {
    "zeta": mp.zeta,
    "gammainc": lower_gamma,
    "gammaincc": upper_gamma,
    "betainc": lower_beta,
    "betaln": lambda a, b: mp.log(mp.beta(a, b)),
}


def distribution_operands(op, rng):
    """Operands of a block of several: of distributions, about the mean."""
    if op == "zeta":
        return 1 + on_log_scale(rng, 1e-3, 11, 60), on_log_scale(rng, 1e-2, 1e3, 60)
    a, b, far = (
        on_log_scale(rng, 0.5, 3e3, 60),
        on_log_scale(rng, 0.5, 300, 60),
        rng.normal(0, 2, 60),
    )
    if op == "betaln":
        return a, b
    if op == "betainc":
        mean = a / (a + b)
        spread = np.sqrt(mean * (1 - mean) / (a + b + 1))
        return a, b, np.clip(mean - spread * np.abs(far), 0.01 * mean, None)
    small, low = on_log_scale(rng, 1e-3, 1, 30), on_log_scale(rng, 1e-4, 20, 30)
    side = -np.abs(far) if op == "gammainc" else np.abs(far)
    x = np.maximum(a + np.sqrt(a) * side, 0.1 * a)
    return np.concatenate([a, small]), np.concatenate([x, low])


def operands(op, dtype):
    rng = np.random.default_rng(7)
    arrays = distribution_operands(op, rng) if op in OF_SEVERAL else (OF_ONE[op][2](rng),)
    return tuple(array.astype(dtype.numpy) for array in arrays)


def apply_function(op, *values):
    if op == "trigamma":
        return sg.special.polygamma(1, *values)
    return getattr(sg.special, op)(*values)


def off_by(op, dtype, got):
    """The distances from the true values, in units of the last place."""
    function = OF_SEVERAL[op] if op in OF_SEVERAL else OF_ONE[op][0]
    info, distances = finfo(dtype.numpy), []
    with mp.workdps(DIGITS):
        for value, *at in zip(got, *operands(op, dtype), strict=True):
            true = mp.re(function(*(mp.mpf(float(x)) for x in at)))
            if op == "betaln" and abs(true) < 0.1:  # terms cancel: the table leaves these out
                distances.append(0.0)
                continue
            exponent = max(int(mp.floor(mp.log(abs(true), 2))), info.minexp)
            distances.append(float(abs(mp.mpf(float(value)) - true) / mp.mpf(2) ** exponent))
    return np.array(distances) * 2.0**info.nmant


def test_every_long_block_is_tested():
    assert OF_ONE.keys() | OF_SEVERAL.keys() == LONG


@pytest.mark.thinned
@pytest.mark.parametrize("mode", [*LONG_BY_NUMBA, pytest.param("file", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_compiled_blocks_are_their_definitions(dtype, mode, tmp_path):
    """Byte for byte; and, once, within the table of errors."""
    ops = sorted(LONG)[:: 1 if mode == "vector" else 4]
    feeds = {f"{op}{i}": a for op in ops for i, a in enumerate(operands(op, dtype))}
    outputs = {}
    for op in ops:
        count = len(operands(op, dtype))
        named = [sg.input(f"{op}{i}", (f"n_{op}",), dtype.numpy) for i in range(count)]
        outputs[op] = apply_function(op, *named)
    with sg.options(jit=mode != "python", backend="numba" if mode == "numba" else "auto"):
        f = sg.compile(outputs)
        file = tmp_path / "blocks.py"
        actual = run_exported(f, feeds, file) if mode == "file" else f.run(feeds)
    for op in ops:
        arrays = operands(op, dtype)
        root = expand(op, *(ref(str(i), dtype) for i in range(len(arrays))))
        (want,) = interpret([root], lambda leaf, a=arrays: a[int(leaf.attribute)])
        assert same_bytes(actual[op], want), f"{op}: {differing(actual[op], want)}"
        if mode == "vector":
            distance = off_by(op, dtype, actual[op])
            worst = int(np.argmax(distance))
            assert distance[worst] <= ULP[op, dtype], (op, [a[worst] for a in arrays])


def test_derivatives_of_gammaln_and_polygamma():
    points = np.array([0.3, 1.0, 2.7, 9.5])
    x = sg.input("x", (4,), "float64")
    value = sg.special.gammaln(x)
    for order in range(1, 6):
        value = sg.grad(value.sum(), x)
        expected = [float(mp.psi(order - 1, mp.mpf(p))) for p in points]
        np.testing.assert_allclose(sg.evaluate(value, {"x": points}), expected, rtol=1e-12)
    points = np.array([-0.3, -1.7, -2.25, -40.6])
    for order in (1, 2, 3, 4):
        expected = [float(mp.re(mp.psi(order, mp.mpf(p)))) for p in points]
        actual = sg.compile(sg.special.polygamma(order, x)).run({"x": points})
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_kl_div_of_nearly_equal_numbers():
    x = np.array([1.0, 3.0, 0.2, 1e-20])
    for dtype, places in (("float64", 1e-14), ("float32", 1e-6)):
        for step in (1e-3, 1e-2, 0.3):
            near = x.astype(dtype), (x * (1 + step)).astype(dtype)
            with mp.workdps(DIGITS):
                pairs = [(mp.mpf(float(a)), mp.mpf(float(b))) for a, b in zip(*near, strict=True)]
                expected = [float(a * mp.log(a / b) - a + b) for a, b in pairs]
            actual = sg.evaluate(sg.special.kl_div(*map(sg.constant, near)), {})
            np.testing.assert_allclose(actual, expected, rtol=places)


def moved_tail(a, x):
    """The derivative of P(a, x) by a, by central differences of 60 digits."""
    with mp.workdps(60):
        step = mp.mpf(10) ** -20
        above, below = (mp.gammainc(mp.mpf(a) + s, 0, x, regularized=True) for s in (step, -step))
        return (above - below) / (2 * step)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 3e-11), ("float32", 2e-5)])
def test_incomplete_gamma_functions_by_their_parameter(dtype, rtol):
    """From draws far below the smallest to such far above the largest, and of large parameters."""
    points = [(0.01, 1e-30), (0.1, 1e-3), (0.1, 2.0), (0.5, 0.2), (1.0, 1.0), (2.0, 9.0)]
    points += [(7.0, 7.0), (50.0, 30.0), (50.0, 80.0), (300.0, 299.0), (10000.0, 10100.0)]
    at = np.array(points).T.astype(dtype)
    a, x = sg.input("a", (len(points),), dtype), sg.input("x", (len(points),), dtype)
    expected = np.array([float(moved_tail(*map(float, pair))) for pair in at.T])
    lower = sg.grad(sg.special.gammainc(a, x).sum(), a)
    upper = sg.grad(sg.special.gammaincc(a, x).sum(), a)
    actual = sg.compile({"lower": lower, "upper": upper}).run({"a": at[0], "x": at[1]})
    np.testing.assert_allclose(actual["lower"], expected, rtol=rtol)
    np.testing.assert_array_equal(actual["upper"], -actual["lower"])
    ends = sg.evaluate(
        lower, {"a": at[0], "x": np.resize([0.0, np.inf], len(points)).astype(dtype)}
    )
    np.testing.assert_array_equal(ends, 0.0)


def test_what_has_no_closed_form_is_refused():
    s, q = sg.input("s", (3,), "float64"), sg.input("q", (3,), "float64")
    value = sg.special.zeta(s, q)
    with assert_refused(GradientError, "no derivative by s", line="special.zeta"):
        sg.grad(value.sum(), s)
    with assert_refused(GradientError, "no derivative by s", line="special.zeta"):
        sg.jvp(value, s, np.ones(3))
    assert sg.grad(sg.special.zeta(sg.stop_gradient(s), q).sum(), q).shape == (3,)
    with assert_refused(ArgumentError, "not from 0 to 170", line="polygamma"):
        sg.special.polygamma(-1, q)


@pytest.mark.parametrize("name", sg.special.__all__)
def test_scipys_function_of_the_name_takes_values(name):
    function = getattr(scipy.special, name)
    points = np.array([0.2, 0.45, 0.7])
    x = sg.input("x", (3,), "float64")
    if not isinstance(function, np.ufunc):
        arrays_only = ("log_softmax", "logsumexp", "multigammaln", "sinc", "softmax", "softplus")
        counts = ("comb", "diric", "factorial", "factorial2", "factorialk", "lambertw", "perm")
        spherical = tuple(f"spherical_{kind}n" for kind in "jyik")
        derivatives = ("jvp", "yvp", "ivp", "kvp", "h1vp", "h2vp")
        legendre = ("assoc_legendre_p", "legendre_p", "sph_harm_y", "sph_legendre_p")
        assert name in (
            *("assoc_laguerre", "polygamma", "zeta", *arrays_only, *counts, *spherical),
            *(*derivatives, *legendre, *special_constants.NAMES, *quadratures.NAMES),
        )
        return
    counted = (
        "bdtr",
        "bdtrc",
        "bdtri",
        "nbdtr",
        "nbdtrc",
        "nbdtri",
        "pdtri",
        "smirnov",
        "smirnovi",
    )
    if name in (*counted, "zetac"):
        return  # SciPy truncates counts that are not whole; zetac is NaN below 1
    parameters = (0.3,) * (function.nin - 1)
    orthogonal = ("expn", "kn", "yn", "eval_hermite", "eval_hermitenorm")
    if name in orthogonal or name == "lpmv":
        orders = (1,) if name in orthogonal else (1, 2)
        actual, expected = function(*orders, x), function(*orders, points)
    else:
        actual, expected = function(x, *parameters), function(points, *parameters)
    is_tuple = function.nout > 1
    pairs = zip(actual, expected, strict=True) if is_tuple else ((actual, expected),)
    for ours, theirs in pairs:
        np.testing.assert_allclose(sg.evaluate(ours, {"x": points}), theirs, rtol=1e-13)


@needs_extended
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(
    ("name", "function", "bound"), [("atan2", np.arctan2, 1.7), ("hypot", np.hypot, 4.0)]
)
def test_angle_and_length_stay_within_their_stated_error(name, function, bound, dtype):
    rng = np.random.default_rng(6)
    size = np.exp(rng.uniform(-40, 40, (2, 20_000))) * rng.choice([-1, 1], (2, 20_000))
    beside = np.stack([0.5 + rng.normal(size=20_000) / 1e3, np.ones(20_000)])  # other reductions
    drawn = [rng.normal(size=(2, 20_000)), size, beside, beside[::-1]]
    y, x = np.concatenate(drawn, axis=1).astype(dtype.numpy)
    root = registered_ops()[name]().scalar(ref("y", dtype), ref("x", dtype))
    (actual,) = interpret([root], lambda leaf: {"y": y, "x": x}[leaf.attribute])
    wide = np.float64 if dtype == F32 else np.longdouble
    assert np.max(ulps(actual, function(y.astype(wide), x.astype(wide)))) <= bound


def test_powers_of_two_are_exact():
    powers = np.arange(-1074, 1024).astype(np.float64)
    scalar = {name: registered_ops()[name]().scalar(ref("x", F64)) for name in ("exp2", "log2")}
    (raised,) = interpret([scalar["exp2"]], lambda leaf: powers)
    np.testing.assert_array_equal(raised, np.ldexp(1.0, powers.astype(int)))
    (back,) = interpret([scalar["log2"]], lambda leaf: raised)
    np.testing.assert_array_equal(back, powers)


def slope(function, x, *, order=1):
    """The derivative of a function of one variable at the points ``x``."""
    v = sg.input("v", np.shape(x), "float64")
    value = function(v)
    for _ in range(order):
        value = grad(value.sum(), v, allow_disconnected=True)
    return run(value, {"v": x})


def test_clip_and_its_slopes():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 3.0, np.nan])
    for low, high in ((-1.0, 1.0), (None, 1.0), (-1.0, None), (1.0, -1.0), (np.nan, 1.0)):
        np.testing.assert_array_equal(run(sg.clip(x, low, high)), np.clip(x, low, high))
    v = sg.input("v", (6,), "float64")
    np.testing.assert_array_equal(run(np.clip(v, -1, 1), {"v": x}), np.clip(x, -1, 1))
    assert sg.clip(np.array([1, 200], np.uint8), 3, 100).dtype == "uint8"
    np.testing.assert_array_equal(run(sg.clip(np.arange(5), 1, 3)), [1, 1, 2, 3, 3])
    x = np.array([-2.0, -1.0, 0.0, 1.0, 3.0])
    np.testing.assert_array_equal(slope(lambda v: sg.clip(v, -1.0, 1.0), x), [0, 1, 1, 1, 0])
    low, high = np.full(5, -1.0), np.full(5, 1.0)
    by_low = slope(lambda v: sg.clip(x, v, high), low)
    by_high = slope(lambda v: sg.clip(x, low, v), high)
    np.testing.assert_array_equal(by_low, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(by_high, [0, 0, 0, 0, 1])
    x = np.array([-1.0, 0.25])
    actual = slope(lambda v: sg.log(sg.clip(v, 0.0, 1.0)).sum() + sg.sqrt(sg.clip(v, 0.0, 1.0)), x)
    assert np.isfinite(actual[1])
    masked = slope(lambda v: sg.clip(sg.sqrt(v), 0.5, 9.0), np.array([0.0, 4.0]))
    np.testing.assert_array_equal(masked, [0, 0.25])


# What mpmath gives with 60 digits, rounded: places where terms of a derivative cancel, or overflow.
DERIVATIVES = {
    "erfcx of 1": (sg.special.erfcx, 1, [1e5, 1e200], [-5.641895834631278e-11, 0.0]),
    "erfcx of 2": (
        sg.special.erfcx,
        2,
        [50.0, 1e3],
        [9.016217115157223e-06, 1.1283757819707055e-09],
    ),
    "erfcx of 3": (sg.special.erfcx, 3, [50.0], [-5.4054102557325253e-07]),
    "log_ndtr of 2": (sg.special.log_ndtr, 2, [-1e5, 40.0, 1e200], [-0.9999999999, 0.0, 0.0]),
    "log_ndtr of 3": (sg.special.log_ndtr, 3, [-50.0], [1.5923581891197386e-05]),
    "i1 of 2": (sg.special.i1, 2, [1e-300, 1e-8], [3.75e-301, 3.75e-09]),
    "i1 of 3": (sg.special.i1, 3, [0.0, 1e-10, 0.1], [0.375, 0.375, 0.3765636396647695]),
    "i1e of 2": (sg.special.i1e, 2, [1e-8, -0.1], [-0.99999998125000017, 0.828955917831943]),
    "digamma of 2": (sg.special.digamma, 2, [-1e-20, -1e-5], [2e60, 1999999999999997.1]),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_keep_their_digits(name):
    function, order, places, expected = DERIVATIVES[name]
    actual = slope(function, np.array(places), order=order)
    np.testing.assert_allclose(actual, expected, rtol=1e-11)


def test_operators_from_the_right():
    x = sg.input("x", (3,), "int32")
    feeds = {"x": np.array([1, 2, 3], np.int32)}
    for value, expected in (
        (7 // x, [7, 3, 2]),
        (7 % x, [0, 1, 1]),
        (1 << x, [2, 4, 8]),
        (9 >> x, [4, 2, 1]),
    ):
        np.testing.assert_array_equal(run(value, feeds), expected)
    quotient, remainder = divmod(7, x)
    np.testing.assert_array_equal(run(quotient * x + remainder, feeds), 7)


def test_refusals_and_needless_nodes():
    with assert_refused(DTypeError, "shifts take integers", line="sg.left_shift"):
        sg.left_shift(1.0, 2)
    with assert_refused(DTypeError, "bool", line="sg.floor_divide"):
        sg.floor_divide(np.array([True]), np.array([True]))
    x = sg.input("x", (3,), "float64")
    assert op_names(sg.isnan(x)) == ["ne"]
    assert op_names(sg.clip(x, 0.0)) == ["at_least"]
    assert sg.clip(x) is x


def test_incomplete_beta_function_by_its_parameters():
    """On both sides of the mean, in the tails, of small and of large parameters."""
    points = [(0.3, 0.5, 0.1), (0.01, 0.5, 1e-3), (0.5, 0.3, 0.98), (1.0, 1.0, 0.5)]
    points += [(2.5, 4.0, 0.05), (2.5, 4.0, 0.9), (30.0, 200.0, 0.13), (1e3, 4.0, 0.999)]
    points += [(0.3, 3e3, 1e-4), (1e3, 900.0, 0.5)]
    at = np.array(points).T

    def difference(place, *arguments):
        with mp.workdps(60):
            step, arguments = mp.mpf(10) ** -20, [mp.mpf(float(x)) for x in arguments]
            ends = []
            for h in (step, -step):
                a, b, x = (v + h * (k == place) for k, v in enumerate(arguments))
                ends.append(mp.betainc(a, b, 0, x, regularized=True))
            return float((ends[0] - ends[1]) / (2 * step))

    for dtype, rtol in (("float64", 1e-7), ("float32", 2e-5)):
        named = [sg.input(name, (len(points),), dtype) for name in "abx"]
        slopes = sg.grad(sg.special.betainc(*named).sum(), named)
        feeds_at = at.astype(dtype)
        actual = sg.compile(dict(zip("abx", slopes, strict=True))).run(
            dict(zip("abx", feeds_at, strict=True))
        )
        for place, name in enumerate("ab"):
            expected = [difference(place, *column) for column in feeds_at.T]
            np.testing.assert_allclose(actual[name], expected, rtol=rtol)
    named = [sg.input(name, (2,), "float64") for name in "abx"]
    tangent = sg.jvp(sg.special.betainc(*named), named, [np.ones(2)] * 3)
    feeds = {"a": [2.0, 2.0], "b": [3.0, 3.0], "x": [0.0, 0.4]}
    total = sg.evaluate(sum(sg.grad(sg.special.betainc(*named).sum(), named)), feeds)
    np.testing.assert_allclose(sg.evaluate(tangent, feeds), total, rtol=1e-12)
    assert total[0] == 0.0


INVERSES = {
    "gammaincinv": [(a, p) for a in (0.01, 0.5, 1.0, 3.0, 100.0, 1e5) for p in (1e-9, 0.3, 0.9)],
    "gammainccinv": [
        (a, p) for a in (0.01, 0.5, 1.0, 3.0, 100.0) for p in (1e-200, 1e-9, 0.3, 0.9)
    ],
    "betaincinv": [
        (a, b, p)
        for a in (0.01, 0.5, 1.0, 50.0, 1e3)
        for b in (0.1, 1.0, 3.0, 1e4)
        for p in (1e-9, 0.3, 0.9, 0.999)
    ],
    "betainccinv": [(a, b, p) for a in (0.5, 3.0) for b in (1.0, 80.0) for p in (1e-30, 0.2)],
    "betaincc": [(2.0, 3.0, 0.4), (0.5, 40.0, 1e-9), (1e3, 2.0, 0.5)],
    "stdtr": [(df, t) for df in (0.5, 1.0, 4.0, 1e3, np.inf) for t in (-30.0, -1.0, 0.3, 5.0)],
    "stdtrit": [(df, p) for df in (0.5, 1.0, 4.0, 1e3, np.inf) for p in (1e-9, 0.3, 0.5, 0.999)],
}


@pytest.mark.parametrize("name", INVERSES)
def test_inverses_of_distribution_functions(name):
    """SciPy's, at the ends, outside of them, and compiled; slopes by central differences."""
    at = np.array(INVERSES[name]).T
    function = getattr(sg.special, name)
    expected = getattr(scipy.special, name)(*at)
    named = [sg.input(f"x{k}", ("n",), "float64") for k in range(len(at))]
    value = function(*named)
    feeds = {f"x{k}": column for k, column in enumerate(at)}
    actual = sg.compile(value).run(feeds)
    np.testing.assert_allclose(actual, expected, rtol=2e-11, atol=1e-300)
    np.testing.assert_allclose(sg.evaluate(value, feeds), actual, rtol=1e-12, atol=1e-300)
    if name.endswith(("inv", "trit")):
        ends = np.array([0.0, 1.0, -0.1, 1.1, np.nan])
        shapes = (2.0,) * (len(at) - 1)
        limits = getattr(scipy.special, name)(*shapes, ends)
        limits[0] = -np.inf if name == "stdtrit" else limits[0]  # SciPy's is inf
        np.testing.assert_array_equal(sg.evaluate(function(*shapes, ends)), limits)
    start = np.array([0.7, 2.5, 0.3][-len(at) :] if name != "stdtr" else [2.5, -0.7])
    points = [sg.input(f"x{k}", (), "float64") for k in range(len(at))]
    slopes = sg.grad(function(*points), points)

    def differences(place, step=1e-4):
        ends = [
            start + h * (np.arange(len(start)) == place) for h in (step, -step, step / 2, -step / 2)
        ]
        a, b, c, d = (getattr(scipy.special, name)(*end) for end in ends)
        return (4 * (c - d) / step - (a - b) / (2 * step)) / 3

    for place, slope in enumerate(slopes):
        got = sg.evaluate(slope, {f"x{k}": x for k, x in enumerate(start)})
        np.testing.assert_allclose(got, differences(place), rtol=1e-7, atol=1e-10)


def test_multigammaln_is_scipys():
    a = np.array([0.9, 1.6, 7.0])
    actual = sg.evaluate(sg.special.multigammaln(a, 3))
    np.testing.assert_allclose(actual[1:], [scipy.special.multigammaln(x, 3) for x in a[1:]])
    assert np.isnan(actual[0])
