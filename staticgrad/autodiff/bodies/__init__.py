"""Derivatives of ops that run bodies, made of the derivatives of the bodies.

A loop backwards is a loop that runs the other way (``loops_backwards.py``); tangents ride along as
carries (``loops.py``). A bounded ``while`` is differentiated as a loop of that many
iterations, of which the last do nothing (``branches.py``). The derivative of a branch is a
branch (``branches.py``). All of them are ordinary ops, and differentiate again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.autodiff.bodies import loops
from staticgrad.autodiff.bodies.loops import Found, bounded
from staticgrad.errors import GradientError
from staticgrad.ir.op import Op
from staticgrad.ops.cotangent import zeros_like_type
from staticgrad.ops.loops import NUMBER, Branch, Loop, While


def cotangents(
    op: Op, cts: Sequence[Found], args: Sequence[Any], needed: Sequence[bool]
) -> tuple[Found, ...]:
    """The cotangents of the operands (None: none)."""
    match op:
        case Loop():
            return loops.BackwardIteration(op, cts, needed).cotangents(args)
        case While():
            loop, first = bounded(op), zeros_like_type(NUMBER, args[0])
            return cotangents(loop, [None, *cts[: op.carries]], [first, *args], [False, *needed])[
                1:
            ]
        case Branch():
            return loops.cotangents(op, cts, args, needed)
    raise GradientError(f"op {op.name} has no derivative rule")


def tangents(op: Op, moved: Sequence[Found], args: Sequence[Any]) -> tuple[Found, ...]:
    """The tangents of the results (None: zero), given those of the operands (None: zero)."""
    match op:
        case Loop():
            return loops.loop_tangents(op, moved, args)
        case While():
            return loops.tangents_of_while(op, moved, args)
        case Branch():
            return loops.branch_tangents(op, moved, args)
    raise GradientError(f"op {op.name} has no derivative rule")
