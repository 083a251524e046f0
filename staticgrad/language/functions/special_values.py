"""Functions of numbers that are computed in float64 and rounded once, to the dtype of operands."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from staticgrad.extend import Value, binding_kind, common_dtype, lift_operand
from staticgrad.extend.dtypes import F64
from staticgrad.extend.ops import astype, broadcast_arrays
from staticgrad.language.ops.special_functions import call
from staticgrad.support.errors import ArgumentError, DTypeError, UnknownArgumentError


def in_float64(name: str, formula: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``formula`` of the arguments in float64, in their common dtype."""
    return _compute(name, lambda *values: formula(*broadcast_arrays(*values)), arguments)


def special_value(name: str, *arguments: Any) -> Any:
    """Return a function of ``ops/special_functions.py`` of the arguments, in their common dtype."""
    return _compute(name, lambda *values: call(name, *values), arguments)


def define_on_numbers(
    name: str, operands: str, text: str, example: str, home: str
) -> Callable[..., Any]:
    """Return SciPy's function ``name`` with a signature, a docstring and errors of arguments."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    words = [operand.partition("=") for operand in operands.split()]
    defaults: dict[str, Any] = {"False": False, "0": 0, "": Parameter.empty}
    takes = Signature([Parameter(word, kind, default=defaults[value]) for word, _, value in words])

    def function(*args: Any, **kwargs: Any) -> Any:
        from scipy import special

        try:
            takes.bind(*args, **kwargs)
        except TypeError as error:
            hint = f"it takes {', '.join(takes.parameters)}"
            raise UnknownArgumentError(f"{name}: {error}", hint=hint) from None
        for arg in (*args, *kwargs.values()):
            if isinstance(arg, Value):
                raise ArgumentError(
                    f"{name}: takes numbers that are known at build, got a value",
                    hint=f"sg.special.{name} of Python's numbers or NumPy's arrays",
                )
        try:
            return getattr(special, name)(*args, **kwargs)
        except (TypeError, ValueError, OverflowError, MemoryError) as error:
            raise ArgumentError(f"{name}: SciPy refuses these arguments: {error}") from error

    function.__name__ = function.__qualname__ = name
    function.__module__ = home
    function.__doc__ = f"{text}\n\n    >>> {example}\n    "
    function.__signature__ = takes  # type: ignore[attr-defined]
    return function


def _compute(name: str, formula: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    dtype = common_dtype(name, arguments)
    if dtype.is_complex:
        raise DTypeError(f"{name}: takes real numbers, got {dtype}", hint="z.real, abs(z)")
    dtype = dtype if dtype.is_float else F64
    kind = binding_kind(arguments)
    return astype(
        formula(*(lift_operand(name, kind, argument, F64) for argument in arguments)), dtype
    )
