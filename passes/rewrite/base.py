"""Passes made of tables of rules: options, disabling by name, and counting of hits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from passes.base import Pass, Watch
from passes.rewrite.driver import rewrite
from passes.rewrite.rule import Rule, table
from staticgrad.errors import PipelineError
from staticgrad.ir.graph import Graph


class Rewrite(Pass):
    """A pass that applies ``rules`` until none applies.

    Options:
        without: names of rules to leave out.
        limit: stop after so many rewrites; -1 for no limit.
    """

    rules: ClassVar[tuple[Rule, ...]] = ()

    without: tuple[str, ...] = ()
    limit: int = -1

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            PipelineError: a rule to leave out that there is not.
        """
        unknown = sorted(set(self.without) - set(table(self.rules)))
        if unknown:
            raise PipelineError(f"pass {self.name!r} has no rule {', '.join(map(repr, unknown))}")

    def __call__(self, graph: Graph) -> Graph:
        """The rewritten graph."""
        return self.traced(graph)[0]

    def traced(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """The rewritten graph, and how often each rule applied."""
        chosen = [each for each in self.rules if each.name not in self.without]
        limit = None if self.limit < 0 else self.limit
        return rewrite(program, chosen, limit=limit, watch=watch)
