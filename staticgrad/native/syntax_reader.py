"""The direct reading of a kernel source: syntax tree -> LLVM IR text, without Numba.

The same operations as in Numba's pipeline (:mod:`simd`), so the same bytes; it takes a fraction of
the time and needs llvmlite only, and it knows the kernel language and nothing else of Python.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Set
from typing import Final

from staticgrad.native.joins import Arrival, Join, Names, Path
from staticgrad.native.kinds import NOTHING, RANGE, WORD, Kind, Scalar
from staticgrad.native.operations import FUNCTIONS, OPERATORS, Operation
from staticgrad.native.plain_choices import assignment, is_choice
from staticgrad.native.translation import (
    TIMELESS,
    Bound,
    FunctionTranslation,
    Translated,
    argument_name,
    text_of,
)

_BINARY: Final[dict[type, Operation]] = {
    ast.Add: OPERATORS["add"],
    ast.Sub: OPERATORS["sub"],
    ast.Mult: OPERATORS["mul"],
    ast.Div: OPERATORS["truediv"],
    ast.FloorDiv: OPERATORS["floordiv"],
    ast.Mod: OPERATORS["mod"],
    ast.BitAnd: OPERATORS["and_"],
    ast.BitOr: OPERATORS["or_"],
    ast.BitXor: OPERATORS["xor"],
    ast.LShift: OPERATORS["lshift"],
    ast.RShift: OPERATORS["rshift"],
}
_COMPARE: Final[dict[type, Operation]] = {
    ast.Eq: OPERATORS["eq"],
    ast.NotEq: OPERATORS["ne"],
    ast.Lt: OPERATORS["lt"],
    ast.LtE: OPERATORS["le"],
    ast.Gt: OPERATORS["gt"],
    ast.GtE: OPERATORS["ge"],
}
_UNARY: Final[dict[type, str]] = {
    ast.USub: "neg",
    ast.UAdd: "pos",
    ast.Not: "not_",
    ast.Invert: "invert",
}


#: Statements that assign, and the parts of those that hold others.
_TARGETS: Final[frozenset[type]] = frozenset({ast.Assign, ast.AugAssign, ast.For})
_PARTS: Final[dict[type, tuple[str, ...]]] = {
    ast.If: ("body", "orelse"),
    ast.For: ("body",),
    ast.While: ("body",),
}


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
    tree: ast.FunctionDef,
    namespace: Mapping[str, object],
    kinds: tuple[Kind, ...],
    above: int,
    name: tuple[str, str],
    hidden: bool = False,
) -> Translated:
    """A function for arguments of these kinds; ``name`` is its symbol and linkage.

    ``above`` are the lines of the source above the tree. ``hidden``: LLVM does not see the numbers
    of loops grow.
    """
    slotted: set[str] = set()
    while True:
        try:
            return SyntaxReader(tree, namespace, kinds, above, slotted, hidden).run(*name)
        except _NoJoinError as error:
            slotted.add(error.name)


class SyntaxReader(FunctionTranslation):
    """Walks the syntax tree of one function; ``above`` are the lines of the source above it.

    ``slotted`` are names that live on the stack: those that are read where not every path has
    given them a value. ``hidden``: LLVM does not see the numbers of loops grow.
    """

    def __init__(
        self,
        tree: ast.FunctionDef,
        namespace: Mapping[str, object],
        kinds: tuple[Kind, ...],
        above: int = 0,
        slotted: Set[str] = frozenset(),
        hidden: bool = False,
    ) -> None:
        super().__init__(kinds, tuple(argument_name(kind, at) for at, kind in enumerate(kinds)))
        self.tree = tree
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
        self.assigned: Counter[str] = Counter(argument.arg for argument in tree.args.args)
        self.within: dict[ast.stmt, dict[str, None]] = {}
        """The names that each loop assigns."""
        _assigned(tree.body, self.assigned, self.within)
        self.hidden = hidden
        self.loops: list[_Loop] = []
        self.count = 0
        self.label = "entry"
        """The block being written."""
        self.open = True
        """Whether it has no terminator yet."""

    def run(self, symbol: str, linkage: str) -> Translated:
        """Lowers the body."""
        for argument, value in zip(self.tree.args.args, self.arguments, strict=True):
            self._bind(argument.arg, value)
        self._body(self.tree.body)
        if self.open:
            self._return(Bound(NOTHING, ""))
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

    def _fork(self, condition: Bound, yes: str, no: str) -> None:
        self.out.effect(f"br i1 {self._truth(condition)}, label %{yes}, label %{no}")
        self.open = False

    # -- names

    def _bind(self, name: str, value: Bound) -> None:
        """Assigns a name, whose kind is that of its first value."""
        kind = self.kinds.setdefault(name, value.kind)
        if kind is not value.kind and kind != value.kind:
            raise self._fail(f"{name} is {kind.name} and becomes {value.kind.name}")
        if isinstance(kind, Scalar) and kind in TIMELESS:
            if self.assigned[name] > 1:
                raise self._fail(f"{name}: a {kind.name} cannot be reassigned")
            self.lasting[name] = value
        elif name in self.slotted:
            slot = self.slots.get(name)
            if slot is None:
                slot = self.slots[name] = Bound(kind, self.out.slot(kind.llvm))
            self.out.effect(f"store {kind.llvm} {text_of(value)}, ptr {slot.value}, align 1")
        else:
            self.names.set(name, value)

    def _use(self, name: str) -> Bound:
        found = self.names.value(name) or self.lasting.get(name)
        if found is not None:
            return found
        slot = self.slots.get(name)
        if slot is not None:
            loaded = self.out.read(f"load {slot.kind.llvm}, ptr {slot.value}, align 1")
            return Bound(slot.kind, loaded)
        if name in self.slotted:
            raise self._fail(f"{name} is used before it is assigned")
        raise _NoJoinError(name)

    # -- statements

    def _body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if not self.open:
                return  # after return, break or continue
            self.line = self.above + statement.lineno
            self._statement(statement)

    def _statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Assign):
            self._assign(statement.targets, statement.value)
            return
        match statement:
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self._bind(name, self._binary(op, self._name(name), self._expression(value)))
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                return
            case ast.Expr(value=value):
                self._expression(value)
            case ast.Return(value=value):
                self._return(Bound(NOTHING, "") if value is None else self._expression(value))
                self.open = False
            case ast.Continue():
                self._again(self.loops[-1])
            case ast.Break():
                loop = self.loops[-1]
                loop.breaks.append(Path(self.label, self.names.since(loop.mark)))
                self._jump(loop.after)
            case _:
                self._compound(statement)

    def _compound(self, statement: ast.stmt) -> None:
        match statement:
            case ast.If():
                self._if(statement)
            case ast.While(test=test, orelse=[]):
                self._while(statement, test)
            case ast.For(target=ast.Name(id=name), iter=loop, orelse=[]):
                self._for(statement, name, loop)
            case _:
                raise self._fail(f"{type(statement).__name__} is not part of the kernel language")

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        if len(targets) == 1 and type(targets[0]) is ast.Name:
            self._bind(targets[0].id, self._expression(value))
            return
        match targets, value:
            case [ast.Tuple(elts=places)], ast.Tuple(elts=sources) if len(places) == len(sources):
                found = [self._expression(source) for source in sources]
            case _:
                places, found = targets, [self._expression(value)] * len(targets)
        for place, item in zip(places, found, strict=True):
            if not isinstance(place, ast.Name):
                raise self._fail("only names are assigned to")
            self._bind(place.id, item)

    def _if(self, statement: ast.If) -> None:
        test, body, orelse = statement.test, statement.body, statement.orelse
        found = assignment(statement, self._is_word)
        if found is not None:
            name, value = found
            self._bind(name, self._selected(test, self._expression(value), self._use(name)))
            return
        condition, yes, after = self._expression(test), self._new_label(), self._new_label()
        no = self._new_label() if orelse else after
        self._fork(condition, yes, no)
        paths = [] if orelse else [Path(self.label, {})]
        for label, branch in ((yes, body), (no, orelse)):
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

    def _while(self, statement: ast.While, test: ast.expr) -> None:
        loop = self._head(statement)
        condition, inside = self._expression(test), self._new_label()
        self._fork(condition, inside, loop.after)
        self._loop_body(loop, inside, statement.body)

    def _for(self, statement: ast.For, name: str, span: ast.expr) -> None:
        found = self._expression(span)
        if found.kind is not RANGE:
            raise self._fail("for loops run over range(...)")
        start, stop, step = (Bound(WORD, value) for value in found.value)
        entry, loop = self.label, self._head(statement)
        value, join = self.names.counter(WORD)
        join.edges.append(Arrival(start, entry))
        current = Bound(WORD, value)
        loop.counter = join, current, step
        down = isinstance(step.value, int) and step.value < 0
        more = OPERATORS["gt" if down else "lt"]
        inside = self._new_label()
        self._fork(self._call(more, [current, stop]), inside, loop.after)
        self._loop_body(loop, inside, statement.body, (name, current))

    def _head(self, statement: ast.stmt) -> _Loop:
        """Begins the block in which a loop asks whether it goes on."""
        head, after, entry = self._new_label(), self._new_label(), self.label
        self.out.enter()
        self._start(head)
        joins = self.names.head(entry, self.within[statement])
        return _Loop(head, after, joins)

    def _loop_body(
        self, loop: _Loop, label: str, body: list[ast.stmt], first: tuple[str, Bound] | None = None
    ) -> None:
        """The body, which ``first`` begins, and the block behind the loop."""
        leaving, known = self.label, self.out.mark()
        loop.mark = self.names.mark()
        self._start(label)
        if first is not None:
            self._bind(*first)
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
        counter = None
        if loop.counter is not None:
            counter, current, step = loop.counter
            following = self._call(OPERATORS["add"], [current, step])
            counter.edges.append(Arrival(following, self.label))
        self.names.again(self.label, loop.joins, counter, hidden=self.hidden)
        self._jump(loop.head)

    def _expression(self, expression: ast.expr) -> Bound:
        """A value. What is frequent is told by its type at once."""
        if isinstance(expression, ast.Name):
            return self._name(expression.id)
        if isinstance(expression, ast.Constant):
            return self._literal(expression.value)
        if isinstance(expression, ast.BinOp):
            left, right = self._expression(expression.left), self._expression(expression.right)
            return self._binary(expression.op, left, right)
        if isinstance(expression, ast.Call) and not expression.keywords:
            target = self._expression(expression.func)
            return self._named_call(target.value, [self._expression(a) for a in expression.args])
        match expression:
            case ast.UnaryOp(op=op, operand=operand):
                return self._unary(_UNARY[type(op)], self._expression(operand))
            case ast.Subscript(value=base, slice=index):
                parts = [self._expression(base), self._expression(index)]
                return self._call(FUNCTIONS["getitem"], parts)
            case _:
                return self._conditional(expression)

    def _conditional(self, expression: ast.expr) -> Bound:
        match expression:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                operation = _COMPARE.get(type(op))
                if operation is not None:
                    return self._call(operation, [self._expression(left), self._expression(right)])
            case ast.Compare(left=left, ops=ops, comparators=right):
                pairs = zip([left, *right], ops, right, strict=False)
                links: list[ast.expr] = [ast.Compare(a, [op], [b]) for a, op, b in pairs]
                return self._conditional(ast.BoolOp(ast.And(), links))
            case ast.BoolOp(op=op, values=[first, *rest]):
                return self._short_circuit(isinstance(op, ast.And), first, rest)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                if is_choice(expression, self._is_word):
                    values = self._expression(body), self._expression(orelse)
                    return self._selected(test, *values)
                condition = self._expression(test)
                return self._either(
                    condition,
                    lambda: self._expression(body),
                    lambda: self._expression(orelse),
                )
        raise self._fail(f"{type(expression).__name__} is not part of the kernel language")

    def _is_word(self, name: str) -> bool:
        """Whether a name stands for a word, on every path."""
        return name in self.names and self.kinds[name] is WORD

    def _selected(self, test: ast.expr, yes: Bound, no: Bound) -> Bound:
        """One of two words, both of which are known."""
        choice = f"select i1 {self._plain_test(test)}, i64 {text_of(yes)}, i64 {text_of(no)}"
        return Bound(WORD, self.out.do(choice))

    def _plain_test(self, test: ast.expr) -> str:
        """An i1 operand of comparisons, all of which may be evaluated."""
        if not isinstance(test, ast.BoolOp):
            return self._truth(self._expression(test))
        word, (value, *rest) = "and" if isinstance(test.op, ast.And) else "or", test.values
        found = self._plain_test(value)
        for each in rest:
            found = self.out.do(f"{word} i1 {found}, {self._plain_test(each)}")
        return found

    def _short_circuit(self, both: bool, first: ast.expr, rest: list[ast.expr]) -> Bound:
        value = self._expression(first)
        for following in rest:
            value = self._link(both, value, following)
        return value

    def _link(self, both: bool, value: Bound, following: ast.expr) -> Bound:
        """``value and following`` (or ``or``); literal operands need no branch of their own."""

        def again() -> Bound:
            return self._expression(following)

        def kept() -> Bound:
            return value

        return self._either(value, again, kept) if both else self._either(value, kept, again)

    def _either(self, condition: Bound, yes: Callable[[], Bound], no: Callable[[], Bound]) -> Bound:
        """The value of one of two expressions, of which only that one is evaluated."""
        labels, after = (self._new_label(), self._new_label()), self._new_label()
        self._fork(condition, *labels)
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
            raise self._fail("both values of a choice must be of one kind")
        edges = ", ".join(f"[ {text_of(value)}, %{label} ]" for value, label in values)
        return Bound(kind, self.out.read(f"phi {kind.llvm} {edges}"))

    def _binary(self, op: ast.operator, left: Bound, right: Bound) -> Bound:
        operation = _BINARY.get(type(op))
        if operation is None:
            raise self._fail(f"{type(op).__name__} is not part of the kernel language")
        return self._call(operation, [left, right])

    def _name(self, name: str) -> Bound:
        if name in self.assigned:
            return self._use(name)
        found = self.globals.get(name)
        if found is None:
            if name != "range" and name not in self.namespace:
                raise self._fail(f"{name} is not defined")
            value = range if name == "range" else self.namespace[name]
            found = self.globals[name] = self._literal(value)
        return found


def _assigned(
    statements: list[ast.stmt], count: Counter[str], within: dict[ast.stmt, dict[str, None]]
) -> dict[str, None]:
    """The names that statements assign, which are counted; those of each loop are kept.

    Only statements assign in this language, so the expressions in them are not looked through.
    """
    found: dict[str, None] = {}
    for statement in statements:
        kind = type(statement)
        names: dict[str, None] = {}
        if kind in _TARGETS:
            names = _targets(statement)
            for name in names:
                count[name] += 1
        for part in _PARTS.get(kind, ()):
            names |= _assigned(getattr(statement, part), count, within)
        if kind is ast.For or kind is ast.While:
            within[statement] = names
        found |= names
    return found


def _targets(statement: ast.stmt) -> dict[str, None]:
    found: dict[str, None] = {}
    for target in getattr(statement, "targets", None) or [getattr(statement, "target", None)]:
        if isinstance(target, ast.Name):
            found[target.id] = None
        elif isinstance(target, ast.Tuple):
            found |= dict.fromkeys(each.id for each in target.elts if isinstance(each, ast.Name))
    return found
