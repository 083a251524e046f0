"""Array API standard: constants, dtypes, ``asarray`` and other functions beside elementwise ones.

``shape``, ``result_type`` and others are known when a graph is built: NumPy's functions of these
names answer for values, too (``FACTS``), and build no node.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.functions.creation import constant
from staticgrad.language.calls.arguments import public_form
from staticgrad.language.calls.functional import FACTS
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import ArrayLike, common_dtype, strong_dtype
from staticgrad.language.ops.indexing import stack
from staticgrad.language.ops.operands import as_value, axes_of, dtype_of, promoted_values
from staticgrad.language.types.arrays import Shape, is_sparse, product
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType
from staticgrad.support.optional import ml_dtypes

e: Final = math.e
inf: Final = math.inf
nan: Final = math.nan
pi: Final = math.pi
newaxis: Final = None


def asarray(
    obj: ArrayLike[AnyValue],
    /,
    *,
    dtype: Any = None,
    device: Literal["cpu"] | None = None,
    copy: bool | None = None,
) -> AnyValue:
    """``obj`` as a value: itself, lists of values as one, or data known now as a constant.

    Args:
        obj: a value, or what ``np.asarray`` takes; nested lists that hold values are stacked, in
            the dtype in which their elements meet.
        dtype: convert to it; by default what ``obj`` has.
        device: "cpu", which is where all values are.
        copy: a value never changes, so that nothing is copied; a constant always is.

    Raises:
        ShapeError, RankError: nested lists of values of different shapes.

    >>> sg.asarray([1.0, 2.0]).dtype
    sg.float64
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(sg.asarray([[x[0], 1.0], [2.0, x[1] ** 2]]), {"x": np.array([3.0, 4.0])})
    array([[ 3.,  1.],
           [ 2., 16.]])
    """
    if isinstance(obj, Value):
        return obj if dtype is None else astype(obj, dtype)
    if copy is False:
        raise ArgumentError("asarray: copy=False, but a constant is a copy of its data")
    if is_sparse(obj):
        raise DTypeError(
            f"asarray: {quote(obj)} is sparse, not an array",
            hint="x.toarray(), or sg.sparse.csr(x)",
        )
    data: Any = obj
    if _holds_values(data):
        data = _stack_nested(data)
        return data if dtype is None else astype(data, dtype)
    if np.ndim(data) == 0:
        data = as_value(data)
        if data.computes:
            return astype(data, data.dtype if dtype is None else dtype)
    return constant(data, dtype)  # type: ignore[return-value]


def _holds_values(data: Any) -> bool:
    return isinstance(data, list | tuple) and any(
        isinstance(entry, Value) or _holds_values(entry) for entry in data
    )


def _stack_nested(data: Any) -> Any:
    """Stack nested lists of values and numbers to one value of the promoted dtype."""
    elements = iter(promoted_values([*_elements(data)]))

    def stack_level(part: Any) -> Any:
        if isinstance(part, list | tuple):
            return stack([*map(stack_level, part)]) if part else part
        return next(elements)

    return stack_level(data)


def _elements(data: Any) -> Iterator[Any]:
    for entry in data:
        if isinstance(entry, list | tuple):
            yield from _elements(entry)
        else:
            yield entry


def shape(a: ArrayLike) -> Shape:
    """The sizes of the axes of a value or array: ints, and expressions of named sizes.

    >>> sg.shape(sg.input("x", ("n", 3)))
    (n, 3)
    """
    value: Any = a
    return value.shape if isinstance(a, Value) else np.shape(value)


def ndim(a: ArrayLike) -> int:
    """The number of axes of a value or array.

    >>> sg.ndim(sg.input("x", ("n", 3)))
    2
    """
    value: Any = a
    return value.ndim if isinstance(a, Value) else np.ndim(value)


def size(a: ArrayLike, axis: int | tuple[int, ...] | None = None) -> Size:
    """Return the number of elements, or the size of ``axis``, or the product of several sizes.

    >>> sg.size(sg.input("x", (2, 3)))
    6
    """
    value = as_value(a)
    return product(value.shape[place] for place in axes_of(axis, value))


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype in which values, arrays, dtypes and Python's numbers meet.

    As in ``x + y``: NumPy's rule, but an integer array that meets a floating one takes its dtype.

    >>> sg.result_type("int32", "float32")
    sg.float32
    """
    if not arrays_and_dtypes:
        raise ArgumentError("result_type: of nothing")
    return common_dtype("result_type", [_operand(operand) for operand in arrays_and_dtypes])


def _operand(data: Any) -> Any:
    if isinstance(data, DType | np.dtype | type | str):
        return np.empty(0, dtype_of(data).numpy)
    return data


def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Return whether elements of ``from_`` (a dtype, value or array) convert to dtype ``to``.

    ``casting`` is one of NumPy's rules.

    >>> sg.can_cast("int32", "float64"), sg.can_cast("float64", "float32")
    (True, False)
    """
    return np.can_cast(_element(from_, "biufc"), dtype_of(to).numpy, casting)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Return whether ``dtype`` is of a kind: a dtype, a word of the standard, or a tuple of such.

    The words are "bool", "integral", "real floating", "numeric", "signed integer", "unsigned
    integer" and "complex floating".

    >>> sg.isdtype("float32", "real floating")
    True
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, option) for option in kind)
    resolved = dtype_of(dtype)
    if isinstance(kind, str):
        return bool(np.isdtype(resolved.compute.numpy, kind))  # NumPy knows the kind of that one
    return resolved == kind


def finfo(type: Any) -> np.finfo[Any]:
    """NumPy's limits of a floating dtype, value or array: ``eps``, ``max``, ``tiny``.

    >>> sg.finfo("float32").max, sg.finfo("float32").eps
    (np.float32(3.4028235e+38), np.float32(1.1920929e-07))
    """
    dtype = _element(type, "f")
    if dtype.kind == "V":
        limits: Any = ml_dtypes.finfo  # NumPy has no limits for the dtypes of ml_dtypes
        return limits(dtype)
    return np.finfo(dtype)


def iinfo(type: Any) -> np.iinfo[Any]:
    """NumPy's limits of an integer dtype, value or array: ``min``, ``max``.

    >>> sg.iinfo("int8").min, sg.iinfo("int8").max
    (-128, 127)
    """
    return np.iinfo(_element(type, "iu"))


def _element(data: Any, kinds: str) -> np.dtype[Any]:
    named = isinstance(data, DType | np.dtype | type | str)
    dtype = dtype_of(data) if named else strong_dtype(called_name(), data)
    if dtype.kind not in kinds:
        raise DTypeError(f"{called_name()}: {dtype} has no such limits")
    return dtype.numpy


FACTS.update(shape=shape, ndim=ndim, size=size, result_type=result_type, can_cast=can_cast)
for _name in (*FACTS, "asarray", "isdtype", "finfo", "iinfo"):
    globals()[_name] = public_form(globals()[_name], __name__)


def _is_complex(x: Any) -> bool:
    """Return what ``np.iscomplexobj`` does: whether elements are complex numbers."""
    return strong_dtype("iscomplexobj", x).is_complex


def _shares_memory(*_operands: Any, max_work: Any = None) -> bool:
    """Return what ``np.may_share_memory`` does: values share memory with nothing."""
    return False


#: Questions of NumPy's that other libraries ask of any array; ``sg`` has no such names.
FACTS.update(
    iscomplexobj=_is_complex, isrealobj=lambda x: not _is_complex(x),
    may_share_memory=_shares_memory, shares_memory=_shares_memory,
)  # fmt: skip
