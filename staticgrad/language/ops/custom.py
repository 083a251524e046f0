"""Functions with a user's derivative rule (``custom_vjp``, ``custom_jvp``), and user code as ops.

A user's function may run inside of a step: any Python code, or code compiled by Numba. The op
contains the function's *name*, so that graphs with it print, parse and pickle like any other; a
process that reads such a graph defines the function again. The function must be pure, with results
that depend on its operands alone: equal calls are made once, and a call whose operands are
constants may be made when the program is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from inspect import signature
from itertools import chain, count
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NoReturn, overload

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    CallError,
    GradientError,
    OpDefinitionError,
    UnknownAttributeError,
)
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.wording import kind_of, quote
from staticgrad.language.calls.execution import computing
from staticgrad.language.calls.functional import functions
from staticgrad.language.calls.pickling import module_of, reduce_wrapper
from staticgrad.language.ir.forms import CallForm, Form
from staticgrad.language.ir.graph import Constant, Node, Symbolic
from staticgrad.language.ir.kinds import binding_kind
from staticgrad.language.ir.op import Array, Op, lift_all
from staticgrad.language.ir.pairs import (
    Complex,
    is_complex_data,
    join_parts,
    parts_type,
    whole_type,
)
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import conj
from staticgrad.language.ops.basic import sum_over
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import TRANSPOSES, zeros_like_type
from staticgrad.language.ops.elementwise import common_dtype, is_weak, lift_operand
from staticgrad.language.ops.marks import FirstOperand
from staticgrad.language.ops.operands import (
    as_value,
    as_values,
    describe_operands,
    dtype_of,
    shape_of,
)
from staticgrad.language.types.arrays import TensorType, array_of, as_parts, of_parts
from staticgrad.language.types.dim import Size, dim
from staticgrad.language.types.dtype import F64
from staticgrad.support.docstrings import like
from staticgrad.support.records import NamedTuple
from staticgrad.support.traversal import reach

Rule = Callable[..., Any]
_rules: Final[dict[str, Rule]] = {}
#: The names of rules that take batches, as axes in front of all operands.
OF_BATCHES: Final[set[str]] = set()
#: In what a call or a sweep happens: "rule" while a rule runs, "sweep" while what a rule gives for
#: tangents is transposed.
_stage: Final[ContextVar[Literal["", "rule", "sweep"]]] = ContextVar("stage", default="")


@contextmanager
def _in_stage(stage: Literal["rule", "sweep"]) -> Iterator[None]:
    token = _stage.set(stage)
    try:
        yield
    finally:
        _stage.reset(token)


def _in_kind_of(operands: Sequence[Any]) -> AbstractContextManager[object]:
    """Return the context in which what a rule makes of numbers is a value like its operands."""
    kind = binding_kind(tuple(operands))
    return computing(kind) if kind.computes else nullcontext()


class Marker(FirstOperand):
    """The first operand; how derivatives go by the others, the rule named ``rule`` says."""

    rule_is_foreign = True
    rule: str
    over: tuple[str, ...] = ()  # a letter per operand: "b" where it has a batch axis, else "-"
    pairs: str = ""  # a letter per operand of the rule: "c" where it is complex, else "-"

    def definition(self) -> tuple[Any, ...] | None:
        rule = _rules.get(self.rule)
        return None if rule is None else (define_rule, self.rule, rule)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """The body over the batch; the rule will be mapped over it, unless it takes batches."""
        if self.rule in OF_BATCHES:
            return self(*in_front(size, args, over))
        body = in_front(size, args[:1], over[:1])
        letters = "".join("b" if has else "-" for has in over[1:])
        return type(self)(self.rule, (*self.over, letters), self.pairs)(*body, *args[1:])

    def apply_rule(
        self,
        over_batch: Callable[[Rule, str], Rule],
        over_pairs: Callable[[Rule, str, str], Rule],
        takes: str,
        operands: tuple[Any, Any, Sequence[Any]],
        needed: Sequence[bool],
    ) -> Any:
        """Apply a user's derivative rule, batched by vmap and over complex pairs where needed.

        A rule with a parameter ``needed`` is given which operands move, a bool for each.
        """
        rule = rule_named(self.rule)
        seeds, out, args = operands
        if _reads_needed(rule):
            rule = partial(rule, needed=tuple(needed))
        check_arguments(rule, 2 + len(args), f"the rule of {self.rule}", takes)
        if self.pairs:
            rule = over_pairs(rule, self.pairs[0], self.pairs[1:])
        for letters in self.over:
            rule = over_batch(rule, letters)
        try:
            with _in_stage("rule"), _in_kind_of(args):  # it may differentiate other functions
                return rule(seeds, out, *args)
        except Exception as error:
            error.add_note(f"in the derivative rule of {self.rule}")
            raise


def _mark_complex(op: Any, *operands: Any) -> Any:
    """The mark over stored values; letters say which of them are complex."""
    letters = "".join("c" if isinstance(x, Complex) else "-" for x in operands)
    result = type(op)(op.rule, op.over, letters)(*map(join_parts, operands))
    return result.kind.complex_kind.of(result) if letters[0] == "c" else result


Complex.readings[Marker] = _mark_complex


class CustomVjp(Marker, name="custom_vjp"):
    """The first operand; its cotangent goes to the others, as the rule named ``rule`` says."""

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a ``custom_vjp`` function by the user's rule."""
        args = args[1:]
        if not out.dtype.is_float:
            return (None,) * (1 + len(args))
        takes, operands = "(ct, out, *operands)", (ct, out, args)
        shares = self.apply_rule(
            _batch_vjp_rule, _adapt_vjp_rule_to_pairs, takes, operands, needed[1:]
        )
        shares = in_tuple(shares, len(args))
        if not isinstance(shares, tuple) or len(shares) != len(args):
            raise OpDefinitionError(
                f"{self.rule}: the rule gives {quote(shares)},"
                f" not a tuple of {len(args)} cotangent{'s' * (len(args) != 1)}",
                hint="one per operand, None where there is none: return (ct * 2.0,)",
            )
        return (None, *shares)


def in_tuple(shares: Any, count: int) -> Any:
    """Return what a rule gives as a tuple: of one operand it may give the cotangent by itself."""
    return (shares,) if count == 1 and isinstance(shares, Value) else shares


def _batch_vjp_rule(rule: Rule, letters: str) -> Rule:
    """Batch a user's vjp rule; an operand without the batch axis gets the sum over the batch."""

    def batched_rule(ct: Any, out: Any, *args: Any) -> Any:
        """Apply the user's vjp rule to batched cotangents and operands."""
        axes = (0, 0, *(0 if letter == "b" else None for letter in letters))
        shares = in_tuple(functions.vmap(rule, axes)(ct, out, *args), len(letters))
        if not isinstance(shares, tuple) or len(shares) != len(letters):
            return shares
        return tuple(
            share if share is None or letter == "b" else sum_over(share, (0,))
            for share, letter in zip(shares, letters, strict=True)
        )

    return batched_rule


def _as_complex(pairs: str, values: Sequence[Any]) -> list[Any]:
    """The complex values among those that are stored, as letters say."""
    return [
        x.kind.complex_kind.of(x) if letter == "c" and x is not None else x
        for letter, x in zip(pairs, values, strict=True)
    ]


def _adapt_vjp_rule_to_pairs(rule: Rule, of_outs: str, pairs: str) -> Rule:
    """Adapt a user's vjp rule to stored complex pairs, with JAX's conjugate cotangents."""

    def rule_over_pairs(ct: Any, out: Any, *args: Any) -> Any:
        """Apply the user's vjp rule to complex values made of stored pairs."""
        operands = _as_complex(pairs, args)
        if isinstance(out, tuple):  # of several results
            cts = [x if x is None else conj(x) for x in _as_complex(of_outs, ct)]
            shares = rule(tuple(cts), tuple(_as_complex(of_outs, out)), *operands)
        else:
            ct, out = _as_complex(of_outs * 2, (ct, out))
            shares = rule(conj(ct), out, *operands)
        shares = in_tuple(shares, len(args))
        if not isinstance(shares, tuple) or len(shares) != len(args):
            return shares
        return tuple(
            share
            if not isinstance(share, Value)
            else join_parts(conj(astype(share, arg.dtype)))
            if letter == "c"
            else share.real
            for letter, share, arg in zip(pairs, shares, operands, strict=True)
        )

    return rule_over_pairs


def _reads_needed(rule: Rule) -> bool:
    """Return whether a rule has a parameter ``needed``, by name alone."""
    try:
        parameter = signature(rule).parameters.get("needed")
    except ValueError:  # a callable that does not say what it takes
        return False
    return parameter is not None and parameter.kind is parameter.KEYWORD_ONLY


def check_arguments(rule: Rule, count: int, what: str, takes: str) -> None:
    """Refuse a user's derivative rule that cannot be called with ``count`` arguments."""
    try:
        signature(rule).bind(*range(count))
    except ValueError:  # a callable that does not say what it takes
        return
    except TypeError:
        raise OpDefinitionError(
            f"{what} is called with {count} arguments, {takes}", hint=f"it takes {signature(rule)}"
        ) from None


class CustomFunction:
    """A function of values with a custom derivative rule; created by ``custom_vjp``."""

    kind: ClassVar[str] = "custom_vjp"
    takes: ClassVar[str] = "ct, out, *args"

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name
        self.__doc__, self.__module__ = function.__doc__, function.__module__

    def __reduce__(self) -> Any:
        """Pickle by name, or by value with cloudpickle, together with the rule."""
        qualname = getattr(self.function, "__qualname__", "")
        arguments = (type(self), self.function, self.name, _rules.get(self.name))
        return reduce_wrapper(self, qualname, (_again, arguments))

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
        of each operand, in its type (None: it carries no gradient); of one operand, the cotangent.
        """
        if not callable(rule):
            raise OpDefinitionError(
                f"{self.name}: the derivative rule is {kind_of(rule)}, not a function",
                hint=f"write @function.rule above a function: def _({self.takes})",
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
            lift_operand(self.name, kind, arg, dtype) if is_weak(arg) else as_value(arg, kind)
            for arg in args
        ]
        # Tensors that were recorded inside would say so: only what is captured is. In a rule the
        # tape needs the body, through which cotangents go where it is transposed.
        records_body = self.kind == "custom_jvp" and _stage.get() == "rule"
        is_detached = [hasattr(value, "detach") and not records_body for value in values]
        pairs = zip(values, is_detached, strict=True)
        body = self.function(*(v.detach() if detaches else v for v, detaches in pairs))
        if not isinstance(body, Value):
            raise OpDefinitionError(
                f"{self.name} gives {quote(body)}, not one value",
                hint="it returns the value that it builds"
                if body is None
                else "one function per value, or one value that sg.concatenate joins",
            )
        captured = list(_find_captured(body, values))
        if captured or (not records_body and getattr(body, "requires_grad", False)):
            raise GradientError(
                f"{self.name} reads a value that is not among its operands: it would get no"
                " gradient",
                hint="pass it as an operand, or take sg.stop_gradient of it",
                related=describe_operands(*captured),
            )
        return self._attach_rule(body, values)

    def _attach_rule(self, body: Value, values: Sequence[Value]) -> Value:
        """The body's value with the rule behind it."""
        return CustomVjp(self.name)(body, *values)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


def _find_captured(body: Value, values: list[Value]) -> Iterator[Symbolic]:
    """Return floating inputs and parameters that ``body`` captures beside its arguments."""
    operands = {value.key for value in _parts(values) if isinstance(value, Symbolic)}

    def select_carriers(values: Iterable[Any]) -> list[tuple[Node, int]]:
        symbolic = [value for value in values if isinstance(value, Symbolic)]
        return [v.key for v in symbolic if v.key not in operands and _carries_gradient(v)]

    for node, index in reach(
        select_carriers(_parts([body])), lambda key: select_carriers(key[0].args)
    ):
        if node.is_leaf:
            yield Symbolic(node, index)


def _parts(values: Sequence[Any]) -> Iterator[Any]:
    """Values, and for complex ones both parts and what they are parts of."""
    for value in values:
        if isinstance(value, Complex):
            yield from (value.re, value.im, value.stored)
        else:
            yield value


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
    must be linear in the cotangent. A rule with a keyword-only parameter ``needed`` is given a bool
    for each operand: whether its cotangent is needed.

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
    return make_custom_function(CustomFunction, function, name)


def _again(cls: type[CustomFunction], function: Any, name: str, rule: Any) -> CustomFunction:
    """A function with a rule, in the process that unpickles it."""
    if rule is not None:
        define_rule(name, rule)
    return cls(function, name)


def define_rule(name: str, rule: Rule) -> None:
    """Let markers of that name have a rule."""
    _rules[name] = rule


def make_custom_function(cls: type[CustomFunction], function: Any, name: str) -> CustomFunction:
    """Make a function with a user's derivative rule, registered by name."""
    if not callable(function):
        raise ArgumentError(f"{cls.kind} takes a function, not {kind_of(function)}")
    qualname = getattr(function, "__qualname__", None)
    if not name and qualname is None:
        raise ArgumentError(
            f"{quote(function)} has no unique name", hint=f"{cls.kind}(function, name=...)"
        )
    chosen = name or f"{module_of(function)}.{qualname}"
    if chosen in _rules and (name or "<locals>" in chosen):
        raise ArgumentError(
            f"a derivative rule named {chosen!r} exists already",
            hint=f"give each function a name of its own: @sg.{cls.kind}(name=...)",
        )
    return cls(function, chosen)


def rule_named(name: str) -> Rule:
    """Return the user's derivative rule that is registered by a name."""
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
        """Differentiate a ``custom_jvp`` function forward by the user's rule, not by its body."""
        if not out.dtype.is_float or all(tangent is None for tangent in tangents[1:]):
            return None
        seeds = [
            zeros_like_type(arg.type, arg) if tangent is None and arg.dtype.is_float else tangent
            for tangent, arg in zip(tangents[1:], args, strict=True)
        ]
        has_tangent = [tangent is not None for tangent in tangents[1:]]
        return self._push_tangents(tuple(seeds), out, args, has_tangent)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a ``custom_jvp`` function backward: transpose the user's rule."""
        if not out.dtype.is_float:
            return (None,) * len(args)
        if _stage.get() == "sweep":
            # The body is linear in tangents. A rule that applies the function to its tangents would
            # be followed without end.
            return (ct, *[None] * (len(args) - 1))

        def push(tangents: tuple[Any, ...]) -> Any:
            return self._push_tangents(tangents, out, args[1:], needed[1:])

        with _in_stage("sweep"):
            return (None, *TRANSPOSES[ct.kind](push, args[1:], ct))

    def _push_tangents(
        self, tangents: tuple[Any, ...], out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> Any:
        """Apply the user's jvp rule to tangents, zeros where an operand has none."""
        operands = (tangents, out, args)
        takes = "(tangents, out, *args)"
        tangent = self.apply_rule(
            _batch_jvp_rule, _adapt_jvp_rule_to_pairs, takes, operands, needed
        )
        if not isinstance(tangent, Value) or tangent.type != out.type:
            what = tangent.type if isinstance(tangent, Value) else quote(tangent)
            raise OpDefinitionError(
                f"{self.rule}: the rule gives {what}, not a tangent of type {out.type}",
                hint="return tangents[0] * slope; None among the tangents belongs to integers",
            )
        return tangent


def _batch_jvp_rule(rule: Rule, letters: str) -> Rule:
    """Batch a user's jvp rule over the batch axes of its operands."""

    def batched_rule(tangents: tuple[Any, ...], out: Any, *args: Any) -> Any:
        places = [0 if letter == "b" else None for letter in letters]
        axes = tuple(
            place if tangent is not None else None
            for place, tangent in zip(places, tangents, strict=True)
        )
        return functions.vmap(rule, (axes, 0, *places))(tangents, out, *args)

    return batched_rule


def _adapt_jvp_rule_to_pairs(rule: Rule, of_out: str, pairs: str) -> Rule:
    """Adapt a user's jvp rule to stored complex pairs; tangents are not conjugated."""

    def rule_over_pairs(tangents: tuple[Any, ...], out: Any, *args: Any) -> Any:
        values = _as_complex(of_out + pairs, (out, *args))
        return join_parts(rule(tuple(_as_complex(pairs, tangents)), *values))

    return rule_over_pairs


class CustomTangent(CustomFunction):
    """A function of values with a rule for tangents; ``custom_jvp`` makes it."""

    kind: ClassVar[str] = "custom_jvp"
    takes: ClassVar[str] = "tangents, out, *args"

    def _attach_rule(self, body: Value, values: Sequence[Value]) -> Value:
        result: Value = CustomJvp(self.name)(body, *values)
        return result


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
    follow by transposing it, and derivatives of every order. A rule with a keyword-only parameter
    ``needed`` is given a bool for each operand: whether it moves.

    Args:
        function: takes values, arrays or numbers by position, each an operand of the result.
            Everything floating that it reads must be among them.
        name: what the text of graphs calls the rule; by default ``module.function``, as of
            ``custom_vjp``.

    >>> @sg.custom_jvp
    ... def cube(x):
    ...     return x ** 3
    >>> @cube.rule
    ... def _(tangents, out, x):
    ...     return 3.0 * x ** 2 * tangents[0]
    >>> sg.grad(cube)(2.0)
    np.float64(12.0)
    """
    if function is None:
        return lambda decorated: custom_jvp(decorated, name=name)
    return make_custom_function(CustomTangent, function, name)


class _RegisteredFunction(NamedTuple):
    """A function, its derivative rule, and a number that changes when the name is defined anew."""

    function: Callable[..., Any]
    rule: Callable[..., Any] | None
    number: int


_definitions: Final[dict[str, _RegisteredFunction]] = {}
_numbers: Final = count()


def define(label: str, function: Callable[..., Any], rule: Callable[..., Any] | None) -> None:
    """Let calls of that name be calls of a function."""
    previous = _definitions.get(label)
    if previous is None or previous.function is not function or previous.rule is not rule:
        _definitions[label] = _RegisteredFunction(function, rule, next(_numbers))


class _UserCall(Op):
    """The result of the function named ``label``, with the declared types."""

    exact = True
    rule_is_foreign = True
    family: ClassVar[str] = "host"
    label: str
    types: tuple[TensorType, ...]
    pairs: str = ""  # a letter per operand and result: "c" where it is complex, else "-"

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as they are: nothing promotes."""
        return lift_all(args)

    def definition(self) -> tuple[Any, ...] | None:
        definition = _definitions.get(self.label)
        return (
            None
            if definition is None
            else (define, self.label, definition.function, definition.rule)
        )

    def find_definition(self) -> _RegisteredFunction:
        """Return the user's function of a host or Numba call by its name."""
        definition = _definitions.get(self.label)
        if definition is None:
            raise CallError(
                f"{self.family}_call: this process has no function {self.label!r}",
                hint="run the code that calls it once, to define it here",
            )
        return definition

    def infer(self, *types: TensorType) -> TensorType | tuple[TensorType, ...]:
        """Return the result types that the caller of a user's function promised."""
        for kind in (*types, *self.types):
            if kind.dtype.is_storage:
                raise ArgumentError(
                    f"{self.family}_call: {kind} is for storage", hint="x.astype('float32')"
                )
        return self.types if len(self.types) > 1 else self.types[0]

    def reference(self, *arrays: Array) -> Any:
        """Call the user's Python function on arrays, and check its results."""
        from staticgrad.native.libraries.user_calls import store_results

        letters = self.pairs or "-" * (len(arrays) + len(self.types))
        pairs = zip(letters, arrays, strict=False)
        operands = [of_parts(array) if letter == "c" else array for letter, array in pairs]
        kinds = self._whole_types([*(TensorType(F64, (2,)) for _ in arrays), *self.types])
        outs = [np.zeros(tuple(map(int, t.shape)), t.dtype.numpy) for t in kinds[len(arrays) :]]
        store_results(
            self.label,
            self.call_on_copies(self.find_definition().function, operands),
            outs,
            self.array_of,
        )
        outs = [as_parts(out) if is_complex_data(out) else out for out in outs]
        return tuple(outs) if len(outs) > 1 else outs[0]

    def array_of(self, result: Any) -> Array:
        """Return what the function gave, as an array."""
        return array_of(result, f"what {self.label} gives", CallError)

    def _whole_types(self, types: Sequence[TensorType]) -> list[TensorType]:
        """Return operand and result types as the user's function has them: complex ones whole.

        Both are the same bytes.
        """
        letters = self.pairs or "-" * len(types)
        pairs = zip(letters, types, strict=True)
        return [whole_type(kind) if letter == "c" else kind for letter, kind in pairs]

    def call_on_copies(self, function: Callable[..., Any], arrays: Sequence[Array]) -> Any:
        """Return what the function gives for copies of the operands."""
        return function(*(array.copy() for array in arrays))

    def form(self, *types: TensorType) -> Form:
        """Return the library call that runs the user's function inside of a step."""
        from staticgrad.native.libraries import user_calls

        definition, results = self.find_definition(), len(self.types)
        operands = self._whole_types([*types[results:], *types[:results]])
        operands, outs = operands[: -results or None], operands[-results:]
        kinds = [[(t.dtype.numpy.name, t.rank) for t in group] for group in (operands, outs)]
        function = user_calls.UserFunction(
            self.label, definition.function, tuple(kinds[0]), tuple(kinds[1]), self.array_of
        )
        name = "".join(c if c.isalnum() else "_" for c in self.label)
        return CallForm(
            user_calls.routine(self.family, f"{name}.{definition.number}", function),
            tuple(chain.from_iterable(t.shape for t in (*operands, *outs))),
            checks=True,
            alone=self.family == "host",
        )

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """Differentiate a call of a user's function by its ``vjp=``, which is a call again."""
        rule = self.find_definition().rule
        if rule is None:
            raise GradientError(
                f"{self.family}_call of {self.label} has no derivative rule",
                hint=f"{self.family}_call(..., vjp=rule): a function (ct, out, *operands) that"
                " gives a tuple of cotangents\nit serves sg.jvp, too, which does not read the rule"
                " of an sg.custom_vjp around the call: move that here",
            )
        check_arguments(rule, 2 + len(args), f"the rule of {self.label}", "(ct, out, *operands)")
        if self.pairs:
            rule = _adapt_vjp_rule_to_pairs(rule, self.pairs[len(args) :], self.pairs[: len(args)])
        with _in_kind_of(args):
            shares = in_tuple(rule(ct, out, *args), len(args))
        if not isinstance(shares, tuple) or len(shares) != len(args):
            raise OpDefinitionError(
                f"{self.label}: the rule gives {quote(shares)},"
                f" not a tuple of {len(args)} cotangent{'s' * (len(args) != 1)}",
                hint="one per operand, None where there is none: return (ct * 2.0,)",
            )
        return shares


class HostCall(_UserCall, name="call.host"):
    """The result of a Python function, called inside of the step with the interpreter's lock."""

    family = "host"
    label: str
    types: tuple[TensorType, ...]
    pairs: str = ""
    kink = "no gradient without a rule of its own"


class NumbaCall(_UserCall, name="call.numba"):
    """The result of a function compiled by Numba; called as machine code, without the lock."""

    family = "numba"
    label: str
    types: tuple[TensorType, ...]
    pairs: str = ""
    kink = "no gradient without a rule of its own"

    def call_on_copies(self, function: Callable[..., Any], arrays: Sequence[Array]) -> Any:
        """Return what the function gives as Python code; operands without axes are numbers."""
        plain = getattr(function, "py_func", function)
        return plain(*(array.copy() if array.ndim else array[()] for array in arrays))


def _types_of(op: str, declared: Any) -> tuple[TensorType, ...]:
    """Read ``types=`` of a user's call: one or a list of values, or of shape and dtype."""
    types = []
    is_list = isinstance(declared, list) or (
        isinstance(declared, tuple) and all(map(_has_type, declared))
    )
    for declaration in declared if is_list else [declared]:
        if _has_type(declaration):
            types.append(TensorType(dtype_of(declaration.dtype), shape_of(declaration.shape)))
            continue
        if not isinstance(declaration, tuple) or len(declaration) != 2:
            raise ArgumentError(
                f"{op}: types={quote(declaration)} is not a type",
                hint='types=((3, "n"), "float64"), a value or array of that type, or a list',
            )
        shape, dtype = declaration
        sizes = shape if isinstance(shape, list | tuple) else (shape,)
        named = tuple(dim(size) if isinstance(size, str) else size for size in sizes)
        types.append(TensorType(dtype_of(dtype), shape_of(named)))
    if not types:
        raise ArgumentError(f"{op}: types=[] promises no result")
    return tuple(types)


def _has_type(candidate: Any) -> bool:
    """Return whether an object is a type, a value or an array: not a size, and not a dtype."""
    is_one = isinstance(candidate, TensorType) or not isinstance(candidate, type | np.generic)
    return is_one and hasattr(candidate, "shape") and hasattr(candidate, "dtype")


def _make_call(
    cls: type[_UserCall], function: Any, args: Any, types: Any, vjp: Any, name: str
) -> Any:
    """Make the node that calls a user's function (host or Numba) on values."""
    op = f"{cls.family}_call"
    if not callable(function):
        raise ArgumentError(f"{op} takes a function, not {kind_of(function)}")
    if vjp is not None and not callable(vjp):
        raise ArgumentError(f"{op}: vjp={quote(vjp)} is not a function")
    plain = getattr(function, "py_func", function)
    qualname = getattr(plain, "__qualname__", type(plain).__name__)
    label = name or f"{module_of(plain)}.{qualname}"
    previous = _definitions.get(label)
    is_known = previous is None or (previous.function is function and previous.rule is vjp)
    if not is_known and not name:  # another function of the same code
        label = f"{label}.{len(_definitions)}"
    define(label, function, vjp)
    values, kinds = as_values(*args), _types_of(op, types)
    pairs = "".join("c" if x.dtype.is_complex else "-" for x in (*values, *kinds))
    stored = tuple(parts_type(t) if t.dtype.is_complex else t for t in kinds)
    result = cls(label, stored, pairs if "c" in pairs else "")(*map(join_parts, values))
    results = _as_complex(pairs[len(values) :], result if isinstance(result, tuple) else (result,))
    return tuple(results) if isinstance(result, tuple) else results[0]


def host_call(
    function: Callable[..., Any],
    *args: Any,
    types: Any,
    vjp: Callable[..., Any] | None = None,
    name: str = "",
) -> Any:
    """Call a Python function of arrays as a value: NumPy code inside of a compiled step.

    The call holds the interpreter's lock, on the thread that runs the program, while no other step
    runs. What it raises, the run raises, before any parameter changes. The function must not run
    the program that calls it: in its own thread that is an error (SG413); a thread that it starts
    and joins waits for the end of the run, and so for ever.

    Args:
        function: takes a NumPy array (a copy) for each operand, and gives an array, or a tuple of
            them. It must be pure: equal calls run once, and unused calls do not run.
        args: operands, values or arrays. They are not promoted.
        types: what the function gives: ``(shape, dtype)``, or a value or an array of that type; a
            list of these for a tuple of results. Sizes may be named: ``(("batch", 3), "float32")``.
        vjp: the derivative rule, ``vjp(ct, out, *operands)`` over values, as for ``custom_vjp``: it
            gives a tuple of cotangents, of one operand also the cotangent by itself. Of several
            results ``ct`` and ``out`` are tuples. It may call ``host_call`` again.
        name: what the text of graphs calls the function; by default ``module.function``.

    >>> x = sg.input("x", (2,))
    >>> y = sg.host_call(np.sort, x, types=x.type)
    >>> sg.evaluate(y, {x: [3.0, 1.0]})
    array([1., 3.], dtype=float32)
    """
    return _make_call(HostCall, function, args, types, vjp, name)


@like(host_call)
def numba_call(
    function: Callable[..., Any],
    *args: Any,
    types: Any,
    vjp: Callable[..., Any] | None = None,
    name: str = "",
) -> Any:
    """Return what a function gives that Numba compiles in nopython mode: called without the lock.

    It is compiled by the first program that runs it; evaluated, and with ``STATICGRAD_JIT=0``, it
    is plain Python.

    Args:
        function: jitted (``numba.njit``) or not. It takes read-only arrays in C order, numbers for
            operands without axes, and gives arrays of the shapes that ``types`` says, or
            numbers.
    """
    if isinstance(function, np.ufunc):
        raise ArgumentError(
            f"numba_call: np.{function.__name__} is a ufunc, and Numba compiles functions",
            hint=f"lambda x: np.{function.__name__}(x)",
        )
    return _make_call(NumbaCall, function, args, types, vjp, name)
