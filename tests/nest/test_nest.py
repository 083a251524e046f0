"""Nests of random kernels: every reader gives the same bytes under any legal directives.

``python -m pytest tests/nest -m exhaustive`` runs two thousand.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.backends import source_of
from staticgrad.compiler.nest.directives import defaults
from staticgrad.compiler.nest.records import Builder, Name, Offset, function
from staticgrad.language.ir.kernels.directives import (
    Directive,
    Interleave,
    Prefetch,
    Stream,
    Vector,
)
from staticgrad.language.ir.kernels.legality import IllegalDirectiveError, with_directives
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.native.machine import Machine
from tests.exporting.printed import run_printed
from tests.native.support import READERS, Mode, call, source_for

SOFTMAX = """\
kernel(p0: in f32, p1: out f32; n0, n1) over i0: n0 {
  map j: n1 {
    %0: f32 = load p0[i0*n1 + j]
    @r0: f32 = max %0
  }
  map j: n1 {
    %1: f32 = load p0[i0*n1 + j]
    %2: f32 = sub %1, @r0
    %3: f32 = exp %2
    store p1[i0*n1 + j] = %3
  }
}
"""
SCATTERED = """\
serial kernel(p0: in f32, p1: inout f32; n0) over i0: n0 {
  map j: n0 {
    %0: f32 = load p0[i0*n0 + j]
    store p1[j] += %0
  }
}
"""


@pytest.mark.parametrize(
    ("directive", "reason"),
    [
        (Vector("none"), "no such tail"),
        (Vector("peel", 2), "no such stage"),
        (Interleave("j", 3), "powers of two"),
        (Interleave("k", 2), "no such axis"),
        (Prefetch("i7", 4), "no such axis"),
        (Prefetch("j", 0), "one iteration at least"),
        (Stream("p7"), "no result of this name"),
    ],
)
def test_illegal_directives_are_refused(directive: Directive, reason: str) -> None:
    with pytest.raises(IllegalDirectiveError, match=reason):
        with_directives(parse_kernel(SOFTMAX), (directive,))


@pytest.mark.parametrize("axis", ["o", "j"])
def test_rows_that_run_in_their_order_are_not_interleaved(axis: str) -> None:
    with pytest.raises(IllegalDirectiveError, match="order"):
        with_directives(parse_kernel(SCATTERED), (Interleave(axis, 2),))


def test_a_directive_is_given_once() -> None:
    kernel = parse_kernel(SOFTMAX)
    with_directives(kernel, (Interleave("j", 2, 0), Interleave("j", 4, 1)))
    with pytest.raises(IllegalDirectiveError, match="twice"):
        with_directives(kernel, (Interleave("j", 2, 0), Interleave("j", 4, 0)))


def test_each_row_is_loaded_once_by_interleaved_copies() -> None:
    """Values that do not differ between rows are computed once; loops run over all rows."""
    kernel = parse_kernel(SOFTMAX)
    alone, four = (
        source_of(kernel, Machine(), (Interleave("o", n), Vector("mask"))).text for n in (1, 4)
    )
    assert alone.count("load(p0") == 2
    assert four.count("load(p0") == 8
    assert alone.count("for ") == four.count("for ") == 3
    assert alone.count("mask16(") == four.count("mask16(")


LINES = "".join(f"    %{k}: f32 = mul %{k - 1}, %{k - 1}\n" for k in range(3, 40))
TEXT = f"""\
kernel(p0: inout f32, p1: in f32, p2: out f32; n0, n1) over i0: n0 {{
  map j: n1 {{
    %0: f32 = load p0[i0*n1 + j]
    %1: f32 = load p1[i0]
    %2: f32 = add %0, %1
{LINES}    store p0[i0*n1 + j] = %39
    @r0: f32 = sum %39
  }}
  scalar {{
    store p2[i0] = @r0
  }}
}}
"""


def chain(links):
    """A kernel of so many multiplications, each of the one before."""
    lines = [f"    %{k}: f32 = mul %{k - 1}, %{k - 1}\n" for k in range(2, links + 2)]
    start, end = TEXT.index("    %1:"), TEXT.index("    store p0")
    head, tail = TEXT[:start] + "    %1: f32 = mul %0, %0\n", TEXT[end:]
    return head + "".join(lines) + tail.replace("%39", f"%{links + 1}")


STREAMS = "".join(
    [f"    %{n}: f32 = load p1[j*{n}]\n" for n in range(40, 60)]
    + [f"    %{n + 20}: f32 = add %{n}, %{n + 19}\n" for n in range(40, 60)]
)


RUNNING = """kernel(p0: in f32, p1: out f32; n0) over i0: n0 under interleave 4 {
  loop i1: n0 {
    first {
      @s0: f32 = carry f32(-0.0)
    }
    scalar {
      %0: f32 = load p0[i0*n0 + i1]
      %1: f32 = add @s0, %0
      @r0: f32 = keep %1
      store p1[i0*n0 + i1] = @r0
    }
    following {
      @s0: f32 = carry @r0
    }
  }
}
"""


@pytest.mark.parametrize(
    ("text", "bits", "count"),
    [
        (TEXT, 512, 4),  # bodies that wait
        (TEXT.replace("store p0[i0*n1 + j]", "store p0[i0*n1 + j*2]"), 512, 1),  # another's element
        (TEXT.replace("store p0[i0*n1 + j]", "store p0[i0]"), 512, 1),  # one element for all
        (
            TEXT.replace("    store p0", STREAMS + "    store p0").replace("sum %39", "sum %79"),
            512,
            1,
        ),
        (chain(100), 512, 8),  # few values are alive
        (chain(100), 256, 4),
        (chain(700), 512, 4),
        (RUNNING, 512, 4),  # rows, each a loop of numbers that read each other
    ],
)
def test_how_many_vectors_are_interleaved(text: str, bits: int, count: int) -> None:
    actual = defaults(parse_kernel(text), Machine(vector_bits=bits))
    assert [d.factor for d in actual if isinstance(d, Interleave)] == [count] * (count > 1)


@pytest.mark.parametrize("mode", READERS)
@pytest.mark.parametrize(
    "stage",
    [
        "map j: n1 {\n %0: f32 = load p0[j]\n store p1[j] = %0\n }",
        "map j: n1 {\n %0: f32 = load p0[[i0 + j in n0]]\n store p1[j] = %0\n }",
        "map j: n1 {\n %0: f32 = load p0[j*2]\n store p1[j*2] = %0\n }",
        "map i1: 2, j: n1 {\n %0: f32 = load p0[j]\n store p1[i1*n1 + j] = %0\n }",
        "columns j: n1 {\n rows i1: n0 {\n %0: f32 = load p0[j + i1*n1]\n @r0: f32 = sum %0\n }\n"
        " store p1[j] = @r0\n }",
    ],
)
def test_extents_below_zero_are_those_of_nothing(stage: str, mode: Mode | Literal["file"]) -> None:
    """Sizes are differences now and then, as of a window that is larger than an image."""
    kernel = parse_kernel(f"kernel(p0: in f32, p1: out f32; n0, n1) over i0: n0 {{\n {stage}\n}}\n")
    source = source_for(kernel, mode)
    for extent in (-1, -16, -17, -100):
        room = np.full(512, 7.0, "f4")
        ones = np.ones(512, "f4")
        if mode == "file":
            run_printed(kernel, {"p0": ones, "p1": room[256:]}, {"n0": 2, "n1": extent})
        else:
            call(source, [ones, room[256:]], [2, extent], 0, 2, mode=mode)
        assert (room == 7.0).all()


#: The four neighbours of a field that has no ends; p1 to p4 begin at the last and first rows and
#: columns, n4 is 1, n2 is -1, n5 and n7 are 1 less the field's sizes.
ROUND = """\
kernel(p0: in f32, p1: in f32, p2: in f32, p3: in f32, p4: in f32, p5: out f32; n0, n1, n2, n3, n4,
       n5, n6, n7) over i0: n0 {
  map j: n1 {
    %0: bool = lt i0, i64(1)
    %1: f32 = load p1[j + [i0 in n4]*n1]
    %2: f32 = load p0[j + [i0 + n2 in n3]*n1]
    %3: f32 = select %0, %1, %2
    %4: bool = ge i0, n3
    %5: f32 = load p0[j + [i0 + n5 in n4]*n1]
    %6: f32 = load p2[j + [i0 in n3]*n1]
    %7: f32 = select %4, %5, %6
    %8: f32 = add %3, %7
    %9: bool = lt j, i64(1)
    %10: f32 = load p3[i0*n1 + [j in n4]]
    %11: f32 = load p0[i0*n1 + [j + n2 in n6]]
    %12: f32 = select %9, %10, %11
    %13: f32 = add %8, %12
    %14: bool = ge j, n6
    %15: f32 = load p0[i0*n1 + [j + n7 in n4]]
    %16: f32 = load p4[i0*n1 + [j in n6]]
    %17: f32 = select %14, %15, %16
    %18: f32 = add %13, %17
    store p5[i0*n1 + j] = %18
  }
}
""".replace(",\n       ", ", ")


@pytest.mark.parametrize(("mode", "bits"), [("vector", 0), ("python", 256), ("python", 512)])
@pytest.mark.parametrize("shape", [(1, 40), (2, 16), (3, 33), (9, 64), (5, 7), (4, 1)])
def test_the_middle_of_a_field_reads_what_its_ends_do(shape, bits, mode):
    """Rows and columns in the middle are read without masks; what they read is the same."""
    rows, columns = shape
    kernel = parse_kernel(ROUND)
    field = np.random.default_rng(0).normal(size=shape).astype("f4")
    actual, flat = np.zeros(shape, "f4"), field.ravel()
    starts = [flat, flat[(rows - 1) * columns :], flat[columns * (rows > 1) :], flat[columns - 1 :]]
    words = [rows, columns, -1, rows - 1, 1, 1 - rows, columns - 1, 1 - columns]
    source = source_for(kernel, mode, Machine(vector_bits=bits) if bits else None)
    call(source, [*starts, flat[columns > 1 :], actual], words, 0, rows, mode=mode)
    expected = np.roll(field, 1, 0) + np.roll(field, -1, 0)
    expected = expected + np.roll(field, 1, 1) + np.roll(field, -1, 1)
    assert actual.tobytes() == expected.tobytes()


def test_vectors_in_the_middle_have_no_masks():
    text = source_of(parse_kernel(ROUND), Machine(vector_bits=256)).text
    loop = text[text.rindex("for j") :]
    assert loop.count("load16(") == 4
    assert "mask" not in loop
    assert "select" not in loop
    assert "load(" not in loop


@pytest.mark.parametrize("bits", [256, 512])
@pytest.mark.parametrize("shape", [(1, 40), (3, 33), (9, 64)])
def test_a_padded_field_is_zero_beyond_its_ends(shape, bits):
    kernel = parse_kernel("""\
kernel(p0: in f32, p1: out f32; n0, n1, n2) over i0: n0 {
  map j: n1 {
    %0: f32 = load p0[[i0 + n2 in n0]*n1 + [j + n2 in n1]] else f32(0.0)
    store p1[i0*n1 + j] = %0
  }
}
""")
    rows, columns = shape
    field = np.random.default_rng(0).normal(size=shape).astype("f4")
    beyond = np.full(2 * columns, 9.0, "f4")  # what lies before the field
    memory, actual = np.concatenate([beyond, field.ravel(), beyond]), np.zeros(shape, "f4")
    for mode in ("vector", "python"):
        source = source_for(kernel, mode, Machine(vector_bits=bits) if mode == "python" else None)
        call(source, [memory[2 * columns :], actual], [rows, columns, -1], 0, rows, mode=mode)
        np.testing.assert_array_equal(actual[1:, 1:], field[:-1, :-1])
        assert not actual[0].any()
        assert not actual[:, 0].any()


def test_a_choice_between_operands_without_ends_is_one_loop():
    """Vectors of it need no masks, so no middle is written apart."""
    text = source_of(parse_kernel("""\
kernel(p0: in f32, p1: out f32; n0, n1) over i0: n0 {
  map j: n1 {
    %0: bool = lt j, i64(3)
    %1: f32 = load p0[i0*n1 + j]
    %2: f32 = select %0, %1, f32(0.0)
    store p1[i0*n1 + j] = %2
  }
}
"""), Machine(vector_bits=256)).text  # fmt: skip
    assert "for e" not in text


@pytest.mark.parametrize("columns", [64, 48, 50])
def test_what_follows_whole_vectors_of_a_product_has_no_mask(columns: int) -> None:
    """Panels have 32 columns, of which the last one of 48 has a vector."""
    rng = np.random.default_rng(5)
    sizes = {"x": (130, 300), "w": (300, columns), "y": (130, columns)}
    feeds = {name: rng.normal(size=shape).astype("f4") for name, shape in sizes.items()}
    x, w, y = (sg.input(name, shape) for name, shape in sizes.items())
    f = sg.compile(sg.tanh(x @ w) * y, threads=1)
    (text,) = [k for k in str(f.source).split("# k") if "matmul" in k]
    epilogue_text = text[
        text.rindex("shared_tiles") :
    ]  # the call of the tiles, and what follows it
    assert ("mask16(" in epilogue_text) == (columns % 16 > 0)
    assert "prefetch_write(" in text  # where results belong, and what they are multiplied with
    wide = {name: array.astype("f8") for name, array in feeds.items()}
    expected = np.tanh(wide["x"] @ wide["w"]) * wide["y"]
    np.testing.assert_allclose(f.run(feeds), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("filters", [110, 900])
def test_filters_of_small_images_are_prefetched_by_rows(filters: int) -> None:
    """Rows of a filter are far apart: each tile prefetches those of a later one, line by line.

    Half of L2 holds 0.5 MB of them, so nothing is prefetched, and not 4 MB.
    """
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=(1, 130, 3, 4)).astype("f4"), rng.normal(size=(filters, 130, 3, 3))
    image = sg.input("x", x.shape)
    weight = sg.parameter("w", w.astype("f4"))
    f = sg.compile(sg.nn.conv2d(image, weight, padding=1), threads=1)
    source = str(f.source)
    tile = source[source.index("_looked_far") :]
    tile = tile[: tile.index("\ndef ")]
    assert tile.count("if hop == 0:") == tile.count("prefetch(") > 0
    padded = np.pad(x.astype("f8"), [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.einsum("ncxyhw,ochw->noxy", windows, weight.value.astype("f8"))
    np.testing.assert_allclose(f.run({"x": x}), expected, rtol=1e-4, atol=1e-3)


def test_functions_that_differ_far_in_their_bodies_have_contents_of_their_own():
    """Kernels share a function by its content, so all of it counts."""

    def content(last: int) -> str:
        def write(b: Builder, p: Name, n: Name) -> None:
            with b.loop(0, n) as i:
                for number in range(200):
                    b.do("store1", p, Offset(((i, 1),), number), b.op("f32x1", 0))
                b.do("store1", p, Offset(((i, 1),), last), b.op("f32x1", 0))

        return function("shared_zeros", ("p", "n"), write).content

    assert content(200) == content(200) != content(201)
