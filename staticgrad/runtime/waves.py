"""Products of few rows whose workers keep rows of a factor that the same program changes.

A product of a row and a matrix that is trained reads all of it; its update writes all of it, row by
row. Were the product cut by columns, half of what each worker reads would be in the cache of
another one, changed. So workers take rows of the matrix here, too: parts of the inner indices. An
element is one chain (``ir.kernels.chain_parts``), so a worker goes on where the one before it has
been: columns are cut into blocks, and while the second worker is at the first block, the first one
is at the second. No bit depends on it. Between two stages of such a wave all workers wait. Where
the next layer is a wave, too, it begins while this one ends: its first worker has the rows of
weights for the columns that are finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from staticgrad.analysis.barriers import BufferSpans, ByteRange, ByteSet
from staticgrad.analysis.cost import FASTEST, call_seconds
from staticgrad.ir.kernels.chain_parts import ChainPart, left_in
from staticgrad.ir.kernels.kernel import GEMM_BLOCK, Kernel
from staticgrad.ir.kernels.stages import PANELS, Extent, Gemm, panel_columns, streamed_rows
from staticgrad.ir.plan import Plan, PlannedStep
from staticgrad.ir.schedule import Call, Touch
from staticgrad.records import NamedTuple
from staticgrad.runtime.row_chains import CACHE, call_of

#: Predicted seconds of a product, at least, and of a block for each worker, about.
LEAST_SECONDS: Final = 3e-6
BLOCK_SECONDS: Final = 3e-6
#: Inner indices of a part, at least.
FEWEST_TERMS: Final = 64
#: Inner indices of which parts are multiples: so many are taken at a time.
STEP: Final = 8


#: The parts of a product, by stages: of a stage one for each worker, all of which may run at the
#: same time; None where a worker has nothing to do.
_Stages = tuple[tuple[ChainPart | None, ...], ...]


class WavePart(NamedTuple):
    """A part of the product at a position of a plan."""

    position: int
    part: ChainPart


class Wave(NamedTuple):
    """Positions ``first`` to ``behind`` (exclusive) of a plan: products of few rows one behind the
    other, in stages, each of which has for every worker what it does, or None.

    Of two products the first stage of the later one is one with the last stage of the other.
    """

    first: int
    behind: int
    stages: tuple[tuple[WavePart | None, ...], ...]

    @property
    def positions(self) -> range:
        """The positions of its products."""
        return range(self.first, self.behind)


class _PlacedKernel(NamedTuple):
    """A step that is one kernel: what it is called with, and the bytes of each operand's buffer."""

    kernel: Kernel
    planned: PlannedStep
    arguments: tuple[int, ...]
    accesses: Sequence[Touch]
    places: Sequence[ByteRange]

    def begins(self, operand: str) -> tuple[str, int]:
        """The buffer of an operand, and how many bytes behind its start it begins."""
        number = [each.name for each in self.kernel.operands].index(operand)
        return self.accesses[number].buffer, self.planned.offsets[number]

    def value(self, extent: Extent) -> int:
        """The value of a number or an argument."""
        if isinstance(extent, int):
            return extent
        return self.arguments[self.kernel.arguments.index(extent)]


def waves(plan: Plan, joined: bool = True) -> tuple[tuple[Wave, ...], frozenset[int]]:
    """The waves of a plan in order, and the positions where workers keep to their parts: those of
    all steps that touch a factor of a wave. Products are waves of their own unless ``joined``."""
    if plan.workers == 1:
        return (), frozenset()
    kernels = dict(_kernels(plan))
    written = {a.buffer for each in kernels.values() for a in each.accesses if a.mode != "in"}
    found: dict[int, _Stages] = {}
    waves, factors = list[Wave](), set[str]()
    for position, placed in kernels.items():
        stage = placed.kernel.stages[0]
        if not isinstance(stage, Gemm) or left_in(placed.kernel) is None:
            continue
        factor, _ = placed.begins(stage.b.operand)
        stages = _stages(placed, stage, plan.workers) if factor in written else None
        if stages is None or not is_apart(placed.kernel, placed.places):
            continue
        found[position], wave = stages, _wave(position, stages)
        factors.add(factor)
        earlier = found.get(position - 1) if joined and position != plan.commit else None
        if earlier and _joins(kernels[position - 1], earlier, placed, stages):
            wave = _together(waves.pop(), wave)
        waves.append(wave)
    kept = (at for at, each in kernels.items() if factors & {a.buffer for a in each.accesses})
    return tuple(waves), frozenset(kept)


def _wave(position: int, stages: _Stages) -> Wave:
    """The wave of a single product."""
    works = (tuple(part and WavePart(position, part) for part in stage) for stage in stages)
    return Wave(position, position + 1, tuple(works))


def _together(earlier: Wave, later: Wave) -> Wave:
    """Two waves as one. In the last stage of a wave its last worker alone has something to do, in
    the first stage its first one."""
    both = zip(earlier.stages[-1], later.stages[0], strict=True)
    middle = tuple(ends or begins for ends, begins in both)
    return Wave(earlier.first, later.behind, (*earlier.stages[:-1], middle, *later.stages[1:]))


def _kernels(plan: Plan) -> Iterator[tuple[int, _PlacedKernel]]:
    """The steps of a plan that are one kernel each, by position."""
    spans = BufferSpans(plan)
    for position, planned in enumerate(plan.steps):
        step = plan.schedule.steps[planned.step]
        call = call_of(step, planned)
        if call is not None and isinstance(call.kernel, Kernel):
            accesses = step.accesses()
            places = [spans.whole(access.buffer, position) for access in accesses]
            yield position, _PlacedKernel(call.kernel, planned, call.arguments, accesses, places)


def _stages(placed: _PlacedKernel, stage: Gemm, workers: int) -> _Stages | None:
    """The stages of a product; None where its rows are many, or there is too little of it, or so
    much that no cache keeps a worker's part from one step to the next."""
    rows, terms = (placed.value(axis.extent) for axis in (stage.i[0], stage.k[0]))
    if not 0 < rows <= streamed_rows(stage) or not workers * FEWEST_TERMS <= terms <= GEMM_BLOCK:
        return None
    matrix = placed.value(stage.j[0].extent) * terms
    itemsize = placed.kernel.operand(stage.b.operand).dtype.itemsize
    if matrix * itemsize > workers * CACHE:
        return None
    seconds = call_seconds(Call(placed.kernel, placed.arguments), FASTEST)
    total = placed.planned.total
    blocks = max(1, min(total, int(seconds / (workers * BLOCK_SECONDS))))
    if seconds < LEAST_SECONDS or workers > blocks + 1:
        return None
    ends = [part * terms // workers // STEP * STEP for part in range(workers)]
    parts = [*pairwise([*ends, terms])]
    cuts = [*pairwise(block * total // blocks for block in range(blocks + 1))]
    return tuple(
        tuple(
            ChainPart(*parts[part], *cuts[stage - part]) if 0 <= stage - part < blocks else None
            for part in range(workers)
        )
        for stage in range(blocks + workers - 1)
    )


def _joins(before: _PlacedKernel, earlier: _Stages, placed: _PlacedKernel, stages: _Stages) -> bool:
    """Return whether a product may begin before the previous one ends: its first part reads columns
    of finished rows, and touches nothing else that is written meanwhile."""
    last, first = earlier[-1][-1], stages[0][0]
    to, left = left_in(before.kernel), left_in(placed.kernel)
    (stage,) = placed.kernel.stages
    assert isinstance(stage, Gemm)
    assert last is not None
    assert first is not None
    assert to is not None
    assert left is not None
    rows = stage.a.stride(stage.i[0].name), stage.a.stride(stage.k[0].name)
    same = placed.begins(stage.a.operand) == before.begins(to.operand) and rows[1] == 1
    same = same and placed.value(rows[0]) == before.value(to.stride(stage.i[0].name))
    width = PANELS * panel_columns(before.kernel.operand(to.operand).dtype)
    if not same or first.past > last.begin * width:
        return False
    named = [*zip(before.kernel.operands, before.places, strict=True)]
    written = _bytes(place for operand, place in named if operand.mode != "in")
    touched = _bytes(before.places)
    names = [operand.name for operand in placed.kernel.operands]
    read, write = (placed.places[names.index(name)] for name in (stage.b.operand, left.operand))
    return not written.meet([read]) and not touched.meet([write])


def _bytes(places: Iterable[ByteRange]) -> ByteSet:
    found = ByteSet()
    found.add(places)
    return found


def is_apart(kernel: Kernel, places: Sequence[ByteRange]) -> bool:
    """Return whether partial chains may be stored in the result: the step uses it for no more."""
    to = left_in(kernel)
    assert to is not None
    named = [*zip(kernel.operands, places, strict=True)]
    others = _bytes(place for operand, place in named if operand.name != to.operand)
    return not others.meet(place for operand, place in named if operand.name == to.operand)
