"""Rows that stay with a worker from iteration to iteration of a loop.

In a recurrence a row of the state is read by the same row of the next iteration. If each worker
runs the same rows of every step, what it reads is what it wrote: its cache has it. Otherwise (a
product cut by columns, behind it a map cut by rows) half of all rows change processors twice an
iteration, which takes longer than the multiplications where two processors share no cache.

A share is twice as many rows as a group of a map (``finer``); a product has a row in the table for
each share, with the share's extent and places in its record. No bit depends on it: an element of a
product is the same chain in whatever tile, and rows of a map do not read each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Final

from staticgrad.ir.expr import Access, postorder
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Axis, Extent, Gemm
from staticgrad.ir.plan import PlannedStep
from staticgrad.ir.schedule import Call
from staticgrad.records import NamedTuple
from staticgrad.types.dim import evaluate

#: Rows of a share, at least: of fewer ones, tiles of a product compute many that are not there.
FEWEST: Final = 12
#: Bytes of a factor that every worker reads in each iteration, at most: its second-level cache
#: holds it.
NEAR: Final = 1 << 19
#: The loop over rows of a product.
ROWS: Final = "i"


class RowPart(NamedTuple):
    """What a row of the table runs of a step.

    ``arguments`` and how many bytes further each operand is ``moved`` than for the whole step;
    outer iterations from ``first`` to ``total`` in groups of ``grain``.
    """

    arguments: tuple[int, ...]
    moved: tuple[int, ...]
    first: int
    total: int
    grain: int


class RowRange(NamedTuple):
    """Rows from ``first`` to ``behind``, of ``rows``: the part of this ``number``, of ``parts``."""

    number: int
    parts: int
    first: int
    behind: int
    rows: int

    def iterations(self, total: int) -> tuple[int, int]:
        """Return the first and last iterations of a map over all rows, of ``total`` iterations."""
        return self.first * total // self.rows, self.behind * total // self.rows


def parts_of(
    call: Call, planned: PlannedStep, workers: int, rows: RowRange | None, *, again: bool
) -> Sequence[RowPart]:
    """The parts of a step that have rows of the table: one, of ``rows`` alone if there are such; of
    a product that iterations of a loop run ``again``, one for each share."""
    kernel, total, grain = call.kernel, planned.total, planned.grain
    whole = RowPart(call.arguments, (0,) * len(planned.offsets), 0, total, grain)
    if not isinstance(kernel, Kernel) or not (again or rows):
        return (whole,)
    found = shares(kernel, call.arguments, rows.parts if rows else workers)
    if found:
        chosen = found[rows.number : rows.number + 1] if rows else found
        return [part._replace(grain=grain) for part in chosen]
    if rows:
        first, behind = rows.iterations(total)
        return (whole._replace(first=first, total=behind, grain=0),)
    return (whole._replace(grain=finer(kernel, total, grain, workers)),)


def ranges_of(kernel: Kernel, arguments: tuple[int, ...], parts: int) -> tuple[RowRange, ...]:
    """The rows of each part of a product, cut as ``shares`` are; none where it has no shares."""
    number, first, ranges = rows_of(kernel), 0, list[RowRange]()
    for part in shares(kernel, arguments, parts):
        assert number is not None
        behind = first + part.arguments[number]
        ranges.append(RowRange(len(ranges), parts, first, behind, arguments[number]))
        first = behind
    return tuple(ranges)


def finer(kernel: Kernel, total: int, grain: int, workers: int) -> int:
    """Iterations of a group of a step in a loop: two groups for each worker, or ``grain``."""
    if workers == 1 or kernel.serial or kernel.outer != "axes" or not kernel.axes:
        return grain
    if kernel.in_tiles or kernel.in_lanes or kernel.listed is not None or kernel.jammed > 1:
        return grain
    half = _half(total, workers)
    return min(grain, half) if grain else half


@lru_cache(maxsize=4096)
def shares(kernel: Kernel, arguments: tuple[int, ...], workers: int) -> tuple[RowPart, ...]:
    """The shares of a product of matrices; none where rows are too few, or a factor too large."""
    number = None if workers == 1 else rows_of(kernel)
    if number is None:
        return ()
    (stage,) = kernel.stages
    assert isinstance(stage, Gemm)
    values = dict(zip(kernel.arguments, arguments, strict=True))
    rows, share = arguments[number], 2 * _half(arguments[number], workers)
    if min(share, rows - (workers - 1) * share) < FEWEST:
        return ()
    itemsize = kernel.operand(stage.b.operand).dtype.itemsize
    around = (*kernel.axes, *stage.k, *stage.j)
    if itemsize * prod(_value(axis.extent, values) for axis in around) > NEAR:
        return ()
    steps = _steps(kernel, stage, values)
    if steps is None:
        return ()
    found = []
    for first in range(0, rows, share):
        own = list(arguments)
        own[number] = min(share, rows - first)
        total = evaluate(kernel.iterations(own), {})
        found.append(RowPart(tuple(own), tuple(first * step for step in steps), 0, total, 0))
    return tuple(found)


def _steps(kernel: Kernel, stage: Gemm, values: Mapping[str, int]) -> list[int] | None:
    """Return the bytes from each operand's row to the next; None if one has several positions, or
    if the second factor differs between rows."""
    found: dict[str, int] = {}
    for name, stride in _strides(stage):
        step = _value(stride, values) * kernel.operand(name).dtype.itemsize
        if found.setdefault(name, step) != step:
            return None
    steps = [found.get(operand.name, 0) for operand in kernel.operands]
    return None if found.get(stage.b.operand, 0) != 0 else steps


def _half(rows: int, workers: int) -> int:
    return max(1, -(-rows // (2 * workers)))


@lru_cache(maxsize=1024)
def rows_of(kernel: Kernel) -> int | None:
    """Return the number of the argument that is only the number of rows of a product.

    None if the kernel is not a single product of matrices, whose second factor may lie in panels.
    """
    if kernel.outer != "tiles" or kernel.listed is not None:
        return None
    (stage,) = kernel.stages
    assert isinstance(stage, Gemm)
    if any(stage.a.stride(axis.name) != 0 for axis in kernel.axes):
        return None
    if not stage.plain or any(operand.mode == "check" for operand in kernel.operands):
        return None
    rows = stage.i[0].extent
    others = {*_numbers((*kernel.axes, *stage.j, *stage.k)), *_sizes(stage)}
    for access in _accesses(stage):
        others.update(word for _, step in access.moves for word in str(step).split(" * "))
        if access.gather or access.positions:
            return None
    if not isinstance(rows, str) or rows in others:
        return None
    return kernel.arguments.index(rows)


def _accesses(stage: Gemm) -> Iterator[Access]:
    """Every place that a product reads or writes."""
    yield from (stage.a, stage.b)
    for store in stage.stores:
        yield store.access
        for expr in postorder((store.value, *store.indices)):
            if isinstance(expr.attribute, Access):
                yield expr.attribute


def _strides(stage: Gemm) -> Iterator[tuple[str, Extent]]:
    for access in _accesses(stage):
        yield access.operand, access.stride(ROWS)


def _numbers(axes: Sequence[Axis]) -> Iterator[str]:
    return (str(axis.extent) for axis in axes)


def _sizes(stage: Gemm) -> Iterator[str]:
    """The arguments that expressions read, and the rows where they read what number a row has."""
    for expr in postorder([e for s in stage.stores for e in (s.value, *s.indices)]):
        if expr.op == "size":
            yield str(expr.attribute)
        elif expr.op == "index" and expr.attribute == ROWS:
            yield str(stage.i[0].extent)


def _value(extent: Extent, values: Mapping[str, int]) -> int:
    """The value of a number, an argument, or a product of two."""
    if isinstance(extent, int):
        return extent
    return prod(int(word) if word.isdigit() else values[word] for word in extent.split(" * "))
