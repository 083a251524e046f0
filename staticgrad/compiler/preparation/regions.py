"""Sums of pads with disjoint regions, rewritten as concatenations.

The gradient of an array that is read slice by slice is a sum of pads, one for each slice: most
terms are zeros. If the slices are disjoint along one axis, each element of the sum is an element
of one slice, plus zeros. So the sum is a concatenation of the slices, plus zero, and of the zeros
between them. Results stay bitwise identical: x + 0.0 is x except for -0.0, for any number of zeros.

Slices of every k-th element are disjoint, too, along a new axis of size k, of which each slice
takes one element. Slices that are parts of several axes are joined along one axis after the other:
those with the same region along the first axis along the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, permutations
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
    """An axis along which a pad is smaller than the whole, and its step there."""

    axis: int
    step: int


#: Terms of a sum: the place of one, or a line along which groups are disjoint, and these in order.
_Tree = int | tuple[_Line, tuple["_Tree", ...]]


class _PadsApart(NamedTuple):
    """Terms ``first`` to ``last`` of a sum: pads along ``lines`` that are disjoint, as a tree."""

    first: int
    last: int
    lines: tuple[_Line, ...]
    tree: _Tree


#: Begin and end along each line.
Regions = Mapping[_Line, tuple[Size, Size]]
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
    if not graph.has(Pad):
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
        lines = _lines(terms[place]) if place < len(terms) else ()
        if lines and (first is None or lines == _lines(terms[first])):
            first = place if first is None else first
            continue
        if first is not None and place - first > 1:
            yield from _apart(terms, first, place)
        first = place if lines else None


def _lines(value: Symbolic) -> tuple[_Line, ...]:
    """Return the lines along which a value is a pad; () if it is none or has a step elsewhere."""
    pad = value.node.op
    if not isinstance(pad, Pad):
        return ()
    sizes, found = value.node.args[0].shape, []
    for axis, (step, start, whole) in enumerate(zip(pad.steps, pad.starts, pad.shape, strict=True)):
        if step != 1:
            one_each = isinstance(start, int) and start < step and sizes[axis] * step == whole
            if not (1 < step <= MOST_STEP and one_each):
                return ()
        if sizes[axis] != whole:
            found.append(_Line(axis, step))
    return tuple(found)


def _alone(value: Symbolic, axis: int) -> Symbolic:
    """Return a value with a new axis of size 1 after ``axis``."""
    shape = (*value.shape[: axis + 1], 1, *value.shape[axis + 1 :])
    return cast(Symbolic, Reshape(shape)(value))


def _apart(terms: Sequence[Symbolic], first: int, last: int) -> Iterator[_PadsApart]:
    """Yield runs of adjacent pads that are disjoint, as long as possible."""
    lines = _lines(terms[first])
    regions = {place: _regions(terms[place], lines) for place in range(first, last)}
    together: list[int] = []
    for place in range(first, last):
        if not all(_are_disjoint(regions[other], regions[place]) for other in together):
            yield from _run(together, lines, regions)
            together = []
        together.append(place)
    yield from _run(together, lines, regions)


def _regions(value: Symbolic, lines: Sequence[_Line]) -> Regions:
    return {line: _region(value, line) for line in lines}


def _are_disjoint(one: Regions, other: Regions) -> bool:
    return any(_is_before(one[k], other[k]) or _is_before(other[k], one[k]) for k in one)


def _is_before(one: tuple[Size, Size], other: tuple[Size, Size]) -> bool:
    return is_at_least(other[0], one[1])


def _run(
    places: Sequence[int], lines: Sequence[_Line], regions: Mapping[int, Regions]
) -> Iterator[_PadsApart]:
    """Yield pads that are disjoint by lines, if they can be joined so; a single pad is not."""
    if len(places) > 1:
        for order in permutations(lines):
            tree = _tree(places, order, regions)
            if tree is not None:
                yield _PadsApart(places[0], places[-1] + 1, order, tree)
                return


def _tree(
    places: Sequence[int], lines: Sequence[_Line], regions: Mapping[int, Regions]
) -> _Tree | None:
    """Return pads by their regions along the first line, those of one region by the others."""
    if len(places) == 1:
        return places[0]
    if not lines:
        return None
    line, *others = lines
    groups: dict[tuple[Size, Size], list[int]] = {}
    for place in places:
        groups.setdefault(regions[place][line], []).append(place)
    order = sorted(groups, key=lambda region: tuple(map(hint_value, region)))
    if not all(_is_before(one, other) for one, other in pairwise(order)):
        return None
    trees = [_tree(groups[region], others, regions) for region in order]
    if len(trees) == 1:
        return trees[0] if len(lines) > 1 else None
    return None if None in trees else (line, tuple(cast("list[_Tree]", trees)))


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
            terms[run.first : run.last] = [_join(terms, run)]
        total = terms[0]
        for term in terms[1:]:
            total = cast(Symbolic, Add()(total, term))
    return total


def _join(terms: Sequence[Symbolic], run: _PadsApart) -> Symbolic:
    # If all parts are slices, which are in memory and are read in place, zero is added to the
    # concatenation. Otherwise the parts are computed in place, and zero is added to each of them.
    pads = terms[run.first : run.last]
    is_float = pads[0].dtype.is_float
    lie = is_float and all(isinstance(p.node.args[0].node.op, Slice) for p in pads)
    joined = _built(terms, run.tree, run.lines, is_float and not lie)
    return cast(Symbolic, joined + 0.0) if lie else joined


def _built(
    terms: Sequence[Symbolic], tree: _Tree, lines: Sequence[_Line], adds_zero: bool
) -> Symbolic:
    """Return the sum of a tree's pads, whole along ``lines`` and as its parts along other axes."""
    if isinstance(tree, int):
        (value,) = terms[tree].node.args
        return _padded(_plus_zero(value) if adds_zero else value, terms[tree], lines)
    line, branches = tree
    place = lines.index(line)
    parts = [_built(terms, branch, lines[place + 1 :], adds_zero) for branch in branches]
    pads = [terms[_leaf(branch)] for branch in branches]
    return _padded(_concatenated(parts, pads, line), pads[0], lines[:place])


def _leaf(tree: _Tree) -> int:
    """Return one of the terms of a tree."""
    return tree if isinstance(tree, int) else _leaf(tree[1][0])


def _padded(value: Symbolic, pad: Symbolic, lines: Sequence[_Line]) -> Symbolic:
    """Return a value in a pad's region along ``lines``, with zeros around it."""
    if not lines:
        return value
    op, axes = cast(Pad, pad.node.op), {line.axis for line in lines}
    shape: list[Size] = [*value.shape]
    starts: list[Size] = [0] * value.ndim
    steps = [1] * value.ndim
    for axis in axes:
        shape[axis], starts[axis], steps[axis] = op.shape[axis], op.starts[axis], op.steps[axis]
    return cast(Symbolic, Pad(tuple(shape), tuple(starts), tuple(steps))(value))


def _concatenated(parts: Sequence[Symbolic], pads: Sequence[Symbolic], line: _Line) -> Symbolic:
    """Return parts along a line in the regions of their pads, and zeros between them."""
    axis, step = line
    whole = pads[0].shape[axis]
    along = axis if step == 1 else axis + 1
    placed = [part if step == 1 else _alone(part, axis) for part in parts]
    end: Size = 0
    found: list[Symbolic] = []
    for part, pad in zip(placed, pads, strict=True):
        begin, after = _region(pad, line)
        found += [*_zeros(placed[0], along, begin - end), part]
        end = after
    found += _zeros(placed[0], along, (whole if step == 1 else step) - end)
    joined = cast(Symbolic, Concat(along)(*found))
    shape = (*parts[0].shape[:axis], whole, *parts[0].shape[axis + 1 :])
    return joined if step == 1 else cast(Symbolic, Reshape(shape)(joined))


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
