"""Kernels whose rows are taken in strips: what is computed once per row is a vector of rows.

A stage of scalars behind a sum of the row computes one number where a vector takes as long. In a
strip as many rows as a vector has lanes run a stage before any of them runs the next, so that such
a stage is a vector. No bit depends on it: each lane computes what a row alone does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staticgrad.ir.kernels.stages import (
    Accumulate,
    ColumnAccumulate,
    Keep,
    Map,
    Scalar,
    Store,
    statements,
)
from staticgrad.types.dtype import F32, F64, I32, I64

if TYPE_CHECKING:
    from staticgrad.ir.kernels.kernel import Kernel

#: What rows leave for later stages: elements of these dtypes.
KEPT: Final = (F32, F64, I32, I64)


def may_take_strips(kernel: Kernel) -> bool:
    """Whether rows may be taken so: one loop runs over them, its stages are maps and scalars, and
    a row leaves nothing but numbers to later stages."""
    moving = kernel.grouped or len(kernel.axes)
    if moving != 1 or kernel.serial or kernel.listed is not None or kernel.own_rows:
        return False
    if kernel.outer not in ("axes", "groups") or kernel.in_lanes:
        return False
    return all(_fits(stage) for stage in kernel.stages)


def _fits(stage: object) -> bool:
    if isinstance(stage, Map):
        inner = (Store, Accumulate, ColumnAccumulate)
        return not (stage.rows or stage.axis.limits) and all(
            isinstance(s, inner) and _kept(s) and not getattr(s, "blocks", False)
            for s in stage.body
        )
    if not isinstance(stage, Scalar):
        return False
    return all(
        isinstance(s, Keep | Store) and _kept(s) and not getattr(s, "combine", "")
        for s in statements(stage)
    )


def _kept(statement: object) -> bool:
    """Whether what a statement keeps, if it does, has room between stages."""
    return not isinstance(statement, Keep | Accumulate) or statement.value.dtype in KEPT
