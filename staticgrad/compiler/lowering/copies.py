"""Lower copies into a buffer or a part of one; several copies to the same rows are one kernel.

``concat([a, b], axis=1)`` writes rows of the result, one after the other, by two maps::

    kernel(p0: in f32, p1: out f32, p2: in f32; n0, n1, n2) over i0: n2 {
      map j: n0 { %0 = load p0[i0*n0 + j]; store p1[i0*n1 + j] = %0 }
      map j: n0 { %1 = load p2[i0*n0 + j]; store p1[i0*n1 + j + [n0]] = %1 }
    }
"""

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

#: Adjacent elements that are deinterleaved, at most.
MOST_DEINTERLEAVED: Final = 8


def lower_copies(low: Lowering) -> LoweredStep:
    """Lower copies (concatenate, pad) to one map, or to one per part of a row."""
    copies = low.group.transfers
    if len(copies) > 1:
        return _lower_rows(low, copies) if low.group.row else _lower_columns(low, copies)
    walks = _copy_walks(low, copies[0])
    step = _lower_unrolled(low, copies[0], walks) if _is_short(low.group.domain) else None
    step = _lower_deinterleaved(low, copies[0], walks) if step is None else step
    if step is not None:
        return step
    order = axis_order(low, walks[:-1], walks[-1:])
    low.loops = loops_over(low.group.domain, [order], walks, merge=True)
    axes, vector = vector_axis(low, 0)
    return low.finish((Map(vector, (_store(low, copies[0], walks[-1]),)),), axes)


def _is_short(domain: Shape) -> bool:
    """Return True if the last of several axes is at most half a vector long."""
    return len(domain) > 1 and isinstance(domain[-1], int) and domain[-1] <= BOOL.lanes // 2


def _lower_unrolled(low: Lowering, copy: Transfer, walks: Sequence[Walk]) -> LoweredStep | None:
    """Lower a copy with a few elements per row to a map over rows with an unrolled body."""
    from staticgrad.compiler.lowering.short_rows import choose_vector_loop, unrolled_axes

    row = unrolled_axes(low.group, walks, [copy.dtype], unroll_shared=True)
    if row == 0 or len(walks) == 1:
        return None
    domain, split = low.group.domain, len(low.group.domain) - row
    segments = [range(split), range(split, len(domain))]
    low.loops = loops_over(domain, segments, walks, merge=True)
    axes, vector = choose_vector_loop(low)
    return low.finish([Map(vector, _unrolled_stores(low, copy, walks[-1]))], axes)


def _lower_deinterleaved(
    low: Lowering, copy: Transfer, walks: Sequence[Walk]
) -> LoweredStep | None:
    """Return the kernel of a copy that deinterleaves, like one from (n, c) to (c, n) with few c.

    It has one store for each of the adjacent elements, so that full vectors are read. None for
    other copies.
    """
    domain, last = low.group.domain, len(low.group.domain) - 1
    if len(walks) == 1 or not domain:
        return None
    read, written = (walk.strides for walk in walks)
    adjacent = [axis for axis in range(last) if read[axis] == 1 and domain[axis] == read[last]]
    if (
        written[last] != 1
        or len(adjacent) != 1
        or read[last] not in range(2, MOST_DEINTERLEAVED + 1)
    ):
        return None
    segments = [[axis for axis in range(last + 1) if axis not in adjacent], adjacent]
    low.loops = loops_over(domain, segments, walks, merge=True)
    axes, vector = vector_axis(low, 0)
    return low.finish([Map(vector, _unrolled_stores(low, copy, walks[-1]))], axes)


def _unrolled_stores(low: Lowering, copy: Transfer, target: Walk) -> tuple[Store, ...]:
    stores = []
    for iteration in low.loops.iterations(1):
        low.unrolled = iteration
        stores.append(_store(low, copy, target))
    return tuple(stores)


def _lower_columns(low: Lowering, copies: Sequence[Transfer]) -> LoweredStep:
    """Lower copies into single elements of the same rows to one map with a store for each part."""
    walks = [_copy_walks(low, copy) for copy in copies]
    every_walk = [walk for of_copy in walks for walk in of_copy]
    low.loops = loops_over(low.group.domain, [range(len(low.group.domain))], every_walk, merge=True)
    axes, vector = vector_axis(low, 0)
    stores = [_store(low, copy, of_copy[-1]) for copy, of_copy in zip(copies, walks, strict=True)]
    return low.finish((Map(vector, tuple(stores)),), axes)


def _lower_rows(low: Lowering, copies: Sequence[Transfer]) -> LoweredStep:
    """Lower copies into parts of the same rows to one loop over rows with a map for each part."""
    domain, split = low.group.domain, len(low.group.domain) - low.group.row
    walks = [
        [*read, Walk(to.base, 0, to.strides)]
        for *read, to in (_copy_walks(low, copy) for copy in copies)
    ]
    outer_walks = {
        walk: Walk(*walk[:2], walk.strides[:split]) for copy_walks in walks for walk in copy_walks
    }
    outside = loops_over(domain[:split], [range(split)], outer_walks.values(), merge=True)
    stages = []
    for copy, copy_walks in zip(copies, walks, strict=True):
        shape = domain if copy.source is None else copy.source.type.shape
        low.group = replace(low.group, domain=shape)
        row = range(split, len(shape))
        low.loops, low.loads = (
            loops_over(shape, [row], copy_walks, True, len(outside.segments[0])),
            {},
        )
        moves = low.loops.strides
        low.loops.strides = {w: (*outside.strides[outer_walks[w]], *moves[w]) for w in moves}
        *rows, (name, last) = low.loops.segments[0] or [("", 1)]
        low.rename = {name: VECTOR}
        body = (_offset_store(low, _store(low, copy, copy_walks[-1]), copy.layout.offset),)
        loops = tuple(low.as_axes(rows))
        stages.append(Map(Axis(VECTOR, low.extent(last)), body, loops))
    return low.finish(stages, low.as_axes(outside.segments[0]))


def _copy_walks(low: Lowering, copy: Transfer) -> list[Walk]:
    target = Walk(copy.target, copy.layout.offset, copy.layout.strides)
    source = copy.source
    if source is None or source.inline:
        return [target]
    source_group = replace(low.group, domain=source.type.shape)
    return [walk_of(source_group, source), target]


def _offset_store(low: Lowering, store: Store, offset: Size) -> Store:
    if offset == 0:
        return store
    start = Position((), low.extent(offset))
    access = replace(store.access, positions=(*store.access.positions, start))
    return replace(store, access=access)


def _store(low: Lowering, copy: Transfer, target: Walk) -> Store:
    dtype, source = copy.dtype, copy.source
    value = ex.literal(copy.fill, dtype) if source is None else low.value(source)
    streamed = copy.target in low.group.streamed
    return low.store_element(low.access(target, dtype, "out"), value, streamed)
