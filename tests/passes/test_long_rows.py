"""Few long rows are reduced in pieces, which workers share; the bytes are those of whole rows."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import VerifyError
from staticgrad.fusion.merging import LONG_ROW, PIECE, fused
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.ir.summation import BLOCK, block_sum, lane_sum
from tests.diagonals import diagonals

LENGTH = sg.dim("length", hint=LONG_ROW)


def kinds(graph: sg.Graph) -> list[tuple[int, int]]:
    """Of each group: the elements of its pieces, and its reductions."""
    return [(each.pieces, len(each.reductions)) for each in fused(pipeline("O1")(graph)).all]


def tangents(x: sg.Value) -> sg.Value:
    return functools.reduce(operator.add, [sg.tanh(k * x) for k in range(1, 7)])


def test_a_long_row_is_two_kernels_with_all_that_it_computes_beside() -> None:
    x = sg.input("x", (LONG_ROW,))
    value = tangents(x)
    assert kinds(sg.Graph(value.sum())) == [(PIECE, 1), (0, 1)]
    both = kinds(sg.Graph(value.sum() + value.max()))
    assert sorted(both) == [(0, 0), (0, 2), (PIECE, 2)]
    f = sg.compile(sg.Graph({"value": value.sum(), "slope": sg.grad(value.sum(), x)}))
    assert [str(step.total) for step in f.schedule.steps] == [str(LONG_ROW // PIECE), "1"]
    assert f.plan().peak_bytes <= 4 * LONG_ROW // PIECE + 64


@pytest.mark.parametrize("shape", [(LONG_ROW - 1,), (8, LONG_ROW), (LONG_ROW, 3)], ids=str)
def test_other_rows_are_taken_whole(shape: tuple[int, ...]) -> None:
    """Short ones, and enough of them for everybody."""
    x = sg.input("x", shape)
    assert all(pieces == 0 for pieces, _ in kinds(sg.Graph(sg.exp(x).sum(len(shape) - 1))))


FORMS = {
    "a sum with its terms": lambda x: {"s": (x * x).sum(), "terms": x * x},
    "several of one row": lambda x: {"s": x.sum(), "m": x.max(), "l": (x + x).min()},
    "a mean and its slope": lambda x: {"v": (v := (x * x).mean()), "d": sg.grad(v, x)},
    "every third element": lambda x: {"s": x[::3].sum(), "back": x[::-1].max()},
}


@pytest.mark.thinned(3)
@diagonals(2, ("form", FORMS), ("dtype", ["float32", "float64", "float16"]))
def test_pieces_have_the_bytes_of_the_evaluator(form: str, dtype: str) -> None:
    x = sg.input("x", (LENGTH,), dtype)
    graph = sg.Graph(FORMS[form](x))
    f, unfused = sg.compile(graph), sg.compile(graph, fuse=False)
    for length in (1, 15, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 4097):
        array = np.random.default_rng(length).normal(size=length).astype(dtype)
        array[array > 2] = -0.0
        wanted, found = sg.evaluate(graph, {"x": array}), f.run({"x": array})
        assert all(same_bytes(found[name], each) for name, each in wanted.items()), length
        assert all(same_bytes(unfused.run({"x": array})[n], found[n]) for n in found)


@pytest.mark.parametrize("rows", [1, 3])
def test_few_rows_over_all_axes(rows: int) -> None:
    """The sum of their sums is that of a row again; integers wrap."""
    x, k = sg.input("x", (rows, LENGTH)), sg.input("k", (rows, LENGTH), "int32")
    graph = sg.Graph({"all": (x * x).sum(), "rows": x.T.sum(0), "k": k.sum(1), "m": k.max()})
    f = sg.compile(graph)
    for length in (1, 3 * PIECE + 17):
        random = np.random.default_rng(length)
        feeds = {
            "x": random.normal(size=(rows, length)).astype("f4"),
            "k": random.integers(-(2**31), 2**31, (rows, length)).astype("i4"),
        }
        wanted, found = sg.evaluate(graph, feeds), f.run(feeds)
        assert all(same_bytes(found[name], each) for name, each in wanted.items())


def test_a_sum_of_no_elements_is_zero() -> None:
    x = sg.input("x", (LENGTH,))
    found = sg.compile(sg.Graph(x.sum())).run({"x": np.zeros(0, "f4")})["output"]
    assert same_bytes(found, np.zeros((), "f4"))


@given(st.integers(1, 40), st.integers(1, 4 * BLOCK), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_sums_of_pieces_add_up_to_that_of_the_row(pieces: int, rest: int, doublings: int) -> None:
    """By the counter rule, where each piece but the last is a power of two of blocks."""
    piece = BLOCK << doublings
    row = np.random.default_rng(pieces).normal(size=(pieces - 1) * piece + min(rest, piece))
    row = row.astype("f4")
    parts = [lane_sum(row[k : k + piece]) for k in range(0, row.size, piece)]
    assert same_bytes(block_sum(np.array(parts)), lane_sum(row))


BLOCKS = """kernel(p0: in {dtype}, p1: out {dtype}; n0) {{
  map j: n0 {{
    %0: {dtype} = load p0[j]
    @r0: {dtype} = {kind} of blocks %0
  }}
  scalar {{
    store p1[0] = @r0
  }}
}}
"""


def test_only_the_order_of_a_sum_of_floats_is_of_blocks() -> None:
    text = BLOCKS.format(dtype="f32", kind="sum")
    kernel = parse_kernel(text)
    verify_kernel(kernel)
    assert str(kernel) == text.strip() or str(kernel) == text
    assert kernel != parse_kernel(text.replace(" of blocks", ""))
    for dtype, kind in (("f32", "max"), ("i32", "sum")):
        with pytest.raises(VerifyError, match="no order of blocks"):
            verify_kernel(parse_kernel(BLOCKS.format(dtype=dtype, kind=kind)))


def test_bytes_do_not_depend_on_workers() -> None:
    x = sg.input("x", (4 * LONG_ROW,))
    graph = sg.Graph({"value": tangents(x).sum(), "slope": sg.grad(tangents(x).sum(), x)})
    feeds = {"x": np.random.default_rng(0).normal(size=4 * LONG_ROW).astype("f4")}
    found: list[dict[str, Any]] = [sg.compile(graph, threads=n).run(feeds) for n in (1, 2, 3)]
    assert all(same_bytes(one[n], found[0][n]) for one in found for n in one)
