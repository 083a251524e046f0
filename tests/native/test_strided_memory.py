"""Lanes a short stride apart are picked from whole vectors, which touch nothing beyond them."""

from contextlib import closing

import numpy as np
import pytest

from staticgrad.native.language import frontend
from staticgrad.native.language.kinds import ELEMENTS, LANES
from tests.diagonals import diagonals
from tests.native.support import assert_same, call
from tests.native.test_masks import Guarded

STRIDES = (1, 2, 3, 4, -1, -2, -3, -4)


def moves(name, lanes, stride, head):
    """A kernel that moves the lanes of a mask from places of p to the same places of r, and to q.

    ``head`` makes the mask m and the first lane's place.
    """
    return f"""
def kernel(t, own, begin, end):
    p = ptr_{name}(t[0])
    q = ptr_{name}(t[1])
    r = ptr_{name}(t[2])
    b = ptr_b8(t[3])
    for o in range(begin, end):
{head}
        v = load_strided(p, first, {stride}, m)
        store{lanes}(q, o * {lanes}, v)
        store_strided(r, first, {stride}, v, m)
"""


@pytest.mark.thinned
@diagonals(
    2, ("mode", ["vector", "python"]), ("name", ["b8", "i16", "f16", "f32", "f64"]), daily="vector"
)
def test_lanes_of_any_mask_come_and_go(name, mode):
    check(name, LANES[1:], mode)


@pytest.mark.slow
def test_numba_moves_the_same():
    check("f32", (16,), "numba")


def check(name, widths, mode):
    random = np.random.default_rng(5)
    dtype = ELEMENTS[name].numpy
    for lanes in widths:
        on = random.random((6, lanes)) < 0.6
        on[0], on[1] = True, False
        for stride in STRIDES:
            span = abs(stride) * (lanes - 1) + 1
            first = 0 if stride > 0 else span - 1
            head = f"        first = {first}\n        m = mask_of(load{lanes}(b, o * {lanes}))"
            source = moves(name, lanes, stride, head)
            memory = random.integers(1, 2 if name == "b8" else 100, span).astype(dtype)
            for row, bits in enumerate(on):
                found, target = np.zeros((6, lanes), dtype), np.zeros(span, dtype)
                call(source, [memory, found, target, on], [], row, row + 1, mode=mode)
                places = first + stride * np.arange(lanes)
                wanted = np.where(bits, memory[places], dtype.type(0)).astype(dtype)
                assert_same(found[row], wanted, f"{name}x{lanes} by {stride}, {bits}")
                there = np.zeros(span, dtype)
                there[places[bits]] = memory[places[bits]]
                assert_same(target, there, f"{name}x{lanes} by {stride}, {bits}")


@pytest.mark.thinned(4)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("name", ["i8", "f32", "f64"])
def test_nothing_is_read_or_written_beyond_the_lanes(name, stride):
    with closing(Guarded()) as read, closing(Guarded()) as written:
        check_ends(name, stride, (read, written))


def check_ends(name, stride, fences):
    dtype, lanes = ELEMENTS[name].numpy, 8
    head = f"        m = mask{lanes}(t[4])\n        first = t[5]"
    source = moves(name, lanes, stride, head)
    for count in (1, 2, 5, 8):
        span = abs(stride) * (count - 1) + 1
        first = 0 if stride > 0 else span - 1
        for place in ("at_start", "at_end"):
            memory, target = (getattr(fence, place)(dtype, span) for fence in fences)
            memory[:] = np.arange(1, span + 1)
            target[:] = 0
            found = np.zeros(lanes, dtype)
            on = np.ones(lanes, "b1")
            call(source, [memory, found, target, on], [count, first], 0, 1)
            wanted = np.zeros(lanes, dtype)
            wanted[:count] = memory[::stride]
            assert_same(found, wanted, f"{count} lanes by {stride}")
            assert_same(target[::stride], memory[::stride], f"{count} lanes by {stride}")


def test_short_literal_strides_gather_and_scatter_nothing():
    head = "        first = 0\n        m = mask16(16)"
    for stride, scattered in ((2, False), (-4, False), (5, True)):
        text = frontend.module_text(moves("f32", 16, stride, head), "k")
        assert ("masked.gather" in text) is scattered
        assert ("masked.scatter" in text) is scattered
