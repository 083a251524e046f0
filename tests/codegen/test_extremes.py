"""Extremes of floats, found by integers: NaN of either sign wins, and zeros have their order."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.backends import render
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from tests.diagonals import diagonals
from tests.native.support import MODES, assert_same, call

ROWS = """\
kernel(p0: in {0}, p1: out {0}; n0, n1) over i0: n0 {{
  map j: n1 {{
    %0: {0} = load p0[i0*n1 + j]
    @r0: {0} = {1} %0
  }}
  scalar {{
    store p1[i0] = @r0
  }}
}}
"""
COLUMNS = """\
kernel(p0: in {0}, p1: out {0}; n0, n1) {{
  columns j: n0 {{
    rows i1: n1 {{
      %0: {0} = load p0[j*n1 + i1]
      @r0: {0} = {1} %0
    }}
    store p1[j] = @r0
  }}
}}
"""
SPECIAL = ("nan", "-nan", "inf", "-inf", "0.0", "-0.0", "1e-40", "-1e-40", "1.5", "-1.5", "3e38")


def special_rows(dtype, length):
    """Pairs of special numbers among others, the first of them everywhere else."""
    found = []
    for first in SPECIAL:
        for second in SPECIAL:
            row = np.full(length, float(first), dtype)
            row[length // 2] = float(second)
            found.append(row)
    return np.array(found)


@pytest.mark.thinned(3)
@diagonals(
    2,
    ("mode", MODES),
    ("code,dtype", [("f32", "float32"), ("f64", "float64")]),
    ("kind", ["max", "min"]),
    ("form", [ROWS, COLUMNS]),
    daily="vector",
)
def test_special_numbers(mode, code, dtype, kind, form):
    kernel = parse_kernel(form.format(code, kind))
    verify_kernel(kernel)
    for length in (1, 7, 35):
        x = special_rows(dtype, length)
        found = np.empty(len(x), dtype)
        call(render(kernel), [x, found], [len(x), length], 0, len(x), mode=mode)
        wanted = getattr(x, kind)(axis=1)
        zero = wanted == 0  # NumPy does not say which one of two zeros it gives
        sign = np.signbit(x).all(1) if kind == "max" else (np.signbit(x) & (x == 0)).any(1)
        wanted = np.where(zero, np.where(sign, -0.0, 0.0), wanted).astype(dtype)
        assert_same(found, wanted, f"{kind} of {length}")


#: What stands for no position: among them, behind or before all of them, or the row's length.
OTHERS = (-7, 3, 10**6, None)


def _program(dtype):
    """Least and largest positions of rows, of columns and across memory, for each stand-in."""
    x, places = sg.input("x", ("n", "m"), dtype), {}
    for name, value in (("rows", x), ("transposed", sg.transpose(x))):
        for axis in (0, 1):
            at = sg.iota(value.shape, axis, like=value)
            for other in OTHERS:
                none = sg.size_value(value.shape[axis], "int64") if other is None else other
                found = sg.where(value > 1, at, none)
                places[f"least {name} {axis} {other}"] = sg.min(found, axis=axis)
                places[f"last {name} {axis} {other}"] = sg.max(found, axis=axis)
            places[f"argmax {name} {axis}"] = sg.argmax(value, axis=axis)
            places[f"argmin {name} {axis}"] = sg.argmin(value, axis=axis)
    return sg.compile(sg.Graph(places))


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_positions_are_those_of_the_definition(dtype):
    """Whether rows have many, one, or none; ties, NaN and zeros of both signs; odd lengths."""
    random = np.random.default_rng(3)
    program = _program(dtype)
    for shape in ((1, 1), (5, 18), (33, 16), (40, 131)):
        for share in (0.0, 0.02, 0.6, 1.0):
            x = np.where(random.random(shape) < share, 2, random.integers(-1, 1, shape))
            x = x.astype(dtype)
            if dtype == "float32":
                x[random.random(shape) < 0.02] = np.nan
                x[random.random(shape) < 0.2] = -0.0
            wanted = sg.evaluate(program.graph, {"x": x})
            for name, found in program.run({"x": x}).items():
                assert same_bytes(np.asarray(found), np.asarray(wanted[name])), (name, shape)
