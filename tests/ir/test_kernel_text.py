"""The text of kernels: canonical, complete, what they are compared by, and read back."""

import math
import struct
from functools import partial

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.errors import ParseError
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
from tests.cases import check_all
from tests.ir.mistakes import check_damaged, check_mistake

EVERYTHING = """\
kernel(p0: in f32, p1: in i32, p2: in f32, p3: out f32, p4: out f32, p5: check i64, p6: inout f64; \
n0, n1, n2, n3) over i0: n0, i1: 3 {
  map j: n1 {
    %0: i32 = load p1[j]
    %1: i64 = cast %0
    @c0: i64 = check %1 in n2 wrap at j to p5
    %2: f32 = load p0[i0*n1 + i1*-1 + @c0*n3]
    %3: f32 = load p2[0]
    %4: f32 = fma %2, %3, f32(-0.0)
    %5: bool = lt %4, f32(inf)
    %6: f32 = select %5, %4, %2
    store p3[i0*n3 + i1*n1 + j] = %6
    @r0: f32 = sum %6
    @r1: f32 = max f32(nan)
  }
  scalar {
    %7: i64 = mul i0, n1
    %8: f32 = cast %7
    %9: f32 = add @r0, %8
    %10: f32 = div %9, @r1
    store p4[i0*3 + i1] = %10
    store p6[i0*3 + i1] += f64(0.1)
  }
}
"""
COLUMNS = """\
kernel(p0: in f64, p1: out f64; n0, n1, n2) {
  columns j: n0 {
    rows i0: n1, i1: n2 {
      %0: f64 = load p0[i0*n2 + i1*n0 + j]
      @r0: f64 = sum %0
      @r1: f64 = min %0
    }
    %1: f64 = sub @r0, @r1
    store p1[j] = %1
  }
}
"""
GEMM = """\
kernel(p0: in f32, p1: in f32, p2: in f32, p3: out f32; \
n0, n1, n2, n3) over i0: n0 {
  gemm i: n1, j: n2, k: n3 {
    @acc: f32 = sum p0[i0*n3 + i*n3 + k*0] * p1[k + j*n3]
    %0: f32 = load p2[j]
    %1: f32 = add @acc, %0
    %2: f32 = maximum %1, f32(0.0)
    store p3[i0*n1 + i*n2 + j] = %2
  }
}
"""
SCATTER = """\
serial kernel(p0: in i64, p1: inout u8, p2: check i64; n0) over i0: n0 {
  map j: 1 {
    %0: i64 = load p0[i0]
    @c0: i64 = check %0 in n0 at i0 to p2
    store p1[@c0] += u8(1)
  }
}
"""
INDICES = """\
kernel(p0: in f32, p1: out f32; n0) {
  map j: n0 {
    %0: i64 = add j, i64(-1)
    %1: f32 = load p0[%0*n0 + (j) + i64(3)*2 + (n0)*4]
    store p1[j] = %1
  }
}
"""
SORT = """\
kernel(p0: in f32, p1: scratch i64, p2: out f32, p3: out i64; n0, n1, n2) over i0: n0 {
  sort {
    keys j: n1 {
      %0: f32 = load p0[i0*n1 + j]
      %1: i32 = bitcast %0
      @at: i64 = order %1 in p1
    }
    kept j: n2 {
      store p3[i0*n2 + j] = @at
      %2: f32 = load p0[i0*n1 + @at]
      store p2[i0*n2 + j] = %2
    }
  }
}
"""
SEARCH = """\
kernel(p0: in f64, p1: in f64, p2: out i64; n0, n1) {
  map j: n0 {
    %0: f64 = load p1[j]
    @c0: i64 = search left %0 in p0 step 1 of n1
    @c1: i64 = search right %0 in p0 step -1 of 3
    %1: i64 = sub @c1, @c0
    store p2[j] = %1
  }
}
"""
EXAMPLES = [EVERYTHING, COLUMNS, GEMM, SCATTER, INDICES, SORT, SEARCH]


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


@pytest.mark.parametrize("text", EXAMPLES)
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


def test_what_two_statements_share_is_written_before_the_first():
    total = X + 1
    lines = str(chain([total * 2, total * 3])).splitlines()[2:-2]
    assert [line.split()[0] for line in lines] == ["%0:", "%1:", "%2:", "store", "%3:", "store"]


def test_stages_share_nothing():
    total = X + 1
    one = Map(Axis("j", "n0"), (Store(Access("p0", (("j", 1),)), total),))
    kernel = Kernel(chain([X]).operands, ("n0",), (), (one, one))
    assert str(kernel).count("= add") == 2
    first, second = parse_kernel(str(kernel)).expressions
    assert first is not second
    assert "%3: f32 = add %2, f32(1.0)" in str(kernel)


def test_equal_texts_are_one_kernel():
    one, two, other = parse_kernel(GEMM), parse_kernel(GEMM), parse_kernel(COLUMNS)
    assert one is not two
    assert one == two
    assert hash(one) == hash(two)
    assert len({one, two, other}) == 2
    assert one != GEMM
    assert one.text == GEMM


def test_a_name_may_stand_in_the_text_but_is_no_part_of_the_kernel():
    named = GEMM.replace("kernel(", "kernel k7(")
    assert parse_kernel(named) == parse_kernel(GEMM)
    assert "\n".join(kernel_lines(parse_kernel(GEMM), "k7")) + "\n" == named


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


def test_spacing_and_remarks_do_not_matter():
    loose = GEMM.replace("\n", "  # a remark\n\n").replace("*", " * ").replace(":", " :")
    assert str(parse_kernel(loose.replace("\n", "\r\n"))) == GEMM


#: The text, old part, new part with § before what is to blame, headline, hint.
MISTAKES = [
    (EVERYTHING, "p0: in f32", "p0: §input f32", "input is not the mode of an operand", ""),
    (EVERYTHING, "p1: in", "§p0: in", "the operand p0 is declared twice", ""),
    (EVERYTHING, "n0, n1,", "n0, §n0,", "the argument n0 is declared twice", ""),
    (EVERYTHING, "i1: 3", "§i0: 3", "the loop i0 is declared twice", ""),
    (EVERYTHING, "i1: 3", "i1: §n9", "n9 is not an integer argument", ""),
    (EVERYTHING, "map j", "§mapp j", "mapp is not a stage", ""),
    (EVERYTHING, "%1: i64 = cast", "%1: i64 = §casts", "casts is not a primitive", "cast?"),
    (EVERYTHING, "fma %2, %3, f32(-0.0)", "§fma %2, %3", "fma takes 3 operands, got 2", ""),
    (EVERYTHING, "fma %2, %3, f32(-0.0)", "§fma %2, %3, f64(1.0)", "dtypes differ", ""),
    (EVERYTHING, "select %5, %4", "§select %4, %4", "the condition is not a bool", ""),
    (EVERYTHING, "%5: bool = lt", "%5: f32 = §lt", "lt of f32, f32 gives bool, not f32", ""),
    (EVERYTHING, "%3: f32 = load", "%3: f64 = §load", "p2 is f32, the text says f64", ""),
    (
        EVERYTHING,
        "load p0[i0*n1 + i1*-1 + @c0*n3",
        "§load p0[%0*n3",
        "a gather index is i32, not i64",
        "",
    ),
    (EVERYTHING, "@c0*n3", "§@c1*n3", "@c1 is not defined before this line", "@c0"),
    (EVERYTHING, "@c0*n3", "§k*n3", "k is not a loop around this access", ""),
    (EVERYTHING, "@r1: f32", "§@r0: f32", "@r0 is defined twice", ""),
    (EVERYTHING, "@r1: f32 = max", "@r1: §f64 = max", "@r1 is f32, the text says f64", ""),
    (EVERYTHING, "= max f32", "= §maxi f32", "maxi is not an accumulation", ""),
    (SORT, "keys j", "§rows j", "expected 'keys'", ""),
    (SORT, "kept j: n2", "kept j: §n3", "n3 is not an integer argument", ""),
    (SORT, "@at: i64 = order %1 in p1", "§@at: i32 = sum %1", "this statement has no place", ""),
    (SORT, "sort {", "sort §j: n0 {", "", ""),
    (SEARCH, "search left", "search §middle", "middle is not a side", ""),
    (SEARCH, "%0 in p0 step 1", "%0 in §p9 step 1", "p9 is not an operand", ""),
    (EVERYTHING, "wrap at", "wrap §to", "expected 'at' after the extent", ""),
    (EVERYTHING, "to p5", "to §p9", "p9 is not an operand", ""),
    (EVERYTHING, "%9: f32 = add", "§%6: f32 = add", "%6 is defined twice", ""),
    (EVERYTHING, "%9, @r1", "§%6, @r1", "%6 belongs to another stage", ""),
    (EVERYTHING, "%9, @r1", "§%99, @r1", "%99 is not defined", "did you mean %9?"),
    (EVERYTHING, "%10: f32 =", "§%11: f32 = neg %9 %10: f32 =", "%11 is not used", ""),
    (EVERYTHING, "mul i0, n1", "mul §j, n1", "j is neither a loop nor an argument here", ""),
    (EVERYTHING, "f64(0.1)", "f64(§i0)", "i0 is not a float64", ""),
    (EVERYTHING, "f64(0.1)", 'f64(§"x")', "'x' is not a float64", ""),
    (EVERYTHING, "cast %0", "§cast %0, %0", "cast takes 1 operand, got 2", ""),
    (
        EVERYTHING,
        "  scalar {",
        "  scalar { §42",
        "expected %number, @name, 'store', 'column' or '}'",
        "",
    ),
    (COLUMNS, "@r1: f64 = min %0", "§store p1[j] = %0", "has no place in this part", ""),
    (COLUMNS, "columns j: n0 {", "§columns j: n0, i: n1 {", "a columns stage has one loop", ""),
    (COLUMNS, "rows", "§row", "expected 'rows'", ""),
    (COLUMNS, "p1[j]", "p1[§i0]", "i0 is not a loop around this access", ""),
    (GEMM, "gemm i: n1, j: n2, k: n3", "§gemm i: n1, j: n2", "a gemm stage has three loops", ""),
    (GEMM, "k*0", "§j*0", "j is not a loop around this access", ""),
    (GEMM, "k + j*n3", "§i + j*n3", "i is not a loop around this access", ""),
    (GEMM, "@acc: f32 = sum", "§@sum: f32 = sum", "the product is called @acc", ""),
    (GEMM, "@acc: f32", "@acc: §f64", "the product is f32, the text says f64", ""),
    (GEMM, "p1[k + j*n3]", "p1[k + §n0]", "n0 is not a loop around this access", ""),
    (GEMM, "p1[k + j*n3]", "§p1[k + (n0)]", "a factor of a product is not gathered", ""),
    (
        GEMM,
        "@acc: f32 = sum",
        "fed { §scalar { } } @acc: f32 = sum",
        "only maps feed a product",
        "",
    ),
    (GEMM, "; n0, n1", "; §7, n1", "expected an integer argument, found '7'", ""),
    (SCATTER, "}\n}\n", "}\n} §}\n", "the kernel has ended, but '}' follows", ""),
    (SCATTER, "serial kernel", "§schedule", "expected 'kernel'", ""),
    (INDICES, "*n0 +", "*n0 §-", "expected '+', '*' or ']'", ""),
    (INDICES, "(j)", "(j §+", "expected ')'", ""),
]


def test_mistakes_are_shown_where_they_are():
    check_all(partial(check_mistake, parse_kernel), MISTAKES)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=200)
def test_damaged_text_is_a_parse_error_or_a_kernel(data):
    text = data.draw(st.sampled_from(EXAMPLES))
    check_damaged(parse_kernel, text, ["", *"()9-,%@}\né"], data)


def test_walks_that_share_what_they_met_give_each_expression_once():
    chain = [load(Access("p", (("j", 1),)), F32)]
    for _ in range(200):
        chain.append(apply("mul", chain[-1], chain[0]))
    met = set()
    walks = [[*not_met([expr], met)] for expr in chain]
    assert [expr for walk in walks for expr in walk] == chain
    assert [*postorder([chain[-1]], met)] == []
    assert [*postorder([chain[-1]])] == chain
