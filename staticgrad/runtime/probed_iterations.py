"""In which iteration of a loop, and by which operation of its body, a NaN is made.

The bodies of a guilty loop or branch run again, one iteration after the other, on what it was
given. Each iteration is asked before what a whole program is asked (``analysis.nonfinite``); a loop
that is guilty in it is looked into the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticgrad.analysis.binding import concrete_shape
from staticgrad.analysis.evaluate import at_sizes
from staticgrad.analysis.nonfinite import Iteration, Kind, Probe, accusation, evidence
from staticgrad.errors import IndexOutOfRange
from staticgrad.ir.bodies import inlined
from staticgrad.ir.graph import Graph, Input, Node, Symbolic
from staticgrad.ir.op import Array
from staticgrad.runtime.arena import address_of
from staticgrad.runtime.side_run import Compile, SideRun
from staticgrad.types.tensor import TensorType

#: What messages call the inputs of a body, by the first letter of their labels.
_ROLES = {"i": "iteration", "c": "carry", "x": "slice", "p": "operand"}


def look_inside(
    node: Node,
    arrays: Sequence[Array],
    kind: Kind,
    sizes: Mapping[str, int],
    compile_graph: Compile,
    around: tuple[Iteration, ...] = (),
) -> None:
    """Run a loop or branch iteration by iteration; nothing where no operation of a body is guilty.

    Args:
        node: what is guilty as a whole.
        arrays: its operands.
        kind: what is looked for.
        sizes: the value of every named size.
        compile_graph: compiles graphs without updates.
        around: the iterations of the loops around it.

    Raises:
        NonFiniteError: the operation in the first iteration that has one.
    """
    op: Any = at_sizes(node.op, sizes)
    try:
        op.interpreted(_Suspicious(node, kind, sizes, compile_graph, around), *arrays)
    except IndexOutOfRange:  # what it reads then says nothing
        return


class _Suspicious:
    """Runs bodies, each behind a search."""

    def __init__(
        self,
        node: Node,
        kind: Kind,
        sizes: Mapping[str, int],
        compile_graph: Compile,
        around: tuple[Iteration, ...],
    ) -> None:
        self._node, self._kind, self._sizes = node, kind, sizes
        self._compile, self._around = compile_graph, around
        self._known: dict[Graph, _AskedBody] = {}

    def run(self, body: Graph, arrays: Sequence[Array]) -> list[Array]:
        """The outputs of a body.

        Raises:
            NonFiniteError: an operation of it makes what is looked for.
            IndexOutOfRange: a lookup fails.
        """
        if body not in self._known:
            self._known[body] = _AskedBody(body, self._kind, self._sizes, self._compile)
        known = self._known[body]
        given = [np.array(array, order="C") for array in arrays]
        feeds = dict(zip(known.labels, map(address_of, given), strict=True))
        if known.search is not None:
            answers, failure = known.search.run(feeds)
            guilty = known.probe.guilty(answers, None if failure is None else failure.at)
            if guilty is not None:
                iterations = (*self._around, self._iteration(body, given))
                seen, _ = self._compile(evidence(guilty)).run(self._sizes, feeds)
                node = guilty.value.node
                if node.op.bodies:
                    operands = [seen[f"operand{i}"] for i in range(len(node.args))]
                    look_inside(node, operands, self._kind, self._sizes, self._compile, iterations)
                raise accusation(guilty, seen, iterations)
        results, failure = known.results.run(feeds)
        if failure is not None:
            raise failure
        return [results[name].copy() for name in known.names]

    def _iteration(self, body: Graph, given: Sequence[Array]) -> Iteration:
        """What runs now, in words."""
        if body.inputs[0].node.label == "i":
            return Iteration(f"iteration {int(given[0])}", self._node.op.name, self._node.origin)
        case = self._node.op.bodies.index(body)
        return Iteration(f"case {case}", self._node.op.name, self._node.origin)

    def empty(self, of: TensorType, iterations: int) -> Array:
        """Room for a result of every iteration."""
        return np.empty((iterations, *concrete_shape(of.shape, self._sizes)), of.dtype.numpy)


class _AskedBody:
    """A body as a graph of its own, and the questions about it, compiled."""

    def __init__(
        self, body: Graph, kind: Kind, sizes: Mapping[str, int], compile_graph: Compile
    ) -> None:
        inputs = [_named(value) for value in body.inputs]
        self.labels = [value.node.label for value in inputs]
        values = inlined(body, inputs)
        self.names = [*body.outputs]
        graph = Graph(dict(zip(self.names, values, strict=True)), inputs=inputs)
        self.probe = Probe(graph, kind)
        asked = self.probe.graph
        self.search = None if asked is None else SideRun(compile_graph(asked), sizes)
        self.results = SideRun(compile_graph(graph), sizes)


def _named(value: Symbolic) -> Symbolic:
    """An input of a graph like one of a body, with a name for messages."""
    label = value.node.label
    name = " ".join(filter(None, (_ROLES[label[0]], label[1:])))
    node = Node(Input(name, value.type), (), (value.type,), value.node.origin, value.node.order)
    return Symbolic(node)
