"""Functions composed of operations, of narrow floats: computed in float32, rounded once.

float16 and bfloat16 have no arithmetic here: each operation computes in float32 and rounds its
result. A function composed of several would round in between: a sum of squares is infinite at 256,
a count of 70,000 elements too. So such a function is declared with ``rounded_once``: its narrow
operands are converted to float32, it computes, and what it gives in float32 is converted back. Both
conversions carry gradients, so that these, too, are computed in float32 and rounded at the end.
Nothing more is stored: kernels convert where they load and where they store.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Final, TypeVar, cast

from staticgrad.errors import StaticgradError
from staticgrad.language.calls.execution import present
from staticgrad.language.ir.kinds import binding_kind
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.operands import as_value
from staticgrad.language.types.dtype import F32, DType, as_dtype
from staticgrad.support.containers import fill_container
from staticgrad.support.records import dataclass

F = TypeVar("F", bound=Callable[..., Any])

#: Classes of arguments without a dtype.
_PLAIN: Final = frozenset({bool, int, float, str, type(None)})
_NARROW: Final = frozenset({"float16", "bfloat16"})


def rounded_once(function: F) -> F:
    """Declare a function composed of operations: of narrow floats it computes in float32.

    Its narrow operands are values, also in lists and tuples, and arrays where the parameter is an
    ``ArrayLike`` or the first one. What it gives in float32 is rounded to their dtype, unless other
    floats are among the operands: those decide the dtype of the result. If the function takes a
    ``dtype`` and a narrow one is given, operands are converted to that, and results rounded to it.
    """
    return _wrap_function(function, False)


def rounded_as_first(function: F) -> F:
    """Declare a function as ``rounded_once``, whose results have the dtype of its first operand."""
    return _wrap_function(function, True)


def _wrap_function(function: F, by_first: bool) -> F:
    """Wrap a composite function so that narrow floats compute in float32, rounded once."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    kinds = {name: str(kind) for name, kind in function.__annotations__.items()}
    places = frozenset(
        word
        for place, name in enumerate(names)
        if not place or kinds.get(name, "").startswith("ArrayLike")
        for word in (place, name)
    )
    takes_dtype = "dtype" in names
    dtype_position = names.index("dtype") if "dtype" in names[: code.co_argcount] else sys.maxsize
    declared = _Declared(function, places, names[:1], dtype_position, by_first)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        """Call the composite function, in float32 if an operand is a narrow float."""
        for arg in args:
            if arg.__class__ not in _PLAIN and _is_narrow(arg):
                return declared.call_wide(*args, **kwargs)
        for arg in kwargs.values():
            if arg.__class__ not in _PLAIN and _is_narrow(arg):
                return declared.call_wide(*args, **kwargs)
        if (
            takes_dtype
            and (args[dtype_position] if len(args) > dtype_position else kwargs.get("dtype"))
            is not None
        ):
            return declared.call_wide(*args, **kwargs)
        return function(*args, **kwargs)

    return cast(F, call)


def _is_narrow(arg: Any) -> bool:
    """Return whether an argument is, or contains, a value or array of narrow floats."""
    if isinstance(arg, Value):
        return bool(arg.type.dtype.is_storage)
    dtype = getattr(arg, "dtype", None)
    if dtype.__class__ is DType:
        return bool(dtype.is_storage)
    if dtype is not None:
        return getattr(dtype, "name", "") in _NARROW
    return arg.__class__ in (tuple, list) and any(
        isinstance(x, Value) and _is_narrow(x) for x in arg
    )


@dataclass(frozen=True)
class _Declared:
    """A declared function; ``operands`` are positions and names of parameters that may be arrays.

    ``first`` is the name of the first one, ``at`` the position of ``dtype``.
    """

    function: Callable[..., Any]
    operands: frozenset[Any]
    first: tuple[str, ...]
    at: int
    by_first: bool

    def call_wide(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call a composite function with narrow floats in float32, and round its results."""
        args = present(args)
        asked, args, kwargs = self._without_dtype(args, kwargs)
        if asked is not None and not asked.is_storage:
            return self.function(*args, **kwargs)  # operands are converted to that first
        arguments = [*enumerate(args), *kwargs.items()]
        values = [x for _, arg in arguments for x in _parts(arg) if isinstance(x, Value)]
        kind = binding_kind(tuple(values))

        def wide(place: Any, arg: Any) -> Any:
            """Widen an argument of narrow floats to float32, in containers too."""
            if arg.__class__ in _PLAIN:
                return arg
            if asked is not None and place in self.operands:
                arg = astype(as_value(arg, kind), asked)
            if not _is_narrow(arg):
                return arg
            if arg.__class__ in (tuple, list):
                return type(arg)([wide(None, x) if isinstance(x, Value) else x for x in arg])
            if not isinstance(arg, Value) and place not in self.operands:
                return arg
            value = as_value(arg, kind)
            return astype(value, value.dtype.compute)

        try:
            result = self.function(
                *[wide(place, arg) for place, arg in enumerate(args)],
                **{word: wide(word, arg) for word, arg in kwargs.items()},
            )
        except StaticgradError:
            self.function(*args, **kwargs)  # refuses the same, in terms of the operands as they are
            raise
        result_dtype = asked or self._dtype(arguments)
        return result if result_dtype is None else _round_results(result, result_dtype)

    def _without_dtype(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Take a narrow ``dtype=`` out of the arguments; return it beside the others."""
        requested = args[self.at] if len(args) > self.at else kwargs.get("dtype")
        try:
            asked = None if requested is None else as_dtype(requested)
        except TypeError:  # the function refuses it
            return F32, args, kwargs
        if asked is None or not asked.is_storage:
            return asked, args, kwargs
        args = tuple([None if place == self.at else arg for place, arg in enumerate(args)])
        return asked, args, {word: arg for word, arg in kwargs.items() if word != "dtype"}

    def _dtype(self, arguments: Sequence[tuple[Any, Any]]) -> DType | None:
        """Return the narrow dtype to round results to; None where other floats decide it."""
        if self.by_first:
            first = next(
                (arg for place, arg in arguments if place == 0 or place in self.first), None
            )
            return dtype if (dtype := _float_of(first)) is not None and dtype.is_storage else None
        floats = {
            dtype
            for _, arg in arguments
            for x in _parts(arg)
            if (dtype := _float_of(x)) is not None
        }
        return floats.pop() if len(floats) == 1 else None


def _parts(arg: Any) -> Iterable[Any]:
    return arg if arg.__class__ in (tuple, list) else (arg,)


def _float_of(arg: Any) -> DType | None:
    """Return the dtype of a floating value or array, else None."""
    dtype = getattr(arg, "dtype", None)
    if dtype is None:
        return None
    try:
        operand_dtype = dtype if dtype.__class__ is DType else as_dtype(dtype)
    except TypeError:  # of an array that the function refuses
        return None
    return operand_dtype if operand_dtype.is_float else None


def _round_results(results: Any, dtype: DType) -> Any:
    """Results in the compute dtype converted to ``dtype``; those in containers, too."""
    if isinstance(results, tuple | list):
        return fill_container(results, [_round_results(result, dtype) for result in results])
    if isinstance(results, Value) and results.dtype is dtype.compute:
        return astype(results, dtype)
    return results
