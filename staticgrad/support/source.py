"""The origin of a value: the line of the user's program that made it, and the named scope.

An ``Origin`` is made for every node, so it only stores the code object and the instruction; file,
line, columns and text are looked up when somebody asks. What a rewrite builds of nodes of several
lines has them all (``merge_locations``). Which line is running is found in ``building.py``.
"""

from __future__ import annotations

import dataclasses
import functools
import linecache
import re
from collections.abc import Iterable
from types import CodeType
from typing import Final

from staticgrad.support.records import dataclass

_TEXT: Final = re.compile(r"(?P<file>.*):(?P<line>\d+)(?: \[(?P<scope>.*)\])?", re.DOTALL)
_NOTEBOOK_CELL: Final = re.compile(r"ipykernel_\d+[/\\]")
#: One place in a list of them, and what separates it from the next.
_LISTED: Final = re.compile(r"(.*?:\d+(?: \[[^\[\]]*\])?)(?:, |\Z)", re.DOTALL)
#: The call of a graph as a part of a scope, and what no part may hold.
_CALL: Final = re.compile(
    r"(?P<name>.*)\(\) (?P<file>.*):(?P<line>\d+)(?P<number> #\d+)?", re.DOTALL
)
_UNUSABLE: Final = re.compile(r"[/\[\]]")
_WIDTH: Final = 100  # characters of a source line that a message shows
_MOST_PLACES: Final = 4  # lines that what several nodes became is said to come from


@dataclass(frozen=True)
class SourceLine:
    """A place in a program.

    Lines count from 1; columns count characters from 0, ``end_column`` is exclusive. What Python
    does not know (no column table, no source text, a parsed graph) is None or empty. ``also`` are
    further places that it comes from, as of ``Merged``.
    """

    file: str
    line: int
    column: int | None = None
    end_column: int | None = None
    end_line: int | None = None
    text: str = ""
    function: str = ""
    scope: str = ""
    also: tuple[SourceLine, ...] = ()

    @classmethod
    def from_text(cls, text: str) -> SourceLine:
        """Parse an origin: ``train.py:8`` or ``train.py:8 [block3]``, as printed with nodes.

        Several, ``train.py:8 [block3], train.py:5``, are the first and what it comes from also.

        Raises ValueError when ``text`` does not end in a line number.
        """
        text = text.strip()
        first, *more = (_one_line(part) for part in _parts(text))
        line = dataclasses.replace(first, also=tuple(more)) if more else first
        return line if line.label == text else _one_line(text)

    def resolve(self) -> SourceLine:
        """Itself: the counterpart of ``Origin.resolve``."""
        return self

    @property
    def places(self) -> tuple[SourceLine, ...]:
        """Every place one by one, itself first."""
        return (dataclasses.replace(self, also=()), *self.also) if self.also else (self,)

    @property
    def short(self) -> str:
        """``train.py:8``: base name and line."""
        return f"{_base_name(self.file)}:{self.line}"

    @property
    def label(self) -> str:
        """``train.py:8 [block3/attention]``: the short form with the scope, if there is one.

        All places, where there are several: ``train.py:8 [block3/attention], train.py:5``.
        """
        label = f"{self.short} [{self.scope}]" if self.scope else self.short
        return ", ".join([label, *[place.label for place in self.also]]) if self.also else label

    @property
    def long(self) -> str:
        """File, line, function, scope; then the text, and carets where the columns are known.

        At the end the other places, if it comes from several.
        """
        where = f"{_path_from_here(self.file)}:{self.line}"
        if self.function and self.function != "<module>":
            where += f", in {self.function}"
        if self.scope:
            where += f" [{self.scope}]"
        more = [f"also from {', '.join(place.label for place in self.also)}"] * bool(self.also)
        return "\n".join([where, *self.excerpt(), *more])

    def excerpt(self) -> list[str]:
        """Print an origin's source line, indented, with carets: zero to two lines."""
        code = "".join(c if c.isprintable() else " " for c in self.text)  # tabs, form feeds
        if not code.strip():
            return []
        start, stop = self._caret_range(code)
        left = len(code) - len(code.lstrip())
        if len(code) - left > _WIDTH:  # show a window that begins a little before the carets
            left = max(left, min(start - _WIDTH // 4, len(code) - _WIDTH))
        shown = code[left : left + _WIDTH]
        start, stop = max(start - left, 0), min(stop - left, len(shown))
        lines = ["    " + shown.rstrip()]
        if self.column is not None and stop > start:
            lines.append("    " + " " * start + "^" * (stop - start))
        return lines

    def _caret_range(self, code: str) -> tuple[int, int]:
        """Return the columns of a source line that carets mark."""
        if self.column is None:
            return 0, 0
        on_one_line = self.end_line in (None, self.line) and self.end_column is not None
        stop = (
            self.end_column if on_one_line and self.end_column is not None else len(code.rstrip())
        )
        return self.column, min(stop, len(code))

    def __str__(self) -> str:
        return self.short


#: The line of what has none: messages do not show it.
NO_LINE: Final = SourceLine("", 0)


def _itself(line: SourceLine) -> SourceLine:
    """Return the line that replaces a location in pickles, which hold no code objects."""
    return line


@functools.lru_cache(maxsize=1024)
def _as_line(place: Origin | Merged) -> tuple[object, ...]:
    """Reduce a place to its line, looked up; of equal places to one object, written once."""
    return _itself, (place.resolve(),)


class Origin(tuple[CodeType, int, str]):
    """The instruction that made something, not yet looked up: (code object, offset, scope path).

    ``resolve()`` gives its SourceLine. Pickling and copying give the SourceLine as well, for a code
    object does not travel. A tuple, because one is made for every node.
    """

    __slots__ = ()

    @property
    def scope(self) -> str:
        """The named scopes it was made in, ``encoder/block3``; empty outside all."""
        return self[2]

    @property
    def places(self) -> tuple[Origin, ...]:
        """Itself: the counterpart of ``Merged.places``."""
        return (self,)

    def resolve(self) -> SourceLine:
        """Look the instruction up in its code object, and its text in linecache."""
        code, offset, scope_path = self
        line, end_line, column, end_column = position(code, offset)
        text = linecache.getline(code.co_filename, line).rstrip("\r\n")
        last = text
        if end_line is not None and end_line != line:
            last = linecache.getline(code.co_filename, end_line)
        return SourceLine(
            file=code.co_filename,
            line=line,
            column=_characters(text, column),
            end_column=_characters(last, end_column),
            end_line=end_line,
            text=text,
            function=code.co_qualname,
            scope=scope_path,
        )

    @property
    def short(self) -> str:
        """``train.py:8``: base name and line, without reading the file."""
        return f"{_base_name(self[0].co_filename)}:{position(self[0], self[1])[0]}"

    @property
    def label(self) -> str:
        """``train.py:8 [block3/attention]``: the short form with the scope, if there is one."""
        return f"{self.short} [{self.scope}]" if self.scope else self.short

    @property
    def long(self) -> str:
        """The same as ``SourceLine.long``."""
        return self.resolve().long

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Origin):
            return NotImplemented
        # Code objects compare without their file, so ``tuple.__eq__`` would find two cells equal.
        return self[0] is other[0] and self[1] == other[1] and self[2] == other[2]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((id(self[0]), self[1], self[2]))

    def __reduce__(self) -> tuple[object, ...]:
        return _as_line(self)

    def __str__(self) -> str:
        return self.short

    def __repr__(self) -> str:
        return f"Origin({self.label})"


class Merged(tuple[Origin | SourceLine, ...]):
    """Places that ``merge_locations`` has joined, not yet looked up; the first one counts."""

    __slots__ = ()

    def resolve(self) -> SourceLine:
        """The first as a line, with the others beside it."""
        first, *others = (place.resolve() for place in self)
        return dataclasses.replace(first, also=tuple(others))

    @property
    def scope(self) -> str:
        """The named scope of the first line."""
        return self[0].scope

    @property
    def places(self) -> tuple[Origin | SourceLine, ...]:
        """Every place one by one."""
        return tuple(self)

    @property
    def short(self) -> str:
        """``train.py:8``: base name and line of the first."""
        return self[0].short

    @property
    def label(self) -> str:
        """``train.py:8 [block3], train.py:5``."""
        return ", ".join(place.label for place in self)

    @property
    def long(self) -> str:
        """The same as ``SourceLine.long``."""
        return self.resolve().long

    def __reduce__(self) -> tuple[object, ...]:
        return _as_line(self)

    def __str__(self) -> str:
        return self.short

    def __repr__(self) -> str:
        return f"Merged({self.label})"


#: Anything that names a place; all kinds offer resolve, places, short, label, long and scope.
Location = Origin | SourceLine | Merged


def merge_locations(origins: Iterable[Location]) -> Location:
    """Merge the origins of several nodes into one, the first one first.

    Each line once, and no more than a few of them.
    """
    by_spot: dict[object, Origin | SourceLine] = {}
    for origin in origins:
        for place in origin.places:
            by_spot.setdefault(_spot(place), place)
    places = tuple(by_spot.values())[:_MOST_PLACES]
    return places[0] if len(places) == 1 else Merged(places)


def relocate(location: Location, path: str) -> Location:
    """Return a location inside of the scope ``path``: what it was in lies in that now."""
    if isinstance(location, Origin):
        code, offset, scope_path = location
        return Origin((code, offset, f"{path}/{scope_path}" if scope_path else path))
    if isinstance(location, Merged):
        places = [relocate(place, path) for place in location.places]
        return Merged(places)  # type: ignore[arg-type]  # of single places
    scope_path = f"{path}/{location.scope}" if location.scope else path
    also = tuple([relocate(place, path) for place in location.also])
    return dataclasses.replace(location, scope=scope_path, also=also)  # type: ignore[arg-type]


def call_part(name: str, caller: str) -> str:
    """Return the part of a scope path that is the call of a graph: ``curve() train.py:20``.

    The second call on the same line, and later ones, have a number behind it: `` #2``.
    """
    return f"{_UNUSABLE.sub('_', _printable(name))}() {caller.replace('/', '_')}"


def scope_names(path: str) -> list[str]:
    """Return the parts of a scope path; of the call of a graph its name alone."""
    calls = ((part, _CALL.fullmatch(part)) for part in path.split("/"))
    return [part if call is None else call["name"] for part, call in calls]


def fold_call(line: SourceLine) -> SourceLine:
    """Return the line of the outermost call of a graph that ``line`` is inside of, or itself."""
    parts = line.scope.split("/")
    for count, part in enumerate(parts):
        call = _CALL.fullmatch(part)
        if call is not None:
            text = f"{call['name']}(){call['number'] or ''}"
            path = "/".join([*parts[:count], text])
            return SourceLine(call["file"], int(call["line"]), text=text, scope=path)
    return line


def is_call(line: SourceLine) -> bool:
    """Return whether a line is inside of the call of a graph."""
    return any(_CALL.fullmatch(part) for part in line.scope.split("/"))


def fold_labels(labels: Iterable[str]) -> list[str]:
    """Return lines as text, each once; those inside of the call of a graph as the line of it."""
    folded: dict[str, None] = {}
    for label in labels:
        try:
            line = SourceLine.from_text(label)
        except ValueError:  # "nowhere"
            folded[label] = None
            continue
        folded.update(dict.fromkeys(fold_call(place).label for place in line.places))
    return [*folded]


def common_call(labels: Iterable[str]) -> str:
    """Return the line of the call of a graph that all these lines are inside of; empty if none."""
    calls: set[str] = set()
    for label in labels:
        try:
            places = SourceLine.from_text(label).places
        except ValueError:
            return ""
        calls.update(fold_call(place).label if is_call(place) else "" for place in places)
    return calls.pop() if len(calls) == 1 else ""


def lines_of(origins: Iterable[Location]) -> str:
    """The lines that some values come from, each once: ``"train.py:8, train.py:9"``."""
    return ", ".join(dict.fromkeys(origin.resolve().short for origin in origins))


def _spot(place: Origin | SourceLine) -> object:
    """Return the common key of two places on one line, without reading a file."""
    if isinstance(place, SourceLine):
        return (place.file, place.line, place.scope)
    code, offset, scope_path = place
    return (code.co_filename, position(code, offset)[0], scope_path)


def _parts(text: str) -> list[str]:
    """The single places of a list; the text itself if it is none."""
    places, end = [], 0
    for match in _LISTED.finditer(text):
        places.append(match[1])
        end = match.end()
    return places if places and end == len(text) else [text]


def _one_line(text: str) -> SourceLine:
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a source line: {text!r} (expected file:line)")
    return SourceLine(match["file"], int(match["line"]), scope=match["scope"] or "")


#: id(code) -> (the code, kept so that the id stays its own; its position table). Oldest out first.
_positions: Final[dict[int, tuple[CodeType, list[tuple[int | None, ...]]]]] = {}
_POSITION_TABLES: Final = 64


def position(code: CodeType, offset: int) -> tuple[int, int | None, int | None, int | None]:
    """Return line, end line, column, end column of an instruction (columns in UTF-8 bytes)."""
    entry = _positions.get(id(code))
    if entry is None or entry[0] is not code:
        if len(_positions) >= _POSITION_TABLES:
            _positions.pop(next(iter(_positions)), None)
        entry = _positions[id(code)] = (code, list(code.co_positions()))
    table = entry[1]
    index = offset // 2  # an instruction unit is two bytes
    if not 0 <= index < len(table):
        return code.co_firstlineno, None, None, None
    line, end_line, column, end_column = table[index]
    return line or code.co_firstlineno, end_line, column, end_column


def _characters(text: str, column: int | None) -> int | None:
    """A column in UTF-8 bytes as a column in characters."""
    if column is None or text.isascii():
        return column
    return len(text.encode()[:column].decode(errors="ignore"))


def _base_name(file: str) -> str:
    """Return a source file's name for display; ``<cell>`` in notebooks."""
    if file.startswith("<"):
        name = file
    elif _NOTEBOOK_CELL.search(file):  # the kernel's own name is a hash in a temporary folder
        name = "<cell>"
    else:
        name = re.split(r"[/\\]", file)[-1]
    return _printable(name.strip())  # a comment that is read back has no space around it


def _printable(name: str) -> str:
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)


def _path_from_here(file: str) -> str:
    """Return a path relative to the working directory if it is below, else unchanged."""
    if file.startswith("<") or _NOTEBOOK_CELL.search(file):
        return _base_name(file)
    from pathlib import Path  # for messages: a program that makes no mistake never loads it

    try:
        return _printable(str(Path(file).relative_to(Path.cwd())))
    except (ValueError, OSError):
        return _printable(file)
