"""Kernels and their text: canonical, complete, read back; the bytes that they may touch."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.analysis.barriers import barriers
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import ParseError, VerifyError
from staticgrad.language.ir.expr import (
    Access,
    Position,
    apply,
    factors,
    index,
    literal,
    load,
    postorder,
    size,
)
from staticgrad.language.ir.kernels.bodies import accesses, reaches, stores_apart
from staticgrad.language.ir.kernels.kernel import Kernel, number_of
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Check,
    Map,
    Operand,
    Scalar,
    Store,
)
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.language.ir.schedule import Binding
from staticgrad.language.types.dtype import BOOL, F32, F64, I32, I64, U64
from tests.codegen.random_kernels import random_kernel
from tests.ir.kernel_samples import EVERYTHING, KERNELS
from tests.runtime.handmade import NEGATE, Builder, N


def same(left, right):
    """Equality of the data, apart from the text: statement by statement, DAG by DAG."""
    if (left.operands, left.arguments, left.axes, left.serial) != (
        right.operands,
        right.arguments,
        right.axes,
        right.serial,
    ):
        return False
    left_nodes, right_nodes = ([*postorder(kernel.expressions)] for kernel in (left, right))
    return len(left_nodes) == len(right_nodes) and all(
        (a.op, a.dtype, [left_nodes.index(x) for x in a.args])
        == (b.op, b.dtype, [right_nodes.index(x) for x in b.args])
        and repr(a.attribute) == repr(b.attribute)
        for a, b in zip(left_nodes, right_nodes, strict=True)
    )


@pytest.mark.parametrize("text", KERNELS)
def test_canonical_text_is_a_fixed_point_and_sound(text):
    kernel = parse_kernel(text)
    assert str(kernel) == text
    assert parse_kernel(text) == kernel
    assert same(parse_kernel(str(kernel)), kernel)
    verify_kernel(kernel)


def test_a_text_is_read_as_what_it_says():
    kernel = parse_kernel(EVERYTHING)
    assert [o.mode for o in kernel.operands] == ["in"] * 3 + ["out"] * 2 + ["check", "inout"]
    assert kernel.arguments == ("n0", "n1", "n2", "n3")
    assert kernel.axes == (Axis("i0", "n0"), Axis("i1", 3))
    assert not kernel.serial
    row, end = kernel.stages
    assert isinstance(row, Map)
    assert isinstance(end, Scalar)
    check, store, total, largest = row.body
    assert isinstance(check, Check)
    assert (check.name, check.extent, check.operand, check.wrap) == ("c0", "n2", "p5", True)
    assert (check.index.op, check.index.dtype) == ("cast", I64)
    assert isinstance(store, Store)
    assert store.access == Access("p3", (("i0", "n3"), ("i1", "n1"), ("j", 1)))
    assert isinstance(total, Accumulate)
    assert total.value is store.value
    assert store.value.args[1].args[0].attribute == Access(
        "p0", (("i0", "n1"), ("i1", -1)), ("n3",)
    )
    assert isinstance(largest, Accumulate)
    assert math.isnan(float(largest.value.attribute))
    assert isinstance(end.body[1], Store)
    assert end.body[1].combine == "sum"


def chain(exprs, dtype=F32):
    """A kernel that stores each expression to p0, one after the other."""
    stores = tuple(Store(Access("p0", (("j", 1),)), e) for e in exprs)
    operands = (Operand("p0", exprs[0].dtype, "out"), Operand("p1", F32, "in"))
    return Kernel(operands, ("n0",), (), (Map(Axis("j", "n0"), stores),))


X = load(Access("p1", (("j", 1),)), F32)


@st.composite
def expressions(draw):
    """A random DAG over floats, integers and bools."""
    pool = [X, literal(0.5, F32), index("j"), size("n0"), literal(3, I64), X < 1]
    binary = ["add", "mul", "maximum", "lt", "eq", "pow", "and", "shl"]
    for _ in range(draw(st.integers(0, 20))):
        op = draw(st.sampled_from([*binary, "neg", "exp", "cast", "select"]))
        args = [draw(st.sampled_from(pool)) for _ in range({"select": 3}.get(op, 2))]
        if op == "cast":
            pool.append(args[0].cast(draw(st.sampled_from([F32, F64, I32, U64, BOOL]))))
            continue
        count = 1 if op in ("neg", "exp") else len(args)
        try:
            pool.append(apply(op, *args[:count]))
        except TypeError:
            continue
    return pool[-1]


@pytest.mark.slow
@given(expressions())
def test_random_expressions_read_back(expr):
    kernel = chain([expr])
    wrong_condition = any(e.op == "select" and e.args[0].dtype != BOOL for e in postorder([expr]))
    float_bits = any(e.op in ("and", "shl") and e.dtype in (F32, F64) for e in postorder([expr]))
    of_bools = any(
        e.op in ("shl", "add", "mul", "neg") and e.dtype is BOOL for e in postorder([expr])
    )
    if wrong_condition or float_bits or of_bools:
        with pytest.raises(ParseError):
            parse_kernel(str(kernel))
        return
    read = parse_kernel(str(kernel))
    assert str(read) == str(kernel)
    # Leaves without a line of their own are one object per text, others as they were.
    lines = [e for e in postorder(kernel.expressions) if e.op not in ("literal", "index", "size")]
    again = [e for e in postorder(read.expressions) if e.op not in ("literal", "index", "size")]
    assert [(e.op, e.dtype) for e in lines] == [(e.op, e.dtype) for e in again]


def visit_elements(access, loops, values):
    """Every element at which an access lands, by running its loops."""

    def number(size):
        return size if isinstance(size, int) else values[size]

    elements = set()
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
            elements.add(element)
    return elements


def check(kernel, arguments):
    """Positions with ends are passed over in steps: of those the ends alone are known."""
    values = dict(zip(kernel.arguments, arguments, strict=True))
    all_reaches = reaches(kernel, arguments)
    for operand, reach in zip(kernel.operands, all_reaches, strict=True):
        if reach is None:
            continue
        operand_accesses = [
            (a, loops) for a, loops in accesses(kernel) if a.operand == operand.name
        ]
        exact = not any(access.bounded_positions for access, _ in operand_accesses)
        places = set().union(
            *(visit_elements(access, loops, values) for access, loops in operand_accesses)
        )
        size = operand.dtype.itemsize
        expected = (min(places) * size, (max(places) + 1) * size) if places else (0, 0)
        if exact:
            assert reach == expected, operand
        else:
            assert reach[0] <= expected[0] <= expected[1] <= reach[1] or not places, operand


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
    for first, second, expected in ((0, N, (2,)), (N, 0, (2,)), (0, N - 1, (1, 2)), (1, 0, (1, 2))):
        plan = Planner(halves(first, second), workers=2).plan({"n": 50})
        assert barriers(plan) == expected, (first, second)
        verify_plan(plan)
    for second, text in ((N + 1, "bytes 204 to 404"), (-1, "bytes -4 to 196")):
        plan = Planner(halves(0, second)).plan({"n": 50})
        with pytest.raises(VerifyError, match=f"step 1 touches {text} of 'b2', which has 400"):
            verify_plan(plan)
        verify_plan(Planner(halves(0, second)).plan({"n": 0}))


ROWS = """kernel(p0: out f32, p1: out f32; n0, n1, n2) over i0: n0 {
  map j: n1 {
    store p0[i0*n2 + j] = f32(0.0)
    store p1[i0*n2 + j] = f32(1.0)
  }
}
"""


def message_of_stores(rows, length, stride, offsets):
    """Return the message about two stores to rows of a matrix."""
    kernel = parse_kernel(ROWS)
    return stores_apart(kernel, (rows, length, stride), ("p0", "p1"), offsets)


def test_a_stride_of_a_step_and_a_stride_is_their_product():
    """Along i and j, element (2 * i + n0 * j) * n1, and along k one of 5: every stride by hand."""
    rows = Position((("i", 2), ("j", "n0")), 1, "n1")
    access = Access("p", (("k", 5),), (), (rows, Position((("m", 3),), 0, 4)))
    strides = [access.stride(axis) for axis in "ijkmx"]
    assert strides == [(2, "n1"), ("n0", "n1"), 5, 12, 0]
    assert [number_of(stride, {"n0": 7, "n1": 11}) for stride in strides] == [22, 77, 5, 12, 0]
    assert [factors(stride) for stride in strides[:3]] == [(2, "n1"), ("n0", "n1"), (5,)]
