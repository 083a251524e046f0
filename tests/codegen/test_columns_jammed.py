"""Columns whose sums are in registers together: the bits of the rule, in every reader."""

from __future__ import annotations

import numpy as np
import pytest

from staticgrad.codegen.kernel_source import render
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.ir.summation import column_sum, lane_sum
from staticgrad.native.machine import Machine
from tests.codegen.kernel_runs import run
from tests.diagonals import diagonals
from tests.native.support import MODES, Mode, assert_same

TEXT = """\
kernel(p0: in f32, p1: out f32; n0, n1) {
  columns j: n0 {
    rows i0: n1 {
      %0: f32 = load p0[i0*n0 + j]
      %1: f32 = mul %0, %0
      @r0: f32 = sum %1
    }
    store p1[j] = @r0
  }
}
"""


def test_the_example_is_a_kernel() -> None:
    kernel = parse_kernel(TEXT)
    verify_kernel(kernel)
    assert str(kernel) == TEXT


@pytest.mark.thinned(3)
@diagonals(
    2,
    ("sizes", [(300, 70), (128, 1), (47, 1100), (33, 0), (0, 3)]),
    ("kind", ["sum", "max"]),
    ("mode", MODES),
    daily="vector",
)
def test_columns_have_the_bits_of_their_rule(sizes: tuple[int, int], kind: str, mode: Mode) -> None:
    columns, rows = sizes
    rng = np.random.default_rng(7)
    x = rng.normal(size=(rows, columns)).astype("float32")
    squares = x * x
    if kind == "sum":
        wanted = column_sum(np.ascontiguousarray(squares.T))
    else:
        empty = COMBINERS["max"].identity(parse_kernel(TEXT).operands[0].dtype)
        wanted = np.max(squares, axis=0, initial=empty)
    kernel = parse_kernel(TEXT.replace("= sum", f"= {kind}"))
    given = {"p0": x, "p1": np.empty(columns, "float32")}
    assert_same(run(kernel, sizes, mode, given)["p1"], wanted.astype("float32"), kind)


@pytest.mark.parametrize("mode", MODES)
def test_columns_of_what_only_rows_differ_in(mode: Mode) -> None:
    rows, columns = 5, 150
    kernel = parse_kernel(TEXT.replace("load p0[i0*n0 + j]", "load p0[i0]"))
    x = np.linspace(1, 2, rows, dtype="float32")
    found = run(kernel, (columns, rows), mode, {"p0": x, "p1": np.empty(columns, "float32")})
    np.testing.assert_array_equal(found["p1"], np.full(columns, column_sum(x * x)))


def _multiples(count: int) -> str:
    """Sums of x, 2 x, 3 x ...; the second is not a sum, but the largest."""
    outs = "".join(f"p{n + 1}: out f32, " for n in range(count))[:-2]
    lines = ["      %0: f32 = load p0[i0*n0 + j]"]
    for n in range(count):
        lines += [f"      %{n}: f32 = add %{n - 1}, %0"] if n else []
        lines.append(f"      @r{n}: f32 = {'max' if n == 1 else 'sum'} %{n}")
    stores = "".join(f"    store p{n + 1}[j] = @r{n}\n" for n in range(count))
    rows = "\n".join(lines)
    return (
        f"kernel(p0: in f32, {outs}; n0, n1) {{\n  columns j: n0 {{\n    rows i0: n1 {{\n"
        f"{rows}\n    }}\n{stores}  }}\n}}\n"
    )


@diagonals(
    2, ("columns,rows", [(47, 1100), (33, 0)]), ("mode", ["vector", "python"]), daily="vector"
)
def test_sums_that_go_through_the_rows_together(columns: int, rows: int, mode: Mode) -> None:
    """More of them than registers hold: in two passes, and the largest elements in one more."""
    count = 14
    kernel = parse_kernel(_multiples(count))
    verify_kernel(kernel)
    x = np.random.default_rng(7).normal(size=(rows, columns)).astype("float32")
    outs = {f"p{n + 1}": np.empty(columns, "float32") for n in range(count)}
    found = run(kernel, (columns, rows), mode, {"p0": x, **outs})
    value = x
    for n in range(count):
        wanted = column_sum(np.ascontiguousarray(value.T))
        if n == 1:
            wanted = np.max(value, axis=0, initial=-np.inf)
        assert_same(found[f"p{n + 1}"], wanted.astype("float32"), f"{n + 1} x")
        value = value + x
    passes = [
        render(kernel, Machine(vector_bits=bits)).count("for first in range(0, rows, group)")
        for bits in (512, 256)
    ]
    assert passes == [2, 3]


FRAMED = """\
kernel(p0: in f32, p1: in f32, p2: out f32; n0, n1, n2) {
  columns j: n0 {
    lanes i0: n1 {
      %0: f32 = load p0[i0*n0 + j]
      %1: f32 = load p1[[i0 + -1 in n2]]
      %2: f32 = mul %0, %1
      @r0: f32 = sum %2
    }
    store p2[j] = @r0
  }
}
"""


@pytest.mark.parametrize("mode", MODES)
def test_rows_of_a_lane_have_ends_of_their_own(mode: Mode) -> None:
    """What differs between rows alone ends where its own row does, not where the first one does."""
    columns, rows = 32, 150
    kernel = parse_kernel(FRAMED)
    verify_kernel(kernel)
    rng = np.random.default_rng(7)
    x, y = (rng.normal(size=shape).astype("float32") for shape in ((rows, columns), rows - 30))
    framed = np.zeros(rows, "float32")
    framed[1 : rows - 29] = y
    outs = {"p2": np.empty(columns, "float32")}
    found = run(kernel, (columns, rows, rows - 30), mode, {"p0": x, "p1": y, **outs})
    wanted = lane_sum(np.ascontiguousarray((x * framed[:, None]).T))
    assert_same(found["p2"], wanted.astype("float32"), "ends")
