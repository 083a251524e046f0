"""The compiled program of a comparison, taken apart: passes, kernels, plan, times."""

from __future__ import annotations

from collections.abc import Mapping

from staticgrad.comparison.model import Batch
from staticgrad.comparison.report import Anatomy, StepCost
from staticgrad.comparison.ways import DefineThenRun
from staticgrad.ir.graph import Graph
from staticgrad.reports.pictures import runners

_RUNS = 8


def anatomy(graph: Graph, way: DefineThenRun, batch: Batch, sizes: Mapping[str, int]) -> Anatomy:
    """Return the compiled form of a graph, and the time of its steps with a batch.

    Args:
        graph: as the user's lines built it.
        way: the same, compiled.
        batch: with which it runs.
        sizes: the named sizes of that batch.
    """
    compiled = way.compiled
    found = compiled.explanation(before=False, **sizes)
    timed = compiled.profile(batch, runs=_RUNS)
    steps = compiled.schedule.steps
    costs = tuple(
        StepCost(each.kernel, steps[each.step].phase, each.computes, each.lines, each.fastest)
        for each in timed.steps
    )
    names = [(section.kernel, step) for section, step in zip(found.steps, steps, strict=True)]
    plan = compiled.plan(**sizes)
    return Anatomy(
        graph=graph,
        reports=found.passes,
        runners=tuple(runners(names)),
        kernels=compiled.kernels,
        plan=plan,
        costs=costs,
        apart=tuple(dict.fromkeys(each.told for each in found.apart)),
    )
