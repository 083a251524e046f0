"""Memory that a map brings near before its turn: where, by default, and what has no such place."""

from __future__ import annotations

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.errors import ParseError, VerifyError
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from tests.codegen.kernel_runs import run
from tests.diagonals import diagonals
from tests.native.support import MODES, Mode

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


LONG = "".join(f"    %{k}: f32 = mul %{k - 1}, %{k - 1}\n" for k in range(2, 40))
MAPPED = f"""\
kernel(p0: in f32, p1: out f32, p2: in f32; n0, n1) over i0: n0 {{
  map j: n1 {{
    %0: f32 = load p0[i0*n1 + j]
    %1: f32 = mul %0, %0
{LONG}    %40: f32 = load p2[j]
    %41: f32 = mul %39, %40
    store p1[i0*n1 + j] = %41
  }}
}}
"""
FLAT = MAPPED.replace("i0*n1 + ", "").replace(" over i0: n0", "").replace("n0, n1", "n1")


def renumbered(text: str) -> str:
    """The kernel's canonical text."""
    return str(parse_kernel(text))


def test_a_long_body_is_ahead_by_default() -> None:
    assert touched(renumbered(FLAT)) == [
        "prefetch_write(p1, j + 512)",
        "prefetch(p0, j + 512)",
        "prefetch(p2, j + 512)",
    ]


def test_what_is_written_in_whole_vectors_is_not() -> None:
    assert touched(renumbered(FLAT.replace(LONG, "").replace("%39", "%1"))) == []


def test_rows_are_ahead_by_rows_unless_they_are_long() -> None:
    text = renumbered(MAPPED)
    assert touched(text) == [
        "prefetch_write(p1, i0 * n1 + j + rows_left * n1 + near)",
        "prefetch(p0, i0 * n1 + j + rows_left * n1 + near)",
    ]
    for extent, far in ((100, "6 * 100"), (5000, "512")):
        literal = text.replace("j: n1", f"j: {extent}").replace("i0*n1", f"i0*{extent}")
        assert f"prefetch(p0, i0 * {extent} + j + {far})" in touched(literal)


def test_a_kernel_of_several_maps_says_what_is_ahead() -> None:
    text = renumbered(MAPPED)
    before = "  map j: n1 {\n    store p1[i0*n1 + j] = f32(0.0)\n  }\n"
    assert touched(text.replace("  map", before + "  map")) == []


@diagonals(2, ("sizes", [(7, 37), (2, 4099), (3, 0)]), ("mode", MODES), daily="vector")
def test_what_is_ahead_changes_nothing(sizes: tuple[int, int], mode: Mode) -> None:
    first = np.linspace(-1, 1, sizes[0] * sizes[1], dtype="float32")
    second = np.linspace(2, 3, sizes[1], dtype="float32")
    wanted = first.reshape(sizes)
    for _ in range(39):
        wanted = wanted * wanted
    given = {"p0": first, "p1": np.empty_like(first), "p2": second}
    found = run(parse_kernel(MAPPED), sizes, mode, given)["p1"]
    np.testing.assert_array_equal(found.reshape(sizes), wanted * second)
