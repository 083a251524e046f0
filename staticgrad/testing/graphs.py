"""Comparing graphs in tests, and arrays as messages show them."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, CheckError
from staticgrad.errors.wording import kind_of
from staticgrad.ir.calls import public
from staticgrad.ir.graph import Graph, Symbolic
from staticgrad.ir.printer import first_difference
from staticgrad.ir.value import Value


@public
def assert_same_graph(found: Graph | Value, expected: Graph | Value) -> None:
    """Refuse two graphs that differ in structure, with the first line in which they do.

    Nodes are compared in order: ops with attributes, operands, types; then inputs, parameters (by
    name and type), sizes, outputs and updates. Names of graphs, lines and orders do not count.

    Args:
        found, expected: graphs; a value stands for the graph that computes it.

    Raises:
        CheckError: they differ; one line of each is shown.
        ArgumentError: something else than graphs and values.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (), "float64")
    >>> assert_same_graph(x + 1.0, x + 1.0)
    """
    for graph in (found, expected):
        if not isinstance(graph, Graph | Symbolic):
            raise ArgumentError(f"assert_same_graph takes graphs or values, not {kind_of(graph)}")
    left, right = (g if isinstance(g, Graph) else Graph(g) for g in (found, expected))
    difference = first_difference(left, right)
    if difference is not None:
        one, other = difference.split("\n")
        raise CheckError(
            "the graphs differ",
            details=[
                f"found:    {one.partition(': ')[2].strip()}",
                f"expected: {other.partition(': ')[2].strip()}",
            ],
        )


def array_text(array: Any) -> str:
    """An array in one line: its elements, in the middle left out if there are many."""
    shown = np.array2string(np.asarray(array), threshold=12, edgeitems=3, separator=", ")
    return " ".join(shown.split())
