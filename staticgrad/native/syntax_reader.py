"""The direct reading of a kernel source: syntax tree -> LLVM IR text, without Numba.

The same operations as in Numba's pipeline (:mod:`simd`), so the same bytes; it takes a fraction of
the time and needs llvmlite only, and it knows the kernel language and nothing else of Python.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from staticgrad.native.kinds import NOTHING, TRUTH, WORD, Kind
from staticgrad.native.operations import FUNCTIONS, OPERATORS
from staticgrad.native.translation import TIMELESS, Bound, FunctionTranslation, Translated, text_of

_BINARY: Final[dict[type, str]] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "truediv",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
    ast.LShift: "lshift",
    ast.RShift: "rshift",
}
_COMPARE: Final[dict[type, str]] = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
}
_UNARY: Final[dict[type, str]] = {
    ast.USub: "neg",
    ast.UAdd: "pos",
    ast.Not: "not_",
    ast.Invert: "invert",
}


class SyntaxReader(FunctionTranslation):
    """Walks the syntax tree of one function; ``above`` are the lines of the source above it."""

    def __init__(
        self,
        tree: ast.FunctionDef,
        namespace: Mapping[str, object],
        kinds: tuple[Kind, ...],
        names: tuple[str, ...],
        above: int = 0,
    ) -> None:
        super().__init__(kinds, names)
        self.tree = tree
        self.above = above
        self.namespace = namespace
        self.assigned = _assignments(tree)
        self.depth = 0
        self.loops: list[tuple[str, str]] = []
        """For each loop around: the labels that ``continue`` and ``break`` go to."""
        self.count = 0
        self.open = True
        """Whether the block being written has no terminator yet."""

    def run(self, symbol: str, linkage: str) -> Translated:
        """Lowers the body."""
        self.block("b0")
        for argument, value in zip(self.tree.args.args, self.arguments, strict=True):
            self._bind(argument.arg, value)
        self._body(self.tree.body)
        if self.open:
            self._return(Bound(NOTHING, ""))
        return self.framed(symbol, linkage, "b0")

    def _label(self) -> str:
        self.count += 1
        return f"b{self.count}"

    def _start(self, label: str) -> None:
        """Ends the current block, if it is open, by falling through into a new one."""
        if self.open:
            self.out.effect(f"br label %{label}")
        self.block(label)
        self.open = True

    def _jump(self, label: str) -> None:
        self.out.effect(f"br label %{label}")
        self.open = False

    def _fork(self, condition: Bound, yes: str, no: str) -> None:
        self.out.effect(f"br i1 {self._truth(condition)}, label %{yes}, label %{no}")
        self.open = False

    def _bind(self, name: str, value: Bound) -> None:
        """Assigns a name. It needs no slot if set once, to a literal or outside loops and ifs."""
        self.local[name] = value
        always = self.depth == 0 or value.kind in TIMELESS or not isinstance(value.value, str)
        if self.assigned[name] == 1 and always:
            self.lasting[name] = value
        else:
            self._store(name, value)

    def _body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if not self.open:
                return  # after return, break or continue
            self.line = self.above + statement.lineno
            self._statement(statement)

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=targets, value=value):
                self._assign(targets, value)
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
                self._jump(self.loops[-1][0])
            case ast.Break():
                self._jump(self.loops[-1][1])
            case _:
                self._compound(statement)

    def _compound(self, statement: ast.stmt) -> None:
        self.depth += 1
        match statement:
            case ast.If(test=test, body=body, orelse=orelse):
                self._if(test, body, orelse)
            case ast.While(test=test, body=body, orelse=[]):
                self._while(test, body)
            case ast.For(target=ast.Name(id=name), iter=loop, body=body, orelse=[]):
                self._for(name, loop, body)
            case _:
                raise self._fail(f"{type(statement).__name__} is not part of the kernel language")
        self.depth -= 1

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        match targets, value:
            case [ast.Tuple(elts=places)], ast.Tuple(elts=sources) if len(places) == len(sources):
                found = [self._expression(source) for source in sources]
            case _:
                places, found = targets, [self._expression(value)] * len(targets)
        for place, item in zip(places, found, strict=True):
            if not isinstance(place, ast.Name):
                raise self._fail("only names are assigned to")
            self._bind(place.id, item)

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        yes, no, after = self._label(), self._label(), self._label()
        self._fork(self._expression(test), yes, no)
        for label, branch in ((yes, body), (no, orelse)):
            self._start(label)
            self._body(branch)
            if self.open:
                self._jump(after)
        self._start(after)

    def _while(self, test: ast.expr, body: list[ast.stmt]) -> None:
        head, inside, after = self._label(), self._label(), self._label()
        self._start(head)
        self._fork(self._expression(test), inside, after)
        self._loop_body(inside, head, after, body)

    def _for(self, name: str, loop: ast.expr, body: list[ast.stmt]) -> None:
        span = self._expression(loop)
        slot = self._start_counter(span)
        head, inside, after = self._label(), self._label(), self._label()
        self._start(head)
        current, more = self._advance(slot, *span.value[1:])
        self._fork(Bound(TRUTH, more), inside, after)
        self._start(inside)
        self._bind(name, Bound(WORD, current))
        self._loop_body("", head, after, body)

    def _loop_body(self, label: str, head: str, after: str, body: list[ast.stmt]) -> None:
        if label:
            self._start(label)
        self.loops.append((head, after))
        self._body(body)
        self.loops.pop()
        if self.open:
            self._jump(head)
        self._start(after)

    def _expression(self, expression: ast.expr) -> Bound:
        match expression:
            case ast.Name(id=name):
                return self._name(name)
            case ast.Constant(value=value):
                return self._literal(value)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(op, self._expression(left), self._expression(right))
            case ast.UnaryOp(op=op, operand=operand):
                return self._unary(_UNARY[type(op)], self._expression(operand))
            case ast.Call(func=function, args=arguments, keywords=[]):
                target = self._expression(function)
                return self._named_call(target.value, [self._expression(a) for a in arguments])
            case ast.Subscript(value=base, slice=index):
                parts = [self._expression(base), self._expression(index)]
                return self._call(FUNCTIONS["getitem"], parts)
            case _:
                return self._conditional(expression)

    def _conditional(self, expression: ast.expr) -> Bound:
        match expression:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                name = _COMPARE.get(type(op))
                if name is not None:
                    parts = [self._expression(left), self._expression(right)]
                    return self._call(OPERATORS[name], parts)
            case ast.Compare(left=left, ops=ops, comparators=right):
                pairs = zip([left, *right], ops, right, strict=False)
                links: list[ast.expr] = [ast.Compare(a, [op], [b]) for a, op, b in pairs]
                return self._conditional(ast.BoolOp(ast.And(), links))
            case ast.BoolOp(op=op, values=[first, *rest]):
                return self._short_circuit(isinstance(op, ast.And), first, rest)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                condition = self._expression(test)
                return self._either(
                    condition,
                    lambda: self._expression(body),
                    lambda: self._expression(orelse),
                )
        raise self._fail(f"{type(expression).__name__} is not part of the kernel language")

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
        labels, after = (self._label(), self._label()), self._label()
        place = f"%{after}.either"
        self._fork(condition, *labels)
        kind: Kind | None = None
        for label, branch in zip(labels, (yes, no), strict=True):
            self._start(label)
            value = branch()
            if (kind is not None and value.kind != kind) or value.kind in TIMELESS:
                raise self._fail("both values of a choice must be of one kind")
            kind = value.kind
            self.out.effect(f"store {kind.llvm} {text_of(value)}, ptr {place}, align 1")
            self._jump(after)
        self._start(after)
        if kind is None:
            raise self._fail("a choice without values")
        self.out.scratch.append(f"  {place} = alloca {kind.llvm}")
        return Bound(kind, self.out.do(f"load {kind.llvm}, ptr {place}, align 1"))

    def _binary(self, op: ast.operator, left: Bound, right: Bound) -> Bound:
        name = _BINARY.get(type(op))
        if name is None:
            raise self._fail(f"{type(op).__name__} is not part of the kernel language")
        return self._call(OPERATORS[name], [left, right])

    def _name(self, name: str) -> Bound:
        if name in self.assigned:
            return self._use(name)
        if name == "range":
            return self._literal(range)
        if name not in self.namespace:
            raise self._fail(f"{name} is not defined")
        return self._literal(self.namespace[name])


def _assignments(tree: ast.FunctionDef) -> Counter[str]:
    """How often each name is assigned; arguments count once.

    Only statements assign in this language, so the expressions in them are not looked through.
    """
    names = Counter(argument.arg for argument in tree.args.args)
    waiting: list[ast.stmt] = [*tree.body]
    for statement in waiting:
        targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
        found = (node for target in targets if target is not None for node in ast.walk(target))
        names.update(
            n.id for n in found if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        )
        for part in ("body", "orelse"):
            waiting += getattr(statement, part, ())
    return names
