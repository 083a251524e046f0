"""Sums of pads whose regions lie apart, as parts one behind the other.

The gradient of an array that is read slice by slice is a sum of pads, one for each slice: most of
what it adds is zeros. Where the slices lie apart along one axis, each element of the sum is that of
one slice, plus zeros, so the sum is a join of the slices, plus zero, and of the zeros between them.
No byte depends on it: x + 0.0 is x, but for -0.0, and stays so however many zeros are added.

Slices of every k-th element lie apart, too, along an axis of their own: the k elements of which
each takes one. So does a single one, whose pad has zeros on both sides there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, cast

from staticgrad.analysis.liveness import users_of
from staticgrad.building import within
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ops.arithmetic import Add
from staticgrad.ops.cotangent import zeros_like_type
from staticgrad.ops.indexing import Concat, Pad, Slice
from staticgrad.ops.movement import Reshape
from staticgrad.records import NamedTuple
from staticgrad.types.arrays import hint_value
from staticgrad.types.dim import Size, is_at_least


class _Line(NamedTuple):
    """The one axis along which a pad is none of the whole, and its step there."""

    axis: int
    step: int


class _PadsApart(NamedTuple):
    """Terms ``first`` to ``last`` of a sum, pads that lie apart along a line, in that order."""

    first: int
    last: int
    line: _Line
    order: tuple[int, ...]


#: The largest steps of single pads that are split, of which other kernels hardly read a vector.
MOST_SINGLE: Final = 4
#: And of pads that are added up.
MOST_STEP: Final = 16


#: The name under which a graph has itself with joined pads.
_NOTE: Final = "joined pads"


def leave_joined(graph: Graph, joined: Graph) -> None:
    """Keep what ``with_joined_pads`` gave with the graph, for the next who asks."""
    if joined is not graph:
        graph.found[_NOTE] = joined


def with_joined_pads(graph: Graph) -> Graph:
    """The graph with sums of pads that lie apart along one axis as joins of what is padded."""
    found = graph.found.pop(_NOTE, None)
    return found if isinstance(found, Graph) else _with_joined_pads(graph)


def _with_joined_pads(graph: Graph) -> Graph:
    pads = [node for node in graph.nodes if isinstance(node.op, Pad)]
    split = {node for node in pads if _splits(node)}
    if len(pads) < 2 and not split:
        return graph
    sums = _Sums(graph)
    split -= sums.joined
    rebuilt: dict[Node, tuple[Symbolic, ...]] = {}

    def rewritten(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        rebuilt[node] = args
        if node in split:
            return (_split(node, args[0]),)
        found = sums.runs.get(node)
        return None if found is None else (_joined(node, sums.spines[node], found, rebuilt),)

    return graph.replace_nodes(rewritten).without_dead_nodes() if sums.runs or split else graph


class _Sums:
    """The sums of a graph: by their last addition the additions, first to last, and their runs."""

    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        self.spines: dict[Node, list[Node]] = {}
        self.runs: dict[Node, list[_PadsApart]] = {}
        self.joined: set[Node] = set()
        inside: set[Node] = set()
        for node in reversed(graph.nodes):
            if isinstance(node.op, Add) and node not in inside:
                spine = [node]
                while self._goes_on(spine[-1]):
                    spine.append(spine[-1].args[0].node)
                inside.update(spine)
                spine.reverse()
                terms = _terms(spine)
                runs = [*_runs(terms)]
                if runs:
                    self.spines[node], self.runs[node] = spine, runs
                    self.joined.update(terms[k].node for run in runs for k in run.order)

    def _goes_on(self, node: Node) -> bool:
        """Whether the first operand of an addition is one that nobody else reads."""
        first = node.args[0]
        alone = first.key not in self._roots and len(self._users[first.key]) == 1
        return isinstance(first.node.op, Add) and alone and first.key != node.args[1].key


def _terms(spine: Sequence[Node]) -> list[Symbolic]:
    return [spine[0].args[0], *(node.args[1] for node in spine)]


def _runs(terms: Sequence[Symbolic]) -> Iterator[_PadsApart]:
    """Neighbours among the terms that are pads and lie apart."""
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
    """The one line along which a value is a pad."""
    pad = value.node.op
    if not isinstance(pad, Pad):
        return None
    sizes = zip(value.node.args[0].shape, pad.shape, strict=True)
    axes = [axis for axis, (size, whole) in enumerate(sizes) if size != whole]
    if len(axes) != 1 or any(step != 1 for k, step in enumerate(pad.steps) if k != axes[0]):
        return None
    line = _Line(axes[0], pad.steps[axes[0]])
    return line if line.step == 1 or _takes_one_each(value.node, line, MOST_STEP) else None


def _takes_one_each(node: Node, line: _Line, most: int) -> bool:
    """Whether a pad has one of each ``step`` elements along its axis, up to so many, to the end."""
    pad, (axis, step) = cast(Pad, node.op), line
    start, whole = pad.starts[axis], node.args[0].shape[axis] * step
    return 1 < step <= most and isinstance(start, int) and start < step and whole == pad.shape[axis]


def _splits(node: Node) -> bool:
    """Whether a single pad is one along an axis of its own."""
    line = _line(node.values[0])
    return line is not None and 1 < line.step <= MOST_SINGLE


def _split(node: Node, value: Symbolic) -> Symbolic:
    """The pad, with the elements of which it takes one along an axis of their own."""
    pad, line = cast(Pad, node.op), cast(_Line, _line(node.values[0]))
    axis, after = line.axis, line.axis + 1
    with within(node.origin, node.order):
        lines = _alone(value, axis)
        shape = (*lines.shape[:after], line.step, *lines.shape[after + 1 :])
        starts = (*(0,) * after, pad.starts[axis], *(0,) * (value.ndim - after))
        whole = Pad(shape, starts, (1,) * len(shape))(lines)
        return cast(Symbolic, Reshape(pad.shape)(whole))


def _alone(value: Symbolic, axis: int) -> Symbolic:
    """A value with an axis of size 1 behind one of its own."""
    shape = (*value.shape[: axis + 1], 1, *value.shape[axis + 1 :])
    return cast(Symbolic, Reshape(shape)(value))


def _apart(terms: Sequence[Symbolic], first: int, last: int) -> Iterator[_PadsApart]:
    """These pads in the order of their regions, as many together as follow each other and lie
    apart."""
    line = cast(_Line, _line(terms[first]))
    together: dict[int, tuple[Size, Size]] = {}
    for place in range(first, last):
        region = _region(terms[place], line)
        if not all(_lie_apart(region, other) for other in together.values()):
            yield from _run(together, line)
            together = {}
        together[place] = region
    yield from _run(together, line)


def _lie_apart(one: tuple[Size, Size], other: tuple[Size, Size]) -> bool:
    return is_at_least(other[0], one[1]) or is_at_least(one[0], other[1])


def _run(regions: Mapping[int, tuple[Size, Size]], line: _Line) -> Iterator[_PadsApart]:
    """Pads in the order of their regions; nothing of a single one."""
    order = sorted(regions, key=lambda place: tuple(map(hint_value, regions[place])))
    neighbours = pairwise([regions[place] for place in order])
    if len(order) > 1 and all(is_at_least(begin, end) for (_, end), (begin, _) in neighbours):
        yield _PadsApart(min(order), max(order) + 1, line, tuple(order))


def _region(value: Symbolic, line: _Line) -> tuple[Size, Size]:
    """Where a pad's region begins and ends along a line; which of each ``step`` elements it has."""
    start = cast(Pad, value.node.op).starts[line.axis]
    return start, start + (value.node.args[0].shape[line.axis] if line.step == 1 else 1)


def _joined(
    root: Node,
    spine: Sequence[Node],
    runs: Sequence[_PadsApart],
    rebuilt: dict[Node, tuple[Symbolic, ...]],
) -> Symbolic:
    """The sum, each of its runs as one term."""
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
    """What is padded one behind the other, with zeros between, plus zero.

    Slices lie in memory, and whoever reads elements of their join reads those: zero is added to
    the join. Other parts are computed where they belong in it, zero with them.
    """
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
    """A value plus zero; of another shape of a value before that, where its elements are known."""
    if isinstance(value.node.op, Reshape):
        return cast(Symbolic, Reshape(value.shape)(value.node.args[0] + 0.0))
    return cast(Symbolic, value + 0.0)


def _zeros(like: Symbolic, axis: int, count: Size) -> list[Symbolic]:
    """So many zeros along an axis; nothing where there are none."""
    if count == 0:
        return []
    shape = (*like.shape[:axis], count, *like.shape[axis + 1 :])
    return [cast(Symbolic, zeros_like_type(like.type.with_shape(shape), like))]
