"""Whole models of published families, a training step each, beside PyTorch and JAX.

    python -m benchmarks zoo --into two.json --markdown > zoo.md
    python -m benchmarks zoo --threads 1 --into one.json --only resnet50 bert_base
    python -m benchmarks zoo --impl staticgrad torch torch.compile --into inductor.json
    python -m benchmarks zoo --rounds 0 --into two.json --markdown

A step is the loss, its gradients, and AdamW or SGD with momentum, with which the family was
published. Models are written once (``benchmarks/peers/families``). Each library's loss and
gradients must agree with PyTorch in float64 before anything is timed, and its parameters with the
optimizer's formula. Libraries take turns in one process; the least time counts. A run may be
stopped: ``--into`` stores each model when it is done, and ``--only`` names the models to measure.
"""

from __future__ import annotations

from typing import Final

from benchmarks.harness.builders import Builders, of_workloads
from benchmarks.peers import programs
from benchmarks.peers.families import zoo

ZOO: Final = programs.Collection(
    "zoo", "Whole models of published families", "a training step", __doc__, zoo,
    reference="torch", rounds=1, seconds=1.5,
)  # fmt: skip


def builders() -> Builders:
    """Return what builds the models."""
    return of_workloads(zoo())


def main() -> int:
    """Measure the models."""
    return programs.main(ZOO)
