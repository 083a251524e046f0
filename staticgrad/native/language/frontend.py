"""Kernel source text -> LLVM module text, directly, without Numba: the ``vector`` backend.

A helper function is parsed once per process, and lowered once for each choice of argument kinds;
it is then pasted into the modules of the kernels that call it. :mod:`by_numba.frontend` splits
sources the same way.

The direct reading of a kernel source: syntax tree -> LLVM IR text, without Numba.

The same operations as in Numba's pipeline (:mod:`simd`), so the same bytes; it takes a fraction of
the time, needs llvmlite only, and supports only the kernel language, not the rest of Python.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Final

from staticgrad.native.constants import CONSTANTS, ENTRY, OUTLINED, SHARED
from staticgrad.native.language import statements
from staticgrad.native.language.emitter import SELDOM, declaration
from staticgrad.native.language.kinds import ELEMENTS, NOTHING, RANGE, WORD, Kind, Pointer
from staticgrad.native.language.line_forms import Expression
from staticgrad.native.language.operations import FUNCTIONS, OPERATORS
from staticgrad.native.language.statements import Block, If, Loop, Plain, Syntax
from staticgrad.native.language.translation import (
    FUNCTION,
    TIMELESS,
    Arrival,
    Bound,
    FunctionTranslation,
    Helper,
    Join,
    KernelSourceError,
    Names,
    Path,
    Translated,
    argument_name,
    text_of,
)
from staticgrad.records import dataclass, replace


class _NoJoinError(Exception):
    """A name is read that has no value on some path here; a slot may have one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Loop:
    """A loop being read: the targets of ``continue`` and ``break``, and the values they carry."""

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
        """Names of objects that exist only while compiling."""
        self.kinds: dict[str, Kind] = {}
        self.assigned = syntax.assigned
        """The number of statements that assign each variable."""
        self.loops: list[_Loop] = []
        self.count = 0
        self.label = "entry"
        """The block being written."""
        self.open = True
        """True if the block has no terminator yet."""

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

    def read(self, lines: Sequence[str]) -> None:
        """Execute lines of a source among statements that come from elsewhere."""
        text = "\n    ".join(["def text():", *lines])
        syntax = statements.read(text) or _functions(text)[0].syntax
        self.assigned = {**self.assigned, **syntax.assigned}
        self._body(syntax.body)

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
        branches = [statement.body, statement.orelse] if statement.orelse else [statement.body]
        bit = self._tested(statement.test)
        self.branched(bit, [functools.partial(self._body, branch) for branch in branches])

    def branched(self, bit: str, branches: Sequence[Callable[[], None]]) -> None:
        """Write one of one or two branches, by a test."""
        yes, after = self._new_label(), self._new_label()
        no = self._new_label() if len(branches) > 1 else after
        self._fork(bit, yes, no)
        paths = [] if len(branches) > 1 else [Path(self.label, {})]
        for label, branch in zip((yes, no), branches, strict=False):
            names, known = self.names.mark(), self.out.mark()
            self._start(label)
            branch()
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
        self.out.enter()
        body = functools.partial(self._body, statement.body)
        self.repeated(lambda: self._tested(statement.test), statement.assigned, body)
        self.out.leave()

    def repeated(
        self, test: Callable[[], str], assigned: Iterable[str], body: Callable[[], None]
    ) -> None:
        """Write a loop as long as a test holds."""
        loop = self._head(assigned)
        bit, inside = test(), self._new_label()
        self._fork(bit, inside, loop.after)
        self._loop_body(loop, inside, body)

    def _for(self, statement: Loop) -> None:
        found = statement.test.of(self)
        if found.kind is not RANGE:
            raise self.failure("for loops run over range(...)")
        start, stop, step = (Bound(WORD, value) for value in found.value)

        def body(current: Bound) -> None:
            self.bind(statement.name, current)
            self._body(statement.body)

        self.out.enter()
        self.counted(start, stop, step, statement.assigned, body)
        self.out.leave()

    def counted(
        self,
        start: Bound,
        stop: Bound,
        step: Bound,
        assigned: Iterable[str],
        body: Callable[[Bound], None],
    ) -> None:
        """Write a loop over a range."""
        entry, loop = self.label, self._head(assigned)
        value, join = self.names.counter(WORD)
        join.edges.append(Arrival(start, entry))
        current = Bound(WORD, value)
        loop.counter = join, current, step
        down = isinstance(step.value, int) and step.value < 0
        more = OPERATORS["gt" if down else "lt"]
        inside = self._new_label()
        self._fork(self.truth(self.call(more, [current, stop])), inside, loop.after)
        self._loop_body(loop, inside, lambda: body(current))

    def _head(self, assigned: Iterable[str]) -> _Loop:
        """Begin the block that tests whether a loop continues."""
        head, after, entry = self._new_label(), self._new_label(), self.label
        self._start(head)
        return _Loop(head, after, self.names.head(entry, assigned))

    def _loop_body(self, loop: _Loop, label: str, body: Callable[[], None]) -> None:
        """The body, and the block behind the loop."""
        leaving, known = self.label, self.out.mark()
        loop.mark = self.names.mark()
        self._start(label)
        self.loops.append(loop)
        body()
        self.loops.pop()
        if self.open:
            self._again(loop)
        self.names.undo(loop.mark)
        self.out.forget(known)
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
        """Return whether names stand for words on every path."""
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
        """Return the meaning of a name: a variable, or an operation or helper of that name."""
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


KERNEL_KINDS: Final[tuple[Kind, ...]] = (
    Pointer(ELEMENTS["i64"]),
    Pointer(ELEMENTS["i64"]),
    WORD,
    WORD,
)


@dataclass(frozen=True)
class Function:
    """One function of a source: its text, its statements, and how many lines stand above it."""

    body: str
    syntax: Syntax
    above: int = 0

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.syntax.name

    @property
    def tree(self) -> ast.FunctionDef:
        """Python's syntax tree of the text."""
        (found,) = ast.parse(self.body).body
        assert isinstance(found, ast.FunctionDef)
        return found


#: Lines of LLVM IR that the copies of one helper in one kernel have at most. Beyond, calls cost
#: less than code that the processor's cache does not hold, and LLVM compiles them sooner.
_MOST_COPIED: Final = 3000

#: Text of a helper's part -> the function, with the line numbers of the part.
_parsed: Final[dict[str, Function]] = {}
#: The same of entries that were written as statements before their text was printed.
_entries: Final[dict[str, Function]] = {}
_MOST_ENTRIES: Final = 256


def remember_entry(part: str, syntax: Syntax) -> None:
    """Use these statements for the entry of this text instead of reading it."""
    if len(_entries) >= _MOST_ENTRIES:
        del _entries[next(iter(_entries))]
    _entries[part] = Function(part, syntax)


def split_source(source: str) -> dict[str, Function]:
    """The functions of a kernel source, by name, in order; raises KernelSourceError otherwise."""
    found = _functions_by_part(source)
    functions = {each.name: each for each in (_functions(source) if found is None else found)}
    if ENTRY not in functions:
        raise KernelSourceError(f"kernel source without a function named {ENTRY}")
    return functions


def _functions(source: str) -> list[Function]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise KernelSourceError(f"kernel source line {error.lineno}: {error.msg}") from error
    lines = source.splitlines()
    functions = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            raise KernelSourceError(f"kernel source line {node.lineno}: only functions stand here")
        body = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        above = node.lineno - 1
        ast.increment_lineno(node, -above)
        functions.append(Function(body, statements.of_tree(node), above))
    return functions


def _functions_by_part(source: str) -> list[Function] | None:
    """Return the same without parsing known helpers again; None if a part is not one function.

    If each part by itself is one function, then the source is those functions: no part ends within
    a string, a bracket or a line.
    """
    functions, above = [], 0
    for part in parts_of(source):
        function = _parsed.get(part) or _entries.get(part)
        if function is None:
            syntax = statements.read(part)
            try:
                (function,) = _functions(part) if syntax is None else [_plain(part, syntax)]
            except (KernelSourceError, ValueError):  # the latter: several, or none
                return None
            if function.name != ENTRY:
                _parsed[part] = function
        functions.append(replace(function, above=above + function.above))
        above += part.count("\n") + 1
    return functions


def parts_of(source: str) -> list[str]:
    """A source without the ends of lines before which it is cut: there a function may begin."""
    first, *others = source.split("\ndef ")
    return [first, *[f"def {each}" for each in others]]


def _plain(part: str, syntax: Syntax) -> Function:
    return Function(part.rstrip("\n"), syntax)


class _SourceHelper(Helper):
    """One helper's text with the helpers it may call."""

    def __init__(self, function: Function, digest: str, visible: dict[str, Helper]) -> None:
        super().__init__(functools.cache(self._lower))
        self.function = function
        self.digest = digest
        self.visible = visible

    def _lower(self, kinds: tuple[Kind, ...]) -> Translated:
        suffix = "_".join(kind.name for kind in kinds)
        # a name by which kernels share a function says all of its content
        digest = self.digest if self.function.name.startswith(SHARED) else self.digest[:8]
        symbol = f"{self.function.name}_{suffix}_{digest}"
        return _lower(self.function, self.visible, kinds, (symbol, "internal "))


_helpers: dict[str, _SourceHelper] = {}


def _lower(
    function: Function, visible: dict[str, Helper], kinds: tuple[Kind, ...], name: tuple[str, str]
) -> Translated:
    """``name`` is the symbol and its linkage."""
    count = len(function.syntax.parameters)
    if count != len(kinds):
        raise KernelSourceError(f"{function.name} takes {count} arguments, given {len(kinds)}")
    namespace: dict[str, Any] = {**FUNCTIONS, **CONSTANTS, **visible}
    return translated(function.syntax, namespace, kinds, function.above, name)


def _helper(function: Function, visible: dict[str, _SourceHelper]) -> _SourceHelper:
    called = {name: helper for name, helper in visible.items() if name in function.body}
    parts = [function.body, *(helper.digest for helper in called.values())]
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    found = _helpers.get(digest)
    if found is None:
        found = _helpers[digest] = _SourceHelper(function, digest, dict(called))
    return found


@dataclass(frozen=True)
class Modules:
    """The LLVM module of a kernel, and those of the functions that it shares, by their symbols."""

    kernel: str
    shared: dict[str, str]


def module_text(source: str, symbol: str) -> str:
    """The LLVM module of a kernel: its entry as ``symbol(record, own, begin, end)``, with its
    helpers.

    Raises KernelSourceError when the source is not in the kernel language.
    """
    lowered = _lowered(source, symbol)
    return _text(lowered, [*dict(lowered.callees).values(), lowered.body])


def modules(source: str, symbol: str) -> Modules:
    """The same, but for helpers that kernels share: each of them is a module of its own.

    Raises KernelSourceError when the source is not in the kernel language.
    """
    lowered = _lowered(source, symbol)
    own = {name: body for name, body in lowered.callees if not name.startswith(SHARED)}
    shared = {name: body for name, body in lowered.callees if name.startswith(SHARED)}
    declared = [_declared(body) for body in shared.values()]
    kernel = _text(lowered, [*declared, *own.values(), lowered.body])
    return Modules(kernel, {name: _alone(lowered, body, own) for name, body in shared.items()})


def _declared(body: str) -> str:
    """The declaration of a function, of its definition's first line."""
    head = body.partition("{")[0]
    return head.replace("define internal", "declare", 1).replace("noinline", "", 1)


def _alone(lowered: Translated, body: str, helpers: dict[str, str]) -> str:
    """A module of one function that others call, with the helpers that it calls itself."""
    parts, waiting = [body.replace("define internal", "define", 1)], [body]
    for text in waiting:
        called = [h for name, h in helpers.items() if _names(text, name) and h not in parts]
        parts += called
        waiting += called
    return _text(lowered, parts)


def _names(text: str, name: str) -> bool:
    """Return whether a function calls another one, or reads a table."""
    return f"@{name}" in text and re.search(rf"@{re.escape(name)}\b", text) is not None


def _text(lowered: Translated, parts: list[str]) -> str:
    """Return a module of functions, with declarations of the LLVM functions that they call."""
    body = "\n".join(parts)
    declared = [
        declaration(name, *types)
        for name, types in sorted(lowered.externals.items())
        if f"@{name}(" in body
    ]
    return "\n".join([*declared, body])


def _lowered(source: str, symbol: str) -> Translated:
    functions = split_source(source)
    entry = functions.pop(ENTRY)
    visible: dict[str, _SourceHelper] = {}
    for name, function in functions.items():
        visible[name] = _helper(function, visible)
    return _with_calls(_lower(entry, dict(visible), KERNEL_KINDS, (symbol, "")))


def _with_calls(kernel: Translated) -> Translated:
    """A kernel that calls those helpers whose copies would be too long; others are inlined."""
    lengths: dict[str, int] = {}
    body = kernel.body
    for name, text in kernel.callees:  # those that a helper calls come before it
        inner = sum(length * _calls(text, each) for each, length in lengths.items())
        lengths[name] = text.count("\n") + inner
        copied = 0 if name.startswith((OUTLINED, SHARED)) else lengths[name] * _calls(body, name)
        if copied > _MOST_COPIED:
            body = re.sub(rf"(?m)( call .*@{re.escape(name)}\(.*\))$", r"\1 noinline", body)
    return kernel if body is kernel.body else replace(kernel, body=body)


def _calls(text: str, name: str) -> int:
    """Return how often a function's text calls another."""
    return text.count(f"@{name}(")
