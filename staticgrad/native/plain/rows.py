"""Runs kernels as plain Python (``STATICGRAD_JIT=0``): registration, tokens, the table loop.

A registered kernel has a token in place of an address; tokens are small odd numbers, which no
function has for an address. The table's layout is the native driver's.
"""

from __future__ import annotations

import ctypes
import linecache
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from staticgrad.errors import CompileError
from staticgrad.native.constants import CONSTANTS, ENTRY, MODULES, ROW_WORDS, Row
from staticgrad.native.environment import default_environment
from staticgrad.native.language.kinds import ELEMENTS
from staticgrad.native.lock import LOCK
from staticgrad.native.plain import control, lanes, memory

PythonKernel = Callable[[int, int, int, int], None]
VOCABULARY: Final = {**lanes.VOCABULARY, **memory.VOCABULARY}

_kernels: Final[dict[int, PythonKernel]] = {}


def register(source: str) -> tuple[int, PythonKernel]:
    """The token and the callable ``(record address, own address, begin, end)`` of a source.

    Raises CompileError when the source is no Python or has no entry.
    """
    namespace: dict[str, Any] = {**VOCABULARY, **CONSTANTS, **MODULES}
    filename = f"<staticgrad kernel {len(_kernels)}>"
    try:
        exec(compile(source, filename, "exec"), namespace)
    except SyntaxError as error:
        raise CompileError(f"a kernel's source, line {error.lineno}: {error.msg}") from error
    if ENTRY not in namespace:
        raise CompileError(f"a kernel's source has no function {ENTRY}")
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    entry = namespace[ENTRY]

    def call(record: int, own: int, begin: int, end: int) -> None:
        with np.errstate(all="ignore"):
            words = (memory.Address(ELEMENTS["i64"], place) for place in (record, own))
            entry(*words, begin, end)

    return register_call(call), call


def register_call(call: PythonKernel) -> int:
    """The token of a callable ``(record address, own address, begin, end)``."""
    with LOCK:
        token = 2 * len(_kernels) + 1
        _kernels[token] = call
    return token


def run(block: int, first: int, last: int) -> None:
    """Runs rows ``first`` to ``last`` (exclusive), as the worker whose block is at an address."""
    table = ctypes.c_int64.from_address(block).value
    words = (ctypes.c_int64 * (ROW_WORDS * max(last, 0))).from_address(table)
    row = first
    with default_environment():
        while row < last:
            found = Row(*words[ROW_WORDS * row : ROW_WORDS * (row + 1)])
            if found.function:
                _kernels[found.function](found.record, block + found.own, 0, found.total)
                row += 1
            else:
                row = control.follow(found, row)
