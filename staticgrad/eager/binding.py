"""The execution of an op on arrays, and the values its derivative rule reads, per op and types.

Type inference says in the user's terms what is wrong with operands; for types that it has accepted
before it need not run again. References silence NumPy's warnings one by one; here a whole
operation runs in one context that silences them, which takes a tenth of the time.

A derivative rule is written over values, so it also runs on values that have only a type. It reads
a value if it passes it to an op or returns it as a cotangent, not if it only uses the shape.
A rule that does not run this way is assumed to read everything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextvars import Context
from operator import attrgetter
from typing import Any, ClassVar, Final, Self

import numpy as np

from staticgrad.eager.tape import OpNode, named_node
from staticgrad.errors import StaticgradError
from staticgrad.language.ir.op import Array, Op, as_array, result_types
from staticgrad.language.ir.pairs import Complex
from staticgrad.language.ir.rounded import round_results
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.cotangent import Masked, PartCotangent, shares_of
from staticgrad.language.ops.elementwise import quiet
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import DType, as_dtype
from staticgrad.support.records import NamedTuple

_MOST_KEPT: Final = 10_000
_type: Final = attrgetter("type")
_types: Final[dict[tuple[Any, ...], TensorType]] = {}
_applications: Final[dict[tuple[Any, ...], Application]] = {}
#: ``quiet`` wraps every function in this code.
_QUIET_CODE: Final = quiet(len).__code__


class Application(NamedTuple):
    """An op on operands of certain types.

    ``outs`` are the types of the results; ``is_tuple``: they come as a tuple. ``node`` is the class
    that records it, None where nothing can carry a gradient. ``types`` are those of the operands,
    kept so that their ids stay theirs. ``saved_forms`` is filled when a node is recorded: per
    pattern of operands that need gradients, for operands and results None if the rule reads it,
    else what stands in.
    """

    run: Callable[..., Any]
    outs: tuple[TensorType, ...]
    is_tuple: bool
    node: Any  # type[OpNode] | None
    types: tuple[TensorType, ...]
    saved_forms: dict[tuple[bool, ...], Any]


class _SilentContext(threading.local):
    """A context of this thread in which NumPy emits no warnings."""

    def __init__(self) -> None:
        self.context = Context()
        self.context.run(np.seterr, all="ignore")


silent: Final = _SilentContext()


def application(op: Op, args: tuple[Any, ...]) -> Application:
    """Return the cached way to run ``op`` on eager tensors of the types of ``args``."""
    key = (op.__class__, *op.__dict__.values(), *map(id, map(_type, args)))
    applied = _applications.get(key)
    if applied is None:
        types = list(map(_type, args))
        try:
            inferred = result_types(op, types)
        except StaticgradError as error:
            operands = [(f"operand {i}", str(t), None) for i, t in enumerate(types, 1)]
            raise error.with_related(operands) from None
        is_tuple = isinstance(inferred, tuple)
        outs = tuple(map(_intern, inferred if isinstance(inferred, tuple) else (inferred,)))
        carries = op.differentiable and any(t.dtype.is_float for t in outs)
        node: Any = named_node(OpNode, type(op).__name__) if carries else None
        runs: Any = type(op).reference if type(op).eager is Op.eager else type(op).eager
        if getattr(runs, "__code__", None) is _QUIET_CODE:
            runs = runs.__wrapped__
        run = round_results(runs, op, types, outs)
        applied = _cache_entry(
            _applications, key, Application(run, outs, is_tuple, node, tuple(types), {})
        )
    return applied


def type_of(array: Array) -> TensorType:
    """The type of an array: one object for all arrays that have it."""
    key = (array.dtype, array.shape)
    interned = _types.get(key)
    return _intern(TensorType(as_dtype(array.dtype), array.shape)) if interned is None else interned


def _intern(tensor_type: TensorType) -> TensorType:
    key = (tensor_type.dtype.numpy, tensor_type.shape)
    interned = _types.get(key)
    return _cache_entry(_types, key, tensor_type) if interned is None else interned


def _cache_entry(table: dict[Any, Any], key: Any, entry: Any) -> Any:
    """``entry``, put into a table that is emptied when it is full."""
    if len(table) >= _MOST_KEPT:
        table.clear()
    table[key] = entry
    return entry


Flags = tuple[bool, ...]


class TypedOnly(Value):
    """A value with a type but no data; it records whether its data was read."""

    __slots__ = ("read", "type")

    kind: ClassVar[type[Value]]
    type: TensorType

    def __init__(self, type: TensorType) -> None:
        self.type, self.read = type, False

    @classmethod
    def bind(cls, op: Op, args: tuple[Any, ...]) -> Any:
        """An outline of the result; the operands have been read."""
        _mark_read(args)
        inferred = op.infer(*[arg.type for arg in args])
        if isinstance(inferred, tuple):
            return tuple(map(TypedOnly, inferred))
        return TypedOnly(inferred)

    @classmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        if isinstance(data, TypedOnly):
            return data  # type: ignore[return-value]
        if like is not None and like.is_complex:
            return _PairOfTypes.constant(data, like, cls.lift)  # type: ignore[return-value]
        array = as_array(data)
        return cls(TensorType(as_dtype(array.dtype) if like is None else like, array.shape))


class _PairOfTypes(Complex):
    """Two values with types but no data."""

    __slots__ = ()
    kind: ClassVar[type[Value]]
    part_kind = TypedOnly


TypedOnly.kind = TypedOnly
TypedOnly.complex_kind = _PairOfTypes.kind = _PairOfTypes


def rule_reads(
    op: Op, types: Iterable[TensorType], outs: Iterable[TensorType], needed: Flags
) -> tuple[Flags, Flags]:
    """Return which operands and results the derivative rule of an op reads, for the tape."""
    args, results = _outlines(types), _outlines(outs)
    if op.rule_is_foreign:
        return (True,) * len(args), (True,) * len(results)
    try:
        shares = shares_of(op, [TypedOnly(out.type) for out in results], results, args, needed)
        _mark_read(share for share, need in zip(shares, needed, strict=True) if need)
    except Exception:  # a rule from outside may need more than types
        return (True,) * len(args), (True,) * len(results)
    return tuple([arg.read for arg in args]), tuple([out.read for out in results])


def _outlines(types: Iterable[TensorType]) -> list[TypedOnly]:
    """Return values of the dtypes in which rules compute: a conversion would read its operand."""
    return [TypedOnly(t.with_dtype(t.dtype.compute)) for t in types]


def _mark_read(values: Iterable[Any]) -> None:
    """Mark typed stand-ins as read if a cotangent of the derivative rule contains them."""
    for value in values:
        if isinstance(value, PartCotangent):
            _mark_read((value.value,))
        elif isinstance(value, Masked):
            _mark_read((value.condition, value.value))
        elif isinstance(value, TypedOnly):
            value.read = True
