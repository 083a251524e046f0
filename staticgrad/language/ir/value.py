"""Value: the operands of ops, and the operators, methods and attributes that all kinds share.

Rules are written once against ``Value``; its kinds are symbolic values, eager tensors and the holes
of rewrite rules. The kind of the operands decides what binding means. Operators and methods call
``functional.functions``, which the ops fill.

Some attributes are those that the array API standard requires beside NumPy's
(https://data-apis.org/array-api/2025.12/).
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self, TypeVar

import numpy as np

import staticgrad
from staticgrad.errors import ArgumentError, AxisError, RankError
from staticgrad.errors.tracebacks import boundary, cut_frames
from staticgrad.errors.values import no_function, no_operand, no_ufunc
from staticgrad.errors.wording import quote
from staticgrad.language.calls import functional
from staticgrad.language.calls.arguments import as_numpy, public
from staticgrad.language.calls.spellings import TorchSpellings
from staticgrad.language.types.arrays import Shape, TensorType, is_pandas, is_sparse
from staticgrad.language.types.dim import Dim, Size
from staticgrad.language.types.dtype import DType

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


class Of(Protocol[V_co]):
    """A value whose operations give ``V_co``. A type only: nothing has the attribute in a run."""

    @property
    def of_kind(self) -> V_co:
        """Return the value that operations give."""


class Places(Protocol[V_co]):
    """``x.at``: ``x.at[key]`` names elements."""

    def __getitem__(self, key: Any, /) -> Elements[V_co]:
        """The elements at ``key``."""


class Elements(Protocol[V_co]):
    """``x.at[key]``: copies of x in which the elements differ."""

    def get(self) -> V_co:
        """``x[key]``."""

    def set(self, values: Any) -> V_co:
        """x with the elements replaced."""

    def add(self, values: Any) -> V_co:
        """x with ``values`` added to the elements."""

    def subtract(self, values: Any) -> V_co:
        """x with ``values`` subtracted from the elements."""

    def multiply(self, values: Any) -> V_co:
        """x with the elements multiplied by ``values``."""

    def divide(self, values: Any) -> V_co:
        """x with the elements divided by ``values``."""

    def power(self, values: Any) -> V_co:
        """x with the elements to the power of ``values``."""

    def max(self, values: Any) -> V_co:
        """x with the larger one of each element and of ``values``."""

    def min(self, values: Any) -> V_co:
        """x with the smaller one of each element and of ``values``."""


_VERSIONS: Final = (None, "2021.12", "2022.12", "2023.12", "2024.12", "2025.12")


class StandardArray:
    """Base of values: the attributes of the standard that are not operators."""

    __slots__ = ()

    @property
    def mT(self: Of[V]) -> V:  # noqa: N802 - the standard's name
        """The last two axes exchanged. Raises RankError where there are fewer."""
        value: Any = self
        if value.ndim < 2:
            raise RankError(f"mT: {value!r} is not a matrix", hint="x.T reverses all axes")
        transposed: V = value.swapaxes(-1, -2)
        return transposed

    @property
    def device(self) -> str:
        """The device of kernels: the CPU."""
        return "cpu"

    def to_device(self, device: Any, /, *, stream: Any = None) -> Self:
        """Return the value itself for the CPU; any other device is refused with ArgumentError."""
        if device != "cpu" or stream is not None:
            raise ArgumentError(
                f"there is no device {quote(device)}"
                if stream is None
                else "the CPU has no streams",
                hint="kernels run on the CPU: there is nothing to move",
            )
        return self

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """Return ``sg.xp``, the namespace with the standard's functions.

        Raises:
            ArgumentError: a version that is not known here.
        """
        if api_version not in _VERSIONS:
            raise ArgumentError(f"the array API of {quote(api_version)} is not known here")
        return staticgrad.xp


#: Untyped here: operators are typed by the kind of their operand (``Of``).
functions: Final[Any] = functional.functions


def _operator(name: str, function: str, turned: bool = False) -> Callable[[Of[V], Any], V]:
    """Make a binary operator of values; other operands are refused, or left to Python.

    ``turned``: the value is the second operand.
    """
    compares = name in ("eq", "ne", "lt", "le", "gt", "ge")
    opposite = "__eq__" if compares else f"__r{name}__"  # what Python asks the other operand for

    def operator(self: Any, operand: Any) -> Any:
        """Apply the binary operator; sparse matrices and foreign types get their own way."""
        try:
            if (
                isinstance(operand, _OPERANDS)
                or hasattr(operand, "__array__")
                or hasattr(operand, "__dlpack__")
            ):
                compute = getattr(functions, function)
                return compute(operand, self) if turned else compute(self, operand)
            if is_sparse(operand):
                return _beside_sparse(name, function, self, operand, turned)
            if name in ("eq", "ne"):  # then it is another thing, and Python says so
                return NotImplemented
            if operand is None or isinstance(operand, str | bytes | dict | set):
                raise no_operand(function, operand)
            if hasattr(type(operand), opposite):
                return NotImplemented  # it may know what to do
            raise no_operand(function, operand)
        except Exception as error:
            cut_frames(error)
            raise

    operator.__name__, operator.__qualname__ = f"__{name}__", f"Value.__{name}__"
    return operator


def _beside_sparse(name: str, function: str, value: Any, matrix: Any, turned: bool) -> Any:
    """Apply an operator of a value and a sparse matrix, SciPy's too, by the matrix's operators."""
    name = name.removeprefix("r") if turned else name
    if name == "matmul":
        multiply = getattr(functions, function)
        return multiply(matrix, value) if turned else multiply(value, matrix)
    operator = getattr(
        functional.as_sparse(matrix), f"__{name}__" if turned else f"__r{name}__", None
    )
    if operator is None or name not in ("add", "sub", "mul", "truediv"):
        raise no_operand(function, matrix)
    return operator(value)


def _pair(name: str, turned: bool = False) -> Callable[[Of[V], Any], tuple[V, V]]:
    operator: Any = _operator(name, "divmod", turned)
    pair: Callable[[Of[V], Any], tuple[V, V]] = operator
    return pair


class Value(StandardArray, TorchSpellings):
    """An operand: has a type, carries the operators. Compare with ``is``; ``==`` is elementwise.

    >>> import staticgrad as sg
    >>> x = sg.input("x", ("n", 3), "float64")
    >>> isinstance(x, Value), (x * 2.0).type, x.sum(0).shape
    (True, f64[n, 3], (3,))
    """

    __slots__ = ()
    __array_priority__ = 1000.0
    __pandas_priority__ = 5000  # above a DataFrame: its operators leave it to ours
    #: What to do where a value of this kind meets one of another kind.
    meeting: ClassVar[str] = ""
    #: Whether values of this kind have their elements at once.
    computes: ClassVar[bool] = False
    #: The kind of the complex values that have two of this kind as their parts.
    complex_kind: ClassVar[type[Value]]
    #: Whether a value has an array that outlives every graph: a parameter.
    is_stored: ClassVar[bool] = False

    @property
    @abstractmethod
    def type(self) -> TensorType:
        """Element type and shape."""

    if TYPE_CHECKING:

        @property
        def of_kind(self) -> Value:
            """Return the result of operations on this value, for type checkers."""

    @classmethod
    @abstractmethod
    def bind(cls, op: Any, args: tuple[Any, ...]) -> Any:
        """Apply the op ``op`` to operands of this kind."""

    @classmethod
    @abstractmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        """A constant of this kind; ``like`` is the dtype a Python scalar takes."""

    @classmethod
    def by_rows(cls, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A function by rows (``ops.rowwise``), as it is written."""
        return function.function(*args, **kwargs)

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def size(self) -> Size:
        """Number of elements."""
        return self.type.size

    # -- operators --------------------------------------------------------------------------------

    __add__ = _operator("add", "add")
    __radd__ = _operator("radd", "add", turned=True)
    __sub__ = _operator("sub", "subtract")
    __rsub__ = _operator("rsub", "subtract", turned=True)
    __mul__ = _operator("mul", "multiply")
    __rmul__ = _operator("rmul", "multiply", turned=True)
    __truediv__ = _operator("truediv", "divide")
    __rtruediv__ = _operator("rtruediv", "divide", turned=True)
    __floordiv__ = _operator("floordiv", "floor_divide")
    __rfloordiv__ = _operator("rfloordiv", "floor_divide", turned=True)
    __mod__ = _operator("mod", "remainder")
    __rmod__ = _operator("rmod", "remainder", turned=True)
    __divmod__ = _pair("divmod")
    __rdivmod__ = _pair("rdivmod", turned=True)
    __lshift__ = _operator("lshift", "left_shift")
    __rlshift__ = _operator("rlshift", "left_shift", turned=True)
    __rshift__ = _operator("rshift", "right_shift")
    __rrshift__ = _operator("rrshift", "right_shift", turned=True)
    __pow__ = _operator("pow", "power")
    __rpow__ = _operator("rpow", "power", turned=True)
    __matmul__ = _operator("matmul", "matmul")
    __rmatmul__ = _operator("rmatmul", "matmul", turned=True)
    __and__ = _operator("and", "bitwise_and")
    __rand__ = _operator("rand", "bitwise_and", turned=True)
    __or__ = _operator("or", "bitwise_or")
    __ror__ = _operator("ror", "bitwise_or", turned=True)
    __xor__ = _operator("xor", "bitwise_xor")
    __rxor__ = _operator("rxor", "bitwise_xor", turned=True)
    __eq__ = _operator("eq", "equal")  # type: ignore[assignment]
    __ne__ = _operator("ne", "not_equal")  # type: ignore[assignment]
    __lt__ = _operator("lt", "less")
    __le__ = _operator("le", "less_equal")
    __gt__ = _operator("gt", "greater")
    __ge__ = _operator("ge", "greater_equal")

    @boundary
    def __neg__(self: Of[V]) -> V:
        return functions.negative(self)

    def __pos__(self) -> Self:
        return self

    @boundary
    def __abs__(self: Of[V]) -> V:
        return functions.absolute(self)

    @boundary
    def __invert__(self: Of[V]) -> V:
        return functions.invert(self)

    __hash__ = object.__hash__

    @boundary
    def __getitem__(self: Of[V], key: Any) -> V:
        return functions.getitem(self, key)

    @property
    @boundary
    def at(self: Of[V]) -> Places[V]:
        """Elements by key, for copies in which they differ: ``x.at[key].set(y)``, ``.add(y)``."""
        return functions.at(self)

    # -- complex numbers; of a real value the imaginary part is 0 ---------------------------------

    @property
    @boundary
    def real(self: Of[V]) -> V:
        """The real part."""
        return functions.real(self)

    @property
    @boundary
    def imag(self: Of[V]) -> V:
        """The imaginary part."""
        return functions.imag(self)

    @public
    def conj(self: Of[V]) -> V:
        """The complex conjugate; of a real value itself."""
        return functions.conj(self)

    @public
    def conjugate(self: Of[V]) -> V:
        """The complex conjugate; of a real value itself."""
        return functions.conj(self)

    # -- methods, as on an ndarray ----------------------------------------------------------------

    @property
    @boundary
    def T(self: Of[V]) -> V:  # noqa: N802 - NumPy's name
        """All axes reversed."""
        return functions.transpose(self)

    @public
    def sum(
        self: Of[V],
        axis: Any = None,
        dtype: Any = None,
        *,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = None,
    ) -> V:
        """Sum over ``axis`` (all axes by default)."""
        return functions.sum(self, axis, dtype, keepdims=keepdims, initial=initial, where=where)

    @public
    def mean(
        self: Of[V],
        axis: Any = None,
        dtype: Any = None,
        *,
        keepdims: bool = False,
        where: Any = None,
    ) -> V:
        """Mean over ``axis`` (all axes by default)."""
        return functions.mean(self, axis, dtype, keepdims=keepdims, where=where)

    @public
    def max(
        self: Of[V],
        axis: Any = None,
        *,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = None,
    ) -> V:
        """Maximum over ``axis`` (all axes by default)."""
        return functions.max(self, axis, keepdims=keepdims, initial=initial, where=where)

    @public
    def min(
        self: Of[V],
        axis: Any = None,
        *,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = None,
    ) -> V:
        """Minimum over ``axis`` (all axes by default)."""
        return functions.min(self, axis, keepdims=keepdims, initial=initial, where=where)

    @public
    def prod(
        self: Of[V],
        axis: Any = None,
        dtype: Any = None,
        *,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = None,
    ) -> V:
        """Product over ``axis`` (all axes by default)."""
        return functions.prod(self, axis, dtype, keepdims=keepdims, initial=initial, where=where)

    @public
    def var(
        self: Of[V],
        axis: Any = None,
        dtype: Any = None,
        *,
        ddof: Any = 0,
        keepdims: bool = False,
        where: Any = None,
        mean: Any = None,
        correction: Any = None,
    ) -> V:
        """Variance over ``axis`` (all axes by default)."""
        options = {"where": where, "mean": mean, "correction": correction}
        return functions.var(self, axis, dtype, ddof=ddof, keepdims=keepdims, **options)

    @public
    def std(
        self: Of[V],
        axis: Any = None,
        dtype: Any = None,
        *,
        ddof: Any = 0,
        keepdims: bool = False,
        where: Any = None,
        mean: Any = None,
        correction: Any = None,
    ) -> V:
        """Standard deviation over ``axis`` (all axes by default)."""
        options = {"where": where, "mean": mean, "correction": correction}
        return functions.std(self, axis, dtype, ddof=ddof, keepdims=keepdims, **options)

    @public
    def any(self: Of[V], axis: Any = None, *, keepdims: bool = False, where: Any = None) -> V:
        """Return whether any element over ``axis`` is true."""
        return functions.any(self, axis, keepdims=keepdims, where=where)

    @public
    def all(self: Of[V], axis: Any = None, *, keepdims: bool = False, where: Any = None) -> V:
        """Return whether every element over ``axis`` is true."""
        return functions.all(self, axis, keepdims=keepdims, where=where)

    @public
    def argmax(self: Of[V], axis: Any = None, *, keepdims: bool = False) -> V:
        """Position of the largest element along ``axis``."""
        return functions.argmax(self, axis, keepdims=keepdims)

    @public
    def argmin(self: Of[V], axis: Any = None, *, keepdims: bool = False) -> V:
        """Position of the smallest element along ``axis``."""
        return functions.argmin(self, axis, keepdims=keepdims)

    @public
    def cumsum(self: Of[V], axis: Any = None, dtype: Any = None) -> V:
        """Running sum along ``axis`` (of all elements by default)."""
        return functions.cumsum(self, axis, dtype)

    @public
    def cumprod(self: Of[V], axis: Any = None, dtype: Any = None) -> V:
        """Running product along ``axis`` (of all elements by default)."""
        return functions.cumprod(self, axis, dtype)

    @public
    def clip(self: Of[V], min: Any = None, max: Any = None) -> V:
        """Held between ``min`` and ``max``."""
        return functions.clip(self, min, max)

    @public
    def round(self: Of[V], decimals: int = 0) -> V:
        """Rounded to ``decimals`` places, ties to even."""
        return functions.round(self, decimals)

    @boundary
    def __round__(self: Of[V], decimals: int | None = None) -> V:
        return functions.round(self, decimals or 0)

    @public
    def ravel(self: Of[V], order: str = "C") -> V:
        """Return all elements along one axis, in C order (or Fortran's, ``"F"``)."""
        return functions.ravel(self, order)

    @public
    def flatten(self: Of[V], order: str | int = "C", end_dim: int = -1, *, start_dim: int = 0) -> V:
        """Return all elements along one axis, in C order (or Fortran's, ``"F"``).

        As in PyTorch, ``x.flatten(1)`` and ``x.flatten(start_dim=1)`` join the axes from 1 on, up
        to ``end_dim``.
        """
        value: Any = self
        if isinstance(order, int):
            start_dim = order
        if (start_dim, end_dim) == (0, -1):
            return functions.ravel(value, order or "C")
        axes = range(value.ndim)
        if not all(-len(axes) <= axis < len(axes) for axis in (start_dim, end_dim)):
            raise AxisError(f"flatten: no axes from {start_dim} to {end_dim} in {value.type}")
        first, last = axes[start_dim], axes[end_dim]
        if first > last:
            raise AxisError(f"flatten: axis {start_dim} is behind axis {end_dim} in {value.type}")
        joined = prod(value.shape[first : last + 1])
        return functions.reshape(value, (*value.shape[:first], joined, *value.shape[last + 1 :]))

    @public
    def copy(self: Of[V], order: str = "C") -> V:
        """The value itself, which never changes; of a tensor one with an array of its own."""
        return self  # type: ignore[return-value]

    @public
    def squeeze(self: Of[V], axis: Any = None) -> V:
        """Without axes of literal size 1."""
        return functions.squeeze(self, axis)

    @public
    def swapaxes(self: Of[V], axis1: int, axis2: int) -> V:
        """Return the value with two axes exchanged."""
        return functions.swapaxes(self, axis1, axis2)

    @public
    def repeat(self: Of[V], repeats: Any, axis: Any = None) -> V:
        """Each element ``repeats`` times along ``axis``."""
        return functions.repeat(self, repeats, axis)

    @public
    def take(self: Of[V], indices: Any, axis: Any = None, *, mode: str = "raise") -> V:
        """Read at ``indices`` along ``axis``."""
        return functions.take(self, indices, axis, mode=mode)

    @public
    def diagonal(self: Of[V], offset: int = 0, axis1: int = 0, axis2: int = 1) -> V:
        """The diagonal of two axes."""
        return functions.diagonal(self, offset, axis1, axis2)

    @public
    def trace(self: Of[V], offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> V:
        """The sum of the diagonal of two axes."""
        return functions.trace(self, offset, axis1, axis2, dtype)

    @public
    def dot(self: Of[V], other: Any) -> V:
        """NumPy's ``dot``."""
        return functions.dot(self, other)

    @public
    def reshape(self: Of[V], *shape: Any, order: str = "C", copy: bool | None = None) -> V:
        """The elements under another shape, read and laid in ``order``; one size may be -1."""
        is_sequence = len(shape) == 1 and isinstance(shape[0], tuple | list)
        return functions.reshape(self, shape[0] if is_sequence else shape, order)

    @public
    def transpose(self: Of[V], *axes: Any) -> V:
        """Axes permuted; reversed by default."""
        if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list)):
            return functions.transpose(self, axes[0])
        return functions.transpose(self, axes or None)

    @public
    def astype(self: Of[V], dtype: Any) -> V:
        """Elements converted to ``dtype``."""
        return functions.astype(self, dtype)

    # -- NumPy protocols: np.exp(x), np.where(c, x, y), np.sum(x) build nodes ---------------------

    @boundary
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(_overrides(item, "__array_ufunc__") for item in inputs):
            return NotImplemented
        name = ufunc.__name__
        function = functional.numpy_function(name)
        if method == "outer" and function is not None and ufunc.nin == 2:
            a, b = (x if isinstance(x, Value) else np.asarray(x) for x in inputs)
            inputs, method = (a[(..., *(None,) * b.ndim)], b), "__call__"
        if function is not None and method in _BY_METHOD and ufunc.nin == 2:
            kwargs = {"axis": 0, **kwargs}
            named = _BY_METHOD[method].get(name)
            reduction = None if named is None else functional.numpy_function(named)
            name = named or f"{name}.{method}"
            function, method = reduction or _row_by_row(function, method == "reduce"), "__call__"
        if method != "__call__" or function is None:
            raise no_ufunc(ufunc, method)
        return as_numpy(function, name, inputs, kwargs)

    @boundary
    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if not all(issubclass(kind, Value | np.ndarray) for kind in types):
            return NotImplemented
        # np.linalg.trace takes other axes than np.trace: such a one has its module in its name.
        module = func.__module__.removeprefix("numpy").removeprefix(".")
        name = f"{module}.{func.__name__}" if module else func.__name__
        function = functional.numpy_function(name)
        if function is None:
            raise no_function(func)
        if "like" in (
            function.__kwdefaults__ or ()
        ):  # NumPy asks the value that was given as like=
            kwargs = {"like": self, **kwargs}
        return as_numpy(function, name, args, kwargs)


#: Method of a ufunc -> ufunc -> the function that it is; of further ufuncs it is a loop.
_BY_METHOD: Final = {
    "reduce": {
        "add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min",
        "logical_and": "all", "logical_or": "any",
    },
    "accumulate": {"add": "cumsum", "multiply": "cumprod"},
}  # fmt: skip


@functools.cache
def _row_by_row(combine: Callable[..., Any], last: bool) -> Callable[..., Any]:
    """Build NumPy's ``ufunc.reduce`` (``last``) or ``ufunc.accumulate`` from a binary function."""

    def combine_rows(
        array: Any, axis: int | None = 0, dtype: Any = None, *, keepdims: bool = False
    ) -> Any:
        """Reduce or accumulate a user's ufunc along an axis, by a scan over rows."""
        if axis is None:
            result = combine_rows(array.ravel(), 0, dtype)
            return result.reshape((1,) * array.ndim) if keepdims else result
        rows = functions.moveaxis(array if dtype is None else array.astype(dtype), axis, 0)

        def step(so_far: Any, row: Any) -> tuple[Any, Any]:
            result = combine(so_far, row)
            return result, None if last else result

        end, stacked = functions.scan(step, rows[0], rows[1:])
        if last:
            return functions.expand_dims(end, axis) if keepdims else end
        stacked = functions.concatenate([rows[0][None], stacked])
        return functions.moveaxis(functions.reshape(stacked, rows.shape), 0, axis)

    return combine_rows


def _overrides(item: object, protocol: str) -> bool:
    """Return whether ``item`` implements a protocol of NumPy's itself.

    Tables of pandas do, too, but have no answer for a value.
    """
    is_ours = isinstance(item, Value | np.ndarray | np.generic) or is_pandas(item)
    return not is_ours and hasattr(item, protocol)


_OPERANDS: Final = (Value, bool, int, float, complex, list, tuple, memoryview, Dim)
