"""Plans of small problems against a search over all plans, and the pieces against their words."""

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.analysis.planning import sequences
from staticgrad.analysis.planning.checking import check_plan
from staticgrad.analysis.planning.descents import Descents
from staticgrad.analysis.planning.exact import solve
from staticgrad.analysis.planning.offset_search import (
    Ejections,
    place_tightly,
    placed_by_ejections,
)
from staticgrad.analysis.planning.offsets import ORDERS, Spans, best_fit, first_fit, fit, place
from staticgrad.analysis.planning.planner import lower_bound, plan_abstract
from staticgrad.analysis.planning.problem import (
    MemoryOp,
    MemoryProblem,
    MemoryValue,
    Net,
    problem_document,
    problem_of,
)
from staticgrad.analysis.planning.walks import walk
from staticgrad.errors import ArgumentError, BudgetInfeasible, VerifyError
from staticgrad.native import words
from staticgrad.support.options import options
from tests.planning.problems import Runs, chain, is_valid, optimum, random_problem

seeds = st.integers(0, 10_000)


def plan_and_check(problem, budget, **arguments):
    """A plan that the checker accepts, whose figures are the checker's."""
    plan = plan_abstract(problem, budget, **arguments)
    limit = None if isinstance(budget, float) else budget
    actual = check_plan(problem, plan.document(), budget=limit, align=arguments.get("align", 1))
    assert (actual.height, actual.load) == (plan.height, plan.load)
    assert actual.cost == pytest.approx(plan.cost)
    return plan


@settings(max_examples=12, deadline=None)
@given(seed=seeds, share=st.sampled_from([0.9, 0.75, 0.6]))
def test_plans_hold_and_none_is_better_than_the_optimum(seed, share):
    problem = random_problem(seed)
    everything = plan_and_check(problem, None)
    budget = int(share * everything.height)
    assert everything.bound <= everything.height
    best = optimum(problem, budget)
    plan = None
    with suppress(BudgetInfeasible):
        plan = plan_and_check(problem, budget, effort="fast")
    assert best is None or budget >= everything.bound
    assert plan is None or (best is not None and best <= plan.cost)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "share"), [(5, 0.5), (6, 0.3)])
def test_chains_are_planned_as_well_as_possible(length, share):
    problem = chain(length, seed=length)
    everything = plan_and_check(problem, None)
    budget = everything.bound + int(share * (everything.load - everything.bound))
    best = optimum(problem, budget)
    plan = None
    with suppress(BudgetInfeasible):
        plan = plan_and_check(problem, budget)
    assert (None if plan is None else plan.cost) == best


@pytest.mark.slow
def test_the_exact_plan_of_a_chain_is_proven():
    problem = chain(6, seed=4)
    everything = plan_and_check(problem, None)
    for share in (0.1, 0.4):
        budget = everything.bound + int(share * (everything.load - everything.bound))
        plan = plan_and_check(problem, budget, effort="exact")
        assert plan.cost == optimum(problem, budget)
        assert plan.least == pytest.approx(plan.cost, rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_solver_gives_sequences_that_run_and_fit(seed):
    net = Net.of(random_problem(seed))
    top = Runs(net, range(len(net.ops))).peak
    bound = lower_bound(net)
    budget = (bound + top) // 2
    actual = solve(net, range(len(net.ops)), budget, 10.0)
    if actual.sequence is None:
        assert top > budget
        return
    assert is_valid(net, actual.sequence)
    assert Runs(net, actual.sequence).peak <= budget
    assert net.cost(actual.sequence) == pytest.approx(actual.bound, rel=1e-4)
    best = optimum(net.problem, budget)
    assert best is not None
    assert best <= net.cost(actual.sequence)


def test_below_the_bound_there_is_no_plan():
    problem = chain(4)
    bound = lower_bound(Net.of(problem))
    assert optimum(problem, bound - 1) is None
    with pytest.raises(BudgetInfeasible, match="can be met") as raised:
        plan_abstract(problem, bound - 1)
    assert raised.value.budget == bound - 1
    with pytest.raises(ArgumentError, match="is not one of 'fast', 'default', 'exact'"):
        plan_abstract(problem, bound, effort="hasty")


@pytest.mark.parametrize(
    ("where", "wrong", "message"),
    [
        (("format",), "other/2", "the format is 'other/2'"),
        (("values", 1, "size"), -3, "'size' of values[1] is -3, not an integer from 0 on"),
        (("values", 1, "id"), 2.5, "'id' of values[1] is 2.5, not a name"),
        (("values", 2, "id"), "x", "value 'x' occurs twice"),
        (("values", 1, "alias_of"), "a0", "value 'a0' is a view of itself"),
        (("ops", 1, "inputs"), ["a7"], "op 'f1' reads 'a7', which is not a value"),
        (("ops", 0, "inputs"), ["a2"], "op 'f0' reads 'a2' before an op of the list makes it"),
        (("ops", 1, "outputs"), ["a0"], "op 'f1' makes 'a0', which is there already"),
        (("ops", 0, "cost"), "much", "'cost' of ops[0] is 'much'"),
        (("ops", 0, "inplace"), [["x", "a2"]], "no input and output of it"),
        (("ops", 0, "mutates"), ["a1"], "updates 'a1', which is not resident"),
        (("ops", 0), 7, "ops[0] is not an object"),
        (("outputs",), ["z"], "outputs names 'z', which is not a value"),
        (("donated",), ["a0"], "donated value 'a0' is not resident"),
    ],
)
def test_a_wrong_problem_is_told_in_its_own_words(where, wrong, message):
    document = problem_document(chain(3))
    inner = document
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = wrong
    with pytest.raises(VerifyError) as raised:
        problem_of(document)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([["c", "f1"]], "step 0: op 'f1' reads 'a0', which is not there"),
        ([["c", "f0"], ["f", "a0"], ["c", "f1"]], "step 2: op 'f1' reads 'a0'"),
        ([["c", "f0"], ["f", "a0"], ["f", "a0"]], "frees 'a0', which is not there"),
        ([["f", "x"]], "resident and not donated"),
        ([["c", "f9"]], "there is no op 'f9'"),
        ([["c", "f0"]], "the end: output 'g0' is not there"),
        ([["c", "f0", {"offsets": {"a0": 9}}]], "not within the arena"),
        (
            [["c", "f0", {"offsets": {"a0": 0}}], ["c", "f1", {"offsets": {"a1": 0}}]],
            "'a1' at [0, 1) overlaps 'a0'",
        ),
        ([["c", "f0", {"inplace": [["x", "a0"]]}]], "cannot write 'a0' over 'x'"),
    ],
)
def test_a_wrong_plan_is_refused(steps, message):
    with pytest.raises(VerifyError) as raised:
        check_plan(chain(3), {"steps": steps, "arena": 8}, offsets=False)
    assert message in str(raised.value)


def test_updates_and_limits_are_checked():
    problem = random_problem(next(_updating()))
    order = [op.id for op in problem.ops]
    check_plan(problem, {"op_order": order}, offsets=False)
    with pytest.raises(VerifyError, match=r"was updated|updates and ran"):
        check_plan(problem, {"op_order": [*order, 99]}, offsets=False)


def test_an_old_value_is_not_read_after_its_update():
    values = (MemoryValue("w", 5), MemoryValue("n", 1), MemoryValue("y", 1))
    update = MemoryOp("u", "u", ("w",), ("n",), 1.0, mutates=("w",))
    for seen, order in (((), "ru"), ((), "ur"), (("w",), "ur")):
        read = MemoryOp("r", "r", ("w",), ("y",), 1.0, reads_updated=seen)
        ops = (update, read) if seen else (read, update)
        problem = MemoryProblem(values, ops, frozenset("w"), outputs=("y", "n"), name="reads")
        if order == "ur" and not seen:
            with pytest.raises(VerifyError, match="after it was updated"):
                check_plan(problem, {"op_order": [*order]}, offsets=False)
        else:
            check_plan(problem, {"op_order": [*order]}, offsets=False)


def _updating():
    for seed in range(100):
        if any(op.mutates for op in random_problem(seed).ops):
            yield seed


# -- walk ------------------------------------------------------------------------------------------


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
    actual = descents.walk(order, goal, heat, random.Random(seed), 20_000)
    assert is_valid(net, actual)
    assert descents.peak == Runs(net, actual).peak

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


@pytest.mark.parametrize("share", [1.0, 0.6, 0.3])
def test_a_long_sequence_is_trimmed_to_runs_that_the_goal_needs(share):
    """Runs leave a long sequence in groups; none that is left could leave by itself.

    The sequence keeps one value in ten, and computes the others again before they are read.
    """
    layers, length = 1_500, 10
    net = Net.of(chain(layers))
    first, last = [*range(layers)], [*range(layers, 2 * layers)]
    segments = [(at, min(at + length, layers)) for at in range(0, layers, length)]
    sequence = [*first]
    for begin, end in reversed(segments):
        sequence += [*first[begin:end], *last[layers - end : layers - begin]]
    stored = Runs(net, range(2 * layers)).peak
    assert is_valid(net, sequence)
    assert Runs(net, sequence).peak < 0.2 * stored
    descents, goal = Descents(net), int(share * stored)
    actual = descents.trim(sequence, goal, random.Random(1), 0.0, 10**9)
    assert is_valid(net, actual)
    assert descents.peak == Runs(net, actual).peak <= goal
    repeated = [t for t, step in enumerate(actual) if actual.index(step) < t]
    if share == 1.0:
        assert repeated == []
    # A chain of values of one byte: a run again for each value that is not stored, but for the last
    # segment's, which are still there.
    assert len(repeated) <= stored - goal + length
    for t in random.Random(2).sample(repeated, min(20, len(repeated))):
        assert Runs(net, actual[:t] + actual[t + 1 :]).peak > goal


@settings(max_examples=25, deadline=None)
@given(seed=seeds, share=st.sampled_from([0.9, 0.7]), price=st.sampled_from([5_000, 50_000]))
def test_a_flat_walk_pays_for_bytes_near_a_limit_and_never_exceeds_it(seed, share, price):
    """The objective is counted here in fractions: the cost, and so much for the mean of what
    loads have beyond four fifths of the limit."""
    net = Net.of(random_problem(seed, 12))
    descents = Descents(net)
    goal = int(share * Runs(net, range(len(net.ops))).peak)
    start = descents.walk(range(len(net.ops)), goal, 0.05, random.Random(seed), 20_000)
    most = max(goal, descents.peak)
    actual = descents.flatten(start, most, price, random.Random(seed), 20_000)
    runs = Runs(net, actual)
    assert is_valid(net, actual)
    assert runs.peak == descents.peak <= most

    def paid(plan):
        goal = int(0.8 * most)
        beyond = sum(max(0, load - goal) for load in plan.loads) / (goal * len(net.ops) + 1)
        return net.cost(plan.sequence) / net.total + beyond * price * 2**18 / sequences.SCALE

    assert paid(runs) <= paid(Runs(net, start)) + 1e-4


@settings(max_examples=6, deadline=None)
@given(seed=seeds)
def test_machine_code_walks_as_it_is_written(seed):
    net = Net.of(random_problem(seed, 12))
    order = range(len(net.ops))
    goal = int(0.7 * Runs(net, order).peak)
    actual = []
    for jit, effort in ((True, 5_000), (False, 300_000)):  # what is not compiled counts 60 times
        with options(jit=jit):
            actual.append(Descents(net).walk(order, goal, 0.05, random.Random(1), effort))
    assert actual[0] == actual[1]


# -- offsets ---------------------------------------------------------------------------------------


def spans_of(blocks):
    first, last = ([block[k] for block in blocks] for k in (0, 1))
    return Spans(tuple(first), tuple(last), max(last) + 1)


def holds(spans, sizes, offsets):
    """No two blocks that live together share a byte; the height."""
    for b, around in enumerate(spans.neighbours):
        for c in around:
            is_disjoint = offsets[b] + sizes[b] <= offsets[c] or offsets[c] + sizes[c] <= offsets[b]
            assert is_disjoint or not sizes[b] * sizes[c]
    return max(at + size for at, size in zip(offsets, sizes, strict=True))


def cut_rectangle(rng, steps, height, count):
    """Blocks that fill a rectangle of steps and bytes, cut across and along by turns."""
    pieces = [(0, steps, 0, height)]
    while len(pieces) < count:
        begin, end, low, high = pieces.pop(rng.randrange(len(pieces)))
        if rng.random() < 0.5 and end - begin > 1:
            at = rng.randrange(begin + 1, end)
            pieces += [(begin, at, low, high), (at, end, low, high)]
        elif high - low > 1:
            at = rng.randrange(low + 1, high)
            pieces += [(begin, end, low, at), (begin, end, at, high)]
        else:
            pieces.append((begin, end, low, high))
    return [(begin, end - 1, high - low, low) for begin, end, low, high in pieces]


@pytest.mark.parametrize(("seed", "count"), [(1, 60), (2, 120)])
def test_a_rectangle_is_put_together_again_to_half_a_percent(seed, count):
    blocks = cut_rectangle(random.Random(seed), 80, 2_000, count)
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    assert place(spans, sizes, 2_000)[1] > 2_000
    offsets, height = place_tightly(spans, sizes, 2_000)
    assert height == holds(spans, sizes, offsets) <= 2_010
    assert place_tightly(spans, sizes, 2_000) == (offsets, height)


@pytest.mark.parametrize("count", [60, 300])
def test_an_order_that_is_given_places_what_first_fit_alone_does_not(count):
    blocks = cut_rectangle(random.Random(5), 160, 9_000, count)
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    by_offset = sorted(range(count), key=lambda b: blocks[b][3])
    without = place_tightly(spans, sizes, 9_000, 0)
    asked = []

    def order():
        asked.append(1)
        return by_offset

    offsets, height = place_tightly(spans, sizes, 9_000, 0, order)
    assert height == 9_000 == holds(spans, sizes, offsets) < without[1]
    assert len(asked) == 1
    assert place_tightly(spans, sizes, without[1], 0, order) == without
    assert len(asked) == 1  # what first fit places by itself needs none


@pytest.mark.parametrize("seed", range(4))
def test_first_fit_by_arrays_is_first_fit(seed, monkeypatch):
    rng = random.Random(seed)
    blocks = [(f := rng.randrange(20), f + rng.randrange(9), rng.randrange(30)) for _ in range(200)]
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    order = rng.sample(range(200), 200)
    placements = []
    for pairs_of_a_block in (0, 1000):
        monkeypatch.setattr("staticgrad.analysis.planning.offsets._MANY", pairs_of_a_block)
        placements.append(first_fit(order, spans, sizes))
    assert placements[0] == placements[1]
    assert placements[0][1] == holds(spans, sizes, placements[0][0])


def test_first_fit_of_many_blocks_is_first_fit():
    rng = random.Random(4)
    blocks = [(f := rng.randrange(60), f + rng.randrange(9), rng.randrange(9)) for _ in range(120)]
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    sized = [b for b in range(len(sizes)) if sizes[b]]
    heights = []
    for key in ORDERS:
        order = sorted(sized, key=lambda b: (*key(sizes[b], spans.first[b], spans.last[b]), b))
        zero = [b for b in range(len(sizes)) if not sizes[b]]
        heights.append(first_fit([*order, *zero], spans, sizes)[1])
    for run in (fit, words.compile_function(fit)):
        offsets, height = best_fit(spans, sizes, 0, ([], 1 << 60), run)
        assert height == min(heights) == holds(spans, sizes, offsets)


def steps_of_values(rng, count, longest):
    """A block begins at each step, of any size, and lives for a while."""
    first = tuple(range(count))
    last = tuple(min(count - 1, t + rng.randrange(longest)) for t in first)
    return Spans(first, last, count), [64 * rng.randint(0, 4096) for _ in first]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 120),
    longest=st.integers(1, 40),
    share=st.integers(90, 140),
)
def test_what_is_found_holds_and_keeps_the_height_and_its_machine_code_finds_the_same(
    seed, count, longest, share
):
    spans, sizes = steps_of_values(random.Random(seed), count, longest)
    load = max(spans.load(sizes))
    limit, actual = max(load * share // 100, max(sizes)), []
    for run in (placed_by_ejections, words.compile_function(placed_by_ejections)):
        ejections = Ejections(spans, sizes, run)
        actual.append((ejections.lower(limit, 20_000), ejections.effort))
    assert actual[0] == actual[1]
    if actual[0][0] is not None:
        offsets, height = actual[0][0]
        assert not any(at % 64 for at in offsets)
        assert load <= height == holds(spans, sizes, offsets) <= limit


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 120),
    longest=st.integers(1, 40),
    share=st.integers(50, 120),
)
def test_whatever_the_height_a_placement_holds(seed, count, longest, share):
    spans, sizes = steps_of_values(random.Random(seed), count, longest)
    load = max(spans.load(sizes))
    bound = load * share // 100
    first = place(spans, sizes, bound)[1]
    offsets, height = place_tightly(spans, sizes, bound, 300_000)
    assert load <= height == holds(spans, sizes, offsets) <= first


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("seed", "count"), [(1, 1_000), (6, 1_000), (4, 3_000)])
def test_a_thousand_blocks_take_little_more_than_their_load(seed, count):
    spans, sizes = steps_of_values(random.Random(seed), count, 60)
    load = max(spans.load(sizes))
    offsets, height = place_tightly(spans, sizes, load)
    assert load <= height == holds(spans, sizes, offsets) <= load * 102 // 100
