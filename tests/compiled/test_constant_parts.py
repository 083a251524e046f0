"""Kernels that depend on constants alone run once, at compilation, with the same bytes."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.compiling import scheduling
from staticgrad.compiler.compiling.constant_steps import ROOM
from staticgrad.errors import IndexOutOfRange, NonFiniteError
from staticgrad.language.ir.schedule_text import parse_schedule
from staticgrad.language.ir.verify_schedule import verify_schedule
from staticgrad.language.types.dtype import as_dtype
from tests.helpers.diagonals import diagonals

N = 50
RNG = np.random.default_rng(7)
C = RNG.normal(size=(N,)).astype("f4")
M = RNG.normal(size=(10, 10)).astype("f4")


def with_x(value):
    return value * sg.input("x", (), "float32")


#: Programs over two constants, of which all but the last product depends on these alone.
PROGRAMS = {
    "a scalar": lambda c, m: sg.sin(sg.exp(c)).sum(),
    "an array": lambda c, m: sg.exp(c) + sg.tanh(c * 2.0),
    "products": lambda c, m: sg.tanh(m @ m) @ m.T,
    "a product with a vector": lambda c, m: (m @ m[0])[None] * sg.exp(m),
    "views of it": lambda c, m: sg.transpose(sg.exp(m))[3:9].reshape(-1),
    "a softmax": lambda c, m: sg.nn.softmax(m @ m, axis=1),
    "a sort": lambda c, m: sg.sort(sg.sin(c)),
    "lookups": lambda c, m: sg.take(sg.exp(m), np.array([3, -1, 3]), axis=0),
    "a scan": lambda c, m: sg.cumsum(sg.sigmoid(c)),
    "marks": lambda c, m: sg.checkpoint(sg.stop_gradient(sg.exp(c)) + 1.0),
    "exact ones behind": lambda c, m: sg.maximum(sg.exp(c) * 2.0, 1.0) - 0.5,
}


def compile_with_constants(make, **options):
    return sg.compile(with_x(make(sg.constant(C), sg.constant(M))), **options)


def in_the_step(make, x):
    """The result where the constants are fed, so that all of it runs in every call."""
    c, m = sg.input("c", C.shape), sg.input("m", M.shape)
    value = with_x(make(c, m))
    f = sg.compile(sg.Graph({"y": value}, inputs=[c, m]))
    assert not f.explanation().computed_once
    return f.run({"x": np.float32(x), "c": C, "m": M})["y"]


def names(f):
    return " ".join(step.label for step in f.schedule.steps)


@pytest.mark.thinned(6)
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_runs_once_with_equal_bytes(name):
    make = PROGRAMS[name]
    expected = in_the_step(make, 1.5)
    others = [{"fuse": False}, {"pipeline": "O0"}, {"debug": True}, {"debug": "nan"}]
    for options in ({}, others[[*PROGRAMS].index(name) % 4]):  # each with every fourth program
        f = compile_with_constants(make, **options)
        assert same_bytes(f.run({"x": np.float32(1.5)}), expected), options
        assert same_bytes(f.run({"x": np.float32(1.5)}), expected), options
        assert f.explanation().computed_once
        assert any(why.startswith("computed once: ") for why in f.stats.reasons)
        for op in ("exp", "sin", "tanh", "matmul", "sigmoid", "sum", "sort", "cumsum"):
            assert op not in names(f), (options, names(f))
        verify_schedule(f.schedule)
        verify_plan(f.plan())
        assert f.stats.plans == 1


def test_what_is_held_is_told():
    f = compile_with_constants(PROGRAMS["an array"])
    assert f.memory.constants == 4 * N
    assert f.peak_bytes == f.memory.arena == 0
    assert "computed once, of constants:\n      k0 " in f.explain()
    (constant_buffer,) = [b for b in f.schedule.buffers if b.role == "constant"]
    assert constant_buffer.origin is not None
    assert constant_buffer.data is not None
    arrays = {constant_buffer.data.digest: constant_buffer.data.array}
    assert str(parse_schedule(str(f.schedule), constants=arrays)) == str(f.schedule)
    assert same_bytes(
        constant_buffer.data.array,
        sg.compile(sg.exp(sg.input("c", C.shape)) + sg.tanh(sg.input("d", C.shape) * 2.0)).run(
            {"c": C, "d": C}
        ),
    )


def test_outputs_updates_and_gradients_of_constants():
    w = sg.parameter("w", np.zeros(N, "f4"))
    c = sg.constant(C)
    y = (sg.exp(c) * w).sum()
    graph = sg.Graph({"y": y, "k": sg.exp(c), "dw": sg.grad(y, w)}, {w: sg.exp(c) + 2.0})
    f = sg.compile(graph)
    once = sg.compile(sg.exp(sg.input("c", C.shape))).run({"c": C})
    for _ in range(2):
        actual = f.run()
        assert same_bytes(actual["k"], once)
        assert same_bytes(actual["dw"], once)
        assert same_bytes(w.value, once + np.float32(2))
    assert actual["k"] is not f.run()["k"]
    assert "exp" not in names(f)


def test_results_that_need_much_room_stay_in_the_step():
    """A table that is far larger than what it is made of is not held; its sum is."""
    many = int(np.sqrt(ROOM / 4)) + 2
    c = sg.constant(RNG.normal(size=(many, 1)).astype("f4"))
    table = sg.exp(c - c.T)
    x = sg.input("x", (many, 1))
    f = sg.compile({"y": (table * x).sum(axis=0)})
    assert not f.explanation().computed_once
    assert f.memory.constants <= 8 * many
    f = sg.compile({"y": table.sum(axis=0) * x[:, 0]})
    assert f.explanation().computed_once
    assert f.memory.constants == 4 * many
    assert f.peak_bytes == 0


def test_a_mistake_in_it_is_raised_by_the_run():
    x = sg.input("x", ())
    at = sg.astype(sg.exp(sg.constant(np.array([1.0, 3.0]))), "int64")
    f = sg.compile(sg.take(sg.constant(np.arange(5.0)), at) * x)
    for _ in range(2):
        with pytest.raises(IndexOutOfRange, match="index 20 is out of range"):
            f.run({"x": np.float64(1)})


def test_a_nan_of_constants_is_named():
    f = sg.compile(sg.log(sg.constant(np.array([-1.0, 1.0]))) * sg.input("x", ()), debug="nan")
    with pytest.raises(NonFiniteError, match="log"):
        f.run({"x": np.float64(1)})


ONES = np.ones(3, "f4")
#: Loops over constants that end never, or not before long.
ENDLESS = {
    "of a number": lambda: sg.while_loop(lambda i: i >= 0, lambda i: i * 0.5, sg.constant(1.0)),
    "of integers": lambda: sg.while_loop(lambda i: i >= 0, lambda i: i * 0, sg.constant(1)),
    "of rows": lambda: sg.while_loop(lambda v: v.sum() >= 0, lambda v: v * 0.5, sg.constant(ONES)),
    "inside of another": lambda: sg.fori_loop(
        0,
        3,
        lambda i, c: sg.while_loop(lambda v: v.sum() >= 0, lambda v: v * 0.5, c),
        sg.constant(ONES),
    ),
    "around another": lambda: sg.while_loop(
        lambda v: v.sum() >= 0,
        lambda v: sg.fori_loop(0, 3, lambda i, c: c * 0.5, v),
        sg.constant(ONES),
    ),
    "of a library": lambda: sg.while_loop(
        lambda m: m.sum() >= 0, sg.linalg.inv, sg.constant(np.eye(3))
    ),
    "counted": lambda: sg.fori_loop(0, 10**12, lambda i, c: c * 0.5, sg.constant(1.0)),
}


@pytest.mark.thinned(5)
@diagonals(
    4, ("name", ENDLESS), ("options", [{}, {"debug": True}, {"debug": "nan"}, {"threads": 2}])
)
def test_an_endless_loop_is_left_to_the_run(name, options, monkeypatch):
    monkeypatch.setattr(scheduling, "LOOP_LIMIT", 50_000_000)
    value = ENDLESS[name]()
    f = sg.compile({"y": value, "z": sg.exp(sg.constant(ONES))}, **options)
    assert "computed once" not in f.explain()
    assert f.plan().steps
    sg.lint(value)


@pytest.mark.parametrize("rows", [3, 20])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_read_rounded_constants_narrow(rows, transposed):
    """A matrix is rounded once, and held in half the bytes."""
    matrix = RNG.normal(size=(64, 48)).astype("f4")
    x = sg.input("x", (rows, 48 if transposed else 64), "float32")
    feeds = {"x": RNG.normal(size=x.shape).astype("f4")}

    def multiply(w):
        return sg.tanh(x) @ (w.T if transposed else w)

    passes = "O1,narrow{products=True, readers='all'}"
    program = sg.compile(multiply(sg.constant(matrix)), pipeline=passes, verify=True)
    stored = [x.dtype.name for x in program.schedule.buffers if x.size == matrix.size]
    assert stored == ["bfloat16"]
    rounded, numbers = (a.astype(as_dtype("bfloat16").numpy).astype("f8") for a in (
        matrix, np.tanh(feeds["x"])
    ))  # fmt: skip
    exact = numbers @ (rounded.T if transposed else rounded)
    np.testing.assert_allclose(program.run(feeds), exact, rtol=0, atol=2e-2)
    w = sg.input("w", matrix.shape, "float32")
    fed = sg.compile(multiply(sg.tanh(w)), pipeline=passes)
    same = sg.compile(multiply(sg.tanh(sg.constant(matrix))), pipeline=passes)
    assert same_bytes(same.run(feeds), fed.run({**feeds, "w": matrix}))


def test_convolutions_read_constants_that_were_widened_once():
    filters = sg.constant(RNG.normal(size=(4, 3, 3, 3)).astype("f2")).astype("float32")
    y = sg.nn.conv2d(sg.input("x", (1, 3, 9, 9), "float32"), filters)
    assert "cast" not in [step.label for step in sg.compile(y).schedule.steps]
