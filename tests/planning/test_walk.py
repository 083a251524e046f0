"""Walks over sequences: what they keep up to date, and what they find."""

import random

from hypothesis import given, settings, strategies as st

from staticgrad.config import options
from staticgrad.planning import sequences
from staticgrad.planning.descents import Descents
from staticgrad.planning.placed import Runs, is_valid
from staticgrad.planning.problem import Net
from staticgrad.planning.walks import walk
from tests.planning.problems import random_problem

seeds = st.integers(0, 10_000)


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    heat=st.sampled_from([0.01, 1.0]),
    share=st.sampled_from([0.9, 0.7, 0.5]),
    price=st.sampled_from([0, 5_000]),
)
def test_a_walk_knows_the_loads_and_the_lives_of_its_sequence(seed, heat, share, price):
    """Loads, bytes alive and events are mended change by change; here they are those of the last
    sequence, counted anew by other code."""
    net = Net.of(random_problem(seed, 12))
    order = range(len(net.ops))
    goal = int(share * Runs(net, order).peak)
    descents = Descents(net)
    for priced in (1.0, 0.8):
        found = descents.walked(order, goal, heat, random.Random(seed), 20_000, priced)
        assert is_valid(net, found)
        assert descents.peak == Runs(net, found).peak

    arrays = sequences.SequenceArrays.of(net)
    arrays.trial_length = len(order)
    arrays.trial[: len(order)] = arrays.dear[: len(order)]
    arrays.goal = goal
    arrays.hot = int(heat * sequences.SCALE)
    arrays.random = seed + 1
    arrays.effort = 8_000
    arrays.steady = price
    if price:
        arrays.most = Runs(net, order).peak
    walk(arrays)
    length = arrays.length
    last = arrays.sequence[:length].tolist()
    assert is_valid(net, last)
    runs = Runs(net, last)
    assert runs.sequence == last
    assert arrays.load[:length].tolist() == runs.loads
    assert arrays.across[: length + 1].tolist() == runs.across
    assert not price or runs.peak <= arrays.most
    beyond = sum(max(0, load - goal) for load in runs.loads)
    assert arrays.excess == beyond
    for value, events in enumerate(runs.events):
        begin, end = arrays.event_at[value], arrays.event_at[value + 1]
        assert arrays.event[begin:end].tolist() == events


@settings(max_examples=25, deadline=None)
@given(seed=seeds, share=st.sampled_from([0.9, 0.7]), price=st.sampled_from([5_000, 50_000]))
def test_a_flat_walk_pays_for_bytes_near_a_limit_and_never_exceeds_it(seed, share, price):
    """What it minimizes is counted here in fractions: the cost, and so much for the mean of what
    loads have beyond four fifths of the limit."""
    net = Net.of(random_problem(seed, 12))
    descents = Descents(net)
    goal = int(share * Runs(net, range(len(net.ops))).peak)
    start = descents.walked(range(len(net.ops)), goal, 0.05, random.Random(seed), 20_000)
    most = max(goal, descents.peak)
    found = descents.flattened(start, most, price, random.Random(seed), 20_000)
    runs = Runs(net, found)
    assert is_valid(net, found)
    assert runs.peak == descents.peak <= most

    def paid(each):
        goal = int(0.8 * most)
        beyond = sum(max(0, load - goal) for load in each.loads) / (goal * len(net.ops) + 1)
        return each.cost / net.total + beyond * price * 2**18 / sequences.SCALE

    assert paid(runs) <= paid(Runs(net, start)) + 1e-4


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
