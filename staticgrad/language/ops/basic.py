"""The functions of values that families of ops share, below the modules that define the ops.

The families need each other: the derivative of a power takes a logarithm, every rule adds, selects
and reshapes, and operands are converted before an op is applied. Each function here applies one op,
by the name under which its class is registered. Operands are values of one kind, or numbers where
the op promotes; shapes and axes are complete. The public functions of the same names are in the
modules of the ops: they read what users write, and end in these.

Modules above these families import the public functions. ``staticgrad.language.ops`` imports the
modules that define the ops named here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from staticgrad.language.ir.kinds import AnyValue, binding_kind
from staticgrad.language.ir.op import Op, op_class
from staticgrad.language.ir.value import Value
from staticgrad.language.types.arrays import Shape
from staticgrad.language.types.dim import Dim
from staticgrad.language.types.dtype import DType


@cache
def _op(name: str) -> Op:
    """The op registered under ``name``, which has no attributes."""
    return op_class(name)()


def add(x: Any, y: Any) -> Any:
    """Add x and y, which broadcast."""
    return _op("add")(x, y)


def multiply(x: Any, y: Any) -> Any:
    """Multiply x by y, which broadcast."""
    return _op("mul")(x, y)


def negative(x: AnyValue) -> AnyValue:
    """Negate x."""
    return _op("neg")(x)


def sqrt(x: AnyValue) -> AnyValue:
    """Compute the square root of floating x."""
    return _op("sqrt")(x)


def log(x: AnyValue) -> AnyValue:
    """Compute the natural logarithm of floating x."""
    return _op("log")(x)


def where(condition: AnyValue, x: Any, y: Any) -> AnyValue:
    """Select x where the condition is true, else y; all broadcast."""
    return _op("where")(condition, x, y)


def logical_not(x: AnyValue) -> AnyValue:
    """Return True where x is not true."""
    return _op("logical_not")(x)


def logical_and(x: Any, y: Any) -> Any:
    """Return True where both are true."""
    return _op("logical_and")(x, y)


def logical_or(x: Any, y: Any) -> Any:
    """Return True where one at least is true."""
    return _op("logical_or")(x, y)


def astype(x: AnyValue, dtype: DType) -> AnyValue:
    """Convert x to ``dtype``; x itself if it has that dtype."""
    if x.dtype is dtype:
        return x
    value: Any = x
    if dtype.is_complex and not x.dtype.is_complex:
        result: AnyValue = value.kind.complex_kind(astype(value, dtype.real), None)
        return result
    cast: Any = op_class("cast")
    return cast(dtype)(x)


def size_value(size: Dim, dtype: DType) -> Any:
    """A size as a 0-d value of ``dtype``, of a complex one of its real dtype."""
    kind: Any = op_class("size")
    return kind(size, dtype.real)()


def reshape(x: AnyValue, shape: Shape) -> AnyValue:
    """Return the elements of x under another shape of as many elements; x itself if it has it."""
    kind: Any = op_class("reshape")
    return x if shape == x.shape else kind(shape)(x)


def broadcast_to(x: AnyValue, shape: Shape) -> AnyValue:
    """Repeat x to ``shape``: axes align at the right, literal size 1 stretches."""
    if shape == x.shape:
        return x
    kind: Any = op_class("broadcast")
    return kind(shape, tuple(range(len(shape) - x.ndim, len(shape))))(x)


def full(shape: Shape, number: Any, like: Value) -> Any:
    """Repeat a number, in its own dtype, to ``shape``: a value of the kind of ``like``."""
    return broadcast_to(binding_kind((like,)).lift(number), shape)


def full_like(x: Value, number: float) -> Any:
    """Repeat a number to the shape of x, in the dtype and the kind of x."""
    return broadcast_to(binding_kind((x,)).lift(number, x.dtype), x.shape)


def sum_over(x: AnyValue, axes: tuple[int, ...]) -> AnyValue:
    """Add the elements of x, floats, over ascending ``axes``, which the result drops."""
    kind: Any = op_class("sum")
    return kind(axes)(x) if axes else x
