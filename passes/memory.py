"""The planner: a Schedule at concrete sizes becomes a Plan, an order and a place for every byte.

It chooses among the orders of ``passes.order`` the one of the lowest peak (the listed one when
none is lower), lets a result take the bytes of an operand that dies there where the kernel allows
it, and places what lives in the arena by ``passes.offsets``. What does not depend on sizes is
derived once, so that a new batch size takes milliseconds. No kernel is compiled or run here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from passes.offsets import Spans, place
from passes.order import Order, candidate_orders
from staticgrad.analysis.liveness import Extents, Flow, InPlace, Interval, Numbers
from staticgrad.errors import UnknownNameError
from staticgrad.ir.plan import Placement, Plan, PlannedStep
from staticgrad.ir.schedule import Schedule

_LAYOUTS: Final = (
    64  # derived layouts kept; one per order, set of staged inputs and in-place choice
)


def plan(
    schedule: Schedule, sizes: Mapping[str, int], *, staged: AbstractSet[str] = frozenset()
) -> Plan:
    """The plan of a schedule for one set of sizes; ``Planner`` when there will be more of them."""
    return Planner(schedule).plan(sizes, staged=staged)


class Planner:
    """Plans of one schedule. The same sizes always give the same plan, whatever came before."""

    def __init__(self, schedule: Schedule) -> None:
        """Derive what no size changes.

        Raises:
            VerifyError: a check that could only run after a parameter was written.
        """
        self.schedule = schedule
        self.flow = Flow(schedule)
        self.extents = Extents(schedule)
        self._inputs = frozenset(b.name for b in schedule.buffers if b.role == "input")
        self._layouts: dict[tuple[Order, frozenset[int]], _Timeline] = {}

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        """The orders to choose from, the listed one first."""
        return candidate_orders(self.flow, self.extents.typical().nbytes)

    def plan(self, sizes: Mapping[str, int], *, staged: AbstractSet[str] = frozenset()) -> Plan:
        """The plan for these sizes.

        Args:
            sizes: the value of every named size.
            staged: buffer names of inputs whose feeds are copied into the arena before the run.

        Raises:
            UnknownNameError: a staged buffer that is no input of the schedule.
        """
        if not staged <= self._inputs:
            unknown = ", ".join(sorted(map(repr, staged - self._inputs)))
            raise UnknownNameError(f"{unknown}: no input buffer of schedule {self.schedule.name!r}")
        numbers = self.extents.at(sizes)
        copied = frozenset(self.flow.index[name] for name in staged)
        layouts = [self._timeline(order, copied).layout(numbers) for order in self.orders]
        return self._plan(dict(sizes), numbers, _lowest(layouts))

    def _timeline(self, order: Order, staged: frozenset[int]) -> _Timeline:
        key = (order, staged)
        if key not in self._layouts:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.pop(next(iter(self._layouts)))
            self._layouts[key] = _Timeline(self.flow, order, staged)
        return self._layouts[key]

    def _plan(self, sizes: dict[str, int], numbers: Numbers, placed: _Placed) -> Plan:
        timeline, names = placed.layout.timeline, self.flow.names
        steps = tuple(
            PlannedStep(
                step, numbers.arguments[step], numbers.offsets[step], numbers.totals[step],
                self.schedule.steps[step].grain,
            )
            for step in timeline.order
        )  # fmt: skip
        placements = tuple(
            Placement(
                names[buffer], placed.offsets[placed.layout.blocks[buffer]], numbers.nbytes[buffer],
                live.first, live.last,
            )
            for buffer, live in timeline.intervals.items()
        )  # fmt: skip
        return Plan(
            schedule=self.schedule,
            sizes=tuple(sizes.items()),
            steps=steps,
            placements=placements,
            peak_bytes=placed.height,
            commit=timeline.commit,
            buffer_bytes=tuple(zip(names, numbers.nbytes, strict=True)),
        )


class _Timeline:
    """One order: when buffers live, and where a result could take over an operand's bytes."""

    def __init__(self, flow: Flow, order: Order, staged: frozenset[int]) -> None:
        self.order = order
        self.commit = flow.commit(order)
        self.intervals = flow.intervals(order, staged)
        self.chances = tuple(_chances(flow, order, self.intervals))
        self._spans: dict[tuple[InPlace, ...], tuple[dict[int, int], Spans]] = {}

    def layout(self, numbers: Numbers) -> _Layout:
        """Blocks of bytes at these sizes, each shared by a chain of in-place results."""
        taken: list[InPlace] = []
        used: set[tuple[int, int]] = set()  # (buffer, 1 as a result or 0 as an operand)
        for step, chance in self.chances:
            offsets = numbers.offsets[step]
            if (
                offsets[chance.out_operand] == offsets[chance.into_operand]
                and numbers.aligned(chance.out) == numbers.aligned(chance.into)
                and (chance.out, 1) not in used
                and (chance.into, 0) not in used
            ):
                taken.append(chance)
                used |= {(chance.out, 1), (chance.into, 0)}
        blocks, spans = self._blocks(tuple(taken))
        sizes = [0] * len(spans.first)
        for buffer, block in blocks.items():
            sizes[block] = numbers.aligned(buffer)
        return _Layout(self, blocks, spans, tuple(sizes))

    def _blocks(self, shared: tuple[InPlace, ...]) -> tuple[dict[int, int], Spans]:
        """Block number of each buffer, and the lifetimes of the blocks."""
        if shared not in self._spans:
            if len(self._spans) >= _LAYOUTS:
                self._spans.clear()
            source = {chance.out: chance.into for chance in shared}
            blocks: dict[int, int] = {}
            first: list[int] = []
            last: list[int] = []
            for buffer, live in sorted(self.intervals.items(), key=lambda item: item[1].first):
                if buffer in source:
                    block = blocks[buffer] = blocks[source[buffer]]
                    last[block] = live.last
                else:
                    blocks[buffer] = len(first)
                    first.append(live.first)
                    last.append(live.last)
            self._spans[shared] = blocks, Spans(tuple(first), tuple(last), len(self.order))
        return self._spans[shared]


def _chances(
    flow: Flow, order: Order, intervals: Mapping[int, Interval]
) -> Iterable[tuple[int, InPlace]]:
    """Steps with what they may overwrite: where the result's life begins and the operand's ends."""
    for at, step in enumerate(order):
        for chance in flow.in_place[step]:
            into = intervals.get(chance.into)
            if into is not None and into.last == at and intervals[chance.out].first == at:
                yield step, chance


@dataclass(frozen=True)
class _Layout:
    """Blocks of one order at concrete sizes: ``blocks`` numbers the block of each buffer."""

    timeline: _Timeline
    blocks: dict[int, int]
    spans: Spans
    sizes: tuple[int, ...]

    @cached_property
    def load(self) -> int:
        """The most bytes alive at once: no placement needs fewer."""
        return max(self.spans.load(self.sizes), default=0)


@dataclass(frozen=True)
class _Placed:
    """A layout with an offset for each block, in an arena of ``height`` bytes."""

    layout: _Layout
    offsets: Sequence[int]
    height: int


def _lowest(layouts: Sequence[_Layout]) -> _Placed:
    """The layout of the lowest arena; of equals the one listed first."""
    best: _Placed | None = None
    for layout in sorted(layouts, key=lambda candidate: candidate.load):
        if best is not None and layout.load >= best.height:
            break
        offsets, height = place(layout.spans, layout.sizes, layout.load)
        if best is None or height < best.height:
            best = _Placed(layout, offsets, height)
    if best is None:
        raise ValueError("a schedule has at least one order")
    return best
