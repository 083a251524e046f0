"""A nest as readable Python of the kernel language: what a person reads and plain Python runs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from staticgrad.compiler.nest.records import (
    Apply,
    Block,
    Do,
    For,
    Function,
    If,
    Let,
    Name,
    Nest,
    Offset,
    Repeat,
)

_SIGNS: Final = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "and_": "&", "or_": "|", "xor": "^",
    "lshift": "<<", "rshift": ">>", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">",
    "ge": ">=", "mod": "%", "floordiv": "//",
}  # fmt: skip
_UNARY: Final = {"neg": "-", "invert": "~"}


def print_nest(nest: Nest) -> str:
    """Return the nest as source text: its functions, then ``kernel``."""
    functions = [f if isinstance(f, str) else _shared(f) for f in nest.functions.values()]
    return "\n\n\n".join([*functions, print_function(nest.entry)]) + "\n"


def print_function(function: Function) -> str:
    """Return the definition of a function."""
    lines = [f"def {function.name}({', '.join(name.text for name in function.parameters)}):"]
    _print_block(function.body, "    ", lines)
    return "\n".join(lines)


#: The same of functions that many kernels call.
_shared: Final = lru_cache(maxsize=64)(print_function)


def _print_block(block: Block, margin: str, out: list[str]) -> None:
    """Print a block of a loop nest as Python lines."""
    for s in block:
        if isinstance(s, Let):
            if s.name.at is None:
                out.append(f"{margin}{s.name.text} = {_print_operation(s.value)}")
        elif isinstance(s, Do):
            out.append(f"{margin}{_print_operation(s.value)}")
        else:
            if isinstance(s, For):
                step = "" if s.step == 1 else f", {_text(s.step)}"
                span = f"{_text(s.start)}, {_text(s.stop)}{step}"
                out.append(f"{margin}for {s.counter.text} in range({span}):")
            else:
                word = "while" if isinstance(s, Repeat) else "if"
                out.append(f"{margin}{word} {_print_operation(s.test)}:")
            _print_block(s.body, f"{margin}    ", out)
            if isinstance(s, If) and s.orelse:
                out.append(f"{margin}else:")
                _print_block(s.orelse, f"{margin}    ", out)


def _print_operation(op: Apply) -> str:
    """Return an operation of a loop nest as a Python expression."""
    name, args = op
    if name in _SIGNS:
        return f"{_text(args[0])} {_SIGNS[name]} {_text(args[1])}"
    if name in _UNARY:
        return f"{_UNARY[name]}{_text(args[0])}"
    if name == "copy":
        return _text(args[0])
    if name == "break":
        return name
    if name == "getitem":
        return f"{_text(args[0])}[{_text(args[1])}]"
    if name == "inside":
        at, extent, yes, no = map(_text, args)
        return f"{yes} if {at} >= 0 and {at} < {extent} else {no}"
    if name == "outside":
        at, extent = map(_text, args)
        return f"{at} < 0 or {at} >= {extent}"
    if name.startswith("choose_"):
        a, b, yes, no = map(_text, args)
        return f"{yes} if {a} {_SIGNS[name[7:]]} {b} else {no}"
    if len(args) > 1 and type(args[1]) is Offset:
        pointer, place = args[0], args[1]
        terms, constant = [*place.terms], place.constant
        while pointer.at is not None:
            pointer, outer = pointer.at
            terms[:0], constant = outer.terms, constant + outer.constant
        where = " + ".join([*(_term(*term) for term in terms), *_constant(constant, terms)])
        return f"{name}({', '.join([pointer.text, where, *map(_text, args[2:])])})"
    return f"{name}({', '.join(map(_text, args))})"


def _constant(constant: int, terms: list[Any]) -> list[str]:
    return [str(constant)] if constant or not terms else []


def _term(a: Name, b: Name | int) -> str:
    return a.text if b == 1 and type(b) is int else f"{a.text} * {_text(b)}"


def _text(arg: Any) -> str:
    return arg.text if type(arg) is Name else repr(arg)
