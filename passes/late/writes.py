"""Rewrites of entries that are written into a base (``index_copy``).

**Joined writes.** ``x.at[i].set(a).at[j].set(b)`` is one write of two entries, in this order, so
that x may be written in place: between two writes there would be an array of its own.

**Checks before writes.** A parameter is written after all checks, so that a run that fails leaves
it as it was. A write into a parameter whose kernel checked its indices would go through a copy:
its indices are checked by a step of their own.

**Short writes.** Into few elements one entry is written by a comparison, ``where(iota == i, a,
x)``: it is fused with what it reads and with its readers.

**Sums in place.** The cotangent of a carry of which an iteration reads ``x[i]`` is the sum of two
arrays, and one of these is zero everywhere but at i. An iteration that adds it to one entry takes
the same time for an array of any size; so does one that reads a slice, ``x[i + arange(k)]``. An
entry that is -0.0 where nothing is added stays so, and is 0.0 in the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from passes.late.base import late_pass
from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.bodies import is_body_input
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ir.ranges import skip_moves
from staticgrad.language.ops.arithmetic import Add
from staticgrad.language.ops.indexing import IndexCopy, ScatterIntoAxis, Take, concatenate
from staticgrad.language.ops.logic import equal
from staticgrad.language.ops.movement import reshape
from staticgrad.language.ops.positions import Iota, iota
from staticgrad.language.ops.selection import where
from staticgrad.language.types.arrays import product
from staticgrad.language.types.dim import Size, is_at_least
from staticgrad.support.config import limits
from staticgrad.support.records import replace


@late_pass("joined-writes")
def join_writes(graph: Graph) -> Graph:
    """Rewrite writes into the result of a write as one, where nothing else reads that result."""
    users, roots = users_of(graph), {value.key for value in graph.roots}

    def join(node: Node, op: IndexCopy, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        x, indices, base = args
        inner, old = base.node, node.args[2]
        if not isinstance(inner.op, IndexCopy) or inner.op.axis != op.axis:
            return None
        first_x, first_indices, first_base = inner.args
        is_read_once = len(users[old.key]) == 1 and old.key not in roots
        if not is_read_once or first_indices.dtype is not indices.dtype:
            return None
        axis, writes = op.axis, ((first_x, first_indices), (x, indices))
        entries = concatenate([_along_one_axis(x, indices, axis) for x, indices in writes], axis)
        places = concatenate([reshape(indices, (indices.size,)) for _, indices in writes])
        inside = op.inside and inner.op.inside
        return (cast(Symbolic, IndexCopy(axis, inside)(entries, places, first_base)),)

    return graph.replace_ops(IndexCopy, join).without_dead_nodes()


def _along_one_axis(x: Symbolic, indices: Symbolic, axis: int) -> Symbolic:
    """Return the entries of a write with one axis in place of those of the indices."""
    shape = (*x.shape[:axis], indices.size, *x.shape[axis + indices.ndim :])
    return cast(Symbolic, reshape(x, shape))


@late_pass("checks-before-writes")
def check_before_writes(graph: Graph) -> Graph:
    """Rewrite writes into parameters to take indices that were checked before."""
    parameters = {value.node for value in graph.parameters}

    def rewrite(node: Node, op: IndexCopy, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        x, indices, base = args
        if op.inside or skip_moves(base).node not in parameters:
            return None
        positions = iota((base.shape[op.axis],), 0, like=indices)
        checked = Take(0)(positions, indices)
        return (cast(Symbolic, replace(op, inside=True)(x, checked, base)),)

    return graph.replace_ops(IndexCopy, rewrite)


@late_pass("sums-in-place", keeps="close")
def add_in_place(graph: Graph) -> Graph:
    """Rewrite sums with scattered entries or slices in bodies of loops: only these are added."""
    if not graph.has(ScatterIntoAxis) or not any(is_body_input(v.node) for v in graph.inputs):
        return graph
    sums = _find_scattered_sums(graph)
    operands: dict[Node, tuple[Symbolic, ...]] = {}  # of nodes, in the new graph

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite an addition of scattered entries to another array, one write after the other."""
        operands[node] = args
        if not isinstance(node.op, Add) or node in sums or _is_small(node.values[0]):
            return None
        for scattered, (old, base) in zip(node.args, (args, args[::-1]), strict=True):
            if scattered.node not in sums or base.type != old.type:
                continue
            for scatter in sums[scattered.node]:
                x, indices = operands[scatter]
                assert isinstance(scatter.op, ScatterIntoAxis)
                axis, inside = scatter.op.axis, scatter.op.inside
                total = node.op(Take(axis, inside)(base, indices), x)
                write = IndexCopy(axis, inside, distinct=True)
                base = cast(Symbolic, write(total, indices, base))
            return (base,)
        return None

    return graph.replace_nodes(rewrite).without_dead_nodes()


def _find_scattered_sums(graph: Graph) -> dict[Node, tuple[Node, ...]]:
    """Find the sums of scattered entries or slices that are read once, each with its scatters."""
    users, roots = users_of(graph), {value.key for value in graph.roots}
    sums: dict[Node, tuple[Node, ...]] = {}
    for node in graph.nodes:
        (value, *others), op = node.values, node.op
        if others or value.key in roots or len(users[value.key]) != 1:
            continue
        if isinstance(op, ScatterIntoAxis):
            if op.parts == 1 and _are_distinct(node.args[1], op.size):
                sums[node] = (node,)
        elif isinstance(op, Add) and all(arg.node in sums for arg in node.args):
            first, second = (sums[arg.node] for arg in node.args)
            sums[node] = (*first, *second)
    return sums


def _are_distinct(indices: Symbolic, size: Size) -> bool:
    """Return whether indices are different entries of an axis: one, or a number plus positions."""
    if indices.size == 1:
        return True
    args = indices.node.args
    if isinstance(indices.node.op, Add) and any(arg.ndim == 0 for arg in args):
        indices = max(args, key=lambda arg: arg.ndim)
    # Narrow integers would overflow inside of a long axis.
    is_range = isinstance(indices.node.op, Iota) and indices.ndim == 1 and indices.dtype.bits >= 32
    return is_range and is_at_least(size, indices.size)


@late_pass("short-writes")
def write_by_comparison(graph: Graph) -> Graph:
    """Rewrite writes of one entry into few elements as a selection by a comparison."""

    def rewrite(node: Node, op: IndexCopy, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        x, indices, base = args
        if indices.size != 1 or not _is_small(base):
            return None
        index, size = reshape(indices, ()), base.shape[op.axis]
        if not op.inside:
            index = Take(0)(iota((size,), 0, like=index), index)
        axes_after = base.ndim - op.axis - 1
        place = iota((*(1,) * op.axis, size, *(1,) * axes_after), op.axis, like=base)
        entry = reshape(x, (*base.shape[: op.axis], 1, *base.shape[op.axis + 1 :]))
        return (cast(Symbolic, where(equal(place, index), entry, base)),)

    return graph.replace_ops(IndexCopy, rewrite)


def _is_small(value: Symbolic) -> bool:
    count = product(value.shape)
    return isinstance(count, int) and count <= limits().compared_write
