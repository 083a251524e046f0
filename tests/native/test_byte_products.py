"""Products of words of four 8-bit integers: every instruction adds what NumPy adds."""

from dataclasses import replace

import numpy as np
import pytest

from staticgrad.native import loader
from staticgrad.native.target import Target, ladder
from tests.native.support import assert_same, call
from tests.native.test_masks import target_of

COUNT = 1 << 20
DOT = """
def kernel(t, own, begin, end):
    a, b, c, r = ptr_i32(t[0]), ptr_i32(t[1]), ptr_i32(t[2]), ptr_i32(t[3])
    for i in range(begin, end, LANES):
        storeLANES(r, i, dot4_u8_i8(loadLANES(c, i), loadLANES(a, i), loadLANES(b, i)))
"""


def operands(kind, count=COUNT):
    """Words of four unsigned bytes, of four signed ones, and int32 numbers."""
    random = np.random.default_rng(len(kind))
    unsigned, signed = random.integers(0, 256, (count, 4)), random.integers(-128, 128, (count, 4))
    total = random.integers(-(2**31), 2**31, count)
    if kind == "ends":  # where 16 bits would saturate, and sums of 32 bits wrap
        unsigned = random.choice([0, 1, 127, 128, 254, 255], (count, 4))
        signed = random.choice([-128, -127, -1, 0, 1, 126, 127], (count, 4))
        total = random.choice([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1], count)
    expected = (total + (unsigned * signed).sum(1)).astype("i4")
    a, b = unsigned.astype("u1").view("i4")[:, 0], signed.astype("i1").view("i4")[:, 0]
    return a, b, total.astype("i4"), expected


def remove_features(*features):
    """Return this machine's target without some features."""
    host, text = ladder()[0], ladder()[0].features
    for feature in features:
        text = text.replace(f"+{feature}", f"-{feature}")
    return replace(host, features=text)


@pytest.mark.parametrize("kind", ["all", "ends"])
@pytest.mark.parametrize("way", ["host", "without", "x86-64-v3"])
def test_sums_of_products_equal_integers_of_numpy(way, kind, monkeypatch):
    a, b, c, expected = operands(kind)
    if way == "without":
        target = remove_features("avx512vnni", "avxvnni")
        monkeypatch.setattr(loader, "host", lambda: target)
    actual = np.zeros_like(c)
    with target_of("x86-64-v3" if way == "x86-64-v3" else "host"):
        call(DOT.replace("LANES", "16"), [a, b, c, actual], [], 0, COUNT)
    assert_same(actual, expected, f"{way} {kind}")


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("mode", ["vector", "python"])
def test_vectors_of_any_length(lanes, mode):
    a, b, c, expected = operands("ends", 1 << (14 if mode == "vector" else 8))
    actual = np.zeros_like(c)
    call(DOT.replace("LANES", str(lanes)), [a, b, c, actual], [], 0, len(c), mode=mode)
    assert_same(actual, expected, f"{lanes} {mode}")


def test_other_targets_multiply_bytes_one_by_one(monkeypatch):
    """Code for a target that is not x86-64, run on this machine."""
    a, b, c, expected = operands("all", 1 << 14)
    monkeypatch.setattr(Target, "is_x86", property(lambda self: False))
    actual = np.zeros_like(c)
    # another text than those above, of which the machine code is kept
    source = DOT.replace("LANES", "8").replace("b, c, r", "b, c, result")
    call(source.replace("(r,", "(result,"), [a, b, c, actual], [], 0, len(c))
    assert_same(actual, expected, "bytes")
