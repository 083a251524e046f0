"""Numbers that Python draws, or reads from a clock, while a function is traced: they are frozen.

Where random states have moved, or a clock may have been read, the function is traced once more;
what differs between the two graphs is of that kind.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from staticgrad.ir.graph import Constant, Graph
from staticgrad.programs.captured import Captured


def random_states(around: Captured) -> list[bytes]:
    """Where the generators of NumPy and Python stand that a function may draw from."""
    numpy_random, python_random = sys.modules.get("numpy.random"), sys.modules.get("random")
    states: list[Any] = [_state(source) for source in around.sources]
    if numpy_random is not None:
        states.append(numpy_random.get_state())
    if python_random is not None:
        states.append(python_random.getstate())
    return [pickle.dumps(state) for state in states]


def _state(source: Any) -> Any:
    if hasattr(source, "bit_generator"):
        return source.bit_generator.state
    get = getattr(source, "get_state", None) or getattr(source, "getstate", None)
    return None if get is None else get()


def differences(
    one: Graph | None, other: Graph | None, kept: Sequence[tuple[Any, Any]]
) -> Iterator[str]:
    """What two traces of one function made differently, with the lines.

    ``kept`` has what the results are beside values of the graph, of both.
    """
    nodes = [() if graph is None else graph.nodes for graph in (one, other)]
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
    for before, after in kept:
        if type(before) is not type(after) or repr(before) != repr(after):
            yield f"the result {before!r}"
