"""Cut the steps of a plan among workers: a ``StepCut`` for each step, or chain of steps.

Most steps are one row, whose groups of iterations workers claim (``sections``). There are two more
ways, and no bit of a result depends on them.

*A chain of steps by rows.* Where the rows of a batch are independent from one product to the next
(layers of a forward pass, a recurrence that is written out), each worker runs all steps for rows of
its own. It waits for nobody and finds in its cache what it wrote. Rows are cut into parts, one for
each worker. A loop whose iterations are such a chain is run from its first iteration to its last
without a wait (``row_ranges``). Both are proved by the bytes that the rows of each part touch: no
part touches what another part writes, in any step. An element of a product is the same chain of
sums in whatever tile, and rows of a map do not read each other.

*A product of few rows by inner indices.* A product of a row and a trained matrix reads all of the
matrix; its update writes all of it, row by row. A cut by columns would leave half of what each
worker reads in the cache of another one, changed. So workers take rows of the matrix here, too:
parts of the inner indices. An element is one chain of sums (``ir.kernels.chain_parts``), so a
worker continues where the one before it ended: columns are cut into blocks, and while the second
worker is at the first block, the first one is at the second. All workers wait between two stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Final, Literal

from staticgrad.analysis.barriers import BufferSpans, ByteRange, ByteSet, StepBytes, barriers
from staticgrad.analysis.cost import FASTEST, call_seconds
from staticgrad.language.ir.expr import Access, factors, postorder
from staticgrad.language.ir.kernels.bodies import LoopPart, Reach, reaches
from staticgrad.language.ir.kernels.chain_parts import ChainPart, left_in
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK, Kernel, number_of
from staticgrad.language.ir.kernels.stages import LANES, Gemm, Map, streamed_rows
from staticgrad.language.ir.plan import Plan, PlannedStep
from staticgrad.language.ir.schedule import Call, Control, Step, StepBody
from staticgrad.language.types.dim import evaluate
from staticgrad.support.caches import cached_on_first
from staticgrad.support.config import limits
from staticgrad.support.records import NamedTuple

#: What rows of a table have: steps ``together`` where that is faster, all that workers do of each
#: step ``apart`` from the others, or each step as a ``single`` row.
Rows = Literal["together", "apart", "single"]
TOGETHER: Final[Rows] = "together"
#: Predicted seconds of what returns at its end alone: signals wait for that.
LONGEST: Final = 0.01
#: Products of a chain, at least: nothing is reused between two parts of a single one.
FEWEST_PRODUCTS: Final = 2
#: Bytes of a factor that every worker reads as a whole, at most: its L2 cache holds it.
NEAR: Final = 1 << 19
#: The loop over rows of a product.
ROWS: Final = "i"
#: Bytes of the rows of a factor that a worker changes, at most: its L2 cache holds them.
CACHE: Final = 1 << 21
#: Predicted seconds of a product in stages, at least, and of a block for each worker, about.
LEAST_STAGED: Final = 3e-6
BLOCK_SECONDS: Final = 3e-6
#: Inner indices of a part, at least, and the number of which they are multiples.
FEWEST_TERMS: Final = 64
STEP: Final = 8

#: The parts of a product, by stages: of a stage one for each worker, all of which may run at the
#: same time; None where a worker has nothing to do.
Stages = tuple[tuple[ChainPart | None, ...], ...]


class RowRange(NamedTuple):
    """Rows from ``first`` to ``end``, of ``rows``."""

    first: int
    end: int
    rows: int

    def iterations(self, total: int) -> tuple[int, int]:
        """Return the first and last iterations of a map over all rows, of ``total`` iterations."""
        return self.first * total // self.rows, self.end * total // self.rows


class StepCut(NamedTuple):
    """A cut of the steps of a plan up to position ``end`` among workers.

    A chain has ``ranges``, the rows of each part, and its predicted ``seconds``; a product of few
    rows has ``stages``. Without either it is a single step in groups of iterations. ``waits``:
    every earlier step must be finished before it begins. ``keeps``: workers keep to their parts.
    """

    end: int
    waits: bool
    keeps: bool = False
    ranges: tuple[RowRange, ...] = ()
    seconds: float = 0.0
    stages: Stages = ()


def cuts(plan: Plan, rows: Rows) -> dict[int, StepCut]:
    """Divide the steps of a plan among workers; return the cuts by first step, without bodies'."""
    if plan.workers == 1:  # one waits for nobody
        return {at: StepCut(at + 1, False) for at in range(len(plan.steps))}
    waits = {*barriers(plan)}
    chained = chains(plan) if rows == TOGETHER else {}
    staged, kept_positions = staged_products(plan) if rows != "single" else ({}, frozenset[int]())
    waits |= {position + more for position in kept_positions for more in (0, 1)}
    waits |= {chain.end for chain in chained.values()}
    cuts_by_position: dict[int, StepCut] = {}
    at = 0
    while at < len(plan.steps):
        cut = StepCut(at + 1, at in waits, at in kept_positions, stages=staged.get(at, ()))
        cuts_by_position[at] = cut = chained.get(at) or cut
        at = cut.end
    return cuts_by_position


# -- rows that are independent --------------------------------------------------------------------


def call_of(step: Step, planned: PlannedStep) -> tuple[Kernel, Call] | None:
    """The kernel of a step and its call; None if it notes an index or is something else."""
    if planned.bodies or planned.fails or step.checks():
        return None
    (call,) = step.calls(planned.arguments)
    return (call.kernel, call) if isinstance(call.kernel, Kernel) else None


@cached_on_first(1)
def row_loop(kernel: Kernel) -> tuple[str | None, int | str]:
    """Return the loop by which workers divide a kernel's rows, and its extent; or None.

    It is the loop over rows of a product, else the outermost loop, or all elements of a map as one
    run; None where rows cannot be computed separately.
    """
    if kernel.serial:
        return None, 0
    if kernel.outer == "tiles":
        (stage,) = kernel.stages
        assert isinstance(stage, Gemm)
        return ROWS, stage.i[0].extent
    if kernel.outer == "elements":
        stage = kernel.stages[0]
        return (LANES, stage.axis.extent) if isinstance(stage, Map) else (None, 0)
    if kernel.outer != "axes" or not kernel.axes:
        return None, 0
    return kernel.axes[0].name, kernel.axes[0].extent


class RowPart(NamedTuple):
    """The part of a step that a worker runs for some rows.

    It has the outer iterations from ``first`` to ``total``, with these arguments; operands begin
    ``byte_offsets`` further than for all rows."""

    arguments: tuple[int, ...]
    byte_offsets: tuple[int, ...]
    first: int
    total: int


def part_of(call: Call, planned: PlannedStep, rows: RowRange | None) -> RowPart:
    """Return a worker's part of a step: fewer rows of a product, fewer iterations of a map."""
    kernel, total, arguments = call.kernel, planned.total, [*call.arguments]
    full_part = RowPart(call.arguments, (0,) * len(planned.offsets), 0, total)
    if rows is None or not isinstance(kernel, Kernel):
        return full_part
    if (number := rows_of(kernel)) is None:
        first, end = rows.iterations(total)
        return full_part._replace(first=first, total=end)
    arguments[number] = rows.end - rows.first
    byte_offsets = tuple(rows.first * step for step in _row_bytes(kernel, call.arguments) or ())
    return RowPart(tuple(arguments), byte_offsets, 0, evaluate(kernel.iterations(arguments), {}))


@cached_on_first(64)
def ranges_of(kernel: Kernel, arguments: tuple[int, ...], parts: int) -> tuple[RowRange, ...]:
    """Return the rows of a matrix product for each worker; () if rows are few or a factor large."""
    number = rows_of(kernel)
    if number is None or parts == 1:
        return ()
    rows = arguments[number]
    share = 2 * max(1, -(-rows // (2 * parts)))  # whole tiles
    if min(share, rows - (parts - 1) * share) < limits().chain_rows:
        return ()
    (stage,) = kernel.stages
    assert isinstance(stage, Gemm)
    values = dict(zip(kernel.arguments, arguments, strict=True))
    extents = (number_of(axis.extent, values) for axis in (*kernel.axes, *stage.k, *stage.j))
    if kernel.operand(stage.b.operand).dtype.itemsize * prod(extents) > NEAR:
        return ()
    if _row_bytes(kernel, arguments) is None:
        return ()
    ends = (*range(0, rows, share), rows)
    return tuple(RowRange(first, end, rows) for first, end in pairwise(ends))


def _row_bytes(kernel: Kernel, arguments: tuple[int, ...]) -> list[int] | None:
    """Return each operand's bytes from row to row of a product; None if they are not uniform.

    None, too, if the second factor differs between rows.
    """
    (stage,) = kernel.stages
    assert isinstance(stage, Gemm)
    values = dict(zip(kernel.arguments, arguments, strict=True))
    row_bytes: dict[str, int] = {}
    for access in _accesses(stage):
        name, stride = access.operand, access.stride(ROWS)
        step = number_of(stride, values) * kernel.operand(name).dtype.itemsize
        if row_bytes.setdefault(name, step) != step:
            return None
    steps = [row_bytes.get(operand.name, 0) for operand in kernel.operands]
    return None if row_bytes.get(stage.b.operand, 0) != 0 else steps


@cached_on_first(1)
def rows_of(kernel: Kernel) -> int | None:
    """Return the number of a product's argument that is only its number of rows.

    None if the kernel is not a single product of matrices, whose second factor may lie in panels.
    """
    if kernel.outer != "tiles":
        return None
    (stage,) = kernel.stages
    assert isinstance(stage, Gemm)
    if any(stage.a.stride(axis.name) != 0 for axis in kernel.axes):
        return None
    if not stage.plain or any(operand.mode == "check" for operand in kernel.operands):
        return None
    rows = stage.i[0].extent
    others = {str(axis.extent) for axis in (*kernel.axes, *stage.j, *stage.k)}
    others.update(_sizes(stage))
    for access in _accesses(stage):
        others.update(str(word) for _, step in access.moves for word in factors(step))
        if access.gather or access.positions:
            return None
    if not isinstance(rows, str) or rows in others:
        return None
    return kernel.arguments.index(rows)


def _accesses(stage: Gemm) -> Iterator[Access]:
    """Yield every access of a product: factors, stores and loads of its epilogue."""
    yield from (stage.a, stage.b)
    for store in stage.stores:
        yield store.access
        for expr in postorder((store.value, *store.indices)):
            if isinstance(expr.attribute, Access):
                yield expr.attribute


def _sizes(stage: Gemm) -> Iterator[str]:
    """The arguments that expressions read, and the rows where they read what number a row has."""
    for expr in postorder([e for s in stage.stores for e in (s.value, *s.indices)]):
        if expr.op == "size":
            yield str(expr.attribute)
        elif expr.op == "index" and expr.attribute == ROWS:
            yield str(stage.i[0].extent)


class _Link(NamedTuple):
    """A step whose rows may be cut; of a product, ``ranges`` are its parts."""

    kernel: Kernel
    arguments: tuple[int, ...]
    ranges: tuple[RowRange, ...]
    seconds: float


def _find_divisible(plan: Plan) -> list[_Link | None]:
    """Return the steps of a plan that workers can divide by rows; None for each other one."""
    links: list[_Link | None] = []
    for planned in plan.steps:
        called, link = call_of(plan.schedule.steps[planned.step], planned), None
        if called is not None:
            kernel, call = called
            ranges = ranges_of(kernel, call.arguments, plan.workers)
            if ranges or (kernel.outer != "tiles" and row_loop(kernel)[0] is not None):
                link = _Link(kernel, call.arguments, ranges, call_seconds(call, FASTEST))
        links.append(link)
    return links


def _products(links: Sequence[_Link | None]) -> int:
    return sum(link is not None and bool(link.ranges) for link in links)


def chains(plan: Plan) -> dict[int, StepCut]:
    """Return chains of steps that each worker runs for its rows, by first step.

    No chain continues after the commit.
    """
    chains_by_position: dict[int, StepCut] = {}
    links, spans = _find_divisible(plan), BufferSpans(plan)
    for first, last, ranges in _equally_divided_runs(links, plan.commit):
        while first < last:
            end = _end_of_independent(plan, links, spans, (first, last), ranges)
            span = [link for link in links[first:end] if link]
            seconds = sum(link.seconds for link in span)
            if _products(span) >= FEWEST_PRODUCTS and seconds >= limits().chain_seconds:
                chains_by_position[first] = StepCut(end, True, False, ranges, seconds)
            first = max(end, first + 1)
    return chains_by_position


def _equally_divided_runs(
    links: Sequence[_Link | None], commit: int
) -> Iterator[tuple[int, int, tuple[RowRange, ...]]]:
    """Yield runs of steps (first, end) whose products are divided alike among workers.

    They have enough products for a chain.
    """
    first, seconds = 0, 0.0
    ranges: tuple[RowRange, ...] = ()
    for position, link in enumerate((*links, None)):
        link_ranges = link.ranges if link else ()
        seconds += link.seconds if link else 0.0
        ends = link is None or position == commit or seconds > LONGEST
        if ends or (link_ranges and ranges and link_ranges != ranges):
            if _products(links[first:position]) >= FEWEST_PRODUCTS:
                yield first, position, ranges
            first, seconds = position + (link is None), link.seconds if link else 0.0
            ranges = ()
        ranges = link_ranges or ranges


def _end_of_independent(
    plan: Plan,
    links: Sequence[_Link | None],
    spans: BufferSpans,
    positions: tuple[int, int],
    ranges: tuple[RowRange, ...],
) -> int:
    """Return the end of the steps that workers may run independently, each for its rows."""
    rows = RowsApart(len(ranges))
    for position in range(*positions):
        link, planned = links[position], plan.steps[position]
        accesses = plan.schedule.steps[planned.step].accesses()
        wholes = [spans.all_bytes(access.buffer, position) for access in accesses]
        touched: list[StepBytes] = []
        for reached in _reach_of_parts(link, ranges) if link else ():
            reads: dict[ByteRange, None] = {}
            writes: dict[ByteRange, None] = {}
            operands = zip(accesses, wholes, planned.offsets, reached, strict=True)
            for access, span, begin, reach in operands:
                if not access.is_own:
                    (reads if access.mode == "in" else writes)[span.part(begin, reach)] = None
            touched.append(StepBytes((*reads,), (*writes,)))
        own_spans = [span for access, span in zip(accesses, wholes, strict=True) if access.is_own]
        if not touched or not rows.take(touched, own_spans):
            return position
    return positions[1]


def _reach_of_parts(link: _Link, ranges: tuple[RowRange, ...]) -> list[tuple[Reach, ...]]:
    """Return the bytes that each worker's rows access, by operand; empty if not divisible."""
    row, extent = row_loop(link.kernel)
    number = link.kernel.arguments.index(extent) if isinstance(extent, str) else None
    total = extent if isinstance(extent, int) else link.arguments[number or 0]
    if row is None or any(part.first * total % part.rows for part in ranges):
        return []
    parts = [LoopPart(row, *part.iterations(total)) for part in ranges]
    return [reaches(link.kernel, link.arguments, part) for part in parts]


class RowsApart:
    """The bytes that each part's rows have touched and written since a chain began; and the scratch
    of its steps, because workers may be in different steps at the same time."""

    def __init__(self, parts: int) -> None:
        self.touched = [ByteSet() for _ in range(parts)]
        self.written = [ByteSet() for _ in range(parts)]
        self.scratch, self.places = ByteSet(), set[ByteRange]()

    def take(self, step: Sequence[StepBytes], scratch: Sequence[ByteRange]) -> bool:
        """Add a step to a chain; return True if workers' rows stay independent, by their bytes."""
        others = [place for place in scratch if place not in self.places]
        if self.scratch.meet(others) or any(rows.meet(others) for rows in self.touched):
            return False
        self.scratch.add(others)
        self.places.update(others)
        for number, part in enumerate(step):
            self.touched[number].add((*part.reads, *part.writes))
            self.written[number].add(part.writes)
        return not any(
            self.scratch.meet((*part.reads, *part.writes))
            or self.touched[other_number].meet(part.writes)
            or self.written[other_number].meet(part.reads)
            for number, part in enumerate(step)
            for other_number in range(len(step))
            if other_number != number
        )


def row_ranges(
    plan: Plan, body: StepBody, control: Control, iterations: int
) -> tuple[tuple[RowRange, ...], float]:
    """Return each worker's rows of a loop, and the loop's predicted seconds; () if indivisible.

    Workers may be in different iterations. Bytes outside of the body's arena are counted from the
    start of what an iteration has of them, and both places of a carried value are one.
    """
    links = _find_divisible(plan)
    ranges = {link.ranges for link in links if link and link.ranges}
    if plan.workers == 1 or control.kind != "loop" or None in links or len(ranges) != 1:
        return (), 0.0
    seconds = iterations * sum(link.seconds for link in links if link)
    spans = BufferSpans(plan, {name: f"/carry {number}" for name, number in body.carried})
    (common_ranges,) = ranges
    end = len(links)
    if seconds > LONGEST or _end_of_independent(plan, links, spans, (0, end), common_ranges) < end:
        return (), 0.0
    return common_ranges, seconds


# -- products of few rows -------------------------------------------------------------------------


def staged_products(plan: Plan) -> tuple[Mapping[int, Stages], frozenset[int]]:
    """Return products of few rows that workers share in stages, and the steps with fixed parts.

    The stages of products whose second factor the plan writes, by position; and the positions where
    workers keep to their parts: those of all steps that touch such a factor.
    """
    spans, touched = BufferSpans(plan), dict[int, set[str]]()
    products: dict[int, tuple[str, Stages]] = {}
    written: set[str] = set()
    for position, planned in enumerate(plan.steps):
        step = plan.schedule.steps[planned.step]
        called = call_of(step, planned)
        if called is None:
            continue
        kernel, call = called
        accesses = step.accesses()
        touched[position] = {access.buffer for access in accesses}
        written.update(access.buffer for access in accesses if access.mode != "in")
        stages = _product_stages(kernel, call, planned.total, plan.workers)
        if stages and is_apart(kernel, [spans.all_bytes(a.buffer, position) for a in accesses]):
            (stage,) = kernel.stages
            assert isinstance(stage, Gemm)
            number = [operand.name for operand in kernel.operands].index(stage.b.operand)
            products[position] = accesses[number].buffer, stages
    written_products = {
        at: stages for at, (factor, stages) in products.items() if factor in written
    }
    factors = {products[at][0] for at in written_products}
    return written_products, frozenset(at for at, buffers in touched.items() if factors & buffers)


def _product_stages(kernel: Kernel, call: Call, total: int, workers: int) -> Stages:
    """Return the stages in which workers share a product of few rows; () if it does not pay.

    It has none where its rows are many, or there is too little of it, or so much that no cache
    keeps a worker's part from one step to the next.
    """
    stage = kernel.stages[0]
    if not isinstance(stage, Gemm) or left_in(kernel) is None:
        return ()
    values = dict(zip(kernel.arguments, call.arguments, strict=True))
    rows, columns, terms = (
        extent if isinstance(extent, int) else values[extent]
        for extent in (axes[0].extent for axes in (stage.i, stage.j, stage.k))
    )
    if not 0 < rows <= streamed_rows(stage) or not workers * FEWEST_TERMS <= terms <= GEMM_BLOCK:
        return ()
    if columns * terms * kernel.operand(stage.b.operand).dtype.itemsize > workers * CACHE:
        return ()
    seconds = call_seconds(call, FASTEST)
    blocks = max(1, min(total, int(seconds / (workers * BLOCK_SECONDS))))
    if seconds < LEAST_STAGED or workers > blocks + 1:
        return ()
    ends = [part * terms // workers // STEP * STEP for part in range(workers)]
    parts = [*pairwise([*ends, terms])]
    columns_of = [*pairwise(block * total // blocks for block in range(blocks + 1))]
    return tuple(
        tuple(
            ChainPart(*parts[part], *columns_of[number - part])
            if 0 <= number - part < blocks
            else None
            for part in range(workers)
        )
        for number in range(blocks + workers - 1)
    )


def is_apart(kernel: Kernel, places: Sequence[ByteRange]) -> bool:
    """Return whether partial chains may be stored in the result: the step uses it for no more."""
    to = left_in(kernel)
    assert to is not None
    named, others = [*zip(kernel.operands, places, strict=True)], ByteSet()
    others.add(place for operand, place in named if operand.name != to.operand)
    return not others.meet(place for operand, place in named if operand.name == to.operand)
