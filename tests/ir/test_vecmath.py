"""The blocks against higher precision: NumPy's f64 for f32, 80-bit long doubles for f64."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from scipy import special

from staticgrad.analysis.interpret import interpret
from staticgrad.language.ir.expr import BLOCKS, postorder, ref
from staticgrad.language.types.dtype import F32, F64
from staticgrad.language.vecmath.blocks import LONG, ULP, expand
from staticgrad.language.vecmath.trigonometric import SMALLEST
from tests.helpers.limits import finfo

FLOATS = (F32, F64)
TRIGONOMETRIC = ("sin", "cos", "tan")
UNARY = tuple(op for op, row in BLOCKS.items() if row.operands == 1 and op not in LONG)
EXTENDED = finfo(np.longdouble).nmant >= 63
needs_extended = pytest.mark.skipif(not EXTENDED, reason="long double is no wider than double here")

#: Where something changes: region borders, saturation, over- and underflow, zeros of the result.
LANDMARKS = (
    0.0, 2.0**-55, 2.0**-26, math.log(2) / 2, 3 * math.log(2) / 2, math.sqrt(0.5), 0.8, 0.9, 1.0,
    0.5, math.tan(math.pi / 8), 1 / math.tan(math.pi / 8), 10.3, 27.4, 150.0, 1075.0,
    math.sqrt(2), 3.95, 5.95, 9.02, 17.33, 18.0, 19.1, 37.43, 38.5, 87.336, 88.3763, 88.7228, 89.0,
    103.97, 176.4, 708.396, 709.78, 710.0, 745.13, 1418.5, 2.0**49, 2.0**75, 2.0**102, 2.0**127.4,
    *(k * math.pi / 2 for k in (1, 2, 3, 4, 7, 101, 10**5)),
)  # fmt: skip


def block(op, *arrays):
    dtype = F32 if arrays[0].dtype == np.float32 else F64
    root = expand(op, *(ref(str(i), dtype) for i in range(len(arrays))))
    return interpret([root], lambda node: arrays[int(node.attribute)])[0]


def words(dtype):
    return np.uint32 if dtype == F32 else np.uint64


def patterns(dtype, count):
    """Evenly spaced bit patterns: every exponent, both signs, infinities and NaNs."""
    step = (1 << dtype.bits) // count | 1
    return (np.arange(count, dtype=words(dtype)) * words(dtype)(step)).view(dtype.numpy)


def neighbours(dtype, centres, width):
    """``width`` neighbours on either side of each centre, with both signs."""
    with np.errstate(over="ignore"):
        centre = np.array(centres, dtype.numpy)
    centre = np.abs(centre[np.isfinite(centre)]).view(words(dtype)).astype(np.int64)
    near = np.maximum(centre[:, None] + np.arange(-width, width + 1), 0).ravel()
    x = near.astype(words(dtype)).view(dtype.numpy)
    return np.concatenate([x, -x])


def samples(dtype, count):
    rng = np.random.default_rng(11)
    linear = [rng.uniform(-r, r, count // 4) for r in (1.0, 6.0, 110.0, 750.0)]
    log_uniform = np.exp(rng.uniform(-50, 5, count // 2)) * rng.choice([-1, 1], count // 2)
    return np.concatenate(
        [
            patterns(dtype, count),
            neighbours(dtype, LANDMARKS, 300 if dtype == F32 else 40),
            *(x.astype(dtype.numpy) for x in (*linear, log_uniform, 1 + log_uniform / 8)),
        ]
    )


def extended_erf(x):
    """2/sqrt(pi) exp(-x**2) sum of 2**n x**(2n+1) / (2n+1)!!: only positive terms (A&S 7.1.6)."""
    inside = np.clip(x, -7, 7)
    term = total = inside
    for n in range(1, 220):
        term = term * (2 * inside * inside / (2 * n + 1))
        total = total + term
    root_pi = np.sqrt(np.longdouble(2) * np.arcsin(np.longdouble(1)))
    return np.where(np.isnan(x), x, 2 / root_pi * np.exp(-inside * inside) * total)


def extended_erfc(x):
    """1 - erf below 1, beyond by its continued fraction (A&S 7.1.14), x**2 split at 20 bits."""
    a = np.minimum(np.abs(x), 110)
    head = np.rint(a * 2**20) / 2**20
    gauss = np.exp(-head * head) * np.exp(-(a - head) * (a + head))
    b = np.maximum(a, 1)
    fraction = b
    for k in range(400, 0, -1):
        fraction = b + k / (2 * fraction)
    root_pi = np.sqrt(np.longdouble(2) * np.arcsin(np.longdouble(1)))
    tail = np.where(a < 1, 1 - extended_erf(a), gauss / (fraction * root_pi))
    return np.where(np.isnan(x), x, np.where(x < 0, 2 - tail, tail))


def double_erfc(x):
    return np.frompyfunc(math.erfc, 1, 1)(x).astype(np.float64)


def extended_logit(p):
    """By the logarithms; near 1/2, where these cancel, 2 artanh(2 p - 1)."""
    far = np.log(p) - np.log1p(-p)
    near = np.abs(p - 0.5) < 0.25
    return np.where(near, 2 * np.arctanh(np.where(near, 2 * p - 1, 0)), far)


def truth(op, *arrays):
    """The function to at least 50 bits for f32 operands, 63 for f64."""
    with np.errstate(all="ignore"):
        wide = [a.astype(np.float64 if a.dtype == np.float32 else np.longdouble) for a in arrays]
        if op == "erfc":
            return extended_erfc(*wide) if wide[0].dtype == np.longdouble else double_erfc(*wide)
        if op in ("ndtri", "logit"):
            return {"ndtri": normal_quantile, "logit": extended_logit}[op](*wide)
        if op == "floor_quotient":
            return whole_quotient(*arrays)
        if op == "fmod":
            return np.fmod(*arrays).astype(wide[0].dtype)
        if op != "erf":
            return {"pow": np.power}.get(op, getattr(np, op, None))(*wide)
        if wide[0].dtype == np.float64:
            return np.frompyfunc(math.erf, 1, 1)(wide[0]).astype(np.float64)
        return extended_erf(wide[0])


def normal_quantile(p):
    """SciPy's for f32 operands; beyond that, Newton's iteration on the logarithm of the tail."""
    near = special.ndtri(p.astype(np.float64))
    if p.dtype == np.float64:
        return near
    inside = (p > 0) & (p < 1) & (p != 0.5)
    half = np.longdouble(0.5)
    tail = np.where(inside, np.minimum(p, 1 - p), half / 2)
    z = np.where(inside, np.abs(near), np.longdouble(0.6744897501960817))
    z = np.where(np.isinf(z), np.longdouble(37.5), z)
    root = np.sqrt(np.longdouble(2))
    for _ in range(4):
        density = np.exp(-z * z / 2) / np.sqrt(4 * np.arccos(np.longdouble(0)))
        above = extended_erfc(z / root) / 2
        middle = (extended_erf(z / root) / 2 - (half - tail)) / density
        z = z - np.where(tail > 0.2, middle, -np.log(above / tail) * above / density)
    return np.where(inside, np.where(p < half, -z, z), near.astype(np.longdouble))


def whole_quotient(x, y):
    """NumPy's quotient rounded down where that is special or small, beyond in whole numbers."""
    with np.errstate(all="ignore"):
        quotients, ratio = np.floor_divide(x, y), np.abs(x / y)
    exact = quotients.astype(np.longdouble)
    for i in np.flatnonzero(np.isfinite(quotients) & (ratio >= 2.0**20)):
        exact[i] = np.longdouble(Fraction(float(x[i])) // Fraction(float(y[i])))
    return exact


def ulps(got, true):
    """|got - true| in units of the last place at the true value; inf where they differ in kind."""
    info = finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = true.astype(got.dtype)
        _, exponent = np.frexp(true)
        unit = np.ldexp(np.ones_like(true), np.maximum(exponent - 1, info.minexp) - info.nmant)
        distance = np.abs(got.astype(true.dtype) - true) / unit
    borderline = np.isinf(rounded) | np.isinf(got) | np.isnan(got) | np.isnan(rounded)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(borderline, np.where(same, 0, np.inf), distance)


def assert_within(op, *arrays):
    got = block(op, *arrays)
    distance = ulps(got, truth(op, *arrays))
    worst = int(np.argmax(distance))
    bound = ULP[op, F32 if got.dtype == np.float32 else F64]
    at = ", ".join(repr(a[worst]) for a in arrays)
    assert distance[worst] <= bound, f"{op}({at}) = {got[worst]!r}: {distance[worst]} ulp"


def test_the_table_covers_every_block():
    assert set(ULP) == {(op, dtype) for op in BLOCKS.keys() - {"int_pow"} for dtype in FLOATS}
    x = ref("x", F32)
    with pytest.raises(KeyError):
        expand("add", x, x)
    with pytest.raises(TypeError):
        expand("exp", x, x)


@pytest.mark.parametrize("op", UNARY)
def test_f32_error(op):
    assert_within(op, samples(F32, 50_000))


@pytest.mark.thinned(2)
@needs_extended
@pytest.mark.parametrize("op", UNARY)
def test_f64_error(op):
    assert_within(op, samples(F64, 8_000))


def power_samples(dtype, count):
    """Any patterns; then bases whose power is finite, near 1 and far; whole exponents."""
    rng = np.random.default_rng(12)
    low, high, reach = (-104.0, 88.8, 85.0) if dtype == F32 else (-746.0, 709.8, 700.0)
    base = np.concatenate(
        [
            np.exp(rng.uniform(-reach, reach, count)),
            rng.uniform(0.5, 2, count),
            1 + rng.uniform(-1, 1, count) * 10 ** rng.uniform(-7, -1, count),
        ]
    )
    base = base[base != 1]
    exponent = rng.uniform(low, high, base.size) / np.log(base)
    integers = rng.integers(-40, 40, count).astype(np.float64)
    x = np.concatenate([base, rng.uniform(-8, 8, count)]).astype(dtype.numpy)
    y = np.concatenate([exponent, integers]).astype(dtype.numpy)
    any_x = rng.permutation(patterns(dtype, count))
    return np.concatenate([x, any_x]), np.concatenate([y, rng.permutation(any_x)])


@pytest.mark.slow
def test_f32_pow_error():
    assert_within("pow", *power_samples(F32, 20_000))


@needs_extended
def test_f64_pow_error():
    assert_within("pow", *power_samples(F64, 4_000))


def specials(dtype):
    info = finfo(dtype.numpy)
    positive = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, np.inf, info.max, info.tiny, info.smallest_subnormal]
    odd = 2.0**info.nmant + 1
    return np.array([*positive, *(-v for v in positive), odd, -odd, np.nan], dtype.numpy)


def assert_same_special_values(got, expected):
    """Infinities, NaNs, zeros with their sign and units where NumPy has them."""
    special = ~np.isfinite(expected) | (expected == 0) | (np.abs(expected) == 1)
    np.testing.assert_array_equal(got[special], expected[special])
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    zero = expected == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", UNARY)
def test_special_values(op, dtype):
    x = specials(dtype)
    assert_same_special_values(block(op, x), truth(op, x).astype(dtype.numpy))


def dividends(dtype, count):
    """Any patterns, specials against specials, and next to multiples of the divisor of any size."""
    rng = np.random.default_rng(19)
    any_x = patterns(dtype, count)
    y = np.exp(rng.uniform(-8, 8, count)) * rng.choice([-1, 1], count)
    x = y * np.floor(np.exp(rng.uniform(0, 45, count)))
    x, y = x.astype(dtype.numpy), y.astype(dtype.numpy)
    beside = np.nextafter(x, rng.choice([-np.inf, np.inf], count).astype(dtype.numpy))
    left, right = (v.ravel() for v in np.meshgrid(specials(dtype), specials(dtype)))
    dividend = np.concatenate([rng.permutation(any_x), x, beside, left])
    return dividend, np.concatenate([rng.permutation(any_x), y, y, right])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("op", "oracle"), [("fmod", np.fmod), ("floor_quotient", np.floor_divide)])
def test_divisions_are_numpys_to_the_byte(op, oracle, dtype):
    x, y = dividends(dtype, 20_000)
    with np.errstate(all="ignore"):
        expected, got = oracle(x, y), block(op, x, y)
    np.testing.assert_array_equal(got, expected)
    is_number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[is_number]), np.signbit(expected[is_number]))


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values_of_pow(dtype):
    x, y = (v.ravel() for v in np.meshgrid(specials(dtype), specials(dtype)))
    with np.errstate(all="ignore"):
        assert_same_special_values(block("pow", x, y), np.power(x, y))


def arc_cotangent(n, bits):
    """2**bits atan(1/n), short by less than its last 20 bits."""
    term = total = (1 << bits) // n
    for k in range(3, 2 * bits, 2):
        term = -term // (n * n)
        total += term // k
        if not term + 1 >> 1:
            break
    return total


#: pi to 1400 bits, by Machin's formula.
PI_BITS = 1400
PI = 4 * (4 * arc_cotangent(5, PI_BITS) - arc_cotangent(239, PI_BITS))


def large_angle(op, x):
    """The function of x, reduced with whole numbers."""
    fraction, exponent = math.frexp(abs(x))
    mantissa, place = int(fraction * 2**53), exponent - 53 + PI_BITS
    scaled = mantissa << place if place >= 0 else mantissa >> -place
    half = PI >> 1
    turns = (scaled + (half >> 1)) // half
    remainder = scaled - turns * half
    shift = max(abs(remainder).bit_length() - 64, 0)
    r = np.ldexp(np.longdouble(abs(remainder) >> shift), shift - PI_BITS) * (
        -1 if remainder < 0 else 1
    )
    waves = [np.sin(r), np.cos(r), -np.sin(r), -np.cos(r)]
    sine, cosine = waves[turns % 4] * (-1 if x < 0 else 1), waves[(turns + 1) % 4]
    return {"sin": sine, "cos": cosine, "tan": sine / cosine}[op]


@needs_extended
@pytest.mark.parametrize("op", TRIGONOMETRIC)
def test_f64_angles_of_every_size(op):
    rng = np.random.default_rng(17)
    x = np.exp2(rng.uniform(45, 1023.99, 3_000)) * rng.choice([-1, 1], 3_000)
    powers = 2.0 ** np.arange(45, 1024)
    closest = [6381956970095103 * 2.0**797, 5319372648326541 * 2.0**255]  # to a quarter turn
    edges = [SMALLEST, np.nextafter(SMALLEST, 0), 1e22, 1.7e308, finfo(np.float64).max]
    x = np.concatenate([x, powers, closest, edges])
    true = np.array([large_angle(op, float(v)) for v in x])
    distance = ulps(block(op, x), true)
    assert np.max(distance) <= ULP[op, F64], x[np.argmax(distance)]


@pytest.mark.parametrize("dtype", FLOATS)
def test_expansions_hold_plain_primitives_only_and_few(dtype):
    budget = {"exp": 28, "expm1": 30, "tanh": 31, "log": 36, "log1p": 39, "erf": 56, "sin": 55,
              "cos": 54, "tan": 57, "fmod": 16, "floor_quotient": 20, "ndtri": 62, "pow": 128,
              "exp2": 26, "log2": 45, "log10": 45, "cbrt": 55, "atan": 33, "asin": 31, "acos": 36,
              "erfc": 96, "atan2": 50, "logit": 62, "sinh": 38, "cosh": 29}  # fmt: skip
    budget |= dict.fromkeys(LONG, 110)
    budget |= {"gamma": 200, "gammainc": 240, "gammaincc": 290, "betainc": 450, "betaln": 410}
    divisions = {"gamma": 4, "gammainc": 6, "gammaincc": 7, "betainc": 14, "betaln": 13}
    for op, row in BLOCKS.items():
        if row.takes != "f":
            continue
        root = expand(op, *(ref(str(i), dtype) for i in range(row.operands)))
        kinds = Counter(node.op for node in postorder([root]))
        assert not kinds.keys() & (BLOCKS.keys() | {"load", "index", "size"})
        kinds -= Counter(node.op for node in seldom(root))
        assert kinds["div"] <= divisions.get(op, 2 if op in LONG else 1)
        free = kinds["literal"] + kinds["ref"] + kinds["bitcast"]
        assert kinds.total() - free <= budget[op], op
        assert root.dtype == dtype


def seldom(root):
    """Return the nodes that only the unusual values of ``rarely`` need."""
    choices = [node for node in postorder([root]) if node.op == "rarely"]
    usual = {node: node.args[2] for node in choices}
    always = set()
    stack = [root]
    while stack:
        node = stack.pop()
        always.add(node)
        needs = (node.args[0], usual[node]) if node in usual else node.args
        stack += [a for a in needs if a not in always]
    return [node for node in postorder([root]) if node not in always]
