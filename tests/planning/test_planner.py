"""Plans of small problems against a search over all plans, and the pieces against their words."""

from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.errors import ArgumentError, BudgetInfeasible, VerifyError
from staticgrad.planning.bounds import lower_bound
from staticgrad.planning.checking import check_plan
from staticgrad.planning.exact import solved
from staticgrad.planning.placed import Runs, is_valid
from staticgrad.planning.planner import plan_abstract
from staticgrad.planning.problem import (
    MemoryOp,
    MemoryProblem,
    MemoryValue,
    Net,
    problem_document,
    problem_of,
)
from tests.planning.problems import chain, optimum, random_problem

seeds = st.integers(0, 10_000)


def checked(problem, budget, **arguments):
    """A plan that the checker accepts, whose figures are the checker's."""
    plan = plan_abstract(problem, budget, **arguments)
    limit = None if isinstance(budget, float) else budget
    found = check_plan(problem, plan.document(), budget=limit, align=arguments.get("align", 1))
    assert (found.height, found.load) == (plan.height, plan.load)
    assert found.cost == pytest.approx(plan.cost)
    return plan


@settings(max_examples=12, deadline=None)
@given(seed=seeds, share=st.sampled_from([0.9, 0.75, 0.6]))
def test_plans_hold_and_none_is_better_than_the_optimum(seed, share):
    problem = random_problem(seed)
    everything = checked(problem, None)
    budget = int(share * everything.height)
    assert everything.bound <= everything.height
    best = optimum(problem, budget)
    plan = None
    with suppress(BudgetInfeasible):
        plan = checked(problem, budget, effort="fast")
    assert best is None or budget >= everything.bound
    assert plan is None or (best is not None and best <= plan.cost)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "share"), [(5, 0.5), (6, 0.3)])
def test_chains_are_planned_as_well_as_possible(length, share):
    problem = chain(length, seed=length)
    everything = checked(problem, None)
    budget = everything.bound + int(share * (everything.load - everything.bound))
    best = optimum(problem, budget)
    plan = None
    with suppress(BudgetInfeasible):
        plan = checked(problem, budget)
    assert (None if plan is None else plan.cost) == best


@pytest.mark.slow
def test_the_exact_plan_of_a_chain_is_proven():
    problem = chain(6, seed=4)
    everything = checked(problem, None)
    for share in (0.1, 0.4):
        budget = everything.bound + int(share * (everything.load - everything.bound))
        plan = checked(problem, budget, effort="exact")
        assert plan.cost == optimum(problem, budget)
        assert plan.least == pytest.approx(plan.cost, rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_solver_gives_sequences_that_run_and_fit(seed):
    net = Net.of(random_problem(seed))
    top = Runs(net, range(len(net.ops))).peak
    bound = lower_bound(net)
    budget = (bound + top) // 2
    found = solved(net, range(len(net.ops)), budget, 10.0)
    if found.sequence is None:
        assert top > budget
        return
    assert is_valid(net, found.sequence)
    assert Runs(net, found.sequence).peak <= budget
    assert net.cost(found.sequence) == pytest.approx(found.bound, rel=1e-4)
    best = optimum(net.problem, budget)
    assert best is not None
    assert best <= net.cost(found.sequence)


def test_below_the_bound_there_is_no_plan():
    problem = chain(4)
    bound = lower_bound(Net.of(problem))
    assert optimum(problem, bound - 1) is None
    with pytest.raises(BudgetInfeasible, match="can be met") as raised:
        plan_abstract(problem, bound - 1)
    assert raised.value.budget == bound - 1
    with pytest.raises(ArgumentError, match="it is one of 'fast', 'default', 'exact'"):
        plan_abstract(problem, bound, effort="hasty")


@pytest.mark.parametrize(
    ("where", "wrong", "said"),
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
def test_a_wrong_problem_is_told_in_its_own_words(where, wrong, said):
    document = problem_document(chain(3))
    inner = document
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = wrong
    with pytest.raises(VerifyError) as raised:
        problem_of(document)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("steps", "said"),
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
def test_a_wrong_plan_is_refused(steps, said):
    with pytest.raises(VerifyError) as raised:
        check_plan(chain(3), {"steps": steps, "arena": 8}, offsets=False)
    assert said in str(raised.value)


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
