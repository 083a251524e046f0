"""The text of plans: canonical, complete, and read back."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from passes.pipelines import pipeline
from staticgrad.analysis.binding import bind_sizes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import FeedError
from staticgrad.ir.plan import Placement, PlannedStep
from staticgrad.ir.plan_text import parse_plan, print_plan
from staticgrad.ir.schedule_text import parse_schedule, schedule_constants
from staticgrad.lowering.fuse import fuse
from staticgrad.memory.planner import Planner
from tests.cases import check_all
from tests.ir.mistakes import check_damaged, check_mistake
from tests.ir.schedule_samples import PLAN, SCHEDULE
from tests.passes.test_fuse import with_gradients
from tests.random_graphs import random_graph


def again(plan):
    return parse_plan(str(plan), constants=schedule_constants(plan.schedule))


def test_canonical_text_is_a_fixed_point_and_sound():
    plan = parse_plan(PLAN)
    assert str(plan) == PLAN
    verify_plan(plan)


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
        read = again(plan)
        assert read == plan
        assert str(read) == str(plan)
        verify_plan(read)


def test_a_text_is_read_as_what_it_says():
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
    assert again(odd) == odd
    assert str(again(odd)) == str(odd)


def test_steps_may_run_twice_and_buffers_have_two_places():
    plan = parse_plan(PLAN)
    twice = replace(
        plan,
        steps=(plan.steps[0], *plan.steps),
        placements=(*plan.placements, Placement("t4", 64, 72, 3, 4)),
    )
    assert again(twice) == twice


def test_without_comments_nothing_names_the_users_files():
    text = print_plan(parse_plan(PLAN), comments=False)
    assert "train.py" not in text
    assert parse_plan(text) == parse_plan(PLAN)


#: Old text, new text with § before what is to blame, headline.
MISTAKES = [
    ("staticgrad-plan", "§staticgrad-schedule", "the text of a plan starts with"),
    ("plan(batch=5)", "§plans(batch=5)", "expected 'plan'"),
    ("plan(batch=5)", "plan(batch=§x)", "expected the value of the size"),
    ("plan(batch=5)", "plan(batch=5, §batch=5)", "the size batch is declared twice"),
    ("arena 192", "arena §-192", "expected the bytes of the arena"),
    ("place t4 at", "place §t5 at", "t5 is not a buffer of the schedule"),
    ("live 0..1\n  place", "live 0 §place", "expected '..' after the first step"),
    ("run 1:", "run §3:", "the schedule has 3 steps"),
    ("run 1: k1", "run 0: §k1", "step 0 of the schedule is another kernel, or over other"),
    ("run 2: k2(param.w,", "run 2: §k2(in.x,", "over other buffers"),
    ("out.y; 5, 15)", "out.y; 5, §n)", "expected a number"),
    ("bytes c3 12", "bytes §in.x 12", "the bytes of in.x are given twice"),
    ("  bytes in.x", "  bytes in.x 1 §run 0", "expected place, run, bytes (in that order) or '}'"),
    ("out.y 20\n}\n", "out.y 20\n} §}\n", "the plan has ended"),
    ("mul %0, %1", "§mul %0", "mul takes 2 operands, got 1"),
]


def test_mistakes_are_shown_where_they_are():
    check_all(partial(check_mistake, parse_plan, PLAN), MISTAKES)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=100)
def test_damaged_text_is_a_parse_error_or_a_plan(data):
    check_damaged(parse_plan, PLAN, ["", *'()9-,"}\n#', ".."], data, PLAN.index("plan("))
