"""The direct reading of a kernel source: syntax tree -> LLVM IR text, without Numba.

The same operations as in Numba's pipeline (:mod:`simd`), so the same bytes; it takes a fraction of
the time and needs llvmlite only, and it knows the kernel language and nothing else of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set

from staticgrad.native.language.emitter import SELDOM
from staticgrad.native.language.joins import Arrival, Join, Names, Path
from staticgrad.native.language.kinds import NOTHING, RANGE, WORD, Kind
from staticgrad.native.language.line_forms import Expression
from staticgrad.native.language.operations import OPERATORS
from staticgrad.native.language.statements import Block, If, Loop, Plain, Syntax
from staticgrad.native.language.translation import (
    FUNCTION,
    TIMELESS,
    Bound,
    FunctionTranslation,
    Translated,
    argument_name,
    text_of,
)


class _NoJoinError(Exception):
    """A name is read that has no value on some path here; a slot may have one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Loop:
    """A loop being read: where ``continue`` and ``break`` go, and what they bring with them."""

    def __init__(self, head: str, after: str, joins: list[tuple[str, Join]]) -> None:
        self.head, self.after, self.joins = head, after, joins
        self.counter: tuple[Join, Bound, Bound] | None = None  # of ``for``; its value; its step
        self.breaks: list[Path] = []
        self.mark = 0


def translated(
    syntax: Syntax,
    namespace: Mapping[str, object],
    kinds: tuple[Kind, ...],
    above: int,
    name: tuple[str, str],
) -> Translated:
    """A function for arguments of these kinds; ``name`` is its symbol and linkage.

    ``above`` are the lines of the source above it.
    """
    slotted: set[str] = set()
    while True:
        try:
            return SyntaxReader(syntax, namespace, kinds, above, slotted).run(*name)
        except _NoJoinError as error:
            slotted.add(error.name)


class SyntaxReader(FunctionTranslation):
    """Executes the statements of one function; ``above`` are the lines of the source above it.

    ``slotted`` are names that live on the stack: those that are read where not every path has
    given them a value.
    """

    def __init__(
        self,
        syntax: Syntax,
        namespace: Mapping[str, object],
        kinds: tuple[Kind, ...],
        above: int = 0,
        slotted: Set[str] = frozenset(),
    ) -> None:
        super().__init__(kinds, tuple(argument_name(kind, at) for at, kind in enumerate(kinds)))
        self.syntax = syntax
        self.above = above
        self.namespace = namespace
        self.slotted = slotted
        self.slots: dict[str, Bound] = {}
        self.names = Names(self.out)
        self.globals: dict[str, Bound] = {}
        """Names of the language and of helpers that were read."""
        self.lasting: dict[str, Bound] = {}
        """Names of what exists while compiling only."""
        self.kinds: dict[str, Kind] = {}
        self.assigned = syntax.assigned
        """How many statements assign each variable."""
        self.loops: list[_Loop] = []
        self.count = 0
        self.label = "entry"
        """The block being written."""
        self.open = True
        """Whether it has no terminator yet."""

    def run(self, symbol: str, linkage: str) -> Translated:
        """Lowers the body."""
        for name, value in zip(self.syntax.parameters, self.arguments, strict=True):
            self.bind(name, value)
        self._body(self.syntax.body)
        if self.open:
            self.give(Bound(NOTHING, ""))
        self.names.write()
        return self.framed(symbol, linkage)

    # -- blocks

    def _new_label(self) -> str:
        self.count += 1
        return f"b{self.count}"

    def _start(self, label: str) -> None:
        """Ends the current block, if it is open, by falling through into a new one."""
        if self.open:
            self.out.effect(f"br label %{label}")
        self.out.lines.append(f"{label}:")
        self.label = label
        self.open = True

    def _jump(self, label: str) -> None:
        self.out.effect(f"br label %{label}")
        self.open = False

    def _fork(self, bit: str, yes: str, no: str) -> None:
        weights = f", !prof !{SELDOM}" if bit in self.out.seldom else ""
        self.out.effect(f"br i1 {bit}, label %{yes}, label %{no}{weights}")
        self.open = False

    # -- names

    def bind(self, name: str, value: Bound) -> None:
        """Assigns a name, whose kind is that of its first value."""
        kind = self.kinds.setdefault(name, value.kind)
        if kind is not value.kind and kind != value.kind:
            raise self.failure(f"{name} is {kind.name} and becomes {value.kind.name}")
        if kind is RANGE or kind is FUNCTION or kind is NOTHING:
            if self.assigned[name] > 1:
                raise self.failure(f"{name}: a {kind.name} cannot be reassigned")
            self.lasting[name] = value
        elif name in self.slotted:
            slot = self.slots.get(name)
            if slot is None:
                slot = self.slots[name] = Bound(kind, self.out.slot(kind.llvm))
            self.out.effect(f"store {kind.llvm} {text_of(value)}, ptr {slot.value}, align 1")
        else:
            self.names.set(name, value)

    def _use(self, name: str) -> Bound:
        found = self.lasting.get(name)
        if found is not None:
            return found
        slot = self.slots.get(name)
        if slot is not None:
            loaded = self.out.read(f"load {slot.kind.llvm}, ptr {slot.value}, align 1")
            return Bound(slot.kind, loaded)
        if name in self.slotted:
            raise self.failure(f"{name} is used before it is assigned")
        raise _NoJoinError(name)

    # -- statements

    def _body(self, statements: Block) -> None:
        for statement in statements:
            if not self.open:
                return  # after return, break or continue
            self.line = self.above + statement.line
            if isinstance(statement, Plain):
                statement.act(self, statement.words)
            elif isinstance(statement, If):
                self._if(statement)
            elif statement.name:
                self._for(statement)
            else:
                self._while(statement)

    def give_back(self, value: Bound) -> None:
        """``return``."""
        self.give(value)
        self.open = False

    def go_on(self) -> None:
        """``continue``."""
        self._again(self.loops[-1])

    def leave_loop(self) -> None:
        """``break``."""
        loop = self.loops[-1]
        loop.breaks.append(Path(self.label, self.names.since(loop.mark)))
        self._jump(loop.after)

    def _if(self, statement: If) -> None:
        given, test = statement.given(), statement.test.test
        if given and test and self.are_words(given.names) and self.are_words(test.names):
            value, before = given.value.of(self), self.name(given.name)
            bit = test.bit(self, statement.test.words)
            self.bind(given.name, self.selected(bit, value, before))
            return
        bit = self._tested(statement.test)
        yes, after = self._new_label(), self._new_label()
        no = self._new_label() if statement.orelse else after
        self._fork(bit, yes, no)
        paths = [] if statement.orelse else [Path(self.label, {})]
        for label, branch in ((yes, statement.body), (no, statement.orelse)):
            if branch:
                names, known = self.names.mark(), self.out.mark()
                self._start(label)
                self._body(branch)
                if self.open:
                    paths.append(Path(self.label, self.names.since(names)))
                    self._jump(after)
                self.names.undo(names)
                self.out.forget(known)
        self._start(after)
        self.names.meet(paths)

    def _tested(self, test: Expression) -> str:
        """A test's i1 operand; of words, comparisons are joined without branches."""
        plain = test.test
        if plain is not None and self.are_words(plain.names):
            return plain.bit(self, test.words)
        return self.truth(test.of(self))

    def _while(self, statement: Loop) -> None:
        loop = self._head(statement)
        bit, inside = self._tested(statement.test), self._new_label()
        self._fork(bit, inside, loop.after)
        self._loop_body(loop, inside, statement.body)

    def _for(self, statement: Loop) -> None:
        found = statement.test.of(self)
        if found.kind is not RANGE:
            raise self.failure("for loops run over range(...)")
        start, stop, step = (Bound(WORD, value) for value in found.value)
        entry, loop = self.label, self._head(statement)
        value, join = self.names.counter(WORD)
        join.edges.append(Arrival(start, entry))
        current = Bound(WORD, value)
        loop.counter = join, current, step
        down = isinstance(step.value, int) and step.value < 0
        more = OPERATORS["gt" if down else "lt"]
        inside = self._new_label()
        self._fork(self.truth(self.call(more, [current, stop])), inside, loop.after)
        self._loop_body(loop, inside, statement.body, (statement.name, current))

    def _head(self, statement: Loop) -> _Loop:
        """Begins the block in which a loop asks whether it goes on."""
        head, after, entry = self._new_label(), self._new_label(), self.label
        self.out.enter()
        self._start(head)
        joins = self.names.head(entry, statement.assigned)
        return _Loop(head, after, joins)

    def _loop_body(
        self, loop: _Loop, label: str, body: Block, first: tuple[str, Bound] | None = None
    ) -> None:
        """The body, which ``first`` begins, and the block behind the loop."""
        leaving, known = self.label, self.out.mark()
        loop.mark = self.names.mark()
        self._start(label)
        if first is not None:
            self.bind(*first)
        self.loops.append(loop)
        self._body(body)
        self.loops.pop()
        if self.open:
            self._again(loop)
        self.names.undo(loop.mark)
        self.out.forget(known)
        self.out.leave()
        self._start(loop.after)
        self.names.meet([Path(leaving, {}), *loop.breaks])

    def _again(self, loop: _Loop) -> None:
        """Goes back to the head of a loop."""
        if loop.counter is not None:
            counter, current, step = loop.counter
            following = self.call(OPERATORS["add"], [current, step])
            counter.edges.append(Arrival(following, self.label))
        self.names.again(self.label, loop.joins)
        self._jump(loop.head)

    # -- values

    def are_words(self, names: Iterable[str]) -> bool:
        """Whether names stand for words, on every path."""
        return all(name in self.names and self.kinds[name] is WORD for name in names)

    def selected(self, bit: str, yes: Bound, no: Bound) -> Bound:
        """One of two words, both of which are known."""
        found = self.out.do(f"select i1 {bit}, i64 {text_of(yes)}, i64 {text_of(no)}")
        self.out.chosen[found] = bit, yes.value, no.value
        return Bound(WORD, found)

    def link(self, both: bool, value: Bound, following: Callable[[], Bound]) -> Bound:
        """``value and following`` (or ``or``); literal operands need no branch of their own."""

        def kept() -> Bound:
            return value

        if both:
            return self.either(value, following, kept)
        return self.either(value, kept, following)

    def either(self, condition: Bound, yes: Callable[[], Bound], no: Callable[[], Bound]) -> Bound:
        """The value of one of two expressions, of which only that one is evaluated."""
        labels, after = (self._new_label(), self._new_label()), self._new_label()
        self._fork(self.truth(condition), *labels)
        values: list[tuple[Bound, str]] = []
        for label, branch in zip(labels, (yes, no), strict=True):
            known = self.out.mark()
            self._start(label)
            values.append((branch(), self.label))
            self._jump(after)
            self.out.forget(known)
        self._start(after)
        kind = values[0][0].kind
        if any(value.kind != kind for value, _ in values) or kind in TIMELESS:
            raise self.failure("both values of a choice must be of one kind")
        edges = ", ".join(f"[ {text_of(value)}, %{label} ]" for value, label in values)
        return Bound(kind, self.out.read(f"phi {kind.llvm} {edges}"))

    def name(self, name: str) -> Bound:
        """What a name stands for: a variable, or what the language or a helper is called."""
        found = self.names.value(name)
        if found is not None:
            return found
        if name in self.assigned:
            return self._use(name)
        found = self.globals.get(name)
        if found is None:
            if name != "range" and name not in self.namespace:
                raise self.failure(f"{name} is not defined")
            value = range if name == "range" else self.namespace[name]
            found = self.globals[name] = self.literal(value)
        return found
