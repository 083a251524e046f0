"""Predicted seconds: operations and bytes counted by hand."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.cost import (
    FASTEST,
    NEAR,
    Rates,
    all_seconds,
    plan_seconds,
    step_seconds,
    work_of,
)
from staticgrad.ir.bodies import BodyStep
from staticgrad.lowering.fuse import fuse
from staticgrad.memory.planner import plan
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


def test_products_and_their_epilogues():
    x = sg.input("x", ("m", 30), "float32")
    w = sg.input("w", (30, 50), "float32")
    (step,) = fuse(pipeline("O1")(sg.Graph({"y": x @ w * 2.0 + 1.0}))).steps
    made = plan(fuse(pipeline("O1")(sg.Graph({"y": x @ w * 2.0 + 1.0}))), {"m": 7})
    arguments = made.steps[0].arguments
    assert step_seconds(step.kernel, arguments, SLOW_PRODUCTS) == pytest.approx(2 * 7 * 30 * 50)
    assert step_seconds(step.kernel, arguments, SLOW_MAPS) == pytest.approx(2 * 7 * 50)
    moved = 4 * (7 * 30 + 30 * 50 + 7 * 50)
    assert step_seconds(step.kernel, arguments, SLOW_MEMORY) == pytest.approx(moved)


def test_both_sides_of_a_sigmoid_take_one_exponential():
    """What the formulas of s(x) and s(-x) have in common is computed, and counted, once."""
    x = sg.input("x", ("n",), "float32")
    one, both = (
        step_seconds(fuse(sg.Graph({"y": y})).steps[0].kernel, [1], SLOW_MAPS)
        for y in (sg.sigmoid(x), sg.sigmoid(x) * sg.sigmoid(-x))
    )
    # -x, which of two is in the numerator, the second quotient; the product
    assert both == one + 3 + 1 + 1


def test_double_precision_products_cost_twice():
    seconds = []
    for dtype in ("float32", "float64"):
        x = sg.input("x", (20, 20), dtype)
        made = plan(fuse(sg.Graph({"y": x @ x})), {})
        kernel = made.schedule.steps[0].kernel
        seconds.append(step_seconds(kernel, made.steps[0].arguments, SLOW_PRODUCTS))
    assert seconds[1] == 2 * seconds[0]
    x = sg.input("x", (1000,), "float32")
    seconds = [plan_seconds(plan(fuse(sg.Graph({"y": y})), {}), SLOW_MAPS) for y in (-x, sg.exp(x))]
    assert seconds[1] > 8 * seconds[0]


def test_reductions_read_what_they_add():
    x = sg.input("x", (40, 60), "float32")
    for axis, kept in ((0, 60), (1, 40)):
        made = plan(fuse(sg.Graph({"y": x.sum(axis)})), {})
        kernel = made.schedule.steps[0].kernel
        moved = step_seconds(kernel, made.steps[0].arguments, SLOW_MEMORY)
        assert moved == pytest.approx(4 * (40 * 60 + kept))
        assert step_seconds(kernel, made.steps[0].arguments, SLOW_MAPS) == pytest.approx(2400)


@pytest.mark.parametrize("dtype", ["int8", "int32"])
def test_divisions_of_whole_numbers_cost_more_than_memory(dtype):
    x, y = sg.input("x", (1000,), dtype), sg.input("y", (1000,), dtype)
    seconds = [plan_seconds(plan(fuse(sg.Graph({"z": z})), {}), FASTEST) for z in (x + y, x // y)]
    assert seconds[1] > 2 * seconds[0]


def test_a_plan_costs_what_its_runs_cost():
    made = plan(chain(5), {"n": 100})
    each = step_seconds(NEGATE, [100])
    assert plan_seconds(made) == pytest.approx(5 * each)
    assert all_seconds(made.schedule.steps[:3], [(100,)] * 3) == (each,) * 3
    assert work_of(NEGATE) is work_of(NEGATE)


#: Elements beyond the caches take a second each, those of operands that stay in one a thousandth.
CACHED = Rates(1e30, 1e30, bandwidth=4.0, launch=0.0, cached=4000.0, again=0.0)
SIDE = 64


def driven(iterations):
    """A loop, or loops in each other, of ``h @ u + x`` over the rows of an array; its plan."""
    x = sg.input("x", (*iterations, SIDE, SIDE), "float32")
    u = sg.input("u", (SIDE, SIDE), "float32")

    def iteration(h, each):
        if len(each.shape) > 2:
            return sg.scan(iteration, h, each)[0], None
        return h @ u + each, None

    last, _ = sg.scan(iteration, sg.zeros((SIDE, SIDE), "float32"), x)
    made = plan(fuse(pipeline("O1")(sg.Graph({"h": last}))), {})
    ((planned, step),) = [
        (planned, step)
        for planned in made.steps
        if isinstance(step := made.schedule.steps[planned.step], BodyStep)
    ]
    return made, planned, step


@pytest.mark.parametrize("iterations", [(2,), (64,), (65,), (1000,), (5, 13), (4, 16), (3, 4)])
def test_loops_find_in_a_cache_what_iterations_share_or_all_of_them_touch_little_of(iterations):
    _, planned, step = driven(iterations)
    count, matrix = np.prod(iterations), SIDE * SIDE
    far = bool(4 * matrix * count > NEAR)  # the rows of x; h, u and the result stay
    (seconds,) = all_seconds([step], [planned.arguments], CACHED)
    each = matrix * (1.0 if far else 1e-3) + 3 * matrix * 1e-3
    assert seconds == pytest.approx(count * each, rel=1e-6)


def test_a_loop_of_one_iteration_costs_what_its_step_costs():
    _, planned, step = driven((1,))
    (seconds,) = all_seconds([step], [planned.arguments], CACHED)
    assert seconds == pytest.approx(4 * SIDE * SIDE)


def test_inner_rows_of_what_an_iteration_makes_are_those_of_one_iteration():
    x = sg.input("x", (40, SIDE, SIDE), "float32")
    u = sg.input("u", (SIDE, SIDE), "float32")

    def outer(h, each):
        stack = sg.scan(lambda g, _: (g @ u, g @ u), each, None, length=30)[1]
        return sg.scan(lambda g, e: (g @ u + e, None), h, stack)[0], None

    last, _ = sg.scan(outer, sg.zeros((SIDE, SIDE), "float32"), x)
    made = plan(fuse(pipeline("O1")(sg.Graph({"h": last}))), {})
    (step,) = [s for s in made.schedule.steps if isinstance(s, BodyStep)]
    (planned,) = [p for p in made.steps if made.schedule.steps[p.step] is step]
    repeated = [call for call in step.calls(planned.arguments) if call.times == 40 * 30]
    assert repeated
    assert {place.parts for call in repeated for place in call.places} == {1, 30}
