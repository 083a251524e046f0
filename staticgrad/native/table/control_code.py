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
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

#: The machine's symbol. It is an object that programs without loops and branches do not load.
SYMBOL: Final = "sg_control"


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


_TEXT: Final = """
; Where to go on behind a row of function 0; null where the fuel is used up.
define ptr @<symbol>(ptr %block, ptr %row) #0 {
entry:
  %record.at = getelementptr i64, ptr %row, i64 <word record>
  %record = load ptr, ptr %record.at, align 8
  %kind.at = getelementptr i64, ptr %row, i64 <word own>
  %kind = load i64, ptr %kind.at, align 8
  %total.at = getelementptr i64, ptr %row, i64 <word total>
  %total = load i64, ptr %total.at, align 8
  %next = getelementptr i64, ptr %row, i64 <words>
  %far = getelementptr [<words> x i64], ptr %row, i64 %total
  %left.at = getelementptr i64, ptr %record, i64 <LEFT>
  %number.at = getelementptr i64, ptr %record, i64 <NUMBER>
  %entries.at = getelementptr i64, ptr %record, i64 <ENTRIES>
  %rows.at = getelementptr i64, ptr %record, i64 <ROWS>
  %turns.at = getelementptr i64, ptr %record, i64 <TURNS>
  %second.at = getelementptr i64, ptr %record, i64 1
  %third.at = getelementptr i64, ptr %record, i64 2
  switch i64 %kind, label %go [
    i64 <BEGIN>, label %begin
    i64 <END>, label %end
    i64 <UNLESS>, label %unless
    i64 <CASE>, label %case
    i64 <MOVE>, label %move
    i64 <NOTE>, label %note
  ]
go:
  ret ptr %far
begin:
  %iterations = load i64, ptr %record, align 8
  %from.at = getelementptr i64, ptr %record, i64 <FROM>
  %from = load i64, ptr %from.at, align 8
  store i64 %iterations, ptr %left.at, align 8
  store i64 %from, ptr %number.at, align 8
  %begin.entries = load ptr, ptr %entries.at, align 8
  %begin.rows = load i64, ptr %rows.at, align 8
  %begin.turns = load i64, ptr %turns.at, align 8
  %begin.count = add i64 %begin.rows, %begin.turns
  %begin.last = getelementptr [<ENTRY> x i64], ptr %begin.entries, i64 %begin.count
  br label %begin.look
begin.look:
  %begin.at = phi ptr [ %begin.entries, %begin ], [ %begin.after, %begin.set ]
  %begin.more = icmp ult ptr %begin.at, %begin.last
  br i1 %begin.more, label %begin.set, label %begun
begin.set:
  %begin.word = load ptr, ptr %begin.at, align 8
  %begin.first.at = getelementptr i64, ptr %begin.at, i64 <FIRST>
  %begin.first = load i64, ptr %begin.first.at, align 8
  %begin.second.at = getelementptr i64, ptr %begin.at, i64 <SECOND>
  %begin.second = load i64, ptr %begin.second.at, align 8
  %begin.third.at = getelementptr i64, ptr %begin.at, i64 <THIRD>
  %begin.third = load i64, ptr %begin.third.at, align 8
  %begin.next.at = getelementptr i64, ptr %begin.at, i64 <NEXT>
  %begin.after.at = getelementptr i64, ptr %begin.at, i64 <AFTER>
  store i64 %begin.first, ptr %begin.word, align 8
  store i64 %begin.second, ptr %begin.next.at, align 8
  store i64 %begin.third, ptr %begin.after.at, align 8
  %begin.after = getelementptr i64, ptr %begin.at, i64 <ENTRY>
  br label %begin.look
begun:
  %is.empty = icmp sle i64 %iterations, 0
  %begun.next = select i1 %is.empty, ptr %far, ptr %next
  ret ptr %begun.next
end:
  %left = load i64, ptr %left.at, align 8
  %left.next = sub i64 %left, 1
  store i64 %left.next, ptr %left.at, align 8
  %number = load i64, ptr %number.at, align 8
  %by.at = getelementptr i64, ptr %record, i64 <BY>
  %by = load i64, ptr %by.at, align 8
  %number.next = add i64 %number, %by
  store i64 %number.next, ptr %number.at, align 8
  %entries = load ptr, ptr %entries.at, align 8
  %rows = load i64, ptr %rows.at, align 8
  %turns = load i64, ptr %turns.at, align 8
  %rows.last = getelementptr [<ENTRY> x i64], ptr %entries, i64 %rows
  %turns.last = getelementptr [<ENTRY> x i64], ptr %rows.last, i64 %turns
  br label %rows.look
rows.look:
  %rows.place = phi ptr [ %entries, %end ], [ %rows.after, %rows.set ]
  %rows.more = icmp ult ptr %rows.place, %rows.last
  br i1 %rows.more, label %rows.set, label %turns.look
rows.set:
  %rows.word = load ptr, ptr %rows.place, align 8
  %rows.by.at = getelementptr i64, ptr %rows.place, i64 <THIRD>
  %rows.by = load i64, ptr %rows.by.at, align 8
  %rows.next.at = getelementptr i64, ptr %rows.place, i64 <NEXT>
  %rows.value = load i64, ptr %rows.next.at, align 8
  store i64 %rows.value, ptr %rows.word, align 8
  %rows.value.next = add i64 %rows.value, %rows.by
  store i64 %rows.value.next, ptr %rows.next.at, align 8
  %rows.after = getelementptr i64, ptr %rows.place, i64 <ENTRY>
  br label %rows.look
turns.look:
  %turns.place = phi ptr [ %rows.last, %rows.look ], [ %turns.after, %turns.set ]
  %turns.more = icmp ult ptr %turns.place, %turns.last
  br i1 %turns.more, label %turns.set, label %ended
turns.set:
  %turns.word = load ptr, ptr %turns.place, align 8
  %turns.next.at = getelementptr i64, ptr %turns.place, i64 <NEXT>
  %turns.value = load i64, ptr %turns.next.at, align 8
  %turns.after.at = getelementptr i64, ptr %turns.place, i64 <AFTER>
  %turns.other = load i64, ptr %turns.after.at, align 8
  store i64 %turns.value, ptr %turns.word, align 8
  store i64 %turns.other, ptr %turns.next.at, align 8
  store i64 %turns.value, ptr %turns.after.at, align 8
  %turns.after = getelementptr i64, ptr %turns.place, i64 <ENTRY>
  br label %turns.look
ended:
  %is.last = icmp sle i64 %left.next, 0
  br i1 %is.last, label %out, label %again
out:
  ret ptr %next
again:
  %back = sub i64 0, %total
  %first = getelementptr [<words> x i64], ptr %row, i64 %back
  %fuel.at = getelementptr i64, ptr %block, i64 <head fuel>
  %fuel = load i64, ptr %fuel.at, align 8
  %cost.at = getelementptr i64, ptr %record, i64 <COST>
  %cost = load i64, ptr %cost.at, align 8
  %fuel.next = sub i64 %fuel, %cost
  store i64 %fuel.next, ptr %fuel.at, align 8
  %is.out = icmp slt i64 %fuel.next, 0
  br i1 %is.out, label %pause, label %back.again
back.again:
  ret ptr %first
pause:
  %resume.at = getelementptr i64, ptr %block, i64 <head resume>
  store ptr %first, ptr %resume.at, align 8
  ret ptr null
unless:
  %flag.at = load ptr, ptr %record, align 8
  %flag = load i8, ptr %flag.at, align 1
  %is.off = icmp eq i8 %flag, 0
  %unless.next = select i1 %is.off, ptr %far, ptr %next
  ret ptr %unless.next
case:
  %choice.at = load ptr, ptr %record, align 8
  %choice = load i64, ptr %choice.at, align 8
  %count = load i64, ptr %second.at, align 8
  %count.last = sub i64 %count, 1
  %is.above = icmp sgt i64 %choice, %count.last
  %choice.low = select i1 %is.above, i64 %count.last, i64 %choice
  %is.below = icmp slt i64 %choice.low, 0
  %chosen = select i1 %is.below, i64 0, i64 %choice.low
  %case.at = getelementptr i64, ptr %third.at, i64 %chosen
  %case.rows = load i64, ptr %case.at, align 8
  %case.next = getelementptr [<words> x i64], ptr %row, i64 %case.rows
  ret ptr %case.next
move:
  %to = load ptr, ptr %record, align 8
  %of = load ptr, ptr %second.at, align 8
  %nbytes = load i64, ptr %third.at, align 8
  %is.there = icmp eq ptr %to, %of
  %whole.1 = lshr i64 %nbytes, 6
  %whole.2 = shl i64 %whole.1, 6
  %whole = select i1 %is.there, i64 0, i64 %whole.2
  %until = select i1 %is.there, i64 0, i64 %nbytes
  br label %lines
lines:
  %line = phi i64 [ 0, %move ], [ %line.next, %line.copy ]
  %line.more = icmp ult i64 %line, %whole
  br i1 %line.more, label %line.copy, label %bytes
line.copy:
  %line.of = getelementptr i8, ptr %of, i64 %line
  %line.to = getelementptr i8, ptr %to, i64 %line
  %line.value = load <8 x i64>, ptr %line.of, align 1
  store <8 x i64> %line.value, ptr %line.to, align 1
  %line.next = add i64 %line, 64
  br label %lines
bytes:
  %byte = phi i64 [ %whole, %lines ], [ %byte.next, %byte.copy ]
  %byte.more = icmp ult i64 %byte, %until
  br i1 %byte.more, label %byte.copy, label %moved
byte.copy:
  %byte.of = getelementptr i8, ptr %of, i64 %byte
  %byte.to = getelementptr i8, ptr %to, i64 %byte
  %byte.value = load i8, ptr %byte.of, align 1
  store i8 %byte.value, ptr %byte.to, align 1
  %byte.next = add i64 %byte, 1
  br label %bytes
moved:
  ret ptr %next
note:
  %words = load ptr, ptr %record, align 8
  %noted = load i64, ptr %words, align 8
  %is.free = icmp slt i64 %noted, 0
  br i1 %is.free, label %note.now, label %noted.all
note.now:
  %words.found = getelementptr i64, ptr %words, i64 1
  store i64 0, ptr %words, align 8
  store i64 0, ptr %words.found, align 8
  br label %noted.all
noted.all:
  ret ptr %next
}
"""


def text(words: dict[str, int]) -> str:
    """The machine as LLVM IR: a function from a row of function 0 to the row that follows.

    ``words``: the numbers of a row's words by name, ``words`` how many they are, and ``head fuel``
    and ``head resume`` of the words at the head of a block.
    """
    values = {**{f"word {name}": number for name, number in words.items()}, **words}
    kinds: tuple[type[IntEnum], ...] = (ControlKind, LoopWord, EntryWord)
    values |= {member.name: int(member) for kind in kinds for member in kind}
    values["ENTRY"] = len(EntryWord)
    code = "".join(line for line in _TEXT.splitlines(True) if not line.startswith(";"))
    for name, number in values.items():
        code = code.replace(f"<{name}>", str(number))
    return code.replace("<symbol>", SYMBOL)
