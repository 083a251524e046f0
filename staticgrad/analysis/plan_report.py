"""The memory of a plan in words, and a sequence of steps laid out in time and bytes.

The report lists live buffers at the peak, stored values and recomputation; every figure is read
from the plan.

``Timeline`` contains what no size changes, ``ArenaLayout`` adds sizes, ``Placed`` adds offsets. A
sequence may run a step several times; each life of a buffer then has a place of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from staticgrad.analysis.cost import all_seconds, counted_work, plan_seconds
from staticgrad.analysis.liveness import Flow, Life, SizeNumbers
from staticgrad.analysis.plan_check import peak_buffers
from staticgrad.analysis.planning.offsets import Spans, place
from staticgrad.language.ir.plan import Plan, PlannedStep
from staticgrad.language.ir.schedule import Buffer, Step
from staticgrad.support.caches import cached_property
from staticgrad.support.records import NamedTuple, dataclass
from staticgrad.support.source import common_call, fold_labels

_ROWS: Final = 10  # rows of each part of a table


@dataclass(frozen=True)
class Repeated:
    """A step that runs more than once: ``runs`` times, ``seconds`` each (predicted).

    ``nbytes``: the arena bytes that it computes again.
    """

    step: int
    runs: int
    nbytes: int
    seconds: float


@dataclass(frozen=True)
class BodyWork:
    """The cost of one run of a body: ``seconds`` (predicted), ``nbytes`` moved, its ``arena``.

    ``iterations``: how often it runs; of a loop that a test ends, at most. 0: it is one of some
    cases.
    """

    iterations: int
    seconds: float
    nbytes: int
    arena: int

    def __str__(self) -> str:
        begins = (
            f"{self.iterations:,} iterations, of which each" if self.iterations else "a case that"
        )
        return (
            f"{begins} takes about {self.seconds * 1e6:,.2f} us, moves {self.nbytes:,} bytes"
            f" and works in {self.arena:,} of its own"
        )


def bodies_of(plan: Plan, planned: PlannedStep) -> tuple[BodyWork, ...]:
    """Return the cost of a step's loop bodies in a plan, in their order."""
    step, works = plan.schedule.steps[planned.step], []
    is_loop = step.control.kind == "loop"
    for body in planned.bodies:
        steps = [
            (body.schedule.steps[planned_inner.step], planned_inner.arguments)
            for planned_inner in body.steps
        ]
        nbytes = sum(counted_work(inner, arguments).nbytes for inner, arguments in steps)
        iterations = 0 if step.control.kind == "branch" else planned.arguments[0]
        seconds = plan_seconds(body)
        if is_loop and iterations:
            (all_iterations,) = all_seconds([step], [planned.arguments])
            seconds = all_iterations / iterations
        works.append(BodyWork(iterations, seconds, int(nbytes), body.peak_bytes))
    return tuple(works)


def repeated_steps(plan: Plan) -> list[Repeated]:
    """Return the steps that a plan recomputes, with their runs and bytes."""
    runs = Counter(planned.step for planned in plan.steps)
    arguments = {planned.step: planned.arguments for planned in plan.steps}
    again = sorted(step for step, count in runs.items() if count > 1)
    steps = [plan.schedule.steps[step] for step in again]
    seconds = all_seconds(steps, [arguments[step] for step in again])
    nbytes, roles = dict(plan.buffer_bytes), {b.name: b.role for b in plan.schedule.buffers}
    return [
        Repeated(
            step,
            runs[step],
            sum(
                nbytes[name]
                for name in dict.fromkeys(plan.schedule.steps[step].writes())
                if roles[name] == "temp"
            ),
            step_seconds,
        )
        for step, step_seconds in zip(again, seconds, strict=True)
    ]


def stored_buffers(plan: Plan) -> list[Buffer]:
    """Return the temporaries that a plan stores from forward to backward, largest first.

    A later order of differentiation reads them than the one that computes them. A value that is
    computed again for that is not stored.
    """
    steps = [plan.schedule.steps[planned.step] for planned in plan.steps]
    first_runs = {planned.step: at for at, planned in reversed([*enumerate(plan.steps)])}
    readers: dict[str, list[int]] = {}
    for at, step in enumerate(steps):
        for name in step.reads():
            readers.setdefault(name, []).append(at)
    by_name, nbytes = plan.schedule.by_name, dict(plan.buffer_bytes)
    stored = [
        by_name[place.buffer]
        for place in plan.placements
        if by_name[place.buffer].role == "temp"
        and first_runs[plan.steps[place.first].step] == place.first
        and any(
            place.first < at <= place.last and steps[at].phase > steps[place.first].phase
            for at in readers.get(place.buffer, ())
        )
    ]
    return sorted(stored, key=lambda buffer: (-nbytes[buffer.name], buffer.name))


def copied_feeds(plan: Plan) -> dict[str, int]:
    """The feeds that are copied into the arena before the run, by input, each with its bytes."""
    by_name = plan.schedule.by_name
    copies = [(by_name[p.buffer], p.nbytes) for p in plan.placements]
    return dict(sorted((b.label, nbytes) for b, nbytes in copies if b.role == "input"))


def memory_table(plan: Plan, full: bool = False) -> str:
    """The arena at its peak, what is stored for the last phase, and what is computed again.

    Values of one call of a graph are one line, unless ``full``.
    """
    return "\n".join(_table_lines(plan, full))


def _table_lines(plan: Plan, full: bool) -> Iterator[str]:
    """Yield the lines of a plan's memory table: peak, stored and recomputed values."""
    again = repeated_steps(plan)
    total = plan_seconds(plan)
    extra = sum(r.seconds * (r.runs - 1) for r in again)
    yield f"arena: {plan.peak_bytes} bytes{at_sizes(plan)}"
    yield f"predicted: {total * 1e3:.3f} ms, of which {extra * 1e3:.3f} ms run again"
    copied = [f"{label} ({nbytes} bytes)" for label, nbytes in copied_feeds(plan).items()]
    if copied:
        yield f"feeds copied first: {', '.join(copied)}"
    live = [(place.nbytes, buffer) for place, buffer in peak_buffers(plan) if place.nbytes]
    if live:
        yield "largest at the peak:"
    yield from _buffer_rows(live, full)
    nbytes = dict(plan.buffer_bytes)
    stored = stored_buffers(plan)
    yield f"stored from forward to backward: {sum(nbytes[b.name] for b in stored)} bytes"
    yield from _buffer_rows([(nbytes[buffer.name], buffer) for buffer in stored], full)
    if again:
        yield f"computed again: {sum(r.runs - 1 for r in again)} runs"
        yield from _repeated_rows(plan, again, full)
    if plan.remark:
        yield plan.remark


def _rows(rows: list[str]) -> Iterator[str]:
    yield from rows[:_ROWS]
    if len(rows) > _ROWS:
        yield f"{'':12} and {len(rows) - _ROWS} more"


def _buffer_rows(buffers: Sequence[tuple[int, Buffer]], full: bool) -> Iterator[str]:
    """Yield the rows of buffers with their bytes, those of one call of a graph as one."""
    rows: dict[str, list[tuple[int, str]]] = {}
    for nbytes, buffer in buffers:
        lines = [buffer.origin.resolve().label] if buffer.origin else []
        text = _with_lines(buffer.label or buffer.name, lines, full)
        call = "" if full else common_call(lines)
        rows.setdefault(f"# {call}" if call else buffer.name, []).append((nbytes, text))
    sums = [
        (
            sum(nbytes for nbytes, _ in members),
            members[0][1] if len(members) == 1 else f"{len(members)} values  {call}",
        )
        for call, members in rows.items()
    ]
    sums.sort(key=lambda row: -row[0])
    yield from _rows([f"{nbytes:>12} bytes  {text}" for nbytes, text in sums])


def _repeated_rows(plan: Plan, again: Sequence[Repeated], full: bool) -> Iterator[str]:
    """Yield the rows of steps that run several times, those of one call of a graph as one."""
    rows: dict[tuple[str, int], list[Repeated]] = {}
    for repeated in again:
        call = "" if full else common_call(_lines_of_step(plan.schedule.steps[repeated.step]))
        key = call or str(repeated.step), repeated.runs
        rows.setdefault(key, []).append(repeated)
    texts = []
    for (call, runs), members in rows.items():
        nbytes = sum(repeated.nbytes for repeated in members)
        us = 1e6 * sum(repeated.seconds for repeated in members)
        what = f"{len(members)} steps  # {call}"
        if len(members) == 1:
            what = step_line(plan.schedule.steps[members[0].step], full)
        texts.append((nbytes, f"{nbytes:>12} bytes  {us:9.1f} us  {runs} runs  {what}"))
    texts.sort(key=lambda row: -row[0])
    yield from _rows([text for _, text in texts])


def _lines_of_step(step: Step) -> list[str]:
    return [origin.resolve().label for origin in step.origins]


def _with_lines(text: str, lines: Sequence[str], full: bool) -> str:
    lines = [*dict.fromkeys(lines)] if full else fold_labels(lines)
    return f"{text}  # {', '.join(lines)}" if lines else text


def step_line(step: Step, full: bool = False) -> str:
    """Return in words what a step computes, and the user's lines.

    ``full``: with lines inside of called graphs.
    """
    return _with_lines(step.label, _lines_of_step(step), full)


def at_sizes(plan: Plan) -> str:
    """`` at batch=64``, nothing where no size is named."""
    sizes = ", ".join(f"{name}={value}" for name, value in plan.sizes)
    return f" at {sizes}" if sizes else ""


_LAYOUTS: Final = 64  # choices of in-place results that a timeline keeps ready


class Chance(NamedTuple):
    """At a run of a step, the life ``out`` begins where the life ``into`` ends; ``pair`` is the
    number of the pair that may share bytes, of all in ``Flow.in_place``."""

    pair: int
    out: int
    into: int


class _Blocks(NamedTuple):
    """The block of each life, the lifetimes of blocks, and a buffer in each."""

    of_life: list[int]
    spans: Spans
    buffers: tuple[int, ...]


class Timeline:
    """One sequence: when buffers live, and where a result could take over an operand's bytes."""

    def __init__(self, flow: Flow, sequence: Sequence[int], staged: frozenset[int]) -> None:
        self.sequence = tuple(sequence)
        self.commit = flow.commit(sequence)
        self.lives: list[Life] = flow.lives(sequence, staged)
        self._flow = flow
        self.chances = tuple(_in_place_chances(flow, self.sequence, self.lives))
        self._blocks: dict[bytes, _Blocks] = {}  # by the pairs that share bytes

    @property
    def held_bytes(self) -> int:
        """About how many bytes the timeline takes, with what was derived for sizes seen so far."""
        derived = sum(
            16 * len(blocks.of_life) + blocks.spans.held_bytes for blocks in self._blocks.values()
        )
        return 8 * len(self.sequence) + 90 * len(self.lives) + 100 * len(self.chances) + derived

    def layout(self, numbers: SizeNumbers) -> ArenaLayout:
        """Return the arena blocks at these sizes; results in place share their operand's block."""
        sharing = numbers.sharing(self._flow)
        blocks = self._blocks.get(sharing)
        if blocks is None:
            if len(self._blocks) >= _LAYOUTS:
                self._blocks.clear()
            blocks = self._blocks[sharing] = self._join_lives(sharing)
        aligned = numbers.all_aligned
        return ArenaLayout(
            self, blocks.of_life, blocks.spans, tuple(map(aligned.__getitem__, blocks.buffers))
        )

    def _join_lives(self, sharing: bytes) -> _Blocks:
        """Join the live ranges of in-place pairs to blocks of the arena."""
        operand_by_result: dict[int, int] = {}
        operands: set[int] = set()
        for pair, out, into in self.chances:
            if sharing[pair] and out not in operand_by_result and into not in operands:
                operand_by_result[out] = into
                operands.add(into)
        blocks = [-1] * len(self.lives)
        first: list[int] = []
        last: list[int] = []
        buffers: list[int] = []
        for life in sorted(range(len(self.lives)), key=lambda i: self.lives[i].first):
            if life in operand_by_result:
                block = blocks[life] = blocks[operand_by_result[life]]
                last[block] = self.lives[life].last
            else:
                blocks[life] = len(first)
                first.append(self.lives[life].first)
                last.append(self.lives[life].last)
                buffers.append(self.lives[life].buffer)
        spans = Spans(tuple(first), tuple(last), len(self.sequence))
        return _Blocks(blocks, spans, tuple(buffers))


def _in_place_chances(
    flow: Flow, sequence: Sequence[int], lives: Sequence[Life]
) -> Iterator[Chance]:
    """Yield the in-place pairs in which a result's live range begins where the operand's ends."""
    begins = {(life.buffer, life.first): i for i, life in enumerate(lives)}
    ends = {(life.buffer, life.last): i for i, life in enumerate(lives)}
    numbers = [*accumulate(map(len, flow.in_place), initial=0)]
    for at, step in enumerate(sequence):
        for number, pair in enumerate(flow.in_place[step], numbers[step]):
            out, into = begins.get((pair.out, at)), ends.get((pair.into, at))
            if out is not None and into is not None:
                yield Chance(number, out, into)


@dataclass(frozen=True)
class ArenaLayout:
    """Blocks of one timeline at concrete sizes: ``blocks`` numbers the block of each life."""

    timeline: Timeline
    blocks: Sequence[int]
    spans: Spans
    sizes: tuple[int, ...]

    @cached_property
    def loads(self) -> list[int]:
        """Bytes alive at each position."""
        return self.spans.load(self.sizes)

    @cached_property
    def load(self) -> int:
        """The most bytes alive at once: no placement needs fewer."""
        return max(self.loads, default=0)

    def place_blocks(
        self, effort: int = 0, slack: int = 0, order: Callable[[], Sequence[int]] | None = None
    ) -> Placed:
        """Assign an arena offset to each block; more effort finds lower arenas."""
        if effort <= 0:  # nothing is compiled for what no budget asks for
            return Placed(self, *self._placed_briefly())
        from staticgrad.analysis.planning.offset_search import place_tightly

        bound = self.load + slack
        return Placed(self, *place_tightly(self.spans, self.sizes, bound, effort, order))

    def _placed_briefly(self) -> tuple[list[int], int]:
        """Return arena offsets and height by first fit, plus a short search if that is high."""
        offsets_and_height = place(self.spans, self.sizes, self.load)
        if offsets_and_height[1] <= self.load:
            return offsets_and_height
        from staticgrad.analysis.planning.offset_search import lowered_briefly

        return lowered_briefly(self.spans, self.sizes, self.load, offsets_and_height)


@dataclass(frozen=True)
class Placed:
    """A layout with an offset for each block, in an arena of ``height`` bytes."""

    layout: ArenaLayout
    offsets: Sequence[int]
    height: int
