"""What one step executes, counted: operations, bytes of their results, FLOPs."""

from __future__ import annotations

from math import prod
from typing import Final

from passes.pipelines import pipeline
from staticgrad.analysis.binding import concrete_shape
from staticgrad.comparison.report import WorkRow
from staticgrad.comparison.ways import DefineThenRun
from staticgrad.ir.forms import Contract, Identity, Reduce, ReshapeForm, View
from staticgrad.ir.graph import Graph, Node
from staticgrad.pictures.numbers import nbytes, number
from staticgrad.types.tensor import TensorType

#: The passes of O1, one by one.
_PIPELINE: Final = "dce,simplify,cse,fold,dce"
#: Buffers of a plan that a step writes for itself or its caller.
_WRITTEN: Final = ("temp", "output", "scratch")


def work(step: DefineThenRun, size: int) -> tuple[WorkRow, ...]:
    """One line each: the joint graph as written, after each pass that changed it, as kernels."""
    graph = step.graph
    sizes = step.sizes(size)
    found = [_of_graph("written out, node by node", graph, sizes)]
    for each in pipeline(_PIPELINE).passes:
        after = each(graph)
        line = _of_graph(f"after {each}", after, sizes)
        if _shown(line) != _shown(found[-1]):
            found.append(line)
        graph = after
    plan = step.compiled.plan(**sizes)
    size_of = dict(plan.buffer_bytes)
    written = [b.name for b in plan.schedule.buffers if b.role in _WRITTEN]
    flops = found[-1].flops
    total = sum(size_of[name] for name in written)
    return (*found, WorkRow("fused into kernels", len(plan.steps), total, flops))


def _shown(work: WorkRow) -> tuple[int, str, str]:
    """The figures as tables have them."""
    return work.operations, nbytes(work.nbytes), number(work.flops)


def _of_graph(name: str, graph: Graph, sizes: dict[str, int]) -> WorkRow:
    nodes = [node for node in graph.nodes if not node.is_leaf]
    moved = [n for n in nodes if not isinstance(n.form, View | ReshapeForm | Identity)]
    return WorkRow(
        name,
        len(nodes),
        sum(_elements(t, sizes) * t.dtype.itemsize for node in moved for t in node.types),
        sum(_flops(node, sizes) for node in moved),
    )


def _flops(node: Node, sizes: dict[str, int]) -> int:
    form = node.form
    if isinstance(form, Contract):
        left = concrete_shape(node.args[0].type.shape, sizes)
        inner = left[-2 if form.transpose_a else -1]
        return 2 * inner * _elements(node.types[0], sizes)
    counted = node.args[0].type if isinstance(form, Reduce) else node.types[0]
    return node.op.flops * _elements(counted, sizes)


def _elements(kind: TensorType, sizes: dict[str, int]) -> int:
    return prod(concrete_shape(kind.shape, sizes))
