"""The workloads: every module here has ``WORKLOADS``; a new one is found without being listed."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from benchmarks.workload import Workload


def all_workloads() -> dict[str, Workload]:
    """Every workload by name."""
    found: dict[str, Workload] = {}
    for module in iter_modules(__path__):
        for workload in import_module(f"{__name__}.{module.name}").WORKLOADS:
            found[workload.name] = workload
    return found
