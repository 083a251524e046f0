"""Sources of the kernel language to records.

A function is taken apart by its indentation, and each line is parsed by Python's parser. Kernels
have thousands of lines, most of which occur several times, and a line is parsed once per process.
What is not written that plainly (a statement over several lines, a comment behind a test) is
parsed, and written plainly, by Python first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from staticgrad.native.language.records import (
    Apply,
    Block,
    Do,
    For,
    If,
    Let,
    Name,
    Repeat,
    Statement,
)
from staticgrad.native.language.translation import KernelSourceError
from staticgrad.support.records import NamedTuple

_OPERATORS: Final[dict[type, str]] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
    ast.LShift: "lshift", ast.RShift: "rshift", ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt",
    ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.USub: "neg", ast.Invert: "invert",
    ast.Not: "not", ast.And: "and", ast.Or: "or",
}  # fmt: skip
_JUMPS: Final = {ast.Break: "break", ast.Continue: "continue"}
_HEADER: Final = re.compile(r"def (\w+)\(((?:\w+(?:, \w+)*)?)\):")
_STEP: Final = "    "


class Procedure(NamedTuple):
    """A function: its parameters, its statements, and the names that they assign."""

    parameters: tuple[Name, ...]
    body: Block
    assigned: dict[str, None]


class _NotPlainError(Exception):
    """Text that is left to Python's parser as a whole."""


def header_of(text: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the name and the parameters of a function; None if its first line is not plain."""
    match = _HEADER.fullmatch(text.partition("\n")[0])
    if match is None:
        return None
    return match[1], tuple(filter(None, match[2].split(", ")))


@lru_cache(maxsize=1 << 9)
def read(text: str) -> Procedure:
    """Parse the one function of a kernel source into records.

    Raises:
        KernelSourceError: it is no function of Python.
    """
    try:
        return _read(text)
    except _NotPlainError:
        pass
    try:
        return _read(ast.unparse(ast.parse(text)))
    except (_NotPlainError, SyntaxError, ValueError) as error:
        raise KernelSourceError("a function of a kernel source has no plain statements") from error


def _read(text: str) -> Procedure:
    """Parse a kernel source line by line; raise where it is not of the plain form."""
    header = header_of(text)
    if header is None:
        raise _NotPlainError
    lines = text.rstrip("\n").split("\n")[1:]
    reader = _Lines(lines)
    body, names = reader.block(_STEP)
    if reader.at < len(lines):
        raise _NotPlainError
    assigned = dict.fromkeys(header[1]) | names
    return Procedure(tuple(_variable(parameter) for parameter in header[1]), body, assigned)


class _Lines:
    """Reads blocks of a function's lines; ``at`` is the next line to read."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = [*lines, ""]
        self.at = 0

    def block(self, margin: str) -> tuple[Block, dict[str, None]]:
        """Parse the statements at an indentation, and the names that they assign."""
        block: list[Statement] = []
        assigned: dict[str, None] = {}
        deep, first = len(margin), self.at
        while True:
            line = self._lines[self.at]
            text = line[deep:]
            if not text or not line.startswith(margin):
                break
            self.at += 1
            statements, names = (
                self._read_compound(text, margin) if text[-1] == ":" else _plain(text)
            )
            block += statements
            assigned |= names
        if self.at == first:
            raise _NotPlainError
        return tuple(block), assigned

    def _read_compound(self, text: str, margin: str) -> tuple[Block, dict[str, None]]:
        """Parse ``if``, ``while`` or ``for`` of a kernel source, with its block."""
        word, _, clause = text[:-1].partition(" ")
        if word in ("if", "elif"):
            body, names = self.block(margin + _STEP)
            following = self._lines[self.at]
            orelse: Block = ()
            more: dict[str, None] = {}
            if following == f"{margin}else:":
                self.at += 1
                orelse, more = self.block(margin + _STEP)
            elif following.startswith(f"{margin}elif ") and following[-1] == ":":
                self.at += 1
                orelse, more = self._read_compound(following[len(margin) :], margin)
            return (If(_as_operation(_expression(clause)), body, orelse),), names | more
        if word == "while":
            body, names = self.block(margin + _STEP)
            return (Repeat(_as_operation(_expression(clause)), body, _variables(names)),), names
        counter, _, span = clause.partition(" in ")
        if word != "for" or not counter.isidentifier():
            raise _NotPlainError
        body, names = self.block(margin + _STEP)
        names = {counter: None} | names
        ends = _expression(span)
        if type(ends) is not Apply or ends.name != "range" or not 1 <= len(ends.args) <= 3:
            ends = Apply("range", (Apply("?", ("for over anything but range(...)",)),))
        start, stop, step = (0, *ends.args, 1) if len(ends.args) == 1 else (*ends.args, 1)[:3]
        return (For(_variable(counter), start, stop, step, body, _variables(names)),), names


@lru_cache(maxsize=1 << 14)
def _plain(text: str) -> tuple[Block, dict[str, None]]:
    """Parse a simple statement of a kernel source, and the names that it assigns."""
    try:
        nodes = ast.parse(text).body
    except (SyntaxError, ValueError):
        raise _NotPlainError from None
    statements: list[Statement] = []
    for node in nodes:
        statements += _statements(node)
    names = [s.name.text for s in statements if isinstance(s, Let) and s.name.is_variable]
    return tuple(statements), dict.fromkeys(names)


@lru_cache(maxsize=1 << 12)
def _expression(text: str) -> Any:
    """An expression that stands in a line."""
    try:
        return _arg(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError):
        raise _NotPlainError from None


def _statements(node: ast.stmt) -> list[Statement]:
    """Convert a Python statement (AST) of a kernel source to records."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return [Let(_variable(name), _as_operation(_arg(value)))]
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if len(names) == len(targets) == len(values):
                temporaries = [Name(name, 0) for name in names]
                lets = [
                    Let(n, _as_operation(_arg(v))) for n, v in zip(temporaries, values, strict=True)
                ]
                pairs = zip(names, temporaries, strict=True)
                return [*lets, *(Let(_variable(name), Apply("copy", (n,))) for name, n in pairs)]
        case ast.AugAssign(target=ast.Name(id=name), op=op, value=value) if type(op) in _OPERATORS:
            changed = Apply(_OPERATORS[type(op)], (_variable(name), _arg(value)))
            return [Let(_variable(name), changed)]
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return []
        case ast.Expr(value=value):
            return [Do(_as_operation(_arg(value)))]
        case ast.Return(value=value):
            return [Do(Apply("return", () if value is None else (_arg(value),)))]
        case ast.Break() | ast.Continue():
            return [Do(Apply(_JUMPS[type(node)], ()))]
        case ast.If() | ast.For() | ast.While():
            raise _NotPlainError
        case ast.Assign(value=value):
            return [Do(_as_operation(_arg(value))), Do(_unsupported_operation(node))]
    return [Do(_unsupported_operation(node))]


def _arg(node: ast.expr) -> Any:
    """Convert a Python expression (AST) of a kernel source to an operation's argument."""
    match node:
        case ast.Name(id=name):
            return _variable(name)
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _arg(operand)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.UnaryOp(op=op, operand=operand):
            return Apply(_OPERATORS[type(op)], (_arg(operand),))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return Apply(_OPERATORS[type(op)], (_arg(left), _arg(right)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return Apply(name, tuple([_arg(operand) for operand in args]))
        case ast.Call(func=ast.Attribute() as function):
            return _unsupported_operation(function)
        case ast.Subscript(value=value, slice=index):
            return Apply("getitem", (_arg(value), _arg(index)))
        case ast.Compare(left=left, ops=ops, comparators=right):
            if all(type(op) in _OPERATORS for op in ops):
                args = [_arg(operand) for operand in (left, *right)]
                pairs = zip(ops, args, args[1:], strict=False)
                links = [Apply(_OPERATORS[type(op)], (a, b)) for op, a, b in pairs]
                return links[0] if len(links) == 1 else Apply("and", tuple(links))
        case ast.BoolOp(op=op, values=values):
            return Apply(_OPERATORS[type(op)], tuple([_arg(operand) for operand in values]))
        case ast.IfExp(test=test, body=yes, orelse=no):
            return Apply("if", (_arg(test), _arg(yes), _arg(no)))
    return _unsupported_operation(node)


def _unsupported_operation(node: ast.AST) -> Apply:
    """An operation that fails when LLVM IR is written for it."""
    return Apply("?", (type(node).__name__,))


def _as_operation(arg: Any) -> Apply:
    return arg if type(arg) is Apply else Apply("copy", (arg,))


def _variable(name: str) -> Name:
    return Name(name, 0, True)


def _variables(names: Iterable[str]) -> tuple[Name, ...]:
    return tuple([_variable(name) for name in names])
