"""Builders of the programs of a benchmark's tables, each a call that times nothing.

The module of a command has the function ``builders``, unless its tables have no programs of ours. A
test calls all of them: a table that names a parameter which is gone fails there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import staticgrad as sg
from benchmarks.harness.workload import Workload
from benchmarks.implementations.with_staticgrad import Staticgrad, graph_of

#: Program -> what builds its graph, or what is called for it.
Builders = Mapping[str, Callable[[], object]]


def build_workload(workload: Workload) -> sg.Graph:
    """Return the graph of a workload at its small sizes."""
    return graph_of(workload, workload.make(small=True), Staticgrad())


def of_workloads(workloads: Mapping[str, Workload]) -> Builders:
    """Return the builders of workloads."""
    return {name: partial(build_workload, workload) for name, workload in workloads.items()}
