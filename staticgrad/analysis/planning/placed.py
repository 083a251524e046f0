"""A sequence as a plan: its allocations, their offsets in one arena, and its steps as a document.

An output that is written over an input shares the block of that input. Free views are run where
their first reader after each run of the base is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from staticgrad.analysis.planning.offset_search import place_tightly
from staticgrad.analysis.planning.offsets import Spans
from staticgrad.analysis.planning.problem import PLAN_FORMAT, Document, Identifier, Net
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass
from staticgrad.support.traversal import operands_first


def laid_out(net: Net, sequence: Sequence[int]) -> tuple[list[int], list[set[int]]]:
    """Return a sequence without unread runs, and the values that each step keeps for later.

    These are the values that it touches and a later one needs. Each step keeps one run.
    """
    counts = Counter(sequence)
    need = {value for value, must_stay in enumerate(net.is_output) if must_stay}
    left, needed = list[int](), list[set[int]]()
    for step in reversed(sequence):
        reads, makes = net.reads[step], net.makes[step]
        if counts[step] > 1 and need.isdisjoint(makes):
            counts[step] -= 1
            continue
        left.append(step)
        needed.append(need.intersection((*reads, *makes)))
        need.difference_update(makes)
        need.update(reads)
    return left[::-1], needed[::-1]


@dataclass(frozen=True)
class Allocations:
    """The blocks of a sequence.

    ``made[t, value]`` is the block of what step t makes, ``workspaces[t]`` that of its workspace;
    ``pairs[t]`` are what it writes in place, ``ended[t]`` the values that are freed after it.
    """

    first: list[int]
    last: list[int]
    sizes: list[int]
    block_of: dict[tuple[int, int], int]
    workspaces: dict[int, int]
    pairs: dict[int, list[tuple[int, int]]]
    ended: list[list[int]]

    def new(self, t: int, size: int) -> int:
        """A block that begins at step t."""
        self.first.append(t)
        self.last.append(t)
        self.sizes.append(size)
        return len(self.sizes) - 1


def allocations(
    net: Net, sequence: Sequence[int], needed: Sequence[Collection[int]]
) -> Allocations:
    """Return the memory allocations of a sequence with their live ranges."""
    allocations_made = Allocations([], [], [], {}, {}, {}, [])
    block_of: dict[int, int] = {}  # of values that are there
    for t, step in enumerate(sequence):
        pairs: dict[int, int] = {}  # input: output that shares its bytes; each value once
        for overwritten, output in net.overwrites[step]:
            if (
                overwritten not in needed[t]
                and overwritten not in pairs
                and output not in pairs.values()
            ):
                pairs[overwritten] = output
        over = {output: block_of[overwritten] for overwritten, output in pairs.items()}
        if pairs:
            allocations_made.pairs[t] = [*pairs.items()]
        for value in net.makes[step]:
            block = over.get(value)
            block_of[value] = allocations_made.new(t, net.sizes[value]) if block is None else block
            allocations_made.block_of[t, value] = block_of[value]
        touched = (*net.reads[step], *net.makes[step])
        for value in touched:
            allocations_made.last[block_of[value]] = t
        if net.workspace[step]:
            allocations_made.workspaces[t] = allocations_made.new(t, net.workspace[step])
        ended = (v for v in touched if v not in pairs and v not in needed[t])
        allocations_made.ended.append([*dict.fromkeys(ended)])
    for value, block in block_of.items():
        if net.is_output[value]:
            allocations_made.last[block] = len(sequence) - 1
    return allocations_made


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
    def of(cls, net: Net, sequence: Sequence[int], bound: int, goal: int = 0) -> MemoryPlan:
        """Return the plan of a sequence with offsets; placement ends at ``goal`` or the load."""
        sequence, needed = laid_out(net, sequence)
        blocks = allocations(net, sequence, needed)
        spans = Spans(tuple(blocks.first), tuple(blocks.last), len(sequence))
        load = max(spans.load(blocks.sizes), default=0)
        offsets, height = place_tightly(spans, blocks.sizes, max(load, goal))
        cost = net.cost(sequence)
        return cls(net, tuple(sequence), tuple(offsets), height, load, cost, bound)

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
        """The figures of an abstract plan in a few lines: cost, bytes, bound."""
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
        """Return the plan as a JSON document, ``staticgrad-schedule/1``."""
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
        sequence, needed = laid_out(plan.net, plan.sequence)
        blocks = allocations(plan.net, sequence, needed)
        for t, step in enumerate(sequence):
            self._step(t, step, blocks, plan.offsets)
        for name in self.problem.outputs:
            self._show(name)

    def _step(self, t: int, step: int, blocks: Allocations, offsets: Sequence[int]) -> None:
        """Add a step of a plan's document: the op, its offsets, and the values it frees."""
        net, op = self.net, self.net.ops[step]
        for name in op.inputs:
            self._show(name)
        pairs = blocks.pairs.get(t, [])
        inside = {output for _, output in pairs}
        places = {
            str(net.names[value]): offsets[blocks.block_of[t, value]]
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
        lost = {*gone, *(net.names[overwritten] for overwritten, _ in pairs)}
        self.shown = {name for name in self.shown if self.problem.bases[name] not in lost}

    def _show(self, name: Identifier) -> None:
        """Add the ops of a free view and of those it reads to a plan's document, if missing."""
        free = self.net.free

        def select_missing(names: Iterable[Identifier]) -> list[Identifier]:
            return [name for name in names if name in free and name not in self.shown]

        for view in operands_first(
            select_missing([name]), lambda view: select_missing(free[view].inputs)
        ):
            if view not in self.shown:  # its op may have shown it with an earlier result
                self.steps.append(("c", free[view].id))
                self.shown.update(free[view].outputs)
