"""Sums of pads whose regions lie apart, as parts one behind the other.

The gradient of an array that is read slice by slice is a sum of pads, one for each slice: most of
what it adds is zeros. Where the slices lie apart along one axis, each element of the sum is that of
one slice, plus zeros, so the sum is a join of the slices, plus zero, and of the zeros between them.
No byte depends on it: x + 0.0 is x, but for -0.0, and stays so however many zeros are added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, cast

from passes.dce import DeadNodes
from staticgrad.analysis.users import users_of
from staticgrad.building import within
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ops.arithmetic import Add
from staticgrad.ops.cotangent import zeros_like_type
from staticgrad.ops.movement import Reshape
from staticgrad.ops.slices import Concat, Pad
from staticgrad.records import NamedTuple
from staticgrad.types.dim import Size, is_at_least
from staticgrad.types.tensor import hint_value


class _PadsApart(NamedTuple):
    """Terms ``first`` to ``last`` of a sum, pads that lie apart along ``axis``, in that order."""

    first: int
    last: int
    axis: int
    order: tuple[int, ...]


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
    if sum(isinstance(node.op, Pad) for node in graph.nodes) < 2:
        return graph
    sums = _Sums(graph)
    rebuilt: dict[Node, tuple[Symbolic, ...]] = {}

    def rewritten(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        rebuilt[node] = args
        found = sums.runs.get(node)
        return None if found is None else (_joined(node, sums.spines[node], found, rebuilt),)

    return DeadNodes()(graph.replace_nodes(rewritten)) if sums.runs else graph


class _Sums:
    """The sums of a graph: by their last addition the additions, first to last, and their runs."""

    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        self.spines: dict[Node, list[Node]] = {}
        self.runs: dict[Node, list[_PadsApart]] = {}
        inside: set[Node] = set()
        for node in reversed(graph.nodes):
            if isinstance(node.op, Add) and node not in inside:
                spine = [node]
                while self._goes_on(spine[-1]):
                    spine.append(spine[-1].args[0].node)
                inside.update(spine)
                spine.reverse()
                runs = [*_runs(_terms(spine))]
                if runs:
                    self.spines[node], self.runs[node] = spine, runs

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
        pads = place < len(terms) and _axis(terms[place]) is not None
        if pads and (first is None or _axis(terms[place]) == _axis(terms[first])):
            first = place if first is None else first
            continue
        if first is not None and place - first > 1:
            yield from _apart(terms, first, place)
        first = place if pads else None


def _axis(value: Symbolic) -> int | None:
    """The one axis along which a value is a pad, in steps of 1."""
    pad = value.node.op
    if not isinstance(pad, Pad) or any(step != 1 for step in pad.steps):
        return None
    sizes = zip(value.node.args[0].shape, pad.shape, strict=True)
    axes = [axis for axis, (size, whole) in enumerate(sizes) if size != whole]
    return axes[0] if len(axes) == 1 else None


def _apart(terms: Sequence[Symbolic], first: int, last: int) -> Iterator[_PadsApart]:
    """These pads in the order of their regions, if no two of those meet."""
    axis = cast(int, _axis(terms[first]))
    regions = {place: _region(terms[place], axis) for place in range(first, last)}
    order = sorted(regions, key=lambda place: tuple(map(hint_value, regions[place])))
    neighbours = pairwise([regions[place] for place in order])
    if all(is_at_least(begin, end) for (_, end), (begin, _) in neighbours):
        yield _PadsApart(first, last, axis, tuple(order))


def _region(value: Symbolic, axis: int) -> tuple[Size, Size]:
    """Where a pad's region begins and ends along an axis."""
    start = cast(Pad, value.node.op).starts[axis]
    return start, start + value.node.args[0].shape[axis]


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
            terms[run.first : run.last] = [_join(pads, run.axis)]
        total = terms[0]
        for term in terms[1:]:
            total = cast(Symbolic, Add()(total, term))
    return total


def _join(pads: Sequence[Symbolic], axis: int) -> Symbolic:
    """What is padded, plus zero, one behind the other, with zeros between."""
    whole = pads[0].type
    end: Size = 0
    parts: list[Symbolic] = []
    for pad in pads:
        begin, after = _region(pad, axis)
        (value,) = pad.node.args
        parts += _zeros(value, axis, begin - end)
        parts.append(_plus_zero(value) if value.dtype.is_float else value)
        end = after
    parts += _zeros(pads[0].node.args[0], axis, whole.shape[axis] - end)
    return cast(Symbolic, Concat(axis)(*parts))


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
