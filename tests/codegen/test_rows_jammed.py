"""Rows that a kernel takes side by side: no byte depends on how many, and what would is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.errors import VerifyError
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.native.machine import Machine
from tests.codegen.kernel_runs import of_width
from tests.native.support import LONG_BY_NUMBA, MODES, Array, Mode, assert_same, call

#: Softmax of rows over two outer loops, its exponentials in a row of scratch; p3: a total of each.
SOFTMAX = """\
kernel(p0: in f32, p1: scratch f32, p2: out f32, p3: out f32, p4: in f32; n0, n1, n2, n3)\
 over i0: n0, i1: n1 {
  map j: n2 {
    %0: f32 = load p0[i0*n3 + i1*n2 + j]
    @r0: f32 = max %0
  }
  map j: n2 {
    %1: f32 = load p0[i0*n3 + i1*n2 + j]
    %2: f32 = sub %1, @r0
    %3: f32 = exp %2
    store p1[j] = %3
    @r1: f32 = sum %3
  }
  scalar {
    store p3[i0*n1 + i1] = @r1
    %4: f32 = div f32(1.0), @r1
    @r2: f32 = keep %4
  }
  map j: n2 {
    %5: f32 = load p1[j]
    %6: f32 = mul %5, @r2
    %7: f32 = load p4[j]
    %8: f32 = mul %6, %7
    store p2[i0*n3 + i1*n2 + j] = %8
  }
}
"""


@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_no_byte_depends_on_how_many_rows_are_jammed(mode: Mode) -> None:
    a, b, c = 3, 5, 37
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(a, b, c)).astype("f4"), rng.normal(size=c).astype("f4")
    wanted = None
    for jammed in (1, 2, 3):
        kernel = replace(parse_kernel(SOFTMAX), jammed=jammed)
        verify_kernel(kernel)
        assert parse_kernel(str(kernel)) == kernel
        sizes = (a, b, c, b * c)
        own = np.full(int(kernel.room(sizes)["p1"]), np.nan, "f4")  # type: ignore[call-overload]
        assert own.size == jammed * c
        made, sums = np.empty_like(x), np.empty((a, b), "f4")
        shared = [x, made, sums, weights]
        call(render(kernel), shared, list(sizes), 0, 7, own=[own], mode=mode)
        call(render(kernel), shared, list(sizes), 7, a * b, own=[own], mode=mode)
        wanted = wanted or (made, sums)
        assert_same(made, wanted[0], f"{jammed} rows")
        assert_same(sums, wanted[1], f"{jammed} rows")
    e = np.exp(x.astype("f8") - x.max(-1, keepdims=True))
    np.testing.assert_allclose(made, e / e.sum(-1, keepdims=True) * weights, rtol=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "headline"),
    [
        ("i1: n1 {", "i1: n1 by 0 {", "0 rows stand side by side"),
        ("i1: n1 {", "i1: n1 by 17 {", "17 rows stand side by side"),
        ("kernel(", "serial kernel(", "no rows to take side by side"),
        ("store p2[i0*n3 + i1*n2 + j]", "store p2[i1*n2 + j]", "store to one element"),
        ("store p1[j]", "store p1[i1*n2 + j]", "store to one element"),
        ("%5: f32 = load p1[j]", "%5: f32 = load p1[i1*n2 + j]", "where others store"),
        ("%7: f32 = load p4[j]", "%7: f32 = load p2[j]", "where others store"),
    ],
)
def test_rows_that_meet_are_refused(old: str, new: str, headline: str) -> None:
    text = SOFTMAX if "by" in new else SOFTMAX.replace("i1: n1 {", "i1: n1 by 2 {")
    text = text.replace(old, new)
    with pytest.raises(VerifyError, match=headline):
        verify_kernel(parse_kernel(text))


#: The same in a loop: each iteration has a row of p1; r3 is one number for all iterations.
ITERATIONS = """\
kernel(p0: in f32, p1: scratch f32, p2: out f32, p3: out f32, p4: in f32; n0, n1, n2, n3)\
 over i0: n0 {
  map j: n2 {
    %0: f32 = load p4[j]
    @r3: f32 = sum %0
  }
  loop i1: n1 by 2 {
    map j: n2 {
      %1: f32 = load p0[i0*n3 + i1*n2 + j]
      @r0: f32 = max %1
    }
    map j: n2 {
      %2: f32 = load p0[i0*n3 + i1*n2 + j]
      %3: f32 = sub %2, @r0
      %4: f32 = exp %3
      store p1[i1*n2 + j] = %4
      @r1: f32 = sum %4
    }
    scalar {
      store p3[i0*n1 + i1] = @r1
      %5: f32 = div @r3, @r1
      @r2: f32 = keep %5
    }
    map j: n2 {
      %6: f32 = load p1[i1*n2 + j]
      %7: f32 = mul %6, @r2
      %8: bool = le j, i1
      %9: f32 = select %8, %7, f32(0.0)
      store p2[i0*n3 + i1*n2 + j] = %9
    }
  }
}
"""


@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_no_byte_depends_on_how_many_iterations_are_jammed(mode: Mode) -> None:
    a, b, c = 3, 5, 37
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(a, b, c)).astype("f4"), rng.normal(size=c).astype("f4")
    wanted = None
    for jammed in (1, 2, 3, 8):
        kernel = parse_kernel(ITERATIONS.replace(" by 2", f" by {jammed}" if jammed > 1 else ""))
        verify_kernel(kernel)
        assert parse_kernel(str(kernel)) == kernel
        made, sums = np.empty_like(x), np.empty((a, b), "f4")
        shared, own = [x, made, sums, weights], [np.full(b * c, np.nan, "f4")]
        call(render(kernel), shared, [a, b, c, b * c], 0, a, own=own, mode=mode)
        wanted = wanted or (made, sums)
        assert_same(made, wanted[0], f"{jammed} iterations")
        assert_same(sums, wanted[1], f"{jammed} iterations")
    e = np.exp(x.astype("f8") - x.max(-1, keepdims=True))
    shares = e / e.sum(-1, keepdims=True) * weights.sum(dtype="f8")
    np.testing.assert_allclose(made, np.where(np.tri(b, c, dtype=bool), shares, 0), rtol=2e-5)


@pytest.mark.parametrize(
    ("old", "new", "headline"),
    [
        ("by 2", "by 0", "0 iterations of i1 stand side by side"),
        ("by 2", "by 17", "17 iterations of i1 stand side by side"),
        ("i0: n0 {", "i0: n0 by 2 {", "2 iterations of i1 stand side by side"),
        ("store p2[i0*n3 + i1*n2 + j]", "store p2[i0*n3 + j]", "store to one element"),
        ("store p1[i1*n2 + j]", "store p1[j]", "store to one element"),
        ("%6: f32 = load p1[i1*n2 + j]", "%6: f32 = load p1[j]", "where others store"),
        (
            "    map j: n2 {\n      %1",
            "    columns j: n2 {\n      %1",
            "takes no iterations side by",
        ),
        (
            "  loop i1: n1 by 2 {\n",
            "  loop i1: n1 by 2 {\n    first {\n      @s0: f32 = carry @r3\n    }\n",
            "waits for the one before",
        ),
    ],
)
def test_iterations_that_meet_are_refused(old: str, new: str, headline: str) -> None:
    text = ITERATIONS.replace(old, new)
    if "columns" in new:
        rows = "      rows {\n        %1: f32 = load p0[i0*n3 + i1*n2 + j]\n"
        rows += "        @r0: f32 = max %1\n      }\n      store p3[i0*n1 + j] = @r0\n"
        old = "      %1: f32 = load p0[i0*n3 + i1*n2 + j]\n      @r0: f32 = max %1\n"
        text = text.replace(old, rows).replace(", @r0", ", @r3")
    if "carry" in new:
        end = "      store p2[i0*n3 + i1*n2 + j] = %9\n    }\n"
        following = "    following {\n      @s0: f32 = carry @r3\n    }\n"
        text = text.replace(end, end + following)
    with pytest.raises(VerifyError, match=headline):
        verify_kernel(parse_kernel(text))


#: Running totals of rows, and beside them two numbers that change places: p2 a total of every
#: iteration.
TOTALS = """\
kernel(p0: in f32, p1: out f32, p2: out f32; n0, n1, n2, n3) over i0: n0 {
  loop i1: n1 {
    first {
      @s0: f32 = carry f32(-0.0)
      %0: f32 = load p0[i0*n3]
      @s1: f32 = carry %0
    }
    map j: n2 {
      %1: f32 = load p0[i0*n3 + i1*n2 + j]
      %2: f32 = mul %1, @s1
      store p1[i0*n3 + i1*n2 + j] = %2
      @r0: f32 = sum %2
    }
    scalar {
      %3: f32 = add @s0, @r0
      @r1: f32 = keep %3
      store p2[i0*n1 + i1] = @r1
    }
    following {
      @s0: f32 = carry @s1
      @s1: f32 = carry @r1
    }
  }
}
"""


def loop_of_totals(jammed: int) -> str:
    """The same with a loop in the place of the outer axis, so many of whose iterations are
    jammed."""
    by = f" by {jammed}" if jammed > 1 else ""
    text = TOTALS.replace("over i0: n0", "over i2: 1")
    return text.replace("  loop i1", f"  loop i0: n0{by} {{\n  loop i1") + "}\n"


@pytest.mark.thinned
@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_jammed_carries_what_is_its_own(mode: Mode, rows: bool) -> None:
    a, b, c = 11, 4, 19
    x = np.random.default_rng(0).normal(size=(a, b, c)).astype("f4")
    wanted = None
    for jammed in (1, 2, 3, 8):
        text = TOTALS if rows else loop_of_totals(jammed)
        kernel = replace(parse_kernel(text), jammed=jammed if rows else 1)
        verify_kernel(kernel)
        made, totals = np.empty_like(x), np.empty((a, b), "f4")
        for begin, end in [(0, 5), (5, a)] if rows else [(0, 1)]:
            call(render(kernel), [x, made, totals], [a, b, c, b * c], begin, end, mode=mode)
        wanted = wanted or (made, totals)
        assert_same(made, wanted[0], f"{jammed} rows")
        assert_same(totals, wanted[1], f"{jammed} rows")
    first, second = np.zeros(a), x[:, 0, 0].astype("f8")
    for iteration in range(b):
        np.testing.assert_allclose(made[:, iteration], x[:, iteration] * second[:, None], rtol=1e-4)
        first, second = second, first + (x[:, iteration] * second[:, None]).sum(1)
        np.testing.assert_allclose(totals[:, iteration], second, rtol=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "headline"),
    [
        ("i1: n1 {", "i1: n1 by 2 {", "stand side by side in such of i0"),
        ("store p2[i0*n1 + i1]", "store p2[i1]", "store to one element"),
        ("load p0[i0*n3 + i1*n2 + j]", "load p1[i1*n2 + j]", "where others store"),
    ],
)
def test_iterations_of_loops_that_meet_are_refused(old: str, new: str, headline: str) -> None:
    with pytest.raises(VerifyError, match=headline):
        verify_kernel(parse_kernel(loop_of_totals(2).replace(old, new)))


#: Rows in their own memory, p1, whose scale p2 is changed where it stands; p3: their columns' sums.
IN_PLACE = """\
kernel(p0: in f32, p1: inout f32, p2: inout f32, p3: out f32, p4: scratch f32; n0, n1)\
 over groups of i0: n0 {
  map j: n1 {
    %0: f32 = load p1[i0*n1 + j]
    %1: f32 = load p0[i0*n1 + j]
    %2: f32 = add %0, %1
    store p1[i0*n1 + j] = %2
    @r0: f32 = sum %2
  }
  scalar {
    %3: f32 = load p2[i0]
    %4: f32 = add %3, @r0
    store p2[i0] = %4
    @r1: f32 = keep %4
  }
  map j: n1 {
    %5: f32 = load p1[i0*n1 + j]
    %6: f32 = mul %5, @r1
    column sum %6 to p3 in p4
    store p1[i0*n1 + j] = %6
  }
}
"""


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
def test_rows_that_are_left_over_change_memory_once(add: bool, mode: Mode) -> None:
    text = IN_PLACE.replace("store p2[i0] =", "store p2[i0] +=") if add else IN_PLACE
    wanted: dict[int, list[Array]] = {}
    for jammed, bits in ((1, None), (2, None), (3, None), (4, None), (3, 256)):
        kernel = replace(parse_kernel(text), jammed=jammed)
        verify_kernel(kernel)
        for rows in (1, 2, 3, 5, 7, 33):
            rng, n = np.random.default_rng(rows), 18
            x, y = (rng.normal(size=(rows, n)).astype("f4") for _ in "xy")
            scale = rng.normal(size=rows).astype("f4")
            groups = int(kernel.iterations((rows, n)))  # type: ignore[call-overload]
            room = int(kernel.room((rows, n))["p4"])  # type: ignore[call-overload]
            sums, own = np.empty((groups, n), "f4"), [np.full(room, np.nan, "f4")]
            source = render(kernel, of_width(bits))
            call(source, [x, y, scale, sums], [rows, n], 0, groups, own=own, mode=mode)
            made = [y, scale, sums]
            for found, first in zip(made, wanted.setdefault(rows, made), strict=True):
                assert_same(found, first, f"{rows} rows, {jammed} side by side")


def test_rows_that_are_left_over_have_no_body_of_their_own() -> None:
    source = render(replace(parse_kernel(SOFTMAX), jammed=3))
    assert source.count("while j + 16 <= ") == 3
    assert source.count("for o in range(") == 1
    narrow = render(replace(parse_kernel(IN_PLACE), jammed=3), Machine(vector_bits=256))
    assert narrow.count("for row_at in range(") == 2  # where masks of added rows would cost


def test_sums_of_rows_share_their_counter() -> None:
    source = render(replace(parse_kernel(SOFTMAX), jammed=3))
    assert source.count("while bits") == 1
