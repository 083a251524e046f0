"""Rows in strips: what is computed once per row is a vector of rows, and no byte depends on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.errors import VerifyError
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from tests.codegen.kernel_runs import of_width
from tests.codegen.random_kernels import random_kernel
from tests.native.support import LONG_BY_NUMBA, Mode, assert_same, call

#: A logistic regression: a sum of a row, a function of it, a sum across rows; and what it stores.
LOGISTIC = """\
kernel(p0: in f32, p1: in f32, p2: in f32, p3: out f32, p4: out f32, p5: scratch f32; n0, n1)\
 over groups of i0: n0 by 2 in strips {
  scalar {
    %0: f32 = load p2[i0]
    %1: f32 = exp %0
    @r0: f32 = keep %1
  }
  map j: n1 {
    %2: f32 = load p0[i0*n1 + j]
    %3: f32 = load p1[j]
    %4: f32 = mul %2, %3
    @r1: f32 = sum %4
  }
  scalar {
    %5: f32 = mul @r1, @r0
    %6: f32 = tanh %5
    @r2: f32 = keep %6
    store p3[i0] = %6
  }
  map j: n1 ahead i0 + 16 {
    %7: f32 = load p0[i0*n1 + j]
    %8: f32 = mul %7, @r2
    %9: f32 = mul %8, @r0
    column sum %9 to p4 in p5
  }
}
"""


@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_no_byte_depends_on_strips(mode: Mode) -> None:
    """Rows that fill strips and groups and that do not; vectors that rows fill and do not."""
    rng = np.random.default_rng(0)
    for rows, columns in ((1, 18), (15, 16), (33, 5), (70, 40)):
        x, y = rng.normal(size=(rows, columns)).astype("f4"), rng.normal(size=rows).astype("f4")
        w, wanted = rng.normal(size=columns).astype("f4"), None
        for jammed, strips, bits in (
            (1, False, None),
            (1, True, None),
            (4, True, None),
            (3, True, 256),
        ):
            kernel = replace(parse_kernel(LOGISTIC), jammed=jammed, in_strips=strips)
            verify_kernel(kernel)
            assert parse_kernel(str(kernel)) == kernel
            groups = int(kernel.iterations((rows, columns)))  # type: ignore[call-overload]
            room = int(kernel.room((rows, columns))["p5"])  # type: ignore[call-overload]
            made, sums = np.full(rows, np.nan, "f4"), np.full((groups, columns), np.nan, "f4")
            own = [np.full(room, np.nan, "f4")]
            shared = [x, w, y, made, sums]
            call(
                render(kernel, of_width(bits)),
                shared,
                [rows, columns],
                0,
                groups,
                own=own,
                mode=mode,
            )
            wanted = wanted or (made, sums)
            assert_same(made, wanted[0], f"{rows} rows by {jammed}")
            assert_same(sums, wanted[1], f"{rows} rows by {jammed}")
        slope = np.tanh((x.astype("f8") @ w) * np.exp(y))
        np.testing.assert_allclose(made, slope, rtol=1e-5, atol=1e-5)
        both = (slope * np.exp(y)) @ x
        np.testing.assert_allclose(sums.sum(0), both, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("groups of i0: n0", "groups of i0: n0, i1: n1"),  # rows of two loops
        ("store p3[i0] = %6", "store p3[i0] += %6"),
        ("column sum %9 to p4 in p5", "store p5[j] = %9\n    column sum %9 to p4 in p5"),
    ],
)
def test_rows_that_leave_more_than_numbers_are_refused(old: str, new: str) -> None:
    assert old in LOGISTIC
    with pytest.raises(VerifyError):
        verify_kernel(parse_kernel(LOGISTIC.replace(old, new)))


def test_a_strip_has_one_vector_of_each_function() -> None:
    source = render(parse_kernel(LOGISTIC))
    assert source.count("= tanh_f32(") == 1
    assert source.count("prefetch_second(p0, ") > 0
    assert "tanh_f32(u" not in source


def test_random_kernels_have_strips() -> None:
    """So that all readers and the verifier meet them."""
    assert sum(random_kernel(seed).in_strips for seed in range(300)) > 4
