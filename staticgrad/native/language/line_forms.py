"""Lines of a kernel source, ready to be executed by a reader of the language.

Kernels have thousands of lines; most differ from others only in names and numbers. So the form of
each line is looked up: its text with every name and number left open. A form is parsed once per
process, by Python's parser, as a function of a reader and of the texts in the open places.
"""

from __future__ import annotations

import ast
import functools
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from staticgrad.native.language.kinds import NOTHING, REAL, WORD
from staticgrad.native.language.operations import FUNCTIONS, OPERATORS, Operation
from staticgrad.native.language.translation import Bound
from staticgrad.records import NamedTuple

if TYPE_CHECKING:
    from staticgrad.native.language.frontend import SyntaxReader

Words = Sequence[str]
"""Names and numbers of a line, in the order of its text."""
Value = Callable[["SyntaxReader", Words], Bound]
"""The value of an expression, for a reader."""
Act = Callable[["SyntaxReader", Words], None]
"""The effect of a statement on a reader."""

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


class Needs(NamedTuple):
    """The conditions for an expression to be sums and products of words: its names are words,
    and its numbers are whole."""

    names: tuple[Callable[[Words], str], ...]
    numbers: tuple[int, ...]

    def of(self, words: Words) -> tuple[str, ...] | None:
        """The names; None where a number is not whole."""
        if all(words[place].isdigit() for place in self.numbers):
            return tuple([name(words) for name in self.names])
        return None


class Test(NamedTuple):
    """A test of words without branches: its i1 operand, and the names that must be words."""

    bit: Callable[[SyntaxReader, Words], str]
    names: tuple[str, ...]


class Expression(NamedTuple):
    """An expression in a line; ``test`` is its form as a test without branches, if it is one."""

    value: Value
    words: Words
    test: Test | None = None

    def of(self, reader: SyntaxReader) -> Bound:
        """Its value, for a reader."""
        return self.value(reader, self.words)


class GivenWord(NamedTuple):
    """A statement that gives a name a sum or product of words; ``names`` must be words."""

    name: str
    value: Expression
    names: tuple[str, ...]


class StatementForm(NamedTuple):
    """The effect of a statement without others in it, and the names that it assigns.

    ``given`` is the value that it assigns to one name, with its conditions to be a word.
    """

    act: Act
    targets: tuple[Callable[[Words], str], ...] = ()
    given: tuple[Value, Needs] | None = None


class NotPlainError(Exception):
    """Text that is left to Python's parser as a whole."""


# -- expressions ----------------------------------------------------------------------------------


class Forms:
    """Expressions and statements of one tree; ``places`` maps columns to open places."""

    def __init__(self, places: Mapping[int, int] | None = None) -> None:
        self._places = {} if places is None else places
        self.filled: set[int] = set()

    def _open(self, node: ast.Name | ast.Constant) -> int | None:
        """Return the number of the open place of a name or number, or None."""
        found = self._places.get(node.col_offset)
        if found is not None:
            if node.end_col_offset != node.col_offset + 1:
                raise NotPlainError
            self.filled.add(found)
        return found

    def text(self, node: ast.Name) -> Callable[[Words], str]:
        """The text of a name."""
        place, own = self._open(node), node.id
        return (lambda words: own) if place is None else itemgetter(place)

    def value(self, node: ast.expr) -> Value:
        """An expression. What the language does not have is refused when it is read."""
        match node:
            case ast.Name():
                place, own = self._open(node), node.id
                return _own(own) if place is None else _word(place)
            case ast.Constant(value=literal):
                place = self._open(node)
                return _literal(literal) if place is None else _counted(place)
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(op, self.value(left), self.value(right))
            case ast.Call(func=function, args=arguments, keywords=[]):
                return self._call(self.value(function), [self.value(each) for each in arguments])
            case ast.UnaryOp(op=unary, operand=operand):
                name, of = _UNARY[type(unary)], self.value(operand)
                return lambda r, words: r.unary(name, of(r, words))
            case ast.Subscript(value=base, slice=index):
                return _applied(FUNCTIONS["getitem"], self.value(base), self.value(index))
        return self._conditional(node)

    def binary(self, op: ast.operator, left: Value, right: Value) -> Value:
        """An operator between two values."""
        operation = _BINARY.get(type(op))
        if operation is not None:
            return _applied(operation, left, right)
        refused = _refused(op)

        def fails(r: SyntaxReader, words: Words) -> Bound:
            left(r, words)
            right(r, words)
            return refused(r, words)

        return fails

    def _call(self, function: Value, arguments: list[Value]) -> Value:
        return lambda r, words: r.named_call(
            function(r, words).value, [each(r, words) for each in arguments]
        )

    def _conditional(self, node: ast.expr) -> Value:
        match node:
            case ast.Compare(left=left, ops=ops, comparators=right):
                operands = [self.value(each) for each in (left, *right)]
                links = [
                    _applied(_COMPARE[type(op)], a, b) if type(op) in _COMPARE else _refused(node)
                    for op, a, b in zip(ops, operands, operands[1:], strict=False)
                ]
                return links[0] if len(links) == 1 else _chained(True, links)
            case ast.BoolOp(op=op, values=values):
                return _chained(isinstance(op, ast.And), [self.value(each) for each in values])
            case ast.IfExp():
                return self._choice(node)
        return _refused(node)

    # -- choices between words without branches: both are computed, and one is selected. What is
    # computed for it may cost a few instructions, and neither fail nor touch memory. A block, its
    # branches and the joins behind it are most of what a choice costs LLVM and the reader.

    def _choice(self, node: ast.IfExp) -> Value:
        asked, yes, no = (self.value(each) for each in (node.test, node.body, node.orelse))

        def either(r: SyntaxReader, words: Words) -> Bound:
            return r.either(asked(r, words), lambda: yes(r, words), lambda: no(r, words))

        parts = [self._plain(node.body), self._plain(node.orelse), self._plain_test(node.test)]
        needs = _all_of(parts)
        if needs is None:
            return either
        bit = self.bit(node.test)

        def chosen(r: SyntaxReader, words: Words) -> Bound:
            names = needs.of(words)
            if names is None or not r.are_words(names):
                return either(r, words)
            values = yes(r, words), no(r, words)
            return r.selected(bit(r, words), *values)

        return chosen

    def _plain(self, node: ast.expr) -> Needs | None:
        """Return what a sum or product needs to be a word; None for other expressions."""
        match node:
            case ast.Name():
                return Needs((self.text(node),), ())
            case ast.Constant(value=value):
                place = self._open(node)
                if place is not None:
                    return Needs((), (place,))
                return Needs((), ()) if type(value) is int else None
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._plain(operand)
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult(), right=right):
                return _all_of([self._plain(left), self._plain(right)])
        return None

    def _plain_test(self, node: ast.expr) -> Needs | None:
        """Return what a test needs to compare words, or to combine such comparisons."""
        match node:
            case ast.BoolOp(values=values):
                return _all_of([self._plain_test(each) for each in values])
            case ast.Compare(left=left, ops=[_], comparators=[right]):
                return _all_of([self._plain(left), self._plain(right)])
        return None

    def bit(self, node: ast.expr) -> Callable[[SyntaxReader, Words], str]:
        """Return an i1 operand of comparisons, all of which may be evaluated."""
        if not isinstance(node, ast.BoolOp):
            value = self.value(node)
            return lambda r, words: r.truth(value(r, words))
        verb = "and" if isinstance(node.op, ast.And) else "or"
        first, *rest = [self.bit(each) for each in node.values]

        def joined(r: SyntaxReader, words: Words) -> str:
            found = first(r, words)
            for each in rest:
                found = r.out.do(f"{verb} i1 {found}, {each(r, words)}")
            return found

        return joined

    def test(self, node: ast.expr) -> tuple[Callable[[SyntaxReader, Words], str], Needs] | None:
        """An expression as a test without branches, if it is one."""
        needs = self._plain_test(node)
        return None if needs is None else (self.bit(node), needs)

    # -- statements

    def plain(self, node: ast.stmt) -> StatementForm:
        """A statement without others in it."""
        match node:
            case ast.Assign(targets=targets, value=value):
                return self._assignment(targets, value)
            case ast.AugAssign(target=ast.Name() as target, op=op, value=value):
                name = self.text(target)
                changed = self.binary(op, self.value(target), self.value(value))
                return StatementForm(
                    lambda r, words: r.bind(name(words), changed(r, words)), (name,)
                )
            case ast.Pass() | ast.Expr(value=ast.Constant()) if not self._places:
                return StatementForm(_nothing)
            case ast.Expr(value=value):
                of = self.value(value)
                return StatementForm(lambda r, words: _let(of(r, words)))
            case ast.Return(value=None):
                return StatementForm(lambda r, words: r.give_back(Bound(NOTHING, "")))
            case ast.Return(value=value) if value is not None:
                of = self.value(value)
                return StatementForm(lambda r, words: r.give_back(of(r, words)))
            case ast.Continue():
                return StatementForm(lambda r, words: r.go_on())
            case ast.Break():
                return StatementForm(lambda r, words: r.leave_loop())
        refused = _refused(node)
        return StatementForm(lambda r, words: _let(refused(r, words)))

    def _assignment(self, targets: list[ast.expr], value: ast.expr) -> StatementForm:
        match targets, value:
            case [ast.Name() as target], _:
                name, of, needs = self.text(target), self.value(value), self._plain(value)
                given = None if needs is None else (of, needs)
                return StatementForm(
                    lambda r, words: r.bind(name(words), of(r, words)), (name,), given
                )
            case [ast.Tuple(elts=places)], ast.Tuple(elts=sources) if len(places) == len(sources):
                several = [self.value(source) for source in sources]

                def found(r: SyntaxReader, words: Words) -> list[Bound]:
                    return [each(r, words) for each in several]

            case _:
                places, of = targets, self.value(value)

                def found(r: SyntaxReader, words: Words) -> list[Bound]:
                    return [of(r, words)] * len(places)

        names = [self.text(each) if isinstance(each, ast.Name) else None for each in places]

        def act(r: SyntaxReader, words: Words) -> None:
            for name, value in zip(names, found(r, words), strict=True):
                if name is None:
                    raise r.failure("only names are assigned to")
                r.bind(name(words), value)

        return StatementForm(act, tuple([name for name in names if name is not None]))


def _all_of(parts: Sequence[Needs | None]) -> Needs | None:
    """Return the needs of all parts together; None if one part has None."""
    names: tuple[Callable[[Words], str], ...] = ()
    numbers: tuple[int, ...] = ()
    for part in parts:
        if part is None:
            return None
        names, numbers = names + part.names, numbers + part.numbers
    return Needs(names, numbers)


def _own(name: str) -> Value:
    return lambda r, words: r.name(name)


def _word(place: int) -> Value:
    return lambda r, words: r.name(words[place])


def _literal(value: object) -> Value:
    return lambda r, words: r.literal(value)


def _counted(place: int) -> Value:
    return lambda r, words: _number(words[place])


def _applied(operation: Operation, left: Value, right: Value) -> Value:
    return lambda r, words: r.call(operation, (left(r, words), right(r, words)))


def _chained(both: bool, values: Sequence[Value]) -> Value:
    """Return ``a and b and c`` (or ``or``) with short-circuit evaluation."""
    first, *rest = values

    def chained(r: SyntaxReader, words: Words) -> Bound:
        found = first(r, words)
        for following in rest:
            found = r.link(both, found, lambda of=following: of(r, words))  # type: ignore[misc]
        return found

    return chained


def _refused(node: ast.AST) -> Value:
    name = type(node).__name__

    def refused(r: SyntaxReader, words: Words) -> Bound:
        raise r.failure(f"{name} is not part of the kernel language")

    return refused


def _nothing(r: SyntaxReader, words: Words) -> None:
    """A statement that does nothing."""


def _let(value: Bound) -> None:
    """Ignore a value: the statement only evaluates it."""


@functools.lru_cache(maxsize=1 << 12)
def _number(text: str) -> Bound:
    return Bound(WORD, int(text)) if text.isdigit() else Bound(REAL, float(text))


# -- forms of lines -------------------------------------------------------------------------------

NAME: Final = rf"\b(?!(?:{'|'.join(keyword.kwlist)})\b)[A-Za-z_]\w*"
_NUMBER: Final = r"\b(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?\b"
#: Names, numbers, and keywords, which are told apart afterwards: looking for them takes longer.
_WORDS: Final = re.compile(rf"(\b[A-Za-z_]\w*|{_NUMBER})")
_KEYWORDS: Final = frozenset(keyword.kwlist)


def _form_of(text: str) -> tuple[str, Words]:
    """A line with its names and numbers left open, and those."""
    parts = _WORDS.split(text)  # every other one is a word
    words = parts[1::2]
    if _KEYWORDS.isdisjoint(words):
        parts[1::2] = ["0" if "0" <= word[0] <= "9" else "n" for word in words]
        return "".join(parts), words
    parts[1::2] = [
        word if word in _KEYWORDS else "0" if "0" <= word[0] <= "9" else "n" for word in words
    ]
    return "".join(parts), [word for word in words if word not in _KEYWORDS]


def _taken_apart(form: str) -> tuple[ast.stmt, Forms, int]:
    """Return the one statement of a form, its ``Forms``, and the number of open places."""
    starts = [found.start() for found in _WORDS.finditer(form) if found[0] not in _KEYWORDS]
    places = {start: place for place, start in enumerate(starts)}
    try:
        (node,) = ast.parse(form).body
    except (SyntaxError, ValueError):
        raise NotPlainError from None
    return node, Forms(places), len(places)


@functools.lru_cache(maxsize=1 << 12)
def _statement_form(form: str) -> StatementForm:
    node, forms, many = _taken_apart(form)
    if isinstance(node, ast.If | ast.For | ast.While | ast.FunctionDef | ast.ClassDef | ast.With):
        raise NotPlainError
    found = forms.plain(node)
    if len(forms.filled) != many:
        raise NotPlainError
    return found


@functools.lru_cache(maxsize=1 << 12)
def _expression_form(
    form: str,
) -> tuple[Value, tuple[Callable[[SyntaxReader, Words], str], Needs] | None]:
    node, forms, many = _taken_apart(form)
    if not isinstance(node, ast.Expr):
        raise NotPlainError
    found = forms.value(node.value), forms.test(node.value)
    if len(forms.filled) != many:
        raise NotPlainError
    return found


class PlainLine(NamedTuple):
    """The action of a line over its words, and the names that it assigns."""

    act: Act
    words: Words
    targets: tuple[str, ...]
    given: GivenWord | None


@functools.lru_cache(maxsize=1 << 14)
def statement(text: str) -> PlainLine:
    """A line without others in it."""
    form, words = _form_of(text)
    return line(_statement_form(form), words)


def line(form: StatementForm, words: Words) -> PlainLine:
    """A form, its open places filled."""
    targets = tuple(dict.fromkeys([target(words) for target in form.targets]))
    given = None
    if form.given is not None:
        value, needs = form.given
        names = needs.of(words)
        if names is not None:
            given = GivenWord(targets[0], Expression(value, words), (*targets, *names))
    return PlainLine(form.act, words, targets, given)


@functools.lru_cache(maxsize=1 << 12)
def expression(text: str) -> Expression:
    """An expression that stands in a line."""
    form, words = _form_of(text)
    return filled(*_expression_form(form), words)


def filled(
    value: Value,
    test: tuple[Callable[[SyntaxReader, Words], str], Needs] | None,
    words: Words,
) -> Expression:
    """An expression, its open places filled."""
    if test is None:
        return Expression(value, words)
    bit, needs = test
    names = needs.of(words)
    return Expression(value, words, None if names is None else Test(bit, names))
