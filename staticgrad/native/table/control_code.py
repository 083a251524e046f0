"""Rows that run nothing and say where to go on: loops, tests, branches. The driver as a machine.

A row of the table whose function is 0 is one of these. ``Row.own`` says which, ``Row.total`` how
many rows to go, and its record holds what it works on:

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

A loop moves the words of its entries (``EntryWord``), most of them operands in records of its body:
they point to a row of an array, further by so many bytes in each iteration, or to the two places of
a carried value by turns. Words of a loop inside are moved like others, so that loops may be nested.

Each iteration takes from ``Head.fuel`` what it is predicted to take. Where nothing is left, ``END``
notes in ``Head.resume`` where to go on, and the driver returns: so a signal is seen in a long loop.

The machine is written once, in the kernel language: compiled for the driver, and run as Python with
the jit off (``native.plain.control``).

Loops whose rows do not depend on each other run from their first row to their last, each by one
worker: ``THROUGH_SYMBOL`` is the function of such a row. Its record has ``ThroughWord`` words for
each iteration: which rows it runs, and the head that takes what their iterations cost. That has
fuel without end, so that no iteration is the last before a return. A row of them runs the
iterations ``first`` to ``total`` of its kernel.
"""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import Final

from staticgrad.native.constants import RuntimeCode, numbered, numbers_of, table_numbers

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


#: Words of memory, for sources of the kernel language.
WORD_ACCESS: Final = """
def at(words, number):
    return word(load1(words, number))


def put(words, number, value):
    store1(words, number, i64x1(value))
"""
#: A row with a function runs in one call; the address of the next one.
RUN_ROW: Final = f"""{WORD_ACCESS}

def run_row(block, place):
    row = ptr_i64(place)
    own = block + at(row, ROW_OWN)
    call(at(row, ROW_FUNCTION), at(row, ROW_RECORD), own, 0, at(row, ROW_TOTAL))
    return place + SIZE_OF_ROW


"""
_MACHINE: Final = """
def move(to, of, nbytes):
    whole = nbytes // 64
    for line in range(whole):
        store8(ptr_i64(to), 8 * line, load8(ptr_i64(of), 8 * line))
    for byte in range(64 * whole, nbytes):
        store1(ptr_u8(to), byte, load1(ptr_u8(of), byte))


def begin(record):
    put(record, LOOP_LEFT, at(record, LOOP_ITERATIONS))
    put(record, LOOP_NUMBER, at(record, LOOP_FROM))
    entries = at(record, LOOP_ENTRIES)
    for number in range(at(record, LOOP_ROWS) + at(record, LOOP_TURNS)):
        entry = ptr_i64(entries + number * SIZE_OF_ENTRY)
        put(ptr_i64(at(entry, ENTRY_WORD)), 0, at(entry, ENTRY_FIRST))
        put(entry, ENTRY_NEXT, at(entry, ENTRY_SECOND))
        put(entry, ENTRY_AFTER, at(entry, ENTRY_THIRD))


def end(record):
    put(record, LOOP_LEFT, at(record, LOOP_LEFT) - 1)
    put(record, LOOP_NUMBER, at(record, LOOP_NUMBER) + at(record, LOOP_BY))
    entries = at(record, LOOP_ENTRIES)
    rows = at(record, LOOP_ROWS)
    for number in range(rows + at(record, LOOP_TURNS)):
        entry = ptr_i64(entries + number * SIZE_OF_ENTRY)
        place = at(entry, ENTRY_NEXT)
        put(ptr_i64(at(entry, ENTRY_WORD)), 0, place)
        if number < rows:
            put(entry, ENTRY_NEXT, place + at(entry, ENTRY_THIRD))
        else:
            put(entry, ENTRY_NEXT, at(entry, ENTRY_AFTER))
            put(entry, ENTRY_AFTER, place)


def follow(block, row):
    kind = at(row, ROW_OWN)
    record = ptr_i64(at(row, ROW_RECORD))
    steps = at(row, ROW_TOTAL)
    if kind == CONTROL_BEGIN:
        begin(record)
        if at(record, LOOP_ITERATIONS) > 0:
            steps = 1
    elif kind == CONTROL_END:
        end(record)
        steps = -steps if at(record, LOOP_LEFT) > 0 else 1
        if steps < 0:
            fuel = at(block, HEAD_FUEL) - at(record, LOOP_COST)
            put(block, HEAD_FUEL, fuel)
            if fuel < 0:
                put(block, HEAD_RESUME, address(row) + steps * SIZE_OF_ROW)
                return ptr_i64(0)
    elif kind == CONTROL_UNLESS:
        if word(load1(ptr_u8(at(record, 0)), 0)) != 0:
            steps = 1
    elif kind == CONTROL_CASE:
        chosen = at(ptr_i64(at(record, 0)), 0)
        last = at(record, 1) - 1
        chosen = last if chosen > last else chosen
        steps = at(record, 2 + (0 if chosen < 0 else chosen))
    elif kind == CONTROL_MOVE:
        if at(record, 0) != at(record, 1):
            move(at(record, 0), at(record, 1), at(record, 2))
        steps = 1
    elif kind == CONTROL_NOTE:
        words = ptr_i64(at(record, 0))
        if at(words, 0) < 0:
            put(words, 0, 0)
            put(words, 1, 0)
        steps = 1
    return ptr_i64(address(row) + steps * SIZE_OF_ROW)


"""
_FOLLOW: Final = """def kernel(block, row):
    return address(follow(ptr_i64(block), ptr_i64(row)))
"""
_THROUGH: Final = """def kernel(record, own, begin, end):
    for number in range(begin, end):
        iteration = ptr_i64(record + number * SIZE_OF_THROUGH)
        head = ptr_i64(at(iteration, THROUGH_HEAD))
        behind = at(iteration, THROUGH_BEHIND)
        place = at(iteration, THROUGH_FIRST)
        while place < behind:
            row = ptr_i64(place)
            function = at(row, ROW_FUNCTION)
            if function == 0:
                place = address(follow(head, row))
            else:
                its = own + at(row, ROW_OWN)
                call(function, at(row, ROW_RECORD), its, at(row, ROW_FIRST), at(row, ROW_TOTAL))
                place = place + SIZE_OF_ROW
"""


@functools.cache
def code(through: bool = False) -> RuntimeCode:
    """The machine, ``kernel(block, row)``, which gives the row to go on with, or 0.

    With ``through``: the function of rows that run loops from their first row to their last.
    """
    numbers = table_numbers() | numbers_of(
        CONTROL=ControlKind, LOOP=LoopWord, ENTRY=EntryWord, THROUGH=ThroughWord
    )
    source = numbered(WORD_ACCESS + _MACHINE + (_THROUGH if through else _FOLLOW), numbers)
    return RuntimeCode(*((THROUGH_SYMBOL, 4) if through else (SYMBOL, 2)), source)
