"""The text of schedules and plans: canonical, complete, and read back."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from passes.pipelines import pipeline
from staticgrad.analysis.binding import bind_sizes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import ArgumentError, FeedError, ParseError
from staticgrad.ir.plan import Placement, PlannedStep
from staticgrad.ir.schedule import Binding, Buffer, Schedule
from staticgrad.ir.schedule_text import (
    parse_plan,
    parse_schedule,
    schedule_constants,
)
from staticgrad.lowering.fuse import fuse
from staticgrad.memory.planner import Planner
from staticgrad.types.arrays import ArrayData
from staticgrad.types.dim import dim
from staticgrad.types.dtype import F32
from tests.ir.schedule_samples import PLAN, SCHEDULE
from tests.random_programs import random_graph, with_gradients


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
