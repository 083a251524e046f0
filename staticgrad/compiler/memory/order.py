"""Orders in which the steps of a schedule may run, for the planner to choose from.

Each order runs every pair of conflicting steps as listed, and every index check before the first
write of a parameter; loops run before that, too, where an order allows it. Orders differ in the
steps that run early: updates, so that the lifetime of a gradient ends with its use; checks, so that
updates may start; or steps that free the most bytes. The planner chooses one at concrete sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set as AbstractSet
from heapq import heappop, heappush

from staticgrad.analysis.liveness import Flow
from staticgrad.errors import VerifyError
from staticgrad.support.traversal import operands_first, reach, sort_topologically

Order = tuple[int, ...]
Priority = Callable[[int], tuple[int, ...]]


def candidate_orders(flow: Flow, nbytes: Sequence[int]) -> tuple[Order, ...]:
    """Return distinct valid orders of steps to plan memory for, the listed one (if valid) first.

    Only those with the fewest loops behind the first write of a parameter.
    """
    edges = _Edges(flow)
    commits = set(flow.commits)
    # the index checks, and the steps that they depend on
    early = {*reach(flow.checks, edges.predecessors.__getitem__)}
    arena = {i: nbytes[i] for i, b in enumerate(flow.schedule.buffers) if b.in_arena}
    backwards = edges.reverse()
    free = _find_free_steps(flow)
    orders = [
        # as listed
        _sort_topologically(edges, lambda step: (step not in free, step)),
        # updates as soon as they can run, which ends the lives of gradients
        _sort_topologically(edges, lambda step: (step not in free, step not in commits, step)),
        _sort_topologically(
            # checks early as well: no update runs before all of them
            edges,
            lambda step: (step not in free, step not in commits, step not in early, step),
        ),
        # what frees most, from the first step on, and from the last step back
        _Greedy(flow, edges, arena, 1, free).order(),
        tuple(reversed(_Greedy(flow, backwards, arena, -1, free).order())),
    ]
    loops = {number for number, step in enumerate(flow.schedule.steps) if step.runs_loop}
    if loops and commits:
        # all updates late, after as many loops as possible
        orders.append(_sort_topologically(edges, lambda step: (step in commits, step)))
    distinct = tuple(dict.fromkeys(_delay_free_steps(flow, order, free) for order in orders))
    # A run can be cancelled until the first write of a parameter, and a loop may take long: choose
    # the orders with the fewest loops after that write.
    if not loops:
        return distinct
    counts = [sum(step in loops for step in order[flow.commit(order) :]) for order in distinct]
    return tuple(o for o, count in zip(distinct, counts, strict=True) if count == min(counts))


def _delay_free_steps(flow: Flow, order: Order, free: AbstractSet[int]) -> Order:
    """Move steps that free no memory right before the first step that needs them.

    A run may be cancelled until the first parameter is written, so that should happen late.
    """
    last = [*(step for step in order if step not in free), *filter(free.__contains__, order)]
    needed = [[*filter(free.__contains__, reversed(steps))] for steps in flow.earlier_steps]
    return tuple(operands_first(last, needed.__getitem__))


def _find_free_steps(flow: Flow) -> set[int]:
    """Find steps that free no memory: updates such as a counter's, and what only they feed.

    They end no lifetime, so only their readers determine when they run.
    """
    roles = [buffer.role for buffer in flow.schedule.buffers]
    commits, checks, free = set(flow.commits), set(flow.checks), set[int]()
    written: set[int] = set()  # by free steps
    for step, (reads, writes) in enumerate(zip(flow.reads, flow.writes, strict=True)):
        reads_only_these = all(b in written or roles[b] in ("parameter", "constant") for b in reads)
        begins = step in commits or not written.isdisjoint(reads)
        if reads_only_these and begins and step not in checks:
            free.add(step)
            written.update(writes)
    return free


class _Edges:
    """The order of dependent steps; the last vertex is a barrier between checks and commits."""

    def __init__(self, flow: Flow) -> None:
        self.steps = len(flow.earlier_steps)
        self.predecessors: list[tuple[int, ...]] = [*flow.earlier_steps, ()]
        if flow.checks and flow.commits:
            self.predecessors[self.steps] = flow.checks
            for step in flow.commits:
                self.predecessors[step] = (*self.predecessors[step], self.steps)
        self.successors: list[list[int]] = [[] for _ in self.predecessors]
        for step, earlier in enumerate(self.predecessors):
            for predecessor in earlier:
                self.successors[predecessor].append(step)

    def reverse(self) -> _Edges:
        """Return the reversed edges."""
        reversed_edges = object.__new__(_Edges)
        reversed_edges.steps = self.steps
        reversed_edges.predecessors = [tuple(steps) for steps in self.successors]
        reversed_edges.successors = [list(steps) for steps in self.predecessors]
        return reversed_edges

    def release(self, step: int, open_predecessors: list[int]) -> list[int]:
        """Return the steps that are ready after ``step``, their last open predecessor."""
        freed = []
        for later in self.successors[step]:
            open_predecessors[later] -= 1
            if not open_predecessors[later]:
                freed.append(later)
        return freed


def _sort_topologically(edges: _Edges, priority: Priority) -> Order:
    """Sort steps topologically: next the ready step with the lowest priority value."""
    keys = [priority(step) if step < edges.steps else (-1,) for step in range(edges.steps + 1)]
    return _complete(edges, sort_topologically(edges.predecessors, keys.__getitem__))


def _complete(edges: _Edges, order: Sequence[int]) -> Order:
    if len(order) != edges.steps + 1:
        raise VerifyError("an index is checked after a parameter that it depends on was written")
    return tuple(step for step in order if step < edges.steps)


class _Greedy:
    """List scheduling: of the ready steps, the one that frees most and allocates least.

    ``direction`` -1 runs time backwards: edges are reversed, and of equal steps the last listed
    comes first. The price of a ready step changes only when one of its buffers is allocated or has
    one access left, so prices are pushed again only then.
    """

    def __init__(
        self,
        flow: Flow,
        edges: _Edges,
        nbytes: dict[int, int],
        direction: int,
        free: AbstractSet[int],
    ) -> None:
        self.edges, self.nbytes, self.direction, self.free = edges, nbytes, direction, free
        self.touches = [*([b for b in t if b in nbytes] for t in flow.touches), []]
        self.remaining = dict.fromkeys(nbytes, 0)  # accesses to come
        self._before_all = -sum(nbytes.values()) - 1
        self.users: dict[int, list[int]] = {buffer: [] for buffer in nbytes}
        for step, touched in enumerate(self.touches):
            for buffer in touched:
                self.remaining[buffer] += 1
                self.users[buffer].append(step)
        self.allocated: set[int] = set()
        self.open_predecessors = [len(earlier) for earlier in edges.predecessors]
        self.done = [False] * (edges.steps + 1)
        self.heap: list[tuple[int, int, int]] = []

    def price(self, step: int) -> int:
        """Return the bytes that running a step next adds to the live ones; lowest if it is free."""
        if step in self.free:
            return self._before_all
        total = 0
        for buffer in self.touches[step]:
            total += self.nbytes[buffer] if buffer not in self.allocated else 0
            total -= self.nbytes[buffer] if self.remaining[buffer] == 1 else 0
        return total

    def push(self, step: int) -> None:
        heappush(self.heap, (self.price(step), self.direction * step, step))

    def order(self) -> Order:
        """Order the steps greedily: next the ready one that adds the fewest live bytes."""
        for step, count in enumerate(self.open_predecessors):
            if not count:
                self.push(step)
        order = []
        while self.heap:
            price, _, step = heappop(self.heap)
            if self.done[step] or price != self.price(step):
                continue  # an outdated entry
            self.done[step] = True
            order.append(step)
            self.run(step)
        return _complete(self.edges, order)

    def run(self, step: int) -> None:
        """Count the buffer accesses of a step, and push its ready neighbours with new prices."""
        changed: dict[int, None] = {}
        for buffer in self.touches[step]:
            self.remaining[buffer] -= 1
            if buffer not in self.allocated or self.remaining[buffer] == 1:
                self.allocated.add(buffer)
                changed.update(dict.fromkeys(self.users[buffer]))
        for user in changed:
            if not self.done[user] and not self.open_predecessors[user]:
                self.push(user)
        for later in self.edges.release(step, self.open_predecessors):
            self.push(later)
