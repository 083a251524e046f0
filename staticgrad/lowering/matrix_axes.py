"""The loops of a product of matrices: over batches or panels, rows and columns."""

from __future__ import annotations

from collections.abc import Mapping

from staticgrad.analysis.layout import Strided
from staticgrad.fusion.groups import Source, Walk
from staticgrad.ir import expr as ex
from staticgrad.lowering.operands import VECTOR, Lowering
from staticgrad.types.dim import Size


def matrix(
    low: Lowering, source: Source, transposed: bool, panels: bool = False
) -> tuple[Walk, Size, Size]:
    """The walk of a matrix operand over the batch axes, and its strides over (row, column)."""
    rank, apart = len(low.group.domain), -3 if panels else -2
    batch = Strided(0, source.layout.strides[:apart]).broadcast(
        source.type.shape[:apart], low.group.domain[: rank - 2]
    )
    rows, columns = source.layout.strides[-2:]
    if transposed:
        rows, columns = columns, rows
    return Walk(source.base, source.layout.offset, (*batch, 0, 0)), rows, columns


def keep_matrix_axes(low: Lowering, rows: Size, moves: Mapping[Walk, Size]) -> None:
    """Add the two matrix axes, uncollapsed, to the loops; ``moves``: of each walk by a row."""
    rank = len(low.group.domain)
    low.loops.names += [["i"], [VECTOR]]
    low.loops.axes += [rank - 2, rank - 1]
    low.loops.extents += [[rows], [low.group.domain[-1]]]
    for walk, move in moves.items():
        steps = [(n, s) for n, s in (("i", move), (VECTOR, walk.strides[-1])) if s != 0]
        low.loops.strides[walk] = (*low.loops.strides[walk], *steps)


def add_panels(low: Lowering, walk: Walk, b: Source) -> Size:
    """Add the loop over panels of b around the product; gives the columns of one, its loop j."""
    (count, _, columns), loops = b.type.shape, low.loops
    name = "i0"
    loops.names.append([name])
    loops.extents.append([count])
    for each, moves in loops.strides.items():
        step = b.layout.strides[0] if each is walk else each.strides[-1] * columns
        loops.strides[each] = (*((name, step),) * (step != 0), *moves)
    if low.group.indexed:
        low.panels_before[VECTOR] = ex.index(name) * low.size(columns)
    return columns
