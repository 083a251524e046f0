"""Running totals to kernels: along rows in lanes, with several interleaved rows, or row by row.

Each element depends on the one before it, in a fixed order, so that there is no parallelism along
the axis, only across rows. If an axis after the running one fills vectors, a vector of rows is
computed at a time. If rows are short, there is one in each lane, fully unrolled. Otherwise some
rows are interleaved, to hide the latency of each chain of operations.
"""

from __future__ import annotations

from math import prod
from typing import Final

from staticgrad.compiler.fusion.groups import Home, Source, Walk
from staticgrad.compiler.fusion.walks import source_walks
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over
from staticgrad.compiler.lowering.rows import interleaving
from staticgrad.compiler.lowering.short_rows import FILLED, around_vector
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr, Position
from staticgrad.language.ir.forms import Scan
from staticgrad.language.ir.kernels.stages import Axis, Carry, Keep, Loop, Map, Scalar, Store
from staticgrad.language.types.arrays import c_strides, hint_value
from staticgrad.language.types.dtype import DType

#: Rows whose chains of operations run side by side. Rows of 4 KB, or of a multiple, share the few
#: places that a first cache has for what lies so far apart: of 8 operands and 8 results none stay.
_JAMMED: Final = 4
#: Rows from which on lanes with a row in each are worth it.
_FEWEST: Final = 8


def lower_scan(low: Lowering) -> LoweredStep:
    """Return the kernel of a running total."""
    (node,) = low.group.nodes
    assert isinstance(node.form, Scan)
    domain, axis = low.group.domain, node.form.axis
    if prod(map(hint_value, domain[axis + 1 :])) >= FILLED:
        return _from_row_to_row(low)
    length, others = domain[axis], [*domain[:axis], *domain[axis + 1 :]]
    short = isinstance(length, int) and 1 <= length < 2 * node.types[0].dtype.lanes
    many = max(map(hint_value, others), default=1) >= _FEWEST
    return _in_lanes(low) if short and many else _side_by_side(low)


class _Scanned:
    """The parts of a running total: its operands, and how it begins and goes on."""

    def __init__(self, low: Lowering) -> None:
        (node,) = low.group.nodes
        form = node.form
        assert isinstance(form, Scan)
        self.low, self.kind, self.axis = low, form.kind, form.axis
        self.dtype: DType = node.types[0].dtype
        self.sources: list[Source] = [low.groups.source(arg) for arg in node.args]
        self.result = Walk(Home(node), 0, c_strides(low.group.domain))
        #: The total before the first element: combined with any x it gives x.
        self.nothing = ex.literal(1 if self.kind == "prod" else -0.0, self.dtype)

    @property
    def walks(self) -> list[Walk]:
        return [self.result, *source_walks(self.low.groups, self.low.group, self.sources)]

    def grown(self, total: Expr, first: Expr | bool) -> Expr:
        *factors, value = (self.low.value(source) for source in self.sources)
        if self.kind == "prod":
            return total * value
        for factor in factors:  # the factor of the first element is not used
            one = ex.literal(1, self.dtype)
            if first is True:
                return value
            total = total * (factor if first is False else ex.select(first, one, factor))
        return total + value

    def store(self, value: Expr) -> Store:
        return Store(self.low.access(self.result, self.dtype, "out"), value)


def _in_lanes(low: Lowering) -> LoweredStep:
    scanned = _Scanned(low)
    others = [k for k in range(len(low.group.domain)) if k != scanned.axis]
    low.loops = loops_over(low.group.domain, [others, [scanned.axis]], scanned.walks, merge=True)
    axes, vector = around_vector(low)
    total, body = scanned.nothing, list[Store]()
    for number, place in enumerate(low.loops.places(1)):
        low.place = place
        total = scanned.grown(total, first=number == 0)
        body.append(scanned.store(total))
    low.place = {}
    return low.finish([Map(vector, tuple(body))], axes)


def _from_row_to_row(low: Lowering) -> LoweredStep:
    scanned, domain = _Scanned(low), low.group.domain
    before, behind = range(scanned.axis), range(scanned.axis + 1, len(domain))
    low.loops = loops_over(domain, [before, [scanned.axis], behind], scanned.walks, merge=True)
    axes = low.as_axes(low.loops.segments[0])
    along = low.loops.segments[2]
    low.rename[along[-1][0]] = VECTOR
    rows = low.as_axes(along)
    iterations = _iterations(low)
    here = low.access(scanned.result, scanned.dtype, "out")
    stride = low.argument(c_strides(domain)[scanned.axis])
    moves = tuple(pair for pair in here.strides if pair[0] != iterations.name)
    earlier = Position(((iterations.name, 1),), -1, stride, iterations.extent)
    previous = ex.load(
        Access(here.operand, moves, (), (earlier,)), scanned.dtype, fill=scanned.nothing
    )
    total = scanned.grown(previous, ex.index(iterations.name).eq(0))
    stage = Map(rows[-1], (Store(here, total),), tuple(rows[:-1]))
    return low.finish([Loop(iterations, (), (stage,), ())], axes)


def _side_by_side(low: Lowering) -> LoweredStep:
    """Element by element, several rows at a time."""
    scanned, domain = _Scanned(low), low.group.domain
    others = [k for k in range(len(domain)) if k != scanned.axis]
    low.loops = loops_over(domain, [others, [scanned.axis]], scanned.walks, merge=True)
    axes, iterations = low.as_axes(low.loops.segments[0]), _iterations(low)
    total = scanned.grown(ex.ref("s0", scanned.dtype), ex.index(iterations.name).eq(0))
    kept = ex.ref("r0", scanned.dtype)
    stage = Scalar((Keep("r0", total), scanned.store(kept)))
    loop = Loop(iterations, (Carry("s0", scanned.nothing),), (stage,), (Carry("s0", kept),))
    rows = prod((domain[k] for k in others), start=1)
    jammed = _JAMMED if not isinstance(rows, int) else max(1, min(rows, _JAMMED))
    return low.finish([loop], axes, directives=interleaving(jammed if axes else 1))


def _iterations(low: Lowering) -> Axis:
    loops = low.as_axes(low.loops.segments[1])
    return loops[0] if loops else Axis(low.loops.next, 1)
