"""The text of schedules and plans: canonical, complete, and read back."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.binding import bind_sizes
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import ArgumentError, FeedError, ParseError
from staticgrad.ir.plan import Placement, PlannedStep
from staticgrad.ir.schedule import Binding, Buffer, KernelStep, Schedule
from staticgrad.ir.schedule_text import (
    parse_plan,
    parse_schedule,
    print_plan,
    print_schedule,
    schedule_constants,
)
from staticgrad.lowering.fuse import fuse
from staticgrad.memory.planner import Planner
from staticgrad.types.arrays import ArrayData
from staticgrad.types.dim import dim
from staticgrad.types.dtype import F32, F64
from tests.ir.schedule_samples import PLAN, SCHEDULE
from tests.passes.test_fuse import with_gradients
from tests.random_graphs import random_graph
from tests.runtime.handmade import ADD, COPY, TAKE, Builder, N
from tests.schedules import run_schedule


def again(schedule):
    return parse_schedule(str(schedule), constants=schedule_constants(schedule))


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


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=8)
def test_a_schedule_that_was_read_computes_the_same_bytes(seed):
    graph, feeds = random_graph(np.random.default_rng(seed))
    graph = with_gradients(graph)
    try:
        sizes = bind_sizes(graph, {name: np.shape(array) for name, array in feeds.items()}, None)
    except FeedError:
        return  # a size that no feed determines
    computes_the_same(fuse(pipeline("O1")(graph)), graph, feeds, sizes)


def computes_the_same(schedule, graph, feeds, sizes):
    expected = run_schedule(schedule, graph, feeds, sizes)
    found = run_schedule(again(schedule), graph, feeds, sizes)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert same_bytes(array, found[name]), name


@pytest.mark.slow
def test_every_kind_of_stage_computes_the_same_bytes(rng):
    x, y = sg.input("x", ("batch", 7), "float32"), sg.input("y", ("batch",), "int64")
    w = sg.parameter("w", rng.standard_normal((7, 5)).astype("float32"))
    table = sg.constant(rng.standard_normal((5, 6)).astype("float32"))
    loss = sg.nn.cross_entropy(sg.tanh(x @ w) @ table, y)
    dx, dw = sg.grad(loss, [x, w])
    rows = sg.take(x, y, axis=1)
    (scattered,) = sg.grad((rows * rows).sum(), [x])
    outputs = {"loss": loss, "dx": dx, "columns": dx.sum(axis=0), "scattered": scattered}
    graph = pipeline("O1")(sg.Graph(outputs, updates={w: w - 0.1 * dw}))
    schedule = fuse(graph)
    stages = {type(stage).__name__ for kernel in schedule.kernels for stage in kernel.stages}
    assert stages == {"Map", "Columns", "Scalar", "Gemm", "Loop"}
    assert any(kernel.serial for kernel in schedule.kernels)
    feeds = {"x": rng.standard_normal((4, 7)).astype("float32"), "y": np.array([0, 5, 2, 2])}
    computes_the_same(schedule, graph, feeds, {"batch": 4})


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
    assert w.origin.labelled == "train.py:4 [head]"
    assert c.data == ArrayData(np.array([[1, -0.0, np.inf]], "float32"))
    assert t.size == 3 * batch + 3
    assert schedule.outputs == (("y", y.name),)
    first, second, last = schedule.steps
    assert first.operands == (Binding("in.x"), Binding("c3"), Binding("t4", 3))
    assert first.arguments == (batch, 3)
    assert (first.total, first.grain, first.phase, first.label) == (batch, 5461, 0, "mul")
    assert [o.labelled for o in first.origins] == ["train.py:8", "train.py:9 [a/b]"]
    assert (second.label, last.phase, last.origins) == ("", 1, ())


def handmade():
    built = Builder()
    x, y = built.buffer("input", label="x"), built.buffer("output", label="y")
    built.step(ADD, x, x, y)
    return built


def test_kernels_of_one_text_are_one_kernel():
    built = Builder()
    x, t, y = (built.buffer(role, label=role) for role in ("input", "temp", "output"))
    copied = parse_schedule(str(handmade().schedule(y="b1"))).kernels[0]
    assert copied is not ADD
    built.step(ADD, x, x, t)
    built.step(copied, t, x, y)
    schedule = built.schedule(y=y)
    assert schedule.kernels == (ADD,)
    assert str(schedule).count("kernel") == 1
    assert len({id(step.kernel) for step in again(schedule).steps}) == 1


@pytest.mark.parametrize("offset", [5, -5, N, -N + 8, 2 * N - 3, -(N // 2), N // 2, 3 - N * N])
def test_offsets_read_back(offset):
    built = handmade()
    step = built.steps[0]
    built.steps[0] = KernelStep(
        step.kernel, (Binding("b0", offset), *step.operands[1:]), (N,), N - 1, 3, 2, 'a "label"'
    )
    schedule = built.schedule(y="b1")
    assert again(schedule) == schedule
    assert again(schedule).steps[0].label == 'a "label"'


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
    constants = schedule_constants(schedule)
    assert list(constants) == [large.digest]
    assert [b.data for b in again(schedule).buffers] == [large, small, empty]
    with pytest.raises(ParseError, match="no array is bound"):
        parse_schedule(str(schedule))
    with pytest.raises(ArgumentError, match="has the digest"):
        parse_schedule(str(schedule), constants={large.digest: np.arange(41.0)})


@pytest.mark.parametrize(
    "where", ["a, b.py:3", "train.py:3 [a, b:7]", "<cell>:1", "odd name:2.py:9 [s]"]
)
def test_odd_file_names_in_comments_are_kept(where):
    text = SCHEDULE.replace("train.py:8, train.py:9 [a/b]", f"x.py:1, {where}, y.py:2")
    assert str(parse_schedule(text)) == text
    assert len(parse_schedule(text).steps[0].origins) >= 3


def test_without_comments_nothing_names_the_users_files():
    schedule, plan = parse_schedule(SCHEDULE), parse_plan(PLAN)
    text = print_schedule(schedule, comments=False)
    assert "#" not in text
    assert parse_schedule(text) == schedule
    text = print_plan(plan, comments=False)
    assert "train.py" not in text
    assert parse_plan(text) == plan


def test_promises_of_sizes_are_part_of_the_schedule():
    loose = SCHEDULE.replace("size batch {min=1, hint=64}\n", "")
    assert parse_schedule(loose) != parse_schedule(SCHEDULE)
    assert str(parse_schedule(loose)) == loose
    schedule = parse_schedule(SCHEDULE.replace("# train.py:3", "# a remark"))
    assert schedule.buffers[0].origin is None
    lines = [line for line in SCHEDULE.splitlines() if "step k2(" not in line]
    with pytest.raises(ParseError, match="no step uses the kernel k2") as caught:
        parse_schedule("\n".join(lines))
    assert lines[caught.value.line - 1].startswith("  kernel k2(")


@pytest.mark.slow
def test_a_long_schedule_needs_no_recursion():
    built = Builder()
    names = [built.buffer("input", label="x"), *(built.buffer("temp") for _ in range(5_000))]
    for source, target in pairwise(names):
        built.step(COPY, source, target)
    schedule = built.schedule()
    assert again(schedule) == schedule


def test_checks_are_kept():
    built = Builder()
    x = built.buffer("input", label="x")
    wanted = built.buffer("input", 5, "i", dtype=TAKE.operands[1].dtype)
    y, words = (
        built.buffer("output", 5, "y"),
        built.buffer("check", 2, dtype=TAKE.operands[3].dtype),
    )
    built.step(TAKE, x, wanted, y, words, arguments=(5, N))
    assert again(built.schedule(y=y)) == built.schedule(y=y)
    assert F64 not in {b.dtype for b in built.buffers}


def plan_again(plan):
    return parse_plan(str(plan), constants=schedule_constants(plan.schedule))


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


def test_odd_numbers_and_names_read_back():
    plan = parse_plan(PLAN)
    first = replace(plan.steps[0], arguments=(-5, 3), offsets=(-4, 0, 8), total=0)
    odd = replace(
        plan,
        sizes=(("batch", 0), ("größe", 7)),
        steps=(plan.steps[1], first),
        placements=(),
        buffer_bytes=(),
    )
    assert plan_again(odd) == odd
    assert str(plan_again(odd)) == str(odd)


def test_steps_may_run_twice_and_buffers_have_two_places():
    plan = parse_plan(PLAN)
    twice = replace(
        plan,
        steps=(plan.steps[0], *plan.steps),
        placements=(*plan.placements, Placement("t4", 64, 72, 3, 4)),
    )
    assert plan_again(twice) == twice
