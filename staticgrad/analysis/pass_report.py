"""The effect of one pass on a program: nodes, bytes, rules. Counts only, hence reproducible.

Seconds stand beside the counts and in no text or JSON made of them. The pipeline makes the reports,
``explain`` shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import field, replace
from math import prod
from typing import Any

from staticgrad.language.ir.graph import Graph
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size, evaluate
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass


@dataclass(frozen=True, eq=False)
class Report:
    """One pass: its name, the programs before and after it, the same object if nothing changed.

    ``hits`` counts how often each rule of the pass applied, ``seconds`` is wall time. Nodes and
    bytes are counted at first use, bytes at ``sizes`` or, without any, at the hints of the
    named sizes. ``inside``: the part of the program that the pass changed, if not all of it.
    ``misses``: a line for each rule from outside that never applied, with the reason.
    ``note``: what a reader of results has to know.
    Reports of equal counts are equal.
    """

    name: str
    before: Any = field(repr=False)
    after: Any = field(repr=False)
    hits: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    sizes: Mapping[str, int] = field(default_factory=dict)
    inside: str = ""
    misses: tuple[str, ...] = ()
    note: str = ""

    def at(self, sizes: Mapping[str, int]) -> Report:
        """The report with its bytes at these values of the named sizes."""
        return replace(self, sizes=sizes)

    @property
    def changed(self) -> bool:
        return self.after is not self.before

    @property
    def nodes_before(self) -> int:
        return count_nodes(self.before)

    @property
    def nodes_after(self) -> int:
        return count_nodes(self.after)

    @cached_property
    def bytes_before(self) -> int:
        """``value_bytes`` of the program that the pass was given."""
        return value_bytes(self.before, self.sizes)

    @cached_property
    def bytes_after(self) -> int:
        """``value_bytes`` of what it made."""
        return value_bytes(self.after, self.sizes) if self.changed else self.bytes_before

    @property
    def summary(self) -> str:
        """The pass's name with its counts of nodes and bytes, without rules."""
        name = f"{self.name} in {self.inside}" if self.inside else self.name
        if not self.changed:
            return f"{name}: unchanged"
        return (
            f"{name}: {self.nodes_before} -> {self.nodes_after} nodes,"
            f" {self.bytes_before} -> {self.bytes_after} bytes"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Report) and self.as_json() == other.as_json()

    def __hash__(self) -> int:
        return hash((self.name, self.nodes_before, self.nodes_after))

    def __str__(self) -> str:
        return self.summary + "".join(f", {name} {count}x" for name, count in self.hits.items())

    def as_json(self) -> dict[str, Any]:
        """Return a pass's counts for JSON."""
        return {
            "name": self.name,
            "inside": self.inside,
            "nodes_before": self.nodes_before,
            "nodes_after": self.nodes_after,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "changed": self.changed,
            "rules": dict(self.hits),
            "misses": [*self.misses],
            "note": self.note,
        }


def count_nodes(program: Any) -> int:
    """Nodes of a graph, steps of what comes after it."""
    return len(program.nodes) if isinstance(program, Graph) else len(program.steps)


def value_bytes(program: Any, sizes: Mapping[str, int] | None = None) -> int:
    """Sum the bytes of all values that a graph computes, each stored once.

    Leaves are not computed. Fusion stores far fewer, which is why this measures passes and no
    program. Of a schedule it is the bytes of the buffers that live in the arena. Linear.
    """

    def value(size: Size) -> int:
        return evaluate(size, sizes) if sizes else hint_value(size)

    if isinstance(program, Graph):
        kinds = Counter(kind for node in program.nodes if not node.is_leaf for kind in node.types)
        return sum(
            count * prod(map(value, kind.shape)) * kind.dtype.itemsize
            for kind, count in kinds.items()
        )
    return sum(value(buffer.nbytes) for buffer in program.buffers if buffer.in_arena)
