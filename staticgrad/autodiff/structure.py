"""Values in the caller's containers: flattened for the sweep, results put back the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from staticgrad.errors import GradientError
from staticgrad.ir.graph import Symbolic


def leaves(structure: Any) -> Iterator[Symbolic]:
    """Every value in nested dicts, lists and tuples, in order.

    Raises:
        GradientError: something else stands among them.
    """
    if isinstance(structure, Symbolic):
        yield structure
    elif isinstance(structure, dict):
        for item in structure.values():
            yield from leaves(item)
    elif isinstance(structure, list | tuple):
        for item in structure:
            yield from leaves(item)
    else:
        raise GradientError(
            f"grad takes values to differentiate by, not {structure!r}",
            hint="pass an input, a parameter, any other value, or a list, tuple or dict of them",
        )


def mapped(structure: Any, function: Callable[[Symbolic], Any]) -> Any:
    """The same containers with ``function`` applied to every value."""
    if isinstance(structure, Symbolic):
        return function(structure)
    if isinstance(structure, dict):
        return {key: mapped(item, function) for key, item in structure.items()}
    items = [mapped(item, function) for item in structure]
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):  # a named tuple
        return type(structure)(*items)
    return tuple(items) if isinstance(structure, tuple) else items
