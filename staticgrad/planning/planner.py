"""Plans of abstract problems: the forms of a budget, the choice of a policy, and the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, get_args

from staticgrad.config import read_bytes, read_share
from staticgrad.errors import ArgumentError, BudgetInfeasible
from staticgrad.errors.calls import checked
from staticgrad.planning.bounds import lower_bound
from staticgrad.planning.offsets import MOST_BYTES
from staticgrad.planning.placed import MemoryPlan
from staticgrad.planning.problem import MemoryProblem, Net, problem_of, read_problem, refuse
from staticgrad.planning.within import Within

Effort = Literal["fast", "default", "exact"]
PolicyName = Literal["optimal", "store_all", "sqrt", "chen", "chain", "min_cut", "milp", "rounded"]
_SOLVED: Final = 150  # ops up to which there is a mixed integer program
_BY_SOLVER: Final = ("milp", "rounded")
_SECONDS: Final = 60.0  # of the solver, for each order


@checked
def plan_abstract(
    problem: MemoryProblem | Mapping[str, object] | str | Path,
    budget: int | float | str | None = None,
    *,
    policy: PolicyName = "optimal",
    effort: Effort = "default",
    align: int = 1,
    seed: int = 1,
) -> MemoryPlan:
    """The cheapest plan found whose arena needs no more than a budget.

    A plan is a sequence of ops, in which an op may occur several times, and an offset for every
    allocation. It depends on the arguments alone, since effort is counted and not timed; but
    for "exact", whose solver has a minute for each of two orders.

    Args:
        problem: ops and values, as ``staticgrad.planning.problem`` has them, or the document
            (``staticgrad-memgraph/1``) or the file that describes them.
        budget: bytes of the arena: a number, or text as "64MiB"; "50%" and 0.5 are shares of what
            storing everything needs. None means unlimited.
        policy: "optimal" searches for the ops to run again, "store_all" runs none again. The others
            are from other planners (``staticgrad.planning.policies``) and do not use its search:
            "sqrt" and "chen" make segments, "chain" is a dynamic program over blocks, "min_cut"
            stores the fewest bytes; "milp" and "rounded" take a solver's minute, up to 150 ops.
        effort: "fast" for descents alone, "default" for a search after them, "exact" for a mixed
            integer program after that, up to 150 ops: ``MemoryPlan.least`` says what it proved.
        align: sizes are rounded up to multiples of it, and offsets are multiples of it.
        seed: the seed of the search.

    Returns:
        The plan: ``sequence``, ``offsets``, the ``height`` of its arena, and its ``cost``.

    Raises:
        VerifyError: a document that does not describe a problem; the message names the field.
        ArgumentError: an argument with another value.
        BudgetInfeasible: no plan was found; the error has the smallest arena found, and a bound
            below which no plan exists.

    >>> from staticgrad.planning.problem import MemoryOp, MemoryProblem, MemoryValue
    >>> values = [MemoryValue(name, 100) for name in "abc"]
    >>> ops = [MemoryOp(0, "make", (), ("a",)), MemoryOp(1, "one", ("a",), ("b",))]
    >>> ops += [MemoryOp(2, "other", ("a", "b"), ("c",))]
    >>> plan = plan_abstract(MemoryProblem(tuple(values), tuple(ops), outputs=("c",)))
    >>> plan.sequence, plan.height
    ((0, 1, 2), 300)
    """
    _check_arguments(policy, effort, align)
    net = Net.of(_read(problem), align)
    if sum(net.sizes) + max(net.workspace, default=0) > MOST_BYTES:
        refuse(f"its values and a workspace need more than {MOST_BYTES:,} bytes")
    bound = lower_bound(net)
    everything = MemoryPlan.of(net, range(len(net.ops)), bound)
    limit = _limit(budget, everything.height)
    if everything.height <= limit:
        return everything
    best, smallest = _found(net, limit, policy, effort, seed, bound, everything.height)
    if best is None:
        raise _infeasible(net.problem, limit, smallest, bound)
    return best


def _found(
    net: Net, limit: int, policy: str, effort: str, seed: int, bound: int, smallest: int
) -> tuple[MemoryPlan | None, int]:
    """Return a policy's plan within a limit of bytes, and the smallest arena that it met."""
    within = Within(net, limit, effort if limit >= bound else "fast", seed, bound, smallest)
    if policy == "optimal":
        within.seek()
        if effort == "exact" and len(net.ops) <= _SOLVED:
            return _proven(net, limit, bound, within.best), within.smallest
    elif policy != "store_all" and (policy not in _BY_SOLVER or len(net.ops) <= _SOLVED):
        from staticgrad.planning import policies

        within.place(policies.proposed(within.descents, policy, limit))
    return within.best, within.smallest


def _check_arguments(policy: str, effort: str, align: int) -> None:
    for label, given, known in (
        ("policy", policy, get_args(PolicyName)),
        ("effort", effort, get_args(Effort)),
    ):
        if given not in known:
            names = ", ".join(map(repr, known))
            raise ArgumentError(f"plan_abstract: {label}={given!r}", hint=f"it is one of {names}")
    if align < 1:
        raise ArgumentError(f"plan_abstract: align={align!r}", hint="it is an integer from 1 on")


def _read(given: MemoryProblem | Mapping[str, object] | str | Path) -> MemoryProblem:
    if isinstance(given, MemoryProblem):
        return given
    return read_problem(given) if isinstance(given, str | Path) else problem_of(given)


def _limit(budget: int | float | str | None, everything: int) -> int:
    """Bytes of the arena that a budget allows, where storing everything needs so many."""
    if budget is None:
        return everything
    share = read_share(budget)
    found = read_bytes(budget) if share is None else int(everything * share)
    if found is None:
        raise ArgumentError(
            f"plan_abstract: budget={budget!r}",
            hint='bytes as a number or as text, "64MiB"; a share as "50%" or 0.5',
        )
    return found


def _proven(net: Net, budget: int, bound: int, best: MemoryPlan | None) -> MemoryPlan | None:
    """Return the best of a plan and of the solver's plans for its order of first runs and for the
    order of the problem, with a lower bound of the cost for the plan's own order."""
    from staticgrad.planning.exact import solved

    given = tuple(range(len(net.ops)))
    orders = {given: 0.0} if best is None else {first_runs(best.sequence): 0.0, given: 0.0}
    for order in orders:
        found = solved(net, order, budget, _SECONDS)
        orders[order] = found.bound
        if found.sequence is None:
            continue
        if best is None or net.cost(found.sequence) < best.cost * (1.0 - 1e-9):
            plan = MemoryPlan.of(net, found.sequence, bound, budget)
            best = plan if plan.height <= budget else best
    if best is None:
        return None
    return replace(best, least=orders.get(first_runs(best.sequence), 0.0))


def first_runs(sequence: Sequence[int]) -> tuple[int, ...]:
    """The order in which steps run for the first time."""
    return tuple(dict.fromkeys(sequence))


def _infeasible(problem: MemoryProblem, budget: int, smallest: int, bound: int) -> BudgetInfeasible:
    error = BudgetInfeasible(
        f"no plan of {problem.name!r} within {budget:,} bytes was found",
        details=[
            f"the smallest arena found needs {smallest:,} bytes; every plan needs {bound:,}",
        ],
        hint="raise the budget" if budget >= bound else f"no budget below {bound:,} can be met",
    )
    error.budget, error.smallest_peak, error.lower_bound = budget, smallest, bound
    return error
