"""Rewrite sums of pads: overlapping ones as sums of disjoint ones, and these as concatenations.

The gradient of an array that is read slice by slice is a sum of pads, one for each slice: most
terms are zeros. If the slices are disjoint along one axis, each element of the sum is an element
of one slice, plus zeros. So the sum is a concatenation of the slices, plus zero, and of the zeros
between them. Results stay bitwise identical: x + 0.0 is x except for -0.0, for any number of zeros.

The gradient of ``x[:k]`` and ``x[k:]``, for cotangents ``a`` and ``b``::

    pad(a, (0, n - k)) + pad(b, (k, 0))     ->     concat([a, b]) + 0.0

Slices of every k-th element are disjoint, too, along a new axis of size k, of which each slice has
one element. Slices that are parts of several axes are concatenated along one axis after the other:
slices with the same region along the first axis are concatenated along the others first.

**Overlapping slices.** Of the frames of a signal each element belongs to a few, but a sum of 200
pads visits each element 200 times. The frames are classes of disjoint ones: with a step of a
quarter of their length, four. So the terms are added class by class, and each class is a
concatenation: time, memory and nodes are linear in the slices. Only the order of the terms changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import pairwise, permutations
from typing import Final, cast

from passes.late.base import late_pass
from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.graph import Graph, Node, Symbolic, replace_traced
from staticgrad.language.ops.arithmetic import Add
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.indexing import Concat, Pad, Slice
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.types.arrays import Shape, hint_value
from staticgrad.language.types.dim import Size, is_at_least
from staticgrad.support.building import within
from staticgrad.support.config import limits
from staticgrad.support.records import NamedTuple


class _Line(NamedTuple):
    """An axis along which a pad has a region smaller than the result, and its step there."""

    axis: int
    step: int


#: Terms of a sum: the index of one, or a line along which groups are disjoint, and these in order.
_Tree = int | tuple[_Line, tuple["_Tree", ...]]


class _DisjointPads(NamedTuple):
    """Terms ``first`` to ``last`` of a sum: pads along ``lines`` that are disjoint, as a tree."""

    first: int
    last: int
    lines: tuple[_Line, ...]
    tree: _Tree


#: Begin and end along each line.
Regions = Mapping[_Line, tuple[Size, Size]]


#: Pads of a class of disjoint ones, on average, at least, as ``limits().summed_pads`` of a sum.
#: Fewer are operands of one kernel, which tests the borders of each. Microseconds of one kernel and
#: of classes (Zen 3): 12 frames of 512 elements with a step of 128 take 10.9 and 6.8, 64 frames 146
#: and 7.0; 24 frames of 16 elements with a step of 1 take 1.5 and 2.0, 64 frames 2.9 and 1.9.
_LEAST_OF_CLASS: Final = 3

#: The key under which a graph stores itself with joined pads.
_NOTE: Final = "joined pads"


def attach_joined(graph: Graph, joined: Graph) -> None:
    """Store the result of ``join_disjoint_pads`` with the graph for its next call."""
    if joined is not graph:
        graph.analyses[_NOTE] = joined


@late_pass("overlapping-pads", keeps="close")
def order_overlapping_pads(graph: Graph) -> Graph:
    """Rewrite sums of many overlapping pads as sums of classes of disjoint ones."""
    if not graph.has(Pad):
        return graph
    spines = {
        spine[-1]: spine for spine in _find_spines(graph) if len(spine) + 1 >= limits().summed_pads
    }
    classes = {root: _classes(_terms(spine)) for root, spine in spines.items()}
    classes = {root: indices for root, indices in classes.items() if indices}
    rebuilt: dict[Node, tuple[Symbolic, ...]] = {}

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        rebuilt[node] = args
        if node not in classes:
            return None
        spine = spines[node]
        terms = [rebuilt[spine[0]][0], *(rebuilt[addition][1] for addition in spine)]
        with within(node.origin, node.order):
            sums = [_add_terms([terms[index] for index in indices]) for indices in classes[node]]
            return (_add_terms(sums),)

    return graph.replace_nodes(rewrite).without_dead_nodes() if classes else graph


def _classes(terms: Sequence[Symbolic]) -> list[Sequence[int]]:
    """Return the terms of a sum as classes of disjoint pads and single others; [] for few pads."""
    pads: dict[tuple[tuple[_Line, ...], Shape], list[int]] = {}
    classes: list[Sequence[int]] = []
    for index, term in enumerate(terms):
        if lines := _padded_axes(term):
            pads.setdefault((lines, term.shape), []).append(index)
        else:
            classes.append((index,))
    gains = False
    for (lines, _), indices in pads.items():
        regions = {index: _regions(terms[index], lines) for index in indices}
        of_lines = _disjoint_classes(indices, lines, regions)
        pays = len(indices) >= max(limits().summed_pads, _LEAST_OF_CLASS * len(of_lines))
        classes += of_lines if pays else [(index,) for index in indices]
        gains |= pays
    return classes if gains else []


def _disjoint_classes(
    indices: Sequence[int], lines: Sequence[_Line], regions: Mapping[int, Regions]
) -> list[list[int]]:
    """Return pads as classes of disjoint ones; of one line as few as there are pads at an element.

    Pads with the same region along the first line are classes along the other lines first.
    """
    if not lines:
        return [[index] for index in indices]
    line, *other_lines = lines
    groups: dict[tuple[Size, Size], list[int]] = {}
    for index in indices:
        groups.setdefault(regions[index][line], []).append(index)
    ends: list[tuple[Size, Size]] = []  # the last region of each color
    colors: list[list[list[int]]] = []  # and its classes
    for region in sorted(groups, key=lambda region: tuple(map(hint_value, region))):
        color = next((k for k, last in enumerate(ends) if _is_before(last, region)), len(ends))
        ends[color : color + 1] = [region]
        colors[color:] = colors[color:] or [[]]
        of_region = _disjoint_classes(groups[region], other_lines, regions)
        classes = colors[color]
        classes += [[] for _ in of_region[len(classes) :]]
        for class_indices, more in zip(classes, of_region, strict=False):
            class_indices += more
    return [indices for classes in colors for indices in classes]


def _add_terms(terms: Sequence[Symbolic]) -> Symbolic:
    """Build the sum of terms in their order."""
    return reduce(lambda total, term: cast(Symbolic, Add()(total, term)), terms)


@late_pass("disjoint-pads", priced=True)
def join_disjoint_pads(graph: Graph) -> Graph:
    """Rewrite sums of pads that are disjoint along one axis as concatenations."""
    attached = graph.analyses.pop(_NOTE, None)
    return attached if isinstance(attached, Graph) else _join_disjoint_pads(graph)


def _join_disjoint_pads(graph: Graph) -> Graph:
    """Rewrite sums of pads with disjoint regions as concatenations."""
    if not graph.has(Pad):
        return graph
    sums = _find_sums(graph)
    rebuilt: dict[Node, tuple[Symbolic, ...]] = {}

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        rebuilt[node] = args
        return (_rebuild_sum(node, *sums[node], rebuilt),) if node in sums else None

    return replace_traced(graph, rewrite).without_dead_nodes() if sums else graph


def _find_sums(graph: Graph) -> dict[Node, tuple[list[Node], list[_DisjointPads]]]:
    """Find the graph's sums with disjoint pads: all additions of each, and its runs of pads."""
    sums: dict[Node, tuple[list[Node], list[_DisjointPads]]] = {}
    for spine in _find_spines(graph):
        if runs := [*_disjoint_runs(_terms(spine))]:
            sums[spine[-1]] = spine, runs
    return sums


def _find_spines(graph: Graph) -> Iterator[list[Node]]:
    """Yield the additions of each sum of a graph, from its first terms to its last one."""
    users, roots = users_of(graph), {value.key for value in graph.roots}
    inside: set[Node] = set()

    def continues(node: Node) -> bool:
        first, second = node.args
        has_one_reader = first.key not in roots and len(users[first.key]) == 1
        return isinstance(first.node.op, Add) and has_one_reader and first.key != second.key

    for node in reversed(graph.nodes):
        if isinstance(node.op, Add) and node not in inside:
            spine = [node]
            while continues(spine[-1]):
                spine.append(spine[-1].args[0].node)
            inside.update(spine)
            yield spine[::-1]


def _terms(spine: Sequence[Node]) -> list[Symbolic]:
    return [spine[0].args[0], *(node.args[1] for node in spine)]


def _disjoint_runs(terms: Sequence[Symbolic]) -> Iterator[_DisjointPads]:
    """Yield the runs of adjacent terms of a sum that are disjoint pads along the same axes.

    Pads of other shapes are repeated along an axis, and are no part of a run.
    """
    first: int | None = None
    for index in range(len(terms) + 1):
        lines = _padded_axes(terms[index]) if index < len(terms) else ()
        if lines and first is None:
            first = index
            continue
        if lines and first is not None and _pad_the_same_axes(terms[first], terms[index]):
            continue
        if first is not None and index - first > 1:
            yield from _find_disjoint_runs(terms, first, index)
        first = index if lines else None


def _pad_the_same_axes(first: Symbolic, second: Symbolic) -> bool:
    """Return whether two pads have the same shape, and are padded along the same axes."""
    return first.shape == second.shape and _padded_axes(first) == _padded_axes(second)


def _padded_axes(value: Symbolic) -> tuple[_Line, ...]:
    """Return the axes along which a value is a pad; () if it is not a supported pad."""
    pad = value.node.op
    if not isinstance(pad, Pad):
        return ()
    sizes, lines = value.node.args[0].shape, []
    for axis, (step, start, size) in enumerate(zip(pad.steps, pad.starts, pad.shape, strict=True)):
        if step != 1:
            is_one_per_step = isinstance(start, int) and start < step and sizes[axis] * step == size
            if not is_one_per_step:
                return ()
        if sizes[axis] != size:
            lines.append(_Line(axis, step))
    return tuple(lines)


def _add_axis(value: Symbolic, axis: int) -> Symbolic:
    """Build the reshape of a value that adds an axis of size 1 after ``axis``."""
    shape = (*value.shape[: axis + 1], 1, *value.shape[axis + 1 :])
    return cast(Symbolic, Reshape(shape)(value))


def _find_disjoint_runs(
    terms: Sequence[Symbolic], first: int, last: int
) -> Iterator[_DisjointPads]:
    """Yield the longest runs of adjacent terms of a sum that are disjoint pads."""
    lines = _padded_axes(terms[first])
    regions = {index: _regions(terms[index], lines) for index in range(first, last)}
    disjoint: list[int] = []
    for index in range(first, last):
        if not all(_are_disjoint(regions[earlier], regions[index]) for earlier in disjoint):
            yield from _join_run(disjoint, lines, regions)
            disjoint = []
        disjoint.append(index)
    yield from _join_run(disjoint, lines, regions)


def _regions(value: Symbolic, lines: Sequence[_Line]) -> Regions:
    return {line: _region(value, line) for line in lines}


def _are_disjoint(first: Regions, second: Regions) -> bool:
    return any(_is_before(first[k], second[k]) or _is_before(second[k], first[k]) for k in first)


def _is_before(first: tuple[Size, Size], second: tuple[Size, Size]) -> bool:
    return is_at_least(second[0], first[1])


def _join_run(
    indices: Sequence[int], lines: Sequence[_Line], regions: Mapping[int, Regions]
) -> Iterator[_DisjointPads]:
    """Yield disjoint pads as a tree of concatenations, if there is one."""
    if len(indices) > 1:
        for order in permutations(lines):
            tree = _tree_of_pads(indices, order, regions)
            if tree is not None:
                yield _DisjointPads(indices[0], indices[-1] + 1, order, tree)
                return


def _tree_of_pads(
    indices: Sequence[int], lines: Sequence[_Line], regions: Mapping[int, Regions]
) -> _Tree | None:
    """Return a tree of pads by their regions along the first axis, then along the others."""
    if len(indices) == 1:
        return indices[0]
    if not lines:
        return None
    line, *other_lines = lines
    groups: dict[tuple[Size, Size], list[int]] = {}
    for index in indices:
        groups.setdefault(regions[index][line], []).append(index)
    order = sorted(groups, key=lambda region: tuple(map(hint_value, region)))
    if not all(_is_before(first, second) for first, second in pairwise(order)):
        return None
    trees = [_tree_of_pads(groups[region], other_lines, regions) for region in order]
    if len(trees) == 1:
        return trees[0] if len(lines) > 1 else None
    return None if None in trees else (line, tuple(cast("list[_Tree]", trees)))


def _region(value: Symbolic, line: _Line) -> tuple[Size, Size]:
    """Return begin and end of a pad's region along a line, within a step if the step is > 1."""
    start = cast(Pad, value.node.op).starts[line.axis]
    return start, start + (value.node.args[0].shape[line.axis] if line.step == 1 else 1)


def _rebuild_sum(
    root: Node,
    spine: Sequence[Node],
    runs: Sequence[_DisjointPads],
    rebuilt: dict[Node, tuple[Symbolic, ...]],
) -> Symbolic:
    """Rewrite a sum with its runs of disjoint pads as concatenations."""
    terms = [rebuilt[spine[0]][0], *(rebuilt[node][1] for node in spine)]
    with within(root.origin, root.order):
        for run in reversed(runs):
            # If all parts are slices, which are in memory and are read in place, zero is added to
            # the concatenation. Otherwise the parts are computed in place, and zero is added to
            # each of them.
            pads = terms[run.first : run.last]
            is_float = pads[0].dtype.is_float
            in_memory = is_float and all(isinstance(p.node.args[0].node.op, Slice) for p in pads)
            joined = _build_tree(terms, run.tree, run.lines, is_float and not in_memory)
            terms[run.first : run.last] = [cast(Symbolic, joined + 0.0) if in_memory else joined]
        return _add_terms(terms)


def _build_tree(
    terms: Sequence[Symbolic], tree: _Tree, lines: Sequence[_Line], adds_zero: bool
) -> Symbolic:
    """Build the concatenation nodes of a tree of pads, padded along ``lines`` only."""
    if isinstance(tree, int):
        (value,) = terms[tree].node.args
        return _pad_value(_plus_zero(value) if adds_zero else value, terms[tree], lines)
    line, branches = tree
    index = lines.index(line)
    parts = [_build_tree(terms, branch, lines[index + 1 :], adds_zero) for branch in branches]
    pads = [terms[_leaf(branch)] for branch in branches]
    return _pad_value(_concatenate(parts, pads, line), pads[0], lines[:index])


def _leaf(tree: _Tree) -> int:
    """Return one of the terms of a tree."""
    return tree if isinstance(tree, int) else _leaf(tree[1][0])


def _pad_value(value: Symbolic, pad: Symbolic, lines: Sequence[_Line]) -> Symbolic:
    """Build the node that pads a value with zeros to a pad's region along some axes."""
    if not lines:
        return value
    op, axes = cast(Pad, pad.node.op), {line.axis for line in lines}
    shape: list[Size] = [*value.shape]
    starts: list[Size] = [0] * value.ndim
    steps = [1] * value.ndim
    for axis in axes:
        shape[axis], starts[axis], steps[axis] = op.shape[axis], op.starts[axis], op.steps[axis]
    return cast(Symbolic, Pad(tuple(shape), tuple(starts), tuple(steps))(value))


def _concatenate(parts: Sequence[Symbolic], pads: Sequence[Symbolic], line: _Line) -> Symbolic:
    """Build the concatenation of parts in the regions of their pads, with zeros between them."""
    axis, step = line
    size = pads[0].shape[axis]
    along = axis if step == 1 else axis + 1
    expanded = [part if step == 1 else _add_axis(part, axis) for part in parts]
    end: Size = 0
    pieces: list[Symbolic] = []
    for part, pad in zip(expanded, pads, strict=True):
        begin, region_end = _region(pad, line)
        pieces += [*_zeros(expanded[0], along, begin - end), part]
        end = region_end
    pieces += _zeros(expanded[0], along, (size if step == 1 else step) - end)
    joined = cast(Symbolic, Concat(along)(*pieces))
    shape = (*parts[0].shape[:axis], size, *parts[0].shape[axis + 1 :])
    return joined if step == 1 else cast(Symbolic, Reshape(shape)(joined))


def _plus_zero(value: Symbolic) -> Symbolic:
    if isinstance(value.node.op, Reshape):
        return cast(Symbolic, Reshape(value.shape)(value.node.args[0] + 0.0))
    return cast(Symbolic, value + 0.0)


def _zeros(like: Symbolic, axis: int, count: Size) -> list[Symbolic]:
    """Build nodes of ``count`` zeros along an axis; return an empty list if ``count`` is 0."""
    if count == 0:
        return []
    shape = (*like.shape[:axis], count, *like.shape[axis + 1 :])
    return [cast(Symbolic, zeros_like_type(like.type.with_shape(shape), like))]
