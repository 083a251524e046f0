"""Fifty layers of 256 at batch 1024 under SGD: what each policy and budget needs."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from passes.remat import Recompute, Sqrt
from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.plan_check import lower_bound, verify_plan
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import BudgetInfeasible

WIDTH, BATCH = 256, {"batch": 1024}


def deep(layers, activation, width=WIDTH):
    """An MLP with a squared loss; every weight and bias takes a step of SGD."""
    numbers = np.random.default_rng(0)
    x = sg.input("x", ("batch", width), "float32")
    h, parameters = x, []
    for i in range(layers):
        start = numbers.standard_normal((width, width)).astype("float32") / np.float32(width**0.5)
        w, b = sg.parameter(f"w{i}", start), sg.parameter(f"b{i}", np.zeros(width, "float32"))
        parameters += [w, b]
        h = h @ w + b
        if i < layers - 1:
            h = sg.nn.relu(h) if activation == "relu" else sg.tanh(h)
    loss = ((h - sg.input("y", ("batch", width), "float32")) ** 2).mean()
    updates = {p: p - 0.01 * g for p, g in zip(parameters, sg.grad(loss, parameters), strict=True)}
    return sg.Graph({"loss": loss}, updates)


def schedule_of(activation):
    return fuse(pipeline("O1")(deep(50, activation)))


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_policies_need_less_than_half(activation):
    schedule = schedule_of(activation)
    plans = [Planner(schedule).plan(BATCH)]
    plans += [Planner(schedule, policy).plan(BATCH) for policy in (Sqrt(), Recompute())]
    for planned in plans:
        verify_plan(planned)
    store_all, sqrt, recompute = plans
    assert sqrt.peak_bytes <= 0.45 * store_all.peak_bytes
    assert recompute.peak_bytes <= 0.35 * store_all.peak_bytes
    # one more forward pass is about a third of the step
    assert plan_seconds(sqrt) <= 1.4 * plan_seconds(store_all)
    assert plan_seconds(recompute) <= 1.4 * plan_seconds(store_all)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_budget_at_the_peak_of_each_policy_is_met(activation):
    schedule = schedule_of(activation)
    planner = Planner(schedule)
    store_all = planner.plan(BATCH).peak_bytes
    for policy in (Sqrt(), Recompute()):
        by_policy = Planner(schedule, policy).plan(BATCH)
        planner.budget = by_policy.peak_bytes
        by_budget = planner.plan(BATCH)
        verify_plan(by_budget)
        assert by_budget.peak_bytes <= by_policy.peak_bytes
        assert plan_seconds(by_budget) <= plan_seconds(by_policy)
    smallest = planner.front(BATCH)[-1][0]
    verify_plan(smallest)
    assert smallest.peak_bytes <= 0.1 * store_all
    planner.budget = int(0.9 * smallest.peak_bytes)
    with pytest.raises(BudgetInfeasible, match="no plan of its kernels needs fewer") as caught:
        planner.plan(BATCH)
    assert caught.value.lower_bound == lower_bound(smallest)
    assert "h = h @ w + b" in str(caught.value)
