"""The work of a kernel: operations, bytes, and what of them takes longer than the rest.

Work is counted once per kernel, as polynomials of its integer arguments; a new batch size only
evaluates them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Final

from staticgrad.language.ir.expr import DIVISION, LEAVES, Access, Expr, postorder, ref
from staticgrad.language.ir.kernels.directives import Strips
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
from staticgrad.language.ir.scalar_loop import operations
from staticgrad.language.vecmath.blocks import DEFINITIONS, expand
from staticgrad.support.caches import cached_on_first
from staticgrad.support.records import dataclass

#: Operations that a division of whole numbers takes as long as: processors have none of vectors.
WHOLE_DIVISION: Final = 40
#: What it takes to put an element in its place, in a row of about a thousand; and to pass it over
#: where only the first few places are wanted. As many operations as fit in the time measured.
ORDER_FLOPS: Final = (500.0, 40.0)
#: What it takes to find a place among some thousand elements.
SEARCH_FLOPS: Final = 100
#: Bytes of a vector, and of a line of a cache.
_VECTOR_BYTES: Final = 64
#: Times that an element alone in its line takes longer than one of several that are loaded together
#: and put in order in registers (0.4 ns beside 0.12).
_ALONE: Final = 3
#: A stride that has a name.
_FAR: Final = 1 << 10
#: coefficient * product of extents
Term = tuple[float, tuple[Extent, ...]]
#: The same with the literal extents in the coefficient, and the numbers of the arguments.
Count = tuple[float, tuple[int, ...]]


@dataclass(frozen=True)
class Work:
    """The work of one run of a kernel.

    Attributes:
        products: operations inside of matrix products, in f32.
        maps: operations elsewhere.
        traffic: bytes of each operand that is read, or written, once however often it is.
        touched: of each part of the traffic the operand, and whether it is written.
        lines: the bytes of the lines of a cache that they are in.
        vectors: the operations of ``maps`` in vectors, in f32: the last extent is that of the
            lanes, of which so many fill a vector.
        serial: operations of loops whose iterations wait for each other.
        elements: elements that are loaded or stored one by one.
        rows: loops over rows that do not go on where the last one ended.
    """

    products: tuple[Term, ...]
    maps: tuple[Term, ...]
    traffic: tuple[Term, ...]
    touched: tuple[tuple[str, bool], ...]
    lines: tuple[Term, ...]
    vectors: tuple[tuple[Term, int], ...]
    serial: tuple[Term, ...]
    elements: tuple[Term, ...]
    rows: tuple[Term, ...]


@cached_on_first(2)
def work_of(kernel: Kernel, in_place: bool = False) -> Work:
    """Count the work of a kernel (multiply-adds, operations, bytes) from its stages.

    ``in_place``: a copy of what a result may be written over has no work.
    """
    counter = _Counter(kernel)
    for stage, around in nested_stages(kernel.stages):
        if not (in_place and kernel.copied_pair(stage)):
            counter.count(stage, (*kernel.axes, *around))
    return counter.work()


class _Counter:
    """Adds up the work of a kernel's stages."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._rows_are_lanes = any(isinstance(d, Strips) for d in kernel.directives)
        self._products: list[Term] = []
        self._maps: list[Term] = []
        self._vectors: list[tuple[Term, int]] = []
        self._serial: list[Term] = []
        self._elements: list[Term] = []
        self._rows: list[Term] = []
        #: Operand, is written -> the elements of each access, and the elements of their lines.
        self._reached: dict[tuple[str, bool], list[tuple[Term, Term]]] = {}

    def count(self, stage: Stage, around: tuple[Axis, ...]) -> None:
        """Add the work of one stage inside of these loops."""
        axes = {axis.name: axis.extent for axis in (*around, *_axes(stage))}
        inner: dict[str, Extent] = {}
        if isinstance(stage, Gemm):
            inner = {axis.name: axis.extent for axis in stage.k}
            wide = self._itemsize(stage.a) / 4
            self._products.append((2.0 * wide, tuple(axes.values())))
            axes = {name: extent for name, extent in axes.items() if name not in inner}
        if isinstance(stage, Sort):
            self._maps.append((ORDER_FLOPS[not stage.sorts_all], tuple(axes.values())))
            self._vectors.append((self._maps[-1], 1))
        self._maps.append((float(_flops(stage)), tuple(axes.values())))
        accesses = [*_accesses(stage)]
        lanes = None if self._rows_are_lanes else _lanes(stage)
        if lanes is not None:
            self._count_vectors(accesses, axes, lanes)
            # The rows of a product share its tiles.
            rows = [] if isinstance(stage, Gemm) else [a for a in _axes(stage) if a is not lanes]
            self._count_rows([access for access, _ in accesses], [*around, *rows], lanes)
        elif self._rows_are_lanes or self._kernel.axes:
            self._vectors.append((self._maps[-1], 1))
        else:
            self._serial.append(self._maps[-1])
        reaches = [_apart(access, written, lanes) for access, written in accesses]
        apart = Counter(reaches)
        for (access, written), reach in zip(accesses, reaches, strict=True):
            loops = axes | inner
            if not access.gather:
                loops = {name: loops[name] for name, step in access.moves if step != 0}
            itemsize, extents = self._itemsize(access), tuple(loops.values())
            stride = reach[2]
            together = min(apart[reach], stride)
            lined = max(together, min(stride, _VECTOR_BYTES // itemsize))
            if lanes is not None and stride > 1 and not isinstance(stage, Gemm):
                slow = 1 if together == stride else _ALONE
                self._elements.append((float(slow), tuple(axes.values())))
            reached = (float(itemsize * together), extents), (float(itemsize * lined), extents)
            self._reached.setdefault((access.operand, written), []).append(reached)

    def _count_vectors(
        self, accesses: Sequence[tuple[Access, bool]], axes: Mapping[str, Extent], lanes: Axis
    ) -> None:
        """Add the operations that the last stage makes in vectors."""
        outside = [extent for name, extent in axes.items() if name != lanes.name]
        itemsize = max([4, *[self._itemsize(access) for access, _ in accesses]])
        operations = self._maps[-1][0] * itemsize / 4
        self._vectors.append(((operations, (*outside, lanes.extent)), _VECTOR_BYTES // itemsize))

    def _count_rows(self, accesses: Iterable[Access], loops: Sequence[Axis], lanes: Axis) -> None:
        """Add the rows that a stage enters inside of these loops, unless they go on."""
        names = [loop.name for loop in loops]
        if not all(_continues(access, names, lanes) for access in accesses):
            self._rows.append((1.0, tuple([loop.extent for loop in loops])))

    def _itemsize(self, access: Access) -> int:
        return self._kernel.operand(access.operand).dtype.itemsize

    def work(self) -> Work:
        """Return what was added up; of an operand what its farthest access reaches."""
        farthest = [
            max(reached, key=lambda terms: (len(terms[0][1]), terms[0][0]))
            for reached in self._reached.values()
        ]
        return Work(
            tuple(self._products), tuple(self._maps), tuple([exact for exact, _ in farthest]),
            tuple(self._reached), tuple([lines for _, lines in farthest]), tuple(self._vectors),
            tuple(self._serial), tuple(self._elements), tuple(self._rows),
        )  # fmt: skip


def _continues(access: Access, around: Sequence[str], lanes: Axis) -> bool:
    """Return whether the next row of an access lies behind the last one, or is the same."""
    if not around:
        return True
    step, row = access.stride(lanes.name), access.stride(around[-1])
    return row == 0 or (step == 1 and row == lanes.extent)


def _apart(access: Access, written: bool, lanes: Axis | None) -> tuple[str, bool, int]:
    """Return an access's operand, whether it is written, and how far apart its lanes' elements are.

    1 if they lie side by side, or if those of another loop lie between them.
    """
    step = access.stride(lanes.name) if lanes is not None and not access.gather else 1
    stride = abs(step) if isinstance(step, int) else _FAR
    between = [s for name, s in access.moves if lanes is not None and name != lanes.name]
    if any(isinstance(s, int) and 0 < abs(s) < stride for s in between):
        stride = 1
    return access.operand, written, max(1, stride)


@dataclass(frozen=True)
class WorkCounts:
    """``Work`` with the numbers of a kernel's arguments; the lanes of ``vectors`` by themselves."""

    products: tuple[Count, ...]
    maps: tuple[Count, ...]
    traffic: tuple[Count, ...]
    lines: tuple[Count, ...]
    serial: tuple[Count, ...]
    elements: tuple[Count, ...]
    rows: tuple[Count, ...]
    vectors: tuple[tuple[Count, int | tuple[int, ...], int], ...]


@cached_on_first(2)
def count_work(kernel: Kernel, in_place: bool) -> WorkCounts:
    """Return a kernel's work as products of its arguments."""
    work = work_of(kernel, in_place)
    number = {name: at for at, name in enumerate(kernel.arguments)}

    def count(terms: Iterable[Term]) -> tuple[Count, ...]:
        return tuple(
            (
                factor * prod(extent for extent in extents if isinstance(extent, int)),
                tuple(number[extent] for extent in extents if not isinstance(extent, int)),
            )
            for factor, extents in terms
        )

    vectors = []
    for (factor, extents), width in work.vectors:
        lanes = extents[-1] if extents else 1
        (outside,) = count([(factor, extents[:-1])])
        vectors.append((outside, lanes if isinstance(lanes, int) else (number[lanes],), width))
    return WorkCounts(
        count(work.products), count(work.maps), count(work.traffic), count(work.lines),
        count(work.serial), count(work.elements), count(work.rows), tuple(vectors),
    )  # fmt: skip


def total(counts: Iterable[Count], arguments: Sequence[int]) -> float:
    """Return the sum of counts where a kernel's arguments have these values."""
    added = 0.0
    for factor, places in counts:
        for place in places:
            factor *= arguments[place]
        added += factor
    return added


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


def _lanes(stage: Stage) -> Axis | None:
    """Return the loop of a stage that runs over the lanes of vectors; None if it has none."""
    if isinstance(stage, Gemm):
        return stage.j[-1]
    return stage.axis if isinstance(stage, Map | Columns) else None


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
