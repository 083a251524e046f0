"""Functions of numbers that are computed in float64 and rounded once, to the dtype of operands.

A function that SciPy computes is declared once: its name, its operands, its docstring, and its
partial derivatives by all operands, or by those that ``by`` names. It has no body::

    @scipy_function(lambda out, v, z: call("hyp0f1", v + 1.0, z) / v, by="z")
    def hyp0f1(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
        '''Hypergeometric function 0F1(; v; z). Derivative: hyp0f1(v + 1, z) / v by z.'''

This is the public function ``sg.special.hyp0f1``, and the row ``hyp0f1`` of ``RULES``, from which
its node has its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature
from typing import Any, TypeVar, cast

from staticgrad.errors import ArgumentError, DTypeError, UnknownArgumentError
from staticgrad.extend import Value, binding_kind, common_dtype, lift_operand
from staticgrad.extend.dtypes import F64
from staticgrad.extend.ops import astype, broadcast_arrays
from staticgrad.language.ops.special_functions import Rule, call, declare, declare_with_slope

F = TypeVar("F", bound=Callable[..., Any])


def scipy_function(partials: Rule, by: str = "") -> Callable[[F], F]:
    """Declare SciPy's function of that name, differentiable by the operands ``by``, or by all.

    Args:
        partials: from the result and the operands, the derivative by each operand of ``by``.
    """

    def give_body(declared: F) -> F:
        name = declared.__name__
        operands = _operands_of(declared)
        declare(name, " ".join(operands), partials, by)
        return _with_body(declared, operands, lambda *args: special_value(name, *args))

    return give_body


def scipy_function_and_slope(second: Callable[..., Any], unit: float = 1.0) -> Callable[[F], F]:
    """Declare SciPy's function that gives a value and its derivative by the last operand.

    ``second`` and ``unit`` are those of ``declare_with_slope``.
    """

    def give_body(declared: F) -> F:
        name = declared.__name__
        operands = _operands_of(declared)
        declare_with_slope(name, " ".join(operands), second, unit)
        return _with_body(
            declared,
            operands,
            lambda *args: (special_value(name, *args), special_value(f"{name}_slope", *args)),
        )

    return give_body


def in_float64(name: str, formula: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``formula`` of the arguments in float64, in their common dtype."""
    return _compute(name, lambda *values: formula(*broadcast_arrays(*values)), arguments)


def special_value(name: str, *arguments: Any) -> Any:
    """Return a function of ``ops/special_functions.py`` of the arguments, in their common dtype."""
    return _compute(name, lambda *values: call(name, *values), arguments)


def define_on_numbers(
    name: str,
    operands: str,
    text: str,
    example: str,
    home: str,
    call: Callable[..., Any] = lambda function, *args, **kwargs: function(*args, **kwargs),
) -> Callable[..., Any]:
    """Return SciPy's function ``name`` with a signature, a docstring and errors of arguments.

    ``call`` calls SciPy's function, its first argument.
    """
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
            return call(getattr(special, name), *args, **kwargs)
        except (TypeError, ValueError, ArithmeticError, MemoryError, NotImplementedError) as error:
            raise ArgumentError(f"{name}: SciPy refuses these arguments: {error}") from error

    function.__name__ = function.__qualname__ = name
    function.__module__ = home
    function.__doc__ = f"{text}\n\n    >>> {example}\n    "
    function.__signature__ = takes  # type: ignore[attr-defined]
    return function


def _operands_of(declared: Callable[..., Any]) -> tuple[str, ...]:
    return declared.__code__.co_varnames[: declared.__code__.co_argcount]


def _with_body(declared: F, operands: tuple[str, ...], body: Callable[..., Any]) -> F:
    """``declared``, which has no body, with one of its operands in their order."""

    @wraps(declared)
    def compute(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != len(operands):
            declared(*args, **kwargs)  # a TypeError of arguments that do not fit
            args = (*args, *(kwargs[name] for name in operands[len(args) :]))
        return body(*args)

    return cast(F, compute)


def _compute(name: str, formula: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    dtype = common_dtype(name, arguments)
    if dtype.is_complex:
        raise DTypeError(f"{name}: takes real numbers, got {dtype}", hint="z.real, abs(z)")
    dtype = dtype if dtype.is_float else F64
    kind = binding_kind(arguments)
    return astype(
        formula(*(lift_operand(name, kind, argument, F64) for argument in arguments)), dtype
    )
