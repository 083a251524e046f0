"""Twelve whole models, trained by one step each, beside JAX and PyTorch, eager and compiled.

They are rows like those of the suite, with its options; ``workloads/models.py`` has the models.
"""

from __future__ import annotations

from benchmarks.suite import suite


def main() -> int:
    """Run the suite with the models."""
    return suite.main("models")
