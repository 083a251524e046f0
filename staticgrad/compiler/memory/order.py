"""Orders in which the steps of a schedule may run, for the planner to choose from.

Each order keeps every pair of conflicting steps as listed, and every index check before the first
write of a parameter. Orders differ in what they hurry: updates, so that a gradient dies as soon as
it was used; checks, so that updates may start; or whatever frees the most bytes. The planner
chooses one at concrete sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set as AbstractSet
from heapq import heapify, heappop, heappush

from staticgrad.analysis.liveness import Flow
from staticgrad.support.errors import VerifyError

Order = tuple[int, ...]
Priority = Callable[[int], tuple[int, ...]]


def candidate_orders(flow: Flow, nbytes: Sequence[int]) -> tuple[Order, ...]:
    """Distinct valid orders, the listed one (where it is valid) first; see ``_late``."""
    edges = _Edges(flow)
    commits = set(flow.commits)
    early = _ancestors(edges.before, flow.checks)
    arena = {i: nbytes[i] for i, b in enumerate(flow.schedule.buffers) if b.in_arena}
    backwards = edges.reversed()
    free = _freeing_nothing(flow)
    orders = [
        _sorted(edges, lambda step: (step not in free, step)),
        _sorted(edges, lambda step: (step not in free, step not in commits, step)),
        _sorted(
            edges, lambda step: (step not in free, step not in commits, step not in early, step)
        ),
        _Greedy(flow, edges, arena, 1, free).order(),
        tuple(reversed(_Greedy(flow, backwards, arena, -1, free).order())),
    ]
    return tuple(dict.fromkeys(_late(flow, order, free) for order in orders))


def _late(flow: Flow, order: Order, free: AbstractSet[int]) -> Order:
    """Return the order with steps that free nothing right before the first that needs them.

    A run may be cancelled until the first parameter is written, so that should happen late.
    """
    done: set[int] = set()
    found: list[int] = []
    for last in (*(step for step in order if step not in free), *filter(free.__contains__, order)):
        stack = [last]
        while stack:
            waiting = [s for s in flow.before[stack[-1]] if s in free and s not in done]
            if waiting:
                stack += waiting
                continue
            step = stack.pop()
            if step not in done:
                done.add(step)
                found.append(step)
    return tuple(found)


def _freeing_nothing(flow: Flow) -> set[int]:
    """Return updates such as a counter's, and the steps that read only them and parameters.

    Nothing that they read dies there, so only their readers determine when they run.
    """
    roles = [buffer.role for buffer in flow.schedule.buffers]
    commits, checks, free = set(flow.commits), set(flow.checks), set[int]()
    made: set[int] = set()  # by steps found so far
    for step, (reads, writes) in enumerate(zip(flow.reads, flow.writes, strict=True)):
        there = all(b in made or roles[b] in ("parameter", "constant") for b in reads)
        begins = step in commits or not made.isdisjoint(reads)
        whole = set(writes) <= {*flow.begins[step], *(b for b in writes if roles[b] != "temp")}
        if there and begins and whole and step not in checks:
            free.add(step)
            made.update(writes)
    return free


class _Edges:
    """The order of dependent steps; the last vertex is a barrier between checks and commits."""

    def __init__(self, flow: Flow) -> None:
        self.steps = len(flow.before)
        self.before: list[tuple[int, ...]] = [*flow.before, ()]
        if flow.checks and flow.commits:
            self.before[self.steps] = flow.checks
            for step in flow.commits:
                self.before[step] = (*self.before[step], self.steps)
        self.after = _inverse(self.before)

    def reversed(self) -> _Edges:
        """The same edges the other way round."""
        other = object.__new__(_Edges)
        other.steps = self.steps
        other.before = [tuple(steps) for steps in self.after]
        other.after = [list(steps) for steps in self.before]
        return other

    def release(self, step: int, waiting: list[int]) -> list[int]:
        """Vertices that ``step`` was the last to hold back."""
        freed = []
        for later in self.after[step]:
            waiting[later] -= 1
            if not waiting[later]:
                freed.append(later)
        return freed


def _inverse(before: Sequence[Sequence[int]]) -> list[list[int]]:
    after: list[list[int]] = [[] for _ in before]
    for step, earlier in enumerate(before):
        for other in earlier:
            after[other].append(step)
    return after


def _sorted(edges: _Edges, priority: Priority) -> Order:
    """The topological order that always takes the ready step of the lowest priority value."""
    waiting = [len(earlier) for earlier in edges.before]
    keys = [priority(step) if step < edges.steps else (-1,) for step in range(edges.steps + 1)]
    ready = [(keys[step], step) for step, count in enumerate(waiting) if not count]
    heapify(ready)
    order = []
    while ready:
        step = heappop(ready)[1]
        order.append(step)
        for later in edges.release(step, waiting):
            heappush(ready, (keys[later], later))
    return _complete(edges, order)


def _complete(edges: _Edges, order: Sequence[int]) -> Order:
    if len(order) != edges.steps + 1:
        raise VerifyError("an index is checked after a parameter that it depends on was written")
    return tuple(step for step in order if step < edges.steps)


def _ancestors(before: Sequence[Sequence[int]], steps: Sequence[int]) -> set[int]:
    found: set[int] = set()
    stack = list(steps)
    while stack:
        step = stack.pop()
        if step not in found:
            found.add(step)
            stack.extend(before[step])
    return found


class _Greedy:
    """List scheduling: of the ready steps, the one that frees most and allocates least.

    ``direction`` -1 runs time backwards: edges are reversed, and of equal steps the last listed
    comes first. A ready step's price changes only when a buffer of its own is born or comes down
    to its last reader, so that the heap is mended rather than rebuilt.
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
        self.left = dict.fromkeys(nbytes, 0)  # accesses to come
        self._before_all = -sum(nbytes.values()) - 1
        self.users: dict[int, list[int]] = {buffer: [] for buffer in nbytes}
        for step, touched in enumerate(self.touches):
            for buffer in touched:
                self.left[buffer] += 1
                self.users[buffer].append(step)
        self.born: set[int] = set()
        self.waiting = [len(earlier) for earlier in edges.before]
        self.done = [False] * (edges.steps + 1)
        self.heap: list[tuple[int, int, int]] = []

    def price(self, step: int) -> int:
        """Return the bytes that running the step now adds to those live after it; a step in
        ``free`` goes first, whatever its bytes are."""
        if step in self.free:
            return self._before_all
        total = 0
        for buffer in self.touches[step]:
            total += self.nbytes[buffer] if buffer not in self.born else 0
            total -= self.nbytes[buffer] if self.left[buffer] == 1 else 0
        return total

    def push(self, step: int) -> None:
        heappush(self.heap, (self.price(step), self.direction * step, step))

    def order(self) -> Order:
        for step, count in enumerate(self.waiting):
            if not count:
                self.push(step)
        order = []
        while self.heap:
            price, _, step = heappop(self.heap)
            if self.done[step] or price != self.price(step):
                continue  # an entry with the price of another time
            self.done[step] = True
            order.append(step)
            self.run(step)
        return _complete(self.edges, order)

    def run(self, step: int) -> None:
        """Count the accesses of a step; price its ready neighbours anew."""
        changed: dict[int, None] = {}
        for buffer in self.touches[step]:
            self.left[buffer] -= 1
            if buffer not in self.born or self.left[buffer] == 1:
                self.born.add(buffer)
                changed.update(dict.fromkeys(self.users[buffer]))
        for other in changed:
            if not self.done[other] and not self.waiting[other]:
                self.push(other)
        for later in self.edges.release(step, self.waiting):
            self.push(later)
