"""Budgets at batches that change: sequences are searched at canonical sizes, and serve others."""

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.budgets import MODELS, step
from benchmarks.optima import MODELS as OPTIMA
from passes.pipelines import pipeline
from passes.remat import search
from passes.remat.base import canonical_sizes, nearest
from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import BudgetInfeasible
from staticgrad.lowering.fuse import fuse
from staticgrad.memory.planner import Planner

BATCHES = (
    1,
    2,
    3,
    5,
    11,
    23,
    24,
    47,
    90,
    91,
    181,
    182,
    300,
    511,
    700,
    1023,
    1449,
    2047,
    3000,
    4096,
)


def chain(weights=8):
    """Layers whose weights are as large as their values at a batch of 16."""
    numbers = np.random.default_rng(0)
    h = sg.input("x", ("batch", 16), "float32")
    made = []
    for i in range(weights):
        start = numbers.standard_normal((16, 16)).astype("float32") / 4
        made.append(sg.parameter(f"w{i}", start))
        h = sg.tanh(h @ made[-1])
    loss = sg.square(h).mean()
    return sg.Graph({"loss": loss, "h": h}, sg.optim.SGD(0.1).updates(loss, made))


@pytest.fixture
def searches(monkeypatch):
    """An entry for each search."""
    found = []
    begin = search.BudgetSearch.__init__

    def counted(self, net, floor):
        found.append(floor)
        begin(self, net, floor)

    monkeypatch.setattr(search.BudgetSearch, "__init__", counted)
    return found


def test_the_nearest_power_of_two_is_nearest_by_ratio():
    found = [canonical_sizes({"n": n})["n"] for n in (0, 1, 2, 3, 5, 6, 11, 12, 181, 182, 1 << 40)]
    assert found == [0, 1, 2, 4, 4, 8, 8, 16, 128, 256, 1 << 40]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.55, 0.8])
def test_budgets_are_kept_at_every_batch_by_few_searches(share, searches):
    whole = Planner(fuse(pipeline("O1")(chain())))
    one, other = (Planner(whole.schedule) for _ in range(2))
    plans = {}
    for batch in BATCHES:
        top = whole.plan({"batch": batch}).peak_bytes
        one.budget = int(top * share)
        made = plans[batch] = one.plan({"batch": batch})
        assert made.peak_bytes <= one.budget
        verify_plan(made)
    searches.clear()
    for batch in reversed(BATCHES):  # sequences come from other batches than before
        other.budget = plans[batch].peak_bytes
        again = other.plan({"batch": batch})
        verify_plan(again)
        assert again.peak_bytes <= other.budget
        once = plan_seconds(whole.plan({"batch": batch}))
        assert plan_seconds(again) <= plan_seconds(plans[batch]) + 0.02 * once
        assert again == other.plan({"batch": batch})
    octaves = {canonical_sizes({"n": n})["n"] for n in BATCHES}
    assert 0 < len(searches) <= len(octaves) // 2  # a search serves its own, and some on each side


@pytest.mark.thinned(2)
@pytest.mark.parametrize("share", [0.8, 0.7])
def test_a_batch_of_another_octave_takes_over_sequences(share, searches):
    schedule = fuse(pipeline("O1")(step("u-shape", *MODELS["u-shape"])))
    whole, one = Planner(schedule), Planner(schedule)
    for batch in (256, 512, 1000, 70, 256):
        sizes = {"batch": batch}
        everything = whole.plan(sizes)
        one.budget = int(everything.peak_bytes * share)
        made = one.plan(sizes)
        verify_plan(made)
        assert made.peak_bytes <= one.budget
        assert len(searches) == 1
    alone = Planner(schedule, budget=one.budget)
    assert alone.plan({"batch": 256}) == made  # what is planned first depends on nothing else
    assert len(searches) == 2


def test_a_batch_where_sequences_of_another_are_dear_is_searched_anew(searches):
    """Where the batch is small the gradients of weights are most of the bytes."""
    schedule = fuse(pipeline("O1")(step("lstm, 4 steps", *OPTIMA["lstm, 4 steps"])))
    planner, sizes = Planner(schedule), {"batch": 64}
    planner.budget = int(0.7 * Planner(schedule).plan({"batch": 256}).peak_bytes)
    planner.plan({"batch": 256})
    assert len(searches) == 1
    planner.budget = int(0.7 * Planner(schedule).plan(sizes).peak_bytes)
    made = planner.plan(sizes)
    assert len(searches) == 2
    assert made == Planner(schedule, budget=planner.budget).plan(sizes)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_budget_below_what_every_plan_needs_is_sought_once(workers, searches):
    planner = Planner(fuse(pipeline("O1")(chain())), budget=1, workers=workers)
    with pytest.raises(BudgetInfeasible, match="the budget is 1") as told:
        planner.plan({"batch": 90})  # its canonical size is another
    assert len(searches) == 1
    planner.budget = told.value.smallest_peak
    assert planner.plan({"batch": 90}).peak_bytes == told.value.smallest_peak
    assert told.value.lower_bound > 1


def test_sequences_are_taken_over_from_the_nearest_sizes():
    known = [{"n": 64, "m": 4}, {"n": 256, "m": 4}, {"n": 256, "m": 64}]
    assert nearest({"n": 100, "m": 4}, known) == known[0]
    assert nearest({"n": 200, "m": 4}, known) == known[1]
    assert nearest({"n": 90, "m": 40}, known) == known[2]
    assert nearest({}, [{}]) == {}


def test_costs_rise_where_budgets_fall_between_canonical_sizes():
    planner, sizes = Planner(fuse(pipeline("O1")(chain()))), {"batch": 181}
    points = planner.front(sizes)
    heights = [made.peak_bytes for made, _ in points]
    assert heights == sorted(set(heights), reverse=True)
    for budget in (*heights, *(height + 64 for height in heights)):
        planner.budget = budget
        wanted = next(seconds for made, seconds in points if made.peak_bytes <= budget)
        assert plan_seconds(planner.plan(sizes)) <= wanted * (1 + 1e-9)
    planner.budget = heights[-1] - 64
    with pytest.raises(BudgetInfeasible, match=str(heights[-1])):
        planner.plan(sizes)


def test_sizes_whose_relation_changes_are_searched_anew():
    """At 9 rows the window leaves one, at the canonical 8 none."""
    x = sg.input("x", ("n", 64), "float32")
    w = sg.parameter("w", np.eye(64, dtype="float32"))
    h = sg.tanh(x[8:] @ w)
    for _ in range(6):
        h = sg.tanh(h @ w)
    graph = sg.Graph({}, sg.optim.SGD(0.1).updates(sg.square(h).sum(), [w]))
    planner = Planner(fuse(pipeline("O1")(graph)))
    for n in (9, 10, 11, 70):
        least = planner.front({"n": n})[-1][0].peak_bytes
        planner.budget = least
        assert planner.plan({"n": n}).peak_bytes <= least


@pytest.mark.parametrize("budget", ["60%", "absolute"])
def test_bytes_are_those_of_storing_everything(budget):
    graph, numbers = chain(6), np.random.default_rng(1)
    free = sg.compile(graph)
    limit = budget
    if budget == "absolute":
        limit = Planner(free.schedule).front({"batch": 90})[-1][0].peak_bytes
    tight = sg.compile(chain(6), memory_budget=limit)
    for batch in (90, 64, 47, 33):
        x = numbers.standard_normal((batch, 16)).astype("float32")
        one, two = free.run({"x": x}), tight.run({"x": x})
        assert one["loss"].tobytes() == two["loss"].tobytes()
        assert one["h"].tobytes() == two["h"].tobytes()


def test_no_budget_is_much_dearer_than_by_a_search_at_the_very_sizes():
    planner, sizes = (
        Planner(fuse(pipeline("O1")(step("u-shape", *MODELS["u-shape"])))),
        {"batch": 181},
    )
    problem = planner._problem(planner._numbers(sizes, 1), frozenset())
    (_, canonical, near), (_, own, here) = planner._fronts_at(sizes, problem, 1)
    points = own.points(problem, here)
    for point in points:
        found = canonical.within(problem, point.height, near)
        assert found is not None
        assert found.height <= point.height
        assert found.seconds <= point.seconds + 0.02 * points[0].seconds
    assert canonical._between  # without them one budget is 3 points dearer
