"""Multiply-adds with subnormal numbers as zero, and products of pairs of bfloat16.

The oracle computes in float64: the product of two bfloat16 numbers is exact there, and a sum that
is rounded to odd there is rounded to float32 as if once. A result is tiny if it is below 2**-126
once it has 24 digits, for which it is scaled to where float32 has them.
"""

from dataclasses import replace

import numpy as np
import pytest

from staticgrad.native import loader
from staticgrad.native.target import ladder
from tests.native.support import assert_same, call
from tests.native.test_masks import target_of

LEAST = 2.0**-126
COUNT = 1 << 20
DOT = """
def kernel(t, own, begin, end):
    a, b, c, r = ptr_u32(t[0]), ptr_u32(t[1]), ptr_f32(t[2]), ptr_f32(t[3])
    for i in range(begin, end, LANES):
        storeLANES(r, i, dot2_bf16(loadLANES(c, i), loadLANES(a, i), loadLANES(b, i)))
"""
FMA = """
def kernel(t, own, begin, end):
    a, b, c, r = ptr_f32(t[0]), ptr_f32(t[1]), ptr_f32(t[2]), ptr_f32(t[3])
    for i in range(begin, end, LANES):
        storeLANES(r, i, fma_flushed(loadLANES(a, i), loadLANES(b, i), loadLANES(c, i)))
"""
#: The same where the environment flushes.
IN_ENVIRONMENT = """
def outlined_loop(t, begin, end):
    modes = flush_subnormals()
{loop}
    restore_subnormals(modes)

def kernel(t, own, begin, end):
    outlined_loop(t, begin, end)
"""


def in_environment(source):
    """Return a kernel whose loop runs between the two words for the environment."""
    loop = source.split("end):\n", 1)[1].rstrip()
    return IN_ENVIRONMENT.format(loop=loop)


def flush(x):
    return np.where(np.abs(x) < LEAST, np.copysign(0.0, x), x)


def add_to_odd(x, y):
    """x + y in float64, rounded to odd."""
    total = x + y
    part = total - x
    lost = (x - (total - part)) + (y - part)
    bits = total.view(np.int64)
    moves = np.isfinite(total) & (lost != 0) & (bits & 1 == 0)
    step = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where(moves, bits + step, bits).view(np.float64)


def multiply_add(a, b, c):
    """a * b + c of float64 arrays that float32 holds, of which a and b have few digits."""
    total = add_to_odd(flush(c), flush(a) * flush(b))
    rounded = total.astype(np.float32).astype(np.float64)
    with_digits = (total * 2.0**100).astype(np.float32).astype(np.float64) * 2.0**-100
    is_tiny = (np.abs(rounded) <= LEAST) & (np.abs(with_digits) < LEAST)
    return np.where(is_tiny, np.copysign(0.0, total), rounded)


def half(words, shift):
    bits = (words >> np.uint32(shift) & np.uint32(0xFFFF)) << np.uint32(16)
    with np.errstate(invalid="ignore"):  # signalling NaN
        return bits.view(np.float32).astype(np.float64)


def exact_dot(a, b, c):
    with np.errstate(all="ignore"):
        first = multiply_add(half(a, 16), half(b, 16), c.astype(np.float64))
        return multiply_add(half(a, 0), half(b, 0), first).astype(np.float32)


def operands(kind, count=COUNT):
    """Words of two bfloat16 numbers, twice, and float32 numbers."""
    random = np.random.default_rng(len(kind))

    def words(low, high):
        signs = random.integers(0, 2, count, np.uint32) << 15
        return signs | random.integers(low << 7, high << 7, count, np.uint32)

    def pairs(low, high):
        return words(low, high) << np.uint32(16) | words(low, high)

    def singles(low, high):
        return (words(low, high) << 16 | random.integers(0, 1 << 16, count, np.uint32)).view("f4")

    if kind == "all bits":  # NaN, infinities and subnormal numbers among them
        return pairs(0, 256), pairs(0, 256), singles(0, 256)
    if kind == "special":
        values = np.uint32([0, 0x8000, 1, 0x8001, 0x7F, 0x80, 0x3F80, 0xBF80, 0x7F7F, 0x7F80])
        values = np.append(values, np.uint32([0xFF80, 0x7FC0, 0x0100]))
        picks = [random.choice(values, count) for _ in range(6)]
        return (
            picks[0] << 16 | picks[1],
            picks[2] << 16 | picks[3],
            (picks[4] << 16 | picks[5] & 3).view("f4"),
        )
    if kind == "tiny":  # results near 2**-126, of either side, before and after the rounding
        return pairs(40, 70), pairs(40, 70), singles(0, 4)
    if kind == "least":  # 2**-126 less, or more, than what its digits hold
        c = random.integers(0, 2, count, np.uint32) << 31 | np.uint32(0x00800000)
        return (
            pairs(50, 55),
            words(46, 52) << 16,
            (c | random.integers(0, 2, count, "u4")).view("f4"),
        )
    if kind == "cancelled":
        a, b = pairs(100, 150), pairs(100, 150)
        near = (-half(a, 16) * half(b, 16)).astype("f4").view("u4")
        return a, b, (near + random.integers(-2, 3, count).astype("u4")).view("f4")
    return pairs(180, 256), pairs(180, 256), singles(0, 256)


KINDS = ("all bits", "special", "tiny", "least", "cancelled", "huge")


def without_instruction():
    """Return this machine's target without AVX512-BF16."""
    host = ladder()[0]
    return replace(host, features=host.features.replace("+avx512bf16", "-avx512bf16"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["host", "tested", "environment", "x86-64-v3"])
def test_products_of_pairs_equal_their_definition(way, kind, monkeypatch):
    a, b, c = operands(kind)
    source = in_environment(DOT) if way == "environment" else DOT
    if way in ("tested", "environment"):
        target = without_instruction()
        monkeypatch.setattr(loader, "host", lambda: target)
    expected, actual = exact_dot(a, b, c), np.zeros_like(c)
    with target_of("x86-64-v3" if way == "x86-64-v3" else "host"):
        call(source.replace("LANES", "16"), [a, b, c, actual], [], 0, COUNT)
    assert_same(actual, expected, f"{way} {kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_plain_python_computes_the_definition(kind):
    a, b, c = operands(kind, 1 << 12)
    actual = np.zeros_like(c)
    call(DOT.replace("LANES", "16"), [a, b, c, actual], [], 0, len(c), mode="python")
    assert_same(actual, exact_dot(a, b, c), kind)


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
@pytest.mark.parametrize("mode", ["vector", "python"])
def test_vectors_of_any_length(lanes, mode):
    count = 1 << (14 if mode == "vector" else 8)
    a, b, c = operands("tiny", count)
    actual = np.zeros_like(c)
    call(DOT.replace("LANES", str(lanes)), [a, b, c, actual], [], 0, count, mode=mode)
    assert_same(actual, exact_dot(a, b, c), f"{lanes} {mode}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["host", "environment", "python"])
def test_multiply_adds_flush(way, kind):
    mode = "python" if way == "python" else "vector"
    a, b, c = operands(kind, 1 << (10 if way == "python" else 16))
    x, y = ((words & np.uint32(0xFFFF0000)).view("f4") for words in (a, b))
    source = in_environment(FMA) if way == "environment" else FMA
    actual = np.zeros_like(c)
    call(source.replace("LANES", "16"), [x, y, c, actual], [], 0, len(c), mode=mode)
    with np.errstate(all="ignore"):
        exact = multiply_add(half(a, 16), half(b, 16), c.astype("f8")).astype("f4")
    assert_same(actual, exact, f"{way} {kind}")


def test_the_environment_is_restored():
    source = """
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    modes = flush_subnormals()
    restore_subnormals(modes)
    store1(p, 1, load1(p, 0) * f32x1(0.5))
"""
    numbers = np.array([2.0**-140, 0], "f4")
    call(source, [numbers], [], 0, 1)
    assert numbers[1] == np.float32(2.0**-141)
