"""The work of one step, counted: operations, bytes of their results, FLOPs."""

from __future__ import annotations

from typing import Final

from passes.pipelines import pipeline
from staticgrad.analysis.work import work_of
from staticgrad.comparison.report import WRITTEN, WorkRow
from staticgrad.comparison.ways import DefineThenRun
from staticgrad.errors.wording import listed
from staticgrad.ir.graph import Graph
from staticgrad.pictures.markup import nbytes, number

#: The passes of O1, one by one.
_PIPELINE: Final = "dce,simplify,cse,fold,dce"
#: Buffers of a plan that a step writes for itself or its caller.
_WRITTEN: Final = ("temp", "output", "scratch")


def work(step: DefineThenRun, size: int) -> tuple[WorkRow, ...]:
    """One line each: the joint graph as written, after each pass that changed it, as kernels."""
    graph = step.graph
    sizes = step.sizes(size)
    found = [_of_graph(WRITTEN, graph, sizes)]
    dead = step.compiled.explanation(before=False, **sizes).dead
    if dead is not None and dead.unread is not None and dead.before is not None:
        spared, built = dead.unread.spared, dead.before
        found.insert(0, WorkRow(
            f"with gradients of {listed(dead.unread.of)}", built.operations + spared.operations,
            built.nbytes + spared.nbytes, built.flops + spared.flops,
        ))  # fmt: skip
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
    found = work_of(graph.nodes, sizes)
    return WorkRow(name, found.operations, found.nbytes, found.flops)
