"""Rows of function 0 in plain Python: where a table goes on (``control_code`` says what they do).

Nobody interrupts a table that Python runs amid its loops by fuel: signals are seen between rows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

from staticgrad.native.constants import Row
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
