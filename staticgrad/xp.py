"""The namespace of the array API standard, version 2025.12: ``sg.xp``.

https://data-apis.org/array-api/2025.12/. Its functions are those of ``sg``. They compute at once
unless a value of a graph is among what they are given; in a function that is traced they give
values, so that code that was written for the standard runs on tensors and is traced. What the
standard's functions make is float64 by default. Some functions stand here alone, since the size of
what they give depends on values; of values they are refused.

>>> import staticgrad as sg
>>> x = sg.xp.asarray([3.0, 1.0, 3.0])
>>> x.__array_namespace__() is sg.xp
True
>>> sg.xp.unique_values(x)
Tensor([1., 3.])
"""

from __future__ import annotations

import builtins
import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

import staticgrad
from staticgrad.eager.at_once import eager_mode
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError
from staticgrad.errors.hints import as_imported, no_such_name
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.wording import quote
from staticgrad.language.ir.nodes import running_session
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.elementwise import ArrayLike, array_dtype, broadcast
from staticgrad.language.ops.operands import dtype_of, shape_of
from staticgrad.language.types.dtype import (
    BOOL,
    C64,
    C128,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    DType,
    as_dtype,
)

__array_api_version__: Final = "2025.12"

#: Names of the standard that are functions, constants or dtypes of ``sg``.
_SHARED: Final = (
    "abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2"
    " atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift"
    " bitwise_xor broadcast_arrays broadcast_to can_cast ceil clip complex128 complex64 concat"
    " conj copysign cos cosh count_nonzero cumulative_prod cumulative_sum diff divide e empty"
    " empty_like equal exp expand_dims expm1 eye flip float32 float64 floor floor_divide full"
    " full_like greater greater_equal hypot iinfo imag inf int16 int32 int64 int8 isdtype isfinite"
    " isin isinf isnan less less_equal linspace log log10 log1p log2 logaddexp logical_and"
    " logical_not logical_or logical_xor matmul matrix_transpose max maximum mean meshgrid min"
    " minimum moveaxis multiply nan negative newaxis nextafter not_equal ones ones_like"
    " permute_dims pi positive pow prod real reciprocal remainder repeat reshape result_type roll"
    " round searchsorted sign signbit sin sinh sort sqrt square squeeze stack std subtract sum"
    " take take_along_axis tan tanh tensordot tile tril triu trunc uint16 uint32 uint64 uint8"
    " unstack var vecdot where zeros zeros_like"
)
_LINALG: Final = (
    "cholesky cross det diagonal eig eigh eigvals eigvalsh inv matmul matrix_norm matrix_power"
    " matrix_rank matrix_transpose outer pinv qr slogdet solve svd svdvals tensordot trace vecdot"
    " vector_norm"
)
_FFT: Final = "fft fftn fftshift ifft ifftn ifftshift irfft irfftn rfft rfftn"
#: What makes floats of nothing: float32 in ``sg``, where graphs are built.
_FLOATING: Final = ("empty", "eye", "linspace", "ones", "zeros")
#: What takes ``device="cpu"``.
_MAKING: Final = (
    "arange asarray empty empty_like eye full full_like linspace ones ones_like zeros zeros_like"
)
#: Names of the standard that stand here alone.
_OWN: Final = (
    "bool broadcast_shapes fft finfo from_dlpack linalg nonzero unique_all unique_counts"
    " unique_inverse unique_values"
)
__all__ = sorted([*_SHARED.split(), *_OWN.split()])

bool = BOOL


@boundary
def unique_all(x: ArrayLike[Tensor], /) -> Any:
    """Return the distinct elements, ascending, their first indices, inverse indices and counts.

    >>> sg.xp.unique_all(sg.xp.asarray([2, 1, 2])).indices
    Tensor([1, 0])
    """
    return _several(np.unique_all(_array("unique_all", x)))


@boundary
def unique_counts(x: ArrayLike[Tensor], /) -> Any:
    """The different elements of a tensor, ascending, and how many of each; as ``unique_all``.

    >>> sg.xp.unique_counts(sg.xp.asarray([2, 1, 2])).counts
    Tensor([1, 2])
    """
    return _several(np.unique_counts(_array("unique_counts", x)))


@boundary
def unique_inverse(x: ArrayLike[Tensor], /) -> Any:
    """The different elements of a tensor, ascending, and the place of each; as ``unique_all``.

    >>> sg.xp.unique_inverse(sg.xp.asarray([2, 1, 2])).inverse_indices
    Tensor([1, 0, 1])
    """
    return _several(np.unique_inverse(_array("unique_inverse", x)))


@boundary
def unique_values(x: ArrayLike[Tensor], /) -> Tensor:
    """The different elements of a tensor, ascending; as ``unique_all``.

    >>> sg.xp.unique_values(sg.xp.asarray([2, 1, 2]))
    Tensor([1, 2])
    """
    array = _array("unique_values", x)
    return _tensor(np.unique(array, equal_nan=False))  # np.unique_values has any order


@boundary
def nonzero(x: ArrayLike[Tensor], /) -> tuple[Tensor, ...]:
    """Return the indices of the nonzero elements of a tensor, for each axis.

    >>> sg.xp.nonzero(sg.xp.asarray([0.0, 3.0]))
    (Tensor([1]),)
    """
    array = _array("nonzero", x)
    if array.ndim == 0:
        raise ArgumentError("nonzero: a tensor without axes", hint="x != 0 is its answer")
    return tuple(map(_tensor, np.nonzero(array)))


@boundary
def broadcast_shapes(*shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the shape that arrays of these shapes have together.

    Raises:
        ShapeError: sizes that do not agree.

    >>> sg.xp.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    return broadcast("broadcast_shapes", [shape_of(shape) for shape in shapes] or [()])


@boundary
def finfo(type: Any, /) -> SimpleNamespace:
    """Return the limits of a floating dtype by the array API standard's names.

    Those of complex numbers are the limits of their parts.

    >>> sg.xp.finfo(sg.xp.float32).eps
    1.1920928955078125e-07
    """
    is_dtype = isinstance(type, DType | np.dtype | builtins.type | str)
    dtype = dtype_of(type if is_dtype else getattr(type, "dtype", type))
    limits = staticgrad.finfo({C64: F32, C128: F64}.get(dtype, dtype))
    numbers = {
        name: float(getattr(limits, name)) for name in ("eps", "max", "min", "smallest_normal")
    }
    return SimpleNamespace(bits=limits.bits, dtype=as_dtype(limits.dtype), **numbers)


@boundary
def from_dlpack(x: Any, /, *, device: str | None = None, copy: Any = None) -> Tensor:
    """Import an array of another library by DLPack as a tensor; the numbers are copied.

    >>> sg.xp.from_dlpack(np.arange(3))
    Tensor([0, 1, 2])
    """
    if device not in (None, "cpu") or copy is False:
        what = f"no device {quote(device)}" if copy is not False else "copy=False, but it copies"
        raise ArgumentError(f"from_dlpack: {what}")
    return _tensor(np.array(np.from_dlpack(x)))


def _builds() -> builtins.bool:
    """Return whether a function is traced: what is made belongs to its graph."""
    session = running_session()
    return session is not None and not session.computes


def _array(name: str, x: Any) -> Any:
    """Return a tensor as an array of NumPy.

    Raises:
        ArgumentError: a value of a graph.
    """
    if isinstance(x, Value) and not x.computes:
        raise ArgumentError(
            f"{name}: only a run computes it",
            hint=f"of a tensor, outside of what is traced: sg.xp.{name}(tensor)\n"
            f"sg.unique(x, size=n) and sg.nonzero(x, size=n) have a size that is known",
        )
    array = np.asarray(x)
    array_dtype(array, name)
    return array


def _several(arrays: Any) -> Any:
    """NumPy's named tuple of arrays, as one of tensors."""
    return type(arrays)(*map(_tensor, arrays))


def _tensor(array: Any) -> Any:
    """Return an array as a tensor; as a constant of the graph where a function is traced."""
    array = np.asarray(array)
    return staticgrad.constant(array) if _builds() else Tensor.of(array)


class _Info:
    """The result of ``__array_namespace_info__``."""

    def capabilities(self) -> dict[str, Any]:
        """Return what the standard leaves open.

        Boolean indexing is what the standard has if masks also write, and arrays never change:
        code that asks takes ``xp.where`` instead.
        """
        return {
            "boolean indexing": False, "data-dependent shapes": not _builds(), "max dimensions": 64,
        }  # fmt: skip

    def default_device(self) -> str:
        return "cpu"

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def default_dtypes(self, *, device: str | None = None) -> dict[str, DType]:
        return {
            "real floating": F64, "complex floating": C128, "integral": I64, "indexing": I64,
        }  # fmt: skip

    def dtypes(self, *, device: str | None = None, kind: Any = None) -> dict[str, DType]:
        dtypes = (BOOL, I8, I16, I32, I64, U8, U16, U32, U64, F32, F64, C64, C128)
        isdtype = staticgrad.isdtype
        return {dtype.name: dtype for dtype in dtypes if kind is None or isdtype(dtype, kind)}


def __array_namespace_info__() -> _Info:  # noqa: N807 - the standard's name
    return _Info()


def _at_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of the array API to run eagerly unless an operand is of a graph."""
    floating = function.__name__ in _FLOATING

    @boundary
    @functools.wraps(function)
    def call_in_eager_mode(*args: Any, **kwargs: Any) -> Any:
        if floating and kwargs.get("dtype") is None:
            kwargs["dtype"] = F64
        with nullcontext() if _builds() else eager_mode():
            results = function(*args, **kwargs)
        return tuple(results) if type(results) is list else results

    call_in_eager_mode.__module__ = __name__
    signature = _with_standard(inspect.signature(function), function.__name__)
    call_in_eager_mode.__signature__ = signature  # type: ignore[attr-defined]
    return call_in_eager_mode


def _with_standard(signature: inspect.Signature, name: str) -> inspect.Signature:
    """Add arguments of the array API standard that have no effect here to a signature."""
    more = (
        ("copy", "device") if name == "astype" else ("device",) if name in _MAKING.split() else ()
    )
    parameters = [*signature.parameters.values()]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Any")
        for name in more
        if name not in signature.parameters
    ]
    return signature.replace(parameters=parameters)


def _hfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: Any = "backward") -> Any:
    """Compute the Fourier transform of a signal that is symmetric in time: real numbers."""
    return staticgrad.fft.irfft(staticgrad.conj(x), n, axis, _OTHER_NORM[norm])


def _ihfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: Any = "backward") -> Any:
    """Compute the inverse of ``hfft``."""
    return staticgrad.conj(staticgrad.fft.rfft(x, n, axis, _OTHER_NORM[norm]))


def _frequencies(name: str) -> Callable[..., Any]:
    """Return the function of frequencies with the standard's arguments."""
    function = getattr(staticgrad.fft, name)

    def compute_frequencies(
        n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | None = None
    ) -> Any:
        if device not in (None, "cpu"):
            raise ArgumentError(f"{name}: no device {quote(device)}")
        return staticgrad.astype(function(n, d), F64 if dtype is None else dtype)

    compute_frequencies.__name__ = name
    return compute_frequencies


_OTHER_NORM: Final[dict[str, Any]] = {
    "backward": "forward", "ortho": "ortho", "forward": "backward",
}  # fmt: skip


class _Extension(SimpleNamespace):
    """Functions of an extension of the standard."""

    __slots__ = ("_name",)

    def __init__(self, name: str, functions: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(**{name: _at_once(function) for name, function in functions.items()})
        self._name = name

    def __repr__(self) -> str:
        return f"sg.xp.{self._name}"

    def __dir__(self) -> list[str]:
        return [name for name in self.__dict__ if not name.startswith("_")]


@boundary
def __getattr__(name: str) -> Any:
    package = staticgrad
    attribute: Any
    if name in ("fft", "linalg"):
        functions = getattr(package, name)
        names = (_FFT if name == "fft" else _LINALG).split()
        additions: dict[str, Callable[..., Any]] = {}
        if name == "fft":
            additions = {"hfft": _hfft, "ihfft": _ihfft}
            additions |= {n: _frequencies(n) for n in ("fftfreq", "rfftfreq")}
        attribute = _Extension(name, {n: getattr(functions, n) for n in names} | additions)
    elif name in _SHARED.split():
        value = getattr(package, name)
        attribute = _at_once(value) if callable(value) and not isinstance(value, DType) else value
    else:
        raise as_imported(no_such_name("sg.xp", name, tuple(__all__)))
    return globals().setdefault(name, attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
