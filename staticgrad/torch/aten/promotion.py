"""Element types of operands together, as PyTorch promotes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from staticgrad.bridges.operands import cast
from staticgrad.extend import Dim, Value


def cast_operand(x: Any, dtype: str) -> Any:
    """Return an operand in the element type of a result; of a complex one that may be real."""
    if isinstance(x, Value) and x.dtype.is_complex and not dtype.startswith("complex"):
        return x
    return cast(x, dtype)


def common(operands: Sequence[Any]) -> str:
    """Return the element type of operands together, as PyTorch promotes them.

    Tensors with axes come before those without, these before numbers, unless the kind of number
    (bool, integer, real, complex) is a higher one.
    """
    ranks = ["", "", ""]
    for operand in operands:
        if isinstance(operand, Value):
            rank, name = (0 if operand.ndim else 1), operand.dtype.name
        elif isinstance(operand, bool | int | float | complex | Dim):
            rank, name = 2, _NUMBERS.get(type(operand), "int64")
        else:
            continue
        ranks[rank] = _promote_dtypes(ranks[rank], name)
    result = ""
    for name in filter(None, ranks):
        if not result or _kind(name) > _kind(result):
            result = (
                _promote_dtypes(name, result) if name.startswith("complex") and result else name
            )
    return result


#: The element type of numbers that meet no tensor of their kind.
_NUMBERS: Final = {bool: "bool", float: "float32", complex: "complex64"}


def _promote_dtypes(a: str, b: str) -> str:
    """Promote two dtypes by PyTorch's rules."""
    if not a or not b or a == b:
        return a or b
    if _kind(a) != _kind(b) and "complex" not in a + b:
        return a if _kind(a) > _kind(b) else b
    if "bfloat16" in (a, b):
        partner = b if a == "bfloat16" else a
        return "float32" if partner == "float16" else partner
    return np.promote_types(a, b).name


def _kind(dtype: str) -> int:
    if dtype == "bool":
        return 0
    return 1 if "int" in dtype else 3 if dtype.startswith("complex") else 2
