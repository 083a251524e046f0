"""Values that are not computed from others: inputs, parameters, constants, ranges, triangles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal, cast, overload

import numpy as np
import numpy.typing as npt

from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    RankError,
    ShapeAsValueWarning,
    ShapeError,
    warn,
)
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.language.calls.execution import computing_kind
from staticgrad.language.ir.graph import (
    Input,
    Node,
    Parameter,
    ParameterLeaf,
    Symbolic,
    constant as constant_node,
)
from staticgrad.language.ir.kinds import AnyValue, binding_kind
from staticgrad.language.ir.pairs import ComplexParameter, SymbolicComplex, check_real
from staticgrad.language.ir.value import Value
from staticgrad.language.ops import arithmetic
from staticgrad.language.ops.arithmetic import floor, power
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import concatenate, flip
from staticgrad.language.ops.logic import equal, greater_equal, less_equal
from staticgrad.language.ops.movement import (
    broadcast_arrays,
    broadcast_to,
    expand_dims,
    moveaxis,
    reshape,
)
from staticgrad.language.ops.operands import (
    Integer,
    NonNegativeInt,
    as_value,
    as_values,
    axis_of,
    describe_operands,
    dtype_of,
    floating,
    integer,
    is_number,
    known_integer,
    leaf_array,
    promoted_values,
    shape_of,
    size_of,
)
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.ops.scans import cumprod
from staticgrad.language.ops.selection import where
from staticgrad.language.ops.transcendental import exp, log
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.arrays import (
    BEYOND,
    MOST_SIZE,
    Shape,
    TensorType,
    as_parts,
    convert_array,
)
from staticgrad.language.types.dim import Dim, Size, dim, floordiv, maximum
from staticgrad.language.types.dtype import ALL_DTYPES, F32, F64, I64, DType, promote
from staticgrad.support.docstrings import like as same

_LARGEST: Final = float(np.finfo(np.float64).max)
_DTYPE_NAMES: Final = {name for d in ALL_DTYPES for name in (d.code, d.name)}


def input(name: str, shape: Any = (), dtype: Any = "float32") -> Value:
    """Create a value that is fed at each run, under ``name``.

    Args:
        name: the key of its feed; unique in a graph.
        shape: one entry per axis: an int; a name (the same name is the same size everywhere in the
            graph); ``sg.dim(...)`` or an expression of sizes; None for an anonymous size.
        dtype: the element type.

    >>> x = sg.input("x", ("batch", 3))
    >>> x
    <x: f32[batch, 3]>
    """
    _check_name("input", name)
    if isinstance(shape, str | DType | type):
        # Refuse a dtype, or several names in one string, as the shape.
        if not isinstance(shape, str) or shape in _DTYPE_NAMES:
            raise ArgumentError(
                f"input {name!r}: {quote(shape)} is in the position of the shape",
                hint=f"the shape comes first: sg.input({name!r}, shape, dtype); () is one number",
            )
        if "," in shape or len(shape.split()) > 1:
            raise ArgumentError(
                f"input {name!r}: {quote(shape)} is not a shape",
                hint='one entry per axis, in a tuple: ("batch", "features")',
            )
    entries = shape if isinstance(shape, list | tuple) else (shape,)
    sizes = tuple(_read_size(name, axis, entry) for axis, entry in enumerate(entries))
    element_dtype = dtype_of(dtype, of=f"input {name!r}")
    if element_dtype.is_complex:
        parts = TensorType(element_dtype.real, (*sizes, 2))
        return SymbolicComplex.of(Symbolic.bind(Input(name, parts, is_complex=True), ()))
    return Symbolic.bind(Input(name, TensorType(element_dtype, sizes)), ())


def _read_size(name: str, axis: int, entry: Any) -> Size:
    """Read an entry of an input's shape: a size, a name, or None for an unnamed one."""
    if entry is None:
        return dim(f"{name}.{axis}")
    if isinstance(entry, str):
        if not entry:
            raise ArgumentError(f"input {name!r}: the name of axis {axis} is empty")
        return dim(entry)
    if isinstance(entry, bool | np.bool_):
        raise ArgumentError(f"input {name!r}: {entry} is not a size for axis {axis}")
    if known_integer(entry) == -1:
        raise ShapeError(
            f"input {name!r}, axis {axis}: the size -1 is negative",
            hint=f"a size that differs from run to run has a name:"
            f' sg.input({name!r}, ("batch", 3)); None makes a new size',
        )
    return size_of(entry, of=f"input {name!r}, axis {axis}")


def parameter(name: str, array: npt.ArrayLike, dtype: Any = None) -> Parameter:
    """Create a value that has an array, which updates replace; the given array is copied.

    Args:
        name: unique among the parameters of a graph.
        array: the first value; its shape never changes. A tuple of whole numbers is a value too,
            but looks like a shape: ShapeAsValueWarning.
        dtype: the element type; that of the array by default.

    >>> w = sg.parameter("w", [1.0, 2.0])
    >>> w.value = w.value * 2.0
    >>> w.value
    array([2., 4.])
    """
    _check_name("parameter", name)
    if isinstance(array, tuple) and array and all(type(size) is int for size in array):
        warn(
            ShapeAsValueWarning,
            f"parameter {name!r} is the array {list(array)}, not of shape {array};"
            f" for that: np.zeros({array}), else a list",
        )
    first = _array_of(array, dtype, of=f"parameter {name!r}")
    if first.dtype.kind == "c":
        store = ParameterStore(name, as_parts(first))
        store.is_complex = True
        return cast(Parameter, ComplexParameter(Parameter(_leaf(ParameterLeaf(store)))))
    return Parameter(_leaf(ParameterLeaf(ParameterStore(name, first))))


def constant(array: npt.ArrayLike, dtype: Any = None) -> Value:
    """Create a constant from a copy of an array; inside of ``sg.eager_mode()`` a tensor.

    Args:
        array: an array, a number, or nested lists of numbers.
        dtype: the element type; that of the array by default (Python floats: float64).

    >>> sg.evaluate(sg.constant([1.0, 2.0]) * 2.0)
    array([2., 4.])
    """
    if isinstance(array, Symbolic | SymbolicComplex):
        return array if dtype is None else cast(Symbolic, astype(array, dtype))
    data = _array_of(array, dtype)
    kind = computing_kind()
    return constant_node(data) if kind is None else cast(Value, kind.lift(data))


def _leaf(op: ParameterLeaf) -> Node:
    return Symbolic.bind(op, ()).node


def _check_name(what: str, name: Any) -> None:
    """Check the name of a new input or parameter."""
    if not isinstance(name, str):
        raise ArgumentError(
            f"{what}: the name comes first, got {quote(name)}",
            hint='sg.input("x", shape, dtype), sg.parameter("w", array)',
        )
    if not name:
        raise ArgumentError(f"{what}: the name is empty")


def _array_of(data: Any, dtype: Any, *, of: str = "") -> Any:
    """Convert a parameter's or constant's data to an array; a graph's value is refused."""
    if isinstance(data, Value):
        raise DTypeError(
            f"{of or called_name()}: {data!r} is a value of a graph, not an array",
            hint="a first value is an array; sg.Graph(updates={w: value}) sets later ones",
            related=describe_operands(data),
        )
    return leaf_array(data, dtype, of=of)


# -- arrays that follow from a shape --------------------------------------------------------------


def full(
    shape: Any, fill_value: Any, dtype: Any = None, *, like: AnyValue | None = None
) -> AnyValue:
    """``fill_value`` repeated to ``shape``; in ``dtype``, by default that of the value.

    A value of the kind of ``like``, where ``fill_value`` is none itself.

    Args:
        shape: one size or a tuple of sizes, named ones too.
        fill_value: a number, or what broadcasts to the shape.
        dtype: the element type.

    >>> sg.evaluate(sg.full((2,), 1.5))
    array([1.5, 1.5])
    """
    filled = as_value(fill_value, None if like is None else binding_kind((like,)))
    if dtype is not None:
        filled = astype(filled, dtype_of(dtype))
    return broadcast_to(filled, shape_of(shape))


@same(full)
def zeros(shape: Any, dtype: Any = F32, *, like: AnyValue | None = None) -> AnyValue:
    """Zeros; float32 by default. For ``like`` see ``full``.

    >>> sg.evaluate(sg.zeros((2, 2)))
    array([[0., 0.],
           [0., 0.]], dtype=float32)
    """
    return full(shape, _number(0, dtype), like=like)


@same(zeros)
def ones(shape: Any, dtype: Any = F32, *, like: AnyValue | None = None) -> AnyValue:
    """Ones; float32 by default. For ``like`` see ``full``.

    >>> sg.evaluate(sg.ones((2, 2)))
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """
    return full(shape, _number(1, dtype), like=like)


def full_like(
    x: ArrayLike[AnyValue], fill_value: Any, dtype: Any = None, *, shape: Any = None
) -> AnyValue:
    """``fill_value`` broadcast to ``shape`` in ``dtype``: by default those of x.

    >>> sg.full_like(np.ones((2, 2)), 7.0)
    array([[7., 7.],
           [7., 7.]])
    """
    like = as_value(x)
    target_dtype = like.dtype if dtype is None else dtype_of(dtype)
    kind = binding_kind((like,))
    is_scalar = is_number(fill_value) or isinstance(fill_value, complex)
    filled = kind.lift(fill_value, target_dtype) if is_scalar else as_value(fill_value, kind)
    sizes = like.shape if shape is None else shape_of(shape)
    return broadcast_to(astype(filled, target_dtype), sizes)


def zeros_like(x: ArrayLike[AnyValue], dtype: Any = None, *, shape: Any = None) -> AnyValue:
    """Zeros in ``shape`` and ``dtype``: by default those of x.

    >>> sg.evaluate(sg.zeros_like([1, 2]))
    array([0, 0])
    """
    return full_like(x, 0, dtype, shape=shape)


def ones_like(x: ArrayLike[AnyValue], dtype: Any = None, *, shape: Any = None) -> AnyValue:
    """Ones in ``shape`` and ``dtype``: by default those of x.

    >>> sg.evaluate(sg.ones_like([1, 2]))
    array([1, 1])
    """
    return full_like(x, 1, dtype, shape=shape)


def arange(
    start: Any,
    stop: Any = None,
    step: Any = 1,
    dtype: Any = None,
    *,
    like: AnyValue | None = None,
) -> AnyValue:
    """start, start + step, ... up to but without ``stop``; ``arange(n)`` starts at 0.

    Args:
        start, stop: numbers or sizes; literal ones where the step is negative or a fraction.
        step: a number other than 0.
        dtype: the element type of the result; int64 by default, float64 where a number is a float.

    >>> sg.evaluate(sg.arange(2, 10, 3))
    array([2, 5, 8])
    """
    first: Any = 0 if stop is None else start
    end: Any = start if stop is None else stop
    if any(isinstance(number, float | np.floating) for number in (first, end, step)):
        # `arange` of floats: start + i * step, in float64, so many as NumPy gives.
        for number in (first, end, step):
            if not is_number(number) or not abs(number) <= _LARGEST:
                raise ArgumentError(
                    f"arange: {quote(number)} is not a finite number",
                    hint="steps of fractions go between literal numbers; sg.linspace takes values",
                    related=describe_operands(number),
                )
        if step == 0:
            raise ArgumentError("arange: a step of 0 leads nowhere")
        most = (float(end) - float(first)) / float(step)
        if most > MOST_SIZE:
            raise ShapeError(f"arange: {most:g} numbers are too many: {BEYOND}")
        count = max(math.ceil((end - first) / step), 0)
        places = astype(iota((count,), like=like), F64)
        line = places * (float(first) + float(step) - float(first)) + float(first)
        return astype(line, F64 if dtype is None else dtype_of(dtype))
    stride = integer("step", step)
    if stride == 0:
        raise ArgumentError("arange: a step of 0 leads nowhere")
    first, end = (v if isinstance(v, Dim) else integer("end", v) for v in (first, end))
    span = end - first if stride > 0 else first - end
    count = maximum(floordiv(span + (abs(stride) - 1), abs(stride)), 0)
    positions = iota((count,), like=like)
    if stride != 1:
        positions = positions * stride
    if isinstance(first, Dim) or first != 0:
        positions = positions + size_value(first, I64)
    return astype(positions, I64 if dtype is None else dtype_of(dtype))


def _number(value: int, dtype: Any) -> Any:
    kind = F32 if dtype is None else dtype_of(dtype)
    return convert_array(np.asarray(value), kind)[()]


def one_hot(labels: ArrayLike[AnyValue], num_classes: Size, dtype: Any = F32) -> AnyValue:
    """1 at the label and 0 elsewhere, along a new last axis of size ``num_classes``.

    Labels are integers; one outside [0, num_classes) gives a row of zeros.

    >>> sg.evaluate(sg.one_hot([1, 0], 2))
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    (value,) = as_values(labels)
    if not value.dtype.is_integer:
        raise DTypeError(f"one_hot: labels are integers, not {value.dtype.numpy}")
    # Bool to float: the comparison is made in int64, where every class has its own number.
    column = expand_dims(astype(value, I64), -1)
    hit = equal(column, iota((size_of(num_classes, value),), like=value))
    return astype(hit, dtype_of(dtype))


@overload
def linspace(
    start: ArrayLike[AnyValue],
    stop: ArrayLike[AnyValue],
    num: NonNegativeInt = ...,
    endpoint: bool = ...,
    retstep: Literal[False] = ...,
    dtype: Any = ...,
    axis: int = ...,
) -> AnyValue: ...
@overload
def linspace(
    start: ArrayLike[AnyValue],
    stop: ArrayLike[AnyValue],
    num: NonNegativeInt = ...,
    endpoint: bool = ...,
    *,
    retstep: Literal[True],
    dtype: Any = ...,
    axis: int = ...,
) -> tuple[AnyValue, AnyValue]: ...
@rounded_once
def linspace(
    start: ArrayLike[Any],
    stop: ArrayLike[Any],
    num: NonNegativeInt = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """``num`` numbers from ``start`` to ``stop`` at equal distances; float64 for integer ends.

    start + step * k, and exactly ``stop`` at the end; gradients flow to both ends.

    Args:
        start, stop: the ends, which broadcast: numbers along a new axis for each of their elements.
        num: how many numbers, known when the graph is built.
        endpoint: whether ``stop`` is the last of them; else it would be the next one.
        retstep: also return the distance; it is NaN of a single number.
        dtype: the element type of the result; towards integers it is rounded down.
        axis: which axis of the result the numbers stand along.

    >>> sg.evaluate(sg.linspace(0.0, 1.0, 3))
    array([0. , 0.5, 1. ])
    """
    ends = (floating(v) for v in promoted_values((start, stop)))
    first, last = broadcast_arrays(*ends)
    gaps = num - 1 if endpoint else num
    positions = reshape(iota((num,), like=first), (num, *(1,) * first.ndim))
    places = astype(positions, first.dtype)
    step = (last - first) / float(max(gaps, 1))
    line = first + step * places
    if endpoint and num > 1:
        line = where(positions == num - 1, last, line)
    line = moveaxis(line, 0, axis_of(axis, line))
    if dtype is not None:
        target_dtype = dtype_of(dtype)
        line = astype(floor(line) if target_dtype.is_integer else line, target_dtype)
    if not retstep:
        return line
    return line, step if gaps > 0 else full_like(step, math.nan)


@rounded_once
def logspace(
    start: ArrayLike[AnyValue],
    stop: ArrayLike[AnyValue],
    num: NonNegativeInt = 50,
    endpoint: bool = True,
    base: ArrayLike[AnyValue] = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> AnyValue:
    """Return ``base`` to the powers of ``linspace(start, stop)``.

    Args:
        start, stop, num, endpoint, dtype, axis: as for ``linspace``.
        base: one or several numbers, which broadcast with the ends.

    >>> sg.evaluate(sg.logspace(0.0, 2.0, 3))
    array([  1.,  10., 100.])
    """
    ends = (floating(v) for v in promoted_values((start, stop, base)))
    first, last, root = broadcast_arrays(*ends)
    powers = power(root, linspace(first, last, num, endpoint))
    return _move_and_cast(powers, dtype, axis)


@rounded_once
def geomspace(
    start: ArrayLike[AnyValue],
    stop: ArrayLike[AnyValue],
    num: NonNegativeInt = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> AnyValue:
    """Return ``num`` numbers from ``start`` to ``stop``, each the same multiple of the one before.

    Both ends have one sign and are not 0; of other ends the numbers between them are NaN.

    Args:
        start, stop, num, endpoint, dtype, axis: as for ``linspace``.

    >>> sg.evaluate(sg.geomspace(1.0, 8.0, 4))
    array([1., 2., 4., 8.])
    """
    check_real(start, stop)
    ends = (floating(v) for v in promoted_values((start, stop)))
    first, last = broadcast_arrays(*ends)
    sign = where(first == 0.0, math.nan, arithmetic.sign(first))
    low, high = (log(end * sign) for end in (first, last))
    line = exp(linspace(low, high, num, endpoint)) * sign
    positions = reshape(iota((line.shape[0],), like=first), (-1, *(1,) * first.ndim))
    if endpoint:
        line = where(positions == line.shape[0] - 1, last * sign * sign, line)
    return _move_and_cast(where(positions == 0, first, line), dtype, axis)


def _move_and_cast(line: AnyValue, dtype: Any, axis: int) -> AnyValue:
    line = moveaxis(line, 0, axis_of(axis, line))
    return line if dtype is None else astype(line, dtype_of(dtype))


@rounded_once
def vander(x: ArrayLike[AnyValue], N: int | None = None, increasing: bool = False) -> AnyValue:
    """Return the matrix whose columns are powers of the vector x, the highest power first.

    Args:
        N: how many columns, known at build; as many as x has elements by default.
        increasing: power 0 first.

    >>> sg.evaluate(sg.vander([1, 2, 3]))
    array([[1, 1, 1],
           [4, 2, 1],
           [9, 3, 1]])
    """
    value = as_value(x)
    if value.ndim != 1:
        raise RankError(f"vander: {value.type} is not a vector", related=describe_operands(value))
    size = value.shape[0]
    count = integer("N", size if N is None else N, value, least=0)
    value = astype(value, promote(value.dtype, I64))
    ones = full((size, min(count, 1)), 1, value.dtype, like=value)
    factors = broadcast_to(expand_dims(value, 1), (size, max(count - 1, 0)))
    powers = cumprod(concatenate([ones, factors], 1), 1)
    return powers if increasing else flip(powers, 1)


def eye(
    rows: Size,
    columns: Size | None = None,
    k: Integer = 0,
    dtype: Any = F32,
    *,
    like: AnyValue | None = None,
) -> AnyValue:
    """Ones on the k-th diagonal, zeros elsewhere: the identity matrix where it is square.

    Args:
        rows, columns: sizes; as many columns as rows by default.
        dtype: the element type.

    >>> sg.evaluate(sg.eye(2))
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    shape: Shape = shape_of((rows, rows if columns is None else columns))
    rows_of = iota(shape, 0, like=like)
    hit = equal(rows_of + k if k else rows_of, iota(shape, 1, like=like))
    return astype(hit, F32 if dtype is None else dtype_of(dtype))


def identity(n: Size, dtype: Any = F32, *, like: AnyValue | None = None) -> AnyValue:
    """The identity matrix of ``n`` rows; float32 by default. Otherwise as ``eye``.

    >>> sg.evaluate(sg.identity(2))
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return eye(n, dtype=dtype, like=like)


def tri(
    rows: Size,
    columns: Size | None = None,
    k: Integer = 0,
    dtype: Any = F32,
    *,
    like: AnyValue | None = None,
) -> AnyValue:
    """Ones on and below the k-th diagonal, zeros above.

    Args:
        rows, columns, dtype: as for ``eye``.

    >>> sg.evaluate(sg.tri(2))
    array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    shape = shape_of((rows, rows if columns is None else columns))
    shifted = iota(shape, 0, like=like) + k
    inside = greater_equal(shifted, iota(shape, 1, like=like))
    return astype(inside, F32 if dtype is None else dtype_of(dtype))


def tril(x: ArrayLike[AnyValue], k: Integer = 0) -> AnyValue:
    """x on and below the k-th diagonal of its last two axes, zeros above.

    >>> sg.evaluate(sg.tril([[1, 2], [3, 4]]))
    array([[1, 0],
           [3, 4]])
    """
    return _triangle(x, k, greater_equal)


@same(tril)
def triu(x: ArrayLike[AnyValue], k: Integer = 0) -> AnyValue:
    """x on and above the k-th diagonal of its last two axes, zeros below.

    >>> sg.triu(np.ones((3, 3)))
    array([[1., 1., 1.],
           [0., 1., 1.],
           [0., 0., 1.]])
    """
    return _triangle(x, k, less_equal)


def _triangle(x: ArrayLike[AnyValue], k: int, relation: Callable[..., AnyValue]) -> AnyValue:
    """Zero the elements of the last two axes outside of a triangle (tril, triu)."""
    value = as_value(x)
    if value.ndim < 2:
        raise RankError(
            f"{called_name()}: {value.type} has no last two axes", related=describe_operands(value)
        )
    shape = value.shape[-2:]
    shifted = iota(shape, 0, like=value) + k
    inside = relation(shifted, iota(shape, 1, like=value))
    return where(inside, value, np.zeros((), value.dtype.numpy))
