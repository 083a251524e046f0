"""Numba IR of a kernel-language function -> text of one LLVM function.

Numba reads the bytecode; kinds are then found by one forward walk (every variable has one kind,
no promotion), and each operation writes its own IR. Variables that cross blocks live in stack
slots, which LLVM turns into registers. Numba's own typing and lowering are not used: no
environments, no exceptions, no reference counts, one LLVM block per IR block.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from staticgrad.native import cast_operations, lane_operations, memory_operations
from staticgrad.native.emitter import Emitter, Operand, word
from staticgrad.native.kinds import (
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
from staticgrad.native.operations import FUNCTIONS, OPERATORS, Operation

ITERATOR = Scalar("iterator", "iterator")
PAIR = Scalar("pair", "pair")
FUNCTION = Scalar("function", "function")

_NAMES_BY_OPERATOR: dict[object, str] = {
    getattr(operator, name): name for name in OPERATORS if hasattr(operator, name)
}
REGISTERED = (cast_operations, lane_operations, memory_operations)
"""The modules whose import fills FUNCTIONS."""


_TIMELESS = (REAL, RANGE, ITERATOR, PAIR, FUNCTION, NOTHING)
"""Kinds that exist while compiling only."""


class KernelSourceError(TypeError):
    """A kernel's source uses the language wrongly; the message names the line and the kinds."""


@dataclass(frozen=True)
class Bound:
    """What a variable stands for: its kind and its operand (or the parts of a range)."""

    kind: Kind
    value: Any


@dataclass(frozen=True)
class Lowered:
    """A function's text, the kind it returns, and what else its module must hold."""

    symbol: str
    result: Kind
    body: str
    declarations: frozenset[str]
    callees: tuple[tuple[str, str], ...]


class Helper:
    """A helper function of the source, compiled per argument kinds on first use."""

    def __init__(self, lower: Callable[[tuple[Kind, ...]], Lowered]) -> None:
        self.lower = lower


class FunctionLowering:
    """Walks the Numba IR of one function."""

    def __init__(self, function_ir: Any, kinds: tuple[Kind, ...], names: tuple[str, ...]) -> None:
        self.ir = function_ir
        self.out = Emitter()
        self.arguments = [
            Bound(kind, f"%a.{name}") for kind, name in zip(kinds, names, strict=True)
        ]
        self.definitions = _definition_counts(function_ir)
        self.first = min(function_ir.blocks)
        self.lasting: dict[str, Bound] = {}
        """Names that are assigned once, where every later block can see them."""
        self.slots: dict[str, Bound] = {}
        """Names that live on the stack: kind and place."""
        self.local: dict[str, Bound] = {}
        """What names stand for in the block being lowered."""
        self.result: Kind | None = None
        self.blocks: dict[int, list[str]] = {}
        self.label = self.first
        self.line = 0

    def run(self, symbol: str, linkage: str) -> Lowered:
        """Lowers every block in the order of the labels, which is the order of the source."""
        for label in sorted(self.ir.blocks):
            self.label = label
            self.out.lines = []
            self.local = {}
            for statement in self.ir.blocks[label].body:
                self.line = statement.loc.line
                self._statement(statement)
            self.blocks[label] = self.out.lines
        result = self.result or NOTHING
        attributes = "#0" if not linkage else "alwaysinline #0"
        arguments = ", ".join(f"{bound.kind.llvm} {bound.value}" for bound in self.arguments)
        head = f"define {linkage}{result.llvm} @{symbol}({arguments}) {attributes} {{"
        lines = [head, "entry:", *self.out.scratch, f"  br label %b{self.first}"]
        for label, body in self.blocks.items():
            lines += [f"b{label}:", *body]
        lines.append("}")
        return Lowered(
            symbol,
            result,
            "\n".join(lines),
            frozenset(self.out.declarations),
            tuple(self.out.callees.items()),
        )

    def _fail(self, message: str) -> KernelSourceError:
        return KernelSourceError(f"kernel source line {self.line}: {message}")

    def _use(self, name: str) -> Bound:
        found = self.local.get(name) or self.lasting.get(name)
        if found is not None:
            return found
        slot = self.slots.get(name)
        if slot is None:
            raise self._fail(f"{name} is used before it is assigned")
        loaded = self.out.do(f"load {slot.kind.llvm}, ptr {slot.value}, align 1")
        self.local[name] = Bound(slot.kind, loaded)
        return self.local[name]

    def _bind(self, name: str, value: Bound) -> None:
        """Assigns a name. It needs a slot unless it is set once and seen from where it is set."""
        self.local[name] = value
        once = self.definitions[name] == 1
        if once and (
            self.label == self.first or value.kind in _TIMELESS or name.startswith("$phi")
        ):
            self.lasting[name] = value
        elif not once or not name.startswith("$"):
            self._store(name, value)

    def _store(self, name: str, value: Bound) -> None:
        slot = self.slots.get(name)
        if slot is None:
            if value.kind in _TIMELESS:
                raise self._fail(f"{name}: a {value.kind.name} cannot be reassigned")
            slot = self.slots[name] = Bound(value.kind, self.out.slot(value.kind.llvm))
        if slot.kind != value.kind:
            raise self._fail(f"{name} is {slot.kind.name} and becomes {value.kind.name}")
        self.out.effect(f"store {slot.kind.llvm} {_text(value)}, ptr {slot.value}, align 1")

    def _statement(self, statement: Any) -> None:
        match type(statement).__name__:
            case "Assign":
                self._assign(statement)
            case "Branch":
                condition = self._use(statement.cond.name)
                bit = self._call(FUNCTIONS["bool"], [condition])
                self.out.effect(
                    f"br i1 {_text(bit)}, label %b{statement.truebr}, label %b{statement.falsebr}"
                )
            case "Jump":
                self.out.effect(f"br label %b{statement.target}")
            case "Return":
                self._return(self._use(statement.value.name))
            case "Del" | "PopBlock":
                return
            case other:
                raise self._fail(f"{other} is not part of the kernel language")

    def _return(self, value: Bound) -> None:
        if self.result is not None and self.result != value.kind:
            raise self._fail(f"returns both {self.result.name} and {value.kind.name}")
        self.result = value.kind
        if value.kind is NOTHING:
            self.out.effect("ret void")
        else:
            self.out.effect(f"ret {value.kind.llvm} {_text(value)}")

    def _assign(self, statement: Any) -> None:
        source = statement.value
        match type(source).__name__:
            case "Var":
                value = self._use(source.name)
            case "Arg":
                value = self.arguments[source.index]
            case "Const" | "Global" | "FreeVar":
                value = self._literal(source.value)
            case "Expr":
                value = self._expression(source)
            case other:
                raise self._fail(f"{other} is not part of the kernel language")
        self._bind(statement.target.name, value)

    def _literal(self, value: object) -> Bound:
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
        raise self._fail(f"{value!r} is not part of the kernel language")

    def _expression(self, expression: Any) -> Bound:
        match expression.op:
            case "call":
                return self._source_call(expression)
            case "binop":
                return self._operator(expression.fn, expression.lhs, expression.rhs)
            case "inplace_binop":
                return self._operator(expression.immutable_fn, expression.lhs, expression.rhs)
            case "unary":
                return self._unary(expression)
            case "getitem":
                index = self._use(expression.index.name)
                return self._call(FUNCTIONS["getitem"], [self._use(expression.value.name), index])
            case "static_getitem":
                index = Bound(WORD, expression.index)
                return self._call(FUNCTIONS["getitem"], [self._use(expression.value.name), index])
            case "cast":
                return self._use(expression.value.name)
            case "getiter" | "iternext" | "pair_first" | "pair_second":
                return self._iteration(expression.op, self._use(expression.value.name))
            case other:
                raise self._fail(f"{other} is not part of the kernel language")

    def _source_call(self, expression: Any) -> Bound:
        target = self._use(expression.func.name).value
        if expression.kws or expression.vararg is not None:
            raise self._fail("calls take positional arguments only")
        arguments = [self._use(argument.name) for argument in expression.args]
        if target is range:
            return self._range(arguments)
        if isinstance(target, Helper):
            return self._helper_call(target, arguments)
        return self._call(target, arguments)

    def _call(self, operation: Operation, arguments: list[Bound]) -> Bound:
        kinds = tuple(argument.kind for argument in arguments)
        try:
            result = operation.result(*kinds)
        except TypeError:
            result = None
        if result is None:
            given = ", ".join(kind.name for kind in kinds)
            raise self._fail(f"{operation.name} does not take ({given})")
        try:
            value = operation.emit(self.out, kinds, tuple(argument.value for argument in arguments))
        except TypeError as error:
            raise self._fail(str(error)) from error
        return Bound(result, value)

    def _helper_call(self, helper: Helper, arguments: list[Bound]) -> Bound:
        kinds = tuple(argument.kind for argument in arguments)
        lowered = helper.lower(kinds)
        self.out.declarations |= lowered.declarations
        self.out.callees.update(lowered.callees)
        self.out.callees[lowered.symbol] = lowered.body
        passed = ", ".join(f"{item.kind.llvm} {_text(item)}" for item in arguments)
        call = f"call {lowered.result.llvm} @{lowered.symbol}({passed})"
        if lowered.result is NOTHING:
            self.out.effect(call)
            return Bound(NOTHING, "")
        return Bound(lowered.result, self.out.do(call))

    def _operator(self, function: object, left: Any, right: Any) -> Bound:
        name = _NAMES_BY_OPERATOR.get(function)
        if name is None:
            raise self._fail(f"operator {function!r} is not part of the kernel language")
        return self._call(OPERATORS[name], [self._use(left.name), self._use(right.name)])

    def _unary(self, expression: Any) -> Bound:
        operand = self._use(expression.value.name)
        function: Any = expression.fn
        if function is operator.pos:
            return operand
        if isinstance(operand.value, int | float) and function is operator.neg:
            return Bound(operand.kind, -operand.value)
        if function is operator.not_:
            bit = self._call(FUNCTIONS["bool"], [operand])
            if isinstance(bit.value, bool):
                return Bound(TRUTH, not bit.value)
            return Bound(TRUTH, self.out.do(f"xor i1 {bit.value}, true"))
        name = _NAMES_BY_OPERATOR[function]
        return self._call(OPERATORS[name], [operand])

    def _range(self, arguments: list[Bound]) -> Bound:
        if not 1 <= len(arguments) <= 3 or any(item.kind is not WORD for item in arguments):
            raise self._fail("range takes one to three int64 words")
        values: list[Operand] = [item.value for item in arguments]
        start, stop, step = {
            1: lambda: (0, values[0], 1),
            2: lambda: (values[0], values[1], 1),
            3: lambda: tuple(values),
        }[len(values)]()
        if step == 0:
            raise self._fail("a range's step must not be zero")
        return Bound(RANGE, (start, stop, step))

    def _iteration(self, stage: str, operand: Bound) -> Bound:
        """A counter on the stack per loop; LLVM turns it into a register."""
        if stage == "getiter":
            if operand.kind is not RANGE:
                raise self._fail("for loops run over range(...)")
            start, stop, step = operand.value
            slot = self.out.slot("i64")
            self.out.effect(f"store i64 {word(start)}, ptr {slot}, align 8")
            return Bound(ITERATOR, (slot, stop, step))
        if stage == "iternext":
            slot, stop, step = operand.value
            current = self.out.do(f"load i64, ptr {slot}, align 8")
            down = isinstance(step, int) and step < 0
            inside = self.out.do(f"icmp {'sgt' if down else 'slt'} i64 {current}, {word(stop)}")
            following = self.out.do(f"add i64 {current}, {word(step)}")
            self.out.effect(f"store i64 {following}, ptr {slot}, align 8")
            return Bound(PAIR, (current, inside))
        if stage == "pair_first":
            return Bound(WORD, operand.value[0])
        return Bound(TRUTH, operand.value[1])


def _definition_counts(function_ir: Any) -> Counter[str]:
    return Counter(
        statement.target.name
        for block in function_ir.blocks.values()
        for statement in block.body
        if type(statement).__name__ == "Assign"
    )


def _text(value: Bound) -> str:
    """The LLVM text of an operand; literals of the source become constants."""
    if isinstance(value.value, bool):
        return str(value.value).lower()
    return word(value.value)


def argument_name(kind: Kind, index: int) -> str:
    """A parameter's name in the text."""
    stem = "v" if isinstance(kind, Vector) else "p" if isinstance(kind, Pointer) else "w"
    return f"{stem}{index}"
