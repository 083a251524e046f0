"""Walks over sequences: what they keep up to date, and what they find."""

from __future__ import annotations

import random

from hypothesis import given, settings, strategies as st

from staticgrad.config import options
from staticgrad.planning import sequence_arrays
from staticgrad.planning.checking import check_plan
from staticgrad.planning.descents import Descents
from staticgrad.planning.exact import solved
from staticgrad.planning.planner import plan_abstract
from staticgrad.planning.problem import MemoryOp, MemoryProblem, MemoryValue, Net
from staticgrad.planning.runs import Runs, is_valid
from staticgrad.planning.walk_code import walk
from tests.planning.problems import chain, random_problem

seeds = st.integers(0, 10_000)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, heat=st.sampled_from([0.01, 1.0]), share=st.sampled_from([0.9, 0.7, 0.5]))
def test_a_walk_knows_the_loads_and_the_lives_of_its_sequence(seed, heat, share):
    """Loads, bytes alive and events are mended change by change; here they are those of the last
    sequence, counted anew by other code."""
    net = Net.of(random_problem(seed, 12))
    order = range(len(net.ops))
    goal = int(share * Runs(net, order).peak)
    descents = Descents(net)
    found = descents.walked(order, goal, heat, random.Random(seed), 20_000)
    assert is_valid(net, found)
    assert descents.peak == Runs(net, found).peak

    arrays = sequence_arrays.SequenceArrays.of(net)
    words = arrays.words
    words[sequence_arrays.TRIAL] = len(order)
    arrays.trial[: len(order)] = arrays.dear[: len(order)]
    words[sequence_arrays.GOAL] = goal
    words[sequence_arrays.HOT] = int(heat * sequence_arrays.SCALE)
    words[sequence_arrays.RANDOM] = seed + 1
    words[sequence_arrays.EFFORT] = 8_000
    walk(arrays)
    length = words[sequence_arrays.LENGTH]
    last = arrays.sequence[:length].tolist()
    assert is_valid(net, last)
    runs = Runs(net, last)
    assert runs.sequence == last
    assert arrays.load[:length].tolist() == runs.loads
    assert arrays.across[: length + 1].tolist() == runs.across
    beyond = sum(max(0, load - goal) for load in runs.loads)
    assert words[sequence_arrays.EXCESS] == beyond
    for value, events in enumerate(runs.events):
        begin, end = arrays.event_at[value], arrays.event_at[value + 1]
        assert arrays.event[begin:end].tolist() == events


@settings(max_examples=6, deadline=None)
@given(seed=seeds)
def test_machine_code_walks_as_it_is_written(seed):
    net = Net.of(random_problem(seed, 12))
    order = range(len(net.ops))
    goal = int(0.7 * Runs(net, order).peak)
    found = []
    for jit, effort in ((True, 5_000), (False, 300_000)):  # what is not compiled counts 60 times
        with options(jit=jit):
            found.append(Descents(net).walked(order, goal, 0.05, random.Random(1), effort))
    assert found[0] == found[1]


def wide(count: int) -> MemoryProblem:
    """Large values are made first, then each is made small: in another order one is there at a
    time. None may be made again."""
    values = [MemoryValue(f"a{i}", 100) for i in range(count)]
    values += [MemoryValue(f"b{i}", 1) for i in range(count)] + [MemoryValue("x", 1)]
    values.append(MemoryValue("sum", 1))
    ops = [MemoryOp(f"f{i}", "f", ("x",), (f"a{i}",), 1.0, max_runs=1) for i in range(count)]
    ops += [MemoryOp(f"g{i}", "g", (f"a{i}",), (f"b{i}",), 1.0) for i in range(count)]
    ops.append(MemoryOp("sum", "sum", tuple(f"b{i}" for i in range(count)), ("sum",), 1.0))
    return MemoryProblem(tuple(values), tuple(ops), frozenset({"x"}), outputs=("sum",))


def test_another_order_costs_nothing():
    problem = wide(8)
    budget = 100 + 8 + 1
    plan = plan_abstract(problem, budget)
    check_plan(problem, plan.document(), budget=budget)
    assert plan.overhead == 0


def test_a_walk_is_no_dearer_than_the_solver_in_the_given_order():
    net = Net.of(chain(8, seed=1))
    order = range(len(net.ops))
    goal = int(0.7 * Runs(net, order).peak)
    found = Descents(net).walked(order, goal, 0.01, random.Random(1), 3_000_000)
    solution = solved(net, order, goal, 20.0)
    assert Runs(net, found).peak <= goal
    assert net.cost(found) <= net.cost(solution.sequence) * (1.0 + 1e-9)
