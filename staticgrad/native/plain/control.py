"""Runs kernels as plain Python (``STATICGRAD_JIT=0``): registration, tokens, the table loop.

A registered kernel has a token in place of an address; tokens are small odd numbers, which are
never addresses of functions. The table's layout is the native driver's, and so is the machine that
follows rows of function 0.
"""

from __future__ import annotations

import ctypes
import functools
import linecache
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from staticgrad.errors import CompileError
from staticgrad.native.constants import CONSTANTS, ENTRY, ROW_WORDS, Row
from staticgrad.native.language.kinds import ELEMENTS
from staticgrad.native.lock import LOCK
from staticgrad.native.plain.lanes import VOCABULARY, Address
from staticgrad.native.system.floating_point import default_environment
from staticgrad.native.table import control_code

PythonKernel = Callable[[int, int, int, int], None]

_kernels: Final[dict[int, PythonKernel]] = {}


def register(source: str) -> tuple[int, PythonKernel]:
    """Register a kernel to run as plain Python: its token and ``(record, own, begin, end)``.

    Raises CompileError when the source is not valid Python or has no entry.
    """
    namespace: dict[str, Any] = {**VOCABULARY, **CONSTANTS}
    filename = f"<staticgrad kernel {len(_kernels)}>"
    try:
        exec(compile(source, filename, "exec"), namespace)
    except SyntaxError as error:
        raise CompileError(f"a kernel's source, line {error.lineno}: {error.msg}") from error
    if ENTRY not in namespace:
        raise CompileError(f"a kernel's source has no function {ENTRY}")
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    entry = namespace[ENTRY]

    def call(record: int, scratch: int, begin: int, end: int) -> None:
        with np.errstate(all="ignore"):
            entry(_words_at(record), _words_at(scratch), begin, end)

    return register_call(call), call


def register_call(call: PythonKernel) -> int:
    """The token of a callable ``(record address, own address, begin, end)``."""
    with LOCK:
        token = 2 * len(_kernels) + 1
        _kernels[token] = call
    return token


def _words_at(address: int) -> Address:
    return Address(ELEMENTS["i64"], address)


def _at(words: Address, number: int) -> int:
    return words[number]


def _store_word(words: Address, number: int, value: int) -> None:
    ctypes.c_int64.from_address(words.at(number)).value = value


@functools.cache
def _machine() -> dict[str, Any]:
    """The functions of ``control_code``, with the shortest way to words of memory."""
    namespace: dict[str, Any] = {**VOCABULARY}
    exec(control_code.code().source.text, namespace)
    namespace.update(at=_at, put=_store_word, move=ctypes.memmove)
    return namespace


def follow(block: int, row: int) -> int:
    """The address of the row behind a row of function 0, at an address; 0 where fuel is used up."""
    following: Address = _machine()["follow"](_words_at(block), _words_at(row))
    return following.base


def run(block: int, first: int, last: int) -> None:
    """Run rows ``first`` to ``last`` of a table in plain Python, for the worker with this block."""
    table, size = ctypes.c_int64.from_address(block).value, 8 * ROW_WORDS
    at, end = table + size * first, table + size * last
    with default_environment():
        while 0 < at < end:
            row = Row(*(ctypes.c_int64 * ROW_WORDS).from_address(at))
            if row.function:
                _kernels[row.function](row.record, block + row.scratch, 0, row.total)
            at = at + size if row.function else follow(block, at)
