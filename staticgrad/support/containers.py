"""Dicts, lists and tuples of users: their parts, and the same container of other parts.

What values lie in them, and other containers, are the subject of ``language/functions/trees.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def items_of(container: Any) -> list[tuple[Any, Any]] | None:
    """Return keys and parts of a mapping, list or tuple; None for anything else."""
    if isinstance(container, Mapping):
        return [*container.items()]
    return [*enumerate(container)] if isinstance(container, list | tuple) else None


def parts_in(container: Any) -> list[Any] | None:
    """Return the parts of a mapping, list or tuple; None for anything else."""
    items = items_of(container)
    return None if items is None else [part for _, part in items]


def first_part(tree: Any) -> Any:
    """Return the first part that is not a container itself; an empty container is its own."""
    while parts := parts_in(tree):
        tree = parts[0]
    return tree


def filled(container: Any, parts: Iterable[Any]) -> Any:
    """Return a container of the class and the keys of another, with these parts."""
    if isinstance(container, Mapping):
        return dict(zip(container, parts, strict=True))
    kind: Any = type(container)
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
