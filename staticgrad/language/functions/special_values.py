"""Functions of numbers that are computed in float64 and rounded once, to the dtype of operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticgrad.language.ir.kinds import binding_kind
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import common_dtype, lift_operand
from staticgrad.language.ops.movement import broadcast_arrays
from staticgrad.language.ops.special_functions import call
from staticgrad.language.types.dtype import F64
from staticgrad.support.errors import DTypeError


def in_float64(name: str, formula: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``formula`` of the arguments in float64, in their common dtype."""
    return _compute(name, lambda *values: formula(*broadcast_arrays(*values)), arguments)


def special_value(name: str, *arguments: Any) -> Any:
    """Return a function of ``ops/special_functions.py`` of the arguments, in their common dtype."""
    return _compute(name, lambda *values: call(name, *values), arguments)


def _compute(name: str, formula: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    dtype = common_dtype(name, arguments)
    if dtype.is_complex:
        raise DTypeError(f"{name}: takes real numbers, got {dtype}", hint="z.real, abs(z)")
    dtype = dtype if dtype.is_float else F64
    kind = binding_kind(arguments)
    return astype(
        formula(*(lift_operand(name, kind, argument, F64) for argument in arguments)), dtype
    )
