"""Groups whose rows are shorter than two vectors: a row in each lane, all its elements written out.

The vector axis is one around the row. Each element of the row is a place of its own, whose loads
and stores lie between those of its neighbours; reductions are expressions of them, in the order of
``ir/summation.py``. A kernel that took such rows one at a time would leave most lanes empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final

from passes.fusion.groups import Home, Key, Walk
from passes.fusion.walks import operand_walks
from passes.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over
from staticgrad.ir import expr as ex
from staticgrad.ir.combiners import COMBINERS
from staticgrad.ir.expr import Expr
from staticgrad.ir.kernel_stages import Axis, Map, Store
from staticgrad.ir.summation import lanes
from staticgrad.types.tensor import hint_value

#: Elements of an axis from which on vectors along it are mostly full.
FILLED: Final = 16


def lower_short_rows(low: Lowering, stores: Sequence[tuple[Key, Walk]]) -> LoweredStep:
    """The kernel of a map whose rows are short; ``stores`` are its values of every element."""
    group = low.group
    rank, row = len(group.domain), group.row
    outer = group.domain[: rank - row]
    results = [(key, low.store_walk(key, outer)) for key in group.reductions]
    walks = [*operand_walks(low.groups, group), *(walk for _, walk in (*stores, *results))]
    segments = [range(rank - row), range(rank - row, rank)]
    low.loops = loops_over(group.domain, segments, walks, merge=not group.indexed)
    axes, vector = around_vector(low)
    body: list[Store] = []
    terms: dict[Key, list[Expr]] = {key: [] for key in group.reductions}
    names = low.loops.names[1]
    for place in product(*(range(int(extent)) for extent in low.loops.extents[1])):
        low.memo, low.place = {}, dict(zip(names, place, strict=True))
        for node in group.nodes:
            low.memo[Home(node)] = low.scalar(node)
        body += [_store(low, key, walk, low.memo[key]) for key, walk in stores]
        for key, reduction in group.reductions.items():
            terms[key].append(low.widened(reduction.source))
    low.place = {}
    for key, walk in results:
        total = combined(group.reductions[key].kind, terms[key])
        body.append(_store(low, key, walk, total.cast(low.groups.value_type(key).dtype)))
    return low.finish([Map(vector, tuple(body))], axes)


def _store(low: Lowering, key: Key, walk: Walk, value: Expr) -> Store:
    return Store(low.access(walk, low.groups.value_type(key).dtype, "out"), value)


def around_vector(low: Lowering) -> tuple[list[Axis], Axis]:
    """The loops around, and the one along whose vectors rows lie: the last, if it fills one."""
    loops = low.loops.flat(0)
    fills = [min(hint_value(extent), FILLED) for _, extent in loops]
    chosen = max(range(len(loops)), key=lambda n: (fills[n], n))
    low.rename[loops[chosen][0]] = VECTOR
    axes = [Axis(name, low.extent(e)) for n, (name, e) in enumerate(loops) if n != chosen]
    return axes, Axis(VECTOR, low.extent(loops[chosen][1]))


def combined(kind: str, terms: Sequence[Expr]) -> Expr:
    """The terms of a row as one, as the lane rule adds a row of no more than a block."""
    width = lanes(terms[0].dtype)
    row = list(terms[:width])
    for number, term in enumerate(terms[width:]):
        lane = number % width
        row[lane] = _joined(kind, row[lane], term)
    while width > 1:
        width //= 2
        paired = [_joined(kind, *pair) for pair in zip(row, row[width:], strict=False)]
        row = paired + row[len(paired) : width]
    return row[0]


def _joined(kind: str, left: Expr, right: Expr) -> Expr:
    return ex.apply(COMBINERS[kind].combine, left, right)
