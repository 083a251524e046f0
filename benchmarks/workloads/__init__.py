"""The workloads: every module here has ``WORKLOADS``; a new one is found without being listed."""

from __future__ import annotations

import sys

from benchmarks.harness.registry import read_lists
from benchmarks.harness.workload import Workload


def all_workloads(group: str = "suite") -> dict[str, Workload]:
    """The workloads of a group by name; of all groups for ""."""
    every = read_lists(sys.modules[__name__], "WORKLOADS")
    return {workload.name: workload for workload in every if group in ("", workload.group)}
