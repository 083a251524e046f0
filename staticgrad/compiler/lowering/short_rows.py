"""Lower rows shorter than two vectors, one in each lane, and pieces of long rows.

The vector axis is an outer axis of the row. Each element of the row has separate strided loads and
stores. Reductions are expressions of the elements, in the order of ``ir/summation.py``, and their
readers are expressions of the results. A kernel that processed such rows one at a time would leave
most lanes empty.

``sum(x, axis=-1)`` of x with 3 columns, where j is the row and a lane::

    map j: n0 {
      %0 = load p0[[j*3]]
      %1 = load p0[[j*3 + 2]]
      %2 = add %0, %1
      %3 = load p0[[j*3 + 1]]
      %4 = add %2, %3
      store p1[j] = %4
    }

A split reduction over a long row has an iteration for each piece; the last piece may be shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Final

from staticgrad.analysis.cycles import instructions
from staticgrad.compiler.fusion.groups import Group, GroupValues, Key, ResultBuffer, Walk
from staticgrad.compiler.fusion.walks import (
    FEWEST_ACROSS,
    MOST_WRITTEN_OUT,
    computes,
    is_per_row,
    operand_walks,
    outer_shape,
    store_walk,
)
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over
from staticgrad.compiler.lowering.windows.parts import emit_assembly
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.forms import COMBINERS, INDEXED, Assemble
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.stages import (
    Axis,
    Map,
    Store,
)
from staticgrad.language.ir.summation import in_lanes, lanes
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dtype import I64, DType

#: Elements of an axis, at least, so that vectors along it are mostly full.
FILLED: Final = 16
#: Elements of the unrolled last axes of a map, at most.
MOST_UNROLLED: Final = 16
#: An index along each loop of the row; None for values with one element per row.
_Iteration = tuple[int, ...] | None


def lower_short_map(groups: GroupValues, group: Group, unroll_shared: bool) -> LoweredStep | None:
    """Return the kernel of a map without reductions, if its last axes are short; else None.

    ``unroll_shared``: also if only operands that all rows share prevent collapsing the axes.
    """
    kinds = [(key, groups.value_type(key)) for key in group.stored]
    stores = [store_walk(group, key, kind.shape) for key, kind in kinds]
    walks = [*operand_walks(groups, group), *stores]
    row = unrolled_axes(group, walks, [kind.dtype for _, kind in kinds], unroll_shared)
    return None if row == 0 else ShortRows(groups, group).lower(row)


def unrolled_axes(
    group: Group, walks: Sequence[Walk], stored: Sequence[DType], unroll_shared: bool
) -> int:
    """Return how many of the last axes of a map to unroll; 0 if vectors along them suffice.

    They suffice if the last axis is long, or is collapsed with the one before it. If only operands
    that all rows share prevent the collapse, the axes are unrolled only if ``unroll_shared``:
    folding (``stages.lower_folded``) is faster for most of these.
    """
    domain, rank = group.domain, len(group.domain)
    loops = loops_over(domain, [range(rank)], walks, merge=not group.indexed)
    names = [name for name, _ in loops.segments[0]]
    lanes = max((dtype.compute.lanes for dtype in stored if not dtype.is_bool), default=1)
    last = loops.segments[0][-1][1] if names else 1
    # A row of more than half a vector fills most lanes of one as it is.
    if len(names) < 2 or not isinstance(last, int) or not 1 < last <= lanes // 2:
        return 0
    moves = [dict(strides) for strides in loops.strides.values()]
    uncollapsed = [
        move for move in moves if move.get(names[-2], 0) != last * move.get(names[-1], 0)
    ]
    if not (unroll_shared or group.keeps_axes or any(names[-2] in move for move in uncollapsed)):
        return 0
    row, length = 0, 1
    while row < rank - 1 and isinstance(size := domain[rank - row - 1], int):
        if length * size > MOST_UNROLLED:
            break
        row, length = row + 1, length * size
    outer_size = max(map(hint_value, domain[: rank - row]), default=0)
    enough = length >= last and outer_size >= FEWEST_ACROSS
    return row if enough and length * group.instructions <= MOST_WRITTEN_OUT else 0


class ShortRows(Lowering):
    """The state of lowering; ``memo`` holds the values of one iteration, ``memos`` those of all.

    ``outer_iteration``: the iteration of the unrolled loops between the vector and the row.
    """

    memos: dict[_Iteration, dict[object, Expr]]
    results: dict[Key, Expr]
    outer_iteration: dict[str, int]

    def lower(self, row: int) -> LoweredStep:
        """Lower short rows to a map with a row in each lane and its elements unrolled."""
        group, rank = self.group, len(self.group.domain)
        stored = group.stored
        if group.kind == "map":  # its reductions are results
            stored = tuple(dict.fromkeys([*stored, *group.reductions]))
        outer = outer_shape(group.domain, group.row)
        shapes = {key: outer if self._is_per_row(key) else group.domain for key in stored}
        targets = {key: self.store_walk(key, shape) for key, shape in shapes.items()}
        walks = [*operand_walks(self.groups, group), *targets.values()]
        segments = [range(rank - row), range(rank - row, rank)]
        self.loops = loops_over(group.domain, segments, walks, merge=not group.indexed)
        axes, vector = choose_vector_loop(self)
        self.iterations: list[_Iteration] = [
            tuple(iteration.values()) for iteration in self.loops.iterations(1)
        ]
        inner = self._unrolled_loops()
        names, body = {name for name, _ in inner}, list[Store]()
        for outer_place in product(*(range(extent) for _, extent in inner)):
            self.outer_iteration = {
                name: at for (name, _), at in zip(inner, outer_place, strict=True)
            }
            self.memos, self.results = {}, {}
            for node in group.nodes:
                self._evaluate(node)
            for iteration in (*self.iterations, None):
                keys = [key for key in stored if self._is_per_row(key) == (iteration is None)]
                body += [self._store(key, targets[key], iteration) for key in keys]
        stage = Map(vector, (*self.checks, *body))
        return self.finish([stage], [a for a in axes if a.name not in names])

    def _unrolled_loops(self) -> list[tuple[str, int]]:
        """Choose the loops inside of the vector loop to unroll, up to a limit of instructions."""
        # Loops inside the vector loop are unrolled: their rows are adjacent in memory.
        flat, count = self.loops.segments[0], len(self.iterations)
        chosen = next(n for n, (name, _) in enumerate(flat) if name in self.rename)
        work = max(1, sum(map(instructions, self.group.nodes)))
        inner_loops: list[tuple[str, int]] = []
        for name, extent in reversed(flat[chosen + 1 :]):
            if not isinstance(extent, int) or extent == 0:  # an empty loop cannot be unrolled
                break
            count *= extent
            if count > MOST_UNROLLED or count * work > MOST_WRITTEN_OUT:
                break
            inner_loops.insert(0, (name, extent))
        return inner_loops

    # -- values -----------------------------------------------------------------------------------

    def _evaluate(self, node: Node) -> None:
        """Compute a node of a short row for all unrolled elements, or once if it is per row."""
        is_row_scalar = self._is_per_row(ResultBuffer(node))
        if isinstance(node.form, INDEXED):
            self.shape = node.args[1].type.shape
            self._enter_iteration(None)
            self.indices[node] = self.check_row_index(node)
        self.shape = node.types[0].shape if is_row_scalar else self.group.domain
        for iteration in [None] if is_row_scalar else self.iterations:
            self._enter_iteration(iteration)
            assembled = isinstance(node.form, Assemble)
            self.memo[ResultBuffer(node)] = (
                emit_assembly(self, node) if assembled else self.emit_node(node)
            )

    def gather_element(self, node: Node, index: Expr) -> Expr:
        """Return an element of a short row by index: selects over its unrolled elements."""
        data = self.groups.source(node.args[0])
        if not computes(self.groups, self.group, data):
            return super().gather_element(node, index)
        first, *others = self.iterations
        # The elements are in registers, which have no addresses: an index selects among them.
        element = self.memos[first][data.base]
        for number, iteration in enumerate(others, 1):
            is_index = index.eq(ex.literal(number, I64))
            element = ex.select(is_index, self.memos[iteration][data.base], element)
        return element

    def _is_per_row(self, key: Key) -> bool:
        group, shape = self.group, self.groups.value_type(key).shape
        is_row_scalar = group.kind == "rows" and is_per_row(shape, group.domain, group.row)
        return is_row_scalar or key in group.reductions

    def _enter_iteration(self, iteration: _Iteration) -> None:
        names = [name for name, _ in self.loops.segments[1]]
        row_iteration = () if iteration is None else zip(names, iteration, strict=True)
        self.unrolled = {**self.outer_iteration, **dict(row_iteration)}
        self.memo = self.memos.setdefault(iteration, {})

    def get_element(self, key: Key) -> Expr:
        if key in self.group.reductions:
            if key not in self.results:
                self.results[key] = self._reduce(key)
            return self.results[key]
        return self.memos[None][key] if self._is_per_row(key) else self.memo[key]

    def _reduce(self, key: Key) -> Expr:
        """Return a short row's reduction: its unrolled terms, combined in a tree."""
        shape, memo, unrolled = self.shape, self.memo, self.unrolled
        reduction, terms = self.group.reductions[key], []
        self.shape = self.group.domain
        for row_iteration in self.iterations:
            self._enter_iteration(row_iteration)
            terms.append(self.wide_value(reduction.source))
        self.shape, self.memo, self.unrolled = shape, memo, unrolled
        return combine_terms(reduction.kind, terms).cast(self.groups.value_type(key).dtype)

    # -- results ----------------------------------------------------------------------------------

    def _store(self, key: Key, target: Walk, iteration: _Iteration) -> Store:
        self._enter_iteration(iteration)
        value = self.get_element(key)
        return Store(self.access(target, self.groups.value_type(key).dtype, "out"), value)


def choose_vector_loop(low: Lowering) -> tuple[list[Axis], Axis]:
    """Choose the vector loop of short rows: the last outer loop that fills a vector, if any."""
    loops = low.loops.segments[0]
    # Loops that fill a vector are equally good; of those the innermost has its rows side by side.
    fills = [min(hint_value(extent), FILLED) for _, extent in loops]
    chosen = max(range(len(loops)), key=lambda n: (fills[n], n))
    low.rename[loops[chosen][0]] = VECTOR
    axes = low.as_axes(loops[:chosen] + loops[chosen + 1 :])
    return axes, Axis(VECTOR, low.extent(loops[chosen][1]))


def combine_terms(kind: str, terms: Sequence[Expr]) -> Expr:
    """Return the combined terms of a row, in the order of the lane rule."""
    return in_lanes(terms, lanes(terms[0].dtype), partial(ex.apply, COMBINERS[kind].combine))
