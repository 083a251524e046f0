"""Kernels and their text: canonical, complete, read back, and what they are compared by."""

import math

import pytest
from hypothesis import given, strategies as st

from staticgrad.errors import ParseError
from staticgrad.ir.expr import Access, apply, index, literal, load, postorder, size
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Axis,
    Check,
    Map,
    Operand,
    Scalar,
    Store,
)
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.types.dtype import BOOL, F32, F64, I32, I64, U64
from tests.ir.kernel_samples import EVERYTHING, KERNELS


def same(left, right):
    """Equality of the data, apart from the text: statement by statement, DAG by DAG."""
    if (left.operands, left.arguments, left.axes, left.serial) != (
        right.operands,
        right.arguments,
        right.axes,
        right.serial,
    ):
        return False
    one, two = ([*postorder(kernel.expressions)] for kernel in (left, right))
    return len(one) == len(two) and all(
        (a.op, a.dtype, [one.index(x) for x in a.args])
        == (b.op, b.dtype, [two.index(x) for x in b.args])
        and repr(a.attribute) == repr(b.attribute)
        for a, b in zip(one, two, strict=True)
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
