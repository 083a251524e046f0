"""Graphs as text.

::

    staticgrad-ir 1
    size batch {min=1, hint=64}
    graph step(%x: f32[batch, 784]) params(@w: f32[784, 10]) {
      %0: f32[batch, 10] = matmul(%x, @w)   # train.py:8 [head]
      %1: f32[] ^1 = sum{axes=(0, 1)}(%0)   # train.py:9
      return loss = %1
    }

There is one canonical spelling, independent of ids, hashes and time. Inputs and parameters are in
the header only, and a graph read back has them first. Results are numbered in node order,
attributes come in field order without their defaults, ``^k`` is the derivative order, a comment is
the user's line. A ``complex`` value has real and imaginary parts along its last axis. A dead node
is printed like any other. ``parser`` reads the text back. Two graphs are the same if they have the
same nodes in the same order; ``same_graph`` compares them.

``text`` has what the documents of all text forms share, and the grammar of names, sizes and values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby, zip_longest
from typing import Any

import numpy.typing as npt

from staticgrad.errors import ArgumentError, OpDefinitionError
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.wording import kind_of
from staticgrad.language.ir.nodes import Node, Parameter, Symbolic
from staticgrad.language.ir.op import Constant, Input, Op, ParameterLeaf
from staticgrad.language.ir.text import (
    INLINE_ELEMENTS,
    array_text,
    comment,
    header_line,
    size_line,
    size_lines,
    value_text,
)
from staticgrad.language.types.arrays import ArrayData, TensorType
from staticgrad.language.types.dim import Dim, Named, named_sizes
from staticgrad.language.types.lexis import name_text, quote
from staticgrad.support.source import common_call, fold_labels

Names = Mapping[tuple[Node, int], str]


class GraphParts:
    """Nodes in topological order, with inputs, outputs and updates: what the text says.

    ``outputs`` maps names to values, ``updates`` pairs parameters with their next value; outputs
    and updates read the old values, all updates happen at once. ``complex_outputs`` names those
    that are complex: the last axis of their value has real and imaginary parts.
    """

    __slots__ = (
        "_digest", "complex_outputs", "inputs", "name", "nodes", "outputs", "parameters", "updates",
    )  # fmt: skip

    nodes: tuple[Node, ...]
    inputs: tuple[Symbolic, ...]
    parameters: tuple[Parameter, ...]
    outputs: dict[str, Symbolic]
    updates: tuple[tuple[Parameter, Symbolic], ...]
    name: str
    complex_outputs: frozenset[str]
    _digest: str | None

    @property
    def digest(self) -> str:
        """A hash of what the graph computes: equal for graphs that ``same_graph`` calls equal."""
        if self._digest is None:
            self._digest = digest_of(self)
        return self._digest

    @property
    def constants(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that the text names by digest: ``sg.parse(text, constants=...)``."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for node in self.nodes:
            for _, value in node.op.attributes():
                for data in _arrays_in(value):
                    if data.array.size > INLINE_ELEMENTS:
                        arrays.setdefault(data.digest, data.array)
        return arrays

    def __str__(self) -> str:
        return print_graph(self)

    def __repr__(self) -> str:
        return summary(self)


def print_graph(graph: GraphParts, *, comments: bool = True) -> str:
    """The canonical text; without ``comments`` nothing in it names the user's files."""
    lines = [header_line("ir"), *size_lines(sizes_of(graph)), *graph_lines(graph, comments)]
    return "\n".join(lines) + "\n"


def graph_lines(graph: GraphParts, comments: bool = True, orders: bool = True) -> list[str]:
    """Return the lines after the header: signature, nodes, roots."""
    names = value_names(graph)
    nodes = node_lines(graph, names, comments, orders)
    return [signature(graph), *nodes, *root_lines(graph, names), "}"]


def value_names(graph: GraphParts) -> dict[tuple[Node, int], str]:
    """Name every value of a printed graph, by (node, index): ``%x``, ``@w``, ``%0``."""
    names: dict[tuple[Node, int], str] = {}
    number = 0
    for node in graph.nodes:
        if isinstance(node.op, Input | ParameterLeaf):
            names[node, 0] = leaf_name(node)
            continue
        for index in range(len(node.types)):
            names[node, index] = f"%{number}"
            number += 1
    return names


def leaf_name(node: Node) -> str:
    """The name of an input (``%x``) or parameter (``@w``) node."""
    return ("@" if isinstance(node.op, ParameterLeaf) else "%") + name_text(node.label)


def sizes_of(graph: GraphParts) -> list[Named]:
    """Return every named size of a graph, in order of first appearance in its text."""
    sizes: dict[str, Named] = {}
    leaves = [value.node for value in (*graph.inputs, *graph.parameters)]
    for node in (*leaves, *(node for node in graph.nodes if not _is_header_leaf(node))):
        for named in _sizes_in(node.types):
            sizes.setdefault(named.name, named)
        for _, value in () if node.is_leaf else node.op.attributes():
            for named in _sizes_in(value):
                sizes.setdefault(named.name, named)
    return list(sizes.values())


def _sizes_in(value: object) -> Iterator[Named]:
    """Yield the named sizes in an op's attribute: dims, shapes, types, bodies."""
    if isinstance(value, Dim):
        yield from named_sizes(value)
    elif isinstance(value, TensorType):
        yield from _sizes_in(value.shape)
    elif isinstance(value, GraphParts):
        yield from sizes_of(value)
    elif isinstance(value, tuple):
        for part in value:
            if not isinstance(part, int):
                yield from _sizes_in(part)


def signature(graph: GraphParts) -> str:
    """The line that opens a graph: its name, inputs and parameters."""
    text = f"graph {name_text(graph.name)}({_declarations(graph.inputs)})"
    if graph.parameters:
        text += f" params({_declarations(graph.parameters)})"
    return text + " {"


def _declarations(values: Iterable[Symbolic]) -> str:
    return ", ".join(map(_declaration, (value.node for value in values)))


def _declaration(node: Node) -> str:
    """An input or parameter with its type; ``complex``: the last axis has both parts."""
    op: Any = node.op
    is_complex = op.store.is_complex if isinstance(op, ParameterLeaf) else op.is_complex
    return f"{leaf_name(node)}: {node.types[0]}" + " complex" * is_complex


def node_lines(
    graph: GraphParts, names: Names, comments: bool = True, orders: bool = True
) -> list[str]:
    """Yield the printed lines of a graph's nodes, bodies included."""
    bodies = partial(body_text, comments=comments, orders=orders)
    return [
        f"  {node_text(node, names, orders=orders, bodies=bodies)}"
        + (comment([node.origin]) if comments else "")
        for node in graph.nodes
        if not _is_header_leaf(node)
    ]


def body_text(graph: GraphParts, *, comments: bool = False, orders: bool = False) -> str:
    """A graph as the attribute of a node."""
    return "\n".join(graph_lines(graph, comments, orders)).replace("\n", "\n  ")


def print_outline(graph: GraphParts) -> str:
    """The text without its header, in which the nodes of a called graph are one line.

    It does not read back. Nodes of a call that others come in between are several lines.
    """
    names = value_names(graph)
    roots = [*graph.outputs.values(), *(value for _, value in graph.updates)]
    read = {value.node for value in roots}
    nodes = [node for node in graph.nodes if not _is_header_leaf(node)]
    lines = [signature(graph)]
    readers: dict[tuple[Node, int], list[Node]] = {}
    for node in nodes:
        for arg in node.args:
            readers.setdefault(arg.key, []).append(node)
    keys = {node: (common_call([node.origin.label]), node.order) for node in nodes}
    for (call, order), members in groupby(nodes, key=keys.__getitem__):
        inside = dict.fromkeys(members)
        if not call or len(inside) == 1:
            lines += [
                f"  {node_text(node, names, bodies=body_text)}"
                f"   # {', '.join(fold_labels([node.origin.label]))}"
                for node in inside
            ]
            continue
        args = {arg.key: arg for node in inside for arg in node.args if arg.node not in inside}
        results = [
            value
            for node in inside
            for value in node.values
            if node in read or any(reader not in inside for reader in readers.get(value.key, ()))
        ]
        left = ", ".join(names[value.key] for value in results)
        types = ", ".join(str(value.type) for value in results)
        mark = f" ^{order}" if order else ""
        place, _, scope = call.removesuffix("]").partition(" [")
        name, _, number = scope.rpartition("()")
        operands = ", ".join(names.get(key, "%?") for key in args)
        lines.append(
            f"  {left}: {types}{mark} = {name}({operands})   # {place}{number}, {len(inside)} nodes"
        )
    return "\n".join([*lines, *root_lines(graph, names), "}"]) + "\n"


def _is_header_leaf(node: Node) -> bool:
    return isinstance(node.op, Input | ParameterLeaf)


def node_text(
    node: Node,
    names: Names,
    *,
    orders: bool = True,
    bodies: Callable[[GraphParts], str] | None = None,
) -> str:
    """Print a node: ``%7: f32[784, 10] ^1 = matmul{transpose_a}(%x, %6)``; unnamed values are
    ``%?``.

    ``bodies`` writes the graphs of an op that has some; without it they are left out, for messages.
    """
    results = ", ".join(names.get((node, index), "%?") for index in range(len(node.types)))
    types = ", ".join(map(str, node.types))
    order = f" ^{node.order}" if node.order and orders else ""
    args = ", ".join([names.get((arg.node, arg.index), "%?") for arg in node.args])
    op = op_text(node.op, bodies)
    return f"{results}: {types}{order} = {op}{f'({args})' if args else ''}"


def op_text(op: Op, bodies: Callable[[GraphParts], str] | None = None) -> str:
    """Print an op with its attributes: ``sum{axes=(0,)}``."""
    if isinstance(op, Input | ParameterLeaf):  # in the header of a text, here in messages only
        return op.name
    if isinstance(op, Constant):
        inline = op.data.array.size <= INLINE_ELEMENTS
        data = f"value={array_text(op.data)}" if inline else f"digest={quote(op.data.digest)}"
        return f"constant{{{data}}}"
    try:
        written = partial(_attribute_text, bodies=bodies)
        attributes = [
            name if value is True else f"{name}={written(value)}" for name, value in op.attributes()
        ]
    except TypeError as error:
        raise OpDefinitionError(
            f"{op.name}: {error}", hint="an op's attributes are immutable plain data"
        ) from None
    name = name_text(op.name)
    return f"{name}{{{', '.join(attributes)}}}" if attributes else name


def _attribute_text(value: object, bodies: Callable[[GraphParts], str] | None) -> str:
    if isinstance(value, GraphParts):
        return bodies(value) if bodies else f"graph {name_text(value.name)}"
    if isinstance(value, tuple) and any(isinstance(part, GraphParts) for part in value):
        inner = ", ".join(_attribute_text(part, bodies) for part in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return value_text(value)


def root_lines(graph: GraphParts, names: Names) -> list[str]:
    """Print a graph's last lines: ``return`` with its outputs, one ``update`` per parameter."""
    returned = ", ".join(
        f"{name_text(label)} = {names.get(value.key, '%?')}"
        + " complex" * (label in graph.complex_outputs)
        for label, value in graph.outputs.items()
    )
    lines = [f"  return {returned}"] if returned else []
    for parameter, value in graph.updates:
        lines.append(f"  update {leaf_name(parameter.node)} = {names.get(value.key, '%?')}")
    return lines


def summary(graph: GraphParts) -> str:
    """Summarize a graph for ``repr``: its name and counts."""
    counts = {
        "input": len(graph.inputs),
        "parameter": len(graph.parameters),
        "node": sum(not _is_header_leaf(node) for node in graph.nodes),
        "output": len(graph.outputs),
        "update": len(graph.updates),
    }
    parts = [
        f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items() if count
    ]
    return f"<graph {name_text(graph.name)}: {', '.join(parts)}>"


def _arrays_in(value: object) -> Iterator[ArrayData]:
    """Yield the constant arrays in an op's attribute, those of body graphs too."""
    if isinstance(value, ArrayData):
        yield value
    elif isinstance(value, GraphParts):
        for node in value.nodes:
            yield from _arrays_in(tuple(attribute for _, attribute in node.op.attributes()))
    elif isinstance(value, tuple):
        for part in value:
            yield from _arrays_in(part)


@boundary
def same_graph(left: GraphParts, right: GraphParts) -> bool:
    """Return whether two graphs are structurally equal.

    Nodes are compared in order, by op, operands and type; lines of programs do not count.

    Args:
        left, right: graphs.

    Returns:
        Whether they are.

    Raises:
        ArgumentError: something else than graphs.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (), "float64")
    >>> same_graph(sg.Graph({"y": x + 1.0}), sg.Graph({"y": x + 2.0}))
    False
    """
    for graph in (left, right):
        if not isinstance(graph, GraphParts):
            raise ArgumentError(f"same_graph takes graphs, not {kind_of(graph)}")
    return first_difference(left, right) is None


def first_difference(left: GraphParts, right: GraphParts) -> str | None:
    """Return the first lines at which two printed graphs differ; None if they are equal."""
    if left is right:
        return None
    for left_line, right_line in zip_longest(_lines(left), _lines(right), fillvalue="(nothing)"):
        if left_line != right_line:
            return f"left:  {left_line}\nright: {right_line}"
    return None


def digest_of(graph: GraphParts) -> str:
    """A hash of the lines that ``same_graph`` compares; large constants count by their own."""
    from hashlib import blake2b  # loads OpenSSL, and only graphs with bodies have digests

    return blake2b("\n".join(_lines(graph)).encode(), digest_size=16).hexdigest()


def _lines(graph: GraphParts) -> list[str]:
    """Print a graph without derivative orders and comments, to compare it with another."""
    names = value_names(graph)
    leaves = [value.node for value in (*graph.inputs, *graph.parameters)]
    header = set(leaves)
    lines = [
        size_line(named, hint=False) for named in sorted(sizes_of(graph), key=lambda n: n.name)
    ]
    lines += map(_declaration, leaves)
    body = (node for node in graph.nodes if node not in header)
    lines += [node_text(node, names, orders=False, bodies=body_text) for node in body]
    return lines + [line.strip() for line in root_lines(graph, names)]
