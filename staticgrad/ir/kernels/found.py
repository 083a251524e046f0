"""Reductions of a row that search for the least or largest position at which a condition holds.

Most vectors of a row have no such position, and behind the first one no other is the least. Writers
compare positions where there are some, and leave the row (``codegen.lane_steps``).
"""

from __future__ import annotations

from typing import Final

from staticgrad.ir.kernels.stages import LANES, Accumulate, Map, Statement

#: Reductions in which what is joined twice counts once.
_EXTREMES: Final = ("min", "max")


def is_found(statement: Accumulate) -> bool:
    """Return whether a reduction finds the least or largest position where a condition holds."""
    value = statement.value
    if statement.kind not in _EXTREMES or statement.blocks or value.op != "select":
        return False
    return value.args[1].op == "index" and value.args[1].attribute == LANES


def is_first(statement: Statement) -> bool:
    """Return whether a reduction finds the first position, so that later ones do not matter."""
    return isinstance(statement, Accumulate) and statement.kind == "min" and is_found(statement)


def may_leave(stage: Map) -> bool:
    """Return whether the loop of a stage may end when all its searches have succeeded."""
    return not stage.rows and all(map(is_first, stage.body))
