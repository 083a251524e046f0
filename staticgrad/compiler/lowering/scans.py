"""Lower scans (running sums and products) to kernels.

Each element depends on the previous one, in a fixed order, so that there is no parallelism along
the axis, only across rows. If an axis after the scanned one fills vectors, a vector of rows is
computed at a time. If rows are short, there is one in each lane, fully unrolled. Otherwise some
rows are interleaved, to hide the latency of the dependency chains. In a group of rows it is a loop
before the other stages (``lowering.rows``).

``cumsum(x, axis=0)`` has such an axis; the element of the row before is read from the result::

    loop i0: n1 {
      map j: n0 {
        %0: f32 = load p0[j + [i0 + -1 in n1]*n0] else f32(-0.0)
        %1: f32 = load p1[i0*n0 + j]
        %2: f32 = add %0, %1
        store p0[i0*n0 + j] = %2
      }
    }
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from staticgrad.compiler.fusion.groups import ResultBuffer, Source, Walk
from staticgrad.compiler.fusion.walks import has_short_scan, source_walks
from staticgrad.compiler.lowering.operands import (
    VECTOR,
    LoweredStep,
    Lowering,
    interleaving,
    loops_over,
)
from staticgrad.compiler.lowering.short_rows import FILLED, choose_vector_loop
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr, Position
from staticgrad.language.ir.forms import Scan
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.stages import Axis, Carry, Keep, Loop, Map, Scalar, Store
from staticgrad.language.types.arrays import c_strides, hint_value
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType

#: Interleaved rows. Rows of 4 KB, or of a multiple, map to the same few ways of L1: with 8 operands
#: and 8 results none would stay in the cache.
_JAMMED: Final = 4


def lower_scan(low: Lowering) -> LoweredStep:
    """Return the kernel of a scan (running sum, product, linear recurrence)."""
    (node,) = low.group.nodes
    assert isinstance(node.form, Scan)
    domain, axis = low.group.domain, node.form.axis
    if prod(map(hint_value, domain[axis + 1 :])) >= FILLED:
        return _lower_across_rows(low)
    others = [*domain[:axis], *domain[axis + 1 :]]
    # Lanes are rows: a scan of a single row has no loop for them.
    has_lanes = not all(isinstance(size, int) and size == 1 for size in others)
    short = has_short_scan(node) and has_lanes
    return _lower_unrolled(low) if short else _lower_interleaved(low)


class _ScanParts:
    """The operands of a scan, its identity element and its step."""

    def __init__(self, low: Lowering, node: Node) -> None:
        form = node.form
        assert isinstance(form, Scan)
        self.low, self.kind, self.axis = low, form.kind, form.axis
        self.dtype: DType = node.types[0].dtype
        self.sources: list[Source] = [low.groups.source(arg) for arg in node.args]
        self.result = Walk(ResultBuffer(node), 0, c_strides(low.group.domain))
        #: The total before the first element: combined with any x it gives x.
        self.identity = ex.literal(1 if self.kind == "prod" else -0.0, self.dtype)

    @property
    def walks(self) -> list[Walk]:
        return [self.result, *source_walks(self.low.groups, self.low.group, self.sources)]

    def accumulate(self, total: Expr, first: Expr | bool) -> Expr:
        """Return the running sum or product after the next element of a scan."""
        *factors, value = (self.low.value(source) for source in self.sources)
        if self.kind == "prod":
            return total * value
        for factor in factors:  # the factor of the first element is not used
            unit = ex.literal(1, self.dtype)
            if first is True:
                return value
            total = total * (factor if first is False else ex.select(first, unit, factor))
        return total + value

    def store(self, value: Expr) -> Store:
        return Store(self.low.access(self.result, self.dtype, "out"), value)


def _lower_unrolled(low: Lowering) -> LoweredStep:
    """Lower a scan of short rows: a row in each lane, its elements unrolled."""
    scan = _ScanParts(low, *low.group.nodes)
    others = [k for k in range(len(low.group.domain)) if k != scan.axis]
    low.loops = loops_over(
        low.group.domain, [others, [scan.axis]], scan.walks, merge=not low.group.indexed
    )
    axes, vector = choose_vector_loop(low)
    total, body = scan.identity, list[Store]()
    for number, iteration in enumerate(low.loops.iterations(1)):
        low.unrolled = iteration
        low.memo.clear()  # positions differ
        total = scan.accumulate(total, first=number == 0)
        body.append(scan.store(total))
    low.unrolled = {}
    return low.finish([Map(vector, tuple(body))], axes)


def _lower_across_rows(low: Lowering) -> LoweredStep:
    """Lower a scan along an outer axis: a loop over rows that adds each to the one before it."""
    scan, domain = _ScanParts(low, *low.group.nodes), low.group.domain
    outer, inner = range(scan.axis), range(scan.axis + 1, len(domain))
    low.loops = loops_over(
        domain, [outer, [scan.axis], inner], scan.walks, merge=not low.group.indexed
    )
    axes = low.as_axes(low.loops.segments[0])
    along = low.loops.segments[2]
    low.rename[along[-1][0]] = VECTOR
    rows = low.as_axes(along)
    iterations = _iterations(low)
    target = low.access(scan.result, scan.dtype, "out")
    stride = low.argument(c_strides(domain)[scan.axis])
    moves = tuple(pair for pair in target.strides if pair[0] != iterations.name)
    earlier = Position(((iterations.name, 1),), -1, stride, iterations.extent)
    previous = ex.load(
        Access(target.operand, moves, (), (earlier,)), scan.dtype, fill=scan.identity
    )
    total = scan.accumulate(previous, ex.index(iterations.name).eq(0))
    stage = Map(rows[-1], (Store(target, total),), tuple(rows[:-1]))
    return low.finish([Loop(iterations, (), (stage,), ())], axes)


def _lower_interleaved(low: Lowering) -> LoweredStep:
    """Lower a scan along the last axis element by element, with several rows interleaved."""
    (node,), domain = low.group.nodes, low.group.domain
    scan = _ScanParts(low, node)
    others = [k for k in range(len(domain)) if k != scan.axis]
    low.loops = loops_over(domain, [others, [scan.axis]], scan.walks, merge=not low.group.indexed)
    axes, iterations = low.as_axes(low.loops.segments[0]), _iterations(low)
    result = low.access(scan.result, scan.dtype, "out")
    loop = scan_loop(low, node, iterations, result)
    rows = interleaved_rows([domain[k] for k in others])
    return low.finish([loop], axes, directives=interleaving(rows if axes else 1))


def scan_loop(
    low: Lowering, node: Node, along: Axis, result: Access, names: tuple[str, str] = ("s0", "r0")
) -> Loop:
    """Return the loop of a scan that writes one element after the other to ``result``.

    ``names``: those of the running total, before an element and with it.
    """
    scan = _ScanParts(low, node)
    earlier, latest = (ex.ref(name, scan.dtype) for name in names)
    total = scan.accumulate(earlier, ex.index(along.name).eq(0))
    stage = Scalar((Keep(names[1], total), Store(result, latest)))
    first, following = Carry(names[0], scan.identity), Carry(names[0], latest)
    return Loop(along, (first,), (stage,), (following,))


def interleaved_rows(outer: Sequence[Size]) -> int:
    """Return how many rows of a scan are computed at once, to hide the latency of each step."""
    rows = prod(outer, start=1)
    return max(1, min(rows, _JAMMED)) if isinstance(rows, int) else _JAMMED


def _iterations(low: Lowering) -> Axis:
    loops = low.as_axes(low.loops.segments[1])
    return loops[0] if loops else Axis(low.loops.next, 1)
