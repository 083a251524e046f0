"""The invariants of a graph, one small function each.

They run between passes and on hand-made graphs. ``Graph(...)`` establishes them, ``Graph.of_parts``
does not check. A broken invariant is a VerifyError that shows the node as text and names the user's
line. Two things are no invariants: derivative orders may fall along edges (an update of order 0
reads gradients of order 1), and a node may be unused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from staticgrad.errors import StaticgradError, VerifyError
from staticgrad.language.ir.graph import BodyOp, Graph, Input, Node, ParameterLeaf, bodies_of
from staticgrad.language.ir.printer import node_text, value_names
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import (
    Named,
    Size,
    bounds,
    named_sizes,
)


def verify_graph(graph: Graph) -> None:
    """Check every invariant."""
    for check in CHECKS:
        check(graph)


def _fail(graph: Graph, node: Node | None, headline: str) -> NoReturn:
    if node is None:
        raise VerifyError(f"graph {graph.name!r}: {headline}")
    text = node_text(node, value_names(graph))
    raise VerifyError(f"graph {graph.name!r}: {headline}", details=[text], at=node.origin)


def nodes_are_listed_once(graph: Graph) -> None:
    """Check that no node occurs twice in a graph's ``nodes``."""
    if len(set(graph.nodes)) == len(graph.nodes):
        return
    seen: set[Node] = set()
    for node in graph.nodes:
        if node in seen:
            _fail(graph, node, "a node is listed twice")
        seen.add(node)


def operands_come_first(graph: Graph) -> None:
    """Check that every operand in a graph is a result of a node listed before its user."""
    seen: set[Node] = set()
    for node in graph.nodes:
        for arg in node.args:
            if arg.node not in seen or not 0 <= arg.index < len(arg.node.types):
                position = [operand is arg for operand in node.args].index(True)
                which = f"operand {position} of {node.op.name}"
                where = "is a result that does not exist"
                if arg.node not in seen:
                    listed = arg.node in set(graph.nodes)
                    where = "is listed after it" if listed else "belongs to no node of the graph"
                _fail(graph, node, f"{which} {where}")
        seen.add(node)


def types_are_inferred(graph: Graph) -> None:
    """Check that every node's result types are those that its op infers."""
    for node in graph.nodes:
        if node.verified:
            continue
        if not node.types:
            _fail(graph, node, f"{node.op.name} has no result")
        try:
            inferred = node.op.infer(*[arg.type for arg in node.args])
        except (StaticgradError, TypeError, ValueError, IndexError) as error:
            reason = getattr(error, "headline", error)
            _fail(graph, node, f"{node.op.name} refuses its operands: {reason}")
        types = (inferred,) if isinstance(inferred, TensorType) else inferred
        if types != node.types:
            inferred_text = ", ".join(map(str, types))
            _fail(graph, node, f"{node.op.name} gives {inferred_text}, the node says otherwise")
        node.verified = True


def _extents(graph: Graph) -> Iterator[tuple[Node, TensorType, Size]]:
    """Collect every size of an axis in a graph, with the node and type that have it first."""
    seen: set[Size] = set()
    seen_shapes: set[int] = set()  # shapes by identity: most are those of an operand
    for node in graph.nodes:
        for tensor_type in node.types:
            if id(tensor_type.shape) in seen_shapes:
                continue
            seen_shapes.add(id(tensor_type.shape))
            for extent in tensor_type.shape:
                if extent not in seen:
                    seen.add(extent)
                    yield node, tensor_type, extent


def sizes_are_possible(graph: Graph) -> None:
    """Check that no axis has a size that is negative for all values of the names."""
    for node, tensor_type, extent in _extents(graph):
        high = extent if isinstance(extent, int) else bounds(extent)[1]
        if high is not None and high < 0:
            _fail(graph, node, f"an axis of {tensor_type} has a negative size")


def size_names_agree(graph: Graph) -> None:
    """Check that a named size has the same bounds wherever it occurs in a graph."""
    declared: dict[str, Named] = {}
    for node, _, extent in _extents(graph):
        for named in named_sizes(extent):
            if declared.setdefault(named.name, named) != named:
                wrong = f"size {named.name!r} is declared twice, with different bounds"
                _fail(graph, node, wrong)


def leaves_are_listed(graph: Graph) -> None:
    """Check that a graph's ``inputs`` and ``parameters`` list exactly its leaf nodes, each once."""
    for kind, values in ((Input, graph.inputs), (ParameterLeaf, graph.parameters)):
        listed = Counter(value.node for value in values)
        leaves = dict.fromkeys(node for node in graph.nodes if isinstance(node.op, kind))
        for node in leaves:
            if listed[node] != 1:
                times = f"listed {listed[node]} times among the {node.op.name}s"
                _fail(graph, node, f"the {node.op.name} is {times}")
        for node in listed:
            if node not in leaves:
                wrong = f"an {node.op.name} is listed that is no such node of the graph"
                _fail(graph, node, wrong)


def leaf_names_are_unique(graph: Graph) -> None:
    """Check that no two inputs and no two parameters of a graph share a name."""
    for values in (graph.inputs, graph.parameters):
        seen: set[str] = set()
        for value in values:
            label = value.node.label
            if label in seen:
                _fail(graph, value.node, f"two are called {label!r}")
            seen.add(label)


def roots_belong_to_the_graph(graph: Graph) -> None:
    """Check that a graph has outputs or updates, each a result of one of its nodes."""
    if not graph.outputs and not graph.updates:
        _fail(graph, None, "there is no output and no update")
    nodes = set(graph.nodes)
    labelled = [(f"output {label!r}", value) for label, value in graph.outputs.items()]
    labelled += [(f"the update of {parameter.name!r}", value) for parameter, value in graph.updates]
    for what, value in labelled:
        if value.node not in nodes or not 0 <= value.index < len(value.node.types):
            _fail(graph, value.node, f"{what} belongs to no node of the graph")


def updates_fit(graph: Graph) -> None:
    """Check that every update of a graph replaces a listed parameter, once, by its type."""
    listed = {value.node for value in graph.parameters}
    seen: set[Node] = set()
    for parameter, value in graph.updates:
        if parameter.node not in listed:
            _fail(graph, parameter.node, "an update replaces no parameter of the graph")
        if parameter.node in seen:
            _fail(graph, parameter.node, f"parameter {parameter.name!r} is updated twice")
        if parameter.type != value.type:
            wrong = f"the update of {parameter.name!r} is {value.type}, not {parameter.type}"
            _fail(graph, value.node, wrong)
        seen.add(parameter.node)


def bodies_are_closed(graph: Graph) -> None:
    """Check that body graphs of loops and branches are valid, and use no parameters."""
    for node in graph.nodes if graph.has(BodyOp) else ():
        for body in bodies_of(node):
            if body.parameters or body.updates:
                _fail(graph, node, f"a body of {node.op.name} has parameters or updates")
            if "verified" not in body.analyses:
                verify_graph(body)
                body.analyses["verified"] = True


def orders_are_counts(graph: Graph) -> None:
    """A derivative order is a non-negative integer."""
    for node in graph.nodes:
        if node.order < 0:
            _fail(graph, node, f"{node.order!r} is not a derivative order")


#: Every invariant, in an order in which each may rely on those before it.
CHECKS: Final[tuple[Callable[[Graph], None], ...]] = (
    nodes_are_listed_once,
    operands_come_first,
    types_are_inferred,
    sizes_are_possible,
    size_names_agree,
    leaves_are_listed,
    leaf_names_are_unique,
    roots_belong_to_the_graph,
    updates_fit,
    orders_are_counts,
    bodies_are_closed,
)
