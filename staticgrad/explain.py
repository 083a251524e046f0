"""What the compiler did with a graph, as sections: passes, kernels, memory. Text and JSON.

A section is data that was counted or decided, never timed, so that two explanations of one program
are equal and a difference is a difference of the program. Who makes the sections is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from staticgrad.analysis.plan_report import memory_table
from staticgrad.ir.plan import Plan

#: Counts up when a field of the JSON document changes its meaning or goes.
SCHEMA = 1


@dataclass(frozen=True)
class PassSection:
    """One pass: nodes before and after, and for a pass made of rules how often each applied."""

    name: str
    nodes_before: int
    nodes_after: int
    changed: bool
    rules: Mapping[str, int]

    def __str__(self) -> str:
        did = f"{self.nodes_before} -> {self.nodes_after} nodes" if self.changed else "unchanged"
        rules = "".join(f"\n      {count:4}x {name}" for name, count in self.rules.items())
        return f"  {self.name}: {did}{rules}"


@dataclass(frozen=True)
class StepSection:
    """One step: its kernel, the derivative order that it belongs to, what it computes and where."""

    kernel: str
    phase: int
    computes: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        order = f" ^{self.phase}" if self.phase else ""
        return f"{self.kernel}{order} {self.computes}  # {', '.join(self.lines)}"


@dataclass(frozen=True)
class Explanation:
    """All sections of one program; ``plan`` None where its sizes are open."""

    graph: str
    pipeline: str
    passes: tuple[PassSection, ...]
    steps: tuple[StepSection, ...]
    kernels: int
    open_sizes: tuple[str, ...]
    plan: Plan | None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.graph}: {len(self.steps)} steps, {self.kernels} kernels"
        yield f"passes: {self.pipeline or 'none'}"
        yield from map(str, self.passes)
        yield "steps:"
        for number, step in enumerate(self.steps):
            yield f"  {number:3} {step}"
        if self.plan is None:
            yield f"arena: depends on {', '.join(self.open_sizes)}"
        else:
            yield memory_table(self.plan)

    def as_json(self) -> dict[str, Any]:
        """The explanation as JSON has it; ``peak_bytes`` is None where sizes are open."""
        return {
            "schema": SCHEMA,
            "graph": self.graph,
            "pipeline": self.pipeline,
            "passes": [asdict(each) for each in self.passes],
            "steps": [asdict(each) for each in self.steps],
            "kernels": self.kernels,
            "sizes": None if self.plan is None else dict(self.plan.sizes),
            "peak_bytes": None if self.plan is None else self.plan.peak_bytes,
        }
