"""The native entry of a run as LLVM IR: feeds checked, results made, rows run, in one call.

The text is one function of CPython's calling convention for builtins, ``entry(self, feeds)``. It
serves every program: what it must know stands in words to which ``self``, an array, points
(``HeadWord``, ``RecordWord`` and ``HoldWord`` of ``words``; ``BoundWord`` where it is called
without arguments, ``feeds`` being NULL). Functions of the interpreter and of NumPy are called by
address (``CallWord``), so that the code has no symbols and may be kept on disk.

It answers None where it does not apply, before anything is changed that a run could see: for an
array that is not what the record says, a lock that is not ours alone, an index out of range.
Then the caller runs the checked path in Python, which finds the same again and words the error.

Nothing between the look at the state and the release of the interpreter lock runs Python code, nor
does anything until the state is given back: code that interrupts this thread finds no run under
way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from staticgrad.native.entry.words import BoundWord, CallWord, HeadWord, ObjectField

SYMBOL: Final = "sg_enter"


class EntryCode:
    """A function as it is written. Variables are stack slots, which LLVM makes registers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.slots: list[str] = []
        self._count = 0

    def new(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def value(self, instruction: str) -> str:
        name = self.new("%v")
        self.lines.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        self.lines.append(f"  {instruction}")

    # -- memory -----------------------------------------------------------------------------------

    def place(self, base: str, index: str | int) -> str:
        return self.value(f"getelementptr i64, ptr {base}, i64 {as_word(index)}")

    def word(self, base: str, index: str | int = 0, kind: str = "i64") -> str:
        return self.value(f"load {kind}, ptr {self.place(base, index)}, align 8")

    def pointer(self, base: str, index: str | int = 0) -> str:
        return self.word(base, index, "ptr")

    def put(self, base: str, index: str | int, value: str | int, kind: str = "i64") -> None:
        self.do(f"store {kind} {as_word(value)}, ptr {self.place(base, index)}, align 8")

    def field(self, thing: str, field: ObjectField, kind: str = "ptr") -> str:
        place = self.value(f"getelementptr i8, ptr {thing}, i64 {int(field)}")
        return self.value(f"load {kind}, ptr {place}, align 4")

    def variable(self, start: str, kind: str = "i64") -> str:
        name = self.new("%s")
        self.slots.append(f"  {name} = alloca {kind}, align 8")
        self.do(f"store {kind} {start}, ptr {name}, align 8")
        return name

    def get(self, variable: str, kind: str = "i64") -> str:
        return self.value(f"load {kind}, ptr {variable}, align 8")

    def set(self, variable: str, value: str, kind: str = "i64") -> None:
        self.do(f"store {kind} {value}, ptr {variable}, align 8")

    def room(self, count: str) -> str:
        """Words on the stack."""
        return self.value(f"alloca i64, i64 {count}, align 8")

    # -- arithmetic -------------------------------------------------------------------------------

    def add(self, one: str, two: str | int) -> str:
        return self.value(f"add i64 {one}, {as_word(two)}")

    def times(self, one: str, two: int) -> str:
        return self.value(f"mul i64 {one}, {two}")

    def is_(self, one: str, relation: str, two: str | int, kind: str = "i64") -> str:
        return self.value(f"icmp {relation} {kind} {one}, {as_word(two)}")

    def both(self, one: str, two: str) -> str:
        return self.value(f"and i1 {one}, {two}")

    def same(self, one: str, two: str) -> str:
        return self.value(f"icmp eq i1 {one}, {two}")

    def either(self, one: str, two: str) -> str:
        return self.value(f"or i1 {one}, {two}")

    # -- control ----------------------------------------------------------------------------------

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def require(self, condition: str, otherwise: str) -> None:
        """Go on where a condition holds, else to a label."""
        behind = self.new("fine")
        self.do(f"br i1 {condition}, label %{behind}, label %{otherwise}")
        self.label(behind)

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        yes, behind = self.new("then"), self.new("after")
        self.do(f"br i1 {condition}, label %{yes}, label %{behind}")
        self.label(yes)
        yield
        self.do(f"br label %{behind}")
        self.label(behind)

    @contextmanager
    def each(self, count: str) -> Iterator[str]:
        """For every number below a count."""
        at = self.variable("0")
        head, body, behind = self.new("head"), self.new("body"), self.new("end")
        self.do(f"br label %{head}")
        self.label(head)
        number = self.get(at)
        self.do(f"br i1 {self.is_(number, 'slt', count)}, label %{body}, label %{behind}")
        self.label(body)
        yield number
        self.set(at, self.add(number, 1))
        self.do(f"br label %{head}")
        self.label(behind)

    def call(self, calls: str, call: CallWord, result: str, *arguments: str) -> str:
        """``arguments`` with their types."""
        function = self.pointer(calls, call)
        text = f"call {result} {function}({', '.join(arguments)})"
        if result == "void":
            self.do(text)
            return ""
        return self.value(text)

    def function(self, head: str) -> str:
        return "\n".join([f"{head} {{", "entry:", *self.slots, *self.lines, "}"])


def as_word(value: str | int) -> str:
    """A name, or a number as text."""
    return value if isinstance(value, str) else str(int(value))


# -- the function that Python calls ---------------------------------------------------------------


def text() -> str:
    """``entry(self, feeds)``: collect the feeds and hold them, make the dict, run, let them go."""
    c = EntryCode()
    words = c.field("%self", ObjectField.DATA)
    is_bound = c.is_("%feeds", "eq", "null", "ptr")
    whose = c.pointer(words, BoundWord.HEAD)
    head = c.value(f"select i1 {is_bound}, ptr {whose}, ptr {words}")
    calls, count = c.pointer(head, HeadWord.CALLS_AT), c.word(head, HeadWord.FEEDS)
    room, kept = c.room(c.add(count, 1)), c.variable("0")
    result, made = c.variable("null", "ptr"), c.variable("null", "ptr")
    with c.when(c.is_(c.word(head, HeadWord.SINGLE), "eq", 0)):
        # before anything is looked at: the collector may run code here, on Python 3.11
        c.set(made, c.call(calls, CallWord.PyDict_New, "ptr"), "ptr")
        c.require(c.is_(c.get(made, "ptr"), "ne", "null", "ptr"), "leave")
    c.do(f"br i1 {is_bound}, label %bound, label %dict")
    c.label("bound")
    given = c.pointer(words, BoundWord.FEEDS_AT)
    with c.each(count) as i:
        _keep(c, calls, room, kept, c.pointer(given, i), i)
    c.do("br label %run")
    c.label("dict")
    c.require(
        c.is_(
            c.field("%feeds", ObjectField.TYPE), "eq", c.pointer(calls, CallWord.dict_type), "ptr"
        ),
        "leave",
    )
    size = c.call(calls, CallWord.PyDict_Size, "i64", "ptr %feeds")
    c.require(c.is_(size, "eq", count), "leave")
    names, keys = c.pointer(head, HeadWord.NAMES_AT), c.pointer(head, HeadWord.KEYS_AT)
    with c.each(count) as i:
        name = c.pointer(names, i)
        get = CallWord.PyDict_GetItemWithError
        found = c.variable(c.call(calls, get, "ptr", "ptr %feeds", f"ptr {name}"), "ptr")
        key = c.pointer(keys, i)
        absent = c.is_(c.get(found, "ptr"), "eq", "null", "ptr")
        with c.when(c.both(absent, c.is_(key, "ne", "null", "ptr"))):
            c.set(found, c.call(calls, get, "ptr", "ptr %feeds", f"ptr {key}"), "ptr")
        c.require(c.is_(c.get(found, "ptr"), "ne", "null", "ptr"), "leave")
        _keep(c, calls, room, kept, c.get(found, "ptr"), i)
    c.do("br label %run")
    c.label("run")
    whose = c.value(f"select i1 {is_bound}, ptr {words}, ptr null")
    ran = c.value(
        f"call ptr @sg_run_entered(ptr {head}, ptr {room}, ptr {c.get(made, 'ptr')}, ptr {whose})"
    )
    c.set(result, ran, "ptr")
    failed = c.is_(ran, "eq", "null", "ptr")
    c.do(f"br i1 {failed}, label %error, label %taken")
    c.label("taken")
    refused = c.is_(ran, "eq", c.pointer(calls, CallWord.none), "ptr")
    c.do(f"br i1 {refused}, label %leave, label %end")
    _endings(c, calls, made, result, room, kept)
    return c.function(f"define ptr @{SYMBOL}(ptr %self, ptr %feeds) #0")


def _keep(c: EntryCode, calls: str, room: str, kept: str, thing: str, i: str) -> None:
    c.call(calls, CallWord.Py_IncRef, "void", f"ptr {thing}")
    c.put(room, i, thing, "ptr")
    c.set(kept, c.add(i, 1))


def _endings(c: EntryCode, calls: str, made: str, result: str, room: str, kept: str) -> None:
    """``leave`` answers None, ``error`` passes an exception on; both drop the dict."""
    c.label("leave")
    c.call(calls, CallWord.PyErr_Clear, "void")
    none = c.pointer(calls, CallWord.none)
    c.call(calls, CallWord.Py_IncRef, "void", f"ptr {none}")
    c.set(result, none, "ptr")
    c.do("br label %error")
    c.label("error")
    with c.when(c.is_(c.get(made, "ptr"), "ne", "null", "ptr")):
        c.call(calls, CallWord.Py_DecRef, "void", f"ptr {c.get(made, 'ptr')}")
    c.do("br label %end")
    c.label("end")
    with c.each(c.get(kept)) as i:
        c.call(calls, CallWord.Py_DecRef, "void", f"ptr {c.pointer(room, i)}")
    c.do(f"ret ptr {c.get(result, 'ptr')}")
