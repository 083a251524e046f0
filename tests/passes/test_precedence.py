"""The order of groups after a change is the one that sorting all of them gives."""

import numpy as np
import pytest

from benchmarks import scaling
from passes.pipelines import pipeline
from staticgrad.compiler.fusion import engine
from staticgrad.compiler.fusion.engine import Precedence
from staticgrad.compiler.lowering.fuse import fuse


def edges_of(before):
    return [(earlier, later) for later, several in before.items() for earlier in several]


def drawn(random, size):
    """Numbers with priorities, and predecessors that are among earlier ones."""
    priority = dict(enumerate(random.permutation(size).tolist()))
    before = {}
    for number in range(size):
        first = max(0, number - 6)
        several = random.integers(first, number, min(number, 3)) if number else ()
        before[number] = {int(each) for each in several}
    return priority, before


@pytest.mark.parametrize("seed", range(8))
def test_an_order_that_was_changed_is_the_sorted_one(seed):
    random = np.random.default_rng(seed)
    priority, before = drawn(random, 60)
    order = Precedence(before, edges_of(before), priority.__getitem__)
    for _ in range(25):
        chosen = [int(each) for each in random.choice([*before], 3, replace=False)]
        first, second, gone = chosen
        removed = [gone] if random.random() < 0.5 else []
        changed = {}
        for number in (first, second):
            earlier = [each for each in before if each < number and each not in removed]
            several = random.choice(earlier, min(2, len(earlier)), replace=False) if earlier else ()
            changed[number] = {int(each) for each in several}
            priority[number] = int(random.integers(0, 60))
        for number, several in before.items():
            if removed and gone in several and number not in changed and number != gone:
                changed[number] = several - {gone}
        for number in removed:
            changed.pop(number, None)
            del before[number]
        before.update(changed)
        order.change(changed, removed, priority.__getitem__)
        fresh = Precedence(before, edges_of(before), priority.__getitem__)
        assert order.all() == fresh.all()
        assert {n: order.predecessors(n) for n in before} == before
        places = [order.index_of(number) for number in order.all()]
        assert places == sorted(places)


@pytest.mark.parametrize("name", ["blocks", "wide"])
def test_fusion_sorts_anew_only_what_changed(name, monkeypatch):
    made, changed = [], []
    begin, change = Precedence.__init__, engine.Engine._update_order

    def counted(self, *args):
        made.append(1)
        begin(self, *args)

    def checked(self, order, *args):
        done = change(self, order, *args)
        if done:
            changed.append(1)
            fresh = Precedence.__new__(Precedence)
            begin(fresh, self.groups, self._edges(), self._last_position)
            assert order.all() == fresh.all()
        return done

    monkeypatch.setattr(Precedence, "__init__", counted)
    monkeypatch.setattr(engine.Engine, "_update_order", checked)
    fuse(pipeline("O1")(scaling.PROGRAMS[name](6 if name == "blocks" else 60)))
    assert len(made) <= 8
    assert name != "blocks" or changed
