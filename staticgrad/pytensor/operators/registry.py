"""The table of PyTensor's Ops, and the functions that its rows are written with.

A row is a function, registered by the name of the Op's class:

    @operator("CumOp")
    def _cumulate(x, *, axis, mode):
        return (sg.cumsum if mode == "add" else sg.cumprod)(value(x), axis)

**Operands** are positional. Each is a ``Value``, or it is *known* while the program is built: an
array of NumPy (a constant; integers that are computed of sizes; of element type ``object`` if some
of them are named sizes), a slice, or None. ``value(x, dtype)`` makes a ``Value`` of either,
``size(x, what)`` reads an integer or a named size, ``sizes(x, what)`` several; these two refuse
what only a run computes.

**Attributes** of the Op are keyword arguments by PyTensor's names (its ``__props__``), as plain
data: element types are text, Ops are ``PyTensorOp``, inner graphs are programs whose
``run(operands)`` returns a list of results. An attribute that a row does not take must be None,
False, 0 or (), or the row refuses the node; those in ``SILENT`` say how memory is used. Two
arguments are not PyTensor's: ``out``, the type of the result (``PyTensorType``; of several results
a tuple), and ``op``, the record of the Op.

**Results** are a ``Value`` or an array that is known; several are a tuple. They are cast to
PyTensor's element type, and ranks are compared. ``raise unsupported_variant(what)`` refuses a
variant: then PyTensor computes the node, or it is an error that names the Op and the user's line.

A class without a row has that of its nearest base class that has one. ``batched=True``: the row
takes operands with further axes in front, as ``Blockwise`` of the Op has them; other rows are
mapped. Scalar Ops (``pytensor.scalar``) have a table of their own: ``@scalar("Log1p")``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from staticgrad.bridges.operands import (
    ForeignType,
    cast,
    common_dtype,
    dtype_of,
    is_known,
    shape_of,
    size,
    sizes,
    value,
)
from staticgrad.bridges.tables import ForeignOperator, OperatorRow, OperatorTable
from staticgrad.pytensor.operators.refused import REFUSED

__all__ = [
    "OPERATORS", "SCALARS", "PyTensorOp", "PyTensorType", "apply_row", "cast",
    "common_dtype", "dtype_of", "is_known", "operator", "row_of", "scalar", "shape_of", "size",
    "sizes", "table_of", "value",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])

PyTensorType: TypeAlias = ForeignType
PyTensorOp: TypeAlias = ForeignOperator

#: Attributes that say how memory is used, or that are in another attribute or the result's type.
SILENT: Final = frozenset((
    "inplace", "inplace_pattern", "overwrite_a", "overwrite_b", "overwrite_c", "overwrite_dl",
    "overwrite_d", "overwrite_du", "destroyhandler_tolerate_aliased", "view", "name", "dtype",
    "acc_dtype", "scalar_op", "input_ndim", "output_types_preference", "gufunc_signature",
    "signature", "inputs_sig", "outputs_sig", "upcast_discrete_output", "fgraph",
))  # fmt: skip


def _make_table() -> OperatorTable:
    return OperatorTable(
        "PyTensor",
        decorator="staticgrad.pytensor.operators.operator",
        silent=SILENT,
        refused=REFUSED,
        takes_known=True,
        cast_operand=value,
    )


#: The name of the Op's class -> its row.
OPERATORS: Final = _make_table()
#: The same for Ops of ``pytensor.scalar``.
SCALARS: Final = _make_table()

#: Registers a function as the row of the Ops whose classes have these names.
operator = OPERATORS.row


def scalar(*names: str, operands: str = "result") -> Callable[[F], F]:
    """Register a function as the row of scalar Ops; operands are cast before."""
    return SCALARS.row(*names, operands=operands)


def table_of(op: ForeignOperator) -> OperatorTable:
    """Return the table that has the row of an Op."""
    return SCALARS if op.is_scalar else OPERATORS


def row_of(op: ForeignOperator) -> OperatorRow | None:
    """Return the row of an Op, or that of its nearest base class; None if there is none."""
    return table_of(op).find(op)


def apply_row(
    op: ForeignOperator, operands: Sequence[Any], out: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Compute the results of an Op by its row.

    Raises:
        ExportError: the Op has no row, or the row refuses it.
    """
    return table_of(op).apply(op, operands, out)
