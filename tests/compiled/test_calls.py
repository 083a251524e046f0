"""Steps that call routines: code that no kernel describes, native and in Python."""

import ctypes

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.errors import CallError, NameConflictError, UnknownNameError
from staticgrad.language.ir.forms import CallForm
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.schedule_text import parse_schedule
from staticgrad.language.types.dtype import F32
from staticgrad.native.libraries import routines
from staticgrad.native.libraries.routines import RoutineCode

#: y[i] = 2 * x[i] + words[0] over rows of n elements, by way of scratch; z[i] = -x[i].
SOURCE = """
def kernel(t, own, begin, end):
    x = ptr_f32(t[0])
    y = ptr_f32(t[1])
    z = ptr_f32(t[2])
    n = t[3]
    more = t[4]
    s = ptr_f32(own[0])
    for i in range(begin, end):
        for j in range(0, n):
            v = load1(x, i * n + j)
            store1(s, j, v + v)
        for j in range(0, n):
            store1(y, i * n + j, load1(s, j) + cast_f32(i64x1(more)))
            store1(z, i * n + j, -load1(x, i * n + j))
"""


class Twice(Op, name="tests.twice"):
    """2x + 3 and -x, by a routine, row by row."""

    def infer(self, x):
        return x, x

    def reference(self, x):
        return 2 * x + 3, -x

    def form(self, *types):
        rows, n = types[0].shape
        return CallForm("tests.twice:f32", (n,), ((F32, n),), total=rows, flops=3 * n)


class Root(Op, name="tests.root"):
    """The square root of each row, by Python code; a row with a negative number fails."""

    def infer(self, x):
        return x

    def reference(self, x):
        return np.sqrt(x)

    def form(self, *types):
        rows, n = types[0].shape
        return CallForm("tests.root:", (n,), checks=True, total=rows, alone=True)


def _root(record, scratch, begin, end):
    x, y, n = (ctypes.c_int64 * 3).from_address(record)
    words = (ctypes.c_int64 * 2).from_address(ctypes.c_int64.from_address(scratch).value)
    for i in range(begin, end):
        source, target = (
            np.ctypeslib.as_array((ctypes.c_float * n).from_address(at + 4 * n * i))
            for at in (x, y)
        )
        if (source < 0).any() and words[0] == -1:
            words[0], words[1] = i, int((source < 0).sum())
        target[:] = np.sqrt(np.abs(source))


@pytest.fixture(autouse=True)
def register_routines():
    callback = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(_root)
    address = ctypes.cast(callback, ctypes.c_void_p).value or 0

    def make_twice(dtype):
        assert dtype == "f32"
        code = native.kernel(SOURCE)
        python = code.python or native.kernel(SOURCE).python
        return RoutineCode(code.address, (3,), python)

    routines.register("tests.twice", make_twice)
    routines.register(
        "tests.root",
        lambda _: RoutineCode(address, (), _root, callback),
        lambda _, row, how: CallError(f"row {row} has {how} negative numbers"),
    )
    yield
    for name in ("tests.twice", "tests.root"):
        routines.forget(name)


POINTS = np.arange(60, dtype="float32").reshape(5, 12) - 7


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_routine_runs_between_kernels(jit, threads):
    with sg.options(jit=jit):
        x = sg.input("x", ("n", 12), "float32")
        first, second = Twice()(x * 2.0)
        f = sg.compile({"y": first + 1.0, "z": second}, threads=threads)
        expected = {"y": 4 * POINTS + 4, "z": -2 * POINTS}
        for feeds in (POINTS, POINTS[:0], POINTS[:1]):
            for name, actual in f.run({"x": feeds}).items():
                np.testing.assert_array_equal(actual, expected[name][: len(feeds)])
        text = str(f.schedule)
        assert 'call "tests.twice:f32"(in ' in text
        assert str(parse_schedule(text)) == text


@pytest.mark.parametrize("view", ["transposed", "sliced", "broadcast", "literal", "strided"])
def test_operands_lie_in_c_order(view):
    x = sg.input("x", (5, 12), "float32")
    values = {
        "transposed": (lambda a: a.T),
        "sliced": (lambda a: a[2:4]),
        "broadcast": (lambda a: sg.broadcast_to(a[0], (3, 12))),
        "literal": (lambda a: sg.full((2, 3), 1.5, "float32") + 0.0 * a.sum()),
        "strided": (lambda a: a[:, ::2]),
    }
    operand = values[view](x)
    expected = sg.evaluate(sg.Graph({"y": operand}), {"x": POINTS})["y"]
    for debug in (False, True):
        f = sg.compile(Twice()(operand)[0], debug=debug)
        np.testing.assert_array_equal(f.run({"x": POINTS}), 2 * expected + 3)
    copies = {"transposed": 1, "sliced": 0, "broadcast": 1, "literal": 3, "strided": 1}
    assert len(f.schedule.steps) == 1 + copies[view]


@pytest.mark.parametrize("jit", [True, False])
def test_what_fails_is_raised_before_a_parameter_changes(jit):
    with sg.options(jit=jit):
        w = sg.parameter("w", np.zeros(12, "float32"))
        x = sg.input("x", ("n", 12), "float32")
        y = Root()(x)
        f = sg.compile(sg.Graph({"y": y}, updates={w: w + y.sum(0)}), threads=2)
        good = np.abs(POINTS)
        np.testing.assert_array_equal(f.run({"x": good})["y"], np.sqrt(good))
        value_before = w.value
        with pytest.raises(CallError, match="row 0 has 7 negative numbers") as caught:
            f.run({"x": POINTS})
        assert caught.value.at.resolve().file == __file__
        np.testing.assert_array_equal(w.value, value_before)
        for _ in range(5):
            np.testing.assert_array_equal(f.run({"x": good})["y"], np.sqrt(good))


def test_names_of_routines():
    with pytest.raises(NameConflictError, match=r"tests\.root"):
        routines.register("tests.root", lambda _: RoutineCode(0))
    routines.forget("tests.root")
    with pytest.raises(UnknownNameError, match=r"tests\.root"):
        sg.compile(Root()(sg.input("x", (2, 2), "float32")))
    routines.register("tests.root", lambda _: RoutineCode(0))
