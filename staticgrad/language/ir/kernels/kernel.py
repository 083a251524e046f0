"""The Kernel form: an outer parallel loop over a straight line of stages, generic in every size.

A kernel names its operands ``p0, p1, ...`` and integer arguments ``n0, n1, ...`` (extents and
strides, bound at each step), so that equal computations at other shapes are one kernel, compiled
once. Renderers translate it.

One call runs outer iterations ``[begin, end)``. What is counted is ``Kernel.outer``:

- ``axes``: the outer axes, flattened in C order; every stage runs once per iteration.
- ``squares``: the same, and adjacent rows are loaded or stored together as whole cache lines.
- ``lanes``: the only outer axis is the one over the lanes of vectors, ``j``: each stage is scalar,
  or a loop of scalar stages.
- ``elements``: no outer axes, and the vector axis of the single stage itself is cut.
- ``tiles``: a Gemm that nothing feeds; iterations are (outer axes..., row chunk, column panel),
  flattened.
- ``groups``: the last ``grouped`` outer axes, flattened, are *rows*; an iteration is a group of
  them, as the column rule of ``ir/summation.py`` cuts them, and runs every stage for each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from math import prod
from typing import Any, Final, Literal, TypeVar

from staticgrad.language.ir.expr import BLOCKS, Access, Expr, Stride, postorder
from staticgrad.language.ir.kernels.directives import interleaved_rows
from staticgrad.language.ir.kernels.in_place import copied_operands, in_place_pairs
from staticgrad.language.ir.kernels.stages import (
    LANES,
    Accumulate,
    Axis,
    ColumnAccumulate,
    Columns,
    Extent,
    Gemm,
    Map,
    Operand,
    Order,
    Sort,
    Stage,
    Store,
    column_words,
    gemm_iterations,
    group_rows,
    nested_stages,
    order_words,
    parts,
    roots,
    statements,
)
from staticgrad.language.ir.kernels.text import KernelParts
from staticgrad.language.ir.kernels.width import (
    SQUARES,
    transposed_loads,
    transposed_stores,
    whole_registers,
)
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size, maximum, sum_of
from staticgrad.language.types.dtype import BOOL
from staticgrad.support.caches import cached_property
from staticgrad.support.deprecations import deprecated_attribute
from staticgrad.support.records import dataclass

S = TypeVar("S", bound=Size)
#: Elements that one group of outer iterations covers, so that claiming a group costs nothing.
GRAIN_ELEMENTS: Final = 16384
#: How often that is halved, at most, where elements take long.
FINEST: Final = 4
#: Expressions of a loop of numbers that take as long as moving an element; and rows of a group of
#: such loops, at least.
_OPERATIONS: Final = 16
_FEWEST_ROWS: Final = 64
#: Vectors of rows that are a group at least, where rows are the lanes of vectors.
LANE_VECTORS: Final = 4
#: Columns of a group, at least, where each has many terms: what lies together is read in runs.
FEWEST_COLUMNS: Final = 128
#: Vectors of columns of which rows are read whole: 4 KiB of each.
RUN: Final = 64
#: What is counted by outer iterations.
Outer = Literal["axes", "squares", "lanes", "elements", "tiles", "groups"]
#: Where an operand is stored to: the loops around it by name, and the place.
Places = list[tuple[dict[str, Axis], Access]]
#: A Gemm element is one FMA chain per this many k; partial results are added in ascending order.
GEMM_BLOCK: Final = 4096


@dataclass(frozen=True, eq=False)
class Kernel(KernelParts):
    """A kernel, with what follows from its parts: its iterations, vectors and scratch."""

    transposed = deprecated_attribute("0.2", "transposed_loads")
    jammed = deprecated_attribute("0.2", "interleaved_rows")
    evaluated = deprecated_attribute("0.2", "distinct_exprs")
    known = deprecated_attribute("0.2", "facts")

    @cached_property
    def outer(self) -> Outer:
        """Return the unit of one iteration of the kernel's outer parallel loop; see the module."""
        first = self.stages[0]
        if self.grouped:
            return "groups"
        if isinstance(first, Gemm) and len(self.stages) == 1:
            return "axes" if first.fed else "tiles"
        if len(self.axes) == 1 and self.axes[0].name == LANES:
            return "lanes"
        if self.axes or len(self.stages) > 1 or self.serial:
            return "squares" if self.transposed_loads or self.transposed_stores else "axes"
        if isinstance(first, Map):
            needs_axes = bool(first.rows) or any(isinstance(s, Accumulate) for s in first.body)
            return "axes" if needs_axes else "elements"
        return "elements" if isinstance(first, Columns) else "axes"

    @cached_property
    def transposed_loads(self) -> tuple[Expr, ...]:
        """The loads that lie across memory, of which adjacent rows read whole lines."""
        return tuple(transposed_loads(self.axes, self.stages, self._square_axis))

    @cached_property
    def transposed_stores(self) -> tuple[Store, ...]:
        """The stores that lie across memory, of which adjacent rows write whole lines."""
        return tuple(transposed_stores(self.axes, self.stages, self._square_axis))

    @property
    def _square_axis(self) -> str:
        """The loop whose rows may be taken together; none has no name."""
        is_excluded = self.serial or self.grouped or self.interleaved_rows > 1
        return self.axes[-1].name if self.axes and not is_excluded else ""

    @property
    def interleaved_rows(self) -> int:
        """The number of interleaved rows."""
        return interleaved_rows(self.directives)

    @property
    def tile_rows(self) -> int:
        """The number of rows that are loaded or stored together."""
        return (SQUARES if self.transposed_loads else 1) * self.lanes

    @cached_property
    def lanes(self) -> int:
        """Return the kernel's vector width in elements, by its narrowest elements (bools aside)."""
        if self.outer in ("elements", "axes") and not self.serial:
            filled = whole_registers(self.stages, self.operands)
            if filled:
                return filled
        dtypes = [o.dtype for o in self.operands if o.mode not in ("check", "scratch")]
        dtypes += [e.dtype for e in self.distinct_exprs if e.op not in ("index", "size")]
        return max((dtype.lanes for dtype in dtypes if not dtype.is_bool), default=BOOL.lanes)

    @cached_property
    def expressions(self) -> tuple[Expr, ...]:
        """Return every root expression of the kernel, in statement order."""
        return tuple(
            e
            for stage, _ in nested_stages(self.stages)
            for s in statements(stage)
            for e in roots(s)
        )

    @cached_property
    def distinct_exprs(self) -> tuple[Expr, ...]:
        """Every distinct expression, operands first."""
        return tuple(postorder(self.expressions))

    @cached_property
    def in_place(self) -> frozenset[tuple[str, str]]:
        """Pairs (out, in) of operands that may share bytes: no row reads an element of ``in`` after
        any row wrote it. See ``in_place``."""
        if self.serial:
            return frozenset()
        return frozenset(in_place_pairs(self.axes, self.stages, self.operands))

    def copied_pair(self, stage: Stage) -> tuple[str, str] | None:
        """Return the pair (out, in) that may share a buffer of which a stage copies elements.

        Where they do, the stage changes nothing. None: it is no such copy.
        """
        pair = copied_operands(stage)
        return pair if pair is not None and pair in self.in_place else None

    def iterations(self, arguments: Sequence[Size]) -> Size:
        """Return the number of iterations of the outer parallel loop for these argument values."""
        values = dict(zip(self.arguments, arguments, strict=True))
        first = self.stages[0]
        if self.outer == "elements":
            assert isinstance(first, Map | Columns)
            return _extent(first.axis, values)
        ungrouped = len(self.axes) - self.grouped
        count = prod((_extent(axis, values) for axis in self.axes[:ungrouped]), start=1)
        if self.grouped:
            rows = self.rows(arguments)
            length = group_rows(rows)
            count = count * ((rows + (length - 1)) // length)
        if self.outer == "tiles":
            assert isinstance(first, Gemm)
            dtype = self.operand(first.a.operand).dtype.compute
            rows, columns = (
                prod((_extent(axis, values) for axis in axes), start=1)
                for axes in (first.i, first.j)
            )
            count = count * gemm_iterations(first, dtype, rows, columns)
        return count

    def grain(self, arguments: Sequence[Size]) -> int:
        """Return the grain of the kernel's parallel loop: iterations per group, by hints of its
        sizes.

        A tile is a group of its own, and so is a group of rows. 0: all iterations are one group, as
        they run in order.
        """
        if self.serial:
            return 0
        if self.outer in ("tiles", "groups"):
            return 1
        covered = GRAIN_ELEMENTS >> self._halves
        values = dict(zip(self.arguments, arguments, strict=True))
        if self.outer == "elements":
            terms = [
                prod(hint_value(_extent(axis, values)) for axis in stage.rows)
                for stage, _ in nested_stages(self.stages)
                if isinstance(stage, Columns)
            ]
            columns = covered // max(1, *terms, 1) // FEWEST_COLUMNS * FEWEST_COLUMNS
            return max(1, min(covered, FEWEST_COLUMNS), columns)
        elements = []
        for stage, around in nested_stages(self.stages):
            loops = stage.loops if isinstance(stage, Gemm) else parts(stage)[0][1]
            elements.append(prod(hint_value(_extent(axis, values)) for axis in (*around, *loops)))
        rows = max(1, covered // max(1, *elements))
        rows = max(min(rows, _FEWEST_ROWS), rows // self._longer)
        if self.outer == "lanes":
            vectors = LANE_VECTORS * self.lanes
            return -(-rows // vectors) * vectors
        together = self.tile_rows if self.outer == "squares" else 1
        return -(-rows // together) * together

    @cached_property
    def _longer(self) -> int:
        """Return the cost of one iteration of a scalar loop, in units of moving an element."""
        if not any(around for _, around in nested_stages(self.stages)):
            return 1
        return 1 + len(self.distinct_exprs) // _OPERATIONS

    @cached_property
    def _halves(self) -> int:
        """Return how often the elements of a group are halved; a function counts as two moves."""
        functions = sum(expr.op in BLOCKS for expr in self.distinct_exprs)
        return min(FINEST, (1 + 2 * functions).bit_length() - 1)

    def rows(self, arguments: Sequence[Size]) -> Size:
        """Return the number of rows of the grouped axes for these integer arguments."""
        values = dict(zip(self.arguments, arguments, strict=True))
        axes = self.axes[len(self.axes) - self.grouped :]
        return prod((_extent(axis, values) for axis in axes), start=1)

    def room(self, arguments: Sequence[Size]) -> Mapping[str, Size]:
        """Return the number of elements of each scratch operand of the kernel, by name.

        Where rows are stored to, one element more than the farthest place.
        """
        sizes = tuple(arguments)
        rooms = self._rooms.get(sizes)
        if rooms is None:
            rooms = self._rooms[sizes] = self._compute_room(sizes)
        return rooms

    @cached_property
    def _rooms(self) -> dict[tuple[Size, ...], Mapping[str, Size]]:
        """Cache of ``room``: lowering and the verifier call it with the same sizes."""
        return {}

    def _compute_room(self, arguments: Sequence[Size]) -> dict[str, Size]:
        """Compute the size of each scratch operand from the loops around its stores."""
        values = dict(zip(self.arguments, arguments, strict=True))
        needed: dict[str, Size] = {}
        for stage, _ in nested_stages(self.stages):
            for statement in statements(stage):
                if isinstance(statement, ColumnAccumulate):
                    assert isinstance(stage, Map)
                    extent = _extent(stage.axis, values)
                    words = column_words(extent, self.rows(arguments), self.lanes)
                    needed[statement.scratch] = words
                elif isinstance(statement, Order):
                    assert isinstance(stage, Sort)
                    extents = (_extent(stage.axis, values), _extent(stage.sorted_axis, values))
                    dtype, picks = statement.key.dtype, bool(stage.picks)
                    needed[statement.scratch] = order_words(dtype, *extents, picks)
        reaches: dict[tuple[Extent, Stride], Size] = {}

        def reach(axis: Axis, stride: Stride) -> Size:
            """Return the farthest move along an axis: 0 where a loop runs backwards."""
            key = axis.extent, stride
            if key not in reaches:
                move = (_extent(axis, values) - 1) * number_of(stride, values)
                reaches[key] = maximum(0, move)
            return reaches[key]

        for operand, places in self._scratch_places().items():
            count = self.interleaved_rows if operand in self.own_rows else 1
            rooms = {needed.get(operand, 0): None}  # many stores have equal ones
            for axes, access in places:
                terms: list[tuple[int, Size]] = [(1, 1)]
                terms += [(1, reach(axes[name], stride)) for name, stride in access.strides]
                for place in access.positions:
                    if place.extent is not None:
                        far = number_of(place.extent, values) - 1
                    else:
                        start = number_of(place.start, values)
                        steps = [(1, reach(axes[name], step)) for name, step in place.terms]
                        far = sum_of([(1, start), *steps])
                    terms.append((1, far * number_of(place.stride, values)))
                rooms[count * sum_of(terms)] = None
            needed[operand] = reduce(maximum, rooms)
        return needed

    @cached_property
    def own_rows(self) -> dict[str, Places]:
        """Return the scratch operands that each row writes anew, with the places of their stores.

        Interleaved rows have one each, one behind the other.
        """
        places_by_operand = self._scratch_places()
        outer = [axis.name for axis in self.axes]
        return {
            operand: places
            for operand, places in places_by_operand.items()
            if all(access.stride(axis) == 0 for _, access in places for axis in outer)
        }

    def _scratch_places(self) -> dict[str, Places]:
        """Return the stores to each scratch operand of the kernel, with the axes around them."""
        scratch = {operand.name for operand in self.operands if operand.mode == "scratch"}
        places_by_operand: dict[str, Places] = {}
        for stage, around in nested_stages(self.stages) if scratch else ():
            axes = {a.name: a for a in (*self.axes, *around, *parts(stage)[-1][1])}
            for statement in statements(stage):
                if isinstance(statement, Store) and statement.access.operand in scratch:
                    places_by_operand.setdefault(statement.access.operand, []).append(
                        (axes, statement.access)
                    )
        return places_by_operand

    @cached_property
    def _by_name(self) -> dict[str, Operand]:
        return {operand.name: operand for operand in self.operands}

    def operand(self, name: str) -> Operand:
        """The operand called ``name``; a kernel may have thousands of them."""
        return self._by_name[name]


def number_of(extent: Stride, values: Mapping[str, S]) -> int | S:
    """Evaluate an extent, stride or start: a literal, an argument's value, or a product."""
    if isinstance(extent, int):
        return extent
    if isinstance(extent, str):
        return values[extent]
    product: Any = 1
    for factor in extent:
        product = product * number_of(factor, values)
    number: int | S = product
    return number


def _extent(axis: Axis, values: Mapping[str, Size]) -> Size:
    return number_of(axis.extent, values)
