"""Copies into a buffer, or into a part of one; several copies to the same rows are one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from staticgrad.compiler.fusion.groups import Transfer, Walk
from staticgrad.compiler.fusion.walks import walk_of
from staticgrad.compiler.lowering.operands import (
    VECTOR,
    LoweredStep,
    Lowering,
    axis_order,
    loops_over,
    vector_axis,
)
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Position
from staticgrad.language.ir.kernels.stages import Axis, Map, Store
from staticgrad.language.types.arrays import Shape
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BOOL

#: Neighbours that are dealt out to as many runs, at most.
MOST_DEALT: Final = 8


def lower_copies(low: Lowering) -> LoweredStep:
    """Return the kernel of a copy group: one map, or one for each part of a row."""
    copies = low.group.transfers
    if len(copies) > 1:
        return _lower_rows(low, copies)
    walks = _walks(low, copies[0])
    written = _written_out(low, copies[0], walks) if _is_short(low.group.domain) else None
    written = _dealt_out(low, copies[0], walks) if written is None else written
    if written is not None:
        return written
    order = axis_order(low, walks[:-1], walks[-1:])
    low.loops = loops_over(low.group.domain, [order], walks, merge=True)
    axes, vector = vector_axis(low, 0)
    return low.finish((Map(vector, (_store(low, copies[0], walks[-1]),)),), axes)


def _is_short(domain: Shape) -> bool:
    """Return whether the last of several axes may be shorter than half of a vector."""
    return len(domain) > 1 and isinstance(domain[-1], int) and domain[-1] <= BOOL.lanes // 2


def _written_out(low: Lowering, copy: Transfer, walks: Sequence[Walk]) -> LoweredStep | None:
    from staticgrad.compiler.lowering.short_rows import around_vector, written_axes

    row = written_axes(low.group, walks, [copy.dtype], alike=True)
    if row == 0 or len(walks) == 1:
        return None
    domain, split = low.group.domain, len(low.group.domain) - row
    segments = [range(split), range(split, len(domain))]
    low.loops = loops_over(domain, segments, walks, merge=True)
    axes, vector = around_vector(low)
    return low.finish([Map(vector, _each_place(low, copy, walks[-1]))], axes)


def _dealt_out(low: Lowering, copy: Transfer, walks: Sequence[Walk]) -> LoweredStep | None:
    """A copy of elements of which several neighbours are read for as many runs of what is written:
    with a store for each of them, so that whole vectors are read. None: others."""
    domain, last = low.group.domain, len(low.group.domain) - 1
    if len(walks) == 1 or not domain:
        return None
    read, written = (walk.strides for walk in walks)
    near = [axis for axis in range(last) if read[axis] == 1 and domain[axis] == read[last]]
    if written[last] != 1 or len(near) != 1 or read[last] not in range(2, MOST_DEALT + 1):
        return None
    segments = [[axis for axis in range(last + 1) if axis not in near], near]
    low.loops = loops_over(domain, segments, walks, merge=True)
    axes, vector = vector_axis(low, 0)
    return low.finish([Map(vector, _each_place(low, copy, walks[-1]))], axes)


def _each_place(low: Lowering, copy: Transfer, target: Walk) -> tuple[Store, ...]:
    stores = []
    for place in low.loops.places(1):
        low.place = place
        stores.append(_store(low, copy, target))
    return tuple(stores)


def _lower_rows(low: Lowering, copies: Sequence[Transfer]) -> LoweredStep:
    domain, split = low.group.domain, len(low.group.domain) - low.group.row
    walks = [
        [*read, Walk(to.base, 0, to.strides)]
        for *read, to in (_walks(low, copy) for copy in copies)
    ]
    around = {walk: Walk(*walk[:2], walk.strides[:split]) for both in walks for walk in both}
    outside = loops_over(domain[:split], [range(split)], around.values(), merge=True)
    stages = []
    for copy, both in zip(copies, walks, strict=True):
        shape = domain if copy.source is None else copy.source.type.shape
        low.group = replace(low.group, domain=shape)
        row = range(split, len(shape))
        low.loops, low.loads = loops_over(shape, [row], both, True, len(outside.segments[0])), {}
        moves = low.loops.strides
        low.loops.strides = {w: (*outside.strides[around[w]], *moves[w]) for w in moves}
        *rows, (name, last) = low.loops.segments[0] or [("", 1)]
        low.rename = {name: VECTOR}
        body = (_moved(low, _store(low, copy, both[-1]), copy.layout.offset),)
        loops = tuple(low.as_axes(rows))
        stages.append(Map(Axis(VECTOR, low.extent(last)), body, loops))
    return low.finish(stages, low.as_axes(outside.segments[0]))


def _walks(low: Lowering, copy: Transfer) -> list[Walk]:
    target = Walk(copy.target, copy.layout.offset, copy.layout.strides)
    source = copy.source
    if source is None or source.inline:
        return [target]
    lies = replace(low.group, domain=source.type.shape)
    return [walk_of(lies, source), target]


def _moved(low: Lowering, store: Store, offset: Size) -> Store:
    if offset == 0:
        return store
    start = Position((), low.extent(offset))
    access = replace(store.access, positions=(*store.access.positions, start))
    return replace(store, access=access)


def _store(low: Lowering, copy: Transfer, target: Walk) -> Store:
    dtype, source = copy.dtype, copy.source
    value = ex.literal(copy.fill, dtype) if source is None else low.value(source)
    streamed = copy.target in low.group.streamed
    return low.stored(low.access(target, dtype, "out"), value, streamed)
