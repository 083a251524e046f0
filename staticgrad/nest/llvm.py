"""A nest to LLVM IR, straight from its records: no text is read.

The operations, the joins of variables and the text around a function are those of
``native.language``. What a nest prints is known to the reader of sources as already read
(``remember``): it takes these records in the place of lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from staticgrad.native.language import frontend
from staticgrad.native.language.frontend import SyntaxReader
from staticgrad.native.language.kinds import REAL, TRUTH, WORD, Pointer
from staticgrad.native.language.operations import FUNCTIONS, OPERATORS
from staticgrad.native.language.statements import Plain, Syntax
from staticgrad.native.language.translation import Bound
from staticgrad.nest.records import Apply, Block, Do, For, Let, Name, Nest, Offset, Text, When

_LITERALS: Final = {bool: TRUTH, int: WORD, float: REAL}


def remember(nest: Nest, source: str) -> None:
    """Let the reader of sources take the records of a nest when it meets its text."""
    parameters = tuple(name.text for name in nest.parameters)
    body: Any = (Plain(1, _written, (nest,), None),)  # type: ignore[arg-type]
    entry = Syntax("kernel", parameters, body, dict.fromkeys(parameters, 1))
    frontend.remember_entry(frontend.parts_of(source)[-1], entry)


def _written(reader: SyntaxReader, words: Any) -> None:
    (nest,) = words
    writer = _Writer(reader, nest.parameters)
    writer.read_parameters()
    writer.block(nest.body)


class _Writer:
    """Executes the statements of a nest on a reader of sources."""

    def __init__(self, reader: SyntaxReader, parameters: Sequence[Name]) -> None:
        self.reader, self.out = reader, reader.out
        self.parameters = parameters
        self.values: dict[Name, Bound] = {}
        self.functions: dict[str, Bound] = {}

    def read_parameters(self) -> None:
        """Take what the parameters hold now: a text may assign the iterations of a call."""
        self.values.update((name, self.reader.name(name.text)) for name in self.parameters)

    def block(self, block: Block) -> None:
        reader, values = self.reader, self.values
        for s in block:
            if isinstance(s, Let):
                value = self.operation(s.value)
                if s.name.is_variable:
                    reader.bind(s.name.text, value)
                else:
                    values[s.name] = value
            elif isinstance(s, Do):
                if s.value.name == "break":
                    reader.leave_loop()
                else:
                    self.operation(s.value)
            elif isinstance(s, For):
                self.counted(s)
            elif isinstance(s, Text):
                for name, held in s.bound:
                    reader.bind(name, self.arg(held))
                reader.read(s.lines)
                self.read_parameters()
            else:
                branch = partial(self.block, s.body)
                if isinstance(s, When):
                    branches = [branch, partial(self.block, s.orelse)] if s.orelse else [branch]
                    reader.branched(self.test(s.test), branches)
                else:
                    assigned = [v.text for v in s.assigned]
                    reader.repeated(partial(self.test, s.test), assigned, branch)

    def counted(self, s: For) -> None:
        def body(index: Bound) -> None:
            self.values[s.counter] = index
            self.block(s.body)

        start, stop, step = (self.arg(each) for each in (s.start, s.stop, s.step))
        self.reader.counted(start, stop, step, [v.text for v in s.assigned], body)

    def test(self, op: Apply) -> str:
        return self.reader.truth(self.operation(op))

    def arg(self, arg: Any) -> Bound:
        if type(arg) is Name:
            if arg.is_variable:
                found = self.reader.names.value(arg.text)
                assert found is not None
                return found
            return self.values[arg]
        return Bound(_LITERALS[type(arg)], arg)

    def operation(self, op: Apply) -> Bound:
        name, args = op
        if len(args) > 1 and type(args[1]) is Offset:
            pointer, index = self.place(self.arg(args[0]), args[1], name == "at")
            if name == "at":
                return pointer
            given = [pointer, index, *map(self.arg, args[2:])]
        else:
            given = [self.arg(each) for each in args]
        if name == "copy":
            return given[0]
        operation = OPERATORS.get(name) or FUNCTIONS.get(name)
        if operation is not None:
            return self.reader.call(operation, given)
        if name.startswith("choose_"):
            bit = self.reader.truth(self.reader.call(OPERATORS[name[7:]], given[:2]))
            return self.reader.selected(bit, *given[2:])
        if name == "inside":
            return self.reader.selected(self.both("and", "ge", "lt", given), *given[2:])
        if name == "outside":
            return Bound(TRUTH, self.both("or", "lt", "ge", given))
        return self.reader.named_call(self.reader.name(name).value, given)

    def both(self, joined: str, low: str, high: str, given: list[Bound]) -> str:
        """A test of a word against 0 and one against an extent, joined without a branch."""
        call, at = self.reader.call, given[0]
        tests = [call(OPERATORS[low], [at, Bound(WORD, 0)]), call(OPERATORS[high], given[:2])]
        bits = [self.reader.truth(test) for test in tests]
        return self.out.do(f"{joined} i1 {bits[0]}, {bits[1]}")

    def place(self, pointer: Bound, place: Offset, whole: bool) -> tuple[Bound, Bound]:
        """The pointer and the index of an access; ``whole``: all of it goes into the pointer."""
        assert isinstance(pointer.kind, Pointer)
        element, at, call = pointer.kind.element.llvm, pointer.value, self.reader.call
        for a, b in place.terms:
            moved = call(OPERATORS["mul"], [self.arg(a), self.arg(b)]).value
            at = self.out.place(element, at, moved)
        if whole and place.constant:
            at = self.out.place(element, at, place.constant)
        return Bound(pointer.kind, at), Bound(WORD, place.constant)
