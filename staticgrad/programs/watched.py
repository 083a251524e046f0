"""The values around a traced function, by which another call finds that its graph is still valid.

A call compares all of them, so a check takes nanoseconds for each: names are looked up in dicts,
containers are compared by the identity of their elements, and of an object the number of its
attributes says that it has no new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Set as AbstractSet
from operator import is_
from types import CellType, MappingProxyType
from typing import Any

from staticgrad.programs.captured import MISSING, Captured, OuterReading, is_same
from staticgrad.support.records import NamedTuple


class _Attributes(NamedTuple):
    """The attributes that an object had, of those whose names count."""

    attributes: Any
    size: int
    names: AbstractSet[str] | None  # None: all
    present: frozenset[str]
    label: str


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
        self._attributes = []
        for owner in around.objects:
            countable = names | owner.hidden.keys() if owner.hidden else names
            present = frozenset(countable & owner.attributes.keys())
            self._attributes.append(
                _Attributes(
                    owner.attributes,
                    len(owner.attributes),
                    None if owner.is_whole else countable,
                    frozenset(owner.attributes) if owner.is_whole else present,
                    owner.label,
                )
            )
        self._contents: list[tuple[Any, int, tuple[Any, ...], str]] = []
        for contents in around.contents.values():
            container = contents.container
            if contents.is_watched:
                is_dict = isinstance(container, dict | MappingProxyType)
                for view in (container.keys(), container.values()) if is_dict else (container,):
                    elements = tuple(view)
                    self._contents.append((view, len(elements), elements, contents.label))

    @property
    def is_empty(self) -> bool:
        """Return whether nothing around the function was read."""
        watched = self._names, self._cells, self._readings, self._attributes, self._contents
        return not any(watched)

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
        for attributes in self._attributes:
            if len(attributes.attributes) != attributes.size:
                new_name = _new_attribute(attributes)
                if new_name is not None:
                    return f"{attributes.label}.{new_name}"
        for view, count, elements, label in self._contents:
            try:
                if len(view) != count or (
                    not all(map(is_, view, elements)) and not all(map(is_same, view, elements))
                ):
                    return label
            except RuntimeError:  # another thread changes it
                return label
        return None


def _new_attribute(attributes: _Attributes) -> str | None:
    """Return the name of an attribute that counts and was not there."""
    names: list[str] = list(attributes.attributes)
    for name in names:
        if name not in attributes.present and (
            attributes.names is None or name in attributes.names
        ):
            return name
    return None
