"""The predicted seconds of a step, and the cycles of a fused kernel.

Seconds follow the roofline model of Williams et al. (CACM 2009) and a fixed price per step:
``max(flops / peak, bytes / bandwidth) + launch``. Work is counted once per kernel, as polynomials
of its integer arguments; a new batch size only evaluates them. Predictions choose between plans;
no result depends on them, and no clock is read.

Cycles are estimated for one vector of elements, to compare ways of cutting a group into kernels.
A processor overlaps as many vectors of a loop as its instruction window holds, or as are
interleaved. A long body that is one chain of dependent operations makes it wait; several short
bodies do not. Measured on Zen 5 for 400 dependent operations over 2**21 float32: kernels of 20
operations take 8.2 ms, one kernel takes 11.5 ms with four vectors interleaved and 6.6 with eight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import exp, log, prod
from typing import Final

from staticgrad.language.ir.expr import DIVISION, LEAVES, Access, Expr, postorder, ref
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.directives import FEW_ALIVE, vectors_together
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import (
    Axis,
    Columns,
    Extent,
    Gemm,
    Loop,
    Map,
    Search,
    Sort,
    Stage,
    Store,
    nested_stages,
    roots as roots_of,
    statements,
)
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.scalar_loop import operations
from staticgrad.language.ir.schedule import Call, OperandPlace, Step
from staticgrad.language.types.arrays import TensorType, hint_value, typical_value
from staticgrad.language.types.dim import Named, evaluate, named_sizes
from staticgrad.language.vecmath.blocks import DEFINITIONS, expand
from staticgrad.native.machine import current
from staticgrad.support.caches import cached_on_first
from staticgrad.support.records import dataclass, replace

#: Operations that a division of whole numbers takes as long as: processors have none of vectors.
WHOLE_DIVISION: Final = 40
#: coefficient * product of extents
Term = tuple[float, tuple[Extent, ...]]
#: The same with the literal extents in the coefficient, and the numbers of the arguments.
_Count = tuple[float, tuple[int, ...]]


@dataclass(frozen=True)
class Rates:
    """The rates that predictions are made with.

    The defaults are round figures of one core of a server with 512-bit vectors: ``product_flops``
    per second inside matrix products of f32 (half of it for f64), ``map_flops`` elsewhere,
    ``bandwidth`` in bytes per second beyond the caches, ``launch`` seconds per step. What runs in
    each iteration of a loop takes ``again`` in the place of ``launch``, and finds what iterations
    before it have touched in a cache, which gives ``cached`` bytes per second.
    """

    product_flops: float = 60e9
    map_flops: float = 20e9
    bandwidth: float = 8e9
    launch: float = 1e-6
    cached: float = 60e9
    again: float = 1e-7


DEFAULT: Final = Rates()
#: One processor at its best: rows take at least what is predicted with it.
FASTEST: Final = Rates(200e9, 60e9, bandwidth=40e9, launch=0.0, cached=200e9, again=0.0)
#: A round figure of what rows take whose launch is a jump, as the driver's is.
ROWS: Final = Rates(launch=5e-9, again=5e-9)
#: Parts of the typical values of named sizes at which schedules are compared.
SCALES: Final = (0.125, 1.0, 8.0)
#: Seconds that any prediction is taken for at least, so that ratios are numbers.
_LEAST: Final = 1e-12
#: Bytes of an operand in all iterations of a loop that stay in a processor's cache, at most.
NEAR: Final = 1 << 20
#: What it takes to put an element in its place, in a row of about a thousand; and to pass it over
#: where only the first few places are wanted. As many operations as fit in the time measured.
ORDER_FLOPS: Final = (500.0, 40.0)
#: What it takes to find a place among some thousand elements.
SEARCH_FLOPS: Final = 100


@dataclass(frozen=True)
class Work:
    """The work of one run of a kernel: operations inside products and elsewhere, bytes moved.

    ``touched`` gives for each part of the traffic its operand, and whether it is written.
    """

    products: tuple[Term, ...]
    maps: tuple[Term, ...]
    traffic: tuple[Term, ...]
    touched: tuple[tuple[str, bool], ...]


@cached_on_first(2)
def work_of(kernel: Kernel, in_place: bool = False) -> Work:
    """Count the work of a kernel (multiply-adds, operations, bytes) from its stages.

    ``in_place``: a copy of what a result may be written over has no work.
    """
    products: list[Term] = []
    maps: list[Term] = []
    footprints: dict[tuple[str, bool], list[tuple[Extent, ...]]] = {}
    for stage, around in nested_stages(kernel.stages):
        if in_place and kernel.copied_pair(stage):
            continue
        axes = {axis.name: axis.extent for axis in (*kernel.axes, *around, *_axes(stage))}
        inner: dict[str, Extent] = {}
        if isinstance(stage, Gemm):
            inner = {axis.name: axis.extent for axis in stage.k}
            wide = kernel.operand(stage.a.operand).dtype.itemsize / 4
            products.append((2.0 * wide, tuple(axes.values())))
            axes = {name: extent for name, extent in axes.items() if name not in inner}
        if isinstance(stage, Sort):
            maps.append((ORDER_FLOPS[not stage.sorts_all], tuple(axes.values())))
        maps.append((float(_flops(stage)), tuple(axes.values())))
        for access, written in _accesses(stage):
            loops = axes | inner
            loops_moved = (
                loops if access.gather else {n: loops[n] for n, s in access.moves if s != 0}
            )
            footprints.setdefault((access.operand, written), []).append(tuple(loops_moved.values()))
    traffic = tuple(
        (float(kernel.operand(name).dtype.itemsize), max(extents, key=len))
        for (name, _), extents in footprints.items()
    )
    return Work(tuple(products), tuple(maps), traffic, tuple(footprints))


def call_seconds(call: Call, machine: Rates = DEFAULT, in_place: bool = False) -> float:
    """Predicted seconds of one run of a kernel or routine; for ``in_place`` see ``work_of``."""
    if call.places:
        return _repeated_seconds(call, machine)
    if isinstance(call.kernel, Kernel):
        return step_seconds(call.kernel, call.arguments, machine, in_place)
    return call.operations / machine.map_flops + machine.launch


def _repeated_seconds(call: Call, machine: Rates) -> float:
    """Predict the seconds of one kernel run inside of a loop, which writes entries in place.

    An operand is fetched anew where all iterations together touch too much of it for a cache.
    """
    kernel = call.kernel
    if not isinstance(kernel, Kernel):
        return call.operations / machine.map_flops + machine.again
    parts = {o.name: place.parts for o, place in zip(kernel.operands, call.places, strict=True)}
    products, maps, traffic = _count_work(kernel, True)
    moving = 0.0
    for count, (operand, _) in zip(traffic, work_of(kernel, True).touched, strict=True):
        nbytes = _total((count,), call.arguments)
        far = nbytes * parts[operand] > NEAR
        moving += nbytes / (machine.bandwidth if far else machine.cached)
    busy = _total(products, call.arguments) / machine.product_flops
    busy += _total(maps, call.arguments) / machine.map_flops
    return max(busy, moving) + machine.again


def step_seconds(
    kernel: Kernel, arguments: Sequence[int], machine: Rates = DEFAULT, in_place: bool = False
) -> float:
    """Predicted seconds of one run of ``kernel`` with these values of its integer arguments."""
    products, maps, traffic = (_total(terms, arguments) for terms in _count_work(kernel, in_place))
    busy = products / machine.product_flops + maps / machine.map_flops
    return max(busy, traffic / machine.bandwidth) + machine.launch


@dataclass(frozen=True)
class Counted:
    """The operations and moved bytes of a step at its arguments' values."""

    products: float
    maps: float
    nbytes: float


def counted_work(step: Step, arguments: tuple[int, ...]) -> Counted:
    """Count the operations and bytes of one run of a step, all its calls together."""
    products = maps = nbytes = 0.0
    for call in step.calls(arguments):
        if not isinstance(call.kernel, Kernel):
            maps += call.times * call.operations
            continue
        work = _count_work(call.kernel, bool(call.places))
        counts = [call.times * _total(terms, call.arguments) for terms in work]
        products, maps, nbytes = products + counts[0], maps + counts[1], nbytes + counts[2]
    return Counted(products, maps, nbytes)


def all_seconds(
    steps: Sequence[Step],
    arguments: Sequence[tuple[int, ...]],
    machine: Rates = DEFAULT,
    in_place: bool = False,
) -> tuple[float, ...]:
    """Predict the seconds of many steps with these values of their arguments.

    Those of equal kernels are computed once. For ``in_place`` see ``work_of``.
    """
    seconds_by_call: dict[Call, float] = {}

    def seconds(call: Call) -> float:
        repeated = call.places if call.times > 1 else ()
        unnamed = tuple(OperandPlace("", parts) for _, parts in repeated)
        single_call = call._replace(times=1, places=unnamed)
        if single_call not in seconds_by_call:
            seconds_by_call[single_call] = call_seconds(single_call, machine, in_place)
        return call.times * seconds_by_call[single_call]

    return tuple(
        sum(map(seconds, step.calls(values))) for step, values in zip(steps, arguments, strict=True)
    )


def seconds_at_scales(
    steps: Sequence[Step], machine: Rates = DEFAULT, scales: Sequence[float] = SCALES
) -> tuple[float, ...]:
    """Predict the seconds of a schedule's steps at several values of its named sizes.

    One prediction if no size has a name. A copy of what a result may be written over has no work.
    """
    names = {n.name: n for s in steps for size in s.arguments for n in named_sizes(size)}
    predictions = []
    for scale in scales if names else (1.0,):
        sizes = {name: _scale_size(named, scale) for name, named in names.items()}
        arguments = [tuple([evaluate(size, sizes) for size in s.arguments]) for s in steps]
        predictions.append(sum(all_seconds(steps, arguments, machine, in_place=True)))
    return tuple(predictions)


def _scale_size(named: Named, scale: float) -> int:
    """Return the typical value of a named size times ``scale``, within its bounds."""
    scaled = round(typical_value(named) * scale)
    return typical_value(replace(named, hint=None), max(1, scaled))


def compare_seconds(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the mean ratio of two predictions at the same scales: below 1 if the first is less."""
    pairs = zip(first, second, strict=True)
    return exp(sum(log(max(a, _LEAST) / max(b, _LEAST)) for a, b in pairs) / len(first))


def plan_seconds(plan: Plan, machine: Rates = DEFAULT) -> float:
    """Predicted seconds of one run of a plan, repeated steps counted as often as they run."""
    steps = [plan.schedule.steps[planned.step] for planned in plan.steps]
    return sum(all_seconds(steps, [planned.arguments for planned in plan.steps], machine))


@cached_on_first(2)
def _count_work(kernel: Kernel, in_place: bool) -> tuple[tuple[_Count, ...], ...]:
    """Return a kernel's multiply-adds, operations and bytes as products of its arguments."""
    work = work_of(kernel, in_place)
    number = {name: at for at, name in enumerate(kernel.arguments)}
    return tuple(
        tuple(
            (
                factor * prod(extent for extent in extents if isinstance(extent, int)),
                tuple(number[extent] for extent in extents if not isinstance(extent, int)),
            )
            for factor, extents in terms
        )
        for terms in (work.products, work.maps, work.traffic)
    )


def _total(counts: Iterable[_Count], arguments: Sequence[int]) -> float:
    total = 0.0
    for factor, places in counts:
        for place in places:
            factor *= arguments[place]
        total += factor
    return total


def _axes(stage: Stage) -> tuple[Axis, ...]:
    """Return the loops of a kernel's stage whose iterations are counted as work."""
    if isinstance(stage, Map):
        return stage.loops
    if isinstance(stage, Sort):  # it stores no more than it reads
        return (stage.axis,)
    if isinstance(stage, Columns):
        return (stage.axis, *stage.rows)
    if isinstance(stage, Loop):
        return (stage.axis,)
    return stage.loops if isinstance(stage, Gemm) else ()


def _flops(stage: Stage) -> int:
    """Operations of one iteration of a stage, equal subexpressions once, besides the product."""
    nodes = statements(stage)
    exprs = _distinct_expressions(postorder(e for s in nodes for e in roots_of(s)))
    counted = sum(not isinstance(s, Store) or s.combine != "" for s in nodes)
    searches = sum(isinstance(s, Search) for s in nodes)
    return sum(map(_price, exprs)) + counted + SEARCH_FLOPS * searches


def _distinct_expressions(exprs: Iterable[Expr]) -> Iterator[Expr]:
    """Yield one of each group of equal expressions, which a kernel computes once."""
    numbers: dict[int, int] = {}
    number_by_key: dict[tuple[object, ...], int] = {}
    for expr in exprs:
        args = tuple(numbers[id(arg)] for arg in expr.args)
        key = (expr.op, expr.dtype, expr.attribute, *args)
        if key not in number_by_key:
            number_by_key[key] = len(number_by_key)
            yield expr
        numbers[id(expr)] = number_by_key[key]


def _price(expr: Expr) -> int:
    if expr.op in DEFINITIONS:
        args = tuple(ref(f"x{i}", a.dtype) for i, a in enumerate(expr.args))
        key = (expr.op, args[0].dtype.name)
        if key not in _BLOCK_PRICES:
            _BLOCK_PRICES[key] = operations(expand(expr.op, *args))
        return _BLOCK_PRICES[key]
    if expr.op in DIVISION:
        return WHOLE_DIVISION
    return 0 if expr.op in LEAVES else 1


_BLOCK_PRICES: dict[tuple[str, str], int] = {}


def _accesses(stage: Stage) -> Iterator[tuple[Access, bool]]:
    """Yield every access of a kernel's stage, with True for writes."""
    if isinstance(stage, Gemm):
        yield from ((access, False) for access, _ in stage.reads)
    for statement in statements(stage):
        if isinstance(statement, Search):
            yield statement.access, False
        if isinstance(statement, Store):
            yield statement.access, True
            if statement.combine:
                yield statement.access, False
    for expr in postorder(e for s in statements(stage) for e in roots_of(s)):
        if isinstance(expr.attribute, Access):
            yield expr.attribute, False


#: Instructions that a group may hold. A kernel takes 0.1 to 0.3 ms to compile for each, 1.2 s at
#: the most.
LARGEST: Final = 4000
#: The same for what follows a matrix product in its kernel: it is written once for each row of a
#: tile, and its values compete with the tile for registers.
LARGEST_EPILOGUE: Final = 160
#: Cycles that storing and reading a vector takes in each cache, and beyond them.
_CACHED: Final = (1, 2, 4)
_FAR: Final = 10
#: What is slow for large arrays matters, and for small ones hardly anything does.
_OPEN_BYTES: Final = 1 << 20
#: Cycles that a kernel takes beside its loop.
_CALL: Final = 60
_VECTOR_BYTES: Final = 64
#: Operations that are one instruction.
_ONE: Final = 2


def instructions(node: Node) -> int:
    """Return a node's instructions for one vector; a multiplication and an addition are one."""
    flops = node.op.flops
    return round(0.6 * flops) if flops > _ONE else 1


def latency(node: Node) -> float:
    """Return the cycles from a node's operands to its result: its latency in a dependence chain."""
    # A multiply-add takes 4 cycles on current processors; those inside of a function overlap.
    return 4 + 1.5 * max(0, node.op.flops - 1)


def vectors(kind: TensorType) -> int:
    """Return the number of vectors that a value takes."""
    return max(1, _bytes(kind) // _VECTOR_BYTES)


def interleaved_vectors(work: float, alive: int) -> int:
    """Return how many vectors a kernel takes side by side."""
    is_chain = alive < FEW_ALIVE  # a body has one more, which it has just loaded
    return max(1, vectors_together(work, is_chain, current().vector_bits))


def cycles(work: float, chain: float, count: int, side_by_side: int = 1) -> float:
    """Cycles per vector of a loop over ``count`` vectors."""
    host = current()
    at_a_time = max(1.0, min(max(host.window / max(work, 1), side_by_side), count))
    return max(work / host.per_cycle, chain / at_a_time)


def cut_cycles(live: int, kind: TensorType) -> float:
    """Cycles per vector that it takes to store ``live`` values and read them in another kernel."""
    nbytes, host = _bytes(kind), current()
    caches = zip((host.l1, host.l2, host.l3), _CACHED, strict=True)
    cost = next((cost for most, cost in caches if nbytes <= most), _FAR)
    return live * cost + _CALL / vectors(kind)


def _bytes(kind: TensorType) -> int:
    """Bytes of a value; of one whose size is open, no fewer than ``_OPEN_BYTES``."""
    nbytes = kind.nbytes
    return nbytes if isinstance(nbytes, int) else max(_OPEN_BYTES, hint_value(nbytes))
