"""Runs loops from their first row to their last, each by one worker: the function of a row.

Its record has ``ThroughWord`` words for each iteration: which rows of function 0 and others it runs
(``native.Row``, one behind the other; where those lead, ``control_code`` says), and the head that
takes what their iterations cost. That has fuel without end, so that no iteration is the last before
a return. A row of them runs the iterations ``first`` to ``total`` of its kernel.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from staticgrad.native.table import control_code

SYMBOL: Final = "sg_run_through"


class ThroughWord(IntEnum):
    """Words of an iteration: addresses of its first row, behind its last row, and of its head."""

    FIRST = 0
    BEHIND = 1
    HEAD = 2


_TEXT: Final = """
define void @<symbol>(ptr %record, ptr %own, i64 %begin, i64 %end) #0 {
entry:
  br label %look
look:
  %number = phi i64 [ %begin, %entry ], [ %number.next, %done ]
  %is.more = icmp slt i64 %number, %end
  br i1 %is.more, label %one, label %leave
one:
  %at = getelementptr [<WORDS> x i64], ptr %record, i64 %number
  %first = load ptr, ptr %at, align 8
  %behind.at = getelementptr i64, ptr %at, i64 <BEHIND>
  %behind = load ptr, ptr %behind.at, align 8
  %head.at = getelementptr i64, ptr %at, i64 <HEAD>
  %head = load ptr, ptr %head.at, align 8
  br label %row
row:
  %place = phi ptr [ %first, %one ], [ %next, %ran ]
  %function = load ptr, ptr %place, align 8
  %is.control = icmp eq ptr %function, null
  br i1 %is.control, label %control, label %call
control:
  %jumped = call ptr @<control>(ptr %head, ptr %place)
  br label %ran
call:
  %record.at = getelementptr i64, ptr %place, i64 <word record>
  %row.record = load ptr, ptr %record.at, align 8
  %own.at = getelementptr i64, ptr %place, i64 <word own>
  %own.offset = load i64, ptr %own.at, align 8
  %row.own = getelementptr i8, ptr %own, i64 %own.offset
  %from.at = getelementptr i64, ptr %place, i64 <word first>
  %from = load i64, ptr %from.at, align 8
  %total.at = getelementptr i64, ptr %place, i64 <word total>
  %total = load i64, ptr %total.at, align 8
  call void %function(ptr %row.record, ptr %row.own, i64 %from, i64 %total)
  %after = getelementptr i64, ptr %place, i64 <words>
  br label %ran
ran:
  %next = phi ptr [ %jumped, %control ], [ %after, %call ]
  %is.inside = icmp ult ptr %next, %behind
  br i1 %is.inside, label %row, label %done
done:
  %number.next = add i64 %number, 1
  br label %look
leave:
  ret void
}
"""


def text(words: dict[str, int]) -> str:
    """The function as LLVM IR, with a machine of its own (``control_code.text``)."""
    values = {**{f"word {name}": number for name, number in words.items()}, **words}
    values |= {"WORDS": len(ThroughWord), **{word.name: int(word) for word in ThroughWord}}
    code = _TEXT
    for name, number in values.items():
        code = code.replace(f"<{name}>", str(number))
    machine = control_code.text(words).replace("define ptr", "define internal ptr")
    return machine + code.replace("<symbol>", SYMBOL).replace("<control>", control_code.SYMBOL)
