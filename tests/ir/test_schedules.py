"""Schedules, kernels and plans: the text read back; each invariant, broken once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.binding import bind_sizes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import ArgumentError, FeedError, ParseError, VerifyError
from staticgrad.language.ir.expr import Access, Expr, Position, index, literal, load, ref, size
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Carry,
    Check,
    Columns,
    Gemm,
    Keep,
    Loop,
    Map,
    Operand,
    Order,
    Pick,
    Scalar,
    Search,
    Sort,
    Store,
)
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.language.ir.plan import Placement, PlannedStep
from staticgrad.language.ir.schedule import Binding, Buffer, Schedule
from staticgrad.language.ir.schedule_text import parse_plan, parse_schedule
from staticgrad.language.ir.verify_schedule import verify_schedule
from staticgrad.language.types.arrays import ArrayData
from staticgrad.language.types.dim import dim
from staticgrad.language.types.dtype import BOOL, F32, F64, I32, I64
from tests.helpers.cases import check_all
from tests.helpers.random_programs import random_graph, with_gradients
from tests.ir.schedule_samples import PLAN, SCHEDULE


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=25)
def test_schedules_that_fusion_makes_are_sound(seed):
    graph = with_gradients(random_graph(np.random.default_rng(seed), empty=True)[0])
    verify_schedule(fuse(pipeline("O1")(graph)))
    verify_schedule(fuse(graph, merge=False))


def test_a_scratch_without_room_is_refused():
    x = sg.input("x", (sg.dim("n"), 30))
    schedule = fuse(pipeline("O1")(sg.Graph({"y": sg.topk(x, 3)[0], "z": sg.sort(x)})))
    scratch = [buffer for buffer in schedule.buffers if buffer.role == "scratch"]
    assert scratch
    for short in scratch:
        buffers = (replace(b, size=b.size - 1) if b is short else b for b in schedule.buffers)
        with pytest.raises(VerifyError, match=f"more than '{short.name}' has"):
            verify_schedule(replace(schedule, buffers=tuple(buffers)))


# -- schedules ------------------------------------------------------------------------------------

UPDATE = "step k2(param.w, out.y, param.w; 3)"
CUT = "total 3 grain 16384"

#: Old text, new text, headline, and a line of the details where there is one.
BROKEN = [
    ('"in.a b": i64[batch] input "a b"', '"in.a b": i64[batch] input "x"', "two buffers are"),
    ("temp", "temp = f32[1] [0.5]", "a constant has data, and nothing else has", "buffer t4"),
    ("constant = f32[1, 3] [[1.0, -0.0, inf]]", "constant", "a constant has data", "buffer c3"),
    ("f32[1, 3] [[1.0, -0.0, inf]]", "f32[2] [1.0, 2.0]", "are 2 elements of f32", "buffer c3"),
    ("f32[1, 3] [[1.0, -0.0, inf]]", "i32[3] [1, 2, 3]", "are 3 elements of i32", "buffer c3"),
    ("total 3", "total -3", "-3 iterations", UPDATE),
    (CUT, "total 3 grain 0", "not total 3 grain 0", UPDATE),
    ("total 3 ", "total 4 ", "make total 3 grain 16384, not total 4 grain 16384", UPDATE),
    ("total batch grain 5461", "total 3 grain 5461", "make total batch grain 5461, not", "step k0"),
    ("grain 5461", "grain 5462", "not total batch grain 5462", "step k0"),
    ("i64[2] check", "i32[2] check", "p2 is i64, 'k5' is i32", "step k1("),
    ("t4: f32[3*batch + 3] temp", "t4: f32[3*batch + 3] check", "out operand p2 is check"),
    ("t4: f32[3*batch + 3] temp", 't4: f32[9] input "t"', "out operand p2 is input 't4'"),
    ("k5: i64[2] check", "k5: i64[2] temp", "check operand p2 is temp 'k5'", "step k1("),
    ("out.y: f32[batch] output", "out.y: f32[batch] parameter", "after a parameter was", "k1("),
    ("step k0(in.x, c3, t4", "step k0(in.x, c3, c3", "out operand p2 is constant 'c3'", "step k0("),
    ("param.w, out.y, param.w; 3", "out.y, param.w, param.w; 3", "it reads 'param.w' while",
     UPDATE),
    ("step k0(in.x, c3, t4 + 3; batch, 3)", "step k0(t4, c3, t4 + 3; batch, 3)", "it reads 't4'"),
    ("step k0(in.x, c3,", "step k0(out.y, c3,", "'out.y', which no earlier step writes",
     "step k0("),
    ("  return", f"  step k2(param.w, out.y, t4; 3) {CUT}\n  return", "after it was"),
    ("k0(in.x, c3", "k0(in.x updated, c3", "'in.x' has no new value to be read", "step k0("),
    ("step k2(param.w, out.y, param.w",
     f"step k2(param.w updated, out.y, t4; 3) {CUT}\n  step k2(param.w, out.y, param.w",
     "it reads the new value of 'param.w' before it is there", "step k2(param.w updated"),
    ("return y = out.y", "return y = t4", "output 'y' is 't4', no buffer of role output"),
    ("return y = out.y", "", "output 'y' is not returned", "buffer out.y"),
    ("return y = out.y", "return z = out.y", "output 'y' is not returned", "buffer out.y"),
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken[2])
def test_broken_schedules_are_refused(broken):
    old, new, message, *detail = broken
    assert old in SCHEDULE
    check_refusal(parse_schedule(SCHEDULE.replace(old, new, 1)), message, "".join(detail))


def check_refusal(schedule, message, detail=""):
    with pytest.raises(VerifyError) as caught:
        verify_schedule(schedule)
    error = caught.value
    assert message in error.headline
    assert "schedule 'train step'" in error.headline
    assert detail.removeprefix("step ").split("(")[0] in "\n".join(error.details)
    assert len(str(error).splitlines()) <= 12
    return error


def change_schedule(**changes):
    schedule = parse_schedule(SCHEDULE)
    return replace(schedule, **{k: change(getattr(schedule, k)) for k, change in changes.items()})


def first(**changes):
    """The first step changed."""
    return lambda steps: (replace(steps[0], **changes), *steps[1:])


BATCH = dim("batch", min=2)
#: What no text can say.
CHANGED = [
    ({"buffers": lambda b: (*b, b[0])}, "two buffers are called 'in.x'"),
    ({"buffers": lambda b: (replace(b[0], size=-1), *b[1:])}, "the size of a buffer is negative"),
    ({"buffers": lambda b: (*b, Buffer("u", "temp", F32, BATCH))},
     "declared twice, with different"),
    ({"steps": first(operands=(Binding("in.x"), Binding("c3")))}, "has 3 operands, 2 are given"),
    ({"steps": first(arguments=(1,))}, "the kernel has 2 arguments, 1 are given"),
    ({"steps": first(operands=(Binding("in.z"),) * 3)}, "there is no buffer 'in.z'"),
    ({"outputs": lambda o: (*o, *o)}, "two outputs share a name"),
    ({"outputs": lambda o: (("y", "out.z"),)}, "no buffer of role output"),
    ({"steps": lambda s: s[:1]}, "no step writes output 'y'"),
    ({"steps": lambda s: (s[0], s[2], s[1])}, "it reads 'out.y', which no earlier step writes"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), CHANGED)
def test_what_no_text_can_say_is_refused(changes, message):
    check_refusal(change_schedule(**changes), message)


def test_an_error_names_the_step_and_the_users_line():
    error = check_refusal(
        parse_schedule(SCHEDULE.replace("step k0(in.x, c3, t4", "step k0(in.x, c3, c3")),
        "step 0 (mul): out operand p2 is constant 'c3'",
        "step k0",
    )
    assert error.at.label == "train.py:8"
    assert "train.py:8" in str(error)
    verify_schedule(parse_schedule(SCHEDULE))


def test_compiling_verifies_always(monkeypatch):
    seen = []
    monkeypatch.setattr("staticgrad.language.ir.verify_schedule.verify_schedule", seen.append)
    x = sg.input("x", (3,), "float32")
    for check in (True, False):
        seen.clear()
        with sg.options(check=check):
            f = sg.compile(x * 2.0)
        assert f.schedule in seen


# -- kernels --------------------------------------------------------------------------------------

J = (("j", 1),)


LOADED_ONCE = load(Access("p0"), F32)
READ = Scalar((Store(Access("p1"), ref("r0", F32)),))


def within(loop, times):
    for number in range(times):
        loop = Loop(Axis(f"i{number + 2}", 2), (), (loop,), ())
    return loop


def at(*positions, fill=None):
    return load(Access("p0", (), (), positions), F32, fill=fill)


LOADED = load(Access("p0", J), F32)
WORD = literal(0, I64)
SUM = Accumulate("r0", "sum", LOADED)
CHECK = Check("c0", WORD, "n0", WORD, "p3", True)
MAP = Map(Axis("j", "n0"), (Store(Access("p1", J), LOADED),))
GEMM = Gemm(
    (Axis("i", "n0"),),
    (Axis("j", "n0"),),
    (Axis("k", "n0"),),
    Access("p0", (("i", "n0"), ("k", 1))),
    Access("p0", (("k", "n0"), ("j", 1))),
    (Store(Access("p1", (("i", "n0"), ("j", 1))), ref("acc", F32)),),
)
P = {
    "p0": Operand("p0", F32, "in"),
    "p1": Operand("p1", F32, "out"),
    "p2": Operand("p2", F32, "scratch"),
    "p3": Operand("p3", I64, "check"),
    "p4": Operand("p4", I64, "scratch"),
}


def kernel(*stages, operands="p0 p1", **changes):
    kernel = Kernel(tuple(P[name] for name in operands.split()), ("n0",), (), stages)
    return replace(kernel, **changes)


def stores(value, *more):
    """p1[j] = value, then more statements."""
    return Map(MAP.axis, (Store(Access("p1", J), value), *more))


def total(*statements):
    return Columns(Axis("j", "n0"), (Axis("i0", 2),), statements, MAP.body)


R0, C0 = ref("r0", F32), ref("c0", I64)
KEY, AT = LOADED.bitcast(I32), ref("at", I64)
ORDER = Order("at", KEY, "p4")
CIRCULAR = replace(ORDER, key=AT)
SUMMED = Scalar((Store(Access("p1", (("i1", 1),)), ref("s0", F32)),))
LOOP = Loop(
    Axis("i1", "n0"),
    (Carry("s0", load(Access("p0"), F32)),),
    (SUMMED,),
    (Carry("s0", ref("s0", F32) * 2.0),),
)
SORT = Sort(MAP.axis, MAP.axis, ORDER, (Store(Access("p1", J), load(Access("p0", J), F32)),))
SEARCH = Search("c0", LOADED, "p0", 1, "n0")
KERNELS = [
    (kernel(), "there is no stage"),
    (kernel(MAP, Scalar((SUM,))), "no place in a scalar stage"),
    (kernel(replace(GEMM, stores=(SUM,))), "no place in a gemm stage"),
    (kernel(total(*MAP.body)), "no place in the rows"),
    (kernel(total()), "a columns stage accumulates nothing"),
    (kernel(replace(total(replace(SUM, kind="max")), in_lanes=True)), "only sums have a rule of"),
    (kernel(Map(MAP.axis, (Store(Access("p1"), LOADED),))), "lanes of j store to one element"),
    (kernel(MAP, axes=(Axis("i0", 2),)), "iterations along i0 store to one element"),
    (kernel(MAP, operands="p0 p1 p1"), "two things are called p1"),
    (kernel(MAP, arguments=("n0", "p0")), "two things are called p0"),
    (kernel(MAP, axes=(Axis("j", 2),)), "two things are called j"),
    (kernel(stores(LOADED, SUM, SUM)), "two things are called r0"),
    (kernel(MAP, arguments=("n0", "n 1")), "'n 1' is not an identifier"),
    (kernel(MAP, arguments=("n0", "for")), "'for' is not an identifier"),
    (kernel(MAP, axes=(Axis("i0", "n1"),)), "the extent of i0 is n1, which is not an argument"),
    (kernel(MAP, axes=(Axis("i0", -1),)), "the extent of i0 is -1"),
    (kernel(stores(load(Access("p0", (("j", "n1"),)), F32))), "the stride n1 is not an argument"),
    (kernel(stores(LOADED, replace(CHECK, extent="n1"))), "the extent of a check is n1"),
    (kernel(stores(size("n1").cast(F32))), "the size n1 is not an argument"),
    (kernel(stores(at(Position(J, "n1")))), "the stride n1 is not an argument"),
    (kernel(stores(at(Position(J, 0, "n1")))), "the stride n1 is not an argument"),
    (kernel(stores(at(Position((("j", "n1"),))))), "the stride n1 is not an argument"),
    (kernel(stores(at(Position(J, 0, 1, "n1")))), "the extent of a position is n1, which is no"),
    (kernel(stores(at(Position(J, 0, 1, -1)))), "the extent of a position is -1"),
    (kernel(stores(at(Position(J), Position(J)))), "no loop j runs around this access"),
    (kernel(stores(at(Position(J), fill=literal(1, F32)))), "0 gather strides for 1 index"),
    (kernel(stores(at(Position(J, 0, 1, 3), fill=LOADED))),
     "the fill of f32 is not a literal of it"),
    (kernel(replace(LOOP, stages=())), "the loop i1 does nothing"),
    (kernel(replace(LOOP, following=())), "starts with other carries than it continues with"),
    (kernel(replace(LOOP, first=())), "starts with other carries than it continues with"),
    (kernel(LOOP, LOOP), "two things are called s0"),
    (kernel(replace(LOOP, axis=Axis("j", "n0"))), "'j' is not a name for a loop"),
    (kernel(replace(LOOP, axis=Axis("i1", "n1"))),
     "the extent of i1 is n1, which is not an argument"),
    (kernel(replace(LOOP, first=(Keep("s0", LOADED_ONCE),))), "no place in a loop stage"),
    (kernel(replace(LOOP, first=(Carry("s0", index("i1").cast(F32)),))),
     "no loop i1 runs around its position"),
    (kernel(replace(LOOP, stages=(Scalar((Keep("r0", LOADED_ONCE),)), SUMMED)), READ),
     "@r0 is used before anything gives it"),
    (kernel(replace(LOOP, stages=(Scalar((Store(Access("p1"), load(Access("p1"), F32)),)),))),
     "out operand p1 is read"),
    (kernel(replace(LOOP, stages=(SORT,))), "a sort shares the kernel"),
    (kernel(within(LOOP, 9)), "loops of stages nest 8 deep at most"),
    (kernel(replace(GEMM, fed=(MAP,))), "a product of one loop is not fed"),
    (kernel(replace(GEMM, k=(Axis("i1", 2), *GEMM.k), fed=(replace(MAP, body=(SUM,)),))),
     "a product is fed by what only stores"),
    (kernel(replace(GEMM, onto=Access("p0", (("i", "n0"), ("j", 1))))),
     "only a part of a block of terms goes on"),
    (kernel(replace(GEMM, k=(Axis("k", 2),), onto=Access("p1", (("i", "n0"), ("j", 1))))),
     "out operand p1 is read"),
    (kernel(MAP, replace(GEMM, k=(Axis("k", 2),), onto=Access("p1", J))),
     "a product stores elsewhere than where it goes on"),
    (kernel(replace(GEMM, k=(Axis("i1", 2), Axis("k", 2)), fed=(MAP,), onto=Access("p0", J))),
     "a product that is fed goes on from nothing"),
    (kernel(replace(GEMM, onto=Access("p0", J, (1,)))), "chains go on from elements that are"),
    (kernel(replace(GEMM, k=(Axis("i1", 2, first="r0"), *GEMM.k))),
     "the loop i1 has no numbers from which or to which it runs"),
    (kernel(stores(load(Access("p7", J), F32))), "p7 is not an operand"),
    (kernel(stores(load(Access("p0", (("i", 1),)), F32))), "no loop i runs around this access"),
    (kernel(stores(load(Access("p0", (*J, *J)), F32))), "no loop j runs around this access"),
    (kernel(replace(GEMM, a=Access("p0", J))), "no loop j runs around this access"),
    (kernel(MAP, Scalar((Store(Access("p1"), index("j").cast(F32)),))),
     "no loop j runs around its"),
    (kernel(stores(Expr("tangent", F32, (LOADED,)))), "'tangent' is not a primitive"),
    (kernel(stores(Expr("add", F32, (LOADED,)))), "add takes 2 operands, got 1"),
    (kernel(stores(Expr("add", F32, (LOADED, WORD)))), "add of f32, i64: dtypes differ"),
    (kernel(stores(Expr("add", F64, (LOADED, LOADED)))), "add of f32, f32 gives f32, not f64"),
    (kernel(stores(Expr("lt", F32, (LOADED, LOADED)))), "gives bool, not f32"),
    (kernel(stores(Expr("select", F32, (LOADED,) * 3))), "the condition is not a bool"),
    (kernel(stores(Expr("exp", I64, (WORD,)).cast(F32))), "exp of i64: takes floating dtypes only"),
    (kernel(stores(Expr("xor", F32, (LOADED, LOADED)))), "xor of f32: takes integers and bools"),
    (kernel(stores(Expr("shl", BOOL, (LOADED < 0,) * 2).cast(F32))), "shl of bool: takes integers"),
    (kernel(stores(Expr("bitcast", F32, (WORD,)))), "bitcast of i64 to f32: widths differ"),
    (kernel(stores(Expr("literal", F32, (), 1))), "1 is not an f32"),
    (kernel(stores(Expr("literal", I32, (), 2**31).cast(F32))), "2147483648 is not an i32"),
    (kernel(stores(Expr("index", F32, (), "j"))), "index gives i64, not f32"),
    (kernel(stores(Expr("load", F32))), "a load without an access"),
    (kernel(stores(load(Access("p0", (), (1,)), F32))), "1 gather strides for 0 indices"),
    (kernel(stores(load(Access("p0", (), (1,)), F32, LOADED))), "a gather index is f32, not i64"),
    (kernel(Map(MAP.axis, (Store(Access("p1", J), LOADED, (WORD,)),))),
     "0 gather strides for 1 ind"),
    (kernel(stores(load(Access("p0", J), F64))), "p0 is f32, the load f64"),
    (kernel(stores(LOADED.cast(F64))), "p1 is f32, the store f64"),
    (kernel(stores(LOADED, replace(SUM, kind="product"))),
     "'product' is not a kind of accumulation"),
    (kernel(stores(LOADED, replace(CHECK, index=LOADED))), "a check takes and notes i64 only"),
    (kernel(stores(LOADED, replace(CHECK, operand="p0"))), "a check takes and notes i64 only"),
    (kernel(replace(GEMM, b=Access("p3")), operands="p0 p1 p3"), "the product f32"),
    (kernel(replace(GEMM, a=Access("p0", (), (1,)))), "a factor of a product is not gathered"),
    (kernel(stores(R0)), "@r0 is used before anything gives it"),
    (kernel(stores(R0, SUM)), "@r0 is used before anything gives it"),
    (kernel(stores(C0.cast(F32), CHECK), operands="p1 p3"), "@c0 is used before"),
    (kernel(Map(MAP.axis, (CHECK,)), stores(C0.cast(F32)), operands="p1 p3"), "@c0 is used before"),
    (kernel(Map(MAP.axis, (SUM,)), stores(ref("r0", I64).cast(F32))), "it is used as i64"),
    (kernel(stores(load(Access("p1", J), F32))), "out operand p1 is read"),
    (kernel(stores(load(Access("p2", J), F32)), operands="p1 p2"), "scratch operand p2 is read"),
    (kernel(Map(MAP.axis, (Store(Access("p1", J), LOADED, combine="sum"),))),
     "out operand p1 is read"),
    (kernel(Map(MAP.axis, (Store(Access("p0", J), LOADED),)), operands="p0"), "p0 is written"),
    (kernel(stores(literal(0, F32))), "in operand p0 is not used as such"),
    (kernel(MAP, operands="p0 p1 p3"), "check operand p3 is not used as such"),
    (kernel(MAP, operands="p0 p1 p2"), "scratch operand p2 is not used as such"),
    (kernel(Map(MAP.axis, (SUM,))), "out operand p1 is not used as such"),
    (kernel(SORT, MAP, operands="p0 p1 p4"), "a sort shares the kernel with other stages"),
    (kernel(stores(LOADED, ORDER), operands="p0 p1 p4"), "no place in a map stage"),
    (kernel(replace(SORT, stores=(SUM,)), operands="p0 p4"), "no place in a sort stage"),
    (kernel(replace(SORT, order=replace(ORDER, name="p0")), operands="p0 p1 p4"), "called p0"),
    (
        kernel(replace(SORT, sorted_axis=Axis("j", -1)), operands="p0 p1 p4"),
        "the extent of j is -1",
    ),
    (kernel(replace(SORT, order=replace(ORDER, key=LOADED)), operands="p0 p1 p4"), "keys are i32"),
    (kernel(replace(SORT, order=replace(ORDER, scratch="p2")), operands="p0 p1 p2"), "keys are"),
    (kernel(replace(SORT, order=replace(ORDER, scratch="p3")), operands="p0 p1 p3"),
     "not a scratch"),
    (kernel(stores(AT.cast(F32), ORDER), operands="p1 p4"), "no place in a map stage"),
    (kernel(stores(LOADED, Pick(AT)), operands="p0 p1"), "no place in a map stage"),
    (kernel(replace(SORT, picks=(Pick(KEY),)), operands="p0 p1 p4"), "a pick takes an i64"),
    (kernel(replace(SORT, picks=(SUM,)), operands="p0 p1 p4"), "no place in a sort stage"),
    (kernel(replace(SORT, picks=(ORDER,)), operands="p0 p1 p4"), "two things are called at"),
    (kernel(replace(SORT, order=CIRCULAR), operands="p0 p1 p4"), "@at is used before"),
    (kernel(stores(LOADED, replace(SEARCH, extent="n1"))), "the extent of a search is n1"),
    (kernel(stores(LOADED, replace(SEARCH, stride="n1"))), "the stride n1 is not an argument"),
    (kernel(stores(LOADED, replace(SEARCH, value=WORD))), "p0 is f32, the search i64"),
    (kernel(Map(MAP.axis, (replace(SEARCH, operand="p1"), *MAP.body))), "out operand p1 is read"),
]  # fmt: skip


def test_broken_kernels_are_refused():
    def check(broken, message):
        with pytest.raises(VerifyError) as caught:
            verify_kernel(broken)
        error = caught.value
        assert message in error.headline
        assert error.details[-1].startswith("kernel(")
        assert len(str(error).splitlines()) <= 12

    check_all(check, KERNELS)


def again(schedule):
    return parse_schedule(str(schedule), constants=schedule.constants)


def test_canonical_text_is_a_fixed_point():
    assert str(parse_schedule(SCHEDULE)) == SCHEDULE
    plan = parse_plan(PLAN)
    assert str(plan) == PLAN
    verify_plan(plan)


@pytest.mark.slow
@given(st.integers(0, 2**32))
def test_a_schedule_reads_back(seed):
    graph = with_gradients(random_graph(np.random.default_rng(seed), empty=True)[0])
    for schedule in (fuse(pipeline("O1")(graph)), fuse(graph, merge=False)):
        read = again(schedule)
        assert read == schedule
        assert str(read) == str(schedule)
        assert read.kernels == schedule.kernels
        assert [b.data for b in read.buffers] == [b.data for b in schedule.buffers]
        assert [s.label for s in read.steps] == [s.label for s in schedule.steps]


def test_a_text_is_read_as_what_it_says():
    schedule = parse_schedule(SCHEDULE)
    batch = dim("batch", min=1)
    assert schedule.name == "train step"
    assert [b.role for b in schedule.buffers] == [
        *("input", "input", "parameter", "constant", "temp", "check", "output")
    ]
    x, ints, w, c, t, _, y = schedule.buffers
    assert (x.name, x.label, x.size, x.dtype) == ("in.x", "x", 3 * batch, F32)
    assert (ints.name, ints.label, ints.origin) == ("in.a b", "a b", None)
    assert w.origin is not None
    assert w.origin.label == "train.py:4 [head]"
    assert c.data == ArrayData(np.array([[1, -0.0, np.inf]], "float32"))
    assert t.size == 3 * batch + 3
    assert schedule.outputs == (("y", y.name),)
    first, second, last = schedule.steps
    assert first.operands == (Binding("in.x"), Binding("c3"), Binding("t4", 3))
    assert first.arguments == (batch, 3)
    assert (first.total, first.grain, first.phase, first.label) == (batch, 5461, 0, "mul")
    assert [o.label for o in first.origins] == ["train.py:8", "train.py:9 [a/b]"]
    assert (second.label, last.phase, last.origins) == ("", 1, ())


def test_constants_are_inline_or_named_by_their_digest():
    large, small = ArrayData(np.arange(40.0)), ArrayData(np.float32(0.1))
    empty = ArrayData(np.zeros((0, 3), "float32"))
    buffers = tuple(
        Buffer(f"c{n}", "constant", data.dtype, data.array.size, data=data)
        for n, data in enumerate((large, small, empty))
    )
    schedule = Schedule("constants", buffers, (), ())
    assert f'f64[40] constant = f64[40] "{large.digest}"' in str(schedule)
    assert "f32[1] constant = f32[] 0.1\n" in str(schedule)
    assert "f32[0] constant = f32[0, 3] []\n" in str(schedule)
    constants = schedule.constants
    assert list(constants) == [large.digest]
    assert [b.data for b in again(schedule).buffers] == [large, small, empty]
    with pytest.raises(ParseError, match="no array is bound"):
        parse_schedule(str(schedule))
    with pytest.raises(ArgumentError, match="has the digest"):
        parse_schedule(str(schedule), constants={large.digest: np.arange(41.0)})


def plan_again(plan):
    return parse_plan(str(plan), constants=plan.schedule.constants)


@pytest.mark.slow
@given(st.integers(0, 2**32), st.booleans())
def test_a_plan_reads_back(seed, staged):
    graph, feeds = random_graph(np.random.default_rng(seed), empty=True)
    graph = with_gradients(graph)
    try:
        sizes = bind_sizes(graph, {name: np.shape(array) for name, array in feeds.items()}, None)
    except FeedError:
        return  # a size that no feed determines
    for schedule in (fuse(pipeline("O1")(graph)), fuse(graph, merge=False)):
        inputs = frozenset(b.name for b in schedule.buffers if b.role == "input")
        plan = Planner(schedule).plan(sizes, staged=inputs if staged else frozenset())
        read = plan_again(plan)
        assert read == plan
        assert str(read) == str(plan)
        verify_plan(read)


def test_the_text_of_a_plan_is_read_as_what_it_says():
    plan = parse_plan(PLAN)
    assert plan.schedule == parse_schedule(SCHEDULE)
    assert plan.sizes == (("batch", 5),)
    assert (plan.peak_bytes, plan.commit) == (192, 2)
    assert plan.placements == (Placement("t4", 0, 72, 0, 1), Placement("k5", 128, 16, 0, 1))
    assert plan.steps[0] == PlannedStep(0, (5, 3), (0, 0, 12), 5, 5461)
    assert plan.buffer_bytes[1] == ("in.a b", 40)
