"""How many elements a map takes at a time where no sum says it: as many as registers hold.

A vector has 16 elements at most, as the order of a sum says, so that one of bytes fills a quarter
of a register. A map has no order that stores, or finds the least or largest of integers or bools,
and nothing else: it may take whole registers. Where rows fill half of a vector at most, a map that
stores may take half vectors: a processor whose registers of 512 bits are two halves takes half the
time for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.ir.combiners import COMBINERS
from staticgrad.ir.expr import (
    ARITHMETIC,
    BITWISE,
    COMPARE,
    EXTREMA,
    Access,
    Expr,
    postorder,
)
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Map,
    Operand,
    Scalar,
    Stage,
    Statement,
    Store,
    roots,
)

#: Bits of a register, and the widest elements of which more than 16 fill one.
_REGISTER: Final = 512
_WIDEST: Final = 16
#: What processors do to whole registers of narrow elements.
_WHOLE: Final = (
    ARITHMETIC.keys() | BITWISE.keys() | COMPARE.keys() | EXTREMA.keys() | {"literal", "select"}
) - {"div"}


def whole_registers(stages: Sequence[Stage], operands: Sequence[Operand]) -> int:
    """The narrow elements that fill a register, where a kernel's maps have no others; else 0.

    They store to elements one behind the other, or find extremes, and read such elements or ones
    that stay.
    """
    widest = max((operand.dtype.itemsize for operand in operands), default=0) * 8
    if not 0 < widest <= _WIDEST:
        return 0
    return _REGISTER // widest if all(_moves_whole(stage, widest) for stage in stages) else 0


def half_registers(stage: Map, operands: Sequence[Operand], lanes: int) -> int:
    """The lanes of half vectors, if a map may take such: it stores, and they fill 256 bits; else 0.

    A row that is added up has the lanes that the order of its sum says.
    """
    half = lanes // 2
    bits = 8 * max((operand.dtype.itemsize for operand in operands), default=0)
    stores = all(isinstance(s, Store) and not s.streamed for s in stage.body)
    return half if stores and 2 * half * bits >= _REGISTER else 0


def _moves_whole(stage: Stage, widest: int) -> bool:
    """Whether a stage is a map over registers of elements of at most so many bits, or scalars."""
    if isinstance(stage, Scalar):
        return True
    if not isinstance(stage, Map):
        return False
    along = stage.axis.name
    stores = [statement for statement in stage.body if isinstance(statement, Store)]
    extent, full = stage.axis.extent, _REGISTER // widest
    if isinstance(extent, int) and extent < full and len(stores) < len(stage.body):
        return False  # joining the lanes of a register takes longer than a row of fewer
    if not all(_has_no_order(statement, along) for statement in stage.body):
        return False
    values = postorder(root for statement in stage.body for root in roots(statement))
    return all(_fills(value, along, widest) for value in values)


def _has_no_order(statement: Statement, along: str) -> bool:
    """Whether a statement stores along a loop, or finds an extreme of numbers that are exact."""
    if isinstance(statement, Store):
        return _runs(statement.access, along, (1,))
    if not isinstance(statement, Accumulate) or statement.value.dtype.is_float:
        return False
    return COMBINERS[statement.kind].rule == "any" and not statement.blocks


def _fills(value: Expr, along: str, widest: int) -> bool:
    """Whether a value is one of a register of elements of so many bits."""
    if value.dtype.itemsize * 8 > widest:
        return False
    if isinstance(value.attribute, Access):
        return _runs(value.attribute, along, (0, 1))
    return value.op in _WHOLE or (value.op in ("cast", "bitcast") and not value.dtype.is_float)


def _runs(access: Access, along: str, steps: Sequence[int]) -> bool:
    """Whether an access has no ends and no indices, and goes along a loop by one of the steps."""
    return not (access.gather or access.bounded) and access.stride(along) in steps
