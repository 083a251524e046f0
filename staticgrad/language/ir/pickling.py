"""Graphs in pickles and copies: text, constants and leaves; no code, no recursion over nodes.

A graph travels as its canonical text, the arrays that the text names by digest, and its input and
parameter nodes. Those nodes keep their identity within one pickle: ``pickle.dumps((graph, w))``
gives back a ``w`` that is the graph's parameter, and two graphs that share a parameter still do. A
deep copy does both: an independent graph with parameters of its own. ``copy.copy`` gives
the graph itself, which is immutable. Classes may move from version to version, so a pickle is read
by the version of staticgrad that wrote it; the text is read by later ones, too. An inner value has
no meaning without its graph, so pickling one is refused. Functions of users, which the text names,
travel with a graph where cloudpickle writes it, and only there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy.typing as npt

from staticgrad import __version__
from staticgrad.language.ir.bodies import walk_bodies
from staticgrad.language.ir.calls import is_pickled_by_value
from staticgrad.language.ir.discovery import load_ops
from staticgrad.language.ir.graph import Graph, Input, Node, Parameter, ParameterLeaf, Symbolic
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.parser import parse
from staticgrad.language.ir.printer import graph_constants, print_graph
from staticgrad.support.errors import GraphError
from staticgrad.support.source import Location

Reduced = tuple[object, tuple[Any, ...]]


class _Writer:
    """The version that writes: pickled before everything that it may have in another place."""

    def __reduce__(self) -> Reduced:
        return check_version, (__version__,)


_WRITER: Final = _Writer()


def check_version(version: str) -> _Writer:
    """Refuse what another version of staticgrad pickled."""
    if version == __version__:
        return _WRITER
    raise GraphError(
        f"this was pickled by staticgrad {version}, and staticgrad {__version__} reads it",
        hint="pickles are read by the version that wrote them; what others read is the text:"
        " str(graph) there, sg.parse(text) here; and files of sg.save",
    )


def pickle_graph(graph: Graph) -> Reduced:
    """Return the value of ``Graph.__reduce__``."""
    inputs = {value.node.label: value.node for value in graph.inputs}
    parameters = {value.node.label: value.node for value in graph.parameters}
    text, constants = print_graph(graph), graph_constants(graph)
    arguments: tuple[Any, ...] = (_WRITER, text, inputs, parameters, constants)
    if is_pickled_by_value():
        nodes = [node for each in (graph, *walk_bodies(graph)) for node in each.nodes]
        found = [node.op.definition() for node in nodes]
        arguments += ([each for each in found if each is not None],)
    return restore_graph, arguments


def restore_graph(
    writer: _Writer,
    text: str,
    inputs: dict[str, Node],
    parameters: dict[str, Node],
    constants: dict[str, npt.NDArray[Any]],
    definitions: Sequence[tuple[Any, ...]] = (),
) -> Graph:
    """The graph that ``pickle_graph`` took apart; leaves by their names in the text."""
    for define, *arguments in definitions:
        define(*arguments)
    return parse(
        text,
        inputs={name: Symbolic(node) for name, node in inputs.items()},
        parameters={name: Parameter(node) for name, node in parameters.items()},
        constants=constants,
        file="<pickle>",
    )


def pickle_node(node: Node) -> Reduced:
    """Return the value of ``Node.__reduce__``; only inputs and parameters pickle alone."""
    if not isinstance(node.op, Input | ParameterLeaf):
        raise GraphError(
            "a value inside a graph cannot be pickled or deep-copied without its graph",
            hint="pickle a Graph that has it as an output; inputs and parameters travel alone",
            related=[(node.op.name, str(node.types[0]), node.origin)],
        )
    return restore_leaf, (_WRITER, node.op, node.origin, node.order)


def restore_leaf(writer: _Writer, op: Op, origin: Location, order: int) -> Node:
    """An input or parameter node."""
    load_ops()  # whoever unpickles a value may use its operators next
    inferred: Any = op.infer()
    return Node(op, (), (inferred,), origin, order)
