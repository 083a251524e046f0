"""Look-ups that are alike in all rows: rows side by side share checks and places, and no byte."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.codegen.kernel_source import render
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.width import ROWS, WIDEST
from staticgrad.native.machine import Machine
from tests.native.support import LONG_BY_NUMBA, Mode, assert_same, call

#: p4 = p2 at the columns of p0, times p3.
TAKE = """\
kernel(p0: in i64, p1: check i64, p2: in f32, p3: in f32, p4: out f32; n0, n1, n2, n3)\
 over i0: n0 {
  map j: n1 {
    %0: i64 = load p0[j]
    @c0: i64 = check %0 in n2 wrap at j to p1
    %2: f32 = load p2[i0*n3 + @c0*2]
    %3: f32 = load p3[i0*n1 + j]
    %4: f32 = mul %2, %3
    store p4[i0*n1 + j] = %4
  }
}
"""


def _run(rows: int, indices: list[int], mode: Mode, width: int = 7) -> tuple[object, ...]:
    rng = np.random.default_rng(rows)
    columns = np.array(indices, "i8")
    x, y = rng.normal(size=(rows, 2 * width)), rng.normal(size=(rows, len(indices)))
    table, factors = x.astype("f4"), y.astype("f4")
    made, noted = np.full_like(factors, np.nan), np.array([-1, 0], "i8")
    shared = [columns, table, factors, made]
    numbers = [rows, len(indices), width, 2 * width]
    call(render(parse_kernel(TAKE)), shared, numbers, 0, rows, own=[noted], mode=mode)
    held = np.where((columns < -width) | (columns >= width), 0, columns)
    assert_same(made, table[:, ::2][:, held] * factors, f"{rows} rows by {mode}")
    return tuple(noted.tolist())


@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_rows_look_up_alike(mode: Mode) -> None:
    indices = [(5 * place) % 14 - 7 for place in range(37)]
    for rows in (1, ROWS, 2 * ROWS + 3):
        assert _run(rows, indices, mode) == (-1, 0)


@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_the_first_index_beyond_an_end_is_noted(mode: Mode) -> None:
    indices = [0] * 21 + [-8] + [3] * 7 + [7, 99]
    for rows in (1, ROWS + 1):
        assert _run(rows, indices, mode) == (21, -8)


def test_what_rows_share() -> None:
    """Neither indices that rows move, nor results that other rows store, nor wide rows."""
    kernel = parse_kernel(TAKE)
    assert len(kernel.checks_alike) == len(kernel.loads_alike) == 1
    assert render(kernel, Machine()).count("load_each") == 2 * ROWS
    assert "load_each" in render(kernel, Machine(vector_bits=256))
    double = parse_kernel(TAKE.replace("f32", "f64"))
    assert "load_each" in render(double, Machine())
    assert "load_each" not in render(double, Machine(vector_bits=256))
    for old, new in (
        ("load p0[j]", "load p0[i0*n1 + j]"),
        ("at j", "at i0"),
        ("in n2", f"in {WIDEST + 1}"),
        ("over i0: n0", f"over i0: {ROWS - 1}"),
    ):
        changed = parse_kernel(TAKE.replace(old, new))
        assert not changed.checks_alike, new
        assert "load_each" not in render(changed, Machine())
    assert not replace(kernel, serial=True).checks_alike


def test_wide_rows_are_taken_one_by_one() -> None:
    """Several would not fit the second cache together; the same kernel serves them."""
    assert _run(ROWS + 1, [WIDEST, 0, -1], "vector", WIDEST + 1) == (-1, 0)


_DTYPES = ("float32", "float64", "float16", "int8", "uint16", "int64", "bool")
_VIEWS = {
    "rows": lambda x: x,
    "strided": lambda x: x[:, ::-3],
    "transposed": lambda x: x.T,
}


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(_DTYPES), st.sampled_from(sorted(_VIEWS)), st.integers(1, 9),
    st.lists(st.integers(-4, 3), min_size=1, max_size=70), st.integers(1, 2),
)  # fmt: skip
def test_take_is_numpys(dtype: str, view: str, rows: int, indices: list[int], threads: int) -> None:
    length = {"rows": 4, "strided": 12, "transposed": 4}[view]
    shape = (4, rows) if view == "transposed" else (rows, length)
    data = np.arange(shape[0] * shape[1]).reshape(shape).astype(dtype)
    x, k = sg.input("x", shape, dtype), sg.input("k", (len(indices),), "int64")
    taken = sg.take(_VIEWS[view](x), k, axis=1)
    compiled = sg.compile(taken, threads=threads)
    found = compiled.run({"x": data, "k": np.array(indices)})
    assert_same(found, np.take(_VIEWS[view](data), indices, axis=1), f"{dtype}, {view}")
