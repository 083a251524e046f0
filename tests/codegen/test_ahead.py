"""Memory that a map brings near before its turn: where, and what has no such place."""

from __future__ import annotations

import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.errors import ParseError, VerifyError
from staticgrad.ir.kernel_parser import parse_kernel
from staticgrad.ir.verify_kernel import verify_kernel

TEXT = """\
kernel(p0: in f32, p1: inout f32, p2: in f64, p3: scratch f32, p4: in i64; n0, n1, n2) over i0: n0 {
  map j: n1 ahead j + 512 {
    %0: f32 = load p0[i0*n1 + j]
    %1: f32 = load p1[i0*n1 + j]
    %2: f32 = add %0, %1
    %3: f64 = load p2[j]
    %4: f32 = cast %3
    %5: f32 = mul %2, %4
    %6: i64 = load p4[j*n2]
    %7: f32 = cast %6
    %8: f32 = mul %5, %7
    store p3[j] = %8
    store p1[i0*n1 + j] = %8
  }
}
"""


def touched(text: str) -> list[str]:
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    assert str(kernel) == text
    return [line.strip() for line in render(kernel).splitlines() if "prefetch" in line]


def test_what_lies_in_runs_is_brought_near_once() -> None:
    lines = touched(TEXT)
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]  # whole vectors, and the last one
    assert lines[: len(lines) // 2] == [
        "prefetch_write(p1, i0 * n1 + j + 512)",
        "prefetch(p0, i0 * n1 + j + 512)",
        "prefetch(p2, j + 512)",
        "prefetch(p2, j + 512 + 8)",
    ]


def test_rows_ahead_are_those_that_move_along_rows() -> None:
    lines = touched(TEXT.replace("ahead j + 512", "ahead i0 + 2").replace("n0 {", "n0 by 2 {"))
    assert set(lines) == {
        f"prefetch{word}(p{operand}, i0{row} * n1 + j + 2 * n1)"
        for word, operand in (("_write", 1), ("", 0))
        for row in ("", "_1")
    }


@pytest.mark.parametrize("head", ["ahead j + 0 {", "ahead j + 1048577 {", "ahead i1 + 4 {"])
def test_what_is_not_ahead_is_refused(head: str) -> None:
    with pytest.raises((VerifyError, ParseError)):
        verify_kernel(parse_kernel(TEXT.replace("ahead j + 512 {", head)))
