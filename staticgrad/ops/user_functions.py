"""Functions of users inside of a step: any Python code, or what Numba compiles.

The op holds the function's *name*, so that graphs with it print, parse and pickle like any other; a
process that reads such a graph defines the function again. The function must be pure: its results
follow from its operands alone, since equal calls are made once, and a call whose operands are
constants may be made when the program is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, count
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad.errors import ArgumentError, CallError, GradientError, OpDefinitionError
from staticgrad.errors.wording import kind_of, shown
from staticgrad.families import like
from staticgrad.ir.calls import module_of
from staticgrad.ir.forms import CallForm, Form
from staticgrad.ir.op import Array, Op, lift_all
from staticgrad.ir.value import Value
from staticgrad.ops.custom import check_arguments
from staticgrad.ops.operands import as_values, dtype_of, shape_of
from staticgrad.records import NamedTuple
from staticgrad.types.arrays import array_of
from staticgrad.types.dim import dim
from staticgrad.types.tensor import TensorType


class _Known(NamedTuple):
    """A function, its derivative rule, and a number that changes when the name is defined anew."""

    function: Callable[..., Any]
    rule: Callable[..., Any] | None
    number: int


_known: Final[dict[str, _Known]] = {}
_numbers: Final = count()


def define(label: str, function: Callable[..., Any], rule: Callable[..., Any] | None) -> None:
    """Let calls of that name be calls of a function."""
    before = _known.get(label)
    if before is None or before.function is not function or before.rule is not rule:
        _known[label] = _Known(function, rule, next(_numbers))


class _UserCall(Op):
    """What the function named ``label`` gives, of the types that are promised."""

    exact = True
    rule_is_foreign = True
    family: ClassVar[str] = "host"
    label: str
    types: tuple[TensorType, ...]

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as they are: nothing promotes."""
        return lift_all(args)

    def definition(self) -> tuple[Any, ...] | None:
        known = _known.get(self.label)
        return None if known is None else (define, self.label, known.function, known.rule)

    def known(self) -> _Known:
        """The function of that name."""
        found = _known.get(self.label)
        if found is None:
            raise CallError(
                f"{self.family}_call: this process has no function {self.label!r}",
                hint="run the code that calls it once, to define it here",
            )
        return found

    def infer(self, *types: TensorType) -> TensorType | tuple[TensorType, ...]:
        """The types that are promised."""
        for each in (*types, *self.types):
            if each.dtype.is_storage:
                raise ArgumentError(
                    f"{self.family}_call: {each} is for storage", hint="x.astype('float32')"
                )
        return self.types if len(self.types) > 1 else self.types[0]

    def reference(self, *arrays: Array) -> Any:
        from staticgrad.native.libraries.user_calls import checked

        shapes = [tuple(map(int, t.shape)) for t in self.types]
        outs = [np.zeros(s, t.dtype.numpy) for s, t in zip(shapes, self.types, strict=True)]
        checked(self.label, self.computed(self.known().function, arrays), outs, self.array_of)
        return tuple(outs) if len(outs) > 1 else outs[0]

    def array_of(self, result: Any) -> Array:
        """Return what the function gave, as an array."""
        return array_of(result, f"what {self.label} gives", CallError)

    def computed(self, function: Callable[..., Any], arrays: Sequence[Array]) -> Any:
        """Return what the function gives for copies of the operands."""
        return function(*(array.copy() for array in arrays))

    def form(self, *types: TensorType) -> Form:
        from staticgrad.native.libraries import user_calls

        known, results = self.known(), len(self.types)
        outs, operands = types[:results], types[results:]
        kinds = [[(t.dtype.numpy.name, t.rank) for t in each] for each in (operands, outs)]
        function = user_calls.UserFunction(
            self.label, known.function, tuple(kinds[0]), tuple(kinds[1]), self.array_of
        )
        name = "".join(c if c.isalnum() else "_" for c in self.label)
        return CallForm(
            user_calls.routine(self.family, f"{name}.{known.number}", function),
            tuple(chain.from_iterable(t.shape for t in (*operands, *outs))),
            checks=True,
            alone=self.family == "host",
        )

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        rule = self.known().rule
        if rule is None:
            raise GradientError(
                f"{self.family}_call of {self.label} has no derivative rule",
                hint="vjp=: a function (ct, out, *operands) that gives a tuple of cotangents",
            )
        check_arguments(rule, 2 + len(args), f"the rule of {self.label}", "(ct, out, *operands)")
        shares = rule(ct, out, *args)
        if not isinstance(shares, tuple) or len(shares) != len(args):
            raise OpDefinitionError(
                f"{self.label}: the rule gives {shown(shares)},"
                f" not a tuple of {len(args)} cotangent{'s' * (len(args) != 1)}",
                hint="one per operand, None where there is none: return (ct * 2.0,)",
            )
        return shares


class HostCall(_UserCall, name="call.host"):
    """What a Python function gives, called inside of the step with the interpreter's lock."""

    family = "host"
    label: str
    types: tuple[TensorType, ...]
    kink = "no gradient without a rule of its own"


class NumbaCall(_UserCall, name="call.numba"):
    """What a function gives that Numba compiles; called as machine code, without the lock."""

    family = "numba"
    label: str
    types: tuple[TensorType, ...]
    kink = "no gradient without a rule of its own"

    def computed(self, function: Callable[..., Any], arrays: Sequence[Array]) -> Any:
        """Return what the function gives as Python code; operands without axes are numbers."""
        plain = getattr(function, "py_func", function)
        return plain(*(array.copy() if array.ndim else array[()] for array in arrays))


def _types_of(op: str, given: Any) -> tuple[TensorType, ...]:
    """The types that a caller promises: one or a list, each a value or a shape and a dtype."""
    found = []
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, Value):
            found.append(each.type)
            continue
        if isinstance(each, TensorType):
            found.append(each)
            continue
        if not isinstance(each, tuple) or len(each) != 2:
            raise ArgumentError(
                f"{op}: types={shown(each)} is no type",
                hint='types=((3, "n"), "float64"), a value of the same type, or a list of these',
            )
        shape, dtype = each
        sizes = shape if isinstance(shape, list | tuple) else (shape,)
        named = tuple(dim(size) if isinstance(size, str) else size for size in sizes)
        found.append(TensorType(dtype_of(op, dtype), shape_of(op, named)))
    if not found:
        raise ArgumentError(f"{op}: types=[] promises no result")
    return tuple(found)


def _called(cls: type[_UserCall], function: Any, args: Any, types: Any, vjp: Any, name: str) -> Any:
    op = f"{cls.family}_call"
    if not callable(function):
        raise ArgumentError(f"{op} takes a function, not {kind_of(function)}")
    if vjp is not None and not callable(vjp):
        raise ArgumentError(f"{op}: vjp={shown(vjp)} is no function")
    plain = getattr(function, "py_func", function)
    own = getattr(plain, "__qualname__", type(plain).__name__)
    label = name or f"{module_of(plain)}.{own}"
    before = _known.get(label)
    is_known = before is None or (before.function is function and before.rule is vjp)
    if not is_known and not name:  # another function of the same code
        label = f"{label}.{len(_known)}"
    define(label, function, vjp)
    return cls(label=label, types=_types_of(op, types))(*as_values(op, *args))


def host_call(
    function: Callable[..., Any],
    *args: Any,
    types: Any,
    vjp: Callable[..., Any] | None = None,
    name: str = "",
) -> Any:
    """What a Python function of arrays gives, as a value: NumPy code inside of a compiled step.

    The call holds the interpreter's lock, on the thread that runs the program, while no other step
    runs. What it raises, the run raises, before any parameter changes. The function must not run
    the program that calls it: in its own thread that is an error (SG413); a thread that it starts
    and joins waits for the end of the run, and so for ever.

    Args:
        function: takes a NumPy array (a copy) for each operand, and gives an array, or a tuple of
            them. It must be pure: equal calls are made once, one that nobody reads not at all.
        args: operands, values or arrays. Nothing promotes.
        types: what the function gives: ``(shape, dtype)`` or a value of that type; a list of these
            for a tuple of results. Sizes may be named: ``(("batch", 3), "float32")``.
        vjp: the derivative rule, ``vjp(ct, out, *operands)`` over values, as for ``custom_vjp``; of
            several results ``ct`` and ``out`` are tuples. It may call ``host_call`` again.
        name: what the text of graphs calls the function; by default ``module.function``.

    Returns:
        A value of that type; of a list of types a tuple of values.

    Raises:
        CallError: in the run, other results than ``types`` says.
        ArgumentError: no function, or no types.
        GradientError: a gradient is asked for without a rule.

    >>> x = sg.input("x", (4,), "float64")
    >>> y = sg.host_call(np.sort, x, types=x)
    >>> sg.evaluate(y, {"x": [3.0, 1.0, 2.0, 0.0]})
    array([0., 1., 2., 3.])
    """
    return _called(HostCall, function, args, types, vjp, name)


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
            operands without axes, and gives arrays of exactly the shapes that ``types`` says, or
            numbers.

    Raises:
        CallError: in the run, an exception, or other shapes.
        CompileError: Numba does not compile it.

    >>> x = sg.input("x", (3,), "float64")
    >>> y = sg.numba_call(lambda x: np.cumsum(x), x, types=x)
    >>> sg.evaluate(y, {"x": [1.0, 2.0, 3.0]})
    array([1., 3., 6.])
    """
    return _called(NumbaCall, function, args, types, vjp, name)
