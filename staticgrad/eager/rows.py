"""The gradients of all elements of a tensor, a batch of elements to a walk over the tape.

The walk is made once, with a value that stands for the unit cotangent of one element; what it
builds is computed for the elements of a batch at a time, op by op, as under ``sg.vmap``. Rules that
want numbers, and hooks, get the cotangents of one element after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import SymbolicValueError
from staticgrad.functions.batching import over_elements
from staticgrad.ir.functional import functions
from staticgrad.ir.op import Array

#: Elements of the largest array of a batch, at most: what a walk makes stays in a cache.
MOST: Final = 1 << 20

#: Elements from which on they are taken together: fewer walks are shorter than building one.
FEWEST: Final = 8

#: From a cotangent of the tensor to those of what it is differentiated by, zeros where none is.
Walk = Callable[[Any], Sequence[Any]]
Absent = Callable[[Tensor], Tensor]


def stacked_rows(y: Tensor, by: Sequence[Tensor], one: Walk, absent: Absent) -> list[Tensor]:
    """The gradients of every element of ``y`` by each of ``by``, stacked along a first axis.

    ``one`` gives those for one cotangent, ``absent`` that by what ``y`` does not depend on.
    """
    edges = [each.edge for each in by]
    nodes = tape.nodes_behind([y.edge])
    units = _Units(y)
    if len(units) >= FEWEST and None not in edges and _take_symbols(nodes):
        made = [edge() for node in nodes for edge in node.outs]
        sizes: list[Any] = [edge.type.size for edge in (*made, *edges) if edge]
        each = max(1, MOST // max(sizes))

        def walk(unit: Any) -> list[Any]:
            found = tape.TapeSweep(nodes, [e for e in edges if e]).run([(y.edge, unit)])  # type: ignore[list-item]
            return [found[x.edge] if x.edge in found else absent(x) for x in by]

        try:
            parts = [
                over_elements(walk, (units.of(k, k + each),), {}, (0, 0), None)
                for k in range(0, len(units), each)
            ]
        except SymbolicValueError:
            pass  # a rule of the user's that asks for numbers
        else:
            return _together(parts, functions.concatenate)
    rows = [one(units.of(k, k + 1)[0]) for k in range(len(units))]
    return _together(rows, functions.stack)


def _take_symbols(nodes: Iterable[tape.TapeNode]) -> bool:
    """Whether rules are written over values, and nobody looks at the gradients on their way."""
    return all(
        node.takes_symbols and not any(edge and edge.hooks for edge in _edges(node))
        for node in nodes
    )


def _edges(node: tape.TapeNode) -> list[tape.Edge | None]:
    return [*node.operands, *(edge() for edge in node.outs)]


class _Units:
    """The unit cotangents of a tensor, by the place of the 1."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __len__(self) -> int:
        return int(self._tensor.size)

    def of(self, first: int, past: int) -> Tensor:
        """Those of some elements, stacked."""
        past = min(past, len(self))
        units: Array = np.zeros((past - first, len(self)), self._tensor.dtype.compute.numpy)
        units[np.arange(past - first), np.arange(first, past)] = 1
        shape = (past - first, *self._tensor.shape)
        return Tensor(units.reshape(shape))


def _together(parts: Sequence[Sequence[Any]], join: Callable[..., Any]) -> list[Tensor]:
    if len(parts) == 1 and join is functions.concatenate:
        return list(parts[0])
    return [join(list(part)) for part in zip(*parts, strict=True)]
