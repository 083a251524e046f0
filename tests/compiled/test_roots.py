"""Square roots by products: every one is the root that NumPy rounds."""

from fractions import Fraction

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from tests.compiled.test_quotients import numbers
from tests.diagonals import diagonals
from tests.native.support import MODES, assert_same, call

DTYPES = ("float32", "float64")


def roots(dtype):
    x = sg.input("x", ("n",), dtype)
    return sg.compile(sg.Graph({"y": sg.sqrt(x)}, name="roots"))


def odd_roots(residue, power):
    """All k below 2**power with k * k = residue modulo 2**power: one more digit at a time."""
    found = {k for k in (1, 3, 5, 7) if (k * k - residue) % 8 == 0}
    for digits in range(4, power + 1):
        whole = 1 << digits
        steps = (0, whole // 4, whole // 2, whole // 4 * 3)
        tried = ((k + step) % whole for k in found for step in steps)
        found = {k for k in tried if (k * k - residue) % whole == 0}
    return found


def beside_midpoints(digits, most):
    """The numbers from 1 to 4 whose roots are nearest to the middle k / 2**digits of two numbers.

    Those are a = (k * k - r) / 4**digits with a small odd r, which is a number of the format if
    k * k is r modulo 2**(digits + 1), for a from 2 on modulo 2**(digits + 2).
    """
    found = set()
    for power, least in ((digits + 1, 1), (digits + 2, 2)):
        for residue in range(1 - 8 * most, 8 * most, 8):
            for first in odd_roots(residue, power):
                for k in range(first, 2 << digits, 1 << power):
                    exact = Fraction(k * k - residue, 4**digits)
                    if least <= exact < 2 * least:
                        assert float(exact) == exact
                        found.add(float(exact))
    return sorted(found)


def test_the_nearest_to_midpoints_are_found():
    """Against all numbers of a format of 8 digits."""
    exact = {}
    for number in range(128, 256):
        for a in (Fraction(number, 128), Fraction(number, 64)):
            scaled = a * 4**8
            k = max((k for k in range(257, 512, 2)), key=lambda k, s=scaled: -abs(s - k * k))
            exact[float(a)] = abs(k * k - scaled)
    assert {a for a, far in exact.items() if far < 24} == set(beside_midpoints(8, 3))


def test_every_root_of_float32_is_rounded():
    """All mantissas of two powers of two; others differ from them in the exponent alone."""
    f = roots("float32")
    first, end = np.array([1, 4], np.float32).view(np.uint32).tolist()
    for begin in range(first, end, 1 << 21):
        x = np.arange(begin, begin + (1 << 21), dtype=np.uint32).view(np.float32)
        assert_same(f.run({"x": x})["y"], np.sqrt(x), f"from {x[0]}")


def test_roots_of_float64_next_to_midpoints_are_rounded():
    f, near = roots("float64"), np.array(beside_midpoints(53, 40))
    assert near.size > 100
    for power in (0, -600, 600, -898, 1020):
        x = near * 2.0**power
        assert_same(f.run({"x": x})["y"], np.sqrt(x), f"2**{power}")


@diagonals(2, ("dtype", DTYPES), ("mode", MODES), daily="vector")
def test_roots_of_every_number(dtype, mode):
    """Vectors of usual numbers, of zeros, and those that have a special one at each place."""
    x = numbers(dtype, 30)
    usual = np.linspace(0.1, 9, 64).astype(dtype)
    with sg.options(jit=mode != "python", backend="auto" if mode == "python" else mode):
        f = roots(dtype)
        for number in x:
            mixed = np.concatenate([usual, usual * 0, usual])
            mixed[::17] = number
            with np.errstate(all="ignore"):
                assert_same(f.run({"x": mixed})["y"], np.sqrt(mixed), f"{number!r}")


@pytest.mark.skipif(native.vector_bits() < 512, reason="registers are narrower")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_estimates_have_fourteen_bits(dtype, mode):
    x = np.abs(numbers(dtype, 300)) + np.finfo(dtype).tiny
    x = x[np.isfinite(x)]
    code = "f32" if dtype == "float32" else "f64"
    for lanes in (1, 2, 4, 8, 16) if mode == "vector" else (16,):
        source = f"""\
def kernel(t, own, begin, end):
    a = ptr_{code}(t[0])
    c = ptr_{code}(t[1])
    for i in range(begin, end, {lanes}):
        m = mask{lanes}(end - i)
        store(c, i, estimated_inverse_root(load(a, i, m)), m)
"""
        found = np.empty_like(x)
        call(source, [x, found], [], 0, x.size, mode=mode)
        assert np.abs(found * np.sqrt(x) - 1).max() <= 2.0**-14 * 1.001, f"{lanes} lanes"
