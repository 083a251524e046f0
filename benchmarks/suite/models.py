"""Twelve whole models, trained by one step each, beside JAX and PyTorch, eager and compiled.

They are rows like those of the suite, with its options; ``workloads/models.py`` has the models.
"""

from __future__ import annotations

from benchmarks.harness.builders import Builders, of_workloads
from benchmarks.suite import suite
from benchmarks.workloads import all_workloads


def builders() -> Builders:
    """Return what builds the models."""
    return of_workloads(all_workloads("models"))


def main() -> int:
    """Run the suite with the models."""
    return suite.main("models")
