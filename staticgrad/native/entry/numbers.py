"""Numbers as feeds of inputs without axes, in the native entry (see ``text``).

A number that has the input's bytes, a float for float64 or a scalar of NumPy's, is read in its
object. Another is converted as the path in Python does it: to the nearest, by the default
floating-point environment, to the place in the arena where its plan has a copy of it.
"""

from __future__ import annotations

from typing import Final

from staticgrad.native.entry.text import EntryCode
from staticgrad.native.entry.words import CallWord, ObjectField
from staticgrad.records import NamedTuple

#: Whether conversions are those of the default environment: MXCSR without its flags, FPCR.
_X86: Final = """declare void @llvm.x86.sse.stmxcsr(ptr)
define internal i1 @sg_converts_by_default() #0 {
  %slot = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %slot)
  %word = load i32, ptr %slot, align 4
  %modes = and i32 %word, 65472
  %default = icmp eq i32 %modes, 8064
  ret i1 %default
}
"""
_ARM: Final = """declare i64 @llvm.aarch64.get.fpcr()
define internal i1 @sg_converts_by_default() #0 {
  %word = call i64 @llvm.aarch64.get.fpcr()
  %default = icmp eq i64 %word, 0
  ret i1 %default
}
"""


class Feeds(NamedTuple):
    """Words of the feeds on the stack.

    ``addresses``: where the elements are; ``converted``: 1 for a number that is converted;
    ``numbers``: its bytes then.
    """

    addresses: str
    converted: str
    numbers: str


def text(triple: str) -> str:
    """The function that ``read`` calls."""
    return _ARM if triple.startswith(("aarch64", "arm64")) else _X86


def read(c: EntryCode, calls: str, feeds: Feeds, feed: str, size: str, i: str) -> None:
    """Note a number, or where it is, for an input of ``size`` bytes; else jump to ``refuse``."""
    kind, single = c.field(feed, ObjectField.TYPE), c.is_(size, "eq", 4)
    value = c.value(f"getelementptr i8, ptr {feed}, i64 {int(ObjectField.VALUE)}")
    c.put(feeds.addresses, i, c.value(f"ptrtoint ptr {value} to i64"))

    def is_a(call: CallWord) -> str:
        return c.is_(kind, "eq", c.pointer(calls, call), "ptr")

    double = c.either(is_a(CallWord.float_type), is_a(CallWord.float64_type))
    own = c.value(f"select i1 {single}, i1 {is_a(CallWord.float32_type)}, i1 {double}")
    c.do(f"br i1 {own}, label %number_known, label %number_other")
    c.label("number_other")
    c.put(feeds.converted, i, 1)
    default = c.value("call i1 @sg_converts_by_default()")
    c.require(default, "refuse")
    c.do(f"br i1 {double}, label %number_double, label %number_whole")
    c.label("number_double")  # to float32
    found = c.value(f"load double, ptr {value}, align 8")
    _note_single(c, feeds, c.value(f"fptrunc double {found} to float"), i)
    c.do("br label %number_known")
    c.label("number_whole")
    c.require(is_a(CallWord.int_type), "refuse")
    whole = c.call(calls, CallWord.PyLong_AsLongLong, "i64", f"ptr {feed}")
    error = c.call(calls, CallWord.PyErr_Occurred, "ptr")
    c.require(c.is_(error, "eq", "null", "ptr"), "refuse")
    c.do(f"br i1 {single}, label %number_single, label %number_wide")
    c.label("number_single")
    _note_single(c, feeds, c.value(f"sitofp i64 {whole} to float"), i)
    c.do("br label %number_known")
    c.label("number_wide")
    wide = c.value(f"sitofp i64 {whole} to double")
    c.put(feeds.numbers, i, c.value(f"bitcast double {wide} to i64"))
    c.put(feeds.converted, i, 2)
    c.do("br label %number_known")
    c.label("number_known")


def _note_single(c: EntryCode, feeds: Feeds, number: str, i: str) -> None:
    bits = c.value(f"bitcast float {number} to i32")
    c.put(feeds.numbers, i, c.value(f"zext i32 {bits} to i64"))


def store(c: EntryCode, feeds: Feeds, address: str, i: str) -> None:
    """Write a number that is converted to its place in the arena; 4 bytes, or 8 where it is 2."""
    form = c.word(feeds.converted, i)
    with c.when(c.is_(form, "ne", 0)):
        place = c.value(f"inttoptr i64 {address} to ptr")
        number = c.word(feeds.numbers, i)
        c.do(f"br i1 {c.is_(form, 'eq', 2)}, label %store_wide, label %store_single")
        c.label("store_wide")
        c.do(f"store i64 {number}, ptr {place}, align 8")
        c.do("br label %stored")
        c.label("store_single")
        c.do(f"store i32 {c.value(f'trunc i64 {number} to i32')}, ptr {place}, align 4")
        c.do("br label %stored")
        c.label("stored")
