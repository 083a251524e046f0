"""What a module says where a value belongs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from staticgrad.errors import DTypeError
from staticgrad.errors.tracebacks import boundary

_OPERATORS: Final = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
]


class NoOperand:
    """Mixin: arithmetic with a module, which is called instead."""


def _refusing(operator: str) -> Callable[..., NoReturn]:
    @boundary
    def refuse(self: object, *_other: object) -> NoReturn:
        name = type(self).__name__
        raise DTypeError(
            f"{operator.strip('_')}: an operand is a {name}, a module, not a value",
            hint=f"call it, and compute with what it gives: {name.lower()}(x) + y",
        )

    return refuse


_own: Final[dict[str, Any]] = {
    f"__{side}{name}__": _refusing(name) for name in _OPERATORS for side in ("", "r")
}
_own.update({f"__{name}__": _refusing(name) for name in ("neg", "pos", "abs", "invert")})
for _name, _refuse in _own.items():
    setattr(NoOperand, _name, _refuse)  # no type checker shall find them
