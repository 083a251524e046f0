"""Side effects of a trace: outside names that it writes, and random numbers that it freezes.

What a function writes outside is written once, when it is traced. Numbers that Python draws, or
reads from a clock, are frozen in the graph: if random states have moved, or a clock may have been
read, the function is traced once more; constants that differ between the two graphs are such
numbers.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from staticgrad.language.ir.graph import Constant, Graph
from staticgrad.programs.captured import Captured, elements_of


class Snapshot:
    """The values around a function before it was traced."""

    def __init__(self, around: Captured) -> None:
        self._written = [(place, place.value) for place in around.writes]
        self._contents = [
            (contents, elements_of(contents.container))
            for contents in around.contents.values()
            if contents.is_users
        ]

    def changes(self) -> Iterator[tuple[str, str]]:
        """Yield the changed names: their spelling in the user's code, and the kind of change."""
        for place, value in self._written:
            if place.value is not value:
                yield place.label, "assigns"
        for contents, elements in self._contents:
            if list(map(id, elements_of(contents.container))) != list(map(id, elements)):
                yield contents.label, "changes"


def random_states(around: Captured) -> list[bytes]:
    """Return the states of the generators of NumPy and Python that a function may draw from."""
    numpy_random, python_random = sys.modules.get("numpy.random"), sys.modules.get("random")
    states: list[Any] = []
    for source in around.sources:
        if hasattr(source, "bit_generator"):
            states.append(source.bit_generator.state)
        else:
            get = getattr(source, "get_state", None) or getattr(source, "getstate", None)
            states.append(None if get is None else get())
    if numpy_random is not None:
        states.append(numpy_random.get_state())
    if python_random is not None:
        states.append(python_random.getstate())
    return [pickle.dumps(state) for state in states]


def differences(
    first_graph: Graph | None, second_graph: Graph | None, constants: Sequence[tuple[Any, Any]]
) -> Iterator[str]:
    """Yield the differences between two traces of one function, to report impure code.

    ``constants`` has the constant parts of the results, of both.
    """
    nodes = [() if graph is None else graph.nodes for graph in (first_graph, second_graph)]
    if len(nodes[0]) != len(nodes[1]):
        yield f"the program has {len(nodes[0])} operations, and another time {len(nodes[1])}"
        return
    for first, second in zip(*nodes, strict=True):
        if first.is_leaf and not isinstance(first.op, Constant):
            continue
        if first.op != second.op:
            what = "a constant" if isinstance(first.op, Constant) else first.op.name
            line = first.origin.places[0].resolve()
            yield f"{what} of {line.short}, {line.text.strip()}"
    for first_value, second_value in constants:
        if type(first_value) is not type(second_value) or repr(first_value) != repr(second_value):
            yield f"the result {first_value!r}"
