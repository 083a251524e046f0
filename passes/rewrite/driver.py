"""The driver: visits every node once, operands first, and applies rules to a fixpoint; near-linear.

Operands are in their final form before a node is visited, and nodes built by a rule are visited
before their readers: one walk reaches the fixpoint of rules that match downwards. New nodes have
the lines of all matched nodes, and the derivative order of the node that they replace. There is no
recursion over the graph.

Whether a rule applies at a node depends only on the node and its operands, which never change. If
none applies, the node is marked, and a later walk with the same rules, in another round or
pipeline, visits only new nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any, cast

import numpy as np

from passes.rewrite.matching import Index, matches, repeats_first
from passes.rewrite.rule import Match, Rule, Term, substitute
from staticgrad.errors import PipelineError, StaticgradError
from staticgrad.errors.wording import kind_of, quote
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.graph import (
    Constant,
    Graph,
    Node,
    Symbolic,
    ancestors,
    constant,
    reads_any,
)
from staticgrad.language.ops.movement import broadcast_to
from staticgrad.language.types.arrays import TensorType, convert_array
from staticgrad.support import fuses
from staticgrad.support.building import within
from staticgrad.support.deprecations import deprecated_attribute
from staticgrad.support.records import dataclass
from staticgrad.support.source import Location, merge_locations
from staticgrad.support.traversal import reach

Key = tuple[Node, int]


@dataclass(frozen=True)
class Rewriting:
    """A rewrite that was applied: the rule, the original value and its replacement.

    ``origin`` has the user's lines of all that the rule's pattern found.
    """

    rule: Rule
    original: Symbolic
    replacement: Symbolic
    origin: Location

    before = deprecated_attribute("0.2", "original")
    after = deprecated_attribute("0.2", "replacement")

    def __str__(self) -> str:
        return f"{self.origin.label}: {self.rule} ({self.rule.kind})"


def rewrite(
    graph: Graph,
    rules: Sequence[Rule],
    *,
    limit: int | None = None,
    watch: Callable[[Rewriting], object] | None = None,
) -> tuple[Graph, Mapping[str, int]]:
    """Apply rewrite rules to a graph until none applies; return it with counts by rule.

    Args:
        graph: the graph to rewrite; it is not changed.
        rules: in order of preference.
        limit: stop after so many rewrites, to find the one that breaks something.
        watch: called with each rewrite as it happens.

    Returns:
        The same object if nothing applied.

    Raises:
        PipelineError: a rule whose replacement has another type, or that raises; rules that undo
            each other.
    """
    driver = _Driver(_index(tuple(rules)), limit, watch)
    return driver.run(graph), driver.hits


@dataclass(frozen=True)
class Rewritten:
    """The result of ``rewrite_nodes``: ``value(v)`` is the replacement of v.

    ``touched`` are the nodes that rewrites replaced or looked through; ``hits`` counts by rule.
    """

    new: Mapping[Node, tuple[Symbolic, ...]]
    touched: Set[Node]
    hits: Mapping[str, int]

    def value(self, value: Symbolic) -> Symbolic:
        """Return the current replacement of ``value``."""
        while (results := self.new.get(value.node)) is not None:
            value = results[value.index]
        return value

    def keeps(self, value: Symbolic) -> bool:
        """Return True if a value, or its node rebuilt, still has readers after a rewrite."""
        while value.node not in self.touched:
            results = self.new.get(value.node)
            if results is None:
                return True
            value = results[value.index]
        return False


def rewrite_nodes(
    nodes: Sequence[Node],
    rules: Sequence[Rule],
    protected: Collection[Node] = (),
    beside: Sequence[Node] = (),
) -> Rewritten | None:
    """Rewrite some nodes of an unfinished graph by rules, operands first.

    Args:
        nodes: what to look at, operands before readers; what they read besides stays as it is.
        rules: in order of preference; none that asks how often a value is read.
        protected: nodes that no rule may replace or look through.
        beside: what no rule is tried at, and what reads, all the same, what stands for the nodes
            by now: else what it is computed of would be there twice.

    Returns:
        None if no rule applies anywhere.

    Raises:
        PipelineError: as ``rewrite``.
    """
    index = _index(tuple(rules))
    if all(node.normal & index.mark for node in nodes):
        return None
    driver = _Driver(index, None, None, protected)
    if beside:
        nodes = sorted((*nodes, *beside), key=lambda node: node.serial)
    driver.walk(nodes, frozenset(beside))
    return Rewritten(driver.new, driver.touched, driver.hits) if driver.hits else None


@lru_cache(maxsize=64)
def _index(rules: tuple[Rule, ...]) -> Index:
    """Return the index of a table, made once: a pipeline runs the same tables again and again."""
    return Index(rules)


class _Driver:
    def __init__(
        self,
        index: Index,
        limit: int | None,
        watch: Callable[[Rewriting], object] | None,
        protected: Collection[Node] = (),
    ) -> None:
        self._index, self._limit, self._watch, self._protected = index, limit, watch, protected
        self.hits: Counter[str] = Counter()
        #: Node that went -> its results by now.
        self.new: dict[Node, tuple[Symbolic, ...]] = {}
        self.touched: set[Node] = set()
        #: Nodes in their final form, and the numbers of patterns that they are throughout.
        self._done: dict[Node, None] = {}
        self._numbers: dict[Node, int] = {}
        #: By identity, types with the conditions of rules that they meet.
        self._conditions: dict[int, tuple[TensorType, int]] = {}
        self._reads = _Reads()
        self._patience = 0
        self._recent: list[str] = []

    def run(self, graph: Graph) -> Graph:
        """Rewrite all nodes of a graph, and return the graph of what its roots need."""
        if all(node.normal & self._index.mark for node in graph.nodes):
            return graph
        self._reads.graph = graph
        self.walk(graph.nodes)
        if not self.hits:
            return graph
        final = {value.key: self._final(value) for value in graph.roots}
        roots = [*final.values(), *graph.inputs, *graph.parameters]
        needed = set(ancestors(roots))
        return graph.with_nodes([node for node in self._done if node in needed], final)

    def walk(self, nodes: Iterable[Node], beside: Set[Node] = frozenset()) -> None:
        """Rewrite every node to its final form by the rules, except for those ``beside``.

        Operands come before their readers.
        """
        mark = self._index.mark
        for original in nodes:
            node = self._over_final_operands(original)
            if original in beside:
                self._finish(node)
            elif node.normal & mark or not self._candidates(node):
                node.normal |= mark
                self._finish(node)
            else:
                self._patience = fuses.NODE_REWRITES
                self._rewrite_to_final(node)

    def _rewrite_to_final(self, first: Node) -> None:
        """Rewrite a node to its final form, and all nodes that rules build on the way."""
        pending: list[Node | tuple[Node, Symbolic]] = [first]
        while pending:
            task = pending.pop()
            if isinstance(task, tuple):  # what replaces the node is in its final form now
                node, replacement = task
                self.new[node] = (self._final(replacement),)
                continue
            node = self._over_final_operands(task)
            if node in self._done:
                continue
            rewriting = self._rewrite_node(node)
            if rewriting is None:
                self._finish(node)
                continue
            pending.append((node, rewriting.replacement))
            pending.extend(reversed(self._fresh(rewriting)))

    def _finish(self, node: Node) -> None:
        """Record that no rule applies to a node any more."""
        self._done[node] = None
        if isinstance(node.op, Constant):
            numbers = self._index.numbers(Symbolic(node))
            if numbers:
                self._numbers[node] = numbers
        elif node.args and node.args[0].node in self._numbers and repeats_first(node):
            self._numbers[node] = self._numbers[node.args[0].node]

    def _final(self, value: Symbolic) -> Symbolic:
        """Return the final replacement of ``value``, with path compression."""
        passed = []
        while (results := self.new.get(value.node)) is not None:
            passed.append(value.node)
            value = results[value.index]
        for node in passed[:-1]:
            if len(node.types) == 1:
                self.new[node] = (value,)
        return value

    def _over_final_operands(self, node: Node) -> Node:
        if not reads_any(node, self.new):
            return node
        rebuilt = rebuild(node, tuple(map(self._final, node.args)))
        self.new[node] = rebuilt.values
        self._reads.same[rebuilt] = node
        return rebuilt

    def _fresh(self, rewriting: Rewriting) -> list[Node]:
        """Return the nodes that a rewrite built, operands first: those newer than the match."""
        newest = rewriting.original.node.serial

        def select_fresh(values: Iterable[Symbolic]) -> list[Node]:
            nodes = [value.node for value in values]
            return [n for n in nodes if n.serial > newest and n not in self._done]

        reached = reach(select_fresh([rewriting.replacement]), lambda node: select_fresh(node.args))
        return sorted(reached, key=lambda node: node.serial)

    def _candidates(self, node: Node) -> tuple[Rule, ...]:
        """Return the rules that may apply to a node, given the numbers of its operands."""
        conditions = 0
        for arg in node.args:
            kind = arg.node.types[arg.index]
            entry = self._conditions.get(id(kind))
            if entry is None:
                entry = self._conditions[id(kind)] = kind, self._index.conditions(kind)
            conditions |= entry[1]
            if arg.node not in self._done:
                self._done[arg.node] = None
                numbers = self._index.numbers(arg)
                if numbers:
                    self._numbers[arg.node] = numbers
        return self._index.candidates(node, self._numbers, conditions)

    def _rewrite_node(self, node: Node) -> Rewriting | None:
        """Apply the first rule that matches a node; mark the node if none can ever match."""
        if self._limit is not None and self.hits.total() >= self._limit:
            return None
        asked = self._reads.asked
        candidates = self._candidates(node)
        original = Symbolic(node)
        for rule, match in matches(candidates, original, self._reads) if candidates else ():
            if any(node in match.nodes for node in self._protected):
                self._reads.asked += 1  # what applies here depends on what is held
                continue
            origin = _origin(rule, match)
            replacement = _build_replacement(rule, match, origin)
            if replacement is None or replacement.key == original.key:
                continue
            self.hits[rule.name] += 1
            self._patience -= 1
            if self._patience < 6:  # the error names the last rules
                self._recent.append(rule.name)
            if self._patience < 0:
                cycle = ", ".join(dict.fromkeys(self._recent))
                raise PipelineError(f"rules rewrite {node} without end: {cycle}", at=node.origin)
            self.touched.update(match.nodes)
            rewriting = Rewriting(rule, original, replacement, origin)
            if self._watch is not None:
                self._watch(rewriting)
            return rewriting
        if self._reads.asked == asked:  # then nothing but the node itself has been looked at
            node.normal |= self._index.mark
        return None


class _Reads:
    """Counts of the readers of input values, on demand; values made by rules count as read once."""

    def __init__(self) -> None:
        self.graph: Graph
        #: Rebuilt node -> the one that it was.
        self.same: dict[Node, Node] = {}
        self.asked = 0
        self._counts: Counter[Key] | None = None

    def __call__(self, value: Symbolic) -> int:
        self.asked += 1
        if self._counts is None:
            self._counts = Counter(root.key for root in self.graph.roots)
            self._counts.update(arg.key for node in self.graph.nodes for arg in node.args)
        node = value.node
        while node in self.same:
            node = self.same[node]
        return self._counts.get((node, value.index), 1)


def _origin(rule: Rule, match: Match) -> Location:
    """Return the lines of every node that is replaced, first that of the value itself."""
    if not rule.is_deep:
        return match.root.node.origin
    return merge_locations([node.origin for node in match.nodes])


def _build_replacement(rule: Rule, match: Match, origin: Location) -> Symbolic | None:
    """Build a rule's replacement for a match, of the same type; None if it does not apply."""
    try:
        with within(origin, match.root.node.order):
            right = rule.replacement
            built = (
                substitute(right, match) if isinstance(right, Term | float | int) else right(match)
            )
            if built is None:
                return None
            return _fit_type(rule, match.root.type, built)
    except Exception as error:
        error.add_note(f"in rule {rule}")
        raise


def _fit_type(rule: Rule, expected: TensorType, built: Any) -> Symbolic:
    """Convert a rule's replacement, a value or a number, to the type ``expected``."""
    if isinstance(built, bool | int | float):
        try:
            with np.errstate(over="ignore"):  # a float that is an infinity in float32
                scalar = convert_array(np.asarray(built), expected.dtype)[()]
        except (OverflowError, ValueError):
            raise _type_error(rule, expected, built) from None
        if not expected.dtype.is_float and scalar != built:
            raise _type_error(rule, expected, built)
        built = constant(scalar)
    if not isinstance(built, Symbolic) or built.dtype is not expected.dtype:
        raise _type_error(rule, expected, built)
    if built.shape == expected.shape:
        return built
    try:
        return cast(Symbolic, broadcast_to(built, expected.shape))
    except StaticgradError:
        raise _type_error(rule, expected, built) from None


def _type_error(rule: Rule, expected: TensorType, built: object) -> PipelineError:
    what = str(built.type) if isinstance(built, Symbolic) else f"{kind_of(built)}, {quote(built)},"
    return PipelineError(f"rule {rule.name!r} puts {what} in the place of {expected}")
