"""The typing rules of scalar expressions: what each primitive takes and gives.

``mistyped`` looks at one node, not below it, so that a parser and a verifier that walk a DAG once
both stay linear. The loops, arguments and results around an expression are checked by
``verify_kernel``.
"""

from __future__ import annotations

from typing import Final

from staticgrad.ir.expr import LEAVES, PRIMITIVES, Access, Expr, mistyped_operands
from staticgrad.types.dtype import I64, U64, DType

_CONVERSIONS: Final = ("cast", "bitcast", "window")


def mistyped(expr: Expr) -> str:
    """What is wrong with the operands, dtype or attribute of ``expr``; empty if nothing is."""
    if expr.op not in PRIMITIVES:
        return f"{expr.op!r} is no primitive"
    if expr.op == "load":
        return _mistyped_load(expr)
    if expr.op == "literal":
        held = _holds(expr.dtype, expr.attribute)
        return "" if held else f"{expr.attribute!r} is no {expr.dtype.code}"
    if expr.op not in _CONVERSIONS:
        return _mistyped_name(expr) if expr.op in LEAVES else mistyped_operands(expr)
    if len(expr.args) != 1:
        return f"{expr.op} takes 1 operand, got {len(expr.args)}"
    if expr.op in ("cast", "bitcast"):
        source = expr.args[0].dtype
        if expr.op == "bitcast" and source.is_bool:
            return "bitcast of bool: takes numbers only"
        if expr.op == "cast" or source.bits == expr.dtype.bits:
            return ""
        return f"bitcast of {source.code} to {expr.dtype.code}: widths differ"
    held = isinstance(expr.attribute, str) and expr.args[0].dtype is expr.dtype is U64
    return "" if held else "a window takes a u64 and its words"


def _mistyped_load(expr: Expr) -> str:
    access = expr.attribute
    if not isinstance(access, Access):
        return "a load without an access"
    if len(expr.args) != len(access.gather) + 1 or not access.bounded:
        return mistyped_indices(access, expr.args)
    fill = expr.args[-1]
    if fill.op != "literal" or fill.dtype is not expr.dtype:
        return f"the fill of {expr.dtype.code} is no literal of it"
    return mistyped_indices(access, expr.args[:-1])


def mistyped_indices(access: Access, indices: tuple[Expr, ...]) -> str:
    """What is wrong with the gather (or scatter) indices of an access."""
    if len(indices) != len(access.gather):
        return f"{len(access.gather)} gather strides for {_operands(len(indices), 'index')}"
    wrong = next((index.dtype for index in indices if index.dtype is not I64), None)
    return "" if wrong is None else f"a gather index is {wrong.code}, not i64"


def _mistyped_name(expr: Expr) -> str:
    if expr.args:
        return f"{expr.op} takes 0 operands, got {len(expr.args)}"
    if not isinstance(expr.attribute, str):
        return f"{expr.op} takes a name, not {expr.attribute!r}"
    if expr.op != "ref" and expr.dtype is not I64:
        return f"{expr.op} gives i64, not {expr.dtype.code}"
    return ""


def _holds(dtype: DType, value: object) -> bool:
    """Whether a literal's value is what ``literal`` makes of a number of this dtype."""
    if dtype.is_float or dtype.is_bool:
        return isinstance(value, float if dtype.is_float else bool)
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    low = -(2 ** (dtype.bits - 1)) if dtype.kind == "i" else 0
    return bool(low <= value < low + 2**dtype.bits)


def _operands(count: int, what: str = "operand") -> str:
    plural = "indices" if what == "index" else f"{what}s"
    return f"{count} {what if count == 1 else plural}"
