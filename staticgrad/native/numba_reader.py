"""Numba's reading of a kernel source: bytecode -> Numba IR -> LLVM IR text.

Numba is imported on first use and reads the bytecode; its own typing and lowering are not used.
One LLVM block per block of Numba's IR.
"""

from __future__ import annotations

import functools
import operator
import types
from collections import Counter
from typing import Any

from staticgrad.native.kinds import TRUTH, WORD, Kind, Scalar
from staticgrad.native.lowering import (
    TIMELESS,
    Bound,
    FunctionLowering,
    KernelSourceError,
    Lowered,
)
from staticgrad.native.operations import FUNCTIONS, OPERATORS

ITERATOR = Scalar("iterator", "iterator")
PAIR = Scalar("pair", "pair")
_UNSTORED = (*TIMELESS, ITERATOR, PAIR)

_NAMES_BY_OPERATOR: dict[object, str] = {
    getattr(operator, name): name for name in (*OPERATORS, "pos", "not_")
}


class _Numba:
    """The parts of Numba that read bytecode."""

    def __init__(self) -> None:
        from numba.core import bytecode, interpreter

        class Reader(interpreter.Interpreter):
            """Without the rewrites for dicts, tuples and with-blocks, a third of the time."""

            def post_process(self, peepholes: object, func_ir: Any) -> Any:
                return func_ir

        self.bytecode = bytecode
        self.reader = Reader

    def read(self, function: types.FunctionType) -> Any:
        """A Python function as Numba IR."""
        try:
            identity = self.bytecode.FunctionIdentity.from_function(function)
            code = self.bytecode.ByteCode(func_id=identity)
            return self.reader(identity).interpret(code)
        except Exception as error:  # Numba raises many kinds; none may reach a user
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise KernelSourceError(f"{function.__name__} cannot be read: {reason}") from None


@functools.cache
def _numba() -> _Numba:
    return _Numba()


class NumbaReader(FunctionLowering):
    """Walks the Numba IR of one function."""

    def __init__(
        self, function: types.FunctionType, kinds: tuple[Kind, ...], names: tuple[str, ...]
    ) -> None:
        super().__init__(kinds, names)
        self.ir = _numba().read(function)
        self.visible = {*function.__globals__, "range"}
        self.definitions = _definition_counts(self.ir)
        self.first = min(self.ir.blocks)
        self.label = self.first

    def run(self, symbol: str, linkage: str) -> Lowered:
        """Lowers every block in the order of the labels, which is the order of the source."""
        for label in sorted(self.ir.blocks):
            self.label = label
            self.block(f"b{label}")
            for statement in self.ir.blocks[label].body:
                self.line = statement.loc.line
                self._statement(statement)
        return self.framed(symbol, linkage, f"b{self.first}")

    def _bind(self, name: str, value: Bound) -> None:
        """Assigns a name. It needs a slot unless it is set once and seen from where it is set."""
        self.local[name] = value
        once = self.definitions[name] == 1
        seen = self.label == self.first or value.kind in _UNSTORED or name.startswith("$phi")
        if once and seen:
            self.lasting[name] = value
        elif not once or not name.startswith("$"):
            self._store(name, value)

    def _statement(self, statement: Any) -> None:
        match type(statement).__name__:
            case "Assign":
                self._assign(statement)
            case "Branch":
                bit = self._truth(self._use(statement.cond.name))
                self.out.effect(
                    f"br i1 {bit}, label %b{statement.truebr}, label %b{statement.falsebr}"
                )
            case "Jump":
                self.out.effect(f"br label %b{statement.target}")
            case "Return":
                self._return(self._use(statement.value.name))
            case "Del" | "PopBlock":
                return
            case other:
                raise self._fail(f"{other} is not part of the kernel language")

    def _assign(self, statement: Any) -> None:
        source = statement.value
        match type(source).__name__:
            case "Var":
                value = self._use(source.name)
            case "Arg":
                value = self.arguments[source.index]
            case "Global" if source.name not in self.visible:
                raise self._fail(f"{source.name} is not defined")
            case "Const" | "Global" | "FreeVar":
                value = self._literal(source.value)
            case "Expr":
                value = self._expression(source)
            case other:
                raise self._fail(f"{other} is not part of the kernel language")
        self._bind(statement.target.name, value)

    def _expression(self, expression: Any) -> Bound:
        match expression.op:
            case "call":
                return self._source_call(expression)
            case "binop":
                return self._operator(expression.fn, expression.lhs, expression.rhs)
            case "inplace_binop":
                return self._operator(expression.immutable_fn, expression.lhs, expression.rhs)
            case "unary":
                operand = self._use(expression.value.name)
                return self._unary(_NAMES_BY_OPERATOR[expression.fn], operand)
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
        if expression.kws or expression.vararg is not None:
            raise self._fail("calls take positional arguments only")
        arguments = [self._use(argument.name) for argument in expression.args]
        return self._named_call(self._use(expression.func.name).value, arguments)

    def _operator(self, function: object, left: Any, right: Any) -> Bound:
        name = _NAMES_BY_OPERATOR.get(function)
        if name is None:
            raise self._fail(f"operator {function!r} is not part of the kernel language")
        return self._call(OPERATORS[name], [self._use(left.name), self._use(right.name)])

    def _iteration(self, stage: str, operand: Bound) -> Bound:
        if stage == "getiter":
            slot = self._start_counter(operand)
            return Bound(ITERATOR, (slot, *operand.value[1:]))
        if stage == "iternext":
            return Bound(PAIR, self._advance(*operand.value))
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
