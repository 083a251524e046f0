"""Budgets of schedules that are too long for sequences to be taken apart and built again."""

from itertools import pairwise

import pytest

from benchmarks.budgets import perceptron, step
from passes.pipelines import pipeline
from passes.remat import search
from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.lowering.fuse import fuse
from staticgrad.memory.planner import Planner


@pytest.mark.slow
def test_a_long_chain_has_a_plan_near_every_budget(monkeypatch):
    monkeypatch.setattr(search, "EFFORT", (100_000, 60_000_000, 0))
    planner = Planner(fuse(pipeline("O1")(step("long", perceptron(130, 64), 64))))
    assert len(planner.schedule.steps) > 600
    points = planner.front({"batch": 256})
    (top, least), *_ = ((made.peak_bytes, seconds) for made, seconds in points)
    shares = [made.peak_bytes / top for made, _ in points]
    assert all(one - two <= 0.035 for one, two in pairwise(shares))
    assert shares[-1] < 0.1
    for share, most in ((0.9, 0.05), (0.8, 0.09), (0.5, 0.22)):
        planner.budget = int(share * top)
        verify_plan(planner.plan({"batch": 256}))
        seconds = min(s for made, s in points if made.peak_bytes <= planner.budget)
        assert seconds <= least * (1 + most)
    _check_between(planner, points)


def _check_between(planner, points):
    """Budgets between two listed plans have plans of their own, and smaller ones no quicker."""
    quicker, before = 0, 0.0
    for hundredths in range(92, 70, -2):
        planner.budget = points[0][0].peak_bytes * hundredths // 100
        made = planner.plan({"batch": 256})
        verify_plan(made)
        seconds = plan_seconds(made)
        listed = min(s for made, s in points if made.peak_bytes <= planner.budget)
        assert before <= seconds * (1 + 1e-9)
        assert seconds <= listed * (1 + 1e-9)
        quicker += seconds < listed * (1 - 1e-4)
        before = seconds
    assert quicker >= 3
