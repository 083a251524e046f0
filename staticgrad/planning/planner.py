"""Plans of abstract problems: what a budget is, which policy seeks, what is refused.

Policies of others, by name: sequences for a budget, as baselines and as starts of the search.

The *forward* steps are those up to the first output, or to the largest load, of the given order;
the steps behind them read what they left. A policy says which forward values are kept until then,
and in which pieces the others are made again; lives follow from the sequence.

- ``sqrt``: segments of equally many forward steps (Chen et al., Training deep nets with sublinear
  memory cost, arXiv 1604.06174, the plain form).
- ``chen``: segments of equally many bytes (the same, algorithm 3).
- ``chain``: the dynamic program over a chain of blocks (Beaumont et al., Optimal checkpointing for
  heterogeneous chains, arXiv 1911.13214), in ``staticgrad.planning.chains``.
- ``milp``, ``rounded``: Checkmate's model (Jain et al., arXiv 1910.02653) for the given order,
  solved, and relaxed with what is held rounded (``staticgrad.planning.exact``).
- ``min_cut``: the fewest bytes between forward and backward steps, for thresholds of what may be
  made again (as PyTorch's partitioner of joint graphs).

All sequences of a policy are given; who calls takes the cheapest that keeps the budget.

Bytes that no plan of a problem can do without.

While a step runs, its inputs, its outputs and its workspace are there, but for what it may write in
place. What may be made only once, by an ancestor of the step, and is read by a descendant of it, is
there during the first run of the step as well: no descendant runs before it. So are such values
that are outputs of the problem. At the end, all outputs are there.

Plans for several budgets of one problem, of which a smaller one never gives a cheaper plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from staticgrad.config import read_bytes, read_share
from staticgrad.errors import ArgumentError, BudgetInfeasible
from staticgrad.errors.calls import checked
from staticgrad.planning import exact
from staticgrad.planning.chains import chain_sequences
from staticgrad.planning.descents import Descents
from staticgrad.planning.offsets import MOST_BYTES
from staticgrad.planning.placed import MemoryPlan, Runs, is_valid
from staticgrad.planning.problem import MemoryProblem, Net, problem_of, read_problem, refuse
from staticgrad.planning.within import Within


def lower_bound(net: Net) -> int:
    """Bytes that the arena of every plan needs."""
    held = _held(net)
    final = sum(size for size, kept in zip(net.sizes, net.kept, strict=True) if kept)
    return max([final, *(_footprint(net, step, held[step]) for step in range(len(net.ops)))])


def _footprint(net: Net, step: int, held: set[int]) -> int:
    there = held.union(net.reads[step], net.makes[step])
    total = sum(net.sizes[value] for value in there) + net.workspace[step]
    pairs = net.ops[step].inplace
    # each output once, over whatever input may die: at least what any plan saves
    saved = {given for taken, given in pairs if net.numbers.get(taken, -1) not in held}
    return total - sum(net.sizes[net.numbers[given]] for given in saved)


def _held(net: Net) -> list[set[int]]:
    """By step, values that are there during its first run whatever the plan."""
    ancestors = [0] * len(net.ops)  # bits by step
    for step, reads in enumerate(net.reads):
        for value in reads:
            maker = net.producer[value]
            ancestors[step] |= ancestors[maker] | 1 << maker
    readers: dict[int, list[int]] = {}
    for step, reads in enumerate(net.reads):
        for value in reads:
            readers.setdefault(value, []).append(step)
    held: list[set[int]] = [set() for _ in net.ops]
    for value, maker in enumerate(net.producer):
        once = net.ops[maker].mutates or net.ops[maker].max_runs == 1
        if not once or not net.sizes[value]:
            continue
        later = 0
        for reader in readers.get(value, ()):
            later |= ancestors[reader]
        for step in range(maker + 1, len(net.ops)):
            if ancestors[step] >> maker & 1 and (net.kept[value] or later >> step & 1):
                held[step].add(value)
    return held


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

    A plan is a sequence of ops, in which one may occur several times, and an offset for every
    allocation of it. It depends on the arguments alone, since effort is counted and not timed; but
    for "exact", whose solver has a minute for each of two orders.

    Args:
        problem: ops and values, as ``staticgrad.planning.problem`` has them, or the document
            (``staticgrad-memgraph/1``) or the file that describes them.
        budget: bytes of the arena: a number, or text as "64MiB"; "50%" and 0.5 are shares of what
            storing everything needs. None is no limit.
        policy: "optimal" searches for the ops to run again, "store_all" runs none again. The others
            are of other planners (``staticgrad.planning.planner``), and take none of its search:
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
    within = Within(net, limit, effort if limit >= bound else "fast", seed, bound, smallest)
    if policy == "optimal":
        within.seek()
        if effort == "exact" and len(net.ops) <= _SOLVED:
            return _proven(net, limit, bound, within.best), within.smallest
    elif policy != "store_all" and (policy not in _BY_SOLVER or len(net.ops) <= _SOLVED):
        within.place(proposed(within.descents, policy, limit))
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


SECONDS: Final = 60.0  # of a solver
_SEGMENTS: Final = 48  # segmentations that are tried


def turning_points(net: Net) -> list[int]:
    """How many steps of the given order are forward: those up to the first that makes an output or
    updates something, and those up to the largest load."""
    runs = Runs(net, range(len(net.ops)))
    ends = [runs.loads.index(runs.peak) + 1] if runs.loads else [0]
    for step, op in enumerate(net.ops):
        if op.mutates or any(net.kept[value] for value in net.makes[step]):
            ends.append(step + 1)
            break
    return sorted({*ends})


def in_segments(net: Net, forward: int, borders: Sequence[int]) -> list[int]:
    """The sequence in which the forward steps between two borders run again, as one block, before
    the first later step that reads what they make; those behind the last border do not."""
    segment_of = {}
    for number, (begin, end) in enumerate(zip((0, *borders), borders, strict=False)):
        segment_of.update(dict.fromkeys(range(begin, end), number))
    kept = _crossing(net, forward, segment_of)
    starts = (0, *borders)
    done: set[int] = set()
    found = list(range(forward))
    for step in range(forward, len(net.ops)):
        wanted = {
            segment_of[net.producer[value]]
            for value in net.reads[step]
            if net.producer[value] in segment_of and value not in kept
        }
        for segment in sorted(wanted - done):
            done.add(segment)
            again = range(starts[segment], starts[segment + 1])
            found += [each for each in again if net.limits[each] > 1]
        found.append(step)
    return found


def _crossing(net: Net, forward: int, segment_of: dict[int, int]) -> set[int]:
    """Values that a later segment reads: they are kept."""
    found = set()
    for step in range(forward):
        here = segment_of.get(step, -1)
        for value in net.reads[step]:
            if segment_of.get(net.producer[value], here) != here:
                found.add(value)
    return found


def equal_steps(net: Net, goal: int) -> Iterator[list[int]]:
    """Segmentations into 2, 3, ... segments of equally many forward steps."""
    for forward in turning_points(net):
        for count in _counts(forward):
            borders = sorted({forward * k // count for k in range(1, count)})
            yield in_segments(net, forward, borders)


def equal_bytes(net: Net, goal: int) -> Iterator[list[int]]:
    """The same with equally many bytes of forward values each."""
    for forward in turning_points(net):
        made = [sum(net.sizes[value] for value in net.makes[step]) for step in range(forward)]
        for count in _counts(forward):
            borders, filled = [], 0
            for step, size in enumerate(made):
                filled += size
                if filled * count > sum(made):
                    borders.append(step + 1)
                    filled = 0
            yield in_segments(net, forward, [border for border in borders if border < forward])


def _counts(forward: int) -> list[int]:
    """How many segments are tried: few one by one, the square root among them."""
    top = max(forward, 2)
    wide = {int(2 * (top / 2) ** (k / _SEGMENTS)) for k in range(_SEGMENTS + 1)}
    return sorted({*wide, isqrt(top)} - {0, 1})


def kept_only(net: Net, forward: int, kept: Iterable[int]) -> list[int]:
    """The sequence in which later steps find only ``kept`` of the forward values: what else they
    read is made again before the first of them that does, with what that needs."""
    there = {*kept, *(v for v, step in enumerate(net.producer) if step >= forward)}
    found = list(range(forward))
    for step in range(forward, len(net.ops)):
        for value in net.reads[step]:
            if value not in there:
                found += _made_again(net, value, there)
        found.append(step)
    return found


def _made_again(net: Net, value: int, there: set[int]) -> list[int]:
    """Steps that make a value of what is there, which then has what they make."""
    found: list[int] = []
    stack = [(net.producer[value], iter(net.reads[net.producer[value]]))]
    marked = {net.producer[value]}
    while stack:
        step, inputs = stack[-1]
        needed = next((v for v in inputs if v not in there and net.producer[v] not in marked), None)
        if needed is None:
            found.append(step)
            there.update(net.makes[step])
            stack.pop()
        else:
            marked.add(net.producer[needed])
            stack.append((net.producer[needed], iter(net.reads[net.producer[needed]])))
    return found


def min_cut(net: Net, goal: int) -> Iterator[list[int]]:
    """The fewest bytes that cross from forward to backward steps, where steps that cost more than a
    threshold are not made again."""
    forward = turning_points(net)[0]
    costs = sorted({net.costs[step] for step in range(forward)})
    for k in range(8):
        most = costs[min(len(costs) - 1, len(costs) * (8 - k) // 8)] if costs else 0.0
        yield kept_only(net, forward, _cut(net, forward, most))


def _cut(net: Net, forward: int, most: float) -> list[int]:
    """The values of a smallest cut, where steps that cost more than ``most`` run once."""
    values = [v for v, step in enumerate(net.producer) if step < forward]
    wanted = {v for step in range(forward, len(net.ops)) for v in net.reads[step]}
    unit = max(1, sum(net.sizes) // (1 << 28))
    far = (1 << 30) - 1
    source, sink = 2 * len(net.sizes), 2 * len(net.sizes) + 1
    edges = {(2 * v, 2 * v + 1): 1 + net.sizes[v] // unit for v in values}
    for v in values:
        step = net.producer[v]
        inputs = [u for u in net.reads[step] if net.producer[u] < forward]
        if not inputs or net.limits[step] < 2 or net.costs[step] > most:
            edges[source, 2 * v] = far
        edges.update(((2 * u + 1, 2 * v), far) for u in inputs)
        if v in wanted:
            edges[2 * v + 1, sink] = far
    rows, columns = zip(*edges, strict=True)
    capacity = np.array([*edges.values()], dtype=np.int32)
    graph = csr_array((capacity, (rows, columns)), shape=(sink + 1, sink + 1))
    left = graph - maximum_flow(graph, source, sink).flow
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    reached = {*breadth_first_order(left, source, return_predecessors=False).tolist()}
    return [v for v in values if 2 * v in reached and 2 * v + 1 not in reached]


def _chain(net: Net, goal: int) -> Iterator[list[int]]:
    for forward in turning_points(net):
        yield from chain_sequences(net, forward, goal)


def _milp(net: Net, goal: int) -> Iterator[list[int]]:
    found = exact.solved(net, range(len(net.ops)), goal, SECONDS)
    if found.sequence is not None:
        yield list(found.sequence)


def _rounded(net: Net, goal: int) -> Iterator[list[int]]:
    for share in (1.0, 0.9, 0.8, 0.7):
        yield from exact.rounded(net, range(len(net.ops)), int(goal * share), SECONDS)


#: Sequences of a policy for a budget of bytes, by the policy's name.
POLICIES: Final[dict[str, Callable[[Net, int], Iterator[list[int]]]]] = {
    "sqrt": equal_steps,
    "chen": equal_bytes,
    "chain": _chain,
    "min_cut": min_cut,
    "milp": _milp,
    "rounded": _rounded,
}
#: Those that take no solver: the search begins with what they propose, too.
STARTS: Final = ("sqrt", "chen", "chain", "min_cut")


def proposed(descents: Descents, policy: str, goal: int) -> list[tuple[int, float, list[int]]]:
    """Loads, costs and sequences of a policy, without idle runs."""
    net = descents.net
    found = []
    for sequence in POLICIES[policy](net, goal):
        if is_valid(net, sequence):
            sequence = descents.laid_out(sequence)
            found.append((descents.peak, net.cost(sequence), sequence))
    return found


def plan_front(
    problem: MemoryProblem,
    budgets: Sequence[int],
    *,
    policy: PolicyName = "optimal",
    effort: Effort = "default",
    align: int = 1,
    seed: int = 1,
) -> list[MemoryPlan | None]:
    """For each budget in bytes the cheapest plan of all that were found for any of them; None where
    none keeps it.

    A plan that keeps a smaller budget keeps a larger one as well, so costs never fall with the
    budget, although each is searched for by itself. Arguments are those of ``plan_abstract``.
    """
    found: list[MemoryPlan] = []
    for budget in dict.fromkeys(budgets):
        try:
            plan = plan_abstract(
                problem, budget, policy=policy, effort=effort, align=align, seed=seed
            )
        except BudgetInfeasible:
            continue
        found.append(plan)
    return [
        min(
            (plan for plan in found if plan.height <= budget),
            key=lambda plan: (plan.cost, plan.height),
            default=None,
        )
        for budget in budgets
    ]
