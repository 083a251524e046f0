"""Functions of kernels -> LLVM IR text, directly, without Numba: the ``vector`` backend.

A source gives its functions as records: those of a text are read by :mod:`reader`, nests are
records already. A helper is lowered once for each choice of argument kinds, and is a part of the
modules of the kernels that call it.

It needs llvmlite only, and supports the kernel language, not the rest of Python.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from staticgrad.native.constants import CONSTANTS, ENTRY, OUTLINED, SHARED
from staticgrad.native.language import masked_access, reader
from staticgrad.native.language.emitter import Emitter
from staticgrad.native.language.kinds import (
    ELEMENTS,
    NOTHING,
    REAL,
    TRUTH,
    WORD,
    Kind,
    Pointer,
)
from staticgrad.native.language.operations import FUNCTIONS, OPERATORS, Operation
from staticgrad.native.language.parts import (
    COMMON,
    INTERNAL,
    SELDOM,
    Module,
    ModulePart,
    external,
    module_with_uses,
)
from staticgrad.native.language.reader import Procedure
from staticgrad.native.language.records import Apply, Block, Do, For, If, Let, Name, Offset
from staticgrad.native.language.translation import (
    Arrival,
    Bound,
    Helper,
    Join,
    KernelSourceError,
    Names,
    Path,
    Translated,
    text_of,
)
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.native.target import Target

_LITERALS: Final = {bool: TRUTH, int: WORD, float: REAL}
_COMPARISONS: Final = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
#: Has registers that a kernel keeps on its stack lie within lines of the cache. Callers promise
#: 16 bytes, and LLVM takes no more for what registers have no room for: a vector on two lines is
#: stored and loaded in twice the time, in some threads and not in others.
_ALIGNED: Final = '"stackrealign"'
#: Operations of words that neither fail nor touch memory, and cost a few instructions.
_PLAIN: Final = frozenset({"add", "sub", "mul", "neg", "copy"})


class _Loop:
    """A loop being written: targets of ``continue`` and ``break``, and the values they carry."""

    def __init__(self, head: str, exit_label: str, joins: list[tuple[str, Join]]) -> None:
        self.head, self.exit_label, self.joins = head, exit_label, joins
        self.counter: tuple[Join, Bound, Bound] | None = None  # of ``for``; its value; its step
        self.breaks: list[Path] = []
        self.mark = 0


class FunctionWriter:
    """Writes the statements of one function.

    It finds kinds on the way (every variable has one kind, no promotion) and writes LLVM IR through
    the operations. No exceptions, no reference counts.

    ``values``: the names that are no variables.
    """

    def __init__(
        self,
        procedure: Procedure,
        namespace: Mapping[str, object],
        kinds: tuple[Kind, ...],
        target: Target,
    ) -> None:
        self.out = Emitter(target)
        self.arguments = [Bound(kind, f"%a{number}") for number, kind in enumerate(kinds)]
        self.result: Kind | None = None
        self.procedure, self.namespace = procedure, namespace
        self.assigned = {**procedure.assigned}
        self.values: dict[Name, Bound] = {}
        self.names = Names(self.out)
        self.kinds: dict[str, Kind] = {}
        self.loops: list[_Loop] = []
        self.calls: dict[str, list[int]] = {}
        """Lines of the calls of each helper."""
        self.count = 0
        self.label = "entry"
        """The block being written."""
        self.open = True
        """True if the block has no terminator yet."""

    def run(self, symbol: str, linkage: str) -> Translated:
        """Lower a kernel function's body to LLVM IR; return the function's text."""
        for name, value in zip(self.procedure.parameters, self.arguments, strict=True):
            self.bind(name.text, value)
            self.values[name] = value
        self.block(self.procedure.body)
        if self.open:
            self.give(Bound(NOTHING, ""))
        if not linkage:
            self._call_long_helpers()
        self.names.write()
        parts, uses = {**self.out.parts, **accesses(self.out)}, [*self.out.uses, *self.out.accesses]
        for called, types in self.out.externals.items():
            parts[called] = external(called, *types)
            uses.append(called)
        result = self.result or NOTHING
        inline = "noinline" if symbol.startswith((OUTLINED, SHARED)) else "alwaysinline"
        attributes = f"{inline} {COMMON}" if linkage else f"{COMMON} {_ALIGNED}"
        arguments = ", ".join(f"{bound.kind.llvm} {bound.value}" for bound in self.arguments)
        head = f"{result.llvm} @{symbol}({arguments})"
        body = "\n".join(["entry:", *self.out.scratch, *self.out.lines])
        part = ModulePart(symbol, "function", head, attributes, body, linkage, tuple(uses))
        return Translated(part, result, parts)

    def failure(self, message: str) -> KernelSourceError:
        """The error of an operation."""
        return KernelSourceError(f"a kernel's source: {message}")

    def give(self, value: Bound) -> None:
        """Emit the return of a function with its result."""
        if self.result is not None and self.result != value.kind:
            raise self.failure(f"returns both {self.result.name} and {value.kind.name}")
        self.result = value.kind
        if value.kind is NOTHING:
            self.out.effect("ret void")
        else:
            self.out.effect(f"ret {value.kind.llvm} {text_of(value)}")

    def truth(self, value: Bound) -> str:
        """An i1 operand."""
        return text_of(self.call(FUNCTIONS["bool"], [value]))

    def call(self, operation: Operation, arguments: Sequence[Bound]) -> Bound:
        """Emit an operation of the kernel language over values."""
        kinds, values = zip(*arguments, strict=True) if arguments else ((), ())
        result = operation.of(kinds)
        if result is None:
            raise self.failure(operation.refusal(kinds))
        try:
            value = operation.emit(self.out, kinds, values)
        except TypeError as error:
            raise self.failure(str(error)) from error
        return tuple.__new__(Bound, (result, value))  # as ``Bound`` makes it, in half of the time

    def _helper_call(self, helper: Helper, arguments: Sequence[Bound]) -> Bound:
        """Emit a call of a helper function, lowered for the kinds of its arguments."""
        kinds = tuple(argument.kind for argument in arguments)
        lowered = helper.lower(kinds, self.out.target)
        symbol = lowered.part.name
        self.out.parts.update(lowered.parts)
        self.out.use(lowered.part)
        passed = ", ".join(f"{item.kind.llvm} {text_of(item)}" for item in arguments)
        call = f"call {lowered.result.llvm} @{symbol}({passed})"
        self.calls.setdefault(symbol, []).append(len(self.out.lines))
        if lowered.result is NOTHING:
            self.out.effect(call)
            return Bound(NOTHING, "")
        return Bound(lowered.result, self.out.read(call))

    def _call_long_helpers(self) -> None:
        """Mark calls of helpers ``noinline`` where inlined copies would be too long."""
        lengths: dict[str, int] = {}
        for name, part in self.out.parts.items():  # those that a helper calls come before it
            if part.kind != "function":
                continue
            text = part.body
            inner = sum(lengths.get(callee, 0) * text.count(f"@{callee}(") for callee in part.uses)
            lengths[name] = text.count("\n") + 2 + inner
            lines = () if name.startswith((OUTLINED, SHARED)) else self.calls.get(name, ())
            if lengths[name] * len(lines) > _MOST_COPIED:
                for line in lines:
                    self.out.lines[line] += " noinline"

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
        """Assign a variable; its kind is that of its first value."""
        kind = self.kinds.setdefault(name, value.kind)
        if kind is not value.kind and kind != value.kind:
            raise self.failure(f"{name} is {kind.name} and becomes {value.kind.name}")
        if kind is NOTHING:
            raise self.failure(f"{name} gets no value")
        self.names.set(name, value)

    def name(self, name: str) -> Bound:
        """Return the value of a variable, or a constant of the kernel language, by name."""
        value_of_variable = self.names.value(name)
        if value_of_variable is not None:
            return value_of_variable
        if name in self.assigned:
            raise self.failure(f"{name} has no value on some path to here")
        value = self.namespace.get(name)
        if type(value) not in _LITERALS:
            raise self.failure(f"{name} is not defined")
        return Bound(_LITERALS[type(value)], value)

    # -- statements

    def block(self, block: Block) -> None:
        """Lower a block of statements of the kernel language."""
        for s in block:
            if not self.open:
                return  # after return, break or continue
            if isinstance(s, Let):
                value = self.operation(s.value)
                if s.name.is_variable:
                    self.bind(s.name.text, value)
                else:
                    self.values[s.name] = value
            elif isinstance(s, Do):
                self._do(s.value)
            elif isinstance(s, For):
                self._lower_for(s)
            elif isinstance(s, If):
                self._lower_branch(s)
            else:
                loop = self._head(s.assigned)
                bit, inside = self._lower_test(s.test), self._new_label()
                self._fork(bit, inside, loop.exit_label)
                self._loop_body(loop, inside, functools.partial(self.block, s.body))

    def _do(self, op: Apply) -> None:
        """Lower a statement without a result: break, continue, return, or an operation."""
        match op.name:
            case "break":
                loop = self.loops[-1]
                loop.breaks.append(Path(self.label, self.names.since(loop.mark)))
                self._jump(loop.exit_label)
            case "continue":
                self._again(self.loops[-1])
            case "return":
                self.give(self.arg(op.args[0]) if op.args else Bound(NOTHING, ""))
                self.open = False
            case _:
                self.operation(op)

    def _lower_branch(self, s: If) -> None:
        """Lower if/else to basic blocks, with phis for variables that both assign."""
        bit, yes, end = self._lower_test(s.test), self._new_label(), self._new_label()
        no = self._new_label() if s.orelse else end
        self._fork(bit, yes, no)
        paths = [] if s.orelse else [Path(self.label, {})]
        for label, branch in [(yes, s.body), *([(no, s.orelse)] if s.orelse else [])]:
            names, mark = self.names.mark(), self.out.mark()
            self._start(label)
            self.block(branch)
            if self.open:
                paths.append(Path(self.label, self.names.since(names)))
                self._jump(end)
            self.names.undo(names)
            self.out.forget(mark)
        self._start(end)
        self.names.meet(paths)

    def _lower_for(self, s: For) -> None:
        """Lower ``for ... in range`` to a loop with an induction variable."""
        start, stop, step = (self.arg(bound) for bound in (s.start, s.stop, s.step))
        if not start.kind is stop.kind is step.kind is WORD:
            raise self.failure("range takes one to three int64 words")
        if step.value == 0:
            raise self.failure("a range's step must not be zero")
        entry, loop = self.label, self._head(s.assigned)
        value, join = self.names.counter(WORD)
        join.edges.append(Arrival(start, entry))
        current = Bound(WORD, value)
        loop.counter = join, current, step
        down = isinstance(step.value, int) and step.value < 0
        more = OPERATORS["gt" if down else "lt"]
        inside = self._new_label()
        self._fork(self.truth(self.call(more, [current, stop])), inside, loop.exit_label)

        def body() -> None:
            if s.counter.is_variable:
                self.bind(s.counter.text, current)
            else:
                self.values[s.counter] = current
            self.block(s.body)

        self._loop_body(loop, inside, body)

    def _head(self, assigned: Iterable[Name]) -> _Loop:
        """Begin the block that tests whether a loop continues."""
        head, end, entry = self._new_label(), self._new_label(), self.label
        self._start(head)
        return _Loop(head, end, self.names.head(entry, [name.text for name in assigned]))

    def _loop_body(self, loop: _Loop, label: str, body: Callable[[], None]) -> None:
        """Lower a loop's body and start the block after the loop."""
        leaving, mark = self.label, self.out.mark()
        loop.mark = self.names.mark()
        self._start(label)
        self.loops.append(loop)
        body()
        self.loops.pop()
        if self.open:
            self._again(loop)
        self.names.undo(loop.mark)
        self.out.forget(mark)
        self._start(loop.exit_label)
        self.names.meet([Path(leaving, {}), *loop.breaks])

    def _again(self, loop: _Loop) -> None:
        """Emit the jump back to a loop's head, with the next values of its variables."""
        if loop.counter is not None:
            counter, current, step = loop.counter
            following = self.call(OPERATORS["add"], [current, step])
            counter.edges.append(Arrival(following, self.label))
        self.names.again(self.label, loop.joins)
        self._jump(loop.head)

    # -- values

    def arg(self, arg: Any) -> Bound:
        """The value of an argument of an operation."""
        if type(arg) is Name:
            return self.name(arg.text) if arg.is_variable else self.values[arg]
        if type(arg) is Apply:
            return self.operation(arg)
        return Bound(_LITERALS[type(arg)], arg)

    def operation(self, op: Apply) -> Bound:
        """Lower an operation and its arguments; return its value."""
        name, args = op
        if len(args) > 1 and type(args[1]) is Offset:
            pointer, index = self._place(self.arg(args[0]), args[1], name == "at")
            if name == "at":
                return pointer
            operands = [pointer, index, *map(self.arg, args[2:])]
        elif name in _UNUSUAL:
            return _UNUSUAL[name](self, *args)
        else:
            operands = [self.arg(arg) for arg in args]
        if name in self.assigned:  # in plain Python, as which the same source runs, it is called
            raise self.failure(f"{name} is called, and is a variable, too")
        target = self.namespace.get(name)
        if isinstance(target, Operation):
            return self.call(target, operands)
        if isinstance(target, Helper):
            return self._helper_call(target, operands)
        if name == "copy":
            return operands[0]
        if name.startswith("choose_"):
            bit = self.truth(self.call(OPERATORS[name[7:]], operands[:2]))
            return self._select_word(bit, *operands[2:])
        if name == "inside":
            return self._select_word(self._inside(operands[:2]), *operands[2:])
        if name == "outside":  # of an extent, which is not below 0: one comparison
            at, extent = [text_of(operand) for operand in operands]
            return Bound(TRUTH, self.out.do(f"icmp uge {WORD.llvm} {at}, {extent}"))
        raise self.failure(f"{name} is not defined")

    def _inside(self, operands: list[Bound]) -> str:
        """A test of a word against 0 and one against an extent, joined without a branch."""
        tests = [self.call(OPERATORS["ge"], [operands[0], Bound(WORD, 0)])]
        tests.append(self.call(OPERATORS["lt"], operands))
        bits = [self.truth(test) for test in tests]
        return self.out.do(f"and i1 {bits[0]}, {bits[1]}")

    def _place(self, pointer: Bound, place: Offset, fold_constant: bool) -> tuple[Bound, Bound]:
        """Lower the address of a memory access; ``fold_constant``: all goes into the pointer."""
        assert isinstance(pointer.kind, Pointer)
        element, at = pointer.kind.element.llvm, pointer.value
        for a, b in place.terms:
            product = self.call(OPERATORS["mul"], [self.arg(a), self.arg(b)]).value
            at = self.out.place(element, at, product)
        if fold_constant and place.constant:
            at = self.out.place(element, at, place.constant)
        return Bound(pointer.kind, at), Bound(WORD, place.constant)

    # -- choices between words without branches: both are computed, and one is selected. A block,
    # its branches and the joins behind it are most of what a choice costs LLVM and this writer.

    def _is_plain(self, arg: Any) -> bool:
        """Return whether an index is a sum or product of words defined on every path."""
        if type(arg) is Name:
            if not arg.is_variable:
                return self.values[arg].kind is WORD
            return arg.text in self.names and self.kinds[arg.text] is WORD
        if type(arg) is Apply:
            return arg.name in _PLAIN and all(map(self._is_plain, arg.args))
        return type(arg) is int

    def _is_plain_test(self, test: Any) -> bool:
        """Return whether a test compares such words, or combines such comparisons."""
        if type(test) is not Apply:
            return False
        if test.name in ("and", "or"):
            return all(map(self._is_plain_test, test.args))
        return test.name in _COMPARISONS and all(map(self._is_plain, test.args))

    def _bit(self, test: Apply) -> str:
        """Lower comparisons without side effects to one i1 operand, not by branches."""
        if test.name not in ("and", "or"):
            return self.truth(self.operation(test))
        first, *others = test.args
        bit = self._bit(first)
        for operand in others:
            bit = self.out.do(f"{test.name} i1 {bit}, {self._bit(operand)}")
        return bit

    def _lower_test(self, test: Apply) -> str:
        """A test's i1 operand; of words, comparisons are joined without branches."""
        if test.name in ("and", "or") and self._is_plain_test(test):
            return self._bit(test)
        return self.truth(self.operation(test))

    def _select_word(self, bit: str, yes: Bound, no: Bound) -> Bound:
        """One of two words, both of which are known."""
        selected = self.out.do(f"select i1 {bit}, i64 {text_of(yes)}, i64 {text_of(no)}")
        self.out.chosen[selected] = bit, yes.value, no.value
        return Bound(WORD, selected)

    def _choice(self, test: Any, yes: Any, no: Any) -> Bound:
        """``yes if test else no``."""
        if self._is_plain(yes) and self._is_plain(no) and self._is_plain_test(test):
            values = self.arg(yes), self.arg(no)
            return self._select_word(self._bit(test), *values)
        return self._either(self.arg(test), lambda: self.arg(yes), lambda: self.arg(no))

    def _lower_boolean(self, conjunction: bool, *args: Any) -> Bound:
        """Lower ``and``/``or``: the second operand is evaluated only if it counts."""
        value = self.arg(args[0])
        for operand in args[1:]:
            keep_value, following = (
                (lambda value=value: value),
                functools.partial(self.arg, operand),
            )
            ways = (following, keep_value) if conjunction else (keep_value, following)
            value = self._either(value, *ways)
        return value

    def _either(self, condition: Bound, yes: Callable[[], Bound], no: Callable[[], Bound]) -> Bound:
        """Lower a conditional expression: only one of its branches is evaluated."""
        labels, end = (self._new_label(), self._new_label()), self._new_label()
        self._fork(self.truth(condition), *labels)
        values: list[tuple[Bound, str]] = []
        for label, branch in zip(labels, (yes, no), strict=True):
            mark = self.out.mark()
            self._start(label)
            values.append((branch(), self.label))
            self._jump(end)
            self.out.forget(mark)
        self._start(end)
        kind = values[0][0].kind
        if any(value.kind != kind for value, _ in values) or kind is NOTHING:
            raise self.failure("both values of a choice must be of one kind")
        edges = ", ".join(f"[ {text_of(value)}, %{label} ]" for value, label in values)
        return Bound(kind, self.out.read(f"phi {kind.llvm} {edges}"))

    def _negative(self, arg: Any) -> Bound:
        """``-a``; literals fold."""
        operand = self.arg(arg)
        if isinstance(operand.value, int | float):
            return Bound(operand.kind, -operand.value)
        return self.call(OPERATORS["neg"], [operand])

    def _not(self, arg: Any) -> Bound:
        bit = self.call(FUNCTIONS["bool"], [self.arg(arg)])
        if isinstance(bit.value, bool):
            return Bound(TRUTH, not bit.value)
        return Bound(TRUTH, self.out.do(f"xor i1 {bit.value}, true"))

    def _refuse(self, what: str) -> Bound:
        raise self.failure(f"{what} is not part of the kernel language")


#: Operations whose arguments are not all evaluated, or not as they are.
_UNUSUAL: Final[dict[str, Callable[..., Bound]]] = {
    "if": FunctionWriter._choice,
    "and": lambda writer, *args: writer._lower_boolean(True, *args),
    "or": lambda writer, *args: writer._lower_boolean(False, *args),
    "neg": FunctionWriter._negative,
    "not": FunctionWriter._not,
    "?": FunctionWriter._refuse,
}


KERNEL_KINDS: Final[tuple[Kind, ...]] = (
    Pointer(ELEMENTS["i64"]),
    Pointer(ELEMENTS["i64"]),
    WORD,
    WORD,
)


class Function(Protocol):
    """One function of a source."""

    @property
    def name(self) -> str:
        """Its name in the source."""

    @property
    def procedure(self) -> Procedure:
        """The records of its statements."""

    @property
    def content(self) -> str:
        """A text that is equal for equal functions alone, and has the names that they call."""


@dataclass(frozen=True)
class FunctionText:
    """One function of a source that is text: how it is written, and how many lines stand above."""

    name: str
    parameters: tuple[str, ...]
    content: str
    above: int = 0

    @property
    def procedure(self) -> Procedure:
        """The records of its statements."""
        return reader.read(self.content)


#: Lines of LLVM IR that the copies of one helper in one kernel have at most. Beyond, calls cost
#: less than code that the processor's cache does not hold, and LLVM compiles them sooner.
_MOST_COPIED: Final = 3000


def split_source(source: str) -> dict[str, FunctionText]:
    """The functions of a kernel source, by name, in order; raises KernelSourceError otherwise."""
    functions = functions_of(source)
    if ENTRY not in functions:
        raise KernelSourceError(f"kernel source without a function named {ENTRY}")
    return functions


def functions_of(source: str) -> dict[str, FunctionText]:
    """Return the functions of a text, by name, in order."""
    return {
        function.name: function for function in _functions_by_part(source) or _functions(source)
    }


def _functions(source: str) -> list[FunctionText]:
    """Split a kernel source into its functions by parsing it as Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise KernelSourceError(f"kernel source line {error.lineno}: {error.msg}") from error
    lines = source.splitlines()
    functions = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            raise KernelSourceError(
                f"kernel source line {node.lineno}: only functions are allowed here"
            )
        body = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        parameters = tuple([parameter.arg for parameter in node.args.args])
        functions.append(FunctionText(node.name, parameters, body, node.lineno - 1))
    return functions


def _functions_by_part(source: str) -> list[FunctionText] | None:
    """Split a kernel source into functions by text alone; None if a part is no plain function."""
    functions, above = [], 0
    for part in _parts_of(source):
        header = reader.header_of(part)
        if header is None:
            return None
        functions.append(FunctionText(*header, part.rstrip("\n"), above))
        above += part.count("\n") + 1
    return functions


def _parts_of(source: str) -> list[str]:
    """A source without the ends of lines before which it is cut: there a function may begin."""
    first, *others = source.split("\ndef ")
    return [first, *[f"def {function}" for function in others]]


class _SourceHelper(Helper):
    """One helper with the helpers it may call."""

    def __init__(self, function: Function, digest: str, visible: dict[str, Helper]) -> None:
        super().__init__(functools.cache(self._lower), digest)
        self.function = function
        self.visible = visible

    def _lower(self, kinds: tuple[Kind, ...], target: Target) -> Translated:
        suffix = "_".join(kind.name for kind in kinds)
        # a name by which kernels share a function says all of its content
        digest = self.digest if self.function.name.startswith(SHARED) else self.digest[:8]
        symbol = f"{self.function.name}_{suffix}_{digest}"
        return _lower(self.function, self.visible, kinds, (symbol, INTERNAL), target)


_helpers: dict[str, _SourceHelper] = {}


def _lower(
    function: Function,
    visible: dict[str, Helper],
    kinds: tuple[Kind, ...],
    name: tuple[str, str],
    target: Target,
) -> Translated:
    """Lower a function to LLVM IR for the kinds of its arguments; ``name``: symbol and linkage."""
    procedure = function.procedure
    count = len(procedure.parameters)
    if count != len(kinds):
        raise KernelSourceError(f"{function.name} takes {count} arguments, given {len(kinds)}")
    namespace: dict[str, Any] = {**OPERATORS, **FUNCTIONS, **CONSTANTS, **visible}
    return FunctionWriter(procedure, namespace, kinds, target).run(*name)


def accesses(out: Emitter) -> dict[str, ModulePart]:
    """Return the LLVM functions of masked accesses that are called, with what they use."""
    parts: dict[str, ModulePart] = {}
    for symbol, (name, kind) in out.accesses.items():
        source, kinds = masked_access.source(name, kind)
        lowered = _lower_functions(
            split_source(source), symbol, out.target, kinds, linkage=INTERNAL
        )
        parts |= {**lowered.parts, symbol: lowered.part}
    return parts


def _helper(function: Function, visible: Mapping[str, Helper]) -> _SourceHelper:
    """Return the lowerable helper of a source function, cached by its digest and its callees'."""
    content = function.content
    called = {name: helper for name, helper in visible.items() if name in content}
    parts = [content, *(helper.digest for helper in called.values())]
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    helper = _helpers.get(digest)
    if helper is None:
        helper = _helpers[digest] = _SourceHelper(function, digest, called)
    return helper


@dataclass(frozen=True)
class Modules:
    """The module of a kernel, and those of the functions that it shares, by their symbols."""

    kernel: Module
    shared: dict[str, Module]


def ir_helper(
    name: str,
    result: Kind,
    parameters: int,
    body: str,
    uses: Mapping[str, ModulePart] = MappingProxyType({}),
) -> Helper:
    """Define a helper of words in LLVM IR that a kernel source may call.

    ``uses``: the parts that it uses, by name, of this module.
    """
    declared_parameters = ", ".join(f"i64 %a{number}" for number in range(parameters))
    head, attributes = f"{result.llvm} @{name}({declared_parameters})", f"alwaysinline {COMMON}"
    part = ModulePart(name, "function", head, attributes, body, INTERNAL, tuple(uses))
    return Helper(lambda *_: Translated(part, result, uses), part.text)


def module_of(
    functions: Mapping[str, Function],
    symbol: str,
    target: Target,
    kinds: tuple[Kind, ...] = KERNEL_KINDS,
    beside: Mapping[str, Helper] = MappingProxyType({}),
    linkage: str = "",
) -> Module:
    """Build the LLVM module of a kernel: entry ``symbol(record, own, begin, end)`` and helpers.

    ``kinds``: those of the entry's parameters, where they are others; ``beside``: functions that
    the source calls and does not have.

    Raises KernelSourceError when the source is not in the kernel language.
    """
    lowered = _lower_functions(functions, symbol, target, kinds, beside, linkage)
    return module_with_uses(lowered.parts, lowered.part)


def modules(functions: Mapping[str, Function], symbol: str, target: Target) -> Modules:
    """Return the LLVM modules of a kernel: one for itself, one for each shared helper.

    Raises KernelSourceError when the source is not in the kernel language.
    """
    lowered = _lower_functions(functions, symbol, target)
    shared = {name: part for name, part in lowered.parts.items() if name.startswith(SHARED)}
    parts = {**lowered.parts, **{name: part.declaration for name, part in shared.items()}}
    alone = {
        name: module_with_uses(parts, part._replace(linkage="")) for name, part in shared.items()
    }
    return Modules(module_with_uses(parts, lowered.part), alone)


def _lower_functions(
    functions: Mapping[str, Function],
    symbol: str,
    target: Target,
    kinds: tuple[Kind, ...] = KERNEL_KINDS,
    beside: Mapping[str, Helper] = MappingProxyType({}),
    linkage: str = "",
) -> Translated:
    """Lower a kernel's entry function, with its other functions as helpers."""
    visible: dict[str, Helper] = {**beside}
    for name, function in functions.items():
        if name != ENTRY:
            visible[name] = _helper(function, visible)
    return _lower(functions[ENTRY], visible, kinds, (symbol, linkage), target)
