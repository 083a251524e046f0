"""Searches: small fronts are the optimum, and nothing that was there is lost."""

from random import Random

import pytest

from passes.remat import search
from passes.remat.search import Cheapest, Found, walk
from staticgrad.planning.descents import SLOPES, Descents
from staticgrad.planning.problem import Net
from tests.planning.problems import Runs, chain, is_valid, optimum, random_problem


def _front(problem, monkeypatch):
    """What the search finds with all of its effort; tests have a part of it."""
    monkeypatch.setattr(search, "EFFORT", (900_000, *search.EFFORT[1:]))
    net = Net.of(problem)
    seeking = search.BudgetSearch(net, 0)
    seeking.begin_with(range(len(net.ops)))
    return seeking.found()


@pytest.mark.thinned(4)
@pytest.mark.parametrize(
    "problem",
    [
        *(chain(5, seed) for seed in (2, 4)),
        *(chain(6, seed) for seed in (1, 2)),
        *(random_problem(seed, 7) for seed in (4, 5, 6)),
    ],
    ids=lambda problem: f"{len(problem.ops)} ops, {problem.cost:g}",
)
def test_small_fronts_are_the_optimum_at_every_budget(problem, monkeypatch):
    """Without walks these problems have dearer sequences at some loads, or none."""
    found = _front(problem, monkeypatch)
    for upper, cost in zip(found, [*(each.cost for each in found[1:]), None], strict=True):
        assert optimum(problem, upper.load) == upper.cost
        assert optimum(problem, upper.load - 1) == cost


@pytest.mark.parametrize(("length", "seed"), [(12, 1), (20, 5)])
def test_nothing_is_lost_and_what_is_found_can_run(length, seed):
    net = Net.of(chain(length, seed))
    descents, cheapest = Descents(net), Cheapest()
    order = descents.laid_out(range(len(net.ops)))
    top = descents.peak
    cheapest.add(Found(top, net.cost(order), tuple(order)))
    for part in range(5, 10):
        ops = descents.descended(order, top * part // 10, SLOPES[0], Random(1), 10_000_000)
        cheapest.add(Found(descents.peak, net.cost(ops), tuple(ops)))
    before = cheapest.found
    walk(descents, cheapest, 0, Random(1), 20_000_000)
    assert cheapest.found != before
    for old in before:
        new = cheapest.within(old.load)
        assert new is not None
        assert new.cost <= old.cost
    for new in cheapest.found:
        assert is_valid(net, new.ops)
        assert new.load == Runs(net, new.ops).peak
        assert new.cost == net.cost(new.ops)
