"""Kernel source -> LLVM modules by Numba's pipeline.

The entry and the helpers of a source become a :class:`KernelFunction` each, which Numba types and
lowers; a helper is kept for the process by its text, so that it is compiled once for each choice of
argument types. A small LLVM function gives the entry the name and signature that the driver calls.
Importing this module imports Numba.

Functions of users that Numba compiles, with the entry of a routine. Importing imports Numba.

The function keeps Numba's own settings, where it has been jitted; otherwise it is, with
``numba.njit``. A wrapper around it reads operands from the record, catches what it raises, and
looks at the shapes of results before it copies them.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np
from numba.core import types
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

from staticgrad.native.by_numba.simd import WORDS, numba_type
from staticgrad.native.by_numba.target import KernelFunction
from staticgrad.native.constants import CONSTANTS, ENTRY, MODULES
from staticgrad.native.language.frontend import KERNEL_KINDS, FunctionText, split_source
from staticgrad.native.language.translation import KernelSourceError
from staticgrad.native.lock import LOCK
from staticgrad.native.target import Target
from staticgrad.support.errors import CompileError

_SHIM: Final = """
declare i32 @"{callee}"(ptr, ptr, ptr, i64, i64)
define void @{symbol}(ptr %record, ptr %own, i64 %begin, i64 %end) #0 {{
  %nothing = alloca ptr
  %status = call i32 @"{callee}"(ptr %nothing, ptr %record, ptr %own, i64 %begin, i64 %end)
  ret void
}}
"""

_functions: dict[str, KernelFunction] = {}


def modules(source: str, symbol: str, host: Target) -> list[str]:
    """The LLVM modules of a kernel, first that of ``symbol(record, own, begin, end)``.

    Raises KernelSourceError when Numba cannot compile the source.
    """
    functions, context = split_source(source), KernelFunction.targetdescr.target_context
    if context.kernel_target != host:
        context.kernel_target = host
        _functions.clear()  # lowered for another one
    visible: dict[str, tuple[str, KernelFunction]] = {}
    for name, function in functions.items():
        visible[name] = _jitted(function, visible)
    entry = visible[ENTRY][1]
    if len(functions[ENTRY].parameters) != len(KERNEL_KINDS):
        raise KernelSourceError(f"{ENTRY} takes {len(KERNEL_KINDS)} arguments")
    signature = types.void(*map(numba_type, KERNEL_KINDS))
    try:
        entry.compile(signature)
    except KernelSourceError:
        raise
    except Exception as error:  # Numba raises many kinds; none may reach a user
        raise KernelSourceError(_reason(error)) from error
    made: Any = entry.overloads[signature.args]
    entry.targetctx.remove_user_function(made.entry_point)  # nothing calls it; it may be freed
    callee = made.fndesc.llvm_func_name
    return [_SHIM.format(symbol=symbol, callee=callee), *made.library.everything()]


def _jitted(
    function: FunctionText, visible: dict[str, tuple[str, KernelFunction]]
) -> tuple[str, KernelFunction]:
    """The digest and the jitted function of a source's function, which sees those before it."""
    _refuse_statements(function)
    called = {name: known for name, known in visible.items() if name in function.content}
    parts = [function.content, *(digest for digest, _ in called.values())]
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    found = _functions.get(digest)
    if found is None:
        namespace: dict[str, Any] = {**WORDS, **CONSTANTS, **MODULES, "__name__": __name__}
        namespace |= {name: jitted for name, (_, jitted) in called.items()}
        text = "\n" * function.above + function.content
        exec(compile(text, f"<staticgrad {function.name}>", "exec"), namespace)
        found = KernelFunction(namespace[function.name])
        if function.name != ENTRY:
            _functions[digest] = found
    return digest, found


def _refuse_statements(function: FunctionText) -> None:
    """Refuse statements that raise: an exception of a kernel would be lost."""
    for node in ast.walk(ast.parse(function.content)):
        match node:
            case ast.Raise() | ast.Assert():
                line = f"kernel source line {function.above + node.lineno}"
                raise KernelSourceError(f"{line}: a kernel cannot raise")
            case ast.Call(func=ast.Name(id="range"), args=[_, _, ast.Constant(value=0)]):
                line = f"kernel source line {function.above + node.lineno}"
                raise KernelSourceError(f"{line}: a range's step must not be zero")


_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_PLACE: Final = re.compile(r'<staticgrad \w+> \((\d+)\)|File "<staticgrad \w+>", line (\d+)')
_OURS: Final = re.compile(r"\w+ does not take \([^)]*\)|local_\w+ needs .*|calls take .* only")
_HEADING: Final = "Failed in nopython mode pipeline"
_PLAIN: Final = {"int64": "word", "float64": "real", "bool": "truth"}
_UNIFIED: Final = re.compile(r"Cannot unify (\S+) and (\S+) for '([^'.]+)[^']*'")


def _reason(error: Exception) -> str:
    """Return Numba's long message in one line: the place in the source and the error there."""
    text = _COLOUR.sub("", str(error))
    ours, unified = _OURS.search(text), _UNIFIED.search(text)
    place = _PLACE.search(text, ours.end() if ours else 0) or _PLACE.search(text)
    if ours:
        message = ours.group()
    elif unified:
        before, after, name = unified.groups()
        message = f"{name} is {_PLAIN.get(before, before)} and becomes {_PLAIN.get(after, after)}"
    else:
        lines = [line.strip() for line in text.splitlines() if not line.startswith(_HEADING)]
        message = next(filter(None, lines), type(error).__name__)
    line = f" line {place.group(1) or place.group(2)}" if place else ""
    return f"kernel source{line}: {message}"


_NAMES = {"bool": "bool_"}


@intrinsic
def _pointer(typing: Any, word: Any) -> Any:
    """The address that a word holds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@intrinsic
def _read_only(typing: Any, array: Any) -> Any:
    """The same array, which may not be written to."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return array.copy(readonly=True)(array), generate


def compiled(
    label: str,
    function: Callable[..., Any],
    operands: tuple[tuple[str, int], ...],
    results: tuple[tuple[str, int], ...],
) -> Any:
    """Numba's C function ``(record, own, begin, end)``.

    Raises:
        CompileError: Numba does not compile the function for these types.
    """
    jitted = function if isinstance(function, Dispatcher) else numba.njit(function)
    source = _source(operands, results)
    names = {
        "function": jitted, "pointer": _pointer, "read_only": _read_only, "np": np,
        "carray": numba.carray,  # type: ignore[attr-defined]
    }  # fmt: skip
    exec(compile(source, "<staticgrad numba_call>", "exec"), names)
    words = types.CPointer(types.int64)
    signature = types.void(words, words, types.int64, types.int64)
    with LOCK:
        try:
            return numba.cfunc(signature)(names["call"])
        except numba.core.errors.NumbaError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise CompileError(f"Numba does not compile {label}", details=lines[:6]) from error


def _source(operands: tuple[tuple[str, int], ...], results: tuple[tuple[str, int], ...]) -> str:
    """The wrapper as Python, which Numba compiles with the function."""
    at = len(operands) + len(results)
    lines = ["def call(record, own, begin, end):"]
    lines.append("    noted = carray(pointer(own[0]), (2,), np.int64)")
    names = [f"x{n}" for n in range(len(operands))] + [f"y{n}" for n in range(len(results))]
    shapes: list[str] = []
    for number, (name, (dtype, rank)) in enumerate(zip(names, (*operands, *results), strict=True)):
        sizes = [f"record[{at + axis}]" for axis in range(rank)] or ["1"]
        at += rank
        shapes.append(f"({', '.join(sizes)},)")
        made = f"carray(pointer(record[{number}]), {shapes[-1]}, np.{_NAMES.get(dtype, dtype)})"
        if name[0] == "x":
            made = f"read_only({made})" if rank else f"{made}[0]"
        lines.append(f"    {name} = {made}")
    given = ", ".join(names[: len(operands)])
    found = [f"r{n}" for n in range(len(results))]
    lines += ["    state = 1", "    try:"]
    lines.append(f"        {', '.join(found)} = function({given})")
    checks = [
        f"r{n}.shape != {shapes[len(operands) + n]}" for n, (_, rank) in enumerate(results) if rank
    ]
    lines.append(f"        if {' or '.join(checks) or 'False'}:")
    lines += ["            state = 2", "        else:"]
    for n, (_, rank) in enumerate(results):
        lines.append(f"            y{n}[:] = r{n}" if rank else f"            y{n}[0] = r{n}")
    lines += ["            state = 0", "    except Exception:", "        state = 1"]
    lines += ["    if state != 0:", "        noted[0] = 0", "        noted[1] = -state"]
    return "\n".join(lines) + "\n"
