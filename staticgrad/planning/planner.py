"""The cheapest plan of a problem within a budget: descents, search, placement.

Sequences are sought by their load; each that is cheaper than all plans before it is placed, and
what counts is its arena. Where no arena keeps the budget although a load does, the search aims
lower by what placement lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final, Literal, get_args

from staticgrad.config import read_bytes, read_share
from staticgrad.errors import ArgumentError, BudgetInfeasible
from staticgrad.errors.calls import checked
from staticgrad.planning.bounds import lower_bound
from staticgrad.planning.descents import SLOPES, Descents
from staticgrad.planning.documents import problem_of, read_problem
from staticgrad.planning.offsets import MOST_BYTES
from staticgrad.planning.placed import MemoryPlan
from staticgrad.planning.problem import MemoryProblem, Net, refuse
from staticgrad.planning.searching import hot_walks, rebuilt, walked

Effort = Literal["fast", "default", "exact"]
PolicyName = Literal["optimal", "store_all", "sqrt", "chen", "chain", "min_cut", "milp", "rounded"]
#: Effort of descents, of walks and of rebuilding: for any problem, and for each of its events.
_EFFORTS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "fast": ((40_000_000, 20_000), (0, 0), (0, 0)),
    "default": ((40_000_000, 20_000), (80_000_000, 20_000), (40_000_000, 40_000)),
    "exact": ((40_000_000, 20_000), (80_000_000, 20_000), (40_000_000, 40_000)),
}
_REBUILT: Final = 2_000  # ops up to which sequences are rebuilt
_TRIES: Final = 8  # sequences that are placed, the cheapest first
_LONG: Final = 3  # those of them that placement misses by the fewest bytes get more effort
_SOLVED: Final = 150  # ops up to which there is a mixed integer program
_BY_SOLVER: Final = ("milp", "rounded")
_SECONDS: Final = 60.0  # of the solver, for each order
_SAME: Final = 1.0 + 1e-9  # ratio of costs up to which they differ by rounding alone
_DEAR: Final = 1.25  # cost, in costs of all ops, from which on there are hot walks
_LOWER: Final = (1.0, 2.0, 4.0)  # goals below the budget, in what placement missed it by


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

    A plan is a sequence of ops, in which one may occur several times, and an offset for every
    allocation of it. It depends on the arguments alone, since effort is counted and not timed; but
    for "exact", whose solver has a minute for each of two orders.

    Args:
        problem: ops and values, as ``staticgrad.planning.problem`` has them, or the document
            (``staticgrad-memgraph/1``) or the file that describes them.
        budget: bytes of the arena: a number, or text as "64MiB"; "50%" and 0.5 are shares of what
            storing everything needs. None is no limit.
        policy: "optimal" searches for the ops to run again, "store_all" runs none again. The others
            are of other planners (``staticgrad.planning.policies``), and take none of its search:
            "sqrt" and "chen" make segments, "chain" is a dynamic program over blocks, "min_cut"
            stores the fewest bytes; "milp" and "rounded" take a solver's minute, up to 150 ops.
        effort: "fast" for descents alone, "default" for a search after them, "exact" for a mixed
            integer program after that, up to 150 ops: ``MemoryPlan.least`` says what it proved.
        align: what sizes are rounded up to, and offsets are multiples of.
        seed: of the search.

    Returns:
        The plan: ``sequence``, ``offsets``, the ``height`` of its arena, and its ``cost``.

    Raises:
        VerifyError: a document that describes no problem; the message names the field.
        ArgumentError: an argument that is none of these.
        BudgetInfeasible: no plan was found; the error has the smallest arena found, and a bound
            below which there is none.

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
    """What a policy finds within a limit of bytes, and the smallest arena that it met."""
    if policy == "optimal":
        tried = effort if limit >= bound else "fast"
        best, smallest = _within(net, limit, tried, seed, bound, smallest)
        if effort == "exact" and len(net.ops) <= _SOLVED:
            best = _proven(net, limit, bound, best)
        return best, smallest
    if policy == "store_all" or (policy in _BY_SOLVER and len(net.ops) > _SOLVED):
        return None, smallest
    from staticgrad.planning import policies

    descents = Descents(net)
    found = policies.proposed(descents, policy, limit)
    best, smallest, _ = _cheapest(net, found, limit, bound, smallest, None)
    return best, smallest


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


def _within(
    net: Net, budget: int, effort: str, seed: int, bound: int, smallest: int
) -> tuple[MemoryPlan | None, int]:
    """The cheapest plan found within the budget, and the smallest arena of all that were placed."""
    descents, random = Descents(net), Random(seed)
    found = _descended(descents, budget, effort, random)
    free = [each for each in found if _is_free(net, each, budget)]
    best, smallest, _ = _cheapest(net, free, budget, bound, smallest, None)
    if best is not None:  # no plan is cheaper than one in which nothing runs again
        return best, smallest
    found += _searched(descents, found, budget, effort, random)
    best, smallest, over = _cheapest(net, found, budget, bound, smallest, None)
    if best is not None and best.cost <= net.total * _SAME:
        return best, smallest
    if not over:
        found = _rebuilt(descents, found, budget, effort, random)
        best, smallest, _ = _cheapest(net, found, budget, bound, smallest, best)
        return best, smallest
    lost = over
    for share in _LOWER:  # placement may lose again what it lost before
        goal = max(bound, budget - int(share * lost))
        found = _lowered(descents, found, budget, goal, effort, random)
        best, smallest, over = _cheapest(net, found, budget, bound, smallest, best)
        if not over or goal <= bound:
            break
    return best, smallest


def _cheapest(
    net: Net,
    found: Sequence[tuple[int, float, list[int]]],
    budget: int,
    bound: int,
    smallest: int,
    best: MemoryPlan | None,
) -> tuple[MemoryPlan | None, int, int]:
    """The plan of the cheapest sequence whose arena keeps the budget, if it is cheaper than the
    best, the smallest arena of all that were placed, and the fewest bytes by which the arena of a
    cheaper sequence exceeded the budget where its load does not."""
    fitting: dict[float, list[int]] = {}
    for load, cost, sequence in sorted(found):  # of one cost the least load
        if load <= budget:
            fitting.setdefault(cost, sequence)
    missed: list[MemoryPlan] = []
    for cost in sorted(fitting)[:_TRIES]:
        if best is not None and cost >= best.cost * (1.0 - 1e-9):
            break
        plan = MemoryPlan.of(net, fitting[cost], bound, budget, short=True)
        smallest = min(smallest, plan.height)
        if plan.height <= budget:
            best = plan
            break
        missed.append(plan)
    near = sorted(missed, key=lambda plan: plan.height)[:_LONG]
    over = 0
    for missing in sorted(near, key=lambda plan: plan.cost):
        plan = MemoryPlan.of(net, missing.sequence, bound, budget)
        smallest = min(smallest, plan.height)
        if plan.height <= budget:
            best = plan
            break
        over = min(over or plan.height, plan.height - budget)
    if not fitting and found:
        lowest = min(found)
        smallest = min(smallest, MemoryPlan.of(net, lowest[2], bound, budget).height)
    return best, smallest, over


def _until_free(
    net: Net, found: Iterable[tuple[int, float, list[int]]], goal: int
) -> Iterator[tuple[int, float, list[int]]]:
    """What is found up to the first that keeps the goal and runs nothing again: none is cheaper.
    Of many ops all is, since such a sequence of fewer bytes is easier to place."""
    for each in found:
        yield each
        if _is_free(net, each, goal) and len(net.ops) <= _SOLVED:
            break


def _is_free(net: Net, found: tuple[int, float, list[int]], goal: int) -> bool:
    """Whether what was found keeps the goal and runs nothing again."""
    return found[0] <= goal and found[1] <= net.total * _SAME


def _lowered(
    descents: Descents,
    found: Sequence[tuple[int, float, list[int]]],
    budget: int,
    goal: int,
    effort: str,
    random: Random,
) -> list[tuple[int, float, list[int]]]:
    """The cheapest sequences within the budget brought to a lower goal, and walks from there."""
    net, (limit, walking, _) = descents.net, _efforts(descents.net, effort)
    near = sorted((each for each in found if each[0] <= budget), key=lambda each: each[1])[:_TRIES]
    low = []
    for _, _, sequence in near:
        sequence = descents.descended(sequence, goal, SLOPES[0], random, limit // _TRIES)
        if descents.peak <= goal:
            sequence = descents.trimmed(sequence, goal, random, 0.0, limit // _TRIES)
        low.append((descents.peak, net.cost(sequence), sequence))
    if walking:
        starts = [sequence for _, _, sequence in near[:2]]
        part = 2 if len(net.ops) <= _SOLVED else 1  # of few ops, many walks are short already
        walks = walked(descents, starts, goal, random, walking // part)
        low += _until_free(net, walks, goal)
    return low


def _proven(net: Net, budget: int, bound: int, best: MemoryPlan | None) -> MemoryPlan | None:
    """The best of a plan and of what the solver finds for its order of first runs, and for the
    order of the problem; with the cost that no plan of the plan's own order undercuts."""
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


def _efforts(net: Net, effort: str) -> tuple[int, ...]:
    """Effort of descents, of walks and of rebuilding."""
    events = sum(map(len, (*net.reads, *net.makes)))
    return tuple(least + each * events for least, each in _EFFORTS[effort])


def _descended(
    descents: Descents, goal: int, effort: str, random: Random
) -> list[tuple[int, float, list[int]]]:
    """Loads, costs and sequences: what each descent ends at, trimmed."""
    net = descents.net
    descending, _, _ = _efforts(net, effort)
    found: list[tuple[int, float, list[int]]] = []
    given = list(range(len(net.ops)))
    stop = descents.effort + descending
    for slope in SLOPES:
        least = int(goal * slope.share)
        sequence = descents.descended(given, least, slope, random, stop - descents.effort)
        if descents.peak <= goal:
            sequence = descents.trimmed(sequence, goal, random, 0.0, descending // 4)
        found.append((descents.peak, net.cost(sequence), sequence))
        if descents.effort > stop:
            break
    return found


def _searched(
    descents: Descents,
    begun: Sequence[tuple[int, float, list[int]]],
    goal: int,
    effort: str,
    random: Random,
) -> list[tuple[int, float, list[int]]]:
    """What the searches make of sequences that descents ended at, and what other policies give."""
    net = descents.net
    descending, walking, _ = _efforts(net, effort)
    given = list(range(len(net.ops)))
    found = list(begun)
    if not walking:
        return []
    short = len(net.ops) <= _REBUILT
    if short:
        found += _by_others(descents, goal, random, descending // 4)
    starts = [*dict.fromkeys(tuple(sequence) for _, _, sequence in _ends(found, goal)), given]
    found += _until_free(net, walked(descents, starts, goal, random, walking), goal)
    best = _ends(found, goal)[0]
    if len(net.ops) <= _SOLVED and (best[0] > goal or best[1] > _DEAR * net.total):
        found += hot_walks(descents, given, goal, walking // 2)
    return found[len(begun) :]


def _rebuilt(
    descents: Descents,
    found: Sequence[tuple[int, float, list[int]]],
    goal: int,
    effort: str,
    random: Random,
) -> list[tuple[int, float, list[int]]]:
    """What ruin and rebuild makes of the cheapest sequence that keeps the goal."""
    net, (_, _, rebuilding) = descents.net, _efforts(descents.net, effort)
    if not rebuilding or len(net.ops) > _REBUILT or _ends(found, goal)[0][0] > goal:
        return []
    sequence = rebuilt(descents, _ends(found, goal)[0][2], goal, random, rebuilding)
    return [(goal, net.cost(sequence), sequence)]


def _by_others(
    descents: Descents, goal: int, random: Random, limit: int
) -> list[tuple[int, float, list[int]]]:
    """What other policies propose, and the cheapest and the lowest of each brought to the goal."""
    from staticgrad.planning import policies

    found = []
    for policy in policies.STARTS:
        theirs = policies.proposed(descents, policy, goal)
        found += theirs
        for _, _, sequence in _ends(theirs, goal):
            low = descents.descended(sequence, goal, SLOPES[0], random, limit)
            if descents.peak <= goal:
                low = descents.trimmed(low, goal, random, 0.0, limit)
            found.append((descents.peak, descents.net.cost(low), low))
    return found


def _ends(
    found: Sequence[tuple[int, float, list[int]]], goal: int
) -> list[tuple[int, float, list[int]]]:
    """The cheapest that keeps the goal, or the lowest if none does, and the cheapest of all."""
    if not found:
        return []
    first = min(found, key=lambda each: (each[0] > goal, each[1] if each[0] <= goal else each[0]))
    return [first, min(found, key=lambda each: each[1])]
