"""Rows that run nothing and say where to go on: loops, tests, branches. The driver as a machine.

A row of the table whose function is 0 is one of these. ``Row.scratch`` says which, ``Row.total``
how many rows to go, and its record holds what it works on:

- ``BEGIN`` begins a loop (``LoopWord``). It puts every word that the loop moves to its value in the
  first iteration. A loop without an iteration goes on ``total`` rows behind.
- ``END`` ends an iteration. It puts those words to their values in the next one and, where there is
  one, goes back by ``total`` rows.
- ``UNLESS`` goes on ``total`` rows behind where the byte that its record points to is 0.
- ``CASE`` reads an i64, to which the first word of its record points, and brings it between 0 and
  the second word. It goes on as many rows behind as the word says that has this number among those
  that follow.
- ``GO`` goes on ``total`` rows behind.
- ``MOVE`` copies bytes: to, from and how many. None where both are the same.
- ``NOTE`` notes a failure in check words that its record points to, unless one is noted there.
- ``PYTHON`` stands before a row that calls Python. In a run of the native entry the driver returns
  here, as where fuel is used up, and a run from Python begins anew (``Head.python``).

A loop moves the words of its entries (``EntryWord``), most of them operands in records of its body:
they point to a row of an array, further by so many bytes in each iteration, or to the two places of
a carried value by turns. Words of a loop inside are moved like others, so that loops may be nested.

Each iteration takes from ``Head.fuel`` what it is predicted to take. Where nothing is left, ``END``
notes in ``Head.resume`` where to go on, and the driver returns: so a signal is seen in a long loop.

The machine is written once, as functions of the kernel language: compiled for the driver, and run
as Python with the jit off (``native.plain.control``).

Loops whose rows do not depend on each other run from their first row to their last, each by one
worker: ``THROUGH_SYMBOL`` is the function of such a row. Its record has ``ThroughWord`` words for
each iteration: which rows it runs, and the head that takes what their iterations cost. That has
fuel without end, so that no iteration is the last before a return. A row of them runs the
iterations ``first`` to ``total`` of its kernel.
"""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from staticgrad.native.constants import SIZE_OF_ROW, Head, Row
from staticgrad.native.source import PythonSource, RuntimeCode

if TYPE_CHECKING:
    from staticgrad.native.language.typed import (
        Pointer,
        address,
        call,
        i64x1,
        load1,
        load8,
        ptr_i32,
        ptr_i64,
        ptr_u8,
        store1,
        store8,
        word,
    )

#: The machine's symbol. It is an object that programs without loops and branches do not load.
SYMBOL: Final = "sg_control"
THROUGH_SYMBOL: Final = "sg_run_through"


class ControlKind(IntEnum):
    """The action of a row of function 0."""

    BEGIN = 1
    END = 2
    UNLESS = 3
    CASE = 4
    GO = 5
    MOVE = 6
    NOTE = 7
    PYTHON = 8


class LoopWord(IntEnum):
    """The words of a loop's record.

    ``LEFT``: iterations to come, this one included. ``NUMBER``: that of the iteration, which a body
    may read. It begins with ``FROM`` and changes by ``BY``. ``ENTRIES`` is an address, of ``ROWS``
    entries that move by strides and ``TURNS`` behind them that take turns. ``COST``: predicted
    nanoseconds of an iteration.
    """

    ITERATIONS = 0
    LEFT = 1
    NUMBER = 2
    FROM = 3
    BY = 4
    ENTRIES = 5
    ROWS = 6
    TURNS = 7
    COST = 8


class EntryWord(IntEnum):
    """The words of an entry: the address of a word, and its values.

    ``FIRST`` in the first iteration, ``SECOND`` in the second one. Then it moves by ``THIRD``
    bytes, or is ``THIRD`` and ``SECOND`` by turns. ``NEXT`` and ``AFTER`` are the loop's.
    """

    WORD = 0
    FIRST = 1
    SECOND = 2
    THIRD = 3
    NEXT = 4
    AFTER = 5


class ThroughWord(IntEnum):
    """Words of an iteration: addresses of its first row, behind its last row, and of its head."""

    FIRST = 0
    BEHIND = 1
    HEAD = 2


#: Bytes of an entry, and of the words of an iteration that runs through.
SIZE_OF_ENTRY: Final = 8 * len(EntryWord)
SIZE_OF_THROUGH: Final = 8 * len(ThroughWord)


def at(words: Pointer, number: int) -> int:
    """Return a word of memory."""
    return word(load1(words, number))


def store_word(words: Pointer, number: int, value: int) -> None:
    """Set a word of memory."""
    store1(words, number, i64x1(value))


def run_row(block: int, place: int) -> int:
    """Run a row with a function in one call; return the address of the next one."""
    row = ptr_i64(place)
    scratch = block + at(row, Row.scratch)
    call(at(row, Row.function), at(row, Row.record), scratch, 0, at(row, Row.total))
    return place + SIZE_OF_ROW


def move(to: int, of: int, nbytes: int) -> None:
    """Copy bytes: 64 at a time, then 8, then 4; most carries of a loop are a few numbers."""
    words = nbytes // 8
    lines = words // 8
    for line in range(lines):
        store8(ptr_i64(to), 8 * line, load8(ptr_i64(of), 8 * line))
    for number in range(8 * lines, words):
        store1(ptr_i64(to), number, load1(ptr_i64(of), number))
    halves = nbytes // 4
    for number in range(2 * words, halves):
        store1(ptr_i32(to), number, load1(ptr_i32(of), number))
    for byte in range(4 * halves, nbytes):
        store1(ptr_u8(to), byte, load1(ptr_u8(of), byte))


def begin(record: Pointer) -> None:
    """Set the words of a table's loop to their values in the first iteration."""
    store_word(record, LoopWord.LEFT, at(record, LoopWord.ITERATIONS))
    store_word(record, LoopWord.NUMBER, at(record, LoopWord.FROM))
    entries = at(record, LoopWord.ENTRIES)
    for number in range(at(record, LoopWord.ROWS) + at(record, LoopWord.TURNS)):
        entry = ptr_i64(entries + number * SIZE_OF_ENTRY)
        store_word(ptr_i64(at(entry, EntryWord.WORD)), 0, at(entry, EntryWord.FIRST))
        store_word(entry, EntryWord.NEXT, at(entry, EntryWord.SECOND))
        store_word(entry, EntryWord.AFTER, at(entry, EntryWord.THIRD))


def end(record: Pointer) -> None:
    """Set the words of a table's loop to their values in the next iteration."""
    store_word(record, LoopWord.LEFT, at(record, LoopWord.LEFT) - 1)
    store_word(record, LoopWord.NUMBER, at(record, LoopWord.NUMBER) + at(record, LoopWord.BY))
    entries = at(record, LoopWord.ENTRIES)
    rows = at(record, LoopWord.ROWS)
    for number in range(rows + at(record, LoopWord.TURNS)):
        entry = ptr_i64(entries + number * SIZE_OF_ENTRY)
        place = at(entry, EntryWord.NEXT)
        store_word(ptr_i64(at(entry, EntryWord.WORD)), 0, place)
        if number < rows:
            store_word(entry, EntryWord.NEXT, place + at(entry, EntryWord.THIRD))
        else:
            store_word(entry, EntryWord.NEXT, at(entry, EntryWord.AFTER))
            store_word(entry, EntryWord.AFTER, place)


def follow(block: Pointer, row: Pointer) -> Pointer:
    """Return the next row of a step's table after a control row; 0 where the driver returns."""
    kind = at(row, Row.scratch)
    record = ptr_i64(at(row, Row.record))
    steps = at(row, Row.total)
    if kind == ControlKind.BEGIN:
        begin(record)
        if at(record, LoopWord.ITERATIONS) > 0:
            steps = 1
    elif kind == ControlKind.END:
        end(record)
        steps = -steps if at(record, LoopWord.LEFT) > 0 else 1
        if steps < 0:
            fuel = at(block, Head.fuel) - at(record, LoopWord.COST)
            store_word(block, Head.fuel, fuel)
            if fuel < 0:
                store_word(block, Head.resume, address(row) + steps * SIZE_OF_ROW)
                return ptr_i64(0)
    elif kind == ControlKind.UNLESS:
        if word(load1(ptr_u8(at(record, 0)), 0)) != 0:
            steps = 1
    elif kind == ControlKind.CASE:
        chosen = at(ptr_i64(at(record, 0)), 0)
        last = at(record, 1) - 1
        chosen = last if chosen > last else chosen
        steps = at(record, 2 + (0 if chosen < 0 else chosen))
    elif kind == ControlKind.MOVE:
        if at(record, 0) != at(record, 1):
            move(at(record, 0), at(record, 1), at(record, 2))
        steps = 1
    elif kind == ControlKind.NOTE:
        words = ptr_i64(at(record, 0))
        if at(words, 0) < 0:
            store_word(words, 0, 0)
            store_word(words, 1, 0)
        steps = 1
    elif kind == ControlKind.PYTHON:
        if at(block, Head.python) == 0:
            store_word(block, Head.resume, address(row))
            return ptr_i64(0)
        store_word(block, Head.python, 2)
        steps = 1
    return ptr_i64(address(row) + steps * SIZE_OF_ROW)


def follow_row(block: int, row: int) -> int:
    """Return the same by addresses."""
    return address(follow(ptr_i64(block), ptr_i64(row)))


def run_through(record: int, scratch: int, begin: int, end: int) -> None:
    """Run iterations of a loop in a step's table, each from its first row to its last."""
    for number in range(begin, end):
        iteration = ptr_i64(record + number * SIZE_OF_THROUGH)
        head = ptr_i64(at(iteration, ThroughWord.HEAD))
        row_end = at(iteration, ThroughWord.BEHIND)
        place = at(iteration, ThroughWord.FIRST)
        while place < row_end:
            row = ptr_i64(place)
            function = at(row, Row.function)
            if function == 0:
                place = address(follow(head, row))
            else:
                its = scratch + at(row, Row.scratch)
                call(function, at(row, Row.record), its, at(row, Row.first), at(row, Row.total))
                place = place + SIZE_OF_ROW


@functools.cache
def code(through: bool = False) -> RuntimeCode:
    """Return the runtime code ``kernel(block, row)`` that steps through control rows of a table.

    With ``through``: the function of rows that run loops from their first row to their last.
    """
    if through:
        return RuntimeCode(THROUGH_SYMBOL, PythonSource(run_through))
    return RuntimeCode(SYMBOL, PythonSource(follow_row))
