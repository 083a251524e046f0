"""Exchanges of what runs again: small fronts are optimal, and nothing that was there is lost."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from passes.remat import search
from passes.remat.cheapest import Cheapest, Found
from passes.remat.exchanges import exchange
from staticgrad.planning.descents import SLOPES, Descents
from staticgrad.planning.problem import Net
from staticgrad.planning.runs import Runs, is_valid
from tests.planning.problems import chain, optimum


@pytest.mark.parametrize(("length", "seed"), [(5, 2), (5, 3), (5, 4), (6, 2)])
def test_the_front_of_a_small_chain_is_the_optimum_at_every_budget(
    length: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without exchanges the third and the fourth have dearer sequences at some loads."""
    monkeypatch.setattr(search, "EFFORT", (900_000, *search.EFFORT[1:]))  # tests have a part of it
    problem = chain(length, seed)
    net = Net.of(problem)
    seeking = search.BudgetSearch(net, 0)
    seeking.begin_with(range(len(net.ops)))
    found = seeking.found()
    assert len(found) > 2
    for upper, lower in pairwise(found):
        assert optimum(problem, upper.load) == upper.cost
        assert optimum(problem, upper.load - 1) == lower.cost


@pytest.mark.parametrize(("length", "seed"), [(12, 1), (20, 5)])
def test_exchanges_lose_nothing_and_give_sequences_that_can_run(length: int, seed: int) -> None:
    net = Net.of(chain(length, seed))
    descents, cheapest = Descents(net), Cheapest()
    order = descents.laid_out(range(len(net.ops)))
    top = descents.peak
    cheapest.add(Found(top, net.cost(order), tuple(order)))
    for part in range(5, 10):
        ops = descents.descended(order, top * part // 10, SLOPES[0], Random(1), 10_000_000)
        cheapest.add(Found(descents.peak, net.cost(ops), tuple(ops)))
    before = cheapest.found
    exchange(descents, cheapest, 20_000_000)
    assert cheapest.found != before
    for old in before:
        new = cheapest.within(old.load)
        assert new is not None
        assert new.cost <= old.cost
    for new in cheapest.found:
        assert is_valid(net, new.ops)
        assert new.load == Runs(net, new.ops).peak
        assert new.cost == net.cost(new.ops)


def test_a_descent_drops_nothing_that_is_held() -> None:
    net = Net.of(chain(8))
    descents, order = Descents(net), [*range(len(net.ops))]
    descents.laid_out(order)
    goal = descents.peak - 1
    with descents.holding(range(len(net.sizes))):
        assert descents.descended(order, goal, SLOPES[0], Random(1), 10_000_000) == order
    assert len(descents.descended(order, goal, SLOPES[0], Random(1), 10_000_000)) > len(order)
    assert descents.peak <= goal
