"""Which reductions of a row look for a position: the least or largest one at which something holds.

Most vectors of a row have no such position, and behind the first one no other is the least. Writers
compare positions where there are some, and leave the row (``codegen.lane_steps``).
"""

from __future__ import annotations

from typing import Final

from staticgrad.ir.kernels.stages import LANES, Accumulate, Map, Statement

#: Reductions in which what is joined twice counts once.
_EXTREMES: Final = ("min", "max")


def is_found(statement: Accumulate) -> bool:
    """Whether the least or largest position along a row is wanted at which something holds."""
    value = statement.value
    if statement.kind not in _EXTREMES or statement.blocks or value.op != "select":
        return False
    return value.args[1].op == "index" and value.args[1].attribute == LANES


def is_first(statement: Statement) -> bool:
    """Whether the least position is wanted, so that what follows the first one counts no more."""
    return isinstance(statement, Accumulate) and statement.kind == "min" and is_found(statement)


def may_leave(stage: Map) -> bool:
    """Whether the loop of a stage ends where all that it looks for is found."""
    return not stage.rows and all(map(is_first, stage.body))
