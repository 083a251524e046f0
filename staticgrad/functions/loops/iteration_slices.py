"""Arrays of which each iteration of a loop reads the row of its number: these are slices of the
loop.

A body that says ``x[i]`` of the number of the iteration reads what ``scan`` would have handed to
it. As a slice it needs no look-up, and its cotangent is stacked, row by row, where that of an array
that all iterations read is added up as a whole in each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticgrad.ir.bodies import body_input, body_of, rebuilt
from staticgrad.ir.forms import Gather
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.records import NamedTuple
from staticgrad.types.dim import Size


class Sliced(NamedTuple):
    """A body that is handed rows: the arrays whose rows they are, behind slices that were there,
    and the values that it still takes as they are."""

    body: Graph
    slices: list[Symbolic]
    captured: list[Symbolic]


def with_slices(
    body: Graph, carries: int, slices: int, captured: Sequence[Symbolic], iterations: Size
) -> Sliced:
    """The body of a loop of so many iterations, with rows in the place of arrays.

    Args:
        body: it takes the number of the iteration, carries, slices, and ``captured``.
    """
    first = 1 + carries + slices
    given = body.inputs[first:]
    rows: dict[Node, int] = {}
    moved: list[int] = []
    for place, (value, own) in enumerate(zip(given, captured, strict=True)):
        readers = _readers_of_rows(body, value)
        if readers and own.shape[0] == iterations:
            rows |= dict.fromkeys(readers, len(moved))
            moved.append(place)
    if not moved:
        return Sliced(body, [], [*captured])
    kept = [place for place in range(len(given)) if place not in moved]
    known = {value.key: _like(value, value.node.label) for value in body.inputs[:first]}
    known |= {given[k].key: _like(given[k], f"p{n}") for n, k in enumerate(kept)}
    fresh = [_like(next(iter(n for n, at in rows.items() if at == k)).values[0], f"x{slices + k}")
             for k in range(len(moved))]  # fmt: skip
    inputs = [*known.values()]
    inputs[first:first] = fresh
    known |= {(node, 0): fresh[at] for node, at in rows.items()}
    outputs = rebuilt(body, known)
    return Sliced(
        body_of(inputs, outputs), [captured[k] for k in moved], [captured[k] for k in kept]
    )


def _readers_of_rows(body: Graph, value: Symbolic) -> list[Node]:
    """The nodes that read an input, if each reads the row whose number is that of the iteration."""
    number = body.inputs[0]
    readers = [n for n in body.nodes if any(arg.key == value.key for arg in n.args)]
    for node in readers:
        form = node.form
        row = isinstance(form, Gather) and form.axis == 0
        if not row or [arg.key for arg in node.args] != [value.key, number.key]:
            return []
    stays = any(output.key == value.key for output in body.outputs.values())
    return [] if stays else readers


def _like(value: Symbolic, label: str) -> Symbolic:
    return body_input(label, value.type, value.node.origin, value.node.order)
