"""Functions with a derivative rule of the user: ``custom_vjp`` and ``custom_jvp``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, overload

from staticgrad.errors import (
    ArgumentError,
    GradientError,
    OpDefinitionError,
    UnknownAttributeError,
)
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.wording import kind_of, shown
from staticgrad.ir.calls import module_of, pickled
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Constant, Node, Symbolic
from staticgrad.ir.kinds import binding_kind
from staticgrad.ir.value import Value
from staticgrad.ops.batch_axis import in_front
from staticgrad.ops.cotangent import TRANSPOSES, zeros_like_type
from staticgrad.ops.elementwise import common_dtype, is_weak, lifted
from staticgrad.ops.marks import FirstOperand
from staticgrad.ops.operands import as_value, related
from staticgrad.types.dim import Size

Rule = Callable[..., Any]
_rules: Final[dict[str, Rule]] = {}


class Marker(FirstOperand):
    """The first operand; how derivatives go by the others, the rule named ``rule`` says."""

    rule_is_foreign = True
    rule: str
    over: tuple[str, ...] = ()  # a letter per operand: "b" where it has a batch axis, else "-"

    def definition(self) -> tuple[Any, ...] | None:
        rule = _rules.get(self.rule)
        return None if rule is None else (define_rule, self.rule, rule)

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """The body over the batch; the rule will be mapped over it."""
        body = in_front(size, args[:1], over[:1])
        letters = "".join("b" if has else "-" for has in over[1:])
        return type(self)(self.rule, (*self.over, letters))(*body, *args[1:])

    def ruled(
        self,
        over_batch: Callable[[Rule, str], Rule],
        takes: str,
        operands: tuple[Any, Any, Sequence[Any]],
    ) -> Any:
        """Return what the rule gives, over batches, the innermost one first in ``over``.

        Args:
            over_batch: makes of a rule, and the letters of a batch, one over that batch.
            takes: what the rule is called with, for messages.
            operands: that: what comes in, the result, and the operands of the function.
        """
        rule = rule_named(self.rule)
        given, out, args = operands
        check_arguments(rule, 2 + len(args), f"the rule of {self.rule}", takes)
        for letters in self.over:
            rule = over_batch(rule, letters)
        try:
            return rule(given, out, *args)
        except Exception as error:
            error.add_note(f"in the derivative rule of {self.rule}")
            raise


class CustomVjp(Marker, name="custom_vjp"):
    """The first operand; its cotangent goes to the others, as the rule named ``rule`` says."""

    def vjp(self, ct: Any, out: Any, body: Any, *args: Any) -> tuple[Any, ...]:
        if not out.dtype.is_float:
            return (None,) * (1 + len(args))
        shares = self.ruled(_over_batch, "(ct, out, *operands)", (ct, out, args))
        if not isinstance(shares, tuple) or len(shares) != len(args):
            raise OpDefinitionError(
                f"{self.rule}: the rule gives {shown(shares)},"
                f" not a tuple of {len(args)} cotangent{'s' * (len(args) != 1)}",
                hint="one per operand, None where there is none: return (ct * 2.0,)",
            )
        return (None, *shares)


def _over_batch(rule: Rule, letters: str) -> Rule:
    """The share of an operand that has no batch axis is the sum over the batch."""

    def mapped(ct: Any, out: Any, *args: Any) -> Any:
        axes = (0, 0, *(0 if letter == "b" else None for letter in letters))
        shares = functions.vmap(rule, axes)(ct, out, *args)
        if not isinstance(shares, tuple) or len(shares) != len(letters):
            return shares
        return tuple(
            share if share is None or letter == "b" else functions.sum(share, 0)
            for share, letter in zip(shares, letters, strict=True)
        )

    return mapped


def check_arguments(rule: Rule, count: int, what: str, takes: str) -> None:
    """Refuse a rule that cannot be called with ``count`` arguments."""
    try:
        signature(rule).bind(*range(count))
    except ValueError:  # a callable that does not say what it takes
        return
    except TypeError:
        raise OpDefinitionError(
            f"{what} is called with {count} arguments, {takes}", hint=f"it takes {signature(rule)}"
        ) from None


class CustomFunction:
    """A function of values with a derivative rule of its own; ``custom_vjp`` makes it."""

    kind: ClassVar[str] = "custom_vjp"
    takes: ClassVar[str] = "ct, out, *args"

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name
        self.__doc__, self.__module__ = function.__doc__, function.__module__

    def __reduce__(self) -> Any:
        """By its name, or by value with cloudpickle, with its rule."""
        own = getattr(self.function, "__qualname__", "")
        arguments = (type(self), self.function, self.name, _rules.get(self.name))
        return pickled(self, own, (_again, arguments))

    if not TYPE_CHECKING:

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            hint = f"@function.rule stands above its rule: def _({self.takes})"
            raise UnknownAttributeError(f"a function of {self.kind} has no {name!r}", hint=hint)

    def rule(self, rule: Rule) -> Rule:
        """Register the derivative rule, ``rule(ct, out, *args)``: a decorator.

        ``ct`` is the cotangent of the result ``out``; the rule returns a tuple with the cotangent
        of each operand, in its type (None: it carries no gradient).
        """
        if not callable(rule):
            raise OpDefinitionError(
                f"{self.name}: the derivative rule is {kind_of(rule)}, not a function",
                hint=f"@function.rule stands above a function: def _({self.takes})",
            )
        define_rule(self.name, rule)
        return rule

    @boundary
    def __call__(self, *args: Any) -> Value:
        """The function's value, its derivative that of the rule."""
        if self.name not in _rules:
            raise GradientError(
                f"{self.name} has no derivative rule yet",
                hint=f"write one below it: @function.rule, def _({self.takes})",
            )
        kind, dtype = binding_kind(args), common_dtype(self.name, args)
        values = [
            lifted(self.name, kind, arg, dtype) if is_weak(arg) else as_value(self.name, arg, kind)
            for arg in args
        ]
        # Tensors that were recorded inside would say so: only what is captured is.
        body = self.function(*(v.detach() if hasattr(v, "detach") else v for v in values))
        if not isinstance(body, Value):
            raise OpDefinitionError(
                f"{self.name} gives {shown(body)}, not one value",
                hint="it returns the value that it builds"
                if body is None
                else "one function per value, or one value that sg.concatenate joins",
            )
        captured = list(_captured(body, values))
        if captured or getattr(body, "requires_grad", False):
            raise GradientError(
                f"{self.name} reads a value that is not among its operands: it would get no"
                " gradient",
                hint="pass it as an operand, or take sg.stop_gradient of it",
                related=related(*captured),
            )
        return self._marked(body, values)

    def _marked(self, body: Value, values: Sequence[Value]) -> Value:
        """The body's value with the rule behind it."""
        return CustomVjp(self.name)(body, *values)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


def _captured(body: Value, values: list[Value]) -> Iterator[Symbolic]:
    """Floating inputs and parameters that ``body`` depends on otherwise than through ``values``."""
    operands = {value.key for value in values if isinstance(value, Symbolic)}
    stack = [body] if isinstance(body, Symbolic) else []
    seen: set[tuple[Node, int]] = set()
    while stack:
        value = stack.pop()
        if value.key in seen or value.key in operands or not _carries_gradient(value):
            continue
        seen.add(value.key)
        if value.node.is_leaf:
            yield value
        stack.extend(value.node.args)


def _carries_gradient(value: Symbolic) -> bool:
    op = value.node.op
    return value.dtype.is_float and op.differentiable and not isinstance(op, Constant)


@overload
def custom_vjp(function: Callable[..., Any], *, name: str = "") -> CustomFunction:
    """The decorator itself."""


@overload
def custom_vjp(*, name: str = "") -> Callable[[Callable[..., Any]], CustomFunction]:
    """A decorator that gives the rule a name."""


def custom_vjp(function: Callable[..., Any] | None = None, *, name: str = "") -> Any:
    """Make a function of values differentiable by a rule of your own: a decorator.

    The function builds its one result with the ordinary functions, and so does the rule: both fuse,
    and both differentiate again. Forward mode follows from the rule by transposing it, so the rule
    must be linear in the cotangent.

    Args:
        function: takes values, arrays or numbers by position, each an operand of the result.
            Everything floating that it reads must be among them.
        name: what the text of graphs calls the rule; by default ``module.function``. A graph that
            was parsed or unpickled finds the rule by it, in a process that has defined it.

    Returns:
        The function, with a method ``rule`` that takes the rule; without a function a decorator.

    Raises:
        ArgumentError: no function; or a function inside another takes a name that is taken: two
            functions made by one piece of code would share a rule.

    >>> @sg.custom_vjp
    ... def clipped(x):
    ...     return sg.minimum(x, 1.0)
    >>> @clipped.rule
    ... def _(ct, out, x):  # straight through: as if nothing had been clipped
    ...     return (ct,)
    >>> x = sg.input("x", (2,), "float64")
    >>> y = clipped(x)
    >>> sg.evaluate([y, sg.grad(y.sum(), x)], {"x": [0.5, 3.0]})
    [array([0.5, 1. ]), array([1., 1.])]
    """
    if function is None:
        return lambda decorated: custom_vjp(decorated, name=name)
    return made(CustomFunction, function, name)


def _again(cls: type[CustomFunction], function: Any, name: str, rule: Any) -> CustomFunction:
    """A function with a rule, in the process that unpickles it."""
    if rule is not None:
        define_rule(name, rule)
    return cls(function, name)


def define_rule(name: str, rule: Rule) -> None:
    """Let markers of that name have a rule."""
    _rules[name] = rule


def made(cls: type[CustomFunction], function: Any, name: str) -> CustomFunction:
    """A function with a rule, under its name."""
    if not callable(function):
        raise ArgumentError(f"{cls.kind} takes a function, not {kind_of(function)}")
    own = getattr(function, "__qualname__", None)
    if not name and own is None:
        raise ArgumentError(
            f"{shown(function)} has no name of its own", hint=f"{cls.kind}(function, name=...)"
        )
    chosen = name or f"{module_of(function)}.{own}"
    if chosen in _rules and (name or "<locals>" in chosen):
        raise ArgumentError(
            f"a derivative rule named {chosen!r} exists already",
            hint=f"give each function a name of its own: @sg.{cls.kind}(name=...)",
        )
    return cls(function, chosen)


def rule_named(name: str) -> Rule:
    """The rule of that name."""
    rule = _rules.get(name)
    if rule is None:
        raise GradientError(
            f"this process has no derivative rule named {name!r}",
            hint="import the module that defines it with @sg.custom_vjp or @sg.custom_jvp",
        )
    return rule


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
        if not out.dtype.is_float:
            return (None,) * (1 + len(args))

        def push(tangents: tuple[Any, ...]) -> Any:
            return self._pushed(tangents, out, args)

        return (None, *TRANSPOSES[ct.kind](push, args, ct))

    def _pushed(self, tangents: tuple[Any, ...], out: Any, args: tuple[Any, ...]) -> Any:
        found = self.ruled(_jvp_over_batch, "(tangents, out, *args)", (tangents, out, args))
        if not isinstance(found, Value) or found.type != out.type:
            what = found.type if isinstance(found, Value) else shown(found)
            raise OpDefinitionError(
                f"{self.rule}: the rule gives {what}, not a tangent of type {out.type}",
                hint="return tangents[0] * slope; None among the tangents belongs to integers",
            )
        return found


def _jvp_over_batch(rule: Rule, letters: str) -> Rule:
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
