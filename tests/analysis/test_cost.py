"""Predicted seconds: operations and bytes counted by hand."""

import pytest

import staticgrad as sg
from benchmarks.machine.prices import rank_correlation
from staticgrad.analysis.cost import (
    DEFAULT,
    FASTEST,
    Rates,
    all_seconds,
    plan_seconds,
    step_seconds,
)
from staticgrad.analysis.kernel_work import work_of
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import plan
from staticgrad.native.machine import Machine, assume_machine
from staticgrad.support.records import replace
from tests.passes.test_memory import chain
from tests.runtime.handmade import ADD3, NEGATE, TAKE

#: Nothing takes time; each test lets one kind of work take some.
FREE = Rates(
    1e30, 1e30, 1e30, (1e30,) * 3, 0.0, 0.0, launch=0.0, near_launch=0.0, cached=1e30, again=0.0
)
SLOW_MEMORY = replace(FREE, bandwidths=(1.0,) * 3)
SLOW_MAPS = replace(FREE, map_flops=1.0)
SLOW_PRODUCTS = replace(FREE, product_flops=1.0)


def test_elementwise_kernels():
    assert step_seconds(NEGATE, [10], SLOW_MEMORY) == pytest.approx(2 * 4 * 10)
    assert step_seconds(ADD3, [10], SLOW_MEMORY) == pytest.approx(4 * 4 * 10)
    assert step_seconds(ADD3, [20], SLOW_MAPS) == pytest.approx(2 * 32)  # the lanes of two vectors
    assert step_seconds(ADD3, [20], replace(SLOW_MAPS, fills_vectors=True)) == pytest.approx(2 * 20)
    assert step_seconds(ADD3, [10], SLOW_MAPS) == pytest.approx(2 * 10)  # short rows are packed
    assert step_seconds(ADD3, [0], replace(FREE, launch=3.0)) == 3.0
    assert step_seconds(TAKE, [10, 1000], SLOW_MEMORY) == pytest.approx((8 + 4 + 4) * 10)
    assert step_seconds(TAKE, [10, 1000], SLOW_MAPS) == pytest.approx(2 * 16)  # of i64, 8 a vector


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
    seconds = step_seconds(NEGATE, [100], replace(DEFAULT, launch=DEFAULT.near_launch))
    assert plan_seconds(planned) == pytest.approx(5 * seconds)
    assert all_seconds(planned.schedule.steps[:3], [(100,)] * 3) == (seconds,) * 3
    assert work_of(NEGATE) is work_of(NEGATE)


def predict(value, rates):
    """The seconds of all steps of a program together."""
    steps = fuse(sg.Graph({"y": value})).steps
    return sum(all_seconds(steps, [step.arguments for step in steps], rates, in_place=True))


X = sg.input("x", (4000,), "float32")


@pytest.mark.parametrize(
    ("program", "nbytes"),
    [
        (lambda x: x[1:] + x[:-1], 4 * (4000 + 3999)),  # overlapping parts are read once
        (lambda x: x[:2000] + x[2000:], 4 * (4000 + 2000)),
        (lambda x: x[:1000] + x[3000:], 4 * (2000 + 1000)),
        (lambda x: x[::4] * 2.0, 16 * 1000 + 4 * 1000),  # the whole line is fetched
        (lambda x: x[::20] * 2.0, 64 * 200 + 4 * 200),
        (lambda x: x[::2] + x[1::2], 4 * (4000 + 2000)),
    ],
)
def test_bytes_that_are_fetched(program, nbytes):
    assert predict(program(X), SLOW_MEMORY) == pytest.approx(nbytes)


def test_elements_that_lie_apart():
    one_by_one = replace(FREE, element=1.0)
    assert predict(X * 2.0, one_by_one) < 1e-20
    alone, together = predict(X[::4] * 2.0, one_by_one), predict(X[::2] + X[1::2], one_by_one)
    assert alone >= 1000
    assert together == pytest.approx(4000)
    assert alone / 1000 > together / 4000  # several of a line are put in order in registers


def test_rows_are_entered():
    table = sg.input("table", (100, 3000), "float32")
    assert predict(table[:, 5:] * 2.0, replace(FREE, row=1.0)) == pytest.approx(100)
    assert predict(table.sum(axis=1), replace(FREE, row=1.0)) < 1e-20  # rows behind each other
    assert predict(X * 2.0, replace(FREE, row=1.0)) < 1e-20


def test_products_are_entered_once_for_each_matrix():
    """Rows share tiles: a layer of three features has no loop over two columns for each row."""
    rates = replace(FREE, row=1.0)
    for batch, entered in (((), 1), ((50,), 50)):
        a, b = sg.input("a", (*batch, 1000, 3), "float32"), sg.input("b", (*batch, 3, 2), "float32")
        assert predict(a @ b, rates) <= entered + 1e-9


def test_traffic_has_the_bandwidth_of_its_level():
    rates = replace(FREE, bandwidths=(4.0, 2.0, 1.0))
    for l2, l3, bandwidth in ((32_000, 10**6, 4.0), (31_999, 32_000, 2.0), (100, 31_999, 1.0)):
        with assume_machine(Machine(l2=l2, l3=l3)):
            assert predict(X * 2.0, rates) == pytest.approx(32_000 / bandwidth)


def test_steps_of_a_small_schedule_are_launched_from_a_cache():
    rates = replace(FREE, launch=100.0, near_launch=1.0)
    value = (X @ sg.input("w", (4000, 10), "float32")) @ sg.input("v", (10, 4000), "float32")
    steps = fuse(sg.Graph({"y": value})).steps
    for l2, launch in ((1 << 20, 1.0), (1 << 10, 100.0)):
        with assume_machine(Machine(l2=l2)):
            assert predict(value, rates) == pytest.approx(len(steps) * launch)


def test_iterations_that_wait_are_not_vectors():
    rates = replace(FREE, map_flops=16.0, serial_flops=1.0)
    start = sg.input("start", (), "float32")
    last = sg.fori_loop(0, 1000, lambda _, v: v * 0.5 + 1.0, start)
    assert 1000 < predict(last, rates) < 10_000


def test_rank_correlations():
    """Spearman's, by hand: 1 - 6 * (1 + 1) / (4 * 15)."""
    assert rank_correlation([1.0, 2.0, 3.0, 9.0], [0.1, 0.3, 0.2, 7.0]) == pytest.approx(0.8)
    assert rank_correlation([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == pytest.approx(-1.0)
