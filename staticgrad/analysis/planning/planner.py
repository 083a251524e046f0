"""Plans of abstract problems: budgets, lower bounds, the search, and the checks.

The bytes that no plan can do without: while a step runs, its inputs, its outputs and its workspace
are there, but for what it may write in place. What may be made only once, by an ancestor of the
step, and is read by a descendant of it, is there during the first run of the step as well: no
descendant runs before it. So are such values that are outputs of the problem. At the end, all
outputs are there.

The cheapest plan that is found within a budget: sequences are sought by load, then placed.

Each sequence that is cheaper than all plans before it is placed, and what counts is its arena.
Where that exceeds a budget which the load keeps, flat walks look for sequences about as cheap in
which fewer bytes are alive near the budget: those are placed more easily. Where they find none,
searches aim lower by what placement lost; of few ops only where no plan is known, since that
takes longer than all before.

Walks (``staticgrad.analysis.planning.walks``) move runs as well, and so find other orders. Effort
is counted in events; there is no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final, Literal

from staticgrad.analysis.planning.descents import SLOPES, Descents
from staticgrad.analysis.planning.offsets import MOST_BYTES
from staticgrad.analysis.planning.placed import MemoryPlan
from staticgrad.analysis.planning.problem import (
    MemoryProblem,
    Net,
    problem_of,
    read_problem,
    refuse,
)
from staticgrad.errors import ArgumentError, BudgetInfeasible
from staticgrad.language.calls.arguments import public
from staticgrad.language.ops.operands import PositiveInt
from staticgrad.support.config import read_bytes, read_share


def lower_bound(net: Net) -> int:
    """Bytes that the arena of every plan needs."""
    live_values = _live_at_first_runs(net)
    final = sum(size for size, must_stay in zip(net.sizes, net.is_output, strict=True) if must_stay)
    return max([final, *(_footprint(net, step, live_values[step]) for step in range(len(net.ops)))])


def _footprint(net: Net, step: int, live_values: set[int]) -> int:
    """Return a lower bound of the bytes while a step runs with these live values."""
    present = live_values.union(net.reads[step], net.makes[step])
    total = sum(net.sizes[value] for value in present) + net.workspace[step]
    pairs = net.ops[step].inplace
    # each output once, over whatever input may die: at least what any plan saves
    saved = {
        output
        for overwritten, output in pairs
        if net.numbers.get(overwritten, -1) not in live_values
    }
    return total - sum(net.sizes[net.numbers[output]] for output in saved)


def _live_at_first_runs(net: Net) -> list[set[int]]:
    """Return by step the values that are live during its first run in every memory plan."""
    ancestors = [0] * len(net.ops)  # bits by step
    for step, reads in enumerate(net.reads):
        for value in reads:
            maker = net.producer[value]
            ancestors[step] |= ancestors[maker] | 1 << maker
    readers: dict[int, list[int]] = {}
    for step, reads in enumerate(net.reads):
        for value in reads:
            readers.setdefault(value, []).append(step)
    live_values: list[set[int]] = [set() for _ in net.ops]
    for value, maker in enumerate(net.producer):
        once = net.ops[maker].mutates or net.ops[maker].max_runs == 1
        if not once or not net.sizes[value]:
            continue
        later = 0
        for reader in readers.get(value, ()):
            later |= ancestors[reader]
        # Ops are listed behind those that they read.
        for step in range(maker + 1, len(net.ops)):
            # The step runs after the maker, which runs once, and before a reader: the value is
            # live.
            if ancestors[step] >> maker & 1 and (net.is_output[value] or later >> step & 1):
                live_values[step].add(value)
    return live_values


#: Heats of walks, as shares of the cost of all ops: of few ops, and of more.
_OF_FEW: Final = (0.02, 0.005, 0.01, 0.005, 0.02, 0.005, 0.003, 0.002)
_OF_MANY: Final = (0.003, 0.02, 0.01, 0.005, 0.05, 0.005, 0.01)
_WALKS: Final = 8
_FEWEST: Final = 2
_SHORT: Final = 150  # ops up to which there are most walks
_HOT_HEATS: Final = (0.2, 0.1)
_HOT_EFFORT: Final = 50_000  # of a short hot walk, for each op


def search_by_walks(
    descents: Descents, starts: Sequence[Sequence[int]], budget: int, random: Random, limit: int
) -> Iterator[tuple[int, float, list[int]]]:
    """Search by annealing from several sequences; return loads, costs and sequences.

    Walks from starts in turn, each trimmed; the best so far is a start as well.

    How hot a walk has to be depends on the problem, so heats differ from walk to walk; problems of
    few ops, of which a walk is short, get more of them.
    """
    count = max(_FEWEST, min(_WALKS, _WALKS * _SHORT // max(len(descents.net.ops), 1)))
    # A walk of few ops is cheap, so that more heats can be tried.
    heats = _OF_FEW if count == _WALKS else _OF_MANY
    best: tuple[bool, float, list[int]] | None = None
    for turn in range(count):
        start = starts[turn // 2 % len(starts)]
        # every other walk goes on from the best result
        if turn % 2 and best is not None:
            start = best[2]
        sequence = descents.walk(start, budget, heats[turn], random, limit // count)
        peak, cost, sequence = _trim_to_budget(descents, sequence, budget, random, limit // count)
        yield peak, cost, sequence
        new = peak > budget, cost if peak <= budget else peak, sequence
        if best is None or new[:2] < best[:2]:
            best = new


def hot_walks(
    descents: Descents, start: Sequence[int], budget: int, limit: int
) -> Iterator[tuple[int, float, list[int]]]:
    """Search by many short annealing walks from one sequence of steps.

    Where a budget makes much run again, good sequences run steps in another order, and no small
    change of the best sequence leads there. Whether a walk comes there is chance, and shows early.
    """
    random, walk_effort = Random(1), _HOT_EFFORT * max(len(descents.net.ops), 1)
    for turn in range(limit // walk_effort):
        sequence = descents.walk(start, budget, _HOT_HEATS[turn % 2], random, walk_effort)
        yield _trim_to_budget(descents, sequence, budget, random, walk_effort)


def _trim_to_budget(
    descents: Descents, sequence: list[int], budget: int, random: Random, limit: int
) -> tuple[int, float, list[int]]:
    """Return the last descent's load, cost and sequence, trimmed if it meets the budget."""
    if descents.peak <= budget:
        sequence = descents.trim(sequence, budget, random, 0.0, limit)
    return descents.peak, descents.net.cost(sequence), sequence


#: The load of a sequence, its cost, and its steps.
Candidate = tuple[int, float, list[int]]
#: Effort of descents and of walks: for any problem, and for each of its events.
_EFFORTS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "fast": ((40_000_000, 20_000), (0, 0)),
    "default": ((40_000_000, 20_000), (80_000_000, 20_000)),
    "exact": ((40_000_000, 20_000), (80_000_000, 20_000)),
}
_WALKING: Final = 0.65  # part of the effort of walks that so few ops have
_TRIES: Final = 8  # sequences that are placed, the cheapest first
_FLAT: Final = 4  # sequences that flat walks begin with
_PRICES: Final = (8_000, 20_000, 50_000)  # of bytes near the budget in flat walks, in turn
_FLAT_PART: Final = 8  # part of the effort of walks that each flat one has
_SAME: Final = 1.0 + 1e-9  # ratio of costs up to which they differ by rounding alone
_DEAR: Final = 1.25  # cost, in costs of all ops, from which on there are more ways to search
_NEAR: Final = 0.02  # cost, in costs of all ops, that placement may lose


class PlanSearch:
    """A search for the cheapest plan within a budget.

    ``best`` is the plan, or None; ``smallest`` is the smallest arena of all that were placed, and
    ``over`` the fewest bytes by which one exceeded the budget of those that would be cheaper.
    """

    def __init__(
        self, net: Net, budget: int, effort: str, seed: int, bound: int, smallest: int
    ) -> None:
        self.net, self.budget, self.bound = net, budget, bound
        self.smallest, self.over = smallest, 0
        self.best: MemoryPlan | None = None
        self.candidates: list[Candidate] = []
        self.descents, self.random = Descents(net), Random(seed)
        events = sum(map(len, (*net.reads, *net.makes)))
        efforts = (least + per_event * events for least, per_event in _EFFORTS[effort])
        self.descending, self.walking = efforts
        self.is_short = len(net.ops) <= _SHORT
        if self.is_short:
            self.walking = int(_WALKING * self.walking)

    def seek(self) -> None:
        """Search the cheapest plan of a problem within its budget."""
        self.candidates += self._descend_slopes()
        if self._is_free_placed():
            return
        self._search()
        if self._is_free_placed():
            return
        if self.walking:
            if self.is_short:
                self.place(
                    self.candidates, 1
                )  # whether placement or cost is what walks are to mend
            self.candidates += self._flat(self.candidates, _PRICES[0])
        self.place(self.candidates)
        if not self.over:
            return
        for price in _PRICES[1:] if self.walking else ():
            flat = self._flat(self.candidates, price)
            self.candidates += flat
            self.place(flat)
            if self._is_near():
                return

    def place(self, candidates: Sequence[Candidate], tries: int = _TRIES) -> None:
        """Assign offsets to the cheapest sequences, up to the first that meets the budget."""
        self.over = 0
        for sequence in self._cheapest(candidates, tries):
            if self.best is not None and self.net.cost(sequence) * _SAME >= self.best.cost:
                return
            plan = MemoryPlan.of(self.net, sequence, self.bound, self.budget)
            if self._is_kept(plan):
                return
            missed = plan.height - self.budget
            self.over = min(self.over or missed, missed)
        if candidates and self.best is None and not self.over and tries > 1:
            self._is_kept(MemoryPlan.of(self.net, min(candidates)[2], self.bound, self.budget))

    def _is_kept(self, plan: MemoryPlan) -> bool:
        """Return whether a plan's arena meets the budget; the plan is then the best so far."""
        self.smallest = min(self.smallest, plan.height)
        if plan.height <= self.budget:
            self.best = plan
        return plan.height <= self.budget

    def _is_near(self) -> bool:
        """Return whether the plan costs little more than the cheapest sequence in the budget."""
        least = min(cost for load, cost, _ in self.candidates if load <= self.budget)
        return self.best is not None and self.best.cost - least <= _NEAR * self.net.total

    def _is_free_placed(self) -> bool:
        """Return whether a sequence without recomputation is placed: no plan is cheaper."""
        free = [candidate for candidate in self.candidates if self._is_free(candidate)]
        self.place(free)
        if free and self.best is None:
            self.place(self._flat(free, _PRICES[0]))
        return self.best is not None and self.best.cost <= self.net.total * _SAME

    def _is_free(self, candidate: Candidate) -> bool:
        """Return whether a sequence meets the budget without recomputation."""
        return candidate[0] <= self.budget and candidate[1] <= self.net.total * _SAME

    def _candidate_of(self, sequence: list[int]) -> Candidate:
        """Return load, cost and sequence of the last descent."""
        return self.descents.peak, self.net.cost(sequence), sequence

    def _descend_slopes(self) -> list[Candidate]:
        """Return the trimmed sequences of descents with several weightings of gaps."""
        descents, goal = self.descents, self.budget
        candidates: list[Candidate] = []
        listed_order = list(range(len(self.net.ops)))
        stop = descents.effort + self.descending
        for slope in SLOPES:
            least, left = int(goal * slope.share), stop - descents.effort
            sequence = descents.descend(listed_order, least, slope, self.random, left)
            if descents.peak <= goal:
                limit = self.descending // 4
                sequence = descents.trim(sequence, goal, self.random, 0.0, limit)
            candidates.append(self._candidate_of(sequence))
            if descents.effort > stop:
                break
        return candidates

    def _search(self) -> None:
        """Add sequences found by annealing from those of the descents."""
        if not self.walking:
            return
        descents, goal, short = self.descents, self.budget, self.is_short
        listed_order = list(range(len(self.net.ops)))
        ends = [sequence for _, _, sequence in _best_candidates(self.candidates, goal)]
        starts = [listed_order, ends[0], listed_order] if short else [*ends, listed_order]
        walks = search_by_walks(descents, starts, goal, self.random, self.walking)
        self.candidates += self._until_free(walks, goal)
        best = _best_candidates(self.candidates, goal)[0]
        if short and (best[0] > goal or best[1] > _DEAR * self.net.total):
            self.candidates += hot_walks(descents, listed_order, goal, self.walking * 2 // 3)

    def _until_free(self, candidates: Iterable[Candidate], goal: int) -> Iterator[Candidate]:
        """Yield results up to the first that meets the goal and recomputes nothing: it is the
        cheapest. With many ops yield all: one with fewer bytes is easier to place."""
        for candidate in candidates:
            yield candidate
            if self._is_free(candidate) and candidate[0] <= goal and self.is_short:
                break

    def _cheapest(self, candidates: Sequence[Candidate], count: int) -> list[list[int]]:
        """The cheapest sequences within the budget, no two of one cost."""
        fitting: dict[float, list[int]] = {}
        for load, cost, sequence in sorted(candidates):  # of one cost the least load
            if load <= self.budget:
                fitting.setdefault(cost, sequence)
        return [fitting[cost] for cost in sorted(fitting)[:count]]

    def _flat(self, candidates: Sequence[Candidate], price: int) -> list[Candidate]:
        """Return sequences with a flat memory load near the cheapest ones within the budget."""
        limit = self.walking // _FLAT_PART
        count = _FLAT // 2 if self.is_short and self.over else _FLAT
        starts = self._cheapest(candidates, count) if limit else []
        flatten, random = self.descents.flatten, self.random
        return [
            self._candidate_of(flatten(start, self.budget, price, random, limit))
            for start in starts
        ]


def _best_candidates(candidates: Sequence[Candidate], goal: int) -> list[Candidate]:
    """Return the cheapest sequence within the goal (or the lowest), and the cheapest of all."""
    if not candidates:
        return []
    first = min(
        candidates,
        key=lambda candidate: (
            candidate[0] > goal,
            candidate[1] if candidate[0] <= goal else candidate[0],
        ),
    )
    return [first, min(candidates, key=lambda candidate: candidate[1])]


Effort = Literal["fast", "default", "exact"]
_SOLVED: Final = 150  # ops up to which there is a mixed integer program
_SECONDS: Final = 60.0  # of the solver, for each order


@public
def plan_abstract(
    problem: MemoryProblem | Mapping[str, object] | str | Path,
    budget: int | float | str | None = None,
    *,
    effort: Effort = "default",
    align: PositiveInt = 1,
    seed: int = 1,
) -> MemoryPlan:
    """Return the cheapest plan found whose arena is within a memory budget.

    A plan is a sequence of ops, in which an op may occur several times, and an offset for every
    allocation. It depends on the arguments alone, since effort is counted and not timed; but
    for "exact", whose solver has a minute for each of two orders.

    Args:
        problem: ops and values, as ``staticgrad.analysis.planning.problem`` has them, or the
        document
            (``staticgrad-memgraph/1``) or the file that describes them.
        budget: bytes of the arena: a number, or text as "64MiB"; "50%" and 0.5 are shares of what
            storing everything needs. None means unlimited.
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

    >>> from staticgrad.analysis.planning.problem import MemoryOp, MemoryProblem, MemoryValue
    >>> values = [MemoryValue(name, 100) for name in "abc"]
    >>> ops = [MemoryOp(0, "make", (), ("a",)), MemoryOp(1, "one", ("a",), ("b",))]
    >>> ops += [MemoryOp(2, "other", ("a", "b"), ("c",))]
    >>> plan = plan_abstract(MemoryProblem(tuple(values), tuple(ops), outputs=("c",)))
    >>> plan.sequence, plan.height
    ((0, 1, 2), 300)
    """
    net = Net.of(_read(problem), align)
    if sum(net.sizes) + max(net.workspace, default=0) > MOST_BYTES:
        refuse(f"its values and a workspace need more than {MOST_BYTES:,} bytes")
    bound = lower_bound(net)
    everything = MemoryPlan.of(net, range(len(net.ops)), bound)
    limit = _limit(budget, everything.height)
    if everything.height <= limit:
        return everything
    search = PlanSearch(
        net, limit, effort if limit >= bound else "fast", seed, bound, everything.height
    )
    search.seek()
    if effort == "exact" and len(net.ops) <= _SOLVED:
        best, smallest = _solve_exactly(net, limit, bound, search.best), search.smallest
    else:
        best, smallest = search.best, search.smallest
    if best is None:
        raise _infeasible(net.problem, limit, smallest, bound)
    return best


def _read(problem: MemoryProblem | Mapping[str, object] | str | Path) -> MemoryProblem:
    if isinstance(problem, MemoryProblem):
        return problem
    return read_problem(problem) if isinstance(problem, str | Path) else problem_of(problem)


def _limit(budget: int | float | str | None, everything: int) -> int:
    """Return a memory budget in bytes, given those of a plan that stores everything."""
    if budget is None:
        return everything
    share = read_share(budget)
    nbytes = read_bytes(budget) if share is None else int(everything * share)
    if nbytes is None:
        raise ArgumentError(
            f"plan_abstract: budget={budget!r}",
            hint='bytes as a number or as text, "64MiB"; a share as "50%" or 0.5',
        )
    return nbytes


def _solve_exactly(net: Net, budget: int, bound: int, best: MemoryPlan | None) -> MemoryPlan | None:
    """Improve a plan by integer programming; return it with a lower bound of the cost.

    The solver's plans are for the plan's order of first runs and for the order of the problem; the
    bound is for the plan's own order.
    """
    from staticgrad.analysis.planning.exact import solve

    listed_order = tuple(range(len(net.ops)))
    orders = (
        {listed_order: 0.0} if best is None else {first_runs(best.sequence): 0.0, listed_order: 0.0}
    )
    for order in orders:
        solution = solve(net, order, budget, _SECONDS)
        orders[order] = solution.bound
        if solution.sequence is None:
            continue
        if best is None or net.cost(solution.sequence) < best.cost * (1.0 - 1e-9):
            plan = MemoryPlan.of(net, solution.sequence, bound, budget)
            best = plan if plan.height <= budget else best
    if best is None:
        return None
    return replace(best, least=orders.get(first_runs(best.sequence), 0.0))


def first_runs(sequence: Sequence[int]) -> tuple[int, ...]:
    """The order in which steps run for the first time."""
    return tuple(dict.fromkeys(sequence))


def _infeasible(problem: MemoryProblem, budget: int, smallest: int, bound: int) -> BudgetInfeasible:
    """Return the error for a memory budget within which no plan of a problem was found."""
    error = BudgetInfeasible(
        f"no plan of {problem.name!r} within {budget:,} bytes was found",
        details=[
            f"the smallest arena found needs {smallest:,} bytes; every plan needs {bound:,}",
        ],
        hint="raise the budget" if budget >= bound else f"no budget below {bound:,} can be met",
    )
    error.budget, error.smallest_peak, error.lower_bound = budget, smallest, bound
    return error
