"""Loops that end and begin at numbers that were kept: the positions they take, by every reader."""

from __future__ import annotations

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.errors import ParseError, VerifyError
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from tests.codegen.kernel_meaning import Meaning
from tests.native.support import LONG_BY_NUMBA, Array, Mode, assert_same, call

#: Of tile i1 of each matrix: two rows at most, products of positions from @r2 to @r1, rows that
#: end there, a total of each.
TILES = """\
kernel(p0: in f32, p1: in f32, p2: inout f32, p3: inout f32, p4: in i64; n0, n1, n2, n3)\
 over i0: 1 {
  loop i1: n1 {
    scalar {
      %0: i64 = load p4[i0*n1 + i1]
      @r1: i64 = keep %0
      %1: i64 = mul i1, i64(2)
      %2: i64 = sub n2, %1
      @r0: i64 = keep %2
      %3: i64 = sub %0, i64(5)
      @r2: i64 = keep %3
    }
    gemm i: 2 to @r0, j: n3, k: n3 from @r2 to @r1 {
      @acc: f32 = sum p0[k + [i1*2 + i within n2]*n3] * p1[k*n3 + j]
      store p2[j + [i1*2 + i within n2]*n3] += @acc
    }
    loop i2: 2 to @r0 by 2 {
      map j: n3 to @r1 {
        %4: f32 = load p2[j + [i1*2 + i2 within n2]*n3]
        @r3: f32 = sum %4
      }
      scalar {
        store p3[[i1*2 + i2 within n2]] = @r3
      }
    }
  }
}
"""


def arrays(rows: int, deep: int, ends: list[int]) -> list[Array]:
    rng = np.random.default_rng(0)
    shapes = ((rows, deep), (deep, deep), (rows, deep), (rows,))
    made: list[Array] = [rng.normal(size=shape).astype("f4") for shape in shapes]
    return [*made, np.array(ends, np.int64)]


@pytest.mark.thinned
@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
@pytest.mark.parametrize(
    ("rows", "deep", "ends"),
    [(3, 7, [7, 3]), (4, 40, [-1, 33]), (5, 33, [100, 0, 5]), (2, 4200, [4150])],
)
def test_positions_between_the_limits_are_taken(
    mode: Mode, rows: int, deep: int, ends: list[int]
) -> None:
    kernel = parse_kernel(TILES)
    verify_kernel(kernel)
    assert str(kernel) == TILES
    tiles = -(-rows // 2)
    sizes = [1, tiles, rows, deep]
    found = arrays(rows, deep, ends)
    wanted, true = ([array.copy() for array in found] for _ in range(2))
    call(render(kernel), found, sizes, 0, 1, mode=mode)
    memory = {f"p{k}": array.reshape(-1) for k, array in enumerate(wanted)}
    Meaning(kernel, memory, dict(zip(kernel.arguments, sizes, strict=True))).run()
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert_same(a, b, f"p{number}")
    for tile, end in enumerate(ends):
        part = slice(max(0, end - 5), max(0, min(end, deep)))
        for row in range(2 * tile, min(2 * tile + 2, rows)):
            true[2][row] += true[0][row, part].astype("f8") @ true[1][part]
            true[3][row] = true[2][row, : max(end, 0)].sum(dtype="f8")
    for a, b in zip(found, true, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "headline"),
    [
        ("map j: n3 to @r1", "map j: n3 from @r1", "has no numbers from which or to which"),
        ("loop i1: n1 {", "loop i1: n1 to @r3 {", "is not an i64 that was kept"),
        ("map j: n3 to @r1", "map j: n3 to @r3", "is not an i64 that was kept"),
        ("over i0: 1 {", "over i0: n0 by 2 {", "ends elsewhere in each row"),
    ],
)
def test_other_limits_are_refused(old: str, new: str, headline: str) -> None:
    text = TILES.replace(old, new)
    with pytest.raises((ParseError, VerifyError), match=headline):
        verify_kernel(parse_kernel(text))


def test_iterations_side_by_side_end_alike() -> None:
    text = TILES.replace(
        "      map j: n3 to @r1 {",
        "      scalar {\n        %9: i64 = add i2, i64(1)\n        @r5: i64 = keep %9\n      }\n"
        "      map j: n3 to @r5 {",
    )
    with pytest.raises(VerifyError, match="ends elsewhere in each row"):
        verify_kernel(parse_kernel(text))


GOING = """\
kernel(p0: in f32, p1: out f32, p2: out i64; n0, n1) over i0: n0 {
  loop i1: n1 while @s2 {
    first {
      %0: f32 = load p0[i0]
      @s0: f32 = carry %0
      @s1: i64 = carry i64(0)
      %1: bool = lt %0, f32(100.0)
      @s2: bool = carry %1
    }
    scalar {
      %2: f32 = mul @s0, f32(3.0)
      @r0: f32 = keep %2
      %3: bool = lt %2, f32(100.0)
      @r1: bool = keep %3
      %4: i64 = add i1, i64(1)
      @r2: i64 = keep %4
    }
    following {
      @s0: f32 = carry @r0
      @s1: i64 = carry @r2
      @s2: bool = carry @r1
    }
  }
  scalar {
    store p1[i0] = @s0
    store p2[i0] = @s1
  }
}
"""


@pytest.mark.parametrize("mode", LONG_BY_NUMBA)
@pytest.mark.parametrize("most", [0, 2, 50])
def test_a_loop_goes_on_while_what_it_carries_holds(mode: Mode, most: int) -> None:
    kernel = parse_kernel(GOING)
    verify_kernel(kernel)
    assert str(kernel) == GOING
    first = np.array([1.0, 200.0, 50.0, -1.0, np.nan], "f4")
    last, iterations = np.zeros(5, "f4"), np.zeros(5, np.int64)
    call(render(kernel), [first, last, iterations], [5, most], 0, 5, mode=mode)
    wanted = [min(each, most) for each in (5, 0, 1, 50, 0)]
    assert iterations.tolist() == wanted
    np.testing.assert_array_equal(last, first * np.array([3.0**n for n in wanted], "f4"))


@pytest.mark.parametrize(
    ("old", "new", "headline"),
    [
        ("while @s2", "while @s1", "goes on by what is not a truth that it carries"),
        ("while @s2", "while @r1", "goes on by what is not a truth that it carries"),
        (
            "while @s2",
            "while @s2 by 2",
            "iterations of i1 stand side by side|waits for the one before",
        ),
        ("over i0: n0 {", "over i0: n0 by 2 {", "goes on by what each row carries"),
    ],
)
def test_other_ends_are_refused(old: str, new: str, headline: str) -> None:
    with pytest.raises((ParseError, VerifyError), match=headline):
        verify_kernel(parse_kernel(GOING.replace(old, new)))
