"""Columns that row kernels accumulate: the bytes of the column rule, however iterations are cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.errors import ParseError, VerifyError
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.ir.summation import column_sum
from tests.diagonals import diagonals
from tests.native.support import MODES, Array, Mode, assert_same, call

#: p1 = the row without its mean; p2, p4: partials of the columns' sums and of their greatest.
CENTRED = """\
kernel(p0: in f32, p1: out f32, p2: out f32, p3: scratch f32, p4: out f32, p5: scratch f32; n0, n1)\
 over groups of i0: n0 {
  map j: n1 {
    %0: f32 = load p0[i0*n1 + j]
    @r0: f32 = sum %0
  }
  scalar {
    %1: f32 = cast n1
    %2: f32 = div @r0, %1
    @r1: f32 = keep %2
  }
  map j: n1 {
    %3: f32 = load p0[i0*n1 + j]
    %4: f32 = sub %3, @r1
    store p1[i0*n1 + j] = %4
    column sum %4 to p2 in p3
    column max %4 to p4 in p5
  }
}
"""
#: Today's stage over the partials: groups are few, so they are added in their order.
COMBINED = """\
kernel(p0: in f32, p1: out f32, p2: in f32, p3: out f32; n0, n1) {
  columns j: n1 {
    rows i0: n0 {
      %0: f32 = load p0[i0*n1 + j]
      @r0: f32 = sum %0
    }
    store p1[j] = @r0
  }
  columns j: n1 {
    rows i0: n0 {
      %1: f32 = load p2[i0*n1 + j]
      @r1: f32 = max %1
    }
    store p3[j] = @r1
  }
}
"""


def kernel_of(text: str) -> Kernel:
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    assert str(kernel) == text
    return kernel


def cuts(count: int, workers: int) -> list[tuple[int, int]]:
    """Iterations in as many runs of neighbours as there are workers, last run first."""
    ends = [count * worker // workers for worker in range(workers + 1)]
    return [*pairwise(ends)][::-1]


def columns_of(x: Array, workers: int, mode: Mode) -> tuple[Array, Array, Array]:
    """The centred rows, and the sums and maxima of their columns."""
    kernel, (n, c) = kernel_of(CENTRED), x.shape
    groups = int(kernel.iterations((n, c)))  # type: ignore[call-overload]
    room = kernel.room((n, c))
    centred, sums, tops = np.empty_like(x), *(np.full((groups, c), 7, "f4") for _ in "ab")
    for begin, end in cuts(groups, workers):
        own = [np.full(int(room[name]), np.nan, "f4") for name in ("p3", "p5")]  # type: ignore[call-overload]
        arrays = [x, centred, sums, tops]
        call(render(kernel), arrays, [n, c], begin, end, own=own, mode=mode)
    found = np.empty(c, "f4"), np.empty(c, "f4")
    arrays = [sums, found[0], tops, found[1]]
    call(render(kernel_of(COMBINED)), arrays, [groups, c], 0, 1, mode=mode)
    return centred, *found


@pytest.mark.thinned(2)
@diagonals(
    2,
    ("mode", MODES),
    ("shape", [(1, 3), (31, 16), (33, 5), (70, 33), (1100, 5), (3000, 17)]),
    daily="vector",
)
def test_columns_have_the_bytes_of_their_rule(shape: tuple[int, int], mode: Mode) -> None:
    if mode == "python" and shape[0] > 100:
        pytest.skip("long in plain Python; random kernels go there")
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    centred, sums, tops = columns_of(x, 1, mode)
    np.testing.assert_allclose(centred, x - x.mean(1, keepdims=True, dtype="f8"), atol=1e-6)
    assert_same(sums, column_sum(centred.T), "sums")
    assert_same(tops, centred.max(0), "maxima")


@pytest.mark.parametrize("rows", [1, 40, 1025, 2100])
def test_any_cut_of_the_iterations_gives_the_same_bytes(rows: int) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, 21)).astype("f4")
    once = columns_of(x, 1, "vector")
    for workers in range(2, 17):
        for found, wanted in zip(columns_of(x, workers, "vector"), once, strict=True):
            assert_same(found, wanted, f"{workers} workers")


def test_rows_of_each_outer_axis_are_grouped_apart() -> None:
    text = """\
kernel(p0: in f32, p1: out f32, p2: scratch f32; n0, n1, n2, n3) over i0: n0, groups of i1: n1 {
  map j: n2 {
    %0: f32 = load p0[i0*n3 + i1*n2 + j]
    column sum %0 to p1 in p2
  }
}
"""
    kernel, (a, b, c) = kernel_of(text), (3, 70, 18)
    x = np.random.default_rng(1).normal(size=(a, b, c)).astype("f4")
    sizes = (a, b, c, b * c)
    groups = int(kernel.iterations(sizes))  # type: ignore[call-overload]
    assert groups == 9
    own = np.empty(int(kernel.room(sizes)["p2"]), "f4")  # type: ignore[call-overload]
    for mode in MODES:
        partials = np.empty((groups, c), "f4")
        for begin, end in cuts(groups, 4):
            call(render(kernel), [x, partials], list(sizes), begin, end, own=[own], mode=mode)
        sums = column_sum(partials.reshape(a, 3, c).transpose(0, 2, 1))
        assert_same(sums, column_sum(x.transpose(0, 2, 1)), mode)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("groups of i0", "i0"),  # a column without groups
        ("to p2 in p3", "to p3 in p2"),
        ("to p2 in p3", "to p1 in p3"),
        ("to p2 in p3", "to p2 in p5"),
        ("p2: out f32", "p2: out f64"),
        ("p3: scratch f32", "p3: out f32"),
        ("column sum %4", "column product %4"),
        ("    column max %4 to p4 in p5\n", "    store p2[j] = %4\n"),
        ("  map j: n1 {\n    %3", "  scalar {\n    %3"),
        ("@r1: f32 = keep %2", "@r1: f32 = sum %2"),
        ("kernel(", "serial kernel("),
    ],
)
def test_what_does_not_render_is_refused(old: str, new: str) -> None:
    assert old in CENTRED
    with pytest.raises((VerifyError, ParseError)):
        verify_kernel(parse_kernel(CENTRED.replace(old, new)))


def test_a_column_of_another_dtype_names_the_place() -> None:
    kernel = parse_kernel(CENTRED.replace("p3: scratch f32", "p3: scratch f64"))
    with pytest.raises(VerifyError, match="not all f32"):
        verify_kernel(kernel)
