"""Public functions made of elementwise ops: ``exp = unary(Exp, "exp")``.

One declaration gives the function, its signature for ``help`` and type checkers, and its docstring:
that of the op, then what the op's element types say of operands and results.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, Protocol

from staticgrad.ir.kinds import AnyValue, Operand
from staticgrad.ops.elementwise import Elementwise
from staticgrad.types.dtype import BOOL, F32

_OPERANDS: Final = {
    "f": "numbers; integers and bools become float64",
    "iuf": "numbers",
    "biuf": "numbers or bools",
    "iu": "integers",
    "b": "bools, or numbers, which are true where they are not 0",
}


class Unary(Protocol):
    """A function of one operand."""

    __name__: str

    def __call__(self, x: Operand[AnyValue]) -> AnyValue:
        """Apply the op."""


class Binary(Protocol):
    """A function of two operands, which broadcast."""

    __name__: str

    def __call__(self, x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
        """Apply the op."""


def unary(kind: type[Elementwise], name: str, call: str = "", result: str = "") -> Unary:
    """Return the public function ``name`` of one operand that applies an op without attributes.

    Args:
        kind: the op, whose docstring the function has.
        name: the name of the function.
        call, result: an example, such as ``sg.exp([0.0])``, and what evaluating it prints.
    """
    op = kind()

    def apply(x: Operand[AnyValue]) -> AnyValue:
        return op(x)

    return _named(apply, op, name, "x", call, result)


def binary(kind: type[Elementwise], name: str, call: str = "", result: str = "") -> Binary:
    """Return the public function ``name`` of two operands, as ``unary`` does of one."""
    op = kind()

    def apply(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
        return op(x, y)

    return _named(apply, op, name, "x, y", call, result)


def _named(
    function: Callable[..., Any], op: Elementwise, name: str, operands: str, call: str, result: str
) -> Any:
    """``function`` under its ``name``, as one of the module that calls ``unary``."""
    code = function.__code__.replace(co_name=name, co_qualname=name)
    named = FunctionType(code, sys._getframe(2).f_globals, name, None, function.__closure__)
    named.__annotations__ = function.__annotations__
    if op.__doc__:  # python -OO has none
        named.__doc__ = _docstring(op, operands, call, result)
    return named


def _docstring(op: Elementwise, operands: str, call: str, result: str) -> str:
    several = "," in operands
    takes = _OPERANDS[op.kinds] + ("; they broadcast" if several else "")
    shape = "of the broadcast shape" if several else "of x's shape"
    if op.result_dtype(F32) is BOOL:
        gives = f"Bools {shape}."
    elif op.kinds == "f":
        gives = f"Floating values {shape}."
    else:
        gives = f"Values {shape}, in the " + ("promoted dtype." if several else "dtype of x.")
    parts = [inspect.cleandoc(op.__doc__ or ""), f"Args:\n    {operands}: {takes}."]
    parts.append(f"Returns:\n    {gives}")
    if call:
        parts.append(f">>> sg.evaluate({call})\n{result}")
    return "\n\n".join(parts)
