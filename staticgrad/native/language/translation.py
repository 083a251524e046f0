"""A function being translated: kinds of values, calls, literals, the text's frame.

:mod:`syntax_reader` walks the syntax tree, :mod:`joins` knows what variables stand for; this base
finds the kinds by one forward walk (every variable has one kind, no promotion) and writes LLVM IR
through the operations. No environments, no exceptions, no reference counts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from staticgrad.native.constants import OUTLINED, SHARED
from staticgrad.native.language import (
    call_operations,
    cast_operations,
    lane_loads,
    lane_operations,
    memory_operations,
    streamed_memory,
    strided_memory,
)
from staticgrad.native.language.emitter import Emitter, External, word
from staticgrad.native.language.kinds import (
    NOTHING,
    RANGE,
    REAL,
    TRUTH,
    WORD,
    Kind,
    Pointer,
    Scalar,
    Vector,
)
from staticgrad.native.language.operations import FUNCTIONS, OPERATORS, Operation
from staticgrad.records import NamedTuple, dataclass

FUNCTION = Scalar("function", "function")
TIMELESS = (RANGE, FUNCTION, NOTHING)
"""Kinds that exist while compiling only."""
ALIGNED = '"stackrealign"'
"""Has registers that a kernel keeps on its stack lie within lines of the cache.

Callers promise 16 bytes, and LLVM takes no more for what registers have no room for: a vector on
two lines is stored and loaded in twice the time, in some threads and not in others.
"""

REGISTERED = (
    call_operations,
    cast_operations,
    lane_loads,
    lane_operations,
    memory_operations,
    streamed_memory,
    strided_memory,
)
"""The modules whose import fills FUNCTIONS."""


class KernelSourceError(TypeError):
    """A kernel's source uses the language wrongly; the message names the line and the kinds."""


class Bound(NamedTuple):
    """What a variable stands for: its kind and its operand (or the parts of a range)."""

    kind: Kind
    value: Any


@dataclass(frozen=True)
class Translated:
    """A function's text, the kind it returns, and what else its module must hold."""

    symbol: str
    result: Kind
    body: str
    externals: dict[str, External]
    callees: tuple[tuple[str, str], ...]


class Helper:
    """A helper function of the source, compiled per argument kinds on first use."""

    def __init__(self, lower: Callable[[tuple[Kind, ...]], Translated]) -> None:
        self.lower = lower


class FunctionTranslation:
    """One function being translated."""

    def __init__(self, kinds: tuple[Kind, ...], names: tuple[str, ...]) -> None:
        self.out = Emitter()
        self.arguments = [
            Bound(kind, f"%a.{name}") for kind, name in zip(kinds, names, strict=True)
        ]
        self.result: Kind | None = None
        self.line = 0

    def framed(self, symbol: str, linkage: str) -> Translated:
        """The function around the lines written so far, which begin in its block ``entry``."""
        result = self.result or NOTHING
        inline = "noinline" if symbol.startswith((OUTLINED, SHARED)) else "alwaysinline"
        attributes = f"{inline} #0" if linkage else f"#0 {ALIGNED}"
        arguments = ", ".join(f"{bound.kind.llvm} {bound.value}" for bound in self.arguments)
        head = f"define {linkage}{result.llvm} @{symbol}({arguments}) {attributes} {{"
        lines = [head, "entry:", *self.out.scratch, *self.out.lines, "}"]
        return Translated(
            symbol,
            result,
            "\n".join(lines),
            dict(self.out.externals),
            tuple(self.out.callees.items()),
        )

    def failure(self, message: str) -> KernelSourceError:
        """The error for the line that is being read."""
        return KernelSourceError(f"kernel source line {self.line}: {message}")

    def give(self, value: Bound) -> None:
        """Ends the function with a result."""
        if self.result is not None and self.result != value.kind:
            raise self.failure(f"returns both {self.result.name} and {value.kind.name}")
        self.result = value.kind
        if value.kind is NOTHING:
            self.out.effect("ret void")
        else:
            self.out.effect(f"ret {value.kind.llvm} {text_of(value)}")

    def truth(self, value: Bound) -> str:
        """An i1 operand."""
        return text_of(self.call(FUNCTIONS["bool"], [value]))

    def literal(self, value: object) -> Bound:
        """What stands for itself in a source."""
        if value is None:
            return Bound(NOTHING, "")
        if isinstance(value, bool):
            return Bound(TRUTH, value)
        if isinstance(value, int):
            return Bound(WORD, value)
        if isinstance(value, float):
            return Bound(REAL, value)
        if isinstance(value, Operation | Helper) or value is range:
            return Bound(FUNCTION, value)
        if value is bool:
            return Bound(FUNCTION, FUNCTIONS["bool"])
        raise self.failure(f"{value!r} is not part of the kernel language")

    def named_call(self, target: object, arguments: Sequence[Bound]) -> Bound:
        """A call of ``range``, a helper or a function of the language."""
        if target is range:
            return self._range(arguments)
        if isinstance(target, Helper):
            return self._helper_call(target, arguments)
        if isinstance(target, Operation):
            return self.call(target, arguments)
        raise self.failure("only functions of the language and helpers are called")

    def call(self, operation: Operation, arguments: Sequence[Bound]) -> Bound:
        """An operation of the language over values."""
        kinds, values = zip(*arguments, strict=True) if arguments else ((), ())
        result = operation.of(kinds)
        if result is None:
            raise self.failure(operation.refusal(kinds))
        try:
            value = operation.emit(self.out, kinds, values)
        except TypeError as error:
            raise self.failure(str(error)) from error
        return tuple.__new__(Bound, (result, value))  # as ``Bound`` makes it, in half of the time

    def _helper_call(self, helper: Helper, arguments: Sequence[Bound]) -> Bound:
        kinds = tuple(argument.kind for argument in arguments)
        lowered = helper.lower(kinds)
        self.out.externals.update(lowered.externals)
        self.out.callees.update(lowered.callees)
        self.out.callees[lowered.symbol] = lowered.body
        passed = ", ".join(f"{item.kind.llvm} {text_of(item)}" for item in arguments)
        call = f"call {lowered.result.llvm} @{lowered.symbol}({passed})"
        if lowered.result is NOTHING:
            self.out.effect(call)
            return Bound(NOTHING, "")
        return Bound(lowered.result, self.out.read(call))

    def unary(self, name: str, operand: Bound) -> Bound:
        """``neg``, ``pos``, ``not_`` or ``invert`` of a value; literals fold."""
        if name == "pos":
            return operand
        if name == "neg" and isinstance(operand.value, int | float):
            return Bound(operand.kind, -operand.value)
        if name == "not_":
            bit = self.call(FUNCTIONS["bool"], [operand])
            if isinstance(bit.value, bool):
                return Bound(TRUTH, not bit.value)
            return Bound(TRUTH, self.out.do(f"xor i1 {bit.value}, true"))
        return self.call(OPERATORS[name], [operand])

    def _range(self, arguments: Sequence[Bound]) -> Bound:
        if not 1 <= len(arguments) <= 3 or any(item.kind is not WORD for item in arguments):
            raise self.failure("range takes one to three int64 words")
        values = [item.value for item in arguments]
        start = values[0] if len(values) > 1 else 0
        stop = values[min(1, len(values) - 1)]
        step = values[2] if len(values) > 2 else 1
        if step == 0:
            raise self.failure("a range's step must not be zero")
        return Bound(RANGE, (start, stop, step))


def text_of(value: Bound) -> str:
    """The LLVM text of an operand; literals of the source become constants."""
    if isinstance(value.value, bool):
        return str(value.value).lower()
    if isinstance(value.value, float):
        return f"0x{struct.unpack('<Q', struct.pack('<d', value.value))[0]:016X}"
    return word(value.value)


def argument_name(kind: Kind, index: int) -> str:
    """A parameter's name in the text."""
    stem = "v" if isinstance(kind, Vector) else "p" if isinstance(kind, Pointer) else "w"
    return f"{stem}{index}"
