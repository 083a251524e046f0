"""What a graph becomes before its nodes are grouped, just before kernels are made of it.

Marks that matter to derivatives alone leave it. What accumulates in memory, running totals and
scattered sums, does so in the compute dtype. What windows are read of has an element at every
place. ``fuse`` does all of it at every level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from passes.dce import DeadNodes
from staticgrad.building import within
from staticgrad.ir.forms import (
    WINDOWED,
    Identity,
    ReshapeForm,
    Scan,
    ScatterAdd,
    ScatterAlong,
    View,
)
from staticgrad.ir.graph import Graph, Node, Symbolic, reads_any, rebuild
from staticgrad.ir.value import Value
from staticgrad.ops.convert import astype
from staticgrad.ops.slices import Pad

_IN_MEMORY = Scan | ScatterAdd | ScatterAlong
#: The name under which a graph has itself without marks.
_NOTE: Final = "unmarked"


# -- marks ----------------------------------------------------------------------------------------


def is_mark(node: Node) -> bool:
    """Whether the node is its first operand, for all that a kernel can tell."""
    form = node.form
    return isinstance(form, Identity) and not form.kept


def without_marks(graph: Graph) -> Graph:
    """The graph with the operands of marks in their place, and without what only marks read.

    ``stop_gradient`` and the markers of ``custom_vjp`` stand in every graph that a pass gives, so
    that it has the derivatives of the one that it was made of. No kernel needs them: each is its
    first operand, and what only the rule of a marker would read is not computed.
    """

    found = graph.found.get(_NOTE)
    return found if isinstance(found, Graph) else unmarked(graph)[0]


def leave_unmarked(graph: Graph, without: Graph) -> None:
    """Keep what ``without_marks`` gives with the graph: most of its nodes are the graph's own."""
    if without is not graph:
        graph.found[_NOTE] = without


def unmarked(graph: Graph) -> tuple[Graph, Mapping[Node, Sequence[Symbolic]]]:
    """The graph without marks, and the results there of nodes that have other ones in it."""
    new: dict[Node, Sequence[Symbolic]] = {}
    if not any(map(is_mark, graph.nodes)):
        return graph, new
    kept: list[Node] = []

    def there(value: Symbolic) -> Symbolic:
        return new[value.node][value.index] if value.node in new else value

    for node in graph.nodes:
        if is_mark(node):
            new[node] = (there(node.args[0]),)
        elif reads_any(node, new):
            kept.append(rebuild(node, tuple(map(there, node.args))))
            new[node] = kept[-1].values
        else:
            kept.append(node)
    roots = {value.key: there(value) for value in graph.roots}
    return DeadNodes()(graph.with_nodes(kept, roots)), new


# -- windows --------------------------------------------------------------------------------------


def without_stretched_windows(graph: Graph) -> Graph:
    """The graph with what windows are read of as it is, element for element.

    Beyond the ends of an axis along which an operand does not move there would be its one element,
    in the place of a border.
    """

    def held(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        form = node.form
        if not isinstance(form, WINDOWED):
            return None
        count = len(form.axes)
        stretched = [_stretches(x, range(x.ndim - count, x.ndim)) for x in node.args]
        if not any(stretched):
            return None
        with within(node.origin, node.order):
            whole = [_copied(x) if wide else x for x, wide in zip(args, stretched, strict=True)]
            return (cast(Symbolic, node.op(*whole)),)

    if not any(isinstance(node.form, WINDOWED) for node in graph.nodes):
        return graph
    return graph.replace_nodes(held)


def _copied(value: Symbolic) -> Value:
    return Pad(value.shape, (0,) * value.ndim, (1,) * value.ndim)(value)


def _stretches(value: Symbolic, axes: Iterable[int]) -> bool:
    """Whether a value repeats one element along some axis of these, as far as it is a view."""
    form = value.node.form
    if isinstance(form, ReshapeForm):
        (whole,) = value.node.args
        return _stretches(whole, range(whole.ndim))
    if isinstance(form, View):
        (viewed,) = value.node.args
        named = {each.source: k for k, each in enumerate(form.axes)}
        long = [axis for axis in axes if value.shape[axis] != 1]
        if any(axis not in named for axis in long):
            return True
        return _stretches(viewed, [named[axis] for axis in long])
    return isinstance(form, Identity) and _stretches(value.node.args[0], axes)


# -- running totals and scattered sums ------------------------------------------------------------


def widen_accumulation(graph: Graph) -> Graph:
    """The graph with its totals of storage dtypes computed in their compute dtypes.

    Their kernels add to elements of the result that they wrote before. Of a storage dtype each of
    those would be rounded on its way, so the total is a value of the compute dtype, and rounded to
    the result once it is whole. Reductions and products of matrices accumulate in registers, and
    are widened where they are lowered.
    """

    def widened(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not isinstance(node.form, _IN_MEMORY) or not node.types[0].dtype.is_storage:
            return None
        with within(node.origin, node.order):
            total = node.op(*[wide(arg) for arg in args])
            return (cast(Symbolic, astype(total, node.types[0].dtype)),)

    if not any(t.dtype.is_storage for node in graph.nodes for t in node.types):
        return graph
    return graph.replace_nodes(widened)


def wide(value: Symbolic) -> Symbolic:
    """A value of a storage dtype in its compute dtype; another one as it is."""
    dtype = value.dtype
    return cast(Symbolic, astype(value, dtype.compute)) if dtype.is_storage else value
