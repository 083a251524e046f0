"""The driver: every node once, operands first, rules until none applies; near-linear.

Operands are in their final form before a node is looked at, and what a rule builds is looked at
before whatever reads it: one walk reaches the fixpoint of rules that look downwards. New nodes
stand at the line and in the derivative order of what they replace. Nothing recurses over the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from passes.rewrite.matching import Index, Match
from passes.rewrite.rule import Rule
from passes.rewrite.terms import Term, filled
from staticgrad.errors import PipelineError, StaticgradError
from staticgrad.ir.graph import (
    Graph,
    Node,
    Symbolic,
    ancestors,
    building_order,
    constant,
    rebuild,
)
from staticgrad.ir.types import TensorType
from staticgrad.ir.value import FUNCTIONS
from staticgrad.source import attribute_to

#: Rewrites for one node of the input, all that follows from it included, before a cycle is assumed.
_PATIENCE: Final = 500
Key = tuple[Node, int]


@dataclass(frozen=True)
class Rewriting:
    """One rewrite that happened: the rule, the value that went, the value that came."""

    rule: Rule
    before: Symbolic
    after: Symbolic

    def __str__(self) -> str:
        where = self.before.node.origin.labelled
        return f"{where}: {self.rule} ({self.rule.kind})"


def rewrite(
    graph: Graph,
    rules: Sequence[Rule],
    *,
    limit: int | None = None,
    watch: Callable[[Rewriting], object] | None = None,
) -> tuple[Graph, Mapping[str, int]]:
    """``graph`` with ``rules`` applied until none applies, and how often each one did.

    Args:
        graph: what to rewrite; it stays as it is.
        rules: in order of preference.
        limit: stop after so many rewrites, to find the one that breaks something.
        watch: told of each rewrite as it happens.

    Returns:
        The same object if nothing applied.

    Raises:
        PipelineError: a rule whose replacement has another type, or that raises; rules that undo
            each other.
    """
    driver = _Driver(_index(tuple(rules)), limit, watch)
    return driver.run(graph), driver.hits


@lru_cache(maxsize=64)
def _index(rules: tuple[Rule, ...]) -> Index:
    """The index of a table, made once: a pipeline runs the same tables again and again."""
    return Index(rules)


class _Driver:
    def __init__(
        self, index: Index, limit: int | None, watch: Callable[[Rewriting], object] | None
    ) -> None:
        self._index, self._limit, self._watch = index, limit, watch
        self.hits: Counter[str] = Counter()
        self._new: dict[Key, Symbolic] = {}
        self._done: dict[Node, None] = {}
        self._reads: Counter[Key] = Counter()
        self._patience = 0
        self._recent: list[str] = []

    def run(self, graph: Graph) -> Graph:
        self._reads.update(value.key for value in graph.roots)
        self._reads.update(arg.key for node in graph.nodes for arg in node.args)
        for node in graph.nodes:
            self._patience = _PATIENCE
            self._settle(node)
        if not self.hits:
            return graph
        final = {value.key: self._final(value) for value in graph.roots}
        kept = [*final.values(), *graph.inputs, *graph.parameters]
        needed = set(ancestors(kept))
        return graph.with_nodes([node for node in self._done if node in needed], final)

    def _settle(self, first: Node) -> None:
        """Bring a node into its final form, and everything that rules build on the way."""
        pending: list[Node | tuple[Node, Symbolic]] = [first]
        while pending:
            task = pending.pop()
            if isinstance(task, tuple):  # what replaces the node is in its final form now
                node, after = task
                self._new[(node, 0)] = self._final(after)
                continue
            node = self._over_final_operands(task)
            if node in self._done:
                continue
            rewriting = self._rewritten(node)
            if rewriting is None:
                self._done[node] = None
                continue
            pending.append((node, rewriting.after))
            pending.extend(reversed(self._fresh(rewriting.after)))

    def _final(self, value: Symbolic) -> Symbolic:
        """What stands for ``value`` by now; the steps on the way are shortened."""
        passed = []
        while (after := self._new.get(value.key)) is not None:
            passed.append(value.key)
            value = after
        for key in passed[:-1]:
            self._new[key] = value
        return value

    def _over_final_operands(self, node: Node) -> Node:
        args = tuple(map(self._final, node.args))
        if all(new.key == old.key for new, old in zip(args, node.args, strict=True)):
            return node
        rebuilt = rebuild(node, args)
        for index, result in enumerate(rebuilt.values):
            self._new[(node, index)] = result
            self._reads[result.key] = self._reads[(node, index)]
        return rebuilt

    def _readers(self, value: Symbolic) -> int:
        """How often the input reads a value; what rules have made is read once."""
        return self._reads.get(value.key, 1)

    def _fresh(self, value: Symbolic) -> list[Node]:
        """The nodes below ``value`` that have not been looked at, operands first."""
        found = ancestors([value], stop=self._done)
        return sorted(found, key=lambda node: node.serial)

    def _rewritten(self, node: Node) -> Rewriting | None:
        if self._limit is not None and self.hits.total() >= self._limit:
            return None
        before = Symbolic(node)
        for rule, match in self._index.matches(before, self._readers):
            after = _replacement(rule, match)
            if after is None or after.key == before.key:
                continue
            self._count(rule, node)
            rewriting = Rewriting(rule, before, after)
            if self._watch is not None:
                self._watch(rewriting)
            return rewriting
        return None

    def _count(self, rule: Rule, node: Node) -> None:
        self.hits[rule.name] += 1
        self._patience -= 1
        if self._patience < 6:
            self._recent.append(rule.name)
        if self._patience < 0:
            cycle = ", ".join(dict.fromkeys(self._recent))
            raise PipelineError(f"rules rewrite {node} without end: {cycle}", at=node.origin)


def _replacement(rule: Rule, match: Match) -> Symbolic | None:
    """What the rule puts in the place of the match, of the same type; None: it does not apply."""
    node = match.root.node
    try:
        with attribute_to(node.origin), building_order(node.order):
            right = rule.replacement
            built = filled(right, match) if isinstance(right, Term | float | int) else right(match)
            if built is None:
                return None
            return _fitted(rule, match.root.type, built)
    except StaticgradError as error:
        error.add_note(f"in rule {rule}")
        raise


def _fitted(rule: Rule, wanted: TensorType, built: Any) -> Symbolic:
    """``built``, a value or a number, as a value of exactly the type ``wanted``."""
    if isinstance(built, bool | int | float):
        built = constant(wanted.dtype.numpy.type(built))
    refused = PipelineError(f"rule {rule.name!r} puts {built!r} in the place of {wanted}")
    if not isinstance(built, Symbolic) or built.dtype != wanted.dtype:
        raise refused
    if built.shape != wanted.shape:
        try:
            built = FUNCTIONS["broadcast_to"](built, wanted.shape)
        except StaticgradError:
            raise refused from None
    return built  # type: ignore[no-any-return]
