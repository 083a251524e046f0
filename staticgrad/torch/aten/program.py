"""A program of PyTorch as plain data, and what computes it: each node by its row.

``reading.py`` makes it of PyTorch's graphs. It does not mention PyTorch, so a module of it is saved
and loaded where PyTorch is not installed.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any, Final

from staticgrad.bridges.programs import ForeignCall, ForeignProgram
from staticgrad.bridges.sizes import arithmetic
from staticgrad.bridges.tables import (
    ForeignOperator,
    OperatorRow,
    OperatorTable,
    unsupported_variant,
)
from staticgrad.extend import Dim
from staticgrad.torch.aten.operators import OPERATORS


class AtenProgram(ForeignProgram):
    """A graph of ATen operators; of several results a node gives a tuple."""

    table = OPERATORS
    picks = frozenset({"getitem"})

    @classmethod
    def table_of(cls, op: ForeignOperator) -> OperatorTable:
        return SIZES if op.name in SIZES else OPERATORS

    @property
    def draws(self) -> bool:
        """Return whether it draws random numbers."""
        return any(map(draws, self.calls))


def aten_operator(name: str) -> ForeignOperator:
    """Return an operator of PyTorch; the row of its overload comes before that of all overloads."""
    library, _, name_in_library = name.partition(".")
    packet = name_in_library.partition(".")[0]
    return ForeignOperator(name, bases=(name_in_library, packet) if library == "aten" else ())


def has_row(call: ForeignCall) -> bool:
    """Return whether the operator is in the table."""
    return AtenProgram.table_of(call.operator).find(call.operator) is not None


def draws(call: ForeignCall) -> bool:
    """Return whether the operator draws random numbers."""
    row = OPERATORS.find(call.operator)
    return row is not None and draws_of(row)


def draws_of(row: OperatorRow) -> bool:
    """Return whether a row takes a generator of random numbers."""
    return "random" in row.arguments


def _divide_sizes(a: Any, b: Any) -> Any:
    """Return a quotient of sizes, which is whole where a size is needed."""
    return a / b if not isinstance(a, Dim) and not isinstance(b, Dim) else a // b


def _accept_guard(a: Any, b: Any = None) -> bool:
    """Return True: PyTorch has checked what a program says of sizes."""
    return True


def _pass_effects(token: Any, operator: Any, *operands: Any) -> tuple[Any, None]:
    """Return the token of a check: functions of matrices check their results in the run."""
    if "_linalg_check_errors" not in str(operator):
        raise unsupported_variant("with_effects of sizes")
    return token, None


#: What computes sizes, by the names of Python's operators and PyTorch's functions.
_OF_SIZES: Final[dict[str, Callable[..., Any]]] = {
    **arithmetic("""
        add sub=subtract mul=multiply neg=negative abs=absolute pow=power floor ceil
        sym_max=maximum sym_min=minimum sym_float=identity sym_int=identity trunc=identity
    """),
    **dict.fromkeys(["eq", "ne", "ge", "le", "gt", "lt", "and_", "or_", "sym_not"], _accept_guard),
    "floordiv": python.floordiv, "mod": python.mod, "truediv": _divide_sizes,
    "sym_size": lambda x, axis: x.shape[axis], "sym_numel": lambda x: x.size,
    "with_effects": _pass_effects,
}  # fmt: skip
#: Rows of sizes, and of what picks one of several results.
SIZES: Final = OperatorTable(
    "PyTorch",
    {
        "getitem": OperatorRow(lambda results, place: results[place]),
        **{f"size.{name}": OperatorRow(function) for name, function in _OF_SIZES.items()},
    },
    takes_known=True,
)
