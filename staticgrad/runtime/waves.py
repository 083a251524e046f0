"""Products of few rows whose workers keep rows of a factor that the same program changes.

A product of a row and a matrix that is trained reads all of it; its update writes all of it, row by
row. Were the product cut by columns, half of what each worker reads would be in the cache of
another one, changed. So workers take rows of the matrix here, too: parts of the inner indices. An
element is one chain (``ir.kernels.chain_parts``), so a worker goes on where the one before it has
been: columns are cut into blocks, and while the second worker is at the first block, the first one
is at the second. No bit depends on it. Between two stages of such a wave all workers wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from staticgrad.analysis.barriers import BufferSpans, ByteRange, ByteSet
from staticgrad.analysis.cost import FASTEST, call_seconds
from staticgrad.ir.kernels.chain_parts import ChainPart, left_in
from staticgrad.ir.kernels.kernel import GEMM_BLOCK, Kernel
from staticgrad.ir.kernels.product_iterations import streamed_rows
from staticgrad.ir.kernels.stages import Extent, Gemm
from staticgrad.ir.plan import Plan
from staticgrad.ir.schedule import Call, Touch
from staticgrad.records import NamedTuple
from staticgrad.runtime.row_ranges import call_of

#: Predicted seconds of a product, at least, and of a block for each worker, about.
LEAST_SECONDS: Final = 3e-6
BLOCK_SECONDS: Final = 9e-6
#: Inner indices of a part, at least.
FEWEST_TERMS: Final = 64
#: Inner indices of which parts are multiples: so many are taken at a time.
STEP: Final = 8


class Wave(NamedTuple):
    """The parts of a product, by stages: those of a stage may run at the same time, worker by
    worker; None where a worker has nothing to do."""

    stages: tuple[tuple[ChainPart | None, ...], ...]


def waves(plan: Plan) -> tuple[dict[int, Wave], frozenset[int]]:
    """The waves of a plan by position, and the positions where workers keep to their parts: those
    of all steps that touch a factor of a wave."""
    found: dict[int, Wave] = {}
    factors = set[str]()
    if plan.workers == 1:
        return found, frozenset()
    steps, spans = [*_calls(plan)], BufferSpans(plan)
    written = {a.buffer for *_, accesses in steps for a in accesses if a.mode != "in"}
    for position, kernel, arguments, accesses in steps:
        stage = kernel.stages[0]
        if not isinstance(stage, Gemm) or left_in(kernel) is None:
            continue
        operands = zip(kernel.operands, accesses, strict=True)
        (factor,) = (a.buffer for o, a in operands if o.name == stage.b.operand)
        wave = _wave(kernel, arguments, plan.steps[position].total, plan.workers)
        places = [spans.whole(access.buffer, position) for access in accesses]
        if wave is not None and factor in written and is_apart(kernel, places):
            found[position] = wave
            factors.add(factor)
    kept = (at for at, *_, accesses in steps if factors & {a.buffer for a in accesses})
    return found, frozenset(kept)


_Step = tuple[int, Kernel, tuple[int, ...], Sequence[Touch]]


def _calls(plan: Plan) -> Iterator[_Step]:
    """The steps that are one kernel each: position, kernel, arguments, and what it touches."""
    for position, planned in enumerate(plan.steps):
        step = plan.schedule.steps[planned.step]
        call = call_of(step, planned)
        if call is not None and isinstance(call.kernel, Kernel):
            yield position, call.kernel, call.arguments, step.accesses()


def _wave(kernel: Kernel, arguments: tuple[int, ...], total: int, workers: int) -> Wave | None:
    """The wave of a product; None where its rows are many, or there is too little of it."""
    (stage,) = kernel.stages
    assert isinstance(stage, Gemm)
    values = dict(zip(kernel.arguments, arguments, strict=True))
    rows, terms = (_value(axis.extent, values) for axis in (stage.i[0], stage.k[0]))
    if not 0 < rows <= streamed_rows(stage) or not workers * FEWEST_TERMS <= terms <= GEMM_BLOCK:
        return None
    seconds = call_seconds(Call(kernel, arguments), FASTEST)
    blocks = max(1, min(total, int(seconds / (workers * BLOCK_SECONDS))))
    if seconds < LEAST_SECONDS or workers > blocks + 1:
        return None
    ends = [part * terms // workers // STEP * STEP for part in range(workers)]
    parts = [*pairwise([*ends, terms])]
    cuts = [*pairwise(block * total // blocks for block in range(blocks + 1))]
    stages = (
        tuple(
            ChainPart(*parts[part], *cuts[stage - part]) if 0 <= stage - part < blocks else None
            for part in range(workers)
        )
        for stage in range(blocks + workers - 1)
    )
    return Wave(tuple(stages))


def _value(extent: Extent, values: Mapping[str, int]) -> int:
    return extent if isinstance(extent, int) else values[extent]


def is_apart(kernel: Kernel, places: Sequence[ByteRange]) -> bool:
    """Whether chains may be left where a result will be: the step has nothing else there."""
    to = left_in(kernel)
    assert to is not None
    mine, others = ByteSet(), list[ByteRange]()
    for operand, place in zip(kernel.operands, places, strict=True):
        if operand.name == to.operand:
            mine.add([place])
        else:
            others.append(place)
    return not mine.meet(others)
