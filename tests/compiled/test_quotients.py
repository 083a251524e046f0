"""Divisions by one number: the inverse serves, and every quotient is the one that NumPy rounds."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.codegen.kernel_source import render
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.native.machine import Machine
from tests.diagonals import diagonals
from tests.limits import finfo
from tests.native.support import MODES, assert_same

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
    found = random.uniform(0.5, 2, count).astype(kind)
    wide = np.longdouble if dtype == "float64" else np.float64
    middle = found.astype(wide) + np.spacing(found).astype(wide) / 2
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
@diagonals(2, ("dtype", DTYPES), ("mode", MODES), daily="vector")
def test_every_backend_divides_by_numbers_of_the_program(dtype, mode):
    kind = np.dtype(dtype).type
    divisors = (3.0, -0.1, 255.0, 8.0, 1e-30)
    x, rows = sg.input("x", ("n", "m"), dtype), numbers(dtype, 40).reshape(6, 9)
    outputs = {f"y{number}": x / divisor for number, divisor in enumerate(divisors)}
    outputs["rows"] = x / (x * x).max(axis=1, keepdims=True)
    with sg.options(jit=mode != "python", backend="auto" if mode == "python" else mode):
        got = sg.compile(sg.Graph(outputs, name="quotients")).run({"x": rows})
    with np.errstate(all="ignore"):
        for number, divisor in enumerate(divisors):
            assert_same(got[f"y{number}"], rows / kind(divisor), f"by {divisor}")
        assert_same(got["rows"], rows / (rows * rows).max(axis=1, keepdims=True), "by rows")


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


def test_a_processor_divides_beside_enough_else():
    by_products = "= quotient_"
    assert by_products in rows("f32", "%3, @s")  # one: as quick either way
    others = [f"%3, f32({divisor}.0)" for divisor in (3, 5, 6, 7, 9)]
    assert by_products in rows("f32", "%3, @s", *others)  # no time for six
    assert by_products in rows("f64", "%3, @s", "%2, f64(3.0)")
    assert by_products not in rows("f32", "%3, @s", "%2, f32(3.0)")
    assert by_products in rows("f32", "%3, @s", "%2, f32(4.0)")  # a product in any case
