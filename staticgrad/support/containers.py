"""Dicts, lists and tuples of users: their parts, and the same container of other parts.

What values lie in them, and other containers, are the subject of ``language/trees.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

_SEQUENCES: Final = (list, tuple)
_MAPPINGS: Final = (dict, Mapping)  # the test for a protocol alone takes four times as long


def items_of(container: Any) -> list[tuple[Any, Any]] | None:
    """Return keys and parts of a mapping, list or tuple; None for anything else."""
    if isinstance(container, _SEQUENCES):
        return [*enumerate(container)]
    return [*container.items()] if isinstance(container, _MAPPINGS) else None


def parts_in(container: Any) -> list[Any] | None:
    """Return the parts of a mapping, list or tuple; None for anything else."""
    items = items_of(container)
    return None if items is None else [part for _, part in items]


def first_part(tree: Any) -> Any:
    """Return the first part that is not a container itself; an empty container is its own."""
    while parts := parts_in(tree):
        tree = parts[0]
    return tree


def fill_container(container: Any, parts: Iterable[Any]) -> Any:
    """Return a container of the class and the keys of another, with these parts."""
    if isinstance(container, Mapping):
        return dict(zip(container, parts, strict=True))
    kind: Any = type(container)
    return kind(*parts) if is_named_tuple(kind) else kind(parts)


def is_named_tuple(kind: type) -> bool:
    """Return whether a class of tuples takes its parts one by one, by the names of its fields."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")
