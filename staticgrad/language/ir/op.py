"""The Op base class and the registry: one frozen dataclass per op, its fields are its attributes.

An op is read in different modes by its methods: ``infer`` on types, ``reference`` on arrays,
``scalar`` on one element, ``partials``/``vjp``/``jvp`` on values, ``form`` on memory. The base
gives for nothing: frozen fields, registration by name, equality by type and bits (0.0 is not -0.0,
True is not 1), and binding to whatever kind of value the operands are. The only ops here are those
that compute nothing: inputs, parameters, constants.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any, ClassVar, Final, Literal, dataclass_transform

import numpy.typing as npt

from staticgrad.errors import NameConflictError, OpDefinitionError, ShapeError
from staticgrad.errors.wording import quote
from staticgrad.language.calls.execution import (
    GRAPH_VALUES,
    SETTLED,
    present,
)
from staticgrad.language.calls.functional import load_functions
from staticgrad.language.ir.forms import Form, Leaf
from staticgrad.language.ir.kinds import AnyValue, ArrayLike, binding_kind
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ir.value import Value
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.arrays import BEYOND, MOST_SIZE, ArrayData, TensorType, array_of
from staticgrad.language.types.dim import Dim, Size, at_least, is_never_negative
from staticgrad.language.types.dtype import DType
from staticgrad.support.deprecations import adopt_overrides, deprecated_attribute
from staticgrad.support.records import Immutable, dataclass

#: An array of NumPy of any element type.
Array = npt.NDArray[Any]
_REGISTRY: dict[str, type[Op]] = {}
#: Class and attributes of an op, shapes and dtypes of operands -> types of the results.
_inferred: Final[dict[Any, tuple[TensorType, ...]]] = {}
_MOST_INFERRED: Final = 1 << 14


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True, eq=False, repr=False)
class Op(Immutable):
    """An operation with its attributes. Subclasses are frozen dataclasses.

    Class attributes:
        name: the registered name, ``family.op`` shortened to ``op`` for built-in ops, ``pkg.op``
            for ops from outside.
        exact: the compiled kernel and ``reference`` give the same bytes on every input; only
            exact ops are folded.
        differentiable: False for ops whose results carry no gradient (integers, comparisons).
        flops: floating-point operations per element of the result, for cost decisions.
        commutative: swapping two operands changes no bit (NaN payloads aside).
        kink: the value used where the derivative does not exist, in words; see ``sg.conventions``.
        keeps_dtype: the values depend on the bits of the dtype (random draws, bit casts), so that
            evaluation in float64 runs the op as declared and widens its result.
        rounds_once: the derivative rules make each cotangent and tangent by at most one operation
            that rounds, so that they take narrow floats as they are. Other rules compute in the
            compute dtype, and what they give is rounded at the end.
        rule_is_foreign: the derivative is a user's function, looked up by name: it is called for
            gradients only, and may read any operand.
        interval: where every element of the result lies, whatever the operands are.
        positive: whether true elements are positive, whatever they round to: "always", of finite
            operands, or "kept", where those of all operands are.
        reads_part: of linear ops whether the result is made of "all" elements of the first operand
            or of "some", so that the cotangent of the others is 0 whatever they are.
        copies: the elements of the result are those of the first operand, none left out.
        exchanges: the result comes from an exchange of the ranks of a job.
    """

    name: ClassVar[str] = ""
    names_messages: ClassVar[bool] = True  # those of helpers that its methods call
    exact: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    elementwise: ClassVar[bool] = False
    reads_part: ClassVar[str] = ""
    flops: ClassVar[int] = 1
    commutative: ClassVar[bool] = False
    kink: ClassVar[str] = ""
    keeps_dtype: ClassVar[bool] = False
    rounds_once: ClassVar[bool] = False
    rule_is_foreign: ClassVar[bool] = False
    interval: ClassVar[Range | None] = None
    positive: ClassVar[Literal["", "always", "kept"]] = ""
    copies: ClassVar[bool] = False
    exchanges: ClassVar[bool] = False
    _fields: ClassVar[tuple[tuple[str, Any], ...]] = ()  # (name, default)
    #: Whether inferred types are stored: ``prepare`` is the package's, which converts operands by
    #: their types alone, and no attribute is a graph, which the store would keep.
    _stores_types: ClassVar[bool] = True

    batched = deprecated_attribute("0.2", "batching_rule")
    counted = deprecated_attribute("0.2", "operand_masks")

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        adopt_overrides(cls)
        # Most ops declare no field of their own: what they inherit serves, and import is quicker.
        if cls.__annotations__ or "__post_init__" in cls.__dict__:
            dataclass(frozen=True, eq=False, repr=False)(cls)
            cls._fields = tuple((field.name, field.default) for field in fields(cls))
        of_package = cls.prepare.__module__.startswith("staticgrad.")
        cls._stores_types = of_package and not hasattr(cls, "bodies")
        if "vjp" in cls.__dict__ and "cotangents" not in cls.__dict__:
            cls.cotangents = Op.cotangents  # type: ignore[method-assign]  # the rule defined last
        if name:
            if "." not in name and not cls.__module__.startswith("staticgrad."):
                load_functions()  # a built-in op may have the name
            registered = _REGISTRY.get(
                name, cls
            )  # a cell run or a module loaded again defines it anew
            if (registered.__module__, registered.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                place = f"{registered.__module__}.{registered.__qualname__}"
                raise NameConflictError(
                    f"an op named {name!r} exists already: {place}",
                    hint='an op from outside has its package in its name: name="package.op"',
                )
            cls.name = name
            _REGISTRY[name] = cls

    # -- readings; a concrete op overrides those that make sense for it ---------------------------

    def infer(self, *types: Any) -> TensorType | tuple[TensorType, ...]:
        """Types in, type out. Raises errors in the user's terms; may note guards on sizes."""
        raise self._missing_rule("its result type", "infer(self, *types)")

    def reference(self, *arrays: Any) -> Any:
        """The meaning, in NumPy: arrays in, array (or tuple of arrays) out."""
        raise self._missing_rule("what it computes", "reference(self, *arrays)")

    def eager(self, *arrays: Any) -> Any:
        """Return what eager tensors compute: ``reference`` by default.

        An op overrides it where NumPy has a much faster form of the same function: another order
        of adding up, say, or a view where the reference gathers.
        """
        return self.reference(*arrays)

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """Return the vjp of the op: one cotangent per operand (None: no gradient), from the
        result's.
        """
        for cls in type(self).__mro__:
            rule = vars(cls).get("cotangents", Op.cotangents)
            if rule is not Op.cotangents:
                return tuple(rule(self, ct, out, args, (True,) * len(args)))
        if self.differentiable:
            raise self._missing_rule("its derivative", "vjp(self, ct, out, *args)")
        return (None,) * len(args)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Return cotangents as ``vjp``; override it to skip operands that are not ``needed``."""
        return self.vjp(ct, out, *args)

    def is_gram(self, args: Sequence[Any], apart: Container[Any] = ()) -> bool:
        """Return whether the result is the product of a matrix, transposed, with itself.

        Then the second operand with the cotangent ``ct + ct.T`` has the shares of both. A value
        whose key is in ``apart`` counts as a matrix of its own.
        """
        return False

    @property
    def has_rule(self) -> bool:
        """Return whether ``vjp`` or ``cotangents`` gives the derivative, or says it has none."""
        rules = (type(self).vjp, type(self).cotangents)
        return not self.differentiable or rules != (Op.vjp, Op.cotangents)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """The results over a batch, with an axis of ``size`` in front, of which ``vmap`` is made.

        Operands that ``over`` marks have that axis in front, too; one at least has. None: there is
        no rule but a loop over the batch.
        """
        return None

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """Return how the op accesses memory."""
        raise self._missing_rule("how it touches memory", "form(self, out, *types)")

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        """Return the range of the only result; ``of`` gives the range of an operand.

        None: nothing is known but what the element type says.
        """
        return self.interval

    def source(self, *args: Any) -> Value | None:
        """The operand whose elements the result holds, shifted to other places or cut to finite."""
        return args[0] if self.copies else None

    def contained_in(self) -> Sequence[tuple[Op, int]]:
        """Return ops that have the only result among theirs, of the same operands, and which it is.

        Equal but for rounding: the other op computes it by another algorithm.
        """
        return ()

    def operand_masks(self, mask: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """Return which elements of each operand count, given the ``mask`` of the result's.

        Masks are values of bools, or True for all elements, or False for none.
        """
        return (True,) * len(args)

    @property
    def draws_by_rank(self) -> bool:
        """Return whether it draws numbers that differ between ranks."""
        return False

    def definition(self) -> tuple[Any, ...] | None:
        """A function and its arguments, which define what the op names in another process, if that
        is the user's code.
        """
        return None

    def prepare(self, *args: Any) -> tuple[Value, ...]:
        """Operands as values of one kind, scalars and arrays lifted. Families promote here."""
        return lift_all(args)

    def _missing_rule(self, what: str, method: str) -> OpDefinitionError:
        kind = type(self).__name__
        return OpDefinitionError(
            f"op {self.name or kind} does not say {what}: {method} is missing",
            hint=f"class {kind}: def {method}; an Elementwise op has most of it from scalar",
        )

    # -- given by the base ------------------------------------------------------------------------

    def __call__(self, *args: ArrayLike[AnyValue]) -> AnyValue:
        """Bind the op to operands: a new node, an eager result, or a pattern, as they are.

        An op of several results gives a tuple of them.
        """
        operands: tuple[Any, ...] = args
        if not args or not GRAPH_VALUES.issuperset(map(type, args)):
            settled = SETTLED.issuperset(map(type, args))
            operands = self.prepare(*(args if settled else present(args)))
            if not operands or not GRAPH_VALUES.issuperset(map(type, operands)):
                return binding_kind(operands).bind(self, operands)  # type: ignore[no-any-return]
        parts: list[Any] = [self.__class__, *self.__dict__.values()]
        for operand in operands:
            signature = operand.node.types[operand.index].signature
            if signature is None:
                break
            parts.append(signature)
        else:
            key = tuple(parts)
            try:
                inferred = _inferred.get(key)
            except TypeError:  # an attribute of an op from outside that cannot be hashed
                inferred = key = None
            if inferred is not None:
                result: AnyValue = operands[0].bind_types(self, operands, inferred)
                return result
            if key is not None and self._stores_types:
                return self._bind_first(operands, key)  # type: ignore[no-any-return]
        if operands is args:
            operands = self.prepare(*operands)
        return binding_kind(operands).bind(self, operands)  # type: ignore[no-any-return]

    def _bind_first(self, args: tuple[Any, ...], key: Any) -> Any:
        """Bind the op to values of a graph, and store under ``key`` the types that it infers.

        They hold for later operands of the same types where ``prepare`` leaves these unchanged, and
        where no size has a name: inference notes guards on named sizes.
        """
        operands = self.prepare(*args)
        result = binding_kind(operands).bind(self, operands)
        first = result[0] if isinstance(result, tuple) and result else result
        node = getattr(first, "node", None)
        if (
            node is not None
            and node.op is self
            and list(map(id, operands)) == list(map(id, args))
            and all(t.signature for t in node.types)
            and not self.sizes()
        ):
            if len(_inferred) >= _MOST_INFERRED:
                _inferred.clear()
            _inferred[key] = node.types
        return result

    def attributes(self) -> Iterator[tuple[str, Any]]:
        """Fields that differ from their default, in declaration order."""
        for name, default in self._fields:
            value = getattr(self, name)
            if default is MISSING or _key(value) != _key(default):
                yield name, value

    def sizes(self) -> Iterable[Dim]:
        """The symbolic sizes among the attributes."""
        if not self._fields:  # most ops of a graph
            return ()
        values = [getattr(self, name) for name, _ in self._fields]
        tuples = [value if isinstance(value, tuple) else (value,) for value in values]
        return [size for value in tuples for size in value if isinstance(size, Dim)]

    @property
    def key(self) -> tuple[Any, ...]:
        """Hashable identity: name and every attribute by type and bits."""
        cached: tuple[Any, ...] | None = self.__dict__.get("_key")
        if cached is None:
            cached = (self.name, *[_key(getattr(self, name)) for name, _ in self._fields])
            object.__setattr__(self, "_key", cached)
        return cached

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_key"}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.attributes())})"


def _key(value: Any) -> Any:
    """Return a hashable key of an op's attribute, by which equal ops are one (floats by bits)."""
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    if isinstance(value, float):
        return ("f", struct.pack("<d", value))
    if isinstance(value, DType | Dim | ArrayData | TensorType | str) or value is None:
        return value
    computation = getattr(value, "computation", None)
    if computation is not None:  # a graph: nodes are compared by identity, bodies by what they do
        return computation
    return (type(value).__name__, value)


def result_types(op: Op, types: Sequence[TensorType]) -> TensorType | tuple[TensorType, ...]:
    """Return the result types that an op infers from its operands' types, as a tuple.

    Every size of the result is between 0 and ``MOST_SIZE``, and so is the product of those that are
    numbers. A named size that may be negative for
    some values is noted as a guard, unless it is the size of an operand, which was noted there.
    """
    inferred = op.infer(*types)
    for operand_type in types:
        if inferred is operand_type:  # its sizes were checked there
            return inferred
    for result_type in inferred if isinstance(inferred, tuple) else (inferred,):
        if isinstance(result_type, TensorType):  # ops from outside may infer anything
            count = 1
            for size in result_type.shape:
                if size.__class__ is int:
                    if 0 <= size <= MOST_SIZE:
                        count *= size
                        continue
                    if size < 0:
                        raise ShapeError(f"{op.name}: the size {size} is negative")
                    raise ShapeError(f"{op.name}: an axis of size {quote(size)}: {BEYOND}")
                if not is_never_negative(size) and not any(
                    size in operand_type.shape for operand_type in types
                ):
                    text = f"{op.name}: the size {size} is negative"
                    if not at_least(size, 0, text):
                        raise ShapeError(text)
            if count > MOST_SIZE:
                text = f"{op.name}: {result_type} has {float(count):.3g} elements"
                raise ShapeError(f"{text}: a value has less than 2**63")
    return inferred


def map_attributes(op: Op, change: Callable[[Any], Any]) -> Op:
    """Return an op with ``change`` applied to each dtype, size, number and graph that it has.

    What ``change`` returns as it is stays the same object, and so does the op.
    """
    changed = {}
    for name in op.__dataclass_fields__:
        attribute = getattr(op, name)
        changed_attribute = _map_leaves(attribute, change)
        if changed_attribute is not attribute:
            changed[name] = changed_attribute
    return replace(op, **changed) if changed else op


def _map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply a function to the leaves of an op's attribute."""
    if isinstance(value, TensorType):
        dtype, shape = change(value.dtype), _map_leaves(value.shape, change)
        same = dtype is value.dtype and shape is value.shape
        return value if same else TensorType(dtype, shape)
    if isinstance(value, tuple):
        mapped = tuple(_map_leaves(item, change) for item in value)
        return value if all(a is b for a, b in zip(mapped, value, strict=True)) else mapped
    return change(value)


def op_class(name: str) -> type[Op]:
    """Return the class registered under ``name``."""
    return _REGISTRY[name]


def registered_ops() -> dict[str, type[Op]]:
    """Every registered op class by name, sorted: the built-in ones, and those defined elsewhere."""
    load_functions()
    return dict(sorted(_REGISTRY.items()))


def lift_all(args: tuple[Any, ...], like: DType | None = None) -> tuple[Any, ...]:
    """Every operand as a Value of the kind of the others; arrays and scalars become constants."""
    for arg in args:
        if not isinstance(arg, Value):
            kind = binding_kind(args)
            return tuple([a if isinstance(a, Value) else kind.lift(a, like) for a in args])
    return args


def as_array(data: object, what: str = "the operand") -> Array:
    """``data`` as a plain array in native byte order (no copy where it is one)."""
    array = array_of(data, what)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


class _LeafOp(Op):
    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Leaf()


class Input(_LeafOp, name="input"):
    """A value fed at each run."""

    label: str
    type: TensorType
    is_complex: bool = False  # real and imaginary parts along the last axis

    def infer(self) -> TensorType:
        return self.type


class ParameterLeaf(_LeafOp, name="parameter"):
    """The current value of a parameter; compared by the identity of its store."""

    store: ParameterStore

    @property
    def label(self) -> str:
        return self.store.name

    @property
    def key(self) -> tuple[Any, ...]:
        return ("parameter", id(self.store))

    def infer(self) -> TensorType:
        return self.store.type


class Constant(_LeafOp, name="constant"):
    """Array data known at build time."""

    exact = True
    data: ArrayData

    def infer(self) -> TensorType:
        return self.data.type

    def reference(self) -> Any:
        return self.data.array
