"""Merge and split groups: across phases, long reductions, totals of rows; the list of all moves.

**Phases.** A kernel usually has nodes of the forward or of the backward pass, not of both, because
a memory policy recomputes forward kernels alone. Where a backward group reads nothing but elements
that one forward group computes, both become one kernel: no value lies between them that would be
stored, saved or recomputed. The gradient of a sum of squares is such a case::

    forward    loss = sum(r * r), r = x - y             one kernel: r = x - y
    backward   d = 2 * r                         ->     loss += r * r; store d = 2 * r

**Split reductions.** A kernel that reduces rows runs each row in one worker, so a single row keeps
one worker busy. A row of ``limits().long_row`` elements is therefore reduced in two kernels::

    s = sum(x)       ->     partial[i] = sum of chunk i of x   (all workers)
                            s = sum(partial)

A chunk has a power of two of the blocks in which sums are taken
(``staticgrad.language.ir.summation``). So both forms add in the order of one tree, and their
results are bitwise identical.

**Totals.** Least squares needs the loss ``sum(r * r)`` of ``r = x @ w - y`` and its gradient
``x.T @ r``, which sums over the rows of ``x``. The loss is known after the last row only, so the
kernel that visits row by row cannot have it. It stores one number per row instead, and a second
kernel adds these up::

    r = x @ w - y                        for each row i of x, read once:
    loss = sum(r * r)              ->        r = x[i] @ w - y[i]; total[i] = r * r
    gradient = x.T @ r                       gradient += x[i] * r
                                         loss = sum(total)
"""

from __future__ import annotations

from typing import Final

from staticgrad.analysis.layout import Strided
from staticgrad.compiler.fusion import grouping
from staticgrad.compiler.fusion.blocks import build_block
from staticgrad.compiler.fusion.cutting import cut_group
from staticgrad.compiler.fusion.engine import Engine, Move, keys_of
from staticgrad.compiler.fusion.groups import (
    ChunkBuffer,
    Group,
    GroupCut,
    GroupReduction,
    Groups,
    Key,
    PartialBuffer,
    Source,
    split_results,
)
from staticgrad.compiler.fusion.legality import find_form_conflict, find_read_conflict
from staticgrad.compiler.fusion.pools import fuse_pools
from staticgrad.compiler.fusion.rows import ROWS, ROWS_ACROSS
from staticgrad.compiler.fusion.sinking import (
    is_large,
    merge_columns,
    merge_scatters,
    merge_shared_reads,
    sink_values,
)
from staticgrad.compiler.fusion.walks import has_short_rows, is_per_row, sums_across
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.summation import BLOCK
from staticgrad.language.types.arrays import TensorType, hint_product, hint_value
from staticgrad.support.config import limits
from staticgrad.support.records import replace
from staticgrad.support.traversal import reach

#: Elements of a chunk.
CHUNK: Final = 4 * BLOCK
#: Rows from which on each worker has some; only fewer rows are split.
_FEW_ROWS: Final = 8


def has_long_row(group: Group) -> bool:
    """Return whether a group reduces few and long rows."""
    if group.kind != "map" or group.row != 1 or not group.reductions:
        return False
    rows = hint_product(group.domain[:-1])
    return rows < _FEW_ROWS and hint_value(group.domain[-1]) >= limits().long_row


def split_long_rows(engine: Engine, group: Group) -> tuple[int, ...]:
    """Split a reduction over few long rows into chunks, and a group that combines them."""
    if not has_long_row(group) or group.checked or group.regions or group.chunk:
        return ()
    if any(
        isinstance(reduction.source.base, ChunkBuffer) for reduction in group.reductions.values()
    ):
        return ()  # results of chunks: a row of 2**31 elements has a long row of them
    *outer, length = group.domain
    shape = (*outer, (length + (CHUNK - 1)) // CHUNK)
    partials: dict[Key, GroupReduction] = {}
    combined: dict[Key, GroupReduction] = {}
    for key, reduction in group.reductions.items():
        chunk_key = ChunkBuffer(key.node, isinstance(key, PartialBuffer))
        kind = engine.types[chunk_key] = TensorType(reduction.source.type.dtype.compute, shape)
        source = Source(chunk_key, kind, Strided.contiguous(shape))
        partials[chunk_key], combined[key] = reduction, GroupReduction(source, reduction.kind)
    cut = GroupCut(group.uncut_group, 0, 0, long_row=hint_value(length))
    stored = (*(key for key in group.stored if key not in combined), *partials)
    first = replace(group, reductions=partials, stored=stored, chunk=CHUNK, cut=cut)
    last = split_results(
        group, number=engine.new_number(), domain=shape, reductions=combined, cut=cut
    )
    return engine.change([group], [first, last])


def split_totals(engine: Engine, rows: Group) -> tuple[int, ...]:
    """Split totals of per-row numbers off a row group, so that large operands are read once.

    The groups between the rows and the column sums also get the lowest phase that their operands
    allow, since groups of different phases are merged only if that stores less.
    """
    groups = engine.state
    if not _reduces_rows(groups, rows):
        return ()
    # It pays where the column sums read a large operand of the rows: one kernel then reads it once.
    large = _large_operands(groups, rows)
    readers = {engine.groups[number] for key in large for number in engine.readers[key]}
    columns = [r for r in readers if r.kind == "columns" and r.domain == rows.domain]
    columns = [r for r in columns if large & _large_operands(groups, r)]
    if not columns:
        return ()
    chain = _find_numbers_per_row(engine, rows, columns)
    # Their reductions become groups of their own, so that the elements can be merged with the rows.
    for number in sorted(chain):
        group = engine.groups[number]
        if group.kind == "map" and group.reductions and group.nodes:
            terms = [reduction.source.base for reduction in group.reductions.values()]
            computed_terms = [base for base in terms if engine.owners.get(base) == number]
            stored = [
                key for key in (*group.stored, *computed_terms) if key not in group.reductions
            ]
            elements = replace(group, row=0, reductions={}, stored=tuple(dict.fromkeys(stored)))
            engine.change([group], [elements, split_results(group, number=engine.new_number())])
    for number in sorted(chain, key=engine.order.index_of):
        predecessors = engine.order.predecessors(number)
        phase = max([engine.groups[earlier].phase for earlier in predecessors], default=0)
        if phase != engine.groups[number].phase:
            group = engine.groups[number]
            engine.change([group], [replace(group, phase=phase)], ordered=True)
    return tuple(chain)


def _reduces_rows(groups: Groups, group: Group) -> bool:
    if group.kind != "map" or group.row != 1 or not group.reductions or len(group.domain) < 2:
        return False
    if hint_value(group.domain[-1]) < limits().totalled_row or not is_large(group.domain):
        return False
    return not (sums_across(groups, group) or has_short_rows(groups, group) or group.keeps_axes)


def _large_operands(groups: Groups, group: Group) -> set[Key]:
    """Return the operands of a group that have as many elements as its domain."""
    size = hint_product(group.domain)
    bases = {read.source.base for read in groups.reads(group)}
    return {
        base
        for base in bases
        if groups.owners.get(base) != group.number
        and hint_product(groups.value_type(base).shape) >= size
    }


def _find_numbers_per_row(engine: Engine, rows: Group, columns: list[Group]) -> set[int]:
    """Return the groups of one number per row between a row group and its totals."""
    owners, chain = engine.owners, _numbers_that_follow(engine, rows)
    inside = {rows.number, *chain}
    last = {
        group.number
        for group in columns
        if any(owners.get(read.source.base) in inside for read in engine.state.reads(group))
    }
    return chain | last if last else set()


def _numbers_that_follow(engine: Engine, rows: Group) -> set[int]:
    """Return the groups of one number per row that depend on a row group by such groups alone."""

    def readers(number: int) -> list[int]:
        stored = [k for k in keys_of(engine.groups[number]) if engine.owners.get(k) == number]
        numbers = [reader for key in stored for reader in engine.readers.get(key, ())]
        return [reader for reader in numbers if _is_number_per_row(engine.groups[reader], rows)]

    return {*reach([rows.number], readers)} - {rows.number}


def _is_number_per_row(group: Group, rows: Group) -> bool:
    plain = not (group.keeps_axes or group.checked or group.regions or group.cut)
    if group.kind != "map" or not plain or group.row not in (0, len(group.domain)):
        return False
    return is_per_row(group.domain, rows.domain, rows.row)


#: The key under which the groups of a graph are attached to it.
_NOTE: Final = "groups"


def merge_phases(engine: Engine, later: Group) -> tuple[int, ...]:
    """Fuse a group into one of an earlier phase (forward, backward) if that stores less."""
    if not later.phase or later.kind != "map" or not engine.update_nodes.isdisjoint(later.nodes):
        return ()
    predecessors = sorted(
        engine.order.predecessors(later.number), key=engine.order.index_of, reverse=True
    )
    for earlier in map(engine.groups.__getitem__, predecessors):
        if earlier.kind == "map" and earlier.phase < later.phase:
            reads = engine.state.reads(later)
            reads_of_earlier = [
                r for r in reads if engine.owners.get(r.source.base) == earlier.number
            ]
            if (
                find_read_conflict(earlier, later, reads_of_earlier) is None
                and find_form_conflict(earlier, later) is None
            ):
                spared, added = engine.compare_storage(earlier, later)
                # A merge across phases lets values of the forward pass live on: it has to spare as
                # many bytes.
                if 0 < spared >= added and engine.order.may_merge(earlier.number, later.number):
                    pair = (earlier, later)
                    return engine.merge(pair, engine.combine_groups(pair))
    return ()


#: All moves, in the order in which they are tried.
MOVES: Final[tuple[Move, ...]] = (
    merge_shared_reads,
    split_totals,
    *ROWS,
    merge_phases,
    build_block,
    *ROWS_ACROSS,
    sink_values,
    cut_group,
    split_long_rows,
    fuse_pools,
    merge_scatters,
    merge_columns,
)


def fuse_graph(graph: Graph, merge: bool = True) -> Groups:
    """Return the final groups of a graph; with ``merge`` off one for every node that computes."""
    groups = grouping.group(graph, merge)
    return Engine(groups).run(MOVES) if merge else groups


def attach_groups(graph: Graph, groups: Groups) -> None:
    """Store the groups of a graph with it, for the next call of ``groups_of``.

    They refer to the graph in turn, so that both live until that call or a collection.
    """
    graph.analyses[_NOTE] = groups


def groups_of(graph: Graph, merge: bool = True) -> Groups:
    """Return the groups of a graph: the attached ones, which are detached, or else new ones."""
    attached = graph.analyses.pop(_NOTE, None)
    return attached if merge and isinstance(attached, Groups) else fuse_graph(graph, merge)
