"""The blocks against higher precision: NumPy's f64 for f32, 80-bit long doubles for f64."""

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from staticgrad.analysis.interpret import interpret
from staticgrad.ir.dtype import F32, F64, DType
from staticgrad.ir.expr import BLOCKS, Expr, postorder, ref
from staticgrad.ir.vecmath.blocks import ULP, expand
from staticgrad.ir.vecmath.trigonometric import LIMIT

Array = NDArray[np.generic]
FLOATS = (F32, F64)
UNARY = tuple(op for op, operands in BLOCKS.items() if operands == 1)
EXTENDED = np.finfo(np.longdouble).nmant >= 63
needs_extended = pytest.mark.skipif(not EXTENDED, reason="long double is no wider than double here")

#: Where something changes: region borders, saturation, over- and underflow, zeros of the result.
LANDMARKS = (
    0.0, 2.0**-55, 2.0**-26, math.log(2) / 2, 3 * math.log(2) / 2, math.sqrt(0.5), 0.8, 0.9, 1.0,
    0.5, math.tan(math.pi / 8), 1 / math.tan(math.pi / 8), 10.3, 27.4, 150.0, 1075.0,
    math.sqrt(2), 3.95, 5.95, 9.02, 17.33, 18.0, 19.1, 37.43, 38.5, 87.336, 88.3763, 88.7228, 89.0,
    103.97, 176.4, 708.396, 709.78, 710.0, 745.13, 1418.5, 2.0**49, 2.0**75, 2.0**102, 2.0**127.4,
    *(k * math.pi / 2 for k in (1, 2, 3, 4, 7, 101, 10**5)),
)  # fmt: skip


def block(op: str, *arrays: Array) -> Array:
    dtype = F32 if arrays[0].dtype == np.float32 else F64
    root = expand(op, *(ref(str(i), dtype) for i in range(len(arrays))))
    return interpret([root], lambda node: arrays[int(node.attribute)])[0]


def words(dtype: DType) -> type[np.unsignedinteger]:
    return np.uint32 if dtype == F32 else np.uint64


def patterns(dtype: DType, count: int) -> Array:
    """Evenly spaced bit patterns: every exponent, both signs, infinities and NaNs."""
    step = (1 << dtype.bits) // count | 1
    return (np.arange(count, dtype=words(dtype)) * words(dtype)(step)).view(dtype.numpy)


def around(dtype: DType, centres: tuple[float, ...], width: int) -> Array:
    """``width`` neighbours on either side of each centre, with both signs."""
    with np.errstate(over="ignore"):
        centre = np.array(centres, dtype.numpy)
    centre = np.abs(centre[np.isfinite(centre)]).view(words(dtype)).astype(np.int64)
    near = np.maximum(centre[:, None] + np.arange(-width, width + 1), 0).ravel()
    x = near.astype(words(dtype)).view(dtype.numpy)
    return np.concatenate([x, -x])


def samples(dtype: DType, count: int) -> Array:
    rng = np.random.default_rng(11)
    linear = [rng.uniform(-r, r, count // 4) for r in (1.0, 6.0, 110.0, 750.0)]
    log_uniform = np.exp(rng.uniform(-50, 5, count // 2)) * rng.choice([-1, 1], count // 2)
    return np.concatenate(
        [
            patterns(dtype, count),
            around(dtype, LANDMARKS, 300 if dtype == F32 else 40),
            *(x.astype(dtype.numpy) for x in (*linear, log_uniform, 1 + log_uniform / 8)),
        ]
    )


def extended_erf(x: Array) -> Array:
    """2/sqrt(pi) exp(-x**2) sum of 2**n x**(2n+1) / (2n+1)!!: only positive terms (A&S 7.1.6)."""
    inside = np.clip(x, -7, 7)
    term = total = inside
    for n in range(1, 220):
        term = term * (2 * inside * inside / (2 * n + 1))
        total = total + term
    root_pi = np.sqrt(np.longdouble(2) * np.arcsin(np.longdouble(1)))
    return np.where(np.isnan(x), x, 2 / root_pi * np.exp(-inside * inside) * total)


def extended_erfc(x: Array) -> Array:
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


def double_erfc(x: Array) -> Array:
    return np.frompyfunc(math.erfc, 1, 1)(x).astype(np.float64)


def truth(op: str, *arrays: Array) -> Array:
    """The function to at least 50 bits for f32 operands, 63 for f64."""
    with np.errstate(all="ignore"):
        wide = [a.astype(np.float64 if a.dtype == np.float32 else np.longdouble) for a in arrays]
        if op == "erfc":
            return extended_erfc(*wide) if wide[0].dtype == np.longdouble else double_erfc(*wide)
        if op != "erf":
            return {"pow": np.power}.get(op, getattr(np, op, None))(*wide)
        if wide[0].dtype == np.float64:
            return np.frompyfunc(math.erf, 1, 1)(wide[0]).astype(np.float64)
        return extended_erf(wide[0])


def ulps(got: Array, true: Array) -> Array:
    """|got - true| in units of the last place at the true value; inf where they differ in kind."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = true.astype(got.dtype)
        _, exponent = np.frexp(true)
        unit = np.ldexp(np.ones_like(true), np.maximum(exponent - 1, info.minexp) - info.nmant)
        distance = np.abs(got.astype(true.dtype) - true) / unit
    borderline = np.isinf(rounded) | np.isinf(got) | np.isnan(got) | np.isnan(rounded)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(borderline, np.where(same, 0, np.inf), distance)


def assert_within(op: str, *arrays: Array) -> None:
    got = block(op, *arrays)
    distance = ulps(got, truth(op, *arrays))
    worst = int(np.argmax(distance))
    bound = ULP[op, F32 if got.dtype == np.float32 else F64]
    at = ", ".join(repr(a[worst]) for a in arrays)
    assert distance[worst] <= bound, f"{op}({at}) = {got[worst]!r}: {distance[worst]} ulp"


def test_the_table_covers_every_block():
    assert set(ULP) == {(op, dtype) for op in BLOCKS for dtype in FLOATS}


@pytest.mark.parametrize("op", UNARY)
def test_f32_error(op: str):
    assert_within(op, samples(F32, 50_000))


@needs_extended
@pytest.mark.parametrize("op", UNARY)
def test_f64_error(op: str):
    x = samples(F64, 8_000)
    assert_within(op, x[~(np.abs(x) >= LIMIT)] if op in ("sin", "cos") else x)


def power_samples(dtype: DType, count: int) -> tuple[Array, Array]:
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
    whole = rng.integers(-40, 40, count).astype(np.float64)
    x = np.concatenate([base, rng.uniform(-8, 8, count)]).astype(dtype.numpy)
    y = np.concatenate([exponent, whole]).astype(dtype.numpy)
    any_x = rng.permutation(patterns(dtype, count))
    return np.concatenate([x, any_x]), np.concatenate([y, rng.permutation(any_x)])


def test_f32_pow_error():
    assert_within("pow", *power_samples(F32, 20_000))


@needs_extended
def test_f64_pow_error():
    assert_within("pow", *power_samples(F64, 4_000))


@needs_extended
@pytest.mark.parametrize("op", ["sin", "cos"])
def test_f64_angles_next_to_multiples_of_a_quarter_turn(op: str):
    rng = np.random.default_rng(13)
    quarter = 2 * np.arctan(np.longdouble(1))
    turns = np.floor(np.exp2(rng.uniform(0, 48.3, 20_000))).astype(np.longdouble)
    assert_within(op, (turns * quarter).astype(np.float64))


def specials(dtype: DType) -> Array:
    info = np.finfo(dtype.numpy)
    positive = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, np.inf, info.max, info.tiny, info.smallest_subnormal]
    odd = 2.0**info.nmant + 1
    return np.array([*positive, *(-v for v in positive), odd, -odd, np.nan], dtype.numpy)


def assert_same_special_values(got: Array, expected: Array) -> None:
    """Infinities, NaNs, zeros with their sign and units where NumPy has them."""
    special = ~np.isfinite(expected) | (expected == 0) | (np.abs(expected) == 1)
    np.testing.assert_array_equal(got[special], expected[special])
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    zero = expected == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", UNARY)
def test_special_values(op: str, dtype: DType):
    x = specials(dtype)
    if dtype == F64 and op in ("sin", "cos"):
        x = x[~((np.abs(x) >= LIMIT) & np.isfinite(x))]
    assert_same_special_values(block(op, x), truth(op, x).astype(dtype.numpy))


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values_of_pow(dtype: DType):
    x, y = (v.ravel() for v in np.meshgrid(specials(dtype), specials(dtype)))
    with np.errstate(all="ignore"):
        assert_same_special_values(block("pow", x, y), np.power(x, y))


@pytest.mark.parametrize("op", ["sin", "cos"])
def test_f64_angles_beyond_the_limit_are_nan(op: str):
    x = np.array([LIMIT, -LIMIT, 1e300])
    assert np.isnan(block(op, x)).all()
    assert np.isfinite(block(op, np.nextafter(x[:2], 0))).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["expm1", "log1p", "sin", "tanh", "atan", "asin"])
def test_tiny_inputs_return_themselves(op: str, dtype: DType):
    tiny = np.finfo(dtype.numpy).smallest_subnormal * np.array([1, 3, 2**20, 2**40], dtype.numpy)
    x = np.concatenate([tiny, -tiny])
    np.testing.assert_array_equal(block(op, x), x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["sin", "tanh", "erf", "atan", "asin", "cbrt"])
def test_odd_functions_are_odd_to_the_bit(op: str, dtype: DType):
    x = samples(dtype, 2_000)
    np.testing.assert_array_equal(block(op, -x), -block(op, x))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["sin", "cos", "tanh", "erf"])
def test_bounded_by_one(op: str, dtype: DType):
    assert np.nanmax(np.abs(block(op, samples(dtype, 5_000)))) <= 1


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("op", "low", "high"),
    [("exp", -110, 88), ("expm1", -9, 20), ("log", 1e-3, 12), ("log1p", -0.99, 9), ("tanh", -5, 5),
     ("erf", -3, 3), ("exp2", -140, 127), ("log2", 1e-3, 12), ("log10", 1e-3, 12), ("cbrt", -9, 9),
     ("atan", -9, 9), ("asin", -1, 1)],
)  # fmt: skip
def test_never_falls_over_a_grid(op: str, low: float, high: float, dtype: DType):
    x = np.linspace(low, high, 20_001)
    assert (np.diff(block(op, x.astype(dtype.numpy))) >= 0).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_expansions_hold_plain_primitives_only_and_few(dtype: DType):
    budget = {"exp": 28, "expm1": 30, "tanh": 31, "log": 36, "log1p": 39, "erf": 56, "sin": 54,
              "cos": 52, "pow": 128,
              "exp2": 26, "log2": 45, "log10": 45, "cbrt": 55, "atan": 33, "asin": 31, "acos": 36,
              "erfc": 83}  # fmt: skip
    for op, operands in BLOCKS.items():
        root = expand(op, *(ref(str(i), dtype) for i in range(operands)))
        kinds = Counter(node.op for node in postorder([root]))
        assert not kinds.keys() & (BLOCKS.keys() | {"load", "index", "size"})
        assert kinds["div"] <= 1
        free = kinds["literal"] + kinds["ref"] + kinds["bitcast"]
        assert kinds.total() - free <= budget[op], op
        assert root.dtype == dtype


def test_expand_refuses_what_is_no_block():
    x: Expr = ref("x", F32)
    with pytest.raises(KeyError):
        expand("add", x, x)
    with pytest.raises(TypeError):
        expand("exp", x, x)
