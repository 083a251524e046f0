"""The lexical level of every text form: names and their quoting, tokens, places in a text.

Graph, Schedule and Plan are written with the same tokens. A name is bare when it is an ASCII
identifier (dots allowed inside), else quoted, so that one name has one spelling in every version of
Python. Line breaks separate nothing; a comment belongs to the token before it on its line. The
grammars of the forms are in their own parsers.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection
from typing import Final, NoReturn

from staticgrad.errors import ParseError

_BARE: Final = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
#: What a quoted name writes as \u{...}: controls, line breaks, surrogates, marks without a shape.
_HIDDEN: Final = (
    '[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"\\\\]'
)
_STRING: Final = r'"(?:[^"\\\x00-\x1f\x7f-\x9f\u2028\u2029]|\\[^\n])*"'
_ESCAPE: Final = r'\\(?:u\{([0-9A-Fa-f]{1,6})\}|(["\\])|(.))'

#: Only who reads a text needs it compiled.
_TOKEN: Final = rf"""[ \t]*(?:
    (?P<name>[A-Za-z_]\w*(?:\.\w+)*)
    |(?P<value>[%@](?:\w+(?:\.\w+)*|{_STRING}))
    |(?P<float>\d+(?:\.\d+(?:[eE][+-]?\d+)?|[eE][+-]?\d+))
    |(?P<int>\d+)
    |(?P<mark>//|->|\+=|\.\.|[()\[\]{{}}:,=^+\-*;<>|])
    |(?P<string>{_STRING})
    |(?P<size>\${_STRING})
    |(?P<comment>\#[^\n]*)
    |(?P<break>\n[ \t\n]*)
    |(?P<last>\Z)
    |(?P<wrong>.))"""


def name_text(name: str, reserved: Collection[str] = ()) -> str:
    """A user's name as the text forms write it: bare where it can be, else quoted."""
    if _BARE.fullmatch(name) and name not in reserved:
        return name
    return quote(name)


def quote(text: str) -> str:
    r"""Quote text for the text forms; other characters become ``\u{...}``."""

    def escape(match: re.Match[str]) -> str:
        character = match[0]
        return "\\" + character if character in '"\\' else f"\\u{{{ord(character):x}}}"

    return '"' + re.sub(_HIDDEN, escape, text) + '"'


def unquote(token: str) -> str:
    """The text that ``quote`` wrote."""
    return re.sub(_ESCAPE, _unescape, token[1:-1])


def _unescape(match: re.Match[str]) -> str:
    code, character, unknown = match.groups()
    if unknown is not None:
        raise ValueError(f'\\{unknown} is not an escape; there are \\" \\\\ and \\u{{hex}}')
    return chr(int(code, 16)) if code is not None else str(character)


class Tokens:
    """A text cut into tokens; the last one has kind ``end`` and no characters.

    ``kinds``, ``texts`` and ``starts`` run in parallel; ``comments`` maps the index of a token to
    the comment behind it on its line, without the ``#``.
    """

    def __init__(self, text: str, file: str = "<text>") -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.file = file
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self.starts: list[int] = []
        self.comments: dict[int, str] = {}
        self._breaks: list[int] = []
        self._line = (0, "")  # the line asked for last: a long one is copied once
        self._tokenize()

    def _tokenize(self) -> None:
        """Split a text form (graph, kernel, plan) into tokens, without comments."""
        add_kind, add_text, add_start = self.kinds.append, self.texts.append, self.starts.append
        fresh_line = True
        for match in re.finditer(_TOKEN, self.text, re.VERBOSE | re.ASCII | re.DOTALL):
            kind = match.lastgroup or "wrong"
            if kind == "break":
                fresh_line = True
            elif kind == "comment":
                if not fresh_line:
                    self.comments[len(self.kinds) - 1] = match[kind][1:].strip()
            elif kind == "wrong":
                self._refuse(match.start(kind), match[kind])
            elif kind != "last":
                add_kind(kind)
                add_text(match[kind])
                add_start(match.start(kind))
                fresh_line = False
        add_kind("end")
        add_text("")
        add_start(len(self.text.rstrip()))

    def _refuse(self, start: int, character: str) -> NoReturn:
        """Raise the ParseError for a character that begins no token."""
        if character == '"' or self.text[start : start + 2] == '$"':
            wrong = "this string does not end on its line"
        elif character in "%@":
            wrong = f"{character} without the name of a value"
        else:
            wrong = f"{character!r} has no meaning here"
        raise self.error(wrong, start)

    def line_of(self, index: int) -> tuple[int, str]:
        """Return the number (from 1) and text of the line of token ``index``."""
        if not self._breaks:
            self._breaks = [-1, *(m.start() for m in re.finditer("\n", self.text)), len(self.text)]
        number = bisect_left(self._breaks, self.starts[index])
        if number != self._line[0]:
            line = self.text[self._breaks[number - 1] + 1 : self._breaks[number]]
            self._line = (number, line)
        return self._line

    def error(self, headline: str, start: int, width: int = 1, hint: str = "") -> ParseError:
        """Return a ParseError that points at ``width`` characters from position ``start``."""
        rows = (self.text[:start] + "x").splitlines()
        return ParseError(
            headline,
            text=self.text,
            line=len(rows),
            column=len(rows[-1]),
            width=max(width, 1),
            file=self.file,
            hint=hint,
        )
