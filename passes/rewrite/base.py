"""Passes made of tables of rules: options, disabling by name, and counting of hits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from passes.base import Pass, Watch
from passes.rewrite.driver import rewrite
from passes.rewrite.misses import describe_misses
from passes.rewrite.rule import Rule, rules_of, table
from passes.rewrite.spelling import spellings
from staticgrad.errors import PipelineError
from staticgrad.language.ir.graph import Graph


class Rewrite(Pass):
    """A pass that applies ``rules`` until none applies.

    ``later``: op -> the module whose ``RULES`` join those of the pass where a graph has that op.
    Few graphs have, and the module loads the ops that its rules are about.

    Options:
        without: names of rules to leave out.
        limit: stop after so many rewrites; -1 for no limit.
    """

    rules: ClassVar[tuple[Rule, ...]] = ()
    later: ClassVar[Mapping[str, str]] = {}

    without: tuple[str, ...] = ()
    limit: int = -1

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            PipelineError: a rule to leave out that there is not.
        """
        unknown = sorted(set(self.without) - set(table(self.rules)))
        if unknown:
            unknown = sorted({*unknown} - set(table(rules_of(self.later, self.later))))
        if unknown:
            raise PipelineError(f"pass {self.name!r} has no rule {', '.join(map(repr, unknown))}")

    @property
    def is_from_outside(self) -> bool:
        """Return whether the pass was written by a user of this package.

        Its rules are tried in all spellings of their patterns, and those that never apply are
        reported.
        """
        return not type(self).__module__.startswith("passes.")

    def describe_misses(self, program: Any, hits: Mapping[str, int]) -> tuple[str, ...]:
        """Return a line for each rule from outside that never applied."""
        if not self.is_from_outside or not isinstance(program, Graph):
            return ()
        rules = [rule for rule in self.rules if rule.name not in {*hits, *self.without}]
        return describe_misses(rules, program) if rules else ()

    def apply(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Return the rewritten graph, and how often each rule applied."""
        names = {node.op.name for node in program.nodes} if self.later else ()
        rules = (*self.rules, *rules_of(names, self.later))
        chosen = [rule for rule in rules if rule.name not in self.without]
        if self.is_from_outside:
            chosen = [spelling for rule in chosen for spelling in spellings(rule)]
        limit = None if self.limit < 0 else self.limit
        return rewrite(program, chosen, limit=limit, watch=watch)
