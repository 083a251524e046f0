"""Kernel source text -> LLVM module text, with Numba reading the Python.

Numba is imported on first use. A helper function is lowered once per process for each choice of
argument kinds and then pasted into the modules of the kernels that call it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import types
from dataclasses import dataclass
from typing import Any, Final

from staticgrad.native.constants import CONSTANTS, ENTRY
from staticgrad.native.kinds import ELEMENTS, WORD, Kind, Pointer
from staticgrad.native.lowering import (
    FunctionLowering,
    Helper,
    KernelSourceError,
    Lowered,
    argument_name,
)
from staticgrad.native.operations import FUNCTIONS

KERNEL_KINDS: Final[tuple[Kind, ...]] = (Pointer(ELEMENTS["i64"]), WORD, WORD)


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


@dataclass(frozen=True)
class Function:
    """One function of a source: its text, and the line it starts at."""

    name: str
    body: str
    line: int


def split_source(source: str) -> dict[str, Function]:
    """The functions of a kernel source, by name, in order; raises KernelSourceError otherwise."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise KernelSourceError(f"kernel source line {error.lineno}: {error.msg}") from error
    lines = source.splitlines()
    functions: dict[str, Function] = {}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            raise KernelSourceError(f"kernel source line {node.lineno}: only functions stand here")
        body = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        functions[node.name] = Function(node.name, body, node.lineno)
    if ENTRY not in functions:
        raise KernelSourceError(f"kernel source without a function named {ENTRY}")
    return functions


class _SourceHelper(Helper):
    """One helper's text with the helpers it may call."""

    def __init__(self, function: Function, digest: str, visible: dict[str, Helper]) -> None:
        super().__init__(functools.cache(self._lower))
        self.function = function
        self.digest = digest
        self.visible = visible

    def _lower(self, kinds: tuple[Kind, ...]) -> Lowered:
        suffix = "_".join(kind.name for kind in kinds)
        symbol = f"{self.function.name}_{suffix}_{self.digest[:8]}"
        return _lower(_define(self.function, self.visible), kinds, symbol, "internal ")


_helpers: dict[str, _SourceHelper] = {}


def _define(function: Function, visible: dict[str, Helper]) -> types.FunctionType:
    """The Python function; empty lines before it keep the line numbers those of the source."""
    namespace: dict[str, Any] = {**FUNCTIONS, **CONSTANTS, **visible}
    text = "\n" * (function.line - 1) + function.body
    exec(compile(text, f"<staticgrad {function.name}>", "exec"), namespace)
    defined: types.FunctionType = namespace[function.name]
    return defined


def _lower(
    function: types.FunctionType, kinds: tuple[Kind, ...], symbol: str, linkage: str
) -> Lowered:
    count = function.__code__.co_argcount
    if count != len(kinds):
        raise KernelSourceError(f"{function.__name__} takes {count} arguments, given {len(kinds)}")
    names = tuple(argument_name(kind, index) for index, kind in enumerate(kinds))
    return FunctionLowering(_numba().read(function), kinds, names).run(symbol, linkage)


def _helper(function: Function, visible: dict[str, _SourceHelper]) -> _SourceHelper:
    called = {name: helper for name, helper in visible.items() if name in function.body}
    parts = [function.body, *(helper.digest for helper in called.values())]
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    found = _helpers.get(digest)
    if found is None:
        found = _helpers[digest] = _SourceHelper(function, digest, dict(called))
    return found


def module_text(source: str, symbol: str) -> str:
    """The LLVM module of a kernel: its entry as ``symbol(record, begin, end)``, helpers inside.

    Raises KernelSourceError when the source is not in the kernel language.
    """
    functions = split_source(source)
    entry = functions.pop(ENTRY)
    visible: dict[str, _SourceHelper] = {}
    for name, function in functions.items():
        visible[name] = _helper(function, visible)
    lowered = _lower(_define(entry, dict(visible)), KERNEL_KINDS, symbol, "")
    parts = [*sorted(lowered.declarations), *(body for _, body in lowered.callees), lowered.body]
    return "\n".join(parts)
