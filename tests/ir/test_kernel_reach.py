"""The bytes that kernels may touch, against the places that their loops visit."""

from itertools import product

import numpy as np
import pytest

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
