"""Select the elements that are read of a sort, if they are few: no row is sorted.

``sort(x)[k]`` reads one element of a sorted row, which a selection finds in time linear in the
row; ``sort(x)[:k]`` reads the k smallest. Medians, quantiles and extremes are often written with
``sort``, ``argsort`` or ``partition``, also in imported programs. The gradient scatters by the
positions of these elements alone, as no other position gets a cotangent. Results stay bitwise
identical: selections have the order of the sort, by key and then by position.

For a row of ``x``, and k up to a quarter of its size::

    sort(x)[3:5]     ->     order_statistic(x, [3, 4])
    sort(x)[:k]      ->     topk{k=k, smallest=True}(x)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from passes.late.base import late_pass
from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ops.arithmetic import Add
from staticgrad.language.ops.indexing import Pad, ScatterIntoAlong, Slice, concatenate, part
from staticgrad.language.ops.sorting import MOST_SELECTED, Sort, TopK, select_in_order
from staticgrad.language.types.dim import Size
from staticgrad.support.building import within
from staticgrad.support.config import limits
from staticgrad.support.records import dataclass, replace

#: Where elements lie along an axis: the first of them, and how many.
Interval = tuple[Size, int]


@dataclass(frozen=True)
class _Selection:
    """The elements of a sort that are read: intervals one after the other, or the first ``count``.

    ``readers`` has the intervals that each node reads.
    """

    intervals: tuple[Interval, ...]
    readers: dict[Node, tuple[Interval, ...]]
    prefix: int | None

    def index_of(self, interval: Interval) -> int:
        """Return the index of an interval's first element among the selected ones."""
        if self.prefix is not None:
            return 0
        preceding = self.intervals[: self.intervals.index(interval)]
        return sum(count for _, count in preceding)

    def select(self, x: Symbolic, axis: int) -> tuple[Symbolic, Symbolic]:
        """Return the selected elements of x and their positions."""
        if self.prefix is not None:
            return cast("tuple[Symbolic, Symbolic]", TopK(axis, self.prefix, True)(x))
        indices = [first + k for first, count in self.intervals for k in range(count)]
        return cast("tuple[Symbolic, Symbolic]", select_in_order(x, axis, indices))


@late_pass("few-of-a-sort")
def select_few(graph: Graph) -> Graph:
    """Rewrite sorts of which a few elements are read as selections of these."""
    if not graph.has(Sort):
        return graph
    users, roots = users_of(graph), {value.key for value in graph.roots}
    selections: dict[Node, _Selection] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Sort) or node.op.descending:
            continue
        if any(value.key in roots for value in node.values):
            continue
        readers = dict.fromkeys(user for value in node.values for user in users[value.key])
        selection = _find_selection(node, [*readers])
        if selection is not None:
            selections[node] = selection
    if not selections:
        return graph
    sort_of = {
        reader: node for node, selection in selections.items() for reader in selection.readers
    }
    selected: dict[Node, tuple[Symbolic, Symbolic]] = {}

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        with within(node.origin, node.order):
            if node in selections:
                selected[node] = selections[node].select(args[0], cast(Sort, node.op).axis)
            if node not in sort_of:
                return None
            sort = sort_of[node]
            axis, selection = cast(Sort, sort.op).axis, selections[sort]
            if isinstance(node.op, Slice):
                (interval,) = selection.readers[node]
                starts = list(node.op.starts)
                starts[axis] = selection.index_of(interval)
                op = replace(node.op, starts=tuple(starts))
                return (cast(Symbolic, op(selected[sort][node.args[0].index])),)
            places = selected[sort][1]
            terms = _pads(args[0]) or []
            cotangents = [_pad_others(pad, axis) for pad in terms]
            intervals = [_interval(pad.node, axis) for pad in terms]
            positions = [part(places, axis, selection.index_of(i), i[1]) for i in intervals if i]
            return (
                cast(Symbolic, node.op(*(concatenate(v, axis) for v in (cotangents, positions)))),
            )

    return graph.replace_nodes(rewrite).without_dead_nodes()


def _find_selection(sort: Node, readers: Sequence[Node]) -> _Selection | None:
    """Return what is read of a sort, or None if selections would not be faster."""
    axis = cast(Sort, sort.op).axis
    size = sort.args[0].shape[axis]
    intervals_of: dict[Node, tuple[Interval, ...]] = {}
    for reader in readers:
        intervals = _find_intervals(reader, sort, axis)
        if intervals is None:
            return None
        intervals_of[reader] = intervals
    distinct = tuple(dict.fromkeys(i for intervals in intervals_of.values() for i in intervals))
    if not distinct:
        return None
    most = max(count for _, count in distinct)
    is_prefix = all(first == 0 for first, _ in distinct)
    if is_prefix and isinstance(size, int) and size >= max(limits().partly_sorted_row, 4 * most):
        return _Selection(distinct, intervals_of, most)
    if sum(count for _, count in distinct) <= MOST_SELECTED:
        return _Selection(distinct, intervals_of, None)
    return None


def _find_intervals(reader: Node, sort: Node, axis: int) -> tuple[Interval, ...] | None:
    """Return the intervals along an axis that a node reads of a sort; None for other reads."""
    nodes: list[Node] | None = None
    if isinstance(reader.op, Slice):
        nodes = [reader]
    elif isinstance(reader.op, ScatterIntoAlong) and reader.op.axis == axis:
        cotangent, places = reader.args
        if places.key == (sort, 1) and cotangent.node is not sort:
            nodes = [pad.node for pad in _pads(cotangent) or ()]
    intervals = [_interval(node, axis) for node in nodes or ()]
    return tuple([i for i in intervals if i]) if intervals and all(intervals) else None


def _pads(value: Symbolic) -> list[Symbolic] | None:
    """Return the terms of a sum of pads of its shape, added from the left; None for others."""
    terms, shape = [], value.shape
    while isinstance(value.node.op, Add):
        value, term = value.node.args
        terms.append(term)
    terms.append(value)
    are_pads = all(isinstance(term.node.op, Pad) and term.shape == shape for term in terms)
    return terms[::-1] if are_pads else None


def _interval(node: Node, axis: int) -> Interval | None:
    """Return which elements along an axis a slice reads, or a pad writes; None for a stride."""
    op = node.op
    assert isinstance(op, Slice | Pad)
    count = op.lengths[axis] if isinstance(op, Slice) else node.args[0].shape[axis]
    if not isinstance(count, int) or count == 0 or (op.steps[axis] != 1 and count != 1):
        return None
    return op.starts[axis], count


def _pad_others(pad: Symbolic, axis: int) -> Symbolic:
    """Return the operand of a pad, padded along the other axes alone."""
    op, operand = pad.node.op, pad.node.args[0]
    assert isinstance(op, Pad)
    if all(operand.shape[k] == size for k, size in enumerate(op.shape) if k != axis):
        return operand
    shape, starts, steps = list(op.shape), list(op.starts), list(op.steps)
    shape[axis], starts[axis], steps[axis] = operand.shape[axis], 0, 1
    return cast(Symbolic, Pad(tuple(shape), tuple(starts), tuple(steps))(operand))
