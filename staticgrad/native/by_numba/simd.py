"""The kernel language inside Numba: its types, their models, the typing and lowering of its words.

One Numba type per vector, pointer and mask kind; int64 words, truths and floats stay Numba's own.
A word or operator has one definition, its :class:`Operation`: ``result`` is Numba's typing rule,
and what ``emit`` writes becomes part of the LLVM function that Numba builds. All of it stands in
registries of its own, which only :mod:`target` installs: Numba elsewhere stays as it is.
Importing this module imports Numba.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, errors, imputils, types
from numba.core.datamodel import models
from numba.core.datamodel.manager import DataModelManager
from numba.core.datamodel.registry import default_manager
from numba.core.typing import templates

from staticgrad.native.language import (
    lane_operations,  # noqa: F401  # these fill FUNCTIONS
    memory_operations,  # noqa: F401  # these fill FUNCTIONS
)
from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.frontend import accesses
from staticgrad.native.language.kinds import (
    NOTHING,
    REAL,
    TRUTH,
    WORD,
    Kind,
    Mask,
    Pointer,
    Scalar,
    Vector,
)
from staticgrad.native.language.operations import FUNCTIONS, OPERATORS, Operation


class SimdType(types.Type):
    """The Numba type of a vector, pointer or mask kind."""

    def __init__(self, kind: Vector | Pointer | Mask) -> None:
        super().__init__(name=kind.name)
        self.kind = kind


_NUMBA_TYPES: Final = {WORD: types.int64, REAL: types.float64, TRUTH: types.boolean}


def numba_type(kind: Kind) -> Any:
    """The Numba type of a kind's values."""
    if isinstance(kind, Scalar):
        return types.none if kind is NOTHING else _NUMBA_TYPES[kind]
    return SimdType(kind)


def kind_of(given: Any) -> Kind:
    """The kind that stands for a Numba type; a strange one gets a kind that no operation takes."""
    if isinstance(given, SimdType):
        return given.kind
    plain = types.unliteral(given)
    if isinstance(plain, types.Boolean):
        return TRUTH
    literal = isinstance(given, types.Literal)
    if isinstance(plain, types.Integer) and (literal or plain == types.int64):
        return WORD
    if isinstance(plain, types.Float):
        return REAL
    return Scalar(str(given), "")


def _passed_as(given: Any) -> Any:
    """The type as which a call takes an argument: literals stay literals, floats are doubles."""
    return types.float64 if isinstance(given, types.Float) else given


def llvm_type(text: str) -> Any:
    """The llvmlite type of an LLVM type as the operations spell it (``<16 x float>``)."""
    if text.startswith("<"):
        count, _, element = text[1:-1].partition(" x ")
        return ir.VectorType(llvm_type(element), int(count))
    if text.startswith("i"):
        return ir.IntType(int(text[1:]))
    plain = {"float": ir.FloatType, "double": ir.DoubleType, "void": ir.VoidType}
    return plain[text]() if text in plain else ir.IntType(8).as_pointer()


class _SimdModel(models.PrimitiveModel):
    """Held in registers and memory alike as the kind's LLVM type."""

    def __init__(self, manager: Any, given: SimdType) -> None:
        super().__init__(manager, given, llvm_type(given.kind.llvm))


def data_models() -> Any:
    """Numba's data models and ours, without a change to Numba's."""
    manager = DataModelManager().chain(default_manager)
    manager.register(SimdType, _SimdModel)
    return manager


class _Template(templates.AbstractTemplate):
    """Types one word or operator by its operation's rule."""

    prefer_literal = True
    operation: Operation
    shared: bool
    """True if Numba has its own meaning for the key, which holds for other types."""

    def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        if self.shared and not any(isinstance(item, SimdType) for item in args):
            return None
        if kws:
            raise errors.TypingError("calls take positional arguments only")
        kinds = tuple(kind_of(item) for item in args)
        result = self.operation.of(kinds)
        if result is None:
            raise errors.TypingError(self.operation.refusal(kinds))
        return templates.signature(numba_type(result), *map(_passed_as, args))


class _Written:
    """Lines of LLVM text in a block of llvmlite instructions."""

    def __init__(self, lines: list[str]) -> None:
        self.text = "\n".join(lines).strip()

    def __str__(self) -> str:
        return self.text


class _Result(ir.values.Value):
    """The llvmlite value of an operand that an operation wrote."""

    def __init__(self, kind: Any, text: str) -> None:
        self.type = kind
        self.text = text

    def get_reference(self) -> str:
        return self.text

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


_numbers = itertools.count()


def _lowering(operation: Operation) -> Callable[..., Any]:
    """Numba's lowering function of an operation."""

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = tuple(kind_of(item) for item in signature.args)
        pairs = zip(signature.args, values, strict=True)
        out = Emitter(context.kernel_target, f".sg{next(_numbers)}.")
        out.combined = builder.module.combined_masks
        try:
            given = operation.emit(out, kinds, tuple(_operand(*pair) for pair in pairs))
        except TypeError as error:
            raise errors.TypingError(str(error)) from error
        _write(builder, out)
        if signature.return_type == types.none:
            return context.get_dummy_value()
        made = context.get_value_type(signature.return_type)
        return _Result(made, given) if isinstance(given, str) else ir.Constant(made, given)

    return lower


def _operand(given: Any, value: Any) -> Operand:
    """A literal of the source as its number, anything else as LLVM text."""
    if isinstance(given, types.Literal):
        number: Operand = given.literal_value
        return number
    if isinstance(given, types.Float) and isinstance(value, ir.Constant):
        return float(value.constant)
    return str(value.get_reference())


def _write(builder: Any, out: Emitter) -> None:
    """Add the output of an operation to the function that Numba builds."""
    for name, (result, arguments) in out.externals.items():
        kind = ir.FunctionType(llvm_type(result), [llvm_type(text) for text in arguments])
        cgutils.get_or_insert_function(builder.module, kind, name)
    for name, part in {**out.parts, **accesses(out)}.items():
        if part.kind != "declaration":
            builder.module.parts[name] = part.text
    if out.scratch:
        with builder.goto_entry_block():
            builder._insert(_Written(out.scratch))
    if out.lines:
        builder._insert(_Written(out.lines))


_NUMBA_KEYS: Final[dict[Any, Operation]] = {
    bool: FUNCTIONS["bool"],
    operator.getitem: FUNCTIONS["getitem"],
    **{getattr(operator, name): operation for name, operation in OPERATORS.items()},
    **{
        getattr(operator, f"i{name.removesuffix('_')}"): operation
        for name, operation in OPERATORS.items()
        if hasattr(operator, f"i{name.removesuffix('_')}")
    },
}
"""Builtins and operators that Numba has too -> their meaning between our types."""

WORDS: Final = {
    name: operation for name, operation in FUNCTIONS.items() if name not in ("bool", "getitem")
}
"""The functions of the language that a source calls by name."""


def registries() -> tuple[Any, Any]:
    """The language for a typing context and for a target context."""
    typing, lowering = templates.Registry(), imputils.Registry("staticgrad")
    shared = [(key, operation, True) for key, operation in _NUMBA_KEYS.items()]
    own = [(operation, operation, False) for operation in WORDS.values()]
    for key, operation, known in [*shared, *own]:
        members = {"key": key, "operation": operation, "shared": known}
        template = type(f"{operation.name}_template", (_Template,), members)
        typing.register_global(key, types.Function(template))
        lower = _lowering(operation)
        for places in _argument_types(key, operation) if known else [(types.VarArg(types.Any),)]:
            lowering.lower(key, *places)(lower)
    return typing, lowering


def _argument_types(key: Any, operation: Operation) -> list[tuple[Any, ...]]:
    """Return the argument types with one of ours, for a key that Numba shares."""
    if key is bool or operation.name in ("neg", "invert"):
        return [(SimdType,)]
    return [(SimdType, types.Any), (types.Any, SimdType), (SimdType, SimdType)]
