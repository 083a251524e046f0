"""The walk back that differentiates: one, over the nodes of a graph and over those of a tape.

Nodes come readers before producers, so that the cotangents of a node's results are complete when
the node is reached; it hands a share to each operand. What is added up is a cotangent of
``ops/cotangent.py``, and shares come in a fixed order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from staticgrad.language.ops.cotangent import add_cotangents, widen_cotangent

Node = TypeVar("Node")
#: What names a value on the way: of a graph a node and an index, of a tape an edge.
Key = TypeVar("Key")


class Sweep(ABC, Generic[Node, Key]):
    """One reverse sweep: pending cotangents by value, and the complete ones that were requested."""

    def __init__(self) -> None:
        self.pending: dict[Key, Any] = {}
        self.cotangents: dict[Key, Any] = {}

    @abstractmethod
    def results(self, node: Node) -> Iterable[Key | None]:
        """The results of a node; None for results that need no gradient."""

    @abstractmethod
    def operands(self, node: Node) -> Sequence[Key | None]:
        """The operands of a node; None for a constant."""

    @abstractmethod
    def needs_grad(self, key: Key | None) -> bool:
        """Return whether the cotangent of an operand leads to a requested one."""

    @abstractmethod
    def shares(self, node: Node, cts: Sequence[Any], needed: tuple[bool, ...]) -> Sequence[Any]:
        """A cotangent (or None) for each operand, given those of the results (None: unused)."""

    @abstractmethod
    def fitting(self, share: Any, key: Key, node: Node) -> Any:
        """``share`` with exactly the type of the operand."""

    @abstractmethod
    def take_cotangent(self, key: Key | None) -> Any:
        """Return the complete cotangent of a result; store it in ``cotangents`` if requested."""

    def through(self, seeds: Iterable[tuple[Key, Any]], nodes: Iterable[Node]) -> None:
        """Hand the cotangents of the outputs back through all nodes; at the leaves they wait."""
        for key, seed in seeds:
            self.add(key, seed)
        for node in nodes:
            self.visit(node)

    def visit(self, node: Node) -> None:
        """Take the cotangents of a node's results, and give its operands their shares."""
        cts = [self.take_cotangent(key) for key in self.results(node)]
        if any(ct is not None for ct in cts):
            self.hand_back(node, cts)

    def hand_back(self, node: Node, cts: Sequence[Any]) -> None:
        """Propagate a node's cotangents to its operands."""
        keys = self.operands(node)
        needed = tuple([self.needs_grad(key) for key in keys])
        if True not in needed:
            return
        for key, share, need in zip(keys, self.shares(node, cts, needed), needed, strict=True):
            if need and key is not None:
                if share is None:
                    self.note_blocked(key, node)
                else:
                    self.add(key, self.fitting(share, key, node))

    def note_blocked(self, key: Key, node: Node) -> None:
        """The rule of ``node`` gave no cotangent for an operand that needs one."""

    def add(self, key: Key, share: Any) -> None:
        """Accumulate a cotangent contribution to a value; narrow floats in their compute dtype."""
        pending = self.pending.get(key)
        self.pending[key] = (
            share
            if pending is None
            else add_cotangents([widen_cotangent(pending), widen_cotangent(share)])
        )
