"""The typing rules of scalar expressions: what each primitive takes and gives.

``mistyped`` looks at one node, not below it, so that a parser and a verifier that walk a DAG once
both stay linear. The loops, arguments and results around an expression are checked by
``verify_kernel``.
"""

from __future__ import annotations

from typing import Final

from staticgrad.ir.expr import (
    ARITHMETIC,
    BITWISE,
    CHOICES,
    COMPARE,
    PRIMITIVES,
    TAKES_FLOATS,
    TAKES_INTEGERS,
    Access,
    Expr,
)
from staticgrad.types.dtype import BOOL, I64, U64, DType

_SHIFTS: Final = ("shl", "shr")


def mistyped(expr: Expr) -> str:
    """What is wrong with the operands, dtype or attribute of ``expr``; empty if nothing is."""
    if expr.op not in PRIMITIVES:
        return f"{expr.op!r} is no primitive"
    if expr.op == "load":
        return _mistyped_load(expr)
    if expr.op == "literal":
        held = _holds(expr.dtype, expr.attribute)
        return "" if held else f"{expr.attribute!r} is no {expr.dtype.code}"
    if len(expr.args) != PRIMITIVES[expr.op]:
        return f"{expr.op} takes {_operands(PRIMITIVES[expr.op])}, got {len(expr.args)}"
    if expr.op in ("index", "size", "ref"):
        return _mistyped_name(expr)
    if expr.op in ("cast", "bitcast"):
        source = expr.args[0].dtype
        if expr.op == "bitcast" and source.is_bool:
            return "bitcast of bool: takes numbers only"
        if expr.op == "cast" or source.bits == expr.dtype.bits:
            return ""
        return f"bitcast of {source.code} to {expr.dtype.code}: widths differ"
    if expr.op == "window":
        held = isinstance(expr.attribute, str) and expr.args[0].dtype is expr.dtype is U64
        return "" if held else "a window takes a u64 and its words"
    return _mistyped_arithmetic(expr)


def _mistyped_arithmetic(expr: Expr) -> str:
    op, args = expr.op, expr.args
    dtype = args[-1].dtype
    listed = ", ".join(arg.dtype.code for arg in args)
    if op in CHOICES and args[0].dtype is not BOOL:
        return f"{op} of {listed}: the condition is no bool"
    if any(arg.dtype is not dtype for arg in (args[1:] if op in CHOICES else args)):
        return f"{op} of {listed}: dtypes differ"
    if dtype.is_storage and op not in CHOICES:
        return f"{op} of {dtype.code}: it is computed in {dtype.compute.code}"
    if op in TAKES_FLOATS and not dtype.is_float:
        return f"{op} of {dtype.code}: takes floating dtypes only"
    if op == "div" and not dtype.is_float:
        return f"div of {dtype.code}: takes floating dtypes only"
    if op in ARITHMETIC and dtype.is_bool:
        return f"{op} of bool: takes numbers only"
    if op in TAKES_INTEGERS and not dtype.is_integer:
        return f"{op} of {dtype.code}: takes integers only"
    if (op in BITWISE and dtype.is_float) or (op in _SHIFTS and not dtype.is_integer):
        return f"{op} of {dtype.code}: takes integers {'' if op in _SHIFTS else 'and bools '}only"
    result = BOOL if op in COMPARE else dtype
    return (
        ""
        if result is expr.dtype
        else f"{op} of {listed} gives {result.code}, not {expr.dtype.code}"
    )


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
