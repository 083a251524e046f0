"""Functions with a rule of the user's own for how tangents go through them.

As ``custom_vjp``, with a rule for forward mode: it is linear in the tangents, so that reverse mode
follows by transposing it. How that is done each kind of values says (``TRANSPOSES``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, overload

from staticgrad.errors import OpDefinitionError
from staticgrad.errors.wording import shown
from staticgrad.ir.functional import functions
from staticgrad.ir.value import Value
from staticgrad.ops.cotangent import TRANSPOSES, zeros_like_type
from staticgrad.ops.custom import CustomFunction, Marker, Rule, made


class CustomJvp(Marker, name="custom_jvp"):
    """The first operand; its tangent is what ``rule`` says of the tangents of the others."""

    def jvp(self, tangents: Sequence[Any], out: Any, body: Any, *args: Any) -> Any:
        """The rule's tangent; that of the body does not count."""
        if not out.dtype.is_float or all(each is None for each in tangents[1:]):
            return None
        given = [
            zeros_like_type(arg.type, arg) if tangent is None and arg.dtype.is_float else tangent
            for tangent, arg in zip(tangents[1:], args, strict=True)
        ]
        return self._pushed(tuple(given), out, args)

    def vjp(self, ct: Any, out: Any, body: Any, *args: Any) -> tuple[Any, ...]:
        """The cotangents that the transposed rule gives."""
        if not out.dtype.is_float:
            return (None,) * (1 + len(args))

        def push(tangents: tuple[Any, ...]) -> Any:
            return self._pushed(tangents, out, args)

        return (None, *TRANSPOSES[ct.kind](push, args, ct))

    def _pushed(self, tangents: tuple[Any, ...], out: Any, args: tuple[Any, ...]) -> Any:
        found = self.ruled(_over_batch, "(tangents, out, *args)", (tangents, out, args))
        if not isinstance(found, Value) or found.type != out.type:
            what = found.type if isinstance(found, Value) else shown(found)
            raise OpDefinitionError(
                f"{self.rule}: the rule gives {what}, not a tangent of type {out.type}",
                hint="return tangents[0] * slope; None among the tangents belongs to integers",
            )
        return found


def _over_batch(rule: Rule, letters: str) -> Rule:
    def mapped(tangents: tuple[Any, ...], out: Any, *args: Any) -> Any:
        places = [0 if letter == "b" else None for letter in letters]
        moved = tuple(
            place if tangent is not None else None
            for place, tangent in zip(places, tangents, strict=True)
        )
        return functions.vmap(rule, (moved, 0, *places))(tangents, out, *args)

    return mapped


class CustomTangent(CustomFunction):
    """A function of values with a rule for tangents; ``custom_jvp`` makes it."""

    kind: ClassVar[str] = "custom_jvp"
    takes: ClassVar[str] = "tangents, out, *args"

    def _marked(self, body: Value, values: Sequence[Value]) -> Value:
        found: Value = CustomJvp(self.name)(body, *values)
        return found


@overload
def custom_jvp(function: Callable[..., Any], *, name: str = "") -> CustomTangent:
    """The decorator itself."""


@overload
def custom_jvp(*, name: str = "") -> Callable[[Callable[..., Any]], CustomTangent]:
    """A decorator that gives the rule a name."""


def custom_jvp(function: Callable[..., Any] | None = None, *, name: str = "") -> Any:
    """Make a function of values differentiable by a rule for tangents: a decorator.

    The rule, ``rule(tangents, out, *args)``, gives the tangent of the result ``out``, in its type.
    ``tangents`` is a tuple with one for each operand: zeros for one that does not move, None for
    integers. It is built with the ordinary functions and linear in the tangents, so that gradients
    follow by transposing it, and derivatives of every order.

    Args:
        function: takes values, arrays or numbers by position, each an operand of the result.
            Everything floating that it reads must be among them.
        name: what the text of graphs calls the rule; by default ``module.function``, as of
            ``custom_vjp``.

    Returns:
        The function, with a method ``rule`` that takes the rule; without a function a decorator.

    Raises:
        ArgumentError: no function; or a function inside another takes a name that is taken.

    >>> @sg.custom_jvp
    ... def log1pexp(x):
    ...     return sg.log1p(sg.exp(x))
    >>> @log1pexp.rule
    ... def _(tangents, out, x):  # exp(x) / (1 + exp(x)) would be inf / inf
    ...     return tangents[0] * sg.sigmoid(x)
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(sg.grad(log1pexp(x).sum(), x), {"x": [0.0, 1000.0]})
    array([0.5, 1. ])
    """
    if function is None:
        return lambda decorated: custom_jvp(decorated, name=name)
    return made(CustomTangent, function, name)
