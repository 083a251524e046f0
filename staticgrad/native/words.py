"""Functions over arrays of whole numbers, as machine code.

    run = words.compile_function(search) # def search(s: Search) -> int, Search a record of arrays
    run(s)                               # what search(s) gives, s changed alike

A function takes one record whose fields are ``array("q")`` or ``int``, and calls others that do.
Its text keeps to what the kernel language has (``vocabulary.md``): names, items, tests, loops,
numbers of 64 bits that must not overflow; no array is replaced. It is written as a kernel whose
words are the addresses of the arrays, the last of them one of the numbers, so it lies in the cache
with the kernels.
"""

from __future__ import annotations

import ast
import ctypes
import functools
import inspect
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from staticgrad import native
from staticgrad.native import jit
from staticgrad.native.constants import ENTRY
from staticgrad.native.functions import ConstantNames, trees_of
from staticgrad.native.source import RuntimeCode, SourceText

#: The names of the arrays of a record, and of its numbers.
_Fields = tuple[tuple[str, ...], tuple[str, ...]]


@functools.cache
def compile_function(function: Callable[[Any], int]) -> Callable[[Any], int]:
    """Compile a Python function over arrays of integers to machine code.

    Raises CompileError, CPUError, SelfTestError and OutOfMemory as ``native.kernel`` does, OSError
    where the source is not at hand.
    """
    text = source(function)
    code = RuntimeCode(jit.symbol_of(text), SourceText(text))
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64)(native.address_of(code))
    arrays, numbers = _fields(function)

    def run(record: Any) -> int:
        """Call the compiled function with a record's integers and arrays; copy integers back."""
        values = array("q", [*(getattr(record, name) for name in numbers), 0])
        words = array("q", [getattr(record, name).buffer_info()[0] for name in arrays])
        words.extend((values.buffer_info()[0], 0))
        call(words.buffer_info()[0])
        for name, value in zip(numbers, values, strict=False):
            setattr(record, name, value)
        return words[-1]

    return run


def _fields(function: Callable[[Any], int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The arrays and the numbers of the record that a function takes, in order."""
    (parameter, *_) = inspect.signature(function, eval_str=True).parameters.values()
    kinds = parameter.annotation.__annotations__
    numbers = tuple(name for name, kind in kinds.items() if kind in ("int", int))
    return tuple(name for name in kinds if name not in numbers), numbers


def source(function: Callable[[Any], int]) -> str:
    """Write the kernel source of an integer function and of those that it calls."""
    fields = _fields(function)

    def rewrite(tree: ast.FunctionDef, seen: Mapping[str, Any]) -> ast.AST:
        return _Words(tree.args.args[0].arg, fields, seen).visit(tree)

    lines = [
        f"def {ENTRY}(record):",
        "    words = ptr_i64(record)",
        f"    store1(words, {len(fields[0]) + 1}, i64x1({function.__name__}(words)))\n",
    ]
    texts = map(ast.unparse, trees_of(function, rewrite, {}).values())
    return "\n\n\n".join([*texts, "\n".join(lines)])


class _Words(ConstantNames):
    """Fields as pointers of the record, items that are set as stores, names of numbers as these."""

    def __init__(self, record: str, fields: _Fields, seen: Mapping[str, Any]) -> None:
        super().__init__(seen)
        self.record = record
        self.arrays, self.numbers = fields

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:  # noqa: N802 - ast's name
        """Rewrite ``s.base``, ``s.height``: a field read becomes a variable."""
        if node.attr in self.numbers:
            place = ast.Constant(self.numbers.index(node.attr))
            return _call("word", _call("load1", self._pointer(len(self.arrays)), place))
        return self._pointer(self.arrays.index(node.attr))

    def visit_Assign(self, node: ast.Assign) -> ast.AST:  # noqa: N802 - ast's name
        """Rewrite ``base[b] = top``, ``s.height = top`` as stores of the kernel language."""
        (target,) = node.targets
        value = self.visit(node.value)
        if isinstance(target, ast.Attribute):
            place = self._pointer(len(self.arrays)), ast.Constant(self.numbers.index(target.attr))
        elif isinstance(target, ast.Subscript):
            place = self.visit(target.value), self.visit(target.slice)
        else:
            return ast.Assign(node.targets, value)
        return ast.Expr(_call("store1", *place, _call("i64x1", value)))

    def _pointer(self, number: int) -> ast.expr:
        """Return the pointer that is a word of the record."""
        record = ast.Name(self.record, ast.Load())
        return _call("ptr_i64", ast.Subscript(record, ast.Constant(number), ast.Load()))


def _call(function: str, *operands: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(function, ast.Load()), [*operands], [])
