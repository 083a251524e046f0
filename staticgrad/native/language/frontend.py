"""Kernel source text -> LLVM module text, directly, without Numba: the ``vector`` backend.

A helper function is parsed once per process, and lowered once for each choice of argument kinds;
it is then pasted into the modules of the kernels that call it. :mod:`by_numba.frontend` splits
sources the same way.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from typing import Any, Final

from staticgrad.native.constants import CONSTANTS, ENTRY, OUTLINED, SHARED
from staticgrad.native.language import statements
from staticgrad.native.language.emitter import declaration
from staticgrad.native.language.kinds import ELEMENTS, WORD, Kind, Pointer
from staticgrad.native.language.operations import FUNCTIONS
from staticgrad.native.language.statements import Syntax
from staticgrad.native.language.syntax_reader import translated
from staticgrad.native.language.translation import Helper, KernelSourceError, Translated
from staticgrad.records import dataclass, replace

KERNEL_KINDS: Final[tuple[Kind, ...]] = (
    Pointer(ELEMENTS["i64"]),
    Pointer(ELEMENTS["i64"]),
    WORD,
    WORD,
)


@dataclass(frozen=True)
class Function:
    """One function of a source: its text, its statements, and how many lines stand above it."""

    body: str
    syntax: Syntax
    above: int = 0

    @property
    def name(self) -> str:
        """What it is called."""
        return self.syntax.name

    @property
    def tree(self) -> ast.FunctionDef:
        """Python's syntax tree of the text."""
        (found,) = ast.parse(self.body).body
        assert isinstance(found, ast.FunctionDef)
        return found


#: Lines of LLVM IR that the copies of one helper in one kernel have at most. Beyond, calls cost
#: less than code that the processor's cache does not hold, and LLVM compiles them sooner.
_MOST_COPIED: Final = 3000

#: Text of a helper's part -> the function, with the line numbers of the part.
_parsed: Final[dict[str, Function]] = {}


def split_source(source: str) -> dict[str, Function]:
    """The functions of a kernel source, by name, in order; raises KernelSourceError otherwise."""
    found = _functions_by_part(source)
    functions = {each.name: each for each in (_functions(source) if found is None else found)}
    if ENTRY not in functions:
        raise KernelSourceError(f"kernel source without a function named {ENTRY}")
    return functions


def _functions(source: str) -> list[Function]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise KernelSourceError(f"kernel source line {error.lineno}: {error.msg}") from error
    lines = source.splitlines()
    functions = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            raise KernelSourceError(f"kernel source line {node.lineno}: only functions stand here")
        body = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        above = node.lineno - 1
        ast.increment_lineno(node, -above)
        functions.append(Function(body, statements.of_tree(node), above))
    return functions


def _functions_by_part(source: str) -> list[Function] | None:
    """The same, helpers that are known not parsed again; None where a part is no function alone.

    If each part by itself is one function, then the source is those functions: none of them ends
    within a string, a bracket or a line.
    """
    functions, above = [], 0
    for part in parts_of(source):
        function = _parsed.get(part)
        if function is None:
            syntax = statements.read(part)
            try:
                (function,) = _functions(part) if syntax is None else [_plain(part, syntax)]
            except (KernelSourceError, ValueError):  # the latter: several, or none
                return None
            if function.name != ENTRY:
                _parsed[part] = function
        functions.append(replace(function, above=above + function.above))
        above += part.count("\n") + 1
    return functions


def parts_of(source: str) -> list[str]:
    """A source without the ends of lines before which it is cut: there a function may begin."""
    first, *others = source.split("\ndef ")
    return [first, *[f"def {each}" for each in others]]


def _plain(part: str, syntax: Syntax) -> Function:
    return Function(part.rstrip("\n"), syntax)


class _SourceHelper(Helper):
    """One helper's text with the helpers it may call."""

    def __init__(self, function: Function, digest: str, visible: dict[str, Helper]) -> None:
        super().__init__(functools.cache(self._lower))
        self.function = function
        self.digest = digest
        self.visible = visible

    def _lower(self, kinds: tuple[Kind, ...]) -> Translated:
        suffix = "_".join(kind.name for kind in kinds)
        # a name by which kernels share a function says all of its content
        digest = self.digest if self.function.name.startswith(SHARED) else self.digest[:8]
        symbol = f"{self.function.name}_{suffix}_{digest}"
        return _lower(self.function, self.visible, kinds, (symbol, "internal "))


_helpers: dict[str, _SourceHelper] = {}


def _lower(
    function: Function, visible: dict[str, Helper], kinds: tuple[Kind, ...], name: tuple[str, str]
) -> Translated:
    """``name`` is the symbol and its linkage."""
    count = len(function.syntax.parameters)
    if count != len(kinds):
        raise KernelSourceError(f"{function.name} takes {count} arguments, given {len(kinds)}")
    namespace: dict[str, Any] = {**FUNCTIONS, **CONSTANTS, **visible}
    return translated(function.syntax, namespace, kinds, function.above, name)


def _helper(function: Function, visible: dict[str, _SourceHelper]) -> _SourceHelper:
    called = {name: helper for name, helper in visible.items() if name in function.body}
    parts = [function.body, *(helper.digest for helper in called.values())]
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    found = _helpers.get(digest)
    if found is None:
        found = _helpers[digest] = _SourceHelper(function, digest, dict(called))
    return found


@dataclass(frozen=True)
class Modules:
    """The LLVM module of a kernel, and those of the functions that it shares, by their symbols."""

    kernel: str
    shared: dict[str, str]


def module_text(source: str, symbol: str) -> str:
    """The LLVM module of a kernel: its entry as ``symbol(record, own, begin, end)``, with its
    helpers.

    Raises KernelSourceError when the source is not in the kernel language.
    """
    lowered = _lowered(source, symbol)
    return _text(lowered, [*dict(lowered.callees).values(), lowered.body])


def modules(source: str, symbol: str) -> Modules:
    """The same, but for helpers that kernels share: each of them is a module of its own.

    Raises KernelSourceError when the source is not in the kernel language.
    """
    lowered = _lowered(source, symbol)
    own = {name: body for name, body in lowered.callees if not name.startswith(SHARED)}
    shared = {name: body for name, body in lowered.callees if name.startswith(SHARED)}
    declared = [_declared(body) for body in shared.values()]
    kernel = _text(lowered, [*declared, *own.values(), lowered.body])
    return Modules(kernel, {name: _alone(lowered, body, own) for name, body in shared.items()})


def _declared(body: str) -> str:
    """The declaration of a function, of its definition's first line."""
    head = body.partition("{")[0]
    return head.replace("define internal", "declare", 1).replace("noinline", "", 1)


def _alone(lowered: Translated, body: str, helpers: dict[str, str]) -> str:
    """A module of one function that others call, with the helpers that it calls itself."""
    parts, waiting = [body.replace("define internal", "define", 1)], [body]
    for text in waiting:
        called = [h for name, h in helpers.items() if _names(text, name) and h not in parts]
        parts += called
        waiting += called
    return _text(lowered, parts)


def _names(text: str, name: str) -> bool:
    """Whether a function calls another one, or reads a table."""
    return f"@{name}" in text and re.search(rf"@{re.escape(name)}\b", text) is not None


def _text(lowered: Translated, parts: list[str]) -> str:
    """A module of functions, with declarations of what they call of LLVM's."""
    body = "\n".join(parts)
    declared = [
        declaration(name, *types)
        for name, types in sorted(lowered.externals.items())
        if f"@{name}(" in body
    ]
    return "\n".join([*declared, body])


def _lowered(source: str, symbol: str) -> Translated:
    functions = split_source(source)
    entry = functions.pop(ENTRY)
    visible: dict[str, _SourceHelper] = {}
    for name, function in functions.items():
        visible[name] = _helper(function, visible)
    return _with_calls(_lower(entry, dict(visible), KERNEL_KINDS, (symbol, "")))


def _with_calls(kernel: Translated) -> Translated:
    """A kernel that calls those helpers whose copies would be too long; others are inlined."""
    lengths: dict[str, int] = {}
    body = kernel.body
    for name, text in kernel.callees:  # those that a helper calls come before it
        inner = sum(length * _calls(text, each) for each, length in lengths.items())
        lengths[name] = text.count("\n") + inner
        copied = 0 if name.startswith((OUTLINED, SHARED)) else lengths[name] * _calls(body, name)
        if copied > _MOST_COPIED:
            body = re.sub(rf"(?m)( call .*@{re.escape(name)}\(.*\))$", r"\1 noinline", body)
    return kernel if body is kernel.body else replace(kernel, body=body)


def _calls(text: str, name: str) -> int:
    """How often a function's text calls another."""
    return text.count(f"@{name}(")
