"""Functions of users that Numba compiles, with the entry of a routine. Importing imports Numba.

The function keeps Numba's own settings, where it has been jitted; otherwise it is, with
``numba.njit``. A wrapper around it reads operands from the record, catches what it raises, and
looks at the shapes of results before it copies them. It is called as machine code, by any worker,
without the interpreter's lock; its operands are read-only, arrays or, without axes, numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

from staticgrad.compiler.by_numba.loops import ENTRY_TYPE, carray, pointer
from staticgrad.errors import CallError, CompileError
from staticgrad.native.libraries import user_calls
from staticgrad.native.libraries.routines import RoutineCode
from staticgrad.native.lock import LOCK

_NAMES: Final = {"bool": "bool_"}
#: What a wrapper notes, negated, where the function raises, and where a result has another shape.
_RAISED, _OTHER_SHAPE = 1, 2


def make_routine(name: str) -> RoutineCode:
    """Make the routine of a user's function, compiled to a C function."""
    spec = user_calls.user_functions[name]
    compiled = compile_call(spec.label, spec.function, spec.operands, spec.results)
    plain = getattr(spec.function, "py_func", spec.function)

    def on_numbers(*operands: Any) -> Any:
        return plain(*(a if a.ndim else a[()] for a in operands))

    python = user_calls.UserFunction(spec.label, on_numbers, spec.operands, spec.results)
    return RoutineCode(compiled.address, (), user_calls.routine_in_python(python), compiled)


def failure(name: str, iteration: int, how: int) -> BaseException:
    """Return the error of a user's function: it raised, or its result has another shape."""
    if user_calls.has_error(how):
        return user_calls.failure(name, iteration, how)
    label = user_calls.user_functions[name].label
    if how == -_OTHER_SHAPE:
        return CallError(f"{label} gives a result of another shape than types= says")
    return CallError(
        f"{label} raised an exception in compiled code, where it has no message",
        hint="STATICGRAD_JIT=0 calls it as plain Python, and shows what it raises",
    )


@intrinsic
def _read_only(typing: Any, array: Any) -> Any:
    """The same array, which may not be written to."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return array.copy(readonly=True)(array), generate


def compile_call(
    label: str,
    function: Callable[..., Any],
    operands: tuple[tuple[str, int], ...],
    results: tuple[tuple[str, int], ...],
) -> Any:
    """Compile a user's Numba function into a routine ``(record, own, begin, end)``.

    Raises:
        CompileError: Numba does not compile the function for these types.
    """
    jitted = function if isinstance(function, Dispatcher) else numba.njit(function)
    source = _write_wrapper(operands, results)
    names = {
        "function": jitted, "pointer": pointer, "read_only": _read_only, "np": np, "carray": carray,
    }  # fmt: skip
    exec(compile(source, "<staticgrad numba_call>", "exec"), names)
    with LOCK:
        try:
            return numba.cfunc(ENTRY_TYPE)(names["call"])
        except numba.core.errors.NumbaError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise CompileError(f"Numba does not compile {label}", details=lines[:6]) from error


def _write_wrapper(
    operands: tuple[tuple[str, int], ...], results: tuple[tuple[str, int], ...]
) -> str:
    """Write the Python wrapper that Numba compiles around a user's function."""
    at = len(operands) + len(results)
    lines = ["def call(record, own, begin, end):"]
    lines.append("    noted = carray(pointer(own[0]), (2,), np.int64)")
    names = [f"x{n}" for n in range(len(operands))] + [f"y{n}" for n in range(len(results))]
    shapes: list[str] = []
    for number, (name, (dtype, rank)) in enumerate(zip(names, (*operands, *results), strict=True)):
        sizes = [f"record[{at + axis}]" for axis in range(rank)] or ["1"]
        at += rank
        shapes.append(f"({', '.join(sizes)},)")
        view = f"carray(pointer(record[{number}]), {shapes[-1]}, np.{_NAMES.get(dtype, dtype)})"
        if name[0] == "x":
            view = f"read_only({view})" if rank else f"{view}[0]"
        lines.append(f"    {name} = {view}")
    arguments = ", ".join(names[: len(operands)])
    outputs = [f"r{n}" for n in range(len(results))]
    lines += [f"    state = {_RAISED}", "    try:"]
    lines.append(f"        {', '.join(outputs)} = function({arguments})")
    checks = [
        f"r{n}.shape != {shapes[len(operands) + n]}" for n, (_, rank) in enumerate(results) if rank
    ]
    lines.append(f"        if {' or '.join(checks) or 'False'}:")
    lines += [f"            state = {_OTHER_SHAPE}", "        else:"]
    for n, (_, rank) in enumerate(results):
        lines.append(f"            y{n}[:] = r{n}" if rank else f"            y{n}[0] = r{n}")
    lines += ["            state = 0", "    except Exception:", f"        state = {_RAISED}"]
    lines += ["    if state != 0:", "        noted[0] = 0", "        noted[1] = -state"]
    return "\n".join(lines) + "\n"
