"""State that a graph with updates advances by itself: generators and the statistics of layers.

A graph that updates anything advances each generator that it draws from by one step, and makes the
updates of each module that it runs, such as running statistics. Parameters that its ``updates``
name already are left to these. A graph without updates changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from staticgrad.errors import GraphError
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.copies import NodeCopies
from staticgrad.language.ir.nodes import (
    ModuleCall,
    Node,
    Parameter,
    Symbolic,
    ancestors,
    describe,
)
from staticgrad.language.ir.op import ParameterLeaf
from staticgrad.support.building import within


def next_steps(nodes: Iterable[Node]) -> list[tuple[Parameter, Symbolic]]:
    """Return the next states of random generators that these nodes draw from, oldest first."""
    steps = [
        node for node in nodes if isinstance(node.op, ParameterLeaf) and node.op.store.counts_runs
    ]
    with in_graphs():
        return [
            (Parameter(node), cast(Symbolic, Symbolic(node) + np.uint64(1)))
            for node in sorted(steps, key=lambda node: node.serial)
        ]


def advances(
    nodes: Sequence[Node], updates: Iterable[tuple[Parameter, Symbolic]]
) -> list[tuple[Parameter, Symbolic]]:
    """Return the updates of generators and layer statistics that a graph adds to ``updates``.

    Several calls that update one parameter do so one after the other, in the order of the calls.
    """
    updated = {parameter.node for parameter, _ in updates}
    reached = dict.fromkeys(nodes)
    latest: dict[Node, tuple[Parameter, Symbolic]] = {}
    done: set[ModuleCall] = set()
    while calls := {call for node in reached for call in node.calls} - done:
        done |= calls
        latest = {}
        for call in sorted(done, key=lambda call: call.serial):
            for parameter, value in call.updates:
                node = parameter.node
                if node in latest:
                    (value,) = NodeCopies({parameter.key: latest[node][1]}).apply([value])
                if node not in updated:
                    latest[node] = parameter, value
        roots = [root for pair in latest.values() for root in pair]
        reached.update(dict.fromkeys(ancestors(roots, stop=reached)))
    steps = [(p, value) for p, value in next_steps(reached) if p.node not in updated]
    return [*latest.values(), *((p, value) for p, value in steps if p.node not in latest)]


def check_without_updates(nodes: Iterable[Node]) -> None:
    """Refuse nodes of modules that update parameters (batch norm), in a program without updates.

    Raises:
        GraphError: with the parameter, and what to write.
    """
    for node in nodes:
        for call in node.calls:
            parameter, value = call.updates[0]
            with within(node.origin):
                raise GraphError(
                    f"the program has no updates, and would leave {parameter.name!r} as it is",
                    hint="of a model after training: model.eval()\n"
                    "in training: sg.Graph(outputs, updates=optimizer.updates(loss, ws)), which"
                    " moves running statistics as well; or a function under @sg.function\n"
                    "to leave it as it is: sg.Graph(outputs, updates={p: p}), p that parameter",
                    related=[describe(parameter, 0), describe(value, 1, "its next value")],
                )
