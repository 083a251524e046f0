"""The planner: a Schedule at concrete sizes becomes a Plan, a sequence of steps with all offsets.

A policy (``passes.remat``) proposes sequences of steps, and the lowest arena wins; a budget selects
the cheapest plan that meets it from the front of plans. Results reuse the bytes of operands whose
lifetime ends there if the kernel allows it, and ``staticgrad.analysis.planning.offsets`` allocates
the buffers of the arena. Everything that does not depend on sizes is derived once, so that a new
batch size takes milliseconds. No kernel is compiled or run here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set as AbstractSet
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from passes.remat.base import Policy, Problem, Steps, are_alike, canonical_sizes
from passes.remat.front import Front, Layout, Layouts, Point, Sequences, lowest
from passes.remat.recompute import StoreAll
from staticgrad.analysis.budgets import Limit, over_budget
from staticgrad.analysis.cost import FASTEST, all_seconds
from staticgrad.analysis.liveness import Extents, Flow, SizeNumbers
from staticgrad.analysis.lookups import failing_checks
from staticgrad.analysis.plan_check import lower_bound
from staticgrad.analysis.plan_report import ArenaLayout, Placed, Timeline
from staticgrad.analysis.planning.offsets import MOST_BYTES
from staticgrad.analysis.repeats import Repeats
from staticgrad.compiler.memory.order import Order, candidate_orders
from staticgrad.errors import BudgetInfeasible, SizeGuardError, UnknownNameError
from staticgrad.language.ir.plan import Placement, Plan, PlannedStep
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.types.arrays import MOST_SIZE
from staticgrad.support.caches import BoundedCache, cached_property, collection_paused

if TYPE_CHECKING:
    from staticgrad.analysis.planning.problem import MemoryProblem

_TIMELINES: Final = 64 << 20  # bytes of timelines kept; one per order and set of staged inputs
_FRONTS: Final = 16 << 20  # bytes of fronts kept; one per sizes and set of staged inputs
_SEQUENCES: Final = 16 << 20  # bytes of sequences kept; one set of them per canonical sizes
_STORE_ALL: Final = StoreAll()
_Sizes = tuple[tuple[str, int], ...]
_SequencesKey = tuple[_Sizes, frozenset[int], int]  # sizes, staged, workers
_FrontKey = tuple[_SequencesKey, _Sizes]  # where its sequences were sought, and its own sizes


def _at_sizes(sizes: Mapping[str, int], what: str) -> str:
    at = ", ".join(f"{name}={value}" for name, value in sizes.items())
    return f"at {at}, {what}" if at else what


def plan(
    schedule: Schedule,
    sizes: Mapping[str, int],
    *,
    staged: AbstractSet[str] = frozenset(),
    policy: Policy = _STORE_ALL,
    budget: int | Limit | None = None,
    workers: int = 1,
) -> Plan:
    """Return the memory plan of a schedule at some sizes; use ``Planner`` for several."""
    return Planner(schedule, policy, budget, workers).plan(sizes, staged=staged)


class Planner:
    """Plans of one schedule; the same sizes always give the same plan."""

    def __init__(
        self,
        schedule: Schedule,
        policy: Policy = _STORE_ALL,
        budget: int | Limit | None = None,
        workers: int = 1,
        least_shared: float = 0.0,
    ) -> None:
        """Each of ``workers`` has its own scratch.

        Plans are for one worker if fewer than ``least_shared`` seconds are predicted, or if only
        such a plan meets the budget.
        """
        if workers < 1:
            raise ValueError(f"{workers} workers")
        self.schedule, self.policy, self.budget = schedule, policy, budget
        self.workers, self._least_shared = workers, least_shared
        self._inputs = frozenset(b.name for b in schedule.buffers if b.role == "input")
        self._retained = frozenset(i for i, b in enumerate(schedule.buffers) if b.retained)
        self._bodies = {
            (step, count): tuple(Planner(body.schedule, workers=count) for body in bodies)
            for step, program_step in enumerate(schedule.steps)
            if (bodies := program_step.bodies())
            for count in {1, workers}
        }
        self._timelines: BoundedCache[tuple[Order, frozenset[int]], Timeline] = BoundedCache(
            _TIMELINES
        )
        self._fronts: BoundedCache[_FrontKey, Front] = BoundedCache(_FRONTS)
        self._sequences: BoundedCache[_SequencesKey, Sequences] = BoundedCache(_SEQUENCES)
        self._arena = tuple(buffer.in_arena for buffer in schedule.buffers)

    @cached_property
    def flow(self) -> Flow:
        """The accesses of the steps, which no size changes; a stored plan needs no flow."""
        return Flow(self.schedule)

    @cached_property
    def extents(self) -> Extents:
        """The sizes of its buffers, as functions of named sizes."""
        return Extents(self.schedule)

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        """The orders to choose from, the listed one first."""
        return candidate_orders(self.flow, self.extents.typical().nbytes)

    @cached_property
    def repeats(self) -> Repeats:
        """The steps that may be recomputed."""
        return Repeats(self.flow)

    @collection_paused()
    def plan(self, sizes: Mapping[str, int], *, staged: AbstractSet[str] = frozenset()) -> Plan:
        """Return the memory plan at these sizes: order of steps, recomputation, offsets.

        Without a budget, the policy's. With one, the cheapest of the front that needs no more than
        the budget, and no more than the policy's plan.
        """
        if not staged <= self._inputs:
            unknown = ", ".join(sorted(map(repr, staged - self._inputs)))
            raise UnknownNameError(f"{unknown}: no input buffer of schedule {self.schedule.name!r}")
        numbers = self.extents.at(sizes)
        self._check_bytes(numbers, sizes)
        workers = self._workers(numbers)
        # Each worker has scratch of its own: one needs the least bytes.
        if workers > 1 and self._exceeds_budget(sizes, staged, workers):
            workers = 1
        try:
            return self._plan_for(workers, sizes, staged)
        except BudgetInfeasible:
            if workers == 1:
                raise
        return self._plan_for(1, sizes, staged)

    def _check_bytes(self, numbers: SizeNumbers, sizes: Mapping[str, int]) -> None:
        """Raise an error at sizes with a buffer of negative or unaddressable bytes."""
        for extreme in (min, max) if numbers.nbytes else ():
            nbytes = extreme(numbers.nbytes)
            if not 0 <= nbytes <= MOST_BYTES:
                buffer = self.schedule.buffers[numbers.nbytes.index(nbytes)]
                what = f"{nbytes:,} bytes, and processors address {MOST_BYTES:,}"
                raise SizeGuardError(_at_sizes(sizes, f"a value has {what}"), at=buffer.origin)
        for step, total, arguments in zip(
            self.schedule.steps, numbers.totals, numbers.arguments, strict=True
        ):
            most = max(total, *arguments, 0)
            if most > MOST_SIZE:
                what = f"{step.label} takes {float(most):.3g} elements: they are less than 2**63"
                at = step.origins[0] if step.origins else None
                raise SizeGuardError(_at_sizes(sizes, what), at=at)

    def _exceeds_budget(
        self, sizes: Mapping[str, int], staged: AbstractSet[str], workers: int
    ) -> bool:
        """Return True if a lower bound proves that no plan for so many workers meets the budget."""
        budget = self.budget_at(sizes)
        if budget is None:
            return False
        copied = frozenset(self.flow.index[name] for name in staged)
        numbers = self._evaluate_sizes(sizes, workers)
        return budget < self._lower_bound(sizes, numbers, copied, workers)

    def peak_bound(
        self, sizes: Mapping[str, int], *, staged: AbstractSet[str] = frozenset()
    ) -> int:
        """Return a lower bound of the peak memory of all plans at these sizes, without a search."""
        copied = frozenset(self.flow.index[name] for name in staged)
        worker_counts = {1, self._workers(self.extents.at(sizes))}
        return min(
            self._lower_bound(sizes, self._evaluate_sizes(sizes, w), copied, w)
            for w in worker_counts
        )

    def stored_peak(self, sizes: Mapping[str, int]) -> int:
        """Return the bytes of the arena if every step runs once, without a copied feed."""
        numbers = self._evaluate_sizes(sizes, self._workers(self.extents.at(sizes)))
        return self._lowest_single_run(numbers, frozenset()).height

    def problem(self, sizes: Mapping[str, int]) -> MemoryProblem:
        """Return the recomputation problem at these sizes in the terms of ``sg.plan_abstract``.

        No feed is copied, bytes are aligned, and costs are predicted seconds.
        """
        from passes.remat.abstract import export_problem

        numbers = self._evaluate_sizes(sizes, self._workers(self.extents.at(sizes)))
        return export_problem(self._problem(numbers, frozenset()))

    def _plan_for(self, workers: int, sizes: Mapping[str, int], staged: AbstractSet[str]) -> Plan:
        """Return the memory plan at these sizes for a number of workers."""
        numbers = self._evaluate_sizes(sizes, workers)
        copied = frozenset(self.flow.index[name] for name in staged)
        budget = self.budget_at(sizes)
        chosen = self._choose_point(sizes, numbers, copied, workers, budget)
        plan = self._build_plan(sizes, numbers, copied, chosen, workers)
        if budget is not None and plan.peak_bytes > budget:
            uncopied = self._smallest_uncopied(sizes) if copied else None
            error = over_budget(plan, budget, uncopied)
            if not isinstance(self.budget, int) and self.budget is not None:
                error.details += (self.budget.words(sizes),)
            raise error
        if self.policy == _STORE_ALL or len(plan.steps) > len(self.schedule.steps):
            return plan
        reason = f"policy {self.policy.name or self.policy!r} proposed nothing that needs fewer"
        return replace(plan, remark=f"nothing is computed again: {reason} bytes")

    def budget_at(self, sizes: Mapping[str, int]) -> int | None:
        """Return the bytes that the budget allows at these sizes, or None without a budget."""
        if self.budget is None or isinstance(self.budget, int):
            return self.budget
        return self.budget.at(sizes)

    def _workers(self, numbers: SizeNumbers) -> int:
        """Return the number of workers of a plan for these sizes."""
        if self.workers == 1 or not self._least_shared:
            return self.workers
        seconds = all_seconds(self.schedule.steps, numbers.arguments, FASTEST)
        return self.workers if sum(seconds) >= self._least_shared else 1

    def _evaluate_sizes(self, sizes: Mapping[str, int], workers: int) -> SizeNumbers:
        """Evaluate a schedule at sizes: bytes, seconds and arguments, with the arenas of bodies."""
        numbers = self.extents.at(sizes, workers)
        if not self._bodies:
            return numbers
        plans = {
            step: tuple(planner.plan(sizes) for planner in planners)
            for (step, count), planners in self._bodies.items()
            if count == workers
        }
        arena_bytes = {
            self.flow.index[scratch.buffer]: max(plan.peak_bytes for plan in plans_of_step)
            for step, plans_of_step in plans.items()
            for scratch in self.schedule.steps[step].scratch()
            if scratch.per == "bodies"
        }
        return numbers.with_bodies(plans, arena_bytes)

    def _choose_point(
        self,
        sizes: Mapping[str, int],
        numbers: SizeNumbers,
        staged: frozenset[int],
        workers: int,
        budget: int | None,
    ) -> Point:
        """Choose a plan: the policy's, or the cheapest within the budget, or the smallest."""
        if budget is None:
            return self._by_policy(numbers, staged)
        most = budget
        if self.policy != _STORE_ALL or self._least_load(numbers, staged) <= budget:
            policy_point = self._by_policy(numbers, staged)
            # nothing has to be recomputed
            if self.policy == _STORE_ALL and policy_point.height <= budget:
                return policy_point
            most = min(budget, policy_point.height)
        problem = self._problem(numbers, staged)
        points: list[Point] = []
        smallest: list[Point] = []
        for key, front, layouts in self._fronts_at(sizes, problem, workers):
            point = front.within(problem, most, layouts)
            if point is None:
                smallest.append(front.smallest(problem, layouts))
            else:
                points.append(point)
            self._keep(key, front)
            # a search for exactly these sizes would hardly find a cheaper one
            if point is not None and front.is_as_cheap(point, most, layouts.current):
                break
            if point is None and most < self._lower_bound(sizes, numbers, staged, workers):
                break  # no other front has a plan
        if points:
            return min(points, key=lambda point: point.seconds)
        return min(self._by_policy(numbers, staged), *smallest, key=lambda point: point.height)

    def _least_load(self, numbers: SizeNumbers, staged: frozenset[int]) -> int:
        """Return the fewest live bytes of an order that runs every step once."""
        layout = self._layouts(numbers, staged)
        return min(layout(order).load for order in self.orders)

    def _layouts(self, numbers: SizeNumbers, staged: frozenset[int]) -> Layout:
        """Return the function that assigns arena offsets to a sequence; it caches timelines."""

        def layout_sequence(sequence: Steps) -> ArenaLayout:
            order = tuple(sequence)
            timeline = self._timeline(order, staged)
            arena_layout = timeline.layout(numbers)
            self._timelines.store((order, staged), timeline, timeline.held_bytes)
            return arena_layout

        return layout_sequence

    def _smallest_uncopied(self, sizes: Mapping[str, int]) -> int:
        """Return the peak without copied feeds: of the smallest plan if none meets the budget."""
        try:
            return self.plan(sizes).peak_bytes
        except BudgetInfeasible as error:
            return error.smallest_peak

    def front(
        self, sizes: Mapping[str, int], *, staged: AbstractSet[str] = frozenset()
    ) -> tuple[tuple[Plan, float], ...]:
        """Return the memory plans that a budget chooses from, with seconds, cheapest first."""
        all_numbers = self.extents.at(sizes)
        self._check_bytes(all_numbers, sizes)
        workers = self._workers(all_numbers)
        numbers = self._evaluate_sizes(sizes, workers)
        copied = frozenset(self.flow.index[name] for name in staged)
        problem = self._problem(numbers, copied)
        front_points: list[Point] = []
        for key, front, layouts in self._fronts_at(sizes, problem, workers):
            points = front.points(problem, layouts)
            for point in points:
                if front_points and point.height >= front_points[-1].height:
                    continue
                while front_points and front_points[-1].seconds > point.seconds:
                    front_points.pop()  # a search for exactly these sizes may be better in both
                front_points.append(point)
            self._keep(key, front)
        return tuple(
            (self._build_plan(sizes, numbers, copied, p, workers), p.seconds) for p in front_points
        )

    def _fronts_at(
        self, sizes: Mapping[str, int], problem: Problem, workers: int
    ) -> Iterator[tuple[_FrontKey, Front, Layouts]]:
        """Yield Pareto fronts of plans at these sizes; the first that is cheap is used.

        First that of the sequences for canonical sizes, if these are like them, then that of the
        sequences for exactly these sizes.
        """
        canonical = canonical_sizes(sizes)
        layouts_here = self._layouts(problem.numbers, problem.staged)
        if canonical != dict(sizes):
            numbers = self._evaluate_like(problem.numbers, canonical, workers)
            if numbers is not None:
                layouts = Layouts(layouts_here, self._layouts(numbers, problem.staged))
                yield *self._front(sizes, problem, canonical, numbers, workers), layouts
        yield *self._front(sizes, problem, sizes, problem.numbers, workers), Layouts(layouts_here)

    def _evaluate_like(
        self, numbers: SizeNumbers, sizes: Mapping[str, int], workers: int
    ) -> SizeNumbers | None:
        """Return the numbers at sizes if sequences for these suit ``numbers``, else None.

        The program may exclude the sizes.
        """
        try:
            other_numbers = self._evaluate_sizes(sizes, workers)
        except SizeGuardError:
            return None
        return other_numbers if are_alike(numbers, other_numbers, self._arena) else None

    def _front(
        self,
        sizes: Mapping[str, int],
        problem: Problem,
        search_sizes: Mapping[str, int],
        search_numbers: SizeNumbers,
        workers: int,
    ) -> tuple[_FrontKey, Front]:
        """Return the Pareto front at some sizes of step sequences that are found at others."""
        at = tuple(sorted(search_sizes.items())), problem.staged, workers
        key = at, tuple(sorted(sizes.items()))
        front = self._fronts.get(key)
        if front is None:
            sequences = self._sequences.get(at)
            if sequences is None:
                bound = self._lower_bound(search_sizes, search_numbers, problem.staged, workers)
                sequences = Sequences(self._problem(search_numbers, problem.staged), bound)
            front = Front(problem, sequences)
        return key, front

    def _lower_bound(
        self, sizes: Mapping[str, int], numbers: SizeNumbers, staged: frozenset[int], workers: int
    ) -> int:
        """Return a lower bound of the peak of plans for these sizes."""
        order = self._timeline(self.orders[0], staged)
        point = Point.of(order.layout(numbers).place_blocks(), 0.0)
        return lower_bound(self._build_plan(sizes, numbers, staged, point, workers))

    def _keep(self, key: _FrontKey, front: Front) -> None:
        """Cache a front and its sequences, with their current bytes."""
        self._fronts.store(key, front, front.held_bytes)
        self._sequences.store(key[0], front.sequences, front.sequences.held_bytes)

    def _by_policy(self, numbers: SizeNumbers, staged: frozenset[int]) -> Point:
        if self.policy != _STORE_ALL:
            return lowest(self._problem(numbers, staged), self.policy)
        return Point.of(self._lowest_single_run(numbers, staged), 0.0)

    def _lowest_single_run(self, numbers: SizeNumbers, staged: frozenset[int]) -> Placed:
        """Return the order with the lowest arena in which every step runs once."""
        layouts = [*map(self._layouts(numbers, staged), self.orders)]
        best: Placed | None = None
        for layout in sorted(layouts, key=lambda candidate: candidate.load):
            if best is not None and layout.load >= best.height:
                break
            candidate = layout.place_blocks()
            if best is None or candidate.height < best.height:
                best = candidate
        if best is None:
            raise ValueError("a schedule has at least one order")
        return best

    def _problem(self, numbers: SizeNumbers, staged: frozenset[int]) -> Problem:
        seconds = all_seconds(self.schedule.steps, numbers.arguments)
        return Problem(
            self.flow, self.repeats, numbers, staged, self.orders, seconds, self._retained
        )

    def _timeline(self, order: Order, staged: frozenset[int]) -> Timeline:
        timeline = self._timelines.get((order, staged))
        return Timeline(self.flow, order, staged) if timeline is None else timeline

    def _build_plan(
        self,
        sizes: Mapping[str, int],
        numbers: SizeNumbers,
        staged: frozenset[int],
        point: Point,
        workers: int,
    ) -> Plan:
        """Build the Plan of a chosen step sequence with its buffers' offsets."""
        names = self.flow.names
        timeline = self._timelines.get((tuple(point.sequence), staged))
        lives = self.flow.lives(point.sequence, staged) if timeline is None else timeline.lives
        listed = self.schedule.steps
        fails_by_step = {
            step: failing_checks(listed[step], numbers.arguments[step], numbers.totals[step])
            for step in self.flow.looking
        }
        fails = {step: fails for step, fails in fails_by_step.items() if fails}
        steps = tuple(
            PlannedStep(
                step, numbers.arguments[step], numbers.offsets[step],
                0 if step in fails else numbers.totals[step],
                self.schedule.steps[step].grain, fails.get(step, ()),
                numbers.bodies.get(step, ()),
            )
            for step in point.sequence
        )  # fmt: skip
        placements = tuple(
            Placement(
                names[life.buffer], offset, numbers.nbytes[life.buffer], life.first, life.last
            )
            for life, offset in zip(lives, point.offsets, strict=True)
        )  # fmt: skip
        return Plan(
            schedule=self.schedule,
            sizes=tuple(sizes.items()),
            steps=steps,
            placements=placements,
            peak_bytes=point.height,
            commit=self.flow.commit(point.sequence),
            buffer_bytes=tuple(zip(names, numbers.nbytes, strict=True)),
            workers=workers,
        )
