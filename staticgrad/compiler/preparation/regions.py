"""Sums of pads with disjoint regions, rewritten as concatenations.

The gradient of an array that is read slice by slice is a sum of pads, one for each slice: most
terms are zeros. If the slices are disjoint along one axis, each element of the sum is an element
of one slice, plus zeros. So the sum is a concatenation of the slices, plus zero, and of the zeros
between them. Results stay bitwise identical: x + 0.0 is x except for -0.0, for any number of zeros.

Slices of every k-th element are disjoint, too, along a new axis of size k, of which each slice
takes one element.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, cast

from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ops.arithmetic import Add
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.indexing import Concat, Pad, Slice
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size, is_at_least
from staticgrad.support.building import within
from staticgrad.support.records import NamedTuple


class _Line(NamedTuple):
    """The only axis along which a pad is smaller than the whole, and its step there."""

    axis: int
    step: int


class _PadsApart(NamedTuple):
    """Terms ``first`` to ``last`` of a sum: pads that are disjoint along a line, in ``order``."""

    first: int
    last: int
    line: _Line
    order: tuple[int, ...]


#: The largest step of pads that are summed.
MOST_STEP: Final = 16


#: The key under which a graph stores itself with joined pads.
_NOTE: Final = "joined pads"


def leave_joined(graph: Graph, joined: Graph) -> None:
    """Store the result of ``with_joined_pads`` with the graph for its next call."""
    if joined is not graph:
        graph.found[_NOTE] = joined


def with_joined_pads(graph: Graph) -> Graph:
    """Return the graph with sums of pads that are disjoint along one axis as concatenations."""
    found = graph.found.pop(_NOTE, None)
    return found if isinstance(found, Graph) else _with_joined_pads(graph)


def _with_joined_pads(graph: Graph) -> Graph:
    if sum(isinstance(node.op, Pad) for node in graph.nodes) < 2:
        return graph
    sums = _sums(graph)
    rebuilt: dict[Node, tuple[Symbolic, ...]] = {}

    def rewritten(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        rebuilt[node] = args
        return (_joined(node, *sums[node], rebuilt),) if node in sums else None

    return graph.replace_nodes(rewritten).without_dead_nodes() if sums else graph


def _sums(graph: Graph) -> dict[Node, tuple[list[Node], list[_PadsApart]]]:
    """Return of the last addition of a sum its additions, first to last, and its runs of pads."""
    users, roots = users_of(graph), {value.key for value in graph.roots}
    found: dict[Node, tuple[list[Node], list[_PadsApart]]] = {}
    inside: set[Node] = set()

    def goes_on(node: Node) -> bool:
        first, second = node.args
        alone = first.key not in roots and len(users[first.key]) == 1
        return isinstance(first.node.op, Add) and alone and first.key != second.key

    for node in reversed(graph.nodes):
        if isinstance(node.op, Add) and node not in inside:
            spine = [node]
            while goes_on(spine[-1]):
                spine.append(spine[-1].args[0].node)
            inside.update(spine)
            spine.reverse()
            if runs := [*_runs(_terms(spine))]:
                found[node] = spine, runs
    return found


def _terms(spine: Sequence[Node]) -> list[Symbolic]:
    return [spine[0].args[0], *(node.args[1] for node in spine)]


def _runs(terms: Sequence[Symbolic]) -> Iterator[_PadsApart]:
    first: int | None = None
    for place in range(len(terms) + 1):
        pads = place < len(terms) and _line(terms[place]) is not None
        if pads and (first is None or _line(terms[place]) == _line(terms[first])):
            first = place if first is None else first
            continue
        if first is not None and place - first > 1:
            yield from _apart(terms, first, place)
        first = place if pads else None


def _line(value: Symbolic) -> _Line | None:
    """Return the only line along which a value is a pad, or None."""
    pad = value.node.op
    if not isinstance(pad, Pad):
        return None
    sizes = zip(value.node.args[0].shape, pad.shape, strict=True)
    axes = [axis for axis, (size, whole) in enumerate(sizes) if size != whole]
    if len(axes) != 1 or any(step != 1 for k, step in enumerate(pad.steps) if k != axes[0]):
        return None
    line = axis, step = _Line(axes[0], pad.steps[axes[0]])
    start, whole = pad.starts[axis], value.node.args[0].shape[axis] * step
    one_each = isinstance(start, int) and start < step and whole == pad.shape[axis]
    return line if step == 1 or (1 < step <= MOST_STEP and one_each) else None


def _alone(value: Symbolic, axis: int) -> Symbolic:
    """Return a value with a new axis of size 1 after ``axis``."""
    shape = (*value.shape[: axis + 1], 1, *value.shape[axis + 1 :])
    return cast(Symbolic, Reshape(shape)(value))


def _apart(terms: Sequence[Symbolic], first: int, last: int) -> Iterator[_PadsApart]:
    """Yield runs of adjacent pads that are disjoint, as long as possible, in the order of their
    regions."""
    line = cast(_Line, _line(terms[first]))
    together: dict[int, tuple[Size, Size]] = {}
    for place in range(first, last):
        region = _region(terms[place], line)
        begin, end = region
        if not all(
            is_at_least(other[0], end) or is_at_least(begin, other[1])
            for other in together.values()
        ):
            yield from _run(together, line)
            together = {}
        together[place] = region
    yield from _run(together, line)


def _run(regions: Mapping[int, tuple[Size, Size]], line: _Line) -> Iterator[_PadsApart]:
    """Yield pads in the order of their regions; a single pad yields nothing."""
    order = sorted(regions, key=lambda place: tuple(map(hint_value, regions[place])))
    neighbours = pairwise([regions[place] for place in order])
    if len(order) > 1 and all(is_at_least(begin, end) for (_, end), (begin, _) in neighbours):
        yield _PadsApart(min(order), max(order) + 1, line, tuple(order))


def _region(value: Symbolic, line: _Line) -> tuple[Size, Size]:
    """Return begin and end of a pad's region along a line, within a step if the step is > 1."""
    start = cast(Pad, value.node.op).starts[line.axis]
    return start, start + (value.node.args[0].shape[line.axis] if line.step == 1 else 1)


def _joined(
    root: Node,
    spine: Sequence[Node],
    runs: Sequence[_PadsApart],
    rebuilt: dict[Node, tuple[Symbolic, ...]],
) -> Symbolic:
    terms = [rebuilt[spine[0]][0], *(rebuilt[node][1] for node in spine)]
    with within(root.origin, root.order):
        for run in reversed(runs):
            pads = [terms[place] for place in run.order]
            terms[run.first : run.last] = [_join(pads, run.line)]
        total = terms[0]
        for term in terms[1:]:
            total = cast(Symbolic, Add()(total, term))
    return total


def _join(pads: Sequence[Symbolic], line: _Line) -> Symbolic:
    # If all parts are slices, which are in memory and are read in place, zero is added to the
    # concatenation. Otherwise the parts are computed in place, and zero is added to each of them.
    whole, (axis, step) = pads[0].type, line
    along = axis if step == 1 else axis + 1
    like = pads[0].node.args[0] if step == 1 else _alone(pads[0].node.args[0], axis)
    lie = whole.dtype.is_float and all(isinstance(p.node.args[0].node.op, Slice) for p in pads)
    end: Size = 0
    parts: list[Symbolic] = []
    for pad in pads:
        begin, after = _region(pad, line)
        (value,) = pad.node.args
        parts += _zeros(like, along, begin - end)
        part = _plus_zero(value) if value.dtype.is_float and not lie else value
        parts.append(part if step == 1 else _alone(part, axis))
        end = after
    parts += _zeros(like, along, (whole.shape[axis] if step == 1 else step) - end)
    joined = cast(Symbolic, Concat(along)(*parts))
    joined = joined if step == 1 else cast(Symbolic, Reshape(whole.shape)(joined))
    return cast(Symbolic, joined + 0.0) if lie else joined


def _plus_zero(value: Symbolic) -> Symbolic:
    if isinstance(value.node.op, Reshape):
        return cast(Symbolic, Reshape(value.shape)(value.node.args[0] + 0.0))
    return cast(Symbolic, value + 0.0)


def _zeros(like: Symbolic, axis: int, count: Size) -> list[Symbolic]:
    """Return ``count`` zeros along an axis; an empty list if ``count`` is 0."""
    if count == 0:
        return []
    shape = (*like.shape[:axis], count, *like.shape[axis + 1 :])
    return [cast(Symbolic, zeros_like_type(like.type.with_shape(shape), like))]
