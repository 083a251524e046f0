"""Positions compared with those of other loops: masks, which vectors inside of them do not have."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from tests.codegen.kernel_runs import run
from tests.native.support import Mode

TEXT = """\
kernel(p0: in f32, p1: out f32, p2: out f32; n0, n1) over i0: n0 by 4 {
  map j: n1 {
    %0: i64 = mul i0, i64(13)
    %1: i64 = sub %0, i64(20)
    %2: bool = le j, %1
    %3: f32 = load p0[i0*n1 + j]
    %4: f32 = select %2, %3, f32(-0.5)
    store p1[i0*n1 + j] = %4
    @r0: f32 = max %4
  }
  scalar {
    store p2[i0] = @r0
  }
}
"""
ROWS = 7


@pytest.mark.parametrize("mode", ["vector", "python"])
@pytest.mark.parametrize("compare", ["lt", "le", "gt", "ge"])
@pytest.mark.parametrize("order", ["j, %1", "%1, j"])
def test_every_comparison_in_either_order(compare: str, order: str, mode: Mode) -> None:
    kernel = parse_kernel(TEXT.replace("le j, %1", f"{compare} {order}"))
    verify_kernel(kernel)
    assert "select_mask(g" in render(kernel)
    for length in (1, 16, 60) if mode == "vector" else (40,):
        values = np.random.default_rng(length).normal(size=(ROWS, length)).astype("f")
        found = run(kernel, (ROWS, length), mode, {"p0": values, **room(length)})
        first, second = np.arange(length), 13 * np.arange(ROWS)[:, None] - 20
        pair = (first, second) if order.startswith("j") else (second, first)
        wanted = np.where(getattr(operator, compare)(*pair), values, np.float32(-0.5))
        np.testing.assert_array_equal(found["p1"].reshape(wanted.shape), wanted)
        np.testing.assert_array_equal(found["p2"], wanted.max(1))


def room(length: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {"p1": np.full(ROWS * length, np.nan, "f"), "p2": np.full(ROWS, np.nan, "f")}


def test_numbers_from_memory_are_compared_in_full() -> None:
    """One that words cannot count on from, as the largest, is not an end of a mask."""
    text = TEXT.replace("p0: in f32,", "p0: in f32, p3: in i64,").replace(
        "%0: i64 = mul i0, i64(13)\n    %1: i64 = sub %0, i64(20)", "%1: i64 = load p3[i0]"
    )
    kernel = parse_kernel(
        text.replace("%1", "%0").replace("%2", "%1").replace("%3", "%2").replace("%4", "%3")
    )
    numbers = np.array([2**63 - 1, -(2**63), 0, -1, 5, 17, 18])
    values = np.ones((ROWS, 18), "f")
    found = run(kernel, (ROWS, 18), "vector", {"p0": values, "p3": numbers, **room(18)})
    wanted = np.where(np.arange(18) <= numbers[:, None], values, np.float32(-0.5))
    np.testing.assert_array_equal(found["p1"].reshape(wanted.shape), wanted)
