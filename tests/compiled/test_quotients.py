"""Divisions by one number: the inverse serves, and every quotient is the one that NumPy rounds."""

from fractions import Fraction

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.backends import render
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.native.machine import Machine
from tests.exporting.printed import run_exported
from tests.helpers.diagonals import diagonals
from tests.helpers.limits import finfo
from tests.native.support import MODES, READERS, assert_same

DTYPES = ("float32", "float64")


def numbers(dtype, count):
    """Numbers of all sizes and both signs, with every kind of special one."""
    random, limits = np.random.default_rng(count), finfo(np.dtype(dtype))
    sizes = random.uniform(limits.minexp - limits.nmant, limits.maxexp - 1, count)
    plain = random.uniform(1, 2, count) * 2.0 ** np.round(sizes) * random.choice([-1, 1], count)
    tiny, least = limits.tiny, limits.smallest_subnormal
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny / 3, least, -least]
    return np.array([*special, limits.max, -limits.max, 1, -1, 3, *plain]).astype(dtype)


def beside_midpoints(divisor, dtype, count):
    """Dividends whose quotients are next to the middle of two numbers, where roundings differ."""
    random, kind = np.random.default_rng(7), np.dtype(dtype).type
    quotients = random.uniform(0.5, 2, count).astype(kind)
    wide = np.longdouble if dtype == "float64" else np.float64
    middle = quotients.astype(wide) + np.spacing(quotients).astype(wide) / 2
    near = (middle * wide(divisor)).astype(kind)
    return np.concatenate([near, np.nextafter(near, kind(0)), np.nextafter(near, kind(9))])


def quotient(dtype):
    x, s = sg.input("x", ("n",), dtype), sg.input("s", (), dtype)
    return sg.compile(sg.Graph({"y": x / s}, name="quotient"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_quotients_are_rounded_next_to_midpoints(dtype):
    f, kind = quotient(dtype), np.dtype(dtype).type
    ends = [np.nextafter(kind(2), kind(1)), np.nextafter(kind(1), kind(2)), kind(1.5), kind(3)]
    for divisor in [*ends, *np.random.default_rng(3).uniform(1, 1000, 20).astype(kind)]:
        x = beside_midpoints(float(divisor), dtype, 5000)
        assert_same(f.run({"x": x, "s": divisor})["y"], x / divisor, f"by {divisor!r}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_every_size_are_divided_by_each_other(dtype):
    f, x = quotient(dtype), numbers(dtype, 150)
    alike = x[11:14]  # of usual size: no vector of these takes the long way round
    with np.errstate(all="ignore"):
        for divisor in x:
            for dividends in (x, np.append(alike, x[0]), alike):
                got = f.run({"x": dividends, "s": divisor})["y"]
                assert_same(got, dividends / divisor, f"by {divisor!r}")


@pytest.mark.thinned
@diagonals(2, ("dtype", DTYPES), ("mode", READERS), daily="vector")
def test_every_backend_divides_by_numbers_of_the_program(dtype, mode, tmp_path):
    kind = np.dtype(dtype).type
    divisors = (3.0, -0.1, 255.0, 8.0, 1e-30)
    x, rows = sg.input("x", ("n", "m"), dtype), numbers(dtype, 40).reshape(6, 9)
    outputs = {f"y{number}": x / divisor for number, divisor in enumerate(divisors)}
    outputs["rows"] = x / (x * x).max(axis=1, keepdims=True)
    with sg.options(jit=mode != "python", backend="numba" if mode == "numba" else "auto"):
        f, feeds = sg.compile(sg.Graph(outputs, name="quotients")), {"x": rows}
        file = tmp_path / "quotients.py"
        got = run_exported(f, feeds, file) if mode == "file" else f.run(feeds)
    with np.errstate(all="ignore"):
        for number, divisor in enumerate(divisors):
            assert_same(got[f"y{number}"], rows / kind(divisor), f"by {divisor}")
        assert_same(got["rows"], rows / (rows * rows).max(axis=1, keepdims=True), "by rows")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_literal", [True, False])
def test_the_nearest_integers_of_quotients(dtype, is_literal):
    """By divisors below and above 1, a power of two, a negative and unusual ones."""
    kind, usual = np.dtype(dtype).type, np.random.default_rng(5).uniform(-9, 9, 64)
    halves = np.arange(-99, 100) + 0.5
    x = sg.input("x", ("n",), dtype)
    for divisor in map(kind, (0.00277, 0.7, 1.5, 255.0, 3e6, 4.0, -0.3, 1e-30, 3e-38, 1e30)):
        near = (halves * divisor).astype(dtype)
        special = [np.nextafter(near, kind(0)), np.nextafter(near, kind(999) * divisor)]
        values = np.concatenate([usual.astype(dtype), near, *special, numbers(dtype, 200)])
        s = divisor if is_literal else sg.input("s", (), dtype)
        f = sg.compile(sg.Graph({"y": sg.rint(x / s)}, name="nearest"))
        with np.errstate(all="ignore"):
            feeds = {"x": values} if is_literal else {"x": values, "s": divisor}
            assert_same(f.run(feeds)["y"], np.rint(values / divisor), f"by {divisor!r}")


def test_quotients_are_rounded_though_integers_of_them_are_read_as_well():
    x, values = sg.input("x", ("n",), "float32"), numbers("float32", 500)
    quotients = x / np.float32(0.7)
    f = sg.compile(sg.Graph({"y": sg.rint(quotients) + quotients * 2.0}, name="both"))
    with np.errstate(all="ignore"):
        exact = values / np.float32(0.7)
        assert_same(f.run({"x": values})["y"], np.rint(exact) + exact * 2, "both")


def rows(code, *quotients):
    """The source of a kernel of rows of exponentials %2 and logarithms %3, divided."""
    lines = [f"%{4 + n}: {code} = div {text}" for n, text in enumerate(quotients)]
    stores = [f"store p{1 + n}[i0*n1 + j] = %{4 + n}" for n in range(len(quotients))]
    outs = ", ".join(f"p{1 + n}: out {code}" for n in range(len(quotients)))
    body = "".join(f"    {line}\n" for line in (*lines, *stores))
    text = f"""kernel(p0: in {code}, {outs}; n0, n1) over i0: n0 {{
  map j: n1 {{
    %0: {code} = load p0[i0*n1 + j]
    @s: {code} = sum %0
  }}
  map j: n1 {{
    %1: {code} = load p0[i0*n1 + j]
    %2: {code} = exp %1
    %3: {code} = log %2
{body}  }}
}}
"""
    return render(parse_kernel(text), Machine())


def roots(dtype):
    x = sg.input("x", ("n",), dtype)
    return sg.compile(sg.Graph({"y": sg.sqrt(x)}, name="roots"))


def odd_roots(residue, power):
    """All k below 2**power with k * k = residue modulo 2**power: one more digit at a time."""
    roots = {k for k in (1, 3, 5, 7) if (k * k - residue) % 8 == 0}
    for digits in range(4, power + 1):
        modulus = 1 << digits
        steps = (0, modulus // 4, modulus // 2, modulus // 4 * 3)
        tried = ((k + step) % modulus for k in roots for step in steps)
        roots = {k for k in tried if (k * k - residue) % modulus == 0}
    return roots


def roots_beside_midpoints(digits, most):
    """The numbers from 1 to 4 whose roots are nearest to the middle k / 2**digits of two numbers.

    Those are a = (k * k - r) / 4**digits with a small odd r, which is a number of the format if
    k * k is r modulo 2**(digits + 1), for a from 2 on modulo 2**(digits + 2).
    """
    roots = set()
    for power, least in ((digits + 1, 1), (digits + 2, 2)):
        for residue in range(1 - 8 * most, 8 * most, 8):
            for first in odd_roots(residue, power):
                for k in range(first, 2 << digits, 1 << power):
                    exact = Fraction(k * k - residue, 4**digits)
                    if least <= exact < 2 * least:
                        assert float(exact) == exact
                        roots.add(float(exact))
    return sorted(roots)


def test_every_root_of_float32_is_rounded():
    """All mantissas of two powers of two; others differ from them in the exponent alone."""
    f = roots("float32")
    first, end = np.array([1, 4], np.float32).view(np.uint32).tolist()
    for begin in range(first, end, 1 << 21):
        x = np.arange(begin, begin + (1 << 21), dtype=np.uint32).view(np.float32)
        assert_same(f.run({"x": x})["y"], np.sqrt(x), f"from {x[0]}")


def test_roots_of_float64_next_to_midpoints_are_rounded():
    f, near = roots("float64"), np.array(roots_beside_midpoints(53, 40))
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
