"""The bytes that kernels may touch, against the places that their loops visit."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.analysis.barriers import barriers
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import VerifyError
from staticgrad.ir.kernels.bodies import accesses, reaches, stores_apart
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.schedule import Binding
from staticgrad.memory.planner import Planner
from tests.codegen.random_kernels import random_kernel
from tests.runtime.handmade import NEGATE, Builder, N


def visited(access, loops, values):
    """Every element at which an access lands, by running its loops."""

    def number(given):
        return given if isinstance(given, int) else values[given]

    found = set()
    for at in product(*(range(number(axis.extent)) for axis in loops)):
        where = dict(zip((axis.name for axis in loops), at, strict=True))
        element = sum(where[axis] * number(stride) for axis, stride in access.strides)
        inside = True
        for position in access.positions:
            place = number(position.start)
            place += sum(where[axis] * number(step) for axis, step in position.terms)
            inside &= position.extent is None or 0 <= place < number(position.extent)
            element += place * number(position.stride)
        if inside:
            found.add(element)
    return found


def check(kernel, arguments):
    """Positions with ends are passed over in steps: of those the ends alone are known."""
    values = dict(zip(kernel.arguments, arguments, strict=True))
    found = reaches(kernel, arguments)
    for operand, reach in zip(kernel.operands, found, strict=True):
        if reach is None:
            continue
        own = [(a, loops) for a, loops in accesses(kernel) if a.operand == operand.name]
        exact = not any(access.bounded for access, _ in own)
        places = set().union(*(visited(access, loops, values) for access, loops in own))
        size = operand.dtype.itemsize
        wanted = (min(places) * size, (max(places) + 1) * size) if places else (0, 0)
        if exact:
            assert reach == wanted, operand
        else:
            assert reach[0] <= wanted[0] <= wanted[1] <= reach[1] or not places, operand


@pytest.mark.parametrize("seed", range(60))
def test_random_kernels_reach_from_the_first_to_the_last_place(seed):
    kernel = random_kernel(seed)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        check(kernel, tuple(int(n) for n in rng.integers(0, 5, len(kernel.arguments))))


STRIDED = """\
kernel(p0: in f32, p1: out f32; n0, n1, n2) over i0: n0 {
  map j: n1 {
    %0: f32 = load p0[i0*n2 + j*-2]
    store p1[i0*n1 + j] = %0
  }
}
"""
WINDOW = """\
kernel(p0: in f32, p1: out f32; n0, n1) {
  map j: n0 {
    %0: f32 = load p0[[j*2 + -1 in n1]*3]
    store p1[j] = %0
  }
}
"""


def test_reversed_axes_and_positions_with_ends():
    strided, window = parse_kernel(STRIDED), parse_kernel(WINDOW)
    assert reaches(strided, (3, 4, 10)) == ((-24, 84), (0, 48))
    assert reaches(strided, (3, 4, -10)) == ((-104, 4), (0, 48))
    assert reaches(strided, (3, 0, 10)) == reaches(strided, (0, 3, 10)) == ((0, 0), (0, 0))
    assert reaches(window, (4, 5)) == ((0, 52), (0, 16))
    assert reaches(window, (4, 0)) == ((0, 0), (0, 16))
    for n in range(4):
        for m in (-3, 0, 2):
            check(strided, (n, 3, m))
            check(window, (n, abs(m)))


def halves(first, second):
    """-x and -z written to two places of one result of 2n elements, which a third step reads."""
    build = Builder()
    x, z = build.buffer("input", label="x"), build.buffer("input", label="z")
    joined, copied = build.buffer("temp", 2 * N), build.buffer("output", 2 * N, label="y")
    build.step(NEGATE, x, Binding(joined, first))
    build.step(NEGATE, z, Binding(joined, second))
    build.step(NEGATE, joined, copied, arguments=(2 * N,))
    return build.schedule(y=copied)


def test_pieces_of_one_buffer_need_no_barrier():
    """Two halves are written at the same time, pieces that overlap are not; their reader waits."""
    for first, second, wanted in ((0, N, (2,)), (N, 0, (2,)), (0, N - 1, (1, 2)), (1, 0, (1, 2))):
        made = Planner(halves(first, second), workers=2).plan({"n": 50})
        assert barriers(made) == wanted, (first, second)
        verify_plan(made)
    for second, text in ((N + 1, "bytes 204 to 404"), (-1, "bytes -4 to 196")):
        made = Planner(halves(0, second)).plan({"n": 50})
        with pytest.raises(VerifyError, match=f"step 1 touches {text} of 'b2', which has 400"):
            verify_plan(made)
        verify_plan(Planner(halves(0, second)).plan({"n": 0}))


def test_a_step_may_write_beside_what_it_reads():
    for begin, fits in ((N, True), (N - 1, False)):
        build = Builder()
        x, y = build.buffer("input", label="x"), build.buffer("output", 2 * N, label="y")
        build.step(NEGATE, x, y)
        build.step(NEGATE, y, Binding(y, begin))
        made = Planner(build.schedule(y=y)).plan({"n": 50})
        if fits:
            verify_plan(made)
        else:
            with pytest.raises(VerifyError, match="reads 'b1' while it writes it"):
                verify_plan(made)


ROWS = """kernel(p0: out f32, p1: out f32; n0, n1, n2) over i0: n0 {
  map j: n1 {
    store p0[i0*n2 + j] = f32(0.0)
    store p1[i0*n2 + j] = f32(1.0)
  }
}
"""


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
