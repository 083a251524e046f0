"""Stores of one kernel to several places of a buffer: what is said to lie apart never meets."""

import pytest
from hypothesis import given, strategies as st

from staticgrad.ir.kernels.bodies import stores_apart
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.types.dim import dim

ROWS = """kernel(p0: out f32, p1: out f32; n0, n1, n2) over i0: n0 {
  map j: n1 {
    store p0[i0*n2 + j] = f32(0.0)
    store p1[i0*n2 + j] = f32(1.0)
  }
}
"""
N = dim("n")


def said(rows, length, stride, offsets):
    """What is said of two stores to rows of a matrix."""
    kernel = parse_kernel(ROWS)
    return stores_apart(kernel, (rows, length, stride), ("p0", "p1"), offsets)


def elements(rows, length, stride, offset):
    return {offset + i * stride + j for i in range(rows) for j in range(length)}


@given(st.integers(0, 4), st.integers(0, 5), st.integers(2, 12), st.integers(0, 30))
def test_what_lies_apart_never_meets(rows, length, stride, offset):
    one, other = (elements(rows, length, stride, at) for at in (0, offset))
    if said(rows, length, stride, (0, offset)):
        assert one.isdisjoint(other)
    elif offset >= length and offset + length <= stride and length:
        raise AssertionError("columns side by side")


@pytest.mark.parametrize(
    ("length", "stride", "offsets", "apart"),
    [
        (N, 2 * N, (0, N), True),
        (N, 2 * N, (N, 0), True),
        (N + 1, 2 * N, (0, N), False),
        (N, N, (0, 5 * N), True),
        (N, N, (0, 2 * N), False),
        (8, 32, (0, 24), True),
        (8, 32, (0, 25), False),
    ],
)
def test_named_sizes(length, stride, offsets, apart):
    assert said(5, length, stride, offsets) is apart


def test_stores_that_move_in_another_way_are_not_told_apart():
    kernel = parse_kernel(ROWS.replace("store p1[i0*n2 + j]", "store p1[i0 + j*n2]"))
    assert not stores_apart(kernel, (2, 2, 9), ("p0", "p1"), (0, 100))


@pytest.mark.parametrize(("rows", "length"), [(0, 3), (4, 0)])
def test_where_nothing_is_stored_nothing_meets(rows, length):
    assert said(rows, length, 9, (0, 0))
    text = ROWS.replace(
        "store p1[i0*n2 + j]", "store p0[i0*n2 + j] = f32(2.0)\n    store p1[i0*n2 + j]"
    )
    assert stores_apart(parse_kernel(text), (rows, length, 9), ("p0", "p1"), (0, 0))
