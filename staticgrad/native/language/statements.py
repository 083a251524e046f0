"""Functions of a kernel source as statements that a reader of the language executes.

A function is taken apart by its indentation, and its lines are read by their forms
(:mod:`line_forms`). What is not written that plainly (a statement over several lines, a comment, a
string) is parsed as a whole by Python's parser: it means the same, and errors come from there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Final

from staticgrad.native.language import line_forms
from staticgrad.native.language.line_forms import (
    NAME,
    Act,
    Expression,
    Forms,
    GivenWord,
    NotPlainError,
    Words,
)
from staticgrad.records import NamedTuple


class Plain(NamedTuple):
    """A statement without others in it; ``given``: the word that it gives a name, if it is one."""

    line: int
    act: Act
    words: Words
    given: GivenWord | None


class If(NamedTuple):
    """A choice between two blocks."""

    line: int
    test: Expression
    body: Block
    orelse: Block

    def given(self) -> GivenWord | None:
        """Return the one word that it may assign by a test of words; None if it does more."""
        if self.orelse or len(self.body) != 1 or self.test.test is None:
            return None
        only = self.body[0]
        return only.given if isinstance(only, Plain) else None


class Loop(NamedTuple):
    """``while test`` or, with a name, ``for name in test``; ``assigned``: the names assigned."""

    line: int
    name: str
    test: Expression
    body: Block
    assigned: dict[str, None]


Statement = Plain | If | Loop
Block = tuple[Statement, ...]


class Syntax(NamedTuple):
    """A function: its parameters, its statements, and how many statements assign each name."""

    name: str
    parameters: tuple[str, ...]
    body: Block
    assigned: Mapping[str, int]


# -- functions ------------------------------------------------------------------------------------

_HEADER: Final = re.compile(r"def (\w+)\(((?:\w+(?:, \w+)*)?)\):")
_FOR: Final = re.compile(rf"for ({NAME}) in (.*):")
_STEP: Final = "    "
#: Characters of which Python's parser says what they mean, as of all that are not ASCII or printed.
_ODD: Final = "\"'#\\;`"


class _Lines:
    """Reads blocks of a function's lines; ``at`` is the next line to read."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = [*lines, ""]
        self.at = 1
        self.counts: dict[str, int] = {}

    def block(self, margin: str) -> tuple[Block, dict[str, None]]:
        """The statements behind a margin, and the names that they assign."""
        found: list[Statement] = []
        assigned: dict[str, None] = {}
        while True:
            line = self._lines[self.at]
            text = line[len(margin) :]
            if not line.startswith(margin) or not text:
                break
            self.at += 1
            if text[-1] == ":":
                statement, names = self._compound(text, margin)
                found.append(statement)
                assigned |= names
                continue
            act, words, targets, given = line_forms.statement(text)
            found.append(Plain(self.at, act, words, given))
            for name in targets:
                assigned[name] = None
                self.counts[name] = self.counts.get(name, 0) + 1
        if not found or (line.strip() and line.startswith(margin)):
            raise NotPlainError
        return tuple(found), assigned

    def _compound(self, text: str, margin: str) -> tuple[Statement, dict[str, None]]:
        line = self.at
        word, _, rest = text.partition(" ")
        if word == "if":
            return self._if(line, rest[:-1], margin)
        if word == "while":
            test = line_forms.expression(rest[:-1])
            body, names = self.block(margin + _STEP)
            return Loop(line, "", test, body, names), names
        header = _FOR.fullmatch(text)
        if header is None:
            raise NotPlainError
        name, span = header.groups()
        self.counts[name] = self.counts.get(name, 0) + 1
        body, names = self.block(margin + _STEP)
        names = {name: None} | names
        return Loop(line, name, line_forms.expression(span), body, names), names

    def _if(self, line: int, test: str, margin: str) -> tuple[Statement, dict[str, None]]:
        asked = line_forms.expression(test)
        body, names = self.block(margin + _STEP)
        following = self._lines[self.at]
        orelse: Block = ()
        further: dict[str, None] = {}
        if following == f"{margin}else:":
            self.at += 1
            orelse, further = self.block(margin + _STEP)
        elif following.startswith(f"{margin}elif ") and following.endswith(":"):
            self.at += 1
            statement, further = self._if(self.at, following[len(margin) + 5 : -1], margin)
            orelse = (statement,)
        return If(line, asked, body, orelse), names | further


def read(part: str) -> Syntax | None:
    """Return the one function of a text; None if the text is not plain enough to decide."""
    lines = part.rstrip("\n").split("\n")
    header = _HEADER.fullmatch(lines[0])
    if header is None or not _has_plain_characters(part):
        return None
    reader = _Lines(lines)
    try:
        body, _ = reader.block(_STEP)
    except NotPlainError:
        return None
    if reader.at != len(lines):
        return None
    name, parameters = header.groups()
    return _syntax(name, tuple(filter(None, parameters.split(", "))), body, reader.counts)


def _has_plain_characters(text: str) -> bool:
    plain = text.isascii() and text.replace("\n", "").isprintable()
    return plain and not any(odd in text for odd in _ODD)


def of_tree(tree: ast.FunctionDef) -> Syntax:
    """The same of Python's syntax tree, whatever it holds: lines count from that of its text."""
    counts: dict[str, int] = {}
    body, _ = _block_of(tree.body, counts)
    return _syntax(tree.name, tuple([each.arg for each in tree.args.args]), body, counts)


def _syntax(name: str, parameters: tuple[str, ...], body: Block, counts: dict[str, int]) -> Syntax:
    for parameter in parameters:
        counts[parameter] = counts.get(parameter, 0) + 1
    return Syntax(name, parameters, body, counts)


def _whole(forms: Forms, node: ast.expr) -> Expression:
    return line_forms.filled(forms.value(node), forms.test(node), ())


def _block_of(nodes: Sequence[ast.stmt], counts: dict[str, int]) -> tuple[Block, dict[str, None]]:
    found: list[Statement] = []
    assigned: dict[str, None] = {}
    forms = Forms()
    for node in nodes:
        names: dict[str, None] = {}
        match node:
            case ast.If(test=test, body=body, orelse=orelse):
                yes, names = _block_of(body, counts)
                no, further = _block_of(orelse, counts)
                names = names | further
                found.append(If(node.lineno, _whole(forms, test), yes, no))
            case ast.While(test=test, body=body, orelse=[]):
                asked = _whole(forms, test)
                inside, names = _block_of(body, counts)
                found.append(Loop(node.lineno, "", asked, inside, names))
            case ast.For(target=ast.Name(id=name), iter=span, body=body, orelse=[]):
                counts[name] = counts.get(name, 0) + 1
                inside, names = _block_of(body, counts)
                names = {name: None} | names
                span_of = _whole(forms, span)
                found.append(Loop(node.lineno, name, span_of, inside, names))
            case _:
                act, words, targets, given = line_forms.line(forms.plain(node), ())
                for name in targets:
                    names[name] = None
                    counts[name] = counts.get(name, 0) + 1
                found.append(Plain(node.lineno, act, words, given))
        assigned |= names
    return tuple(found), assigned
