"""Walks: the offsets and strides of operands over the domain of a group; strided and short rows.

**Rows.** A group of rows has a domain of outer axes and a row, its last ``row`` axes. A node of it
is computed either for each element of the domain, or once per row; then it has the shape of the
outer axes, with or without axes of size 1 for the axes of the row.

**Look-ups in rows.** Class labels select one element of each row, and the gradient of that sets
one. Both stay in their row: a selected element is recomputed at its index, and a set element is
found by comparing indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Final

from staticgrad.analysis.cycles import instructions
from staticgrad.analysis.layout import Strided, collapse, is_one_run
from staticgrad.compiler.fusion.groups import (
    Group,
    GroupReduction,
    GroupValues,
    Key,
    ResultBuffer,
    Source,
    Walk,
    meets_elements,
)
from staticgrad.compiler.fusion.windows import window_walks
from staticgrad.language.ir import forms
from staticgrad.language.ir.graph import Node, Symbolic
from staticgrad.language.types.arrays import Shape, c_strides, hint_product, hint_value
from staticgrad.language.types.dim import Size
from staticgrad.support import fuses

#: Least number of sums over strided terms, by hints, that are vectorized over the sums: with fewer,
#: most lanes would be empty.
FEWEST_ACROSS: Final = 8
#: Such reductions in one kernel, at most: each has accumulators in L1.
MOST_ACROSS: Final = 4
#: Instructions of a kernel in which each element of a row is unrolled, at most.
MOST_WRITTEN_OUT: Final = 1500
#: Elements of a row from which on rows whose elements are stored do not have a lane each, as
#: multiples of the lanes of a vector: their elements, each a vector, would not fit into registers.
_OUTGROWN: Final = 1.5


def outer_shape(domain: Shape, row: int) -> Shape:
    """Return the axes outside the row."""
    return domain[: len(domain) - row]


def is_per_row(shape: Shape, domain: Shape, row: int) -> bool:
    """Return whether values of a shape have one element for each row of the domain."""
    outer = outer_shape(domain, row)
    return shape in (outer, (*outer, *(1,) * row)) and shape != domain


def row_walk(source: Source, shape: Shape, domain: Shape, row: int) -> Walk:
    """Return the walk (offset, strides) of an operand over a row domain that a node reads.

    ``shape``: that of the domain, or of one element per row.
    """
    if shape == domain:
        strides = source.layout.broadcast(source.type.shape, domain)
    else:
        outer = outer_shape(domain, row)
        strides = source.layout.broadcast(source.type.shape, shape)[: len(outer)]
        strides = (*strides, *(0,) * row)
    return Walk(source.base, source.layout.offset, strides)


def meets_rows(walk: Walk, domain: Shape, row: int) -> bool:
    """Return True if a walk over one element per row reads the element of its own row."""
    outer = outer_shape(domain, row)
    row_strides = (*c_strides(outer), *(0,) * row)
    return walk.offset == 0 and all(
        extent == 1 or stride == want
        for extent, stride, want in zip(domain, walk.strides, row_strides, strict=True)
    )


def walk_of(group: Group, source: Source, shape: Shape | None = None) -> Walk:
    """Return the walk (offset, strides) of a source over the domain of the group that reads it.

    The source may have fewer axes than the domain: it is broadcast along the others. ``shape``: of
    the node that reads it, if that has one element per row of a group of rows.
    """
    if shape is not None and group.kind == "rows" and is_per_row(shape, group.domain, group.row):
        return row_walk(source, shape, group.domain, group.row)
    strides = source.layout.broadcast(source.type.shape, group.domain)
    walk = Walk(source.base, source.layout.offset, strides)
    copy = group.copied.get(walk)
    return walk if copy is None else Walk(copy, 0, c_strides(group.domain))


def store_walk(group: Group, key: Key, shape: Shape) -> Walk:
    """Return the walk of a contiguous buffer over the leading axes of the domain (``shape``)."""
    inner_rank = len(group.domain) - len(shape)
    return Walk(key, 0, (*c_strides(shape), *(0,) * inner_rank))


def computes(groups: GroupValues, group: Group, source: Source) -> bool:
    """Return True if a fusion group itself computes a source, by element or by row."""
    if group.kind == "rows":
        return not source.inline and groups.computes(group, source.base)
    return (
        meets_elements(source, group.domain)
        and not group.transfers
        and source.base not in group.reductions
        and groups.computes(group, source.base)
    )


def operand_walks(groups: GroupValues, group: Group) -> list[Walk]:
    """Return the walks of all that a group reads from memory, of a product its epilogue's.

    A walk of several nodes occurs several times.
    """
    walks: list[Walk] = []
    for node in group.nodes:
        form = node.form
        if group.kind == "rows" and isinstance(form, forms.GatherAlong):
            source, place = map(groups.source, node.args)
            walks += source_walks(groups, group, [place], node.types[0].shape)
            walks += [] if computes(groups, group, source) else gather_walks(groups, node)[:1]
        elif isinstance(form, forms.Gather | forms.GatherAlong):
            data, places, _ = gather_walks(groups, node)
            is_formula = looks_up_positions(node, groups.source(node.args[0]))
            walks += [places] if is_formula else [data, places]
        elif isinstance(form, forms.Assemble):
            walks += window_walks(groups, node)
        elif isinstance(form, forms.SearchForm):
            walks += source_walks(groups, group, [groups.source(node.args[1])])
        elif not isinstance(form, forms.Contract | forms.WINDOWED):
            sources = [groups.source(a) for a in node.args]
            walks += source_walks(groups, group, sources, node.types[0].shape)
    results = (*group.reductions.values(), *group.columns.values())
    walks += source_walks(groups, group, [reduction.source for reduction in results])
    return walks


def source_walks(
    groups: GroupValues, group: Group, sources: Iterable[Source], shape: Shape | None = None
) -> list[Walk]:
    """Return the walks by which a group reads these values, and the operands of inline ones.

    ``shape``: of the node that reads them, as for ``walk_of``.
    """
    operands = [
        source for source in groups.expand_inline(sources) if not computes(groups, group, source)
    ]
    return [walk_of(group, source, shape) for source in operands]


def gather_walks(groups: GroupValues, node: Node) -> tuple[Walk, Walk, Size]:
    """Return the walk of a gather's data, the walk of its indices, and the index stride.

    For a scatter the data is the result, which is contiguous, and the walk is that of its first
    part.
    """
    form = node.form
    assert isinstance(form, forms.INDEXED)
    axis = form.axis
    indices = groups.source(node.args[1])
    base: Key
    target = axis
    if isinstance(form, forms.Gather | forms.GatherAlong):
        data = groups.source(node.args[0])
        base, layout = data.base, data.layout
    else:
        base, layout = ResultBuffer(node), Strided.contiguous(node.types[0].shape)
        target = form.target if isinstance(form, forms.Scatter) else axis
    outer, (stride, *inner) = layout.strides[:axis], layout.strides[target:]
    if isinstance(form, forms.Gather | forms.Scatter | forms.ScatterOnto):
        rank = indices.type.rank
        moves = (*outer, *(0,) * rank, *inner)
        index_moves = (*(0,) * axis, *indices.layout.strides, *(0,) * len(inner))
    else:
        moves = (*outer, 0, *inner)
        index_moves = indices.layout.strides
    return (
        Walk(base, layout.offset, moves),
        Walk(indices.base, indices.layout.offset, index_moves),
        stride,
    )


def collapse_batch_rows(
    domain: Shape, walks: Sequence[Walk], a_rows: Size
) -> tuple[Size, dict[Walk, Size]] | None:
    """Collapse the rows of a batch of matrices into one axis: its extent, and each stride along it.

    The first walk is that of the matrices ``a``, whose rows have the stride ``a_rows``. None if the
    strides of some walk do not collapse, or if another walk equals that of ``a``.
    """
    a, *others = walks
    if a in others:
        return None
    row_moves = dict.fromkeys(walks)
    moves = [(*w.strides[:-2], a_rows if w is a else w.strides[-2]) for w in row_moves]
    extents, merged = collapse(domain[:-1], moves)
    if len(extents) != 1:
        return None
    return extents[0], {w: move for w, (move,) in zip(row_moves, merged, strict=True)}


def sums_across(groups: GroupValues, group: Group) -> bool:
    """Return True if a group is a few sums across strided rows, along contiguous columns.

    Then a kernel reads vectors with one term of each of several neighbouring rows.
    """
    if any(key not in group.reductions for key in group.stored) or scans_rows(group):
        return False
    last = len(group.domain) - group.row - 1
    if last < 0 or group.windowed or group.checked or group.regions:
        return False
    pointwise = all(isinstance(node.form, forms.Pointwise) for node in group.nodes)
    if group.indexed and not (group.row == 1 and pointwise):
        return False  # positions along merged axes are not known
    kinds = [
        (reduction.kind, reduction.source.type.dtype) for reduction in group.reductions.values()
    ]
    ordered = all(forms.COMBINERS[kind].is_ordered(dtype) for kind, dtype in kinds)
    if len(kinds) != 1 and not (0 < len(kinds) <= MOST_ACROSS and ordered):
        return False
    moves = {(w.strides[last], w.strides[-1]) for w in operand_walks(groups, group)}
    across = any(sum_stride == 1 and term not in (0, 1) for sum_stride, term in moves)
    along = any(sum_stride not in (0, 1) for sum_stride, _ in moves)
    return across and not along and hint_value(group.domain[last]) >= FEWEST_ACROSS


def has_short_rows(groups: GroupValues, group: Group) -> bool:
    """Return True if a group's rows are so short that each vector lane computes one row.

    Then the layout of rows does not matter. Vectorized along a short row, a reduction is bound by
    latency: of the additions of a sum, of the comparisons of an extreme of floats, of the masks of
    one of bools. Extremes of integers are not, so their limit is lower. So is the limit of rows
    that are contiguous and whose elements are stored after their reduction: until then all elements
    are in registers.
    """
    if group.kind not in ("map", "rows") or not group.reductions:
        return False
    if group.columns or group.regions or (group.checked and group.kind == "map"):
        return False
    if scans_rows(group):
        return False
    reductions = group.reductions.values()
    work = sum(map(instructions, group.nodes))
    if not may_be_short(group.domain, group.row, reductions, work):
        return False
    if not _outgrows_registers(group):
        return True
    walks = operand_walks(groups, group)
    runs = all(is_one_run(walk.strides, group.domain, group.row) for walk in walks)
    return not (runs and all(walk.strides[-1] in (0, 1) for walk in walks))


def has_short_scan(node: Node) -> bool:
    """Return whether the rows of a scan are so short that their elements are unrolled."""
    form = node.form
    assert isinstance(form, forms.Scan)
    length = node.types[0].shape[form.axis]
    return isinstance(length, int) and 1 <= length < 2 * node.types[0].dtype.lanes


def scans_rows(group: Group) -> bool:
    """Return whether a group computes running sums or products along its rows."""
    return any(isinstance(node.form, forms.Scan) for node in group.nodes)


def _outgrows_registers(group: Group) -> bool:
    """Return True if rows in lanes would need more vector registers than there are."""
    # If it also finds indices in rows, as argmax does, lanes are faster nevertheless: along a row
    # an argmax takes twice as long.
    if group.kind != "rows" or any(map(_is_extreme_of_integers, group.reductions.values())):
        return False
    length = hint_product(group.domain[len(group.domain) - group.row :])
    homes = [key for key in group.stored if isinstance(key, ResultBuffer)]
    stores_elements = any(key.node.types[key.result].shape == group.domain for key in homes)
    return stores_elements and length >= _OUTGROWN * fewest_lanes(group.reductions.values())


def fewest_lanes(reductions: Iterable[GroupReduction]) -> int:
    """Return the lanes of a vector of the widest reduced elements."""
    return min(reduction.source.type.dtype.compute.lanes for reduction in reductions)


def may_be_short(domain: Shape, row: int, reductions: Iterable[GroupReduction], work: int) -> bool:
    """Return True if a group's rows are short enough for a row in each vector lane.

    Of several reductions the slowest along a row decides: for the others its elements are loaded
    already.
    """
    split = len(domain) - row
    length = prod(domain[split:], start=1)
    if not isinstance(length, int) or length < 1:
        return False
    if not any(length <= _longest_short(reduction) for reduction in reductions):
        return False
    outer_size = max(map(hint_value, domain[:split]), default=0)
    return outer_size >= FEWEST_ACROSS and length * work <= MOST_WRITTEN_OUT


def _longest_short(reduction: GroupReduction) -> int:
    longest = reduction.source.type.dtype.compute.lanes
    return longest if _is_extreme_of_integers(reduction) else 2 * longest - 1


def _is_extreme_of_integers(reduction: GroupReduction) -> bool:
    is_integer = reduction.source.type.dtype.compute.is_integer
    return is_integer and forms.COMBINERS[reduction.kind].rule != "tree"


def broken_rows(groups: GroupValues, group: Group) -> Sequence[Walk]:
    """Return the operands of a reduction whose rows are not contiguous: it must read copies.

    A reduction over one axis has none, and neither has one that is vectorized over rows.
    """
    if group.kind != "map" or group.row < 2 or not group.reductions or group.keeps_axes:
        return ()
    if has_short_rows(groups, group) or sums_across(groups, group):
        return ()
    walks = dict.fromkeys(operand_walks(groups, group))
    return [walk for walk in walks if not is_one_run(walk.strides, group.domain, group.row)]


def may_fold(group: Group) -> bool:
    """Return whether the last of several axes may be folded, for any operands."""
    if len(group.domain) < 2 or not group.nodes:
        return False
    return isinstance(group.domain[-1], int)


def lies_in_order(source: Source) -> bool:
    """Return whether a value is in C order, at any offset in its buffer."""
    layout = Strided(0, source.layout.strides)
    return layout.is_contiguous(source.type.shape)


def is_one_hot(node: Node, users: Sequence[Node]) -> bool:
    """Return True if a scatter sets one element per row (one-hot) and is read by element."""
    form = node.form
    return (
        isinstance(form, forms.ScatterAlong)
        and _one_of_row(node, form.axis)
        and not node.types[0].dtype.is_bool
        and all(isinstance(user.form, forms.Pointwise | forms.Reduce) for user in users)
        and bool(users)
    )


def looks_up_positions(node: Node, data: Source) -> bool:
    """Return whether a gather reads a vector whose elements follow from their places alone.

    It checks and wraps its indices, and needs no table in memory. ``data``: the vector.
    """
    if not isinstance(node.form, forms.Gather) or not data.inline or data.type.rank != 1:
        return False
    form = data.base.node.form
    return isinstance(form, forms.Pointwise) and form.indexed and not data.base.node.args


def selects_of_row(node: Node) -> bool:
    """Return whether a gather picks one element of each row."""
    form = node.form
    return isinstance(form, forms.GatherAlong) and _one_of_row(node, form.axis)


def _one_of_row(node: Node, axis: int) -> bool:
    shape = node.args[1].shape
    return axis == len(shape) - 1 and shape[axis] == 1


def may_compute_again(value: Symbolic, domain: Shape) -> bool:
    """Return True if an element of a value can be recomputed at the index of a gather."""
    pending, seen = [value.node], {value.node}
    while pending:
        node = pending.pop()
        form = node.form
        if isinstance(form, forms.ScatterAlong | forms.Assemble):
            return False
        if not isinstance(form, forms.Pointwise) or node.types[0].shape != domain:
            continue
        if form.indexed or len(seen) > fuses.GATHERED_NODES:
            return False
        below = [arg.node for arg in node.args if arg.node not in seen]
        seen.update(below)
        pending += below
    return True
