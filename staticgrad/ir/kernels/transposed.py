"""Which operands of a map lie across memory: along its vectors, every element in another line.

If a loop around the map goes along memory, as many of its rows as a vector has lanes read whole
lines together, and write whole lines together. ``codegen.transposed`` writes that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernels.stages import Axis, Map, Stage, Store, roots

#: Strides along vectors, of either sign, up to which whole vectors are read and lanes chosen: in
#: kernels those are literals.
SHORT_STRIDE: Final = 4
#: Elements of a row that lies in a lane from which on they are read in squares.
PLACES: Final = 3
#: Squares of elements, one behind the other along memory, that are read together: of each line a
#: run of so many vectors.
SQUARES: Final = 4


def loads_across(
    wanted: Iterable[Expr], row: str, vector: str, stored: Collection[str] = ()
) -> Iterator[Expr]:
    """Loads that lie across memory along ``vector``, and go along it with the loop ``row``.

    None of operands that are ``stored`` to.
    """
    for load in postorder(wanted):
        access = load.attribute
        if not isinstance(access, Access) or access.operand in stored:
            continue
        if _is_across(access, row, vector):
            yield load


def _is_across(access: Access, row: str, vector: str) -> bool:
    """Whether an access is moved far along ``vector``, and by one element along ``row``."""
    moved = any(place.has_ends or place.step(vector) != 0 for place in access.positions)
    if access.gather or moved:
        return False
    stride = access.stride(vector)
    far = isinstance(stride, str) or abs(stride) > SHORT_STRIDE
    return far and (row, 1) in access.strides


def transposed_loads(axes: Sequence[Axis], stages: Sequence[Stage], row: str) -> Iterator[Expr]:
    """Those of a kernel's one map that only stores."""
    stage = _only_map(axes, stages)
    if stage is not None:
        stored = [s.access.operand for s in stage.body if isinstance(s, Store)]
        wanted = (root for statement in stage.body for root in roots(statement))
        yield from loads_across(wanted, row, stage.axis.name, stored)


def transposed_stores(axes: Sequence[Axis], stages: Sequence[Stage], row: str) -> Iterator[Store]:
    """Stores across memory of a kernel's one map, each the only one to its operand.

    None where lanes read rows of several elements: those lie between each other, and reading them
    takes more than storing what they come to.
    """
    stage = _only_map(axes, stages)
    if stage is None:
        return
    stores = [s for s in stage.body if isinstance(s, Store)]
    counts = Counter(store.access.operand for store in stores)
    loads = [e.attribute for e in postorder(root for store in stores for root in roots(store))]
    accesses = {access for access in loads if isinstance(access, Access)}
    loaded = {access.operand for access in accesses}
    found = [
        store
        for store in stores
        if counts[store.access.operand] == 1 and store.access.operand not in loaded
        if not store.combine and _is_across(store.access, row, stage.axis.name)
    ]
    if _in_rows(accesses, stage.axis.name) < PLACES * len(found) or not found:
        yield from found


def _in_rows(accesses: Iterable[Access], vector: str) -> int:
    """How many places there are of an operand whose rows lie in lanes, in steps of a literal."""
    strides = [(access.operand, access.stride(vector)) for access in accesses]
    counts = Counter(name for name, step in strides if isinstance(step, int) and step > 1)
    return max(counts.values(), default=0)


def _only_map(axes: Sequence[Axis], stages: Sequence[Stage]) -> Map | None:
    """A kernel's one map inside of loops, if all that it does is to store."""
    stage = stages[0]
    if not axes or len(stages) > 1 or not isinstance(stage, Map) or stage.rows or stage.axis.past:
        return None
    return stage if all(isinstance(statement, Store) for statement in stage.body) else None


def along_memory_last(axes: Sequence[Axis], stages: Sequence[Stage]) -> Sequence[Axis]:
    """The outer axes; last the one along which most operands that lie across memory go along it."""

    def across(axis: Axis) -> int:
        found = (transposed_loads, transposed_stores)
        return sum(len([*those(axes, stages, axis.name)]) for those in found)

    counts = Counter({axis: across(axis) for axis in axes})
    best = max(reversed(axes), key=lambda axis: counts[axis], default=None)
    if best is None or counts[best] == 0:
        return axes
    return (*(axis for axis in axes if axis is not best), best)
