"""Reading arguments for all families but the elementwise one, and the bases of linear ops.

Arguments are lifted to values, axes are normalized, and errors say which argument is wrong. The
bases are those of ops that are linear in their first operand, or in each of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import index
from typing import Annotated, Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, AxisError, DTypeError, Related, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.language.calls.arguments import Argument
from staticgrad.language.ir.graph import Symbolic
from staticgrad.language.ir.kinds import AnyValue, binding_kind, of_kind
from staticgrad.language.ir.nodes import running_session
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.python_numbers import PythonNumber
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.basic import astype, size_value
from staticgrad.language.ops.cotangent import elements_reaching
from staticgrad.language.ops.elementwise import (
    ArrayLike,
    array_dtype,
    common_dtype,
    dtype_hint,
    lift_operand,
    shared_dtype,
    strong_dtype,
)
from staticgrad.language.types.arrays import (
    BEYOND,
    MOST_SIZE,
    Array,
    Shape,
    TensorType,
    array_of,
    convert_array,
)
from staticgrad.language.types.dim import Dim, Size, equal
from staticgrad.language.types.dtype import F64, I64, U64, DType, as_dtype
from staticgrad.support.deprecations import deprecated_attribute

#: An axis, several, or None for all.
Axes = int | Sequence[int] | None
#: The maximum number of values that one function returns.
MOST_PARTS: Final = 1_000_000


class LinearOp(Op):
    """An op that is linear in its first operand; the others are indices and carry no gradient."""

    rounds_once = True
    transposed = deprecated_attribute("0.2", "transpose_rule")

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        """The cotangent of ``x``, given that of the result."""
        raise self._missing_rule("its transpose", "transpose_rule(self, ct, x, *indices)")

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """The transpose, for floating elements."""
        share = self.transpose_rule(ct, *args) if out.dtype.is_float else None
        return (share, *(None for _ in args[1:]))

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        """The op itself, applied to the tangent."""
        if tangents[0] is None or not out.dtype.is_float:
            return None
        return self(tangents[0], *args[1:])

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        """Elements of the first operand elsewhere."""
        return of(args[0]) if args else None

    def operand_masks(self, mask: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """An element counts where one of the result's that it is moved to does."""
        if mask is True or not out.dtype.is_float:
            return super().operand_masks(mask, out, *args)
        return (elements_reaching(self, mask, out, *args), *[True] * (len(args) - 1))


class BilinearOp(Op):
    """An op that is linear in each of its two operands, of one dtype."""

    rounds_once = True

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as values of the dtype in which they meet."""
        return promoted_values(args)

    def jvp(self, tangents: Sequence[Any], out: Any, a: Any, b: Any) -> Any:
        """Push tangents through a bilinear op: the op of each tangent and the other operand."""
        if not out.dtype.is_float:
            return None
        by_a, by_b = tangents
        terms = [self(by_a, b)] if by_a is not None else []
        terms += [self(a, by_b)] if by_b is not None else []
        if len(terms) == 2:
            return terms[0] + terms[1]
        return terms[0] if terms else None


def as_value(
    data: ArrayLike[AnyValue], kind: type[AnyValue] | None = None, *, of: str = ""
) -> AnyValue:
    """Convert an operand to a value (of ``kind`` if given)."""
    if isinstance(data, Value):
        value: AnyValue = data if kind is None else of_kind(data, kind)
        return value
    if isinstance(data, Dim):
        size: Any = size_value(data, I64)
        return size
    plain = type(data)  # not ``__class__``: a number of a trace says that it is a float
    if plain is PythonNumber:
        dtype = F64 if isinstance(data, float) else I64
        return lift_operand(of or called_name(), kind or binding_kind(()), data, dtype)
    if plain is not float and not (plain is int and 0 <= data <= MOST_SIZE):
        strong_dtype(of or called_name(), data)  # which refuses what has none
    return (kind or binding_kind(())).lift(data)


def floating(x: ArrayLike[AnyValue]) -> AnyValue:
    """x as a floating value: integers and bools become float64."""
    value = as_value(x)
    return value if value.dtype.is_float else astype(value, F64)


def as_values(*data: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """``data`` as values of the kind that they have or ask for; nothing promotes."""
    kind = binding_kind(data)
    return tuple(as_value(item, kind) for item in data)


def promoted_values(data: Sequence[ArrayLike[AnyValue]]) -> tuple[AnyValue, ...]:
    """Convert operands to values of one kind and of their promoted dtype."""
    shared, numbers = shared_dtype(data)
    if shared is not None and not numbers:
        return tuple(data)  # type: ignore[arg-type]
    # Values and floats raise no message of these two.
    name = "" if all(isinstance(x, Value) or type(x) is float for x in data) else called_name()
    kind, dtype = binding_kind(tuple(data)), common_dtype(name, data)
    return tuple([lift_operand(name, kind, item, dtype) for item in data])


def describe_operands(*values: object) -> list[Related]:
    """List operands for an error message: name, type, source line; symbolic ones only."""
    return [
        (
            value.node.label or f"operand {position}",
            str(value.type),
            value.node.origin,
        )
        for position, value in enumerate(values, 1)
        if isinstance(value, Symbolic)
    ]


def axis_of(axis: Any, x: Value, rank: int | None = None) -> int:
    """Check an ``axis=`` argument; return it as a non-negative int below ``rank``."""
    limit = x.ndim if rank is None else rank
    if axis.__class__ is int and -limit <= axis < limit:
        return axis % limit
    number = integer("axis", axis, x)
    if not -limit <= number < limit:
        of = {0: "a 0-d value has none", 1: "there is one: axis 0"}.get(
            limit, f"there are {limit}: 0 to {limit - 1}"
        )
        raise AxisError(
            f"{called_name()}: no axis {number} in {x.type}", hint=of, related=describe_operands(x)
        )
    return number % limit


def axes_of(axis: Axes, x: Value) -> tuple[int, ...]:
    """``axis`` as sorted non-negative ints: None is every axis."""
    if axis is None:
        return tuple(range(x.ndim))
    if not isinstance(axis, list | tuple):
        return (axis_of(axis, x),)
    return tuple(sorted(distinct_axes(axis, x)))


def reduction_axes(axis: Axes, x: Value) -> tuple[int, ...]:
    """Return ``axes_of``, and no axis for axis 0 or -1 of a 0-d value.

    NumPy's reductions by a ufunc take these two (``np.sum(2.0, axis=0)``); ``np.mean`` does not.
    """
    return () if is_only_axis_of_scalar(axis, x) else axes_of(axis, x)


def is_only_axis_of_scalar(axis: Any, x: Value) -> bool:
    """Return whether x is 0-d and ``axis`` is 0 or -1, as of a vector of one element."""
    return x.ndim == 0 and not isinstance(axis, list | tuple) and known_integer(axis) in (0, -1)


def distinct_axes(axes: Iterable[Any], x: Value, rank: int | None = None) -> list[int]:
    """Check several axes; return them as distinct non-negative ints, in order."""
    numbers = [axis_of(axis, x, rank) for axis in axes]
    if len(numbers) == len(set(numbers)):
        return numbers
    for axis in numbers:
        if numbers.count(axis) > 1:
            raise AxisError(
                f"{called_name()}: axis {axis} is named twice", related=describe_operands(x)
            )
    return numbers


def integer(
    what: str,
    data: Any,
    *values: Value,
    most_bits: int | None = 64,
    least: int | None = None,
    of: str = "",
) -> int:
    """Read an argument as a Python int: a number, or a value that computes at once."""
    number = known_integer(data)
    if number is not None and not (least is not None and isinstance(data, bool | np.bool_)):
        if least is not None and number < least:
            raise ArgumentError(
                f"{of or called_name()}: {what} must be >= {least}, got {quote(number)}",
                related=describe_operands(*values),
            )
        if most_bits is not None and number.bit_length() > most_bits:
            raise ArgumentError(
                f"{of or called_name()}: {what} {quote(data)} has more than {most_bits} bits",
                related=describe_operands(*values),
            )
        return number
    raise ArgumentError(
        f"{of or called_name()}: {what} {quote(data)} is not an integer",
        hint=_integer_hint(what, data),
        related=describe_operands(*values, data),
    )


def array_size(n: Any, what: str = "size") -> int:
    """Read the size of an axis of a new array, below 2**31.

    Raises:
        ArgumentError: no integer, below 0, or too many elements.
    """
    size = integer(what, n, least=0)
    if size >= 2**31:
        raise ArgumentError(f"{called_name()}: an axis of {size} elements")
    return size


def known_integer(data: Any) -> int | None:
    """Return an argument as a Python int if its value is known now, else None."""
    number: Any = data
    if not isinstance(data, Value | Dim) or (isinstance(data, Value) and data.computes):
        try:
            return index(number)
        except TypeError:
            pass
    return None


# Declared arguments, which the boundary of a public function reads: ``calls/arguments.py``.
#: Annotation of an argument that is an integer, also an integer value that is known now.
Integer = Annotated[int, Argument(integer)]
#: Annotation of an argument that is an integer >= 1.
PositiveInt = Annotated[int, Argument(partial(integer, least=1))]
#: Annotation of an argument that is an integer >= 0.
NonNegativeInt = Annotated[int, Argument(partial(integer, least=0))]


def number_of_parts(data: Any, *values: Value) -> int:
    """Read the number of parts into which a value is split."""
    count = integer("number of parts", data, *values)
    if not 1 <= count <= MOST_PARTS:
        most = f": at most {MOST_PARTS:,}, as each is a value" if count > 0 else ""
        raise ArgumentError(
            f"{called_name()}: {count} parts{most}", related=describe_operands(*values)
        )
    return count


def _integer_hint(what: str, data: object) -> str:
    """Return a hint for an argument that is no integer: what to write instead."""
    if isinstance(data, Value):
        reason = "it is only known in a run, and shapes are decided when the graph is built"
        traced = "\na traced function has a Python int when it is traced: f(x, int(n))"
        return reason + (traced if running_session() is not None else "")
    if isinstance(data, str) and what == "seed":
        return "the same number gives the same draws"
    if isinstance(data, str):
        is_axis = what == "axis"
        return "axes are numbers: 0, 1, -1" if is_axis else "a named size: x.shape[0], sg.dim(name)"
    if isinstance(data, np.ndarray) and what == "size":
        return "a shape is a tuple of sizes, (3, 4) or array.shape; an input has no numbers yet"
    if isinstance(data, float) and data.is_integer():
        return f"write {int(data)}; a division that stays whole is //"
    return ""


def is_number(data: object) -> bool:
    """Return whether ``data`` is a real number of Python or NumPy, and not a bool."""
    kinds = int | float | np.integer | np.floating
    return isinstance(data, kinds) and not isinstance(data, bool)


def read_number(
    word: str, value: Any, *, what: str = "a number", low: float = -math.inf,
    high: float = math.inf, ends: str = "[]", or_value: bool = False,
) -> Any:  # fmt: skip
    """Read a numeric argument between ``low`` and ``high``; else raise that it must be ``what``.

    ``ends`` are the brackets of the interval: "[)" contains ``low``, not ``high``. With
    ``or_value`` an array, or a value that has its elements in the run, passes.
    """
    if is_number(value):
        above = value >= low if ends[0] == "[" else value > low
        if above and (value <= high if ends[1] == "]" else value < high):
            return value
    elif or_value and isinstance(value, Value | np.ndarray):
        return value
    raise ArgumentError(
        f"{called_name()}: {word} must be {what}, got {quote(value)}",
        related=describe_operands(value),
    )


def _number(what: str, low: float, high: float, ends: str) -> Callable[..., Any]:
    return partial(read_number, what=what, low=low, high=high, ends=ends)


#: Read an argument that is a positive, finite number: ``positive(name, data)``.
positive = _number("a positive, finite number", 0, math.inf, "()")
#: Read an argument that is a finite number >= 0: ``non_negative(name, data)``.
non_negative = _number("a finite number >= 0", 0, math.inf, "[)")

#: Annotation of an argument that is a finite number.
Number = Annotated[float, Argument(read_number)]
#: Annotation of an argument that is a positive, finite number.
PositiveFloat = Annotated[float, Argument(positive)]
#: Annotation of an argument that is a positive number, or a value.
PositiveOperand = Annotated[float | Value, Argument(partial(positive, or_value=True))]
#: Annotation of an argument that is a finite number >= 0.
NonNegativeFloat = Annotated[float, Argument(non_negative)]
#: Annotation of an argument that is a number in [0, 1).
Fraction = Annotated[float, Argument(_number("a number in [0, 1)", 0, 1, "[)"))]
#: Annotation of an argument that is a number in (0, 1).
OpenFraction = Annotated[float, Argument(_number("a number in (0, 1)", 0, 1, "()"))]
#: Annotation of an argument that is a number in [0, 1].
UnitFloat = Annotated[float, Argument(_number("a number in [0, 1]", 0, 1, "[]"))]


def check_equal(
    text: str,
    size: Size,
    expected: Size,
    *values: Value,
    hint: str = "",
    details: Sequence[str] = (),
) -> None:
    """Refuse sizes that differ; for named ones add a guard that each run checks."""
    if not equal(size, expected, text):
        raise ShapeError(text, details=details, hint=hint, related=describe_operands(*values))


def check_vector(text: str, x: Value, size: Size, *values: Value, hint: str = "") -> None:
    """Refuse what is not a vector of so many elements with ``text``."""
    if x.ndim != 1 or not equal(x.shape[0], size, text):
        raise ShapeError(text, hint=hint, related=describe_operands(*values, x))


def size_of(data: Any, *values: Value, of: str = "") -> Size:
    """Read an argument as a size: a Dim, or a non-negative int."""
    if (data.__class__ is int and 0 <= data <= MOST_SIZE) or isinstance(data, Dim):
        return data
    number = known_integer(data)
    size = integer("size", data, *values, of=of) if number is None else number
    if not 0 <= size <= MOST_SIZE:
        why = "is negative" if size < 0 else f"is too large: {BEYOND}"
        raise ShapeError(
            f"{of or called_name()}: the size {quote(size)} {why}",
            related=describe_operands(*values),
        )
    return size


def shape_of(data: Any, *values: Value) -> Shape:
    """Return ``data`` as a shape: one size or a sequence of sizes."""
    entries = data if isinstance(data, list | tuple) else (data,)
    return tuple(
        [
            entry if entry.__class__ is int and 0 <= entry <= MOST_SIZE else size_of(entry, *values)
            for entry in entries
        ]
    )


def dtype_of(spec: object, *, of: str = "") -> DType:
    """The element type that ``spec`` names."""
    try:
        return as_dtype(spec)
    except TypeError as error:
        raise DTypeError(f"{of or called_name()}: {error}", hint=dtype_hint(spec)) from None


def leaf_array(data: Any, dtype: Any = None, of_floats: DType = F64, *, of: str = "") -> Array:
    """Convert the data of a constant or parameter to an array of ``dtype``; may share memory.

    Arrays keep their element type. Python floats, and lists of them, become ``of_floats``.
    """
    is_array = type(data) is np.ndarray
    if not (of or is_array):
        of = called_name()
    element_type = array_dtype(data, of)
    if dtype is not None:
        element_type = dtype_of(dtype, of=of)
    elif element_type is F64 and not _has_arrays(data):
        element_type = of_floats
    array = data if is_array else array_of(data, of)
    return array if array.dtype == element_type.numpy else convert_array(array, element_type)


def _has_arrays(data: Any) -> bool:
    """Return whether data that is float64 contains more than Python floats and integers."""
    if isinstance(data, list | tuple):
        return any(map(_has_arrays, data))
    return isinstance(data, np.float64) or not isinstance(data, int | float)


def counting_dtype(dtype: DType, asked: Any = None) -> DType:
    """Return the dtype of a sum or product, as NumPy: ``asked``, or int64 for narrow integers.

    By default NumPy's: 64 bits for integers and bools.
    """
    if asked is not None:
        requested = dtype_of(asked)
        if requested.is_bool:
            raise DTypeError(
                f"{called_name()}: dtype=bool: bools are not numbers", hint="x.any(), x.all()"
            )
        return requested
    if dtype.is_float:
        return dtype
    return U64 if dtype.kind == "u" else I64


def shape_text(shape: Shape) -> str:
    """A shape as messages write it: ``[batch, 784]``."""
    return f"[{', '.join(map(str, shape))}]"


def kept_axes(rank: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that a reduction over ``axes`` keeps."""
    return tuple(axis for axis in range(rank) if axis not in axes)


def shape_without(x: TensorType, axes: tuple[int, ...]) -> Shape:
    """The shape of ``x`` without ``axes``."""
    return tuple(x.shape[axis] for axis in kept_axes(x.rank, axes))
