"""Count the nodes that a program does not need: what was never reached, and what passes dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from staticgrad.analysis.work import GraphWork, work_of
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import StaticgradError
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.records import dataclass


@dataclass(frozen=True)
class UnreadGradients:
    """Gradients that the loss has and nobody asked for, so that they were never built.

    ``of``: names of inputs and parameters. ``without``, ``having``: the work of the derivative as
    it is, and as it were with these gradients; ``forward``: the work of the loss itself.
    """

    of: tuple[str, ...]
    forward: GraphWork
    without: GraphWork
    having: GraphWork

    @property
    def spared(self) -> GraphWork:
        """The work that is not done."""
        one, other = self.having, self.without
        return GraphWork(
            one.operations - other.operations, one.nbytes - other.nbytes, one.flops - other.flops
        )

    def __str__(self) -> str:
        whole = self.forward.flops
        ratios = [f"{each.flops / max(whole, 1):.2f}" for each in (self.without, self.having)]
        return (
            f"gradients that nobody asks for: {', '.join(self.of)}. Backward takes {ratios[0]}"
            f" times the FLOPs of forward, with them {ratios[1]} times:"
            f" {self.spared.flops:,} FLOPs and {self.spared.nbytes:,} bytes of values less"
        )


@dataclass(frozen=True)
class NodeCounts:
    """Nodes of a program, counted.

    ``built``: from its first operation to its last, in the order of creation; ``reached``: those of
    them that an output or update depends on; ``left``: what the passes left of these. ``before``,
    ``after``: the work of what was reached, and of what was left; None where sizes are open.
    """

    built: int
    reached: int
    left: int
    before: GraphWork | None
    after: GraphWork | None
    unread: UnreadGradients | None

    def lines(self) -> Iterator[str]:
        """What ``explain`` says."""
        text = f"nodes: {self.built:,} built, {self.reached:,} reached from outputs and updates"
        text += f", {self.left:,} left by the passes"
        if self.before is not None and self.after is not None:
            text += f"; {self.before.nbytes:,} -> {self.after.nbytes:,} bytes of values"
            text += f", {self.before.flops:,} -> {self.after.flops:,} FLOPs"
        yield text
        if self.unread is not None:
            yield str(self.unread)


def dead_nodes(graph: Graph, after: Graph, sizes: Mapping[str, int] | None) -> NodeCounts:
    """Count the nodes of a graph, before and after the passes.

    Args:
        graph: as it was built.
        after: what the passes made of it.
        sizes: its named sizes; None where they are open.
    """
    roots = [*graph.outputs.values(), *(value for _, value in graph.updates)]
    live = reachable(roots)
    made = [node.serial for node in graph.nodes if not node.is_leaf]
    first, last = min(made, default=0), max(made, default=-1)
    inside = sum(first <= node.serial <= last for node in live)
    outside = len(live) - inside
    known = sizes is not None
    return NodeCounts(
        built=max(last - first + 1, inside) + outside,
        reached=len(live),
        left=len(after.nodes),
        before=work_of(live, sizes) if sizes is not None else None,
        after=work_of(after.nodes, sizes) if sizes is not None else None,
        unread=_unread(graph, live, sizes) if known and sizes is not None else None,
    )


def reachable(roots: list[Any]) -> set[Node]:
    """The nodes that some values depend on."""
    found: set[Node] = set()
    open_ = [value.node for value in roots]
    while open_:
        node = open_.pop()
        if node not in found:
            found.add(node)
            open_.extend(arg.node for arg in node.args)
    return found


def _unread(graph: Graph, live: set[Node], sizes: Mapping[str, int]) -> UnreadGradients | None:
    """The gradients of the loss that are not part of the graph.

    The loss is the one floating output of one element that is no derivative.
    """
    losses = [
        value for value in graph.outputs.values()
        if value.dtype.is_float and not value.shape and not value.node.order
    ]  # fmt: skip
    derived = [node for node in live if node.order]
    if len(losses) != 1 or not derived:
        return None
    forward = reachable(losses)
    leaves = [node for node in forward if node.is_leaf and node.label]
    wanted = {n.label: Symbolic(n) for n in leaves if n.types[0].dtype.is_float}
    try:
        slopes = grad(losses[0], wanted, allow_disconnected=True)
        numbers: dict[Any, int] = {}
        known = {*_numbered(live, numbers).values()}
        of_slopes = _numbered(reachable([*slopes.values()]), numbers)
        asked = [name for name, slope in slopes.items() if of_slopes[slope.node] in known]
        unread = tuple(sorted({*wanted} - {*asked}))
        if not unread or not asked:
            return None
        own = grad(losses[0], [wanted[name] for name in asked], allow_disconnected=True)
    except StaticgradError:  # an op without a rule on the way
        return None
    having = reachable([*slopes.values()]) - forward
    without = reachable(own) - forward
    return UnreadGradients(
        unread, work_of(forward, sizes), work_of(without, sizes), work_of(having, sizes)
    )


def _numbered(nodes: set[Node], numbers: dict[Any, int]) -> dict[Node, int]:
    """A number for each node, the same for nodes that compute the same."""
    found: dict[Node, int] = {}
    for node in sorted(nodes, key=lambda node: node.serial):
        args = tuple([(found[arg.node], arg.index) for arg in node.args])
        key = node if node.label else (node.op, args, node.types)
        found[node] = numbers.setdefault(key, len(numbers))
    return found
