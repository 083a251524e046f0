"""Identifiers for names that users chose, in texts of Python, C and other languages.

A writer cannot know, when it writes the first name, which words its text will contain in the end.
So it writes a mark for each name. When the text is complete, ``choose`` gives each mark an
identifier that is no word of the text, and ``fill`` writes it: the user's name where that is free,
else with ``_`` behind it. Words of comments and of strings are free.

    >>> names = NameMarks()
    >>> text = f"def double({names.mark('at')}): return 2 * at({names.mark('x y')})"
    >>> fill(text, names.choose(text, PYTHON))
    'def double(at_): return 2 * at(x_y)'
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from staticgrad.support.records import dataclass

#: A mark: a number between two characters that no language has in its words.
_MARK: Final = re.compile("\ue000([0-9]+)\ue001")
_STRING: Final = r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""


@dataclass(frozen=True)
class Language:
    """The words that are no identifiers, and a pattern of comments and strings."""

    keywords: frozenset[str]
    ignored: str = _STRING

    def words_of(self, text: str) -> set[str]:
        """Return the words of a text's code."""
        code = re.sub(self.ignored, " ", text, flags=re.DOTALL)
        return {*re.findall(r"[A-Za-z_]\w*", code)}


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(re.findall(r"\w+", text))


PYTHON: Final = Language(frozenset({*keyword.kwlist, "__debug__"}), rf'""".*?"""|{_STRING}|#[^\n]*')
#: Keywords of C and C++, and what headers of C define that is not written in capitals.
C: Final = Language(
    words("""
        alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t
        char32_t char8_t class co_await co_return co_yield compl concept const const_cast
        consteval constexpr
        constinit continue decltype default delete do double dynamic_cast else enum explicit export
        extern false float for friend goto if inline int long mutable namespace new noexcept not
        not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires
        restrict return short signed sizeof static static_assert static_cast struct switch template
        this thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned
        using virtual void volatile wchar_t while xor xor_eq

        EOF NULL errno i386 linux stderr stdin stdout unix
    """),
    rf"/\*.*?\*/|//[^\n]*|{_STRING}",
)  # fmt: skip
#: NameMarks that compilers and ``stdint.h`` define, in C.
_PREDEFINED: Final = re.compile(
    r"__\w*|_[A-Z]\w*|(U?INT\w*|PTRDIFF|SIG_ATOMIC|SIZE|WCHAR|WINT)_(MAX|MIN|WIDTH)"
)
RUST: Final = Language(
    words("""
        abstract as async await become box break const continue crate do dyn else enum extern
        false final fn for gen if impl in let loop macro match mod move mut override priv pub ref
        return self Self static struct super trait true try type typeof union unsafe unsized use
        virtual where while yield
    """),
    r'//[^\n]*|"(?:\\.|[^"\\])*"',
)  # fmt: skip
JULIA: Final = Language(
    words("""
        abstract baremodule begin break catch const continue do else elseif end export
        false finally for function global if import in isa let local macro module mutable
        primitive public quote return struct true try type using where while
    """),
    r'#[^\n]*|"(?:\\.|[^"\\])*"',
)  # fmt: skip


def as_identifier(name: str, used: Collection[str], language: Language) -> str:
    """Return a name as an identifier of a language that is not in ``used``."""
    identifier = re.sub(r"\W", "_", name, flags=re.ASCII)
    identifier = f"_{identifier}" if not identifier or identifier[0].isdigit() else identifier
    if not identifier.strip("_") or (language is C and _PREDEFINED.fullmatch(identifier)):
        identifier = f"x{identifier}"  # underscores alone are no variable in Rust and Julia
    while identifier in language.keywords or identifier in used:
        identifier += "_"
    return identifier


def identifiers(
    names: Iterable[str], language: Language, used: Iterable[str] = ()
) -> dict[str, str]:
    """Return a distinct identifier for each name, by name; none of them is in ``used``."""
    chosen: dict[str, str] = {}
    for name in names:
        chosen[name] = as_identifier(name, {*used, *chosen.values()}, language)
    return chosen


class NameMarks:
    """The marks of a text, and the names that they stand for."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def mark(self, name: str) -> str:
        """Return a new mark for a name; equal names have different marks."""
        self._names.append(name)
        return f"\ue000{len(self._names) - 1}\ue001"

    def name_of(self, mark: str) -> str:
        """Return the name for which a mark stands."""
        match = _MARK.fullmatch(mark)
        return mark if match is None else self._names[int(match[1])]

    def choose(self, text: str, language: Language, used: Iterable[str] = ()) -> dict[str, str]:
        """Return an identifier for each mark of a text: no word of it, and none of ``used``."""
        words = language.words_of(text) | {*used}
        chosen: dict[str, str] = {}
        for mark in dict.fromkeys(match[0] for match in _MARK.finditer(text)):
            chosen[mark] = as_identifier(self.name_of(mark), words, language)
            words.add(chosen[mark])
        return chosen


def fill(text: str, chosen: Mapping[str, str]) -> str:
    """Return a text with identifiers in the place of its marks."""
    return _MARK.sub(lambda match: chosen.get(match[0], match[0]), text)
