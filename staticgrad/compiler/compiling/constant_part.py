"""The part of a graph that depends on constants alone, as a graph of its own.

``fold`` computes small results of exact ops by their references; whatever else is constant, and
not computed where it is read, becomes a program, which whoever compiles runs once, and its results
stand in the rest as constants. Nothing is compiled or run here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from passes.late.marks import remove_marks
from passes.late.products import is_wide_copy
from staticgrad.analysis.liveness import users_of
from staticgrad.compiler.compiling.constant_steps import ROOM
from staticgrad.language.ir.forms import (
    Contract,
    Identity,
    Pointwise,
    ReshapeForm,
    View,
    WindowProduct,
)
from staticgrad.language.ir.graph import Constant, Graph, Input, Node, ParameterLeaf, Symbolic
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.arrays import ArrayData
from staticgrad.language.types.dtype import F32
from staticgrad.support.records import dataclass


@dataclass(frozen=True, eq=False)
class ConstantPart:
    """The constant part of ``program``: ``graph`` computes ``values``, in order.

    ``graph`` has neither inputs nor parameters nor named sizes.
    """

    program: Graph
    values: tuple[Symbolic, ...]

    @property
    def graph(self) -> Graph:
        """The part as a program; its outputs are called by their numbers."""
        named = {str(number): value for number, value in enumerate(self.values)}
        return Graph(named, name=f"{self.program.name} once")

    def fill_zeros(self) -> Graph:
        """Return the whole with zeros in place of the part's results, for planning only."""
        kinds = [(value.type.shape, value.dtype.numpy) for value in self.values]
        return self.substitute_results({str(n): np.zeros(*kind) for n, kind in enumerate(kinds)})

    def substitute_results(self, arrays: Mapping[str, Any]) -> Graph:
        """Return the graph with the results of its constant part as constants."""
        constant_by_key = {v.key: _constant(v, arrays[str(n)]) for n, v in enumerate(self.values)}
        nodes = {value.node for value in self.values}

        def constants(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
            return [constant_by_key.get(v.key, v) for v in node.values] if node in nodes else None

        return self.program.replace_nodes(constants).without_dead_nodes()


def freeze_parameters(graph: Graph, values: dict[ParameterStore, Any] | None = None) -> Graph:
    """Return the graph with the values of its parameters as constants.

    Those that it updates stay parameters, and the counts of generators. ``values`` are those that
    other programs were given; it gets the present value of each parameter that is not among them.
    """
    values = {} if values is None else values
    updated = {parameter.name for parameter, _ in graph.updates}
    frozen = {
        parameter.node: parameter.store
        for parameter in graph.parameters
        if not (parameter.name in updated or parameter.store.counts_runs)
    }

    if not frozen:
        return graph
    for store in frozen.values():
        if store not in values:
            values[store] = store.read()

    def freeze(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        return [_constant(Symbolic(node), values[frozen[node]])] if node in frozen else None

    replaced = graph.replace_nodes(freeze)
    return Graph.of_parts(
        nodes=replaced.nodes,
        inputs=replaced.inputs,
        parameters=tuple(p for p in graph.parameters if p.node not in frozen),
        outputs=replaced.outputs,
        updates=replaced.updates,
        name=replaced.name,
        complex_outputs=replaced.complex_outputs,
    )


def constant_part(graph: Graph) -> ConstantPart | None:
    """Return the subgraph of constants alone that ``fold`` cannot compute, or None.

    A result is left out where storing it gains nothing: exact elementwise ops are as quick where
    they are read, unless a product reads them, and views cost nothing. Products of matrices widen
    narrow floats themselves, and multiply bfloat16 as it is stored. All results together take no
    more bytes than the graph's own constants with at least four bytes an element, and ``ROOM``.
    """
    graph = remove_marks(graph)
    widened = _find_widened_factors(graph)
    worth = _find_foldable(graph, widened)
    if not worth:
        return None
    arrays = (node.op.data.array for node in graph.nodes if isinstance(node.op, Constant))
    room = ROOM + sum(array.size * max(array.itemsize, F32.itemsize) for array in arrays)
    live = {value.key: value for value in graph.roots}
    results: list[Symbolic] = []
    for node in reversed(graph.nodes):
        read = [value for value in node.values if value.key in live]
        nbytes = sum(map(_nbytes, read)) if node in worth else 0
        if not read:
            continue
        if node in worth and not (_is_free(node) or node in widened) and nbytes <= room:
            room -= nbytes
            results += read
        else:
            live.update((arg.key, arg) for arg in node.args)
    return ConstantPart(graph, tuple(reversed(results))) if results else None


def _constant(value: Symbolic, array: Any) -> Symbolic:
    op = Constant(ArrayData(array, value.dtype))
    return Symbolic(leaf_node(op, value.node.origin, value.node.order))


def _find_widened_factors(graph: Graph) -> set[Node]:
    """Return the wide copies of narrow floats that products of matrices alone read."""
    users, roots = users_of(graph), {value.key for value in graph.roots}
    factors = set[Node]()  # with the views that such products alone read
    for node in reversed(graph.nodes):
        readers = users[node, 0]
        if (node, 0) in roots or not (_is_free(node) or is_wide_copy(Symbolic(node))):
            continue
        if all(isinstance(reader.form, Contract) or reader in factors for reader in readers):
            factors.add(node)
    return {node for node in factors if not _is_free(node)}


def _find_foldable(graph: Graph, widened: set[Node]) -> set[Node]:
    """Return the constant nodes that compute something which constant folding does not."""
    constant: set[Node] = set()
    worth: set[Node] = set()
    for node in graph.nodes:
        if isinstance(node.op, Input | ParameterLeaf):
            continue
        if all(arg.node in constant for arg in node.args) and _is_literal(node):
            constant.add(node)
            computes = not (node.is_leaf or _is_free(node) or node in widened)
            is_repeated = node.op.exact and isinstance(node.form, Pointwise)
            if (computes and not is_repeated) or any(arg.node in worth for arg in node.args):
                worth.add(node)
        elif isinstance(node.form, Contract | WindowProduct):
            factors = [_skip_views(arg).node for arg in node.args if arg.dtype.is_float]
            factors = [_skip_views(x.args[0]).node if x in widened else x for x in factors]
            worth.update(factor for factor in factors if factor in constant and not factor.is_leaf)
    return worth


def _skip_views(value: Symbolic) -> Symbolic:
    while _is_free(value.node) and len(value.node.args) == 1:
        (value,) = value.node.args
    return value


def _is_literal(node: Node) -> bool:
    extents = [extent for kind in node.types for extent in kind.shape]
    return all(isinstance(extent, int) for extent in (*extents, *node.op.sizes()))


def _is_free(node: Node) -> bool:
    return isinstance(node.form, View | Identity | ReshapeForm)


def _nbytes(value: Symbolic) -> int:
    size = value.type.size
    assert isinstance(size, int)
    return size * value.dtype.itemsize
