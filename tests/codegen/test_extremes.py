"""Extremes of floats, found by integers: NaN of either sign wins, and zeros have their order."""

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
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


@pytest.mark.parametrize("kind", ["max", "min"])
def test_of_nothing_it_is_the_identity(kind):
    kernel = parse_kernel(ROWS.format("f32", kind))
    found = np.zeros(2, "f4")
    call(render(kernel), [np.zeros((2, 0), "f4"), found], [2, 0], 0, 2, mode="vector")
    assert found.tolist() == [{"max": -np.inf, "min": np.inf}[kind]] * 2
