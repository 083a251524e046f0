"""Kernels and their text: canonical, complete, read back, and what they are compared by."""

import math
import struct
from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad.errors import ParseError
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, apply, index, literal, load, not_met, postorder, size
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.parser import parse_kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Axis,
    Check,
    Columns,
    Gemm,
    Map,
    Operand,
    Scalar,
    Search,
    Sort,
    Store,
)
from staticgrad.ir.kernels.text import kernel_lines
from staticgrad.ir.kernels.verify import verify_kernel
from staticgrad.types.dtype import ALL_DTYPES, BOOL, F32, F64, I32, I64, U64
from tests.codegen.random_kernels import random_kernel
from tests.codegen.test_changed_kernels import changed
from tests.ir.kernel_samples import COLUMNS, EVERYTHING, GEMM, KERNELS, SCATTER, SEARCH, SORT


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


def test_stages_are_read_as_what_they_are():
    (columns,) = parse_kernel(COLUMNS).stages
    assert isinstance(columns, Columns)
    assert columns.rows == (Axis("i0", "n1"), Axis("i1", "n2"))
    assert [a.kind for a in columns.body] == ["sum", "min"]
    assert columns.body[0].value is columns.body[1].value
    assert not columns.in_lanes
    (across,) = parse_kernel(COLUMNS.replace("rows i0", "lanes i0").replace("min", "sum")).stages
    assert isinstance(across, Columns)
    assert across.in_lanes
    (gemm,) = parse_kernel(GEMM).stages
    assert isinstance(gemm, Gemm)
    assert (gemm.i, gemm.j, gemm.k) == ((Axis("i", "n1"),), (Axis("j", "n2"),), (Axis("k", "n3"),))
    assert gemm.a == Access("p0", (("i0", "n3"), ("i", "n3"), ("k", 0)))
    assert gemm.b == Access("p1", (("k", 1), ("j", "n3")))
    (sort,) = parse_kernel(SORT).stages
    assert isinstance(sort, Sort)
    assert (sort.axis, sort.kept) == (Axis("j", "n1"), Axis("j", "n2"))
    assert (sort.order.name, sort.order.scratch, sort.order.key.op) == ("at", "p1", "bitcast")
    assert not sort.whole
    left, right, _ = parse_kernel(SEARCH).stages[0].body
    assert left == Search("c0", left.value, "p0", 1, "n1", right=False)
    assert right == Search("c1", left.value, "p0", -1, 3, right=True)
    scatter = parse_kernel(SCATTER)
    assert scatter.serial
    assert not scatter.stages[0].body[0].wrap


def chain(exprs, dtype=F32):
    """A kernel that stores each expression to p0, one after the other."""
    stores = tuple(Store(Access("p0", (("j", 1),)), e) for e in exprs)
    operands = (Operand("p0", exprs[0].dtype, "out"), Operand("p1", F32, "in"))
    return Kernel(operands, ("n0",), (), (Map(Axis("j", "n0"), stores),))


X = load(Access("p1", (("j", 1),)), F32)


def test_sharing_survives_and_is_part_of_the_text():
    square = X * X
    shared = chain([square + square])
    twice = chain([X * X + X * X])
    assert shared != twice
    read = parse_kernel(str(shared)).expressions[0]
    assert read.args[0] is read.args[1]
    assert read.args[0].args[0] is read.args[0].args[1]
    again = parse_kernel(str(twice)).expressions[0]
    assert again.args[0] is not again.args[1]
    assert same(parse_kernel(str(twice)), twice)


def test_stages_share_nothing():
    total = X + 1
    one = Map(Axis("j", "n0"), (Store(Access("p0", (("j", 1),)), total),))
    kernel = Kernel(chain([X]).operands, ("n0",), (), (one, one))
    assert str(kernel).count("= add") == 2
    first, second = parse_kernel(str(kernel)).expressions
    assert first is not second
    assert "%3: f32 = add %2, f32(1.0)" in str(kernel)
    total = X + 1
    lines = str(chain([total * 2, total * 3])).splitlines()[2:-2]
    assert [line.split()[0] for line in lines] == ["%0:", "%1:", "%2:", "store", "%3:", "store"]


def test_equal_texts_are_one_kernel():
    one, two, other = parse_kernel(GEMM), parse_kernel(GEMM), parse_kernel(COLUMNS)
    assert one is not two
    assert one == two
    assert hash(one) == hash(two)
    assert len({one, two, other}) == 2
    assert one != GEMM
    assert one.text == GEMM
    named = GEMM.replace("kernel(", "kernel k7(")
    assert parse_kernel(named) == parse_kernel(GEMM)
    assert "\n".join(kernel_lines(parse_kernel(GEMM), "k7")) + "\n" == named
    loose = GEMM.replace("\n", "  # a remark\n\n").replace("*", " * ").replace(":", " :")
    assert str(parse_kernel(loose.replace("\n", "\r\n"))) == GEMM


def test_names_that_are_no_identifiers_are_quoted():
    kernel = Kernel(
        (Operand("f32", F32, "in"), Operand("a b", F32, "out")),
        ("bool",),
        (),
        (Map(Axis("ä", "bool"), (Store(Access("a b", (("ä", 1),)), load(Access("f32"), F32)),)),),
    )
    assert '"ä": "bool"' in str(kernel)
    assert str(parse_kernel(str(kernel))) == str(kernel)


def numbers(dtype):
    if dtype in (F32, F64):
        return st.floats(width=32 if dtype is F32 else 64)
    if dtype is BOOL:
        return st.booleans()
    bits, signed = dtype.bits, dtype.kind == "i"
    low = -(2 ** (bits - 1)) if signed else 0
    return st.integers(low, low + 2**bits - 1)


@given(data=st.data())
def test_literals_read_back_to_the_same_bits(data):
    dtype = data.draw(st.sampled_from(ALL_DTYPES))
    value = data.draw(numbers(dtype))
    expr = literal(value, dtype)
    read = parse_kernel(str(chain([expr]))).expressions[0]
    assert (read.op, read.dtype, type(read.attribute)) == ("literal", dtype, type(expr.attribute))
    if isinstance(expr.attribute, float) and not math.isnan(expr.attribute):
        assert struct.pack("d", read.attribute) == struct.pack("d", expr.attribute)
    else:
        assert repr(read.attribute) == repr(expr.attribute)


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


@pytest.mark.slow
def test_a_long_kernel_needs_no_recursion():
    expr = X
    for _ in range(5_000):
        expr = expr + 1.0
    kernel = chain([expr])
    read = parse_kernel(str(kernel))
    assert str(read) == str(kernel)
    verify_kernel(read)


def test_walks_that_share_what_they_met_give_each_expression_once():
    chain = [load(Access("p", (("j", 1),)), F32)]
    for _ in range(200):
        chain.append(apply("mul", chain[-1], chain[0]))
    met = set()
    walks = [[*not_met([expr], met)] for expr in chain]
    assert [expr for walk in walks for expr in walk] == chain
    assert [*postorder([chain[-1]], met)] == []
    assert [*postorder([chain[-1]])] == chain


def kernel_of(value, *others):
    names = [f"p{n + 1}" for n in range(1 + len(others))]
    operands = (Operand("p0", F32, "in"), *(Operand(name, F32, "out") for name in names))
    body = tuple(
        Store(Access(name, (("j", 1),)), each)
        for name, each in zip(names, (value, *others), strict=True)
    )
    return Kernel(operands, ("n0",), (), (Map(Axis("j", "n0"), body),))


@pytest.mark.slow
def test_kernels_are_equal_where_their_texts_are():
    by_text = defaultdict(list)
    for seed in range(60):
        random, text = Random(seed), str(random_kernel(seed))
        for written in (text, *(changed(text, random) for _ in range(8))):
            try:
                kernel = parse_kernel(written)
            except ParseError:
                continue
            by_text[str(kernel)] += [kernel, parse_kernel(str(kernel))]
        by_text[text].append(random_kernel(seed))
    assert len(by_text) > 65
    for kernels in by_text.values():
        assert len(set(kernels)) == 1
    assert len({kernels[0] for kernels in by_text.values()}) == len(by_text)


def test_zeros_by_their_sign_and_nan_by_its_name():
    values = [0.0, -0.0, float("nan"), float("inf"), 1.0]
    kernels = [kernel_of(ex.literal(value, F32)) for value in values]
    assert all(a != b for a, b in combinations(kernels, 2))
    again = float(np.array([0x7FF8000000000001], "u8").view("f8")[0])  # NaN with other bits
    assert kernel_of(ex.literal(again, F32)) == kernels[2]


def test_what_is_shared_is_not_what_is_computed_twice():
    load = ex.load(Access("p0", (("j", 1),)), F32)
    again = ex.load(Access("p0", (("j", 1),)), F32)
    shared, twice = kernel_of(load.exp(), load.exp()), kernel_of(load.exp(), again.exp())
    assert shared != twice
    assert str(shared) != str(twice)
    value = load.exp()
    assert kernel_of(value, value) != shared
    literals = [ex.literal(2.0, F32), ex.literal(2.0, F32)]  # a leaf has no line of its own
    assert kernel_of(load * literals[0], load * literals[0]) == kernel_of(
        load * literals[0], load * literals[1]
    )


def test_every_field_counts():
    kernel = random_kernel(3)
    others = [
        replace(kernel, serial=not kernel.serial),
        replace(kernel, arguments=(*kernel.arguments, "n99")),
        replace(kernel, axes=(*kernel.axes, Axis("i9", 3))),
        replace(kernel, stages=(*kernel.stages, *kernel.stages)),
        replace(kernel, operands=kernel.operands[:-1]),
    ]
    assert all(other != kernel and str(other) != str(kernel) for other in others)
    assert replace(kernel) == kernel
    assert hash(replace(kernel)) == hash(kernel)


def test_a_shared_expression_is_walked_once():
    """Thirty squarings of squarings: a walk along paths would take a thousand million steps."""
    value = ex.load(Access("p0", (("j", 1),)), F32)
    for _ in range(30):
        value = value * value
    assert kernel_of(value, value) == kernel_of(value, value)
