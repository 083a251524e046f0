"""The order of groups after a change is the one that sorting all of them gives."""

import numpy as np
import pytest

from benchmarks.compile_time import scaling
from passes.pipelines import pipeline
from staticgrad.compiler.fusion import engine
from staticgrad.compiler.fusion.engine import Precedence
from staticgrad.compiler.lowering.fuse import fuse


def edges_of(predecessors):
    return [
        (earlier, later)
        for later, earlier_numbers in predecessors.items()
        for earlier in earlier_numbers
    ]


def drawn(random, size):
    """Numbers with priorities, and predecessors that are among earlier ones."""
    priority = dict(enumerate(random.permutation(size).tolist()))
    predecessors = {}
    for number in range(size):
        first = max(0, number - 6)
        earlier_numbers = random.integers(first, number, min(number, 3)) if number else ()
        predecessors[number] = {int(index) for index in earlier_numbers}
    return priority, predecessors


@pytest.mark.parametrize("seed", range(8))
def test_an_order_that_was_changed_is_the_sorted_one(seed):
    random = np.random.default_rng(seed)
    priority, predecessors = drawn(random, 60)
    order = Precedence(predecessors, edges_of(predecessors), priority.__getitem__)
    for _ in range(25):
        chosen = [int(number) for number in random.choice([*predecessors], 3, replace=False)]
        first, second, gone = chosen
        removed = [gone] if random.random() < 0.5 else []
        changed = {}
        for number in (first, second):
            earlier = [
                candidate
                for candidate in predecessors
                if candidate < number and candidate not in removed
            ]
            earlier_numbers = (
                random.choice(earlier, min(2, len(earlier)), replace=False) if earlier else ()
            )
            changed[number] = {int(number) for number in earlier_numbers}
            priority[number] = int(random.integers(0, 60))
        for number, earlier_numbers in predecessors.items():
            if removed and gone in earlier_numbers and number not in changed and number != gone:
                changed[number] = earlier_numbers - {gone}
        for number in removed:
            changed.pop(number, None)
            del predecessors[number]
        predecessors.update(changed)
        order.change(changed, removed, priority.__getitem__)
        fresh = Precedence(predecessors, edges_of(predecessors), priority.__getitem__)
        assert order.all() == fresh.all()
        assert {n: order.predecessors(n) for n in predecessors} == predecessors
        places = [order.index_of(number) for number in order.all()]
        assert places == sorted(places)


@pytest.mark.parametrize("name", ["blocks", "wide"])
def test_fusion_sorts_anew_only_what_changed(name, monkeypatch):
    instances, changed = [], []
    begin, change = Precedence.__init__, engine.Engine._update_order

    def count_instances(self, *args):
        instances.append(1)
        begin(self, *args)

    def check_update(self, order, *args):
        done = change(self, order, *args)
        if done:
            changed.append(1)
            fresh = Precedence.__new__(Precedence)
            begin(fresh, self.groups, self._edges(), self._last_position)
            assert order.all() == fresh.all()
        return done

    monkeypatch.setattr(Precedence, "__init__", count_instances)
    monkeypatch.setattr(engine.Engine, "_update_order", check_update)
    fuse(pipeline("O1")(scaling.PROGRAMS[name](6 if name == "blocks" else 60)))
    assert len(instances) <= 8
    assert name != "blocks" or changed
