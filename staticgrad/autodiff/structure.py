"""Values in the caller's containers: flattened, paired with cotangents or tangents, put back.

Here what a user hands to a derivative is checked, in the user's words: which values, of what they
consist, and whether a cotangent or tangent fits the value it belongs to. Knows no derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from staticgrad.autodiff.cone import named
from staticgrad.errors import GradientError
from staticgrad.ir.graph import Symbolic, constant


def leaves(structure: Any, takes: str = "grad takes values to differentiate by") -> list[Symbolic]:
    """Every value in nested dicts, lists and tuples, in order; ``takes`` begins the message.

    Raises:
        GradientError: something else stands among them.
    """
    return list(_leaves(structure, takes))


def _leaves(structure: Any, takes: str) -> Iterator[Symbolic]:
    if isinstance(structure, Symbolic):
        yield structure
    elif isinstance(structure, dict):
        for item in structure.values():
            yield from _leaves(item, takes)
    elif isinstance(structure, list | tuple):
        for item in structure:
            yield from _leaves(item, takes)
    else:
        raise GradientError(
            f"{takes}, not {structure!r}",
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


def paired(structure: Any, given: Any, role: str) -> Iterator[tuple[Symbolic, Any]]:
    """Every value with what ``given`` has in its place; ``role`` names that in messages.

    Raises:
        GradientError: ``given`` is not built like ``structure``.
    """
    if isinstance(structure, Symbolic):
        yield structure, given
    elif isinstance(structure, dict):
        if not isinstance(given, dict) or given.keys() != structure.keys():
            raise _differs(role, f"a dict of {', '.join(map(repr, structure))}", given)
        for key, item in structure.items():
            yield from paired(item, given[key], role)
    else:
        if not isinstance(given, list | tuple) or len(given) != len(structure):
            raise _differs(role, f"a list or tuple of {len(structure)}", given)
        for item, own in zip(structure, given, strict=True):
            yield from paired(item, own, role)


def _differs(role: str, wanted: str, given: Any) -> GradientError:
    what = repr(given) if isinstance(given, Symbolic) else f"a {type(given).__name__}"
    if isinstance(given, dict):
        what = f"a dict of {', '.join(map(repr, given)) or 'nothing'}"
    elif isinstance(given, list | tuple):
        what = f"{len(given)} items"
    return GradientError(
        f"the {role}s are {what}, not {wanted}",
        hint=f"one {role} per value, in the same containers",
    )


def fitted(value: Symbolic, given: Any, role: str) -> Symbolic:
    """``given``, a value or array, as a value of exactly the type of ``value``.

    Raises:
        GradientError: it is something else, or of another type.
    """
    found = given if isinstance(given, Symbolic) else _constant(value, given, role)
    if found.type != value.type:
        raise GradientError(
            f"the {role} is {found.type}, {named(value)} is {value.type}: they must be equal",
            related=[
                (role, str(found.type), found.node.origin),
                ("of", str(value.type), value.node.origin),
            ],
        )
    return found


def _constant(value: Symbolic, given: Any, role: str) -> Symbolic:
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise GradientError(f"the {role} is {given!r}, not a value or array of type {value.type}")
    return constant(array, value.dtype)


def check_floating(values: Iterable[Symbolic], role: str) -> None:
    """Refuse values that have no derivatives; ``role`` is "of" or "by".

    Raises:
        GradientError: with the first of them.
    """
    for value in values:
        if value.dtype.is_float:
            continue
        if role == "of":
            text = f"{named(value)} is {value.type}: only floating values have derivatives"
            hint = "differentiate what it was made from, before the conversion"
        else:
            text = f"{named(value)} is {value.type}: there is no gradient with respect to it"
            hint = "leave it out, or pass allow_disconnected=True for zeros"
        raise GradientError(text, hint=hint, related=[(role, str(value.type), value.node.origin)])
