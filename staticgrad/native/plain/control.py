"""Rows of function 0 in plain Python: how a table continues (``control_code`` describes them).

A table that Python runs is not interrupted by fuel in its loops: signals are seen between rows.

Runs kernels as plain Python (``STATICGRAD_JIT=0``): registration, tokens, the table loop.

A registered kernel has a token in place of an address; tokens are small odd numbers, which are
never addresses of functions. The table's layout is the native driver's.
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
from staticgrad.native.plain import lanes, memory
from staticgrad.native.table.control_code import ControlKind, EntryWord, LoopWord

_WORD: Final = 8


def follow(row: Row, number: int) -> int:
    """The number of the row behind row ``number``."""
    return _KINDS[ControlKind(row.own)](row, number)


def _get(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _set(address: int, value: int) -> None:
    ctypes.c_int64.from_address(address).value = value


def _at(record: int, word: int) -> int:
    return record + _WORD * word


def _begin(row: Row, number: int) -> int:
    record = row.record
    iterations = _get(_at(record, LoopWord.ITERATIONS))
    _set(_at(record, LoopWord.LEFT), iterations)
    _set(_at(record, LoopWord.NUMBER), _get(_at(record, LoopWord.FROM)))
    count = _get(_at(record, LoopWord.ROWS)) + _get(_at(record, LoopWord.TURNS))
    for entry in _entries(record, 0, count):
        _set(_get(entry), _get(_at(entry, EntryWord.FIRST)))
        _set(_at(entry, EntryWord.NEXT), _get(_at(entry, EntryWord.SECOND)))
        _set(_at(entry, EntryWord.AFTER), _get(_at(entry, EntryWord.THIRD)))
    return number + (1 if iterations > 0 else row.total)


def _end(row: Row, number: int) -> int:
    record = row.record
    left = _get(_at(record, LoopWord.LEFT)) - 1
    _set(_at(record, LoopWord.LEFT), left)
    at = _at(record, LoopWord.NUMBER)
    _set(at, _get(at) + _get(_at(record, LoopWord.BY)))
    rows, turns = _get(_at(record, LoopWord.ROWS)), _get(_at(record, LoopWord.TURNS))
    for entry in _entries(record, 0, rows):
        place = _get(_at(entry, EntryWord.NEXT))
        _set(_get(entry), place)
        _set(_at(entry, EntryWord.NEXT), place + _get(_at(entry, EntryWord.THIRD)))
    for entry in _entries(record, rows, turns):
        place = _get(_at(entry, EntryWord.NEXT))
        _set(_get(entry), place)
        _set(_at(entry, EntryWord.NEXT), _get(_at(entry, EntryWord.AFTER)))
        _set(_at(entry, EntryWord.AFTER), place)
    return number - row.total if left > 0 else number + 1


def _entries(record: int, first: int, count: int) -> range:
    """The addresses of some entries of a loop."""
    size = _WORD * len(EntryWord)
    begin = _get(_at(record, LoopWord.ENTRIES)) + size * first
    return range(begin, begin + size * count, size)


def _unless(row: Row, number: int) -> int:
    flag = ctypes.c_uint8.from_address(_get(row.record)).value
    return number + (1 if flag else row.total)


def _case(row: Row, number: int) -> int:
    count = _get(_at(row.record, 1))
    chosen = max(0, min(_get(_get(row.record)), count - 1))
    return number + _get(_at(row.record, 2 + chosen))


def _go(row: Row, number: int) -> int:
    return number + row.total


def _move(row: Row, number: int) -> int:
    to, of, nbytes = (_get(_at(row.record, word)) for word in range(3))
    if to != of:
        ctypes.memmove(to, of, nbytes)
    return number + 1


def _note(row: Row, number: int) -> int:
    words = _get(row.record)
    if _get(words) < 0:
        _set(words, 0)
        _set(words + _WORD, 0)
    return number + 1


_KINDS: Final[dict[ControlKind, Callable[[Row, int], int]]] = {
    ControlKind.BEGIN: _begin,
    ControlKind.END: _end,
    ControlKind.UNLESS: _unless,
    ControlKind.CASE: _case,
    ControlKind.GO: _go,
    ControlKind.MOVE: _move,
    ControlKind.NOTE: _note,
}


PythonKernel = Callable[[int, int, int, int], None]
VOCABULARY: Final = {**lanes.VOCABULARY, **memory.VOCABULARY}

_kernels: Final[dict[int, PythonKernel]] = {}


def register(source: str) -> tuple[int, PythonKernel]:
    """The token and the callable ``(record address, own address, begin, end)`` of a source.

    Raises CompileError when the source is not valid Python or has no entry.
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
                row = follow(found, row)
