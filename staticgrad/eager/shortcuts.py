"""The common operators without the detour: on tensors of one floating dtype, and with numbers.

What the general path finds out (is the operand a value, what do the dtypes promote to) is known
here; it takes most of the time of an operation on a few elements. Everything else goes there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from staticgrad.eager.tensor import Tensor
from staticgrad.errors.tracebacks import cut_frames
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import Add, Div, Mul, Sub
from staticgrad.language.ops.logic import Ge, Gt, Le, Lt

Operator = Callable[[Any, Any], Any]

_ARITHMETIC: Final[dict[str, Op]] = {"add": Add(), "sub": Sub(), "mul": Mul(), "truediv": Div()}
_ORDER: Final[dict[str, Op]] = {"lt": Lt(), "le": Le(), "gt": Gt(), "ge": Ge()}
_NUMBERS: Final = (float, int)
_LARGEST: Final = 3e38  # what any floating dtype holds
_INFINITY: Final = float("inf")


def _operator(op: Op, general: Operator, turned: bool = False) -> Operator:
    """Return the fast path of a tensor operator; ``turned``: the tensor is the second operand."""

    def operator(self: Tensor, operand: Any) -> Any:
        """Apply an operator to tensors of one dtype, or a number, without general conversion."""
        try:
            dtype = self.type.dtype
            if dtype.kind == "f":
                if operand.__class__ is Tensor and operand.type.dtype is dtype and not turned:
                    return Tensor.bind(op, (self, operand))
                if operand.__class__ in _NUMBERS and _is_held(operand):
                    number = Tensor.lift(operand, dtype)
                    return Tensor.bind(op, (number, self) if turned else (self, number))
            return general(self, operand)
        except Exception as error:
            cut_frames(error)
            raise

    return operator


def _is_held(number: float) -> bool:
    return -_LARGEST < number < _LARGEST or number in (_INFINITY, -_INFINITY)


for _name, _op in (_ARITHMETIC | _ORDER).items():
    setattr(Tensor, f"__{_name}__", _operator(_op, getattr(Value, f"__{_name}__")))
for _name, _op in _ARITHMETIC.items():
    setattr(Tensor, f"__r{_name}__", _operator(_op, getattr(Value, f"__r{_name}__"), turned=True))
