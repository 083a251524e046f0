"""Predicted seconds: operations and bytes counted by hand."""

import pytest

import staticgrad as sg
from staticgrad.analysis.cost import (
    FASTEST,
    Rates,
    all_seconds,
    plan_seconds,
    step_seconds,
    work_of,
)
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import plan
from tests.passes.test_memory import chain
from tests.runtime.handmade import ADD3, NEGATE, TAKE

SLOW_MEMORY = Rates(product_flops=1e30, map_flops=1e30, bandwidth=1.0, launch=0.0)
SLOW_MAPS = Rates(product_flops=1e30, map_flops=1.0, bandwidth=1e30, launch=0.0)
SLOW_PRODUCTS = Rates(product_flops=1.0, map_flops=1e30, bandwidth=1e30, launch=0.0)


def test_elementwise_kernels():
    assert step_seconds(NEGATE, [10], SLOW_MEMORY) == pytest.approx(2 * 4 * 10)
    assert step_seconds(ADD3, [10], SLOW_MEMORY) == pytest.approx(4 * 4 * 10)
    assert step_seconds(ADD3, [10], SLOW_MAPS) == pytest.approx(2 * 10)
    assert step_seconds(ADD3, [0], Rates(launch=3.0)) == 3.0
    assert step_seconds(TAKE, [10, 1000], SLOW_MEMORY) == pytest.approx((8 + 4 + 4) * 10)
    assert step_seconds(TAKE, [10, 1000], SLOW_MAPS) == pytest.approx(10)


def test_double_precision_products_cost_twice():
    seconds = []
    for dtype in ("float32", "float64"):
        x = sg.input("x", (20, 20), dtype)
        planned = plan(fuse(sg.Graph({"y": x @ x})), {})
        kernel = planned.schedule.steps[0].kernel
        seconds.append(step_seconds(kernel, planned.steps[0].arguments, SLOW_PRODUCTS))
    assert seconds[1] == 2 * seconds[0]
    x = sg.input("x", (1000,), "float32")
    seconds = [plan_seconds(plan(fuse(sg.Graph({"y": y})), {}), SLOW_MAPS) for y in (-x, sg.exp(x))]
    assert seconds[1] > 8 * seconds[0]


@pytest.mark.parametrize("dtype", ["int8", "int32"])
def test_divisions_of_whole_numbers_cost_more_than_memory(dtype):
    x, y = sg.input("x", (1000,), dtype), sg.input("y", (1000,), dtype)
    seconds = [plan_seconds(plan(fuse(sg.Graph({"z": z})), {}), FASTEST) for z in (x + y, x // y)]
    assert seconds[1] > 2 * seconds[0]


def test_a_plan_costs_what_its_runs_cost():
    planned = plan(chain(5), {"n": 100})
    seconds = step_seconds(NEGATE, [100])
    assert plan_seconds(planned) == pytest.approx(5 * seconds)
    assert all_seconds(planned.schedule.steps[:3], [(100,)] * 3) == (seconds,) * 3
    assert work_of(NEGATE) is work_of(NEGATE)
