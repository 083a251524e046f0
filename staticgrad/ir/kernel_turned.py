"""Which operands of a map lie across memory: along its vectors, every element in another line.

If a loop around the map goes along memory, as many of its rows as a vector has lanes read whole
lines together. ``codegen.turned`` writes that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernel_stages import Axis, Map, Stage, Store, roots

#: Strides along vectors, of either sign, up to which whole vectors are read and lanes chosen: in
#: kernels those are literals.
SHORT_STRIDE: Final = 4
#: Squares of elements, one behind the other along memory, that are read together: of each line a
#: run of so many vectors.
SQUARES: Final = 2


def loads_across(
    wanted: Iterable[Expr], row: str, vector: str, stored: Collection[str] = ()
) -> Iterator[Expr]:
    """Loads that lie across memory along ``vector``, and go along it with the loop ``row``.

    None of operands that are ``stored`` to.
    """
    for load in postorder(wanted):
        access = load.attribute
        if not isinstance(access, Access) or access.operand in stored or access.gather:
            continue
        fixed = not any(place.has_ends or place.step(vector) != 0 for place in access.positions)
        stride = access.stride(vector)
        far = isinstance(stride, str) or abs(stride) > SHORT_STRIDE
        if fixed and far and (row, 1) in access.strides:
            yield load


def turned_loads(axes: Sequence[Axis], stages: Sequence[Stage], row: str) -> Iterator[Expr]:
    """Those of a kernel's one map that only stores."""
    stage = stages[0]
    if not axes or len(stages) > 1 or not isinstance(stage, Map) or stage.rows or stage.axis.past:
        return
    stored = [s.access.operand for s in stage.body if isinstance(s, Store)]
    if len(stored) == len(stage.body):
        wanted = (root for statement in stage.body for root in roots(statement))
        yield from loads_across(wanted, row, stage.axis.name, stored)


def along_memory_last(axes: Sequence[Axis], stages: Sequence[Stage]) -> Sequence[Axis]:
    """The outer axes; last the one along which most operands that lie across memory go along it."""
    counts = Counter({axis: len([*turned_loads(axes, stages, axis.name)]) for axis in axes})
    best = max(reversed(axes), key=lambda axis: counts[axis], default=None)
    if best is None or counts[best] == 0:
        return axes
    return (*(axis for axis in axes if axis is not best), best)
