"""The workloads: every module here has ``WORKLOADS``; a new one is found without being listed."""

from __future__ import annotations

import sys

from benchmarks import listed
from benchmarks.workload import Workload


def all_workloads() -> dict[str, Workload]:
    """Every workload by name."""
    return {each.name: each for each in listed(sys.modules[__name__], "WORKLOADS")}
