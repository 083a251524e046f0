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

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter as Argument
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

import staticgrad.language.functions as sg
from staticgrad.extend import Dim, Size, Value, as_value
from staticgrad.interop.pytensor.operators.refused import find_reason
from staticgrad.interop.rows import arguments_of, unsupported_variant
from staticgrad.support.errors import ExportError

F = TypeVar("F", bound=Callable[..., Any])


class PyTensorType(NamedTuple):
    """The element type and shape of a variable; a size that PyTensor does not know is None."""

    dtype: str
    shape: tuple[int | None, ...]


class PyTensorOp(NamedTuple):
    """An Op as plain data.

    Attributes:
        name: of its class.
        bases: the names of its base classes, nearest first.
        is_scalar: it is of ``pytensor.scalar``.
        attributes: by PyTensor's names.
    """

    name: str
    bases: tuple[str, ...]
    is_scalar: bool
    attributes: Mapping[str, Any]


class Less:
    """A comparison of sizes, ``left < right``, that their names do not decide."""

    def __init__(self, left: Size, right: Size) -> None:
        self.left, self.right = left, right


class OpRow(NamedTuple):
    """An Op's function.

    Attributes:
        function: its signature is the row.
        operands: for scalar Ops the element type that operands are cast to: ``result``'s,
            ``common``, or their own, "".
        is_batched: it takes further axes in front.
    """

    function: Callable[..., Any]
    operands: str = ""
    is_batched: bool = False


#: The name of the Op's class -> its row.
OPERATORS: Final[dict[str, OpRow]] = {}
#: The same for Ops of ``pytensor.scalar``.
SCALARS: Final[dict[str, OpRow]] = {}

#: Attributes that say how memory is used, or that are in another attribute or the result's type.
SILENT: Final = frozenset((
    "inplace", "inplace_pattern", "overwrite_a", "overwrite_b", "overwrite_c", "overwrite_dl",
    "overwrite_d", "overwrite_du", "destroyhandler_tolerate_aliased", "view", "name", "dtype",
    "acc_dtype", "scalar_op", "input_ndim", "output_types_preference", "gufunc_signature",
    "signature", "inputs_sig", "outputs_sig", "upcast_discrete_output", "fgraph",
))  # fmt: skip


def operator(*names: str, batched: bool = False) -> Callable[[F], F]:
    """Register a function as the row of the Ops whose classes have these names."""

    def register_row(function: F) -> F:
        OPERATORS.update(dict.fromkeys(names, OpRow(function, "", batched)))
        return function

    return register_row


def scalar(*names: str, operands: str = "result") -> Callable[[F], F]:
    """Register a function as the row of scalar Ops; operands are cast before."""

    def register_row(function: F) -> F:
        SCALARS.update(dict.fromkeys(names, OpRow(function, operands)))
        return function

    return register_row


def row_of(op: PyTensorOp) -> OpRow | None:
    """Return the row of an Op, or that of its nearest base class; None if there is none."""
    table = SCALARS if op.is_scalar else OPERATORS
    for name in (op.name, *op.bases):
        if name in table:
            return table[name]
    return None


def apply_row(op: PyTensorOp, operands: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Compute the results of an Op by its row.

    Args:
        op: the record of the Op.
        operands: values, and what is known.
        out: the types of the results.

    Raises:
        ExportError: the Op has no row, or the row refuses it.
    """
    row = row_of(op)
    if row is None:
        reason = find_reason(op.name, op.bases)
        raise ExportError(
            f"{op.name} has no row" + (f": {reason}" if reason else ""),
            hint="staticgrad.interop.pytensor.operators.operator(name) makes a function its row",
        )
    takes = arguments_of(row.function)
    facts = {"out": out[0] if len(out) == 1 else out, "op": op}
    anything = any(argument.kind is Argument.VAR_KEYWORD for argument in takes.values())
    arguments = {}
    for name, attribute in op.attributes.items():
        if name in takes or anything:
            arguments[name] = attribute
        elif name not in SILENT and attribute not in (None, False, 0, ()):
            raise unsupported_variant(f"{name}={attribute!r}")
    arguments |= {name: fact for name, fact in facts.items() if name in takes}
    if row.operands == "result":
        operands = [value(operand, out[0].dtype) for operand in operands]
    elif row.operands == "common":
        dtype = common_dtype(operands)
        operands = [value(operand, dtype) for operand in operands]
    results = row.function(*operands, **arguments)
    return results if isinstance(results, tuple) else (results,)


# -- operands -------------------------------------------------------------------------------------


def is_known(x: Any) -> bool:
    """Return whether an operand is known while the program is built."""
    return not isinstance(x, Value)


def value(x: Any, dtype: str | None = None) -> Value:
    """Return an operand as a value, in an element type."""
    if not isinstance(x, Value):
        array = np.asarray(x)
        if array.dtype == object:
            elements = [_element(element) for element in array.ravel().tolist()]
            x = sg.reshape(sg.stack(elements), array.shape) if array.ndim else elements[0]
        else:
            return sg.constant(array if dtype is None else array.astype(dtype))
    return x if dtype is None else cast(x, dtype)


def _element(x: Any) -> Value:
    return sg.less(as_value(x.left), as_value(x.right)) if isinstance(x, Less) else as_value(x)


def cast(x: Value, dtype: str) -> Value:
    """Return a value in an element type, as PyTensor casts: to bool what is not 0 is true."""
    if x.dtype.name == dtype:
        return x
    if dtype == "bool":
        return sg.not_equal(x, 0)
    if x.dtype.is_complex and not dtype.startswith("complex"):
        raise unsupported_variant(f"a cast from {x.dtype.name} to {dtype}")
    return sg.astype(x, dtype)


def dtype_of(x: Any) -> str:
    """Return the name of an operand's element type; that of sizes is int64."""
    if isinstance(x, Value):
        return x.dtype.name
    dtype = np.asarray(x).dtype
    return "int64" if dtype.kind == "O" else dtype.name


def common_dtype(operands: Sequence[Any]) -> str:
    """Return the element type that operands have together, as NumPy promotes them."""
    return np.result_type(*map(dtype_of, operands)).name


def shape_of(x: Any) -> tuple[Size, ...]:
    """Return the shape of an operand."""
    return tuple(x.shape) if isinstance(x, Value) else np.shape(x)


def size(x: Any, what: str) -> Size:
    """Return an operand as an integer or a named size.

    Raises:
        ExportError: only a run computes it.
    """
    (number,) = sizes(np.reshape(x, 1) if not isinstance(x, Value) and np.size(x) == 1 else x, what)
    return number


def sizes(x: Any, what: str) -> tuple[Size, ...]:
    """Return the elements of an operand as integers and named sizes.

    Raises:
        ExportError: only a run computes them.
    """
    if isinstance(x, Value):
        raise ExportError(f"{what}: only a run computes it", hint=ONLY_A_RUN)
    return tuple([
        element if isinstance(element, Dim) else int(element) for element in np.ravel(x).tolist()
    ])  # fmt: skip


#: What to do about a size that only a run computes.
ONLY_A_RUN: Final = (
    "sizes of inputs are named; make it one of those, or a constant, or call the graph by"
    ' pytensor.function(..., mode="STATICGRAD"), where PyTensor computes the node'
)
