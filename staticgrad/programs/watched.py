"""The values around a traced function, by which another call finds that its graph is still valid.

A call compares all of them, so a check takes nanoseconds for each: names are looked up in dicts,
containers are compared by the identity of their elements, and of an object the number of its
attributes says that it has no new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set as AbstractSet
from contextlib import suppress
from operator import is_
from types import CellType, FunctionType, ModuleType
from typing import Any

from staticgrad.programs.captured import MISSING, Captured, OuterReading, is_same, views_of
from staticgrad.support.records import NamedTuple


class _Names(NamedTuple):
    """The names of attributes that an object had.

    Attributes:
        countable: the names that count, None if all do. present: those of them that it had.
        label: how the user writes the object.
    """

    countable: AbstractSet[str] | None
    present: frozenset[str]
    label: str

    def new_name(self, attributes: Iterable[str]) -> str | None:
        """Return the name of an attribute that counts and was not there."""
        for name in list(attributes):
            if name not in self.present and (self.countable is None or name in self.countable):
                return f"{self.label}.{name}"
        return None


class Frozen:
    """The values around a function when it was traced."""

    def __init__(self, around: Captured) -> None:
        self._names: list[tuple[Callable[..., Any], str, Any, str]] = []
        self._cells: list[tuple[CellType, Any, str]] = []
        self._readings: list[tuple[Callable[[], Any], Any, str]] = []
        for place in around.places.values():
            if isinstance(place, OuterReading):
                self._readings.append((place.read, place.value, place.label))
            elif type(place.holder) is CellType:
                self._cells.append((place.holder, place.value, place.label))
            else:
                self._names.append((place.holder.get, place.name, place.value, place.label))
        names = around.names.keys()
        #: Dicts of attributes with their sizes, of which those of instances are compared, too.
        self._sizes: list[tuple[Any, int, _Names]] = []
        self._instances: list[tuple[Any, type, Any, str]] = []
        self._classes: list[tuple[type, tuple[type, ...], str]] = []
        for owner in around.objects:
            value, attributes, label = owner.value, owner.attributes, owner.label
            countable = names | owner.hidden.keys() if owner.hidden else names
            present = frozenset(attributes if owner.is_whole else countable & attributes.keys())
            record = _Names(None if owner.is_whole else countable, present, label)
            self._sizes.append((attributes, len(attributes), record))
            if issubclass(type(value), type):
                self._classes.append((value, value.__mro__, label))
            elif not issubclass(type(value), ModuleType | FunctionType):
                with suppress(Exception):  # it has no dict, or code of the user's refuses
                    if value.__dict__ is attributes:
                        self._instances.append((value, type(value), attributes, label))
        self._functions = [
            (function, function.__code__, function.__defaults__, label)
            for function, label in around.functions
        ]
        self._contents: list[tuple[Any, int, tuple[Any, ...], str]] = []
        for contents in around.contents.values():
            for view in views_of(contents.container) if contents.is_watched else ():
                elements = tuple(view)
                self._contents.append((view, len(elements), elements, contents.label))

    @property
    def is_empty(self) -> bool:
        """Return whether nothing around the function was read."""
        return not (self._names or self._cells or self._readings or self._contents)

    def find_change(self) -> str | None:
        """Return a name whose value has changed since tracing, or None."""
        for get, name, value, label in self._names:
            now = get(name, MISSING)
            if now is not value and not is_same(now, value):
                return label
        for cell, value, label in self._cells:
            try:
                now = cell.cell_contents
            except ValueError:
                now = MISSING
            if now is not value and not is_same(now, value):
                return label
        for read, value, label in self._readings:
            now = read()
            if now is not value and not is_same(now, value):
                return label
        for attributes, size, record in self._sizes:
            if len(attributes) != size:
                new_name = record.new_name(attributes)
                if new_name is not None:
                    return new_name
        for owner, kind, attributes, label in self._instances:
            if type(owner) is not kind or owner.__dict__ is not attributes:
                return label
        for cls, mro, label in self._classes:
            if cls.__mro__ is not mro:
                return label
        for function, code, defaults, label in self._functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return label
        for view, count, elements, label in self._contents:
            try:
                if len(view) != count or (
                    not all(map(is_, view, elements)) and not all(map(is_same, view, elements))
                ):
                    return label
            except RuntimeError:  # another thread changes it
                return label
        return None
