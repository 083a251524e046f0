"""A sequence as a plan: its allocations, their offsets in one arena, and its steps as a document.

An output that is written over an input shares the block of that input. Free views are run where
their first reader after each run of the base is.

A sequence of steps with repeats, and the bytes at each.

``across[t]`` are bytes alive between the steps t - 1 and t, ``loads[t]`` those while step t runs,
with its workspace and without what it writes in place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from staticgrad.kept import cached_property
from staticgrad.planning.offset_search import BRIEF, place_tightly
from staticgrad.planning.offsets import Spans
from staticgrad.planning.problem import PLAN_FORMAT, Document, Identifier, Net
from staticgrad.records import dataclass


class Runs:
    """A valid sequence laid out, without unneeded runs."""

    def __init__(self, net: Net, sequence: Iterable[int]) -> None:
        self.net = net
        self.sequence = without_idle(net, list(sequence))
        #: By value, ``2 * t`` for each step that reads it and ``2 * t + 1`` that makes it.
        self.events: list[list[int]] = [[] for _ in net.sizes]
        for t, step in enumerate(self.sequence):
            for value in net.reads[step]:
                self.events[value].append(2 * t)
            for value in net.makes[step]:
                self.events[value].append(2 * t + 1)
        self.loads, self.across = _loads(net, self.sequence)

    def needed(self, value: int, t: int) -> bool:
        """Return whether a value is alive before step t for a step from t on, or to the end."""
        events = self.events[value]
        i = bisect_left(events, 2 * t)
        return i > 0 and (not events[i] & 1 if i < len(events) else self.net.kept[value])

    @property
    def peak(self) -> int:
        """The largest load."""
        return max(self.loads, default=0)

    @property
    def cost(self) -> float:
        """The cost of the sequence."""
        return self.net.cost(self.sequence)


def _loads(net: Net, steps: Sequence[int]) -> tuple[list[int], list[int]]:
    """Loads of the steps, and bytes alive before each and after the last."""
    sizes = net.sizes
    need = [*net.kept]  # by value, whether a later step needs it
    alive = sum(size for size, kept in zip(sizes, need, strict=True) if kept)
    loads, across = [], [alive]
    for step in reversed(steps):
        load = alive + net.workspace[step]
        if net.overwrites[step]:
            load -= _saved(net, step, need.__getitem__)
        for value in net.makes[step]:
            if need[value]:
                alive -= sizes[value]
                need[value] = False
            else:
                load += sizes[value]
        for value in net.reads[step]:
            if not need[value]:
                alive += sizes[value]
                load += sizes[value]
                need[value] = True
        loads.append(load)
        across.append(alive)
    return loads[::-1], across[::-1]


def _saved(net: Net, step: int, lives: Callable[[int], bool]) -> int:
    """Return the bytes that a step writes over dying inputs; ``lives(value)`` is for inputs."""
    return sum(net.sizes[given] for _, given in written_over(net, step, lives))


def written_over(net: Net, step: int, lives: Callable[[int], bool]) -> list[tuple[int, int]]:
    """The pairs (input, output) of a step that share bytes: each value once."""
    found: list[tuple[int, int]] = []
    used: set[int] = set()
    for taken, given in net.overwrites[step]:
        if taken not in used and given not in used and not lives(taken):
            used |= {taken, given}
            found.append((taken, given))
    return found


def without_idle(net: Net, sequence: Sequence[int]) -> list[int]:
    """Return the sequence without runs whose results are never read; each step keeps one run."""
    counts = Counter(sequence)
    need = list(net.kept)
    left = []
    for step in reversed(sequence):
        if counts[step] > 1 and not any(need[value] for value in net.makes[step]):
            counts[step] -= 1
            continue
        for value in net.makes[step]:
            need[value] = False
        for value in net.reads[step]:
            need[value] = True
        left.append(step)
    return left[::-1]


#: More effort to place each block, and for all at most; and that of a short try for each block.
_EACH: Final = 60_000
_MOST: Final = 120_000_000
_SHORT: Final = 60_000


@dataclass(frozen=True)
class Allocations:
    """The blocks of a sequence.

    ``made[t, value]`` is the block of what step t makes, ``workspaces[t]`` that of its workspace;
    ``pairs[t]`` are what it writes in place, ``ended[t]`` the values that are freed after it.
    """

    first: list[int]
    last: list[int]
    sizes: list[int]
    made: dict[tuple[int, int], int]
    workspaces: dict[int, int]
    pairs: dict[int, list[tuple[int, int]]]
    ended: list[list[int]]

    def new(self, t: int, size: int) -> int:
        """A block that begins at step t."""
        self.first.append(t)
        self.last.append(t)
        self.sizes.append(size)
        return len(self.sizes) - 1


def allocations(runs: Runs) -> Allocations:
    """Return the allocations of a sequence."""
    net = runs.net
    length = len(runs.sequence)
    found = Allocations([], [], [], {}, {}, {}, [[] for _ in range(length)])
    block_of: dict[int, int] = {}  # of values that are there
    for t, step in enumerate(runs.sequence):
        pairs = written_over(net, step, partial(_needed_after, runs, t))
        over = {given: block_of[taken] for taken, given in pairs}
        if pairs:
            found.pairs[t] = pairs
        for value in net.makes[step]:
            block = over.get(value)
            block_of[value] = found.new(t, net.sizes[value]) if block is None else block
            found.made[t, value] = block_of[value]
        touched = (*net.reads[step], *net.makes[step])
        for value in touched:
            found.last[block_of[value]] = t
        if net.workspace[step]:
            found.workspaces[t] = found.new(t, net.workspace[step])
        gone = {taken for taken, _ in pairs}
        ended = (v for v in touched if v not in gone and not runs.needed(v, t + 1))
        found.ended[t].extend(dict.fromkeys(ended))
    for value, block in block_of.items():
        if net.kept[value]:
            found.last[block] = length - 1
    return found


def _needed_after(runs: Runs, t: int, value: int) -> bool:
    return runs.needed(value, t + 1)


@dataclass(frozen=True)
class MemoryPlan:
    """A sequence with offsets: ``height`` bytes of arena for ``load`` bytes alive at once.

    ``cost`` is that of the sequence, ``overhead`` what it costs beyond running all ops once, as a
    share; ``bound`` is what no plan of the problem can do without. ``least`` is a cost that was
    proven, 0 if none was: no sequence undercuts it that keeps the budget, has this order of first
    runs, and runs a step at most once between two of these.
    """

    net: Net
    sequence: tuple[int, ...]
    offsets: tuple[int, ...]
    height: int
    load: int
    cost: float
    bound: int
    least: float = 0.0

    @classmethod
    def of(
        cls, net: Net, sequence: Sequence[int], bound: int, goal: int = 0, *, short: bool = False
    ) -> MemoryPlan:
        """The plan of a sequence; placement ends where it reaches ``goal``, or the load, and where
        it is ``short`` after a fifth of the effort or less."""
        runs = Runs(net, sequence)
        blocks = allocations(runs)
        spans = Spans(tuple(blocks.first), tuple(blocks.last), len(runs.sequence))
        load = max(spans.load(blocks.sizes), default=0)
        count = len(blocks.sizes)
        effort = min(_SHORT * count, BRIEF) if short else BRIEF + min(_EACH * count, _MOST)
        offsets, height = place_tightly(spans, blocks.sizes, max(load, goal), effort)
        sequence = tuple(runs.sequence)
        return cls(net, sequence, tuple(offsets), height, load, runs.cost, bound)

    @property
    def overhead(self) -> float:
        """The cost of recomputation, as a share of the cost of all ops."""
        return (self.cost - self.net.total) / self.net.total if self.net.total else 0.0

    @property
    def order(self) -> tuple[Identifier, ...]:
        """The ops as they run, free views among them."""
        return tuple(step[1] for step in self.steps if step[0] == "c")

    @cached_property
    def steps(self) -> tuple[tuple[Any, ...], ...]:
        """Steps as documents have them."""
        return tuple(_PlanSteps(self).steps)

    def summary(self) -> str:
        """Its figures, in a few lines."""
        again = len(self.sequence) - len(self.net.ops)
        return "\n".join(
            [
                f"{self.net.problem.name}: {len(self.net.problem.ops)} ops, {again} more runs",
                f"arena     {self.height:,} bytes, {self.load:,} alive at once",
                f"bound     {self.bound:,} bytes, which every plan needs",
                f"cost      {self.cost:g}, {100 * self.overhead:.2f} % more than all ops once",
            ]
        )

    def document(self) -> Document:
        """The plan as ``staticgrad-schedule/1``."""
        return {
            "format": PLAN_FORMAT,
            "graph": self.net.problem.name,
            "arena": self.height,
            "load": self.load,
            "lower_bound": self.bound,
            "cost": self.cost,
            "overhead_pct": 100.0 * self.overhead,
            "steps": [list(step) for step in self.steps],
        }


class _PlanSteps:
    """The steps of a plan, written from the first on."""

    def __init__(self, plan: MemoryPlan) -> None:
        self.net = plan.net
        self.problem = plan.net.problem
        self.steps: list[tuple[Any, ...]] = []
        self.shown: set[Identifier] = set()  # free views that are there
        runs = Runs(plan.net, plan.sequence)
        blocks = allocations(runs)
        for t, step in enumerate(runs.sequence):
            self._step(t, step, blocks, plan.offsets)
        for name in self.problem.outputs:
            self._show(name)

    def _step(self, t: int, step: int, blocks: Allocations, offsets: Sequence[int]) -> None:
        net, op = self.net, self.net.ops[step]
        for name in op.inputs:
            self._show(name)
        pairs = blocks.pairs.get(t, [])
        inside = {given for _, given in pairs}
        places = {
            str(net.names[value]): offsets[blocks.made[t, value]]
            for value in net.makes[step]
            if value not in inside and net.sizes[value]
        }
        if t in blocks.workspaces:
            places["workspace"] = offsets[blocks.workspaces[t]]
        options: Document = {}
        if pairs:
            options["inplace"] = [[net.names[a], net.names[b]] for a, b in pairs]
        if places:
            options["offsets"] = places
        self.steps.append(("c", op.id, options) if options else ("c", op.id))
        ended = [net.names[value] for value in blocks.ended[t]]
        gone = [name for name in ended if self.problem.by_id[name].alias_of is None]
        self.steps += [("f", name) for name in gone]
        lost = {*gone, *(net.names[taken] for taken, _ in pairs)}
        self.shown = {name for name in self.shown if self.problem.bases[name] not in lost}

    def _show(self, name: Identifier) -> None:
        """Run the op of a free view, if it is one and not there, behind those that it reads."""
        free, waiting = self.net.free, [name]
        while waiting:
            op = free.get(waiting[-1])
            if op is None or waiting[-1] in self.shown:
                waiting.pop()
                continue
            first = [each for each in op.inputs if each in free and each not in self.shown]
            if first:
                waiting += reversed(first)
                continue
            self.steps.append(("c", op.id))
            self.shown.update(op.outputs)
