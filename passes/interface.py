"""What no pass may touch: what a graph takes in, what it gives, and which parameters it writes.

Feeds are checked against the graph as its user wrote it, and kernels come from what the passes left
of it. Where the two differ, a kernel reads or writes beyond an array. So the interface is compared
after every pass that changed something; that is linear in the nodes, and no option turns it off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from staticgrad.errors import PassInterfaceError
from staticgrad.errors.wording import kind_of
from staticgrad.ir.graph import Graph, Parameter, Symbolic
from staticgrad.types.dim import Size, named_sizes


def check_kind(name: str, level: str, program: object) -> None:
    """Refuse what a pass gave where a Graph was due.

    Args:
        name: of the pass, for the message.
        level: what the pass says that it gives; only ``graph`` is known here.
        program: what it gave.

    Raises:
        PassInterfaceError: the level is ``graph``, and the program is none.
    """
    if level == "graph" and not isinstance(program, Graph):
        raise PassInterfaceError(
            f"pass {name} gives {kind_of(program)}, not a Graph",
            hint="a pass returns the graph that it was given where it changes nothing",
        )


def check_interface(name: str, before: Graph, after: Graph) -> None:
    """Refuse a pass that changed the interface of a graph.

    Inputs are compared by their nodes, in order; outputs by name, order and type; updates by
    parameter, order and type. Parameters and named sizes may go, and none may come.

    Raises:
        PassInterfaceError: the first difference, at the line of the value that differs.
    """
    if before is after:
        return
    for text, value in _differences(before, after):
        raise PassInterfaceError(
            f"pass {name} changes the graph's interface: {text}",
            hint="inputs, outputs, updates and their types stay as the program has them:\n"
            "build the result with graph.with_nodes or graph.replace_nodes",
            at=None if value is None else value.node.origin,
        )


def _differences(before: Graph, after: Graph) -> Iterator[tuple[str, Symbolic | None]]:
    """Each difference in words, with the value that it is about."""
    old, new = _labelled(before.inputs), _labelled(after.inputs)
    yield from _between("input", old, new)
    for name, value in old.items():
        if new[name].key != value.key:
            yield f"input {name!r} is another node of the same name", value
    yield from _between("output", before.outputs, after.outputs)
    old, new = _next_values(before), _next_values(after)
    yield from _between("update of parameter", old, new)
    if len(after.updates) != len(before.updates):
        yield "a parameter is updated twice", None
    known = {parameter.node for parameter in _parameters(before)}
    for parameter in _parameters(after):
        if parameter.node not in known:
            yield f"parameter {parameter.name!r} is not the program's", parameter
    yield from _in_sizes(before, after)


def _between(
    what: str, before: Mapping[str, Symbolic], after: Mapping[str, Symbolic]
) -> Iterator[tuple[str, Symbolic | None]]:
    """Names and types of one kind of value."""
    for name, value in before.items():
        if name not in after:
            yield f"{what} {name!r} is gone", value
        elif after[name].type != value.type:
            yield f"{what} {name!r} was {value.type}, and is {after[name].type}", value
    for name, value in after.items():
        if name not in before:
            yield f"{what} {name!r} is new", value
    if list(before) != list(after):
        yield f"the order of each {what} is another", None


def _labelled(values: Iterable[Symbolic]) -> dict[str, Symbolic]:
    return {value.node.label: value for value in values}


def _next_values(graph: Graph) -> dict[str, Symbolic]:
    return {parameter.name: value for parameter, value in graph.updates}


def _parameters(graph: Graph) -> list[Parameter]:
    return [*graph.parameters, *(parameter for parameter, _ in graph.updates)]


def _in_sizes(before: Graph, after: Graph) -> Iterator[tuple[str, Symbolic | None]]:
    """Named sizes that only new nodes speak of: no feed tells them."""
    old = set(before.nodes)
    seen: dict[int, Size] = {}  # by identity: few dims are shared by many types
    declared = [extent for value in before.inputs for extent in value.shape]
    known = {named.name: named for extent in declared for named in named_sizes(extent)}
    for node in after.nodes:
        if node in old:
            continue
        for kind in node.types:
            for extent in (*kind.shape, *node.op.sizes()):
                if isinstance(extent, int) or id(extent) in seen:
                    continue
                seen[id(extent)] = extent
                for named in named_sizes(extent):
                    if known.get(named.name) != named and before.sizes.get(named.name) != named:
                        yield f"size {named.name!r} is new", Symbolic(node)
