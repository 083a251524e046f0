"""The width of a kernel's vectors: full registers, transposed access, interleaving.

**Full registers.** The order of a sum allows 16 elements in a vector, so that a vector of bytes
fills a quarter of a register. A map that only stores, or finds the least or largest of integers or
bools, has no such order and may take whole registers.

**Transposed access.** Some operands have every element of a vector in another cache line. If a loop
around the map goes along memory, as many of its rows as a vector has lanes read or write whole
lines together (``nest.transposed``).

**Equal look-ups.** Checked indices along the vectors may be the same in all rows. Interleaved rows
check such indices once, and find each lane's element once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from staticgrad.language.ir.expr import (
    ARITHMETIC,
    BITWISE,
    COMPARE,
    EXTREMA,
    Access,
    Expr,
    postorder,
)
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Map,
    Operand,
    Scalar,
    Stage,
    Store,
    roots,
)

#: Bits of a register, and the widest elements of which more than 16 fill one.
REGISTER: Final = 512
_WIDEST: Final = 16
#: What processors do to whole registers of narrow elements.
_WHOLE: Final = (
    ARITHMETIC.keys() | BITWISE.keys() | COMPARE.keys() | EXTREMA.keys() | {"literal", "select"}
) - {"div"}


def whole_registers(stages: Sequence[Stage], operands: Sequence[Operand]) -> int:
    """Return how many narrow elements fill a vector register, if a kernel's maps have no others.

    They store to elements one behind the other, or find extremes, and read such elements or ones
    that stay.
    """
    # Elements of 8 and 16 bits: sixteen of them are a quarter or half of a register.
    widest = max((operand.dtype.itemsize for operand in operands), default=0) * 8
    if not 0 < widest <= _WIDEST:
        return 0
    return REGISTER // widest if all(_moves_whole(stage, widest) for stage in stages) else 0


def _moves_whole(stage: Stage, widest: int) -> bool:
    """Return whether a stage is scalar, or a map over full registers of ``widest``-bit elements."""
    if isinstance(stage, Scalar):
        return True
    if not isinstance(stage, Map):
        return False
    along = stage.axis.name
    stores = [statement for statement in stage.body if isinstance(statement, Store)]
    extent, full = stage.axis.extent, REGISTER // widest
    if isinstance(extent, int) and extent < full and len(stores) < len(stage.body):
        return False  # joining the lanes of a register takes longer than a row of fewer
    for statement in stage.body:  # it stores along the loop, or finds an extreme of exact numbers
        if isinstance(statement, Store):
            fits = _runs(statement.access, along, (1,))
        elif isinstance(statement, Accumulate) and not statement.value.dtype.is_float:
            fits = COMBINERS[statement.kind].rule == "any" and not statement.blocks
        else:
            fits = False
        if not fits:
            return False
    values = postorder(root for statement in stage.body for root in roots(statement))
    return all(_fills(value, along, widest) for value in values)


def _fills(value: Expr, along: str, widest: int) -> bool:
    """Return whether a value fits a register of elements of ``widest`` bits."""
    if value.dtype.itemsize * 8 > widest:
        return False
    if isinstance(value.attribute, Access):
        return _runs(value.attribute, along, (0, 1))
    return value.op in _WHOLE or (value.op in ("cast", "bitcast") and not value.dtype.is_float)


def _runs(access: Access, along: str, steps: Sequence[int]) -> bool:
    """Return whether an access has no bounds, no indices, and moves by one of the steps."""
    return not (access.gather or access.bounded_positions) and access.stride(along) in steps


#: Strides along vectors, of either sign, up to which whole vectors are read and lanes chosen: in
#: kernels those are literals.
SHORT_STRIDE: Final = 4
#: Elements of a row that lies in a lane from which on they are read in squares.
PLACES: Final = 3
#: Squares of elements, one behind the other along memory, that are read together: of each line a
#: run of so many vectors.
SQUARES: Final = 4


def loads_across(
    exprs: Iterable[Expr], row: str, vector: str, stored: Collection[str] = ()
) -> Iterator[Expr]:
    """Return the loads strided along the vector axis but contiguous along rows: to be transposed.

    None of operands that are ``stored`` to.
    """
    for load in postorder(exprs):
        access = load.attribute
        if not isinstance(access, Access) or access.operand in stored:
            continue
        if _is_across(access, row, vector):
            yield load


def _is_across(access: Access, row: str, vector: str) -> bool:
    """Return whether an access is strided along ``vector`` and contiguous along ``row``."""
    varies = any(place.has_ends or place.step(vector) != 0 for place in access.positions)
    if access.gather or varies:
        return False
    stride = access.stride(vector)
    far = not isinstance(stride, int) or abs(stride) > SHORT_STRIDE
    return far and (row, 1) in access.strides


def transposed_loads(axes: Sequence[Axis], stages: Sequence[Stage], row: str) -> Iterator[Expr]:
    """Yield the transposed loads of a kernel's only map, which only stores."""
    stage = _only_map(axes, stages)
    if stage is not None:
        stored = [s.access.operand for s in stage.body if isinstance(s, Store)]
        exprs = (root for statement in stage.body for root in roots(statement))
        yield from loads_across(exprs, row, stage.axis.name, stored)


def transposed_stores(axes: Sequence[Axis], stages: Sequence[Stage], row: str) -> Iterator[Store]:
    """Return the strided stores of a one-map kernel that vector transposition makes contiguous.

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
    across = [
        store
        for store in stores
        if counts[store.access.operand] == 1 and store.access.operand not in loaded
        if not store.combine and _is_across(store.access, row, stage.axis.name)
    ]
    if _in_rows(accesses, stage.axis.name) < PLACES * len(across) or not across:
        yield from across


def _in_rows(accesses: Iterable[Access], vector: str) -> int:
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
    """Order a kernel's outer axes: last that along which most strided operands are contiguous."""

    def across(axis: Axis) -> int:
        finders = (transposed_loads, transposed_stores)
        return sum(len([*find(axes, stages, axis.name)]) for find in finders)

    counts = Counter({axis: across(axis) for axis in axes})
    best = max(reversed(axes), key=lambda axis: counts[axis], default=None)
    if best is None or counts[best] == 0:
        return axes
    return (*(axis for axis in axes if axis is not best), best)


def differs(
    expr: Expr, axes: Collection[str], stored: Collection[str], varying: Collection[str]
) -> bool:
    """Return whether an expression may vary along loops, whatever the kernel's arguments are.

    ``stored``: operands that are stored to; ``varying``: results that differ.
    """
    access = expr.attribute
    if isinstance(access, Access):
        return access.operand in stored or any(access.stride(axis) != 0 for axis in axes)
    if expr.op == "ref":
        return access in varying
    return expr.op == "index" and access in axes
